r"""The posterior at a point from its m nearest observed points alone, with their gradients (Vecchia 1988).

Each prediction costs O(n^3) for the n numbers observed at its neighbours, nearest by :math:`|z - z'|` with z = u L, and
is that of :mod:`jacntk_lib.gaussian.posterior` where m = N.

**Span reduction.** The kernel sees inner products only. With Q (d, r) an orthonormal basis of a space that contains the
new point and its neighbours, r = m + 1, and q = z Q,

.. math:: K_z(z, z') = \begin{pmatrix} 1 & \\ & Q \end{pmatrix} K_q(q, q') \begin{pmatrix} 1 & \\ & Q^\top \end{pmatrix}
          + \begin{pmatrix} 0 & \\ & k_C(z, z')\, (I - Q Q^\top) \end{pmatrix} :

the components of gradients outside the space are independent of all else and of each other, with covariance k_C. So
where d > m + 1, n is m (m + 2) in place of m (1 + d): values and slopes inside are those of K_q, and for those outside,
with H of the neighbours' gradients,

.. math:: \operatorname{mean} &= k_C^\top (K_C + D_C)^{-1} H, \\
          \operatorname{cov} &= s^2 \bigl(k_C(z, z) - k_C^\top (K_C + D_C)^{-1} k_C\bigr) (I - Q Q^\top).

This needs whole gradients or none at every neighbour, and noise that is the same in all directions of z, with variances
D_C: none, or one for all derivatives of a point and an L that turns and scales (the metric "standard"). Predictions
with other neighbours take all derivatives as they are.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import scipy.linalg
from scipy.spatial import cKDTree

from .._float64 import float64
from ..architecture import handles
from ..errors import ConvergenceError
from ..kernels.block import blocks
from ..kernels.recursion import prepared
from ..solve import EPS
from .posterior import Posterior
from .search import CHOICE_UNKNOWNS, sample_of

MAX_UNKNOWNS = 5000  # among the neighbours of one point: their covariance matrix takes 200 MB
_RESIDUAL = 1e-5  # relative, beyond which a solve says nothing


class LocalPosterior(Posterior):
    """What is known of the function at a point after the ``neighbours`` observed points that are nearest to it.

    Amplitude, widening and likelihood are those of the posterior of some 2000 observed numbers.
    """

    def __init__(self, observations, covariance, values, neighbours, random):
        super().__init__(sample_of(observations, CHOICE_UNKNOWNS[0], random), covariance, values)
        self._covariance, self._U = covariance, observations.U
        columns = slice(observations.seen.shape[1])  # 1+d, or 1 without any gradient
        self._T, self._D = observations.T[:, columns], observations.noise(values)[:, columns]
        self._m, self._last = min(neighbours, len(self._U)), None
        self._tree = cKDTree(self._U @ covariance.L)
        self._reducible, self._in_z = self._reduction()
        n = self._m * self._T.shape[1]
        if n > MAX_UNKNOWNS and not self._reducible.all():
            raise ValueError(
                f"{self._m} neighbours have {n} observed numbers (at most {MAX_UNKNOWNS} are accepted): take fewer of "
                "them, or noise_gradient=0 or metric='standard' with whole gradients, which need fewer numbers"
            )

    def mean(self, U):
        """Values (M,)."""
        return self._at(U)[0][:, 0]

    def slopes(self, U):
        """Means of the derivatives (M, d); those of ``mean`` differ, as its neighbours change with the point."""
        return self._at(U)[0][:, 1:]

    def value_std(self, U):
        """Standard deviations of values (M,)."""
        return self._at(U)[1][:, 0]

    def slope_std(self, U):
        """Standard deviations of derivatives (M, d)."""
        return self._at(U)[1][:, 1:]

    def value_cov(self, U):
        """Refused."""
        raise NotImplementedError(
            f"covariances and samples of {len(U)} predictions do not exist where each has neighbours of its own: take "
            "return_std, or neighbours=None"
        )

    def leave_one_out(self):
        """Residuals of values and their deviations (N,), noise included, each from its neighbours without itself."""
        mean, std = self._predicted(self._U, leave_out=True)
        residual, noise = self._T[:, 0] - mean[:, 0], self.amplitude**2 * self._D[:, 0]
        return residual, np.where(np.isnan(residual), np.nan, np.sqrt(std[:, 0] ** 2 + noise))

    def _reduction(self):
        """Which points allow it (N,), and their gradients by z with the variance of the noise, (N, d) and (N, 1)."""
        L, D, missing = self._covariance.L, self._D[:, 1:], np.isnan(self._T[:, 1:])
        if D.shape[1] <= self._m + 1:
            return np.zeros(len(D), dtype=bool), None
        P, H = L @ L.T, np.linalg.solve(L, self._T[:, 1:].T).T
        turns = np.abs(P - P[0, 0] * np.eye(len(P))).max() <= len(P) * EPS * P[0, 0]
        alike = ~D.any(axis=1) | (turns & (D[:, :1] == D).all(axis=1))
        return missing.all(axis=1) | (alike & ~missing.any(axis=1)), (H, D[:, :1] / P[0, 0])

    def _at(self, U):
        """Means and deviations (M, 1+d), kept for who asks for another part of them next."""
        last = self._last  # which another thread may replace
        if last is None or not np.array_equal(last[0], U):
            self._last = last = U.copy(), self._predicted(U)
        return last[1]

    def _predicted(self, U, leave_out=False):
        mlp, L, near = self._covariance.mlp, self._covariance.L, self._nearest(U, leave_out)
        handles(mlp, "a local prediction")
        lengths = ((np.concatenate([self._U, U]) @ L) ** 2).sum(axis=1)
        kernel = partial(blocks, *prepared(mlp, lengths), mlp.depth, self._covariance.tangent)
        mean, explained = np.empty((2, len(U), 1 + len(L)))
        residual, reduced = np.empty(len(U)), self._reducible[near].all(axis=1) & (self._in_z is not None)

        def predict(i):
            mean[i], explained[i], residual[i] = _conditioned(kernel, *self._problem(U[i], near[i], reduced[i]))

        for first in np.unique(reduced, return_index=True)[1]:
            predict(first)  # compiles for the others
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(predict, range(len(U))))
        wrong = np.flatnonzero(~(residual < _RESIDUAL))
        if wrong.size:
            raise ConvergenceError(
                f"the solve with the {near.shape[1]} neighbours of point {wrong[0]} has a relative residual of "
                f"{residual[wrong[0]]:.1e} (below {_RESIDUAL:g} is needed): their covariance matrix is too close to "
                "singular; give or raise noise and noise_gradient"
            )
        return mean, self.deviations(self._covariance.variances(U), explained)

    def _nearest(self, U, leave_out):
        """Indices (M, m) of the nearest observed points, with ``leave_out`` without the point itself."""
        count = min(self._m + leave_out, len(self._U))
        near = self._tree.query(U @ self._covariance.L, range(1, count + 1), workers=-1)[1]
        if not leave_out:
            return near
        own = near == np.arange(len(U))[:, None]
        own[~own.any(axis=1), -1] = True  # it has more copies than neighbours
        return near[~own].reshape(len(U), -1)

    def _problem(self, u, near, reduced):
        """The arguments of :func:`_conditioned` after the kernel, for one point."""
        L, T, D = self._covariance.L, self._T[near], self._D[near]
        Z = np.concatenate([self._U[near], u[None]]) @ L  # (m+1, d)
        C = Z @ Z.T
        if not reduced:
            return C, Z @ L.T, L @ L.T, None, T, D, None
        Q = np.linalg.qr(Z.T)[0]  # (d, r)
        H, D_C = (x[near] for x in self._in_z)
        inside, R = H @ Q, L @ Q
        rest = T[:, 1:] - inside @ R.T, (L**2).sum(axis=1) - (R**2).sum(axis=1)
        T, D = (np.concatenate([x[:, :1], y + 0 * inside], axis=1) for x, y in ((T, inside), (D, D_C)))
        return C, Z @ Q, np.eye(Q.shape[1]), R, T, D, rest


def _conditioned(kernel, C, Y, G, R, T, D, rest):
    r"""The mean, what is explained of the variance, both (1+d,), and the residual, at the last of m + 1 points.

    Observed are derivatives along directions F (d, r) of z, T (m, 1+r) with noise of variance D, NaN where not, or
    values only, (m, 1). :math:`C = Z Z^\top`, Y = Z F, :math:`G = F^\top F`; R (d, r) turns those r into the d
    derivatives by u. ``rest`` is what that leaves of observed derivatives (m, d), and of the diagonal of L L^T (d,).
    """
    with float64():
        K, k_C = map(np.asarray, kernel(C, Y, G))
    m, q = T.shape
    cross = K[m, :, :m, :q].reshape(-1, m * q).T
    t, W, residual = _whitened(K[:m, :q, :m, :q].reshape(m * q, m * q), T.reshape(-1, 1), D.ravel(), cross)
    if R is not None:
        W = np.concatenate([W[:, :1], W[:, 1:] @ R.T], axis=1)
    mean, explained = W.T @ t[:, 0], (W**2).sum(axis=0)
    if rest is not None:
        H, w, _ = _whitened(k_C[:m, :m], rest[0], D[:, 1], k_C[:m, m:])
        mean[1:] += H.T @ w[:, 0]
        explained[1:] += rest[1] * (w**2).sum()
    return mean, explained, residual


def _whitened(K, t, D, cross):
    """Solves of the factor of K + D with t (n, k) and with cross, and the residual; NaN in t was not observed."""
    seen = ~np.isnan(t[:, 0])
    K, t, cross = K[np.ix_(seen, seen)] if not seen.all() else K.copy(), t[seen], cross[seen]
    diagonal = np.diagonal(K)
    np.fill_diagonal(K, diagonal + D[seen] + len(K) * EPS * diagonal.max(initial=0.0))  # a floor, as in a Factor
    try:
        lower = scipy.linalg.cholesky(K, lower=True, check_finite=False)
    except scipy.linalg.LinAlgError:
        return t, cross, np.inf
    solve = partial(scipy.linalg.solve_triangular, lower, lower=True, check_finite=False)
    white, W = solve(t), solve(cross)
    return white, W, np.linalg.norm(K @ solve(white, trans="T") - t) / max(np.linalg.norm(t), 1e-300)
