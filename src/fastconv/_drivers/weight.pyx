"""The weight gradient: a correlation's w from its x and y, for every geometry but narrow groups.

    w[k, c, r, s] = sum over n, i, j of y[n, k, i, j] * x[n, c, row(i, r), col(j, s)]

is a matrix product over the pixels of all images. Rows of the register tile are input channels
(where taps lie side by side, all channels of a row of taps), columns are filters. A task owns a
block of channels and filters, with all its taps, and keeps their sums in its cache while pieces of
the images pass by: a few rows of outputs and the input under them, copied channels last. Where
there are too few blocks to share out, the rows of the batch are cut into slots as well, whose
partial sums are added in order. Shapes alone decide all of that, so the bits never depend on the
number of threads.
"""

from libc.string cimport memset

from fastconv._drivers.correlation cimport (
    Correlation, ceil_div, forward_taps, work, part, round_up, valid)
from fastconv._drivers.kernels cimport FC_TILE_ACCUMULATE, fc_size, fc_tile
from fastconv._drivers.runtime cimport OK, OUT_OF_MEMORY, allocate, parallel_for, release


cdef enum:
    PIECE_PIXELS = 224          # outputs between two loads of the sums
    WINDOW_BYTES = 256 * 1024   # of the input under them
    SUMS_BYTES = 256 * 1024
    BLOCK = 64                  # channels or filters of a block
    POINTWISE_BLOCK = 128
    MOST_TAPS = 64
    MOST_WASTE = 16             # input pixels copied for one output
    TASKS = 16                  # see direct.pyx


ctypedef struct Plan:
    Correlation c
    # blocks: taps [rows][cols] of them, channels, filters
    fc_size tap_rows, tap_cols, row_blocks, col_blocks
    fc_size channel_blocks, filter_blocks, block_channels, block_panels
    fc_size slots
    bint gather          # a block is one tap: only the pixels it reads are copied
    bint side_by_side    # taps of a row follow each other: their channels are one run
    fc_size piece_images, piece_rows, piece_cols
    char *partial        # [slots][groups][filters][channels][taps_h][taps_w], or NULL for one slot
    fc_size pointers_at, x_at, y_at, sums_at, scratch_bytes


# What a task works on: a block of taps, channels and filters, and a piece of the images.
ctypedef struct Block:
    fc_size g, r0, r1, s0, s1, c0, c1, k0, k1, panels
    fc_size n0, n1, i0, i1, j0, j1  # several whole images, or some rows of one
    fc_size row_step, col_step  # from one output to the next, in the copied input
    fc_size row_d, col_d        # from one tap to the next
    fc_size rows, cols          # of the copied input, for one image


cdef void copy_input(const Plan *p, const Block *b, fc_size n, char *piece) noexcept nogil:
    """The input of image n under the piece, [rows][cols][channels], zero beyond the border."""
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, channels = b.c1 - b.c0, pixel = channels * size
    cdef fc_size row0 = c.row0 + b.i0 * c.step_h + b.r0 * c.row_d
    cdef fc_size col0 = c.col0 + b.j0 * c.step_w + b.s0 * c.col_d
    cdef fc_size row_step = c.step_h if p.gather else 1, col_step = c.step_w if p.gather else 1
    cdef fc_size r, row, lo, hi
    cdef const char *x = c.x + n * c.x_n + b.g * c.x_g + b.c0 * c.x_c
    cdef char *to
    valid(col0, col_step, c.width, b.cols, &lo, &hi)
    for r in range(b.rows):
        row = row0 + r * row_step
        to = piece + r * b.cols * pixel
        if row < 0 or row >= c.height:
            memset(to, 0, b.cols * pixel)
            continue
        memset(to, 0, lo * pixel)
        c.kernels.copy2d(to + lo * pixel, pixel, size,
                         x + row * c.x_h + (col0 + lo * col_step) * c.x_w, col_step * c.x_w, c.x_c,
                         hi - lo, channels)
        memset(to + hi * pixel, 0, (b.cols - hi) * pixel)


