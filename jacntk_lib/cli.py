"""The command ``jacntk``: figures, data sets, and what is installed.

>>> main(["figure", "7"])  # no such figure: the reason goes to stderr, the exit code says "wrong usage"
2
"""

import argparse
import dataclasses
import importlib.metadata
import json
import os
import sys
import textwrap
from pathlib import Path

from . import _info as _report
from . import _provenance, datasets, experiments, results
from .errors import ConvergenceError, DataUnavailableError
from .experiments import _runner

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
EXIT_CODES = "exit codes: 0 done, 1 failed (the reason is on stderr), 2 wrong usage, 130 interrupted"


class _WrongUsage(Exception):
    """What was asked for does not exist; the message says what does."""


def main(arguments=None) -> int:
    """Run the command with ``arguments`` (default: those of the process); return the exit code.

    0 success, 1 failure (its reason on stderr), 2 wrong usage, 130 interrupted. A mistake of the user's never shows
    a traceback; a mistake of ours does.
    """
    parser = _parser()
    try:
        chosen = parser.parse_args(arguments)
    except SystemExit as stop:  # argparse has printed help or the mistake
        return stop.code
    if chosen.command is None:
        parser.print_help()
        return USAGE
    try:
        code = chosen.function(chosen)
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
    except (_runner.Unfinished, DataUnavailableError, ConvergenceError, OSError) as error:
        print(f"jacntk: {error}", file=sys.stderr)
        return FAILED


def _parser():
    parser = argparse.ArgumentParser(
        prog="jacntk",
        description="Infinite-width kernels of networks together with their input Jacobians: figures, data, versions.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_examples(
            "jacntk figure 2 --preset demo          the JNTK against its limit, in under a minute",
            "jacntk figure 3 --preset paper --device cuda --out results",
            "jacntk cells 3 --preset paper          its independent parts, for sweeps on many machines",
            "jacntk datasets                        what can be loaded, from where, under which licence",
            "jacntk info                            versions, hardware, and the data and results at hand",
        )
        + "\n\n"
        + EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"jacntk {_version()}")
    commands = parser.add_subparsers(dest="command", metavar="command")

    figure = commands.add_parser(
        "figure",
        help="compute one of the paper's figures and draw it",
        description="Compute one of the paper's figures: NAME.npz (arrays), NAME.json (their record) and NAME.png\n"
        "in the results folder, NAME being figure-<number>-<preset>. Finished parts are kept on the way:\n"
        "after an interrupt the same command goes on where it stopped, and a finished figure is not\n"
        "computed again.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_examples(
            "jacntk figure 2",
            "jacntk figure 2 --preset cpu --out results",
            "jacntk figure 3 --preset paper --device cuda --time-limit 540",
        ),
    )
    _add_choice(figure)
    figure.add_argument(
        "--time-limit", type=_seconds, metavar="SECONDS", help="begin no part that is not expected to end by then"
    )
    figure.add_argument(
        "--partial",
        action="store_true",
        help="at the time limit draw and store what is finished; a later run completes it (figure 3)",
    )
    figure.add_argument("--fresh", action="store_true", help="compute again what is stored already")
    figure.set_defaults(function=_figure)

    cells = commands.add_parser(
        "cells",
        help="list the parts of a figure, or compute some of them",
        description="List the cells of a figure, the independent parts of its computation, or compute some of them.\n"
        "They are kept in the results folder, and `jacntk figure` puts the figure together from what it\n"
        "finds there. So the cells can be spread over machines that share that folder; the workflow/ folder\n"
        "of the source does it with Snakemake.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_examples(
            "jacntk cells 3 --preset paper --out results",
            "jacntk cells 3 --preset paper --out results --compute erf-width64-seed0",
            "jacntk figure 3 --preset paper --out results",
        ),
    )
    _add_choice(cells)
    cells.add_argument("--compute", nargs="+", metavar="KEY", help="compute these and keep them")
    cells.add_argument("--json", action="store_true", help="the list for programs: keys, work, the folder of the cells")
    cells.add_argument(
        "--library",
        metavar="SHA256",
        help="compute nothing if the library is another one by now (its hash, see --json)",
    )
    cells.set_defaults(function=_cells)

    listing = commands.add_parser(
        "datasets",
        help="list the data sets",
        description="List the data sets, their sources and licences.",
        epilog=_examples("jacntk datasets"),
    )
    listing.set_defaults(function=_datasets)

    info = commands.add_parser(
        "info",
        help="versions, hardware, data, results",
        description="Show versions, hardware, threads and caches, which data sets are at hand and from where, and the\n"
        "stored results with their origin. Downloads and writes nothing.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_examples("jacntk info", "JACNTK_DATA_DIR=raw JACNTK_RESULTS_DIR=out jacntk info"),
    )
    info.set_defaults(function=_info)
    return parser


