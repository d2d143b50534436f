r"""A preconditioner for S + rho I, S = D^{1/2} Theta D^{1/2}, from the structure of the kernel.

Weights of the derivatives that are a product, :math:`D^{1/2} = p_i q_a` for point i and column a, make the Jacobian
part of S ``k_C`` (weighted by p) tensored with diag(q^2), plus terms that couple derivatives with each other and with
the values. Those terms carry the coordinates of the points, so they count in columns that the points extend in, and for
smooth functions of the point: a field of derivatives that is no gradient has no energy in Theta, but all of it in k_C.

So it takes orthonormal vectors u_p over the points, leading eigenvectors, of eigenvalues e_p, of a matrix T: k_C and a
tenth as much of the values' kernel, so that points without derivatives are seen, too. Up to ``_LANDMARKS`` points
these are all, beyond them those of a Nystroem approximation, from the columns of T at random landmarks, unless that
leaves more than the ridge and there are at most ``_ALL`` points. Rows of S are
combined along ``u_p`` tensored with the values or a column, and the preconditioner is the inverse of P, which is

- *exact*, by a Cholesky factor, on those whose ``e_p x_a`` is largest: x_a is the root mean square of column a, and for
  the values the trace of their kernel over that of k_C,
- the diagonal of the values' kernel and of k_C, times q_a^2, on the others, without couplings, and
- the mean energy, one number for the values and one per column, on whatever is orthogonal to the ``u_p``.

Where all columns weigh the same, their principal axes take their place.

Rows that were not observed here and there get the weight that they would have had all the same, and then the rows of P
are restricted to the others: with M the missing rows, :math:`P_{RR}^{-1} = (P^{-1} - P^{-1}_{\cdot M}
(P^{-1}_{MM})^{-1} P^{-1}_{M \cdot})_{RR}`. Weights that are no product even so are replaced by one, which costs
iterations.

The matrix on the exact part takes one pass over the pairs of points, and products of N x N matrices with (N, M) ones.
"""

import numpy as np
import scipy.linalg

from ..errors import ConvergenceError
from ..kernels.scalars import slices
from ..kernels.schedule import Divided
from .progress import tell

_LANDMARKS = 3000  # of the Nystroem approximation
_ALL = 6000  # points, of whom all vectors are found where that leaves more than the ridge
_VALUES = 0.1  # of k_C's trace: the part of the values in T
_KEPT = 2 / 3  # of its eigenvectors: the last ones are the landmarks' rather than the kernel's
_PRODUCTS = 10  # with the kernel, whose time the exact part may cost where it fits in memory
_PAIR = 1200  # operations that a pair of points costs in a product: reading its scalars
_PAIR_RECOMPUTED = 3500  # and computing them
_PAIR_OUTPUT = 500  # and for every output, besides 6 per column of the points
_ROWS_AT_ONCE = 256  # points whose pairs with all others are looked at together
_MISSING_ROWS = 5000  # rows not observed that P is restricted from, at most
_LONG = 5e11  # operations on the way to it, some ten seconds, of which it says so
_SWEEPS = 30  # that find the weights' factors by point and by column
_LEADING = 4  # rows for the values and for every column, in the mean, that it is exact on in any case
_SINGLE = float(np.finfo(np.float32).eps)


