"""Direct convolution as an implicit matrix product: no im2col of the image.

`run_direct` computes y from x and w: the forward pass, and every phase of the input gradient. It
feeds the register tile of the kernel table: rows are pixels, columns are filters, a vector at a
time. What differs between memory formats is only where a tile's rows come from:

IN_PLACE  channels contiguous: rows point into the image, or to zeros beyond its border
WINDOW    otherwise: the piece of the image under a block of outputs is copied, channels last and
          with its border of zeros, to this thread's scratch; rows point there
GATHER    steps or dilations so large that such a piece would hold mostly pixels nobody reads: only
          the pixels read are copied, tap by tap
"""

from libc.string cimport memcpy, memset

from fastconv._drivers.axis cimport H, W
from fastconv._drivers.blocking cimport TASKS, ceil_div, part, round_up
from fastconv._drivers.correlation cimport Correlation, work
from fastconv._drivers.kernels cimport (
    FC_TILE_ACCUMULATE, FC_TILE_RELU, fc_size, fc_tile)
from fastconv._drivers.memory cimport allocate, measuring, release
from fastconv._drivers.runtime cimport OK, OUT_OF_MEMORY, parallel_for


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
    MIN_PIXELS = 56
    MAX_ROWS = 16       # of a tile
    POINTER_BYTES = 128 * 1024
    PANEL_BYTES = 2 * 1024 * 1024
    LARGE_PANEL = 16 * 1024
    PANEL_AHEAD = 8192


ctypedef struct Plan:
    Correlation c
    Source source
    # [groups][n_panels][taps_h][taps_w][channels][nr], packed filters, zero beyond the last
    const char *panels
    fc_size panel_bytes
    fc_size n_panels
    char *bias           # [groups][n_panels * nr], zero beyond the filters
    const char *zeros    # one pixel of zeros, what lies beyond the border (IN_PLACE)
    fc_size block_h, block_w, blocks_h, blocks_w
    fc_size splits       # the panels of a block are shared out over this many tasks
    # Filters that outweigh the image are read once: a task takes one panel over every block. If it
    # is not packed, the task packs it, in its cache.
    bint panel_tasks
    # A segment is a run of contiguous elements under every pixel: one tap's channels, or in a
    # WINDOW without dilation one row of taps with all their channels.
    fc_size n_segments, segment_len, chunk
    bint ahead           # the next tile's pixels are fetched meanwhile
    bint border          # some pixel's tap lies outside the image
    bint skip            # rows of taps beyond the image, tile by tile
    bint direct          # tiles may be stored straight into y
    # scratch: pointers | image piece | result of a block for one panel | the task's panel
    fc_size pointers_at, piece_at, result_at, panel_at, scratch_bytes


ctypedef struct Block:
    fc_size n, g, i0, i1, j0, j1, pixels
    fc_size tiles, each, longer  # so many tiles, of so many pixels, the first ones of one more


cdef inline fc_size tile_rows(const Block *b, fc_size t) noexcept nogil:
    # pixels are dealt out evenly
    return b.each + (t < b.longer)


cdef void size_panels(Plan *p) noexcept nogil:
    cdef const Correlation *c = &p.c
    p.n_panels = ceil_div(c.filters, c.kernels.nr)
    p.panel_bytes = c.axis[H].taps * c.axis[W].taps * c.channels * c.kernels.nr * c.kernels.itemsize


cdef void fill_panel(const Plan *p, fc_size g, fc_size panel, char *to) noexcept nogil:
    cdef const Correlation *c = &p.c
    cdef fc_size nr = c.kernels.nr, first = panel * nr
    c.kernels.pack_filters(to, c.w + g * c.w_g + first * c.w_k, min(nr, c.filters - first),
                           c.channels, c.axis[H].taps, c.axis[W].taps, c.w_k, c.w_c, c.axis[H].w, c.axis[W].w, nr)


