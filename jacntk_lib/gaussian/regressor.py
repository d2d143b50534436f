"""Gaussian process regression on values and gradients as a scikit-learn estimator."""

from dataclasses import replace

import numpy as np
import scipy.linalg
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_array, check_consistent_length, check_random_state, column_or_1d
from sklearn.utils.validation import check_is_fitted, validate_data

from .._fitting import all_or_nothing
from .._validation import as_plain, integer, positive_number
from ..errors import ConvergenceError, SingularGramError
from ..solve import semidefinite_factor
from .iterative import IterativePosterior, may_turn, solver_for
from .likelihood import Family, Observations
from .local import LocalPosterior
from .metrics import METRICS
from .posterior import Posterior
from .search import AMPLITUDE_BOUNDS, ITERATIVE_NOISE, NOISE_BOUNDS, SOME_NOISE, Search, bounds_of, chosen
from .units import Units, as_jacobian, as_noise

_RESIDUAL = 1e-5  # relative, beyond which a solve says nothing
NOISE_FLOORS = 0.0, 1e-10, 1e-8, 1e-6  # of fitted noise, variances over a^2, until a solve succeeds


class JacobianGaussianProcessRegressor(RegressorMixin, BaseEstimator):
    r"""A Gaussian process whose covariance is that of a wide network, given values, gradients, or both.

    f has covariance :math:`a^2 \Sigma` (``kernel="nngp"``, the untrained network) or :math:`a^2 \Theta` (``"ntk"``),
    of values and derivatives jointly (Kim and Yang 2024, Theorems 3.1 and 4.3), of the inputs z = (x - mean) L.
    Observed are y = f(x) and any of its derivatives, each with Gaussian noise. The prediction is the posterior mean,
    with its standard deviation

    .. math:: f(x) &= k_*^\top (K + D)^{-1} t, \\
              \operatorname{std}^2 &= c^2 a^2 [k_{**} - k_*^\top (K + D)^{-1} k_* + n],

    K the kernel's matrix of what was observed, D the noise's variances over a^2. n is the part of them that was fitted:
    it also stands for what f does and the kernel does not, so that it belongs to a prediction, as that of a WhiteKernel
    does in scikit-learn. Noise that is given is an error of measurement, and no part of f. c >= 1 makes up for an
    amplitude that thousands of derivatives decide: with it the values' leave-one-out residuals are no larger than their
    deviations (Bachoc 2013; ``Posterior``). It is 1 if the amplitude is given.

    In :class:`~jacntk_lib.JacobianKernelRegressor` the value noise is ``ridge`` and the gradient noise ``ridge / lam``:
    lam is a ratio of two noises. **The standard deviation here is not the spread of trained networks over
    initialisations** that ``JacobianKernelRegressor.predict`` returns: it says what the observations leave open if f
    is a draw from the prior.

    Columns of X are standardised and y is centred and scaled inside, gradients with them. Everything goes in and comes
    out in the user's units. What is not given is chosen by marginal likelihood with exact gradients, on a sixth of
    the observed numbers (600 to 1200; 600 for an iterative solve): once for next to no noise, once for variances of
    1e-6 a^2 or more where the noise is fitted, and with ``metric="auto"`` for every metric; then with a noise for every
    column of derivatives. Of these that of smallest mean absolute leave-one-out error on a half of the numbers (2000 to
    4000; 2000) is taken.

    Parameters
    ----------
    kernel : "nngp" or "ntk".
    depth, activation : of the network, see :class:`~jacntk_lib.MLP`; s_w is 1. "auto" is GELU or, by leave-one-out, one
        layer of sines, whose covariance tends to a constant and the Gaussian kernel :math:`\exp(-|z - z'|^2 / 2)` as
        sigma_b grows: tried with gradients of fitted noise and the metrics "auto" and "likelihood".
    metric : the linear map L, see :mod:`jacntk_lib.gaussian.metrics`: "standard", "gradient", "gradient-full",
        "likelihood", "likelihood-full" or "auto". Without gradients only "standard" and "likelihood" apply.
    scale : where the common scale of L starts, at 1 for mapped inputs of root mean square length 1.
    scale_bounds : of the scale, or of every scale; "fixed" keeps ``scale``.
    sigma_b, sigma_b_bounds : likewise, of the biases' standard deviation.
    amplitude : a > 0 in units of y; "auto" is the value of largest likelihood.
    noise : standard deviation of y in its units, a number or one per point (N,), 0 for none; "auto" is fitted, and
        raised where float64 cannot solve for so little, up to a variance of 1e-6 a^2. At least n eps times the largest
        diagonal entry of K, n observed numbers, is always added to K.
    noise_gradient : the same of gradients, in their units: a number, one per column (d,), or one per entry (N, d);
        "auto" is one number for standardised columns or one per column, by leave-one-out.
    neighbours : m, to predict at each point from the m observed points nearest to it in the metric, with their
        gradients (:mod:`jacntk_lib.gaussian.local`): for any number of points, O((m (1 + d))^3) or less per prediction.
        The amplitude, c and the likelihood are then those of a sample. ``None`` takes all points.
    optimizer : "fmin_l_bfgs_b", or a function as for scikit-learn's GaussianProcessRegressor; ``None`` keeps scale and
        sigma_b, and takes 1e-6 a^2 for the variance of noise that is "auto". Needs an activation with closed form.
    n_restarts_optimizer : further starts, uniform within the bounds in logarithms.
    solver : "auto", "exact", "iterative", or an Iterative of :mod:`jacntk_lib.solve` with options of its own. "auto" is
        a dense matrix up to 15,000 observed numbers, and beyond them products with the kernel alone to a relative
        residual of 1e-4: without deviations, and whatever else needs the matrix raises NotImplementedError. Fitted
        noise then has a variance of 1e-4 a^2 at least, or the iteration may not end, and full metrics need whole
        gradients with one noise at each point.
    random_state : of restarts, and of the points that hyperparameters are chosen on where not all are.

    Attributes
    ----------
    metric_, mlp_ : the metric used, and the network behind the covariance of z.
    linear_map_ : L (d, d), with its scales: z = (x - mean) L.
    hyperparameters_ : scale, sigma_b, noise and noise_gradient, the noises as variances over a^2 in standardised units.
    theta_ : logarithms of those that were fitted.
    amplitude_ : a in units of y.
    widening_ : c, computed when it is first asked for, by ``predict`` with deviations among others: O(n^3).
    noise_, noise_gradient_ : standard deviations in the user's units, (N,) and (N, d).
    log_marginal_likelihood_value_ : of the standardised observations; NaN from the iterative solver.
    posterior_ : the posterior in standardised units.
    report_ : a :class:`~jacntk_lib.solve.Report` from the iterative solver, else ``None``.
    n_features_in_, feature_names_in_ : as everywhere in scikit-learn.

    Raises
    ------
    TypeError, ValueError : at ``fit``, a parameter out of range, data of a wrong shape or infinite, nothing observed at
        a point, more than 15,000 observed numbers with ``solver="exact"``, or 5000 at the neighbours of a point.
    SingularGramError, ConvergenceError : at ``fit``, no Cholesky factor, or a solve with a large residual: the noise is
        too small for float64.
    NotImplementedError : deviations, samples, leave-one-out or the likelihood after an iterative fit;
        covariances and samples with ``neighbours``.

    Examples
    --------
    >>> X = np.linspace(0, 6, 7)[:, None]
    >>> values = JacobianGaussianProcessRegressor().fit(X, np.sin(X[:, 0]))
    >>> both = JacobianGaussianProcessRegressor().fit(X, np.sin(X[:, 0]), jacobian=np.cos(X))
    >>> mean, std = both.predict([[2.5]], return_std=True)
    >>> bool(abs(mean[0] - np.sin(2.5)) < 0.01), bool(std[0] < values.predict([[2.5]], return_std=True)[1][0])
    (True, True)
    >>> slope = both.predict_jacobian([[2.5]])
    >>> bool(abs(slope[0, 0] - np.cos(2.5)) < 0.05)
    True

    In a search, let gradients be divided with the points: ``sklearn.set_config(enable_metadata_routing=True)``, then
    ``GridSearchCV(JacobianGaussianProcessRegressor().set_fit_request(jacobian=True), ...).fit(X, y, jacobian=J)``.
    """

    def __init__(
        self,
        kernel="nngp",
        depth=2,
        activation="auto",
        *,
        metric="auto",
        scale=0.5,
        scale_bounds=(1e-2, 1e1),
        sigma_b=2.0,
        sigma_b_bounds=(1e-1, 2e1),
        amplitude="auto",
        noise="auto",
        noise_gradient="auto",
        neighbours=None,
        optimizer="fmin_l_bfgs_b",
        n_restarts_optimizer=0,
        solver="auto",
        random_state=0,
    ):
        self.kernel = kernel
        self.depth = depth
        self.activation = activation
        self.metric = metric
        self.scale = scale
        self.scale_bounds = scale_bounds
        self.sigma_b = sigma_b
        self.sigma_b_bounds = sigma_b_bounds
        self.amplitude = amplitude
        self.noise = noise
        self.noise_gradient = noise_gradient
        self.neighbours = neighbours
        self.optimizer = optimizer
        self.n_restarts_optimizer = n_restarts_optimizer
        self.solver = solver
        self.random_state = random_state

    @all_or_nothing
    def fit(self, X, y, jacobian=None):
        """Fit to inputs X (N, d), values y (N,) and gradients ``jacobian`` (N, d).

        NaN in y or in ``jacobian`` is what was not observed: whole gradients, single derivatives, or the value where
        the gradient is known. O(n^3) for n observed numbers; iteratively O(N^2 d) in each of some hundred products.
        """
        as_plain(X, "X"), as_plain(y, "y")  # scikit-learn would take masked entries and text for numbers
        check_y = {"ensure_2d": False, "ensure_all_finite": "allow-nan", "dtype": np.float64}
        X, y = validate_data(self, X, y, validate_separately=({"dtype": np.float64}, check_y))
        if y.ndim == 2 and y.shape[1] > 1:
            raise ValueError(
                f"y has shape {y.shape}, but a model is of one output: give every output a model of its own, fitted to "
                "y[:, k] with jacobian=J[:, k], the gradients of that output"
            )
        y = column_or_1d(y, warn=True)
        check_consistent_length(X, y)
        self._check_names()
        columns = getattr(jacobian, "columns", None)
        if columns is not None and hasattr(self, "feature_names_in_") and list(columns) != list(self.feature_names_in_):
            raise ValueError(f"jacobian has the columns {list(columns)}: give it those of X, in their order")
        jacobian = as_jacobian(jacobian, X.shape)
        solver = self._solver_for(y, jacobian)
        self.units_ = Units.of(X, y, jacobian)
        self._observations = observations = self._observe(X, y, jacobian)
        search = self._search(observations, solver)
        self.metric_, self._family = chosen(search, self.metric, observations)
        self.posterior_ = self._solved(observations, solver, search.random)
        self._describe(observations)
        return self

    def predict(self, X, return_std=False, return_cov=False):
        """Posterior mean of f (M,); with ``return_std`` also standard deviations (M,), or the covariance (M, M).

        In units of y. They include fitted noise, which ``return_cov`` has on the diagonal, not noise that was given.
        """
        if return_std and return_cov:
            raise ValueError(
                "return_std and return_cov exclude each other: take the covariance, whose diagonal is std squared"
            )
        U, units = self._new(X), self.units_
        mean = units.y_mean + units.y_std * self.posterior_.mean(U)
        if return_std:
            return mean, units.y_std * self._widened(self.posterior_.value_std(U), "noise")
        if not return_cov:
            return mean
        covariance = self.widening_**2 * self.posterior_.value_cov(U)
        covariance[np.diag_indices_from(covariance)] += self._widened(0.0, "noise") ** 2
        return mean, units.y_std**2 * covariance

    def predict_jacobian(self, X, return_std=False):
        """Posterior mean of the derivatives by the columns of X (M, d), with ``return_std`` also their deviations."""
        U, slope = self._new(X), self.units_.slope
        mean = slope * self.posterior_.slopes(U)
        return (mean, slope * self._widened(self.posterior_.slope_std(U), "noise_gradient")) if return_std else mean

    def sample_y(self, X, n_samples=1, random_state=0):
        """Functions drawn from the posterior at X, with fitted noise: (M, n_samples); before ``fit`` from the prior.

        The prior is that of standardised columns X and ``metric="standard"``, L = scale / sqrt(d), of mean 0; it needs
        ``amplitude`` as a number.
        """
        n_samples = integer(n_samples, "n_samples", at_least=1)
        mean, covariance = self.predict(X, return_cov=True) if hasattr(self, "posterior_") else self._prior(X)
        factor = semidefinite_factor(np.asfortranarray(covariance))
        return mean[:, None] + factor @ check_random_state(random_state).standard_normal((factor.shape[1], n_samples))

    def log_marginal_likelihood(self, theta=None, eval_gradient=False):
        """Of the standardised observations, at ``theta`` (logarithms, as ``theta_``) or as fitted.

        The amplitude is the best one there unless it is given or part of theta, as it is where noise is given. With
        ``eval_gradient`` also the gradient by theta.
        """
        check_is_fitted(self)
        if theta is None:
            theta = self.theta_
        theta = np.asarray(theta, dtype=np.float64)
        if theta.shape != self.theta_.shape:
            raise ValueError(f"theta has shape {theta.shape}, but {self.theta_.shape} is needed, as theta_")
        value, slope = self.posterior_.likelihood(self._family, theta, eval_gradient)
        return (value, slope) if eval_gradient else value

    def leave_one_out(self):
        """Residuals of the observed values, each predicted without its whole point, and their deviations: (N,), (N,).

        In closed form at the fitted hyperparameters, gradient left out with the value; units of y. The deviation is of
        the residual, so that it includes all noise; it is not widened. NaN where no value was observed.
        """
        check_is_fitted(self)
        residual, std = self.posterior_.leave_one_out()
        return self.units_.y_std * residual, self.units_.y_std * std

    @property
    def widening_(self):
        check_is_fitted(self)
        return self.posterior_.widening if _is_auto(self.amplitude) else 1.0

    def _widened(self, std, noise):
        """Deviations with the fitted part of a noise, widened, from those of f; standardised units."""
        return self.widening_ * np.sqrt(std**2 + self.posterior_.amplitude**2 * self.hyperparameters_[noise])

    def _prior(self, X):
        """Mean (M,) and covariance (M, M) of values before anything was observed."""
        self._check_names()
        if _is_auto(self.amplitude):
            raise NotFittedError("a function from the prior needs amplitude=, a number in units of y: give it, or fit")
        X = check_array(as_plain(X, "X"), dtype=np.float64)
        scale, sigma_b = positive_number(self.scale, "scale"), positive_number(self.sigma_b, "sigma_b")
        family = self._network(np.eye(X.shape[1]) / X.shape[1] ** 0.5, {}, ())
        covariance = family.covariance({"scale": scale, "sigma_b": sigma_b})
        return np.zeros(len(X)), positive_number(self.amplitude, "amplitude") ** 2 * covariance.scalars(X).values()

    def _new(self, X):
        check_is_fitted(self)
        as_plain(X, "X")
        return self.units_.inputs(validate_data(self, X, dtype=np.float64, reset=False))

    def _solver_for(self, y, jacobian):
        """The iterative solver, or ``None`` for a dense matrix; refuses points without any observation."""
        empty = np.flatnonzero(np.isnan(y) & np.isnan(jacobian).all(axis=1))
        if empty.size:
            raise ValueError(
                f"Input y contains NaN at point {empty[0]}, and no derivative is given there: remove points where "
                "nothing was observed"
            )
        if self.neighbours is not None:
            integer(self.neighbours, "neighbours", at_least=1)
            return None
        return solver_for(self.solver, int((~np.isnan(y)).sum() + (~np.isnan(jacobian)).sum()))

    def _solved(self, observations, solver, random):
        """The posterior; fitted noise is raised where float64 needs more of it for a solve."""
        start, free = self._family.start, {"noise", "noise_gradient"} & set(self._family.free)
        for floor in NOISE_FLOORS if free else NOISE_FLOORS[:1]:
            values = start | {name: np.maximum(start[name], floor) for name in free}
            self._family = replace(self._family, start=values)
            given = observations, self._family.covariance(values), values
            try:
                if self.neighbours is not None:
                    posterior = LocalPosterior(*given, self.neighbours, random)
                else:
                    posterior = Posterior(*given) if solver is None else IterativePosterior(*given, solver)
            except scipy.linalg.LinAlgError as error:
                failure = SingularGramError(
                    f"the covariance matrix of {observations.seen.sum()} observed numbers has no Cholesky factor in "
                    f"float64 ({error}): give or raise noise and noise_gradient, or merge points that nearly coincide"
                )
                continue
            if solver is not None or posterior.residual < _RESIDUAL:  # an iterative solver checks its own tolerance
                return posterior
            residual, posterior = posterior.residual, None  # its matrix goes before the next one comes
            failure = ConvergenceError(
                f"the solve with the covariance matrix has a relative residual of {residual:.1e} (below "
                f"{_RESIDUAL:g} is needed): it is too close to singular; give or raise noise and noise_gradient"
            )
        raise failure

    def _check_names(self):
        if self.kernel not in ("nngp", "ntk"):
            raise ValueError(f"kernel must be 'nngp' or 'ntk', got {self.kernel!r}")
        if self.metric not in METRICS:
            raise ValueError(f"metric must be one of {', '.join(METRICS)}, got {self.metric!r}")
        if not (self.optimizer in (None, "fmin_l_bfgs_b") or callable(self.optimizer)):
            raise ValueError(f"optimizer must be 'fmin_l_bfgs_b', a function or None, got {self.optimizer!r}")

    def _observe(self, X, y, jacobian):
        """The observations in standardised units, given noise with them."""
        units, D = self.units_, np.zeros((len(y), 1 + X.shape[1]))
        noise = as_noise(self.noise, "noise", y.shape)
        noise_gradient = as_noise(self.noise_gradient, "noise_gradient", X.shape)
        if noise is not None:
            D[:, 0] = (noise / units.y_std) ** 2
        if noise_gradient is not None:
            D[:, 1:] = (noise_gradient / units.slope) ** 2
        return Observations(units.inputs(X), units.targets(y, jacobian), D)

    def _search(self, observations, solver):
        """What is to be chosen, from where and within which bounds."""
        gradients = observations.seen.shape[1] > 1
        noise = NOISE_BOUNDS if solver is None else (ITERATIVE_NOISE, NOISE_BOUNDS[1])
        bounds = {
            "scale": bounds_of(self.scale_bounds, "scale_bounds"),
            "sigma_b": bounds_of(self.sigma_b_bounds, "sigma_b_bounds"),
            "amplitude": AMPLITUDE_BOUNDS if _is_auto(self.amplitude) and observations.D.any() else None,
            "noise": noise if _is_auto(self.noise) else None,
            "noise_gradient": noise if _is_auto(self.noise_gradient) and gradients else None,
        }
        if self.optimizer is None:
            bounds = {name: box if name == "amplitude" else None for name, box in bounds.items()}
        start = {
            "scale": np.array([positive_number(self.scale, "scale")]),
            "sigma_b": positive_number(self.sigma_b, "sigma_b"),
            "amplitude": self._amplitude(bounds["amplitude"] is not None),
            "noise": SOME_NOISE if _is_auto(self.noise) else 0.0,
            "noise_gradient": SOME_NOISE if _is_auto(self.noise_gradient) and gradients else 0.0,
        }
        free = tuple(name for name, box in bounds.items() if box is not None)
        d = observations.U.shape[1]
        family = self._network(np.eye(d), start, free)
        restarts = integer(self.n_restarts_optimizer, "n_restarts_optimizer", at_least=0)
        random = check_random_state(self.random_state)
        return Search(
            *(family, bounds, self.optimizer, restarts, random),
            sines=_is_auto(self.activation) and bounds["sigma_b"] is not None,
            dense=solver is None,
            turning=solver is None or may_turn(observations),
        )

    def _network(self, *given):
        """The family that a search starts from."""
        activation = "gelu" if _is_auto(self.activation) else self.activation
        return Family(self.depth, activation, self.kernel == "ntk", *given)

    def _amplitude(self, fitted):
        """In units of the spread of y; ``None`` for the best one in closed form."""
        if _is_auto(self.amplitude):
            return 1.0 if fitted else None
        if isinstance(self.amplitude, str):
            raise ValueError(f"amplitude must be 'auto' or a positive number, got {self.amplitude!r}")
        return positive_number(self.amplitude, "amplitude") / self.units_.y_std

    def _describe(self, observations):
        units, values, amplitude = self.units_, self._family.start, self.posterior_.amplitude
        self.hyperparameters_ = {name: values[name] for name in ("scale", "sigma_b", "noise", "noise_gradient")}
        self.theta_ = self._family.pack(values) if self._family.free else np.zeros(0)
        self.log_marginal_likelihood_value_, self.report_ = self.posterior_.log_likelihood, self.posterior_.report
        covariance = self._family.covariance(values)
        self.mlp_, self.linear_map_ = covariance.mlp, covariance.L / units.std[:, None]
        self.amplitude_ = amplitude * units.y_std
        fitted = np.r_[values["noise"], np.full(len(units.std), values["noise_gradient"])]
        variance = observations.D + amplitude**2 * fitted
        self.noise_ = units.y_std * np.sqrt(variance[:, 0])
        self.noise_gradient_ = units.slope * np.sqrt(variance[:, 1:])


def _is_auto(value):
    return isinstance(value, str) and value == "auto"
