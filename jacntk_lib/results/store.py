"""Results of long computations, each with a record of where it comes from. Imports NumPy only.

A result called ``name`` is two files: ``name.npz``, its arrays (no pickle), and ``name.json``, its record: the
configuration, the command, the commit and a hash of the library's source, package versions, seeds, hardware, wall time
and the SHA-256 of every array. :func:`load` believes neither file before they agree.

While a computation runs, :class:`Cells` keeps its finished parts, one file each.

>>> import tempfile
>>> result = make("toy", {"a": np.arange(3)}, config={"n": 3}, command="by hand", seeds=[0], wall_time=0.1)
>>> with tempfile.TemporaryDirectory() as where:
...     path = save(result, where)
...     stored(where), load("toy", where)["a"], load("toy", where).config
(['toy'], array([0, 1, 2]), {'n': 3})
"""

import contextlib
import datetime
import hashlib
import io
import json
import os
import shutil
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import CorruptResultError
from . import atomic, provenance
from .provenance import library_hash

__all__ = [
    "Cells",
    "Result",
    "benchmark",
    "config_hash",
    "folder",
    "library_hash",
    "load",
    "make",
    "plain",
    "save",
    "stored",
]

FOLDER_VARIABLE = "JACNTK_RESULTS_DIR"
FORMAT = "jacntk result"
SCHEMA = 1
_UNREADABLE = (OSError, ValueError, EOFError, KeyError, zlib.error, zipfile.BadZipFile, NotImplementedError)


@dataclass(frozen=True, eq=False)
class Result:
    """``result["errors"]`` is an array (read-only), ``result.record`` is everything known about its origin.

    Examples
    --------
    >>> result = make("toy", {"a": np.arange(3)}, config={"n": 3}, command="by hand", seeds=[0], wall_time=0.1)
    >>> isinstance(result, Result), result["a"], result.library_changed
    (True, array([0, 1, 2]), False)
    """

    name: str
    arrays: Mapping
    record: Mapping

    def __post_init__(self):
        for array in self.arrays.values():
            array.setflags(write=False)

    def __getitem__(self, key):
        if key not in self.arrays:
            raise KeyError(f"result {self.name!r} has no array {key!r}; it has {', '.join(self.arrays)}")
        return self.arrays[key]

    @property
    def config(self) -> Mapping:
        """The configuration it was computed with, as plain values."""
        return self.record["config"]

    @property
    def library_changed(self) -> bool:
        """Whether the installed library's source differs from the one that computed this."""
        return self.record["source"]["library_sha256"] != library_hash()

    def describe(self) -> str:
        """The origin in a few lines, for people."""
        source, hardware = self.record["source"], self.record["hardware"]
        dirty = {True: ", library edited since", False: "", None: ", edits unknown"}[source["dirty"]]
        library = "the installed one" if not self.library_changed else "another than the installed one"
        machine = ", ".join(
            filter(None, [hardware["gpu"], hardware["cpu"], f"{hardware['cores']} cores", _memory(hardware)])
        )
        missing = self.record["missing"]
        return "\n".join(
            [
                f"{self.name}: {self.record['command']}"
                + f" (incomplete: {len(missing)} parts missing)" * bool(missing),
                f"finished {self.record['finished']} after {self.record['wall_time_s']:.0f} s on {machine}",
                f"commit {(source['commit'] or 'unknown')[:12]}{dirty}",
                f"library {source['library_sha256'][:12]}, {library}",
                ", ".join(f"{name} {version}" for name, version in self.record["versions"].items()),
            ]
        )


def folder() -> Path:
    """Where results are: ``JACNTK_RESULTS_DIR`` if set, else ``book/results`` beside the installed source.

    Examples
    --------
    >>> before = os.environ.get("JACNTK_RESULTS_DIR")
    >>> os.environ["JACNTK_RESULTS_DIR"] = "elsewhere"
    >>> folder()
    PosixPath('elsewhere')
    >>> _ = os.environ.pop("JACNTK_RESULTS_DIR") if before is None else os.environ.update(JACNTK_RESULTS_DIR=before)
    """
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else provenance.PACKAGE.parent / "book" / "results"


