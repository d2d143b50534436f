"""Block conjugate gradients: several right-hand sides in one Krylov space."""

import math

import numpy as np
import scipy.linalg

from ..errors import ConvergenceError
from .report import Report

_TINY = 1e-13  # relative size of a direction of the block that depends on the others


def solve_shifted(multiply, b, ridge, precondition, *, tolerance, max_iterations, largest, aim=1.0):
    """``(x, Report)`` with ``multiply(x) + ridge x = b``, b (n, K).

    To ``aim`` times the tolerance where rounding lets it, to the tolerance at least. ``largest`` is the largest
    eigenvalue of what multiplies, or a bound, for the condition number.

    Raises
    ------
    ConvergenceError : the tolerance was not reached; nothing less accurate is returned.
    """
    x, residual, history = conjugate_gradients(
        lambda v: multiply(v) + ridge * v,
        b,
        precondition,
        tolerance=aim * tolerance,
        max_iterations=max_iterations,
    )
    condition = (largest + ridge) / ridge if ridge > 0 else math.inf
    if residual > tolerance:
        raise ConvergenceError(
            f"conjugate gradients stopped at relative residual {residual:.1e} after {len(history)} products, short of "
            f"{tolerance:.0e}: with a ridge of {ridge:.1e} the condition number may be as large as {condition:.1e}; "
            "take a larger ridge or tolerance, a finite time, or dense matrices (solver='exact')"
        )
    return x, Report(residual, condition, products=len(history), history=history)


def conjugate_gradients(multiply, b, precondition, *, tolerance, max_iterations):
    """``(x, residual, history)`` with ``multiply(x) = b``, b (n, K).

    Until ``|multiply(x) - b| <= tolerance |b|`` in every column; the residual is the largest of these ratios, and the
    history has one after every product.

    The residual is measured at the end; where rounding has parted it from the one carried along, the iteration starts
    again from what it has, as long as that helps.
    """
    sizes = np.linalg.norm(b, axis=0)
    sizes[sizes == 0] = 1.0
    x, rest, relative, history = np.zeros_like(b), b, float(b.any()), []
    while relative > tolerance and len(history) < max_iterations:
        improved = x + _block_iteration(multiply, rest, precondition, tolerance, sizes, history, max_iterations)
        rest, before = b - multiply(improved), relative
        now = float((np.linalg.norm(rest, axis=0) / sizes).max())
        history.append(now)
        if not now < before:
            break
        x, relative = improved, now
        if now > 0.5 * before:
            break
    return x, relative, np.array(history)


def _block_iteration(multiply, b, precondition, tolerance, sizes, history, max_iterations):
    """Preconditioned block conjugate gradients, all columns sharing one Krylov space (Dubrulle 2001, DR variant).

    The residual is kept as W sigma with W orthonormal in the inner product of the preconditioner; directions of the
    block that come to depend on each other are dropped, so that it may shrink.
    """
    x = np.zeros_like(b)
    W, search, sigma = _orthonormal(b, precondition)
    while len(sigma) and len(history) < max_iterations:
        image = multiply(search)
        curvature = search.T @ image
        try:
            inverse = np.linalg.inv((curvature + curvature.T) / 2)
        except np.linalg.LinAlgError:
            break
        x += search @ (inverse @ sigma)
        W, Z, zeta = _orthonormal(W - image @ inverse, precondition)
        search = Z + search @ zeta.T
        sigma = zeta @ sigma
        squares = np.maximum(np.einsum("ij,ij->j", sigma, (W.T @ W) @ sigma), 0.0)
        history.append(float((np.sqrt(squares) / sizes).max()))
        if history[-1] <= tolerance:
            break
    return x


def _orthonormal(R, precondition):
    """``R = W zeta`` with ``W^T M W`` the unit matrix, M the preconditioner; returns W, M W and zeta."""
    image = precondition(R)
    gram = R.T @ image
    scale = np.sqrt(np.maximum(gram.diagonal(), 0.0))
    used = scale > 0
    if not used.any():
        return R[:, :0], R[:, :0], np.zeros((0, R.shape[1]))
    scaled = ((gram + gram.T) / 2)[np.ix_(used, used)] / np.outer(scale[used], scale[used])
    w, V = scipy.linalg.eigh(scaled, check_finite=False)
    kept = w > _TINY * w[-1]
    root, V = np.sqrt(w[kept]), V[:, kept]
    zeta = np.zeros((len(root), R.shape[1]))
    zeta[:, used] = root[:, None] * V.T * scale[used]
    back = V / root / scale[used, None]
    return R[:, used] @ back, image[:, used] @ back, zeta
