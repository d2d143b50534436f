"""Threat sets: where an attack may move each of its points, a ball around it in one of two norms."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ThreatSet:
    """Points within ``size`` of X (M, 1, d).

    ``project`` takes points Z (M, p, d) to the nearest ones of the set, ``direction`` is what one step of unit length
    subtracts where the gradient is ``slope``, ``sample`` draws one point around each of X.
    """

    X: np.ndarray
    size: float


class EuclideanThreat(ThreatSet):
    def project(self, Z):
        shift = Z - self.X
        length = np.linalg.norm(shift, axis=-1, keepdims=True)
        return self.X + shift * np.divide(self.size, length, out=np.ones_like(length), where=length > self.size)

    @staticmethod
    def direction(slope):
        largest = np.abs(slope).max(axis=-1, keepdims=True)
        slope = np.divide(slope, largest, out=np.zeros_like(slope), where=largest > 0)  # squares do not underflow
        return slope / np.maximum(np.linalg.norm(slope, axis=-1, keepdims=True), 1.0)  # below 1 only if zero

    def sample(self, random):
        shift = random.standard_normal(self.X.shape)
        radius = self.size * random.uniform(size=(*self.X.shape[:-1], 1)) ** (1 / self.X.shape[-1])
        return self.X + radius * shift / np.linalg.norm(shift, axis=-1, keepdims=True)


class MaximumThreat(ThreatSet):
    def project(self, Z):
        return np.clip(Z, self.X - self.size, self.X + self.size)

    @staticmethod
    def direction(slope):
        return np.sign(slope)

    def sample(self, random):
        return self.X + random.uniform(-self.size, self.size, self.X.shape)


THREATS = {"l2": EuclideanThreat, "linf": MaximumThreat}


def threat_of(norm) -> type[ThreatSet]:
    """The kind of threat set for a norm by its name."""
    if norm not in THREATS:
        raise ValueError(f"norm must be one of {', '.join(map(repr, THREATS))}, got {norm!r}")
    return THREATS[norm]
