"""Figure 5: eigenfeatures of the kernel regression *without* a penalty, accuracy against robust accuracy.

As :mod:`.figure4`, with lambda = 0: the ordinary NTK.
"""

from dataclasses import replace

from . import figure4, runner
from .figure4 import Cell, Config, cells, collect, operations, plot, run_cell, seeds, summary

__all__ = [
    "PRESETS", "Cell", "Config", "cells", "collect", "operations", "plot", "run", "run_cell", "seeds", "summary",
]  # fmt: skip

NUMBER = 5
TITLE = figure4.TITLE_WITHOUT
USES_GPU = False
PARTIAL = True
PRESETS = {name: replace(config, lams=(0.0,)) for name, config in figure4.PRESETS.items()}


def run(config, **options):
    """The whole grid, with the options of :func:`jacntk_lib.experiments.runner.run`."""
    from . import figure5

    return runner.run(figure5, config, **options)
