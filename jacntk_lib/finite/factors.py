"""One pass forwards and one backwards through a finite network, whose weights are stored or drawn as they are needed.

What comes out are the factors that the kernels of :mod:`jacntk_lib.finite` are Gram matrices of. The first layer's
weights, the read-out and the biases are small and always at hand; the hidden-to-hidden weights come in *panels* of
rows, one panel for a stored network and many for a streamed one, which is the only difference between the two.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch

from ..architecture import MLP
from ..networks.network import as_tensor, check_network, feature_scales, first_layer, scaled_jet
from ..networks.weights import block_rows, draw_biases, draw_weights, weight_shapes

_PANEL_ROWS = 512  # rows of a streamed weight matrix in hand at once


@dataclass(frozen=True)
class Spec:
    """A network as the passes below see it."""

    mlp: MLP
    widths: tuple
    first: torch.Tensor  # (n_1, d)
    readout: torch.Tensor  # (n_L,)
    biases: list
    as_input: Callable  # (points, name) -> tensor (N, d)
    panels: Callable[[int], Iterator]  # layer l in 2..L -> (rows of W^l as a slice, those rows)

    def add_bias(self, layer, g, columns=slice(None)):
        if self.biases:
            g += self.mlp.sigma_b * self.biases[layer - 1][columns]
        return g


def stored(net):
    """The :class:`Spec` of a FiniteMLP."""
    check_network(net)
    weights = [weight.detach() for weight in net.weights]
    return Spec(
        net.mlp,
        net.widths,
        weights[0],
        weights[-1][0],
        [bias.detach() for bias in net.biases],
        net.as_input,
        lambda layer: iter([(slice(None), weights[layer - 1])]),
    )


def streamed(mlp, widths, seed, X):
    """The :class:`Spec` of the FiniteMLP of that seed on X's device, in X's dtype, without its n x n matrices."""
    place = {"dtype": X.dtype, "device": X.device}
    shapes = weight_shapes(widths, X.shape[1])

    def panels(layer):
        fan_out, fan_in = shapes[layer - 1]
        block = block_rows(fan_in)
        step = max(1, _PANEL_ROWS // block) * block
        for start in range(0, fan_out, step):
            stop = min(start + step, fan_out)
            yield slice(start, stop), draw_weights(seed, layer, shapes[layer - 1], start, stop, **place)

    return Spec(
        mlp,
        widths,
        draw_weights(seed, 1, shapes[0], **place),
        draw_weights(seed, len(shapes), shapes[-1], **place)[0],
        draw_biases(mlp, seed, shapes, **place),
        lambda points, name: as_tensor(points, name, **place),
        panels,
    )


# --------------------------------------------------------------------------------------------------------------
# Features and cotangents of a chunk of points


class Factors(NamedTuple):
    """Features and cotangents, index 0 the value and 1..d the tangents."""

    h: list  # h^0, ..., h^L, (N, 1+d, n_l) each
    b: list  # b^1, ..., b^L, (N, 1+d, n_l) each


def factors(spec, X, cotangents=True):
    """One pass forwards and, for the cotangents, one backwards; every array carries its tangents."""
    (N, d), L = X.shape, len(spec.widths)
    scales = feature_scales(spec)
    inputs = X.new_zeros(N, 1 + d, d)
    inputs[:, 0] = scales[0] * X
    inputs[:, 1:] = scales[0] * torch.eye(d, dtype=X.dtype, device=X.device)
    h, b, hidden = [inputs], [], []

    g0, tangents = first_layer(X, scales[0], spec.first)
    spec.add_bias(1, g0)
    if L == 1:
        b_last = X.new_empty(N, 1 + d, spec.widths[0])
        h.append(torch.empty_like(b_last))
        _activate_last(spec, g0, tangents, slice(None), h[-1], b_last)
        return Factors(h, [b_last])

    for layer in range(2, L + 1):
        phi, slope, curvature = scaled_jet(spec.mlp, scales[layer - 1], g0, order=2)
        feature = X.new_empty(N, 1 + d, spec.widths[layer - 2])  # h^(layer-1)
        feature[:, 0] = phi
        torch.mul(slope[:, None], tangents, out=feature[:, 1:])
        h.append(feature)
        hidden.append((tangents, slope, curvature))
        if layer < L:
            g = X.new_empty(N, 1 + d, spec.widths[layer - 1])
            for columns, panel in spec.panels(layer):
                g[:, :, columns] = feature @ panel.T
            g0, tangents = spec.add_bias(layer, g[:, 0]), g[:, 1:]

    # The last hidden layer goes forwards and backwards panel by panel: its cotangent needs nothing from outside
    # the panel, so every panel of W^L is used for both products while it is there.
    h.append(X.new_empty(N, 1 + d, spec.widths[-1]))
    b_last, c = (torch.empty_like(h[-1]), torch.zeros_like(h[-2])) if cotangents else (None, None)
    for columns, panel in spec.panels(L):
        g = h[-2] @ panel.T
        spec.add_bias(L, g[:, 0], columns)
        _activate_last(spec, g[:, 0], g[:, 1:], columns, h[-1], b_last)
        if cotangents:
            c.flatten(0, 1).addmm_(b_last[:, :, columns].flatten(0, 1), panel)  # d(f/kappa)/dh^(L-1)
    if not cotangents:
        return Factors(h, [])

    b.append(b_last)
    for layer in range(L - 1, 0, -1):
        tangents, slope, curvature = hidden.pop()
        # b = phi'(g_0) c, and by the product rule b_a = phi'(g_0) c_a + phi''(g_0) g_a c_0
        bend = curvature * c[:, 0]
        c *= slope[:, None]
        c[:, 1:].addcmul_(tangents, bend[:, None])
        b.append(c)
        if layer > 1:
            c = torch.zeros_like(h[layer - 1])
            for columns, panel in spec.panels(layer):
                c.flatten(0, 1).addmm_(b[-1][:, :, columns].flatten(0, 1), panel)
    return Factors(h, b[::-1])


def _activate_last(spec, g0, tangents, columns, h, b):
    """h^L and, unless ``b`` is None, b^L = w phi'(g^L) with their tangents, into ``columns`` of h and b."""
    phi, slope, curvature = scaled_jet(spec.mlp, feature_scales(spec)[-1], g0, order=2)
    h[:, 0, columns] = phi
    torch.mul(slope[:, None], tangents, out=h[:, 1:, columns])
    if b is not None:
        w = spec.readout[columns]
        b[:, 0, columns] = w * slope
        torch.mul((w * curvature)[:, None], tangents, out=b[:, 1:, columns])
