"""Max and average pooling, forward and backward, regular or adaptive, in either memory format.

Every window is clipped to the image once per axis, so that padding, ceil mode, dilation, adaptive
and global pooling are all the same loop over rows.
"""

from libc.stdint cimport int64_t

from fastconv._drivers.correlation cimport ceil_div, part
from fastconv._drivers.kernels cimport fc_kernels, fc_pool_row, fc_size
from fastconv._drivers.runtime cimport OK, OUT_OF_MEMORY, allocate, parallel_for, release
from fastconv._drivers.runtime cimport INDEX_OUT_OF_RANGE


cdef enum:
    ROWS = 4              # output rows of a channels-last task
    CHANNEL_BYTES = 256   # channels of a channels-last task going backward, which owns its planes

ctypedef struct Plan:
    Pool p
    # per output row and column: the window clipped to the image, and how many elements it counts
    fc_size *h_start
    fc_size *h_end
    fc_size *w_start
    fc_size *w_end
    double *h_count
    double *w_count
    fc_size row_tasks, channel_blocks, block_channels


cdef void windows(const PoolAxis *a, bint include_pad, fc_size *start, fc_size *end,
                  double *count) noexcept nogil:
    cdef fc_size i, lo, hi, skipped
    for i in range(a.out):
        if a.adaptive:
            # i * size / out without leaving 64 bits
            lo = part_floor(a.size, a.out, i)
            hi = a.size - part_floor(a.size, a.out, a.out - 1 - i)
            count[i] = <double> (hi - lo)
        else:
            lo = i * a.stride - a.pad
            hi = lo + (a.kernel - 1) * a.dilation + 1
            if include_pad:  # what lies beyond even the padding (ceil mode) never counts
                count[i] = <double> (min(hi, a.size + a.pad) - lo)
            if lo < 0:
                skipped = ceil_div(-lo, a.dilation)
                lo += skipped * a.dilation
            hi = min(hi, a.size)
            if not include_pad:
                count[i] = <double> max(hi - lo, 0)
        start[i] = lo
        end[i] = hi


cdef inline fc_size part_floor(fc_size size, fc_size out, fc_size i) noexcept nogil:
    # floor(i * size / out)
    return size // out * i + size % out * i // out


cdef int prepare(Plan *plan, const Pool *p) noexcept nogil:
    """Fill in the windows; the plan's memory starts at h_start."""
    cdef fc_size h = p.h.out, w = p.w.out
    plan.p = p[0]
    cdef char *memory = allocate((h + w) * (2 * sizeof(fc_size) + sizeof(double)))
    if memory == NULL:
        return OUT_OF_MEMORY
    plan.h_start = <fc_size *> memory
    plan.h_end = plan.h_start + h
    plan.w_start = plan.h_end + h
    plan.w_end = plan.w_start + w
    plan.h_count = <double *> (plan.w_end + w)
    plan.w_count = plan.h_count + h
    windows(&p.h, p.include_pad, plan.h_start, plan.h_end, plan.h_count)
    windows(&p.w, p.include_pad, plan.w_start, plan.w_end, plan.w_count)
    return OK


