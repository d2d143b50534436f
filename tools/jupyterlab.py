"""Does the JupyterLab that the README installs leave every pinned package as it is? (a step of `make check-all`)

    python tools/jupyterlab.py

pip works out what it would install into the environment of this script, and installs nothing. Needs the package index.
"""

import json
import re
import subprocess
import sys
from importlib import metadata

from lock import LOCK, ROOT, pins


def requirement(readme):
    """What the README's line installs, such as ``jupyterlab==4.5.0``."""
    found = re.search(r"pip install (jupyterlab==[\d.]+)$", readme, re.M)
    if found is None:
        raise SystemExit("the README installs no jupyterlab of a stated version")
    return found.group(1)


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def outcome(report, pinned, installed):
    """``(name -> version of what pip would install, the pinned packages that it would change)`` from pip's report.

    A pinned package that is not installed here is pinned for other platforms.
    """
    planned = {normal(one["metadata"]["name"]): one["metadata"]["version"] for one in report["install"]}
    here = set(map(normal, pinned)) & set(map(normal, installed))
    return planned, sorted(planned.keys() & here)


def main():
    wanted = requirement((ROOT / "README.md").read_text(encoding="utf-8"))
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--report", "-", wanted]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        print(f"{wanted} cannot be installed beside the lock")
        return 1
    # pip may say more on the same stream; the report is the one object
    report = json.loads(done.stdout[done.stdout.index("{") :])
    pinned = [*(name for name, _, _ in pins(LOCK.read_text(encoding="utf-8"))), "torch"]
    planned, changed = outcome(report, pinned, (one.name for one in metadata.distributions()))
    for name in changed:
        print(f"would change the pinned {name} to {planned[name]}")
    print(f"{wanted}: {len(planned)} packages would be added or changed, {len(changed)} of them pinned")
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
