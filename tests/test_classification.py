"""The classifier: one regression per class, and scikit-learn's contract."""

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.utils.estimator_checks import parametrize_with_checks

from jacntk_lib import JacobianKernelClassifier, JacobianKernelRegressor
from jacntk_lib.robustness import attack

X, X_NEW = np.split(np.random.default_rng(0).standard_normal((40, 2)), [30])
NAMES = np.array(["left", "low", "right"])
Y = NAMES[np.where(X[:, 1] < -0.5, 1, 2 * (X[:, 0] > 0))]


@parametrize_with_checks([JacobianKernelClassifier()])
def test_scikit_learn_contract(estimator, check):
    check(estimator)


def test_several_classes_are_one_regression_each():
    parameters = {"depth": 2, "lam": 0.05, "sigma_b": 0.4}
    model = JacobianKernelClassifier(**parameters).fit(X, Y)
    single = [
        JacobianKernelRegressor(**parameters).fit(X, np.where(name == Y, 1.0, -1.0)).predict(X_NEW) for name in NAMES
    ]
    assert_allclose(model.decision_function(X_NEW), np.stack(single, axis=1), atol=1e-9)
    assert_array_equal(model.predict(X_NEW), NAMES[np.argmax(single, axis=0)])
    assert_array_equal(model.classes_, NAMES)
    assert model.score(X, Y) > 0.9


def test_two_classes_are_the_sign_of_one_output_which_can_be_attacked():
    y = np.where(Y == "low", "low", "high")
    model = JacobianKernelClassifier(2, lam=0.05, sigma_b=0.4).fit(X, y)
    signs = np.where(y == "low", 1.0, -1.0)
    regressor = JacobianKernelRegressor(2, lam=0.05, sigma_b=0.4).fit(X, signs)
    assert_allclose(model.decision_function(X_NEW), regressor.predict(X_NEW), atol=1e-12)
    assert_array_equal(model.predict(X_NEW), np.where(regressor.predict(X_NEW) > 0, "low", "high"))
    found = attack(model.regressor_, X, signs, 1.0)
    assert_array_equal(found.margin > 0, model.predict(found.X) == y)
