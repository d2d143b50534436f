"""How a solve went."""

from dataclasses import dataclass, field

import numpy as np

EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Report:
    r"""How well a solution of :math:`(S + \rho I) q = b` is determined, and what it took.

    Attributes
    ----------
    residual : :math:`|(S + \rho I) q - b| / |b|`, measured by a product with the kernel; 0 for b = 0. From
        :class:`Iterative` at a finite time, where there is no equation to check, its estimate of that error and of the
        relative error of q, whichever is larger.
    condition : of :math:`S + \rho I`. The largest over the smallest eigenvalue, infinite where the smallest is
        unresolved; LAPACK's estimate in the 1-norm where a Cholesky factor was used; from :class:`Iterative` the upper
        bound :math:`(w_{\max} + \rho) / \rho` of the matrix that it solved with.
    unresolved : how many eigenvalues were too small for float64 and left out (``cutoff`` of :class:`Exact`).
    products : products with the kernel that :class:`Iterative` took, all outputs at once; ``None`` where a matrix was
        factorised.
    history : the largest relative residual of an output after every product of the last solve; ``None`` without one.
    """

    residual: float
    condition: float
    unresolved: int = 0
    products: int | None = None
    history: np.ndarray | None = field(default=None, repr=False, compare=False)


def relative_norm(error, reference):
    """``|error| / |reference|``; ``|error|`` where the reference vanishes."""
    size = float(np.linalg.norm(reference))
    return float(np.linalg.norm(error)) / size if size else float(np.linalg.norm(error))
