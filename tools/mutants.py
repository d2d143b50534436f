"""Break a copy of the library in one place at a time, and see whether the tests of that module notice.

    python tools/mutants.py [NAME ...] [--list]

The errors are data, tests/mutants/mutants.toml. Each is applied to a fresh copy in a temporary folder, never to the
working tree, and the tests of its module run there with -x: first those that notice most, then the whole file. The
summary goes to tests/mutants/summary.json; the exit status is 1 when more survive than ALLOWED.
"""

import argparse
import ast
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIST = ROOT / "tests" / "mutants" / "mutants.toml"
SUMMARY = LIST.with_name("summary.json")
ALLOWED = 2  # survivors, each of which has to say why
COPIED = ("jacntk_lib", "tests", "pyproject.toml")
# A property that fails need not be made small first: that takes minutes
PROFILE = """
from hypothesis import Phase
settings.register_profile("mutants", derandomize=True, phases=(Phase.explicit, Phase.generate))
settings.load_profile("mutants")
"""
TIMEOUT = 900  # seconds for one run of tests; a mutant that makes them hang is caught


def load():
    """``(tests of each module, mutants)``."""
    data = tomllib.loads(LIST.read_text())
    return data["tests"], data["mutant"]


def mutated(mutant):
    """The text of the file with the error in it.

    Raises
    ------
    ValueError : the original does not occur exactly once, nothing changes, or what results is not Python.
    """
    text = (ROOT / mutant["file"]).read_text()
    if (count := text.count(mutant["original"])) != 1:
        raise ValueError(f"{mutant['name']}: {mutant['original']!r} occurs {count} times in {mutant['file']}, not once")
    changed = text.replace(mutant["original"], mutant["mutated"])
    if ast.dump(ast.parse(changed)) == ast.dump(ast.parse(text)):
        raise ValueError(f"{mutant['name']}: changes nothing that runs")
    return changed


def run_tests(folder, selected):
    """The exit status of pytest in a copy, and the first test that failed."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--tb", "no"]
    command = [sys.executable, "-m", "pytest", *options, *selected]
    try:
        run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return 1, "timeout"
    failed = [line.split()[1] for line in run.stdout.splitlines() if line.startswith("FAILED")]
    if run.returncode not in (0, 1):
        raise RuntimeError(f"the tests did not run (pytest exit status {run.returncode}):\n{run.stdout}{run.stderr}")
    return run.returncode, failed[0] if failed else ""


def try_out(mutant, tests):
    """``{"name", "module", "caught", "by", "seconds"}`` for one mutant."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for name in COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, Path(folder, name))
        with Path(folder, "tests", "conftest.py").open("a") as conftest:
            conftest.write(PROFILE)
        if mutant["file"]:
            Path(folder, mutant["file"]).write_text(mutated(mutant))
        where = [sys.executable, "-c", "import jacntk_lib; print(jacntk_lib.__file__)"]
        found = subprocess.run(
            where, cwd=folder, env={**os.environ, "PYTHONPATH": folder}, capture_output=True, text=True
        )
        if not found.stdout.startswith(str(Path(folder).resolve())):
            raise RuntimeError(f"the tests would not run on the copy: {found.stdout}{found.stderr}")
        for selected in (tests["first"], tests["then"]):
            status, by = run_tests(folder, selected)
            if status:
                break
    result = {"name": mutant["name"], "module": mutant["module"], "caught": bool(status), "by": by}
    return result | {"seconds": round(time.perf_counter() - start, 1)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="only these; nothing is stored then")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    chosen = parser.parse_args()
    tests, mutants = load()
    if chosen.list:
        print("\n".join(f"{one['module']:9} {one['name']}" for one in mutants))
        return
    if unknown := set(chosen.names) - {one["name"] for one in mutants}:
        raise SystemExit(f"no such mutant: {', '.join(sorted(unknown))}")
    mutants = [one for one in mutants if not chosen.names or one["name"] in chosen.names]

    for module in dict.fromkeys(one["module"] for one in mutants):
        unbroken = try_out(
            {"name": "unbroken", "module": module, "file": ""}, {**tests[module], "then": tests[module]["first"]}
        )
        if unbroken["caught"]:
            raise SystemExit(f"the tests of {module} fail without any mutant: {unbroken['by']}")
    results = []
    for number, mutant in enumerate(mutants, 1):
        results.append(one := try_out(mutant, tests[mutant["module"]]))
        outcome = (
            f"caught by {one['by']}" if one["caught"] else f"SURVIVED ({mutant.get('survives', 'no reason given')})"
        )
        print(
            f"{number:2}/{len(mutants)} {one['module']}: {one['name']}: {outcome}, {one['seconds']:.0f} s", flush=True
        )
    survivors = [one["name"] for one in results if not one["caught"]]
    print(f"{len(results) - len(survivors)} of {len(results)} caught")
    if not chosen.names:
        git = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True)
        summary = {"commit": git.stdout.strip() or None, "caught": len(results) - len(survivors), "mutants": results}
        SUMMARY.write_text(json.dumps(summary, indent=1) + "\n")
    raise SystemExit(len(survivors) > ALLOWED)


if __name__ == "__main__":
    main()
