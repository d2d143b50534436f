"""What the pages get for narrow screens: a second picture, and formulas that keep their commas."""

import hashlib
import json
import sys
from base64 import b64encode
from pathlib import Path
from types import SimpleNamespace

import pytest
from docutils import nodes
from docutils.utils import new_document

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import jacntk_layout  # noqa: E402

from jacntk_lib.book import narrow  # noqa: E402

WIDE, SMALL, ALONE = b"the wide picture", b"the narrow one", b"a picture without a narrow one"
HTML, LATEX = (SimpleNamespace(builder=SimpleNamespace(format=form)) for form in ("html", "latex"))


def file_name(picture):
    return f"{hashlib.sha256(picture).hexdigest()}.png"


def output(picture, **metadata):
    data = {"image/png": b64encode(picture).decode()}
    return {"output_type": "display_data", "data": data, "metadata": {"image/png": {"width": 700, **metadata}}}


@pytest.fixture
def page(tmp_path):
    """A page with two pictures of an executed notebook, of which one has a narrow one."""
    small = {narrow.KEY: {"png": b64encode(SMALL).decode(), "width": 340}}
    cells = [{"cell_type": "markdown"}, {"outputs": [output(WIDE, **small), output(ALONE)]}]
    (tmp_path / "page.ipynb").write_text(json.dumps({"cells": cells}))
    document = new_document("page")
    for picture in (WIDE, ALONE):
        document += nodes.image(uri=f"_build/{file_name(picture)}", alt="Two curves.", width="700px", height="300px")
    settings = SimpleNamespace(docname="page", mystnb_config=SimpleNamespace(output_folder=str(tmp_path)))
    jacntk_layout.add_narrow_pictures(SimpleNamespace(env=settings), document)
    return document


def test_a_picture_stands_beside_its_narrow_one(page, tmp_path):
    wide, small, alone = page.findall(nodes.image)
    assert (wide["classes"], small["classes"], alone["classes"]) == (["wide"], ["narrow"], [])
    assert small["uri"] == f"_build/{file_name(SMALL)}"
    assert (tmp_path / file_name(SMALL)).read_bytes() == SMALL
    assert (small["alt"], small["width"], small.get("height")) == ("Two curves.", "340px", None)


@pytest.mark.parametrize(("app", "count"), [(HTML, 3), (LATEX, 2)])
def test_paper_has_the_wide_pictures_only(page, app, count):
    jacntk_layout.only_on_pages(app, page, "page")
    assert len(list(page.findall(nodes.image))) == count


@pytest.mark.parametrize(
    ("before", "formula", "after", "kept"),
    [
        ("of width ", "n", ", and then", "n,"),
        ("the law (of ", "x", ") holds", "x)"),
        ("a set (", "x", ") here", "(x)"),
        ("a ", "0.5", "-net of points", "0.5-net"),
        ("of ", "n", " layers", None),
        ("of ", "x" * 60, ", and", None),
    ],
)
def test_a_formula_keeps_the_comma_that_follows(before, formula, after, kept):
    document = new_document("page")
    document += nodes.paragraph("", "", nodes.Text(before), nodes.math(formula, formula), nodes.Text(after))
    text = document.astext()
    jacntk_layout.keep_together(HTML, document, "page")
    together = [one.astext() for one in document.findall(nodes.inline) if "together" in one["classes"]]
    assert together == ([kept] if kept else [])
    assert document.astext() == text
