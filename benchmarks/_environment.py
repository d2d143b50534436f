"""Environments of their own for peers whose packages do not belong into ours, each made once in the cache folder."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

PEERS = ["smt==2.15.0", "jenn==2.1.1", "numpy>=2", "scipy"]  # that are given gradients
GPYTORCH = ["torch==2.13.0", "gpytorch==1.15.2"]


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


def gradient_peers(folder=None):
    """The interpreter of the peers, whose environment is made where it is missing."""
    try:
        return make(folder or default_folder("gradient-peers"), PEERS, optional=[GPYTORCH])
    except (OSError, subprocess.SubprocessError) as error:
        raise SystemExit(f"no environment with SMT, which has the data: {why(error)}") from None


def gradient_data(cells, python):
    """Where the data are, written by the environment of the peers where they are missing."""
    folder = cells / "data"
    if not (folder / "airfoil.npz").exists():
        subprocess.run([python or gradient_peers(), Path(__file__).with_name("_gradient_data.py"), folder], check=True)
    return folder


def airfoils():
    """The whole table: inputs X (N, 16), drag y (N,) and gradients J (N, 16)."""
    found = np.load(gradient_data(default_folder("gradient-cells"), None) / "airfoil.npz")
    return found["X"], found["y"], found["J"]
