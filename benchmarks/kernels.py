"""The limiting Jacobian NTK: eight scalars per pair, beside automatic differentiation of the value kernel.

    python benchmarks/kernels.py [--points 256] [--dimension 4] [--depth 11] [--recomputed 4096]

Both compute the same blocks from the same closed forms in float64 and are compared before they are timed. Autodiff runs
at depths up to 3: what it takes jax to compile them grows with the depth. The first call, compilation included, is
timed in this fresh process, before anything else, and in two more that share jax's compilation cache. The scalars are
timed by the clock and by what all cores spent in the same call.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _baselines import by_autodiff, sphere
from _timing import RESULTS, clock_and_cores, fastest, row, store_rows

from jacntk_lib import MLP, jacobian_ntk

# the targets of the project: seconds of the clock for the scalars of 256 points at depth 11, for a first call, from the
# first import to a first prediction, and on two cores for a product with the kernel of MANY points in R^16, whose
# scalars do not fit in memory
SCALARS, FIRST, USE, PRODUCT, MANY = 0.010, 3.0, 1.5, 60.0, 42_039

FIRST_CALL = """
import time
import jax.numpy
import numpy as np
from jacntk_lib import MLP, jacobian_ntk
X = np.random.default_rng(0).standard_normal((256, 4))
start = time.perf_counter()
jacobian_ntk(MLP(11, "gelu"), X)
print(time.perf_counter() - start)
"""

# the regressor of the README
FIRST_USE = """
import time
start = time.perf_counter()
import numpy as np
from jacntk_lib import JacobianKernelRegressor
X = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
JacobianKernelRegressor(depth=3, sigma_b=0.5, lam=0.1).fit(X, [1.0, -1.0, 0.5]).predict(X, return_std=True)
print(time.perf_counter() - start)
"""


def in_fresh_processes(code, processes, **environment):
    """The number that a piece of Python prints, in processes one after the other."""
    run = {"env": {**os.environ, **environment}, "capture_output": True, "text": True, "check": True}
    return [float(subprocess.run([sys.executable, "-c", code], **run).stdout) for _ in range(processes)]


def first_calls():
    """Seconds of the first call in processes that share jax's persistent compilation cache, empty to begin with."""
    with tempfile.TemporaryDirectory() as folder:
        cache = {"JAX_COMPILATION_CACHE_DIR": folder, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        return in_fresh_processes(FIRST_CALL, 2, **cache)


def product_anew(mlp, points, rounds):
    """The row of a product with the kernel of points in R^16 whose scalars are computed anew."""
    gram = jacobian_ntk(mlp, sphere(points, 16), memory=1)
    v = np.ones(gram.shape[0])
    clock, cores = clock_and_cores({"product": lambda: gram @ v}, rounds)["product"]
    what = f"product, scalars computed anew, {points} points in R^16, {mlp.phi.name}, depth {mlp.depth}"
    whole = clock * (MANY / points) ** 2
    each = f"{clock / points**2 * 1e9:.0f} ns per pair; of all cores: {cores:.2f} s; {MANY} points: {whole:.0f} s"
    return row(what, f"{clock:.2f} s", each, whole / PRODUCT, f"times the {PRODUCT:.0f} s asked for", at_most=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=256)
    parser.add_argument("--dimension", type=int, default=4)
    parser.add_argument("--depth", type=int, default=11)
    parser.add_argument("--recomputed", type=int, default=4096, help="points of a product without stored scalars")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=RESULTS / "kernels.json")
    chosen = parser.parse_args()
    X = sphere(chosen.points, chosen.dimension)
    deep, size = MLP(chosen.depth, "gelu"), f"{chosen.points} points in R^{chosen.dimension}, GELU"
    v = np.ones(chosen.points * (1 + chosen.dimension))

    start = time.perf_counter(), time.process_time()
    jacobian_ntk(deep, X) @ v
    first, first_cores = time.perf_counter() - start[0], time.process_time() - start[1]
    both = clock_and_cores(
        {"scalars": lambda: jacobian_ntk(deep, X), "with a product": lambda: jacobian_ntk(deep, X) @ v}, chosen.rounds
    )
    steps = chosen.points * (chosen.points + 1) // 2 * chosen.depth
    (clock, cores), product, filled = both["scalars"], both["with a product"][0], first_calls()
    use = min(in_fresh_processes(FIRST_USE, 3))
    scalars = {
        "what": f"kernel scalars, {size}, depth {chosen.depth}",
        "clock_seconds": clock,
        "core_seconds": cores,
        "clock ns per pair and layer": clock / steps * 1e9,
        "core ns per pair and layer": cores / steps * 1e9,
        "with a product, clock_seconds": product,
        "target_seconds": SCALARS,
    }
    first_call = {
        "what": "kernel and one product, first call in a process",
        "clock_seconds": first,
        "core_seconds": first_cores,
        "target_seconds": FIRST,
        "filling the compilation cache, clock_seconds": filled[0],
        "with the compilation cache, clock_seconds": filled[1],
    }
    rows = [
        row(
            scalars["what"],
            f"{clock * 1e3:.1f} ms",
            f"{scalars['clock ns per pair and layer']:.0f} ns per pair and layer; of all cores: {cores * 1e3:.1f} ms; "
            f"with one product: {product * 1e3:.1f} ms",
            clock / SCALARS,
            f"times the {SCALARS * 1e3:.0f} ms asked for",
            at_most=1,
        ),
        row(
            first_call["what"],
            f"{first:.2f} s",
            f"of all cores: {first_cores:.2f} s, nearly all of it compilation",
            first / FIRST,
            f"times the {FIRST:.0f} s asked for",
            at_most=1,
        ),
        row(
            "the same with jax's compilation cache, filled by another process",
            f"{filled[1]:.2f} s",
            f"the process that filled it: {filled[0]:.2f} s",
            filled[0] / filled[1],
            "times faster",
        ),
        row(
            "from the first import to the README's prediction, in a fresh process",
            f"{use:.2f} s",
            "nearly all of it the import of scikit-learn; jax takes no part",
            use / USE,
            f"times the {USE} s asked for",
            at_most=1,
        ),
    ]
    rows.append(product_anew(MLP(3, "gelu"), chosen.recomputed, min(chosen.rounds, 3)))
    for depth in (1, 2, 3):
        mlp = MLP(depth, "gelu")
        start = time.perf_counter()
        autodiff = by_autodiff(mlp)
        reference = autodiff(X)
        compile_time = time.perf_counter() - start
        np.testing.assert_allclose(jacobian_ntk(mlp, X).dense(), reference, atol=1e-11 * np.abs(reference).max())
        contenders = {"ours": lambda m=mlp: jacobian_ntk(m, X).dense(), "autodiff": lambda f=autodiff: f(X)}
        seconds = fastest(contenders, chosen.rounds)
        rows.append(
            row(
                f"dense kernel, {size}, depth {depth}",
                f"{seconds['ours'] * 1e3:.1f} ms",
                f"autodiff: {seconds['autodiff'] * 1e3:.0f} ms, after {compile_time:.1f} s of compiling",
                seconds["autodiff"] / seconds["ours"],
                "times faster",
            )
        )
    store_rows(chosen.out, rows, scalars=scalars, first_call=first_call)


if __name__ == "__main__":
    main()
