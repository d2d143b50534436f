"""Points that a kernel cannot tell apart: equal ones, and antipodes where phi is odd or even."""

from dataclasses import dataclass, replace

import numpy as np

from .recursion import variances


def reaching(mlp, X):
    """``mlp``, the detected parts of its activation looked for as far out as its pre-activations at the points X go."""
    if not mlp.phi.detected:
        return mlp
    scales = mlp.column_scales(X.shape[1])
    largest = variances(mlp, np.square(X if scales is None else scales * X).sum(axis=1)).max(initial=0.0)
    return replace(mlp, activation=mlp.phi.reaching(float(largest)))


@dataclass(frozen=True)
class Ties:
    """Which points are equal to which, exactly as the float64 numbers they are.

    Attributes
    ----------
    first : (P,), index of the first point of each tie, increasing.
    group : (N,), the tie each point belongs to.
    sign : (N,), +1 where a point equals the first of its tie, -1 where it is its antipode.

    Examples
    --------
    >>> tied = Ties.of(np.array([[1.0, 2.0], [0.0, 3.0], [-1.0, -2.0], [1.0, 2.0]]), antipodes=True)
    >>> tied.first, tied.group, tied.sign
    (array([0, 1]), array([0, 1, 0, 0]), array([ 1.,  1., -1.,  1.]))
    """

    first: np.ndarray
    group: np.ndarray
    sign: np.ndarray

    @classmethod
    def of(cls, X, *, antipodes):
        """The ties among the rows of X, with ``antipodes`` also those between x and -x."""
        sign = np.ones(len(X))
        if antipodes:
            leading = X[np.arange(len(X)), (X != 0).argmax(axis=1)]  # the first coordinate that is not zero
            sign[leading < 0] = -1.0
        canonical = sign[:, None] * X + 0.0  # adding zero turns -0.0 into 0.0
        _, first, group = np.unique(canonical, axis=0, return_index=True, return_inverse=True)
        order = np.argsort(first)
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        first, group = first[order], rank[group.ravel()]
        return cls(first, group, sign * sign[first[group]])
