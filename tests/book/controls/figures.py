"""Negative controls of the figures."""

import math

import numpy as np
import scipy.linalg
import torch

from jacntk_book import datasets
from jacntk_book.experiments import figure4
from jacntk_lib import MLP, RobustFlow, finite, jacobian_nngp, jacobian_ntk, robustness
from jacntk_lib.networks import FiniteMLP
from jacntk_lib.spectrum import smallest_eigenvalue
from jacntk_lib.training import train

from .common import DIM, Control, X, Y


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
