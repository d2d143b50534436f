"""Figures 1 and 2 at toy size: the two metrics, the grid, and what the paper's sampled covariances can show."""

import dataclasses

import jax
import matplotlib.pyplot as plt
import numpy as np
import pytest

from jacntk_book import datasets, results
from jacntk_book.experiments import experiment, figure1, figure2
from jacntk_lib import MLP, finite, jacobian_nngp, jacobian_ntk
from jacntk_lib.networks import FiniteMLP

LIMITS = {figure1: (jacobian_nngp, finite.jacobian_nngp), figure2: (jacobian_ntk, finite.jacobian_ntk)}
GRID = figure2.Config(
    activations=("erf", "gelu"), depths=(1, 2), widths=(8, 32), seeds=4, points=6, input_dim=3, first=4
)


@pytest.mark.parametrize("figure", LIMITS)
def test_errors_are_those_of_the_kernels(figure):
    """One cell recomputed by the shortest route from the public functions."""
    limit_kernel, finite_kernel = LIMITS[figure]
    got = figure.run_cell(GRID, figure.Cell("gelu", 2, 32))
    X = datasets.fibonacci_sphere(6, 3)
    limit = limit_kernel(MLP(2, "gelu"), X).dense()
    kernels = np.stack([finite_kernel(FiniteMLP(MLP(2, "gelu"), 32, 3, seed), X).numpy() for seed in range(4)])
    gaps = kernels - limit
    np.testing.assert_allclose(
        got["frobenius"], [np.linalg.norm(gap) / np.linalg.norm(limit) for gap in gaps], rtol=1e-12
    )
    np.testing.assert_allclose(
        got["frobenius_of_mean"], np.linalg.norm(gaps.mean(axis=0)) / np.linalg.norm(limit), rtol=1e-12
    )
    for p, (a, b) in enumerate([(0, 0), (2, 2), (0, 2), (1, 2)]):
        part, of = gaps[:, a::4, b::4], limit[a::4, b::4]
        np.testing.assert_allclose(got["largest_by_pair"][:, p], np.abs(part).max(axis=(1, 2)), rtol=1e-12)
        np.testing.assert_allclose(
            got["largest_by_pair_first"][:, p], np.abs(part[:, :4, :4]).max(axis=(1, 2)), rtol=1e-12
        )
        np.testing.assert_allclose(
            got["frobenius_by_pair"][:, p], [np.linalg.norm(one) / np.linalg.norm(of) for one in part], rtol=1e-12
        )


@pytest.mark.parametrize("figure", LIMITS)
def test_grid_is_filled_in_its_own_order(figure):
    result = figure.run(GRID)
    assert result["frobenius"].shape == (2, 2, 2, 4)
    assert result["largest_by_pair_first"].shape == (2, 2, 2, 4, 4)
    assert result["frobenius_of_mean"].shape == (2, 2, 2)
    for i, activation in enumerate(result["activations"]):
        for j, depth in enumerate(result["depths"]):
            for k, width in enumerate(result["widths"]):
                cell = figure.Cell(str(activation), int(depth), int(width))
                np.testing.assert_array_equal(result["frobenius"][i, j, k], figure.run_cell(GRID, cell)["frobenius"])
    assert result.record["seeds"] == [0, 1, 2, 3]
    assert result.config == results.plain(dataclasses.asdict(GRID))
    assert f"figure{figure.EXPERIMENT.label}.Config(" in result.record["command"]
    limit = LIMITS[figure][0](MLP(2, "erf"), result["points"]).dense()
    np.testing.assert_allclose(result["limit_smallest_eigenvalue"][0, 1], np.linalg.eigvalsh(limit)[0], rtol=1e-6)
    np.testing.assert_array_equal(
        result["limit_largest_by_pair"][0, 1], [np.abs(limit[a::4, b::4]).max() for a, b in figure.INDEX_PAIRS]
    )
    first = limit[:16, :16]
    np.testing.assert_array_equal(
        result["limit_largest_by_pair_first"][0, 1], [np.abs(first[a::4, b::4]).max() for a, b in figure.INDEX_PAIRS]
    )


