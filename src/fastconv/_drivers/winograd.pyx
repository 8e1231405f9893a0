"""Winograd convolution with 3 x 3 filters: F(4x4, 3x3) and F(2x2, 3x3), and both gradients.

docs/winograd.md derives it. An output tile of m x m and the input tile of (m + 2) x (m + 2) under
it become values at (m + 2)^2 points, where a convolution is one product for every channel and
filter: a matrix product over channels for each point. `run_winograd` computes y from x and w, and so
the forward pass and the input gradient; `run_winograd_weight` sums over tiles instead of channels.

Points of images lie as [point][tile][channel], so that a row of the register tile is an image's
tile; points of filters as [panel][point][channel][nr]. A plane, all of one point, is followed by
an unused cache line: at a power of two of bytes the planes would share their sets of the cache.
"""

from libc.string cimport memcpy, memset

from fastconv._drivers.axis cimport H, W
from fastconv._drivers.blocking cimport LINE, TASKS, ceil_div, part, round_up
from fastconv._drivers.correlation cimport Correlation, work
from fastconv._drivers.kernels cimport (
    FC_TILE_ACCUMULATE, fc_fence, fc_grids, fc_outer, fc_size, fc_tile, fc_winograd)
from fastconv._drivers.memory cimport allocate, measuring, release
from fastconv._drivers.runtime cimport OK, OUT_OF_MEMORY, parallel_for


cdef enum:
    RUN = 16             # tiles of an image's row that are taken together
    PACK_CHANNELS = 64   # of filters that are transformed together
    SHARE_VECTORS = 4    # of channels that a task brings to shared points
    # A task's tiles: points of the image and one panel's sums stay in a 1 MB L2, while filters pass
    # through it; enough of them to pay for that.
    BLOCK_TILES = 28
    BLOCK_BYTES = 1024 * 1024
    # The same where points are shared: then the panel stays, and points pass.
    PANEL_TILES = 112
    PANEL_CHANNELS = 512
    # Sums of so many channels are added up apart, which rounds less than one long sum.
    SUM_CHANNELS = 128
    # Shared points stay in the third-level cache, as do filters' points up to some size, and the
    # weight gradient's sums of so many channels and filters.
    SHARED_BYTES = 8 * 1024 * 1024
    FILTERS_BYTES = 16 * 1024 * 1024
    FILTERS_AHEAD = 8192  # fetched: beyond the page, where the processor stops by itself
    # Outputs that the third-level cache could not keep are written past it.
    STREAM_BYTES = 32 * 1024 * 1024
    SUMS_CHANNELS = 256
    SUMS_PANELS = 4      # that a task adds to

# An image cut into tiles that become points: the input's overlap, the output gradient's do not.
ctypedef struct Tiles:
    const char *x
    fc_size x_n, x_c, x_h, x_w
    fc_size channels, height, width
    fc_size row0, col0  # of the first tile
    fc_size side        # rows and columns of a tile
    fc_size row         # bytes from one tile's points to the next
    void (*transform)(const fc_grids *) noexcept nogil


ctypedef struct Plan:
    Correlation c
    const fc_winograd *winograd
    fc_size m, side, points      # 4, 6, 36 or 2, 4, 16
    fc_size tiles_h, tiles_w     # of an image
    fc_size tiles                # of all images
    fc_size vector               # bytes
    Tiles x, dy
    # filters: of a point, of a panel
    fc_size n_panels, filter_plane, panel_bytes
    const char *filters          # [panel][point][channel][nr], or NULL: tasks transform their own
    fc_size panel_channels       # that they transform at a time
    char *bias                   # [n_panels * nr], zero beyond the filters
    # A task takes a block of tiles with all panels, its points in scratch; or, where points are
    # shared, a panel and a split of the chunk of tiles at hand, in blocks.
    fc_size block, blocks, splits
    fc_size chunk, first, count  # tiles of a chunk, at most; the one at hand
    char *shared                 # [point][count][channel]
    # scratch: a window, taps or outputs | pointers | image's points | sums | a panel
    fc_size pointers_at, image_at, sums_at, panel_at, scratch_bytes
    # weight gradient, of the channels [c0, c1) and filters [k0, k1) at hand
    char *shared_dy              # [point][count][filter]
    char *sums                   # [point][channel][filter]
    fc_size sums_row, sums_plane
    fc_size c0, c1, k0, k1


