"""How results and cells are encoded: names, canonical JSON, and arrays without pickle."""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np

READ_ERRORS = (OSError, ValueError, EOFError, KeyError, zlib.error, zipfile.BadZipFile, NotImplementedError)
"""What NumPy raises for bytes that are not a whole .npz file."""


def check_name(name):
    """Refuse what would not do as the name of a file on every system.

    Raises
    ------
    ValueError : something else than letters, digits, ``-``, ``_`` and ``.``, or one of the last three at the start.
    """
    good = isinstance(name, str) and name and name[0] not in ".-"
    if not good or not all(c.isascii() and (c.isalnum() or c in "-_.") for c in name):
        raise ValueError(f"the name of a result needs letters, digits, '-', '_' and '.' alone, got {name!r}")


def plain(config):
    """A configuration as it comes back from a file: tuples as lists, keys as text.

    Examples
    --------
    >>> plain({"depths": (1, 3), "rows": None})
    {'depths': [1, 3], 'rows': None}
    """
    return json.loads(_canonical(config))


def json_hash(value):
    """SHA-256 of plain values, whatever the order of their keys."""
    return hashlib.sha256(_canonical(value).encode()).hexdigest()


def _canonical(value):
    try:
        return json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"the configuration holds something that JSON cannot ({error}); use plain finite values"
        ) from error


def plain_arrays(arrays):
    """Little-endian copies in C order of a mapping's arrays, since the caller may go on with theirs.

    Raises
    ------
    TypeError : no mapping, or a dtype that would need pickle.
    """
    if not isinstance(arrays, Mapping):
        raise TypeError(f"arrays must be a mapping of names to arrays, got {arrays!r}")
    found = {}
    for name, value in arrays.items():
        array = np.asarray(value)
        if array.dtype.kind not in "biufcU":
            raise TypeError(
                f"array {name!r} has dtype {array.dtype}: only numbers, booleans and text are stored, never pickles; "
                "convert it first, for example with astype(float)"
            )
        found[str(name)] = np.array(array, dtype=array.dtype.newbyteorder("<"), order="C")
    return found


def form(array):
    """dtype and shape of one of :func:`plain_arrays`."""
    return {"dtype": array.dtype.str, "shape": list(array.shape)}


def read_arrays(content):
    """The arrays in the bytes of an .npz file.

    Raises
    ------
    One of ``READ_ERRORS`` : the bytes are truncated, damaged or of another format.
    """
    archive = np.load(io.BytesIO(content), allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise ValueError("a single array, not an archive")
    return {key: archive[key] for key in archive.files}
