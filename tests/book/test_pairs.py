"""Chapters and their stored notebooks: what is written compares equal, and drift is found."""

import sys
from pathlib import Path

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
def executed(tmp_path_factory):
    """The stored form of a small chapter."""
    book = tmp_path_factory.mktemp("book")
    (book / "01-one.md").write_text(CHAPTER)
    notebooks.write(book / "01-one.md", book / "notebooks" / "01-one.ipynb")
    return (book / "notebooks" / "01-one.ipynb").read_text()


@pytest.fixture
def pair(executed, tmp_path):
    """Paths of the chapter and its notebook in a book of their own, beside a page without code."""
    source, target = tmp_path / "01-one.md", tmp_path / "notebooks" / "01-one.ipynb"
    target.parent.mkdir()
    source.write_text(CHAPTER)
    target.write_text(executed)
    (tmp_path / "references.md").write_text("# A page without code\n")
    return source, target


def test_a_fresh_pair_agrees_and_stores_text_but_no_picture(pair):
    source, target = pair
    assert notebooks.check(source.parent) == []
    stored = nbformat.read(target, as_version=4)
    nbformat.validate(stored)
    first, second = [cell for cell in stored.cells if cell.cell_type == "code"]
    assert first.outputs[0].text == "here: []\n"  # executed in an empty folder
    assert list(second.outputs[0].data) == ["text/plain"]


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("plt.plot([0, 1])", "plt.plot([0, 2])", "cell 2: source differs"),
        ("# A chapter", "# The chapter", "cell 0: source differs"),
        ("lower left to", "upper left to", "cell 2: metadata differs"),
        ("# A chapter\n", "# A chapter\n\n+++\n\nMore.\n", "has 4 cells, the notebook 3"),
    ],
)
def test_an_edited_chapter_is_found(pair, old, new, complaint):
    source, _ = pair
    source.write_text(CHAPTER.replace(old, new))
    found = notebooks.check(source.parent)
    assert any(complaint in one for one in found), found


def test_a_notebook_that_was_not_executed_or_stores_a_picture_is_found(pair):
    source, target = pair
    stored = nbformat.read(target, as_version=4)
    stored.cells[1].execution_count = None
    stored.cells[2].outputs[0].data["image/png"] = "iVBORw0KGgo="
    nbformat.write(stored, target)
    found = notebooks.check(source.parent)
    assert [complaint.partition(": ")[2] for complaint in found] == [
        "cell 1 was never executed in the notebook",
        "cell 2 of the notebook stores a picture",
    ]


def test_a_missing_and_a_surplus_notebook_are_found(pair):
    source, target = pair
    target.rename(target.with_name("02-two.ipynb"))
    missing, surplus = notebooks.check(source.parent)
    assert missing.endswith("01-one.md has no notebook")
    assert surplus.endswith("02-two.ipynb has no chapter")
