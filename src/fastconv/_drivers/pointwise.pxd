from fastconv._drivers.correlation cimport Correlation

cdef bint is_usable(const Correlation *c) noexcept nogil
cdef int run_pointwise(const Correlation *c, int num_threads) noexcept nogil
