r"""What figures 4 and 5 share: accuracy and robust accuracy of the eigenfeatures of a kernel regressor.

The prediction of a network trained with the penalty lambda is a sum of eigenfeatures, one per eigenvector of
:math:`\Lambda^{1/2} \Theta \Lambda^{1/2}` (:meth:`jacntk_lib.dynamics.RobustFlow.eigenfeatures`). For every feature we
count the points at which it has the sign of the label, and those at which it still has after an attack of size eps on
that feature alone. Figure 4 is with a penalty, figure 5 without: lambda = 0, where the kernel is the ordinary NTK.

Neither the time of training nor a ridge changes a feature: both multiply it by a positive number, which changes
neither its sign nor the attack that turns it. They do change which features are strong (:func:`measured_at`), and the
sum of the features, which is measured beside them.

>>> from jacntk_lib.experiments import figure4
>>> few = {"rows": 8, "depth": 2, "splits": 2, "test_rows": 20, "eps": (0.1,), "attack_eps": (0.1,), "attack_steps": 2}
>>> config = Config(lams=(1.0,), data=("wine",), attacked_splits=1, attacked_lams=(1.0,), attacked_features=8, **few)
>>> TABLES["digits"] == Table(rows=32, positive=3, negative=8)  # threes against eights, 32 rows to train on
True
>>> table("wine").task, parts("wine", 8, 20, seed=0)[1].X.shape  # one class of wine against the others
('two classes', (20, 13))
>>> result = figure4.run(config)
>>> both = rows_of(result, "wine", 1.0)  # the cells of the two splits
>>> correlation = measured(result, "correlation", both, 0.1)
>>> found = over_splits(correlation)
>>> isinstance(found, OverSplits), found.splits, mechanical(result, both, 0.1).shape
(True, 2, (2,))
>>> measured_at(result, "correlation", "wine", 1.0, 0.1, t=10.0).shape  # where strength is that at time 10
(2,)
>>> attacked(result, "wine", 1.0).shape  # split, attack, without and with, the strongest features
(1, 3, 2, 4)
>>> attacked_correlation(result, "wine", 1.0, 0.1).shape
(1,)
>>> eigenvalues, strength, accuracy, at_training_points = kept(result, "wine", 1.0, split=1)
>>> accuracy.shape == (2, len(eigenvalues))  # without attack and with one of size 0.1
True
>>> from matplotlib.figure import Figure
>>> ax = Figure().subplots()
>>> scatter(ax, accuracy[0], accuracy[1], "#00664b")
>>> len(ax.lines)  # the diagonal and the dots
2
"""

import itertools
import math
import warnings
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
from scipy.linalg import LinAlgWarning

from .. import activations, datasets, robustness
from .._validation import integer, non_negative_number, positive_number
from ..architecture import MLP
from ..dynamics import RobustFlow
from ._fields import as_tuples
from ._fragility import (
    ACCURATE,
    FRAGILE,
    MEASURES,
    SELECTIONS,
    OverSplits,
    battery,
    counts,
    linear_margins,
    mechanical_correlation,
    over_splits,
    rank_correlation,
    scatter,
    select,
)

__all__ = [
    "ACCURATE", "ATTACKS", "FRAGILE", "MEASURES", "SELECTIONS", "TABLES", "VIEWS", "Cell", "Config", "OverSplits",
    "Table", "attacked", "attacked_correlation", "cells", "collect", "kept", "measured", "measured_at", "mechanical",
    "over_splits", "parts", "plot", "rows_of", "run_cell", "scatter", "seeds", "summary", "table",
]  # fmt: skip

VIEWS = ("test", "linf", "sphere", "train", "centred")
"""Ways to look at features: at test points, attacks in l2; in l-infinity; along the sphere that the inputs lie on; at
training points, l2; at test points, l2, features of the labels less their mean (it turns the sign of some)."""
ATTACKS = ("linear", "one step", "pgd")


class Table(NamedTuple):
    """How a table becomes a problem of two classes."""

    rows: int  # to train on
    positive: int | None = None  # the class that is +1; None where there are two classes to begin with
    negative: int | None = None  # the class that is -1; None: all others


TABLES = {  # rows such that there are about 500 to 1600 unknowns
    "algerian_forest_fires": Table(100),
    "banknote_authentication": Table(100),
    "breast_cancer": Table(50),
    "sonar": Table(40),
    "wine": Table(100, positive=1),
    "digits": Table(32, positive=3, negative=8),
}


@dataclass(frozen=True)
class Config:
    """The grid: ``data`` x ``lams`` x ``splits``, random parts into training and test rows.

    All beyond GELU, 11 layers and the repetitions is our choice: the paper's data, lambda, attack and rows are not
    known to us. Columns are standardised by the training rows, rows then of unit length; of equal rows the first is
    kept. ``rows`` overrides the training rows of ``TABLES``; at most ``test_rows`` others are scored. ``eps`` are the
    sizes of the linearised attacks.

    On ``other_data``, for ``other_lams``, ``other_splits`` times, the same is done for ``other_kernels``, pairs
    (activation, depth), and for ``other_rows``. In the first ``attacked_splits`` of the main grid, ``attack_points``
    test points are attacked by descent as well, ``attack_steps`` steps, sizes ``attack_eps``: the regressor, at all
    ``times`` (kappa^2 t) and at infinite time; and for ``attacked_lams`` so are ``attacked_features`` features, half
    of them the strongest, half from all over the spectrum. Of the first ``kept_splits`` every feature is stored.
    ``shuffles`` is the number of shuffled labels behind each mechanical correlation.
    """

    lams: tuple[float, ...]
    data: tuple[str, ...] = tuple(TABLES)
    splits: int = 10
    activation: str = "gelu"
    depth: int = 11
    rows: int | None = None
    test_rows: int = 200  # below 256, so that counts fit one byte
    eps: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)
    times: tuple[float, ...] = (0.1, 1.0, 10.0, 100.0)
    other_data: tuple[str, ...] = ()
    other_lams: tuple[float, ...] = ()
    other_splits: int = 5
    other_kernels: tuple[tuple[str, int], ...] = ()
    other_rows: tuple[int, ...] = ()
    attacked_splits: int = 3
    attacked_lams: tuple[float, ...] = ()
    attacked_features: int = 32
    attack_eps: tuple[float, ...] = (0.05, 0.1, 0.2, 0.3)
    attack_points: int = 64
    attack_steps: int = 10
    kept_splits: int = 2
    shuffles: int = 4

    def __post_init__(self):
        others = ("other_data", "other_lams", "other_kernels", "other_rows", "attacked_lams")
        as_tuples(self, "lams", "data", "eps", "times", "attack_eps", *others, empty=others)
        for name in (*self.data, *self.other_data):
            if name not in TABLES:
                raise ValueError(f"no problem of two classes is made of {name!r}; known are {', '.join(TABLES)}")
        for kernel in self.other_kernels:
            if not isinstance(kernel, tuple | list) or len(kernel) != 2:
                raise TypeError(f"each of other_kernels must be a pair of activation and depth, got {kernel!r}")
        for name, depth in ((self.activation, self.depth), *self.other_kernels):
            activations.get(name)
            integer(depth, "depth", at_least=1)
        for lam in (*self.lams, *self.other_lams):
            non_negative_number(lam, "each of lams")
        for name in ("eps", "times", "attack_eps"):
            for size in getattr(self, name):
                positive_number(size, f"each of {name}")
        if not set(self.attacked_lams) <= set(self.lams):
            raise ValueError(f"attacked_lams {self.attacked_lams} must be among lams {self.lams}")
        for rows in (*self.other_rows, *(() if self.rows is None else (self.rows,))):
            integer(rows, "rows", at_least=2)
        for name in (
            "splits",
            "other_splits",
            "test_rows",
            "attacked_features",
            "attack_points",
            "attack_steps",
            "shuffles",
        ):
            integer(getattr(self, name), name, at_least=1)
        for name in ("attacked_splits", "kept_splits"):
            integer(getattr(self, name), name, at_least=0)
        if self.test_rows > 255:
            raise ValueError(f"test_rows must be at most 255, got {self.test_rows}")


@dataclass(frozen=True)
class Cell:
    """One split of one table, for one kernel and one lambda; ``main`` tells the main grid from the others."""

    data: str
    activation: str
    depth: int
    rows: int
    lam: float
    split: int
    main: bool = True
    key: str = field(init=False)

    def __post_init__(self):
        kernel = f"{self.activation}{self.depth}"
        object.__setattr__(self, "key", f"{self.data}-{kernel}-rows{self.rows}-lam{self.lam:g}-split{self.split}")


