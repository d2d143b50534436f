"""The few exceptions that are the library's own, and warnings; everything else is a ValueError or a TypeError.

>>> from jacntk_lib import MLP, RobustFlow
>>> flow = RobustFlow(MLP(2), [[1.0, 2.0], [1.0, 2.0]], [1.0, -1.0])  # one point with two labels
>>> try:
...     flow.at(float("inf"))
... except SingularGramError:
...     print("a finite time or a ridge")
a finite time or a ridge

>>> issubclass(ConvergenceError, RuntimeError), issubclass(CorruptResultError, ValueError)
(True, True)
"""

import inspect
import warnings


class SingularGramError(ValueError):
    """A Gram matrix is singular and the targets contradict each other on its null space.

    Raised when an answer at infinite time without ridge does not exist: two copies of one point with
    different labels, say. A finite time, a positive ridge or consistent targets all cure it.
    """


class ConvergenceError(RuntimeError):
    """A solve did not reach its accuracy, or float64 does not; the message names residual and condition."""


class MissingPackageError(ModuleNotFoundError):
    """A package that an extra brings (``name``) is not installed; the message has the command that installs it."""


class CorruptResultError(ValueError):
    """A stored result does not match its own record: truncated, edited, or written by another program."""


def warn(message, category=UserWarning):
    """Warn at the caller's own line: the innermost that is not in this library."""
    frame, level = inspect.currentframe(), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("jacntk_lib"):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
