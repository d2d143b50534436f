r"""Proofs about the smallest eigenvalue of a symmetric matrix, by floating-point computation.

Two tests prove ``lambda_min(A) > 0`` when they succeed and prove nothing when they fail. This module has the fast one:

* **Cholesky in float64** (Rump 2006, *Verification of positive definiteness*). If the factorisation of A in floating
  point runs to its end, then :math:`\lambda_{\min}(A) \ge -\frac{\gamma}{1-\gamma} \operatorname{tr} A` with
  :math:`\gamma = k u / (1 - k u)`, k = n + 1, u = 2^-53, whatever the order of its sums. Lower the diagonal by more
  than that first and the conclusion is a positive lower bound. It costs one Cholesky factorisation and sees eigenvalues
  above about ``n u tr A``.

The other is :mod:`jacntk_lib.spectrum.congruence`, which sees eigenvalues far below rounding. A null vector with small
rational entries is found here too, and checked exactly.

What the first rests on: IEEE 754 arithmetic and a LAPACK whose Cholesky forms its sums of products conventionally (no
Strassen); k = n + 4 leaves room for divisions made as products with a reciprocal.

>>> A = np.array([[2.0, 1.0], [1.0, 2.0]])  # eigenvalues 1 and 3
>>> lower, _ = cholesky_lower_bound(A, shift=0.99)
>>> bool(0.98 < lower <= 1.0 <= rayleigh_upper_bound(A, np.array([1.0, -1.0])) < 1.01)
True
>>> bracket_in_float64(A).is_settled, exact_null_vector(np.ones((2, 2)))
(True, array([ 1., -1.]))
"""

import math
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from scipy import linalg

from .balls import TINY, UNIT

POSITIVE, SINGULAR, NEGATIVE, UNDECIDED = (
    "certified positive",
    "certified singular",
    "certified negative",
    "undecided",
)


@dataclass(frozen=True)
class Certificate:
    """What has been proved about the smallest eigenvalue of a symmetric matrix.

    Attributes
    ----------
    lower, upper : proved bounds, ``lower <= lambda_min <= upper``.
    verdict : ``certified positive`` (lower > 0), ``certified singular`` (zero is an eigenvalue: see ``vector``),
        ``certified negative`` (upper < 0) or ``undecided``.
    method : the proof, in a few words.
    statement : the matrix that the proof is about.
    vector : a unit vector; where the verdict is singular an exact null vector, up to its own rounding, else the one
        whose Rayleigh quotient gives ``upper``.
    """

    lower: float
    upper: float
    verdict: str
    method: str
    statement: str = "the symmetric matrix with exactly the given entries"
    vector: np.ndarray | None = field(default=None, repr=False, compare=False)

    @property
    def estimate(self) -> float:
        """The geometric mean of the bounds where both are positive, else their midpoint."""
        if self.lower > 0:
            return math.sqrt(self.lower) * math.sqrt(self.upper)
        return (self.lower + self.upper) / 2

    @property
    def is_settled(self) -> bool:
        """Whether the sign is proved and, for a positive eigenvalue, the bounds are within a factor of two."""
        return self.verdict in (SINGULAR, NEGATIVE) or (self.lower > 0 and self.upper <= 2 * self.lower)


def cholesky_lower_bound(A, shift=0.0, error=0.0):
    """A proved lower bound of lambda_min by one Cholesky factorisation of A - shift I, and its factor.

    Parameters
    ----------
    A : symmetric float64 matrix (n, n); only its lower triangle is read.
    shift : a guess of the smallest eigenvalue.
    error : a bound of the spectral norm of A minus the matrix that the result is about.

    Returns
    -------
    (bound, factor) with ``lambda_min >= bound``, a little below ``shift``; ``(-inf, None)`` where the factorisation
    breaks down.
    """
    n = len(A)
    work = np.array(A, order="F")  # LAPACK factors in place
    diagonal = np.einsum("ii->i", work)
    diagonal -= shift
    largest, trace = float(np.max(diagonal)), math.fsum(diagonal)
    factor, info = linalg.lapack.dpotrf(work, lower=True, clean=True, overwrite_a=True)
    if info != 0 or not np.isfinite(trace) or not np.isfinite(factor[-1, -1]):
        return -math.inf, None
    gamma = (n + 4) * UNIT / (1 - (n + 4) * UNIT)
    slack = gamma / (1 - gamma) * trace  # the theorem
    slack += UNIT * (largest + abs(shift))  # the subtraction of the shift is rounded
    slack += 3 * n * (2 * n + largest) * TINY  # underflow, as in Rump (2006)
    return rounded_down(shift - rounded_up(slack + error)), factor


