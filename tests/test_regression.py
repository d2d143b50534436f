"""The scikit-learn estimator: its contract, and that it says what RobustFlow says."""

import math
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import scipy.linalg
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from jacntk_lib import MLP, jacobian_ntk
from jacntk_lib.dynamics import RobustFlow
from jacntk_lib.errors import SingularGramError
from jacntk_lib.regression import JacobianKernelRegressor


@parametrize_with_checks(
    [
        JacobianKernelRegressor(),
        JacobianKernelRegressor(depth=1, activation="gelu", sigma_b=0.3, lam=0.0, time=100.0, ridge=0.0),
    ]
)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((12, 3)) * [1.0, 2.0, 0.5]
    return X, np.sin(X[:, 0]) + 0.3 * X[:, 1], rng.standard_normal((5, 3))


@pytest.mark.parametrize("time", [50.0, math.inf])
@pytest.mark.parametrize("K", [None, 2])
def test_is_the_flow_of_unit_kappa_on_scaled_inputs(data, time, K):
    X, y, X_new = data
    y = y if K is None else np.stack([y, -2 * y], axis=1)
    reg = JacobianKernelRegressor(2, "gelu", sigma_w=1.2, sigma_b=0.1, lam=0.3, ridge=1e-3, time=time).fit(X, y)
    scale = 1 / math.sqrt((X**2).sum() / 12)
    mlp = MLP(2, "gelu", kappa=1.0, sigma_w=1.2, sigma_b=0.1, input_scale=scale)
    flow = RobustFlow(mlp, X, y, 0.3, ridge=1e-3)
    value, jacobian = flow.at(time, X_new)
    assert_allclose(reg.predict(X_new), value, rtol=1e-10, atol=1e-12)
    assert_array_equal(reg.predict_jacobian(X_new), jacobian)
    mean, std = reg.predict(X_new, return_std=True)
    assert_array_equal(mean, reg.predict(X_new))
    assert std.shape == value.shape
    assert_allclose(std.reshape(5, -1)[:, 0], flow.ensemble(time, X_new).std[::4], atol=1e-8)
    assert (reg.report_ is None) == (time == 50.0)


def test_infinite_time_is_kernel_regression(data):
    X, y, X_new = data
    reg = JacobianKernelRegressor(2, lam=0.3, ridge=1e-3, input_scale=0.7).fit(X, y)
    theta = jacobian_ntk(MLP(2, input_scale=0.7), np.concatenate([X, X_new]), X).dense()
    weight = np.tile([1.0, 0.3, 0.3, 0.3], 12)
    goal = np.pad(y[:, None], ((0, 0), (0, 3))).ravel()
    expected = theta[48:] @ np.linalg.solve(theta[:48] + 1e-3 * np.diag(1 / weight), goal)
    assert_allclose(reg.predict(X_new), expected[::4], atol=1e-10)
    assert_allclose(reg.predict_jacobian(X_new).ravel(), expected.reshape(5, 4)[:, 1:].ravel(), atol=1e-10)
    assert reg.report_.residual < 1e-10


def test_automatic_scale_makes_units_of_the_inputs_irrelevant(data):
    X, y, X_new = data
    metres = JacobianKernelRegressor(lam=0.0).fit(X, y)
    feet = JacobianKernelRegressor(lam=0.0).fit(X / 0.3048, y)
    assert_allclose(feet.predict(X_new / 0.3048), metres.predict(X_new), atol=1e-8)
    assert_allclose(feet.predict_jacobian(X_new / 0.3048) / 0.3048, metres.predict_jacobian(X_new), atol=1e-7)
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    automatic, one = (JacobianKernelRegressor(input_scale=s).fit(unit, y) for s in ("auto", 1.0))
    assert_allclose(automatic.predict(X_new), one.predict(X_new), atol=1e-8)
    assert JacobianKernelRegressor().fit(np.zeros((2, 3)), [0.0, 0.0]).flow_.mlp.input_scale == 1.0


def test_eigenfeatures_sum_to_the_prediction(data):
    X, y, X_new = data
    reg = JacobianKernelRegressor(lam=0.1, time=30.0).fit(X, y)
    features = reg.eigenfeatures(X_new)
    assert_allclose(features.value.sum(axis=1), reg.predict(X_new), atol=1e-10)
    assert_allclose(features.jacobian.sum(axis=1), reg.predict_jacobian(X_new), atol=1e-10)
    assert_allclose(reg.feature_functions()(X_new).value, features.value, atol=1e-12)
    with pytest.raises(NotFittedError):
        JacobianKernelRegressor().feature_functions()