cdef void copy_output(const Plan *p, const Block *b, fc_size n, char *piece,
                      fc_size panel_bytes) noexcept nogil:
    """The output gradient of image n in the piece, [panels] of [rows][cols][nr]."""
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, nr = c.kernels.nr
    cdef fc_size rows = b.i1 - b.i0, cols = b.j1 - b.j0
    cdef fc_size panel, i
    cdef const char *y
    for panel in range(b.panels):
        y = (c.y + n * c.y_n + b.g * c.y_g + (b.k0 + panel * nr) * c.y_k + b.i0 * c.y_h
             + b.j0 * c.y_w)
        for i in range(rows):
            c.kernels.copy2d(piece + panel * panel_bytes + i * cols * nr * size, nr * size, size,
                             y + i * c.y_h, c.y_w, c.y_k, cols, min(nr, b.k1 - b.k0 - panel * nr))


cdef void add_piece(const Plan *p, Block *b, char *scratch) noexcept nogil:
    """Add a piece's products to the sums, [taps][channels][panels * nr]."""
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, nr = c.kernels.nr, mr = c.kernels.mr
    cdef fc_size channels = b.c1 - b.c0, pixel = channels * size
    cdef fc_size rows = b.i1 - b.i0, cols = b.j1 - b.j0, taps = b.s1 - b.s0
    cdef fc_size run = channels * taps if p.side_by_side else channels
    cdef fc_size tiles = ceil_div(run, mr), sums_row = b.panels * nr * size
    cdef fc_size images = b.n1 - b.n0, segments = images * rows
    cdef fc_size r, s, t, i, n, start, panel
    cdef fc_size y_panel = segments * cols * nr * size
    cdef const void **pointers = <const void **> (scratch + p.pointers_at)
    cdef char *x = scratch + p.x_at
    cdef char *y = scratch + p.y_at
    cdef char *sums
    cdef const char *a
    cdef fc_tile tile
    b.rows = (rows - 1) * b.row_step + (b.r1 - b.r0 - 1) * b.row_d + 1
    b.cols = (cols - 1) * b.col_step + (taps - 1) * b.col_d + 1
    for n in range(images):
        copy_input(p, b, b.n0 + n, x + n * b.rows * b.cols * pixel)
        copy_output(p, b, b.n0 + n, y + n * rows * cols * nr * size, y_panel)
    tile.a_k = b.col_step * pixel
    tile.b_at = NULL
    tile.b_k = nr * size
    tile.b_segment = cols * nr * size
    tile.segments = segments
    tile.len = cols
    tile.bias = NULL
    tile.c_m = sums_row
    tile.flags = FC_TILE_ACCUMULATE
    tile.a = pointers
    for r in range(b.r1 - b.r0):
        for s in range(1 if p.side_by_side else taps):
            sums = scratch + p.sums_at + (r * taps + s) * channels * sums_row
            for n in range(images):
                a = x + ((n * b.rows + r * b.row_d) * b.cols + s * b.col_d) * pixel
                for i in range(rows):
                    pointers[n * rows + i] = a + i * b.row_step * b.cols * pixel
            start = 0
            for t in range(tiles):
                tile.m = <int> (part(run, tiles, t + 1) - start)
                for panel in range(b.panels):
                    tile.n = <int> min(nr, b.k1 - b.k0 - panel * nr)
                    tile.b = y + panel * y_panel
                    tile.c = sums + start * sums_row + panel * nr * size
                    c.kernels.tile_adjacent(&tile)
                for i in range(segments):
                    pointers[i] = <const char *> pointers[i] + tile.m * size
                start += tile.m


