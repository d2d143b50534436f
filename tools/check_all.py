"""What is too long for every commit (`make check-all`), and the record of how it went last, `tests/check-all.json`.

    python tools/check_all.py [STEP ...]   all steps, or these; the other steps keep what is recorded of them

Each step is a command. Its result, time, commit and last lines are recorded as soon as it ends, so an interrupt loses
nothing. Exit code 1 if a step failed.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "tests" / "check-all.json"
STEPS = {
    "mutants": (
        [sys.executable, "tools/mutants.py"],
        "sign, index and factor errors put into the library: do its tests see them?",
    ),
    "latest": (["make", "latest"], "the unit tests with the newest versions allowed; reports, never fails"),
    "certificate": ([sys.executable, "tools/certificate.py"], "1280 rows, proved positive in 128-bit balls"),
    "determinism": ([sys.executable, "tools/determinism.py"], "every chapter, on one core and on all: equal text"),
    "pdf": (["make", "pdf"], "the whole book on paper"),
    "bench": (["make", "bench"], "speed beside peers and baselines"),
}
KEPT_LINES = 12


def git(*arguments):
    done = subprocess.run(["git", "--no-optional-locks", *arguments], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def run(command):
    """(exit code, last lines) of a command whose output is shown as it comes."""
    lines = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            lines = [*lines[1 - KEPT_LINES :], line.rstrip()]
    return process.returncode, [line for line in lines if line.strip()]


def record(step, what, code, lines, seconds, path):
    """Write one step's outcome over its last, and leave the others."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    known[step] = {
        "what": what,
        "passed": code == 0,
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds),
        "commit": git("rev-parse", "HEAD"),
        "edited_since": bool(git("status", "--porcelain", "--", "jacntk_lib", "book", "tests")),
        "cores": os.cpu_count(),
        "last_lines": [line.replace(f"{ROOT}/", "") for line in lines],
    }
    ordered = {name: known[name] for name in STEPS if name in known} | known
    path.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main(arguments=None, steps=STEPS, path=RECORD):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", nargs="*", help=f"any of {', '.join(steps)}; default all")
    chosen = parser.parse_args(arguments).step or list(steps)
    if unknown := [step for step in chosen if step not in steps]:
        parser.error(f"no step {unknown[0]!r}: there are {', '.join(steps)}")
    outcomes = {}
    for step in chosen:
        command, what = steps[step]
        print(f"\n== {step}: {what}", flush=True)
        start = time.monotonic()
        code, lines = run(command)
        record(step, what, code, lines, time.monotonic() - start, path)
        outcomes[step] = code == 0
    print("\n" + "\n".join(f"{step}: {'passed' if passed else 'FAILED'}" for step, passed in outcomes.items()))
    print(f"recorded in {path}")
    return 0 if all(outcomes.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
