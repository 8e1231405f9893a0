# One pooling, in the one form that its forward and backward passes share.
from fastconv._drivers.axis cimport AXES, Axis
from fastconv._drivers.geometry cimport PoolGeometry
from fastconv._drivers.kernels cimport fc_kernels, fc_size
from fastconv._drivers.strided cimport Strided

# In ceil mode a window may hang over the padded end, and a kernel be larger than the padded image:
# a maximum is one of the elements that exist, and an average counts those of the padded image.
# (kernel - 1) * dilation fits fc_size.
ctypedef struct Pool:
    const fc_kernels *kernels
    fc_size batch, channels
    Axis axis[AXES]
    bint adaptive             # windows share every axis out evenly; only its size and out are read
    Strided x               # the input; backward, its gradient, which is written as a whole
    Strided y               # the output; backward, its gradient
    Strided indices         # int64: where in its plane each maximum of y is; data NULL for none
    bint average              # else the maximum
    bint include_pad          # an average counts the padding
    fc_size divisor_override  # what an average divides by, unless it is 0
    bint assign               # backward: of several maxima in one place the last remains, no sum

# Without indices, and averages only where the caller says so.
cdef inline Pool pool_form(const PoolGeometry *g, const fc_kernels *kernels, Strided x,
                           Strided y) noexcept nogil:
    cdef Pool p
    cdef int i
    p.kernels, p.batch, p.channels = kernels, g.batch, g.channels
    for i in range(AXES):
        p.axis[i] = g.axis[i]
    p.adaptive = g.adaptive
    p.x, p.y, p.indices = x, y, y
    p.indices.data = NULL
    p.average = p.assign = False
    p.include_pad, p.divisor_override = g.count_include_pad, g.divisor_override
    return p

# y, and indices unless their data is NULL, from x.
cdef int pool_forward(const Pool *p, int num_threads) noexcept nogil
# x from y: each element of y is shared out evenly over its window.
cdef int average_backward(const Pool *p, int num_threads) noexcept nogil
# x from y and indices. The rows of x follow each other without a gap.
cdef int max_backward(const Pool *p, int num_threads) noexcept nogil
# x from y and indices, likewise; where they name one element again the last of y is written.
cdef int unpool(const Pool *p, int num_threads) noexcept nogil
# y from x and indices.
cdef int unpool_backward(const Pool *p, int num_threads) noexcept nogil
