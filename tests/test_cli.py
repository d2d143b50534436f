"""The command line: what it prints, what it leaves behind, and how it fails."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from jacntk_lib import datasets, experiments
from jacntk_lib.cli import command as cli
from jacntk_lib.errors import ConvergenceError, SingularGramError
from jacntk_lib.experiments import figure2, runner
from jacntk_lib.results import store as results

TINY = figure2.Config(activations=("erf",), depths=(1, 2), widths=(8, 16), seeds=2, points=5, input_dim=2)
EVERY_FIGURE = (*experiments.FIGURES, *experiments.APPENDIX, *experiments.OURS)


@pytest.fixture
def tiny(monkeypatch):
    """The demo preset of figure 2, at a size that takes no time."""
    monkeypatch.setitem(figure2.PRESETS, "demo", TINY)


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


def test_figure(tiny, tmp_path, capsys):
    out = tmp_path / "new" / "folder"
    assert run("figure", 2, "--out", out) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Figure 2: The Jacobian NTK")
    assert printed.index("expected time: ") < printed.index("median over 2 seeds")
    assert printed.rstrip().endswith("figure-2-demo.png")
    assert sorted(path.name for path in out.iterdir()) == [
        "figure-2-demo.json",
        "figure-2-demo.npz",
        "figure-2-demo.png",
    ]
    assert (out / "figure-2-demo.png").read_bytes().startswith(b"\x89PNG")
    assert results.load("figure-2-demo", out)["frobenius"].shape == (1, 2, 2, 2)
    record = json.loads((out / "figure-2-demo.json").read_text())
    assert record["command"] == "jacntk figure 2 --preset demo"


def test_second_run_only_draws(tiny, tmp_path, capsys, monkeypatch):
    assert run("figure", 2, "--out", tmp_path) == 0
    (tmp_path / "figure-2-demo.png").unlink()
    monkeypatch.setattr(figure2, "run_cell", None)  # would fail if it were called
    assert run("figure", 2, "--out", tmp_path) == 0
    assert "computed already" in capsys.readouterr().out
    assert (tmp_path / "figure-2-demo.png").exists()


def test_default_folder(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("JACNTK_RESULTS_DIR", str(tmp_path / "named"))
    assert run("figure", 2) == 0
    assert results.stored(tmp_path / "named") == ["figure-2-demo"]
    # an installed package, with no book beside it
    monkeypatch.delenv("JACNTK_RESULTS_DIR")
    monkeypatch.setattr(results.provenance, "PACKAGE", tmp_path / "site-packages" / "jacntk_lib")
    monkeypatch.chdir(tmp_path)
    assert run("figure", 2) == 0
    assert results.stored(tmp_path / "jacntk-results") == ["figure-2-demo"]


def cells_of(capsys, *arguments):
    capsys.readouterr()
    assert run("cells", 2, "--json", *arguments) == 0
    return json.loads(capsys.readouterr().out)


def test_cells_computed_one_by_one_make_the_figure(tiny, tmp_path, capsys, monkeypatch):
    """What a sweep does: list, compute in any order and number, put together; nothing is computed twice."""
    listed = cells_of(capsys, "--out", tmp_path)
    keys = [cell["key"] for cell in listed["cells"]]
    assert keys == [cell.key for cell in figure2.cells(TINY)]
    assert [cell["work"] for cell in listed["cells"]] == [figure2.operations(TINY, c)[0] for c in figure2.cells(TINY)]
    assert (listed["figure"], listed["name"], listed["stored"]) == (2, "figure-2-demo", False)
    assert listed["library"] == results.library_hash()
    assert not any(cell["finished"] for cell in listed["cells"])

    assert (
        run("cells", 2, "--out", tmp_path, "--compute", keys[3], keys[1], keys[3], "--library", listed["library"]) == 0
    )
    assert "2 computed, 1 there already" in capsys.readouterr().out
    assert sorted(path.name for path in Path(listed["folder"]).iterdir()) == sorted(f"{keys[i]}.npz" for i in (1, 3))
    assert run("cells", 2, "--out", tmp_path) == 0
    assert "4 cells, 2 finished" in capsys.readouterr().out
    assert run("cells", 2, "--out", tmp_path, "--compute", *keys) == 0
    assert "2 computed, 2 there already" in capsys.readouterr().out
    assert all(cell["finished"] for cell in cells_of(capsys, "--out", tmp_path)["cells"])

    with monkeypatch.context() as patch:
        patch.setattr(figure2, "run_cell", None)  # would fail if it were called
        assert run("figure", 2, "--out", tmp_path) == 0
        assert not (tmp_path / ".cells").exists()
        assert cells_of(capsys, "--out", tmp_path)["stored"] is True
        assert (
            run("cells", 2, "--out", tmp_path, "--compute", *keys) == 0
        )  # the result is stored: there is nothing to do
    assert "0 computed, 4 there already" in capsys.readouterr().out
    assert not (tmp_path / ".cells").exists()
    alone = figure2.run(TINY)
    for name in alone.arrays:
        np.testing.assert_array_equal(results.load("figure-2-demo", tmp_path)[name], alone[name])


def test_float32_cells_count_half(tmp_path, capsys):
    grid = {"activations": ["erf"], "depths": [1], "widths": [16], "seeds": 1, "points": 4, "input_dim": 2}
    work = []
    for name, float32_from in (("double", 17), ("single", 16)):
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(grid | {"float32_from": float32_from}))
        work.append(cells_of(capsys, "--config", file, "--out", tmp_path)["cells"][0]["work"])
    assert work[1] == work[0] / 2


@pytest.mark.parametrize("number", EVERY_FIGURE)
def test_planning_needs_no_gpu(number, tmp_path, capsys):
    experiment = experiments.figure(number)
    for preset, config in experiment.PRESETS.items():
        planned = {}
        for device in ("cpu", "cuda"):
            assert run("cells", number, "--preset", preset, "--device", device, "--json", "--out", tmp_path) == 0
            planned[device] = json.loads(capsys.readouterr().out)
            assert [cell["key"] for cell in planned[device]["cells"]] == [cell.key for cell in experiment.cells(config)]
            assert all(cell["work"] > 0 for cell in planned[device]["cells"])
        # results of a GPU are kept apart, but for the figures that use none
        assert (planned["cpu"]["folder"] != planned["cuda"]["folder"]) == (number in (1, 2, 3))
        assert [planned[device]["device"] for device in ("cpu", "cuda")] == [
            "cpu",
            "cuda" if number in (1, 2, 3) else "cpu",
        ]


@pytest.mark.parametrize("number", [4, 5, 6])
def test_a_figure_for_the_processor_claims_no_gpu(number, tmp_path, capsys, monkeypatch):
    """Asked for a GPU, on whatever machine, it says that it uses none, and its record names none."""
    notes = {"data": "banknote_authentication", "drop_parallel": 0.9, "shares": [0.5], "splits": 1, "depth": 1}
    grid = {
        4: notes | {"lams": [0.0, 1.0]},
        5: notes | {"lams": [0.0]},
        6: {"activations": ["erf"], "depths": [1, 2], "rows": 6},
    }[number]
    file = tmp_path / "grid.json"
    file.write_text(json.dumps(grid))
    assert run("figure", number, "--config", file, "--out", tmp_path, "--device", "cuda:99") == 0
    shown = capsys.readouterr()
    assert f"figure {number} is work for the processor: --device cuda:99 changes nothing" in shown.err
    assert "cores of" in shown.out
    record = results.load(f"figure-{number}-custom", tmp_path).record
    assert record["hardware"]["gpu"] is None
    assert "cuda" not in record["command"]
    assert run("figure", number, "--config", file, "--out", tmp_path) == 0
    assert "computed already" in capsys.readouterr().out
    experiment = experiments.figure(number)
    alone = experiment.run(
        cli._own_config(experiment, file), device="cuda"
    )  # nor does the library, without the command
    assert alone.record["hardware"]["gpu"] is None


def test_own_grid(tmp_path, capsys):
    grid = {"activations": ["erf"], "depths": [1], "widths": [8, 16], "seeds": 2, "points": 4, "input_dim": 2}
    file = tmp_path / "grid.json"
    file.write_text(json.dumps(grid))
    assert run("figure", 2, "--config", file, "--out", tmp_path) == 0
    assert "(custom)" in capsys.readouterr().out
    result = results.load("figure-2-custom", tmp_path)
    assert result.config["widths"] == [8, 16]
    assert "figure2.Config(activations=('erf',)" in result.record["command"]
    assert run("figure", 2, "--config", file, "--out", tmp_path) == 0
    assert "computed already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[" * 10**5, "is not JSON (maximum recursion depth exceeded"),
        ("[1]", "must hold an object with some of the fields activations, depths, widths, seeds"),
        ('{"layers": 3}', "must hold an object with some of the fields"),
        ('{"widths": [0]}', "each of widths must be at least 1, got 0"),
        ('{"widths": 3}', "grid.json: widths must be a list of values, got 3"),
        ('{"widths": "8"}', "grid.json: widths must be a list of values, got '8'"),
        ('{"widths": {"8": 1}}', "grid.json: widths must be a list of values, got {'8': 1}"),
        ('{"widths": [{"8": 1}]}', "grid.json: widths must be a list of numbers or names, got ({'8': 1},)"),
        ('{"seeds": [1, 2]}', "grid.json: seeds must be an integer, got (1, 2)"),
        ('{"seeds": 1e400}', "grid.json: seeds must be an integer, got inf"),
    ],
)
def test_own_grid_that_is_none(tmp_path, capsys, text, message):
    file = tmp_path / "grid.json"
    file.write_text(text)
    for command in ("figure", "cells"):
        assert run(command, 2, "--config", file, "--out", tmp_path) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "grid", "message"),
    [
        (3, {"steps": [0, "a"]}, "each of steps must be an integer, got 'a'"),
        (4, {"lams": [-1]}, "each of lams must not be negative, got -1"),
        (4, {"shares": 0.2}, "shares must be a list of values, got 0.2"),
        (5, {"shares": [1]}, r"each of shares must be in (0, 1), got 1"),
        ("B9", {"data": "iris"}, "unknown data set 'iris'; known are"),
        (5, {"lams": [0.1], "splits": 10**30}, "too large"),
        (6, {"depths": [[1]]}, "each of depths must be an integer, got (1,)"),
    ],
)
def test_own_grid_of_other_figures_that_is_none(tmp_path, capsys, number, grid, message):
    file = tmp_path / "grid.json"
    file.write_text(json.dumps(grid))
    assert run("cells", number, "--config", file, "--out", tmp_path) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert len(shown.splitlines()) == 1


TRAINED = {"activations": ["erf"], "depth": 2, "rows": 4, "widths": [8, 16], "seeds": [2, 2], "steps": [0, 1]}
SMALL = {"activations": ["erf"], "depths": [1], "widths": [8, 16], "seeds": 2, "points": 5, "input_dim": 2}


@pytest.mark.parametrize(
    ("number", "grid", "key", "message"),
    [
        (2, SMALL | {"input_dim": 1}, "erf-depth1-width8", "input_dim must be at least 2, got 1"),
        (3, TRAINED | {"data": "wine"}, "erf-width8-seed0", "'wine' has several classes: the training here has one"),
        (
            3,
            TRAINED | {"data": "breast_cancer", "learning_rate": 1e9},
            "erf-width8-seed0",
            "learning_rate 1e+09 is not below",
        ),
        (
            3,
            TRAINED | {"data": "breast_cancer", "seeds": 2},
            "erf-width8-seed0",
            "seeds must be a list of values, got 2",
        ),
    ],
)
def test_own_grid_that_cannot_be_computed(tmp_path, capsys, number, grid, key, message):
    """What only shows while it is computed is the user's mistake all the same, with the name of the file."""
    file, out = tmp_path / "grid.json", tmp_path / "out"
    file.write_text(json.dumps(grid))
    for command in (["figure", number], ["cells", number, "--compute", key]):
        assert run(*command, "--config", file, "--out", out) == 2
        shown = capsys.readouterr().err
        assert f"jacntk {command[0]}: {file}: " in shown
        assert message in shown
    assert not out.exists()


