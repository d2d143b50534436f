"""Eigenfeatures as functions of the input, where they have to be evaluated again and again."""

import operator

import numpy as np

from .._validation import as_array, as_points
from ..kernels import jacobian_ntk
from .outcomes import Eigenfeatures

_PAIRS_AT_ONCE = 1 << 16  # pairs of points per kernel call with each feature at its own points: fills many tiles


class FeatureFunctions:
    r"""The eigenfeatures of a flow at one time; made by :meth:`RobustFlow.feature_functions
    <jacntk_lib.RobustFlow.feature_functions>`.

    .. math:: F_i(x) &= \Theta_{xX}\, c_i, \\ c_i &= \Lambda^{1/2} v_i\, \tau_i\, v_i^\top \Lambda^{1/2} y^*

    ``functions(X)`` evaluates every feature at the same M points, shape (M, d), with one block of kernel;
    ``functions(Z)`` evaluates feature i at points of its own, Z[:, i] of shape (M, p, d), with one block each: what an
    attack needs, which moves the points of every feature its own way. Either returns :class:`Eigenfeatures`, values
    (M, p) or (M, p, K) and Jacobians (M, p, d) or (M, p, K, d). ``functions[index]`` is some of them (a slice, indices
    or a mask; one integer keeps its axis), ``len(functions)`` how many there are.

    Attributes
    ----------
    eigenvalues : (p,), descending, ridge included.
    """

    def __init__(self, system, eigenvalues, coefficients, outputs):
        self._system, self.eigenvalues = system, eigenvalues
        self._coefficients = coefficients  # (P, 1+d, p, K)
        self._outputs = outputs  # () or (K,)

    def __len__(self):
        return len(self.eigenvalues)

    def __getitem__(self, index):
        try:
            i = range(len(self))[operator.index(index)]  # IndexError where there is none, also from iteration
            index = slice(i, i + 1)
        except TypeError:
            pass
        return FeatureFunctions(self._system, self.eigenvalues[index], self._coefficients[:, :, index], self._outputs)

    @np.errstate(under="ignore")  # as for a RobustFlow
    def __call__(self, X):
        P, d1, p, K = self._coefficients.shape
        if np.ndim(X) == 3:
            rows = self._at_own_points(as_array(X, "X", (len(X), p, d1 - 1)))
        else:
            flat = self._coefficients.reshape(P, d1, p * K)
            rows = self._system.evaluate(None if X is None else as_points(X, "X", dimension=d1 - 1), flat)
        return Eigenfeatures(self.eigenvalues, *unpack(rows.reshape(len(rows), d1, p, K), self._outputs))

    def _at_own_points(self, Z):
        """(M, p, d) -> (M, 1+d, p, K)."""
        P, d1, p, K = self._coefficients.shape
        U, M = self._system.U, len(Z)
        rows = np.empty((M, d1, p, K))
        several = max(1, _PAIRS_AT_ONCE // (M * P))
        for first in range(0, p, several):
            some = range(first, min(first + several, p))
            points = np.concatenate([Z[:, i] for i in some])
            kernel = jacobian_ntk(self._system.mlp, points, U)
            for block, i in enumerate(some):
                gram = kernel.rows_of(slice(block * M, (block + 1) * M))
                rows[:, :, i] = (gram @ self._coefficients[:, :, i].reshape(P * d1, K)).reshape(M, d1, K)
        return rows


def unpack(rows, outputs):
    """(M, 1+d, ..., K) -> values (M, ..., K) and Jacobians (M, ..., K, d), without K where ``outputs`` is ()."""
    value, jacobian = rows[:, 0], np.moveaxis(rows[:, 1:], 1, -1)
    if not outputs:
        value, jacobian = value[..., 0], jacobian[..., 0, :]
    return np.ascontiguousarray(value), np.ascontiguousarray(jacobian)
