r"""Data sets on which a Gram matrix of values and input Jacobians is exactly singular, found and named.

Each function looks for one cause among the points X, a float64 array (N, d), and returns a :class:`Degeneracy` with
null vectors, or None. The cause is always a linear identity between values and input derivatives of *every* network of
the architecture, of any width and with any weights: hence a null vector of the finite kernels and of their limits
alike, whether of Sigma or of Theta.

A null vector n has N(1+d) entries, by point, then value and derivatives; it says
:math:`\sum_{i,a} n_{ia} J_a f(x_i) = 0`. Points are compared exactly as the float64 numbers they are: nearly equal
points are nearly singular, not singular.

>>> X = np.array([[1.0, 2.0], [-1.0, -2.0], [0.0, 0.0]])
>>> found = degeneracies(MLP(3, "erf"), X)
>>> [(one.cause, one.count) for one in found]
[('point at the origin', 1), ('antipodal pairs', 3)]
>>> null_space(found).shape  # they are independent
(9, 4)
"""

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from .._validation import as_points
from ..architecture import MLP
from ..kernels.ties import Ties


@dataclass(frozen=True)
class Degeneracy:
    """One cause of exact singularity in a data set.

    Attributes
    ----------
    cause : ``"duplicate points"``, ``"point at the origin"``, ``"antipodal pairs"`` or ``"homogeneous activation"``.
    identity : the relation that every network of the architecture satisfies.
    points : the indices concerned, a tuple of tuples: pairs, or single points.
    null_vectors : (N(1+d), m), linearly independent columns.
    """

    cause: str
    identity: str
    points: tuple[tuple[int, ...], ...]
    null_vectors: np.ndarray = field(repr=False, compare=False)

    @property
    def count(self) -> int:
        """How many null vectors this cause gives."""
        return self.null_vectors.shape[1]


def duplicate_points(mlp: MLP, X) -> Degeneracy | None:
    """Equal points: all 1+d rows of the second one repeat those of the first, with bias too.

    Examples
    --------
    >>> duplicate_points(MLP(2), np.ones((2, 3)))
    Degeneracy(cause='duplicate points', identity="J_a f(x) = J_a f(x') for every a", points=((0, 1),))
    """
    tied = Ties.of(X, antipodes=False)
    others = np.setdiff1d(np.arange(len(X)), tied.first)
    pairs = sorted((int(tied.first[tied.group[j]]), int(j)) for j in others)
    columns = [_vector(X, ((i, a, 1.0), (j, a, -1.0))) for i, j in pairs for a in range(1 + X.shape[1])]
    return _found("duplicate points", "J_a f(x) = J_a f(x') for every a", pairs, columns)


def origin_points(mlp: MLP, X) -> Degeneracy | None:
    """A point at the origin, with phi(0) = 0 and no bias: every such network vanishes there.

    Examples
    --------
    >>> origin_points(MLP(2, "gelu"), np.diag([1.0, 0.0])).points
    ((1,),)
    >>> origin_points(MLP(2, "gelu", sigma_b=0.1), np.diag([1.0, 0.0]))
    """
    if mlp.sigma_b > 0 or not mlp.phi.vanishes_at_zero:
        return None
    points = [(int(i),) for i in np.flatnonzero(~X.any(axis=1))]
    return _found("point at the origin", "f(0) = 0", points, [_vector(X, ((i, 0, 1.0),)) for (i,) in points])


def antipodal_pairs(mlp: MLP, X) -> Degeneracy | None:
    r"""Points x and -x, without bias.

    * phi odd (erf, sine): f(-x) = -f(x) and Jf(-x) = Jf(x), at every depth: 1 + d null vectors per pair.
    * phi(z) - phi(-z) linear (GELU, SiLU, softplus) and depth 1: f(x) - f(-x) is a linear function g . x with
      g = Jf(x) + Jf(-x) the same for every x: p pairs give p + d(p-1) null vectors, and d more if the origin, which is
      its own antipode, is among the points. From depth 2 on the identity is gone. Where points of the pairs are
      linearly dependent, as more than d always are, sum c_k x_k = 0 makes sum c_k [f(x_k) - f(-x_k)] = 0: as many of
      the null vectors concern values alone, so the ordinary kernel is singular too.

    Only one copy of repeated points is counted: the others are :func:`duplicate_points`.

    Examples
    --------
    >>> found = antipodal_pairs(MLP(3, "erf"), np.array([[1.0, 2.0], [-1.0, -2.0]]))
    >>> found.identity, found.count
    ('f(-x) = -f(x), Jf(-x) = Jf(x)', 3)
    """
    linear = mlp.phi.odd_part_linear and mlp.depth == 1
    if mlp.sigma_b > 0 or not (mlp.phi.odd or linear):
        return None
    tied = Ties.of(X, antipodes=True)
    opposite = np.flatnonzero(tied.sign < 0)
    groups, at = np.unique(tied.group[opposite], return_index=True)  # one antipode of each first point
    pairs = list(zip(tied.first[groups].tolist(), opposite[at].tolist(), strict=True))
    columns, identities = [], []
    if mlp.phi.odd and pairs:
        identities.append("f(-x) = -f(x), Jf(-x) = Jf(x)")
        columns += [_vector(X, ((i, 0, 1.0), (j, 0, 1.0))) for i, j in pairs]
        columns += [_vector(X, ((i, 1 + a, 1.0), (j, 1 + a, -1.0))) for i, j in pairs for a in range(X.shape[1])]
    if linear and pairs:
        identities.append("f(x) - f(-x) = <x, Jf(x) + Jf(-x)>, and Jf(x) + Jf(-x) is the same for every x")
        columns += _linear_odd_part(X, pairs)
    return _found("antipodal pairs", "; ".join(identities), pairs, columns)


