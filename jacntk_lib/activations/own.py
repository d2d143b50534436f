"""What is tested of closed forms of one's own: that they are those of the derivatives given, at x = x' as well.

Values are compared with quadrature, and derivatives with Price's theorem, at variances up to 1. Agreement to 1e-9 there
finds a wrong sign or factor; it is no proof.
"""

from types import SimpleNamespace

import numpy as np

from .._float64 import float64, jax, jnp
from .quadrature import Expectations, Formulas

_AGREE = 1e-9  # relative to 1 + |K^ij|
# (a, b, c): generic, equal, opposite, independent, a point at the origin, both there
_TRIPLES = np.array([[1, 1, 0.3], [0.7, 0.4, -0.2], [1, 1, 1], [1, 1, -1], [0.7, 0.4, 0], [0, 1, 0], [0, 0, 0]])
_PRICE = [
    ("k00", "k20", "k02", "k11"),  # its derivatives by a and b, each half of an expectation, and by c
    ("k11", "k31", "k13", "k22"),
    ("k22", "k42", "k24", "k33"),
]
_NUMBERS = SimpleNamespace(
    exact=np.float64, pi=lambda: np.float64(np.pi), sqrt=np.sqrt, exp=np.exp, atan2=np.arctan2
)  # a field of plain numbers, for :mod:`jacntk_lib.spectrum.enclosures`


def check_formulas(name, formulas, quadrature, enclosure):
    """Refuse closed forms, and an enclosure of them, that contradict the formulas of ``quadrature``."""
    a, b, c = _TRIPLES.T
    with float64():
        exact = [np.asarray(x) for x in quadrature.expectations(*map(jnp.asarray, (a, b, c)))]
        moments = [np.asarray(x) for x in quadrature.moment(jnp.asarray(a))]
        _check_shapes(name, formulas)
        found = formulas.expectations(*map(jnp.asarray, (a, b, c)))
        _compare(name, "expectations", Expectations._fields, found, exact)
        _compare(name, "moment", ("m", "m'"), formulas.moment(jnp.asarray(a)), moments)
        _check_slopes(name, formulas.expectations, Expectations(*exact))
    if enclosure is not None:
        if not isinstance(enclosure, tuple) or len(enclosure) != 2 or not all(map(callable, enclosure)):
            raise TypeError(
                f"activation {name!r}: enclosure must be a pair of functions, expectations(a, b, c, field) and "
                f"moment(a, field), got {enclosure!r}"
            )
        balls, moment = enclosure
        _compare(name, "enclosure[0]", Expectations._fields, balls(a, b, c, _NUMBERS), exact)
        _compare(name, "enclosure[1]", ("m", "m'"), moment(a, _NUMBERS), moments)


def _check_shapes(name, formulas: Formulas):
    """What the recursion, compiled, would stumble over: other functions than jax's, other shapes."""
    a, b, c = jnp.ones((2, 1)), jnp.ones((1, 3)), jnp.ones((2, 3))
    for what, function, points, shape in (
        ("expectations", formulas.expectations, (a, b, c), (2, 3)),
        ("moment", formulas.moment, (a,), (2, 1)),
    ):
        try:
            made = jax.eval_shape(function, *points)
        except TypeError as error:
            raise TypeError(
                f"activation {name!r}: {what} does not take jax arrays: write it in jax.numpy, for example jnp.exp in "
                "place of np.exp"
            ) from error
        if what == "expectations" and not isinstance(made, Expectations):
            raise TypeError(f"activation {name!r}: expectations must return an Expectations, got {made!r}")
        if what == "moment" and (not isinstance(made, tuple) or len(made) != 2):
            raise TypeError(f"activation {name!r}: moment must return a pair, E[phi(u)^2] and its derivative")
        if any(np.shape(x) != shape for x in made):
            raise TypeError(
                f"activation {name!r}: {what} must return arrays of the shape that a, b and c have together, and "
                f"returns {[np.shape(x) for x in made]} for {shape}; for a constant take jnp.full_like(c, 2.0)"
            )


def _compare(name, what, labels, found, exact):
    for label, left, right in zip(labels, found, exact, strict=True):
        left = np.broadcast_to(np.asarray(left), right.shape)
        wrong = ~(np.abs(left - right) <= _AGREE * (1 + np.abs(right)))  # NaN is wrong
        if wrong.any():
            k = int(wrong.argmax())
            raise ValueError(
                f"activation {name!r}: {what} gives {label} = {left[k]:.9g} at (a, b, c) = "
                f"{tuple(_TRIPLES[k].tolist())}, and quadrature of the derivatives {right[k]:.9g}: mend the formula"
            )


def _check_slopes(name, expectations, exact):
    for k, triple in enumerate(_TRIPLES):
        slopes = jax.jacfwd(expectations, (0, 1, 2))(*map(jnp.asarray, triple))
        for of, *equal in _PRICE:
            for argument, factor, label in zip("abc", (0.5, 0.5, 1.0), equal, strict=True):
                slope = float(getattr(slopes, of)["abc".index(argument)])
                right = factor * float(getattr(exact, label)[k])
                if not abs(slope - right) <= _AGREE * (1 + abs(right)):
                    raise ValueError(
                        f"activation {name!r}: the derivative of {of} by {argument} at (a, b, c) = "
                        f"{tuple(triple.tolist())} is {slope:.9g} by jax, and {right:.9g} by Price's theorem: write "
                        "the formula without a square root of a b - c^2 and without abs(c), which have no derivative "
                        "there"
                    )
