r"""The log marginal likelihood of observed values and gradients, and its gradient by the hyperparameters.

With observations t (n of the N(1+d) unknowns) and :math:`\tilde K = K + D`, the covariance :math:`s^2 \tilde K` of t
gives

.. math:: \log p(t) = -\tfrac1{2 s^2} t^\top \tilde K^{-1} t - \tfrac12 \log\det \tilde K - n \log s
          - \tfrac n2 \log 2\pi,

at its largest where the amplitude is :math:`s^2 = t^\top \tilde K^{-1} t / n`. Its derivative in the direction of a
change of :math:`\tilde K` is :math:`-\sum M * \dot K`,
:math:`M = (\tilde K^{-1} - \tilde\alpha \tilde\alpha^\top / s^2) / 2` with :math:`\tilde\alpha = \tilde K^{-1} t`, at a
fixed amplitude and, by the envelope theorem, at the best one (Rasmussen and Williams 2006, equation (5.9)). M is
contracted with the kernel's own block formula, see ``Covariance.slopes``.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import scipy.linalg

from ..architecture import MLP
from ..kernels.recursion import Jet
from ..solve import EPS
from .covariance import Covariance


class Observations(NamedTuple):
    """What was seen, in standardised units."""

    U: np.ndarray  # (N, d) inputs
    T: np.ndarray  # (N, 1+d) values and gradients, NaN where not observed
    D: np.ndarray  # (N, 1+d) given variances of the noise, 0 where it is fitted

    @property
    def seen(self):
        """(N, 1+d), whether observed; (N, 1) where no gradient was."""
        seen = ~np.isnan(self.T)
        return seen if seen[:, 1:].any() else seen[:, :1]

    def noise(self, values):
        """Variances of the noise over the squared amplitude, (N, 1+d)."""
        noise = np.empty(self.T.shape)
        noise[:, 0], noise[:, 1:] = values["noise"], values["noise_gradient"]
        return noise + self.given_noise(values)

    def given_noise(self, values):
        """What is given of it; an amplitude of ``None``, the best one, goes with none."""
        return self.D if values["amplitude"] is None else self.D / values["amplitude"] ** 2


@dataclass(frozen=True, eq=False)
class Family:
    """The covariances that a vector theta of logarithms chooses from.

    theta has, in this order and as far as they are ``free``: ``scale`` (one for all columns of ``base``, or one each),
    ``sigma_b``, ``amplitude``, ``noise`` and ``noise_gradient`` (one for all columns, or one each), the last two as
    variances over the squared amplitude.
    What is not free has the value in ``start``, an amplitude of None being the best one.
    """

    depth: int
    activation: object
    tangent: bool
    base: np.ndarray
    start: dict
    free: tuple

    def pack(self, values):
        """theta of a dictionary."""
        return np.log(np.concatenate([np.atleast_1d(values[name]) for name in self.free]))

    def values(self, theta):
        """The dictionary of theta, with what is not free."""
        out, at = dict(self.start), 0
        for name in self.free:
            size = np.size(self.start[name])
            out[name] = np.exp(theta[at : at + size]) if np.ndim(self.start[name]) else float(np.exp(theta[at]))
            at += size
        return out

    def covariance(self, values):
        mlp = MLP(self.depth, self.activation, kappa=1.0, sigma_b=values["sigma_b"])
        return Covariance(mlp, self.tangent, self.base * values["scale"])


def amplitude_of(values, fit, n):
    """The given amplitude, or the best one for fit = t^T K~^{-1} t of n observed numbers."""
    given = values["amplitude"]
    return given if given is not None else math.sqrt(max(fit, 0.0) / n) or 1.0


class Factor:
    """The Cholesky factor of K~ at some hyperparameters, and what follows from it.

    Attributes
    ----------
    lower : (n, n), the factor.
    alpha : (n,), K~^{-1} t.
    amplitude : s, given or the best.
    log_likelihood : of the observations in standardised units.
    residual : |K~ alpha - t| / |t|.

    Raises
    ------
    scipy.linalg.LinAlgError : rounding leaves K~ without a factor.
    """

    def __init__(self, observations, covariance, values):
        self.observations, self.covariance, self.values = observations, covariance, values
        self.seen = observations.seen
        try:
            self._gram = covariance.scalars(observations.U)
        except ValueError as error:  # variances beyond what float64 can do, which a search may try
            raise scipy.linalg.LinAlgError(str(error)) from None
        K = self._matrix()
        t = self._targets()
        self.lower = scipy.linalg.cholesky(K, lower=True, check_finite=False)
        self.alpha = self.solve(t)
        n, fit, size = len(t), float(t @ self.alpha), float(np.linalg.norm(t))
        self.residual = float(np.linalg.norm(K @ self.alpha - t)) / size if size else 0.0
        self.amplitude = amplitude_of(values, fit, n)
        self.log_likelihood = (
            -fit / (2 * self.amplitude**2)
            - float(np.log(np.diagonal(self.lower)).sum())
            - n * math.log(self.amplitude)
            - n / 2 * math.log(2 * math.pi)
        )

    def _matrix(self):
        """K~ (n, n), with a floor of n eps times its largest diagonal entry, which is the size of its rounding."""
        seen = self.seen
        K = self._gram.k.copy() if seen.shape[1] == 1 else self.covariance.blocks(self._gram)
        K = K.reshape(seen.size, seen.size)
        if not seen.all():
            K = K[np.ix_(seen.ravel(), seen.ravel())]
        diagonal = np.diagonal(K)
        noise = self.observations.noise(self.values)[:, : seen.shape[1]][seen]
        np.fill_diagonal(K, diagonal + noise + len(K) * EPS * diagonal.max())
        return K

    def solve(self, b):
        """K~^{-1} b."""
        return scipy.linalg.cho_solve((self.lower, True), b, check_finite=False)

    @cached_property
    def inverse_lower(self):
        """L^{-1}, L L^T = K~: a product with it is a fifth faster than a solve with L."""
        return scipy.linalg.lapack.dtrtri(self.lower, lower=1)[0]

    def whiten(self, b):
        """L^{-1} b, in the place of b where that is in Fortran's order."""
        return scipy.linalg.blas.dtrmm(1.0, self.inverse_lower, b, lower=1, overwrite_b=1)

    def inverse(self):
        """K~^{-1}, symmetric."""
        half, _ = scipy.linalg.lapack.dpotri(self.lower, lower=1)  # above the diagonal it keeps the factor's zeros
        inverse = half + half.T
        np.fill_diagonal(inverse, np.diagonal(half))
        return inverse

    def spread(self, rows):
        """From the n observed unknowns to all: (n, ...) -> (N, 1+d or 1, ...), 0 where nothing was observed."""
        out = np.zeros((*self.seen.shape, *rows.shape[1:]))
        out[self.seen] = rows
        return out

    def gradient(self, family):
        """The gradient of ``log_likelihood`` by theta."""
        M = (self.inverse() - np.outer(self.alpha, self.alpha / self.amplitude**2)) / 2
        diagonal = self.spread(np.diagonal(M))
        shape, columns = self.seen.shape, np.ndim(self.values["noise_gradient"])
        slopes = {
            "noise": self.values["noise"] * diagonal[:, 0].sum(),
            "noise_gradient": self.values["noise_gradient"] * diagonal[:, 1:].sum(axis=0 if columns else None),
            "amplitude": len(self.alpha) * 1.0
            - float(self._targets() @ self.alpha) / self.amplitude**2
            - 2 * float((diagonal * self.observations.given_noise(self.values)[:, : shape[1]]).sum()),
        }
        if {"scale", "sigma_b"} & set(family.free):
            full = M
            if not self.seen.all():
                full = np.zeros((self.seen.size, self.seen.size))
                full[np.ix_(self.seen.ravel(), self.seen.ravel())] = M
            jet = Jet(*self._gram.scalars())
            by_scale, slopes["sigma_b"] = self.covariance.slopes(self.observations.U, full.reshape(shape * 2), jet)
            slopes["scale"] = by_scale if np.size(self.values["scale"]) > 1 else by_scale.sum()
        return -np.concatenate([np.atleast_1d(slopes[name]) for name in family.free])

    def _targets(self):
        return self.observations.T[:, : self.seen.shape[1]][self.seen]


def likelihood(family, observations, theta, eval_gradient):
    """The log likelihood at theta, and its gradient or ``None``."""
    values = family.values(theta)
    factor = Factor(observations, family.covariance(values), values)
    return factor.log_likelihood, factor.gradient(family) if eval_gradient else None
