r"""G = D^{1/2} tau(S) D^{1/2} without a matrix S: what ``dense`` does by eigenvectors, by products alone.

*Infinite time with ridge* is one solve with S + rho I (:meth:`jacntk_lib.solve.Iterative.solve`).

*A finite time* t, s = t kappa^2 / N, is a function of S that no polynomial of small degree comes near once
s w_max is large; a rational one does. With :math:`Z = (I + \gamma (S + \rho I))^{-1}`, gamma = s/10, the Krylov space
of Z and b holds an approximation of :math:`\tau(S + \rho I) b` whose error falls geometrically at a rate that does
not depend on S at all (van den Eshof and Hochbruck 2006): a dozen or two solves with S + (rho + 1/gamma) I, whatever
the condition. The basis is orthogonalised in full; it is short.

*A time or steps so short* that tau is the elapsed time to rounding take no solve.

*Steps* of gradient descent up to ``STEPS_ONE_BY_ONE`` are taken one by one, an exact recursion; more are treated like
time.

Errors are relative: the residual of the solve at infinite time; 0 for an exact recursion, and for nothing to do; else,
estimated by how far apart the last approximations are and how fast that falls, the larger of
:math:`|(S + \rho I)(q - q^*)| / |b|`, how wrong the training outputs are, and :math:`|q - q^*| / |q|`. The first alone
is blind to directions that have trained fully, which matter at new points.
"""

import math
from functools import cached_property

import numpy as np
import scipy.linalg
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from ..errors import ConvergenceError
from ..solve import EPS, Report
from ..solve.conjugate_gradients import solve_shifted
from .dense import default_cutoff
from .schedules import GradientDescent, Limit

STEPS_ONE_BY_ONE = 256
_SLOWEST = 0.95  # rate of convergence that the estimate of the error reckons with
_MAX_BASIS = 60  # solves for one finite time
_POLES_PER_TIME = 10  # elapsed time over gamma


