"""The weight gradient: a correlation's w from its x and y, for every geometry but narrow groups.

    w[k, c, r, s] = sum over n, i, j of y[n, k, i, j] * x[n, c, row(i, r), col(j, s)]

is a sum of outer products over the pixels of all images. Rows of the register tile are input
channels, columns are filters; a convolution of one tap without border is the same when x and y
change places, and does so where that suits the tile. A task owns a block of channels and filters,
with all its taps, and keeps their sums in its cache while pieces of the images pass by.

Of a depth, a block has one tap. Images are then slices: each slice of y for which that tap finds
one of x, of every image of the batch in turn.

Pixels are read where they lie: a tap's products are those of the outputs whose input it finds
inside the image, so that nothing is ever multiplied with the border. What is copied first, to this
thread's scratch memory, is

    y  unless its filters are contiguous: the columns of a tile are vectors
    x  where a tile's rows would be few (a row of taps then joins its channels to one run, and the
       border is zeros), or lie in planes of which every tap reads each element again, or so that
       a cache could not hold them

Where there are too few blocks to share out, the rows of the batch are cut into slots as well, whose
partial sums are added in order. weight_plan.pyx decides all of that.
"""

from libc.string cimport memset

from fastconv._drivers.axis cimport D, H, W
from fastconv._drivers.blocking cimport LINE, ceil_div, next_index, part
from fastconv._drivers.correlation cimport Correlation, CorrelationAxis, inside, taps_of, work
from fastconv._drivers.filters cimport has_contiguous_filters, store_taps
from fastconv._drivers.kernels cimport fc_outer, fc_size
from fastconv._drivers.memory cimport allocate, release
from fastconv._drivers.runtime cimport OK, OUT_OF_MEMORY, check_signals, parallel_for
from fastconv._drivers.weight_plan cimport (
    WeightPlan, are_apart, inputs_under, plan_weight, rows_under)


# One axis of what a task works on: the block's taps, the piece's outputs, the next piece's first.
ctypedef struct AxisPart:
    fc_size tap0, tap1
    fc_size out0, out1, next


# What a task works on: a block of taps, channels and filters, and a piece of the images.
ctypedef struct WeightBlock:
    fc_size g, c0, c1, k0, k1, panels
    fc_size tap_d, slice0       # a tap of the depth, and the first output slice it is inside for
    fc_size slices              # how many such slices an image of the batch has: 1 without a depth
    fc_size x_image, y_image    # strides from one to the next
    AxisPart rows, cols         # several whole images, or some rows of one
    fc_size n0, n1, next_image
    bint first                  # piece of the task: its products are the sums
    fc_size tiles, tile         # how many multiply the piece, and how many have


# Where element 0 of a piece lies, and the strides: from image to image, from what a row or column
# of outputs reads through the same tap to what the next one does, from tap to tap, `next`.
ctypedef struct PixelView:
    const char *at
    fc_size image, row, col, tap_row, tap_col, next
    # How far on the next piece lies, and where its first pixel ends: one in `every` tiles that pass
    # over this piece prefetches a line of every pixel of the next. Nothing where both are the same.
    fc_size prefetch, prefetch_end, every


# ---------------------------------------------------------------- along an axis

cdef inline void take_taps(AxisPart *p, fc_size taps, fc_size each, fc_size block) noexcept nogil:
    p.tap0 = block * each
    p.tap1 = min(p.tap0 + each, taps)


cdef inline fc_size first_input(const CorrelationAxis *a, const AxisPart *p) noexcept nogil:
    """What the piece's first output reads through the block's first tap."""
    return a.first + p.out0 * a.step + p.tap0 * a.dilation


cdef inline fc_size inputs_of(const CorrelationAxis *a, const AxisPart *p) noexcept nogil:
    return inputs_under(a, p.out1 - p.out0, p.tap1 - p.tap0)


cdef inline void outputs_inside(const CorrelationAxis *a, const AxisPart *p, fc_size tap,
                                fc_size *lo, fc_size *hi) noexcept nogil:
    """The piece's outputs, counted from its first, for which a tap of the block is in the image."""
    inside(first_input(a, p) + tap * a.dilation, a.step, a.size, p.out1 - p.out0, lo, hi)


# ---------------------------------------------------------------- operands

