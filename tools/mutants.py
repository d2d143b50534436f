"""Break a copy of the library in one place at a time, and see whether the tests of that module notice.

    python tools/mutants.py [NAME ...] [--list]

The errors are data, tests/mutants/mutants.toml. Each is applied to a fresh copy in a temporary folder, never to the
working tree, and the tests of its module run there with -x: first those that notice most, then the whole file. The
summary goes to tests/mutants/summary.json, with a hash of every error, of every file that one is put into and of every
file of tests, so that it can be told what has changed since. The exit status is 1 when more survive than ALLOWED.
"""

import argparse
import ast
import hashlib
import json
import os
import re
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


def fingerprint(mutant):
    """A hash of what is replaced by what, and where."""
    return hashlib.sha256("\0".join(mutant[key] for key in ("file", "original", "mutated")).encode()).hexdigest()[:16]


def file_hashes(tests, mutants):
    """``{file: hash}`` of the sources that some error is put into, and of the tests that look for it."""
    nodes = (node for one in tests.values() for node in (*one["first"], *one["then"]))
    files = {one["file"] for one in mutants} | {node.partition("::")[0] for node in nodes}
    return {name: hashlib.sha256((ROOT / name).read_bytes()).hexdigest()[:16] for name in sorted(files)}


def changes(summary):
    """What is not as it was when a summary was written: ``(names of mutants, files)``, added and removed ones too."""
    tests, mutants = load()
    before = {one["name"]: one["hash"] for one in summary["mutants"]}
    errors = before.items() ^ {one["name"]: fingerprint(one) for one in mutants}.items()
    files = summary["files"].items() ^ file_hashes(tests, mutants).items()
    return sorted({name for name, _ in errors}), sorted({name for name, _ in files})


def first_failure(output):
    """The id of the first test that pytest's summary names; it may hold spaces, its message comes after " - "."""
    found = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", output, re.M)
    return found.group(1) if found else ""


def run_tests(folder, selected):
    """The exit status of pytest in a copy, and the first test that failed."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--tb", "no"]
    command = [sys.executable, "-m", "pytest", *options, *selected]
    try:
        run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return 1, "timeout"
    if run.returncode not in (0, 1):
        raise RuntimeError(f"the tests did not run (pytest exit status {run.returncode}):\n{run.stdout}{run.stderr}")
    return run.returncode, first_failure(run.stdout)


def try_out(mutant, tests):
    """``{"name", "module", "hash", "caught", "by", "seconds"}`` for one mutant."""
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
    result = {"name": mutant["name"], "module": mutant["module"], "hash": fingerprint(mutant)}
    return result | {"caught": bool(status), "by": by, "seconds": round(time.perf_counter() - start, 1)}


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
    files = file_hashes(tests, mutants)  # as they are copied, should somebody edit them meanwhile

    for module in dict.fromkeys(one["module"] for one in mutants):
        whole = {"name": "unbroken", "module": module, "file": "", "original": "", "mutated": ""}
        unbroken = try_out(whole, {**tests[module], "then": tests[module]["first"]})
        if unbroken["caught"]:
            raise SystemExit(f"the tests of {module} fail without any mutant: {unbroken['by']}")
    why = {one["name"]: one.get("survives", "no reason given") for one in mutants}
    results = []
    for number, mutant in enumerate(mutants, 1):
        results.append(one := try_out(mutant, tests[mutant["module"]]))
        outcome = f"caught by {one['by']}" if one["caught"] else f"SURVIVED ({why[one['name']]})"
        print(
            f"{number:2}/{len(mutants)} {one['module']}: {one['name']}: {outcome}, {one['seconds']:.0f} s", flush=True
        )
    survivors = {one["name"]: why[one["name"]] for one in results if not one["caught"]}
    print(f"{len(results) - len(survivors)} of {len(results)} caught")
    if not chosen.names:
        git = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True)
        summary = {"commit": git.stdout.strip() or None, "caught": len(results) - len(survivors)}
        summary |= {"survivors": survivors, "files": files, "mutants": results}
        SUMMARY.write_text(json.dumps(summary, indent=1) + "\n")
    raise SystemExit(len(survivors) > ALLOWED)


if __name__ == "__main__":
    main()
