"""Negative controls of the statements on training."""

import math

import numpy as np

from jacntk_lib import MLP, RobustFlow, finite, jacobian_ntk
from jacntk_lib.networks import FiniteMLP
from jacntk_lib.spectrum import smallest_eigenvalue
from jacntk_lib.training import train

from .common import DIM, NEW, POINTS, Control, X, Y, outputs, relative, targets, weights_of_the_loss


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
