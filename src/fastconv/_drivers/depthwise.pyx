"""Depthwise convolution: every channel has one filter of its own.

The work is bounded by memory, not by multiplications, so nothing is packed or copied: a task takes
some rows of an image (channels contiguous: all channels at once) or some planes (columns
contiguous) and works on them in place.
"""

from libc.string cimport memset

from fastconv._drivers.correlation cimport Correlation, ceil_div, multiply_adds, part
from fastconv._drivers.kernels cimport (
    fc_depthwise_row, fc_depthwise_weight_row, fc_kernels, fc_size)
from fastconv._drivers.runtime cimport OK, OUT_OF_MEMORY, allocate, parallel_for, release


cdef enum:
    ROWS = 4           # output rows of a channels-last task
    MOST_TAPS = 64     # rows or columns of a filter
    WEIGHT_TASKS = 16  # pieces of the channels for the weight gradient


ctypedef struct Plan:
    Correlation c
    char *w             # channels last: [taps_h][taps_w][groups]; else [groups][taps_h][taps_w]
    fc_size row_tasks
    fc_size blocks, vectors, per_vector  # of channels, for the weight gradient
    bint row_buffer     # output columns are not contiguous: a row goes through scratch
    fc_size scratch_bytes


cdef inline bint channels_last(const Correlation *c) noexcept nogil:
    return c.x_g == c.kernels.itemsize and c.y_g == c.kernels.itemsize


cdef bint is_depthwise(const Correlation *c, bint weight_gradient) noexcept nogil:
    """Whether this module takes it: one channel per group, and a stride that vectors can follow."""
    cdef fc_size size = c.kernels.itemsize
    return (c.channels == 1 and c.filters == 1 and c.groups > 1
            and c.taps_h <= MOST_TAPS and c.taps_w <= MOST_TAPS
            and (channels_last(c) or (c.x_w == size and (c.y_w == size or not weight_gradient))))


cdef void tap_rows(const Correlation *c, const char *x, fc_size i, const void **rows) noexcept nogil:
    """The input row under each filter row of output row i, NULL beyond the border."""
    cdef fc_size r, row
    for r in range(c.taps_h):
        row = c.row0 + i * c.step_h + r * c.row_d
        rows[r] = x + row * c.x_h if 0 <= row < c.height else NULL


cdef void common_row(const Plan *p, fc_depthwise_row *row, const void **rows) noexcept nogil:
    cdef const Correlation *c = &p.c
    row.rows = rows
    row.taps_h = c.taps_h
    row.taps_w = c.taps_w
    row.x_c = c.x_g
    row.x_w = c.x_w
    row.width = c.width
    row.col0 = c.col0
    row.step = c.step_w
    row.col_dx = c.col_d
    row.out_c = c.y_g
    row.out_w = c.y_w
    row.out_width = c.out_w
    row.relu = c.relu


