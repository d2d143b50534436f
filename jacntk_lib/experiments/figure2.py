r"""Figure 2 (Theorem 4.3): the finite Jacobian NTK at initialisation against its limit Theta^L.

Each network of the grid gives one matrix, the Gram matrix of the parameter gradients of (f, Jf)/kappa on the points
(:func:`jacntk_lib.finite.jacobian_ntk`, exact). Its errors are kept in the paper's metric, the largest entry for each
index pair (00), (22), (02), (12), and in ours, the relative Frobenius norm (:func:`_grid.compare`).
``frobenius_of_mean`` is the error of the mean of all seeds' matrices: at depth 1 that mean estimates Theta itself at
every width.

>>> result = run(Config(activations=("erf",), depths=(1,), widths=(16, 32), seeds=2, points=8))
>>> widths, errors = measured(result, "largest_by_pair", 0, 0)
>>> [int(n) for n in widths], errors.shape  # width, seed, index pair
([16, 32], (2, 2, 4))
>>> plot_relative(result).axes[0].get_ylabel()
'relative error of the JNTK'
"""

from ..kernels import gram
from . import grid as _grid
from . import runner
from .grid import INDEX_PAIRS, PRESETS, Cell, Config, cells, measured, seeds, slopes

__all__ = [
    "INDEX_PAIRS",
    "PRESETS",
    "Cell",
    "Config",
    "cells",
    "collect",
    "measured",
    "plot",
    "plot_relative",
    "run",
    "run_cell",
    "seeds",
    "slopes",
    "summary",
]

NUMBER = 2
TITLE = "The Jacobian NTK of finite networks at initialisation against its limit"
PARTIAL = True
"""Widths are independent: a result with fewer of them is a result."""


def run_cell(config, cell, device="cpu", report=None):
    """Errors of all seeds of one cell: see :func:`jacntk_lib.experiments.grid.compare`."""
    from .. import finite

    return _grid.compare(config, cell, gram.jacobian_ntk, finite.jacobian_ntk, device, report)


def collect(config, outcomes):
    """Arrays of shape (activation, depth, width, seed, ...) and the grid."""
    return _grid.collect(config, outcomes, gram.jacobian_ntk)


def operations(config, cell):
    """(number, dtype) of the floating-point operations of a cell, for the expected time."""
    # the whole grid takes about twice as long as its products alone: weights, activations, errors by pair
    return _grid.operations(config, cell, backwards=True, slower=2)


def run(config, **options):
    """The whole grid, with the options of :func:`jacntk_lib.experiments.runner.run`."""
    from . import figure2

    return runner.run(figure2, config, **options)


def summary(result):
    """Errors at the ends of the grid, two lines per activation and depth."""
    return _grid.summary(result, "JNTK of a finite network against Theta")


def plot(result):
    """The paper's picture: the largest entry of the error by width, one panel an index pair."""
    return _grid.plot(result)


def plot_relative(result):
    """The relative Frobenius error by width, one panel an activation."""
    return _grid.plot_relative(result, "JNTK")
