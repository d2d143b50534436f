"""Refusals of the dynamics and of the estimators."""

import math

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from jacntk_lib import (
    MLP,
    JacobianGaussianProcessRegressor,
    JacobianKernelClassifier,
    JacobianKernelRegressor,
    RobustFlow,
)
from jacntk_lib.solve import Exact, Iterative

from .common import INF, MASKED, NAN, TABLE, C, S, T, V, X, Y, fit, flow, quadrature, slope


def twice(y):
    """A flow on three points and a copy of the first, without ridge."""
    return RobustFlow(MLP(2, "gelu"), np.concatenate([X, X[:1]]), np.append(Y, y))


def process(X=X, y=Y, jacobian=None, **parameters):
    return JacobianGaussianProcessRegressor(**{"optimizer": None, **parameters}).fit(X, y, jacobian=jacobian)


def classes(X=X, y=("a", "b", "a")):
    return JacobianKernelClassifier().fit(X, y)


LIST = {
    "dynamics": [
        (lambda: flow("erf"), T, "mlp must be an MLP, got 'erf'"),
        (lambda: flow(X=X[0]), V, r"X has shape \(3,\)"),
        (lambda: flow(X=NAN), V, "X contains 9 non-finite"),
        (lambda: flow(X=X * 1j), T, "X has dtype complex128"),
        (lambda: flow(X=X[:0], y=Y[:0]), V, "X is empty"),
        (lambda: flow(y=Y[:2]), V, r"y has shape \(2,\), but shape \(3,\) is needed"),
        (lambda: flow(y=np.ones((3, 1, 1))), V, r"y has shape \(3, 1, 1\)"),
        (lambda: flow(y=np.ones((3, 0))), V, r"y has shape \(3, 0\): at least one output is needed"),
        (lambda: flow(y=Y * np.inf), V, "y contains 3 non-finite"),
        (lambda: flow(y=1.0), V, r"y has shape \(\)"),
        (lambda: flow(y=["a", "b", "c"]), T, "y has dtype <U1"),
        (lambda: flow(X=MASKED), V, "X has 3 masked entries"),
        (lambda: flow(y=csr_array(Y)), T, r"y is sparse .*; pass y.toarray\(\)"),
        (lambda: flow(y=Y * 4e307), V, r"y has entries up to 4.0e\+307 in size: between 1e-75 and 1e\+75 is needed"),
        (lambda: flow(y=Y * 1e-300), V, "y has entries up to 1.0e-300 in size: between"),
        (lambda: flow(jacobian_targets=X * 1e200), V, r"jacobian_targets has entries up to 1.0e\+200"),
        (
            lambda: flow(X=TABLE).at(1.0, TABLE[["c", "b", "a"]]),
            V,
            "column 0 of X_new is 'c', but .* is 'a': give both",
        ),
        (lambda: flow(lam=-0.1), V, "lam must not be negative, got -0.1"),
        (lambda: flow(lam=[0.1, -0.1, 0.0]), V, "lam must not be negative, got -0.1 at index 1"),
        (lambda: flow(lam=[0.1, 0.1]), V, r"lam has shape \(2,\), but a number, shape \(3,\) .one per point."),
        (lambda: flow(y=Y * np.nan), V, "y contains 3 non-finite"),
        (lambda: flow(y=Y * np.nan, jacobian_targets=NAN), V, "point 0 has neither a value nor a derivative"),
        (lambda: flow(y=Y * np.nan, jacobian_targets=X, lam=0), V, "no target has any weight: every value is NaN"),
        (lambda: flow(jacobian_targets=INF), V, "jacobian_targets contains 9 non-finite"),
        (lambda: flow(lam=math.nan), V, "lam must be finite, got nan"),
        (lambda: flow(lam="0.1"), T, "lam must be a real number, got '0.1'"),
        (lambda: flow(ridge=-1.0), V, "ridge must not be negative, got -1"),
        (lambda: flow(solver="fast"), V, "solver must be 'auto', 'exact', 'iterative', or an Exact .* got 'fast'"),
        (lambda: Exact(cutoff=-1.0), V, "cutoff must not be negative, got -1"),
        (lambda: Iterative(tolerance=0.0), V, "tolerance must be positive, got 0"),
        (lambda: Iterative(memory=0), V, "memory must be at least 1, got 0"),
        (lambda: Iterative(exact_rows=0), V, "exact_rows must be at least 1, got 0"),
        (lambda: flow(jacobian_targets=np.ones((3, 1))), V, r"jacobian_targets has shape \(3, 1\), but shape \(3, 3\)"),
        (lambda: flow(y=X[:, :2], jacobian_targets=X), V, r"jacobian_targets has shape .* shape \(3, 2, 3\) is needed"),
        (lambda: flow().at(-1.0), V, "t must not be negative, got -1"),
        (lambda: flow().at(math.nan), V, "t must be finite, got nan"),
        (lambda: flow().at(-math.inf), V, "t must be finite, got -inf"),
        (lambda: flow().at(True), T, "t must be a real number, got True"),
        (lambda: flow().at([1.0]), T, r"t must be a real number, got \[1.0\]"),
        (lambda: flow().at(1.0, np.ones((2, 2))), V, "X_new has 2 input dimensions but the other points have 3"),
        (lambda: flow().at(1.0, np.ones(3)), V, r"X_new has shape \(3,\)"),
        (lambda: flow().at(1.0, None, 3), T, "initial must be a FiniteMLP or a callable .* got 3"),
        (lambda: flow().at(1.0, None, lambda Z: Z), V, r"what initial returned has shape \(3, 3\), but shape \(3, 4\)"),
        (lambda: flow().after(-1, 0.1), V, "steps must be at least 0, got -1"),
        (lambda: flow().after(1.5, 0.1), T, "steps must be an integer, got 1.5"),
        (lambda: flow().after(10**400, 0.1), V, r"steps must be below 2\*\*63"),
        (lambda: flow().at(10**400), V, "t must be finite, got inf"),
        (
            lambda: flow().at(1.0, None, lambda Z: 1e200 * slope(Z)),
            V,
            r"what initial returned has entries up to 1.0e\+200",
        ),
        (lambda: flow().after(1, 0.0), V, "learning_rate must be positive, got 0"),
        (lambda: flow().after(1, 1e6), V, "diverges at learning_rate=1e[+]06: stability needs less than"),
        (lambda: flow().after(10**6, 1e6, allow_unstable=True), V, "grown beyond float64"),
        (lambda: flow().ensemble(-1.0), V, "t must not be negative, got -1"),
        (lambda: flow().ensemble(1.0).sample(0), V, "count must be at least 1, got 0"),
        (lambda: flow().value_std(1.0, X[:0]), V, "X_new is empty"),
        (lambda: flow().eigenfeatures(X[:, :1]), V, "X_new has 1 input dimensions"),
        (lambda: flow().integrate(math.inf), V, "t must be finite, got inf"),
        (lambda: flow().integrate(1.0, rtol=0.0), V, "rtol must be positive, got 0"),
        (lambda: flow().integrate(1e6, max_steps=3), C, "in 3 steps"),
        (lambda: twice(-3.0).at(math.inf), S, "points 0 and 3 are equal"),
    ],
    "regression": [
        (lambda: fit(depth=0), V, "depth must be at least 1, got 0"),
        (lambda: fit(activation="relu"), V, "activation 'relu' is not smooth"),
        (lambda: fit(sigma_w=0.0), V, "sigma_w must be positive, got 0"),
        (lambda: fit(sigma_b=-1.0), V, "sigma_b must not be negative, got -1"),
        (lambda: fit(lam=-1.0), V, "lam must not be negative, got -1"),
        (lambda: fit(ridge=-1.0), V, "ridge must not be negative, got -1"),
        (lambda: fit(time=0.0), V, "time must be positive, got 0"),
        (lambda: fit(time="inf"), T, "time must be a real number, got 'inf'"),
        (lambda: fit(time=math.nan), V, "time must be finite, got nan"),
        (lambda: fit(input_scale="unit"), V, "input_scale must be 'auto' or a positive number, got 'unit'"),
        (lambda: fit(input_scale=-1.0), V, "input_scale must be positive, got -1"),
        (lambda: fit(solver="fast"), V, "solver must be 'auto', 'exact', 'iterative', or an Exact .* got 'fast'"),
        (lambda: fit().sample(X, 0), V, "n_samples must be at least 1, got 0"),
        (lambda: JacobianKernelRegressor().fit(X * 1e160, Y), V, r"X has entries up to 1.0e\+160 in size: between"),
        (lambda: JacobianKernelRegressor().fit(X * 1e-160, Y), V, "X has entries up to 1.0e-160 in size: between"),
        (lambda: JacobianKernelRegressor().fit(X, Y * 4e307), V, r"y has entries up to 4.0e\+307 in size: between"),
        (lambda: JacobianKernelRegressor().fit(MASKED, Y), V, "X has 3 masked entries"),
        (lambda: JacobianKernelRegressor().fit(X, np.ma.array(Y, mask=Y < 0)), V, "y has 1 masked entries"),
        (lambda: fit().predict(MASKED), V, "X has 3 masked entries"),
        (lambda: JacobianKernelRegressor().fit(X.astype(str), Y), T, "X has dtype <U32 and holds text: real numbers"),
        (lambda: JacobianKernelRegressor().fit(X.astype(str).astype(object), Y), T, "dtype object and holds text"),
        (lambda: JacobianKernelRegressor().fit(X, Y.astype(str)), T, "y has dtype <U32 and holds text"),
        (lambda: fit().predict(X.astype(str)), T, "X has dtype <U32 and holds text"),
        (lambda: JacobianKernelRegressor().fit(csr_array(X), Y), T, r"X is sparse \(csr_array\)"),
        (
            lambda: JacobianKernelRegressor().fit([[10**400]], [1.0]),
            V,
            "X holds an integer beyond the range of float64",
        ),
        (lambda: JacobianKernelRegressor().fit(X * 1j, Y), V, "Complex data not supported"),
        (lambda: JacobianKernelRegressor().fit(NAN, Y), V, "Input X contains NaN"),
        (lambda: fit().predict(X[:, :2]), V, "X has 2 features, but .* is expecting 3"),
        (lambda: JacobianKernelRegressor().predict(X), V, "is not fitted yet. Call 'fit'"),
    ],
    "classification": [
        (lambda: classes(MASKED), V, "X has 3 masked entries"),
        (lambda: classes(X.astype(str)), T, "X has dtype <U32 and holds text: real numbers"),
        (lambda: classes(y=np.ma.array([0, 1, 1], mask=[False, True, False])), V, "y has 1 masked entries"),
        (lambda: classes(y=["a", "a", "a"]), V, "y has one class, 'a': two or more are needed"),
        (lambda: classes(y=["a", None, "b"]), V, r"y has no label \(None\) at index 1: give it one, or remove"),
        (
            lambda: classes(y=["a", 1, "b"]),
            T,
            "y mixes text and numbers .'a' at index 0, 1 at index 1.: give",
        ),
        (lambda: classes(y=np.array([1.0, 2, "b"], dtype=object)), T, "y mixes numbers and text"),
        (lambda: classes().predict(MASKED), V, "X has 3 masked entries"),
        (lambda: classes().predict(X.astype(str)), T, "X has dtype <U32 and holds text: real numbers"),
        (lambda: JacobianKernelClassifier().predict(X), V, "is not fitted yet. Call 'fit'"),
    ],
    "gaussian": [
        (lambda: process(kernel="rbf"), V, "kernel must be 'nngp' or 'ntk', got 'rbf'"),
        (lambda: process(depth=0), V, "depth must be at least 1, got 0"),
        (lambda: process(metric="full"), V, "metric must be one of auto, standard, .* got 'full'"),
        (lambda: process(metric="gradient"), V, "metric='gradient' needs gradients: .* pass jacobian="),
        (lambda: process(metric="likelihood"), V, "metric='likelihood' fits scales: give it an optimizer"),
        (lambda: process(scale=0.0), V, "scale must be positive, got 0"),
        (lambda: process(scale_bounds=(1.0,)), T, r"scale_bounds must be 'fixed' or a pair .* got \(1.0,\)"),
        (lambda: process(scale_bounds=(2.0, 1.0)), V, r"scale_bounds must be \(low, high\) with low <= high"),
        (lambda: process(sigma_b=-1.0), V, "sigma_b must be positive, got -1"),
        (lambda: process(amplitude="best"), V, "amplitude must be 'auto' or a positive number, got 'best'"),
        (lambda: process(noise="none"), V, "noise must be 'auto' or a standard deviation, got 'none'"),
        (lambda: process(noise=-1.0), V, "noise must not be negative, got -1"),
        (lambda: process(noise=[1.0, 2.0]), V, r"noise has shape \(2,\), but .* \(3,\) is needed"),
        (lambda: process(noise_gradient=[[1.0, -2.0, 0.0]]), V, "noise_gradient must not be negative, got -2"),
        (lambda: process(optimizer="adam"), V, "optimizer must be 'fmin_l_bfgs_b', a function or None, got 'adam'"),
        (lambda: process(n_restarts_optimizer=-1), V, "n_restarts_optimizer must be at least 0, got -1"),
        (lambda: process(y=X), V, r"y has shape \(3, 3\), but a model is of one output: give .* jacobian=J\[:, k\]"),
        (lambda: process(jacobian=X[:2]), V, r"jacobian has shape \(2, 3\), but shape \(3, 3\) is needed"),
        (lambda: process(jacobian=np.ma.masked_array(X, X > 0)), V, "jacobian has .* masked entries"),
        (lambda: process(jacobian=X + 5j), T, "jacobian has dtype complex128: real numbers are needed"),
        (
            lambda: JacobianKernelRegressor().fit(X, Y, jacobian=X + 5j),
            T,
            "jacobian has dtype complex128: real numbers are needed",
        ),
        (lambda: process(X=MASKED), V, "X has 3 masked entries"),
        (lambda: process(y=np.ma.array(Y, mask=Y < 0)), V, "y has 1 masked entries"),
        (lambda: process(X=X.astype(str)), T, "X has dtype <U32 and holds text: real numbers"),
        (lambda: process().predict(MASKED), V, "X has 3 masked entries"),
        (lambda: process().predict(X.astype(str)), T, "X has dtype <U32 and holds text: real numbers"),
        (lambda: JacobianGaussianProcessRegressor(amplitude=1.0).sample_y(MASKED), V, "X has 3 masked entries"),
        (
            lambda: process(pd.DataFrame(X, columns=[*"abc"]), jacobian=pd.DataFrame(X, columns=[*"acb"])),
            V,
            r"jacobian has the columns \['a', 'c', 'b'\]: give it those of X, in their order",
        ),
        (lambda: process(depth=500, metric="standard"), S, "no Cholesky factor in float64 .at pre-.* depth"),
        (
            lambda: process(jacobian=INF),
            V,
            r"jacobian contains 9 non-finite .*inf at index \(0, 0\)",
        ),
        (lambda: process(jacobian="slopes"), T, "jacobian has dtype <U6 and holds text"),
        (lambda: process(y=[1.0, np.nan, 2.0]), V, "Input y contains NaN at point 1, and no derivative .* remove"),
        (lambda: process(X=NAN), V, "Input X contains NaN"),
        (lambda: process(solver="fast"), V, "solver must be 'auto', .* got 'fast'"),
        (
            lambda: process(np.ones((5, 3001)), np.ones(5), np.ones((5, 3001)), solver="exact"),
            V,
            "15010 observed numbers need a dense .* take solver='auto' or neighbours",
        ),
        (lambda: process(neighbours=0), V, "neighbours must be at least 1, got 0"),
        (lambda: process(neighbours=2.5), T, "neighbours must be an integer, got 2.5"),
        (
            lambda: process(neighbours=2).predict(X, return_cov=True),
            NotImplementedError,
            "covariances and samples of 3 predictions do not exist .* return_std, or neighbours=None",
        ),
        (
            lambda: process(activation=quadrature().activation, optimizer="fmin_l_bfgs_b"),
            V,
            "'own' has no closed form.*optimizer=None",
        ),
        (lambda: process().predict(X, return_std=True, return_cov=True), V, "return_std and return_cov exclude"),
        (lambda: process().log_marginal_likelihood([0.0]), V, r"theta has shape \(1,\), but \(0,\) is needed"),
        (lambda: process().sample_y(X, 0), V, "n_samples must be at least 1, got 0"),
        (lambda: JacobianGaussianProcessRegressor().predict(X), V, "is not fitted yet. Call 'fit'"),
        (
            lambda: process(np.concatenate([X, X]), np.arange(6.0), noise=0.0, metric="standard"),
            C,
            "relative residual of .* raise noise",
        ),
    ],
}
