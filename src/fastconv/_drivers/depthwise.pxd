from fastconv._drivers.correlation cimport Correlation

cdef bint is_depthwise(const Correlation *c) noexcept nogil
cdef int correlate(const Correlation *c, int num_threads) noexcept nogil
cdef int correlate_weight(const Correlation *c, int num_threads) noexcept nogil
