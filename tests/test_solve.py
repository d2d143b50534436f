"""The weighted eigendecomposition and Cholesky factor, against NumPy on the dense matrix."""

import numpy as np
import pytest
from helpers import unit_points as points
from numpy.testing import assert_allclose

from jacntk_lib import MLP, jacobian_nngp, jacobian_ntk
from jacntk_lib.dynamics.dense import WeightedCholesky, WeightedSpectrum
from jacntk_lib.dynamics.weighted import WeightedGram, span
from jacntk_lib.solve import semidefinite_factor


def spectrum_of(gram, weights, *, cutoff=None, reduce=True):
    return WeightedSpectrum(WeightedGram(gram, weights, reduce=reduce), cutoff)


def by_row(values, slopes, d):
    """Weights (N, 1+d) from a number per point for the value and one for all its derivatives, (N,) or numbers."""
    return np.stack([values, *[slopes] * d], axis=-1)


# -------------------------------------------------------------------- the weighted spectrum

WEIGHTS = {
    "one lambda": lambda N, d: by_row(np.ones(N), np.full(N, 0.1), d),
    "one per point": lambda N, d: by_row(np.arange(1.0, N + 1), np.linspace(0.0, 2.0, N), d),  # the first has none
    "no penalty": lambda N, d: by_row(np.ones(N), np.zeros(N), d),
    "no labels": lambda N, d: by_row(np.zeros(N), np.ones(N), d),
    "one per row": lambda N, d: np.random.default_rng(0).integers(0, 3, (N, 1 + d)) / 2,  # a third has none
}


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize(("N", "d"), [(5, 2), (4, 4), (3, 7), (1, 6)])
def test_spectrum_is_that_of_the_dense_matrix(N, d, weights):
    gram = jacobian_ntk(MLP(2, "gelu", sigma_b=0.3), points(N, d))
    D = WEIGHTS[weights](N, d).ravel()
    spectrum = spectrum_of(gram, WEIGHTS[weights](N, d))
    S = np.sqrt(D)[:, None] * gram.dense() * np.sqrt(D)
    w = np.linalg.eigvalsh(S)[::-1][: np.count_nonzero(D)]
    assert_allclose(spectrum.eigenvalues, w, atol=1e-13 * w[0])
    assert spectrum.largest == spectrum.eigenvalues[0]


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize(("N", "d"), [(5, 2), (3, 7)])
@pytest.mark.parametrize("reduce", [True, False])
def test_functions_of_the_spectrum_are_those_of_the_dense_matrix(N, d, weights, reduce):
    gram = jacobian_ntk(MLP(2, "gelu"), points(N, d))
    D = np.sqrt(WEIGHTS[weights](N, d)).ravel()
    spectrum = spectrum_of(gram, WEIGHTS[weights](N, d), reduce=reduce)
    assert (spectrum._weighted.copies > 0) == (reduce and d > N and weights != "one per row")
    R = np.random.default_rng(3).standard_normal((N, 1 + d, 2))
    w, V = np.linalg.eigh(D[:, None] * gram.dense() * D)
    expected = D[:, None] * (V @ (np.exp(-w)[:, None] * (V.T @ (D[:, None] * R.reshape(-1, 2)))))
    assert_allclose(spectrum.apply(lambda w: np.exp(-w), R).reshape(-1, 2), expected, atol=1e-13)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize(("N", "d"), [(5, 2), (3, 7)])
def test_cholesky_between_weights_is_the_spectrum(N, d, weights):
    weighted = WeightedGram(jacobian_ntk(MLP(2, "gelu"), points(N, d)), WEIGHTS[weights](N, d))
    spectrum, factor = WeightedSpectrum(weighted), WeightedCholesky(weighted, 0.1)
    R = np.random.default_rng(3).standard_normal((N, 1 + d, 2))
    assert_allclose(factor.apply(R), spectrum.apply(lambda w: 1 / (w + 0.1), R), atol=1e-12)
    one_over_n, n = 1 / len(weighted.inside()), len(weighted.inside())
    assert 0.3 * one_over_n < factor.condition / spectrum.condition(0.1) < n  # of the norms, estimated


