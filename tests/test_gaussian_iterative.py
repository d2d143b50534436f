"""The posterior mean by products with the kernel: the dense one, whatever was observed and with whatever noise."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from jacntk_lib import JacobianGaussianProcessRegressor
from jacntk_lib.errors import ConvergenceError
from jacntk_lib.gaussian import iterative, regressor
from jacntk_lib.gaussian.iterative import IterativePosterior
from jacntk_lib.solve import Iterative

X, X_NEW = np.split(np.random.default_rng(0).uniform([-2, 0, -0.1], [2, 9, 0.1], (36, 3)), [30])
Y = np.sin(X[:, 0]) * X[:, 1] + 5 * X[:, 2]
J = np.stack([np.cos(X[:, 0]) * X[:, 1], np.sin(X[:, 0]), np.full(30, 5.0)], axis=1)
WITHOUT_SOME_GRADIENTS, WITHOUT_SOME_ENTRIES, VALUES = J.copy(), J.copy(), Y.copy()
WITHOUT_SOME_GRADIENTS[3:9] = np.nan
WITHOUT_SOME_ENTRIES[2, 1], WITHOUT_SOME_ENTRIES[5, :2], WITHOUT_SOME_ENTRIES[7] = np.nan, np.nan, np.nan
VALUES[[0, 11]] = np.nan

FITS = {
    "full metric": (
        {"metric": "gradient-full", "noise": 0.02, "optimizer": None},
        VALUES,
        WITHOUT_SOME_GRADIENTS,
    ),
    "a full metric that exchanges columns": (
        {"metric": "gradient-full", "noise": 0.02, "optimizer": None},
        np.sin(X[:, 0]),
        np.cos(X[:, :1]) * [1.0, 0.0, 0.0],
    ),
    "noise per point": ({"metric": "gradient-full", "noise": np.linspace(0.01, 0.5, 30), "optimizer": None}, Y, J),
    "noise per entry": (
        {
            "kernel": "ntk",
            "metric": "gradient",
            "noise": 0.02,
            "noise_gradient": np.linspace(0.01, 0.2, 90).reshape(30, 3),
        },
        VALUES,
        WITHOUT_SOME_ENTRIES,
    ),
    "noise per column": (
        {"metric": "likelihood", "noise": 0.1, "noise_gradient": np.array([0.1, 0.01, 0.5])},
        Y,
        WITHOUT_SOME_ENTRIES,
    ),
    "values alone": ({"metric": "standard", "noise": 0.01}, Y, None),
    "gradients alone": ({"metric": "gradient-full", "optimizer": None}, np.full(30, np.nan), J),
    "a given amplitude": ({"metric": "standard", "amplitude": 20.0, "optimizer": None}, Y, J),
}


@pytest.mark.parametrize("name", FITS)
def test_is_the_dense_posterior(name):
    parameters, y, jacobian = FITS[name]
    reg = JacobianGaussianProcessRegressor(solver="exact", **parameters).fit(X, y, jacobian=jacobian)
    exact, U = reg.posterior_, reg.units_.inputs(X_NEW)
    iterative = IterativePosterior(*exact._given, Iterative(1e-10))
    assert exact.report is None
    assert iterative.report.residual < 1e-10
    assert_allclose(iterative.mean(U), exact.mean(U), atol=1e-6)
    assert_allclose(iterative.slopes(U), exact.slopes(U), atol=1e-6 * np.abs(exact.slopes(U)).max())
    assert_allclose(iterative.amplitude, exact.amplitude, rtol=1e-6)


def test_beyond_the_limit_means_come_without_an_option_and_deviations_are_refused(monkeypatch):
    monkeypatch.setattr(regressor, "NOISE_BOUNDS", (regressor.ITERATIVE_NOISE, 1.0))
    dense = JacobianGaussianProcessRegressor().fit(X, Y, jacobian=J)
    monkeypatch.setattr(iterative, "MAX_UNKNOWNS", 119)
    reg = JacobianGaussianProcessRegressor().fit(X, Y, jacobian=J)
    assert reg.report_.products > 0
    assert reg.metric_ == dense.metric_
    assert_allclose(reg.predict(X_NEW), dense.predict(X_NEW), atol=0.02 * Y.std())
    assert_allclose(reg.predict_jacobian(X_NEW), dense.predict_jacobian(X_NEW), atol=0.02 * np.abs(J).max())
    assert np.min(reg.hyperparameters_["noise_gradient"]) >= 1e-4 * (1 - 1e-9)
    assert np.isnan(reg.log_marginal_likelihood_value_)
    for refused in (
        lambda: reg.predict(X_NEW, return_std=True),
        lambda: reg.predict(X_NEW, return_cov=True),
        lambda: reg.predict_jacobian(X_NEW, return_std=True),
        lambda: reg.sample_y(X_NEW),
        reg.leave_one_out,
        reg.log_marginal_likelihood,
    ):
        with pytest.raises(NotImplementedError, match=r"120 observed numbers need a dense matrix .* fit fewer"):
            refused()
    with pytest.raises(ValueError, match=r"120 observed numbers .*at most 119 .* take solver='auto'"):
        JacobianGaussianProcessRegressor(solver="exact").fit(X, Y, jacobian=J)


def test_a_tolerance_of_ones_own_is_the_residual_that_is_asked_for():
    rough, fine = (
        JacobianGaussianProcessRegressor(metric="gradient", optimizer=None, solver=Iterative(tolerance)).fit(X, Y, J)
        for tolerance in (1e-3, 1e-9)
    )
    assert 1e-9 < rough.report_.residual <= 1e-3
    assert rough.report_.products < fine.report_.products
    assert_allclose(rough.predict(X_NEW), fine.predict(X_NEW), atol=0.02 * Y.std())


def test_full_metrics_are_left_out_where_turned_derivatives_have_dependent_noise():
    for parameters, jacobian in (({}, WITHOUT_SOME_ENTRIES), ({"noise_gradient": 0.1}, J)):
        reg = JacobianGaussianProcessRegressor(solver="iterative", **parameters)
        assert not reg.fit(X, Y, jacobian=jacobian).metric_.endswith("full")
        with pytest.raises(ValueError, match=r"'gradient-full' with the iterative solver needs whole gradients"):
            reg.set_params(metric="gradient-full").fit(X, Y, jacobian=jacobian)


def test_a_solve_that_does_not_converge_says_what_the_ridge_is():
    reg = JacobianGaussianProcessRegressor(
        metric="gradient", optimizer=None, solver=Iterative(max_iterations=2, preconditioned=False)
    )
    with pytest.raises(ConvergenceError, match=r"least variance of noise .* give or raise noise and noise_gradient"):
        reg.fit(X, Y, jacobian=J)
