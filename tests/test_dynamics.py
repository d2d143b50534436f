"""The linear ODE of robust training against the matrix exponential, an ODE solver, single steps, mpmath, networks."""

import math
import pickle
import subprocess
import sys

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import scipy.linalg
from helpers import unit_points as points
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from jacntk_lib import MLP, jacobian_nngp, jacobian_ntk, networks, training
from jacntk_lib.dynamics import RobustFlow
from jacntk_lib.dynamics import features as _features
from jacntk_lib.dynamics import flow as dynamics
from jacntk_lib.dynamics import system as _system
from jacntk_lib.dynamics.schedules import GradientDescent, GradientFlow, Limit
from jacntk_lib.errors import ConvergenceError, SingularGramError
from jacntk_lib.solve import Exact

DUPLICATES = "training points 0 and 4 are equal"


def problem(N=5, d=3, K=None, seed=0):
    rng = np.random.default_rng(seed + 100)
    return points(N, d, seed), rng.standard_normal((N,) if K is None else (N, K)), points(3, d, seed + 1)


def rows(prediction):
    """A prediction as a vector, by point, then value and derivatives."""
    return np.concatenate([prediction.value[..., None], prediction.jacobian], axis=-1).ravel()


def weights(lam, N, d):
    lam = np.broadcast_to(lam, (N,))
    return np.concatenate([np.ones((N, 1)), np.repeat(lam[:, None], d, axis=1)], axis=1).ravel()


def some_network(Z):
    """A smooth function and its gradient, as a start."""
    slope = np.arange(1.0, Z.shape[1] + 1)
    return np.concatenate([np.sin(Z @ slope)[:, None], np.cos(Z @ slope)[:, None] * slope], axis=1)


def by_expm(mlp, X, y, lam, t, X_new, start, targets=None, theta=None, ridge=0.0):
    """Training and new points at time t, from the matrix exponential of the whole system, dense and naive."""
    N, d = X.shape
    n = N * (1 + d)
    every = np.concatenate([X, X_new])
    theta = jacobian_ntk(mlp, every, X).dense() if theta is None else theta
    goal = np.zeros((N, 1 + d)) if targets is None else np.concatenate([np.zeros((N, 1)), targets], axis=1)
    goal[:, 0] = y
    m = len(theta)
    generator = np.zeros((m + 1, m + 1))  # the last coordinate is the constant 1
    generator[:m, :n] = -theta * weights(lam, N, d)
    generator[:m, m] = -generator[:m, :n] @ goal.ravel() + ridge * start(every).ravel()
    generator[:m, :m] -= ridge * np.eye(m)
    state = np.append(start(every).ravel(), 1.0)
    return (scipy.linalg.expm(generator * (t * mlp.kappa**2 / N)) @ state)[:m]


def nothing(Z):
    return np.zeros((len(Z), 1 + Z.shape[1]))


# -------------------------------------------------------------------- finite times


@given(
    seed=st.integers(0, 2**16),
    N=st.integers(1, 5),
    d=st.integers(1, 6),
    depth=st.integers(1, 4),
    activation=st.sampled_from(["erf", "gelu"]),
    sigma_b=st.sampled_from([0.0, 0.4]),
    lam=st.sampled_from([0.0, 1e-3, 0.1, 3.0, "one per point"]),
    ridge=st.sampled_from([0.0, 0.5]),
    log_t=st.floats(-6, 4),
    twins=st.booleans(),
)
@settings(max_examples=60)
def test_agrees_with_the_matrix_exponential(seed, N, d, depth, activation, sigma_b, lam, ridge, log_t, twins):
    rng = np.random.default_rng(seed)
    X, y, X_new = rng.standard_normal((N, d)), rng.standard_normal(N), rng.standard_normal((2, d))
    targets = rng.standard_normal((N, d))
    lam = np.arange(N) / 3 if lam == "one per point" else lam
    if twins and N > 2:
        X[1], X[2] = X[0], -X[0]  # targets disagree: legal at a finite time
    mlp = MLP(depth, activation, sigma_b=sigma_b, kappa=0.5)
    t = 10**log_t
    expected = by_expm(mlp, X, y, lam, t, X_new, some_network, targets, ridge=ridge)
    flow = RobustFlow(mlp, X, y, lam, targets, ridge)
    got = np.concatenate([rows(flow.at(t, Z, some_network)) for Z in (None, X_new)])
    assert_allclose(got, expected, atol=1e-9 * max(1.0, np.abs(expected).max()))