def rayleigh_upper_bound(A, v, error=0.0):
    """A proved upper bound of lambda_min: the Rayleigh quotient of v, with the rounding of its own evaluation."""
    n, absolute = len(v), np.abs(v)
    square = float(v @ v)
    quotient = float(v @ (A @ v)) / square
    gamma = (3 * n + 10) * UNIT  # two sums of products, the norm, the quotient
    rounding = gamma * float(absolute @ (np.abs(A) @ absolute)) / square
    return rounded_up(quotient + rounded_up(2 * rounding + error))


def bracket_in_float64(A, error=0.0):
    """A :class:`Certificate` from at most three Cholesky factorisations of the float64 matrix A.

    ``error`` bounds the spectral norm of A minus the matrix that the certificate is about.
    """
    noise = 2 * (_slack(A) + error)  # twice: the bound is below the shift by about half of it
    if not math.isfinite(noise):
        return Certificate(-math.inf, math.inf, UNDECIDED, "no finite bound of the entries' error")
    lower, factor = cholesky_lower_bound(A, noise, error)
    proved = factor is not None
    if not proved:  # a bound below zero still limits how negative A can be, and its factor serves inverse iteration
        lower, factor = cholesky_lower_bound(A, -noise, error)
    vector = _smallest_vector(A, factor)
    upper = rayleigh_upper_bound(A, vector, error)
    for guess in (0.95 * upper, 0.75 * upper) if proved else (upper - noise,) if factor is None else ():
        sharper, found = cholesky_lower_bound(A, guess, error)
        lower = max(lower, sharper)
        if found is not None:
            break
    return Certificate(lower, upper, verdict_of(lower, upper), "float64 Cholesky", vector=vector)


def spectral_bound(radius):
    """A bound of the spectral norm of any symmetric matrix whose entries are at most ``radius`` in size.

    It is inf where an entry is NaN.

    Raises
    ------
    ValueError : ``radius`` has a negative entry.

    Examples
    --------
    >>> radius = np.full((3, 3), 0.1)
    >>> bool(0.3 <= spectral_bound(radius) < 0.3 + 1e-12)
    True
    """
    n = len(radius)
    if (smallest := float(np.min(radius))) < 0:
        raise ValueError(f"radius bounds sizes and must not be negative, got {smallest:.3g}; pass np.abs(radius)")
    row_sum, frobenius = float(radius.sum(axis=1).max()), float(np.linalg.norm(radius))
    bound = min(row_sum, frobenius) * (1 + 2 * n * UNIT)
    return math.inf if math.isnan(bound) else bound


def exact_null_vector(A):
    """An integer vector v != 0 with A v = 0, checked in exact rational arithmetic, or None.

    Found by rounding: it succeeds where the null space has a basis with small rational entries.
    """
    values, vectors = linalg.eigh(A)
    small = np.abs(values) <= 8 * len(A) * UNIT * np.abs(values).max()
    if not small.any():
        return None
    basis = vectors[:, small]
    pivots = linalg.qr(basis.T, pivoting=True)[2][: basis.shape[1]]
    for column in (basis @ linalg.inv(basis[pivots])).T:  # 1 at one pivot, 0 at the others
        ratios = [Fraction(x).limit_denominator(64) for x in column]
        common = math.lcm(*(ratio.denominator for ratio in ratios))
        v = [int(ratio * common) for ratio in ratios]
        rows = [[(Fraction(A[i, j]), v[j]) for j in range(len(v)) if v[j]] for i in range(len(A))]
        if all(sum(a * b for a, b in row) == 0 for row in rows):
            return np.array(v, dtype=np.float64)
    return None


# ------------------------------------------------------------------------------------------- helpers


def verdict_of(lower, upper):
    """What two bounds say about the sign."""
    return POSITIVE if lower > 0 else NEGATIVE if upper < 0 else UNDECIDED


def _slack(A):
    """About what :func:`cholesky_lower_bound` subtracts from an unshifted matrix."""
    return (len(A) + 5) * UNIT * float(np.abs(np.diagonal(A)).sum())


def _smallest_vector(A, factor):
    """An approximate eigenvector of the smallest eigenvalue: block inverse iteration, given a factor of nearly A."""
    if factor is None or len(A) < 32:
        return linalg.eigh(A, subset_by_index=[0, 0])[1][:, 0]
    block = np.random.default_rng(0).standard_normal((len(A), 8))
    for _ in range(4):
        block = linalg.lapack.dpotrs(factor, block, lower=True)[0]
        block /= np.linalg.norm(block, axis=0)
    block = linalg.qr(block, mode="economic")[0]
    return block @ linalg.eigh(block.T @ A @ block)[1][:, 0]


def rounded_up(x):
    """A float64 above the exact result of the few roundings that made x."""
    return math.nextafter(x * (1 + 8 * UNIT) if x > 0 else x * (1 - 8 * UNIT), math.inf)


def rounded_down(x):
    return -rounded_up(-x)
