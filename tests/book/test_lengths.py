"""The pages are as long as a reader was promised: words, and lines of code that are not folded. And what they count."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from docutils import nodes

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import jacntk_pages  # noqa: E402

# words per page; a fifth over is the outermost
WORDS = {
    "intro": 800,
    "twenty-minutes": 1100,
    "01-setup": 900,
    "02-joint-gp": 1100,
    "03-differentiated-kernel": 1000,
    "04-jntk-at-initialisation": 1100,
    "05-smallest-eigenvalue": 1700,
    "06-constancy": 1500,
    "07-linear-ode": 1400,
    "08-kernel-regression": 1400,
    "09-accuracy-and-robustness": 1900,
    "11-when-you-have-gradients": 1500,
    "12-scale": 1400,
    "10-your-own-data": 1000,
    "notation": 1300,
    "certificates": 3800,
    "benchmarks": 600,
}
LINES = 20  # of a visible cell


@pytest.mark.parametrize("page", WORDS)
def test_a_page_keeps_its_length(page):
    text = (ROOT / "book" / f"{page}.md").read_text(encoding="utf-8")
    assert jacntk_pages.prose_words(text) <= 1.2 * WORDS[page]
    assert max(jacntk_pages.visible_cells(text), default=0) <= LINES


def test_what_counts_as_a_word_and_as_a_visible_line():
    text = "---\nfront: matter\n---\n# A title\n\n:::{note}\n:class: tip\nOf $a + b$.\n:::\n\n$$\nx + y\n$$ (eq-x)\n"
    assert jacntk_pages.prose_words(text) == 5
    cell = "```{code-cell} ipython3\n%s\nx = 1\n\ny = 2\n```\n"
    figure = "---\nmystnb:\n  figure:\n    name: fig\ntags: [hide-input]\n---"
    tags = (":tags: [claim]\n", figure, ":tags: [raises-exception]\n", "z = 0")
    assert [jacntk_pages.visible_cells(cell % tag) for tag in tags] == [[], [], [2], [3]]


def test_the_figures_of_an_appendix_are_counted_in_it():
    titles = {"first": "1. A chapter", "last": "Appendix C: benchmarks", "none": "Appendix D: words"}
    numbers = {"first": {"figure": {"fig-a": (1, 1)}}, "last": {"figure": {"fig-b": (6,), "fig-c": (7,)}}, "none": {}}
    titles = {name: nodes.title("", title) for name, title in titles.items()}
    env = SimpleNamespace(titles=titles, toc_fignumbers=numbers)
    assert jacntk_pages.letter_figures(None, env) == []
    found = {**numbers["first"]["figure"], **numbers["last"]["figure"]}
    assert found == {"fig-a": (1, 1), "fig-b": ("C", 1), "fig-c": ("C", 2)}
