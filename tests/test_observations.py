"""What was observed, row by row: a weight of zero, or NaN among the targets, is no observation at all."""

import math

import numpy as np
import pytest
import scipy.linalg
from helpers import rows, some_network, weights
from helpers import unit_points as points
from numpy.testing import assert_allclose

from jacntk_lib import MLP, jacobian_ntk
from jacntk_lib.dynamics import RobustFlow
from jacntk_lib.errors import SingularGramError
from jacntk_lib.solve import Iterative

N, D = 9, 3
SOLVERS = {"exact": "exact", "iterative": Iterative(tolerance=1e-11)}


def observations(pattern):
    """Values and gradients, NaN where nothing was observed, and the weights (N, d) of the gradients."""
    rng = np.random.default_rng(2)
    y, slopes, lam = rng.standard_normal(N), rng.standard_normal((N, D)), np.full((N, D), 0.2)
    if pattern == "some points have no gradient":
        slopes[::2] = np.nan
    if pattern == "one column has none":
        slopes[:, 1] = np.nan
    if pattern == "some points have a gradient alone":
        y[::3] = np.nan
    if pattern == "gradients alone, but for one value":
        y[1:] = np.nan
    if pattern == "scattered":
        y[[0, 4]], slopes[[1, 4, 4], [0, 0, 2]], slopes[6] = np.nan, np.nan, np.nan
        lam = rng.random((N, D))
    return y, slopes, lam


PATTERNS = [
    "some points have no gradient",
    "one column has none",
    "some points have a gradient alone",
    "gradients alone, but for one value",
    "scattered",
]


def by_subset(mlp, X, X_new, y, slopes, lam, solve):
    """Theta_*O L solve(L Theta_OO L) L y_O with L the roots of the weights, all on the observed rows O alone, dense."""
    goal = np.concatenate([y[:, None], slopes], axis=1).ravel()
    seen = ~np.isnan(goal)
    root = np.sqrt(weights(lam, len(X), X.shape[1])[seen])
    theta = jacobian_ntk(mlp, np.concatenate([X, X_new]), X).dense()[:, seen]
    S = root[:, None] * theta[: len(seen)][seen] * root
    return theta[len(seen) :] @ (root * (solve(S) @ (root * goal[seen])))


@pytest.mark.parametrize("scale", [1.0, (0.5, 1.5, 1.0)], ids=str)
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_infinite_time_is_the_dense_solve_on_what_was_observed(pattern, solver, scale):
    mlp, X, X_new = MLP(2, "gelu", sigma_b=0.3, input_scale=scale), points(N, D), points(4, D, seed=1)
    y, slopes, lam = observations(pattern)
    expected = by_subset(mlp, X, X_new, y, slopes, lam, lambda S: np.linalg.inv(S + 1e-3 * np.eye(len(S))))
    flow = RobustFlow(mlp, X, y, lam, slopes, 1e-3, solver=SOLVERS[solver])
    assert_allclose(rows(flow.at(math.inf, X_new)), expected, atol=1e-8)
    # the same by weights of zero, with whatever number in place of NaN
    if not np.isnan(y).any():
        zero = np.where(np.isnan(slopes), 0.0, lam)
        filled = RobustFlow(mlp, X, y, zero, np.nan_to_num(slopes, nan=77.0), 1e-3, solver=SOLVERS[solver])
        assert_allclose(rows(filled.at(math.inf, X_new)), expected, atol=1e-8)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_finite_times_leave_what_was_not_observed_out_of_the_loss(pattern, solver):
    mlp, X, X_new, t = MLP(2, sigma_b=0.3, kappa=0.5), points(N, D), points(4, D, seed=1), 40.0
    y, slopes, lam = observations(pattern)

    def tau(S):
        w, V = np.linalg.eigh(S)
        return V @ np.diag(-np.expm1(-t * 0.25 / N * w) / w) @ V.T

    flow = RobustFlow(mlp, X, y, lam, slopes, solver=SOLVERS[solver])
    got = rows(flow.at(t, X_new))
    assert_allclose(got, by_subset(mlp, X, X_new, y, slopes, lam, tau), atol=1e-7)
    if solver == "exact":
        for initial in (None, some_network):
            stepped = flow.integrate(t, X_new, initial)
            assert_allclose(rows(stepped), rows(flow.at(t, X_new, initial)), atol=1e-8)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_without_ridge_everything_observed_is_met(pattern):
    X = points(N, D)
    y, slopes, lam = observations(pattern)
    value, jacobian = RobustFlow(MLP(3, "gelu", sigma_b=0.5), X, y, lam, slopes).at(math.inf)
    assert_allclose(value[~np.isnan(y)], y[~np.isnan(y)], atol=1e-7)
    assert_allclose(jacobian[~np.isnan(slopes)], slopes[~np.isnan(slopes)], atol=1e-7)


