# The C level of fastconv: `from fastconv cimport ...`. docs/c-api.md tells all of it at length.
#
# Every function runs without the GIL, on whatever thread calls it, and on the kernels of this
# processor. Those that return int return a Status (OK is 0), which status_text puts into words.
#
# Images lie in memory without gaps, in the format that the shape names for them; weights are
# (out_channels, in_channels / groups, kernel_h, kernel_w), C-contiguous. An output overlaps no
# other array. `workspace` NULL lets the library find memory; `num_threads` 0 means its default.
# The bits of a result are the same for any number of threads.
#
# Nothing here needs a C header, so neither do users. include/fastconv.h offers the same to C.
from libc.stdint cimport int64_t

from fastconv._drivers.status cimport (
    INDEX_OUT_OF_RANGE, INVALID_GROUPS, INVALID_OPTION, INVALID_PADDING, INVALID_SIZE,
    INVALID_STRIDE, KERNEL_TOO_LARGE, NULL_POINTER, OK, OUT_OF_MEMORY, SHAPE_NOT_CHECKED, TOO_LARGE,
    WEIGHT_MISMATCH, WORKSPACE_TOO_SMALL, Status,
)

cpdef enum MemoryFormat:
    CONTIGUOUS = 0     # (N, C, H, W)
    CHANNELS_LAST = 1  # (N, H, W, C)

cdef enum Activation:
    ACTIVATION_NONE = 0
    ACTIVATION_RELU = 1

cdef enum Algorithm:
    AUTO = 0      # whatever is expected to take the least time
    DIRECT = 1    # every output a plain sum of products
    WINOGRAD = 2  # 3x3 kernels, stride 1, dilation 1, groups 1

# One convolution, for all of its passes. Sizes, steps and padding are in elements; every field is a
# Py_ssize_t, so that languages without structs can pass an array of them, in this order.
ctypedef struct Conv2dShape:
    Py_ssize_t batch, in_channels, in_h, in_w
    Py_ssize_t out_channels, kernel_h, kernel_w
    Py_ssize_t stride_h, stride_w
    Py_ssize_t pad_top, pad_bottom, pad_left, pad_right
    Py_ssize_t dilation_h, dilation_w
    Py_ssize_t groups
    Py_ssize_t input_format, output_format  # MemoryFormat, of gradients too
    Py_ssize_t activation                   # Activation of a forward pass
    Py_ssize_t algorithm                    # Algorithm
    Py_ssize_t out_h, out_w                 # written by init and check, only read by the rest

# One pooling, likewise.
ctypedef struct Pool2dShape:
    Py_ssize_t batch, channels, in_h, in_w
    Py_ssize_t kernel_h, kernel_w
    Py_ssize_t stride_h, stride_w
    Py_ssize_t pad_h, pad_w            # on both sides; at most half of what the kernel spans
    Py_ssize_t dilation_h, dilation_w  # of max pooling
    Py_ssize_t ceil_mode               # 1: output sizes are rounded up
    Py_ssize_t adaptive                # 1: windows share the input out evenly; the above is unused
    Py_ssize_t count_include_pad       # 1: means count the padding
    Py_ssize_t divisor_override        # means divide by it, unless it is 0
    Py_ssize_t input_format, output_format  # MemoryFormat; indices have the output's
    Py_ssize_t out_h, out_w            # as above; where adaptive, read by check

# Memory for one call at a time. With data NULL the call computes nothing, reads no array, and
# writes to `size` how many bytes it would need, never 0.
ctypedef struct Workspace:
    void *data
    size_t size  # bytes

# Weights in the orders that kernels want them. Made by conv2d_pack, it does not change to whoever
# holds it: threads may share it.
ctypedef struct PackedConv2d:
    void *_private

# In words, never NULL; lives as long as the library.
cdef const char *status_text(int status) noexcept nogil

# ---- geometry: init sets every field (contiguous, no activation, AUTO) and checks; whoever changes
# a field then calls check, which judges them all and writes out_h and out_w.
cdef int conv2d_shape_init(Conv2dShape *shape, Py_ssize_t batch, Py_ssize_t in_channels,
                           Py_ssize_t in_h, Py_ssize_t in_w, Py_ssize_t out_channels,
                           Py_ssize_t kernel_h, Py_ssize_t kernel_w, Py_ssize_t stride,
                           Py_ssize_t padding, Py_ssize_t dilation,
                           Py_ssize_t groups) noexcept nogil
cdef int conv2d_shape_check(Conv2dShape *shape) noexcept nogil
cdef int pool2d_shape_init(Pool2dShape *shape, Py_ssize_t batch, Py_ssize_t channels,
                           Py_ssize_t in_h, Py_ssize_t in_w, Py_ssize_t kernel_h,
                           Py_ssize_t kernel_w, Py_ssize_t stride,
                           Py_ssize_t padding) noexcept nogil
