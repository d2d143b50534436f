r"""Gaussian expectations of smooth functions by the trapezoidal rule.

For a function analytic in the strip |Im z| < r, the trapezoidal rule with step h for a Gaussian integral errs by
about exp(-2 pi r / h): it converges geometrically, where the error of Gauss-Hermite falls only like exp(-c sqrt(n))
once phi has poles off the real line (tanh, softplus, SiLU). Fifty to a hundred nodes replace several hundred.

The pair (u, v) is written as u = sqrt(a) s, v = sqrt(b) (rho s + sqrt(1 - rho^2) t) with s, t independent standard
normal. Nothing is differentiated here: derivatives come from Price's theorem, so that rho = 1 is an ordinary point.

>>> rule = GaussianRule("sine", (jnp.sin, jnp.cos, lambda z: -jnp.sin(z), lambda z: -jnp.cos(z), jnp.sin))
>>> rule.check_derivatives()
>>> with jax.enable_x64(True):
...     moment, _ = rule.formulas_for(1.0).moment(jnp.ones(()))
...     all_of_them = rule.formulas_for(1.0).expectations(*jnp.ones((3, 1)))
>>> round(float(moment), 6)  # E[sin(z)^2] = (1 - exp(-2)) / 2
0.432332
>>> isinstance(all_of_them, Expectations), round(float(all_of_them.k11[0]), 6)  # E[cos(z)^2]
(True, 0.567668)
"""

from collections.abc import Callable
from functools import cache, partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from .._float64 import float64, jax, jitted, jnp

RANGE = 9.5  # exp(-RANGE^2 / 2) = 2.5e-20: what lies outside is below rounding for functions of polynomial growth
NODE_COUNTS = (33, 49, 65, 97, 129, 193, 257, 385, 513)  # the cost of a kernel grows with the square
TOLERANCE = 1e-12  # relative to the size of the integrand, between one node count and the next


@cache
def _nodes(n):
    """Nodes and weights with sum_i w_i f(s_i) ~ E[f(z)]. NumPy: a jax constant would fix a precision."""
    s = np.linspace(-RANGE, RANGE, n)
    w = np.exp(-0.5 * s * s)
    return s, w / w.sum()


class Expectations(NamedTuple):
    """The ten K^ij(a, b, c) = E[phi^(i)(u) phi^(j)(v)] that a layer needs, each shaped like its arguments."""

    k00: "jax.Array"
    k11: "jax.Array"
    k20: "jax.Array"
    k02: "jax.Array"
    k22: "jax.Array"
    k31: "jax.Array"
    k13: "jax.Array"
    k33: "jax.Array"
    k42: "jax.Array"
    k24: "jax.Array"


class Formulas(NamedTuple):
    """What the layer recursion asks of an activation: jax functions, hashable, to be called inside x64.

    ``expectations(a, b, c)`` gives :class:`Expectations`; ``moment(a)`` gives m(a) = E[phi(u)^2] and its derivative
    m'(a) = E[phi''(u) phi(u)] + E[phi'(u)^2], for u of variance a.
    """

    expectations: Callable
    moment: Callable


