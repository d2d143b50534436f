"""Robust training: the gradient against autograd, the step limit, and what a history records."""

import copy

import numpy as np
import pytest
import torch
from helpers import mlp

from jacntk_lib import finite, jacobian_ntk
from jacntk_lib.networks import FiniteMLP
from jacntk_lib.training import RobustObjective, max_learning_rate, objective, train

N, D = 5, 3
X = np.random.default_rng(0).standard_normal((N, D))
Y = np.array([1.0, -1.0, 1.0, 1.0, -1.0])


def network(width=16, seed=1, dtype=torch.float64, **settings):
    return FiniteMLP(mlp(**{"depth": 2} | settings), width, D, seed, dtype=dtype)


def loss_by_autograd(net, lam):
    out = net.value_and_jacobian(X)
    residual = out[:, 0] - torch.from_numpy(Y)
    return (residual**2 / 2 + lam / 2 * (out[:, 1:] ** 2).sum(1)).mean()


# ------------------------------------------------------------------------------------------------- the gradient


@pytest.mark.parametrize("activation", ["erf", "gelu"])
@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("sigma_b", [0.0, 0.4])
@pytest.mark.parametrize("memory", [1, 10**9])
def test_gradient_equals_autograd(activation, depth, sigma_b, memory):
    net = FiniteMLP(mlp(depth, activation, sigma_b=sigma_b), [7, 9, 8, 6][:depth], D, seed=1)
    objective = RobustObjective(net, X, Y, 0.3, memory=memory)
    loss, outputs = objective.evaluate()
    expected = loss_by_autograd(net, 0.3)
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-13)
    assert torch.allclose(outputs, net.value_and_jacobian(X), rtol=1e-13)
    for gradient, parameter in zip(objective.gradients, (*net.weights, *net.biases), strict=True):
        assert (gradient - parameter.grad).abs().max() <= 1e-12 * parameter.grad.abs().max()


@pytest.mark.parametrize("lam", [0.0, 0.3])
def test_descent_is_gradient_descent(lam):
    """Four steps written out, with autograd's gradient."""
    net, other = network(), network()
    history = train(net, X, Y, lam, 0.2, steps=4, record=range(5))
    for step in range(4):
        loss = loss_by_autograd(other, lam)
        assert history.loss[step] == pytest.approx(loss.item(), rel=1e-12)
        gradients = torch.autograd.grad(loss, list(other.parameters()))
        with torch.no_grad():
            for p, g in zip(other.parameters(), gradients, strict=True):
                p -= 0.2 * g
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.allclose(p, q, rtol=1e-11, atol=1e-13)


# --------------------------------------------------------------------------------------------------- the history


def test_history_is_what_the_network_says():
    net = network()
    X_test = np.random.default_rng(1).standard_normal((4, D))
    reference = jacobian_ntk(net.mlp, X)
    before = copy.deepcopy(net)
    history = train(net, X, Y, 0.3, 0.2, steps=6, record=[6, 0, 2], reference=reference, X_test=X_test)
    assert history.steps.tolist() == [0, 2, 6]
    assert history.jacobians.shape == (3, N, D)
    for index, state in ((0, before), (2, net)):
        with torch.no_grad():
            out, test = state.value_and_jacobian(X).numpy(), state.value_and_jacobian(X_test).numpy()
        np.testing.assert_allclose(history.values[index], out[:, 0], rtol=1e-13)
        np.testing.assert_allclose(history.jacobians[index], out[:, 1:], rtol=1e-13)
        np.testing.assert_allclose(history.test_values[index], test[:, 0], rtol=1e-13)
        np.testing.assert_allclose(history.test_jacobians[index], test[:, 1:], rtol=1e-13)
        assert history.loss[index] == pytest.approx(loss_by_autograd(state, 0.3).item(), rel=1e-13)
        gap = finite.jacobian_ntk(state, X).numpy() - reference.dense()
        distance = np.linalg.norm(gap) / np.linalg.norm(reference.dense())
        assert history.distances[index] == pytest.approx(distance, rel=1e-12)
    dense = train(network(), X, Y, 0.3, 0.2, 6, [6, 0, 2], reference=reference.dense(), X_test=X_test)
    assert np.array_equal(history.distances, dense.distances)


def test_default_record_and_empty_record():
    assert train(network(), X, Y, 0.3, 0.2, steps=11).steps.tolist() == [0, 1, 2, 4, 8, 11]
    assert train(network(), X, Y, 0.3, 0.2, steps=0).steps.tolist() == [0]
    silent = train(network(), X, Y, 0.3, 0.2, steps=3, record=[])
    assert (silent.steps.shape, silent.jacobians.shape) == ((0,), (0, N, D))
    assert silent.distances is silent.test_values is None


