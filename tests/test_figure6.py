"""Figures 6, B7 and B8: the paper's tables, brackets and eigenvalues, and the cuts that explain verdicts."""

import dataclasses
import re
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest

from jacntk_book import datasets
from jacntk_book.experiments import figure, figure6
from jacntk_lib import MLP, jacobian_ntk
from jacntk_lib.spectrum import imprecise

CONFIG = figure6.Config(data=(figure6.FIRES, "banknote_authentication"), depths=(1, 3), rows=8)


@pytest.fixture(scope="module")
def result():
    return figure6.run(CONFIG)


def test_every_number_is_in_its_place(result):
    for (i, data), (j, activation), (k, depth) in (
        (a, b, c)
        for a in enumerate(CONFIG.data)
        for b in enumerate(CONFIG.activations)
        for c in enumerate(CONFIG.depths)
    ):
        mlp, X = MLP(depth, activation), figure6.inputs_of(CONFIG, data, activation)
        G = jacobian_ntk(mlp, X)
        for kernel, matrix in (("jacobian", G.dense()), ("values", G.values())):
            got = {name: result[f"{kernel}_{name}"][i, j, k] for name in ("lower", "upper", "float64", "largest")}
            eigenvalues = np.linalg.eigvalsh(matrix)
            noise = 1e-15 * eigenvalues[-1]  # two builds of LAPACK differ by so much
            assert result[f"{kernel}_verdict"][i, j, k] == "certified positive"
            assert 0 < got["lower"] <= eigenvalues[0] + noise
            assert eigenvalues[0] - noise <= got["upper"] <= 2 * got["lower"]
            np.testing.assert_allclose(got["float64"], eigenvalues[0], rtol=1e-6, atol=noise)
            np.testing.assert_allclose(got["largest"], eigenvalues[-1], rtol=1e-12)
            throughout = imprecise.gram_in_float32(mlp, X, tangent=True, values_only=kernel == "values")
            single = matrix.astype(np.float32)
            for name, rough in (
                ("rounded", single.astype(float)),
                ("float32", single),
                ("float32_throughout", throughout),
            ):
                expected = np.linalg.eigvalsh(rough)[0]
                atol = 1e-6 * np.abs(matrix).max() if rough.dtype == np.float32 else noise
                np.testing.assert_allclose(result[f"{kernel}_{name}"][i, j, k], expected, rtol=1e-6, atol=atol)


def test_inputs_are_the_papers():
    paper = figure6.PRESETS["paper"]
    fires = figure6.inputs_of(paper, figure6.FIRES, "gelu")
    np.testing.assert_array_equal(fires, datasets.load(figure6.FIRES, scale="minmax").X)
    assert fires.shape == (244, 11)
    shapes = {
        (label, activation): figure6.inputs_of(config, config.data[0], activation).shape
        for label in ("B7", "B8")
        for config in [figure(label).presets["paper"]]
        for activation in config.activations
    }
    assert shapes == {
        ("B7", "gelu"): (186, 4),  # the paper's numbers
        ("B7", "erf"): (320, 4),
        ("B8", "gelu"): (208, 60),
        ("B8", "erf"): (208, 60),
    }


def test_presets_cover_the_papers_grid():
    for config in (figure6.PRESETS["paper"], *(figure(label).presets["paper"] for label in ("B7", "B8"))):
        assert config.depths == tuple(range(1, 15))
        assert set(config.activations) == {"erf", "gelu"}
        assert config.rows == 0


@pytest.mark.parametrize("reading", figure6.READINGS)
def test_readings_of_224_are_rows_of_the_244(reading):
    X, all_rows = (figure6.inputs_of(figure6.PRESETS["readings"], name, "erf") for name in (reading, figure6.FIRES))
    assert X.shape == (224, 11)
    assert {x.tobytes() for x in X} <= {x.tobytes() for x in all_rows}
    if reading == "filtered_224":
        products = np.abs(X @ X.T) - np.eye(224)
        assert 0.99 < products.max() <= 0.9953
    rest = len({x.tobytes() for x in all_rows} - {x.tobytes() for x in X})
    assert rest == 20


def test_sonars_telling_depths_come_first():
    order = [(cell.kernel, cell.depth) for cell in figure6.cells(figure("B8").presets["paper"])]
    assert {kernel for kernel, _ in order[:28]} == {"values"}
    assert {depth for _, depth in order[28:36]} == {1, 2, 3, 12}


