r"""The posterior mean of more observations than a dense covariance matrix allows, by products with the kernel alone.

The linear map of every metric is L = V W, V orthogonal and W diagonal. Noise of one variance for all derivatives of a
point is the same along the columns of V, and derivatives along them have the covariance T K_z T, T = diag(1, W) at
every point. With the smallest entry rho of D and :math:`R = \rho D^{-1}`,

.. math:: (T K_z T + D)\, \tilde\alpha = t \iff
          (R^{1/2} T K_z T R^{1/2} + \rho I)\, q = R^{1/2} t, \quad \tilde\alpha = R^{1/2} q,

which :class:`~jacntk_lib.solve.Iterative` solves: a structured kernel between factors of its rows, 0 where nothing was
observed.
"""

import numpy as np

from ..errors import ConvergenceError
from ..solve import EPS, Exact, Iterative, solver_named
from .likelihood import amplitude_of
from .posterior import Posterior

MAX_UNKNOWNS = 15000  # observed values and derivatives: their dense covariance matrix takes 1.8 GB
TOLERANCE = 1e-4  # beyond them: a relative residual that no prediction tells from less


def solver_for(solver, n):
    """What ``solver`` means for n observed numbers: an Iterative, or ``None`` for a dense matrix."""
    solver = solver_named(solver)
    if isinstance(solver, Exact) and n > MAX_UNKNOWNS:
        raise ValueError(
            f"{n} observed numbers need a dense covariance matrix of {8e-9 * n * n:.0f} GB (at most {MAX_UNKNOWNS} "
            "are accepted): take solver='auto' or neighbours, or give fewer points or derivatives"
        )
    if solver is None and n > MAX_UNKNOWNS:
        return Iterative(TOLERANCE)
    return solver if isinstance(solver, Iterative) else None


class IterativePosterior(Posterior):
    """Values and slopes of the posterior mean; what needs the factor of a dense matrix is refused."""

    log_likelihood = np.nan

    def __init__(self, observations, covariance, values, solver):
        self._given = observations, covariance, values
        W = np.linalg.norm(covariance.L, axis=0)
        along = observations.T
        if _turns(covariance.L):
            along = np.concatenate([along[:, :1], along[:, 1:] @ (covariance.L / W)], axis=1)
        seen, t = ~np.isnan(along), np.nan_to_num(along)
        floor = seen.sum() * EPS * covariance.variances(observations.U)[seen].max()  # as in a Factor
        D = observations.noise(values) + floor
        rho = D[seen].min()
        root, chain = np.where(seen, np.sqrt(rho / D), 0.0), np.insert(W, 0, 1.0)
        gram = covariance.scalars(observations.U, memory=solver.memory)
        try:
            q, self.report = solver.solve(gram.between(root * chain, root * chain), (root * t).ravel(), ridge=rho)
        except ConvergenceError as error:
            raise ConvergenceError(
                f"{error}; here the ridge is the least variance of noise over the squared amplitude: give or raise "
                "noise and noise_gradient, or give fewer points"
            ) from None
        alpha = root * q.reshape(root.shape)
        self.residual = self.report.residual
        self.amplitude = amplitude_of(values, float((t * alpha).sum()), int(seen.sum()))
        self._weights = alpha * chain

    @property
    def _factor(self):
        n = self._given[0].seen.sum()
        raise NotImplementedError(
            f"deviations, covariances, samples, leave-one-out and the likelihood of {n} observed numbers need a dense "
            "matrix of them, and this fit was iterative: fit fewer numbers (up to 15000 by solver='auto') for these"
        )

    def likelihood(self, family, theta, eval_gradient):
        return self._factor


def may_turn(observations):
    """Whether derivatives along other directions have independent noise: gradients are whole, their noise is equal."""
    missing, D = np.isnan(observations.T[:, 1:]), observations.D[:, 1:]
    return bool((missing == missing[:, :1]).all()) and np.allclose(D, D[:, :1], rtol=1e-9, atol=0.0)  # up to rounding


def _turns(L):
    return not np.array_equal(L, np.diag(np.diagonal(L)))
