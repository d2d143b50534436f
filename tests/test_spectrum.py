"""The smallest eigenvalue of the limiting kernels, with proof."""

import itertools

import mpmath
import numpy as np
import pytest

from jacntk_book import datasets
from jacntk_lib import MLP, jacobian_nngp, jacobian_ntk
from jacntk_lib.activations import Activation, softplus_derivatives
from jacntk_lib.spectrum import arb, certify, enclosures, extreme_eigenvalues, smallest_eigenvalue

X = datasets.sphere_net(24, 3, seed=0)
OCTAHEDRON = np.concatenate([np.eye(3), -np.eye(3)])


@pytest.mark.parametrize("activation", ["erf", "gelu", "sin"])
@pytest.mark.parametrize("depth", [2, 5])
@pytest.mark.parametrize("build", [jacobian_ntk, jacobian_nngp])
@pytest.mark.parametrize("values_only", [False, True])
def test_bracket_holds_the_float64_eigenvalue(activation, depth, build, values_only):
    G = build(MLP(depth, activation), X)
    found = smallest_eigenvalue(G, values_only=values_only, high_precision=False)
    eigenvalues = np.linalg.eigvalsh(G.values() if values_only else G.dense())
    noise = 1e-13 * eigenvalues[-1]
    assert found.lower - noise <= eigenvalues[0] <= found.upper + noise
    if eigenvalues[0] > 100 * noise:
        assert found.verdict == "certified positive"
        assert found.upper <= 2 * found.lower
        assert "float64" in found.method


def test_statement_says_what_is_certified():
    found = smallest_eigenvalue(jacobian_ntk(MLP(2, "gelu"), X))
    assert "exact Jacobian NTK Gram matrix of the given float64 inputs" in found.statement
    assert "MLP(depth=2, activation='gelu'" in found.statement
    assert "value NNGP" in smallest_eigenvalue(jacobian_nngp(MLP(2), X), values_only=True).statement


def test_beyond_float64():
    # nearly equal points: the smallest eigenvalue is of the order of the sixth power of their distance
    pytest.importorskip("flint")
    pairs = np.concatenate([X[:4], X[:4] + 1e-4])
    G = jacobian_ntk(MLP(2, "gelu"), pairs)
    assert smallest_eigenvalue(G, high_precision=False).verdict == "undecided"
    found = smallest_eigenvalue(G)
    assert found.verdict == "certified positive"
    assert found.method.startswith("congruence at")
    assert 0 < found.lower <= found.upper <= 2 * found.lower < 1e-12
    # a 60-digit determinant agrees about the sign and the scale: an independent route to the same statement
    with arb.precision(256):
        entries = enclosures.gram_in_arb(MLP(2, "gelu"), pairs, tangent=True)
        table = [[entries[i, j].mid().str(70, radius=False) for j in range(32)] for i in range(32)]
    with mpmath.workdps(60):
        smallest = min(mpmath.eigsy(mpmath.matrix(table), eigvals_only=True))
    assert found.lower <= float(smallest) <= found.upper


def test_deep_network_whose_float64_bounds_are_too_wide():
    # at this depth the running error bounds exceed the eigenvalue, entries at 128 bits do not
    pytest.importorskip("flint")
    G = jacobian_ntk(MLP(25, "erf"), X[:6])
    assert smallest_eigenvalue(G, high_precision=False).verdict == "undecided"
    found = smallest_eigenvalue(G)
    assert found.verdict == "certified positive"
    assert found.method == "float64 Cholesky, entries at 128 bits"
    assert found.lower <= np.linalg.eigvalsh(G.dense())[0] * (1 + 1e-6)


def test_the_high_precision_certificate_at_320_rows():
    pytest.importorskip("flint")
    points = datasets.sphere_net(32, 4, seed=0)
    G = jacobian_ntk(MLP(1, "gelu"), np.concatenate([points, points + 2.0**-12]))
    assert G.shape == (320, 320)
    fast = smallest_eigenvalue(G, high_precision=False)
    assert fast.verdict == "undecided"
    found = smallest_eigenvalue(G)
    assert found.verdict == "certified positive"
    assert "congruence" in found.method
    assert found.lower >= fast.lower
    assert found.upper <= min(2 * found.lower, fast.upper)


