"""The eight scalars of every pair on jax devices, the rows of points divided among them, and products there.

Graphics cards do in float64 what makes products with a large Gram matrix slow on a processor: matrix products of size
N x M x d. Here the (N, M) scalars lie on the devices for good, split by rows, and only the vectors travel. jax divides
the work: every operation of :func:`_column` acts on rows independently.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from .._float64 import float64
from .recursion import Jet
from .scalars import Scalars, Stored


def resolve(devices):
    """A tuple of jax devices from ``None`` (all of jax's default backend), a platform such as "gpu", or a sequence.

    Raises
    ------
    ValueError : no such platform here, an empty sequence, or the same device twice.
    TypeError : something that is not a jax device.
    """
    if devices is None:
        return tuple(jax.devices())
    if isinstance(devices, str):
        try:
            return tuple(jax.devices(devices))
        except RuntimeError:
            here = sorted({device.platform for device in jax.devices()} | {"cpu"})
            raise ValueError(
                f"jax sees no device of platform {devices!r} here, only {', '.join(here)}; for a GPU install jax "
                "with CUDA, or leave devices out"
            ) from None
    chosen = tuple(devices) if isinstance(devices, list | tuple) else (devices,)
    for device in chosen:
        if not isinstance(device, jax.Device):
            raise TypeError(f"devices must be jax devices or the name of a platform, got {device!r}; see jax.devices()")
    if not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(f"devices must be one or more different jax devices, got {devices!r}")
    return chosen


class Placed(Scalars):
    """The scalars of a Gram matrix on jax devices, made from those in memory, which are kept.

    Pickled without its device arrays; unpickled, it goes to the devices of jax's default backend there.
    """

    def __init__(self, jet, devices=None):
        self._host, self.devices = jet, resolve(devices)
        mesh = Mesh(np.array(self.devices), ("rows",))
        self._split = NamedSharding(mesh, PartitionSpec("rows"))
        self._whole = NamedSharding(mesh, PartitionSpec())
        self._jet = Jet(*map(self._by_rows, jet))

    def __reduce__(self):
        return Placed, (self._host,)

    def block(self, rows, cols):
        return self._host.block(rows, cols)

    def diagonal(self):
        return self._host.diagonal()

    def transposed(self):
        return Placed(self._host.transposed(), self.devices)

    def field(self, name):
        return getattr(self._host, name)

    def stored(self):
        return self._host

    def single(self, memory):
        return Placed(Stored(self._host).single(memory).stored(), self.devices)

    def multiply(self, X, Y, v0, V, out):
        """As that of :class:`Scalars`, but one column at a time."""
        X, Y, v0, V = (x.astype(self._host.k.dtype, copy=False) for x in (X, Y, v0, V))
        with float64():
            X, Y = self._by_rows(X), jax.device_put(Y, self._whole)
            columns = [
                _column(self._jet, X, Y, *jax.device_put((v0[:, column], V[:, :, column]), self._whole))
                for column in range(v0.shape[1])
            ]
            for column, (value, slopes) in enumerate(columns):
                out[:, 0, column] = np.asarray(value)[: len(out)]
                out[:, 1:, column] = np.asarray(slopes)[: len(out)]

    def colocated(self, matrix):
        with float64():
            return _PlacedMatrix(self._by_rows(matrix), len(matrix), self._whole)

    def _by_rows(self, x):
        """An array on the devices, divided by rows; padded with rows of zeros to a multiple of their number."""
        missing = -len(x) % len(self.devices)
        if missing:
            x = np.concatenate([x, np.zeros((missing, *x.shape[1:]), x.dtype)])
        with float64():
            return jax.device_put(np.ascontiguousarray(x), self._split)


class _PlacedMatrix:
    def __init__(self, matrix, rows, whole):
        self._matrix, self._rows, self._whole = matrix, rows, whole

    def __matmul__(self, x):
        with float64():
            return np.asarray(_matmul(self._matrix, jax.device_put(x, self._whole)))[: self._rows]


_matmul = jax.jit(partial(jnp.matmul, precision="highest"))


@jax.jit
def _column(jet, X, Y, v0, V):
    """One column of a product, see :mod:`jacntk_lib.kernels.products`: values (N,) and derivatives (N, d).

    One column at a time, so that the (N, M) temporaries stay few and a block that shrinks compiles nothing anew.
    """
    k, A, B, C, AB, AC, BC, CC = jet
    s = jnp.sum(Y * V, axis=1)
    Q = jnp.matmul(X, V.T, precision="highest")  # (N, M)
    slopes = jnp.matmul(C, V, precision="highest")
    value = k @ v0 + 2 * (B @ s) + jnp.sum(X * slopes, axis=1)
    along_x = 2 * (A @ v0) + 4 * (AB @ s) + 2 * jnp.sum(AC * Q, axis=1)
    along_y = CC * Q + C * v0 + 2 * BC * s
    return value, slopes + X * along_x[:, None] + jnp.matmul(along_y, Y, precision="highest")
