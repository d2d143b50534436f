"""The eight scalars of every pair of points: all of them, or a few rows at a time where all would not fit."""

import numpy as np

from . import kernels
from .kernels import Jet

_PAIRS_AT_ONCE = 1 << 20  # pairs computed together: bounds the temporaries at some 200 MiB


def between(mlp, X, X2, *, tangent) -> Jet:
    """The scalars between two sets of points, (N, M) each."""
    lengths = np.einsum("nd,nd->n", X, X), np.einsum("nd,nd->n", X2, X2)
    jet = Jet(*(np.empty((len(X), len(X2))) for _ in Jet._fields))
    for rows in batches(len(X), len(X2)):
        C = X[rows] @ X2.T
        A = np.broadcast_to(lengths[0][rows, None], C.shape).ravel()
        B = np.broadcast_to(lengths[1][None, :], C.shape).ravel()
        part = kernels.jet_of_kernel(mlp, A, B, C.ravel(), tangent=tangent)
        for matrix, values in zip(jet, part, strict=True):
            matrix[rows] = values.reshape(C.shape)
    return jet


def within(mlp, X, *, tangent) -> Jet:
    """The scalars among N points, from the pairs i <= j alone: six (N, N) arrays, k_B and k_BC being transposes.

    Exchanging the points exchanges A with B and nothing else.
    """
    N, lengths = len(X), np.einsum("nd,nd->n", X, X)
    k, A, C, AB, AC, CC = (np.empty((N, N)) for _ in range(6))
    jet = Jet(k, A, A.T, C, AB, AC, AC.T, CC)
    for rows in batches(N, N):
        i, j = np.triu_indices(rows.stop - rows.start, m=N - rows.start)
        i, j = i + rows.start, j + rows.start
        products = (X[rows] @ X[rows.start :].T)[i - rows.start, j - rows.start]
        products[i == j] = lengths[rows]  # the same rounding for <x, x> and |x|^2
        part = kernels.jet_of_kernel(mlp, lengths[i], lengths[j], products, tangent=tangent)
        mirrored = part._replace(A=part.B, B=part.A, AC=part.BC, BC=part.AC)
        for matrix, upper, lower in zip(jet, part, mirrored, strict=True):
            matrix[j, i] = lower
            matrix[i, j] = upper
    return jet


class Recomputed:
    """The scalars between two sets of points, made anew whenever some of them are asked for.

    It has the methods of a :class:`Jet`; an attribute (k, A, ...) is one whole (N, M) array.
    """

    def __init__(self, mlp, tangent, X, X2):
        self._mlp, self._tangent, self._X, self._X2 = mlp, tangent, X, X2

    def block(self, rows, cols):
        """Those of a slice of rows and a slice of columns."""
        return between(self._mlp, self._X[rows], self._X2[cols], tangent=self._tangent)

    def transposed(self):
        """The points exchanged."""
        return Recomputed(self._mlp, self._tangent, self._X2, self._X)

    def diagonal(self):
        """The scalars of every point with its partner, (N,) each."""
        X, X2 = self._X, self._X2
        A, B = np.einsum("nd,nd->n", X, X), np.einsum("nd,nd->n", X2, X2)
        C = A if X is X2 else np.einsum("nd,nd->n", X, X2)
        return kernels.jet_of_kernel(self._mlp, A, B, C, tangent=self._tangent)

    def __getattr__(self, field):
        if field not in Jet._fields:
            raise AttributeError(field)
        parts = (self.block(rows, slice(None)) for rows in batches(len(self._X), len(self._X2)))
        return np.concatenate([getattr(part, field) for part in parts])


def batches(N, M):
    """Slices that cover ``range(N)``, of so many rows that their pairs with M points are computed together."""
    size = max(1, _PAIRS_AT_ONCE // M)
    return [slice(start, min(start + size, N)) for start in range(0, N, size)]
