"""What the command line says of itself and of wrong usage, and that it is a command among others of a shell."""

import subprocess
import sys

import pytest

from jacntk_book import datasets, experiments
from jacntk_book.cli import command as cli

EVERY_FIGURE = (*experiments.FIGURES, *experiments.APPENDIX, *experiments.OURS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cells", "2", "--preset", "huge"], "jacntk cells: figure 2 has no preset huge"),
        (["cells", "2", "--compute", "erf-depth9"], "figure 2 in this configuration has no cell 'erf-depth9'"),
        (["cells", "2", "--preset", "cpu", "--config", "grid.json"], "not allowed with argument --preset"),
        (["figure", "9"], f"invalid choice: 9 (choose from {', '.join(map(repr, EVERY_FIGURE))})"),
        (["figure", "two"], "invalid choice: 'two' (choose from 1, 2, "),
        (["figure"], "the following arguments are required: FIGURE"),
        (["figure", "2", "--preset", "huge"], "figure 2 has no preset huge; it has demo, cpu, paper"),
        (["figure", "2", "--device", "quantum"], "unknown device 'quantum'"),
        (["figure", "2", "--device", "cuda:99"], "device 'cuda:99' is not there: torch sees"),
        (["figure", "2", "--device", "cpu:99"], "device 'cpu:99' is not supported: use cpu, cuda or cuda:<number>"),
        (["figure", "2", "--out", ""], "the name of a folder is needed, got ''; for the current one say ."),
        (["figure", "2", "--device", "meta"], "device 'meta' is not supported"),
        (["figure", "2", "--time-limit", "-5"], "a positive number of seconds is needed, got -5"),
        (["figure", "2", "--time-limit", "soon"], "a positive number of seconds is needed, got soon"),
        (["plot"], "invalid choice: 'plot'"),
        (["datasets", "wine"], "unrecognized arguments: wine"),
        (["info", "--fast"], "unrecognized arguments: --fast"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
    ],
)
def test_wrong_usage(arguments, message, capsys):
    assert cli.main(arguments) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.out == ""


def test_datasets(capsys):
    assert cli.main(["datasets"]) == 0
    shown = capsys.readouterr().out
    for name in datasets.NAMES:
        assert name in shown
    assert shown.count("(UCI's file, with this library)") == 3
    assert "14/07/2012" in shown
    assert max(len(line) for line in shown.splitlines() if "https://" not in line) <= 80
    assert "CC BY 4.0" in shown


def test_no_command_shows_help(capsys):
    assert cli.main([]) == 2
    assert "examples:" in capsys.readouterr().out


@pytest.mark.parametrize("command", [[], ["figure"], ["cells"], ["datasets"], ["info"]])
def test_help_has_examples_and_fits_a_terminal_of_eighty_columns(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main([*command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert " ".join(["  jacntk", *command]) in shown.split("examples:")[1]
    if not command:
        assert "exit codes: 0 done, 1 failed (stderr says why), 2 wrong usage, 130 interrupted" in shown


def test_module_is_the_command():
    command = [sys.executable, "-m", "jacntk_book"]
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stdout.startswith("jacntk ")
    wrong = subprocess.run([*command, "figure", "0"], capture_output=True, text=True, timeout=60)
    assert wrong.returncode == 2
    assert "Traceback" not in wrong.stderr


def test_a_reader_that_goes_away_is_no_failure():
    command = f"{sys.executable} -m jacntk_book datasets | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stderr == ""
