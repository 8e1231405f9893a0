from fastconv._drivers.pool cimport Pool

cdef bint is_usable(const Pool *p) noexcept nogil
cdef int run_forward(const Pool *p, int num_threads) noexcept nogil
