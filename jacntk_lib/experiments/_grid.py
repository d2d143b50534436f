"""What figures 1 and 2 share: a kernel of sampled networks against its limit, by activation, depth and width."""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from .. import activations, datasets
from .._validation import integer
from ..architecture import MLP
from ._fields import as_tuples


@dataclass(frozen=True)
class Config:
    """The grid. The defaults are what the paper reports, with our choices where it is silent.

    ``points`` well-spread points on the unit sphere of R^``input_dim`` come from ``datasets.sphere_net`` with
    ``points_seed``: the paper's epsilon-net, whose construction we do not know. Seeds are 0, 1, ...,
    ``seeds`` - 1. The architecture is ``MLP(depth, activation)`` with its defaults (normalised activation, no
    bias).

    Networks of width ``float32_from`` and more are computed in float32, the others in float64. Its rounding
    error, below 1e-5 of the kernel, is far under the errors that are measured, which are above 1e-2.
    """

    activations: tuple[str, ...] = ("erf", "gelu")
    depths: tuple[int, ...] = (1, 2, 3)
    widths: tuple[int, ...] = tuple(2**k for k in range(6, 14))
    seeds: int = 10
    points: int = 256
    input_dim: int = 4
    points_seed: int = 0
    float32_from: int = 2**14

    def __post_init__(self):
        as_tuples(self, "activations", "depths", "widths")
        for name in self.activations:
            activations.get(name)
        for name in ("depths", "widths"):
            for value in getattr(self, name):
                integer(value, f"each of {name}", at_least=1)
        for name, at_least in (("seeds", 1), ("points", 1), ("input_dim", 1), ("points_seed", 0), ("float32_from", 1)):
            integer(getattr(self, name), name, at_least)

    def dtype(self, width):
        """ "float64" or "float32", for networks of this width."""
        return "float32" if width >= self.float32_from else "float64"


PRESETS = {
    "demo": Config(widths=(64, 128, 256, 512), seeds=5, points=64),
    "cpu": Config(widths=tuple(2**k for k in range(6, 13)), float32_from=2**11),
    "paper": Config(),
    # beyond the paper, for a GPU of 80 GB: a float32 network of depth 3 and width 65,536 takes 34 GB
    "wide": Config(widths=(2**14, 2**15, 2**16), seeds=3),
}


@dataclass(frozen=True)
class Cell:
    """All seeds of one activation, depth and width."""

    activation: str
    depth: int
    width: int
    key: str = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "key", f"{self.activation}-depth{self.depth}-width{self.width}")


def cells(config):
    """Cheapest first: after an interruption the narrow widths stand complete."""
    grid = [Cell(a, L, n) for n in config.widths for L in config.depths for a in config.activations]
    return sorted(grid, key=lambda cell: cell.width * cell.width * (cell.depth - 1) + cell.width)


def seeds(config, cell):
    """The seeds that a cell uses: those of all its networks."""
    return range(config.seeds)


@lru_cache(maxsize=4)
def points(n, d, seed):
    X = datasets.sphere_net(n, d, seed)
    X.setflags(write=False)
    return X


def points_of(config):
    """The inputs, (points, input_dim)."""
    return points(config.points, config.input_dim, config.points_seed)


@lru_cache(maxsize=16)
def _limit(kernel, activation, depth, n, d, seed):
    K = kernel(MLP(depth, activation), points(n, d, seed)).dense()
    K.setflags(write=False)
    return K


def limit_of(kernel, config, activation, depth):
    """The limiting kernel as a dense float64 matrix, computed once for all widths and seeds."""
    return _limit(kernel, activation, depth, config.points, config.input_dim, config.points_seed)


def compare(config, cell, limit_kernel, finite_kernel, device, report=None):
    """Errors of one kernel matrix per seed, and of their mean over seeds, against the limit.

    Returns arrays ``frobenius`` (S,) = |K - limit|_F / |limit|_F, ``largest`` (S,) = max |K - limit|, the
    same split by block (``frobenius_by_block``, ``largest_by_block``, (S, 3): value-value, value-Jacobian,
    Jacobian-Jacobian, each relative to the limit's own block), and ``frobenius_of_mean`` (), the relative
    error of the mean of the S matrices.
    """
    import torch

    from ..networks import FiniteMLP

    mlp, X = MLP(cell.depth, cell.activation), points_of(config)
    limit = torch.tensor(limit_of(limit_kernel, config, cell.activation, cell.depth), device=device)
    dtype = getattr(torch, config.dtype(cell.width))
    errors, largest, mean = [], [], torch.zeros_like(limit)
    for seed in range(config.seeds):
        net = FiniteMLP(mlp, cell.width, config.input_dim, seed, dtype=dtype, device=device)
        error = finite_kernel(net, X).double() - limit
        del net  # the next one's weights need the room
        mean += error / config.seeds
        per_block = [_sizes(part, of) for part, of in zip(_blocks(error, X), _blocks(limit, X), strict=True)]
        errors.append([_sizes(error, limit)[0], *(size[0] for size in per_block)])
        largest.append([float(error.abs().max()), *(size[1] for size in per_block)])
        if report is not None:
            report((seed + 1) / config.seeds)
    errors, largest = np.array(errors), np.array(largest)
    return {
        "frobenius": errors[:, 0],
        "largest": largest[:, 0],
        "frobenius_by_block": errors[:, 1:],
        "largest_by_block": largest[:, 1:],
        "frobenius_of_mean": np.array(_sizes(mean, limit)[0]),
    }


