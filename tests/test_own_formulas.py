"""Closed forms of one's own: a cosine has everything that the built-in activations have, and slips are refused."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jacntk_lib import MLP, JacobianGaussianProcessRegressor, jacobian_nngp, jacobian_ntk, spectrum
from jacntk_lib.activations import Activation, Expectations, names_in_closed_form
from jacntk_lib.kernels import block_function

WAVES = [jnp.cos, lambda z: -jnp.sin(z), lambda z: -jnp.cos(z), jnp.sin, jnp.cos]
STATED = {"even_part": (0, ...), "odd_part": (), "regularity": "analytic"}


def both(a, b, c, exp):
    up, down = exp(c - (a + b) / 2) / 2, exp(-c - (a + b) / 2) / 2
    cosh, sinh = up + down, up - down
    return Expectations(cosh, sinh, -cosh, -cosh, cosh, -sinh, -sinh, sinh, -cosh, -cosh)


def expectations(a, b, c):
    return both(a, b, c, jnp.exp)


def moment(a):
    return (1 + jnp.exp(-2 * a)) / 2, -jnp.exp(-2 * a)


def enclosed_moment(a, field):
    decay = field.exp(-2 * a)
    return (1 + decay) / 2, -decay


ENCLOSURE = (lambda a, b, c, field: both(a, b, c, field.exp), enclosed_moment)


def cosine(name="cos", expectations=expectations, moment=moment, **given):
    return Activation.from_formulas(name, WAVES, expectations, moment, **({"enclosure": ENCLOSURE} | STATED | given))


@pytest.fixture(scope="module")
def cos():
    return cosine()


def points(n, seed=0):
    return np.random.default_rng(seed).standard_normal((n, 2))


@pytest.mark.parametrize("n", [3, 40])  # few points, which built-in closed forms leave to NumPy, and more
@pytest.mark.parametrize("kernel", [jacobian_ntk, jacobian_nngp])
def test_kernels_are_those_of_quadrature(cos, kernel, n):
    by_quadrature = Activation.from_derivatives("cos by quadrature", WAVES, **STATED)
    X = points(n)
    X[1], X[2] = -X[0], 0.0
    mlp = MLP(3, cos, sigma_b=0.3, input_scale=(0.5, 1.2))
    expected = kernel(replace(mlp, activation=by_quadrature), X).dense()
    found = kernel(mlp, X).dense()
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, atol=1e-11 * np.abs(expected).max())
    assert cos.second_moment == pytest.approx((1 + math.exp(-2)) / 2, rel=1e-15)


@pytest.mark.parametrize(("sigma_w", "lengths"), [(1e4, [1e-7]), (3e3, [1e-9, 0.5])])
def test_variances_are_watched_where_the_shortest_point_has_the_largest(cos, sigma_w, lengths):
    """E[cos(u)^2] falls with the variance of u."""
    with pytest.raises(ValueError, match="pre-activation variance"):
        jacobian_ntk(MLP(2, cos, sigma_w=sigma_w), np.array(lengths)[:, None])


def test_block_function_is_the_kernel_and_can_be_differentiated_again(cos):
    mlp = MLP(2, cos, sigma_b=0.2)
    block, x, h = block_function(mlp), np.array([0.3, -0.8]), 1e-5
    with jax.enable_x64(True):
        np.testing.assert_allclose(block(x, x), jacobian_ntk(mlp, x[None]).dense(), rtol=1e-12, atol=1e-14)
        slope = np.asarray(jax.jacfwd(block)(x, x))
        for k, step in enumerate(h * np.eye(2)):
            difference = (block(x + step, x) - block(x - step, x)) / (2 * h)
            np.testing.assert_allclose(slope[..., k], difference, atol=2e-9)


def test_hyperparameters_are_fitted(cos):
    X = points(25)
    y = np.cos(2 * X[:, 0]) + 0.5 * X[:, 1]
    model, start = (  # with noise, since without any the likelihood has few digits
        JacobianGaussianProcessRegressor(depth=1, activation=cos, noise=0.01, optimizer=optimizer).fit(X, y)
        for optimizer in ("fmin_l_bfgs_b", None)
    )
    assert model.log_marginal_likelihood_value_ > start.log_marginal_likelihood_value_ + 5
    theta, h = model.theta_ + 0.1, 1e-4
    _, slope = model.log_marginal_likelihood(theta, eval_gradient=True)
    for k, step in enumerate(h * np.eye(len(theta))):
        difference = model.log_marginal_likelihood(theta + step) - model.log_marginal_likelihood(theta - step)
        assert slope[k] == pytest.approx(difference / (2 * h), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("high_precision", [False, True])
def test_certificates(cos, high_precision):
    pytest.importorskip("flint")
    G = jacobian_ntk(MLP(2, cos, sigma_b=0.5), points(6))
    found = spectrum.smallest_eigenvalue(G, high_precision=high_precision)
    assert found.verdict == "certified positive"
    assert found.lower <= spectrum.extreme_eigenvalues(G)[0] * (1 + 1e-6)
    assert found.upper >= spectrum.extreme_eigenvalues(G)[0] * (1 - 1e-6)
    X = points(3)
    symmetric = jacobian_ntk(MLP(2, cos), np.concatenate([X, -X]))
    assert spectrum.smallest_eigenvalue(symmetric).verdict == "certified singular"


def test_parts_that_were_detected_certify_nothing():
    X = np.array([[0.6, 0.8], [-0.6, -0.8]])
    detected = MLP(2, cosine(even_part=None, odd_part=None))
    assert spectrum.positivity(detected, X).verdict == "singular"
    found = spectrum.smallest_eigenvalue(jacobian_ntk(detected, X), high_precision=False)
    assert found.verdict == "undecided"
    repeated = spectrum.smallest_eigenvalue(jacobian_ntk(detected, X[[0, 0]]), high_precision=False)
    assert repeated.verdict == "certified singular"  # by points that are equal, whatever phi is


def test_an_enclosure_belongs_to_formulas_and_not_to_a_name():
    X = points(4)
    found = spectrum.smallest_eigenvalue(jacobian_ntk(MLP(2, cosine("erf"), sigma_b=0.5), X))
    expected = spectrum.smallest_eigenvalue(jacobian_ntk(MLP(2, cosine("cos"), sigma_b=0.5), X))
    assert (found.lower, found.upper) == (expected.lower, expected.upper)
    with pytest.raises(ValueError, match=r"'erf' are closed forms without enclosure.*erf, gelu, sin, and for yours"):
        spectrum.smallest_eigenvalue(jacobian_ntk(MLP(2, cosine("erf", enclosure=None)), X))


def wrong(**fields):
    """The expectations with some of them multiplied."""

    def multiplied(a, b, c):
        K = expectations(a, b, c)
        return K._replace(**{name: factor * getattr(K, name) for name, factor in fields.items()})

    return multiplied


@pytest.mark.parametrize("field", Expectations._fields)
def test_a_slip_in_any_expectation_is_found(field):
    with pytest.raises(ValueError, match=rf"'cos': expectations gives {field} = .* at \(a, b, c\) = .* mend the"):
        cosine(expectations=wrong(**{field: -1}))


def through_a_root(a, b, c):
    """The right value, by way of a root that has no derivative at c^2 = a b."""
    K = expectations(a, b, c)
    return K._replace(k00=K.k00 + jnp.sqrt(jnp.maximum(a * b - c * c, 0.0)) * 0.0)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"moment": lambda a: (moment(a)[0], moment(a)[0])}, ValueError, "moment gives m' = 0.567667642 at"),
        (
            {"expectations": through_a_root},
            ValueError,
            "derivative of k00 by a at .* is nan by jax.*without a square",
        ),
        ({"expectations": lambda a, b, c: both(a, b, c, np.exp)}, TypeError, "expectations does not take jax arrays"),
        ({"moment": lambda a: (1 + np.exp(-2 * a), a)}, TypeError, "moment does not take jax arrays"),
        ({"expectations": lambda a, b, c: (a, b, c)}, TypeError, "expectations must return an Expectations"),
        ({"moment": lambda a: moment(a)[0]}, TypeError, "moment must return a pair"),
        ({"moment": lambda a: (moment(a)[0], -1.0)}, TypeError, r"returns \[\(2, 1\), \(\)\] .* jnp.full_like"),
        ({"enclosure": ENCLOSURE[0]}, TypeError, "enclosure must be a pair of functions"),
        (
            {"enclosure": (lambda a, b, c, f: both(a, b, c, f.exp)._replace(k33=c), enclosed_moment)},
            ValueError,
            r"enclosure\[0\] gives k33",
        ),
        ({"enclosure": (ENCLOSURE[0], lambda a, f: (f.exp(-a), a))}, ValueError, r"enclosure\[1\] gives m = "),
    ],
)
def test_what_is_refused(given, error, message):
    with pytest.raises(error, match=message):
        cosine(**given)


def test_names_of_what_has_closed_forms():
    assert names_in_closed_form() == ("erf", "gelu", "sin")
    tanh = JacobianGaussianProcessRegressor(activation="tanh")
    with pytest.raises(ValueError, match=r"take one of erf, gelu, sin, give closed forms to Activation"):
        tanh.fit(points(5), np.arange(5.0))
