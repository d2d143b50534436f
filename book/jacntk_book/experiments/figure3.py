r"""Figure 3 (Theorem 4.5): how far the finite Jacobian NTK moves during robust training, by width and by step.

Each cell trains one network and measures its JNTK K_t at the recorded steps. Two distances, each of two kinds:

- from the limit Theta, what the paper draws: ``largest_by_pair``, the largest entry of \|K_t - Theta\| over all pairs
  of points for each of the ``INDEX_PAIRS`` (a, b), and ``frobenius``, relative to the norm of Theta. Both begin at
  the sampling error of figure 2;
- from the same network's K_0, which is constancy itself: ``drift_by_pair``, ``drift``, in the same two units.

Beside them the loss, the training accuracy, and ``moved``: how far the weights of each layer have gone from their
start, in the three norms of the paper's Lemma J.2 (``NORMS``); :func:`allowed` are the scales it compares them with.

>>> few = {"rows": 4, "widths": (16, 64, 256), "seeds": (2, 2, 2), "steps": (0, 4)}
>>> config = Config(data="breast_cancer", activations=("erf",), depth=1, kappa=0.5, **few)
>>> data_of(config).X.shape
(4, 30)
>>> result = run(config)
>>> seed_counts(result)  # activation, width
array([[2, 2, 2]])
>>> result["largest_by_pair"].shape, result["moved"].shape  # ..., seed, step, index pair; ..., step, layer, norm
((1, 3, 2, 2, 4), (1, 3, 2, 2, 2, 3))
>>> slope, low, high = drift_slopes(result)["erf"]
>>> bool(slope < -0.5)  # faster than the sampling error
True
>>> limit_of(config, "erf").shape, len(plot_relative(result).axes)  # 4 points with their 30 derivatives
((124, 124), 2)
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import linalg

from jacntk_lib import activations
from jacntk_lib._validation import integer, non_negative_number, positive_number
from jacntk_lib.architecture import MLP
from jacntk_lib.kernels import jacobian_ntk

from .. import datasets
from .drift import allowed, drift_slopes, plot, plot_relative, seed_counts, summary
from .experiment import Experiment
from .fields import as_tuples, known_table
from .grid import INDEX_PAIRS

__all__ = [
    "EXPERIMENT", "INDEX_PAIRS", "NORMS", "PRESETS", "Cell", "Config", "allowed", "cells", "collect", "data_of",
    "drift_slopes", "limit_of", "plot", "plot_relative", "run", "run_cell", "seed_counts", "seeds", "summary",
]  # fmt: skip

NORMS = ("frobenius", "infinity", "one")
"""Norms of a weight matrix's change; the last two are the largest absolute row sum and column sum."""
_SCALARS = ("frobenius", "largest", "drift", "largest_drift", "loss", "accuracy")
_BY_PAIR = ("largest_by_pair", "drift_by_pair")


@dataclass(frozen=True)
class Config:
    """The run. The defaults are the paper's: data, scaling, activation, depth, lambda, kappa, rate, steps, repetitions.

    Two things the paper leaves open. Its table has "224 points, dimension 11"; UCI's has 244 rows, and we take all of
    them, ten columns and the region. ``scale`` is that of :func:`jacntk_book.datasets.load`; rows then have length 1.
    ``rows`` takes that many evenly spaced rows of the table, None all. ``seeds`` is the number of networks for each of
    ``widths``: seeds 0, 1, ...

    Networks of width ``float32_from`` and more are trained in float32, the others in float64. A matrix product in
    float64 is as fast as one in float32 on data-centre GPUs and half as fast on most processors.
    """

    data: str = datasets.FIRES
    scale: str = "minmax"
    activations: tuple[str, ...] = ("gelu",)
    depth: int = 11
    widths: tuple[int, ...] = tuple(2**k for k in range(6, 14))
    seeds: tuple[int, ...] = (10,) * 8
    steps: tuple[int, ...] = (0, *(2**k for k in range(12)))
    lam: float = 0.01
    kappa: float = 0.1
    learning_rate: float = 1.0
    rows: int | None = None
    float32_from: int = 2**14

    def __post_init__(self):
        as_tuples(self, "activations", "widths", "seeds", "steps", repeats=("seeds",))
        if len(self.seeds) != len(self.widths):
            raise ValueError(f"seeds {self.seeds} must give a number for each of the {len(self.widths)} widths")
        known_table(self.data)
        if self.scale not in datasets.SCALES:
            raise ValueError(f"scale must be 'standard', 'minmax' or None, got {self.scale!r}")
        for activation in self.activations:
            activations.get(activation)
        for name, at_least in (("widths", 1), ("seeds", 1), ("steps", 0)):
            for value in getattr(self, name):
                integer(value, f"each of {name}", at_least)
        if list(self.steps) != sorted(self.steps) or self.steps[0] != 0:
            raise ValueError(f"steps must rise from 0, got {self.steps}")
        integer(self.depth, "depth", at_least=1)
        integer(self.float32_from, "float32_from", at_least=1)
        if self.rows is not None:
            integer(self.rows, "rows", at_least=1)
        non_negative_number(self.lam, "lam")
        positive_number(self.kappa, "kappa")
        positive_number(self.learning_rate, "learning_rate")

    def dtype(self, width):
        """Of the networks of this width: float64 or float32."""
        return "float32" if width >= self.float32_from else "float64"


