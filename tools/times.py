"""Where the time of `make book` and `make test` went, for Chapter 11 and the landing page.

    make clean && make test 2>&1 | tee LOG; python tools/times.py LOG [NOTE]

Writes benchmarks/results/times.json: seconds of the pages by the execution cache of that build, of the stages and of
the slowest tests by LOG. NOTE is what to know about the run, such as that the machine was busy.
"""

import json
import re
import sys
from pathlib import Path

<<<<<<< HEAD
from jacntk_lib.results import provenance
=======
from jupyter_cache import get_cache

from jacntk_lib import _provenance
>>>>>>> 077bd2a (Replace the tools' tools by lines of the Makefile)

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "benchmarks" / "results" / "times.json"
TARGETS = {"make book": 360, "make test": 1500}  # seconds on two cores, the environment being there


def page_seconds():
    """``{page: seconds}`` of the last execution of every page, slowest first."""
    newest = max((ROOT / "_build").glob(".jupyter_cache-*"), key=lambda path: path.stat().st_mtime)
    records = sorted(get_cache(newest).list_cache_records(), key=lambda record: record.created)
    seconds = {Path(record.uri).stem: round(record.data["execution_seconds"], 1) for record in records}
    return dict(sorted(seconds.items(), key=lambda page: -page[1]))


<<<<<<< HEAD
def newest_cache(build):
    """The execution cache that was written last, or ``None``."""
    caches = [path.parent for path in build.glob(".jupyter_cache-*/global.db")]
    return max(caches, key=lambda path: (path / "global.db").stat().st_mtime) if caches else None


def stage_seconds(log):
    """``{stage: seconds}`` from the lines "== NAME: 12 s" that the Makefile writes."""
    return {name: int(seconds) for name, seconds in re.findall(r"^== (.+): (\d+) s$", log, re.MULTILINE)}


def slowest_tests(log):
    """``{test: seconds}`` from pytest's own list."""
    found = re.findall(r"^(\d+\.\d+)s (?:call|setup|teardown) +(\S.*?)\s*$", log, re.MULTILINE)
    return {name: float(seconds) for seconds, name in found}


def totals(stages, finished):
    """Seconds of the two commands that have a target; that of a log that breaks off before the end is not known."""
    known = {"make book": stages["book"]} if "book" in stages else {}
    return known | ({"make test": sum(stages.values())} if finished else {})


def machine(checkout):
    """Processor, memory, versions and the commit of the checkout that was built."""
    hardware = provenance.hardware()
    commit = subprocess.run(["git", "-C", checkout, "rev-parse", "HEAD"], capture_output=True, text=True)
    return {
        "processor": hardware["cpu"],
        "cores": hardware["cores"],
        "memory in GB": hardware["memory_gb"],
        "versions": provenance.versions(),
        "commit": commit.stdout.strip() or None,
=======
def main(log, note=""):
    text = Path(log).read_text(encoding="utf-8", errors="replace")
    if "All tests passed." not in text:
        sys.exit(f"{log} is not of a `make test` that passed")
    stages = {name: int(seconds) for name, seconds in re.findall(r"^== (.+): (\d+) s$", text, re.MULTILINE)}
    tests = re.findall(r"^(\d+\.\d+)s (?:call|setup|teardown) +(\S.*?)\s*$", text, re.MULTILINE)
    hardware = _provenance.hardware()
    content = {
        "machine": {
            "processor": hardware["cpu"],
            "cores": hardware["cores"],
            "memory in GB": hardware["memory_gb"],
            "versions": _provenance.versions(),
            "commit": _provenance.source()["commit"],
        },
        "note": note,
        "targets": TARGETS,
        "totals": {"make book": stages["book"], "make test": sum(stages.values())},
        "stages": stages,
        "pages": page_seconds(),
        "tests": {name: float(seconds) for seconds, name in tests},
>>>>>>> 077bd2a (Replace the tools' tools by lines of the Makefile)
    }
    OUT.write_text(json.dumps(content, indent=1) + "\n")
    print(f"{content['totals']}, written to {OUT}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(*sys.argv[1:])
