"""Between the user's units and the standardised problem, in which everything is computed."""

from dataclasses import dataclass

import numpy as np

from .._validation import as_array, as_float64, non_negative_number
from ..solve import EPS


@dataclass(frozen=True)
class Units:
    """x = mean + std * u, y = y_mean + y_std * v, hence dy/dx = y_std / std * dv/du.

    A constant column has std 1. Without spread in y its unit is the root mean square of std * dy/dx, else 1.
    """

    mean: np.ndarray
    std: np.ndarray
    y_mean: float
    y_std: float

    @classmethod
    def of(cls, X, y, jacobian):
        """Those of the observed data; y (N,) and jacobian (N, d) have NaN where nothing was observed."""
        mean, std = _moments(X)
        seen = y[~np.isnan(y)]
        y_mean, y_std = (float(x[0]) for x in _moments(seen[:, None])) if seen.size else (0.0, 0.0)
        if y_std == 0.0:
            slopes = jacobian * np.where(std > 0, std, 1.0)
            y_std = float(np.sqrt(np.nanmean(slopes**2))) if not np.isnan(slopes).all() else 0.0
        return cls(mean, np.where(std > 0, std, 1.0), y_mean, y_std or 1.0)

    def inputs(self, X):
        """u of x."""
        return (X - self.mean) / self.std

    @property
    def slope(self):
        """(d,): what dv/du is multiplied by."""
        return self.y_std / self.std

    def targets(self, y, jacobian):
        """Observations (N, 1+d), NaN kept."""
        return np.concatenate([((y - self.y_mean) / self.y_std)[:, None], jacobian / self.slope], axis=1)


def _moments(columns):
    """Mean and standard deviation of every column, 0 where it is rounding; neither overflows, whatever the units."""
    size = np.abs(columns).max(axis=0)
    scaled = columns / np.where(size > 0, size, 1.0)
    std = scaled.std(axis=0)
    return size * scaled.mean(axis=0), size * np.where(std > 10 * EPS, std, 0.0)


def as_jacobian(jacobian, shape):
    """Gradients (N, d) in float64, NaN where not observed; all NaN for ``None``."""
    if jacobian is None:
        return np.full(shape, np.nan)
    return as_array(jacobian, "jacobian", shape, missing=True)


def as_noise(noise, name, shape):
    """Given standard deviations as an array of ``shape``; ``None`` for "auto"."""
    if isinstance(noise, str):
        if noise != "auto":
            raise ValueError(f"{name} must be 'auto' or a standard deviation, got {noise!r}")
        return None
    if np.ndim(noise) == 0:
        return np.full(shape, non_negative_number(noise, name))
    array = as_float64(noise, name)
    try:
        array = np.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(f"{name} has shape {array.shape}, but a number or shape {shape} is needed") from None
    if (array < 0).any():
        raise ValueError(f"{name} must not be negative, got {array.min():g}")
    return array
