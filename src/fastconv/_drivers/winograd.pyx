"""Winograd convolution of planes and lines, F(4x4, 3x3), F(2x2, 3x3) and F(4, 3): y from x and w.

That is the forward pass and the input gradient; winograd_weight.pyx has the weight gradient.
docs/winograd.md derives both. An output tile and the input tile over it become values at points,
where a convolution is one product for every channel, filter and tap that is summed there (of the
depth, or a segment of a line): a matrix product for each point.

winograd_points.pxd says how points of images lie. Points of filters lie as
[panel][point][tap][channel][nr], each plane of a point followed by an unused cache line, too.
"""

from libc.string cimport memcpy, memset

from fastconv._drivers.axis cimport D, H, W
from fastconv._drivers.blocking cimport (
    LINE, TASKS, WINOGRAD_BLOCK_BYTES, WINOGRAD_BLOCK_TILES, WINOGRAD_FILTERS_BYTES,
    WINOGRAD_LINE_BLOCK_TILES, WINOGRAD_PACK_CHANNELS, WINOGRAD_PANEL_CHANNEL_BYTES,
    WINOGRAD_PANEL_TILES, WINOGRAD_PREFETCH, WINOGRAD_RUN, WINOGRAD_SHARED_BYTES,
    WINOGRAD_STREAM_BYTES, WINOGRAD_SUM_CHANNELS, ceil_div, next_index, part, plain_tile, round_up)
from fastconv._drivers.correlation cimport Correlation, CorrelationAxis, outputs_of, work
from fastconv._drivers.kernels cimport FC_TILE_ACCUMULATE, fc_fence, fc_grids, fc_size, fc_tile
from fastconv._drivers.memory cimport allocate, release
from fastconv._drivers.runtime cimport OK, OUT_OF_MEMORY, parallel_for, run_once
from fastconv._drivers.winograd_form cimport WinogradForm, winograd_form
from fastconv._drivers.winograd_points cimport (
    TileChunk, TiledImage, Tiling, chunk_to_points, find_chunk, most_sources,
    points_plane, share_channels, share_points, share_tasks, taps_bytes, tiled_input, tiling_of,
    transform, whole_rows, window_bytes)


ctypedef struct WinogradPlan:
    WinogradForm f
    Correlation c                # the form's
    Tiling t
    TiledImage x
    # filters: bytes of a point, of a panel
    fc_size n_panels, filter_plane, panel_bytes
    const char *filters          # [panel][point][tap][channel][nr], or NULL: tasks transform them
    fc_size panel_channels       # that they transform at a time
    char *bias                   # [n_panels * nr], zero beyond the filters
    char *zeros                  # a row of points, of what is not in the image
    # Tiles are cut into parts_d x parts chunks. A task takes one of them with all panels, its
    # points in scratch; or a panel and one of `splits` parts of the chunk at hand, whose points are
    # shared, and of that so many tiles at a time.
    bint by_panels
    fc_size parts_d, parts
    fc_size block, splits
    TileChunk chunk              # at hand
    char *shared                 # [point][source][chunk.count][channel]
    # scratch: a window, taps or outputs | rows | pointers | image's points | sums | a panel
    fc_size rows_at, pointers_at, image_at, sums_at, panel_at, scratch_bytes

# Where a tile's points are: of the sources that its chunk keeps, the one that tap 0 meets, which
# may be beyond them; and from the start of a plane to what that would have.
ctypedef struct TileRow:
    fc_size source, offset


cdef WinogradPlan plan_winograd(const Correlation *c, int tile) noexcept nogil:
    """How everything lies, but not yet what tasks there are."""
    cdef WinogradPlan p
    p.f = winograd_form(c)
    p.c = p.f.c
    p.t = tiling_of(&p.f, tile)
    p.x = tiled_input(&p.t, &p.f)
    p.n_panels = ceil_div(c.filters, c.kernels.nr)
    p.filter_plane = p.t.taps * c.channels * c.kernels.nr * c.kernels.itemsize + LINE
    p.panel_bytes = round_up(p.t.points * p.filter_plane)
    p.filters = NULL
    return p


