r"""The activations known by name, and how to get one.

For torch, derivatives are written out, so that autograd differentiates them only once. Tanh and softplus have no closed
forms: each of their derivatives is a polynomial in tanh z, or in the sigmoid of z.

>>> names()
('erf', 'gelu', 'sin', 'tanh', 'softplus')
>>> phi, slope, *_ = tanh_derivatives()
>>> float(phi(0.0)), float(slope(0.0))
(0.0, 1.0)
"""

from functools import cache

import numpy as np

from .._float64 import jax, jnp
from . import closed_forms
from .activation import Activation


def _erf_torch_jet(z, order):
    from .._optional import torch

    jet = [torch.erf(z)]
    if order >= 1:
        jet.append((2 / np.sqrt(np.pi)) * torch.exp(-z * z))
    if order >= 2:
        jet.append(-2 * z * jet[1])
    return tuple(jet)


def _gelu_torch_jet(z, order):
    from .._optional import torch

    cdf = torch.special.ndtr(z)
    jet = [z * cdf]
    if order >= 1:
        pdf = torch.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
        jet.append(cdf + z * pdf)
    if order >= 2:
        jet.append((2 - z * z) * pdf)
    return tuple(jet)


def _sin_torch_jet(z, order):
    from .._optional import torch

    return (torch.sin(z), torch.cos(z), -torch.sin(z))[: order + 1]


def tanh_derivatives():
    """tanh and its first four derivatives, for jax: an example of what ``from_derivatives`` takes."""

    def of_tanh(polynomial):
        return lambda z: polynomial(jnp.tanh(z))

    return (
        jnp.tanh,
        of_tanh(lambda t: 1 - t * t),
        of_tanh(lambda t: -2 * t * (1 - t * t)),
        of_tanh(lambda t: (1 - t * t) * (6 * t * t - 2)),
        of_tanh(lambda t: (1 - t * t) * t * (16 - 24 * t * t)),
    )


def softplus_derivatives():
    """log(1 + e^z) and its first four derivatives, for jax."""

    def of_sigmoid(polynomial):
        return lambda z: polynomial(jax.nn.sigmoid(z))

    return (
        lambda z: jnp.logaddexp(z, 0.0),
        jax.nn.sigmoid,
        of_sigmoid(lambda s: s * (1 - s)),
        of_sigmoid(lambda s: s * (1 - s) * (1 - 2 * s)),
        of_sigmoid(lambda s: s * (1 - s) * (1 - 6 * s + 6 * s * s)),
    )


def _tanh_torch_jet(z, order):
    from .._optional import torch

    t = torch.tanh(z)
    return (t, 1 - t * t, -2 * t * (1 - t * t))[: order + 1]


def _softplus_torch_jet(z, order):
    from .._optional import torch

    s = torch.sigmoid(z)
    return (torch.logaddexp(z, torch.zeros_like(z)), s, s * (1 - s))[: order + 1]


_BUILT_IN = {
    "erf": lambda: Activation(
        "erf",
        0.46455905439753998,
        even_part=(),
        odd_part=(1, ...),
        regularity="analytic",
        _closed=closed_forms.ERF,
        _torch_jet=_erf_torch_jet,
    ),
    "gelu": lambda: Activation(
        "gelu",
        0.42522148257029867,
        even_part=(2, ...),
        odd_part=(1,),
        regularity="analytic",
        _closed=closed_forms.GELU,
        _torch_jet=_gelu_torch_jet,
    ),
    "sin": lambda: Activation(
        "sin",
        float(-np.expm1(-2.0) / 2),
        even_part=(),
        odd_part=(1, ...),
        regularity="analytic",
        _closed=closed_forms.SIN,
        _torch_jet=_sin_torch_jet,
    ),
    "tanh": lambda: Activation.from_derivatives(
        "tanh",
        tanh_derivatives(),
        torch_jet=_tanh_torch_jet,
        even_part=(),
        odd_part=(1, ...),
        regularity="analytic",
    ),
    "softplus": lambda: Activation.from_derivatives(
        "softplus",
        softplus_derivatives(),
        torch_jet=_softplus_torch_jet,
        even_part=(0, ...),
        odd_part=(1,),
        regularity="analytic",
    ),
}
_NOT_SMOOTH = ("relu", "leaky_relu", "prelu", "abs", "elu", "selu", "hardtanh", "relu6")


@cache
def _built_in(name):
    return _BUILT_IN[name]()


def names() -> tuple[str, ...]:
    """The activations known by name: erf, GELU and sin in closed form, tanh and softplus by quadrature."""
    return tuple(_BUILT_IN)


def names_in_closed_form() -> tuple[str, ...]:
    """The names of activations whose expectations are closed formulas.

    >>> names_in_closed_form()
    ('erf', 'gelu', 'sin')
    """
    return tuple(name for name in names() if get(name).has_closed_form)


def get(activation) -> Activation:
    """The :class:`Activation` behind a name; an ``Activation`` is returned as it is.

    Raises
    ------
    ValueError : an unknown name (the known ones are listed), or one that is not smooth enough.
    TypeError : neither a name nor an ``Activation``.

    Examples
    --------
    >>> get("gelu")
    Activation('gelu')
    """
    if isinstance(activation, Activation):
        return activation
    if not isinstance(activation, str):
        raise TypeError(
            f"activation must be one of {', '.join(map(repr, names()))} or an Activation, got {activation!r}; "
            "build your own with Activation.from_derivatives"
        )
    if activation in _BUILT_IN:
        return _built_in(activation)
    if activation.lower() in _NOT_SMOOTH:
        raise ValueError(
            f"activation {activation!r} is not smooth: the Jacobian block of its tangent kernel is infinite at x = x' "
            "(for ReLU it grows like 1/|x - x'|), because it contains E[phi''''(u) phi''(v)]; use a smooth "
            f"activation such as {', '.join(map(repr, names()))} (GELU is the smooth relative of ReLU)"
        )
    raise ValueError(
        f"unknown activation {activation!r}; known are {', '.join(map(repr, names()))}, and any other smooth one "
        "can be built with Activation.from_derivatives"
    )
