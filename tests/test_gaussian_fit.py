"""What a fit of the Gaussian process chooses, what gradients gain, and what scikit-learn asks of an estimator."""

import pickle

import numpy as np
import pytest
import sklearn
from helpers import partly_observed, surface
from helpers import surface_points as points
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from jacntk_lib import MLP, JacobianGaussianProcessRegressor, jacobian_nngp
from jacntk_lib.gaussian import regressor, search
from jacntk_lib.gaussian.metrics import linear_map

QUICK = {"metric": "standard", "optimizer": None}


@parametrize_with_checks([JacobianGaussianProcessRegressor()])
def test_scikit_learn_contract(estimator, check):
    check(estimator)


def test_gradients_beat_the_same_points_without_them_and_scikit_learn():
    X, X_new = points(12), points(200, seed=1)
    y, J = surface(X)
    truth, slopes = surface(X_new)
    rms = lambda error: np.sqrt(np.mean(error**2))  # noqa: E731
    reg = JacobianGaussianProcessRegressor().fit(X, y, jacobian=J)
    without = JacobianGaussianProcessRegressor().fit(X, y)
    other = GaussianProcessRegressor(normalize_y=True).fit((X - X.mean(axis=0)) / X.std(axis=0), y)
    error = rms(reg.predict(X_new) - truth)
    assert error < 0.1 * rms(without.predict(X_new) - truth)
    assert error < 0.1 * rms(other.predict((X_new - X.mean(axis=0)) / X.std(axis=0)) - truth)
    assert error < 0.01 * truth.std()
    assert rms(reg.predict_jacobian(X_new) - slopes) < 0.05 * rms(slopes)


def test_gradients_alone_determine_a_function_up_to_its_mean():
    X = points(15)
    y, J = surface(X)
    reg = JacobianGaussianProcessRegressor().fit(X, np.full(15, np.nan), jacobian=J)
    difference = reg.predict(X) - y
    assert np.ptp(difference) < 0.02 * np.ptp(y)
    assert reg.widening_ == 1  # no value says whether the band is right
    one = JacobianGaussianProcessRegressor().fit(X, np.r_[y[0], np.full(14, np.nan)], jacobian=J)
    assert_allclose(one.predict(X), y, atol=0.02 * np.ptp(y))


def test_noise_is_found_where_there_is_noise():
    X = points(60)
    y, J = surface(X)
    rng = np.random.default_rng(1)
    y, J = y + 4 * rng.standard_normal(60), J + 0.3 * J.std(axis=0) * rng.standard_normal((60, 2))
    reg = JacobianGaussianProcessRegressor(metric="standard").fit(X, y, jacobian=J)
    assert 2.5 < reg.noise_[0] < 6
    assert np.all(np.abs(np.log(reg.noise_gradient_[0] / (0.3 * J.std(axis=0)))) < np.log(3))


def test_metrics_from_gradients():
    rng = np.random.default_rng(0)
    U, H = rng.standard_normal((50, 3)), rng.standard_normal((50, 3)) @ rng.standard_normal((3, 3))
    L = linear_map("gradient-full", U, H)
    mapped = H @ np.linalg.inv(L).T  # gradients by z
    assert_allclose(mapped.T @ mapped, np.eye(3) * (mapped[:, 0] @ mapped[:, 0]), atol=1e-8)
    D = linear_map("gradient", U, H)
    sizes = np.sqrt(np.mean((H / np.diag(D)) ** 2, axis=0))
    assert_allclose(sizes, sizes[0])
    for metric in ("standard", "gradient", "gradient-full"):
        assert_allclose(np.mean(((U @ linear_map(metric, U, H)) ** 2).sum(axis=1)), 1)
    H[:, 1] = 0.0
    assert np.linalg.cond(linear_map("gradient-full", U, H)) < 1e3 * (1 + 1e-8)  # no direction is lost
    H[:, 1] = np.nan
    assert linear_map("gradient", U, H) is None
    assert linear_map("gradient-full", U, H) is None


