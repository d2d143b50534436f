"""What the benchmarks do with their measurements, on made-up ones; and what they count instead of measuring."""

import importlib
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jacntk_lib import MLP
from jacntk_lib.kernels import recursion as kernels

FOLDER = Path(__file__).parent.parent / "benchmarks"
MACHINE = {
    "processor": "Abacus",
    "cores": 2,
    "memory in GB": 1.5,
    "torch threads": 1,
    "versions": {"python": "3.11"},
    "commit": "0123456789abcdef",
    "dirty": True,
}


@pytest.fixture
def script(monkeypatch):
    """The scripts import each other as top-level modules, as they do when they are run."""
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module


def record(**changes):
    """A run of scale.py that meets its target."""
    return {
        "points": 1000,
        "unknowns": 65000,
        "solver": "iterative",
        "until": "infinity",
        "fit_seconds": 150.26,
        "fit_processor_seconds": 60.0,
        "predict_seconds": 0.1,
        "predict_processor_seconds": 0.1,
        "peak_gb": 1.07,
        "products": 235,
        "residual": 5e-10,
        "accuracy": 0.98765,
        **changes,
    }


@pytest.mark.parametrize("power", [0.0, 1.0, 2.5])
def test_an_exponent_is_that_of_the_larger_half(script, power):
    exponent = script("growth").exponent
    sizes = (4, 8, 16, 32, 64)
    times = [1e-3 * size**power for size in sizes]
    assert exponent(sizes, times) == pytest.approx(power, abs=1e-12)
    assert exponent(sizes, [1.0, 1.0, *times[2:]]) == pytest.approx(power, abs=1e-12)  # overheads of small sizes
    assert exponent(sizes, [*times[:-1], 2 * times[-1]]) > power + 0.4


@pytest.mark.parametrize("activation", ["erf", "gelu", "sin"])
def test_operations_are_what_xla_counts_and_those_that_it_leaves_out(script, activation):
    """The body of the loop over layers, with comparisons and selections, which XLA's own count leaves out."""
    operations = script("_roofline").operations
    counted = operations(MLP(1, activation))
    assert counted == operations(MLP(11, activation))
    with jax.enable_x64(True):
        x, formulas = jnp.ones((kernels.SIDE, 1)), MLP(2, activation).phi.formulas_for(1.0)
        run = jax.jit(lambda *x: kernels._recursion.__wrapped__(formulas, True, *x, 2, 1.0, 1.0, 0.0))
        theirs = run.lower(x, x.T, x @ x.T).cost_analysis()["flops"] / x.size**2
    assert theirs <= counted <= 1.25 * theirs


def test_rows_of_the_digits(script):
    shown = script("scale").shown
    assert shown(record()) | {"unknowns": "65,000", "fit": "150.3 s", "processor": "60.0 s"} == shown(record())
    assert (shown(record())["residual"], shown(record())["accuracy"]) == ("5e-10", "0.988")
    exact = shown(record(solver="exact", products=None, residual=None, accuracy=None, difference=2.3e-9))
    assert [exact[name] for name in ("products", "residual", "accuracy", "difference")] == ["", "", "", "2e-09"]


@pytest.mark.parametrize(
    "worse",
    [{"fit_seconds": 179.95}, {"peak_gb": 3.1}, {"residual": 2e-6}, {"until": "1000", "fit_seconds": 200.0}],
    ids=str,
)
def test_the_target_holds_for_both_schedules_and_in_every_respect(script, worse):
    missed = script("scale").missed
    assert missed([record(), record(until="1000")]) == []
    assert missed([record(), record(**worse)]) == [record(**worse)]
    assert missed([record(points=1797, **worse), record(solver="exact", **worse)]) == []


def test_fitting_by_autodiff_is_the_exact_fit(script):
    from jacntk_lib import JacobianKernelRegressor

    setting = {"depth": 2, "activation": "erf", "lam": 0.1, "ridge": 1e-2}
    X = np.random.default_rng(0).standard_normal((8, 3))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    targets = np.sign(X[:, :2])
    expected = JacobianKernelRegressor(**setting, solver="exact").fit(X[:6], targets[:6]).predict(X[6:])
    naive = script("scale").ByAutodiff(**setting)
    naive.fit(X[:6], targets[:6])
    np.testing.assert_allclose(naive.predict(X[6:]), expected, atol=1e-10)


