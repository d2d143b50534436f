"""The controlled experiment: one rule chooses for both, bounds from both sides, networks that follow their limit."""

import dataclasses
import math
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy import stats

from jacntk_book import bootstrap, datasets, experiments
from jacntk_book.experiments import controlled
from jacntk_book.experiments.two_classes import parts, table
from jacntk_lib import MLP, RobustFlow, robustness

CONFIG = controlled.Config(
    data=("wine", "breast_cancer"),
    lams=(0.1, 1.0),
    splits=2,
    depth=2,
    rows=12,
    validation_rows=15,
    test_rows=20,
    times=(2.0, 20.0),
    eps=(0.1, 0.3),
    chosen_for=0.3,
    attack_steps=3,
    network_splits=1,
    networks=1,
    width=32,
)


@pytest.fixture(scope="module")
def result():
    return controlled.run(CONFIG)


def test_the_choice_is_the_best_on_validation_rows_and_the_scores_are_of_others():
    """Again by hand: every candidate's accuracy under attack, on rows that are neither trained on nor scored."""
    cell = controlled.Cell("wine", 1)
    found = controlled.run_cell(CONFIG, cell)
    train, others = parts("wine", 12, 35, 1)
    validation, test = others.rows(slice(0, 15)), others.rows(slice(15, 35))
    for k, lams in enumerate(((0.0,), CONFIG.lams)):
        score = {}
        for lam in lams:
            flow = RobustFlow(MLP(2, "erf", kappa=1.0), train.X, train.y, lam=lam, ridge=CONFIG.ridge)
            for time in (2.0, 20.0, math.inf):
                model = partial(flow.at, time)
                score[lam, time] = robustness.accuracy_under_attack(
                    model, validation.X, validation.y, [0.3, 0.0], steps=3
                ).tolist()
        chosen = tuple(found["chosen"][k])
        assert score[chosen] == max(score.values())
        flow = RobustFlow(MLP(2, "erf", kappa=1.0), train.X, train.y, lam=chosen[0], ridge=CONFIG.ridge)
        model = partial(flow.at, chosen[1])
        expected = robustness.accuracy_under_attack(model, test.X, test.y, [0.0, 0.1, 0.3], steps=3)
        np.testing.assert_array_equal(found["limit"][k, 0], expected)
        assert found["limit"][k, 1, 0] == expected[0]  # certified for no attack at all: just right
        np.testing.assert_allclose(found["norm"][k], flow.kernel_norm(chosen[1]), rtol=1e-9)


def test_certified_is_below_attacked_and_both_fall(result):
    for data in CONFIG.data:
        for model in controlled.MODELS:
            bounds = [
                [controlled.accuracy(result, data, model, how, eps) for eps in (0.0, 0.1, 0.3)]
                for how in ("certified", "attacked")
            ]
            assert (np.array(bounds[0]) <= np.array(bounds[1])).all()
            assert (np.diff(bounds, axis=1) <= 0).all()


def test_networks_of_the_first_split_alone_and_near_their_limit(result):
    wide = dataclasses.replace(CONFIG, width=1024, data=("wine",), splits=1)
    found = controlled.run(wide)
    for model in controlled.MODELS:
        network, limit = (controlled.accuracy(found, "wine", model, how, 0.0) for how in ("network", "attacked"))
        assert abs(network - limit)[0] <= 0.15
    assert np.isfinite(controlled.accuracy(result, "wine", "plain", "network", 0.1)).tolist() == [True, False]


def test_gain_is_paired_by_split(result):
    found = controlled.gain(result, "wine", "attacked", 0.3)
    pairs = [controlled.accuracy(result, "wine", model, "attacked", 0.3) for model in ("penalised", "plain")]
    assert found.splits == 2
    assert found.mean == pytest.approx(np.subtract(*pairs).mean())
    with pytest.raises(ValueError, match="no cells for sonar"):
        controlled.gain(result, "sonar", "attacked", 0.3)


def test_words_and_picture(result):
    text = controlled.summary(result)
    assert "breast_cancer, certified, penalised: " in text
    figure = controlled.plot(result)
    assert [ax.get_title() for ax in figure.axes] == ["wine", "breast cancer"]
    assert len(figure.axes[0].lines) == 4
    plt.close(figure)


def test_is_an_experiment_of_ours():
    assert experiments.figure("controlled") is controlled.EXPERIMENT
    assert controlled.PRESETS["six-tables"].network_splits > 0
    for wrong, words in (
        ({"data": ("iris",)}, "no problem of two classes is made of 'iris'"),
        ({"chosen_for": 0.25}, "chosen_for 0.25 must be among eps"),
        ({"lams": (0.0,)}, "each of lams must be positive, got 0"),
    ):
        with pytest.raises(ValueError, match=words):
            controlled.Config(**wrong)


# What it shares with other experiments


def test_intervals_of_means():
    samples = np.random.default_rng(4).normal(size=(3, 50))
    mean, low, high = bootstrap.mean_interval(samples)
    np.testing.assert_array_equal(mean, samples.mean(axis=-1))
    np.testing.assert_allclose(high - low, 2 * 1.96 * samples.std(axis=-1) / math.sqrt(50), rtol=0.15)
    expected = [stats.t.interval(0.95, 49, row.mean(), stats.sem(row)) for row in samples]
    np.testing.assert_allclose(np.transpose(bootstrap.t_interval(samples)[1:]), expected)
    with pytest.raises(ValueError, match="at least two repetitions"):
        bootstrap.mean_interval([1.0])


def test_mean_over_the_splits_that_have_one():
    everywhere = controlled.over_splits([0.1, 0.2, 0.4])
    assert everywhere[:3] == bootstrap.mean_interval([0.1, 0.2, 0.4])
    assert (everywhere.defined, everywhere.splits, str(everywhere)) == (3, 3, "0.23")
    some = controlled.over_splits([0.1, math.nan, 0.2, 0.4])
    assert some[:3] == everywhere[:3]  # an undefined split neither counts as zero nor makes the rest undefined
    assert (some.defined, some.splits, str(some)) == (3, 4, "0.23 (3 of 4)")
    one = controlled.over_splits([math.nan, 0.3])
    assert (one.mean, one.defined, str(one)) == (0.3, 1, "0.30 (1 of 2)")
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    none = controlled.over_splits([math.nan, math.nan])
    assert all(math.isnan(number) for number in none[:3])
    assert (none.defined, none.splits, str(none)) == (0, 2, "undefined")


def test_tables_are_two_classes_without_repeated_rows():
    for name in ("wine", "breast_cancer", "digits", "banknote_authentication"):
        data = table(name)
        assert set(data.y) == {-1.0, 1.0}
        assert len(np.unique(data.X, axis=0)) == len(data.X)
    raw = datasets.load("digits", scale=None, unit_length=False)
    assert len(table("digits").X) == np.isin(raw.y, [3, 8]).sum()
    train, test = parts("digits", 40, 50, 3)
    assert len(test.X) == 50
    assert abs(len(train.X) - 40) <= 1
    np.testing.assert_allclose(np.linalg.norm(test.X, axis=1), 1)