cdef inline fc_size panel_filters(const WinogradPlan *p, fc_size panel) noexcept nogil:
    return min(p.c.kernels.nr, p.c.filters - panel * p.c.kernels.nr)


# ---------------------------------------------------------------- filters to points

cdef void pack_taps(const WinogradPlan *p, fc_size panel, fc_size c0, fc_size channels,
                    fc_size tap, char *taps) noexcept nogil:
    """What filters of a panel have at a summed tap: [tap][channel][nr]."""
    cdef const Correlation *c = &p.c
    cdef const CorrelationAxis *h = &c.axis[H]
    cdef const CorrelationAxis *w = &c.axis[W]
    cdef fc_size nr = c.kernels.nr, present
    cdef const char *from_ = c.w + panel * nr * c.w_k + c0 * c.w_c + tap * c.axis[D].w
    if not p.f.lines:
        c.kernels.pack_filters(taps, from_, panel_filters(p, panel), channels, 3, 3, c.w_k, c.w_c,
                               h.w, w.w, nr, NULL)
        return
    present = min(3, p.f.line_taps - 3 * tap) if p.f.segments > 1 else p.f.line_taps
    c.kernels.pack_filters(taps, from_, panel_filters(p, panel), channels, 1, present, c.w_k,
                           c.w_c, 0, h.w if p.f.down else w.w, nr, NULL)
    memset(taps + present * channels * nr * c.kernels.itemsize, 0,
           (3 - present) * channels * nr * c.kernels.itemsize)


cdef void filters_to_points(const WinogradPlan *p, fc_size panel, fc_size c0, fc_size c1,
                            char *points, fc_size plane, fc_size tap_bytes,
                            char *taps) noexcept nogil:
    """Channels [c0, c1) of a panel of filters to points, [point][tap][channel][nr], where taps are
    tap_bytes apart; `taps` is scratch."""
    cdef const Correlation *c = &p.c
    cdef fc_size row = c.kernels.nr * c.kernels.itemsize, channels, tap
    cdef fc_grids g
    g.y_j = plane
    g.y_i = p.t.side_w * plane
    g.x_next = g.y_next = p.t.vector
    while c0 < c1:
        channels = min(WINOGRAD_PACK_CHANNELS, c1 - c0)
        g.x = taps
        g.x_j = channels * row
        g.x_i = (1 if p.f.down else 3) * g.x_j
        g.count = g.x_j // p.t.vector
        for tap in range(p.t.taps):
            pack_taps(p, panel, c0, channels, tap, taps)
            g.y = points + tap * tap_bytes
            transform(&p.t, p.t.transforms.filter, &g)
        points += g.x_j
        c0 += channels


