r"""S = D^{1/2} Theta D^{1/2} for a diagonal D, made as small as is exactly possible, then factorised.

With Q an orthonormal basis of the span of the points (r columns), rotating every Jacobian by [Q, Q_perp] gives

.. math:: \Theta(X) \cong \Theta(XQ) \oplus k_C \otimes I_{d-r},

so that N(1+d) unknowns become N(1+r), *inside* the span, plus d - r copies of one N x N problem *outside* it.

What float64 can say about a small eigenvalue: entries of a kernel carry a relative error of some 1e-15 to 1e-14 and
the eigendecomposition a backward error of a modest multiple of eps times the largest eigenvalue w_max. An
eigenvalue below ``tolerance * w_max`` is therefore noise; it is *unresolved*, and so is everything below the size of
the most negative eigenvalue found, because the true matrix has none. The default tolerance is ``max(n, 100) eps``
with eps = 2.2e-16: SciPy's and NumPy's own convention for pseudo-inverses, with a floor for the error of the entries.
"""

import math
from functools import cached_property

import numpy as np
import scipy.linalg

from .._validation import as_array
from ..kernels.gram import JacobianGram
from ..solve.direct import EPS, require_symmetric


class WeightedGram:
    r"""The two matrices, inside and outside the span, and the maps between them and arrays (P, 1+d, K).

    Rows without weight and rows that vanish identically (f(0) of a network without bias and with phi(0) = 0) are
    left out.

    Parameters
    ----------
    gram : symmetric and unscaled, P points in R^d.
    value_weights, jacobian_weights : D per point, on the value and on each of the d derivatives; (P,), >= 0.
    reduce : take the span of the points out first. ``False`` is for tests: the results are the same.

    Attributes
    ----------
    basis : (d, r), or ``None`` where the points span R^d.
    copies : d - r.
    silent : bool (P, 1+d), rows that carry weight but vanish identically.
    """

    def __init__(self, gram, value_weights, jacobian_weights, *, reduce=True):
        require_symmetric(gram)
        points = len(gram.X)
        values = np.sqrt(as_array(value_weights, "value_weights", (points,)))
        slopes = np.sqrt(as_array(jacobian_weights, "jacobian_weights", (points,)))
        self.basis = span(gram.X) if reduce else None
        self.copies = 0 if self.basis is None else gram.d - self.basis.shape[1]
        self.silent = (gram.diagonal().reshape(points, -1) == 0.0) & (_by_row(values, slopes, gram.d) > 0)
        self._gram = gram
        if self.basis is not None:  # the scalars see only inner products, which a rotation leaves alone
            self._gram = JacobianGram(gram.X @ self.basis, None, gram._jet)
        root = _by_row(values, slopes, self._gram.d)
        self._rows = ((root > 0) & (self._gram.diagonal().reshape(root.shape) > 0)).ravel()
        self._root = root.ravel()[self._rows]
        self._rows_out = slopes > 0 if self.copies else np.zeros(points, dtype=bool)
        self._root_out = slopes[self._rows_out]
        self._values_only = not slopes.any()

    def inside(self):
        """S on the active rows of values and Jacobian components in the span, (n, n)."""
        rows = self._rows
        if self._values_only:  # no penalty at all: the ordinary kernel, and no need to form the rest
            matrix, rows = self._gram.values(), rows.reshape(len(self._gram.X), -1)[:, 0]
        else:
            matrix = self._gram.dense()
        if not rows.all():
            matrix = matrix[np.ix_(rows, rows)]
        matrix *= self._root[:, None]
        matrix *= self._root[None, :]
        return matrix

    def outside(self):
        """S on any one Jacobian component orthogonal to the span, (n_out, n_out)."""
        matrix = self._gram.k_C[np.ix_(self._rows_out, self._rows_out)]
        return self._root_out[:, None] * matrix * self._root_out[None, :]

    @property
    def unknowns(self):
        """How many rows :meth:`inside` has."""
        return len(self._root)

    def multiply(self, x):
        """``inside() @ x`` for x (n, K), without the matrix."""
        full = np.zeros((len(self._rows), x.shape[1]))
        full[self._rows] = self._root[:, None] * x
        return self._root[:, None] * (self._gram @ full)[self._rows]

    def preconditioner(self, kind):
        """From ``kind(gram, value roots, slope roots).at(ridge)``, on all rows, the same on those of :meth:`inside`."""
        root = np.zeros(len(self._rows))
        root[self._rows] = self._root
        root = root.reshape(len(self._gram.X), -1)
        whole = kind(self._gram, root[:, 0], root[:, 1:].max(axis=1))

        def at(ridge):
            precondition = whole.at(ridge)

            def apply(x):
                full = np.zeros((len(self._rows), x.shape[1]))
                full[self._rows] = x
                return precondition(full)[self._rows]

            return apply

        return at

    def gather(self, R):
        """``D^{1/2} R`` for R (P, 1+d, K): rows inside (n, K), and outside (n_out, d, K) or ``None`` where all zero."""
        outside = None
        if self.basis is not None:
            slopes = R[:, 1:]
            inside = self.basis.T @ slopes  # (P, r, K)
            if self._rows_out.any() and slopes.any():
                rest = (slopes - self.basis @ inside)[self._rows_out]
                outside = self._root_out[:, None, None] * rest
            R = np.concatenate([R[:, :1], inside], axis=1)
        return self._root[:, None] * R.reshape(-1, R.shape[2])[self._rows], outside

    def scatter(self, inside, outside=None):
        """``D^{1/2} q`` as (P, 1+d, K), from rows as :meth:`gather` gives them; its transpose."""
        points, K = len(self._rows_out), inside.shape[1]
        flat = np.zeros((len(self._rows), K))
        flat[self._rows] = self._root[:, None] * inside
        flat = flat.reshape(points, len(self._rows) // points, K)
        if self.basis is None:
            return flat
        slopes = self.basis @ flat[:, 1:]  # (P, d, K)
        if outside is not None:
            slopes[self._rows_out] += self._root_out[:, None, None] * outside
        return np.concatenate([flat[:, :1], slopes], axis=1)


class WeightedSpectrum:
    r"""The eigendecomposition of S = V diag(w) V^T, and functions of S between two D^{1/2}.

    :meth:`apply` is :math:`R \mapsto D^{1/2} V \tau(w) V^\top D^{1/2} R`, which never divides by a weight or an
    eigenvalue by itself: the function tau decides.

    Parameters
    ----------
    weighted : the :class:`WeightedGram`.
    tolerance : relative size below which an eigenvalue is unresolved; ``None`` for ``max(n, 100) eps``.

    Attributes
    ----------
    eigenvalues : (p,), descending, never negative: those of S on the rows that carry weight.
    inside_eigenvalues : those inside the span, in the order of :meth:`project`.
    floor : eigenvalues at or below it are unresolved (see the module's text).

    Examples
    --------
    >>> from jacntk_lib import MLP, jacobian_ntk
    >>> G = jacobian_ntk(MLP(depth=2), np.eye(5)[:2])  # two points in R^5: 12 unknowns, 6 + 2 after reduction
    >>> spectrum = WeightedSpectrum(WeightedGram(G, np.ones(2), np.full(2, 0.1)))
    >>> bool(np.allclose(spectrum.eigenvalues[::-1], np.linalg.eigvalsh(G.scaled(0.1).dense())))
    True
    """

    def __init__(self, weighted, tolerance=None):
        self._weighted = weighted
        w, self._V = _eigh(weighted.inside())
        w_out, self._V_out = _eigh(weighted.outside())
        found = np.concatenate([w, w_out])
        self.tolerance = default_tolerance(len(w)) if tolerance is None else tolerance
        self.floor = max(self.tolerance * found.max(), -found.min()) if found.size else 0.0
        self.inside_eigenvalues, self._w_out = np.maximum(w, 0.0), np.maximum(w_out, 0.0)

    @cached_property
    def eigenvalues(self):
        every = np.concatenate([self.inside_eigenvalues, np.repeat(self._w_out, self._weighted.copies)])
        return np.sort(every)[::-1]

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

    def unresolved_share(self, coordinates, ridge):
        """Which part of coordinates of :meth:`project`, in the Euclidean norm, lies in unresolved directions."""
        total = left = 0.0
        for w, c in zip((self.inside_eigenvalues, self._w_out), coordinates, strict=True):
            if c is not None:
                total += float((c**2).sum())
                left += float((c[w + ridge <= self.floor] ** 2).sum())
        return math.sqrt(left / total) if total else 0.0

    def project(self, R):
        """Coordinates of ``D^{1/2} R`` in the eigenvectors: R (P, 1+d, K) -> (n, K) and (n_out, d, K) or ``None``."""
        inside, outside = self._weighted.gather(R)
        return self._V.T @ inside, None if outside is None else np.tensordot(self._V_out, outside, axes=(0, 0))

    def expand(self, inside, outside=None):
        """``D^{1/2} V c`` as (P, 1+d, K), from coordinates as :meth:`project` gives them."""
        outside = None if outside is None else np.tensordot(self._V_out, outside, axes=1)
        return self._weighted.scatter(self._V @ inside, outside)

    def weigh(self, tau, coordinates):
        """``D^{1/2} V tau(w) c`` for coordinates c of :meth:`project`; tau maps (p,) eigenvalues to (p,) factors."""
        inside, outside = coordinates
        if outside is not None:
            outside = tau(self._w_out)[:, None, None] * outside
        return self.expand(tau(self.inside_eigenvalues)[:, None] * inside, outside)

    def apply(self, tau, R):
        """``D^{1/2} V tau(w) V^T D^{1/2} R`` for R of shape (P, 1+d, K)."""
        return self.weigh(tau, self.project(R))

    def split(self, tau, R, gap):
        """The summands of :meth:`apply` by eigenvalue, those no further apart than ``gap`` as one.

        R is (P, 1+d, K). Returns eigenvalues (p,), descending, and summands (P, 1+d, p, K), without those that tau
        makes zero.
        """
        inside, outside = self.project(R)
        w = self.inside_eigenvalues
        if outside is not None:
            w = np.concatenate([w, self._w_out])
        factors = tau(w)
        kept = np.flatnonzero(factors)
        order = kept[np.argsort(-w[kept], kind="stable")]
        feature = np.cumsum(-np.diff(w[order], prepend=w[order[:1]]) > gap)
        p, n, K = int(feature[-1]) + 1 if len(feature) else 0, len(self._V), R.shape[2]
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


class WeightedCholesky:
    """``D^{1/2} (S + ridge I)^{-1} D^{1/2}`` by Cholesky, an order of magnitude cheaper than the eigenvectors.

    Attributes
    ----------
    condition : estimated condition number of S + ridge I (1-norm, LAPACK).

    Raises
    ------
    scipy.linalg.LinAlgError : rounding leaves S + ridge I without a Cholesky factor.
    """

    def __init__(self, weighted, ridge):
        self._weighted = weighted
        self._inside, inside = _cholesky(weighted.inside(), ridge)
        self._outside, outside = _cholesky(weighted.outside(), ridge)
        self.condition = max(inside, outside)

    def apply(self, R):
        """``D^{1/2} (S + ridge I)^{-1} D^{1/2} R`` for R of shape (P, 1+d, K)."""
        inside, outside = self._weighted.gather(R)
        inside = scipy.linalg.cho_solve(self._inside, inside, check_finite=False)
        if outside is not None:
            flat = outside.reshape(len(outside), -1)
            outside = scipy.linalg.cho_solve(self._outside, flat, check_finite=False).reshape(outside.shape)
        return self._weighted.scatter(inside, outside)


def default_tolerance(n):
    """Relative size below which float64 cannot tell an eigenvalue of an n x n kernel matrix from zero."""
    return max(n, 100) * EPS


def span(X):
    """Orthonormal basis (d, r) of the span of the rows of X, or ``None`` where they span R^d.

    Directions in which the points extend less than rounding (``max(N, d) eps`` of the largest) do not count.
    """
    _, extents, directions = np.linalg.svd(X, full_matrices=False)
    r = max(1, int((extents > extents[0] * max(X.shape) * EPS).sum()))  # all points at the origin: any direction
    return None if r == X.shape[1] else np.ascontiguousarray(directions[:r].T)


def _by_row(values, slopes, d):
    """One number per point for the value and one for each derivative, as (P, 1+d)."""
    return np.concatenate([values[:, None], np.repeat(slopes[:, None], d, axis=1)], axis=1)


def _eigh(matrix):
    if not matrix.size:
        return np.zeros(0), np.zeros((0, 0))
    return scipy.linalg.eigh(matrix, driver="evd", overwrite_a=True, check_finite=False)


def _cholesky(matrix, ridge):
    """A factor for ``cho_solve`` and the condition estimate."""
    if not matrix.size:
        return (matrix, True), 1.0
    matrix[np.diag_indices(len(matrix))] += ridge
    norm = float(np.abs(matrix).sum(axis=0).max())
    factor = scipy.linalg.cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False)
    reciprocal, _ = scipy.linalg.lapack.dpocon(factor[0], norm, uplo="L")
    return factor, 1.0 / reciprocal if reciprocal > 0 else float("inf")
