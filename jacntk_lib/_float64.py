"""jax in float64, in a process where it can run: how everything in this library calls it.

``jax`` and ``jnp`` are imported when something of them is first used, and :class:`jitted` is ``jax.jit`` put off in the
same way: small problems (:data:`jacntk_lib.kernels.recursion.FEW`) need no jax, whose import takes half a second.
"""

import functools
import importlib
import os

import numpy as np

_started = False  # whether jax has computed anything for us in this process
_forked = False  # whether that was in the process that this one was forked from


class _Later:
    """A module that is imported when something of it is asked for."""

    def __init__(self, name):
        self._name = name

    def __getattr__(self, attribute):
        return getattr(importlib.import_module(self._name), attribute)


jax, jnp = _Later("jax"), _Later("jax.numpy")


def namespace(x):
    """What computes with x: NumPy for its own arrays and numbers, else ``jax.numpy``."""
    return np if isinstance(x, np.ndarray | np.generic) else jnp


class jitted:
    """A function through ``jax.jit``, with its options; ``__wrapped__`` is the function itself."""

    def __init__(self, function, **options):
        functools.update_wrapper(self, function)
        self._options = options

    @functools.cached_property
    def _compiled(self):
        return jax.jit(self.__wrapped__, **self._options)

    def __call__(self, *arguments, **named):
        return self._compiled(*arguments, **named)

    def lower(self, *arguments, **named):
        """As of what ``jax.jit`` returns: the program before it is compiled."""
        return self._compiled.lower(*arguments, **named)


def float64():
    """A context in which jax computes in float64; its global setting is left alone.

    Raises
    ------
    RuntimeError : this process was forked from one in which jax was running. Forking copies no threads, so that jax
        would wait for its own for ever.
    """
    global _started
    if _forked:
        raise RuntimeError(
            "this process was forked from one that had computed a kernel: jax's threads do not survive os.fork(), and "
            "a kernel computed here would never return. Use processes that start afresh, for example "
            "multiprocessing.get_context('spawn') or joblib, or fork before the first kernel"
        )
    _started = True
    return jax.enable_x64(True)


def _in_child():
    global _forked
    _forked = _forked or _started


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_in_child)
