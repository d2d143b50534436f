r"""How many eigenfeatures are accurate, how many survive an attack, and do the two go together?

An attack on each feature by itself is read off *margins*, (M, p) for M points and p features: the size of the smallest
attack that turns the sign of feature i at point j, negative where the sign is wrong without any attack. So the accuracy
of a feature under an attack of size eps is the share of points with a margin above eps.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

from .. import bootstrap

ACCURATE, FRAGILE = 0.7, 0.5
"""An accurate feature is right at more than so many points; a fragile one, under attack, at fewer than so many."""
SELECTIONS = ("all", "strongest")
"""Which features count: all; the 20 that carry most of the sum of squares at the test points."""
MEASURES = ("features", "correlation", "accurate", "fragile")
_STRONGEST = 20


def linear_margins(values, jacobians, y):
    r"""``y F / |grad F|``, exact for a linear F: (M, p) from values (M, p), Jacobians (M, p, d) and labels (M,)."""
    size = np.linalg.norm(jacobians, axis=-1)
    signed = y[:, None] * values
    # a feature that is constant and right cannot be turned; one that is zero is not right
    return np.divide(signed, size, out=np.where(signed > 0, np.inf, np.minimum(signed, 0.0)), where=size > 0)


def counts(margins, eps):
    """How many points each feature gets right without attack and under attacks of size eps: (1 + E, p)."""
    return np.stack([(margins > size).sum(axis=0) for size in (0.0, *eps)])


def rank_correlation(a, b):
    """Spearman's, of (p,) with (p,); NaN for fewer than three features or where one side is constant.

    >>> rank_correlation([0.5, 0.6, 0.9], [0.4, 0.7, 0.6])
    0.5
    """
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return np.nan
    return float(stats.spearmanr(a, b).statistic)


def select(strength):
    """Masks (S, p) of ``SELECTIONS``, from sums of squares ``strength`` (p,)."""
    masks = np.ones((len(SELECTIONS), len(strength)), dtype=bool)
    masks[1] = False
    masks[1, np.argsort(-strength, kind="stable")[:_STRONGEST]] = True
    return masks


def battery(correct, masks, points):
    """The ``MEASURES`` of every selection and attack size, (S, E, 4), from counts (1 + E, p) and masks (S, p).

    The number of features, Spearman's correlation of accuracy and robust accuracy, the number of accurate features, and
    how many of these are fragile.
    """
    found = np.full((len(masks), len(correct) - 1, len(MEASURES)), np.nan)
    for s, mask in enumerate(masks):
        accuracy = correct[0, mask]
        accurate = accuracy > ACCURATE * points
        for e, robust in enumerate(correct[1:, mask]):
            fragile = accurate & (robust < FRAGILE * points)
            found[s, e] = len(accuracy), rank_correlation(accuracy, robust), accurate.sum(), fragile.sum()
    return found


def mechanical_correlation(margins, y, eps, masks, draws, seed):
    """What :func:`battery` calls correlation when the labels are shuffled among the points, (S, E), mean of draws.

    Under an attack of its own a feature's robust accuracy is at most its accuracy, so the two are correlated even where
    labels mean nothing: this is by how much.
    """
    rng = np.random.Generator(np.random.Philox(seed))
    found = np.full((draws, len(masks), len(eps)), np.nan)
    for draw in range(draws):
        flip = y * rng.permutation(y)
        correct = counts(flip[:, None] * margins, eps)
        for s, mask in enumerate(masks):
            found[draw, s] = [rank_correlation(correct[0, mask], robust[mask]) for robust in correct[1:]]
    there = np.isfinite(found).all(axis=0)
    return np.where(there, np.where(there, found, 0.0).mean(axis=0), np.nan)


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
