r"""How far training has come in a direction of curvature w: the factor tau(w), without cancellation.

The residual along an eigenvector of S + ridge I shrinks by 1 - w tau. A schedule is called with the eigenvalues
w (ridge included, none negative) and ``floor``: what lies at or below it is unresolved in float64, known only to be
between 0 and the floor. Those directions train like w = 0, tau = elapsed time, as long as this is right for all of
[0, floor]; from elapsed time 1/floor on they stand still, which bounds what rounding in them can do.
"""

import math
from dataclasses import dataclass

import numpy as np

_TINY = 1e-290  # below it w * time loses digits to underflow, and tau = time to every digit anyway


@dataclass(frozen=True)
class GradientFlow:
    r""":math:`\tau = (1 - e^{-s w})/w`, s for w = 0, at ``elapsed`` time s = t kappa^2 / N."""

    elapsed: float

    def __call__(self, w, floor):
        s = np.where(w <= floor, min(self.elapsed, _horizon(floor)), self.elapsed)
        with np.errstate(over="ignore", under="ignore"):  # exp(-inf) = 0 is what is meant
            z = s * w
            return np.divide(-np.expm1(-z), w, out=s, where=z > _TINY)


@dataclass(frozen=True)
class GradientDescent:
    r""":math:`\tau = (1 - (1 - hw)^k)/w`, kh for w = 0: k ``steps`` of size h = ``size`` = learning rate kappa^2 / N.

    For hw > 1 the sign of (1 - hw)^k alternates; beyond hw = 2 it grows.
    """

    steps: int
    size: float

    @property
    def elapsed(self):
        return self.steps * self.size

    def __call__(self, w, floor):
        tau = np.full(w.shape, min(self.elapsed, _horizon(floor)))
        if self.steps == 0:
            return tau
        resolved = w > floor
        x = self.size * w[resolved]
        k = float(self.steps)
        with np.errstate(divide="ignore", over="ignore", under="ignore", invalid="ignore"):  # x = 1; divergence
            below = -np.expm1(k * np.log1p(-np.minimum(x, 1.0)))
            above = 1.0 - (-1.0) ** (self.steps % 2) * np.exp(k * np.log(np.maximum(x, 1.0) - 1.0))
            gain = np.where(x < 1.0, below, above)
            tau[resolved] = np.where(x > _TINY, gain / w[resolved], self.elapsed)
        if not np.isfinite(tau).all():
            raise ValueError(
                f"gradient descent has grown beyond float64 after {self.steps} steps: the largest eigenvalue is "
                f"multiplied by {1 - x.max():.3g} in every step; take fewer steps or a smaller learning rate"
            )
        return tau


@dataclass(frozen=True)
class Limit:
    r""":math:`\tau = 1/w`, and 0 in unresolved directions: infinite time, the pseudo-inverse."""

    elapsed: float = math.inf

    def __call__(self, w, floor):
        return np.divide(1.0, w, out=np.zeros_like(w), where=w > floor)


def _horizon(floor):
    """The elapsed time from which an eigenvalue at the floor has trained, so that it matters where it lies."""
    return 1.0 / floor if floor > _TINY else math.inf
