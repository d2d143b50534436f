"""Runs the cells of an experiment, keeps what is finished, and puts the result together.

An *experiment* is one of the figure modules (see the package's introduction). The same loop serves the command line,
the chapters and the tests; with ``where=None`` it reads and writes nothing.
"""

import dataclasses
import math
import sys
import time

from .. import results
from ..errors import CorruptResultError


class Unfinished(RuntimeError):
    """The time limit came before the end; what is finished is kept, and the same call goes on from there."""


class UnknownCell(ValueError):
    """A key that the configuration does not have."""


def run(experiment, config, *, device="cpu", where=None, progress=False, time_limit=None, partial=False, fresh=False):
    """Compute every cell and return the :class:`~jacntk_lib.results.Result`.

    Parameters
    ----------
    experiment : a figure module.
    config : its ``Config``.
    device : "cpu" or what torch calls a GPU; a figure that is work for the processor takes that whatever is asked for.
    where : folder that gets ``figure-<n>-<preset>.npz`` and ``.json`` and, on the way, every finished cell. A rerun
        goes on from those, and returns a stored result of this configuration, library and kind of device at once.
    progress : show a progress bar on stderr, in shares of the expected work.
    time_limit : seconds; no cell is begun that is not expected to end in time.
    partial : at the time limit return, and store, a result of the finished cells; its record names the missing ones.
        The cells stay, so a later run completes it. Only where the figure allows it.
    fresh : compute again what is stored.

    Raises
    ------
    Unfinished : ``time_limit`` was reached, and no partial result was asked for or not one cell is finished.
    ValueError : a partial result was asked for, but the figure allows none.
    """
    device = device_of(experiment, device)
    cells = list(experiment.cells(config))
    if partial and not getattr(experiment, "PARTIAL", False):
        raise ValueError(f"figure {experiment.NUMBER} has no partial results: its parts make sense together only")
    keep = None
    if where is not None:
        keep = kept(experiment, config, device, where)
        if fresh:
            keep.clear()
        elif (result := stored(experiment, config, device, where)) is not None:
            return result
    clock = _Clock(time_limit)
    outcomes, seconds = _compute(experiment, config, cells, device, keep, progress, clock)
    missing = [cell.key for cell in cells if cell not in outcomes]
    if missing and not (partial and outcomes):
        raise Unfinished(
            f"stopped at the time limit of {time_limit:g} s with {len(outcomes)} of {len(cells)} cells finished; "
            "they are kept, and the same command goes on from there"
        )
    result = results.make(
        result_name(experiment, config),
        experiment.collect(config, outcomes),
        config=dataclasses.asdict(config),
        command=command(experiment, config, device),
        seeds=sorted({seed for cell in cells for seed in experiment.seeds(config, cell)}),
        wall_time=seconds,
        gpu=gpu_name(device),
        missing=missing,
    )
    if keep is not None:
        results.save(result, where)
        if not missing:
            keep.clear()  # only now: until both files are in place the cells are all there is
    return result


def compute(experiment, config, keys, *, device="cpu", where, progress=False):
    """Compute the cells of some keys and keep them in ``where``, for a later :func:`run`; return how many were new.

    What one job of a sweep does. Cells that are kept there already, or whose result is stored, are not repeated.

    Raises
    ------
    UnknownCell : a key that this configuration does not have; a ValueError.
    """
    device = device_of(experiment, device)
    known = {cell.key: cell for cell in experiment.cells(config)}
    for key in keys:
        if key not in known:
            raise UnknownCell(f"figure {experiment.NUMBER} in this configuration has no cell {key!r}")
    if stored(experiment, config, device, where) is not None:
        return 0
    keep = kept(experiment, config, device, where)
    cells = [known[key] for key in dict.fromkeys(keys) if keep.load(key) is None]
    _compute(experiment, config, cells, device, keep, progress, _Clock(None))
    return len(cells)


def listing(experiment, config, device, where):
    """What a scheduler has to know, as plain values; :func:`compute` takes the keys.

    Work is in operations of float64 products; a float32 one counts half. ``device`` is what the cells are computed on.
    """
    device = device_of(experiment, device)
    keep = kept(experiment, config, device, where)
    operations = {cell.key: experiment.operations(config, cell) for cell in experiment.cells(config)}
    return {
        "figure": experiment.NUMBER,
        "name": result_name(experiment, config),
        "library": results.library_hash(),
        "device": device,
        "stored": stored(experiment, config, device, where) is not None,
        "folder": str(keep.path),
        "cells": [
            {
                "key": key,
                "work": float(number) * (0.5 if dtype == "float32" else 1.0),
                "finished": keep.load(key) is not None,
            }
            for key, (number, dtype) in operations.items()
        ],
    }


# Names


def preset_name(experiment, config):
    """Which preset ``config`` is, or "custom"."""
    return next((name for name, preset in experiment.PRESETS.items() if preset == config), "custom")


def result_name(experiment, config):
    """``figure-<number>-<preset>``, what the files of its result are called."""
    return f"figure-{experiment.NUMBER}-{preset_name(experiment, config)}"


