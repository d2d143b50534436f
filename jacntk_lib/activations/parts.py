r"""The even and the odd part of an activation: which powers of z they contain, stated or found numerically.

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

What is found here is numerical: a number below 1e-10 of its scale counts as zero. It decides polynomials of degree up
to four, for which the fourth derivative is constant, and refuses to guess where phi may be a longer polynomial. What a
user states is checked in the same way.

>>> zero = jnp.zeros_like
>>> parts("z^2 + z", [lambda z: z * z + z, lambda z: 2 * z + 1, lambda z: zero(z) + 2, zero, zero])
((2,), (1,))
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

_NEGLIGIBLE = 1e-10
_POINTS = 6 * np.cos(np.pi * (np.arange(48) + 0.5) / 96)  # Chebyshev's, positive; their mirror images come along
_LONGEST = 16  # the degree up to which a fourth derivative is compared with polynomials


def parts(name, derivatives, even_part=None, odd_part=None):
    """``(even_part, odd_part)``, as stated and checked, or as found where None is stated (see the module).

    Raises
    ------
    ValueError : a statement contradicts the function, or nothing is stated and the part may be a polynomial of a degree
        above four.
    TypeError : a statement is not a tuple of degrees.
    """
    stated = [("even_part", even_part), ("odd_part", odd_part)]
    with jax.enable_x64(True):
        jets = [np.asarray([f(jnp.asarray(z)) for z in (_POINTS, -_POINTS)]) for f in derivatives]
        at_zero = [float(f(jnp.zeros(()))) for f in derivatives]
    scales = [float(np.abs(jet).max()) for jet in jets]
    present = [abs(value) > _NEGLIGIBLE * scale for value, scale in zip(at_zero, scales, strict=True)]
    return tuple(_part(name, jets, scales, present, parity, *stated[parity]) for parity in (0, 1))


def _part(name, jets, scales, present, parity, field, stated):
    """The degrees of one part; parity 0 is the even one."""
    length = _length((jets[4][0] + (-1) ** parity * jets[4][1]) / 2, scales[4], parity)
    lowest = tuple(k for k in range(parity, 5, 2) if present[k])
    found = lowest if length <= 4 else (*lowest[: int(present[parity])], ...)
    if stated is None:
        if 4 < length < math.inf:
            raise ValueError(
                f"activation {name!r}: its {field.replace('_', ' ')} looks like a polynomial of degree {length}, which "
                f"rounding does not tell from other functions; pass {field}, for example "
                f"{field}=({length},) for z^{length}, or {field}=({parity}, ...) for a part that is no polynomial"
            )
        return found
    _check_form(name, stated, parity, field)
    if ... in stated:
        agrees = length > 4 and (parity in stated) == present[parity]
    else:
        agrees = _spans(jets[0], scales[0], stated, parity)
    if not agrees:
        raise ValueError(
            f"activation {name!r}: {field}={_shown(stated)} is stated, but the function's own values say otherwise: "
            f"{field}={_shown(found)} fits them (degrees of its powers, an ellipsis where it is not a polynomial); "
            "pass that or leave it out"
        )
    return tuple(stated)


def _length(fourth, scale, parity):
    """The degree of a part of phi as a polynomial, from that part of the fourth derivative; 3 if less than four."""
    if np.abs(fourth).max() <= _NEGLIGIBLE * scale:
        return 3
    for degree in range(parity, _LONGEST - 3, 2):
        if _misfit(fourth, range(parity, degree + 1, 2)) <= _NEGLIGIBLE * scale:
            return degree + 4
    return math.inf


def _misfit(values, degrees):
    """Largest error of the best polynomial with these degrees through values at the Chebyshev points."""
    basis = np.stack([np.cos(k * np.arccos(_POINTS / _POINTS[0])) for k in degrees], axis=1)
    return float(np.abs(values - basis @ np.linalg.lstsq(basis, values, rcond=None)[0]).max())


def _spans(values, scale, degrees, parity):
    """Whether one part of phi is a polynomial with exactly these degrees."""
    part, tolerance = (values[0] + (-1) ** parity * values[1]) / 2, _NEGLIGIBLE * scale
    if not degrees:
        return bool(np.abs(part).max() <= tolerance)
    basis = np.stack([(_POINTS / _POINTS[0]) ** k for k in degrees], axis=1)
    coefficients = np.linalg.lstsq(basis, part, rcond=None)[0]
    return bool(np.abs(part - basis @ coefficients).max() <= tolerance < np.abs(coefficients).min())


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
