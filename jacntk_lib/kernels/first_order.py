"""What a prediction of values needs of a kernel: itself and two first derivatives, at half the cost of all eight."""

from functools import partial

import jax
import numpy as np

from .recursion import SIDE, _constants, jets, variances
from .scalars import _on_all_cores, slices

_ROWS = 4 * SIDE  # new points are many


@partial(jax.jit, static_argnames=("formulas", "tangent"))
def _first_order(formulas, tangent, *arguments):
    """What is not returned is not computed either: XLA leaves it out."""
    jet = jets.__wrapped__(formulas, tangent, *arguments)
    return jet.k, jet.B, jet.C


def first_order(mlp, X, X2, *, tangent):
    """k, k_B and k_C between X (N, d) and X2 (M, d), each (N, M), see :mod:`jacntk_lib.kernels.gram`."""
    A, B = (np.einsum("nd,nd->n", points, points) for points in (X, X2))
    k, k_B, k_C = np.matmul(X, X2.T), np.empty((len(X), len(X2))), np.empty((len(X), len(X2)))
    closed, constants = mlp.phi.has_closed_form, _constants(mlp)
    height, width = (_ROWS, SIDE) if closed else (SIDE // 8, SIDE // 8)
    with jax.enable_x64(True):
        formulas = mlp.phi.formulas_for(0.0 if closed else variances(mlp, np.unique(np.concatenate([A, B]))))

    def fill(rows, cols):
        inner = k[rows, cols]  # k holds <x, x'> until its tile has been computed
        down, across = (0, height - inner.shape[0]), (0, width - inner.shape[1])
        a, b, c = np.pad(A[rows], down)[:, None], np.pad(B[cols], across)[None], np.pad(inner, (down, across))
        with jax.enable_x64(True):
            scalars = _first_order(formulas, tangent, a, b, c, mlp.depth, *constants)
        for matrix, values in zip((k, k_B, k_C), scalars, strict=True):
            matrix[rows, cols] = np.asarray(values)[: inner.shape[0], : inner.shape[1]]

    _on_all_cores(fill, [(rows, cols) for rows in slices(len(X), height) for cols in slices(len(X2), width)])
    return k, k_B, k_C
