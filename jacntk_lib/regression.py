r"""A robustly trained wide network as a scikit-learn estimator."""

import math
import numbers
from dataclasses import replace

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_consistent_length, check_is_fitted, validate_data

from ._fitting import all_or_nothing
from ._validation import as_array, as_plain, as_points, integer, positive_number, require_moderate
from .architecture import MLP
from .dynamics import Eigenfeatures, Prediction, RobustFlow
from .solve import EPS


class JacobianKernelRegressor(RegressorMixin, BaseEstimator):
    r"""Regression by an infinitely wide network, trained with a penalty on its input Jacobian or on measured gradients.

    The prediction is the mean over initialisations of the network at time t of gradient flow on

    .. math:: \frac1N \sum_i \Bigl[\tfrac12 (f(x_i) - y_i)^2 + \tfrac{\lambda}{2} |Jf(x_i) - T_i|^2\Bigr],

    T the gradients of y that ``fit`` was given, else 0, which at infinite time is kernel regression with the Jacobian
    NTK of all values and derivatives (Kim and Yang 2024, Theorem 4.6 and equation (4); :class:`~jacntk_lib.RobustFlow`
    has the formulas),

    .. math:: f(x) = \Theta_{xX} \Lambda^{1/2} (\Lambda^{1/2} \Theta_{XX} \Lambda^{1/2} + \rho I)^{-1} \Lambda^{1/2}
              y^*, \qquad y^* = (y_1, T_1, y_2, T_2, ...).

    That is also the posterior mean of a Gaussian process with covariance Theta, whose noise has variance **ridge on
    values and ridge / lam on derivatives**: ``lam`` is the ratio of the two variances. The standard deviation that is
    offered here is *not* that posterior's; it is the spread of trained networks over their initialisations.

    For classification give labels -1 and +1 and take the sign of ``predict``. Nothing is centred or rescaled but what
    ``input_scale`` and ``standardise`` say.

    Parameters
    ----------
    depth : hidden layers, at least 1.
    activation : a name, as in :class:`~jacntk_lib.MLP`, or an Activation.
    sigma_w, sigma_b : standard deviations of weights and biases.
    lam : lambda >= 0, the weight of the squared Jacobian, or of the gradients' squared errors where ``fit`` is given
        some; a number, or one per column (1, d). 0 is ordinary NTK regression.
    ridge : rho >= 0, absolute, in units of Theta.
    time : kappa^2 t > 0, ``math.inf`` for the limit. Only this product matters; the output scale kappa is 1 here.
    input_scale : multiplies the inputs before the first layer, a number or one per column; ``"auto"`` is one over the
        root mean square length of the training inputs (1 for unit vectors). Jacobians are with respect to the inputs as
        given all the same.
    solver : "auto", "exact", "iterative", or an Exact or Iterative of :mod:`jacntk_lib.solve` with options of its own
        (accuracy, memory), as in :class:`~jacntk_lib.RobustFlow`: "auto" takes dense matrices up to 8192
        unknowns N(1+d), products with the kernel alone beyond.
    standardise : shift and scale every column of X and every output to mean 0 and variance 1 inside, gradients by the
        chain rule. Data, predictions and Jacobians stay in the caller's units; ``lam``, ``ridge`` and ``input_scale``
        are then about the standardised ones. A scaler in a pipeline cannot do this: it does not see the gradients.

    Attributes
    ----------
    flow_ : the fitted :class:`~jacntk_lib.RobustFlow`, in standardised units if ``standardise``.
    X_offset_, X_scale_, y_offset_, y_scale_ : (d,), (d,), () or (K,), () or (K,): what ``standardise`` subtracted and
        divided by; zeros and ones without it. Gradients alone, without any value, leave the level of y at 0.
    report_ : a :class:`~jacntk_lib.solve.Report` at infinite time and from the iterative solver, else ``None``.
    n_features_in_, feature_names_in_ : as everywhere in scikit-learn.

    Raises
    ------
    TypeError, ValueError : at ``fit``, a parameter out of range or data that are not finite and rectangular.
    ConvergenceError : at ``fit``, the solver did not reach its accuracy; a larger ridge helps.
    SingularGramError : at ``fit``, infinite time without ridge and equal points with different labels.

    Notes
    -----
    Gradients travel through cross-validation, searches and pipelines by scikit-learn's metadata routing, which divides
    them among the folds (a score needs a value of y at every point):

    >>> import sklearn
    >>> from sklearn.model_selection import cross_val_score
    >>> X = np.linspace(-1, 1, 12)[:, None]
    >>> y, slope = np.sin(5 * X[:, 0]), 5 * np.cos(5 * X)
    >>> reg = JacobianKernelRegressor(2, "gelu", sigma_b=1.0, lam=0.1, standardise=True)
    >>> with sklearn.config_context(enable_metadata_routing=True):
    ...     routed = reg.set_fit_request(jacobian=True)
    ...     scores = cross_val_score(routed, X, y, cv=3, params={"jacobian": slope})
    >>> bool(scores.mean() > cross_val_score(reg.set_params(lam=0.0), X, y, cv=3).mean())
    True

    Examples
    --------
    >>> X = np.linspace(-1, 1, 9)[:, None]
    >>> reg = JacobianKernelRegressor(depth=2, sigma_b=0.5, lam=0.0).fit(X, np.sin(3 * X[:, 0]))
    >>> mean, std = reg.predict([[0.1]], return_std=True)
    >>> bool(abs(mean[0] - np.sin(0.3)) < 0.05), std.shape
    (True, (1,))
    """

    def __init__(
        self,
        depth=3,
        activation="erf",
        sigma_w=1.0,
        sigma_b=0.0,
        lam=0.01,
        ridge=1e-6,
        time=math.inf,
        input_scale="auto",
        solver="auto",
        standardise=False,
    ):
        self.depth = depth
        self.activation = activation
        self.sigma_w = sigma_w
        self.sigma_b = sigma_b
        self.lam = lam
        self.ridge = ridge
        self.time = time
        self.input_scale = input_scale
        self.solver = solver
        self.standardise = standardise

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    @all_or_nothing
    def fit(self, X, y, jacobian=None):
        """Fit to inputs X (N, d) and targets y (N,) or (N, K), and to gradients of y where they are known.

        ``jacobian`` is (N, d) or (N, K, d), NaN where a derivative was not observed. y may be NaN, too, where some
        derivative is known at that point. Outputs are observed together. Without ``jacobian`` slopes are penalised.

        Exactly: a Cholesky factor (infinite time with ridge) or eigenvectors of a matrix of N(1+d) unknowns.
        Iteratively: some hundred products with the kernel, O(N^2 d) each.
        """
        as_plain(X, "X"), as_plain(y, "y")  # scikit-learn would take masked entries and text for numbers
        if jacobian is None:
            X, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        else:
            X = validate_data(self, X, dtype=np.float64)
            y, jacobian = _observations(y, jacobian, X)
        require_moderate(X, "X")
        time = self.time
        if not (isinstance(time, numbers.Real) and time == math.inf):
            time = positive_number(time, "time")
        self._find_units(X, y, jacobian)
        X, y = (X - self.X_offset_) / self.X_scale_, (y - self.y_offset_) / self.y_scale_
        if jacobian is not None:
            jacobian = jacobian * self.X_scale_ / self.y_scale_[..., None]
        mlp = MLP(
            depth=self.depth,
            activation=self.activation,
            kappa=1.0,
            sigma_w=self.sigma_w,
            sigma_b=self.sigma_b,
            input_scale=self._scale_of(X),
        )
        self.flow_ = RobustFlow(
            mlp,
            X,
            y,
            lam=self.lam,
            jacobian_targets=jacobian,
            ridge=self.ridge,
            solver=self.solver,
        )
        self.time_ = time
        self.report_ = self.flow_.at(time).report
        return self

    def predict(self, X, return_std=False):
        """Mean over initialisations, (M,) or (M, K), in batches of rows.

        With ``return_std`` also the standard deviation over initialisations at kappa = 1, of the same shape: multiply
        by kappa for a network of output scale kappa. It is the spread of trained networks, not of noise in y.
        """
        X = self._new(X)
        mean = self.y_offset_ + self.y_scale_ * self.flow_.value_mean(self.time_, X)
        if not return_std:
            return mean
        std = self.flow_.value_std(self.time_, X)
        return mean, self.y_scale_ * np.broadcast_to(std.reshape(-1, *[1] * (mean.ndim - 1)), mean.shape)

    def predict_jacobian(self, X):
        """Derivatives of the mean with respect to the inputs as given, (M, d) or (M, K, d)."""
        return self._at(self._new(X)).jacobian

    def prediction(self, X) -> Prediction:
        """Values and derivatives at once, for an array X (M, d), and faster than one after the other: for attacks."""
        check_is_fitted(self)
        X = as_points(X, "X", dimension=self.n_features_in_)
        return self._at((X - self.X_offset_) / self.X_scale_)

    def eigenfeatures(self, X) -> Eigenfeatures:
        """The prediction split by eigendirection: eigenvalues (p,), values (M, p), Jacobians (M, p, d).

        They sum to ``predict`` (less ``y_offset_``) and ``predict_jacobian``; see :meth:`RobustFlow.eigenfeatures
        <jacntk_lib.RobustFlow.eigenfeatures>`.
        """
        X = self._new(X)
        found = self.flow_.eigenfeatures(X, self.time_)
        return replace(found, value=self.y_scale_ * found.value, jacobian=self._slopes(found.jacobian))

    def feature_functions(self):
        """The eigenfeatures as functions of the input, see :meth:`RobustFlow.feature_functions
        <jacntk_lib.RobustFlow.feature_functions>`.

        Raises
        ------
        ValueError : with ``standardise``, because they would be functions of standardised inputs.
        """
        check_is_fitted(self)
        if self.standardise:
            raise ValueError(
                "feature functions take standardised inputs where standardise=True; use eigenfeatures(X), which takes "
                "X in your units, or standardise the data yourself"
            )
        return self.flow_.feature_functions(self.time_)

    def sample(self, X, n_samples=1, random_state=None) -> Prediction:
        """Trained networks from independent initialisations (kappa = 1), values and Jacobians jointly.

        Values (n_samples, M) or (n_samples, M, K), Jacobians (n_samples, M, d) or (n_samples, M, K, d). The joint
        covariance is dense, M(1+d) + N(1+d) squared.
        """
        X = self._new(X)
        n_samples = integer(n_samples, "n_samples", at_least=1)
        seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)
        rows = self.flow_.ensemble(self.time_, X).sample(n_samples, seed)
        rows = rows.reshape(n_samples, len(X), 1 + X.shape[1], *rows.shape[2:])
        value = self.y_offset_ + self.y_scale_ * rows[:, :, 0]
        return Prediction(value, self._slopes(np.moveaxis(rows[:, :, 1:], 2, -1)))

    def _new(self, X):
        """New points, checked, in the units of ``flow_``."""
        check_is_fitted(self)
        as_plain(X, "X")
        return (validate_data(self, X, dtype=np.float64, reset=False) - self.X_offset_) / self.X_scale_

    def _at(self, X):
        """The prediction in the caller's units at points X in those of ``flow_``."""
        found = self.flow_.at(self.time_, X)
        return Prediction(self.y_offset_ + self.y_scale_ * found.value, self._slopes(found.jacobian), found.report)

    def _slopes(self, jacobian):
        """Derivatives (..., d) or (..., K, d) by the inputs as given, from those of ``flow_``."""
        return jacobian * self.y_scale_[..., None] / self.X_scale_

    def _find_units(self, X, y, jacobian):
        """The mean and the standard deviation of every column and output.

        For a constant column 1; for an output without spread the root mean square of its slopes per standard deviation
        of x, where there are any, else 1.
        """
        if not isinstance(self.standardise, bool):
            raise TypeError(f"standardise must be True or False, got {self.standardise!r}")
        self.X_offset_, self.X_scale_ = np.zeros(X.shape[1]), np.ones(X.shape[1])
        self.y_offset_, self.y_scale_ = np.zeros(y.shape[1:]), np.ones(y.shape[1:])
        if self.standardise:
            self.X_offset_, self.X_scale_ = X.mean(axis=0), _spread(X)
            known, slopes = y[~np.isnan(y).reshape(len(y), -1).any(axis=1)], 0.0
            known = known if len(known) else np.zeros_like(y[:1])
            if jacobian is not None:
                seen = ~np.isnan(jacobian)
                squares = np.where(seen, jacobian * self.X_scale_, 0.0) ** 2
                slopes = np.sqrt(squares.sum(axis=(0, -1)) / np.maximum(seen.sum(axis=(0, -1)), 1))
            self.y_offset_, self.y_scale_ = known.mean(axis=0), _spread(known, np.where(slopes > 0, slopes, 1.0))

    def _scale_of(self, X):
        if isinstance(self.input_scale, str):
            if self.input_scale != "auto":
                raise ValueError(f"input_scale must be 'auto' or a positive number, got {self.input_scale!r}")
            length = float(np.sqrt(np.mean(np.einsum("nd,nd->n", X, X))))
            return 1.0 / length if length > 0 else 1.0
        return self.input_scale


def _spread(columns, otherwise=1.0):
    """Standard deviations over the rows, ``otherwise`` where rounding is all there is."""
    deviation, size = columns.std(axis=0), np.abs(columns).max(axis=0)
    return np.where(deviation > 10 * EPS * size, deviation, otherwise)


def _observations(y, jacobian, X):
    """y and the gradients as float64 arrays, in which NaN is legal."""
    y = check_array(y, dtype=np.float64, ensure_2d=False, ensure_all_finite="allow-nan", input_name="y")
    check_consistent_length(X, y)
    jacobian = as_array(jacobian, "jacobian", (*y.shape, X.shape[1]), missing=True)
    return y, jacobian
