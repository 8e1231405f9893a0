"""Direct convolution as an implicit matrix product: no im2col of the image.

`correlate` computes y from x and w (forward, and every phase of the input gradient);
`correlate_weight` computes w from x and y. Both feed the register tile of the kernel table: rows
are pixels (or input channels), columns are filters, a vector at a time. What differs between
memory formats is only where a tile's rows come from:

IN_PLACE  channels contiguous: rows point into the image, or to zeros beyond its border
WINDOW    otherwise: the piece of the image under a block of outputs is copied, channels last and
          with its border of zeros, to this thread's scratch; rows point there
GATHER    steps or dilations so large that such a piece would hold mostly pixels nobody reads: only
          the pixels read are copied, tap by tap
PLANES    1x1, width contiguous: no rearranging of outputs. Rows are filters, columns are pixels
"""

from libc.string cimport memcpy, memset

from fastconv._drivers.correlation cimport Correlation, ceil_div, multiply_adds, part
from fastconv._drivers.kernels cimport (
    FC_TILE_ACCUMULATE, FC_TILE_BIAS_PER_ROW, FC_TILE_RELU, fc_kernels, fc_size, fc_tile)
from fastconv._drivers.runtime cimport OK, OUT_OF_MEMORY, allocate, parallel_for, release


cdef enum Source:
    IN_PLACE
    WINDOW
    GATHER

cdef enum:
    # A block's piece of the image should stay in half of a 1 MB L2 while every panel of filters
    # passes over it, and a block should have pixels enough to pay for streaming those panels.
    BLOCK_BYTES = 256 * 1024
    WINDOW_BYTES = 512 * 1024
    GATHER_BYTES = 512 * 1024
    BLOCK_PIXELS = 256
    LEAST_PIXELS = 56
    POINTER_BYTES = 128 * 1024
    # Enough tasks to share out evenly among a few threads. Shapes alone decide, never the number
    # of threads.
    TASKS = 16


# ---------------------------------------------------------------- forward and input gradient

ctypedef struct Plan:
    Correlation c
    Source source
    char *panels         # [groups][n_panels][taps_h][taps_w][channels][nr], packed filters
    fc_size panel_bytes
    fc_size n_panels
    char *bias           # [groups][n_panels * nr], zero beyond the filters, or NULL
    char *zeros          # one pixel of zeros, what lies beyond the border (IN_PLACE)
    fc_size block_h, block_w, blocks_h, blocks_w
    fc_size splits       # the panels of a block are shared out over this many tasks
    # A segment is a run of contiguous elements under every pixel: one tap's channels, or in a
    # WINDOW without dilation one row of taps with all their channels.
    fc_size n_segments, segment_len, chunk
    bint direct          # tiles may be stored straight into y
    # scratch: pointers | image piece | result of a block for one panel
    fc_size pointers_at, piece_at, result_at, scratch_bytes


ctypedef struct Block:
    fc_size n, g, i0, i1, j0, j1, pixels, tiles


cdef inline void tile_rows(const Block *b, fc_size t, fc_size *first, fc_size *count) noexcept nogil:
    first[0] = part(b.pixels, b.tiles, t)
    count[0] = part(b.pixels, b.tiles, t + 1) - first[0]


