"""A robustly trained wide network as a scikit-learn classifier."""

import math
import numbers

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from ._fitting import all_or_nothing
from ._validation import as_plain, refuse_masked
from .regression import JacobianKernelRegressor


class JacobianKernelClassifier(ClassifierMixin, BaseEstimator):
    r"""Classification by an infinitely wide network, trained on labels of -1 and +1 with a penalty on its Jacobian.

    Two classes are one output, whose sign decides. More are one output each, +1 for the class itself and -1 for the
    rest, all from one solve; the largest output decides. The outputs are those of
    :class:`~jacntk_lib.JacobianKernelRegressor`, which has the formulas and says what the parameters mean.

    Parameters
    ----------
    depth, activation, sigma_w, sigma_b, lam, ridge, time, input_scale, solver, standardise : of the regressor.

    Attributes
    ----------
    classes_ : the labels, sorted.
    regressor_ : the fitted regressor. Attack and certify this one, with labels of -1 and +1 for two classes and the
        places in ``classes_`` for more.
    n_features_in_, feature_names_in_ : as everywhere in scikit-learn.

    Raises
    ------
    ValueError : at ``fit``, fewer than two classes, targets that are no classes, or a label that is None; what the
        regressor refuses.
    TypeError : at ``fit``, labels of different kinds, such as text and numbers, which have no order.

    Examples
    --------
    >>> X = np.array([[0.0, 1.0], [1.0, 0.0], [-1.0, -1.0]])
    >>> JacobianKernelClassifier(lam=0.1).fit(X, ["up", "right", "down"]).predict([[0.2, 2.0], [-1.0, -2.0]])
    array(['up', 'down'], dtype='<U5')
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

    @all_or_nothing
    def fit(self, X, y):
        """Fit to inputs X (N, d) and labels y (N,) of one kind, two or more of them."""
        as_plain(X, "X"), refuse_masked(y, "y")  # scikit-learn would take masked entries and text for numbers
        if y is not None:
            _require_one_kind(y)
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, place = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y has one class, {self.classes_.tolist()[0]!r}: two or more are needed")
        targets = np.where(place[:, None] == np.arange(len(self.classes_)), 1.0, -1.0)
        regressor = JacobianKernelRegressor(**self.get_params(deep=False))
        self.regressor_ = regressor.fit(X, targets[:, 1] if len(self.classes_) == 2 else targets)
        return self

    def decision_function(self, X):
        """The outputs: (M,) for two classes, positive for the second; (M, classes) for more."""
        check_is_fitted(self)
        as_plain(X, "X")
        return self.regressor_.predict(validate_data(self, X, dtype=np.float64, reset=False))

    def predict(self, X):
        """Labels (M,)."""
        output = self.decision_function(X)
        return self.classes_[output.argmax(axis=1) if output.ndim == 2 else (output > 0).astype(int)]


def _require_one_kind(y):
    """Refuse missing labels and labels that cannot be sorted, or that NumPy would turn into text."""
    first = {}
    for index, label in enumerate(np.asarray(y, dtype=object).ravel()):
        if label is None:
            raise ValueError(f"y has no label (None) at index {index}: give it one, or remove that point")
        number, text = isinstance(label, numbers.Number | np.bool_), isinstance(label, str)
        kind = "numbers" if number else "text" if text else type(label).__name__
        first.setdefault(kind, f"{label!r} at index {index}")
    if len(first) > 1:
        raise TypeError(f"y mixes {' and '.join(first)} ({', '.join(first.values())}): give labels of one kind")
