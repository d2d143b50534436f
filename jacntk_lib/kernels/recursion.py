r"""The layer recursion: from pairs of points to eight numbers per pair.

At every depth a limiting kernel depends on the two points only through A = |x|^2, B = |x'|^2 and C = <x, x'>.
So its whole (1+d) x (1+d) block of values and input derivatives follows from eight scalars, the kernel and some of its
first and second derivatives with respect to (A, B, C). They travel through the layers as a second-order jet; each
layer composes it with Gaussian expectations whose own derivatives are, by Price's theorem, other expectations
(:mod:`jacntk_lib.activations`). No automatic differentiation takes part.

A few points (``FEW``) are computed by NumPy. For more the first call of a process compiles, about a second for each
activation. Where that matters, let jax keep what it has compiled: ``JAX_COMPILATION_CACHE_DIR=/some/folder
JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0`` in the environment makes the first call of later processes a few times
faster. The library does not set that itself: to jax it is one setting for the whole process, the caller's own programs
included.

Kim and Yang (2024), Theorems 3.1, 3.2 and 4.3.
"""

import math
import operator
from functools import partial
from typing import NamedTuple

import numpy as np

from .._float64 import float64, jax, jitted, namespace
from ..architecture import handles

LARGEST_VARIANCE = 1e7
"""Of a pre-activation, in any layer; beyond it closed forms are refused. Derivatives by |x|^2, |x'|^2 and <x, x'> are
larger than those by x by a factor of the variance, and cancel: what is left errs by about 10 eps times the variance,
relative to the square roots of the diagonal (measured against high precision, for every closed form)."""

VALUE_FIELDS = ("k", "B", "C")  # of the jet below: what the values of a prediction are made of
FEW = 32  # points in all, up to which NumPy takes less time than jax takes to be imported and to compile
SIDE = 64  # points with as many others in a tile: what a layer reads and writes of it stays in the processor's cache
TILES = 8  # one above the other in a compiled call, at most, whatever N and M: a fixed shape means one compilation


class Jet(NamedTuple):
    """A function of (A, B, C) and those of its derivatives that a kernel block needs. AA and BB never occur."""

    k: np.ndarray
    A: np.ndarray
    B: np.ndarray
    C: np.ndarray
    AB: np.ndarray
    AC: np.ndarray
    BC: np.ndarray
    CC: np.ndarray

    def block(self, rows, cols):
        """Some rows against some columns, where the fields are matrices."""
        return Jet(*(x[rows, cols] for x in self))

    def diagonal(self):
        """Every point with its partner, where the fields are square matrices."""
        return Jet(*map(np.diagonal, self))

    def transposed(self):
        """The points exchanged, and with them A and B."""
        return Jet(self.k.T, self.B.T, self.A.T, self.C.T, self.AB.T, self.BC.T, self.AC.T, self.CC.T)


def compose(f, fa, fb, fc, fab, fac, fbc, fcc, p, r, S):
    """The jet of f(a, b, c), with a = a(A), b = b(B), da/dA = p, db/dB = r, and c the function whose jet is S."""
    return Jet(
        k=f,
        A=fa * p + fc * S.A,
        B=fb * r + fc * S.B,
        C=fc * S.C,
        AB=fab * p * r + fac * p * S.B + fbc * r * S.A + fcc * S.A * S.B + fc * S.AB,
        AC=(fac * p + fcc * S.A) * S.C + fc * S.AC,
        BC=(fbc * r + fcc * S.B) * S.C + fc * S.BC,
        CC=fcc * S.C * S.C + fc * S.CC,
    )


def product(T, M):
    """The jet of a product, by the product rule."""
    return Jet(
        k=T.k * M.k,
        A=T.A * M.k + T.k * M.A,
        B=T.B * M.k + T.k * M.B,
        C=T.C * M.k + T.k * M.C,
        AB=T.AB * M.k + T.A * M.B + T.B * M.A + T.k * M.AB,
        AC=T.AC * M.k + T.A * M.C + T.C * M.A + T.k * M.AC,
        BC=T.BC * M.k + T.B * M.C + T.C * M.B + T.k * M.BC,
        CC=T.CC * M.k + 2 * T.C * M.C + T.k * M.CC,
    )


def affine(g, jet, offset):
    jet = Jet(*(g * x for x in jet))
    return jet._replace(k=jet.k + offset)


