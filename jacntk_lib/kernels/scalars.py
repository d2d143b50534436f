"""The eight scalars of every pair of points: all of them, or a few rows at a time where all would not fit."""

import abc
import os
import threading
from itertools import chain, islice

import numpy as np

from .products import Vectors, add_product
from .recursion import SIDE, TILES, VALUE_FIELDS, Jet, on_tiles
from .schedule import BLOCK, above, on_all_cores, parts, rounds, slices

ROWS_AT_ONCE = 64  # points per slab of a dense matrix: bounds the temporaries
# Points by points of a block of a product. The larger, the less often threads wait for each other to run Python
_ROWS, _COLUMNS = 512, 2048
_STRIP = 128  # points across one that is computed again: it stays in the processor's cache until it has been multiplied
_PAIRS_OF_A_TASK = 1 << 17  # of a product, at least: so many take a millisecond
_PAIRS_AT_ONCE = 1 << 20  # pairs computed together: bounds the temporaries at some 200 MiB
_TASKS = 8  # of a prediction, at least, where there are points enough: some for every core
_ALL = slice(None)


class Scalars(abc.ABC):
    """The scalars of N points with M others: what a Gram matrix asks of them."""

    share_recomputed = 0.0  # of the pairs, in every product

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
    def multiply(self, X, Y, v0, V, out):
        """The product with v0 (M, K) and V (M, d, K) into out (N, 1+d, K), see :mod:`jacntk_lib.kernels.products`.

        X and Y are the points in the coordinates that V has, not necessarily those the scalars were computed from.
        """


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

    def multiply(self, X, Y, v0, V, out):
        """By blocks, whose size bounds the temporaries."""
        vectors = Vectors.of(Y, v0, V)
        out[:] = 0.0

        def fill(rows):
            for cols in slices(len(Y), _COLUMNS):
                add_product(self._jet.block(rows, cols), X[rows], vectors.some(cols), out[rows])

        each = max(-(-len(X) // (2 * os.cpu_count())), _PAIRS_OF_A_TASK // len(Y))  # two tasks for every core
        on_all_cores(fill, [(rows,) for rows in slices(len(X), min(each, _ROWS))])


class Recomputed(Scalars):
    """Scalars that every product computes again, except those of pairs within one set that fit in ``memory``."""

    def __init__(self, mlp, tangent, X, X2, memory=0):
        self._mlp, self._tangent, self._X, self._X2 = mlp, tangent, X, X2
        self._memory, self._kept = memory, {}

    def __getstate__(self):
        return vars(self) | {"_kept": {}}

    @property
    def share_recomputed(self):
        if self._X is not self._X2:
            return 1.0
        return 1.0 - min(1.0, self._strips_kept * BLOCK * _STRIP / (len(self._X) * (len(self._X) + BLOCK) / 2))

    @property
    def _strips_kept(self):
        return self._memory // (8 * 8 * BLOCK * _STRIP)  # eight scalars of eight bytes for every pair

    def _strips(self):
        """Where those of a product among the points of one set begin, in the order in which they are computed."""
        for first, second in chain(*rounds(len(self._X))):
            for rows, block in above(first, second, BLOCK, BLOCK):
                yield from ((rows.start, cols.start) for cols in parts(block, _STRIP))

    def block(self, rows, cols):
        return between(self._mlp, self._X[rows], self._X2[cols], tangent=self._tangent)

    def diagonal(self):
        return pairwise(self._mlp, self._X, self._X2, tangent=self._tangent)

    def transposed(self):
        return Recomputed(self._mlp, self._tangent, self._X2, self._X)

    def field(self, name):
        blocks = (self.block(rows, _ALL) for rows in batches(len(self._X), len(self._X2)))
        return np.concatenate([getattr(block, name) for block in blocks])

    def multiply(self, X, Y, v0, V, out):
        """Strip by strip; among the points of one set the blocks above the diagonal serve both of theirs."""
        mine, others = self._X, self._X2
        lengths = _squares(mine), _squares(others)
        vectors = Vectors.of(Y, v0, V)
        side, tile = on_tiles(self._mlp, np.concatenate(lengths), tangent=self._tangent)
        keepable = set(islice(self._strips(), self._strips_kept)) if mine is others else ()
        scratch = threading.local()
        out[:] = 0.0

        def computed(rows, cols):  # in memory of the thread, for which the next strip comes
            A, B, C = lengths[0][rows], lengths[1][cols], mine[rows] @ others[cols].T
            if not hasattr(scratch, "strip"):
                scratch.strip = np.empty((8, BLOCK, _STRIP))
            jet = Jet(*scratch.strip[:, : len(A), : len(B)])
            for down in slices(len(A), TILES * side):
                for across in slices(len(B), side):
                    for field, values in zip(jet, tile(A[down], B[across], C[down, across]), strict=True):
                        field[down, across] = values
            return jet

        def asked(rows, cols):
            key = rows.start, cols.start
            if (jet := self._kept.get(key)) is None:
                jet = computed(rows, cols)
                if key not in keepable:
                    return jet
                jet = self._kept[key] = Jet(*map(np.copy, jet))
            return jet

        def row(rows):
            for cols in slices(len(others), _STRIP):
                add_product(computed(rows, cols), X[rows], vectors.some(cols), out[rows])

        def pair(first, second):
            for rows, block in above(first, second, BLOCK, BLOCK):
                for cols in parts(block, _STRIP):
                    jet = asked(rows, cols)
                    add_product(jet, X[rows], vectors.some(cols), out[rows])
                    if rows != block:
                        add_product(jet.transposed(), X[cols], vectors.some(rows), out[cols])

        if mine is others:
            on_all_cores(pair, *rounds(len(mine)))
        else:
            on_all_cores(row, [(rows,) for rows in slices(len(mine), TILES * SIDE)])


def between(mlp, X, X2, *, tangent, fields=Jet._fields) -> Jet:
    """The scalars between two sets of points, (N, M) each, ``None`` for what is not among ``fields``."""
    A, B = _squares(X), _squares(X2)
    jet = Jet(*(np.empty((len(X), len(X2))) if name in fields else None for name in Jet._fields))
    side, tile = on_tiles(mlp, np.concatenate([A, B]), tangent=tangent, fields=fields)

    def fill(rows, cols):
        for matrix, values in zip(jet, tile(A[rows], B[cols], X[rows] @ X2[cols].T), strict=True):
            if matrix is not None:
                matrix[rows, cols] = values

    tiles = [(rows, cols) for rows in slices(len(X), TILES * side) for cols in slices(len(X2), side)]
    on_all_cores(fill, tiles)
    return jet


def value_products(mlp, X, X2, v0, V, *, tangent) -> np.ndarray:
    """The value rows of :meth:`Scalars.multiply`, (N, K), from three of the eight scalars, tile by tile.

    With s_j = <x'_j, V_j> it is ``k v_0 + 2 k_B s + rowsum(X (k_C V))``: no pair is kept, no derivative computed.
    """
    A, B = _squares(X), _squares(X2)
    M, d, K = V.shape
    flat, twice = V.reshape(M, d * K), 2 * np.einsum("jd,jdk->jk", X2, V)
    side, tile = on_tiles(mlp, np.concatenate([A, B]), tangent=tangent, fields=VALUE_FIELDS)
    strips = slices(len(X), TILES * side)
    blocks = slices(M, max(BLOCK // 2, M * len(strips) // _TASKS))  # few points are shared among the cores, too
    out = np.zeros((len(blocks), len(X), K))

    def fill(rows, number):
        x = X[rows]
        for cols in parts(blocks[number], side):
            jet = tile(A[rows], B[cols], x @ X2[cols].T)
            slopes = (jet.C @ flat[cols]).reshape(len(x), d, K)
            out[number, rows] += jet.k @ v0[cols] + jet.B @ twice[cols] + np.einsum("nd,ndk->nk", x, slopes)

    on_all_cores(fill, [(rows, number) for rows in strips for number in range(len(blocks))])
    return out.sum(axis=0)


def within(mlp, X, *, tangent) -> Jet:
    """The scalars among N points, from the pairs i <= j alone: six (N, N) arrays, k_B and k_BC being transposes.

    Exchanging the points exchanges A with B and nothing else (:meth:`Jet.transposed`).
    """
    N, lengths = len(X), _squares(X)
    k, A, C, AB, AC, CC = (np.empty((N, N)) for _ in range(6))
    jet = Jet(k, A, A.T, C, AB, AC, AC.T, CC)
    np.matmul(X, X.T, out=k)  # which holds <x, x'> until its tile has been computed
    np.fill_diagonal(k, lengths)  # the same rounding for <x, x> and |x|^2
    side, tile = on_tiles(mlp, lengths, tangent=tangent)

    def fill(rows, cols):
        part = tile(lengths[rows], lengths[cols], k[rows, cols])
        for matrix, upper, lower in zip(jet, part, part.transposed(), strict=True):
            matrix[cols, rows] = lower
            matrix[rows, cols] = upper
        if rows.stop == cols.stop:  # below the diagonal is another rounding of what is above: keep this one
            square = part.block(slice(cols.start - rows.start, None), _ALL)
            for matrix, upper, lower in zip(jet, square, square.transposed(), strict=True):
                matrix[cols, cols] = np.triu(upper) + np.tril(lower, -1)

    on_all_cores(fill, list(above(slice(0, N), slice(0, N), TILES * side, side)))
    return jet


def pairwise(mlp, X, X2, *, tangent) -> Jet:
    """The scalars of every point with its partner, (N,) each."""
    A, B = _squares(X), _squares(X2)
    C = A if X is X2 else np.einsum("nd,nd->n", X, X2)
    side, tile = on_tiles(mlp, np.concatenate([A, B]), tangent=tangent)
    jets = [tile(A[some], B[some], np.diag(C[some])).diagonal() for some in slices(len(X), side)]
    return Jet(*map(np.concatenate, zip(*jets, strict=True)))


def _squares(X):
    return np.einsum("nd,nd->n", X, X)


def batches(N, M):
    """Slices that cover ``range(N)``, of so many rows that their pairs with M points are computed together."""
    return slices(N, max(1, _PAIRS_AT_ONCE // M))
