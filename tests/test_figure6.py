"""What figure 6 adds to certificates: float32 throughout, sampled kernels, sets of uniform points."""

import dataclasses
import os
import types

import matplotlib.pyplot as plt
import numpy as np
import pytest

from jacntk_lib import MLP, datasets, imprecise, jacobian_ntk
from jacntk_lib.experiments import figure6

CONFIG = figure6.Config(
    data=("sphere", "uniform", "wine"),
    depths=(1, 3),
    table_depths=(3,),
    points=9,
    input_dim=3,
    high_precision_rows=0,
    samples=4096,
    uniform_seeds=2,
)


@pytest.fixture(scope="module")
def result():
    few_rows = datasets.load("wine").rows(slice(0, 160, 20))  # the whole table takes half a minute
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "load", lambda name: few_rows)
        return figure6.run(dataclasses.replace(CONFIG, activations=("gelu",)))


def test_every_part_is_in_its_place(result):
    depths = list(result["depths"])
    for data in ("sphere", "uniform"):
        X = figure6.inputs_of(CONFIG, data)
        for depth in depths:
            eigenvalues = np.linalg.eigvalsh(jacobian_ntk(MLP(depth, "gelu"), X).dense())
            place = list(result["data"]).index(data), 0, depths.index(depth)
            noise = 1e-15 * eigenvalues[-1]  # two builds of LAPACK differ by so much
            np.testing.assert_allclose(result["jacobian_float64"][place], eigenvalues[0], rtol=1e-6, atol=noise)
            rounded = imprecise.gram_in_float32(MLP(depth, "gelu"), "ntk", X)
            got = result["jacobian_float32_throughout"][place]
            np.testing.assert_allclose(got, np.linalg.eigvalsh(rounded)[0], atol=1e-6 * np.abs(rounded).max())
    for seed in range(2):
        X = figure6.inputs_of(CONFIG, "uniform", seed)
        rounded = imprecise.gram_in_float32(MLP(3, "gelu"), "ntk", X)[::4, ::4]
        throughout, smallest = result["uniform_float32_throughout"][0, seed, 1, 1], np.linalg.eigvalsh(rounded)[0]
        np.testing.assert_allclose(throughout, smallest, atol=1e-5)
        exact = np.linalg.eigvalsh(jacobian_ntk(MLP(3, "gelu"), X).dense())[0]
        np.testing.assert_allclose(result["uniform_float32"][0, seed, 1, 0], exact, atol=1e-5)
        assert result["uniform_float32"][0, seed, 1, 0] != exact


def test_sampled_kernels_are_those_of_the_sphere(result):
    for kind, shared in (("sampled", False), ("shared", True)):
        batch = {"sampled": 32, "shared": 2048}[kind]
        X = figure6.inputs_of(CONFIG, "sphere")
        kernels = list(imprecise.sampled_ntk(MLP(3, "gelu"), X, samples=4096, shared=shared, batch=batch))
        for k, depth in enumerate(result["depths"]):
            smallest = np.linalg.eigvalsh(kernels[depth - 1])[0]
            np.testing.assert_allclose(result[kind][0, k, 0], smallest, rtol=1e-6, atol=1e-9)


def test_tables_have_gaps_at_other_depths(result):
    table = list(result["data"]).index("wine")
    assert np.isnan(result["jacobian_lower"][table, 0, 0])
    assert result["jacobian_verdict"][table, 0, 0] == ""
    assert result["jacobian_verdict"][table, 0, 1] == "certified positive"
    assert result["jacobian_lower"][table, 0, 1] > 0


