"""nbval compares the stored notebooks with what the built book put out, and executes nothing."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from nbformat import v4

ROOT = Path(__file__).resolve().parents[2]
FAILS = "1 / 0  # and must not run"


def notebook(*cells):
    """A notebook of code cells ``(source, outputs, tags...)`` that were executed."""
    return v4.new_notebook(
        cells=[
            v4.new_code_cell(source, outputs=outputs, execution_count=1, metadata={"tags": tags})
            for source, outputs, *tags in cells
        ]
    )


def text(words):
    return v4.new_output("stream", text=words)


def shown(kind, words):
    return v4.new_output("display_data", {"text/plain": "a table", kind: words})


ERROR = v4.new_output("error", ename="ZeroDivisionError", evalue="division by zero", traceback=["..."])
PICTURE = v4.new_output("display_data", {"text/plain": "a table"})  # stripped, as it is stored
CELLS = [
    (FAILS, [text("1\n"), text("2\n")]),
    ("table", [shown("text/html", "<b>0.91</b>"), shown("image/png", "iVBORw0KGgo=")]),
    ("1 / 0", [ERROR], "raises-exception"),
    ("quiet", []),
]


@pytest.fixture
def compared(tmp_path):
    """``compared(stored)``: what pytest says of stored notebooks, by name, where CELLS is the built one."""

    def write(path, cells):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(v4.writes(notebook(*cells)))

    def run(stored, built=CELLS):
        if built:
            write(tmp_path / "_build" / ".jupyter_cache-now" / "executed" / "a" / "base.ipynb", built)
        for name, cells in stored.items():
            write(tmp_path / "notebooks" / f"{name}.ipynb", cells)
        command = [sys.executable, "-m", "pytest", "-rA", "--color=no"]
        command += [word for name in ("nbval.plugin", "tools.built", "no:cacheprovider") for word in ("-p", name)]
        command += ["--config-file", os.devnull, "--rootdir", tmp_path, tmp_path / "notebooks"]
        environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)

    return run


def changed(number, *outputs):
    return [(source, list(outputs) if n == number else out, *tags) for n, (source, out, *tags) in enumerate(CELLS)]


def test_equal_outputs_pass_and_any_other_fails(compared):
    """A stream in other pieces and a picture not stored are equal."""
    said = compared(
        {
            "equal": CELLS,
            "stripped": changed(1, shown("text/html", "<b>0.91</b>"), PICTURE),
            "pieces": changed(0, text("1\n2\n")),
            "text": changed(0, text("1\n3\n")),
            "html": changed(1, shown("text/html", "<b>0.92</b>"), shown("image/png", "")),
            "fewer": changed(1),
            "more": changed(3, text("stored only\n")),
            "no-error": changed(2),
        }
    ).stdout
    failed = set(re.findall(r"^FAILED .*?([\w-]+)\.ipynb::", said, re.MULTILINE))
    assert failed == {"text", "html", "fewer", "more", "no-error"}, said
    assert "5 failed, 27 passed" in said
    assert "<b>0.92</b>" in said


def test_an_error_that_is_not_the_point_fails(compared):
    cells = [("1 / 0", [ERROR])]
    said = compared({"one": cells}, built=cells).stdout
    assert "Cell execution caused an exception" in said
    assert "1 failed" in said


@pytest.mark.parametrize("built", [None, CELLS[:-1]])
def test_a_book_of_other_cells_is_not_compared(compared, built):
    said = compared({"one": CELLS}, built=built).stdout
    assert "run `make book`" in said
    assert "4 errors" in said
