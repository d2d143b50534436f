"""The eight scalars of every pair of points: all of them, or a few rows at a time where all would not fit."""

import abc
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from .recursion import VALUE_FIELDS, Jet, on_tiles

ROWS_AT_ONCE = 64  # points per slab of a dense matrix, or of a product: bounds the temporaries
_PAIRS_AT_ONCE = 1 << 20  # pairs computed together: bounds the temporaries at some 200 MiB
_ALL = slice(None)


class Scalars(abc.ABC):
    """The scalars of N points with M others, wherever they are: what a Gram matrix asks of them."""

    @abc.abstractmethod
    def block(self, rows, cols) -> Jet:
        """Those of some points with some others, slices or index arrays; arrays of two axes."""

    @abc.abstractmethod
    def diagonal(self) -> Jet:
        """Those of every point with its partner, (N,) each."""

    @abc.abstractmethod
    def transposed(self) -> "Scalars":
        """The points exchanged."""

    @abc.abstractmethod
    def field(self, name) -> np.ndarray:
        """One of the eight for all pairs, (N, M), by its name in :class:`Jet`."""

    @abc.abstractmethod
    def stored(self) -> Jet:
        """All of them in memory.

        Raises
        ------
        ValueError : they are recomputed, because they do not fit.
        """

    def multiply(self, X, Y, v0, V, out):
        """The product with v0 (M, K) and V (M, d, K) into out (N, 1+d, K), see :mod:`jacntk_lib.kernels.gram`.

        All columns at once, by slabs of rows, so that what is made on the way stays in the processor's cache. With
        s_j = <x'_j, V_j>, Q = X V^T and the derivatives in three matrix products of size N M d per column:
        ``k_C V + X (2 k_A v_0 + 4 k_AB s + 2 rowsum(k_AC Q)) + (k_CC Q + k_C v_0 + 2 k_BC s) Y``.
        """
        M, d, K = V.shape
        s = np.einsum("jd,jdk->jk", Y, V)
        flat, by_column = V.reshape(M, d * K), np.ascontiguousarray(V.transpose(2, 1, 0))  # (K, d, M)
        twice = 2 * s
        Q, W = np.empty((2, min(ROWS_AT_ONCE, len(X)), M))
        for rows in slices(len(X), ROWS_AT_ONCE):
            n, x = rows.stop - rows.start, X[rows]
            k, A, B, C, AB, AC, BC, CC = self.block(rows, _ALL)
            slopes = (C @ flat).reshape(n, d, K)
            out[rows, 0] = k @ v0 + B @ twice + np.einsum("nd,ndk->nk", x, slopes)
            along_x = 2 * (A @ v0 + AB @ twice)
            for column in range(K):
                q = np.matmul(x, by_column[column], out=Q[:n])
                along_x[:, column] += 2 * np.einsum("nm,nm->n", AC, q)
                q *= CC
                q += np.multiply(C, v0[:, column], out=W[:n])
                q += np.multiply(BC, twice[:, column], out=W[:n])
                slopes[:, :, column] += q @ Y
            slopes += x[:, :, None] * along_x[:, None, :]
            out[rows, 1:] = slopes

    def colocated(self, matrix):
        """An (N, N) matrix where the scalars are, for ``matrix @ x`` with x (N, ...) in NumPy and back."""
        return matrix


class Stored(Scalars):
    """Arrays in memory."""

    def __init__(self, jet):
        self._jet = jet

    def block(self, rows, cols):
        return self._jet.block(rows, cols)

    def diagonal(self):
        return self._jet.diagonal()

    def transposed(self):
        return Stored(self._jet.transposed())

    def field(self, name):
        return getattr(self._jet, name)

    def stored(self):
        return self._jet


class Recomputed(Scalars):
    """Made anew whenever some of them are asked for."""

    def __init__(self, mlp, tangent, X, X2):
        self._mlp, self._tangent, self._X, self._X2 = mlp, tangent, X, X2

    def block(self, rows, cols):
        return between(self._mlp, self._X[rows], self._X2[cols], tangent=self._tangent)

    def diagonal(self):
        return pairwise(self._mlp, self._X, self._X2, tangent=self._tangent)

    def transposed(self):
        return Recomputed(self._mlp, self._tangent, self._X2, self._X)

    def field(self, name):
        parts = (self.block(rows, _ALL) for rows in batches(len(self._X), len(self._X2)))
        return np.concatenate([getattr(part, name) for part in parts])

    def stored(self):
        raise ValueError(
            f"the scalars of {len(self._X)} x {len(self._X2)} points do not fit in memory= and are recomputed in "
            "every product; raise memory to put them on devices"
        )


def between(mlp, X, X2, *, tangent) -> Jet:
    """The scalars between two sets of points, (N, M) each."""
    A, B = _squares(X), _squares(X2)
    jet = Jet(*(np.empty((len(X), len(X2))) for _ in Jet._fields))
    np.matmul(X, X2.T, out=jet.k)  # k holds <x, x'> until its tile has been computed
    side, tile = on_tiles(mlp, np.concatenate([A, B]), tangent=tangent)

    def fill(rows, cols):
        for matrix, values in zip(jet, tile(A[rows], B[cols], jet.k[rows, cols]), strict=True):
            matrix[rows, cols] = values

    _on_all_cores(fill, [(rows, cols) for rows in slices(len(X), side) for cols in slices(len(X2), side)])
    return jet


def value_products(mlp, X, X2, v0, V, *, tangent) -> np.ndarray:
    """The value rows of :meth:`Scalars.multiply`, (N, K), from three of the eight scalars, tile by tile.

    With s_j = <x'_j, V_j> it is ``k v_0 + 2 k_B s + rowsum(X (k_C V))``: no pair is kept, no derivative computed.
    """
    A, B = _squares(X), _squares(X2)
    M, d, K = V.shape
    flat, twice = V.reshape(M, d * K), 2 * np.einsum("jd,jdk->jk", X2, V)
    out = np.zeros((len(X), K))
    side, tile = on_tiles(mlp, np.concatenate([A, B]), tangent=tangent, fields=VALUE_FIELDS)

    def fill(rows):
        x = X[rows]
        for cols in slices(M, side):
            jet = tile(A[rows], B[cols], x @ X2[cols].T)
            slopes = (jet.C @ flat[cols]).reshape(len(x), d, K)
            out[rows] += jet.k @ v0[cols] + jet.B @ twice[cols] + np.einsum("nd,ndk->nk", x, slopes)

    _on_all_cores(fill, [(rows,) for rows in slices(len(X), side)])
    return out


def within(mlp, X, *, tangent) -> Jet:
    """The scalars among N points, from the pairs i <= j alone: six (N, N) arrays, k_B and k_BC being transposes.

    Exchanging the points exchanges A with B and nothing else (:meth:`Jet.transposed`).
    """
    N, lengths = len(X), _squares(X)
    k, A, C, AB, AC, CC = (np.empty((N, N)) for _ in range(6))
    jet = Jet(k, A, A.T, C, AB, AC, AC.T, CC)
    np.matmul(X, X.T, out=k)  # k holds <x, x'> until its tile has been computed
    np.fill_diagonal(k, lengths)  # the same rounding for <x, x> and |x|^2
    side, tile = on_tiles(mlp, lengths, tangent=tangent)

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
    side, tile = on_tiles(mlp, np.concatenate([A, B]), tangent=tangent)
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


def batches(N, M):
    """Slices that cover ``range(N)``, of so many rows that their pairs with M points are computed together."""
    return slices(N, max(1, _PAIRS_AT_ONCE // M))
