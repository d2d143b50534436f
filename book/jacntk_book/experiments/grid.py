"""What figures 1 and 2 share: a kernel of sampled networks against its limit, by activation, depth and width."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from jacntk_lib import activations
from jacntk_lib._validation import integer
from jacntk_lib.architecture import MLP

from .. import datasets
from .fields import as_tuples

INDEX_PAIRS = ((0, 0), (2, 2), (0, 2), (1, 2))
"""The paper's panels: the value with itself, a derivative with itself, with the value, with another derivative."""


@dataclass(frozen=True)
class Config:
    """The grid. The defaults are the paper's, with our choices where it is silent.

    ``points`` points on the unit sphere in ``input_dim`` dimensions come from ``datasets.fibonacci_sphere``; 256 in R^4
    are the paper's 0.5-net. Its maximum runs over the pairs of the ``first`` of them, 64. It does not state which
    activation it draws: both are here. Seeds are 0, 1, ..., ``seeds`` - 1. The architecture is ``MLP(depth,
    activation)`` with its defaults (normalised activation, no bias).

    Networks of width ``float32_from`` and more are computed in float32, the others in float64. The rounding error,
    below 1e-5 of the kernel, is far under the errors that are measured, which are above 1e-3.
    """

    activations: tuple[str, ...] = ("erf", "gelu")
    depths: tuple[int, ...] = (1, 2, 3)
    widths: tuple[int, ...] = tuple(2**k for k in range(6, 14))
    seeds: int = 10
    points: int = 256
    input_dim: int = 4
    first: int = 64
    float32_from: int = 2**11

    def __post_init__(self):
        as_tuples(self, "activations", "depths", "widths")
        for name in self.activations:
            activations.get(name)
        for name in ("depths", "widths"):
            for value in getattr(self, name):
                integer(value, f"each of {name}", at_least=1)
        for name, at_least in (("seeds", 1), ("points", 1), ("input_dim", 2), ("first", 1), ("float32_from", 1)):
            integer(getattr(self, name), name, at_least)

    def dtype(self, width):
        """ "float64" or "float32", for networks of this width."""
        return "float32" if width >= self.float32_from else "float64"


PRESETS = {
    "demo": Config(widths=(64, 128, 256, 512), seeds=5, points=64),
    "cpu": Config(widths=tuple(2**k for k in range(6, 12))),
    "paper": Config(),
}


@dataclass(frozen=True)
class Cell:
    """All seeds of one activation, depth and width."""

    activation: str
    depth: int
    width: int

    @property
    def key(self):
        return f"{self.activation}-depth{self.depth}-width{self.width}"


def cells(config):
    """Cheapest first: after an interruption the narrow widths stand complete."""
    grid = [Cell(a, L, n) for n in config.widths for L in config.depths for a in config.activations]
    return sorted(grid, key=lambda cell: cell.width * cell.width * (cell.depth - 1) + cell.width)


def work(config, cell):
    """Products of the layers' weights with all rows, and Gram matrices of these rows."""
    rows = config.points * (1 + config.input_dim)
    return rows * cell.width * (cell.width * (cell.depth - 1) + rows * cell.depth)


def seeds(config, cell):
    """The seeds that a cell uses: those of all its networks."""
    return range(config.seeds)


@lru_cache(maxsize=4)
def points(n, d):
    X = datasets.fibonacci_sphere(n, d)
    X.setflags(write=False)
    return X


def points_of(config):
    """The inputs, (points, input_dim)."""
    return points(config.points, config.input_dim)


@lru_cache(maxsize=16)
def _limit(kernel, activation, depth, n, d):
    K = kernel(MLP(depth, activation), points(n, d)).dense()
    K.setflags(write=False)
    return K


def limit_of(kernel, config, activation, depth):
    """The limiting kernel as a dense float64 matrix, computed once for all widths and seeds."""
    return _limit(kernel, activation, depth, config.points, config.input_dim)


