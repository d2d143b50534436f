"""Processor time of short calls. Imports the standard library only, so that peers with an environment of their own use
it, too."""

import time

TOGETHER = 0.1  # seconds


def processor_seconds(run, budget=1.0):
    """``(first, best)``: processor time of the first call, compilation included, and of the cheapest of some more.

    Processor time is summed over threads and does not count waiting, so it holds on a busy machine, too. But the system
    books a thread that is still running at its next tick only, some milliseconds later, and what a pool's thread did
    for a short call would go missing: so calls are timed together until they take TOGETHER, and as often as
    ``budget`` seconds pay for, once at least.
    """

    def spent(calls):
        start = time.process_time()
        for _ in range(calls):
            run()
        return time.process_time() - start

    first, calls = spent(1), 1
    took = spent(calls)
    while took < TOGETHER:
        calls *= 2
        took = spent(calls)
    best = total = took
    while total < budget:
        took = spent(calls)
        best, total = min(best, took), total + took
    return first, best / calls