def benchmark(name) -> dict:
    """A stored benchmark, ``benchmarks/results/NAME.json`` beside the installed source; "machine" says where it ran.

    Raises
    ------
    FileNotFoundError : there is none of that name (the ones that exist are listed).

    Examples
    --------
    >>> try:
    ...     benchmark("weather")
    ... except FileNotFoundError as error:
    ...     print(str(error).split(" (")[0])
    no benchmark 'weather' is stored
    """
    where = provenance.PACKAGE.parent / "benchmarks" / "results"
    path = where / f"{name}.json"
    if not path.is_file():
        known = ", ".join(sorted(other.stem for other in where.glob("*.json"))) or "none"
        raise FileNotFoundError(f"no benchmark {name!r} is stored (there are: {known}); run benchmarks/{name}.py")
    return json.loads(path.read_text())


def make(name, arrays, *, config, command, seeds, wall_time, gpu=None, missing=()) -> Result:
    """A result in memory, its record complete: source, versions and hardware are those of this process.

    Parameters
    ----------
    name : letters, digits, ``-``, ``_`` and ``.``.
    arrays : name -> array of numbers, booleans or text.
    config : mapping of plain values (what JSON can hold).
    command : what computes this again.
    seeds : the seeds used.
    wall_time : seconds.
    gpu : name of the GPU, if one computed this.
    missing : names of the parts that were not computed.

    Raises
    ------
    ValueError, TypeError : a bad name; arrays of a dtype that would need pickle; a config that JSON cannot hold.
    """
    _check_name(name)
    arrays = {str(key): _plain(key, value) for key, value in arrays.items()}
    record = {
        "format": FORMAT,
        "schema": SCHEMA,
        "name": name,
        "config": plain(config),
        "command": command,
        "seeds": [int(seed) for seed in seeds],
        "missing": [str(part) for part in missing],
        "wall_time_s": round(float(wall_time), 3),
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "source": provenance.source(),
        "versions": provenance.versions(),
        "hardware": provenance.hardware(gpu),
        "arrays": {key: _fingerprint(value) for key, value in arrays.items()},
    }
    record["record_sha256"] = _record_hash(record)
    return Result(name, arrays, record)


def save(result, where=None) -> Path:
    """Store a result as ``name.npz`` and ``name.json`` in ``where`` (default :func:`folder`); return that folder.

    Each file is written beside its place, flushed and renamed, so an interrupted save leaves the old file or the
    new one, never half of one. Savers and loaders of one folder wait for each other by a lock on the folder.

    Raises
    ------
    OSError : the disk is full or not writable.
    """
    where = Path(where) if where is not None else folder()
    text = json.dumps(result.record, indent=1, ensure_ascii=False) + "\n"
    with atomic.made(where), atomic.lock(where) as held:
        if held:
            atomic.sweep(where)
        atomic.write(where / f"{result.name}.npz", lambda file: np.savez_compressed(file, **result.arrays))
        atomic.write(where / f"{result.name}.json", lambda file: file.write(text.encode()))
    return where


def load(name, where=None) -> Result:
    """A stored result, after checking every array and the record against their hashes.

    A library that has changed since is no reason to refuse: see :attr:`Result.library_changed`.

    Raises
    ------
    FileNotFoundError : there is no such result in ``where`` (default :func:`folder`).
    CorruptResultError : a file is missing, truncated, edited, of another program or of a newer jacntk.
    OSError : a file or the folder cannot be read.
    """
    where = Path(where) if where is not None else folder()
    _check_name(name)
    paths = where / f"{name}.json", where / f"{name}.npz"
    if not any(path.exists() for path in paths):
        known = ", ".join(stored(where)) or "nothing"
        raise FileNotFoundError(
            f"no result {name!r} in {where} (there: {known}). `jacntk figure` computes results; "
            f"{FOLDER_VARIABLE} names another folder to look in"
        )
    with atomic.lock(where, shared=True):
        for path, other in (paths, paths[::-1]):
            if not path.exists():
                raise CorruptResultError(f"{path} is missing though {other.name} is there; {_CURE}")
        record = _read_record(paths[0], name)
        arrays = _read_arrays(paths[1])
    if set(arrays) != set(record["arrays"]):
        raise CorruptResultError(
            f"{paths[1]} holds the arrays {sorted(arrays)} but its record lists {sorted(record['arrays'])}; {_CURE}"
        )
    for key, expected in record["arrays"].items():
        if _fingerprint(arrays[key]) != expected:
            raise CorruptResultError(
                f"array {key!r} in {paths[1]} is not the one that {paths[0].name} describes: one of the two files was "
                f"edited, or they are from different runs; {_CURE}"
            )
    return Result(name, arrays, record)


