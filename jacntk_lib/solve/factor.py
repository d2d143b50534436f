"""A factor of a semi-definite matrix."""

import numpy as np
import scipy.linalg


def semidefinite_factor(matrix):
    """F with ``F F^T = matrix`` for a symmetric positive semi-definite matrix, by pivoted Cholesky.

    F is (n, rank); what is left out is below ``n eps`` times the largest diagonal entry. The input is overwritten.

    Examples
    --------
    >>> semidefinite_factor(np.ones((3, 3), order="F")).shape  # of rank one
    (3, 1)
    """
    n = len(matrix)
    factor, pivots, rank, _ = scipy.linalg.lapack.dpstrf(matrix, lower=1, overwrite_a=1)
    out = np.zeros((n, rank))
    out[pivots - 1] = np.tril(factor)[:, :rank]
    return out
