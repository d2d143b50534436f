"""The figures at toy size, and the loop that runs them: what it keeps, what it survives."""

import dataclasses
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from jacntk_book import experiments, results
from jacntk_book.experiments import Experiment, figure1, figure2, figure3
from jacntk_book.experiments import experiment as module
from jacntk_book.results import store

GRID = figure2.Config(activations=("erf", "gelu"), depths=(1, 2), widths=(8, 32), seeds=4, points=6, input_dim=3)
FEW = {"rows": 5, "widths": (8, 16), "seeds": (3, 2), "steps": (0, 1, 4)}
RUN = figure3.Config(data="breast_cancer", scale="standard", activations=("erf",), depth=3, kappa=0.5, **FEW)


# Every figure


@pytest.mark.parametrize("label", [*experiments.FIGURES, *experiments.APPENDIX, *experiments.OURS])
def test_presets(label):
    experiment = experiments.figure(label)
    assert experiment.label == label
    assert "demo" in experiment.presets
    assert "paper" in experiment.presets or label in experiments.OURS
    for name, preset in experiment.presets.items():
        keys = [cell.key for cell in experiment.cells(preset)]
        assert len(set(keys)) == len(keys)
        assert experiment.preset_name(preset) == name
        device = experiment.device("cuda")
        assert device == ("cuda" if label in (1, 2, 3) else "cpu")
        line = f"jacntk figure {label} --preset {name}" + " --device cuda" * (device == "cuda")
        assert experiment.command(preset, device) == line


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")
@pytest.mark.parametrize(
    ("figure", "cell"), [(figure1, ("erf", 2, 32)), (figure2, ("gelu", 2, 32)), (figure3, ("erf", 16, 0))]
)
def test_gpu_gives_the_same_numbers(figure, cell):
    config = RUN if figure is figure3 else GRID
    on_cpu, on_gpu = (figure.run_cell(config, figure.Cell(*cell), device) for device in ("cpu", "cuda"))
    for name in on_cpu:
        np.testing.assert_allclose(on_gpu[name], on_cpu[name], rtol=1e-8, atol=1e-12)


# The loop, on a toy experiment: squares of numbers


@dataclasses.dataclass(frozen=True)
class Toy:
    count: int = 6


@dataclasses.dataclass(frozen=True)
class ToyCell:
    number: int

    @property
    def key(self):
        return f"cell-{self.number}"


def squares(run_cell):
    return Experiment(
        label=0,
        title="Squares",
        Config=Toy,
        presets={"demo": Toy()},
        cells=lambda config: [ToyCell(i) for i in range(config.count)],
        run_cell=run_cell,
        collect=lambda config, outcomes: {"squares": np.array([int(one["square"]) for one in outcomes.values()])},
        seeds=lambda config, cell: [cell.number],
        summary=str,
        plot=lambda result: None,
    )


@pytest.fixture
def computed():
    """The numbers whose squares were computed, in turn."""
    return []


@pytest.fixture
def toy(computed):
    def run_cell(config, cell, device="cpu", report=None):
        computed.append(cell.number)
        report(0.5)
        return {"square": np.array(cell.number**2)}

    return squares(run_cell)


def test_nothing_is_written_without_a_folder(toy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JACNTK_RESULTS_DIR", str(tmp_path))
    result = toy.run(Toy())
    np.testing.assert_array_equal(result["squares"], [0, 1, 4, 9, 16, 25])
    assert (result.name, result.record["seeds"]) == ("figure-0-demo", [0, 1, 2, 3, 4, 5])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), RuntimeError("the machine went away")])
def test_interrupted_run_goes_on(toy, computed, tmp_path, failure):
    def failing(config, cell, device="cpu", report=None):
        if cell.number == 3:
            raise failure
        return toy.run_cell(config, cell, device, report)

    with pytest.raises(type(failure)):
        dataclasses.replace(toy, run_cell=failing).run(Toy(), where=tmp_path)
    assert computed == [0, 1, 2]
    assert results.stored(tmp_path) == []
    result = toy.run(Toy(), where=tmp_path)
    assert computed == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(result["squares"], [0, 1, 4, 9, 16, 25])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figure-0-demo.json", "figure-0-demo.npz"]