@pytest.mark.parametrize("figure", LIMITS)
def test_error_falls_like_one_over_root_width(figure):
    config = figure.Config(activations=("erf",), depths=(1,), widths=(64, 1024), seeds=24, points=12, input_dim=3)
    result = figure.run(config)
    slope, low, high = figure.slopes(result)["erf", 1]
    assert -0.62 < slope < -0.38
    assert low < slope < high
    by_pair = figure.slopes(result, "largest_by_pair")["erf", 1]
    assert len(by_pair) == 4
    assert all(-0.65 < slope < -0.35 for slope, _, _ in by_pair)
    # At depth 1 the mean over networks equals the limit, so S of them leave 1/sqrt(S) of a single one's error
    single = np.sqrt(np.mean(result["frobenius"] ** 2, axis=-1))
    np.testing.assert_allclose(result["frobenius_of_mean"] / single, 24**-0.5, rtol=0.5)


def test_float32_cells_agree_with_float64():
    cell = figure2.Cell("erf", 2, 32)
    exact = figure2.run_cell(GRID, cell)["frobenius"]
    rounded = figure2.run_cell(dataclasses.replace(GRID, float32_from=1), cell)["frobenius"]
    np.testing.assert_allclose(rounded, exact, rtol=1e-4)
    assert not np.array_equal(rounded, exact)


@pytest.mark.parametrize("figure", LIMITS)
def test_partial_result_has_gaps_and_can_be_shown(figure, tmp_path, monkeypatch):
    answers = iter([True] * 6 + [False] * 2)
    with monkeypatch.context() as patch:
        patch.setattr(experiment._Clock, "leaves_time_for", lambda clock, work: next(answers))
        result = figure.run(GRID, where=tmp_path, time_limit=25, partial=True)
    assert len(result.record["missing"]) == 2
    missing = np.isnan(result["frobenius"]).all(axis=-1)
    assert missing.sum() == 2
    assert missing[:, 1, 1].all()  # the costliest: the deepest and widest
    assert "nan" not in figure.summary(result)
    for plot in (figure.plot, figure.plot_relative):
        picture = plot(result)
        picture.canvas.draw()
        plt.close(picture)
    whole = figure.run(GRID, where=tmp_path)
    assert np.isfinite(whole["frobenius"]).all()
    np.testing.assert_array_equal(whole["frobenius"][~missing], result["frobenius"][~missing])


def test_presets_are_the_papers_grid():
    paper = figure1.PRESETS["paper"]
    assert paper == figure2.PRESETS["paper"] == figure1.Config()
    assert paper.widths == (64, 128, 256, 512, 1024, 2048, 4096, 8192)
    assert (paper.points, paper.input_dim, paper.first, paper.depths, paper.seeds) == (256, 4, 64, (1, 2, 3), 10)


# What a million sampled outputs can show


def test_bartlett_draws_have_the_mean_and_variance_of_sample_covariances():
    A = np.random.default_rng(0).standard_normal((6, 4))
    C = A @ A.T  # singular: rank 4
    errors = np.array(list(figure1.sample_covariance_errors(C, samples=50, draws=4000)))
    assert errors.shape == (4000, 6, 6)
    expected = np.sqrt((np.outer(np.diag(C), np.diag(C)) + C**2) / 50)
    np.testing.assert_allclose(errors.std(axis=0), expected, rtol=0.06)
    assert (np.abs(errors.mean(axis=0)) < 5 * expected / np.sqrt(4000)).all()
    _, V = np.linalg.eigh(C)
    assert np.abs(errors @ V[:, :2]).max() < 1e-7 * np.abs(errors).max()  # no sample leaves the range of C


def test_too_few_samples_for_a_wishart_draw():
    with pytest.raises(ValueError, match="samples must be at least the number of rows, 6, got 5"):
        next(figure1.sample_covariance_errors(np.eye(6), samples=5))


