"""Attacks on every kind of model: networks, modules, functions, estimators, features, classes and pipelines."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from helpers import alternating as labels
from helpers import normal_points as points
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, RobustScaler, StandardScaler

from jacntk_lib import MLP, JacobianGaussianProcessRegressor, JacobianKernelRegressor, RobustFlow
from jacntk_lib.networks import FiniteMLP
from jacntk_lib.robustness import accuracy_under_attack, attack

NORMS = ["l2", "linf"]
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"))]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("norm", NORMS)
def test_torch_and_numpy_give_one_attack(norm, device):
    """A network by automatic differentiation on its device, and its tangent pass as a plain NumPy function."""
    net = FiniteMLP(MLP(3, "gelu", kappa=1.0, sigma_b=0.2), 24, 4, seed=3, device=device)
    local = FiniteMLP(MLP(3, "gelu", kappa=1.0, sigma_b=0.2), 24, 4, seed=3)
    X, y = points(8, 4), labels(8)
    options = {"norm": norm, "steps": 6, "restarts": 3}
    one = attack(net, X, y, 0.5, **options)
    two = attack(lambda Z: local.value_and_jacobian(Z).detach().numpy(), X, y, 0.5, **options)
    three = attack(net.value_and_jacobian, X, y, 0.5, **options)
    for other in (two, three):
        assert_allclose(other.X, one.X, rtol=0, atol=1e-10)
        assert_allclose(other.margin, one.margin, rtol=0, atol=1e-10)
    assert (one.margin < one.clean_margin).all()
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())


def two_layers():
    """One small network with equal weights, as a torch module and as a jax function."""
    draw = np.random.default_rng(5)
    W, b, v = draw.standard_normal((16, 3)), draw.standard_normal(16), draw.standard_normal(16)
    module = torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1)).double()
    with torch.no_grad():
        for parameter, value in zip(module.parameters(), (W, b, v[None], np.array([0.2])), strict=True):
            parameter.copy_(torch.from_numpy(value))
    rows = jax.vmap(jax.value_and_grad(lambda z: v @ jnp.tanh(W @ z + b) + 0.2))

    def in_jax(Z):
        with jax.enable_x64(True):
            value, slope = rows(Z)
        assert value.dtype == jnp.float64
        return np.column_stack([value, slope])

    return module, in_jax


@pytest.mark.parametrize("norm", NORMS)
def test_torch_and_jax_give_one_attack(norm):
    """Each framework with its own derivatives: the attacks agree to rounding, restarts included."""
    X, y = points(12), labels(12)
    options = {"norm": norm, "steps": 8, "restarts": 3}
    one, two = (attack(model, X, y, 0.4, **options) for model in two_layers())
    assert_allclose(two.X, one.X, rtol=0, atol=1e-10)
    assert_allclose(two.margin, one.margin, rtol=0, atol=1e-10)
    assert_allclose(two.clean_margin, one.clean_margin, rtol=0, atol=1e-10)
    assert (one.margin < one.clean_margin).all()
    assert (one.margin < one.clean_margin - 0.1).mean() > 0.9  # not all stand still


@pytest.mark.parametrize("device", DEVICES)
def test_any_torch_module(device):
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)).to(device)
    X, y = points(), labels()
    found = attack(module, X, y, 0.3)  # float32, (M, 1)
    assert found.X.dtype == found.margin.dtype == np.float64
    assert (np.linalg.norm(found.X - X, axis=1) <= 0.3 * (1 + 1e-12)).all()
    with torch.no_grad():
        again = module(torch.tensor(found.X, dtype=torch.float32, device=device))[:, 0].cpu().numpy()
        inference = attack(module, X, y, 0.3)  # the caller's no_grad changes nothing
    assert_allclose(found.margin, y * again, rtol=1e-5)
    assert_array_equal(inference.margin, found.margin)
    with pytest.raises(ValueError, match=r"the module returned shape \(\)"):
        attack(Total(), X, y, 0.3)


class Total(torch.nn.Module):
    def forward(self, X):
        return X.sum()


@pytest.mark.parametrize("lam", [0.0, 0.1])
def test_regressor_and_flow(lam):
    X, y = points(10, 2), labels(10)
    reg = JacobianKernelRegressor(lam=lam, time=50.0, sigma_b=0.5).fit(X, y)
    found = attack(reg, X, y, 0.2)
    as_rows = attack(lambda Z: np.column_stack([reg.predict(Z), reg.predict_jacobian(Z)]), X, y, 0.2)
    at_time = attack(partial(reg.flow_.at, 50.0), X, y, 0.2)
    assert_array_equal(at_time.X, found.X)
    assert_allclose(as_rows.X, found.X, rtol=0, atol=1e-9)
    assert_allclose(found.margin, y * reg.predict(found.X), rtol=0, atol=1e-10)
    assert (found.margin < found.clean_margin).all()
    with pytest.raises(NotFittedError):
        attack(JacobianKernelRegressor(), X, y, 0.2)
    with pytest.raises(TypeError, match=r"attack functools.partial\(flow.at, t\)"):
        attack(reg.flow_, X, y, 0.2)


def features_of(K=None):
    X, y = points(7, 2), labels(7)
    flow = RobustFlow(MLP(2, "gelu", sigma_b=0.5), X, y if K is None else np.eye(K)[np.arange(7) % K], 0.2)
    return flow, flow.feature_functions(40.0)


@pytest.mark.parametrize("norm", NORMS)
def test_every_feature_is_attacked_on_its_own(norm):
    flow, functions = features_of()
    p = len(functions)
    X, y = points(5, 2, seed=8), labels(5)
    options = {"norm": norm, "steps": 4, "restarts": 2}
    found = attack(functions, X, y, 0.3, **options)
    assert found.X.shape == (5, p, 2)
    assert found.margin.shape == found.clean_margin.shape == (5, p)
    assert found.accuracy.shape == (p,)
    assert_allclose(found.clean_margin, y[:, None] * flow.eigenfeatures(X, 40.0).value, rtol=1e-12, atol=1e-15)
    for i in range(p):

        def one(Z, i=i):
            value, jacobian = flow.eigenfeatures(Z, 40.0)
            return np.column_stack([value[:, i], jacobian[:, i]])

        alone = attack(one, X, y, 0.3, **options)
        scale = np.abs(found.clean_margin[:, i]).max() + 1e-12
        assert_allclose(found.margin[:, i], alone.margin, rtol=0, atol=1e-8 * scale)
        assert_allclose(
            attack(functions[i], X, y, 0.3, **options).margin[:, 0], alone.margin, rtol=0, atol=1e-8 * scale
        )
    sizes = [0.0, 0.1, 0.6]
    accuracy = accuracy_under_attack(functions, X, y, sizes, norm=norm, steps=2)
    assert accuracy.shape == (3, p)
    assert (np.diff(accuracy, axis=0) <= 0).all()


def test_classes():
    """Three linear outputs: the margin is a minimum of two linear functions, attacked exactly where one rules."""
    W = np.array([[1.0, 0.0], [-0.5, 0.8], [-0.5, -0.8]])

    def three(Z):
        rows = np.zeros((len(Z), 3, 3))
        rows[..., 0], rows[..., 1:] = Z @ W.T, W
        return rows

    X, y = np.array([[2.0, 1.0], [-2.0, 1.0], [1.0, 0.1]]), np.array([0, 1, 2])
    found = attack(three, X, y, 0.2)
    pairs = [(0, 1), (1, 2), (2, 0)]  # the class and its rival, which stays the rival within the ball
    slopes = np.array([W[a] - W[b] for a, b in pairs])
    assert_allclose(found.clean_margin, np.einsum("md,md->m", slopes, X), rtol=1e-12)
    assert_allclose(found.margin, found.clean_margin - 0.2 * np.linalg.norm(slopes, axis=1), rtol=1e-12)
    assert_array_equal(found.margin > 0, [True, True, False])

    module = torch.nn.Linear(2, 3, bias=False, dtype=torch.float64)
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(W))
    assert_allclose(attack(module, X, y, 0.2).X, found.X, rtol=0, atol=1e-12)
    signs = attack(lambda Z: three(Z)[:, :1], X, [1, -1, 1], 0.2)  # K = 1 is one output
    assert_allclose(signs.margin, [1.8, 1.8, 0.8], rtol=1e-12)


def test_classes_of_features():
    flow, functions = features_of(K=3)
    X, y = points(5, 2, seed=8), np.array([0, 1, 2, 0, 1])
    found = attack(functions, X, y, 0.2)
    value = flow.eigenfeatures(X, 40.0).value  # (M, p, K)
    own = value[np.arange(5), :, y]
    others = np.sort(np.delete(value, 0, axis=2), axis=2)  # of class 0
    assert_allclose(found.clean_margin[0], own[0] - others[0].max(axis=1), rtol=1e-9, atol=1e-14)
    assert (found.margin <= found.clean_margin).all()
    assert (found.margin < found.clean_margin).any(axis=0).all()


def test_refuses_a_module_that_diverges():
    module = torch.nn.Linear(3, 1)
    torch.nn.init.constant_(module.weight, math.inf)
    with pytest.raises(ValueError, match="the model returned non-finite values"):
        attack(module, points(), labels(), 0.1)


@pytest.mark.parametrize("scaler", [StandardScaler(), make_pipeline(RobustScaler(), PCA(2))])
@pytest.mark.parametrize("process", [False, True])
def test_attacks_on_a_pipeline_are_in_the_units_of_its_inputs(scaler, process):
    X = points(12) * [100.0, 1.0, 1e-3] + [1e3, 0.0, 5.0]
    y = np.tanh(X[:, 0] / 100 - 10) + X[:, 1]
    last = JacobianGaussianProcessRegressor(metric="standard", optimizer=None) if process else JacobianKernelRegressor()
    line = make_pipeline(scaler, last).fit(X, y)
    size = 0.5
    found = attack(line, X, y, size, norm="linf", loss="error")
    assert np.all(found.margin < found.clean_margin)
    assert_allclose(-found.margin, np.abs(line.predict(found.X) - y), rtol=1e-9)
    h = 1e-4 * np.array([100.0, 1.0, 1e-3])

    def by_differences(Z):
        slopes = [(line.predict(Z + step) - line.predict(Z - step)) / (2 * step.sum()) for step in np.diag(h)]
        return np.stack([line.predict(Z), *slopes], axis=1)

    assert_allclose(found.margin, attack(by_differences, X, y, size, norm="linf", loss="error").margin, rtol=1e-5)


def test_a_pipeline_of_one_step_is_the_step():
    reg = JacobianKernelRegressor().fit(points(), labels())
    expected = attack(reg, points(), labels(), 0.3)
    assert_array_equal(attack(make_pipeline(reg), points(), labels(), 0.3).X, expected.X)


def test_a_step_that_is_not_affine_is_refused():
    line = make_pipeline(FunctionTransformer(np.tanh), JacobianKernelRegressor()).fit(points(), labels())
    with pytest.raises(ValueError, match=r"FunctionTransformer.* is not affine.* pass a callable"):
        attack(line, points(), labels(), 0.1)
    with pytest.raises(ValueError, match="is not affine"):
        attack(line, points()[:1], labels()[:1], 0.1)
