r"""Finite networks: sampled weights, the output and its input Jacobian from one pass.

A network of :class:`~jacntk_lib.MLP` with widths n_1, ..., n_L is evaluated in *scaled features*

.. math:: h^0 &= s_0\, x, \quad h^l = \frac{s_w}{\sqrt{n_l}}\, \phi(g^l), \\
          g^{l+1} &= W^{l+1} h^l + s_b b^{l+1}, \\ f &= \kappa\,(w \cdot h^L + s_b b)

(s_0 is s_w times ``input_scale``), so that no weight matrix is ever multiplied by a number: the same function as in
``MLP``, with every factor absorbed by the activation, where it costs nothing.

The *tangent pass* carries the value (index 0) and the d input derivatives (1..d) through the net together, an array
of shape (N, 1+d, n) per layer:

.. math:: h_0 = \phi(g_0), \qquad h_a = \phi'(g_0)\, g_a,

and every layer is one product of an (N(1+d), n) with an (n, n) matrix. The tangents of g^1 are the columns of W^1,
the same for every point, and cost no product.

The library has three more passes through such a network, each because it computes less than a shared one would have to:
:meth:`.FiniteMLP.forward` has no tangents, the kernels of :mod:`jacntk_lib.finite` keep every layer's features and
cotangents and need no autograd, and a step of :mod:`jacntk_lib.training` carries one direction in place of d tangents.
They share the pieces below, and the tests hold each against autograd.

>>> from jacntk_lib.architecture import MLP
>>> net = FiniteMLP(MLP(depth=2, kappa=1.0), width=8, input_dim=3)
>>> layer_widths(net.mlp, 8), [round(scale, 3) for scale in feature_scales(net)]  # s_w, then s_w / sqrt(n)
((8, 8), [1.0, 0.354, 0.354])
"""

import contextlib
import math

import numpy as np

from .._optional import torch
from .._validation import as_points, integer
from ..architecture import handles
from .weights import check_seed, draw_bias, draw_weights


