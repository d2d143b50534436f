"""Gaussian expectations: closed forms against quadrature, Price's theorem, and what is refused."""

import copy
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from scipy.special import roots_hermitenorm
from sklearn.base import clone

from jacntk_lib import JacobianKernelRegressor, activations
from jacntk_lib.activations import Activation, Expectations
from jacntk_lib.activations.arctan import arctan2

CLOSED = ("erf", "gelu", "sin")
# (a, b, c): generic, equal, nearly equal, opposite, independent, unequal, tiny, zero variance
TRIPLES = np.array(
    [
        (1.0, 1.0, 0.3),
        (1.0, 1.0, 1.0),
        (1.0, 1.0 + 2e-9, 1.0 + 1e-9),
        (1.0, 1.0, -1.0),
        (0.7, 0.4, 0.0),
        (0.9, 0.1, -0.2),
        (1e-6, 1e-4, 5e-6),
        (0.0, 1.0, 0.0),
    ]
)


def jax_derivatives(phi):
    """phi and its first four derivatives by autodiff of a smooth scalar function: an independent route."""
    functions = [phi]
    for _ in range(4):
        functions.append(jax.grad(functions[-1]))
    return [jax.jit(jnp.vectorize(f)) for f in functions]


def by_quadrature(name):
    phi = {
        "erf": jax.scipy.special.erf,
        "gelu": lambda z: z * jax.scipy.stats.norm.cdf(z),
        "sin": jnp.sin,
    }[name]
    return Activation.from_derivatives(name + " by quadrature", jax_derivatives(phi))


def expectations(activation, triples):
    with jax.enable_x64(True):
        formulas = activation.formulas_for(triples[:, :2].max())
        return np.array(formulas.expectations(*(jnp.asarray(x) for x in triples.T)))


@pytest.mark.parametrize("name", CLOSED)
def test_closed_forms_equal_quadrature(name):
    closed = expectations(activations.get(name), TRIPLES)
    numeric = expectations(by_quadrature(name), TRIPLES)
    for label, left, right in zip(Expectations._fields, closed, numeric, strict=True):
        np.testing.assert_allclose(left, right, atol=1e-12, rtol=0, err_msg=label)


@pytest.mark.parametrize("name", CLOSED)
def test_moments_are_the_diagonal(name):
    phi = activations.get(name)
    a = np.array([0.0, 1e-8, 0.5, 1.0, 30.0])
    with jax.enable_x64(True):
        m, dm = (np.asarray(x) for x in phi.formulas_for(a).moment(jnp.asarray(a)))
        K = Expectations(*expectations(phi, np.stack([a, a, a], axis=1)))
        slope = np.array([float(jax.grad(lambda t: phi.formulas_for(t).moment(t)[0])(t)) for t in a])
    np.testing.assert_allclose(m, K.k00, atol=1e-14, rtol=1e-13)
    np.testing.assert_allclose(dm, K.k20 + K.k11, atol=1e-14, rtol=1e-13)
    np.testing.assert_allclose(dm, slope, atol=1e-13, rtol=1e-12)


@pytest.mark.parametrize("name", [*CLOSED, "tanh", "softplus"])
def test_second_moment(name):
    """E[phi(z)^2] by Gauss-Hermite with many nodes, which shares nothing with the library's rule."""
    z, w = roots_hermitenorm(700)
    phi = activations.get(name)
    value = phi.torch_jet(torch.tensor(z), 0)[0].numpy()
    assert phi.second_moment == pytest.approx(np.sum(w * value**2) / np.sum(w), rel=1e-11)


