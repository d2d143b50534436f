"""The command ``jacntk``: figures, data sets, and what is installed.

>>> main(["figure", "7"])  # no such figure: the reason goes to stderr, the exit code says "wrong usage"
2
"""

import contextlib
import dataclasses
import importlib.metadata
import json
import os
import re
import sys
import tempfile
import textwrap
from pathlib import Path

from jacntk_lib.errors import ConvergenceError, CorruptResultError, MissingPackageError, SingularGramError

from .. import datasets, experiments, results
from ..experiments.experiment import gpu_name
from ..results import atomic, provenance
from . import report
from .arguments import parser

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
# torch, for the processor and for a GPU, and jax have no MemoryError: they raise a RuntimeError that says so
_OUT_OF_MEMORY = re.compile("can't allocate memory|out of memory|resource_exhausted", re.IGNORECASE)


class _WrongUsage(Exception):
    """What was asked for does not exist; the message says what does."""


def main(arguments=None) -> int:
    """Run the command with ``arguments`` (default: those of the process); return the exit code.

    0 success, 1 failure (its reason on stderr), 2 wrong usage, 130 interrupted. A mistake of the user's never shows
    a traceback; a mistake of ours does.
    """
    options = parser(_version())
    try:
        chosen = options.parse_args(arguments)
    except SystemExit as stop:  # argparse has printed help or the mistake
        return stop.code
    if chosen.command is None:
        options.print_help()
        return USAGE
    try:
        code = _COMMANDS[chosen.command](chosen)
        sys.stdout.flush()
        return code
    except _WrongUsage as mistake:
        print(f"jacntk {chosen.command}: {mistake}", file=sys.stderr)
        return USAGE
    except BrokenPipeError:  # the reader went away, as in `jacntk datasets | head`: nothing is wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor when Python flushes at exit
        return OK
    except KeyboardInterrupt:
        print("\ninterrupted; finished parts are kept, and the same command goes on from there", file=sys.stderr)
        return INTERRUPTED
    except (
        OSError,
        experiments.Unfinished,
        ConvergenceError,
        CorruptResultError,
        MissingPackageError,
        SingularGramError,
    ) as error:
        print(f"jacntk: {error}", file=sys.stderr)
        if isinstance(error, OSError) and error.errno is not None and "out" in chosen:  # the system knows no way out
            print("finished parts are kept: repeat the command, or give another folder with --out", file=sys.stderr)
        return FAILED
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not _OUT_OF_MEMORY.search(str(error)):
            raise
        print(
            f"jacntk: out of memory ({str(error).strip() or type(error).__name__}): take a smaller preset or a grid of "
            "your own (--config), or a machine with more; finished parts are kept",
            file=sys.stderr,
        )
        return FAILED


def _figure(chosen):
    experiment, config, device, where = _choice(chosen, writes=True)
    from .. import plotting  # noqa: F401  (what draws the result is there: asked now, not after the computing)

    _use_device(device)
    name = experiment.result_name(config)
    print(f"Figure {experiment.label}: {experiment.title} ({experiment.preset_name(config)})")
    with _wrong_usage_in(chosen.config):
        if not chosen.fresh and experiment.stored(config, device, where) is not None:
            print("computed already, with this library and on this kind of device: drawing it again (--fresh computes)")
        else:
            print(f"{len(experiment.cells(config))} cells on {_machine(device)}", flush=True)
        result = experiment.run(
            config,
            device=device,
            where=where,
            progress=True,
            time_limit=chosen.time_limit,
            partial=chosen.partial,
            fresh=chosen.fresh,
        )
    try:
        _draw(experiment, result, where / f"{name}.png")
        summary = experiment.summary(result)
    except ValueError as error:
        if chosen.config is None:
            raise
        raise _WrongUsage(f"{name} is stored in {where}, but its grid is too small for a picture: {error}") from error
    print(summary)
    print(f"computed in {_duration(result.record['wall_time_s'])}")
    if missing := result.record["missing"]:
        print(f"incomplete: {len(missing)} parts are missing; the same command goes on from here")
    print("\n".join(str(where / f"{name}.{ending}") for ending in ("npz", "json", "png")))
    return OK


def _cells(chosen):
    experiment, config, device, where = _choice(chosen, writes=chosen.compute is not None)
    if chosen.compute is None:
        with _wrong_usage_in(chosen.config):
            found = experiment.listing(config, device, where)
        print(json.dumps(found, indent=1) if chosen.json else _described(found))
        return OK
    _use_device(device)
    if chosen.library is not None and chosen.library != results.library_hash():
        print("jacntk: the library has changed since the sweep was planned; start the sweep again", file=sys.stderr)
        return FAILED
    try:
        with _wrong_usage_in(chosen.config):
            new = experiment.compute(config, chosen.compute, device=device, where=where, progress=sys.stderr.isatty())
    except experiments.UnknownCell as error:
        raise _WrongUsage(error) from error
    print(f"{new} computed, {len(chosen.compute) - new} there already")
    return OK


def _described(found):
    cells = found["cells"]
    finished = sum(cell["finished"] for cell in cells)
    state = "the result is stored" if found["stored"] else f"{finished} finished, in {found['folder']}"
    lines = [f"  {cell['key']}" + "  (finished)" * cell["finished"] for cell in cells]
    return "\n".join([f"{found['name']}: {len(cells)} cells, {state}", *lines])