def _blocks(K, X):
    N, d = X.shape
    K = K.view(N, 1 + d, N, 1 + d)
    return K[:, 0, :, 0], K[:, 1:, :, 0], K[:, 1:, :, 1:]  # the fourth is the transpose of the second


def _sizes(error, limit):
    return float(error.norm() / limit.norm()), float(error.abs().max())


def collect(config, outcomes, limit_kernel):
    """The cells' arrays on one grid, activation x depth x width x seed, and the grid itself."""
    shape = (len(config.activations), len(config.depths), len(config.widths))
    grid = [[[Cell(a, L, n) for n in config.widths] for L in config.depths] for a in config.activations]
    flat = [cell for by_depth in grid for by_width in by_depth for cell in by_width]
    arrays = {}
    for name in outcomes[flat[0]]:
        values = np.stack([outcomes[cell][name] for cell in flat])
        arrays[name] = values.reshape(shape + values.shape[1:])
    limits = [[limit_of(limit_kernel, config, a, L) for L in config.depths] for a in config.activations]
    return arrays | {
        "activations": np.array(config.activations),
        "depths": np.array(config.depths),
        "widths": np.array(config.widths),
        "points": points_of(config),
        "limit_smallest_eigenvalue": np.array([[np.linalg.eigvalsh(K)[0] for K in row] for row in limits]),
        "limit_largest_entry": np.array([[np.abs(K).max() for K in row] for row in limits]),
    }


def operations(config, cell, backwards, slower):
    """Floating-point operations of the matrix products of a cell, times ``slower`` for all else, and their dtype."""
    rows, n, L = config.points * (1 + config.input_dim), cell.width, cell.depth
    passes = 2 if backwards else 1
    through = 2 * rows * n * n * (L - 1) * passes  # tangent pass, and the cotangents' pass
    grams = rows * rows * n * (2 * L if backwards else 1)  # symmetric: half of 2 rows^2 n each
    # A normal number costs about as much as 400 operations of a product
    draws = 400 * n * n * (L - 1)
    return slower * config.seeds * (through + grams + draws), config.dtype(n)


def slopes(result):
    """``{(activation, depth): (slope, low, high)}`` of log error by log width, with 95 % bootstrap intervals.

    Examples
    --------
    >>> errors = np.array([[[[0.4, 0.4], [0.2, 0.2]]]])  # activation, depth, width, seed
    >>> found = slopes({"activations": ["erf"], "depths": [1], "widths": np.array([64, 256]), "frobenius": errors})
    >>> round(found["erf", 1][0], 3)
    -0.5
    """
    from ..bootstrap import fitted_slope

    return {
        (str(a), int(L)): fitted_slope(result["widths"], result["frobenius"][i, j])
        for i, a in enumerate(result["activations"])
        for j, L in enumerate(result["depths"])
    }


def summary(result, what):
    """One line per activation and depth."""
    widths, errors = result["widths"], np.median(result["frobenius"], axis=-1)
    lines = [f"{what}: median relative Frobenius error over {result['frobenius'].shape[-1]} seeds"]
    for (activation, depth), (slope, low, high) in slopes(result).items():
        i, j = list(result["activations"]).index(activation), list(result["depths"]).index(depth)
        lines.append(
            f"  {activation:5s} depth {depth}: {errors[i, j, 0]:.3g} at width {widths[0]}, "
            f"{errors[i, j, -1]:.3g} at width {widths[-1]}; slope {slope:.3f} [{low:.3f}, {high:.3f}]; "
            f"largest entry {np.median(result['largest'][i, j, -1]):.3g}"
        )
    return "\n".join(lines)


def plot(result, what):
    """Relative Frobenius error by width, one panel an activation, one line a depth, 95 % bootstrap bands."""
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
            colour = f"depth {depth}"
            known = colour if colour in plotting.COLOURS else None
            plotting.error_by_width(ax, result["widths"], result["frobenius"][i, j], label=colour, colour=known)
        ax.set_title("GELU" if name == "gelu" else name)
        ax.label_outer()
    axes[0, 0].set_ylabel(f"relative error of the {what}")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda k: labels[k].startswith("slope"))  # the reference line last
    axes[0, 0].legend([handles[k] for k in order], [labels[k] for k in order])
    return figure
