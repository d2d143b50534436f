r"""The product of a block of a Gram matrix with vectors, from the eight scalars of its pairs.

With s_j = <x'_j, V_j>, Q = X V^T and the matrices elementwise in k_AC Q and k_CC Q, the values and the derivatives of
``G (v_0, V)`` are

.. math::

    k v_0 + 2 k_B s + \langle X, k_C V \rangle, \qquad
    k_C V + X (2 k_A v_0 + 4 k_{AB} s + 2 \,\mathrm{rowsum}(k_{AC} Q)) + (k_{CC} Q + k_C v_0 + 2 k_{BC} s) Y,

three matrix products of size N M d for each column of the vectors.
"""

from typing import NamedTuple

import numpy as np


class Vectors(NamedTuple):
    """Vectors (M, 1+d, K) with their points, in the forms that a product takes some points of."""

    points: np.ndarray  # (M, d)
    values: np.ndarray  # v_0, (M, K)
    twice: np.ndarray  # 2 s, (M, K)
    flat: np.ndarray  # V, (M, d K)
    columns: np.ndarray  # V again, (K, M, d)

    @classmethod
    def of(cls, points, v0, V, dtype):
        """From points (M, d), v0 (M, K) and V (M, d, K)."""
        twice = 2 * np.einsum("jd,jdk->jk", points, V)
        forms = points, v0, twice, V.reshape(len(V), -1), V.transpose(2, 0, 1)
        return cls(*(np.ascontiguousarray(x, dtype) for x in forms))

    def some(self, points):
        """Those of some of the points."""
        *forms, columns = self
        return Vectors(*(x[points] for x in forms), columns[:, points])


def add_product(jet, x, vectors, out):
    """Add the product of a block with ``vectors`` to ``out`` (n, 1+d, K); the fields of ``jet`` are (n, m), x (n, d).

    In the precision of the jet; ``out`` may be more precise.
    """
    k, A, B, C, AB, AC, BC, CC = jet
    (n, d), (Y, v0, twice, flat, columns) = x.shape, vectors
    slopes = (C @ flat).reshape(n, d, -1)
    out[:, 0] += k @ v0 + B @ twice + np.einsum("nd,ndk->nk", x, slopes)
    along_x = 2 * (A @ v0 + AB @ twice)
    term = np.empty_like(C)
    for column, V in enumerate(columns):
        q = x @ V.T if k.strides[0] >= k.strides[1] else (V @ x.T).T  # in memory as the jet is
        along_x[:, column] += 2 * np.einsum("nm,nm->n", AC, q)
        q *= CC
        q += np.multiply(C, v0[:, column], out=term)
        q += np.multiply(BC, twice[:, column], out=term)
        slopes[:, :, column] += q @ Y
    slopes += x[:, :, None] * along_x[:, None, :]
    out[:, 1:] += slopes
