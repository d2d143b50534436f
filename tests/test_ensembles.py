"""Ensembles over initialisations, eigenfeatures, batches, and networks that were really trained."""

import math
import pickle
import subprocess
import sys

import numpy as np
import pytest
import scipy.linalg
from helpers import problem, rows, weights
from helpers import unit_points as points
from numpy.testing import assert_allclose, assert_array_equal

from jacntk_lib import MLP, jacobian_nngp, jacobian_ntk, networks, training
from jacntk_lib.dynamics import RobustFlow
from jacntk_lib.dynamics import features as _features
from jacntk_lib.dynamics import flow as dynamics
from jacntk_lib.dynamics import system as _system

# -------------------------------------------------------------------- ensembles


def naive_ensemble(flow, X_new, run):
    """Push every column of a factor of the prior through the flow as if it were a start, with zero targets."""
    prior = jacobian_nngp(flow.mlp, np.concatenate([flow.X, X_new])).dense() * flow.mlp.kappa**2
    w, V = np.linalg.eigh(prior)
    columns = (V * np.sqrt(np.maximum(w, 0))).T.reshape(len(w), -1, 1 + flow.X.shape[1])
    untrained = RobustFlow(flow.mlp, flow.X, 0 * flow.y, flow.lam, ridge=flow.ridge)
    N = len(flow.X)
    trained = np.array(
        [rows(run(untrained, X_new, lambda Z, c=c: c[:N] if Z is flow.X or len(Z) == N else c[N:])) for c in columns]
    )
    return trained.T @ trained


@pytest.mark.parametrize("d", [2, 6])
@pytest.mark.parametrize("t", [0.0, 300.0, math.inf])
def test_ensemble_is_the_prior_pushed_through_the_flow(d, t):
    X, y, X_new = problem(4, d)
    flow = RobustFlow(MLP(2, "gelu", kappa=0.4), X, y, 0.2)
    mean, covariance = ensemble = flow.ensemble(t, X_new)
    assert_allclose(mean, rows(flow.at(t, X_new)), atol=1e-12)
    expected = naive_ensemble(flow, X_new, lambda f, Z, start: f.at(t, Z, start))
    assert_allclose(covariance, expected, atol=1e-8 * flow.mlp.kappa**2)
    assert_array_equal(covariance, covariance.T)
    assert np.linalg.eigvalsh(covariance)[0] > -1e-15
    assert_allclose(ensemble.std**2, covariance.diagonal(), atol=1e-14)
    assert_allclose(flow.value_std(t, X_new) ** 2, covariance.diagonal()[:: d + 1], atol=1e-9)


def test_ensemble_after_steps():
    X, y, X_new = problem(4, 2)
    flow = RobustFlow(MLP(2), X, y, 0.2)
    eta = 0.9 * flow.max_learning_rate
    ensemble = flow.ensemble_after(20, eta, X_new)
    expected = naive_ensemble(flow, X_new, lambda f, Z, start: f.after(20, eta, Z, start))
    assert_allclose(ensemble.covariance, expected, atol=1e-12)
    assert_allclose(ensemble.mean, rows(flow.after(20, eta, X_new)), atol=1e-12)


def test_ensemble_at_training_points_with_ties():
    X, y, _ = problem(3, 2)
    X = np.concatenate([X, X[:1], -X[1:2]])
    flow = RobustFlow(MLP(2), X, np.append(y, [0.3, 0.4]), 0.2)
    here, there = flow.ensemble(50.0), flow.ensemble(50.0, X)
    assert_allclose(here.mean, there.mean, atol=1e-12)
    assert_allclose(here.covariance, there.covariance, atol=1e-12)
    assert_allclose(here.mean, rows(flow.at(50.0)), atol=1e-12)
    sign = np.diag([-1.0, 1.0, 1.0])
    assert_allclose(here.covariance[12:, 12:], sign @ here.covariance[3:6, 3:6] @ sign, atol=1e-14)


