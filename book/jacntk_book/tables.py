"""Tables that a chapter makes from what it has computed."""

import re

__all__ = ["table"]

_NUMBER = re.compile(r"(?!.*[a-z]{3,} [a-z]{3})\[?[+\N{MINUS SIGN}-]?\d.{0,22}")  # a number or an interval, with a unit
_NO_NUMBER = re.compile(r"[a-z]{1,8}|over\s\d+\ss|")  # "never", "none", over a limit, or nothing


def table(caption, heads, rows):
    """A table with a caption, as HTML that a notebook shows.

    The first cell of a row names it. Columns of numbers, which may carry a unit or an interval, are set flush right
    with true minus signs, and neither an interval nor a short cell is broken.

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

    caption, heads, rows = typeset(caption), list(map(typeset, heads)), [list(map(typeset, row)) for row in rows]
    for row in rows:
        if len(row) != len(heads):
            raise ValueError(
                f"row {row} has {len(row)} cells, and the table {len(heads)} columns: give one cell for each"
            )
    numeric = [_of_numbers(column) for column in zip(*rows, strict=True)] or [False] * len(heads)
    kinds = [' class="number"' if one else "" for one in numeric]
    head = "".join(f'<th scope="col"{kind}>{cell}</th>' for cell, kind in zip(heads, kinds, strict=True))
    body = ""
    for row in rows:
        first, *rest = (_as_number(cell) if one else cell for cell, one in zip(row, numeric, strict=True))
        cells = "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(rest, kinds[1:], strict=True))
        body += f'<tr><th scope="row"{kinds[0]}>{first}</th>{cells}</tr>'
    return HTML(
        f'<table class="table"><caption><span>{caption[:1].upper()}{caption[1:]}</span></caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def typeset(text):
    """With apostrophes as the book's text has them, and no equation broken.

    >>> typeset("the network's own")
    'the network’s own'
    >>> typeset("lambda = 1").encode("ascii", "replace")
    b'lambda?=?1'
    """
    text = re.sub(r"(?<=[a-z])'(?=[a-z])", "’", str(text))
    return re.sub(r"(?<=\S) = (?=\S)", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}", text)


def _of_numbers(column):
    """
    >>> _of_numbers(["never", "12 s", ""]), _of_numbers(["never", "none"]), _of_numbers(["12 s when all is quiet", "3"])
    (True, False, False)
    >>> _of_numbers(["2 general points", "3"]), _of_numbers(["over 200 s", "3 s"])
    (False, True)
    """
    others = [cell for cell in column if not _NUMBER.fullmatch(cell)]
    return len(others) < len(column) and all(map(_NO_NUMBER.fullmatch, others))


def _as_number(cell):
    """
    >>> _as_number("-0.5 [-0.8, -0.2]").encode("ascii", "replace")
    b'?0.5 [?0.8,??0.2]'
    >>> _as_number("[1e-12, 2e-12] *").encode("ascii", "replace")
    b'[1e-?12, 2e-?12]?*'
    """
    cell = re.sub("(?<!e)-", "\N{MINUS SIGN}", cell)  # 1e-06 is as printed elsewhere, in one piece
    breakable = re.compile("(?<!,) " if "e-" in cell else " ")  # two such numbers are too long for a telephone
    cell = re.sub(r"\[.*|^.{1,12}$|^[^a-z\[]{13,16}$", lambda part: breakable.sub("\N{NO-BREAK SPACE}", part[0]), cell)
    return cell.replace("e-", "e-\N{WORD JOINER}")
