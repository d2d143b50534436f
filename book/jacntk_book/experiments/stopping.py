r"""Not a figure of the paper: what early stopping adds to accuracy under attack, and what the penalty adds.

The infinitely wide network is attacked at every time of a grid and at infinite time, for lambda = 0 (*plain*) and for
some lambda > 0 (*penalised*), on validation samples and on test samples. For every size of attack the time (and
lambda) with the highest validation accuracy under this attack is then chosen; among equals the accuracy without attack
decides, then the smaller lambda and the earlier time. All data sets of :mod:`.controlled` are possible, and images of
digits as pixels: ``DIGITS``.

>>> few = {"rows": 10, "validation_rows": 10, "test_rows": 12, "splits": 2, "times": (10.0,), "attack_steps": 2}
>>> result = run(Config(data=("wine",), lams=(0.1,), eps=(0.1,), stronger_steps=3, stronger_restarts=1, **few))
>>> accuracy(result, "wine", "penalised", 0.1).shape  # one number per split
(2,)
>>> curve(result, "wine", 0.1, 0.1).shape  # split and time, infinite time last
(2, 2)
"""

import itertools
import math
import warnings
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np
from scipy.linalg import LinAlgWarning

from jacntk_lib import activations, robustness
from jacntk_lib._validation import integer, non_negative_number, positive_number
from jacntk_lib.architecture import MLP
from jacntk_lib.dynamics import RobustFlow
from jacntk_lib.solve import Iterative

from .. import datasets
from .controlled import MODELS, Cell, cells
from .experiment import Experiment
from .fields import as_tuples
from .two_classes import TABLES, parts, table

__all__ = [
    "DIGITS", "EXPERIMENT", "MODELS", "PRESETS", "Cell", "Config", "accuracy", "cells", "choice", "collect", "curve",
    "draw", "masked", "plot", "run", "run_cell", "samples", "seeds", "summary",
]  # fmt: skip

DIGITS = ("digits_3_8_pixels", "digits_64_pixels", "digits_16_pixels")
"""Images of unit length. The first has threes and eights, the second all ten classes, the third means of 2 x 2."""


@dataclass(frozen=True)
class Config:
    """The data sets and what they share.

    ``rows``, ``validation_rows`` and ``test_rows`` are numbers of samples in each split; ``times`` are kappa^2 t, and
    infinite time is added. ``eps`` are sizes of l2 attacks of ``attack_steps`` steps. Chosen networks are also attacked
    with ``stronger_steps`` and ``stronger_restarts``. The iterative solver has ``tolerance``; None solves exactly.
    """

    data: tuple[str, ...] = tuple(TABLES)
    lams: tuple[float, ...] = (0.01, 0.1, 1.0)
    splits: int = 10
    activation: str = "erf"
    depth: int = 3
    ridge: float = 1e-3
    rows: int = 40
    validation_rows: int = 40
    test_rows: int = 64
    times: tuple[float, ...] = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
    eps: tuple[float, ...] = (0.1, 0.2, 0.3)
    attack_steps: int = 10
    stronger_steps: int = 40
    stronger_restarts: int = 4
    tolerance: float | None = None

    def __post_init__(self):
        as_tuples(self, "data", "lams", "times", "eps", empty=("times",))
        for name in self.data:
            if name not in (*TABLES, *DIGITS):
                raise ValueError(f"there are no samples of {name!r}; known are {', '.join((*TABLES, *DIGITS))}")
        activations.get(self.activation)
        for name in ("lams", "times", "eps"):
            for value in getattr(self, name):
                positive_number(value, f"each of {name}")
        non_negative_number(self.ridge, "ridge")
        if self.tolerance is not None:
            positive_number(self.tolerance, "tolerance")
        for name in ("depth", "splits", "rows", "validation_rows", "test_rows"):
            integer(getattr(self, name), name, at_least=1)
        for name in ("attack_steps", "stronger_steps", "stronger_restarts"):
            integer(getattr(self, name), name, at_least=1)


def _images(data, rows, splits, **choices):
    choices = {"tolerance": 1e-6, "validation_rows": 200, "test_rows": 200, "times": (1, 3, 10, 30, 100)} | choices
    return Config(data=(data,), rows=rows, splits=splits, **choices)


