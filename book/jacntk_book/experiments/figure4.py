r"""Figure 4: eigenfeatures of the kernel regression *with* the Jacobian penalty, accuracy against robust accuracy.

The prediction of a network trained with the penalty lambda is a sum of eigenfeatures
(:meth:`jacntk_lib.RobustFlow.eigenfeatures`). Each is a classifier, with an accuracy at the test inputs and
one after a perturbation. The perturbation is the same for all: one step against the regressor *without* penalty, in
several ``READINGS``. :mod:`.figure5` is without penalty; the appendix's B9 to B13 are both on other data.

>>> config = Config(lams=(0.0, 1.0), data="wine_like", splits=2)
Traceback (most recent call last):
ValueError: unknown data set 'wine_like'; known are algerian_forest_fires, banknote_authentication, ...
>>> result = run(Config(lams=(0.0, 1.0), data="sonar", depth=1, shares=(0.9,), splits=2))
>>> correlation = measured(result, "correlation", 1.0, "test l2", 0.1)  # one number per split
>>> correlation.shape, over_splits(correlation).splits
((2,), 2)
>>> accuracy, robust = kept(result, 1.0, "test l2")  # every feature of the first split: (p,), (p,) for each size
>>> len(accuracy) == len(robust[0.01])
True
>>> counted(result, "accurate", 1.0).shape  # how many features of each split are right at more than 0.7
(2,)
>>> train, test = parts(Config(data="sonar"), share=0.9, split=0)
>>> Features(MLP(1), train.X, train.y, lam=0.0)(jacobian_ntk(MLP(1), test.X, train.X).value_rows()).shape
(187, 21)
>>> colour_of(1e-3), colour_of(1.0)
('#ff0000', '#8000ff')
"""

import itertools
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np

from jacntk_lib import activations
from jacntk_lib._validation import integer, non_negative_number, real_number
from jacntk_lib.architecture import MLP
from jacntk_lib.dynamics import RobustFlow
from jacntk_lib.kernels import jacobian_ntk

from .. import datasets
from .experiment import Experiment
from .fields import as_tuples, known_table
from .fragility import ACCURATE, FRAGILE, over_splits, rank_correlation, scatter
from .shared_attack import MEASURES, READINGS, SIZES, Features, counts, measures, moved

__all__ = [
    "APPENDIX", "EXPERIMENT", "LAMS", "MEASURES", "PRESETS", "READINGS", "SIZES", "Cell", "Config", "Features", "cells",
    "collect", "colour_of", "counted", "kept", "measured", "over_splits", "parts", "plot",
    "rank_correlation", "run", "run_cell", "scatter", "seeds", "summary",
]  # fmt: skip

LAMS = tuple(10.0**power for power in (-3, -2.5, -2, -1.5, -1, -0.5, 0))
_BY_INDEX = ("correlation", "accuracy_spread", "smallest", "largest", "spread")


@dataclass(frozen=True)
class Config:
    """One table and network; the grid is ``shares`` x ``splits`` x ``lams``.

    The paper's: GELU with 11 layers on the forest fires, lambda from 10^-3 to 1 in half decades, 10 repetitions,
    columns of the whole table scaled to [-1, 1] and rows to unit length. It does not state the division into training
    and test rows: ``shares`` are those of the test rows. ``drop_parallel`` is that of
    :func:`jacntk_book.datasets.load`.
    """

    lams: tuple[float, ...] = LAMS
    data: str = datasets.FIRES
    activation: str = "gelu"
    depth: int = 11
    drop_parallel: float | None = None
    shares: tuple[float, ...] = (0.2, 0.5)
    splits: int = 10

    def __post_init__(self):
        as_tuples(self, "lams", "shares")
        known_table(self.data)
        activations.get(self.activation)
        integer(self.depth, "depth", at_least=1)
        integer(self.splits, "splits", at_least=1)
        for lam in self.lams:
            non_negative_number(lam, "each of lams")
        for share in self.shares:
            if not 0 < real_number(share, "each of shares") < 1:
                raise ValueError(f"each of shares must be in (0, 1), got {share}")


def _demo(config):
    """A few rows and two lambdas: seconds, to see what the figure is."""
    return replace(config, lams=tuple(lam for lam in config.lams if lam in (0.0, 0.01, 1.0)), shares=(0.9,), splits=2)


