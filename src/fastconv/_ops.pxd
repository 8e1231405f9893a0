# The C level of fastconv: `from fastconv._ops cimport ...`.
#
# Every function takes C-contiguous weights and images in the format that the shape names, returns 0
# (done) or another Status of _drivers/runtime.pxd, and needs no GIL. num_threads 0 means the
# library's default. Nothing is cimported from _drivers here, so that users need no C header.
from libc.stdint cimport int64_t

cpdef enum MemoryFormat:
    CONTIGUOUS = 0     # (N, C, H, W)
    CHANNELS_LAST = 1  # (N, H, W, C)

# The geometry of a convolution, shared by all three passes. Sizes in elements.
ctypedef struct Conv2dShape:
    Py_ssize_t batch, in_channels, in_h, in_w
    Py_ssize_t out_channels, out_h, out_w
    Py_ssize_t kernel_h, kernel_w
    Py_ssize_t stride_h, stride_w
    Py_ssize_t pad_top, pad_bottom, pad_left, pad_right
    Py_ssize_t dilation_h, dilation_w
    Py_ssize_t groups
    int input_format, output_format

# Fills in out_h and out_w from the rest. 0; or -1 when a size is out of range, a kernel is larger
# than the padded input, or channels do not divide by groups.
cdef int conv2d_shape_init(Conv2dShape *shape) noexcept nogil

cdef int conv2d_f32(const Conv2dShape *shape, const float *input, const float *weight,
                    const float *bias, float *output, int num_threads) noexcept nogil
cdef int conv2d_f64(const Conv2dShape *shape, const double *input, const double *weight,
                    const double *bias, double *output, int num_threads) noexcept nogil
cdef int conv2d_backward_input_f32(const Conv2dShape *shape, const float *grad_output,
                                   const float *weight, float *grad_input,
                                   int num_threads) noexcept nogil
cdef int conv2d_backward_input_f64(const Conv2dShape *shape, const double *grad_output,
                                   const double *weight, double *grad_input,
                                   int num_threads) noexcept nogil
cdef int conv2d_backward_weight_f32(const Conv2dShape *shape, const float *grad_output,
                                    const float *input, float *grad_weight,
                                    int num_threads) noexcept nogil
cdef int conv2d_backward_weight_f64(const Conv2dShape *shape, const double *grad_output,
                                    const double *input, double *grad_weight,
                                    int num_threads) noexcept nogil
