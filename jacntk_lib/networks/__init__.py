"""Finite networks: sampled weights, the output and its input Jacobian from one pass."""

from .network import FiniteMLP, full_precision

__all__ = ["FiniteMLP", "full_precision"]
