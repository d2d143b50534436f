"""One step of robust training against its matrix products alone and against double backpropagation.

    python benchmarks/training.py [--device cuda] [--width 2048] [--narrow 64] [--rounds 5]

Depth 3, 244 points in R^11, float32: the size of the constancy experiment. Also at a small width, where a step is
mostly the starting of its calls: on the CPU beside the same step by torch.compile if there is a C++ compiler.
"""

import argparse
import shutil
import time

import numpy as np
import torch
from _timing import RESULTS, fastest, row, store_rows

from jacntk_lib.architecture import MLP
from jacntk_lib.networks import FiniteMLP, full_precision
from jacntk_lib.training import RobustObjective
from jacntk_lib.training.objective import Sweep

N, D, DEPTH, LAM, RATE = 244, 11, 3, 0.01, 1e-3
TARGETS_FROM = {"cpu": 2048, "cuda": 4096}  # widths; below them a step is mostly the starting of its calls


def by_double_backpropagation(net, X, y, of_the_sum=False):
    """The gradient by torch.func.grad through torch.func.jacrev.

    The plain way takes the Jacobian at every point under vmap. The best way uses that f(x_i) depends on x_i alone: the
    gradient of the sum is all Jacobians at once, and brings the values along.
    """

    def network(parameters, X):
        return torch.func.functional_call(net, parameters, (X,))

    def loss(parameters):
        if of_the_sum:

            def total(X):
                values = network(parameters, X)
                return values.sum(), values

            jacobians, values = torch.func.jacrev(total, has_aux=True)(X)
        else:
            values = network(parameters, X)
            jacobians = torch.func.vmap(torch.func.jacrev(lambda x: network(parameters, x[None])[0]))(X)
        return ((values - y) ** 2 / 2 + LAM / 2 * (jacobians**2).sum(1)).mean()

    return torch.func.grad(loss)({name: p.detach() for name, p in net.named_parameters()})


def require_equal(theirs, ours):
    for one, other in zip(theirs, ours, strict=True):
        gap = (one - other).abs().max() / other.abs().max()
        assert gap < 1e-3, f"gradients differ by {gap:.1e}"


def compiled(objective):
    """The same step, joined into few calls by torch.compile; and the seconds that the first took."""

    def sweeps():
        sweep = Sweep(objective.net, objective.X)
        errors = sweep.outputs - objective.targets
        sweep.pull_back(objective.weights * errors / N, objective.gradients)
        loss = (objective.weights.double() * errors.double() ** 2).sum() / (2 * N)
        objective.descend(RATE)
        return loss

    torch.compiler.config.force_disable_caches = True  # or the first step would be what an earlier run left on disk
    program = torch.compile(sweeps)

    def step():
        with torch.no_grad():
            return program().item()

    objective.evaluate()
    expected = [gradient.clone() for gradient in objective.gradients]
    start = time.perf_counter()
    step()
    first = time.perf_counter() - start
    require_equal(objective.gradients, expected)
    return step, first


def measured(n, device, rounds):
    """The rows of one width."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((N, D)), np.sign(rng.standard_normal(N))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    net = FiniteMLP(MLP(DEPTH), n, D, dtype=torch.float32, device=device)
    objective = RobustObjective(net, X, y, LAM)
    points = net.as_input(X)
    targets = torch.as_tensor(y, dtype=net.dtype, device=net.device)

    # A hidden-to-hidden layer takes four sweeps of N rows, two by W^T and two by W, and a gradient from 2N rows.
    rows, out = (torch.randn(N, n, device=net.device) for _ in range(2))
    features, cotangents = (torch.randn(2 * N, n, device=net.device) for _ in range(2))
    square = torch.empty(n, n, device=net.device)

    def products():
        with full_precision(net.device):
            for weight in objective.parameters[1:DEPTH]:
                for factor in (weight.T, weight, weight.T, weight):
                    torch.mm(rows, factor, out=out)
                torch.mm(cotangents.T, features, out=square)

    def step():
        objective.evaluate()
        objective.descend(RATE)

    def by_tangents():
        """Autograd through the tangent pass, which carries all 1+d rows of every point."""
        output = net.value_and_jacobian(points)
        loss = ((output[:, 0] - targets) ** 2 / 2 + LAM / 2 * (output[:, 1:] ** 2).sum(1)).mean()
        return torch.autograd.grad(loss, list(net.parameters()))

    # All must compute the same gradient before their times are worth comparing.
    objective.evaluate()
    peers = [list(by_double_backpropagation(net, points, targets, how).values()) for how in (False, True)]
    for peer in (*peers, by_tangents()):
        require_equal(peer, objective.gradients)

    synchronise = torch.cuda.synchronize if net.device.type == "cuda" else lambda: None
    contenders = {
        "step": step,
        "products": products,
        "tangents": by_tangents,
        "double": lambda: by_double_backpropagation(net, points, targets),
        "double of sum": lambda: by_double_backpropagation(net, points, targets, of_the_sum=True),
    }
    joined = device == "cpu" and n < TARGETS_FROM[device] and shutil.which("c++")
    if joined:
        contenders["compiled"], first = compiled(objective)
    seconds = fastest(contenders, rounds, synchronise)
    flops = 6 * (DEPTH - 1) * 2 * N * n * n

    def beside(baseline, name, unit="times faster", **target):
        what = f"training step, width {n}, depth {DEPTH}, {N} points in R^{D}, float32"
        took, other = f"{seconds['step']:.3g} s", f"{baseline}: {seconds[name]:.3g} s"
        if n < TARGETS_FROM[device]:
            target = {}
        return row(what, took, other, seconds[name] / seconds["step"], unit, **target)

    alone = f"its matrix products alone ({flops / seconds['products'] / 1e9:.0f} GFLOP/s)"
    rows = [
        beside(alone, "products", "of the rate", at_least=0.6),
        beside("double backpropagation, torch.func.jacrev at every point", "double", at_least=3),
        beside("double backpropagation, one torch.func.jacrev of the sum", "double of sum"),
        beside("autograd through the tangent pass", "tangents"),
    ]
    if joined:
        rows.append(beside(f"the same by torch.compile, after a first step of {first:.0f} s", "compiled"))
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=TARGETS_FROM)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--narrow", type=int, default=64, help="the small width, 0 for none")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", help="by default results/training-DEVICE.json")
    options = parser.parse_args()
    rows = measured(options.width, options.device, options.rounds)
    if options.narrow:
        rows += measured(options.narrow, options.device, 40 * options.rounds)
    store_rows(options.out or RESULTS / f"training-{options.device}.json", rows, options.device)


if __name__ == "__main__":
    main()