cdef int rows_nhwc(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef Plan *p = <Plan *> context
    cdef Correlation *c = &p.c
    cdef fc_size n = task // p.row_tasks, i0 = task % p.row_tasks * ROWS, i
    cdef const void *rows[MOST_TAPS]
    cdef fc_depthwise_row row
    common_row(p, &row, rows)
    row.w = p.w
    row.bias = c.bias
    row.channels = c.groups
    for i in range(i0, min(i0 + ROWS, c.out_h)):
        tap_rows(c, c.x + n * c.x_n, i, rows)
        row.out = c.y + n * c.y_n + i * c.y_h
        c.kernels.depthwise_row_nhwc(&row)
    return OK


cdef int plane_nchw(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef Plan *p = <Plan *> context
    cdef Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize
    cdef fc_size n = task // c.groups, g = task % c.groups, i
    cdef const char *x = c.x + n * c.x_n + g * c.x_g
    cdef char *y = c.y + n * c.y_n + g * c.y_g
    cdef const void *rows[MOST_TAPS]
    cdef fc_depthwise_row row
    common_row(p, &row, rows)
    row.w = p.w + g * c.taps_h * c.taps_w * size
    row.bias = NULL if c.bias == NULL else c.bias + g * size
    row.channels = 1
    for i in range(c.out_h):
        tap_rows(c, x, i, rows)
        row.out = scratch if p.row_buffer else y + i * c.y_h
        c.kernels.depthwise_row_nchw(&row)
        if p.row_buffer:
            c.kernels.copy2d(y + i * c.y_h, 0, c.y_w, scratch, 0, size, 1, c.out_w)
    return OK


cdef int correlate(const Correlation *correlation, int num_threads) noexcept nogil:
    cdef Plan p
    cdef Correlation *c = &p.c
    cdef int status
    cdef fc_size r, s, size, tasks
    cdef bint last = channels_last(correlation)
    cdef char *to
    c[0] = correlation[0]
    size = c.kernels.itemsize
    if c.batch * c.groups * c.out_h * c.out_w == 0:
        return OK
    p.w = allocate(c.groups * c.taps_h * c.taps_w * size)
    if p.w == NULL:
        return OUT_OF_MEMORY
    for r in range(c.taps_h):
        for s in range(c.taps_w):
            to = p.w + (r * c.taps_w + s) * size * (c.groups if last else 1)
            c.kernels.copy2d(to, 0, size if last else c.taps_h * c.taps_w * size,
                             c.w + r * c.w_h + s * c.w_w, 0, c.w_g, 1, c.groups)
    p.row_tasks = ceil_div(c.out_h, ROWS)
    p.row_buffer = not last and c.y_w != size
    tasks = c.batch * (p.row_tasks if last else c.groups)
    status = parallel_for(rows_nhwc if last else plane_nchw, &p, tasks,
                          c.out_w * size if p.row_buffer else 0,
                          multiply_adds(c), num_threads)
    release(p.w)
    return status


# ---------------------------------------------------------------- weight gradient

cdef int weight_channels(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """The filters of a block of channels, summed over every row of every image.

    A row's sum joins an image's, an image's the total: short chains keep the rounding small.
    """
    cdef Plan *p = <Plan *> context
    cdef Correlation *c = &p.c
    cdef const fc_kernels *kernels = c.kernels
    cdef fc_size size = kernels.itemsize
    cdef fc_size g0 = part(p.vectors, p.blocks, task) * p.per_vector
    cdef fc_size channels = min(part(p.vectors, p.blocks, task + 1) * p.per_vector, c.groups) - g0
    cdef fc_size n, i, r, at, taps = c.taps_h * c.taps_w
    cdef bint last = channels_last(c)
    cdef char *dw = scratch  # [taps_h][taps_w][channels]
    cdef fc_depthwise_weight_row row
    memset(dw, 0, taps * channels * size)
    row.x_c = c.x_g
    row.x_w = c.x_w
    row.width = c.width
    row.dy_c = c.y_g
    row.dy_w = c.y_w
    row.dy_width = c.out_w
    row.col0 = c.col0
    row.step = c.step_w
    row.col_dx = c.col_d
    row.taps_w = c.taps_w
    row.channels = channels
    for n in range(c.batch):
        for i in range(c.out_h):
            for r in range(c.taps_h):
                at = c.row0 + i * c.step_h + r * c.row_d
                if at < 0 or at >= c.height:
                    continue
                row.x = c.x + n * c.x_n + g0 * c.x_g + at * c.x_h
                row.dy = c.y + n * c.y_n + g0 * c.y_g + i * c.y_h
                row.dw = dw + r * c.taps_w * channels * size
                if last:
                    kernels.depthwise_weight_row_nhwc(&row)
                else:
                    kernels.depthwise_weight_row_nchw(&row)
    for r in range(taps):
        kernels.copy2d(<char *> c.w + g0 * c.w_g + r // c.taps_w * c.w_h + r % c.taps_w * c.w_w,
                       0, c.w_g, dw + r * channels * size, 0, size, 1, channels)
    return OK


cdef int correlate_weight(const Correlation *correlation, int num_threads) noexcept nogil:
    """w from x and y; the correlation's w is written, not read."""
    cdef Plan p
    cdef Correlation *c = &p.c
    c[0] = correlation[0]
    p.per_vector = c.kernels.lanes if channels_last(c) else 1
    p.vectors = ceil_div(c.groups, p.per_vector)
    p.blocks = min(p.vectors, WEIGHT_TASKS) if channels_last(c) else c.groups
    cdef fc_size widest = ceil_div(p.vectors, p.blocks) * p.per_vector
    return parallel_for(weight_channels, &p, p.blocks,
                        c.taps_h * c.taps_w * widest * c.kernels.itemsize,
                        multiply_adds(c), num_threads)
