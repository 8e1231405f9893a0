from fastconv._drivers.correlation cimport Correlation
from fastconv._drivers.kernels cimport fc_size

cdef bint is_usable(const Correlation *c) noexcept nogil
cdef int run_planes(const Correlation *c, int num_threads) noexcept nogil
# Correlation.packed's rows: of c, these read the filters and what their sizes are. No bytes where
# the filters are too many.
cdef fc_size packed_bytes(const Correlation *c) noexcept nogil
cdef void pack(const Correlation *c, char *rows) noexcept nogil
