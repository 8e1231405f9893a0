from libc.stdint cimport int64_t

from fastconv._drivers.kernels cimport fc_kernels, fc_size

# One axis of a pooling: where the window of each output starts and ends.
ctypedef struct PoolAxis:
    fc_size size, out
    fc_size kernel, stride, pad, dilation
    bint adaptive  # windows share the axis out evenly; the four above are unused

# x is the input or its gradient, y the output or its gradient; strides in bytes.
ctypedef struct Pool:
    const fc_kernels *kernels
    fc_size batch, channels
    PoolAxis h, w
    const char *x
    fc_size x_n, x_c, x_h, x_w
    const char *y
    fc_size y_n, y_c, y_h, y_w
    const char *indices  # int64, or NULL
    fc_size i_n, i_c, i_h, i_w
    bint average
    bint include_pad
    fc_size divisor_override  # 0: none

cdef int pool(const Pool *p, int num_threads) noexcept nogil
cdef int mean_backward(const Pool *p, int num_threads) noexcept nogil
cdef int max_backward(const Pool *p, int num_threads) noexcept nogil
