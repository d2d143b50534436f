"""Environments of their own for peers whose packages do not belong into ours, each made once in the cache folder."""

import os
import subprocess
import sys
from pathlib import Path


def default_folder(name):
    """Where the environment ``name`` lies unless another folder is asked for."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "jacntk" / name


def make(folder, *installs, optional=()):
    """The interpreter of the environment, made where it is missing by one ``pip install`` for each list of arguments.

    What is ``optional`` comes last, and is left out with a word where it cannot be installed.

    Raises
    ------
    OSError, subprocess.SubprocessError : it cannot be made, see :func:`why`.
    """
    python, done = folder / "bin" / "python", folder / "complete"
    if not done.exists():
        print(f"Making an environment for {installs[-1][-1]} in {folder}: some minutes at most, once.", flush=True)
        run = {"check": True, "capture_output": True, "text": True, "timeout": 900}
        subprocess.run([sys.executable, "-m", "venv", folder], **run)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        for arguments in installs:
            subprocess.run([*install, *arguments], **run)
        for arguments in optional:
            try:
                subprocess.run([*install, *arguments], **run)
            except subprocess.SubprocessError as error:
                print(f"Without {arguments[-1]}: {why(error)}", file=sys.stderr)
        done.touch()
    return python


def why(error):
    """The last line of what a failed command said."""
    said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
    return said[-1][:200] if said else type(error).__name__