@pytest.mark.parametrize("c", [0.3, -0.2, 0.0])
@pytest.mark.parametrize("name", CLOSED)
def test_price_theorem(name, c):
    """dK00/dc = K11, dK00/da = K20/2, dK11/dc = K22, ... with derivatives by jax away from |c| = sqrt(ab)."""
    phi = activations.get(name)

    def entry(label):
        return lambda a, b, c: getattr(phi.formulas_for(1.0).expectations(a, b, c), label)

    triple = (0.8, 0.5, c)
    claims = [
        ("k00", 2, "k11", 1.0),
        ("k00", 0, "k20", 0.5),
        ("k00", 1, "k02", 0.5),
        ("k11", 2, "k22", 1.0),
        ("k11", 0, "k31", 0.5),
        ("k11", 1, "k13", 0.5),
        ("k20", 1, "k22", 0.5),
        ("k22", 2, "k33", 1.0),
        ("k22", 0, "k42", 0.5),
        ("k22", 1, "k24", 0.5),
    ]
    with jax.enable_x64(True):
        for of, argument, equals, factor in claims:
            derivative = float(jax.grad(entry(of), argument)(*map(jnp.float64, triple)))
            assert derivative == pytest.approx(factor * float(entry(equals)(*triple)), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("name", ["erf", "gelu", "sin", "tanh", "softplus"])
def test_torch_jet_is_a_jet(name):
    z = torch.linspace(-4, 4, 81, dtype=torch.float64, requires_grad=True)
    jet = activations.get(name).torch_jet(z, 2)
    assert len(jet) == 3
    assert len(activations.get(name).torch_jet(z, 0)) == 1
    for lower, higher in ((jet[0], jet[1]), (jet[1], jet[2])):
        (slope,) = torch.autograd.grad(lower.sum(), z, retain_graph=True)
        torch.testing.assert_close(slope, higher, atol=1e-14, rtol=1e-12)


def test_quadrature_is_refined_until_it_is_accurate():
    """Variances 0.2 to 5 of tanh against Gauss-Hermite with 700 nodes."""
    phi = activations.get("tanh")
    z, w = roots_hermitenorm(700)
    w = w / w.sum()
    for a in (0.2, 1.0, 5.0):
        K = Expectations(*expectations(phi, np.array([[a, a, a]])))
        t = np.tanh(np.sqrt(a) * z)
        tolerance = 1e-10 if a <= 1 else 1e-5  # beyond variance 1 it is Gauss-Hermite that is inaccurate
        np.testing.assert_allclose(K.k00, np.sum(w * t * t), atol=tolerance)
        np.testing.assert_allclose(K.k22, np.sum(w * (2 * t * (1 - t * t)) ** 2), atol=10 * tolerance)


def test_a_copy_is_the_same_object():
    """scikit-learn's clone copies every parameter; jit would compile the formulas of another object anew."""
    phi = activations.get("tanh")
    assert copy.copy(phi) is phi
    assert copy.deepcopy(phi) is phi
    assert clone(JacobianKernelRegressor(activation=phi)).activation is phi


class TestArctan2:
    """The vectorisable angle against NumPy's, which calls the C library."""

    def on(self, y, x):
        with jax.enable_x64(True):
            return np.asarray(jax.jit(arctan2)(y, x))

    def test_every_direction(self):
        rng = np.random.default_rng(0)
        x = rng.standard_normal(200_000) * 10 ** rng.uniform(-8, 8, 200_000)
        y = rng.standard_normal(200_000) * 10 ** rng.uniform(-2, 2, 200_000) * np.abs(x)
        exact = np.arctan2(y, x)
        np.testing.assert_array_less(np.abs(self.on(y, x) - exact), 5 * np.spacing(np.abs(exact)))

    def test_seams(self):
        """Where one branch meets the next, both sides of it, and the axes."""
        seams = np.array([0.0, np.pi / 12, np.pi / 6, np.pi / 4, np.pi / 2])
        angles = np.concatenate([s + sign * np.array([0.0, 1e-16, 1e-9]) for s in seams for sign in (1, -1)])
        angles = np.concatenate([angles, -angles, np.pi - angles, angles - np.pi])
        y, x = np.sin(angles), np.cos(angles)
        np.testing.assert_allclose(self.on(y, x), np.arctan2(y, x), rtol=1e-15)
        np.testing.assert_array_equal(self.on(np.array([0.0, 0.0]), np.array([1.0, -1.0])), [0.0, np.pi])

    def test_small_angles_keep_their_relative_accuracy(self):
        y = 10.0 ** np.arange(-300, 0, 7)
        np.testing.assert_allclose(self.on(y, np.ones_like(y)), np.arctan(y), rtol=1e-15)

    def test_slopes(self):
        """Autodiff of it is the slope of the angle everywhere, also where a branch ends (y = |x|, x = 0)."""
        with jax.enable_x64(True):
            for y, x in ((1.0, 1.0), (1.0, -1.0), (1.0, 0.0), (-0.3, 0.2), (0.0, 2.0)):
                dy, dx = jax.grad(arctan2, (0, 1))(y, x)
                assert (float(dy), float(dx)) == pytest.approx((x / (x * x + y * y), -y / (x * x + y * y)), abs=1e-15)


@pytest.mark.parametrize("function", [np.tanh, torch.tanh, math.tanh])
def test_functions_that_jax_cannot_trace_are_refused_by_name(function):
    good = activations.tanh_derivatives()
    with pytest.raises(TypeError, match=r"'mine': derivatives\[1\] does not take a jax array: .* jnp.tanh"):
        activations.Activation.from_derivatives("mine", (good[0], function, *good[2:]))
