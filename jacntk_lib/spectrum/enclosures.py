r"""Gram matrices with proof: the layer recursion in ball arithmetic.

:mod:`jacntk_lib.kernels` computes with float64 and gives no bound of its error. Here the same matrices are computed
again, by formulas written out a second time and *generic in the number type*: every function below takes a ``field``,
a module or object with ``exact, pi, sqrt, atan2, exp``. Two fields exist,

* :mod:`jacntk_lib.spectrum.balls`: float64 arrays over all pairs at once with running error bounds, the fast ones;
* :func:`arb_field`: python-flint's arbitrary precision balls, one pair at a time, as accurate as wanted.

The enclosed matrix is the Gram matrix of *exactly the float64 inputs*, of the network whose sigmas and input scale
are exactly the given float64 numbers and whose normalisation, if any, is exactly 1 / E[phi(z)^2].

>>> from jacntk_lib.architecture import MLP
>>> middle, radius = gram_in_float64(MLP(2, "erf"), "ntk", np.eye(2))
>>> middle.shape, bool(0 < radius.max() < 1e-10)
((6, 6), True)
"""

from types import SimpleNamespace

import numpy as np

from . import balls
from . import flint as _flint

CLOSED_FORMS = ("erf", "gelu", "sin")


def _erf(a, b, c, f):
    """K^ij for erf; ``f`` is the field."""
    al, be = 1 + 2 * a, 1 + 2 * b
    D = al + be - 1 + 4 * (a * b - c * c)
    root, i = f.sqrt(D), 1 / D
    p = 4 / (f.pi() * root)
    e = 1 + 12 * c * c * i
    return {
        "00": 2 / f.pi() * f.atan2(2 * c, root),
        "11": p,
        "20": -2 * c * p / al,
        "02": -2 * c * p / be,
        "22": 4 * c * p * i,
        "31": -2 * be * p * i,
        "13": -2 * al * p * i,
        "33": 4 * p * i * e,
        "42": -24 * c * be * p * i * i,
        "24": -24 * c * al * p * i * i,
    }


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
    return {
        "00": c * T + q * (det + cc * h),
        "11": T + q * c * (h + i),
        "20": second(b, al, be),
        "02": second(a, be, al),
        "22": q * (1 + al_be_1 * i + 3 * cc * i * i),
        "31": third(al, be),
        "13": third(be, al),
        "33": q * c * i * (1 + (9 + 3 * al + 3 * be) * i + 15 * cc * i * i),
        "42": fourth(be),
        "24": fourth(al),
    }


def _sin(a, b, c, f):
    """K^ij for the sine: E[sin u sin v] = exp(-(a+b)/2) sinh c and so on."""
    half = (a + b) / 2
    up, down = f.exp(c - half), f.exp(-c - half)
    sinh, cosh = (up - down) / 2, (up + down) / 2
    return {
        "00": sinh,
        "11": cosh,
        "20": -sinh,
        "02": -sinh,
        "22": sinh,
        "31": -cosh,
        "13": -cosh,
        "33": cosh,
        "42": -sinh,
        "24": -sinh,
    }


# The diagonal a = b = c has forms of its own: with K^ij(a, a, a) the radii would count every a three times over.


def _erf_diagonal(a, f):
    """(m, m') with m(a) = E[phi(u)^2] at Var u = a."""
    root = f.sqrt(1 + 4 * a)
    return 2 / f.pi() * f.atan2(2 * a, root), 4 / (f.pi() * (1 + 2 * a) * root)


def _gelu_diagonal(a, f):
    al, D = 1 + a, 1 + 2 * a
    root = f.sqrt(D)
    q, T = 1 / (2 * f.pi() * root), f.atan2(root, -a) / (2 * f.pi())
    return a * T + 2 * q * a * a / al, T + q * a * (1 / al + 2 / (al * al) + 2 / D)


def _sin_diagonal(a, f):
    decay = f.exp(-2 * a)
    return (1 - decay) / 2, decay


_EXPECTATIONS = {"erf": _erf, "gelu": _gelu, "sin": _sin}
_DIAGONAL = {"erf": _erf_diagonal, "gelu": _gelu_diagonal, "sin": _sin_diagonal}


def expectations(name, a, b, c, field):
    """All K^ij = E[phi^(i)(u) phi^(j)(v)] of the recursion, as {"00": ..., "11": ..., ...}, in a given field.

    Examples
    --------
    >>> one = balls.exact(1.0)
    >>> K00 = expectations("sin", one, one, one, balls)["00"]  # E[sin(u)^2] = (1 - exp(-2)) / 2
    >>> bool(abs(K00.mid - (1 - np.exp(-2)) / 2) < 1e-15), bool(0 < K00.rad < 1e-14)
    (True, True)
    """
    return _EXPECTATIONS[name](a, b, c, field)


