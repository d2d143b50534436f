"""Where Sigma and Theta are singular, by theorem, against ranks certified in ball arithmetic.

Nothing but the enclosures' recursion is shared: Gaussian expectations, but for GELU's, are written out again below.
Predicted null vectors are tested in balls to 1e-40, and what is left of each matrix is proved to be positive definite.
The number of random configurations is JACNTK_CONFIGURATIONS, 500 if not set. If JACNTK_RANKS names a file, their counts
are written there: ``make ranks`` does both, for the count that the book states.
"""

import json
import math
import os
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg

from jacntk_book.results import provenance
from jacntk_lib import MLP, activations, jacobian_ntk
from jacntk_lib.activations import Activation, Expectations
from jacntk_lib.activations.parts import parts, reach
from jacntk_lib.dynamics.ties import Distinct
from jacntk_lib.spectrum import degeneracies, enclosures, positivity, smallest_eigenvalue

flint = pytest.importorskip("flint", reason="ranks are certified with python-flint")

CONFIGURATIONS = int(os.environ.get("JACNTK_CONFIGURATIONS", "500"))


# ------------------------------------------------------------------------------- activations as even plus odd part
#
# E[phi^(i)(u) phi^(j)(v)] with i + j even is the sum of that of the two parts: mixed terms are odd in (u, v). A part is
# a pair: its first five derivatives, and a function (i, j, a, b, c) for its expectations in balls.


def pairings(n):
    """In how many ways n things, n even, fall into pairs."""
    return math.prod(range(n - 1, 0, -2))


