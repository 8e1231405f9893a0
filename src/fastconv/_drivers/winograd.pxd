from fastconv._drivers.correlation cimport Correlation
from fastconv._drivers.kernels cimport fc_size

# Which tiles of outputs, the index into fc_kernels.winograd
cdef enum:
    TILE_4
    TILE_2
    TILES

# 3 x 3 taps side by side, of one group
cdef bint is_usable(const Correlation *c) noexcept nogil
cdef int run_winograd(const Correlation *c, int tile, int num_threads) noexcept nogil
cdef int run_winograd_weight(const Correlation *c, int tile, int num_threads) noexcept nogil
# Correlation.packed's points, as in direct.pxd
cdef fc_size packed_bytes(const Correlation *c, int tile) noexcept nogil
cdef int pack(const Correlation *c, int tile, char *points, int num_threads) noexcept nogil
