"""The command line: what it computes, what it leaves behind, and how it fails."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from jacntk_book import experiments, results
from jacntk_book.cli import command as cli
from jacntk_book.experiments import figure2
from jacntk_book.results import atomic, provenance
from jacntk_lib.errors import ConvergenceError, SingularGramError

TINY = figure2.Config(activations=("erf",), depths=(1, 2), widths=(8, 16), seeds=2, points=5, input_dim=2)
OWN_GRID = {"activations": ["erf"], "depths": [1], "widths": [8, 16], "seeds": 2, "points": 5, "input_dim": 2}


@pytest.fixture
def computed(monkeypatch):
    """Makes the demo of figure 2 four cells that take no time; the keys of those computed."""
    keys = []

    def run_cell(config, cell, device="cpu", report=None):
        keys.append(cell.key)
        return figure2.run_cell(config, cell, device, report)

    tiny = dataclasses.replace(figure2.EXPERIMENT, presets={"demo": TINY}, run_cell=run_cell)
    monkeypatch.setattr(figure2, "EXPERIMENT", tiny)
    return keys


def compute_by(monkeypatch, function):
    """From now on ``function()`` stands for the computation of any cell of figure 2."""
    experiment = dataclasses.replace(figure2.EXPERIMENT, run_cell=lambda *_, **__: function())
    monkeypatch.setattr(figure2, "EXPERIMENT", experiment)


def raising(error):
    def fail():
        raise error

    return fail


@pytest.fixture
def grid(tmp_path):
    """Writes a grid of one's own."""

    def write(fields):
        path = tmp_path / "grid.json"
        path.write_text(fields if isinstance(fields, str) else json.dumps(fields))
        return path

    return write


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


# Figures


def test_figure_is_computed_once_and_drawn_again(computed, tmp_path, capsys):
    out = tmp_path / "new" / "folder"
    assert run("figure", 2, "--out", out) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Figure 2: The Jacobian NTK")
    assert printed.index("4 cells on ") < printed.index("median over 2 seeds")
    assert printed.rstrip().endswith("figure-2-demo.png")
    assert names(out) == ["figure-2-demo.json", "figure-2-demo.npz", "figure-2-demo.png"]
    assert (out / "figure-2-demo.png").read_bytes().startswith(b"\x89PNG")
    assert results.load("figure-2-demo", out)["frobenius"].shape == (1, 2, 2, 2)
    assert json.loads((out / "figure-2-demo.json").read_text())["command"] == "jacntk figure 2 --preset demo"
    (out / "figure-2-demo.png").unlink()
    assert run("figure", 2, "--out", out) == 0
    assert "computed already" in capsys.readouterr().out
    assert (out / "figure-2-demo.png").exists()
    assert len(computed) == 4
    assert run("figure", 2, "--out", out, "--fresh") == 0
    assert len(computed) == 8


def test_default_folder(computed, tmp_path, monkeypatch):
    monkeypatch.setenv("JACNTK_RESULTS_DIR", str(tmp_path / "named"))
    assert run("figure", 2) == 0
    assert results.stored(tmp_path / "named") == ["figure-2-demo"]
    # an installed package, with no book beside it
    monkeypatch.delenv("JACNTK_RESULTS_DIR")
    monkeypatch.setattr(provenance, "WING", tmp_path / "site-packages" / "jacntk_book")
    monkeypatch.chdir(tmp_path)
    assert run("figure", 2) == 0
    assert results.stored(tmp_path / "jacntk-results") == ["figure-2-demo"]


def test_partial_result_is_told_and_completed(computed, tmp_path, monkeypatch, capsys):
    answers = iter([True])
    with monkeypatch.context() as patch:
        patch.setattr(experiments.experiment._Clock, "leaves_time_for", lambda clock, work: next(answers, False))
        assert run("figure", 2, "--out", tmp_path, "--time-limit", 9) == 1
        assert "jacntk: stopped at the time limit of 9 s with 1 of 4 cells finished" in capsys.readouterr().err
        assert run("figure", 2, "--out", tmp_path, "--time-limit", 9, "--partial") == 0
    assert "incomplete: 3 parts are missing; the same command goes on from here" in capsys.readouterr().out
    assert run("figure", 2, "--out", tmp_path) == 0
    assert "incomplete" not in capsys.readouterr().out
    assert len(computed) == 4


