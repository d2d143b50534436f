"""The command ``jacntk``."""

from .command import main

__all__ = ["main"]
