"""Direct convolution with few filters, or short ones: pixels along the vectors.

Where filters are few (the input gradient of a first layer, small groups, LeNet), vectors of filters
would be mostly empty, but there are always pixels enough, so rows of the register tile are filters.
A block of output rows, or a part of a long one, is laid out with the columns of its padded input:
every tap is then one fixed distance away, and runs of pixels cross from row to row; what is
computed between rows is thrown away. Of a depth, the slices under one slice of outputs are laid
out.
"""

from libc.string cimport memset

from fastconv._drivers.axis cimport D, H, W
from fastconv._drivers.blocking cimport (
    FEW_FILTERS_BLOCK_BYTES, FEW_FILTERS_HELD_BYTES, FEW_FILTERS_MAX_BYTES, FEW_FILTERS_MAX_TAPS,
    FEW_FILTERS_MIN_PANELS, TASKS, ceil_div, next_index, part, plain_tile, round_up)
from fastconv._drivers.correlation cimport (
    Correlation, CorrelationAxis, find_taps_inside, input_of, inside, span, taps_of, work)
from fastconv._drivers.costs cimport columns_cost, rows_cost
from fastconv._drivers.kernels cimport FC_TILE_BIAS_PER_ROW, FC_TILE_RELU, fc_size, fc_tile
from fastconv._drivers.memory cimport allocate, release
from fastconv._drivers.outputs cimport store_outputs
from fastconv._drivers.runtime cimport OK, OUT_OF_MEMORY, parallel_for, run_once


ctypedef struct FewFiltersPlan:
    Correlation c
    # [groups][segments][filters][len]: a segment is a tap's channels, or a channel's row of taps
    const char *filters
    char *packed
    fc_size f_g, f_segment, f_k
    bint along_channels
    fc_size row_segments  # of a row of taps
    fc_size slice_segments  # of a tap of the depth
    fc_size segments, len
    fc_size cols          # of the layout
    fc_size plane         # elements of one channel and slice of it
    fc_size volume        # of all slices
    fc_size block_rows, block_cols, row_blocks, col_blocks
    fc_size held_tiles    # so many tiles of filters are computed before they are stored
    # scratch: pointers to filters | starts of segments | layout | results
    fc_size starts_at, piece_at, result_at, scratch_bytes


# ---------------------------------------------------------------- sizes, and whether they will do

cdef inline bint may_have_few_filters(const Correlation *c) noexcept nogil:
    return c.filters <= c.kernels.lanes + c.kernels.lanes // 4


cdef bint has_few_filters(const Correlation *c) noexcept nogil:
    """So few that vectors of them would cost more, and what is computed between rows costs less."""
    cdef const CorrelationAxis *w = &c.axis[W]
    cdef bint channels_last = c.x_c == c.kernels.itemsize
    cdef double columns = 1.1 * span(w, w.out) / w.out  # some for the last panel of every block
    if c.filters <= c.kernels.lanes // 2:
        return True
    return may_have_few_filters(c) and (
        columns * rows_cost(c.kernels.lanes, c.filters, taps_of(c), channels_last)
        < columns_cost(c.kernels.lanes, c.filters, taps_of(c), channels_last))


cdef inline bint has_short_filters(const Correlation *c) noexcept nogil:
    return c.channels * taps_of(c) <= 32


cdef double plane_pixels(const Correlation *c, fc_size rows, fc_size cols) noexcept nogil:
    """Of a channel of the layout under so many outputs. The last panel of pixels reads up to nr
    past the last output, and a row of taps past that."""
    cdef fc_size width = span(&c.axis[W], cols)
    return <double> span(&c.axis[H], rows) * width + width - cols + c.kernels.nr


cdef fc_size input_bytes(const Correlation *c, fc_size rows, fc_size cols) noexcept nogil:
    return <fc_size> min(1e15, plane_pixels(c, rows, cols) * c.channels * c.axis[D].taps
                         * c.kernels.itemsize)


