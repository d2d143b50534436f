"""The book on paper: pages joined into one whose links lead somewhere and whose folds are open."""

import sys
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import printed  # noqa: E402

PAGE = """<html><head><title>{title}</title><link rel="stylesheet" href="../_static/book.css">{following}
<script src="../_static/mathjax/tex.js"></script><script src="../_static/search.js"></script></head>
<body><nav>not on paper</nav><article class="bd-article">{content}</article></body></html>"""
INTRO = """<h1 id="start">Start<a class="headerlink" href="#start">#</a></h1>
<a href="two.html#sum">a section</a> <a href="two.html">a page</a> <a href="#start">here</a>
<a href="https://doi.example/1">elsewhere</a> <img src="../_images/a.png"> <button>Copy</button>"""
TWO = """<h1 id="start">Two</h1><p id="sum"></p><a href="intro.html#start">back</a><script>moves()</script>
<div class="cell tag_hide-input"><details class="hide above-input"><summary>Show</summary>draw()</details></div>
<div class="cell tag_hide-cell"><details class="hide above-input"><summary>Show</summary>solve()</details></div>
<details class="sd-dropdown"><summary>Solution</summary>Because.</details>"""


@pytest.fixture
def site(tmp_path):
    (tmp_path / "book").mkdir()
    link = '<link rel="next" href="{}">'
    (tmp_path / "book" / "intro.html").write_text(
        PAGE.format(title="The book", following=link.format("two.html"), content=INTRO)
    )
    (tmp_path / "book" / "two.html").write_text(PAGE.format(title="Two", following="", content=TWO))
    return tmp_path


def test_pages_are_joined_in_the_order_of_their_links(site):
    html, pages = printed.joined(site)
    assert pages == ["book/intro.html", "book/two.html"]
    whole = BeautifulSoup(html, "html.parser")
    assert [one["id"] for one in whole.find_all("article")] == ["book-intro", "book-two"]
    assert whole.title.string == "The book"
    assert "not on paper" not in html
    assert [one["src"] for one in whole.find_all("script")] == ["_static/mathjax/tex.js"]
    assert [one["href"] for one in whole.find_all("link")] == ["_static/book.css"]


def test_links_lead_to_the_joined_page_and_nowhere_else(site):
    html, _ = printed.joined(site)
    links = [a["href"] for a in BeautifulSoup(html, "html.parser").find_all("a")]
    assert links == [
        "#book-two--sum",
        "#book-two",
        "#book-intro--start",
        "https://doi.example/1",
        "#book-intro--start",
    ]
    assert printed.dead_links(html) == []
    (site / "book" / "two.html").write_text(PAGE.format(title="Two", following="", content="<p></p>"))
    assert printed.dead_links(printed.joined(site)[0]) == ["#book-two--sum"]


def test_folds_are_open_and_drawing_code_is_left_out(site):
    whole = BeautifulSoup(printed.joined(site)[0], "html.parser")
    assert [one.get("open") for one in whole.find_all("details")] == [""]
    text = whole.get_text()
    assert "solve()" in text
    assert "Because." in text
    assert not any(word in text for word in ("draw()", "moves()", "Copy", "Show", "#"))


def test_a_circle_of_pages_is_refused(site):
    link = '<link rel="next" href="intro.html">'
    (site / "book" / "two.html").write_text(PAGE.format(title="Two", following=link, content=TWO))
    with pytest.raises(SystemExit, match=r"book/two.html leads back to book/intro.html"):
        printed.order(site)


def test_without_a_book_the_command_says_what_to_do(tmp_path):
    with pytest.raises(SystemExit, match="run `make book` first"):
        printed.main(["--site", str(tmp_path)])
