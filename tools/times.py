"""Where the time of `make book` and `make test` went, for Chapter 11 and the landing page.

    make clean && make test 2>&1 | tee LOG; python tools/times.py LOG [NOTE]

Writes benchmarks/results/times.json: seconds of the pages by the execution cache of that build, of the stages and of
the slowest tests by LOG. NOTE is what to know about the run, such as that the machine was busy.
"""

import json
import re
import sys
from pathlib import Path

from jupyter_cache import get_cache

from jacntk_lib.results import provenance

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "benchmarks" / "results" / "times.json"
TARGETS = {"make book": 360, "make test": 1500}  # seconds on two cores, the environment being there


def page_seconds():
    """``{page: seconds}`` of the last execution of every page, slowest first."""
    newest = max((ROOT / "_build").glob(".jupyter_cache-*"), key=lambda path: path.stat().st_mtime)
    records = sorted(get_cache(newest).list_cache_records(), key=lambda record: record.created)
    seconds = {Path(record.uri).stem: round(record.data["execution_seconds"], 1) for record in records}
    return dict(sorted(seconds.items(), key=lambda page: -page[1]))


def main(log, note=""):
    text = Path(log).read_text(encoding="utf-8", errors="replace")
    if "All tests passed." not in text:
        sys.exit(f"{log} is not of a `make test` that passed")
    stages = {name: int(seconds) for name, seconds in re.findall(r"^== (.+): (\d+) s$", text, re.MULTILINE)}
    tests = re.findall(r"^(\d+\.\d+)s (?:call|setup|teardown) +(\S.*?)\s*$", text, re.MULTILINE)
    hardware = provenance.hardware()
    content = {
        "machine": {
            "processor": hardware["cpu"],
            "cores": hardware["cores"],
            "memory in GB": hardware["memory_gb"],
            "versions": provenance.versions(),
            "commit": provenance.source()["commit"],
        },
        "note": note,
        "targets": TARGETS,
        "totals": {"make book": stages["book"], "make test": sum(stages.values())},
        "stages": stages,
        "pages": page_seconds(),
        "tests": {name: float(seconds) for seconds, name in tests},
    }
    OUT.write_text(json.dumps(content, indent=1) + "\n")
    print(f"{content['totals']}, written to {OUT}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(*sys.argv[1:])
