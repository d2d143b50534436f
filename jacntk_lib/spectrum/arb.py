"""Balls of arbitrary precision from python-flint, an optional dependency that only certificates beyond float64 need."""

from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np

from .balls import TINY, UNIT


def load():
    """The module ``flint``, or a MissingPackageError that says what to install."""
    from .._optional import flint

    return flint


@contextmanager
def precision(bits):
    """python-flint's working precision, which is global, set for a while."""
    context = load().ctx
    before = context.prec
    context.prec = bits
    try:
        yield
    finally:
        context.prec = before


def field():
    """The balls as a field (see :mod:`jacntk_lib.spectrum.enclosures`), at the precision current in each operation.

    Raises MissingPackageError, with what to install, where python-flint is missing.

    Examples
    --------
    >>> arb = field()
    >>> bool((arb.sqrt(arb.exact(2)) ** 2).contains(2))  # whatever the precision
    True
    """
    arb = load().arb
    return SimpleNamespace(exact=arb, pi=arb.pi, sqrt=arb.sqrt, exp=arb.exp, atan2=arb.atan2)


def to_float64(matrix):
    """Midpoints rounded to float64, and radii about the rounded midpoints, of an ``arb_mat``."""
    shape, entries = (matrix.nrows(), matrix.ncols()), matrix.entries()
    middle = np.array([float(e) for e in entries]).reshape(shape)
    radius = np.array([float(e.rad()) for e in entries]).reshape(shape)
    return middle, (radius + UNIT * np.abs(middle)) * (1 + 8 * UNIT) + TINY
