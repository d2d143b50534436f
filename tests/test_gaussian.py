"""The Gaussian process on values and gradients: its likelihood, posterior, units and samples.

The dense formulas below use only what the estimator publishes: the fitted map and the deviations in the user's units.
"""

import numpy as np
import pytest
from helpers import partly_observed, surface
from helpers import surface_points as points
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import multivariate_normal
from sklearn.exceptions import NotFittedError

from jacntk_lib import MLP, JacobianGaussianProcessRegressor, RobustFlow, jacobian_nngp, jacobian_ntk
from jacntk_lib.activations import Activation, tanh_derivatives
from jacntk_lib.errors import ConvergenceError
from jacntk_lib.gaussian import search
from jacntk_lib.gaussian.covariance import Covariance
from jacntk_lib.gaussian.likelihood import Family, Observations

QUICK = {"metric": "standard", "optimizer": None}


def dense(reg, X, X2):
    """Covariance of values and derivatives by x, in the units of y, (N(1+d), M(1+d)) by explicit transformation."""
    kernel = {"nngp": jacobian_nngp, "ntk": jacobian_ntk}[reg.kernel]
    Z, Z2 = ((x - reg.units_.mean) @ reg.linear_map_ for x in (X, X2))
    chain = np.zeros((3, 3))
    chain[0, 0], chain[1:, 1:] = 1, reg.linear_map_
    left, right = np.kron(np.eye(len(X)), chain), np.kron(np.eye(len(X2)), chain)
    return reg.amplitude_**2 * left @ kernel(reg.mlp_, Z, Z2).dense() @ right.T


def rows(y, J):
    return np.concatenate([y[:, None], J], axis=1).ravel()


def observed(reg, X, y, J):
    """(which rows, their centred targets, their covariance with noise)."""
    t = rows(y - reg.units_.y_mean, J)
    seen = ~np.isnan(t)
    K = dense(reg, X, X) + np.diag(rows(reg.noise_, reg.noise_gradient_) ** 2)
    return seen, t[seen], K[np.ix_(seen, seen)]


FITS = [
    {"metric": "gradient-full", "noise": 2.0, "noise_gradient": np.array([0.3, 20.0])},
    {
        "metric": "likelihood",
        "kernel": "ntk",
        "activation": "erf",
        "scale_bounds": (0.3, 2.0),
        "sigma_b_bounds": "fixed",
    }
    | {"noise": 1.0, "noise_gradient": 0.2},
    {"metric": "standard", "optimizer": None, "amplitude": 90.0, "noise": np.linspace(1, 3, 10), "noise_gradient": 1.0},
    {"metric": "standard", "optimizer": None, "activation": "sin", "scale": 2.0},  # too rough: c > 1
]


@pytest.mark.parametrize("parameters", FITS)
def test_posterior_is_the_dense_formula_in_the_units_of_the_user(parameters):
    X, y, J, X_new = partly_observed()
    if parameters["metric"] == "gradient-full":
        J = surface(X)[1]
    reg = JacobianGaussianProcessRegressor(**parameters).fit(X, y, jacobian=J)
    seen, t, K = observed(reg, X, y, J)
    cross = dense(reg, X_new, X)[:, seen]
    mean = cross @ np.linalg.solve(K, t)
    covariance = dense(reg, X_new, X_new) - cross @ np.linalg.solve(K, cross.T)
    if "noise" not in parameters:  # it was fitted, and belongs to a prediction
        covariance += np.diag(rows(np.tile(reg.noise_[0], 6), np.tile(reg.noise_gradient_[0], (6, 1))) ** 2)
    covariance *= reg.widening_**2
    std, size = np.sqrt(np.diag(covariance)).reshape(6, 3), np.abs(dense(reg, X_new, X_new)).max()
    value, value_std = reg.predict(X_new, return_std=True)
    slope, slope_std = reg.predict_jacobian(X_new, return_std=True)
    assert_allclose(value, reg.units_.y_mean + mean[::3], rtol=1e-7)
    assert_allclose(slope, mean.reshape(6, 3)[:, 1:], rtol=1e-5, atol=1e-5)
    assert_allclose(value_std**2, std[:, 0] ** 2, rtol=1e-4, atol=1e-9 * size)
    assert_allclose(slope_std**2, std[:, 1:] ** 2, rtol=1e-4, atol=1e-9 * size)
    assert_allclose(reg.predict(X_new, return_cov=True)[1], covariance[::3, ::3], rtol=1e-4, atol=1e-9 * size)