PRESETS = {
    "demo": Config(data=("wine",), splits=2, times=(10.0, 100.0)),
    "six-tables": Config(),
    "no-ridge": Config(ridge=0.0, times=()),
    "pair-40": Config(data=("digits_3_8_pixels",)),  # the samples of "digits" in six-tables
    "blocks-100": _images("digits_16_pixels", 100, 10),
    "blocks-300": _images("digits_16_pixels", 300, 5),
    "digits-40": _images("digits_64_pixels", 40, 10),
    "digits-100": _images("digits_64_pixels", 100, 10),
    "digits-300": _images("digits_64_pixels", 300, 5),
    "digits-500": _images("digits_64_pixels", 500, 5, lams=(0.1,)),  # one lambda: hours otherwise
    "digits-1000": _images("digits_64_pixels", 1000, 5, lams=(0.1,)),
}


def seeds(config, cell):
    """The seed of a cell: the number of its split."""
    return [cell.split]


@lru_cache(maxsize=4)
def samples(data, rows, others, split):
    """Training samples and other samples, the classes in the same proportions in both."""
    if data in TABLES:
        return parts(data, rows, others, split)
    raw = table("digits") if data == DIGITS[0] else datasets.load("digits", scale=None, unit_length=False)
    train, rest = datasets.split(raw, test=len(raw.y) - rows, seed=split, scale=None)
    found = train, rest.rows(np.random.Generator(np.random.Philox(split)).permutation(len(rest.y))[:others])
    return tuple(map(_coarse, found)) if data == DIGITS[2] else found


def _coarse(images):
    means = images.X.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(-1, 16)
    return replace(images, X=means / np.linalg.norm(means, axis=1, keepdims=True))


# One cell


