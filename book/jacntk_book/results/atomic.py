"""Files that are whole or not there at all. Standard library only."""

import contextlib
import os
import secrets
from pathlib import Path


def write(*files):
    """Write each ``(path, save)`` by ``save(file)`` to a temporary file in its folder, then rename all to their paths.

    Whoever reads a path meanwhile finds the old file or the new one, and of several files never old ones beside new
    ones: a file after the first is removed before the first is renamed. A symlink is replaced, and its target stays.
    A process killed on the way leaves at most hidden temporary files beside that.

    Raises
    ------
    OSError : the disk is full or not writable; it names the path.
    """
    temporaries = {}
    try:
        for path, save in files:
            path = Path(path)
            temporaries[path] = temporary = path.parent / f".{path.name}.{secrets.token_hex(6)}"
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "xb") as file:
                save(file)
                file.flush()
                os.fsync(file.fileno())
        for path in list(temporaries)[1:]:
            path.unlink(missing_ok=True)
        for path, temporary in temporaries.items():
            os.replace(temporary, path)
    except OSError as error:
        if error.filename is None:  # as in a write to a full disk
            error.filename = str(path)
        raise
    finally:
        for temporary in temporaries.values():
            with contextlib.suppress(OSError):  # it is in place by now
                temporary.unlink()
