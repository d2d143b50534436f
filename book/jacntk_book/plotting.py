"""The house style, and the plots that recur. Every function draws on an Axes that it is given.

>>> from matplotlib.figure import Figure
>>> left, right = Figure().subplots(1, 2)
>>> line = error_by_width(left, [64, 256], [[0.40, 0.44], [0.21, 0.19]], label="depth 1", colour="depth 1")
>>> gram_picture(right, np.eye(4), block=2).get_clim()
(-1.0, 1.0)
"""

import sys

import numpy as np

from jacntk_lib._optional import matplotlib as mpl
from jacntk_lib._optional import seaborn as sns
from jacntk_lib._validation import as_float64, integer

from . import narrow
from .bootstrap import error_table, median_interval

__all__ = ["COLOURS", "SURROGATES", "TEXT_WIDTH", "error_by_width", "gram_picture", "use_house_style"]

TEXT_WIDTH = 7.0
"""Width of the book's text column in inches, at the 100 dots per inch of a figure."""

# Near Okabe and Ito's colours, darker where white paper asks for it. Colours of one row differ in lightness too, so
# that grey printing and colour blindness keep them apart. Where colours of different rows meet in a figure of the book,
# they do so as well, or marker, dash or place tells them apart (tests/test_plotting.py).
COLOURS = {
    "limit": "#1b1b1b", "network": "#2a8fd0", "reference": "#767676",
    "value": "#56499c", "jacobian": "#d98200",
    "erf": "#00507d", "gelu": "#e0672b",
    "penalised": "#00664b", "plain": "#cc79a7",
    "train": "#1b1b1b", "test": "#d55e00",
    "depth 1": "#440154", "depth 2": "#2f7f8e", "depth 3": "#7bb818",
}  # fmt: skip
"""What is drawn -> its colour, the same in every chapter."""

_MARKS = {
    "ours": ("penalised", "o"), "GEKPLS": ("jacobian", "s"), "JENN": ("network", "D"), "GPyTorch": ("plain", "^"),
    "ours, values only": ("penalised", "o"), "GP, Matern 5/2": ("value", "v"), "GP, RBF": ("value", "^"),
    "KRG": ("gelu", "s"), "KPLS": ("reference", "X"),
}  # fmt: skip
SURROGATES = {
    name: {
        **{"label": name.replace("Matern", "Matérn"), "color": COLOURS[colour], "marker": marker},
        "markerfacecolor": COLOURS[colour] if name in ("ours", "GEKPLS", "JENN", "GPyTorch") else "white",
    }
    for name, (colour, marker) in _MARKS.items()
}
"""How a line of each method of ``benchmarks/gradients.py`` is drawn. Hollow are those told values only."""

# For lines that have no name above, in order. The first three differ in lightness; more of them than three do not fit
# between black and white, so the others differ by hue alone.
_CYCLE = ["#003f5c", "#c2510c", "#56b4e9", "#009e73", "#56499c", "#cc79a7"]


def use_house_style():
    """Set matplotlib's defaults for the book: sizes, palette, white canvas, sharp on fine screens.

    Call it once, in the first code cell. It changes this process's rcParams and, in a notebook, asks for
    PNG figures at twice the resolution, each with a second one for telephones in its metadata (``book/narrow.py``).

    Examples
    --------
    >>> use_house_style()
    >>> mpl.rcParams["figure.figsize"]
    [7.0, 3.9]
    """
    sns.set_theme(context="notebook", style="ticks", palette=_CYCLE)
    mpl.rcParams.update(
        {
            "figure.figsize": (TEXT_WIDTH, 3.9),
            "figure.dpi": 100,
            "figure.facecolor": "white",
            "figure.constrained_layout.use": True,
            "savefig.facecolor": "white",
            "savefig.dpi": 200,
            "font.family": "DejaVu Sans",  # ships with matplotlib: the same on every machine
            "font.size": 10,
            "axes.titlesize": 11,
            "axes.labelsize": 10,
            "xtick.labelsize": 9,
            "ytick.labelsize": 9,
            "legend.fontsize": 9,
            "legend.frameon": False,
            "legend.handlelength": 3,  # room for the gaps of a broken line beside its marker
            "axes.grid": True,
            "grid.color": "#e4e4e4",
            "grid.linewidth": 0.6,
            "axes.axisbelow": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.linewidth": 0.9,
            "xtick.major.width": 0.9,
            "ytick.major.width": 0.9,
            "xtick.major.size": 4,
            "ytick.major.size": 4,
            "lines.linewidth": 1.8,
            "lines.markersize": 5,
            "image.cmap": "viridis",
        }
    )
    ipython = sys.modules.get("IPython")
    if ipython is not None and ipython.get_ipython() is not None:
        narrow.register(ipython.get_ipython())