def _presets(**choices):
    paper = Config(**choices)
    few = tuple(lam for lam in paper.lams if round(np.log10(lam or 1.0), 2) % 1 == 0)
    return {"demo": _demo(paper), "cpu": replace(paper, lams=few, shares=paper.shares[:1], splits=3), "paper": paper}


PRESETS = _presets()


@dataclass(frozen=True)
class Cell:
    """One lambda on one division of the rows; ``share`` is that of the test rows."""

    share: float
    split: int
    lam: float

    @property
    def key(self):
        return f"test{self.share:g}-split{self.split}-lam{self.lam:.3g}"


def cells(config):
    """Split by split: what the splits done so far say is of use when a run is interrupted."""
    return [Cell(*cell) for cell in itertools.product(config.shares, range(config.splits), config.lams)]


def seeds(config, cell):
    """That of the division into training and test rows."""
    return [cell.split]


# One cell


def parts(config, share, split):
    """Training and test rows, at random; the scaling is that of all rows."""
    data = datasets.load(config.data, scale="minmax", drop_parallel=config.drop_parallel)
    order = np.random.Generator(np.random.Philox(split)).permutation(len(data.X))
    test = round(share * len(data.X))
    return data.rows(np.sort(order[test:])), data.rows(np.sort(order[:test]))


@lru_cache(maxsize=1)
def _asked(config, share, split):
    """What no lambda changes: (M, N, 1+d) kernel rows and labels, without perturbation and for every reading, size."""
    train, test = parts(config, share, split)
    mlp = MLP(config.depth, config.activation, kappa=1.0)
    regressor = partial(RobustFlow(mlp, train.X, train.y, lam=0.0).at, np.inf)
    found = {None: (jacobian_ntk(mlp, test.X, train.X).value_rows(), test.y)}
    for reading, size in itertools.product(READINGS, SIZES):
        Z, y = moved(reading, size, regressor, train, test)
        found[reading, size] = jacobian_ntk(mlp, Z, train.X).value_rows(), y
    return mlp, train, test, found


def run_cell(config, cell, device="cpu", report=None):
    """Counts of every feature and ``MEASURES``; ``device`` is not used: all this is work for the processor."""
    mlp, train, test, asked = _asked(replace(config, lams=(0.0,)), cell.share, cell.split)
    features = Features(mlp, train.X, train.y, cell.lam)
    correct, whole = counts(features(asked[None][0]), asked[None][1])
    robust = np.empty((len(READINGS), len(SIZES), len(correct)), dtype=np.uint16)
    found = np.empty((len(READINGS), len(SIZES), len(MEASURES)))
    points = np.empty(len(READINGS))
    for (r, reading), (s, size) in itertools.product(enumerate(READINGS), enumerate(SIZES)):
        rows, y = asked[reading, size]
        robust[r, s], of_the_sum = counts(features(rows), y)
        points[r] = len(y)
        found[r, s] = measures(correct, robust[r, s], of_the_sum, len(test.y), len(y), len(train.y))
    close = np.diff(features.eigenvalues) > -16 * np.finfo(float).eps * features.eigenvalues[0]
    return {
        "correct": correct.astype(np.uint16),
        "robust": robust,
        "points": points,
        "measures": found,
        "accurate": np.array((correct > ACCURATE * len(test.y)).sum()),
        "inaccurate": np.array((correct < FRAGILE * len(test.y)).sum()),
        "regressor": np.array(whole / len(test.y)),
        "sizes": np.array([len(train.y), len(test.y), len(correct), features.unresolved, close.sum()]),
    }


# All cells


