"""Figures 4, 5, B9 to B13: one step that all eigenfeatures share, in every reading, by the shortest route."""

import dataclasses
import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy import stats

from jacntk_book import datasets
from jacntk_book.experiments import figure, figure4, figure5, shared_attack
from jacntk_book.experiments.shared_attack import MEASURES, READINGS
from jacntk_lib import MLP, RobustFlow, jacobian_ntk, spectrum

CONFIG = figure4.Config(
    lams=(0.0, 0.1, 1.0), data="banknote_authentication", depth=3, drop_parallel=0.9, shares=(0.4, 0.6), splits=3
)
CELL = figure4.Cell(0.4, 1, 0.1)


@pytest.fixture(scope="module")
def result():
    return figure4.run(CONFIG)


@pytest.fixture(scope="module")
def cell():
    return figure4.run_cell(CONFIG, CELL)


# Features


@pytest.mark.parametrize("lam", [0.0, 0.3])
@pytest.mark.parametrize("activation", ["gelu", "erf"])
def test_features_are_those_of_the_flow_and_sum_to_its_prediction(lam, activation):
    train, test = figure4.parts(CONFIG, 0.4, 0)
    mlp = MLP(3, activation, kappa=1.0)
    features = shared_attack.Features(mlp, train.X, train.y, lam)
    got = features(jacobian_ntk(mlp, test.X, train.X).value_rows())
    flow = RobustFlow(mlp, train.X, train.y, lam=lam)
    expected = flow.eigenfeatures(test.X)
    np.testing.assert_allclose(features.eigenvalues, expected.eigenvalues, rtol=1e-6)
    np.testing.assert_allclose(got, expected.value, atol=1e-6 * np.abs(expected.value).max())
    np.testing.assert_allclose(got.sum(axis=1), flow.at(np.inf, test.X).value, atol=1e-5)


def test_features_that_float64_cannot_resolve_are_left_out_and_counted():
    train, _ = figure4.parts(CONFIG, 0.4, 0)
    twice = np.concatenate([train.X, train.X])  # every eigenvector antisymmetric in the copies has eigenvalue 0
    features = shared_attack.Features(MLP(2, "erf"), twice, np.concatenate([train.y, train.y]), 1.0)
    assert features.unresolved == train.X.size + len(train.X)
    assert len(features.eigenvalues) == features.unresolved


def test_neither_time_nor_ridge_turns_a_feature():
    train, test = figure4.parts(CONFIG, 0.4, 0)
    limit = RobustFlow(MLP(3, "gelu", kappa=1.0), train.X, train.y, lam=2.0).eigenfeatures(test.X)
    there = np.abs(limit.value).max(axis=0) > 1e-6  # the smallest are rounding
    for t, ridge in ((3.0, 0.0), (np.inf, 0.5)):
        flow = RobustFlow(MLP(3, "gelu", kappa=1.0), train.X, train.y, lam=2.0, ridge=ridge)
        other = flow.eigenfeatures(test.X, t)
        scale = np.linalg.norm(other.value[:, there], axis=0) / np.linalg.norm(limit.value[:, there], axis=0)
        np.testing.assert_allclose(other.value[:, there], scale * limit.value[:, there], atol=1e-7)
        assert scale.max() <= 1 + 1e-9
        assert scale.min() < 0.5


# The attack


def test_every_reading_by_the_shortest_route(cell):
    """Steps by finite differences of the regressor without penalty, counts from the flow with it."""
    train, test = figure4.parts(CONFIG, CELL.share, CELL.split)
    mlp = MLP(3, "gelu", kappa=1.0)
    plain = RobustFlow(mlp, train.X, train.y, lam=0.0)
    robust = RobustFlow(mlp, train.X, train.y, lam=CELL.lam)

    def value(Z):
        return plain.at(np.inf, Z).value

    def slope(Z, h=1e-5):
        shifts = h * np.eye(Z.shape[1])
        return np.stack([(value(Z + shift) - value(Z - shift)) / (2 * h) for shift in shifts], axis=1)

    signs = test.y[:, None] * robust.eigenfeatures(test.X).value > 0
    np.testing.assert_array_equal(cell["correct"], signs.sum(axis=0))
    for (r, reading), (s, size) in itertools.product(enumerate(READINGS), enumerate(figure4.SIZES)):
        part = test if reading.startswith("test") else train
        step = part.y[:, None] * slope(part.X)
        step = np.sign(step) if reading.endswith("linf") else step / np.linalg.norm(step, axis=1, keepdims=True)
        expected = (part.y[:, None] * robust.eigenfeatures(part.X - size * step).value > 0).sum(axis=0)
        # the signs of features that vanish somewhere are rounding
        assert np.mean(cell["robust"][r, s] == expected) > 0.97, reading


