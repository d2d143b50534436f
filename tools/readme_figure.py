"""Draw book/_static/readme-figure.png: the limiting kernel against sampled networks (`make readme-figure`).

Two points on the unit circle, an angle apart. Curves: covariance of value and slope along the circle as the
limiting kernel gives it. Dots: the mean over sampled networks of finite width, the last layer of each averaged
over exactly, with two standard errors.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from jacntk_book import plotting
from jacntk_lib import MLP, finite, jacobian_nngp
from jacntk_lib.networks import FiniteMLP

TARGET = Path(__file__).resolve().parent.parent / "book" / "_static" / "readme-figure.png"
WIDTH, NETWORKS = 512, 100
TITLES = {(0, 0): "value with value", (0, 1): "value with slope", (1, 1): "slope with slope"}


def circle(angles):
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def along(angles):
    """(points, 2, 3): from (value, derivatives) to (value, slope along the circle)."""
    tangent = np.stack([-np.sin(angles), np.cos(angles)], axis=-1)
    maps = np.zeros((len(angles), 2, 3))
    maps[:, 0, 0] = 1
    maps[:, 1, 1:] = tangent
    return maps


def limit(mlp, angles):
    """(2, 2, points): covariance of value and slope at angle 0 with value and slope at each angle."""
    blocks = jacobian_nngp(mlp, circle(np.zeros(1)), circle(angles)).blocks()[0]  # (3, points, 3)
    return np.einsum("ia,amb,mjb->ijm", along(np.zeros(1))[0], blocks, along(angles))


def sampled(mlp, angles):
    """The same for networks of finite width, with standard errors."""
    origin, maps = along(np.zeros(1))[0], along(angles)
    found = []
    for seed in range(NETWORKS):
        net = FiniteMLP(mlp, WIDTH, 2, seed=seed)
        gram = finite.jacobian_nngp(net, circle(np.zeros(1)), circle(angles)).numpy()  # (3, 3 * points)
        found.append(np.einsum("ia,amb,mjb->ijm", origin, gram.reshape(3, len(angles), 3), maps))
    return np.mean(found, axis=0), np.std(found, axis=0) / np.sqrt(NETWORKS)


def main():
    plotting.use_house_style()
    mlp = MLP(depth=3, activation="gelu")
    fine, coarse = np.linspace(-np.pi, np.pi, 400), np.linspace(-np.pi, np.pi, 25)[1:]
    curves, (dots, errors) = limit(mlp, fine), sampled(mlp, coarse)
    figure, axes = plt.subplots(1, 3, figsize=(plotting.TEXT_WIDTH, 2.5), sharex=True)
    for ax, ((i, j), title) in zip(axes, TITLES.items(), strict=True):
        ax.plot(fine, curves[i, j], color=plotting.COLOURS["limit"], zorder=3, label="infinite width")
        style = {"fmt": "o", "ms": 3.5, "lw": 1, "color": plotting.COLOURS["network"]}
        ax.errorbar(coarse, dots[i, j], 2 * errors[i, j], label=f"{NETWORKS} networks of width {WIDTH}", **style)
        ax.set_title(title)
        ax.set_xticks([-np.pi, 0, np.pi], [r"$-\pi$", "0", r"$\pi$"])
        ax.set_xlabel("angle between the points")
    axes[0].set_ylabel("covariance")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    figure.savefig(TARGET, dpi=160, metadata={"Software": None})
    print(f"{TARGET}: {TARGET.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
