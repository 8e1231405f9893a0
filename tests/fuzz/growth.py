"""Whether memory grows: the same calls over and over, and what the process holds after each round.

cd tests && python -m fuzz.growth --calls 2000 --rounds 7
"""

import argparse
import ctypes
import gc
import sys
from dataclasses import dataclass
from pathlib import Path

from fastconv._drivers import memory
from fuzz.calls import make, run

RESIDENT = 8 << 20  # bytes: the C library's and NumPy's own memory moves about as much
BLOCKS = 250  # of Python's allocator: caches fill ever more slowly


@dataclass(frozen=True)
class Held:
    """What the process holds."""

    used: int  # bytes of fastconv's blocks
    blocks: int  # of Python's allocator
    resident: int  # bytes, 0 where the system does not say

    def grown_from(self, before):
        """What there is too much of, "" if nothing."""
        found = []
        if self.used > before.used:
            found.append(f"{self.used - before.used} bytes of fastconv's memory")
        if self.blocks > before.blocks + BLOCKS:
            found.append(f"{self.blocks - before.blocks} Python blocks")
        if self.resident > before.resident + RESIDENT:
            found.append(f"{self.resident - before.resident} resident bytes")
        return ", ".join(found)


def held():
    gc.collect()
    limit = memory.get_limit()
    memory.set_limit(0)  # what is kept for the next calls goes back to the system
    memory.set_limit(limit)
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:  # of glibc, which keeps what lies between blocks in use
        trim(0)
    resident = 0
    if sys.platform == "linux":
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    return Held(memory.used_bytes(), sys.getallocatedblocks(), resident)


def rounds(numbers, count, seed=0, check=run):
    """What is held after each of `count` rounds of the calls of these numbers."""
    after = []
    for _ in range(count):
        for number in numbers:
            check(make(seed, number))
        after.append(held())
    return after


def main():
    parser = argparse.ArgumentParser(prog="fuzz.growth", description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=2000, help="of each round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
    _, *after = rounds(range(options.calls), options.rounds, options.seed)  # the first fills caches
    for state in after:
        print(state)
    grown = after[-1].grown_from(after[0])
    print(f"{options.calls * (len(after) - 1)} calls: {grown or 'no growth'}")
    sys.exit(bool(grown))


if __name__ == "__main__":
    main()
