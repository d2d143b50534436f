r"""The smallest eigenvalue of a limiting kernel on a data set, or of any symmetric matrix, with proof.

Assumption 4.4 of Kim and Yang (2024) asks that the limiting Jacobian NTK of the training set has a positive smallest
eigenvalue. It can be as small as 1e-12 of the largest one, where an ordinary eigenvalue routine returns rounding
error of either sign; :func:`.smallest_eigenvalue` returns a proof instead.

**What is certified** is the exact Gram matrix of the given float64 inputs, for a network whose sigmas are the
given float64 numbers; not the rounded matrix that any program holds. Its entries are enclosed by
:mod:`jacntk_lib.spectrum.enclosures`, the eigenvalue by :mod:`jacntk_lib.spectrum.certificates` and
:mod:`jacntk_lib.spectrum.congruence`, and exact singularity is recognised from the data by
:mod:`jacntk_lib.spectrum.degenerate`.
"""

from dataclasses import replace

import numpy as np
from scipy import linalg

from .._optional import remedy
from .._validation import as_array, as_points, non_negative_number
from ..activations import names_in_closed_form
from ..errors import MissingPackageError
from ..kernels import JacobianGram
from . import enclosures
from .certificates import (
    NEGATIVE,
    SINGULAR,
    Certificate,
    bracket_in_float64,
    exact_null_vector,
    spectral_bound,
)
from .congruence import bracket_in_balls
from .degenerate import degeneracies


def certify(A, *, error=0.0, enclosure=None, high_precision=True) -> Certificate:
    """A bracket of the smallest eigenvalue of a symmetric matrix, and what it proves.

    Float64 first; where that leaves it undecided, or the bounds further apart than a factor of two, exact arithmetic
    looks for a null vector with small rational entries and ball arithmetic for a sharper bracket.

    Parameters
    ----------
    A : symmetric matrix (n, n), finite float64 numbers.
    error : a bound of the spectral norm of A minus the matrix that the certificate is about. With 0 and no
        ``enclosure``, that matrix is A, taken as exact.
    enclosure : where ``error`` is not 0, a function that returns that matrix as a python-flint ``arb_mat``, each time
        at the current precision.
    high_precision : whether to go beyond float64. Ball arithmetic needs python-flint, ``pip install
        "jacntk[certificates]"``; without it the bracket stays that of float64, and ``method`` says so.

    Raises
    ------
    ValueError, TypeError : A is not a square symmetric matrix of finite numbers, or ``error`` is negative.

    Examples
    --------
    >>> certify(np.array([[2.0, 1.0], [1.0, 2.0]])).verdict
    'certified positive'
    >>> certify(np.ones((3, 3))).verdict
    'certified singular'
    """
    A = as_points(A, "A")
    A = as_array(A, "A", (len(A), len(A)))
    if (asymmetry := float(np.abs(A - A.T).max())) != 0.0:
        raise ValueError(f"A is not symmetric: it differs from its transpose by {asymmetry:.3g}; pass (A + A.T) / 2")
    error = non_negative_number(error, "error")
    certificate = bracket_in_float64(A, error)
    if certificate.is_settled or not high_precision:
        return certificate
    if enclosure is None:
        if error > 0:
            return certificate
        vector = exact_null_vector(A)
        if vector is not None:
            unit = vector / np.linalg.norm(vector)
            return replace(certificate, upper=0.0, method="exact null vector", verdict=SINGULAR, vector=unit)
    try:
        return bracket_in_balls(enclosure or A, certificate)
    except MissingPackageError:
        return replace(certificate, method=f"{certificate.method}; to go on: {remedy('flint')}")