def command(experiment, config, device="cpu"):
    """What a reader types to compute this again: a command line, or Python where no preset fits."""
    label, name = experiment.NUMBER, preset_name(experiment, config)
    if name == "custom":
        figure = f"experiments.figure({label!r})" if isinstance(label, str) else f"figure{label}"
        return f"{figure}.run({figure}.{config!r}, device={device!r})"
    return f"jacntk figure {label} --preset {name}" + (f" --device {device}" if device != "cpu" else "")


def device_of(experiment, device):
    """``device``, or "cpu" in place of a GPU that the figure has no use for: one with ``USES_GPU = False``."""
    return device if getattr(experiment, "USES_GPU", True) or kind(device) != "cuda" else "cpu"


def kind(device):
    """ "cuda" of "cuda:1": results of one kind of device stand for each other, those of two kinds are kept apart."""
    return str(device).split(":")[0]


def gpu_name(device):
    """What the GPU calls itself; None for the processor."""
    if kind(device) != "cuda":
        return None
    import torch

    return torch.cuda.get_device_name(device)


# What is there already


def kept(experiment, config, device, where):
    """The finished cells of this computation."""
    return results.Cells(where, result_name(experiment, config), dataclasses.asdict(config), device=kind(device))


def stored(experiment, config, device, where):
    """The stored result if it is complete and of this very configuration, library and kind of device; else None."""
    try:
        result = results.load(result_name(experiment, config), where)
    except (FileNotFoundError, CorruptResultError):
        return None
    same_device = (result.record["hardware"]["gpu"] is not None) == (kind(device) == "cuda")
    same_config = result.config == results.plain(dataclasses.asdict(config))
    complete = not result.record["missing"]
    return result if complete and same_device and same_config and not result.library_changed else None


# Time


def expected_seconds(experiment, config, device="cpu", where=None):
    """A guess for the cells not kept in ``where``, from their operations and this machine's present speed."""
    device = device_of(experiment, device)
    cells = list(experiment.cells(config))
    if where is not None:
        keep = kept(experiment, config, device, where)
        cells = [cell for cell in cells if keep.load(cell.key) is None]
    operations = [experiment.operations(config, cell) for cell in cells]
    rate = {dtype: matrix_product_rate(device, dtype) for dtype in {dtype for _, dtype in operations}}
    # What else a figure does is in its number of operations; this is for every cell's compilation and files
    return sum(number / rate[dtype] + 0.05 for number, dtype in operations)


def matrix_product_rate(device="cpu", dtype="float64"):
    """Operations a second (2 n^3 a product) of this machine's matrix products, measured in a fraction of a second."""
    import torch

    n = 8192 if kind(device) == "cuda" else 1024
    a = torch.randn(n, n, dtype=getattr(torch, dtype), device=device)
    best = math.inf
    for _ in range(4):  # the first is a warm-up
        start = time.perf_counter()
        float((a @ a)[0, 0])  # reading a number waits for the device
        best = min(best, time.perf_counter() - start)
    return 2 * n**3 / best


# The loop


def _compute(experiment, config, cells, device, keep, progress, clock):
    """``{cell: arrays}`` of the cells that the clock leaves time for, and the seconds they took, in whichever runs."""
    work = {cell: experiment.operations(config, cell)[0] for cell in cells}
    outcomes, seconds, finished = {}, 0.0, 0
    with _bar(sum(work.values()), progress) as bar:

        def move(cell, share):
            bar.update(finished + share * work[cell] - bar.n)

        for cell in cells:
            found = keep.load(cell.key) if keep is not None else None
            if found is None:
                if not clock.leaves_time_for(work[cell]):
                    continue  # what is kept of the later cells counts all the same
                bar.set_postfix_str(cell.key, refresh=False)
                start = time.perf_counter()
                arrays = experiment.run_cell(config, cell, device, report=lambda share, cell=cell: move(cell, share))
                took = time.perf_counter() - start
                clock.learn(work[cell], took)
                found = keep.store(cell.key, arrays, took) if keep is not None else (arrays, took)
            outcomes[cell] = found[0]
            seconds += found[1]
            move(cell, 1)
            finished += work[cell]
    return outcomes, seconds


class _Clock:
    """Keeps a run inside its time limit, by the speed of the largest cell so far (small ones are mostly overhead)."""

    def __init__(self, limit):
        self.limit, self.begun = limit, time.monotonic()
        self.largest, self.seconds_per_work = 0, 0.0

    def leaves_time_for(self, work):
        expected_end = time.monotonic() - self.begun + work * self.seconds_per_work
        return self.limit is None or expected_end <= self.limit

    def learn(self, work, seconds):
        if work >= self.largest:
            self.largest, self.seconds_per_work = work, seconds / work


def _bar(total, progress):
    from tqdm import tqdm

    shown = "{percentage:3.0f} % |{bar:24}| {elapsed}, {remaining} left{postfix}"
    pause = 0.1 if sys.stderr.isatty() else 30  # a log file gets a line now and then, not thousands
    return tqdm(total=total, disable=not progress, file=sys.stderr, bar_format=shown, mininterval=pause)
