"""Inputs for the experiments: spread-out points on a sphere, and small real tables.

Seven tables: wine, breast_cancer, digits and diabetes come with scikit-learn; the forest fires, the banknotes and sonar
are UCI's files, which come with this library under their licence (CC BY 4.0). Nothing is ever downloaded.
"""

from .spheres import Separation, covering_radius, fibonacci_sphere, separation, sphere_net
from .tables import BUNDLED, FIRES, FIRES_VARIANTS, NAMES, SCALES, Dataset, load, note, split

__all__ = [
    "BUNDLED", "FIRES", "FIRES_VARIANTS", "NAMES", "SCALES", "Dataset", "Separation",
    "covering_radius", "fibonacci_sphere", "load", "note", "separation", "sphere_net", "split",
]  # fmt: skip