class Preconditioner:
    """An approximate inverse of S + rho I for every rho, symmetric and positive definite.

    Parameters
    ----------
    gram : symmetric, N points in R^d; only its scalars and its points Z count.
    root : what the rows of the kernel at Z are multiplied by in S, (N, 1+d): square roots of the weights D, times
        ``input_scale`` where it is one number per column; 0 where nothing was observed.
    options : an :class:`~jacntk_lib.solve.Iterative`, for its ``exact_rows``, ``memory`` and ``verbose``.
    ridge : the smallest that it will be asked for; where T is below it, nothing is gained by being exact.
    outputs : how many right-hand sides share a product, K.
    """

    def __init__(self, gram, root, options, ridge=0.0, outputs=1):
        N, d = gram.Z.shape
        self._unknowns = N * (1 + d)
        rows = options.exact_rows or affordable_rows(
            N, d, options.memory, recomputed=gram.share_recomputed, outputs=outputs
        )
        if 4 * N**2 * rows + rows**3 / 3 > _LONG:
            tell(options.verbose, f"a preconditioner for {self._unknowns} unknowns, exact on up to {rows} of them")
        by_value = np.where((root[:, 0] > 0) | (root == 0).all(axis=1), root[:, 0], root[:, 0].max())
        by_point, by_column = _product(root[:, 1:])
        weights = np.concatenate([by_value[:, None], np.outer(by_point, by_column)], axis=1)
        self._missing = np.flatnonzero((weights > 0) & (root == 0))
        axes, X = None, gram.Z  # columns, or the principal axes instead
        if (by_column == by_column[0]).all():
            axes = scipy.linalg.eigh(X.T @ X, check_finite=False)[1]
            X = X @ axes
        e, U, value = _vectors(gram, by_value, by_point, by_column.max(), ridge)
        extent = np.insert(np.linalg.norm(X, axis=0) / np.sqrt(N), 0, value)
        score = np.outer(e, extent)
        score[np.outer(e, np.insert(np.ones(d), 0, max(value, 1.0))) <= ridge] = 0.0
        counts = _leading(score, rows)
        self._exact = _Rows(counts, axes)
        # rounding of single precision is nothing beside such a ridge
        self._rounding, dtype = (_SINGLE, np.float32) if ridge > _SINGLE * e[0] / 2 else (0.0, np.float64)
        self._matrix, self._along, self._beyond = _galerkin(gram, X, by_value, by_point, U, counts, by_column, dtype)
        self._diagonal = self._matrix.diagonal().copy()
        self._into, self._back = Divided(U.T), Divided(U)

    @property
    def exact_rows(self):
        """On how many rows the preconditioner is exact."""
        return len(self._matrix)

    def at(self, ridge):
        """The function x -> (n, K) for one ridge, x of shape (N(1+d), K) by point, 0 where nothing was observed.

        It takes the place of the function for another ridge, which must not be used any more.
        """
        whole, missing = self._on_all_rows(ridge), self._missing
        if not 0 < len(missing) <= _MISSING_ROWS:
            return whole
        n, m = self._unknowns, len(missing)
        inverse = np.empty((m, m))
        for some in slices(m, _ROWS_AT_ONCE):
            inverse[:, some] = whole(_spread(np.eye(m)[:, some], missing, n))[missing]
        factor = scipy.linalg.cho_factor((inverse + inverse.T) / 2, lower=True, overwrite_a=True, check_finite=False)

        def apply(x):
            out = whole(x)
            there = scipy.linalg.cho_solve(factor, out[missing], check_finite=False)
            out -= whole(_spread(there, missing, n))
            out[missing] = x[missing] / ridge if ridge > 0 else 0.0  # the matrix is zero there
            return out

        return apply

    def _on_all_rows(self, ridge):
        P, d, size = len(self._along), self._along.shape[1] - 1, float(self._diagonal.max(initial=0.0))
        # without ridge the matrix may be singular; this is no part of the solution, only of the way to it
        ridge, asked = max(ridge, 1e-13 * self.exact_rows * size), ridge
        try:
            factor = self._factor(ridge + self._rounding * size)
        except scipy.linalg.LinAlgError as error:
            raise ConvergenceError(
                f"float64 does not tell the kernel, of size {size:.1e}, from an indefinite matrix with a ridge of "
                f"{asked:.1e} ({error}); take a larger ridge, or reduce depth, sigma_w or the length of the inputs"
            ) from error
        along, beyond = 1 / (self._along + ridge), 1 / (self._beyond + ridge)

        def apply(x):
            K, N = x.shape[1], len(x) // (1 + d)
            inside = (self._into @ x.reshape(N, (1 + d) * K)).reshape(P, 1 + d, K)
            exact = self._exact.of(inside)
            change = scipy.linalg.cho_solve(factor, exact, check_finite=False)
            change -= self._exact.numbers(along) * exact
            solved = (along - beyond if P < N else along)[:, :, None] * inside
            self._exact.add(change, solved)
            out = (self._back @ solved.reshape(P, (1 + d) * K)).reshape(N, 1 + d, K)
            if P < N:
                out = out + beyond[:, None] * x.reshape(N, 1 + d, K)
            return out.reshape(N * (1 + d), K)

        return apply

    def _factor(self, ridge):
        """The Cholesky factor of the exact part with a ridge, in one triangle of the array that keeps that part."""
        matrix = self._matrix
        for some in slices(len(matrix), 512):
            matrix[some, some.stop :] = matrix[some.stop :, some].T
            block = np.tril(matrix[some, some], -1)
            matrix[some, some] = block + block.T
        matrix[np.diag_indices_from(matrix)] = self._diagonal + ridge
        return scipy.linalg.cho_factor(matrix.T, lower=True, overwrite_a=True, check_finite=False)


