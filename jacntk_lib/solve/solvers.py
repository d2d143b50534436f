r"""The two ways to solve with a Jacobian Gram matrix of n = N(1+d) unknowns: objects whose fields are their options.

:class:`Exact` forms the dense matrix: :math:`n^2` numbers, :math:`n^3/3` operations for a Cholesky factor and some
:math:`10 n^3` for all eigenvectors, which then serve every time and every target. :class:`Iterative` needs products
with the structured form alone, :math:`O(N^2 d)` operations each and :math:`O(N^2)` memory, anew for every time and
target.
"""

from dataclasses import dataclass

import numpy as np

from .._validation import as_array, integer, non_negative_number, positive_number, require_moderate
from ..kernels import MEMORY, JacobianGram
from .conjugate_gradients import solve_shifted
from .preconditioner import Preconditioner


@dataclass(frozen=True)
class Exact:
    """Dense matrices.

    Parameters
    ----------
    cutoff : eigenvalues at or below ``cutoff`` times the largest are unresolved. ``None`` is ``max(n, 100)`` times
        2.2e-16, about where float64 cannot tell them from zero.

    Raises
    ------
    ValueError : a negative cutoff.
    """

    cutoff: float | None = None

    def __post_init__(self):
        if self.cutoff is not None:
            non_negative_number(self.cutoff, "cutoff")


@dataclass(frozen=True)
class Iterative:
    """Products with the kernel alone: preconditioned block conjugate gradients, and rational Krylov spaces for times.

    Parameters
    ----------
    tolerance : relative residual, of every output, at which it stops. Predictions are off by about as much, relative to
        their size, so that the default has six digits of them. Regression on data with noise loses nothing at 1e-4;
        comparisons with theory may want 1e-9, at half as many products again.
    max_iterations : products in one solve at most, all outputs at once. A solve whose rate of late says that these will
        not do by far is given up after a quarter of them.
    preconditioned : ``False`` is plain conjugate gradients, to see what the preconditioner is worth.
    exact_rows : how many rows, smooth combinations of the N values and N d derivatives, the preconditioner is exact on.
        More mean fewer products and a larger matrix, 8 bytes for each of its entries. ``None`` is so many that they
        take about the time of ten products and fit in ``memory``.
    memory : bytes that the kernel scalars among the training points may take, as in :func:`jacntk_lib.jacobian_ntk`
        (every product recomputes those that do not fit), and bytes that the preconditioner's exact part may take. Two
        or three matrices of N rows and min(N, 3000) columns, at most 6000 where these leave too much, come on top.
    verbose : whether a solve that takes longer than ten seconds says on stderr how far it is, and when it expects to
        end; ``None`` where that is a terminal.

    Raises
    ------
    TypeError, ValueError : options that are not positive numbers.

    Examples
    --------
    >>> from jacntk_lib import MLP, jacobian_ntk
    >>> x, report = Iterative(tolerance=1e-6).solve(jacobian_ntk(MLP(depth=2), np.eye(2)), np.ones(6), ridge=0.1)
    >>> x.shape, report.residual <= 1e-6
    ((6,), True)
    """

    tolerance: float = 1e-6
    max_iterations: int = 2000
    preconditioned: bool = True
    exact_rows: int | None = None
    memory: int = MEMORY
    verbose: bool | None = None

    def __post_init__(self):
        positive_number(self.tolerance, "tolerance")
        integer(self.max_iterations, "max_iterations", at_least=1)
        integer(self.memory, "memory", at_least=1)
        if self.exact_rows is not None:
            integer(self.exact_rows, "exact_rows", at_least=1)

    def solve(self, gram, b, *, ridge):
        r"""``(x, report)`` with :math:`(G + \rho I) x = b`; nothing dense of size n is formed.

        The columns of b share one Krylov space. The preconditioner is exact on ``exact_rows`` smooth combinations of
        rows and diagonal on the others, see ``jacntk_lib.solve.preconditioner``.

        Parameters
        ----------
        gram : symmetric, N points in R^d; ``G.scaled(lam)`` is the matrix of robust training. It keeps the scalars
            that it was made with: ``memory`` here is for the preconditioner alone.
        b : right-hand side, shape (N(1+d),) or (N(1+d), K).
        ridge : rho >= 0, in units of G; convergence without any is seldom.

        Raises
        ------
        TypeError, ValueError : ``gram`` is not a symmetric JacobianGram; b has a wrong shape or is not finite; a
            negative ridge.
        ConvergenceError : the tolerance was not reached; names the residual, the rate and the condition number.
        """
        require_symmetric(gram)
        n = gram.shape[0]
        ridge = non_negative_number(ridge, "ridge")
        b = as_array(b, "b", (n,) if np.ndim(b) == 1 else (n, *np.shape(b)[1:2]))
        require_moderate(b, "b")
        precondition = np.copy
        if self.preconditioned:
            outputs = 1 if b.ndim == 1 else b.shape[1]
            precondition = Preconditioner(gram, gram.row_factors, self, ridge, outputs).at(ridge)
        x, report = solve_shifted(
            gram.__matmul__,
            b.reshape(n, -1),
            ridge,
            precondition,
            options=self,
            largest=float(gram.diagonal().sum()),  # the trace bounds the largest eigenvalue
        )
        return x.reshape(b.shape), report


def solver_named(solver):
    """``solver`` itself, or what a name stands for: "exact", "iterative", and ``None`` for "auto"."""
    if isinstance(solver, Exact | Iterative):
        return solver
    if isinstance(solver, str) and solver in ("auto", "exact", "iterative"):
        return {"auto": None, "exact": Exact(), "iterative": Iterative()}[solver]
    raise ValueError(
        f"solver must be 'auto', 'exact', 'iterative', or an Exact or Iterative of jacntk_lib.solve, got {solver!r}"
    )


def require_symmetric(gram):
    """Refuse whatever is not a symmetric :class:`~jacntk_lib.JacobianGram`."""
    if not isinstance(gram, JacobianGram) or not gram.symmetric:
        got = gram if isinstance(gram, JacobianGram) else type(gram).__name__
        raise TypeError(f"a symmetric JacobianGram is needed, made with X2=None; got {got}")
