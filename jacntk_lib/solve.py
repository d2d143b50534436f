r"""Exact solves with a Jacobian Gram matrix: dense float64, :math:`n^3/3` operations for n = N(1+d) unknowns.

A solve returns the solution together with what is needed to judge it: residual, condition estimate, jitter used. What
robust training needs beyond that (weights, eigenvectors, the structure of the matrix) is in ``_weighted``.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from ._validation import as_array, non_negative_number
from .errors import SingularGramError
from .gram import JacobianGram

EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Solution:
    """What a solve returns.

    Attributes
    ----------
    value : the solution x, the shape of the right-hand side b.
    residual : ``|(G + ridge I) x - b| / |b|`` in the Euclidean norm, measured by a product with G; 0 for b = 0.
    condition : estimated condition number of the matrix that was solved with (1-norm).
    jitter : what had to be added to the diagonal beyond ``ridge``, in units of G; 0.0 where nothing was.
    """

    value: np.ndarray
    residual: float
    condition: float
    jitter: float


def cholesky(gram: JacobianGram, b, *, ridge=0.0) -> Solution:
    r"""Solve :math:`(G + \rho I) x = b` by Cholesky factorisation, :math:`n^3/3` operations for n = N(1+d).

    Where rounding leaves G + ridge I without a Cholesky factor, the smallest jitter out of eps n g, 10 eps n g,
    100 eps n g, ... (g the largest diagonal entry) that gives one is added and reported: the solution then is that of
    the matrix with jitter, and the residual, measured without it, says how far off that is.

    Parameters
    ----------
    gram : symmetric, N points in R^d.
    b : right-hand side, shape (N(1+d),) or (N(1+d), K).
    ridge : rho >= 0, in units of G.

    Raises
    ------
    TypeError, ValueError : ``gram`` is not a symmetric JacobianGram; b has a wrong shape or is not finite;
        ``ridge`` is negative.
    SingularGramError : a jitter of 1e-6 g is not enough, so the matrix is far from positive semi-definite.

    Examples
    --------
    >>> from jacntk_lib import MLP, jacobian_ntk
    >>> G = jacobian_ntk(MLP(depth=2), np.eye(2))
    >>> solution = cholesky(G, np.ones(6))
    >>> solution.residual < 1e-12, solution.jitter
    (True, 0.0)
    """
    require_symmetric(gram)
    n = gram.shape[0]
    ridge = non_negative_number(ridge, "ridge")
    b = as_array(b, "b", (n,) if np.ndim(b) == 1 else (n, *np.shape(b)[1:2]))
    matrix = gram.dense()
    largest = float(matrix.diagonal().max())
    matrix[np.diag_indices(n)] += ridge
    one_norm = float(np.abs(matrix).sum(axis=0).max())

    jitter = 0.0
    while True:
        matrix[np.diag_indices(n)] += jitter
        factor, info = scipy.linalg.lapack.dpotrf(matrix, lower=1)
        matrix[np.diag_indices(n)] -= jitter
        if info == 0:
            break
        jitter = 10 * jitter if jitter else EPS * n * largest
        if not jitter <= 1e-6 * largest:
            raise SingularGramError(
                f"the Gram matrix of {len(gram.X)} points plus ridge {ridge:g} has no Cholesky factor even with "
                f"a jitter of {jitter / 10:.1e} (largest diagonal entry {largest:.1e}): it is not positive "
                "semi-definite to float64 accuracy; pass a positive ridge"
            )
    value = scipy.linalg.cho_solve((factor, True), b, check_finite=False)
    reciprocal, _ = scipy.linalg.lapack.dpocon(factor, one_norm + jitter, uplo="L")
    return Solution(
        value=value,
        residual=relative_norm(gram @ value + ridge * value - b, b),
        condition=1.0 / reciprocal if reciprocal > 0 else float("inf"),
        jitter=jitter,
    )


def semidefinite_factor(matrix):
    """F with ``F F^T = matrix`` for a symmetric positive semi-definite matrix, by pivoted Cholesky.

    F is (n, rank); what is left out is below ``n eps`` times the largest diagonal entry. The input is overwritten.
    """
    n = len(matrix)
    factor, pivots, rank, _ = scipy.linalg.lapack.dpstrf(matrix, lower=1, overwrite_a=1)
    out = np.zeros((n, rank))
    out[pivots - 1] = np.tril(factor)[:, :rank]
    return out


def relative_norm(error, reference):
    """``|error| / |reference|``, 0.0 where both vanish."""
    size = float(np.linalg.norm(reference))
    return float(np.linalg.norm(error)) / size if size else float(np.linalg.norm(error))


def require_symmetric(gram):
    if not isinstance(gram, JacobianGram) or not gram.symmetric:
        got = gram if isinstance(gram, JacobianGram) else type(gram).__name__
        raise TypeError(f"a symmetric JacobianGram is needed, made with X2=None; got {got}")