def test_a_point_measured_twice_counts_what_each_measurement_saw():
    """Value at one copy, one derivative at another, and two readings of a second derivative: their weighted mean."""
    X, X_new, mlp = points(4, 2)[[0, 1, 2, 0, 3, 0]], points(3, 2, seed=1), MLP(2, "gelu", sigma_b=0.3)
    y = np.array([0.4, -1.0, 0.2, np.nan, 1.0, np.nan])
    slopes = np.full((6, 2), np.nan)
    slopes[3], slopes[5] = (0.7, 0.1), (np.nan, 0.5)
    lam = np.full((6, 2), 0.3)
    lam[5] = 0.1
    once = np.array([0.4, -1.0, 0.2, 1.0]), np.full((4, 2), np.nan), np.full((4, 2), 0.3)
    once[1][0], once[2][0, 1] = (0.7, (0.3 * 0.1 + 0.1 * 0.5) / 0.4), 0.4
    merged = RobustFlow(mlp, X, y, lam, slopes, 1e-3).at(math.inf, X_new)
    assert_allclose(rows(merged), rows(RobustFlow(mlp, points(4, 2), *once[::2], once[1], 1e-3).at(math.inf, X_new)))
    with pytest.raises(SingularGramError, match=r"points 3 and 5 are equal.*derivatives by input 1 \[0.1\] and \[0.5"):
        RobustFlow(mlp, X, y, lam, slopes).at(math.inf)
    early = RobustFlow(mlp, X, y, lam, slopes)
    assert_allclose(rows(early.at(50.0, X_new)), rows(early.integrate(50.0, X_new)), atol=1e-8)


def test_the_preconditioner_pays_with_weights_by_row():
    """A scale per column, and some rows missing: fewer products than without, by a factor."""
    rng = np.random.default_rng(0)
    X, y, slopes = rng.standard_normal((60, 6)), rng.standard_normal(60), rng.standard_normal((60, 6))
    slopes[rng.random((60, 6)) < 0.2] = np.nan
    mlp = MLP(2, "gelu", sigma_b=0.5, input_scale=(0.2, 0.5, 1.0, 0.1, 0.3, 0.4))
    products = [
        RobustFlow(mlp, X, y, 1.0, targets, 1e-3, solver=Iterative(1e-8, preconditioned=p)).at(math.inf).report.products
        for p, targets in ((True, slopes), (True, np.nan_to_num(slopes)), (False, slopes))
    ]
    assert products[0] < products[2] / 3
    assert products[0] < 1.5 * products[1]  # hardly more than where everything was observed


def test_few_gradients_among_many_points_form_no_matrix_of_all_rows(monkeypatch):
    X, slopes = points(150, 3), np.full((150, 3), np.nan)
    slopes[140] = 1.0
    shapes = []
    eigh = scipy.linalg.eigh
    monkeypatch.setattr(scipy.linalg, "eigh", lambda a, **more: shapes.append(a.shape) or eigh(a, **more))
    RobustFlow(MLP(2), X, np.ones(150), 0.1, slopes, 0.1).at(10.0)
    assert shapes[0] == (153, 153)


def test_the_outputs_share_what_was_observed():
    X, y, slopes = points(4, 2), np.ones((4, 2)), np.zeros((4, 2, 2))
    y[1, 0] = np.nan
    with pytest.raises(ValueError, match=r"point 1: the value is NaN \(not observed\) for some outputs and not"):
        RobustFlow(MLP(2), X, y, 0.1, slopes)
    y[1, 1] = np.nan
    slopes[2, 1, 0] = np.nan
    with pytest.raises(ValueError, match="point 2: the derivative by input 0 is NaN"):
        RobustFlow(MLP(2), X, y, 0.1, slopes)
