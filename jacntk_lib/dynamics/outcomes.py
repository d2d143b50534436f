"""What :class:`~jacntk_lib.RobustFlow` returns."""

from dataclasses import dataclass

import numpy as np

from .._validation import integer


@dataclass(frozen=True)
class Report:
    """How well an answer is determined: at infinite time, and by the iterative solver at every time.

    Attributes
    ----------
    condition : largest over smallest eigenvalue of S + ridge I, infinite where the smallest is unresolved; LAPACK's
        estimate in the 1-norm where no eigenvalue was computed; from the iterative solver the upper bound
        (w_max + ridge) / ridge of the matrix it solved with.
    residual : ``|(S + ridge I) q - b| / |b|`` with b = Lam^{1/2} (y* - u_0) and q the solution used, by a product
        with the kernel; without ridge the relative distance from interpolation. From the iterative solver at a finite
        time, where there is no equation to check: its estimate of that error and of the relative error of q.
    jitter : what was added to the diagonal beyond ``ridge``: 0.0, unresolved directions are left out instead.
    unresolved : how many eigenvalues were too small for float64 and left out (``tolerance`` of the flow).
    products : products with the kernel that the iterative solver took, all outputs at once; ``None`` where the
        matrix was factorised.
    """

    condition: float
    residual: float
    jitter: float
    unresolved: int
    products: int | None = None


@dataclass(frozen=True)
class Prediction:
    """Values and input Jacobians at M points; unpacks as ``value, jacobian = prediction``.

    Attributes
    ----------
    value : (M,), or (M, K) for targets of shape (N, K).
    jacobian : (M, d) or (M, K, d), derivatives with respect to the inputs as given.
    report : a :class:`Report` at infinite time and from the iterative solver, else ``None``.
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
