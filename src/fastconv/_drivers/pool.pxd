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

# --- temporary
from fastconv._drivers.axis cimport H, W, Axis
from fastconv._drivers.geometry cimport PoolGeometry
from fastconv._drivers.strided cimport Strided

cdef inline PoolAxis pool_axis(const Axis *a, bint adaptive) noexcept nogil:
    cdef PoolAxis p
    p.size, p.out, p.adaptive = a.size, a.out, adaptive
    p.kernel, p.stride, p.pad, p.dilation = a.kernel, a.stride, a.pad_before, a.dilation
    return p

cdef inline Pool pool_form(const PoolGeometry *g, const fc_kernels *kernels, Strided x, Strided y) noexcept nogil:
    cdef Pool p
    p.kernels = kernels
    p.batch, p.channels = g.batch, g.channels
    p.h = pool_axis(&g.axis[H], g.adaptive)
    p.w = pool_axis(&g.axis[W], g.adaptive)
    p.x, p.x_n, p.x_c, p.x_h, p.x_w = x.data, x.n, x.c, x.axis[H], x.axis[W]
    p.y, p.y_n, p.y_c, p.y_h, p.y_w = y.data, y.n, y.c, y.axis[H], y.axis[W]
    p.indices = NULL
    p.i_n = p.i_c = p.i_h = p.i_w = 0
    p.average = False
    p.include_pad = g.count_include_pad
    p.divisor_override = g.divisor_override
    return p

cdef inline void set_indices(Pool *p, Strided i) noexcept nogil:
    p.indices, p.i_n, p.i_c, p.i_h, p.i_w = i.data, i.n, i.c, i.axis[H], i.axis[W]
