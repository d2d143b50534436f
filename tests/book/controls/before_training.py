"""Negative controls of the setting and of the statements before training."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import torch

from jacntk_book import datasets
from jacntk_lib import MLP, activations, finite, jacobian_nngp, jacobian_ntk
from jacntk_lib.networks import FiniteMLP
from jacntk_lib.spectrum import smallest_eigenvalue
from jacntk_lib.training import train

from .common import DIM, POINTS, Control, X, Y, outputs, relative, targets, weights_of_the_loss

# -- the setting ---------------------------------------------------------------------------------------------


def a_factor_in_the_first_layer() -> Control:
    """Section 2: the network written out in NumPy, without and with 1/sqrt(d) in front of W^1 x."""
    mlp = MLP(depth=2, activation="erf", kappa=0.3)
    net = FiniteMLP(mlp, width=16, input_dim=DIM, seed=1)
    first, second, last = (weight.detach().numpy() for weight in net.weights)

    def written_out(scale):
        def phi(g):
            return mlp.phi_scale * torch.erf(torch.from_numpy(g)).numpy()

        hidden = phi(phi(scale * X @ first.T) @ second.T / 4)
        return 0.3 * (hidden @ last.T).ravel() / 4

    value = net(X).detach().numpy()
    return Control(relative(written_out(1.0), value), relative(written_out(DIM**-0.5), value), 1e-12)


def an_activation_that_is_not_normalised() -> Control:
    """Assumption 2.1: E[phi(z)^2] = 1, by quadrature."""
    z, weight = np.polynomial.hermite_e.hermegauss(120)
    weight = weight / weight.sum()

    def distance_from_one(normalise):
        mlp = MLP(depth=1, activation="gelu", normalise=normalise)
        (phi,) = mlp.phi.torch_jet(torch.from_numpy(z), 0)
        return abs(mlp.phi_scale**2 * weight @ phi.numpy() ** 2 - 1)

    return Control(distance_from_one(True), distance_from_one(False), 1e-8)


def standardised_columns() -> Control:
    """Natural data: columns to [-1, 1], rows to unit length, and 186 banknotes remain."""

    def count(scale):
        return abs(len(datasets.load("banknote_authentication", scale=scale, drop_parallel=0.99).X) - 186)

    return Control(count("minmax"), count("standard"), 0)


def a_sum_in_place_of_the_mean() -> Control:
    """Equation (1): a step of training against the gradient of the loss as it is printed."""
    lam, rate = 0.1, 0.5
    mlp = MLP(depth=2, activation="gelu", kappa=0.5)
    net = FiniteMLP(mlp, width=16, input_dim=DIM, seed=2)
    value, *jacobian = net.value_and_jacobian(X).T
    loss = ((value - torch.from_numpy(Y)) ** 2 + lam * sum(column**2 for column in jacobian)).sum() / (2 * POINTS)
    gradient = torch.cat([one.ravel() for one in torch.autograd.grad(loss, list(net.weights))]).numpy()
    before = torch.nn.utils.parameters_to_vector(net.weights).detach().numpy().copy()
    train(net, X, Y, lam, rate, steps=1, record=[], allow_unstable=True)
    step = before - torch.nn.utils.parameters_to_vector(net.weights).detach().numpy()
    return Control(relative(step, rate * gradient), relative(step, rate * POINTS * gradient), 1e-10)


# -- before training -----------------------------------------------------------------------------------------


def indices_of_the_two_points_swapped() -> Control:
    """Theorem 3.1: the conditional covariance of a wide network against Sigma, entry by entry."""
    mlp = MLP(depth=2, activation="erf")
    found = finite.jacobian_nngp(FiniteMLP(mlp, width=4096, input_dim=DIM, seed=3), X).numpy()
    blocks = jacobian_nngp(mlp, X).dense().reshape(POINTS, 1 + DIM, POINTS, 1 + DIM)
    swapped = blocks.transpose(0, 3, 2, 1).reshape(found.shape)  # the derivative at x taken for the one at x'
    return Control(relative(blocks.reshape(found.shape), found), relative(swapped, found), 0.1)


def a_derivative_through_the_square_root() -> Control:
    """Theorem 3.2 at x = x': the mixed derivative of the value kernel, the library's and a guarded square root's."""
    node, weight = np.polynomial.hermite_e.hermegauss(40)
    weight = weight / weight.sum()
    mlp = MLP(depth=1, activation="erf", normalise=False)

    def through_the_root(x, z):
        a, b, c = x @ x, z @ z, x @ z
        rho = c / jnp.sqrt(a * b)
        rest = 1 - rho**2
        root = jnp.where(rest > 1e-12, jnp.sqrt(jnp.where(rest > 1e-12, rest, 1.0)), 0.0)
        u = jnp.sqrt(a) * node[:, None]
        v = jnp.sqrt(b) * (rho * node[:, None] + root * node[None, :])
        return weight @ (jax.scipy.special.erf(u) * jax.scipy.special.erf(v)) @ weight

    x, step = X[1], 1e-3
    shifts = [x + sign * step * np.eye(DIM)[a] for a in range(DIM) for sign in (1, -1)]
    value = jacobian_nngp(mlp, np.array(shifts)).values().reshape(DIM, 2, DIM, 2)
    by_differences = (value[:, 0, :, 0] - value[:, 0, :, 1] - value[:, 1, :, 0] + value[:, 1, :, 1]) / (4 * step**2)
    with jax.enable_x64(True):
        guarded = np.asarray(jax.jit(jax.jacfwd(jax.grad(through_the_root, argnums=1)))(x, x))
    ours = jacobian_nngp(mlp, x[None]).dense()[1:, 1:]
    return Control(relative(ours, by_differences), relative(guarded, by_differences), 1e-4)


