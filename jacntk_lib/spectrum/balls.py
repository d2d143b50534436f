"""Float64 arrays that carry a rigorous bound of their own rounding error.

A :class:`Ball` holds two arrays, ``mid`` and ``rad``; the exact value lies within ``mid - rad`` and ``mid + rad``,
entry by entry. Each operation adds the error of its operands, propagated, and its own rounding. It is a *running error
analysis*: the midpoints are those of ordinary float64 arithmetic, at about ten times the cost.

What the bounds rest on: IEEE 754 binary64, rounding to nearest, for ``+ - * / sqrt``; and a mathematical library whose
``arctan2`` and ``exp`` err by at most ``LIBRARY_ULPS`` units in the last place (NumPy aims at 4 for its own).

The functions :func:`sqrt`, :func:`atan2`, :func:`exp` and :func:`pi` make this module a *field* in the sense of
:mod:`jacntk_lib.spectrum.enclosures`, whose formulas run unchanged on these arrays and on those of python-flint.

>>> third = exact(np.array([1.0])) / 3.0
>>> bool(0 < third.rad[0] < 1e-16), bool(abs((third * 3.0 - 1.0).mid[0]) <= (third * 3.0 - 1.0).rad[0])
(True, True)
>>> bool(abs(atan2(exact(1.0), exact(1.0)).mid - pi().mid / 4) < 1e-15), float(sqrt(exact(4.0)).mid)
(True, 2.0)
"""

import numpy as np

UNIT = 2.0**-53  # a correctly rounded result m is within UNIT * |m| of the exact one ...
TINY = 2.0**-1074  # ... or, where it underflows, within the smallest subnormal number
LIBRARY_ULPS = 4
_INFLATE = 1 + 2.0**-48  # covers the handful of roundings made while a radius itself is computed


class Ball:
    """Midpoints and radii, two float64 arrays of one shape (see the module).

    Examples
    --------
    >>> product = Ball(2.0, 0.1) * Ball(3.0, 0.1)  # from 1.9 * 2.9 to 2.1 * 3.1
    >>> float(product.mid), round(float(product.rad), 6)
    (6.0, 0.51)
    """

    __slots__ = ("mid", "rad")
    __array_ufunc__ = None  # so that array * Ball comes here

    def __init__(self, mid, rad=0.0):
        self.mid = np.asarray(mid, dtype=np.float64)
        self.rad = np.broadcast_to(np.asarray(rad, dtype=np.float64), self.mid.shape)

    def __getitem__(self, index):
        return Ball(self.mid[index], self.rad[index])

    def __repr__(self):
        return f"Ball(mid={self.mid!r}, rad={self.rad!r})"

    def __neg__(self):
        return Ball(-self.mid, self.rad)

    def __add__(self, other):
        mid, rad = _parts(other)
        return _rounded(self.mid + mid, self.rad + rad)

    __radd__ = __add__

    def __sub__(self, other):
        mid, rad = _parts(other)
        return _rounded(self.mid - mid, self.rad + rad)

    def __rsub__(self, other):
        return -self + other

    def __mul__(self, other):
        mid, rad = _parts(other)
        return _rounded(self.mid * mid, np.abs(self.mid) * rad + self.rad * (np.abs(mid) + rad))

    __rmul__ = __mul__

    def __truediv__(self, other):
        mid, rad = _parts(other)
        quotient = self.mid / mid
        # x/y - m/n = (x - m - (m/n)(y - n)) / y, and |y| >= |n| - rad; a divisor that may vanish has no bound.
        # The quotient on the right is itself rounded, by less than the inflation.
        room = np.abs(mid) * (1 - 4 * UNIT) - rad
        with np.errstate(divide="ignore", invalid="ignore"):
            rad = np.where(room > 0, (self.rad + np.abs(quotient) * rad) / room, np.inf)
        return _rounded(quotient, rad)

    def __rtruediv__(self, other):
        return Ball(other) / self


def _parts(other):
    return (other.mid, other.rad) if isinstance(other, Ball) else (np.asarray(other, dtype=np.float64), 0.0)


def _rounded(mid, rad, ulps=0.5):
    """The ball of a result whose propagated radius is ``rad`` and whose own rounding is ``ulps`` last places."""
    return Ball(mid, (rad + 2 * ulps * (UNIT * np.abs(mid) + TINY)) * _INFLATE + TINY)


def sqrt(x):
    """The square root of a ball of non-negative numbers; |sqrt x - sqrt m| <= |x - m| / sqrt m."""
    root = np.sqrt(x.mid)
    with np.errstate(divide="ignore", invalid="ignore"):
        rad = np.where(x.mid > x.rad, x.rad / root, np.inf)
    return _rounded(root, rad)


def atan2(y, x):
    """The angle of (x, y), for points clear of the origin and of the cut ``y = 0, x < 0``.

    The angle's gradient has length 1/r, so it moves by at most ``rho / (r - rho)`` within distance rho.
    """
    angle = np.arctan2(y.mid, x.mid)
    rho = np.hypot(x.rad, y.rad) * _INFLATE
    room = np.hypot(x.mid, y.mid) * (1 - 2.0**-48) - rho
    crosses = (x.mid - x.rad <= 0) & (np.abs(y.mid) <= y.rad)
    with np.errstate(divide="ignore", invalid="ignore"):
        rad = np.where((room > 0) & ~crosses, rho / room, np.inf)
    return _rounded(angle, rad, LIBRARY_ULPS)


def exp(x):
    """The exponential; |e^x - e^m| <= e^m (e^rad - 1).

    Examples
    --------
    >>> one = exp(exact(0.0))
    >>> float(one.mid), bool(0 < one.rad < 1e-15)
    (1.0, True)
    """
    value = np.exp(x.mid)
    return _rounded(value, value * np.expm1(x.rad) * (1 + 32 * UNIT), LIBRARY_ULPS)


def pi():
    """A ball around pi."""
    return Ball(np.pi, 2.0**-52)


def exact(x):
    """A number or an array taken as exact."""
    return Ball(x)