cdef int pack_panel(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef Plan *p = <Plan *> context
    fill_panel(p, task // p.n_panels, task % p.n_panels, <char *> p.panels + task * p.panel_bytes)
    return OK


cdef fc_size packed_bytes(const Correlation *c) noexcept nogil:
    cdef Plan p
    p.c = c[0]
    size_panels(&p)
    return c.groups * p.n_panels * p.panel_bytes


cdef int pack(const Correlation *c, char *panels, int num_threads) noexcept nogil:
    cdef Plan p
    p.c = c[0]
    size_panels(&p)
    p.panels = panels
    return parallel_for(pack_panel, &p, c.groups * p.n_panels, 0,
                        <double> packed_bytes(c) / c.kernels.itemsize, num_threads)


cdef void fill_bias(const Plan *p) noexcept nogil:
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, row = p.n_panels * c.kernels.nr * size, g
    for g in range(c.groups):
        memcpy(p.bias + g * row, c.bias + g * c.filters * size, c.filters * size)
        memset(p.bias + g * row + c.filters * size, 0, row - c.filters * size)


cdef void fill_window(const Plan *p, const Block *b, char *piece, fc_size cols) noexcept nogil:
    """The image under block b, [rows][cols][channels], zero beyond the border."""
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, pixel = c.channels * size
    cdef fc_size top = c.axis[H].first + b.i0 * c.axis[H].step, left = c.axis[W].first + b.j0 * c.axis[W].step
    cdef fc_size rows = (b.i1 - b.i0 - 1) * c.axis[H].step + (c.axis[H].taps - 1) * c.axis[H].dilation + 1
    cdef fc_size lo = min(max(0, -left), cols), hi = max(min(cols, c.axis[W].size - left), lo)
    cdef const char *x = c.x + b.n * c.x_n + b.g * c.x_g
    cdef char *line
    cdef fc_size r
    for r in range(rows):
        line = piece + r * cols * pixel
        if top + r < 0 or top + r >= c.axis[H].size or hi == lo:
            memset(line, 0, cols * pixel)
            continue
        memset(line, 0, lo * pixel)
        c.kernels.copy2d(line + lo * pixel, pixel, size,
                         x + (top + r) * c.axis[H].x + (left + lo) * c.axis[W].x, c.axis[W].x, c.x_c,
                         hi - lo, c.channels)
        memset(line + hi * pixel, 0, (cols - hi) * pixel)


cdef void gather(const Plan *p, const Block *b, char *piece, fc_size first,
                 fc_size last) noexcept nogil:
    """The pixels that taps first..last read, [taps][pixels][channels], zero beyond the border."""
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, pixel = c.channels * size
    cdef const char *x = c.x + b.n * c.x_n + b.g * c.x_g
    cdef char *to = piece
    cdef fc_size t, i, j, row, col
    for t in range(first, last):
        for i in range(b.i0, b.i1):
            row = c.axis[H].first + i * c.axis[H].step + t // c.axis[W].taps * c.axis[H].dilation
            for j in range(b.j0, b.j1):
                col = c.axis[W].first + j * c.axis[W].step + t % c.axis[W].taps * c.axis[W].dilation
                if row < 0 or row >= c.axis[H].size or col < 0 or col >= c.axis[W].size:
                    memset(to, 0, pixel)
                else:
                    c.kernels.copy2d(to, pixel, size, x + row * c.axis[H].x + col * c.axis[W].x, 0, c.x_c,
                                     1, c.channels)
                to += pixel


cdef void point_pixels(const Plan *p, const Block *b, char *scratch, fc_size first,
                       fc_size last) noexcept nogil:
    """Where segments first..last start for every pixel of the block: [tiles][segments][rows]."""
    cdef const Correlation *c = &p.c
    cdef const char **out = <const char **> (scratch + p.pointers_at)
    cdef fc_size pixel = c.channels * c.kernels.itemsize, width = b.j1 - b.j0
    cdef fc_size cols = (width - 1) * c.axis[W].step + (c.axis[W].taps - 1) * c.axis[W].dilation + 1
    cdef bint rows_of_taps = p.n_segments == c.axis[H].taps and p.segment_len != c.channels
    cdef bint in_place = p.source == IN_PLACE
    # from one output, one row of outputs, one tap and one row of taps to the next
    cdef fc_size step_w = c.axis[W].step * pixel, step_h = c.axis[H].step * cols * pixel
    cdef fc_size tap_w = c.axis[W].dilation * pixel, tap_h = c.axis[H].dilation * cols * pixel
    cdef const char *line = scratch + p.piece_at
    cdef fc_size t, s, q, i = 0, j = 0, run, count, down, right, to, row, column
    # of a tile's pixels: where the input under their first tap is
    cdef fc_size rows[MAX_ROWS]
    cdef fc_size columns[MAX_ROWS]
    cdef const char *at[MAX_ROWS]
    if p.source == GATHER:
        gather(p, b, scratch + p.piece_at, first, last)
        step_w = pixel
        step_h = width * pixel
    elif p.source == WINDOW and first == 0:
        fill_window(p, b, scratch + p.piece_at, cols)
    elif in_place:
        step_w = c.axis[W].step * c.axis[W].x
        step_h = c.axis[H].step * c.axis[H].x
        tap_w = c.axis[W].dilation * c.axis[W].x
        tap_h = c.axis[H].dilation * c.axis[H].x
        line = (c.x + b.n * c.x_n + b.g * c.x_g + (c.axis[H].first + b.i0 * c.axis[H].step) * c.axis[H].x
                + (c.axis[W].first + b.j0 * c.axis[W].step) * c.axis[W].x)
    for t in range(b.tiles):
        count = tile_rows(b, t)
        q = 0
        while q < count:  # runs of a tile's pixels that lie in one row
            run = min(count - q, width - j)
            row = c.axis[H].first + (b.i0 + i) * c.axis[H].step
            column = c.axis[W].first + (b.j0 + j) * c.axis[W].step
            for s in range(run):
                at[q + s] = line + j * step_w + s * step_w
            for s in range(run if in_place else 0):
                rows[q + s] = row
                columns[q + s] = column + s * c.axis[W].step
            q += run
            j += run
            if j == width:
                j = 0
                i += 1
                line += step_h
        for s in range(first, last):
            down = s if rows_of_taps else s // c.axis[W].taps
            right = 0 if rows_of_taps else s - down * c.axis[W].taps
            if p.source == GATHER:
                to = (s - first) * b.pixels * pixel
            else:
                to = down * tap_h + right * tap_w
            for q in range(count):
                out[q] = at[q] + to
            if in_place and p.border:
                down *= c.axis[H].dilation
                right *= c.axis[W].dilation
                for q in range(count):
                    if ((<size_t> (rows[q] + down) >= <size_t> c.axis[H].size)
                            | (<size_t> (columns[q] + right) >= <size_t> c.axis[W].size)):
                        out[q] = p.zeros
            out += count


cdef void used_segments(const Plan *p, const Block *b, fc_size start, fc_size count, fc_size *first,
                        fc_size *last) noexcept nogil:
    """Segments of a tile without rows of taps above or below the image: those give nothing."""
    cdef const Correlation *c = &p.c
    cdef fc_size width = b.j1 - b.j0, per_row = p.n_segments // c.axis[H].taps
    cdef fc_size top = c.axis[H].first + (b.i0 + start // width) * c.axis[H].step
    cdef fc_size bottom = c.axis[H].first + (b.i0 + (start + count - 1) // width) * c.axis[H].step
    first[0] = 0
    last[0] = p.n_segments
    if bottom < 0:
        first[0] = min(ceil_div(-bottom, c.axis[H].dilation), c.axis[H].taps) * per_row
    if top + (c.axis[H].taps - 1) * c.axis[H].dilation >= c.axis[H].size:
        last[0] = max(first[0], (max(c.axis[H].size - top, 0) + c.axis[H].dilation - 1) // c.axis[H].dilation * per_row)


cdef void store_block(const Plan *p, const Block *b, fc_size panel, const char *result,
                      fc_size n) noexcept nogil:
    """One panel's result [pixels][nr] to y, whatever its strides."""
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, pixel = c.kernels.nr * size
    cdef fc_size width = b.j1 - b.j0
    cdef char *y = (c.y + b.n * c.y_n + b.g * c.y_g + panel * c.kernels.nr * c.y_k
                    + b.i0 * c.axis[H].y + b.j0 * c.axis[W].y)
    cdef fc_size i
    if c.axis[H].y == width * c.axis[W].y:  # the rows of the block follow each other without a gap
        c.kernels.copy2d(y, c.axis[W].y, c.y_k, result, pixel, size, b.pixels, n)
        return
    for i in range(b.i1 - b.i0):
        c.kernels.copy2d(y + i * c.axis[H].y, c.axis[W].y, c.y_k, result + i * width * pixel, pixel, size,
                         width, n)


cdef void find_block(const Plan *p, fc_size index, Block *b) noexcept nogil:
    """Block number `index` of an image and group: its outputs."""
    cdef const Correlation *c = &p.c
    b.i0 = index // p.blocks_w * p.block_h
    b.i1 = min(b.i0 + p.block_h, c.axis[H].out)
    b.j0 = index % p.blocks_w * p.block_w
    b.j1 = min(b.j0 + p.block_w, c.axis[W].out)
    b.pixels = (b.i1 - b.i0) * (b.j1 - b.j0)
    b.tiles = ceil_div(b.pixels, c.kernels.mr)
    b.each = b.pixels // b.tiles
    b.longer = b.pixels % b.tiles


cdef void run_block(const Plan *p, const Block *b, fc_size first_panel, fc_size last_panel,
                    const char *panels, const char *bias, char *scratch) noexcept nogil:
    """One block of outputs for some panels of filters, which `panels` and `bias` hold."""
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, nr = c.kernels.nr
    cdef fc_size panel, chunk, last, t, start, count, n, s0, s1
    cdef const void **pointers
    cdef const char *filters
    cdef char *result = scratch + p.result_at
    cdef char *y = c.y + b.n * c.y_n + b.g * c.y_g + b.i0 * c.axis[H].y + b.j0 * c.axis[W].y
    cdef fc_tile tile
    tile.a_prefetch = tile.c_prefetch = 0
    # large panels come from afar; beyond the page that is read the processor does not fetch
    tile.b_prefetch = PANEL_AHEAD if p.panel_bytes >= LARGE_PANEL else 0
    tile.a_k = size
    tile.b_k = nr * size
    tile.b_at = NULL
    tile.b_segment = p.segment_len * nr * size
    tile.len = p.segment_len
    for panel in range(first_panel, last_panel):
        n = min(nr, c.filters - panel * nr)
        # whole vectors where the result has room: the packed zeros are free
        tile.n = <int> (n if p.direct else nr)
        tile.bias = NULL
        if bias != NULL:
            tile.bias = bias + (panel - first_panel) * nr * size
        chunk = 0
        while True:
            last = min(chunk + p.chunk, p.n_segments)
            if panel == first_panel or p.chunk < p.n_segments:
                point_pixels(p, b, scratch, chunk, last)
            tile.segments = last - chunk
            pointers = <const void **> (scratch + p.pointers_at)
            filters = panels + (panel - first_panel) * p.panel_bytes + chunk * tile.b_segment
            tile.flags = FC_TILE_ACCUMULATE if chunk else 0
            if last == p.n_segments and c.relu:
                tile.flags |= FC_TILE_RELU
            start = 0
            for t in range(b.tiles):
                count = tile_rows(b, t)
                tile.m = <int> count
                tile.a = pointers
                tile.b = filters
                if p.skip:
                    used_segments(p, b, start, count, &s0, &s1)
                    tile.segments = s1 - s0
                    tile.a = pointers + s0 * count
                    tile.b = filters + s0 * tile.b_segment
                tile.c = result + start * nr * size
                tile.c_m = nr * size
                if p.direct:
                    tile.c = y + start * c.axis[W].y + panel * nr * size
                    tile.c_m = c.axis[W].y
                    tile.c_prefetch = count * c.axis[W].y
                if p.ahead:  # the first panel of a 1x1 convolution meets pixels nobody read before
                    tile.a_prefetch = count * c.axis[W].x if panel == first_panel else 0
                c.kernels.tile(&tile)
                pointers += (last - chunk) * count
                start += count
            chunk = last
            if chunk >= p.n_segments:
                break
        if not p.direct:
            store_block(p, b, panel, result, n)


cdef int correlate_block(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """One block of outputs, all panels or a share of them."""
    cdef Plan *p = <Plan *> context
    cdef Correlation *c = &p.c
    cdef fc_size blocks = p.blocks_h * p.blocks_w
    cdef fc_size split = task % p.splits, rest = task // p.splits
    cdef fc_size first = part(p.n_panels, p.splits, split)
    cdef char *bias = NULL
    cdef Block b
    find_block(p, rest % blocks, &b)
    b.g = rest // blocks % c.groups
    b.n = rest // blocks // c.groups
    if c.bias != NULL:
        bias = p.bias + (b.g * p.n_panels + first) * c.kernels.nr * c.kernels.itemsize
    run_block(p, &b, first, part(p.n_panels, p.splits, split + 1),
              p.panels + (b.g * p.n_panels + first) * p.panel_bytes, bias, scratch)
    return OK


cdef int correlate_panel(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """One panel of filters over every block of every image."""
    cdef Plan *p = <Plan *> context
    cdef Correlation *c = &p.c
    cdef fc_size panel = task % p.n_panels, n, i
    cdef const char *packed = p.panels + task * p.panel_bytes
    cdef char *bias = NULL
    cdef Block b
    if c.bias != NULL:
        bias = p.bias + task * c.kernels.nr * c.kernels.itemsize
    b.g = task // p.n_panels
    if p.panels == NULL:
        packed = scratch + p.panel_at
        fill_panel(p, b.g, panel, <char *> packed)
    for n in range(c.batch):
        b.n = n
        for i in range(p.blocks_h * p.blocks_w):
            find_block(p, i, &b)
            run_block(p, &b, panel, panel + 1, packed, bias, scratch)
    return OK


cdef fc_size window_bytes(const Correlation *c, fc_size h, fc_size w) noexcept nogil:
    """Bytes of the image piece under h x w outputs; sizes are bounded by the padded image's."""
    cdef double rows = (<double> h - 1) * c.axis[H].step + (<double> c.axis[H].taps - 1) * c.axis[H].dilation + 1
    cdef double cols = (<double> w - 1) * c.axis[W].step + (<double> c.axis[W].taps - 1) * c.axis[W].dilation + 1
    cdef double nbytes = rows * cols * c.channels * c.kernels.itemsize
    return <fc_size> min(nbytes, 1e15)


cdef void choose_blocks(Plan *p) noexcept nogil:
    cdef Correlation *c = &p.c
    cdef fc_size pixel = c.channels * c.kernels.itemsize
    cdef fc_size pixels = max(MIN_PIXELS, min(BLOCK_PIXELS, BLOCK_BYTES // pixel))
    cdef fc_size outputs = c.axis[H].out * c.axis[W].out, images = c.batch * c.groups
    while pixels > MIN_PIXELS and images * ceil_div(outputs, pixels) < TASKS:
        pixels = pixels // 2
    # short runs of channels are joined in a window, where a row of taps is one run
    cdef bint short = c.channels * c.kernels.itemsize < 64 and c.axis[H].taps * c.axis[W].taps > 1
    p.source = WINDOW if c.x_c != c.kernels.itemsize or short else IN_PLACE
    if c.axis[H].taps * c.axis[W].taps == 0:
        p.source = IN_PLACE  # a phase that no tap reaches: zeros, a product over no elements
    p.block_w = min(c.axis[W].out, pixels)
    p.block_h = max(1, min(c.axis[H].out, pixels // p.block_w))
    if p.source == WINDOW:
        while p.block_h > 1 and window_bytes(c, p.block_h, p.block_w) > WINDOW_BYTES:
            p.block_h = (p.block_h + 1) // 2
        while p.block_w > c.kernels.mr and window_bytes(c, 1, p.block_w) > WINDOW_BYTES:
            p.block_w = (p.block_w + 1) // 2
        # worth it while most of the piece is read: otherwise only what is read is copied
        if window_bytes(c, p.block_h, p.block_w) > 2 * WINDOW_BYTES:
            p.source = GATHER
            while p.block_w > 1 and p.block_h * p.block_w * pixel > 4 * GATHER_BYTES:
                p.block_w = (p.block_w + 1) // 2
    p.blocks_h = ceil_div(c.axis[H].out, p.block_h)
    p.blocks_w = ceil_div(c.axis[W].out, p.block_w)
    p.block_h = ceil_div(c.axis[H].out, p.blocks_h)
    p.block_w = ceil_div(c.axis[W].out, p.blocks_w)
    cdef fc_size tasks = images * p.blocks_h * p.blocks_w
    p.splits = min(p.n_panels, ceil_div(TASKS, max(1, tasks)))
    p.panel_tasks = (c.filters * c.axis[H].taps * c.axis[W].taps > c.batch * c.axis[H].size * c.axis[W].size
                     and c.groups * p.n_panels >= TASKS // 2 and p.panel_bytes <= PANEL_BYTES
                     # a window is copied again for every panel: a few products must pay for that
                     and (p.source == IN_PLACE or c.axis[H].taps * c.axis[W].taps >= 9))


cdef void choose_segments(Plan *p) noexcept nogil:
    cdef Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, pixels = p.block_h * p.block_w
    cdef fc_size piece = 0
    if p.source == WINDOW and c.axis[W].dilation == 1 and c.axis[W].taps > 1:
        p.n_segments = c.axis[H].taps
        p.segment_len = c.axis[W].taps * c.channels
    else:
        p.n_segments = c.axis[H].taps * c.axis[W].taps
        p.segment_len = c.channels
    p.chunk = max(1, min(p.n_segments, POINTER_BYTES // (pixels * <fc_size> sizeof(void *))))
    if p.source == GATHER:
        p.chunk = max(1, min(p.chunk, GATHER_BYTES // (pixels * c.channels * size)))
        piece = p.chunk * pixels * c.channels * size
    elif p.source == WINDOW:
        piece = window_bytes(c, p.block_h, p.block_w)
    cdef bint tall = (c.axis[H].first < 0 or c.axis[H].first + (c.axis[H].out - 1) * c.axis[H].step + (c.axis[H].taps - 1) * c.axis[H].dilation
                      >= c.axis[H].size)
    p.border = tall or (c.axis[W].first < 0 or c.axis[W].first + (c.axis[W].out - 1) * c.axis[W].step
                        + (c.axis[W].taps - 1) * c.axis[W].dilation >= c.axis[W].size)
    p.skip = tall and p.chunk == p.n_segments and p.n_segments > 0
    p.ahead = p.source == IN_PLACE and p.n_segments == 1
    p.direct = c.y_k == size and (c.axis[H].y == p.block_w * c.axis[W].y or p.block_h == 1)
    p.pointers_at = 0
    p.piece_at = round_up(p.chunk * pixels * sizeof(void *))
    p.result_at = p.piece_at + round_up(piece)
    p.panel_at = p.result_at
    if not p.direct:
        p.panel_at += round_up(pixels * c.kernels.nr * size)
    p.scratch_bytes = p.panel_at
    if p.panel_tasks and p.panels == NULL:
        p.scratch_bytes += p.panel_bytes


cdef int run_direct(const Correlation *correlation, int num_threads) noexcept nogil:
    cdef Plan p
    cdef Correlation *c = &p.c
    cdef int status = OUT_OF_MEMORY
    c[0] = correlation[0]
    cdef fc_size size = c.kernels.itemsize
    size_panels(&p)
    p.panels = c.packed.panels if c.packed != NULL else NULL
    choose_blocks(&p)
    choose_segments(&p)
    cdef fc_size bias_bytes = c.groups * p.n_panels * c.kernels.nr * size if c.bias != NULL else 0
    cdef bint packing = p.panels == NULL and not p.panel_tasks
    cdef fc_size panels_bytes = packed_bytes(c) if packing else 0
    cdef char *memory = allocate(panels_bytes + bias_bytes + c.channels * size)
    if memory == NULL:
        return status
    p.bias = memory + panels_bytes
    p.zeros = memory + panels_bytes + bias_bytes
    memset(<char *> p.zeros, 0, c.channels * size)
    if c.bias != NULL and not measuring():
        fill_bias(&p)
    status = OK
    if packing:
        p.panels = memory
        status = pack(c, memory, num_threads)
    if status == OK and p.panel_tasks:
        status = parallel_for(correlate_panel, &p, c.groups * p.n_panels, p.scratch_bytes,
                              work(c), num_threads)
    elif status == OK:
        status = parallel_for(correlate_block, &p,
                              c.batch * c.groups * p.blocks_h * p.blocks_w * p.splits,
                              p.scratch_bytes, work(c), num_threads)
    release(memory)
    return status
