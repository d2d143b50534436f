"""The Gaussian process as a surrogate of the Surrogate Modeling Toolbox, for those whose programs speak to that.

Imported by name alone, with SMT installed (the extra ``jacntk[smt]``)::

    from jacntk_lib.gaussian.smt import JacobianSurrogate
"""

import numpy as np
from sklearn.base import clone

try:
    from smt.surrogate_models.surrogate_model import SurrogateModel
except ImportError as error:
    raise ImportError(f"jacntk_lib.gaussian.smt needs SMT ({error}): pip install 'jacntk[smt]'") from error

from .regressor import JacobianGaussianProcessRegressor


class JacobianSurrogate(SurrogateModel):
    """A :class:`~jacntk_lib.JacobianGaussianProcessRegressor` per output, with the methods of an SMT surrogate.

    ``set_training_values(xt, yt)``, ``set_training_derivatives(xt, dyt_dxt, kx)`` for as many columns kx as are known
    and at points of their own if need be, ``train()``, then ``predict_values``, ``predict_derivatives(x, kx)`` and
    ``predict_variances``, each (M, outputs), in the units of the data.

    The option ``estimator`` is the regressor to fit, by default one without options: a clone of it is fitted per
    output, and ``models`` are these.
    """

    name = "Jacobian Gaussian process"

    def _initialize(self):
        for kind in ("training_derivatives", "derivatives", "variances"):
            self.supports[kind] = True
        self.options.declare(
            "estimator",
            JacobianGaussianProcessRegressor(),
            types=JacobianGaussianProcessRegressor,
            desc="the regressor that is fitted, once per output",
        )

    def _train(self):
        X, Y, J = gathered(self.training_points[None])
        estimator, gradients = self.options["estimator"], not np.isnan(J).all()
        self.models = [
            clone(estimator).fit(X, y, jacobian=slopes if gradients else None)
            for y, slopes in zip(Y.T, np.moveaxis(J, 1, 0), strict=True)
        ]

    def _predict_values(self, x):
        return np.stack([model.predict(x) for model in self.models], axis=1)

    def _predict_derivatives(self, x, kx):
        return np.stack([model.predict_jacobian(x)[:, kx] for model in self.models], axis=1)

    def _predict_variances(self, x):
        return np.stack([model.predict(x, return_std=True)[1] ** 2 for model in self.models], axis=1)


def gathered(groups):
    """Inputs (N, d), values (N, K) and gradients (N, K, d), NaN where not given, from SMT's groups of training points.

    ``groups[0]`` are the points and values, ``groups[1 + kx]`` the points and derivatives by column kx. Derivatives at
    the points of the values, in their order, share their rows; others have rows of their own.
    """
    points, values = groups[0]
    (N, d), K = points.shape, values.shape[1]
    X, Y, J = [points], [values], [np.full((N, K, d), np.nan)]
    for key in sorted(set(groups) - {0}):
        own, slopes = groups[key]
        rows = J[0]
        if not np.array_equal(own, points):
            rows = np.full((len(own), K, d), np.nan)
            X, Y, J = [*X, own], [*Y, np.full((len(own), K), np.nan)], [*J, rows]
        rows[:, :, key - 1] = slopes
    return np.concatenate(X), np.concatenate(Y), np.concatenate(J)
