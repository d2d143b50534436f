"""The film: its coordinates, its words and its mistakes; that it moves is tested in the browser."""

import json
import re

import numpy as np
import pytest

from jacntk_book.film import Curve, Film, Frame

X = np.linspace(0, 10, 5)


def a_film(**changes):
    frames = [
        Frame(f"time {k}", f"At time {k} & later.", [np.full(5, float(k)), np.stack([-X, X]) / 10]) for k in (0, 1)
    ]
    settings = {
        "name": "a-film",
        "x": X,
        "frames": frames,
        "curves": [Curve("mean", "#123456"), Curve("band", "#654321", "band")],
        "description": "a line below a <band>",
        "slider": "Time",
        "x_ticks": {0: "0", 10: "10"},
        "y_ticks": {-1: "-1", 0: "0", 1: "1", 7: "too far"},
        "y_limits": (-1, 1),
    }
    return Film(**(settings | changes))


def test_the_ends_of_the_axes_are_the_ends_of_the_picture():
    film = a_film()
    data, html = film.data(), film._repr_html_()
    left, top, width, height = map(
        int, re.search(r'<rect x="(\d+)" y="(\d+)" width="(\d+)" height="(\d+)"', html).groups()
    )
    assert data["x"][0] == left
    assert data["x"][-1] == left + width
    bottom_edge, top_edge = data["frames"][0][2][1]
    assert bottom_edge[-1] == top + height
    assert top_edge[-1] == top
    assert data["frames"][0][2][0] == [top + height // 2] * 5  # zero lies in the middle
    assert data["frames"][1][2][0] == [top] * 5


def test_the_still_picture_is_the_last_frame_and_says_so():
    html = a_film()._repr_html_()
    data = json.loads(re.search(r'<script type="application/json">(.*?)</script>', html).group(1))
    points = "L".join(f"{a} {b}" for a, b in zip(data["x"], data["frames"][1][2][0], strict=True))
    assert f'd="M{points}"' in html
    assert "<output" in html
    assert "At time 1 &amp; later." in html
    assert "a line below a &lt;band&gt;" in html
    assert "too far" not in html


def test_the_slider_begins_at_the_first_frame():
    slider = re.search(r"<input [^>]*>", a_film()._repr_html_()).group()
    assert 'min="0" max="1" value="0"' in slider


def test_every_style_is_drawn_in_its_own_way_in_the_picture_and_in_the_key():
    """Two curves of one colour are told apart by their style alone: in grey, and by those who see few colours."""
    styles = ("line", "dashed", "dotted", "band")
    heights = [np.stack([X, X]) if style == "band" else X for style in styles]
    film = a_film(
        frames=[Frame("now", "Now.", heights)] * 2, curves=[Curve(style, "#123456", style) for style in styles]
    )
    html = film._repr_html_()
    picture, key = html.split("</svg>", 1)
    for part in (picture.split("<g ")[1], key):
        looks = [re.sub(r' d="[^"]*"', "", path) for path in re.findall(r"<path [^>]*>", part)]
        assert len(looks) == len(set(looks)) == len(styles)
        assert [look.count("stroke-dasharray") for look in looks] == [0, 1, 1, 0]


def test_the_same_curves_give_the_same_bytes():
    assert a_film()._repr_html_() == a_film()._repr_html_()
    assert repr(a_film()) == "Film('a-film', frames=2, curves=2)"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "two words"}, "letters, digits and hyphens"),
        ({"frames": a_film().frames[:1]}, "at least two frames"),
        ({"curves": [Curve("mean", "#123456")]}, "has 2 curves, 1 are declared"),
        ({"curves": [Curve("mean", "#123456", "wavy"), Curve("band", "#654321", "band")]}, "unknown style 'wavy'"),
        ({"curves": [Curve("mean", "#123456"), Curve("band", "#654321")]}, r"band of frame 0 has shape \(2, 5\)"),
        ({"x": X * np.nan}, "x contains 5 non-finite"),
    ],
)
def test_mistakes_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        a_film(**changes)
