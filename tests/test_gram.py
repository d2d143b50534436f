"""The limiting kernels, checked by four routes that share nothing: 40 digits, autodiff, quadrature, Monte Carlo."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import unit_points as points
from helpers import weights as by_row
from hypothesis import given, settings
from hypothesis import strategies as st

from jacntk_lib import activations
from jacntk_lib.architecture import MLP
from jacntk_lib.kernels import JacobianGram, jacobian_nngp, jacobian_ntk, scalars
from jacntk_lib.kernels import recursion as kernels

KERNELS = {"nngp": jacobian_nngp, "ntk": jacobian_ntk}
GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden" / "kernels.json").read_text())


def relative(error, G, H=None):
    """|error| / sqrt(G_ii(x, x) G_jj(x', x')): entries are measured against what they could be."""
    left, right = np.sqrt(G.diagonal()), np.sqrt((H or G).diagonal())
    return np.max(np.abs(error) / np.outer(left, right))


# ---------------------------------------------------------------------------------------------- 40 digits


@pytest.mark.parametrize("depth", [1, 2, 3, 11])
@pytest.mark.parametrize("activation", ["erf", "gelu", "sin"])
def test_forty_digits(activation, depth):
    cases = [case for case in GOLDEN if (case["activation"], case["depth"]) == (activation, depth)]
    assert len(cases) == 12
    for case in cases:
        mlp = MLP(depth, activation, sigma_b=case["sigma_b"])
        kernel, x, y = KERNELS[case["kernel"]], np.array([case["x"]]), np.array([case["y"]])
        error = kernel(mlp, x, y).dense() - np.array(case["block"], dtype=float)
        assert relative(error, kernel(mlp, x), kernel(mlp, y)) < 1e-12, case["pair"]


# ---------------------------------------------------------------------------------------------- autodiff


def kernels_of_points(mlp, x, y):
    """Sigma_00 and Theta_00 of one pair, composed layer by layer from K00 and K11 alone."""
    formulas = mlp.phi.formulas_for(1.0)
    x, y = (jnp.asarray(mlp.input_scale) * z for z in (x, y))
    first, gain, bias = mlp.sigma_w**2, (mlp.sigma_w * mlp.phi_scale) ** 2, mlp.sigma_b**2
    a, b, c = (first * jnp.dot(u, v) + bias for u, v in ((x, x), (y, y), (x, y)))
    theta = c
    for _ in range(mlp.depth):
        K = formulas.expectations(a, b, c)
        theta = gain * (K.k00 + theta * K.k11) + bias
        a, b, c = gain * formulas.moment(a)[0] + bias, gain * formulas.moment(b)[0] + bias, gain * K.k00 + bias
    return jnp.stack([c, theta])


def autodiff_dense(mlp, X):
    """The dense matrices of both kernels with every derivative taken by jax, compiled as one."""

    def block(x, y):
        def column(y):
            values, pull_back = jax.vjp(lambda x: kernels_of_points(mlp, x, y), x)
            (slopes,) = jax.vmap(pull_back)(jnp.eye(2))
            return jnp.concatenate([values[:, None], slopes], axis=1)

        return jnp.concatenate([column(y)[:, :, None], jax.jacfwd(column)(y)], axis=2)

    with jax.enable_x64(True):
        X = jnp.asarray(X)
        blocks = jax.jit(jax.vmap(lambda x: jax.vmap(lambda y: block(x, y))(X)))(X)
        n, d = X.shape
        return np.asarray(blocks).transpose(2, 0, 3, 1, 4).reshape(2, n * (1 + d), n * (1 + d))


SETTINGS = [
    {"depth": 1},
    {"depth": 2, "sigma_b": 0.5, "sigma_w": 1.2, "normalise": False},
    {"depth": 3, "input_scale": 1.7},
    {"depth": 2, "sigma_b": 0.1, "sigma_w": 0.8, "input_scale": 0.3},
    {"depth": 2, "sigma_b": 0.2, "sigma_w": 1.1, "input_scale": (0.5, 2.0, 1.3)},
]


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@pytest.mark.parametrize("activation", ["erf", "gelu", "sin"])
def test_autodiff(activation, setting):
    X = points(5, 3) * np.array([1.0, 1.0, 0.4, 2.0, 1.0])[:, None]
    X = np.vstack([X, X[0], -X[1], X[2] + 1e-9])  # equal, opposite, nearly equal
    mlp = MLP(activation=activation, **setting)
    for kernel, expected in zip((jacobian_nngp, jacobian_ntk), autodiff_dense(mlp, X), strict=True):
        G = kernel(mlp, X)
        assert relative(G.dense() - expected, G) < 1e-12


# ---------------------------------------------------------------------------------------------- quadrature


def test_sin_against_quadrature():
    """The same activation with and without its closed form, at every pair that is special."""
    derivatives = (jnp.sin, jnp.cos, lambda z: -jnp.sin(z), lambda z: -jnp.cos(z), jnp.sin)
    numeric = activations.Activation.from_derivatives("sin by quadrature", derivatives)
    X = np.vstack([points(3, 2), points(1, 2, seed=0) + 1e-9, -points(1, 2, seed=0), 0.3 * points(2, 2, seed=2)])
    for depth in (1, 3):
        for kernel in KERNELS.values():
            G = kernel(MLP(depth, "sin"), X)
            assert relative(kernel(MLP(depth, numeric), X).dense() - G.dense(), G) < 1e-12


@pytest.mark.parametrize("activation", ["tanh", "softplus"])
def test_quadrature_kernel_against_autodiff(activation):
    """Away from x = x', where autodiff through sqrt(ab - c^2) is right, derivatives by Price must agree with it."""
    mlp = MLP(2, activation)
    X = points(3, 2)
    G = jacobian_ntk(mlp, X)
    _, reference = autodiff_dense(mlp, X)
    off_diagonal = ~np.kron(np.eye(3, dtype=bool), np.ones((3, 3), dtype=bool))
    assert relative(np.where(off_diagonal, G.dense() - reference, 0.0), G) < 1e-9


