r"""Gaussian expectations in closed form: erf, GELU and sine.

``K^ji(a, b, c) = K^ij(b, a, c)`` gives the mirrored ones. Every denominator is at least 1, and D is formed from
``1 + a + b + (ab - c^2)`` rather than from a difference of products, so nothing cancels at x = x'.

Arrays of jax and of NumPy are taken alike: ``xp`` is the namespace of the arguments.
"""

from .._float64 import namespace
from .arctan import arctan2
from .quadrature import Expectations, Formulas


def _erf_expectations(a, b, c):
    """erf(z) = (2/sqrt(pi)) int_0^z exp(-t^2) dt. E[erf u erf v] is Williams (1997), eq. 11."""
    xp = namespace(a)
    D = 1 + 2 * a + 2 * b + 4 * (a * b - c * c)
    i = 1 / D
    root = xp.sqrt(D)
    al, be = 1 / (1 + 2 * a), 1 / (1 + 2 * b)
    p = (4 / xp.pi) * root * i
    cp, cci = c * p, c * c * i
    return Expectations(
        k00=(2 / xp.pi) * arctan2(2 * c, root),
        k11=p,
        k20=-2 * cp * al,
        k02=-2 * cp * be,
        k22=4 * cp * i,
        k31=-2 * p * i * (1 + 2 * b),
        k13=-2 * p * i * (1 + 2 * a),
        k33=4 * p * i * (1 + 12 * cci),
        k42=-24 * cp * i * i * (1 + 2 * b),
        k24=-24 * cp * i * i * (1 + 2 * a),
    )


def _erf_moment(a):
    xp = namespace(a)
    root = xp.sqrt(1 + 4 * a)
    return (2 / xp.pi) * arctan2(2 * a, root), 4 / (xp.pi * (1 + 2 * a) * root)


def _gelu_expectations(a, b, c):
    """GELU phi(z) = z Phi(z) (Hendrycks and Gimpel 2016); the rest follows from K00 by Price's theorem."""
    xp = namespace(a)
    det = a * b - c * c
    al, be = 1 + a, 1 + b
    D = al + b + det
    i = 1 / D
    root = xp.sqrt(D)
    # Divided by last, not multiplied by the reciprocal: see arctan2 on what XLA computes again for every user
    density = 2 * xp.pi * root
    ral, rbe = 1 / al, 1 / be
    T = arctan2(root, -c) / (2 * xp.pi)
    cc = c * c
    cci = cc * i
    s = ral + rbe
    w = 1 + al + be  # recurs in K22, K42 and K24

    def k20(b, be, ral):
        return ral * ((b + det) * (1 + be * i) - 2 * cc * ral) / density

    def k31(al, be, ral):
        return -c * (ral + 2 * ral * ral + (be * ral + 1) * i + 3 * be * i * i) / density

    def k42(be):
        return i * (2 - be - 3 * be * w * i - 15 * be * cci * i) / density

    return Expectations(
        k00=c * T + (det + cc * s) / density,
        k11=T + c * (s + i) / density,
        k20=k20(b, be, ral),
        k02=k20(a, al, rbe),
        k22=(1 + w * i + 3 * cci * i) / density,
        k31=k31(al, be, ral),
        k13=k31(be, al, rbe),
        k33=c * i * (1 + (9 + 3 * (al + be)) * i + 15 * cci * i) / density,
        k42=k42(be),
        k24=k42(al),
    )


def _gelu_moment(a):
    xp = namespace(a)
    al, D = 1 + a, 1 + 2 * a
    root = xp.sqrt(D)
    q = 1 / (2 * xp.pi * root)
    T = arctan2(root, -a) / (2 * xp.pi)
    return a * T + 2 * q * a * a / al, T + q * a * (1 / al + 2 / (al * al) + 2 / D)


def _sin_expectations(a, b, c):
    """E[sin u sin v] = exp(-(a+b)/2) sinh c and E[cos u cos v] = exp(-(a+b)/2) cosh c."""
    xp = namespace(a)
    # |c| <= (a+b)/2, so the exponent is never positive; expm1 keeps the relative accuracy of a small sinh. At c = 0
    # either sign is right to every order, where sign(0) = 0 would make the derivatives of sinh vanish.
    sign = xp.where(c < 0, -1.0, 1.0)
    size = xp.exp(sign * c - (a + b) / 2) / 2
    small = xp.expm1(-2 * sign * c)
    sinh = -sign * size * small
    cosh = size * (2 + small)
    return Expectations(
        k00=sinh,
        k11=cosh,
        k20=-sinh,
        k02=-sinh,
        k22=sinh,
        k31=-cosh,
        k13=-cosh,
        k33=cosh,
        k42=-sinh,
        k24=-sinh,
    )


def _sin_moment(a):
    xp = namespace(a)
    return -xp.expm1(-2 * a) / 2, xp.exp(-2 * a)


ERF = Formulas(_erf_expectations, _erf_moment)
GELU = Formulas(_gelu_expectations, _gelu_moment)
SIN = Formulas(_sin_expectations, _sin_moment)
