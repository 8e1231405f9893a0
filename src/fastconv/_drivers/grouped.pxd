from fastconv._drivers.correlation cimport Correlation
from fastconv._drivers.kernels cimport fc_size

cdef enum:
    MOST_PHASES = 16

cdef bint is_grouped(const Correlation *c) noexcept nogil
cdef int correlate(const Correlation *phases, fc_size phases_h, fc_size phases_w,
                   int num_threads) noexcept nogil
cdef int correlate_weight(const Correlation *correlation, int num_threads) noexcept nogil
