"""The network that a flow starts from."""

import math

import numpy as np

from .._validation import as_array, require_moderate


def initial_rows(initial, points, outputs):
    """A network's values and derivatives at some points (M, d), as (M, 1+d, K).

    Parameters
    ----------
    initial : ``None`` for the zero function, a FiniteMLP, or a callable from (M, d) to (M, 1+d) or (M, K, 1+d).
    outputs : () or (K,).
    """
    M, d1, K = len(points), 1 + points.shape[1], math.prod(outputs)
    if initial is None:
        return np.zeros((M, d1, K))
    call = getattr(initial, "value_and_jacobian", initial)
    if not callable(call):
        raise TypeError(f"initial must be a FiniteMLP or a callable from (M, d) to (M, 1+d), got {initial!r}")
    rows = call(points)
    if hasattr(rows, "detach"):  # a torch tensor, without importing torch
        rows = rows.detach().cpu().numpy()
    rows = as_array(rows, "what initial returned", (M, *outputs, d1))
    require_moderate(rows, "what initial returned")
    return np.moveaxis(rows.reshape(M, K, d1), 1, 2)
