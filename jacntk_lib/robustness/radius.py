r"""A radius within which no attack can succeed, from the norm of a regressor in its own kernel space.

At every time the mean network is :math:`f = \Theta_{\cdot X} c`, a function of the reproducing kernel Hilbert space of
:math:`k = \Theta_{00}` with norm :math:`\|f\|^2 = c^\top \Theta_{XX} c`. Write :math:`k_x = k(x, \cdot\,)`, so that
:math:`f(x) = \langle f, k_x \rangle` and :math:`\partial_a f(x) = \langle f, \partial_a k_x \rangle`. By Cauchy and
Schwarz, for :math:`x' = x + \delta`,

.. math::

    |f(x') - f(x)| &\le \|f\|\, d_1, \\ d_1^2 &= k(x, x) - 2 k(x, x') + k(x', x'), \\
    |f(x') - f(x) - \delta \cdot \nabla f(x)| &\le \|f\|\, d_2, \\
    d_2 &= \| k_{x'} - k_x - \delta \cdot \partial k_x \| .

The second is the sharper one where the gradient of f at x is small beside what the norm allows. k depends on
:math:`A = |x|^2`, :math:`B = |x'|^2` and :math:`C = \langle x, x' \rangle` alone, so both distances depend on x' by two
numbers, B and C, and only the plane of x and x' has to be searched:

.. math:: d_2^2 = d_1^2 + q a^2 + k_C |\delta|^2 + 2 a (2 k_A + k_C) - 2 \bigl[2 k_A(x, x')\, a + k_C(x, x')\, b\bigr],

with :math:`a = \langle \delta, x \rangle = C - A`, :math:`b = \langle \delta, x' \rangle = B - C`,
:math:`q = 4 k_{AB} + 2 k_{AC} + 2 k_{BC} + k_{CC}`, at (x, x) unless said.

The search is a grid in length and angle of x' over the half disc. Every point of the disc lies within h of a node, h
being half the diagonal of the largest cell. From node to point :math:`d_1` changes by at most h times the largest slope
of :math:`z \mapsto k_z`, whose square is :math:`k_C + \max(q |z|^2, 0)` at (z, z). The same holds of :math:`d_2` with
:math:`z \mapsto k_z - \delta \cdot \partial k_x`, whose squared slope is bounded by a trace. These slopes are taken as
*twice* their largest value at the nodes: this factor is all that stands for what lies between nodes, and the only step
that is not a proof. It costs some 10 to 30 % of the radius.
"""

import math
from functools import partial

import numpy as np

from .._validation import as_array, as_points
from ..architecture import handles
from ..dynamics import RobustFlow
from ..kernels import jacobian_ntk
from ..regression import JacobianKernelRegressor
from .attacks import signs

_NODES = 64  # lengths, and angles: what the kernel computes at once
_EPS = 64 * np.finfo(float).eps  # rounding of a squared distance, in units of k(x, x) + k(x', x')


def certified_radius(model, X, y) -> np.ndarray:
    r"""Radius around each point within which y f stays positive: no l2 attack of a smaller size turns the sign.

    .. math:: \inf_{|\delta| < r} \; \max\bigl(m - \|f\| d_1,\; m + y\,\delta \cdot \nabla f(x) - \|f\| d_2\bigr) > 0,
              \qquad m = y f(x)

    (see the module's text), so a lower bound of the distance to the nearest point of the other sign, where
    :func:`.attack` gives an upper bound. It takes milliseconds for each distinct length |x| and each power of two
    among the radii.

    Parameters
    ----------
    model : a fitted :class:`.JacobianKernelRegressor`, or ``functools.partial(flow.at, t)`` of a :class:`.RobustFlow`
        with one output, at any time t.
    X : points, (M, d).
    y : labels -1 and +1, (M,).

    Returns
    -------
    Array (M,), in units of X; 0 where the point is on the wrong side already.

    Raises
    ------
    TypeError, ValueError : another model (a finite network has no such norm), one that scales columns by themselves,
        more than one output, bad points or labels.

    Examples
    --------
    >>> X = np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> reg = JacobianKernelRegressor(depth=1, lam=0.0).fit(X, [1.0, -1.0])
    >>> certified_radius(reg, X, [1.0, 1.0]).round(2)  # half the way between them is 0.71
    array([0.57, 0.  ])
    """
    flow, time = _flow_of(model)
    X = as_points(X, dimension=flow.X.shape[1])
    y = signs(as_array(y, "y", X.shape[:1]))
    value, slope = flow.at(time, X)
    margin, slope, norm = y * value, y[:, None] * slope, flow.kernel_norm(time)
    length = np.linalg.norm(X, axis=1)
    radial = np.einsum("md,md->m", slope, X) / np.where(length > 0, length, 1.0)
    across = np.sqrt(np.maximum((slope**2).sum(axis=1) - radial**2, 0.0))
    radius = np.zeros(len(X))
    rounded = np.round(length, 12)  # lengths that differ by rounding share their grid
    for one in np.unique(rounded[margin > 0]):
        some = (rounded == one) & (margin > 0)
        radius[some] = _radii(flow.mlp, one, norm, margin[some], radial[some], across[some])
    return radius


