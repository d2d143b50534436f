"""Figure 3 at toy size: what a cell measures, how cells are put together, and what the stored results say."""

import dataclasses

import matplotlib.pyplot as plt
import numpy as np
import pytest

from jacntk_book import datasets, results
from jacntk_book.experiments import figure3
from jacntk_lib import MLP, finite, jacobian_ntk, training
from jacntk_lib.networks import FiniteMLP

RUN = figure3.Config(
    data="breast_cancer",
    scale="standard",
    activations=("erf",),
    depth=3,
    rows=5,
    widths=(8, 16),
    seeds=(3, 2),
    steps=(0, 1, 4),
    kappa=0.5,
)


@pytest.fixture(scope="module")
def result():
    return figure3.run(RUN)


def test_defaults_are_the_papers():
    paper = figure3.PRESETS["paper"]
    assert (paper.data, paper.scale, paper.rows) == (datasets.FIRES, "minmax", None)
    assert (paper.activations, paper.depth) == (("gelu",), 11)
    assert (paper.lam, paper.kappa, paper.learning_rate) == (0.01, 0.1, 1.0)
    assert paper.steps == (0, *(2**k for k in range(12)))
    assert dict(zip(paper.widths, paper.seeds, strict=True)) == {2**k: 10 for k in range(6, 14)}
    assert {paper.dtype(width) for width in paper.widths} == {"float64"}


def test_two_cores_run_the_papers_networks():
    """Fewer and narrower ones, the wide ones in float32; nothing else may differ."""
    paper, cpu = figure3.PRESETS["paper"], figure3.PRESETS["cpu"]
    whole = {(cell.activation, cell.width, cell.seed) for cell in figure3.cells(paper)}
    assert {(cell.activation, cell.width, cell.seed) for cell in figure3.cells(cpu)} < whole
    grid = {"widths": paper.widths, "seeds": paper.seeds, "float32_from": paper.float32_from}
    assert dataclasses.replace(cpu, **grid) == paper


def test_other_eleventh_columns_change_that_column_alone():
    paper = figure3.data_of(figure3.PRESETS["paper"])
    raw = datasets.load(datasets.FIRES, scale="minmax", unit_length=False).X
    for column in ("day", "month", "day-of-year"):
        config = figure3.PRESETS[column]
        assert figure3.data_of(config).X.shape == paper.X.shape
        other = datasets.load(config.data, scale="minmax", unit_length=False).X
        np.testing.assert_array_equal((other != raw).any(axis=0), np.arange(11) == 10)
        np.testing.assert_array_equal(figure3.data_of(config).y, paper.y)


def test_training_cell_measures_both_distances():
    """The recorded steps against three trainings from scratch, each measured at its end by other means."""
    got = figure3.run_cell(RUN, figure3.Cell("erf", 16, 1))
    data = figure3.data_of(RUN)
    assert data.X.shape == (5, 30)
    limit = jacobian_ntk(MLP(3, "erf"), data.X).dense()
    start = None
    for k, steps in enumerate(RUN.steps):
        net = FiniteMLP(MLP(3, "erf", kappa=0.5), 16, 30, seed=1)
        first = [weight.detach().numpy().copy() for weight in net.weights]
        history = training.train(net, data.X, data.y, 0.01, 1.0, steps, record=[steps])
        kernel = finite.jacobian_ntk(net, data.X).numpy()
        start = kernel if start is None else start
        norm = np.linalg.norm(limit)
        np.testing.assert_allclose(got["frobenius"][k], np.linalg.norm(kernel - limit) / norm, rtol=1e-10)
        np.testing.assert_allclose(got["largest"][k], np.abs(kernel - limit).max(), rtol=1e-10)
        np.testing.assert_allclose(got["drift"][k], np.linalg.norm(kernel - start) / norm, rtol=1e-8, atol=1e-15)
        np.testing.assert_allclose(got["largest_drift"][k], np.abs(kernel - start).max(), rtol=1e-8, atol=1e-13)
        for pair, (a, b) in enumerate(figure3.INDEX_PAIRS):
            for name, reference in (("largest_by_pair", limit), ("drift_by_pair", start)):
                entries = (kernel - reference)[a::31, b::31]
                np.testing.assert_allclose(got[name][k, pair], np.abs(entries).max(), rtol=1e-8, atol=1e-13)
        np.testing.assert_allclose(got["loss"][k], history.loss[-1], rtol=1e-10)
        assert got["accuracy"][k] == np.mean(data.y * net(data.X).detach().numpy() > 0)
        for layer, weight in enumerate(net.weights):
            change = weight.detach().numpy() - first[layer]
            norms = [np.linalg.norm(change), np.linalg.norm(change, np.inf), np.linalg.norm(change, 1)]
            np.testing.assert_allclose(got["moved"][k, layer], norms, rtol=1e-8, atol=1e-15)
    assert got["drift"][0] == 0
    assert got["loss"][-1] < got["loss"][0]


