"""The command ``jacntk``: figures, data sets, and what is installed.

>>> main(["figure", "7"])  # no such figure: the reason goes to stderr, the exit code says "wrong usage"
2
"""

import contextlib
import dataclasses
import importlib.metadata
import json
import os
import sys
import textwrap
from pathlib import Path

from .. import datasets, experiments, results
from ..errors import CorruptResultError, SingularGramError
from ..experiments import runner
from ..results import provenance
from . import arguments as _arguments
from . import failures, report

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


class _WrongUsage(Exception):
    """What was asked for does not exist; the message says what does."""


def main(arguments=None) -> int:
    """Run the command with ``arguments`` (default: those of the process); return the exit code.

    0 success, 1 failure (its reason on stderr), 2 wrong usage, 130 interrupted. A mistake of the user's never shows
    a traceback; a mistake of ours does.
    """
    parser = _arguments.parser(_version())
    try:
        chosen = parser.parse_args(arguments)
    except SystemExit as stop:  # argparse has printed help or the mistake
        return stop.code
    if chosen.command is None:
        parser.print_help()
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
    except Exception as error:
        said = failures.in_words(error, getattr(chosen, "where", None))
        if said is None:
            raise
        print(f"jacntk: {said}", file=sys.stderr)
        return FAILED


def _figure(chosen):
    experiment, config, where = _choice(chosen, writes=True)
    _use_device(chosen.device)
    if chosen.partial and not getattr(experiment, "PARTIAL", False):
        raise _WrongUsage(f"figure {chosen.number} has no partial results")
    name = runner.result_name(experiment, config)
    stored = None if chosen.fresh else runner.stored(experiment, config, chosen.device, where)
    print(f"Figure {chosen.number}: {experiment.TITLE} ({runner.preset_name(experiment, config)})")
    with _blamed_on(chosen.config):
        if stored is None:
            seconds = runner.expected_seconds(experiment, config, chosen.device, None if chosen.fresh else where)
            print(f"expected time: {_duration(seconds)} on {_machine(chosen.device)}", flush=True)
        else:
            print("computed already, with this library and on this kind of device: drawing it again (--fresh computes)")
        result = experiment.run(
            config,
            device=chosen.device,
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
    experiment, config, where = _choice(chosen, writes=chosen.compute is not None)
    if chosen.compute is None:
        with _blamed_on(chosen.config):
            found = runner.listing(experiment, config, chosen.device, where)
        print(json.dumps(found, indent=1) if chosen.json else _described(found))
        return OK
    _use_device(chosen.device)
    if chosen.library is not None and chosen.library != results.library_hash():
        print("jacntk: the library has changed since the sweep was planned; start the sweep again", file=sys.stderr)
        return FAILED
    try:
        with _blamed_on(chosen.config):
            new = runner.compute(
                experiment, config, chosen.compute, device=chosen.device, where=where, progress=sys.stderr.isatty()
            )
    except runner.UnknownCell as error:
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
    """The experiment, its configuration and the folder that the arguments name; ``chosen`` gets folder and device."""
    experiment = experiments.figure(chosen.number)
    chosen.where = where = chosen.out if chosen.out is not None else _results_folder()
    there = next(path for path in (where, *where.absolute().parents) if path.exists())
    if not there.is_dir():  # said now, and not after the first hour of computing
        raise _WrongUsage(f"results need a folder, but {there} is a file; give another with --out")
    if writes and not os.access(there, os.W_OK):
        raise _WrongUsage(f"{there} cannot be written; give another folder with --out, or change its permissions")
    asked, chosen.device = chosen.device, runner.device_of(experiment, chosen.device)
    if chosen.device != asked:
        print(f"figure {chosen.number} is work for the processor: --device {asked} changes nothing", file=sys.stderr)
    if chosen.config is not None:
        return experiment, _own_config(experiment, chosen.config), where
    if chosen.preset not in experiment.PRESETS:
        known = ", ".join(experiment.PRESETS)
        raise _WrongUsage(f"figure {chosen.number} has no preset {chosen.preset}; it has {known}")
    return experiment, experiment.PRESETS[chosen.preset], where


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
    with _blamed_on(path):
        return experiment.Config(**{key: _tuples(value) for key, value in fields.items()})


@contextlib.contextmanager
def _blamed_on(path):
    """What the library refuses in a grid of the user's own is the user's mistake; in a preset it is ours."""
    try:
        yield
    except (CorruptResultError, SingularGramError, runner.UnknownCell):  # ValueErrors, but nobody's grid is wrong
        raise
    except (TypeError, ValueError, OverflowError) as error:
        if path is None:
            raise
        raise _WrongUsage(f"{path}: {error}".splitlines()[0]) from error  # torch adds where it was in C++


def _tuples(value):
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _use_device(device):
    """Refuse a device that is not there; leave the GPU's memory to torch."""
    if (problem := _device_problem(device)) is not None:
        raise _WrongUsage(problem)
    if runner.kind(device) == "cuda":
        # else jax, which needs little here, takes three quarters of it
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def _draw(experiment, result, path):
    import matplotlib as mpl

    mpl.use("agg")  # a file is wanted, on machines without a screen too
    import matplotlib.pyplot as plt

    from ..book import plotting

    with mpl.rc_context():
        plotting.use_house_style()
        figure = experiment.plot(result)
        figure.savefig(path)
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


def _device_problem(device):
    import torch

    try:
        kind = torch.device(device).type
    except RuntimeError:
        return f"unknown device {device!r}; use cpu, cuda or cuda:<number>"
    if kind == "cuda":
        index = torch.device(device).index or 0
        if index >= torch.cuda.device_count():
            return f"device {device!r} is not there: torch sees {torch.cuda.device_count()} GPU(s). Use --device cpu"
    elif kind != "cpu":
        return f"device {device!r} is not supported: use cpu, cuda or cuda:<number>"
    return None


def _gpu():
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _machine(device):
    machine = provenance.hardware()
    return runner.gpu_name(device) or f"{machine['cores']} cores of {machine['cpu']}"


def _version():
    try:
        return importlib.metadata.version("jacntk")
    except importlib.metadata.PackageNotFoundError:  # a source tree that is not installed
        from .. import __version__

        return __version__


def _duration(seconds):
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


_COMMANDS = {"figure": _figure, "cells": _cells, "datasets": _datasets, "info": _info}
