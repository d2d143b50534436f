r"""Figure 1 (Theorem 3.1): the Jacobian NNGP kernel of finite networks against its limit Sigma^L.

The paper estimates the covariance of (f, Jf)/kappa at a finite width n from a million sampled outputs. That covariance
differs from Sigma^L by O(1/n), not at all at depth 1, and the estimate has a sampling error that no width removes.
Three things are computed here:

- the *conditional* covariance of one network given everything but its last layer, in which (f, Jf)/kappa is exactly
  Gaussian with covariance :math:`(s_w^2/n_L) \langle h^L_a, h^L_b \rangle` (:func:`jacntk_lib.finite.jacobian_nngp`).
  This is what the grid of networks measures. It falls like n^{-1/2}; ``frobenius_of_mean`` is the error of the mean
  over seeds.
- :func:`sampling_floor`, what a million samples leave at infinite width: the lowest that the paper's curves can get.
- :func:`covariance_gap`, the difference of the finite-width covariance from Sigma^L without sampling an output.

>>> from jacntk_book import datasets
>>> from jacntk_lib import MLP, jacobian_nngp
>>> X = datasets.fibonacci_sphere(8, 4)
>>> floor = sampling_floor(jacobian_nngp(MLP(2), X).dense(), 4)
>>> floor.shape, bool((floor > 1e-3).all() and (floor < 1e-2).all())  # index pairs
((4,), True)
>>> error = next(sample_covariance_errors(jacobian_nngp(MLP(2), X).dense()))  # one estimate's, from a million samples
>>> error.shape, bool(np.abs(error).max() < 0.02)
((40, 40), True)
>>> gap, noise = covariance_gap(MLP(2), X, width=64, networks=20)
>>> gap.shape, bool(np.abs(gap).max() < 0.05), covariance_gap(MLP(1), X, width=64, networks=2)[0].any()
((40, 40), True, np.False_)

The map from one layer's covariance to the next takes any covariance, and the limits to each other:

>>> sigma = [jacobian_nngp(MLP(depth), X).dense().reshape(8, 5, 8, 5) for depth in (1, 2)]
>>> with jax.enable_x64(True):
...     bool(np.allclose(next_covariance(MLP(1), sigma[0]), sigma[1], rtol=0, atol=1e-12))
True

>>> result = run(Config(activations=("erf",), depths=(1,), widths=(16, 32), seeds=2, points=8))
>>> measured(result, "frobenius", 0, 0)[1].shape, plot_relative(result).axes[0].get_ylabel()
((2, 2), 'relative error of the Jacobian NNGP kernel')
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jacntk_lib import kernels
from jacntk_lib._float64 import float64
from jacntk_lib.activations.quadrature import Formulas
from jacntk_lib.architecture import handles

from . import grid
from .experiment import Experiment
from .grid import INDEX_PAIRS, PRESETS, Cell, Config, cells, measured, seeds, slopes

__all__ = [
    "EXPERIMENT", "INDEX_PAIRS", "PRESETS", "SAMPLES", "Cell", "Config", "cells", "collect", "covariance_gap",
    "measured", "next_covariance", "plot", "plot_relative", "run", "run_cell", "sample_covariance_errors",
    "sampling_floor", "seeds", "slopes", "summary",
]  # fmt: skip

SAMPLES = 10**6
"""The paper's number of sampled outputs for each covariance."""


def run_cell(config, cell, device="cpu", report=None):
    """Errors of all seeds of one cell: see ``grid.compare``."""
    from jacntk_lib import finite

    return grid.compare(config, cell, kernels.jacobian_nngp, finite.jacobian_nngp, device, report)


def collect(config, outcomes):
    """Arrays of shape (activation, depth, width, seed, ...), the grid, and the paper's floor.

    ``floor_by_pair`` (activation, depth, P) is the :func:`sampling_floor` over the ``first`` points.
    """
    size, d = config.first * (1 + config.input_dim), config.input_dim
    floors = [
        [
            sampling_floor(grid.limit_of(kernels.jacobian_nngp, config, activation, depth)[:size, :size], d)
            for depth in config.depths
        ]
        for activation in config.activations
    ]
    return grid.collect(config, outcomes, kernels.jacobian_nngp) | {"floor_by_pair": np.array(floors)}


