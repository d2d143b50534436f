r"""Functions of S between two D^{1/2} by dense matrices: all eigenvectors, or a Cholesky factor.

What float64 can say about a small eigenvalue: entries of a kernel carry a relative error of some 1e-15 to 1e-14 and
the eigendecomposition a backward error of a modest multiple of eps times the largest eigenvalue w_max. An
eigenvalue below ``cutoff * w_max`` is therefore noise; it is *unresolved*, and so is everything below the size of
the most negative eigenvalue found, because the true matrix has none. The default cutoff is ``max(n, 100) eps``
with eps = 2.2e-16: SciPy's and NumPy's own convention for pseudo-inverses, with a floor for the error of the entries.
"""

import math
from functools import cached_property

import numpy as np
import scipy.linalg

from ..solve import EPS


class WeightedSpectrum:
    r"""The eigendecomposition of S = V diag(w) V^T, and functions of S between two D^{1/2}.

    :meth:`apply` is :math:`R \mapsto D^{1/2} V \tau(w) V^\top D^{1/2} R`, which never divides by a weight or an
    eigenvalue by itself: the function tau decides.

    Parameters
    ----------
    weighted : the :class:`WeightedGram`.
    cutoff : relative size at or below which an eigenvalue is unresolved; ``None`` for ``max(n, 100) eps``.

    Attributes
    ----------
    eigenvalues : (p,), descending, never negative: those of S on the rows that carry weight.
    inside_eigenvalues : those inside the span, in the order of :meth:`project`.
    floor : eigenvalues at or below it are unresolved (see the module's text).

    Examples
    --------
    >>> from jacntk_lib import MLP, jacobian_ntk
    >>> from jacntk_lib.dynamics.weighted import WeightedGram
    >>> G = jacobian_ntk(MLP(depth=2), np.eye(5)[:2])  # two points in R^5: 12 unknowns, 6 + 2 after reduction
    >>> spectrum = WeightedSpectrum(WeightedGram(G, np.tile([1.0, *[0.1] * 5], (2, 1))))
    >>> bool(np.allclose(spectrum.eigenvalues[::-1], np.linalg.eigvalsh(G.scaled(0.1).dense())))
    True
    """

    def __init__(self, weighted, cutoff=None):
        self._weighted = weighted
        w, self._V = _eigh(weighted.inside())
        w_out, self._V_out = _eigh(weighted.outside())
        found = np.concatenate([w, w_out])
        self.cutoff = default_cutoff(len(w)) if cutoff is None else cutoff
        self.floor = max(self.cutoff * found.max(), -found.min()) if found.size else 0.0
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


def default_cutoff(n):
    """Relative size below which float64 cannot tell an eigenvalue of an n x n kernel matrix from zero."""
    return max(n, 100) * EPS


def _eigh(matrix):
    if not matrix.size:
        return np.zeros(0), np.zeros((0, 0))
    _require_finite(matrix)
    return scipy.linalg.eigh(matrix, driver="evd", overwrite_a=True, check_finite=False)


def _require_finite(matrix):
    if not np.isfinite(matrix).all():
        raise ValueError(
            "the weighted kernel among the training points leaves the range of float64; reduce lam, depth, sigma_w, "
            "sigma_b, input_scale or the length of the inputs"
        )


def _cholesky(matrix, ridge):
    """A factor for ``cho_solve`` and the condition estimate."""
    if not matrix.size:
        return (matrix, True), 1.0
    matrix[np.diag_indices(len(matrix))] += ridge
    _require_finite(matrix)
    norm = float(np.abs(matrix).sum(axis=0).max())
    factor = scipy.linalg.cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False)
    reciprocal, _ = scipy.linalg.lapack.dpocon(factor[0], norm, uplo="L")
    return factor, 1.0 / reciprocal if reciprocal > 0 else float("inf")
