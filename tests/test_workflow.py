"""The sweep under Snakemake: the whole grid planned, a small one computed. `make workflow` installs what it needs."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from jacntk_book import experiments, results
from jacntk_book.experiments import figure2

ROOT = Path(__file__).resolve().parent.parent
WORKFLOW = ROOT / "workflow"
SNAKEMAKE = (
    os.environ.get("JACNTK_SNAKEMAKE") or shutil.which("snakemake") or str(ROOT / ".venv-workflow/bin/snakemake")
)
SMALL = figure2.Config(
    **{
        key: tuple(value) if isinstance(value, list) else value
        for key, value in json.loads((WORKFLOW / "small.json").read_text()).items()
    }
)

pytestmark = pytest.mark.skipif(
    "JACNTK_SNAKEMAKE" not in os.environ and not Path(SNAKEMAKE).exists(),
    reason="there is no Snakemake: make workflow installs it",
)


@pytest.fixture
def folder(tmp_path):
    """With a copy of both packages, which `python -m` prefers there: nobody edits it while the sweep runs."""
    for package in (ROOT / "jacntk_lib", ROOT / "book" / "jacntk_book"):
        shutil.copytree(package, tmp_path / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def sweep(folder, *options, profile="local", python=sys.executable, **settings):
    """What Snakemake says, run in ``folder`` on two cores."""
    settings = [f"{key}={value}" for key, value in {"python": python, **settings}.items()]
    command = [SNAKEMAKE, "--snakefile", WORKFLOW / "Snakefile", "--profile", WORKFLOW / "profiles" / profile]
    command += ["--directory", folder, *options, "--config", *settings]
    environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def label(word):
    return int(word) if word.isdecimal() else word


def planned(output):
    """``[(figure, keys)]`` of the jobs in a dry run."""
    calls = [shlex.split(line) for line in re.findall(r"-m jacntk_book (cells .* --compute .*)", output)]
    return [(label(words[1]), words[words.index("--compute") + 1 :]) for words in calls]


def test_full_grid_is_planned(folder):
    """All figures at paper scale: every cell in one job, and no job of several with more than its share of the work."""
    every_figure = (*experiments.FIGURES, *experiments.APPENDIX)
    figures = ",".join(map(str, every_figure))
    jobs = planned(sweep(folder, "--dry-run", "--printshellcmds", figures=figures, jobs=30))
    every = [(figure, key) for figure, keys in jobs for key in keys]
    work = {}
    for label in every_figure:
        experiment = experiments.figure(label)
        config = experiment.presets["paper"]
        work[label] = {cell.key: experiment.weight(config, cell) for cell in experiment.cells(config)}
    assert Counter(every) == Counter((label, key) for label, cells in work.items() for key in cells)
    for label, keys in jobs:
        share = sum(work[label].values()) / 30
        assert len(keys) == 1 or sum(work[label][key] for key in keys) <= share * (1 + 1e-9)
    assert len(jobs) < len(every) / 2  # seeds of narrow networks share a job
    assert any({f"gelu-width64-seed{seed}" for seed in range(10)} <= set(keys) for _, keys in jobs)


def test_two_by_two_by_two(folder):
    """Width x depth x seed for real: what one process computes, from four jobs, one of them done before."""
    arguments = ["--config", WORKFLOW / "small.json", "--out", "out"]
    command = [sys.executable, "-m", "jacntk_book", "cells", "2", *arguments]
    subprocess.run([*command, "--compute", "erf-depth2-width16"], cwd=folder, check=True, capture_output=True)
    settings = {"figures": 2, "grid": WORKFLOW / "small.json", "out": "out", "jobs": 100}
    said = sweep(folder, "--cores", "2", **settings)
    assert said.count("1 computed, 0 there already") == 3
    assert said.count("0 computed, 1 there already") == 1
    assert sorted(path.name for path in (folder / "out").iterdir()) == [
        f"figure-2-custom.{ending}" for ending in ("json", "npz", "png")
    ]
    swept, alone = results.load("figure-2-custom", folder / "out"), figure2.run(SMALL)
    assert swept["frobenius"].shape == (1, 2, 2, 2)
    assert swept.record["missing"] == []
    for name in alone.arrays:
        if alone[name].dtype.kind == "f":
            np.testing.assert_allclose(swept[name], alone[name], rtol=1e-9)
        else:
            np.testing.assert_array_equal(swept[name], alone[name])

    before = (folder / "out" / "figure-2-custom.npz").stat().st_mtime_ns
    assert "every figure asked for is stored already" in sweep(folder, "--cores", "2", **settings)
    assert (folder / "out" / "figure-2-custom.npz").stat().st_mtime_ns == before

    # an edited library: all of it again, whatever is stored
    with open(folder / "jacntk_lib" / "errors.py", "a") as file:
        file.write("\nONE_MORE = True\n")
    jobs = planned(sweep(folder, "--dry-run", "--printshellcmds", "--cores", "2", **settings))
    assert sorted(key for _, keys in jobs for key in keys) == sorted(cell.key for cell in figure2.cells(SMALL))


def test_jobs_of_a_cluster_ask_for_what_they_use(folder):
    """In one sweep with a figure for the processor: only the jobs of the other ask for a GPU."""
    settings = {"figures": "3,6", "device": "cuda", "preset": "demo", "minutes": 30}
    said = sweep(folder, "--dry-run", "--printshellcmds", profile="slurm", **settings)
    jobs = planned(said)
    asked = re.findall(r"mem_mb=16000.*, gpu=(\d), runtime=30", said)
    assert [int(gpu) for gpu in asked] == [*(int(number == 3) for number, _ in jobs), 1]  # the last collects


def test_failure_says_why(tmp_path):
    with pytest.raises(AssertionError, match="figure 2 has no preset huge") as failure:
        sweep(tmp_path, "--dry-run", "--cores", "2", figures=2, preset="huge")
    assert "jacntk could not list the cells of figure 2" in str(failure.value)
