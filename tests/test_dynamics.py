"""The flow at finite times and its steps, against the matrix exponential, an ODE solver, single steps and mpmath."""

import math

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import scipy.linalg
from helpers import problem, rows, some_network, weights
from helpers import unit_points as points
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from jacntk_lib import MLP, jacobian_ntk
from jacntk_lib.dynamics import RobustFlow
from jacntk_lib.dynamics.schedules import GradientDescent, GradientFlow, Limit
from jacntk_lib.errors import ConvergenceError


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
    lam = np.arange(N) / 3 if lam == "one per point" else lam  # of one point: 0
    targets = rng.standard_normal((N, d)) if np.any(lam) else None
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
    for t in np.logspace(-6, 12, 19):
        value, jacobian = flow.at(t)
        loss = ((value - flow.y) ** 2 + 0.1 * (jacobian**2).sum(axis=1)).sum()
        # eigenvalues of points 1e-9 apart are off by some eps: their exponentials by t times as much
        assert loss <= last * (1 + 1e-8 + 0.01 * np.finfo(float).eps * t)
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