def error_by_width(ax, widths, errors, label=None, colour=None):
    """Median error over seeds against width, on logarithmic axes, with its 95 % bootstrap band.

    The first call on an Axes adds a dashed line of slope -1/2 through the first median, the last entry of its legend.

    Parameters
    ----------
    ax : matplotlib Axes.
    widths : (W,) positive numbers.
    errors : (W, S) positive errors, one row per width and one column per seed.
    label : name in the legend.
    colour : a key of :data:`COLOURS` or any colour of matplotlib; default the next of the palette.

    Returns
    -------
    The median line (a ``Line2D``).

    Raises
    ------
    ValueError : shapes do not match or a value is not positive.
    """
    widths, errors = error_table(widths, errors)
    median, low, high = median_interval(errors)
    (line,) = ax.loglog(widths, median, marker="o", label=label, color=COLOURS.get(colour, colour), zorder=3)
    ax.fill_between(widths, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    drawn = [other for other in ax.lines if other.get_gid() == "half-slope"]
    for other in drawn:  # back to the end: legends list lines in their order
        other.remove()
        ax.add_line(other)
    if not drawn:
        reference = median[0] * (widths / widths[0]) ** -0.5
        style = {"color": COLOURS["reference"], "linestyle": "--", "linewidth": 1, "zorder": 2}
        ax.loglog(widths, reference, label="slope $-1/2$", gid="half-slope", **style)
    ax.set_xscale("log", base=2)
    ax.set_xlabel("width $n$")
    ax.set_ylabel("relative error")
    return line


def gram_picture(ax, matrix, block=None):
    """A matrix as a picture: white is zero, purple negative, orange positive.

    Parameters
    ----------
    ax : matplotlib Axes.
    matrix : (R, C) real numbers.
    block : rows that belong to one point, 1 + d in a Jacobian Gram matrix; thin lines part the blocks.

    Returns
    -------
    The ``AxesImage``, for a colour bar.

    Raises
    ------
    ValueError : ``matrix`` is not a matrix of finite numbers, or its sides are not multiples of ``block``.
    """
    matrix = as_float64(matrix, "matrix")
    if matrix.ndim != 2 or matrix.size == 0:
        raise ValueError(f"matrix has shape {matrix.shape}: a matrix with at least one entry is needed")
    largest = np.abs(matrix).max() or 1.0
    image = ax.imshow(matrix, cmap="PuOr_r", vmin=-largest, vmax=largest, interpolation="nearest")
    ax.grid(False)
    ax.set_xticks([])
    ax.set_yticks([])
    if block is not None:
        block = integer(block, "block", at_least=1)
        rows, columns = matrix.shape
        if rows % block or columns % block:
            raise ValueError(
                f"matrix of shape {matrix.shape} does not divide into blocks of {block}: its sides must be multiples"
            )
        for row in range(block, rows, block):
            ax.axhline(row - 0.5, color="#bbbbbb", linewidth=0.5)
        for column in range(block, columns, block):
            ax.axvline(column - 0.5, color="#bbbbbb", linewidth=0.5)
    return image