def test_measures_are_those_of_the_counts(cell):
    accuracy = cell["correct"] / cell["sizes"][1]
    for r, s in np.ndindex(len(READINGS), len(figure4.SIZES)):
        robust = cell["robust"][r, s] / cell["points"][r]
        found = dict(zip(MEASURES, cell["measures"][r, s], strict=True))
        N = cell["sizes"][0]
        assert found["correlation"] == pytest.approx(stats.spearmanr(accuracy, robust)[0], nan_ok=True)
        assert found["correlation_largest"] == pytest.approx(stats.spearmanr(accuracy[:N], robust[:N])[0], nan_ok=True)
        assert found["fragile"] == np.sum((accuracy > 0.7) & (robust < 0.5))
        assert found["unfounded"] == np.sum((accuracy < 0.5) & (robust > 0.7))
        assert (found["smallest"], found["largest"]) == (robust.min(), robust.max())
    assert cell["accurate"] == np.sum(accuracy > 0.7)
    assert cell["inaccurate"] == np.sum(accuracy < 0.5)


def test_a_shared_step_can_raise_the_accuracy_of_a_feature(cell):
    """Unlike an attack on the feature itself: so "robust but inaccurate" is possible."""
    l2 = READINGS.index("test l2")
    assert (cell["robust"][l2, 1] > cell["correct"]).any()
    assert (cell["robust"][l2, 1] < cell["correct"]).any()


def test_the_regressor_at_infinite_time_does_not_depend_on_lambda(result):
    found = [figure4.measured(result, "regressor", lam, "test l2", 0.1) for lam in (0.1, 1.0)]
    np.testing.assert_array_equal(*found)


# The grid


def test_every_cell_is_in_its_place(result, cell):
    at = CONFIG.shares.index(CELL.share), CELL.split, CONFIG.lams.index(CELL.lam)
    for name in ("measures", "sizes", "accurate", "inaccurate", "regressor"):
        np.testing.assert_array_equal(result[name][at], cell[name])
    first = figure4.run_cell(CONFIG, figure4.Cell(0.4, 0, 1.0))
    for r, reading in enumerate(READINGS):
        accuracy, robust = figure4.kept(result, 1.0, reading)
        np.testing.assert_array_equal(accuracy, first["correct"] / first["sizes"][1])
        np.testing.assert_array_equal(robust[0.1], first["robust"][r, 1] / first["points"][r])
    got = figure4.measured(result, "fragile", 0.1, "test linf", 0.01, share=0.6)
    np.testing.assert_array_equal(got, result["measures"][1, :, 1, 1, 0, MEASURES.index("fragile")])


def test_averaged_over_splits_feature_by_feature(result):
    of = [figure4.run_cell(CONFIG, figure4.Cell(0.6, split, 0.0)) for split in range(3)]
    accuracy = np.mean([one["correct"] / one["sizes"][1] for one in of], axis=0)
    robust = np.mean([one["robust"][2, 1] / one["points"][2] for one in of], axis=0)
    expected = stats.spearmanr(accuracy, robust)[0], accuracy.std(), robust.min(), robust.max(), robust.std()
    np.testing.assert_allclose(result["by_index"][1, 0, 2, 1], expected)


