r"""The exact kernels of a finite network and its input Jacobian, without a parameter Jacobian.

The gradient of :math:`J_a f(x)/\kappa` with respect to W^l is :math:`\partial_a [\, b^l(x)\, h^{l-1}(x)^T ]` with
:math:`b^l = \partial (f/\kappa) / \partial g^l` and the scaled features h of :mod:`jacntk_lib.networks`. Inner products
of such outer products factor into two small Gram matrices per layer, of features and of cotangents with their tangents,

.. math:: H_{ab} &= \langle h^{l-1}_a(x), h^{l-1}_b(x') \rangle, \\ B_{ab} &= \langle b^l_a(x), b^l_b(x') \rangle,

and the layer adds T + s_b^2 B, where the product rule gives (index 0 the value, a, b >= 1 the tangents)

.. math::

    T_{00} &= H_{00} B_{00}, \\ T_{a0} &= H_{a0} B_{00} + H_{00} B_{a0}, \\
    T_{ab} &= H_{ab} B_{00} + H_{0b} B_{a0} \\ &\quad + H_{a0} B_{0b} + H_{00} B_{ab}.

The output layer adds :math:`\langle h^L_a, h^L_b \rangle`, and s_b^2 in the (0, 0) entry. For 256 points in R^4 at
width 8192 and depth 3 this takes about a gigabyte in float32; the parameter Jacobian would take 687.
"""

from .._optional import torch
from .._validation import integer
from ..architecture import handles
from ..networks.network import bytes_per_point, check_network, full_precision
from .factors import factors

MEMORY = 2 * 2**30
"""Bytes that the arrays of the points in hand may take, beside the weights and the result."""

_TILE_ROWS = 512  # rows of the result computed at once: bounds the temporaries, and halves symmetric work


@torch.no_grad()
def jacobian_nngp(net, X, X2=None, *, memory=MEMORY):
    r"""The covariance of (f, Jf)/kappa given all but the last layer.

    .. math:: G_{ab}(x, x') &= \frac{s_w^2}{n_L} \langle \partial_a \phi(g^L(x)), \partial'_b \phi(g^L(x')) \rangle \\
              &\quad + s_b^2 [a = b = 0]

    Over the last layer's weights the output and its Jacobian are exactly Gaussian with covariance kappa^2 G, so the
    average of G over networks estimates the finite-width covariance with far less noise than sampled outputs. It
    tends to :func:`jacntk_lib.jacobian_nngp` as the width grows (Kim and Yang 2024, Theorem 3.1).

    Parameters
    ----------
    net : a :class:`~jacntk_lib.networks.FiniteMLP`.
    X, X2 : points, (N, d) and (M, d), NumPy arrays or tensors; ``X2=None`` means ``X`` and costs half.
    memory : bytes that the arrays of the points in hand may take (beside the weights and the result); the points are
        taken in chunks accordingly.

    Returns
    -------
    A detached tensor (N(1+d), M(1+d)) of the network's dtype on its device; rows by point, then value and d
    derivatives.

    Raises
    ------
    ValueError, TypeError : ``net`` is no FiniteMLP; points of the wrong rank or dimension, empty or not finite.

    Examples
    --------
    >>> from jacntk_lib.architecture import MLP
    >>> from jacntk_lib.networks import FiniteMLP
    >>> net = FiniteMLP(MLP(depth=1), width=32, input_dim=2)
    >>> jacobian_nngp(net, torch.eye(2)).shape
    torch.Size([6, 6])
    """
    return _assemble(net, X, X2, _output_layer, memory, cotangents=False)


@torch.no_grad()
def jacobian_ntk(net, X, X2=None, *, memory=MEMORY):
    r"""The finite Jacobian NTK: the Gram matrix of the parameter gradients of (f, Jf)/kappa.

    .. math:: \Theta_{ab}(x, x') = \kappa^{-2} \langle \nabla_\theta J_a f(x), \nabla_\theta J_b f(x') \rangle

    exactly, in the layer-wise form of this module's introduction: Definition 4.1 of Kim and Yang (2024), over kappa^2.
    It tends to :func:`jacntk_lib.jacobian_ntk` as the width grows (Theorem 4.3 there); at depth 1 its mean over
    networks equals the limit at every width.

    Parameters, return value and errors are those of :func:`jacobian_nngp`.

    Examples
    --------
    >>> from jacntk_lib.architecture import MLP
    >>> from jacntk_lib.networks import FiniteMLP
    >>> net = FiniteMLP(MLP(depth=2), width=32, input_dim=2)
    >>> theta = jacobian_ntk(net, torch.eye(2))
    >>> theta.shape, bool(torch.linalg.eigvalsh(theta)[0] > 0)
    (torch.Size([6, 6]), True)
    """
    return _assemble(net, X, X2, _all_layers, memory, cotangents=True)