def test_auto_takes_the_metric_of_smallest_leave_one_out_error(monkeypatch):
    X = points(20)
    y, J = np.sin(X[:, 0] / 8), np.stack([np.cos(X[:, 0] / 8) / 8, np.zeros(20)], axis=1)
    fits = {}
    for metric in ("standard", "gradient", "gradient-full", "likelihood", "likelihood-full"):
        fits[metric] = JacobianGaussianProcessRegressor(metric=metric).fit(X, y, jacobian=J)
        assert fits[metric].metric_ == metric
    errors = {metric: np.mean(np.abs(reg.leave_one_out()[0])) for metric, reg in fits.items()}
    auto = JacobianGaussianProcessRegressor().fit(X, y, jacobian=J)
    assert auto.metric_ == min(errors, key=errors.get) != "standard"
    assert_allclose(auto.predict(X), fits[auto.metric_].predict(X))
    assert JacobianGaussianProcessRegressor().fit(X, y).metric_ in ("standard", "likelihood")
    monkeypatch.setattr(search, "SEARCH_UNKNOWNS", (30, 30))
    monkeypatch.setattr(search, "CHOICE_UNKNOWNS", (45, 45))
    some = JacobianGaussianProcessRegressor().fit(X, y, jacobian=J)
    assert not np.allclose(some.theta_[:3], auto.theta_[:3], rtol=1e-6)
    assert np.abs(some.predict(X) - y).max() < 0.1


def test_a_search_looks_at_a_share_of_what_was_observed_and_at_the_least_before_an_iteration():
    def numbers_in_sample(N, dense):
        T = np.zeros((N, 2))
        T[::2, 1] = np.nan  # three numbers by two points
        given = search.Observations(np.zeros((N, 1)), T, np.zeros((N, 2)))
        own = search.Search(None, {}, None, 0, np.random.RandomState(0), dense=dense)
        return own.sample(given, 1 / 6, 60, 120).seen.sum()

    for N, dense, expected in ((20, True, 30), (400, True, 100), (400, False, 60), (1000, True, 120), (200, True, 60)):
        assert expected - 2 < numbers_in_sample(N, dense) <= expected


def test_likelihood_is_at_its_largest_and_restarts_or_an_optimizer_of_ones_own_can_only_help():
    X, y, J, _ = partly_observed()
    reg = JacobianGaussianProcessRegressor(metric="standard", sigma_b_bounds="fixed", noise=3.0, noise_gradient=1.0)
    reg.fit(X, y, jacobian=J)
    assert reg.theta_.shape == (2,)  # a scale and the amplitude
    value, slope = reg.log_marginal_likelihood(reg.theta_, eval_gradient=True)
    assert np.abs(slope).max() < 1e-2 * abs(value)
    for h in 0.1 * np.eye(2):
        assert max(reg.log_marginal_likelihood(reg.theta_ + h), reg.log_marginal_likelihood(reg.theta_ - h)) < value
    calls = []

    def stays(function, start, bounds):
        calls.append(bounds.shape)
        return start, function(start, eval_gradient=False)

    settings = {"metric": "standard", "optimizer": stays, "noise": 3.0, "noise_gradient": 1.0}
    own = JacobianGaussianProcessRegressor(n_restarts_optimizer=2, **settings)
    assert calls == []
    own.fit(X, y, jacobian=J)
    assert calls == 3 * [(3, 2)]
    single = JacobianGaussianProcessRegressor(**settings).fit(X, y, jacobian=J)
    assert own.log_marginal_likelihood_value_ >= single.log_marginal_likelihood_value_


def test_works_in_searches_and_pipelines_with_gradients_divided_like_the_points():
    X = points(15)
    y, J = surface(X)
    with sklearn.config_context(enable_metadata_routing=True):
        reg = JacobianGaussianProcessRegressor(**QUICK).set_fit_request(jacobian=True)
        found = GridSearchCV(reg, {"scale": [1e-2, 0.5]}, cv=3).fit(X, y, jacobian=J)
        assert found.best_score_ > 0.98
        line = make_pipeline(FunctionTransformer(), reg)
        scores = cross_val_score(line, X, y, cv=3, params={"jacobian": J})
        assert scores.min() > 0.9
    by_values = cross_val_score(JacobianGaussianProcessRegressor(**QUICK), X, y, cv=3)
    assert by_values.mean() < scores.mean()


def test_pickle_keeps_what_it_needs():
    X, y, J, X_new = partly_observed()
    reg = JacobianGaussianProcessRegressor(**QUICK).fit(X, y, jacobian=J)
    reg.predict(X_new, return_std=True)
    stored = pickle.dumps(reg)
    again = pickle.loads(stored)
    for method in (reg.predict, reg.predict_jacobian):
        for one, other in zip(method(X_new, True), getattr(again, method.__name__)(X_new, True), strict=True):
            assert_array_equal(one, other)
    many = points(150)
    reg.fit(many, *surface(many))
    assert len(pickle.dumps(reg)) < 40_000 < 8 * 450**2