# ---------------------------------------------------------------------------------------------- Monte Carlo


@pytest.mark.parametrize("activation", ["erf", "gelu"])
def test_monte_carlo_of_the_recursion(activation):
    """Theorem 3.1 as written: the next layer's block is a mean over joint Gaussian values and Jacobians."""
    X = points(3, 2, seed=1)
    previous = jacobian_nngp(MLP(1, activation, sigma_b=0.2), X)
    target = jacobian_nngp(MLP(2, activation, sigma_b=0.2), X).dense()
    scale = MLP(1, activation).phi_scale
    rng = np.random.default_rng(0)
    factor = np.linalg.cholesky(previous.dense() + 1e-12 * np.eye(9))
    import torch

    total, square, batches, batch = 0.0, 0.0, 40, 5000
    for _ in range(batches):
        u = (rng.standard_normal((batch, 9)) @ factor.T).reshape(batch, 3, 3)
        value, slope = (scale * t.numpy() for t in activations.get(activation).torch_jet(torch.tensor(u[:, :, 0]), 1))
        features = np.concatenate([value[:, :, None], slope[:, :, None] * u[:, :, 1:]], axis=2).reshape(batch, 9)
        mean = features.T @ features / batch
        total, square = total + mean, square + mean**2
    mean = total / batches
    error = np.sqrt((square / batches - mean**2) / (batches - 1))
    target[::3, ::3] -= 0.2**2  # the bias is added after the expectation
    assert np.max(np.abs(mean - target) / error) < 4


# ---------------------------------------------------------------------------------------------- structure


