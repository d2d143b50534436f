"""The stored results of all benchmarks as Markdown tables, in table.md beside them.

python benchmarks/report.py
"""

import json

import numpy as np
import scale
from _timing import RESULTS, ROWS, in_words, table

PEERS = {
    "what": "what",
    "method": "by",
    "time": "time",
    "first": "first call",
    "ratio": "times ours",
    "difference": "largest difference",
}
GROWTH = {
    "what": "what",
    "grows": "grows",
    "sizes": "sizes",
    "time": "time at the largest",
    "fit": "exponent",
    "expected": "expected",
}
# results of which every row says itself what it measured: title -> file
SCALE = {
    "How far dense matrices go, and how far products": "scale",
    "Images of 784 pixels": "scale-mnist",
    "Airfoils with their gradients, scales and noise given": "scale-airfoil",
}
ROWS_OF = {
    "The limiting kernel beside autodiff, and the first call of a process": "kernels",
    "Every training time from one eigendecomposition": "dynamics",
    "The smallest eigenvalue, certified": "spectrum",
    "Finite networks": "finite-cpu",
    "One training step": "training-cpu",
    "Finite networks, on a graphics card": "finite-cuda",
    "One training step, on a graphics card": "training-cuda",
    "One wider training step, on a graphics card": "training-cuda-8192",
}


def shown_peer(one):
    """A record of peers.json as a row of the table."""
    ours = one["method"] == "ours"
    return {
        "what": one["what"],
        "method": one["method"],
        "time": f"{one['seconds'] * 1e3:.3g} ms",
        "first": f"{one['first_seconds']:.2g} s",
        "ratio": "" if ours else f"{one['ratio']:.2g}",
        "difference": "" if ours else f"{one['difference']:.0e}",
    }


def shown_growth(one):
    """A record of scaling.json as a row of the table."""
    return {
        **one,
        "sizes": f"{one['sizes'][0]} to {one['sizes'][-1]}",
        "time": f"{one['seconds'][-1] * 1e3:.3g} ms",
        "fit": f"{one['exponent']:.2f}",
    }


def where(machine):
    """Processor, threads, versions and commit in one line."""
    versions = machine.get("versions") or {name: machine[name] for name in ("numpy", "torch") if name in machine}
    named = [
        machine.get("accelerator"),
        f"{machine['processor']}, {machine['cores']} cores",
        f"{machine['memory in GB']} GB" if machine.get("memory in GB") else None,
        f"torch in {machine['torch threads']} threads" if "torch threads" in machine else None,
        ", ".join(f"{name} {version}" for name, version in versions.items()),
        f"commit {(machine.get('commit') or 'unknown')[:12]}{' with changes' if machine.get('dirty') else ''}",
    ]
    return "; ".join(filter(None, named)) + "."


def peers_text(peers):
    """The table of peers, the rates of the machine, and what was missing."""
    rates = "; ".join(f"{name}: {rate:g}" for name, rate in peers["roofline"].items())
    kernel, product = peers["kernel"], peers["roofline"]["matrix product, float64, GFLOP/s"]
    return [
        "## Beside other ways",
        f"Processor time, linear algebra in one thread. {where(peers['machine'])}",
        table(map(shown_peer, peers["records"]), PEERS),
        *(f"Missing: {name} ({reason})." for name, reason in peers["missing"].items()),
        f"One core at its best: {rates}.",
        f"{kernel['what']}: {kernel['core ns per pair and layer']:.0f} core ns per pair and layer, "
        f"{kernel['operations per pair and layer']} operations, {kernel['GFLOP/s']:.2g} GFLOP/s: "
        f"{kernel['share of the elementwise rate']:.0%} of the elementwise rate, "
        f"{kernel['GFLOP/s'] / product:.0%} of that of a matrix product.",
    ]


