"""The arguments of the command ``jacntk`` and their help."""

import argparse
from pathlib import Path

from .. import experiments

EXIT_CODES = "exit codes: 0 done, 1 failed (stderr says why), 2 wrong usage, 130 interrupted"


def parser(version):
    """The parser of the command line; ``version`` is what ``--version`` prints."""
    top = argparse.ArgumentParser(
        prog="jacntk",
        description="Infinite-width kernels of networks together with their input Jacobians:\nfigures, data, versions.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_examples(
            "jacntk figure 2 --preset demo    the JNTK against its limit, under a minute",
            "jacntk figure 3 --preset paper --device cuda --out results",
            "jacntk cells 3 --preset paper    its parts, for sweeps on many machines",
            "jacntk datasets                  what there is, from where, which licence",
            "jacntk info                      versions, hardware, results",
        )
        + "\n\n"
        + EXIT_CODES,
    )
    top.add_argument("--version", action="version", version=f"jacntk {version}")
    commands = top.add_subparsers(dest="command", metavar="command")
    _add_figure(commands)
    _add_cells(commands)

    commands.add_parser(
        "datasets",
        help="list the data sets",
        description="List the data sets, their sources and licences.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_examples("jacntk datasets"),
    )

    commands.add_parser(
        "info",
        help="versions, hardware, results",
        description="Show versions, hardware, threads and caches, and the stored results with their\n"
        "origin. Writes nothing.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_examples("jacntk info", "JACNTK_RESULTS_DIR=out jacntk info"),
    )
    return top


def _add_figure(commands):
    figure = commands.add_parser(
        "figure",
        help="compute one of the paper's figures and draw it",
        description="Compute one of the paper's figures: NAME.npz (arrays), NAME.json (their record)\n"
        "and NAME.png in the results folder, NAME being figure-<number>-<preset>.\n"
        "Finished parts are kept on the way: after an interrupt the same command goes on\n"
        "where it stopped, and a finished figure is not computed again.",
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
        help="at the time limit draw and store what is finished; a later run completes it",
    )
    figure.add_argument("--fresh", action="store_true", help="compute again what is stored already")


def _add_cells(commands):
    cells = commands.add_parser(
        "cells",
        help="list the parts of a figure, or compute some of them",
        description="List the cells of a figure, the independent parts of its computation, or compute\n"
        "some of them. They are kept in the results folder, and `jacntk figure` puts the\n"
        "figure together from what it finds there. So the cells can be spread over\n"
        "machines that share that folder; the workflow/ folder of the source does it\n"
        "with Snakemake.",
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


def _add_choice(command):
    """Which figure, at which size, where: the same for all that computes."""
    command.add_argument(
        "number",
        type=lambda text: int(text) if text.isdecimal() else text.upper() if text[:1] == "b" else text,
        choices=(*experiments.FIGURES, *experiments.APPENDIX, *experiments.OURS),
        metavar="FIGURE",
        help="1 to 6 or B7 to B13 of the paper, or controlled or stopping, of ours",
    )
    size = command.add_mutually_exclusive_group()
    size.add_argument(
        "--preset",
        metavar="NAME",
        default="demo",
        help="demo: under a minute on two cores (default); cpu: up to half an hour; paper: the paper's own settings. "
        "Some figures have more: a wrong name lists them",
    )
    size.add_argument(
        "--config", type=Path, metavar="FILE", help="a grid of your own: JSON with fields of the figure's Config"
    )
    command.add_argument(
        "--out",
        type=_folder,
        metavar="DIR",
        help="folder for the results (default: $JACNTK_RESULTS_DIR, else book/results)",
    )
    command.add_argument(
        "--device",
        default="cpu",
        help="cpu (default), cuda or cuda:<number>; figures 4 to 6 are work for the processor, whatever is asked for",
    )


def _examples(*lines):
    return "examples:\n" + "\n".join(f"  {line}" for line in lines)


def _folder(text):
    if not text:  # as of an unset variable in a script
        raise argparse.ArgumentTypeError("the name of a folder is needed, got ''; for the current one say .")
    return Path(text)


def _seconds(text):
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"a positive number of seconds is needed, got {text}")
    return value