class _Rows:
    """The first ``counts[a]`` rows of column a, 0 being the values, of arrays (P, 1+d, K).

    Where ``axes`` (d, d) are given, they take the place of the columns of derivatives; numbers are then the same for
    all columns.
    """

    def __init__(self, counts, axes):
        self._row, self._column = np.concatenate([*map(np.arange, counts)]), np.repeat(np.arange(len(counts)), counts)
        self._values, self._top = counts[0], counts[1:].max(initial=0)
        self._axes = axes[:, counts[1:] > 0] if axes is not None and self._top else None
        self._axis = np.repeat(np.arange(np.count_nonzero(counts[1:])), counts[1:][counts[1:] > 0])

    def numbers(self, of_all):
        """What ``of_all`` (P, 1+d) has for them, (m, 1)."""
        return of_all[self._row, self._column, None]

    def of(self, x):
        """Those rows of x, (m, K)."""
        if self._axes is None:
            return x[self._row, self._column]
        slopes = x[: self._top, 1:].transpose(1, 0, 2)
        along = (Divided(self._axes.T) @ slopes.reshape(len(slopes), -1)).reshape(-1, *slopes.shape[1:])
        return np.concatenate([x[: self._values, 0], along[self._axis, self._row[self._values :]]])

    def add(self, change, x):
        """Add ``change`` (m, K) to those rows of x."""
        if self._axes is None:
            x[self._row, self._column] += change
            return
        x[: self._values, 0] += change[: self._values]
        along = np.zeros((self._axes.shape[1], self._top, x.shape[2]))
        along[self._axis, self._row[self._values :]] = change[self._values :]
        turned = Divided(self._axes) @ along.reshape(len(along), -1)
        x[: self._top, 1:] += turned.reshape(-1, *along.shape[1:]).transpose(1, 0, 2)


def affordable_rows(N, d, memory, recomputed, outputs=1):
    """How many rows to be exact on for N points in R^d and so many outputs, the share ``recomputed`` of pairs not kept.

    So many that making their matrix, ``4 N^2`` operations each, and its Cholesky factor, counted as ``rows^2`` each
    since every iteration reads it, take about the time of ``_PRODUCTS`` products with the kernel, and that what is made
    of them, ``8 (rows + N)`` bytes each, fits in ``memory``; but ``_LEADING`` for the values and every column in any
    case.
    """
    pair = recomputed * _PAIR_RECOMPUTED + (1 - recomputed) * _PAIR + outputs * (_PAIR_OUTPUT + 6 * d)
    operations = _PRODUCTS * N**2 * pair
    rows = min(operations / (4 * N**2), operations ** (1 / 3), (np.sqrt(N**2 + memory / 2) - N) / 2)
    return min(max(int(rows), _LEADING * (1 + d)), N * (1 + d))


