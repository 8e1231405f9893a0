from fastconv._drivers.pool cimport Pool

cdef int run_forward(const Pool *p, int num_threads) noexcept nogil
