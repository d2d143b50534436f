"""Block conjugate gradients: several right-hand sides in one Krylov space."""

import math

import numpy as np
import scipy.linalg

from ..errors import ConvergenceError
from ..kernels.schedule import one_thread_each
from .progress import Progress, products_to_come
from .report import Report

_TINY = 1e-13  # relative size of a direction of the block that depends on the others


def solve_shifted(multiply, b, ridge, precondition, *, options, largest, aim=1.0):
    """``(x, Report)`` with ``multiply(x) + ridge x = b``, b (n, K).

    To ``aim`` times the tolerance of ``options`` (an :class:`~jacntk_lib.solve.Iterative`) where rounding lets it, to
    the tolerance at least. ``largest`` is the largest eigenvalue of what multiplies, or a bound, for the condition
    number.

    Raises
    ------
    ConvergenceError : the tolerance was not reached; nothing less accurate is returned.
    """
    tolerance = options.tolerance
    progress = Progress(aim * tolerance, options.max_iterations, options.verbose)
    with one_thread_each():  # products have threads of their own
        x, residual, history = conjugate_gradients(
            lambda v: multiply(v) + ridge * v,
            b,
            precondition,
            tolerance=aim * tolerance,
            max_iterations=options.max_iterations,
            hopeless=progress.hopeless,
        )
    condition = (largest + ridge) / ridge if ridge > 0 else math.inf
    if residual > tolerance:
        raise ConvergenceError(_why(residual, history, ridge, condition, options))
    return x, Report(residual, condition, products=len(history), history=history)


def _why(residual, history, ridge, condition, options):
    """What was reached, at which rate, and what to do about it."""
    said = (
        f"conjugate gradients stopped at relative residual {residual:.1e} after {len(history)} products, short of "
        f"{options.tolerance:.0e}: "
    )
    more = products_to_come(history, options.tolerance)
    if math.isfinite(more):
        said += f"at the rate of the later half of them it would take {len(history) + more:.0f} products, "
        said += f"max_iterations is {options.max_iterations}; "
    else:
        said += "the later half of them gained nothing, so that rounding may forbid more; "
    said += f"with a ridge of {ridge:.1e} the condition number may be as large as {condition:.1e}; take "
    ways = ["a larger ridge or tolerance" if ridge > 0 else "a positive ridge, a larger tolerance"]
    if options.preconditioned and math.isfinite(more):
        ways.append("more exact_rows in the preconditioner, or columns scaled nearer to how much they matter")
    return said + "; ".join([*ways, "a finite time, or dense matrices (solver='exact')"])


def conjugate_gradients(multiply, b, precondition, *, tolerance, max_iterations, hopeless=lambda history: False):
    """``(x, residual, history)`` with ``multiply(x) = b``, b (n, K).

    Until ``|multiply(x) - b| <= tolerance |b|`` in every column; the residual is the largest of these ratios, and the
    history has one after every product.

    The residual is measured at the end; where rounding has parted it from the one carried along, the iteration goes on
    from the measured one, as long as that helps. It ends early where ``hopeless`` says so of the history.
    """
    sizes = np.linalg.norm(b, axis=0)
    sizes[sizes == 0] = 1.0
    x, rest, relative, history, last = np.zeros_like(b), b, float(b.any()), [], None

    def ended():
        return len(history) >= max_iterations or hopeless(history)

    while relative > tolerance and not ended():
        step, last = _block_iteration(multiply, rest, precondition, tolerance, sizes, history, ended, last)
        left = b - multiply(x + step)
        before, now = relative, float((np.linalg.norm(left, axis=0) / sizes).max())
        history.append(now)
        if now < before:
            x, rest, relative = x + step, left, now
        if not now <= 0.5 * before:
            break
    return x, relative, np.array(history)


def _block_iteration(multiply, b, precondition, tolerance, sizes, history, ended, last):
    """Preconditioned block conjugate gradients, all columns sharing one Krylov space (Dubrulle 2001, DR variant).

    The residual is kept as W sigma with W orthonormal in the inner product of the preconditioner; directions of the
    block that come to depend on each other are dropped, so that it may shrink. Returns the solution and the last step:
    given that, the next call starts with directions conjugate to those of this one, as if the residual had only been
    rounded, in place of a Krylov space of its own.
    """
    x = np.zeros_like(b)
    W, search, sigma = _orthonormal(b, precondition)
    if last is not None:
        before, image, inverse = last
        search = search - before @ (inverse @ (image.T @ search))
    while len(sigma) and not ended():
        image = multiply(search)
        curvature = search.T @ image
        try:
            inverse = np.linalg.inv((curvature + curvature.T) / 2)
        except np.linalg.LinAlgError:
            return x, None
        if not (curvature.diagonal() > 0).all():  # rounding has made it indefinite
            return x, None
        x += search @ (inverse @ sigma)
        last = search, image, inverse
        W, Z, zeta = _orthonormal(W - image @ inverse, precondition)
        search = Z + search @ zeta.T
        sigma = zeta @ sigma
        squares = np.maximum(np.einsum("ij,ij->j", sigma, (W.T @ W) @ sigma), 0.0)
        history.append(float((np.sqrt(squares) / sizes).max()))
        if history[-1] <= tolerance:
            break
    return x, last


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
    back = np.zeros(zeta.T.shape)  # zeros in place of a copy of the columns that are used
    back[used] = V / root / scale[used, None]
    return R @ back, image @ back, zeta
