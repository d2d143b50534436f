r"""The posterior of values and gradients, in standardised units.

With the factor of :mod:`jacntk_lib.gaussian.likelihood`, s its amplitude and k_* the covariances of a value or a
derivative at x with the observations,

.. math:: \operatorname{mean} &= k_*^\top \tilde\alpha, \\
          \operatorname{var} &= s^2 \bigl(k_{**} - k_*^\top \tilde K^{-1} k_*\bigr).

Both are of the function itself: noise is not added. The spread of trained networks over their initialisations is
another thing (:class:`~jacntk_lib.RobustFlow`).
"""

from functools import cached_property

import numpy as np

from ..errors import ConvergenceError
from ..kernels.scalars import batches, slices, value_products
from .likelihood import Factor, likelihood

_NUMBERS_AT_ONCE = 1 << 24  # in the covariances of new points with the observations: bounds the temporaries


class Posterior:
    """What is known of the function after ``observations`` with ``covariance`` at the hyperparameters ``values``."""

    report = None  # of an iterative solve

    def __init__(self, observations, covariance, values):
        self._given = observations, covariance, values
        factor = self._factor
        self.residual, self.log_likelihood, self.amplitude = factor.residual, factor.log_likelihood, factor.amplitude
        weights = factor.spread(factor.alpha)  # (N, 1+d), or (N, 1) where no gradient was observed
        L = covariance.L
        self._weights = np.zeros((len(weights), 1 + L.shape[1]))
        self._weights[:, 0] = weights[:, 0]
        if weights.shape[1] > 1:
            self._weights[:, 1:] = weights[:, 1:] @ L

    @cached_property
    def _factor(self):
        return Factor(*self._given)

    def likelihood(self, family, theta, eval_gradient):
        """The log likelihood of the observations at theta of a family, and its gradient or ``None``."""
        return likelihood(family, self._given[0], theta, eval_gradient)

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name != "_factor"}  # made again when needed

    def mean(self, U):
        """Values (M,): k a + 2 k_B <z', b> + k_C <z, b>, three products of size M N for weights a and b."""
        observations, covariance, _ = self._given
        a, b = self._weights[:, 0], self._weights[:, 1:]
        Z, Z2 = U @ covariance.L, observations.U @ covariance.L
        weights = a[:, None], b[:, :, None]
        return value_products(covariance.mlp, Z, Z2, *weights, tangent=covariance.tangent)[:, 0]

    def slopes(self, U):
        """Derivatives of the mean (M, d)."""
        observations, covariance, _ = self._given
        out = np.empty(U.shape)
        for some in batches(len(U), len(observations.U)):
            rows = covariance.scalars(U[some], observations.U) @ self._weights.ravel()
            out[some] = rows.reshape(-1, self._weights.shape[1])[:, 1:] @ covariance.L.T
        return out

    def value_std(self, U):
        """Standard deviations of values (M,)."""
        out = np.empty(len(U))
        for some in self._pieces(len(U), 1):
            rows = self._factor.whiten(self._value_rows(U[some]).T).T
            out[some] = self.deviations(self._given[1].variances(U[some])[:, 0], np.einsum("mn,mn->m", rows, rows))
        return out

    def value_cov(self, U):
        """Covariance matrix of values (M, M)."""
        rows = self._factor.whiten(self._value_rows(U).T)
        return self.amplitude**2 * (self._given[1].scalars(U).k - rows.T @ rows)

    def slope_std(self, U):
        """Standard deviations of derivatives (M, d)."""
        observations, covariance, _ = self._given
        seen, out = self._factor.seen, np.empty(U.shape)
        for some in self._pieces(len(U), U.shape[1]):
            blocks = covariance.blocks(covariance.scalars(U[some], observations.U))[:, 1:, :, : seen.shape[1]]
            rows = self._factor.whiten(blocks.reshape(-1, *seen.shape)[:, seen].T)
            explained = np.einsum("nm,nm->m", rows, rows).reshape(-1, U.shape[1])
            out[some] = self.deviations(covariance.variances(U[some])[:, 1:], explained)
        return out

    def leave_one_out(self):
        r"""Residuals of values and their standard deviations (N,), noise included, each without its whole point.

        With the block C_ii of K~^{-1} at the rows of point i, what is left of its observations after prediction from
        all other points is :math:`C_{ii}^{-1} \tilde\alpha_i`, of covariance :math:`s^2 C_{ii}^{-1}` (Rasmussen and
        Williams 2006, equation (5.12), by blocks). NaN where the value was not observed.
        """
        factor = self._factor
        seen, half = factor.seen, factor.inverse_lower
        ends = np.cumsum(seen.sum(axis=1))
        residual, std = np.full((2, len(seen)), np.nan)
        for i in np.flatnonzero(seen[:, 0]):
            rows = slice(ends[i] - seen[i].sum(), ends[i])
            unit, own = np.eye(rows.stop - rows.start, 1), half[rows.start :, rows]
            first = np.linalg.solve(own.T @ own, np.hstack([factor.alpha[rows, None], unit]))[0]
            residual[i], std[i] = first[0], self.amplitude * np.sqrt(first[1])
        return residual, std

    @cached_property
    def widening(self):
        r"""c >= 1, by which the residuals of leave-one-out exceed their deviations: the deviations' calibration.

        .. math:: c^2 = \max\bigl(1,\ \operatorname{mean}_i r_i^2 / s_i^2\bigr)

        Where c > 1, c s is the amplitude by cross-validation (Bachoc 2013, section 2.2, there for values): the one of
        largest likelihood is decided by the derivatives, of which there are d times as many.
        """
        residual, std = Posterior.leave_one_out(self)  # that of all observations that have a common factor
        seen = ~np.isnan(residual)
        return max(1.0, float(np.sqrt(np.mean((residual[seen] / std[seen]) ** 2)))) if seen.sum() > 1 else 1.0

    def _value_rows(self, U):
        observations, covariance, _ = self._given
        seen = self._factor.seen
        if seen.shape[1] == 1:
            return covariance.scalars(U, observations.U).k[:, seen[:, 0]]
        rows = covariance.value_rows(U, observations.U)
        return rows.reshape(len(U), -1) if seen.all() else rows[:, seen]

    def _pieces(self, M, rows):
        return slices(M, max(1, _NUMBERS_AT_ONCE // (rows * self._weights.size)))

    def deviations(self, prior, explained):
        """Standard deviations of what has these variances before, over s^2, of which this much is explained."""
        variance = prior - explained
        if variance.min() < -1e-6 * prior.max():
            raise ConvergenceError(
                f"a posterior variance is {variance.min() / prior.max():.1e} of the prior's, below what rounding "
                "explains: the covariance matrix is too close to singular; give or raise noise and noise_gradient"
            )
        return self.amplitude * np.sqrt(np.maximum(variance, 0.0))
