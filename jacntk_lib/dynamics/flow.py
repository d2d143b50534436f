r"""Robust training of an infinitely wide network: a linear ODE, solved for every time at once.

Robust training minimises, from a network f_0 drawn at random,

.. math:: \frac1N \sum_i \Bigl[\tfrac12 (f(x_i) - y_i)^2 + \tfrac{\lambda}{2} |Jf(x_i) - T_i|^2\Bigr],

with T = 0 unless Jacobian targets are given.
At every width the stacked values and Jacobians, u on the N training points and v at new points, change by the network's
own Jacobian NTK times the weighted residual (Kim and Yang 2024, Lemma 4.2). In the limit of infinite width that kernel
stays kappa^2 Theta (Theorem 4.5), so that, with :math:`\Lambda = \mathrm{diag}(1, \lambda, \ldots)`,

.. math:: \dot u &= -\frac{\kappa^2}{N}\, \Theta_{XX} \Lambda (u - y^*), \\
          \dot v &= -\frac{\kappa^2}{N}\, \Theta_{*X} \Lambda (u - y^*).

With :math:`S = \Lambda^{1/2} \Theta_{XX} \Lambda^{1/2} = V\, \mathrm{diag}(w)\, V^\top` and a factor tau(w) that
depends on the schedule (flow, steps, infinite time) alone,

.. math:: v &= v_0 - \Theta_{*X} G (u_0 - y^*), \\ G &= \Lambda^{1/2} V\, \mathrm{diag}(\tau)\, V^\top \Lambda^{1/2}.

Neither S nor Lambda is ever inverted, so lambda = 0 and a singular S are ordinary cases. A ridge rho replaces S by
S + rho I: exactly the flow of the loss plus :math:`\frac{\rho\kappa^2}{2N}` times the squared distance of the
parameters from their start.
"""

import math
import numbers

import numpy as np

from .._validation import (
    as_array,
    as_points,
    columns_of,
    integer,
    non_negative_number,
    positive_number,
    require_moderate,
    row_weights,
)
from ..architecture import handles
from ..errors import warn
from ..kernels import jacobian_nngp, jacobian_ntk
from ..kernels.scalars import slices
from ..solve import EPS, semidefinite_factor, solver_named
from .features import FeatureFunctions, unpack
from .initial import initial_rows
from .outcomes import Ensemble, Prediction
from .schedules import GradientDescent, GradientFlow, Limit
from .system import LinearSystem

_ENTRIES_AT_ONCE = 1 << 23  # of a dense kernel slab in value_std: 64 MiB
_UNDERFLOW = np.errstate(under="ignore")  # at a time of 1e-300 it is meant, also where the caller's np.seterr raises


