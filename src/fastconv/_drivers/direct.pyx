"""Direct convolution as an implicit matrix product: no im2col of the image.

`run_direct` computes y from x and w in up to three dimensions: the forward pass, or all phases of
an input gradient in one parallel loop. It feeds the register tile of the kernel table: rows are
pixels, columns are filters, a vector at a time. What differs between memory formats is only where a
tile's rows come from:

IN_PLACE  channels contiguous: rows point into the image, or to zeros beyond its border
WINDOW    otherwise, and where a tile's pixels lie so far apart that they meet in one set of L1: the
          piece of the image under a block of outputs is copied, channels last and with its border
          of zeros, to this thread's scratch; rows point there
GATHER    steps or dilations so large that such a piece would hold mostly pixels nobody reads: only
          the pixels read are copied, tap by tap

Panels of filters take turns over the pixels of a block; short filters, which all stay in cache,
take turns over a few pixels (runs_by_pixels).

A block is a rectangle of outputs in one slice of the depth. A tap of the depth therefore reads one
slice of the image for all of a block; where that lies outside the image, the tap is left out.
"""

from libc.string cimport memcpy, memset

from fastconv._drivers.axis cimport AXES, D, H, W
from fastconv._drivers.blocking cimport (
    DIRECT_ALIAS, DIRECT_BLOCK_BYTES, DIRECT_FAR_PANEL, DIRECT_GATHER_BYTES, DIRECT_MAX_PIXELS,
    DIRECT_MAX_SLOTS, DIRECT_MIN_PIXELS, DIRECT_PANEL_BYTES, DIRECT_POINTER_BYTES, DIRECT_PREFETCH,
    DIRECT_SHORT_FILTERS, DIRECT_SHORT_PIXEL, DIRECT_SHORT_SUM, DIRECT_WINDOW_BYTES, LINE,
    MAX_TILE_ROWS, TASKS, ceil_div, next_index, part, plain_tile, round_up)
from fastconv._drivers.correlation cimport (
    Correlation, CorrelationAxis, crosses_border, find_taps_inside, input_of, inside, span, taps_of,
    work)
from fastconv._drivers.kernels cimport (
    FC_TILE_ACCUMULATE, FC_TILE_RELU, fc_pixels, fc_size, fc_tile)
from fastconv._drivers.memory cimport allocate, release
from fastconv._drivers.outputs cimport store_outputs
from fastconv._drivers.runtime cimport OK, OUT_OF_MEMORY, parallel_for, run_once


cdef enum PixelSource:
    IN_PLACE
    WINDOW
    GATHER


ctypedef struct DirectPlan:
    Correlation c
    PixelSource source
    fc_size pitch  # from one pixel of a WINDOW to the next
    # [groups][n_panels][taps][channels][nr], packed filters, zero beyond the last; from one panel
    # to the next lie those of other phases, too
    const char *panels
    fc_size n_panels, panel_bytes, panel_step
    # [groups][n_panels * nr], zero beyond the filters; NULL without one, unless by_pixels
    char *bias
    const char *zeros  # one pixel of zeros, what lies beyond the border (IN_PLACE)
    fc_size block_h, block_w, blocks_h, blocks_w
    fc_size blocks     # of an image
    fc_size splits     # the panels of a block are shared out over this many tasks
    # Filters that outweigh the image are read once: a task takes one panel over every block. If it
    # is not packed, the task packs it, in its cache.
    bint panel_tasks
    fc_size tasks
    # A segment is a run of contiguous elements under every pixel: one tap's channels, or in a
    # WINDOW without dilation one row of taps with all their channels.
    fc_size row_segments  # of a row of taps
    fc_size segments, segment_len
    fc_size chunk         # segments at a time: those whose pointers are in scratch
    bint border           # taps may lie outside the image (IN_PLACE)
    bint skips_rows       # rows of taps outside the image are left out, tile by tile
    bint prefetches_x     # the next tile's pixels, during this one
    bint into_y           # tiles are stored straight into y,
    bint row_gaps         # where the next row does not follow the last:
    bint row_tiles        # then either no tile goes on to it, or such tiles are results first
    bint by_pixels        # all filters of some pixels, then the next pixels: see runs_by_pixels
    # scratch: pointers | piece of the image | result of a block for one panel
    fc_size piece_at, result_at, scratch_bytes


ctypedef struct Block:
    fc_size i0, i1, j0, j1, pixels
    fc_size skipped, segments    # segments that the depth leaves out before the first; the others
    const char *x                # the slice of the image that the first of those reads
    char *y                      # the first output
    fc_size tiles
    fc_size run_tiles     # so many share a row, or else all pixels,
    fc_size each, longer  # of so many pixels, the first ones of one more


cdef inline fc_size tile_pixels(const Block *b, fc_size t) noexcept nogil:
    # they are dealt out evenly
    return b.each + (t % b.run_tiles < b.longer)


# ---------------------------------------------------------------- filters

