"""Winograd convolution with 3 x 3 filters, F(4x4, 3x3) and F(2x2, 3x3): y from x and w.

That is the forward pass and the input gradient; winograd_weight.pyx has the weight gradient.
docs/winograd.md derives both. An output tile of m x m and the input tile of (m + 2) x (m + 2) over
it become values at (m + 2)^2 points, where a convolution is one product for every channel and
filter: a matrix product over channels for each point.

winograd_points.pxd says how points of images lie. Points of filters lie as
[panel][point][channel][nr], each plane of a point followed by an unused cache line, too.
"""

from libc.string cimport memcpy, memset

from fastconv._drivers.axis cimport H, W
from fastconv._drivers.blocking cimport (
    LINE, TASKS, WINOGRAD_BLOCK_BYTES, WINOGRAD_BLOCK_TILES, WINOGRAD_FILTERS_BYTES,
    WINOGRAD_PACK_CHANNELS, WINOGRAD_PANEL_CHANNEL_BYTES, WINOGRAD_PANEL_TILES, WINOGRAD_PREFETCH,
    WINOGRAD_RUN, WINOGRAD_SHARED_BYTES, WINOGRAD_STREAM_BYTES, WINOGRAD_SUM_CHANNELS, ceil_div,
    next_index, part, plain_tile, round_up)
from fastconv._drivers.correlation cimport (
    Correlation, CorrelationAxis, is_planar, outputs_of, work)
from fastconv._drivers.kernels cimport FC_TILE_ACCUMULATE, fc_fence, fc_grids, fc_size, fc_tile
from fastconv._drivers.memory cimport allocate, release
from fastconv._drivers.runtime cimport OK, OUT_OF_MEMORY, parallel_for, run_once
from fastconv._drivers.winograd_points cimport (
    TileChunk, TiledImage, Tiling, points_plane, share_channels, share_points, share_tasks,
    taps_bytes, tiled_input, tiles_to_points, tiling_of, window_bytes)


ctypedef struct WinogradPlan:
    Correlation c
    Tiling t
    TiledImage x
    # filters: bytes of a point, of a panel
    fc_size n_panels, filter_plane, panel_bytes
    const char *filters          # [panel][point][channel][nr], or NULL: tasks transform their own
    fc_size panel_channels       # that they transform at a time
    char *bias                   # [n_panels * nr], zero beyond the filters
    # A task takes one of `blocks` blocks of tiles with all panels, its points in scratch; or a
    # panel and one of `splits` parts of the chunk of tiles at hand, whose points are shared.
    bint by_panels
    fc_size block, blocks, splits
    fc_size chunk_tiles          # at most
    TileChunk chunk              # at hand
    char *shared                 # [point][chunk.count][channel]
    # scratch: a window, taps or outputs | pointers | image's points | sums | a panel
    fc_size pointers_at, image_at, sums_at, panel_at, scratch_bytes


cdef bint is_usable(const Correlation *c) noexcept nogil:
    cdef const CorrelationAxis *h = &c.axis[H]
    cdef const CorrelationAxis *w = &c.axis[W]
    return (is_planar(c)                     # tiles and their points are of two dimensions
            and c.groups == 1                # a point's product has all channels, all filters
            # the transforms are those of three taps side by side, under neighbouring outputs
            and h.taps == 3 and h.dilation == 1 and h.step == 1
            and w.taps == 3 and w.dilation == 1 and w.step == 1)


cdef WinogradPlan plan_winograd(const Correlation *c, int tile) noexcept nogil:
    """How everything lies, but not yet what tasks there are."""
    cdef WinogradPlan p
    p.c = c[0]
    p.t = tiling_of(c, tile)
    p.x = tiled_input(&p.t, c)
    p.n_panels = ceil_div(c.filters, c.kernels.nr)
    p.filter_plane = c.channels * c.kernels.nr * c.kernels.itemsize + LINE
    p.panel_bytes = round_up(p.t.points * p.filter_plane)
    p.filters = NULL
    return p


cdef inline fc_size panel_filters(const WinogradPlan *p, fc_size panel) noexcept nogil:
    return min(p.c.kernels.nr, p.c.filters - panel * p.c.kernels.nr)


# ---------------------------------------------------------------- filters to points