def test_agrees_with_a_kernel_differentiated_by_brute_force():
    """An independent kernel: the closed form for erf, two hidden layers, its four blocks by nested autodiff."""
    scale = 1 / 0.46455905439753998

    def layer(a, b, c):
        D = (1 + 2 * a) * (1 + 2 * b) - 4 * c**2
        nngp = scale * (2 / math.pi) * jnp.arctan2(2 * c, jnp.sqrt(D))
        return nngp, scale * 4 / (math.pi * jnp.sqrt(D))

    def variance(a):
        return scale * (2 / math.pi) * jnp.arctan2(2 * a, jnp.sqrt(1 + 4 * a))

    def kernel(x, z):
        a, b, c = x @ x, z @ z, x @ z
        theta = c
        for _ in range(2):
            c, slope = layer(a, b, c)
            theta, a, b = c + theta * slope, variance(a), variance(b)
        return theta

    def block(x, z):
        top = jnp.concatenate([kernel(x, z)[None], jax.grad(kernel, 1)(x, z)])
        below = jax.jacfwd(jax.grad(kernel, 0), 1)(x, z)
        return jnp.concatenate([top[None], jnp.concatenate([jax.grad(kernel)(x, z)[:, None], below], 1)])

    X, y, X_new = problem(4, 2)
    with jax.enable_x64(True):
        every = jnp.asarray(np.concatenate([X, X_new]))
        blocks = np.array(jax.jit(lambda x, z: jax.vmap(lambda x: jax.vmap(lambda z: block(x, z))(z))(x))(every, X))
    theta = blocks.transpose(0, 2, 1, 3).reshape(7 * 3, 4 * 3)
    mlp = MLP(2, kappa=0.3)
    expected = by_expm(mlp, X, y, 0.2, 30.0, X_new, nothing, theta=theta)
    flow = RobustFlow(mlp, X, y, 0.2)
    assert_allclose(np.concatenate([rows(flow.at(30.0)), rows(flow.at(30.0, X_new))]), expected, atol=1e-11)


@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_agrees_with_diffrax_on_the_ode_itself(ridge):
    X, y, X_new = problem(4, 5)
    X[1] = X[0]
    targets = np.random.default_rng(1).standard_normal((4, 5))
    flow = RobustFlow(MLP(2, "gelu", sigma_b=0.2), X, y, np.array([0.0, 0.1, 1.0, 2.0]), targets, ridge)
    every = np.concatenate([X, X_new])
    stepped = flow.integrate(200.0, every, some_network)
    assert_allclose(rows(stepped), rows(flow.at(200.0, every, some_network)), atol=1e-8)
    assert np.abs(rows(stepped) - some_network(every).ravel()).max() > 0.1  # it did train


def test_diffrax_says_when_it_gives_up():
    X, y, _ = problem()
    with pytest.raises(ConvergenceError, match="in 3 steps"):
        RobustFlow(MLP(2), X, y).integrate(200.0, max_steps=3)


@pytest.mark.parametrize("start", [None, some_network])
def test_time_zero_is_the_start(start):
    X, y, X_new = problem()
    flow = RobustFlow(MLP(2), X, y)
    assert_array_equal(rows(flow.at(0, X_new, start)), (start or nothing)(X_new).ravel())
    assert_array_equal(rows(flow.after(0, 0.1, X_new, start)), (start or nothing)(X_new).ravel())
    assert flow.at(0).report is None


HARD = {
    "duplicates": (MLP(1), lambda X: np.concatenate([X, X[:2]])),
    "antipodes, odd": (MLP(2), lambda X: np.concatenate([X, -X[:2]])),
    "antipodes, GELU at depth 1": (MLP(1, "gelu"), lambda X: np.concatenate([X, -X])),
    "depth 1": (MLP(1), lambda X: np.concatenate([X, X[:1] + 1e-3])),
    "the origin": (MLP(2, "gelu"), lambda X: np.concatenate([X, 0 * X[:1]])),
}