def _linear_odd_part(X, pairs):
    """The null vectors of p antipodal pairs where f(x) - f(-x) is linear in x: p + d(p-1), d more with the origin."""
    d = X.shape[1]
    single = [
        _vector(X, [(i, 0, 1.0), (j, 0, -1.0), *((k, 1 + a, -X[i, a]) for k in (i, j) for a in range(d))])
        for i, j in pairs
    ]
    rest, dependent = _dependencies(X[[i for i, _ in pairs]])
    columns = list((np.stack(single, axis=1) @ rest).T) if dependent.size else single
    for c in dependent.T:
        values = zip(pairs, c, strict=True)
        columns.append(_vector(X, [entry for (i, j), c_k in values for entry in ((i, 0, c_k), (j, 0, -c_k))]))
    origin = [(int(i), int(i)) for i in np.flatnonzero(~X.any(axis=1))[:1]]  # its own antipode
    (i, j), *others = pairs + origin
    columns += [
        _vector(X, ((i, 1 + a, 1.0), (j, 1 + a, 1.0), (k, 1 + a, -1.0), (m, 1 + a, -1.0)))
        for k, m in others
        for a in range(d)
    ]
    return columns


def homogeneous_activation(mlp: MLP, X) -> Degeneracy | None:
    r"""phi positively homogeneous of degree q, without bias: Euler's relation, one null vector at every point.

    f is then homogeneous of degree q^L, so :math:`q^L f(x) = \langle x, Jf(x) \rangle`: the vector (q^L, -x). Of
    the smooth activations only the monomials z^q qualify, and of those with k continuous derivatives also
    c z^q for z > 0, c' |z|^q for z < 0 with q > k.

    Examples
    --------
    >>> from jacntk_lib.activations import Activation
    >>> shapes = [lambda z: z**2, lambda z: 2 * z, lambda z: 0 * z + 2.0, lambda z: 0 * z, lambda z: 0 * z]
    >>> square = Activation.from_derivatives("square", shapes, homogeneity=2)
    >>> homogeneous_activation(MLP(2, square), np.ones((1, 2))).identity
    '4 f(x) = <x, Jf(x)>'
    """
    if mlp.sigma_b > 0 or mlp.phi.homogeneity is None:
        return None
    degree = float(mlp.phi.homogeneity) ** mlp.depth
    points = [(i,) for i in range(len(X))]
    columns = [_vector(X, [(i, 0, degree), *((i, 1 + a, -x) for a, x in enumerate(X[i]))]) for (i,) in points]
    return _found("homogeneous activation", f"{degree:g} f(x) = <x, Jf(x)>", points, columns)


def degeneracies(mlp: MLP, X) -> tuple[Degeneracy, ...]:
    """Every cause above that a data set has, for a network of this architecture.

    Raises
    ------
    TypeError, ValueError : ``mlp`` is not an MLP, or X is not a finite (N, d) array.

    Examples
    --------
    >>> octahedron = np.concatenate([np.eye(3), -np.eye(3)])
    >>> [(found.cause, found.count) for found in degeneracies(MLP(1, "gelu"), octahedron)]
    [('antipodal pairs', 9)]
    >>> degeneracies(MLP(2, "gelu"), octahedron)
    ()
    """
    if not isinstance(mlp, MLP):
        raise TypeError(f"mlp must be an MLP, got {mlp!r}; for example MLP(depth=3, activation='erf')")
    X = as_points(X)
    searches = (duplicate_points, origin_points, antipodal_pairs, homogeneous_activation)
    return tuple(found for search in searches if (found := search(mlp, X)) is not None)


def null_space(found) -> np.ndarray:
    """An orthonormal basis (N(1+d), m) of all null vectors of several degeneracies together; overlaps count once."""
    vectors = np.concatenate([item.null_vectors / np.linalg.norm(item.null_vectors, axis=0) for item in found], axis=1)
    left, singular, _ = np.linalg.svd(vectors, full_matrices=False)
    return left[:, singular > 1e-10 * singular[0]]


def _dependencies(points):
    """Orthonormal (p, r) and (p, p - r): of r, the rank of the points, and all c with sum_k c_k x_k = 0.

    The entries of c are rounded; how many there are is decided exactly, since a proof of singularity rests on it.
    """
    left, singular, _ = np.linalg.svd(points)
    rank = min(points.shape)
    if singular[-1] <= 1e-8 * singular[0]:  # perhaps fewer: dependent points always come here
        rank = _exact_rank(points)
    return left[:, :rank], left[:, rank:]


def _exact_rank(points):
    rows, rank = [[Fraction(float(entry)) for entry in x] for x in points], 0
    for column in range(points.shape[1]):
        pivot = next((k for k in range(rank, len(rows)) if rows[k][column]), None)
        if pivot is None:
            continue
        rows[rank], rows[pivot] = rows[pivot], rows[rank]
        for k in range(rank + 1, len(rows)):
            ratio = rows[k][column] / rows[rank][column]
            rows[k] = [a - ratio * b for a, b in zip(rows[k], rows[rank], strict=True)]
        rank += 1
    return rank


def _vector(X, entries):
    """A null vector from (point, index, coefficient) triples; coefficients of one entry add up."""
    vector = np.zeros((len(X), 1 + X.shape[1]))
    for point, index, coefficient in entries:
        vector[point, index] += coefficient
    return vector.ravel()


def _found(cause, identity, points, columns):
    return Degeneracy(cause, identity, tuple(points), np.stack(columns, axis=1)) if columns else None
