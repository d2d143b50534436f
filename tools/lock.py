"""Write requirements.lock and environment.yml from requirements.in (`make lock`; needs uv), and the sweep's lock.

The lock names every package with its hashes, for Linux, macOS and Windows at once. environment.yml carries
the same pins without hashes, since conda hands them to pip together with an editable install, which pip
refuses to mix with hashes. What the lock pins already keeps its version unless --upgrade is given.
"""

import argparse
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
ENVIRONMENT = ROOT / "environment.yml"
PIN = re.compile(r"^(?P<name>[a-zA-Z0-9._-]+)==(?P<version>[^\s;]+)(?: ; (?P<marker>[^\\]+?))?(?: \\)?$")

HEADER = """\
# conda env create -f environment.yml && conda activate jacntk
# Written by `make lock` from requirements.in: the pins of requirements.lock without the hashes. Every
# Python package comes from pip, so that conda, plain pip and CI run the same files. Another build of
# torch: change its line.
name: jacntk
channels: [conda-forge]
dependencies:
  - python=3.11
  - pip
  - make
  - pip:
"""


def torch_default():
    """The torch requirement of the Makefile: `make book` and conda install the same one."""
    return re.search(r"^TORCH \?= (\S+)$", (ROOT / "Makefile").read_text(), re.M).group(1)


def pins(text):
    """(name, version, marker or None) of every pinned line of a lock file."""
    return [match.group("name", "version", "marker") for match in map(PIN.match, text.splitlines()) if match]


def environment(lock_text, torch):
    locked = [f"{name}=={version}" + f" ; {marker}" * bool(marker) for name, version, marker in pins(lock_text)]
    return HEADER + "".join(f'      - "{line}"\n' for line in [*locked, torch, "-e ."])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--uv", default="uv", help="the uv program")
    parser.add_argument("--upgrade", action="store_true", help="forget the versions locked now")
    options = parser.parse_args()
    command = [options.uv, "pip", "compile", "--universal", "--generate-hashes", "--python-version", "3.11"]
    command += ["--no-annotate", "--custom-compile-command", "make lock", "--quiet"] + ["--upgrade"] * options.upgrade
    for folder in (ROOT, ROOT / "workflow"):  # the sweep's environment is its own
        subprocess.run([*command, "--output-file", LOCK.name, "requirements.in"], cwd=folder, check=True)
    ENVIRONMENT.write_text(environment(LOCK.read_text(), torch_default()), encoding="utf-8")


if __name__ == "__main__":
    main()
