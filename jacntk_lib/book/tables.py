"""Tables that a chapter makes from what it has computed."""

import re

__all__ = ["table"]

_NUMBER = re.compile(r"[+\N{MINUS SIGN}-]?\d.{0,20}", re.S)  # begins as a number, and short enough for one line


def table(caption, heads, rows):
    """A table with a caption, as HTML that a notebook shows.

    The first cell of a row names it. Columns of numbers, which may carry a unit or an interval, are set flush right and
    get a true minus sign.

    Parameters
    ----------
    caption : what the table shows, in words.
    heads : names of the columns.
    rows : of as many cells as there are ``heads``; a cell is text, which may hold HTML, or anything that ``str`` shows.

    Returns
    -------
    An ``IPython.display.HTML``.

    Raises
    ------
    ValueError : a row has another number of cells than ``heads``.

    Examples
    --------
    >>> shown = table("Errors", ["width", "error"], [[64, "0.25"], [512, "-0.07"]])
    >>> print(shown.data[:84])
    <table class="table"><caption><span>Errors</span></caption><thead><tr><th scope="col
    """
    from IPython.display import HTML  # only the book needs it

    heads, rows = list(heads), [[str(cell) for cell in row] for row in rows]
    for row in rows:
        if len(row) != len(heads):
            raise ValueError(
                f"row {row} has {len(row)} cells, and the table {len(heads)} columns: give one cell for each"
            )
    columns = [[cell for cell in column if cell] for column in zip(*rows, strict=True)]
    numeric = [bool(column) and all(map(_NUMBER.fullmatch, column)) for column in columns] or [False] * len(heads)
    kinds = [' class="number"' if one else "" for one in numeric]
    head = "".join(f'<th scope="col"{kind}>{cell}</th>' for cell, kind in zip(heads, kinds, strict=True))
    body = ""
    for row in rows:
        first, *rest = (
            cell.replace("-", "\N{MINUS SIGN}") if one else cell for cell, one in zip(row, numeric, strict=True)
        )
        cells = "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(rest, kinds[1:], strict=True))
        body += f'<tr><th scope="row"{kinds[0]}>{first}</th>{cells}</tr>'
    return HTML(
        f'<table class="table"><caption><span>{caption}</span></caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )
