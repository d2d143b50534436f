r"""Not a figure of the paper: attacks on every eigenfeature by itself, and on whole regressors, on six tables.

The paper moves an input once, and asks all features about it (:mod:`.figure4`). Here each feature meets an adversary
of its own, which moves the input so as to turn the sign of that feature. So robust accuracy is at most accuracy, a
feature can be accurate but fragile but never the other way round, and the two are correlated even where labels mean
nothing: by how much, shuffled labels say. The sum of the features, the regressor, is attacked too: by projected
gradient descent, at several times of training.

>>> few = {"rows": 8, "depth": 2, "splits": 2, "test_rows": 20, "eps": (0.1,), "attack_eps": (0.1,), "attack_steps": 2}
>>> config = Config(lams=(1.0,), data=("wine",), attacked_splits=1, attacked_lams=(1.0,), attacked_features=4, **few)
>>> TABLES["digits"] == Table(rows=32, positive=3, negative=8)  # threes against eights, 32 rows to train on
True
>>> table("wine").task, parts("wine", 8, 20, seed=0)[1].X.shape  # one class of wine against the others
('two classes', (20, 13))
>>> result = run(config)
>>> both = rows_of(result, "wine", 1.0)  # the cells of the two splits
>>> correlation = measured(result, "correlation", both, 0.1)
>>> over_splits(correlation).splits, mechanical(result, both, 0.1).shape
(2, (2,))
>>> attacked(result, "wine", 1.0).shape  # split, linearised and carried out, without and with, the strongest features
(1, 2, 2, 4)
>>> attacked_correlation(result, "wine", 1.0, 0.1).shape, attacked_regressor(result, "wine", 1.0).shape
((1,), (2,))
>>> accuracy = kept(result, "wine", 1.0)  # without attack and with one of size 0.1, every feature of a split
>>> accuracy.shape[0]
2
"""

import itertools
import math
import warnings
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.linalg import LinAlgWarning

from jacntk_lib import activations, robustness
from jacntk_lib._validation import integer, non_negative_number, positive_number
from jacntk_lib.architecture import MLP
from jacntk_lib.dynamics import RobustFlow

from . import fragility
from .experiment import Experiment
from .fields import as_tuples
from .fragility import MEASURES, SELECTIONS, over_splits, rank_correlation
from .two_classes import TABLES, Table, parts, table

__all__ = [
    "ATTACKS", "EXPERIMENT", "MEASURES", "PRESETS", "SELECTIONS", "TABLES", "Cell", "Config", "Table", "attacked",
    "attacked_correlation", "attacked_regressor", "cells", "collect", "kept", "measured", "mechanical", "over_splits",
    "parts", "plot", "rows_of", "run", "run_cell", "seeds", "summary", "table",
]  # fmt: skip

ATTACKS = ("linear", "pgd")


@dataclass(frozen=True)
class Config:
    """The grid: ``data`` x ``lams`` x ``splits``, random parts into training and test rows.

    Columns are standardised by the training rows, rows then of unit length; of equal rows the first is kept. ``rows``
    overrides the training rows of ``TABLES``; at most ``test_rows`` others are scored. ``eps`` are the sizes of the
    linearised attacks.

    In the first ``attacked_splits``, ``attack_points`` test points are attacked by descent as well, ``attack_steps``
    steps, sizes ``attack_eps``: the regressor, at all ``times`` (kappa^2 t) and at infinite time; and for
    ``attacked_lams`` so are the ``attacked_features`` strongest features. Of the first split every feature is stored.
    ``shuffles`` is the number of shuffled labels behind each mechanical correlation.
    """

    lams: tuple[float, ...] = (0.0, 0.01, 1.0)
    data: tuple[str, ...] = tuple(TABLES)
    splits: int = 10
    activation: str = "gelu"
    depth: int = 11
    rows: int | None = None
    test_rows: int = 200  # below 256, so that counts fit one byte
    eps: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3)
    times: tuple[float, ...] = (0.1, 1.0, 10.0, 100.0)
    attacked_splits: int = 3
    attacked_lams: tuple[float, ...] = (0.0, 1.0)
    attacked_features: int = 16
    attack_eps: tuple[float, ...] = (0.05, 0.1, 0.2, 0.3)
    attack_points: int = 64
    attack_steps: int = 10
    shuffles: int = 4

    def __post_init__(self):
        as_tuples(self, "lams", "data", "eps", "times", "attack_eps", "attacked_lams", empty=("attacked_lams",))
        for name in self.data:
            if name not in TABLES:
                raise ValueError(f"no problem of two classes is made of {name!r}; known are {', '.join(TABLES)}")
        activations.get(self.activation)
        integer(self.depth, "depth", at_least=1)
        for lam in self.lams:
            non_negative_number(lam, "each of lams")
        for name in ("eps", "times", "attack_eps"):
            for size in getattr(self, name):
                positive_number(size, f"each of {name}")
        if not set(self.attacked_lams) <= set(self.lams):
            raise ValueError(f"attacked_lams {self.attacked_lams} must be among lams {self.lams}")
        if self.rows is not None:
            integer(self.rows, "rows", at_least=2)
        for name in ("splits", "test_rows", "attacked_features", "attack_points", "attack_steps", "shuffles"):
            integer(getattr(self, name), name, at_least=1)
        integer(self.attacked_splits, "attacked_splits", at_least=0)
        if self.test_rows > 255:
            raise ValueError(f"test_rows must be at most 255, got {self.test_rows}")


