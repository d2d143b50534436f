"""Refusals of kernels, of systems with them and of their spectrum."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from scipy.sparse import csr_array

from jacntk_lib import MLP, activations, jacobian_ntk
from jacntk_lib.activations import Activation, tanh_derivatives
from jacntk_lib.networks import FiniteMLP
from jacntk_lib.solve import Iterative
from jacntk_lib.spectrum import (
    certify,
    degeneracies,
    depth_gain,
    extreme_eigenvalues,
    imprecise,
    positivity,
    smallest_eigenvalue,
    spectral_bound,
)

from .common import MASKED, NAN, TABLE, T, V, X, network, quadrature


def derivatives(*replaced):
    """Those of tanh, some of them replaced: pairs of position and function."""
    return [dict(replaced).get(position, f) for position, f in enumerate(tanh_derivatives())]


def stated(**statement):
    return Activation.from_derivatives("own", tanh_derivatives(), **statement)


def square():
    zero = jnp.zeros_like
    return [jnp.square, lambda z: 2 * z, lambda z: 2 + zero(z), zero, zero]


def slow_cosine():
    """cos(z / 20), which is within rounding of a polynomial wherever values are taken."""
    return [lambda z, k=k: 0.05**k * jnp.cos(z / 20 + k * math.pi / 2) for k in range(5)]


G = jacobian_ntk(MLP(2), X)

LIST = {
    "MLP": [
        (lambda: MLP(0), V, "depth must be at least 1, got 0"),
        (lambda: MLP(2.0), T, "depth must be an integer, got 2.0"),
        (lambda: MLP(True), T, "depth must be an integer, got True"),
        (lambda: MLP(2, kappa=0), V, "kappa must be positive, got 0"),
        (lambda: MLP(2, kappa=math.nan), V, "kappa must be finite, got nan"),
        (lambda: MLP(2, kappa="1"), T, "kappa must be a real number, got '1'"),
        (lambda: MLP(2, kappa=1j), T, "kappa must be a real number, got 1j"),
        (lambda: MLP(2, sigma_w=-1.0), V, "sigma_w must be positive, got -1"),
        (lambda: MLP(2, sigma_w=math.inf), V, "sigma_w must be finite, got inf"),
        (lambda: MLP(2, sigma_b=-0.1), V, "sigma_b must not be negative, got -0.1"),
        (lambda: MLP(2, input_scale=0.0), V, "input_scale must be positive, got 0"),
        (lambda: MLP(2, input_scale=[1.0, -2.0]), V, r"input_scale\[1\] must be positive, got -2"),
        (lambda: MLP(2, input_scale=()), V, "input_scale is empty: give a positive number, or one per column"),
        (lambda: MLP(2, input_scale=[[1.0]]), T, r"input_scale\[0\] must be a real number"),
        (lambda: jacobian_ntk(MLP(2, input_scale=(1, 2)), X), V, "has 2 numbers, one per column, but .* have 3"),
        (lambda: FiniteMLP(MLP(2, input_scale=(1, 2)), 4, 3), V, "has 2 numbers, one per column, but .* have 3"),
        (lambda: MLP(2, sigma_w=1e200), V, r"sigma_w must be between 1e-75 and 1e\+75 in size, .*; got 1e\+200"),
        (lambda: MLP(2, sigma_w=1e-200), V, "sigma_w must be between 1e-75 and .* got 1e-200"),
        (lambda: MLP(2, sigma_w=10**400), V, "sigma_w must be finite, got inf"),
        (lambda: MLP(10**30), V, r"depth must be below 2\*\*63, got an integer of 100 bits"),
        (lambda: MLP(2, normalise=1), T, "normalise must be True or False, got 1"),
    ],
    "activations": [
        (lambda: MLP(2, "swish"), V, "unknown activation 'swish'; known are 'erf', 'gelu', 'sin'"),
        (lambda: MLP(2, "ReLU"), V, "activation 'ReLU' is not smooth: .* use a smooth activation such as"),
        (lambda: MLP(2, "leaky_relu"), V, "activation 'leaky_relu' is not smooth"),
        (lambda: MLP(2, "elu"), V, "activation 'elu' is not smooth: .* infinite at x = x'"),
        (lambda: MLP(2, None), T, "activation must be one of 'erf', .* or an Activation, got None"),
        (lambda: activations.get(3), T, "got 3; build your own with Activation.from_derivatives"),
        (lambda: Activation.from_derivatives("short", tanh_derivatives()[:4]), V, "'short' needs exactly five"),
        (
            lambda: Activation.from_derivatives("slip", derivatives((2, lambda z: z))),
            V,
            r"'slip': derivatives\[2\] is not the derivative of derivatives\[1\]",
        ),
        (
            lambda: Activation.from_derivatives("step", [lambda z: 1.0 * (z > 0), *[lambda z: 0.0 * z] * 4]),
            V,
            "'step' at variance 1 are known only to a relative .* reduce",
        ),
        (
            lambda: Activation.from_derivatives("none", [lambda z: 0.0 * z] * 5),
            V,
            "'none' is identically zero",
        ),
        (lambda: stated(even_part=(0, ...)), V, r"even_part=\(0, ...\) is stated, but .* even_part=\(\) fits them"),
        (lambda: stated(odd_part=(1, 3)), V, r"odd_part=\(1, 3\) is stated, but .* odd_part=\(1, ...\) fits them"),
        (lambda: stated(odd_part=(2,)), T, r"odd_part must be a tuple of odd degrees, .* got \(2,\); for example"),
        (lambda: stated(odd_part="all"), T, "odd_part must be a tuple of odd degrees, .* got 'all'"),
        (lambda: stated(regularity="smooth"), V, "regularity must be 'analytic', 'lipschitz' or None, got 'smooth'"),
        (
            lambda: Activation.from_derivatives("square", square(), regularity="lipschitz"),
            V,
            "'square' is not Lipschitz: .* a polynomial of degree 2",
        ),
        (
            lambda: Activation.from_derivatives("slow", slow_cosine()),
            V,
            r"'slow': its even part looks like a polynomial of degree \d+, .* pass even_part, for example",
        ),
        (lambda: network(mlp=quadrature())(X), V, "'own' was given without torch_jet.*pass torch_jet"),
        (lambda: jacobian_ntk(MLP(2, "tanh"), 20 * X), V, "'tanh' at variance .* reduce sigma_w, sigma_b"),
    ],
    "gram": [
        (lambda: jacobian_ntk("erf", X), T, r"mlp must be an MLP, got 'erf'; for example MLP\("),
        (lambda: jacobian_ntk(MLP(2), X[0]), V, r"X has shape \(3,\).*for a single point use X\[None, :\]"),
        (lambda: jacobian_ntk(MLP(2), X[None]), V, r"X has shape \(1, 3, 3\): a matrix of shape \(N, d\)"),
        (lambda: jacobian_ntk(MLP(2), X[:0]), V, r"X is empty \(shape \(0, 3\)\)"),
        (lambda: jacobian_ntk(MLP(2), X[:, :0]), V, r"X is empty \(shape \(3, 0\)\)"),
        (lambda: jacobian_ntk(MLP(2), NAN), V, r"X contains 9 non-finite value.* nan at index \(0, 0\); remove or"),
        (lambda: jacobian_ntk(MLP(2), [[1.0, np.inf]]), V, r"inf at index \(0, 1\); remove or impute"),
        (lambda: jacobian_ntk(MLP(2), X * 1j), T, "X has dtype complex128: real numbers are needed"),
        (lambda: jacobian_ntk(MLP(2), [[1.0, 1j, None]]), T, "X has dtype object: real numbers are needed"),
        (lambda: jacobian_ntk(MLP(2), [["1", "2"]]), T, "X has dtype <U1 and holds text: real numbers are needed"),
        (lambda: jacobian_ntk(MLP(2), np.array([[1, "2"]], dtype=object)), T, "dtype object and holds text: real"),
        (lambda: jacobian_ntk(MLP(2), [[10**400]]), V, "X holds an integer beyond the range of float64"),
        (
            lambda: jacobian_ntk(MLP(2), csr_array(X)),
            T,
            r"X is sparse \(csr_array\): a dense array is needed; pass X.toa",
        ),
        (
            lambda: jacobian_ntk(MLP(2), MASKED),
            V,
            "X has 3 masked entries, behind which are numbers .* remove or impute",
        ),
        (
            lambda: jacobian_ntk(MLP(2), X * 1e160),
            V,
            r"X has entries up to 1.0e\+160 in size: between 1e-75 and 1e\+75",
        ),
        (lambda: jacobian_ntk(MLP(2), X * 1e-160), V, "X has entries up to 1.0e-160 in size: between"),
        (
            lambda: jacobian_ntk(MLP(2), TABLE, TABLE[["b", "a", "c"]]),
            V,
            "column 0 of X2 is 'b', but .* is 'a': give both",
        ),
        (lambda: jacobian_ntk(MLP(2), [[1.0], [1.0, 2.0]]), T, "X cannot be turned into a NumPy array.*pass a rect"),
        (lambda: jacobian_ntk(MLP(2), None), T, "X has dtype object"),
        (lambda: jacobian_ntk(MLP(2), X, X[:, :2]), V, "X2 has 2 input dimensions but the other points have 3: give"),
        (lambda: jacobian_ntk(MLP(2), X, NAN), V, "X2 contains 9 non-finite"),
        (lambda: jax.jit(lambda x: jacobian_ntk(MLP(2), x).k)(X), T, "X is a jax tracer: .*call it outside"),
        (lambda: G @ np.ones(3), V, r"cannot multiply a matrix of shape \(12, 12\) .*\(3,\)"),
        (lambda: np.ones(3) @ G, V, r"cannot multiply an array of shape \(3,\)"),
        (lambda: G @ np.full(12, np.nan), V, "v contains 12 non-finite"),
        (lambda: G @ np.full(12, 1j), T, "v has dtype complex128"),
        (lambda: jacobian_ntk(MLP(2), X, memory=0), V, "memory must be at least 1, got 0"),
        (lambda: G.scaled(-1.0), V, "lam must not be negative, got -1"),
        (lambda: G.scaled([1.0, -2.0, 1.0]), V, "lam must not be negative, got -2.0 at index 1"),
        (
            lambda: G.scaled([1.0, 2.0]),
            V,
            r"lam has shape \(2,\), but a number, shape \(3,\) .one per point., \(1, 3\)",
        ),
        (lambda: G.scaled([[1.0, -2.0, 1.0]]), V, r"lam must not be negative, got -2.0 at index \(0, 1\)"),
        (lambda: jacobian_ntk(MLP(2, input_scale=(1, 2, 3)), X).rotated(X), V, "scaled by column cannot be rotat"),
        (lambda: jacobian_ntk(MLP(2), X, X[:2]).scaled(X[0]), V, "one lambda per point needs a symmetric"),
        (lambda: jacobian_ntk(MLP(2), X, X[:2]).diagonal(), V, r"shape \(12, 8\) has no diagonal: it needs"),
    ],
    "solve": [
        (lambda: Iterative().solve(G, np.ones(3), ridge=1.0), V, r"b has shape \(3,\), but shape \(12,\) is needed"),
        (lambda: Iterative().solve(G, np.ones((12, 1, 1)), ridge=1.0), V, r"b has shape \(12, 1, 1\)"),
        (lambda: Iterative().solve(G, np.full(12, np.nan), ridge=1.0), V, "b contains 12 non-finite"),
        (lambda: Iterative().solve(G, np.ones(12), ridge=-1.0), V, "ridge must not be negative, got -1"),
        (
            lambda: Iterative().solve(G.dense(), np.ones(12), ridge=1.0),
            T,
            "a symmetric JacobianGram is needed, made with X2=None",
        ),
        (
            lambda: Iterative().solve(jacobian_ntk(MLP(2), X, X), np.ones(12), ridge=1.0),
            T,
            "symmetric JacobianGram is needed",
        ),
    ],
    "spectrum": [
        (lambda: smallest_eigenvalue(G.dense()), T, r"spectrum\.certify"),
        (lambda: smallest_eigenvalue(jacobian_ntk(MLP(2), X, X[:2])), V, "X2=None"),
        (lambda: smallest_eigenvalue(G.scaled(0.1)), V, "scaled"),
        (lambda: smallest_eigenvalue(jacobian_ntk(quadrature(), X)), V, "quadrature.*erf, gelu, sin"),
        (lambda: extreme_eigenvalues(G.dense()), T, "JacobianGram is needed, got ndarray"),
        (lambda: extreme_eigenvalues(jacobian_ntk(MLP(2), X, X[:2])), V, "X2=None"),
        (lambda: extreme_eigenvalues(G, dtype=int), V, "dtype must be float64 or float32, got <class 'int'>"),
        (lambda: extreme_eigenvalues(G, dtype="x"), V, "dtype must be float64 or float32, got 'x'"),
        (lambda: spectral_bound(-np.ones((2, 2))), V, r"must not be negative, got -1; pass np.abs\(radius\)"),
        (lambda: certify(np.ones((2, 3))), V, r"A has shape \(2, 3\)"),
        (lambda: certify(np.ones(4)), V, r"A has shape \(4,\)"),
        (lambda: certify([[1.0, 2.0], [3.0, 4.0]]), V, r"A is not symmetric: .* by 1; pass \(A \+ A.T\) / 2"),
        (lambda: certify([[np.nan]]), V, "A contains 1 non-finite"),
        (lambda: certify(np.eye(2), error=-1.0), V, "error must not be negative"),
        (lambda: degeneracies("erf", X), T, "mlp must be an MLP, got 'erf'"),
        (lambda: degeneracies(MLP(1), X[0]), V, r"X has shape \(3,\)"),
        (
            lambda: degeneracies(MLP(9, Activation.from_derivatives("square", square())), X),
            V,
            "polynomials of degree 512",
        ),
        (lambda: positivity("erf", X), T, "mlp must be an MLP, got 'erf'"),
        (lambda: positivity(MLP(1), NAN), V, "X contains 9 non-finite"),
        (lambda: depth_gain("erf", X), T, "mlp must be an MLP, got 'erf'"),
        (lambda: depth_gain(MLP(1), X), V, "mlp has depth 1, .* pass depth 2 or more"),
        (lambda: depth_gain(MLP(2), NAN), V, "X contains 9 non-finite"),
        (lambda: imprecise.gram_in_float32(MLP(1), X[0], tangent=True), V, r"X has shape \(3,\)"),
    ],
}