def test_floor_is_that_of_sampled_vectors_and_falls_like_one_over_root_samples():
    X = datasets.fibonacci_sphere(5, 3)
    sigma = jacobian_nngp(MLP(2, "gelu"), X).dense()
    floor = figure1.sampling_floor(sigma, 3, samples=2000, draws=200)
    draw = np.random.default_rng(1)
    z = draw.standard_normal((200, 2000, 20)) @ np.linalg.cholesky(sigma).T
    errors = np.abs(np.einsum("rsa,rsb->rab", z, z) / 2000 - sigma)
    sampled = [errors[:, a::4, b::4].max(axis=(1, 2)).mean() for a, b in figure1.INDEX_PAIRS]
    np.testing.assert_allclose(floor, sampled, rtol=0.12)
    more = figure1.sampling_floor(sigma, 3, samples=200_000, draws=200)
    np.testing.assert_allclose(floor / more, 10, rtol=0.05)


@pytest.mark.parametrize("activation", ["erf", "gelu", "tanh"])
def test_next_covariance_is_the_recursion(activation):
    """Stein's identity against the jets at the limit, and against sampled Gaussians elsewhere."""
    mlp = MLP(1, activation, sigma_b=0.3, sigma_w=1.1)
    X = datasets.fibonacci_sphere(4, 3)
    below, above = (jacobian_nngp(dataclasses.replace(mlp, depth=L), X).dense() for L in (2, 3))
    with jax.enable_x64(True):
        got = np.asarray(figure1.next_covariance(mlp, below.reshape(4, 4, 4, 4)))
    np.testing.assert_allclose(got.reshape(16, 16), above, atol=1e-9)


def test_next_covariance_of_a_network_that_is_no_limit():
    """One layer's given covariance, which has none of the limit's symmetry, against the next layer's sampled units."""
    mlp = MLP(2, "gelu")
    X = datasets.fibonacci_sphere(3, 2)
    given = finite.jacobian_nngp(FiniteMLP(MLP(1, "gelu"), 8, 2, seed=0), X).numpy()
    with jax.enable_x64(True):
        mean = np.asarray(figure1.next_covariance(mlp, given.reshape(3, 3, 3, 3))).reshape(9, 9)
    w, V = np.linalg.eigh(given)
    g = np.random.default_rng(0).standard_normal((400_000, 9)) * np.sqrt(np.maximum(w, 0)) @ V.T
    g = g.reshape(-1, 3, 3)  # sample, point, index
    value, slope = (jet.numpy() for jet in mlp.phi.torch_jet(__import__("torch").tensor(g[..., :1]), 1))
    h = (mlp.phi_scale * np.concatenate([value, slope * g[..., 1:]], axis=-1)).reshape(-1, 9)
    sampled, noise = h.T @ h / len(h), np.sqrt(np.var(h[:, :, None] * h[:, None], axis=0) / len(h))
    assert (np.abs(sampled - mean) < 5 * noise).all()
    assert np.abs(mean - jacobian_nngp(mlp, X).dense()).max() > 0.1


def test_gap_is_the_mean_of_finite_kernels_minus_the_limit():
    """Against plain averages of conditional covariances, whose noise is far larger."""
    mlp, X = MLP(3, "erf"), datasets.fibonacci_sphere(3, 2)
    gap, noise = figure1.covariance_gap(mlp, X, width=4, networks=1500)
    kernels = np.array([finite.jacobian_nngp(FiniteMLP(mlp, 4, 2, seed=s), X).numpy() for s in range(5000, 9000)])
    plain = kernels.mean(axis=0) - jacobian_nngp(mlp, X).dense()
    plain_noise = kernels.std(axis=0) / np.sqrt(len(kernels))
    assert (np.abs(gap - plain) < 5 * np.hypot(noise, plain_noise)).all()
    assert np.abs(gap / noise).max() > 10


def test_gap_vanishes_at_depth_one_and_falls_like_one_over_width():
    X = datasets.fibonacci_sphere(3, 3)
    gap, noise = figure1.covariance_gap(MLP(1), X, width=4, networks=3)
    assert not gap.any()
    assert not noise.any()
    narrow, wide = (figure1.covariance_gap(MLP(2, "gelu"), X, n, networks=400)[0] for n in (64, 1024))
    assert 10 < np.abs(narrow).max() / np.abs(wide).max() < 25
