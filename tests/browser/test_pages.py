"""The built site in Chromium, opened as files with the network off, as a reader would."""

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from axe_playwright_python.sync_playwright import Axe

pytestmark = pytest.mark.browser

UNTYPESET = """() => [...document.querySelectorAll('span.math, div.math')]
    .filter(one => !one.querySelector('mjx-container') || one.querySelector('mjx-merror, [data-mjx-error]'))
    .map(one => one.textContent.slice(0, 80))"""
PICTURES_NOT_ON_WHITE = """() => [...document.querySelectorAll('article .cell_output img, article figure img')]
    .map(one => [one.src, getComputedStyle(one).backgroundColor, getComputedStyle(one).filter])
    .filter(([, background, filter]) => background !== 'rgb(255, 255, 255)' || filter !== 'none')"""
WIDER_THAN_THE_WINDOW = """() => document.documentElement.scrollWidth - window.innerWidth"""
# What a box hides beside its edge, with no way to scroll there; formulas and words for screen readers lay out their own
CUT_OFF = """() => [...document.querySelectorAll('body *')]
    .filter(one => one.clientWidth > 1 && one.scrollWidth > one.clientWidth + 1)
    .filter(one => ['hidden', 'clip'].includes(getComputedStyle(one).overflowX) && !one.closest('mjx-container'))
    .map(one => one.outerHTML.slice(0, 160))"""
# Formulas in a line of text that are wider than it: of what they end with, nothing is seen
WIDER_THAN_A_LINE = """() => [...document.querySelectorAll('article span.math')]
    .filter(one => one.offsetParent && one.firstElementChild)
    .filter(one => one.firstElementChild.getBoundingClientRect().width > one.getBoundingClientRect().width + 1)
    .map(one => one.parentElement.textContent.slice(0, 160))"""
PICTURES_NOT_SHOWN = """() => [...document.querySelectorAll('article img')]
    .filter(one => one.complete && one.naturalWidth === 0).map(one => one.src)"""
# How much smaller than drawn the figures of code cells are shown: type shrinks with them
SHRUNK = """() => [...document.querySelectorAll('article .cell_output img, article figure img')]
    .filter(one => one.offsetParent && one.naturalWidth).map(one => [one.src, one.clientWidth / one.naturalWidth])
    .filter(([, share]) => share < 0.4)"""  # one half is the full size, since figures have twice the pixels
# Contrast is most of axe's work, and one text of a kind is enough: the same elements up to the page, the same colours
ONE_OF_A_KIND = """
const kinds = new Set();
for (const one of document.querySelectorAll('body *')) {
    delete one.dataset.first;
    if (![...one.childNodes].some(node => node.nodeType === 3 && node.data.trim()) || !one.checkVisibility()) continue;
    let kind = '';
    for (let at = one; at; at = at.parentElement) {
        const style = getComputedStyle(at);
        kind += [at.tagName, at.className, style.color, style.backgroundColor, style.fontSize];
    }
    if (!kinds.has(kind)) one.dataset.first = '';
    kinds.add(kind);
}
axe.configure({rules: [{id: 'color-contrast', selector: '[data-first], input, select, textarea'}]});"""

# Formulas are two thirds of all elements, MathJax's and without text: all but the first are empty while axe looks
FORMULAS_OUT = """() => {
    const formulas = [...document.querySelectorAll('mjx-container')].slice(1);
    window.formulas = formulas.map(one => [one, [...one.childNodes]]);
    formulas.forEach(one => one.replaceChildren());
}"""
FORMULAS_IN = "() => window.formulas.forEach(([one, nodes]) => one.replaceChildren(...nodes))"


