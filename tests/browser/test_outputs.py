"""The book's own execution put out what the stored notebooks say.

`make notebooks` executes one chapter after another with as many threads as there are cores; a book of several chapters
is built, as `make nbval` runs them, with one thread each. So the two together say that no text in the book depends on
the number of threads.
"""

import sys
from functools import cache
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import notebooks  # noqa: E402


def code_cells(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


@cache
def executed():
    """Source of the code cells -> the cells as the newest build executed them; Sphinx keeps them in its cache."""
    paths = (ROOT / "_build").glob(".jupyter_cache-*/executed/*/base.ipynb")
    found = (code_cells(path) for path in sorted(paths, key=lambda path: path.stat().st_mtime))
    return {tuple(cell.source for cell in cells): cells for cells in found}


def text_outputs(cells):
    """The text of every cell, streams that came in pieces joined."""
    return [
        [
            "".join(output.get("text", "") for output in cell.outputs),
            *(output.data["text/plain"] for output in cell.outputs if "text/plain" in output.get("data", {})),
        ]
        for cell in cells
    ]


@pytest.mark.parametrize("name", notebooks.chapters(ROOT / "book"))
def test_built_and_stored_text_are_equal(name, site):
    stored = code_cells(ROOT / "book" / "notebooks" / f"{name}.ipynb")
    built = executed().get(tuple(cell.source for cell in stored))
    assert built is not None, "the built book is not of these notebooks: run make book and make notebooks"
    assert any(map(any, text_outputs(stored)))
    assert text_outputs(built) == text_outputs(stored)