def stored(where=None) -> list[str]:
    """Names of the results in a folder (default :func:`folder`), without checking them."""
    where = Path(where) if where is not None else folder()
    return sorted(path.stem for path in where.glob("*.json") if path.with_suffix(".npz").exists())


def plain(config):
    """A configuration as it comes back from a file: tuples as lists, keys as text.

    Examples
    --------
    >>> plain({"depths": (1, 3), "rows": None})
    {'depths': [1, 3], 'rows': None}
    """
    return json.loads(_canonical(config))


def config_hash(config) -> str:
    """SHA-256 of a configuration of plain values, whatever the order of its keys.

    Examples
    --------
    >>> config_hash({"depth": 3, "lam": 0.1}) == config_hash({"lam": 0.1, "depth": 3})
    True
    """
    return hashlib.sha256(_canonical(config).encode()).hexdigest()


class Cells:
    """The finished parts of a running computation: one file each, in a work folder of their own.

    The folder's name holds a hash of ``config``, the library's source and the kind of device: a rerun of the same
    computation finds its parts, and any other computation, or another version of the library, does not.
    Processes may share it: a part is there whole or not at all, and the first to store one wins.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as where:
    ...     cells = Cells(where, "toy", {"n": 3})
    ...     cells.load("first") is None
    ...     _ = cells.store("first", {"a": np.arange(3)}, seconds=0.5)
    ...     Cells(where, "toy", {"n": 3}).load("first")  # as another process would find it
    True
    ({'a': array([0, 1, 2])}, 0.5)
    """

    def __init__(self, where, name, config, device="cpu"):
        _check_name(name)
        key = config_hash({"config": config, "library": library_hash(), "device": device})
        self.path = Path(where) / ".cells" / f"{name}-{key[:16]}"

    def load(self, key):
        """``(arrays, seconds)`` of a finished part, or None.

        A file that is damaged, edited or of another computation counts as not there: a warning says why, and it is
        removed, so that the part is computed again. One that the system does not let us read is not ours to judge.

        Raises
        ------
        OSError : it cannot be read.
        """
        path = self._file(key)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            arrays = _read_npz(content)
            own, seal, seconds = str(arrays.pop("__cell__")), str(arrays.pop("__seal__")), arrays.pop("__seconds__")
            if own != self._own_name(key):
                raise ValueError(f"it is the cell {own} of another computation, renamed or copied")
            if seal != _seal(arrays, seconds):
                raise ValueError("it was edited: it does not match its own SHA-256")
            return arrays, float(seconds)
        except _UNREADABLE as error:
            warnings.warn(f"{path} is not used, and computed again ({type(error).__name__}: {error})", stacklevel=2)
            path.unlink(missing_ok=True)
            return None

    def store(self, key, arrays, seconds):
        """Keep a finished part and return what counts from now on: ours, or that of whoever was first."""
        _check_name(key)  # before there is a folder
        arrays = {str(name): _plain(name, value) for name, value in arrays.items()}
        seconds = float(seconds)

        def write():
            marks = {"__cell__": self._own_name(key), "__seal__": _seal(arrays, seconds), "__seconds__": seconds}
            contents = {name: np.array(mark) for name, mark in marks.items()} | arrays
            with atomic.made(self.path):
                atomic.write(self._file(key), lambda file: np.savez(file, **contents), replace=False)

        try:
            write()
        except FileNotFoundError:  # between the two lines another process finished and removed the folder
            write()
        return self.load(key) or (arrays, seconds)  # None: another process has finished and cleared

    def clear(self):
        """Remove the work folder once the result itself is stored."""
        shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):  # another computation's parts are beside it
            self.path.parent.rmdir()

    def _own_name(self, key):
        return f"{self.path.name}/{key}"

    def _file(self, key):
        _check_name(key)
        return self.path / f"{key}.npz"