def cells(config):
    """The main grid split by split, then the other kernels and numbers of rows."""

    def rows_of(data):
        return TABLES[data].rows if config.rows is None else config.rows

    main = (config.activation, config.depth)
    found = [
        Cell(data, *main, rows_of(data), lam, split)
        for split, data, lam in itertools.product(range(config.splits), config.data, config.lams)
    ]
    others = itertools.product(range(config.other_splits), config.other_data, config.other_lams)
    for split, data, lam in others:
        found += [
            Cell(data, *kernel, rows_of(data), lam, split, False) for kernel in config.other_kernels if kernel != main
        ]
        found += [Cell(data, *main, rows, lam, split, False) for rows in config.other_rows if rows != rows_of(data)]
    return found


def seeds(config, cell):
    """That of the split, which also draws the shuffled labels."""
    return [cell.split]


# The data


@lru_cache(maxsize=len(TABLES))
def table(name):
    """The raw table as a problem of two classes, +1 and -1, without repeated rows."""
    data, which = datasets.load(name, scale=None, unit_length=False), TABLES[name]
    if which.negative is not None:
        data = data.rows((data.y == which.positive) | (data.y == which.negative))
    if which.positive is not None:
        data = replace(data, y=np.where(data.y == which.positive, 1.0, -1.0), task="two classes")
    return data.rows(np.sort(np.unique(data.X, axis=0, return_index=True)[1]))


@lru_cache(maxsize=4)
def parts(name, rows, test_rows, seed):
    """Training and test part of a split, scaled by the training rows."""
    data = table(name)
    train, test = datasets.split(data, test=len(data.X) - rows, seed=seed)
    chosen = np.random.Generator(np.random.Philox(seed)).permutation(len(test.X))[:test_rows]
    return train, test.rows(chosen)


# One cell


def run_cell(config, cell, device="cpu", report=None):
    """The arrays of one split; ``device`` is not used: all this is work for the processor."""
    report = report or (lambda share: None)
    train, test = parts(cell.data, cell.rows, config.test_rows, cell.split)
    flow = RobustFlow(MLP(cell.depth, cell.activation, kappa=1.0), train.X, train.y, lam=cell.lam)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LinAlgWarning)  # shallow kernels: ``unresolved`` says what was left out
        functions = flow.feature_functions()
        unresolved = flow.at(math.inf).report.unresolved
        report(0.4)
        found = _features(config, cell, functions, train, test)
        report(0.6)
        found |= _regressor(config, cell, flow, test)
        if cell.main and cell.split < config.attacked_splits and cell.lam in config.attacked_lams:
            found |= _attacked(config, functions[found["index"]], found, test)
    sizes = len(train.X), len(test.X), len(found["eigenvalues"]), unresolved
    found |= {"sizes": np.array(sizes), "positive": np.array((test.y > 0).mean())}
    if not (cell.main and cell.split < config.kept_splits):
        for name in ("eigenvalues", "strength", "test_correct", "train_correct"):
            found[name] = found[name][..., :0]
    return found


def _features(config, cell, functions, train, test):
    """Counts of every feature, and the battery of statistics by view."""
    value, jacobian = functions(test.X)
    eigenvalues, strength = functions.eigenvalues, (value**2).sum(axis=0)
    margins = {norm: linear_margins(value, jacobian, test.y, norm, X=test.X) for norm in ("l2", "linf", "sphere")}
    del jacobian  # hundreds of megabytes
    at_train, slopes = functions(train.X)
    by_view = {
        "test": margins["l2"],
        "linf": margins["linf"],
        "sphere": margins["sphere"],
        "train": linear_margins(at_train, slopes, train.y),
        # A feature at the training points is a positive multiple of v_i (v_i . y), so this is the sign of
        # (v_i . y) (v_i . (y - mean)), by which the feature of centred labels differs from it
        "centred": margins["l2"] * np.where((train.y - train.y.mean()) @ at_train < 0, -1.0, 1.0),
    }
    statistics, correct = [], {}
    for view in VIEWS:
        correct[view] = counts(by_view[view], config.eps)
        points = len(by_view[view])
        masks = select(correct[view][0], eigenvalues, strength, points, largest=len(train.X))
        statistics.append(battery(correct[view], masks, points))
        if view == "test":
            mechanical = mechanical_correlation(
                margins["l2"], test.y, config.eps, masks, config.shuffles, seed=cell.split
            )
    half = config.attacked_features // 2
    strongest, others = np.split(np.argsort(-strength, kind="stable"), [half])
    spread = np.linspace(0, len(others) - 1, min(len(others), config.attacked_features - half)).round().astype(int)
    chosen = np.concatenate([strongest, np.sort(others)[spread]])
    finite = np.where(np.isfinite(margins["l2"]), np.abs(margins["l2"]), np.nan)
    return {
        "eigenvalues": eigenvalues.astype(np.float32),
        "strength": strength.astype(np.float32),
        "test_correct": correct["test"].astype(np.uint8),
        "train_correct": correct["train"].astype(np.uint8),
        "statistics": np.array(statistics, dtype=np.float32),
        "mechanical": mechanical.astype(np.float32),
        "typical_margin": np.array(np.nanmedian(finite)),
        "one_sign": np.array(np.mean(np.abs(np.sign(value).sum(axis=0)) == len(value))),
        "index": chosen,
    }


