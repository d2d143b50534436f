r"""A robustly trained wide network as a scikit-learn estimator."""

import math
import numbers

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from ._validation import as_plain, integer, positive_number, require_moderate
from .architecture import MLP
from .dynamics import Eigenfeatures, Prediction, RobustFlow


class JacobianKernelRegressor(RegressorMixin, BaseEstimator):
    r"""Regression by an infinitely wide network that is trained with a penalty on its input Jacobian.

    The prediction is the mean over initialisations of the network at time t of gradient flow on

    .. math:: \frac1N \sum_i \Bigl[\tfrac12 (f(x_i) - y_i)^2 + \tfrac{\lambda}{2} |Jf(x_i)|^2\Bigr],

    which at infinite time is kernel regression with the Jacobian NTK of all values and derivatives (Kim and Yang 2024,
    Theorem 4.6 and equation (4); :class:`~jacntk_lib.RobustFlow` has the formulas),

    .. math:: f(x) = \Theta_{xX} \Lambda^{1/2} (\Lambda^{1/2} \Theta_{XX} \Lambda^{1/2} + \rho I)^{-1} \Lambda^{1/2}
              y^*, \qquad y^* = (y_1, 0, ..., 0, y_2, 0, ...).

    For classification give labels -1 and +1 and take the sign of ``predict``. Nothing is centred or rescaled but what
    ``input_scale`` says: put a StandardScaler in front, and centre y, where that is wanted.

    Parameters
    ----------
    depth : hidden layers, at least 1.
    activation : a name ("erf", "gelu", "sin") or an Activation.
    sigma_w, sigma_b : standard deviations of weights and biases.
    lam : lambda >= 0, the weight of the squared Jacobian; 0 is ordinary NTK regression.
    ridge : rho >= 0, absolute, in units of Theta.
    time : kappa^2 t > 0, ``math.inf`` for the limit. Only this product matters; the output scale kappa is 1 here.
    input_scale : multiplies the inputs before the first layer; ``"auto"`` is one over the root mean square length of
        the training inputs (1 for unit vectors). Jacobians are with respect to the inputs as given all the same.
    solver : "auto", "exact", "iterative", or an Exact or Iterative of :mod:`jacntk_lib.solve` with options of its own
        (accuracy, memory, devices), as in :class:`~jacntk_lib.RobustFlow`: "auto" takes dense matrices up to 8192
        unknowns N(1+d), products with the kernel alone beyond.

    Attributes
    ----------
    flow_ : the fitted :class:`~jacntk_lib.RobustFlow`.
    report_ : a :class:`~jacntk_lib.solve.Report` at infinite time and from the iterative solver, else ``None``.
    n_features_in_, feature_names_in_ : as everywhere in scikit-learn.

    Raises
    ------
    TypeError, ValueError : at ``fit``, a parameter out of range or data that are not finite and rectangular.
    ConvergenceError : at ``fit``, the solver did not reach its accuracy; a larger ridge helps.
    SingularGramError : at ``fit``, infinite time without ridge and equal points with different labels.

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

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X, y):
        """Fit to inputs X (N, d) and targets y (N,) or (N, K).

        Exactly: a Cholesky factor (infinite time with ridge) or eigenvectors of a matrix of N(1+d) unknowns.
        Iteratively: some hundred products with the kernel, O(N^2 d) each.
        """
        as_plain(X, "X"), as_plain(y, "y")  # scikit-learn would take masked entries and text for numbers
        X, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        require_moderate(X, "X")
        time = self.time
        if not (isinstance(time, numbers.Real) and time == math.inf):
            time = positive_number(time, "time")
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
        mean = self.flow_.at(self.time_, X).value
        if not return_std:
            return mean
        std = self.flow_.value_std(self.time_, X)
        return mean, np.broadcast_to(std.reshape(-1, *[1] * (mean.ndim - 1)), mean.shape).copy()

    def predict_jacobian(self, X):
        """Derivatives of the mean with respect to the inputs as given, (M, d) or (M, K, d)."""
        X = self._new(X)
        return self.flow_.at(self.time_, X).jacobian

    def eigenfeatures(self, X) -> Eigenfeatures:
        """The prediction split by eigendirection: eigenvalues (p,), values (M, p), Jacobians (M, p, d).

        They sum to ``predict`` and ``predict_jacobian``; see :meth:`RobustFlow.eigenfeatures
        <jacntk_lib.RobustFlow.eigenfeatures>`.
        """
        X = self._new(X)
        return self.flow_.eigenfeatures(X, self.time_)

    def feature_functions(self):
        """The eigenfeatures as functions of the input, see :meth:`RobustFlow.feature_functions
        <jacntk_lib.RobustFlow.feature_functions>`.
        """
        check_is_fitted(self)
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
        return Prediction(rows[:, :, 0], np.moveaxis(rows[:, :, 1:], 2, -1))

    def _new(self, X):
        check_is_fitted(self)
        as_plain(X, "X")
        return validate_data(self, X, dtype=np.float64, reset=False)

    def _scale_of(self, X):
        if isinstance(self.input_scale, str):
            if self.input_scale != "auto":
                raise ValueError(f"input_scale must be 'auto' or a positive number, got {self.input_scale!r}")
            length = float(np.sqrt(np.mean(np.einsum("nd,nd->n", X, X))))
            return 1.0 / length if length > 0 else 1.0
        return positive_number(self.input_scale, "input_scale")