cdef void size_panels(DirectPlan *p) noexcept nogil:
    cdef const Correlation *c = &p.c
    p.n_panels = ceil_div(c.filters, c.kernels.nr)
    p.panel_bytes = taps_of(c) * c.channels * c.kernels.nr * c.kernels.itemsize
    p.panel_step = p.panel_bytes


cdef void pack_filter_panel(const DirectPlan *p, fc_size g, fc_size panel, char *to) noexcept nogil:
    cdef const Correlation *c = &p.c
    cdef const CorrelationAxis *h = &c.axis[H]
    cdef const CorrelationAxis *w = &c.axis[W]
    cdef fc_size nr = c.kernels.nr, first = panel * nr, t
    cdef const char *filters = c.w + g * c.w_g + first * c.w_k
    for t in range(c.axis[D].taps):
        c.kernels.pack_filters(to, filters + t * c.axis[D].w, min(nr, c.filters - first),
                               c.channels, h.taps, w.taps, c.w_k, c.w_c, h.w, w.w, nr, NULL)
        to += h.taps * w.taps * c.channels * nr * c.kernels.itemsize


cdef int pack_panel_task(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef const DirectPlan *p = <const DirectPlan *> context
    pack_filter_panel(p, task // p.n_panels, task % p.n_panels,
                      <char *> p.panels + task * p.panel_bytes)
    return OK


cdef fc_size panels_bytes(const Correlation *c) noexcept nogil:
    cdef DirectPlan p
    p.c = c[0]
    size_panels(&p)
    return c.groups * p.n_panels * p.panel_bytes


cdef int pack_panels(const Correlation *c, char *panels, int num_threads) noexcept nogil:
    cdef DirectPlan p
    p.c = c[0]
    size_panels(&p)
    p.panels = panels
    return parallel_for(pack_panel_task, &p, c.groups * p.n_panels, 0,
                        <double> panels_bytes(c) / c.kernels.itemsize, num_threads)


ctypedef struct PaddedBias:
    const Correlation *c
    char *to     # [groups][row]
    fc_size row  # bytes of all panels' filters


cdef int pad_bias(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef const PaddedBias *b = <const PaddedBias *> context
    cdef const Correlation *c = b.c
    cdef fc_size size = c.kernels.itemsize, g
    memset(b.to, 0, c.groups * b.row)
    for g in range(c.groups if c.bias != NULL else 0):
        memcpy(b.to + g * b.row, c.bias + g * c.filters * size, c.filters * size)
    return OK


cdef inline const char *panel_bias(const DirectPlan *p, fc_size g, fc_size panel) noexcept nogil:
    if p.bias == NULL:
        return NULL
    return p.bias + (g * p.n_panels + panel) * p.c.kernels.nr * p.c.kernels.itemsize


# ---------------------------------------------------------------- the pixels of a block

cdef void find_block(const DirectPlan *p, fc_size n, fc_size g, fc_size index,
                     Block *b) noexcept nogil:
    """Block number `index` of an image and group."""
    cdef const Correlation *c = &p.c
    cdef const CorrelationAxis *d = &c.axis[D]
    cdef const CorrelationAxis *h = &c.axis[H]
    cdef const CorrelationAxis *w = &c.axis[W]
    cdef fc_size slice, first, last, runs, run
    b.j0 = next_index(&index, p.blocks_w) * p.block_w
    b.j1 = min(b.j0 + p.block_w, w.out)
    b.i0 = next_index(&index, p.blocks_h) * p.block_h
    b.i1 = min(b.i0 + p.block_h, h.out)
    slice = index
    find_taps_inside(d, slice, slice, &first, &last)
    b.skipped = first * h.taps * p.row_segments
    b.segments = (last - first) * h.taps * p.row_segments
    b.x = c.x + n * c.x_n + g * c.x_g + (input_of(d, slice) + first * d.dilation) * d.x
    b.y = c.y + n * c.y_n + g * c.y_g + slice * d.y + b.i0 * h.y + b.j0 * w.y
    b.pixels = (b.i1 - b.i0) * (b.j1 - b.j0)
    runs = b.i1 - b.i0 if p.row_tiles else 1
    run = b.pixels // runs
    b.run_tiles = ceil_div(run, c.kernels.mr)
    b.tiles = runs * b.run_tiles
    b.each = run // b.run_tiles
    b.longer = run % b.run_tiles


cdef void copy_window(const DirectPlan *p, const Block *b, char *piece) noexcept nogil:
    """The image under block b, [slices][rows][cols][channels], zero beyond the border."""
    cdef const Correlation *c = &p.c
    cdef const CorrelationAxis *h = &c.axis[H]
    cdef const CorrelationAxis *w = &c.axis[W]
    cdef fc_size size = c.kernels.itemsize, pixel = p.pitch
    cdef fc_size rows = span(h, b.i1 - b.i0), cols = span(w, b.j1 - b.j0)
    cdef fc_size slices = b.segments // (h.taps * p.row_segments)
    cdef fc_size top = input_of(h, b.i0), left = input_of(w, b.j0), lo, hi, r
    cdef const char *x = b.x
    cdef char *line = piece
    inside(left, 1, w.size, cols, &lo, &hi)
    for _ in range(slices):
        for r in range(top, top + rows):
            if r < 0 or r >= h.size or hi == lo:
                memset(line, 0, cols * pixel)
            else:
                memset(line, 0, lo * pixel)
                c.kernels.copy2d(line + lo * pixel, pixel, size,
                                 x + r * h.x + (left + lo) * w.x, w.x, c.x_c, hi - lo, c.channels)
                memset(line + hi * pixel, 0, (cols - hi) * pixel)
            line += cols * pixel
        x += c.axis[D].dilation * c.axis[D].x


cdef void gather_pixels(const DirectPlan *p, const Block *b, char *to, fc_size first,
                        fc_size last) noexcept nogil:
    """The pixels that taps first..last read, [taps][pixels][channels], zero beyond the border."""
    cdef const Correlation *c = &p.c
    cdef const CorrelationAxis *h = &c.axis[H]
    cdef const CorrelationAxis *w = &c.axis[W]
    cdef fc_size size = c.kernels.itemsize, pixel = c.channels * size
    cdef fc_size t, rest, i, j, row, col, right, down
    cdef const char *x
    for t in range(first, last):
        rest = t
        right = next_index(&rest, w.taps) * w.dilation
        down = next_index(&rest, h.taps) * h.dilation
        x = b.x + rest * c.axis[D].dilation * c.axis[D].x
        for i in range(b.i0, b.i1):
            row = input_of(h, i) + down
            for j in range(b.j0, b.j1):
                col = input_of(w, j) + right
                if row < 0 or row >= h.size or col < 0 or col >= w.size:
                    memset(to, 0, pixel)
                else:
                    c.kernels.copy2d(to, pixel, size, x + row * h.x + col * w.x, 0, c.x_c,
                                     1, c.channels)
                to += pixel


# Where a block's pixels are: what its first output reads with its first tap, and how many bytes
# further what the next output and the next tap read.
ctypedef struct Pixels:
    const char *origin
    fc_size output_h, output_w
    fc_size tap_d, tap_h, tap_w


cdef Pixels find_pixels(const DirectPlan *p, const Block *b, const char *piece,
                        fc_size first) noexcept nogil:
    """`first`: the tap that the piece starts with (GATHER)."""
    cdef const CorrelationAxis *d = &p.c.axis[D]
    cdef const CorrelationAxis *h = &p.c.axis[H]
    cdef const CorrelationAxis *w = &p.c.axis[W]
    cdef fc_size pixel = p.c.channels * p.c.kernels.itemsize, width = b.j1 - b.j0, line
    cdef Pixels x
    if p.source == IN_PLACE:
        x.origin = b.x + input_of(h, b.i0) * h.x + input_of(w, b.j0) * w.x
        x.output_h, x.output_w = h.step * h.x, w.step * w.x
        x.tap_d, x.tap_h, x.tap_w = d.dilation * d.x, h.dilation * h.x, w.dilation * w.x
    elif p.source == WINDOW:
        line = span(w, width) * p.pitch
        x.origin = piece
        x.output_h, x.output_w = h.step * line, w.step * p.pitch
        x.tap_h, x.tap_w = h.dilation * line, w.dilation * p.pitch
        x.tap_d = span(h, b.i1 - b.i0) * line
    else:
        x.output_h, x.output_w = width * pixel, pixel
        x.tap_w = b.pixels * pixel
        x.tap_h = w.taps * x.tap_w
        x.tap_d = h.taps * x.tap_h
        x.origin = piece - first * x.tap_w
    return x


cdef void point_pixels(const DirectPlan *p, const Block *b, char *scratch, fc_size first,
                       fc_size last) noexcept nogil:
    """Where segments first..last start for every pixel of the block: [tiles][segments][pixels]."""
    cdef const CorrelationAxis *h = &p.c.axis[H]
    cdef const CorrelationAxis *w = &p.c.axis[W]
    cdef Pixels x = find_pixels(p, b, scratch + p.piece_at, first)
    cdef const char **out = <const char **> scratch
    cdef const char *line = x.origin
    cdef fc_size width = b.j1 - b.j0, t, s, q, i = 0, j = 0, run, count, offset, down, right
    cdef fc_size first_d = 0, first_h = 0, first_w = 0, tap_d, tap_h, tap_w
    cdef bint border = p.border
    # of a tile's pixels: where the input under their first tap is
    cdef fc_size rows[MAX_TILE_ROWS]
    cdef fc_size columns[MAX_TILE_ROWS]
    cdef const char *at[MAX_TILE_ROWS]
    if first:
        first_d = first
        first_w = next_index(&first_d, p.row_segments)
        first_h = next_index(&first_d, h.taps)
    for t in range(b.tiles):
        count = tile_pixels(b, t)
        q = 0
        while q < count:  # runs of a tile's pixels that lie in one row
            run = min(count - q, width - j)
            for s in range(run):
                at[q + s] = line + (j + s) * x.output_w
            for s in range(run if border else 0):
                rows[q + s] = input_of(h, b.i0 + i)
                columns[q + s] = input_of(w, b.j0 + j + s)
            q += run
            j += run
            if j == width:
                j = 0
                i += 1
                line += x.output_h
        tap_d, tap_h, tap_w = first_d, first_h, first_w
        for _ in range(first, last):
            offset = tap_d * x.tap_d + tap_h * x.tap_h + tap_w * x.tap_w
            for q in range(count):
                out[q] = at[q] + offset
            if border:
                down = tap_h * h.dilation
                right = tap_w * w.dilation
                for q in range(count):
                    if ((<size_t> (rows[q] + down) >= <size_t> h.size)
                            | (<size_t> (columns[q] + right) >= <size_t> w.size)):
                        out[q] = p.zeros
            out += count
            tap_w += 1
            if tap_w == p.row_segments:
                tap_w = 0
                tap_h += 1
                if tap_h == h.taps:
                    tap_h = 0
                    tap_d += 1


# ---------------------------------------------------------------- products

cdef void store_tile(const Correlation *c, char *y, const fc_tile *tile, fc_size j, fc_size width,
                     fc_size row_gap) noexcept nogil:
    """A result [pixels][nr] to y from column j of a row on, and further rows."""
    cdef fc_size size = c.kernels.itemsize, w_y = c.axis[W].y, first = 0, run
    while first < tile.m:
        run = min(width - j, tile.m - first)
        c.kernels.copy2d(y, w_y, size, <char *> tile.c + first * tile.c_m, tile.c_m, size, run,
                         tile.n)
        y += run * w_y + row_gap
        first += run
        j = 0


cdef void run_tiles(const DirectPlan *p, const Block *b, const fc_tile *common, bint first_panel,
                    char *scratch) noexcept nogil:
    """All pixels of a block, from where they are pointed to, against the segments of one panel.

    `common` has what tiles have in common, and starts at the first pixel.
    """
    cdef const Correlation *c = &p.c
    cdef const CorrelationAxis *h = &c.axis[H]
    cdef const void **pointers = <const void **> scratch
    cdef fc_size width = b.j1 - b.j0, start = 0, t, count, end, first, last
    cdef fc_size row_gap = h.y - width * c.axis[W].y if p.row_gaps else 0, to_next
    cdef fc_tile tile = common[0]
    cdef char *y = <char *> common.c
    for t in range(b.tiles):
        count = tile_pixels(b, t)
        end = start + count
        tile.m = <int> count
        tile.a = pointers
        to_next = count * common.c_m + (end // width - start // width) * row_gap
        if p.skips_rows and common.segments:
            find_taps_inside(h, b.i0 + start // width, b.i0 + (end - 1) // width, &first, &last)
            tile.segments = (last - first) * p.row_segments
            tile.a = pointers + first * p.row_segments * count
            tile.b = <const char *> common.b + first * p.row_segments * tile.b_segment
        if p.into_y:
            tile.c_prefetch = to_next
        if p.prefetches_x and first_panel:  # of pixels nobody read before
            tile.a_prefetch = count * c.axis[W].x
        if p.row_gaps and start % width + count > width:
            tile.c, tile.c_m = scratch + p.result_at, c.kernels.nr * c.kernels.itemsize
            tile.c_prefetch = 0
            c.kernels.tile(&tile)
            store_tile(c, y, &tile, start % width, width, row_gap)
        else:
            tile.c, tile.c_m = y, common.c_m
            c.kernels.tile(&tile)
        y += to_next
        pointers += common.segments * count
        start = end


cdef void run_rows(const DirectPlan *p, const Block *b, fc_size first_panel, fc_size last_panel,
                   const char *panels, const char *bias, const char *piece) noexcept nogil:
    """All pixels of a block against some panels, row by row."""
    cdef const Correlation *c = &p.c
    cdef Pixels x = find_pixels(p, b, piece, 0)
    cdef fc_size nr = c.kernels.nr, i
    cdef fc_pixels pixels
    pixels.x_m, pixels.y_m = x.output_w, c.axis[W].y
    pixels.x_segment = x.tap_w if p.row_segments > 1 else x.tap_h
    pixels.w, pixels.w_panel, pixels.bias = panels, p.panel_step, bias
    pixels.segments, pixels.len = b.segments, p.segment_len
    pixels.m = b.j1 - b.j0
    pixels.n = min(last_panel * nr, c.filters) - first_panel * nr
    pixels.relu = c.relu
    for i in range(b.i1 - b.i0):
        pixels.x = x.origin + i * x.output_h
        pixels.y = b.y + first_panel * nr * c.kernels.itemsize + i * c.axis[H].y
        c.kernels.pixels(&pixels)


cdef void run_block(const DirectPlan *p, const Block *b, fc_size first_panel, fc_size last_panel,
                    const char *panels, const char *bias, char *scratch) noexcept nogil:
    """One block of outputs for some panels of filters, which `panels` and `bias` hold."""
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, nr = c.kernels.nr, panel, n, chunk, first, last
    cdef fc_size chunks = max(1, ceil_div(b.segments, p.chunk))  # one without segments: the bias
    cdef const char *filters
    cdef char *result = scratch + p.result_at
    cdef fc_tile tile = plain_tile(size, nr)
    tile.len = p.segment_len
    tile.b_segment = p.segment_len * nr * size
    tile.c_m = c.axis[W].y if p.into_y else nr * size
    if p.panel_bytes >= DIRECT_FAR_PANEL:
        tile.b_prefetch = DIRECT_PREFETCH
    if p.source == WINDOW:
        copy_window(p, b, scratch + p.piece_at)
    if p.by_pixels:
        run_rows(p, b, first_panel, last_panel, panels, bias, scratch + p.piece_at)
        return
    for panel in range(first_panel, last_panel):
        n = min(nr, c.filters - panel * nr)
        # whole vectors where the result has room: the packed zeros are free
        tile.n = <int> (n if p.into_y else nr if n > c.kernels.lanes else c.kernels.lanes)
        tile.c = b.y + panel * nr * size if p.into_y else result
        if bias != NULL:
            tile.bias = bias + (panel - first_panel) * nr * size
        filters = panels + (panel - first_panel) * p.panel_step + b.skipped * tile.b_segment
        for chunk in range(chunks):
            first = chunk * p.chunk
            last = min(first + p.chunk, b.segments)
            if panel == first_panel or chunks > 1:
                if p.source == GATHER:
                    gather_pixels(p, b, scratch + p.piece_at, first, last)
                point_pixels(p, b, scratch, first, last)
            tile.b = filters + first * tile.b_segment
            tile.segments = last - first
            tile.flags = FC_TILE_ACCUMULATE if first else 0
            if c.relu and last == b.segments:
                tile.flags |= FC_TILE_RELU
            run_tiles(p, b, &tile, panel == first_panel, scratch)
        if not p.into_y:
            store_outputs(c, b.y, result, (b.j1 - b.j0) * nr * size, nr * size, size, b.i0,
                          b.i1 - b.i0, b.j0, b.j1 - b.j0, panel * nr, n)


cdef void run_block_task(const DirectPlan *p, fc_size task, char *scratch) noexcept nogil:
    """One block of outputs, all panels or a share of them."""
    cdef fc_size rest = task, split = next_index(&rest, p.splits)
    cdef fc_size index = next_index(&rest, p.blocks), g = next_index(&rest, p.c.groups)
    cdef fc_size n = rest
    cdef fc_size first = part(p.n_panels, p.splits, split)
    cdef Block b
    find_block(p, n, g, index, &b)
    run_block(p, &b, first, part(p.n_panels, p.splits, split + 1),
              p.panels + (g * p.n_panels + first) * p.panel_step, panel_bias(p, g, first), scratch)


cdef void run_panel_task(const DirectPlan *p, fc_size task, const char *packed,
                         char *scratch) noexcept nogil:
    """One panel of filters over every block of every image."""
    cdef fc_size g = task, panel = next_index(&g, p.n_panels), n, i
    cdef Block b
    for n in range(p.c.batch):
        for i in range(p.blocks):
            find_block(p, n, g, i, &b)
            run_block(p, &b, panel, panel + 1, packed, panel_bias(p, g, panel), scratch)


# ---------------------------------------------------------------- how work is cut up

cdef fc_size window_bytes(const DirectPlan *p, fc_size rows, fc_size cols) noexcept nogil:
    """Of the image under rows x cols outputs; a span has 64 bits, their product may have more."""
    cdef const Correlation *c = &p.c
    cdef double pixels = <double> span(&c.axis[H], rows) * span(&c.axis[W], cols) * c.axis[D].taps
    return <fc_size> min(pixels * p.pitch, 1e15)


cdef inline bint meet(fc_size step, fc_size pixel) noexcept nogil:
    """Whether pixels so far apart fall into one set of L1; their product may not have 64 bits."""
    return (step % DIRECT_ALIAS) * (pixel % DIRECT_ALIAS) % DIRECT_ALIAS == 0


cdef void plan_blocks(DirectPlan *p) noexcept nogil:
    """Where pixels come from, and the blocks that a slice of outputs is cut into."""
    cdef const Correlation *c = &p.c
    cdef const CorrelationAxis *h = &c.axis[H]
    cdef const CorrelationAxis *w = &c.axis[W]
    cdef fc_size slices = c.batch * c.groups * c.axis[D].out
    cdef fc_size pixel = c.channels * c.kernels.itemsize
    cdef fc_size pixels = max(DIRECT_MIN_PIXELS,
                              min(DIRECT_MAX_PIXELS, DIRECT_BLOCK_BYTES // pixel))
    while pixels > DIRECT_MIN_PIXELS and slices * ceil_div(h.out * w.out, pixels) < TASKS:
        pixels = pixels // 2
    # short runs of channels are joined in a window, where a row of taps is one run
    cdef bint short = pixel < LINE and taps_of(c) > 1
    cdef bint in_place = c.x_c == c.kernels.itemsize and not short
    p.source = IN_PLACE if in_place and not (w.out > 1 and meet(w.step, w.x)) else WINDOW
    p.pitch = pixel + LINE if meet(w.step, pixel) else pixel
    if taps_of(c) == 0:
        p.source = IN_PLACE  # a phase that no tap reaches: zeros, a product over no elements
    p.block_w = min(w.out, pixels)
    p.block_h = max(1, min(h.out, pixels // p.block_w))
    if p.source == WINDOW:
        while p.block_h > 1 and window_bytes(p, p.block_h, p.block_w) > DIRECT_WINDOW_BYTES:
            p.block_h = (p.block_h + 1) // 2
        while p.block_w > c.kernels.mr and window_bytes(p, 1, p.block_w) > DIRECT_WINDOW_BYTES:
            p.block_w = (p.block_w + 1) // 2
        # worth it while most of the piece is read: otherwise only what is read is copied
        if window_bytes(p, p.block_h, p.block_w) > 2 * DIRECT_WINDOW_BYTES:
            p.source = IN_PLACE if in_place else GATHER
            while (p.source == GATHER and p.block_w > 1
                   and p.block_h * p.block_w * pixel > 4 * DIRECT_GATHER_BYTES):
                p.block_w = (p.block_w + 1) // 2
    p.blocks_h = ceil_div(h.out, p.block_h)
    p.blocks_w = ceil_div(w.out, p.block_w)
    p.blocks = c.axis[D].out * p.blocks_h * p.blocks_w
    p.block_h = ceil_div(h.out, p.blocks_h)
    p.block_w = ceil_div(w.out, p.blocks_w)


cdef void plan_tasks(DirectPlan *p, fc_size all_taps) noexcept nogil:
    """`all_taps`: of all phases, which read the same images."""
    cdef const Correlation *c = &p.c
    cdef fc_size taps = taps_of(c), blocks = c.batch * c.groups * p.blocks
    p.splits = min(p.n_panels, ceil_div(TASKS, max(1, blocks)))
    p.panel_tasks = (
        # a channel's filters outweigh its images
        c.filters * all_taps > c.batch * c.axis[D].size * c.axis[H].size * c.axis[W].size
        # there are panels enough to share out,
        and c.groups * p.n_panels >= TASKS // 2
        # each of which stays in the cache
        and p.panel_bytes <= DIRECT_PANEL_BYTES
        # a window is copied again for every panel: a few products must pay for that
        and (p.source == IN_PLACE or taps >= 9))
    p.tasks = c.groups * p.n_panels if p.panel_tasks else blocks * p.splits


cdef bint runs_by_pixels(const DirectPlan *p) noexcept nogil:
    """Whether all filters stay in cache while pixels pass, whose outputs are then finished one
    after another. Otherwise all pixels of a block pass while a panel stays."""
    cdef const Correlation *c = &p.c
    cdef bint in_place = p.source == IN_PLACE
    return (p.into_y and not p.row_gaps
            and p.n_panels * p.panel_bytes <= DIRECT_SHORT_FILTERS
            and c.axis[D].taps == 1 and p.source != GATHER and not p.border
            # long pixels of the image are to be prefetched, many at a time
            and not (in_place and c.channels * c.kernels.itemsize > DIRECT_SHORT_PIXEL)
            # runs of a pixel's elements lie one fixed distance apart, as do the pixels of a row
            and (p.row_segments == 1 or c.axis[H].taps == 1) and p.block_w >= c.kernels.mr)


cdef void plan_stores(DirectPlan *p) noexcept nogil:
    """A strided gradient's phase has rows of y for itself, but not what lies between them."""
    cdef const Correlation *c = &p.c
    cdef const CorrelationAxis *h = &c.axis[H]
    cdef fc_size mr = c.kernels.mr, width = p.block_w
    p.into_y = c.y_k == c.kernels.itemsize and c.shuffle == NULL
    p.row_gaps = p.into_y and p.block_h > 1 and h.y != width * c.axis[W].y
    # Tiles of single rows leave registers unused, which costs more the longer sums are, unless all
    # are nearly full or few rows keep all their taps.
    p.row_tiles = p.row_gaps and 2 * width >= mr and (
        c.channels * taps_of(c) <= DIRECT_SHORT_SUM
        or 7 * width >= 6 * mr * ceil_div(width, mr)
        or p.skips_rows and h.out < mr)
    if p.row_gaps and not p.row_tiles and p.chunk < p.segments:
        p.into_y = p.row_gaps = False  # tiles add to what is stored


cdef void plan_segments(DirectPlan *p) noexcept nogil:
    """Runs of elements and which of them tiles take, and the scratch memory that it takes."""
    cdef const Correlation *c = &p.c
    cdef const CorrelationAxis *h = &c.axis[H]
    cdef const CorrelationAxis *w = &c.axis[W]
    cdef fc_size size = c.kernels.itemsize, pixels = p.block_h * p.block_w, piece = 0
    p.row_segments = w.taps
    p.segment_len = c.channels
    if (p.source == WINDOW and p.pitch == c.channels * size and w.dilation == 1
            and w.taps > 1):
        p.row_segments = 1
        p.segment_len = w.taps * c.channels
    p.segments = c.axis[D].taps * h.taps * p.row_segments
    p.chunk = max(1, min(p.segments, DIRECT_POINTER_BYTES // (pixels * <fc_size> sizeof(void *))))
    if p.source == GATHER:
        p.chunk = max(1, min(p.chunk, DIRECT_GATHER_BYTES // (pixels * c.channels * size)))
        piece = p.chunk * pixels * c.channels * size
    elif p.source == WINDOW:
        piece = window_bytes(p, p.block_h, p.block_w)
    p.border = p.source == IN_PLACE and (crosses_border(h) or crosses_border(w))
    # of several slices, such rows are not side by side
    p.skips_rows = crosses_border(h) and p.chunk == p.segments > 0 and c.axis[D].taps == 1
    p.prefetches_x = p.source == IN_PLACE and p.segments == 1
    plan_stores(p)
    p.by_pixels = runs_by_pixels(p)
    p.piece_at = 0 if p.by_pixels else round_up(p.chunk * pixels * sizeof(void *))
    p.result_at = p.piece_at + round_up(piece)
    if p.into_y:
        pixels = c.kernels.mr if p.row_gaps and not p.row_tiles else 0
    p.scratch_bytes = p.result_at + round_up(pixels * c.kernels.nr * size)


# ---------------------------------------------------------------- phases

ctypedef struct DirectCall:
    DirectPlan plan[MAX_PHASES]  # which differ in taps and outputs alone
    fc_size phases
    fc_size panels, panel_step   # of all groups; of all phases together
    bint packs
    # Panels that nobody packed are packed by the tasks that take them, all phases at once, to
    # scratch memory from here on; else panel_at is 0.
    fc_size panel_at
    # The weight, where all taps of a channel lie side by side: read once for all phases. Tap t from
    # there on, in order of memory, is number slots[t] of a panel. Otherwise NULL.
    const char *w
    fc_size taps
    fc_size slots[DIRECT_MAX_SLOTS]


cdef const char *lowest_tap(const DirectCall *d) noexcept nogil:
    cdef const Correlation *c
    cdef const char *lowest = NULL
    cdef const char *tap
    cdef fc_size i, a
    for i in range(d.phases):
        c = &d.plan[i].c
        tap = c.w
        for a in range(AXES):
            tap += min(0, (c.axis[a].taps - 1) * c.axis[a].w)
        if taps_of(c) and (lowest == NULL or tap < lowest):
            lowest = tap
    return lowest


cdef void find_slots(DirectCall *d) noexcept nogil:
    cdef const Correlation *c
    cdef const char *low = lowest_tap(d)
    cdef const char *tap
    cdef fc_size i, t, rest, slot = 0
    d.w, d.taps = NULL, 0
    for i in range(d.phases):
        d.taps += taps_of(&d.plan[i].c)
    if d.phases == 1 or not 1 < d.taps <= DIRECT_MAX_SLOTS:
        return
    for t in range(d.taps):
        d.slots[t] = -1
    for i in range(d.phases):
        c = &d.plan[i].c
        for t in range(taps_of(c)):
            rest = t
            tap = c.w + next_index(&rest, c.axis[W].taps) * c.axis[W].w
            tap += next_index(&rest, c.axis[H].taps) * c.axis[H].w + rest * c.axis[D].w
            rest = (tap - low) // c.kernels.itemsize
            if rest >= d.taps or d.slots[rest] >= 0:
                return
            d.slots[rest] = slot
            slot += 1
    d.w = low


cdef void pack_phases(const DirectCall *d, fc_size task, char *to) noexcept nogil:
    """The panels of one number of all phases, one after the other."""
    cdef const DirectPlan *p = &d.plan[0]
    cdef const Correlation *c = &p.c
    cdef fc_size nr = c.kernels.nr, g = task, panel = next_index(&g, p.n_panels), first = panel * nr
    cdef fc_size size = c.kernels.itemsize, i
    if d.w != NULL:
        c.kernels.pack_filters(to, d.w + g * c.w_g + first * c.w_k, min(nr, c.filters - first),
                               c.channels, 1, d.taps, c.w_k, c.w_c, d.taps * size, size, nr,
                               d.slots)
        return
    for i in range(d.phases):
        pack_filter_panel(&d.plan[i], g, panel, to)
        to += d.plan[i].panel_bytes


cdef int pack_phases_task(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef const DirectCall *d = <const DirectCall *> context
    pack_phases(d, task, <char *> d.plan[0].panels + task * d.panel_step)
    return OK


cdef int phases_task(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """A panel of all phases, or a task of one of them."""
    cdef const DirectCall *d = <const DirectCall *> context
    cdef const DirectPlan *p
    cdef const char *panel = scratch + d.panel_at
    cdef fc_size rest = task, i = 0
    if d.panel_at:
        pack_phases(d, task, scratch + d.panel_at)
        for i in range(d.phases):
            run_panel_task(&d.plan[i], task, panel, scratch)
            panel += d.plan[i].panel_bytes
        return OK
    while rest >= d.plan[i].tasks:
        rest -= d.plan[i].tasks
        i += 1
    p = &d.plan[i]
    if p.panel_tasks:
        run_panel_task(p, rest, p.panels + rest * p.panel_step, scratch)
    else:
        run_block_task(p, rest, scratch)
    return OK


cdef void plan_call(DirectCall *d, const Correlation *phases, fc_size count) noexcept nogil:
    cdef DirectPlan *p
    cdef fc_size all_taps = 0, i
    d.phases, d.panel_step, d.packs = count, 0, False
    for i in range(count):
        all_taps += taps_of(&phases[i])
    for i in range(count):
        p = &d.plan[i]
        p.c = phases[i]
        size_panels(p)
        p.panels = p.c.packed.panels if p.c.packed != NULL else NULL
        plan_blocks(p)
        plan_tasks(p, all_taps)
        plan_segments(p)
        d.panel_step += p.panel_bytes
        d.packs |= p.panels == NULL and p.panel_bytes > 0
    d.panels = p.c.groups * p.n_panels


cdef fc_size sum_up(DirectCall *d, fc_size *scratch_bytes, double *products) noexcept nogil:
    """The number of tasks, what one of them needs, and the work of all."""
    cdef DirectPlan *p
    cdef fc_size tasks = 0, i
    cdef bint packs_itself = d.packs and d.panel_step <= DIRECT_PANEL_BYTES
    scratch_bytes[0], products[0] = 0, 0
    for i in range(d.phases):
        p = &d.plan[i]
        tasks += p.tasks
        packs_itself &= p.panel_tasks
        scratch_bytes[0] = max(scratch_bytes[0], p.scratch_bytes)
        products[0] += work(&p.c)
    d.panel_at = 0
    if packs_itself:
        d.panel_at = max(scratch_bytes[0], LINE)
        scratch_bytes[0] = d.panel_at + d.panel_step
        tasks = d.panels
    return tasks


cdef int pack_call(DirectCall *d, char *memory, int num_threads) noexcept nogil:
    cdef fc_size i, at = 0
    for i in range(d.phases):
        d.plan[i].panels, d.plan[i].panel_step = memory + at, d.panel_step
        at += d.plan[i].panel_bytes
    return parallel_for(pack_phases_task, d, d.panels, 0,
                        <double> d.panels * d.panel_step / d.plan[0].c.kernels.itemsize,
                        num_threads)


cdef int run_direct(const Correlation *phases, fc_size count, int num_threads) noexcept nogil:
    cdef DirectCall d
    cdef DirectPlan *p = &d.plan[0]
    cdef const Correlation *c = &p.c
    cdef fc_size packed = 0, bias = 0, tasks, scratch_bytes, i
    cdef double products
    cdef PaddedBias padded
    plan_call(&d, phases, count)
    find_slots(&d)
    tasks = sum_up(&d, &scratch_bytes, &products)
    if d.packs and not d.panel_at:
        packed = d.panels * d.panel_step
    for i in range(count):
        if c.bias != NULL or d.plan[i].by_pixels:
            bias = d.panels * c.kernels.nr * c.kernels.itemsize
    cdef char *memory = allocate(packed + bias + c.channels * c.kernels.itemsize)
    cdef int status = OK
    if memory == NULL:
        return OUT_OF_MEMORY
    memset(memory + packed + bias, 0, c.channels * c.kernels.itemsize)
    for i in range(count):
        d.plan[i].zeros = memory + packed + bias
        d.plan[i].bias = NULL
        if c.bias != NULL or d.plan[i].by_pixels:
            d.plan[i].bias = memory + packed
    if bias:
        padded = PaddedBias(c, memory + packed, p.n_panels * c.kernels.nr * c.kernels.itemsize)
        status = run_once(pad_bias, &padded)
    if packed and status == OK:
        status = pack_call(&d, memory, num_threads)
    if status == OK:
        status = parallel_for(phases_task, &d, tasks, scratch_bytes, products, num_threads)
    release(memory)
    return status
