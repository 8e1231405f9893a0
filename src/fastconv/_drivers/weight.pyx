"""The weight gradient: a correlation's w from its x and y, for every geometry but narrow groups.

    w[k, c, r, s] = sum over n, i, j of y[n, k, i, j] * x[n, c, row(i, r), col(j, s)]

is a sum of outer products over the pixels of all images. Rows of the register tile are input
channels, columns are filters; a convolution of one tap without border is the same when x and y
change places, and does so where that suits the tile. A task owns a block of channels and filters,
with all its taps, and keeps their sums in its cache while pieces of the images pass by.

Pixels are read where they lie: a tap's products are those of the outputs whose input it finds
inside the image, so that nothing is ever multiplied with the border. What is copied first, to this
thread's scratch memory, is

    y  unless its filters are contiguous: the columns of a tile are vectors
    x  where a tile's rows would be few (a row of taps then joins its channels to one run, and the
       border is zeros), or lie in planes of which every tap reads each element again, or so that
       a cache could not hold them

Where there are too few blocks to share out, the rows of the batch are cut into slots as well, whose
partial sums are added in order. Shapes alone decide all of that, so the bits never depend on the
number of threads.
"""

from libc.string cimport memset

from fastconv._drivers.axis cimport H, W
from fastconv._drivers.blocking cimport LINE, TASKS, ceil_div, part, round_up
from fastconv._drivers.correlation cimport Correlation, fold_steps, inside, work
from fastconv._drivers.kernels cimport fc_outer, fc_size
from fastconv._drivers.memory cimport allocate, release
from fastconv._drivers.runtime cimport OK, OUT_OF_MEMORY, check_signals, parallel_for


cdef enum:
    PIECE_PIXELS = 448          # outputs between two loads of the sums
    MIN_PIXELS = 112
    PIECE_BYTES = 320 * 1024    # of both operands
    WINDOW_BYTES = 256 * 1024   # of the input under them, where it is copied
    SUMS_BYTES = 512 * 1024
    BLOCK = 64                  # channels or filters of a block
    POINTWISE_BLOCK = 256
    MIN_BLOCK = 32
    MAX_TAPS = 64
    MAX_WASTE = 16             # input pixels copied for one output
    FEW_CHANNELS = 8
    # multiples of these between pixels, or planes, meet in few sets of a cache
    FAR = 8192
    PAGE = 4096
    TASK_PRODUCTS = 3_000_000   # some 25 microseconds
    SLOT_PIXELS = 1536          # pay for a slot's sums
    POINTWISE_SLOT = 768


ctypedef struct Plan:
    Correlation c
    const Correlation *caller  # c as it came: w is written through this one
    bint exchanged             # x and y have changed places
    # blocks: taps [rows][cols] of them, channels, filters
    fc_size tap_rows, tap_cols, row_blocks, col_blocks
    fc_size channel_blocks, filter_blocks, block_channels, block_panels
    fc_size slots
    bint copy_x, copy_y
    bint keep_panel      # of y where it lies: the first tile over its pixels leaves them packed
    bint side_by_side    # taps of a row follow each other: their channels are one run
    bint in_place        # sums are kept in w, [channels][filters]
    fc_size piece_images, piece_rows, piece_cols
    fc_size slot_bytes   # from one slot's w to the next: [groups][filters][channels][taps]
    fc_size pointers_at, x_at, y_at, panel_at, sums_at, scratch_bytes


# What a task works on: a block of taps, channels and filters, and a piece of the images.
ctypedef struct Block:
    fc_size g, r0, r1, s0, s1, c0, c1, k0, k1, panels
    fc_size n0, n1, i0, i1, j0, j1  # several whole images, or some rows of one
    fc_size n2, i2, j2              # where the next piece begins
    bint first                      # piece of the task: its products are the sums
    fc_size tiles, tile             # how many multiply the piece, and how many have


# Where element 0 of a piece lies, and the strides from image to image, row to row, and so on.
ctypedef struct View:
    const char *at
    fc_size image, row, col, next
    # how far on the next piece lies, and the bytes of its pixels: one in `every` tiles that pass
    # over this piece fetches a line of every pixel of the next; 0 bytes where that is not so simple
    fc_size ahead, ahead_end, every


