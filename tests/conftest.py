"""What all tests share: no display, and property-based tests that are the same in every run."""

import matplotlib
from hypothesis import settings

matplotlib.use("Agg")  # not through the environment: kernels that the tests start must keep their own

settings.register_profile("house", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("house")
