# One pooling, in the one form that its forward and backward passes share.
from fastconv._drivers.axis cimport AXES, Axis, D
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

cdef inline bint is_planar(const Pool *p) noexcept nogil:
    # Two dimensions or fewer, which every strategy takes for granted: the depth axis is that of an
    # image.
    cdef const Axis *a = &p.axis[D]
    return a.size == 1 and a.out == 1 and (
        p.adaptive or (a.kernel == 1 and a.pad_before == 0 and a.pad_after == 0))

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
    p.average = False
    p.include_pad, p.divisor_override = g.count_include_pad, g.divisor_override
    return p

# y, and indices unless their data is NULL, from x.
cdef int pool_forward(const Pool *p, int num_threads) noexcept nogil
# x from y: each element of y is shared out evenly over its window.
cdef int average_backward(const Pool *p, int num_threads) noexcept nogil
# x from y and indices. The rows of x follow each other without a gap.
cdef int max_backward(const Pool *p, int num_threads) noexcept nogil
