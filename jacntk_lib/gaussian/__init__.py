"""The Gaussian process view of a wide network: values and gradients observed with noise, and their posterior."""

from .regressor import JacobianGaussianProcessRegressor

__all__ = ["JacobianGaussianProcessRegressor"]
