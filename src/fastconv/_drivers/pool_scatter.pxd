from fastconv._drivers.pool cimport Pool

cdef int run_backward(const Pool *p, int num_threads) noexcept nogil
# y from x: the elements that the indices name.
cdef int run_gather(const Pool *p, int num_threads) noexcept nogil
