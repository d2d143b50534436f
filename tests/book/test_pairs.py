"""Chapters and their stored notebooks: what is written compares equal, every kind of drift is found."""

import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import notebooks  # noqa: E402

CHAPTER = """\
---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# A chapter

```{code-cell} ipython3
:tags: [hide-input]

import pathlib

import matplotlib.pyplot as plt

print("here:", sorted(path.name for path in pathlib.Path().iterdir()))
```

```{code-cell} ipython3
---
mystnb:
  image:
    alt: A line that rises from the lower left to the upper right.
---
plt.plot([0, 1])
plt.show()
```
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A small book, executed once."""
    book = tmp_path_factory.mktemp("book")
    (book / "01-one.md").write_text(CHAPTER)
    (book / "references.md").write_text("# A page without code\n")
    command = [sys.executable, ROOT / "tools" / "notebooks.py", "write", "--book", book]
    subprocess.run(command, check=True, capture_output=True)
    return book


@pytest.fixture
def book(written, tmp_path):
    (tmp_path / "notebooks").mkdir()
    for name in ("01-one.md", "references.md", "notebooks/01-one.ipynb"):
        (tmp_path / name).write_bytes((written / name).read_bytes())
    return tmp_path


def edit(path, old, new):
    text = path.read_text()
    assert text.count(old) >= 1
    path.write_text(text.replace(old, new))


def test_a_fresh_pair_agrees_and_stores_text_but_no_picture(book):
    assert notebooks.check(book) == []
    stored = nbformat.read(book / "notebooks" / "01-one.ipynb", as_version=4)
    first, second = [cell for cell in stored.cells if cell.cell_type == "code"]
    assert first.outputs[0].text == "here: []\n"  # executed in an empty folder
    assert list(second.outputs[0].data) == ["text/plain"]
    assert [cell.id for cell in stored.cells] == ["01-one-000", "01-one-001", "01-one-002"]
    nbformat.validate(stored)


def test_writing_twice_gives_the_same_bytes(book):
    before = (book / "notebooks" / "01-one.ipynb").read_bytes()
    notebooks.write(book / "01-one.md", book / "notebooks" / "01-one.ipynb")
    assert (book / "notebooks" / "01-one.ipynb").read_bytes() == before


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("plt.plot([0, 1])", "plt.plot([0, 2])", "cell 2: source differs"),
        ("# A chapter", "# The chapter", "cell 0: source differs"),
        (":tags: [hide-input]", ":tags: [hide-cell]", "cell 1: metadata differs"),
        ("lower left to", "upper left to", "cell 2: metadata differs"),
        ("# A chapter\n", "# A chapter\n\n+++\n\nMore.\n", "has 4 cells, the notebook 3"),
    ],
)
def test_an_edited_chapter_is_found(book, old, new, complaint):
    edit(book / "01-one.md", old, new)
    found = notebooks.check(book)
    assert any(complaint in one for one in found), found


def test_an_edited_notebook_is_found(book):
    edit(book / "notebooks" / "01-one.ipynb", "plt.plot([0, 1])", "plt.plot([1, 0])")
    assert any("cell 2: source differs" in one for one in notebooks.check(book))


def test_a_notebook_that_was_not_executed_is_found(book):
    notebook = jupytext.read(book / "01-one.md")
    nbformat.write(notebooks.stored_form(notebook, "01-one"), book / "notebooks" / "01-one.ipynb")
    assert any("never executed" in one for one in notebooks.check(book))


def test_a_stored_picture_is_found(book):
    path = book / "notebooks" / "01-one.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[2].outputs[0].data["image/png"] = "iVBORw0KGgo="
    nbformat.write(notebook, path)
    assert any("stores a picture" in one for one in notebooks.check(book))


def test_a_missing_and_a_surplus_notebook_are_found(book):
    path = book / "notebooks" / "01-one.ipynb"
    path.rename(book / "notebooks" / "02-two.ipynb")
    found = notebooks.check(book)
    assert any("01-one.md has no notebook" in one for one in found)
    assert any("02-two.ipynb has no chapter" in one for one in found)


def test_changed_prose_is_taken_over_and_changed_code_refused(book):
    source, target = book / "01-one.md", book / "notebooks" / "01-one.ipynb"
    outputs = [cell.outputs for cell in nbformat.read(target, as_version=4).cells if cell.cell_type == "code"]
    edit(source, "# A chapter\n", "# The chapter\n\nMore.\n\n+++\n\nAnd more.\n")
    edit(source, "lower left to", "upper left to")
    notebooks.take_over_prose(source, target)
    assert notebooks.check(book) == []
    stored = nbformat.read(target, as_version=4)
    assert [cell.outputs for cell in stored.cells if cell.cell_type == "code"] == outputs
    before = target.read_bytes()
    edit(source, "plt.plot([0, 1])", "plt.plot([0, 2])")
    with pytest.raises(SystemExit, match="code has changed"):
        notebooks.take_over_prose(source, target)
    assert target.read_bytes() == before


def test_the_command_fails_on_drift_and_names_the_chapters_it_knows(book):
    command = [sys.executable, ROOT / "tools" / "notebooks.py"]
    assert subprocess.run([*command, "check", "--book", book], capture_output=True).returncode == 0
    edit(book / "01-one.md", "# A chapter", "# The chapter")
    drifted = subprocess.run([*command, "check", "--book", book], capture_output=True, text=True)
    assert drifted.returncode == 1
    assert "make notebooks" in drifted.stderr
    assert "-# The chapter" in drifted.stderr
    assert "+# A chapter" in drifted.stderr
    unknown = subprocess.run([*command, "write", "07", "--book", book], capture_output=True, text=True)
    assert unknown.returncode == 1
    assert "no chapter begins with 07: there are 01-one" in unknown.stderr