PRESETS = {
    "demo": Config(
        data="breast_cancer",
        activations=("erf",),
        depth=3,
        rows=10,
        widths=(32, 64, 128, 256),
        seeds=(4,) * 4,
        steps=(0, 1, 4, 16, 64, 128),
        kappa=0.5,
    ),
    # the paper's run as far as two cores go in three hours
    "cpu": Config(widths=tuple(2**k for k in range(6, 12)), seeds=(10, 10, 10, 10, 10, 2), float32_from=2**8),
    "paper": Config(),
    # ours: a depth at which the kernel does stay, columns standardised
    "depth-3": Config(scale="standard", activations=("erf",), depth=3, steps=(0, *(2**k for k in range(11)))),
    # ours: depth alone differs from "cpu", on fewer and narrower networks
    "depth-3-gelu": Config(depth=3, widths=(64, 128, 256, 512), seeds=(3,) * 4, float32_from=2**8),
    # ours: other readings of the table's eleventh column
    **{
        column.replace("_", "-"): Config(data=name, widths=(64, 128), seeds=(3, 3))
        for name, column in datasets.FIRES_VARIANTS.items()
    },
}


@dataclass(frozen=True)
class Cell:
    """One network."""

    activation: str
    width: int
    seed: int

    @property
    def key(self):
        return f"{self.activation}-width{self.width}-seed{self.seed}"


def cells(config):
    """Narrow networks first: after an interruption the narrow widths stand complete."""
    return [
        Cell(activation, width, seed)
        for width, count in zip(config.widths, config.seeds, strict=True)
        for seed in range(count)
        for activation in config.activations
    ]


def seeds(config, cell):
    """The seeds that a cell uses."""
    return [cell.seed]


@lru_cache(maxsize=4)
def _data(name, scale, rows):
    data = datasets.load(name, scale=scale)
    if data.task == "several classes":
        raise ValueError(f"data set {name!r} has several classes: the training here has one output")
    N = len(data.X)
    return data if rows is None else data.rows(np.linspace(0, N - 1, min(rows, N)).round().astype(int))


def data_of(config):
    """The training set, scaled."""
    return _data(config.data, config.scale, config.rows)


@lru_cache(maxsize=4)
def _limit(activation, depth, data, scale, rows):
    return jacobian_ntk(MLP(depth, activation), _data(data, scale, rows).X).dense()


def limit_of(config, activation):
    """The limiting JNTK on the training set, dense."""
    return _limit(activation, config.depth, config.data, config.scale, config.rows)


