"""The description of a network."""

import dataclasses

import numpy as np
import pytest

from jacntk_lib import activations
from jacntk_lib.architecture import MLP


def test_defaults_are_the_papers_setting():
    mlp = MLP(depth=2)
    assert (mlp.activation, mlp.kappa, mlp.sigma_w, mlp.sigma_b) == ("erf", 0.1, 1.0, 0.0)
    assert mlp.normalise is True
    assert mlp.input_scale == 1.0


def test_normalisation():
    assert MLP(1, "gelu").phi_scale == pytest.approx(activations.get("gelu").second_moment ** -0.5)
    assert MLP(1, "gelu", normalise=False).phi_scale == 1.0


def test_frozen_hashable_and_converted():
    mlp = MLP(depth=3, kappa=1, sigma_b=0)
    assert isinstance(mlp.kappa, float)
    assert hash(mlp) == hash(MLP(depth=3, kappa=1.0))
    with pytest.raises(dataclasses.FrozenInstanceError):
        mlp.depth = 4


def test_one_input_scale_per_column():
    mlp = MLP(2, input_scale=np.array([0.5, 2.0]))
    assert mlp.input_scale == (0.5, 2.0)
    assert hash(mlp) == hash(MLP(2, input_scale=[0.5, 2]))
    assert mlp.column_scales(2).tolist() == [0.5, 2.0]
    assert mlp.common_scale == 1.0
    assert MLP(2, input_scale=0.5).column_scales(7) is None
    assert MLP(2, input_scale=np.float64(0.5)).common_scale == 0.5


def test_own_activation():
    phi = activations.Activation.from_derivatives("my tanh", activations.tanh_derivatives())
    assert MLP(2, phi).phi is phi
