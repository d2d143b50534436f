"""Attacks against optima that are known, the same in every framework, and never outside their ball."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, RobustScaler, StandardScaler

from jacntk_lib import MLP, JacobianGaussianProcessRegressor, JacobianKernelRegressor, RobustFlow
from jacntk_lib.networks import FiniteMLP
from jacntk_lib.robustness import accuracy_under_attack, attack, one_step
from jacntk_lib.robustness.threats import threat_of

NORMS = ["l2", "linf"]
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"))]


def points(M=6, d=3, seed=0):
    return np.random.default_rng(seed).standard_normal((M, d))


def labels(M=6):
    return np.where(np.arange(M) % 2, -1.0, 1.0)


def linear(slope, offset=0.3):
    return lambda Z: np.column_stack([Z @ slope + offset, np.tile(slope, (len(Z), 1))])


def wavy(Z):
    """A function with several valleys, and its gradient: sum_a sin(3 z_a) + z_0 z_1."""
    slope = 3 * np.cos(3 * Z)
    slope[:, :2] += Z[:, 1::-1]
    return np.column_stack([np.sin(3 * Z).sum(axis=1) + Z[:, 0] * Z[:, 1], slope])


def distance(norm, shift):
    return np.linalg.norm(shift, 2 if norm == "l2" else np.inf, axis=-1)


def dual(norm, slope):
    """The most that a linear function changes within distance one."""
    return np.linalg.norm(slope, 2 if norm == "l2" else 1, axis=-1)


# ------------------------------------------------------------------------------------------- optima that are known


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("steps", [1, 7])
def test_exact_on_linear_models(norm, steps):
    """min of y (w x + c) over the ball is the clean margin less size times the dual norm of w."""
    X, y, slope = points(), labels(), np.array([1.0, -2.0, 0.5])
    found = attack(linear(slope), X, y, 0.5, norm=norm, steps=steps)
    assert_allclose(found.clean_margin, y * (X @ slope + 0.3), rtol=1e-12)
    assert_allclose(found.margin, found.clean_margin - 0.5 * dual(norm, slope), rtol=1e-12)
    assert_allclose(found.margin, y * (found.X @ slope + 0.3), rtol=1e-12)
    assert found.accuracy == (found.margin > 0).mean()
    assert found.clean_accuracy == (found.clean_margin > 0).mean() > found.accuracy


@pytest.mark.parametrize("norm", NORMS)
def test_projection_is_the_nearest_point(norm):
    """Against the variational inequality: <z - P(z), w - P(z)> <= 0 for every w of the set."""
    random = np.random.default_rng(0)
    X = points(200)
    threat = threat_of(norm)(X[:, None], 0.7)
    z = X + random.standard_normal(X.shape)
    projected = threat.project(z[:, None])[:, 0]
    assert (distance(norm, projected - X) <= 0.7 * (1 + 1e-12)).all()
    inside = distance(norm, z - X) < 0.7
    assert 0 < inside.sum() < 200
    assert_allclose(projected[inside], z[inside], rtol=0, atol=1e-15)
    for _ in range(50):
        w = threat.sample(random)[:, 0]
        assert (((z - projected) * (w - projected)).sum(axis=1) <= 1e-12).all()


@pytest.mark.parametrize(("norm", "d"), [("l2", 1), ("l2", 4), ("linf", 3)])
def test_starts_are_uniform_in_the_ball(norm, d):
    """The share of a ball of dimension d within radius r is r^d, and no direction is preferred."""
    threat = threat_of(norm)(np.zeros((4000, 1, d)), 2.0)
    starts = threat.sample(np.random.default_rng(0))[:, 0]
    assert scipy.stats.kstest((distance(norm, starts) / 2) ** d, "uniform").pvalue > 1e-3
    assert (np.abs(starts.mean(axis=0)) < 5 * starts.std(axis=0) / math.sqrt(4000)).all()


def test_finds_the_minimum_of_a_quadratic_inside_the_ball():
    centre = points(seed=4) * 0.1
    X, y = np.zeros((6, 3)), np.ones(6)

    def bowl(Z):
        return np.column_stack([((Z - centre) ** 2).sum(axis=1), 2 * (Z - centre)])

    found = attack(bowl, X, y, 1.0, steps=400, step_size=0.01)
    assert (distance("l2", found.X - centre) < 0.011).all()


# ------------------------------------------------------------------------------------------- what every attack keeps


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("restarts", [1, 4])
def test_never_leaves_the_ball_and_never_helps(norm, restarts):
    X, y = points(40), labels(40)
    for size in (0.0, 1e-3, 0.3, 2.0):
        found = attack(wavy, X, y, size, norm=norm, restarts=restarts)
        assert (distance(norm, found.X - X) <= size * (1 + 1e-12) + 1e-15).all()
        assert (found.margin <= found.clean_margin).all()
        assert_allclose(found.margin, y * wavy(found.X)[:, 0], rtol=1e-12, atol=1e-12)
    assert (found.margin < found.clean_margin - 0.5).mean() > 0.7


@pytest.mark.parametrize("norm", NORMS)
def test_restarts_never_make_it_weaker(norm):
    X, y = points(40), labels(40)
    margins = [attack(wavy, X, y, 1.5, norm=norm, restarts=r, steps=8).margin for r in (1, 2, 5)]
    assert (margins[1] <= margins[0]).all()
    assert (margins[2] <= margins[1]).all()
    assert (margins[1] < margins[0] - 0.1).any()  # other valleys were found
    assert (margins[2] < margins[1] - 0.1).any()  # and others again
    again = attack(wavy, X, y, 1.5, norm=norm, restarts=5, steps=8)
    assert_array_equal(again.margin, margins[2])
    other = attack(wavy, X, y, 1.5, norm=norm, restarts=5, steps=8, seed=1)
    assert (other.margin != margins[2]).any()


def test_fast_gradient_is_one_step():
    X, y = points(), labels()
    slope = y[:, None] * wavy(X)[:, 1:]
    sign = attack(wavy, X, y, 0.05, norm="linf", steps=1)
    assert_allclose(sign.X, X - 0.05 * np.sign(slope), rtol=0, atol=1e-15)
    fast = attack(wavy, X, y, 0.05, steps=1)
    assert_allclose(fast.X, X - 0.05 * slope / np.linalg.norm(slope, axis=1, keepdims=True), rtol=0, atol=1e-15)
    half = attack(wavy, X, y, 0.05, steps=1, step_size=0.025)
    assert_allclose(distance("l2", half.X - X), 0.025, rtol=1e-12)


@pytest.mark.parametrize("norm", NORMS)
def test_small_attacks_agree_with_the_linearisation(norm):
    X, y = points(), labels()
    rows = wavy(X)
    gaps = []
    for size in (1e-3, 1e-4):
        found = attack(wavy, X, y, size, norm=norm).margin
        gaps.append(np.abs(found - (y * rows[:, 0] - size * dual(norm, rows[:, 1:]))).max())
    assert gaps[0] < 1e-4
    assert gaps[1] < gaps[0] / 50  # second order


@pytest.mark.parametrize("norm", NORMS)
def test_accuracy_never_rises_with_size(norm):
    X, y = points(60), np.sign(wavy(points(60))[:, 0])
    sizes = [0.4, 0.0, 0.1, 2.0, 0.7, 0.2]
    accuracy = accuracy_under_attack(wavy, X, y, sizes, norm=norm, steps=2)
    assert accuracy.shape == (6,)
    assert accuracy[1] == 1.0
    assert (np.diff(accuracy[np.argsort(sizes)]) <= 0).all()
    assert accuracy.min() < 0.3
    assert (accuracy <= [attack(wavy, X, y, s, norm=norm, steps=2).accuracy for s in sizes]).all()


@pytest.mark.parametrize("norm", NORMS)
def test_points_without_gradient_stay(norm):
    """A flat model, a saddle, and a slope whose square underflows."""
    X, y = points(), labels()
    flat = attack(linear(np.zeros(3)), X, y, 0.5, norm=norm)
    assert_array_equal(flat.X, X)
    assert_array_equal(flat.margin, flat.clean_margin)

    def saddle(Z):
        return np.column_stack([Z[:, 0] * Z[:, 1], Z[:, 1], Z[:, 0]])

    at_saddle = attack(saddle, np.zeros((1, 2)), [1], 0.5, norm=norm)
    assert_array_equal(at_saddle.X, np.zeros((1, 2)))
    escaped = attack(saddle, np.zeros((1, 2)), [1], 0.5, norm=norm, restarts=2, steps=20)
    assert_allclose(escaped.margin, [-0.125] if norm == "l2" else [-0.25], rtol=1e-3)

    tiny = attack(linear(np.array([3e-200, 4e-200, 0.0]), offset=0.0), X, y, 0.5, norm=norm)
    assert_allclose(distance(norm, tiny.X - X), 0.5, rtol=1e-12)


def test_zero_margin_is_wrong():
    assert attack(linear(np.ones(3), offset=0.0), np.zeros((1, 3)), [1], 0.0).accuracy == 0.0


# ------------------------------------------------------------------------------------------- every kind of model


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
    assert (distance("l2", found.X - X) <= 0.3 * (1 + 1e-12)).all()
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


# ------------------------------------------------------------------------------------------- what is refused


def test_refuses_a_module_that_diverges():
    module = torch.nn.Linear(3, 1)
    torch.nn.init.constant_(module.weight, math.inf)
    with pytest.raises(ValueError, match="the model returned non-finite values"):
        attack(module, points(), labels(), 0.1)


# ------------------------------------------------------------------------------------------- one step, for all


def test_one_step_goes_down_the_gradient():
    """By finite differences of the margin and of the squared loss."""
    X, y, h = points(), labels(), 1e-6
    shifts = h * np.eye(X.shape[1])
    values = np.stack([[wavy(X + sign * shift)[:, 0] for shift in shifts] for sign in (1, -1)])  # (2, d, M)
    margin = y * (values[0] - values[1]) / (2 * h)
    loss = ((values[0] - y) ** 2 - (values[1] - y) ** 2) / 2 / (2 * h)
    assert_allclose(one_step(wavy, X, y, 0.2), X - 0.2 * (margin / np.linalg.norm(margin, axis=0)).T, atol=1e-8)
    assert_allclose(one_step(wavy, X, y, 0.2, norm="linf"), X - 0.2 * np.sign(margin).T)
    assert_allclose(one_step(wavy, X, y, 0.2, norm="gradient"), X + 0.2 * loss.T, atol=1e-7)


@pytest.mark.parametrize("norm", [*NORMS, "gradient"])
def test_one_step_returns_to_the_sphere(norm):
    X, y = points(), labels()
    free, back = (one_step(wavy, X, y, 0.3, norm=norm, on_sphere=on_sphere) for on_sphere in (False, True))
    assert_allclose(np.linalg.norm(back, axis=1), np.linalg.norm(X, axis=1))
    assert_allclose(back / np.linalg.norm(back, axis=1)[:, None], free / np.linalg.norm(free, axis=1)[:, None])


def test_one_step_is_taken_even_where_it_helps():
    """Past the valley the margin is larger than at the start: the attack stays, the step does not."""
    X, y = np.array([[0.1, 0.0]]), np.array([1.0])

    def valley(Z):
        return np.column_stack([(Z**2).sum(axis=1), 2 * Z])

    assert_allclose(one_step(valley, X, y, 1.0), [[-0.9, 0.0]])
    assert_array_equal(attack(valley, X, y, 1.0, steps=1).X, X)


def test_one_step_needs_one_output_and_signs():
    def two(Z):
        return np.zeros((len(Z), 2, 4))

    with pytest.raises(ValueError, match="a model with one output"):
        one_step(two, points(), labels(), 0.1)
    with pytest.raises(ValueError, match="labels must be -1 or"):
        one_step(wavy, points(), np.arange(6.0), 0.1)
    with pytest.raises(ValueError, match="norm must be one of"):
        one_step(wavy, points(), labels(), 0.1, norm="l7")


@pytest.mark.parametrize("norm", NORMS)
def test_the_largest_error_of_a_linear_model_is_on_the_side_that_it_errs_on(norm):
    slope, X = np.array([1.0, -2.0, 0.5]), points()
    y = X @ slope + 0.3 + np.array([2.0, -1.0, 0.1, -0.1, 0.0, 3.0])  # one without an error yet
    found = attack(linear(slope), X, y, 0.7, norm=norm, loss="error")
    clean = np.abs(X @ slope + 0.3 - y)
    assert_allclose(-found.clean_margin, clean, atol=1e-12)
    assert_allclose(-found.margin, clean + 0.7 * dual(norm, slope), rtol=1e-9)
    assert np.all(distance(norm, found.X - X) <= 0.7 * (1 + 1e-12))


def test_errors_are_of_one_output_and_have_no_accuracy():
    two = lambda Z: np.ones((len(Z), 2, 4))  # noqa: E731
    with pytest.raises(ValueError, match="loss='error' needs a model with one output, got 2"):
        attack(two, points(), labels(), 0.1, loss="error")
    with pytest.raises(ValueError, match=r"accuracy is of labels: .* take attack"):
        accuracy_under_attack(wavy, points(), labels(), [0.1], loss="error")
    with pytest.raises(ValueError, match="loss must be 'margin' or 'error', got 'squares'"):
        attack(wavy, points(), labels(), 0.1, loss="squares")


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
