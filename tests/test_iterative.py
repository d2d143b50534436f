"""What products with the kernel alone give, against dense matrices."""

import functools
import math
import pickle

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse.linalg
from helpers import unit_points as points
from numpy.testing import assert_allclose

from jacntk_lib import MLP, jacobian_ntk
from jacntk_lib.dynamics import RobustFlow, rational_krylov
from jacntk_lib.dynamics import system as _system
from jacntk_lib.errors import ConvergenceError
from jacntk_lib.kernels import scalars
from jacntk_lib.regression import JacobianKernelRegressor
from jacntk_lib.solve import Exact, Iterative

TIGHT = 1e-11


def problem(case):
    """Arguments of RobustFlow: every kind of problem that the exact solver treats."""
    case = dict(CASES[case])
    N, d, K = case.pop("shape")
    rng = np.random.default_rng(7)
    X, y = points(N, d), rng.standard_normal((N, K))
    if case.pop("ties", False):
        X[1], X[2] = X[0], -X[3]
    if case.pop("sobolev", False):
        case["jacobian_targets"] = rng.standard_normal((N, K, d))
    if case.pop("origin", False):
        X[0] = 0.0
    if case.pop("missing", False):
        y[::3] = np.nan
        case["jacobian_targets"][1::6] = np.nan
        case["jacobian_targets"][2::3, :, :2] = np.nan
    mlp = MLP(case.pop("depth", 2), case.pop("activation", "erf"), input_scale=case.pop("scale", 1.0))
    return {"mlp": mlp, "X": X, "y": y, "ridge": 1e-3, **case}


CASES = {
    "several outputs": {"shape": (24, 4, 3), "depth": 3},
    "gelu": {"shape": (24, 4, 1), "activation": "gelu", "ridge": 1e-2, "lam": 0.1},
    "more dimensions than points": {"shape": (7, 20, 2), "sobolev": True},
    "no penalty": {"shape": (24, 3, 2), "lam": 0.0},
    "one lambda per column": {"shape": (20, 3, 2), "lam": np.array([[0.2, 0.0, 1.0]])},
    "a third not observed": {"shape": (20, 4, 2), "lam": 0.1, "missing": True, "sobolev": True},
    "a scale per column": {"shape": (20, 3, 2), "scale": (0.5, 2.0, 1.0), "ties": True},
    "one lambda per point": {"shape": (20, 3, 2), "lam": np.r_[np.zeros(5), np.linspace(0.01, 1, 15)]},
    "duplicates and antipodes": {"shape": (24, 4, 2), "ties": True},
    "a point at the origin": {"shape": (16, 3, 2), "origin": True},
    "one point on a line": {"shape": (1, 1, 1)},
}


def both(case, **more):
    arguments = problem(case)
    more = {"tolerance": 1e-9, "exact_rows": 30} | more  # or the preconditioner would be exact on all of so few
    return (
        RobustFlow(**arguments, solver="exact"),
        RobustFlow(**arguments, solver=Iterative(**more)),
        points(5, arguments["X"].shape[1], seed=3),
    )


def agree(expected, got, atol):
    scale = max(1.0, np.abs(expected.value).max(), np.abs(expected.jacobian).max())
    assert_allclose(got.value, expected.value, rtol=0, atol=atol * scale)
    assert_allclose(got.jacobian, expected.jacobian, rtol=0, atol=atol * scale)


# -------------------------------------------------------------------- flows


@pytest.mark.parametrize("case", CASES)
def test_infinite_time_is_the_exact_solution(case):
    exact, iterative, X_new = both(case, tolerance=TIGHT)
    for X in (None, X_new):
        agree(exact.at(math.inf, X), iterative.at(math.inf, X), 1e-8)
    report = iterative.at(math.inf).report
    assert report.residual <= TIGHT
    assert report.products < 200
    assert report.condition >= 0.99 * exact._system.spectrum.condition(exact.ridge)


@pytest.mark.parametrize("case", CASES)
def test_every_time_is_the_exact_flow(case):
    exact, iterative, X_new = both(case)
    for t in (0.0, 1e-2, 10.0, 1e4, 1e6, 1e10):  # the last is far beyond the time that the ridge sets
        agree(exact.at(t, X_new), iterative.at(t, X_new), 1e-6)