def _regressor(config, cell, flow, test):
    """Accuracy of the whole sum by time and size of attack: linearised, and by descent for some splits."""
    times = (*config.times, math.inf)
    linear = np.empty((len(times), 1 + len(config.eps)))
    attacked = np.full((len(times), 1 + len(config.attack_eps)), np.nan)
    few = test.rows(slice(0, config.attack_points))
    for k, time in enumerate(times):
        value, jacobian = flow.at(time, test.X)
        margins = linear_margins(value[:, None], jacobian[:, None], test.y)
        linear[k] = counts(margins, config.eps)[:, 0] / len(test.y)
        if cell.main and cell.split < config.attacked_splits:
            attacked[k] = robustness.accuracy_under_attack(
                partial(flow.at, time), few.X, few.y, (0.0, *config.attack_eps), steps=config.attack_steps
            )
    return {"regressor_linear": linear.astype(np.float32), "regressor_attacked": attacked.astype(np.float32)}


def _attacked(config, functions, found, test):
    """Accuracy of some features under the three ``ATTACKS``, (attack, 1 + E, feature)."""
    few, sizes = test.rows(slice(0, config.attack_points)), (0.0, *config.attack_eps)
    value, jacobian = functions(few.X)
    linear = counts(linear_margins(value, jacobian, few.y), config.attack_eps) / len(few.y)
    by_steps = [
        robustness.accuracy_under_attack(functions, few.X, few.y, sizes, steps=steps)
        for steps in (1, config.attack_steps)
    ]
    return {"attacked": np.array([linear, *by_steps], dtype=np.float32)}


# All cells


def collect(config, outcomes):
    """One row per cell in every ``cell_*`` array; features of the kept splits one after the other.

    ``cell_data``, ``cell_activation``, ``cell_depth``, ``cell_rows``, ``cell_lam``, ``cell_split``, ``cell_main``;
    ``sizes`` (training points, test points, features, unresolved eigenvalues), ``positive`` (share of test points),
    ``typical_margin`` (median over points and features), ``one_sign`` (share of features of one sign at all test
    points), ``statistics`` (view, selection, eps, measure), ``mechanical`` (selection, eps), ``regressor_linear``
    (time, 1 + eps), ``regressor_attacked`` (time, 1 + attack_eps), ``attacked`` (attack, 1 + attack_eps, feature; the
    first half of the features are the strongest), NaN where not computed.
    ``eigenvalues``, ``strength`` (sum of squares at the test points), ``test_correct`` and ``train_correct`` (1 + eps,
    feature) are those of cell c from ``start[c]`` to ``start[c + 1]``.
    """
    order = [cell for cell in cells(config) if cell in outcomes]
    found = [outcomes[cell] for cell in order]
    whole = ("sizes", "positive", "typical_margin", "one_sign", "statistics", "mechanical")
    arrays = {name: np.array([one[name] for one in found]) for name in (*whole, "regressor_linear")}
    arrays["regressor_attacked"] = np.array([one["regressor_attacked"] for one in found])
    attacked = np.full((len(found), len(ATTACKS), 1 + len(config.attack_eps), config.attacked_features), np.nan)
    for row, one in zip(attacked, found, strict=True):
        if "attacked" in one:
            row[:, :, : one["attacked"].shape[2]] = one["attacked"]
    for name in ("eigenvalues", "strength", "test_correct", "train_correct"):
        arrays[name] = np.concatenate([one[name] for one in found], axis=-1)
    for name in ("data", "activation", "depth", "rows", "lam", "split", "main"):
        arrays[f"cell_{name}"] = np.array([getattr(cell, name) for cell in order])
    return arrays | {
        "attacked": attacked.astype(np.float32),
        "start": np.cumsum([0, *(len(one["eigenvalues"]) for one in found)]),
        "eps": np.array(config.eps),
        "attack_eps": np.array(config.attack_eps),
        "times": np.array([*config.times, math.inf]),
    }


