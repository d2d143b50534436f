"""Surrogates that are given gradients, and some that are not: error, processor time and coverage on the same splits.

    python benchmarks/gradients.py [--only METHOD ...] [--problems PROBLEM ...] [--largest 5000] [--stored-only]

Ours is ``JacobianGaussianProcessRegressor()`` with no option set. A peer with settings to choose gets those of smallest
error on a training set and test inputs of their own, for each problem once; the choice costs it no time. The peers
(smt, jenn, gpytorch) and the data, which come with SMT, are in an environment of their own, made once in the cache
folder; a peer that cannot be installed says so in its row. Every fit is one cell in a folder: an interrupted run goes
on where it was, and what was stored stays where the folder has no such fits. A fit over the limit of processor seconds
is given up, and larger ones of that method are not tried.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from _environment import GPYTORCH, PEERS, default_folder, gradient_data, gradient_peers, why
from _gradient_data import SIZES, TUNED_AT, TUNING, seeds
from _gradient_methods import METHODS, WITH_GRADIENTS
from _timing import RESULTS, store
from report import gradient_tables
from scipy.spatial import cKDTree

HERE = Path(__file__).parent
NEIGHBOURS = 5


class Cells:
    """The fits in a folder, and the processes that compute those that are missing."""

    def __init__(self, folder, python, limit):
        self.folder, self.python, self.limit = folder, python, limit

    def data(self, problem, points, seed):
        return self.folder / "data" / f"{problem}-{points}-{seed}.npz"

    def path(self, method, setting, problem, points, seed):
        name = f"{method}-{setting}-{problem}-{points}-{seed}.json".replace("/", "_")
        return self.folder / "fits" / name

    def read(self, *cell):
        path = self.path(*cell)
        return json.loads(path.read_text()) if path.exists() else None

    def compute(self, cells, *options):
        """Those of the cells, (method, setting, problem, points, seed), that are missing, in one process."""
        missing = [cell for cell in cells if self.read(*cell) is None]
        if not missing:
            return
        jobs = [
            {
                **{"method": method, "setting": setting, "limit": self.limit},
                **{"data": str(self.data(*where)), "output": str(self.path(method, setting, *where))},
            }
            for method, setting, *where in missing
        ]
        self.path(*missing[0]).parent.mkdir(parents=True, exist_ok=True)
        python = sys.executable if METHODS[missing[0][0]][2] else self.python
        one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch, "jobs.json")
            path.write_text(json.dumps(jobs))
            command = [python, HERE / "_gradient_methods.py", path, *options]
            run = subprocess.run(command, env=os.environ | one, capture_output=True, text=True)
        if run.returncode:
            print(f"{missing[0]}: {why(run)}", file=sys.stderr, flush=True)

    def best_setting(self, method, problem):
        """Of smallest error where settings are chosen; 0 where there is only one, ``None`` where one was not tried."""
        count = self.settings(method, problem)
        if count == 1:
            return 0
        found = [self.read(method, k, problem, TUNED_AT[problem], TUNING) for k in range(count)]
        return None if None in found else int(np.argmin([one.get("error", np.inf) for one in found]))

    def settings(self, method, problem):
        return len(METHODS[method][1](self.dimension(problem)))

    def dimension(self, problem):
        return np.load(self.data(problem, TUNED_AT[problem], TUNING))["X"].shape[1]

    def fit_all(self, method, problem, largest):
        """Choose the setting, then every size up to ``largest`` and every seed, until one ends."""
        count = self.settings(method, problem)
        if count > 1:
            tuned = [(method, k, problem, TUNED_AT[problem], TUNING) for k in range(count)]
            self.compute(tuned, "--go-on")
        setting = self.best_setting(method, problem)
        if setting is None:
            return  # the process of the settings failed, and has said why
        for points in (size for size in SIZES[problem] if size <= largest):
            cells = [(method, setting, problem, points, seed) for seed in seeds(points)]
            self.compute(cells)
            done = [self.read(*cell) or {"ended": ""} for cell in cells]
            print(method, problem, points, shown(done), flush=True)
            if any("ended" in one for one in done):
                break

    def record(self, method, problem, points, watched):
        """What is stored of one method, problem and size; ``None`` where nothing is known.

        ``watched`` has the number of a test input by problem, whose errors are stored, too.
        """
        setting = self.best_setting(method, problem)
        if setting is None:
            return None
        d = self.dimension(problem)
        own = {"problem": problem, "points": points, "method": method, "setting": METHODS[method][1](d)[setting]}
        own["numbers"] = points * (1 + d) if method in WITH_GRADIENTS else points
        for size in SIZES[problem]:
            found = [self.read(method, setting, problem, size, seed) for seed in seeds(size)]
            ended = next((one["ended"] for one in found if one and "ended" in one), None)
            if ended and size <= points:  # one seed that ends is enough
                return {**own, "ended": ended if size == points else f"not tried: {ended} at {size}"}
            if size == points:
                if not all(found):
                    return None  # interrupted
                names = ("error", "median", "seconds", "coverage", "worst")
                kept = {name: [one[name] for one in found] for name in names if all(name in one for one in found)}
                if problem in watched and all("misses" in one for one in found):
                    kept["watched"] = [one["misses"][watched[problem]] for one in found]
                return own | kept
        return None


def all_records(cells, stored, watched):
    """Those of the cells, and stored ones of fits that the cells lack, with the processor on which they were made."""
    if stored is not None:
        processor = {"processor": stored["machine"]["processor"]}
        stored = {(one["method"], one["problem"], one["points"]): processor | one for one in stored["records"]}
    wanted = [(method, problem, size) for problem, sizes in SIZES.items() for size in sizes for method in METHODS]
    return list(filter(None, (cells.record(*one, watched) or (stored or {}).get(one) for one in wanted)))


def far_from_neighbours(data):
    """The held-out airfoil of whose drag the gradients of its neighbours tell least.

    From each of its nearest neighbours in the *whole* table, nearest in the metric of the gradients' covariance, the
    trapezoidal rule with the gradients at both ends gives its value. ``miss`` is the smallest of these errors, over
    the spread of the held-out values, ``others`` the largest miss of another held-out airfoil, ``at`` its number among
    them, and ``held_out`` how many these are.
    """
    X, y, J = (np.load(data / "airfoil.npz")[name] for name in "XyJ")
    held_out = np.load(data / "airfoil-1000-0.npz")
    at = cKDTree(X).query(held_out["X_test"])[1]
    Z = X @ np.linalg.cholesky(J.T @ J)
    near = cKDTree(Z).query(Z[at], NEIGHBOURS + 1)[1][:, 1:]
    step = X[at][:, None] - X[near]
    values = y[near] + np.einsum("nkd,nkd->nk", J[near] + J[at][:, None], step) / 2
    miss = np.abs(values - y[at][:, None]).min(axis=1) / held_out["y_test"].std()
    last, first = np.argsort(miss)[-2:]
    return {
        **{"row": int(at[first]), "at": int(first), "held_out": len(miss)},
        **{"miss": float(miss[first]), "others": float(miss[last])},
    }


def shown(fits):
    errors = [one["error"] for one in fits if "error" in one]
    ended = "".join(one["ended"] for one in fits if "ended" in one)
    seconds = [one["seconds"] for one in fits if "error" in one]
    return f"{np.mean(errors):.4f}, {np.median(seconds):.1f} s {ended}" if errors else ended


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=METHODS, default=list(METHODS), metavar="METHOD")
    parser.add_argument("--problems", nargs="+", choices=SIZES, default=list(SIZES), metavar="PROBLEM")
    parser.add_argument("--largest", type=int, default=5000, help="number of points, beyond which nothing is fitted")
    parser.add_argument("--limit", type=float, default=200.0, help="processor seconds for one fit")
    parser.add_argument("--environment", type=Path, default=default_folder("gradient-peers"))
    parser.add_argument("--cells", type=Path, default=default_folder("gradient-cells"))
    parser.add_argument("--stored-only", action="store_true", help="fit nothing, write what there is")
    parser.add_argument("--out", type=Path, default=RESULTS / "gradients.json")
    chosen = parser.parse_args()

    python = gradient_peers(chosen.environment)
    cells = Cells(chosen.cells, python, chosen.limit)
    gradient_data(chosen.cells, python)
    if not chosen.stored_only:
        for method in chosen.only:
            for problem in chosen.problems:
                cells.fit_all(method, problem, chosen.largest)
    apart = {"neighbours": NEIGHBOURS, **far_from_neighbours(chosen.cells / "data")}
    stored = json.loads(chosen.out.read_text()) if chosen.out.exists() else None
    records = all_records(cells, stored, {"airfoil": apart["at"]})
    store(chosen.out, records=records, apart=apart, limit=chosen.limit, peers=[*PEERS, *GPYTORCH])
    print("\n\n".join(gradient_tables(records)))


if __name__ == "__main__":
    main()
