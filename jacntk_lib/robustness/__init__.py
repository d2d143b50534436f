"""Attacks on values and eigenfeatures, accuracy under them, and radii within which no attack succeeds."""

from .attacks import Attack, accuracy_under_attack, attack, one_step
from .radius import certified_radius

__all__ = ["Attack", "accuracy_under_attack", "attack", "certified_radius", "one_step"]
