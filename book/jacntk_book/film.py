"""A line chart under a slider: pictures that move in the page, with no kernel and nothing loaded from elsewhere.

All frames are computed beforehand and embedded as whole-number coordinates of an SVG picture, which are short and the
same on every machine. A film begins at its first frame; the slider works with mouse and arrow keys. Without JavaScript,
and on paper, the last frame stands, which shows where it leads.

>>> frames = [Frame(f"t = {t}", f"At time {t}.", [np.array([0.0, t, 0.0])]) for t in (0.0, 1.0)]
>>> Film("bump", np.arange(3), frames, [Curve("height", "#1b1b1b")], "A bump grows.", "Time",
...      x_ticks={0: "0"}, y_ticks={0: "0"}, y_limits=(0, 2), x_label="x", y_label="height")
Film('bump', frames=2, curves=1)
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

import numpy as np

from jacntk_lib._validation import as_array

__all__ = ["Curve", "Film", "Frame"]

_STYLES = {
    "line": 'fill="none" stroke="{}" stroke-width="3"',
    "dashed": 'fill="none" stroke="{}" stroke-width="3" stroke-dasharray="9 5"',
    "dotted": 'fill="none" stroke="{}" stroke-width="1.8" stroke-dasharray="2 4"',
    # light inside: before training bands lie one above the other, and behind lines; the edge tells them apart
    "band": 'fill="{0}" fill-opacity=".13" stroke="{0}" stroke-opacity=".6"',
}
# with room for type of 24 units at the sides and below: book.css asks for it on telephones
_LEFT, _RIGHT, _TOP, _BOTTOM, _WIDTH, _HEIGHT = 92, 606, 12, 322, 640, 394
_INK = "#1b1b1b"


class Curve(NamedTuple):
    """One of the lines: its name in the legend, empty for none, a CSS colour, "line", "dashed", "dotted" or "band"."""

    name: str
    colour: str
    style: str = "line"


class Frame(NamedTuple):
    """One position of the slider: what a screen reader says there, the sentence below the picture, and the curves.

    ``curves`` has one entry per :class:`Curve`: (n,) heights, or for a band (2, n), lower and upper edge.
    """

    label: str
    caption: str
    curves: Sequence


@dataclass(frozen=True, repr=False)
class Film:
    """Shows itself in a notebook.

    Parameters
    ----------
    name : letters, digits and hyphens; the id of the element, so one of its kind on a page.
    x : (n,) abscissae, shared by all curves and frames.
    frames : at least two :class:`Frame`: it begins with the first, and the last is the one that stands still.
    curves : what is drawn, in this order, the first at the bottom.
    description : what the picture shows, for those who cannot see it.
    slider : what the slider sets, as "Training step".
    x_ticks, y_ticks : position -> text. The ends of ``y_limits``, and of x, bound the picture.
    y_limits : (low, high); curves beyond are cut off.
    x_label, y_label : names of the axes.
    dots : (x, y) pairs of fixed points, such as training labels.

    Raises
    ------
    ValueError : curves, frames and x do not match in number or length, a height is not finite, an unknown style.
    """

    name: str
    x: np.ndarray
    frames: Sequence[Frame]
    curves: Sequence[Curve]
    description: str
    slider: str
    x_ticks: dict
    y_ticks: dict
    y_limits: tuple[float, float]
    x_label: str = ""
    y_label: str = ""
    dots: Sequence = ()

    def __post_init__(self):
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", self.name):
            raise ValueError(f"name must be letters, digits and hyphens, begun by a letter; got {self.name!r}")
        if len(self.frames) < 2:
            raise ValueError(f"a film needs at least two frames, got {len(self.frames)}")
        for curve in self.curves:
            if curve.style not in _STYLES:
                raise ValueError(f"unknown style {curve.style!r}; known are {', '.join(_STYLES)}")
        x = as_array(self.x, "x", (len(self.x),))
        for number, frame in enumerate(self.frames):
            if len(frame.curves) != len(self.curves):
                raise ValueError(f"frame {number} has {len(frame.curves)} curves, {len(self.curves)} are declared")
            for curve, heights in zip(self.curves, frame.curves, strict=True):
                shape = (2, len(x)) if curve.style == "band" else (len(x),)
                as_array(heights, f"{curve.name or curve.style} of frame {number}", shape)

    def __repr__(self):
        return f"Film({self.name!r}, frames={len(self.frames)}, curves={len(self.curves)})"

    # ---------------------------------------------------------------- coordinates

    def _x(self, x):
        low, high = np.min(self.x), np.max(self.x)
        return np.round(_LEFT + (_RIGHT - _LEFT) * (np.asarray(x, dtype=float) - low) / (high - low)).astype(int)

    def _y(self, y):
        low, high = self.y_limits
        room = high - low
        share = (np.clip(y, low - room, high + room) - low) / room  # beyond the clip path, but not far
        return np.round(_BOTTOM + (_TOP - _BOTTOM) * share).astype(int)

    # ---------------------------------------------------------------- the page

    def data(self):
        """What the page's script reads: x, and per frame label, caption and heights in the picture's units."""
        return {
            "x": self._x(self.x).tolist(),
            "frames": [[one.label, one.caption, [self._y(c).tolist() for c in one.curves]] for one in self.frames],
        }

    def _repr_html_(self):
        data, last = self.data(), len(self.frames) - 1
        paths = "".join(
            f'<path d="{_path(data["x"], heights)}" {_STYLES[curve.style].format(curve.colour)}/>'
            for curve, heights in zip(self.curves, data["frames"][last][2], strict=True)
        )
        dots = "".join(f'<circle cx="{self._x(a)}" cy="{self._y(b)}" r="5" fill="{_INK}"/>' for a, b in self.dots)
        key = " ".join(map(_in_key, (curve for curve in self.curves if curve.name)))
        name = self.name
        embedded = json.dumps(data, separators=(",", ":")).replace("</", "<\\/")  # no caption can end the script
        return f"""<div id="{name}" class="film" style="background:#fff;color:{_INK};color-scheme:light;padding:.5rem">
