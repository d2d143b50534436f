r"""Gram matrices with proof: the layer recursion in ball arithmetic.

:mod:`jacntk_lib.kernels` computes with float64 and gives no bound of its error. Here the same matrices are computed
again, by closed forms written out a second time and *generic in the number type*: every function below takes a
``field``, a module or object with ``exact, pi, sqrt, atan2, exp``. Only the rules of differentiation for a composition
and a product are the same code. Two fields exist,

* :mod:`jacntk_lib.spectrum.balls`: float64 arrays over all pairs at once with running error bounds, the fast ones;
* :func:`jacntk_lib.spectrum.arb.field`: python-flint's arbitrary precision balls, one pair at a time, as accurate as
  wanted.

The enclosed matrix is the Gram matrix of *exactly the float64 inputs*, of the network whose sigmas and input scale
are exactly the given float64 numbers and whose normalisation, if any, is exactly 1 / E[phi(z)^2].

>>> from jacntk_lib.architecture import MLP
>>> middle, radius = gram_in_float64(MLP(2, "erf"), np.eye(2), tangent=True)
>>> middle.shape, bool(0 < radius.max() < 1e-10)
((6, 6), True)
"""

from operator import add

import numpy as np

from ..activations import Expectations, closed_forms
from ..architecture import handles
from ..kernels.recursion import Jet, affine, compose, product
from . import arb, balls


def _erf(a, b, c, f):
    """All ten K^ij = E[phi^(i)(u) phi^(j)(v)] of the recursion for erf; ``f`` is the field."""
    al, be = 1 + 2 * a, 1 + 2 * b
    D = al + be - 1 + 4 * (a * b - c * c)
    root, i = f.sqrt(D), 1 / D
    p = 4 / (f.pi() * root)
    e = 1 + 12 * c * c * i
    return Expectations(
        k00=2 / f.pi() * f.atan2(2 * c, root),
        k11=p,
        k20=-2 * c * p / al,
        k02=-2 * c * p / be,
        k22=4 * c * p * i,
        k31=-2 * be * p * i,
        k13=-2 * al * p * i,
        k33=4 * p * i * e,
        k42=-24 * c * be * p * i * i,
        k24=-24 * c * al * p * i * i,
    )


def _gelu(a, b, c, f):
    """K^ij for GELU."""
    det = a * b - c * c
    al, be = 1 + a, 1 + b
    D = al + b + det
    root, i = f.sqrt(D), 1 / D
    q = 1 / (2 * f.pi() * root)
    T = f.atan2(root, -c) / (2 * f.pi())
    cc, h = c * c, 1 / al + 1 / be

    def second(b, al, be):  # K20, with the roles of a and b as given
        return q / al * ((b + det) * (1 + be * i) - 2 * cc / al)

    def third(al, be):  # K31
        return -q * c * (1 / al + 2 / (al * al) + (be / al + 1) * i + 3 * be * i * i)

    def fourth(be):  # K42
        return q * i * (2 - be - 3 * be * al_be_1 * i - 15 * be * cc * i * i)

    al_be_1 = 1 + al + be
    return Expectations(
        k00=c * T + q * (det + cc * h),
        k11=T + q * c * (h + i),
        k20=second(b, al, be),
        k02=second(a, be, al),
        k22=q * (1 + al_be_1 * i + 3 * cc * i * i),
        k31=third(al, be),
        k13=third(be, al),
        k33=q * c * i * (1 + (9 + 3 * al + 3 * be) * i + 15 * cc * i * i),
        k42=fourth(be),
        k24=fourth(al),
    )


def _sin(a, b, c, f):
    """K^ij for the sine: E[sin u sin v] = exp(-(a+b)/2) sinh c and so on."""
    half = (a + b) / 2
    up, down = f.exp(c - half), f.exp(-c - half)
    sinh, cosh = (up - down) / 2, (up + down) / 2
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


# The diagonal a = b = c has forms of its own: with K^ij(a, a, a) the radii would count every a three times over.


def _erf_moment(a, f):
    """(m, m') with m(a) = E[phi(u)^2] at Var u = a."""
    root = f.sqrt(1 + 4 * a)
    return 2 / f.pi() * f.atan2(2 * a, root), 4 / (f.pi() * (1 + 2 * a) * root)