# --------------------------------------------------------------------------------------------------------------
# From factors to kernels


def _grams(A, B):
    """<A_a(x), B_b(x')>, shape (N, 1+d, M, 1+d)."""
    return (A.flatten(0, 1) @ B.flatten(0, 1).T).unflatten(0, A.shape[:2]).unflatten(-1, B.shape[:2])


def _output_layer(net, rows, cols, i, j):
    """The block of points ``i`` of the factors ``rows`` against points ``j`` of ``cols``, (n, 1+d, m, 1+d)."""
    K = _grams(rows.h[-1][i], cols.h[-1][j])
    K[:, 0, :, 0] += net.mlp.sigma_b**2
    return K


def _all_layers(net, rows, cols, i, j):
    K = _output_layer(net, rows, cols, i, j)
    for h1, b1, h2, b2 in zip(rows.h[:-1], rows.b, cols.h[:-1], cols.b, strict=True):
        B = _grams(b1[i], b2[j])
        K += _product_rule(_grams(h1[i], h2[j]), B)
        if net.biases:
            K.add_(B, alpha=net.mlp.sigma_b**2)
    return K


def _product_rule(H, B):
    """T of the module's introduction; the four terms hold for a, b = 0 as well, where each counts twice per zero."""
    H_a0, H_0b, B_a0, B_0b = H[..., :1], H[:, :1], B[..., :1], B[:, :1]
    T = H * B[:, :1, :, :1]
    T.addcmul_(H_0b, B_a0).addcmul_(H_a0, B_0b).addcmul_(H[:, :1, :, :1], B)
    T[:, 0] /= 2
    T[..., 0] /= 2
    return T


def _assemble(net, X, X2, kernel, memory, cotangents):
    """The whole matrix, by chunks of points whose factors fit ``memory`` and, within them, tiles of the result."""
    check_network(net)
    handles(net.mlp, "finite.jacobian_ntk" if cotangents else "finite.jacobian_nngp")
    symmetric = X2 is None
    X = net.as_input(X)
    X2 = X if symmetric else net.as_input(X2, "X2")
    N, M, d = len(X), len(X2), X.shape[1]
    out = X.new_empty(N, 1 + d, M, 1 + d)
    chunk = _points_per_chunk(net, X, X2, symmetric, integer(memory, "memory", at_least=1))
    tile = max(1, _TILE_ROWS // (1 + d))
    with full_precision(X.device):
        for i in range(0, N, chunk):
            rows = factors(net, X[i : i + chunk], cotangents=cotangents)
            for j in range(i if symmetric else 0, M, chunk):
                same = symmetric and i == j
                cols = rows if same else factors(net, X2[j : j + chunk], cotangents=cotangents)
                for p in range(0, len(rows.h[0]), tile):
                    for q in range(p if same else 0, len(cols.h[0]), tile):
                        block = kernel(net, rows, cols, slice(p, p + tile), slice(q, q + tile))
                        if same and p == q:  # exactly symmetric, not only to rounding
                            block = (block + block.permute(2, 3, 0, 1)) / 2
                        r, s = slice(i + p, i + p + len(block)), slice(j + q, j + q + block.shape[2])
                        out[r, :, s] = block
                        if symmetric and (i, p) != (j, q):
                            out[s, :, r] = block.permute(2, 3, 0, 1)
    return out.view(N * (1 + d), M * (1 + d))


def _points_per_chunk(net, X, X2, symmetric, memory):
    """All points if their factors fit, else as many as leave room for the rows' and the columns' factors."""
    points = len(X) if symmetric else len(X) + len(X2)
    if points * bytes_per_point(net.widths, X) <= memory:
        return max(len(X), len(X2))
    return max(1, memory // (2 * bytes_per_point(net.widths, X)))
