"""Infinite-width kernels of neural networks together with their input Jacobians.

>>> import numpy as np
>>> from jacntk_lib import MLP, jacobian_ntk
>>> G = jacobian_ntk(MLP(depth=3, activation="gelu"), np.eye(2))
>>> G.shape  # two points, each with a value and two derivatives
(6, 6)

Names and submodules are imported when first used (PEP 562): ``import jacntk_lib`` alone loads neither jax nor
torch, scikit-learn or diffrax.
"""

import importlib
import typing

__version__ = "0.1.0"

_HOME = {
    "MLP": "architecture",
    "JacobianGaussianProcessRegressor": "gaussian",
    "JacobianGram": "kernels",
    "JacobianKernelClassifier": "classification",
    "JacobianKernelRegressor": "regression",
    "RobustFlow": "dynamics",
    "jacobian_nngp": "kernels",
    "jacobian_ntk": "kernels",
}

__all__ = [
    "MLP",
    "JacobianGaussianProcessRegressor",
    "JacobianGram",
    "JacobianKernelClassifier",
    "JacobianKernelRegressor",
    "RobustFlow",
    "__version__",
    "jacobian_nngp",
    "jacobian_ntk",
]

if typing.TYPE_CHECKING:  # what type checkers and editors see
    from .architecture import MLP
    from .classification import JacobianKernelClassifier
    from .dynamics import RobustFlow
    from .gaussian import JacobianGaussianProcessRegressor
    from .kernels import JacobianGram, jacobian_nngp, jacobian_ntk
    from .regression import JacobianKernelRegressor


def __getattr__(name):
    if name in _HOME:
        value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
        globals()[name] = value  # found directly from now on
        return value
    if not name.startswith("_"):
        try:
            return importlib.import_module(f".{name}", __name__)
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise  # the submodule exists, something that it needs does not
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it exports {', '.join(__all__)}")


def __dir__():
    return sorted({*globals(), *__all__})
