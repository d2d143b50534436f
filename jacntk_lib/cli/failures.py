"""What the command ``jacntk`` says when a disk, the memory, the data or the mathematics fail: what, and a way out."""

import errno
import re
from pathlib import Path

from ..errors import ConvergenceError, CorruptResultError, SingularGramError
from ..experiments import runner

_SAY_IT_THEMSELVES = (
    runner.Unfinished,
    ConvergenceError,
    CorruptResultError,
    SingularGramError,
)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_REPEAT = "then repeat the command, finished parts are kept; or give another folder with --out"
# torch, for the processor and for a GPU, and jax have no MemoryError: they raise a RuntimeError that says so
_NO_MEMORY = re.compile("can't allocate memory|out of memory|resource_exhausted", re.IGNORECASE)


def in_words(error, where=None):
    """The line for an error, or None for a mistake of the library's, which has to show its traceback.

    ``where`` is the folder for results, of a command that has one.
    """
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error))):
        return (
            f"out of memory ({str(error).strip() or type(error).__name__}): take a smaller preset or a grid of your "
            "own (--config), or a machine with more; finished parts are kept"
        )
    if isinstance(error, OSError):
        return _of_the_system(error, where)
    return str(error) if isinstance(error, _SAY_IT_THEMSELVES) else None


def _of_the_system(error, where):
    if where is None or error.errno is None or not _concerns(error.filename, where):
        return str(error)
    if error.errno in _NO_ROOM:
        return f"no room left in {where} ({error.strerror}): free some, {_REPEAT}"
    if error.errno in _FORBIDDEN:
        return f"{where} cannot be read or written ({error.strerror}): change its permissions, {_REPEAT}"
    return f"{where} failed ({error.strerror}): see to the disk, {_REPEAT}"


def _concerns(path, where):
    """Whether a file is in the folder, or one of those that the folder lies in; a write that fails names no file."""
    if path is None:
        return True
    path, where = Path(path).absolute(), Path(where).absolute()
    return path == where or where in path.parents or path in where.parents
