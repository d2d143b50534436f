"""One pass forwards and one backwards through a finite network.

It returns the factors whose Gram matrices make the kernels of :mod:`jacntk_lib.finite`.
"""

from typing import NamedTuple

from .._optional import torch
from ..architecture import handles
from ..networks.network import feature_scales, first_layer, scaled_jet


class Factors(NamedTuple):
    """Features and cotangents of some points, index 0 the value and 1..d the tangents."""

    h: list  # h^0, ..., h^L, (N, 1+d, n_l) each
    b: list  # b^1, ..., b^L, (N, 1+d, n_l) each, b^l = d(f/kappa)/dg^l; empty if they were not asked for


@torch.no_grad()
def factors(net, X, *, cotangents=True):
    """The :class:`Factors` of the points ``X``, (N, d) from ``net.as_input``; cotangents take the pass backwards."""
    handles(net.mlp, "finite.factors")
    N, d = X.shape
    weights = [weight.detach() for weight in net.weights]
    scales = feature_scales(net)
    inputs = X.new_zeros(N, 1 + d, d)
    inputs[:, 0] = scales[0] * X
    inputs[:, 1:] = scales[0] * torch.eye(d, dtype=X.dtype, device=X.device)
    h, jets = [inputs], []

    g0, tangents = first_layer(X, scales[0], weights[0])
    for layer, scale in enumerate(scales[1:]):
        if net.biases:
            g0 += net.mlp.sigma_b * net.biases[layer].detach()
        phi, slope, curvature = scaled_jet(net.mlp, scale, g0, order=2)
        feature = X.new_empty(N, 1 + d, phi.shape[1])
        feature[:, 0] = phi
        torch.mul(slope[:, None], tangents, out=feature[:, 1:])
        h.append(feature)
        jets.append((tangents, slope, curvature))
        if layer + 1 < len(net.widths):
            g = feature @ weights[layer + 1].T
            g0, tangents = g[:, 0], g[:, 1:]
    if not cotangents:
        return Factors(h, [])

    c, b = torch.zeros_like(h[-1]), []  # c = d(f/kappa)/dh^l
    c[:, 0] = weights[-1][0]
    for layer in reversed(range(len(net.widths))):
        tangents, slope, curvature = jets.pop()
        # b = phi'(g_0) c, and by the product rule b_a = phi'(g_0) c_a + phi''(g_0) g_a c_0
        bend = curvature * c[:, 0]
        c *= slope[:, None]
        c[:, 1:].addcmul_(tangents, bend[:, None])
        b.append(c)
        if layer:
            c = c @ weights[layer]
    return Factors(h, b[::-1])
