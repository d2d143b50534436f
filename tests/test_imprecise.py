"""The kernels in float32: near the exact ones, and not equal to them."""

import numpy as np
import pytest

from jacntk_book import datasets
from jacntk_lib import MLP, jacobian_nngp, jacobian_ntk
from jacntk_lib.spectrum.imprecise import gram_in_float32

X = datasets.sphere_net(8, 3, seed=0)
NETWORKS = [
    MLP(1, "erf"),
    MLP(3, "gelu", input_scale=(1.2, 0.7, 1.0)),
    MLP(2, "sin", sigma_b=0.4, sigma_w=1.2, input_scale=0.8, normalise=False),
]


@pytest.mark.parametrize("mlp", NETWORKS, ids=str)
def test_float32_everywhere(mlp):
    for tangent, build in ((True, jacobian_ntk), (False, jacobian_nngp)):
        exact = build(mlp, X).dense()
        rounded = gram_in_float32(mlp, X, tangent=tangent)
        assert rounded.dtype == np.float32
        error = np.abs(rounded - exact).max() / np.abs(exact).max()
        assert 1e-9 < error < 1e-5
        assert (rounded == rounded.T).all()
    assert gram_in_float32(mlp, X, tangent=True, values_only=True).shape == (8, 8)
