"""Figures 4 and 5: margins, statistics over features, and one cell by the shortest route."""

import dataclasses
import math
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy import stats

from jacntk_lib import MLP, RobustFlow, bootstrap, datasets, robustness
from jacntk_lib.experiments import _fragility, eigenfeatures, figure4, figure5
from jacntk_lib.experiments._fragility import MEASURES, SELECTIONS

CONFIG = figure4.Config(
    lams=(0.1, 2.0),
    data=("wine", "breast_cancer"),
    splits=2,
    depth=3,
    rows=12,
    test_rows=40,
    eps=(0.05, 0.2),
    times=(10.0,),
    other_data=("wine",),
    other_lams=(0.1,),
    other_splits=2,
    other_kernels=(("erf", 2), ("gelu", 3)),
    other_rows=(8,),
    attacked_splits=1,
    attacked_lams=(2.0,),
    attacked_features=6,
    attack_eps=(0.1, 0.4),
    attack_points=15,
    attack_steps=4,
    kept_splits=1,
)
CELL = figure4.Cell("wine", "gelu", 3, 12, 2.0, 0)


@pytest.fixture(scope="module")
def result():
    return figure4.run(CONFIG)


@pytest.fixture(scope="module")
def split():
    return eigenfeatures.parts("wine", 12, 40, 0)


