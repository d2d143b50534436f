r"""A preconditioner for S + rho I, S = D^{1/2} Theta D^{1/2}, from the structure of the kernel.

Weights of the derivatives that are a product, :math:`D^{1/2} = p_i q_a` for point i and column a, make the Jacobian
part of S ``k_C`` (weighted by p) tensored with diag(q^2), plus terms that couple derivatives with each other and with
the values. Those terms carry the coordinates of the points, so they count in columns that the points extend in, and for
smooth functions of the point: a field of derivatives that is no gradient has no energy in Theta, but all of it in k_C.
With the eigenvectors u_p of that N x N matrix, of eigenvalues e_p, the preconditioner is the inverse of P, which is

- *exact*, by a Cholesky factor, on all values and on those ``u_p`` tensored with a column a whose ``e_p x_a`` is
  largest, x_a being the root mean square of column a, and
- ``k_C`` tensored with diag(q^2), which is diagonal there, on the rest.

Where all columns weigh the same, their principal axes take their place.

Derivatives that were not observed here and there get the weight p_i q_a all the same, and then the rows of P are
restricted to the others: with M the missing rows, :math:`P_{RR}^{-1} = (P^{-1} - P^{-1}_{\cdot M} (P^{-1}_{MM})^{-1}
P^{-1}_{M \cdot})_{RR}`. Weights that are no product even so are replaced by one, which costs iterations.

Its matrix on the exact part is made of products of N x N matrices with (N, M) ones, no product with S among them.
"""

import numpy as np
import scipy.linalg

from ..errors import ConvergenceError
from ..kernels.scalars import ROWS_AT_ONCE, batches, slices
from .progress import tell

_PRODUCTS = 100  # with the kernel, whose arithmetic a Cholesky factor may cost where it fits in memory
_MISSING_ROWS = 5000  # derivatives not observed that P is restricted from, at most
_LONG = 5e11  # operations on the way to it, some ten seconds, of which it says so
_SWEEPS = 30  # that find the weights' factors by point and by column
_LEADING = 4  # pairs per column, in the mean, that it is exact on in any case


class Preconditioner:
    """An approximate inverse of S + rho I for every rho, symmetric and positive definite.

    Parameters
    ----------
    gram : symmetric, N points in R^d; only its scalars and its points Z count.
    root : what the rows of the kernel at Z are multiplied by in S, (N, 1+d): square roots of the weights D, times
        ``input_scale`` where it is one number per column; 0 where nothing was observed.
    options : an :class:`~jacntk_lib.solve.Iterative`, for its ``exact_rows``, ``memory`` and ``verbose``.
    ridge : the smallest that it will be asked for; where k_C is below it, nothing is gained by being exact.
    """

    def __init__(self, gram, root, options, ridge=0.0):
        N, d = gram.Z.shape
        rows = options.exact_rows or affordable_rows(N, d, options.memory)
        if 10 * N**3 + rows**3 / 3 > _LONG:
            tell(options.verbose, f"a preconditioner for {N * (1 + d)} unknowns, exact on {max(rows, N)} of them")
        by_point, by_column = _product(root[:, 1:])
        self._missing = np.flatnonzero((np.insert(np.outer(by_point, by_column), 0, 0.0, axis=1) > 0) & (root == 0))
        self._axes, X = None, gram.Z  # columns, or the principal axes instead
        if (by_column == by_column[0]).all():
            self._axes = scipy.linalg.eigh(X.T @ X, check_finite=False)[1]
            X = X @ self._axes
        weighted = by_point[:, None] * gram.k_C * by_point
        e, U = scipy.linalg.eigh(weighted, driver="evd", overwrite_a=True, check_finite=False)
        e, U = np.maximum(e[::-1], 0.0), np.ascontiguousarray(U[:, ::-1])
        self._e = np.outer(e, by_column**2)  # (N, d): what P is on the rest
        score = np.where(self._e > ridge, np.outer(e, np.linalg.norm(X, axis=0)), 0.0)
        counts = _leading(score, max(rows - N, 0))
        self._pairs = np.concatenate([np.arange(count) * d + a for a, count in enumerate(counts)])
        self._matrix = _galerkin(gram, X, root[:, 0], by_point[:, None] * U[:, : max(counts)], counts, by_column)
        self._diagonal = self._matrix.diagonal().copy()
        self._into, self._back = gram.colocated(U.T), gram.colocated(U)  # where the kernel is

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
        n, m = self._e.size + len(self._e), len(missing)
        inverse = np.empty((m, m))
        for some in slices(m, ROWS_AT_ONCE):
            inverse[:, some] = whole(_spread(np.eye(m)[:, some], missing, n))[missing]
        factor = scipy.linalg.cho_factor((inverse + inverse.T) / 2, lower=True, overwrite_a=True, check_finite=False)

        def apply(x):
            out = whole(x)
            there = scipy.linalg.cho_solve(factor, out[missing], check_finite=False)
            out -= whole(_spread(there, missing, n))
            out[missing] = 0.0
            return out

        return apply

    def _on_all_rows(self, ridge):
        (N, d), size = self._e.shape, float(self._diagonal.max())
        # without ridge the matrix may be singular; this is no part of the solution, only of the way to it
        ridge, asked = max(ridge, 1e-13 * self.exact_rows * size), ridge
        try:
            factor = self._factor(ridge)
        except scipy.linalg.LinAlgError as error:
            raise ConvergenceError(
                f"float64 does not tell the kernel, of size {size:.1e}, from an indefinite matrix with a ridge of "
                f"{asked:.1e} ({error}); take a larger ridge, or reduce depth, sigma_w or the length of the inputs"
            ) from error
        rest, axes = (self._e + ridge).reshape(N * d, 1), self._axes

        def apply(x):
            K = x.shape[1]
            x = x.reshape(N, 1 + d, K)
            slopes = x[:, 1:] if axes is None else axes.T @ x[:, 1:]
            slopes = (self._into @ np.ascontiguousarray(slopes).reshape(N, d * K)).reshape(N * d, K)
            exact = np.concatenate([x[:, 0], slopes[self._pairs]])
            exact = scipy.linalg.cho_solve(factor, exact, overwrite_b=True, check_finite=False)
            slopes = slopes / rest  # not in place: what comes from a device is read-only
            slopes[self._pairs] = exact[N:]
            slopes = (self._back @ slopes.reshape(N, d * K)).reshape(N, d, K)
            out = np.empty_like(x)
            out[:, 0], out[:, 1:] = exact[:N], slopes if axes is None else axes @ slopes
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