def serious(page):
    """What axe-core calls serious or critical, in short."""
    # no preload: a page opened as a file may not fetch its own style sheets
    options = {"resultTypes": ["violations"], "preload": False}
    page.evaluate(FORMULAS_OUT)
    found = Axe(AXE_SCRIPT + ONE_OF_A_KIND).run(page, options=options).response["violations"]
    page.evaluate(FORMULAS_IN)
    return [
        (one["id"], [node["html"][:160] for node in one["nodes"]][:5])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


VIEWS = [(375, "dark"), (375, "light"), (1280, "light"), (1280, "dark")]
# axe takes seconds: on most pages it sees each width and each mode once, on the first page all four views
EXAMINED = [VIEWS[0], VIEWS[2]]


def test_a_page_opens_whole_on_telephone_and_desk_in_both_colour_modes(site, visit, any_page):
    width, scheme = VIEWS[0]
    window = visit(width=width, colour_scheme=scheme)
    page = window.open(site / f"{any_page}.html")
    page.add_style_tag(content="*, ::before, ::after { transition: none !important }")  # no waiting for colours
    assert page.evaluate(UNTYPESET) == []
    assert page.evaluate(PICTURES_NOT_SHOWN) == []
    for width, scheme in VIEWS:
        window.show(width, scheme)
        assert page.evaluate(WIDER_THAN_THE_WINDOW) <= 0
        assert page.evaluate(CUT_OFF) == []
        assert page.evaluate(WIDER_THAN_A_LINE) == []
        assert page.evaluate(SHRUNK) == []
        assert scheme == "light" or page.evaluate(PICTURES_NOT_ON_WHITE) == []
        if (width, scheme) in EXAMINED or any_page == "book/intro":
            assert serious(page) == []
    assert (window.errors, window.outside, window.failed) == ([], [], [])


def test_what_scrolls_sideways_fades_where_there_is_more_and_takes_the_keyboard(site, visit):
    page = visit(width=375).open(site / "book" / "09-accuracy-and-robustness.html")
    table = page.locator(".text_html:has(table)").first
    state = "one => [one.matches('.more-left'), one.matches('.more-right'), one.tabIndex]"
    page.wait_for_function("document.querySelector('.text_html.more-right')")
    assert table.evaluate(state) == [False, True, 0]
    table.evaluate("one => one.scrollTo(one.scrollWidth, 0)")
    page.wait_for_function("document.querySelector('.text_html.more-left')")
    assert table.evaluate(state) == [True, False, 0]


def test_math_is_typeset_with_the_fonts_of_the_site(site, visit):
    window = visit()
    page = window.open(site / "book" / "notation.html")
    assert page.evaluate("document.querySelectorAll('mjx-container').length") > 30
    page.wait_for_function("document.fonts.status === 'loaded'")
    loaded = page.evaluate("[...document.fonts].filter(font => font.status === 'loaded').map(font => font.family)")
    assert any(family.startswith("MJX") for family in loaded)
    assert (window.outside, window.failed) == ([], [])


def luminance(page, expression):
    """Mean of red, green and blue of a computed colour, 0 to 255."""
    numbers = page.evaluate(f"getComputedStyle({expression}).backgroundColor.match(/[\\d.]+/g).map(Number)")
    return sum(numbers[:3]) / 3


def test_the_page_follows_the_readers_colour_mode(site, visit):
    window = visit(colour_scheme="light")
    page = window.open(site / "book" / "references.html")
    assert luminance(page, "document.body") > 200
    window.show(1280, "dark")
    assert luminance(page, "document.body") < 60


def test_the_button_changes_the_mode_and_the_next_page_remembers_it(site, visit):
    window = visit(colour_scheme="light")
    page = window.open(site / "book" / "references.html")
    before = page.evaluate("document.documentElement.dataset.mode")
    page.locator("button.theme-switch-button:visible").first.click()
    after = page.evaluate("document.documentElement.dataset.mode")
    assert after != before
    window.open(site / "book" / "api-data.html")
    assert page.evaluate("document.documentElement.dataset.mode") == after


def hits(page):
    page.wait_for_function("document.querySelector('#search-summary, .search-summary')?.textContent.includes('found')")
    return page.locator("#search-results li a").evaluate_all("links => links.map(link => link.href)")


def test_search_finds_the_jacobian_in_the_files(site, visit):
    page = visit().open(site / "search.html", "?q=Jacobian")
    assert any("/book/notation.html" in hit for hit in hits(page))


def test_search_finds_the_jacobian_with_its_surroundings_when_served(served, visit):
    window = visit()
    window.home = served
    page = window.page
    page.goto(served + "/search.html?q=Jacobian")
    assert any("/book/notation.html" in hit for hit in hits(page))
    page.wait_for_selector("#search-results li p.context")
    assert "jacobian" in page.locator("#search-results").inner_text().lower()
    assert (window.errors, window.outside, window.failed) == ([], [], [])


def test_a_reader_can_walk_from_the_first_page_by_keyboard(site, visit):
    page = visit().open(site / "book" / "intro.html")
    page.keyboard.press("Tab")
    assert "main content" in page.evaluate("document.activeElement.textContent").lower()
    page.keyboard.press("Enter")
    page.wait_for_url("**#main-content")  # a busy browser follows the link a moment later
