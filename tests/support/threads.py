"""Many Python threads at once."""

import threading
from concurrent.futures import ThreadPoolExecutor

THREADS = 16


def at_once(function, n=THREADS):
    """What function(0) … function(n - 1) return from as many threads that start together."""
    ready = threading.Barrier(n)

    def start(i):
        ready.wait(60)
        return function(i)

    with ThreadPoolExecutor(n) as pool:
        return [job.result(300) for job in [pool.submit(start, i) for i in range(n)]]
