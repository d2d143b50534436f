r"""The product of a block of a Gram matrix with vectors, from the eight scalars of its pairs.

With s_j = <x'_j, V_j>, Q = X V^T and the matrices elementwise in k_AC Q and k_CC Q, the values and the derivatives of
``G (v_0, V)`` are

.. math::

    k v_0 + 2 k_B s + \langle X, k_C V \rangle, \qquad
    k_C V + X (2 k_A v_0 + 4 k_{AB} s + 2 \,\mathrm{rowsum}(k_{AC} Q)) + (k_{CC} Q + k_C v_0 + 2 k_{BC} s) Y.

In few dimensions the last bracket is not formed: ``(k_C v_0) Y = k_C (v_0 Y)`` is one more matrix product, and
arithmetic costs less there than passes over the pairs.
"""

from typing import NamedTuple

import numpy as np

_FEW_DIMENSIONS = 32  # up to which two more matrix products take less time than four passes


class Vectors(NamedTuple):
    """Vectors (M, 1+d, K) with their points, in the forms that a product takes some points of."""

    points: np.ndarray  # (M, d)
    values: np.ndarray  # v_0, (M, K)
    twice: np.ndarray  # 2 s, (M, K)
    columns: np.ndarray  # V, (K, M, d)
    by_C: np.ndarray  # what k_C multiplies: V, and v_0 Y in few dimensions, (M, K d) or (M, 2 K d)
    by_BC: np.ndarray | None  # what k_BC multiplies there: 2 s Y

    @classmethod
    def of(cls, points, v0, V):
        """From points (M, d), v0 (M, K) and V (M, d, K)."""
        M, d, K = V.shape
        twice = 2 * np.einsum("jd,jdk->jk", points, V)
        by_C, by_BC = V.transpose(0, 2, 1).reshape(M, K * d), None
        if d <= _FEW_DIMENSIONS:
            by_C, by_BC = np.concatenate([by_C, _outer(v0, points)], axis=1), _outer(twice, points)
        forms = points, v0, twice, V.transpose(2, 0, 1), by_C, by_BC
        return cls(*(x if x is None else np.ascontiguousarray(x) for x in forms))

    def some(self, points):
        """Those of some of the points."""
        return Vectors(*(x if x is None else x[:, points] if x is self.columns else x[points] for x in self))


def add_product(jet, x, vectors, out):
    """Add a block's product with ``vectors`` to ``out`` (n, 1+d, K); the fields of ``jet`` are (n, m), x (n, d)."""
    k, A, B, C, AB, AC, BC, CC = jet
    (n, d), (Y, v0, twice, columns, by_C, by_BC) = x.shape, vectors
    K = v0.shape[1]
    slopes, *along_y = np.split((C @ by_C).reshape(n, -1, d), [K], axis=1)  # (n, K, d)
    out[:, 0] += k @ v0 + B @ twice + np.einsum("nd,nkd->nk", x, slopes)
    if few := by_BC is not None:
        slopes = slopes + along_y[0]
        slopes += (BC @ by_BC).reshape(n, K, d)
    elif BC.strides != C.strides:  # the transpose of another: once, rather than for every column
        BC = np.ascontiguousarray(BC)
    along_x = 2 * (A @ v0 + AB @ twice)
    term = None if few else np.empty_like(C)
    for column, V in enumerate(columns):
        q = x @ V.T if CC.strides[0] >= CC.strides[1] else (V @ x.T).T  # in memory as the jet is
        along_x[:, column] += 2 * np.einsum("nm,nm->n", AC, q)
        q *= CC
        if not few:
            q += np.multiply(C, v0[:, column], out=term)
            q += np.multiply(BC, twice[:, column], out=term)
        slopes[:, column] += q @ Y
    slopes += along_x[:, :, None] * x[:, None]
    out[:, 1:] += slopes.transpose(0, 2, 1)


def _outer(weights, points):
    """(M, K d): every column of weights (M, K) times the points (M, d)."""
    return (weights[:, :, None] * points[:, None]).reshape(len(points), -1)
