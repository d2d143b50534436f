r"""Figure 1 (Theorem 3.1): the Jacobian NNGP kernel of finite networks against its limit Sigma^L.

The paper estimates the covariance of (f, Jf) at a finite width from a million sampled outputs. Here it is
computed from few networks: given everything but the last layer, (f, Jf)/kappa is exactly Gaussian with
covariance :math:`(s_w^2/n_L) \langle h^L_a, h^L_b \rangle`, the *conditional* covariance of that one network
(:func:`jacntk_lib.finite.jacobian_nngp`). Two errors against Sigma^L are kept:

- ``frobenius``, ``largest``: of the conditional covariance of each network by itself. It falls like n^{-1/2}: a wide
  network's last hidden layer averages over its n units.
- ``frobenius_of_mean``: of the mean over the seeds, an estimate of the finite-width covariance itself. At depth 1 that
  equals Sigma at every width, so only sampling noise is left, of order (n seeds)^{-1/2}; deeper it differs by O(1/n).
"""

from .. import gram
from . import _grid, _runner
from ._grid import PRESETS, Cell, Config, cells, seeds, slopes

__all__ = ["PRESETS", "Cell", "Config", "cells", "collect", "plot", "run", "run_cell", "seeds", "slopes", "summary"]

NUMBER = 1
TITLE = "The Jacobian NNGP kernel of finite networks against its limit"


def run_cell(config, cell, device="cpu", report=None):
    """Errors of all seeds of one cell: see :func:`jacntk_lib.experiments._grid.compare`."""
    from .. import finite

    return _grid.compare(config, cell, gram.jacobian_nngp, finite.jacobian_nngp, device, report)


def collect(config, outcomes):
    """Arrays of shape (activation, depth, width, seed, ...) and the grid."""
    return _grid.collect(config, outcomes, gram.jacobian_nngp)


def operations(config, cell):
    """(number, dtype) of the floating-point operations of a cell, for the expected time."""
    # the stored run on two cores took five times as long as its products alone: errors by block, activations, limits
    return _grid.operations(config, cell, backwards=False, slower=5)


def run(config, **options):
    """The whole grid, with the options of :func:`jacntk_lib.experiments._runner.run`."""
    from . import figure1

    return _runner.run(figure1, config, **options)


def summary(result):
    """Errors at the ends of the grid, and their slopes, in a line per activation and depth."""
    return _grid.summary(result, "Jacobian NNGP kernel of a finite network against Sigma")


def plot(result):
    """The error of single networks by width, one panel an activation."""
    return _grid.plot(result, "Jacobian NNGP kernel")
