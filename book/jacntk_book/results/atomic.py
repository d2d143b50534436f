"""Files that are whole or not there at all. Standard library only."""

import contextlib
import os
import secrets
from pathlib import Path


def write(path, save):
    """Make the folder of ``path``, call ``save(file)`` on a temporary file in it, flush that and rename it to ``path``.

    Whoever reads ``path`` meanwhile finds the old file or the new one. A process killed on the way leaves at most a
    hidden temporary file.

    Raises
    ------
    OSError : the disk is full or not writable; it names ``path``.
    """
    path = Path(path)
    temporary = path.parent / f".{path.name}.{secrets.token_hex(6)}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:
            save(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.filename is None:  # as in a write to a full disk
            error.filename = str(path)
        raise
    finally:
        with contextlib.suppress(OSError):  # it is in place by now
            temporary.unlink()
