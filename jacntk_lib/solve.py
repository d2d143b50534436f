r"""Exact linear algebra with a Jacobian Gram matrix: one eigendecomposition, one Cholesky solve.

Everything here is dense float64 of O(n^3), made smaller first by what is exactly known about the matrix.
With Q an orthonormal basis of the span of the points (r columns), rotating every Jacobian by [Q, Q_perp] gives

.. math:: \Theta(X) \cong \Theta(XQ) \oplus k_C \otimes I_{d-r},

so that N(1+d) unknowns become N(1+r) plus one N x N matrix, however large d is.

What float64 can say about a small eigenvalue: entries of a kernel carry a relative error of some 1e-15 to 1e-14 and
the eigendecomposition a backward error of a modest multiple of eps times the largest eigenvalue w_max. An
eigenvalue below ``tolerance * w_max`` is therefore noise; it is *unresolved*, and so is everything below the size of
the most negative eigenvalue found, because the true matrix has none. The default tolerance is ``max(n, 100) eps``
with eps = 2.2e-16: SciPy's and NumPy's own convention for pseudo-inverses, with a floor for the error of the entries.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.linalg

from ._validation import as_array, non_negative_number
from .errors import SingularGramError
from .gram import JacobianGram

EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Solution:
    """What a solve returns.

    Attributes
    ----------
    value : the solution x, the shape of the right-hand side b.
    residual : ``|(G + ridge I) x - b| / |b|`` in the Euclidean norm, measured by a product with G; 0 for b = 0.
    condition : estimated condition number of the matrix that was solved with (1-norm).
    jitter : what had to be added to the diagonal beyond ``ridge``, in units of G; 0.0 where nothing was.
    """

    value: np.ndarray
    residual: float
    condition: float
    jitter: float


def cholesky(gram: JacobianGram, b, *, ridge=0.0) -> Solution:
    r"""Solve :math:`(G + \rho I) x = b` by Cholesky factorisation, :math:`n^3/3` operations for n = N(1+d).

    Where rounding leaves G + ridge I without a Cholesky factor, the smallest jitter out of eps n g, 10 eps n g,
    100 eps n g, ... (g the largest diagonal entry) that gives one is added and reported: the solution then is that of
    the matrix with jitter, and the residual, measured without it, says how far off that is.

    Parameters
    ----------
    gram : symmetric, N points in R^d.
    b : right-hand side, shape (N(1+d),) or (N(1+d), K).
    ridge : rho >= 0, in units of G.

    Raises
    ------
    TypeError, ValueError : ``gram`` is not a symmetric JacobianGram; b has a wrong shape or is not finite;
        ``ridge`` is negative.
    SingularGramError : a jitter of 1e-6 g is not enough, so the matrix is far from positive semi-definite.

    Examples
    --------
    >>> from jacntk_lib import MLP, jacobian_ntk
    >>> G = jacobian_ntk(MLP(depth=2), np.eye(2))
    >>> solution = cholesky(G, np.ones(6))
    >>> solution.residual < 1e-12, solution.jitter
    (True, 0.0)
    """
    _require_symmetric(gram)
    n = gram.shape[0]
    ridge = non_negative_number(ridge, "ridge")
    b = as_array(b, "b", (n,) if np.ndim(b) == 1 else (n, *np.shape(b)[1:2]))
    matrix = gram.dense()
    largest = float(matrix.diagonal().max())
    matrix[np.diag_indices(n)] += ridge
    one_norm = float(np.abs(matrix).sum(axis=0).max())

    jitter = 0.0
    while True:
        matrix[np.diag_indices(n)] += jitter
        factor, info = scipy.linalg.lapack.dpotrf(matrix, lower=1)
        matrix[np.diag_indices(n)] -= jitter
        if info == 0:
            break
        jitter = 10 * jitter if jitter else EPS * n * largest
        if not jitter <= 1e-6 * largest:
            raise SingularGramError(
                f"the Gram matrix of {len(gram.X)} points plus ridge {ridge:g} has no Cholesky factor even with "
                f"a jitter of {jitter / 10:.1e} (largest diagonal entry {largest:.1e}): it is not positive "
                "semi-definite to float64 accuracy; pass a positive ridge"
            )
    value = scipy.linalg.cho_solve((factor, True), b, check_finite=False)
    reciprocal, _ = scipy.linalg.lapack.dpocon(factor, one_norm + jitter, uplo="L")
    return Solution(
        value=value,
        residual=relative_norm(gram @ value + ridge * value - b, b),
        condition=1.0 / reciprocal if reciprocal > 0 else float("inf"),
        jitter=jitter,
    )


class WeightedSpectrum:
    r"""The eigendecomposition of :math:`S = D^{1/2} G D^{1/2}`, D diagonal, and functions of S between the D^{1/2}.

    :meth:`apply` is :math:`R \mapsto D^{1/2} V \tau(w) V^\top D^{1/2} R` for S = V diag(w) V^T, which never divides
    by a weight or an eigenvalue by itself: the function tau decides. Rows without weight and rows that vanish
    identically (f(0) of a network without bias and with phi(0) = 0) are left out before the eigendecomposition.

    Parameters
    ----------
    gram : symmetric and unscaled, P points in R^d.
    value_weights, jacobian_weights : D per point, on the value and on each of the d derivatives; (P,), >= 0.
    tolerance : relative size below which an eigenvalue is unresolved; ``None`` for ``max(n, 100) eps``.
    reduce : take the span of the points out first. ``False`` is for tests: the result is the same.

    Attributes
    ----------
    eigenvalues : (p,), descending, never negative: those of S on the rows that carry weight.
    floor : eigenvalues at or below it are unresolved (see the module's text).
    silent : bool (P, 1+d), rows that carry weight but vanish identically.

    Examples
    --------
    >>> from jacntk_lib import MLP, jacobian_ntk
    >>> G = jacobian_ntk(MLP(depth=2), np.eye(5)[:2])  # two points in R^5: 12 unknowns, 6 + 2 after reduction
    >>> spectrum = WeightedSpectrum(G, np.ones(2), np.full(2, 0.1))
    >>> bool(np.allclose(spectrum.eigenvalues[::-1], np.linalg.eigvalsh(G.scaled(0.1).dense())))
    True
    """

    def __init__(self, gram, value_weights, jacobian_weights, *, tolerance=None, reduce=True):
        _require_symmetric(gram)
        points = len(gram.X)
        self._roots = np.sqrt(as_array(value_weights, "value_weights", (points,)))
        self._slope_roots = np.sqrt(as_array(jacobian_weights, "jacobian_weights", (points,)))
        self.basis = span(gram.X) if reduce else None  # (d, r), None where r = d
        self._factor_inside(gram)
        self._factor_outside(gram)
        n = len(self._w)
        tolerance = max(n, 100) * EPS if tolerance is None else non_negative_number(tolerance, "tolerance")
        found = np.concatenate([self._w, self._w_out])
        self.tolerance = tolerance
        self.floor = max(tolerance * found.max(), -found.min()) if found.size else 0.0
        self._w, self._w_out = np.maximum(self._w, 0.0), np.maximum(self._w_out, 0.0)

    def _factor_inside(self, gram):
        """Eigenvectors of S for values and the Jacobian components in the span."""
        root = np.concatenate([self._roots[:, None], np.repeat(self._slope_roots[:, None], gram.d, axis=1)], axis=1)
        vanishes = gram.diagonal().reshape(root.shape) == 0.0
        self.silent = vanishes & (root > 0)
        if self.basis is not None:
            gram = JacobianGram(gram.X @ self.basis, None, gram._jet)  # the scalars see only inner products
            root = root[:, : 1 + gram.d]
            vanishes = gram.diagonal().reshape(root.shape) == 0.0
        self._rows = ((root > 0) & ~vanishes).ravel()
        self._root = root.ravel()[self._rows]
        if self._slope_roots.any():
            matrix = gram.dense()
            if not self._rows.all():
                matrix = matrix[np.ix_(self._rows, self._rows)]
        else:  # no penalty at all: the ordinary kernel, and no need for the rest
            kept = self._rows.reshape(root.shape)[:, 0]
            matrix = gram.values()[np.ix_(kept, kept)]
        matrix *= self._root[:, None]
        matrix *= self._root[None, :]
        self._w, self._V = _eigh(matrix)

    def _factor_outside(self, gram):
        """Eigenvectors of k_C for the Jacobian components orthogonal to the span, d - r equal copies."""
        self._copies = 0 if self.basis is None else gram.d - self.basis.shape[1]
        self._rows_out = self._slope_roots > 0 if self._copies else np.zeros(len(self._slope_roots), dtype=bool)
        self._root_out = self._slope_roots[self._rows_out]
        matrix = gram.k_C[np.ix_(self._rows_out, self._rows_out)]
        self._w_out, self._V_out = _eigh(self._root_out[:, None] * matrix * self._root_out[None, :])

    @cached_property
    def eigenvalues(self):
        every = np.concatenate([self._w, np.repeat(self._w_out, self._copies)])
        return np.sort(every)[::-1]

    @property
    def inside_eigenvalues(self):
        """Those of the values and of the Jacobian components in the span, in the order of :meth:`project`."""
        return self._w

    @property
    def largest(self):
        """The largest eigenvalue; 0.0 for a matrix without active rows."""
        return float(self.eigenvalues[0]) if self.eigenvalues.size else 0.0

    def condition(self, ridge=0.0):
        """``(w_max + ridge) / (w_min + ridge)``; infinite where w_min is unresolved and there is no ridge."""
        if not self.eigenvalues.size:
            return 1.0
        smallest = float(self.eigenvalues[-1])
        smallest = 0.0 if smallest <= self.floor else smallest
        return (self.largest + ridge) / (smallest + ridge) if smallest + ridge > 0 else float("inf")

    def project(self, R):
        """Coordinates of ``D^{1/2} R`` in the eigenvectors: R (P, 1+d, K) -> (p_in, K) and (p_out, d, K).

        The second is ``None`` where R has no component outside the span.
        """
        outside = None
        if self.basis is not None:
            slopes = R[:, 1:]
            inside = self.basis.T @ slopes  # (P, r, K)
            if self._w_out.size and slopes.any():
                rest = (slopes - self.basis @ inside)[self._rows_out]
                outside = np.tensordot(self._root_out[:, None] * self._V_out, rest, axes=(0, 0))
            R = np.concatenate([R[:, :1], inside], axis=1)
        flat = R.reshape(-1, R.shape[2])[self._rows]
        return self._V.T @ (self._root[:, None] * flat), outside

    def expand(self, inside, outside=None):
        """``D^{1/2} V c`` as (P, 1+d, K), from coordinates as :meth:`project` gives them."""
        points, K = len(self._roots), inside.shape[1]
        flat = np.zeros((len(self._rows), K))
        flat[self._rows] = self._root[:, None] * (self._V @ inside)
        flat = flat.reshape(points, len(self._rows) // points, K)
        if self.basis is None:
            return flat
        slopes = self.basis @ flat[:, 1:]  # (P, d, K)
        if outside is not None:
            slopes[self._rows_out] += np.tensordot(self._root_out[:, None] * self._V_out, outside, axes=1)
        return np.concatenate([flat[:, :1], slopes], axis=1)

    def weigh(self, tau, coordinates):
        """``D^{1/2} V tau(w) c`` for coordinates c of :meth:`project`; tau maps (p,) eigenvalues to (p,) factors."""
        inside, outside = coordinates
        if outside is not None:
            outside = tau(self._w_out)[:, None, None] * outside
        return self.expand(tau(self._w)[:, None] * inside, outside)

    def apply(self, tau, R):
        """``D^{1/2} V tau(w) V^T D^{1/2} R`` for R of shape (P, 1+d, K)."""
        return self.weigh(tau, self.project(R))

    def split(self, tau, R, gap):
        """The summands of :meth:`apply` by eigenvalue, those no further apart than ``gap`` as one.

        R is (P, 1+d, K). Returns eigenvalues (p,), descending, and summands (P, 1+d, p, K), without those that tau
        makes zero.
        """
        inside, outside = self.project(R)
        w = self._w if outside is None else np.concatenate([self._w, self._w_out])
        factors = tau(w)
        kept = np.flatnonzero(factors)
        order = kept[np.argsort(-w[kept], kind="stable")]
        feature = np.cumsum(-np.diff(w[order], prepend=w[order[:1]]) > gap)
        p, n, K = int(feature[-1]) + 1 if len(feature) else 0, len(self._w), R.shape[2]
        own = order < n
        coordinates = np.zeros((n, p, K))
        coordinates[order[own], feature[own]] = factors[order[own], None] * inside[order[own]]
        rest = None
        if outside is not None:
            copy, d = order[~own] - n, outside.shape[1]
            rest = np.zeros((len(self._w_out), p, d, K))
            rest[copy, feature[~own]] = factors[n + copy, None, None] * outside[copy]
            rest = rest.transpose(0, 2, 1, 3).reshape(len(self._w_out), d, p * K)
        summands = self.expand(coordinates.reshape(n, p * K), rest)
        eigenvalues = np.bincount(feature, w[order], p) / np.bincount(feature, minlength=p)
        return eigenvalues, summands.reshape(*summands.shape[:2], p, K)


def semidefinite_factor(matrix):
    """F with ``F F^T = matrix`` for a symmetric positive semi-definite matrix, by pivoted Cholesky.

    F is (n, rank); what is left out is below ``n eps`` times the largest diagonal entry. The input is overwritten.
    """
    n = len(matrix)
    factor, pivots, rank, _ = scipy.linalg.lapack.dpstrf(matrix, lower=1, overwrite_a=1)
    out = np.zeros((n, rank))
    out[pivots - 1] = np.tril(factor)[:, :rank]
    return out


def span(X):
    """Orthonormal basis (d, r) of the span of the rows of X, or ``None`` where they span R^d.

    Directions in which the points extend less than rounding (``max(N, d) eps`` of the largest) do not count.
    """
    _, extents, directions = np.linalg.svd(X, full_matrices=False)
    r = max(1, int((extents > extents[0] * max(X.shape) * EPS).sum()))  # all points at the origin: any direction
    return None if r == X.shape[1] else np.ascontiguousarray(directions[:r].T)


def relative_norm(error, reference):
    """``|error| / |reference|``, 0.0 where both vanish."""
    size = float(np.linalg.norm(reference))
    return float(np.linalg.norm(error)) / size if size else float(np.linalg.norm(error))


def _eigh(matrix):
    if not matrix.size:
        return np.zeros(0), np.zeros((0, 0))
    return scipy.linalg.eigh(matrix, driver="evd", overwrite_a=True, check_finite=False)


def _require_symmetric(gram):
    if not isinstance(gram, JacobianGram) or not gram.symmetric:
        raise TypeError(f"a symmetric JacobianGram is needed, made with X2=None; got {gram!r}")
