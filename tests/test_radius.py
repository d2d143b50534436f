"""Certified radii: below every attack, and equal to the bound found by search in the whole space."""

import math
from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_allclose

from jacntk_lib import MLP, JacobianKernelRegressor, RobustFlow, jacobian_ntk
from jacntk_lib.robustness import attack, certified_radius
from jacntk_lib.robustness.radius import _radii

KINDS = [(depth, activation) for depth in (1, 2, 3) for activation in ("erf", "gelu")]


def problem(seed=0, N=12, d=3):
    random = np.random.default_rng(seed)
    X, Z = random.standard_normal((2, N, d))
    X, Z = X / 2, Z / 2 + np.eye(d)[0] / 2
    return X, np.where(X[:, 0] + 0.3 * X[:, 1] > 0, 1.0, -1.0), Z


def made(depth, activation, lam, **options):
    X, y, Z = problem()
    flow = RobustFlow(MLP(depth, activation, kappa=1.0, **options), X, y, lam=lam, ridge=1e-2)
    return flow, Z, np.sign(flow.at(math.inf, Z).value)


@pytest.mark.parametrize("lam", [0.0, 0.3])
@pytest.mark.parametrize(("depth", "activation"), KINDS)
def test_no_attack_inside_the_radius_succeeds(depth, activation, lam):
    flow, Z, y = made(depth, activation, lam)
    radius = certified_radius(partial(flow.at, math.inf), Z, y)
    assert np.median(radius) > 0.05

    def in_units_of_the_radius(W):
        value, slope = flow.at(math.inf, Z + radius[:, None] * W)
        return np.column_stack([value, radius[:, None] * slope])

    for size, accuracy in ((1.0, 1.0), (20.0, 0.0)):  # the second: the attack is one that succeeds where it can
        assert attack(in_units_of_the_radius, 0 * Z, y, size, steps=20, restarts=3).accuracy == accuracy


@pytest.mark.parametrize("lam", [0.0, 0.3])
@pytest.mark.parametrize(("depth", "activation"), KINDS)
def test_is_the_bound_that_dense_kernels_give_in_the_whole_space(depth, activation, lam):
    """Both distances from dense blocks at random directions of R^3, with nothing said about planes or grids."""
    flow, Z, y = made(depth, activation, lam)
    radius, norm = certified_radius(partial(flow.at, math.inf), Z, y), flow.kernel_norm()
    value, slope = flow.at(math.inf, Z)
    random = np.random.default_rng(1)
    for z, m, g, r in list(zip(Z, y * value, y[:, None] * slope, radius, strict=True))[:6]:
        directions = random.standard_normal((40, 3))
        directions[:2] = -g, -z  # the likely worst ones
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        shifts = np.concatenate([s * directions for s in np.linspace(0.4, 1.3, 10) * r])
        K, k = jacobian_ntk(flow.mlp, z[None], z + shifts).blocks(), jacobian_ntk(flow.mlp, z + shifts).k.diagonal()
        here = jacobian_ntk(flow.mlp, z[None]).blocks()[0, :, 0]
        for_one = np.concatenate([np.ones((len(shifts), 1)), np.zeros_like(shifts)], axis=1)
        for_two = np.concatenate([np.ones((len(shifts), 1)), shifts], axis=1)
        one, two = (
            np.sqrt(k - 2 * np.einsum("ma,am->m", c, K[0, :, :, 0]) + np.einsum("ma,ab,mb->m", c, here, c))
            for c in (for_one, for_two)
        )
        least = m + np.maximum(-norm * one, shifts @ g - norm * two)
        reached = np.linalg.norm(shifts, axis=1)[least <= 0].min(initial=np.inf)
        assert r <= reached <= 1.3 * r  # the upper bound is what the grid's allowance costs, and the step of 0.1 r


