"""Results of long computations, each with a record of where it comes from. Imports NumPy only.

A result called ``name`` is two files: ``name.npz``, its arrays (no pickle), and ``name.json``, its record: the
configuration, the command, the commit and a hash of the library's code, package versions, seeds, hardware, wall time,
and the dtype and shape of every array. ``load`` refuses files that are damaged or that do not belong together.

While a computation runs, :class:`~jacntk_book.results.Cells` keeps its finished parts, one file each.

>>> import tempfile
>>> result = make("toy", {"a": np.arange(3)}, config={"n": 3}, command="by hand", seeds=[0], wall_time=0.1)
>>> with tempfile.TemporaryDirectory() as where:
...     path = save(result, where)
...     stored(where), load("toy", where)["a"], load("toy", where).config
(['toy'], array([0, 1, 2]), {'n': 3})
"""

import datetime
import json
import math
import os
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jacntk_lib.errors import CorruptResultError

from . import atomic, encoding, provenance
from .provenance import library_hash

FOLDER_VARIABLE = "JACNTK_RESULTS_DIR"
FORMAT = "jacntk result"
SCHEMA = 2
_CURE = "restore both files from the same run, or compute them again"
_NONE = type(None)
# What readers of a record count on. A list: each of its items; an object with the key ``str``: each of its values.
_FORM = {
    "name": str,
    "config": dict,
    "command": str,
    "seeds": [int],
    "missing": [str],
    "wall_time_s": float,
    "finished": str,
    "source": {"commit": str | _NONE, "dirty": bool | _NONE, "library_sha256": str},
    "versions": {str: str},
    "hardware": {"cpu": str, "cores": int | _NONE, "memory_gb": float | _NONE, "gpu": str | _NONE},
    "arrays": {str: {"dtype": str, "shape": [int]}},
}


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

    def __reduce__(self):  # copies are read-only, too
        return Result, (self.name, self.arrays, self.record)

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
        """Whether the installed library's code differs from the one that computed this."""
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
    return Path(named) if named else provenance.WING.parent / "results"


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
    where = provenance.LIBRARY.parent / "benchmarks" / "results"
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
    encoding.check_name(name)
    arrays = encoding.plain_arrays(arrays)
    record = {
        "format": FORMAT,
        "schema": SCHEMA,
        "name": name,
        "config": encoding.plain(config),
        "command": command,
        "seeds": [int(seed) for seed in seeds],
        "missing": [str(part) for part in missing],
        "wall_time_s": round(float(wall_time), 3),
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "source": provenance.source(),
        "versions": provenance.versions(),
        "hardware": provenance.hardware(gpu),
        "arrays": {key: encoding.form(value) for key, value in arrays.items()},
    }
    return Result(name, arrays, record)


def save(result, where=None) -> Path:
    """Store a result as ``name.npz`` and ``name.json`` in ``where`` (default :func:`folder`); return that folder.

    Both files are written beside their places, flushed and renamed: an interrupted save leaves the old result, the
    new one, or arrays without a record, which :func:`load` refuses.

    Raises
    ------
    OSError : the disk is full or not writable.
    """
    where = Path(where) if where is not None else folder()
    text = json.dumps(result.record, indent=1, ensure_ascii=False) + "\n"
    atomic.write(
        (where / f"{result.name}.npz", lambda file: np.savez_compressed(file, **result.arrays)),
        (where / f"{result.name}.json", lambda file: file.write(text.encode())),
    )
    return where


def load(name, where=None) -> Result:
    """A stored result, after checking the form of its record and that its arrays are those that the record lists.

    A library that has changed since is no reason to refuse: see :attr:`Result.library_changed`.

    Raises
    ------
    FileNotFoundError : there is no such result in ``where`` (default :func:`folder`).
    CorruptResultError : a file is missing, truncated or malformed, or of another program or version.
    OSError : a file or the folder cannot be read.
    """
    encoding.check_name(name)
    where = Path(where) if where is not None else folder()
    record_path, arrays_path = where / f"{name}.json", where / f"{name}.npz"
    there = [path for path in (record_path, arrays_path) if path.exists()]
    if not there:
        known = ", ".join(stored(where)) or "nothing"
        raise FileNotFoundError(
            f"no result {name!r} in {where} (there: {known}). `jacntk figure` computes results; "
            f"{FOLDER_VARIABLE} names another folder to look in"
        )
    for path in (record_path, arrays_path):
        if path not in there:
            raise CorruptResultError(f"{path} is missing though {there[0].name} is there; {_CURE}")
    record, arrays = _read_record(record_path, name), _read_arrays(arrays_path)
    if {key: encoding.form(array) for key, array in arrays.items()} != record["arrays"]:
        raise CorruptResultError(
            f"the arrays in {arrays_path} are not those that {record_path.name} lists: they are from different runs; "
            f"{_CURE}"
        )
    return Result(name, arrays, record)


def stored(where=None) -> list[str]:
    """Names of the results in a folder (default :func:`folder`), without checking them."""
    where = Path(where) if where is not None else folder()
    return sorted(path.stem for path in where.glob("*.json") if path.with_suffix(".npz").exists())


def _read_record(path, name):
    content = path.read_bytes()
    try:
        record = json.loads(content.decode(), parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, nested without end
        raise CorruptResultError(f"{path} is truncated or not JSON ({error}); {_CURE}") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise CorruptResultError(f'{path} was not written by jacntk: it does not say "format": "{FORMAT}"; {_CURE}')
    if record.get("schema") != SCHEMA:
        raise CorruptResultError(
            f"{path} has schema {record.get('schema')!r}, this jacntk reads {SCHEMA}: compute it again, or install "
            "the jacntk that wrote it"
        )
    if fault := _fault(record, _FORM):
        raise CorruptResultError(f"{path} is malformed: {fault}; {_CURE}")
    if record["name"] != name:
        raise CorruptResultError(
            f"{path} is the record of {record['name']!r}: the file was renamed or copied over; {_CURE}"
        )
    return record


def _finite(text):
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text} is no finite number")
    return value


def _fault(value, form, where="the record"):
    """What is missing from ``value`` or of another type than in ``form``, in words; None if nothing is."""
    if isinstance(form, list) and isinstance(value, list):
        parts = [(item, form[0], where) for item in value]
    elif isinstance(form, dict) and isinstance(value, dict):
        names = value if str in form else form
        if missing := [name for name in names if name not in value]:
            return f"{where} has no {missing[0]!r}"
        parts = [(value[name], form.get(name, form.get(str)), f"{name!r} of {where}") for name in names]
        parts += [(name, str, f"a name in {where}") for name in value]
    else:
        # an unprintable text would command the terminal, or end the printing of all other results
        right = not isinstance(form, list | dict) and isinstance(value, form) and (str(value).isprintable())
        right = right and (form is not int or not isinstance(value, bool))
        return None if right else f"{where} is {reprlib.repr(value)}"
    return next(filter(None, (_fault(*part) for part in parts)), None)


def _read_arrays(path):
    content = path.read_bytes()
    try:
        return encoding.read_arrays(content)
    except encoding.READ_ERRORS as error:
        raise CorruptResultError(
            f"{path} is truncated or damaged ({type(error).__name__}: {error}); {_CURE}"
        ) from error


def _memory(hardware):
    return f"{hardware['memory_gb']:.0f} GB" if hardware["memory_gb"] else None
