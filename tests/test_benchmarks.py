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


@pytest.mark.parametrize("worse", [{"fit_seconds": 179.95}, {"peak_gb": 3.1}, {"residual": 2e-6}], ids=str)
def test_a_fit_at_the_size_of_the_target_meets_it_in_every_respect(script, worse):
    good = {"points": 1000, "solver": "iterative", "fit_seconds": 150.0, "predict_seconds": 0.1}
    good |= {"peak_gb": 1.07, "residual": 5e-10}
    assert script("scale").missed([good, good | worse, good | worse | {"points": 1797}]) == [good | worse]
