"""Predictions from the nearest points alone: exact where all points are near, and where only the span matters."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from jacntk_lib import MLP, JacobianGaussianProcessRegressor
from jacntk_lib.errors import ConvergenceError
from jacntk_lib.gaussian.covariance import Covariance
from jacntk_lib.gaussian.likelihood import Observations
from jacntk_lib.gaussian.local import LocalPosterior
from jacntk_lib.gaussian.posterior import Posterior

TURN = np.linalg.qr(np.random.default_rng(9).standard_normal((9, 9)))[0]  # L L^T a multiple of the unit matrix
STRETCH = np.diag(np.linspace(0.2, 0.6, 9))


def data(N, d, seed=0):
    """Inputs, and values with gradients of a wave, (N, d) and (N, 1+d)."""
    U, w = np.random.default_rng(seed).standard_normal((N, d)), np.linspace(-1, 1, d) / np.sqrt(d)
    return U, np.concatenate([np.sin(U @ w + 0.3)[:, None], np.cos(U @ w + 0.3)[:, None] * w], axis=1)


def problem(U, T, L, noise=1e-3, noise_gradient=1e-4, tangent=False, D=0.0):
    """Observations, covariance and hyperparameters, as of a fitted estimator."""
    values = {"amplitude": 1.3, "noise": noise, "noise_gradient": noise_gradient}
    return Observations(U, T, np.zeros_like(T) + D), Covariance(MLP(2, "gelu", sigma_b=1.0), tangent, L), values


def local(given, neighbours):
    return LocalPosterior(*given, neighbours, np.random.RandomState(0))


def assert_same(posterior, expected, U, atol=1e-9):
    assert_allclose(posterior.mean(U), expected.mean(U), atol=atol)
    assert_allclose(posterior.slopes(U), expected.slopes(U), atol=atol)
    assert_allclose(posterior.value_std(U) ** 2, expected.value_std(U) ** 2, atol=atol)
    assert_allclose(posterior.slope_std(U) ** 2, expected.slope_std(U) ** 2, atol=atol)


CASES = {
    "more points than columns": (6, 3, {"L": np.diag([0.5, 0.2, 0.8]), "tangent": True}),
    "a span, equal noise": (5, 9, {"L": 0.4 * TURN}),
    "a span, given noise": (5, 9, {"L": 0.4 * TURN, "D": np.linspace(0, 1e-2, 5)[:, None]}),
    "a span, no noise": (5, 9, {"L": STRETCH, "noise": 0.0, "noise_gradient": 0.0}),
    "unequal noise in z": (5, 9, {"L": STRETCH, "noise_gradient": 0.1}),
    "unequal noise in u": (5, 9, {"L": 0.4 * TURN, "D": np.linspace(0, 1e-1, 10)}),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("missing", ["nothing", "gradients", "derivatives"])
def test_all_points_as_neighbours_give_the_posterior_of_all(name, missing):
    N, d, settings = CASES[name]
    U, T = data(N, d)
    if missing == "gradients":
        T[1, 1:] = T[2, 0] = np.nan
    elif missing == "derivatives":
        T[1, 2] = T[3, 1] = np.nan
    given = problem(U, T, **settings)
    new = np.concatenate([data(3, d, seed=1)[0], U[:1]])  # the last is a point that was observed
    assert_same(local(given, 50), Posterior(*given), new)


@pytest.mark.parametrize(("N", "d", "m", "L"), [(20, 3, 7, np.diag([0.5, 0.1, 1.0])), (12, 9, 4, 0.4 * TURN)])
def test_few_neighbours_give_the_posterior_of_the_nearest_points_in_the_metric(N, d, m, L):
    observations, covariance, values = given = problem(*data(N, d), L)
    posterior = local(given, m)
    for u in data(5, d, seed=1)[0][:, None]:
        nearest = np.argsort(np.linalg.norm((observations.U - u) @ L, axis=1))[:m]
        assert_same(posterior, Posterior(Observations(*(x[nearest] for x in observations)), covariance, values), u)


def test_values_alone():
    U, T = data(8, 3)
    T[:, 1:] = np.nan
    given = problem(U, T, 0.4 * np.eye(3))
    assert_same(local(given, 8), Posterior(*given), data(4, 3, seed=1)[0])


@pytest.mark.parametrize("d", [3, 9])
def test_neighbours_on_a_line_and_copies_of_a_point(d):
    U, T = data(5, d)
    U = np.linspace(-1, 1, 5)[:, None] * U[:1]
    U[3] = U[4]
    given = problem(U, T, 0.4 * np.eye(d), noise=1e-2, noise_gradient=1e-2)
    assert_same(local(given, 5), Posterior(*given), np.concatenate([data(2, d, seed=1)[0], U[3:], 2 * U[:1]]))


def test_leave_one_out_leaves_out_the_point_and_no_copy_of_it():
    U, T = data(6, 3)
    U[4] = U[5]
    T[1, 0] = np.nan
    given = problem(U, T, 0.4 * np.eye(3))
    assert_allclose(local(given, 5).leave_one_out(), Posterior(*given).leave_one_out(), atol=1e-9)
    U[:] = U[0]  # five copies at distance zero, of which three are neighbours, whether the point is found or not
    residual, std = local(problem(U, T, 0.4 * np.eye(3)), 3).leave_one_out()
    assert_array_equal(np.isnan(residual), np.isnan(T[:, 0]))
    assert_array_equal(np.isnan(std), np.isnan(T[:, 0]))


def test_refuses_neighbours_that_contradict_each_other():
    U, T = data(6, 3)
    U[1] = U[0]
    posterior = local(problem(U, T, 0.4 * np.eye(3), noise=0.0, noise_gradient=0.0), 6)
    with pytest.raises(ConvergenceError, match=r"neighbours of point 0 .*raise noise"):
        posterior.mean(U)


@pytest.fixture
def table():
    X, T = data(30, 3)
    return 40 * X + 7, 5 * T[:, 0], T[:, 1:] * 5 / 40, 40 * data(4, 3, seed=1)[0] + 7


def test_estimator_with_all_points_as_neighbours_is_the_estimator(table):
    X, y, J, new = table
    settings = {"metric": "gradient", "optimizer": None, "noise": 0.05, "noise_gradient": 0.002}
    full, near = (JacobianGaussianProcessRegressor(neighbours=m, **settings).fit(X, y, jacobian=J) for m in (None, 30))
    for method in ("predict", "predict_jacobian"):
        for one, other in zip(*(getattr(reg, method)(new, return_std=True) for reg in (near, full)), strict=True):
            assert_allclose(one, other, rtol=1e-8, atol=1e-8 * np.abs(other).max())
    assert near.log_marginal_likelihood() == full.log_marginal_likelihood()
    assert_array_equal(pickle.loads(pickle.dumps(near)).predict(new), near.predict(new))


def test_estimator_takes_more_points_than_a_dense_matrix_allows():
    X, T = data(400, 40)
    reg = JacobianGaussianProcessRegressor(metric="standard", optimizer=None, neighbours=8)
    reg.fit(X, T[:, 0], jacobian=T[:, 1:])
    new, expected = data(20, 40, seed=1)
    assert np.abs(reg.predict(new) - expected[:, 0]).max() < 0.5 * np.abs(expected[:, 0]).max()


def test_only_the_span_of_many_columns_counts_and_all_of_them_where_noise_depends_on_the_direction():
    X, T = data(30, 400)
    spread = X * np.linspace(1, 2, 400)
    settings = {"optimizer": None, "neighbours": 20, "noise": 0.0}
    process = JacobianGaussianProcessRegressor(metric="standard", noise_gradient="auto", **settings)
    assert process.fit(spread, T[:, 0], jacobian=T[:, 1:]).predict(X[:1]).shape == (1,)
    process = JacobianGaussianProcessRegressor(metric="gradient", noise_gradient=1e-3, **settings)
    with pytest.raises(ValueError, match=r"20 neighbours have 8020 observed numbers .at most 5000"):
        process.fit(spread, T[:, 0], jacobian=T[:, 1:])