@pytest.mark.parametrize("case", HARD)
@pytest.mark.parametrize("log_t", range(-6, 13, 3))
def test_hard_problems_against_fifty_digits(case, log_t):
    """The same float64 kernel, but its eigenvalues and the exponential at 50 digits; at training and at new points."""
    mlp, extend = HARD[case]
    X = extend(points(4, 2))
    y = np.random.default_rng(5).standard_normal(len(X))
    t = 10.0**log_t
    flow = RobustFlow(mlp, X, y, 0.1)
    root = np.sqrt(weights(0.1, len(X), 2))
    with mpmath.workdps(50):
        S = mpmath.matrix((root[:, None] * jacobian_ntk(mlp, X).dense() * root).tolist())
        w, V = mpmath.eigsy(S)
        rate = mpmath.mpf(t) * mpmath.mpf(mlp.kappa) ** 2 / len(X)
        floor = mpmath.mpf(flow._system.spectrum.floor)
        # below the floor the float64 entries no longer say anything: zero, as the exact matrix has it
        tau = [-mpmath.expm1(-rate * e) / e if e > floor else rate for e in w]
        b = V.T * mpmath.matrix((root.reshape(-1, 3)[:, :1] * np.pad(y[:, None], ((0, 0), (0, 2)))).ravel().tolist())
        b = V * mpmath.matrix([a * c for a, c in zip(tau, b, strict=True)])
    # a relative error of the tolerance in S, magnified by how far the flattest direction has trained
    magnified = min(float(rate), 1 / max(flow.eigenvalues[-1], flow._system.spectrum.floor))
    error = flow.cutoff * flow.eigenvalues[0] * magnified
    assert error < (1e-3 if log_t < 12 else 0.1)
    # At training points exp(-rate S) contracts what the kernel's row at a new point does not: a tenth is allowed there.
    for X_new, share in ((None, 0.1), (points(2, 2, seed=9), 1.0)):
        cross = jacobian_ntk(mlp, X if X_new is None else X_new, X).dense() * root
        with mpmath.workdps(50):
            expected = np.array([float(x) for x in mpmath.matrix(cross.tolist()) * b])
        # 1e-13: plain rounding, relative to the largest output, however little of it there is yet at t = 1e-6
        assert_allclose(
            rows(flow.at(t, X_new)), expected, rtol=0, atol=(1e-13 + share * error) * np.abs(expected).max()
        )


@pytest.mark.parametrize("case", HARD)
@pytest.mark.parametrize("log_t", [-6, -1, 4, 9, 12])
def test_training_twice_as_long_is_training_twice(case, log_t):
    mlp, extend = HARD[case]
    X, t = extend(points(4, 2)), 10.0**log_t
    y = some_network(X)[:, 0]
    flow = RobustFlow(mlp, X, y, 0.1)
    once = flow.at(2 * t, points(3, 2, seed=9))
    twice = flow.at(t, points(3, 2, seed=9), lambda Z: rows(flow.at(t, Z)).reshape(len(Z), -1))
    assert_allclose(rows(twice), rows(once), atol=1e-6 if log_t < 12 else 1e-4)


def test_any_time_is_finite_and_the_loss_never_rises():
    X, y, X_new = problem(6, 2)
    flow = RobustFlow(MLP(1), np.concatenate([X, X[:1] + 1e-9]), np.append(y, 5.0), 0.1)
    last = np.inf
    for t in [*np.logspace(-6, 12, 19)]:
        value, jacobian = flow.at(t)
        loss = ((value - flow.y) ** 2 + 0.1 * (jacobian**2).sum(axis=1)).sum()
        assert loss <= last * (1 + 1e-6)  # rounding, at points 1e-9 apart
        assert np.isfinite(rows(flow.at(t, X_new))).all()
        last = loss


def test_beyond_the_horizon_unresolved_directions_stand_still_with_a_warning():
    X = np.concatenate([points(4, 2), points(4, 2)[:1] + 1e-13])
    flow = RobustFlow(MLP(2, "gelu", kappa=1.0), X, np.array([1.0, 0.0, 0.0, 0.0, -1.0]), 0.1)
    assert 1e8 < flow.horizon < 1e16
    with pytest.warns(scipy.linalg.LinAlgWarning, match="beyond"):
        late = flow.at(1e20, points(3, 2, 7))
    with pytest.warns(scipy.linalg.LinAlgWarning, match="beyond"):
        later = flow.at(1e300, points(3, 2, 7))
    assert_allclose(rows(late), rows(later), atol=1e-3)
    assert flow.half_life()[-1] == np.inf


# -------------------------------------------------------------------- schedules


@pytest.mark.parametrize("w", [0.0, 1e-300, 1e-17, 1e-8, 0.3, 1.0, 40.0])
@pytest.mark.parametrize("s", [1e-300, 1e-6, 1.0, 1e3, 1e12, 1e300])
def test_flow_factor_to_every_digit(w, s):
    with mpmath.workdps(400):
        exact = float(-mpmath.expm1(-mpmath.mpf(s) * mpmath.mpf(w)) / mpmath.mpf(w)) if w else s
    assert_allclose(GradientFlow(s)(np.array([w]), 0.0), [exact], rtol=1e-14)