def test_unfitted_and_wrong_columns():
    X, y, J, X_new = partly_observed()
    reg = JacobianGaussianProcessRegressor(**QUICK).fit(X, y, jacobian=J)
    for name in ("predict", "predict_jacobian", "sample_y"):
        with pytest.raises(ValueError, match="1 features"):
            getattr(reg, name)(X_new[:, :1])
        with pytest.raises(NotFittedError):
            getattr(JacobianGaussianProcessRegressor(), name)(X_new)
    for name in ("log_marginal_likelihood", "leave_one_out"):
        with pytest.raises(NotFittedError):
            getattr(JacobianGaussianProcessRegressor(), name)()


def test_of_next_to_no_noise_and_some_the_one_that_predicts_left_out_values_better_is_taken(monkeypatch):
    little, some = (search, "SOME_NOISE", search.NOISE_BOUNDS[0]), (regressor, "NOISE_BOUNDS", (search.SOME_NOISE, 1.0))
    monkeypatch.setattr(search, "_refined", lambda *_: {})
    wins = []
    for seed in (1, 2, 5):
        X = points(14, seed)
        y, J = surface(X)
        y, J, fits = np.abs(y - 530), J * np.sign(y - 530)[:, None], []  # a kink, which no smooth kernel follows
        for attempts in ([little], [some], []):
            with monkeypatch.context() as patch:
                for attempt in attempts:
                    patch.setattr(*attempt)
                fits.append(JacobianGaussianProcessRegressor(metric="standard").fit(X, y, jacobian=J))
        errors = [np.abs(reg.leave_one_out()[0]).mean() for reg in fits[:2]]
        wins.append(int(np.argmin(errors)))
        assert_array_equal(fits[2].theta_, fits[wins[-1]].theta_)
    assert set(wins) == {0, 1}


def test_a_column_of_bad_derivatives_gets_a_noise_of_its_own(monkeypatch):
    """And does not spoil what the derivatives by the other column say."""
    X, X_new = points(20), points(200, seed=1)
    y, J = surface(X)
    J[:, 1] += J[:, 1].std() * np.random.default_rng(0).standard_normal(20)
    own = JacobianGaussianProcessRegressor().fit(X, y, jacobian=J)
    monkeypatch.setattr(search, "_refined", lambda *_: {})
    shared = JacobianGaussianProcessRegressor().fit(X, y, jacobian=J)
    first, second = own.noise_gradient_[0] / own.units_.slope
    assert second > 0.5 * J[:, 1].std() / own.units_.slope[1]
    assert first < 0.1 * second
    errors = [np.sqrt(np.mean((reg.predict(X_new) - surface(X_new)[0]) ** 2)) for reg in (own, shared)]
    assert errors[0] < 0.7 * errors[1]


def test_a_layer_of_sines_is_taken_where_it_predicts_left_out_values_better():
    X = np.random.default_rng(0).uniform(-1, 1, (25, 2))
    (s, t), (c, e) = np.sin([3, 2] * X).T, np.cos([3, 2] * X).T
    y, J = s * e, np.stack([3 * c * e, -2 * s * t], axis=1)
    auto, gelu = (JacobianGaussianProcessRegressor(activation=one).fit(X, y, jacobian=J) for one in ("auto", "gelu"))
    assert (auto.mlp_.activation, gelu.mlp_.activation) == ("sin", "gelu")
    assert np.abs(auto.leave_one_out()[0]).mean() < np.abs(gelu.leave_one_out()[0]).mean()
    r = np.linalg.norm(X[:, None] - X, axis=2)
    kernel = jacobian_nngp(MLP(1, "sin", sigma_b=5.0), X).values() - 5.0**2  # the bias of the output
    np.testing.assert_allclose(kernel / kernel[0, 0], np.exp(-(r**2) / 2), atol=1e-9)


def test_fitted_noise_is_raised_where_float64_cannot_solve_for_so_little(monkeypatch):
    """An optimizer that asks for the least of everything: a kernel that hardly varies, and noise of 1e-12."""

    def least(minus, theta, bounds):
        return bounds[:, 0], minus(bounds[:, 0], False)

    monkeypatch.setattr(search, "SOME_NOISE", search.NOISE_BOUNDS[0])  # one attempt alone
    X = np.linspace(0, 1, 150)[:, None]
    model = JacobianGaussianProcessRegressor(metric="standard", scale_bounds=(0.5, 1.0), optimizer=least)
    model.fit(X, np.sin(9 * X[:, 0]), 9 * np.cos(9 * X))
    assert 1e-12 < model.hyperparameters_["noise"] == model.hyperparameters_["noise_gradient"] <= 1e-6
    assert model.posterior_.residual < 1e-5
