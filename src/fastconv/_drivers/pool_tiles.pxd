from fastconv._drivers.pool cimport Pool

cdef enum:
    # A status of run_backward alone: some index lies in no tile of its own, and x is half written.
    NOT_TILES = -1

cdef bint is_usable(const Pool *p) noexcept nogil
cdef int run_backward(const Pool *p, int num_threads) noexcept nogil
