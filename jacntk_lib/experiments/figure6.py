r"""Figure 6 (Assumption 4.4): the smallest eigenvalue of the limiting kernels against depth.

The paper sees that of the Jacobian NTK positive only from some depth on. Here every Gram matrix gets three answers, so
that a failure of the assumption can be told from a failure of the arithmetic:

- a *certificate* (:func:`jacntk_lib.spectrum.smallest_eigenvalue`): proved bounds ``lower``, ``upper`` and a verdict;
- ``float64`` and ``float32``: what an ordinary eigenvalue routine returns in that precision, negative values and all.

Each for the Jacobian kernel (``jacobian``) and for the ordinary one on the same points (``values``).
"""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from .. import activations, datasets, gram, spectrum
from .._validation import integer
from ..architecture import MLP
from . import _runner

__all__ = ["PRESETS", "Cell", "Config", "cells", "collect", "inputs_of", "plot", "run", "run_cell", "seeds", "summary"]

NUMBER = 6
TITLE = "The smallest eigenvalue of the limiting kernels against depth"
KERNELS = ("jacobian", "values")
SPHERES = {"sphere": 0.5, "plain_sphere": 0.0}  # -> antipodal_range of the net


@dataclass(frozen=True)
class Config:
    """The grid: ``data`` x ``activations`` x ``depths``.

    ``data`` holds names of ``datasets.NAMES`` (standardised, unit length) and two nets of ``points`` points on the unit
    sphere of R^``input_dim``: "sphere", ``datasets.sphere_net``, and "plain_sphere", the same without repulsion from
    antipodes. Its nearly antipodal pairs make the smallest eigenvalues of odd activations smaller by orders of
    magnitude. The paper's data for this figure are not known to us.

    Matrices of at most ``high_precision_rows`` rows that float64 cannot decide go on to ball arithmetic (python-flint),
    which takes half a minute at 1280 rows; larger ones, and all with 0, stay "undecided".
    """

    data: tuple[str, ...] = ("sphere",)
    activations: tuple[str, ...] = ("erf", "gelu")
    depths: tuple[int, ...] = tuple(range(1, 15))
    points: int = 256
    input_dim: int = 4
    points_seed: int = 0
    high_precision_rows: int = 1500

    def __post_init__(self):
        for name in ("data", "activations", "depths"):
            values = tuple(getattr(self, name))
            if not values or len(set(values)) < len(values):
                raise ValueError(f"{name} must be one or more different values, got {values}")
            object.__setattr__(self, name, values)
        for name in self.data:
            if name not in (*SPHERES, *datasets.NAMES):
                raise ValueError(f"unknown data {name!r}; known are {', '.join(SPHERES)}, {', '.join(datasets.NAMES)}")
        for name in self.activations:
            activations.get(name)
        for depth in self.depths:
            integer(depth, "each of depths", at_least=1)
        for name, at_least in (("points", 1), ("input_dim", 1), ("points_seed", 0), ("high_precision_rows", 0)):
            integer(getattr(self, name), name, at_least)


PRESETS = {
    "demo": Config(points=96, depths=(1, 2, 3, 6, 11), high_precision_rows=0),
    "cpu": Config(),
    "paper": Config(data=("sphere", "plain_sphere", "algerian_forest_fires", "wine")),
}


@dataclass(frozen=True)
class Cell:
    """One Gram matrix of each kernel."""

    data: str
    activation: str
    depth: int
    key: str = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "key", f"{self.data}-{self.activation}-depth{self.depth}")


def cells(config):
    """Data set by data set, deep first: those are quick, as float64 decides them."""
    return [
        Cell(data, activation, depth)
        for data in config.data
        for depth in sorted(config.depths, reverse=True)
        for activation in config.activations
    ]


def seeds(config, cell):
    """That of the points; no network is sampled here."""
    return [config.points_seed]


_net = lru_cache(maxsize=4)(datasets.sphere_net)


def inputs_of(config, data):
    """The points of one of ``config.data``, (N, d)."""
    if data in SPHERES:
        return _net(config.points, config.input_dim, config.points_seed, antipodal_range=SPHERES[data])
    return datasets.load(data).X