class FiniteMLP(torch.nn.Module):
    r"""A network sampled from an :class:`~jacntk_lib.MLP`, all its entries standard normal.

    Parameters
    ----------
    mlp : the architecture; it carries every scale (s_w, s_b, kappa), so that the parameters themselves are N(0, 1).
    width : the number of units of every hidden layer, or one number per layer.
    input_dim : d, the number of input columns.
    seed : weights come from NumPy's Philox keyed by (seed, layer, block of rows), with the layer's shape in the
        counter, drawn in float64, then cast and moved: the same on every device, and networks of different widths
        independent.
    dtype : ``torch.float64`` or ``torch.float32``.
    device : anything ``torch.device`` accepts.

    Attributes
    ----------
    weights : L+1 parameters of shapes (n_1, d), (n_2, n_1), ..., (1, n_L).
    biases : L+1 parameters of shapes (n_1,), ..., (n_L,), (1,) if ``mlp.sigma_b > 0``; empty otherwise, as a bias
        multiplied by zero neither acts nor learns.

    Raises
    ------
    ValueError, TypeError : a width or ``input_dim`` below one, a wrong number of widths, a dtype that is neither
        float32 nor float64, a GPU that is not there.

    Examples
    --------
    >>> from jacntk_lib.architecture import MLP
    >>> net = FiniteMLP(MLP(depth=2, activation="gelu", kappa=1.0), width=64, input_dim=3, seed=1)
    >>> X = np.eye(3)
    >>> net(X).shape, net.value_and_jacobian(X).shape
    (torch.Size([3]), torch.Size([3, 4]))
    """

    def __init__(self, mlp, width, input_dim, seed=0, *, dtype=torch.float64, device="cpu"):
        super().__init__()
        self.mlp = mlp
        self.widths = layer_widths(mlp, width)
        self.input_dim = integer(input_dim, "input_dim", at_least=1)
        mlp.column_scales(self.input_dim)  # refuses other than one number per column
        self.seed = check_seed(seed)
        place = {"dtype": check_dtype(dtype), "device": check_device(device)}
        outputs, inputs = (*self.widths, 1), (self.input_dim, *self.widths)
        self.weights = torch.nn.ParameterList(
            draw_weights(self.seed, layer, shape, **place)
            for layer, shape in enumerate(zip(outputs, inputs, strict=True), start=1)
        )
        self.biases = torch.nn.ParameterList(
            draw_bias(self.seed, layer, n, **place) for layer, n in enumerate(outputs, start=1) if mlp.sigma_b > 0
        )

    @property
    def dtype(self):
        """float32 or float64; :meth:`torch.nn.Module.double` and its like change it."""
        return self.weights[0].dtype

    @property
    def device(self):
        """Where the parameters are."""
        return self.weights[0].device

    def forward(self, X):
        """f(X), shape (N,), differentiable in the parameters and in X.

        ``X`` is an (N, d) NumPy array or torch tensor; it is moved to the network's device and dtype.
        """
        X = self.as_input(X)
        with full_precision(self.device):
            g = self._add_bias(0, (feature_scales(self)[0] * X) @ self.weights[0].T)
            for layer, scale in enumerate(feature_scales(self)[1:], start=1):
                (h,) = scaled_jet(self.mlp, scale, g, order=0)
                g = self._add_bias(layer, h @ self.weights[layer].T)
            return self.mlp.kappa * g.squeeze(-1)

    def value_and_jacobian(self, X):
        r"""``[f(x), df/dx_1, ..., df/dx_d]`` for every point, shape (N, 1+d), differentiable like :meth:`forward`.

        One tangent pass costs the matrix products of 1+d ordinary forward passes and needs no autograd.
        """
        X = self.as_input(X)
        with full_precision(self.device):
            scale, *scales = feature_scales(self)
            g0, tangents = first_layer(X, scale, self.weights[0])  # (N, n), (1, d, n)
            for layer, scale in enumerate(scales):
                phi, slope = scaled_jet(self.mlp, scale, self._add_bias(layer, g0), order=1)
                h = torch.cat((phi[:, None], slope[:, None] * tangents), dim=1)  # (N, 1+d, n)
                g = h @ self.weights[layer + 1].T  # (N, 1+d, n')
                g0, tangents = g[:, 0], g[:, 1:]
            g0 = self._add_bias(len(scales), g0)
            return self.mlp.kappa * torch.cat((g0[:, None], tangents), dim=1).squeeze(-1)

    def as_input(self, X, name="X"):
        """``X`` checked and converted to a tensor (N, d) of the network's dtype, on its device."""
        X = as_tensor(X, name, self.dtype, self.device)
        if X.shape[1] != self.input_dim:
            raise ValueError(
                f"{name} has {X.shape[1]} input dimensions, but the network was built with "
                f"input_dim={self.input_dim}: give it the same columns"
            )
        return X

    def _add_bias(self, layer, g):
        return g + self.mlp.sigma_b * self.biases[layer] if len(self.biases) else g

    def extra_repr(self):
        """What torch shows between the brackets."""
        return f"{self.mlp}, width={self.widths}, input_dim={self.input_dim}, seed={self.seed}"


# --------------------------------------------------------------------------------------------------------------
# Pieces that the passes share


def first_layer(X, scale, weight):
    """g_0 of shape (N, n) without its bias and, of shape (1, d, n), the tangents that all points share."""
    return (scale * X) @ weight.T, (scale * weight).T[None]


def scaled_jet(mlp, scale, g0, order):
    """phi and its first ``order`` derivatives at g_0, normalised and times ``scale``: (N, n) each."""
    factor = scale * mlp.phi_scale
    return tuple(factor * derivative for derivative in mlp.phi.torch_jet(g0, order))


