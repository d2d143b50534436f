"""Figure 4: eigenfeatures of the kernel regression *with* the Jacobian penalty, accuracy against robust accuracy.

The paper reports that the two move together, and no accurate but fragile features, for a GELU network of 11 layers.
Measures, views and selections: :mod:`jacntk_lib.experiments.eigenfeatures`. :mod:`.figure5` is without the penalty.
"""

from . import _runner, eigenfeatures
from .eigenfeatures import Cell, Config, cells, collect, operations, run_cell, seeds

__all__ = [
    "PRESETS", "Cell", "Config", "cells", "collect", "operations", "plot", "run", "run_cell", "seeds", "summary",
]  # fmt: skip

NUMBER = 4
TITLE = "Accuracy and robustness of eigenfeatures with the Jacobian penalty"
USES_GPU = False
KERNELS = (*(("gelu", depth) for depth in (1, 2, 3, 6, 11, 14)), *(("erf", depth) for depth in (1, 3, 6, 11, 14)))
LAMS = (1e-4, 1e-2, 1e-1, 1.0, 10.0)

PRESETS = {
    # bundled data: needs no network
    "demo": Config(
        lams=(0.01, 1.0),
        data=("wine",),
        rows=40,
        splits=2,
        attacked_splits=1,
        attacked_lams=(1.0,),
        attacked_features=8,
    ),
    "cpu": Config(lams=(1e-4, 1e-2, 1.0), splits=3, attacked_splits=1, attacked_lams=(1.0,)),
    "paper": Config(
        lams=LAMS,
        other_data=("algerian_forest_fires", "banknote_authentication"),
        other_lams=(1e-2, 1.0),
        other_kernels=KERNELS,
        other_rows=(50,),
        attacked_lams=(1e-2, 1.0),
    ),
}


def run(config, **options):
    """The whole grid, with the options of :func:`jacntk_lib.experiments._runner.run`."""
    from . import figure4

    return _runner.run(figure4, config, **options)


def summary(result):
    """Correlations, accurate and fragile features by table and size of attack."""
    return eigenfeatures.summary(result, TITLE)


def plot(result, lam=None, data=None):
    """Robust accuracy against accuracy of every feature, for one lambda: 1 where it is there, else the largest.

    ``data`` names the tables to draw; default all.
    """
    lams = sorted(set(result["cell_lam"][result["cell_main"]].tolist()))
    return eigenfeatures.plot(result, lam if lam is not None else 1.0 if 1.0 in lams else lams[-1], "penalised", data)
