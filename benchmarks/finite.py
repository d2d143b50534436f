"""The finite Jacobian NTK against the explicit parameter Jacobian and against its own matrix products.

    python benchmarks/finite.py [--device cuda] [--rounds 5] [--wide 8192]

Depth 3, float32, points on the sphere in R^4. ``--wide 0`` leaves out the second row.
"""

import argparse

import torch
from _baselines import explicit, sphere
from _timing import RESULTS, fastest, row, store_rows

from jacntk_lib import MLP, finite
from jacntk_lib.networks import FiniteMLP, full_precision

DEPTH, D = 3, 4


def against_explicit(device, rounds, synchronise, width=512, points=32):
    net = FiniteMLP(MLP(DEPTH), width, D, dtype=torch.float32, device=device)
    X = net.as_input(sphere(points, D))
    gap = (finite.jacobian_ntk(net, X) - explicit(net, X)).abs().max() / explicit(net, X).abs().max()
    assert gap < 1e-4, f"the two differ by {gap:.1e}: nothing to compare"
    contenders = {"ours": lambda: finite.jacobian_ntk(net, X), "explicit": lambda: explicit(net, X)}
    seconds = fastest(contenders, rounds, synchronise)
    return row(
        f"finite JNTK, width {width}, depth {DEPTH}, {points} points in R^{D}, float32",
        f"{seconds['ours']:.3g} s",
        f"explicit Jacobian by torch.func: {seconds['explicit']:.3g} s",
        seconds["explicit"] / seconds["ours"],
        "times faster",
        **({"at_least": 25} if device.type == "cpu" else {}),  # a card waits for its kernels to be launched
    )


def against_products(device, rounds, synchronise, width, points=256):
    net = FiniteMLP(MLP(DEPTH), width, D, dtype=torch.float32, device=device)
    X = net.as_input(sphere(points, D))
    rows = torch.randn(points * (1 + D), width, device=device)
    out = torch.empty_like(rows)
    weights = [weight.detach() for weight in net.weights[1:DEPTH]]
    gram = torch.empty(len(rows), len(rows), device=device)

    def products():
        """Every hidden-to-hidden layer forwards and back, and the Gram matrices of L features and L cotangents."""
        with full_precision(device):
            for weight in weights:
                torch.mm(rows, weight.T, out=out)
                torch.mm(rows, weight, out=out)
            for _ in range(2 * DEPTH):
                torch.mm(rows, rows.T, out=gram)

    flops = 2 * len(rows) * width * (2 * (DEPTH - 1) * width + 2 * DEPTH * len(rows))
    seconds = fastest({"ours": lambda: finite.jacobian_ntk(net, X), "products": products}, rounds, synchronise)
    return row(
        f"finite JNTK, width {width}, depth {DEPTH}, {points} points in R^{D}, float32",
        f"{seconds['ours']:.3g} s",
        f"its products alone: {seconds['products']:.3g} s, {flops / seconds['products'] / 1e9:.0f} GFLOP/s",
        seconds["ours"] / seconds["products"],
        "times as long",
        at_most=2,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--wide", type=int, default=8192)
    parser.add_argument("--out", help="by default results/finite-DEVICE.json")
    options = parser.parse_args()
    device = torch.device(options.device)
    synchronise = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    rows = [against_explicit(device, options.rounds, synchronise)]
    if options.wide:
        rows.append(against_products(device, min(options.rounds, 3), synchronise, options.wide))
    store_rows(options.out or RESULTS / f"finite-{options.device}.json", rows, device)


if __name__ == "__main__":
    main()