class KrylovSolver:
    """Functions of S by products with the kernel.

    Parameters
    ----------
    weighted : the :class:`~jacntk_lib.dynamics.weighted.WeightedGram`.
    ridge : rho >= 0.
    options : the :class:`~jacntk_lib.solve.Iterative`.
    """

    def __init__(self, weighted, ridge, options):
        self._weighted, self._ridge, self._options = weighted, ridge, options
        self._factor = None  # the last ridge and the preconditioner for it
        self._preconditioner = None  # for every ridge, made when the first right-hand side is known

    @cached_property
    def largest(self):
        """The largest eigenvalue of S, by Lanczos to ten digits (from below).

        Raises
        ------
        ConvergenceError : Lanczos did not get there.
        """
        n = self._weighted.unknowns
        if n < 3:
            inside = float(np.linalg.eigvalsh(self._weighted.multiply(np.eye(n))).max(initial=0.0))
            return max(inside, float(self._outside[0].max(initial=0.0)))
        start = np.random.default_rng(0).standard_normal(n)
        operator = LinearOperator((n, n), lambda v: self._weighted.multiply(v.reshape(n, 1))[:, 0], dtype=np.float64)
        try:
            inside = float(eigsh(operator, k=1, which="LA", v0=start, tol=1e-10, return_eigenvectors=False)[0])
        except ArpackNoConvergence as error:
            raise ConvergenceError(
                f"the largest eigenvalue of S, {n} unknowns, which step sizes and condition numbers are measured by, "
                f"was not found to ten digits by Lanczos ({error}); take solver='exact'"
            ) from error
        return max(inside, float(self._outside[0].max(initial=0.0)))

    def condition(self, ridge):
        """``(w_max + ridge) / ridge``, a bound on the condition number of S + ridge I."""
        return (self.largest + ridge) / ridge if ridge > 0 else math.inf

    def apply(self, schedule, R):
        """``D^{1/2} tau(S) D^{1/2} R`` for R (P, 1+d, K), and the :class:`~jacntk_lib.solve.Report`.

        Raises
        ------
        ConvergenceError : the tolerance was not reached; nothing less accurate is returned.
        """
        inside, outside = self._weighted.gather(R)
        inside, report = self._function(schedule, inside)
        if outside is not None:
            w, V = self._outside
            floor = default_cutoff(len(w)) * max(self.largest, w.max(initial=0.0))
            coordinates = np.tensordot(V, outside, axes=(0, 0))
            w = np.maximum(w, 0.0) + self._ridge
            left, whole = np.linalg.norm(coordinates[w <= floor]), np.linalg.norm(coordinates)
            if schedule.elapsed * floor > 1 and left > self._options.tolerance * whole:
                raise ConvergenceError(
                    f"{left / whole:.1e} of the Jacobian targets orthogonal to the span of the points lie in "
                    f"directions that float64 does not resolve with a ridge of {self._ridge:.1e}; take a larger ridge "
                    "or a shorter time"
                )
            factors = schedule(w, floor)
            outside = np.tensordot(V, factors[:, None, None] * coordinates, axes=1)
        return self._weighted.scatter(inside, outside), report

    @cached_property
    def _outside(self):
        """Eigenvalues and eigenvectors of one of the equal problems orthogonal to the span: N x N."""
        matrix = self._weighted.outside()
        return scipy.linalg.eigh(matrix) if matrix.size else (np.zeros(0), np.zeros((0, 0)))

    def _precondition(self, ridge, outputs):
        if not self._options.preconditioned:
            return np.copy
        if self._preconditioner is None:
            self._preconditioner = self._weighted.preconditioner(self._options, self._ridge, outputs)
        return self._preconditioner(ridge)

    def _function(self, schedule, b):
        if isinstance(schedule, Limit):
            return self._solve(self._ridge, b)
        if schedule.elapsed == 0 or not b.any():
            return np.zeros_like(b), Report(0.0, self.condition(self._ridge), products=0)
        if schedule.elapsed * (self.largest + self._ridge) <= EPS:  # tau = elapsed (1 - elapsed w / 2 + ...)
            return schedule.elapsed * b, Report(0.0, self.condition(self._ridge), products=0)
        if isinstance(schedule, GradientDescent) and schedule.steps <= STEPS_ONE_BY_ONE:
            return self._steps(schedule, b)
        return self._rational(schedule, b)

    def _solve(self, ridge, b, aim=1.0):
        """(S + ridge I)^{-1} b and the report, see :func:`jacntk_lib.solve.conjugate_gradients.solve_shifted`."""
        if self._factor is None or self._factor[0] != ridge:
            self._factor = None  # the one before is overwritten, also where this is interrupted
            self._factor = ridge, self._precondition(ridge, b.shape[1])
        return solve_shifted(
            self._weighted.multiply,
            b,
            ridge,
            self._factor[1],
            options=self._options,
            largest=self.largest,
            aim=aim,
        )

    def _steps(self, schedule, b):
        schedule(np.array([self.largest + self._ridge]), 0.0)  # refuses what would grow beyond float64
        q = np.zeros_like(b)
        for _ in range(schedule.steps):
            q += schedule.size * (b - self._weighted.multiply(q) - self._ridge * q)
        return q, Report(0.0, self.condition(self._ridge), products=schedule.steps)

    def _rational(self, schedule, b):
        gamma = schedule.elapsed / _POLES_PER_TIME
        sizes = np.linalg.norm(b, axis=0)
        active = np.flatnonzero(sizes)
        K, steps = len(active), min(_MAX_BASIS, len(b))
        basis, q = [b[:, active] / sizes[active]], np.zeros((len(b), K))
        T = np.zeros((K, steps + 1, steps + 1))
        change, products, solved = 1.0, 0, 0.0
        for m in range(1, steps + 1):
            image, report = self._solve(self._ridge + 1.0 / gamma, basis[-1], aim=0.01)
            products, solved = products + report.products + 1, max(solved, report.residual)
            reach = np.linalg.norm(image, axis=0)
            for _ in range(2):  # twice is enough for orthogonality to rounding
                for j, v in enumerate(basis):
                    overlap = np.einsum("nk,nk->k", v, image)
                    T[:, j, m - 1] += overlap
                    image -= overlap * v
            coordinates = _function_of_inverse(schedule, T[:, :m, :m], gamma, self._ridge)
            last, q = q, sum(c * v for c, v in zip(coordinates.T, basis, strict=True))
            step = q - last
            outputs = np.linalg.norm(self._weighted.multiply(step) + self._ridge * step, axis=0)
            inputs = np.linalg.norm(step, axis=0) / np.linalg.norm(q, axis=0)
            before, change = change, float(max(outputs.max(), inputs.max()))
            rate = min(change / before, _SLOWEST) if before else 0.0
            error = max(change * max(1.0, rate / (1.0 - rate)), 0.5 * before)
            norms = np.linalg.norm(image, axis=0)
            norms[norms < 1e-14 * reach] = 0.0  # the space of that output holds everything there is
            whole = m == len(b) or not norms.any()
            if whole or error <= self._options.tolerance:
                break
            T[:, m, m - 1] = norms
            basis.append(np.divide(image, norms, out=np.zeros_like(image), where=norms > 0))
        else:
            raise ConvergenceError(
                f"the network at elapsed time {schedule.elapsed:.1e} (t kappa^2 / N) was not reached to relative "
                f"residual {self._options.tolerance:.0e} in {steps} solves: the last two approximations differ by "
                f"{error:.1e} (condition number up to {report.condition:.1e}); take a larger tolerance or "
                "solver='exact'"
            )
        out = np.zeros_like(b)
        out[:, active] = sizes[active] * q
        return out, Report(solved if whole else max(error, solved), report.condition, products=products)


def _function_of_inverse(schedule, T, gamma, ridge):
    """tau(w) of the matrices that T (K, m, m) is gamma Z of, times the first unit vector: (K, m)."""
    theta, Y = np.linalg.eigh((T + T.transpose(0, 2, 1)) / 2)
    theta = np.maximum(theta, 1e-18 * theta.max(axis=1, keepdims=True))  # 1 / (w + 1/gamma), which is positive
    w = np.maximum(1.0 / theta - 1.0 / gamma, ridge)
    tau = schedule(w.ravel(), 0.0).reshape(w.shape)
    return np.einsum("kij,kj->ki", Y, tau * Y[:, 0])
