"""Every public edge refuses what it cannot answer: by the named exception, with the value and the way out in the
message, and without touching the disk. One list for the whole library; what an error *means* is tested with its module.
"""

import functools
import json
import math
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_array

from jacntk_lib import (
    MLP,
    JacobianGaussianProcessRegressor,
    JacobianKernelRegressor,
    RobustFlow,
    activations,
    datasets,
    experiments,
    finite,
    jacobian_ntk,
    results,
)
from jacntk_lib.activations import Activation, softplus_derivatives, tanh_derivatives
from jacntk_lib.book import bootstrap, checks, plotting, tables
from jacntk_lib.cli import command as cli
from jacntk_lib.datasets import _uci
from jacntk_lib.errors import ConvergenceError, CorruptResultError, SingularGramError
from jacntk_lib.experiments import figure1, figure2, figure3, figure6
from jacntk_lib.networks import FiniteMLP
from jacntk_lib.robustness import accuracy_under_attack, attack, certified_radius
from jacntk_lib.solve import Exact, Iterative
from jacntk_lib.spectrum import (
    certify,
    degeneracies,
    depth_gain,
    extreme_eigenvalues,
    imprecise,
    positivity,
    smallest_eigenvalue,
)
from jacntk_lib.training import max_learning_rate, train

X, Y = np.eye(3), np.array([1.0, -1.0, 0.5])
SIGNS = np.array([1.0, -1.0, 1.0])
MASKED = np.ma.array(X, mask=X == 1)
TABLE = pd.DataFrame(X, columns=["a", "b", "c"])
NAN, INF = np.full((3, 3), np.nan), np.full((3, 3), np.inf)


def flow(mlp=None, X=X, y=Y, **options):
    return RobustFlow(MLP(2) if mlp is None else mlp, X, y, **options)


def twice(y):
    """A flow on three points and a copy of the first, without ridge."""
    return RobustFlow(MLP(2, "gelu"), np.concatenate([X, X[:1]]), np.append(Y, y))


def fit(**parameters):
    return JacobianKernelRegressor(**parameters).fit(X, Y)


def process(X=X, y=Y, jacobian=None, **parameters):
    return JacobianGaussianProcessRegressor(**{"optimizer": None, **parameters}).fit(X, y, jacobian=jacobian)


def network(**options):
    return FiniteMLP(**{"mlp": MLP(3, kappa=1.0), "width": 4, "input_dim": 3} | options)


def trained(**options):
    given = {"net": network(), "X": X, "y": Y, "lam": 0.1, "learning_rate": 0.1, "steps": 4}
    return train(**given | options)


def kernel(**options):
    return finite.jacobian_ntk(**{"net": network(), "X": X} | options)


@functools.cache
def quadrature():
    return MLP(1, Activation.from_derivatives("own", softplus_derivatives()))


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


def result(**changes):
    given = {"config": {"widths": [64]}, "command": "jacntk toy", "seeds": [0], "wall_time": 1.0}
    return results.make(**{"name": "toy", "arrays": {"a": np.arange(3)}} | given | changes)


def slope(Z):
    """A model whose value is the first input: rows of value and derivatives."""
    return np.concatenate([Z[:, :1], np.tile(X[:1], (len(Z), 1))], axis=1)


def attacked(**options):
    return attack(**{"model": slope, "X": X, "y": SIGNS, "size": 0.1} | options)


G = jacobian_ntk(MLP(2), X)
V, T, C, S, R = ValueError, TypeError, ConvergenceError, SingularGramError, CorruptResultError