PRESETS = {
    "demo": Config(lams=(0.0, 1.0), data=("wine",), rows=40, splits=2, attacked_splits=1, attacked_features=4),
    "six-tables": Config(),
}


@dataclass(frozen=True)
class Cell:
    """One split of one table, for one lambda."""

    data: str
    lam: float
    split: int

    @property
    def key(self):
        return f"{self.data}-lam{self.lam:g}-split{self.split}"


def cells(config):
    """Split by split."""
    return [
        Cell(data, lam, split) for split, data, lam in itertools.product(range(config.splits), config.data, config.lams)
    ]


def seeds(config, cell):
    """That of the split, which also draws the shuffled labels."""
    return [cell.split]


def _rows_of(config, data):
    return TABLES[data].rows if config.rows is None else config.rows


# One cell


def run_cell(config, cell, device="cpu", report=None):
    """The arrays of one split; ``device`` is not used: all this is work for the processor."""
    train, test = parts(cell.data, _rows_of(config, cell.data), config.test_rows, cell.split)
    flow = RobustFlow(MLP(config.depth, config.activation, kappa=1.0), train.X, train.y, lam=cell.lam)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LinAlgWarning)  # shallow kernels
        functions = flow.feature_functions()
        found, strongest = _features(config, functions, train, test, cell.split)
        found["regressor"] = _regressor(config, cell, flow, test)
        if cell.split < config.attacked_splits and cell.lam in config.attacked_lams:
            found["attacked"] = _attacked(config, functions[strongest], test)
    found["sizes"] = np.array([len(train.X), len(test.X), len(functions)])
    found["positive"] = np.array((test.y > 0).mean())
    if cell.split > 0:
        found["correct"] = found["correct"][:, :0]
    return found


def _features(config, functions, train, test, seed):
    """Counts of every feature and statistics over them; and which features are the strongest."""
    value, jacobian = functions(test.X)
    strength = (value**2).sum(axis=0)
    margins = fragility.linear_margins(value, jacobian, test.y)
    correct, masks = fragility.counts(margins, config.eps), fragility.select(strength)
    found = {
        "correct": correct.astype(np.uint8),
        "statistics": fragility.battery(correct, masks, len(test.y)).astype(np.float32),
        "mechanical": fragility.mechanical_correlation(
            margins, test.y, config.eps, masks, config.shuffles, seed=seed
        ).astype(np.float32),
        "typical_margin": np.array(np.median(np.abs(margins[np.isfinite(margins)]))),
    }
    return found, np.argsort(-strength, kind="stable")[: config.attacked_features]


