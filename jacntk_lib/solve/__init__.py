"""Solves with a Jacobian Gram matrix: the solvers with their options, and the report on how a solve went."""

from .factor import semidefinite_factor
from .report import EPS, Report, relative_norm
from .solvers import Exact, Iterative, require_symmetric, solver_named

__all__ = [
    "EPS",
    "Exact",
    "Iterative",
    "Report",
    "relative_norm",
    "require_symmetric",
    "semidefinite_factor",
    "solver_named",
]
