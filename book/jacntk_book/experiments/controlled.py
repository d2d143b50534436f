r"""Not a figure of the paper: does the penalty make classifiers robust, when nothing else differs?

One kernel, one number of rows, one ridge and the same splits for six data sets, digits among them. *Plain* training is
lambda = 0, *penalised* a lambda > 0. For either, time (and lambda) are what has the highest accuracy under an attack of
one size on validation rows, the larger accuracy without attack and then the earlier candidate deciding among equals.
On test rows three accuracies are measured for sizes of attack: what projected gradient descent leaves, an upper bound;
what :func:`~jacntk_lib.robustness.certified_radius` guarantees, a lower bound; and what descent leaves to finite
networks that were trained for the chosen time with the chosen lambda.

>>> few = {"rows": 10, "validation_rows": 10, "test_rows": 12, "splits": 2, "times": (10.0,), "attack_steps": 2}
>>> result = run(Config(data=("wine",), lams=(0.1,), eps=(0.1,), chosen_for=0.1, network_splits=0, **few))
>>> accuracy(result, "wine", "penalised", "attacked", 0.1).shape  # one number per split
(2,)
>>> certified, attacked = (accuracy(result, "wine", "plain", how, 0.1) for how in ("certified", "attacked"))
>>> bool((certified <= attacked).all())
True
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

from .experiment import Experiment
from .fields import as_tuples
from .fragility import over_splits
from .two_classes import TABLES, parts

__all__ = [
    "EXPERIMENT", "HOW", "MODELS", "PRESETS", "Cell", "Config", "accuracy", "cells", "collect", "gain", "over_splits",
    "plot", "run", "run_cell", "seeds", "summary",
]  # fmt: skip

MODELS = ("plain", "penalised")
HOW = ("attacked", "certified", "network")
"""The limit under descent; the limit, guaranteed; the mean over networks of one width under descent."""


@dataclass(frozen=True)
class Config:
    """The data sets and what they share.

    Of every split, ``rows`` train, ``validation_rows`` choose among ``lams`` and ``times`` (kappa^2 t, and infinite
    time), and up to ``test_rows`` are scored; columns are standardised by the training rows, rows then of unit length.
    ``eps`` are sizes of l2 attacks of ``attack_steps`` steps, ``chosen_for`` the one of them that chooses. In the first
    ``network_splits``, ``networks`` networks of ``width`` are trained for the chosen time, none where it is infinite,
    from output scale ``kappa`` and with half the largest stable rate; a network that diverges is trained again with a
    quarter of it.
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
    times: tuple[float, ...] = (1.0, 10.0, 100.0, 1000.0)
    eps: tuple[float, ...] = (0.05, 0.1, 0.2, 0.3)
    chosen_for: float = 0.2
    attack_steps: int = 10
    network_splits: int = 10
    networks: int = 2
    width: int = 256
    kappa: float = 0.1

    def __post_init__(self):
        as_tuples(self, "data", "lams", "times", "eps", empty=("times",))
        for name in self.data:
            if name not in TABLES:
                raise ValueError(f"no problem of two classes is made of {name!r}; known are {', '.join(TABLES)}")
        activations.get(self.activation)
        for name in ("lams", "times", "eps"):
            for value in getattr(self, name):
                positive_number(value, f"each of {name}")
        if self.chosen_for not in self.eps:
            raise ValueError(f"chosen_for {self.chosen_for} must be among eps {self.eps}")
        non_negative_number(self.ridge, "ridge")
        positive_number(self.kappa, "kappa")
        for name in ("depth", "splits", "rows", "validation_rows", "test_rows", "attack_steps", "networks", "width"):
            integer(getattr(self, name), name, at_least=1)
        integer(self.network_splits, "network_splits", at_least=0)


PRESETS = {
    "demo": Config(data=("wine",), splits=2, times=(10.0, 100.0), network_splits=1, networks=1, width=64),
    "six-tables": Config(),
}


@dataclass(frozen=True)
class Cell:
    """One split of one table."""

    data: str
    split: int

    @property
    def key(self):
        return f"{self.data}-split{self.split}"


def cells(config):
    """Split by split."""
    return [Cell(data, split) for split, data in itertools.product(range(config.splits), config.data)]


def seeds(config, cell):
    """That of the split, and those of its networks."""
    return [cell.split, *range(config.networks if cell.split < config.network_splits else 0)]


# One cell


def run_cell(config, cell, device="cpu", report=None):
    """The arrays of one split; ``device`` is not used: all this is work for the processor."""
    train, others = parts(cell.data, config.rows, config.validation_rows + config.test_rows, cell.split)
    validation, test = (
        others.rows(slice(*ends)) for ends in ((0, config.validation_rows), (config.validation_rows, None))
    )
    mlp, sizes = MLP(config.depth, config.activation, kappa=1.0), (0.0, *config.eps)
    found = {
        "chosen": np.empty((2, 2)),
        "limit": np.empty((2, 2, len(sizes))),
        "network": np.full((2, config.networks, len(sizes)), np.nan),
        "norm": np.empty(2),
        "slope": np.empty(2),
    }
    for k, lams in enumerate(((0.0,), config.lams)):
        flow, lam, time = _choose(config, mlp, lams, train, validation)
        model = partial(flow.at, time)
        radius = robustness.certified_radius(model, test.X, test.y)
        found["chosen"][k] = lam, time
        found["limit"][k, 0] = _under_attack(config, model, test, sizes)
        found["limit"][k, 1] = [(radius > size).mean() for size in sizes]
        found["norm"][k] = flow.kernel_norm(time)
        found["slope"][k] = np.linalg.norm(model(test.X).jacobian, axis=1).mean()
        if cell.split < config.network_splits and time < math.inf:
            for seed in range(config.networks):
                net = _trained(config, flow, train, lam, time, seed)
                found["network"][k, seed] = _under_attack(config, net, test, sizes)
        if report is not None:
            report((k + 1) / 2)
    return found