def test_a_partial_result_speaks_of_its_splits(result):
    cells = [cell for cell in figure4.cells(CONFIG) if cell.share == 0.4 and cell.split < 2]
    arrays = figure4.collect(CONFIG, {cell: figure4.run_cell(CONFIG, cell) for cell in cells})
    partial = dataclasses.replace(result, arrays=arrays)
    got = figure4.measured(partial, "correlation", 1.0, "test l2", 0.1)
    np.testing.assert_array_equal(got, figure4.measured(result, "correlation", 1.0, "test l2", 0.1)[:2])
    assert len(figure4.measured(partial, "correlation", 1.0, "test l2", 0.1, share=0.6)) == 0
    text = figure4.summary(partial)
    assert "40% test rows, 2 splits" in text
    assert "60%" not in text


def test_what_is_not_there_is_said(result):
    with pytest.raises(ValueError, match=r"the result has 0\.0, 0\.1, 1\.0, not 0\.5"):
        figure4.measured(result, "correlation", 0.5, "test l2", 0.1)
    with pytest.raises(ValueError, match="test l2, test linf, train l2, not test l3"):
        figure4.measured(result, "correlation", 1.0, "test l3", 0.1)


def test_summary_and_plot(result):
    text = figure4.summary(result)
    assert text.splitlines()[0] == figure4.EXPERIMENT.title
    assert "rank correlation, train l2, 0.1: " in text
    assert "nan" not in text
    picture = figure4.plot(result)
    assert len(picture.axes) == 2 * len(READINGS)
    features = sum(len(figure4.kept(result, lam, "test l2")[0]) for lam in CONFIG.lams)
    assert sum(len(line.get_xdata()) for line in picture.axes[0].lines if line.get_marker() == ".") == features
    picture.canvas.draw()
    plt.close(picture)


# At the paper's settings


def test_the_papers_settings():
    halves = 10.0 ** np.arange(-3, 0.25, 0.5)
    paper = figure4.PRESETS["paper"]
    assert (paper.data, paper.activation, paper.depth, paper.splits) == (datasets.FIRES, "gelu", 11, 10)
    np.testing.assert_allclose(paper.lams, halves)
    assert figure5.PRESETS["paper"] == dataclasses.replace(paper, lams=(0.0,))
    train, test = figure4.parts(paper, 0.2, 0)
    assert (len(train.X), len(test.X)) == (195, 49)
    assert not set(map(tuple, train.X)) & set(map(tuple, test.X))
    table = datasets.load(datasets.FIRES, scale="minmax")
    assert set(map(tuple, np.concatenate([train.X, test.X]))) == set(map(tuple, table.X))
    rows = {"B9": 244, "B10": 186, "B11": 320, "B12": 208, "B13": 208}
    for label, N in rows.items():
        config = figure(label).presets["paper"]
        np.testing.assert_allclose(config.lams, [0, *halves])  # both panels
        assert sum(len(part.X) for part in figure4.parts(config, 0.2, 3)) == N


@pytest.mark.parametrize("label", ["B10", "B11"])
def test_banknotes_have_the_smallest_depth_above_the_cut(label):
    config = figure(label).presets["paper"]
    X = datasets.load(config.data, scale="minmax", drop_parallel=config.drop_parallel).X
    at, below = (
        spectrum.extreme_eigenvalues(jacobian_ntk(MLP(depth, config.activation), X))[0]
        for depth in (config.depth, config.depth - 1)
    )
    assert at > 1e-6 > below


def test_an_appendix_figure_has_both_panels_and_its_own_title():
    experiment = figure("B10")
    config = dataclasses.replace(experiment.presets["demo"], lams=(0.0, 1.0))
    text = experiment.summary(experiment.run(config))
    assert text.splitlines()[0] == "Eigenfeatures on the banknotes, GELU"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lams": ()}, "lams must be one or more"),
        ({"lams": (-1.0,)}, "each of lams must not be negative"),
        ({"data": "weather"}, "unknown data set 'weather'"),
        ({"shares": (1.0,)}, "each of shares must be in"),
        ({"depth": 0}, "depth must be at least 1"),
        ({"splits": 0}, "splits must be at least 1"),
    ],
)
def test_bad_configurations(options, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, **options)