class GaussianRule:
    """The expectations of one activation, given by its five derivatives (see ``Activation.from_derivatives``)."""

    def __init__(self, name, derivatives):
        self.name = name
        self.derivatives = derivatives
        self._formulas = {}
        self._variance_reached = {}

    def formulas_for(self, variance) -> Formulas:
        """Formulas that are accurate for variances up to ``variance``.

        The same objects for the same node count, so that jit recognises them and compiles nothing twice.
        """
        n = self._count_for(variance)
        if n not in self._formulas:
            self._formulas[n] = Formulas(
                partial(_expectations, self.derivatives, n), partial(_moment, self.derivatives, n)
            )
        return self._formulas[n]

    def _count_for(self, variance):
        """The smallest node count whose integrals at x = x' agree with those of the next, or a refusal.

        x = x' is the hardest case: there both factors have their nearest pole at the same place.
        """
        for n, reached in sorted(self._variance_reached.items()):
            if variance <= reached:
                return n
        with float64():
            for n, finer in pairwise(NODE_COUNTS):
                error = _disagreement(self.derivatives, n, finer, variance)
                if error <= TOLERANCE:
                    self._variance_reached[n] = variance
                    return n
        raise ValueError(
            f"the expectations of activation {self.name!r} at variance {variance:.3g} are known only to a relative "
            f"{error:.1e} with {NODE_COUNTS[-1]} quadrature nodes ({TOLERANCE:g} is needed): either phi is not smooth "
            "(it needs four continuous derivatives, and converges fast only if analytic near the real line), or its "
            "inputs are too large: reduce sigma_w, sigma_b, input_scale or the length of the inputs, or normalise"
        )

    def check_derivatives(self):
        """Refuse derivatives that break Stein's identity E[z f(m + z)] = E[f'(m + z)]."""
        s, w = _nodes(self._count_for(1.0))
        with float64():
            for order, (f, df) in enumerate(pairwise(self.derivatives)):
                left, right = float(jnp.sum(w * s * f(0.3 + s))), float(jnp.sum(w * df(0.3 + s)))
                if not abs(left - right) <= 1e-7 * (1 + abs(left)):
                    raise ValueError(
                        f"activation {self.name!r}: derivatives[{order + 1}] is not the derivative of "
                        f"derivatives[{order}]: by Stein's identity two means must agree, and they are {left:.9g} "
                        f"and {right:.9g}"
                    )


def _moment(derivatives, n, a):
    s, w = _nodes(n)
    z = jnp.sqrt(a)[..., None] * s
    phi, d1, d2 = (f(z) for f in derivatives[:3])
    return (phi * phi) @ w, (phi * d2 + d1 * d1) @ w


@partial(jitted, static_argnums=(0, 1))
def _diagonal_products(derivatives, n, a):
    """E[phi^(i) phi^(j)] at u = v for the pairs that a layer needs, by decreasing smoothness."""
    s, w = _nodes(n)
    phi = [f(jnp.sqrt(a)[..., None] * s) for f in derivatives]
    pairs = ((0, 0), (1, 1), (2, 0), (2, 2), (3, 1), (3, 3), (4, 2))
    return [jnp.sum(w * phi[i] * phi[j], axis=-1) for i, j in pairs]


def _disagreement(derivatives, n, finer, variance):
    """Largest change from n nodes to finer ones over a few variances, relative to 1 + |K^ij|."""
    variances = variance * np.array([1.0, 0.7, 0.3])
    coarse = np.array(_diagonal_products(derivatives, n, variances))
    fine = np.array(_diagonal_products(derivatives, finer, variances))
    error = np.max(np.abs(coarse - fine) / (1 + np.abs(fine))) if np.isfinite(fine).all() else np.inf
    return float(error)


def _expectations(derivatives, n, a, b, c):
    """The ten K^ij: an outer loop over s keeps the memory at (pairs x n) whatever the tile."""
    s, w = (jnp.asarray(x) for x in _nodes(n))
    root_a, root_b = jnp.sqrt(a), jnp.sqrt(b)
    product = root_a * root_b
    # a zero variance makes its variable constant: any correlation gives the same expectation
    rho = jnp.where(product > 0, jnp.clip(c / jnp.where(product > 0, product, 1.0), -1.0, 1.0), 0.0)
    across = root_b * jnp.sqrt((1 - rho) * (1 + rho))
    pairs = (
        (0, 0),
        (1, 1),
        (2, 0),
        (0, 2),
        (2, 2),
        (3, 1),
        (1, 3),
        (3, 3),
        (4, 2),
        (2, 4),
    )  # as in Expectations

    def add_node(k, sums):
        phi_u = [f(root_a * s[k]) for f in derivatives]
        v = (root_b * rho * s[k])[..., None] + across[..., None] * s
        phi_v = [f(v) @ w for f in derivatives]
        return tuple(t + w[k] * phi_u[i] * phi_v[j] for t, (i, j) in zip(sums, pairs, strict=True))

    return Expectations(*jax.lax.fori_loop(0, n, add_node, (jnp.zeros_like(rho),) * len(pairs)))