def test_table_without_its_repeated_rows(monkeypatch):
    """Equal rows make the kernel singular; without them, thinned too, it is what it would be for those rows alone."""
    X = np.random.default_rng(0).standard_normal((20, 3))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    table = types.SimpleNamespace(X=X[[0, 1, 0, *range(2, 20), 19]])
    monkeypatch.setattr(datasets, "load", lambda name: table)
    config = dataclasses.replace(
        CONFIG,
        data=("banknote_authentication", *figure6.THINNED),
        activations=("gelu",),
        samples=0,
        uniform_seeds=0,
        eigenvalue_rows=20,
    )
    np.testing.assert_array_equal(figure6.inputs_of(config, "banknote_distinct"), X)
    np.testing.assert_array_equal(figure6.inputs_of(config, "banknote_eighth"), X[::8])
    result = figure6.run(config)
    np.testing.assert_array_equal(result["shapes"], [[22, 3], [20, 3], [3, 3]])
    verdicts = result["jacobian_verdict"][:, 0, 1]
    assert list(verdicts) == ["certified singular", "certified positive", "certified positive"]
    assert result["jacobian_method"][0, 0, 1].startswith("duplicate points")
    exact = np.linalg.eigvalsh(jacobian_ntk(MLP(3, "gelu"), X).dense())[0]
    assert result["jacobian_lower"][1, 0, 1] <= exact <= result["jacobian_upper"][1, 0, 1]
    # an eigenvalue routine sees the small matrices alone: 22, 20 and 3 values, 88, 80 and 12 rows
    np.testing.assert_array_equal(np.isnan(result["values_float64"][:, 0, 1]), [True, False, False])
    np.testing.assert_array_equal(np.isnan(result["jacobian_float32"][:, 0, 1]), [True, True, False])
    text = figure6.summary(result)
    assert "banknote_authentication gelu  JNTK: certified singular at 1 of 1 depths; at most 0 (depth 3)" in text
    assert "banknote_eighth gelu  JNTK: certified positive at 1 of 1 depths; float64" in text
    picture = figure6.plot(result)
    assert [note.get_text() for note in picture.axes[0].texts] == ["singular: duplicate points"]
    picture.canvas.draw()
    plt.close(picture)


def test_open_brackets_are_drawn_from_above(monkeypatch):
    close = np.array([[1.0, 0.0], [np.cos(1e-4), np.sin(1e-4)], [0.6, 0.8]])
    monkeypatch.setattr(datasets, "load", lambda name: types.SimpleNamespace(X=close))
    config = figure6.Config(data=("wine",), depths=(1,), activations=("erf",), high_precision_rows=0)
    result = figure6.run(config)
    assert result["jacobian_verdict"][0, 0, 0] == "undecided"
    assert "JNTK: undecided at 1 of 1 depths" in figure6.summary(result)
    picture = figure6.plot(result)
    triangles = [line for line in picture.axes[0].lines if line.get_label() == "JNTK at most"]
    np.testing.assert_array_equal(triangles[0].get_ydata(), result["jacobian_upper"][0, 0])
    plt.close(picture)


def test_expected_time_of_a_singular_table_is_short():
    config = dataclasses.replace(CONFIG, data=("banknote_authentication", "banknote_distinct"))
    singular, regular = (figure6.operations(config, figure6.Cell(data, "erf", 3))[0] for data in config.data)
    assert 0 < 100 * singular < regular


@pytest.mark.parametrize("data", [*figure6.SPHERES, figure6.UNIFORM, *figure6.TABLES])
def test_shapes_are_known_without_the_data(data):
    if data not in (*figure6.SPHERES, figure6.UNIFORM, *datasets.BUNDLED) and "JACNTK_DATA_DIR" not in os.environ:
        pytest.skip("set JACNTK_DATA_DIR to a folder with the raw UCI files")
    X = figure6.inputs_of(CONFIG, data)
    assert figure6._shape_of(CONFIG, data) == X.shape
    assert len(X) - len(np.unique(X, axis=0)) == datasets.REPEATED.get(data, 0)


def test_uniform_points_are_uniform():
    X = figure6.inputs_of(dataclasses.replace(CONFIG, points=4000), "uniform", 1)
    np.testing.assert_allclose(np.linalg.norm(X, axis=1), 1, rtol=1e-14)
    assert np.abs(X.mean(axis=0)).max() < 0.05
    assert (figure6.inputs_of(dataclasses.replace(CONFIG, points=4000), "uniform", 0) != X).any()


def test_summary_and_picture(result):
    text = figure6.summary(result)
    assert "wine gelu  JNTK: certified positive at 1 of 1 depths" in text
    assert "in samples pair by pair" in text
    assert "2 sets of uniform points, gelu, JNTK rounded to float32: positive from depth" in text
    assert "2 sets of uniform points, gelu, JNTK in float32 throughout: positive from depth" in text
    assert [ax.get_title() for ax in figure6.plot(result).axes] == ["sphere, GELU", "uniform, GELU", "wine, GELU"]
    assert [ax.get_title() for ax in figure6.plot(result, ["wine"]).axes] == ["wine, GELU"]
    plt.close("all")


def test_positive_from():
    assert figure6.positive_from([-1, 2, 3], [1, 2, 3]) == 2
    assert figure6.positive_from([1, -2, 3], [1, 2, 5]) == 5
    assert figure6.positive_from([1, 2], [1, 2]) == 1
    assert figure6.positive_from([1, 0], [1, 2]) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"table_depths": (2,)}, "must be among the depths"),
        ({"samples": 100}, "samples must be 0 or at least 2048"),
        ({"uniform_seeds": -1}, "uniform_seeds must be at least 0"),
    ],
)
def test_bad_configurations(options, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, **options)
