"""The problems of gradients.py as files, from SMT, run in the environment of the peers.

    python _gradient_data.py FOLDER

Writes FOLDER/PROBLEM-N-SEED.npz with inputs X (N, d), values y (N,), gradients J (N, d), X_test, y_test and limits
(d, 2), and FOLDER/airfoil.npz, a whole table (X, y, J). Test inputs are the same for every N and seed, and are in no
training set. Seed TUNING is for the choice of settings: its test inputs are others.
"""

import sys
from pathlib import Path

import numpy as np
from scipy.stats import qmc

SEEDS = range(5)
SIZES = {
    "airfoil": (50, 100, 200, 500, 1000, 2000, 5000),
    "b777 thrust": (100,),
    "b777 TSFC": (100,),
    "Rosenbrock-5": (50,),
    "Branin": (20,),
    "WaterFlow": (40,),
    "Sphere-10": (30,),
}
TUNING, TUNED_AT = 1000, {name: 100 if name == "airfoil" else sizes[0] for name, sizes in SIZES.items()}
TEST = 2000


def seeds(points):
    """Five; three beyond 2000 points."""
    return SEEDS[:3] if points > 2000 else SEEDS


def tables():
    """name -> (X, y, J, test points): the airfoils' drag, and thrust and consumption of an engine, simulated."""
    from smt.examples.airfoil_parameters.learning_airfoil_parameters import load_cd_training_data
    from smt.examples.b777_engine.b777_engine import get_b777_engine

    X, y, J = (np.asarray(a, dtype=np.float64) for a in load_cd_training_data())
    yield "airfoil", (X, y.ravel(), J, TEST)
    X, Y, J, _ = get_b777_engine()
    for k, name in enumerate(("b777 thrust", "b777 TSFC")):
        yield name, (X, Y[:, k], J[:, k], 400)


def functions():
    """name -> problem of SMT, which knows its gradients."""
    from smt import problems

    yield "Rosenbrock-5", problems.Rosenbrock(ndim=5)
    yield "Branin", problems.Branin()
    yield "WaterFlow", problems.WaterFlow()
    yield "Sphere-10", problems.Sphere(ndim=10)


def wanted(name):
    yield from ((points, seed) for points in SIZES[name] for seed in seeds(points))
    yield TUNED_AT[name], TUNING


def from_table(X, y, J, test):
    """A function of (points, seed): random rows, of those that are not kept for testing."""
    order = np.random.default_rng(0).permutation(len(X))
    kept, rest = order[:test], order[test:]
    limits = np.stack([X.min(axis=0), X.max(axis=0)], axis=1)

    def draw(points, seed):
        rows = np.random.default_rng((seed, 1)).permutation(rest)
        held = rows[points : points + test] if seed == TUNING else kept
        rows = rows[:points]
        return {"X": X[rows], "y": y[rows], "J": J[rows], "X_test": X[held], "y_test": y[held], "limits": limits}

    return draw


def from_function(problem):
    """A function of (points, seed): a Latin hypercube to train, uniform inputs to test."""
    limits = np.asarray(problem.xlimits, dtype=np.float64)
    low, wide = limits[:, 0], np.ptp(limits, axis=1)

    def draw(points, seed):
        X = low + wide * qmc.LatinHypercube(len(low), rng=np.random.default_rng((seed, points))).random(points)
        X_test = low + wide * np.random.default_rng((seed == TUNING, 2)).random((TEST, len(low)))
        J = np.concatenate([problem(X, kx=k) for k in range(len(low))], axis=1)
        return {
            **{"X": X, "y": problem(X)[:, 0], "J": J},
            **{"X_test": X_test, "y_test": problem(X_test)[:, 0], "limits": limits},
        }

    return draw


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    whole = dict(tables())
    X, y, J, _ = whole["airfoil"]
    np.savez(folder / "airfoil.npz", X=X, y=y, J=J)
    draws = {name: from_table(*table) for name, table in whole.items()}
    draws |= {name: from_function(problem) for name, problem in functions()}
    for name, draw in draws.items():
        for points, seed in wanted(name):
            np.savez(folder / f"{name}-{points}-{seed}.npz", **draw(points, seed))
    print(f"written to {folder}")


if __name__ == "__main__":
    main()
