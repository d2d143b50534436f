"""Whether the limiting kernels are positive definite at given points, decided without computing them.

This answers Assumption 4.4 of Kim and Yang (2024): the data sets for which it fails are those of
:func:`~jacntk_lib.spectrum.degeneracies`.
"""

from dataclasses import dataclass, field

import numpy as np

from .._validation import as_points
from ..architecture import MLP, handles
from ..kernels.ties import reaching
from .degenerate import degeneracies, degrees, null_space

POSITIVE_DEFINITE, SINGULAR, NOT_COVERED = "positive definite", "singular", "not covered"


@dataclass(frozen=True)
class Positivity:
    """What is known about Sigma^L and Theta^L at a set of points, without computing either.

    Attributes
    ----------
    verdict : ``"positive definite"``, ``"singular"`` or ``"not covered"``.
    reason : why, in words, and which parts of phi were detected instead of stated.
    nullity : dimension of the null space, the same for both kernels; where the verdict is ``"not covered"`` it is 0 and
        means nothing, and where ``reason`` says "at least" there may be more.
    null_vectors : an orthonormal basis of the null space, (N(1+d), nullity).
    """

    verdict: str
    reason: str
    nullity: int
    null_vectors: np.ndarray = field(repr=False, compare=False)


def positivity(mlp: MLP, X) -> Positivity:
    r"""Whether Sigma^L and Theta^L at the points X (N, d) are positive definite, by theorem.

    They have the same null space: the linear relations between values and derivatives at the points that every network
    of the architecture satisfies. If phi is a polynomial, real-analytic or Lipschitz, or if there is a bias, then the
    causes that :func:`~jacntk_lib.spectrum.degeneracies` lists are all there are. A polynomial phi takes exact integer
    arithmetic: half a minute for twenty points in R^4 given to all digits, growing with the fifth power of their
    number; next to nothing for points with few digits.

    What is assumed of phi is in its :class:`~jacntk_lib.activations.Activation`: the degrees of its parts and its
    regularity, as stated. A part that is not stated is detected from values, as far out as the pre-activations at X
    go; ``reason`` then names the range and the tolerance, and the verdict is a theorem about a phi with these parts.

    Raises
    ------
    TypeError, ValueError : ``mlp`` is not an MLP, or X is not a finite (N, d) array.

    Examples
    --------
    >>> octahedron = np.concatenate([np.eye(3), -np.eye(3)])
    >>> answer = positivity(MLP(1, "gelu"), octahedron)
    >>> print(answer.verdict, answer.nullity, answer.reason, sep="; ")
    singular; 9; antipodal pairs: f(x) - f(-x) is linear (9 null vectors)
    >>> print(positivity(MLP(2, "gelu"), octahedron).reason)
    phi is analytic and not a polynomial, the points are distinct, and neither the origin nor antipodes give a relation
    """
    handles(mlp, "positivity")
    X = as_points(X)
    mlp = reaching(mlp, X)
    seen = f"; {mlp.phi.limits}: state them where more is known" if mlp.phi.detected else ""
    nothing = np.zeros((X.size + len(X), 0))
    try:
        even, odd = degrees(mlp)
    except ValueError as too_high:
        return Positivity(NOT_COVERED, str(too_high), 0, nothing)
    polynomial = ... not in even | odd
    complete = polynomial or mlp.sigma_b > 0 or mlp.phi.regularity is not None
    found = degeneracies(mlp, X)
    if found:
        reason = "; ".join(f"{one.cause}: {one.identity} ({one.count} null vectors)" for one in found)
        vectors = null_space(found)
        unsure = "" if complete else "; at least these, since nothing is stated of phi's regularity"
        return Positivity(SINGULAR, reason + unsure + seen, vectors.shape[1], vectors)
    if not complete:
        reason = (
            f"nothing is stated of the regularity of activation {mlp.phi.name!r}, and without bias the theorem needs "
            "phi to be analytic or Lipschitz: pass regularity='analytic' or 'lipschitz' to Activation.from_derivatives"
        )
        return Positivity(NOT_COVERED, reason, 0, nothing)
    if polynomial:
        reason = (
            f"networks are polynomials of degree {max(even | odd)} at most, and values and derivatives at the points "
            "are independent on those that occur (exact rank)"
        )
    elif mlp.sigma_b > 0:
        reason = "phi is not a polynomial, there is a bias, and the points are distinct"
    else:
        reason = (
            f"phi is {mlp.phi.regularity.replace('lip', 'Lip')} and not a polynomial, the points are distinct, and "
            "neither the origin nor antipodes give a relation"
        )
    return Positivity(POSITIVE_DEFINITE, reason + seen, 0, nothing)
