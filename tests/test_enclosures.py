"""The entries in ball arithmetic against the float64 kernels, and the bounds against 40 digits."""

import numpy as np
import pytest

from jacntk_lib import MLP, jacobian_nngp, jacobian_ntk
from jacntk_lib.spectrum import arb, enclosures

pytest.importorskip("flint", reason="python-flint is the exact oracle of this file")
TANGENT = pytest.mark.parametrize("tangent", [True, False], ids=["ntk", "nngp"])
NETWORKS = [
    MLP(1, "erf"),
    MLP(4, "erf", sigma_b=0.3),
    MLP(2, "gelu", normalise=False, sigma_w=1.3),
    MLP(5, "gelu", input_scale=0.7),
    MLP(3, "sin", sigma_b=0.1),
    MLP(2, "gelu", input_scale=(0.7, 1.5, 0.2)),
]


@pytest.fixture(scope="module")
def points():
    """Generic ones, and the awkward ones: equal, nearly equal, antipodal, nearly antipodal, the origin, long."""
    X = np.random.default_rng(0).standard_normal((9, 3))
    X[1], X[2], X[3], X[4] = X[0], X[0] + 1e-9, -X[0], -X[0] * (1 + 1e-9)
    X[5], X[6] = 0.0, 8 * X[6]
    return X


def in_high_precision(mlp, X, **options):
    with arb.precision(160):
        return enclosures.gram_in_arb(mlp, X, **options)


@TANGENT
@pytest.mark.parametrize("mlp", NETWORKS, ids=str)
def test_float64_balls_contain_the_exact_entries(mlp, tangent, points):
    exact = in_high_precision(mlp, points, tangent=tangent)
    matrix, radius = enclosures.gram_in_float64(mlp, points, tangent=tangent)
    with arb.precision(160):
        worst = max(float(e.rad()) for e in exact.entries())
        outside = [
            (i, j)
            for i in range(len(matrix))
            for j in range(len(matrix))
            if not abs(exact[i, j] - matrix[i, j]) <= radius[i, j]
        ]
    assert worst < 1e-25
    assert not outside
    assert (matrix == matrix.T).all()
    assert (radius == radius.T).all()


@TANGENT
@pytest.mark.parametrize("mlp", NETWORKS, ids=str)
def test_the_kernels_of_the_library_agree(mlp, tangent, points):
    # an independent implementation: other formulas for the sine, other assembly, no jax
    exact, _ = arb.to_float64(in_high_precision(mlp, points, tangent=tangent))
    dense = (jacobian_ntk if tangent else jacobian_nngp)(mlp, points).dense()
    size = np.sqrt(np.diagonal(exact)) + 1e-3  # the origin has a vanishing diagonal entry
    assert (np.abs(dense - exact) / np.outer(size, size)).max() < 2e-12


def test_values_only_is_the_value_part(points):
    mlp = MLP(3, "gelu")
    matrix, radius = enclosures.gram_in_float64(mlp, points, tangent=True, values_only=True)
    whole, _ = enclosures.gram_in_float64(mlp, points, tangent=True)
    assert (matrix == whole[::4, ::4]).all()
    assert matrix.shape == radius.shape == (9, 9)
    arb_values, _ = arb.to_float64(in_high_precision(mlp, points, tangent=True, values_only=True))
    assert (np.abs(arb_values - matrix) <= radius + 1e-15 * np.abs(matrix)).all()


def test_bounds_stay_useful_with_depth():
    X = np.random.default_rng(1).standard_normal((12, 4))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    for depth, largest in ((1, 1e-12), (6, 1e-8), (11, 1e-5)):
        for activation in ("erf", "gelu"):
            matrix, radius = enclosures.gram_in_float64(MLP(depth, activation), X, tangent=True)
            assert (radius / np.abs(np.diagonal(matrix)).max()).max() < largest


def test_precision_is_the_one_asked_for(points):
    with arb.precision(64):
        coarse = enclosures.gram_in_arb(MLP(2), points[:2], tangent=True)
    fine = in_high_precision(MLP(2), points[:2], tangent=True)
    assert all(c.overlaps(f) for c, f in zip(coarse.entries(), fine.entries(), strict=True))
    assert float(coarse[0, 0].rad()) > 1e10 * float(fine[0, 0].rad())
