"""Figure 6 in words and as a picture: its certified brackets, and what computations without certificate return."""

import numpy as np

KERNELS = ("jacobian", "values")
FLOAT32 = ("float32", "float32_throughout")


def positive_from(smallest, depths):
    """The first depth from which on every smallest eigenvalue is positive, or None.

    Examples
    --------
    >>> positive_from([-1e-9, 1e-9, -1e-9, 1e-8], depths=[1, 3, 6, 11])
    11
    """
    positive = np.asarray(smallest) > 0
    return next((int(depth) for k, depth in enumerate(depths) if positive[k:].all()), None)


def summary(result):
    """What is proved, and from which depth on each computation sees it; a line per data set, activation and kernel."""
    depths, lines = result["depths"], ["Smallest eigenvalue of the limiting NTK by depth"]
    for i, data in enumerate(result["data"]):
        for j, activation in enumerate(result["activations"]):
            for k, kernel in enumerate(KERNELS):
                verdicts = result[f"{kernel}_verdict"][i, j]
                there = verdicts != ""
                counts = [
                    f"{v} at {n} of {there.sum()} depths" for v, n in zip(*_counted(verdicts[there]), strict=True)
                ]
                found = result[f"{kernel}_float64"][i, j, there]
                if np.isfinite(found).all():
                    kind, seen = "float64", _seen(result, i, j, k, there)
                else:
                    kind, seen, found = "at most", "", result[f"{kernel}_upper"][i, j, there]
                lines.append(
                    f"  {data} {activation:5s} {'JNTK' if kernel == 'jacobian' else 'NTK ':4s}: {', '.join(counts)}; "
                    f"{kind} {found[0]:.2g} (depth {depths[there][0]}) to {found[-1]:.2g} (depth {depths[there][-1]})"
                    + seen
                )
    for kind, what in zip(FLOAT32, ("rounded to float32", "in float32 throughout"), strict=True):
        for j, activation in enumerate(result["activations"] if f"uniform_{kind}" in result.arrays else ()):
            found = [positive_from(row[:, 0], depths) for row in result[f"uniform_{kind}"][j]]
            lines.append(
                f"  {len(found)} sets of uniform points, {activation}, JNTK {what}: positive from depth "
                + ", ".join(str(depth or "none") for depth in found)
            )
    return "\n".join(lines)


def _counted(verdicts):
    return np.unique(verdicts, return_counts=True)


def _seen(result, i, j, k, there):
    """From which depth on each computation without certificate finds a positive eigenvalue, in words."""
    depths, kernel = result["depths"], KERNELS[k]
    seen = {
        what: positive_from(result[f"{kernel}_{kind}"][i, j, there], depths[there])
        for kind, what in zip(FLOAT32, ("float32", "float32 throughout"), strict=True)
    }
    if result["data"][i] == "sphere" and "sampled" in result.arrays:
        seen["samples pair by pair"] = positive_from(result["sampled"][j, :, k], depths)
        seen["shared samples"] = positive_from(result["shared"][j, :, k], depths)
    return "; positive from depth " + ", ".join(f"{depth or 'none'} in {what}" for what, depth in seen.items())


def plot(result, data=None):
    """Certified brackets by depth for both kernels; crosses where float32 is negative, at minus its value.

    A row of panels for each of ``data``, names of data sets, default all. Triangles are proved upper bounds where there
    is no lower one; of a singular matrix there is nothing to draw.
    """
    import matplotlib.pyplot as plt

    from .. import plotting

    names = [str(a) for a in result["activations"]]
    data = list(result["data"]) if data is None else list(data)
    figure, axes = plt.subplots(
        len(data),
        len(names),
        figsize=(plotting.TEXT_WIDTH, 3.4 * len(data)),
        sharex=True,
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    depths = result["depths"]
    for row, name_of_data in zip(axes, data, strict=True):
        i = list(result["data"]).index(name_of_data)
        for j, (ax, name) in enumerate(zip(row, names, strict=True)):
            for kernel, label, colour in (("jacobian", "JNTK", "jacobian"), ("values", "NTK", "value")):
                colour = plotting.COLOURS[colour]
                lower, upper = result[f"{kernel}_lower"][i, j], result[f"{kernel}_upper"][i, j]
                proved = lower > 0  # False where nothing was computed
                ax.plot(depths[proved], np.sqrt(lower * upper)[proved], marker="o", color=colour, label=label)
                ax.vlines(depths[proved], lower[proved], upper[proved], color=colour, linewidth=3)
                open_below = (lower <= 0) & (upper > 0)
                if open_below.any():
                    ax.plot(
                        depths[open_below],
                        upper[open_below],
                        "v",
                        color=colour,
                        fillstyle="none",
                        label=f"{label} at most",
                    )
                in_float32 = result[f"{kernel}_float32_throughout"][i, j]
                lost = in_float32 <= 0
                if lost.any():
                    ax.plot(depths[lost], -in_float32[lost], "x", color=colour, label=f"minus {label} in float32")
            singular = result["jacobian_verdict"][i, j] == "certified singular"
            if singular.any():
                cause = str(result["jacobian_method"][i, j, singular][0]).partition(":")[0]
                ax.text(0.5, 0.5, f"singular: {cause}", ha="center", transform=ax.transAxes)
            ax.set_yscale("log")
            ax.set_title(f"{name_of_data.replace('_', ' ')}, {'GELU' if name == 'gelu' else name}")
            ax.label_outer()
        row[0].set_ylabel("smallest eigenvalue")
    for ax in axes[-1]:
        ax.set_xlabel("depth $L$")
    entries = {}  # one legend for all panels
    for ax in axes.flat:
        entries.update(zip(*ax.get_legend_handles_labels()[::-1], strict=True))
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=4)
    return figure
