"""Pooling window by window, where channels are contiguous and windows overlap little.

Nothing is folded: the pixels of a window go by for a few vectors of channels, kept in registers.
"""

from libc.stdint cimport int64_t

from fastconv._drivers.axis cimport AXES, D, H, W
from fastconv._drivers.blocking cimport ceil_div, next_index
from fastconv._drivers.kernels cimport fc_pool_windows, fc_size
from fastconv._drivers.pool cimport Pool
from fastconv._drivers.pool_common cimport (
    AxisWindows, Span, channels_of_row, clip_windows, columns_of_row, fill_divisors, pixel_at,
    pixels_in, release_windows, rows_of_window, work)
from fastconv._drivers.runtime cimport OK, parallel_for


ctypedef struct PoolWindowsPlan:
    const Pool *pool
    AxisWindows windows[AXES]
    fc_size block_channels, channel_blocks
    fc_size block_columns, column_blocks


cdef bint is_usable(const Pool *p) noexcept nogil:
    """Channels contiguous, and windows that overlap little."""
    cdef fc_size size = p.kernels.itemsize
    return (p.channels > 1 and p.x.stride_c == size and p.y.stride_c == size
            and (p.indices.data == NULL or p.indices.stride_c == sizeof(int64_t))
            and overlap_little(p))


cdef bint overlap_little(const Pool *p) noexcept nogil:
    """Whether windows may be gone through one by one, each reading all of its pixels."""
    # doubles: the product of kernels that hang over the image may be huge
    cdef double rows = <double> p.axis[D].kernel * p.axis[H].kernel, columns = p.axis[W].kernel
    # where a maximum was found is counted, from its window's first pixel, in an integer of the
    # real's width
    if p.kernels.real_size == 4 and pixels_in(p) > (1 << 30):
        return False
    # of an output: elements read, and those that folding and sliding would move
    return p.adaptive or (
        rows * columns <= p.axis[W].stride * (rows + 1) + columns)


cdef void pool_row(const Pool *p, const AxisWindows *windows, fc_size n, fc_size c,
                   fc_size channels, fc_size d, fc_size i, Span columns,
                   double *divisors) noexcept nogil:
    cdef const AxisWindows *slices = &windows[D]
    cdef const AxisWindows *rows = &windows[H]
    cdef const AxisWindows *w = &windows[W]
    cdef fc_size h = rows.start[i], first = slices.start[d], plane = p.axis[H].size * p.axis[W].size
    cdef fc_pool_windows k
    k.x_d, k.x_h, k.x_w = slices.step * p.x.stride[D], rows.step * p.x.stride[H], p.x.stride[W]
    k.slices, k.rows = rows_of_window(slices, d), rows_of_window(rows, i)
    k.channels, k.out_width = channels, columns.end - columns.start
    k.x = pixel_at(&p.x, n, c, first, h, 0) if k.rows and k.slices else NULL
    k.start, k.end, k.step = w.start + columns.start, w.end + columns.start, w.step
    k.out, k.out_w = pixel_at(&p.y, n, c, d, i, columns.start), p.y.stride[W]
    k.indices, k.indices_w = NULL, p.indices.stride[W]
    k.index = first * plane + h * p.axis[W].size
    k.index_d, k.index_h = slices.step * plane, rows.step * p.axis[W].size
    k.divisor = divisors
    if p.average:
        fill_divisors(p, windows, d, i, columns, divisors)
        p.kernels.mean_windows(&k)
        return
    if p.indices.data != NULL:
        k.indices = pixel_at(&p.indices, n, c, d, i, columns.start)
    p.kernels.max_windows(&k)


cdef int forward_row(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """Some columns of one row of outputs, of a block of channels."""
    cdef const PoolWindowsPlan *plan = <PoolWindowsPlan *> context
    cdef const Pool *p = plan.pool
    cdef Span columns
    columns.start = next_index(&task, plan.column_blocks) * plan.block_columns
    columns.end = min(columns.start + plan.block_columns, p.axis[W].out)
    cdef fc_size i = next_index(&task, p.axis[H].out), d = next_index(&task, p.axis[D].out)
    cdef fc_size c = next_index(&task, plan.channel_blocks) * plan.block_channels
    pool_row(p, plan.windows, task, c, min(plan.block_channels, p.channels - c), d,
             i, columns, <double *> scratch)
    return OK


cdef int run_forward(const Pool *p, int num_threads) noexcept nogil:
    cdef PoolWindowsPlan plan
    cdef fc_size tasks = p.batch * p.axis[D].out * p.axis[H].out, scratch_bytes
    cdef int status = clip_windows(p, plan.windows)
    if status == OK:
        plan.pool = p
        plan.block_channels = channels_of_row(p)
        plan.channel_blocks = ceil_div(p.channels, plan.block_channels)
        plan.block_columns = columns_of_row(p)
        plan.column_blocks = ceil_div(p.axis[W].out, plan.block_columns)
        scratch_bytes = plan.block_columns * sizeof(double) if p.average else 0
        tasks *= plan.channel_blocks * plan.column_blocks
        status = parallel_for(forward_row, &plan, tasks, scratch_bytes, work(p), num_threads)
        release_windows(plan.windows)
    return status
