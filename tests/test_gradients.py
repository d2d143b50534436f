"""The estimator with measured gradients: what it predicts, in whose units, and through which tools of scikit-learn."""

import math
import pickle

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from jacntk_lib import MLP, jacobian_ntk
from jacntk_lib.regression import JacobianKernelRegressor
from jacntk_lib.robustness import attack

UNITS = np.array([1.0, 200.0, 0.03])


def wave(X):
    """A function and its gradient, its columns in very different units."""
    Z = X / UNITS
    y = np.sin(Z[:, 0]) + Z[:, 1] * Z[:, 2]
    return y, np.stack([np.cos(Z[:, 0]), Z[:, 2], Z[:, 1]], axis=1) / UNITS


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X, X_new = rng.standard_normal((20, 3)) * UNITS, rng.standard_normal((200, 3)) * UNITS
    return X, *wave(X), X_new


def regressor(**settings):
    return JacobianKernelRegressor(**{"depth": 2, "activation": "gelu", "sigma_b": 1.0, "lam": 0.5} | settings)


def test_is_the_posterior_mean_with_noise_ridge_on_values_and_ridge_over_lam_on_derivatives():
    rng = np.random.default_rng(1)
    X, X_new = rng.standard_normal((6, 2)), rng.standard_normal((3, 2))
    y, slopes = rng.standard_normal(6), rng.standard_normal((6, 2))
    y[2], slopes[4], slopes[1, 0] = np.nan, np.nan, np.nan
    reg = regressor(ridge=0.02, input_scale=(0.4, 0.9), lam=np.array([[0.5, 0.1]])).fit(X, y, slopes)
    theta = jacobian_ntk(MLP(2, "gelu", sigma_b=1.0, input_scale=(0.4, 0.9)), np.vstack([X, X_new]), X).dense()
    observed = np.concatenate([y[:, None], slopes], axis=1).ravel()
    seen, noise = ~np.isnan(observed), np.tile(0.02 / np.array([1.0, 0.5, 0.1]), 6)
    expected = theta[18:, seen] @ np.linalg.solve(theta[:18][seen][:, seen] + np.diag(noise[seen]), observed[seen])
    expected = expected.reshape(3, 3)
    assert_allclose(reg.predict(X_new), expected[:, 0], atol=1e-9)
    assert_allclose(reg.predict_jacobian(X_new), expected[:, 1:], atol=1e-9)


def test_gradients_are_worth_many_values(data):
    X, y, slopes, X_new = data
    truth, slopes_there = wave(X_new)
    plain = regressor(standardise=True, lam=0.0).fit(X, y)
    informed = regressor(standardise=True).fit(X, y, slopes)
    error, without = (np.abs(reg.predict(X_new) - truth).mean() for reg in (informed, plain))
    assert error < 0.6 * without
    error = np.abs(informed.predict_jacobian(X_new) - slopes_there).mean(axis=0)
    assert (error < 0.5 * np.abs(slopes_there).mean(axis=0)).all()
    # value and slopes at the training points are those that were measured
    assert_allclose(informed.predict(X), y, atol=1e-2)
    assert_allclose(informed.predict_jacobian(X) * UNITS, slopes * UNITS, atol=2e-2)


@pytest.mark.parametrize("time", [50.0, math.inf])
@pytest.mark.parametrize("K", [None, 2])
def test_standardising_inside_is_standardising_by_hand(data, K, time):
    X, y, slopes, X_new = data
    if K:
        y, slopes = np.stack([y, 5 - 3 * y], axis=1), np.stack([slopes, -3 * slopes], axis=1)
    y[3], slopes[5], slopes[6, ..., 1] = np.nan, np.nan, np.nan
    known = np.delete(y, 3, axis=0)
    (m, s), (mean, std) = ((a.mean(axis=0), a.std(axis=0)) for a in (X, known))
    by_hand = regressor(time=time).fit((X - m) / s, (y - mean) / std, slopes * s / std[..., None])
    inside = regressor(time=time, standardise=True).fit(X, y, slopes)
    Z = (X_new - m) / s
    value, spread = inside.predict(X_new, return_std=True)
    assert_allclose(value, mean + std * by_hand.predict(Z), atol=1e-8)
    assert_allclose(spread, std * by_hand.predict(Z, return_std=True)[1], rtol=1e-5)
    jacobian = inside.predict_jacobian(X_new)
    assert_allclose(jacobian * UNITS, by_hand.predict_jacobian(Z) * std[..., None] / s * UNITS, atol=1e-7)
    features = inside.eigenfeatures(X_new[:5])
    assert_allclose(features.value.sum(axis=1), value[:5] - inside.y_offset_, atol=1e-7)
    assert_allclose(features.jacobian.sum(axis=1) * UNITS, jacobian[:5] * UNITS, atol=1e-7)
    one, other = inside.sample(X_new[:4], 3, 0), by_hand.sample(Z[:4], 3, 0)
    assert_allclose(one.value, mean + std * other.value, atol=1e-5)
    assert_allclose(one.jacobian * UNITS, other.jacobian * std[..., None] / s * UNITS, atol=1e-4)
    with pytest.raises(ValueError, match="feature functions take standardised inputs"):
        inside.feature_functions()


