"""The Jacobian NTK beside those who can compute it at all: the same points, the same machine, the same run.

    python benchmarks/peers.py [--budget 2] [--environment FOLDER | --without-neural-tangents]

No library has input derivatives of these kernels, so each peer is differentiated: neural-tangents 0.6.5 (its closed
erf and GELU) and our own closed forms by jax, the parameter Jacobian by torch.func. Every result is compared with ours
before its time counts. neural-tangents needs a jax of 2024, hence an environment of its own; it is made once, in the
user's cache folder, and where it cannot be made the table says why. Processor time, linear algebra in one thread.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from _baselines import by_autodiff, explicit, sphere
from _environment import default_folder, make, why
from _processor import processor_seconds
from _roofline import measured, operations
from _timing import RESULTS, store, table, threads
from report import PEERS, shown_peer

from jacntk_lib import MLP, finite, jacobian_ntk
from jacntk_lib.networks import FiniteMLP

# points, dimension, depth, activation. At depth 3 the peers compile for half a minute, hence no deeper one.
LIMITS = ((64, 4, 1, "gelu"), (64, 4, 2, "gelu"), (64, 4, 3, "gelu"), (64, 4, 2, "erf"), (64, 16, 2, "erf"))
# points, dimension, depth, width
NETWORKS = ((16, 4, 2, 128), (16, 4, 2, 512), (32, 4, 3, 512))
PINS = (
    *("jax==0.4.24", "jaxlib==0.4.24", "numpy==1.26.4", "scipy==1.12.0"),
    *("ml_dtypes==0.5.4", "opt_einsum==3.4.0", "frozendict==2.5.1"),
)
NEURAL_TANGENTS = "neural-tangents==0.6.5"
AGREE = 1e-11  # largest difference between two ways of computing one kernel, relative to its largest entry


def ask_neural_tangents(folder, cases, budget):
    """``[(dense kernel, first, best, seconds of its value kernel alone)]``, computed in a process of its own."""
    python = make(folder, PINS, ["--no-deps", NEURAL_TANGENTS])
    with tempfile.TemporaryDirectory() as scratch:
        jobs = []
        for k, (n, d, depth, activation) in enumerate(cases):
            job = {"input": f"{scratch}/points-{k}.npy", "output": f"{scratch}/kernel-{k}.npy"}
            np.save(job["input"], sphere(n, d))
            scale = float(MLP(depth, activation).phi_scale)
            jobs.append({**job, "activation": activation, "depth": depth, "scale": scale, "budget": budget})
        list_of_jobs = Path(scratch, "jobs.json")
        list_of_jobs.write_text(json.dumps(jobs))
        script = Path(__file__).with_name("_neural_tangents.py")
        run = subprocess.run([python, script, list_of_jobs], check=True, capture_output=True, text=True, timeout=900)
        answers = json.loads(run.stdout.splitlines()[-1])
        return [
            (np.load(job["output"]), answer["first"], answer["seconds"], answer["value"])
            for job, answer in zip(jobs, answers, strict=True)
        ]


def record(what, method, seconds, ours, difference, **more):
    assert difference < AGREE, f"{method}, {what}: differs by {difference:.1e}, nothing to compare"
    return {
        "what": what,
        "method": method,
        "seconds": seconds[1],
        "first_seconds": seconds[0],
        "baseline": "jacntk",
        "baseline_seconds": ours[1],
        "ratio": seconds[1] / ours[1],
        "difference": difference,
        **more,
    }


def limit_records(case, theirs, budget):
    n, d, depth, activation = case
    X, mlp = sphere(n, d), MLP(depth, activation)
    what = f"limit, {n} points in R^{d}, {activation}, depth {depth}"
    shape = {"kernel": "limit", "points": n, "dimension": d, "depth": depth, "activation": activation}
    ours = processor_seconds(lambda: jacobian_ntk(mlp, X).dense(), budget)
    K = jacobian_ntk(mlp, X).dense()

    def difference(other):
        return float(np.max(np.abs(other - K)) / np.max(np.abs(K)))

    autodiff = by_autodiff(mlp)
    seconds = processor_seconds(lambda: autodiff(X), budget)
    records = [record(what, "ours", ours, ours, 0.0, **shape)]
    records.append(record(what, "jax, autodiff of our value", seconds, ours, difference(autodiff(X)), **shape))
    if theirs:
        dense, first, best, value = theirs
        method = "neural-tangents, autodiff of its value"
        records.append(record(what, method, (first, best), ours, difference(dense), value_seconds=value, **shape))
    return records


def network_records(case, budget):
    import torch

    n, d, depth, width = case
    net = FiniteMLP(MLP(depth), width, d, dtype=torch.float64)
    X = net.as_input(sphere(n, d))
    what = f"finite, {n} points in R^{d}, erf, depth {depth}, width {width}"
    shape = {"kernel": "finite", "points": n, "dimension": d, "depth": depth, "activation": "erf", "width": width}
    ours = processor_seconds(lambda: finite.jacobian_ntk(net, X), budget)
    seconds = processor_seconds(lambda: explicit(net, X), budget)
    K = finite.jacobian_ntk(net, X)
    difference = float((explicit(net, X) - K).abs().max() / K.abs().max())
    method = "torch.func, explicit parameter Jacobian"
    return [record(what, "ours", ours, ours, 0.0, **shape), record(what, method, seconds, ours, difference, **shape)]


def share_of_peak(roofline, points=256, depth=11):
    """The kernel scalars of the largest case of the book, as a share of two rates of one core.

    Multiplications and additions that XLA does elementwise in cache are what the scalars are made of; a matrix product
    is the most that the same core does at all.
    """
    X, mlp = sphere(points, 4), MLP(depth, "gelu")
    _, seconds = processor_seconds(lambda: jacobian_ntk(mlp, X), 2.0)
    steps, each = points * (points + 1) // 2 * depth, operations(mlp)
    rate = steps * each / seconds / 1e9
    return {
        "what": f"kernel scalars, {points} points, gelu, depth {depth}",
        "seconds": seconds,
        "core ns per pair and layer": seconds / steps * 1e9,
        "operations per pair and layer": each,
        "GFLOP/s": rate,
        "share of the elementwise rate": rate / roofline["elementwise in cache, float64, GFLOP/s"],
        "share of the matrix product rate": rate / roofline["matrix product, float64, GFLOP/s"],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=float, default=2.0, help="seconds that each contender may be repeated for")
    parser.add_argument("--environment", type=Path, default=default_folder(NEURAL_TANGENTS.replace("==", "-")))
    parser.add_argument("--without-neural-tangents", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS / "peers.json")
    chosen = parser.parse_args()

    threads(1)
    missing = {}
    answers = [None] * len(LIMITS)
    if chosen.without_neural_tangents:
        missing[NEURAL_TANGENTS] = "left out on request"
    else:
        try:
            answers = ask_neural_tangents(chosen.environment, LIMITS, chosen.budget)
        except (OSError, subprocess.SubprocessError) as error:
            missing[NEURAL_TANGENTS] = why(error)
            print(f"Without {NEURAL_TANGENTS}: {missing[NEURAL_TANGENTS]}", file=sys.stderr)
    records = [
        one for case, theirs in zip(LIMITS, answers, strict=True) for one in limit_records(case, theirs, chosen.budget)
    ]
    records += [one for case in NETWORKS for one in network_records(case, chosen.budget)]
    roofline = measured()
    kernel = share_of_peak(roofline)
    print(table(map(shown_peer, records), PEERS))
    print("\n".join(f"{name}: {value}" for name, value in {**roofline, **kernel}.items()))
    peers = {"neural-tangents": {"needs": [*PINS, NEURAL_TANGENTS]}}
    store(chosen.out, records=records, missing=missing, roofline=roofline, kernel=kernel, peers=peers)


if __name__ == "__main__":
    main()
