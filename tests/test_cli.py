"""The command line: what it prints, what it leaves behind, and how it fails."""

import json
import subprocess
import sys

import pytest

from jacntk_lib import cli, datasets, experiments, results
from jacntk_lib.errors import DataUnavailableError
from jacntk_lib.experiments import _runner, figure2

TINY = figure2.Config(activations=("erf",), depths=(1, 2), widths=(8, 16), seeds=2, points=5, input_dim=2)


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
    assert printed.index("expected time: ") < printed.index("median relative Frobenius error over 2 seeds")
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
    monkeypatch.setattr(results._provenance, "PACKAGE", tmp_path / "site-packages" / "jacntk_lib")
    monkeypatch.chdir(tmp_path)
    assert run("figure", 2) == 0
    assert results.stored(tmp_path / "jacntk-results") == ["figure-2-demo"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["figure", "9"], "invalid choice: 9 (choose from 1, 2, 3, 6)"),
        (["figure", "two"], "invalid int value: 'two'"),
        (["figure"], "the following arguments are required: number"),
        (["figure", "2", "--preset", "huge"], "figure 2 has no preset huge; it has demo, cpu, paper, wide"),
        (["figure", "2", "--device", "quantum"], "unknown device 'quantum'"),
        (["figure", "2", "--device", "cuda:99"], "device 'cuda:99' is not there: torch sees"),
        (["figure", "2", "--device", "meta"], "device 'meta' is not supported"),
        (["figure", "2", "--time-limit", "-5"], "a positive number of seconds is needed, got -5"),
        (["figure", "2", "--time-limit", "soon"], "invalid"),
        (["figure", "2", "--partial"], "figure 2 has no partial results"),
        (["plot"], "invalid choice: 'plot'"),
    ],
)
def test_wrong_usage(arguments, message, capsys):
    assert run(*arguments) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.out == ""


def test_no_command_shows_help(capsys):
    assert run() == 2
    assert "examples:" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--help"], ["figure", "--help"]])
def test_help_has_examples(arguments, capsys):
    assert run(*arguments) == 0
    shown = capsys.readouterr().out
    assert "examples:" in shown
    assert "jacntk figure 3 --preset paper --device cuda" in shown


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (DataUnavailableError("no data"), 1, "jacntk: no data\n"),
        (_runner.Unfinished("stopped at the limit"), 1, "jacntk: stopped at the limit\n"),
        (OSError(28, "No space left on device"), 1, "No space left on device"),
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


def test_our_own_mistakes_show_themselves(tiny, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(figure2, "run_cell", fail)
    with pytest.raises(ZeroDivisionError):
        run("figure", 2, "--out", tmp_path)


def test_datasets(capsys):
    assert run("datasets") == 0
    shown = capsys.readouterr().out
    for name in datasets.NAMES:
        assert name in shown
    assert "JACNTK_DATA_DIR" in shown
    assert "14/07/2012" in shown
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
    assert "{" + ",".join(map(str, experiments.FIGURES)) + "}" in capsys.readouterr().out
