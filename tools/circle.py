"""Make what the circle of the book does not compute in the page (`make circle`).

book/_static/circle-still.png stands there without JavaScript: the eight labels at infinite time, by RobustFlow.
book/_static/circle-networks.js has a few trained networks of finite width on the same labels, at several times.
"""

import json
import math
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image

from jacntk_book import plotting
from jacntk_lib import MLP, RobustFlow, training
from jacntk_lib.networks import FiniteMLP

ROOT = Path(__file__).resolve().parent.parent
STATIC = ROOT / "book" / "_static"
sys.path.insert(0, str(ROOT / "book" / "_ext"))
from jacntk_circle import CircleDirective  # noqa: E402

START = CircleDirective.defaults
LABELS = np.array([[float(part) for part in pair.split(":")] for pair in START["labels"].split()])
LAMBDAS, WIDTH, NETWORKS, STEP = (0.0, 0.1), 512, 3, 0.2  # STEP: of gradient descent, in units of kappa^2 t
TIMES = 10 ** (np.arange(-2, 9) / 3)  # every second position of the slider, from 0.2 to 464
DEGREES = np.arange(0, 361, 6)


def on_circle(degrees):
    angle = np.radians(degrees)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def network():
    return MLP(int(START["depth"]), START["activation"], kappa=float(START["kappa"]))


def draw_still():
    plotting.use_house_style()
    degrees, (where, labels) = np.arange(361), LABELS.T
    figure, ax = plt.subplots(figsize=(plotting.TEXT_WIDTH, 3.2))
    for lam, name, dash in ((0.0, "plain", "--"), (float(START["lambda"]), "penalised", "-")):
        value = RobustFlow(network(), on_circle(where), labels, lam=lam).at(math.inf, on_circle(degrees)).value
        legend = f"infinitely wide network, $\\lambda = {lam:g}$"
        ax.plot(degrees, value, dash, color=plotting.COLOURS[name], label=legend)
    ax.plot(where, labels, "o", color=plotting.COLOURS["train"], zorder=4, label="labels")
    ax.set(xlabel="angle on the circle (degrees)", ylabel="value", xticks=[0, 90, 180, 270, 360], ylim=(-2.6, 2.6))
    figure.legend(loc="outside lower center", ncols=3)
    target = STATIC / "circle-still.png"
    figure.savefig(target, dpi=130, metadata={"Software": None})
    Image.open(target).convert("RGB").quantize(64).save(target, optimize=True)  # half the size, and nobody sees it


def train():
    """Curves by penalty, time, network and angle, in hundredths."""
    mlp, (where, labels) = network(), LABELS.T
    steps = np.unique(np.rint(TIMES / STEP).astype(int))
    curves = np.empty((len(LAMBDAS), len(steps), NETWORKS, len(DEGREES)))
    for i, lam in enumerate(LAMBDAS):
        for seed in range(NETWORKS):
            net = FiniteMLP(mlp, WIDTH, 2, seed, dtype=torch.float32)
            rate, around = STEP / mlp.kappa**2, on_circle(DEGREES)
            run = training.train(net, on_circle(where), labels, lam, rate, int(steps[-1]), steps, X_test=around)
            curves[i, :, seed] = run.test_values
            print(f"lambda {lam:g}, network {seed}: done")
    return steps * STEP, np.rint(100 * curves).astype(int)


def store_networks():
    times, curves = train()
    shared = {name: START[name] for name in ("labels", "depth", "activation", "kappa")}
    data = {**shared, "width": WIDTH, "lambdas": LAMBDAS, "times": times.round(1).tolist(), "step": int(DEGREES[1])}
    text = json.dumps({**data, "hundredths": curves.tolist()}, separators=(",", ":"))
    head = (
        "/* Networks of finite width, trained by tools/circle.py: value times 100 by lambda, time, network, angle. */\n"
    )
    (STATIC / "circle-networks.js").write_text(f"{head}globalThis.circleNetworks = {text};\n", encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    draw_still()
    store_networks()
    for name in ("circle-still.png", "circle-networks.js"):
        print(f"{name}: {(STATIC / name).stat().st_size // 1000} kB")