def test_grid_has_gaps_where_a_width_has_fewer_seeds(result):
    assert result["drift"].shape == (1, 2, 3, 3)
    assert result["drift_by_pair"].shape == (1, 2, 3, 3, 4)
    assert result["moved"].shape == (1, 2, 3, 3, 4, 3)
    np.testing.assert_array_equal(figure3.seed_counts(result), [[3, 2]])
    assert np.isfinite(result["drift"][0, 0]).all()
    assert np.isnan(result["drift"][0, 1, 2]).all()
    np.testing.assert_array_equal(result["loss"][0, 1, 1], figure3.run_cell(RUN, figure3.Cell("erf", 16, 1))["loss"])
    assert result.record["seeds"] == [0, 1, 2]


def test_sizes_of_the_limit_stand_beside_the_distances(result):
    X = figure3.data_of(RUN).X
    limit = jacobian_ntk(MLP(3, "erf"), X).dense()
    smallest = np.linalg.eigvalsh(limit)[0], np.linalg.eigvalsh(limit[::31, ::31])[0]
    np.testing.assert_allclose(result["limit_smallest_eigenvalue"][0], smallest, rtol=1e-6)
    assert smallest[0] < smallest[1]  # the NTK is a part of the JNTK
    largest = [np.abs(limit[a::31, b::31]).max() for a, b in figure3.INDEX_PAIRS]
    np.testing.assert_allclose(result["limit_largest_by_pair"][0], largest, rtol=1e-12)


def test_allowed_movement_orders_the_norms():
    """|A|_inf and |A|_1 of an (n, n) matrix are at most sqrt(n) |A|_F, so the lemma's scales must not exceed that."""
    n, L = np.array([64, 1024]), 4
    scales = figure3.allowed(n, L)
    assert scales.shape == (2, L + 1, 3)
    inner = scales[:, 1:-1]
    assert (inner[..., 1] == inner[..., 2]).all()
    assert (inner[..., 1] < np.sqrt(n)[:, None] * inner[..., 0]).all()
    assert np.isinf(scales[:, -1, 1]).all()
    assert np.isinf(scales[:, 0, 2]).all()
    np.testing.assert_allclose(scales[:, 0, 1], np.log(n))


def test_wide_networks_drift_less():
    config = dataclasses.replace(RUN, widths=(16, 256), seeds=(3, 3))
    drift = np.median(figure3.run(config)["drift"], axis=2)[0]  # width, step
    assert (drift[1, 1:] < 0.5 * drift[0, 1:]).all()


def test_drift_falls_like_one_over_width():
    """Where the theory says so: before the kernel has moved by much of its own size."""
    config = dataclasses.replace(RUN, widths=(64, 512), seeds=(8, 8), steps=(0, 2), kappa=0.1)
    slope, low, high = figure3.drift_slopes(figure3.run(config))["erf"]
    assert -1.3 < slope < -0.7
    assert low < slope < high


def test_narrow_widths_are_complete_first():
    order = [(cell.width, cell.seed) for cell in figure3.cells(RUN)]
    assert order == [(8, 0), (8, 1), (8, 2), (16, 0), (16, 1)]


