"""The gradient of averages: spread over rows, as pool_rows.pyx backward.

Each row of outputs is spread over one row, every output over the columns of its window; a row of x
is the sum of those whose windows cover it.
"""

from fastconv._drivers.axis cimport AXES, Axis, D, H, W
from fastconv._drivers.blocking cimport POOL_MAX_SPREAD_TAPS
from fastconv._drivers.kernels cimport fc_pool_slide, fc_size
from fastconv._drivers.pool cimport Pool
from fastconv._drivers.pool_blocks cimport (
    RowBlock, RowBlocks, find_block, halve_columns, lies_in_rows, number_of_tasks, share_rows)
from fastconv._drivers.pool_common cimport (
    AxisWindows, Span, clear_pixels, clip_windows, fill_divisors, pixel_at, read_pixels,
    release_windows, reserve, work, write_pixels)
from fastconv._drivers.runtime cimport OK, parallel_for


ctypedef struct PoolSpreadPlan:
    const Pool *pool
    AxisWindows windows[AXES]
    RowBlocks blocks  # of x
    bint x_in_rows, y_in_rows
    bint regular      # single columns, whose windows are evenly spaced
    # scratch: spread row | row of x | of y | divisors | the kernel's own | windows of a block
    fc_size row_at, x_at, y_at, divisors_at, kernel_at, starts_at, ends_at, scratch_bytes


cdef Span outputs_over(const AxisWindows *a, Span inputs) noexcept nogil:
    """Outputs whose windows reach into some inputs; averages have no dilation."""
    cdef Span outputs
    outputs.start = 0
    while outputs.start < a.out and a.end[outputs.start] <= inputs.start:
        outputs.start += 1
    outputs.end = outputs.start
    while outputs.end < a.out and a.start[outputs.end] < inputs.end:
        outputs.end += 1
    return outputs


cdef fc_size max_outputs_over(const AxisWindows *a, fc_size size, fc_size block) noexcept nogil:
    """The most outputs over a block of inputs."""
    cdef fc_size most = 0
    cdef Span inputs, outputs
    inputs.start = 0
    while inputs.start < size:
        inputs.end = min(inputs.start + block, size)
        outputs = outputs_over(a, inputs)
        most = max(most, outputs.end - outputs.start)
        inputs.start = inputs.end
    return most


cdef void lay_out_scratch(PoolSpreadPlan *plan) noexcept nogil:
    cdef fc_size inputs = plan.blocks.block_columns, inner = plan.blocks.inner
    cdef fc_size size = plan.pool.kernels.itemsize, row = inputs * inner * size
    cdef fc_size outputs = max_outputs_over(&plan.windows[W], plan.blocks.columns, inputs)
    cdef fc_size *nbytes = &plan.scratch_bytes
    cdef const Axis *w
    cdef fc_size kernel_reals
    nbytes[0] = 0
    plan.row_at = reserve(nbytes, row)
    plan.x_at = reserve(nbytes, 0 if plan.x_in_rows else row)
    plan.y_at = reserve(nbytes, 0 if plan.y_in_rows else outputs * inner * size)
    plan.divisors_at = reserve(nbytes, outputs * sizeof(double))
    kernel_reals = inner
    if plan.regular:  # as fc_pool_slide says
        w = &plan.pool.axis[W]
        kernel_reals = outputs + 2 * inputs + 4 * w.kernel
        kernel_reals += (6 * w.stride + 4) * plan.pool.kernels.lanes
    plan.kernel_at = reserve(nbytes, kernel_reals * plan.pool.kernels.real_size)
    plan.starts_at = reserve(nbytes, outputs * sizeof(fc_size))
    plan.ends_at = reserve(nbytes, outputs * sizeof(fc_size))


cdef int make_plan(PoolSpreadPlan *plan, const Pool *p) noexcept nogil:
    cdef int status = clip_windows(p, plan.windows)
    if status != OK:
        return status
    plan.pool = p
    plan.blocks = share_rows(p, p.axis[D].size, p.axis[H].size, p.axis[W].size)
    plan.regular = (plan.blocks.inner == 1 and not p.adaptive
                    and p.axis[W].kernel <= POOL_MAX_SPREAD_TAPS
                    and p.axis[W].stride <= p.kernels.lanes
                    # rows of several vectors, each of which takes as many steps to lay out
                    and p.axis[W].stride * p.kernels.lanes <= 2 * p.axis[W].size)
    plan.x_in_rows = lies_in_rows(&plan.blocks, p, &p.x, p.kernels.itemsize)
    plan.y_in_rows = lies_in_rows(&plan.blocks, p, &p.y, p.kernels.itemsize)
    lay_out_scratch(plan)
    while halve_columns(&plan.blocks, p, plan.scratch_bytes):
        lay_out_scratch(plan)
    return OK


cdef fc_pool_slide make_slide(const PoolSpreadPlan *plan, const RowBlock *b, Span outputs,
                              char *scratch) noexcept nogil:
    """All but the outputs and their channels; windows count from the block's first column."""
    cdef const AxisWindows *w = &plan.windows[W]
    cdef fc_size *starts = <fc_size *> (scratch + plan.starts_at)
    cdef fc_size *ends = <fc_size *> (scratch + plan.ends_at)
    cdef fc_size j
    cdef fc_pool_slide s
    for j in range(outputs.start, outputs.end):
        starts[j - outputs.start] = max(w.start[j], b.columns.start) - b.columns.start
        ends[j - outputs.start] = min(w.end[j], b.columns.end) - b.columns.start
    s.row, s.scratch = scratch + plan.row_at, scratch + plan.kernel_at
    s.at = s.out = s.indices = NULL
    s.start, s.end, s.step = starts, ends, w.step
    s.divisor = <double *> (scratch + plan.divisors_at)
    s.width, s.out_width = b.columns.end - b.columns.start, outputs.end - outputs.start
    s.inner = b.channels
    s.row_number = s.lo = s.hi = s.taps = s.stride = 0
    if plan.regular:
        s.taps, s.stride = plan.pool.axis[W].kernel, plan.pool.axis[W].stride
        s.lo = outputs.start * s.stride - plan.pool.axis[W].pad_before - b.columns.start
    return s