def the_power_of_the_depth_dropped() -> Control:
    """Remark E.1: no entry of the diagonal of Sigma^L exceeds M1^{2L} + 1."""
    depth = 11
    mlp = MLP(depth=depth, activation="erf")
    steepest = mlp.phi_scale * 2 / math.sqrt(math.pi)  # M1: the slope of erf at 0, normalised
    largest = jacobian_nngp(mlp, X).diagonal().max()
    return Control(largest / (steepest ** (2 * depth) + 1), largest / (steepest**2 + 1), 1)


def parameter_gradients(net):
    """The gradients of f(x_1), J_1 f(x_1), ... by autograd: one list of arrays per row, one array per layer."""
    flat = net.value_and_jacobian(X).ravel()
    return [torch.autograd.grad(one, list(net.weights), retain_graph=True) for one in flat]


def the_output_layer_left_out() -> Control:
    """Definition 4.1: inner products of parameter gradients against the layer-wise form."""
    net = FiniteMLP(MLP(depth=2, activation="gelu", kappa=0.5), width=8, input_dim=DIM, seed=4)
    gradients = parameter_gradients(net)
    ours = finite.jacobian_ntk(net, X).numpy() * net.mlp.kappa**2

    def gram(layers):
        rows = np.array([np.concatenate([one.numpy().ravel() for one in row[:layers]]) for row in gradients])
        return rows @ rows.T

    return Control(relative(gram(3), ours), relative(gram(2), ours), 1e-10)


def lambda_left_out_of_the_residual() -> Control:
    """Lemma 4.2: what a very small step changes, against the finite Jacobian NTK times the residual."""
    lam, rate = 0.1, 1e-6
    net = FiniteMLP(MLP(depth=2, activation="gelu", kappa=1.0), width=32, input_dim=DIM, seed=5)
    kernel = finite.jacobian_ntk(net, X).numpy()
    before = outputs(net)
    train(net, X, Y, lam, rate, steps=1, record=[], allow_unstable=True)
    moved = (outputs(net) - before) / rate
    residual = before - targets()
    predicted = -kernel @ (weights_of_the_loss(lam) * residual) / POINTS
    return Control(relative(predicted, moved), relative(-kernel @ residual / POINTS, moved), 1e-4)


