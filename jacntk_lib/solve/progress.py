"""What a long solve says of itself, and when it is no use to go on."""

import math
import sys
import time

import numpy as np

EVERY = 10.0  # seconds between lines
_FROM = 0.25  # share of the products allowed after which their rate is judged
_BEYOND = 2.0  # times the products allowed: an expected end that is further off is not waited for


def tell(verbose, text):
    """A line on stderr: always, never, or for ``None`` where stderr is a terminal."""
    if sys.stderr is not None and (sys.stderr.isatty() if verbose is None else verbose):
        print(f"jacntk: {text}", file=sys.stderr, flush=True)


def products_to_come(history, tolerance):
    """How many products more the tolerance takes at the rate of the later half of them; ``inf`` without progress."""
    best = np.minimum.accumulate(history)
    half = len(best) // 2
    gained = math.log(best[half] / best[-1]) if len(best) > half + 1 and best[-1] > 0 else 0.0
    missing = math.log(max(best[-1] / tolerance, 1.0))
    return missing * (len(best) - 1 - half) / gained if gained > 0 else math.inf if missing else 0.0


class Progress:
    """Called with the history after every product: tells how far a solve is, every ten seconds.

    Parameters
    ----------
    tolerance, limit : the relative residual wanted, the number of products allowed.
    verbose : see :func:`tell`.
    """

    def __init__(self, tolerance, limit, verbose):
        self._tolerance, self._limit, self._verbose = tolerance, limit, verbose
        self._start = self._last = time.monotonic()

    def hopeless(self, history):
        """Whether the products allowed will not do, by far, at the rate of late; tells how far it is when due."""
        now, products = time.monotonic(), len(history)
        if products and now - self._last >= EVERY:
            self._last, more = now, products_to_come(history, self._tolerance)
            spent = now - self._start
            when = "too little is gained to tell when it ends"
            if math.isfinite(more):
                when = f"{more:.0f} more, {more * spent / products:.0f} s"
            tell(
                self._verbose,
                f"{products} products in {spent:.0f} s, relative residual {min(history):.1e} on the way to "
                f"{self._tolerance:.0e}; at this rate {when}",
            )
        if products < max(_FROM * self._limit, 2):  # of one there is no rate
            return False
        return products + products_to_come(history, self._tolerance) > _BEYOND * self._limit
