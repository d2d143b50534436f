"""The circle, as a reader meets it: by mouse, touch and keyboard, read aloud, and standing still."""

import math

import numpy as np
import pytest
from test_circle_kernel import EIGHT, STATIC, frame
from test_pages import serious

from jacntk_lib import MLP, RobustFlow

pytestmark = pytest.mark.browser

SCRIPTS = ("circle-kernel.js", "circle-picture.js", "circle-networks.js", "circle.js")
START = {"labels": " ".join(f"{a}:{b}" for a, b in zip(*EIGHT, strict=True)), "lambda": 0.1, "time": 1000, "depth": 3}
START |= {"activation": "gelu", "kappa": 2, "band": "off", "front": "lambda edit"}


def show(page, fold="", **changes):
    """A page with one circle, which a test that needs no built book can use."""
    data = " ".join(f'data-{name}="{value}"' for name, value in (START | changes).items())
    page.set_content(
        f"<!doctype html><html lang=en><title>A circle</title><main style='{fold}'><h1>A</h1><div class=circle {data}>"
    )
    page.add_style_tag(path=STATIC / "circle.css")
    for name in SCRIPTS:
        page.add_script_tag(path=STATIC / name)
    return page


@pytest.fixture
def window(visit):
    """A page with one circle at its start; nothing may go wrong on it."""
    window = visit()
    show(window.page)
    yield window
    assert (window.errors, window.outside, window.failed) == ([], [], [])


@pytest.fixture
def page(window):
    return window.page


def time_of(page):
    return page.get_by_role("slider", name="time κ²t")


CURVE = "path[data-curve=network]"


def rest(page):
    """Until what was done has been drawn."""
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def curve(page):
    rest(page)
    return page.locator(CURVE).get_attribute("d")


def label(page, i):
    """Angle and value of a label, as its handle tells assistive technology."""
    rest(page)
    handle = page.get_by_role("slider", name=f"Label {i} at")
    return int(handle.get_attribute("aria-label").split()[3]), float(handle.get_attribute("aria-valuenow"))


def centre(page, i):
    box = page.locator(".circle-label").nth(i - 1).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_the_curve_drawn_is_the_librarys(page):
    """Read off the picture, with the scale that the labels on it give."""
    drawn = np.array([pair.split(" ") for pair in curve(page)[1:].split("L")], dtype=float)
    handles = page.locator(".circle-label").evaluate_all("all => all.map(one => one.getAttribute('transform'))")
    at = np.array([one[len("translate(") : -1].split(" ") for one in handles], dtype=float)
    across, up = np.polyfit(at[:, 0], EIGHT[0], 1), np.polyfit(at[:, 1], EIGHT[1], 1)
    degrees, value = np.polyval(across, drawn[:, 0]), np.polyval(up, drawn[:, 1])
    flow = RobustFlow(MLP(3, "gelu", kappa=1.0), next(frame(EIGHT[0])), np.array(EIGHT[1], float), lam=0.1)
    np.testing.assert_allclose(degrees, np.arange(0, 361, 2), atol=0.1)
    np.testing.assert_allclose(value, flow.at(1000, next(frame(np.arange(0, 361, 2) % 360))).value, atol=0.01)


def test_a_label_is_dragged_up_or_sideways_by_mouse(page):
    before = curve(page)
    x, y = centre(page, 3)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 2, y - 40, steps=4)
    page.mouse.up()
    angle, value = label(page, 3)
    assert angle == 80
    assert value > -0.7
    lifted = curve(page)
    assert lifted != before

    x, y = centre(page, 3)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 40, y + 3, steps=4)
    page.mouse.up()
    moved, same = label(page, 3)
    assert moved > 85
    assert same == value
    assert curve(page) != lifted
    page.mouse.move(x + 80, y + 50)  # it was let go
    assert label(page, 3) == (moved, same)