cdef bint is_usable(const Correlation *c) noexcept nogil:
    return (c.groups == 1 and c.axis[H].taps == 3 and c.axis[W].taps == 3 and c.axis[H].step == 1 and c.axis[W].step == 1
            and c.axis[H].dilation == 1 and c.axis[W].dilation == 1)


cdef void start(Plan *p, const Correlation *correlation, int tile) noexcept nogil:
    cdef Correlation *c = &p.c
    c[0] = correlation[0]
    p.winograd = &c.kernels.winograd[tile]
    p.m = p.winograd.tile
    p.side = p.m + 2
    p.points = p.side * p.side
    p.tiles_h = ceil_div(c.axis[H].out, p.m)
    p.tiles_w = ceil_div(c.axis[W].out, p.m)
    p.tiles = c.batch * p.tiles_h * p.tiles_w
    p.vector = c.kernels.lanes * c.kernels.itemsize
    p.n_panels = ceil_div(c.filters, c.kernels.nr)
    p.filter_plane = c.channels * c.kernels.nr * c.kernels.itemsize + LINE
    p.panel_bytes = round_up(p.points * p.filter_plane)
    p.x.x = c.x
    p.x.x_n, p.x.x_c, p.x.x_h, p.x.x_w = c.x_n, c.x_c, c.axis[H].x, c.axis[W].x
    p.x.channels, p.x.height, p.x.width = c.channels, c.axis[H].size, c.axis[W].size
    p.x.row0, p.x.col0 = c.axis[H].first, c.axis[W].first
    p.x.side = p.side
    p.x.row = ceil_div(c.channels, c.kernels.lanes) * p.vector
    p.x.transform = p.winograd.input


# ---------------------------------------------------------------- images to points

cdef inline fc_size clamp(fc_size i, fc_size low, fc_size high) noexcept nogil:
    return min(max(i, low), high)


cdef void fill_window(const Plan *p, const Tiles *s, const char *x, fc_size top, fc_size left,
                      fc_size cols, fc_size channels, fc_size pixel, char *window) noexcept nogil:
    """The image at [top : top + side] [left : left + cols], [side][cols][pixel bytes], with zeros
    beyond the image and the channels."""
    cdef fc_size lo = clamp(-left, 0, cols), hi = clamp(s.width - left, lo, cols)
    cdef fc_size size = p.c.kernels.itemsize, r, line = cols * pixel
    if channels * size < pixel:
        memset(window, 0, s.side * line)
    for r in range(s.side):
        if top + r < 0 or top + r >= s.height or lo == hi:
            memset(window + r * line, 0, line)
            continue
        memset(window + r * line, 0, lo * pixel)
        p.c.kernels.copy2d(window + r * line + lo * pixel, pixel, size,
                           x + (top + r) * s.x_h + (left + lo) * s.x_w, s.x_w, s.x_c,
                           hi - lo, channels)
        memset(window + r * line + hi * pixel, 0, (cols - hi) * pixel)