def run_cell(config, cell, device="cpu", report=None):
    """Train one network; arrays over the recorded steps, named as in the module's introduction."""
    from jacntk_lib import finite, training
    from jacntk_lib._optional import torch
    from jacntk_lib.networks import FiniteMLP

    data = data_of(config)
    limit = torch.tensor(limit_of(config, cell.activation), device=device)
    mlp = MLP(config.depth, cell.activation, kappa=config.kappa)
    dtype = getattr(torch, config.dtype(cell.width))
    net = FiniteMLP(mlp, cell.width, data.X.shape[1], cell.seed, dtype=dtype, device=device)
    memory = finite.MEMORY if torch.device(device).type == "cpu" else torch.cuda.mem_get_info(device)[0] // 3
    first_weights = [weight.detach().clone() for weight in net.weights]
    rows, start = [], None

    def measure(step, loss):  # called between the steps, so that each kernel is computed once for both distances
        nonlocal start
        if step in config.steps:
            kernel = finite.jacobian_ntk(net, data.X, memory=memory).double()
            start = kernel if start is None else start
            from_limit, from_start = (_distances(kernel, reference, limit, data.X) for reference in (limit, start))
            with torch.no_grad():
                right = np.mean(data.y * net(data.X).cpu().numpy() > 0)
                moved = [_norms(now - then) for now, then in zip(net.weights, first_weights, strict=True)]
            scalars = (*from_limit[:2], *from_start[:2], loss, right)
            rows.append((scalars, from_limit[2], from_start[2], moved))
        if report is not None:
            report(step / config.steps[-1])

    training.train(
        net,
        data.X,
        data.y,
        config.lam,
        config.learning_rate,
        config.steps[-1],
        record=[],
        progress=measure,
        memory=memory,
    )
    scalars, *others = (np.array(column) for column in zip(*rows, strict=True))
    return dict(zip((*_SCALARS, *_BY_PAIR, "moved"), (*scalars.T, *others), strict=True))


def _distances(kernel, reference, limit, X):
    """Relative Frobenius norm, largest entry, and largest entry for each index pair, of ``kernel - reference``."""
    gap = kernel - reference
    N, d = X.shape
    by_index = gap.view(N, 1 + d, N, 1 + d)
    by_pair = [float(by_index[:, a, :, b].abs().max()) for a, b in INDEX_PAIRS]
    return float(gap.norm() / limit.norm()), float(gap.abs().max()), by_pair


def _norms(change):
    return [float(change.norm()), float(change.abs().sum(dim=1).max()), float(change.abs().sum(dim=0).max())]


def collect(config, outcomes):
    """Arrays (activation, width, seed, step, ...), NaN where a width has fewer seeds, the grid, and the training set.

    ``seeds`` counts those of each width. ``limit_smallest_eigenvalue`` and ``limit_largest_by_pair`` are of the limit:
    (activation, kernel), the JNTK's and the NTK's; (activation, index pair).
    """
    shape = (len(config.activations), len(config.widths), max(config.seeds))
    arrays = {name: np.full(shape + values.shape, np.nan) for name, values in next(iter(outcomes.values())).items()}
    for cell, measured in outcomes.items():
        place = config.activations.index(cell.activation), config.widths.index(cell.width), cell.seed
        for name, values in measured.items():
            arrays[name][place] = values
    data, smallest, largest = data_of(config), [], []
    N, d = data.X.shape
    for activation in config.activations:
        limit = limit_of(config, activation)
        by_index = np.abs(limit).reshape(N, 1 + d, N, 1 + d)
        values_only = limit[:: 1 + d, :: 1 + d]
        smallest.append([linalg.eigvalsh(part, subset_by_index=[0, 0])[0] for part in (limit, values_only)])
        largest.append([by_index[:, a, :, b].max() for a, b in INDEX_PAIRS])
    return arrays | {
        "activations": np.array(config.activations),
        "widths": np.array(config.widths),
        "seeds": np.array(config.seeds),
        "steps": np.array(config.steps),
        "limit_smallest_eigenvalue": np.array(smallest),
        "limit_largest_by_pair": np.array(largest),
    }


def work(config, cell):
    """Products with the square weight matrices of the hidden layers take most of the time."""
    return cell.width * cell.width


EXPERIMENT = Experiment(
    label=3,
    title="The Jacobian NTK during robust training",
    Config=Config,
    presets=PRESETS,
    cells=cells,
    run_cell=run_cell,
    collect=collect,
    seeds=seeds,
    summary=summary,
    plot=plot,
    work=work,
)
run = EXPERIMENT.run