def test_clock_and_cores_of_the_same_call(script, monkeypatch):
    """Of two clocks that the contenders themselves advance, as a computer's do."""
    timing = script("_timing")
    clock, cores, calls = 0.0, 0.0, []

    def advance(name, *seconds):
        """A contender whose calls take these seconds, each by the clock and of all cores."""
        left = iter([*seconds])

        def run():
            nonlocal clock, cores
            calls.append(name)
            by_clock, of_cores = next(left)
            clock, cores = clock + by_clock, cores + of_cores

        return run

    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock)
    monkeypatch.setattr(timing.time, "process_time", lambda: cores)
    busy = advance("busy", (9.0, 9.0), (2.0, 4.0), (1.0, 2.0), (3.0, 1.0))
    idle = advance("idle", (9.0, 0.0), (0.5, 0.0), (0.5, 0.0), (0.5, 0.0))
    found = timing.clock_and_cores({"busy": busy, "idle": idle}, rounds=3)
    assert calls == ["busy", "idle"] * 4  # the first call of each is not timed
    assert found == {"busy": (1.0, 2.0), "idle": (0.5, 0.0)}
    assert timing.fastest({"idle": advance("idle", (9.0, 0.0), (0.25, 0.0))}, rounds=1) == {"idle": 0.25}


def some_results():
    peer = {"what": "limit", "seconds": 2e-3, "first_seconds": 1.25, "ratio": 1.0, "difference": 0.0}
    growth = {"what": "scalars", "grows": "N", "sizes": [4, 8], "seconds": [0.1, 0.2], "exponent": 1.0, "expected": 2}
    return {
        "peers": {
            "machine": MACHINE,
            "missing": {"somebody": "no network"},
            "roofline": {
                "matrix product, float64, GFLOP/s": 50.0,
                "elementwise in cache, float64, GFLOP/s": 30.0,
            },
            "kernel": {
                "what": "kernel scalars",
                "core ns a pair and layer": 62.7,
                "operations a pair and layer": 545,
                "GFLOP/s": 9.0,
                "share of the elementwise rate": 0.3,
            },
            "records": [
                {**peer, "method": "ours"},
                {**peer, "method": "theirs", "seconds": 0.0242, "ratio": 12.1, "difference": 3e-16},
            ],
        },
        "scaling": {"machine": MACHINE, "records": [growth]},
        "scale": {
            "machine": MACHINE,
            "setting": {"depth": 3},
            "ended": {"exact": "350 images: longer than 60 s"},
            "records": [record()],
        },
        "scale-mnist": {
            "machine": MACHINE,
            "data": "mnist",
            "threads": 2,
            "setting": {"depth": 3},
            "records": [{**record(), "unknowns": 785_000}],
        },
        "kernels": {
            "machine": MACHINE,
            "rows": [{"what": "scalars", "time": "24 ms", "baseline": "", "ratio": "", "target": "at most 10 ms"}],
        },
        "times": {
            "machine": MACHINE,
            "note": "The machine was busy.",
            "targets": {"make book": 360},
            "totals": {"make book": 400},
            "stages": {"lint": 3},
            "pages": {"01-a": 9.4},
            "tests": {"tests/test_a.py::test_one": 8.3},
        },
    }