def test_finished_run_is_not_repeated_unless_asked_or_changed(toy, computed, tmp_path, monkeypatch):
    first = toy.run(Toy(), where=tmp_path)
    again = toy.run(Toy(), where=tmp_path)
    assert computed == list(range(6))
    assert again.record == first.record
    toy.run(Toy(), where=tmp_path, fresh=True)
    assert computed == 2 * list(range(6))
    monkeypatch.setattr(store, "library_hash", lambda: "0" * 64)
    toy.run(Toy(), where=tmp_path)
    assert computed == 3 * list(range(6))


def test_damaged_result_is_computed_again(toy, computed, tmp_path):
    toy.run(Toy(), where=tmp_path)
    path = tmp_path / "figure-0-demo.npz"
    path.write_bytes(path.read_bytes()[:100])
    toy.run(Toy(), where=tmp_path)
    assert computed == 2 * list(range(6))
    assert results.load("figure-0-demo", tmp_path)["squares"][-1] == 25


def test_time_limit_keeps_what_is_finished(toy, computed, tmp_path, monkeypatch):
    clock = iter(range(0, 1000, 10))  # every look at the clock is 10 s later
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    with pytest.raises(experiments.Unfinished, match=r"time limit of 35 s with 3 of 6 cells finished"):
        toy.run(Toy(), where=tmp_path, time_limit=35)
    toy.run(Toy(), where=tmp_path)
    assert computed == list(range(6))


def test_clock_judges_by_the_largest_cell():
    clock = module._Clock(10.0)
    clock.learn(1000, 1.0)
    clock.learn(1, 5.0)  # a small cell is mostly overhead: it says nothing about the next large one
    assert clock.leaves_time_for(5000)
    assert not clock.leaves_time_for(11000)


def test_partial_result_says_so_and_is_completed(tmp_path, monkeypatch):
    config = dataclasses.replace(RUN, widths=(8,), seeds=(3,))
    answers = iter([True, True, False])
    with monkeypatch.context() as patch:
        patch.setattr(module._Clock, "leaves_time_for", lambda clock, work: next(answers))
        part = figure3.run(config, where=tmp_path, time_limit=25, partial=True)
    assert part.record["missing"] == ["erf-width8-seed2"]
    assert "incomplete: 1 parts missing" in part.describe()
    np.testing.assert_array_equal(figure3.seed_counts(part), [[2]])
    assert "(2 seeds)" in figure3.summary(part)
    whole = figure3.run(config, where=tmp_path)
    assert whole.record["missing"] == []
    np.testing.assert_array_equal(whole["drift"][:, :, :2], part["drift"][:, :, :2])
    assert not (tmp_path / ".cells").exists()


def test_progress_bar_reaches_the_end(toy, capsys):
    toy.run(Toy(), progress=True)
    assert "100 %" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="kills with SIGKILL")
def test_a_killed_run_costs_the_cell_in_hand_alone(tmp_path):
    """A process of its own, killed in the middle of its computation: another goes on from whole cells."""
    config = figure2.Config(activations=("erf",), depths=(1,), widths=tuple(range(8, 408)), seeds=1, points=4)
    run = f"from jacntk_book.experiments import figure2\nfigure2.run(figure2.{config!r}, where={str(tmp_path)!r})"

    def kept():
        return {path.stem for path in tmp_path.glob(".cells/*/*.npz")}

    with subprocess.Popen([sys.executable, "-c", run]) as process:
        while len(kept()) < 20:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL  # it was at work until then
    there = kept()
    again = []

    def counted(config, cell, device="cpu", report=None):
        again.append(cell.key)
        return figure2.run_cell(config, cell, device, report)

    result = dataclasses.replace(figure2.EXPERIMENT, run_cell=counted).run(config, where=tmp_path)
    assert again == [cell.key for cell in figure2.cells(config) if cell.key not in there]
    assert 0 < len(again) < 400 - 19
    np.testing.assert_array_equal(result["frobenius"], figure2.run(config)["frobenius"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figure-2-custom.json", "figure-2-custom.npz"]
