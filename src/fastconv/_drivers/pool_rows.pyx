"""Pooling by rows: those of a window are folded into one row, then windows slide along it."""

from libc.stdint cimport int64_t

from fastconv._drivers.axis cimport AXES, Axis, D, H, W
from fastconv._drivers.blocking cimport POOL_MAX_EVEN_TAPS, ceil_div
from fastconv._drivers.kernels cimport FC_FLOAT64, fc_kernels, fc_pool_slide, fc_size
from fastconv._drivers.pool cimport Pool
from fastconv._drivers.pool_blocks cimport (
    RowBlock, RowBlocks, find_block, halve_columns, lies_in_rows, number_of_tasks, share_rows)
from fastconv._drivers.pool_common cimport (
    AxisWindows, Span, clip_windows, fill_divisors, inputs_under, max_inputs_under, pixel_at,
    read_pixels, release_windows, reserve, rows_of_window, work,
    write_pixels)
from fastconv._drivers.runtime cimport OK, kernels, parallel_for


ctypedef struct PoolRowsPlan:
    const Pool *pool
    AxisWindows windows[AXES]
    RowBlocks blocks  # of outputs
    Span whole            # output columns whose windows lie inside the image as a whole;
    fc_size taps, stride  # they are so long and so far apart
    bint x_in_rows, y_in_rows, indices_in_rows
    # scratch: folded row | the rows its maxima are in | rows of x | of y | of indices | divisors |
    # the kernel's own
    fc_size row_at, found_at, x_at, y_at, indices_at, divisors_at, kernel_at, scratch_bytes


