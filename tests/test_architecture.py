"""The description of a network."""

import dataclasses
import functools

import numpy as np
import pytest
import torch

from jacntk_book.experiments import figure1
from jacntk_lib import activations, finite
from jacntk_lib.architecture import MLP
from jacntk_lib.dynamics import RobustFlow
from jacntk_lib.dynamics.ties import Distinct
from jacntk_lib.finite.factors import factors
from jacntk_lib.gaussian.covariance import Covariance
from jacntk_lib.gaussian.likelihood import Observations
from jacntk_lib.gaussian.local import LocalPosterior
from jacntk_lib.kernels import block_function, jacobian_nngp, jacobian_ntk
from jacntk_lib.kernels.adjoint import pull_back
from jacntk_lib.kernels.scalars import between
from jacntk_lib.networks import FiniteMLP
from jacntk_lib.robustness import certified_radius
from jacntk_lib.spectrum import degeneracies, depth_gain, positivity
from jacntk_lib.spectrum.enclosures import gram_in_float64
from jacntk_lib.training.objective import RobustObjective


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


@dataclasses.dataclass(frozen=True)
class Skipping(MLP):
    """An architecture that nothing in the library has formulas for."""

    skip: float = 0.0


X = np.array([[0.3, -0.2], [0.1, 0.5], [-0.4, 0.2]])


def finite_network(mlp):
    net = FiniteMLP(MLP(2), 4, 2)
    net.mlp = mlp
    return net


def flow_of(mlp):
    flow = RobustFlow(MLP(2), X, X[:, 0])
    flow.mlp = mlp
    return functools.partial(flow.at, 1.0)


def posterior(mlp):
    seen, values = (
        Observations(X, np.ones((3, 3)), np.zeros((3, 3))),
        {"amplitude": 1, "noise": 0.1, "noise_gradient": 0.1},
    )
    local = LocalPosterior(seen, Covariance(MLP(2), False, np.eye(2)), values, 3, np.random.RandomState(0))
    local._covariance = Covariance(mlp, False, np.eye(2))
    return local


CONSUMERS = {
    "jacobian_nngp": lambda mlp: jacobian_nngp(mlp, X),
    "jacobian_ntk": lambda mlp: jacobian_ntk(mlp, X),
    "the layer recursion": lambda mlp: between(mlp, X, X, tangent=True),
    "block_function": block_function,
    "pull_back": lambda mlp: pull_back(mlp, np.ones(3), X @ X.T, [np.ones((3, 3))] * 8, tangent=True),
    "a local prediction": lambda mlp: posterior(mlp).mean(X),
    "a certificate": lambda mlp: gram_in_float64(mlp, X, tangent=True),
    "degeneracies": lambda mlp: degeneracies(mlp, X),
    "positivity": lambda mlp: positivity(mlp, X),
    "depth_gain": lambda mlp: depth_gain(mlp, X),
    "the search for tied points": lambda mlp: Distinct.among(mlp, X),
    "RobustFlow": lambda mlp: RobustFlow(mlp, X, X[:, 0]),
    "certified_radius": lambda mlp: certified_radius(flow_of(mlp), X, [1.0, 1.0, -1.0]),
    "FiniteMLP": lambda mlp: FiniteMLP(mlp, 4, 2),
    "finite.factors": lambda mlp: factors(finite_network(mlp), torch.from_numpy(X)),
    "finite.jacobian_nngp": lambda mlp: finite.jacobian_nngp(finite_network(mlp), X),
    "finite.jacobian_ntk": lambda mlp: finite.jacobian_ntk(finite_network(mlp), X),
    "training": lambda mlp: RobustObjective(finite_network(mlp), X, X[:, 0], 0.1).evaluate(),
    "next_covariance": lambda mlp: figure1.next_covariance(mlp, jacobian_nngp(MLP(1), X).dense().reshape(3, 3, 3, 3)),
}


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_a_field_without_formulas_is_refused(consumer):
    CONSUMERS[consumer](Skipping(2))
    with pytest.raises(NotImplementedError, match=f"{consumer} does not know skip=0.5 .* its default, 0.0"):
        CONSUMERS[consumer](Skipping(2, skip=0.5))
