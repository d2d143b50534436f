"""The controlled run: one rule chooses for both, bounds from both sides, networks that follow their limit."""

import dataclasses
import math
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pytest

from jacntk_book import experiments
from jacntk_book.experiments import controlled
from jacntk_book.experiments.two_classes import parts
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
