"""The limiting kernels of a network and its input Jacobian, as matrices that are never formed unless asked for."""

from .block import block_function
from .gram import JacobianGram
from .limiting import MEMORY, jacobian_nngp, jacobian_ntk

__all__ = ["MEMORY", "JacobianGram", "block_function", "jacobian_nngp", "jacobian_ntk"]
