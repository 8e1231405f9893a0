"""The shortest time of calls that take turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, TypeVar

Name = TypeVar("Name", bound=Hashable)

# The idle workers of a thread pool spin for some milliseconds before they sleep, and would take a
# core from the next side. So a turn begins with calls that are not timed, for SETTLE seconds; it
# then lasts for TURN seconds or one call. Calls of more than LONG seconds outlast the spinning.
SETTLE = 0.004
TURN = 0.016
LONG = 0.04
# The shortest time is believed when the next is as good but for NOISE; on a busy machine that may
# take up to PATIENCE times as long as was asked for.
NOISE = 0.05
PATIENCE = 10


@dataclass
class _Tally:
    """The calls of one side so far."""

    count: int = 0
    spent: float = 0.0  # seconds
    best: float = inf
    next: float = inf  # the second shortest time

    def add(self, seconds: float) -> None:
        self.count += 1
        self.spent += seconds
        self.best, self.next, _ = sorted([self.best, self.next, seconds])

    def done(self, seconds: float, repeat: int) -> bool:
        if self.count < repeat or self.spent < seconds:
            return False
        return self.next <= self.best * (1 + NOISE) or self.spent >= PATIENCE * seconds


def best_times(
    calls: Mapping[Name, Callable[[], Any]],
    seconds: float,
    repeat: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Name, float]:
    """Least seconds of each call.

    The calls take turns until each was timed at least `repeat` times, for `seconds` in all, and
    came to a time it can repeat; one that did drops out, so a slow side keeps no fast one waiting.
    """
    tallies = {name: _Tally() for name in calls}
    while waiting := [name for name in calls if not tallies[name].done(seconds, repeat)]:
        for name in waiting:
            call, tally = calls[name], tallies[name]
            begin = clock()
            while tally.best < LONG and clock() - begin < SETTLE:
                call()
            begin = now = clock()
            while now - begin < TURN:
                before = now
                call()
                now = clock()
                tally.add(now - before)
    return {name: tally.best for name, tally in tallies.items()}