@pytest.mark.parametrize("path", ["grid.json", ".", "file/grid.json"])
def test_own_grid_that_cannot_be_read(tmp_path, capsys, path):
    (tmp_path / "file").touch()
    assert run("cells", 2, "--config", tmp_path / path) == 2
    shown = capsys.readouterr().err
    assert f"{tmp_path / path} cannot be read (" in shown
    assert "give a file of JSON, an object with some of the fields activations" in shown
    assert len(shown.splitlines()) == 1


@pytest.mark.parametrize(
    "error", [SingularGramError("points 0 and 3"), ConvergenceError("residual"), MemoryError("GB")]
)
def test_own_grid_is_not_blamed_for_what_is_no_mistake(tmp_path, capsys, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(figure2, "run_cell", fail)
    file = tmp_path / "grid.json"
    file.write_text(json.dumps(SMALL))
    for command in (["figure", 2], ["cells", 2, "--compute", "erf-depth1-width8"]):
        assert run(*command, "--config", file, "--out", tmp_path / "out") == 1
        shown = capsys.readouterr().err
        assert str(error) in shown
        assert "Traceback" not in shown
        assert str(file) not in shown
    assert not (tmp_path / "out").exists()


def test_an_error_of_many_lines_is_shown_in_one(tmp_path, capsys):
    """torch lists where in C++ it was; a width beyond 64 bits is refused before anything is allocated."""
    file = tmp_path / "grid.json"
    file.write_text(json.dumps(SMALL | {"widths": [10**30]}))
    assert run("cells", 2, "--config", file, "--out", tmp_path, "--compute", f"erf-depth1-width{10**30}") == 2
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == 1
    assert shown[0].startswith(f"jacntk cells: {file}: ")


def test_cells_of_another_library_are_refused(tiny, tmp_path, capsys):
    assert run("cells", 2, "--out", tmp_path, "--compute", "erf-depth1-width8", "--library", "0" * 64) == 1
    assert "the library has changed since the sweep was planned" in capsys.readouterr().err
    assert not (tmp_path / ".cells").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cells", "2", "--preset", "huge"], "jacntk cells: figure 2 has no preset huge"),
        (
            ["cells", "2", "--compute", "erf-depth9-width8"],
            "jacntk cells: figure 2 in this configuration has no cell 'erf-depth9",
        ),
        (["cells", "2", "--compute", "erf-depth1-width64", "--device", "cuda:99"], "device 'cuda:99' is not there"),
        (["cells", "2", "--preset", "cpu", "--config", "grid.json"], "not allowed with argument --preset"),
        (["figure", "9"], f"invalid choice: 9 (choose from {', '.join(map(repr, EVERY_FIGURE))})"),
        (["figure", "B6"], "invalid choice: 'B6' (choose from 1, 2, "),
        (["figure", "two"], "invalid choice: 'two' (choose from 1, 2, "),
        (["cells", "B7", "--preset", "huge"], "jacntk cells: figure B7 has no preset huge; it has "),
        (["figure"], "the following arguments are required: number"),
        (["figure", "2", "--preset", "huge"], "figure 2 has no preset huge; it has demo, cpu, paper"),
        (["figure", "2", "--device", "quantum"], "unknown device 'quantum'"),
        (["figure", "2", "--device", "cuda:99"], "device 'cuda:99' is not there: torch sees"),
        (["figure", "2", "--device", "meta"], "device 'meta' is not supported"),
        (["figure", "2", "--time-limit", "-5"], "a positive number of seconds is needed, got -5"),
        (["figure", "2", "--time-limit", "soon"], "a positive number of seconds is needed, got soon"),
        (["plot"], "invalid choice: 'plot'"),
    ],
)
def test_wrong_usage(arguments, message, capsys):
    assert run(*arguments) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.out == ""


