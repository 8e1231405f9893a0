"""Depthwise convolution: every channel has one filter of its own.

The work is bounded by memory, not by multiplications. With contiguous channels a task takes some
rows of an image, all channels at once, and works in place; otherwise it takes a block of rows of
one plane, copied to the cache as one long row with its border of zeros.
"""

from libc.string cimport memset

from fastconv._drivers.correlation cimport (
    Correlation, ceil_div, work, part, round_up, valid)
from fastconv._drivers.kernels cimport (
    fc_depthwise_flat, fc_depthwise_flat_grad, fc_depthwise_row,
    fc_depthwise_weight_row, fc_kernels, fc_size)
from fastconv._drivers.runtime cimport OK, OUT_OF_MEMORY, allocate, parallel_for, release


cdef enum:
    ROWS = 4           # output rows of a channels-last task
    MOST_TAPS = 64     # rows or columns of a filter
    MOST_STEP = 4      # of a plane laid out as one row: it is dealt out into step * step pieces
    MOST_REACH = 256   # of a filter over such a plane
    FLAT_BYTES = 32 * 1024  # of such a plane: with its result, it stays in L1
    WEIGHT_TASKS = 16  # pieces of the channels for the weight gradient


ctypedef struct Plan:
    Correlation c
    char *w             # channels last: [taps_h][taps_w][groups]; else [groups][taps_h][taps_w]
    fc_size row_tasks
    fc_size blocks, vectors       # of channels, for the weight gradient
    # planes as one long row
    fc_size *at                   # distance of each tap, in elements
    fc_size cols, extra_rows      # columns of the layout; rows of it beyond the outputs'
    fc_size block_rows, blocks_h
    fc_size plane                 # elements of a dealt-out piece
    fc_size out_at
    fc_size scratch_bytes


cdef inline bint channels_last(const Correlation *c) noexcept nogil:
    return c.x_g == c.kernels.itemsize and c.y_g == c.kernels.itemsize


cdef bint is_depthwise(const Correlation *c) noexcept nogil:
    """Whether this module takes it: one channel per group, taps and steps of moderate reach."""
    return (c.channels == 1 and c.filters == 1 and c.groups > 1
            and 0 < c.taps_h <= MOST_TAPS and 0 < c.taps_w <= MOST_TAPS
            and (channels_last(c)
                 or (c.step_h <= MOST_STEP and c.step_w <= MOST_STEP
                     and c.taps_h * c.row_d <= MOST_REACH
                     and c.taps_w * c.col_d <= MOST_REACH)))


cdef void tap_rows(const Correlation *c, const char *x, fc_size i,
                   const void **rows) noexcept nogil:
    """The input row under each filter row of output row i, NULL beyond the border."""
    cdef fc_size r, row
    for r in range(c.taps_h):
        row = c.row0 + i * c.step_h + r * c.row_d
        rows[r] = x + row * c.x_h if 0 <= row < c.height else NULL


