"""Which pairs of points are computed together, and when: tiles, blocks of points, and rounds of blocks on all cores."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import chain

import numpy as np

BLOCK = 512  # points of a block, or a multiple, so that a task is long against what starts it
BLOCKS = 32  # at most; the same on every machine, and with it the order of every sum
_WORTH_DIVIDING = 1e7  # operations, some tenths of a millisecond


def parts(block, size):
    """Slices of ``size``, the last perhaps shorter, that cover a slice."""
    return [slice(start, min(start + size, block.stop)) for start in range(block.start, block.stop, size)]


def slices(count, size):
    """Slices of ``size``, the last perhaps shorter, that cover ``range(count)``."""
    return parts(slice(0, count), size)


def above(rows, cols, height, side):
    """Strips of ``height`` rows and ``side`` columns: all pairs of two blocks; of a block with itself those i <= j.

    What lies below the diagonal comes along where a strip meets it, always at the foot of the strip; ``side`` divides
    ``height``.
    """
    for across in parts(cols, side):
        for down in parts(slice(rows.start, min(rows.stop, across.stop)), height):
            yield down, across


def rounds(count):
    """Rounds of pairs of blocks of ``range(count)`` that hold every pair once, i <= j, and no block twice in a round.

    So whatever is done to the two blocks of a pair may be done to all pairs of a round at once, and every block meets
    its partners in the same order wherever that runs. The method is that of a round-robin tournament: one block stays
    in its place and the others move around a ring.

    >>> [[(pair[0].start, pair[1].start) for pair in pairs] for pairs in rounds(3 * BLOCK)]
    [[(0, 0), (512, 512), (1024, 1024)], [(512, 1024)], [(0, 1024)], [(0, 512)]]
    """
    blocks = slices(count, BLOCK * -(-count // (BLOCK * BLOCKS)))
    found = [[(block, block) for block in blocks]]
    ring = [*blocks, *[None] * (len(blocks) % 2)]
    for _ in range(len(ring) - 1):
        half = len(ring) // 2
        pairs = zip(ring[:half], reversed(ring[half:]), strict=True)
        found.append([tuple(sorted(pair, key=lambda block: block.start)) for pair in pairs if None not in pair])
        ring = [ring[0], ring[-1], *ring[1:-1]]
    return found


@cache
def _linear_algebra():
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


_lock, _running, _limit = threading.Lock(), 0, None


@contextmanager
def one_thread_each():
    """Linear algebra in the thread that asks for it, until the last of those inside has left.

    Its own threads wait for each other, and for more to do, by spinning, and would take the cores from ours.
    """
    global _running, _limit
    with _lock:
        if not _running:
            _limit = _linear_algebra().limit(limits=1)
        _running += 1
    try:
        yield
    finally:
        with _lock:
            _running -= 1
            if not _running:
                _limit.restore_original_limits()


def on_all_cores(work, *batches):
    """``work(*task)`` for every task of every batch; a batch begins when the one before it has ended."""
    if max(map(len, batches)) == 1:
        for task in chain(*batches):
            work(*task)
        return
    with one_thread_each(), ThreadPoolExecutor(os.cpu_count()) as pool:
        for tasks in batches:
            list(pool.map(work, *zip(*tasks, strict=True)))


class Divided:
    """A matrix whose product divides the columns of the other among the cores."""

    def __init__(self, matrix):
        self._matrix = matrix

    def __matmul__(self, x):
        out = np.empty((len(self._matrix), x.shape[1]))
        if len(out) * x.size < _WORTH_DIVIDING:
            return np.matmul(self._matrix, x, out=out)

        def some(columns):
            np.matmul(self._matrix, x[:, columns], out=out[:, columns])

        on_all_cores(some, [(columns,) for columns in slices(x.shape[1], -(-x.shape[1] // os.cpu_count()))])
        return out
