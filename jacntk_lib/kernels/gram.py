r"""Gram matrices of a network's value together with its input Jacobian, kept as eight scalars per pair of points.

With the kernel k(A, B, C), A = |x|^2, B = |x'|^2, C = <x, x'>, subscripts for derivatives, and a, b = 1..d:

.. math::

    k_{0b} &= 2 k_B x'_b + k_C x_b, \qquad k_{a0} = 2 k_A x_a + k_C x'_a, \\
    k_{ab} &= 4 k_{AB} x_a x'_b + 2 k_{AC} x_a x_b + 2 k_{BC} x'_a x'_b + k_{CC} x'_a x_b + k_C \delta_{ab}.

So N points in R^d need O(N^2) numbers and O(N^2 d) time per product in place of (N(1+d))^2 for both.

An ``input_scale`` per column makes it the kernel at z = s * x, with row and column a multiplied by s_a.
"""

import numpy as np
from scipy.sparse.linalg import LinearOperator

from .._validation import as_array, jacobian_weights
from .scalars import ROWS_AT_ONCE, Stored, slices


class JacobianGram(LinearOperator):
    """A structured Gram matrix of values and input Jacobians.

    Made by :func:`jacntk_lib.jacobian_nngp` and :func:`jacntk_lib.jacobian_ntk`.

    It is a SciPy ``LinearOperator``: ``scipy.sparse.linalg.cg``, ``eigsh`` and their like take it as it is.

    Rows are ordered by point, then by index (the value first, then d derivatives): row ``i * (1 + d) + a``.

    Attributes
    ----------
    X, X2 : the points, (N, d) and (M, d); the same array where the matrix is symmetric.
    scale : ``input_scale`` where it is one number per column, (d,), else ``None``.
    Z, Z2 : the points times ``scale``: what the scalars are computed from.
    d : the input dimension.
    symmetric : whether it was made with ``X2=None``.
    k, k_A, k_B, k_C, k_AB, k_AC, k_BC, k_CC : the scalars, each (N, M), read-only like the points.
    source : ``(mlp, tangent)`` that it was computed from, tangent being True for Theta; None for one that was scaled
        or turned. It is what a certificate (:mod:`jacntk_lib.spectrum`) computes the entries again from.

    Examples
    --------
    >>> from jacntk_lib import MLP, jacobian_ntk
    >>> G = jacobian_ntk(MLP(depth=2), np.eye(2))
    >>> v = np.arange(6.0)
    >>> bool(np.allclose(G @ v, G.dense() @ v)), bool(np.allclose(v @ G, v @ G.dense()))
    (True, True)
    """

    __array_ufunc__ = None  # so that ``array @ G`` reaches __rmatmul__ instead of looping over entries

    def __init__(self, X, X2, scalars, left=None, right=None, source=None, scale=None):
        X = self.X = _read_only(X)
        self.X2 = X if X2 is None else _read_only(X2)
        self.symmetric = X2 is None
        self.d = X.shape[1]
        self.scale = scale
        self.Z = X if scale is None else X * scale
        self.Z2 = self.Z if X2 is None else X2 if scale is None else X2 * scale
        self._scalars = scalars
        # square roots of lambda by row and by column, (N, 1+d) and (M, 1+d), and times scale; None where all are 1
        self._left, self._right = left, right
        self._rows, self._columns = _times(left, scale, len(X)), _times(right, scale, len(self.X2))
        self.source = source
        super().__init__(np.float64, (len(self.X) * (1 + self.d), len(self.X2) * (1 + self.d)))

    k = property(lambda self: _read_only(self._scalars.field("k")))
    k_A = property(lambda self: _read_only(self._scalars.field("A")))
    k_B = property(lambda self: _read_only(self._scalars.field("B")))
    k_C = property(lambda self: _read_only(self._scalars.field("C")))
    k_AB = property(lambda self: _read_only(self._scalars.field("AB")))
    k_AC = property(lambda self: _read_only(self._scalars.field("AC")))
    k_BC = property(lambda self: _read_only(self._scalars.field("BC")))
    k_CC = property(lambda self: _read_only(self._scalars.field("CC")))

    @property
    def T(self) -> "JacobianGram":
        """The transpose, sharing its memory."""
        if self.symmetric:
            return self
        transposed = self._scalars.transposed()
        return JacobianGram(self.X2, self.X, transposed, self._right, self._left, scale=self.scale)

    def _adjoint(self):
        return self.T

    _transpose = _adjoint

    @property
    def share_recomputed(self) -> float:
        """The share of the pairs whose scalars are computed anew in every product, 0 where all are kept."""
        return self._scalars.share_recomputed

    def scalars(self, rows=slice(None), cols=slice(None)):
        """The eight scalars of some points with some others, unscaled: a tuple (k, k_A, ..., k_CC) of arrays."""
        return self._scalars.block(rows, cols)

    def values(self) -> np.ndarray:
        """The value-value entries, (N, M): the ordinary NNGP kernel or NTK."""
        return self.k.copy()

    def diagonal(self) -> np.ndarray:
        """The diagonal of a square matrix, without forming the rest.

        Raises
        ------
        ValueError : the matrix is not square.
        """
        if len(self.X) != len(self.X2):
            raise ValueError(f"a matrix of shape {self.shape} has no diagonal: it needs as many points in X as in X2")
        k, _, _, C, AB, AC, BC, CC = (x[:, None] for x in self._scalars.diagonal())
        X, Y = self.Z, self.Z2
        slopes = 4 * AB * X * Y + 2 * AC * X * X + 2 * BC * Y * Y + CC * Y * X + C
        entries = np.concatenate([k, slopes], axis=1)
        if self._rows is not None:
            entries *= self._rows * self._columns
        return entries.ravel()

    def value_rows(self) -> np.ndarray:
        """The rows of values alone, ``blocks()[:, 0]`` as (N, M, 1+d): what a prediction of values is made of.

        O(N M d) in place of O(N M d^2).
        """
        k, _, B, C = (x[:, :, None] for x in self.scalars()[:4])
        rows = np.concatenate([k, 2 * B * self.Z2 + C * self.Z[:, None]], axis=2)
        return rows if self._columns is None else rows * self._columns

    def blocks(self) -> np.ndarray:
        """The dense matrix as (N, 1+d, M, 1+d)."""
        return self.dense().reshape(len(self.X), 1 + self.d, len(self.X2), 1 + self.d)

    def dense(self) -> np.ndarray:
        """The matrix itself, (N(1+d), M(1+d)); exactly symmetric where it is symmetric."""
        if self.symmetric:
            return self.submatrix(np.ones(self.shape[0], dtype=bool))
        out, d1 = np.empty(self.shape), 1 + self.d
        for rows in slices(len(self.X), ROWS_AT_ONCE):
            out[rows.start * d1 : rows.stop * d1] = self._slab(rows, slice(0, len(self.X2)))
        return out

    def submatrix(self, kept) -> np.ndarray:
        """Those rows of a symmetric matrix that ``kept`` (N(1+d),) is true for, and the same columns, dense."""
        N, d1 = len(self.X), 1 + self.d
        before = np.concatenate([[0], np.cumsum(kept)])  # how many rows are kept before each
        out = np.empty((before[-1], before[-1]))
        for points in slices(N, ROWS_AT_ONCE):
            here, later = kept[points.start * d1 : points.stop * d1], kept[points.start * d1 :]
            start, stop = before[points.start * d1], before[points.stop * d1]
            if start == stop:
                continue
            slab = self._slab(points, slice(points.start, N))
            slab = slab if later.all() else slab[here][:, later]
            square = slab[:, : stop - start]
            out[start:stop, stop:] = slab[:, stop - start :]
            out[stop:, start:stop] = slab[:, stop - start :].T
            square = np.add(square, square.T, out=out[start:stop, start:stop])
            square *= 0.5
        return out

    def _slab(self, rows, cols):
        """Some rows of points against some columns of points, dense."""
        X, Y = self.Z[rows], self.Z2[cols]
        k, A, B, C, AB, AC, BC, CC = self.scalars(rows, cols)
        n, m, d = len(X), len(Y), self.d
        x, y = X.T[:, :, None], np.ascontiguousarray(Y.T)[:, None]  # one matrix of pairs per column: long inner loops
        slab = np.empty((n, 1 + d, m, 1 + d))
        slab[:, 0, :, 0] = k
        slab[:, 0, :, 1:] = (2 * B * y + C * x).transpose(1, 2, 0)
        slab[:, 1:, :, 0] = (2 * A * x + C * y).transpose(1, 0, 2)
        along_x = 4 * AB * y + 2 * AC * x  # (b, n, m): what multiplies x_a
        along_y = 2 * BC * y + CC * x  # what multiplies x'_a
        row, term = np.empty((2, d, n, m))
        for a in range(d):
            np.multiply(along_x, x[a], out=row)
            row += np.multiply(along_y, y[a], out=term)
            row[a] += C
            slab[:, 1 + a, :, 1:] = row.transpose(1, 2, 0)
        if self._rows is not None:
            slab *= self._rows[rows, :, None, None]
            slab *= self._columns[cols]
        return slab.reshape(n * (1 + d), m * (1 + d))

    def scaled(self, lam) -> "JacobianGram":
        """``Lam^{1/2} G Lam^{1/2}`` with Lam = diag(1, lambda_1, ..., lambda_d) per point, sharing the scalars.

        Parameters
        ----------
        lam : lambda >= 0, a number; for a symmetric matrix also one per point (N,), per column (1, d) or per derivative
            (N, d). The attributes k, k_A, ... stay those of the unscaled kernel; ``dense``, ``diagonal`` and products
            are scaled.

        Raises
        ------
        ValueError : a negative lambda, or other than a number for a matrix between two sets of points.
        """
        if np.ndim(lam) > 0 and not self.symmetric:
            raise ValueError("one lambda per point needs a symmetric Gram matrix (made with X2=None); pass a number")
        left, right = (
            np.sqrt(np.insert(jacobian_weights(lam, len(points), self.d), 0, 1.0, axis=1))
            for points in (self.X, self.X2)
        )
        return self.between(left, right)

    def between(self, left, right) -> "JacobianGram":
        """``diag(left) G diag(right)`` for factors (N, 1+d) of its rows and (M, 1+d) of its columns, sharing scalars.

        For a symmetric matrix they are the same array.
        """
        left, right = (new if old is None else old * new for old, new in ((self._left, left), (self._right, right)))
        X2 = None if self.symmetric else self.X2
        return JacobianGram(self.X, X2, self._scalars, left, right, scale=self.scale)

    @property
    def row_factors(self) -> np.ndarray:
        """Root lambda times ``scale``, (N, 1+d), by which the rows of the kernel at ``Z`` are multiplied."""
        return np.ones((len(self.X), 1 + self.d)) if self._rows is None else self._rows

    def rows_of(self, points) -> "JacobianGram":
        """The rows of some of the points X (a slice) against all of X2: shares memory where scalars are kept."""
        left = None if self._left is None else self._left[points]
        return JacobianGram(self.X[points], self.X2, Stored(self.scalars(points)), left, self._right, scale=self.scale)

    def rotated(self, basis) -> "JacobianGram":
        """The same kernel with derivatives along the columns of ``basis`` (d, r), orthonormal and spanning X.

        The scalars see only inner products of points, which such a change of coordinates leaves alone.

        Raises
        ------
        ValueError : columns are scaled one by one, so that no rotation of them keeps the form.
        """
        if self._rows is not None:
            raise ValueError("derivatives that are scaled by column cannot be rotated: take the unscaled matrix")
        return JacobianGram(self.X @ basis, None if self.symmetric else self.X2 @ basis, self._scalars)

    def __matmul__(self, v):
        """``G @ v`` for v of shape (M(1+d),) or (M(1+d), K): O(N M d) per column, nothing dense."""
        if isinstance(v, LinearOperator):
            return super().__matmul__(v)
        v = np.asarray(v)
        if v.ndim not in (1, 2) or v.shape[0] != self.shape[1]:
            raise ValueError(
                f"cannot multiply a matrix of shape {self.shape} by an array of shape {v.shape}: "
                f"{self.shape[1]} rows are needed"
            )
        v = as_array(v, "v", v.shape)
        V = v.reshape(len(self.X2), 1 + self.d, -1)
        out = np.empty((len(self.X), 1 + self.d, V.shape[2]))
        V = V if self._columns is None else self._columns[:, :, None] * V
        self._scalars.multiply(self.Z, self.Z2, V[:, 0], V[:, 1:], out)
        if self._rows is not None:
            out *= self._rows[:, :, None]
        return out.reshape(self.shape[0], *v.shape[1:])

    def _matmat(self, v):
        return self @ v

    _matvec = _matmat

    def __rmatmul__(self, v):
        """``v @ G`` for v of shape (N(1+d),) or (K, N(1+d))."""
        v = np.asarray(v)
        if v.ndim not in (1, 2) or v.shape[-1] != self.shape[0]:
            raise ValueError(
                f"cannot multiply an array of shape {v.shape} by a matrix of shape {self.shape}: "
                f"{self.shape[0]} columns are needed"
            )
        return (self.T @ v.T).T

    def __repr__(self):
        points = f"points={len(self.X)}" if self.symmetric else f"points={len(self.X)} x {len(self.X2)}"
        return f"JacobianGram({points}, dimension={self.d}, shape={self.shape})"


def _read_only(array):
    """A view, since what its user wrote into it would change a part of the matrix only."""
    view = array.view()
    view.flags.writeable = False
    return view


def _times(roots, scale, points):
    """Root lambda (points, 1+d), or ``None`` for ones, times the scales of the columns; ``None`` where all are 1."""
    if scale is None:
        return roots
    factors = np.insert(scale, 0, 1.0)
    return np.tile(factors, (points, 1)) if roots is None else roots * factors
