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

# Images of any strides, of sizes[AXES], filled with bias[channels], contiguous, or with zeros where
# that is NULL; with relu, zeros for negative numbers.
cdef int fill_channels(const fc_kernels *kernels, Strided x, fc_size batch, fc_size channels,
                       const fc_size *sizes, const char *bias, bint relu,
                       int num_threads) noexcept nogil
