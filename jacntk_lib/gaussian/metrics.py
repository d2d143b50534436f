r"""Linear maps L (d, d) of the standardised inputs in front of the network: which directions matter.

With gradients H (N, d) in standardised units,

- ``"standard"``: the identity;
- ``"gradient"``: the diagonal of :math:`\sqrt{\operatorname{mean}_i H_{ia}^2}`;
- ``"gradient-full"``: :math:`V \sqrt{w}`, :math:`H^\top H / N = V \operatorname{diag}(w) V^\top`: gradients by z are
  then uncorrelated and of equal size (Constantine 2015, *Active Subspaces*, starts from the same matrix);
- ``"likelihood"``: one scale per column, and ``"likelihood-full"``: one per direction V, both of largest marginal
  likelihood.

The first three are scaled to mapped inputs of root mean square length 1; one common scale is then fitted. Scales below
a thousandth of the largest are raised to that, so that no direction is lost.
"""

import numpy as np

METRICS = ("auto", "standard", "gradient", "gradient-full", "likelihood", "likelihood-full")
_SMALLEST = 1e-3  # of the largest scale


def linear_map(metric, U, H):
    """L (d, d) of one of the first three, or ``None`` where the observed gradients do not determine it.

    U (N, d) are standardised inputs, H (N, d) gradients with NaN where not observed. "gradient" needs one observed
    derivative in every column, "gradient-full" as many complete gradients as there are columns.
    """
    d = U.shape[1]
    if metric == "gradient-full":
        complete = H[~np.isnan(H).any(axis=1)]
        if len(complete) < d:
            return None
        w, V = np.linalg.eigh(complete.T @ complete / len(complete))
        L = V * _floored(np.sqrt(np.maximum(w, 0.0)))
    elif metric == "gradient":
        if np.isnan(H).all(axis=0).any():
            return None
        L = np.diag(_floored(np.sqrt(np.nanmean(H**2, axis=0))))
    else:
        L = np.eye(d)
    length = np.sqrt(np.mean(((U @ L) ** 2).sum(axis=1)))
    return L / length if length > 0 else L


def _floored(scales):
    return np.maximum(scales, _SMALLEST * scales.max()) if scales.max() > 0 else np.ones_like(scales)
