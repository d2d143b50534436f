"""One file that holds a run half done: arrays and settings, no pickle, whole or not there at all. NumPy only."""

import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np

from ..errors import CorruptResultError
from ..results import atomic


def save(path, settings, arrays):
    """Write ``settings`` (anything json takes) and ``arrays`` to ``path``, replacing it in one move.

    The old file stays whole until the new one is on the disk, whatever happens in between.
    """
    text = np.array(json.dumps(settings, sort_keys=True))
    with atomic.made(Path(path).parent):
        atomic.write(path, lambda file: np.savez(file, settings=text, **arrays))


def load(path):
    """The settings and the arrays of :func:`save`.

    Raises
    ------
    CorruptResultError : the file is truncated, edited, or was written by something else.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}  # reading checks the archive's checksums
        return json.loads(str(arrays.pop("settings"))), arrays
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError, AttributeError, TypeError) as error:
        raise CorruptResultError(
            f"{path} is not a whole checkpoint ({error}): delete it to start again, or give another path"
        ) from error


def digest(*arrays):
    """A hash of shapes, dtypes and contents; None has one too."""
    total = hashlib.sha256()
    for array in arrays:
        array = np.ascontiguousarray(np.empty(0) if array is None else array)
        total.update(f"{array.dtype.str} {array.shape};".encode())
        total.update(array.data.cast("B") if array.size else b"")
    return total.hexdigest()
