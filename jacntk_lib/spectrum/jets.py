r"""Linear relations among values and derivatives of forms, in exact integer arithmetic.

A *jet functional* (i, a) takes a function to its value at the point x_i (a = 0) or to its derivative there along
coordinate a = 1 ... d. On the sum of Hom_m, the forms of degree m, for m in a finite set S, the functionals have a Gram
matrix: that of the polynomial kernel

.. math:: k(x, x') = \sum_{m \in S} \langle x, x' \rangle^m

and its derivatives. A relation :math:`\sum n_{ia} J_a f(x_i) = 0` for every such f is a null vector of that matrix,
whose entries are integers once the coordinates are (float64 numbers are, times a power of two).

>>> relations([[1.0], [3.0]], {2}, [(0, 0), (1, 0)])  # f(x) = c x^2: f(3) = 9 f(1)
[{(1, 0): 1, (0, 0): -9}]
"""

import math
from fractions import Fraction
from functools import cache


def relations(points, degrees, functionals) -> list[dict]:
    """A basis of all relations among jet functionals on the forms whose degrees are given.

    Cholesky's elimination of the Gram matrix without fractions (Bareiss 1968), the largest pivot first, its columns
    made when they are needed: the cost is that of n r^2 integer operations for n functionals of rank r.

    Parameters
    ----------
    points : N points in R^d, float64 numbers taken as exact.
    degrees : a finite set of degrees m >= 0.
    functionals : pairs (i, a), i a row of ``points``, a = 0 the value, 1 ... d the derivatives.

    Returns
    -------
    Relations as dictionaries from functionals to integers other than zero. Those among values alone are a basis of all
    relations among values.
    """
    coordinates, unit = _integers(points)
    entry = _gram_entry(coordinates, degrees)
    n = len(functionals)
    diagonal = [entry(*one, *one) for one in functionals]
    steps = []  # of each pivot: its index, its column, and the pivot before it
    before = 1
    rank = {}  # of the values alone (True), of all functionals (False)
    for values in (True, False):
        while True:
            left = [j for j in range(n) if diagonal[j] and (functionals[j][1] == 0) == values]
            if not left:
                break
            j = max(left, key=diagonal.__getitem__)
            column = [entry(*one, *functionals[j]) for one in functionals]
            for k, pivots, divisor in steps:
                column = [(pivots[k] * c - p * column[k]) // divisor for c, p in zip(column, pivots, strict=True)]
            diagonal = [(column[j] * r - c * c) // before for r, c in zip(diagonal, column, strict=True)]
            steps.append((j, column, before))
            before = column[j]
        rank[values] = len(steps)
    pivots = {j for j, _, _ in steps}
    dependent = [j for j in range(n) if j not in pivots]
    return [_relation(steps[: rank[functionals[j][1] == 0]], j, functionals, unit) for j in dependent]


def _integers(points):
    """The coordinates times a common factor as coprime integers, and that factor."""
    exact = [[Fraction(float(v)) for v in x] for x in points]
    scale = max(v.denominator for x in exact for v in x)  # of powers of two the largest is a common multiple
    whole = [[int(v * scale) for v in x] for x in exact]
    common = math.gcd(*(v for x in whole for v in x)) or 1
    return [[v // common for v in x] for x in whole], Fraction(scale, common)


def _gram_entry(points, degrees):
    """A function of two functionals: the entry of the Gram matrix."""

    @cache
    def sums(i, j):  # of the powers of <x, x'> and of their first two derivatives
        t = sum(u * v for u, v in zip(points[i], points[j], strict=True))
        return [sum(math.perm(m, k) * t ** (m - k) for m in degrees if m >= k) for k in range(3)]

    def entry(i, a, j, b):
        value, slope, curvature = sums(min(i, j), max(i, j))
        if a == b == 0:
            return value
        if a == 0 or b == 0:
            return slope * (points[j][a - 1] if b == 0 else points[i][b - 1])
        return curvature * points[j][a - 1] * points[i][b - 1] + (slope if a == b else 0)

    return entry


def _relation(steps, j, functionals, unit):
    """How functional j depends on the pivots: back substitution, by Cramer's rule in integers."""
    determinant = steps[-1][1][steps[-1][0]] if steps else 1
    solution = {}
    for k, column, _ in reversed(steps):
        rest = determinant * column[j] - sum(column[m] * y for m, y in solution.items())
        solution[k] = rest // column[k]
    solution[j] = -determinant
    # in the integer coordinates unit * x a derivative is 1 / unit of what it is in x
    weights = (unit.numerator, unit.denominator)
    scaled = {functionals[k]: y * weights[functionals[k][1] > 0] for k, y in solution.items() if y}
    common = math.gcd(*scaled.values())
    return {one: y // common for one, y in scaled.items()}