cdef int pack_panel(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef Plan *p = <Plan *> context
    cdef Correlation *c = &p.c
    cdef fc_size nr = c.kernels.nr
    cdef fc_size g = task // p.n_panels, first = task % p.n_panels * nr
    cdef fc_size n = min(nr, c.filters - first)
    c.kernels.pack_filters(p.panels + task * p.panel_bytes, c.w + g * c.w_g + first * c.w_k,
                           n, c.channels, c.taps_h, c.taps_w, c.w_k, c.w_c, c.w_h, c.w_w, nr)
    if p.bias != NULL:
        memcpy(p.bias + task * nr * c.kernels.itemsize,
               c.bias + (g * c.filters + first) * c.kernels.itemsize, n * c.kernels.itemsize)
    return OK


cdef const char *pixel_in_place(const Plan *p, const Block *b, fc_size row, fc_size col) noexcept nogil:
    cdef const Correlation *c = &p.c
    if row < 0 or row >= c.height or col < 0 or col >= c.width:
        return p.zeros
    return c.x + b.n * c.x_n + b.g * c.x_g + row * c.x_h + col * c.x_w


cdef void fill_window(const Plan *p, const Block *b, char *piece, fc_size cols) noexcept nogil:
    """The image under block b, [rows][cols][channels], zero beyond the border."""
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, pixel = c.channels * size
    cdef fc_size top = c.row0 + b.i0 * c.step_h, left = c.col0 + b.j0 * c.step_w
    cdef fc_size rows = (b.i1 - b.i0 - 1) * c.step_h + (c.taps_h - 1) * c.row_d + 1
    cdef fc_size lo = min(max(0, -left), cols), hi = max(min(cols, c.width - left), lo)
    cdef const char *x = c.x + b.n * c.x_n + b.g * c.x_g
    cdef char *line
    cdef fc_size r
    for r in range(rows):
        line = piece + r * cols * pixel
        if top + r < 0 or top + r >= c.height or hi == lo:
            memset(line, 0, cols * pixel)
            continue
        memset(line, 0, lo * pixel)
        c.kernels.copy2d(line + lo * pixel, pixel, size,
                         x + (top + r) * c.x_h + (left + lo) * c.x_w, c.x_w, c.x_c,
                         hi - lo, c.channels)
        memset(line + hi * pixel, 0, (cols - hi) * pixel)


cdef void gather(const Plan *p, const Block *b, char *piece, fc_size first, fc_size last) noexcept nogil:
    """The pixels that taps first..last read, [taps][pixels][channels], zero beyond the border."""
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, pixel = c.channels * size
    cdef const char *x = c.x + b.n * c.x_n + b.g * c.x_g
    cdef char *to = piece
    cdef fc_size t, i, j, row, col
    for t in range(first, last):
        for i in range(b.i0, b.i1):
            row = c.row0 + i * c.step_h + t // c.taps_w * c.row_d
            for j in range(b.j0, b.j1):
                col = c.col0 + j * c.step_w + t % c.taps_w * c.col_d
                if row < 0 or row >= c.height or col < 0 or col >= c.width:
                    memset(to, 0, pixel)
                else:
                    c.kernels.copy2d(to, pixel, size, x + row * c.x_h + col * c.x_w, 0, c.x_c,
                                     1, c.channels)
                to += pixel


cdef void point_rows(const Plan *p, const Block *b, char *scratch, fc_size first,
                     fc_size last) noexcept nogil:
    """Where segments first..last start for every pixel of the block: [tiles][segments][rows]."""
    cdef const Correlation *c = &p.c
    cdef const char **out = <const char **> (scratch + p.pointers_at)
    cdef char *piece = scratch + p.piece_at
    cdef fc_size pixel = c.channels * c.kernels.itemsize
    cdef fc_size width = b.j1 - b.j0
    cdef fc_size cols = (width - 1) * c.step_w + (c.taps_w - 1) * c.col_d + 1
    cdef bint rows_of_taps = p.n_segments == c.taps_h and p.segment_len != c.channels
    cdef fc_size t, s, q, start, count, r, k, i, j
    if p.source == GATHER:
        gather(p, b, piece, first, last)
    elif p.source == WINDOW and first == 0:
        fill_window(p, b, piece, cols)
    for t in range(b.tiles):
        tile_rows(b, t, &start, &count)
        for s in range(first, last):
            r = s if rows_of_taps else s // c.taps_w
            k = 0 if rows_of_taps else s % c.taps_w
            i = start // width
            j = start % width
            for q in range(count):
                if p.source == IN_PLACE:
                    out[q] = pixel_in_place(p, b, c.row0 + (b.i0 + i) * c.step_h + r * c.row_d,
                                            c.col0 + (b.j0 + j) * c.step_w + k * c.col_d)
                elif p.source == WINDOW:
                    out[q] = piece + ((i * c.step_h + r * c.row_d) * cols
                                      + j * c.step_w + k * c.col_d) * pixel
                else:
                    out[q] = piece + ((s - first) * b.pixels + start + q) * pixel
                j += 1
                if j == width:
                    j = 0
                    i += 1
            out += count


cdef void store_block(const Plan *p, const Block *b, fc_size panel, const char *result,
                      fc_size n) noexcept nogil:
    """One panel's result [pixels][nr] to y, whatever its strides."""
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, pixel = c.kernels.nr * size
    cdef fc_size width = b.j1 - b.j0
    cdef char *y = (c.y + b.n * c.y_n + b.g * c.y_g + panel * c.kernels.nr * c.y_k
                    + b.i0 * c.y_h + b.j0 * c.y_w)
    cdef fc_size i
    if c.y_h == width * c.y_w:  # the rows of the block follow each other without a gap
        c.kernels.copy2d(y, c.y_w, c.y_k, result, pixel, size, b.pixels, n)
        return
    for i in range(b.i1 - b.i0):
        c.kernels.copy2d(y + i * c.y_h, c.y_w, c.y_k, result + i * width * pixel, pixel, size,
                         width, n)


cdef int correlate_block(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef Plan *p = <Plan *> context
    cdef Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, nr = c.kernels.nr
    cdef fc_size split = task % p.splits, block = task // p.splits
    cdef fc_size bh, bw, panel, first_panel, last_panel, chunk, last, t, start, count, n
    cdef Block b
    cdef fc_tile tile
    bw = block % p.blocks_w
    block = block // p.blocks_w
    bh = block % p.blocks_h
    block = block // p.blocks_h
    b.g = block % c.groups
    b.n = block // c.groups
    b.i0 = bh * p.block_h
    b.i1 = min(b.i0 + p.block_h, c.out_h)
    b.j0 = bw * p.block_w
    b.j1 = min(b.j0 + p.block_w, c.out_w)
    b.pixels = (b.i1 - b.i0) * (b.j1 - b.j0)
    b.tiles = ceil_div(b.pixels, c.kernels.mr)
    first_panel = part(p.n_panels, p.splits, split)
    last_panel = part(p.n_panels, p.splits, split + 1)

    tile.a_k = size
    tile.b_k = nr * size
    tile.b_segment = p.segment_len * nr * size
    tile.len = p.segment_len
    cdef char *result = scratch + p.result_at
    cdef char *y = c.y + b.n * c.y_n + b.g * c.y_g + b.i0 * c.y_h + b.j0 * c.y_w
    for panel in range(first_panel, last_panel):
        n = min(nr, c.filters - panel * nr)
        tile.n = <int> n
        tile.bias = NULL if p.bias == NULL else p.bias + (b.g * p.n_panels + panel) * nr * size
        chunk = 0
        while True:
            last = min(chunk + p.chunk, p.n_segments)
            if panel == first_panel or p.chunk < p.n_segments:
                point_rows(p, &b, scratch, chunk, last)
            tile.segments = last - chunk
            tile.a = <const void **> (scratch + p.pointers_at)
            tile.b = (p.panels + (b.g * p.n_panels + panel) * p.panel_bytes
                      + chunk * tile.b_segment)
            tile.flags = FC_TILE_ACCUMULATE if chunk else 0
            if last == p.n_segments and c.relu:
                tile.flags |= FC_TILE_RELU
            if not p.direct:
                tile.n = <int> nr  # whole vectors: the result has room, the packed zeros are free
            for t in range(b.tiles):
                tile_rows(&b, t, &start, &count)
                tile.m = <int> count
                if p.direct:
                    tile.c = y + start * c.y_w + panel * nr * size
                    tile.c_m = c.y_w
                else:
                    tile.c = result + start * nr * size
                    tile.c_m = nr * size
                c.kernels.tile(&tile)
                tile.a += tile.segments * count
            chunk = last
            if chunk >= p.n_segments:
                break
        if not p.direct:
            store_block(p, &b, panel, result, n)
    return OK


cdef fc_size window_bytes(const Correlation *c, fc_size h, fc_size w) noexcept nogil:
    """Bytes of the image piece under h x w outputs; sizes are bounded by the padded image's."""
    cdef double rows = (<double> h - 1) * c.step_h + (<double> c.taps_h - 1) * c.row_d + 1
    cdef double cols = (<double> w - 1) * c.step_w + (<double> c.taps_w - 1) * c.col_d + 1
    cdef double nbytes = rows * cols * c.channels * c.kernels.itemsize
    return <fc_size> min(nbytes, 1e15)


cdef void choose_blocks(Plan *p) noexcept nogil:
    cdef Correlation *c = &p.c
    cdef fc_size pixel = c.channels * c.kernels.itemsize
    cdef fc_size pixels = max(LEAST_PIXELS, min(BLOCK_PIXELS, BLOCK_BYTES // pixel))
    cdef fc_size outputs = c.out_h * c.out_w, images = c.batch * c.groups
    while pixels > LEAST_PIXELS and images * ceil_div(outputs, pixels) < TASKS:
        pixels = pixels // 2
    p.source = IN_PLACE
    if c.taps_h * c.taps_w == 0:
        pass  # a phase that no tap reaches: zeros, a product over no elements
    elif c.x_c != c.kernels.itemsize or (c.channels * c.kernels.itemsize < 64
                                       and c.taps_h * c.taps_w > 1):
        p.source = WINDOW
    p.block_w = min(c.out_w, pixels)
    p.block_h = max(1, min(c.out_h, pixels // p.block_w))
    if p.source == WINDOW:
        while p.block_h > 1 and window_bytes(c, p.block_h, p.block_w) > WINDOW_BYTES:
            p.block_h = (p.block_h + 1) // 2
        while p.block_w > c.kernels.mr and window_bytes(c, 1, p.block_w) > WINDOW_BYTES:
            p.block_w = (p.block_w + 1) // 2
        # worth it while most of the piece is read: otherwise only what is read is copied
        if window_bytes(c, p.block_h, p.block_w) > 2 * WINDOW_BYTES:
            p.source = GATHER
    p.blocks_h = ceil_div(c.out_h, p.block_h)
    p.blocks_w = ceil_div(c.out_w, p.block_w)
    p.block_h = ceil_div(c.out_h, p.blocks_h)
    p.block_w = ceil_div(c.out_w, p.blocks_w)
    cdef fc_size tasks = images * p.blocks_h * p.blocks_w
    p.splits = min(p.n_panels, ceil_div(TASKS, max(1, tasks)))


cdef void choose_segments(Plan *p) noexcept nogil:
    cdef Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, pixels = p.block_h * p.block_w
    cdef fc_size piece = 0
    if p.source == WINDOW and c.col_d == 1 and c.taps_w > 1:
        p.n_segments = c.taps_h
        p.segment_len = c.taps_w * c.channels
    else:
        p.n_segments = c.taps_h * c.taps_w
        p.segment_len = c.channels
    p.chunk = max(1, min(p.n_segments, POINTER_BYTES // (pixels * <fc_size> sizeof(void *))))
    if p.source == GATHER:
        p.chunk = max(1, min(p.chunk, GATHER_BYTES // (pixels * c.channels * size)))
        piece = p.chunk * pixels * c.channels * size
    elif p.source == WINDOW:
        piece = window_bytes(c, p.block_h, p.block_w)
    p.direct = c.y_k == size and (c.y_h == p.block_w * c.y_w or p.block_h == 1)
    p.pointers_at = 0
    p.piece_at = round_up(p.chunk * pixels * sizeof(void *))
    p.result_at = p.piece_at + round_up(piece)
    p.scratch_bytes = p.result_at
    if not p.direct:
        p.scratch_bytes += round_up(pixels * c.kernels.nr * size)


cdef inline fc_size round_up(fc_size nbytes) noexcept nogil:
    return (nbytes + 63) // 64 * 64


cdef void forward_taps(Correlation *c) noexcept nogil:
    """Number the taps so that they go down and to the right; where there is one tap inside the
    image, a step is only a longer stride."""
    if c.row_d < 0:
        c.row0 += (c.taps_h - 1) * c.row_d
        c.row_d = -c.row_d
        c.w += (c.taps_h - 1) * c.w_h
        c.w_h = -c.w_h
    if c.col_d < 0:
        c.col0 += (c.taps_w - 1) * c.col_d
        c.col_d = -c.col_d
        c.w += (c.taps_w - 1) * c.w_w
        c.w_w = -c.w_w
    if c.taps_h == 1 and c.row0 >= 0 and c.row0 + (c.out_h - 1) * c.step_h < c.height:
        c.x += c.row0 * c.x_h
        c.row0 = 0
        c.x_h *= c.step_h
        c.step_h = 1
        c.height = c.out_h
    if c.taps_w == 1 and c.col0 >= 0 and c.col0 + (c.out_w - 1) * c.step_w < c.width:
        c.x += c.col0 * c.x_w
        c.col0 = 0
        c.x_w *= c.step_w
        c.step_w = 1
        c.width = c.out_w


cdef int correlate(const Correlation *correlation, int num_threads) noexcept nogil:
    cdef Plan p
    cdef Correlation *c = &p.c
    cdef int status = OUT_OF_MEMORY
    c[0] = correlation[0]
    if c.batch * c.groups * c.filters * c.out_h * c.out_w == 0:
        return OK
    forward_taps(c)
    if is_planes(c):
        return correlate_planes(c, num_threads)
    cdef fc_size size = c.kernels.itemsize, nr = c.kernels.nr
    p.n_panels = ceil_div(c.filters, nr)
    p.panel_bytes = c.taps_h * c.taps_w * c.channels * nr * size
    choose_blocks(&p)
    choose_segments(&p)
    cdef fc_size bias_bytes = c.groups * p.n_panels * nr * size if c.bias != NULL else 0
    cdef fc_size packed_bytes = c.groups * p.n_panels * p.panel_bytes
    cdef char *memory = allocate(packed_bytes + bias_bytes + c.channels * size)
    if memory == NULL:
        return status
    p.panels = memory
    p.bias = memory + packed_bytes if bias_bytes else NULL
    p.zeros = memory + packed_bytes + bias_bytes
    memset(p.panels + packed_bytes, 0, bias_bytes + c.channels * size)
    status = parallel_for(pack_panel, &p, c.groups * p.n_panels, 0,
                          <double> packed_bytes / size, num_threads)
    if status == OK:
        status = parallel_for(correlate_block, &p,
                              c.batch * c.groups * p.blocks_h * p.blocks_w * p.splits,
                              p.scratch_bytes, multiply_adds(c), num_threads)
    release(memory)
    return status


# ---------------------------------------------------------------- 1x1 over contiguous planes

cdef enum:
    PLANE_PANELS = 4  # vectors-of-pixels panels of a task

ctypedef struct Planes:
    Correlation c
    char *filters       # [groups][filters][channels], contiguous along channels
    fc_size f_g, f_k
    fc_size pixels, blocks
    fc_size scratch_bytes


cdef bint is_planes(const Correlation *c) noexcept nogil:
    """1x1 without steps or border, both sides' planes contiguous."""
    cdef fc_size size = c.kernels.itemsize
    return (c.taps_h == 1 and c.taps_w == 1 and c.step_h == 1 and c.step_w == 1
            and c.row0 == 0 and c.col0 == 0
            and c.height == c.out_h and c.width == c.out_w
            and c.x_w == size and c.x_h == c.width * size
            and c.y_w == size and c.y_h == c.width * size)


cdef int planes_block(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef Planes *p = <Planes *> context
    cdef Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, nr = c.kernels.nr, mr = c.kernels.mr
    cdef fc_size block = task % p.blocks, g = task // p.blocks % c.groups
    cdef fc_size n = task // p.blocks // c.groups
    cdef const char *x = c.x + n * c.x_n + g * c.x_g
    cdef char *y = c.y + n * c.y_n + g * c.y_g
    cdef const char *w = p.filters + g * p.f_g
    cdef const void **rows = <const void **> scratch
    cdef char *panel = scratch + round_up(mr * sizeof(void *))  # [channels][nr]
    cdef fc_size first, last = min((block + 1) * PLANE_PANELS * nr, p.pixels)
    cdef fc_size tiles = ceil_div(c.filters, mr), t, k, i, count
    cdef fc_tile tile
    tile.a = rows
    tile.a_k = size
    tile.b = panel
    tile.b_k = nr * size
    tile.b_segment = 0
    tile.segments = 1
    tile.len = c.channels
    tile.c_m = c.y_k
    tile.flags = FC_TILE_BIAS_PER_ROW | (FC_TILE_RELU if c.relu else 0)
    first = block * PLANE_PANELS * nr
    while first < last:
        tile.n = <int> min(nr, last - first)
        c.kernels.copy2d(panel, nr * size, size, x + first * size, c.x_c, size,
                         c.channels, tile.n)
        for t in range(tiles):
            k = part(c.filters, tiles, t)
            count = part(c.filters, tiles, t + 1) - k
            for i in range(count):
                rows[i] = w + (k + i) * p.f_k
            tile.m = <int> count
            tile.bias = NULL if c.bias == NULL else c.bias + (g * c.filters + k) * size
            tile.c = y + k * c.y_k + first * size
            c.kernels.tile(&tile)
        first += nr
    return OK


cdef int correlate_planes(const Correlation *correlation, int num_threads) noexcept nogil:
    cdef Planes p
    cdef Correlation *c = &p.c
    cdef fc_size g
    cdef char *turned = NULL
    cdef int status
    c[0] = correlation[0]
    cdef fc_size size = c.kernels.itemsize
    p.filters = <char *> c.w
    p.f_g = c.w_g
    p.f_k = c.w_k
    if c.w_c != size:  # the input gradient reads the filters the other way round
        p.f_k = c.channels * size
        p.f_g = c.filters * p.f_k
        turned = allocate(c.groups * p.f_g)
        if turned == NULL:
            return OUT_OF_MEMORY
        for g in range(c.groups):
            c.kernels.copy2d(turned + g * p.f_g, p.f_k, size, c.w + g * c.w_g, c.w_k, c.w_c,
                             c.filters, c.channels)
        p.filters = turned
    p.pixels = c.out_h * c.out_w
    p.blocks = ceil_div(p.pixels, PLANE_PANELS * c.kernels.nr)
    p.scratch_bytes = round_up(c.kernels.mr * sizeof(void *)) + c.channels * c.kernels.nr * size
    status = parallel_for(planes_block, &p, c.batch * c.groups * p.blocks, p.scratch_bytes,
                          multiply_adds(c), num_threads)
    release(turned)
    return status


# ---------------------------------------------------------------- weight gradient
#
# Rows are input channels (in a WINDOW, all of a row of taps' channels: they are contiguous there),
# columns are filters, and the sum runs over the pixels of every image. A task owns its piece of the
# gradient and sums alone, in an order that the shape fixes.

cdef enum:
    ROW_BLOCK = 56        # rows (input channels) of a task
    CHUNK_PIXELS = 128    # pixels between two loads of the accumulators
    MOST_TAPS = 16        # of a task: bounds its sums

ctypedef struct WeightPlan:
    Correlation c
    bint in_place        # both operands have contiguous channels
    fc_size taps         # taps of a task: those of a row, or one
    bint merged          # taps of a row lie side by side in the window
    fc_size channel_blocks, filter_blocks, block_filters
    fc_size chunk_rows, chunk_cols
    fc_size pointers_at, x_at, y_at, sums_at, scratch_bytes
    fc_size block_channels


cdef inline void valid(fc_size first, fc_size step, fc_size size, fc_size n,
                       fc_size *lo, fc_size *hi) noexcept nogil:
    """Outputs i in [lo, hi) of n for which first + i * step lies in [0, size)."""
    lo[0] = 0 if first >= 0 else (-first + step - 1) // step
    hi[0] = 0 if first >= size else (size - 1 - first) // step + 1
    lo[0] = min(lo[0], n)
    hi[0] = max(min(hi[0], n), lo[0])


# A piece of the images on both sides: some rows of outputs, columns [j0, j1) of them.
ctypedef struct WeightPiece:
    fc_size channels, filters, panels
    fc_size rows, j0, j1
    fc_size col0            # column under the task's first tap for output 0
    const char *x           # first row, this task's channels
    const char *y           # first row, this task's filters
    # operands of a tap: a[row][pixel][channel] and b[panel][row][pixel][filter]
    const char *a
    fc_size a_row
    const char *b
    fc_size b_panel


cdef inline fc_size piece_cols(const WeightPlan *p, fc_size outputs) noexcept nogil:
    """Columns copied for so many outputs: a window over all taps, or just those a tap reads."""
    return (outputs - 1) * p.c.step_w + p.taps if p.merged else outputs


cdef void copy_piece(const WeightPlan *p, const WeightPiece *b, char *x_piece,
                     char *y_piece) noexcept nogil:
    """x to [rows][cols][channels], zero beyond the border; y to [panels][rows][cols][nr]."""
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, nr = c.kernels.nr, pixel = b.channels * size
    cdef fc_size outputs = b.j1 - b.j0, cols = piece_cols(p, outputs)
    cdef fc_size step = 1 if p.merged else c.step_w
    cdef fc_size left = b.col0 + b.j0 * c.step_w
    cdef fc_size i, panel, lo, hi
    cdef char *to
    valid(left, step, c.width, cols, &lo, &hi)
    for i in range(b.rows):
        to = x_piece + i * cols * pixel
        memset(to, 0, lo * pixel)
        c.kernels.copy2d(to + lo * pixel, pixel, size,
                         b.x + i * c.step_h * c.x_h + (left + lo * step) * c.x_w,
                         step * c.x_w, c.x_c, hi - lo, b.channels)
        memset(to + hi * pixel, 0, (cols - hi) * pixel)
        for panel in range(b.panels):
            c.kernels.copy2d(y_piece + (panel * b.rows + i) * outputs * nr * size, nr * size, size,
                             b.y + i * c.y_h + b.j0 * c.y_w + panel * nr * c.y_k, c.y_w, c.y_k,
                             outputs, min(nr, b.filters - panel * nr))


cdef void operands(const WeightPlan *p, WeightPiece *b, fc_size s, const char *x_piece,
                   const char *y_piece, fc_tile *tile) noexcept nogil:
    """Where tap s finds its rows and columns."""
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, nr = c.kernels.nr, pixel = b.channels * size
    cdef fc_size outputs = b.j1 - b.j0, first, lo, hi
    if p.in_place:
        first = b.col0 + s * c.col_d + b.j0 * c.step_w
        valid(first, c.step_w, c.width, outputs, &lo, &hi)
        tile.len = hi - lo
        tile.a_k = c.step_w * c.x_w
        tile.b_k = c.y_w
        tile.b_segment = c.y_h
        b.a = b.x + (first + lo * c.step_w) * c.x_w
        b.a_row = c.step_h * c.x_h
        b.b = b.y + (b.j0 + lo) * c.y_w
        b.b_panel = nr * size
    else:
        tile.len = outputs
        tile.a_k = c.step_w * pixel if p.merged else pixel
        tile.b_k = nr * size
        tile.b_segment = outputs * nr * size
        b.a = x_piece
        b.a_row = piece_cols(p, outputs) * pixel
        b.b = y_piece
        b.b_panel = b.rows * outputs * nr * size


cdef int weight_block(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef WeightPlan *p = <WeightPlan *> context
    cdef Correlation *c = &p.c
    cdef const fc_kernels *kernels = c.kernels
    cdef fc_size size = kernels.itemsize, nr = kernels.nr, mr = kernels.mr
    # task -> group, row of taps, (tap,) block of filters, block of channels
    cdef fc_size rest = task
    cdef fc_size cb = rest % p.channel_blocks
    rest = rest // p.channel_blocks
    cdef fc_size fb = rest % p.filter_blocks
    rest = rest // p.filter_blocks
    cdef fc_size tap_groups = c.taps_w // p.taps
    cdef fc_size s0 = rest % tap_groups * p.taps
    rest = rest // tap_groups
    cdef fc_size r = rest % c.taps_h, g = rest // c.taps_h
    cdef fc_size c0 = part(c.channels, p.channel_blocks, cb)
    cdef fc_size channels = part(c.channels, p.channel_blocks, cb + 1) - c0
    cdef fc_size k0 = fb * p.block_filters
    cdef fc_size filters = min(p.block_filters, c.filters - k0)
    cdef fc_size panels = ceil_div(filters, nr)

    cdef const char *x = c.x + g * c.x_g + c0 * c.x_c
    cdef const char *y = c.y + g * c.y_g + k0 * c.y_k
    cdef char *x_piece = scratch + p.x_at   # [rows][cols][channels]
    cdef char *y_piece = scratch + p.y_at   # [panels][rows][out_w][nr]
    cdef char *sums = scratch + p.sums_at   # [taps][channels][panels * nr]
    cdef const void **pointers = <const void **> (scratch + p.pointers_at)
    cdef fc_size sums_row = panels * nr * size
    cdef fc_size n, i, i0, i1, i_lo, i_hi, j0, j1, s, t, start, count, tiles, panel, q
    cdef fc_size row0 = c.row0 + r * c.row_d
    cdef WeightPiece piece
    cdef fc_tile tile
    memset(sums, 0, p.taps * channels * sums_row)
    valid(row0, c.step_h, c.height, c.out_h, &i_lo, &i_hi)

    piece.channels = channels
    piece.filters = filters
    piece.panels = panels
    piece.col0 = c.col0 + s0 * c.col_d
    tile.flags = FC_TILE_ACCUMULATE
    tile.bias = NULL
    tile.a = pointers
    tile.c_m = sums_row
    for n in range(c.batch):
        i0 = i_lo
        j0 = 0
        while i0 < i_hi:
            i1 = min(i0 + p.chunk_rows, i_hi)
            j1 = min(j0 + p.chunk_cols, c.out_w)
            piece.rows = i1 - i0
            piece.j0 = j0
            piece.j1 = j1
            piece.x = x + n * c.x_n + (row0 + i0 * c.step_h) * c.x_h
            piece.y = y + n * c.y_n + i0 * c.y_h
            if not p.in_place:
                copy_piece(p, &piece, x_piece, y_piece)
            tile.segments = piece.rows
            for s in range(1 if p.merged else p.taps):
                operands(p, &piece, s, x_piece, y_piece, &tile)
                if tile.len == 0:
                    continue
                count = channels * p.taps if p.merged else channels
                tiles = ceil_div(count, mr)
                for t in range(tiles):
                    start = part(count, tiles, t)
                    tile.m = <int> (part(count, tiles, t + 1) - start)
                    for i in range(piece.rows):
                        for q in range(tile.m):
                            pointers[i * tile.m + q] = (piece.a + i * piece.a_row
                                                        + (start + q) * size)
                    for panel in range(panels):
                        tile.n = <int> min(nr, filters - panel * nr)
                        tile.b = piece.b + panel * piece.b_panel
                        tile.c = sums + (s * channels + start) * sums_row + panel * nr * size
                        kernels.tile(&tile)
            j0 = j1
            if j0 == c.out_w:
                j0 = 0
                i0 = i1
    for s in range(p.taps):
        kernels.copy2d(<char *> c.w + g * c.w_g + k0 * c.w_k + c0 * c.w_c + r * c.w_h
                       + (s0 + s) * c.w_w, c.w_c, c.w_k,
                       sums + s * channels * sums_row, sums_row, size, channels, filters)
    return OK


cdef int correlate_weight(const Correlation *correlation, int num_threads) noexcept nogil:
    """w from x and y; the correlation's w is written, not read."""
    cdef WeightPlan p
    cdef Correlation *c = &p.c
    c[0] = correlation[0]
    cdef fc_size size = c.kernels.itemsize, nr = c.kernels.nr
    if c.groups * c.filters * c.channels * c.taps_h * c.taps_w == 0:
        return OK
    p.in_place = c.x_c == size and c.y_k == size and c.channels * size >= 32
    # a window holds a row of taps side by side, unless dilation or a long step leaves gaps
    p.merged = (not p.in_place and c.col_d == 1 and c.step_w <= max(2, c.taps_w)
                and c.taps_w <= MOST_TAPS)
    p.taps = c.taps_w if (p.merged or p.in_place) and c.taps_w <= MOST_TAPS else 1
    p.channel_blocks = ceil_div(c.channels, ROW_BLOCK)
    p.block_channels = ceil_div(c.channels, p.channel_blocks)
    p.block_filters = min(2, ceil_div(c.filters, nr)) * nr
    cdef fc_size units = c.groups * c.taps_h * (c.taps_w // p.taps)
    if units * p.channel_blocks * ceil_div(c.filters, p.block_filters) < TASKS:
        p.block_filters = nr
    p.filter_blocks = ceil_div(c.filters, p.block_filters)
    while units * p.channel_blocks * p.filter_blocks < TASKS and p.block_channels > 16:
        p.channel_blocks += 1
        p.block_channels = ceil_div(c.channels, p.channel_blocks)
    p.chunk_cols = min(c.out_w, 2 * CHUNK_PIXELS)
    p.chunk_rows = 1
    if p.chunk_cols == c.out_w:
        p.chunk_rows = max(1, min(c.out_h, CHUNK_PIXELS // max(1, c.out_w)))
    cdef fc_size cols = piece_cols(&p, p.chunk_cols)
    p.pointers_at = 0
    p.x_at = round_up(p.chunk_rows * c.kernels.mr * sizeof(void *))
    p.y_at = p.x_at
    p.sums_at = p.y_at
    if not p.in_place:
        p.y_at += round_up(p.chunk_rows * cols * p.block_channels * size)
        p.sums_at = p.y_at + round_up(p.chunk_rows * p.chunk_cols * p.block_filters * size)
    p.scratch_bytes = p.sums_at + p.taps * p.block_channels * p.block_filters * size
    return parallel_for(weight_block, &p, units * p.channel_blocks * p.filter_blocks,
                        p.scratch_bytes, multiply_adds(c), num_threads)
