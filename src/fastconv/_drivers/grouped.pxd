from fastconv._drivers.correlation cimport Correlation
from fastconv._drivers.kernels cimport fc_size

cdef enum:
    MAX_PHASES = 16

# Narrow groups with filters of moderate reach; the taps of every axis go up.
cdef bint is_usable(const Correlation *c, bint of_weight) noexcept nogil
# All phases of one image, [phases_h][phases_w], of one phase of the depth; of a forward pass there
# is one.
cdef int run_grouped(const Correlation *phases, fc_size phases_h, fc_size phases_w,
                     int num_threads) noexcept nogil
cdef int run_grouped_weight(const Correlation *correlation, int num_threads) noexcept nogil