cdef int rows_nhwc(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef Plan *p = <Plan *> context
    cdef Correlation *c = &p.c
    cdef fc_size n = task // p.row_tasks, i0 = task % p.row_tasks * ROWS, i
    cdef const void *rows[MOST_TAPS]
    cdef fc_depthwise_row row
    row.rows = rows
    row.taps_h, row.taps_w = c.taps_h, c.taps_w
    row.x_w = c.x_w
    row.width = c.width
    row.col0, row.step, row.col_dx = c.col0, c.step_w, c.col_d
    row.w = p.w
    row.bias = c.bias
    row.out_w = c.y_w
    row.out_width = c.out_w
    row.channels = c.groups
    row.relu = c.relu
    for i in range(i0, min(i0 + ROWS, c.out_h)):
        tap_rows(c, c.x + n * c.x_n, i, rows)
        row.out = c.y + n * c.y_n + i * c.y_h
        c.kernels.depthwise_row_nhwc(&row)
    return OK


# ---------------------------------------------------------------- planes as one long row
#
# A block of output rows is laid out with the columns of the padded input, so that a tap is one
# fixed distance away from every output; the columns between rows are computed too, and thrown away.
# With steps, the input is first dealt out into step_h * step_w pieces, within which a tap's
# distance is fixed again.

cdef void choose_flat(Plan *p) noexcept nogil:
    cdef Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize
    p.cols = c.out_w + (c.taps_w - 1) * c.col_d // c.step_w
    p.extra_rows = (c.taps_h - 1) * c.row_d // c.step_h
    p.block_rows = max(1, min(c.out_h, FLAT_BYTES // (c.step_h * c.step_w * p.cols * size)))
    p.blocks_h = ceil_div(c.out_h, p.block_rows)
    p.block_rows = ceil_div(c.out_h, p.blocks_h)
    # room for the whole vectors (8 of them at a time) that are read past the last output
    p.plane = (p.block_rows + p.extra_rows + 1) * p.cols + 8 * c.kernels.lanes
    p.out_at = p.plane * c.step_h * c.step_w * size
    p.scratch_bytes = p.out_at + (p.block_rows * p.cols + 8 * c.kernels.lanes) * size


cdef void tap_distances(const Plan *p, fc_size *at) noexcept nogil:
    cdef const Correlation *c = &p.c
    cdef fc_size r, s, row, col
    for r in range(c.taps_h):
        for s in range(c.taps_w):
            row = r * c.row_d
            col = s * c.col_d
            at[r * c.taps_w + s] = ((row % c.step_h * c.step_w + col % c.step_w) * p.plane
                                    + row // c.step_h * p.cols + col // c.step_w)


cdef void deal_out(const Plan *p, const char *x, fc_size i0, char *piece) noexcept nogil:
    """The input under some output rows, [step_h][step_w][rows][cols], zero beyond the border."""
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize
    cdef fc_size a, b, i, row, first, lo, hi
    cdef char *to
    memset(piece, 0, p.out_at)
    for b in range(c.step_w):
        first = c.col0 + b
        valid(first, c.step_w, c.width, p.cols, &lo, &hi)
        for a in range(c.step_h):
            to = piece + (a * c.step_w + b) * p.plane * size
            for i in range(p.block_rows + p.extra_rows):
                row = c.row0 + a + (i0 + i) * c.step_h
                if 0 <= row < c.height:
                    c.kernels.copy2d(to + (i * p.cols + lo) * size, 0, size,
                                     x + row * c.x_h + (first + lo * c.step_w) * c.x_w,
                                     0, c.step_w * c.x_w, 1, hi - lo)


cdef int plane_block(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef Plan *p = <Plan *> context
    cdef Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize
    cdef fc_size i0 = task % p.blocks_h * p.block_rows
    cdef fc_size g = task // p.blocks_h % c.groups, n = task // p.blocks_h // c.groups
    cdef fc_size rows = min(p.block_rows, c.out_h - i0)
    cdef fc_depthwise_flat flat
    deal_out(p, c.x + n * c.x_n + g * c.x_g, i0, scratch)
    flat.x = scratch
    flat.at = p.at
    flat.taps = c.taps_h * c.taps_w
    flat.w = p.w + g * flat.taps * size
    flat.out = scratch + p.out_at
    flat.n = rows * p.cols
    flat.bias = 0
    if c.bias != NULL:
        flat.bias = (<const float *> c.bias)[g] if size == 4 else (<const double *> c.bias)[g]
    flat.relu = c.relu
    c.kernels.depthwise_flat(&flat)
    c.kernels.copy2d(c.y + n * c.y_n + g * c.y_g + i0 * c.y_h, c.y_h, c.y_w,
                     flat.out, p.cols * size, size, rows, c.out_w)
    return OK


cdef int correlate(const Correlation *correlation, int num_threads) noexcept nogil:
    cdef Plan p
    cdef Correlation *c = &p.c
    cdef int status
    cdef fc_size r, s, size, tasks, w_bytes
    cdef bint last = channels_last(correlation)
    c[0] = correlation[0]
    size = c.kernels.itemsize
    w_bytes = c.groups * c.taps_h * c.taps_w * size
    w_bytes = (w_bytes + 7) // 8 * 8
    p.w = allocate(w_bytes + c.taps_h * c.taps_w * sizeof(fc_size))
    if p.w == NULL:
        return OUT_OF_MEMORY
    p.at = <fc_size *> (p.w + w_bytes)
    for r in range(c.taps_h):
        for s in range(c.taps_w):
            c.kernels.copy2d(p.w + (r * c.taps_w + s) * size * (c.groups if last else 1), 0,
                             size if last else c.taps_h * c.taps_w * size,
                             c.w + r * c.w_h + s * c.w_w, 0, c.w_g, 1, c.groups)
    if last:
        p.row_tasks = ceil_div(c.out_h, ROWS)
        tasks = c.batch * p.row_tasks
        p.scratch_bytes = 0
    else:
        choose_flat(&p)
        tap_distances(&p, p.at)
        tasks = c.batch * c.groups * p.blocks_h
    status = parallel_for(rows_nhwc if last else plane_block, &p, tasks, p.scratch_bytes,
                          work(c), num_threads)
    release(p.w)
    return status


# ---------------------------------------------------------------- weight gradient

cdef int weight_channels(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """The filters of a block of channels, summed over every row of every image."""
    cdef Plan *p = <Plan *> context
    cdef Correlation *c = &p.c
    cdef const fc_kernels *kernels = c.kernels
    cdef fc_size size = kernels.itemsize
    cdef fc_size g0 = part(p.vectors, p.blocks, task) * kernels.lanes
    cdef fc_size channels = min(part(p.vectors, p.blocks, task + 1) * kernels.lanes, c.groups) - g0
    cdef fc_size n, i, r, at, taps = c.taps_h * c.taps_w
    cdef char *dw = scratch  # [taps_h][taps_w][channels]
    cdef fc_depthwise_weight_row row
    memset(dw, 0, taps * channels * size)
    row.x_w = c.x_w
    row.width = c.width
    row.dy_w = c.y_w
    row.dy_width = c.out_w
    row.col0, row.step, row.col_dx = c.col0, c.step_w, c.col_d
    row.taps_w = c.taps_w
    row.channels = channels
    for n in range(c.batch):
        for i in range(c.out_h):
            for r in range(c.taps_h):
                at = c.row0 + i * c.step_h + r * c.row_d
                if at < 0 or at >= c.height:
                    continue
                row.x = c.x + n * c.x_n + g0 * size + at * c.x_h
                row.dy = c.y + n * c.y_n + g0 * size + i * c.y_h
                row.dw = dw + r * c.taps_w * channels * size
                kernels.depthwise_weight_row_nhwc(&row)
    for r in range(taps):
        kernels.copy2d(<char *> c.w + g0 * c.w_g + r // c.taps_w * c.w_h + r % c.taps_w * c.w_w,
                       0, c.w_g, dw + r * channels * size, 0, size, 1, channels)
    return OK


cdef int weight_planes(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """One channel's filter, summed over every block of rows of every image."""
    cdef Plan *p = <Plan *> context
    cdef Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, taps = c.taps_h * c.taps_w
    cdef fc_size n, block, i0, r
    cdef char *dw = scratch + p.scratch_bytes - round_up(taps * size)
    cdef fc_depthwise_flat_grad grad
    grad.x = scratch
    grad.at = p.at
    grad.taps = taps
    grad.dw = dw
    grad.width = c.out_w
    grad.x_row = p.cols * size
    memset(dw, 0, taps * size)
    for n in range(c.batch):
        for block in range(p.blocks_h):
            i0 = block * p.block_rows
            grad.rows = min(p.block_rows, c.out_h - i0)
            deal_out(p, c.x + n * c.x_n + task * c.x_g, i0, scratch)
            grad.dy = c.y + n * c.y_n + task * c.y_g + i0 * c.y_h
            grad.dy_row = c.y_h
            if c.y_w != size:
                c.kernels.copy2d(scratch + p.out_at, c.out_w * size, size, grad.dy, c.y_h, c.y_w,
                                 grad.rows, c.out_w)
                grad.dy = scratch + p.out_at
                grad.dy_row = c.out_w * size
            c.kernels.depthwise_flat_weight(&grad)
    for r in range(c.taps_h):
        c.kernels.copy2d(<char *> c.w + task * c.w_g + r * c.w_h, 0, c.w_w,
                         dw + r * c.taps_w * size, 0, size, 1, c.taps_w)
    return OK


cdef int correlate_weight(const Correlation *correlation, int num_threads) noexcept nogil:
    """w from x and y; the correlation's w is written, not read."""
    cdef Plan p
    cdef Correlation *c = &p.c
    cdef int status
    c[0] = correlation[0]
    cdef fc_size taps = c.taps_h * c.taps_w, size = c.kernels.itemsize
    if channels_last(c):
        p.vectors = ceil_div(c.groups, c.kernels.lanes)
        p.blocks = min(p.vectors, WEIGHT_TASKS)
        return parallel_for(weight_channels, &p, p.blocks,
                            taps * ceil_div(p.vectors, p.blocks) * c.kernels.lanes * size,
                            work(c), num_threads)
    p.at = <fc_size *> allocate(taps * sizeof(fc_size))
    if p.at == NULL:
        return OUT_OF_MEMORY
    choose_flat(&p)
    tap_distances(&p, p.at)
    p.scratch_bytes = round_up(p.scratch_bytes) + round_up(taps * size)
    status = parallel_for(weight_planes, &p, c.groups, p.scratch_bytes, work(c),
                          num_threads)
    release(<char *> p.at)
    return status
