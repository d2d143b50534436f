r"""Data sets on which a Gram matrix of values and input Jacobians is exactly singular: all of them, and why.

A null vector n has N(1+d) entries, by point, then value and derivatives. It says
:math:`\sum_{i,a} n_{ia} J_a f(x_i) = 0` for *every* network of the architecture, of any width and with any weights; so
the finite kernels and their limits, Sigma and Theta, all have it.

For real-analytic phi the null vectors are exactly the relations that hold on all forms (homogeneous polynomials) of the
degrees in a set K_L. Without bias it depends on the degrees in the even and the odd part of phi and on L alone
(``degrees``). With bias it holds every degree up to q^L if phi is a polynomial of degree q, every degree at all if
phi is no polynomial.

If K_L holds infinitely many even degrees, the even part of f takes any values and derivatives at points no two of which
are equal or antipodal; so for odd degrees. If there are finitely many, the rank of an integer matrix decides
(:mod:`jacntk_lib.spectrum.jets`). Points are compared exactly as the float64 numbers they are: nearly equal points are
nearly singular, not singular.

>>> X = np.array([[1.0, 2.0], [-1.0, -2.0], [0.0, 0.0]])
>>> found = degeneracies(MLP(3, "erf"), X)
>>> [(one.cause, one.count) for one in found]
[('point at the origin', 1), ('antipodal pairs', 3)]
>>> null_space(found).shape
(9, 4)
"""

from dataclasses import dataclass, field

import numpy as np

from .._validation import as_points
from ..architecture import MLP, handles
from ..kernels.ties import Ties, reaching
from .jets import relations

LARGEST_DEGREE = 256  # of a network that is a polynomial: its rank is computed with powers of integers of that degree


@dataclass(frozen=True)
class Degeneracy:
    """One cause of exact singularity in a data set.

    Attributes
    ----------
    cause : ``"duplicate points"``, ``"point at the origin"``, ``"antipodal pairs"`` or ``"polynomial activation"``.
    identity : the relation that every network of the architecture satisfies.
    points : the indices concerned, a tuple of tuples: pairs, or single points.
    shape : (N, 1+d), of values and derivatives at all points.
    relations : a dictionary for each null vector, from (point, index) to an integer; index 0 is the value, 1 ... d the
        derivatives, and what is missing is 0. They are linearly independent, also of those of other causes.
    """

    cause: str
    identity: str
    points: tuple[tuple[int, ...], ...]
    shape: tuple[int, int] = field(repr=False)
    relations: tuple[dict, ...] = field(repr=False)

    @property
    def count(self) -> int:
        """How many null vectors this cause gives."""
        return len(self.relations)

    @property
    def null_vectors(self) -> np.ndarray:
        """(N(1+d), m), one column for each relation, divided by its largest entry and rounded."""
        vectors = np.zeros((*self.shape, self.count))
        for k, relation in enumerate(self.relations):
            largest = max(map(abs, relation.values()))
            for (point, index), coefficient in relation.items():
                vectors[point, index, k] = coefficient / largest  # of integers: correctly rounded, however large
        return vectors.reshape(-1, self.count)


