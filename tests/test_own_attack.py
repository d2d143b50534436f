"""Our attacks on every eigenfeature by itself and on whole regressors: margins, statistics, one cell, the grid."""

import dataclasses
import math
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy import stats

from jacntk_book import bootstrap, datasets
from jacntk_book.experiments import fragility, own_attack
from jacntk_book.experiments.fragility import MEASURES
from jacntk_lib import MLP, RobustFlow, robustness

CONFIG = own_attack.Config(
    lams=(0.0, 2.0),
    data=("wine", "breast_cancer"),
    splits=2,
    depth=3,
    rows=12,
    test_rows=40,
    eps=(0.05, 0.2),
    times=(10.0,),
    attacked_splits=1,
    attacked_lams=(2.0,),
    attacked_features=6,
    attack_eps=(0.1, 0.4),
    attack_points=15,
    attack_steps=4,
)
CELL = own_attack.Cell("wine", 2.0, 0)


@pytest.fixture(scope="module")
def result():
    return own_attack.run(CONFIG)


@pytest.fixture(scope="module")
def split():
    return own_attack.parts("wine", 12, 40, 0)


def random_features(points=30, features=20, d=3, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.choice([-1.0, 1.0], points)
    return rng.normal(size=(points, features)), rng.normal(size=(points, features, d)), y


def test_margins_are_the_sizes_that_turn_the_linearisation():
    values, jacobians, y = random_features()
    margins = fragility.linear_margins(values, jacobians, y)
    for eps in (0.1, 0.5):
        survives = y[:, None] * values - eps * np.linalg.norm(jacobians, axis=-1) > 0
        np.testing.assert_array_equal(margins > eps, survives)
    np.testing.assert_array_equal(margins > 0, y[:, None] * values > 0)


def test_margins_of_constant_features():
    margins = fragility.linear_margins(np.array([[1.0, 0.0, -1.0]]), np.zeros((1, 3, 2)), np.ones(1))
    np.testing.assert_array_equal(margins > 5, [[True, False, False]])
    np.testing.assert_array_equal(margins > 0, [[True, False, False]])


def test_rank_correlation_is_spearmans():
    rng = np.random.default_rng(2)
    a, b = rng.integers(0, 6, 50), rng.integers(0, 6, 50)  # with ties
    assert fragility.rank_correlation(a, b) == pytest.approx(stats.spearmanr(a, b)[0], abs=1e-12)
    assert math.isnan(fragility.rank_correlation(a, np.ones(50)))
    assert math.isnan(fragility.rank_correlation(a[:2], b[:2]))


def test_battery_on_four_features():
    correct = np.array([[8, 9, 4, 0], [6, 4, 3, 0]])
    (row,) = fragility.battery(correct, np.ones((1, 4), bool), points=10)[0]
    found = dict(zip(MEASURES, row, strict=True))
    assert found["features"] == 4
    assert found["accurate"] == 2  # 8 and 9
    assert found["fragile"] == 1  # 9, which falls to 4
    assert found["correlation"] == pytest.approx(stats.spearmanr(correct[0], correct[1])[0])


def test_mechanical_correlation_is_what_meaningless_labels_leave():
    """Margins whose sign is a coin and whose size is not: the correlation is mechanical and nothing else."""
    values, jacobians, y = random_features(points=60, features=400)
    margins = fragility.linear_margins(values, jacobians, y)
    everything, eps = np.ones((1, 400), bool), (0.01, 0.3, 2.0)
    mechanical = fragility.mechanical_correlation(margins, y, eps, everything, draws=6, seed=0)[0]
    correct = fragility.counts(margins, eps)
    measured = fragility.battery(correct, everything, 60)[0, :, MEASURES.index("correlation")]
    np.testing.assert_allclose(mechanical, measured, atol=0.15)
    assert 1 > mechanical[0] > mechanical[1] > mechanical[2]
    assert mechanical[0] > 0.9


def test_mean_interval():
    samples = np.random.default_rng(4).normal(size=(3, 50))
    mean, low, high = bootstrap.mean_interval(samples)
    np.testing.assert_array_equal(mean, samples.mean(axis=-1))
    np.testing.assert_allclose(high - low, 2 * 1.96 * samples.std(axis=-1) / math.sqrt(50), rtol=0.15)
    with pytest.raises(ValueError, match="at least two repetitions"):
        bootstrap.mean_interval([1.0])


def test_mean_over_the_splits_that_have_one():
    everywhere = own_attack.over_splits([0.1, 0.2, 0.4])
    assert everywhere[:3] == bootstrap.mean_interval([0.1, 0.2, 0.4])
    assert (everywhere.defined, everywhere.splits, str(everywhere)) == (3, 3, "0.23")
    some = own_attack.over_splits([0.1, math.nan, 0.2, 0.4])
    assert some[:3] == everywhere[:3]  # an undefined split neither counts as zero nor makes the rest undefined
    assert (some.defined, some.splits, str(some)) == (3, 4, "0.23 (3 of 4)")
    one = own_attack.over_splits([math.nan, 0.3])
    assert (one.mean, one.defined, str(one)) == (0.3, 1, "0.30 (1 of 2)")
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    none = own_attack.over_splits([math.nan, math.nan])
    assert all(math.isnan(number) for number in none[:3])
    assert (none.defined, none.splits, str(none)) == (0, 2, "undefined")


def test_cell_counts_what_the_features_do(split):
    train, test = split
    got = own_attack.run_cell(CONFIG, CELL)
    value, slope = RobustFlow(MLP(3, "gelu"), train.X, train.y, lam=2.0).eigenfeatures(test.X)
    signed = test.y[:, None] * value
    np.testing.assert_array_equal(got["correct"][0], (signed > 0).sum(axis=0))
    strongest = np.argsort(-(value**2).sum(axis=0))[:20]
    for k, eps in enumerate(CONFIG.eps):
        robust = (signed - eps * np.linalg.norm(slope, axis=-1) > 0).sum(axis=0)
        np.testing.assert_array_equal(got["correct"][1 + k], robust)
        for s, which in enumerate((slice(None), strongest)):
            expected = stats.spearmanr((signed > 0).sum(axis=0)[which], robust[which])[0]
            assert got["statistics"][s, k, 1] == pytest.approx(expected, abs=1e-6)
    # 12 points, centred before they were scaled, span 11 of 13 directions; the others carry nothing
    np.testing.assert_array_equal(got["sizes"], [12, 40, 12 * (1 + 11)])
    assert got["positive"] == np.mean(test.y > 0)
    flow = RobustFlow(MLP(3, "gelu", kappa=1.0), train.X, train.y, lam=2.0)
    assert got["regressor"][0, 0, 0] == pytest.approx(np.mean(test.y * flow.at(10.0, test.X).value > 0))
    few = test.rows(slice(0, 15))
    attacked = robustness.attack(partial(flow.at, math.inf), few.X, few.y, 0.4, steps=4)
    assert got["regressor"][1, -1, 2] == pytest.approx(attacked.accuracy)
    found = robustness.attack(flow.feature_functions()[strongest[:6]], few.X, few.y, 0.1, steps=4)
    np.testing.assert_allclose(got["attacked"][1, 1], found.accuracy, atol=1e-6)
    assert (np.diff(got["attacked"], axis=1) <= 0).all()  # under an attack of its own, never above accuracy


def test_neither_time_nor_ridge_turns_a_feature(split):
    train, test = split
    limit = RobustFlow(MLP(3, "gelu", kappa=1.0), train.X, train.y, lam=2.0).eigenfeatures(test.X)
    there = np.abs(limit.value).max(axis=0) > 1e-6  # the smallest are rounding
    for t, ridge in ((3.0, 0.0), (math.inf, 0.5)):
        flow = RobustFlow(MLP(3, "gelu", kappa=1.0), train.X, train.y, lam=2.0, ridge=ridge)
        other = flow.eigenfeatures(test.X, t)
        scale = np.linalg.norm(other.value[:, there], axis=0) / np.linalg.norm(limit.value[:, there], axis=0)
        np.testing.assert_allclose(other.value[:, there], scale * limit.value[:, there], atol=1e-7)
        assert (scale < 1).all()


def test_tables_are_two_classes_without_repeated_rows():
    for name in ("wine", "breast_cancer", "digits", "banknote_authentication"):
        data = own_attack.table(name)
        assert set(data.y) == {-1.0, 1.0}
        assert len(np.unique(data.X, axis=0)) == len(data.X)
    raw = datasets.load("digits", scale=None, unit_length=False)
    assert len(own_attack.table("digits").X) == np.isin(raw.y, [3, 8]).sum()
    train, test = own_attack.parts("digits", 40, 50, 3)
    assert len(test.X) == 50
    assert abs(len(train.X) - 40) <= 1
    np.testing.assert_allclose(np.linalg.norm(test.X, axis=1), 1)


def test_every_cell_is_in_its_place(result):
    for data, lam, split in (("wine", 0.0, 0), ("breast_cancer", 2.0, 0), ("wine", 2.0, 1)):
        row = own_attack.rows_of(result, data, lam)[split]
        alone = own_attack.run_cell(CONFIG, own_attack.Cell(data, lam, split))
        np.testing.assert_array_equal(result["statistics"][row], alone["statistics"])
        np.testing.assert_array_equal(result["regressor"][row], alone["regressor"])
        if split == 0:
            np.testing.assert_array_equal(own_attack.kept(result, data, lam), alone["correct"] / 40)
    got = own_attack.measured(result, "fragile", own_attack.rows_of(result, "wine", 2.0), 0.2, selection="strongest")
    np.testing.assert_array_equal(got, result["statistics"][own_attack.rows_of(result, "wine", 2.0), 1, 1, 3])
    attacked = own_attack.attacked(result, "wine", 2.0)
    assert attacked.shape == (1, 2, 3, 6)  # one split was attacked
    (rho,) = own_attack.attacked_correlation(result, "wine", 2.0, 0.1)
    assert rho == pytest.approx(stats.spearmanr(attacked[0, 1, 0], attacked[0, 1, 1])[0])
    row = own_attack.rows_of(result, "wine", 2.0)[0]
    np.testing.assert_array_equal(own_attack.attacked_regressor(result, "wine", 2.0), result["regressor"][row, 1, -1])
    with pytest.raises(ValueError, match="no cells for sonar"):
        own_attack.rows_of(result, "sonar", 2.0)


def test_summary_and_plot(result):
    text = own_attack.summary(result)
    assert len(text.splitlines()) == 2 + 4
    assert "nan" not in text
    picture = own_attack.plot(result, eps=0.05)
    assert len(picture.axes) == 4
    picture.canvas.draw()
    plt.close(picture)


def test_partial_result_can_be_shown():
    """Of the first split of one table alone, and of that one lambda."""
    few = own_attack.cells(CONFIG)[:1]
    arrays = own_attack.collect(CONFIG, {cell: own_attack.run_cell(CONFIG, cell) for cell in few})
    text = own_attack.summary(arrays)
    assert len(text.splitlines()) == 2 + 1
    assert "nan" not in text
    picture = own_attack.plot(arrays)
    picture.canvas.draw()
    plt.close(picture)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lams": (-1.0,)}, "each of lams must not be negative"),
        ({"data": ("diabetes",)}, "no problem of two classes is made of 'diabetes'"),
        ({"eps": (0.0,)}, "each of eps must be positive"),
        ({"attacked_lams": (5.0,)}, "must be among lams"),
        ({"test_rows": 300}, "at most 255"),
        ({"rows": 1}, "rows must be at least 2"),
    ],
)
def test_bad_configurations(options, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, **options)
