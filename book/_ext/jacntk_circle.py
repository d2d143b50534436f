"""The circle, labels to drag and the infinitely wide network that follows them, as a directive.

    ```{circle}
    :lambda: 0.1
    :time: inf
    :front: lambda time edit
    ```

The page gets book/_static/circle.js, which draws; without JavaScript a picture stands there. Options: ``labels``
(degrees:value, separated by spaces), ``lambda``, ``time`` (kappa^2 t, or inf), ``depth``, ``activation``, ``kappa``, a
flag ``band``, and ``front``, the controls that are not folded away.
"""

import re

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

FILES = ("circle-kernel.js", "circle-picture.js", "circle-networks.js", "circle.js")
STILL = "/book/_static/circle-still.png"
ALT = (
    "Value against angle on a circle, at infinite time. Eight labels at plus and minus one. The dashed pink curve of "
    "the network trained without penalty crosses them on a slope and swings out between them; the green one of the "
    "penalised network is level at every label."
)
CONTROLS = ("lambda", "depth", "activation", "band", "networks", "edit")


def labels(argument):
    """Pairs degrees:value; whole degrees, and values within the picture."""
    for pair in argument.split():
        if (
            not re.fullmatch(r"\d+:-?[\d.]+", pair)
            or int(pair.split(":")[0]) > 359
            or abs(float(pair.split(":")[1])) > 2
        ):
            raise ValueError(f"{pair!r} is not degrees:value with 0 to 359 whole degrees and a value from -2 to 2")
    return argument


def number(low, high):
    def checked(argument):
        if not low <= float(argument) <= high:
            raise ValueError(f"{argument} is not between {low} and {high}")
        return argument

    return checked


def front(argument):
    """Names among CONTROLS; the time is always there."""
    if unknown := set(argument.split()) - set(CONTROLS):
        raise ValueError(f"no control {', '.join(sorted(unknown))}: choose among {', '.join(CONTROLS)}")
    return argument


class CircleDirective(SphinxDirective):
    option_spec = {  # noqa: RUF012  docutils' own name for it
        "labels": labels,
        "lambda": number(0, 10),
        "time": number(0, float("inf")),
        "depth": lambda argument: str(int(number(1, 6)(argument))),
        "activation": lambda argument: directives.choice(argument, ("erf", "gelu")),
        "kappa": number(0, 10),
        "band": directives.flag,
        "front": front,
    }
    defaults = {  # noqa: RUF012
        "labels": "0:1 50:1 80:-1 130:-1 185:1 222:-1 275:-1 320:1",  # those of Chapter 1
        "lambda": "0.1",
        "time": "inf",
        "depth": "3",
        "activation": "gelu",
        "kappa": "2",
        "front": "lambda edit",
    }

    def run(self):
        data = self.defaults | {**self.options, "band": "on" if "band" in self.options else "off"}
        attributes = " ".join(f'data-{name}="{value}"' for name, value in data.items())
        image = nodes.image(uri=STILL, alt=ALT)
        image.line = self.lineno
        ends = f'<div class="circle" {attributes}><noscript>', "</noscript></div>"
        before, after = (nodes.raw("", end, format="html") for end in ends)
        return [before, image, after]


def load_scripts(app, pagename, templatename, context, doctree):
    """On pages with a circle only."""
    if '<div class="circle"' in context.get("body", ""):
        app.add_css_file("circle.css")
        for name in FILES:
            app.add_js_file(name, loading_method="defer")


def setup(app):
    app.add_directive("circle", CircleDirective)
    app.connect("html-page-context", load_scripts)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
