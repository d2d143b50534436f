r"""The even and the odd part of an activation: which powers of z they contain, stated or detected numerically.

Whether a Gram matrix of values and Jacobians is singular depends on phi only through the *degrees* of its two parts,
the set :math:`\{k : \phi^{(k)}(0) \ne 0\}` split by parity. A part is written as a tuple of degrees: all of them where
it is a polynomial; where it is not, the tuple ends with an ellipsis, and of the degrees before it only 0 and 1 matter
(they say whether phi(0) and phi'(0) vanish).

==============  ============  ============
activation      even part     odd part
==============  ============  ============
erf, sine       ``()``        ``(1, ...)``
cosine          ``(0, ...)``  ``()``
GELU            ``(2, ...)``  ``(1,)``
sigmoid         ``(0,)``      ``(1, ...)``
z^3             ``()``        ``(3,)``
z^2 + z         ``(2,)``      ``(1,)``
==============  ============  ============

A part that is not stated is *detected*, from values on [-R, R]: a number below 1e-10 of its scale counts as zero. A
part of degree up to four, whose fourth derivative is constant, is recognised as a polynomial; where it may be one of
degree up to twelve, a statement is demanded. R is 9.5 standard deviations of the largest pre-activation, rounded up to
a power of two and at least 16 (``reach``): what lies beyond contributes at most sqrt(P(|z| > 9.5)) = 5e-11 of its
largest value to the root mean square of phi. A part that lives outside, is narrower than the points are dense (0.2
apart up to 64), or is smaller than 1e-10 of the other is not detected: state it. A part stated with an ellipsis is
refused only where nothing but rounding is there.

>>> zero = jnp.zeros_like
>>> parts("z^2 + z", [lambda z: z * z + z, lambda z: 2 * z + 1, lambda z: zero(z) + 2, zero, zero])
((2,), (1,))
"""

import math
from typing import NamedTuple

import numpy as np

from .._float64 import float64, jnp
from .quadrature import RANGE

_NEGLIGIBLE = 1e-10
_ROUNDING = 1e-15
_STATED = 6.0  # a statement is checked on [-6, 6]: wider, the largest power alone would be seen
_LEAST = 16.0
_LONGEST = 12  # the degree up to which polynomials are looked for


def reach(variance=1.0):
    """R of the module for pre-activations up to this variance.

    >>> reach(), reach(36.0)
    (16.0, 64.0)
    """
    if not variance < math.inf:
        raise ValueError(
            f"a pre-activation has variance {variance:.3g}, too large to look for the even and odd part "
            "of phi so far out: state even_part and odd_part, or reduce sigma_w, sigma_b, input_scale or the inputs"
        )
    return max(_LEAST, 2.0 ** math.ceil(math.log2(RANGE * math.sqrt(variance)))) if variance > 0 else _LEAST


def limits(R):
    """What a detection on [-R, R] can tell, in words."""
    return f"from values on [-{R:g}, {R:g}], of which less than {_NEGLIGIBLE:g} of the largest counts as zero"


def parts(name, derivatives, even_part=None, odd_part=None, R=_LEAST):
    """``(even_part, odd_part)``, as stated and checked, or as detected on [-R, R] where None is stated.

    Raises
    ------
    ValueError : a statement contradicts the function, or nothing is stated and the part may be a polynomial of a degree
        above four, or a value on [-R, R] is not finite.
    TypeError : a statement is not a tuple of degrees.
    """
    both = (even_part, odd_part)
    near = None if both == (None, None) else _Sample.of(derivatives, _STATED)
    far = _Sample.of(derivatives, R) if None in both else None
    if far is not None and not np.isfinite(far.jets).all():
        raise ValueError(
            f"activation {name!r}: phi or one of its derivatives is not finite on [-{R:g}, {R:g}], where its "
            "even and odd part are looked for: state both, even_part=... and odd_part=..., or reduce the inputs"
        )
    return tuple(_part(name, far if stated is None else near, k, stated) for k, stated in enumerate(both))


