"""The choice of hyperparameters by likelihood, and of a metric by leave-one-out, on as many points as keep it quick."""

import math
from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg
from scipy.optimize import minimize

from .._validation import positive_number
from .likelihood import Family, Observations, likelihood
from .metrics import linear_map
from .posterior import Posterior

SEARCH_UNKNOWNS = 600, 1200  # likelihoods are maximised on a sixth of what was observed, but no less and no more
CHOICE_UNKNOWNS = 2000, 4000  # and metrics compared on a half; both on the least for an iteration, which takes long
CLEAR_LEAD = 0.5  # of a log likelihood over another per observed number, beyond which only the better is refined
NOISE_BOUNDS = 1e-12, 1.0  # of fitted noise: variances over the squared amplitude
SOME_NOISE = 1e-6  # where they start, and the least in a second attempt
_NOISE_BY_COLUMN = 1e-9, 1e-5  # where searches for a noise per column start
ITERATIVE_NOISE = 1e-4  # the least where the number of products in a solve depends on it
AMPLITUDE_BOUNDS = 1e-3, 1e6  # in units of the spread of y
_IMPOSSIBLE = 1e25  # minus the log likelihood where rounding leaves no Cholesky factor
_NOISES = ("noise", "noise_gradient")
_SHARED = ("standard", "gradient", "gradient-full")  # metrics with one scale for all columns


def bounds_of(bounds, name):
    """(low, high) as they were given, or ``None`` for "fixed"."""
    if isinstance(bounds, str) and bounds == "fixed":
        return None
    try:
        low, high = bounds
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be 'fixed' or a pair of positive numbers, got {bounds!r}") from None
    low, high = positive_number(low, name), positive_number(high, name)
    if low > high or not math.isfinite(high):
        raise ValueError(f"{name} must be (low, high) with low <= high, got {bounds!r}")
    return low, high


@dataclass(frozen=True, eq=False)
class Search:
    """What :func:`chosen` needs besides the observations.

    ``family`` is without a base: every metric brings its own. ``bounds`` has (low, high) per free hyperparameter, and
    optimizer, restarts and random are as in the estimator; without an optimizer only an amplitude is fitted.
    """

    family: Family
    bounds: dict
    optimizer: object
    restarts: int
    random: np.random.RandomState
    sines: bool = False  # whether a layer of sines is tried, too
    dense: bool = True  # whether the solve will be: derivatives along directions may have noise that differs by column
    turning: bool = True  # whether metrics are allowed whose directions are no columns

    def noisy(self):
        """The same with fitted noise of some size; ``None`` where there is none, or no other size."""
        bounds = {
            name: (max(SOME_NOISE, box[0]), box[1]) for name, box in self.bounds.items() if box and name in _NOISES
        }
        if all(self.bounds[name] == box for name, box in bounds.items()):
            return None
        return replace(self, bounds=self.bounds | bounds)

    def sample(self, observations, share, least, most):
        """Random points with about this share of what was observed, within these bounds."""
        unknowns = np.clip(share * observations.seen.sum(), least, most if self.dense else least)
        return sample_of(observations, unknowns, self.random)

    def likely(self, family, observations):
        """The family started at its hyperparameters of largest likelihood, and that likelihood."""

        def minus(theta, eval_gradient=True):
            try:
                value, slope = likelihood(family, observations, theta, eval_gradient)
            except scipy.linalg.LinAlgError:
                value, slope = -_IMPOSSIBLE, np.zeros_like(theta)
            return (-value, -slope) if eval_gradient else -value

        if not family.free:
            return family, -minus(np.zeros(0), False)
        sizes = [np.size(family.start[name]) for name in family.free]
        box = np.log(np.repeat([self.bounds[name] for name in family.free], sizes, axis=0))
        starts = [np.clip(family.pack(family.start), *box.T)]
        starts += list(self.random.uniform(*box.T, size=(self.restarts, len(box))))
        ends = [self._minimised(minus, start, box) for start in starts]
        theta, least = min(ends, key=lambda end: end[1])
        return replace(family, start=family.values(theta)), -least

    def _minimised(self, function, start, box):
        if callable(self.optimizer):
            theta, value = self.optimizer(function, start, bounds=box)
            return np.asarray(theta, dtype=np.float64), float(value)
        options = {"maxiter": 100, "ftol": 1e-4}  # of a log likelihood, beyond which no prediction tells the difference
        found = minimize(function, start, jac=True, bounds=box, method="L-BFGS-B", options=options)
        return found.x, float(found.fun)


def sample_of(observations, unknowns, random):
    """All points, or so many random ones as make ``unknowns`` observed values and derivatives."""
    sizes = observations.seen.sum(axis=1)
    if sizes.sum() <= unknowns:
        return observations
    order = random.permutation(len(sizes))
    count = max(2, int(np.searchsorted(np.cumsum(sizes[order]), unknowns, side="right")))
    return Observations(*(array[np.sort(order[:count])] for array in observations))


