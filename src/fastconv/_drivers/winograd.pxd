from fastconv._drivers.correlation cimport Correlation
from fastconv._drivers.kernels cimport fc_size

cdef int run_winograd(const Correlation *c, int tile, int num_threads) noexcept nogil
# Correlation.packed's points: of c, these read the filters and what their sizes are
cdef fc_size points_bytes(const Correlation *c, int tile) noexcept nogil
cdef int pack_points(const Correlation *c, int tile, char *points, int num_threads) noexcept nogil