cdef inline void add_row(const PoolSpreadPlan *plan, const RowBlock *b, char *x, fc_size width,
                         const void *row, bint first, char *scratch) noexcept nogil:
    """Add a spread row to a row of x, or, the first one, write it there."""
    cdef const Pool *p = plan.pool
    cdef char *to = x if plan.x_in_rows else scratch + plan.x_at
    if x == row:  # it was spread right there
        return
    if not plan.x_in_rows and not first:
        read_pixels(p.kernels, to, &p.x, x, width, b.channels)
    p.kernels.add_fold(to, row, 0, width * b.channels, 1, first)
    if not plan.x_in_rows:
        write_pixels(p.kernels, &p.x, x, to, width, b.channels)


cdef void clear_rows(const PoolSpreadPlan *plan, const RowBlock *b, Span slices, fc_size start,
                     fc_size end) noexcept nogil:
    cdef fc_size d, h
    for d in range(slices.start, slices.end):
        for h in range(start, end):
            clear_pixels(plan.pool, pixel_at(&plan.pool.x, b.n, b.c, d, h, b.columns.start),
                         b.columns.end - b.columns.start, b.channels)


cdef void backward_slice(const PoolSpreadPlan *plan, const RowBlock *b, fc_size d, Span slices,
                         fc_size written_slices, Span outputs, fc_pool_slide *s,
                         char *scratch) noexcept nogil:
    """Slice d of y to `slices`, of which those from `written_slices` on hold nothing yet."""
    cdef const Pool *p = plan.pool
    cdef const AxisWindows *rows = &plan.windows[H]
    cdef Span over = outputs_over(rows, b.rows), fresh
    cdef fc_size written = b.rows.start, i, h, z, start, end  # rows before `written` hold something
    cdef fc_size width = b.columns.end - b.columns.start
    cdef double count = -1  # of a window's rows, that the divisors are for
    # rows of a small plane are few instructions apart: what they share is worked out before
    cdef char *x = pixel_at(&p.x, b.n, b.c, 0, 0, b.columns.start)
    cdef char *y = pixel_at(&p.y, b.n, b.c, d, over.start, outputs.start)
    cdef char *slice
    fresh.start, fresh.end = max(slices.start, written_slices), slices.end
    for i in range(over.start, over.end):
        start, end = max(b.rows.start, rows.start[i]), min(b.rows.end, rows.end[i])
        s.out = y if plan.y_in_rows else scratch + plan.y_at
        if not plan.y_in_rows:
            read_pixels(p.kernels, scratch + plan.y_at, &p.y, y, s.out_width, b.channels)
        if rows.count[i] != count:
            count = rows.count[i]
            fill_divisors(p, plan.windows, d, i, outputs, <double *> (scratch + plan.divisors_at))
        s.row = scratch + plan.row_at
        if plan.x_in_rows and start >= written and end > start and fresh.end > fresh.start:
            s.row = x + fresh.start * p.x.stride[D] + start * p.x.stride[H]
        p.kernels.mean_spread(s)
        clear_rows(plan, b, fresh, written, start)
        for z in range(slices.start, slices.end):
            slice = x + z * p.x.stride[D]
            for h in range(start, end):
                add_row(plan, b, slice + h * p.x.stride[H], width, s.row,
                        h >= written and z >= fresh.start, scratch)
        written = max(written, end)
        y += p.y.stride[H]
    clear_rows(plan, b, fresh, written, b.rows.end)


cdef void backward_slices(const PoolSpreadPlan *plan, const RowBlock *b, Span outputs,
                          fc_pool_slide *s, char *scratch) noexcept nogil:
    cdef const AxisWindows *windows = &plan.windows[D]
    cdef Span over = outputs_over(windows, b.slices), slices, left_out
    cdef fc_size written = b.slices.start, d  # slices before `written` hold something
    for d in range(over.start, over.end + 1):
        slices.start = slices.end = b.slices.end
        if d < over.end:
            slices.start = max(b.slices.start, windows.start[d])
            slices.end = min(b.slices.end, windows.end[d])
        left_out.start, left_out.end = written, slices.start
        clear_rows(plan, b, left_out, b.rows.start, b.rows.end)
        written = max(written, slices.start)
        if d < over.end:
            backward_slice(plan, b, d, slices, written, outputs, s, scratch)
            written = max(written, slices.end)


cdef int backward_block(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef const PoolSpreadPlan *plan = <PoolSpreadPlan *> context
    cdef RowBlock b = find_block(&plan.blocks, plan.pool, task)
    cdef Span outputs = outputs_over(&plan.windows[W], b.columns)
    cdef fc_pool_slide s = make_slide(plan, &b, outputs, scratch)
    while b.c < b.c_end:
        backward_slices(plan, &b, outputs, &s, scratch)
        b.c += plan.blocks.inner
    return OK


cdef int run_backward(const Pool *p, int num_threads) noexcept nogil:
    cdef PoolSpreadPlan plan
    cdef int status = make_plan(&plan, p)
    if status == OK:
        status = parallel_for(backward_block, &plan, number_of_tasks(&plan.blocks, p),
                              plan.scratch_bytes, work(p), num_threads)
        release_windows(plan.windows)
    return status