@pytest.mark.parametrize("d", [2, 7])
def test_split_sums_to_apply(d):
    gram = jacobian_ntk(MLP(2, "gelu"), points(3, d))
    spectrum = spectrum_of(gram, by_row(np.ones(3), np.full(3, 0.2), d))
    R = np.random.default_rng(4).standard_normal((3, 1 + d, 2))
    w, summands = spectrum.split(np.sqrt, R, gap=1e-12)
    assert (np.diff(w) < 0).all()
    assert summands.shape == (3, 1 + d, len(w), 2)
    assert_allclose(summands.sum(axis=2), spectrum.apply(np.sqrt, R), atol=1e-13)
    # with a gap that nothing exceeds all is one, and what tau makes zero is left out
    one, summands = spectrum.split(np.sqrt, R, gap=np.inf)
    assert_allclose(summands[:, :, 0], spectrum.apply(np.sqrt, R), atol=1e-13)
    assert len(one) == 1
    none, summands = spectrum.split(np.zeros_like, R, gap=0.0)
    assert len(none) == summands.shape[2] == 0


def test_reduction_sees_only_the_span():
    X = points(4, 2) @ np.linalg.qr(np.random.default_rng(5).standard_normal((9, 2)))[0].T  # a plane in R^9
    assert span(X).shape == (9, 2)
    assert span(points(4, 3)) is None
    gram = jacobian_ntk(MLP(3), X)
    spectrum = spectrum_of(gram, by_row(np.ones(4), np.full(4, 0.5), 9))
    w = np.linalg.eigvalsh(gram.scaled(0.5).dense())[::-1]
    assert_allclose(spectrum.eigenvalues, w, atol=1e-13 * w[0])
    assert len(spectrum.inside_eigenvalues) == 4 * 3


def test_value_at_the_origin_is_silent():
    gram = jacobian_ntk(MLP(2), np.array([[0.0, 0.0], [1.0, 0.0]]))  # erf(0) = 0 and no bias: f(0) = 0 always
    spectrum = spectrum_of(gram, np.ones((2, 3)))
    assert spectrum._weighted.silent.tolist() == [[True, False, False], [False, False, False]]
    assert len(spectrum.eigenvalues) == 5
    R = np.ones((2, 3, 1))
    assert spectrum.apply(np.ones_like, R)[0, 0] == 0.0
    everything = spectrum_of(jacobian_ntk(MLP(2), np.zeros((1, 3))), by_row(np.ones(1), np.zeros(1), 3))
    assert everything.eigenvalues.size == 0
    assert everything.largest == 0.0
    assert everything.condition() == 1.0
    assert not everything.apply(np.ones_like, np.ones((1, 4, 1))).any()


def test_floor_is_where_float64_stops():
    X = points(4, 2)
    gram = jacobian_ntk(MLP(1), np.concatenate([X, X]))
    spectrum = spectrum_of(gram, np.ones((8, 3)))
    assert (spectrum.eigenvalues >= 0).all()
    assert (spectrum.eigenvalues <= spectrum.floor).sum() == 12
    assert spectrum.floor >= 100 * np.finfo(float).eps * spectrum.largest
    assert spectrum.condition() == np.inf
    assert_allclose(spectrum.condition(ridge=spectrum.largest), 2.0, rtol=1e-12)
    assert spectrum_of(gram, np.ones((8, 3)), cutoff=0.5).floor == 0.5 * spectrum.largest


def test_semidefinite_factor_of_singular_matrices():
    X = points(5, 3)
    sigma = jacobian_nngp(MLP(2), np.concatenate([X, X[:2]])).dense()
    factor = semidefinite_factor(sigma.copy())
    assert factor.shape[1] == 5 * 4
    assert_allclose(factor @ factor.T, sigma, atol=1e-13 * sigma.max())
    assert semidefinite_factor(np.zeros((3, 3))).shape == (3, 0)
