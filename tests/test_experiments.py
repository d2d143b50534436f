"""The figures at toy size, and the loop that runs them: what it keeps, what it survives."""

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
import time
import types

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from jacntk_lib import experiments
from jacntk_lib.experiments import figure1, figure2, figure3, figure6, runner
from jacntk_lib.results import store as results

GRID = figure2.Config(activations=("erf", "gelu"), depths=(1, 2), widths=(8, 32), seeds=4, points=6, input_dim=3)
FEW = {"rows": 5, "widths": (8, 16), "seeds": (3, 2), "steps": (0, 1, 4)}
RUN = figure3.Config(data="breast_cancer", scale="standard", activations=("erf",), depth=3, kappa=0.5, **FEW)


# Every figure

SPECTRUM = figure6.Config(depths=(1, 3), rows=6)


@pytest.mark.parametrize(("figure", "config"), [(figure1, GRID), (figure2, GRID), (figure3, RUN), (figure6, SPECTRUM)])
def test_summary_and_plot(figure, config):
    result = figure.run(config)
    lines = figure.summary(result).splitlines()
    # a head; activations with depth, in two metrics, and a floor; widths and a slope; activations with kernel
    assert len(lines) == 1 + {figure1: 8 + 1, figure2: 8, figure3: 2 + 1, figure6: 4}[figure]
    assert "nan" not in figure.summary(result)
    picture = figure.plot(result)
    # an inner panel shares its axes with labelled ones, and has a title of its own
    assert all(ax.get_xlabel() or ax.get_ylabel() or ax.get_title() for ax in picture.axes)
    assert sum(len(ax.lines) for ax in picture.axes) >= 4
    picture.canvas.draw()
    plt.close(picture)


@pytest.mark.parametrize("number", experiments.FIGURES)
def test_presets(number):
    figure = experiments.figure(number)
    assert number == figure.NUMBER
    assert {"demo", "cpu", "paper"} <= set(figure.PRESETS)
    for name, preset in figure.PRESETS.items():
        keys = [cell.key for cell in figure.cells(preset)]
        assert len(set(keys)) == len(keys)
        assert runner.preset_name(figure, preset) == name
        assert runner.command(figure, preset, "cuda").endswith(f"figure {number} --preset {name} --device cuda")
    paper = figure.PRESETS["paper"]
    if number == 6:  # past the reported thresholds, depths 6 and 11
        assert max(paper.depths) > 11
        return
    if number in (4, 5):  # tests/test_eigenfeatures.py
        return
    # what the paper reports: widths, depths and repetitions
    assert paper.widths == (64, 128, 256, 512, 1024, 2048, 4096, 8192)
    if number != 3:  # tests/test_figure3.py
        assert (paper.points, paper.input_dim, paper.depths, paper.seeds) == (256, 4, (1, 2, 3), 10)


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


@pytest.fixture
def toy():
    """An experiment that notes which cells it computed, and can be told to fail at one."""

    def run_cell(config, cell, device="cpu", report=None):
        if cell.number == toy.fail_at:
            raise toy.failure
        toy.computed.append(cell.number)
        report(0.5)
        return {"square": np.array(cell.number**2)}

    toy = types.SimpleNamespace(
        NUMBER=0,
        PRESETS={"demo": Toy()},
        cells=lambda config: [ToyCell(i) for i in range(config.count)],
        seeds=lambda config, cell: [cell.number],
        operations=lambda config, cell: (10**6, "float64"),
        run_cell=run_cell,
        collect=lambda config, outcomes: {"squares": np.array([int(o["square"]) for o in outcomes.values()])},
        computed=[],
        fail_at=None,
        failure=KeyboardInterrupt(),
    )
    return toy


def test_nothing_is_written_without_a_folder(toy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JACNTK_RESULTS_DIR", str(tmp_path))
    result = runner.run(toy, Toy())
    np.testing.assert_array_equal(result["squares"], [0, 1, 4, 9, 16, 25])
    assert result.name == "figure-0-demo"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), RuntimeError("the machine went away")])
def test_interrupted_run_goes_on(toy, tmp_path, failure):
    toy.fail_at, toy.failure = 3, failure
    with pytest.raises(type(failure)):
        runner.run(toy, Toy(), where=tmp_path)
    assert toy.computed == [0, 1, 2]
    assert results.stored(tmp_path) == []
    assert runner.expected_seconds(toy, Toy(), where=tmp_path) == pytest.approx(3 * 0.05, rel=0.2)
    toy.fail_at = None
    result = runner.run(toy, Toy(), where=tmp_path)
    assert toy.computed == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(result["squares"], [0, 1, 4, 9, 16, 25])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figure-0-demo.json", "figure-0-demo.npz"]


def test_finished_run_is_not_repeated_unless_asked_or_changed(toy, tmp_path, monkeypatch):
    first = runner.run(toy, Toy(), where=tmp_path)
    again = runner.run(toy, Toy(), where=tmp_path)
    assert toy.computed == list(range(6))
    assert again.record == first.record
    runner.run(toy, Toy(), where=tmp_path, fresh=True)
    assert toy.computed == 2 * list(range(6))
    monkeypatch.setattr(results, "library_hash", lambda: "0" * 64)
    runner.run(toy, Toy(), where=tmp_path)
    assert toy.computed == 3 * list(range(6))


def test_damaged_result_is_computed_again(toy, tmp_path):
    runner.run(toy, Toy(), where=tmp_path)
    path = tmp_path / "figure-0-demo.npz"
    path.write_bytes(path.read_bytes()[:100])
    runner.run(toy, Toy(), where=tmp_path)
    assert toy.computed == 2 * list(range(6))
    assert results.load("figure-0-demo", tmp_path)["squares"][-1] == 25