@pytest.mark.parametrize("parameters", FITS)
def test_leave_one_out_is_what_remains_after_a_fit_without_the_point(parameters):
    X, y, J, _ = partly_observed()
    if parameters["metric"] == "gradient-full":
        J = surface(X)[1]
    reg = JacobianGaussianProcessRegressor(**parameters).fit(X, y, jacobian=J)
    residual, std = reg.leave_one_out()
    seen, t, K = observed(reg, X, y, J)
    owner = np.repeat(np.arange(10), 3)[seen]
    first = np.searchsorted(owner, np.arange(10))
    for i in np.flatnonzero(~np.isnan(y)):
        rest = owner != i
        weights = np.linalg.solve(K[np.ix_(rest, rest)], K[rest, first[i]])
        assert_allclose(residual[i], t[first[i]] - weights @ t[rest], rtol=1e-4, atol=1e-4)
        assert_allclose(std[i] ** 2, K[first[i], first[i]] - weights @ K[rest, first[i]], rtol=1e-4)
    assert np.isnan(residual[3])
    assert np.isnan(std[3])
    given = reg.amplitude != "auto"
    assert_allclose(reg.widening_, 1 if given else max(1, np.sqrt(np.nanmean((residual / std) ** 2))))
    assert (reg.widening_ > 1.1) == ("scale" in parameters)


@pytest.mark.parametrize("parameters", FITS)
def test_likelihood_is_the_density_of_a_normal_distribution(parameters):
    X, y, J, _ = partly_observed()
    if parameters["metric"] == "gradient-full":
        J = surface(X)[1]
    reg = JacobianGaussianProcessRegressor(**parameters).fit(X, y, jacobian=J)
    seen, t, K = observed(reg, X, y, J)
    unit = np.tile(np.r_[reg.units_.y_std, reg.units_.slope], 10)[seen]
    expected = multivariate_normal.logpdf(t / unit, cov=K / np.outer(unit, unit), allow_singular=False)
    assert_allclose(reg.log_marginal_likelihood_value_, expected, rtol=1e-6)
    assert_allclose(reg.log_marginal_likelihood(), expected, rtol=1e-6)
    assert_allclose(reg.log_marginal_likelihood(reg.theta_), expected, rtol=1e-6)


def test_covariance_behind_a_linear_map_is_that_of_the_differentiated_function():
    rng = np.random.default_rng(0)
    L, X, X2 = rng.standard_normal((3, 3)), rng.standard_normal((2, 3)), rng.standard_normal((2, 3))
    covariance = Covariance(MLP(2, "gelu", sigma_b=0.7), True, L)
    value = lambda a, b: jacobian_ntk(covariance.mlp, a @ L, b @ L).k  # noqa: E731
    blocks = covariance.blocks(covariance.scalars(X, X2))
    assert_allclose(blocks[:, 0, :, 0], value(X, X2), rtol=1e-13)
    for a in range(3):
        h = 1e-4 * np.eye(3)[a]
        assert_allclose(blocks[:, 1 + a, :, 0], (value(X + h, X2) - value(X - h, X2)) / 2e-4, atol=1e-6)
        for b in range(3):
            g = 1e-4 * np.eye(3)[b]
            mixed = value(X + h, X2 + g) - value(X + h, X2 - g) - value(X - h, X2 + g) + value(X - h, X2 - g)
            assert_allclose(blocks[:, 1 + a, :, 1 + b], mixed / 4e-8, atol=1e-5)
    own = np.stack([np.diag(covariance.blocks(covariance.scalars(x[None])).reshape(4, 4)) for x in X])
    assert_allclose(covariance.variances(X), own, rtol=1e-12)
    assert_allclose(covariance.value_rows(X, X2), blocks[:, 0], rtol=1e-12)


@pytest.mark.parametrize(("activation", "tangent"), [("gelu", False), ("erf", True), ("sin", False)])
@pytest.mark.parametrize("seen", ["all", "some", "values"])
def test_gradient_of_the_likelihood_is_that_of_finite_differences(activation, tangent, seen):
    rng = np.random.default_rng(0)
    N, d = (70, 2) if seen == "values" else (5, 3)  # 70 points are more than a tile
    U, T = rng.standard_normal((N, d)), rng.standard_normal((N, 1 + d))
    if seen == "some":
        T[0, 2], T[1, 0], T[2, 1:] = np.nan, np.nan, np.nan
    elif seen == "values":
        T[:, 1:] = np.nan
    D, start = np.zeros((N, 1 + d)), {"scale": np.linspace(0.4, 0.6, d), "sigma_b": 0.7}
    known = {**start, "amplitude": 1.3, "noise": 1e-2, "noise_gradient": 0.0}
    fitted = {**start, "amplitude": None, "noise": 1e-2, "noise_gradient": 2e-2}
    cases = [
        (fitted, ("scale", "sigma_b", "noise", "noise_gradient"), 0.0),
        (known | {"scale": np.array([0.5])}, ("scale", "sigma_b", "amplitude", "noise"), 0.02),
    ]
    if seen != "values":
        cases += [(fitted | {"noise_gradient": np.linspace(1e-2, 3e-2, d)}, ("scale", "noise_gradient"), 0.0)]
    for start, free, noise in cases:
        D[:, 1:] = noise
        family = Family(2, activation, tangent, rng.standard_normal((d, d)), start, free)
        observations, theta = Observations(U, T, D), family.pack(start)

        def value(theta, family=family, observations=observations):
            return search.likelihood(family, observations, theta, False)[0]

        step = 1e-5 * np.eye(len(theta))
        numeric = np.array([(value(theta + h) - value(theta - h)) / 2e-5 for h in step])
        _, exact = search.likelihood(family, observations, theta, True)
        assert_allclose(exact, numeric, rtol=1e-6, atol=1e-6 * np.abs(numeric).max())


