"""Where a number comes from: which source, which packages, which machine. The standard library does."""

import functools
import hashlib
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import jacntk_lib

LIBRARY = Path(jacntk_lib.__file__).resolve().parent
WING = Path(__file__).resolve().parent.parent
PACKAGES = ("numpy", "scipy", "jax", "jaxlib", "torch", "scikit-learn", "diffrax", "matplotlib")


@functools.cache
def library_hash():
    """SHA-256 over every Python file of both packages (path and text, line ends as LF), as it is when first asked.

    Two checkouts of one commit agree whatever their line ends; any edit of the library, a comment too, changes it.

    Examples
    --------
    >>> len(library_hash())
    64
    """
    digest = hashlib.sha256()
    for package in (LIBRARY, WING):
        for path in sorted(package.rglob("*.py")):
            text = path.read_bytes().replace(b"\r\n", b"\n")
            digest.update(f"{path.relative_to(package.parent).as_posix()}\n{len(text)}\n".encode())
            digest.update(text)
    return digest.hexdigest()


@functools.cache
def source():
    """``{"commit", "dirty", "library_sha256"}``, as it is when first asked: the code that runs was read before then.

    Commit and dirty flag come from git; where there is no git or no repository, from the environment variables
    ``JACNTK_SOURCE_COMMIT`` and ``JACNTK_SOURCE_DIRTY`` (1 or 0); else both are None, for unknown. Dirty means that
    the library differs from the commit; other files of the repository do not count.
    """
    # A virtual environment may lie inside somebody else's repository, whose commit says nothing about us
    tracked = _git("ls-files", "--error-unmatch", __file__) is not None
    commit = _git("rev-parse", "HEAD") if tracked else None
    if commit is not None:
        changes = _git("status", "--porcelain", "--", str(LIBRARY), str(WING))
        dirty = None if changes is None else bool(changes)
    else:
        commit = os.environ.get("JACNTK_SOURCE_COMMIT") or None
        dirty = {"0": False, "1": True}.get(os.environ.get("JACNTK_SOURCE_DIRTY"))
    return {"commit": commit, "dirty": dirty, "library_sha256": library_hash()}


def versions():
    """Python's version and those of the packages that are installed; nothing is imported."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def hardware(gpu=None):
    """Processor, usable cores, memory in GB and the name of the GPU that was used, if one was."""
    return {"cpu": _cpu_model(), "cores": _cores(), "memory_gb": _memory_gb(), "gpu": gpu}


def _git(*arguments):
    # without optional locks: asking for the state of a repository must not get in the way of who is committing to it
    command = ["git", "--no-optional-locks", "-C", str(WING), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _cpu_model():
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Hardware")):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine() or "unknown"


def _cores():
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _memory_gb():
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, ValueError, OSError):
        return None  # Windows
