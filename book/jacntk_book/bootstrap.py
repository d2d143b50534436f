"""Bootstrap intervals over repeated runs, which say what their number can and cannot tell apart."""

import numpy as np
from scipy import stats

from jacntk_lib._validation import as_float64, integer


def fitted_slope(widths, errors, n_boot=2000, seed=0):
    r"""Slope of :math:`\log(\mathrm{error})` against :math:`\log(\mathrm{width})`, with a 95 % interval.

    Least squares through the points of all seeds at once. Whole seeds, the columns of ``errors``, are resampled, so
    that runs which share random numbers across widths stay together.

    Parameters
    ----------
    widths : (W,) positive numbers, at least two of them different.
    errors : (W, S) positive errors, one row per width and one column per seed, S >= 2.
    n_boot : number of bootstrap samples.
    seed : seed of the resampling.

    Returns
    -------
    ``(slope, low, high)``, three floats; low and high are the 2.5 % and 97.5 % points of the resampled slopes.

    Raises
    ------
    ValueError : shapes do not match, fewer than two widths or seeds, or a width or error is not positive.

    Examples
    --------
    >>> widths = np.array([64, 256, 1024])
    >>> errors = 3.0 * widths[:, None] ** -0.5 * np.array([[0.9, 1.0, 1.2]])
    >>> slope, low, high = fitted_slope(widths, errors)
    >>> print(f"{slope:.3f} [{low:.3f}, {high:.3f}]")
    -0.500 [-0.500, -0.500]
    """
    widths, errors = map(np.log, error_table(widths, errors))
    centred = widths - widths.mean()
    if not centred.any():
        raise ValueError("widths are all equal: a slope needs at least two different widths")
    # one slope per seed, (S,): least squares is linear, so their mean is the slope through all points
    by_seed = centred @ errors / (centred @ centred)
    slope, low, high = mean_interval(by_seed, n_boot, seed)
    return float(slope), float(low), float(high)


def median_interval(samples, n_boot=2000, seed=0):
    """Median over the last axis, with its 95 % bootstrap interval (percentiles of the resampled medians).

    Parameters
    ----------
    samples : (..., S) finite numbers, S >= 2 repetitions.
    n_boot, seed : number of bootstrap samples, and the seed of the resampling.

    Returns
    -------
    ``(median, low, high)``, three arrays of shape (...).

    Raises
    ------
    ValueError : fewer than two repetitions, or a value is not finite.

    Examples
    --------
    >>> median, low, high = median_interval([1.0, 2.0, 3.0, 4.0, 100.0])
    >>> float(median), bool(low <= median <= high)
    (3.0, True)
    """
    return _statistic_interval(samples, np.median, n_boot, seed)


def mean_interval(samples, n_boot=2000, seed=0):
    """Mean over the last axis, with its 95 % bootstrap interval; otherwise as :func:`median_interval`.

    Examples
    --------
    >>> mean, low, high = mean_interval([1.0, 2.0, 3.0, 4.0, 100.0])
    >>> float(mean), bool(low <= mean <= high)
    (22.0, True)
    """
    return _statistic_interval(samples, np.mean, n_boot, seed)


def t_interval(samples):
    r"""Mean over the last axis, with its 95 % interval of Student's t; otherwise as :func:`mean_interval`.

    :math:`\bar x \pm t_{0.975,\,S-1}\, s / \sqrt S`: wider than the bootstrap's for few repetitions S.

    Examples
    --------
    >>> mean, low, high = t_interval([1.0, 2.0, 3.0])
    >>> print(f"{mean:.3f} [{low:.3f}, {high:.3f}]")
    2.000 [-0.484, 4.484]
    """
    samples = _repeated(samples)
    S = samples.shape[-1]
    mean, half = samples.mean(axis=-1), stats.t.ppf(0.975, S - 1) * samples.std(axis=-1, ddof=1) / np.sqrt(S)
    return mean, mean - half, mean + half


def _statistic_interval(samples, statistic, n_boot, seed):
    samples = _repeated(samples)
    n_boot = integer(n_boot, "n_boot", at_least=1)
    low, high = stats.bootstrap(
        (samples,), statistic, n_resamples=n_boot, axis=-1, method="percentile", rng=np.random.default_rng(seed)
    ).confidence_interval
    return statistic(samples, axis=-1), low, high


def _repeated(samples):
    samples = as_float64(samples, "samples")
    if samples.ndim == 0 or samples.shape[-1] < 2 or samples.size == 0:
        raise ValueError(f"samples has shape {samples.shape}: its last axis needs at least two repetitions")
    return samples


def error_table(widths, errors):
    """``widths`` (W,) and ``errors`` (W, S) as float64 arrays, refused where no logarithm can be taken."""
    widths, errors = as_float64(widths, "widths"), as_float64(errors, "errors")
    if widths.ndim != 1 or errors.ndim != 2 or len(widths) != len(errors):
        raise ValueError(
            f"widths has shape {widths.shape} and errors {errors.shape}: (W,) and (W, S) are needed, "
            "one row of errors per width and one column per seed"
        )
    if len(widths) < 2 or errors.shape[1] < 2:
        raise ValueError(f"errors has shape {errors.shape}: at least two widths and two seeds are needed")
    for name, values in (("widths", widths), ("errors", errors)):
        if (values <= 0).any():
            raise ValueError(f"{name} must be positive (logarithms are taken), got {values.min():g}")
    return widths, errors