@pytest.mark.parametrize(("steps", "share"), [(3, 0.99), (200, 0.99), (1000, 0.99), (1000, 0.3), (10**6, 0.9)])
def test_steps_of_gradient_descent(steps, share):
    exact, iterative, X_new = both("several outputs")
    rate = share * exact.max_learning_rate
    agree(exact.after(steps, rate, X_new), iterative.after(steps, rate, X_new), 1e-6)


def test_steps_beyond_stability():
    exact, iterative, X_new = both("several outputs")
    rate = 1.1 * exact.max_learning_rate
    with pytest.raises(ValueError, match="gradient descent diverges"):
        iterative.after(10, rate)
    agree(
        exact.after(10, rate, X_new, allow_unstable=True), iterative.after(10, rate, X_new, allow_unstable=True), 1e-9
    )
    with pytest.raises(ValueError, match="grown beyond float64"):
        iterative.after(200, 1e3 * rate, allow_unstable=True)


def test_an_output_that_needs_one_direction_beside_one_that_needs_many():
    """Targets along an eigenvector exhaust their Krylov space at once; the other output goes on."""
    arguments = problem("several outputs")
    X, (N, d) = arguments["X"], arguments["X"].shape
    S = jacobian_ntk(arguments["mlp"], X).scaled(0.01).dense()
    targets = np.linalg.eigh(S)[1][:, -2].reshape(N, 1 + d)
    arguments["y"] = np.stack([targets[:, 0], arguments["y"][:, 0]], axis=1)
    arguments["jacobian_targets"] = np.stack([targets[:, 1:] / 0.1, np.zeros((N, d))], axis=1)
    for t in (10.0, 1e4):
        agree(*(RobustFlow(**arguments, solver=name).at(t) for name in ("exact", "iterative")), 1e-6)


def test_a_start_that_is_not_zero():
    def start(Z):
        slope = np.arange(1.0, Z.shape[1] + 1)
        rows = np.concatenate([np.sin(Z @ slope)[:, None], np.cos(Z @ slope)[:, None] * slope], axis=1)
        return np.stack([rows, -rows], axis=1)

    exact, iterative, X_new = both("more dimensions than points")
    for t in (100.0, math.inf):
        agree(exact.at(t, X_new, start), iterative.at(t, X_new, start), 1e-6)


def test_the_error_is_not_underestimated():
    """The estimate holds for the training outputs, and a looser tolerance does with fewer products."""
    arguments = problem("several outputs")
    exact = RobustFlow(**arguments, solver="exact")
    products = []
    for tolerance in (1e-3, 1e-6, 1e-9):
        flow = RobustFlow(**arguments, solver=Iterative(tolerance, exact_rows=80))
        for t in (1.0, 100.0, 1e5, 1e7):
            got, expected = flow.at(t), exact.at(t)
            assert got.report.residual <= tolerance
            error = np.linalg.norm(got.value - expected.value, axis=0) / np.linalg.norm(exact.y, axis=0)
            assert error.max() <= got.report.residual
        products.append(got.report.products)
    assert products == sorted(products)
    assert products[0] < products[-1]


@pytest.mark.parametrize("case", ["several outputs", "gelu", "more dimensions than points", "duplicates and antipodes"])
def test_the_reported_error_holds_at_new_points_within_a_factor_of_ten(case):
    """Measured on the training outputs and the coefficients; elsewhere it tells how far off both are."""
    arguments = problem(case)
    X_new = points(40, arguments["X"].shape[1], seed=3)
    exact = RobustFlow(**arguments, solver="exact")
    for tolerance in (1e-3, 1e-6, 1e-9):
        flow = RobustFlow(**arguments, solver=Iterative(tolerance, exact_rows=80))
        for t in (100.0, 1e5, 1e7, math.inf):
            got, expected = flow.at(t, X_new), exact.at(t, X_new)
            assert got.report.residual <= tolerance
            for mine, true in ((got.value, expected.value), (got.jacobian, expected.jacobian)):
                mine, true = (x.reshape(len(X_new), arguments["y"].shape[1], -1) for x in (mine, true))
                errors, sizes = (np.sqrt((x**2).sum(axis=(0, 2))) for x in (mine - true, true))
                assert (errors <= 10 * got.report.residual * sizes).all()


