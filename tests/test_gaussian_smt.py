"""The surrogate for SMT is the estimator itself: with a stand-in for SMT's base class, and with SMT where it is."""

import importlib
import sys
import types
from collections import defaultdict

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from jacntk_lib import JacobianGaussianProcessRegressor

QUICK = JacobianGaussianProcessRegressor(metric="standard", optimizer=None)
X, X_NEW = np.split(np.random.default_rng(0).uniform(-1, 1, (16, 2)), [12])
Y = np.stack([np.sin(2 * X[:, 0]) * X[:, 1], X[:, 0] ** 2], axis=1)
SLOPES = [  # by each column, (12, 2)
    np.stack([2 * np.cos(2 * X[:, 0]) * X[:, 1], 2 * X[:, 0]], axis=1),
    np.stack([np.sin(2 * X[:, 0]), np.zeros(12)], axis=1),
]


class Options(dict):
    def declare(self, name, default, types=None, desc=""):
        assert isinstance(default, types)
        self[name] = default


class StandIn:
    """As much of SMT's SurrogateModel as a surrogate builds on."""

    def __init__(self, **options):
        self.options, self.supports, self.training_points = Options(), {}, defaultdict(dict)
        self._initialize()
        self.options.update(options)

    def set_training_values(self, xt, yt, name=None):
        self.training_points[name][0] = [xt, yt]

    def set_training_derivatives(self, xt, dyt_dxt, kx, name=None):
        self.training_points[name][kx + 1] = [xt, dyt_dxt]

    train = property(lambda self: self._train)
    predict_values = property(lambda self: self._predict_values)
    predict_derivatives = property(lambda self: self._predict_derivatives)
    predict_variances = property(lambda self: self._predict_variances)


def load(monkeypatch, base):
    """The module as it is with this class in SMT, or without SMT."""
    monkeypatch.delitem(sys.modules, "jacntk_lib.gaussian.smt", raising=False)
    for name in ("smt", "smt.surrogate_models", "smt.surrogate_models.surrogate_model"):
        monkeypatch.setitem(sys.modules, name, base and types.SimpleNamespace(SurrogateModel=base))
    return importlib.import_module("jacntk_lib.gaussian.smt")


@pytest.fixture(params=["stand-in", "smt"])
def surrogate(request, monkeypatch):
    if request.param == "stand-in":
        return load(monkeypatch, StandIn).JacobianSurrogate
    pytest.importorskip("smt", reason="SMT is an optional extra")
    return importlib.import_module("jacntk_lib.gaussian.smt").JacobianSurrogate


def trained(surrogate, xt, yt, derivatives, **options):
    model = surrogate(**options)
    if "print_global" in model.options:
        model.options["print_global"] = False
    model.set_training_values(xt, yt)
    for kx, (points, slopes) in derivatives.items():
        model.set_training_derivatives(points, slopes, kx)
    model.train()
    return model


def test_every_output_is_the_estimator_with_gradients(surrogate):
    model = trained(surrogate, X, Y, {kx: (X, slopes) for kx, slopes in enumerate(SLOPES)}, estimator=QUICK)
    assert model.supports["training_derivatives"]
    for k in range(2):
        reg = JacobianGaussianProcessRegressor(metric="standard", optimizer=None)
        reg.fit(X, Y[:, k], jacobian=np.stack([slopes[:, k] for slopes in SLOPES], axis=1))
        mean, std = reg.predict(X_NEW, return_std=True)
        assert_allclose(model.predict_values(X_NEW)[:, k], mean, rtol=1e-12)
        assert_allclose(model.predict_variances(X_NEW)[:, k], std**2, rtol=1e-12)
        for kx in range(2):
            assert_allclose(model.predict_derivatives(X_NEW, kx)[:, k], reg.predict_jacobian(X_NEW)[:, kx], rtol=1e-12)


def test_derivatives_at_points_of_their_own(surrogate):
    model = trained(surrogate, X[:8], Y[:8, :1], {1: (X[5:], SLOPES[1][5:, :1])}, estimator=QUICK)
    y, J = np.full(15, np.nan), np.full((15, 2), np.nan)
    y[:8], J[8:, 1] = Y[:8, 0], SLOPES[1][5:, 0]
    reg = JacobianGaussianProcessRegressor(metric="standard", optimizer=None)
    reg.fit(np.concatenate([X[:8], X[5:]]), y, jacobian=J)
    assert_array_equal(model.predict_values(X_NEW)[:, 0], reg.predict(X_NEW))


def test_values_alone_need_no_gradients(surrogate):
    model = trained(surrogate, X, Y[:, :1], {})
    assert model.models[0].metric_ in ("standard", "likelihood")
    assert_allclose(model.predict_values(X), Y[:, :1], atol=1e-2)


def test_without_smt_the_way_to_it_is_named(monkeypatch):
    with pytest.raises(ImportError, match=r"needs SMT .*: pip install 'jacntk\[smt\]'"):
        load(monkeypatch, None)


def test_passes_what_smt_asks_of_its_gradient_enhanced_surrogates():
    """The four functions of SMT's own test of training derivatives, with its error, from fewer points."""
    problems = pytest.importorskip("smt.problems", reason="SMT is an optional extra")
    from smt.sampling_methods import FullFactorial
    from smt.utils.misc import compute_relative_error

    surrogate = importlib.import_module("jacntk_lib.gaussian.smt").JacobianSurrogate
    for problem in (problems.Sphere(ndim=3), *(problems.TensorProduct(ndim=3, func=f) for f in ("exp", "tanh", "cos"))):
        sample = FullFactorial(xlimits=problem.xlimits, clip=True)
        xt, xe = sample(64), sample(200)
        slopes = {kx: (xt, problem(xt, kx=kx)) for kx in range(3)}
        model = trained(
            surrogate, xt, problem(xt), slopes, estimator=JacobianGaussianProcessRegressor(metric="gradient")
        )
        assert compute_relative_error(model) < 1e-2
        assert compute_relative_error(model, xe, problem(xe)) < 1e-2
