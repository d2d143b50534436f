"""The certificates against one Cholesky factorisation of the same size, and the high-precision one against ten minutes.

    python benchmarks/spectrum.py [--points 256] [--rounds 7] [--skip-high-precision] [--out FILE]

The JNTK of points on the sphere in R^4: 1280 rows for 256 points. All but the last row on one thread.
"""

import argparse
import time

import numpy as np
from _timing import RESULTS, fastest, row, store_rows
from scipy import linalg
from threadpoolctl import threadpool_limits

from jacntk_book import datasets
from jacntk_lib import MLP, jacobian_ntk
from jacntk_lib.spectrum import smallest_eigenvalue, spectral_bound
from jacntk_lib.spectrum.certificates import bracket_in_float64, cholesky_lower_bound
from jacntk_lib.spectrum.enclosures import gram_in_float64


def fast(X, rounds):
    G = jacobian_ntk(MLP(3, "erf"), X)
    matrix, radius = gram_in_float64(MLP(3, "erf"), X, tangent=True)
    error = spectral_bound(radius)
    shift = 0.75 * np.linalg.eigvalsh(matrix)[0]
    with threadpool_limits(1):  # a ratio that other work on the machine does not disturb
        best = fastest(
            {
                "baseline": lambda: linalg.cholesky(matrix, lower=True),
                f"Cholesky test, {len(matrix)} rows": lambda: cholesky_lower_bound(matrix, shift, error),
                "bracket within a factor of two": lambda: bracket_in_float64(matrix, error),
                "whole: entries and bounds, then the bracket": lambda: smallest_eigenvalue(G, high_precision=False),
            },
            rounds,
        )
    assert bracket_in_float64(matrix, error).is_settled
    baseline = best.pop("baseline")
    bounds = {f"Cholesky test, {len(matrix)} rows": {"at_most": 3}}
    return [
        row(
            what,
            f"{seconds * 1e3:.0f} ms",
            f"one Cholesky, {baseline * 1e3:.0f} ms",
            seconds / baseline,
            **bounds.get(what, {}),
        )
        for what, seconds in best.items()
    ]


def high_precision(points):
    """A data set on which float64 cannot decide: the second half are near copies of the first."""
    half = datasets.sphere_net(points // 2, 4)
    G = jacobian_ntk(MLP(2, "gelu"), np.concatenate([half, half + 2.0**-14]))
    assert smallest_eigenvalue(G, high_precision=False).verdict == "undecided"
    start = time.perf_counter()
    found = smallest_eigenvalue(G)
    seconds = time.perf_counter() - start
    assert found.verdict == "certified positive", found
    what = f"high precision, {G.shape[0]} rows, smallest eigenvalue {found.estimate:.1e}"
    return row(what, f"{seconds:.0f} s", "ten minutes", seconds / 600, at_most=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--skip-high-precision", action="store_true")
    parser.add_argument("--out", default=RESULTS / "spectrum.json")
    options = parser.parse_args()
    rows = fast(datasets.sphere_net(options.points, 4), options.rounds)
    if not options.skip_high_precision:
        rows.append(high_precision(options.points))
    store_rows(options.out, rows)


if __name__ == "__main__":
    main()
