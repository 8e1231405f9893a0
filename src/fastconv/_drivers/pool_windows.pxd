from fastconv._drivers.kernels cimport fc_size
from fastconv._drivers.pool cimport Pool
from fastconv._drivers.pool_common cimport AxisWindows, Span

cdef bint is_usable(const Pool *p) noexcept nogil
cdef int run_forward(const Pool *p, int num_threads) noexcept nogil

# For pool_staged.pyx, which brings its images into this strategy's layout:
cdef bint overlap_little(const Pool *p) noexcept nogil
# Some columns of row i of slice d of some channels' outputs. `divisors`, room for as many, are an
# average's alone.
cdef void pool_row(const Pool *p, const AxisWindows *windows, fc_size n, fc_size c,
                   fc_size channels, fc_size d, fc_size i, Span columns,
                   double *divisors) noexcept nogil