def summary(result):
    """Errors at the ends of the grid, two lines per activation and depth, and the floor of the paper's estimate."""
    floor = result["floor_by_pair"]
    return (
        grid.summary(result, "Jacobian NNGP kernel of a finite network against Sigma")
        + f"\nA covariance from {SAMPLES:.0e} sampled outputs has a largest error of {floor.min():.2g} to "
        f"{floor.max():.2g} by index pair at any width"
    )


def plot(result):
    """The paper's picture for conditional covariances; dotted, the floor of an estimate from a million outputs."""
    return grid.plot(result, result["floor_by_pair"])


def plot_relative(result):
    """The relative Frobenius error of single networks by width, one panel per activation."""
    return grid.plot_relative(result, "Jacobian NNGP kernel")


EXPERIMENT = Experiment(
    label=1,
    title="The Jacobian NNGP kernel of finite networks against its limit",
    Config=Config,
    presets=PRESETS,
    cells=cells,
    run_cell=run_cell,
    collect=collect,
    seeds=seeds,
    summary=summary,
    plot=plot,
    work=grid.work,
)
run = EXPERIMENT.run


# --------------------------------------------------------------------------------------------------------------
# What the paper's estimate from sampled outputs can show


def sample_covariance_errors(covariance, samples=SAMPLES, draws=20, seed=0):
    r"""Errors of the sample covariance of ``samples`` Gaussian vectors, ``draws`` times, exact in law.

    :math:`\frac1m \sum_s z_s z_s^T - C` for z_s ~ N(0, C), by Bartlett's decomposition: with R R^T = C it is
    R (T T^T / m - I) R^T, T lower triangular with standard normal entries below the diagonal and
    :math:`T_{kk}^2 \sim \chi^2_{m-k}`. No vector is sampled. Yields matrices of the shape of ``covariance``.

    Raises
    ------
    ValueError : fewer samples than rows.
    """
    n = len(covariance)
    if samples < n:
        raise ValueError(f"samples must be at least the number of rows, {n}, got {samples}")
    w, V = np.linalg.eigh(covariance)
    root = V * np.sqrt(np.maximum(w, 0))  # of a limit that may be singular to rounding, where Cholesky fails
    draw = np.random.Generator(np.random.Philox(seed))
    for _ in range(draws):
        T = np.tril(draw.standard_normal((n, n)), -1)
        np.fill_diagonal(T, np.sqrt(draw.chisquare(samples - np.arange(n))))
        yield root @ (T @ T.T / samples - np.eye(n)) @ root.T


