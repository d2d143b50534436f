"""How the cost grows with points, dimension, depth and width: exponents fitted to one run, beside the expected ones.

    python benchmarks/growth.py [--budget 1]

An exponent is the slope of log time against log size over the larger half of the sizes, where overheads matter least;
processor time, linear algebra in one thread, float64.
"""

import argparse

import numpy as np
import torch
from _baselines import by_autodiff, explicit, sphere
from _processor import processor_seconds
from _timing import RESULTS, store, table, threads
from report import GROWTH, shown_growth

from jacntk_lib import MLP, finite, jacobian_ntk
from jacntk_lib.networks import FiniteMLP

DEPTH = 3


def scalars(N=512, d=4, L=DEPTH):
    """The eight scalars of every pair: nothing but X X^T knows d."""
    X, mlp = sphere(N, d), MLP(L, "gelu")
    return lambda: jacobian_ntk(mlp, X)


def product(N=1024, d=64):
    """One product of the structured matrix with a vector."""
    gram = jacobian_ntk(MLP(1), sphere(N, d))
    v = np.ones(gram.shape[1])
    return lambda: gram @ v


def dense(N=128, d=8):
    """The entries of the matrix, once the scalars are there."""
    gram = jacobian_ntk(MLP(1), sphere(N, d))
    return gram.dense


def autodiff(N=32, d=4, L=2):
    """The dense matrix by jax differentiating the value kernel twice."""
    X, run = sphere(N, d), by_autodiff(MLP(L, "erf"))
    return lambda: run(X)


def finite_kernel(N=16, n=512, d=4):
    """Our finite Jacobian NTK: two products of (N(1+d) x n) with (n x n), and the Gram matrices of their results."""
    net = FiniteMLP(MLP(2), n, d, dtype=torch.float64)
    X = net.as_input(sphere(N, d))
    return lambda: finite.jacobian_ntk(net, X)


def explicit_jacobian(N=8, n=128, d=4):
    """The same from the explicit parameter Jacobian, N(1+d) x n^2 numbers, by torch.func."""
    net = FiniteMLP(MLP(2), n, d, dtype=torch.float64)
    X = net.as_input(sphere(N, d))
    return lambda: explicit(net, X)


CASES = (
    (scalars, "N", (64, 128, 256, 512, 1024), 2),
    (scalars, "d", (4, 16, 64, 256, 1024), 0),
    (scalars, "L", (2, 4, 8, 16, 32), 1),
    (product, "N", (256, 512, 1024, 2048), 2),
    (product, "d", (32, 128, 512, 2048), 1),
    (dense, "N", (32, 64, 128, 256), 2),
    (dense, "d", (4, 8, 16, 24), 2),
    (autodiff, "N", (16, 32, 64, 128), 2),
    (autodiff, "d", (4, 8, 16, 32), 2),
    (autodiff, "L", (1, 2, 3), 1),
    (finite_kernel, "n", (512, 1024, 2048, 4096), 2),
    (finite_kernel, "N", (64, 128, 256, 512), 2),
    (explicit_jacobian, "n", (64, 128, 256, 512), 2),
    (explicit_jacobian, "N", (8, 16, 32, 64), 2),
)


def exponent(sizes, seconds):
    """Slope of the larger half, three points at least."""
    keep = max(3, (len(sizes) + 1) // 2)
    slope, _ = np.polyfit(np.log(sizes[-keep:]), np.log(seconds[-keep:]), 1)
    return float(slope)


def measure(make, grows, sizes, expected, budget):
    first, best = zip(*(processor_seconds(make(**{grows: size}), budget) for size in sizes), strict=True)
    names = make.__code__.co_varnames[: make.__code__.co_argcount]
    stays = {name: value for name, value in zip(names, make.__defaults__, strict=True) if name != grows}
    return {
        "what": make.__name__.replace("_", " "),
        "about": make.__doc__.rstrip("."),
        "grows": grows,
        "stays": stays,
        "sizes": list(sizes),
        "seconds": list(best),
        "first_seconds": list(first),
        "exponent": exponent(sizes, best),
        "expected": expected,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=float, default=0.5, help="seconds that each size may be repeated for")
    parser.add_argument("--out", default=RESULTS / "scaling.json")
    chosen = parser.parse_args()
    threads(1)
    records = [measure(*case, chosen.budget) for case in CASES]
    print(table(map(shown_growth, records), GROWTH))
    store(chosen.out, records=records)


if __name__ == "__main__":
    main()
