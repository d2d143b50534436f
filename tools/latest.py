"""What breaks with the newest versions that pyproject.toml allows (`make latest`)? Reports, and never fails.

    python tools/latest.py [--torch "torch==2.13.0"] [pytest arguments; default: the unit tests]

The newest versions live in an environment of their own, `.venv-latest`. torch is what --torch asks for, since which
build of it suits a machine cannot be guessed. Warnings are errors, as in every test run, so what is deprecated shows.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

from lock import LOCK, ROOT, pins, torch_default

# two tests ask for the locked versions themselves, and the sweep has an environment of its own
UNIT = ["tests", "jacntk_lib", "--doctest-modules", "--ignore", "tests/browser", "--ignore", "tests/test_workflow.py"]
UNIT += ["-n", "2", "--dist", "worksteal", "-k", "not locked_versions and not what_requirements_in_asks_for"]


def install(python, torch):
    """Into the environment of ``python``: torch as asked for, everything else as new as allowed."""
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, torch], check=True)
    constraint = python.parent / "torch.txt"
    constraint.write_text(f"torch=={versions(python)['torch'].split('+')[0]}\n")
    newest = ["--upgrade", "--upgrade-strategy", "eager", "--constraint", str(constraint)]
    subprocess.run([*pip, *newest, "--editable", ".[book,test]"], cwd=ROOT, check=True)


def versions(python):
    """Name -> version of what is installed, names as a lock spells them."""
    listed = subprocess.run([python, "-m", "pip", "list", "--format", "json"], capture_output=True, check=True)
    return {re.sub(r"[-_.]+", "-", one["name"]).lower(): one["version"] for one in json.loads(listed.stdout)}


def newer(found):
    """``name: locked -> found`` for what is not as locked."""
    locked = {name: version for name, version, _ in pins(LOCK.read_text(encoding="utf-8"))}
    return [
        f"{name}: {locked[name]} -> {found[name]}"
        for name in sorted(locked)
        if found.get(name) not in (None, locked[name])
    ]


def verdict(output):
    """The last line of pytest, and the names of what failed."""
    lines = output.strip().splitlines()
    broken = [line.split(" - ")[0].split(" ", 1)[1] for line in lines if line.startswith(("FAILED ", "ERROR "))]
    counts = [line.strip("= ") for line in lines if re.search(r"\d+ (passed|failed|error)", line)]
    return (counts[-1] if counts else "no test ran"), broken


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv-latest")
    parser.add_argument("--torch", default=torch_default(), help="what pip installs as torch")
    parser.add_argument("--report", type=Path, default=ROOT / "_build" / "latest.json")
    options, pytest = parser.parse_known_args(arguments)
    python = options.venv / "bin" / "python"
    try:
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", options.venv], check=True)
        install(python, options.torch)
        changed = newer(versions(python))
    except (OSError, subprocess.CalledProcessError) as error:
        summary, broken, changed = f"the newest versions do not install together: {error}", [], []
    else:
        done = subprocess.run(
            [python, "-m", "pytest", "-q", *(pytest or UNIT)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        summary, broken = verdict(done.stdout)
    print("not as locked:", *(changed or ["nothing"]), sep="\n  ")
    print("broken:", *(broken or ["nothing"]), sep="\n  ")
    print(summary)
    options.report.parent.mkdir(exist_ok=True)
    options.report.write_text(json.dumps({"summary": summary, "broken": broken, "changed": changed}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