def test_a_figure_of_the_appendix_is_the_experiment_of_another_on_its_own_data(tmp_path, capsys):
    """B8 is Figure 6 on sonar. Lower case will do; title, files and record are its own."""
    file = tmp_path / "grid.json"
    file.write_text(json.dumps({"data": ["sonar"], "activations": ["erf"], "depths": [1], "rows": 4}))
    assert run("figure", "b8", "--config", file, "--out", tmp_path) == 0
    assert capsys.readouterr().out.startswith("Figure B8: ")
    result = results.load("figure-B8-custom", tmp_path)
    assert result.record["command"].startswith("experiments.figure('B8').run(")
    assert run("cells", "B8", "--preset", "paper", "--json", "--out", tmp_path) == 0
    planned = json.loads(capsys.readouterr().out)
    assert (planned["figure"], planned["name"]) == ("B8", "figure-B8-paper")
    assert all("sonar" in cell["key"] for cell in planned["cells"])


def test_a_figure_whose_parts_make_sense_together_only(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(figure2, "PARTIAL", False)
    assert run("figure", 2, "--partial", "--out", tmp_path) == 2
    assert "figure 2 has no partial results" in capsys.readouterr().err


def test_no_command_shows_help(capsys):
    assert run() == 2
    assert "examples:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "example"),
    [
        (["--help"], "jacntk figure 3 --preset paper --device cuda"),
        (["figure", "--help"], "jacntk figure 3 --preset paper --device cuda"),
        (["cells", "--help"], "jacntk cells 3 --preset paper --out results"),
        (["datasets", "--help"], "examples:\n  jacntk datasets\n"),
    ],
)
def test_help_has_examples(arguments, example, capsys):
    assert run(*arguments) == 0
    shown = capsys.readouterr().out
    assert "examples:" in shown
    assert example in shown


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (runner.Unfinished("stopped at the limit"), 1, "jacntk: stopped at the limit\n"),
        (ConvergenceError("residual 1, condition 2; raise it"), 1, "jacntk: residual 1, condition 2; raise it\n"),
        (SingularGramError("points 0 and 3 are equal"), 1, "jacntk: points 0 and 3 are equal\n"),
        (OSError(28, "No space left on device"), 1, "No space left on device): free some, then repeat the command"),
        (OSError(5, "Input/output error"), 1, "Input/output error): see to the disk, then repeat the command"),
        (OSError("sonar.raw.csv is not UCI's file"), 1, "jacntk: sonar.raw.csv is not UCI's file\n"),
        (FileNotFoundError(2, "No such file", "elsewhere"), 1, "jacntk: [Errno 2] No such file: 'elsewhere'\n"),
        (MemoryError(), 1, "jacntk: out of memory (MemoryError): take a smaller preset or a grid of your own"),
        (torch.OutOfMemoryError("CUDA out of memory"), 1, "jacntk: out of memory (CUDA out of memory): take a smaller"),
        (RuntimeError("RESOURCE_EXHAUSTED: 8 bytes"), 1, "jacntk: out of memory (RESOURCE_EXHAUSTED: 8 bytes): take"),
        (KeyboardInterrupt(), 130, "the same command goes on from there"),
    ],
)
def test_failures_have_no_traceback(tiny, tmp_path, monkeypatch, capsys, error, code, message):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(figure2, "run_cell", fail)
    assert run("figure", 2, "--out", tmp_path) == code
    shown = capsys.readouterr().err
    assert message in shown
    assert "Traceback" not in shown
    assert results.stored(tmp_path) == []


