"""One eigendecomposition for every time: RobustFlow at the size of the Algerian fires, 244 points in R^11.

    python benchmarks/dynamics.py [--points 244] [--dimension 11] [--depth 6] [--rounds 3]

Linear algebra runs in one thread and processor time is counted, because two threads waiting for each other on a busy
machine measure the machine.
"""

import argparse
import time

import numpy as np
import scipy.linalg
from _timing import RESULTS, row, store_rows
from threadpoolctl import threadpool_limits

from jacntk_lib import MLP, jacobian_ntk
from jacntk_lib.dynamics import RobustFlow
from jacntk_lib.regression import JacobianKernelRegressor

LAM = 0.01


def contenders(points, dimension, depth):
    """Name -> function, in the order they have to run in; the first is the baseline."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((points, dimension))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    y = np.sign(rng.standard_normal(points))
    X_new = X[: points // 2] + 0.1 * rng.standard_normal((points // 2, dimension))
    mlp = MLP(depth, "erf")
    S = jacobian_ntk(mlp, X).scaled(LAM).dense()
    state = {}

    def fit():
        state["flow"] = flow = RobustFlow(mlp, X, y, LAM)
        flow.at(1.0)

    def at_times(new):
        for t in np.logspace(-2, 8, 100):
            state["flow"].at(t, new)

    def after_steps():
        for k in np.logspace(0, 12, 100):
            state["flow"].after(int(k), 0.9 * state["flow"].max_learning_rate, X_new)

    return S.shape[0], {
        "scipy.linalg.eigh, default driver": lambda: scipy.linalg.eigh(S),
        "scipy.linalg.eigh, driver evd": lambda: scipy.linalg.eigh(S, driver="evd"),
        "fit and first time": fit,
        "100 later times, training points": lambda: at_times(None),
        f"100 later times, {len(X_new)} new points": lambda: at_times(X_new),
        "100 numbers of steps, new points": after_steps,
        "standard deviation, new points": lambda: state["flow"].value_std(1e4, X_new),
        "eigenfeatures, new points": lambda: state["flow"].eigenfeatures(X_new),
        "JacobianKernelRegressor.fit, defaults": lambda: JacobianKernelRegressor(depth).fit(X, y),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=244)
    parser.add_argument("--dimension", type=int, default=11)
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", default=RESULTS / "dynamics.json")
    options = parser.parse_args()

    contenders(3, options.dimension, options.depth)[1]["fit and first time"]()  # compile the kernel
    unknowns, runs = contenders(options.points, options.dimension, options.depth)
    seconds = dict.fromkeys(runs, float("inf"))
    with threadpool_limits(1):
        for _ in range(options.rounds):
            for name, run in runs.items():
                start = time.process_time()
                run()
                seconds[name] = min(seconds[name], time.process_time() - start)

    baseline = min(value for name, value in seconds.items() if name.startswith("scipy"))
    rows = []
    for name, value in seconds.items():
        bound = {"at_most": 1.5} if name.startswith("fit") else {"at_most": 0.5} if "later times" in name else {}
        what = f"{name} ({unknowns} unknowns)"
        rows.append(row(what, f"{value:.2f} s", f"{baseline:.2f} s", value / baseline, **bound))
    store_rows(options.out, rows)


if __name__ == "__main__":
    main()