cdef fc_size line_bytes(const Correlation *c, fc_size rows, fc_size cols) noexcept nogil:
    """What one filter makes of a block, with the columns of the layout and a vector to spare."""
    cdef double pixels = <double> rows * span(&c.axis[W], cols)
    return round_up(<fc_size> min(1e15, (pixels + c.kernels.nr) * c.kernels.itemsize))


cdef fc_size tiles_held(const Correlation *c, fc_size rows, fc_size cols) noexcept nogil:
    return max(1, FEW_FILTERS_HELD_BYTES // (c.kernels.mr * line_bytes(c, rows, cols)))


cdef fc_size result_bytes(const Correlation *c, fc_size rows, fc_size cols) noexcept nogil:
    return min(c.filters, tiles_held(c, rows, cols) * c.kernels.mr) * line_bytes(c, rows, cols)


cdef inline fc_size least_cols(const Correlation *c) noexcept nogil:
    """Of a part of a row: less would mostly be what its neighbours copy too."""
    return min(c.axis[W].out, FEW_FILTERS_MIN_PANELS * c.kernels.nr)


cdef bint is_usable(const Correlation *c) noexcept nogil:
    return (
        # few filters; or those of a first layer, whose outputs, contiguous along a row, would cost
        # as much to rearrange as to compute
        (has_few_filters(c) or has_short_filters(c) and c.axis[W].y == c.kernels.itemsize)
        # the next output is the next column
        and c.axis[H].step == 1 and c.axis[W].step == 1
        # every tap of a filter has a pointer
        and 0 < taps_of(c) <= FEW_FILTERS_MAX_TAPS
        # the least that a task can take stays in the cache
        and input_bytes(c, 1, least_cols(c)) <= FEW_FILTERS_MAX_BYTES
        and result_bytes(c, 1, least_cols(c)) <= FEW_FILTERS_MAX_BYTES)


# ---------------------------------------------------------------- filters

cdef void size_rows(FewFiltersPlan *p) noexcept nogil:
    cdef const Correlation *c = &p.c
    cdef fc_size taps_w = c.axis[W].taps
    p.along_channels = c.channels >= taps_w
    p.row_segments = taps_w if p.along_channels else c.channels
    p.len = c.channels if p.along_channels else taps_w
    p.slice_segments = c.axis[H].taps * p.row_segments
    p.segments = c.axis[D].taps * p.slice_segments
    p.f_k = p.len * c.kernels.itemsize
    p.f_segment = c.filters * p.f_k
    p.f_g = p.segments * p.f_segment


cdef fc_size rows_bytes(const Correlation *c) noexcept nogil:
    if not (may_have_few_filters(c) or has_short_filters(c)):
        return 0
    return c.groups * c.filters * c.channels * taps_of(c) * c.kernels.itemsize


cdef int pack_rows_task(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef const FewFiltersPlan *p = <const FewFiltersPlan *> context
    cdef const Correlation *c = &p.c
    cdef fc_size w = c.axis[W].w, g, d, r, s
    # from one segment of a row of taps to the next, and along a segment
    cdef fc_size next_segment = w if p.along_channels else c.w_c
    cdef fc_size along = c.w_c if p.along_channels else w
    cdef char *to = p.packed
    cdef const char *taps
    for g in range(c.groups):
        for d in range(c.axis[D].taps):
            for r in range(c.axis[H].taps):
                taps = c.w + g * c.w_g + d * c.axis[D].w + r * c.axis[H].w
                for s in range(p.row_segments):
                    c.kernels.copy2d(to, p.f_k, c.kernels.itemsize, taps + s * next_segment, c.w_k,
                                     along, c.filters, p.len)
                    to += p.f_segment
    return OK


cdef void pack_rows(const Correlation *c, char *rows) noexcept nogil:
    cdef FewFiltersPlan p
    p.c, p.packed = c[0], rows
    size_rows(&p)
    run_once(pack_rows_task, &p)


# ---------------------------------------------------------------- blocks of rows

cdef void lay_out_input(const FewFiltersPlan *p, const char *x, fc_size i0, fc_size rows,
                        fc_size j0, fc_size cols, char *piece) noexcept nogil:
    """A slice under rows x cols outputs, [channels][rows][p.cols], zero beyond the border; from
    channel to channel it is one volume of the layout."""
    cdef const Correlation *c = &p.c
    cdef const CorrelationAxis *h = &c.axis[H]
    cdef const CorrelationAxis *w = &c.axis[W]
    cdef fc_size size = c.kernels.itemsize, plane = p.plane * size, next_channel = p.volume * size
    cdef fc_size top = h.first + i0, left = w.first + j0, width = span(w, cols)
    cdef fc_size end = ((span(h, rows) - 1) * p.cols + width) * size
    cdef fc_size lo, hi, first, last, row
    inside(left, 1, w.size, width, &lo, &hi)
    inside(top, 1, h.size, span(h, rows), &first, &last)
    if first > 0 or last < span(h, rows) or lo > 0 or hi < p.cols:
        end = 0
    for row in range(c.channels):  # zeros past the end are multiplied too
        memset(piece + row * next_channel + end, 0, plane - end)
    for row in range(first, last):
        c.kernels.copy2d(piece + (row * p.cols + lo) * size, next_channel, size,
                         x + (top + row) * h.x + (left + lo) * w.x, c.x_c, w.x,
                         c.channels, hi - lo)


cdef void point_segments(const FewFiltersPlan *p, fc_size slices, const char *piece,
                         const void **starts) noexcept nogil:
    """Where each segment's pixels start for output 0."""
    cdef fc_size size = p.c.kernels.itemsize, d, r, s
    cdef fc_size tap_h = p.c.axis[H].dilation * p.cols * size
    cdef fc_size next_segment = (p.c.axis[W].dilation if p.along_channels else p.volume) * size
    for d in range(slices):
        for r in range(p.c.axis[H].taps):
            for s in range(p.row_segments):
                starts[0] = piece + d * p.plane * size + r * tap_h + s * next_segment
                starts += 1


cdef int rows_task(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """Some rows of a slice of outputs or a part of one, all filters."""
    cdef const FewFiltersPlan *p = <const FewFiltersPlan *> context
    cdef const Correlation *c = &p.c
    cdef const CorrelationAxis *d = &c.axis[D]
    cdef const CorrelationAxis *h = &c.axis[H]
    cdef const CorrelationAxis *w = &c.axis[W]
    cdef fc_size size = c.kernels.itemsize, nr = c.kernels.nr
    cdef fc_size n = task, j0 = next_index(&n, p.col_blocks) * p.block_cols
    cdef fc_size i0 = next_index(&n, p.row_blocks) * p.block_rows
    cdef fc_size slice = next_index(&n, d.out), g = next_index(&n, c.groups)
    cdef fc_size rows = min(p.block_rows, h.out - i0), cols = min(p.block_cols, w.out - j0)
    cdef fc_size pixels = (rows - 1) * p.cols + cols
    cdef fc_size line = line_bytes(c, rows, p.block_cols), tiles = ceil_div(c.filters, c.kernels.mr)
    cdef fc_size t, k, s, i, first, held = 0  # filters before this one are stored
    cdef fc_size tap0, tap1  # of the depth, inside the image
    cdef const void **pointers = <const void **> scratch
    cdef const void **starts = <const void **> (scratch + p.starts_at)
    cdef char *result = scratch + p.result_at
    cdef char *y = c.y + n * c.y_n + g * c.y_g + slice * d.y + i0 * h.y + j0 * w.y
    cdef const char *x = c.x + n * c.x_n + g * c.x_g + input_of(d, slice) * d.x
    cdef const char *filters
    cdef fc_tile tile = plain_tile(size, nr)
    find_taps_inside(d, slice, slice, &tap0, &tap1)
    for t in range(tap0, tap1):
        lay_out_input(p, x + t * d.dilation * d.x, i0, rows, j0, cols,
                      scratch + p.piece_at + (t - tap0) * p.plane * size)
    point_segments(p, tap1 - tap0, scratch + p.piece_at, starts)
    filters = p.filters + g * p.f_g + tap0 * p.slice_segments * p.f_segment
    tile.a = pointers
    tile.b_at = starts
    tile.b_k = (p.volume if p.along_channels else w.dilation) * size
    tile.segments, tile.len = (tap1 - tap0) * p.slice_segments, p.len
    tile.c_m = line
    tile.n = <int> nr
    tile.flags = FC_TILE_BIAS_PER_ROW | (FC_TILE_RELU if c.relu else 0)
    for t in range(tiles):
        k = part(c.filters, tiles, t)
        tile.m = <int> (part(c.filters, tiles, t + 1) - k)
        for s in range(tile.segments):
            for i in range(tile.m):
                pointers[s * tile.m + i] = filters + s * p.f_segment + (k + i) * p.f_k
        if c.bias != NULL:
            tile.bias = c.bias + (g * c.filters + k) * size
        first = 0
        while first < pixels:
            tile.c = result + (k - held) * line + first * size
            c.kernels.tile(&tile)
            for s in range(tile.segments):
                starts[s] = <const char *> starts[s] + nr * size
            first += nr
        for s in range(tile.segments):
            starts[s] = <const char *> starts[s] - first * size
        if (t + 1) % p.held_tiles == 0 or t + 1 == tiles:
            store_outputs(c, y, result, p.cols * size, size, line, i0, rows, j0, cols, held,
                          k + tile.m - held)
            held = k + tile.m
    return OK


cdef void choose_blocks(FewFiltersPlan *p) noexcept nogil:
    """Blocks of rows; where one row is too much still, parts of rows."""
    cdef const Correlation *c = &p.c
    cdef fc_size rows = c.axis[H].out, cols = c.axis[W].out, blocks
    while rows > 1 or cols > least_cols(c):
        blocks = (c.batch * c.groups * c.axis[D].out * ceil_div(c.axis[H].out, rows)
                  * ceil_div(c.axis[W].out, cols))
        if not (input_bytes(c, rows, cols) > FEW_FILTERS_BLOCK_BYTES
                or result_bytes(c, rows, cols) > FEW_FILTERS_MAX_BYTES
                or blocks < TASKS and rows * cols > 8 * c.kernels.nr):
            break
        if rows > 1:
            rows = ceil_div(rows, 2)
        else:
            cols = max(ceil_div(cols, 2), least_cols(c))
    p.row_blocks = ceil_div(c.axis[H].out, rows)
    p.col_blocks = ceil_div(c.axis[W].out, cols)
    p.block_rows = ceil_div(c.axis[H].out, p.row_blocks)
    p.block_cols = ceil_div(c.axis[W].out, p.col_blocks)


cdef void plan_few_filters(FewFiltersPlan *p) noexcept nogil:
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize
    choose_blocks(p)
    p.cols = span(&c.axis[W], p.block_cols)
    p.plane = <fc_size> plane_pixels(c, p.block_rows, p.block_cols)
    p.volume = c.axis[D].taps * p.plane
    p.held_tiles = tiles_held(c, p.block_rows, p.block_cols)
    p.starts_at = round_up(p.segments * min(c.filters, c.kernels.mr) * sizeof(void *))
    p.piece_at = p.starts_at + round_up(p.segments * sizeof(void *))
    p.result_at = p.piece_at + round_up(c.channels * p.volume * size)
    p.scratch_bytes = p.result_at + result_bytes(c, p.block_rows, p.block_cols)


cdef int run_few_filters(const Correlation *correlation, int num_threads) noexcept nogil:
    cdef FewFiltersPlan p
    cdef const Correlation *c = &p.c
    cdef int status = OK
    p.c, p.packed = correlation[0], NULL
    size_rows(&p)
    plan_few_filters(&p)
    p.filters = c.packed.rows if c.packed != NULL else NULL
    if p.filters == NULL:
        p.filters = p.packed = allocate(rows_bytes(c))
        if p.packed == NULL:
            return OUT_OF_MEMORY
        status = run_once(pack_rows_task, &p)
    if status == OK:
        status = parallel_for(rows_task, &p, c.batch * c.groups * c.axis[D].out * p.row_blocks
                              * p.col_blocks, p.scratch_bytes, work(c), num_threads)
    release(p.packed)
    return status
