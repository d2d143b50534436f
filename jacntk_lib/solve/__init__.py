"""Solves with a Jacobian Gram matrix, direct and iterative."""

from .direct import EPS, Solution, cholesky, iterative, relative_norm, require_symmetric, semidefinite_factor

__all__ = ["EPS", "Solution", "cholesky", "iterative", "relative_norm", "require_symmetric", "semidefinite_factor"]