def before_cancellation(G):
    """The dense matrix with every term of every entry made positive: what rounding errors are proportional to."""
    jet = kernels.Jet(*(np.abs(getattr(G, "k" if name == "k" else f"k_{name}")) for name in kernels.Jet._fields))
    return JacobianGram(np.abs(G.X), np.abs(G.X2), jet).dense()


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 6),
    m=st.integers(1, 6),
    d=st.integers(1, 5),
    depth=st.integers(1, 5),
    activation=st.sampled_from(["erf", "gelu", "sin"]),
    tangent=st.booleans(),
    sigma_w=st.floats(0.5, 1.5),
    sigma_b=st.sampled_from([0.0, 0.3]),
    scale=st.floats(0.05, 3.0),
    seed=st.integers(0, 99),
)
def test_structure(n, m, d, depth, activation, tangent, sigma_w, sigma_b, scale, seed):
    rng = np.random.default_rng(seed)
    X, Y = scale * rng.standard_normal((n, d)), rng.standard_normal((m, d))
    mlp = MLP(depth, activation, sigma_w=sigma_w, sigma_b=sigma_b)
    kernel = jacobian_ntk if tangent else jacobian_nngp
    G, H, R = kernel(mlp, X), kernel(mlp, X, X), kernel(mlp, X, Y)
    dense = G.dense()
    assert G.shape == dense.shape == (n * (1 + d), n * (1 + d))
    assert R.shape == R.dense().shape == (n * (1 + d), m * (1 + d))
    # symmetric, to the bit; positive semi-definite, to rounding; X2=None the same as X2=X
    assert np.array_equal(dense, dense.T)
    # the sum of many rounded entries: rounding of order size * eps * largest eigenvalue
    assert np.linalg.eigvalsh(dense)[0] > -1e-12 * max(1.0, np.trace(dense))
    assert np.max(np.abs(dense - H.dense())) < 1e-12 * before_cancellation(H).max()
    # the structured product is the dense product, on both sides, for one and for several vectors
    for matrix in (G, R, R.T):
        full, terms = matrix.dense(), before_cancellation(matrix)
        V = rng.standard_normal((full.shape[1], 2))
        W = rng.standard_normal((3, full.shape[0]))
        tolerance = 1e-14 * (terms @ np.abs(V)).max() + 1e-300
        assert np.max(np.abs(matrix @ V - full @ V)) < tolerance
        assert np.allclose(matrix @ V[:, 0], (matrix @ V)[:, 0], rtol=0, atol=tolerance)
        assert np.max(np.abs(W @ matrix - W @ full)) < 1e-14 * (np.abs(W) @ terms).max() + 1e-300
    # a pair of points is the same pair in any company
    alone = kernel(mlp, X, Y[:1])
    assert np.max(np.abs(R.dense()[:, : 1 + d] - alone.dense())) < 1e-12 * before_cancellation(alone).max()
    # the value block and the diagonal
    assert np.array_equal(G.values(), dense[:: 1 + d, :: 1 + d])
    assert np.max(np.abs(G.diagonal() - np.diag(dense))) < 1e-14 * np.diag(before_cancellation(G)).max()
    assert np.array_equal(G.blocks()[0, 0, :, 0], G.values()[0])


def test_more_points_than_one_slab_and_one_tile():
    """150 points are three slabs of a dense matrix and six tiles of pairs."""
    X = points(150, 2)
    G = jacobian_ntk(MLP(2), X)
    assert len(X) > 2 * kernels.SIDE
    D = G.dense()
    assert np.array_equal(D, D.T)
    corner = jacobian_ntk(MLP(2), X[100:], X[:30])
    error = D[300:, :90] - corner.dense()
    assert relative(error, jacobian_ntk(MLP(2), X[100:]), jacobian_ntk(MLP(2), X[:30])) < 1e-13


def test_transpose():
    R = jacobian_ntk(MLP(2, "gelu"), points(3, 2), points(4, 2, seed=1))
    assert np.array_equal(R.T.dense().shape, R.dense().T.shape)
    np.testing.assert_allclose(R.T.dense(), R.dense().T, atol=1e-13)
    assert R.T.T.shape == R.shape