def collect(config, outcomes):
    """Arrays (share, split, lambda, ...), NaN where a cell is missing, the grid, and every feature of split 0.

    ``measures`` (..., reading, size, measure); ``accurate`` and ``inaccurate``, how many features; ``regressor``,
    accuracy of their sum; ``sizes``: training rows, test rows, features, features left out as unresolved, eigenvalues
    that equal their neighbour to rounding. ``by_index`` (share, lambda, reading, size, ``_BY_INDEX``) is of accuracies
    averaged over the splits, feature by feature in the order of eigenvalues: the correlation, the standard deviation of
    accuracy, smallest and largest robust accuracy and its standard deviation. Those of lambda = 0, where there is one,
    are kept: ``plain_accuracy`` (share, feature) and ``plain_robust`` (share, reading, size, feature), NaN at the end.
    ``kept_correct`` (feature,) and ``kept_robust`` (reading, size, feature) are counts in split 0 of the
    first share, those of lambda l from ``kept_start[l]`` to ``kept_start[l + 1]``; ``kept_points`` (1 + reading,) is
    of how many points.
    """
    grid = len(config.shares), config.splits, len(config.lams)
    per_reading = len(READINGS), len(SIZES)
    arrays = {
        "measures": np.full((*grid, *per_reading, len(MEASURES)), np.nan),
        "by_index": np.full((grid[0], grid[2], *per_reading, len(_BY_INDEX)), np.nan),
        "sizes": np.zeros((*grid, 5), dtype=int),
    } | {name: np.full(grid, np.nan) for name in ("accurate", "inaccurate", "regressor")}
    of = {(cell.share, cell.split, cell.lam): one for cell, one in outcomes.items()}
    for a, b, c in np.ndindex(grid):
        if (key := (config.shares[a], b, config.lams[c])) in of:
            for name in ("measures", "sizes", "accurate", "inaccurate", "regressor"):
                arrays[name][a, b, c] = of[key][name]
    rows = max((one["sizes"][0] for one in outcomes.values()), default=0)
    if 0.0 in config.lams:
        arrays["plain_accuracy"] = np.full((grid[0], rows), np.nan, np.float32)
        arrays["plain_robust"] = np.full((grid[0], *per_reading, rows), np.nan, np.float32)
    for (a, share), (b, lam) in itertools.product(enumerate(config.shares), enumerate(config.lams)):
        some = [of[share, split, lam] for split in range(config.splits) if (share, split, lam) in of]
        if len(some) > 1:
            accuracy, robust = _averaged(some)
            arrays["by_index"][a, b] = [
                [(rank_correlation(accuracy, r), accuracy.std(), r.min(), r.max(), r.std()) for r in by_size]
                for by_size in robust
            ]
            if lam == 0:
                arrays["plain_accuracy"][a, : len(accuracy)] = accuracy
                arrays["plain_robust"][a, ..., : len(accuracy)] = robust
    kept = [of.get((config.shares[0], 0, lam)) for lam in config.lams]
    there = [one for one in kept if one is not None]
    points = [there[0]["sizes"][1], *there[0]["points"]] if there else [0] * (1 + len(READINGS))
    empty = {"correct": np.zeros(0, np.uint16), "robust": np.zeros((*per_reading, 0), np.uint16)}
    kept = [one or empty for one in kept]
    return arrays | {
        "kept_correct": np.concatenate([one["correct"] for one in kept]),
        "kept_robust": np.concatenate([one["robust"] for one in kept], axis=-1),
        "kept_start": np.cumsum([0, *(len(one["correct"]) for one in kept)]),
        "kept_points": np.array(points, dtype=int),
        "lams": np.array(config.lams),
        "shares": np.array(config.shares),
    }


def _averaged(some):
    """Accuracy (p,) and robust accuracy (reading, size, p), means over the cells of some splits."""
    p = min(len(one["correct"]) for one in some)
    accuracy = np.mean([one["correct"][:p] / one["sizes"][1] for one in some], axis=0)
    robust = np.mean([one["robust"][..., :p] / one["points"][:, None, None] for one in some], axis=0)
    return accuracy, robust


# Reading a result


def measured(result, measure, lam, reading, size, *, share=None):
    """One of ``MEASURES``, one number per split, for one of ``READINGS`` and ``SIZES``.

    ``share`` of the test rows: default the first. Splits that a partial result lacks are left out.
    """
    a, b = _place(result, lam, share)
    place = _index(READINGS, reading), _index(SIZES, size), _index(MEASURES, measure)
    found = result["measures"][(a, slice(None), b, *place)]
    return found[np.isfinite(result["regressor"][a, :, b])]


def counted(result, name, lam, *, share=None):
    """``accurate``, ``inaccurate`` or ``regressor``, one number per split."""
    a, b = _place(result, lam, share)
    found = result[name][a, :, b]
    return found[np.isfinite(found)]


def kept(result, lam, reading):
    """Accuracy (p,) of every feature of split 0 of the first share, and {size: robust accuracy (p,)}."""
    _, b = _place(result, lam, None)
    r = _index(READINGS, reading)
    place = slice(*result["kept_start"][b : b + 2])
    test, *points = result["kept_points"]
    robust = result["kept_robust"][r, :, place] / points[r]
    return result["kept_correct"][place] / test, dict(zip(SIZES, robust, strict=True))