def power(q):
    def derivative(k):
        return lambda z: math.perm(q, k) * z ** max(q - k, 0)

    def moment(i, j, a, b, c):
        """E[u^i v^j]: the sum over the number k of pairs (u, v) in Wick's theorem."""
        total = flint.arb(0)
        for k in range(i % 2, min(i, j) + 1, 2):
            ways = math.perm(i, k) * math.perm(j, k) // math.factorial(k) * pairings(i - k) * pairings(j - k)
            total += ways * math.prod([c] * k + [a] * ((i - k) // 2) + [b] * ((j - k) // 2), start=flint.arb(1))
        return total

    def expectation(i, j, a, b, c):
        if max(i, j) > q:
            return flint.arb(0)
        return math.perm(q, i) * math.perm(q, j) * moment(q - i, q - j, a, b, c)

    return [derivative(k) for k in range(5)], expectation


def wave(parity, sign):
    """Cosine and sine for sign -1, the hyperbolic ones for +1; the even one for parity 0."""
    even, odd = (jnp.cos, jnp.sin) if sign < 0 else (jnp.cosh, jnp.sinh)

    def coefficient(k):  # the k-th derivative is this multiple of the even or the odd one
        return 1 if sign > 0 else (-1) ** ((k + 1 - parity) // 2)

    def derivative(k):
        return lambda z: coefficient(k) * (odd, even)[(k + parity) % 2 == 0](z)

    def expectation(i, j, a, b, c):
        scale = coefficient(i) * coefficient(j)
        plus, minus = (sign * (a + b) / 2 + c).exp(), (sign * (a + b) / 2 - c).exp()
        return scale * (plus + minus if (i + parity) % 2 == 0 else plus - minus) / 2

    return [derivative(k) for k in range(5)], expectation


def cosine_less_one():
    derivatives, expectation = wave(0, -1)

    def less(i, j, a, b, c):
        K = expectation(i, j, a, b, c)
        if j == 0:
            K -= wave(0, -1)[1](i, 0, a, flint.arb(0), flint.arb(0))
        if i == 0:
            K -= wave(0, -1)[1](0, j, flint.arb(0), b, flint.arb(0))
        return K + (i == j == 0)

    return [lambda z: jnp.cos(z) - 1, *derivatives[1:]], less


def error_function():
    def density(polynomial):
        return lambda z: polynomial(z) * jnp.exp(-z * z) * 2 / math.sqrt(math.pi)

    def expectation(i, j, a, b, c):
        arb = flint.arb
        al, be, D = 1 + 2 * a, 1 + 2 * b, 1 + 2 * a + 2 * b + 4 * (a * b - c * c)
        p = 4 / (arb.pi() * D.sqrt())
        return {
            (0, 0): lambda: 2 / arb.pi() * arb.atan2(2 * c, D.sqrt()),
            (1, 1): lambda: p,
            (2, 0): lambda: -2 * c * p / al,
            (0, 2): lambda: -2 * c * p / be,
            (2, 2): lambda: 4 * c * p / D,
            (3, 1): lambda: -2 * be * p / D,
            (1, 3): lambda: -2 * al * p / D,
            (3, 3): lambda: 4 * p / D * (1 + 12 * c * c / D),
            (4, 2): lambda: -24 * c * be * p / D / D,
            (2, 4): lambda: -24 * c * al * p / D / D,
        }[i, j]()

    hermite = (lambda z: 1 + 0 * z, lambda z: -2 * z, lambda z: 4 * z * z - 2, lambda z: 12 * z - 8 * z**3)
    return [jax.lax.erf, *map(density, hermite)], expectation


COS, SIN, COSH, SINH = wave(0, -1), wave(1, -1), wave(0, 1), wave(1, 1)
ERF, ONE = error_function(), power(0)
ACTIVATIONS = {  # the parts, and the degrees that the library has to find in them
    "erf": ([ERF], (), (1, ...)),
    "sin": ([SIN], (), (1, ...)),
    "cos": ([COS], (0, ...), ()),
    "cos - 1": ([cosine_less_one()], (...,), ()),
    "1 + erf": ([ONE, ERF], (0,), (1, ...)),  # sigmoid's kind
    "z^2 + sin": ([power(2), SIN], (2,), (1, ...)),
    "cos + z": ([COS, power(1)], (0, ...), (1,)),  # softplus' kind
    "cos + z^3": ([COS, power(3)], (0, ...), (3,)),
    "sin + cos": ([SIN, COS], (0, ...), (1, ...)),
    "exp": ([COSH, SINH], (0, ...), (1, ...)),
    "z^2": ([power(2)], (2,), ()),
    "z^3": ([power(3)], (), (3,)),
    "z^2 + z": ([power(2), power(1)], (2,), (1,)),
    "1 + z^3": ([ONE, power(3)], (0,), (3,)),
}
NAMES = ["gelu", *ACTIVATIONS]


def activation(name):
    """Without the quadrature of ``from_derivatives``: only the degrees are asked for."""
    if name == "gelu":
        return name
    summands = ACTIVATIONS[name][0]
    derivatives = [lambda z, k=k: sum(part[k](z) for part, _ in summands) for k in range(5)]
    return Activation(name, 1.0, *parts(name, derivatives), "analytic", enclosure=closed_form(name))


def closed_form(name):
    summands = ACTIVATIONS[name][0]

    def expectations(a, b, c, field):
        orders = [(int(entry[1]), int(entry[2])) for entry in Expectations._fields]
        return Expectations(*(sum(part(i, j, a, b, c) for _, part in summands) for i, j in orders))

    def moment(a, field):
        K = expectations(a, a, a, field)
        return K.k00, K.k20 + K.k11

    return expectations, moment


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_degrees_are_found(name):
    _, even, odd = ACTIVATIONS[name]
    found = activation(name)
    assert (found.even_part, found.odd_part) == (even, odd)


def derivatives_of(phi):
    derivatives = [phi]
    for _ in range(4):
        derivatives.append(jnp.vectorize(jax.grad(derivatives[-1])))
    return derivatives


@pytest.mark.parametrize(
    ("phi", "found", "stated"),
    [
        (lambda z: jnp.cos(z) + 1e-12 * jnp.sin(z), ((0, ...), ()), {"odd_part": (1, ...)}),
        (lambda z: jnp.cos(z) + jnp.exp(-4 * (z - 9) ** 2), ((0, ...), (...,)), {"odd_part": (...,)}),
        (lambda z: jnp.cos(z) - 1 + 1e-11, ((...,), ()), {"even_part": (0, ...)}),
    ],
    ids=["small", "far out", "small at zero"],
)
def test_a_statement_wins_where_values_do_not_show_a_part(phi, found, stated):
    derivatives = derivatives_of(phi)
    assert parts("phi", derivatives) == found
    told = parts("phi", derivatives, **stated)
    assert told == (stated.get("even_part", found[0]), stated.get("odd_part", found[1]))


def analytic(phi, **stated):
    return Activation.from_derivatives("phi", derivatives_of(phi), regularity="analytic", **stated)


PAIR = np.array([[0.6, 0.8], [-0.6, -0.8]])  # of length 1: pre-activations of variance 1


def test_a_part_is_looked_for_as_far_as_preactivations_reach():
    bump = analytic(lambda z: jnp.cos(z) + jnp.exp(-4 * (z - 9) ** 2))
    answer = positivity(MLP(1, bump), PAIR)  # f(x) = f(-x) fails, if by little: 9 standard deviations
    assert answer.verdict == "positive definite"
    assert "even and odd parts were detected from values on [-16, 16]" in answer.reason
    far = analytic(lambda z: jnp.cos(z) + jnp.exp(-((z - 25) ** 2) / 2))
    mlp = MLP(1, far)
    near = positivity(mlp, PAIR)
    assert (near.verdict, near.nullity) == ("singular", 3)
    assert "detected from values on [-16, 16], of which less than 1e-10" in near.reason
    assert len(Distinct.among(mlp, PAIR).first) == 1
    out = positivity(mlp, 6 * PAIR)
    assert out.verdict == "positive definite"
    assert "[-64, 64]" in out.reason
    assert positivity(replace(mlp, input_scale=(6.0, 6.0)), PAIR).verdict == "positive definite"
    assert degeneracies(mlp, 6 * PAIR) == ()
    assert len(Distinct.among(mlp, 6 * PAIR).first) == 2


def test_what_values_cannot_tell_is_said_to_be_detected_and_a_statement_decides():
    def small(z):
        return jnp.cos(z) + 1e-12 * jnp.sin(z)

    detected, stated = (positivity(MLP(2, analytic(small, **told)), PAIR) for told in ({}, {"odd_part": (1, ...)}))
    assert (detected.verdict, detected.nullity, stated.verdict) == ("singular", 3, "positive definite")
    assert "the even and odd parts were detected" in detected.reason
    assert "the even part was detected" in stated.reason

    def small_at_zero(z):
        return jnp.cos(z) - 1 + 1e-11

    origin, both = np.zeros((1, 2)), {"even_part": (0, ...), "odd_part": ()}
    detected, stated = (positivity(MLP(1, analytic(small_at_zero, **told)), origin) for told in ({}, both))
    assert (detected.nullity, stated.nullity) == (3, 2)
    assert "detected" in detected.reason
    assert "detected" not in stated.reason


def test_a_range_on_which_phi_overflows_is_refused():
    with pytest.raises(ValueError, match=r"not finite on \[-1024, 1024\].*state both, even_part"):
        parts("exp", [jnp.exp] * 5, R=1024.0)
    with pytest.raises(ValueError, match=r"variance inf.*state even_part"):
        reach(np.inf)
    assert parts("exp", [jnp.exp] * 5, (0, ...), (1, ...), R=1024.0) == ((0, ...), (1, ...))


BUILT_IN = {
    "erf": jax.lax.erf,
    "gelu": partial(jax.nn.gelu, approximate=False),
    "sin": jnp.sin,
    "tanh": jnp.tanh,
    "softplus": jax.nn.softplus,
}


@pytest.mark.parametrize("name", activations.names())
def test_built_in_activations_are_what_they_state(name):
    derivatives = derivatives_of(BUILT_IN[name])
    phi = activations.get(name)
    assert parts(name, derivatives, phi.even_part, phi.odd_part) == (phi.even_part, phi.odd_part)  # else it raises
    assert phi.detected == ()


# ------------------------------------------------------------------------------- random configurations


def configuration(seed, phis):
    """A network and points with few digits, some of them in special position."""
    rng = np.random.default_rng(seed)
    name = NAMES[rng.integers(len(NAMES))]
    mlp = MLP(int(rng.integers(1, 4)), phis[name], sigma_b=0.5 * (rng.random() < 0.2))
    N, d = rng.integers(1, 7), rng.integers(1, 4)
    X = rng.integers(-4, 5, (N, d)) / 4
    for i in range(1, N):
        kind = rng.choice(["free", "antipode", "origin", "duplicate", "on a ray"], p=[0.5, 0.2, 0.1, 0.1, 0.1])
        factor = {"free": None, "antipode": -1, "origin": 0, "duplicate": 1, "on a ray": 0.5}[kind]
        if factor is not None:
            X[i] = factor * X[rng.integers(i)]
    return name, mlp, X


def exact_null_vectors(found, rows):
    """All relations as integers, (rows, nullity), an ``arb_mat``; and rounded."""
    columns = [(one, relation) for one in found for relation in one.relations]
    table = [[0] * len(columns) for _ in range(rows)]
    for k, (one, relation) in enumerate(columns):
        for (point, index), coefficient in relation.items():
            table[point * one.shape[1] + index][k] = coefficient
    rounded = np.concatenate([one.null_vectors for one in found], axis=1) if found else np.zeros((rows, 0))
    return flint.arb_mat(table) if columns else None, rounded


def is_positive_definite(table):
    """Whether Cholesky's elimination in balls meets positive pivots alone: a proof if it does."""
    rows = [list(row) for row in table]
    for k, pivot in enumerate(rows):
        if not pivot[k] > 0:
            return False
        for row in rows[k + 1 :]:
            factor = row[k] / pivot[k]
            for j in range(k + 1, len(rows)):
                row[j] -= factor * pivot[j]
    return True


def assert_rank(mlp, X, found):
    """Sigma and Theta are positive definite on a complement of the predicted null vectors, and 0 on these to 1e-40."""
    n = X.size + len(X)
    exact, rounded = exact_null_vectors(found, n)
    nullity = rounded.shape[1]
    left_out = set()
    if nullity:  # as many rows as there are null vectors, such that none of these vanishes on them
        assert np.linalg.matrix_rank(rounded) == nullity
        left_out = set(linalg.qr(rounded.T, pivoting=True, mode="r")[1][:nullity])
    kept = [k for k in range(n) if k not in left_out]
    for tangent in (False, True):
        for bits in (256, 512, 1024, 2048):
            flint.ctx.prec = bits
            G = enclosures.gram_in_arb(mlp, X, tangent=tangent)
            table = G.tolist()
            if is_positive_definite([[table[i][j] for j in kept] for i in kept]):
                break
        else:
            raise AssertionError(f"rank {len(kept)} of {n} is not certified with {bits} bits: {mlp}, {X.tolist()}")
        if nullity:
            size = max(abs(float(entry.mid())) for entry in G.entries()) * max(map(abs, exact.entries())).mid()
            for entry in (G * exact).entries():
                assert abs(entry) <= 1e-40 * size, (mlp, X.tolist())


def test_null_space_is_complete_in_random_configurations(monkeypatch):
    monkeypatch.setattr(flint.ctx, "prec", flint.ctx.prec)  # put back at the end
    phis = {name: activation(name) for name in NAMES}
    kinds = Counter()
    for seed in range(CONFIGURATIONS):
        name, mlp, X = configuration(seed, phis)
        found = degeneracies(mlp, X)
        answer = positivity(mlp, X)
        assert answer.verdict == ("singular" if found else "positive definite")
        assert answer.nullity == sum(one.count for one in found)
        assert_rank(mlp, X, found)
        kinds[answer.verdict] += 1
        kinds[name] += 1
    assert min(kinds["singular"], kinds["positive definite"]) > 0.2 * CONFIGURATIONS
    if target := os.environ.get("JACNTK_RANKS"):  # reached only if every rank was certified
        counts = {
            "configurations": CONFIGURATIONS,
            "matrices": 2 * CONFIGURATIONS,
            "kinds": dict(sorted(kinds.items())),
        }
        machine = provenance.hardware() | provenance.source() | {"versions": provenance.versions()}
        Path(target).write_text(json.dumps({"machine": machine} | counts, indent=1) + "\n", encoding="utf-8")


# ------------------------------------------------------------------------------- the table of exceptions


def general(n, d, seed=0):
    """Points with few digits and no relation between them."""
    return np.random.default_rng(seed).integers(-99, 100, (n, d)) / 64


def symmetric(p, d):
    return np.concatenate([general(p, d), -general(p, d)])


def with_origin(X):
    return np.concatenate([X, np.zeros((1, X.shape[1]))])


P, D = 4, 3
FULL = P * (1 + D)
SIGMOID, SOFTPLUS, GELU, SQUARE, CUBE = "1 + erf", "cos + z", "gelu", "z^2", "z^3"
TABLE = {  # name: activation, depth, sigma_b, points, nullity
    "a duplicate, with bias": (GELU, 2, 0.5, general(P, D)[[0, 1, 2, 2]], 1 + D),
    "the origin, phi(0) = 0": (GELU, 2, 0.0, with_origin(general(P, D)), 1),
    "the origin, phi'(0) = 0": ("cos", 3, 0.0, with_origin(general(P, D)), D),
    "the origin, both": ("cos - 1", 2, 0.0, with_origin(general(P, D)), 1 + D),
    "the origin, neither": (SOFTPLUS, 1, 0.0, with_origin(general(P, D)), 0),
    "the origin, bias": ("cos - 1", 2, 0.5, with_origin(general(P, D)), 0),
    "pairs, odd": ("erf", 3, 0.0, symmetric(P, D), FULL),
    "pairs, even": ("cos", 2, 0.0, symmetric(P, D), FULL),
    "pairs, linear odd part": (GELU, 1, 0.0, symmetric(P, D), FULL - D),
    "pairs, linear odd part, and the origin": (SOFTPLUS, 1, 0.0, with_origin(symmetric(P, D)), FULL),
    "pairs, linear odd part, and the origin, phi(0) = 0": (GELU, 1, 0.0, with_origin(symmetric(P, D)), FULL + 1),
    "pairs, constant plus odd": (SIGMOID, 1, 0.0, symmetric(P, D), FULL - 1),
    "pairs, constant plus odd, and the origin": (SIGMOID, 1, 0.0, with_origin(symmetric(P, D)), FULL),
    "pairs, cubic odd part": ("cos + z^3", 1, 0.0, symmetric(P, D), FULL - 10),  # C(5, 2) cubic forms
    "pairs, neither, depth 2": (GELU, 2, 0.0, symmetric(P, D), 0),
    "pairs, constant plus odd, depth 2": (SIGMOID, 2, 0.0, symmetric(P, D), 0),
    "pairs, bias": ("erf", 1, 0.5, symmetric(P, D), 0),
    "squares, N <= d": (SQUARE, 1, 0.0, general(3, 4), 6),
    "cubes, general": (CUBE, 1, 0.0, general(5, 3), 20 - 10),
    "cubes, depth 2": (CUBE, 2, 0.0, general(5, 3), 5),  # Euler's relations alone
    # Alexander and Hirschowitz (1995): one more than N(1+d) - min(N d, number of forms)
    "quartics at 5 points of the plane": (SQUARE, 2, 0.0, general(5, 3), 20 - 15 + 1),
    "quartics at 9 points of space": (SQUARE, 2, 0.0, general(9, 4), 45 - 35 + 1),
    "cubics at 7 points": (CUBE, 1, 0.0, general(7, 5), 42 - 35 + 1),
    "a conic squared, bias": (SQUARE, 2, 0.5, general(5, 2), 1),
}


@pytest.mark.parametrize("name", TABLE)
def test_table_of_exceptions(name, monkeypatch):
    monkeypatch.setattr(flint.ctx, "prec", flint.ctx.prec)
    phi, depth, sigma_b, X, nullity = TABLE[name]
    mlp = MLP(depth, activation(phi), sigma_b=sigma_b)
    answer = positivity(mlp, X)
    assert (answer.nullity, answer.verdict) == (nullity, "singular" if nullity else "positive definite")
    assert np.abs(answer.null_vectors.T @ answer.null_vectors - np.eye(nullity)).max(initial=0.0) < 1e-14
    assert_rank(mlp, X, degeneracies(mlp, X))


def test_nearly_antipodal_points_are_no_exception():
    X = symmetric(1, 2)
    X[1, 0] = np.nextafter(X[1, 0], 2)
    assert positivity(MLP(2, "erf"), X).verdict == "positive definite"


def unknown(regularity):
    even, odd = ACTIVATIONS["sin + cos"][1:]
    return Activation("mine", 1.0, even, odd, regularity)


def test_what_is_not_stated_is_not_covered():
    X, doubled = general(3, 2), general(3, 2)[[0, 1, 2, 2]]
    answer = positivity(MLP(1, unknown(None)), X)
    assert (answer.verdict, answer.nullity) == ("not covered", 0)
    assert "pass regularity='analytic' or 'lipschitz'" in answer.reason
    assert "at least these" in positivity(MLP(1, unknown(None)), doubled).reason
    assert positivity(MLP(1, unknown(None), sigma_b=0.1), X).verdict == "positive definite"
    assert "phi is Lipschitz and not a polynomial" in positivity(MLP(1, unknown("lipschitz")), X).reason
    assert "degree 6561" in positivity(MLP(8, activation("z^3")), X).reason


# ------------------------------------------------------------------------------- how small


@pytest.mark.parametrize(
    ("Y", "exponent"),
    [
        ([[0, 0], [1, 1]], 6),
        ([[0, 0], [1, 1], [3, 3]], 10),
        ([[0, 0], [1, 0], [0, 1]], 6),
        ([[0, 0], [1, 0], [0, 1], [2, 3]], 8),
        ([[0, 0], [1, 0], [0, 1], [2, 3], [3, -1]], 10),
        ([[0, 0], [1, 0], [0, 1], [2, 3], [3, -1], [-2, 1]], 10),
    ],
)
@pytest.mark.parametrize("mlp", [MLP(1, "gelu"), MLP(2, "erf")], ids=["GELU", "erf, depth 2"])
def test_cluster_law(mlp, Y, exponent):
    """lambda_min of points x_0 + eps Y: eps^(4k-2) for k on a line, smaller powers for general points of the plane."""
    certificates = [
        smallest_eigenvalue(jacobian_ntk(mlp, np.array([1.0, 0.5]) + eps * np.array(Y))) for eps in (2.0**-6, 2.0**-8)
    ]
    assert all(one.is_settled for one in certificates)
    assert math.log(certificates[0].estimate / certificates[1].estimate, 4) == pytest.approx(exponent, abs=0.3)
