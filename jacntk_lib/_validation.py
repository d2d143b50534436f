"""Checks at the public edge. Every message says what was wrong, which value, and what to do.

NumPy only, so that the torch side and the jax side share it.
"""

import math
import numbers
import operator
import sys

import numpy as np

SMALLEST, LARGEST = 1e-75, 1e75  # kernels hold fourth powers of scales and lengths; float64 ends at 2e-308 and 2e308


def as_float64(value, name, *, missing=False):
    """``value`` as a float64 array, refusing whatever has no faithful float64 form; NaN passes with ``missing``.

    Arrays of Python objects are welcome where every object is a real number: a table with mixed columns is one.
    """
    array = as_plain(value, name)
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"{name} has dtype {array.dtype}: real numbers are needed; convert it first, for example "
            f"np.asarray({name}, dtype=float)"
        )
    array = array.astype(np.float64)  # always a copy: the caller may change theirs later
    bad = np.isinf(array) if missing else ~np.isfinite(array)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"{name} contains {int(bad.sum())} non-finite value(s), the first being {array[where]} at index {where}; "
            "remove or impute them (NaN and infinity have no kernel)"
        )
    return array


def refuse_masked(value, name):
    """Raise where NumPy would use what lies behind a mask."""
    if np.ma.is_masked(value):
        raise ValueError(
            f"{name} has {np.ma.count_masked(value)} masked entries, behind which are numbers that would be used: "
            "remove or impute them, and pass a plain array"
        )


def as_plain(value, name):
    """``value`` as a NumPy array, refusing what NumPy or scikit-learn would turn into numbers that nobody meant."""
    jax = sys.modules.get("jax")
    if jax is not None and isinstance(value, jax.core.Tracer):
        raise TypeError(
            f"{name} is a jax tracer: jacntk computes with NumPy arrays and cannot be called inside "
            "jit, grad or vmap; call it outside and pass the result in"
        )
    refuse_masked(value, name)
    if hasattr(value, "toarray"):
        raise TypeError(f"{name} is sparse ({type(value).__name__}): a dense array is needed; pass {name}.toarray()")
    try:
        array = np.asarray(value)
    except (RuntimeError, TypeError, ValueError) as error:
        raise TypeError(
            f"{name} cannot be turned into a NumPy array ({error}); pass a rectangular array of numbers "
            "(for a torch tensor: tensor.detach().cpu().numpy())"
        ) from error
    if array.dtype.kind in "SU" or (array.dtype.kind == "O" and any(isinstance(x, str | bytes) for x in array.flat)):
        raise TypeError(
            f"{name} has dtype {array.dtype} and holds text: real numbers are needed; convert it first, for example "
            f"np.asarray({name}, dtype=float)"
        )
    if array.dtype.kind == "O" and all(isinstance(entry, numbers.Real) for entry in array.flat):
        try:
            array = array.astype(np.float64)
        except OverflowError as error:
            raise ValueError(
                f"{name} holds an integer beyond the range of float64 ({error}): smaller numbers are needed"
            ) from None
    return array


def require_moderate(array, name):
    """Refuse what is so large or so small, but for zeros, that products of it leave the range of float64."""
    largest = float(np.abs(array).max(initial=0.0))
    if largest and not SMALLEST <= largest <= LARGEST:
        raise ValueError(
            f"{name} has entries up to {largest:.1e} in size: between {SMALLEST:.0e} and {LARGEST:.0e} is needed, "
            "or products of them leave the range of float64; use other units"
        )


def columns_of(X):
    """The names of the columns of a table, a tuple of strings, or ``None`` where they have none."""
    names = tuple(getattr(X, "columns", ()))
    return names if names and all(isinstance(name, str) for name in names) else None


def as_points(X, name="X", dimension=None, columns=None):
    """Points as a float64 array of shape (N, d), N >= 1 and d >= 1.

    ``dimension`` is the d that other points already have, if any, and ``columns`` the names of their columns
    (:func:`columns_of`).
    """
    array = as_float64(X, name)
    if array.ndim != 2:
        hint = (
            f"; for a single point use {name}[None, :], for points on a line {name}[:, None]" if array.ndim == 1 else ""
        )
        raise ValueError(f"{name} has shape {array.shape}: a matrix of shape (N, d) is needed{hint}")
    if 0 in array.shape:
        raise ValueError(
            f"{name} is empty (shape {array.shape}): at least one point and one input dimension are needed"
        )
    if dimension is not None and array.shape[1] != dimension:
        raise ValueError(
            f"{name} has {array.shape[1]} input dimensions but the other points have {dimension}: "
            "give both the same columns"
        )
    own = columns_of(X)
    if own is not None and columns is not None and own != columns:
        a = next(a for a, pair in enumerate(zip(own, columns, strict=True)) if pair[0] != pair[1])
        raise ValueError(
            f"column {a} of {name} is {own[a]!r}, but that of the other points is {columns[a]!r}: give both the same "
            f"columns in the same order, for example {name}[list(X.columns)]"
        )
    require_moderate(array, name)
    return array