# Cells


def cells_of(capsys, *arguments):
    capsys.readouterr()
    assert run("cells", 2, "--json", *arguments) == 0
    return json.loads(capsys.readouterr().out)


def test_cells_computed_one_by_one_make_the_figure(computed, tmp_path, capsys):
    """What a sweep does: list, compute in any order and number, put together; nothing is computed twice."""
    listed = cells_of(capsys, "--out", tmp_path)
    keys = [cell["key"] for cell in listed["cells"]]
    assert keys == [cell.key for cell in figure2.cells(TINY)]
    assert (listed["figure"], listed["name"], listed["stored"]) == (2, "figure-2-demo", False)
    assert listed["library"] == results.library_hash()
    assert not any(cell["finished"] for cell in listed["cells"])

    compute = ["cells", 2, "--out", tmp_path, "--library", listed["library"], "--compute"]
    assert run(*compute, keys[3], keys[1], keys[3]) == 0
    assert "2 computed, 1 there already" in capsys.readouterr().out
    assert names(listed["folder"]) == sorted(f"{keys[i]}.npz" for i in (1, 3))
    assert run("cells", 2, "--out", tmp_path) == 0
    assert "4 cells, 2 finished" in capsys.readouterr().out
    assert run(*compute, *keys) == 0
    assert "2 computed, 2 there already" in capsys.readouterr().out
    assert all(cell["finished"] for cell in cells_of(capsys, "--out", tmp_path)["cells"])

    assert run("figure", 2, "--out", tmp_path) == 0
    assert not (tmp_path / ".cells").exists()
    assert cells_of(capsys, "--out", tmp_path)["stored"] is True
    assert run(*compute, *keys) == 0  # the result is stored: there is nothing to do
    assert "0 computed, 4 there already" in capsys.readouterr().out
    assert not (tmp_path / ".cells").exists()
    assert sorted(computed) == sorted(keys)
    alone = figure2.run(TINY)
    for name in alone.arrays:
        np.testing.assert_array_equal(results.load("figure-2-demo", tmp_path)[name], alone[name])


@pytest.mark.parametrize("label", [3, 4, "b8"])
def test_planning_needs_no_gpu(label, tmp_path, capsys):
    planned = {}
    for device in ("cpu", "cuda"):
        assert run("cells", label, "--device", device, "--json", "--out", tmp_path) == 0
        shown = capsys.readouterr()
        planned[device] = json.loads(shown.out)
    # results of a GPU are kept apart, but for the figures that use none
    assert ("is work for the processor: --device cuda changes nothing" in shown.err) == (label != 3)
    assert [planned[device]["device"] for device in planned] == ["cpu", "cuda" if label == 3 else "cpu"]
    assert (planned["cpu"]["folder"] != planned["cuda"]["folder"]) == (label == 3)
    assert all(cell["work"] > 0 for cell in planned["cpu"]["cells"])


def test_cells_of_another_library_are_refused(computed, tmp_path, capsys):
    assert run("cells", 2, "--out", tmp_path, "--compute", "erf-depth1-width8", "--library", "0" * 64) == 1
    assert "the library has changed since the sweep was planned" in capsys.readouterr().err
    assert not (tmp_path / ".cells").exists()


# Grids of one's own


@pytest.mark.parametrize(
    ("number", "fields", "message"),
    [
        (2, "{", "is not JSON"),
        (2, "[" * 10**5, "is not JSON (maximum recursion depth exceeded"),
        (2, [1], "must hold an object with some of the fields activations, depths, widths, seeds"),
        (2, {"layers": 3}, "must hold an object with some of the fields"),
        (2, {"widths": [0]}, "each of widths must be at least 1, got 0"),
        (2, {"widths": "8"}, "grid.json: widths must be a list of values, got '8'"),
        (2, {"widths": [{"8": 1}]}, "grid.json: widths must be a list of numbers or names, got ({'8': 1},)"),
        (2, {"seeds": [1, 2]}, "grid.json: seeds must be an integer, got (1, 2)"),
        (4, {"shares": 0.2}, "shares must be a list of values, got 0.2"),
        ("B9", {"data": "iris"}, "unknown data set 'iris'; known are"),
        (5, {"lams": [0.1], "splits": 10**30}, "splits must be below 2**63"),
    ],
)
def test_own_grid_that_is_none(tmp_path, capsys, grid, number, fields, message):
    assert run("cells", number, "--config", grid(fields), "--out", tmp_path) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert len(shown.splitlines()) == 1


