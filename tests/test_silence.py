"""Never silently wrong: what comes back is right to rounding, or an error says why not."""

import math
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.linalg
from golden import make_kernels
from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from mpmath import mp
from numpy.testing import assert_allclose, assert_array_equal

from jacntk_lib import MLP, JacobianKernelRegressor, RobustFlow, jacobian_ntk
from jacntk_lib.errors import ConvergenceError
from jacntk_lib.kernels.recursion import LARGEST_VARIANCE

X, Y = np.eye(3), np.array([1.0, -1.0, 0.5])


# -------------------------------------------------------------------- what goes in


def test_real_numbers_as_python_objects_are_the_numbers_everywhere():
    objects = X.astype(object)
    objects[0, 0] = np.float32(1.0)
    assert_array_equal(jacobian_ntk(MLP(2), objects).dense(), jacobian_ntk(MLP(2), X).dense())
    flow, same = (RobustFlow(MLP(2), points, labels) for points, labels in ((objects, Y.astype(object)), (X, Y)))
    assert_array_equal(flow.at(9.0, objects).value, same.at(9.0, X).value)
    reg, same = (JacobianKernelRegressor().fit(*data) for data in ((objects, Y.astype(object)), (X, Y)))
    assert_array_equal(reg.predict(objects), same.predict(X))


def test_an_unmasked_array_is_an_array():
    masked = np.ma.array(X, mask=False)
    assert_array_equal(jacobian_ntk(MLP(2), masked).dense(), jacobian_ntk(MLP(2), X).dense())


def test_columns_are_compared_where_both_have_names():
    table = pd.DataFrame(X, columns=["a", "b", "c"])
    expected = RobustFlow(MLP(2), X, Y).at(9.0, X[:2]).value
    for points in (table[:2], X[:2], pd.DataFrame(X[:2])):
        assert_array_equal(RobustFlow(MLP(2), table, Y).at(9.0, points).value, expected)
    assert_array_equal(RobustFlow(MLP(2), X, Y).at(9.0, table[:2]).value, expected)


def test_targets_without_weight_are_ignored_with_a_word():
    with pytest.warns(UserWarning, match="jacobian_targets have no weight, because lam is 0: they are ignored"):
        flow = RobustFlow(MLP(2), X, Y, 0.0, jacobian_targets=np.ones((3, 3)))
    assert_array_equal(flow.at(9.0).value, RobustFlow(MLP(2), X, Y, 0.0).at(9.0).value)


