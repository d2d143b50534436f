"""Put one error at a time into a copy of the library: do the tests of that module notice? (`make mutants`)

    python tools/mutants.py [NAME ...]   all errors of tests/mutants/mutants.toml, or these

The working tree is not touched. The tests of a module run with -x: first those that notice most, then the whole file.
The exit status is 1 if an error survives.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIST = tomllib.loads((ROOT / "tests" / "mutants" / "mutants.toml").read_text())
TIMEOUT = 900  # seconds for one run of tests; an error that makes them hang is noticed
# a property that fails need not be made small first: that takes minutes
PROFILE = """
from hypothesis import Phase
settings.register_profile("mutants", derandomize=True, phases=(Phase.explicit, Phase.generate))
settings.load_profile("mutants")
"""


def put_in(mutant, text):
    """The text of a file with the error in it.

    Raises
    ------
    ValueError : the original does not occur exactly once.
    """
    if (count := text.count(mutant["original"])) != 1:
        raise ValueError(f"{mutant['name']}: {mutant['original']!r} occurs {count} times in {mutant['file']}, not once")
    return text.replace(mutant["original"], mutant["mutated"])


def first_failure(folder, selected):
    """What pytest says of the first of these tests that fails in a copy, or "" if all pass."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{folder}{os.pathsep}{folder}/book",
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--tb", "no", *selected]
    try:
        run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return "timeout"
    if run.returncode not in (0, 1):
        raise RuntimeError(f"the tests did not run (pytest exit status {run.returncode}):\n{run.stdout}{run.stderr}")
    return next((line for line in run.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))), "")


def main():
    names = sys.argv[1:]
    mutants = [one for one in LIST["mutant"] if not names or one["name"] in names]
    survivors = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder).resolve()
        for name in ("jacntk_lib", "book/jacntk_book", "tests"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        with (copy / "tests" / "conftest.py").open("a") as conftest:
            conftest.write(PROFILE)
        for module in {one["module"] for one in mutants}:
            if failure := first_failure(copy, LIST["tests"][module]["first"]):
                sys.exit(f"the tests of {module} fail without any error put in: {failure}")
        for number, mutant in enumerate(mutants, 1):
            source, tests = copy / mutant["file"], LIST["tests"][mutant["module"]]
            text = source.read_text()
            source.write_text(put_in(mutant, text))
            noticed = first_failure(copy, tests["first"]) or first_failure(copy, tests["then"])
            source.write_text(text)
            if not noticed:
                survivors.append(mutant["name"])
            print(f"{number}/{len(mutants)} {mutant['module']}: {mutant['name']}: {noticed or 'SURVIVED'}", flush=True)
    print(f"{len(mutants) - len(survivors)} of {len(mutants)} noticed")
    sys.exit(bool(survivors))


if __name__ == "__main__":
    main()
