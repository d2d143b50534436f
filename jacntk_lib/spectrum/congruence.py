r"""Certificates beyond float64: congruence in ball arithmetic, by python-flint.

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

from . import arb
from .balls import UNIT
from .certificates import (
    bracket_in_float64,
    cholesky_lower_bound,
    rounded_down,
    rounded_up,
    spectral_bound,
    verdict_of,
)

PRECISIONS = (128, 256)  # bits; the second only where the entries' own radii spoil the first


def bracket_in_balls(matrix, start):
    """A :class:`~jacntk_lib.spectrum.certificates.Certificate` by ball arithmetic, at 128 bits, then at 256.

    Parameters
    ----------
    matrix : a float64 array taken as exact, or a function that returns the matrix as an ``arb_mat`` at the current
        precision.
    start : the certificate so far; returned, with the sharper of the bounds, where nothing better is found.
    """
    best = start
    for bits in PRECISIONS:
        with arb.precision(bits):
            enclosed = matrix() if callable(matrix) else arb.load().arb_mat(matrix.tolist())
            middle, radius = arb.to_float64(enclosed)
            if callable(matrix) and np.isfinite(radius).all():
                # entries good to the last bit may be all that float64 lacked
                quick = bracket_in_float64(middle, spectral_bound(radius))
                if quick.is_settled:
                    return replace(quick, method=f"{quick.method}, entries at {bits} bits")
            found = congruence_bounds(enclosed, middle)
        if found is None:
            continue
        lower, upper = max(best.lower, found[0]), min(best.upper, found[1])
        best = replace(
            best,
            lower=lower,
            upper=upper,
            verdict=verdict_of(lower, upper),
            method=f"congruence at {bits} bits",
            vector=found[2],
        )
        if best.is_settled:
            break
    return best


def congruence_bounds(A, middle, *, near_enough=0.1, stages=4):
    """Proved bounds of the smallest eigenvalue of every symmetric matrix in an enclosure, at the current precision.

    Parameters
    ----------
    A : the enclosure, an ``arb_mat`` (n, n).
    middle : a float64 matrix (n, n) near it, whose eigenvectors make the first R.
    near_enough : the eta below which R is not improved: the lower bound loses that share at most.
    stages : how many factors R may have.

    Returns
    -------
    ``(lower, upper, vector)``, the vector being the one whose Rayleigh quotient gives ``upper``; None where the balls
    are too wide to try.
    """
    flint, n = arb.load(), len(middle)
    identity = flint.arb_mat(n, n, 1)
    R, P, near = None, A, middle
    for _ in range(stages):
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
        if eta <= near_enough:
            break
        near, _ = arb.to_float64(P)
    rounded, radius = arb.to_float64(R)
    norm, top = _norm_bound(rounded, radius)
    lower = rounded_down((1 - eta) / rounded_up(norm * norm)) if eta < 1 else -math.inf
    x = (R * flint.arb_mat([[float(t)] for t in top])).mid()
    quotient = (x.transpose() * (A * x))[0, 0] / (x.transpose() * x)[0, 0]
    if not quotient.is_finite():
        return None
    vector = rounded @ top
    return lower, rounded_up(float(quotient.upper())), vector / np.linalg.norm(vector)


def _norm_bound(R, radius):
    """An upper bound of the spectral norm of every matrix within ``radius`` of R, and R's top right singular vector."""
    gram = R.T @ R
    gram = (gram + gram.T) / 2
    square = float((R * R).sum())
    error = rounded_up((len(R) + 4) * UNIT * square * 2)  # |fl(R^T R) - R^T R| <= gamma_n |R|^T |R|
    values, vectors = linalg.eigh(gram, subset_by_index=[len(R) - 1] * 2)
    largest = float(values[0])
    bound = math.inf
    for share in (1.001, 1.1, 2.0, 1.0 * len(R)):
        below, factor = cholesky_lower_bound(-gram, -share * largest, error)  # lambda_min(-G) = -lambda_max(G)
        if factor is not None:
            bound = -below
            break
    return rounded_up(rounded_up(math.sqrt(bound)) + float(np.linalg.norm(radius)) * (1 + len(R) * UNIT)), vectors[:, 0]


def _frobenius_bound(matrix):
    middle, radius = arb.to_float64(matrix)
    return float(np.linalg.norm(np.abs(middle) + radius)) * (1 + matrix.nrows() ** 2 * UNIT)