def operations(config, cell):
    """(number, dtype) of the floating-point operations of a cell, for the expected time."""
    d, rows = datasets.SHAPES[cell.data][1], cell.rows  # a machine that only plans the run needs no data
    unknowns = rows * (1 + min(d, rows)) if cell.lam > 0 else rows
    points = config.test_rows + rows
    work = 25 * unknowns**3 + 40 * unknowns * points * rows * d + 3000 * points * rows + 10**8
    if cell.main and cell.split < config.attacked_splits:
        evaluations = len(config.attack_eps) * config.attack_steps * config.attack_points * rows
        work += evaluations * 40000 * (1 + len(config.times))
        if cell.lam in config.attacked_lams:
            work += evaluations * 40000 * config.attacked_features
    return 2.5 * work, "float64"  # the stored runs on two cores took so much longer: statistics, copies of Jacobians


# Reading a result


def rows_of(result, data, lam=None, *, activation=None, depth=None, rows=None):
    """Which cells, in the order of splits: those of the main grid, unless another kernel or number of rows is named."""
    found = result["cell_data"] == data
    if lam is not None:
        found &= np.isclose(result["cell_lam"], lam, rtol=1e-9, atol=0)
    if activation is None and depth is None and rows is None:
        found &= result["cell_main"]
    for name, wanted in (("activation", activation), ("depth", depth), ("rows", rows)):
        if wanted is not None:
            found &= result[f"cell_{name}"] == wanted
    if not found.any():
        raise ValueError(f"the result has no cells for {data}, lambda {lam}, {activation}, {depth}, {rows}")
    return np.flatnonzero(found)


def measured(result, measure, cell_rows, eps, *, view="test", selection="all"):
    """One of ``MEASURES`` of the cells named by :func:`rows_of`, one number per cell.

    A correlation is NaN where it is undefined: where all features, say, have lost all robust accuracy. Take the mean
    with :func:`over_splits`, which says how many splits are behind it.
    """
    e = int(np.flatnonzero(np.isclose(result["eps"], eps))[0])
    place = VIEWS.index(view), SELECTIONS.index(selection), e, MEASURES.index(measure)
    return result["statistics"][(cell_rows, *place)]


def mechanical(result, cell_rows, eps, *, selection="all"):
    """The correlation that shuffled labels leave, one number per cell, NaN where it is undefined."""
    e = int(np.flatnonzero(np.isclose(result["eps"], eps))[0])
    return result["mechanical"][cell_rows, SELECTIONS.index(selection), e]


def kept(result, data, lam, split=0):
    """Every feature of a kept split: eigenvalues (p,), strength (p,), accuracies (1 + E, p), those at training points.

    The first row of the accuracies is without attack, the others are for ``result["eps"]``.
    """
    (cell,) = (row for row in rows_of(result, data, lam) if result["cell_split"][row] == split)
    place = slice(result["start"][cell], result["start"][cell + 1])
    train, test = result["sizes"][cell][:2]
    return (
        result["eigenvalues"][place],
        result["strength"][place],
        result["test_correct"][:, place] / test,
        result["train_correct"][:, place] / train,
    )


def measured_at(result, measure, data, lam, eps, *, t=math.inf, ridge=0.0, selection="strongest"):
    r"""As :func:`measured`, where strength is that at time t (in units of 1/kappa^2), or with a ridge: one number per
    kept split.

    Of the features themselves nothing depends on either. Their strength, a sum of squares at infinite time without
    ridge, is multiplied by the square of the filter, :math:`1 - e^{-t w_i / N}` or :math:`w_i / (w_i + \rho)`.
    """
    if t != math.inf and ridge != 0:
        raise ValueError(f"t = {t} and ridge = {ridge}: give one of the two")
    t = t if t == math.inf else positive_number(t, "t")
    ridge = non_negative_number(ridge, "ridge")
    e, which = 1 + int(np.flatnonzero(np.isclose(result["eps"], eps))[0]), SELECTIONS.index(selection)
    found = []
    for cell in rows_of(result, data, lam):
        place = slice(result["start"][cell], result["start"][cell + 1])
        if place.start == place.stop:
            continue
        train, test = result["sizes"][cell][:2]
        correct, w = result["test_correct"][:, place].astype(int), result["eigenvalues"][place].astype(float)
        factor = w / (w + ridge) if ridge else 1.0 if t == math.inf else -np.expm1(-t * w / train)
        mask = select(correct[0], w, result["strength"][place] * factor**2, test, largest=train)[[which]]
        found.append(battery(correct[[0, e]], mask, test)[0, 0, MEASURES.index(measure)])
    return np.array(found)