def test_is_the_trained_network_at_infinite_time_with_noise_for_ridge_and_lambda():
    X = np.random.default_rng(0).standard_normal((8, 2))
    X = (X - X.mean(axis=0)) / X.std(axis=0)  # columns of equal unit, so that the map is a number
    y, J = np.sin(X[:, 0]) + X[:, 1], np.stack([np.cos(X[:, 0]), np.ones(8)], axis=1)
    reg = JacobianGaussianProcessRegressor("ntk", 3, "erf", sigma_b=0.4, noise=0.02, noise_gradient=0.05, **QUICK)
    reg.fit(X, y, jacobian=J)
    scale = reg.linear_map_[0, 0]
    assert_allclose(reg.linear_map_, scale * np.eye(2), atol=1e-12)
    ridge = (0.02 / reg.amplitude_) ** 2
    lam = (0.02 / 0.05 * scale) ** 2  # of gradients by z, whose noise is 0.05 / scale
    flow = RobustFlow(MLP(3, "erf", sigma_b=0.4), scale * X, y - y.mean(), lam, jacobian_targets=J / scale, ridge=ridge)
    X_new = points(4, seed=2) / 60
    at_the_end = flow.at(np.inf, scale * X_new)
    assert_allclose(reg.predict(X_new), y.mean() + at_the_end.value, rtol=1e-8)
    assert_allclose(reg.predict_jacobian(X_new), scale * at_the_end.jacobian, rtol=1e-7)


def test_intervals_cover_functions_drawn_from_the_prior():
    X, X_new = points(6), points(20, seed=1)
    parameters = {"amplitude": 30.0, "noise": 3.0, "noise_gradient": np.array([0.5, 40.0]), **QUICK}
    reg = JacobianGaussianProcessRegressor(**parameters).fit(X, *surface(X))
    everything = np.concatenate([X, X_new])
    root = np.linalg.cholesky(dense(reg, everything, everything) + 1e-9 * np.eye(78))
    rng, noise = np.random.default_rng(0), rows(reg.noise_, reg.noise_gradient_)
    inside, count = 0, 0
    for _ in range(60):
        truth = root @ rng.standard_normal(78)
        seen = (truth[:18] + noise * rng.standard_normal(18)).reshape(6, 3)
        reg.fit(X, seen[:, 0], jacobian=seen[:, 1:])
        mean, covariance = reg.predict(X_new[:3], return_cov=True)  # whitened errors are independent
        error = np.linalg.solve(np.linalg.cholesky(covariance), truth[18:27:3] - mean)
        inside, count = inside + (np.abs(error) < 1.96).sum(), count + 3
    assert abs(inside / count - 0.95) < 3 * np.sqrt(0.95 * 0.05 / count)


def test_samples_have_the_mean_and_the_covariance_of_the_posterior():
    X, y, J, X_new = partly_observed()
    reg = JacobianGaussianProcessRegressor(noise=5.0, noise_gradient=1.0, **QUICK).fit(X, y, jacobian=J)
    mean, covariance = reg.predict(X_new, return_cov=True)
    drawn = reg.sample_y(X_new, 4000, random_state=3)
    assert drawn.shape == (6, 4000)
    assert_array_equal(drawn, reg.sample_y(X_new, 4000, random_state=3))
    std = np.sqrt(np.diag(covariance))
    assert np.abs((drawn.mean(axis=1) - mean) / std).max() < 5 / np.sqrt(4000)
    assert np.abs((np.cov(drawn) - covariance) / np.outer(std, std)).max() < 8 / np.sqrt(4000)


