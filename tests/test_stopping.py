"""Stopping early against the penalty: which samples, what validation samples choose, what the result says."""

import dataclasses
import math
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pytest

from jacntk_book import datasets
from jacntk_book.experiments import figure, stopping
from jacntk_lib import MLP, RobustFlow, robustness

CONFIG = stopping.Config(
    data=("wine", "digits_16_pixels"), lams=(0.1, 1.0), splits=1, depth=2, rows=20, validation_rows=15, test_rows=20,
    times=(2.0, 20.0), eps=(0.1, 0.3), attack_steps=3, stronger_steps=6, stronger_restarts=2, tolerance=1e-8,
)  # fmt: skip


@pytest.fixture(scope="module")
def result():
    return stopping.run(CONFIG)


@pytest.mark.parametrize("data", CONFIG.data)
def test_a_network_is_attacked_at_samples_that_neither_train_nor_choose(result, data):
    train, others = stopping.samples(data, 20, 35, 0)
    flow = RobustFlow(MLP(2, "erf", kappa=1.0), train.X, train.targets, lam=0.1, ridge=CONFIG.ridge)
    for name, part in (("validation", others.rows(slice(0, 15))), ("test", others.rows(slice(15, 35)))):
        at_20 = robustness.accuracy_under_attack(partial(flow.at, 20.0), part.X, part.y, [0.0, 0.1, 0.3], steps=3)
        np.testing.assert_array_equal(result[name][CONFIG.data.index(data), 1, 1], at_20)
    assert stopping.curve(result, data, 0.1, 0.3)[0, 1] == at_20[2]
    k, j = stopping.choice(result["validation"][CONFIG.data.index(data)], "penalised", 2, stops=True)
    assert stopping.accuracy(result, data, "penalised", 0.3) == result["test"][CONFIG.data.index(data), k, j, 2]
    clean = stopping.accuracy(result, data, "penalised", 0.0, chosen_for=0.3)
    assert clean == result["test"][CONFIG.data.index(data), k, j, 0]
    flow = RobustFlow(flow.mlp, train.X, train.targets, lam=(0.0, 0.1, 1.0)[k], ridge=CONFIG.ridge)
    harder = robustness.attack(partial(flow.at, (2.0, 20.0, math.inf)[j]), part.X, part.y, 0.3, steps=6, restarts=2)
    assert stopping.accuracy(result, data, "penalised", 0.3, stronger=True) == harder.accuracy


def test_the_choice_is_the_most_accurate_under_attack_then_without_then_the_first():
    validation = np.zeros((3, 3, 2))  # lambda, time, size
    validation[0, :, 1], validation[0, :, 0] = (0.5, 0.5, 0.4), (0.8, 0.9, 1.0)
    validation[2, 1:] = 0.7
    assert stopping.choice(validation, "plain", 1, stops=True) == (0, 1)
    assert stopping.choice(validation, "plain", 1, stops=False) == (0, 2)
    assert stopping.choice(validation, "penalised", 1, stops=True) == (2, 1)
    assert stopping.choice(0 * validation, "penalised", 1, stops=True) == (1, 0)


def test_samples_are_images_of_unit_length_with_every_class():
    train, test = stopping.samples("digits_64_pixels", 40, 100, 3)
    blocks, _ = stopping.samples("digits_16_pixels", 40, 100, 3)
    assert (len(np.unique(train.y)), train.X.shape, test.X.shape, blocks.X.shape) == (10, (40, 64), (100, 64), (40, 16))
    raw = datasets.load("digits", scale=None).X
    assert {row.tobytes() for row in np.vstack([train.X, test.X])} <= {row.tobytes() for row in raw}
    assert not {row.tobytes() for row in train.X} & {row.tobytes() for row in test.X}
    corner = train.X.reshape(40, 8, 8)[:, :2, 2:4].mean(axis=(1, 2))
    means = train.X.reshape(40, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(40, 16)
    np.testing.assert_allclose(blocks.X[:, 1] * np.linalg.norm(means, axis=1), corner, atol=1e-15)
    assert set(np.unique(stopping.samples("digits_3_8_pixels", 40, 60, 0)[1].y)) == {-1.0, 1.0}


def test_what_the_stronger_attack_takes_is_a_mean_over_splits_and_data_sets(result):
    expected = [stopping.accuracy(result, data, "plain", 0.3, stops=False).mean() for data in CONFIG.data]
    stronger = [
        stopping.accuracy(result, data, "plain", 0.3, stops=False, stronger=True).mean() for data in CONFIG.data
    ]
    assert stopping.masked(result)[0, 0, 1] == pytest.approx(np.mean(expected) - np.mean(stronger))


def test_words_and_picture(result):
    assert "digits_16_pixels, infinite time, penalised: " in stopping.summary(result)
    picture = stopping.plot(result)
    assert [len(ax.lines) for ax in picture.axes] == [3, 3]
    assert [text.get_text() for text in picture.axes[0].get_xticklabels()] == ["2", "20", r"$\infty$"]
    plt.close(picture)


def test_refusals(result):
    assert figure("stopping") is stopping.EXPERIMENT
    for wrong, words in (
        ({"data": ("iris",)}, "no samples of 'iris'"),
        ({"eps": (0.0,)}, "each of eps must be positive"),
    ):
        with pytest.raises(ValueError, match=words):
            dataclasses.replace(CONFIG, **wrong)
    with pytest.raises(ValueError, match=r"the result has 0, 0\.1, 0\.3, not 0\.2"):
        stopping.accuracy(result, "wine", "plain", 0.2)
    with pytest.raises(ValueError, match="no cells for sonar"):
        stopping.curve(result, "sonar", 0.1, 0.3)
