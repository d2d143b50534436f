"""What breaks with the newest versions that pyproject.toml allows (`make latest`)?

    python tools/latest.py [--torch "torch==2.13.0"] [pytest arguments; default: the unit tests]

The newest versions live in an environment of their own, `.venv-latest`. The unit tests run there, the first chapter's
stored notebook is executed and compared, and that chapter's page is built. Warnings are errors, as in every test run,
so what is deprecated shows.

torch comes in builds of a few hundred megabytes to several gigabytes. Without --torch it is the newest one offered of
the build installed beside this script (`+cpu` after its version, or nothing), and the Makefile's where there is none.

What breaks is a report, with exit status 0. The status is 1 when there is nothing to report: the newest versions do not
install together, or no test ran.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from lock import LOCK, ROOT, pins, torch_default
from packaging.version import Version

# two tests ask for the locked versions themselves, and the sweep has an environment of its own
UNIT = ["tests", "jacntk_lib", "--doctest-modules", "--ignore", "tests/browser", "--ignore", "tests/test_workflow.py"]
UNIT += ["-n", "2", "--dist", "worksteal", "-k", "not locked_versions and not what_requirements_in_asks_for"]
CHAPTER = "01-setup"
NOTEBOOK = ["--nbval", "--nbval-current-env", "--nbval-cell-timeout", "600", f"book/notebooks/{CHAPTER}.ipynb"]
# Sphinx builds one page of many here: what it says of the absent ones is no news
ONE_PAGE = f"format: jb-book\nroot: book/{CHAPTER}\n"


def newest_torch(offered, installed, default):
    """What pip is asked for: the newest of ``offered`` versions in the build of the ``installed`` one."""
    build = Version(installed).local
    of_this_build = [one for one in map(Version, offered) if one.local == build and not one.is_prerelease]
    return f"torch=={max(of_this_build)}" if of_this_build else default


def offered_torch(python):
    """Every version of torch that the package index offers, as pip lists them; none if pip cannot say."""
    listed = subprocess.run([python, "-m", "pip", "index", "versions", "torch"], capture_output=True, text=True)
    found = re.search(r"^Available versions: (.+)$", listed.stdout, re.M)
    return found.group(1).split(", ") if found else []


def install(python, torch):
    """Into the environment of ``python``: torch as asked for, everything else as new as allowed."""
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *shlex.split(torch)], check=True)
    constraint = python.parent / "torch.txt"
    constraint.write_text(f"torch=={versions(python)['torch'].split('+')[0]}\n")
    newest = ["--upgrade", "--upgrade-strategy", "eager", "--constraint", str(constraint)]
    subprocess.run([*pip, *newest, "--editable", ".[book,test]"], cwd=ROOT, check=True)


def versions(python):
    """Name -> version of what is installed, names as a lock spells them."""
    listed = subprocess.run([python, "-m", "pip", "list", "--format", "json"], capture_output=True, check=True)
    return {re.sub(r"[-_.]+", "-", one["name"]).lower(): one["version"] for one in json.loads(listed.stdout)}


def newer(found):
    """``name locked -> found`` for what is not as locked, torch among it."""
    locked = {name: version for name, version, _ in pins(LOCK.read_text(encoding="utf-8"))}
    locked["torch"] = torch_default().partition("==")[2]
    return [
        f"{name} {locked[name]} -> {found[name]}"
        for name in sorted(locked)
        if found.get(name, locked[name]).partition("+")[0] != locked[name]
    ]


def streamed(command, **options):
    """``(exit status, output)`` of a command whose output is shown as it comes, too."""
    lines = []
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # two processes of tests on two cores
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    ) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    return process.returncode, "".join(lines)


def verdict(output):
    """The last line of pytest, and the names of what failed."""
    lines = output.strip().splitlines()
    broken = [line.split(" - ")[0].split(" ", 1)[1] for line in lines if line.startswith(("FAILED ", "ERROR "))]
    counts = [line.strip("= ") for line in lines if re.search(r"\d+ (passed|failed|error)", line)]
    return (counts[-1] if counts else "no test ran"), broken


def page(python):
    """What breaks in building the page of one chapter, as a list: empty, or one sentence."""
    folder = ROOT / "_build" / "latest"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    contents = folder / "one-page.yml"
    contents.write_text(ONE_PAGE)
    book = [python.parent / "jupyter-book", "build", ".", "--toc", contents, "--path-output", folder, "-q"]
    code, output = streamed(book)
    wrong = [line for line in output.splitlines() if "ERROR" in line or "Traceback" in line]
    built = (folder / "_build" / "html" / "book" / f"{CHAPTER}.html").is_file()
    if code == 0 and built and not wrong:
        return []
    return [f"the page of {CHAPTER}: {(wrong or output.strip().splitlines() or ['nothing was built'])[-1]}"]


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv-latest")
    parser.add_argument("--torch", help="what pip installs as torch; default: the newest of the build installed here")
    parser.add_argument("--report", type=Path, default=ROOT / "_build" / "latest.json")
    options, pytest = parser.parse_known_args(arguments)
    python = options.venv.absolute() / "bin" / "python"
    changed, broken, summary, ran = [], [], "no test ran", False
    print("Installing the newest versions: about 3 minutes. Then tests and a chapter: 6 to 10 minutes.", flush=True)
    try:
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", options.venv], check=True)
        torch = options.torch or newest_torch(offered_torch(python), metadata.version("torch"), torch_default())
        print(f"torch: trying {torch}", flush=True)
        install(python, torch)
        changed = newer(versions(python))
    except (OSError, subprocess.CalledProcessError) as error:
        summary = f"the newest versions do not install together: {error}"
    else:
        _, output = streamed([python, "-m", "pytest", "-q", *(pytest or UNIT)])
        summary, broken = verdict(output)
        ran = summary != "no test ran"
        if not pytest:
            _, output = streamed([python, "-m", "pytest", "-q", *NOTEBOOK])
            of_chapter, broken_cells = verdict(output)
            broken += [*broken_cells, *page(python)]
            summary += f"; cells of {CHAPTER}: {of_chapter}"
            ran = ran and of_chapter != "no test ran"
        summary += f"; torch tried: {torch}"
    # few lines, so that the record of check_all.py holds all of them
    print(f"\nnot as locked: {', '.join(changed) or 'nothing'}")
    print(f"broken: {', '.join(broken) or 'nothing'}")
    print(summary)
    options.report.parent.mkdir(exist_ok=True)
    options.report.write_text(json.dumps({"summary": summary, "broken": broken, "changed": changed}, indent=1) + "\n")
    return 0 if ran else 1


if __name__ == "__main__":
    sys.exit(main())
