"""The end of training: interpolation, ridge regression, tied points, and what float64 cannot resolve."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from helpers import problem, rows, some_network, weights
from numpy.testing import assert_allclose

from jacntk_lib import MLP, jacobian_ntk
from jacntk_lib.activations import Activation
from jacntk_lib.dynamics import RobustFlow
from jacntk_lib.errors import SingularGramError
from jacntk_lib.solve import Exact

DUPLICATES = "training points 0 and 4 are equal"


# -------------------------------------------------------------------- infinite time, lambda, ridge


def test_limit_interpolates_labels_with_zero_jacobian_for_every_lambda():
    X, y, X_new = problem()
    theta = jacobian_ntk(MLP(2), X)
    goal = np.pad(y[:, None], ((0, 0), (0, 3))).ravel()
    expected = jacobian_ntk(MLP(2), X_new, X) @ np.linalg.solve(theta.dense(), goal)
    for lam in (0.01, 1.0, 30.0, np.array([0.1, 0.2, 1.0, 2.0, 3.0])):
        flow = RobustFlow(MLP(2), X, y, lam)
        at_points = flow.at(math.inf)
        assert_allclose(at_points.value, y, atol=1e-9)
        assert_allclose(at_points.jacobian, 0.0, atol=1e-9)
        assert_allclose(rows(flow.at(math.inf, X_new)), expected, atol=1e-8)
        assert at_points.report.residual < 1e-9
        assert at_points.report.unresolved == 0
        assert_allclose(at_points.report.condition, flow.eigenvalues[0] / flow.eigenvalues[-1])
        assert_allclose(rows(flow.at(1e12, X_new)), expected, atol=1e-6)


def test_without_penalty_it_is_the_ordinary_ntk():
    X, y, X_new = problem()
    mlp = MLP(3, "gelu", sigma_b=0.1)
    flow = RobustFlow(mlp, X, y, 0.0)
    K = jacobian_ntk(mlp, X).values()
    assert_allclose(flow.eigenvalues, np.linalg.eigvalsh(K)[::-1], rtol=1e-12)
    expected = jacobian_ntk(mlp, X_new, X).values() @ np.linalg.solve(K, y)
    assert_allclose(flow.at(math.inf, X_new).value, expected, atol=1e-10)
    w, V = np.linalg.eigh(K)
    decay = -np.expm1(-1e3 * mlp.kappa**2 / 5 * w) / w
    expected = jacobian_ntk(mlp, X_new, X).values() @ (V @ (decay * (V.T @ y)))
    assert_allclose(flow.at(1e3, X_new).value, expected, atol=1e-11)
    # at a finite time the limit lambda -> 0 is this; at infinite time it is not
    near = RobustFlow(mlp, X, y, 1e-9)
    assert_allclose(rows(near.at(1e3, X_new)), rows(flow.at(1e3, X_new)), atol=1e-6)
    assert np.abs(near.at(math.inf, X_new).value - flow.at(math.inf, X_new).value).max() > 0.01


@pytest.mark.parametrize("lam", [0.0, 0.2])
def test_ridge_is_ridge_regression(lam):
    X, y, X_new = problem()
    flow = RobustFlow(MLP(2), X, y, lam, ridge=0.05)
    Lam = weights(lam, 5, 3)
    goal = np.pad(y[:, None], ((0, 0), (0, 3))).ravel()
    # minimise Lam-weighted squares + ridge |f|^2 over f = Theta c, where lambda = 0 leaves rows out
    kept = Lam > 0
    theta = jacobian_ntk(MLP(2), X).dense()[np.ix_(kept, kept)]
    c = np.linalg.solve(theta + 0.05 * np.diag(1 / Lam[kept]), goal[kept])
    expected = jacobian_ntk(MLP(2), X_new, X).dense()[:, kept] @ c
    result = flow.at(math.inf, X_new)
    assert_allclose(rows(result), expected, atol=1e-11)
    assert result.report.residual < 1e-12
    assert "spectrum" not in vars(flow._system)  # a Cholesky factor is enough
    assert_allclose(rows(flow.at(1e12, X_new)), expected, atol=1e-11)
    assert_allclose(flow.ensemble(math.inf, X_new).mean, expected, atol=1e-11)
    assert_allclose(flow.value_std(math.inf, X_new), flow.value_std(1e12, X_new), atol=1e-8)


def test_a_ridge_too_small_for_cholesky_falls_back_on_eigenvectors():
    X, y, X_new = problem(4, 2)
    X = np.concatenate([X, X[:1] + 1e-13])
    flow = RobustFlow(MLP(2, "gelu"), X, np.append(y, y[0]), 0.1, ridge=1e-17)
    result = flow.at(math.inf, X_new)
    assert result.report.unresolved >= 1
    assert_allclose(rows(result), rows(RobustFlow(MLP(2, "gelu"), X[:4], y, 0.1).at(math.inf, X_new)), atol=1e-3)


def test_ridge_penalises_the_distance_of_the_parameters():
    """With Theta = J J^T, minimise the loss plus ridge kappa^2 / 2N |p|^2 over parameters p."""
    X, y, _ = problem(4, 2)
    flow = RobustFlow(MLP(2, "gelu", kappa=0.5), X, y, 0.3, ridge=0.2)
    J = 0.5 * np.linalg.cholesky(jacobian_ntk(flow.mlp, X).dense())
    Lam, goal = weights(0.3, 4, 2), np.pad(y[:, None], ((0, 0), (0, 2))).ravel()
    p = np.linalg.solve(J.T @ (Lam[:, None] * J) + 0.2 * 0.25 * np.eye(12), J.T @ (Lam * goal))
    assert_allclose(rows(flow.at(math.inf)), J @ p, atol=1e-12)


def test_targets_and_outputs_act_one_by_one():
    X, y, X_new = problem(4, 3, K=2)
    targets = np.random.default_rng(3).standard_normal((4, 2, 3))
    both = RobustFlow(MLP(2), X, y, 0.5, targets)
    start = [some_network, lambda Z: 2 * some_network(Z) - 1]

    def joint(Z):
        return np.stack([start[0](Z), start[1](Z)], axis=1)

    for t in (100.0, math.inf):
        result = both.at(t, X_new, joint)
        assert result.value.shape == (3, 2)
        assert result.jacobian.shape == (3, 2, 3)
        for k in range(2):
            one = RobustFlow(MLP(2), X, y[:, k], 0.5, targets[:, k]).at(t, X_new, start[k])
            assert_allclose(result.value[:, k], one.value, atol=1e-10)
            assert_allclose(result.jacobian[:, k], one.jacobian, atol=1e-10)
    limit = both.at(math.inf)
    assert_allclose(limit.value, y, atol=1e-9)
    assert_allclose(limit.jacobian, targets, atol=1e-9)


def test_derivatives_of_a_prediction_are_its_jacobian():
    X, y, X_new = problem()
    flow = RobustFlow(MLP(3, "gelu"), X, y, 0.1)
    h = 1e-5
    for a in range(3):
        up, down = (flow.at(500.0, X_new + s * h * np.eye(3)[a]).value for s in (1, -1))
        assert_allclose((up - down) / (2 * h), flow.at(500.0, X_new).jacobian[:, a], atol=1e-8)


# -------------------------------------------------------------------- ties


def test_consistent_duplicates_give_the_answer_without_them_and_a_warning():
    X, y, X_new = problem(4, 2)
    with pytest.warns(UserWarning, match=DUPLICATES):
        result = RobustFlow(MLP(2), X[[0, 1, 2, 3, 0]], y[[0, 1, 2, 3, 0]], 0.1).at(math.inf, X_new)
    assert_allclose(rows(result), rows(RobustFlow(MLP(2), X, y, 0.1).at(math.inf, X_new)), atol=1e-9)


@pytest.mark.parametrize("depth", [1, 3])
def test_conflicting_duplicates_need_time_or_ridge(depth):
    X, y, X_new = problem(4, 2)
    mlp = MLP(depth, "gelu", sigma_b=0.1)
    twice = X[[0, 1, 2, 3, 0]]
    flow = RobustFlow(mlp, twice, np.append(y, y[0] + 1), 0.1)
    for call in (flow.at, flow.ensemble):
        with pytest.raises(SingularGramError, match="points 0 and 4 are equal"):
            call(math.inf, X_new)
    # late training settles between the two labels
    assert_allclose(flow.at(1e12).value[[0, 4]], y[0] + 0.5, atol=1e-6)
    assert RobustFlow(mlp, twice, np.append(y, y[0] + 1), 0.1, ridge=1e-3).at(math.inf).report.residual < 1e-9


def test_jacobian_targets_conflict_only_where_they_carry_weight():
    X, y, _ = problem(3, 2)
    X, y = X[[0, 1, 2, 0, 0]], y[[0, 1, 2, 0, 0]]
    targets = np.zeros((5, 2))
    targets[4] = 1.0
    with pytest.raises(SingularGramError, match=r"points 3 and 4 .* derivatives by input 0 \[0.\] and \[1.\]"):
        RobustFlow(MLP(2), X, y, np.array([0.0, 1.0, 1.0, 1.0, 1.0]), targets).at(math.inf)
    with pytest.warns(UserWarning, match="points 0 and 3"):
        limit = RobustFlow(MLP(2), X, y, np.array([0.0, 1.0, 1.0, 0.0, 1.0]), targets).at(math.inf)
    assert_allclose(limit.jacobian[[0, 3, 4]], 1.0, atol=1e-9)


def test_antipodes_of_an_odd_network_are_tied():
    X, y, X_new = problem(3, 2)
    both = np.concatenate([X, -X[:1]])
    with pytest.warns(UserWarning, match="points 0 and 3 are antipodes"):
        result = RobustFlow(MLP(2), both, np.append(y, -y[0]), 0.1).at(math.inf, X_new)
    assert_allclose(rows(result), rows(RobustFlow(MLP(2), X, y, 0.1).at(math.inf, X_new)), atol=1e-9)
    with pytest.raises(SingularGramError, match="antipodes"):
        RobustFlow(MLP(2), both, np.append(y, y[0]), 0.1).at(math.inf)
    # a bias unties them, and so does an activation that is not odd
    for mlp in (MLP(2, sigma_b=0.5), MLP(2, "gelu")):
        assert_allclose(RobustFlow(mlp, both, np.append(y, y[0]), 0.1).at(math.inf).value[3], y[0], atol=1e-8)


def test_antipodes_of_an_even_network_are_tied_up_to_the_sign_of_the_derivatives():
    waves = [jnp.cos, lambda z: -jnp.sin(z), lambda z: -jnp.cos(z), jnp.sin, jnp.cos]
    mlp = MLP(2, Activation.from_derivatives("cosine", waves))
    X, y, X_new = problem(3, 2)
    slopes = np.random.default_rng(5).standard_normal((3, 2))
    both, targets = np.concatenate([X, -X[:1]]), np.concatenate([slopes, -slopes[:1]])
    with pytest.warns(UserWarning, match="points 0 and 3 are antipodes of an even network"):
        result = RobustFlow(mlp, both, np.append(y, y[0]), 0.1, targets).at(math.inf, X_new)
    assert_allclose(rows(result), rows(RobustFlow(mlp, X, y, 0.1, slopes).at(math.inf, X_new)), atol=1e-8)
    for label, at_antipode in ((-y[0], -slopes[:1]), (y[0], slopes[:1])):  # of the value, of the derivatives
        contradicting = np.concatenate([slopes, at_antipode])
        with pytest.raises(SingularGramError, match="antipodes"):
            RobustFlow(mlp, both, np.append(y, label), 0.1, contradicting).at(math.inf)
    # at a finite time the merged system follows the whole one
    early = RobustFlow(mlp, both, np.append(y, -y[0]), 0.1, targets)
    assert_allclose(rows(early.at(50.0, X_new)), rows(early.integrate(50.0, X_new)), atol=1e-7)


def test_label_at_the_origin_without_bias():
    X, y, _ = problem(3, 2)
    X = np.concatenate([X, np.zeros((1, 2))])
    with pytest.raises(SingularGramError, match="point 3 = "):
        RobustFlow(MLP(2, "gelu"), X, np.append(y, 1.0), 0.1).at(math.inf)
    zero = RobustFlow(MLP(2, "gelu"), X, np.append(y, 0.0), 0.1).at(math.inf)
    assert zero.value[3] == 0.0
    assert zero.report.residual < 1e-9
    assert RobustFlow(MLP(2, "gelu"), X, np.append(y, 1.0), 0.1, ridge=0.1).at(math.inf).report.residual < 1e-12
    biased = RobustFlow(MLP(2, "gelu", sigma_b=0.5), X, np.append(y, 1.0), 0.1).at(math.inf)
    assert_allclose(biased.value[3], 1.0, atol=1e-9)


def test_nearly_equal_points_with_different_labels_are_reported_not_hidden():
    X, y, _ = problem(4, 2)
    flow = RobustFlow(MLP(2), np.concatenate([X, X[:1] + 1e-13]), np.append(y, y[0] + 1), 0.1)
    with pytest.warns(scipy.linalg.LinAlgWarning, match="left out"):
        report = flow.at(math.inf).report
    assert report.unresolved >= 1
    assert report.condition == math.inf
    assert 0.1 < report.residual < 1


def test_a_relation_that_all_networks_satisfy_is_named():
    """After one layer of GELU f(x) - f(-x) is linear in x, so that not every label can be met."""
    X, y, _ = problem(4, 2)
    both = np.concatenate([X, -X])
    with pytest.warns(scipy.linalg.LinAlgWarning, match=r"singular: antipodal pairs: f\(x\) - f\(-x\) is linear"):
        RobustFlow(MLP(1, "gelu"), both, np.concatenate([y, y**2]), 0.1).at(math.inf)


def test_cutoff_sets_what_is_left_out():
    X, y, X_new = problem(4, 2)
    flow = RobustFlow(MLP(2), X, y, 0.1, solver=Exact(cutoff=0.1))
    kept = flow.eigenvalues > 0.1 * flow.eigenvalues[0]
    with pytest.warns(scipy.linalg.LinAlgWarning, match=f"{(~kept).sum()} of 12 eigenvalues left out as below 1.0e-01"):
        flow.at(math.inf)
    features = flow.eigenfeatures(X_new)
    assert_allclose(features.eigenvalues, flow.eigenvalues[kept])