def _radii(mlp, length, norm, margin, radial, across):
    """Radii of points of one length: the best of a ladder of discs, each of which is valid by itself."""
    first = margin / (norm * math.sqrt(_slope(jacobian_ntk(mlp, [[length, 0.0]]))[0]))  # what the slope at x allows
    size, best = first.min() / 2, np.zeros_like(margin)
    while size < 64 * first.max():  # by the gradient some points are safe far beyond
        best = np.maximum(best, _in_disc(mlp, length, size, norm, margin, radial, across))
        size *= 2
    return best


def _in_disc(mlp, length, size, norm, margin, radial, across):
    """Certified radii, at most ``size``, from a grid over the disc of that radius, (G,)."""
    lengths = np.linspace(max(0.0, length - size), length + size, _NODES)  # of x'
    angles = np.linspace(0.0, math.asin(size / length) if size < length else math.pi, _NODES)
    h = np.hypot(lengths[1] - lengths[0], lengths[-1] * angles[1]) / 2
    turned = length * np.stack([np.cos(angles), np.sin(angles)], axis=1)  # x, so that x' lies on the axis
    axis = np.stack([lengths, np.zeros(_NODES)], axis=1)
    pair, own, here = jacobian_ntk(mlp, turned, axis), jacobian_ntk(mlp, axis), jacobian_ntk(mlp, turned[:1])
    A, B, C = length**2, lengths**2, turned[:, :1] * lengths
    a, b, squared = C - A, B - C, np.maximum(A + B - 2 * C, 0.0)
    q, k_C, k_A = _curvature(here)[0], here.k_C[0, 0], here.k_A[0, 0]

    rounding = _EPS * (here.k + own.k.diagonal())
    one = here.k - 2 * pair.k + own.k.diagonal()
    two = one + q * a**2 + k_C * squared + 2 * a * (2 * k_A + k_C) - 2 * (2 * pair.k_A * a + pair.k_C * b)
    steepest = 2 * math.sqrt(_slope(own).max())
    trace = (3 * k_C + q * A) + (3 * own.k_C.diagonal() + _curvature(own) * B)  # of the plane, and once across it
    trace = trace - 2 * ((4 * pair.k_AB + pair.k_CC) * C + 2 * pair.k_AC * A + 2 * pair.k_BC * B + 3 * pair.k_C)
    d_1 = np.sqrt(np.maximum(one, 0.0) + rounding) + h * steepest
    d_2 = np.sqrt(np.maximum(two, 0.0) + rounding) + h * 2 * math.sqrt(max(trace.max(), 0.0))

    along, sideways = lengths * np.cos(angles)[:, None] - length, lengths * np.sin(angles)[:, None]
    linear = radial[:, None, None] * along - across[:, None, None] * sideways
    linear -= h * np.hypot(radial, across)[:, None, None]
    least = margin[:, None, None] + np.maximum(-norm * d_1, linear - norm * d_2)
    distance = np.where(least > 0, np.inf, np.sqrt(squared) - h).min(axis=(1, 2))
    return np.clip(distance, 0.0, size)


def _curvature(gram):
    """4 k_AB + 2 k_AC + 2 k_BC + k_CC of every point with itself."""
    return (4 * gram.k_AB + 2 * gram.k_AC + 2 * gram.k_BC + gram.k_CC).diagonal()


def _slope(gram):
    """The largest eigenvalue of the derivatives' block of every point with itself."""
    squares = (gram.X**2).sum(axis=1)
    return gram.k_C.diagonal() + np.maximum(_curvature(gram) * squares, 0.0)


def _flow_of(model):
    """The flow and its time."""
    if isinstance(model, JacobianKernelRegressor):
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(model)
        flow, time = model.flow_, model.time_
    else:
        flow = getattr(getattr(model, "func", None), "__self__", None)
        if not (isinstance(model, partial) and isinstance(flow, RobustFlow) and model.func == flow.at):
            raise TypeError(
                "a radius takes the norm of the model in its kernel's space: pass a fitted JacobianKernelRegressor or "
                f"functools.partial(flow.at, t), not a {type(model).__name__}; attack() bounds the others from above"
            )
        if len(model.args) != 1 or model.keywords:
            raise TypeError(f"pass functools.partial(flow.at, t), with the time t and nothing else, got {model!r}")
        (time,) = model.args
    handles(flow.mlp, "certified_radius")
    if getattr(model, "standardise", False) or isinstance(flow.mlp.input_scale, tuple):
        raise ValueError(
            "the model scales each column by itself, so that a ball is none for its kernel: scale the columns "
            "beforehand, and read the radius in those units"
        )
    if flow.y.ndim != 1:
        raise ValueError(f"one output is needed, but the targets have shape {flow.y.shape}: fit one column at a time")
    return flow, time