def _compose(F, S, p, r):
    """Second-order jet of F(a(A), b(B), S), with F as (value, a, b, c, ab, ac, bc, cc) derivatives."""
    f, fa, fb, fc, fab, fac, fbc, fcc = F
    _, SA, SB, SC, SAB, SAC, SBC, SCC = S
    return (
        f,
        fa * p + fc * SA,
        fb * r + fc * SB,
        fc * SC,
        fab * p * r + fac * p * SB + fbc * r * SA + fcc * SA * SB + fc * SAB,
        (fac * p + fcc * SA) * SC + fc * SAC,
        (fbc * r + fcc * SB) * SC + fc * SBC,
        fcc * SC * SC + fc * SCC,
    )


def _product(T, M):
    """Second-order jet of a product."""
    t, TA, TB, TC, TAB, TAC, TBC, TCC = T
    m, MA, MB, MC, MAB, MAC, MBC, MCC = M
    return (
        t * m,
        TA * m + t * MA,
        TB * m + t * MB,
        TC * m + t * MC,
        TAB * m + TA * MB + TB * MA + t * MAB,
        TAC * m + TA * MC + TC * MA + t * MAC,
        TBC * m + TB * MC + TC * MB + t * MBC,
        TCC * m + 2 * TC * MC + t * MCC,
    )


def _derivatives(K, f, fa, fb, fc, fab, fac, fbc, fcc):
    """A K^ij and its derivatives, by Price's theorem: half of the named K^ij for each derivative in a or b."""
    return K[f], K[fa] / 2, K[fb] / 2, K[fc], K[fab] / 4, K[fac] / 2, K[fbc] / 2, K[fcc]


class Recursion:
    """The eight scalars of one network's kernel, in a given field (see the module).

    Parameters
    ----------
    mlp : the network; its activation is one of :data:`CLOSED_FORMS`.
    kernel : ``"nngp"`` for Sigma or ``"ntk"`` for Theta.
    field : the number type.

    Examples
    --------
    >>> from jacntk_lib.architecture import MLP
    >>> recursion = Recursion(MLP(3, "gelu"), "nngp", balls)
    >>> one = balls.exact(1.0)
    >>> k = recursion.scalars(recursion.along(one), recursion.along(one), one)[0]
    >>> bool(abs(k.mid - 1) <= k.rad < 1e-12)  # normalised: variance 1 on the unit sphere, at every depth
    True
    """

    def __init__(self, mlp, kernel, field):
        self.name, self.depth, self.tangent, self.field = mlp.phi.name, mlp.depth, kernel == "ntk", field
        weight, scale, bias = (field.exact(x) for x in (mlp.sigma_w, mlp.input_scale, mlp.sigma_b))
        self.gain, self.bias = weight * weight, bias * bias
        self.first = self.gain * scale * scale
        if mlp.normalise:
            self.gain = self.gain / _DIAGONAL[self.name](field.exact(1.0), field)[0]

    def along(self, A):
        """Pre-activation variance and its derivative in A = |x|^2, layer by layer, for one point (or all)."""
        a, p, layers = self.first * A + self.bias, self.first, []
        for _ in range(self.depth):
            layers.append((a, p))
            m, slope = _DIAGONAL[self.name](a, self.field)
            a, p = self.gain * m + self.bias, self.gain * slope * p
        return layers

    def scalars(self, along_x, along_y, C):
        """(k, k_A, k_B, k_C, k_AB, k_AC, k_BC, k_CC) from what :meth:`along` gave for both points and C = <x, x'>."""
        S = (self.first * C + self.bias, 0, 0, self.first, 0, 0, 0, 0)
        T = S
        for (a, p), (b, r) in zip(along_x, along_y, strict=True):
            K = expectations(self.name, a, b, S[0], self.field)
            N = _compose(_derivatives(K, "00", "20", "02", "11", "22", "31", "13", "22"), S, p, r)
            if self.tangent:
                M = _compose(_derivatives(K, "11", "31", "13", "22", "33", "42", "24", "33"), S, p, r)
                T = [self.gain * (n + q) for n, q in zip(N, _product(T, M), strict=True)]
                T[0] = T[0] + self.bias
            S = [self.gain * n for n in N]
            S[0] = S[0] + self.bias
        return T if self.tangent else S