def _under_attack(config, model, data, sizes):
    return robustness.accuracy_under_attack(model, data.X, data.y, sizes, steps=config.attack_steps)


def _choose(config, mlp, lams, train, validation):
    """The flow, lambda and time with the highest accuracy under attack on the validation rows."""
    best = None
    for lam in lams:
        flow = RobustFlow(mlp, train.X, train.y, lam=lam, ridge=config.ridge)
        for time in (*config.times, math.inf):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", LinAlgWarning)  # times at which some directions are unresolved
                clean, attacked = _under_attack(config, partial(flow.at, time), validation, (0.0, config.chosen_for))
            if best is None or (attacked, clean) > best[0]:
                best = (attacked, clean), flow, lam, time
    return best[1:]


def _trained(config, flow, train, lam, time, seed):
    """A network of finite width after the given time, kappa^2 t, of descent."""
    from jacntk_lib.errors import ConvergenceError
    from jacntk_lib.networks import FiniteMLP
    from jacntk_lib.training import train as descend

    mlp = MLP(config.depth, config.activation, kappa=config.kappa)
    for share in (2, 4):
        net = FiniteMLP(mlp, config.width, train.X.shape[1], seed)
        steps = math.ceil(time / (flow.max_learning_rate / share))
        try:
            descend(net, train.X, train.y, lam, time / steps / config.kappa**2, steps, record=[], allow_unstable=True)
            break
        except ConvergenceError:
            if share == 4:
                raise
    return net


# All cells


def collect(config, outcomes):
    """One row per cell: ``cell_data``, ``cell_split``, and what was measured, plain first.

    ``chosen`` (model, lambda and time), ``limit`` (model, attacked and certified, 1 + eps), ``network`` (model, seed,
    1 + eps), NaN where none was trained, ``norm`` and mean ``slope`` at test points (model,). The first size is without
    attack.
    """
    order = [cell for cell in cells(config) if cell in outcomes]
    arrays = {name: np.array([outcomes[cell][name] for cell in order]) for name in outcomes[order[0]]}
    for name in ("data", "split"):
        arrays[f"cell_{name}"] = np.array([getattr(cell, name) for cell in order])
    return arrays | {"eps": np.array(config.eps)}


def accuracy(result, data, model, how, eps):
    """Accuracy under attacks of size ``eps`` (0: none), one number per split, NaN where no network was trained.

    ``model`` is one of ``MODELS``, ``how`` one of ``HOW``; of several networks it is the mean.
    """
    rows, k = np.flatnonzero(result["cell_data"] == data), MODELS.index(model)
    if rows.size == 0:
        raise ValueError(f"the result has no cells for {data}")
    e = int(np.flatnonzero(np.isclose([0.0, *result["eps"]], eps))[0])
    if how == "network":
        return result["network"][rows, k, :, e].mean(axis=1)
    return result["limit"][rows, k, HOW.index(how), e]


def gain(result, data, how, eps):
    """Penalised less plain, paired by split: mean and 95 % interval over splits, as ``OverSplits``."""
    penalised, plain = (accuracy(result, data, model, how, eps) for model in reversed(MODELS))
    return over_splits(penalised - plain)


def summary(result):
    """By table: accuracy without and under attack, certified, and of networks, plain and penalised."""
    shown = [f"{eps:g}" for eps in (0.0, *result["eps"])]
    lines = [EXPERIMENT.title, f"means over splits; sizes {', '.join(shown)}"]
    for data in dict.fromkeys(result["cell_data"].tolist()):
        for how, model in itertools.product(HOW, MODELS):
            found = [over_splits(accuracy(result, data, model, how, eps)) for eps in (0.0, *result["eps"])]
            lines.append(f"  {data}, {how}, {model}: " + ", ".join(map(str, found)))
    return "\n".join(lines)


def plot(result):
    """Accuracy by size of attack, a panel per table: attacked (full), certified (dotted)."""
    import matplotlib.pyplot as plt

    from .. import plotting

    names = list(dict.fromkeys(result["cell_data"].tolist()))
    rows = math.ceil(len(names) / 2)
    how = {"sharex": True, "sharey": True, "squeeze": False, "layout": "constrained"}
    figure, axes = plt.subplots(rows, 2, figsize=(5.6, 2.1 * rows), **how)
    sizes = (0.0, *result["eps"])
    for ax, name in zip(axes.flat, names, strict=False):
        for model, (kind, style) in itertools.product(MODELS, (("attacked", "o-"), ("certified", ":"))):
            means = [accuracy(result, name, model, kind, eps).mean() for eps in sizes]
            ax.plot(sizes, means, style, ms=3, color=plotting.COLOURS[model], label=f"{model}, {kind}")
        ax.set_title(name.replace("_", " "), fontsize=10)
        ax.set(ylim=(0, 1.02), xticks=(0.0, *result["eps"][1:]))
    for ax in axes[-1]:
        ax.set_xlabel("size of attack")
    for ax in axes[:, 0]:
        ax.set_ylabel("accuracy")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2)
    return figure


EXPERIMENT = Experiment(
    label="controlled",
    title="Accuracy without, under attack and certified, with the penalty and without",
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
