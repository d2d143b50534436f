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
import yaml

from jacntk_lib import experiments, results
from jacntk_lib.experiments import figure2, figure3, figure6

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
    """With a copy of the library, which `python -m` prefers there: nobody edits it while the sweep runs."""
    shutil.copytree(ROOT / "jacntk_lib", tmp_path / "jacntk_lib", ignore=shutil.ignore_patterns("__pycache__"))
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
    calls = [shlex.split(line) for line in re.findall(r"-m jacntk_lib (cells .* --compute .*)", output)]
    return [(label(words[1]), words[words.index("--compute") + 1 :]) for words in calls]


def test_full_grid_is_planned(folder):
    """All figures at paper scale: every cell in one job, and no job longer than it should be."""
    every_figure = (*experiments.FIGURES, *experiments.APPENDIX)
    figures = ",".join(map(str, every_figure))
    jobs = planned(sweep(folder, "--dry-run", "--printshellcmds", figures=figures, minutes=10, speed=3e10))
    every = [(figure, key) for figure, keys in jobs for key in keys]
    expected = {
        number: {
            cell.key: cell for cell in experiments.figure(number).cells(experiments.figure(number).PRESETS["paper"])
        }
        for number in every_figure
    }
    assert Counter(every) == Counter((number, key) for number, cells in expected.items() for key in cells)
    assert len(every) > 900
    for number, keys in jobs:
        experiment = experiments.figure(number)
        work = [experiment.operations(experiment.PRESETS["paper"], expected[number][key]) for key in keys]
        work = [count / 2 if dtype == "float32" else count for count, dtype in work]
        assert len(keys) == 1 or sum(work) <= 10 * 60 * 3e10 * (1 + 1e-9)
    assert len(jobs) < len(every) / 2  # seeds of narrow networks share a job
    assert any({f"gelu-width64-seed{seed}" for seed in range(10)} <= set(keys) for _, keys in jobs)


def test_two_by_two_by_two(folder):
    """Width x depth x seed for real: what one process computes, from four jobs, one of them done before."""
    arguments = ["--config", WORKFLOW / "small.json", "--out", "out"]
    command = [sys.executable, "-m", "jacntk_lib", "cells", "2", *arguments]
    subprocess.run([*command, "--compute", "erf-depth2-width16"], cwd=folder, check=True, capture_output=True)
    settings = {"figures": 2, "grid": WORKFLOW / "small.json", "out": "out", "minutes": 1e-9}
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
    with open(folder / "jacntk_lib" / "solve.py", "a") as file:
        file.write("\n# one more comment\n")
    jobs = planned(sweep(folder, "--dry-run", "--printshellcmds", "--cores", "2", **settings))
    assert sorted(key for _, keys in jobs for key in keys) == sorted(cell.key for cell in figure2.cells(SMALL))


def test_cluster_profile(folder):
    """Every job asks slurm for one GPU, and for a quarter of an hour and three times its planned time."""
    said = sweep(
        folder, "--dry-run", "--printshellcmds", profile="slurm", figures=3, device="cuda", minutes=10, gpu_speed=1e12
    )
    config = figure3.PRESETS["paper"]
    work = {cell.key: figure3.operations(config, cell)[0] for cell in figure3.cells(config)}
    jobs = [keys for _, keys in planned(said)]
    assert 10 < len(jobs) < len(work)
    asked = [15 + round(3 * sum(work[key] for key in keys) / 1e12 / 60) for keys in jobs]
    assert re.findall(r"mem_mb=16000.*, gpu=1, runtime=(\d+)", said) == [*map(str, asked), "60"]


def test_figures_for_the_processor_ask_for_no_gpu(folder):
    """In one sweep with a figure that does: their jobs get no GPU, and the time that processors take."""
    settings = {"figures": "3,6", "device": "cuda", "preset": "demo", "minutes": 1, "speed": 1e10, "gpu_speed": 1e30}
    said = sweep(folder, "--dry-run", "--printshellcmds", profile="slurm", **settings)
    jobs = planned(said)
    asked = re.findall(r"gpu=(\d), runtime=(\d+)", said)[:-1]  # without the last rule, which puts figures together
    assert len(asked) == len(jobs)
    gpus, minutes = zip(*asked, strict=True)
    assert [int(gpu) for gpu in gpus] == [int(number == 3) for number, _ in jobs]
    assert sum(number == 3 for number, _ in jobs) == 1  # at that speed all in one job
    config = figure6.PRESETS["demo"]
    work = {cell.key: figure6.operations(config, cell)[0] for cell in figure6.cells(config)}
    expected = [15 + (round(3 * sum(work[key] for key in keys) / 1e10 / 60) if n == 6 else 0) for n, keys in jobs]
    assert [int(m) for m in minutes] == expected


def test_failure_says_why(tmp_path):
    with pytest.raises(AssertionError, match="figure 2 has no preset huge") as failure:
        sweep(tmp_path, "--dry-run", "--cores", "2", figures=2, preset="huge")
    assert "jacntk could not list the cells of figure 2" in str(failure.value)


def test_settings_are_documented():
    text = (WORKFLOW / "config.yaml").read_text()
    used = set(re.findall(r'config\["(\w+)"\]', (WORKFLOW / "Snakefile").read_text()))
    assert used == set(yaml.safe_load(text))


def test_lock_is_what_requirements_in_asks_for():
    lock = (WORKFLOW / "requirements.lock").read_text()
    asked = [line for line in (WORKFLOW / "requirements.in").read_text().splitlines() if not line.startswith("#")]
    assert all(f"\n{line} \\\n    --hash=sha256:" in lock for line in asked)
    assert len(re.findall(r"^\S+==", lock, re.M)) == len(re.findall(r"^\S+==.*\\\n    --hash=sha256:", lock, re.M)) > 40
    assert not re.search(r"https?://|--index|--find-links", lock)