def test_a_label_is_dragged_by_touch_and_the_page_stays(browser):
    context = browser.new_context(viewport={"width": 375, "height": 700}, has_touch=True)
    page = show(context.new_page())
    before = curve(page)
    x, y = centre(page, 3)
    touch = context.new_cdp_session(page)
    for kind, dy in (("touchStart", 0), ("touchMove", -15), ("touchMove", -30), ("touchEnd", None)):
        points = [] if dy is None else [{"x": x, "y": y + dy}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    assert label(page, 3)[1] > -0.8
    assert curve(page) != before
    assert page.evaluate("window.scrollY") == 0
    context.close()


def test_a_label_follows_the_arrow_keys(page):
    before = curve(page)
    handle = page.get_by_role("slider", name="Label 3 at")
    handle.focus()
    for key in ("ArrowUp", "ArrowUp", "PageUp"):
        page.keyboard.press(key)
    assert label(page, 3) == (80, -0.4)
    for key in ("ArrowRight", "Shift+ArrowLeft"):
        page.keyboard.press(key)
    assert label(page, 3) == (71, -0.4)
    assert curve(page) != before
    angles, labels = np.array(EIGHT[0]), np.array(EIGHT[1], float)
    angles[2], labels[2] = 71, -0.4
    flow = RobustFlow(MLP(3, "gelu", kappa=1.0), next(frame(angles)), labels, lam=0.1)
    network = f"{flow.at(1000).value[2]:.2f}".replace("-", "−")
    assert handle.get_attribute("aria-valuetext").startswith(f"−0.40; network {network}, slope ")
    page.keyboard.press("End")
    page.keyboard.press("ArrowUp")  # no further than the end
    assert label(page, 3) == (71, 2)


def test_labels_are_added_and_removed(page):
    handles = page.locator(".circle-label")
    before = curve(page)
    page.get_by_role("button", name="Add a label").click()
    rest(page)
    assert handles.count() == 9
    angle, value = label(page, 9)
    assert angle == 158  # the middle of the largest gap, from 130 to 185 degrees
    assert -1 < value < 1
    assert page.get_by_role("button", name="Remove label 9").is_visible()
    page.get_by_role("button", name="Remove label 9").click()
    assert curve(page) == before
    handles.nth(2).focus()
    page.keyboard.press("Delete")
    rest(page)
    assert handles.count() == 7
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Label 2 at 50 degrees"
    for _ in range(10):
        page.keyboard.press("Delete")
        rest(page)
    assert handles.count() == 1  # the last one stays
    assert page.get_by_role("button", name="Remove label").is_disabled()
    page.get_by_role("button", name="Start again").click()
    assert curve(page) == before


def test_a_double_click_adds_a_label_there(page):
    box = page.locator(".circle svg").first.bounding_box()
    x, _ = centre(page, 2)
    page.mouse.dblclick(x, box["y"] + 20)
    angle, value = label(page, 9)
    assert abs(angle - 50) <= 1
    assert value > 1.5


def test_lambda_time_depth_and_activation_change_the_curve(page):
    seen = [curve(page)]
    page.get_by_text("More settings").click()
    for name, key, said in (("λ", "Home", "λ = 0,"), ("time", "Home", "time 0.1"), ("depth", "End", "6 layers")):
        page.get_by_role("slider", name=name).focus()
        page.keyboard.press(key)
        seen.append(curve(page))
        assert said in page.locator(".circle").inner_text()
    page.get_by_label("activation").select_option("erf")
    seen.append(curve(page))
    assert "erf" in page.locator(".circle-said").first.inner_text()
    assert len(set(seen)) == len(seen)


def test_at_infinite_time_every_penalty_gives_one_curve(page):
    time_of(page).focus()
    page.keyboard.press("End")
    strong = curve(page)
    page.get_by_label("λ").focus()
    page.keyboard.press("ArrowLeft")
    assert curve(page) == strong
    page.keyboard.press("Home")
    assert curve(page) != strong


def test_the_band_and_the_trained_networks_are_switched_on(page):
    page.get_by_text("More settings").click()
    band, trained = page.locator("path[data-curve=band]"), page.locator("path[data-curve=trained]")
    assert (band.get_attribute("d"), trained.get_attribute("d")) == ("", "")
    page.get_by_label("band").check()
    page.get_by_label("trained networks").check()
    rest(page)
    assert band.get_attribute("d").endswith("Z")
    assert trained.get_attribute("d").count("M") == 3
    handle = page.locator(".circle-label").first
    handle.focus()
    page.keyboard.press("ArrowDown")  # other labels: nobody has trained networks on those
    rest(page)
    assert trained.get_attribute("d") == ""
    assert "trained on the first labels alone" in page.locator(".circle").inner_text()


def test_what_is_read_aloud_is_one_sentence_after_it_came_to_rest(page):
    said = page.get_by_role("status")
    page.wait_for_function("document.querySelector('[role=status]').textContent")
    first = said.inner_text()
    assert first.startswith(
        "8 labels, GELU, 3 layers, λ = 0.1, time 1000: the network misses the labels by at most 0.0"
    )
    time_of(page).focus()
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    rest(page)
    assert said.inner_text() == first  # not at every step
    page.wait_for_function("first => document.querySelector('[role=status]').textContent !== first", arg=first)


@pytest.mark.parametrize(
    ("activation", "labels", "said"),
    [
        ("gelu", "10:1 10:-1 90:1", "Labels 1 and 2 share an angle, and contradict each other"),
        ("gelu", "10:1 10:1 90:1", ""),
        ("erf", "10:1 190:1 90:1", "Labels 1 and 2 are opposite, where an erf network has opposite values"),
        ("erf", "10:1 190:-1 90:1", ""),
        ("gelu", "10:1 190:1 90:1", ""),
    ],
)
def test_labels_that_contradict_each_other_are_named(visit, activation, labels, said):
    text = show(visit().page, labels=labels, time="inf", activation=activation).locator(".circle").inner_text()
    assert said in text
    assert ("contradict" in text) == bool(said)


def test_a_curve_that_leaves_the_picture_is_said_to(visit):
    """Labels 20 degrees apart, level at each: far away the library's curve overshoots."""
    angles, labels = [0, 20, 40, 60], np.array([2.0, -2.0, 2.0, 2.0])
    text = show(visit().page, labels="0:2 20:-2 40:2 60:2", time="inf").locator(".circle").inner_text()
    flow = RobustFlow(MLP(3, "gelu"), next(frame(angles)), labels, lam=0.1)
    highest = np.abs(flow.at(math.inf, next(frame(np.arange(0, 360, 2)))).value).max()
    assert highest > 2.6
    assert f"it leaves the picture, up to a size of {highest:.2g}." in text


def test_a_circle_that_was_folded_away_is_drawn_when_it_is_unfolded(visit):
    window = visit()
    page = show(window.page, fold="display:none")
    assert page.locator(CURVE).count() == 0
    page.locator("main").evaluate("main => main.style.display = 'block'")
    page.wait_for_selector(CURVE, state="attached")
    assert window.errors == []


def test_play_runs_through_time_and_pauses(page):
    time = time_of(page)
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("start => +document.querySelector('.circle-time').value > start", arg=24)
    page.get_by_role("button", name="Pause").click()
    stopped = time.input_value()
    page.wait_for_timeout(400)
    assert time.input_value() == stopped


def test_nothing_moves_by_itself_for_those_who_ask_for_less_motion(browser):
    context = browser.new_context(reduced_motion="reduce")
    page = show(context.new_page())
    assert page.get_by_role("button", name="Play").count() == 0
    before = curve(page)
    time_of(page).focus()
    page.keyboard.press("Home")
    assert curve(page) != before
    context.close()


@pytest.mark.parametrize("width", [375, 768, 1280])
def test_axe_finds_nothing_and_nothing_is_wider_than_the_window(window, width):
    page = window.page
    page.set_viewport_size({"width": width, "height": 900})
    page.get_by_text("More settings").click()
    page.get_by_label("band").check()
    page.locator(".circle-label").first.focus()
    rest(page)
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    assert page.locator(".circle svg").first.bounding_box()["width"] > 0.8 * width - 40
    assert serious(page) == []


def test_everything_together_is_small():
    assert sum(path.stat().st_size for path in STATIC.glob("circle*")) < 100_000


# -- in the book ---------------------------------------------------------------------------------------------

PAGES = ["intro", "07-linear-ode", "08-kernel-regression"]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_the_book_has_its_circle(site, visit, name):
    window = visit()
    page = window.open(site / "book" / f"{name}.html")
    circle = page.locator(".circle")
    assert circle.count() == 1
    assert circle.locator(".circle-label").count() == 8
    assert circle.locator(CURVE).get_attribute("d").count("L") == 180
    assert (window.errors, window.outside, window.failed) == ([], [], [])


def test_other_pages_load_no_script_of_it(site):
    assert "circle.js" in (site / "book" / "intro.html").read_text(encoding="utf-8")
    assert "circle.js" not in (site / "book" / "01-setup.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PAGES)
def test_without_javascript_a_still_picture_stands(site, browser, name):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((site / "book" / f"{name}.html").as_uri())
    picture = page.locator(".circle img")
    assert picture.is_visible()
    assert picture.evaluate("one => one.complete && one.naturalWidth") > 300
    assert "level at every label" in picture.get_attribute("alt")
    context.close()