def degeneracies(mlp: MLP, X) -> tuple[Degeneracy, ...]:
    r"""Every cause that makes Sigma^L and Theta^L singular at the points X (N, d), with all their null vectors.

    * *duplicate points*: 1 + d null vectors for each further copy; the other causes look at one copy.
    * *point at the origin*, no bias: f(0) = 0 where phi(0) = 0, and Jf(0) = 0 where phi'(0) = 0.
    * *antipodal pairs*, no bias: phi odd (erf) or even (cosine), at every depth, 1 + d for each pair; or L = 1 and one
      part of phi a polynomial, so that f(x) - f(-x) is linear (GELU, softplus) or f(x) + f(-x) constant (sigmoid): as
      many as there are relations between the pairs' values and derivatives on such polynomials.
    * *polynomial activation*: networks of bounded degree cannot take every value and derivative at many points. That
      includes Euler's relation q^L f(x) = <x, Jf(x)> for z^q.

    All of them are found if phi is analytic, or Lipschitz, or there is a bias (:func:`jacntk_lib.spectrum.positivity`).
    Parts of phi that are not stated are detected from values as far out as the pre-activations at X go.

    Raises
    ------
    TypeError, ValueError : ``mlp`` is not an MLP, or X is not a finite (N, d) array.
    ValueError : phi is a polynomial and networks have a degree above 256.

    Examples
    --------
    >>> octahedron = np.concatenate([np.eye(3), -np.eye(3)])
    >>> [(found.cause, found.count) for found in degeneracies(MLP(1, "gelu"), octahedron)]
    [('antipodal pairs', 9)]
    >>> degeneracies(MLP(2, "gelu"), octahedron)
    ()
    """
    handles(mlp, "degeneracies")
    X = as_points(X)
    parts = degrees(reaching(mlp, X))
    found = [_duplicates(X)]
    distinct = Ties.of(X, antipodes=False).first
    found.append(_origin(X, distinct, parts))
    pairs, representatives = _antipodes(X, distinct)
    infinite = [... in part for part in parts]
    if not all(parts):  # a parity that does not occur
        found.append(_parity(X, pairs, odd=not parts[0]))
        distinct = representatives
    if not any(infinite):
        found.append(_polynomial(X, distinct, parts))
    elif all(parts) and not all(infinite):
        found.append(_finite_parity(X, pairs, parts[infinite.index(False)]))
    return tuple(one for one in found if one.relations)


def degrees(mlp: MLP) -> tuple[set, set]:
    r"""The degrees of the forms that networks of this architecture are sums of, even ones and odd ones.

    :math:`K_0 = \{1\}`, and :math:`K_l` is the set of all :math:`m_1 + \dots + m_j`, j a degree of phi and the m in
    :math:`K_{l-1}`; with bias, every degree up to the largest. An ellipsis stands for infinitely many degrees, and
    0 and 1 are in the sets if they occur.

    Examples
    --------
    >>> degrees(MLP(1, "gelu")) == ({2, ...}, {1})
    True
    >>> degrees(MLP(2, "gelu")) == ({...}, {1, ...})
    True
    """
    handles(mlp, "degeneracies")
    even, odd = set(mlp.phi.even_part), set(mlp.phi.odd_part)
    if ... in even | odd:
        if mlp.sigma_b > 0:
            return {0, ...}, {1, ...}
        if mlp.depth > 1 and even and odd:
            return (even & {0}) | {...}, (odd & {1}) | {...}
        return even, odd
    if (degree := max(even | odd) ** mlp.depth) > LARGEST_DEGREE:
        raise ValueError(
            f"networks of depth {mlp.depth} with activation {mlp.phi.name!r} are polynomials of degree {degree}; exact "
            f"ranks are computed up to degree {LARGEST_DEGREE}: reduce the depth"
        )
    if mlp.sigma_b > 0:
        occurring = set(range(degree + 1))
    else:
        occurring = {1}
        for _ in range(mlp.depth):
            occurring = _sums(occurring, even | odd)
    return {m for m in occurring if m % 2 == 0}, {m for m in occurring if m % 2 == 1}


def null_space(found) -> np.ndarray:
    """An orthonormal basis (N(1+d), m) of all null vectors of the degeneracies together."""
    return np.linalg.qr(np.concatenate([one.null_vectors for one in found], axis=1))[0]


# ------------------------------------------------------------------------------------------- cause by cause


def _duplicates(X):
    tied = Ties.of(X, antipodes=False)
    later = np.setdiff1d(np.arange(len(X)), tied.first)
    pairs = sorted((int(tied.first[tied.group[j]]), int(j)) for j in later)
    vectors = [{(i, a): 1, (j, a): -1} for i, j in pairs for a in range(1 + X.shape[1])]
    return _degeneracy(X, "duplicate points", "J_a f(x) = J_a f(x') for every a", pairs, vectors)


