r"""Figure 2 (Theorem 4.3): the finite Jacobian NTK at initialisation against its limit Theta^L.

Each network of the grid gives one matrix, the Gram matrix of the parameter gradients of (f, Jf)/kappa on the points
(:func:`jacntk_lib.finite.jacobian_ntk`, exact). Its errors are kept in the paper's metric, the largest entry for each
index pair (00), (22), (02), (12), and in ours, the relative Frobenius norm (``grid.compare``).
``frobenius_of_mean`` is the error of the mean of all seeds' matrices: at depth 1 that mean estimates Theta itself at
every width.

>>> result = run(Config(activations=("erf",), depths=(1,), widths=(16, 32), seeds=2, points=8))
>>> widths, errors = measured(result, "largest_by_pair", 0, 0)
>>> [int(n) for n in widths], errors.shape  # width, seed, index pair
([16, 32], (2, 2, 4))
>>> plot_relative(result).axes[0].get_ylabel()
'relative error of the JNTK'
"""

from jacntk_lib import kernels

from . import grid
from .experiment import Experiment
from .grid import INDEX_PAIRS, PRESETS, Cell, Config, cells, measured, seeds, slopes

__all__ = [
    "EXPERIMENT", "INDEX_PAIRS", "PRESETS", "Cell", "Config", "cells", "collect", "measured", "plot", "plot_relative",
    "run", "run_cell", "seeds", "slopes", "summary",
]  # fmt: skip


def run_cell(config, cell, device="cpu", report=None):
    """Errors of all seeds of one cell: see ``grid.compare``."""
    from jacntk_lib import finite

    return grid.compare(config, cell, kernels.jacobian_ntk, finite.jacobian_ntk, device, report)


def collect(config, outcomes):
    """Arrays of shape (activation, depth, width, seed, ...) and the grid."""
    return grid.collect(config, outcomes, kernels.jacobian_ntk)


def summary(result):
    """Errors at the ends of the grid, two lines per activation and depth."""
    return grid.summary(result, "JNTK of a finite network against Theta")


def plot(result):
    """The paper's picture: the largest entry of the error by width, one panel per index pair."""
    return grid.plot(result)


def plot_relative(result):
    """The relative Frobenius error by width, one panel per activation."""
    return grid.plot_relative(result, "JNTK")


EXPERIMENT = Experiment(
    label=2,
    title="The Jacobian NTK of finite networks at initialisation against its limit",
    Config=Config,
    presets=PRESETS,
    cells=cells,
    run_cell=run_cell,
    collect=collect,
    seeds=seeds,
    summary=summary,
    plot=plot,
    work=grid.work,
)
run = EXPERIMENT.run