@pytest.mark.parametrize(("kernel", "covariance"), [("nngp", jacobian_nngp), ("ntk", jacobian_ntk)])
def test_samples_before_fit_have_the_covariance_of_the_prior(kernel, covariance):
    X = np.random.default_rng(0).standard_normal((4, 2))
    reg = JacobianGaussianProcessRegressor(kernel, 1, "erf", scale=1.5, sigma_b=0.3, amplitude=20.0)
    drawn = reg.sample_y(X, 4000)
    expected = 400 * covariance(MLP(1, "erf", sigma_b=0.3), 1.5 / np.sqrt(2) * X).values()
    std = np.sqrt(np.diag(expected))
    assert np.abs(drawn.mean(axis=1) / std).max() < 5 / np.sqrt(4000)
    assert np.abs((np.cov(drawn) - expected) / np.outer(std, std)).max() < 8 / np.sqrt(4000)
    with pytest.raises(NotFittedError, match="a function from the prior needs amplitude="):
        JacobianGaussianProcessRegressor().sample_y(X)


def test_units_of_inputs_and_outputs_do_not_matter():
    X, X_new = points(12), points(5, seed=1)
    y, J = surface(X)
    fits = [
        JacobianGaussianProcessRegressor(metric="gradient-full").fit(
            X * unit + 7, 1e-3 * y - 4, jacobian=1e-3 * J / unit
        )
        for unit in (np.ones(2), np.array([1e3, 0.02]))
    ]
    one, other = (
        reg.predict_jacobian(X_new * unit + 7) * unit for reg, unit in zip(fits, ([1, 1], [1e3, 0.02]), strict=True)
    )
    assert_allclose(one, other, rtol=1e-4)
    assert_allclose(fits[0].predict(X_new + 7), 1e-3 * surface(X_new)[0] - 4, rtol=1e-3)
    assert_allclose(one, 1e-3 * surface(X_new)[1], atol=0.1 * np.abs(1e-3 * J).max())


@pytest.mark.parametrize("unit", [1e-200, 1e200])
def test_units_of_any_size(unit):
    X, X_new = points(12), points(5, seed=1)
    y, J = surface(X)
    plain = JacobianGaussianProcessRegressor(**QUICK).fit(X, y, jacobian=J)
    reg = JacobianGaussianProcessRegressor(**QUICK).fit(unit * X, y, jacobian=J / unit)
    assert_allclose(reg.predict(unit * X_new), plain.predict(X_new), rtol=1e-6)
    reg.fit(X, unit * y, jacobian=unit * J)
    assert_allclose(reg.predict(X_new), unit * plain.predict(X_new), rtol=1e-6)
    constant = JacobianGaussianProcessRegressor(**QUICK).fit(X, np.full(12, 0.1))  # whose mean rounds
    assert_allclose(constant.predict(X_new), 0.1)


def test_quadrature_activations_keep_the_hyperparameters_that_are_given():
    X, y, J, X_new = partly_observed()
    tanh = Activation.from_derivatives("own", tanh_derivatives())
    reg = JacobianGaussianProcessRegressor(depth=1, activation=tanh, sigma_b=0.5, **QUICK).fit(X, y, jacobian=J)
    assert np.abs(reg.predict(X_new) - surface(X_new)[0]).max() < 0.2 * np.nanstd(y)


def test_conflicting_copies_of_a_point_are_averaged_with_noise_and_refused_without():
    X, y, _, _ = partly_observed()
    X, y = np.concatenate([X, X[:1]])[4:], np.append(y, y[0] + 10)[4:]
    X, y = np.concatenate([X, X[-1:]]), np.append(y, y[-1] - 10)
    reg = JacobianGaussianProcessRegressor(noise=0.1, scale=2.0, **QUICK).fit(X, y)
    assert abs(reg.predict(X[-1:])[0] - y[-2:].mean()) < 0.5
    with pytest.raises(ConvergenceError, match=r"relative residual of .* raise noise"):
        JacobianGaussianProcessRegressor(noise=0.0, **QUICK).fit(X, y)


def test_variances_below_zero_are_rounding_or_an_error():
    X, y, J, _ = partly_observed()
    reg = JacobianGaussianProcessRegressor(noise=0.0, noise_gradient=0.0, **QUICK).fit(X, y, jacobian=J)
    std = reg.predict(X, return_std=True)[1]  # 0 at observed values, up to the floor of the noise
    assert np.all(np.delete(std, 3) < 1e-3 * reg.amplitude_)
    assert std[3] > np.delete(std, 3).max()
    reg.posterior_._factor.inverse_lower *= 2  # as a factor of another matrix would be
    with pytest.raises(ConvergenceError, match=r"posterior variance is -.* give or raise noise"):
        reg.predict(X, return_std=True)
