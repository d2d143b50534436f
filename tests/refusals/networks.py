"""Refusals of finite networks, of their training and of attacks."""

import functools
import math

import numpy as np
import torch

from jacntk_lib import MLP, finite
from jacntk_lib.robustness import accuracy_under_attack, attack, certified_radius
from jacntk_lib.training import max_learning_rate, train

from .common import INF, NAN, SIGNS, C, T, V, X, Y, fit, flow, network, slope


def trained(**options):
    given = {"net": network(), "X": X, "y": Y, "lam": 0.1, "learning_rate": 0.1, "steps": 4}
    return train(**given | options)


def kernel(**options):
    return finite.jacobian_ntk(**{"net": network(), "X": X} | options)


def attacked(**options):
    return attack(**{"model": slope, "X": X, "y": SIGNS, "size": 0.1} | options)


LIST = {
    "networks": [
        (lambda: network(mlp="erf"), T, "mlp must be an MLP, got 'erf'"),
        (lambda: network(width=0), V, "width must be at least 1, got 0"),
        (lambda: network(width=2.0), T, "width must be an integer, got 2.0"),
        (lambda: network(width=[3, 0, 3]), V, r"width\[1\] must be at least 1, got 0"),
        (lambda: network(width=[3, 3]), V, "width has 2 entries, but the network has 3 hidden layers: give"),
        (lambda: network(input_dim=0), V, "input_dim must be at least 1, got 0"),
        (lambda: network(seed=-1), V, "seed must be at least 0, got -1"),
        (lambda: network(seed=2**64), V, r"seed must be below 2\*\*64"),
        (lambda: network(dtype=torch.float16), T, "dtype must be torch.float32 or torch.float64, got torch.float16"),
        (lambda: network(device="nowhere"), V, "device 'nowhere' is unknown to torch; use 'cpu'"),
        (lambda: network()(X[0]), V, r"X has shape \(3,\)"),
        (lambda: network()(torch.ones(3)), V, r"X has shape \(3,\): a matrix .* X\[None, :\]"),
        (lambda: network()(torch.ones(1, 1, 3)), V, r"X has shape \(1, 1, 3\)"),
        (lambda: network()(X[:, :2]), V, "X has 2 input dimensions, but the network was built with input_dim=3: give"),
        (lambda: network()(torch.ones(2, 4)), V, "X has 4 input dimensions, but the network was built with"),
        (lambda: network()(X[:0]), V, r"X is empty \(shape \(0, 3\)\)"),
        (lambda: network()(torch.ones(0, 3)), V, r"X is empty \(shape \(0, 3\)\)"),
        (lambda: network().value_and_jacobian(NAN), V, "X contains 9 non-finite"),
        (lambda: network().value_and_jacobian(torch.tensor(INF)), V, "X contains non-finite values; remove"),
        (lambda: network()(X * 1j), T, "X has dtype complex128: real numbers are needed"),
        (lambda: network()(torch.ones(2, 3) * 1j), T, "X has dtype torch.complex64: real numbers are needed"),
        (lambda: network()([["a", "b", "c"]]), T, "X has dtype <U1"),
    ],
    "finite": [
        (lambda: kernel(net=MLP(3)), T, "net must be a FiniteMLP, got MLP"),
        (lambda: kernel(X=X[0]), V, r"X has shape \(3,\)"),
        (lambda: kernel(X=X[:, :2]), V, "X has 2 input dimensions, but the network was built with input_dim=3"),
        (lambda: kernel(X2=X[:, :2]), V, "X2 has 2 input dimensions, but the network was built with"),
        (lambda: kernel(X2=NAN), V, "X2 contains 9 non-finite"),
        (lambda: kernel(memory=0), V, "memory must be at least 1, got 0"),
        (lambda: finite.jacobian_nngp("net", X), T, "net must be a FiniteMLP, got str"),
    ],
    "training": [
        (lambda: trained(net=MLP(3)), T, "net must be a FiniteMLP, got MLP"),
        (lambda: trained(X=X[0]), V, r"X has shape \(3,\)"),
        (lambda: trained(X=X[:, :2]), V, "X has 2 input dimensions, but the network was built with input_dim=3"),
        (lambda: trained(y=Y[:2]), V, r"y has shape \(2,\), but shape \(3,\) is needed"),
        (lambda: trained(y=Y[:, None]), V, r"y has shape \(3, 1\), but shape \(3,\) is needed"),
        (lambda: trained(y=[1, 1, np.nan]), V, "y contains 1 non-finite value"),
        (lambda: trained(y=None), T, "y has dtype object"),
        (lambda: trained(lam=-0.1), V, "lam must not be negative, got -0.1"),
        (lambda: trained(lam=np.ones(3)), T, "lam must be a real number"),
        (lambda: trained(learning_rate=0), V, "learning_rate must be positive, got 0.0"),
        (lambda: trained(learning_rate=1e6), V, "learning_rate .* is not below .*, the stability limit"),
        (lambda: trained(steps=-1), V, "steps must be at least 0, got -1"),
        (lambda: trained(steps=2.5), T, "steps must be an integer, got 2.5"),
        (lambda: trained(record=[0, 13]), V, "record asks for step 13, but training ends after steps=4"),
        (lambda: trained(record=[-1]), V, r"record\[\.\.\.\] must be at least 0, got -1"),
        (lambda: trained(reference=X), V, r"reference has shape \(3, 3\), but shape \(12, 12\) is needed"),
        (lambda: trained(X_test=X[:, :2]), V, "X_test has 2 input dimensions, but the network was built with"),
        (lambda: trained(memory=0), V, "memory must be at least 1, got 0"),
        (lambda: max_learning_rate("net", X, 0.1), T, "net must be a FiniteMLP, got str"),
        (lambda: max_learning_rate(network(), X, -1), V, "lam must not be negative, got -1"),
        (
            lambda: trained(
                net=network(mlp=MLP(3, "gelu"), width=64), learning_rate=1e8, steps=99, allow_unstable=True
            ),
            C,
            r"diverged: after \d+ steps .* use a rate well below",
        ),
    ],
    "robustness": [
        (lambda: attacked(norm="l1"), V, "norm must be one of 'l2', 'linf', got 'l1'"),
        (lambda: attacked(size=-0.1), V, "size must not be negative, got -0.1"),
        (lambda: attacked(size=math.nan), V, "size must be finite, got nan"),
        (lambda: attacked(size=[0.1]), T, r"size must be a real number, got \[0.1\]"),
        (lambda: attacked(steps=0), V, "steps must be at least 1, got 0"),
        (lambda: attacked(restarts=0), V, "restarts must be at least 1, got 0"),
        (lambda: attacked(step_size=0.0), V, "step_size must be positive, got 0"),
        (lambda: attacked(seed=-1), V, "seed must be at least 0, got -1"),
        (lambda: attacked(X=NAN), V, "X contains 9 non-finite"),
        (lambda: attacked(X=X[0]), V, r"X has shape \(3,\)"),
        (lambda: attacked(y=SIGNS[:2]), V, r"y has shape \(2,\), but shape \(3,\) is needed"),
        (lambda: attacked(y=SIGNS * np.nan), V, "y contains 3 non-finite"),
        (
            lambda: attacked(y=np.arange(3)),
            V,
            "labels must be -1 or [+]1 for a model with one output, got 0 at index 0",
        ),
        (lambda: attacked(model=3), T, "model must be a fitted JacobianKernelRegressor"),
        (lambda: attacked(model=lambda Z: Z), V, r"model returned has shape \(3, 3\), but shape \(3, 4\) is needed"),
        (lambda: attacked(model=lambda Z: np.zeros(())), V, "what the model returned has shape"),
        (lambda: attacked(model=lambda Z: slope(Z) * np.nan), V, "what the model returned contains 12 non-finite"),
        (lambda: attacked(model=lambda Z: np.zeros((3, 3, 4))), V, "must be classes 0 to 2 .* got -1"),
        (lambda: attacked(model=lambda Z: np.zeros((3, 2, 4)), y=X[0] / 2), V, "must be classes 0 to 1 .* got 0.5"),
        (
            lambda: certified_radius(network(), X, SIGNS),
            T,
            "pass a fitted JacobianKernelRegressor .* not a FiniteMLP",
        ),
        (lambda: certified_radius(flow(), X, SIGNS), T, r"functools.partial\(flow.at, t\), not a RobustFlow"),
        (lambda: certified_radius(functools.partial(flow().at), X, SIGNS), T, "the time t and nothing else"),
        (
            lambda: certified_radius(functools.partial(flow(y=np.eye(3)).at, 1.0), X, SIGNS),
            V,
            r"one output is needed, but the targets have shape \(3, 3\)",
        ),
        (lambda: certified_radius(fit(), X, Y), V, "labels must be -1 or \\+1 .* got 0.5"),
        (lambda: accuracy_under_attack(slope, X, SIGNS, []), V, r"sizes has shape \(0,\): one or more sizes in a row"),
        (lambda: accuracy_under_attack(slope, X, SIGNS, 0.1), V, r"sizes has shape \(\): one or more sizes in a row"),
        (lambda: accuracy_under_attack(slope, X, SIGNS, [0.1, -0.1]), V, "size must not be negative, got -0.1"),
    ],
}
