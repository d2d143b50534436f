"""The check cells of the chapters: a claim that does not hold fails the build of the book."""

import html
import math

from .tables import typeset


class CheckFailed(AssertionError):
    """A chapter's claim did not hold on this machine."""


def check(name, value, bound, *, at_least=False, rounding=False):
    """Print ``CHECK name: value (<= bound) ok``, or fail.

    Parameters
    ----------
    name : what is claimed, in a few words.
    value : the measured number.
    bound : the claim is ``value <= bound``, or ``value >= bound`` with ``at_least=True``.
    rounding : the value is only rounding error, which differs from machine to machine: print
        ``< bound`` in place of the value, so that stored outputs can be compared.

    Raises
    ------
    CheckFailed : the bound is missed, or the value is NaN.

    Examples
    --------
    >>> check("slope of the error in the width", -0.4971, -0.4)
    CHECK slope of the error in the width: -0.497 (<= -0.4) ok
    >>> check("coverage of the 95 % band", 0.9512, 0.9, at_least=True)
    CHECK coverage of the 95 % band: 0.951 (>= 0.9) ok
    >>> check("closed form = autodiff", 3.2e-16, 1e-12, rounding=True)
    CHECK closed form = autodiff: < 1e-12 ok
    >>> try:
    ...     check("slope of the error in the width", -0.3, -0.4)
    ... except CheckFailed as failed:
    ...     print(failed)
    CHECK slope of the error in the width: -0.3 misses the bound <= -0.4
    """
    value, bound = float(value), float(bound)
    holds = value >= bound if at_least else value <= bound
    sign = ">=" if at_least else "<="
    if math.isnan(value) or not holds:
        raise CheckFailed(f"CHECK {name}: {value:.6g} misses the bound {sign} {bound:.6g}")
    if rounding:
        print(f"CHECK {name}: < {bound:g} ok")
    else:
        print(f"CHECK {name}: {value:.3g} ({sign} {bound:g}) ok")


def verdict(key, words, detail=""):
    """Hand a chapter's verdict to the landing page, under ``key``: call it after the last check.

    A failed check stops the chapter before it gets here, so a verdict on the landing page means that every check held.

    Parameters
    ----------
    key : the name under which the landing page asks for it.
    words : the verdict in a few words, shown in bold.
    detail : what has to be said with it, if anything.

    Examples
    --------
    >>> verdict("verdict-theorem-3-1", "holds")
    >>> verdict("verdict-figure-6", "not reproduced", "on any of our inputs")
    """
    # imported here: only the book needs them. HTML, because a glued string would be shown with its quotes.
    from IPython.display import HTML
    from myst_nb import glue

    shown = f'<span class="claim-verdict">{html.escape(typeset(words))}</span>'
    if detail:
        shown += f", {html.escape(typeset(detail))}"
    glue(key, HTML(shown), display=False)
