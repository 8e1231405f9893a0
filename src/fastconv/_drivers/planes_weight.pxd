from fastconv._drivers.correlation cimport Correlation

cdef bint is_usable(const Correlation *c) noexcept nogil
# The correlation's w is written, not read.
cdef int run_planes_weight(const Correlation *c, int num_threads) noexcept nogil