# where -> (what is wrong, which exception, what its message says). "here" is a folder, see the fixture.
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
        (lambda: G.on("gpuu"), V, "jax sees no device of platform 'gpuu' here, only cpu"),
        (lambda: G.on([]), V, r"devices must be one or more different jax devices, got \[\]"),
        (lambda: G.on(2 * jax.devices("cpu")), V, "must be one or more different jax devices"),
        (lambda: G.on(3), T, r"got 3; see jax.devices\(\)"),
        (lambda: jacobian_ntk(MLP(2), X, memory=8).on(), V, "3 x 3 points do not fit in memory=.*raise memory"),
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
    "dynamics": [
        (lambda: flow("erf"), T, "mlp must be an MLP, got 'erf'"),
        (lambda: flow(X=X[0]), V, r"X has shape \(3,\)"),
        (lambda: flow(X=NAN), V, "X contains 9 non-finite"),
        (lambda: flow(X=X * 1j), T, "X has dtype complex128"),
        (lambda: flow(X=X[:0], y=Y[:0]), V, "X is empty"),
        (lambda: flow(y=Y[:2]), V, r"y has shape \(2,\), but shape \(3,\) is needed"),
        (lambda: flow(y=np.ones((3, 1, 1))), V, r"y has shape \(3, 1, 1\)"),
        (lambda: flow(y=np.ones((3, 0))), V, r"y has shape \(3, 0\): at least one output is needed"),
        (lambda: flow(y=Y * np.inf), V, "y contains 3 non-finite"),
        (lambda: flow(y=1.0), V, r"y has shape \(\)"),
        (lambda: flow(y=["a", "b", "c"]), T, "y has dtype <U1"),
        (lambda: flow(X=MASKED), V, "X has 3 masked entries"),
        (lambda: flow(y=csr_array(Y)), T, r"y is sparse .*; pass y.toarray\(\)"),
        (lambda: flow(y=Y * 4e307), V, r"y has entries up to 4.0e\+307 in size: between 1e-75 and 1e\+75 is needed"),
        (lambda: flow(y=Y * 1e-300), V, "y has entries up to 1.0e-300 in size: between"),
        (lambda: flow(jacobian_targets=X * 1e200), V, r"jacobian_targets has entries up to 1.0e\+200"),
        (
            lambda: flow(X=TABLE).at(1.0, TABLE[["c", "b", "a"]]),
            V,
            "column 0 of X_new is 'c', but .* is 'a': give both",
        ),
        (lambda: flow(lam=-0.1), V, "lam must not be negative, got -0.1"),
        (lambda: flow(lam=[0.1, -0.1, 0.0]), V, "lam must not be negative, got -0.1 at index 1"),
        (lambda: flow(lam=[0.1, 0.1]), V, r"lam has shape \(2,\), but a number, shape \(3,\) .one per point."),
        (lambda: flow(y=Y * np.nan), V, "y contains 3 non-finite"),
        (lambda: flow(y=Y * np.nan, jacobian_targets=NAN), V, "point 0 has neither a value nor a derivative"),
        (lambda: flow(y=Y * np.nan, jacobian_targets=X, lam=0), V, "no target has any weight: every value is NaN"),
        (lambda: flow(jacobian_targets=INF), V, "jacobian_targets contains 9 non-finite"),
        (lambda: flow(lam=math.nan), V, "lam must be finite, got nan"),
        (lambda: flow(lam="0.1"), T, "lam must be a real number, got '0.1'"),
        (lambda: flow(ridge=-1.0), V, "ridge must not be negative, got -1"),
        (
            lambda: flow(solver=Iterative(devices="gpuu")),
            V,
            "no device of platform 'gpuu' here, only cpu; for a GPU install jax with CUDA",
        ),
        (
            lambda: flow(solver=Iterative(devices=[0])),
            T,
            "devices must be jax devices or the name of a platform, got 0",
        ),
        (lambda: flow(solver="fast"), V, "solver must be 'auto', 'exact', 'iterative', or an Exact .* got 'fast'"),
        (lambda: Exact(cutoff=-1.0), V, "cutoff must not be negative, got -1"),
        (lambda: Iterative(tolerance=0.0), V, "tolerance must be positive, got 0"),
        (lambda: Iterative(memory=0), V, "memory must be at least 1, got 0"),
        (lambda: Iterative(exact_rows=0), V, "exact_rows must be at least 1, got 0"),
        (lambda: flow(jacobian_targets=np.ones((3, 1))), V, r"jacobian_targets has shape \(3, 1\), but shape \(3, 3\)"),
        (lambda: flow(y=X[:, :2], jacobian_targets=X), V, r"jacobian_targets has shape .* shape \(3, 2, 3\) is needed"),
        (lambda: flow().at(-1.0), V, "t must not be negative, got -1"),
        (lambda: flow().at(math.nan), V, "t must be finite, got nan"),
        (lambda: flow().at(-math.inf), V, "t must be finite, got -inf"),
        (lambda: flow().at(True), T, "t must be a real number, got True"),
        (lambda: flow().at([1.0]), T, r"t must be a real number, got \[1.0\]"),
        (lambda: flow().at(1.0, np.ones((2, 2))), V, "X_new has 2 input dimensions but the other points have 3"),
        (lambda: flow().at(1.0, np.ones(3)), V, r"X_new has shape \(3,\)"),
        (lambda: flow().at(1.0, None, 3), T, "initial must be a FiniteMLP or a callable .* got 3"),
        (lambda: flow().at(1.0, None, lambda Z: Z), V, r"what initial returned has shape \(3, 3\), but shape \(3, 4\)"),
        (lambda: flow().after(-1, 0.1), V, "steps must be at least 0, got -1"),
        (lambda: flow().after(1.5, 0.1), T, "steps must be an integer, got 1.5"),
        (lambda: flow().after(10**400, 0.1), V, r"steps must be below 2\*\*63"),
        (lambda: flow().at(10**400), V, "t must be finite, got inf"),
        (
            lambda: flow().at(1.0, None, lambda Z: 1e200 * slope(Z)),
            V,
            r"what initial returned has entries up to 1.0e\+200",
        ),
        (lambda: flow().after(1, 0.0), V, "learning_rate must be positive, got 0"),
        (lambda: flow().after(1, 1e6), V, "diverges at learning_rate=1e[+]06: stability needs less than"),
        (lambda: flow().after(10**6, 1e6, allow_unstable=True), V, "grown beyond float64"),
        (lambda: flow().ensemble(-1.0), V, "t must not be negative, got -1"),
        (lambda: flow().ensemble(1.0).sample(0), V, "count must be at least 1, got 0"),
        (lambda: flow().value_std(1.0, X[:0]), V, "X_new is empty"),
        (lambda: flow().eigenfeatures(X[:, :1]), V, "X_new has 1 input dimensions"),
        (lambda: flow().integrate(math.inf), V, "t must be finite, got inf"),
        (lambda: flow().integrate(1.0, rtol=0.0), V, "rtol must be positive, got 0"),
        (lambda: flow().integrate(1e6, max_steps=3), C, "in 3 steps"),
        (lambda: twice(-3.0).at(math.inf), S, "points 0 and 3 are equal"),
    ],
    "regression": [
        (lambda: fit(depth=0), V, "depth must be at least 1, got 0"),
        (lambda: fit(activation="relu"), V, "activation 'relu' is not smooth"),
        (lambda: fit(sigma_w=0.0), V, "sigma_w must be positive, got 0"),
        (lambda: fit(sigma_b=-1.0), V, "sigma_b must not be negative, got -1"),
        (lambda: fit(lam=-1.0), V, "lam must not be negative, got -1"),
        (lambda: fit(ridge=-1.0), V, "ridge must not be negative, got -1"),
        (lambda: fit(time=0.0), V, "time must be positive, got 0"),
        (lambda: fit(time="inf"), T, "time must be a real number, got 'inf'"),
        (lambda: fit(time=math.nan), V, "time must be finite, got nan"),
        (lambda: fit(input_scale="unit"), V, "input_scale must be 'auto' or a positive number, got 'unit'"),
        (lambda: fit(input_scale=-1.0), V, "input_scale must be positive, got -1"),
        (lambda: fit(solver=Iterative(devices="gpuu")), V, "no device of platform 'gpuu' here"),
        (lambda: fit(solver="fast"), V, "solver must be 'auto', 'exact', 'iterative', or an Exact .* got 'fast'"),
        (lambda: fit().sample(X, 0), V, "n_samples must be at least 1, got 0"),
        (lambda: JacobianKernelRegressor().fit(X * 1e160, Y), V, r"X has entries up to 1.0e\+160 in size: between"),
        (lambda: JacobianKernelRegressor().fit(X * 1e-160, Y), V, "X has entries up to 1.0e-160 in size: between"),
        (lambda: JacobianKernelRegressor().fit(X, Y * 4e307), V, r"y has entries up to 4.0e\+307 in size: between"),
        (lambda: JacobianKernelRegressor().fit(MASKED, Y), V, "X has 3 masked entries"),
        (lambda: JacobianKernelRegressor().fit(X, np.ma.array(Y, mask=Y < 0)), V, "y has 1 masked entries"),
        (lambda: fit().predict(MASKED), V, "X has 3 masked entries"),
        (lambda: JacobianKernelRegressor().fit(X.astype(str), Y), T, "X has dtype <U32 and holds text: real numbers"),
        (lambda: JacobianKernelRegressor().fit(X.astype(str).astype(object), Y), T, "dtype object and holds text"),
        (lambda: JacobianKernelRegressor().fit(X, Y.astype(str)), T, "y has dtype <U32 and holds text"),
        (lambda: fit().predict(X.astype(str)), T, "X has dtype <U32 and holds text"),
        (lambda: JacobianKernelRegressor().fit(csr_array(X), Y), T, r"X is sparse \(csr_array\)"),
        (
            lambda: JacobianKernelRegressor().fit([[10**400]], [1.0]),
            V,
            "X holds an integer beyond the range of float64",
        ),
        (lambda: JacobianKernelRegressor().fit(X * 1j, Y), V, "Complex data not supported"),
        (lambda: JacobianKernelRegressor().fit(NAN, Y), V, "Input X contains NaN"),
        (lambda: fit().predict(X[:, :2]), V, "X has 2 features, but .* is expecting 3"),
        (lambda: JacobianKernelRegressor().predict(X), V, "is not fitted yet. Call 'fit'"),
    ],
    "gaussian": [
        (lambda: process(kernel="rbf"), V, "kernel must be 'nngp' or 'ntk', got 'rbf'"),
        (lambda: process(depth=0), V, "depth must be at least 1, got 0"),
        (lambda: process(metric="full"), V, "metric must be one of auto, standard, .* got 'full'"),
        (lambda: process(metric="gradient"), V, "metric='gradient' needs gradients: .* pass jacobian="),
        (lambda: process(metric="likelihood"), V, "metric='likelihood' fits scales: give it an optimizer"),
        (lambda: process(scale=0.0), V, "scale must be positive, got 0"),
        (lambda: process(scale_bounds=(1.0,)), T, r"scale_bounds must be 'fixed' or a pair .* got \(1.0,\)"),
        (lambda: process(scale_bounds=(2.0, 1.0)), V, r"scale_bounds must be \(low, high\) with low <= high"),
        (lambda: process(sigma_b=-1.0), V, "sigma_b must be positive, got -1"),
        (lambda: process(amplitude="best"), V, "amplitude must be 'auto' or a positive number, got 'best'"),
        (lambda: process(noise="none"), V, "noise must be 'auto' or a standard deviation, got 'none'"),
        (lambda: process(noise=-1.0), V, "noise must not be negative, got -1"),
        (lambda: process(noise=[1.0, 2.0]), V, r"noise has shape \(2,\), but .* \(3,\) is needed"),
        (lambda: process(noise_gradient=[[1.0, -2.0, 0.0]]), V, "noise_gradient must not be negative, got -2"),
        (lambda: process(optimizer="adam"), V, "optimizer must be 'fmin_l_bfgs_b', a function or None, got 'adam'"),
        (lambda: process(n_restarts_optimizer=-1), V, "n_restarts_optimizer must be at least 0, got -1"),
        (lambda: process(y=X), V, r"y has shape \(3, 3\), but a model is of one output: give .* jacobian=J\[:, k\]"),
        (lambda: process(jacobian=X[:2]), V, r"jacobian has shape \(2, 3\), but X needs \(3, 3\)"),
        (lambda: process(jacobian=np.ma.masked_array(X, X > 0)), T, "jacobian is a masked array: give NaN"),
        (lambda: process(X=np.ma.masked_array(X, X > 0)), T, "X is a masked array, .* remove what is masked"),
        (
            lambda: process(pd.DataFrame(X, columns=[*"abc"]), jacobian=pd.DataFrame(X, columns=[*"acb"])),
            V,
            r"jacobian has the columns \['a', 'c', 'b'\]: give it those of X, in their order",
        ),
        (lambda: process(depth=500, metric="standard"), S, "no Cholesky factor in float64 .at pre-.* depth"),
        (lambda: process(jacobian=INF), V, r"jacobian is infinite at index \(0, 0\): give NaN"),
        (lambda: process(jacobian="slopes"), T, "jacobian cannot be turned into an array of real numbers .* pass"),
        (lambda: process(y=[1.0, np.nan, 2.0]), V, "Input y contains NaN at point 1, and no derivative .* remove"),
        (lambda: process(X=NAN), V, "Input X contains NaN"),
        (lambda: process(solver="fast"), V, "solver must be 'auto', .* got 'fast'"),
        (
            lambda: process(np.ones((5, 3001)), np.ones(5), np.ones((5, 3001)), solver="exact"),
            V,
            "15010 observed numbers need a dense .* take solver='auto' or neighbours",
        ),
        (lambda: process(neighbours=0), V, "neighbours must be at least 1, got 0"),
        (lambda: process(neighbours=2.5), T, "neighbours must be an integer, got 2.5"),
        (
            lambda: process(neighbours=2).predict(X, return_cov=True),
            NotImplementedError,
            "covariances and samples of 3 predictions do not exist .* return_std, or neighbours=None",
        ),
        (
            lambda: process(activation=quadrature().activation, optimizer="fmin_l_bfgs_b"),
            V,
            "'own' has no closed form.*optimizer=None",
        ),
        (lambda: process().predict(X, return_std=True, return_cov=True), V, "return_std and return_cov exclude"),
        (lambda: process().log_marginal_likelihood([0.0]), V, r"theta has shape \(1,\), but \(0,\) is needed"),
        (lambda: process().sample_y(X, 0), V, "n_samples must be at least 1, got 0"),
        (lambda: JacobianGaussianProcessRegressor().predict(X), V, "is not fitted yet. Call 'fit'"),
        (
            lambda: process(np.concatenate([X, X]), np.arange(6.0), noise=0.0, metric="standard"),
            C,
            "relative residual of .* raise noise",
        ),
    ],
    "networks": [
        (lambda: network(mlp="erf"), T, "mlp must be a jacntk_lib.MLP, got 'erf' of type str"),
        (lambda: network(width=0), V, "width must be at least 1, got 0"),
        (lambda: network(width=2.0), T, "width must be an integer, got 2.0"),
        (lambda: network(width=[3, 0, 3]), V, r"width\[1\] must be at least 1, got 0"),
        (lambda: network(width=[3, 3]), V, "width has 2 entries, but the network has 3 hidden layers: give"),
        (lambda: network(input_dim=0), V, "input_dim must be at least 1, got 0"),
        (lambda: network(seed=-1), V, "seed must be at least 0, got -1"),
        (lambda: network(seed=2**64), V, r"seed must be below 2\*\*64"),
        (lambda: network(dtype=torch.float16), T, "dtype must be torch.float32 or torch.float64, got torch.float16"),
        (lambda: network(device="nowhere"), V, "device 'nowhere' is unknown to torch; use 'cpu'"),
        (lambda: network()(X[0]), V, r"X has shape \(3,\)"),
        (lambda: network()(torch.ones(3)), V, r"X has shape \(3,\): a matrix .* X\[None, :\]"),
        (lambda: network()(torch.ones(1, 1, 3)), V, r"X has shape \(1, 1, 3\)"),
        (lambda: network()(X[:, :2]), V, "X has 2 input dimensions, but the network was built with input_dim=3: give"),
        (lambda: network()(torch.ones(2, 4)), V, "X has 4 input dimensions, but the network was built with"),
        (lambda: network()(X[:0]), V, r"X is empty \(shape \(0, 3\)\)"),
        (lambda: network()(torch.ones(0, 3)), V, r"X is empty \(shape \(0, 3\)\)"),
        (lambda: network().value_and_jacobian(NAN), V, "X contains 9 non-finite"),
        (lambda: network().value_and_jacobian(torch.tensor(INF)), V, "X contains non-finite values; remove"),
        (lambda: network()(X * 1j), T, "X has dtype complex128: real numbers are needed"),
        (lambda: network()(torch.ones(2, 3) * 1j), T, "X has dtype torch.complex64: real numbers are needed"),
        (lambda: network()([["a", "b", "c"]]), T, "X has dtype <U1"),
    ],
    "finite": [
        (lambda: kernel(net=MLP(3)), T, "net must be a FiniteMLP, got MLP"),
        (lambda: kernel(X=X[0]), V, r"X has shape \(3,\)"),
        (lambda: kernel(X=X[:, :2]), V, "X has 2 input dimensions, but the network was built with input_dim=3"),
        (lambda: kernel(X2=X[:, :2]), V, "X2 has 2 input dimensions, but the network was built with"),
        (lambda: kernel(X2=NAN), V, "X2 contains 9 non-finite"),
        (lambda: kernel(memory=0), V, "memory must be at least 1, got 0"),
        (lambda: finite.jacobian_nngp("net", X), T, "net must be a FiniteMLP, got str"),
    ],
    "training": [
        (lambda: trained(net=MLP(3)), T, "net must be a FiniteMLP, got MLP"),
        (lambda: trained(X=X[0]), V, r"X has shape \(3,\)"),
        (lambda: trained(X=X[:, :2]), V, "X has 2 input dimensions, but the network was built with input_dim=3"),
        (lambda: trained(y=Y[:2]), V, r"y has shape \(2,\), but shape \(3,\) is needed"),
        (lambda: trained(y=Y[:, None]), V, r"y has shape \(3, 1\), but shape \(3,\) is needed"),
        (lambda: trained(y=[1, 1, np.nan]), V, "y contains 1 non-finite value"),
        (lambda: trained(y=None), T, "y has dtype object"),
        (lambda: trained(lam=-0.1), V, "lam must not be negative, got -0.1"),
        (lambda: trained(lam=np.ones(3)), T, "lam must be a real number"),
        (lambda: trained(learning_rate=0), V, "learning_rate must be positive, got 0.0"),
        (lambda: trained(learning_rate=1e6), V, "learning_rate .* is not below .*, the stability limit"),
        (lambda: trained(steps=-1), V, "steps must be at least 0, got -1"),
        (lambda: trained(steps=2.5), T, "steps must be an integer, got 2.5"),
        (lambda: trained(record=[0, 13]), V, "record asks for step 13, but training ends after steps=4"),
        (lambda: trained(record=[-1]), V, r"record\[\.\.\.\] must be at least 0, got -1"),
        (lambda: trained(reference=X), V, r"reference has shape \(3, 3\), but shape \(12, 12\) is needed"),
        (lambda: trained(X_test=X[:, :2]), V, "X_test has 2 input dimensions, but the network was built with"),
        (lambda: trained(memory=0), V, "memory must be at least 1, got 0"),
        (lambda: max_learning_rate("net", X, 0.1), T, "net must be a FiniteMLP, got str"),
        (lambda: max_learning_rate(network(), X, -1), V, "lam must not be negative, got -1"),
        (
            lambda: trained(
                net=network(mlp=MLP(3, "gelu"), width=64), learning_rate=1e8, steps=99, allow_unstable=True
            ),
            C,
            r"diverged: after \d+ steps .* use a rate well below",
        ),
    ],
    "robustness": [
        (lambda: attacked(norm="l1"), V, "norm must be one of 'l2', 'linf', got 'l1'"),
        (lambda: attacked(size=-0.1), V, "size must not be negative, got -0.1"),
        (lambda: attacked(size=math.nan), V, "size must be finite, got nan"),
        (lambda: attacked(size=[0.1]), T, r"size must be a real number, got \[0.1\]"),
        (lambda: attacked(steps=0), V, "steps must be at least 1, got 0"),
        (lambda: attacked(restarts=0), V, "restarts must be at least 1, got 0"),
        (lambda: attacked(step_size=0.0), V, "step_size must be positive, got 0"),
        (lambda: attacked(seed=-1), V, "seed must be at least 0, got -1"),
        (lambda: attacked(X=NAN), V, "X contains 9 non-finite"),
        (lambda: attacked(X=X[0]), V, r"X has shape \(3,\)"),
        (lambda: attacked(y=SIGNS[:2]), V, r"y has shape \(2,\), but shape \(3,\) is needed"),
        (lambda: attacked(y=SIGNS * np.nan), V, "y contains 3 non-finite"),
        (
            lambda: attacked(y=np.arange(3)),
            V,
            "labels must be -1 or [+]1 for a model with one output, got 0 at index 0",
        ),
        (lambda: attacked(model=3), T, "model must be a fitted JacobianKernelRegressor"),
        (lambda: attacked(model=lambda Z: Z), V, r"model returned has shape \(3, 3\), but shape \(3, 4\) is needed"),
        (lambda: attacked(model=lambda Z: np.zeros(())), V, "what the model returned has shape"),
        (lambda: attacked(model=lambda Z: slope(Z) * np.nan), V, "what the model returned contains 12 non-finite"),
        (lambda: attacked(model=lambda Z: np.zeros((3, 3, 4))), V, "must be classes 0 to 2 .* got -1"),
        (lambda: attacked(model=lambda Z: np.zeros((3, 2, 4)), y=X[0] / 2), V, "must be classes 0 to 1 .* got 0.5"),
        (
            lambda: certified_radius(network(), X, SIGNS),
            T,
            "pass a fitted JacobianKernelRegressor .* not a FiniteMLP",
        ),
        (lambda: certified_radius(flow(), X, SIGNS), T, r"functools.partial\(flow.at, t\), not a RobustFlow"),
        (lambda: certified_radius(functools.partial(flow().at), X, SIGNS), T, "the time t and nothing else"),
        (
            lambda: certified_radius(functools.partial(flow(y=np.eye(3)).at, 1.0), X, SIGNS),
            V,
            r"one output is needed, but the targets have shape \(3, 3\)",
        ),
        (lambda: certified_radius(fit(), X, Y), V, "labels must be -1 or \\+1 .* got 0.5"),
        (lambda: accuracy_under_attack(slope, X, SIGNS, []), V, r"sizes has shape \(0,\): one or more sizes in a row"),
        (lambda: accuracy_under_attack(slope, X, SIGNS, 0.1), V, r"sizes has shape \(\): one or more sizes in a row"),
        (lambda: accuracy_under_attack(slope, X, SIGNS, [0.1, -0.1]), V, "size must not be negative, got -0.1"),
    ],
    "datasets": [
        (lambda: datasets.load("mnist"), V, "unknown data set 'mnist'; known are algerian_forest_fires, .*, wine"),
        (lambda: datasets.load("wine", scale="no"), V, "scale must be 'standard', 'minmax' or None, got 'no'"),
        (lambda: datasets.load("wine", unit_length=1), T, "unit_length must be True or False, got 1"),
        (lambda: datasets.load("wine", drop_parallel=1), V, r"drop_parallel must be a cosine in \(0, 1\), got 1"),
        (lambda: datasets.load("sonar"), OSError, r"sonar.raw.csv is not UCI's file: .*restore it with `git checkout`"),
        (lambda: datasets.split(datasets.load("wine")), V, "already .* by statistics of all rows"),
        (lambda: datasets.split(raw(), test=0), V, r"test must be a share in \(0, 1\) or a number .* got 0"),
        (lambda: datasets.split(raw(), test=178), V, "number of rows below 178, got 178"),
        (lambda: datasets.split(raw(), test=1e-4), V, "test=0.0001 leaves one part of the 178 rows empty; choose"),
        (lambda: datasets.sphere_net(0, 3), V, "n must be at least 1, got 0"),
        (lambda: datasets.sphere_net(3, 0), V, "d must be at least 1, got 0"),
        (lambda: datasets.sphere_net(2.5, 3), T, "n must be an integer, got 2.5"),
        (lambda: datasets.sphere_net(3, 3, -1), V, "seed must be at least 0, got -1"),
        (lambda: datasets.sphere_net(2, 1), V, "an antipodal pair: n must be 1, got 2"),
        (lambda: datasets.sphere_net(3, 3, antipodal_range=-0.5), V, "antipodal_range must not be negative, got -0.5"),
        (lambda: datasets.sphere_net(3, 3, antipodal_range=1.5), V, r"antipodal_range must be in \[0, 1\], got 1.5"),
        (lambda: datasets.separation(X[0]), V, r"X has shape \(3,\)"),
        (lambda: datasets.fibonacci_sphere(0, 3), V, "n must be at least 1, got 0"),
        (lambda: datasets.fibonacci_sphere(3, 1), V, "d must be at least 2, got 1"),
        (lambda: datasets.fibonacci_sphere(3, 4.0), T, "d must be an integer, got 4.0"),
        (lambda: datasets.covering_radius(2 * X), V, "rows of unit length .* are needed; divide each by its length"),
        (lambda: datasets.covering_radius(X), V, "must surround the origin; take more points"),
        (lambda: datasets.covering_radius([[1.0, 0], [0, 1], [0.6, 0.8]]), V, "must surround the origin"),
        (lambda: datasets.covering_radius(np.tile(X[:1], (9, 1))), V, "must surround the origin; take more"),
    ],
    "results": [
        (lambda: results.load("other"), FileNotFoundError, "no result 'other' in .*there: .*whole.*JACNTK_RESULTS_DIR"),
        (lambda: results.load("../whole"), V, "needs letters, digits, .* got '../whole'"),
        (lambda: results.load("half"), R, "half.json is missing though half.npz is there; restore both"),
        (lambda: results.load("cut"), R, "cut.npz is truncated or damaged .* restore both files"),
        (lambda: results.load("edited"), R, "edited.json was edited: .* restore both files"),
        (lambda: results.load("mixed"), R, "array 'a' in .*mixed.npz is not the one .* restore both files"),
        (lambda: results.load("foreign"), R, "foreign.json was not written by jacntk"),
        (lambda: results.load("newer"), R, "newer.json has schema 99, .* install a newer jacntk"),
        (lambda: results.load("renamed"), R, "is the record of 'whole': the file was renamed"),
        (lambda: results.load("whole")["b"], KeyError, "result 'whole' has no array 'b'; it has a"),
        (lambda: result(name=".toy"), V, "needs letters, digits, .* got '.toy'"),
        (lambda: result(arrays={"a": np.array([object()])}), T, "array 'a' has dtype object: only numbers"),
        (lambda: result(config={"a": math.nan}), T, "something that JSON cannot .*; use plain finite values"),
        (lambda: result(config={"a": np.zeros(2)}), T, "something that JSON cannot .*; use plain"),
        (lambda: results.Cells("here", "toy", {}).store("a/b", {}, 0.0), V, "needs letters, digits, .* got 'a/b'"),
    ],
    "experiments": [
        (lambda: experiments.figure(7), V, "no figure 7; known are 1, 2, .*, 6, B7, .*, B13"),
        (lambda: experiments.figure("B6"), V, "no figure 'B6'; known are 1, 2, 3"),
        (lambda: figure1.Config(depths=()), V, r"depths must be one or more different values, got \(\)"),
        (lambda: figure2.Config(widths=(8, 8)), V, r"widths must be one or more different values, got \(8, 8\)"),
        (lambda: figure2.Config(widths=(0,)), V, "each of widths must be at least 1, got 0"),
        (lambda: figure2.Config(activations=("relu",)), V, "activation 'relu' is not smooth"),
        (lambda: figure2.Config(seeds=0), V, "seeds must be at least 1, got 0"),
        (lambda: figure3.Config(seeds=(1, 2)), V, "must give a number for each of the 8 widths"),
        (lambda: figure3.Config(steps=(1, 2)), V, "steps must rise from 0"),
        (lambda: figure3.Config(data="iris"), V, "unknown data set 'iris'; known are"),
        (lambda: figure3.Config(lam=-1.0), V, "lam must not be negative, got -1"),
        (lambda: figure3.run(figure3.Config(data="wine")), V, "several classes"),
        (lambda: figure6.Config(data=("iris",)), V, "unknown data 'iris'; known are algerian_forest_fires"),
        (lambda: figure6.Config(depths=()), V, "depths must be one or more"),
    ],
    "bootstrap": [
        (lambda: bootstrap.fitted_slope([64, 128], [0.1, 0.2]), V, r"errors \(2,\): \(W,\) and \(W, S\) are needed"),
        (lambda: bootstrap.fitted_slope([64, 128], np.ones((3, 4))), V, r"errors \(3, 4\)"),
        (lambda: bootstrap.fitted_slope([64, 128], np.ones((2, 1))), V, "at least two widths and two seeds are needed"),
        (lambda: bootstrap.fitted_slope([64], np.ones((1, 3))), V, "at least two widths and two seeds are needed"),
        (lambda: bootstrap.fitted_slope([64, 64], np.ones((2, 3))), V, "widths are all equal: a slope needs"),
        (lambda: bootstrap.fitted_slope([64, -1], np.ones((2, 3))), V, "widths must be positive .* got -1"),
        (lambda: bootstrap.fitted_slope([64, 128], np.zeros((2, 3))), V, "errors must be positive .* got 0"),
        (lambda: bootstrap.fitted_slope([64, 128], NAN[:2]), V, "errors contains 6 non-finite"),
        (lambda: bootstrap.median_interval(3.0), V, r"samples has shape \(\): .* at least two repetitions"),
        (lambda: bootstrap.median_interval([1.0]), V, r"samples has shape \(1,\): .* at least two repetitions"),
        (lambda: bootstrap.mean_interval(np.empty((0, 4))), V, r"samples has shape \(0, 4\)"),
        (lambda: bootstrap.mean_interval([1.0, 2.0], n_boot=0), V, "n_boot must be at least 1, got 0"),
    ],
    "plotting, tables and checks": [
        (lambda: plotting.gram_picture(None, np.ones(3)), V, r"matrix has shape \(3,\): a matrix .* is needed"),
        (lambda: plotting.gram_picture(axes(), np.ones((4, 4)), 3), V, "does not divide into blocks of 3"),
        (lambda: plotting.gram_picture(None, INF), V, "matrix contains 9 non-finite"),
        (lambda: plotting.error_by_width(None, [64, -1], np.ones((2, 3))), V, "widths must be positive"),
        (lambda: tables.table("", ["a", "b"], [["x"]]), V, r"row \['x'\] has 1 cells, and the table 2 columns"),
        (lambda: checks.check("slope", -0.2, -0.4), checks.CheckFailed, "slope: -0.2 misses the bound <= -0.4"),
        (lambda: checks.check("slope", math.nan, 1.0), checks.CheckFailed, "slope: nan misses the bound <= 1"),
    ],
}
CASES = [
    pytest.param(*case, id=f"{where}-{number}") for where, cases in LIST.items() for number, case in enumerate(cases)
]

