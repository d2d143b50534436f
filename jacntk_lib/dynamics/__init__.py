"""Robust training of an infinitely wide network: a linear ODE, solved for every time at once."""

from .features import FeatureFunctions
from .flow import RobustFlow
from .outcomes import Eigenfeatures, Ensemble, Prediction

__all__ = ["Eigenfeatures", "Ensemble", "FeatureFunctions", "Prediction", "RobustFlow"]