def _gelu_moment(a, f):
    al, D = 1 + a, 1 + 2 * a
    root = f.sqrt(D)
    q, T = 1 / (2 * f.pi() * root), f.atan2(root, -a) / (2 * f.pi())
    return a * T + 2 * q * a * a / al, T + q * a * (1 / al + 2 / (al * al) + 2 / D)


def _sin_moment(a, f):
    decay = f.exp(-2 * a)
    return (1 - decay) / 2, decay


_BUILT_IN = {  # by the formulas themselves: a name is anybody's
    closed_forms.ERF: (_erf, _erf_moment),
    closed_forms.GELU: (_gelu, _gelu_moment),
    closed_forms.SIN: (_sin, _sin_moment),
}


def enclosure_of(phi):
    """The pair ``(expectations, moment)`` of an activation's closed forms in any field, or None where there is none."""
    if phi.enclosure is not None or not phi.has_closed_form:
        return phi.enclosure
    return _BUILT_IN.get(phi.formulas_for(0.0))


class Recursion:
    """The eight scalars of Sigma, or with ``tangent`` of Theta, for one network in a given field (see the module).

    Examples
    --------
    >>> from jacntk_lib.architecture import MLP
    >>> recursion = Recursion(MLP(3, "gelu"), balls, tangent=False)
    >>> one = balls.exact(1.0)
    >>> k = recursion.scalars(recursion.along(one), recursion.along(one), one).k
    >>> bool(abs(k.mid - 1) <= k.rad < 1e-12)  # normalised: variance 1 on the unit sphere, at every depth
    True
    """

    def __init__(self, mlp, field, *, tangent):
        handles(mlp, "a certificate")
        self.depth, self.field, self.tangent = mlp.depth, field, tangent
        self.expectations, self.moment = enclosure_of(mlp.phi)
        weight, scale, bias = (field.exact(x) for x in (mlp.sigma_w, mlp.common_scale, mlp.sigma_b))
        self.gain, self.bias = weight * weight, bias * bias
        self.first = self.gain * scale * scale
        if mlp.normalise:
            self.gain = self.gain / self.moment(field.exact(1.0), field)[0]

    def along(self, A):
        """Pre-activation variance and its derivative in A = |x|^2, layer by layer, for one point (or all)."""
        a, p, layers = self.first * A + self.bias, self.first, []
        for _ in range(self.depth):
            layers.append((a, p))
            m, slope = self.moment(a, self.field)
            a, p = self.gain * m + self.bias, self.gain * slope * p
        return layers

    def scalars(self, along_x, along_y, C) -> Jet:
        """The scalars of a pair, from what :meth:`along` gave for both points and C = <x, x'>."""
        S = T = Jet(self.first * C + self.bias, 0, 0, self.first, 0, 0, 0, 0)
        for (a, p), (b, r) in zip(along_x, along_y, strict=True):
            K = self.expectations(a, b, S.k, self.field)
            # by Price: d/da K^ij = K^{i+2,j}/2, d/db K^ij = K^{i,j+2}/2, d/dc K^ij = K^{i+1,j+1}
            N = compose(K.k00, K.k20 / 2, K.k02 / 2, K.k11, K.k22 / 4, K.k31 / 2, K.k13 / 2, K.k22, p, r, S)
            if self.tangent:
                M = compose(K.k11, K.k31 / 2, K.k13 / 2, K.k22, K.k33 / 4, K.k42 / 2, K.k24 / 2, K.k33, p, r, S)
                T = affine(self.gain, Jet(*map(add, N, product(T, M))), self.bias)
            S = affine(self.gain, N, self.bias)
        return T if self.tangent else S


def _scales(mlp, field, d):
    """``input_scale`` per column in the field; an empty list where it is a single number."""
    return [] if mlp.column_scales(d) is None else [field.exact(s) for s in mlp.input_scale]


def _scaled(x, scale):
    return [s * c for s, c in zip(scale, x, strict=True)] if scale else x