cdef inline fc_size spread(const Block *b, fc_size bytes) noexcept nogil:
    """Tiles from one that fetches a line to the next: memory is to be read all the while."""
    return max(1, b.tiles * LINE // max(bytes, 1))


cdef View view_input(const Plan *p, const Block *b, char *copy) noexcept nogil:
    """The input under the piece, from its first tap on; `next` is from channel to channel."""
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, channels = b.c1 - b.c0, pixel = channels * size
    cdef fc_size row0 = c.axis[H].first + b.i0 * c.axis[H].step + b.r0 * c.axis[H].dilation
    cdef fc_size col0 = c.axis[W].first + b.j0 * c.axis[W].step + b.s0 * c.axis[W].dilation
    cdef fc_size rows = (b.i1 - b.i0 - 1) * c.axis[H].step + (b.r1 - b.r0 - 1) * c.axis[H].dilation + 1
    cdef fc_size cols = (b.j1 - b.j0 - 1) * c.axis[W].step + (b.s1 - b.s0 - 1) * c.axis[W].dilation + 1
    cdef fc_size n, r, row, lo, hi
    cdef fc_size ahead = ((b.n2 - b.n0) * c.x_n + (b.i2 - b.i0) * c.axis[H].step * c.axis[H].x
                          + (b.j2 - b.j0) * c.axis[W].step * c.axis[W].x)
    cdef const char *x = c.x + b.n0 * c.x_n + b.g * c.x_g + b.c0 * c.x_c
    cdef char *to
    if not p.copy_x:
        return View(x + row0 * c.axis[H].x + col0 * c.axis[W].x, c.x_n, c.axis[H].x, c.axis[W].x, c.x_c,
                    ahead, ahead + pixel if c.x_c == size else ahead, spread(b, pixel))
    inside(col0, 1, c.axis[W].size, cols, &lo, &hi)
    for n in range(b.n1 - b.n0):
        for r in range(rows):
            row = row0 + r
            to = copy + (n * rows + r) * cols * pixel
            if row < 0 or row >= c.axis[H].size:
                continue  # no tap reads it
            memset(to, 0, lo * pixel)
            c.kernels.copy2d(to + lo * pixel, pixel, size,
                             x + n * c.x_n + row * c.axis[H].x + (col0 + lo) * c.axis[W].x, c.axis[W].x, c.x_c,
                             hi - lo, channels)
            memset(to + hi * pixel, 0, (cols - hi) * pixel)
    return View(copy, rows * cols * pixel, cols * pixel, pixel, size, 0, 0, 1)


cdef View view_output(const Plan *p, const Block *b, char *copy) noexcept nogil:
    """The output gradient of the piece; `next` is from panel to panel."""
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, panel = c.kernels.nr * size
    cdef fc_size images = b.n1 - b.n0, rows = b.i1 - b.i0, cols = b.j1 - b.j0
    cdef fc_size pixel = (b.k1 - b.k0) * size
    cdef const char *y = (c.y + b.n0 * c.y_n + b.g * c.y_g + b.k0 * c.y_k + b.i0 * c.axis[H].y
                          + b.j0 * c.axis[W].y)
    cdef fc_size ahead = ((b.n2 - b.n0) * c.y_n + (b.i2 - b.i0) * c.axis[H].y
                          + (b.j2 - b.j0) * c.axis[W].y)
    cdef fc_size i, n, k, lines = rows, run = cols
    if not p.copy_y:
        return View(y, c.y_n, c.axis[H].y, c.axis[W].y, panel, ahead, ahead + pixel, spread(b, pixel))
    if c.axis[H].y == cols * c.axis[W].y:
        lines, run = 1, rows * cols
    for k in range(b.panels):
        for n in range(images):
            for i in range(lines):
                c.kernels.copy2d(
                    copy + ((k * images + n) * lines + i) * run * panel, panel, size,
                    y + n * c.y_n + i * c.axis[H].y + k * c.kernels.nr * c.y_k, c.axis[W].y, c.y_k,
                    run, min(c.kernels.nr, b.k1 - b.k0 - k * c.kernels.nr))
    return View(copy, rows * cols * panel, cols * panel, panel, images * rows * cols * panel,
                0, 0, 1)


cdef inline fc_size next_line(View *v, fc_size tile, fc_size here) noexcept nogil:
    if v.ahead >= v.ahead_end or tile % v.every:
        return here  # nothing to fetch
    v.ahead += LINE
    return v.ahead - LINE


cdef void add_tap(const Plan *p, Block *b, View *x, View *y, fc_size r, fc_size s,
                  char *scratch, char *sums, fc_size sums_row) noexcept nogil:
    """Add the products of tap r, s of the block, or of row r of them, to [channels][filters]."""
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, nr = c.kernels.nr
    cdef fc_size images = b.n1 - b.n0, run = b.c1 - b.c0
    cdef fc_size i0, i1, j0 = 0, j1 = b.j1 - b.j0
    cdef fc_size rows, i, n, start, tiles, t, panel
    cdef fc_size x_row = c.axis[H].step * x.row, x_image = x.image, y_image = y.image
    cdef const char *a
    cdef const char *d
    cdef const void **pointers = <const void **> (scratch + p.pointers_at)
    cdef fc_outer tile
    inside(c.axis[H].first + b.i0 * c.axis[H].step + (b.r0 + r) * c.axis[H].dilation, c.axis[H].step, c.axis[H].size, b.i1 - b.i0,
          &i0, &i1)
    if p.side_by_side:
        run *= b.s1 - b.s0
    else:
        inside(c.axis[W].first + b.j0 * c.axis[W].step + (b.s0 + s) * c.axis[W].dilation, c.axis[W].step, c.axis[W].size, b.j1 - b.j0,
              &j0, &j1)
    rows = i1 - i0
    if j0 == j1:
        rows = 0
    a = x.at + r * c.axis[H].dilation * x.row + s * c.axis[W].dilation * x.col + i0 * x_row + j0 * c.axis[W].step * x.col
    d = y.at + i0 * y.row + j0 * y.col
    tile.a_k = c.axis[W].step * x.col
    tile.b_k = y.col
    tile.len = j1 - j0
    # rows that follow each other, and images, are one run
    if x_row == tile.len * tile.a_k and y.row == tile.len * tile.b_k:
        tile.len *= rows
        rows = min(rows, 1)
        if x_image == tile.len * tile.a_k and y_image == tile.len * tile.b_k:
            tile.len *= images
            images = 1
    tile.segments = images * rows
    if tile.segments == 0 and not b.first:
        return
    tile.a = pointers
    tile.b = pointers + tile.segments
    for n in range(images):
        for i in range(rows):
            pointers[n * rows + i] = a + n * x_image + i * x_row
            pointers[tile.segments + n * rows + i] = d + n * y_image + i * y.row
    tile.a_m = x.next
    tile.c_m = sums_row
    tile.accumulate = not b.first
    tile.panel = scratch + p.panel_at if p.keep_panel else NULL
    tiles = ceil_div(run, c.kernels.mr)
    for panel in range(b.panels):
        tile.n = <int> min(nr, b.k1 - b.k0 - panel * nr)
        tile.b_from = panel * y.next
        start = 0
        for t in range(tiles):
            tile.m = <int> (part(run, tiles, t + 1) - start)
            tile.a_from = start * x.next
            tile.c = sums + start * sums_row + panel * nr * size
            tile.packed = p.keep_panel and t > 0
            tile.a_prefetch = next_line(x, b.tile, tile.a_from)
            tile.b_prefetch = next_line(y, b.tile + y.every // 2, tile.b_from)
            b.tile += 1
            c.kernels.outer(&tile)
            start += tile.m


cdef void store_sums(const Plan *p, const Block *b, const char *sums, fc_size sums_row,
                     char *w) noexcept nogil:
    """[taps][channels][filters] to where it belongs."""
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, channels = b.c1 - b.c0
    cdef fc_size taps = c.axis[H].taps * c.axis[W].taps, r, s
    if ((b.r1 - b.r0) * (b.s1 - b.s0) == taps and c.axis[W].w == size and c.axis[H].w == c.axis[W].taps * size
            and c.w_c == taps * size):
        c.kernels.unpack_filters(w, c.w_k, sums, sums_row, b.k1 - b.k0, channels, taps)
        return
    for r in range(b.r0, b.r1):
        for s in range(b.s0, b.s1):
            c.kernels.copy2d(
                w + r * c.axis[H].w + s * c.axis[W].w, c.w_c, c.w_k,
                sums + ((r - b.r0) * (b.s1 - b.s0) + s - b.s0) * channels * sums_row,
                sums_row, size, channels, b.k1 - b.k0)


cdef int weight_block(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef Plan *p = <Plan *> context
    cdef Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, nr = c.kernels.nr
    cdef fc_size rest = task, at, lo, hi, r, s, tap_bytes, sums_row
    cdef Block b
    cdef View x, y
    cdef char *w
    cdef char *sums
    cdef int status
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
    b.s1 = min(b.s0 + p.tap_cols, c.axis[W].taps)
    rest = rest // p.col_blocks
    b.r0 = rest % p.row_blocks * p.tap_rows
    b.r1 = min(b.r0 + p.tap_rows, c.axis[H].taps)
    b.g = rest // p.row_blocks
    w = <char *> c.w + slot * p.slot_bytes + b.g * c.w_g + b.k0 * c.w_k + b.c0 * c.w_c
    if p.in_place:
        sums, sums_row = w, c.w_c
    else:
        sums, sums_row = scratch + p.sums_at, b.panels * nr * size
    tap_bytes = (b.c1 - b.c0) * sums_row
    if p.side_by_side:
        b.tiles = ceil_div((b.c1 - b.c0) * (b.s1 - b.s0), c.kernels.mr)
    else:
        b.tiles = ceil_div(b.c1 - b.c0, c.kernels.mr) * (b.s1 - b.s0)
    b.tiles *= (b.r1 - b.r0) * b.panels

    # this slot's rows, of all the rows of the batch
    lo = part(c.batch * c.axis[H].out, p.slots, slot)
    hi = part(c.batch * c.axis[H].out, p.slots, slot + 1)
    b.first = True
    while lo < hi or b.first:  # without images, one piece of none: the sums are zeros
        if not b.first:
            status = check_signals()
            if status != OK:
                return status
        b.n0 = lo // c.axis[H].out
        b.i0 = lo % c.axis[H].out
        b.i1 = min(min(b.i0 + p.piece_rows, c.axis[H].out), b.i0 + hi - lo)
        b.n1 = min(b.n0 + 1, c.batch)
        if b.i1 - b.i0 == c.axis[H].out:
            b.n1 = b.n0 + max(1, min(p.piece_images, (hi - lo) // c.axis[H].out))
        lo += (b.n1 - b.n0) * (b.i1 - b.i0)
        b.j0 = 0
        while b.j0 < c.axis[W].out:
            b.j1 = min(b.j0 + p.piece_cols, c.axis[W].out)
            if b.j1 < c.axis[W].out:
                b.n2, b.i2, b.j2 = b.n0, b.i0, b.j1
            else:
                b.n2, b.i2, b.j2 = lo // c.axis[H].out, lo % c.axis[H].out, 0
            b.tile = 0
            x = view_input(p, &b, scratch + p.x_at)
            y = view_output(p, &b, scratch + p.y_at)
            for r in range(b.r1 - b.r0):
                for s in range(1 if p.side_by_side else b.s1 - b.s0):
                    add_tap(p, &b, &x, &y, r, s, scratch,
                            sums + (r * (b.s1 - b.s0) + s) * tap_bytes, sums_row)
            b.first = False
            b.j0 = b.j1
    if not p.in_place:
        store_sums(p, &b, sums, sums_row, w)
    return OK


cdef int add_slots(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """One filter's partial sums, slot after slot, and the total to where it belongs."""
    cdef Plan *p = <Plan *> context
    cdef const Correlation *c = p.caller
    cdef fc_size size = c.kernels.itemsize, taps = c.axis[H].taps * c.axis[W].taps
    cdef fc_size count = c.channels * taps, ch
    cdef char *total = <char *> c.w + task // c.filters * c.w_g + task % c.filters * c.w_k
    cdef char *partial = <char *> p.c.w + task * count * size
    cdef bint contiguous = (c.axis[W].w == size and c.axis[H].w == c.axis[W].taps * size and c.w_c == taps * size)
    c.kernels.add_fold(total if contiguous else partial, partial, p.slot_bytes, count, p.slots, 1)
    if not contiguous:
        for ch in range(c.channels):
            c.kernels.copy2d(total + ch * c.w_c, c.axis[H].w, c.axis[W].w, partial + ch * taps * size,
                             c.axis[W].taps * size, size, c.axis[H].taps, c.axis[W].taps)
    return OK


cdef double row_cost(const Correlation *c, fc_size rows, fc_size cols,
                     bint contiguous) noexcept nogil:
    """Time of a pixel's products: full tiles, one of single vectors, turning the columns."""
    cdef fc_size lanes = c.kernels.nr // 2, vectors = ceil_div(cols, lanes)
    cdef double cost = <double> rows * lanes * (vectors + 0.3 * (vectors % 2))
    return cost if contiguous else cost + 6.0 * cols * ceil_div(rows, POINTWISE_BLOCK)


cdef void exchange(Plan *p) noexcept nogil:
    """Let x and y change places where filters make the better rows."""
    cdef Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize
    p.exchanged = (
        c.axis[H].taps * c.axis[W].taps == 1 and c.axis[H].first == 0 and c.axis[W].first == 0 and c.axis[H].step == 1
        and c.axis[W].step == 1 and c.axis[H].size == c.axis[H].out and c.axis[W].size == c.axis[W].out
        and row_cost(c, c.filters, c.channels, c.x_c == size)
        <= row_cost(c, c.channels, c.filters, c.y_k == size))
    if not p.exchanged:
        return
    cdef char *x = <char *> c.x
    c.x, c.y = c.y, x
    c.x_n, c.y_n = c.y_n, c.x_n
    c.x_g, c.y_g = c.y_g, c.x_g
    c.x_c, c.y_k = c.y_k, c.x_c
    c.axis[H].x, c.axis[H].y = c.axis[H].y, c.axis[H].x
    c.axis[W].x, c.axis[W].y = c.axis[W].y, c.axis[W].x
    c.channels, c.filters = c.filters, c.channels
    c.w_c, c.w_k = c.w_k, c.w_c


cdef double window_pixels(const Plan *p, fc_size rows, fc_size cols) noexcept nogil:
    """Input pixels under rows x cols outputs, for a block's taps."""
    cdef const Correlation *c = &p.c
    cdef double h = (<double> rows - 1) * c.axis[H].step + (<double> p.tap_rows - 1) * c.axis[H].dilation + 1
    cdef double w = (<double> cols - 1) * c.axis[W].step + (<double> p.tap_cols - 1) * c.axis[W].dilation + 1
    return h * w


cdef void plan_blocks(Plan *p) noexcept nogil:
    cdef Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, nr = c.kernels.nr
    cdef fc_size taps = c.axis[H].taps * c.axis[W].taps, panels = ceil_div(c.filters, nr)
    cdef fc_size channels = BLOCK if taps > 1 else POINTWISE_BLOCK, filters, blocks, tap_bytes
    cdef fc_size most_rows = c.axis[H].taps
    cdef fc_size want = <fc_size> max(1, min(TASKS, 20 * work(c) / TASK_PRODUCTS))
    cdef fc_size most_slots = max(1, min(c.batch * c.axis[H].out,
                                         c.batch * c.axis[H].out * c.axis[W].out
                                         // (POINTWISE_SLOT if taps == 1 else SLOT_PIXELS)))
    if taps > 32:
        channels = BLOCK // 2
    filters = channels
    while True:
        p.channel_blocks = ceil_div(c.channels, channels)
        p.block_channels = ceil_div(c.channels, p.channel_blocks)
        p.block_panels = ceil_div(panels, ceil_div(panels, max(1, filters // nr)))
        p.filter_blocks = ceil_div(panels, p.block_panels)
        # all taps, a row of them, or one
        p.tap_rows, p.tap_cols = min(c.axis[H].taps, most_rows), c.axis[W].taps
        tap_bytes = p.block_channels * p.block_panels * nr * size
        if taps > MAX_TAPS:
            p.tap_rows = max(1, min(p.tap_rows, MAX_TAPS // c.axis[W].taps))
        if p.tap_rows * c.axis[W].taps * tap_bytes > SUMS_BYTES:
            p.tap_rows = max(1, SUMS_BYTES // (c.axis[W].taps * tap_bytes))
        if c.axis[W].taps > MAX_TAPS:
            p.tap_cols = MAX_TAPS
        p.row_blocks = ceil_div(c.axis[H].taps, p.tap_rows)
        p.col_blocks = ceil_div(c.axis[W].taps, p.tap_cols)
        blocks = c.groups * p.row_blocks * p.col_blocks * p.channel_blocks * p.filter_blocks
        p.slots = min(most_slots, ceil_div(want, blocks))
        if 2 * blocks * p.slots > want:
            return
        # smaller blocks rather than too few tasks
        if p.tap_rows > 1 and c.x_c == size:
            most_rows = 1
        elif p.block_channels >= p.block_panels * nr and p.block_channels > MIN_BLOCK:
            channels = ceil_div(p.block_channels, 2)
        elif p.block_panels > 1:
            filters = ceil_div(p.block_panels, 2) * nr
        else:
            return


cdef void plan_pieces(Plan *p) noexcept nogil:
    cdef Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, nr = c.kernels.nr
    cdef fc_size pixel = p.block_channels * size, rows, pixels
    cdef double x_bytes
    p.copy_y = c.y_k != size or c.axis[W].y % FAR == 0
    p.side_by_side = c.channels < FEW_CHANNELS and c.axis[W].taps > 1 and c.axis[W].dilation == 1
    p.copy_x = p.side_by_side
    if c.x_c != size:
        p.copy_x |= c.axis[H].taps * c.axis[W].taps > 1 or c.x_c % PAGE == 0
    else:
        p.copy_x |= c.axis[W].x * c.axis[W].step % (FAR if c.axis[H].taps * c.axis[W].taps == 1 else PAGE) == 0
    pixels = PIECE_BYTES // (pixel + p.block_panels * nr * size)
    pixels = max(MIN_PIXELS, min(PIECE_PIXELS, pixels))
    p.piece_cols = ceil_div(c.axis[W].out, ceil_div(c.axis[W].out, pixels))
    p.piece_rows = max(1, min(c.axis[H].out, pixels // p.piece_cols))
    if p.copy_x:
        rows = p.piece_rows
        while rows > 1 and window_pixels(p, rows, p.piece_cols) * pixel > WINDOW_BYTES:
            rows = (rows + 1) // 2
        if window_pixels(p, rows, p.piece_cols) > MAX_WASTE * rows * p.piece_cols + 256:
            p.copy_x = p.side_by_side = False
        else:
            p.piece_rows = rows
    p.piece_rows = ceil_div(c.axis[H].out, ceil_div(c.axis[H].out, p.piece_rows))
    p.piece_images = 1
    x_bytes = window_pixels(p, p.piece_rows, p.piece_cols) * pixel if p.copy_x else 0
    if p.piece_rows == c.axis[H].out and p.piece_cols == c.axis[W].out:
        p.piece_images = pixels // (c.axis[H].out * c.axis[W].out)
        if p.copy_x:
            p.piece_images = min(p.piece_images, <fc_size> (WINDOW_BYTES / x_bytes))
        p.piece_images = max(1, min(p.piece_images, c.batch))
    cdef fc_size all_rows = p.piece_images * p.piece_rows
    cdef fc_size y_bytes = all_rows * p.piece_cols * p.block_panels * nr * size
    p.pointers_at = 0
    p.x_at = round_up(2 * all_rows * sizeof(void *))
    p.y_at = p.x_at + round_up(p.piece_images * <fc_size> x_bytes)
    # each tap would pack them anew
    p.keep_panel = (c.axis[H].taps * c.axis[W].taps == 1 and not p.copy_y and p.block_channels > c.kernels.mr)
    p.panel_at = p.y_at + (round_up(y_bytes) if p.copy_y else 0)
    p.sums_at = p.panel_at
    if p.keep_panel:
        p.sums_at += round_up(all_rows * p.piece_cols * nr * size)
    p.scratch_bytes = p.sums_at
    if not p.in_place:
        p.scratch_bytes += p.tap_rows * p.tap_cols * p.block_channels * p.block_panels * nr * size


cdef int run_weight(const Correlation *correlation, int num_threads) noexcept nogil:
    """The correlation's w is written, not read."""
    cdef Plan p
    cdef Correlation *c = &p.c
    cdef Correlation caller = correlation[0]
    cdef int status
    cdef char *partial = NULL
    cdef fc_size size = caller.kernels.itemsize, taps = caller.axis[H].taps * caller.axis[W].taps
    cdef fc_size blocks, count
    fold_steps(&caller)
    count = caller.groups * caller.filters * caller.channels * taps
    p.caller = &caller
    c[0] = caller
    exchange(&p)
    plan_blocks(&p)
    blocks = c.groups * p.row_blocks * p.col_blocks * p.channel_blocks * p.filter_blocks
    if p.slots > 1:
        p.slot_bytes = count * size
        partial = allocate(p.slots * p.slot_bytes)
        if partial == NULL:
            return OUT_OF_MEMORY
        c.w = partial
        c.axis[W].w = size
        c.axis[H].w = c.axis[W].taps * size
        c.w_c = taps * size
        c.w_k = caller.channels * taps * size
        c.w_g = caller.filters * c.w_k
        if p.exchanged:
            c.w_c, c.w_k = c.w_k, c.w_c
    p.in_place = taps == 1 and c.w_k == size
    plan_pieces(&p)
    status = parallel_for(weight_block, &p, blocks * p.slots, p.scratch_bytes, work(c),
                          num_threads)
    if p.slots > 1 and status == OK:
        status = parallel_for(add_slots, &p, caller.groups * caller.filters, 0,
                              <double> p.slots * count, num_threads)
    release(partial)
    return status
