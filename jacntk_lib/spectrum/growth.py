r"""How much of its smallest eigenvalue the Jacobian NTK keeps from one layer to the next.

The layer recursion adds a product, :math:`\Theta^L = \Sigma^L + \Theta^{L-1} \dot\Sigma^L` before it is differentiated,
with :math:`\dot\Sigma^L = s_w^2 E[\phi'(u_0)\phi'(v_0)]`. For the Gram matrix of a product of kernels A and B with
feature maps a and b, a functional of values and gradients is

.. math::

    T(a \otimes b) = \sum_i a(x_i) \otimes \bigl(c_i b(x_i) + v_i \cdot \nabla b(x_i)\bigr)
                     + \sum_{i,k} \partial_k a(x_i) \otimes v_{ik} b(x_i).

Its squared norm is at least lambda_min of A's Gram matrix times the sum of the squared norms on the right of the
tensor signs, and that sum is a quadratic form of each point's (c_i, v_i) alone: the block of B at (x_i, x_i) plus
:math:`B(x_i, x_i)` on the diagonal of the derivatives.
"""

from dataclasses import replace

import numpy as np

from .._float64 import float64
from .._validation import as_points
from ..architecture import MLP, handles
from ..kernels import jacobian_nngp


def depth_gain(mlp: MLP, X) -> float:
    r"""The factor :math:`\kappa_L` with which the last layer passes on the smallest eigenvalue at the points X (N, d):

    .. math::

        \lambda_{\min}(\Theta^L) &\ge \lambda_{\min}(\Sigma^L) + \kappa_L\, \lambda_{\min}(\Theta^{L-1}), \\
        \kappa_L &= \min_i \lambda_{\min}\bigl(D_i + \operatorname{diag}(0, D_{i,00} I_d)\bigr),

    with D_i the block (1+d, 1+d) of :math:`\dot\Sigma^L`, differentiated, at (x_i, x_i). Where it is 1 or more and
    Sigma^L is positive definite, the smallest eigenvalue grows with this layer whatever the other points are. In
    exact arithmetic; computed in float64, without a certificate.

    Without a kernel of all points: with S = Sigma^{L-1} at (x_i, x_i), all expectations at the variance S_00, and the
    scale of phi in phi, Stein's identity gives

    .. math::

        D_{00} &= s_w^2 E[\phi'\phi'], \qquad
        D_{0a} = s_w^2 S_{0a}\, E[\phi''\phi'' + \phi'\phi'''], \\
        D_{ab} &= s_w^2 \bigl(S_{ab}\, E[\phi''\phi''] + 2 S_{0a} S_{0b}\, E[\phi'''\phi''' + \phi''\phi'''']\bigr).

    For one ``input_scale`` the number depends on the lengths of the points alone.

    Raises
    ------
    TypeError, ValueError : ``mlp`` is not an MLP, X is not a finite (N, d) array, or the depth is 1.

    Examples
    --------
    >>> X = np.eye(3)
    >>> [round(depth_gain(MLP(3, name), X), 2) for name in ("erf", "sin", "gelu")]
    [1.18, 1.31, 0.98]
    """
    handles(mlp, "depth_gain")
    if mlp.depth == 1:
        raise ValueError(
            "mlp has depth 1, and Theta^0 is the kernel of linear functions: there is nothing to pass on; pass depth 2 "
            "or more"
        )
    X = as_points(X)
    S = np.array([jacobian_nngp(replace(mlp, depth=mlp.depth - 1), x[None]).dense() for x in X])  # (N, 1+d, 1+d)
    a = S[:, 0, 0]
    with float64():
        K = mlp.phi.formulas_for(a).expectations(a, a, a)
    first, second, third = (np.asarray(x)[:, None, None] for x in (K.k11, K.k22 + K.k31, K.k33 + K.k42))
    slopes = S[:, :1, 1:]  # (N, 1, d)
    D = np.empty_like(S)
    D[:, :1, :1] = first
    D[:, :1, 1:] = second * slopes
    D[:, 1:, :1] = D[:, :1, 1:].transpose(0, 2, 1)
    D[:, 1:, 1:] = np.asarray(K.k22)[:, None, None] * S[:, 1:, 1:]
    D[:, 1:, 1:] += 2 * third * slopes.transpose(0, 2, 1) * slopes + first * np.eye(X.shape[1])
    return float((mlp.sigma_w * mlp.phi_scale) ** 2 * np.linalg.eigvalsh(D)[:, 0].min())
