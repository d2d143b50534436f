"""What the book refers to exists: works, files of tests, and the code behind the symbols."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(BOOK.glob("*.md"))}
CHAPTERS = {name: text for name, text in PAGES.items() if name[0].isdigit()}
NOTATION = PAGES["notation"]
CODE = re.compile(r"`([^`]+)`")


def test_every_work_is_cited_and_every_citation_is_of_a_work():
    keys = re.findall(r"^@\w+\{([^,\s]+),", (BOOK / "references.bib").read_text(encoding="utf-8"), re.M)
    cited = re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", "\n".join(PAGES.values()))
    assert len(keys) == len(set(keys))
    assert {key.strip() for one in cited for key in one.split(",")} == set(keys)


BOX = re.compile(r"^:::\{prf:\w+\} (.+)\n(?:.*\n)*?:::\n\n*(.*)$", re.M)
CODE_AND_TESTS = re.compile(r"Code: .*`.+` · Tests: (`tests/[\w/]+\.py`(?:, `tests/[\w/]+\.py`)*)")


@pytest.mark.parametrize("name", CHAPTERS)
def test_code_and_tests_are_named_under_every_box(name):
    """Sphinx resolves the names of the code, and fails where there is none."""
    text = CHAPTERS[name]
    boxes = BOX.findall(text)
    assert len(boxes) == len(re.findall(r"\{prf:(?!ref)\w+\}", text)), "boxes are fenced by three colons"
    assert [title for title, line in boxes if not CODE_AND_TESTS.fullmatch(line)] == []
    named = [file for files in CODE_AND_TESTS.findall(text) for file in CODE.findall(files)]
    assert named, "chapters without a box have such a line too"
    assert {file for file in named if not (ROOT / file).is_file()} == set()


# -- the tables of the notation ------------------------------------------------------------------------------


def table_rows(title):
    """The rows of the tables of one section, as lists of cells."""
    section = re.split(rf"^## {title}$", NOTATION, flags=re.M)[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [row for row in rows if not set("".join(row)) <= set("- ")][1:]


def code_of(page):
    """The code cells of a page."""
    return "\n".join(re.findall(r"```\{code-cell\}.*?\n```", PAGES[page], re.S))


def identifiers(text):
    return set(re.findall(r"[A-Za-z_]\w+", text))


LIBRARY = identifiers("\n".join(path.read_text(encoding="utf-8") for path in ROOT.glob("**/jacntk_*/**/*.py")))


def lost(cell, code):
    """Names in a cell's pieces of code that occur neither in the library nor in ``code``; shapes are no names."""
    pieces = [piece for piece in CODE.findall(cell) if not piece.startswith("(")]
    return identifiers(" ".join(pieces)) - LIBRARY - identifiers(code)


@pytest.mark.parametrize("title", ["The network", "The kernels", "Training"])
def test_symbols_have_their_names_in_the_library(title):
    rows = table_rows(title)
    assert len(rows) >= 10
    assert {symbol: names for symbol, _, code in rows if (names := lost(code, ""))} == {}


def test_symbols_of_one_chapter_have_their_names_in_its_code():
    rows = table_rows("Within one chapter")
    assert len(rows) >= 10
    for chapter, symbol, _, code in rows:
        assert lost(code, code_of(re.search(r"`([\w-]+)`", chapter).group(1))) == set(), symbol