def affordable_rows(N, d, memory):
    """How many rows to be exact on for N points in R^d.

    So many that the Cholesky factor takes as much arithmetic as ``_PRODUCTS`` products with the kernel, ``6 N^2 d``
    each, and no more than ``memory`` bytes; but the N values and ``_LEADING`` d others in any case.
    """
    rows = min((18 * _PRODUCTS * N**2 * d) ** (1 / 3), (memory / 8) ** 0.5)
    return min(max(int(rows), N + _LEADING * d), N * (1 + d))


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


def _galerkin(gram, X, values, u, counts, by_column):
    r"""Z^T S Z for Z = [values, the first ``counts[a]`` columns of u (N, P) with the column a of the derivatives].

    With ``F_pa = u_p x_a`` the block of (p, a) and (q, b) is ``4 F_pa^T k_AB F_qb + 2 F_pa^T diag(x_b) k_AC u_q +
    2 (k_AC u_p)^T diag(x_a) F_qb + u_p^T diag(x_b) k_CC F_qa``, and ``u_p^T k_C u_q`` where a = b, times q_a q_b.
    """
    N, P = u.shape
    ends = np.cumsum(counts)
    F = np.concatenate([X[:, a, None] * u[:, :count] for a, count in enumerate(counts)], axis=1)
    scales = np.concatenate([np.ones(N), np.repeat(by_column, counts)])
    out = np.empty((N + ends[-1], N + ends[-1]))
    ABF, CCF, Cu, ACu = np.empty_like(F), np.empty_like(F), np.empty((N, P)), np.empty((N, P))
    for rows in batches(N, N):  # each scalar is asked for once: they may be computed anew
        k, _, B, C, AB, AC, _, CC = gram.scalars(rows)
        out[rows, :N] = values[rows, None] * k * values
        out[rows, N:] = values[rows, None] * (2 * (B @ F))
        Cu[rows], ACu[rows], ABF[rows], CCF[rows] = C @ u, 2 * (AC @ u), AB @ F, CC @ F
    out[N:, N:] = 4 * (F.T @ ABF)
    del ABF
    places = [slice(end - count, end) for count, end in zip(counts, ends, strict=True)]
    for i, a in enumerate(order := np.argsort(-counts, kind="stable")):
        out[:N, N + places[a].start : N + places[a].stop] += (values * X[:, a])[:, None] * Cu[:, : counts[a]]
        for b in order[i:]:  # of at most as many columns of u as a
            n, m = counts[a], counts[b]
            both = (X[:, a] * X[:, b])[:, None]
            block = u[:, :n].T @ (both * ACu[:, :m] + X[:, b, None] * CCF[:, places[a]][:, :m])
            block += (both * ACu[:, :n]).T @ u[:, :m]
            if a == b:
                block += u[:, :n].T @ Cu[:, :n]
            here, there = (slice(N + places[c].start, N + places[c].stop) for c in (a, b))
            out[here, there] += block
            if a != b:
                out[there, here] += block.T
    out[N:, :N] = out[:N, N:].T
    out *= scales
    out *= scales[:, None]
    return out
