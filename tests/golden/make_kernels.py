"""Make kernels.json: kernel blocks to 40 digits, with no jet and no Price's theorem.

Only the value kernel is composed, layer by layer, as a plain function of (x, x'), with E[phi phi] and E[phi' phi'] in
their textbook form (arcsine, arccosine); every derivative is a high-precision finite difference of the whole.
Run ``python tests/golden/make_kernels.py`` from the repository root; it takes a quarter of a minute.
"""

import json
import pathlib

from mpmath import acos, asin, cosh, diff, exp, mp, mpf, nstr, pi, sinh, sqrt

mp.dps = 90  # the finite differences lose about half of them

POINTS = {
    "generic": ([0.6, -0.8], [0.96, 0.28]),
    "same": ([0.6, -0.8], [0.6, -0.8]),
    "nearly equal": ([0.6, -0.8], [0.6 + 1e-9, -0.8]),
    "antipodal": ([0.6, -0.8], [-0.6, 0.8]),
    "unequal lengths": ([1.5, 1.25], [-0.0625, 0.125]),
    "long": ([6.0, -2.0], [5.0, 3.0]),
}


def erf_moments(a, b, c):
    root = sqrt((1 + 2 * a) * (1 + 2 * b))
    return (2 / pi) * asin(2 * c / root), (4 / pi) / sqrt((1 + 2 * a) * (1 + 2 * b) - 4 * c * c)


def gelu_moments(a, b, c):
    """E[u Phi(u) v Phi(v)] and its derivative in c; tests/test_activations.py checks both by quadrature."""

    D = (1 + a) * (1 + b) - c * c
    q = 1 / (2 * pi * sqrt(D))
    orthant = mpf(1) / 2 - acos(c / sqrt((1 + a) * (1 + b))) / (2 * pi)
    shared = 1 / (1 + a) + 1 / (1 + b)
    return c * orthant + q * (c * c * shared + a * b - c * c), orthant + q * c * (shared + 1 / D)


def sin_moments(a, b, c):
    return exp(-(a + b) / 2) * sinh(c), exp(-(a + b) / 2) * cosh(c)


MOMENTS = {"erf": erf_moments, "gelu": gelu_moments, "sin": sin_moments}


def kernels(activation, depth, sigma_b, x, y):
    """(Sigma_00, Theta_00) at (x, y), normalised activation, s_w = 1."""
    moments = MOMENTS[activation]
    gain = 1 / moments(mpf(1), mpf(1), mpf(1))[0]
    bias = mpf(sigma_b) ** 2
    a, b, c = (sum(u * v for u, v in zip(p, q, strict=True)) + bias for p, q in ((x, x), (y, y), (x, y)))
    theta = c
    for _ in range(depth):
        k00, k11 = moments(a, b, c)
        theta = gain * (k00 + theta * k11) + bias
        a, b, c = gain * moments(a, a, a)[0] + bias, gain * moments(b, b, b)[0] + bias, gain * k00 + bias
    return c, theta


def block(activation, depth, sigma_b, x, y, which):
    """The 3 x 3 block at a pair of points in the plane."""
    x, y = [mpf(v) for v in x], [mpf(v) for v in y]

    def kernel(x0, x1, y0, y1):
        return kernels(activation, depth, sigma_b, (x0, x1), (y0, y1))[which]

    rows = []
    for a in (None, 0, 1):
        row = []
        for b in (None, 0, 1):
            order = tuple(int(a == i) for i in (0, 1)) + tuple(int(b == i) for i in (0, 1))
            value = diff(kernel, (*x, *y), order) if sum(order) else kernel(*x, *y)
            row.append(nstr(value, 40))
        rows.append(row)
    return rows


def main():
    cases = []
    for activation in MOMENTS:
        for depth, sigma_b in ((1, 0.0), (2, 0.25), (3, 0.0), (11, 0.0)):
            for pair, (x, y) in POINTS.items():
                for which, kernel in enumerate(("nngp", "ntk")):
                    cases.append(
                        {
                            "activation": activation,
                            "depth": depth,
                            "sigma_b": sigma_b,
                            "pair": pair,
                            "x": x,
                            "y": y,
                            "kernel": kernel,
                            "block": block(activation, depth, sigma_b, x, y, which),
                        }
                    )
    path = pathlib.Path(__file__).with_name("kernels.json")
    path.write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
    print(f"{len(cases)} blocks written to {path}")


if __name__ == "__main__":
    main()
