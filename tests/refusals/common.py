"""Points, targets and objects that the lists of refusals share, and the exceptions by one letter."""

import functools

import numpy as np
import pandas as pd

from jacntk_lib import MLP, JacobianKernelRegressor, RobustFlow
from jacntk_lib.activations import Activation, softplus_derivatives
from jacntk_lib.errors import ConvergenceError, CorruptResultError, SingularGramError
from jacntk_lib.networks import FiniteMLP

X, Y = np.eye(3), np.array([1.0, -1.0, 0.5])
SIGNS = np.array([1.0, -1.0, 1.0])
MASKED = np.ma.array(X, mask=X == 1)
TABLE = pd.DataFrame(X, columns=["a", "b", "c"])
NAN, INF = np.full((3, 3), np.nan), np.full((3, 3), np.inf)
V, T, C, S, R = ValueError, TypeError, ConvergenceError, SingularGramError, CorruptResultError


def flow(mlp=None, X=X, y=Y, **options):
    return RobustFlow(MLP(2) if mlp is None else mlp, X, y, **options)


def fit(**parameters):
    return JacobianKernelRegressor(**parameters).fit(X, Y)


def network(**options):
    return FiniteMLP(**{"mlp": MLP(3, kappa=1.0), "width": 4, "input_dim": 3} | options)


@functools.cache
def quadrature():
    return MLP(1, Activation.from_derivatives("own", softplus_derivatives()))


def slope(Z):
    """A model whose value is the first input: rows of value and derivatives."""
    return np.concatenate([Z[:, :1], np.tile(X[:1], (len(Z), 1))], axis=1)