def _block(s, x, y):
    """The (1+d) x (1+d) block of a pair as nested lists, from its eight scalars and the coordinates of both points."""
    k, kA, kB, kC, kAB, kAC, kBC, kCC = s
    first = [k] + [2 * kB * yb + kC * xb for xb, yb in zip(x, y, strict=True)]
    rows = [first]
    for a, (xa, ya) in enumerate(zip(x, y, strict=True)):
        left, right = 4 * kAB * xa + 2 * kBC * ya, 2 * kAC * xa + kCC * ya
        row = [2 * kA * xa + kC * ya] + [left * yb + right * xb for xb, yb in zip(x, y, strict=True)]
        row[1 + a] = row[1 + a] + kC
        rows.append(row)
    return rows


def gram_in_float64(mlp, kernel, X, *, values_only=False):
    """The Gram matrix of the points X (N, d) with an error bound for every entry.

    Returns ``(matrix, radius)``, two symmetric float64 arrays with N(1+d) rows (N if ``values_only``), rows by point,
    then value and derivatives: each exact entry is within ``radius`` of ``matrix``.
    """
    parts = (lambda entry: entry.mid, lambda entry: entry.rad)
    return gram(mlp, kernel, X, balls, parts=parts, values_only=values_only)


def gram(mlp, kernel, X, field, *, parts, values_only=False):
    """Gram matrices in a field whose numbers are arrays over all pairs, one for each of the ``parts`` of a number.

    Examples
    --------
    >>> from jacntk_lib.architecture import MLP
    >>> parts = (lambda entry: entry.mid, lambda entry: entry.rad)
    >>> middle, radius = gram(MLP(1, "sin"), "nngp", np.eye(2), balls, parts=parts, values_only=True)
    >>> middle.shape == radius.shape == (2, 2), bool(abs(middle[0, 1]) <= radius[0, 1])
    (True, True)
    """
    N, d = X.shape
    recursion = Recursion(mlp, kernel, field)
    i, j = np.triu_indices(N)
    columns = [field.exact(X[:, a]) for a in range(d)]
    layers = recursion.along(sum(c * c for c in columns))
    along = [[(a[k], p if np.ndim(parts[0](p)) == 0 else p[k]) for a, p in layers] for k in (i, j)]
    x, y = [c[i] for c in columns], [c[j] for c in columns]
    scalars = recursion.scalars(*along, sum(u * v for u, v in zip(x, y, strict=True)))
    rows = [[scalars[0]]] if values_only else _block(scalars, x, y)
    size = len(rows)
    matrices = [np.empty((N, size, N, size), dtype=parts[0](scalars[0]).dtype) for _ in parts]
    for a, row in enumerate(rows):
        for b, entry in enumerate(row):
            for matrix, part in zip(matrices, parts, strict=True):
                matrix[i, a, j, b] = matrix[j, b, i, a] = part(entry)
    return [matrix.reshape(N * size, N * size) for matrix in matrices]


def arb_field():
    """python-flint's balls as a field; their precision is ``flint.ctx.prec`` bits at the time of each operation.

    Raises ImportError, with what to install, where python-flint is missing.

    Examples
    --------
    >>> field = arb_field()
    >>> bool((field.sqrt(field.exact(2)) ** 2).contains(2))  # whatever the precision
    True
    """
    flint = _flint.load()
    arb = flint.arb
    return SimpleNamespace(exact=arb, pi=arb.pi, sqrt=arb.sqrt, exp=arb.exp, atan2=arb.atan2, matrix=flint.arb_mat)


def gram_in_arb(mlp, kernel, X, *, values_only=False):
    """The same matrix as a python-flint ``arb_mat`` at the current precision: balls around the exact entries.

    Examples
    --------
    >>> from jacntk_lib.architecture import MLP
    >>> enclosed = gram_in_arb(MLP(2, "erf"), "ntk", np.eye(2))
    >>> middle, radius = gram_in_float64(MLP(2, "erf"), "ntk", np.eye(2))
    >>> enclosed.nrows(), bool(abs(float(enclosed[0, 3]) - middle[0, 3]) <= 2 * radius[0, 3])
    (6, True)
    """
    field = arb_field()
    recursion = Recursion(mlp, kernel, field)
    N, d = X.shape
    points = [[field.exact(float(value)) for value in row] for row in X]
    along = [recursion.along(sum(v * v for v in x)) for x in points]
    size = 1 if values_only else 1 + d
    table = [[None] * (N * size) for _ in range(N * size)]
    for i, x in enumerate(points):
        for j in range(i + 1):
            y = points[j]
            s = recursion.scalars(along[i], along[j], sum(u * v for u, v in zip(x, y, strict=True)))
            for a, row in enumerate([[s[0]]] if values_only else _block(s, x, y)):
                for b, entry in enumerate(row):
                    table[i * size + a][j * size + b] = table[j * size + b][i * size + a] = entry
    return field.matrix(table)
