"""The least time of calls that take turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from math import inf
from typing import Any

# A thread pool's idle workers spin for some milliseconds before they sleep, and would take a core
# from the next side. So a turn begins with calls that are not timed, for SETTLE seconds; it then
# lasts for TURN seconds or one call. Calls of more than LONG seconds outlast the spinning.
SETTLE = 0.004
TURN = 0.012
LONG = 0.04


def best_times(
    calls: Mapping[str, Callable[[], Any]],
    seconds: float,
    repeat: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Least seconds of each call.

    The calls take turns until each was timed at least `repeat` times and for `seconds` in all; one
    that has had both drops out, so a slow side does not make a fast one wait.
    """
    best = dict.fromkeys(calls, inf)
    counts = dict.fromkeys(calls, 0)
    spent = dict.fromkeys(calls, 0.0)
    while waiting := [n for n in calls if counts[n] < repeat or spent[n] < seconds]:
        for name in waiting:
            call, begin = calls[name], clock()
            while best[name] < LONG and clock() - begin < SETTLE:
                call()
            begin = last = clock()
            while last == begin or last - begin < TURN:
                call()
                now = clock()
                best[name] = min(best[name], now - last)
                counts[name] += 1
                last = now
            spent[name] += last - begin
    return best