def _block(s, x, y, scale):
    """The (1+d) x (1+d) block of a pair as nested lists, from its eight scalars and the coordinates of both points.

    ``scale``, from :func:`_scales`, has multiplied the coordinates and multiplies the derivatives.
    """
    rows = [[s.k] + [2 * s.B * yb + s.C * xb for xb, yb in zip(x, y, strict=True)]]
    for a, (xa, ya) in enumerate(zip(x, y, strict=True)):
        left, right = 4 * s.AB * xa + 2 * s.BC * ya, 2 * s.AC * xa + s.CC * ya
        row = [2 * s.A * xa + s.C * ya] + [left * yb + right * xb for xb, yb in zip(x, y, strict=True)]
        row[1 + a] = row[1 + a] + s.C
        rows.append(row)
    if not scale:
        return rows
    return [_scaled(row, [p, *(p * q for q in scale)]) for p, row in zip([1, *scale], rows, strict=True)]


def gram_in_float64(mlp, X, *, tangent, values_only=False):
    """The Gram matrix of the points X (N, d) with an error bound for every entry.

    Parameters
    ----------
    mlp : the network; its activation has an enclosure (:func:`enclosure_of`).
    X : points (N, d), float64.
    tangent : True for Theta, False for Sigma.
    values_only : leave out the derivatives.

    Returns
    -------
    ``(matrix, radius)``, two symmetric float64 arrays with N(1+d) rows (N if ``values_only``), rows by point, then
    value and derivatives: each exact entry is within ``radius`` of ``matrix``.
    """
    parts = (lambda entry: entry.mid, lambda entry: entry.rad)
    return gram(mlp, X, balls, parts=parts, tangent=tangent, values_only=values_only)


def gram(mlp, X, field, *, parts, tangent, values_only=False):
    """Gram matrices in a field whose numbers are arrays over all pairs, one for each of the ``parts`` of a number.

    The other parameters are those of :func:`gram_in_float64`.
    """
    N, d = X.shape
    recursion = Recursion(mlp, field, tangent=tangent)
    i, j = np.triu_indices(N)
    scale = _scales(mlp, field, d)
    columns = _scaled([field.exact(X[:, a]) for a in range(d)], scale)
    layers = recursion.along(sum(c * c for c in columns))
    along = [[(a[k], p if np.ndim(parts[0](p)) == 0 else p[k]) for a, p in layers] for k in (i, j)]
    x, y = [c[i] for c in columns], [c[j] for c in columns]
    scalars = recursion.scalars(*along, sum(u * v for u, v in zip(x, y, strict=True)))
    rows = [[scalars.k]] if values_only else _block(scalars, x, y, scale)
    size = len(rows)
    matrices = [np.empty((N, size, N, size), dtype=parts[0](scalars.k).dtype) for _ in parts]
    for a, row in enumerate(rows):
        for b, entry in enumerate(row):
            for matrix, part in zip(matrices, parts, strict=True):
                matrix[i, a, j, b] = matrix[j, b, i, a] = part(entry)
    return [matrix.reshape(N * size, N * size) for matrix in matrices]


def gram_in_arb(mlp, X, *, tangent, values_only=False):
    """The matrix of :func:`gram_in_float64` as an ``arb_mat`` at the current precision: balls around the exact entries.

    Examples
    --------
    >>> from jacntk_lib.architecture import MLP
    >>> enclosed = gram_in_arb(MLP(2, "erf"), np.eye(2), tangent=True)
    >>> middle, radius = gram_in_float64(MLP(2, "erf"), np.eye(2), tangent=True)
    >>> enclosed.nrows(), bool(abs(float(enclosed[0, 3]) - middle[0, 3]) <= 2 * radius[0, 3])
    (6, True)
    """
    field = arb.field()
    recursion = Recursion(mlp, field, tangent=tangent)
    N, d = X.shape
    scale = _scales(mlp, field, d)
    points = [_scaled([field.exact(float(value)) for value in row], scale) for row in X]
    along = [recursion.along(sum(v * v for v in x)) for x in points]
    size = 1 if values_only else 1 + d
    table = [[None] * (N * size) for _ in range(N * size)]
    for i, x in enumerate(points):
        for j in range(i + 1):
            y = points[j]
            s = recursion.scalars(along[i], along[j], sum(u * v for u, v in zip(x, y, strict=True)))
            for a, row in enumerate([[s.k]] if values_only else _block(s, x, y, scale)):
                for b, entry in enumerate(row):
                    table[i * size + a][j * size + b] = table[j * size + b][i * size + a] = entry
    return arb.load().arb_mat(table)