def test_time_limit_keeps_what_is_finished(toy, tmp_path, monkeypatch):
    clock = iter(range(0, 1000, 10))  # every look at the clock is 10 s later
    monkeypatch.setattr(runner.time, "monotonic", lambda: next(clock))
    with pytest.raises(runner.Unfinished, match=r"time limit of 35 s with 3 of 6 cells finished"):
        runner.run(toy, Toy(), where=tmp_path, time_limit=35)
    runner.run(toy, Toy(), where=tmp_path)
    assert toy.computed == list(range(6))


def test_clock_judges_by_the_largest_cell():
    clock = runner._Clock(10.0)
    clock.learn(1000, 1.0)
    clock.learn(1, 5.0)  # a small cell is mostly overhead: it says nothing about the next large one
    assert clock.leaves_time_for(5000)
    assert not clock.leaves_time_for(11000)


def test_partial_result_says_so_and_is_completed(tmp_path, monkeypatch):
    config = dataclasses.replace(RUN, widths=(8,), seeds=(3,))
    answers = iter([True, True, False])
    with monkeypatch.context() as patch:
        patch.setattr(runner._Clock, "leaves_time_for", lambda clock, work: next(answers))
        result = figure3.run(config, where=tmp_path, time_limit=25, partial=True)
    assert result.record["missing"] == ["erf-width8-seed2"]
    assert "incomplete: 1 parts missing" in result.describe()
    np.testing.assert_array_equal(figure3.seed_counts(result), [[2]])
    assert np.isnan(result["drift"][0, 0, 2]).all()
    assert "(2 seeds)" in figure3.summary(result)
    plt.close(figure3.plot(result))
    whole = figure3.run(config, where=tmp_path)
    assert whole.record["missing"] == []
    np.testing.assert_array_equal(whole["drift"][:, :, :2], result["drift"][:, :, :2])
    assert not (tmp_path / ".cells").exists()


def test_partial_results_are_refused_where_they_make_no_sense(toy):
    with pytest.raises(ValueError, match="figure 0 has no partial results"):
        runner.run(toy, Toy(), partial=True)


def test_progress_bar_reaches_the_end(toy, capsys):
    runner.run(toy, Toy(), progress=True)
    assert "100 %" in capsys.readouterr().err


KILLED = textwrap.dedent(
    """
    import os, sys, time
    from types import SimpleNamespace
    from dataclasses import dataclass
    import numpy as np
    from jacntk_lib.experiments import runner
    from jacntk_lib.results import provenance, store

    # The library may be edited while this test runs; its hash would then change from one process to the next
    store.library_hash = provenance.library_hash = lambda: "0" * 64

    @dataclass(frozen=True)
    class Toy:
        count: int = 100

    @dataclass(frozen=True)
    class Cell:
        number: int
        key = property(lambda self: f"cell-{self.number}")

    def run_cell(config, cell, device="cpu", report=None):
        time.sleep(0.03)
        with open(sys.argv[2], "a") as log:
            log.write(f"{cell.number}\\n")
        return {"value": np.full(500, cell.number)}

    toy = SimpleNamespace(
        NUMBER=0, PRESETS={"demo": Toy()}, run_cell=run_cell,
        cells=lambda config: [Cell(i) for i in range(config.count)],
        seeds=lambda config, cell: [0],
        operations=lambda config, cell: (1, "float64"),
        collect=lambda config, outcomes: {"values": np.stack([o["value"] for o in outcomes.values()])},
    )
    runner.run(toy, Toy(), where=sys.argv[1])
    """
)


@pytest.mark.skipif(os.name != "posix", reason="kills with SIGKILL")
def test_killed_at_twenty_random_moments(tmp_path):
    """Nothing is lost (a kill costs the cell in hand at most), nothing is doubled (a result has each once)."""
    where, log = tmp_path / "results", tmp_path / "log"
    worker = [sys.executable, "-c", KILLED, str(where), str(log)]
    draw = np.random.default_rng(0)
    kills, there = 20, set()

    def cells():
        return set(where.glob(".cells/*/cell-*.npz"))

    for _ in range(kills):
        process = subprocess.Popen(worker)
        begun = time.monotonic()
        while not cells() - there:  # until this process has written a cell of its own
            assert process.poll() is None
            assert time.monotonic() - begun < 60
            time.sleep(0.002)
        time.sleep(0.05 * draw.random())  # then for a random part of the next ones
        process.send_signal(signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL  # it was at work until then
        before, there = there, cells()
        assert before < there
        for path in there - before:  # whole, or not there at all
            with np.load(path, allow_pickle=False) as cell:
                assert set(cell["value"]) == {int(path.stem.removeprefix("cell-"))}
    assert subprocess.run(worker, timeout=60).returncode == 0
    result = results.load("figure-0-demo", where)
    np.testing.assert_array_equal(result["values"], np.repeat(np.arange(100)[:, None], 500, axis=1))
    assert sorted(path.name for path in where.iterdir()) == ["figure-0-demo.json", "figure-0-demo.npz"]
    computed = [int(line) for line in log.read_text().split()]
    assert set(computed) == set(range(100))
    assert len(computed) - 100 <= kills


@pytest.mark.skipif(os.name != "posix", reason="compares with the test of kills")
def test_two_runs_at_once(tmp_path):
    where, log = tmp_path / "results", tmp_path / "log"
    workers = [subprocess.Popen([sys.executable, "-c", KILLED, str(where), str(log)]) for _ in range(2)]
    assert [worker.wait(60) for worker in workers] == [0, 0]
    result = results.load("figure-0-demo", where)
    np.testing.assert_array_equal(result["values"][:, 0], np.arange(100))
    assert sorted(path.name for path in where.iterdir()) == ["figure-0-demo.json", "figure-0-demo.npz"]
