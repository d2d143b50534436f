"""The finished parts of a computation that still runs."""

import contextlib
import shutil
import warnings
from pathlib import Path

import numpy as np

from . import atomic, encoding
from .provenance import library_hash

_SECONDS = "__seconds__"


class Cells:
    """The finished parts of a running computation: one file each, in a work folder of their own.

    The folder's name holds a hash of ``config``, the library's code and the kind of device: a rerun of the same
    computation finds its parts, and any other computation, or another version of the library, does not.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as where:
    ...     cells = Cells(where, "toy", {"n": 3})
    ...     cells.load("first") is None
    ...     cells.store("first", {"a": np.arange(3)}, seconds=0.5)
    ...     Cells(where, "toy", {"n": 3}).load("first")  # as another process would find it
    True
    ({'a': array([0, 1, 2])}, 0.5)
    """

    def __init__(self, where, name, config, device="cpu"):
        encoding.check_name(name)
        key = encoding.json_hash({"config": config, "library": library_hash(), "device": device})
        self.path = Path(where) / ".cells" / f"{name}-{key[:16]}"

    def load(self, key):
        """``(arrays, seconds)`` of a finished part, or None.

        A truncated or damaged file counts as not there, with a warning, so that the part is computed again.

        Raises
        ------
        OSError : the file is there, and the system does not let us read it.
        """
        path = self._file(key)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            arrays = encoding.read_arrays(content)
            return arrays, float(arrays.pop(_SECONDS))
        except encoding.READ_ERRORS as error:
            warnings.warn(f"{path} is not used, and computed again ({type(error).__name__}: {error})", stacklevel=2)
            return None

    def store(self, key, arrays, seconds):
        """Keep a finished part, which took so many seconds."""
        contents = encoding.plain_arrays(arrays) | {_SECONDS: np.array(float(seconds))}
        atomic.write((self._file(key), lambda file: np.savez(file, **contents)))

    def clear(self):
        """Remove the work folder once the result itself is stored."""
        shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):  # another computation's parts are beside it
            self.path.parent.rmdir()

    def _file(self, key):
        encoding.check_name(key)
        return self.path / f"{key}.npz"
