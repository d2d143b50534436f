"""What this machine can do at best: the rates that everything else is a share of."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from _processor import processor_seconds

from jacntk_lib.kernels import recursion


def measured():
    """Rates of one core, by processor time; call ``threads(1)`` first."""
    return {
        "matrix product, float64, GFLOP/s": round(_matrix_product(np.float64), 1),
        "matrix product, float32, GFLOP/s": round(_matrix_product(np.float32), 1),
        "memory, copying, GB/s": round(_memory(), 1),
        "elementwise in cache, float64, GFLOP/s": round(_elementwise(), 1),
    }


def _matrix_product(dtype, n=2048):
    A = np.random.default_rng(0).standard_normal((n, n)).astype(dtype)
    out = np.empty_like(A)
    return 2 * n**3 / processor_seconds(lambda: np.matmul(A, A, out=out), 2.0)[1] / 1e9


def _memory(megabytes=256):
    source = np.ones(megabytes * 2**17)
    target = np.empty_like(source)
    return 2 * source.nbytes / processor_seconds(lambda: np.copyto(target, source))[1] / 1e9


def _elementwise(size=recursion.SIDE**2, chain=64, calls=200):
    """Multiplications and additions by XLA on arrays of the size that kernels use."""

    @jax.jit
    def run(x, y):
        def several(_, z):
            for _ in range(chain):
                z = z * y + x
            return z

        return jax.lax.fori_loop(0, calls, several, x)

    with jax.enable_x64(True):
        x, y = jnp.full(size, 1e-3), jnp.full(size, 0.5)
        return 2 * chain * calls * size / processor_seconds(lambda: run(x, y).block_until_ready())[1] / 1e9


def operations(mlp):
    """Arithmetic operations of Theta per pair and layer, as XLA counts the recursion before it rewrites anything.

    Additions, multiplications, divisions and roots; comparisons and selections are left out. What belongs to a point is
    done once for all pairs that a tile has with it, and counts accordingly.
    """
    with jax.enable_x64(True):
        x = jnp.ones((recursion.SIDE, 1))
        state = x, x.T, x, x.T, *([recursion.Jet(*[x @ x.T] * 8)] * 2)
        layer = jax.jit(partial(recursion.hidden_layer, mlp.phi.formulas_for(1.0), True, 1.0, 0.0))
        return round(layer.lower(state).cost_analysis()["flops"] / recursion.SIDE**2)