def _leading(score, count):
    """How many of each column belong to the ``count`` largest of ``score`` (N, d), descending by column, above zero."""
    if count < score.size:
        score = np.where(score > np.partition(score, -count - 1, axis=None)[-count - 1], score, 0.0)
    return (score > 0).sum(axis=0)


def _spread(x, rows, n):
    """x (m, K) on some rows of n, zeros elsewhere."""
    out = np.zeros((n, x.shape[1]))
    out[rows] = x
    return out


def _product(slopes):
    """p (N,) and q (d,) with ``slopes = p q`` where these are not 0, or nearly so.

    A point or a column without any is given 0.
    """
    if (slopes == slopes[:, :1]).all():
        return slopes[:, 0], np.ones(slopes.shape[1])
    squares, observed = slopes**2, slopes > 0
    p, q = observed.any(axis=1) * 1.0, observed.any(axis=0) * 1.0
    for _ in range(_SWEEPS):  # each solves for one factor where the other is given; exact after one without zeros
        p = _mean(squares, q, observed, axis=1)
        q = _mean(squares, p[:, None], observed, axis=0)
    return np.sqrt(p), np.sqrt(q)


def _mean(squares, factor, observed, axis):
    """The mean of ``squares / factor`` over what was observed, 0 where nothing was."""
    ratio = np.divide(squares, factor, out=np.zeros_like(squares), where=observed)
    return ratio.sum(axis=axis) / np.maximum(observed.sum(axis=axis), 1)


def _vectors(gram, by_value, by_point, largest, ridge, all_up_to=None):
    """``(e, U, value)``: orthonormal vectors over the points, U (N, P), their energies e (P,), descending.

    They are the leading eigenvectors of T, ``largest**2 k_C`` plus the values' kernel with ``_VALUES`` of its trace, so
    that points without derivatives are seen, too. ``value`` is the ratio of the two traces as they are.
    """
    N, landmarks = len(gram.Z), np.arange(len(gram.Z))
    if (all_up_to or _LANDMARKS) < N:
        landmarks = np.sort(np.random.default_rng(0).choice(N, _LANDMARKS, replace=False))
    columns, values = np.empty((2, N, len(landmarks)))
    for rows in slices(N, _ROWS_AT_ONCE):
        k, _, _, C, *_ = gram.scalars(rows, landmarks)
        values[rows] = by_value[rows, None] * k * by_value[landmarks]
        columns[rows] = largest**2 * (by_point[rows, None] * C * by_point[landmarks])
    value, part = 1.0, 1.0  # without derivatives
    if slopes := columns[landmarks].trace():
        value = values[landmarks].trace() / slopes
        part = _VALUES / value if value else 0.0
    columns += part * values
    del values
    if len(landmarks) == N:
        e, U = scipy.linalg.eigh(columns, driver="evd", overwrite_a=True, check_finite=False)
        return np.maximum(e[::-1], 0.0), np.ascontiguousarray(U[:, ::-1]), value
    square = columns[landmarks]
    square = (square + square.T) / 2
    square[np.diag_indices(_LANDMARKS)] += 1e-12 * np.trace(square)  # so that rounding leaves it a Cholesky factor
    factor = scipy.linalg.cholesky(square, lower=True, overwrite_a=True, check_finite=False)
    half = scipy.linalg.solve_triangular(factor, columns.T, lower=True, overwrite_b=True, check_finite=False)
    e, V = scipy.linalg.eigh(half @ half.T, driver="evd", overwrite_a=True, check_finite=False)
    e, V = e[::-1], V[:, ::-1]
    count = max(1, np.count_nonzero(e[: int(_KEPT * _LANDMARKS)] > max(ridge / max(value, 1.0), 1e-10 * e[0])))
    if count == int(_KEPT * _LANDMARKS) and N <= _ALL:  # what is left out matters, and all can be had
        del columns, half
        return _vectors(gram, by_value, by_point, largest, ridge, all_up_to=N)
    return e[:count], half.T @ (V[:, :count] / np.sqrt(e[:count])), value


