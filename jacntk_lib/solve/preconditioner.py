r"""A preconditioner for S + rho I, S = D^{1/2} Theta D^{1/2}, from the structure of the kernel.

Weights of the derivatives that are a product, :math:`D^{1/2} = p_i q_a` for point i and column a, make the Jacobian
part of S ``k_C`` (weighted by p) tensored with diag(q^2), plus terms that couple derivatives with each other and with
the values. The eigenvectors u_p of that N x N matrix sort the Jacobian rows by size: the first, nearly constant over
the points, holds what linear functions have in common, and there the other terms count most. So the preconditioner is
the inverse of P, which is

- *exact*, by a Cholesky factor, on all values and on ``u_p`` tensored with R^d for the first few p, and
- ``k_C`` tensored with diag(q^2), which is diagonal there, on the rest.

Derivatives that were not observed here and there get the weight p_i q_a all the same, and then the rows of P are
restricted to the others: with M the missing rows, :math:`P_{RR}^{-1} = (P^{-1} - P^{-1}_{\cdot M} (P^{-1}_{MM})^{-1}
P^{-1}_{M \cdot})_{RR}`. Weights that are no product even so are replaced by one, which costs iterations.

Its matrix on the exact part is made of products of N x N matrices with (N, p d) ones, no product with S among them.
"""

import numpy as np
import scipy.linalg

from ..errors import ConvergenceError
from ..kernels.scalars import ROWS_AT_ONCE, batches, slices

EXACT_ROWS = 5000  # on which the preconditioner is exact, where that is enough: a Cholesky factor of 200 MB
_SWEEPS = 30  # that find the weights' factors by point and by column
_LEADING = 4  # eigenvectors of k_C tensored with R^d that it is exact on in any case