def test_duplicates_give_equal_rows():
    X = points(4, 3)[[0, 1, 0, 2]]
    D = jacobian_ntk(MLP(3), X).blocks()
    np.testing.assert_allclose(D[0], D[2], rtol=1e-12, atol=1e-12)


LAMBDAS = [0.0, 0.01, 2.5, np.array([0.0, 1.0, 0.3]), np.array([[0.2, 0.7]]), np.arange(6.0).reshape(3, 2)]


@pytest.mark.parametrize("lam", LAMBDAS, ids=lambda lam: str(np.shape(lam) or lam))
def test_scaled(lam):
    G = jacobian_ntk(MLP(2, sigma_b=0.1), points(3, 2))
    weights = np.sqrt(by_row(lam, 3, 2))
    S = G.scaled(lam)
    expected = weights[:, None] * G.dense() * weights
    np.testing.assert_allclose(S.dense(), expected, atol=1e-14)
    np.testing.assert_allclose(S.diagonal(), np.diag(expected), atol=1e-14)
    v = np.random.default_rng(0).standard_normal(9)
    np.testing.assert_allclose(S @ v, expected @ v, atol=1e-13)
    np.testing.assert_allclose(v @ S, v @ expected, atol=1e-13)
    np.testing.assert_allclose(S.scaled(4.0).dense(), G.scaled(4 * np.asarray(lam)).dense(), atol=1e-13)
    np.testing.assert_allclose(G.dense(), jacobian_ntk(MLP(2, sigma_b=0.1), points(3, 2)).dense())  # untouched


def test_between_factors_of_rows_and_columns():
    rng = np.random.default_rng(1)
    G = jacobian_ntk(MLP(2, input_scale=[0.3, 1.0, 2.0]), rng.standard_normal((4, 3)), rng.standard_normal((2, 3)))
    left, right = rng.uniform(size=(4, 4)), rng.uniform(size=(2, 4))
    expected = left.reshape(-1, 1) * G.dense() * right.ravel()
    np.testing.assert_allclose(G.between(left, right).dense(), expected, atol=1e-13)
    v = rng.standard_normal(8)
    np.testing.assert_allclose(G.between(left, right) @ v, expected @ v, atol=1e-13)


def test_scaled_between_two_sets():
    R = jacobian_ntk(MLP(2), points(3, 2), points(2, 2, seed=5))
    weights = np.tile([1.0, 0.5, 0.5], 3)
    np.testing.assert_allclose(R.scaled(0.25).dense(), weights[:, None] * R.dense() * weights[:6], atol=1e-14)
    np.testing.assert_allclose(R.scaled(0.25).T.dense(), R.scaled(0.25).dense().T, atol=1e-14)


def test_value_rows_are_those_of_the_dense_matrix():
    X, X2 = points(5, 3), points(4, 3, seed=1)
    for G in (jacobian_ntk(MLP(2, "gelu"), X), jacobian_ntk(MLP(2, "gelu"), X, X2), jacobian_nngp(MLP(2), X, X2)):
        np.testing.assert_allclose(G.value_rows(), G.blocks()[:, 0], rtol=1e-12, atol=1e-15)
    scaled = jacobian_ntk(MLP(2), X).scaled(np.arange(5.0))
    np.testing.assert_allclose(scaled.value_rows(), scaled.blocks()[:, 0], rtol=1e-12, atol=1e-15)
    recomputed = jacobian_ntk(MLP(2), X, X2, memory=1)  # no scalars are kept
    np.testing.assert_allclose(recomputed.value_rows(), recomputed.blocks()[:, 0], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    "mlp", [MLP(2, "gelu"), MLP(2, "gelu", input_scale=(0.5, 2.0))], ids=["one scale", "per column"]
)
def test_every_form_of_a_matrix_is_the_dense_one(mlp):
    """Per column of the inputs and per derivative: diagonal, products, transposes, rows, columns, parts."""
    X, Y, rng = points(70, 2), points(4, 2, seed=1), np.random.default_rng(0)
    lam, kept = rng.random((70, 2)), rng.random(210) < 0.3
    lam[3] = 0.0
    for G in (jacobian_ntk(mlp, X), jacobian_ntk(mlp, X).scaled(lam), jacobian_ntk(mlp, X, memory=1).scaled(lam)):
        D, v = G.dense(), rng.standard_normal((210, 2))
        for got, expected in (
            (G.diagonal(), np.diag(D)),
            (G @ v, D @ v),
            (v.T @ G, v.T @ D),
            (G.value_rows().reshape(70, -1), D[::3]),
            (G.rows_of(slice(2, 9)).dense(), D[6:27]),
            (G.submatrix(kept), D[kept][:, kept]),
            (G.row_factors.ravel() ** 2, np.diag(D) / jacobian_ntk(MLP(2, "gelu"), G.Z).diagonal()),
        ):
            np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)
    R = jacobian_ntk(mlp, X, Y).scaled(0.3)
    np.testing.assert_allclose(R.T.dense(), R.dense().T, atol=1e-13)
    np.testing.assert_allclose(R.T @ v, R.dense().T @ v, atol=1e-12)


