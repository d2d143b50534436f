"""Figure 6 in words and as a picture, and the cuts that turn its smallest eigenvalues into verdicts."""

import numpy as np

from .. import datasets

KERNELS = ("jacobian", "values")
FLOAT32 = ("rounded", "float32", "float32_throughout")
NAMES = {"jacobian": "JNTK", "values": "NTK", "gelu": "GELU"}
REPORTED = {datasets.FIRES: {"gelu": 11, "erf": 6}}
"""The depth from which on the paper finds the assumption satisfied; of the appendix it says less, in words."""


def cuts(lower, upper, satisfied):
    """The numbers tau for which "the smallest eigenvalue is above tau" holds exactly where ``satisfied`` says.

    Parameters
    ----------
    lower, upper : proved bounds of the smallest eigenvalues, alike in shape; twice the same for plain numbers.
    satisfied : booleans of that shape.

    Returns
    -------
    (low, high): every tau with low <= tau < high will do, whatever the eigenvalues are between their bounds. -inf or
    inf where nothing bounds tau. There is none where low >= high, as where an eigenvalue that should be above tau has
    no positive lower bound.

    Examples
    --------
    >>> smallest = [1e-9, 2e-7, 5e-6, 8e-5]
    >>> cuts(smallest, smallest, [False, False, True, True])
    (2e-07, 5e-06)
    """
    lower, upper, satisfied = (np.asarray(a) for a in (lower, upper, satisfied))
    return float(np.max(upper[~satisfied], initial=-np.inf)), float(np.min(lower[satisfied], initial=np.inf))


def common(intervals):
    """The intersection of several intervals (low, high), empty where low >= high.

    Examples
    --------
    >>> common([(1e-7, 1e-5), (1e-6, 1e-4)])
    (1e-06, 1e-05)
    """
    lows, highs = zip(*intervals, strict=True)
    return max(lows), min(highs)


def cuts_from(result, first, data=0, *, proved=True):
    """:func:`cuts` of a stored result for which "satisfied" begins exactly at the depth that ``first`` names.

    Parameters
    ----------
    result : of Figure 6, B7 or B8; depths that were not computed are left out.
    first : activation -> depth.
    data : the index of the data set.
    proved : with the certified bounds of the JNTK; False, with the eigenvalues as float64 returns them.

    Returns
    -------
    activation -> (low, high).
    """
    found = {}
    for activation, depth in first.items():
        j = list(result["activations"]).index(activation)
        ends = [result[f"jacobian_{name}"][data, j] for name in (("lower", "upper") if proved else ("float64",) * 2)]
        there = np.isfinite(ends[0])
        found[activation] = cuts(*(end[there] for end in ends), result["depths"][there] >= depth)
    return found


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
    """What is proved, and from which depth on float32 sees it; a line per data set, activation and kernel."""
    lines = ["Smallest eigenvalue of the limiting NTK by depth"]
    for i, data in enumerate(result["data"]):
        for j, activation in enumerate(result["activations"]):
            for kernel in KERNELS:
                there = result[f"{kernel}_verdict"][i, j] != ""
                if there.any():
                    names = ("verdict", "upper", "float64", *FLOAT32)
                    found = {name: result[f"{kernel}_{name}"][i, j, there] for name in names}
                    words = _depths_in_words(result["depths"][there], found)
                    lines.append(f"  {data} {activation:4s} {NAMES[kernel]:4s}: {words}")
    return "\n".join(lines)


def _depths_in_words(depths, found):
    counts = zip(*np.unique(found["verdict"], return_counts=True), strict=True)
    words = ", ".join(f"{verdict} at {count} of {len(depths)} depths" for verdict, count in counts)
    plain = np.isfinite(found["float64"]).all()
    kind, numbers = ("float64", found["float64"]) if plain else ("at most", found["upper"])
    words += f"; {kind} {numbers[0]:.2g} (depth {depths[0]}) to {numbers[-1]:.2g} (depth {depths[-1]})"
    if plain and np.isfinite(found["float32"]).all():
        seen = [(name.replace("_", " "), positive_from(found[name], depths) or "none") for name in FLOAT32]
        words += "; positive from depth " + ", ".join(f"{depth} in {name}" for name, depth in seen)
    return words