def test_wide_networks_follow_the_linear_equation():
    """The gap to k exact steps of the linearised dynamics at the network's own initial JNTK falls with the width."""
    gaps = []
    for width in (64, 1024):
        net = network(width, sigma_b=0.0)
        theta, N_rows = finite.jacobian_ntk(net, X).numpy(), N * (1 + D)
        lam = np.tile([1.0, *[0.3] * D], N)
        u, target = net.value_and_jacobian(X).detach().numpy().ravel(), np.zeros(N_rows)
        target[:: 1 + D] = Y
        for _ in range(20):
            u = u - 0.2 * net.mlp.kappa**2 / N * theta @ (lam * (u - target))
        history = train(net, X, Y, 0.3, 0.2, steps=20, record=[20])
        gaps.append(np.abs(history.values[0] - u[:: 1 + D]).max())
    assert gaps[1] < gaps[0] / 2
    assert gaps[1] < 0.05


def test_float32_trains_in_float32():
    single, double = network(dtype=torch.float32), network()
    histories = [train(net, X, Y, 0.3, 0.2, steps=8, reference=np.eye(N * (1 + D))) for net in (single, double)]
    assert single.dtype == torch.float32
    assert histories[0].values.dtype == np.float64
    np.testing.assert_allclose(histories[0].values, histories[1].values, atol=1e-4)
    np.testing.assert_allclose(histories[0].distances, histories[1].distances, rtol=1e-5)


def test_progress(capsys):
    seen = []
    train(network(), X, Y, 0.3, 0.2, steps=3, progress=lambda step, loss: seen.append((step, loss)))
    assert [step for step, _ in seen] == [0, 1, 2, 3]
    assert seen[0][1] > seen[-1][1]
    assert capsys.readouterr().err == ""
    train(network(), X, Y, 0.3, 0.2, steps=3, progress=True)
    assert "3/3" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ the step limit


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dense_rows", [0, 4096])
def test_max_learning_rate(dtype, dense_rows, monkeypatch):
    """From the dense kernel and matrix-free, against all eigenvalues."""
    monkeypatch.setattr(objective, "DENSE_ROWS", dense_rows)
    net = network(dtype=dtype, depth=3)
    root = np.sqrt(np.tile([1.0, *[0.3] * D], N))
    largest = np.linalg.eigvalsh(root[:, None] * finite.jacobian_ntk(network(depth=3), X).numpy() * root)[-1]
    expected = 2 * N / (net.mlp.kappa**2 * largest)
    assert max_learning_rate(net, X, 0.3) == pytest.approx(expected, rel=1e-5 if dtype == torch.float64 else 1e-3)


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("sigma_b", [0.0, 0.4])
@pytest.mark.parametrize("memory", [1, 10**9])
def test_kernel_product_is_the_scaled_ntk(depth, sigma_b, memory):
    net = network(depth=depth, sigma_b=sigma_b, activation="gelu")
    v = np.random.default_rng(3).standard_normal(N * (1 + D))
    root = np.sqrt(np.tile([1.0, *[0.3] * D], N))
    expected = root * (finite.jacobian_ntk(net, X).numpy() @ (root * v))
    product = RobustObjective(net, X, Y, 0.3, memory=memory).kernel_product(v)
    np.testing.assert_allclose(product, expected, atol=1e-12 * np.abs(expected).max())


def test_the_limit_separates_convergence_from_divergence():
    """Below the limit the loss falls at every step. Above it the loss first explodes; only a finite width can
    then leave the linear regime, which brings it down again."""
    limit = max_learning_rate(network(512), X, 0.3)
    below = train(network(512), X, Y, 0.3, 0.9 * limit, steps=20)
    assert (np.diff(below.loss) < 0).all()
    with pytest.raises(ValueError, match=rf"learning_rate .* is not below {limit:.4g}, the stability limit"):
        train(network(512), X, Y, 0.3, limit * 1.001, steps=1)
    above = train(network(512), X, Y, 0.3, 1.3 * limit, steps=16, allow_unstable=True)
    assert above.loss.max() > 1.2 * above.loss[0]


# ----------------------------------------------------------------------------------------------- an accelerator


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-11), (torch.float32, 1e-3)])
def test_training_on_a_gpu(dtype, bound):
    """The same history as on the processor."""
    net = FiniteMLP(mlp(2), 64, D, 1, dtype=dtype, device="cuda")
    run = {"steps": 12, "reference": np.eye(N * (1 + D)), "X_test": X[:2] / 2}
    expected, found = (train(one, X, Y, 0.3, 0.2, **run) for one in (network(64), net))
    for name in ("loss", "values", "jacobians", "distances", "test_values", "test_jacobians"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=bound, rtol=bound)
