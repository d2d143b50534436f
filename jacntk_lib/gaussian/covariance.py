r"""The covariance of values and gradients of a function of x whose network reads z = x L.

With g the function of z, f(x) = g(x L) and df/dx = L dg/dz, so that the blocks of a kernel of z get L on both sides:

.. math:: K(x, x') = \begin{pmatrix} 1 & \\ & L \end{pmatrix} K_z(x L, x' L)
          \begin{pmatrix} 1 & \\ & L^\top \end{pmatrix}, \qquad L \in R^{d \times d}.

A kernel of (A, B, C) sees L only through P = L L^T.
"""

from dataclasses import dataclass

import numpy as np

from ..architecture import MLP
from ..kernels import MEMORY, jacobian_nngp, jacobian_ntk
from ..kernels.adjoint import pull_back
from ..kernels.recursion import VALUE_FIELDS, Jet
from ..kernels.scalars import between, pairwise


@dataclass(frozen=True, eq=False)
class Covariance:
    """Sigma (``tangent=False``) or Theta of ``mlp`` behind the linear map L (d, d)."""

    mlp: MLP
    tangent: bool
    L: np.ndarray

    def scalars(self, X, X2=None, memory=MEMORY):
        """The structured Gram matrix in z, a JacobianGram."""
        kernel = jacobian_ntk if self.tangent else jacobian_nngp
        return kernel(self.mlp, X @ self.L, None if X2 is None else X2 @ self.L, memory=memory)

    def blocks(self, G):
        """A Gram matrix of z in x: (N, 1+d, M, 1+d)."""
        out = G.blocks()
        N, d1, M, _ = out.shape
        out[..., 1:] = out[..., 1:] @ self.L.T
        out[:, 1:] = (self.L @ out[:, 1:].reshape(N, d1 - 1, M * d1)).reshape(N, d1 - 1, M, d1)
        return out

    def value_rows(self, X, X2):
        """Covariances of values at X with everything at X2, (N, M, 1+d)."""
        Z, Z2 = X @ self.L, X2 @ self.L
        k, _, B, C, *_ = between(self.mlp, Z, Z2, tangent=self.tangent, fields=VALUE_FIELDS)
        out = np.empty((*k.shape, 1 + Z.shape[1]))
        out[..., 0] = k
        np.multiply(C[..., None], (Z @ self.L.T)[:, None], out=out[..., 1:])
        out[..., 1:] += 2 * B[..., None] * (Z2 @ self.L.T)
        return out

    def variances(self, X):
        """Those of the value and of every derivative at each point, (N, 1+d)."""
        Z = X @ self.L
        k, _, _, C, AB, AC, BC, CC = (x[:, None] for x in pairwise(self.mlp, Z, Z, tangent=self.tangent))
        slopes = (4 * AB + 2 * AC + 2 * BC + CC) * (Z @ self.L.T) ** 2 + C * (self.L**2).sum(axis=1)
        return np.concatenate([k, slopes], axis=1)

    def slopes(self, X, M, jet):
        r"""Derivatives of :math:`\sum M * K(X, X)` for a fixed symmetric M.

        M is (N, 1+d, N, 1+d), or (N, 1, N, 1) for values only; ``jet`` are the scalars of X with itself. Returns the
        derivatives by the logarithms of the factors of L's columns (d,), and by log sigma_b. With V = X P the blocks of
        K are those of the kernel itself, x replaced by V and the unit matrix by P, so that M contracts with them to
        eight weights per pair; no (d, d) block is ever differentiated.
        """
        P = self.L @ self.L.T
        V = X @ P
        C = V @ X.T
        if M.shape[1] == 1:
            zero = np.zeros_like(C)
            weights, by_P = Jet(M[:, 0, :, 0], *[zero] * 7), 0.0
        else:
            weights, by_V, by_P = _contract(M, jet, V, P)
            by_P += X.T @ by_V
        by_A, by_C, by_bias = pull_back(self.mlp, np.diagonal(C).copy(), C, weights, tangent=self.tangent)
        by_P += X.T @ (by_A[:, None] * X + by_C @ X)
        return 2 * np.einsum("ap,ab,bp->p", self.L, by_P, self.L), by_bias


def _contract(M, jet, V, P):
    """Weights of the eight scalars in sum(M * K), and its derivatives by V (N, d) and P (d, d) at fixed scalars.

    M and the scalars are symmetric under exchange of the points, so that the terms in k_B and k_BC equal those in k_A
    and k_AC; each derivative by V has both its places.
    """
    values, mixed, slopes = M[:, 0, :, 0], M[:, 1:, :, 0], M[:, 1:, :, 1:]
    right = np.einsum("iajb,jb->iaj", slopes, V)  # M_ij V_j
    left = np.einsum("iajb,ib->iaj", slopes, V)  # M_ij V_i
    along = np.einsum("iaj,ja->ij", mixed, V)
    A, AC = 2 * np.einsum("iaj,ia->ij", mixed, V), 2 * np.einsum("iaj,ia->ij", left, V)
    weights = Jet(
        k=values,
        A=A,
        B=A.T,
        C=along + along.T + np.einsum("iajb,ab->ij", slopes, P),
        AB=4 * np.einsum("iaj,ia->ij", right, V),
        AC=AC,
        BC=AC.T,
        CC=np.einsum("iaj,ja->ij", left, V),
    )
    by_V = 4 * np.einsum("ij,iaj->ia", jet.A, mixed) + 2 * np.einsum("ij,iaj->ja", jet.C, mixed)
    by_V += 8 * np.einsum("ij,iaj->ia", jet.AB, right) + 2 * np.einsum("ij,jai->ia", jet.CC, left)
    by_V += 4 * (np.einsum("ij,iaj->ia", jet.AC, left) + np.einsum("ij,jai->ia", jet.AC, right))
    return weights, by_V, np.einsum("ij,iajb->ab", jet.C, slopes)
