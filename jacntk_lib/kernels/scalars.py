"""The eight scalars of every pair of points: all of them, or a few rows at a time where all would not fit."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from . import recursion as kernels
from .recursion import Jet

_PAIRS_AT_ONCE = 1 << 20  # pairs computed together: bounds the temporaries at some 200 MiB


def between(mlp, X, X2, *, tangent) -> Jet:
    """The scalars between two sets of points, (N, M) each."""
    A, B = _squares(X), _squares(X2)
    jet = Jet(*(np.empty((len(X), len(X2))) for _ in Jet._fields))
    np.matmul(X, X2.T, out=jet.k)  # k holds <x, x'> until its tile has been computed
    side, tile = kernels.on_tiles(mlp, np.concatenate([A, B]), tangent=tangent)

    def fill(rows, cols):
        for matrix, values in zip(jet, tile(A[rows], B[cols], jet.k[rows, cols]), strict=True):
            matrix[rows, cols] = values

    _on_all_cores(fill, [(rows, cols) for rows in slices(len(X), side) for cols in slices(len(X2), side)])
    return jet


def within(mlp, X, *, tangent) -> Jet:
    """The scalars among N points, from the pairs i <= j alone: six (N, N) arrays, k_B and k_BC being transposes.

    Exchanging the points exchanges A with B and nothing else (:meth:`Jet.transposed`).
    """
    N, lengths = len(X), _squares(X)
    k, A, C, AB, AC, CC = (np.empty((N, N)) for _ in range(6))
    jet = Jet(k, A, A.T, C, AB, AC, AC.T, CC)
    np.matmul(X, X.T, out=k)  # k holds <x, x'> until its tile has been computed
    np.fill_diagonal(k, lengths)  # the same rounding for <x, x> and |x|^2
    side, tile = kernels.on_tiles(mlp, lengths, tangent=tangent)

    def fill(rows, cols):
        part = tile(lengths[rows], lengths[cols], k[rows, cols])
        if rows == cols:  # two roundings of one number: keep that above the diagonal
            above = np.tri(len(part.k), dtype=bool).T
            part = Jet(*(np.where(above, x, y) for x, y in zip(part, part.transposed(), strict=True)))
        for matrix, upper, lower in zip(jet, part, part.transposed(), strict=True):
            matrix[cols, rows] = lower
            matrix[rows, cols] = upper

    steps = slices(N, side)
    _on_all_cores(fill, [(rows, cols) for i, rows in enumerate(steps) for cols in steps[i:]])
    return jet


def pairwise(mlp, X, X2, *, tangent) -> Jet:
    """The scalars of every point with its partner, (N,) each."""
    A, B = _squares(X), _squares(X2)
    C = A if X is X2 else np.einsum("nd,nd->n", X, X2)
    side, tile = kernels.on_tiles(mlp, np.concatenate([A, B]), tangent=tangent)
    parts = [tile(A[some], B[some], np.diag(C[some])).diagonal() for some in slices(len(X), side)]
    return Jet(*map(np.concatenate, zip(*parts, strict=True)))


def _squares(X):
    return np.einsum("nd,nd->n", X, X)


def slices(count, size):
    """Slices of ``size``, the last perhaps shorter, that cover ``range(count)``."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _on_all_cores(fill, tiles):
    if len(tiles) == 1:
        fill(*tiles[0])
    else:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(fill, *zip(*tiles, strict=True)))


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
        return pairwise(self._mlp, self._X, self._X2, tangent=self._tangent)

    def __getattr__(self, field):
        if field not in Jet._fields:
            raise AttributeError(field)
        parts = (self.block(rows, slice(None)) for rows in batches(len(self._X), len(self._X2)))
        return np.concatenate([getattr(part, field) for part in parts])


def batches(N, M):
    """Slices that cover ``range(N)``, of so many rows that their pairs with M points are computed together."""
    return slices(N, max(1, _PAIRS_AT_ONCE // M))
