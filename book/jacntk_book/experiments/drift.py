"""Figure 3 in words and as pictures: how far the kernel has moved, and how that falls with the width."""

import numpy as np

from .. import bootstrap
from .grid import INDEX_PAIRS


def seed_counts(result):
    """How many seeds of each activation and width are there, (A, W): the first so many of ``result["drift"]``."""
    return np.cumprod(np.isfinite(result["drift"]).all(axis=-1), axis=-1).sum(axis=-1)


def allowed(widths, depth):
    r"""The scales of the paper's Lemma J.2 for ``result["moved"]``, without its factor omega: (W, L+1, 3).

    .. math::

        \sqrt n \text{ (Frobenius)}, \qquad \sqrt n \log n \text{ (infinity and one norm, layers } 2..L), \qquad
        \log n \text{ (infinity norm of layer 1, one norm of layer } L+1);

    infinite for the infinity norm of layer L+1 and the one norm of layer 1, which the lemma leaves free.

    >>> allowed([64], depth=2).round(1)
    array([[[ 8. ,  4.2,  inf],
            [ 8. , 33.3, 33.3],
            [ 8. ,  inf,  4.2]]])
    """
    n = np.asarray(widths, float)
    scales = np.empty((len(n), depth + 1, 3))
    scales[:, :, 0] = np.sqrt(n)[:, None]
    scales[:, :, 1:] = (np.sqrt(n) * np.log(n))[:, None, None]
    scales[:, 0, 1] = scales[:, -1, 2] = np.log(n)
    scales[:, -1, 1] = scales[:, 0, 2] = np.inf
    return scales


def drift_slopes(result, step=-1):
    """``{activation: (slope, low, high)}`` of log drift by log width at one recorded step (by its index).

    95 % bootstrap intervals over the seeds that all widths have; two at least are needed.
    """
    count = seed_counts(result).min(axis=1)
    return {
        str(activation): bootstrap.fitted_slope(result["widths"], result["drift"][i, :, : count[i], step])
        for i, activation in enumerate(result["activations"])
    }


def summary(result):
    """Distance and drift at the last step by width, in units of the limit's Frobenius norm."""
    last, counts = result["steps"][-1], seed_counts(result)
    lines = [f"Relative distance of the JNTK after {last} steps of robust training, median over seeds"]
    for i, activation in enumerate(result["activations"]):
        for j, width in enumerate(result["widths"]):
            count = counts[i, j]
            if count == 0:
                continue
            start, end, drift = (
                np.median(result[name][i, j, :count, k])
                for name, k in (("frobenius", 0), ("frobenius", -1), ("drift", -1))
            )
            lines.append(
                f"  {activation:5s} width {width:5d} ({count} seeds): from Theta {start:.3g} before, {end:.3g} after; "
                f"from its own start {drift:.3g}"
            )
    if len(result["widths"]) > 1 and counts.min() > 1:
        for activation, (slope, low, high) in drift_slopes(result).items():
            lines.append(f"  {activation:5s} drift by width: slope {slope:.3f} [{low:.3f}, {high:.3f}]")
    return "\n".join(lines)


def plot(result, measure="largest_by_pair"):
    """The paper's picture: the largest entry of the difference by width, a panel per index pair, a line per step.

    ``measure`` is "largest_by_pair", from the limit, or "drift_by_pair", from the network's own start. Of the first
    activation of the result; medians over seeds with 95 % bootstrap bands. Dashed: the limit's own largest entry.
    """
    import matplotlib.pyplot as plt

    from .. import plotting

    widths, steps, counts = result["widths"], result["steps"], seed_counts(result)[0]
    there = [(j, count) for j, count in enumerate(counts) if count > 0]
    shown = [k for k, step in enumerate(steps) if step > 0 or measure == "largest_by_pair"]
    colours = plt.get_cmap("viridis")(np.linspace(0, 0.9, len(shown)))
    figure, axes = plt.subplots(
        2, 2, figsize=(plotting.TEXT_WIDTH, 6.4), sharex=True, sharey="row", layout="constrained"
    )
    for pair, ax in enumerate(axes.T.flat):
        for k, colour in zip(shown, colours, strict=True):
            samples = [result[measure][0, j, :count, k, pair] for j, count in there]
            _band(ax, widths[[j for j, _ in there]], samples, colour, f"{steps[k]}")
        a, b = INDEX_PAIRS[pair]
        own = {"color": plotting.COLOURS["reference"], "linestyle": "--", "linewidth": 1.2, "label": r"$\Theta$"}
        ax.axhline(result["limit_largest_by_pair"][0, pair], **own)
        ax.set_title(f"({a}{b})")
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
    for ax in axes[-1]:
        ax.set_xlabel("width $n$")
    reference = r"K_t - \Theta" if measure == "largest_by_pair" else "K_t - K_0"
    for ax in axes[:, 0]:
        ax.set_ylabel(rf"largest entry of $|{reference}|$")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, title="step $t$", loc="outside right center")
    return figure


def plot_relative(result):
    """Distance from Theta by step, a line per width, and drift by width, a line per step; a row per activation."""
    import matplotlib.pyplot as plt

    from .. import plotting

    widths, steps, counts = result["widths"], result["steps"], seed_counts(result)
    figure, axes = plt.subplots(
        len(result["activations"]),
        2,
        figsize=(plotting.TEXT_WIDTH, 4.2 * len(result["activations"])),
        squeeze=False,
        layout="constrained",
    )
    by_width, by_step = (plt.get_cmap("viridis")(np.linspace(0, 0.9, n)) for n in (len(widths), len(steps) - 1))
    for i, (left, right) in enumerate(axes):
        there = [(j, width, counts[i, j]) for j, width in enumerate(widths) if counts[i, j] > 0]
        for j, width, count in there:
            # + 1 so that step 0 has a place on the logarithmic axis
            _band(left, steps + 1, result["frobenius"][i, j, :count].T, by_width[j], f"{width}")
        x = np.array([width for _, width, _ in there])
        for k in range(1, len(steps)):
            _band(right, x, [result["drift"][i, j, :count, k] for j, _, count in there], by_step[k - 1], f"{steps[k]}")
        last = right.lines[-1].get_ydata()
        style = {"color": plotting.COLOURS["reference"], "linestyle": "--", "linewidth": 1}
        right.plot(x, last[-1] * x[-1] / x, label="slope $-1$", **style)
        left.set(xlabel="training step + 1", ylabel=r"relative distance from $\Theta$")
        right.set(xlabel="width $n$", ylabel="relative drift")
        left.set_title(f"{result['activations'][i]}: from the limit, by width")
        right.set_title("from the start, by step")
        for ax, title in ((left, "width $n$"), (right, "step")):
            place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.24)}
            ax.legend(ncols=3, title=title, title_fontsize=9, columnspacing=1, handlelength=1.5, **place)
            ax.set_xscale("log", base=2)
            ax.set_yscale("log")
    return figure


def _band(ax, x, samples, colour, label):
    """Median line with its 95 % bootstrap band; ``samples`` holds one row of repetitions per x."""
    median = [np.median(row) for row in samples]
    ax.plot(x, median, marker="o", markersize=3, color=colour, label=label)
    if all(len(row) > 1 for row in samples):
        low, high = zip(*(bootstrap.median_interval(row)[1:] for row in samples), strict=True)
        ax.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
