from fastconv._drivers.kernels cimport fc_kernels, fc_size

# A (batch, channels, height, width) array; strides in bytes. Rows lie without gaps: columns
# contiguous, or channels contiguous and columns next to each other.
ctypedef struct Sums:
    const fc_kernels *kernels
    const char *x
    fc_size batch, channels, height, width
    fc_size x_n, x_c, x_h, x_w
    char *out  # [channels]

cdef int channel_sums(const Sums *s, int num_threads) noexcept nogil

# zero in a (batch, channels, height, width) array of any strides
cdef int fill_zeros(const fc_kernels *kernels, char *x, fc_size x_n, fc_size x_c, fc_size x_h,
                    fc_size x_w, fc_size batch, fc_size channels, fc_size height, fc_size width,
                    int num_threads) noexcept nogil