class _Sample(NamedTuple):
    """Values of phi and four derivatives at the points and at their mirror images; which do not vanish at 0."""

    points: np.ndarray  # between 0 and R, divided by R
    jets: np.ndarray  # (5, 2, points)
    present: tuple[bool, ...]
    nonzero: tuple[bool, ...]  # the same, however small

    @classmethod
    def of(cls, derivatives, R):
        # Chebyshev's, 0.2 apart; beyond 64 every octave has 512 of its own, so that those about 0 stay dense
        octaves = [R] if R <= 64 else 2.0 ** np.arange(6, math.log2(R) + 1)
        counts = [min(8 * int(r), 512) for r in octaves]
        angles = [np.pi * (np.arange(n) + 0.5) / (2 * n) for n in counts]
        z = np.concatenate([r * np.cos(angle) for r, angle in zip(octaves, angles, strict=True)])
        with float64():
            jets = np.stack([[np.asarray(f(jnp.asarray(u))) for u in (z, -z)] for f in derivatives])
            at_zero = [float(f(jnp.zeros(()))) for f in derivatives]
        near = np.abs(jets[:, :, z <= 1]).max(axis=(1, 2))
        present = tuple(abs(v) > _NEGLIGIBLE * scale for v, scale in zip(at_zero, near, strict=True))
        return cls(z / R, jets, present, tuple(v != 0 for v in at_zero))

    def part(self, order, parity):
        """The even (parity 0) or odd part of a derivative at the points, and what is negligible beside it."""
        there, mirrored = self.jets[order]
        return (there + (-1) ** parity * mirrored) / 2, _NEGLIGIBLE * float(np.abs(self.jets[order]).max())


def _part(name, sample, parity, stated):
    """The degrees of one part, parity 0 for the even one: found, or stated and checked."""
    field = ("even_part", "odd_part")[parity]
    degree = _degree(sample.points, *sample.part(4, parity), parity)
    present = tuple(k for k in range(parity, 5, 2) if sample.present[k])
    found = present if degree <= 4 else (*(k for k in present if k <= 1), ...)
    if stated is None:
        if 4 < degree < math.inf:
            raise ValueError(
                f"activation {name!r}: its {field.replace('_', ' ')} looks like a polynomial of degree {degree}, which "
                f"rounding does not tell from other functions; pass {field}, for example "
                f"{field}=({degree},) for z^{degree}, or {field}=({parity}, ...) for a part that is no polynomial"
            )
        return found
    _check_form(name, stated, parity, field)
    if ... in stated:
        fourth, negligible = sample.part(4, parity)
        there = degree > 4 or np.abs(fourth).max() > _ROUNDING / _NEGLIGIBLE * negligible
        agrees = there and (parity in stated) in (sample.present[parity], sample.nonzero[parity])
    else:
        agrees = _has_degrees(sample.points, *sample.part(0, parity), stated)
    if not agrees:
        raise ValueError(
            f"activation {name!r}: {field}={_shown(stated)} is stated, but the function's own values say otherwise: "
            f"{field}={_shown(found)} fits them (degrees of its powers, an ellipsis where it is not a polynomial); "
            "pass that or leave it out"
        )
    return stated


def _degree(points, fourth, negligible, parity):
    """The degree of a part of phi as a polynomial, from that part of the fourth derivative; 3 if less than four."""
    if np.abs(fourth).max() <= negligible:
        return 3
    for degree in range(parity, _LONGEST - 3, 2):
        basis = np.stack([np.cos(k * np.arccos(points)) for k in range(parity, degree + 1, 2)], axis=1)
        if _fit(basis, fourth)[1] <= negligible:
            return degree + 4
    return math.inf


def _has_degrees(points, part, negligible, degrees):
    """Whether one part of phi is a polynomial with exactly these degrees."""
    if not degrees:
        return bool(np.abs(part).max() <= negligible)
    coefficients, error = _fit(np.stack([points**k for k in degrees], axis=1), part)
    return bool(error <= negligible < np.abs(coefficients).min())


def _fit(basis, values):
    """Coefficients of the best combination of the columns, and its largest error."""
    coefficients = np.linalg.lstsq(basis, values, rcond=None)[0]
    return coefficients, float(np.abs(values - basis @ coefficients).max())


def _check_form(name, stated, parity, field):
    degrees = stated[:-1] if isinstance(stated, tuple) and stated[-1:] == (...,) else stated
    if not isinstance(degrees, tuple) or any(type(k) is not int or k < 0 or k % 2 != parity for k in degrees):
        raise TypeError(
            f"activation {name!r}: {field} must be a tuple of {('even', 'odd')[parity]} degrees, with an ellipsis at "
            f"the end where it is not a polynomial, got {_shown(stated)}; for example "
            f"({2 - parity},) or ({parity}, ...)"
        )


def _shown(part):
    return repr(part).replace("Ellipsis", "...")