def as_array(value, name, shape, *, missing=False):
    """``value`` as a float64 array of exactly ``shape``; NaN, for what was not observed, passes with ``missing``."""
    array = as_float64(value, name, missing=missing)
    if array.shape != tuple(shape):
        raise ValueError(f"{name} has shape {array.shape}, but shape {tuple(shape)} is needed")
    return array


def jacobian_weights(lam, N, d):
    """lambda >= 0 of every derivative, (N, d), from a number, (N,) by point, (1, d) by column, or (N, d)."""
    if np.ndim(lam) == 0:
        return np.full((N, d), non_negative_number(lam, "lam"))
    lam = as_float64(lam, "lam")
    if lam.shape not in ((N,), (1, d), (N, d)):
        raise ValueError(
            f"lam has shape {lam.shape}, but a number, shape {(N,)} (one per point), {(1, d)} (one per column) or "
            f"{(N, d)} (one per derivative) is needed"
        )
    if (lam < 0).any():
        where = np.unravel_index(lam.argmin(), lam.shape)
        where = int(where[0]) if lam.ndim == 1 else tuple(map(int, where))
        raise ValueError(f"lam must not be negative, got {lam.min()} at index {where}")
    return np.broadcast_to(lam[:, None] if lam.ndim == 1 else lam, (N, d)).copy()


def row_weights(lam, targets):
    """The weights of the targets (N, 1+d, K): 1 for values, lambda for derivatives, 0 where they are NaN; (N, 1+d)."""
    weights = np.insert(jacobian_weights(lam, len(targets), targets.shape[1] - 1), 0, 1.0, axis=1)
    missing = np.isnan(targets)
    if (differing := missing.any(axis=2) & ~missing.all(axis=2)).any():
        i, a = np.argwhere(differing)[0]
        raise ValueError(
            f"point {i}: {f'the derivative by input {a - 1}' if a else 'the value'} is NaN (not observed) for some "
            "outputs and not for others; fit one model per output"
        )
    missing = missing[:, :, 0]
    if (nothing := missing.all(axis=1)).any():
        raise ValueError(
            f"point {int(nothing.argmax())} has neither a value nor a derivative (all are NaN): leave it out, or give "
            "what was observed there"
        )
    weights[missing] = 0.0
    if not weights.any():
        raise ValueError(
            "no target has any weight: every value is NaN and lam is 0 for every derivative; give values, or a lam "
            "above 0"
        )
    return weights


def real_number(value, name, *, moderate=True):
    """A finite Python float (booleans and arrays are refused), zero or ``moderate`` in size."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a real number, got {value!r}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {number}")
    if moderate and number and not SMALLEST <= abs(number) <= LARGEST:
        raise ValueError(
            f"{name} must be between {SMALLEST:.0e} and {LARGEST:.0e} in size, or products of it leave the range of "
            f"float64; got {number}"
        )
    return number


def positive_number(value, name):
    """A finite float above zero."""
    number = real_number(value, name)
    if number <= 0:
        raise ValueError(f"{name} must be positive, got {number}")
    return number


def non_negative_number(value, name, *, moderate=True):
    """A finite float, zero or above."""
    number = real_number(value, name, moderate=moderate)
    if number < 0:
        raise ValueError(f"{name} must not be negative, got {number}")
    return number


def integer(value, name, at_least, bits=63):
    """A Python int that is at least ``at_least`` and fits ``bits`` bits (booleans and floats are refused)."""
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r} of type {type(value).__name__}") from None
    if number < at_least:
        raise ValueError(f"{name} must be at least {at_least}, got {number}")
    if number >> bits:
        raise ValueError(f"{name} must be below 2**{bits}, got an integer of {number.bit_length()} bits")
    return number