def table(result, data=0):
    """The certified brackets of a data set as text, in three digits, rounded outwards: depth by depth, JNTK and NTK.

    A star says that float64 did not suffice, and ball arithmetic was used.
    """
    there = [k for k in range(len(result["depths"])) if (result["values_verdict"][data, :, k] != "").any()]
    lines = []
    for kernel in KERNELS:
        heads = [f"{NAMES.get(str(a), a)} {NAMES[kernel]}" for a in result["activations"]]
        lines.append("depth" + "".join(f"{head:>26s}" for head in heads))
        for k in there:
            row = (_bracket(result, kernel, data, j, k) for j in range(len(heads)))
            lines.append(f"{result['depths'][k]:5d}" + "".join(f"{cell:>26s}" for cell in row))
    return "\n".join(lines)


def _bracket(result, kernel, *place):
    lower, upper = (float(result[f"{kernel}_{end}"][place]) for end in ("lower", "upper"))
    if not upper > 0:
        return "0" if upper == 0 else "not computed"
    unit = 10.0 ** (np.floor(np.log10(upper)) - 2)
    low, high = np.floor(lower / unit) * unit, np.ceil(upper / unit) * unit
    star = " *" if "bits" in str(result[f"{kernel}_method"][place]) else ""
    return f"[{low:.2e}, {high:.2e}]{star}" if lower > 0 else f"at most {high:.2e}"


def plot(result):
    """Proved brackets by depth for both kernels: a row of panels for each data set, a panel for each activation.

    Triangles are proved upper bounds where there is no lower one. Where the paper names a depth from which on it finds
    the JNTK's smallest eigenvalue positive, the JNTK has its marks: crosses before that depth, circles from there on.
    """
    import matplotlib.pyplot as plt

    from .. import plotting

    names = [str(a) for a in result["activations"]]
    figure, axes = plt.subplots(
        len(result["data"]),
        len(names),
        figsize=(plotting.TEXT_WIDTH, 3.4 * len(result["data"])),
        sharex=True,
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    depths = result["depths"]
    for i, data in enumerate(result["data"]):
        for j, name in enumerate(names):
            ax = axes[i, j]
            first = REPORTED.get(str(data), {}).get(name, 0)
            for kernel, since in zip(KERNELS, (first, 0), strict=True):
                ends = (result[f"{kernel}_{end}"][i, j] for end in ("lower", "upper"))
                _draw(ax, depths, *ends, kernel, depths >= since)
            ax.set_yscale("log")
            ax.set_title(f"{data.replace('_', ' ').capitalize()}, {NAMES.get(name, name)}")
            ax.label_outer()
        axes[i, 0].set_ylabel("smallest eigenvalue")
    for ax in axes[-1]:
        ax.set_xlabel("depth $L$")
    entries = {}  # one legend for all panels
    for ax in axes.flat:
        entries.update(zip(*ax.get_legend_handles_labels()[::-1], strict=True))
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=4)
    return figure


def _draw(ax, depths, lower, upper, kernel, satisfied):
    from .. import plotting

    colour = plotting.COLOURS["jacobian" if kernel == "jacobian" else "value"]
    proved = lower > 0  # False where nothing was computed
    middle = np.sqrt(np.where(proved, lower * upper, np.nan))
    if proved.any():
        ax.plot(depths[proved], middle[proved], color=colour)
        ax.vlines(depths[proved], lower[proved], upper[proved], color=colour, linewidth=3)
    for there, marker, word in ((proved & satisfied, "o", ""), (proved & ~satisfied, "x", ", reported as violated")):
        if there.any():
            ax.plot(depths[there], middle[there], marker, markersize=5, color=colour, label=f"{NAMES[kernel]}{word}")
    open_below = (lower <= 0) & (upper > 0)
    if open_below.any():
        label = f"{NAMES[kernel]} at most"
        ax.plot(depths[open_below], upper[open_below], "v", color=colour, fillstyle="none", label=label)