def chosen(search, metric, observations):
    """``(metric, family)``: the metric asked for, or the best, with its hyperparameters as the family's start.

    Metrics with one scale first; the better of the diagonal ones, and the full one, are the starts of those with a
    scale per column or direction, unless the other of the two leads clearly. All that for nearly no fitted noise and
    for some: a likelihood often has a mode of either kind. Then come those of :func:`_refined`. What is compared is the
    mean of the absolute leave-one-out residuals of values, which far points decide less than their squares, or the
    likelihood where fewer than two values were observed.

    Raises
    ------
    ValueError : the observed gradients do not determine the metric, or its scales are fixed.
    """
    few = search.sample(observations, 1 / 6, *SEARCH_UNKNOWNS)
    fitted = {}
    for attempt in (search, search.noisy()):
        if attempt is not None:
            fitted |= {(name, attempt): family for name, family in _fits(attempt, metric, observations, few).items()}
    judges = search.sample(observations, 1 / 2, *CHOICE_UNKNOWNS)
    best = _best(fitted, judges)
    if "noise_gradient" in search.family.free and observations.U.shape[1] > 1:
        fitted = {best: fitted[best]} | _refined(search, fitted, best, few, judges)
        best = _best(fitted, judges)
    return best[0], fitted[best]


def _refined(search, fitted, best, few, judges):
    """Families with a noise for every column of derivatives, and of a layer of sines, by keys that begin as theirs.

    They start at the best, and at the best with a scale for every column, with next to no noise and with some. With a
    noise of their own, derivatives by one column that the kernel cannot follow do not spoil what the others say.
    """

    def likely(key, family, noise, sigma_b=None, **other):
        start = family.start | {"noise_gradient": np.full(len(family.base), noise)}
        start |= {} if sigma_b is None else {"sigma_b": sigma_b}
        family = replace(family, start=start, **other)
        return {(*key, noise, family.activation): search.likely(family, few)[0]}

    found = {}
    if search.dense or not best[0].endswith("-full"):
        found |= likely(best, fitted[best], fitted[best].start["noise_gradient"])
    by_column = {key: family for key, family in fitted.items() if key[0] == "likelihood"}
    if by_column:
        key = _best(by_column, judges)
        for noise in _NOISE_BY_COLUMN:
            found |= likely(key, by_column[key], noise)
            if search.sines:
                found |= likely(key, by_column[key], noise, depth=1, activation="sin", sigma_b=2.0)
    return found


def _fits(search, metric, observations, few):
    """metric -> family: the one asked for, or all, at their largest likelihood on a few points."""
    fitted = {}
    for name in _first(metric):
        base = linear_map(name, observations.U, observations.T[:, 1:])
        if base is not None and (search.turning or name != "gradient-full"):
            fitted[name] = search.likely(replace(search.family, base=base), few)
    free = "scale" in search.family.free
    if metric.endswith("-full") and not search.turning:
        raise ValueError(
            f"metric={metric!r} with the iterative solver needs whole gradients, with one noise for all derivatives of "
            "a point: take another metric, noise_gradient='auto', or fewer points"
        )
    if metric not in ("auto", *_SHARED) and not free:
        raise ValueError(f"metric={metric!r} fits scales: give it an optimizer and scale_bounds, or another metric")
    best = max(
        (name for name in ("standard", "gradient") if name in fitted), key=lambda name: fitted[name][1], default=""
    )
    lead = 0.0  # of the full metric over the diagonal ones, which scales of their own seldom make up for
    if metric == "auto" and "gradient-full" in fitted:
        lead = (fitted["gradient-full"][1] - fitted[best][1]) / few.seen.sum()
    if free and metric in ("auto", "likelihood") and lead < CLEAR_LEAD:
        fitted["likelihood"] = search.likely(_by_column(fitted[best][0]), few)
    if free and metric in ("auto", "likelihood-full") and "gradient-full" in fitted and lead > -CLEAR_LEAD:
        fitted["likelihood-full"] = search.likely(_by_direction(fitted["gradient-full"][0]), few)
    if metric != "auto":
        if metric not in fitted:
            raise ValueError(
                f"metric={metric!r} needs gradients: at least one observed derivative in every column, for a full "
                "metric as many complete gradients as columns; pass jacobian=, or take 'standard' or 'likelihood'"
            )
        fitted = {metric: fitted[metric]}
    return {name: family for name, (family, _) in fitted.items()}


def _first(metric):
    """The metrics with one scale that a metric starts from."""
    return {"auto": _SHARED, "likelihood": _SHARED[:2], "likelihood-full": _SHARED[2:]}.get(metric, (metric,))


def _by_column(family):
    """The same hyperparameters, with a scale of its own for every column."""
    return replace(
        family,
        base=np.eye(len(family.base)),
        start=family.start | {"scale": np.diagonal(family.base) * family.start["scale"]},
    )


def _by_direction(family):
    return replace(family, start=family.start | {"scale": np.repeat(family.start["scale"], len(family.base))})


def _best(families, observations):
    """The key of the family that predicts left-out values best, or is likeliest where there are no two values."""
    if len(families) == 1:
        return next(iter(families))
    valued, losses = np.isfinite(observations.T[:, 0]).sum() > 1, {}
    for key, family in families.items():
        try:
            posterior = Posterior(observations, family.covariance(family.start), family.start)
        except scipy.linalg.LinAlgError:
            continue
        losses[key] = np.nanmean(np.abs(posterior.leave_one_out()[0])) if valued else -posterior.log_likelihood
    return min(losses, key=losses.get) if losses else next(iter(families))
