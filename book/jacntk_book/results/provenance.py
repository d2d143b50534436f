"""Where a number comes from: which source, which packages, which machine. The standard library does."""

import ast
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


# What the arrays of a result can depend on: the library, the experiments, and what these compute with.
SOURCES = (LIBRARY, WING / "experiments", WING / "datasets", WING / "bootstrap.py")


def code_hash(text):
    """SHA-256 of a Python file's syntax tree without docstrings: comments, layout and line ends do not count either.

    The same for every version of Python that reads the file alike.

    Examples
    --------
    >>> code_hash("x = 1  # one") == code_hash("x=1") != code_hash("x = 2")
    True
    """
    return hashlib.sha256(repr(_plain(ast.parse(text))).encode()).hexdigest()


def _plain(node):
    """A syntax tree as nested tuples, without positions, statements that are text alone, and fields that are empty."""
    if isinstance(node, list):
        return tuple(_plain(one) for one in node if not _is_text(one))
    if not isinstance(node, ast.AST):
        return node
    fields = ((name, _plain(value)) for name, value in ast.iter_fields(node))
    return type(node).__name__, *((name, value) for name, value in fields if value not in (None, ()))


def _is_text(node):
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@functools.cache
def library_hash():
    """SHA-256 over the code of every file that results depend on, and its name, as it is when first asked.

    Those are the library, the experiments, the data sets and the bootstrap: an edit of the command or of a plot's style
    makes nothing be computed again, nor does an edit of a docstring or a comment.

    Examples
    --------
    >>> len(library_hash())
    64
    """
    digest = hashlib.sha256()
    for source in SOURCES:
        for path in sorted(source.rglob("*.py")) or [source]:
            digest.update(f"{path.relative_to(source.parent).as_posix()} {code_hash(path.read_bytes())}\n".encode())
    return digest.hexdigest()


@functools.cache
def source():
    """``{"commit", "dirty", "library_sha256"}``, as it is when first asked: the code that runs was read before then.

    Commit and dirty flag come from git; where there is no git or no repository, from the environment variables
    ``JACNTK_SOURCE_COMMIT`` and ``JACNTK_SOURCE_DIRTY`` (1 or 0); else both are None, for unknown. Dirty means that
    one of ``SOURCES`` differs from the commit; other files of the repository do not count.
    """
    # A virtual environment may lie inside somebody else's repository, whose commit says nothing about us
    tracked = _git("ls-files", "--error-unmatch", __file__) is not None
    commit = _git("rev-parse", "HEAD") if tracked else None
    if commit is not None:
        changes = _git("status", "--porcelain", "--", *map(str, SOURCES))
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