def smallest_eigenvalue(G: JacobianGram, *, values_only=False, high_precision=True) -> Certificate:
    """A certified bracket of the smallest eigenvalue of a limiting kernel's Gram matrix.

    Three steps, the next one only where the last is undecided or its bounds are further apart than a factor of two:
    exact degeneracies of the data; float64 entries with running error bounds and Rump's Cholesky test (half a second at
    1280 rows); entries and congruence in ball arithmetic (about a minute there, most of it for matrix products).

    Parameters
    ----------
    G : from ``jacobian_ntk(mlp, X)`` or ``jacobian_nngp(mlp, X)``, unscaled, of an activation with closed
        forms that are enclosed: a built-in one, or one of ``Activation.from_formulas`` with ``enclosure``.
    values_only : certify the ordinary kernel, ``G.values()``, instead.
    high_precision : whether to take the third step. It needs python-flint, ``pip install "jacntk[certificates]"``;
        without it the answer stays that of the second, mostly ``undecided``, and ``method`` says so.

    Returns
    -------
    Certificate with ``lower``, ``upper`` (within a factor of two where positive), ``verdict``: ``certified positive``,
    ``certified singular`` (``vector`` is an exact null vector, rounded) or ``undecided``. Both kernels are positive
    semi-definite by construction, so ``lower`` is never below 0.

    Raises
    ------
    TypeError : G is not a JacobianGram.
    ValueError : G is not symmetric, or scaled, or its activation has no enclosed closed form.

    Examples
    --------
    >>> from jacntk_lib import MLP, jacobian_ntk
    >>> octahedron = np.concatenate([np.eye(3), -np.eye(3)])
    >>> smallest_eigenvalue(jacobian_ntk(MLP(1, "gelu"), octahedron)).verdict
    'certified singular'
    >>> smallest_eigenvalue(jacobian_ntk(MLP(2, "gelu"), octahedron)).verdict
    'certified positive'
    """
    mlp, tangent = _source(G)
    part, kernel = "value" if values_only else "Jacobian", "NTK" if tangent else "NNGP"
    statement = f"the exact {part} {kernel} Gram matrix of the given float64 inputs, {mlp}"
    if (singular := _structural(mlp, G.X, values_only)) is not None:
        return replace(singular, statement=statement)
    matrix, radius = enclosures.gram_in_float64(mlp, G.X, tangent=tangent, values_only=values_only)
    found = certify(
        matrix,
        error=spectral_bound(radius),
        enclosure=lambda: enclosures.gram_in_arb(mlp, G.X, tangent=tangent, values_only=values_only),
        high_precision=high_precision,
    )
    if found.verdict == NEGATIVE:
        raise AssertionError(f"a Gram matrix was certified negative ({found}): please report this as a bug")
    return replace(found, lower=max(found.lower, 0.0), statement=statement)


def extreme_eigenvalues(G: JacobianGram, *, values_only=False, dtype=np.float64) -> tuple[float, float]:
    """Smallest and largest eigenvalue as an ordinary routine returns them: uncertified, and noise where they are small.

    Parameters
    ----------
    G : a symmetric JacobianGram.
    values_only : of the ordinary kernel, ``G.values()``, instead.
    dtype : float64 or float32, to which the matrix is rounded and in which the routine works.

    Raises
    ------
    TypeError : G is not a JacobianGram.
    ValueError : G is not symmetric, or another dtype.

    Examples
    --------
    >>> from jacntk_lib import MLP, jacobian_ntk
    >>> smallest, largest = extreme_eigenvalues(jacobian_ntk(MLP(depth=3), np.eye(3)))
    >>> 0 < smallest < largest
    True
    """
    _check_symmetric(G)
    if dtype not in (float, np.float64, np.float32, "float64", "float32"):
        raise ValueError(f"dtype must be float64 or float32, got {dtype!r}: the routine works in no other")
    eigenvalues = linalg.eigvalsh((G.values() if values_only else G.dense()).astype(dtype))
    return float(eigenvalues[0]), float(eigenvalues[-1])


def _check_symmetric(G):
    if not isinstance(G, JacobianGram):
        raise TypeError(f"a JacobianGram is needed, got {type(G).__name__}; for a plain matrix use spectrum.certify")
    if not G.symmetric:
        raise ValueError(f"a Gram matrix between two sets of points (shape {G.shape}) has no eigenvalues; use X2=None")


def _source(G):
    _check_symmetric(G)
    if G.source is None:
        raise ValueError(
            "this Gram matrix was scaled, rounded or turned: certify the one that jacobian_ntk or jacobian_nngp made, "
            "which is positive definite exactly if the scaled one is, for every lambda > 0"
        )
    mlp = G.source[0]
    if enclosures.enclosure_of(mlp.phi) is None:
        why = "are closed forms without enclosure" if mlp.phi.has_closed_form else "come from quadrature"
        raise ValueError(
            f"the expectations of {mlp.phi.name!r} {why}, whose error has no proved bound; certificates exist for "
            f"{', '.join(names_in_closed_form())}, and for yours with Activation.from_formulas(..., enclosure=...)"
        )
    return G.source


def _structural(mlp, X, values_only):
    """A certificate of exact singularity, if the data set has a known degeneracy."""
    N, d = X.shape
    for found in degeneracies(mlp, X):
        if mlp.phi.detected and found.cause != "duplicate points":
            continue  # what was detected from values is no proof
        vectors = found.null_vectors
        if values_only:  # those that concern values alone
            vectors = vectors.reshape(N, 1 + d, -1)
            vectors = vectors[:, 0, ~vectors[:, 1:].any(axis=(0, 1))]
        if vectors.shape[1]:
            unit = vectors[:, 0] / np.linalg.norm(vectors[:, 0])
            return Certificate(0.0, 0.0, SINGULAR, f"{found.cause}: {found.identity}", vector=unit)
    return None
