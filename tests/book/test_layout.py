"""What the pages get for narrow screens: a second picture, and formulas that keep their commas."""

import hashlib
import sys
from base64 import b64encode
from pathlib import Path
from types import SimpleNamespace

import pytest
from docutils import nodes
from docutils.utils import new_document

from jacntk_book import narrow

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import jacntk_layout  # noqa: E402

SMALL = b"the narrow picture"
SAID = "Left: a curve that bends to the right. The law (right, dotted)."
HTML, LATEX = (SimpleNamespace(builder=SimpleNamespace(format=form)) for form in ("html", "latex"))


class Renderer:
    """MyST-NB's, as far as it concerns a picture."""

    def __init__(self, folder):
        self.folder = folder

    def write_file(self, path, content, overwrite=False, exists_ok=False):
        (self.folder / path[0]).write_bytes(content)
        return f"/_build/{path[0]}"

    def render_image(self, data):
        return [nodes.image(uri="/_build/wide.png", alt=SAID, width="700px", height="300px")]


def output(**metadata):
    return SimpleNamespace(mime_type="image/png", output_metadata={"image/png": {"width": 700, **metadata}})


@pytest.fixture
def page(tmp_path):
    """A page with two pictures, of which one has a narrow one with its panels below each other."""
    small = {"png": b64encode(SMALL).decode(), "width": 340, "stacked": True}
    render, renderer = jacntk_layout.with_narrow_picture(Renderer.render_image), Renderer(tmp_path)
    document = new_document("page")
    for data in (output(**{narrow.KEY: small}), output()):
        document += nodes.figure("", nodes.container("", *render(renderer, data)), nodes.caption(SAID, SAID))
    jacntk_layout.name_sides(HTML, document)
    return document


def test_a_picture_stands_beside_its_narrow_one(page, tmp_path):
    wide, small, alone = page.findall(nodes.image)
    assert (wide["classes"], small["classes"], alone["classes"]) == (["wide"], ["narrow", "stacked"], [])
    name = f"{hashlib.sha256(SMALL).hexdigest()}.png"
    assert small["uri"] == f"/_build/{name}"
    assert (tmp_path / name).read_bytes() == SMALL
    assert (small["width"], small.get("height")) == ("340px", None)


def test_a_caption_says_where_the_panels_are(page):
    _, small, alone = page.findall(nodes.image)
    assert small["alt"] == "Top: a curve that bends to the right. The law (bottom, dotted)."
    assert alone["alt"] == SAID
    stacked, beside = page.findall(nodes.caption)
    words = {
        kind: [one.astext() for one in stacked.findall(nodes.inline) if kind in one["classes"]]
        for kind in ("wide", "narrow")
    }
    assert words == {"wide": ["Left", "right"], "narrow": ["Top", "bottom"]}
    jacntk_layout.only_on_pages(LATEX, page, "page")
    assert stacked.astext() == beside.astext() == SAID


@pytest.mark.parametrize(("app", "count"), [(HTML, 3), (LATEX, 2)])
def test_paper_has_the_wide_pictures_only(page, app, count):
    jacntk_layout.only_on_pages(app, page, "page")
    assert len(list(page.findall(nodes.image))) == count


@pytest.mark.parametrize(
    ("before", "formula", "after", "kept"),
    [
        ("of width ", "n", ", and then", {"together": ["n,"]}),
        ("the law (of ", "x", ") holds", {"together": ["x)"]}),
        ("a set (", "x", ") here", {"together": ["(x)"]}),
        ("a ", "0.5", "-net of points", {"together": ["0.5-net"]}),
        ("of ", "n", " layers", {}),
        ("of ", "x" * 60, ", and", {"together-wide": ["x" * 60 + ","]}),
    ],
)
def test_a_formula_keeps_the_comma_that_follows(before, formula, after, kept):
    document = new_document("page")
    document += nodes.paragraph("", "", nodes.Text(before), nodes.math(formula, formula), nodes.Text(after))
    text = document.astext()
    jacntk_layout.keep_together(HTML, document, "page")
    together = {}
    for one in document.findall(nodes.inline):
        together.setdefault(*one["classes"], []).append(one.astext())
    assert together == kept
    assert document.astext() == text


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("Figure 4 of the paper", "Figure\u00a04 of the paper"),
        ("by Theorem B, Appendix J.2 and Remark E.1", "by Theorem\u00a0B, Appendix\u00a0J.2 and Remark\u00a0E.1"),
        ("a band of 95 % of all", "a band of 95\u00a0% of all"),
        ("Figure of 4 lines, Section below", "Figure of 4 lines, Section below"),
    ],
)
def test_a_number_stays_with_what_it_numbers(text, bound):
    document = new_document("page")
    document += nodes.paragraph("", "", nodes.Text(text), nodes.literal(text, text))
    jacntk_layout.keep_together(HTML, document, "page")
    assert [one.astext() for one in document.findall(nodes.Text)] == [bound, text]


def test_the_caption_of_a_table_is_not_broken_before_its_per_cent():
    document = new_document("page")
    table, film = (f"<{tag}><caption>a 95 % interval</caption>" for tag in ("table", "figure"))
    document += [nodes.raw("", one, format="html") for one in (table, film)]
    jacntk_layout.keep_together(HTML, document, "page")
    assert [one.astext() for one in document] == [table.replace("95 %", "95\u00a0%"), film]


def cell(*parts, hidden=True):
    made = nodes.container("", *[nodes.container("", nodes.literal_block(text, text)) for text in parts])
    made["nb_element"] = "cell_code"
    if hidden:
        made["hide_mode"] = "input"
    for part, kind in zip(made, ("cell_code_source", "cell_code_output"), strict=False):
        part["nb_element"] = kind
    return made


def test_folded_cells_without_output_are_folded_with_the_next():
    document = new_document("page")
    between = nodes.paragraph("words", "words")
    document += [cell("a"), cell("b"), cell("c", "out"), cell("d"), between, cell("e"), cell("f", hidden=False)]
    jacntk_layout.join_folded(HTML, document)
    shown = [[[line.astext() for line in part] for part in one] for one in document if isinstance(one, nodes.container)]
    assert shown == [[["a", "b", "c"], ["out"]], [["d"]], [["e"]], [["f"]]]