cdef void to_points(const Plan *p, const Tiles *s, fc_size first, fc_size last, fc_size c0,
                    fc_size c1, char *points, fc_size plane, char *window) noexcept nogil:
    """Tiles [first, last) and channels [c0, c1) to points, [point][tile][channel].

    c0 is a multiple of a vector's lanes. Where channels are contiguous, a tile is taken at a time
    with all its channels, from where it lies unless it has a border. Otherwise a run of tiles and a
    vector of channels are copied to the window first, which has room for that.
    """
    cdef fc_size size = p.c.kernels.itemsize, lanes = p.c.kernels.lanes
    cdef fc_size t = first, n, i, j, j1, end, cols, top, left, k, c, channels
    cdef bint whole = (c1 - c0) % lanes == 0
    cdef const char *x
    cdef fc_grids g
    g.y_i = p.side * plane
    g.y_j = plane
    while t < last:
        n = t // (p.tiles_h * p.tiles_w)
        i = t // p.tiles_w % p.tiles_h
        j = t % p.tiles_w
        j1 = min(p.tiles_w, j + last - t)
        top = s.row0 + i * p.m
        x = s.x + n * s.x_n + c0 * s.x_c
        while j < j1:
            left = s.col0 + j * p.m
            g.y = points + (t - first) * s.row
            if s.x_c == size:
                end = j + 1
                if (whole and top >= 0 and top + s.side <= s.height and left >= 0
                        and left + s.side <= s.width):
                    g.x = x + top * s.x_h + left * s.x_w
                    g.x_i = s.x_h
                    g.x_j = s.x_w
                    g.x_prefetch = p.m * s.x_w
                else:
                    g.x = window
                    g.x_j = ceil_div(c1 - c0, lanes) * p.vector
                    g.x_i = s.side * g.x_j
                    g.x_prefetch = 0
                    fill_window(p, s, x, top, left, s.side, c1 - c0, g.x_j, window)
                g.x_next = g.y_next = p.vector
                g.count = ceil_div(c1 - c0, lanes)
                s.transform(&g)
            else:
                end = min(j1, j + RUN)
                cols = (end - j - 1) * p.m + s.side
                g.x = window
                g.x_i = cols * p.vector
                g.x_j = p.vector
                g.x_prefetch = 0
                g.x_next = p.m * p.vector
                g.y_next = s.row
                g.count = end - j
                for k in range(ceil_div(c1 - c0, lanes)):
                    c = k * lanes
                    channels = min(lanes, c1 - c0 - c)
                    fill_window(p, s, x + c * s.x_c, top, left, cols, channels, p.vector, window)
                    s.transform(&g)
                    g.y = <char *> g.y + p.vector
            t += end - j
            j = end


cdef inline fc_size window_bytes(const Plan *p, fc_size channels) noexcept nogil:
    return max(p.side * (RUN * p.m + 2) * p.vector,
               p.points * ceil_div(channels, p.c.kernels.lanes) * p.vector)


# ---------------------------------------------------------------- filters to points

cdef inline fc_size panel_filters(const Plan *p, fc_size panel) noexcept nogil:
    return min(p.c.kernels.nr, p.c.filters - panel * p.c.kernels.nr)


cdef void fill_panel(const Plan *p, fc_size panel, fc_size c0, fc_size c1, char *points,
                     fc_size plane, char *taps) noexcept nogil:
    """Channels [c0, c1) of a panel of filters to points, [point][channel][nr]; taps is scratch."""
    cdef const Correlation *c = &p.c
    cdef fc_size nr = c.kernels.nr, row = nr * c.kernels.itemsize, channels
    cdef fc_size n = panel_filters(p, panel)
    cdef fc_grids g
    g.x = taps
    g.y = points
    g.y_j = plane
    g.y_i = p.side * plane
    g.x_next = g.y_next = p.vector
    while c0 < c1:
        channels = min(PACK_CHANNELS, c1 - c0)
        c.kernels.pack_filters(taps, c.w + panel * nr * c.w_k + c0 * c.w_c, n, channels, 3, 3,
                               c.w_k, c.w_c, c.axis[H].w, c.axis[W].w, nr)
        g.x_j = channels * row
        g.x_i = 3 * g.x_j
        g.count = g.x_j // p.vector
        p.winograd.filter(&g)
        g.y = <char *> g.y + g.x_j
        c0 += channels


cdef inline fc_size taps_bytes(const Plan *p) noexcept nogil:
    return 9 * PACK_CHANNELS * p.c.kernels.nr * p.c.kernels.itemsize