def test_condition_where_nothing_was_solved():
    """At the start, and after steps taken one by one, the condition is still that of S + ridge I."""
    exact, iterative, _ = both("several outputs")
    rate = 0.5 * exact.max_learning_rate
    for report in (iterative.at(0.0).report, iterative.after(3, rate).report):
        assert report.residual == 0.0
        assert report.condition >= 0.99 * exact._system.spectrum.condition(exact.ridge) > 100
    no_ridge = RobustFlow(**{**problem("several outputs"), "ridge": 0.0}, solver="iterative")
    assert no_ridge.after(3, rate).report.condition == math.inf


def test_lanczos_that_does_not_converge_is_said_so(monkeypatch):
    monkeypatch.setattr(rational_krylov, "eigsh", functools.partial(rational_krylov.eigsh, maxiter=1, ncv=2))
    with pytest.raises(ConvergenceError, match=r"largest eigenvalue of S, 120 unknowns.*solver='exact'"):
        _ = RobustFlow(**problem("several outputs"), solver="iterative").max_learning_rate


def test_largest_eigenvalue():
    for case in CASES:
        exact, iterative, _ = both(case)
        assert_allclose(iterative.max_learning_rate, exact.max_learning_rate, rtol=1e-8)
    one = {"X": [[1.5, 0.5, 0.0]], "y": [1.0], "lam": 50.0, "ridge": 1e-6}  # whose largest is along no point
    exact, iterative = (RobustFlow(MLP(2, "erf"), **one, solver=solver) for solver in ("exact", "iterative"))
    w = np.sort(exact.eigenvalues)
    assert_allclose(w[-1], w[-2], rtol=1e-12)  # those of derivatives across the point
    assert_allclose(iterative.max_learning_rate, exact.max_learning_rate, rtol=1e-8)


@pytest.mark.parametrize(("lam", "ridge"), [(1e-8, 1e-3), (1e-9, 1e-6)])
def test_a_penalty_below_the_ridge(lam, ridge):
    arguments = problem("several outputs") | {"lam": lam, "ridge": ridge}
    iterative, exact = (RobustFlow(**arguments, solver=solver).at(math.inf) for solver in ("iterative", "exact"))
    assert_allclose(iterative.value, exact.value, atol=1e-5 * np.abs(exact.value).max())


def test_spread_over_initialisations():
    exact, iterative, X_new = both("several outputs")
    assert_allclose(iterative.value_std(1e3, X_new), exact.value_std(1e3, X_new), rtol=1e-6)


def test_auto_is_exact_up_to_a_size(monkeypatch):
    arguments = problem("several outputs")
    assert RobustFlow(**arguments).solver == Exact()
    assert RobustFlow(**arguments).at(1.0).report is None
    monkeypatch.setattr(_system, "EXACT_UP_TO", 24 * 5 - 1)
    flow = RobustFlow(**arguments)
    assert flow.solver == Iterative()
    assert flow.at(1.0).report.products > 0


@pytest.mark.parametrize("ask", [lambda flow: flow.eigenvalues, lambda flow: flow.at(math.inf)])
def test_no_answer_depends_on_what_was_asked_before(ask):
    arguments = problem("several outputs")
    fresh, asked = RobustFlow(**arguments), RobustFlow(**arguments)
    ask(asked)
    for t in (1.0, math.inf):
        assert (fresh.at(t).value == asked.at(t).value).all()
        assert fresh.at(t).report == asked.at(t).report


@pytest.mark.parametrize(
    "question",
    [
        lambda flow: flow.eigenvalues,
        lambda flow: flow.half_life(),
        lambda flow: flow.horizon,
        lambda flow: flow.eigenfeatures(),
        lambda flow: flow.ensemble(1.0),
    ],
)
def test_what_products_cannot_answer_names_the_exact_solver(question):
    with pytest.raises(ValueError, match="does not form; pass solver='exact'"):
        question(RobustFlow(**problem("no penalty"), solver="iterative"))


def test_no_convergence_is_an_error_that_says_how_far(monkeypatch):
    arguments = problem("several outputs")
    with pytest.raises(ConvergenceError, match=r"stopped at relative residual \S+ after \d+ products.*condition"):
        RobustFlow(**arguments, solver=Iterative(max_iterations=3, exact_rows=30)).at(math.inf)
    monkeypatch.setattr(rational_krylov, "_MAX_BASIS", 3)
    with pytest.raises(ConvergenceError, match="in 3 solves: the last two approximations differ by"):
        RobustFlow(**arguments, solver="iterative").at(1e5)


