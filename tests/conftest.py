"""What all tests share: no display, an interrupt that interrupts, property-based tests the same in every run."""

import signal

import matplotlib
from hypothesis import settings

matplotlib.use("Agg")  # not through the environment: kernels that the tests start must keep their own

# A shell starts what runs in the background with interrupts ignored, and Python keeps that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("house", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("house")
