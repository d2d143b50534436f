"""What a figure is to the command, the chapters and the sweep: one frozen description, and all that is done with it."""

import dataclasses
import sys
import time
from collections.abc import Callable, Mapping

from jacntk_lib.errors import CorruptResultError

from .. import results


class Unfinished(RuntimeError):
    """The time limit came before the end; what is finished is kept, and the same call goes on from there."""


class UnknownCell(ValueError):
    """A key that the configuration does not have."""


@dataclasses.dataclass(frozen=True, eq=False)
class Experiment:
    """A figure: its choices, the independent cells of its computation, and what becomes of their arrays.

    Attributes
    ----------
    label : the number of the figure or, as "B7", its name.
    title : one line.
    Config : a frozen dataclass of plain values, all that can be chosen.
    presets : name -> ``Config``.
    cells : ``cells(config)`` lists the independent parts, hashable, each with a text ``key`` of its own.
    run_cell : ``run_cell(config, cell, device="cpu", report=None)`` computes one, without side effects, as
        {name: array}. It may call ``report`` with the share that is done.
    collect : ``collect(config, {cell: arrays})`` puts finished cells, all or some, together as {name: array}.
    seeds : ``seeds(config, cell)``, those that a cell uses.
    summary, plot : of a result: a few lines of text, a figure of Matplotlib.
    work : ``work(config, cell)`` is in proportion to the time that a cell takes, by and large; None where all take
        about the same.
    uses_gpu : False for what is work for the processor, whatever device is asked for.
    """

    label: int | str
    title: str
    Config: type
    presets: Mapping
    cells: Callable
    run_cell: Callable
    collect: Callable
    seeds: Callable
    summary: Callable
    plot: Callable
    work: Callable | None = None
    uses_gpu: bool = True

    def run(self, config, *, device="cpu", where=None, progress=False, time_limit=None, partial=False, fresh=False):
        """Compute every cell and return the :class:`~jacntk_book.results.Result`.

        Parameters
        ----------
        config : one of the experiment's ``Config``.
        device : "cpu" or what torch calls a GPU, where the experiment uses one.
        where : folder that gets ``figure-<label>-<preset>.npz`` and ``.json`` and, on the way, every finished cell. A
            rerun goes on from those, and returns a stored result of this configuration, library and kind of device at
            once. None reads and writes nothing.
        progress : show a progress bar on stderr.
        time_limit : seconds; no cell is begun that is not expected to end in time.
        partial : at the time limit return, and store, a result of the finished cells; its record names the missing
            ones. The cells stay, so a later run completes it.
        fresh : compute again what is stored.

        Raises
        ------
        Unfinished : ``time_limit`` was reached, and no partial result was asked for or not one cell is finished.
        """
        device, cells = self.device(device), list(self.cells(config))
        kept = None if where is None else self.kept(config, device, where)
        if kept is not None and fresh:
            kept.clear()
        elif kept is not None and (result := self.stored(config, device, where)) is not None:
            return result
        outcomes, seconds = self._compute(config, cells, device, kept, progress, time_limit)
        missing = [cell.key for cell in cells if cell not in outcomes]
        if missing and not (partial and outcomes):
            raise Unfinished(
                f"stopped at the time limit of {time_limit:g} s with {len(outcomes)} of {len(cells)} cells finished; "
                "they are kept, and the same command goes on from there"
            )
        result = results.make(
            self.result_name(config),
            self.collect(config, outcomes),
            config=dataclasses.asdict(config),
            command=self.command(config, device),
            seeds=sorted({seed for cell in cells for seed in self.seeds(config, cell)}),
            wall_time=seconds,
            gpu=gpu_name(device),
            missing=missing,
        )
        if kept is not None:
            results.save(result, where)
            if not missing:
                kept.clear()  # only now: until both files are in place the cells are all there is
        return result

    def compute(self, config, keys, *, device="cpu", where, progress=False):
        """Compute the cells of some keys and keep them in ``where``, for a later :meth:`run`; return how many were new.

        What one job of a sweep does. Cells that are kept there already, or whose result is stored, are not repeated.

        Raises
        ------
        UnknownCell : a key that this configuration does not have; a ValueError.
        """
        device = self.device(device)
        known = {cell.key: cell for cell in self.cells(config)}
        for key in keys:
            if key not in known:
                raise UnknownCell(f"figure {self.label} in this configuration has no cell {key!r}")
        if self.stored(config, device, where) is not None:
            return 0
        kept = self.kept(config, device, where)
        cells = [known[key] for key in dict.fromkeys(keys) if kept.load(key) is None]
        self._compute(config, cells, device, kept, progress)
        return len(cells)

    def listing(self, config, device, where):
        """What a scheduler has to know, as plain values; :meth:`compute` takes the keys."""
        device = self.device(device)
        kept = self.kept(config, device, where)
        return {
            "figure": self.label,
            "name": self.result_name(config),
            "library": results.library_hash(),
            "device": device,
            "stored": self.stored(config, device, where) is not None,
            "folder": str(kept.path),
            "cells": [
                {"key": cell.key, "work": self.weight(config, cell), "finished": kept.load(cell.key) is not None}
                for cell in self.cells(config)
            ],
        }

    def weight(self, config, cell):
        """The work of a cell, 1 where all take about the same."""
        return 1 if self.work is None else self.work(config, cell)

    def preset_name(self, config):
        """Which preset ``config`` is, or "custom"."""
        return next((name for name, preset in self.presets.items() if preset == config), "custom")

    def result_name(self, config):
        """``figure-<label>-<preset>``, what the files of its result are called."""
        return f"figure-{self.label}-{self.preset_name(config)}"

    def command(self, config, device="cpu"):
        """What a reader types to compute this again: a command line, or Python where no preset fits."""
        name = self.preset_name(config)
        if name == "custom":
            figure = f"experiments.figure({self.label!r})" if isinstance(self.label, str) else f"figure{self.label}"
            return f"{figure}.run({figure}.{config!r}, device={device!r})"
        return f"jacntk figure {self.label} --preset {name}" + (f" --device {device}" if device != "cpu" else "")

    def device(self, asked):
        """The device ``asked`` for, or "cpu" in place of a GPU that the experiment has no use for."""
        return asked if self.uses_gpu or device_kind(asked) != "cuda" else "cpu"

    def kept(self, config, device, where):
        """The finished cells in a folder, as :class:`~jacntk_book.results.Cells`."""
        kind = device_kind(device)
        return results.Cells(where, self.result_name(config), dataclasses.asdict(config), device=kind)

    def stored(self, config, device, where):
        """The stored result if it is complete and of this very configuration, library and kind of device; else None."""
        try:
            result = results.load(self.result_name(config), where)
        except (FileNotFoundError, CorruptResultError):
            return None
        same_device = (result.record["hardware"]["gpu"] is not None) == (device_kind(device) == "cuda")
        same_config = result.config == results.plain(dataclasses.asdict(config))
        complete = not result.record["missing"]
        return result if complete and same_device and same_config and not result.library_changed else None

    def _compute(self, config, cells, device, kept, progress, time_limit=None):
        """``{cell: arrays}`` of the cells that there is time for, and the seconds they took, in whichever runs."""
        work = {cell: self.weight(config, cell) for cell in cells}
        clock = _Clock(time_limit)
        outcomes, seconds, finished = {}, 0.0, 0
        with _bar(sum(work.values()), progress) as bar:

            def move(cell, share):
                bar.update(finished + share * work[cell] - bar.n)

            for cell in cells:
                found = kept.load(cell.key) if kept is not None else None
                if found is None:
                    if not clock.leaves_time_for(work[cell]):
                        continue  # what is kept of the later cells counts all the same
                    bar.set_postfix_str(cell.key, refresh=False)
                    start = time.perf_counter()
                    arrays = self.run_cell(config, cell, device, report=lambda share, cell=cell: move(cell, share))
                    found = arrays, time.perf_counter() - start
                    clock.learn(work[cell], found[1])
                    if kept is not None:
                        kept.store(cell.key, *found)
                outcomes[cell] = found[0]
                seconds += found[1]
                move(cell, 1)
                finished += work[cell]
        return outcomes, seconds


def device_kind(device):
    """ "cuda" of "cuda:1": results of one kind of device stand for each other, those of two kinds are kept apart."""
    return str(device).split(":")[0]


def gpu_name(device):
    """What the GPU calls itself; None for the processor."""
    if device_kind(device) != "cuda":
        return None
    from jacntk_lib._optional import torch

    return torch.cuda.get_device_name(device)


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