cdef int pack_panel(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """Some channels of one panel."""
    cdef Plan *p = <Plan *> context
    cdef fc_size panel = task % p.n_panels, c0 = task // p.n_panels * PACK_CHANNELS
    fill_panel(p, panel, c0, min(c0 + PACK_CHANNELS, p.c.channels),
               <char *> p.filters + panel * p.panel_bytes
               + c0 * p.c.kernels.nr * p.c.kernels.itemsize, p.filter_plane, scratch)
    return OK


cdef int pack_panels(Plan *p, int num_threads) noexcept nogil:
    return parallel_for(pack_panel, p, p.n_panels * ceil_div(p.c.channels, PACK_CHANNELS),
                        taps_bytes(p), <double> p.n_panels * p.panel_bytes / p.c.kernels.itemsize,
                        num_threads)


cdef fc_size packed_bytes(const Correlation *c, int tile) noexcept nogil:
    cdef Plan p
    start(&p, c, tile)
    return p.n_panels * p.panel_bytes


cdef int pack(const Correlation *c, int tile, char *points, int num_threads) noexcept nogil:
    cdef Plan p
    start(&p, c, tile)
    p.filters = points
    return pack_panels(&p, num_threads)


# ---------------------------------------------------------------- products and outputs

cdef inline fc_size image_plane(const Plan *p, fc_size tiles) noexcept nogil:
    return tiles * p.x.row + LINE


cdef inline fc_size sums_plane(const Plan *p, fc_size tiles) noexcept nogil:
    return tiles * p.c.kernels.nr * p.c.kernels.itemsize + LINE


cdef void multiply(const Plan *p, const char *image, fc_size image_plane, const char *filters,
                   fc_size filter_plane, fc_size n, fc_size channels, bint accumulate,
                   fc_size count, char *sums, const void **rows) noexcept nogil:
    """For every point, [tile][channel] times [channel][nr] to sums, [point][tile][nr], of which n
    columns are wanted."""
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, row = c.kernels.nr * size
    cdef fc_size groups = ceil_div(count, c.kernels.mr), q, k, s, t
    cdef fc_tile tile
    tile.a_prefetch = tile.c_prefetch = 0
    tile.b_prefetch = FILTERS_AHEAD
    tile.a_k = size
    tile.b_k = row
    tile.b_at = NULL
    tile.b_segment = 0
    tile.segments = 1
    tile.bias = NULL
    tile.c_m = row
    tile.n = <int> (ceil_div(n, c.kernels.lanes) * c.kernels.lanes)
    for q in range(p.points):
        for k in range(ceil_div(channels, SUM_CHANNELS)):
            tile.len = min(SUM_CHANNELS, channels - k * SUM_CHANNELS)
            tile.flags = FC_TILE_ACCUMULATE if accumulate or k > 0 else 0
            for t in range(count):
                rows[t] = image + q * image_plane + t * p.x.row + k * SUM_CHANNELS * size
            tile.b = filters + q * filter_plane + k * SUM_CHANNELS * row
            for s in range(groups):
                t = part(count, groups, s)
                tile.a = rows + t
                tile.m = <int> (part(count, groups, s + 1) - t)
                tile.c = sums + q * sums_plane(p, count) + t * row
                c.kernels.tile(&tile)


cdef void from_points(const Plan *p, fc_size first, fc_size count, fc_size panel,
                      const char *sums, char *out) noexcept nogil:
    """Tiles [first, first + count) of one panel's outputs, from sums, [point][tile][nr], to y.

    Whole tiles go there directly if filters are contiguous, the others through `out`, which has
    room for RUN tiles.
    """
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, nr = c.kernels.nr, pixel = nr * size
    cdef fc_size plane = sums_plane(p, count)
    cdef fc_size filters = panel_filters(p, panel)
    cdef bint stream = c.batch * c.filters * c.axis[H].out * c.axis[W].out * size > STREAM_BYTES
    cdef bint direct, in_place = c.y_k == size and filters % c.kernels.lanes == 0
    cdef fc_size t = first, n, i, j, j0, j1, end, r, v, rows, cols, line
    cdef char *y
    cdef fc_grids g
    g.x_j = plane
    g.x_i = p.side * plane
    g.x_next = pixel
    g.relu = c.relu
    while t < first + count:
        n = t // (p.tiles_h * p.tiles_w)
        i = t // p.tiles_w % p.tiles_h
        j0 = j = t % p.tiles_w
        j1 = min(p.tiles_w, j0 + first + count - t)
        rows = min(p.m, c.axis[H].out - i * p.m)
        while j < j1:
            end = j1
            direct = in_place and rows == p.m and (j + 1) * p.m <= c.axis[W].out
            if direct:
                end = min(end, c.axis[W].out // p.m)
            else:
                end = min(end, j + RUN)
            y = c.y + n * c.y_n + i * p.m * c.axis[H].y + j * p.m * c.axis[W].y + panel * nr * c.y_k
            line = (end - j) * p.m * pixel
            g.y_i = c.axis[H].y if direct else line
            g.y_j = c.axis[W].y if direct else pixel
            g.y_next = p.m * g.y_j
            g.count = end - j
            g.stream = stream and direct and (<fc_size> <void *> y | c.axis[H].y | c.axis[W].y) % LINE == 0
            for v in range(ceil_div(filters, c.kernels.lanes)):
                g.x = sums + (t - first + j - j0) * pixel + v * p.vector
                g.y = (y if direct else out) + v * p.vector
                g.bias = NULL
                if c.bias != NULL:
                    g.bias = p.bias + panel * pixel + v * p.vector
                p.winograd.output(&g)
            if not direct:
                cols = min((end - j) * p.m, c.axis[W].out - j * p.m)
                for r in range(rows):
                    (c.kernels.stream2d if stream else c.kernels.copy2d)(
                        y + r * c.axis[H].y, c.axis[W].y, c.y_k, out + r * line, pixel, size, cols, filters)
            j = end
        t += j1 - j0
    if stream:
        fc_fence()


cdef int correlate_block(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """A block of tiles, all panels of filters."""
    cdef Plan *p = <Plan *> context
    cdef fc_size first = part(p.tiles, p.blocks, task), panel
    cdef fc_size count = part(p.tiles, p.blocks, task + 1) - first
    cdef fc_size plane = image_plane(p, count)
    to_points(p, &p.x, first, first + count, 0, p.c.channels, scratch + p.image_at, plane, scratch)
    for panel in range(p.n_panels):
        multiply(p, scratch + p.image_at, plane, p.filters + panel * p.panel_bytes, p.filter_plane,
                 panel_filters(p, panel), p.c.channels, False, count, scratch + p.sums_at,
                 <const void **> (scratch + p.pointers_at))
        from_points(p, first, count, panel, scratch + p.sums_at, scratch)
    return OK


cdef int share_points(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """A run of the chunk's tiles and some channels to the shared points."""
    cdef Plan *p = <Plan *> context
    share_tiles(p, &p.x, 0, p.c.channels, p.shared, task, scratch)
    return OK


cdef inline fc_size share_tasks(const Plan *p, fc_size channels) noexcept nogil:
    return ceil_div(p.count, RUN) * ceil_div(channels, SHARE_VECTORS * p.c.kernels.lanes)


cdef void share_tiles(const Plan *p, const Tiles *s, fc_size c0, fc_size c1, char *points,
                      fc_size task, char *window) noexcept nogil:
    """Task of share_tasks: to points, [point][count][channel - c0]."""
    cdef fc_size runs = ceil_div(p.count, RUN), channels = SHARE_VECTORS * p.c.kernels.lanes
    cdef fc_size first = part(p.count, runs, task % runs)
    cdef fc_size last = part(p.count, runs, task % runs + 1)
    cdef fc_size at = task // runs * channels
    to_points(p, s, p.first + first, p.first + last, c0 + at, min(c0 + at + channels, c1),
              points + first * s.row + at * p.c.kernels.itemsize, p.count * s.row + LINE, window)


cdef int correlate_panel(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """One panel of filters, the chunk's tiles or a share of them."""
    cdef Plan *p = <Plan *> context
    cdef const Correlation *c = &p.c
    cdef fc_size row = c.kernels.nr * c.kernels.itemsize
    cdef fc_size panel = task % p.n_panels, split = task // p.n_panels
    cdef fc_size t = part(p.count, p.splits, split), end = part(p.count, p.splits, split + 1)
    cdef fc_size blocks = ceil_div(end - t, p.block), s, first, count, c0, c1, i
    cdef bint packed = p.filters != NULL
    cdef const char *filters = p.filters + panel * p.panel_bytes
    cdef fc_size plane = p.filter_plane
    if not packed:
        filters = scratch + p.panel_at
        plane = p.panel_channels * row + LINE
    for s in range(blocks):
        first = t + part(end - t, blocks, s)
        count = t + part(end - t, blocks, s + 1) - first
        for i in range(ceil_div(c.channels, p.panel_channels)):
            c0 = i * p.panel_channels
            c1 = min(c0 + p.panel_channels, c.channels)
            if not packed and (s == 0 or p.panel_channels < c.channels):
                fill_panel(p, panel, c0, c1, <char *> filters, plane, scratch)
            multiply(p, p.shared + first * p.x.row + c0 * c.kernels.itemsize,
                     image_plane(p, p.count), filters, plane, panel_filters(p, panel), c1 - c0,
                     i > 0, count, scratch + p.sums_at, <const void **> (scratch + p.pointers_at))
        from_points(p, p.first + first, count, panel, scratch + p.sums_at, scratch)
    return OK


cdef void choose_tasks(Plan *p, bint packed, bint *by_panels) noexcept nogil:
    """By blocks where images outweigh filters; otherwise by panels, over shared points."""
    cdef Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, mr = c.kernels.mr
    cdef fc_size tile_bytes = p.points * p.x.row
    cdef fc_size chunks
    by_panels[0] = (c.filters > p.tiles or p.n_panels * p.panel_bytes > FILTERS_BYTES
                    or mr * tile_bytes > 2 * BLOCK_BYTES)
    p.panel_channels = c.channels
    if by_panels[0]:
        chunks = ceil_div(p.tiles * tile_bytes, SHARED_BYTES)
        p.chunk = ceil_div(p.tiles, chunks)
        p.block = min(PANEL_TILES, p.chunk)
        # not so that every split would bring the same filters to its cache for a few tiles
        p.splits = max(1, min(ceil_div(TASKS, p.n_panels), p.chunk // BLOCK_TILES))
        if not packed:
            p.panel_channels = min(c.channels, PANEL_CHANNELS * 4 // size)
    else:
        p.block = min(BLOCK_TILES, max(mr, BLOCK_BYTES // tile_bytes))
        p.block = ceil_div(p.block, mr) * mr
        if ceil_div(p.tiles, p.block) < TASKS:
            p.block = mr
        p.blocks = ceil_div(p.tiles, p.block)
    p.pointers_at = round_up(max(taps_bytes(p) if by_panels[0] else window_bytes(p, c.channels),
                                 p.m * p.m * RUN * c.kernels.nr * size))
    p.image_at = round_up(p.pointers_at + p.block * sizeof(void *))
    p.sums_at = p.image_at
    if not by_panels[0]:
        p.sums_at = round_up(p.image_at + p.points * image_plane(p, p.block))
    p.panel_at = p.sums_at + round_up(p.points * sums_plane(p, p.block))
    p.scratch_bytes = p.panel_at
    if p.panel_channels < c.channels or by_panels[0] and not packed:
        p.scratch_bytes += p.points * (p.panel_channels * c.kernels.nr * size + LINE)


cdef int run_winograd(const Correlation *correlation, int tile, int num_threads) noexcept nogil:
    cdef Plan p
    cdef Correlation *c = &p.c
    cdef int status = OK
    cdef bint by_panels
    start(&p, correlation, tile)
    cdef fc_size size = c.kernels.itemsize
    p.filters = c.packed.points[tile] if c.packed != NULL else NULL
    choose_tasks(&p, p.filters != NULL, &by_panels)
    cdef bint packing = p.filters == NULL and not by_panels
    cdef fc_size bias_bytes = p.n_panels * c.kernels.nr * size if c.bias != NULL else 0
    cdef fc_size filters_bytes = p.n_panels * p.panel_bytes if packing else 0
    cdef fc_size shared_bytes = p.points * image_plane(&p, p.chunk) if by_panels else 0
    cdef char *memory = allocate(filters_bytes + shared_bytes + bias_bytes + LINE)
    if memory == NULL:
        return OUT_OF_MEMORY
    p.shared = memory + filters_bytes
    p.bias = p.shared + shared_bytes
    if c.bias != NULL and not measuring():
        memcpy(p.bias, c.bias, c.filters * size)
        memset(p.bias + c.filters * size, 0, bias_bytes - c.filters * size)
    if packing:
        p.filters = memory
        status = pack_panels(&p, num_threads)
    if status == OK and not by_panels:
        status = parallel_for(correlate_block, &p, p.blocks, p.scratch_bytes, work(c), num_threads)
    p.first = 0
    while by_panels and status == OK and p.first < p.tiles:
        p.count = min(p.chunk, p.tiles - p.first)
        status = parallel_for(share_points, &p, share_tasks(&p, c.channels),
                              window_bytes(&p, SHARE_VECTORS * c.kernels.lanes),
                              <double> p.count * p.points * c.channels, num_threads)
        if status == OK:
            status = parallel_for(correlate_panel, &p, p.n_panels * p.splits, p.scratch_bytes,
                                  work(c), num_threads)
        p.first += p.count
    release(memory)
    return status


# ---------------------------------------------------------------- weight gradient

cdef int share_operands(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """A run of the chunk's tiles and some channels, of x or of dy, to the shared points."""
    cdef Plan *p = <Plan *> context
    cdef fc_size of_x = share_tasks(p, p.c1 - p.c0)
    if task < of_x:
        share_tiles(p, &p.x, p.c0, p.c1, p.shared, task, scratch)
    else:
        share_tiles(p, &p.dy, p.k0, p.k1, p.shared_dy, task - of_x, scratch)
    return OK


cdef int add_products(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """One point's sums over the chunk's tiles, [channel][filter], of some panels of filters."""
    cdef Plan *p = <Plan *> context
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, row = c.kernels.nr * size
    cdef fc_size channels = p.c1 - p.c0, q = task % p.points, panel = task // p.points * SUMS_PANELS
    cdef fc_size panels = min(panel + SUMS_PANELS, ceil_div(p.k1 - p.k0, c.kernels.nr))
    cdef fc_size groups = ceil_div(channels, c.kernels.mr), s, i
    cdef fc_size vectors = ceil_div(p.k1 - p.k0, c.kernels.lanes) * c.kernels.lanes
    cdef const void *a = p.shared + q * (p.count * p.x.row + LINE)
    cdef const void *b = p.shared_dy + q * (p.count * p.dy.row + LINE)
    cdef fc_outer tile
    tile.a = &a
    tile.b = &b
    tile.a_m = size
    tile.a_k = p.x.row
    tile.b_k = p.dy.row
    tile.panel = NULL
    tile.packed = False
    tile.segments = 1
    tile.len = p.count
    tile.c_m = p.sums_row
    tile.accumulate = p.first > 0
    while panel < panels:
        tile.b_from = panel * row
        tile.n = <int> min(c.kernels.nr, vectors - panel * c.kernels.nr)
        for s in range(groups):
            i = part(channels, groups, s)
            tile.a_from = i * size
            tile.m = <int> (part(channels, groups, s + 1) - i)
            tile.a_prefetch = tile.a_from + tile.m * size  # the next tile's rows, and columns
            tile.b_prefetch = tile.b_from + row
            tile.c = p.sums + q * p.sums_plane + i * p.sums_row + panel * row
            c.kernels.outer(&tile)
        panel += 1
    return OK


cdef int weight_taps(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """Sums of some channels and one panel of filters to taps, and those to where they belong."""
    cdef Plan *p = <Plan *> context
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, nr = c.kernels.nr, row = nr * size
    cdef fc_size parts = ceil_div(p.c1 - p.c0, PACK_CHANNELS), channel, tap
    cdef fc_size panel = task // parts, c0 = task % parts * PACK_CHANNELS
    cdef fc_size channels = min(PACK_CHANNELS, p.c1 - p.c0 - c0)
    cdef fc_size n = min(nr, p.k1 - p.k0 - panel * nr)
    cdef char *w = <char *> c.w + (p.c0 + c0) * c.w_c + (p.k0 + panel * nr) * c.w_k
    cdef fc_grids g
    g.x_j = p.sums_plane
    g.x_i = p.side * g.x_j
    g.x_next = g.y_next = p.vector
    g.y_j = channels * row
    g.y_i = 3 * g.y_j
    g.count = row // p.vector
    for channel in range(channels):
        g.x = p.sums + (c0 + channel) * p.sums_row + panel * row
        g.y = scratch + channel * row
        p.winograd.weight(&g)
    if c.axis[W].w == size and c.axis[H].w == 3 * size and c.w_c == 9 * size:
        c.kernels.unpack_filters(w, c.w_k, scratch, row, n, channels, 9)
        return OK
    for tap in range(9):
        c.kernels.copy2d(w + tap // 3 * c.axis[H].w + tap % 3 * c.axis[W].w, c.w_c, c.w_k,
                         scratch + tap * channels * row, row, size, channels, n)
    return OK


cdef int add_chunks(Plan *p, int num_threads) noexcept nogil:
    """The gradient of filters [k0, k1) of channels [c0, c1): all tiles, chunk by chunk."""
    cdef fc_size channels = p.c1 - p.c0, filters = p.k1 - p.k0, nr = p.c.kernels.nr
    cdef int status = OK
    p.first = 0
    while status == OK and p.first < p.tiles:
        p.count = min(p.chunk, p.tiles - p.first)
        status = parallel_for(share_operands, p,
                              share_tasks(p, channels) + share_tasks(p, filters),
                              window_bytes(p, SHARE_VECTORS * p.c.kernels.lanes),
                              <double> p.count * p.points * (channels + filters), num_threads)
        if status == OK:
            status = parallel_for(add_products, p,
                                  p.points * ceil_div(filters, SUMS_PANELS * nr), 0,
                                  <double> p.count * p.points * channels * filters / 20,
                                  num_threads)
        p.first += p.count
    if status == OK:
        status = parallel_for(weight_taps, p,
                              ceil_div(filters, nr) * ceil_div(channels, PACK_CHANNELS),
                              taps_bytes(p), <double> p.points * channels * filters, num_threads)
    return status


cdef int run_winograd_weight(const Correlation *correlation, int tile, int num_threads) noexcept nogil:
    """dw, in as many pieces as keep the sums of one in the cache.

    A task of add_products owns its sums, and adds to them in the order of tiles: the same bits for
    any number of threads.
    """
    cdef Plan p
    cdef Correlation *c = &p.c
    cdef int status = OK
    start(&p, correlation, tile)
    cdef fc_size size = c.kernels.itemsize, row = c.kernels.nr * size
    cdef fc_size channels = min(SUMS_CHANNELS, c.channels), filters = min(SUMS_CHANNELS, c.filters)
    p.dy.x = c.y
    p.dy.x_n, p.dy.x_c, p.dy.x_h, p.dy.x_w = c.y_n, c.y_k, c.axis[H].y, c.axis[W].y
    p.dy.channels, p.dy.height, p.dy.width = c.filters, c.axis[H].out, c.axis[W].out
    p.dy.row0 = p.dy.col0 = 0
    p.dy.side = p.m
    p.dy.transform = p.winograd.gradient
    # rows end with an unused line for the sake of the cache, as planes do
    p.sums_row = ceil_div(filters, c.kernels.nr) * row
    p.sums_plane = channels * p.sums_row + LINE
    p.x.row = ceil_div(channels, c.kernels.lanes) * p.vector + LINE
    p.dy.row = p.sums_row + LINE
    p.chunk = ceil_div(p.tiles, ceil_div(p.tiles * p.points * (p.x.row + p.dy.row), SHARED_BYTES))
    cdef fc_size x_bytes = round_up(p.points * (p.chunk * p.x.row + LINE))
    cdef fc_size dy_bytes = round_up(p.points * (p.chunk * p.dy.row + LINE))
    p.shared = allocate(x_bytes + dy_bytes + p.points * p.sums_plane)
    if p.shared == NULL:
        return OUT_OF_MEMORY
    p.shared_dy = p.shared + x_bytes
    p.sums = p.shared_dy + dy_bytes
    p.c0 = 0
    while p.c0 < c.channels:
        p.c1 = min(c.channels, p.c0 + channels)
        p.k0 = 0
        while p.k0 < c.filters:
            p.k1 = min(c.filters, p.k0 + filters)
            if status == OK:
                status = add_chunks(&p, num_threads)
            p.k0 = p.k1
        p.c0 = p.c1
    release(p.shared)
    return status