@pytest.mark.parametrize("gradient", [(0.0, 1e9), (0.0, 0.0), (-0.3, 0.3)], ids=["first", "second", "both"])
@pytest.mark.parametrize(("depth", "activation"), [(1, "gelu"), (3, "erf"), (8, "gelu"), (3, "sin")])
def test_no_grid_however_coarse_certifies_more_than_a_fine_one(depth, activation, gradient, monkeypatch):
    """What a coarse grid overlooks, its allowance covers, in d_1 (a huge gradient leaves it alone) and in d_2."""
    margin = np.geomspace(0.05, 3.0, 8)
    radial, across = (np.full(8, one) for one in gradient)

    def found(nodes):
        monkeypatch.setattr("jacntk_lib.robustness.radius._NODES", nodes)
        return _radii(MLP(depth, activation), 0.8, 0.5, margin, radial, across)

    fine = found(4 * 63 + 1)
    for nodes in (3, 4, 6, 10, 64):
        assert (found(nodes) <= fine).all()
    assert np.median(fine / found(64)) < 1.35


def test_radius_of_a_point_on_the_wrong_side_is_zero():
    flow, Z, y = made(2, "erf", 0.1)
    assert (certified_radius(partial(flow.at, math.inf), Z, -y) == 0).all()


def test_points_of_several_lengths_and_the_origin_stand_alone():
    flow, Z, y = made(2, "gelu", 0.1, sigma_b=0.5)
    Z[0], Z[1] = 0.0, -Z[2]
    model = partial(flow.at, 20.0)
    y = np.sign(model(Z).value)
    together = certified_radius(model, Z, y)
    assert together[0] > 0.01
    assert attack(model, Z[:1], y[:1], together[0], steps=40, restarts=5).accuracy == 1
    alone = [certified_radius(model, z[None], [sign])[0] for z, sign in zip(Z, y, strict=True)]
    assert_allclose(together, alone, rtol=0.1)  # other grids, so up to their allowance


def test_units_of_the_inputs_are_those_of_the_radius():
    X, y, Z = problem()
    one, two = (JacobianKernelRegressor(depth=2, lam=0.0, ridge=1e-2, input_scale=s).fit(X / s, y) for s in (1.0, 8.0))
    sign = np.sign(one.predict(Z))
    assert_allclose(certified_radius(two, Z / 8, sign), certified_radius(one, Z, sign) / 8, rtol=1e-6)


@pytest.mark.parametrize("lam", [0.0, 0.2])
@pytest.mark.parametrize("t", [3.0, math.inf])
def test_norm_is_that_of_the_interpolant_of_its_own_values(t, lam):
    """f lies in the span of the kernel at the training points: |f|^2 = u^T Theta^-1 u of its own values and slopes."""
    X, y, _ = problem()
    flow = RobustFlow(MLP(2, kappa=1.0), X, np.stack([y, X[:, 0]], axis=1), lam=lam)
    value, jacobian = flow.at(t)
    u = np.concatenate([value[:, None], np.moveaxis(jacobian, 2, 1)], axis=1).reshape(len(X) * 4, 2)
    expected = np.sqrt(np.einsum("nk,nk->k", u, np.linalg.solve(jacobian_ntk(flow.mlp, X).dense(), u)))
    assert_allclose(flow.kernel_norm(t), expected, rtol=1e-5)
    single = RobustFlow(MLP(2, kappa=1.0), X, y, lam=lam)
    assert isinstance(single.kernel_norm(t), float)
    assert_allclose(single.kernel_norm(t), expected[0], rtol=1e-5)


@pytest.mark.parametrize("options", [{"standardise": True}, {"input_scale": (0.5, 1.0, 2.0)}])
def test_columns_that_the_model_scales_by_themselves_are_refused(options):
    X, y, Z = problem()
    model = JacobianKernelRegressor(depth=2, lam=0.0, ridge=1e-2, **options).fit(X, y)
    with pytest.raises(ValueError, match=r"scales each column by itself.*scale the columns beforehand"):
        certified_radius(model, Z, np.sign(model.predict(Z)))