def _origin(X, distinct, parts):
    even, odd = parts
    silent = [] if 0 in even else [0]
    silent += [] if 1 in odd else range(1, 1 + X.shape[1])
    identity = ", ".join(["f(0) = 0"] * (0 not in even) + ["Jf(0) = 0"] * (1 not in odd))
    points = [(int(i),) for i in distinct if not X[i].any()]
    return _degeneracy(X, "point at the origin", identity, points, [{(i, a): 1} for (i,) in points for a in silent])


def _parity(X, pairs, *, odd):
    """f(-x) = -f(x) for odd phi, f(-x) = f(x) for even phi."""
    identity = "f(-x) = -f(x), Jf(-x) = Jf(x)" if odd else "f(-x) = f(x), Jf(-x) = -Jf(x)"
    value, slope = (1, -1) if odd else (-1, 1)
    vectors = [{(i, a): 1, (j, a): slope if a else value} for a in range(1 + X.shape[1]) for i, j in pairs]
    return _degeneracy(X, "antipodal pairs", identity, pairs, vectors)


def _finite_parity(X, pairs, part):
    """One parity of f is a polynomial while the other takes any values: relations among pairs in that parity."""
    odd = any(m % 2 for m in part)
    functionals = [(i, a) for i, _ in pairs for a in range(1 + X.shape[1])]
    functionals += _at_origin(X, part)
    other = dict(pairs)
    vectors = []
    for relation in relations(X, part, functionals):
        vector = {}
        for (i, a), y in relation.items():
            if i in other:  # f(x) -+ f(-x) is twice the part of f, which at the origin is f itself
                vector[i, a] = y
                vector[other[i], a] = -y if odd == (a == 0) else y
            else:
                vector[i, a] = 2 * y
        vectors.append(vector)
    identity = f"f(x) {'-' if odd else '+'} f(-x) is {_polynomials(part)}"
    return _degeneracy(X, "antipodal pairs", identity, pairs, vectors)


def _polynomial(X, distinct, parts):
    """Networks are polynomials of bounded degree."""
    part = parts[0] | parts[1]
    functionals = [(int(i), a) for i in distinct if X[i].any() for a in range(1 + X.shape[1])]
    functionals += _at_origin(X, part)
    points = [(int(i),) for i in distinct]
    vectors = relations(X, part, functionals)
    return _degeneracy(X, "polynomial activation", f"f is {_polynomials(part)}", points, vectors)


# ------------------------------------------------------------------------------------------- helpers


def _degeneracy(X, cause, identity, points, vectors):
    return Degeneracy(cause, identity, tuple(points), (len(X), 1 + X.shape[1]), tuple(vectors))


def _antipodes(X, distinct):
    """Pairs (i, j) of distinct points with x_j = -x_i, and one point of each pair with all that have no partner."""
    tied = Ties.of(X[distinct], antipodes=True)
    second = np.flatnonzero(tied.sign < 0)
    pairs = list(zip(distinct[tied.first[tied.group[second]]].tolist(), distinct[second].tolist(), strict=True))
    return pairs, distinct[tied.first]


def _at_origin(X, part):
    """The functionals at the origin, if it is among the points, that do not vanish on all forms of these degrees."""
    indices = [0] * (0 in part) + list(range(1, 1 + X.shape[1])) * (1 in part)
    return [(int(i), a) for i in np.flatnonzero(~X.any(axis=1))[:1] for a in indices]


def _sums(degrees, counts):
    """All sums of j of the degrees, j any of the counts."""
    reached, found = {0}, set()
    for j in range(max(counts) + 1):
        if j in counts:
            found |= reached
        reached = {a + b for a in reached for b in degrees}
    return found


def _polynomials(part):
    if max(part) <= 1:
        return {(0,): "constant", (1,): "linear", (0, 1): "affine"}[tuple(sorted(part))]
    return f"a polynomial whose terms have degree {', '.join(map(str, sorted(part)))}"
