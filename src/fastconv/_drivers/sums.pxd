from fastconv._drivers.kernels cimport fc_kernels, fc_size
from fastconv._drivers.strided cimport Strided

# A (batch, channels, height, width) array; strides in bytes. Rows lie without gaps: columns
# contiguous, or channels contiguous and columns next to each other.
ctypedef struct Sums:
    const fc_kernels *kernels
    const char *x
    fc_size batch, channels, height, width
    fc_size x_n, x_c, x_h, x_w
    char *out  # [channels]

cdef int channel_sums(const Sums *s, int num_threads) noexcept nogil

# zero in images of any strides, of sizes[AXES]
cdef int fill_zeros(const fc_kernels *kernels, Strided x, fc_size batch, fc_size channels,
                    const fc_size *sizes, int num_threads) noexcept nogil