<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-labelledby="{name}-title" font-size="17" fill="{_INK}"
 font-family="sans-serif" style="width:100%;height:auto;display:block"><title id="{name}-title">{
            escape(self.description)
        }</title>
<clipPath id="{name}-clip"><rect x="{_LEFT}" y="{_TOP}" width="{_RIGHT - _LEFT}" height="{_BOTTOM - _TOP}"/></clipPath>
{self._axes()}<g clip-path="url(#{name}-clip)">{paths}</g>{dots}</svg>
<div class="film-controls" style="display:none;gap:.75rem;align-items:center;flex-wrap:wrap;margin:.5rem 0">
<button type="button" style="min-width:5rem;padding:.35rem .8rem;font:inherit;color:{_INK};background:#eee;border:1px
 solid #555;border-radius:.25rem">Play</button>
<label for="{name}-slider">{escape(self.slider)}</label>
<input id="{name}-slider" type="range" min="0" max="{last}" value="0" style="flex:1;min-width:8rem">
</div>
<output aria-live="off" style="display:block">{escape(self.frames[last].caption)}</output>
<div style="font-size:.85em">{key}</div>
<noscript>Without JavaScript the picture stands still.</noscript>
<script type="application/json">{embedded}</script>
<script>({_SCRIPT})("{name}");</script></div>"""

    def _axes(self):
        low, high = self.y_limits
        lines = [
            f'<path d="M{_LEFT} {self._y(v)}H{_RIGHT}" stroke="#ddd"/>'
            f'<text x="{_LEFT - 8}" y="{self._y(v) + 6}" text-anchor="end">{_tick(text)}</text>'
            for v, text in self.y_ticks.items()
            if low <= v <= high
        ]
        lines += [
            f'<text x="{self._x(v)}" y="{_BOTTOM + 28}" text-anchor="middle">{_tick(text)}</text>'
            for v, text in self.x_ticks.items()
        ]
        middle = (_TOP + _BOTTOM) // 2
        return (
            "".join(lines)
            + f'<text x="{(_LEFT + _RIGHT) // 2}" y="{_BOTTOM + 60}" text-anchor="middle">{escape(self.x_label)}</text>'
            + f'<text transform="translate(20 {middle}) rotate(-90)" text-anchor="middle">{escape(self.y_label)}</text>'
        )


def _tick(text):
    return escape(text.replace("-", "\N{MINUS SIGN}"))


def _path(x, heights):
    """The ``d`` of an SVG path, as the script below makes it too: a line, or a band's outline there and back."""
    if isinstance(heights[0], list):
        lower, upper = heights
        return f"M{_points(x, lower)}L{_points(x[::-1], upper[::-1])}Z"
    return f"M{_points(x, heights)}"


def _points(x, heights):
    return "L".join(f"{a} {b}" for a, b in zip(x, heights, strict=True))


def _in_key(curve):
    mark = f'<path d="M0 6H26" stroke="{curve.colour}" stroke-width="4"/>'
    if curve.style == "dashed":
        mark = f'<path d="M0 6H26" stroke="{curve.colour}" stroke-width="4" stroke-dasharray="7 3"/>'
    elif curve.style == "dotted":
        mark = f'<path d="M0 6H26" stroke="{curve.colour}" stroke-width="2" stroke-dasharray="2 4"/>'
    elif curve.style == "band":
        mark = f'<path d="M0 6H26" stroke="{curve.colour}" stroke-opacity=".3" stroke-width="12"/>'
    drawing = f'<svg width="26" height="12" aria-hidden="true">{mark}</svg>'
    return f'<span style="white-space:nowrap;margin-right:.8em">{drawing} {escape(curve.name)}</span>'


_SCRIPT = """name => {
  const root = document.getElementById(name), data = JSON.parse(root.querySelector("script").textContent);
  const paths = root.querySelectorAll("g path"), slider = root.querySelector("input");
  const button = root.querySelector("button"), said = root.querySelector("output");
  const ahead = data.x.map((_, i) => i), back = [...ahead].reverse();
  const points = (ys, order) => order.map(i => data.x[i] + " " + ys[i]).join("L");
  const path = ys => Array.isArray(ys[0]) ? "M" + points(ys[0], ahead) + "L" + points(ys[1], back) + "Z"
                                          : "M" + points(ys, ahead);
  let timer = null;
  const show = () => {
    const [label, caption, curves] = data.frames[+slider.value];
    curves.forEach((ys, i) => paths[i].setAttribute("d", path(ys)));
    said.textContent = caption;
    slider.setAttribute("aria-valuetext", label);
  };
  const stop = () => { clearInterval(timer); timer = null; button.textContent = "Play"; };
  const next = () => {
    if (+slider.value >= data.frames.length - 1) return stop();
    slider.value = +slider.value + 1;
    show();
  };
  button.addEventListener("click", () => {
    if (timer !== null) return stop();
    if (+slider.value >= data.frames.length - 1) { slider.value = 0; show(); }
    button.textContent = "Pause";
    timer = setInterval(next, 200);
  });
  slider.addEventListener("input", () => { stop(); show(); });
  root.querySelector(".film-controls").style.display = "flex";
  show();
}"""