def the_factor_of_the_recursion_dropped() -> Control:
    """Theorem 4.3: Theta^l = Sigma^l + Theta^{l-1} Gamma^l on the values of a wide network."""
    mlp = MLP(depth=2, activation="erf")
    found = finite.jacobian_ntk(FiniteMLP(mlp, width=4096, input_dim=DIM, seed=6), X).numpy()[:: 1 + DIM, :: 1 + DIM]
    sigma = X @ X.T
    with_it = without = sigma
    for _ in range(2):  # unit vectors and normalised erf: every layer has variance 1
        gamma = mlp.phi_scale**2 * 4 / (math.pi * np.sqrt(9 - 4 * sigma**2))
        sigma = mlp.phi_scale**2 * 2 / math.pi * np.arcsin(2 * sigma / 3)
        with_it, without = sigma + with_it * gamma, sigma + without
    return Control(relative(with_it, found), relative(without, found), 0.1)


def no_terms_with_second_derivatives() -> Control:
    """Appendix H at depth one: the mixed derivative of <x, x'> E[phi' phi'] by the product rule, written out."""
    node, weight = np.polynomial.hermite_e.hermegauss(40)
    w = np.stack(np.meshgrid(node, node), axis=-1).reshape(-1, DIM)
    weight = np.outer(weight, weight).ravel() / weight.sum() ** 2
    mlp = MLP(depth=1, activation="erf")
    x, z = X[0], X[1]

    def jet(point):
        return [mlp.phi_scale * one.numpy() for one in mlp.phi.torch_jet(torch.from_numpy(w @ point), 2)]

    (_, slope, bend), (_, slope_z, bend_z) = jet(x), jet(z)
    mean = np.einsum  # over the rows of the first layer
    gamma = weight @ (slope * slope_z)
    first = mean("k,ka,kb->ab", weight * slope * slope_z, w, w) + gamma * np.eye(DIM)
    second = (
        np.outer(z, mean("k,kb->b", weight * slope * bend_z, w))
        + np.outer(mean("k,ka->a", weight * bend * slope_z, w), x)
        + x @ z * mean("k,ka,kb->ab", weight * bend * bend_z, w, w)
    )
    ours = jacobian_ntk(mlp, x[None], z[None]).dense()[1:, 1:]
    return Control(relative(first + second, ours), relative(first, ours), 1e-8)


def one_point_twice() -> Control:
    """Assumption 4.4: the certified lower bound of the smallest eigenvalue."""

    def lower(points):
        return smallest_eigenvalue(jacobian_ntk(MLP(depth=3, activation="gelu"), points)).lower

    return Control(lower(X), lower(np.vstack([X, X[:1]])), 1e-12, at_least=True)


def a_factor_missing_in_the_kernel_of_squares() -> Control:
    """Appendix G: for phi = z^2 Euler's identity makes (2, -x) a null vector of the Jacobian NTK at every point."""
    zero = jnp.zeros_like
    square = activations.Activation.from_derivatives(
        "square", [jnp.square, lambda z: 2 * z, lambda z: 2 + zero(z), zero, zero]
    )
    x = X[1]
    null = np.array([2.0, *-x])
    block = jacobian_ntk(MLP(depth=1, activation=square), x[None]).dense()
    # without <x, x'> the tangent part is 4 <x, x'> / 3 in place of 4 <x, x'>^2 / 3
    dot = x @ x
    tangent = (
        4 / 3 * np.block([[dot**2, 2 * dot * x], [2 * dot * x[:, None], 2 * np.outer(x, x) + 2 * dot * np.eye(2)]])
    )
    as_printed = 4 / 3 * np.block([[dot, x], [x[:, None], np.eye(2)]])
    return Control(abs(null @ block @ null), abs(null @ (block - tangent + as_printed) @ null), 1e-10)
