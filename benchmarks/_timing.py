"""Timing shared by the benchmarks: contenders take turns in one process, and results name the machine generically."""

import json
import os
import platform
import re
import sys
import time
from pathlib import Path

from jacntk_lib.results import provenance

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


ROWS = {name: name for name in ("what", "time", "baseline", "ratio")} | {"target": "asked for"}


def write(path, rows, device="cpu", **content):
    """Print the rows as a Markdown table and store them as json, with whatever else there is."""
    print(table(rows, ROWS))
    store(path, device, rows=rows, **content)


def end_with_missed(what):
    """End a script that has written everything and missed a target: exit status 3, which `make bench` only reports."""
    print(f"missed: {what}", file=sys.stderr)
    raise SystemExit(3)


def end_where_missed(rows):
    """The same if the ratio of a row is not what its target says: "at most 1.5", "<= 3", "at least 60 %"."""

    def number(words):
        found = re.search(r"\d+(\.\d+)?", words.replace("twice", "2"))
        return float(found[0]) if found else None

    def kept(ratio, target):
        bound = number(target)
        return bound is None or (number(ratio) >= bound if "at least" in target else number(ratio) <= bound)

    if missed := [f"{row['what']}: {row['ratio']}" for row in rows if not kept(row["ratio"], row["target"])]:
        end_with_missed("; ".join(missed))
