r"""Figure 6 (Assumption 4.4): the smallest eigenvalue of the limiting kernels against depth.

The paper sees that of the Jacobian NTK positive only from some depth on. Here every Gram matrix gets several answers,
so that a failure of the assumption can be told from a failure of the arithmetic:

- a *certificate* (:func:`jacntk_lib.spectrum.smallest_eigenvalue`): proved bounds ``lower``, ``upper`` and a verdict;
- ``float64`` and ``float32``: what an ordinary eigenvalue routine returns for the matrix rounded to that precision,
  negative values and all; ``float32_throughout``: the same with the kernel itself computed in float32.

Each for the Jacobian kernel (``jacobian``) and for the ordinary one on the same points (``values``). And two answers
without certificates:

- ``sampled``, ``shared``: every expectation of the recursion replaced by an average of samples, each pair of points
  having its own or all pairs sharing them (:func:`jacntk_lib.imprecise.sampled_ntk`);
- ``uniform_float32``, ``uniform_float32_throughout``: as above, on many sets of independent uniform points.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from scipy import linalg

from .. import activations, datasets, gram, imprecise, spectrum
from .._validation import integer
from ..architecture import MLP
from . import _runner
from ._brackets import FLOAT32, KERNELS, plot, positive_from, summary
from ._fields import as_tuples

__all__ = [
    "PRESETS", "Cell", "Config", "cells", "collect", "inputs_of", "plot", "positive_from", "run", "run_cell", "seeds",
    "summary",
]  # fmt: skip

NUMBER = 6
TITLE = "The smallest eigenvalue of the limiting kernels against depth"
USES_GPU = False
SPHERES = {"sphere": 0.5, "plain_sphere": 0.0}  # -> antipodal_range of the net
UNIFORM = "uniform"
THINNED = {"banknote_distinct": 1, "banknote_eighth": 8}
"""Every so many rows of banknote_authentication, whose repeated rows are left out first."""
_THINNED_FROM = "banknote_authentication"
TABLES = (*datasets.NAMES, *THINNED)
_CLOSE = (UNIFORM, "plain_sphere", *THINNED)
_NUMBERS = ("lower", "upper", "float64", "float32", "float32_throughout", "largest")
_BATCH = {"sampled": 32, "shared": 2048}  # samples really drawn, see sampled_ntk


@dataclass(frozen=True)
class Config:
    """The grid: ``data`` x ``activations`` x ``depths``.

    ``data`` holds names of ``datasets.NAMES`` (standardised, unit length) and three sets of ``points`` points on the
    unit sphere of R^``input_dim``: "sphere", ``datasets.sphere_net``; "plain_sphere", the same without repulsion from
    antipodes, whose nearly antipodal pairs make the smallest eigenvalues of odd activations smaller by orders of
    magnitude; and "uniform", independent uniform points. The paper's data for this figure are not known to us. A table
    with repeated rows has a singular kernel whatever the activation, so one of them can be had without:
    "banknote_distinct", and every eighth row of that, "banknote_eighth". Tables are computed at ``table_depths`` alone,
    for they can be large; None means all.

    Matrices of at most ``high_precision_rows`` rows that float64 cannot decide go on to ball arithmetic (python-flint),
    which takes about a minute at 1280 rows; larger ones, and all with 0, stay "undecided". Those of more than
    ``eigenvalue_rows`` rows get a certificate alone, for an eigenvalue routine takes several times as long.

    The sampled kernels are those of "sphere", with averages of ``samples`` (the paper's 10^6), or left out with 0.
    ``uniform_seeds`` is the number of further sets of uniform points for float32.
    """

    data: tuple[str, ...] = ("sphere",)
    activations: tuple[str, ...] = ("erf", "gelu")
    depths: tuple[int, ...] = tuple(range(1, 15))
    table_depths: tuple[int, ...] | None = None
    points: int = 256
    input_dim: int = 4
    points_seed: int = 0
    high_precision_rows: int = 1500
    eigenvalue_rows: int = 5000
    samples: int = 0
    uniform_seeds: int = 0

    def __post_init__(self):
        if self.table_depths is None:
            object.__setattr__(self, "table_depths", self.depths)
        as_tuples(self, "data", "activations", "depths", "table_depths")
        for name in self.data:
            if name not in (known := (*SPHERES, *TABLES, UNIFORM)):
                raise ValueError(f"unknown data {name!r}; known are {', '.join(known)}")
        for name in self.activations:
            activations.get(name)
        for name in ("depths", "table_depths"):
            for depth in getattr(self, name):
                integer(depth, f"each of {name}", at_least=1)
        if not set(self.table_depths) <= set(self.depths):
            raise ValueError(f"table_depths {self.table_depths} must be among the depths {self.depths}")
        for name in ("points", "input_dim"):
            integer(getattr(self, name), name, at_least=1)
        for name in ("points_seed", "high_precision_rows", "eigenvalue_rows", "samples", "uniform_seeds"):
            integer(getattr(self, name), name, at_least=0)
        if 0 < self.samples < max(_BATCH.values()):
            raise ValueError(f"samples must be 0 or at least {max(_BATCH.values())}, got {self.samples}")


PRESETS = {
    "demo": Config(points=96, depths=(1, 2, 3, 6, 11), high_precision_rows=0),
    "cpu": Config(data=("sphere", UNIFORM), samples=10**6, uniform_seeds=5),
    "paper": Config(
        data=("sphere", UNIFORM, "plain_sphere", "wine", "algerian_forest_fires"),
        table_depths=(1, 3, 6, 11),
        high_precision_rows=3000,
        samples=10**6,
        uniform_seeds=20,
    ),
    # the depths that "paper" leaves out of its two tables: certificates alone, which float64 decides
    "tables-by-depth": Config(
        data=("wine", "algerian_forest_fires"), depths=(2, 4, 5, 7, 8, 9, 10, 12, 13, 14), eigenvalue_rows=0
    ),
    # the two larger tables of the paper's appendix: half an hour, nearly all of it for the 12,688 rows of sonar
    "tables": Config(
        data=("sonar", "banknote_authentication", *THINNED), depths=(1, 3, 6, 11), high_precision_rows=1000
    ),
}


@dataclass(frozen=True)
class Cell:
    """One Gram matrix of each kernel; of another ``kind``, all depths at once (``depth`` 0)."""

    data: str
    activation: str
    depth: int = 0
    kind: str = "certificate"
    seed: int = 0
    key: str = field(init=False)

    def __post_init__(self):
        part = f"depth{self.depth}" if self.kind == "certificate" else f"{self.kind}-seed{self.seed}"
        object.__setattr__(self, "key", f"{self.data}-{self.activation}-{part}")


def cells(config):
    """Data set by data set, deep first: those are quick, as float64 decides them. Then what has no certificate."""
    return [
        *(
            Cell(data, activation, depth)
            for data in config.data
            for depth in sorted(_depths_of(config, data), reverse=True)
            for activation in config.activations
        ),
        *(
            Cell("sphere", activation, kind=kind, seed=config.points_seed)
            for kind in (_BATCH if config.samples else ())
            for activation in config.activations
        ),
        *(
            Cell(UNIFORM, activation, kind=kind, seed=seed)
            for seed in range(config.uniform_seeds)
            for activation in config.activations
            for kind in FLOAT32
        ),
    ]


def _depths_of(config, data):
    return config.table_depths if data in TABLES else config.depths


def seeds(config, cell):
    """That of the points, and of the samples; no network is sampled here."""
    return [config.points_seed if cell.kind == "certificate" else cell.seed]


_net = lru_cache(maxsize=4)(datasets.sphere_net)


@lru_cache(maxsize=4)
def _uniform(n, d, seed):
    X = np.random.Generator(np.random.Philox(seed)).standard_normal((n, d))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    X.setflags(write=False)
    return X


def inputs_of(config, data, seed=None):
    """The points of one of ``config.data``, (N, d); ``seed`` for another set than that of ``config.points_seed``.

    Examples
    --------
    >>> inputs_of(Config(points=5, input_dim=3), "uniform").shape
    (5, 3)
    """
    seed = config.points_seed if seed is None else seed
    if data in SPHERES:
        return _net(config.points, config.input_dim, seed, antipodal_range=SPHERES[data])
    if data == UNIFORM:
        return _uniform(config.points, config.input_dim, seed)
    return _table(data)


def _table(name):
    if name not in THINNED:
        return datasets.load(name).X
    X = datasets.load(_THINNED_FROM).X
    first = np.unique(X, axis=0, return_index=True)[1]
    return X[np.sort(first)[:: THINNED[name]]]


def run_cell(config, cell, device="cpu", report=None):
    """The arrays of one cell; ``device`` is not used: all this is work for the processor."""
    if cell.kind == "certificate":
        return _certificate(config, cell, report)
    X = inputs_of(config, cell.data, cell.seed)
    smallest = []
    if cell.kind == "float32_throughout":
        kernels = (imprecise.gram_in_float32(MLP(depth, cell.activation), "ntk", X) for depth in config.depths)
    elif cell.kind == "float32":
        exact = (gram.jacobian_ntk(MLP(depth, cell.activation), X).dense() for depth in config.depths)
        kernels = (kernel.astype(np.float32) for kernel in exact)
    else:
        sampled = imprecise.sampled_ntk(
            MLP(max(config.depths), cell.activation),
            X,
            samples=config.samples,
            shared=cell.kind == "shared",
            seed=cell.seed,
            batch=_BATCH[cell.kind],
        )
        kernels = (kernel for depth, kernel in enumerate(sampled, start=1) if depth in config.depths)
    for kernel in kernels:
        smallest.append(_smallest(kernel, X))
        if report is not None:
            report(len(smallest) / len(config.depths))
    return {"smallest": np.array(smallest)}


def _smallest(matrix, X):
    """Smallest eigenvalues of a Jacobian Gram matrix and of its value part, in its own precision."""
    size = 1 + X.shape[1]
    return [float(linalg.eigvalsh(part)[0]) for part in (matrix, matrix[::size, ::size])]


def _certificate(config, cell, report):
    """Certificates and eigenvalues of both kernels."""
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
            report(0.5 if kernel == KERNELS[0] else 0.7)
    return measured | _eigenvalues(config, mlp, G)


def _eigenvalues(config, mlp, G):
    """What an ordinary routine returns for the same two matrices; NaN for those too large for it."""
    measured = {}
    for kernel, rows in zip(KERNELS, (G.shape[0], len(G.X)), strict=True):
        if rows > config.eigenvalue_rows:
            measured |= {f"{kernel}_{name}": np.array(np.nan) for name in (*FLOAT32, "float64", "largest")}
            continue
        values_only = kernel == "values"
        smallest, largest = spectrum.extreme_eigenvalues(G, values_only=values_only)
        throughout = imprecise.gram_in_float32(mlp, "ntk", G.X, values_only=values_only)
        measured |= {
            f"{kernel}_float64": np.array(smallest),
            f"{kernel}_largest": np.array(largest),
            f"{kernel}_float32": np.array(
                spectrum.extreme_eigenvalues(G, values_only=values_only, dtype=np.float32)[0]
            ),
            f"{kernel}_float32_throughout": linalg.eigvalsh(throughout)[0],
        }
    return measured


def collect(config, outcomes):
    """Arrays (data, activation, depth), NaN or "" where a table was not computed, and the grid.

    ``sampled`` and ``shared`` are (activation, depth, kernel), those of the uniform sets (activation, seed, depth,
    kernel).
    """
    shape = len(config.data), len(config.activations), len(config.depths)
    arrays = {f"{kernel}_{name}": np.full(shape, np.nan) for kernel in KERNELS for name in _NUMBERS}
    arrays |= {f"{kernel}_{name}": np.full(shape, "", "U120") for kernel in KERNELS for name in ("verdict", "method")}
    by_kernel = (*shape[1:], len(KERNELS))
    if config.samples:
        arrays |= {kind: np.full(by_kernel, np.nan) for kind in _BATCH}
    if config.uniform_seeds:
        by_seed = by_kernel[0], config.uniform_seeds, *by_kernel[1:]
        arrays |= {f"uniform_{kind}": np.full(by_seed, np.nan) for kind in FLOAT32}
    for cell, measured in outcomes.items():
        activation = config.activations.index(cell.activation)
        if cell.kind == "certificate":
            place = config.data.index(cell.data), activation, config.depths.index(cell.depth)
            for name, value in measured.items():
                arrays[name][place] = value
        elif cell.kind in FLOAT32:
            arrays[f"uniform_{cell.kind}"][activation, cell.seed] = measured["smallest"]
        else:
            arrays[cell.kind][activation] = measured["smallest"]
    return arrays | {
        "data": np.array(config.data),
        "activations": np.array(config.activations),
        "depths": np.array(config.depths),
        "shapes": np.array([inputs_of(config, data).shape for data in config.data]),
        "separations": np.array([datasets.separation(inputs_of(config, data)) for data in config.data]),
    }


def operations(config, cell):
    """(number, dtype) of the floating-point operations of a cell, for the expected time."""
    N, d = _shape_of(config, cell.data)
    rows = N * (1 + d)
    if cell.kind == "certificate":
        if datasets.REPEATED.get(cell.data):
            return N * N * d, "float64"  # singular, as equal rows show
        # a guess: float64 decides all but shallow kernels of points that no repulsion keeps apart, and most tables
        balls = cell.data in _CLOSE and cell.depth <= 3 and rows <= config.high_precision_rows
        eigenvalues = rows <= config.eigenvalue_rows
        return rows**3 * (6 + 23 * eigenvalues + 800 * balls), "float64"
    layer = {**dict.fromkeys(FLOAT32, 0), "sampled": 16000 * rows * N, "shared": 30000 * rows**2}[cell.kind]
    return len(config.depths) * (8 * rows**3 + layer), "float64"


def _shape_of(config, data):
    """Of :func:`inputs_of`; a machine that only plans the run needs no data."""
    if data in (*SPHERES, UNIFORM):
        return config.points, config.input_dim
    if data in THINNED:
        N, d = datasets.SHAPES[_THINNED_FROM]
        return -(-(N - datasets.REPEATED[_THINNED_FROM]) // THINNED[data]), d
    return datasets.SHAPES[data]


def run(config, **options):
    """The whole grid, with the options of :func:`jacntk_lib.experiments._runner.run`."""
    from . import figure6

    return _runner.run(figure6, config, **options)
