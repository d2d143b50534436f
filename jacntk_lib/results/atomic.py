"""Files that are whole or not there at all, on a disk that several processes share. Standard library only."""

import contextlib
import os
import secrets
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: no locks between processes; each file is still whole or not there
    fcntl = None

_MARK = ".jacntk-part"


def write(path, save, *, replace=True):
    """Call ``save(file)`` on a temporary file in the folder of ``path``, flush it to disk, and put it in place.

    With ``replace=False`` a file that is already there wins, and the new one is dropped. Returns whether ours is in
    place. A process killed on the way leaves at most a temporary file, which :func:`sweep` removes.
    """
    path = Path(path)
    temporary = path.parent / f".{path.name}.{secrets.token_hex(6)}{_MARK}"
    try:
        with open(temporary, "xb") as file:
            save(file)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(temporary, path)
            return True
        return _put_if_absent(temporary, path)
    finally:
        with contextlib.suppress(OSError):  # it is in place by now, or else left to a sweep
            temporary.unlink()


def _put_if_absent(temporary, path):
    try:
        os.link(temporary, path)  # unlike a rename it fails where a file is: the first writer wins
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links: the last writer wins, which is whole as well
        os.replace(temporary, path)
    return True


@contextlib.contextmanager
def made(folder):
    """Make ``folder`` and those that it lies in; after a failure inside, those of them that are empty go again."""
    folder = Path(folder)
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for path in new:
            with contextlib.suppress(OSError):  # it is not empty, or not there
                path.rmdir()
        raise


@contextlib.contextmanager
def lock(folder, *, shared=False):
    """Hold ``folder`` against other processes that lock it; the system releases it if this process dies.

    Yields whether a lock is held: some systems and network disks have none.
    """
    if fcntl is None:
        yield False
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
            held = True
        except OSError:
            held = False
        yield held
    finally:
        os.close(handle)


def sweep(folder):
    """Remove temporary files of writers that died. Only for a caller that keeps all live writers out of ``folder``."""
    for path in Path(folder).glob(f".*{_MARK}"):
        path.unlink(missing_ok=True)
