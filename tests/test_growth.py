"""What the last layer passes on of the smallest eigenvalue: against quadrature, and against eigenvalues."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from jacntk_lib import MLP, jacobian_nngp, jacobian_ntk
from jacntk_lib.spectrum import depth_gain

POINTS = np.random.default_rng(0).standard_normal((5, 3)) / 2
NETWORKS = [
    MLP(2, "erf"),
    MLP(4, "erf", sigma_b=0.3),
    MLP(3, "gelu", sigma_w=1.4),
    MLP(3, "sin", input_scale=0.7),
    MLP(2, "softplus", normalise=False),
]
PHI = {"erf": jax.lax.erf, "gelu": lambda z: jax.nn.gelu(z, approximate=False), "sin": jax.numpy.sin}
PHI["softplus"] = jax.nn.softplus


def smallest(matrix):
    return np.linalg.eigvalsh(matrix)[0]


def by_quadrature(mlp, x):
    """The quadratic form of (c, v) at one point: E[(c phi'(g) + phi''(g) v.h)^2] + |v|^2 E[phi'(g)^2], (g, h) ~ S.

    Given g, h is normal with mean g S_0a / S_00: Gauss-Hermite over g, derivatives of phi by autodiff.
    """
    S = jacobian_nngp(replace(mlp, depth=mlp.depth - 1), x[None]).dense()
    mean, left = S[0, 1:] / S[0, 0], S[1:, 1:] - np.outer(S[0, 1:], S[0, 1:]) / S[0, 0]
    nodes, weights = np.polynomial.hermite_e.hermegauss(150)
    weights = weights / weights.sum() * (mlp.sigma_w * mlp.phi_scale) ** 2
    g = nodes * np.sqrt(S[0, 0])
    with jax.enable_x64(True):
        slope = jax.grad(PHI[mlp.phi.name])
        first, second = np.asarray(jax.vmap(slope)(g)), np.asarray(jax.vmap(jax.grad(slope))(g))
    features = np.concatenate([first[:, None], (second * g)[:, None] * mean], axis=1)
    form = (features * weights[:, None]).T @ features
    form[1:, 1:] += (weights @ second**2) * left + (weights @ first**2) * np.eye(len(x))
    return form


@pytest.mark.parametrize("mlp", NETWORKS, ids=lambda mlp: f"{mlp.phi.name}-{mlp.depth}")
def test_it_is_the_smallest_of_the_points_quadratic_forms(mlp):
    expected = min(smallest(by_quadrature(mlp, x)) for x in POINTS)
    assert depth_gain(mlp, POINTS) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("mlp", NETWORKS, ids=lambda mlp: f"{mlp.phi.name}-{mlp.depth}")
@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_smallest_eigenvalue_is_at_least_what_is_passed_on(mlp, count):
    X = POINTS[:count]
    before = smallest(jacobian_ntk(replace(mlp, depth=mlp.depth - 1), X).dense())
    after, own = (smallest(kernel(mlp, X).dense()) for kernel in (jacobian_ntk, jacobian_nngp))
    assert after >= own + depth_gain(mlp, X) * before - 1e-13 * abs(after)


def test_a_product_with_the_identity_passes_on_no_more():
    """For a kernel A whose Gram matrix at a point is the identity, (AB)'s smallest eigenvalue there is the gain."""
    mlp, x = MLP(3, "gelu"), POINTS[0]
    theta, shallow = jacobian_ntk(mlp, x[None]), jacobian_ntk(replace(mlp, depth=2), x[None])
    P = theta.dense() - jacobian_nngp(mlp, x[None]).dense()
    A = shallow.dense()
    B = np.empty_like(P)  # P = A B by the product rule, solved for the block of B
    B[0, 0] = P[0, 0] / A[0, 0]
    B[0, 1:] = B[1:, 0] = (P[0, 1:] - A[0, 1:] * B[0, 0]) / A[0, 0]
    crossed = np.outer(A[1:, 0], B[0, 1:])
    B[1:, 1:] = (P[1:, 1:] - A[1:, 1:] * B[0, 0] - crossed - crossed.T) / A[0, 0]
    product = B + np.diag([0.0, *[B[0, 0]] * len(x)])
    assert depth_gain(mlp, x[None]) == pytest.approx(smallest(product), rel=1e-9)


def test_points_of_equal_length_pass_on_alike():
    first, turned = np.array([[0.6, 0.8, 0.0]]), np.array([[0.0, -1.0, 0.0]])
    assert depth_gain(MLP(3), first) == pytest.approx(depth_gain(MLP(3), turned), rel=1e-12)
    assert depth_gain(MLP(3), 2 * first) != pytest.approx(depth_gain(MLP(3), first), rel=0.01)
