"""Robust training of a finite network by gradient descent."""

from .descent import TrainingHistory, train
from .objective import RobustObjective, max_learning_rate

__all__ = ["RobustObjective", "TrainingHistory", "max_learning_rate", "train"]