def test_no_spread_at_training_points_in_the_limit():
    X, y, _ = problem(4, 2)
    flow = RobustFlow(MLP(2), X, y, 0.2)
    assert flow.ensemble(math.inf).std.max() < 1e-6 * flow.ensemble(0.0).std.min()
    assert flow.value_std(math.inf).max() < 1e-6


def test_samples_have_the_moments_of_the_ensemble():
    X, y, X_new = problem(3, 2, K=2)
    ensemble = RobustFlow(MLP(2), X, y, 0.2).ensemble(100.0, X_new)
    draws = ensemble.sample(4000, seed=1)
    assert draws.shape == (4000, 9, 2)
    assert_array_equal(draws, ensemble.sample(4000, seed=1))
    standard = (draws - ensemble.mean) / ensemble.std[:, None]
    assert np.abs(standard.mean(axis=0)).max() < 4 / math.sqrt(4000)
    for k in range(2):
        correlation = np.cov(standard[:, :, k].T)
        expected = ensemble.covariance / np.outer(ensemble.std, ensemble.std)
        assert np.abs(correlation - expected).max() < 5 * math.sqrt(2 / 4000)
    between = np.einsum("nm,nm->m", standard[:, :, 0], standard[:, :, 1]) / 4000
    assert np.abs(between).max() < 5 / math.sqrt(4000)


# -------------------------------------------------------------------- eigenfeatures, half-lives


@pytest.mark.parametrize("K", [None, 2])
@pytest.mark.parametrize("t", [200.0, math.inf])
def test_eigenfeatures_sum_to_the_prediction(K, t):
    X, y, X_new = problem(4, 6, K)
    targets = np.random.default_rng(2).standard_normal((*y.shape, 6))
    flow = RobustFlow(MLP(2), X, y, 0.2, targets)
    features = flow.eigenfeatures(X_new, t)
    p = len(features.eigenvalues)
    assert features.value.shape == (3, p, *y.shape[1:])
    assert features.jacobian.shape == (3, p, *y.shape[1:], 6)
    value, jacobian = flow.at(t, X_new)
    assert_allclose(features.value.sum(axis=1), value, atol=1e-10)
    assert_allclose(features.jacobian.sum(axis=1), jacobian, atol=1e-10)


def test_eigenfeature_is_its_formula_and_eigenspaces_are_one():
    mlp = MLP(2, "gelu")
    X = np.eye(3)  # the symmetric group permutes these points: repeated eigenvalues
    y, X_new = np.array([1.0, -2.0, 0.5]), points(4, 3)
    flow = RobustFlow(mlp, X, y, 0.5)
    features = flow.eigenfeatures(X_new)
    assert len(features.eigenvalues) < len(flow.eigenvalues) == 12
    root = np.sqrt(weights(0.5, 3, 3))
    w, V = np.linalg.eigh(root[:, None] * jacobian_ntk(mlp, X).dense() * root)
    goal = np.pad(y[:, None], ((0, 0), (0, 3))).ravel()
    theta = jacobian_ntk(mlp, X_new, X).dense()
    for i, e in enumerate(features.eigenvalues):
        space = np.abs(w - e) < 1e-9 * w[-1]
        expected = theta @ (root * (V[:, space] @ (V[:, space].T @ (root * goal)))) / e
        assert_allclose(features.value[:, i], expected[::4], atol=1e-10)