def random_features(points=30, features=20, d=3, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.choice([-1.0, 1.0], points)
    return rng.normal(size=(points, features)), rng.normal(size=(points, features, d)), y


# Margins


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_margins_are_the_sizes_that_turn_the_linearisation(norm):
    values, jacobians, y = random_features()
    margins = _fragility.linear_margins(values, jacobians, y, norm)
    for eps in (0.1, 0.5):
        size = eps / math.sqrt(3) if norm == "linf" else eps
        survives = robustness.linearised_margin(values, jacobians, y, size, norm) > 0
        np.testing.assert_array_equal(margins > eps, survives)
    np.testing.assert_array_equal(margins > 0, y[:, None] * values > 0)


def test_margins_along_the_sphere_are_those_in_its_tangent_plane():
    values, jacobians, y = random_features()
    X = np.random.default_rng(1).normal(size=(30, 3))
    for m, x in enumerate(X):
        tangent = np.linalg.svd(x[None])[2][1:]  # an orthonormal basis of the plane at right angles to x
        expected = _fragility.linear_margins(values[m : m + 1], jacobians[m : m + 1] @ tangent.T, y[m : m + 1])
        got = _fragility.linear_margins(values[m : m + 1], jacobians[m : m + 1], y[m : m + 1], "sphere", X[m : m + 1])
        np.testing.assert_allclose(got, expected, rtol=1e-10)


def test_margins_of_constant_features():
    margins = _fragility.linear_margins(np.array([[1.0, 0.0, -1.0]]), np.zeros((1, 3, 2)), np.ones(1))
    np.testing.assert_array_equal(margins > 5, [[True, False, False]])
    np.testing.assert_array_equal(margins > 0, [[True, False, False]])


# Statistics


def test_rank_correlation_is_spearmans():
    rng = np.random.default_rng(2)
    a, b = rng.integers(0, 6, 50), rng.integers(0, 6, 50)  # with ties
    assert _fragility.rank_correlation(a, b) == pytest.approx(stats.spearmanr(a, b)[0], abs=1e-12)
    assert math.isnan(_fragility.rank_correlation(a, np.ones(50)))
    assert math.isnan(_fragility.rank_correlation(a[:2], b[:2]))


def test_selections():
    correct, eigenvalues = np.array([9, 3, 8, 7]), np.array([1.0, 4.0, 2.0, 3.0])
    strength = np.array([5.0, 1.0, 80.0, 14.0])
    masks = dict(zip(SELECTIONS, _fragility.select(correct, eigenvalues, strength, points=10, largest=2), strict=True))
    assert masks["all"].all()
    np.testing.assert_array_equal(masks["largest"], [False, True, False, True])
    np.testing.assert_array_equal(masks["carrying"], [False, False, True, True])  # 80, then 94 of 100
    assert masks["strongest"].all()  # there are only four
    np.testing.assert_array_equal(masks["accurate"], [True, False, True, False])


def test_battery_on_four_features():
    correct = np.array([[8, 9, 4, 0], [6, 4, 3, 0]])
    (row,) = _fragility.battery(correct, np.ones((1, 4), bool), points=10)[0]
    found = dict(zip(MEASURES, row, strict=True))
    assert found["features"] == 4
    assert found["accurate"] == 2  # 8 and 9
    assert found["fragile"] == 1  # 9, which falls to 4
    assert found["correlation"] == pytest.approx(stats.spearmanr(correct[0], correct[1])[0])
    survival = stats.spearmanr([8, 9, 4], [6 / 8, 4 / 9, 3 / 4])[0]
    assert found["survival_correlation"] == pytest.approx(survival)


def test_mechanical_correlation_is_what_meaningless_labels_leave():
    """Margins whose sign is a coin and whose size is not: the correlation is mechanical and nothing else."""
    values, jacobians, y = random_features(points=60, features=400)
    margins = _fragility.linear_margins(values, jacobians, y)
    everything, eps = np.ones((1, 400), bool), (0.01, 0.3, 2.0)
    mechanical = _fragility.mechanical_correlation(margins, y, eps, everything, draws=6, seed=0)[0]
    correct = _fragility.counts(margins, eps)
    measured = _fragility.battery(correct, everything, 60)[0, :, MEASURES.index("correlation")]
    np.testing.assert_allclose(mechanical, measured, atol=0.15)
    assert 1 > mechanical[0] > mechanical[1] > mechanical[2]
    assert mechanical[0] > 0.9
    survival = _fragility.battery(correct, everything, 60)[0, :, MEASURES.index("survival_correlation")]
    assert np.abs(survival).max() < 0.15  # free of it


def test_mean_interval():
    samples = np.random.default_rng(4).normal(size=(3, 50))
    mean, low, high = bootstrap.mean_interval(samples)
    np.testing.assert_array_equal(mean, samples.mean(axis=-1))
    np.testing.assert_allclose(high - low, 2 * 1.96 * samples.std(axis=-1) / math.sqrt(50), rtol=0.15)
    with pytest.raises(ValueError, match="at least two repetitions"):
        bootstrap.mean_interval([1.0])


def test_mean_over_the_splits_that_have_one():
    everywhere = eigenfeatures.over_splits([0.1, 0.2, 0.4])
    assert everywhere[:3] == bootstrap.mean_interval([0.1, 0.2, 0.4])
    assert (everywhere.defined, everywhere.splits, str(everywhere)) == (3, 3, "0.23")
    some = eigenfeatures.over_splits([0.1, math.nan, 0.2, 0.4])
    assert some[:3] == everywhere[:3]  # an undefined split neither counts as zero nor makes the rest undefined
    assert (some.defined, some.splits, str(some)) == (3, 4, "0.23 (3 of 4)")
    one = eigenfeatures.over_splits([math.nan, 0.3])
    assert (one.mean, one.defined, str(one)) == (0.3, 1, "0.30 (1 of 2)")
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    none = eigenfeatures.over_splits([math.nan, math.nan])
    assert all(math.isnan(number) for number in none[:3])
    assert (none.defined, none.splits, str(none)) == (0, 2, "undefined")


# One cell


def test_cell_counts_what_the_features_do(split):
    train, test = split
    got = figure4.run_cell(CONFIG, CELL)
    features = RobustFlow(MLP(3, "gelu"), train.X, train.y, lam=2.0).eigenfeatures(test.X)
    value, slope = features
    signed = test.y[:, None] * value
    np.testing.assert_array_equal(got["test_correct"][0], (signed > 0).sum(axis=0))
    for k, eps in enumerate(CONFIG.eps):
        robust = (signed - eps * np.linalg.norm(slope, axis=-1) > 0).sum(axis=0)
        np.testing.assert_array_equal(got["test_correct"][1 + k], robust)
        expected = stats.spearmanr((signed > 0).sum(axis=0), robust)[0]
        assert got["statistics"][0, 0, k, 1] == pytest.approx(expected, abs=1e-6)
    radial = np.einsum("mpd,md->mp", slope, test.X)[:, :, None] * test.X[:, None]
    for view, slopes, eps, norm in (
        ("linf", slope, 0.2 / math.sqrt(13), "linf"),
        ("sphere", slope - radial, 0.2, "l2"),
    ):
        robust = (robustness.linearised_margin(value, slopes, test.y, eps, norm) > 0).sum(axis=0)
        expected = stats.spearmanr((signed > 0).sum(axis=0), robust)[0]
        statistic = got["statistics"][eigenfeatures.VIEWS.index(view), 0, 1, 1]
        assert statistic == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose(got["strength"], (value**2).sum(axis=0), rtol=1e-5)
    # 12 points, centred before they were scaled, span 11 of 13 directions; the others carry nothing
    np.testing.assert_array_equal(got["sizes"], [12, 40, 12 * (1 + 11), 0])
    assert got["positive"] == np.mean(test.y > 0)
    whole = RobustFlow(MLP(3, "gelu", kappa=1.0), train.X, train.y, lam=2.0).at(10.0, test.X)
    assert got["regressor_linear"][0, 0] == pytest.approx(np.mean(test.y * whole.value > 0))
    few, flow = test.rows(slice(0, 15)), RobustFlow(MLP(3, "gelu", kappa=1.0), train.X, train.y, lam=2.0)
    attacked = robustness.attack(partial(flow.at, math.inf), few.X, few.y, 0.4, steps=4)
    assert got["regressor_attacked"][-1, 2] == pytest.approx(attacked.accuracy)


@pytest.mark.parametrize(("t", "ridge"), [(3.0, 0.0), (math.inf, 0.5)])
def test_neither_time_nor_ridge_turns_a_feature(split, t, ridge):
    train, test = split
    limit = RobustFlow(MLP(3, "gelu", kappa=1.0), train.X, train.y, lam=2.0).eigenfeatures(test.X)
    other = RobustFlow(MLP(3, "gelu", kappa=1.0), train.X, train.y, lam=2.0, ridge=ridge).eigenfeatures(test.X, t)
    there = np.abs(limit.value).max(axis=0) > 1e-6  # the smallest are rounding
    scale = np.linalg.norm(other.value[:, there], axis=0) / np.linalg.norm(limit.value[:, there], axis=0)
    np.testing.assert_allclose(other.value[:, there], scale * limit.value[:, there], atol=1e-7)
    assert (scale < 1).all()


def test_centred_view_is_that_of_centred_labels(split):
    train, test = split
    got = figure4.run_cell(CONFIG, CELL)
    centred = RobustFlow(MLP(3, "gelu"), train.X, train.y - train.y.mean(), lam=2.0).eigenfeatures(test.X)
    signed = test.y[:, None] * centred.value
    correct, robust = (signed > 0).sum(axis=0), signed - 0.05 * np.linalg.norm(centred.jacobian, axis=-1) > 0
    view = eigenfeatures.VIEWS.index("centred")
    expected = stats.spearmanr(correct, robust.sum(axis=0))[0]
    assert got["statistics"][view, 0, 0, 1] == pytest.approx(expected, abs=1e-6)
    assert got["statistics"][view, 0, 0, 3] == (correct > 0.7 * 40).sum()
    assert (correct != got["test_correct"][0]).any()


def test_training_view(split):
    train, _ = split
    got = figure4.run_cell(CONFIG, CELL)
    at_train = RobustFlow(MLP(3, "gelu"), train.X, train.y, lam=2.0).eigenfeatures()
    np.testing.assert_array_equal(got["train_correct"][0], (train.y[:, None] * at_train.value > 0).sum(axis=0))
    assert (train.y @ at_train.value).min() > -1e-12  # (v . y)^2


def test_attacked_features(split):
    _, test = split
    got = figure4.run_cell(CONFIG, CELL)["attacked"]
    assert got.shape[:2] == (3, 3)
    assert (np.diff(got, axis=1) <= 0).all()
    linear, one_step, pgd = got
    np.testing.assert_array_equal(linear[0], pgd[0])
    np.testing.assert_array_equal(one_step[0], pgd[0])
    assert (pgd <= one_step + 1 / 15 + 1e-6).all()
    assert (pgd != linear).any()
    cell = figure4.run_cell(CONFIG, CELL)
    np.testing.assert_array_equal(np.sort(cell["strength"][cell["index"][:3]]), np.sort(cell["strength"])[-3:])
    assert len(set(cell["index"])) == 6
    assert "attacked" not in figure4.run_cell(CONFIG, dataclasses.replace(CELL, split=1))
    few = test.rows(slice(0, 15))
    flow = RobustFlow(MLP(3, "gelu", kappa=1.0), *(getattr(split[0], name) for name in "Xy"), lam=2.0)
    index = figure4.run_cell(CONFIG, CELL)["index"]
    found = robustness.attack(flow.feature_functions()[index], few.X, few.y, 0.1, steps=4)
    np.testing.assert_allclose(pgd[1], found.accuracy, atol=1e-6)


# The grid


def test_tables_are_two_classes_without_repeated_rows():
    for name in ("wine", "breast_cancer", "digits"):
        data = eigenfeatures.table(name)
        assert set(data.y) == {-1.0, 1.0}
        assert len(np.unique(data.X, axis=0)) == len(data.X)
    assert len(eigenfeatures.table("wine").X) == 178
    raw = datasets.load("digits", scale=None, unit_length=False)
    assert len(eigenfeatures.table("digits").X) == np.isin(raw.y, [3, 8]).sum()
    train, test = eigenfeatures.parts("digits", 40, 50, 3)
    assert len(test.X) == 50
    assert abs(len(train.X) - 40) <= 1
    np.testing.assert_allclose(np.linalg.norm(test.X, axis=1), 1)


def test_every_cell_is_in_its_place(result):
    assert result["statistics"].shape == (2 * 2 * 2 + 2 * 2, 5, 5, 2, 5)
    for data, lam, split in (("wine", 0.1, 0), ("breast_cancer", 2.0, 0), ("wine", 2.0, 1)):
        rows = eigenfeatures.rows_of(result, data, lam)
        alone = figure4.run_cell(CONFIG, figure4.Cell(data, "gelu", 3, 12, lam, split))
        got = result["statistics"][rows[split]]
        np.testing.assert_array_equal(got, alone["statistics"])
        if split == 0:
            _, strength, test, train = eigenfeatures.kept(result, data, lam)
            np.testing.assert_array_equal(strength, alone["strength"])
            np.testing.assert_array_equal(test, alone["test_correct"] / 40)
            np.testing.assert_array_equal(train, alone["train_correct"] / 12)
    for options in ({"activation": "erf", "depth": 2}, {"rows": 8}):
        (cell, _) = rows = eigenfeatures.rows_of(result, "wine", 0.1, **options)
        assert [result[f"cell_{name}"][cell] for name in options] == list(options.values())
        assert len(rows) == 2
    assert np.isfinite(result["attacked"]).any(axis=(1, 2, 3)).sum() == 2  # a split of each table, one lambda
    assert np.isfinite(result["regressor_attacked"][:, 0, 0]).sum() == 4


def test_measures_by_name(result):
    rows = eigenfeatures.rows_of(result, "wine", 2.0)
    got = eigenfeatures.measured(result, "fragile", rows, 0.2, view="linf", selection="carrying")
    np.testing.assert_array_equal(got, result["statistics"][rows, 1, 2, 1, 4])
    np.testing.assert_array_equal(eigenfeatures.mechanical(result, rows, 0.05), result["mechanical"][rows, 0, 0])
    with pytest.raises(ValueError, match="no cells for sonar"):
        eigenfeatures.rows_of(result, "sonar")


@pytest.mark.parametrize("when", [{}, {"t": 3.0}, {"t": 300.0}, {"ridge": 0.5}])
def test_selection_at_a_time_or_with_a_ridge(result, split, when):
    """The strongest features of the flow itself, at that time or with that ridge, by the shortest route."""
    train, test = split
    t, ridge = when.get("t", math.inf), when.get("ridge", 0.0)
    flow = RobustFlow(MLP(3, "gelu", kappa=1.0), train.X, train.y, lam=2.0, ridge=ridge)
    value, slope = flow.eigenfeatures(test.X, t)
    strongest = np.argsort(-(value**2).sum(axis=0))[:20]
    signed, size = test.y[:, None] * value, np.linalg.norm(slope, axis=-1)
    accuracy, robust = ((signed - eps * size > 0).sum(axis=0)[strongest] for eps in (0.0, 0.2))
    (got,) = eigenfeatures.measured_at(result, "correlation", "wine", 2.0, 0.2, **when)  # of two splits one is kept
    assert got == pytest.approx(stats.spearmanr(accuracy, robust)[0], abs=1e-9)
    (count,) = eigenfeatures.measured_at(result, "accurate", "wine", 2.0, 0.2, **when)
    assert count == (accuracy > 0.7 * 40).sum()
    if not when:
        rows = eigenfeatures.rows_of(result, "wine", 2.0)
        assert got == pytest.approx(
            eigenfeatures.measured(result, "correlation", rows, 0.2, selection="strongest")[0], abs=1e-6
        )


def test_time_and_ridge_change_the_selection(result):
    """Otherwise the test above could not tell them from none."""
    found = [
        eigenfeatures.measured_at(result, "correlation", "wine", 2.0, 0.2, **when)[0]
        for when in ({}, {"t": 3.0}, {"ridge": 0.5})
    ]
    assert len(set(found)) == 3
    with pytest.raises(ValueError, match="give one of the two"):
        eigenfeatures.measured_at(result, "correlation", "wine", 2.0, 0.2, t=1.0, ridge=1.0)
    with pytest.raises(ValueError, match="t must be positive"):
        eigenfeatures.measured_at(result, "correlation", "wine", 2.0, 0.2, t=0.0)
    with pytest.raises(ValueError, match="ridge must not be negative"):
        eigenfeatures.measured_at(result, "correlation", "wine", 2.0, 0.2, ridge=-1.0)


def test_correlation_under_attacks_carried_out(result):
    whole = figure4.run_cell(CONFIG, CELL)["attacked"]
    (strongest,) = eigenfeatures.attacked(result, "wine", 2.0)  # one split was attacked, and 3 of 6 are the strongest
    np.testing.assert_array_equal(strongest, whole[:, :, :3])
    for attack, name in enumerate(eigenfeatures.ATTACKS):
        (got,) = eigenfeatures.attacked_correlation(result, "wine", 2.0, 0.4, attack=name)
        accuracy, robust = strongest[attack, 0], strongest[attack, 2]
        if np.ptp(robust) == 0:
            assert math.isnan(got)
        else:
            assert got == pytest.approx(stats.spearmanr(accuracy, robust)[0], abs=1e-9)


def test_figure_5_is_without_penalty():
    assert all(preset.lams == (0.0,) for preset in figure5.PRESETS.values())
    config = dataclasses.replace(CONFIG, lams=(0.0,), attacked_lams=(), other_data=(), data=("wine",))
    result = figure5.run(config)
    np.testing.assert_array_equal(result["sizes"][:, 2], [12, 12])
    assert "without a penalty" in figure5.summary(result)
    picture = figure5.plot(result)
    assert len(picture.axes) == 1
    plt.close(picture)


@pytest.mark.parametrize("figure", [figure4, figure5])
def test_summary_says_undefined_in_words(figure):
    """No feature of wine survives so large an attack: there is nothing to correlate."""
    lams = (2.0,) if figure is figure4 else (0.0,)
    few = {"lams": lams, "attacked_lams": (), "other_data": (), "data": ("wine",), "splits": 1}
    result = figure.run(dataclasses.replace(CONFIG, **few, eps=(500.0,)))
    text = figure.summary(result)
    assert "rank correlation undefined (shuffled labels undefined)" in text
    assert "nan" not in text


def test_summary_and_plot(result):
    text = figure4.summary(result)
    assert len(text.splitlines()) == 2 + 4
    assert "wine, lambda 0.1: rank correlation" in text
    assert "nan" not in text
    picture = figure4.plot(result)
    assert len(picture.axes) == 2
    picture.canvas.draw()
    plt.close(picture)
    (ax,) = figure4.plot(result, data=["wine"]).axes
    assert ax.get_ylabel().startswith("wine")
    features = result["sizes"][eigenfeatures.rows_of(result, "wine", 2.0)[0], 2]
    assert [len(line.get_xdata()) for line in ax.lines] == [2, features]  # the diagonal, and the split that was kept
    plt.close("all")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lams": ()}, "lams must be one or more"),
        ({"lams": (-1.0,)}, "each of lams must not be negative"),
        ({"data": ("diabetes",)}, "no problem of two classes is made of 'diabetes'"),
        ({"eps": (0.0,)}, "each of eps must be positive"),
        ({"other_kernels": (("gelu", 0),)}, "depth must be at least 1"),
        ({"attacked_lams": (5.0,)}, "must be among lams"),
        ({"test_rows": 300}, "at most 255"),
        ({"rows": 1}, "rows must be at least 2"),
    ],
)
def test_bad_configurations(options, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, **options)