@pytest.mark.parametrize("activation", ["erf", "gelu", "sin"])
def test_a_few_points_by_numpy_are_as_by_jax(monkeypatch, activation):
    """A point twice, its antipode and the origin among them; values alone, too (``value_rows`` and predictions)."""
    X = np.concatenate([points(4, 3), -points(1, 3), points(1, 3), np.zeros((1, 3))])
    mlps = [MLP(1, activation, sigma_b=0.3), MLP(4, activation, sigma_w=1.3, input_scale=(0.5, 2.0, 1.0))]
    v0, V = np.ones((2, 3)), np.ones((2, 3, 3))

    def everything(mlp, tangent):
        kernel = jacobian_ntk if tangent else jacobian_nngp
        there = kernel(mlp, X), kernel(mlp, X, X[:2])
        yield from (G.dense() for G in there)
        yield kernel(mlp, X, memory=1).diagonal()
        yield scalars.value_products(mlp, X, X[:2], v0, V, tangent=tangent)

    for mlp in mlps:
        for tangent in (False, True):
            few = list(everything(mlp, tangent))
            with monkeypatch.context() as patched:
                patched.setattr(kernels, "FEW", 0)
                compiled = list(everything(mlp, tangent))
            for ours, theirs in zip(few, compiled, strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14 * np.abs(theirs).max())


def test_kappa_is_not_in_a_kernel():
    X = points(3, 2)
    assert np.array_equal(jacobian_ntk(MLP(2, kappa=0.1), X).dense(), jacobian_ntk(MLP(2, kappa=3.0), X).dense())


def test_inputs_are_copied_and_results_are_numpy():
    X = points(3, 2)
    G = jacobian_ntk(MLP(2), X)
    before = G @ np.ones(9)
    X[:] = 7.0
    assert np.array_equal(G @ np.ones(9), before)
    for array in (G.k, G.k_AB, G.dense(), G.values(), G.diagonal(), G @ np.ones(9)):
        assert type(array) is np.ndarray
        assert array.dtype == np.float64


def test_repr():
    X = np.eye(3)
    assert repr(jacobian_ntk(MLP(1), X, X[:2])) == "JacobianGram(points=3 x 2, dimension=3, shape=(12, 8))"
    assert isinstance(jacobian_nngp(MLP(1), X), JacobianGram)


@pytest.mark.parametrize("name", ["X", "X2", "k", "k_A", "k_B", "k_C", "k_AB", "k_AC", "k_BC", "k_CC"])
@pytest.mark.parametrize("memory", [1, 2**30])
def test_what_a_matrix_is_made_of_is_read_only(name, memory):
    X = points(3, 2)
    G = jacobian_ntk(MLP(2), X, points(2, 2, seed=1), memory=memory)
    with pytest.raises(ValueError, match="read-only"):
        getattr(G, name)[0, 0] = 99.0
    X[0, 0] = 99.0  # the caller's own stays writable