def test_without_ridge_it_solves_or_says_that_it_did_not():
    X = points(12, 3)
    y = np.sign(X[:, 0])
    exact = RobustFlow(MLP(3, "gelu"), X, y, lam=0.1, solver="exact").at(math.inf)
    agree(exact, RobustFlow(MLP(3, "gelu"), X, y, lam=0.1, solver="iterative").at(math.inf), 1e-7)
    near = np.concatenate([X, X[:1] + 1e-9])
    with pytest.raises(ConvergenceError, match="may be as large as inf"):
        RobustFlow(MLP(1), near, np.append(y, -y[0]), solver="iterative").at(math.inf)


def test_regressor():
    rng = np.random.default_rng(0)
    X, y, X_new = rng.standard_normal((20, 3)), rng.standard_normal((20, 2)), rng.standard_normal((4, 3))
    for time in (math.inf, 1e3):
        exact = JacobianKernelRegressor(ridge=1e-3, time=time, solver="exact").fit(X, y)
        iterative = JacobianKernelRegressor(ridge=1e-3, time=time, solver=Iterative(1e-8)).fit(X, y)
        assert iterative.report_.products > 0
        assert_allclose(iterative.predict(X_new), exact.predict(X_new), atol=1e-6)
        assert_allclose(iterative.predict_jacobian(X_new), exact.predict_jacobian(X_new), atol=1e-6)


def test_pickles_and_goes_on():
    iterative = RobustFlow(**problem("several outputs"), solver="iterative")
    expected = iterative.at(1e3)
    iterative.at(math.inf)
    agree(expected, pickle.loads(pickle.dumps(iterative)).at(1e3), 1e-12)


def test_memory_reaches_the_flow_and_the_regressor():
    arguments, X_new = problem("gelu"), points(5, 4, seed=3)
    expected = RobustFlow(**arguments, solver=Iterative(TIGHT)).at(1e3, X_new)
    tight = RobustFlow(**arguments, solver=Iterative(TIGHT, memory=1))
    assert isinstance(tight._system.gram._scalars, scalars.Recomputed)
    agree(expected, tight.at(1e3, X_new), 1e-9)
    regressor = JacobianKernelRegressor(solver=Iterative(tolerance=1e-4, memory=1), ridge=1e-2)
    assert regressor.fit(arguments["X"], arguments["y"]).report_.residual < 1e-4
    assert isinstance(regressor.flow_._system.gram._scalars, scalars.Recomputed)


# -------------------------------------------------------------------- systems


def test_solutions_with_a_gram_matrix():
    gram = jacobian_ntk(MLP(3), points(20, 4)).scaled(0.01)
    b = np.random.default_rng(0).standard_normal((gram.shape[0], 2))
    matrix = gram.dense() + 1e-3 * np.eye(len(b))
    exact = scipy.linalg.solve(matrix, b, assume_a="pos")
    x, report = Iterative(TIGHT, exact_rows=30).solve(gram, b, ridge=1e-3)
    assert_allclose(x, exact, atol=1e-8 * np.abs(exact).max())
    assert report.residual <= TIGHT
    assert report.condition >= np.linalg.cond(matrix)
    assert report.products == len(report.history)
    assert report.history[-1] == report.residual
    _, plain = Iterative(tolerance=1e-6, preconditioned=False).solve(gram, b, ridge=1e-3)
    assert plain.products > (report.history > 1e-6).sum()
    alone, _ = Iterative(TIGHT, exact_rows=30).solve(gram, b[:, 0], ridge=1e-3)
    assert_allclose(alone, exact[:, 0], atol=1e-8 * np.abs(exact).max())
    with pytest.raises(ConvergenceError, match="relative residual"):
        Iterative(max_iterations=2, exact_rows=30).solve(gram, b, ridge=1e-3)


def test_scipys_own_solvers_take_the_operator():
    gram = jacobian_ntk(MLP(2), points(8, 3))
    b = np.ones(gram.shape[0])
    x, failed = scipy.sparse.linalg.cg(gram + 0.1 * scipy.sparse.linalg.aslinearoperator(np.eye(len(b))), b, rtol=1e-10)
    assert failed == 0
    assert_allclose(x, Iterative(TIGHT).solve(gram, b, ridge=0.1)[0], atol=1e-8)
    largest = scipy.sparse.linalg.eigsh(gram, k=1, return_eigenvectors=False)[0]
    assert_allclose(largest, np.linalg.eigvalsh(gram.dense())[-1])
