"""The problem that the negative controls are about, and what one of them returns."""

from typing import NamedTuple

import numpy as np


class Control(NamedTuple):
    """The claim is ``right <= bound`` (``>=`` with ``at_least``); ``broken`` has to miss the same bound."""

    right: float
    broken: float
    bound: float
    at_least: bool = False


X = np.array([[1.0, 0.0], [0.6, 0.8], [-0.8, 0.6], [0.28, -0.96]])  # unit vectors, no two of them parallel
Y = np.array([1.0, -1.0, 1.0, -1.0])
NEW = np.array([[0.96, 0.28], [-0.6, 0.8], [0.0, -1.0]])
POINTS, DIM = X.shape


def relative(found, wanted):
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def targets():
    """y* = (y_1, 0, ..., 0, y_2, 0, ...)."""
    return np.column_stack([Y, np.zeros((POINTS, DIM))]).ravel()


def weights_of_the_loss(lam):
    """The diagonal of Lam: 1 at values, lambda at derivatives."""
    return np.tile([1.0, *[lam] * DIM], POINTS)


def outputs(net, points=X):
    """f and Jf at the points, in one vector."""
    return net.value_and_jacobian(points).detach().numpy().ravel()
