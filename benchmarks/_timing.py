"""Timing shared by the benchmarks: contenders take turns in one process, and results name the machine generically."""

import json
import os
import platform
import time
from pathlib import Path


def fastest(contenders, rounds, synchronise=lambda: None):
    """Seconds of the fastest of ``rounds`` calls of each contender, a dictionary of functions without arguments.

    One call of each comes first and is not timed. Taking turns spreads whatever else the machine is doing over all of
    them, and the fastest call is the one it disturbed least.
    """
    best = dict.fromkeys(contenders, float("inf"))
    for name in contenders:
        contenders[name]()
    for _ in range(rounds):
        for name, run in contenders.items():
            synchronise()
            start = time.perf_counter()
            run()
            synchronise()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def machine(device="cpu"):
    """Processor model, cores and packages; nothing that names a particular computer."""
    import numpy
    import torch

    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    described = {
        "processor": model,
        "cores": os.cpu_count(),
        "torch threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
    }
    if str(device).startswith("cuda"):
        described["accelerator"] = torch.cuda.get_device_name()
    return described


def write(path, rows, device="cpu"):
    """Print the rows as a Markdown table and store them as json."""
    print("| what | time | baseline | ratio | asked for |\n| --- | --- | --- | --- | --- |")
    for row in rows:
        print("| " + " | ".join(str(row[name]) for name in ("what", "time", "baseline", "ratio", "target")) + " |")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine(device), "rows": rows}, indent=1) + "\n")
    print(f"written to {path}")