def compare(config, cell, limit_kernel, finite_kernel, device, report=None):
    """Errors of one kernel matrix per seed, and of their mean over seeds, against the limit.

    Returns arrays, S being the number of seeds and the P = 4 columns the ``INDEX_PAIRS`` (a, b):

    - the paper's metric, ``largest_by_pair_first`` (S, P) = max |K_ab(x_i, x_j) - limit| over i, j among the ``first``
      points, and ``largest_by_pair`` (S, P), over all;
    - ours, ``frobenius`` (S,) = |K - limit|_F / |limit|_F, and ``frobenius_by_pair`` (S, P), the same of the part of
      one index pair;
    - ``frobenius_of_mean`` (), the relative error of the mean of the S matrices.
    """
    from jacntk_lib._optional import torch
    from jacntk_lib.networks import FiniteMLP

    mlp, X = MLP(cell.depth, cell.activation), points_of(config)
    limit = torch.tensor(limit_of(limit_kernel, config, cell.activation, cell.depth), device=device)
    dtype = getattr(torch, config.dtype(cell.width))
    rows, mean = [], torch.zeros_like(limit)
    for seed in range(config.seeds):
        net = FiniteMLP(mlp, cell.width, config.input_dim, seed, dtype=dtype, device=device)
        error = finite_kernel(net, X).double() - limit
        del net  # the next one's weights need the room
        mean += error / config.seeds
        parts = list(zip(by_pair(error, X), by_pair(limit, X), strict=True))
        largest_first = [float(part[: config.first, : config.first].abs().max()) for part, _ in parts]
        largest = [float(part.abs().max()) for part, _ in parts]
        frobenius = [float(part.norm() / of.norm()) for part, of in parts]
        rows.append((largest_first, largest, float(error.norm() / limit.norm()), frobenius))
        if report is not None:
            report((seed + 1) / config.seeds)
    names = ("largest_by_pair_first", "largest_by_pair", "frobenius", "frobenius_by_pair")
    arrays = {name: np.array(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}
    return arrays | {"frobenius_of_mean": np.array(float(mean.norm() / limit.norm()))}


def by_pair(K, X):
    """The four (N, N) parts of a kernel matrix on X, one for each of the ``INDEX_PAIRS``."""
    N, d = X.shape
    K = K.reshape(N, 1 + d, N, 1 + d)
    return [K[:, a, :, b] for a, b in INDEX_PAIRS]


def collect(config, outcomes, limit_kernel):
    """The cells' arrays on one grid, activation x depth x width x seed, NaN where a cell is missing; and the grid.

    ``limit_largest_by_pair_first`` and ``limit_largest_by_pair`` (activation, depth, P) are the largest entries of the
    limit itself, over the ``first`` points and over all.
    """
    axes = config.activations, config.depths, config.widths
    shape = tuple(map(len, axes))
    arrays = {name: np.full(shape + values.shape, np.nan) for name, values in next(iter(outcomes.values())).items()}
    for cell, measured in outcomes.items():
        at = zip(axes, (cell.activation, cell.depth, cell.width), strict=True)
        place = tuple(axis.index(value) for axis, value in at)
        for name, values in measured.items():
            arrays[name][place] = values
    X = points_of(config)
    limits = [[limit_of(limit_kernel, config, a, L) for L in config.depths] for a in config.activations]

    def largest(n):
        return np.array([[[np.abs(part[:n, :n]).max() for part in by_pair(K, X)] for K in row] for row in limits])

    return arrays | {
        "activations": np.array(config.activations),
        "depths": np.array(config.depths),
        "widths": np.array(config.widths),
        "points": X,
        "limit_largest_by_pair_first": largest(config.first),
        "limit_largest_by_pair": largest(config.points),
        "limit_smallest_eigenvalue": np.array([[np.linalg.eigvalsh(K)[0] for K in row] for row in limits]),
    }


def slopes(result, name="frobenius"):
    """``{(activation, depth): (slope, low, high)}`` of log error by log width, with 95 % bootstrap intervals.

    ``name`` is an array of errors, (activation, depth, width, seed) or with index pairs as a fifth axis; of those a
    list of slopes, one for each pair, is given. A partial result is fitted through the widths that it has, if two.

    Examples
    --------
    >>> errors = np.array([[[[0.4, 0.4], [0.2, 0.2]]]])  # activation, depth, width, seed
    >>> found = slopes({"activations": ["erf"], "depths": [1], "widths": np.array([64, 256]), "frobenius": errors})
    >>> round(found["erf", 1][0], 3)
    -0.5
    """
    from ..bootstrap import fitted_slope

    fitted = {}
    for i, activation in enumerate(result["activations"]):
        for j, depth in enumerate(result["depths"]):
            widths, errors = measured(result, name, i, j)
            if len(widths) < 2:
                continue
            columns = [errors] if errors.ndim == 2 else np.moveaxis(errors, -1, 0)
            fits = [fitted_slope(widths, column) for column in columns]
            fitted[str(activation), int(depth)] = fits[0] if errors.ndim == 2 else fits
    return fitted


def measured(result, name, i, j):
    """Widths and errors (width, ...) of the i-th activation and j-th depth, those that a partial run has."""
    errors = result[name][i, j]
    there = np.isfinite(errors).reshape(len(errors), -1).all(axis=1)
    return result["widths"][there], errors[there]


def summary(result, what):
    """Two lines per activation and depth: our metric and the paper's, each at the ends of the grid."""
    lines = [f"{what}, median over {result['frobenius'].shape[-1]} seeds"]
    for i, activation in enumerate(result["activations"]):
        for j, depth in enumerate(result["depths"]):
            widths, errors = measured(result, "frobenius", i, j)
            if len(widths) == 0:
                continue
            errors = np.median(errors, axis=-1)
            largest = np.median(measured(result, "largest_by_pair_first", i, j)[1], axis=1)
            lines.append(
                f"  {activation:5s} depth {depth}: relative Frobenius error {errors[0]:.3g} at width {widths[0]}, "
                f"{errors[-1]:.3g} at width {widths[-1]}"
            )
            pairs = ", ".join(
                f"({a}{b}) {start:.3g} to {end:.3g}"
                for (a, b), start, end in zip(INDEX_PAIRS, largest[0], largest[-1], strict=True)
            )
            lines.append(f"        largest entry over the first points: {pairs}")
    return "\n".join(lines)


def plot(result, references=None):
    """The paper's picture: largest entry of the difference over the first points by width, one panel per index pair.

    Medians over seeds with 95 % bootstrap bands, one line per depth: full for the first activation, broken for the
    second. ``references`` (activation, depth, P) are drawn as dotted level lines.
    """
    import matplotlib.pyplot as plt

    from .. import plotting

    figure, axes = plt.subplots(
        2, 2, figsize=(plotting.TEXT_WIDTH, 6.2), sharex=True, sharey=True, layout="constrained"
    )
    for p, (ax, pair) in enumerate(zip(axes.flat, INDEX_PAIRS, strict=True)):
        for i, activation in enumerate(result["activations"]):
            style = ("-", "--", ":", "-.")[i % 4]
            for j, depth in enumerate(result["depths"]):
                widths, errors = measured(result, "largest_by_pair_first", i, j)
                if len(widths) == 0:
                    continue
                colour = plotting.COLOURS.get(f"depth {depth}", f"C{j}")
                label = f"{'GELU' if activation == 'gelu' else activation}, depth {depth}"
                middle, low, high = plotting.median_interval(errors[..., p])
                ax.loglog(widths, middle, style, marker="o", ms=3.5, color=colour, label=label)
                ax.fill_between(widths, low, high, color=colour, alpha=0.15, linewidth=0)
                if references is not None:
                    ax.axhline(references[i, j, p], color=colour, ls=":", lw=1)
        ax.set_xscale("log", base=2)
        ax.set_title(f"({pair[0]}{pair[1]})")
        ax.set_xlabel("width $n$")
        ax.set_ylabel("largest entry of the error")
        ax.label_outer()
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(result["activations"]))  # one column each
    return figure


def plot_relative(result, what):
    """Our picture: relative Frobenius error by width, one panel per activation, one line per depth."""
    import matplotlib.pyplot as plt

    from .. import plotting

    names = [str(a) for a in result["activations"]]
    figure, axes = plt.subplots(
        1,
        len(names),
        figsize=(plotting.TEXT_WIDTH, 3.4),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for i, (ax, name) in enumerate(zip(axes[0], names, strict=True)):
        for j, depth in enumerate(result["depths"]):
            widths, errors = measured(result, "frobenius", i, j)
            if len(widths) < 2:
                continue
            colour = f"depth {depth}"
            known = colour if colour in plotting.COLOURS else None
            plotting.error_by_width(ax, widths, errors, label=colour, colour=known)
        ax.set_title("GELU" if name == "gelu" else name)
        ax.label_outer()
    axes[0, 0].set_ylabel(f"relative error of the {what}")
    axes[0, 0].legend(*axes[0, 0].get_legend_handles_labels())  # none where there is one width: no warning
    return figure
