"""Timing shared by the benchmarks: contenders take turns in one process, and results name the machine generically."""

import json
import os
import platform
import sys
import time
from pathlib import Path

from jacntk_book.results import provenance

RESULTS = Path(__file__).parent / "results"


def fastest(contenders, rounds, synchronise=lambda: None):
    """Seconds of the fastest of ``rounds`` calls of each contender, a dictionary of functions without arguments.

    One call of each comes first and is not timed. Taking turns spreads whatever else the machine is doing over all of
    them, and the fastest call is the one it disturbed least.
    """
    return {name: clock for name, (clock, _) in clock_and_cores(contenders, rounds, synchronise).items()}


def clock_and_cores(contenders, rounds, synchronise=lambda: None):
    """As :func:`fastest`, but ``(seconds of the clock, seconds of all cores)`` of the fastest call by the clock.

    The second over the first is how many cores that call kept busy.
    """
    best = dict.fromkeys(contenders, (float("inf"), float("inf")))
    for name in contenders:
        contenders[name]()
    for _ in range(rounds):
        for name, run in contenders.items():
            synchronise()
            start = time.perf_counter(), time.process_time()
            run()
            synchronise()
            best[name] = min(best[name], (time.perf_counter() - start[0], time.process_time() - start[1]))
    return best


def threads(number=1):
    """Linear algebra in so many threads; with one, processor time means work rather than waiting."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(number)
    threadpool_limits(number)


def machine(device="cpu"):
    """Processor, cores, threads, packages and commit; nothing that names a particular computer."""
    import torch

    hardware, source = provenance.hardware(), provenance.source()
    described = {
        "processor": hardware["cpu"] or platform.machine(),
        "cores": hardware["cores"],
        "memory in GB": hardware["memory_gb"],
        "torch threads": torch.get_num_threads(),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "not set"),
        "versions": provenance.versions(),
        "commit": source["commit"],
        "dirty": source["dirty"],
    }
    if str(device).startswith("cuda"):
        described["accelerator"] = torch.cuda.get_device_name()
    return described


def table(rows, columns):
    """A Markdown table of dictionaries; ``columns`` maps the name of an entry to its heading."""
    lines = ["| " + " | ".join(columns.values()) + " |", "| " + " | ".join(["---"] * len(columns)) + " |"]
    lines += ["| " + " | ".join(str(row.get(name, "")) for name in columns) + " |" for row in rows]
    return "\n".join(lines)


def store(path, device="cpu", **content):
    """Write ``content`` with the machine it was measured on as json."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine(device), **content}, indent=1) + "\n")
    print(f"written to {path}")


ROWS = {"what": "what", "time": "time", "baseline": "baseline", "ratio": "ratio", "target": "asked for"}


def row(what, time, baseline, ratio=None, unit="", **bound):
    """A measurement to store: words for time and baseline, and their ratio as a number with the words that follow it.

    ``bound`` is ``at_most=`` or ``at_least=``, what was asked of the ratio.
    """
    return {"what": what, "time": time, "baseline": baseline, "ratio": ratio, "unit": unit, **bound}


def is_missed(row):
    """Whether the ratio is not what was asked of it."""
    return ("at_most" in row and row["ratio"] > row["at_most"]) or (
        "at_least" in row and row["ratio"] < row["at_least"]
    )


def in_words(row):
    """A stored row as the words of a table."""
    ratio = "" if row["ratio"] is None else f"{row['ratio']:.3g} {row['unit']}".strip()
    bounds = [f"{name.replace('_', ' ')} {row[name]:g}" for name in ("at_most", "at_least") if name in row]
    return {**row, "ratio": ratio, "target": "".join(bounds)}


def store_rows(path, rows, device="cpu", **content):
    """Print the rows as a table, store them with whatever else there is, and end the script if a target was missed."""
    print(table(map(in_words, rows), ROWS))
    store(path, device, rows=rows, **content)
    if missed := [row for row in rows if is_missed(row)]:
        end_with_missed("; ".join(f"{row['what']}: {in_words(row)['ratio']}" for row in missed))


def end_with_missed(what):
    """End a script that has written everything and missed a target: exit status 3, which `make bench` only reports."""
    print(f"missed: {what}", file=sys.stderr)
    raise SystemExit(3)
