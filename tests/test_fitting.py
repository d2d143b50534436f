"""An estimator's refused or interrupted fit: the earlier model stays whole, and a first fit leaves none."""

import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.exceptions import NotFittedError

import jacntk_lib
from jacntk_lib import JacobianGaussianProcessRegressor, JacobianKernelClassifier, JacobianKernelRegressor
from jacntk_lib.errors import ConvergenceError, SingularGramError
from jacntk_lib.solve import Iterative

X, X_NEW = np.split(np.random.default_rng(0).standard_normal((12, 3)), [8])
Y = np.sin(X[:, 0])
LABELS = np.where(Y > 0, "up", "down")
TWICE = X[[0, 0, 1, 2]]
FAST = {"optimizer": None}
MODELS = {
    "regressor": (lambda: JacobianKernelRegressor(standardise=True), Y),
    "classifier": (JacobianKernelClassifier, LABELS),
    "process": (lambda: JacobianGaussianProcessRegressor(**FAST), Y),
}
HASTY = Iterative(tolerance=1e-14, max_iterations=1)
REFUSALS = {  # estimator, parameters of the refit, its data, what it raises
    "regressor, lam": ("regressor", {"lam": -1}, (2 * X, 9 * Y), ValueError),
    "regressor, depth": ("regressor", {"depth": 0}, (2 * X, 9 * Y), ValueError),
    "regressor, time": ("regressor", {"time": -1}, (X[:, :2], Y), ValueError),
    "regressor, X": ("regressor", {}, (X[:, :2] * np.nan, Y), ValueError),
    "regressor, conflict": ("regressor", {"ridge": 0.0}, (TWICE, [0.0, 1.0, 2.0, 3.0]), SingularGramError),
    "regressor, solver": ("regressor", {"solver": HASTY}, (2 * X, 9 * Y), ConvergenceError),
    "classifier, one class": ("classifier", {}, (X[:, :2], ["up"] * 8), ValueError),
    "classifier, ridge": ("classifier", {"ridge": -1}, (2 * X, list("abcdabcd")), ValueError),
    "process, depth": ("process", {"depth": 0}, (2 * X, 1000 * Y), ValueError),
    "process, scale": ("process", {"scale": -1}, (2 * X, 1000 * Y), ValueError),
    "process, noise": ("process", {"noise": -1}, (X[:, :2], 1000 * Y), ValueError),
    "process, metric": ("process", {"metric": "likelihood"}, (2 * X, 1000 * Y), ValueError),
    "process, solver": ("process", {"solver": HASTY}, (2 * X, 1000 * Y), ConvergenceError),
}


def output(model):
    return (model.decision_function if hasattr(model, "classes_") else model.predict)(X_NEW)


def assert_is_as_before(model, before, state):
    assert_array_equal(output(model), before)
    assert model.n_features_in_ == 3
    now = {name: value for name, value in vars(model).items() if name not in model.get_params()}
    assert now.keys() == state.keys()
    assert all(now[name] is state[name] for name in now)


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refused_refit_keeps_the_model(name):
    kind, parameters, data, error = REFUSALS[name]
    build, y = MODELS[kind]
    model = build().fit(X, y)
    before, state = output(model), {k: v for k, v in vars(model).items() if k not in model.get_params()}
    model.set_params(**parameters)
    with pytest.raises(error):
        model.fit(*data)
    assert_is_as_before(model, before, state)
    first = build().set_params(**parameters)
    with pytest.raises(error):
        first.fit(*data)
    with pytest.raises(NotFittedError):
        first.predict(X_NEW)


class Interrupt:
    """Raise KeyboardInterrupt as the library enters its ``last``-th function; ``count`` is how many it has entered."""

    def __init__(self, last=None):
        self.count, self.last = 0, last

    def __call__(self, frame, event, argument):
        if jacntk_lib.__path__[0] in frame.f_code.co_filename:
            self.count += 1
            if self.count == self.last:
                raise KeyboardInterrupt

    def __enter__(self):
        self.before = sys.gettrace()
        sys.settrace(self)
        return self

    def __exit__(self, *exception):
        sys.settrace(self.before)


@pytest.mark.parametrize("kind", MODELS)
def test_an_interrupted_fit_keeps_the_model_wherever_it_is_interrupted(kind):
    build, y = MODELS[kind]
    model, other = build().fit(X, y), (X[:, :2] + 1.0, y[::-1])
    before, state = output(model), {k: v for k, v in vars(model).items() if k not in model.get_params()}
    uninterrupted = build().fit(*other)  # what jax compiles is compiled once
    with Interrupt() as whole:
        uninterrupted.fit(*other)
    for place in range(1, 9):
        last = max(2, whole.count * place // 8)  # the first function is the decorator's
        with pytest.raises(KeyboardInterrupt), Interrupt(last):
            model.fit(*other)
        assert_is_as_before(model, before, state)
        first = build()
        with pytest.raises(KeyboardInterrupt), Interrupt(last):
            first.fit(*other)
        with pytest.raises(NotFittedError):
            first.predict(X_NEW)
    assert model.fit(*other) is model
    assert model.n_features_in_ == 2