cdef inline fc_size input_image(const WeightPlan *p, const WeightBlock *b,
                                fc_size image) noexcept nogil:
    """Where it starts in x, in bytes."""
    cdef const CorrelationAxis *d = &p.c.axis[D]
    cdef fc_size n = image, i = b.slice0 + next_index(&n, max(b.slices, 1))
    return n * p.c.x_n + (d.first + i * d.step + b.tap_d * d.dilation) * d.x


cdef inline fc_size output_image(const WeightPlan *p, const WeightBlock *b,
                                 fc_size image) noexcept nogil:
    cdef fc_size n = image, i = b.slice0 + next_index(&n, max(b.slices, 1))
    return n * p.c.y_n + i * p.c.axis[D].y


cdef inline fc_size tiles_per_line(const WeightBlock *b, fc_size pixel) noexcept nogil:
    """Tiles from one that prefetches a line to the next: memory is to be read all the while."""
    return max(1, b.tiles * LINE // max(pixel, 1))


cdef PixelView view_input(const WeightPlan *p, const WeightBlock *b, char *copy) noexcept nogil:
    """The input under the piece, from its first tap on; `next` is from channel to channel."""
    cdef const Correlation *c = &p.c
    cdef const CorrelationAxis *h = &c.axis[H]
    cdef const CorrelationAxis *w = &c.axis[W]
    cdef fc_size size = c.kernels.itemsize, channels = b.c1 - b.c0, pixel = channels * size
    cdef fc_size taps = b.rows.tap1 - b.rows.tap0, row0 = first_input(h, &b.rows)
    cdef fc_size rows = rows_under(h, b.rows.out1 - b.rows.out0, taps)
    cdef fc_size col0 = first_input(w, &b.cols), cols = inputs_of(w, &b.cols)
    cdef fc_size n, r, row, lo, hi, prefetch
    cdef bint apart = are_apart(h, taps)
    cdef fc_size image = input_image(p, b, b.n0)
    cdef const char *x = c.x + image + b.g * c.x_g + b.c0 * c.x_c
    cdef char *to
    if not p.copy_x:
        prefetch = (input_image(p, b, b.next_image) - image
                    + (b.rows.next - b.rows.out0) * h.step * h.x
                    + (b.cols.next - b.cols.out0) * w.step * w.x)
        return PixelView(x + row0 * h.x + col0 * w.x, b.x_image, h.step * h.x, w.step * w.x,
                         h.dilation * h.x, w.dilation * w.x, c.x_c, prefetch,
                         prefetch + (pixel if c.x_c == size else 0), tiles_per_line(b, pixel))
    inside(col0, 1, w.size, cols, &lo, &hi)
    for n in range(b.n1 - b.n0):
        for r in range(rows):
            row = row0 + (r // taps * h.step + r % taps * h.dilation if apart else r)
            if row < 0 or row >= h.size:
                continue  # no tap reads it
            to = copy + (n * rows + r) * cols * pixel
            memset(to, 0, lo * pixel)
            c.kernels.copy2d(to + lo * pixel, pixel, size,
                             x + n * b.x_image + row * h.x + (col0 + lo) * w.x, w.x, c.x_c,
                             hi - lo, channels)
            memset(to + hi * pixel, 0, (cols - hi) * pixel)
    return PixelView(copy, rows * cols * pixel, (taps if apart else h.step) * cols * pixel,
                     w.step * pixel, (1 if apart else h.dilation) * cols * pixel,
                     w.dilation * pixel, size, 0, 0, 1)


cdef PixelView view_output(const WeightPlan *p, const WeightBlock *b, char *copy) noexcept nogil:
    """The output gradient of the piece; `next` is from panel to panel."""
    cdef const Correlation *c = &p.c
    cdef const CorrelationAxis *h = &c.axis[H]
    cdef const CorrelationAxis *w = &c.axis[W]
    cdef fc_size size = c.kernels.itemsize, nr = c.kernels.nr, panel = nr * size
    cdef fc_size images = b.n1 - b.n0, pixel = (b.k1 - b.k0) * size
    cdef fc_size rows = b.rows.out1 - b.rows.out0, cols = b.cols.out1 - b.cols.out0
    cdef fc_size i, n, k, lines = rows, line = cols, prefetch
    cdef char *to = copy
    cdef fc_size image = output_image(p, b, b.n0)
    cdef const char *y = (c.y + image + b.g * c.y_g + b.k0 * c.y_k
                          + b.rows.out0 * h.y + b.cols.out0 * w.y)
    if not p.copy_y:
        prefetch = (output_image(p, b, b.next_image) - image + (b.rows.next - b.rows.out0) * h.y
                    + (b.cols.next - b.cols.out0) * w.y)
        return PixelView(y, b.y_image, h.y, w.y, 0, 0, panel, prefetch, prefetch + pixel,
                         tiles_per_line(b, pixel))
    if h.y == cols * w.y:  # rows follow each other
        lines, line = 1, rows * cols
    for k in range(b.panels):
        for n in range(images):
            for i in range(lines):
                c.kernels.copy2d(to, panel, size,
                                 y + n * b.y_image + i * h.y + k * nr * c.y_k, w.y, c.y_k,
                                 line, min(nr, b.k1 - b.k0 - k * nr))
                to += line * panel
    return PixelView(copy, rows * cols * panel, cols * panel, panel, 0, 0,
                     images * rows * cols * panel, 0, 0, 1)


cdef inline fc_size next_prefetch(PixelView *v, fc_size tile, fc_size here) noexcept nogil:
    if v.prefetch >= v.prefetch_end or tile % v.every:
        return here  # nothing to fetch
    v.prefetch += LINE
    return v.prefetch - LINE


# ---------------------------------------------------------------- products

cdef fc_outer runs_under_tap(const WeightPlan *p, const WeightBlock *b, const PixelView *x,
                             const PixelView *y, fc_size r, fc_size s,
                             const void **pointers) noexcept nogil:
    """The operands of tap r, s of the block, or of row r of them: runs of pixels, one a segment."""
    cdef const CorrelationAxis *h = &p.c.axis[H]
    cdef const CorrelationAxis *w = &p.c.axis[W]
    cdef fc_size i0, i1, j0 = 0, j1 = b.cols.out1 - b.cols.out0
    cdef fc_size images = b.n1 - b.n0, rows, n, i
    cdef const char *x_at
    cdef const char *y_at
    cdef fc_outer tile
    outputs_inside(h, &b.rows, r, &i0, &i1)
    if not p.side_by_side:
        outputs_inside(w, &b.cols, s, &j0, &j1)
    rows = i1 - i0 if j1 > j0 else 0
    x_at = x.at + r * x.tap_row + s * x.tap_col + i0 * x.row + j0 * x.col
    y_at = y.at + i0 * y.row + j0 * y.col
    tile.a_k = x.col
    tile.b_k = y.col
    tile.len = j1 - j0
    # rows that follow each other, and images, are one run
    if x.row == tile.len * x.col and y.row == tile.len * y.col:
        tile.len *= rows
        rows = min(rows, 1)
        if x.image == tile.len * x.col and y.image == tile.len * y.col:
            tile.len *= images
            images = 1
    tile.segments = images * rows
    tile.a = pointers
    tile.b = pointers + tile.segments
    for n in range(images):
        for i in range(rows):
            pointers[n * rows + i] = x_at + n * x.image + i * x.row
            pointers[tile.segments + n * rows + i] = y_at + n * y.image + i * y.row
    return tile


cdef void add_tap(const WeightPlan *p, WeightBlock *b, PixelView *x, PixelView *y, fc_size r,
                  fc_size s, char *scratch, char *sums, fc_size sums_row) noexcept nogil:
    """Add the products of tap r, s of the block, or of row r of them, to [channels][filters]."""
    cdef fc_size size = p.c.kernels.itemsize, nr = p.c.kernels.nr
    cdef fc_size rows = b.c1 - b.c0, tiles, t, start, panel
    cdef fc_outer tile = runs_under_tap(p, b, x, y, r, s, <const void **> scratch)
    if tile.segments == 0 and not b.first:
        return
    if p.side_by_side:
        rows *= b.cols.tap1 - b.cols.tap0
    tiles = ceil_div(rows, p.c.kernels.mr)
    tile.a_m = x.next
    tile.c_m = sums_row
    tile.accumulate = not b.first
    tile.panel = scratch + p.panel_at if p.keep_panel else NULL
    for panel in range(b.panels):
        tile.n = <int> min(nr, b.k1 - b.k0 - panel * nr)
        tile.b_from = panel * y.next
        start = 0
        for t in range(tiles):
            tile.m = <int> (part(rows, tiles, t + 1) - start)
            tile.a_from = start * x.next
            tile.c = sums + start * sums_row + panel * nr * size
            tile.packed = p.keep_panel and t > 0
            tile.a_prefetch = next_prefetch(x, b.tile, tile.a_from)
            tile.b_prefetch = next_prefetch(y, b.tile + y.every // 2, tile.b_from)
            b.tile += 1
            p.c.kernels.outer(&tile)
            start += tile.m


cdef void add_piece(const WeightPlan *p, WeightBlock *b, char *scratch, char *sums,
                    fc_size sums_row) noexcept nogil:
    """Add the products of the piece to the block's sums, [taps][channels][filters]."""
    cdef PixelView x = view_input(p, b, scratch + p.x_at)
    cdef PixelView y = view_output(p, b, scratch + p.y_at)
    cdef fc_size tap_bytes = (b.c1 - b.c0) * sums_row, cols = b.cols.tap1 - b.cols.tap0, r, s
    b.tile = 0
    for r in range(b.rows.tap1 - b.rows.tap0):
        for s in range(1 if p.side_by_side else cols):
            add_tap(p, b, &x, &y, r, s, scratch, sums + (r * cols + s) * tap_bytes, sums_row)
    b.first = False


# ---------------------------------------------------------------- tasks

cdef WeightBlock weight_block_at(const WeightPlan *p, fc_size block) noexcept nogil:
    """Its taps, channels and filters; it has no piece yet."""
    cdef const Correlation *c = &p.c
    cdef const CorrelationAxis *d = &c.axis[D]
    cdef fc_size nr = c.kernels.nr, i, cols, last
    cdef WeightBlock b
    i = next_index(&block, p.channel_blocks)
    b.c0 = part(c.channels, p.channel_blocks, i)
    b.c1 = part(c.channels, p.channel_blocks, i + 1)
    i = next_index(&block, p.filter_blocks)
    b.k0 = i * p.block_panels * nr
    b.k1 = min(b.k0 + p.block_panels * nr, c.filters)
    b.panels = ceil_div(b.k1 - b.k0, nr)
    take_taps(&b.cols, c.axis[W].taps, p.tap_cols, next_index(&block, p.col_blocks))
    take_taps(&b.rows, c.axis[H].taps, p.tap_rows, next_index(&block, p.row_blocks))
    b.tap_d = next_index(&block, d.taps)
    b.g = block
    b.first = True
    inside(d.first + b.tap_d * d.dilation, d.step, d.size, d.out, &b.slice0, &last)
    b.slices = last - b.slice0
    b.x_image, b.y_image = d.step * d.x, d.y
    if b.slices == 1:
        b.x_image, b.y_image = c.x_n, c.y_n
    cols = b.cols.tap1 - b.cols.tap0
    if p.side_by_side:
        b.tiles = ceil_div((b.c1 - b.c0) * cols, c.kernels.mr)
    else:
        b.tiles = ceil_div(b.c1 - b.c0, c.kernels.mr) * cols
    b.tiles *= (b.rows.tap1 - b.rows.tap0) * b.panels
    return b


cdef fc_size take_rows(const WeightPlan *p, WeightBlock *b, fc_size lo, fc_size hi) noexcept nogil:
    """The next piece's images and rows, of rows [lo, hi) of the batch; where it ends there."""
    cdef fc_size rows = p.c.axis[H].out, images = p.c.batch * b.slices
    b.n0 = lo // rows
    b.rows.out0 = lo % rows
    b.rows.out1 = min(min(b.rows.out0 + p.piece_rows, rows), b.rows.out0 + hi - lo)
    b.n1 = min(b.n0 + 1, images)
    if b.rows.out1 - b.rows.out0 == rows:
        b.n1 = b.n0 + max(1, min(p.piece_images, (hi - lo) // rows))
        if b.slices > 1:  # evenly apart: slices of the same image of the batch
            b.n1 = min(b.n1, (b.n0 // b.slices + 1) * b.slices)
    return lo + (b.n1 - b.n0) * (b.rows.out1 - b.rows.out0)


cdef void take_cols(const WeightPlan *p, WeightBlock *b, fc_size col, fc_size row) noexcept nogil:
    """Its columns, from `col` on; the piece after the last ones begins at a row of the batch."""
    b.cols.out0 = col
    b.cols.out1 = min(col + p.piece_cols, p.c.axis[W].out)
    if b.cols.out1 < p.c.axis[W].out:
        b.next_image, b.rows.next, b.cols.next = b.n0, b.rows.out0, b.cols.out1
    else:
        b.next_image, b.rows.next = row // p.c.axis[H].out, row % p.c.axis[H].out
        b.cols.next = 0


cdef int weight_block(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """A block's sums over one slot's rows of the batch."""
    cdef WeightPlan *p = <WeightPlan *> context
    cdef const Correlation *c = &p.c
    cdef fc_size rest = task, slot = next_index(&rest, p.slots), sums_row
    cdef WeightBlock b = weight_block_at(p, rest)
    cdef fc_size rows = c.batch * b.slices * c.axis[H].out
    cdef fc_size row = part(rows, p.slots, slot), end = part(rows, p.slots, slot + 1)
    cdef char *w = (<char *> c.w + slot * p.slot_bytes + b.g * c.w_g + b.k0 * c.w_k + b.c0 * c.w_c
                    + b.tap_d * c.axis[D].w)
    cdef char *sums
    cdef int status
    if p.in_place:
        sums, sums_row = w, c.w_c
    else:
        sums, sums_row = scratch + p.sums_at, b.panels * c.kernels.nr * c.kernels.itemsize
    while row < end or b.first:  # without images, one piece of none: the sums are zeros
        if not b.first:
            status = check_signals()
            if status != OK:
                return status
        row = take_rows(p, &b, row, end)
        b.cols.out1 = 0
        while b.cols.out1 < c.axis[W].out:
            take_cols(p, &b, b.cols.out1, row)
            add_piece(p, &b, scratch, sums, sums_row)
    if not p.in_place:
        store_taps(c, w, sums, sums_row, b.rows.tap0, b.rows.tap1, b.cols.tap0, b.cols.tap1,
                   b.c1 - b.c0, b.k1 - b.k0)
    return OK


cdef int add_weight_slots(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """One filter's partial sums, slot after slot, and the total to where it belongs."""
    cdef WeightPlan *p = <WeightPlan *> context
    cdef const Correlation *c = &p.given
    cdef const CorrelationAxis *d = &c.axis[D]
    cdef const CorrelationAxis *h = &c.axis[H]
    cdef const CorrelationAxis *w = &c.axis[W]
    cdef fc_size size = c.kernels.itemsize, taps = taps_of(c), elements = c.channels * taps, i
    cdef fc_size g = task, k = next_index(&g, c.filters)
    cdef char *total = <char *> c.w + g * c.w_g + k * c.w_k
    cdef char *partial = <char *> p.c.w + task * elements * size
    cdef bint contiguous = has_contiguous_filters(c)
    c.kernels.add_fold(total if contiguous else partial, partial, p.slot_bytes, elements, p.slots,
                       True)
    if not contiguous:
        for i in range(c.channels * d.taps):
            c.kernels.copy2d(total + i // d.taps * c.w_c + i % d.taps * d.w, h.w, w.w,
                             partial + i * h.taps * w.taps * size, w.taps * size, size,
                             h.taps, w.taps)
    return OK


cdef int run_weight(const Correlation *correlation, int num_threads) noexcept nogil:
    """The correlation's w is written, not read."""
    cdef WeightPlan p
    cdef const Correlation *given = &p.given
    cdef char *slots = NULL
    cdef int status
    plan_weight(&p, correlation)
    if p.slots > 1:
        slots = allocate(p.slots * p.slot_bytes)
        if slots == NULL:
            return OUT_OF_MEMORY
        p.c.w = slots
    status = parallel_for(weight_block, &p, p.blocks * p.slots, p.scratch_bytes, work(&p.c),
                          num_threads)
    if p.slots > 1 and status == OK:
        status = parallel_for(add_weight_slots, &p, given.groups * given.filters, 0,
                              <double> p.slots * p.slot_bytes / given.kernels.itemsize,
                              num_threads)
    release(slots)
    return status
