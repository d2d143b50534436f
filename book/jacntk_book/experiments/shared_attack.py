r"""What figures 4 and 5 measure: eigenfeatures under *one* perturbation that all of them share.

The paper takes one step of projected gradient descent on the analytic solution without Jacobian penalty, of size 0.01
and 0.1, and asks every feature about the inputs that it leads to. Norm and projection are not stated, and where the
step is taken is said in two ways. So there are three ``READINGS``, those that decide a verdict.
"""

import numpy as np

from jacntk_lib import robustness
from jacntk_lib.kernels import jacobian_ntk

from .fragility import ACCURATE, FRAGILE, rank_correlation

SIZES = (0.01, 0.1)


READINGS = ("test l2", "test linf", "train l2")
"""Which inputs move, and the norm of the step. Accuracy after it is that at the moved inputs, test or training ones."""
MEASURES = (
    "correlation", "correlation_largest", "fragile", "unfounded", "regressor", "smallest", "largest", "spread",
)  # fmt: skip
"""Over the features of one split: Spearman's correlation of accuracy and robust accuracy; the same over the N features
of largest eigenvalue; how many are accurate (above 0.7) but fragile (robust accuracy below 0.5); how many the other way
round, inaccurate (below 0.5) but robust (above 0.7); the robust accuracy of their sum, the regressor; and the smallest
and largest robust accuracy of a feature and the standard deviation."""


class Features:
    r"""Eigenfeatures of the kernel regressor at infinite time, as functions of kernel rows.

    .. math:: F_i(x) &= [\Theta_{xX} \Lambda^{1/2} v_i]\, w_i^{-1}\, [v_i^\top \Lambda^{1/2} y^*], \\
              \Lambda^{1/2} \Theta_{XX} \Lambda^{1/2} &= \sum_i w_i v_i v_i^\top

    Only values are needed here, not Jacobians, and only the sign: so this is a matrix product. Features whose
    eigenvalue float64 cannot tell from zero are left out and counted in ``unresolved``.
    """

    def __init__(self, mlp, X, y, lam):
        from scipy.linalg import eigh

        G = jacobian_ntk(mlp, X)
        S = G.scaled(lam).dense() if lam > 0 else G.values()
        w, V = eigh(S, driver="evd", overwrite_a=True)
        w, V = w[::-1], V[:, ::-1]
        there = w > max(len(w), 100) * np.finfo(float).eps * w[0]
        self.unresolved = int((~there).sum())
        self.eigenvalues, V = w[there], np.ascontiguousarray(V[:, there])
        rows = 1 + X.shape[1] if lam > 0 else 1
        along = y @ V[::rows]  # v_i . Lam^{1/2} y*: targets are on the value rows, whose weight is 1
        V[np.arange(len(V)) % rows > 0] *= np.sqrt(lam)
        V *= along / self.eigenvalues
        self._coefficients, self._rows = V, rows

    def __call__(self, kernel_rows):
        """(M, p) from :meth:`JacobianGram.value_rows` of M points against the training points."""
        return kernel_rows[:, :, : self._rows].reshape(len(kernel_rows), -1) @ self._coefficients


def moved(reading, size, regressor, train, test):
    """The points at which the features are asked, and their labels, for one reading."""
    place, norm = reading.split()
    part = {"train": train, "test": test}[place]
    return robustness.one_step(regressor, part.X, part.y, size, norm=norm), part.y


def counts(values, y):
    """How many points each feature gets right, (p,), and how many their sum does."""
    return (y[:, None] * values > 0).sum(axis=0), int((y * values.sum(axis=1) > 0).sum())


def measures(correct, robust, regressor, points, robust_points, N):
    """The ``MEASURES``, from counts (p,) of so many points; features are ordered by falling eigenvalue."""
    accuracy, robust = correct / points, robust / robust_points
    return (
        rank_correlation(accuracy, robust),
        rank_correlation(accuracy[:N], robust[:N]),
        ((accuracy > ACCURATE) & (robust < FRAGILE)).sum(),
        ((accuracy < FRAGILE) & (robust > ACCURATE)).sum(),
        regressor / robust_points,
        robust.min(),
        robust.max(),
        robust.std(),
    )
