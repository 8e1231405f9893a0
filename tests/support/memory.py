"""Blocks of fastconv's own memory, and the bound that its drivers keep to."""

import numpy as np

from fastconv._drivers import memory

#: bytes of scratch memory that a thread may take for one call, whatever its shape
MAX_SCRATCH = 4 << 20


def block(nbytes):
    """A writable array of bytes in memory that may have been used before."""
    return np.frombuffer(memory.Memory(nbytes), np.uint8)