TRAINED = {"data": "breast_cancer", "activations": ["erf"], "depth": 2, "rows": 4, "widths": [8], "seeds": [2]}


@pytest.mark.parametrize(
    ("number", "fields", "key", "message"),
    [
        (3, TRAINED | {"data": "wine"}, "erf-width8-seed0", "'wine' has several classes: the training here has one"),
        (3, TRAINED | {"learning_rate": 1e9}, "erf-width8-seed0", "learning_rate 1e+09 is not below"),
        (2, OWN_GRID | {"widths": [10**30]}, f"erf-depth1-width{10**30}", ""),  # torch says where in C++ it was
    ],
)
def test_own_grid_that_cannot_be_computed(tmp_path, capsys, grid, number, fields, key, message):
    """What only shows while it is computed is the user's mistake all the same, with the name of the file."""
    file, out = grid(fields), tmp_path / "out"
    assert run("cells", number, "--compute", key, "--config", file, "--out", out) == 2
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == 1
    assert shown[0].startswith(f"jacntk cells: {file}: ")
    assert message in shown[0]
    assert not out.exists()


def test_own_grid_that_cannot_be_read(tmp_path, capsys):
    assert run("cells", 2, "--config", tmp_path / "none.json") == 2
    shown = capsys.readouterr().err
    assert f"{tmp_path / 'none.json'} cannot be read (No such file" in shown
    assert "give a file of JSON, an object with some of the fields activations" in shown


def test_own_grid_too_small_to_draw(tmp_path, capsys, grid):
    """What was computed is kept, and the mistake is the user's."""
    file = grid(OWN_GRID | {"seeds": 1})
    assert run("figure", 2, "--config", file, "--out", tmp_path) == 2
    shown = capsys.readouterr()
    assert "(custom)" in shown.out
    assert "too small for a picture: samples has shape (2, 1)" in shown.err
    result = results.load("figure-2-custom", tmp_path)
    assert result["frobenius"].shape == (1, 1, 2, 1)
    assert result.config["widths"] == [8, 16]
    assert "figure2.Config(activations=('erf',)" in result.record["command"]


# Failures


@pytest.mark.parametrize("under", [".", "new/folder"])
def test_a_file_where_a_folder_is_asked_for(computed, tmp_path, capsys, under):
    path = tmp_path / "taken"
    path.write_text("mine")
    assert run("figure", 2, "--out", path / under) == 2
    assert f"results need a folder, but {path} is a file; give another with --out" in capsys.readouterr().err
    assert path.read_text() == "mine"
    assert computed == []


@pytest.mark.parametrize("dangling", [True, False])
def test_a_folder_that_cannot_be_made_is_refused_before_computing(computed, tmp_path, capsys, dangling):
    out = tmp_path / "link" if dangling else Path("/proc/x")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert run("figure", 2, "--out", out) == 2
    assert f"{out} cannot be written (" in capsys.readouterr().err
    assert computed == []
    assert names(tmp_path) == ["link"]


def test_a_picture_replaces_a_symlink_and_a_failed_one_leaves_the_old(computed, tmp_path, monkeypatch):
    target, picture = tmp_path / "mine", tmp_path / "figure-2-demo.png"
    target.write_text("mine")
    picture.symlink_to(target)
    assert run("figure", 2, "--out", tmp_path) == 0
    assert target.read_text() == "mine"
    before = picture.read_bytes()

    def interrupted(figure, file, **_):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", interrupted)
    assert run("figure", 2, "--out", tmp_path) == 130
    assert picture.read_bytes() == before
    assert len(names(tmp_path)) == 4


