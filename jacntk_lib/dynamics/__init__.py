"""Robust training in the limit of infinite width, and what it returns."""

from .features import FeatureFunctions
from .flow import RobustFlow
from .outcomes import Eigenfeatures, Ensemble, Prediction

__all__ = ["Eigenfeatures", "Ensemble", "FeatureFunctions", "Prediction", "RobustFlow"]
