"""Points on the sphere: nets and lattices, how far apart their points are, and the caps that they leave free."""

import numpy as np
import pytest
from scipy import special

from jacntk_book import datasets

# Nets


def test_sphere_net_is_spread_out():
    X = datasets.sphere_net(256, 4, seed=0)
    assert X.shape == (256, 4)
    np.testing.assert_allclose(np.linalg.norm(X, axis=1), 1, rtol=0, atol=1e-15)
    spread = datasets.separation(X)
    assert spread.smallest_distance > 0.43
    assert spread.smallest_antipodal_distance > 0.2


@pytest.mark.parametrize(("n", "d"), [(2, 2), (4, 2), (6, 3), (24, 3), (7, 100)])
def test_sphere_net_avoids_the_antipodal_optima(n, d):
    """The square and the octahedron spread best, and are antipodal: the net must settle for less."""
    spread = datasets.separation(datasets.sphere_net(n, d, seed=1))
    assert spread.smallest_antipodal_distance > 0.4 * min(spread.smallest_distance, 1)


def test_plain_repulsion_is_there_for_comparison():
    """It spreads hardly better, and leaves pairs that are nearly antipodal; the square, its optimum, exactly so."""
    plain = datasets.separation(datasets.sphere_net(256, 4, antipodal_range=0))
    assert plain.smallest_distance < 0.46
    assert plain.smallest_antipodal_distance < 0.05
    assert datasets.separation(datasets.sphere_net(4, 2, antipodal_range=0)).smallest_antipodal_distance < 1e-3


@pytest.mark.parametrize(
    "net",
    [lambda: datasets.sphere_net(64, 4, seed=3), lambda: datasets.fibonacci_sphere(256, 4)],
    ids=["net", "lattice"],
)
def test_points_do_not_depend_on_the_machine(net, monkeypatch):
    """Rounding errors a hundred times the machine's, injected where coordinates are rounded, leave no bit changed."""
    reference, noise, exact = net(), np.random.default_rng(0), np.round
    monkeypatch.setattr(np, "round", lambda X: exact(X + 2.0**16 * 2e-14 * noise.standard_normal(X.shape)))
    np.testing.assert_array_equal(net(), reference)
    assert noise.random() != np.random.default_rng(0).random()  # noise was drawn


def test_sphere_net_depends_on_its_seed_alone():
    X = datasets.sphere_net(12, 3, seed=5)
    np.testing.assert_array_equal(X, datasets.sphere_net(12, 3, seed=5))
    assert np.abs(X - datasets.sphere_net(12, 3, seed=6)).max() > 0.1


def test_sphere_net_of_one_point():
    assert datasets.sphere_net(1, 1).shape == (1, 1)
    assert np.linalg.norm(datasets.sphere_net(1, 5)) == pytest.approx(1, abs=1e-15)


def test_separation_counts_every_pair():
    X = np.random.default_rng(0).standard_normal((9, 3))
    pairs = [(X[i], X[j]) for i in range(9) for j in range(i)]
    spread = datasets.separation(X)
    assert spread.smallest_distance == min(np.linalg.norm(x - z) for x, z in pairs)
    assert spread.smallest_antipodal_distance == min(np.linalg.norm(x + z) for x, z in pairs)
    assert datasets.separation(X[:1]) == (np.inf, np.inf)


# The Fibonacci lattice


def test_fibonacci_lattice_in_three_dimensions_turns_by_the_golden_angle():
    n = 200
    X = datasets.fibonacci_sphere(n, 3)
    np.testing.assert_allclose(X[:, 0], (2 * np.arange(n) + 1) / n - 1, atol=2e-5)  # heights; rounded to 2^-16
    middle = slice(40, 160)  # near the poles that rounding turns more
    turns = np.diff(np.unwrap(np.arctan2(X[:, 2], X[:, 1])[middle])) / (2 * np.pi)
    np.testing.assert_allclose(turns % 1, (5**0.5 - 1) / 2, atol=2e-5)


def test_fibonacci_lattice_on_the_circle_is_a_regular_polygon():
    z = datasets.fibonacci_sphere(7, 2) @ [1, 1j]
    np.testing.assert_allclose(z / z[0], np.exp(2j * np.pi * np.arange(7) / 7), atol=1e-4)


@pytest.mark.parametrize(("d", "worst"), [(3, 0.003), (4, 0.006), (5, 0.01)])
def test_fibonacci_lattice_gives_equal_areas_equally_many_points(d, worst):
    """In 300 caps the share of 4096 points is the share of the area, more nearly than of random points."""
    X = datasets.fibonacci_sphere(4096, d)
    draw = np.random.default_rng(0)
    centres, heights = draw.standard_normal((300, d)), draw.uniform(-1, 1, 300)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)

    def miss(X):
        area = special.betainc((d - 1) / 2, (d - 1) / 2, (1 - heights) / 2)
        return np.abs((heights < X @ centres.T).mean(axis=0) - area).max()

    random = draw.standard_normal(X.shape)
    assert miss(X) < worst < miss(random / np.linalg.norm(random, axis=1, keepdims=True))


def test_256_points_of_the_fibonacci_lattice_in_four_dimensions_are_a_half_net():
    """What Kim and Yang say of theirs; and no two of them are equal or antipodal."""
    X = datasets.fibonacci_sphere(256, 4)
    np.testing.assert_allclose(np.linalg.norm(X, axis=1), 1, rtol=0, atol=1e-15)
    assert 0.48 < datasets.covering_radius(X) <= 0.5
    spread = datasets.separation(X)
    assert spread.smallest_distance > 0.24
    assert spread.smallest_antipodal_distance > 0.02
    np.testing.assert_array_equal(X, datasets.fibonacci_sphere(256, 4))


@pytest.mark.parametrize("d", [2, 3, 4, 5])
def test_covering_radius_of_the_cross(d):
    """The 2d points on the axes leave the corners of the cube furthest away."""
    cross = np.concatenate([np.eye(d), -np.eye(d)])
    assert datasets.covering_radius(cross) == pytest.approx(np.sqrt(2 - 2 / np.sqrt(d)), rel=1e-12)


def test_covering_radius_is_reached_and_not_exceeded():
    X = datasets.sphere_net(64, 4)
    Z = np.random.default_rng(0).standard_normal((200_000, 4))
    Z /= np.linalg.norm(Z, axis=1, keepdims=True)
    tried = np.sqrt(2 - 2 * (Z @ X.T).max(axis=1)).max()
    assert 0.97 < tried / datasets.covering_radius(X) < 1
