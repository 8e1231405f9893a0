# What a driver returned, as Python sees it.
from fastconv._drivers.status cimport INDEX_OUT_OF_RANGE, INTERRUPTED, OK, OUT_OF_MEMORY

cdef inline int raise_for(int status) except -1:
    if status == OK:
        return 0
    if status == INTERRUPTED:
        return -1  # the handler's exception is pending
    if status == OUT_OF_MEMORY:
        raise MemoryError("fastconv could not allocate its scratch memory")
    if status == INDEX_OUT_OF_RANGE:
        raise IndexError("an index lies outside what it counts")
    raise RuntimeError(f"unknown status {status}")
