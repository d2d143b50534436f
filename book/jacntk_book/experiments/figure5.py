"""Figure 5: eigenfeatures of the kernel regression *without* a penalty, accuracy against robust accuracy.

The experiment of :mod:`.figure4` with lambda = 0: the ordinary NTK.
"""

from dataclasses import replace

from . import figure4
from .figure4 import Cell, Config, cells, collect, plot, run_cell, seeds

__all__ = ["EXPERIMENT", "PRESETS", "Cell", "Config", "cells", "collect", "plot", "run", "run_cell", "seeds", "summary"]

PRESETS = {name: replace(config, lams=(0.0,)) for name, config in figure4.PRESETS.items()}
_TITLE = "Accuracy and robustness of eigenfeatures without a penalty"


def summary(result):
    """That of Figure 4 under this figure's title."""
    return figure4.summary(result, _TITLE)


EXPERIMENT = replace(figure4.EXPERIMENT, label=5, title=_TITLE, presets=PRESETS, summary=summary)
run = EXPERIMENT.run