FEW, MANY = "np.ones((5, 1))", "np.ones((40, 1))"
FORK = """
    import os, sys, warnings
    import numpy as np
    from jacntk_lib import MLP, jacobian_ntk
    warnings.simplefilter("ignore")  # of jax and Python about forks
    {before}
    child = os.fork()
    if child == 0:
        try:
            print(jacobian_ntk(MLP(2), {points}).shape, flush=True)
        except RuntimeError as error:
            print(error, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot fork")
@pytest.mark.parametrize(
    ("before", "points", "said"),
    [
        ("", MANY, "(80, 80)"),
        (f"jacobian_ntk(MLP(2), {MANY})", MANY, "jax's threads do not survive os.fork()"),
        (f"jacobian_ntk(MLP(2), {MANY})", FEW, "(10, 10)"),  # without jax
        (f"jacobian_ntk(MLP(2), {FEW})", MANY, "(80, 80)"),
    ],
)
def test_a_forked_process_computes_or_says_why_not(before, points, said):
    script = textwrap.dedent(FORK).replace("{before}", before).replace("{points}", points)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=True)
    assert said in done.stdout


# -------------------------------------------------------------------- what the kernels can hold


@pytest.mark.parametrize("activation", ["erf", "gelu", "sin"])
def test_long_inputs_are_refused_where_cancellation_spoils_the_derivatives(activation):
    mlp = MLP(2, activation)
    with pytest.raises(
        ValueError, match=r"at pre-activation variance 1.\d+e\+07 .* about [34]e-08 .* at most 1e\+07 is"
    ):
        jacobian_ntk(mlp, 4e3 * X)
    with pytest.raises(ValueError, match="pre-activation variance"):
        RobustFlow(mlp, X, Y).at(1.0, 4e3 * X)


def test_variances_are_watched_in_every_layer():
    jacobian_ntk(MLP(60, "gelu"), 3 * X)  # by 18 per cent more in every layer
    with pytest.raises(ValueError, match="pre-activation variance"):
        jacobian_ntk(MLP(100, "gelu"), 3 * X)
    jacobian_ntk(MLP(2, sigma_w=1e3, input_scale=1e-3), X)
    with pytest.raises(ValueError, match="pre-activation variance"):
        jacobian_ntk(MLP(2, sigma_w=1e4, input_scale=1e-4), X)


@pytest.mark.parametrize("activation", ["erf", "gelu", "sin"])
def test_up_to_the_limit_the_kernel_is_what_high_precision_says(activation):
    """Blocks at |x|^2 = LARGEST_VARIANCE, relative to the roots of the diagonal, from mpmath (tests/golden)."""
    length = 0.99 * math.sqrt(LARGEST_VARIANCE)
    x = length * np.array([0.6, -0.8])
    near = x + np.array([0.8, 0.6])  # at an angle of 1 / length, the scale on which the kernel changes
    G = jacobian_ntk(MLP(1, activation), np.array([x, near])).blocks()
    blocks = {(i, j): golden_block(activation, (x, near)[i], (x, near)[j]) for i, j in ((0, 0), (0, 1), (1, 1))}
    for (i, j), exact in blocks.items():
        size = [np.sqrt(np.diag(blocks[p, p])) for p in (i, j)]
        size = [np.r_[s[:1], np.full(2, s[1:].max())] for s in size]
        assert np.abs((G[i, :, j] - exact) / np.outer(*size)).max() < 4e-15 * LARGEST_VARIANCE


def golden_block(activation, x, y):
    with mp.workdps(140):
        rows = make_kernels.block(activation, 1, 0.0, x.tolist(), y.tolist(), which=1)
    return np.array(rows, dtype=np.float64)


def test_derivatives_that_explode_with_depth_are_refused():
    with pytest.raises(ValueError, match=r"the kernel of MLP\(depth=5000, .* leaves the range of float64 at points of"):
        jacobian_ntk(MLP(5000), X)


# -------------------------------------------------------------------- what comes out of a solve


def nearly_twice(ridge, solver="exact"):
    """Twelve long inputs and their neighbours with the opposite labels."""
    points = np.random.default_rng(0).standard_normal((12, 3))
    labels = np.sin(points[:, 0])
    points = 300.0 * np.concatenate([points, points + 1e-5])
    return RobustFlow(MLP(3), points, np.append(labels, -labels), 1.0, ridge=ridge, solver=solver)


def test_the_residual_is_judged_with_a_ridge_too():
    assert nearly_twice(0.1).at(math.inf).report.residual < 1e-6
    with pytest.warns(scipy.linalg.LinAlgWarning, match=r"misses its targets by \d.\de-0[3-6] .* a ridge of 1.0e-05"):
        assert 1e-6 < nearly_twice(1e-5).at(math.inf).report.residual < 1e-2
    for call in (RobustFlow.at, RobustFlow.value_std, RobustFlow.ensemble):
        flow = nearly_twice(1e-12)
        with pytest.raises(ConvergenceError, match=r"misses its targets by .* condition number .* a ridge of 1.0e-12"):
            call(flow, math.inf)


@pytest.mark.parametrize("time", [1e30, math.inf])
def test_an_iterative_solver_refuses_a_kernel_that_rounding_makes_indefinite(time):
    with pytest.raises(ConvergenceError, match=r"does not tell the kernel, .* with a ridge of 1.0e-12 .* larger ridge"):
        nearly_twice(1e-12, "iterative").at(time)


@pytest.mark.parametrize("time", [1e30, math.inf])
def test_an_iterative_solver_refuses_targets_outside_the_span_that_it_does_not_resolve(time):
    """Two points 1e-9 apart with opposite derivatives, orthogonal to all points."""
    points, targets = np.zeros((3, 5)), np.zeros((3, 5))
    points[:, :2] = [[1.0, 0.0], [1.0, 1e-9], [0.0, 1.0]]
    targets[:2, 4] = 1.0, -1.0
    flow = RobustFlow(MLP(2, "gelu"), points, np.zeros(3), 1.0, targets, ridge=1e-20, solver="iterative")
    with pytest.raises(ConvergenceError, match=r"targets orthogonal to the span .* ridge of 1.0e-20"):
        flow.at(time)
    assert np.abs(flow.at(1.0).jacobian).max() < 1e-3  # they pull against each other, and nothing moves


@pytest.mark.parametrize("kappa", [1e3, 1e7, 1e12])
def test_late_times_by_iteration_are_those_of_the_eigenvectors(kappa):
    """Elapsed times that a Krylov space of (I + t S)^{-1} sees through numbers as small as 1e-26."""
    points, labels = np.array([[34.0], [82.0]]), np.array([0.3, -1.3])
    exact, iterated = (
        RobustFlow(MLP(1, kappa=kappa), points, labels, 0.0, solver=s).at(1.0, [[50.0]]) for s in ("exact", "iterative")
    )
    assert_allclose(iterated.value, exact.value, rtol=1e-8)
    assert_allclose(iterated.jacobian, exact.jacobian, rtol=1e-8)


def test_solutions_beyond_float64_are_refused():
    with pytest.raises(ConvergenceError, match=r"the solution leaves the range of float64: the kernel is too .* small"):
        RobustFlow(MLP(1, sigma_w=1e-60), X, 1e74 * Y).at(math.inf)


@pytest.mark.parametrize("time", [1e-320, 1e-300, 1e-200, 1.0, math.inf])
@pytest.mark.parametrize("solver", ["exact", "iterative"])
def test_underflow_is_meant_also_where_the_caller_lets_numpy_raise(time, solver):
    flow = RobustFlow(MLP(2), X[:, :2], Y, ridge=0.01, solver=solver)
    calls = [lambda t: flow.at(t).value, flow.value_mean, flow.value_std, flow.kernel_norm]
    if solver == "exact":
        calls += [lambda t: flow.ensemble(t).factor, lambda t: flow.feature_functions(t)(X[:, :2]).value]
    expected = [call(time) for call in calls]
    with np.errstate(all="raise"):
        for call, same in zip(calls, expected, strict=True):
            assert_array_equal(call(time), same)


# -------------------------------------------------------------------- anything at all

SIZES = st.floats(-80.0, 80.0).map(lambda exponent: 10.0**exponent)
MODERATE = st.floats(-3.0, 3.0).map(lambda exponent: 10.0**exponent)
NAMED = (ValueError, TypeError, ConvergenceError)  # SingularGramError is a ValueError


@st.composite
def problems(draw):
    """A network, data, and how to fit it: every number over many decades, at times over all of them."""
    scales = draw(st.sampled_from([MODERATE, MODERATE, MODERATE, SIZES]))
    mlp = {
        "depth": draw(st.integers(1, 6) | st.sampled_from([30, 300, 1000])),
        "activation": draw(st.sampled_from(["erf", "gelu", "sin"])),
        "sigma_w": draw(scales),
        "sigma_b": draw(st.just(0.0) | scales),
        "kappa": draw(scales),
        "input_scale": draw(scales),
    }
    N, d = draw(st.integers(1, 6)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    points = draw(scales) * rng.standard_normal((N, d))
    if draw(st.booleans()):  # nearly or exactly equal to another
        points[-1] = points[0] * (1 + draw(st.sampled_from([0.0, 1e-15, 1e-8, 1e-3])))
    labels = draw(scales) * rng.standard_normal(N)
    options = {
        "lam": draw(st.just(0.0) | scales),
        "ridge": draw(st.just(0.0) | scales),
        "solver": draw(st.sampled_from(["exact", "exact", "iterative"])),
    }
    if draw(st.booleans()):
        options["jacobian_targets"] = rng.standard_normal((N, d))
    return mlp, points, labels, options, draw(st.just(math.inf) | scales)


TINY = {"depth": 2, "activation": "erf", "sigma_w": 1e-49, "sigma_b": 0.0, "kappa": 1.0, "input_scale": 1.0}


@settings(max_examples=60)
@given(problems())
@example((TINY, np.full((1, 1), 0.01), np.full(1, -0.1), {"lam": 0.0, "ridge": 0.0, "solver": "exact"}, 1.0))
def test_answers_are_finite_and_solve_their_equation_or_are_refused_by_name(problem):
    parameters, points, labels, options, time = problem
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            mlp = MLP(**parameters)
            flow = RobustFlow(mlp, points, labels, **options)
            value, jacobian = flow.at(time, np.concatenate([points, -2 * points]))
            report = flow.at(time).report
            spread = flow.value_std(time)
        except NAMED as error:
            event(type(error).__name__)
            return
    event(f"answered, t = {'finite' if time < math.inf else 'inf'}, {len(caught)} warnings")
    assert not [w for w in caught if not issubclass(w.category, UserWarning | scipy.linalg.LinAlgWarning)]
    assert all(np.isfinite(rows).all() for rows in (value, jacobian, spread))
    if report is not None and not caught:
        assert report.residual < 1e-6
    if not caught:  # training never moves away from its targets
        targets = options.get("jacobian_targets", np.zeros_like(points))
        root, (N, _) = math.sqrt(options["lam"]), points.shape
        missed = np.hypot(np.linalg.norm(labels - value[:N]), root * np.linalg.norm(targets - jacobian[:N]))
        assert missed < (1 + 1e-6) * np.hypot(np.linalg.norm(labels), root * np.linalg.norm(targets))
