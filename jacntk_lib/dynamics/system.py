"""The linear system behind a :class:`~jacntk_lib.RobustFlow`: the points, their spectrum, and G itself."""

import math
from functools import cached_property

import numpy as np
import scipy.linalg

from ..errors import ConvergenceError, SingularGramError, warn
from ..kernels import jacobian_ntk
from ..kernels.scalars import slices, value_products
from ..solve import Exact, Iterative, Report, relative_norm
from ..spectrum import positivity
from .dense import WeightedCholesky, WeightedSpectrum
from .rational_krylov import KrylovSolver
from .schedules import Limit
from .ties import Distinct
from .weighted import WeightedGram

_PAIRS_AT_ONCE = 1 << 20  # pairs of points per batch of a prediction: 64 MiB of kernel scalars
EXACT_UP_TO = 8192  # unknowns that solver="auto" solves by dense matrices: 0.5 GB each, minutes for all eigenvectors
_POORLY_SOLVED = 1e-6  # relative residual above which an infinite-time answer comes with a warning
_NOT_SOLVED = 1e-2  # relative residual above which a system with ridge, which has a solution, counts as not solved
_WHAT_GROWS = "lam, depth, sigma_w, sigma_b, input_scale or the length of the inputs"


class LinearSystem:
    r"""Theta on the training points, tied points merged, with weights Lam; it applies
    :math:`G = \Lambda^{1/2} V\, \mathrm{diag}(\tau)\, V^\top \Lambda^{1/2}` and products with Theta_{*X}.

    mlp, X (N, d), weights (N, 1+d) and ridge are validated by the caller; a weight of 0 says that nothing was observed
    in that row. Targets and starts are (N, 1+d, K) with N rows of
    points as the caller gave them; coefficients are (P, 1+d, C), on the P distinct points ``U``.

    ``solver`` is an Exact, an Iterative, or ``None`` for Exact up to EXACT_UP_TO unknowns and Iterative beyond.
    """

    def __init__(self, mlp, X, weights, ridge, solver):
        self.mlp, self.X, self.weights, self.ridge = mlp, X, weights, ridge
        self.distinct = Distinct.among(mlp, X)
        self.U = X[self.distinct.first]
        self.solver = solver
        unknowns = self._weighted.unknowns  # the kernel is made here, so that what is wrong with it is said here
        self.solver = solver or (Exact() if unknowns <= EXACT_UP_TO else Iterative())
        self._cross = None  # the kernel to the last new points
        self._projected = None  # the last right-hand side and its coordinates in the eigenvectors

    def __getstate__(self):
        """What is pickled: not the kernel, nor what was factorised; both are made again when they are needed."""
        made = [name for name, value in vars(type(self)).items() if isinstance(value, cached_property)]
        kept = {name: value for name, value in vars(self).items() if name not in made}
        return kept | {"_cross": None, "_projected": None}

    @cached_property
    def gram(self):
        """Theta among the distinct points."""
        if not isinstance(self.solver, Iterative):
            return jacobian_ntk(self.mlp, self.U)
        return jacobian_ntk(self.mlp, self.U, memory=self.solver.memory)

    @cached_property
    def _weighted(self):
        return WeightedGram(self.gram, self.distinct.sum(self.weights))

    @cached_property
    def _krylov(self):
        """The solver by products, or ``None``."""
        iterates = isinstance(self.solver, Iterative)
        return KrylovSolver(self._weighted, self.ridge, self.solver) if iterates else None

    @cached_property
    def spectrum(self):
        """The eigendecomposition, made when it is first needed and then kept.

        Raises
        ------
        ValueError : the solver is iterative.
        """
        self.require_dense("eigenvalues")
        return WeightedSpectrum(self._weighted, self.solver.cutoff)

    def require_dense(self, what):
        """Refuse what takes dense matrices where the solver is iterative."""
        if self._krylov is not None:
            n = self._weighted.unknowns
            raise ValueError(
                f"this needs {what} from dense matrices of {n} unknowns ({8e-9 * n * n:.2g} GB each), which "
                f"solver='iterative', the choice of 'auto' above {EXACT_UP_TO}, does not form; pass solver='exact'"
            )

    @property
    def largest(self):
        """The largest eigenvalue of S."""
        return self.spectrum.largest if self._krylov is None else self._krylov.largest

    @cached_property
    def _cholesky(self):
        """A Cholesky factor for infinite time with ridge; ``None`` where rounding leaves none."""
        try:
            return WeightedCholesky(self._weighted, self.ridge)
        except scipy.linalg.LinAlgError:
            return None

    def _solves_by_cholesky(self, schedule):
        return isinstance(schedule, Limit) and self.ridge > 0 and self._cholesky is not None

    @property
    def rate(self):
        """What multiplies t: kappa^2 / N."""
        return self.mlp.kappa**2 / len(self.X)

    @property
    def eigenvalues(self):
        return self.spectrum.eigenvalues + self.ridge

    @property
    def horizon(self):
        floor = self.spectrum.floor
        return 1.0 / (self.rate * floor) if floor > 0 and (self.eigenvalues <= floor).any() else math.inf

    def tau(self, schedule):
        """The schedule's factor as a function of the eigenvalues of S."""
        return lambda w: schedule(w + self.ridge, self.spectrum.floor)

    def apply(self, schedule, R):
        """G R for R on the distinct points, (P, 1+d, K) -> (P, 1+d, K)."""
        if self._krylov is not None:
            return self._krylov.apply(schedule, R)[0]
        if self._solves_by_cholesky(schedule):
            return self._cholesky.apply(R)
        return self.spectrum.apply(self.tau(schedule), R)

    def coefficients(self, schedule, R):
        """G R for R = y* - u_0 (N, 1+d, K): coefficients with ``v = v_0 + Theta_*U coefficients``, and a report."""
        with np.errstate(over="ignore", invalid="ignore"):  # looked for in what comes out
            coefficients, report = self._coefficients(schedule, R)
        self._require_finite(coefficients, "the solution")
        return coefficients, report

    def _coefficients(self, schedule, R):
        limit = isinstance(schedule, Limit)
        if limit and self.ridge == 0:
            self._check_ties(R)
        R = self.distinct.mean(R, self.weights)
        if self._krylov is not None:
            return self._krylov.apply(schedule, R)
        if self._solves_by_cholesky(schedule):
            coefficients = self._cholesky.apply(R)
            report = self._report(coefficients, R, self._cholesky.condition, 0)
            self._judge(report)
            return coefficients, report
        coordinates = self._project(R)
        coefficients = self.spectrum.weigh(self.tau(schedule), coordinates)
        if not limit:
            if schedule.elapsed * self.spectrum.floor > 1:
                self._warn_of_horizon(schedule, coordinates)
            return coefficients, None
        unresolved = int((self.eigenvalues <= self.spectrum.floor).sum())
        report = self._report(coefficients, R, self.spectrum.condition(self.ridge), unresolved)
        self._judge(report)
        return coefficients, report

    def _project(self, R):
        """Coordinates of Lam^{1/2} R in the eigenvectors; the last are kept, because the next time needs them again."""
        last = self._projected  # which another thread may replace
        if last is None or not np.array_equal(last[0], R):
            self._projected = last = R, self.spectrum.project(R)
        return last[1]

    def evaluate(self, X_new, coefficients):
        """``Theta_*U c`` as (M, 1+d, C) for c (P, 1+d, C), in batches of new points and nothing dense.

        ``X_new=None`` stands for the training points.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # looked for in what comes out
            rows = self._evaluate(X_new, coefficients)
        self._require_finite(rows, "the prediction")
        return rows

    def _evaluate(self, X_new, coefficients):
        P, d1, C = coefficients.shape
        flat = coefficients.reshape(P * d1, C)
        if X_new is None:
            return self.distinct.spread((self.gram @ flat).reshape(P, d1, C))
        batch = max(1, _PAIRS_AT_ONCE // P)
        if len(X_new) <= batch:
            return (self._kernel_to(X_new) @ flat).reshape(-1, d1, C)
        out = np.empty((len(X_new), d1, C))
        for rows in slices(len(X_new), batch):
            out[rows] = (jacobian_ntk(self.mlp, X_new[rows], self.U) @ flat).reshape(-1, d1, C)
        return out

    def values(self, X_new, coefficients):
        """The value rows of :meth:`evaluate`, (M, C), without the derivatives and for less."""
        U, scale = self.U, self.mlp.column_scales(self.X.shape[1])
        if scale is not None:
            X_new, U, coefficients = X_new * scale, U * scale, np.insert(scale, 0, 1.0)[:, None] * coefficients
        with np.errstate(over="ignore", invalid="ignore"):  # looked for in what comes out
            values = value_products(self.mlp, X_new, U, coefficients[:, 0], coefficients[:, 1:], tangent=True)
        self._require_finite(values, "the prediction")
        return values

    def _kernel_to(self, X_new):
        """The kernel between new points and training points; kept, because the next time is often asked at them too."""
        last = self._cross  # which another thread may replace
        if last is None or not np.array_equal(last.X, X_new):
            self._cross = last = jacobian_ntk(self.mlp, X_new, self.U)
        return last

    # ---------------------------------------------------------------- what can be wrong

    def _check_ties(self, R):
        found = self.distinct.conflict(R, self.weights)
        if found is not None:
            i, j, a = found
            what = f"derivatives by input {a - 1}" if a else "values"
            relation = "equal" if self.distinct.sign[i] == self.distinct.sign[j] else "antipodes (x and -x)"
            raise SingularGramError(
                f"training points {i} and {j} are {relation}, which ties the network there, but their targets "
                f"(less the start) contradict each other: {what} {R[i, a]} and {R[j, a]}. At infinite time without "
                "ridge no network meets both; use a finite time, a positive ridge, or consistent targets"
            )
        silent = self._weighted.silent & (np.abs(self.distinct.mean(R, self.weights)).max(axis=2) > 0)
        if silent.any():
            p, a = np.argwhere(silent)[0]
            i = int(self.distinct.first[p])
            raise SingularGramError(
                f"row {a} (0 the value, then derivatives) of training point {i} = {self.X[i]} is zero for every "
                f"network of this kind, but its target (less the start) is {R[i, a]}; add a bias (sigma_b > 0), move "
                "or drop the point, or use a finite time or a positive ridge"
            )
        pair = self.distinct.tied_pair()
        if pair is not None:
            i, j = pair
            relation = (
                "equal"
                if self.distinct.sign[j] > 0
                else f"antipodes of an {'even' if self.distinct.even else 'odd'} network"
            )
            warn(
                f"training points {i} and {j} are {relation}: the Gram matrix is singular; their targets agree, and "
                "the minimum-norm solution is returned",
            )

    def _require_finite(self, rows, what):
        if not np.isfinite(rows).all():
            raise ConvergenceError(
                f"{what} leaves the range of float64: the kernel is too large or too small beside the targets and a "
                f"ridge of {self.ridge:.1e}; reduce {_WHAT_GROWS}, or take a larger ridge"
            )

    def _report(self, coefficients, R, condition, unresolved):
        root = np.where(self._weighted.silent, 0.0, np.sqrt(self.distinct.sum(self.weights)))[:, :, None]
        self._require_finite(coefficients, "the solution")
        fitted = (self.gram @ coefficients.reshape(-1, R.shape[2])).reshape(R.shape)
        q = np.divide(coefficients, root, out=np.zeros_like(R), where=root > 0)
        residual = relative_norm(root * (fitted - R) + self.ridge * q, root * R)
        return Report(residual, condition, unresolved)

    def _judge(self, report):
        """Warn of an inaccurate solution at infinite time; with ridge, where there is one, refuse a wrong one."""
        if report.residual <= _POORLY_SOLVED:
            return
        missed = (
            f"the infinite-time answer misses its targets by {report.residual:.1e} (relative): condition number "
            f"{report.condition:.1e}"
        )
        if report.unresolved:
            missed += (
                f", {report.unresolved} of {len(self.eigenvalues)} eigenvalues left out as below "
                f"{self.spectrum.cutoff:.1e} of the largest{self._why_singular()}"
            )
        if self.ridge == 0 and not math.isnan(report.residual):
            warn(f"{missed}; a finite time or a positive ridge is better determined", scipy.linalg.LinAlgWarning)
            return
        missed += (
            f"; beside a kernel of that size float64 does not see a ridge of {self.ridge:.1e}: take one of 1e-12 times "
            f"the largest eigenvalue or more, or reduce {_WHAT_GROWS}"
        )
        if not report.residual <= _NOT_SOLVED:
            raise ConvergenceError(missed)
        warn(missed, scipy.linalg.LinAlgWarning)

    def _why_singular(self):
        """In words, where the kernel is singular and not merely ill-conditioned; a polynomial phi takes too long."""
        if ... not in self.mlp.phi.even_part + self.mlp.phi.odd_part:
            return " (phi is a polynomial: spectrum.positivity says which relations all networks satisfy)"
        found = positivity(self.mlp, self.U)
        return f" (the kernel is singular: {found.reason})" if found.nullity else ""

    def _warn_of_horizon(self, schedule, coordinates):
        share = self.spectrum.unresolved_share(coordinates, self.ridge)
        if share > _POORLY_SOLVED:
            warn(
                f"time {schedule.elapsed / self.rate:.1e} is beyond {self.horizon:.1e}, from which directions that "
                f"float64 cannot resolve would train; they hold {share:.1e} of the targets and stand still then",
                scipy.linalg.LinAlgWarning,
            )
