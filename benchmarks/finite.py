"""The finite Jacobian NTK against the explicit parameter Jacobian and against its own matrix products.

    python benchmarks/finite.py [--device cuda] [--rounds 5] [--wide 8192] [--streamed 32768]

Depth 3, float32, points on the sphere in R^4. ``--wide 0`` leaves out the second row. ``--streamed WIDTH`` is one run
at depth 2 with the weights drawn block by block, beside the drawing alone, and nothing else: it is too long for every
`make bench` and has a result of its own, finite-streamed-DEVICE.json.
"""

import argparse
import time

import torch
from _baselines import explicit, sphere
from _timing import RESULTS, fastest, row, store_rows

from jacntk_lib.architecture import MLP
from jacntk_lib.finite import kernels as finite
from jacntk_lib.networks import FiniteMLP, full_precision
from jacntk_lib.networks.weights import draw_weights

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
        at_least=25,
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


def streamed(device, synchronise, width, points=256):
    X = sphere(points, D)

    def timed(run):
        synchronise()
        start = time.perf_counter()
        run()
        synchronise()
        return time.perf_counter() - start

    place = {"dtype": torch.float32, "device": device}
    seconds = timed(lambda: finite.streamed_jacobian_ntk(MLP(2), width, 0, X, **place))
    panels = range(0, width, 512)
    drawing = timed(lambda: [draw_weights(0, 2, (width, width), a, min(a + 512, width), **place) for a in panels])
    return row(
        f"streamed finite JNTK, width {width}, depth 2, {points} points in R^{D}, float32",
        f"{seconds:.3g} s",
        f"drawing its {width**2 / 1e9:.2f} billion weights alone: {drawing:.3g} s",
        seconds / drawing,
        "times as long",
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--wide", type=int, default=8192)
    parser.add_argument("--streamed", type=int, default=0)
    parser.add_argument("--out", help="by default results/finite-DEVICE.json, or finite-streamed-DEVICE.json")
    options = parser.parse_args()
    device = torch.device(options.device)
    synchronise = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    if options.streamed:
        name, rows = "finite-streamed", [streamed(device, synchronise, options.streamed)]
    else:
        name, rows = "finite", [against_explicit(device, options.rounds, synchronise)]
        if options.wide:
            rows.append(against_products(device, min(options.rounds, 3), synchronise, options.wide))
    store_rows(options.out or RESULTS / f"{name}-{options.device}.json", rows, device)


if __name__ == "__main__":
    main()