def test_units_do_not_matter(data):
    X, y, slopes, X_new = data
    here = regressor(standardise=True).fit(X, y, slopes)
    there = regressor(standardise=True).fit(X * 1e3 + 7, 1e-2 * y - 4, slopes * 1e-5)
    assert_allclose(there.predict(X_new * 1e3 + 7), 1e-2 * here.predict(X_new) - 4, atol=1e-8)
    assert_allclose(
        there.predict_jacobian(X_new * 1e3 + 7) * 1e5 * UNITS, here.predict_jacobian(X_new) * UNITS, atol=1e-6
    )


def test_constant_columns_and_gradients_without_any_value():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.standard_normal(12), np.full(12, 3.0)])
    constant = regressor(standardise=True).fit(X, np.full(12, 2.0))
    assert_array_equal(constant.X_scale_, [X[:, 0].std(), 1.0])
    assert_allclose(constant.predict(X), 2.0, atol=1e-12)
    slopes = np.column_stack([np.cos(X[:, 0]), np.zeros(12)])
    reg = regressor(standardise=True).fit(X, np.full(12, np.nan), slopes)
    assert_allclose(reg.predict_jacobian(X), slopes, atol=1e-3)
    assert_allclose(reg.y_scale_, np.sqrt(np.mean((slopes * [X[:, 0].std(), 1.0]) ** 2)))
    large = regressor(standardise=True).fit(X, np.full(12, np.nan), 1e6 * slopes)
    assert_allclose(large.predict(X), 1e6 * reg.predict(X), rtol=1e-6)


def test_folds_searches_and_pipelines_carry_the_gradients(data):
    X, y, slopes, X_new = data
    with sklearn.config_context(enable_metadata_routing=True):
        routed = regressor(standardise=True).set_fit_request(jacobian=True)
        informed = cross_val_score(routed, X, y, cv=4, params={"jacobian": slopes})
        ignorant = cross_val_score(regressor(standardise=True, lam=0.0), X, y, cv=4)
        assert informed.mean() > ignorant.mean() + 0.1
        search = GridSearchCV(routed, {"lam": [1e-6, 0.5]}, cv=4).fit(X, y, jacobian=slopes)
        assert search.best_params_ == {"lam": 0.5}
        assert_array_equal(search.predict(X_new), routed.fit(X, y, slopes).predict(X_new))
        pipeline = make_pipeline(FunctionTransformer(), routed).fit(X, y, jacobian=slopes)
        assert_array_equal(pipeline.predict(X_new), search.predict(X_new))
    # where routing is off, a pipeline's step is addressed by its name
    pipeline.fit(X, y, jacobiankernelregressor__jacobian=slopes)
    assert_array_equal(pipeline.predict(X_new), search.predict(X_new))


def test_attacks_move_points_in_the_callers_units(data):
    X, y, slopes, _ = data
    reg = regressor(standardise=True).fit(X, y, slopes)
    found = attack(reg, X, np.sign(y), 0.01)
    as_rows = attack(lambda Z: np.column_stack([reg.predict(Z), reg.predict_jacobian(Z)]), X, np.sign(y), 0.01)
    assert_allclose(found.X, as_rows.X, atol=1e-9)
    assert (found.margin < found.clean_margin).all()


def test_a_pickle_holds_the_data_and_no_matrix(data):
    X, y, slopes, X_new = data
    reg = regressor(standardise=True).fit(X, y, slopes)
    before = reg.predict(X_new, return_std=True), reg.predict_jacobian(X_new)
    pickled = pickle.dumps(reg)
    assert len(pickled) < 0.5 * 8 * (20 * 4) ** 2  # of one matrix of all unknowns
    after = pickle.loads(pickled)
    assert_array_equal(after.predict(X_new, return_std=True), before[0])
    assert_array_equal(after.predict_jacobian(X_new), before[1])


def test_refuses_gradients_that_it_cannot_use(data):
    X, y, slopes, _ = data
    with pytest.raises(ValueError, match=r"jacobian has shape \(20, 2\), but shape \(20, 3\) is needed"):
        regressor().fit(X, y, slopes[:, :2])
    nothing, y_known = slopes.copy(), y.copy()
    nothing[7], y_known[7] = np.nan, np.nan
    with pytest.raises(ValueError, match="point 7 has neither a value nor a derivative"):
        regressor().fit(X, y_known, nothing)
    with pytest.raises(ValueError, match="y contains NaN"):
        regressor().fit(X, y_known)
    with pytest.raises(ValueError, match="jacobian contains 1 non-finite"):
        regressor().fit(X, y, np.where(np.arange(3) + np.arange(20)[:, None] == 0, np.inf, slopes))
    with pytest.raises(ValueError, match="no target has any weight"):
        regressor(lam=0.0).fit(X, y * np.nan, slopes)
    with pytest.raises(TypeError, match="standardise must be True or False, got 'yes'"):
        regressor(standardise="yes").fit(X, y)