def run_cell(config, cell, device="cpu", report=None):
    """Certificates and eigenvalues of both kernels; ``device`` is not used: all this is float64 on the processor."""
    X, mlp = inputs_of(config, cell.data), MLP(cell.depth, cell.activation)
    G = gram.jacobian_ntk(mlp, X)
    measured = {}
    for kernel in KERNELS:
        values_only = kernel == "values"
        rows = len(X) if values_only else G.shape[0]
        found = spectrum.smallest_eigenvalue(
            G, values_only=values_only, high_precision=rows <= config.high_precision_rows
        )
        measured |= {
            f"{kernel}_lower": np.array(found.lower),
            f"{kernel}_upper": np.array(found.upper),
            f"{kernel}_verdict": np.array(found.verdict),
            f"{kernel}_method": np.array(found.method),
        }
        if report is not None:
            report(0.5 if kernel == KERNELS[0] else 0.8)
    for dtype in ("float64", "float32"):
        found = spectrum.extreme_eigenvalues(mlp, X, dtype=np.dtype(dtype))
        for kernel in KERNELS:
            measured[f"{kernel}_{dtype}"] = np.array(found[f"{kernel}_smallest"])
            if dtype == "float64":
                measured[f"{kernel}_largest"] = np.array(found[f"{kernel}_largest"])
    return measured


def collect(config, outcomes):
    """Arrays (data, activation, depth), and the grid."""
    shape = len(config.data), len(config.activations), len(config.depths)
    grid = [Cell(data, a, L) for data in config.data for a in config.activations for L in config.depths]
    arrays = {name: np.stack([outcomes[cell][name] for cell in grid]).reshape(shape) for name in outcomes[grid[0]]}
    return arrays | {
        "data": np.array(config.data),
        "activations": np.array(config.activations),
        "depths": np.array(config.depths),
        "shapes": np.array([inputs_of(config, data).shape for data in config.data]),
    }


def operations(config, cell):
    """(number, dtype) of the floating-point operations of a cell, for the expected time."""
    N, d = inputs_of(config, cell.data).shape
    rows = N * (1 + d)
    balls = cell.depth <= 3 and rows <= config.high_precision_rows  # a guess: shallow kernels are the hard ones
    return rows**3 * (20 + 500 * balls), "float64"


def run(config, **options):
    """The whole grid, with the options of :func:`jacntk_lib.experiments._runner.run`."""
    from . import figure6

    return _runner.run(figure6, config, **options)


def summary(result):
    """What is proved, and from which depth on plain float32 sees it; a line per data set, activation and kernel."""
    depths, lines = result["depths"], ["Smallest eigenvalue of the limiting NTK by depth"]
    for i, data in enumerate(result["data"]):
        for j, activation in enumerate(result["activations"]):
            for kernel in KERNELS:
                verdicts = result[f"{kernel}_verdict"][i, j]
                positive = int(np.sum(verdicts == "certified positive"))
                in_float32 = result[f"{kernel}_float32"][i, j] > 0
                # the first depth from which float32 is positive throughout
                seen = next((int(L) for k, L in enumerate(depths) if in_float32[k:].all()), None)
                first, last = (result[f"{kernel}_float64"][i, j, k] for k in (0, -1))
                lines.append(
                    f"  {data} {activation:5s} {'JNTK' if kernel == 'jacobian' else 'NTK ':4s}: certified positive at "
                    f"{positive} of {len(depths)} depths; float64 {first:.2g} (depth {depths[0]}) to {last:.2g} "
                    f"(depth {depths[-1]}); positive in float32 from depth {seen if seen is not None else 'none'}"
                )
    return "\n".join(lines)


def plot(result):
    """Certified brackets by depth for both kernels; crosses where float32 is negative, at minus its value."""
    import matplotlib.pyplot as plt

    from .. import plotting

    names = [str(a) for a in result["activations"]]
    figure, axes = plt.subplots(
        len(result["data"]),
        len(names),
        figsize=(plotting.TEXT_WIDTH, 3.4 * len(result["data"])),
        sharex=True,
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    depths = result["depths"]
    for i, data in enumerate(result["data"]):
        for j, (ax, name) in enumerate(zip(axes[i], names, strict=True)):
            for kernel, label, colour in (("jacobian", "JNTK", "jacobian"), ("values", "NTK", "value")):
                colour = plotting.COLOURS[colour]
                lower, upper = result[f"{kernel}_lower"][i, j], result[f"{kernel}_upper"][i, j]
                proved = lower > 0
                ax.plot(depths[proved], np.sqrt(lower * upper)[proved], marker="o", color=colour, label=label)
                ax.vlines(depths[proved], lower[proved], upper[proved], color=colour, linewidth=3)
                in_float32 = result[f"{kernel}_float32"][i, j]
                lost = in_float32 <= 0
                if lost.any():
                    ax.plot(depths[lost], -in_float32[lost], "x", color=colour, label=f"minus {label} in float32")
            ax.set_yscale("log")
            ax.set_title(f"{data}, {name}")
            ax.label_outer()
        axes[i, 0].set_ylabel("smallest eigenvalue")
    for ax in axes[-1]:
        ax.set_xlabel("depth $L$")
    entries = {}  # one legend for all panels
    for ax in axes.flat:
        entries.update(zip(*ax.get_legend_handles_labels()[::-1], strict=True))
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=4)
    return figure
