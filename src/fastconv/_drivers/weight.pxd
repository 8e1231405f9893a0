from fastconv._drivers.correlation cimport Correlation

cdef int run_weight(const Correlation *c, int num_threads) noexcept nogil
