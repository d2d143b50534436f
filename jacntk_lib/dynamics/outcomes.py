"""What :class:`~jacntk_lib.RobustFlow` returns."""

from dataclasses import dataclass

import numpy as np

from .._validation import integer
from ..solve import Report


@dataclass(frozen=True)
class Prediction:
    """Values and input Jacobians at M points; unpacks as ``value, jacobian = prediction``.

    Attributes
    ----------
    value : (M,), or (M, K) for targets of shape (N, K).
    jacobian : (M, d) or (M, K, d), derivatives with respect to the inputs as given.
    report : a :class:`~jacntk_lib.solve.Report` at infinite time and from the iterative solver, else ``None``.
    """

    value: np.ndarray
    jacobian: np.ndarray
    report: Report | None = None

    def __iter__(self):
        return iter((self.value, self.jacobian))


@dataclass(frozen=True)
class Ensemble:
    """A Gaussian distribution over initialisations; unpacks as ``mean, covariance = ensemble``.

    Attributes
    ----------
    mean : (M(1+d),) or (M(1+d), K); rows by point, then value and d derivatives.
    factor : (M(1+d), rank) with ``covariance = factor @ factor.T``.
    """

    mean: np.ndarray
    factor: np.ndarray

    @property
    def covariance(self):
        """(M(1+d), M(1+d)), the same for every output, which are independent of each other."""
        return self.factor @ self.factor.T

    @property
    def std(self):
        """Standard deviation of every row, (M(1+d),)."""
        return np.linalg.norm(self.factor, axis=1)

    def sample(self, count, seed=None):
        """``count`` independent draws, (count, M(1+d)) or (count, M(1+d), K); seed as for ``np.random.default_rng``."""
        count = integer(count, "count", at_least=1)
        K = self.mean.shape[1:]
        noise = np.random.default_rng(seed).standard_normal((count, self.factor.shape[1], *K))
        return self.mean + np.moveaxis(np.tensordot(self.factor, noise, axes=(1, 1)), 0, 1)

    def __iter__(self):
        return iter((self.mean, self.covariance))


@dataclass(frozen=True)
class Eigenfeatures:
    """The summands of a prediction, one per eigenvalue; unpacks as ``value, jacobian``.

    Attributes
    ----------
    eigenvalues : (p,), descending; equal ones are one feature.
    value : (M, p) or (M, p, K).
    jacobian : (M, p, d) or (M, p, K, d).
    """

    eigenvalues: np.ndarray
    value: np.ndarray
    jacobian: np.ndarray

    def __iter__(self):
        return iter((self.value, self.jacobian))
