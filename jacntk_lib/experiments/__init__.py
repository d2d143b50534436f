"""The figures of Kim and Yang (2024), one module each: ``figure1``, ``figure2``, ...

Every module has the same few names:

- ``Config``: a frozen dataclass, every choice with its reason; ``PRESETS["demo" | "cpu" | "paper"]``;
- ``cells(config)``: the independent parts of the computation; ``run_cell(config, cell, device)``: one of them, a pure
  function; ``collect(config, outcomes)``: their arrays put together;
- ``run(config, device="cpu", where=None)``: all of it, as a :class:`~jacntk_lib.results.Result`;
- ``summary(result)``: what came out, in a few lines; ``plot(result)``: the figure.

>>> figure2 = figure(2)
>>> config = figure2.Config(activations=("erf",), depths=(1,), widths=(16, 32), seeds=2, points=8)
>>> result = figure2.run(config)
>>> result["frobenius"].shape  # activation, depth, width, seed
(1, 1, 2, 2)

``run`` does no more than this, with parts kept on disk:

>>> cells = figure2.cells(config)
>>> outcomes = {cell: figure2.run_cell(config, cell, device="cpu") for cell in cells}
>>> arrays = figure2.collect(config, outcomes)
>>> len(cells), bool((arrays["frobenius"] == result["frobenius"]).all())
(2, True)
>>> number, dtype = figure2.operations(config, cells[0])  # for the expected time
>>> number > 0, dtype, figure2.seeds(config, cells[0])
(True, 'float64', range(0, 2))
>>> print(figure2.summary(result).splitlines()[0])
JNTK of a finite network against Theta, median over 2 seeds
>>> figure2.plot(result).axes[0].get_ylabel()
'largest entry of the error'
"""

import functools
import importlib
import types

FIGURES = (1, 2, 3, 4, 5, 6)
"""The figures of the paper's main text."""
APPENDIX = {"B7": 6, "B8": 6, "B9": 4, "B10": 4, "B11": 4, "B12": 4, "B13": 4}
"""The figures of its appendix, each the experiment of a main one on other data."""
OURS = ("own-attack",)
"""Experiments that the paper does not have, each a module of that name."""


def figure(label):
    """The module of one figure, or for one of the appendix what has a module's names.

    A module whose experiment the appendix repeats has ``APPENDIX[label] = (title, presets)``, which take the place of
    its ``TITLE`` and ``PRESETS``.

    Raises
    ------
    ValueError : ``label`` is in none of ``FIGURES``, ``APPENDIX`` and ``OURS``.
    """
    if label in FIGURES:
        return importlib.import_module(f".figure{label}", __name__)
    if label in APPENDIX:
        return _of_the_appendix(label)
    if label in OURS:
        return importlib.import_module(f".{label.replace('-', '_')}", __name__)
    raise ValueError(f"there is no figure {label!r}; known are {', '.join(map(str, (*FIGURES, *APPENDIX, *OURS)))}")


@functools.cache
def _of_the_appendix(label):
    from . import runner

    repeated = figure(APPENDIX[label])
    experiment = types.SimpleNamespace(**vars(repeated))
    experiment.NUMBER = label
    experiment.TITLE, experiment.PRESETS = repeated.APPENDIX[label]
    experiment.run = functools.partial(runner.run, experiment)
    return experiment