class Preconditioner:
    """An approximate inverse of S + rho I for every rho, symmetric and positive definite.

    Parameters
    ----------
    gram : symmetric, N points in R^d; only its scalars and its points Z count.
    root : what the rows of the kernel at Z are multiplied by in S, (N, 1+d): square roots of the weights D, times
        ``input_scale`` where it is one number per column; 0 where nothing was observed.
    rows : how many rows to be exact on, about; ``None`` for four per point, at most EXACT_ROWS, but in any case all
        values and ``_LEADING`` eigenvectors of k_C tensored with R^d.
    """

    def __init__(self, gram, root, rows=None):
        N, d = gram.Z.shape
        rows = max(min(4 * N, EXACT_ROWS), N + _LEADING * d) if rows is None else rows
        by_point, self._by_column = _product(root[:, 1:])
        given = np.insert(
            by_point[:, None] * (np.ones(d) if self._by_column is None else self._by_column), 0, 0.0, axis=1
        )
        self._missing = np.flatnonzero((given > 0) & (root == 0))
        weighted = by_point[:, None] * gram.k_C * by_point
        self._e, self._U = scipy.linalg.eigh(weighted, overwrite_a=True, check_finite=False)
        self._e = np.maximum(self._e, 0.0)
        self._first = min(N, max(0, (rows - N) // d))
        self._shape = N, d
        self._colocated = gram.colocated  # on the devices, where the kernel is on some
        self._exact = _galerkin(gram, root[:, 0], by_point, np.ascontiguousarray(self._U[:, N - self._first :]))
        if self._by_column is not None:
            factors = np.concatenate([np.ones(N), np.tile(self._by_column, self._first)])
            self._exact *= factors[:, None] * factors

    @property
    def exact_rows(self):
        """On how many rows the preconditioner is exact."""
        return len(self._exact)

    def at(self, ridge):
        """The function x -> (n, K) for one ridge, x of shape (N(1+d), K) by point, 0 where nothing was observed."""
        whole, missing = self._on_all_rows(ridge), self._missing
        if not 0 < len(missing) <= EXACT_ROWS:
            return whole
        n, m = self._shape[0] * (1 + self._shape[1]), len(missing)
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
        (N, d), rest = self._shape, len(self._U) - self._first
        matrix = self._exact.copy()
        size = float(matrix.diagonal().max())
        # without ridge the matrix may be singular; this is no part of the solution, only of the way to it
        floor = 1e-13 * len(matrix) * size
        matrix[np.diag_indices_from(matrix)] += max(ridge, floor)
        try:
            factor = scipy.linalg.cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False)
        except scipy.linalg.LinAlgError as error:
            raise ConvergenceError(
                f"float64 does not tell the kernel, of size {size:.1e}, from an indefinite matrix with a ridge of "
                f"{ridge:.1e} ({error}); take a larger ridge, or reduce depth, sigma_w or the length of the inputs"
            ) from error
        U, V = self._U[:, rest:], self._U[:, :rest]
        if self._by_column is None:
            inverse = self._colocated((V / (self._e[:rest] + max(ridge, floor))) @ V.T).__matmul__  # (N, N)
        else:
            into, back = self._colocated(np.ascontiguousarray(V.T)), self._colocated(V)
            e = self._e[:rest, None, None] * self._by_column[:, None] ** 2 + max(ridge, floor)  # (rest, d, 1)

            def inverse(slopes):
                coordinates = into @ slopes  # (rest, d K)
                return back @ (coordinates.reshape(rest, d, slopes.shape[1] // d) / e).reshape(coordinates.shape)

        def apply(x):
            K = x.shape[1]
            x = x.reshape(N, 1 + d, K)
            slopes = np.ascontiguousarray(x[:, 1:]).reshape(N, d * K)
            exact = np.concatenate([x[:, 0], (U.T @ slopes).reshape(-1, K)])
            exact = scipy.linalg.cho_solve(factor, exact, check_finite=False)
            out = np.empty_like(x)
            out[:, 0] = exact[:N]
            out[:, 1:] = (inverse(slopes) + U @ exact[N:].reshape(self._first, d * K)).reshape(N, d, K)
            return out.reshape(N * (1 + d), K)

        return apply


def _spread(x, rows, n):
    """x (m, K) on some rows of n, zeros elsewhere."""
    out = np.zeros((n, x.shape[1]))
    out[rows] = x
    return out


def _product(slopes):
    """p (N,) and q (d,) with ``slopes = p q`` where these are not 0, or nearly so; q is ``None`` where it is all ones.

    A point or a column without any is given 0.
    """
    if (slopes == slopes[:, :1]).all():
        return slopes[:, 0], None
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


def _galerkin(gram, values, slopes, U):
    r"""Z^T S Z for Z = [values, U tensored with R^d]: (N + P d) square for U (N, P).

    With u_p the weighted columns and ``H_pq = sum_i u_ip (k_AC u_q)_i x_i x_i^T``, the block of u_p and u_q is
    ``4 (u_p X)^T k_AB (u_q X) + 2 H_pq + 2 H_qp^T + [(u_p X)^T k_CC (u_q X)]^T + (u_p^T k_C u_q) I``.
    """
    X, (N, d), P = gram.Z, gram.Z.shape, U.shape[1]
    u = slopes[:, None] * U
    Z = np.einsum("np,na->npa", u, X)
    flat = Z.reshape(N, P * d)
    out = np.empty((N + P * d, N + P * d))
    block, crossed = np.zeros((2, P * d, P * d))
    sloped, curved = np.empty((2, N, P))
    for rows in batches(N, N):  # each scalar is asked for once: they may be computed anew
        k, _, B, C, AB, AC, _, CC = gram.scalars(rows)
        out[rows, :N] = values[rows, None] * k * values
        out[rows, N:] = 2 * (B @ flat)
        sloped[rows], curved[rows] = C @ u, AC @ u
        block += 4 * (flat[rows].T @ (AB @ flat))
        crossed += flat[rows].T @ (CC @ flat)
    out[:N, N:] += np.einsum("np,na->npa", sloped, X).reshape(N, P * d)
    out[:N, N:] *= values[:, None]
    out[N:, :N] = out[:N, N:].T
    block = block.reshape(P, d, P, d) + crossed.reshape(P, d, P, d).transpose(0, 3, 2, 1)
    for q in range(P):
        H = 2 * np.tensordot(Z * curved[:, q, None, None], X, axes=(0, 0))  # (P, d, d), symmetric in its last two
        block[:, :, q] += H
        block[q] += H.transpose(1, 0, 2)
    own = u.T @ sloped
    for a in range(d):
        block[:, a, :, a] += own
    out[N:, N:] = block.reshape(P * d, P * d)
    return out