def first_layer(A, B, C, first, bias):
    """What the layers below act on: variances a, b, their slopes p, r, and the jet of Sigma^0; see :func:`jets`."""
    xp = namespace(C)
    zero = xp.zeros_like(C)
    a, b = first * A + bias, first * B + bias
    p, r = xp.full_like(a, first), xp.full_like(b, first)
    S = Jet(first * C + bias, zero, zero, zero + first, zero, zero, zero, zero)
    return a, b, p, r, S


def hidden_layer(formulas, tangent, gain, bias, state):
    """One more layer: ``(a, b, p, r, S, T)`` from that of the layer before, T that of Theta or ``None``."""
    a, b, p, r, S, T = state
    K = formulas.expectations(a, b, S.k)
    # by Price: d/da K^ij = K^{i+2,j}/2, d/db K^ij = K^{i,j+2}/2, d/dc K^ij = K^{i+1,j+1}
    N = compose(K.k00, K.k20 / 2, K.k02 / 2, K.k11, K.k22 / 4, K.k31 / 2, K.k13 / 2, K.k22, p, r, S)
    if tangent:
        M = compose(K.k11, K.k31 / 2, K.k13 / 2, K.k22, K.k33 / 4, K.k42 / 2, K.k24 / 2, K.k33, p, r, S)
        T = affine(gain, Jet(*map(operator.add, N, product(T, M))), bias)
    ma, dma = formulas.moment(a)
    mb, dmb = formulas.moment(b)
    return gain * ma + bias, gain * mb + bias, gain * dma * p, gain * dmb * r, affine(gain, N, bias), T


def jets(formulas, tangent, A, B, C, depth, first, gain, bias, fields=Jet._fields):
    """The jets of Sigma^L (``tangent=False``) or Theta^L, from A (n, 1), B (1, m) and C (n, m).

    What belongs to one point, its variances and their slopes a, p or b, r, is computed once per point and not once per
    pair. ``first`` = (s_w common_scale)^2, ``gain`` = (s_w phi_scale)^2, ``bias`` = s_b^2. What is not among ``fields``
    is ``None``, and what they do not need is not computed: XLA leaves it out of the loop.
    """

    def layer(_, state):
        return hidden_layer(formulas, tangent, gain, bias, state)

    *points, S = first_layer(A, B, C, first, bias)
    loop = _python_loop if isinstance(C, np.ndarray) else jax.lax.fori_loop
    before = loop(1, depth, layer, (*points, S, S if tangent else None))
    *_, S, T = layer(0, before)  # outside the loop, so that XLA leaves out what no layer below needs
    jet = T if tangent else S
    return Jet(*(x if name in fields else None for name, x in zip(Jet._fields, jet, strict=True)))


def _python_loop(start, stop, body, state):
    for number in range(start, stop):
        state = body(number, state)
    return state


@partial(jitted, static_argnames=("formulas", "tangent", "fields"))
def _strip(formulas, tangent, A, B, C, tiles, depth, first, gain, bias, fields):
    """:func:`jets` of A (h, 1), B (1, side) and C (h, side), for the first ``tiles`` times ``side`` rows.

    One tile after another, since a whole strip would leave the cache. The number of tiles, the depth and the constants
    are traced, so that a smaller strip, a new depth or a new sigma compiles nothing. One array (fields, h, side), since
    to take a result from jax costs as much as to compute some thousand pairs.
    """
    side = B.shape[1]

    def tile(i, out):
        a, c = (jax.lax.dynamic_slice_in_dim(x, i * side, side) for x in (A, C))
        jet = jets(formulas, tangent, a, B, c, depth, first, gain, bias, fields)
        for number, name in enumerate(fields):
            out = jax.lax.dynamic_update_slice(out, getattr(jet, name)[None], (number, i * side, 0))
        return out

    return jax.lax.fori_loop(0, tiles, tile, jax.lax.empty((len(fields), *C.shape), C.dtype))


@partial(jitted, static_argnames=("formulas",))
def _layer_moment(formulas, a):
    return formulas.moment(a)[0]