def test_partial_results_say_what_is_missing(tmp_path, monkeypatch):
    """Stopped at a time limit: what was computed stands in its place, the rest is NaN or empty, and named."""
    config = dataclasses.replace(CONFIG, data=(figure6.FIRES,), activations=("erf",))
    answers = iter([True, True, True, False])
    with monkeypatch.context() as patch:
        patch.setattr("jacntk_book.experiments.experiment._Clock.leaves_time_for", lambda clock, work: next(answers))
        part = figure6.run(config, where=tmp_path, time_limit=300, partial=True)
    missing = part.record["missing"]
    assert len(missing) == 1
    for kernel in ("jacobian", "values"):
        for k, depth in enumerate(config.depths):
            gone = f"{figure6.FIRES}-erf-depth{depth}-{kernel}" in missing
            assert np.isnan(part[f"{kernel}_lower"][0, 0, k]) == gone
            assert (part[f"{kernel}_verdict"][0, 0, k] == "") == gone
    assert "nan" not in figure6.summary(part)
    plt.close(figure6.plot(part))
    whole = figure6.run(config, where=tmp_path)
    assert not whole.record["missing"]
    assert np.isfinite(whole["jacobian_lower"]).all()


def test_open_brackets_are_drawn_from_above(monkeypatch):
    close = np.array([[1.0, 0.0], [np.cos(1e-4), np.sin(1e-4)], [0.6, 0.8]])
    monkeypatch.setattr(figure6, "inputs_of", lambda *_: close)
    result = figure6.run(dataclasses.replace(CONFIG, depths=(1,), activations=("erf",), high_precision_rows=0))
    assert result["jacobian_verdict"][0, 0, 0] == "undecided"
    assert "JNTK: undecided at 1 of 1 depths" in figure6.summary(result)
    picture = figure6.plot(result)
    triangles = [line for line in picture.axes[0].lines if line.get_label() == "JNTK at most"]
    np.testing.assert_array_equal(triangles[0].get_ydata(), result["jacobian_upper"][0, 0])
    plt.close(picture)


def test_matrices_too_large_for_an_eigenvalue_routine_get_a_certificate_alone():
    config = dataclasses.replace(CONFIG, data=(figure6.FIRES,), activations=("erf",), depths=(3,), eigenvalue_rows=20)
    result = figure6.run(config)  # 8 and 96 rows
    assert np.isnan(result["jacobian_float64"][0, 0, 0])
    assert result["values_float64"][0, 0, 0] > 0
    assert result["jacobian_lower"][0, 0, 0] > 0
    assert "JNTK: certified positive at 1 of 1 depths; at most" in figure6.summary(result)


def test_other_readings_get_no_float32():
    config = dataclasses.replace(CONFIG, data=("last_224",), activations=("erf",), depths=(3,))
    result = figure6.run(config)
    assert np.isnan(result["jacobian_float32"][0, 0, 0])
    assert result["jacobian_float64"][0, 0, 0] > 0
    assert "float32" not in figure6.summary(result)


def test_summary_and_picture(result):
    text = figure6.summary(result)
    assert "algerian_forest_fires gelu JNTK: certified positive at 2 of 2 depths; float64" in text
    assert "in float32 throughout" in text
    picture = figure6.plot(result)
    titles = [f"{data}, {activation}" for data in ("Algerian forest fires", "Banknote authentication")
              for activation in ("GELU", "erf")]  # fmt: skip
    assert [ax.get_title() for ax in picture.axes] == titles
    plt.close(picture)


def test_the_picture_bears_the_marks_of_the_paper():
    config = dataclasses.replace(CONFIG, depths=(5, 6, 10, 11), rows=4)
    marks = {}
    picture = figure6.plot(figure6.run(config))
    for ax in picture.axes:
        for line in ax.lines:
            if line.get_label().startswith("JNTK"):
                marks[ax.get_title(), line.get_marker()] = list(line.get_xdata())
    plt.close(picture)
    assert marks == {
        ("Algerian forest fires, GELU", "x"): [5, 6, 10],
        ("Algerian forest fires, GELU", "o"): [11],
        ("Algerian forest fires, erf", "x"): [5],
        ("Algerian forest fires, erf", "o"): [6, 10, 11],
        ("Banknote authentication, GELU", "o"): [5, 6, 10, 11],  # of these the paper names no depth
        ("Banknote authentication, erf", "o"): [5, 6, 10, 11],
    }