cdef void find_whole_windows(PoolRowsPlan *plan) noexcept nogil:
    cdef Axis a = plan.pool.axis[W]
    cdef fc_size reach
    plan.whole.start = plan.whole.end = 0
    plan.taps = plan.stride = 1
    if plan.pool.adaptive:
        if a.size % a.out or a.size // a.out > POOL_MAX_EVEN_TAPS:
            return
        a.kernel = a.stride = a.size // a.out  # they come out even, as ordinary windows
        a.pad_before = 0
        a.dilation = 1
    reach = (a.kernel - 1) * a.dilation + 1
    plan.taps, plan.stride = a.kernel, a.stride
    plan.whole.start = plan.whole.end = min(ceil_div(a.pad_before, a.stride), a.out)
    if a.size + a.pad_before >= reach:
        plan.whole.end = min((a.size + a.pad_before - reach) // a.stride + 1, a.out)
        plan.whole.end = max(plan.whole.end, plan.whole.start)


cdef void lay_out_scratch(PoolRowsPlan *plan) noexcept nogil:
    cdef const Pool *p = plan.pool
    cdef fc_size outputs = plan.blocks.block_columns, inner = plan.blocks.inner, lines = 0, i
    cdef fc_size size = p.kernels.itemsize, real_size = p.kernels.real_size, elements
    cdef fc_size *nbytes = &plan.scratch_bytes
    cdef bint indices = p.indices.data != NULL
    elements = max_inputs_under(&p.axis[W], p.adaptive, outputs) * inner
    if not plan.x_in_rows:  # a window's rows are copied side by side
        for i in range(p.axis[H].out):
            lines = max(lines, rows_of_window(&plan.windows[H], i))
    nbytes[0] = 0
    plan.row_at = reserve(nbytes, elements * size)
    plan.found_at = reserve(nbytes, elements * real_size if indices else 0)
    plan.x_at = reserve(nbytes, lines * elements * size)
    plan.y_at = reserve(nbytes, 0 if plan.y_in_rows else outputs * inner * size)
    plan.indices_at = reserve(nbytes, 0 if plan.indices_in_rows or not indices
                              else outputs * inner * sizeof(int64_t))
    plan.divisors_at = reserve(nbytes, outputs * sizeof(double) if p.average else 0)
    plan.kernel_at = reserve(nbytes, 2 * max(inner, outputs) * real_size if indices else 0)


cdef int make_plan(PoolRowsPlan *plan, const Pool *p) noexcept nogil:
    cdef int status = clip_windows(p, plan.windows)
    if status != OK:
        return status
    plan.pool = p
    plan.blocks = share_rows(p, p.axis[D].out, p.axis[H].out, p.axis[W].out)
    plan.x_in_rows = lies_in_rows(&plan.blocks, p, &p.x, p.kernels.itemsize)
    plan.y_in_rows = lies_in_rows(&plan.blocks, p, &p.y, p.kernels.itemsize)
    plan.indices_in_rows = lies_in_rows(&plan.blocks, p, &p.indices, sizeof(int64_t))
    find_whole_windows(plan)
    lay_out_scratch(plan)
    while halve_columns(&plan.blocks, p, plan.scratch_bytes):
        lay_out_scratch(plan)
    return OK


cdef fc_pool_slide make_slide(const PoolRowsPlan *plan, const RowBlock *b, Span inputs,
                              char *scratch) noexcept nogil:
    """All but where outputs go, for windows of several rows."""
    cdef const Pool *p = plan.pool
    cdef const AxisWindows *w = &plan.windows[W]
    cdef fc_size left = b.columns.start
    cdef fc_size column_0 = inputs.start * b.channels  # of the image, so far before the rows
    cdef fc_pool_slide s
    s.row = scratch + plan.row_at - column_0 * p.kernels.itemsize
    s.at = s.out = s.indices = NULL
    s.row_number = 0
    if p.indices.data != NULL:
        s.at = scratch + plan.found_at - column_0 * p.kernels.real_size
    s.scratch = scratch + plan.kernel_at
    s.start, s.end, s.step = w.start + left, w.end + left, w.step
    s.divisor = <double *> (scratch + plan.divisors_at)
    s.width, s.out_width, s.inner = p.axis[W].size, b.columns.end - left, b.channels
    s.lo = max(0, min(plan.whole.start - left, s.out_width))
    s.hi = max(0, min(plan.whole.end - left, s.out_width))
    s.stride, s.taps = plan.stride, plan.taps
    return s


cdef void fold_slice(const PoolRowsPlan *plan, const RowBlock *b, fc_size slice, fc_size i,
                     const char *x, fc_size width, bint first, char *scratch) noexcept nogil:
    """Those rows of output row i's windows that are in one slice, to what was folded before.

    x is row 0 of the slice, at the columns that they need.
    """
    cdef const Pool *p = plan.pool
    cdef const AxisWindows *h = &plan.windows[H]
    cdef fc_size start = h.start[i], end = h.end[i], n = width * b.channels
    cdef fc_size next = h.step * p.x.stride[H], row_0 = slice * p.axis[H].size, line, k
    cdef char *row = scratch + plan.row_at
    x += start * p.x.stride[H]
    if not plan.x_in_rows:
        line = n * p.kernels.itemsize
        for k in range(rows_of_window(h, i)):
            read_pixels(p.kernels, scratch + plan.x_at + k * line, &p.x, x + k * next, width,
                        b.channels)
        x, next = scratch + plan.x_at, line
    if p.average:
        p.kernels.add_fold(row, x, next, n, end - start, first)  # averages have no dilation
    else:
        p.kernels.max_fold(row, scratch + plan.found_at if p.indices.data != NULL else NULL, x,
                           next, n, row_0 + start, row_0 + end, h.step, first)


cdef void fold(const PoolRowsPlan *plan, const RowBlock *b, fc_size d, fc_size i, const char *x,
               fc_size width, char *scratch) noexcept nogil:
    """All rows of the windows of row i of slice d to one; x is the first slice of theirs."""
    cdef const AxisWindows *slices = &plan.windows[D]
    cdef fc_size first = slices.start[d], slice = first
    while slice < slices.end[d]:
        fold_slice(plan, b, slice, i, x + (slice - first) * plan.pool.x.stride[D], width,
                   slice == first, scratch)
        slice += slices.step


cdef void forward_slice(const PoolRowsPlan *plan, const RowBlock *b, fc_size d,
                        fc_pool_slide *s, Span inputs, char *scratch) noexcept nogil:
    """Some rows of one slice of outputs; s is left as it is."""
    cdef const Pool *p = plan.pool
    cdef const fc_kernels *of_indices = kernels(FC_FLOAT64)  # which are as wide
    cdef const AxisWindows *h = &plan.windows[H]
    cdef fc_size left = b.columns.start, outputs = b.columns.end - left, i
    cdef fc_size slice = plan.windows[D].start[d], slice_end = plan.windows[D].end[d]
    cdef bint no_slice = slice >= slice_end
    # a window's single row is read in place, if it lies as a folded one would
    cdef bint in_place = plan.x_in_rows and slice_end - slice <= plan.windows[D].step
    cdef fc_size column_0 = inputs.start * b.channels * p.kernels.itemsize
    cdef void *row = s.row
    cdef const void *at = s.at
    cdef const fc_size *end = s.end
    cdef fc_size whole_end = s.hi
    cdef double count = -1  # of a window's rows, that the divisors are for
    # rows of a small plane are few instructions apart: what they share is worked out before
    cdef const char *x = pixel_at(&p.x, b.n, b.c, slice, 0, inputs.start)
    cdef char *y = pixel_at(&p.y, b.n, b.c, d, b.rows.start, left)
    cdef char *y_indices = NULL
    cdef bint indices = p.indices.data != NULL
    if indices:
        y_indices = pixel_at(&p.indices, b.n, b.c, d, b.rows.start, left)
    for i in range(b.rows.start, b.rows.end):
        s.out = y if plan.y_in_rows else scratch + plan.y_at
        if indices:
            s.indices = <int64_t *> (y_indices if plan.indices_in_rows
                                     else scratch + plan.indices_at)
        if no_slice or h.start[i] >= h.end[i]:
            s.end, s.hi = s.start, s.lo  # windows without rows are empty whatever their columns
        else:
            s.end, s.hi = end, whole_end
            if in_place and h.end[i] - h.start[i] <= h.step:
                s.row, s.at = <void *> (x + h.start[i] * p.x.stride[H] - column_0), NULL
                s.row_number = slice * p.axis[H].size + h.start[i]
            else:
                s.row, s.at = row, at
                fold(plan, b, d, i, x, inputs.end - inputs.start, scratch)
        if p.average:
            if h.count[i] != count:
                count = h.count[i]
                fill_divisors(p, plan.windows, d, i, b.columns,
                              <double *> (scratch + plan.divisors_at))
            p.kernels.mean_slide(s)
        else:
            p.kernels.max_slide(s)
        if not plan.y_in_rows:
            write_pixels(p.kernels, &p.y, y, s.out, outputs, b.channels)
        if indices and not plan.indices_in_rows:
            write_pixels(of_indices, &p.indices, y_indices, s.indices, outputs, b.channels)
        y += p.y.stride[H]
        if indices:
            y_indices += p.indices.stride[H]
    s.row, s.at, s.end, s.hi = row, at, end, whole_end


cdef int forward_block(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef const PoolRowsPlan *plan = <PoolRowsPlan *> context
    cdef RowBlock b = find_block(&plan.blocks, plan.pool, task)
    cdef Span inputs = inputs_under(&plan.pool.axis[W], plan.pool.adaptive, b.columns)
    cdef fc_pool_slide windows
    cdef fc_size d
    while b.c < b.c_end:
        windows = make_slide(plan, &b, inputs, scratch)
        for d in range(b.slices.start, b.slices.end):
            forward_slice(plan, &b, d, &windows, inputs, scratch)
        b.c += plan.blocks.inner
    return OK


cdef int run_forward(const Pool *p, int num_threads) noexcept nogil:
    cdef PoolRowsPlan plan
    cdef int status = make_plan(&plan, p)
    if status == OK:
        status = parallel_for(forward_block, &plan, number_of_tasks(&plan.blocks, p),
                              plan.scratch_bytes, work(p), num_threads)
        release_windows(plan.windows)
    return status