def _regressor(config, cell, flow, test):
    """Accuracy of the whole sum, (attack, time, 1 + attack_eps): linearised, and carried out for some splits."""
    times, sizes = (*config.times, math.inf), (0.0, *config.attack_eps)
    found = np.full((2, len(times), len(sizes)), np.nan)
    few = test.rows(slice(0, config.attack_points))
    for k, time in enumerate(times):
        value, jacobian = flow.at(time, test.X)
        margins = fragility.linear_margins(value[:, None], jacobian[:, None], test.y)
        found[0, k] = fragility.counts(margins, config.attack_eps)[:, 0] / len(test.y)
        if cell.split < config.attacked_splits:
            found[1, k] = robustness.accuracy_under_attack(
                partial(flow.at, time), few.X, few.y, sizes, steps=config.attack_steps
            )
    return found.astype(np.float32)


def _attacked(config, functions, test):
    """Accuracy of some features under the two ``ATTACKS``, (attack, 1 + E, feature)."""
    few = test.rows(slice(0, config.attack_points))
    value, jacobian = functions(few.X)
    linear = fragility.counts(fragility.linear_margins(value, jacobian, few.y), config.attack_eps) / len(few.y)
    descent = robustness.accuracy_under_attack(
        functions, few.X, few.y, (0.0, *config.attack_eps), steps=config.attack_steps
    )
    return np.array([linear, descent], dtype=np.float32)


# All cells


def collect(config, outcomes):
    """One row per cell: ``cell_data``, ``cell_lam``, ``cell_split``, and what was measured.

    ``sizes`` (training points, test points, features), ``positive`` (share of test points), ``typical_margin`` (median
    over points and features), ``statistics`` (selection, eps, measure), ``mechanical`` (selection, eps), ``regressor``
    (attack, time, 1 + attack_eps), ``attacked`` (attack, 1 + attack_eps, strongest feature), NaN where not computed.
    ``correct`` (1 + eps, feature), counts of test points, are those of cell c from ``start[c]`` to ``start[c + 1]``.
    """
    order = [cell for cell in cells(config) if cell in outcomes]
    found = [outcomes[cell] for cell in order]
    whole = ("sizes", "positive", "typical_margin", "statistics", "mechanical", "regressor")
    arrays = {name: np.array([one[name] for one in found]) for name in whole}
    attacked = np.full((len(found), len(ATTACKS), 1 + len(config.attack_eps), config.attacked_features), np.nan)
    for row, one in zip(attacked, found, strict=True):
        if "attacked" in one:
            row[:, :, : one["attacked"].shape[2]] = one["attacked"]
    for name in ("data", "lam", "split"):
        arrays[f"cell_{name}"] = np.array([getattr(cell, name) for cell in order])
    return arrays | {
        "attacked": attacked.astype(np.float32),
        "correct": np.concatenate([one["correct"] for one in found], axis=-1),
        "start": np.cumsum([0, *(one["correct"].shape[1] for one in found)]),
        "eps": np.array(config.eps),
        "attack_eps": np.array(config.attack_eps),
        "times": np.array([*config.times, math.inf]),
    }


# Reading a result


def rows_of(result, data, lam):
    """Which cells are of this table and lambda, in the order of splits."""
    found = np.flatnonzero((result["cell_data"] == data) & np.isclose(result["cell_lam"], lam, rtol=1e-9, atol=0))
    if found.size == 0:
        raise ValueError(f"the result has no cells for {data}, lambda {lam}")
    return found


def _combinations(result):
    """Tables and lambdas, (name, lambda), of which there are cells."""
    return list(dict.fromkeys(zip(result["cell_data"].tolist(), result["cell_lam"].tolist(), strict=True)))


def measured(result, measure, cell_rows, eps, *, selection="all"):
    """One of ``MEASURES`` of the cells named by :func:`rows_of`, one number per cell.

    A correlation is NaN where it is undefined: where all features, say, have lost all robust accuracy. Take the mean
    with :func:`over_splits`, which says how many splits are behind it.
    """
    place = SELECTIONS.index(selection), _size(result["eps"], eps), MEASURES.index(measure)
    return result["statistics"][(cell_rows, *place)]


def mechanical(result, cell_rows, eps, *, selection="all"):
    """The correlation that shuffled labels leave, one number per cell, NaN where it is undefined."""
    return result["mechanical"][cell_rows, SELECTIONS.index(selection), _size(result["eps"], eps)]


