"""Kernels with the errors of float32 or of sampling: what the errors are, and what they are not."""

import numpy as np
import pytest

from jacntk_lib import MLP, datasets, jacobian_nngp, jacobian_ntk
from jacntk_lib.imprecise import gram_in_float32, sampled_ntk

X = datasets.sphere_net(8, 3, seed=0)
NETWORKS = [MLP(1, "erf"), MLP(3, "gelu"), MLP(2, "sin", sigma_b=0.4, sigma_w=1.2, input_scale=0.8, normalise=False)]


def last(iterator):
    *_, final = iterator
    return final


@pytest.mark.parametrize("mlp", NETWORKS, ids=str)
def test_float32_everywhere(mlp):
    for kernel, build in (("ntk", jacobian_ntk), ("nngp", jacobian_nngp)):
        exact = build(mlp, X).dense()
        rounded = gram_in_float32(mlp, kernel, X)
        assert rounded.dtype == np.float32
        error = np.abs(rounded - exact).max() / np.abs(exact).max()
        assert 1e-9 < error < 1e-5
        assert (rounded == rounded.T).all()
    assert gram_in_float32(mlp, "ntk", X, values_only=True).shape == (8, 8)


@pytest.mark.parametrize("mlp", NETWORKS, ids=str)
def test_recursion_of_expectations_is_the_kernel(mlp):
    # so many samples that their error vanishes: Theorem 3.1's recursion, entry by entry, against the eight scalars
    for shared in (False, True):
        kernels = list(sampled_ntk(mlp, X, samples=10**24, batch=2, shared=shared))
        assert len(kernels) == mlp.depth
        exact = jacobian_ntk(mlp, X).dense()
        assert np.abs(kernels[-1] - exact).max() < 1e-9 * np.abs(exact).max()


@pytest.mark.parametrize("shared", [False, True])
def test_error_falls_like_one_over_root_samples(shared):
    exact = jacobian_ntk(MLP(2, "gelu"), X).dense()
    errors = [
        np.sqrt(
            np.mean(
                [
                    (last(sampled_ntk(MLP(2, "gelu"), X, samples=M, shared=shared, seed=s)) - exact) ** 2
                    for s in range(4)
                ]
            )
        )
        for M in (10**3, 10**5)
    ]
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.35)


@pytest.mark.parametrize("shared", [False, True])
def test_shrunk_batch_has_the_law_of_a_real_average(shared):
    # one layer, the average of 400 samples: really drawn, and imitated from 20
    few = X[:3]
    exact = jacobian_ntk(MLP(1, "erf"), few).dense()

    def deviations(batch, seeds):
        return np.array(
            [
                last(sampled_ntk(MLP(1, "erf"), few, samples=400, batch=batch, shared=shared, seed=s)) - exact
                for s in seeds
            ]
        )

    real, imitated = deviations(400, range(300)), deviations(20, range(1000, 1300))
    spread, other = real.std(axis=0), imitated.std(axis=0)
    clear = spread > 0.02 * spread.max()
    np.testing.assert_allclose(other[clear], spread[clear], rtol=0.25)
    assert (np.abs(imitated.mean(axis=0)) < 5 * other / np.sqrt(300) + 1e-12).all()
    norm = np.median([np.linalg.norm(d, 2) for d in real])
    assert np.median([np.linalg.norm(d, 2) for d in imitated]) == pytest.approx(norm, rel=0.1)


def test_pairs_of_their_own_break_definiteness_and_shared_samples_do_not():
    points = datasets.sphere_net(30, 3, seed=0)
    own = [np.linalg.eigvalsh(T)[0] for T in sampled_ntk(MLP(3, "gelu"), points, samples=10**4)]
    common = [
        np.linalg.eigvalsh(T)[0] for T in sampled_ntk(MLP(3, "gelu"), points, samples=10**4, shared=True, batch=400)
    ]
    assert max(own) < 0
    assert min(common[1:]) > 0
    exact = [np.linalg.eigvalsh(jacobian_ntk(MLP(L, "gelu"), points).dense())[0] for L in (2, 3)]
    np.testing.assert_allclose(common[1:], exact, rtol=0.3)


def test_same_seed_same_samples():
    a, b, c = (last(sampled_ntk(MLP(2), X, seed=s)) for s in (1, 1, 2))
    assert (a == b).all()
    assert (a != c).any()
