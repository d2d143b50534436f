r"""Solves with a Jacobian Gram matrix of n = N(1+d) unknowns, in float64.

:func:`cholesky` forms the dense matrix, :math:`n^2` numbers and :math:`n^3/3` operations. :func:`iterative` needs
products with the structured form alone, :math:`O(N^2 d)` each and :math:`O(N^2)` memory. A solve
returns the solution together with what is needed to judge it: residual, condition estimate, jitter used. What robust
training needs beyond that (weights, eigenvectors, the structure of the matrix) is in ``_weighted``.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from .._validation import as_array, integer, non_negative_number, positive_number
from ..errors import ConvergenceError, SingularGramError
from ..kernels.gram import JacobianGram
from .conjugate_gradients import Preconditioner, conjugate_gradients

EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Solution:
    """What a solve returns.

    Attributes
    ----------
    value : the solution x, the shape of the right-hand side b.
    residual : ``|(G + ridge I) x - b| / |b|`` in the Euclidean norm, measured by a product with G; 0 for b = 0.
    condition : estimated condition number of the matrix that was solved with (1-norm); from :func:`iterative` the
        upper bound (trace + ridge) / ridge.
    jitter : what had to be added to the diagonal beyond ``ridge``, in units of G; 0.0 where nothing was.
    history : from :func:`iterative` the largest relative residual of a column after each product with G, else ``None``.
    """

    value: np.ndarray
    residual: float
    condition: float
    jitter: float
    history: np.ndarray | None = None


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


def iterative(gram: JacobianGram, b, *, ridge, tolerance=1e-9, max_iterations=2000, preconditioned=True) -> Solution:
    r"""Solve :math:`(G + \rho I) x = b` by preconditioned block conjugate gradients, with nothing dense of size n.

    The columns of b share one Krylov space. The preconditioner is exact on all values and on the leading eigenvectors
    of k_C tensored with R^d, and k_C on the rest: an N x N eigenproblem and a Cholesky factor of 5000 rows or N + 4d,
    whichever is more.

    Parameters
    ----------
    gram : symmetric, N points in R^d; ``G.scaled(lam)`` is the matrix of robust training.
    b : right-hand side, shape (N(1+d),) or (N(1+d), K).
    ridge : rho >= 0, in units of G; convergence without any is seldom.
    tolerance : of the relative residual of every column.
    max_iterations : products with G at most, all columns at once.
    preconditioned : ``False`` is plain conjugate gradients, to see what the preconditioner is worth.

    Raises
    ------
    TypeError, ValueError : as :func:`cholesky`.
    ConvergenceError : the tolerance was not reached.

    Examples
    --------
    >>> from jacntk_lib import MLP, jacobian_ntk
    >>> G = jacobian_ntk(MLP(depth=2), np.eye(2))
    >>> iterative(G, np.ones(6), ridge=0.1).residual <= 1e-9
    True
    """
    require_symmetric(gram)
    n = gram.shape[0]
    ridge, tolerance = non_negative_number(ridge, "ridge"), positive_number(tolerance, "tolerance")
    b = as_array(b, "b", (n,) if np.ndim(b) == 1 else (n, *np.shape(b)[1:2]))
    N = len(gram.X)
    slopes = np.ones(N) if gram._left is None else gram._left
    if preconditioned:
        precondition = Preconditioner(JacobianGram(gram.X, None, gram._jet), np.ones(N), slopes).at(ridge)
    else:
        precondition = np.copy
    found = conjugate_gradients(
        lambda x: gram @ x + ridge * x,
        b.reshape(n, -1),
        precondition,
        tolerance=tolerance,
        max_iterations=integer(max_iterations, "max_iterations", at_least=1),
    )
    condition = (float(gram.diagonal().sum()) + ridge) / ridge if ridge > 0 else float("inf")
    if found.residual > tolerance:
        raise ConvergenceError(
            f"conjugate gradients stopped at relative residual {found.residual:.1e} after {found.products} "
            f"products, short of {tolerance:.0e}: the condition number may be as large as {condition:.1e}; take a "
            "larger ridge or tolerance, more iterations, or solve.cholesky"
        )
    return Solution(found.x.reshape(b.shape), found.residual, condition, 0.0, found.history)


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


def relative_norm(error, reference):
    """``|error| / |reference|``, 0.0 where both vanish.

    Examples
    --------
    >>> relative_norm([3.0, 4.0], [0.0, 10.0])
    0.5
    """
    size = float(np.linalg.norm(reference))
    return float(np.linalg.norm(error)) / size if size else float(np.linalg.norm(error))


def require_symmetric(gram):
    """Refuse whatever is not a symmetric :class:`~jacntk_lib.JacobianGram`.

    Examples
    --------
    >>> require_symmetric(np.eye(2))
    Traceback (most recent call last):
    TypeError: a symmetric JacobianGram is needed, made with X2=None; got ndarray
    """
    if not isinstance(gram, JacobianGram) or not gram.symmetric:
        got = gram if isinstance(gram, JacobianGram) else type(gram).__name__
        raise TypeError(f"a symmetric JacobianGram is needed, made with X2=None; got {got}")
