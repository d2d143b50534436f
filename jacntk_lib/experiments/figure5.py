"""Figure 5: eigenfeatures of the kernel regression *without* a penalty, accuracy against robust accuracy.

The paper reports little or no correlation of the two. As :mod:`.figure4`, with lambda = 0: the ordinary NTK.
"""

from dataclasses import replace

from . import _runner, eigenfeatures, figure4
from .eigenfeatures import Cell, Config, cells, collect, operations, run_cell, seeds

__all__ = [
    "PRESETS", "Cell", "Config", "cells", "collect", "operations", "plot", "run", "run_cell", "seeds", "summary",
]  # fmt: skip

NUMBER = 5
TITLE = "Accuracy and robustness of eigenfeatures without a penalty"
USES_GPU = False
PLAIN = (0.0,)


def _without(config):
    return replace(
        config,
        lams=PLAIN,
        attacked_lams=PLAIN if config.attacked_lams else (),
        other_lams=PLAIN if config.other_lams else (),
        kept_splits=config.splits,  # there are few features: all can be kept
    )


PRESETS = {name: _without(config) for name, config in figure4.PRESETS.items()}


def run(config, **options):
    """The whole grid, with the options of :func:`jacntk_lib.experiments._runner.run`."""
    from . import figure5

    return _runner.run(figure5, config, **options)


def summary(result):
    """Correlations, accurate and fragile features by table and size of attack."""
    return eigenfeatures.summary(result, TITLE)


def plot(result, data=None):
    """Robust accuracy against accuracy of every feature; ``data`` names the tables to draw, default all."""
    return eigenfeatures.plot(result, 0.0, "plain", data)
