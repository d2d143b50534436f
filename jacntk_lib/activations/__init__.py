"""Activations: closed forms of their Gaussian expectations, or a quadrature that says how accurate it is."""

from .activation import Activation
from .built_in import get, names, names_in_closed_form, softplus_derivatives, tanh_derivatives
from .quadrature import Expectations

__all__ = [
    "Activation",
    "Expectations",
    "get",
    "names",
    "names_in_closed_form",
    "softplus_derivatives",
    "tanh_derivatives",
]
