"""jax in float64, in a process where it can run: how everything in this library calls it."""

import os

import jax

_started = False  # whether jax has computed anything for us in this process
_forked = False  # whether that was in the process that this one was forked from


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
