"""Prove at full size that the smallest eigenvalue is positive: 256 points of S^3, 1280 rows, in 128-bit balls.

The library takes the cheapest proof that settles a case. Here each case is proved a second time, by congruence in
ball arithmetic whether it is needed or not, and the two brackets must share a number. Minutes; part of
`make check-all`.
"""

import sys

from jacntk_lib import MLP, datasets, jacobian_ntk
from jacntk_lib.spectrum import certificates, congruence, enclosures, flint, smallest_eigenvalue

POINTS, BITS = 256, 128


def by_congruence(mlp, X):
    """A proved bracket of the smallest eigenvalue, by balls alone."""
    with flint.precision(BITS):
        enclosed = enclosures.gram_in_arb(mlp, "ntk", X)
        lower, upper, _ = congruence._congruence(flint.load(), enclosed, congruence._to_float64(enclosed)[0])
    return lower, upper


def main(points=POINTS):
    X, failed = datasets.sphere_net(points, 4), 0
    for depth in (3, 1):
        mlp = MLP(depth, "erf")
        first = smallest_eigenvalue(jacobian_ntk(mlp, X))
        lower, upper = by_congruence(mlp, X)
        proved = first.verdict == certificates.POSITIVE and 0 < max(first.lower, lower) <= min(first.upper, upper)
        failed += not proved
        print(
            f"depth {depth}, {5 * points} rows: in [{first.lower:.4g}, {first.upper:.4g}] by {first.method},", end=" "
        )
        print(f"in [{lower:.4g}, {upper:.4g}] by congruence at {BITS} bits", flush=True)
    print("positive, proved twice, and the brackets agree" if not failed else f"{failed} of 2 cases FAILED")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
