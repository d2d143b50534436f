"""Attacks on values and eigenfeatures, and accuracy under them."""

from .attacks import Attack, accuracy_under_attack, attack, one_step

__all__ = ["Attack", "accuracy_under_attack", "attack", "one_step"]
