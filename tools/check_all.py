"""What is too long for every commit (`make check-all`), and the record of how it went last, `tests/check-all.json`.

    python tools/check_all.py [STEP ...]   all steps, or these; the other steps keep what is recorded of them

Each step is a command. Its result, time, last lines and the commit it began with are recorded as soon as it ends, so an
interrupt loses nothing. Exit code 1 if a step failed.
"""

import argparse
import datetime
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "tests" / "check-all.json"
STEPS = {  # command, what it is, minutes on two idle cores
    "mutants": (
        [sys.executable, "tools/mutants.py"],
        "sign, index and factor errors put into the library: do its tests see them?",
        12,
    ),
    "latest": (
        ["make", "latest"],
        "the tests and a chapter with the newest versions allowed; what breaks is a report",
        10,
    ),
    "jupyterlab": (
        [sys.executable, "tools/jupyterlab.py"],
        "JupyterLab beside the lock: would it change a pinned package?",
        1,
    ),
    "certificate": ([sys.executable, "tools/certificate.py"], "1280 rows, proved positive in 128-bit balls", 2),
    "determinism": ([sys.executable, "tools/determinism.py"], "every chapter, on one core and on all: equal text", 15),
    "pdf": (["make", "pdf"], "the whole book on paper", 10),
    "bench": (["make", "bench"], "speed beside peers and baselines; a missed target is a report", 30),
}
# what a result may depend on; what the steps themselves write is no edit
SOURCES = ["jacntk_lib", "book", "tests", "tools", "benchmarks/*.py"]
WRITTEN = [":(exclude)tests/check-all.json", ":(exclude)tests/mutants/summary.json"]
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


def state():
    """The commit, and whether files that a result may depend on differ from it."""
    return {
        "commit": git("rev-parse", "HEAD"),
        "edited_since": bool(git("status", "--porcelain", "--", *SOURCES, *WRITTEN)),
    }


def worth_keeping(lines):
    """Without colours, without where the checkout lies, and without what make and ipykernel say whatever is run."""
    plain = (re.sub(r"\x1b\[[0-9;]*m", "", line).replace(f"{ROOT}/", "").replace(str(ROOT), ".") for line in lines)
    return [line for line in plain if not re.match(r"make\[\d+\]: (Entering|Leaving) |\[IPKernelApp\] WARNING", line)]


def record(step, what, code, lines, seconds, path, tested):
    """Write one step's outcome over its last, and leave the others; the file is replaced whole."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    known[step] = {
        "what": what,
        "passed": code == 0,
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds),
        **tested,
        "cores": os.cpu_count(),
        "last_lines": worth_keeping(lines),
    }
    ordered = {name: known[name] for name in STEPS if name in known} | known
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(new, path)


def main(arguments=None, steps=STEPS, path=RECORD):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", nargs="*", help=f"any of {', '.join(steps)}; default all")
    chosen = parser.parse_args(arguments).step or list(steps)
    if unknown := [step for step in chosen if step not in steps]:
        parser.error(f"no step {unknown[0]!r}: there are {', '.join(steps)}")
    outcomes = {}
    print(f"{len(chosen)} steps: about {sum(steps[step][2] for step in chosen)} minutes on two idle cores", flush=True)
    for step in chosen:
        command, what, minutes = steps[step]
        print(f"\n== {step}: {what} (about {minutes} min)", flush=True)
        start, tested = time.monotonic(), state()
        code, lines = run(command)
        record(step, what, code, lines, time.monotonic() - start, path, tested)
        outcomes[step] = code == 0
    print("\n" + "\n".join(f"{step}: {'passed' if passed else 'FAILED'}" for step, passed in outcomes.items()))
    print(f"recorded in {path}")
    return 0 if all(outcomes.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