def _galerkin(gram, X, by_value, by_point, U, counts, by_column, dtype):
    r"""``(Z^T S Z, e, means)`` for Z = [values along U, the first ``counts[a]`` columns of U with the column a].

    With ``F_pa = u_p x_a`` the block of (p, a) and (q, b) is ``4 F_pa^T k_AB F_qb + 2 F_pa^T diag(x_b) k_AC u_q +
    2 (k_AC u_p)^T diag(x_a) F_qb + u_p^T diag(x_b) k_CC F_qa``, and ``u_p^T k_C u_q`` where a = b, times q_a q_b.
    e are the energies of U, and the means those of values and derivatives orthogonal to U.
    """
    N, P = U.shape
    ends = np.cumsum(counts)
    V, places = counts[0], [slice(end - count, end) for count, end in zip(counts, ends, strict=True)][1:]
    counts = counts[1:]
    order = np.argsort(-counts, kind="stable")
    v, u = by_value[:, None] * U, by_point[:, None] * U
    X, v, u = (array.astype(dtype, copy=False) for array in (X, v, u))
    F = _with_columns(u, X, counts)
    half = np.zeros((ends[-1], ends[-1]))  # with its transpose it is all
    across = np.zeros((V, N), dtype)  # the values' rows of k_B: fewer than F has columns
    energies, totals = np.zeros((2, P)), np.zeros(2)
    for rows in slices(N, _ROWS_AT_ONCE):  # each scalar is asked for once: they may be computed again
        k, _, B, C, AB, AC, _, CC = (scalar.astype(dtype, copy=False) for scalar in gram.scalars(rows))
        x, ours = X[rows], u[rows]
        kv, Cu, CCF = k @ v, C @ u, CC @ F
        half[:V, :V] += v[rows, :V].T @ kv[:, :V] / 2
        across += 2 * (v[rows, :V].T @ B)
        half[:V, V:] += v[rows, :V].T @ _with_columns(Cu, x, counts)
        half[V:, V:] += F[rows].T @ (2 * (AB @ F) + _with_columns(2 * (AC @ u), x, counts))
        same = ours.T @ Cu
        for i, a in enumerate(order):
            for b in order[i:]:  # of at most as many columns of u as a
                block = ours[:, : counts[a]].T @ (x[:, b, None] * CCF[:, places[a].start - V :][:, : counts[b]])
                if a == b:
                    block = (block + same[: counts[a], : counts[a]]) / 2
                half[places[a], places[b]] += block
        energies += np.einsum("np,np->p", v[rows], kv), same.diagonal()
        totals += [by[rows] ** 2 @ one[:, rows].diagonal() for by, one in ((by_value, k), (by_point, C))]
    half[:V, V:] += across @ F
    half += half.T
    scales = np.concatenate([np.ones(V), np.repeat(by_column, counts)])
    half *= scales
    half *= scales[:, None]
    beyond = np.maximum(totals - energies.sum(axis=1), 0.0) / max(N - P, 1)
    weights = np.insert(by_column**2, 0, 1.0)
    which = np.minimum(np.arange(len(weights)), 1)  # the values' energies, then the derivatives' for every column
    return half, np.maximum(energies.T, 0.0)[:, which] * weights, beyond[which] * weights


def _with_columns(u, x, counts):
    """The first ``counts[a]`` columns of u (n, P) times column a of x (n, d), for all a side by side."""
    return np.concatenate([x[:, a, None] * u[:, :count] for a, count in enumerate(counts)], axis=1)
