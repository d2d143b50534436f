"""The stored results of peers.py and growth.py as Markdown tables and as a figure.

    python benchmarks/report.py [--results FOLDER] [--figure _build/bench/peers.png]

Writes table.md beside the results. The figure is not kept: it can be drawn again from them.
"""

import argparse
import json
from pathlib import Path

import matplotlib.pyplot as plt
from _timing import RESULTS, table

from jacntk_lib import plotting

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


def markdown(peers, growth):
    """Both tables, the rates of the machine and what was missing."""
    machine, kernel = peers["machine"], peers["kernel"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    rates = "; ".join(f"{name}: {rate:g}" for name, rate in peers["roofline"].items())
    lines = [
        f"{machine['processor']}, processor time, linear algebra in one thread; {versions}; commit {machine['commit']}"
        + (" with changes." if machine["dirty"] else "."),
        f"One core at its best: {rates}.",
        f"{kernel['what']}: {kernel['core ns a pair and layer']:.0f} core ns a pair and layer, "
        f"{kernel['operations a pair and layer']} operations, "
        f"{kernel['share of the elementwise rate']:.0%} of the elementwise rate.",
        *(f"Missing: {name} ({reason})." for name, reason in peers["missing"].items()),
        table(map(shown_peer, peers["records"]), PEERS),
        table(map(shown_growth, growth["records"]), GROWTH),
    ]
    return "\n\n".join(lines) + "\n"


def draw(peers, growth, path):
    """Left: who takes how long for one Jacobian NTK. Right: time against the number of points."""
    plotting.use_house_style()
    fig, (left, right) = plt.subplots(1, 2, figsize=(2 * plotting.TEXT_WIDTH, 4.5))
    cases = list(dict.fromkeys(one["what"] for one in peers["records"]))
    for method in dict.fromkeys(one["method"] for one in peers["records"]):
        those = [one for one in peers["records"] if one["method"] == method]
        left.plot([one["seconds"] for one in those], [cases.index(one["what"]) for one in those], "o", label=method)
    left.set(xscale="log", xlabel="processor time (s)", yticks=range(len(cases)), yticklabels=cases)
    left.invert_yaxis()
    left.legend(fontsize=8)
    for one in growth["records"]:
        if one["grows"] == "N":
            label = f"{one['what']}: N^{one['exponent']:.2f}, expected {one['expected']}"
            right.loglog(one["sizes"], one["seconds"], "o-", label=label)
    right.set(xlabel="points N", ylabel="processor time (s)")
    right.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path)
    plt.close(fig)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--figure", type=Path, default=Path("_build/bench/peers.png"))
    chosen = parser.parse_args()
    peers, growth = (json.loads((chosen.results / name).read_text()) for name in ("peers.json", "scaling.json"))
    text = markdown(peers, growth)
    print(text)
    (chosen.results / "table.md").write_text(text)
    draw(peers, growth, chosen.figure)
    print(f"written to {chosen.results / 'table.md'} and {chosen.figure}")


if __name__ == "__main__":
    main()
