"""The stored benchmarks: their report is made of them, baselines compute the same, bounds are kept or missed."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from jacntk_lib import JacobianKernelRegressor

FOLDER = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    """The scripts import each other as top-level modules, as they do when they are run."""
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module


def test_the_stored_report_is_that_of_the_stored_results(script):
    results = {path.stem: json.loads(path.read_text()) for path in (FOLDER / "results").glob("*.json")}
    assert (FOLDER / "results" / "table.md").read_text() == script("report").markdown(results)


@pytest.mark.parametrize("power", [0.0, 1.0, 2.5])
def test_an_exponent_is_that_of_the_larger_half(script, power):
    sizes = (4, 8, 16, 32, 64)
    times = [1.0, 1.0, *(1e-3 * size**power for size in sizes[2:])]  # overheads of small sizes
    assert script("growth").exponent(sizes, times) == pytest.approx(power, abs=1e-12)


def test_fitting_by_autodiff_is_the_exact_fit(script):
    setting = {"depth": 2, "activation": "erf", "lam": 0.1, "ridge": 1e-2}
    X = script("_baselines").sphere(8, 3)
    targets = np.sign(X[:, :2])
    expected = JacobianKernelRegressor(**setting, solver="exact").fit(X[:6], targets[:6]).predict(X[6:])
    naive = script("scale").ByAutodiff(**setting)
    naive.fit(X[:6], targets[:6])
    np.testing.assert_allclose(naive.predict(X[6:]), expected, atol=1e-10)


@pytest.mark.parametrize(
    ("ratio", "bound", "missed"),
    [
        (3.1, {"at_most": 3}, True),
        (2.9, {"at_most": 3}, False),
        (2.9, {"at_least": 3}, True),
        (3.1, {"at_least": 3}, False),
        (9.9, {}, False),
        (None, {}, False),
    ],
)
def test_a_bound_is_one_of_the_ratio(script, ratio, bound, missed):
    timing = script("_timing")
    assert timing.is_missed(timing.row("it", "1 s", "2 s", ratio, **bound)) is missed


@pytest.mark.parametrize("worse", [{"fit_seconds": 19.95}, {"peak_gb": 3.1}, {"residual": 2e-6}], ids=str)
def test_a_fit_at_the_size_of_a_target_meets_it_in_every_respect(script, worse):
    good = {"data": "digits", "points": 1000, "solver": "iterative", "fit_seconds": 15.0, "predict_seconds": 0.1}
    good |= {"peak_gb": 1.07, "residual": 5e-10}
    elsewhere = [good | worse | {"points": 1797}, good | worse | {"data": "airfoil"}]
    assert [record for record, _ in script("scale").missed([good, good | worse, *elsewhere])] == [good | worse]


def test_sizes_are_added_to_those_measured_in_the_same_way(script, tmp_path):
    records = [{"points": n, "solver": "iterative", "until": "infinity", "run": 1} for n in (10, 20)]
    (tmp_path / "scale.json").write_text(json.dumps({"threads": 2, "options": {"memory": 1}, "records": records}))
    again = [records[1] | {"run": 2}]
    others = script("scale").others
    assert others(tmp_path / "scale.json", {"threads": 2, "options": {"memory": 1}}, again) == records[:1]
    with pytest.raises(SystemExit, match="made with another options: run all"):
        others(tmp_path / "scale.json", {"threads": 2, "options": {}}, again)


def test_no_row_is_both_fitted_and_tested(script):
    data = script("_gradient_data")
    X = np.arange(60.0)[:, None]
    draw = data.from_table(X, X[:, 0], X, test=20)
    tests = [set(draw(10, seed)["y_test"]) for seed in (*data.SEEDS, data.TUNING)]
    for seed in (*data.SEEDS, data.TUNING):
        one = draw(10, seed)
        assert len(set(one["y"])) == 10
        assert len(one["y_test"]) == 20
        assert not set(one["y"]) & (set(one["y_test"]) | tests[0])
    assert tests[0] == tests[1]
    assert not tests[0] & tests[-1]
    assert set(draw(10, 0)["y"]) != set(draw(10, 1)["y"])


def test_a_fit_is_measured_given_up_or_missing(script):
    methods = script("_gradient_methods")
    y = np.array([1.0, 2.0, 4.0])
    data = {"X": y[:, None], "y": y, "J": y[:, None], "limits": None, "X_test": y[:, None], "y_test": y}

    def off_by_one(*_):
        return lambda X: (X[:, 0] + np.array([0.0, 0.0, 1.0]), np.full(3, 0.4))

    def endless(*_):
        while True:
            sum(range(1000))

    def absent(*_):
        import no_such_package  # noqa: F401

    one = methods.measured(off_by_one, data, 10)
    assert one["error"] == pytest.approx(np.sqrt(1 / 3) / y.std(), rel=1e-12)
    assert one["coverage"] == pytest.approx(2 / 3, rel=1e-12)
    assert np.square(one["misses"]).mean() ** 0.5 == pytest.approx(one["error"], rel=1e-3)
    assert methods.measured(endless, data, 0.05) == {"ended": "over 0.05 s"}
    assert methods.measured(absent, data, 10) == {"ended": "not installed (no_such_package)"}


def test_a_setting_is_chosen_once_all_have_been_tried(script, tmp_path):
    gradients = script("gradients")
    cells = gradients.Cells(tmp_path, None, 1.0)
    points, seed = gradients.TUNED_AT["Branin"], gradients.TUNING
    tuned = cells.data("Branin", points, seed)
    tuned.parent.mkdir()
    np.savez(tuned, X=np.zeros((1, 2)))
    contents = [{"error": 0.2}, {"error": 0.1}]
    assert cells.settings("KRG", "Branin") == len(contents)
    for k, content in enumerate(contents):
        assert cells.best_setting("KRG", "Branin") is None
        path = cells.path("KRG", k, "Branin", points, seed)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
    assert cells.best_setting("KRG", "Branin") == 1
    path.write_text(json.dumps({"ended": "over 1 s"}))
    assert cells.best_setting("KRG", "Branin") == 0


def test_the_point_of_which_its_neighbours_tell_nothing_is_found(script, tmp_path):
    X = np.random.default_rng(0).uniform(size=(200, 2))
    y, J = np.sin(X @ [1.0, 2.0]), np.cos(X @ [1.0, 2.0])[:, None] * [1.0, 2.0] + 1e-3 * X
    y[7] += 0.5
    np.savez(tmp_path / "airfoil.npz", X=X, y=y, J=J)
    np.savez(tmp_path / "airfoil-1000-0.npz", X_test=X[:20], y_test=y[:20])
    found = script("gradients").far_from_neighbours(tmp_path)
    assert found["row"] == found["at"] == 7
    assert found["held_out"] == 20
    assert found["miss"] == pytest.approx(0.5 / y[:20].std(), rel=0.02)
    assert found["others"] < 0.02 * found["miss"]


def test_after_a_size_that_ended_larger_ones_are_not_tried(script, tmp_path, monkeypatch):
    gradients = script("gradients")
    cells = gradients.Cells(tmp_path, None, 1.0)
    tuned = cells.data("airfoil", gradients.TUNED_AT["airfoil"], gradients.TUNING)
    tuned.parent.mkdir()
    np.savez(tuned, X=np.zeros((1, 16)))
    fitted = {"error": 0.5, "seconds": 1.0, "coverage": None, "misses": [0.1, -0.7]}
    ended, watched = {"ended": "over 1 s"}, {"airfoil": 1}
    for points, seed, content in (*((50, seed, fitted) for seed in range(5)), (100, 0, ended)):
        path = cells.path("ours", 0, "airfoil", points, seed)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
    first, second, third = (cells.record("ours", "airfoil", points, watched) for points in (50, 100, 200))
    assert first["error"] == [0.5] * 5
    assert first["watched"] == [-0.7] * 5
    assert second["ended"] == "over 1 s"
    assert third["ended"] == "not tried: over 1 s at 100"
    cells.path("ours", 0, "airfoil", 50, 3).unlink()
    assert cells.record("ours", "airfoil", 50, watched) is None  # interrupted
    monkeypatch.setattr(gradients, "SIZES", {"airfoil": (50, 100)})
    before = [first | {"error": [0.4] * 5}, second | {"ended": "over 9 s"}]
    before = {"machine": {"processor": "another"}, "records": before}
    found = {one["points"]: one for one in gradients.all_records(cells, before, watched)}
    assert found[100] == second
    assert found[50] == before["records"][0] | {"processor": "another"}  # stays until it is measured anew
    assert (first["numbers"], second["numbers"]) == (50 * 17, 100 * 17)
    errors, *_ = script("report").gradient_tables([first, second, third])[1::2]
    shown = [row.split(" | ")[1:] for row in errors.splitlines()[2:]]
    assert shown == [["50", "0.5 |"], ["100", "over 1 s |"], ["200", "not tried: over 1 s at 100 |"]]