cdef int pack_panel_channels(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """Some channels of one panel."""
    cdef WinogradPlan *p = <WinogradPlan *> context
    cdef fc_size rest = task, panel = next_index(&rest, p.n_panels)
    cdef fc_size c0 = rest * WINOGRAD_PACK_CHANNELS
    filters_to_points(p, panel, c0, min(c0 + WINOGRAD_PACK_CHANNELS, p.c.channels),
                      <char *> p.filters + panel * p.panel_bytes
                      + c0 * p.c.kernels.nr * p.c.kernels.itemsize, p.filter_plane,
                      p.c.channels * p.c.kernels.nr * p.c.kernels.itemsize, scratch)
    return OK


cdef int pack_all_panels(WinogradPlan *p, int num_threads) noexcept nogil:
    return parallel_for(pack_panel_channels, p,
                        p.n_panels * ceil_div(p.c.channels, WINOGRAD_PACK_CHANNELS),
                        taps_bytes(&p.t),
                        <double> p.n_panels * p.panel_bytes / p.c.kernels.itemsize, num_threads)


cdef fc_size points_bytes(const Correlation *c, int tile) noexcept nogil:
    cdef WinogradPlan p = plan_winograd(c, tile)
    return p.n_panels * p.panel_bytes


cdef int pack_points(const Correlation *c, int tile, char *points, int num_threads) noexcept nogil:
    cdef WinogradPlan p = plan_winograd(c, tile)
    p.filters = points
    return pack_all_panels(&p, num_threads)


# ---------------------------------------------------------------- products and outputs

cdef inline fc_size sums_plane(const WinogradPlan *p, fc_size tiles) noexcept nogil:
    return tiles * p.c.kernels.nr * p.c.kernels.itemsize + LINE


cdef void find_rows(const WinogradPlan *p, const TileChunk *chunk, fc_size first, fc_size tiles,
                    char *scratch) noexcept nogil:
    """Tiles [first, first + tiles) of a chunk, in the order [slice][tile]."""
    cdef TileRow *rows = <TileRow *> (scratch + p.rows_at)
    cdef fc_size i, slice, tile
    for i in range(tiles):
        slice = first + i
        tile = next_index(&slice, chunk.count)
        rows[i].source = slice - chunk.source0
        rows[i].offset = (rows[i].source * chunk.count + tile) * p.x.row


cdef void point_rows(const WinogradPlan *p, const TileChunk *chunk, const char *image,
                     const TileRow *rows, fc_size count, fc_size first, fc_size last,
                     const void **pointers) noexcept nogil:
    """What summed taps [first, last) meet in some tiles, [tap][tile], in the plane `image`."""
    cdef fc_size r, i, step = chunk.count * p.x.row
    for r in range(first, last):
        for i in range(count):
            pointers[i] = p.zeros
            if 0 <= rows[i].source + r < chunk.sources:
                pointers[i] = image + rows[i].offset + r * step
        pointers += count


cdef void multiply_points(const WinogradPlan *p, const TileChunk *chunk, const char *image,
                          const char *filters, fc_size filter_plane, fc_size panel,
                          fc_size channels, bint accumulate, fc_size tiles,
                          char *scratch) noexcept nogil:
    """At every point [tap][tile][channel] by [tap][channel][nr], to the task's sums,
    [point][tile][nr], of tiles that find_rows found in the chunk."""
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, row = c.kernels.nr * size
    cdef fc_size groups = ceil_div(tiles, c.kernels.mr), q, i, j, k, r, r0, r1, s, t
    cdef fc_size image_plane = points_plane(&p.x, chunk.sources * chunk.count)
    cdef fc_size together = max(1, WINOGRAD_SUM_CHANNELS // c.channels)  # taps in one sum
    cdef const TileRow *rows = <const TileRow *> (scratch + p.rows_at)
    cdef const void **pointers = <const void **> (scratch + p.pointers_at)
    cdef char *sums = scratch + p.sums_at
    cdef fc_tile tile = plain_tile(size, c.kernels.nr)
    tile.b_prefetch = WINOGRAD_PREFETCH
    tile.b_segment = channels * row
    tile.c_m = row
    tile.n = <int> (ceil_div(panel_filters(p, panel), c.kernels.lanes) * c.kernels.lanes)
    tile.a = pointers
    for q in range(p.t.points):
        for i in range(ceil_div(channels, WINOGRAD_SUM_CHANNELS)):
            k = i * WINOGRAD_SUM_CHANNELS
            tile.len = min(WINOGRAD_SUM_CHANNELS, channels - k)
            for j in range(ceil_div(p.t.taps, together)):
                r = j * together
                tile.flags = FC_TILE_ACCUMULATE if accumulate or k > 0 or r > 0 else 0
                for s in range(groups):
                    t = part(tiles, groups, s)
                    tile.m = <int> (part(tiles, groups, s + 1) - t)
                    # no tap that every tile meets beyond the image
                    r0 = max(r, -rows[t + tile.m - 1].source)
                    r1 = min(min(r + together, p.t.taps), chunk.sources - rows[t].source)
                    tile.segments = max(0, r1 - r0)
                    if tile.segments == 0 and tile.flags:
                        continue
                    point_rows(p, chunk, image + q * image_plane + k * size, rows + t, tile.m, r0,
                               r1, pointers)
                    tile.b = filters + q * filter_plane + r0 * tile.b_segment + k * row
                    tile.c = sums + q * sums_plane(p, tiles) + t * row
                    c.kernels.tile(&tile)


cdef inline fc_size row_outputs(const WinogradPlan *p, fc_size row) noexcept nogil:
    """How many outputs a row has: all but the last of a dilated line are full."""
    cdef fc_size cols = p.c.axis[W].out
    return min(cols, p.f.outs - row * p.f.row_pixels) if p.f.row_pixels else cols


cdef void copy_outputs(const WinogradPlan *p, fc_size row, fc_size col, fc_size rows, fc_size cols,
                       fc_size filters, bint stream, const char *outputs, char *y) noexcept nogil:
    """A panel's outputs at [row : row + rows][col : col + cols], as far as there are any, which lie
    as [rows][cols][nr], to y."""
    cdef const Correlation *c = &p.c
    cdef const CorrelationAxis *h = &c.axis[H]
    cdef const CorrelationAxis *w = &c.axis[W]
    cdef fc_size size = c.kernels.itemsize, pixel = c.kernels.nr * size, r, n
    if cols == p.f.row_pixels:  # rows of one line
        cols *= rows
        rows = 1
    for r in range(rows):
        n = min(cols, c.axis[W].out - col)
        if p.f.row_pixels:
            n = min(cols, p.f.outs - (row + r) * p.f.row_pixels - col)
        if n > 0:
            (c.kernels.stream2d if stream else c.kernels.copy2d)(
                y + r * h.y, w.y, c.y_k, outputs + r * cols * pixel, pixel, size, n, filters)


cdef void sums_to_outputs(const WinogradPlan *p, const TileChunk *chunk, fc_size first,
                          fc_size tiles, fc_size panel, char *scratch) noexcept nogil:
    """Tiles [first, first + tiles) of a chunk, of one panel's outputs, from the task's sums to y.

    Whole tiles go there directly if filters are contiguous, the others through the start of
    scratch, a run of them at a time.
    """
    cdef const Correlation *c = &p.c
    cdef const CorrelationAxis *h = &c.axis[H]
    cdef const CorrelationAxis *w = &c.axis[W]
    cdef fc_size size = c.kernels.itemsize, nr = c.kernels.nr, pixel = nr * size, m = p.t.m_w
    cdef fc_size filters = panel_filters(p, panel), vectors = ceil_div(filters, c.kernels.lanes)
    cdef bint in_place = c.y_k == size and filters % c.kernels.lanes == 0
    cdef bint stream = c.batch * c.filters * outputs_of(c) * size > WINOGRAD_STREAM_BYTES
    cdef bint direct
    cdef fc_size at = first, slice, end, run, together, whole, n, i, j, r, v, rows, line
    cdef char *y
    cdef fc_grids g
    g.x_j = sums_plane(p, tiles)
    g.x_i = p.t.side_w * g.x_j
    g.x_next = pixel
    g.relu = c.relu
    while at < first + tiles:
        slice = at
        n = chunk.first + next_index(&slice, chunk.count)
        end = min((slice + 1) * chunk.count, first + tiles)  # of tiles of this slice
        j = next_index(&n, p.t.tiles_w)
        i = next_index(&n, p.t.tiles_h)
        rows = min(p.t.m_h, h.out - i * p.t.m_h)
        # whole tiles from here to the end of the row
        whole = row_outputs(p, i * p.t.m_h + rows - 1) // m - j
        direct = in_place and rows == p.t.m_h and whole > 0
        run = min(min(p.t.tiles_w - j, end - at), whole if direct else p.t.run)
        together = 1 if direct or j else whole_rows(&p.t, i, end - at)
        y = (c.y + n * c.y_n + (chunk.slice0 + slice) * c.axis[D].y + i * p.t.m_h * h.y
             + j * m * w.y + panel * nr * c.y_k)
        line = run * m * pixel
        g.y_i = h.y if direct else line
        g.y_j = w.y if direct else pixel
        g.y_next = m * g.y_j
        g.count = run
        g.stream = stream and direct and (<fc_size> <void *> y | h.y | w.y) % LINE == 0
        for v in range(vectors * together):
            r = v // vectors
            g.x = (scratch + p.sums_at + (at - first + r * run) * pixel
                   + (v - r * vectors) * p.t.vector)
            g.y = (y if direct else scratch + r * p.t.m_h * line) + (v - r * vectors) * p.t.vector
            g.bias = NULL
            if c.bias != NULL:
                g.bias = p.bias + panel * pixel + (v - r * vectors) * p.t.vector
            transform(&p.t, p.t.transforms.output, &g)
        if not direct:
            copy_outputs(p, i * p.t.m_h, j * m, min(together * p.t.m_h, h.out - i * p.t.m_h),
                         run * m, filters, stream, scratch, y)
        at += together * run
    if stream:
        fc_fence()


# ---------------------------------------------------------------- tasks

cdef int winograd_block(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """A chunk of tiles, all panels of filters."""
    cdef WinogradPlan *p = <WinogradPlan *> context
    cdef fc_size at_d = task, at = next_index(&at_d, p.parts), panel
    cdef TileChunk chunk = find_chunk(&p.t, &p.x, p.t.taps, at_d, p.parts_d, at, p.parts)
    cdef fc_size tiles = chunk.slices * chunk.count
    cdef char *image = scratch + p.image_at
    chunk_to_points(&p.t, &p.x, &chunk, 0, p.c.channels, image,
                    points_plane(&p.x, chunk.sources * chunk.count), scratch)
    find_rows(p, &chunk, 0, tiles, scratch)
    for panel in range(p.n_panels):
        multiply_points(p, &chunk, image, p.filters + panel * p.panel_bytes, p.filter_plane, panel,
                        p.c.channels, False, tiles, scratch)
        sums_to_outputs(p, &chunk, 0, tiles, panel, scratch)
    return OK


cdef int share_input(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """A run of the chunk's tiles and some channels to the shared points."""
    cdef WinogradPlan *p = <WinogradPlan *> context
    share_points(&p.t, &p.x, &p.chunk, 0, p.c.channels, p.shared, task, scratch)
    return OK


cdef int winograd_panel(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """One panel of filters, the chunk's tiles or a share of them."""
    cdef WinogradPlan *p = <WinogradPlan *> context
    cdef fc_size size = p.c.kernels.itemsize, channels = p.c.channels, row = p.c.kernels.nr * size
    cdef fc_size split = task, panel = next_index(&split, p.n_panels)
    cdef fc_size all_tiles = p.chunk.slices * p.chunk.count
    cdef fc_size start = part(all_tiles, p.splits, split)
    cdef fc_size share = part(all_tiles, p.splits, split + 1) - start
    cdef fc_size blocks = ceil_div(share, p.block), i, first, tiles, c0, c1
    cdef bint packed = p.filters != NULL
    cdef const char *filters = p.filters + panel * p.panel_bytes
    cdef fc_size plane = p.filter_plane
    if not packed:
        filters = scratch + p.panel_at
        plane = p.t.taps * p.panel_channels * row + LINE
    for i in range(blocks):
        first = start + part(share, blocks, i)
        tiles = start + part(share, blocks, i + 1) - first
        find_rows(p, &p.chunk, first, tiles, scratch)
        c0 = 0
        while c0 < channels:
            c1 = min(c0 + p.panel_channels, channels)
            # a whole panel is still there from the block before
            if not packed and (i == 0 or p.panel_channels < channels):
                filters_to_points(p, panel, c0, c1, <char *> filters, plane, (c1 - c0) * row,
                                  scratch)
            multiply_points(p, &p.chunk, p.shared + c0 * size, filters, plane, panel, c1 - c0,
                            c0 > 0, tiles, scratch)
            c0 = c1
        sums_to_outputs(p, &p.chunk, first, tiles, panel, scratch)
    return OK


# ---------------------------------------------------------------- all of it

cdef void cut_blocks(WinogradPlan *p) noexcept nogil:
    """Chunks of so many tiles that their points stay in the cache."""
    cdef fc_size mr = p.c.kernels.mr, tile_bytes = p.t.points * p.x.row, tiles = p.t.tiles
    cdef fc_size most = WINOGRAD_LINE_BLOCK_TILES if p.f.lines else WINOGRAD_BLOCK_TILES, slices
    cdef fc_size block = min(most, max(mr, WINOGRAD_BLOCK_BYTES // tile_bytes))
    block = ceil_div(block, mr) * mr
    while block > mr and ceil_div(tiles * p.t.slices, block) < TASKS:
        block = (block // mr + 1) // 2 * mr
    p.parts_d = p.t.slices
    if p.t.sharing and p.t.slices > 1:
        p.parts_d = ceil_div(p.t.slices, block)
        slices = ceil_div(p.t.slices, p.parts_d)
        block = max(1, ceil_div(block, slices))
    p.parts = ceil_div(tiles, block)


cdef void choose_winograd_tasks(WinogradPlan *p) noexcept nogil:
    """By blocks where images outweigh filters; otherwise by panels, over shared points."""
    cdef const Correlation *c = &p.c
    cdef fc_size tile_bytes = p.t.points * p.x.row, tiles = p.t.tiles * p.t.slices, slices, chunk
    p.by_panels = (c.filters > tiles or p.n_panels * p.panel_bytes > WINOGRAD_FILTERS_BYTES
                   or c.kernels.mr * tile_bytes > 2 * WINOGRAD_BLOCK_BYTES)
    p.panel_channels = c.channels
    if not p.by_panels:
        cut_blocks(p)
        return
    slices = 1
    if p.t.sharing:  # all slices, unless that left few tiles of each
        slices = WINOGRAD_SHARED_BYTES // (min(WINOGRAD_RUN, p.t.tiles) * tile_bytes)
        slices = max(1, min(slices, p.t.slices))
    p.parts_d = ceil_div(p.t.slices, slices)
    slices = ceil_div(p.t.slices, p.parts_d)
    tile_bytes *= most_sources(&p.t, &p.x, slices)
    p.parts = ceil_div(p.t.tiles * tile_bytes, WINOGRAD_SHARED_BYTES)
    chunk = slices * ceil_div(p.t.tiles, p.parts)
    p.block = min(WINOGRAD_PANEL_TILES, chunk)
    # not so that every split would bring the same filters to its cache for a few tiles
    p.splits = max(1, min(ceil_div(TASKS, p.n_panels), chunk // WINOGRAD_BLOCK_TILES))
    if p.filters == NULL:
        p.panel_channels = WINOGRAD_PANEL_CHANNEL_BYTES // (c.kernels.itemsize * p.t.taps)
        p.panel_channels = max(1, p.panel_channels // WINOGRAD_SUM_CHANNELS) * WINOGRAD_SUM_CHANNELS
        p.panel_channels = min(c.channels, p.panel_channels)


cdef void lay_out_winograd_scratch(WinogradPlan *p) noexcept nogil:
    cdef fc_size panel_row = p.c.kernels.nr * p.c.kernels.itemsize, tiles = p.block, slices
    cdef fc_size start = taps_bytes(&p.t) if p.by_panels else window_bytes(&p.t, p.c.channels)
    cdef fc_size columns = ceil_div(p.t.tiles, p.parts)
    slices = ceil_div(p.t.slices, p.parts_d)
    if not p.by_panels:
        tiles = slices * columns
    p.rows_at = round_up(max(start, p.t.m_h * p.t.m_w * p.t.run * panel_row))
    p.pointers_at = p.rows_at + round_up(tiles * sizeof(TileRow))
    p.image_at = p.pointers_at + round_up(p.t.taps * p.c.kernels.mr * sizeof(void *))
    p.sums_at = p.image_at
    if not p.by_panels:
        p.sums_at += round_up(p.t.points
                              * points_plane(&p.x, most_sources(&p.t, &p.x, slices) * columns))
    p.panel_at = p.sums_at + round_up(p.t.points * sums_plane(p, tiles))
    p.scratch_bytes = p.panel_at
    if p.by_panels and p.filters == NULL:
        p.scratch_bytes += p.t.points * (p.t.taps * p.panel_channels * panel_row + LINE)


cdef int prepare_winograd(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef WinogradPlan *p = <WinogradPlan *> context
    cdef fc_size nbytes = p.c.filters * p.c.kernels.itemsize
    memset(p.zeros, 0, p.x.row)
    if p.c.bias != NULL:
        memcpy(p.bias, p.c.bias, nbytes)
        memset(p.bias + nbytes, 0, p.n_panels * p.c.kernels.nr * p.c.kernels.itemsize - nbytes)
    return OK


cdef int run_panels(WinogradPlan *p, int num_threads) noexcept nogil:
    """Chunk by chunk: its tiles to shared points, then every panel of filters over them."""
    cdef int status = OK
    cdef fc_size i, at_d
    for i in range(p.parts_d * p.parts):
        at_d = i
        p.chunk = find_chunk(&p.t, &p.x, p.t.taps, at_d // p.parts, p.parts_d, i % p.parts, p.parts)
        status = parallel_for(share_input, p, share_tasks(&p.t, &p.chunk, p.c.channels),
                              window_bytes(&p.t, share_channels(&p.t)),
                              <double> p.chunk.count * p.chunk.sources * p.t.points * p.c.channels,
                              num_threads)
        if status == OK:
            status = parallel_for(winograd_panel, p, p.n_panels * p.splits, p.scratch_bytes,
                                  work(&p.c), num_threads)
        if status != OK:
            break
    return status


cdef int run_winograd(const Correlation *correlation, int tile, int num_threads) noexcept nogil:
    cdef WinogradPlan p = plan_winograd(correlation, tile)
    cdef const Correlation *c = &p.c
    cdef fc_size filters_bytes = 0, shared_bytes = 0, bias_bytes = 0
    cdef char *memory
    cdef int status = OK
    if c.packed != NULL:
        p.filters = c.packed.points[tile]
    choose_winograd_tasks(&p)
    lay_out_winograd_scratch(&p)
    cdef bint packing = p.filters == NULL and not p.by_panels
    if packing:
        filters_bytes = p.n_panels * p.panel_bytes
    if p.by_panels:
        shared_bytes = most_sources(&p.t, &p.x, ceil_div(p.t.slices, p.parts_d))
        shared_bytes = p.t.points * points_plane(&p.x,
                                                 shared_bytes * ceil_div(p.t.tiles, p.parts))
    if c.bias != NULL:
        bias_bytes = round_up(p.n_panels * c.kernels.nr * c.kernels.itemsize)
    memory = allocate(filters_bytes + shared_bytes + bias_bytes + p.x.row + LINE)
    if memory == NULL:
        return OUT_OF_MEMORY
    p.shared = memory + filters_bytes
    p.bias = p.shared + shared_bytes
    p.zeros = p.bias + bias_bytes
    status = run_once(prepare_winograd, &p)
    if status == OK and packing:
        p.filters = memory
        status = pack_all_panels(&p, num_threads)
    if status == OK and p.by_panels:
        status = run_panels(&p, num_threads)
    elif status == OK:
        status = parallel_for(winograd_block, &p, p.parts_d * p.parts, p.scratch_bytes, work(c),
                              num_threads)
    release(memory)
    return status
