"""The pictures that move: by mouse, by keyboard, by themselves, and standing still without JavaScript."""

import json

import pytest

pytestmark = pytest.mark.browser

FILMS = [
    ("05-smallest-eigenvalue", "spectrum-film", "depth"),
    ("07-linear-ode", "training-film", "step"),
    ("08-kernel-regression", "clock-film", "time"),
]
DRAWN = "film => [...film.querySelectorAll('g path')].map(path => path.getAttribute('d')).join(';')"


@pytest.mark.parametrize(("chapter", "name", "unit"), FILMS)
def test_a_film_follows_the_keyboard_plays_and_pauses(site, visit, chapter, name, unit):
    window = visit()
    page = window.open(site / "book" / f"{chapter}.html")
    film = page.locator(f"#{name}")
    slider, said, button = film.locator("input"), film.locator("output"), film.locator("button")
    first_picture, first_words = film.evaluate(DRAWN), said.inner_text()
    assert slider.input_value() == "0"  # it begins at the beginning
    assert slider.get_attribute("aria-valuetext").startswith(unit)
    slider.focus()
    page.keyboard.press("End")
    assert slider.input_value() == slider.get_attribute("max")
    assert film.evaluate(DRAWN) != first_picture
    assert said.inner_text() != first_words
    page.keyboard.press("Home")
    assert film.evaluate(DRAWN) == first_picture
    assert said.inner_text() == first_words
    page.keyboard.press("End")

    button.click()  # from the end: begins anew
    page.wait_for_function("slider => +slider.value >= 2 && +slider.value < +slider.max", arg=slider.element_handle())
    assert button.inner_text() == "Pause"
    button.click()
    assert button.inner_text() == "Play"
    stopped = slider.input_value()
    page.wait_for_timeout(500)
    assert slider.input_value() == stopped
    assert window.errors == []


@pytest.mark.parametrize(("chapter", "name", "unit"), FILMS)
def test_without_javascript_the_last_picture_stands(site, browser, chapter, name, unit):
    context = browser.new_context(java_script_enabled=False)
    try:
        page = context.new_page()
        page.goto((site / "book" / f"{chapter}.html").as_uri())
        film = page.locator(f"#{name}")
        assert film.locator("svg path").count() > 3
        assert not film.locator(".film-controls").is_visible()
        data = json.loads(film.locator("script[type='application/json']").text_content())
        assert film.locator("output").inner_text() == data["frames"][-1][1]
    finally:
        context.close()