@pytest.mark.parametrize("allocate", [lambda: np.empty(2**58), lambda: torch.empty(2**58)])
def test_no_memory_for_true(tiny, tmp_path, monkeypatch, capsys, allocate):
    monkeypatch.setattr(figure2, "run_cell", lambda *_, **__: allocate())
    assert run("figure", 2, "--out", tmp_path) == 1
    assert "jacntk: out of memory (" in capsys.readouterr().err


@pytest.mark.parametrize("mistake", [ZeroDivisionError(), ValueError("a preset"), RuntimeError("of ours")])
def test_our_own_mistakes_show_themselves(tiny, tmp_path, monkeypatch, mistake):
    def fail(*_, **__):
        raise mistake

    monkeypatch.setattr(figure2, "run_cell", fail)
    with pytest.raises(type(mistake)):
        run("figure", 2, "--out", tmp_path)


def test_datasets(capsys):
    assert run("datasets") == 0
    shown = capsys.readouterr().out
    for name in datasets.NAMES:
        assert name in shown
    assert shown.count("(UCI's file, with this library)") == 3
    assert "14/07/2012" in shown
    assert max(len(line) for line in shown.splitlines() if "https://" not in line) <= 80
    assert "CC BY 4.0" in shown


def test_info(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JACNTK_RESULTS_DIR", str(tmp_path))
    assert run("info") == 0
    assert f"results in {tmp_path}: none" in capsys.readouterr().out
    run("figure", 2)
    (tmp_path / "broken.json").write_text("{}")
    (tmp_path / "broken.npz").write_text("")
    capsys.readouterr()
    assert run("info") == 0
    shown = capsys.readouterr().out
    assert "torch" in shown
    assert "cores" in shown
    assert "figure-2-demo: jacntk figure 2 --preset demo" in shown
    assert "broken: unusable." in shown
    monkeypatch.setenv("JACNTK_RESULTS_DIR", str(tmp_path / "broken.json"))
    assert run("info") == 0
    assert f"{tmp_path / 'broken.json'} is a file; set JACNTK_RESULTS_DIR to a folder" in capsys.readouterr().out


def test_info_says_how_many_threads_compute(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("JACNTK_RESULTS_DIR", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert run("info") == 0
    assert "for torch (OMP_NUM_THREADS 3); kernels by jax on" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []  # nothing was written


def test_help_documents_the_exit_codes(capsys):
    assert run("--help") == 0
    shown = capsys.readouterr().out
    for code, what in (
        (cli.OK, "done"),
        (cli.FAILED, "failed"),
        (cli.USAGE, "wrong usage"),
        (cli.INTERRUPTED, "inter"),
    ):
        assert f"{code} {what}" in shown


@pytest.mark.parametrize("command", [[], ["figure"], ["cells"], ["datasets"], ["info"]])
def test_help_fits_a_terminal_of_eighty_columns(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert run(*command, "--help") == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert " ".join(["  jacntk", *command]) in shown.split("examples:")[1]


def test_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "jacntk_lib", "--version"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stdout.startswith("jacntk ")
    wrong = subprocess.run(
        [sys.executable, "-m", "jacntk_lib", "figure", "0"], capture_output=True, text=True, timeout=60
    )
    assert wrong.returncode == 2
    assert "Traceback" not in wrong.stderr


def test_a_reader_that_goes_away_is_no_failure():
    command = f"{sys.executable} -m jacntk_lib datasets | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stderr == ""


def test_every_figure_is_offered(capsys):
    run("figure", "--help")
    assert "{" + ",".join(map(str, EVERY_FIGURE)) + "}" in capsys.readouterr().out