class RobustFlow:
    r"""Robust training of the infinitely wide network ``mlp`` on (X, y), at any time, without training anything.

    One eigendecomposition, made when first needed, serves every time, step size and start (infinite time with ridge
    does without, by Cholesky; and above some size so does everything, see ``solver``). Before it, points that are
    exactly tied (duplicates; antipodes for an odd or even activation without bias) are merged, and the span of X is
    taken out.

    Parameters
    ----------
    mlp : the network; its kappa sets the time scale (only kappa^2 t enters) and the spread of initialisations.
    X : training points, (N, d).
    y : label targets, (N,) or (N, K). Outputs are independent of each other. NaN where only derivatives
        were observed, for all outputs alike: the value's square is left out of the loss (N stays the number of points).
    lam : lambda >= 0, weight of the squared Jacobian; a number, or one per point (N,), per column (1, d) or per
        derivative (N, d), 0 where a derivative was not observed. 0 everywhere is the ordinary NTK at every time. At
        infinite time every lambda > 0 gives one and the same answer (where Theta is regular and there is no ridge), and
        that is another one: the limits lambda -> 0 and t -> infinity do not commute.
    jacobian_targets : (N, d) or (N, K, d); ``None`` is zero. Others are Sobolev training, NaN where a derivative was
        not observed, for all outputs alike: its lambda is then 0.
    ridge : rho >= 0, absolute, in units of Theta (see :mod:`jacntk_lib.dynamics.flow`).
    solver : a :class:`~jacntk_lib.solve.Exact`, which factorises dense matrices; an
        :class:`~jacntk_lib.solve.Iterative`, which uses products with the kernel alone, in O(N^2 + N d) memory, and
        raises ConvergenceError rather than return what it did not reach: it offers no eigenvalues and no ensemble
        covariance. "exact" and "iterative" stand for their defaults, "auto" for Exact up to 8192 unknowns (N(1+d),
        after the reductions above) and Iterative beyond. With Exact, unresolved eigenvalues (its ``cutoff``) are left
        out at infinite time, and stand still from ``horizon`` on.

    Attributes
    ----------
    mlp, X, y, ridge : as given.
    lam : one per point, (N,), or where columns differ one per derivative, (N, d); 0 where none was observed.
    solver : the Exact or Iterative in use.
    cutoff : eigenvalues at or below ``cutoff`` times the largest are unresolved; as given to Exact, or its default.
    eigenvalues : (p,), descending: w + ridge on the distinct points, on the rows that carry weight.
    max_learning_rate : gradient descent is stable below 2N / (kappa^2 max eigenvalue).
    horizon : the time N / (kappa^2 floor) from which unresolved directions matter; ``inf`` where there are none.

    Raises
    ------
    TypeError, ValueError : wrong types, shapes, non-finite entries, negative lambda or ridge; an unknown solver; in a
        table of new points, other names of columns than in X. Warns of Jacobian targets without weight (lam = 0).

    Examples
    --------
    >>> from jacntk_lib import MLP
    >>> X = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, -0.8]])
    >>> flow = RobustFlow(MLP(depth=2), X, np.array([1.0, -1.0, 0.5]), lam=0.1)
    >>> value, jacobian = flow.at(math.inf)
    >>> bool(np.allclose(value, flow.y)), bool(np.abs(jacobian).max() < 1e-9)
    (True, True)
    >>> early = flow.at(t=50.0, X_new=np.array([[0.8, 0.6]]))
    >>> early.value.shape, early.jacobian.shape
    ((1,), (1, 2))
    """

    def __init__(self, mlp, X, y, lam=0.01, jacobian_targets=None, ridge=0.0, *, solver="auto"):
        handles(mlp, "RobustFlow")
        self.mlp = mlp
        self._columns, self.X = columns_of(X), as_points(X, "X")
        N, d = self.X.shape
        shape = (N,) if np.ndim(y) == 1 else (N, *np.shape(y)[1:2])
        self.y = as_array(y, "y", shape, missing=jacobian_targets is not None)
        if 0 in self.y.shape:
            raise ValueError(f"y has shape {self.y.shape}: at least one output is needed")
        self._outputs = self.y.shape[1:]  # () or (K,)
        K = self.y.size // N
        targets = np.zeros((N, 1 + d, K))
        targets[:, 0] = self.y.reshape(N, K)
        if jacobian_targets is not None:
            jacobian_targets = as_array(jacobian_targets, "jacobian_targets", (N, *self._outputs, d), missing=True)
            targets[:, 1:] = np.moveaxis(jacobian_targets.reshape(N, K, d), 1, 2)
        weights = row_weights(lam, targets)
        self.lam = weights[:, 1] if (weights[:, 1:] == weights[:, 1:2]).all() else weights[:, 1:]
        if jacobian_targets is not None and not self.lam.any():
            warn("jacobian_targets have no weight, because lam is 0: they are ignored; give a lam above 0")
        self._targets = np.nan_to_num(targets)
        require_moderate(self._targets[:, 0], "y")
        require_moderate(self._targets[:, 1:], "jacobian_targets")
        self.ridge = non_negative_number(ridge, "ridge")
        self._system = LinearSystem(mlp, self.X, weights, self.ridge, solver_named(solver))
        self.solver = self._system.solver
        self._last = None  # the last schedule from the zero function, its coefficients and report

    # ---------------------------------------------------------------- what the spectrum says

    @property
    def eigenvalues(self):
        return self._system.eigenvalues

    @property
    def cutoff(self):
        return self._system.spectrum.cutoff

    @property
    def max_learning_rate(self):
        largest = self._system.largest + self.ridge
        return 2.0 / (self._system.rate * largest) if largest > 0 else math.inf

    @property
    def horizon(self):
        return self._system.horizon

    def half_life(self):
        r"""Time in which the residual along each eigendirection halves, :math:`N \ln 2 / (\kappa^2 w_i)`.

        (p,), in the order of ``eigenvalues``, so ascending; ``inf`` for unresolved directions.
        """
        w, floor = self.eigenvalues, self._system.spectrum.floor
        return np.divide(math.log(2) / self._system.rate, w, np.full(w.shape, math.inf), where=w > floor)

    # ---------------------------------------------------------------- predictions

    @_UNDERFLOW
    def at(self, t, X_new=None, initial=None):
        r"""The network at time t of gradient flow.

        .. math:: \tau_i = (1 - e^{-t \kappa^2 w_i / N}) / w_i, \qquad 1/w_i \text{ at infinite time}

        Parameters
        ----------
        t : 0 <= t <= ``math.inf``, in units of learning rate times steps.
        X_new : (M, d); ``None`` for the training points.
        initial : the network at t = 0: a FiniteMLP, or a callable from (M, d) to (M, 1+d), value then derivatives,
            for K outputs to (M, K, 1+d). ``None`` is the zero function, the mean over initialisations.

        Returns
        -------
        Prediction, with a report at infinite time and from the iterative solver.

        Raises
        ------
        SingularGramError : infinite time without ridge, and tied points have targets that contradict each other.
        ConvergenceError : the iterative solver did not reach its tolerance, or float64 is too coarse for the ridge
            (relative residual above 1e-2); names residual and condition.
        TypeError, ValueError : bad t, points or start.

        Warns
        -----
        UserWarning : infinite time without ridge and some points are tied, with consistent targets: the answer is
            the minimum-norm one.
        scipy.linalg.LinAlgWarning : float64 does not determine the answer: relative residual above 1e-6 at infinite
            time, or a time beyond ``horizon`` with targets in unresolved directions.
        """
        return self._predict(self._flow(t), X_new, initial)

    @_UNDERFLOW
    def after(self, steps, learning_rate, X_new=None, initial=None, *, allow_unstable=False):
        r"""The network after full-batch gradient descent, :math:`\tau_i = (1 - (1 - \eta\kappa^2 w_i/N)^k)/w_i`.

        Parameters
        ----------
        steps : k >= 0.
        learning_rate : eta > 0.
        X_new, initial : as in :meth:`at`.
        allow_unstable : accept a learning rate at or above ``max_learning_rate``, where the answer grows.

        Returns
        -------
        Prediction.

        Raises
        ------
        ValueError : the learning rate is not below ``max_learning_rate``, or growth beyond float64; also as
            :meth:`at`.
        """
        return self._predict(self._descent(steps, learning_rate, allow_unstable), X_new, initial)

    @_UNDERFLOW
    def ensemble(self, t, X_new=None):
        r"""Mean and covariance over initialisations at time t of gradient flow, values and Jacobians jointly.

        .. math:: \operatorname{mean} &= A y^*, \quad A = \Theta_{*X} G, \\ \operatorname{cov} &= \kappa^2
                  \bigl[\Sigma_{**} - A \Sigma_{X*} - \Sigma_{*X} A^\top + A \Sigma_{XX} A^\top\bigr].

        The covariance is formed as F F^T with :math:`F = \kappa [I, -A] C` and C a Cholesky factor of the Jacobian NNGP
        kernel of all points, so it is positive semi-definite whatever the rounding.

        Parameters, errors and warnings as in :meth:`at`; returns an :class:`.Ensemble`. Memory (M+N)^2 (1+d)^2.
        """
        return self._ensemble(self._flow(t), X_new)

    @_UNDERFLOW
    def ensemble_after(self, steps, learning_rate, X_new=None, *, allow_unstable=False):
        """Mean and covariance over initialisations after gradient descent; see :meth:`after` and :meth:`ensemble`."""
        return self._ensemble(self._descent(steps, learning_rate, allow_unstable), X_new)

    @_UNDERFLOW
    def value_mean(self, t, X_new=None):
        """The mean over initialisations of the values at time t of gradient flow, (M,) or (M, K).

        ``at(t, X_new).value``, but no derivative is computed, which costs less; errors and warnings as there.
        """
        coefficients, _ = self._mean_coefficients(self._flow(t))
        values = self._system.values(self._points(X_new), coefficients)
        return values.reshape(len(values), *self._outputs)

    @_UNDERFLOW
    def value_std(self, t, X_new=None):
        """Standard deviation of the values over initialisations, (M,), in batches: no matrix of all new points.

        The diagonal of the value rows of :meth:`ensemble`'s covariance; same for all outputs. Errors and warnings as
        in :meth:`at`.
        """
        schedule, X, system = self._flow(t), self._points(X_new), self._system
        self._mean_coefficients(schedule)  # for its errors and warnings
        U, prior = system.U, jacobian_nngp(self.mlp, system.U)
        n = prior.shape[0]
        variance = np.empty(len(X))
        for rows in slices(len(X), max(1, _ENTRIES_AT_ONCE // n)):
            # transposed: one column per new point
            theta, cross = (
                np.ascontiguousarray(kernel(self.mlp, X[rows], U).value_rows().transpose(1, 2, 0))
                for kernel in (jacobian_ntk, jacobian_nngp)
            )
            A = system.apply(schedule, theta).reshape(n, -1)
            cross = cross.reshape(A.shape)
            own = jacobian_nngp(self.mlp, X[rows], memory=1).diagonal()[:: 1 + X.shape[1]]  # of no other pair
            variance[rows] = own + np.einsum("nm,nm->m", A, prior @ A - 2 * cross)
        return self.mlp.kappa * np.sqrt(np.maximum(variance, 0.0))

    @_UNDERFLOW
    def eigenfeatures(self, X_new=None, t=math.inf):
        r"""The prediction from the zero function, split by eigendirection (after Tsilivis and Kempe 2022).

        .. math:: F_i(x) = \tau_i\, [\Theta_{xX} \Lambda^{1/2} v_i]\, [v_i^\top \Lambda^{1/2} y^*],

        tau_i = 1/w_i at infinite time. They sum to ``at(t, X_new)``. Equal eigenvalues (closer than rounding, 16 eps
        times the largest) give one feature, because eigenvectors within an eigenspace are arbitrary.

        Parameters, errors and warnings as in :meth:`at`; returns :class:`~jacntk_lib.dynamics.Eigenfeatures`.
        """
        return self.feature_functions(t)(X_new if X_new is None else self._points(X_new))

    @_UNDERFLOW
    def kernel_norm(self, t=math.inf):
        r"""Norm of the prediction from the zero function in the kernel space of Theta, one per output: a float or (K,).

        .. math:: \|f\| &= \sqrt{c^\top \Theta_{XX}\, c}, \\ f &= \Theta_{\cdot X}\, c, \quad c = G y^*

        Errors and warnings as in :meth:`at`.
        """
        c, _ = self._mean_coefficients(self._flow(t))
        c = c.reshape(-1, c.shape[2])
        norm = np.sqrt(np.maximum(np.einsum("nk,nk->k", c, self._system.gram @ c), 0.0))
        return norm if self._outputs else float(norm[0])

    @_UNDERFLOW
    def feature_functions(self, t=math.inf):
        """The eigenfeatures as functions of the input, split once, for points that come and go: what attacks need.

        ``flow.feature_functions(t)(X)`` is ``flow.eigenfeatures(X, t)``; see :class:`FeatureFunctions
        <jacntk_lib.dynamics.FeatureFunctions>`. Errors and warnings as in :meth:`at`.
        """
        schedule, system = self._flow(t), self._system
        self._mean_coefficients(schedule)  # for its errors and warnings
        eigenvalues, summands = system.spectrum.split(
            system.tau(schedule),
            system.distinct.mean(self._targets, system.weights),
            gap=16 * EPS * system.spectrum.largest,
        )
        return FeatureFunctions(system, eigenvalues + self.ridge, summands, self._outputs)

    def integrate(self, t, X_new=None, initial=None, *, rtol=1e-10, atol=1e-12, max_steps=100_000):
        """The network at a finite time by stepping through the ODE itself with diffrax: a check on :meth:`at`.

        It shares nothing with the closed form but the kernel: dense matrices, no eigendecomposition, no merging. The
        method is explicit (Dormand-Prince 8), so the cost grows with t times the largest eigenvalue.

        Parameters as in :meth:`at`, and the tolerances of the step size controller; returns a :class:`.Prediction`.

        Raises
        ------
        ConvergenceError : ``max_steps`` were not enough; take a smaller time or a looser tolerance.
        """
        from .ode import integrate  # diffrax is imported here and nowhere else

        t = non_negative_number(t, "t")
        points = self._points(X_new)
        rows = integrate(
            theta=np.concatenate([jacobian_ntk(self.mlp, Z, self.X).dense() for Z in (self.X, points)]),
            start=np.concatenate([self._initial(initial, Z) for Z in (self.X, points)]),
            targets=self._targets,
            weights=self._system.weights,
            rate=self._system.rate,
            ridge=self.ridge,
            t=t,
            rtol=positive_number(rtol, "rtol"),
            atol=positive_number(atol, "atol"),
            max_steps=integer(max_steps, "max_steps", at_least=1),
        )
        return Prediction(*self._unpack(rows[len(self.X) :]))

    # ---------------------------------------------------------------- from the caller's shapes to the system's

    def _flow(self, t):
        if isinstance(t, numbers.Real) and t == math.inf:
            return Limit()
        return GradientFlow(non_negative_number(t, "t", moderate=False) * self._system.rate)

    def _descent(self, steps, learning_rate, allow_unstable):
        steps = integer(steps, "steps", at_least=0)
        learning_rate = positive_number(learning_rate, "learning_rate")
        if not allow_unstable and learning_rate >= self.max_learning_rate:
            raise ValueError(
                f"gradient descent diverges at learning_rate={learning_rate:g}: stability needs less than "
                f"2N / (kappa^2 max eigenvalue) = {self.max_learning_rate:.6g} (allow_unstable=True computes it anyway)"
            )
        return GradientDescent(steps, learning_rate * self._system.rate)

    def _points(self, X_new):
        return self.X if X_new is None else as_points(X_new, "X_new", self.X.shape[1], self._columns)

    def _initial(self, initial, points):
        return initial_rows(initial, points, self._outputs)

    def _mean_coefficients(self, schedule):
        """Coefficients from the zero function; those of the last schedule are kept, warnings and all."""
        last = self._last  # which another thread may replace
        if last is None or last[0] != schedule:
            self._last = last = schedule, *self._system.coefficients(schedule, self._targets)
        return last[1:]

    def _predict(self, schedule, X_new, initial):
        points = self._points(X_new)
        if initial is None:
            coefficients, report = self._mean_coefficients(schedule)
        else:
            start = self._initial(initial, self.X)
            coefficients, report = self._system.coefficients(schedule, self._targets - start)
        rows = self._system.evaluate(X_new if X_new is None else points, coefficients)
        if initial is not None:
            rows = rows + (start if X_new is None else self._initial(initial, points))
        return Prediction(*self._unpack(rows), report)

    def _unpack(self, rows):
        return unpack(rows, self._outputs)

    def _ensemble(self, schedule, X_new):
        self._system.require_dense("a covariance")
        coefficients, _ = self._mean_coefficients(schedule)
        system = self._system
        P, d1 = len(system.U), 1 + self.X.shape[1]
        if X_new is None:
            theta, every = system.gram, system.U
        else:
            X_new = self._points(X_new)
            theta, every = jacobian_ntk(self.mlp, system.U, X_new), np.concatenate([X_new, system.U])
        A = system.apply(schedule, theta.dense().reshape(P, d1, -1)).reshape(P * d1, -1)
        C = semidefinite_factor(jacobian_nngp(self.mlp, every).dense())
        factor = self.mlp.kappa * (C[: A.shape[1]] - A.T @ C[-P * d1 :])  # A as above, transposed
        if X_new is None:
            factor = system.distinct.spread(factor.reshape(P, d1, -1)).reshape(len(self.X) * d1, -1)
        mean = system.evaluate(X_new, coefficients)
        return Ensemble(mean.reshape(len(factor), *self._outputs), factor)