@pytest.mark.parametrize("K", [None, 2])
def test_feature_functions_at_shared_and_own_points(K, monkeypatch):
    """Feature i at its own points is column i of all features at those points; so in every batch, for every choice."""
    X, y, _ = problem(4, 3, K)
    flow = RobustFlow(MLP(2), np.concatenate([X, -X[:1]]), np.concatenate([y, -y[:1]]), 0.2)  # an antipode, merged
    functions = flow.feature_functions(30.0)
    p = len(functions)
    assert p == len(functions.eigenvalues) > 4
    shared = flow.eigenfeatures(X, 30.0)
    for one, other in zip(functions(X), shared, strict=True):
        assert_array_equal(one, other)
    assert_array_equal(functions(None).value, flow.eigenfeatures(None, 30.0).value)

    Z = points(2 * p, 3, seed=9).reshape(2, p, 3)
    own = functions(Z)
    assert own.value.shape == (2, p, *y.shape[1:])
    assert own.jacobian.shape == (2, p, *y.shape[1:], 3)
    for i in range(p):
        each = functions(np.ascontiguousarray(Z[:, i]))
        assert_allclose(own.value[:, i], each.value[:, i], rtol=0, atol=1e-13)
        assert_allclose(own.jacobian[:, i], each.jacobian[:, i], rtol=0, atol=1e-13)
    monkeypatch.setattr(_features, "_PAIRS_AT_ONCE", 2 * 2 * len(X))  # two features at a time
    assert_allclose(functions(Z).jacobian, own.jacobian, rtol=0, atol=1e-13)
    chosen = np.array([3, 0])
    assert_allclose(functions[chosen](Z[:, chosen]).value, own.value[:, chosen], rtol=0, atol=1e-13)
    assert_array_equal(functions[chosen].eigenvalues, functions.eigenvalues[chosen])
    assert_allclose(functions[-1](X).value[:, 0], shared.value[:, -1], rtol=0, atol=1e-13)
    assert [len(one) for one in functions] == [1] * p


def test_feature_functions_refuse_other_shapes():
    functions = RobustFlow(MLP(2), points(3, 2), np.array([1.0, -1.0, 0.5])).feature_functions()
    p = len(functions)
    with pytest.raises(ValueError, match="X has 3 input dimensions"):
        functions(np.ones((2, 3)))
    with pytest.raises(ValueError, match=rf"X has shape \(2, {p + 1}, 2\), but shape \(2, {p}, 2\)"):
        functions(np.ones((2, p + 1, 2)))
    with pytest.raises(IndexError):
        functions[p]


def test_half_life():
    X, y, _ = problem(3, 2)
    flow = RobustFlow(MLP(2), X, y, 0.1)
    half = flow.half_life()
    assert (np.diff(half) >= 0).all()
    root = np.sqrt(weights(0.1, 3, 2))
    _, V = np.linalg.eigh(root[:, None] * jacobian_ntk(flow.mlp, X).dense() * root)
    goal = np.pad(y[:, None], ((0, 0), (0, 2))).ravel()
    for i in (0, 3, 8):
        v = V[:, ::-1][:, i]
        left = v @ (root * (goal - rows(flow.at(half[i]))))
        assert_allclose(left, v @ (root * goal) / 2, atol=1e-9)
    assert RobustFlow(MLP(2), X, y, 0.1, ridge=5.0).half_life()[0] < half[0]


# -------------------------------------------------------------------- the edges


def test_batches_change_nothing(monkeypatch):
    X, y, _ = problem(4, 2)
    X_new = points(11, 2, 3)
    flow = RobustFlow(MLP(2), X, y, 0.1)
    whole, std = rows(flow.at(100.0, X_new)), flow.value_std(100.0, X_new)
    monkeypatch.setattr(_system, "_PAIRS_AT_ONCE", 12)
    monkeypatch.setattr(dynamics, "_ENTRIES_AT_ONCE", 100)
    assert_allclose(rows(flow.at(100.0, X_new)), whole, atol=1e-13)
    assert_allclose(flow.value_std(100.0, X_new), std, atol=1e-12)