def run_cell(config, cell, device="cpu", report=None):
    """The arrays of one split; ``device`` is not used: all this is work for the processor."""
    train, others = samples(cell.data, config.rows, config.validation_rows + config.test_rows, cell.split)
    ends = {"validation": (0, config.validation_rows), "test": (config.validation_rows, None)}
    scored = {name: others.rows(slice(*end)) for name, end in ends.items()}
    mlp, sizes, test = MLP(config.depth, config.activation, kappa=1.0), (0.0, *config.eps), scored["test"]
    solver = "exact" if config.tolerance is None else Iterative(tolerance=config.tolerance)
    lams, times = (0.0, *config.lams), (*config.times, math.inf)
    flows = [RobustFlow(mlp, train.X, train.targets, lam, ridge=config.ridge, solver=solver) for lam in lams]
    found = {name: np.empty((len(lams), len(times), len(sizes))) for name in ends}
    found["slope"] = np.empty((len(lams), len(times)))
    found["stronger"] = np.empty((2, 2, len(config.eps)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LinAlgWarning)  # times at which some directions are unresolved
        for k, j in np.ndindex(found["slope"].shape):
            model = partial(flows[k].at, times[j])
            for name, data in scored.items():
                steps = config.attack_steps
                found[name][k, j] = robustness.accuracy_under_attack(model, data.X, data.y, sizes, steps=steps)
            jacobian = model(test.X).jacobian.reshape(len(test.X), -1)
            found["slope"][k, j] = np.linalg.norm(jacobian, axis=1).mean()
            if report is not None:
                report((1 + k * len(times) + j) / (1 + found["slope"].size))
        for m, stops, e in np.ndindex(found["stronger"].shape):
            k, j = choice(found["validation"], MODELS[m], 1 + e, stops=bool(stops))
            attacked = robustness.attack(
                partial(flows[k].at, times[j]), test.X, test.y, config.eps[e],
                steps=config.stronger_steps, restarts=config.stronger_restarts,
            )  # fmt: skip
            found["stronger"][m, stops, e] = attacked.accuracy
    return found


def choice(validation, model, e, *, stops):
    """Index of lambda and of time with the highest ``validation`` accuracy (lambda, time, size) at size ``e``."""
    lams = range(1) if model == "plain" else range(1, len(validation))
    times = range(0 if stops else validation.shape[1] - 1, validation.shape[1])
    return max(itertools.product(lams, times), key=lambda at: (validation[at][e], validation[at][0]))


# All cells


def collect(config, outcomes):
    """One row per cell: ``cell_data``, ``cell_split``, and what was measured.

    ``validation`` and ``test``: accuracy (lambda, time, 1 + eps), without attack first, infinite time last, lambda = 0
    first; ``slope`` (lambda, time), mean length of the gradient at test samples; ``stronger`` (model, infinite time and
    chosen time, eps), accuracy of the chosen networks under the stronger attack.
    """
    order = [cell for cell in cells(config) if cell in outcomes]
    arrays = {name: np.array([outcomes[cell][name] for cell in order]) for name in outcomes[order[0]]}
    arrays |= {f"cell_{name}": np.array([getattr(cell, name) for cell in order]) for name in ("data", "split")}
    grid = {"eps": config.eps, "lams": (0.0, *config.lams), "times": (*config.times, math.inf)}
    return arrays | {name: np.array(values) for name, values in grid.items()}


def accuracy(result, data, model, eps, *, stops=True, chosen_for=None, stronger=False):
    """Accuracy on test samples under attacks of size ``eps`` (0: none), one number per split.

    Validation samples choose for attacks of size ``chosen_for``, by default ``eps``. ``stops``: at the time that they
    choose; else at infinite time. ``stronger``: under the stronger attack.
    """
    e, c = (_index([0.0, *result["eps"]], size) for size in (eps, eps if chosen_for is None else chosen_for))
    if stronger:
        return result["stronger"][_rows(result, data), MODELS.index(model), int(stops), e - 1]
    found = zip(*(result[name][_rows(result, data)] for name in ("validation", "test")), strict=True)
    return np.array([test[choice(validation, model, c, stops=stops)][e] for validation, test in found])


def curve(result, data, lam, eps):
    """Accuracy on test samples under attacks of size ``eps`` (0: none) at every time: (split, time)."""
    return result["test"][_rows(result, data), _index(result["lams"], lam), :, _index([0.0, *result["eps"]], eps)]


def _rows(result, data):
    found = np.flatnonzero(result["cell_data"] == data)
    if found.size == 0:
        raise ValueError(f"the result has no cells for {data}")
    return found


def _index(known, wanted):
    if (found := np.flatnonzero(np.isclose(known, wanted))).size == 0:
        raise ValueError(f"the result has {', '.join(f'{one:g}' for one in known)}, not {wanted:g}")
    return int(found[0])


def masked(result):
    """How much more the stronger attack takes from the chosen networks: mean (model, infinite and chosen time, eps)."""
    names = dict.fromkeys(result["cell_data"].tolist())
    return np.mean([
        [[[(accuracy(result, data, model, eps, stops=stops) - accuracy(result, data, model, eps, stops=stops,
           stronger=True)).mean() for eps in result["eps"]] for stops in (False, True)] for model in MODELS]
        for data in names
    ], axis=0)  # fmt: skip


def summary(result):
    """By data set: accuracy by size of attack, at the chosen and at infinite time, plain and penalised."""
    lines = [EXPERIMENT.title, f"means over splits; sizes {', '.join(f'{eps:g}' for eps in result['eps'])}"]
    for data in dict.fromkeys(result["cell_data"].tolist()):
        for stops, model in itertools.product((True, False), MODELS):
            found = (accuracy(result, data, model, eps, stops=stops).mean() for eps in result["eps"])
            time = "chosen" if stops else "infinite"
            lines.append(f"  {data}, {time} time, {model}: " + ", ".join(f"{one:.3f}" for one in found))
    return "\n".join(lines)


def draw(ax, result, data, eps):
    """Accuracy under attack against time, mean over splits, a line for each lambda; infinite time is the last mark."""
    from .. import plotting

    x = np.arange(len(result["times"]))
    for lam in result["lams"]:
        style = {"color": plotting.COLOURS["plain"], "marker": "s"}
        if lam > 0:
            style = {"color": plotting.COLOURS["penalised"], "marker": "o", "alpha": float(0.8 + 0.2 * np.log10(lam))}
        ax.plot(x, curve(result, data, lam, eps).mean(axis=0), ms=3, label=rf"$\lambda = {lam:g}$", **style)
    ax.set_xticks(x, [*(f"{time:g}" for time in result["times"][:-1]), r"$\infty$"])


def plot(result):
    """A panel per data set: see :func:`draw`."""
    import matplotlib.pyplot as plt

    eps = result["eps"][len(result["eps"]) // 2]
    names = list(dict.fromkeys(result["cell_data"].tolist()))
    rows = math.ceil(len(names) / 2)
    figure, axes = plt.subplots(rows, 2, figsize=(5.6, 2.1 * rows), sharex=True, squeeze=False, layout="constrained")
    for ax, name in zip(axes.flat, names, strict=False):
        draw(ax, result, name, eps)
        ax.set_title(name.replace("_", " "), fontsize=10)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    figure.supxlabel("time")
    figure.supylabel(f"accuracy under attacks of size {eps:g}")
    return figure


EXPERIMENT = Experiment(
    label="stopping",
    title="Accuracy under attack against time, with the penalty and without",
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