# Words by which a message says what is needed or how to go on.
WAY_OUT = re.compile(
    r"\b(must|needed|needs?|use|pass|give|call|choose|remove|reduce|known are|exist for|restore|install|replace|put"
    r"|set|unset|build|computes?|take|certify|convert|widen|preprocess|it has|not supported|are equal|expecting"
    r"|misses the bound)\b",
    re.IGNORECASE,
)


def raw():
    return datasets.load("wine", scale=None, unit_length=False)


def axes():
    from matplotlib.figure import Figure

    return Figure().subplots()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A current folder, a results folder with one good result and eight bad ones, the data with a wrong file."""
    root = tmp_path_factory.mktemp("disk")
    stored, data = root / "results", root / "data"
    (root / "here").mkdir()
    shutil.copytree(_uci.FOLDER, data)
    (data / "sonar.raw.csv").unlink()
    (data / "sonar.raw.csv").write_text("1,2,R\n")
    for name in ("whole", "half", "cut", "edited", "mixed", "foreign", "newer"):
        results.save(result(name=name), stored)
    json_of, npz_of = (lambda name, end=end: stored / f"{name}.{end}" for end in ("json", "npz"))
    json_of("half").unlink()
    npz_of("cut").write_bytes(npz_of("cut").read_bytes()[:-40])
    json_of("edited").write_text(json_of("edited").read_text().replace("[\n   64\n  ]", "[\n   65\n  ]"))
    np.savez(npz_of("mixed"), a=np.arange(3) + 1)
    json_of("foreign").write_text('{"figure": 2}')
    record = json.loads(json_of("newer").read_text()) | {"schema": 99}
    json_of("newer").write_text(json.dumps(record))
    for end in (json_of, npz_of):
        end("renamed").write_bytes(end("whole").read_bytes())
    return root


@pytest.fixture
def disk(prepared, monkeypatch):
    """The same, as current folder and in the environment: what is there after the test must be what was before."""
    monkeypatch.chdir(prepared / "here")
    monkeypatch.setenv("JACNTK_RESULTS_DIR", str(prepared / "results"))
    monkeypatch.setattr(_uci, "FOLDER", prepared / "data")

    def contents():
        return {path: path.read_bytes() for path in prepared.rglob("*") if path.is_file()}

    before, folders = contents(), sorted(prepared.rglob("*"))
    yield
    assert contents() == before
    assert sorted(prepared.rglob("*")) == folders


@pytest.mark.parametrize(("call", "error", "message"), CASES)
def test_refusal(call, error, message, disk):
    with pytest.raises(error, match=f"(?s){message}") as refusal:
        call()
    said = str(refusal.value)
    assert WAY_OUT.search(said), f"it does not say what to do: {said}"
    assert len(said) < 900


def test_the_list_is_long_enough():
    assert len(CASES) >= 200
    assert {error for case in CASES for error in [case.values[1]]} >= {V, T, C, S, R}


def test_a_command_stopped_at_once_leaves_nothing(disk, capsys):
    assert cli.main(["figure", "2", "--out", "there", "--time-limit", "1e-9"]) == cli.FAILED
    said = capsys.readouterr().err
    assert "stopped at the time limit" in said
    assert "Traceback" not in said
