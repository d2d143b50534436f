"""Every figure twice: as drawn, and laid out anew for telephones, with type of the same size.

A figure of seven inches on a telephone has type half as large as the text around it. So the picture that a notebook
stores carries a second one in its metadata, ``WIDTH`` inches wide, which the book's pages show below 600 pixels
(book/_ext/jacntk_layout.py). Nothing in a chapter mentions it.
"""

from functools import partial

import numpy as np
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.ticker import MaxNLocator

__all__ = ["KEY", "WIDTH", "register", "restack"]

KEY = "narrow"
"""Where the metadata of a PNG output hold the second picture, base64."""
WIDTH = 3.4
"""Inches of a narrow figure; a telephone's text column at the 100 dots per inch of a figure."""
_TALLEST = 2.7  # inches of a panel
_LINE = 0.25  # inches of a line of the legend
_BELOW = {"loc": "outside lower center", "columnspacing": 1, "handletextpad": 0.5}  # little room across
_SHARE = 0.13  # of a panel; a legend that takes more goes below


def restack(figure):
    """Lay ``figure`` out for a narrow page: one panel below the other, column by column, a large legend below them.

    Where every panel has a title of its own, as steps of one training have, the order is that of reading, row by row.
    Panels without tick labels, as pictures of matrices are, keep their places. A panel that had its scale beside it, at
    the left of its row, gets the numbers and the label itself. The figure is changed.

    Parameters
    ----------
    figure : matplotlib Figure whose panels stand in one grid; others only become narrower.

    Returns
    -------
    Whether panels that were side by side are now one below the other.
    """
    panels = [ax for ax in figure.axes if ax.get_subplotspec() is not None]
    _keep_whole_numbers(panels)
    width, height = figure.get_size_inches()
    grids = {ax.get_gridspec() for ax in panels}
    if len(grids) != 1:
        figure.set_size_inches(WIDTH, height * min(1, 1.4 * WIDTH / width))
        return False
    (grid,) = grids
    rows, columns = grid.nrows, grid.ncols
    if all(not ax.axison or len(ax.get_xticks()) + len(ax.get_yticks()) == 0 for ax in panels):
        figure.set_size_inches(WIDTH, height * WIDTH / width)
        return False
    if columns > 1:
        _one_column(figure, panels, rows, columns)
    tall = min(height / rows, _TALLEST)
    room = _legends_below(figure, [*figure.legends, *_covering(figure, panels, tall)]) + _outside(figure, panels)
    figure.set_size_inches(WIDTH, rows * columns * tall + room)
    return columns > 1


def _keep_whole_numbers(panels):
    """Let axes whose numbers are whole, as depths, have no others where there is less room."""
    for ax in panels:
        for axis, ticks in ((ax.xaxis, ax.get_xticks()), (ax.yaxis, ax.get_yticks())):
            locator = axis.get_major_locator()
            if isinstance(locator, MaxNLocator) and np.array_equal(ticks, np.round(ticks)):
                locator.set_params(integer=True)


def _one_column(figure, panels, rows, columns):
    titles = {ax.get_title() for ax in panels}
    by_row = "" not in titles and len(titles) == len(panels)
    heights = list(panels[0].get_gridspec().get_height_ratios())
    heights = np.repeat(heights, columns) if by_row else heights * columns
    column = GridSpec(rows * columns, 1, figure=figure, height_ratios=heights)
    first = {}  # of each row
    for ax in sorted(panels, key=lambda ax: ax.get_subplotspec().colspan.start):
        place = ax.get_subplotspec()
        left = first.setdefault(place.rowspan.start, ax)
        if left is not ax:
            ax.tick_params(which="both", labelleft=True)
            if not ax.get_ylabel():
                ax.set_ylabel(left.get_ylabel())
        row, side = place.rowspan.start, place.colspan.start
        ax.set_subplotspec(column[row * columns + side if by_row else side * rows + row])
    _number_the_lowest(sorted(panels, key=lambda ax: ax.get_subplotspec().rowspan.start))


def _number_the_lowest(panels):
    """Where panels share one scale across, let the lowest have its numbers and its name, and no other."""
    *above, lowest = panels
    names = {ax.get_xlabel() for ax in panels} - {""}
    if above and len(names) <= 1 and all(lowest.get_shared_x_axes().joined(lowest, ax) for ax in above):
        for ax in above:
            ax.tick_params(which="both", labelbottom=False)
            ax.set_xlabel("")
        lowest.tick_params(labelbottom=True)
        lowest.set_xlabel("".join(names))


def _covering(figure, panels, tall):
    """The legend inside the only panel that has one, where it would take much of a panel of that height in inches."""
    inside = [legend for legend in (ax.get_legend() for ax in panels) if legend is not None]
    if len(inside) != 1:
        return []
    box = inside[0].get_window_extent()
    return inside if box.width * box.height > _SHARE * WIDTH * tall * figure.dpi**2 else []


def _outside(figure, panels):
    """Inches of the legends that hang below their own panels."""
    figure.draw_without_rendering()
    hanging = [(ax, ax.get_legend().get_window_extent()) for ax in panels if ax.get_legend() is not None]
    return sum(box.height for ax, box in hanging if box.y1 <= ax.bbox.y0) / figure.dpi


def _legends_below(figure, legends):
    """Move ``legends`` below the figure, with as many columns as there is room for; returns the inches they take."""
    lines = 0
    for old in legends:
        handles, names = old.legend_handles, [text.get_text() for text in old.get_texts()]
        if old.axes is not None and old.axes.get_legend_handles_labels()[1] == names:
            handles = old.axes.get_legend_handles_labels()[0]  # with the marks of lines that have error bars
        title = old.get_title().get_text() or None
        old.remove()
        for columns in (4, 3, 2, 1):
            new = figure.legend(handles, names, ncols=columns, title=title, markerscale=old.markerscale, **_BELOW)
            if columns == 1 or new.get_window_extent().width <= WIDTH * figure.dpi:
                break
            new.remove()
        lines += -(-len(names) // columns) + (title is not None)
    return lines * _LINE


def _png(figure, print_wide):
    wide = print_wide(figure)
    if wide is None:  # an empty figure
        return None
    data, metadata = wide
    stacked = restack(figure)
    narrow, size = print_wide(figure)
    return data, {**metadata, KEY: {"png": narrow, "width": size["width"], "stacked": stacked}}


def register(shell):
    """Let the notebook ``shell`` store every figure as a PNG at twice the resolution, with its narrow one."""
    from IPython.core.pylabtools import retina_figure
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    set_matplotlib_formats("retina")
    print_wide = partial(retina_figure, base64=True, bbox_inches="tight")
    shell.display_formatter.formatters["image/png"].for_type(Figure, partial(_png, print_wide=print_wide))
