"""Where an attack may go: a ball around every point, in one of two norms, cut by bounds on the features."""

import numpy as np


def ball_of(norm):
    """The class for a norm by its name."""
    if norm not in BALLS:
        raise ValueError(f"norm must be one of {', '.join(map(repr, BALLS))}, got {norm!r}")
    return BALLS[norm]


class Ball:
    """Points within ``size`` of X (M, 1, d) and within the bounds, which X itself is within.

    ``project`` takes points Z (M, p, d) to the nearest ones, ``direction`` is what one step of unit length subtracts
    where the gradient is ``slope``, ``sample`` draws one point around each of X.
    """

    def __init__(self, X, size, bounds):
        self.X, self.size = X, size
        self.lower, self.upper = _checked_bounds(bounds, X[:, 0])


class MaximumBall(Ball):
    dual_order = 1  # of the norm that bounds <g, shift> over the ball

    def project(self, Z):
        low, high = np.maximum(self.lower, self.X - self.size), np.minimum(self.upper, self.X + self.size)
        return np.clip(Z, low, high)

    def direction(self, Z, slope):
        return np.sign(slope)

    def sample(self, random):
        return self.project(self.X + random.uniform(-self.size, self.size, self.X.shape))


class EuclideanBall(Ball):
    dual_order = 2

    def project(self, Z):
        r"""The nearest point: shift_i becomes sign(shift_i) min(c |shift_i|, room_i) with the largest c <= 1 that fits.

        With the features in the order in which they meet their bounds as c grows, the first k of them there, the
        squared length is :math:`\sum_{i \le k} room_i^2 + c^2 \sum_{i > k} shift_i^2`.
        """
        shift = np.clip(Z, self.lower, self.upper) - self.X
        far = np.linalg.norm(shift, axis=-1) > self.size
        if far.any():
            shift = Z - self.X
            room = np.minimum(np.abs(shift), np.where(shift > 0, self.upper - self.X, self.X - self.lower))
            length = np.abs(shift)[far]
            meets = np.divide(room[far], length, out=np.ones_like(length), where=length > 0)
            order = np.argsort(meets, axis=-1)
            length, met, meets = (np.take_along_axis(a, order, -1) for a in (length, room[far], meets))
            stopped = np.cumsum(met**2, axis=-1)
            onwards = (length**2)[:, ::-1].cumsum(axis=-1)[:, ::-1]
            k = (stopped + meets**2 * (onwards - length**2) < self.size**2).sum(axis=-1, keepdims=True)
            k = np.minimum(k, length.shape[-1] - 1)  # as far points have it, but for rounding
            left = np.maximum(self.size**2 - np.take_along_axis(stopped - met**2, k, -1), 0.0)
            onwards = np.take_along_axis(onwards, k, -1)
            c = np.ones((*far.shape, 1))
            c[far] = np.sqrt(np.divide(left, onwards, out=np.ones_like(left), where=onwards > 0))
            shift = np.copysign(np.minimum(c * np.abs(shift), room), shift)
        return np.clip(self.X + shift, self.lower, self.upper)  # for rounding

    def direction(self, Z, slope):
        largest = np.abs(slope).max(axis=-1, keepdims=True)
        slope = np.divide(slope, largest, out=np.zeros_like(slope), where=largest > 0)  # squares do not underflow
        stopped = ((slope > 0) & (self.lower >= Z)) | ((slope < 0) & (self.upper <= Z))
        length = np.linalg.norm(np.where(stopped, 0.0, slope), axis=-1, keepdims=True)
        return slope / np.maximum(length, 1e-6)  # next to a stopped feature of a million times its slope one may crawl

    def sample(self, random):
        shift = random.standard_normal(self.X.shape)
        radius = self.size * random.uniform(size=(*self.X.shape[:-1], 1)) ** (1 / self.X.shape[-1])
        return self.project(self.X + radius * shift / np.linalg.norm(shift, axis=-1, keepdims=True))


BALLS = {"l2": EuclideanBall, "linf": MaximumBall}


def _checked_bounds(bounds, X):
    """Two arrays that broadcast against (..., d); infinite where there is no bound."""
    if bounds is None:
        bounds = None, None
    try:
        lower, upper = bounds
    except (TypeError, ValueError):
        raise ValueError(f"bounds must be a pair (lower, upper), got {bounds!r}") from None
    lower, upper = _bound(lower, -np.inf, "lower", X), _bound(upper, np.inf, "upper", X)
    outside = np.argwhere((lower > X) | (upper < X))
    if outside.size:
        i, a = outside[0]
        low, high = (np.broadcast_to(bound, X.shape[1:])[a] for bound in (lower, upper))
        raise ValueError(
            f"X[{i}, {a}] = {X[i, a]:g} is outside its bounds [{low:g}, {high:g}]; widen them or move the point"
        )
    return lower, upper


def _bound(bound, default, name, X):
    if bound is None:
        return np.float64(default)
    try:
        bound = np.asarray(bound, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"the {name} bound must be numbers ({error})") from error
    if bound.shape not in ((), X.shape[1:]):
        raise ValueError(
            f"the {name} bound has shape {bound.shape}: a number or one per feature, {X.shape[1:]}, is needed"
        )
    if np.isnan(bound).any():
        raise ValueError(f"the {name} bound contains NaN; use None or an infinity for no bound")
    return bound