def _place(result, lam, share):
    a = 0 if share is None else _index(result["shares"].tolist(), share)
    return a, _index(result["lams"].tolist(), lam)


def _index(known, wanted):
    for k, one in enumerate(known):
        if str(one) == str(wanted) or (isinstance(one, float) and np.isclose(one, float(wanted), rtol=1e-6)):
            return k
    raise ValueError(f"the result has {', '.join(map(str, known))}, not {wanted}")


def summary(result, title="Accuracy and robustness of eigenfeatures with the Jacobian penalty"):
    """Rank correlation by reading, size and lambda, mean over splits; accuracy of the regressor."""
    lams = result["lams"].tolist()
    lines = [title]
    for share in result["shares"].tolist():
        splits = [len(counted(result, "regressor", lam, share=share)) for lam in lams]
        if not max(splits):
            continue
        lines += [
            f"{share:.0%} test rows, {max(splits)} splits; by lambda " + ", ".join(f"{lam:.2g}" for lam in lams),
            "  accuracy of the regressor "
            + ", ".join(str(over_splits(counted(result, "regressor", lam, share=share))) for lam in lams),
        ]
        for reading, size in itertools.product(READINGS, SIZES):
            found = (over_splits(measured(result, "correlation", lam, reading, size, share=share)) for lam in lams)
            lines.append(f"  rank correlation, {reading}, {size:g}: " + ", ".join(map(str, found)))
    return "\n".join(lines)


def plot(result, readings=READINGS):
    """Robust accuracy against accuracy, every feature of one split: a row per size, a column per reading."""
    import matplotlib.pyplot as plt

    from .. import plotting

    lams = result["lams"].tolist()
    figure, axes = plt.subplots(
        len(SIZES), len(readings), figsize=(plotting.TEXT_WIDTH, 5), sharex=True, sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for (row, size), (column, reading) in itertools.product(enumerate(SIZES), enumerate(readings)):
        for lam in sorted(lams, reverse=True):
            accuracy, robust = kept(result, lam, reading)
            scatter(axes[row, column], accuracy, robust[size], colour_of(lam))
        axes[0, column].set_title(reading, fontsize=9)
        axes[row, 0].set_ylabel(f"after a step of {size:g}")
        axes[-1, column].set_xlabel("accuracy")
    return figure


def colour_of(lam):
    """That of the ordinary NTK for 0; from red, 10^-3, to purple, 1, as in the paper's figure."""
    import matplotlib as mpl

    from .. import plotting

    if lam == 0:
        return plotting.COLOURS["plain"]
    return mpl.colors.to_hex(mpl.colormaps["rainbow_r"](np.clip(1 + np.log10(lam) / 3, 0, 1)))


EXPERIMENT = Experiment(
    label=4,
    title="Accuracy and robustness of eigenfeatures with the Jacobian penalty",
    Config=Config,
    presets=PRESETS,
    cells=cells,
    run_cell=run_cell,
    collect=collect,
    seeds=seeds,
    summary=summary,
    plot=plot,
    uses_gpu=False,
)
run = EXPERIMENT.run


def _on_other_data(label, title, **choices):
    """The experiment of Figure 4 with other choices, without and with the penalty, under its own name."""
    own = partial(summary, title=title)
    return replace(EXPERIMENT, label=label, title=title, presets=_presets(lams=(0.0, *LAMS), **choices), summary=own)


_NOTES = "banknote_authentication"
APPENDIX = {
    one.label: one
    for one in (
        # each at the smallest depth whose JNTK has a smallest eigenvalue above 1e-6, which explains Figures 6 to B8
        _on_other_data("B9", "Eigenfeatures on the forest fires, erf", activation="erf", depth=6),
        _on_other_data("B10", "Eigenfeatures on the banknotes, GELU", data=_NOTES, depth=7, drop_parallel=0.99),
        _on_other_data(
            "B11", "Eigenfeatures on the banknotes, erf", data=_NOTES, activation="erf", depth=6, drop_parallel=0.995
        ),
        # ten thousand unknowns at 80/20, minutes for each lambda: the other half first
        _on_other_data("B12", "Eigenfeatures on sonar, GELU", data="sonar", depth=2, shares=(0.5, 0.2)),
        _on_other_data(
            "B13", "Eigenfeatures on sonar, erf", data="sonar", activation="erf", depth=1, shares=(0.5, 0.2)
        ),
    )
}