cdef int pool2d_shape_init_adaptive(Pool2dShape *shape, Py_ssize_t batch, Py_ssize_t channels,
                                    Py_ssize_t in_h, Py_ssize_t in_w, Py_ssize_t out_h,
                                    Py_ssize_t out_w) noexcept nogil
cdef int pool2d_shape_check(Pool2dShape *shape) noexcept nogil

# ---- convolution; `bias` (out_channels) may be NULL
cdef int conv2d_f32(const Conv2dShape *shape, const float *input, const float *weight,
                    const float *bias, float *output, Workspace *workspace,
                    int num_threads) noexcept nogil
cdef int conv2d_f64(const Conv2dShape *shape, const double *input, const double *weight,
                    const double *bias, double *output, Workspace *workspace,
                    int num_threads) noexcept nogil
cdef int conv2d_backward_input_f32(const Conv2dShape *shape, const float *grad_output,
                                   const float *weight, float *grad_input, Workspace *workspace,
                                   int num_threads) noexcept nogil
cdef int conv2d_backward_input_f64(const Conv2dShape *shape, const double *grad_output,
                                   const double *weight, double *grad_input, Workspace *workspace,
                                   int num_threads) noexcept nogil
cdef int conv2d_backward_weight_f32(const Conv2dShape *shape, const float *grad_output,
                                    const float *input, float *grad_weight, Workspace *workspace,
                                    int num_threads) noexcept nogil
cdef int conv2d_backward_weight_f64(const Conv2dShape *shape, const double *grad_output,
                                    const double *input, double *grad_weight, Workspace *workspace,
                                    int num_threads) noexcept nogil
cdef int conv2d_backward_bias_f32(const Conv2dShape *shape, const float *grad_output,
                                  float *grad_bias, Workspace *workspace,
                                  int num_threads) noexcept nogil
cdef int conv2d_backward_bias_f64(const Conv2dShape *shape, const double *grad_output,
                                  double *grad_bias, Workspace *workspace,
                                  int num_threads) noexcept nogil

# ---- weights packed once for many forward passes, of images of any size and format; what `shape`
# asks for is packed at once, what later shapes ask for when they first do. Copies the weight; to be
# given to conv2d_packed_free, which takes NULL too, after the last call that uses it.
cdef int conv2d_pack_f32(const Conv2dShape *shape, const float *weight, PackedConv2d **packed,
                         int num_threads) noexcept nogil
cdef int conv2d_pack_f64(const Conv2dShape *shape, const double *weight, PackedConv2d **packed,
                         int num_threads) noexcept nogil
cdef void conv2d_packed_free(PackedConv2d *packed) noexcept nogil
cdef int conv2d_packed_f32(const Conv2dShape *shape, const float *input, PackedConv2d *packed,
                           const float *bias, float *output, Workspace *workspace,
                           int num_threads) noexcept nogil
cdef int conv2d_packed_f64(const Conv2dShape *shape, const double *input, PackedConv2d *packed,
                           const double *bias, double *output, Workspace *workspace,
                           int num_threads) noexcept nogil

# ---- pooling; `indices` count the elements of a (batch, channel) plane row by row, -1 for a window
# of padding alone. max_pool2d's may be NULL; backward refuses one outside the plane.
cdef int max_pool2d_f32(const Pool2dShape *shape, const float *input, float *output,
                        int64_t *indices, Workspace *workspace, int num_threads) noexcept nogil
cdef int max_pool2d_f64(const Pool2dShape *shape, const double *input, double *output,
                        int64_t *indices, Workspace *workspace, int num_threads) noexcept nogil
cdef int max_pool2d_backward_f32(const Pool2dShape *shape, const float *grad_output,
                                 const int64_t *indices, float *grad_input, Workspace *workspace,
                                 int num_threads) noexcept nogil
cdef int max_pool2d_backward_f64(const Pool2dShape *shape, const double *grad_output,
                                 const int64_t *indices, double *grad_input, Workspace *workspace,
                                 int num_threads) noexcept nogil
cdef int avg_pool2d_f32(const Pool2dShape *shape, const float *input, float *output,
                        Workspace *workspace, int num_threads) noexcept nogil
cdef int avg_pool2d_f64(const Pool2dShape *shape, const double *input, double *output,
                        Workspace *workspace, int num_threads) noexcept nogil
cdef int avg_pool2d_backward_f32(const Pool2dShape *shape, const float *grad_output,
                                 float *grad_input, Workspace *workspace,
                                 int num_threads) noexcept nogil
cdef int avg_pool2d_backward_f64(const Pool2dShape *shape, const double *grad_output,
                                 double *grad_input, Workspace *workspace,
                                 int num_threads) noexcept nogil
