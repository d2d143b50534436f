"""The random parameters of a finite network, drawn block by block from their keys.

The generator is NumPy's Philox, which is counter-based: each block of rows of each weight matrix is a stream of its
own, so that threads can draw blocks in any order and the weights are the same on every device.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from .._optional import torch
from .._validation import integer

BLOCK = 2**20
"""Weights in one block of random numbers: 8 MB in float64, some ten milliseconds to draw."""


def check_seed(seed):
    """``seed`` as an int that fits a Philox key, one word of 64 bits."""
    return integer(seed, "seed", at_least=0, bits=64)


def draw_weights(seed, layer, shape, *, dtype=torch.float64, device="cpu"):
    """The weight matrix of ``layer`` (1 to L+1), of shape (fan_out, fan_in).

    A block is ``block_rows(fan_in)`` full rows. Block b is one stream of Philox: key (seed, 2 layer * 2^32 + b),
    counter from (0, 0, fan_out, fan_in).
    """
    return _draw(seed, 2 * layer, shape, dtype, device)


def draw_bias(seed, layer, fan_out, *, dtype=torch.float64, device="cpu"):
    """The bias of ``layer`` (1 to L+1), of shape (fan_out,), keyed by (seed, (2 layer + 1) * 2^32 + b)."""
    return _draw(seed, 2 * layer + 1, (fan_out, 1), dtype, device)[:, 0]


def block_rows(fan_in):
    """Rows of a weight matrix that share one block of random numbers."""
    return max(1, BLOCK // fan_in)


def _draw(seed, code, shape, dtype, device):
    fan_out, fan_in = shape
    rows = block_rows(fan_in)
    out = torch.empty(shape, dtype=dtype, device=device)

    def fill(block):
        part = out[block * rows : (block + 1) * rows]
        key = np.array([seed, (code << 32) | block], dtype=np.uint64)
        counter = np.array([0, 0, fan_out, fan_in], dtype=np.uint64)
        stream = np.random.Generator(np.random.Philox(key=key, counter=counter))
        part.copy_(torch.from_numpy(stream.standard_normal(tuple(part.shape))))

    blocks = range(-(-fan_out // rows))
    if len(blocks) == 1:
        fill(0)
    else:  # NumPy releases the interpreter lock while it draws
        with ThreadPoolExecutor(min(len(blocks), torch.get_num_threads())) as pool:
            list(pool.map(fill, blocks))
    return out
