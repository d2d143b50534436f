"""The random parameters of a finite network, drawn block by block from their keys.

Everything is NumPy's Philox, a counter-based generator: each block of rows of each weight matrix is a stream of its
own, so a block can be drawn without any other, in any order, by any thread, and is the same on every device.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from .._validation import integer

BLOCK = 2**20
"""Weights in one block of random numbers: 8 MB in float64, some ten milliseconds to draw."""


def weight_shapes(widths, input_dim):
    """(fan_out, fan_in) of the L+1 weight matrices."""
    return list(zip((*widths, 1), (input_dim, *widths), strict=True))


def check_seed(seed):
    """``seed`` as an int that fits a Philox key."""
    seed = integer(seed, "seed", at_least=0)
    if seed >= 2**64:
        raise ValueError(f"seed must be below 2**64 (it is one word of a Philox key), got {seed}")
    return seed


def draw_weights(seed, layer, shape, start=0, stop=None, *, dtype=torch.float64, device="cpu"):
    """Rows ``start`` to ``stop`` of the weight matrix of ``layer`` (1 to L+1), as the whole network has them.

    A block is ``block_rows(fan_in)`` full rows; ``start`` must lie on a block's boundary. Block b of a matrix of shape
    (fan_out, fan_in) is one stream of Philox: key (seed, 2 layer * 2^32 + b), counter from (0, 0, fan_out, fan_in).
    """
    return _draw(seed, 2 * layer, shape, start, shape[0] if stop is None else stop, dtype, device)


def draw_biases(mlp, seed, shapes, *, dtype=torch.float64, device="cpu"):
    """The biases of layers of the given weight shapes, or an empty list where ``mlp`` has none."""
    if mlp.sigma_b == 0:
        return []
    return [
        _draw(seed, 2 * layer + 1, (fan_out, 1), 0, fan_out, dtype, device)[:, 0]
        for layer, (fan_out, _) in enumerate(shapes, start=1)
    ]


def block_rows(fan_in):
    """Rows of a weight matrix that share one block of random numbers."""
    return max(1, BLOCK // fan_in)


def _draw(seed, code, shape, start, stop, dtype, device):
    fan_out, fan_in = shape
    rows = block_rows(fan_in)
    if start % rows:
        raise ValueError(f"rows are drawn in blocks of {rows}, so start must be a multiple of it, got {start}")
    out = torch.empty((stop - start, fan_in), dtype=dtype, device=device)

    def fill(first):
        key = np.array([seed, (code << 32) | (first // rows)], dtype=np.uint64)
        counter = np.array([0, 0, fan_out, fan_in], dtype=np.uint64)
        stream = np.random.Generator(np.random.Philox(key=key, counter=counter))
        block = stream.standard_normal((min(first + rows, stop) - first, fan_in))  # a short block is a prefix
        out[first - start : first - start + len(block)] = torch.from_numpy(block)

    starts = range(start, stop, rows)
    if len(starts) == 1:
        fill(start)
    else:  # NumPy lets go of the interpreter while it draws
        with ThreadPoolExecutor(min(len(starts), torch.get_num_threads())) as pool:
            list(pool.map(fill, starts))
    return out
