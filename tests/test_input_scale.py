"""One input scale per column: what a network with it does is what one without does at the scaled points."""

import numpy as np
import pytest
import torch
from helpers import mlp, unit_points
from numpy.testing import assert_allclose

from jacntk_lib import MLP, finite, jacobian_ntk
from jacntk_lib.dynamics import RobustFlow
from jacntk_lib.networks import FiniteMLP
from jacntk_lib.spectrum import degeneracies, smallest_eigenvalue
from jacntk_lib.training import RobustObjective, max_learning_rate, objective

SCALE = (0.5, 2.0, 1.3)
FACTORS = np.array([1.0, *SCALE])
X = unit_points(5, 3)


def pair(**settings):
    """The same weights twice: with the scales, and without any."""
    networks = [FiniteMLP(mlp(2, input_scale=scale, **settings), [7, 6], input_dim=3, seed=4) for scale in (SCALE, 1.0)]
    assert all(torch.equal(a, b) for a, b in zip(*(net.parameters() for net in networks), strict=True))
    return networks


def test_values_chain_rule_and_kernels_of_finite_networks():
    net, plain = pair()
    Z = X * SCALE
    assert_allclose(net(X).detach(), plain(Z).detach(), rtol=1e-13)
    expected = plain.value_and_jacobian(Z).detach().numpy() * FACTORS
    assert_allclose(net.value_and_jacobian(X).detach(), expected, rtol=1e-12, atol=1e-14)
    factors = np.tile(FACTORS, 5)
    for kernel in (finite.jacobian_ntk, finite.jacobian_nngp):
        expected = factors[:, None] * kernel(plain, Z).numpy() * factors
        assert_allclose(kernel(net, X), expected, rtol=1e-11, atol=1e-13 * np.abs(expected).max())


def test_float32_stays_float32():
    net = FiniteMLP(mlp(2, input_scale=SCALE), 6, input_dim=3, dtype=torch.float32)
    assert net.value_and_jacobian(X).dtype == finite.jacobian_ntk(net, X).dtype == torch.float32


def test_training_descends_the_gradient_of_the_same_loss(monkeypatch):
    net, _ = pair()
    y = np.linspace(-1, 1, 5)
    robust = RobustObjective(net, X, y, 0.3)
    loss, _ = robust.evaluate()
    out = net.value_and_jacobian(X)
    expected = ((out[:, 0] - torch.from_numpy(y)) ** 2 / 2 + 0.15 * (out[:, 1:] ** 2).sum(1)).mean()
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-12)
    for gradient, parameter in zip(robust.gradients, (*net.weights, *net.biases), strict=True):
        assert_allclose(gradient, parameter.grad, atol=1e-12 * parameter.grad.abs().max())
    dense = max_learning_rate(net, X, 0.3)
    monkeypatch.setattr(objective, "DENSE_ROWS", 0)  # by products with the parameter Jacobian
    assert max_learning_rate(net, X, 0.3) == pytest.approx(dense, rel=1e-5)


@pytest.mark.parametrize("t", [30.0, np.inf])
def test_flows_are_those_of_scaled_points_with_scaled_targets_and_weights(t):
    """lambda |df/dx - T|^2 in every column is lambda s^2 |df/dz - T/s|^2."""
    rng = np.random.default_rng(1)
    y, targets, X_new = rng.standard_normal(5), rng.standard_normal((5, 3)), rng.standard_normal((4, 3))
    lam = rng.random((5, 3))
    flow = RobustFlow(MLP(2, "gelu", input_scale=SCALE), X, y, lam, targets, ridge=1e-3)
    plain = RobustFlow(MLP(2, "gelu"), X * SCALE, y, lam * np.square(SCALE), targets / SCALE, ridge=1e-3)
    got, expected = flow.at(t, X_new), plain.at(t, X_new * SCALE)
    assert_allclose(got.value, expected.value, atol=1e-10)
    assert_allclose(got.jacobian, expected.jacobian * SCALE, atol=1e-10)
    assert_allclose(flow.eigenvalues, plain.eigenvalues, rtol=1e-9, atol=1e-12)
    factors = np.tile(FACTORS, 4)
    covariance = plain.ensemble(t, X_new * SCALE).covariance
    assert_allclose(flow.ensemble(t, X_new).covariance, factors[:, None] * covariance * factors, atol=1e-12)
    assert_allclose(flow.value_std(t, X_new), plain.value_std(t, X_new * SCALE), atol=1e-9)
    features = flow.feature_functions(t)
    apart = np.repeat(X_new[:, None], len(features), axis=1)  # every feature at points of its own
    assert_allclose(features(apart).jacobian, features(X_new).jacobian, atol=1e-10)
    assert_allclose(features(X_new).jacobian.sum(axis=1), got.jacobian, atol=1e-9)


def test_certificates_and_relations_are_about_the_points_as_given():
    octahedron = np.concatenate([np.eye(3), -np.eye(3)])
    gelu = MLP(1, "gelu", input_scale=SCALE)
    G = jacobian_ntk(gelu, octahedron)
    found = smallest_eigenvalue(G)
    assert found.verdict == "certified singular"
    assert np.linalg.norm(G @ found.vector) < 1e-13
    for relation in degeneracies(gelu, octahedron):
        assert np.abs(G @ relation.null_vectors).max() < 1e-13
    G = jacobian_ntk(MLP(2, "gelu", input_scale=SCALE), octahedron)
    found, smallest = smallest_eigenvalue(G), np.linalg.eigvalsh(G.dense())[0]
    assert found.lower <= smallest * (1 + 1e-9)
    assert smallest * (1 - 1e-9) <= found.upper < 2 * found.lower


def test_equal_scales_are_one_scale():
    one, many = (jacobian_ntk(MLP(3, input_scale=scale), X) for scale in (0.7, (0.7, 0.7, 0.7)))
    assert_allclose(many.dense(), one.dense(), rtol=1e-12, atol=1e-14)