def _choice(chosen, *, writes):
    """The experiment, its configuration, the device and the folder that the arguments name."""
    experiment = experiments.figure(chosen.number)
    where = chosen.out if chosen.out is not None else _results_folder()
    there = next(path for path in (where, *where.absolute().parents) if path.exists())
    if not there.is_dir():  # said now, and not after the first hour of computing
        raise _WrongUsage(f"results need a folder, but {there} is a file; give another with --out")
    if writes:
        _require_writable(where)
    device = experiment.device(chosen.device)
    if device != chosen.device:
        print(
            f"figure {chosen.number} is work for the processor: --device {chosen.device} changes nothing",
            file=sys.stderr,
        )
    if chosen.config is not None:
        return experiment, _own_config(experiment, chosen.config), device, where
    if chosen.preset not in experiment.presets:
        known = ", ".join(experiment.presets)
        raise _WrongUsage(f"figure {chosen.number} has no preset {chosen.preset}; it has {known}")
    return experiment, experiment.presets[chosen.preset], device, where


def _require_writable(where):
    """Refuse a folder in which no file can be made, and leave no trace: permissions alone do not tell, as in /proc."""
    made = [path for path in (where, *where.absolute().parents) if not path.exists()]
    try:
        where.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=where).close()
    except OSError as error:
        said = (
            f"{where} cannot be written ({error.strerror}); give another folder with --out, or change its permissions"
        )
        raise _WrongUsage(said) from error
    finally:
        for path in made:
            with contextlib.suppress(OSError):
                path.rmdir()


def _own_config(experiment, path):
    known = dataclasses.fields(experiment.Config)
    needed = f"an object with some of the fields {', '.join(field.name for field in known)}"
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _WrongUsage(f"{path} cannot be read ({error.strerror}); give a file of JSON, {needed}") from error
    except (ValueError, RecursionError) as error:
        raise _WrongUsage(f"{path} is not JSON ({error}); it must hold {needed}") from error
    if not isinstance(fields, dict) or not set(fields) <= {field.name for field in known}:
        raise _WrongUsage(f"{path} must hold {needed}")
    with _wrong_usage_in(path):
        return experiment.Config(**{key: _tuples(value) for key, value in fields.items()})


@contextlib.contextmanager
def _wrong_usage_in(path):
    """What the library refuses in the user's own grid, of this file, is wrong usage; in a preset it is our mistake."""
    try:
        yield
    except (CorruptResultError, SingularGramError, experiments.UnknownCell):  # ValueErrors, but no grid is wrong
        raise
    except (TypeError, ValueError, OverflowError) as error:
        if path is None:
            raise
        raise _WrongUsage(f"{path}: {error}".splitlines()[0]) from error  # torch adds where it was in C++


def _tuples(value):
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _use_device(device):
    """Refuse a device that is not there; leave the GPU's memory to torch."""
    if device == "cpu":
        return
    from jacntk_lib._optional import torch

    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise _WrongUsage(f"unknown device {device!r}; use cpu, cuda or cuda:<number>") from error
    if kind != "cuda":  # "cpu:99", too: torch takes it for the processor
        raise _WrongUsage(f"device {device!r} is not supported: use cpu, cuda or cuda:<number>")
    count = torch.cuda.device_count()
    if (torch.device(device).index or 0) >= count:
        raise _WrongUsage(f"device {device!r} is not there: torch sees {count} GPU(s). Use --device cpu")
    # else jax, which needs little here, takes three quarters of it
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def _draw(experiment, result, path):
    from jacntk_lib._optional import matplotlib as mpl

    mpl.use("agg")  # a file is wanted, on machines without a screen too
    import matplotlib.pyplot as plt

    from .. import plotting

    with mpl.rc_context():
        plotting.use_house_style()
        figure = experiment.plot(result)
        atomic.write((path, lambda file: figure.savefig(file, format="png")))
    plt.close(figure)


def _datasets(_):
    for name in datasets.NAMES:
        source = "with scikit-learn" if name in datasets.BUNDLED else "UCI's file, with this library"
        print(f"{name} ({source})")
        print(textwrap.indent(textwrap.fill(datasets.note(name), 77, break_long_words=False), "  "))
    return OK


def _info(_):
    print("\n".join(report.report(_version(), _gpu())))
    return OK


def _results_folder():
    """Where figures go by default: the book's folder in a source tree, else one in the current directory."""
    folder = results.folder()
    in_source_tree = folder.parent.is_dir() or results.FOLDER_VARIABLE in os.environ
    return folder if in_source_tree else Path("jacntk-results")


def _gpu():
    try:
        from jacntk_lib._optional import torch
    except MissingPackageError:
        return None

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _machine(device):
    machine = provenance.hardware()
    return gpu_name(device) or f"{machine['cores']} cores of {machine['cpu']}"


def _version():
    try:
        return importlib.metadata.version("jacntk")
    except importlib.metadata.PackageNotFoundError:  # a source tree that is not installed
        from jacntk_lib import __version__

        return __version__


def _duration(seconds):
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


_COMMANDS = {"figure": _figure, "cells": _cells, "datasets": _datasets, "info": _info}
