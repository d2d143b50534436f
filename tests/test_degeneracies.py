"""Exact singularity, found in the data and checked on finite networks of random weights and on the limits."""

import math
from functools import cache

import jax
import numpy as np
import pytest
import torch

from jacntk_lib import MLP, finite, jacobian_nngp, jacobian_ntk
from jacntk_lib.activations import Activation
from jacntk_lib.networks import FiniteMLP
from jacntk_lib.spectrum import degeneracies, null_space


def generic(n, d, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


def symmetric(p, d):
    X = generic(p, d)
    return np.concatenate([X, -X])


@cache
def monomial(q):
    """z^q."""

    def derivative(k):
        return lambda z: math.perm(q, k) * z ** max(q - k, 0) if k <= q else 0 * z

    return Activation.from_derivatives(
        f"power {q}",
        [derivative(k) for k in range(5)],
        torch_jet=lambda z, order: tuple(math.perm(q, k) * z ** max(q - k, 0) + 0 * z for k in range(order + 1)),
    )


@cache
def sigmoid():
    """A constant plus an odd function, which the library has to find out."""
    polynomials = (
        lambda s: s,
        lambda s: s * (1 - s),
        lambda s: s * (1 - s) * (1 - 2 * s),
        lambda s: s * (1 - s) * (1 - 6 * s + 6 * s * s),
        lambda s: s * (1 - s) * (1 - 2 * s) * (1 - 12 * s + 12 * s * s),
    )
    return Activation.from_derivatives(
        "sigmoid",
        [lambda z, p=p: p(jax.nn.sigmoid(z)) for p in polynomials],
        torch_jet=lambda z, order: tuple(p(torch.sigmoid(z)) for p in polynomials[: order + 1]),
        regularity="analytic",
    )


CASES = {
    "duplicates, erf": (MLP(2, "erf"), np.concatenate([generic(4, 3), generic(4, 3)[:2]]), 8),
    "duplicates, with bias": (MLP(3, "gelu", sigma_b=0.5), np.concatenate([generic(4, 3), generic(4, 3)[:1]]), 4),
    "triplicate": (MLP(1, "gelu"), generic(3, 2)[[0, 1, 1, 1, 2]], 6),
    "origin": (MLP(3, "gelu"), np.concatenate([generic(4, 3), np.zeros((1, 3))]), 1),
    "origin, erf": (MLP(1, "erf"), np.concatenate([generic(4, 3), np.zeros((1, 3))]), 1),
    "origin twice": (MLP(2, "gelu"), np.concatenate([generic(4, 3), np.zeros((2, 3))]), 5),
    "antipodes, erf, depth 1": (MLP(1, "erf"), symmetric(3, 3), 12),
    "antipodes, erf, depth 4": (MLP(4, "erf"), symmetric(3, 3), 12),
    "antipodes, sine": (MLP(2, "sin"), symmetric(2, 2), 6),
    "antipodes, GELU, depth 1": (MLP(1, "gelu"), symmetric(3, 3), 3 + 3 * 2),
    "antipodes, GELU, one pair": (MLP(1, "gelu"), np.concatenate([symmetric(1, 3), generic(2, 3, 5)]), 1),
    "antipodes, GELU, and the origin": (MLP(1, "gelu"), np.concatenate([symmetric(3, 2), np.zeros((1, 2))]), 3 + 4 + 3),
    "antipodes, GELU, dependent": (MLP(1, "gelu"), symmetric(5, 2), 5 + 2 * 4),
    "antipodes, GELU, in a plane": (MLP(1, "gelu"), symmetric(3, 2) @ np.eye(2, 3), 3 + 3 * 2),
    "antipodes, softplus": (MLP(1, "softplus"), symmetric(3, 2), 3 + 2 * 2),
    "antipodes, sigmoid": (MLP(1, sigmoid()), symmetric(2, 2), 6 - 1),
    "antipodes, sigmoid, and the origin": (MLP(1, sigmoid()), np.concatenate([symmetric(2, 2), np.zeros((1, 2))]), 6),
    "antipodes and duplicates": (MLP(2, "erf"), np.concatenate([symmetric(2, 3), symmetric(2, 3)[:1]]), 8 + 4),
    "square": (MLP(1, monomial(2)), generic(2, 3), 3),
    "square, antipodes": (MLP(1, monomial(2)), symmetric(2, 3), 8 + 3),
    "square, bias, a conic squared": (MLP(2, monomial(2), sigma_b=0.5), generic(5, 2), 1),
    "Euler, square, depth 2": (MLP(2, monomial(2)), generic(3, 3), 3),
    "Euler, cube": (MLP(1, monomial(3)), generic(3, 3), 3),
}


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


def residual(G, vectors):
    """Largest entry of G n over the scale that its terms have."""
    return np.abs(G @ vectors).max() / (np.abs(G).max() * np.abs(vectors).max())


def test_number_of_null_vectors(case):
    mlp, X, count = case
    found = degeneracies(mlp, X)
    basis = null_space(found)
    assert basis.shape[1] == count
    assert np.abs(basis.T @ basis - np.eye(count)).max() < 1e-12
    assert np.linalg.matrix_rank(np.concatenate([one.null_vectors for one in found], axis=1)) == count


def test_limits_are_singular_there(case):
    mlp, X, _ = case
    basis = null_space(degeneracies(mlp, X))
    for build in (jacobian_ntk, jacobian_nngp):
        assert residual(build(mlp, X).dense(), basis) < 1e-12


def test_finite_networks_are_singular_there(case):
    mlp, X, _ = case
    basis = null_space(degeneracies(mlp, X))
    for width, seed in ((3, 0), (50, 1)):
        net = FiniteMLP(mlp, width, X.shape[1], seed=seed)
        for kernel in (finite.jacobian_ntk, finite.jacobian_nngp):
            assert residual(kernel(net, X).numpy(), basis) < 1e-12


# the sine is entire, and its other eigenvalues are below rounding
RESOLVED = [name for name in CASES if "sine" not in name]


def number_of_zeros(G):
    """Eigenvalues that float64 cannot tell from zero, with a gap of two orders of magnitude to the others."""
    relative = np.linalg.eigvalsh(G)
    relative /= relative[-1]
    assert not ((relative > 1e-14) & (relative < 1e-12)).any()
    return (relative < 1e-14).sum()


@pytest.mark.parametrize("name", RESOLVED)
def test_nothing_else_is_singular(name):
    mlp, X, count = CASES[name]
    assert number_of_zeros(jacobian_ntk(mlp, X).dense()) == count


@pytest.mark.parametrize("name", RESOLVED)
def test_finite_networks_of_width_n_times_one_plus_d_have_the_nullity_of_the_limit(name):
    mlp, X, count = CASES[name]
    net = FiniteMLP(mlp, X.size + len(X), X.shape[1], seed=0)
    assert number_of_zeros(finite.jacobian_ntk(net, X).numpy()) == count


def times(F, G):
    """The jets (1+d, ...) of a product of functions: the product rule."""
    return np.concatenate([(F[0] * G[0])[None], F[1:] * G[0] + F[0] * G[1:]])


def through(g, phi):
    """The jets of phi(g) for a polynomial phi, a list of coefficients."""
    power, total = 0 * g, 0 * g
    power[0] += 1
    for coefficient in phi:
        total = total + coefficient * power
        power = times(power, g)
    return total


def jets_of_gradient(phi, depth, width, x):
    """Values and input derivatives at x of df/dW for all weights W, in integers: (1+d, number of weights).

    The weights are whole numbers; scaling them, and phi, to those of an MLP does not change what is independent.
    """
    rng = np.random.default_rng(0)  # the same network at every point
    d, slope = len(x), [k * c for k, c in enumerate(phi)][1:]
    h = np.array([x, *np.eye(d, dtype=int).tolist()], dtype=object)  # jets of the inputs
    gradient = np.zeros((1 + d, 0, 1), dtype=object)  # of every neuron of a layer by every weight before it
    for layer in range(depth + 1):
        W = np.array(rng.integers(-9, 10, (width if layer < depth else 1, h.shape[1])), dtype=object)
        inputs = np.zeros((1 + d, *W.shape, len(W)), dtype=object)
        for k in range(len(W)):
            inputs[:, k, :, k] = h
        before = gradient @ W.T if layer else np.zeros((1 + d, 0, len(W)), dtype=object)
        gradient = np.concatenate([before, inputs.reshape(1 + d, -1, len(W))], axis=1)
        if layer < depth:
            g = h @ W.T
            gradient = times(gradient, through(g, slope)[:, None, :])
            h = through(g, phi)
    return gradient[:, :, 0]


@pytest.mark.parametrize(
    "phi", [[0, 0, 1], [0, 1, 1], [0, 0, 0, 1], [1, 1, 0, 1]], ids=["z^2", "z^2+z", "z^3", "z^3+z+1"]
)
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("special", ["general", "antipode", "origin"])
def test_finite_networks_have_the_nullity_of_the_limit_exactly(phi, depth, special):
    """The rank of the gradients of values and derivatives by all weights, in integers; width N(1+d)."""
    flint = pytest.importorskip("flint")
    X = np.random.default_rng(1).integers(-5, 6, (4, 2))
    X[3] = {"general": X[3], "antipode": -X[0], "origin": 0 * X[0]}[special]
    rows = np.concatenate([jets_of_gradient(phi, depth, X.size + len(X), x.tolist()) for x in X])
    degrees = [tuple(k for k, c in enumerate(phi) if c and k % 2 == parity) for parity in (0, 1)]
    found = degeneracies(MLP(depth, Activation("polynomial", 1.0, *degrees)), X)
    assert flint.fmpz_mat(rows.tolist()).rank() == len(rows) - sum(one.count for one in found)


@pytest.mark.parametrize("name", RESOLVED)
def test_null_vectors_of_values_are_columns_of_their_own(name):
    mlp, X, _ = CASES[name]
    vectors = np.concatenate([one.null_vectors for one in degeneracies(mlp, X)], axis=1)
    vectors = vectors.reshape(len(X), 1 + X.shape[1], -1)
    values = vectors[:, 0, ~vectors[:, 1:].any(axis=(0, 1))]
    assert number_of_zeros(jacobian_ntk(mlp, X).values()) == values.shape[1]


def test_causes_are_named_with_their_points():
    X = np.concatenate([symmetric(1, 2), np.zeros((1, 2)), symmetric(1, 2)[:1]])
    assert [(one.cause, one.points, one.identity) for one in degeneracies(MLP(2, "erf"), X)] == [
        ("duplicate points", ((0, 3),), "J_a f(x) = J_a f(x') for every a"),
        ("point at the origin", ((2,),), "f(0) = 0"),
        ("antipodal pairs", ((0, 1),), "f(-x) = -f(x), Jf(-x) = Jf(x)"),
    ]
    assert [(one.cause, one.identity) for one in degeneracies(MLP(1, monomial(2)), X)] == [
        ("duplicate points", "J_a f(x) = J_a f(x') for every a"),
        ("point at the origin", "f(0) = 0, Jf(0) = 0"),
        ("antipodal pairs", "f(-x) = f(x), Jf(-x) = -Jf(x)"),
        ("polynomial activation", "f is a polynomial whose terms have degree 2"),
    ]


def ramp(z):
    """Zero, then cubic, then z: twice continuously differentiable, Lipschitz, not analytic at -1, 0 and 1."""
    z, above = np.minimum(z, 1), np.maximum(z - 1, 0)
    return np.where(z < 0, np.maximum(1 + z, 0) ** 3, 6 * z + (1 - z) ** 3) / 6 + above


def ramp_slope(z):
    z = np.clip(z, -1, 1)
    return np.where(z < 0, (1 + z) ** 2, 2 - (1 - z) ** 2) / 2


LIPSCHITZ = {  # phi and phi' as combinations s ramp(t z - u) of the triples (s, t, u), a constant, and the parts
    "softplus' kind": ([(1, 1, 0)], 0, (0, ...), (1,)),
    "even": ([(1, 1, 0), (1, -1, 0)], 0, (0, ...), ()),
    "odd, flat at 0": ([(1, 1, 2), (-1, -1, 2)], 0, (), (3, ...)),
    "neither": ([(1, 1, 0.5)], 0, (0, ...), (1, ...)),
    "sigmoid's kind, flat at 0": ([(1, 1, 1), (-1, -1, 1)], 1, (0,), (3, ...)),
}


@pytest.mark.parametrize("name", LIPSCHITZ)
@pytest.mark.parametrize("points", [(1, -1), (1, 0.5), (1, -1, 0.5, -0.5), (1, 0.5, 0), (1, -1, 0)])
def test_lipschitz_activations_that_are_not_analytic(name, points):
    """Sigma^1 on the line is the Gram matrix of the functions phi(x w), w phi'(x w) of a normal w: their rank."""
    terms, constant, even, odd = LIPSCHITZ[name]
    w = np.linspace(-9, 9, 100_001)
    functions = []
    for x in points:
        functions.append(constant + sum(s * ramp(t * x * w - u) for s, t, u in terms))
        functions.append(w * sum(s * t * ramp_slope(t * x * w - u) for s, t, u in terms))
    functions = np.array(functions) * np.exp(-w * w / 4)
    found = degeneracies(MLP(1, Activation(name, 1.0, even, odd, "lipschitz")), np.array(points)[:, None])
    rank = np.linalg.matrix_rank(functions, tol=1e-12 * np.linalg.norm(functions))
    assert rank == len(functions) - sum(one.count for one in found)


def jets_of_networks(phi, slope, depth, points, width=8, count=1000):
    """(count, 2N): values and derivatives at points of the line, by point, of random networks without bias."""
    rng = np.random.default_rng(0)
    W = 2 * rng.standard_normal((count, 1, width))
    g, J = np.array(points)[:, None] * W, np.ones((len(points), 1)) * W
    for layer in range(depth):
        W = rng.standard_normal((count, width, width if layer < depth - 1 else 1))
        g, J = phi(g) @ W, (slope(g) * J) @ W
    return np.stack([g, J], axis=2).reshape(count, -1)


@pytest.mark.parametrize("name", LIPSCHITZ)
@pytest.mark.parametrize("points", [(1, -1), (1, -1, 0.5, -0.5), (1, 0.5, 0), (1, -1, 0.5, 0)])
@pytest.mark.parametrize("depth", [2, 3])
def test_lipschitz_activations_at_more_layers(name, points, depth):
    """The range of Sigma^L is what the jets of networks span: no kernel, no expectation, no limit."""
    terms, constant, even, odd = LIPSCHITZ[name]
    jets = jets_of_networks(
        lambda z: constant + sum(s * ramp(t * z - u) for s, t, u in terms),
        lambda z: sum(s * t * ramp_slope(t * z - u) for s, t, u in terms),
        depth,
        points,
    )
    found = degeneracies(MLP(depth, Activation(name, 1.0, even, odd, "lipschitz")), np.array(points)[:, None])
    rank = 2 * len(points) - sum(one.count for one in found)
    for tolerance in (1e-12, 1e-5):  # far below the smallest singular value that stays, far above those that vanish
        assert np.linalg.matrix_rank(jets, tol=tolerance * np.linalg.norm(jets, 2)) == rank


def test_negative_zero_is_zero():
    X = np.array([[0.0, 1.0], [-0.0, 1.0], [0.0, -1.0]])
    duplicate, antipode = degeneracies(MLP(1), X)
    assert duplicate.points == ((0, 1),)
    assert antipode.points == ((0, 2),)


def test_nearly_equal_points_are_not_equal():
    X = np.array([[1.0, 0.5], [np.nextafter(1.0, 2.0), 0.5]])
    assert degeneracies(MLP(1), X) == ()


# Appendix G of the paper: squares, one hidden layer


def relations_of_squares(X):
    """(N(N+1)/2, N(1+d)): 2 f(x) = <x, Jf(x)> for every point, <x_j, Jf(x_i)> = <x_i, Jf(x_j)> for every pair."""
    N, d = X.shape
    rows = np.zeros((N * (N + 1) // 2, N, 1 + d))
    for k, i in enumerate(range(N)):
        rows[k, i, 0], rows[k, i, 1:] = 2, -X[i]
    for k, (i, j) in enumerate(zip(*np.triu_indices(N, 1), strict=True), start=N):
        rows[k, i, 1:], rows[k, j, 1:] = X[j], -X[i]
    return rows.reshape(len(rows), -1)


@pytest.mark.parametrize("N", [1, 2, 4])
def test_jacobian_ntk_of_squares_is_singular_for_every_number_of_points(N):
    """Nullity N(N+1)/2 for N <= d independent points, for finite networks and in the limit; the NTK is regular."""
    mlp, X = MLP(1, monomial(2)), generic(N, 4)
    relations = relations_of_squares(X)
    assert np.linalg.matrix_rank(relations) == N * (N + 1) // 2
    limit = jacobian_ntk(mlp, X)
    for K in (limit.dense(), finite.jacobian_ntk(FiniteMLP(mlp, 50, 4, seed=0), X).numpy()):
        assert residual(K, relations.T) < 1e-12
        assert np.linalg.matrix_rank(K / np.abs(K).max(), tol=1e-9) == 5 * N - N * (N + 1) // 2
    assert np.linalg.cond(limit.values()) < 1e6