_KEYS = {
    "name",
    "config",
    "command",
    "seeds",
    "wall_time_s",
    "finished",
    "source",
    "versions",
    "hardware",
    "arrays",
}
_CURE = "restore both files from the same run, or compute them again"


def _check_name(name):
    good = isinstance(name, str) and name and name[0] not in ".-"
    if not good or not all(c.isascii() and (c.isalnum() or c in "-_.") for c in name):
        raise ValueError(f"the name of a result needs letters, digits, '-', '_' and '.' alone, got {name!r}")


def _plain(key, value):
    array = np.asarray(value)
    if array.dtype.kind not in "biufcU":
        raise TypeError(
            f"array {key!r} has dtype {array.dtype}: only numbers, booleans and text are stored, never pickles; "
            "convert it first, for example with astype(float)"
        )
    little = array.dtype.newbyteorder("<")
    return np.array(array, dtype=little, order="C")  # a copy: the caller may go on with theirs


def _fingerprint(array):
    """dtype, shape and SHA-256 of the values, all independent of the machine."""
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(array.shape)
    return {
        "dtype": array.dtype.str,
        "shape": list(array.shape),
        "sha256": hashlib.sha256(array.tobytes()).hexdigest(),
    }


def _seal(arrays, seconds):
    """SHA-256 of all that a cell holds."""
    return config_hash({"arrays": {key: _fingerprint(a) for key, a in arrays.items()}, "seconds": float(seconds)})


def _canonical(config):
    try:
        return json.dumps(config, sort_keys=True, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"the configuration holds something that JSON cannot ({error}); use plain finite values"
        ) from error


def _record_hash(record):
    return config_hash({key: value for key, value in record.items() if key != "record_sha256"})


def _read_record(path, name):
    content = path.read_bytes()
    try:
        record = json.loads(content.decode())
    except ValueError as error:  # not JSON, not UTF-8
        raise CorruptResultError(f"{path} is truncated or not JSON ({error}); {_CURE}") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise CorruptResultError(f'{path} was not written by jacntk: it does not say "format": "{FORMAT}"; {_CURE}')
    if not isinstance(record.get("schema"), int) or record["schema"] > SCHEMA:
        raise CorruptResultError(
            f"{path} has schema {record.get('schema')!r}, this jacntk reads up to {SCHEMA}: install a newer jacntk"
        )
    if record.get("record_sha256") != _record_hash(record):
        raise CorruptResultError(f"{path} was edited: it does not match its own SHA-256; {_CURE}")
    if lacking := sorted(_KEYS - set(record)):
        raise CorruptResultError(f"{path} lacks {', '.join(lacking)}; {_CURE}")
    record.setdefault("missing", [])  # what results from before this key have
    if record["name"] != name:
        raise CorruptResultError(
            f"{path} is the record of {record['name']!r}: the file was renamed or copied over; {_CURE}"
        )
    return record


def _read_arrays(path):
    content = path.read_bytes()
    try:
        return _read_npz(content)
    except _UNREADABLE as error:
        raise CorruptResultError(
            f"{path} is truncated or damaged ({type(error).__name__}: {error}); {_CURE}"
        ) from error


def _read_npz(content):
    """The arrays in the bytes of a file: what fails here is the file's fault, and not the system's."""
    archive = np.load(io.BytesIO(content), allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise ValueError("a single array, not an archive")
    return {key: archive[key] for key in archive.files}


def _memory(hardware):
    return f"{hardware['memory_gb']:.0f} GB" if hardware["memory_gb"] else None
