"""Execute chapters twice, with one thread and with two, and compare their text outputs.

    python tools/determinism.py [CHAPTER ...]   all chapters, or those whose name begins so

"One thread" is one core that the process may run on, so that no pool of any package has a second thread; "two" is as
many as there are, with two for OpenMP. Pictures are not compared, as in nbval.
"""

import argparse
import contextlib
import difflib
import os
import sys
import tempfile
from pathlib import Path

import jupytext
from nbclient import NotebookClient
from notebooks import ROOT, chapters

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextlib.contextmanager
def limited_to(threads):
    """What is started inside has so many threads, and for one thread one core."""
    before, cores = dict(os.environ), None
    os.environ.update(dict.fromkeys(THREADS, str(threads)), OMP_WAIT_POLICY="PASSIVE")
    if threads == 1 and hasattr(os, "sched_setaffinity"):  # Linux
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        if cores is not None:
            os.sched_setaffinity(0, cores)
        os.environ.clear()
        os.environ.update(before)


def text_outputs(source, threads):
    """Every line of text that the cells of a chapter put out, under the number of the cell."""
    notebook = jupytext.read(source)
    with tempfile.TemporaryDirectory() as folder, limited_to(threads):
        resources = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()
    lines = []
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            text = output.get("text") or output.get("data", {}).get("text/plain", "")
            lines += [f"cell {number}: {line}" for line in text.splitlines()]
    return lines


def differences(source):
    """Lines that the two executions do not share, marked - (one thread) and + (two)."""
    one, two = (text_outputs(source, threads) for threads in (1, 2))
    changes = difflib.unified_diff(one, two, n=0, lineterm="")
    return [line for line in changes if not line.startswith(("---", "+++", "@@"))], len(one)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapter", nargs="*", help="names of chapters, or how they begin; default all")
    parser.add_argument("--book", type=Path, default=ROOT / "book", help="the folder of the chapters")
    options = parser.parse_args(arguments)
    sources = {n: p for n, p in chapters(options.book).items() if n.startswith(tuple(options.chapter) or "")}
    if not sources:
        raise SystemExit(f"no chapter begins with {' or '.join(options.chapter)}")
    failed = 0
    for name, path in sources.items():
        found, count = differences(path)
        failed += bool(found)
        print(f"{name}: {f'{len(found)} lines differ' if found else f'{count} lines of text are equal'}", flush=True)
        for line in found:
            print(f"    {line}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
