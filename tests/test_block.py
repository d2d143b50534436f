"""The block function: the library's kernels, and its derivatives against finite differences, at x = x' above all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from jacntk_lib import MLP, jacobian_nngp, jacobian_ntk
from jacntk_lib.kernels import block_function

# apart, equal, antipodes, both at the origin
PAIRS = np.array([[[0.3, -0.8], [0.9, 0.4]], [[0.3, -0.8], [0.3, -0.8]], [[0.3, -0.8], [-0.3, 0.8]], np.zeros((2, 2))])
TANGENT = pytest.mark.parametrize("tangent", [True, False], ids=["ntk", "nngp"])


@TANGENT
@pytest.mark.parametrize(
    ("mlp", "scale"),
    [
        (MLP(3, "erf", sigma_w=1.2, sigma_b=0.3, input_scale=0.7), None),
        (MLP(2, "gelu", input_scale=(0.5, 1.4)), None),
        (MLP(1, "sin", input_scale=9.0), (0.5, 1.4)),  # the argument takes its place
    ],
    ids=str,
)
def test_values_are_those_of_the_library(mlp, scale, tangent):
    block = block_function(mlp, tangent=tangent)
    with jax.enable_x64(True):
        got = np.asarray(jax.jit(jax.vmap(lambda x, z: block(x, z, scale)))(PAIRS[:, 0], PAIRS[:, 1]))
    mlp = mlp if scale is None else MLP(1, "sin", input_scale=scale)
    kernel = jacobian_ntk if tangent else jacobian_nngp
    for found, (x, z) in zip(got, PAIRS, strict=True):
        assert_allclose(found, kernel(mlp, x[None], z[None]).dense(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("activation", "tangent"), [("erf", True), ("gelu", True), ("gelu", False)])
def test_derivatives_are_finite_differences(activation, tangent):
    """Of every entry, forwards and backwards, by both points and by the scales."""
    block, scale, h = block_function(MLP(2, activation, sigma_b=0.2), tangent=tangent), np.array([0.6, 1.3]), 1e-5
    with jax.enable_x64(True):
        compiled = jax.jit(block)
        forwards, backwards = (jax.jit(jacobian(block, (0, 1, 2))) for jacobian in (jax.jacfwd, jax.jacrev))
        for x, z in PAIRS:
            there, back = forwards(x, z, scale), backwards(x, z, scale)
            for k in range(3):
                for a, step in enumerate(h * np.eye(2)):
                    plus, minus = ([v + s * step * (i == k) for i, v in enumerate((x, z, scale))] for s in (1, -1))
                    difference = (compiled(*plus) - compiled(*minus)) / (2 * h)
                    assert_allclose(there[k][:, :, a], difference, atol=2e-9)
                assert_allclose(back[k], there[k], rtol=1e-10, atol=1e-12)


def test_maps_over_points_to_the_gram_matrix_and_over_its_gradient():
    """The gradient of a likelihood by the scales, at a matrix whose diagonal blocks are all x = x'."""
    rng = np.random.default_rng(0)
    X, v, scale = rng.standard_normal((5, 2)), rng.standard_normal(15), np.array([0.8, 1.2])
    mlp = MLP(2, "gelu", sigma_b=0.4)
    block = block_function(mlp)

    def dense(scale):
        blocks = jax.vmap(lambda x: jax.vmap(lambda z: block(x, z, scale))(X))(X)
        return blocks.transpose(0, 2, 1, 3).reshape(15, 15) + 1e-2 * jnp.eye(15)

    def likelihood(scale):
        K = dense(scale)
        return -v @ jnp.linalg.solve(K, v) / 2 - jnp.linalg.slogdet(K)[1] / 2

    with jax.enable_x64(True):
        whole = jacobian_ntk(MLP(2, "gelu", sigma_b=0.4, input_scale=scale), X).dense() + 1e-2 * np.eye(15)
        assert_allclose(jax.jit(dense)(scale), whole, rtol=1e-12, atol=1e-13)
        f, h = jax.jit(jax.value_and_grad(likelihood)), 1e-5
        differences = [(f(scale + s)[0] - f(scale - s)[0]) / (2 * h) for s in h * np.eye(2)]
        assert_allclose(f(scale)[1], differences, rtol=1e-6)


def test_keeps_the_precision_of_its_arguments():
    block = block_function(MLP(2, "gelu"))
    assert block(np.float32([0.3, 0.1]), np.float32([0.2, 0.5])).dtype == np.float32
    assert block([1, 0], [0, 1]).dtype == np.float32  # of whole numbers, where jax is left as it is


def test_refuses_what_it_cannot_differentiate():
    with pytest.raises(ValueError, match=r"'tanh' come from quadrature.*erf, gelu, sin, or .*from_formulas"):
        block_function(MLP(2, "tanh"))
    with pytest.raises(TypeError, match="mlp must be an MLP, got 3"):
        block_function(3)
    with pytest.raises(ValueError, match="has 3 numbers, one per column, but the points have 2"):
        block_function(MLP(2, input_scale=(1, 2, 3)))([0.0, 1.0], [1.0, 0.0])
