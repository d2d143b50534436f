"""The figures of Kim and Yang (2024), one module each: ``figure1``, ``figure2``, ...

Every module has the same few names:

- ``Config``: a frozen dataclass, every choice with its reason; ``PRESETS["demo" | "cpu" | "paper"]``;
- ``cells(config)``: the independent parts of the computation; ``run_cell(config, cell, device)``: one of them, a pure
  function; ``collect(config, outcomes)``: their arrays put together;
- ``summary(result)``: what came out, in a few lines; ``plot(result)``: the figure;
- ``EXPERIMENT``: all of these as one :class:`Experiment`, which :func:`figure` returns, and its method ``run``.

>>> from jacntk_book.experiments import figure2
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
>>> print(figure2.summary(result).splitlines()[0])
JNTK of a finite network against Theta, median over 2 seeds
>>> figure2.plot(result).axes[0].get_ylabel()
'largest entry of the error'
"""

import importlib

from .experiment import Experiment, Unfinished, UnknownCell

__all__ = ["APPENDIX", "FIGURES", "OURS", "Experiment", "Unfinished", "UnknownCell", "figure"]

FIGURES = (1, 2, 3, 4, 5, 6)
"""The figures of the paper's main text."""
APPENDIX = {"B7": 6, "B8": 6, "B9": 4, "B10": 4, "B11": 4, "B12": 4, "B13": 4}
"""The figures of its appendix, each the experiment of a main one on other data."""
OURS = ("controlled", "stopping")
"""Experiments that the paper does not have, each a module of that name."""


def figure(label) -> Experiment:
    """The experiment of one figure.

    Raises
    ------
    ValueError : ``label`` is in none of ``FIGURES``, ``APPENDIX`` and ``OURS``.

    Examples
    --------
    >>> figure("B8").presets["paper"].data
    ('sonar',)
    """
    if label in FIGURES:
        return _module(f"figure{label}").EXPERIMENT
    if label in APPENDIX:
        return _module(f"figure{APPENDIX[label]}").APPENDIX[label]
    if label in OURS:
        return _module(label.replace("-", "_")).EXPERIMENT
    raise ValueError(f"there is no figure {label!r}; known are {', '.join(map(str, (*FIGURES, *APPENDIX, *OURS)))}")


def _module(name):
    return importlib.import_module(f".{name}", __name__)