def variances(mlp, squared_lengths) -> np.ndarray:
    """Pre-activation variances Sigma^l_00(x, x), l = 0..depth-1, as an array (depth, N) from |x|^2 (N,)."""
    first, gain, bias = _constants(mlp)
    rows = [first * np.asarray(squared_lengths, dtype=np.float64) + bias]
    with np.errstate(all="ignore"):
        for _ in range(mlp.depth - 1):
            formulas = mlp.phi.formulas_for(rows[-1])
            if mlp.phi.takes_numpy:  # by NumPy, which takes less time than to import jax
                moment = formulas.moment(rows[-1])[0]
            else:
                with float64():
                    moment = np.asarray(_layer_moment(formulas, rows[-1]))
            rows.append(gain * moment + bias)
    return np.array(rows)


def _require_small_variances(mlp, squared_lengths):
    """Refuse variances beyond LARGEST_VARIANCE, in any layer and at any point, where phi has a closed form."""
    largest = variances(mlp, squared_lengths).max()
    if not largest <= LARGEST_VARIANCE:
        raise ValueError(
            f"at pre-activation variance {largest:.3g} float64 gives the derivatives of a kernel only to about "
            f"{2e-15 * largest:.0e} of their size, and its positive eigenvalues may come out negative: at most "
            f"{LARGEST_VARIANCE:.0e} is needed; reduce sigma_w, sigma_b, input_scale, depth or the length of the inputs"
        )


def _constants(mlp):
    """``first``, ``gain`` and ``bias`` of :func:`jets`."""
    handles(mlp, "the layer recursion")
    return (mlp.sigma_w * mlp.common_scale) ** 2, (mlp.sigma_w * mlp.phi_scale) ** 2, mlp.sigma_b**2


def prepared(mlp, squared_lengths):
    """``(formulas, (first, gain, bias))`` of :func:`jets` for points of these |x|^2, after refusing variances."""
    constants = _constants(mlp)
    if mlp.phi.has_closed_form:
        _require_small_variances(mlp, squared_lengths)
        return mlp.phi.formulas_for(0.0), constants
    with float64():
        return mlp.phi.formulas_for(variances(mlp, np.unique(squared_lengths))), constants


def on_tiles(mlp, squared_lengths, *, tangent, fields=Jet._fields):
    """Theta (``tangent=True``) or Sigma of a few points with a few others: ``(side, tile)``.

    Where ``input_scale`` is one number per column, the points are those already scaled.

    ``tile(A, B, C)`` takes |x|^2 (n,), |x'|^2 (m,) and <x, x'> (n, m), float64, where n is at most TILES * ``side`` and
    m at most ``side``, and returns a :class:`Jet` of arrays (n, m), ``None`` for what is not among ``fields``.
    ``squared_lengths`` are those of all points that will come: up to ``FEW`` of them are left to NumPy. A tile may run
    in any thread, and XLA releases the interpreter lock.
    """
    closed = mlp.phi.has_closed_form
    formulas, constants = prepared(mlp, squared_lengths)
    side = SIDE if closed else SIDE // 8  # a quadrature holds some 30 to 500 nodes per pair
    few = mlp.phi.takes_numpy and len(squared_lengths) <= FEW

    def padded(x, *shape):
        if x.shape == shape:
            return x
        out = np.zeros(shape)
        out[tuple(map(slice, x.shape))] = x
        return out

    def tile(A, B, C):
        n, m = C.shape
        if few:
            with np.errstate(all="ignore"):
                jet = jets(formulas, tangent, A[:, None], B[None, :], C, mlp.depth, *constants, fields)
        else:
            points = padded(A[:, None], TILES * side, 1), padded(B[None, :], 1, side), padded(C, TILES * side, side)
            with float64():
                whole = np.asarray(_strip(formulas, tangent, *points, -(-n // side), mlp.depth, *constants, fields))
            jet = Jet(**dict.fromkeys(Jet._fields) | dict(zip(fields, whole[:, :n, :m], strict=True)))
        # what leaves the range does so in the highest derivatives first, and BLAS sees every number of two of them in a
        # microsecond or two
        if not math.isfinite(sum(np.vdot(x, x) for x in ((jet.AB, jet.CC) if jet.CC is not None else (jet.B, jet.C)))):
            raise ValueError(
                f"the kernel of {mlp} leaves the range of float64 at points of length up to "
                f"{math.sqrt(max(A.max(), B.max())):.3g}: smaller numbers are needed; reduce depth, sigma_w, sigma_b, "
                "input_scale or the length of the inputs"
            )
        return jet

    return side, tile