def _add_choice(command):
    """Which figure, at which size, where: the same for all that computes."""
    command.add_argument("number", type=int, choices=experiments.FIGURES, help="figure of the paper")
    size = command.add_mutually_exclusive_group()
    size.add_argument(
        "--preset",
        metavar="NAME",
        default="demo",
        help="demo: under a minute on two cores (default); cpu: up to half an hour; paper: the reported grid; for "
        "figures 1 and 2 also wide: widths to 65,536, on a GPU of 80 GB; for figure 3 also sonar and banknote on a "
        "GPU, sonar-cpu and banknote-cpu on two cores; for figure 6 also tables",
    )
    size.add_argument(
        "--config", type=Path, metavar="FILE", help="a grid of your own: JSON with fields of the figure's Config"
    )
    command.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder for the results (default: $JACNTK_RESULTS_DIR, else book/results)",
    )
    command.add_argument("--device", default="cpu", help="cpu (default), cuda or cuda:<number>")


def _examples(*lines):
    return "examples:\n" + "\n".join(f"  {line}" for line in lines)


def _seconds(text):
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"a positive number of seconds is needed, got {text}")
    return value


def _figure(chosen):
    _use_device(chosen.device)
    experiment, config, where = _choice(chosen)
    if chosen.partial and not getattr(experiment, "PARTIAL", False):
        raise _WrongUsage(f"figure {chosen.number} has no partial results")
    name = _runner.result_name(experiment, config)
    stored = None if chosen.fresh else _runner.stored(experiment, config, chosen.device, where)
    print(f"Figure {chosen.number}: {experiment.TITLE} ({_runner.preset_name(experiment, config)})")
    if stored is None:
        seconds = _runner.expected_seconds(experiment, config, chosen.device, None if chosen.fresh else where)
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
    if chosen.compute is not None:
        _use_device(chosen.device)
    experiment, config, where = _choice(chosen)
    if chosen.compute is None:
        found = _runner.listing(experiment, config, chosen.device, where)
        print(json.dumps(found, indent=1) if chosen.json else _described(found))
        return OK
    if chosen.library is not None and chosen.library != results.library_hash():
        print("jacntk: the library has changed since the sweep was planned; start the sweep again", file=sys.stderr)
        return FAILED
    try:
        new = _runner.compute(
            experiment, config, chosen.compute, device=chosen.device, where=where, progress=sys.stderr.isatty()
        )
    except ValueError as error:
        raise _WrongUsage(error) from error
    print(f"{new} computed, {len(chosen.compute) - new} there already")
    return OK


def _described(found):
    cells = found["cells"]
    finished = sum(cell["finished"] for cell in cells)
    state = "the result is stored" if found["stored"] else f"{finished} finished, in {found['folder']}"
    lines = [f"  {cell['key']}" + "  (finished)" * cell["finished"] for cell in cells]
    return "\n".join([f"{found['name']}: {len(cells)} cells, {state}", *lines])


def _choice(chosen):
    """The experiment, its configuration and the folder that the arguments name."""
    experiment = experiments.figure(chosen.number)
    where = chosen.out if chosen.out is not None else _results_folder()
    there = next(path for path in (where, *where.absolute().parents) if path.exists())
    if not there.is_dir():  # said now, and not after the first hour of computing
        raise _WrongUsage(f"results need a folder, but {there} is a file; give another with --out")
    if chosen.config is not None:
        return experiment, _own_config(experiment, chosen.config), where
    if chosen.preset not in experiment.PRESETS:
        known = ", ".join(experiment.PRESETS)
        raise _WrongUsage(f"figure {chosen.number} has no preset {chosen.preset}; it has {known}")
    return experiment, experiment.PRESETS[chosen.preset], where


def _own_config(experiment, path):
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _WrongUsage(f"{path} is not JSON ({error})") from error
    known = [field.name for field in dataclasses.fields(experiment.Config)]
    if not isinstance(fields, dict) or not set(fields) <= set(known):
        raise _WrongUsage(f"{path} must hold an object with some of the fields {', '.join(known)}")
    try:
        return experiment.Config(**{key: _tuples(value) for key, value in fields.items()})
    except (TypeError, ValueError) as error:
        raise _WrongUsage(f"{path}: {error}") from error


def _tuples(value):
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _use_device(device):
    """Refuse a device that is not there; leave the GPU's memory to torch."""
    if (problem := _device_problem(device)) is not None:
        raise _WrongUsage(problem)
    if _runner.kind(device) == "cuda":
        # else jax, which needs little here, takes three quarters of it
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def _draw(experiment, result, path):
    import matplotlib as mpl

    mpl.use("agg")  # a file is wanted, on machines without a screen too
    import matplotlib.pyplot as plt

    from . import plotting

    with mpl.rc_context():
        plotting.use_house_style()
        figure = experiment.plot(result)
        figure.savefig(path)
    plt.close(figure)


def _datasets(_):
    for name in datasets.NAMES:
        source = "with scikit-learn" if name in datasets.BUNDLED else "from UCI, or the folder in JACNTK_DATA_DIR"
        print(f"{name} ({source})")
        print(textwrap.indent(textwrap.fill(datasets.note(name), 96), "  "))
    return OK


def _info(_):
    print("\n".join(_report.report(_version(), _gpu())))
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
    machine = _provenance.hardware()
    return _runner.gpu_name(device) or f"{machine['cores']} cores of {machine['cpu']}"


def _version():
    try:
        return importlib.metadata.version("jacntk")
    except importlib.metadata.PackageNotFoundError:  # a source tree that is not installed
        from . import __version__

        return __version__


def _duration(seconds):
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
