"""The exact kernels of a finite network and its input Jacobian."""

from .kernels import MEMORY, jacobian_nngp, jacobian_ntk

__all__ = ["MEMORY", "jacobian_nngp", "jacobian_ntk"]