def test_later_times_need_no_new_decomposition(monkeypatch):
    X, y, X_new = problem()
    flow = RobustFlow(MLP(2), X, y, 0.1)
    expected = [rows(RobustFlow(MLP(2), X, y, 0.1).at(t, X_new)) for t in (1.0, 50.0)]
    flow.at(0.5)
    monkeypatch.setattr(scipy.linalg, "eigh", None)
    for t, e in zip((1.0, 50.0), expected, strict=True):
        assert_array_equal(rows(flow.at(t, X_new)), e)
        assert_array_equal(rows(flow.at(t, X_new)), e)  # from what was kept
    assert flow.after(3, 0.1, X_new).value.shape == flow.ensemble(3.0, X_new).std[::4].shape


def test_pickles():
    X, y, X_new = problem()
    flow = RobustFlow(MLP(2), X, y, 0.1)
    flow.at(3.0, X_new)
    copy = pickle.loads(pickle.dumps(flow))
    assert_array_equal(rows(copy.at(7.0, X_new)), rows(flow.at(7.0, X_new)))


def test_unpacking():
    X, y, X_new = problem()
    flow = RobustFlow(MLP(2), X, y, 0.1)
    value, jacobian = flow.at(1.0, X_new)
    assert (value.shape, jacobian.shape) == ((3,), (3, 3))
    value, jacobian = flow.eigenfeatures(X_new)
    assert value.shape[0] == jacobian.shape[0] == 3
    column = RobustFlow(MLP(2), X, y[:, None], 0.1).at(1.0, X_new)
    assert (column.value.shape, column.jacobian.shape) == ((3, 1), (3, 1, 3))


# -------------------------------------------------------------------- real networks


@pytest.fixture
def lazy():
    """Few points, a large output scale: wide networks train without moving far."""
    X, y, X_new = problem(4, 2)
    return RobustFlow(MLP(2, "gelu", kappa=1.0), X, y, 0.1), X_new


def trained(flow, width, seed, steps, learning_rate):
    net = networks.FiniteMLP(flow.mlp, width, flow.X.shape[1], seed)
    training.train(net, flow.X, flow.y, 0.1, learning_rate, steps, record=[steps], allow_unstable=True)
    return net


def test_a_wide_network_follows_from_its_own_start(lazy):
    flow, X_new = lazy
    eta = 0.5 * flow.max_learning_rate
    predicted = flow.after(8, eta, X_new, networks.FiniteMLP(flow.mlp, 1024, 2, seed=3))
    start = rows(flow.at(0.0, X_new, networks.FiniteMLP(flow.mlp, 1024, 2, seed=3)))
    gap = {
        width: np.linalg.norm(
            trained(flow, width, 3, 8, eta).value_and_jacobian(X_new).detach().numpy().ravel()
            - rows(flow.after(8, eta, X_new, networks.FiniteMLP(flow.mlp, width, 2, seed=3)))
        )
        for width in (64, 1024)
    }
    assert gap[1024] < 0.1 * np.linalg.norm(rows(predicted) - start)
    assert gap[1024] < 0.5 * gap[64]


def test_an_ensemble_of_networks_has_the_predicted_mean_and_spread(lazy):
    flow, X_new = lazy
    eta, count = 0.5 * flow.max_learning_rate, 60
    nets = [trained(flow, 256, seed, 8, eta) for seed in range(count)]
    outputs = np.array([net.value_and_jacobian(X_new).detach().numpy().ravel() for net in nets])
    ensemble = flow.ensemble_after(8, eta, X_new)
    assert np.abs((outputs.mean(axis=0) - ensemble.mean) / ensemble.std).max() < 4 / math.sqrt(count)
    ratio = outputs.std(axis=0, ddof=1) / ensemble.std
    assert 0.75 < ratio.min() < ratio.max() < 1.35  # 60 networks: a standard error of 9 %
    assert (flow.ensemble(0.0, X_new).std / ensemble.std).max() > 2  # which training has changed


def test_import_leaves_diffrax_and_scikit_learn_alone():
    code = "import sys, jacntk_lib.dynamics; print(sorted({'diffrax', 'sklearn', 'torch'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