def feature_scales(net):
    """What the features h^0, ..., h^L are multiplied by: numbers, the first a tensor (d,) if columns have their own."""
    mlp = net.mlp
    scale = mlp.column_scales(net.input_dim)
    scale = mlp.input_scale if scale is None else torch.from_numpy(scale).to(net.device, net.dtype)
    return (mlp.sigma_w * scale, *(mlp.sigma_w / math.sqrt(n) for n in net.widths))


def bytes_per_point(widths, X):
    """Bytes per point of ``X`` in a pass forwards and back: h and g of every layer, and the temporaries."""
    d = X.shape[1]
    return (1 + d) * X.element_size() * (2 * sum(widths) + 3 * max(widths) + 2 * d)


@contextlib.contextmanager
def full_precision(device):
    """Products of float32 matrices in full float32: no TF32, bfloat16 or autocast; restores the caller's settings.

    Examples
    --------
    >>> third = torch.full((1, 1), 1 / 3)
    >>> with full_precision("cpu"), torch.autocast("cpu"):
    ...     inside = third @ third
    >>> with torch.autocast("cpu"), full_precision("cpu"):
    ...     exact = third @ third
    >>> inside.dtype, exact.dtype  # the innermost setting counts
    (torch.bfloat16, torch.float32)
    """
    settings = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
    before = [setting.fp32_precision for setting in settings]
    try:
        for setting in settings:
            setting.fp32_precision = "ieee"
        with torch.autocast(torch.device(device).type, enabled=False):
            yield
    finally:
        for setting, value in zip(settings, before, strict=True):
            setting.fp32_precision = value


# --------------------------------------------------------------------------------------------------------------
# Checks at the edge


def layer_widths(mlp, width):
    """``width`` as one int per hidden layer."""
    handles(mlp, "FiniteMLP")
    if np.ndim(width) == 0:
        return (integer(width, "width", at_least=1),) * mlp.depth
    widths = tuple(integer(n, f"width[{i}]", at_least=1) for i, n in enumerate(width))
    if len(widths) != mlp.depth:
        raise ValueError(
            f"width has {len(widths)} entries, but the network has {mlp.depth} hidden layers: "
            "give one number, or one per hidden layer"
        )
    return widths


def check_network(net):
    """Refuse whatever is not a :class:`FiniteMLP`."""
    if not isinstance(net, FiniteMLP):
        raise TypeError(f"net must be a FiniteMLP, got {type(net).__name__}")


def check_dtype(dtype):
    """Refuse whatever is neither float32 nor float64."""
    if dtype not in (torch.float32, torch.float64):
        raise TypeError(f"dtype must be torch.float32 or torch.float64, got {dtype!r}")
    return dtype


def check_device(device):
    """A ``torch.device`` that is there, or a refusal that says what is."""
    try:
        device = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device {device!r} is unknown to torch; use 'cpu', 'cuda' or 'cuda:0'") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device {str(device)!r} was asked for, but torch {torch.__version__} sees no GPU: use device='cpu', or "
            "install a CUDA build of torch"
        )
    return device


def as_tensor(X, name, dtype, device):
    """Points, a NumPy array or a tensor, as a tensor (N, d); a tensor keeps its autograd history."""
    if not isinstance(X, torch.Tensor):
        return torch.from_numpy(as_points(X, name)).to(device, dtype)
    if X.is_complex():
        raise TypeError(f"{name} has dtype {X.dtype}: real numbers are needed")
    if X.ndim != 2:
        hint = f"; for a single point use {name}[None, :]" if X.ndim == 1 else ""
        raise ValueError(f"{name} has shape {tuple(X.shape)}: a matrix of shape (N, d) is needed{hint}")
    if 0 in X.shape:
        raise ValueError(f"{name} is empty (shape {tuple(X.shape)}): at least one point and one column are needed")
    try:
        finite = bool(torch.isfinite(X).all())
    except RuntimeError:  # inside torch.func.vmap a value cannot be read
        finite = True
    if not finite:
        raise ValueError(f"{name} contains non-finite values; remove or impute them")
    return X.to(device, dtype)