@pytest.mark.parametrize("K", [None, 2])
def test_samples(data, K):
    X, y, X_new = data
    y = y if K is None else np.stack([y, -2 * y], axis=1)
    reg = JacobianKernelRegressor(time=20.0).fit(X, y)
    value, jacobian = reg.sample(X_new, 2000, random_state=0)
    assert value.shape == (2000, 5, *y.shape[1:])
    assert jacobian.shape == (2000, 5, *y.shape[1:], 3)
    mean, std = reg.predict(X_new, return_std=True)
    assert np.abs((value.mean(axis=0) - mean) / std).max() < 5 / math.sqrt(2000)
    assert_allclose(value.std(axis=0), std, rtol=5 / math.sqrt(2 * 2000))
    slope = (jacobian.mean(axis=0) - reg.predict_jacobian(X_new)) / jacobian.std(axis=0)
    assert np.abs(slope).max() < 5 / math.sqrt(2000)
    assert_array_equal(reg.sample(X_new, 3, random_state=0).value, reg.sample(X_new, 3, random_state=0).value)
    assert reg.sample(X_new).value.shape == (1, 5, *y.shape[1:])


def test_works_in_searches_pipelines_and_with_pandas(data):
    X, y, _ = data
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    search = GridSearchCV(
        make_pipeline(StandardScaler(), JacobianKernelRegressor(depth=2)),
        {"jacobiankernelregressor__lam": [0.0, 1.0], "jacobiankernelregressor__time": [10.0, math.inf]},
        cv=3,
    ).fit(frame, pd.Series(y))
    assert search.best_params_["jacobiankernelregressor__lam"] == 0.0  # a smooth target without noise
    assert search.best_score_ > 0.8
    assert_array_equal(
        search.best_estimator_[-1].predict(search.best_estimator_[0].transform(frame)), search.predict(frame)
    )
    reg = JacobianKernelRegressor().fit(frame, y)
    assert reg.feature_names_in_.tolist() == ["a", "b", "c"]
    scores = cross_val_score(JacobianKernelRegressor(depth=2, lam=0.0), X, y, cv=3)
    assert scores.shape == (3,)
    assert scores.mean() > 0.8


def test_score_is_r_squared(data):
    X, y, _ = data
    reg = JacobianKernelRegressor(ridge=0.3).fit(X, y)
    error = ((y - reg.predict(X)) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    assert_allclose(reg.score(X, y), 1 - error, rtol=1e-12)
    assert 0.1 < reg.score(X, y) < 0.999


def test_pickles_and_clones(data):
    X, y, X_new = data
    reg = JacobianKernelRegressor(2, lam=0.3, time=5.0).fit(X, y)
    assert_array_equal(pickle.loads(pickle.dumps(reg)).predict(X_new), reg.predict(X_new))
    with pytest.raises(NotFittedError):
        clone(reg).predict(X_new)


def test_predicts_in_batches(data, monkeypatch):
    X, y, _ = data
    reg = JacobianKernelRegressor().fit(X, y)
    X_new = np.random.default_rng(1).standard_normal((23, 3))
    whole = reg.predict(X_new)
    monkeypatch.setattr("jacntk_lib.dynamics.system._PAIRS_AT_ONCE", 5 * 12)
    assert_allclose(reg.predict(X_new), whole, atol=1e-9)


def test_duplicates(data):
    X, y, _ = data
    X, y = np.concatenate([X, X[:1]]), np.append(y, y[0])
    with pytest.warns(UserWarning, match="points 0 and 12 are equal"):
        JacobianKernelRegressor(ridge=0.0).fit(X, y)
    y[12] += 1.0
    with pytest.raises(SingularGramError, match="points 0 and 12 are equal"):
        JacobianKernelRegressor(ridge=0.0).fit(X, y)
    assert abs(JacobianKernelRegressor().fit(X, y).predict(X[:1])[0] - y[0] - 0.5) < 0.05


def test_ill_conditioned_fit_without_ridge_says_so(data):
    X, y, _ = data
    X = np.concatenate([X, X[:1] + 1e-13])
    with pytest.warns(scipy.linalg.LinAlgWarning, match="left out"):
        reg = JacobianKernelRegressor(ridge=0.0).fit(X, np.append(y, y[0] + 1))
    assert reg.report_.unresolved >= 1


def test_refuses_bad_data(data):
    X, y, X_new = data
    reg = JacobianKernelRegressor().fit(X, y)
    with pytest.raises(ValueError, match="n_samples"):
        reg.sample(X_new, 0)
    for call in (reg.predict, reg.predict_jacobian, reg.eigenfeatures, reg.sample):
        with pytest.raises(ValueError, match="2 features"):
            call(X_new[:, :2])
        with pytest.raises(ValueError, match="NaN"):
            call(X_new * np.nan)
        with pytest.raises(NotFittedError):
            getattr(JacobianKernelRegressor(), call.__name__)(X_new)


def test_importing_the_package_does_not_import_scikit_learn():
    code = "import sys, jacntk_lib; print('sklearn' in sys.modules, 'diffrax' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["False", "False"]
