"""Well-spread points on the unit sphere of R^d."""

from typing import NamedTuple

import numpy as np
from scipy import special
from scipy.spatial import ConvexHull, QhullError

from jacntk_lib._validation import as_points, integer, non_negative_number


class Separation(NamedTuple):
    """How far a set of points is from having duplicates and from having antipodal pairs."""

    smallest_distance: float  # min over pairs of |x - x'|
    smallest_antipodal_distance: float  # min over pairs of |x + x'|


def separation(X) -> Separation:
    """The smallest ``|x - x'|`` and the smallest ``|x + x'|`` over all pairs of rows of X (N, d); inf for N = 1.

    >>> separation([[1.0, 0.0], [0.0, 1.0]])
    Separation(smallest_distance=1.4142135623730951, smallest_antipodal_distance=1.4142135623730951)
    """
    X = as_points(X)
    nearest = [np.inf, np.inf]
    for i in range(1, len(X)):
        for k, sign in enumerate((-1.0, 1.0)):
            nearest[k] = min(nearest[k], float(np.linalg.norm(X[:i] + sign * X[i], axis=1).min()))
    return Separation(*nearest)


def sphere_net(n, d, seed=0, *, antipodal_range=0.5) -> np.ndarray:
    r"""``n`` well-spread points on the unit sphere of R^d, as an (n, d) array; the same on every machine.

    Random points repel each other with the force :math:`|x-x'|^{-p}`, p rising from 3 to 65, so that in the end the
    closest pairs alone are pushed apart; and each repels the others' antipodes, at ``antipodal_range`` (0 to 1) times
    the distance. So no pair is equal or antipodal: an antipodal pair makes the Jacobian kernels of an odd activation
    singular, and a nearly antipodal one nearly so. 256 points in R^4 end with a smallest distance of 0.44 and a
    smallest distance to an antipode of 0.22 (see :func:`separation`); with ``antipodal_range=0``, plain repulsion, of
    0.45 and 0.03, and small symmetric nets (a square in the plane) are antipodal. Each of 500 steps costs O(n^2 d) time
    and O(n^2) memory.

    After every step the coordinates are rounded to multiples of 2^-16. That costs nothing in spread, and it
    swallows the rounding errors of the machine's arithmetic, which the repulsion would otherwise amplify into
    another net.

    Raises
    ------
    ValueError : n or d below one, an antipodal range outside [0, 1]; or d = 1 with n > 1, where every pair is equal
        or antipodal.

    Examples
    --------
    >>> X = sphere_net(64, 4, seed=0)
    >>> X.shape, round(separation(X).smallest_distance, 2)
    ((64, 4), 0.7)
    """
    antipodal_range = non_negative_number(antipodal_range, "antipodal_range")
    if antipodal_range > 1:
        raise ValueError(f"antipodal_range must be in [0, 1], got {antipodal_range}")
    n, d, seed = integer(n, "n", at_least=1), integer(d, "d", at_least=1), integer(seed, "seed", at_least=0)
    if d == 1 and n > 1:
        raise ValueError(f"the sphere of R^1 is the two points -1 and 1, an antipodal pair: n must be 1, got {n}")
    X = np.random.Generator(np.random.Philox(seed)).standard_normal((n, d))
    X = _on_grid(X / np.linalg.norm(X, axis=1, keepdims=True))
    if n == 1:
        return X / np.linalg.norm(X)
    steps, first_step = 500, 0.2
    for k in range(steps):
        cosine = X @ X.T
        apart, to_antipode = (np.maximum(2 - 2 * sign * cosine, 1e-12) for sign in (1, -1))  # squared distances
        for squared in (apart, to_antipode):
            np.fill_diagonal(squared, np.inf)
        nearest = apart.min()
        if antipodal_range > 0:
            nearest = min(nearest, to_antipode.min() / antipodal_range**2)
        half_power = 2 + 31 * k / steps
        push = (nearest / apart) ** half_power
        push_from_antipode = (antipodal_range**2 * nearest / to_antipode) ** half_power
        force = push_from_antipode @ X - push @ X
        force -= np.sum(force * X, axis=1, keepdims=True) * X  # along the sphere
        strongest = np.linalg.norm(force, axis=1).max()
        if strongest == 0:
            break
        X = X + first_step * np.sqrt(nearest) * (1 - k / steps) / strongest * force
        X = _on_grid(X / np.linalg.norm(X, axis=1, keepdims=True))
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def fibonacci_sphere(n, d) -> np.ndarray:
    r"""``n`` points of the Fibonacci lattice on the unit sphere of R^d, as an (n, d) array.

    On the sphere of R^3 the lattice has points at evenly spaced heights, each turned by the golden angle from the one
    before. It is the map of the points of a cube whose d - 1 coordinates are :math:`(i + 1/2)/n`,
    :math:`i g^{-1} \bmod 1`, :math:`i g^{-2} \bmod 1`, ..., by the polar coordinates that carry equal volumes
    of the cube to equal areas of the sphere. In R^3 g is the golden ratio. In R^d it is the root of
    :math:`g^{d-1} = g + 1` above one, the plastic number for d = 4, whose powers are the known generalisation.

    Kim and Yang (2024, Appendix A) take their points on S^3, the unit sphere of R^4, from "the Fibonacci lattice
    extended to the hypersphere" and do not state which extension; this one is ours. Its 256 points in R^4 have a
    smallest distance of 0.24 and cover the sphere within 0.49 (:func:`covering_radius`), so they are a 0.5-net.
    No two points are antipodal for d > 2 and n > 1.

    Raises
    ------
    ValueError, TypeError : n below one, d below two.

    Examples
    --------
    >>> X = fibonacci_sphere(256, 4)
    >>> X.shape, bool(np.allclose(np.linalg.norm(X, axis=1), 1))
    ((256, 4), True)
    """
    n, d = integer(n, "n", at_least=1), integer(d, "d", at_least=2)
    i = np.arange(n)
    g = 2.0
    for _ in range(64):  # a contraction: the error falls by more than half a step
        g = (g + 1) ** (1 / (d - 1))
    cube = np.stack([(i + 0.5) / n, *((i * g**-k) % 1 for k in range(1, d - 1))], axis=1)
    X, left = np.empty((n, d)), np.ones(n)  # left: length of the coordinates still to come
    for k in range(d - 2):
        # Of a uniform point on the sphere of R^m, m = d - k, (1 + height)/2 is distributed as Beta((m-1)/2, (m-1)/2)
        half = (d - k - 1) / 2
        height = 2 * special.betaincinv(half, half, cube[:, k]) - 1
        X[:, k] = left * height
        left = left * np.sqrt((1 - height) * (1 + height))
    angle = 2 * np.pi * cube[:, -1]
    X[:, -2], X[:, -1] = left * np.cos(angle), left * np.sin(angle)
    X = _on_grid(X)  # swallows the last bits, in which two machines' sines may differ
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def covering_radius(X) -> float:
    r"""The largest distance of a point of the unit sphere to the nearest row of X (N, d), rows of unit length.

    Where it is at most :math:`\varepsilon` the rows are an :math:`\varepsilon`-net. Exact: the points furthest from all
    rows are the normals of the facets of their convex hull, and a facet at distance h from the origin is
    :math:`\sqrt{2 - 2h}` from its normal. The number of facets grows quickly with d: up to about d = 8.

    Raises
    ------
    ValueError : rows that are not of unit length, d below two, or rows that all lie in one half of the sphere (the
        origin is not inside their hull).

    Examples
    --------
    >>> square = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    >>> bool(np.isclose(covering_radius(square), 2 * np.sin(np.pi / 8)))  # an eighth of a turn away
    True
    """
    X = as_points(X)
    if X.shape[1] < 2 or np.abs(np.linalg.norm(X, axis=1) - 1).max() > 1e-9:
        raise ValueError("rows of unit length in two or more dimensions are needed; divide each by its length")
    try:
        nearest_facet = -ConvexHull(X).equations[:, -1].max() if len(X) > X.shape[1] else 0.0
    except QhullError:  # the rows lie in a plane
        nearest_facet = 0.0
    if nearest_facet <= 1e-12:
        raise ValueError("the rows lie in one half of the sphere: they must surround the origin; take more points")
    return float(np.sqrt(2 - 2 * nearest_facet))


def _on_grid(X):
    return np.round(X * 2.0**16) / 2.0**16