def kept(result, data, lam):
    """Accuracy of every feature of split 0, (1 + eps, p): without attack, then for ``result["eps"]``."""
    cell = rows_of(result, data, lam)[0]
    return result["correct"][:, slice(*result["start"][cell : cell + 2])] / result["sizes"][cell, 1]


def attacked(result, data, lam):
    """Accuracy of the strongest features under ``ATTACKS``: (split, attack, 1 + attack_eps, feature), attacked splits.

    The first size is without attack, the others are ``result["attack_eps"]``.
    """
    found = result["attacked"][rows_of(result, data, lam)]
    return found[np.isfinite(found[:, 0, 0, 0])]


def attacked_correlation(result, data, lam, eps, *, attack="pgd"):
    """Rank correlation of accuracy and accuracy under one of ``ATTACKS`` over the features of :func:`attacked`.

    One number per attacked split, NaN where it is undefined.
    """
    e, which = 1 + _size(result["attack_eps"], eps), ATTACKS.index(attack)
    return np.array([rank_correlation(split[0], split[e]) for split in attacked(result, data, lam)[:, which]])


def attacked_regressor(result, data, lam, *, time=math.inf, attack="pgd"):
    """Accuracy of the regressor under one of ``ATTACKS``, (1 + attack_eps,): mean over the splits it was made on."""
    k = int(np.flatnonzero(result["times"] == time)[0])
    found = result["regressor"][rows_of(result, data, lam), ATTACKS.index(attack), k]
    return found[np.isfinite(found[:, 0])].mean(axis=0)


def _size(sizes, eps):
    return int(np.flatnonzero(np.isclose(sizes, eps))[0])


def summary(result):
    """By table and lambda: rank correlation over all features, fragile features and the attacked regressor."""
    shown, carried_out = ([f"{eps:g}" for eps in result[name]] for name in ("eps", "attack_eps"))
    lines = [
        EXPERIMENT.title,
        f"means over splits; sizes {', '.join(shown)}; of attacks carried out 0, {', '.join(carried_out)}",
    ]
    for data, lam in _combinations(result):
        rows = rows_of(result, data, lam)
        correlation, accurate, fragile = (
            [over_splits(measured(result, measure, rows, eps)) for eps in result["eps"]]
            for measure in ("correlation", "accurate", "fragile")
        )
        lines.append(
            f"  {data}, lambda {lam:g}: rank correlation "
            + ", ".join(map(str, correlation))
            + f"; {accurate[0].mean:.1f} features accurate, fragile "
            + ", ".join(f"{found.mean:.1f}" for found in fragile)
            + "; regressor "
            + ", ".join(f"{accuracy:.2f}" for accuracy in attacked_regressor(result, data, lam))
        )
    return "\n".join(lines)


def plot(result, data=None, eps=None):
    """Robust accuracy against accuracy of every feature, a column per table, a row per lambda (first and last).

    ``eps`` is one of the attack sizes of the result, by default the one nearest to 0.1.
    """
    import matplotlib.pyplot as plt

    from .. import plotting

    e = np.abs(result["eps"] - 0.1).argmin() if eps is None else _size(result["eps"], eps)
    names = list(dict.fromkeys(result["cell_data"].tolist())) if data is None else list(data)
    lams = sorted({float(lam) for lam in result["cell_lam"]})
    how = {"sharex": True, "sharey": True, "squeeze": False, "layout": "constrained"}
    figure, axes = plt.subplots(2, len(names), figsize=(plotting.TEXT_WIDTH, 4), **how)
    for row, lam in zip(axes, (lams[0], lams[-1]), strict=True):
        for ax, name in zip(row, names, strict=True):
            if (name, lam) in _combinations(result):
                accuracy = kept(result, name, lam)
                colour = plotting.COLOURS["penalised" if lam > 0 else "plain"]
                fragility.scatter(ax, accuracy[0], accuracy[1 + e], colour)
        row[0].set_ylabel(f"lambda {lam:g}\nrobust accuracy", fontsize=8)
    for ax, name in zip(axes[0], names, strict=True):
        ax.set_title(name.replace("_", " "), fontsize=8)
    for ax in axes[-1]:
        ax.set_xlabel("accuracy")
    return figure


EXPERIMENT = Experiment(
    label="own-attack",
    title="Eigenfeatures under an attack of their own, and attacked regressors",
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
