r"""The high-precision half of :mod:`jacntk_lib.spectrum.certificates`: congruence in ball arithmetic.

For a matrix A enclosed by balls, find R with :math:`P = R^T A R` near the identity. If
:math:`\|P - I\|_F \le \eta < 1`, then P is positive definite, so R is invertible, :math:`A = R^{-T} P R^{-1}` is
positive definite too, and

.. math:: \lambda_{\min}(A) \ge \lambda_{\min}(P)\, \sigma_{\min}(R^{-1})^2 \ge (1 - \eta) / \|R\|_2^2 .

R is V w^{-1/2} from a float64 eigendecomposition. Where A's smallest eigenvalue is below float64's view of it, that R
leaves P positive definite but far from I; then P, whose condition number is smaller by some twelve orders of magnitude,
is treated in the same way and R becomes a product, held in high precision. Only the last P needs to be near I, and R
needs no proof at all.

>>> from jacntk_lib.spectrum.certificates import bracket_in_float64
>>> A = np.diag([1.0, 2.0**-60])  # beyond what float64 can tell from a singular matrix
>>> start = bracket_in_float64(A)
>>> start.is_settled, bracket_in_balls(A, start).is_settled
(False, True)
"""

import math
from dataclasses import replace

import numpy as np
from scipy import linalg

from . import flint as _flint
from .balls import UNIT
from .certificates import _down, _up, _verdict, bracket_in_float64, cholesky_lower_bound

PRECISIONS = (128, 256)  # bits; the second only where the entries' own radii spoil the first
_STAGES = 4
_NEAR = 0.1  # eta that is small enough: the lower bound loses a tenth at most


def bracket_in_balls(matrix, start):
    """A :class:`~jacntk_lib.spectrum.certificates.Certificate` by ball arithmetic, at 128 bits, then at 256.

    Parameters
    ----------
    matrix : a float64 array taken as exact, or a function that returns the matrix as an ``arb_mat`` at the current
        precision.
    start : the certificate so far; returned, with the sharper of the bounds, where nothing better is found.
    """
    flint = _flint.load()
    best = start
    for bits in PRECISIONS:
        with _flint.precision(bits):
            enclosed = matrix() if callable(matrix) else flint.arb_mat(matrix.tolist())
            middle, radius = _to_float64(enclosed)
            if callable(matrix) and np.isfinite(radius).all():
                # entries good to the last bit may be all that float64 lacked
                quick = bracket_in_float64(middle, spectral_bound(radius))
                if quick.is_settled:
                    return replace(quick, method=f"{quick.method}, entries at {bits} bits")
            found = _congruence(flint, enclosed, middle)
        if found is None:
            continue
        lower, upper = max(best.lower, found[0]), min(best.upper, found[1])
        best = replace(
            best,
            lower=lower,
            upper=upper,
            verdict=_verdict(lower, upper),
            method=f"congruence at {bits} bits",
            vector=found[2],
        )
        if best.is_settled:
            break
    return best


def spectral_bound(radius):
    """A bound of the spectral norm of any symmetric matrix whose entries are at most ``radius`` in size.

    Examples
    --------
    >>> radius = np.full((3, 3), 0.1)
    >>> bool(0.3 <= spectral_bound(radius) < 0.3 + 1e-12)
    True
    """
    n = len(radius)
    row_sum, frobenius = float(radius.sum(axis=1).max()), float(np.linalg.norm(radius))
    return min(row_sum, frobenius) * (1 + 2 * n * UNIT)


def _congruence(flint, A, middle):
    """(lower, upper, vector) for the enclosed matrix A, or None where its balls are too wide to try."""
    n = len(middle)
    identity = flint.arb_mat(n, n, 1)
    R, P, near = None, A, middle
    for _ in range(_STAGES):
        if not np.isfinite(near).all():
            return None
        values, vectors = linalg.eigh(near)
        values = np.maximum(values, 4 * UNIT * values[-1])  # what float64 cannot tell from zero
        if values[-1] <= 0:
            return None
        S = flint.arb_mat((vectors / np.sqrt(values)).tolist())
        P = S.transpose() * P * S
        R = S if R is None else R * S
        eta = _frobenius_bound(P - identity)
        if eta <= _NEAR:
            break
        near, _ = _to_float64(P)
    rounded, radius = _to_float64(R)
    norm, top = _norm_bound(rounded, radius)
    lower = _down((1 - eta) / _up(norm * norm)) if eta < 1 else -math.inf
    x = (R * flint.arb_mat([[float(t)] for t in top])).mid()
    quotient = (x.transpose() * (A * x))[0, 0] / (x.transpose() * x)[0, 0]
    if not quotient.is_finite():
        return None
    vector = rounded @ top
    return lower, _up(float(quotient.upper())), vector / np.linalg.norm(vector)


def _norm_bound(R, radius):
    """An upper bound of the spectral norm of every matrix within ``radius`` of R, and R's top right singular vector."""
    gram = R.T @ R
    gram = (gram + gram.T) / 2
    square = float((R * R).sum())
    error = _up((len(R) + 4) * UNIT * square * 2)  # |fl(R^T R) - R^T R| <= gamma_n |R|^T |R|
    values, vectors = linalg.eigh(gram, subset_by_index=[len(R) - 1] * 2)
    largest = float(values[0])
    bound = math.inf
    for share in (1.001, 1.1, 2.0, 1.0 * len(R)):
        below, factor = cholesky_lower_bound(-gram, -share * largest, error)  # lambda_min(-G) = -lambda_max(G)
        if factor is not None:
            bound = -below
            break
    return _up(_up(math.sqrt(bound)) + float(np.linalg.norm(radius)) * (1 + len(R) * UNIT)), vectors[:, 0]


def _to_float64(matrix):
    """Midpoints rounded to float64, and radii about the rounded midpoints, of an arb_mat."""
    n = matrix.nrows()
    entries = matrix.entries()
    middle = np.array([float(e) for e in entries]).reshape(n, -1)
    radius = np.array([float(e.rad()) for e in entries]).reshape(n, -1)
    return middle, (radius + UNIT * np.abs(middle)) * (1 + 8 * UNIT) + 2.0**-1074


def _frobenius_bound(matrix):
    middle, radius = _to_float64(matrix)
    return float(np.linalg.norm(np.abs(middle) + radius)) * (1 + matrix.nrows() ** 2 * UNIT)