def test_the_report_holds_every_table(script):
    text = script("report").markdown(some_results())
    for line in (
        "| limit | ours | 2 ms | 1.2 s |  |  |",
        "| limit | theirs | 24.2 ms | 1.2 s | 12 | 3e-16 |",
        "Missing: somebody (no network).",
        "kernel scalars: 63 core ns a pair and layer, 545 operations, 9 GFLOP/s: 30% of the elementwise rate, "
        "18% of that of a matrix product.",
        "| scalars | N | 4 to 8 | 200 ms | 1.00 | 2 |",
        "| 1000 | 65,000 | iterative | infinity | 150.3 s | 60.0 s | 0.10 s | 1.07 GB | 235 | 5e-10 | 0.988 |  |",
        "exact ended with 350 images: longer than 60 s.",
        "mnist, ten outputs, depth 3; linear algebra in 2 thread(s).",
        "| 1000 | 785,000 | iterative | infinity | 150.3 s | 60.0 s | 0.10 s | 1.07 GB | 235 | 5e-10 | 0.988 |  |",
        "| scalars | 24 ms |  |  | at most 10 ms |",
        "The machine was busy.",
        "| make book | 400 s | at most 360 s |",
        "| page 01-a | 9 s |  |",
        "Abacus, 2 cores; 1.5 GB; torch in 1 threads; python 3.11; commit 0123456789ab with changes.",
    ):
        assert line in text.splitlines() or line in text
    kept = {"scaling": some_results()["scaling"]}
    assert "Beside other ways" not in script("report").markdown(kept)


def test_the_stored_report_is_that_of_the_stored_results(script):
    results = {path.stem: json.loads(path.read_text()) for path in (FOLDER / "results").glob("*.json")}
    assert (FOLDER / "results" / "table.md").read_text() == script("report").markdown(results)


def test_a_missed_target_has_an_exit_status_of_its_own(script, capsys):
    with pytest.raises(SystemExit) as ended:
        script("_timing").end_with_missed("10 ms")
    assert ended.value.code == 3  # what `make bench` reports and does not take for a crash
    assert capsys.readouterr().err == "missed: 10 ms\n"


@pytest.mark.parametrize(
    ("ratio", "target", "kept"),
    [
        ("1.64 times faster", "at least 3 times", False),
        ("3.00 times faster", "at least 3 times", True),
        ("90% of the rate", "at least 60 %", True),
        ("40% of the rate", "at least 60 %", False),
        ("1.02 times as long", "at most twice", True),
        ("2.1 times as long", "at most twice", False),
        ("0.90", "<= 3", True),
        ("4 times faster", "-", True),
        ("2.8 times as long", "feasible", True),
    ],
)
def test_targets_in_words(script, ratio, target, kept):
    timing, row = script("_timing"), {"what": "it", "ratio": ratio, "target": target}
    if kept:
        timing.end_where_missed([row])
    else:
        with pytest.raises(SystemExit):
            timing.end_where_missed([row])


def test_short_calls_are_timed_together(script, monkeypatch):
    """A clock that books what a pool's threads did only every 4 ms: one call alone would seem to cost nothing."""
    module = script("_processor")
    spent = 0.0

    def run():
        nonlocal spent
        spent += 0.0003

    monkeypatch.setattr(module.time, "process_time", lambda: spent // 0.004 * 0.004)
    assert module.processor_seconds(run, budget=1.0)[1] == pytest.approx(0.0003, rel=0.05)

    def slow():
        nonlocal spent
        spent += 3.0

    before = spent
    first, best = module.processor_seconds(slow, budget=1.0)
    assert first == pytest.approx(3.0, abs=0.005)
    assert best == pytest.approx(3.0, abs=0.005)
    assert spent == pytest.approx(before + 6.0)  # once to compile, and once at least


@pytest.mark.parametrize(("ratio", "status"), [("3.00", None), ("3.01", 3)])
def test_certificates_slower_than_asked_for_end_the_script_after_writing(script, monkeypatch, tmp_path, ratio, status):
    row = {"what": "the test", "time": "1 s", "baseline": "one Cholesky", "ratio": "9.99", "target": "-"}
    spectrum, out = script("spectrum"), tmp_path / "out.json"
    monkeypatch.setattr(spectrum, "fast", lambda X, rounds: [row, {**row, "ratio": ratio, "target": "<= 3"}])
    monkeypatch.setattr("sys.argv", ["spectrum.py", "--points", "2", "--skip-high-precision", "--out", str(out)])
    code = None
    try:
        spectrum.main()
    except SystemExit as ended:
        code = ended.code
    assert code == status
    assert [row["ratio"] for row in json.loads(out.read_text())["rows"]] == ["9.99", ratio]