GRADIENTS = {
    "Error: root mean square over the test values' standard deviation, mean of the seeds": ("error", np.mean, "{:.3g}"),
    "Median absolute error over the test values' standard deviation, mean of the seeds": ("median", np.mean, "{:.2g}"),
    "Processor seconds of a fit, median of the seeds": ("seconds", np.median, "{:.3g}"),
    "Share of test values within 1.96 standard deviations of the prediction, mean of the seeds": (
        *("coverage", np.mean),
        "{:.2f}",
    ),
}


def gradient_tables(records):
    """Two tables of errors, one of times and one of coverage; what ended a fit stands in its place."""
    methods = list(dict.fromkeys(one["method"] for one in records))
    found = {}
    for one in records:
        found.setdefault((one["problem"], one["points"]), {})[one["method"]] = one
    parts = []
    for title, (name, mean, form) in GRADIENTS.items():
        rows = []
        for (problem, points), by in found.items():
            row = {"problem": problem, "points": points}
            for method, one in by.items():
                known = one.get(name) and None not in one[name]
                row[method] = form.format(mean(one[name])) if known else one.get("ended", "") if name == "error" else ""
            rows.append(row)
        parts += [f"{title}.", table(rows, {name: name for name in ("problem", "points", *methods)})]
    return parts


def elsewhere(gradients):
    """processor -> what was measured on it, in words, of those other than that of the last run."""
    here, found = gradients["machine"]["processor"], {}
    for one in gradients["records"]:
        if "seconds" in one and one.get("processor", here) != here:
            fits = found.setdefault(one["processor"], {})
            fits.setdefault(one["method"], []).append(f"{one['problem']} {one['points']}")
    return {
        processor: "; ".join(f"{method} ({', '.join(where)})" for method, where in fits.items())
        for processor, fits in found.items()
    }


def gradients_text(gradients):
    """The tables of gradients.py with the settings that were chosen."""
    return [
        "## Surrogates that are given gradients",
        f"{where(gradients['machine'])} Peers: {', '.join(gradients['peers'])}. A fit over {gradients['limit']:g} "
        "processor seconds was given up.",
        *(f"On another processor, {name}: {what}." for name, what in elsewhere(gradients).items()),
        *gradient_tables(gradients["records"]),
    ]


def scale_text(title, record):
    """The table of a run of scale.py, and what ended the dense methods."""
    setting = ", ".join(f"{name} {value}" for name, value in record["setting"].items())
    what = "values and gradients" if record["data"] == "airfoil" else "ten outputs"
    return [
        f"## {title}",
        f"{record['data']}, {what}, {setting}; linear algebra in {record.get('threads', 1)} thread(s). "
        f"{where(record['machine'])}",
        table(map(scale.shown, record["records"]), scale.COLUMNS),
        *(f"{solver} ended with {reason}." for solver, reason in record.get("ended", {}).items()),
        *filter(None, [record.get("note")]),
    ]


def markdown(results):
    """Every table, from ``{name of the file: its content}``; what is not there is left out."""
    parts = ["# Results of the benchmarks\n\nWritten by `benchmarks/report.py`; do not edit."]
    if "peers" in results:
        parts += peers_text(results["peers"])
    if "scaling" in results:
        growth = results["scaling"]
        parts += ["## Growth, beside the expected exponents", where(growth["machine"])]
        parts += [table(map(shown_growth, growth["records"]), GROWTH)]
    if "gradients" in results:
        parts += gradients_text(results["gradients"])
    for title, name in SCALE.items():
        if name in results:
            parts += scale_text(title, results[name])
    for title, name in ROWS_OF.items():
        if name in results:
            parts += [f"## {title}", where(results[name]["machine"]), table(map(in_words, results[name]["rows"]), ROWS)]
    return "\n\n".join(parts) + "\n"


def main():
    text = markdown({path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))})
    (RESULTS / "table.md").write_text(text)
    print(f"{text}\nwritten to {RESULTS / 'table.md'}")


if __name__ == "__main__":
    main()