def test_table_of_brackets_rounds_outwards(result):
    lines = figure6.table(result).splitlines()
    assert [line.split() for line in (lines[0], lines[3])] == [
        ["depth", "GELU", "JNTK", "erf", "JNTK"], ["depth", "GELU", "NTK", "erf", "NTK"]]  # fmt: skip
    for k, line in enumerate(lines[1:3]):
        ends = [float(word) for word in re.findall(r"[\d.]+e[-+]\d+", line)]
        for j, (low, high) in enumerate((ends[:2], ends[2:])):
            lower, upper = (result[f"jacobian_{end}"][0, j, k] for end in ("lower", "upper"))
            assert 0.98 * lower < low <= lower <= upper <= high < 1.02 * upper


def test_cuts_of_a_result_leave_out_what_was_not_computed():
    depths = np.array([1, 2, 3, 4])
    arrays = {
        "activations": np.array(["gelu", "erf"]),
        "depths": depths,
        "jacobian_lower": np.array([[[1.0, 2.0, np.nan, 4.0], [2.0, 3.0, 4.0, 5.0]]]),
        "jacobian_upper": np.array([[[1.5, 2.5, np.nan, 4.5], [2.5, 3.5, 4.5, 5.5]]]),
        "jacobian_float64": np.array([[[1.2, 2.2, np.nan, 4.2], [2.2, 3.2, 4.2, 5.2]]]),
    }
    assert figure6.cuts_from(arrays, {"gelu": 3, "erf": 2}) == {"gelu": (2.5, 4.0), "erf": (2.5, 3.0)}
    assert figure6.cuts_from(arrays, {"gelu": 3}, proved=False) == {"gelu": (2.2, 4.2)}


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_cuts_are_all_and_only_those_that_reproduce_a_verdict(shift):
    rng = np.random.default_rng(0)
    smallest = np.sort(rng.lognormal(size=6)) + shift
    satisfied = np.array([False, False, True, True, True, True])
    low, high = figure6.cuts(smallest, smallest, satisfied)
    for tau in np.concatenate([smallest, np.linspace(low, high, 9), rng.lognormal(size=50)]):
        assert ((smallest > tau) == satisfied).all() == (low <= tau < high)


def test_cuts_of_brackets_hold_for_every_eigenvalue_inside():
    lower, upper = np.array([1.0, 2.0, 5.0]), np.array([1.5, 3.0, 9.0])
    assert figure6.cuts(lower, upper, np.array([False, False, True])) == (3.0, 5.0)
    assert figure6.cuts(lower, upper, np.array([True, True, True])) == (-np.inf, 1.0)
    assert figure6.cuts(lower, upper, np.array([False, False, False])) == (9.0, np.inf)
    low, high = figure6.cuts(lower, upper, np.array([True, False, True]))  # no cut can tell a smaller from a larger
    assert low > high


def test_common_cuts():
    assert figure6.common([(1.0, 5.0), (2.0, 9.0)]) == (2.0, 5.0)
    low, high = figure6.common([(1.0, 2.0), (3.0, 4.0)])
    assert low > high


def test_positive_from():
    assert figure6.positive_from([-1, 2, 3], [1, 2, 3]) == 2
    assert figure6.positive_from([1, -2, 3], [1, 2, 5]) == 5
    assert figure6.positive_from([1, 2], [1, 2]) == 1
    assert figure6.positive_from([1, 0], [1, 2]) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": ("iris",)}, "unknown data 'iris'; known are algerian_forest_fires"),
        ({"rows": -1}, "rows must be at least 0"),
        ({"activations": ("sin",)}, "which banknotes stay is known for gelu and erf, not for 'sin'"),
        ({"depths": (0,)}, "each of depths must be at least 1"),
    ],
)
def test_bad_configurations(options, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, **options)


def test_without_flint_a_cell_keeps_the_bracket_of_float64_and_says_how_to_sharpen_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "flint", None)
    config = figure6.Config(data=(figure6.FIRES,), activations=("gelu",), depths=(12,), rows=40)
    found = figure6.run_cell(config, figure6.Cell(figure6.FIRES, "gelu", 12, "jacobian"))
    assert found["upper"] > 2 * found["lower"] > 0  # ball arithmetic was wanted
    assert str(found["method"]) == 'float64 Cholesky; to go on: pip install "jacntk[certificates]"'
