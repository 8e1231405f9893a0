from fastconv._drivers.correlation cimport Correlation
from fastconv._drivers.kernels cimport fc_size

# taps go up already
cdef bint is_usable(const Correlation *c) noexcept nogil
cdef int run_few_filters(const Correlation *c, int num_threads) noexcept nogil
# Correlation.packed's rows: of c, these read the filters and what their sizes are. No bytes where
# no call would use them.
cdef fc_size rows_bytes(const Correlation *c) noexcept nogil
cdef void pack_rows(const Correlation *c, char *rows) noexcept nogil
