"""Attacks against optima that are known, and never outside their ball; and the one step that all features share."""

import math

import numpy as np
import pytest
import scipy.stats
from helpers import alternating as labels
from helpers import normal_points as points
from numpy.testing import assert_allclose, assert_array_equal

from jacntk_lib.robustness import accuracy_under_attack, attack, one_step
from jacntk_lib.robustness.threats import threat_of

NORMS = ["l2", "linf"]


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
