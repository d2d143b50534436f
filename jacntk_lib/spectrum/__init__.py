"""The smallest eigenvalue of a Jacobian Gram matrix: certified bounds, and the cases where it is exactly zero."""

from .certificates import NEGATIVE, POSITIVE, SINGULAR, UNDECIDED, Certificate, spectral_bound
from .definite import Positivity, positivity
from .degenerate import Degeneracy, degeneracies, null_space
from .growth import depth_gain
from .smallest import certify, extreme_eigenvalues, smallest_eigenvalue

__all__ = [
    "NEGATIVE",
    "POSITIVE",
    "SINGULAR",
    "UNDECIDED",
    "Certificate",
    "Degeneracy",
    "Positivity",
    "certify",
    "degeneracies",
    "depth_gain",
    "extreme_eigenvalues",
    "null_space",
    "positivity",
    "smallest_eigenvalue",
    "spectral_bound",
]
