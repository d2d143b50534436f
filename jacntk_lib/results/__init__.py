"""Stored results: arrays with a record of what made them."""

from .provenance import library_hash
from .store import FOLDER_VARIABLE, Cells, Result, benchmark, config_hash, folder, load, make, plain, save, stored

__all__ = [
    "FOLDER_VARIABLE",
    "Cells",
    "Result",
    "benchmark",
    "config_hash",
    "folder",
    "library_hash",
    "load",
    "make",
    "plain",
    "save",
    "stored",
]