def test_full_disk_in_the_middle_of_a_run(computed, tmp_path, monkeypatch, capsys):
    """Three of four cells fit. The next run computes the fourth alone."""
    calls = []

    def fsync(handle):
        calls.append(handle)
        if len(calls) > 3:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(atomic.os, "fsync", fsync)
        assert run("figure", 2, "--out", tmp_path) == 1
    said = capsys.readouterr().err
    assert f"jacntk: [Errno 28] No space left on device: '{tmp_path}" in said
    assert "finished parts are kept: repeat the command, or give another folder with --out" in said
    assert results.stored(tmp_path) == []
    computed.clear()
    assert run("figure", 2, "--out", tmp_path) == 0
    assert computed == [figure2.cells(TINY)[3].key]
    assert names(tmp_path) == ["figure-2-demo.json", "figure-2-demo.npz", "figure-2-demo.png"]


def test_a_result_that_cannot_be_read_is_not_computed_again(computed, tmp_path, monkeypatch, capsys):
    """As root no permission would see to that."""
    assert run("figure", 2, "--out", tmp_path) == 0

    def refuse(path):
        raise PermissionError(13, os.strerror(13), str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert run("figure", 2, "--out", tmp_path) == 1
    assert f"Permission denied: '{tmp_path / 'figure-2-demo.json'}'" in capsys.readouterr().err
    assert len(computed) == 4


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ConvergenceError("residual 1, condition 2; raise it"), 1, "jacntk: residual 1, condition 2; raise it\n"),
        (SingularGramError("points 0 and 3 are equal"), 1, "jacntk: points 0 and 3 are equal\n"),
        (OSError("sonar.raw.csv is not UCI's file"), 1, "jacntk: sonar.raw.csv is not UCI's file\n"),
        (MemoryError(), 1, "jacntk: out of memory (MemoryError): take a smaller preset or a grid of your own"),
        (torch.OutOfMemoryError("CUDA out of memory"), 1, "jacntk: out of memory (CUDA out of memory): take a smaller"),
        (RuntimeError("RESOURCE_EXHAUSTED: 8 bytes"), 1, "jacntk: out of memory (RESOURCE_EXHAUSTED: 8 bytes): take"),
        (KeyboardInterrupt(), 130, "the same command goes on from there"),
    ],
)
@pytest.mark.parametrize("own", [False, True])
def test_failures_have_no_traceback(computed, tmp_path, monkeypatch, capsys, grid, error, code, message, own):
    """And a grid of the user's own is not blamed for them."""
    compute_by(monkeypatch, raising(error))
    assert run("figure", 2, *(["--config", grid(OWN_GRID)] if own else []), "--out", tmp_path / "out") == code
    shown = capsys.readouterr().err
    assert message in shown
    assert "Traceback" not in shown
    assert "grid.json" not in shown
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("allocate", [lambda: np.empty(2**58), lambda: torch.empty(2**58)])
def test_no_memory_for_true(computed, tmp_path, monkeypatch, capsys, allocate):
    compute_by(monkeypatch, allocate)
    assert run("figure", 2, "--out", tmp_path) == 1
    assert "jacntk: out of memory (" in capsys.readouterr().err


@pytest.mark.parametrize("mistake", [ZeroDivisionError(), ValueError("a preset"), RuntimeError("of ours")])
def test_our_own_mistakes_show_themselves(computed, tmp_path, monkeypatch, mistake):
    compute_by(monkeypatch, raising(mistake))
    with pytest.raises(type(mistake)):
        run("figure", 2, "--out", tmp_path)


# Information


def test_info(computed, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JACNTK_RESULTS_DIR", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert run("info") == 0
    shown = capsys.readouterr().out
    assert f"results in {tmp_path}: none" in shown
    assert "for torch (OMP_NUM_THREADS 3); kernels by jax on" in shown
    assert names(tmp_path) == []  # nothing was written
    run("figure", 2)
    (tmp_path / "broken.json").write_text("{}")
    (tmp_path / "broken.npz").write_text("")
    capsys.readouterr()
    assert run("info") == 0
    shown = capsys.readouterr().out
    assert "figure-2-demo: jacntk figure 2 --preset demo" in shown
    assert "broken: unusable." in shown
    monkeypatch.setenv("JACNTK_RESULTS_DIR", str(tmp_path / "broken.json"))
    assert run("info") == 0
    assert f"{tmp_path / 'broken.json'} is a file; set JACNTK_RESULTS_DIR to a folder" in capsys.readouterr().out