cdef void filters_to_points(const WinogradPlan *p, fc_size panel, fc_size c0, fc_size c1,
                            char *points, fc_size plane, char *taps) noexcept nogil:
    """Channels [c0, c1) of a panel of filters to points, [point][channel][nr]; taps is scratch."""
    cdef const Correlation *c = &p.c
    cdef fc_size nr = c.kernels.nr, row = nr * c.kernels.itemsize, channels
    cdef fc_grids g
    g.x = taps
    g.y = points
    g.y_j = plane
    g.y_i = p.t.side * plane
    g.x_next = g.y_next = p.t.vector
    while c0 < c1:
        channels = min(WINOGRAD_PACK_CHANNELS, c1 - c0)
        c.kernels.pack_filters(taps, c.w + panel * nr * c.w_k + c0 * c.w_c, panel_filters(p, panel),
                               channels, 3, 3, c.w_k, c.w_c, c.axis[H].w, c.axis[W].w, nr)
        g.x_j = channels * row
        g.x_i = 3 * g.x_j
        g.count = g.x_j // p.t.vector
        p.t.transforms.filter(&g)
        g.y = <char *> g.y + g.x_j
        c0 += channels


cdef int pack_panel_channels(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """Some channels of one panel."""
    cdef WinogradPlan *p = <WinogradPlan *> context
    cdef fc_size rest = task, panel = next_index(&rest, p.n_panels)
    cdef fc_size c0 = rest * WINOGRAD_PACK_CHANNELS
    filters_to_points(p, panel, c0, min(c0 + WINOGRAD_PACK_CHANNELS, p.c.channels),
                      <char *> p.filters + panel * p.panel_bytes
                      + c0 * p.c.kernels.nr * p.c.kernels.itemsize, p.filter_plane, scratch)
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


cdef void multiply_points(const WinogradPlan *p, const char *image, fc_size image_plane,
                          const char *filters, fc_size filter_plane, fc_size panel,
                          fc_size channels, bint accumulate, fc_size tiles,
                          char *scratch) noexcept nogil:
    """At every point [tile][channel] by [channel][nr], to the task's sums, [point][tile][nr]."""
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, row = c.kernels.nr * size
    cdef fc_size groups = ceil_div(tiles, c.kernels.mr), q, i, k, s, t
    cdef const void **rows = <const void **> (scratch + p.pointers_at)
    cdef char *sums = scratch + p.sums_at
    cdef fc_tile tile = plain_tile(size, c.kernels.nr)
    tile.b_prefetch = WINOGRAD_PREFETCH
    tile.c_m = row
    tile.n = <int> (ceil_div(panel_filters(p, panel), c.kernels.lanes) * c.kernels.lanes)
    for q in range(p.t.points):
        for i in range(ceil_div(channels, WINOGRAD_SUM_CHANNELS)):
            k = i * WINOGRAD_SUM_CHANNELS
            tile.len = min(WINOGRAD_SUM_CHANNELS, channels - k)
            tile.flags = FC_TILE_ACCUMULATE if accumulate or k > 0 else 0
            for t in range(tiles):
                rows[t] = image + q * image_plane + t * p.x.row + k * size
            tile.b = filters + q * filter_plane + k * row
            for s in range(groups):
                t = part(tiles, groups, s)
                tile.a = rows + t
                tile.m = <int> (part(tiles, groups, s + 1) - t)
                tile.c = sums + q * sums_plane(p, tiles) + t * row
                c.kernels.tile(&tile)


cdef void sums_to_outputs(const WinogradPlan *p, fc_size first, fc_size tiles, fc_size panel,
                          char *scratch) noexcept nogil:
    """Tiles [first, first + tiles) of one panel's outputs, from the task's sums to y.

    Whole tiles go there directly if filters are contiguous, the others through the start of
    scratch, a run of them at a time.
    """
    cdef const Correlation *c = &p.c
    cdef const CorrelationAxis *h = &c.axis[H]
    cdef const CorrelationAxis *w = &c.axis[W]
    cdef fc_size size = c.kernels.itemsize, nr = c.kernels.nr, pixel = nr * size, m = p.t.m
    cdef fc_size filters = panel_filters(p, panel), vectors = ceil_div(filters, c.kernels.lanes)
    cdef bint in_place = c.y_k == size and filters % c.kernels.lanes == 0
    cdef bint stream = c.batch * c.filters * outputs_of(c) * size > WINOGRAD_STREAM_BYTES
    cdef bint direct
    cdef fc_size tile = first, row_end, run, whole, n, i, j, r, v, rows, line
    cdef char *y
    cdef fc_grids g
    g.x_j = sums_plane(p, tiles)
    g.x_i = p.t.side * g.x_j
    g.x_next = pixel
    g.relu = c.relu
    while tile < first + tiles:
        n = tile
        j = next_index(&n, p.t.tiles_w)
        i = next_index(&n, p.t.tiles_h)
        rows = min(m, h.out - i * m)
        row_end = min(tile + p.t.tiles_w - j, first + tiles)
        while tile < row_end:
            whole = w.out // m - j  # whole tiles from here to the end of the row
            direct = in_place and rows == m and whole > 0
            run = min(row_end - tile, whole if direct else WINOGRAD_RUN)
            y = c.y + n * c.y_n + i * m * h.y + j * m * w.y + panel * nr * c.y_k
            line = run * m * pixel
            g.y_i = h.y if direct else line
            g.y_j = w.y if direct else pixel
            g.y_next = m * g.y_j
            g.count = run
            g.stream = stream and direct and (<fc_size> <void *> y | h.y | w.y) % LINE == 0
            for v in range(vectors):
                g.x = scratch + p.sums_at + (tile - first) * pixel + v * p.t.vector
                g.y = (y if direct else scratch) + v * p.t.vector
                g.bias = NULL
                if c.bias != NULL:
                    g.bias = p.bias + panel * pixel + v * p.t.vector
                p.t.transforms.output(&g)
            if not direct:
                for r in range(rows):
                    (c.kernels.stream2d if stream else c.kernels.copy2d)(
                        y + r * h.y, w.y, c.y_k, scratch + r * line, pixel, size,
                        min(run * m, w.out - j * m), filters)
            tile += run
            j += run
    if stream:
        fc_fence()


# ---------------------------------------------------------------- tasks

cdef int winograd_block(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """A block of tiles, all panels of filters."""
    cdef WinogradPlan *p = <WinogradPlan *> context
    cdef fc_size first = part(p.t.tiles, p.blocks, task), panel
    cdef fc_size tiles = part(p.t.tiles, p.blocks, task + 1) - first
    cdef fc_size plane = points_plane(&p.x, tiles)
    cdef char *image = scratch + p.image_at
    tiles_to_points(&p.t, &p.x, first, first + tiles, 0, p.c.channels, image, plane, scratch)
    for panel in range(p.n_panels):
        multiply_points(p, image, plane, p.filters + panel * p.panel_bytes, p.filter_plane, panel,
                        p.c.channels, False, tiles, scratch)
        sums_to_outputs(p, first, tiles, panel, scratch)
    return OK


cdef int share_input(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """A run of the chunk's tiles and some channels to the shared points."""
    cdef WinogradPlan *p = <WinogradPlan *> context
    share_points(&p.t, &p.x, &p.chunk, 0, p.c.channels, p.shared, task, scratch)
    return OK


cdef int winograd_panel(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """One panel of filters, the chunk's tiles or a share of them."""
    cdef WinogradPlan *p = <WinogradPlan *> context
    cdef fc_size size = p.c.kernels.itemsize, channels = p.c.channels
    cdef fc_size split = task, panel = next_index(&split, p.n_panels)
    cdef fc_size start = part(p.chunk.count, p.splits, split)
    cdef fc_size share = part(p.chunk.count, p.splits, split + 1) - start
    cdef fc_size blocks = ceil_div(share, p.block), i, first, tiles, c0, c1
    cdef bint packed = p.filters != NULL
    cdef const char *filters = p.filters + panel * p.panel_bytes
    cdef fc_size plane = p.filter_plane
    if not packed:
        filters = scratch + p.panel_at
        plane = p.panel_channels * p.c.kernels.nr * size + LINE
    for i in range(blocks):
        first = start + part(share, blocks, i)
        tiles = start + part(share, blocks, i + 1) - first
        c0 = 0
        while c0 < channels:
            c1 = min(c0 + p.panel_channels, channels)
            # a whole panel is still there from the block before
            if not packed and (i == 0 or p.panel_channels < channels):
                filters_to_points(p, panel, c0, c1, <char *> filters, plane, scratch)
            multiply_points(p, p.shared + first * p.x.row + c0 * size,
                            points_plane(&p.x, p.chunk.count), filters, plane, panel, c1 - c0,
                            c0 > 0, tiles, scratch)
            c0 = c1
        sums_to_outputs(p, p.chunk.first + first, tiles, panel, scratch)
    return OK


# ---------------------------------------------------------------- all of it

cdef void choose_winograd_tasks(WinogradPlan *p) noexcept nogil:
    """By blocks where images outweigh filters; otherwise by panels, over shared points."""
    cdef const Correlation *c = &p.c
    cdef fc_size mr = c.kernels.mr, tiles = p.t.tiles, tile_bytes = p.t.points * p.x.row
    p.by_panels = (c.filters > tiles or p.n_panels * p.panel_bytes > WINOGRAD_FILTERS_BYTES
                   or mr * tile_bytes > 2 * WINOGRAD_BLOCK_BYTES)
    p.panel_channels = c.channels
    if p.by_panels:
        p.chunk_tiles = ceil_div(tiles, ceil_div(tiles * tile_bytes, WINOGRAD_SHARED_BYTES))
        p.block = min(WINOGRAD_PANEL_TILES, p.chunk_tiles)
        # not so that every split would bring the same filters to its cache for a few tiles
        p.splits = max(1, min(ceil_div(TASKS, p.n_panels), p.chunk_tiles // WINOGRAD_BLOCK_TILES))
        if p.filters == NULL:
            p.panel_channels = min(c.channels, WINOGRAD_PANEL_CHANNEL_BYTES // c.kernels.itemsize)
    else:
        p.block = min(WINOGRAD_BLOCK_TILES, max(mr, WINOGRAD_BLOCK_BYTES // tile_bytes))
        p.block = ceil_div(p.block, mr) * mr
        if ceil_div(tiles, p.block) < TASKS:
            p.block = mr
        p.blocks = ceil_div(tiles, p.block)


cdef void lay_out_winograd_scratch(WinogradPlan *p) noexcept nogil:
    cdef fc_size panel_row = p.c.kernels.nr * p.c.kernels.itemsize
    cdef fc_size start = taps_bytes(&p.t) if p.by_panels else window_bytes(&p.t, p.c.channels)
    p.pointers_at = round_up(max(start, p.t.m * p.t.m * WINOGRAD_RUN * panel_row))
    p.image_at = round_up(p.pointers_at + p.block * sizeof(void *))
    p.sums_at = p.image_at
    if not p.by_panels:
        p.sums_at += round_up(p.t.points * points_plane(&p.x, p.block))
    p.panel_at = p.sums_at + round_up(p.t.points * sums_plane(p, p.block))
    p.scratch_bytes = p.panel_at
    if p.by_panels and p.filters == NULL:
        p.scratch_bytes += p.t.points * (p.panel_channels * panel_row + LINE)


cdef int pad_winograd_bias(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef WinogradPlan *p = <WinogradPlan *> context
    cdef fc_size nbytes = p.c.filters * p.c.kernels.itemsize
    memcpy(p.bias, p.c.bias, nbytes)
    memset(p.bias + nbytes, 0, p.n_panels * p.c.kernels.nr * p.c.kernels.itemsize - nbytes)
    return OK


cdef int run_panels(WinogradPlan *p, int num_threads) noexcept nogil:
    """Chunk by chunk: its tiles to shared points, then every panel of filters over them."""
    cdef int status = OK
    p.chunk.first = 0
    while status == OK and p.chunk.first < p.t.tiles:
        p.chunk.count = min(p.chunk_tiles, p.t.tiles - p.chunk.first)
        status = parallel_for(share_input, p, share_tasks(&p.t, &p.chunk, p.c.channels),
                              window_bytes(&p.t, share_channels(&p.t)),
                              <double> p.chunk.count * p.t.points * p.c.channels, num_threads)
        if status == OK:
            status = parallel_for(winograd_panel, p, p.n_panels * p.splits, p.scratch_bytes,
                                  work(&p.c), num_threads)
        p.chunk.first += p.chunk.count
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
        shared_bytes = p.t.points * points_plane(&p.x, p.chunk_tiles)
    if c.bias != NULL:
        bias_bytes = p.n_panels * c.kernels.nr * c.kernels.itemsize
    memory = allocate(filters_bytes + shared_bytes + bias_bytes + LINE)
    if memory == NULL:
        return OUT_OF_MEMORY
    p.shared = memory + filters_bytes
    p.bias = p.shared + shared_bytes
    if c.bias != NULL:
        status = run_once(pad_winograd_bias, &p)
    if status == OK and packing:
        p.filters = memory
        status = pack_all_panels(&p, num_threads)
    if status == OK and p.by_panels:
        status = run_panels(&p, num_threads)
    elif status == OK:
        status = parallel_for(winograd_block, &p, p.blocks, p.scratch_bytes, work(c), num_threads)
    release(memory)
    return status