def sampling_floor(covariance, input_dim, samples=SAMPLES, draws=20, seed=0):
    """Expected largest error of a sample covariance for each of the ``INDEX_PAIRS``, (4,).

    The mean over :func:`sample_covariance_errors` of max |error_ab(x_i, x_j)| over all pairs of points; ``covariance``
    is (N(1+d), N(1+d)), rows by point, then value and ``input_dim`` = d derivatives.
    """
    errors = sample_covariance_errors(covariance, samples, draws, seed)
    X = np.empty((len(covariance) // (1 + input_dim), input_dim))
    return np.mean([[np.abs(part).max() for part in grid.by_pair(error, X)] for error in errors], axis=0)


def covariance_gap(mlp, X, width, networks, seed=0):
    r"""Cov(f, Jf)/kappa^2 of networks of one width minus its limit: ``(gap, noise)``, matrices (N(1+d), N(1+d)).

    Let G^l be the covariance of a layer given the layers below, and F the map of Theorem 3.1 from one layer's
    covariance to the next, so that Sigma^{l+1} = F(Sigma^l) and E[G^{l+1} | G^l] = F(G^l). Then, exactly at every
    width,

    .. math:: E\, G^{l+1} - \Sigma^{l+1} = F'(\Sigma^l) [E\, G^l - \Sigma^l]
              + E \bigl[ F(G^l) - F(\Sigma^l) - F'(\Sigma^l) [G^l - \Sigma^l] \bigr],

    and E G^1 = Sigma^1. The last expectation is a mean over ``networks`` (seeds ``seed``, ``seed`` + 1, ...) of terms
    of second order, so that its noise falls like 1/n with the width, as the gap does; that of sampled outputs does not
    fall. ``noise`` is the standard error of every entry.
    """
    from jacntk_lib._optional import torch
    from jacntk_lib.finite.factors import factors
    from jacntk_lib.networks.network import FiniteMLP

    N, d = np.shape(X)
    shape = (N, 1 + d, N, 1 + d)
    limits = [
        kernels.jacobian_nngp(dataclasses.replace(mlp, depth=depth), X).dense().reshape(shape)
        for depth in range(1, mlp.depth)
    ]
    total, squares = np.zeros(shape), np.zeros(shape)
    with float64(), torch.no_grad():
        for k in range(networks):
            net = FiniteMLP(mlp, width, d, seed + k)
            features = factors(net, net.as_input(X), cotangents=False).h[1:-1]
            gap = np.zeros(shape)
            for limit, h in zip(limits, features, strict=True):
                h = h.flatten(0, 1)
                given = (h @ h.T).numpy().reshape(shape)
                given[:, 0, :, 0] += mlp.sigma_b**2
                gap = np.asarray(_gap_after_layer(_layer_of(mlp, limit), limit, given, gap))
            total += gap
            squares += gap * gap
    mean, size = total / networks, N * (1 + d)
    noise = np.sqrt(np.maximum(squares / networks - mean * mean, 0) / networks)
    return mean.reshape(size, size), noise.reshape(size, size)


def next_covariance(mlp, covariance):
    r"""F(G): the covariance of the next layer, from that of one layer, (N, 1+d, N, 1+d), by Theorem 3.1; for jax.

    Stein's identity turns the Gaussian factors u_a, v_b into covariances: with K^ij = E[phi^(i)(u_0) phi^(j)(v_0)]

    .. math:: F_{ab} = [u_a u_0] [v_b u_0] K^{31} + ([u_a u_0] [v_b v_0] + [u_a v_0] [v_b u_0]) K^{22}
              + [u_a v_0] [v_b v_0] K^{13} + [u_a v_b] K^{11}

    where [. .] is an entry of G, and the like for a = 0 or b = 0. Valid for any positive semi-definite G, not only for
    the rotation-invariant ones of the limit.
    """
    return _next(_layer_of(mlp, covariance), covariance)


class _Layer(NamedTuple):
    formulas: Formulas
    gain: float  # s_w^2, over E[phi^2] if normalised
    bias: float


def _layer_of(mlp, covariance):
    handles(mlp, "next_covariance")
    # twice the variances, for a quadrature: those of a finite network scatter about the limit's
    variances = 2 * np.einsum("nana->na", np.asarray(covariance))[:, 0]
    return _Layer(mlp.phi.formulas_for(variances), (mlp.sigma_w * mlp.phi_scale) ** 2, mlp.sigma_b**2)


@functools.partial(jax.jit, static_argnames="layer")
def _gap_after_layer(layer, limit, given, gap):
    F = functools.partial(_next, layer)
    value, slope = jax.jvp(F, (limit,), (given - limit,))
    return jax.jvp(F, (limit,), (gap,))[1] + F(given) - value - slope


def _next(layer, G):
    i = jnp.arange(len(G))
    own = G[i, :, i, 0]  # [u_a u_0] at every point, (N, 1+d)
    K = layer.formulas.expectations(own[:, 0][:, None], own[:, 0][None], G[:, 0, :, 0])
    k11, k20, k02, k22, k31, k13 = (k[:, None, :, None] for k in (K.k11, K.k20, K.k02, K.k22, K.k31, K.k13))
    uu, vv = own[:, 1:, None, None], own[None, None, :, 1:]
    uv, vu = G[:, 1:, :, :1], G[:, :1, :, 1:]  # [u_a v_0], [u_0 v_b]
    value = K.k00[:, None, :, None] + layer.bias / layer.gain
    top = jnp.concatenate([value, vv * k02 + vu * k11], axis=3)
    jacobian = uu * vu * k31 + (uu * vv + uv * vu) * k22 + uv * vv * k13 + G[:, 1:, :, 1:] * k11
    bottom = jnp.concatenate([uu * k20 + uv * k11, jacobian], axis=3)
    return layer.gain * jnp.concatenate([top, bottom], axis=1)
