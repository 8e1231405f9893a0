from fastconv._drivers.correlation cimport Correlation

# Of what winograd.is_usable takes, one image at least
cdef int run_winograd_weight(const Correlation *c, int tile, int num_threads) noexcept nogil
