"""When an eigenfeature counts as accurate or fragile, and means over splits."""

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

from .. import bootstrap

ACCURATE, FRAGILE = 0.7, 0.5
"""An accurate feature is right at more than so many points; a fragile one, under attack, at fewer than so many."""


def rank_correlation(a, b):
    """Spearman's, of (p,) with (p,); NaN for fewer than three features or where one side is constant.

    >>> rank_correlation([0.5, 0.6, 0.9], [0.4, 0.7, 0.6])
    0.5
    """
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return np.nan
    return float(stats.spearmanr(a, b).statistic)


class OverSplits(NamedTuple):
    """Mean over the splits in which a measure is defined, its 95 % interval, and in how many of how many that is."""

    mean: float
    low: float
    high: float
    defined: int
    splits: int

    def __str__(self):
        """The mean in two digits, with its number of splits where these are not all; or "undefined"."""
        if not self.defined:
            return "undefined"
        return f"{self.mean:.2f}" + (f" ({self.defined} of {self.splits})" if self.defined < self.splits else "")


def over_splits(values):
    """Mean over splits with its 95 % bootstrap interval, of (S,), as ``OverSplits``.

    NaN marks a split in which the measure is undefined. The mean is over the others, and so it speaks of those alone:
    a split drops out of a correlation when no feature survives. It is NaN where none is left, the interval where fewer
    than two are.

    Splits are what is resampled, not features: those of one split share its points, training and test. The splits of
    one table share rows too, so the interval speaks of this table.

    >>> print(over_splits([0.25, 0.75]), "/", over_splits([0.25, math.nan]), "/", over_splits([math.nan]))
    0.50 / 0.25 (1 of 2) / undefined
    """
    values = np.asarray(values, dtype=float)
    defined = values[np.isfinite(values)]
    mean, low, high = defined.mean() if len(defined) else math.nan, math.nan, math.nan
    if len(defined) > 1:
        mean, low, high = bootstrap.mean_interval(defined)
    return OverSplits(float(mean), float(low), float(high), len(defined), len(values))


def scatter(ax, accuracy, robust, colour, **style):
    """Features as dots, and the diagonal; the shaded corner holds the accurate but fragile ones.

    >>> from matplotlib.figure import Figure
    >>> ax = Figure().subplots()
    >>> scatter(ax, [0.5, 0.9], [0.5, 0.2], "black")
    >>> [float(end) for end in ax.get_xlim()]
    [0.0, 1.0]
    """
    ax.axline((0, 0), slope=1, color="#767676", linewidth=0.8)
    ax.fill_between([ACCURATE, 1], 0, FRAGILE, color="#f6d9c6", linewidth=0, zorder=0)
    ax.plot(accuracy, robust, ".", color=colour, markersize=3, alpha=0.5, markeredgewidth=0, **style)
    ax.set(xlim=(0, 1), ylim=(0, 1))
