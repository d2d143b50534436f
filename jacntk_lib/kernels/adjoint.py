r"""Derivatives of sums over a kernel by what the kernel depends on, for choosing hyperparameters by gradients.

The recursion of :mod:`jacntk_lib.kernels.recursion` depends on four numbers per pair (A, B, C, sigma_b), so that four
directions at once, forwards through its loop by jax, cost less to compile than its reverse, and serve every depth. Its
closed forms have no square root of ``ab - c^2``, so that x = x' is an ordinary point of them; a quadrature has one, and
is refused.
"""

from functools import partial

import numpy as np

from .._float64 import float64, jax, jitted, jnp
from ..activations import names_in_closed_form
from ..architecture import handles
from .recursion import SIDE, Jet, _constants, jets
from .schedule import on_all_cores, slices


@partial(jitted, static_argnames=("formulas", "tangent"))
def _pull_back(formulas, tangent, A, B, C, depth, first, gain, bias, weights):
    """Of the weighted sum of the scalars: by A (n,), by B (m,), by C (n, m), and by the squared sigma_b."""

    def weighted(*point):
        jet = jets(formulas, tangent, *point[:3], depth, first, gain, point[3])
        return sum(x * w for x, w in zip(jet, weights, strict=True))

    point = (A, B, C, bias)
    directions = [jnp.zeros((4, *jnp.shape(x))).at[i].set(1.0) for i, x in enumerate(point)]
    by = jax.vmap(lambda *direction: jax.jvp(weighted, point, direction)[1])(*directions)
    return by[0].sum(axis=1), by[1].sum(axis=0), by[2], by[3].sum()


def pull_back(mlp, A, C, weights, *, tangent):
    r"""Derivatives of :math:`F = \sum_{ij} \sum_s w^s_{ij}\, s(A_i, A_j, C_{ij})` over the eight scalars s.

    Parameters
    ----------
    mlp : the network; its activation has closed forms.
    A, C : squared lengths (N,) and inner products (N, N) of N points.
    weights : a :class:`~jacntk_lib.kernels.recursion.Jet` of (N, N) arrays, equal to its own ``transposed()``.
    tangent : True for Theta, False for Sigma.

    Returns
    -------
    dF/dA (N,), both places of A together; dF/dC (N, N), symmetric; and dF/d(log sigma_b).

    Raises
    ------
    ValueError : the activation has no closed form.
    """
    handles(mlp, "pull_back")
    if not mlp.phi.has_closed_form:
        raise ValueError(
            f"activation {mlp.phi.name!r} has no closed form, and its quadrature has no derivative at x = x': take "
            f"one of {', '.join(names_in_closed_form())}, give closed forms to Activation.from_formulas, "
            "or keep the hyperparameters as they are (optimizer=None)"
        )
    N, (first, gain, bias) = len(A), _constants(mlp)
    formulas, parts = mlp.phi.formulas_for(0.0), {}

    def fill(rows, cols):
        down, across = (0, SIDE - len(A[rows])), (0, SIDE - len(A[cols]))  # padding has weight 0
        a, b = np.pad(A[rows], down)[:, None], np.pad(A[cols], across)[None]
        c, *w = (np.pad(x[rows, cols], (down, across)) for x in (C, *weights))
        with float64():
            back = _pull_back(formulas, tangent, a, b, c, mlp.depth, first, gain, bias, Jet(*w))
            parts[rows.start, cols.start] = [np.asarray(x) for x in back]

    steps = slices(N, SIDE)
    tiles = [(rows, cols) for i, rows in enumerate(steps) for cols in steps[i:]]
    on_all_cores(fill, tiles)
    by_length, by_product, by_bias = np.zeros(N), np.empty((N, N)), 0.0
    for rows, cols in tiles:
        a, b, c, bias_slope = parts[rows.start, cols.start]
        n, m = len(A[rows]), len(A[cols])
        copies = 1 if rows == cols else 2  # the mirrored tile, which is not computed, says the same
        by_length[rows] += copies * a[:n]
        by_length[cols] += copies * b[:m]
        by_product[cols, rows] = c[:n, :m].T
        by_product[rows, cols] = c[:n, :m]
        by_bias += copies * float(bias_slope)
    return by_length, by_product, 2 * bias * by_bias