cdef int run_rows(const Plan *plan, fc_size n, fc_size c0, fc_size channels, fc_size i0,
                  fc_size i1, bint backward, double *divisor) noexcept nogil:
    """Output rows [i0, i1) of some channels of image n."""
    cdef const Pool *p = &plan.p
    cdef fc_size i, j
    cdef int status = OK
    cdef fc_pool_row row
    row.x = p.x + n * p.x_n + c0 * p.x_c
    row.x_c = p.x_c
    row.x_h = p.x_h
    row.x_w = p.x_w
    row.width = p.w.size
    row.plane = p.h.size * p.w.size
    row.h_step = 1 if p.h.adaptive else p.h.dilation
    row.w_step = 1 if p.w.adaptive else p.w.dilation
    row.w_start = plan.w_start
    row.w_end = plan.w_end
    row.out_c = p.y_c
    row.out_w = p.y_w
    row.out_width = p.w.out
    row.idx_c = p.i_c
    row.idx_w = p.i_w
    row.divisor = divisor
    row.channels = channels
    for i in range(i0, i1):
        row.h_start = plan.h_start[i]
        row.h_end = plan.h_end[i]
        row.out = <char *> p.y + n * p.y_n + c0 * p.y_c + i * p.y_h
        row.indices = NULL
        if p.indices != NULL:
            row.indices = <int64_t *> (<char *> p.indices + n * p.i_n + c0 * p.i_c + i * p.i_h)
        if p.average:
            for j in range(p.w.out):
                divisor[j] = plan.h_count[i] * plan.w_count[j]
                if p.divisor_override:
                    divisor[j] = <double> p.divisor_override
            if backward:
                p.kernels.avg_pool_row_backward(&row)
            else:
                p.kernels.avg_pool_row(&row)
        elif backward:
            if p.kernels.max_pool_row_backward(&row) != 0:
                status = INDEX_OUT_OF_RANGE
        else:
            p.kernels.max_pool_row(&row)
    return status


cdef int forward_rows(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """Channels last: some rows, all channels."""
    cdef Plan *plan = <Plan *> context
    cdef fc_size i0 = task % plan.row_tasks * ROWS
    return run_rows(plan, task // plan.row_tasks, 0, plan.p.channels, i0,
                    min(i0 + ROWS, plan.p.h.out), False, <double *> scratch)


cdef int forward_plane(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef Plan *plan = <Plan *> context
    return run_rows(plan, task // plan.p.channels, task % plan.p.channels, 1, 0, plan.p.h.out,
                    False, <double *> scratch)


cdef int backward_planes(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """Windows overlap, so a task owns whole planes: as many as are read together."""
    cdef Plan *plan = <Plan *> context
    cdef fc_size c0 = task % plan.channel_blocks * plan.block_channels
    return run_rows(plan, task // plan.channel_blocks, c0,
                    min(plan.block_channels, plan.p.channels - c0), 0, plan.p.h.out, True,
                    <double *> scratch)


cdef double work(const Pool *p) noexcept nogil:
    """Elements read, of the windows or of the input, whichever is more."""
    cdef double outputs = <double> p.batch * p.channels * p.h.out * p.w.out
    cdef double window = 1 if p.h.adaptive else <double> p.h.kernel * p.w.kernel
    return max(outputs * window, <double> p.batch * p.channels * p.h.size * p.w.size)


cdef int pool(const Pool *p, int num_threads) noexcept nogil:
    cdef Plan plan
    cdef bint channels_last = p.x_c == p.kernels.itemsize and p.channels > 1
    cdef int status = prepare(&plan, p)
    if status == OK:
        plan.row_tasks = ceil_div(p.h.out, ROWS)
        status = parallel_for(forward_rows if channels_last else forward_plane, &plan,
                              p.batch * (plan.row_tasks if channels_last else p.channels),
                              p.w.out * sizeof(double), work(p), num_threads)
        release(<char *> plan.h_start)
    return status


cdef int pool_backward(const Pool *p, int num_threads) noexcept nogil:
    """Adds to x, which holds zeros or a gradient to be added to."""
    cdef Plan plan
    cdef fc_size size = p.kernels.itemsize
    cdef bint channels_last = p.x_c == size and p.channels > 1
    cdef int status = prepare(&plan, p)
    if status == OK:
        plan.block_channels = CHANNEL_BYTES // size if channels_last else 1
        plan.channel_blocks = ceil_div(p.channels, plan.block_channels)
        status = parallel_for(backward_planes, &plan, p.batch * plan.channel_blocks,
                              p.w.out * sizeof(double), work(p), num_threads)
        release(<char *> plan.h_start)
    return status
