"""Stored results: arrays with a record of what made them."""

from .cells import Cells
from .encoding import plain
from .provenance import library_hash
from .store import FOLDER_VARIABLE, Result, benchmark, folder, load, make, save, stored

__all__ = [
    "FOLDER_VARIABLE",
    "Cells",
    "Result",
    "benchmark",
    "folder",
    "library_hash",
    "load",
    "make",
    "plain",
    "save",
    "stored",
]