def attacked(result, data, lam):
    """Accuracy of the strongest features under ``ATTACKS``: (split, attack, 1 + attack_eps, feature), attacked splits.

    The first size is without attack, the others are ``result["attack_eps"]``.
    """
    found = result["attacked"][rows_of(result, data, lam)]
    return found[np.isfinite(found[:, 0, 0, 0])][..., : found.shape[-1] // 2]


def attacked_correlation(result, data, lam, eps, *, attack="pgd"):
    """Rank correlation of accuracy and accuracy under one of ``ATTACKS`` over the features of :func:`attacked`.

    One number per attacked split, NaN where it is undefined.
    """
    e = 1 + int(np.flatnonzero(np.isclose(result["attack_eps"], eps))[0])
    return np.array(
        [rank_correlation(split[0], split[e]) for split in attacked(result, data, lam)[:, ATTACKS.index(attack)]]
    )


def summary(result, title):
    """By table and lambda, at four sizes of attack: correlation, the mechanical part, accurate and fragile features."""
    shown = [eps for eps in (0.05, 0.1, 0.2, 0.3) if np.isclose(result["eps"], eps).any()] or list(result["eps"])
    lines = [
        title,
        f"means over splits (k of n: over the k in which it is defined); sizes of attack "
        f"{', '.join(f'{eps:g}' for eps in shown)}",
    ]
    for data in dict.fromkeys(result["cell_data"].tolist()):
        for lam in dict.fromkeys(result["cell_lam"][result["cell_main"]].tolist()):
            rows = rows_of(result, data, lam)

            def mean(measure, eps, rows=rows):
                return over_splits(measured(result, measure, rows, eps))

            lines.append(
                f"  {data}, lambda {lam:g}: rank correlation "
                + ", ".join(str(mean("correlation", eps)) for eps in shown)
                + " (shuffled labels "
                + ", ".join(str(over_splits(mechanical(result, rows, eps))) for eps in shown)
                + f"); {mean('accurate', shown[0]).mean:.1f} of {mean('features', shown[0]).mean:.0f} features"
                + " accurate, fragile "
                + ", ".join(f"{mean('fragile', eps).mean:.1f}" for eps in shown)
            )
    return "\n".join(lines)


def plot(result, lam, colour, data=None):
    """Robust accuracy against accuracy, a dot a feature of the kept splits: a row per table, a column per eps.

    ``data`` names the tables to draw; default all.
    """
    import matplotlib.pyplot as plt

    from .. import plotting

    names = list(dict.fromkeys(result["cell_data"].tolist())) if data is None else list(data)
    shown = [k for k, eps in enumerate(result["eps"]) if round(float(eps), 6) in (0.05, 0.1, 0.3)] or [0]
    figure, axes = plt.subplots(
        len(names),
        len(shown),
        figsize=(plotting.TEXT_WIDTH, 2.1 * len(names) + 0.4),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for row, name in zip(axes, names, strict=True):
        splits = sorted(set(result["cell_split"][rows_of(result, name, lam)]))
        accuracy = np.concatenate([kept(result, name, lam, split)[2] for split in splits], axis=1)
        for ax, k in zip(row, shown, strict=True):
            scatter(ax, accuracy[0], accuracy[1 + k], plotting.COLOURS[colour])
            found = measured(result, "correlation", rows_of(result, name, lam), result["eps"][k])
            ax.set_title(rf"$\epsilon$ = {result['eps'][k]:g}" + f"\nrank correlation {over_splits(found)}", fontsize=8)
        row[0].set_ylabel(name.replace("_", " ") + "\nrobust accuracy", fontsize=8)
    for ax in axes[-1]:
        ax.set_xlabel("accuracy")
    return figure