@pytest.mark.parametrize(
    ("mlp", "points", "cause"),
    [
        (MLP(4, "erf"), OCTAHEDRON, "antipodal pairs"),
        (MLP(1, "gelu"), OCTAHEDRON, "antipodal pairs"),
        (MLP(3, "gelu"), np.zeros((1, 2)), "point at the origin"),
        (MLP(3, "gelu", sigma_b=1.0), np.ones((2, 2)), "duplicate points"),
    ],
    ids=["erf", "gelu", "origin", "duplicates"],
)
def test_singular_with_its_vector(mlp, points, cause):
    G = jacobian_ntk(mlp, points)
    found = smallest_eigenvalue(G)
    assert found.verdict == "certified singular"
    assert found.method.startswith(cause)
    assert found.lower == found.upper == 0.0
    assert np.abs(G @ found.vector).max() < 1e-14
    assert np.linalg.norm(found.vector) == pytest.approx(1)


def test_same_points_without_the_cause_are_positive():
    assert smallest_eigenvalue(jacobian_ntk(MLP(2, "gelu"), OCTAHEDRON)).verdict == "certified positive"
    assert smallest_eigenvalue(jacobian_ntk(MLP(4, "erf", sigma_b=0.3), OCTAHEDRON)).verdict == "certified positive"


def test_values_may_be_positive_where_the_jacobian_is_singular():
    # GELU at depth 1: the identity mixes values and derivatives unless there are more pairs than dimensions
    G = jacobian_ntk(MLP(1, "gelu"), OCTAHEDRON)
    assert smallest_eigenvalue(G).verdict == "certified singular"
    assert smallest_eigenvalue(G, values_only=True).verdict == "certified positive"
    assert smallest_eigenvalue(jacobian_ntk(MLP(2), OCTAHEDRON), values_only=True).verdict == "certified singular"


CELL24 = np.concatenate([np.eye(4), -np.eye(4), list(itertools.product((0.5, -0.5), repeat=4))])  # 12 antipodal pairs
IN_A_PLANE = np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0.3, 0, 0.7, 0]])  # one more than their span has dimensions
NEARLY = IN_A_PLANE + 1e-30 * np.eye(3, 4)  # independent, though no float64 routine can tell


@pytest.mark.parametrize(
    ("half", "nullity"),
    [(CELL24, 12 - 4), (np.eye(3), 0), (IN_A_PLANE, 1), (NEARLY, 0)],
    ids=["24-cell", "octahedron", "in a plane", "nearly in a plane"],
)
def test_values_are_singular_where_pairs_are_dependent(half, nullity):
    """GELU at depth 1: sum c_k x_k = 0 makes the same combination of f(x_k) - f(-x_k) vanish."""
    points = np.unique(np.concatenate([half, -half]), axis=0)
    G = jacobian_ntk(MLP(1, "gelu"), points)
    found = smallest_eigenvalue(G, values_only=True, high_precision=False)
    assert (found.verdict == "certified singular") == (nullity > 0)
    eigenvalues = np.linalg.eigvalsh(G.values())
    if nullity:
        assert (eigenvalues < 1e-13 * eigenvalues[-1]).sum() == nullity
        assert np.abs(G.values() @ found.vector).max() < 1e-14
        assert np.linalg.norm(found.vector) == pytest.approx(1)


def test_rounding_to_float32_can_be_certified_negative():
    # the rounded matrix is another matrix, and provably not a Gram matrix
    pytest.importorskip("flint")
    G = jacobian_ntk(MLP(1, "gelu"), datasets.sphere_net(40, 3, seed=0))
    assert smallest_eigenvalue(G).verdict == "certified positive"
    rounded = G.dense().astype(np.float32).astype(np.float64)
    assert certify(rounded).verdict == "certified negative"


def test_extreme_eigenvalues():
    G = jacobian_ntk(MLP(3, "gelu"), X)
    smallest, largest = extreme_eigenvalues(G)
    eigenvalues = np.linalg.eigvalsh(G.dense())
    assert smallest == pytest.approx(eigenvalues[0], rel=1e-8)
    assert largest == pytest.approx(eigenvalues[-1])
    # a principal submatrix: Cauchy interlacing
    value_smallest, value_largest = extreme_eigenvalues(G, values_only=True)
    assert smallest < value_smallest < value_largest < largest
    single = extreme_eigenvalues(G, dtype=np.float32)
    assert single[1] == pytest.approx(largest, rel=1e-4)
    assert single[1] != largest


def test_an_activation_is_not_known_by_its_name():
    impostor = Activation.from_derivatives("erf", softplus_derivatives())
    with pytest.raises(ValueError, match="quadrature"):
        smallest_eigenvalue(jacobian_ntk(MLP(1, impostor), X[:3]))
