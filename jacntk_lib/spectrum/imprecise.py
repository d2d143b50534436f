"""The limiting kernels in float32 throughout, to see what that does to their smallest eigenvalue."""

from types import SimpleNamespace

import numpy as np

from .._validation import as_points
from . import enclosures

_FLOAT32 = SimpleNamespace(exact=np.float32, pi=lambda: np.float32(np.pi), sqrt=np.sqrt, exp=np.exp, atan2=np.arctan2)


def gram_in_float32(mlp, X, *, tangent, values_only=False) -> np.ndarray:
    """A limiting kernel's Gram matrix with every operation in float32, from the inputs to the entries.

    Parameters and shape as in :func:`jacntk_lib.spectrum.enclosures.gram_in_float64`; a float32 array.

    Examples
    --------
    >>> from jacntk_lib import MLP
    >>> gram_in_float32(MLP(2, "gelu"), np.eye(2), tangent=True).dtype
    dtype('float32')
    """
    X, parts = as_points(X).astype(np.float32), (lambda entry: entry,)
    (entries,) = enclosures.gram(mlp, X, _FLOAT32, parts=parts, tangent=tangent, values_only=values_only)
    return entries
