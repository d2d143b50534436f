"""Points, networks and problems that several test files share."""

import numpy as np
import torch

from jacntk_lib import MLP


def unit_points(N, d, seed=0):
    """(N, d), independent and uniform on the sphere."""
    X = np.random.default_rng(seed).standard_normal((N, d))
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def normal_points(N=6, d=3, seed=0):
    """(N, d), independent and standard normal."""
    return np.random.default_rng(seed).standard_normal((N, d))


def alternating(N=6):
    """Labels 1, -1, 1, ..."""
    return np.where(np.arange(N) % 2, -1.0, 1.0)


def normal_tensor(n, d, seed=0):
    """(n, d), standard normal, for networks of torch."""
    return torch.from_numpy(normal_points(n, d, seed))


def mlp(depth=3, activation="erf", **settings):
    """Nothing at its default, so that a forgotten factor shows."""
    return MLP(depth, activation, **{"kappa": 0.7, "sigma_w": 1.3, "sigma_b": 0.4, "input_scale": 0.6} | settings)


def problem(N=5, d=3, K=None, seed=0):
    """Training points, targets (N,) or (N, K), and three new points."""
    rng = np.random.default_rng(seed + 100)
    return unit_points(N, d, seed), rng.standard_normal((N,) if K is None else (N, K)), unit_points(3, d, seed + 1)


def rows(prediction):
    """A prediction as a vector, by point, then value and derivatives."""
    return np.concatenate([prediction.value[..., None], prediction.jacobian], axis=-1).ravel()


def weights(lam, N, d):
    """Lam as a vector: 1 for every value, lambda for every derivative, a number, (N,), (1, d) or (N, d)."""
    lam = np.asarray(lam)
    lam = np.broadcast_to(lam[:, None] if lam.ndim == 1 else lam, (N, d))
    return np.concatenate([np.ones((N, 1)), lam], axis=1).ravel()


def some_network(Z):
    """A smooth function and its gradient, as a start."""
    slope = np.arange(1.0, Z.shape[1] + 1)
    return np.concatenate([np.sin(Z @ slope)[:, None], np.cos(Z @ slope)[:, None] * slope], axis=1)


def surface(X):
    """A smooth function in awkward units, and its gradient."""
    a, b = X[:, 0] / 30, X[:, 1] * 4
    y = 500 + 70 * (np.sin(a) + 0.5 * b**2 + 0.2 * a * b)
    return y, 70 * np.stack([(np.cos(a) + 0.2 * b) / 30, 4 * (b + 0.2 * a)], axis=1)


def surface_points(N, seed=0):
    """(N, 2), columns of unlike size."""
    return np.random.default_rng(seed).uniform([-50, -0.37], [70, 0.43], (N, 2))


def partly_observed():
    """Ten points of which some derivatives, some gradients and one value were not observed, and six new ones."""
    X = surface_points(10)
    y, J = surface(X)
    J[0], J[1, 1], J[2, 0], y[3] = np.nan, np.nan, np.nan, np.nan
    return X, y, J, surface_points(6, seed=1)