@pytest.mark.parametrize("x", [0.0, 1e-300, 1e-17, 1e-9, 0.5, 1.0, 1.5, 2 - 1e-9])
@pytest.mark.parametrize("k", [1, 2, 3, 1000, 10**12, 10**12 + 1])
def test_descent_factor_to_every_digit(x, k):
    size = 0.25
    with mpmath.workdps(400):
        w = mpmath.mpf(x) / size
        exact = float((1 - (1 - mpmath.mpf(x)) ** k) / w) if x else k * size
    assert_allclose(GradientDescent(k, size)(np.array([x / size]), 0.0), [exact], rtol=1e-14, atol=1e-15)


def test_unresolved_directions_train_until_the_floor_matters():
    w = np.array([0.0, 1e-12, 1.0])
    for schedule in (GradientFlow(1e5), GradientDescent(10**6, 0.1)):
        assert_allclose(schedule(w, 1e-10)[:2], 1e5, rtol=1e-6)
    for schedule in (GradientFlow(1e15), GradientDescent(10**16, 0.1)):
        assert_allclose(schedule(w, 1e-10), [1e10, 1e10, 1.0], rtol=0.01)
    assert_array_equal(Limit()(w, 1e-10), [0.0, 0.0, 1.0])


# -------------------------------------------------------------------- gradient descent


@pytest.mark.parametrize("share", [0.01, 0.7, 0.99])  # above one half the leading direction alternates in sign
@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_steps_are_those_taken_one_by_one(share, ridge):
    X, y, X_new = problem(4, 3)
    mlp = MLP(2, "gelu", kappa=0.7)
    flow = RobustFlow(mlp, X, y, 0.3, ridge=ridge)
    eta = share * flow.max_learning_rate
    every = np.concatenate([X, X_new])
    theta, weight = jacobian_ntk(mlp, every, X).dense(), weights(0.3, 4, 3)
    goal = np.pad(y[:, None], ((0, 0), (0, 3))).ravel()
    z = start = some_network(every).ravel()
    for k in range(31):
        if k in (1, 2, 7, 30):
            got = np.concatenate([rows(flow.after(k, eta, Z, some_network)) for Z in (None, X_new)])
            assert_allclose(got, z, atol=1e-10)
        z = z - eta * mlp.kappa**2 / 4 * (theta @ (weight * (z[:16] - goal)) + ridge * (z - start))


def test_many_small_steps_are_the_flow():
    X, y, X_new = problem()
    flow = RobustFlow(MLP(2), X, y, 0.1)
    assert_allclose(rows(flow.after(10**12, 1e-9, X_new)), rows(flow.at(1e3, X_new)), atol=1e-9)


def test_stability_limit():
    X, y, _ = problem()
    flow = RobustFlow(MLP(2), X, y, 0.1)
    limit = flow.max_learning_rate
    S = np.sqrt(weights(0.1, 5, 3))
    S = S[:, None] * jacobian_ntk(flow.mlp, X).dense() * S
    assert_allclose(limit, 2 * 5 / (0.01 * np.linalg.eigvalsh(S)[-1]), rtol=1e-12)
    below = [np.abs(flow.after(k, 0.999 * limit).value).max() for k in (100, 10**5)]
    above = [np.abs(flow.after(k, 1.001 * limit, allow_unstable=True).value).max() for k in (100, 10**5)]
    assert max(below) < 3
    assert above[1] > 1e6 * above[0]
    for eta in (limit, 1.5 * limit):
        with pytest.raises(ValueError, match=f"{limit:.6g}"):
            flow.after(10, eta)
    with pytest.raises(ValueError, match="grown beyond float64"):
        flow.after(10**9, 2 * limit, allow_unstable=True)


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
    with pytest.raises(SingularGramError, match="points 3 and 4"):
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


def test_cutoff_sets_what_is_left_out():
    X, y, X_new = problem(4, 2)
    flow = RobustFlow(MLP(2), X, y, 0.1, solver=Exact(cutoff=0.1))
    kept = flow.eigenvalues > 0.1 * flow.eigenvalues[0]
    with pytest.warns(scipy.linalg.LinAlgWarning, match=f"{(~kept).sum()} of 12 eigenvalues left out as below 1.0e-01"):
        flow.at(math.inf)
    features = flow.eigenfeatures(X_new)
    assert_allclose(features.eigenvalues, flow.eigenvalues[kept])


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