@pytest.mark.parametrize("measure", ["largest_by_pair", "drift_by_pair"])
def test_panels_show_the_medians(result, measure):
    picture = figure3.plot(result, measure)
    shown = {ax.get_title(): ax for ax in picture.axes}
    last = len(RUN.steps) - 1
    for pair, (a, b) in enumerate(figure3.INDEX_PAIRS):
        lines = {line.get_label(): line for line in shown[f"({a}{b})"].lines}
        assert lines.keys() == {"0", "1", "4", r"$\Theta$"} - ({"0"} if measure == "drift_by_pair" else set())
        medians = [np.median(result[measure][0, j, :count, last, pair]) for j, count in enumerate(RUN.seeds)]
        np.testing.assert_allclose(lines["4"].get_ydata(), medians)
        np.testing.assert_allclose(lines[r"$\Theta$"].get_ydata(), result["limit_largest_by_pair"][0, pair])
    plt.close(picture)


def test_relative_distances_start_at_the_sampling_error(result):
    picture = figure3.plot_relative(result)
    left, right = picture.axes
    starts = [line.get_ydata()[0] for line in left.lines]
    medians = [np.median(result["frobenius"][0, j, :count, 0]) for j, count in enumerate(RUN.seeds)]
    np.testing.assert_allclose(starts, medians)
    assert [line.get_label() for line in right.lines] == ["1", "4", "slope $-1$"]
    plt.close(picture)


def test_plots_leave_out_a_width_that_nobody_has_computed():
    """As a partial result has it."""
    config = dataclasses.replace(RUN, widths=(8, 16, 32), seeds=(2, 2, 2))
    done = {cell: figure3.run_cell(config, cell) for cell in figure3.cells(config)[:3]}  # one network of width 16
    part = figure3.collect(config, done)
    np.testing.assert_array_equal(figure3.seed_counts(part), [[2, 1, 0]])
    for picture in (figure3.plot(part), figure3.plot_relative(part)):
        assert max(line.get_xdata().max() for line in picture.axes[-1].lines[:-1]) <= 16
        picture.canvas.draw()
        plt.close(picture)
    assert "width    32" not in figure3.summary(part)


def test_stored_run_is_that_of_its_preset():
    stored = results.load("figure-3-cpu")
    assert stored.config == results.plain(dataclasses.asdict(figure3.PRESETS["cpu"]))
    shapes = {name: array.shape for name, array in stored.arrays.items()}
    assert shapes["moved"] == (1, 6, 10, 13, 12, 3)  # activation, width, seed, step, layer, norm
    assert shapes["largest_by_pair"] == (1, 6, 10, 13, 4)
    assert figure3.seed_counts(stored)[0, 0] == 10


def test_depth_alone_shortens_the_way_and_does_not_end_it():
    """Three layers in place of eleven: about half as far with every doubling of the width, past the limit's norm."""
    deep, shallow = (results.load(f"figure-3-{name}") for name in ("cpu", "depth-3-gelu"))
    assert shallow.config == results.plain(dataclasses.asdict(figure3.PRESETS["depth-3-gelu"]))
    grid = {"depth": 3, "widths": (64, 128, 256, 512), "seeds": (3,) * 4}
    assert dataclasses.replace(figure3.PRESETS["cpu"], **grid) == figure3.PRESETS["depth-3-gelu"]
    far = np.median(shallow["drift"][0, ..., -1], axis=1)
    assert (far < np.nanmedian(deep["drift"][0, :4, :, -1], axis=1)).all()
    assert (far > 1).all()
    assert (np.abs(far[1:] / far[:-1] - 0.5) < 0.1).all()


def test_shallow_networks_are_the_ones_that_were_stored():
    """The narrowest network of the run on an H100, trained here for 16 steps: the same numbers to rounding."""
    stored = results.load("figure-3-depth-3")
    config = dataclasses.replace(figure3.PRESETS["depth-3"], steps=(0, 1, 2, 4, 8, 16))
    assert dataclasses.replace(config, steps=tuple(stored.config["steps"])) == figure3.PRESETS["depth-3"]
    got = figure3.run_cell(config, figure3.Cell("erf", 64, 0))
    for name in ("frobenius", "largest", "drift", "largest_drift", "loss"):
        np.testing.assert_allclose(got[name], stored[name][0, 0, 0, :6], rtol=1e-8, atol=1e-12)
