"""Where the time of `make book` and `make test` went: pages, stages and slowest tests.

    python tools/times.py                                      pages, by the execution cache of the last build
    make test 2>&1 | tee LOG; python tools/times.py --log LOG --out benchmarks/results/times.json

Pages are seconds of the last execution of each, from the newest execution cache in the build folder; stages and tests
are what `make test` said. Give it the log of a run in which every page was executed (`make clean` first), or the stage
"book" says only how long it takes to find that none has changed.
"""

import argparse
import json
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from jacntk_lib.results import provenance

ROOT = Path(__file__).resolve().parent.parent
TARGETS = {"make book": 360, "make test": 1500}  # seconds on two cores, the environment being there
PASSED = "All tests passed."


def page_seconds(cache):
    """``{page: seconds}`` of the last execution of every page in a cache, slowest first."""
    with closing(sqlite3.connect(f"file:{cache / 'global.db'}?mode=ro", uri=True)) as database:
        rows = database.execute("select uri, data from nbcache order by created").fetchall()
    seconds = {Path(uri).stem: json.loads(data)["execution_seconds"] for uri, data in rows}
    return dict(sorted(seconds.items(), key=lambda one: -one[1]))


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
    }


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "_build", help="of the checkout in which it was made")
    parser.add_argument("--log", type=Path, help="what `make test` printed")
    parser.add_argument("--note", default="", help="what to know about that run, for example a busy machine")
    parser.add_argument("--out", type=Path, help="write it as json, for benchmarks/report.py")
    chosen = parser.parse_args(arguments)
    cache = newest_cache(chosen.build)
    if cache is None:
        sys.exit(f"no page has been executed in {chosen.build} yet: make book")
    pages = page_seconds(cache)
    log = chosen.log.read_text(encoding="utf-8", errors="replace") if chosen.log else ""
    stages = stage_seconds(log)
    together = totals(stages, PASSED in log)
    for kind, seconds in (("page", pages), ("stage", stages), ("test", slowest_tests(log))):
        for name, each in seconds.items():
            print(f"{each:6.1f} s  {kind} {name}")
    print(f"{sum(pages.values()):6.1f} s  all pages")
    for what, seconds in together.items():
        print(f"{seconds:6.1f} s  {what}, at most {TARGETS[what]} s asked for")
    if chosen.out:
        content = {
            "machine": machine(chosen.build.resolve().parent),
            "note": chosen.note,
            "finished": PASSED in log,
            "targets": TARGETS,
            "totals": together,
            "stages": stages,
            "pages": {name: round(seconds, 1) for name, seconds in pages.items()},
            "tests": slowest_tests(log),
        }
        chosen.out.write_text(json.dumps(content, indent=1) + "\n")
        print(f"written to {chosen.out}")


if __name__ == "__main__":
    main()
