"""Points and networks that several test files share."""

import numpy as np
import torch

from jacntk_lib import MLP


def unit_points(N, d, seed=0):
    """(N, d), independent and uniform on the sphere."""
    X = np.random.default_rng(seed).standard_normal((N, d))
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def normal_tensor(n, d, seed=0):
    """(n, d), standard normal, for networks of torch."""
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, d)))


def mlp(depth=3, activation="erf", **settings):
    """Nothing at its default, so that a forgotten factor shows."""
    return MLP(depth, activation, **{"kappa": 0.7, "sigma_w": 1.3, "sigma_b": 0.4, "input_scale": 0.6} | settings)
