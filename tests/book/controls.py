"""Negative controls of the ledger (book/claims.toml): each claim's measurement, made of a variant that is deliberately
broken as well. A check that would also accept the broken one says nothing.

Every function computes with the library, at sizes that take seconds, and returns the two numbers and the bound between
them. :func:`test_claims.test_the_check_holds_and_refuses_its_broken_variant` puts both to ``check``.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import torch

from jacntk_lib import MLP, RobustFlow, activations, datasets, finite, jacobian_nngp, jacobian_ntk, robustness
from jacntk_lib.experiments import figure4
from jacntk_lib.networks import FiniteMLP
from jacntk_lib.spectrum import smallest_eigenvalue
from jacntk_lib.training import train


class Control(NamedTuple):
    """The claim is ``right <= bound`` (``>=`` with ``at_least``); ``broken`` has to miss the same bound."""

    right: float
    broken: float
    bound: float
    at_least: bool = False


X = np.array([[1.0, 0.0], [0.6, 0.8], [-0.8, 0.6], [0.28, -0.96]])  # unit vectors, no two of them parallel
Y = np.array([1.0, -1.0, 1.0, -1.0])
NEW = np.array([[0.96, 0.28], [-0.6, 0.8], [0.0, -1.0]])
POINTS, DIM = X.shape


def relative(found, wanted):
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def targets():
    """y* = (y_1, 0, ..., 0, y_2, 0, ...)."""
    return np.column_stack([Y, np.zeros((POINTS, DIM))]).ravel()


def weights_of_the_loss(lam):
    """The diagonal of Lam: 1 at values, lambda at derivatives."""
    return np.tile([1.0, *[lam] * DIM], POINTS)


def outputs(net, points=X):
    """f and Jf at the points, in one vector."""
    return net.value_and_jacobian(points).detach().numpy().ravel()


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


# -- training ------------------------------------------------------------------------------------------------


def drift(width, kappa, rate, steps=40, seeds=3):
    """How far training moves the finite Jacobian NTK, relative to its start; the mean over networks."""
    moved = []
    for seed in range(seeds):
        net = FiniteMLP(MLP(depth=2, activation="erf", kappa=kappa), width, DIM, seed)
        start = finite.jacobian_ntk(net, X).numpy()
        train(net, X, Y, 0.1, rate, steps, record=[])
        moved.append(relative(finite.jacobian_ntk(net, X).numpy(), start))
    return float(np.mean(moved))


def an_output_scale_that_shrinks_with_the_width() -> Control:
    """Theorem 4.5: the kernel moves less in wider networks. With kappa like n^{-1/2}, and the step to match, it does
    not: the mean-field scaling, in which features are learnt at every width."""
    wide = drift(1024, 1.0, 0.2)
    narrow = drift(64, 1.0, 0.2)
    return Control(wide / narrow, drift(1024, 0.25, 0.2 * 16) / narrow, 0.3)


def an_equation_without_the_penalty() -> Control:
    """Lemma 4.2 and Theorem 4.5: a wide network after 100 steps against the linear equation from its own start."""
    lam, mlp = 0.3, MLP(depth=2, activation="erf", kappa=2.0)
    net = FiniteMLP(mlp, width=1024, input_dim=DIM, seed=10)
    rate = RobustFlow(mlp, X, Y, lam).max_learning_rate / 2

    def predicted(weight):
        state = RobustFlow(mlp, X, Y, weight).after(100, rate, initial=net)
        return np.column_stack([state.value, state.jacobian]).ravel()

    with_it, without = predicted(lam), predicted(0.0)
    train(net, X, Y, lam, rate, steps=100, record=[])
    return Control(relative(with_it, outputs(net)), relative(without, outputs(net)), 0.1)


def another_depth_in_the_estimate() -> Control:
    """After Theorem 4.6: N^2 (log N)^{12 L} for 244 points and 11 layers, in powers of ten."""

    def powers(depth, points=244):
        return 2 * math.log10(points) + 12 * depth * math.log10(math.log(points))

    return Control(powers(11), powers(3), 100, at_least=True)


def lambda_on_one_side_only() -> Control:
    """Theorem 4.6: the limit of training, Theta_lambda(x, X) Theta_lambda(X, X)^{-1} y, does not depend on lambda."""
    mlp = MLP(depth=3, activation="gelu")
    across = jacobian_ntk(mlp, NEW, X).dense()
    among = jacobian_ntk(mlp, X).dense()
    limit = RobustFlow(mlp, X, Y, lam=0.01).at(math.inf, NEW).value

    def predicted(lam, both):
        root = np.sqrt(weights_of_the_loss(lam))
        inside = np.linalg.solve(root[:, None] * among * root, root * targets())
        return (across * (root if both else 1) @ inside)[:: 1 + DIM]

    return Control(relative(predicted(1e-3, True), limit), relative(predicted(1e-3, False), limit), 1e-6)


def fall_of_the_loss(lam, rate, steps, allow_unstable=False):
    """The robust loss by the linear equation after the steps, over the first one."""
    flow = RobustFlow(MLP(depth=3, activation="erf", kappa=1.0), X, Y, lam)

    def loss(after):
        state = flow.after(after, rate, allow_unstable=allow_unstable)
        residual = np.column_stack([state.value, state.jacobian]).ravel() - targets()
        return residual @ (weights_of_the_loss(lam) * residual)

    return loss(steps) / loss(0)


def lambda_left_out_of_the_exponent() -> Control:
    """Appendix J: the loss is at most exp(-kappa^2 lambda lambda_0 t / N) times the first."""
    lam, rate, steps = 1e-3, 0.1, 2000
    smallest = smallest_eigenvalue(jacobian_ntk(MLP(depth=3, activation="erf"), X)).lower
    loss = fall_of_the_loss(lam, rate, steps)
    exponent = smallest * rate * steps / POINTS  # kappa = 1
    return Control(loss / math.exp(-lam * exponent), loss / math.exp(-exponent), 1)


def the_unknowns_left_out_of_the_bound() -> Control:
    """J.3: kappa = 0.1 exceeds 1 / (2 log(8 N (1 + d) / delta)) on 244 rows of 11 columns even at delta = 1."""

    def over(unknowns):
        return 0.1 * 2 * math.log(8 * unknowns)

    return Control(over(244 * 12), over(1), 1, at_least=True)


def a_step_beyond_the_limit() -> Control:
    """Appendix L: gradient descent shrinks the loss at every step, where steps are small enough."""
    limit = RobustFlow(MLP(depth=3, activation="erf", kappa=1.0), X, Y, 0.01).max_learning_rate
    return Control(
        fall_of_the_loss(0.01, 0.5 * limit, 200), fall_of_the_loss(0.01, 1.05 * limit, 200, allow_unstable=True), 1
    )


# -- the figures ---------------------------------------------------------------------------------------------


def more_samples_claimed_than_drawn() -> Control:
    """Figure 1 at depth one: the covariance of sampled outputs misses Sigma by Monte Carlo noise alone."""
    samples, width = 20_000, 16
    mlp = MLP(depth=1, activation="erf")
    rng = np.random.Generator(np.random.Philox(9))
    hidden = torch.erf(torch.from_numpy(rng.standard_normal((samples, width, DIM)) @ X.T)).numpy() * mlp.phi_scale
    output = np.einsum("snp,sn->sp", hidden, rng.standard_normal((samples, width))) / math.sqrt(width)
    sigma = jacobian_nngp(mlp, X).values()
    variance = np.outer(np.diag(sigma), np.diag(sigma)) + sigma**2

    def standard_errors(claimed):
        return np.abs((output.T @ output / samples - sigma) / np.sqrt(variance / claimed)).max()

    return Control(standard_errors(samples), standard_errors(100 * samples), 5)


def kernels_in_units_of_kappa_squared() -> Control:
    """Figure 2: the largest entry of Theta_n / kappa^2 - Theta falls with the width."""
    mlp = MLP(depth=2, activation="gelu", kappa=0.1)
    limit = jacobian_ntk(mlp, X).dense()

    def fall(unit):
        largest = [
            np.median(
                [
                    np.abs(finite.jacobian_ntk(FiniteMLP(mlp, width, DIM, seed), X).numpy() * unit - limit).max()
                    for seed in range(5)
                ]
            )
            for width in (64, 2048)
        ]
        return largest[1] / largest[0]

    return Control(fall(1.0), fall(mlp.kappa**2), 0.4)


def the_limit_of_another_depth() -> Control:
    """Figure 3: the distance from Theta during training falls with the width at every step."""
    mlp = MLP(depth=2, activation="erf", kappa=1.0)

    def fall(depth):
        limit = jacobian_ntk(MLP(depth=depth, activation="erf"), X)
        distances = [
            np.median(
                [
                    train(FiniteMLP(mlp, width, DIM, seed), X, Y, 0.1, 0.2, 16, reference=limit).distances
                    for seed in range(5)
                ],
                axis=0,
            )
            for width in (64, 1024)
        ]
        return (distances[1] / distances[0]).max()

    return Control(fall(2), fall(3), 0.6)


def cut_at(matrix, tau):
    """Whether the smallest eigenvalue is above tau."""
    try:
        scipy.linalg.cholesky(matrix - tau * np.eye(len(matrix)), lower=True, overwrite_a=True, check_finite=False)
    except np.linalg.LinAlgError:
        return False
    return True


def other_scaling_of_the_columns() -> Control:
    """Figure 6: on the forest fires, GELU, "above 1e-6" begins at depth 11 (of the answers at 10 and 11, how many)."""

    def agree(scale):
        table = datasets.load("algerian_forest_fires", scale=scale)
        answers = [
            cut_at(jacobian_ntk(MLP(depth=depth, activation="gelu"), table.X).dense(), 1e-6) for depth in (10, 11)
        ]
        return sum(one == reported for one, reported in zip(answers, (False, True), strict=True))

    return Control(agree("minmax"), agree("standard"), 2, at_least=True)


def banknotes_that_are_not_filtered() -> Control:
    """Figure B7: the filtered banknotes have a positive smallest eigenvalue; the whole table has equal rows."""

    def lower(drop):
        table = datasets.load("banknote_authentication", scale="minmax", drop_parallel=drop)
        gram = jacobian_ntk(MLP(depth=6, activation="gelu"), table.X)
        return smallest_eigenvalue(gram, high_precision=False).lower

    return Control(lower(0.99), lower(None), 1e-12, at_least=True)


def asked(lam, split, size, depth=3, attack=robustness.one_step):
    """Accuracy and robust accuracy of every feature, and of their sum: (2, p), (2,); a step in l2, as in Figure 4."""
    config = figure4.Config(depth=depth, shares=(0.75,))
    train_rows, test = figure4.parts(config, 0.75, split)
    mlp = MLP(depth, config.activation, kappa=1.0)
    features = figure4.Features(mlp, train_rows.X, train_rows.y, lam)
    standard = RobustFlow(mlp, train_rows.X, train_rows.y, lam=0.0)
    moved = attack(lambda Z: standard.at(math.inf, Z), test.X, test.y, size)
    values = [features(across(mlp, points, train_rows.X)) for points in (test.X, moved)]
    right = test.y[:, None] * np.stack(values) > 0
    whole = test.y * np.stack(values).sum(axis=-1) > 0
    return right.mean(axis=1), whole.mean(axis=1)


def across(mlp, points, training):
    """Theta between values at new points and everything at the training points, (M, N, 1+d)."""
    return jacobian_ntk(mlp, points, training).blocks()[:, 0]


def robust_accuracies_of_other_features() -> Control:
    """Figure 4: with the penalty, features that are accurate are robust (rank correlation, step of 0.1)."""
    (accuracy, robust), _ = asked(lam=1.0, split=0, size=0.1)
    others = np.random.Generator(np.random.Philox(0)).permutation(robust)
    correlation = figure4.rank_correlation
    return Control(correlation(accuracy, robust), correlation(accuracy, others), 0.3, at_least=True)


def one_split_in_place_of_ten() -> Control:
    """Figure 5: the interval of a mean correlation over splits is narrow enough to tell something."""
    correlations = [figure4.rank_correlation(*asked(lam=0.0, split=split, size=0.1)[0]) for split in range(10)]

    def width(splits):
        found = figure4.over_splits(correlations[:splits])
        return found.high - found.low

    return Control(width(10), width(1), 0.4)


def every_feature_attacked_by_itself() -> Control:
    """The attack: it is shared, so that some feature is right more often after it than before."""
    (accuracy, robust), _ = asked(lam=0.0, split=0, size=0.1)
    config = figure4.Config(depth=3, shares=(0.75,))
    train_rows, test = figure4.parts(config, 0.75, 0)
    flow = RobustFlow(MLP(3, config.activation, kappa=1.0), train_rows.X, train_rows.y, lam=0.0)
    alone = robustness.accuracy_under_attack(flow.feature_functions(), test.X, test.y, [0.0, 0.1], steps=1)
    return Control((robust - accuracy).max(), (alone[1] - alone[0]).max(), 0.05, at_least=True)


def a_step_that_helps() -> Control:
    """Figures B9 to B13: the shared step lowers the accuracy of the solution that it is taken against."""

    def backwards(model, points, y, size):
        return robustness.one_step(model, points, -y, size)

    _, (before, after) = asked(lam=0.0, split=0, size=0.1)
    _, (_, helped) = asked(lam=0.0, split=0, size=0.1, attack=backwards)
    return Control(before - after, before - helped, 0.1, at_least=True)