cdef int weight_block(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef Plan *p = <Plan *> context
    cdef Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, nr = c.kernels.nr
    cdef fc_size rest = task, at, lo, hi, r, s, channels, sums_row
    cdef Block b
    cdef fc_size slot = rest % p.slots
    rest = rest // p.slots
    at = rest % p.channel_blocks
    rest = rest // p.channel_blocks
    b.c0 = part(c.channels, p.channel_blocks, at)
    b.c1 = part(c.channels, p.channel_blocks, at + 1)
    at = rest % p.filter_blocks
    rest = rest // p.filter_blocks
    b.k0 = at * p.block_panels * nr
    b.k1 = min(b.k0 + p.block_panels * nr, c.filters)
    b.panels = ceil_div(b.k1 - b.k0, nr)
    b.s0 = rest % p.col_blocks * p.tap_cols
    b.s1 = min(b.s0 + p.tap_cols, c.taps_w)
    rest = rest // p.col_blocks
    b.r0 = rest % p.row_blocks * p.tap_rows
    b.r1 = min(b.r0 + p.tap_rows, c.taps_h)
    b.g = rest // p.row_blocks
    b.row_step = 1 if p.gather else c.step_h
    b.col_step = 1 if p.gather else c.step_w
    b.row_d, b.col_d = c.row_d, c.col_d
    channels = b.c1 - b.c0
    sums_row = b.panels * nr * size
    memset(scratch + p.sums_at, 0, (b.r1 - b.r0) * (b.s1 - b.s0) * channels * sums_row)

    # this slot's rows, of all the rows of the batch
    lo = part(c.batch * c.out_h, p.slots, slot)
    hi = part(c.batch * c.out_h, p.slots, slot + 1)
    while lo < hi:
        b.n0 = lo // c.out_h
        b.i0 = lo % c.out_h
        b.i1 = min(min(b.i0 + p.piece_rows, c.out_h), b.i0 + hi - lo)
        b.n1 = b.n0 + 1
        if b.i1 - b.i0 == c.out_h:
            b.n1 = b.n0 + max(1, min(p.piece_images, (hi - lo) // c.out_h))
        lo += (b.n1 - b.n0) * (b.i1 - b.i0)
        b.j0 = 0
        while b.j0 < c.out_w:
            b.j1 = min(b.j0 + p.piece_cols, c.out_w)
            add_piece(p, &b, scratch)
            b.j0 = b.j1

    # [taps][channels][filters] to where it belongs
    cdef char *to = <char *> c.w
    cdef fc_size w_g = c.w_g, w_k = c.w_k, w_c = c.w_c, w_h = c.w_h, w_w = c.w_w
    if p.slots > 1:
        w_w = size
        w_h = c.taps_w * size
        w_c = c.taps_h * w_h
        w_k = c.channels * w_c
        w_g = c.filters * w_k
        to = p.partial + slot * c.groups * w_g
    to += b.g * w_g + b.k0 * w_k + b.c0 * w_c
    cdef fc_size taps = c.taps_h * c.taps_w
    if ((b.r1 - b.r0) * (b.s1 - b.s0) == taps and w_w == size and w_h == c.taps_w * size
            and w_c == taps * size):
        c.kernels.unpack_filters(to, w_k, scratch + p.sums_at, sums_row, b.k1 - b.k0, channels,
                                 taps)
        return OK
    for r in range(b.r0, b.r1):
        for s in range(b.s0, b.s1):
            c.kernels.copy2d(
                to + r * w_h + s * w_w, w_c, w_k,
                scratch + p.sums_at
                + ((r - b.r0) * (b.s1 - b.s0) + s - b.s0) * channels * sums_row,
                sums_row, size, channels, b.k1 - b.k0)
    return OK


cdef int add_slots(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """One filter's partial sums, slot after slot, and the total to where it belongs."""
    cdef Plan *p = <Plan *> context
    cdef Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, taps = c.taps_h * c.taps_w
    cdef fc_size count = c.channels * taps, all = c.groups * c.filters * count
    cdef fc_size slot, i, ch
    cdef char *total = p.partial + task * count * size
    cdef char *to = (<char *> c.w + task // c.filters * c.w_g + task % c.filters * c.w_k)
    for slot in range(1, p.slots):
        if size == 4:
            for i in range(count):
                (<float *> total)[i] += (<float *> total)[slot * all + i]
        else:
            for i in range(count):
                (<double *> total)[i] += (<double *> total)[slot * all + i]
    for ch in range(c.channels):
        c.kernels.copy2d(to + ch * c.w_c, c.w_h, c.w_w, total + ch * taps * size,
                         c.taps_w * size, size, c.taps_h, c.taps_w)
    return OK


cdef fc_size window_pixels(const Plan *p, fc_size rows, fc_size cols) noexcept nogil:
    """Input pixels under rows x cols outputs, for a block's taps."""
    cdef const Correlation *c = &p.c
    if p.gather:
        return rows * cols
    cdef double h = (<double> rows - 1) * c.step_h + (<double> p.tap_rows - 1) * c.row_d + 1
    cdef double w = (<double> cols - 1) * c.step_w + (<double> p.tap_cols - 1) * c.col_d + 1
    return <fc_size> min(h * w, 1e15)


cdef void plan_blocks(Plan *p) noexcept nogil:
    cdef Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, nr = c.kernels.nr
    cdef fc_size taps = c.taps_h * c.taps_w
    cdef fc_size block = BLOCK if taps > 1 else POINTWISE_BLOCK
    if taps > 32:
        block = BLOCK // 2
    p.block_panels = min(ceil_div(c.filters, nr), max(1, block // nr))
    p.filter_blocks = ceil_div(c.filters, p.block_panels * nr)
    p.channel_blocks = ceil_div(c.channels, block)
    p.block_channels = ceil_div(c.channels, p.channel_blocks)
    # all taps, a row of them, or one
    p.tap_rows, p.tap_cols = c.taps_h, c.taps_w
    cdef fc_size tap_bytes = p.block_channels * p.block_panels * nr * size
    if taps > MOST_TAPS:
        p.tap_rows = max(1, MOST_TAPS // c.taps_w)
    if p.tap_rows * c.taps_w * tap_bytes > SUMS_BYTES:
        p.tap_rows = max(1, SUMS_BYTES // (c.taps_w * tap_bytes))
    if c.taps_w > MOST_TAPS:
        p.tap_cols = MOST_TAPS
    p.piece_cols = min(c.out_w, PIECE_PIXELS)
    p.piece_rows = max(1, min(c.out_h, PIECE_PIXELS // p.piece_cols))
    p.gather = False
    while p.piece_rows > 1 and (window_pixels(p, p.piece_rows, p.piece_cols) * p.block_channels
                                * size > WINDOW_BYTES):
        p.piece_rows = (p.piece_rows + 1) // 2
    if (window_pixels(p, p.piece_rows, p.piece_cols)
            > MOST_WASTE * p.piece_rows * p.piece_cols + 256):
        p.gather = True
        p.tap_rows = p.tap_cols = 1
    p.row_blocks = ceil_div(c.taps_h, p.tap_rows)
    p.col_blocks = ceil_div(c.taps_w, p.tap_cols)
    p.side_by_side = c.col_d == 1 and not p.gather
    cdef fc_size blocks = (c.groups * p.row_blocks * p.col_blocks * p.channel_blocks
                           * p.filter_blocks)
    p.slots = 1
    if blocks < TASKS // 2:
        p.slots = max(1, min(ceil_div(TASKS, blocks), c.batch * ceil_div(c.out_h, p.piece_rows)))
    cdef fc_size x_bytes = (window_pixels(p, p.piece_rows, p.piece_cols) * p.block_channels * size)
    p.piece_images = 1
    if p.piece_rows == c.out_h and p.piece_cols == c.out_w:
        p.piece_images = min(PIECE_PIXELS // (c.out_h * c.out_w), WINDOW_BYTES // x_bytes)
        p.piece_images = max(1, min(p.piece_images, c.batch))
    p.pointers_at = 0
    p.x_at = round_up(p.piece_images * p.piece_rows * sizeof(void *))
    p.y_at = p.x_at + round_up(p.piece_images * x_bytes)
    p.sums_at = p.y_at + round_up(p.piece_images * p.piece_rows * p.piece_cols * p.block_panels
                                  * nr * size)
    p.scratch_bytes = p.sums_at + p.tap_rows * p.tap_cols * tap_bytes


cdef int correlate_weight(const Correlation *correlation, int num_threads) noexcept nogil:
    """The correlation's w is written, not read."""
    cdef Plan p
    cdef Correlation *c = &p.c
    cdef int status
    c[0] = correlation[0]
    forward_taps(c)
    plan_blocks(&p)
    cdef fc_size count = c.groups * c.filters * c.channels * c.taps_h * c.taps_w
    p.partial = NULL
    if p.slots > 1:
        p.partial = allocate(p.slots * count * c.kernels.itemsize)
        if p.partial == NULL:
            return OUT_OF_MEMORY
    status = parallel_for(weight_block, &p,
                          c.groups * p.row_blocks * p.col_blocks * p.channel_blocks
                          * p.filter_blocks * p.slots,
                          p.scratch_bytes, work(c), num_threads)
    if p.slots > 1 and status == OK:
        status = parallel_for(add_slots, &p, c.groups * c.filters, 0,
                              <double> p.slots * count, num_threads)
    release(p.partial)
    return status
