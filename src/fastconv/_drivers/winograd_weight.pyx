"""Winograd's weight gradient: dw from x and dy, by F(3x3, 4x4) and F(3x3, 2x2).

As in winograd.pyx, but the sums are over tiles instead of channels: for each point a product of the
input's points and the output gradient's, [channel][tile] times [tile][filter]. winograd_points.pxd
says how points lie.
"""

from fastconv._drivers.axis cimport H, W
from fastconv._drivers.blocking cimport (
    LINE, WINOGRAD_PACK_CHANNELS, WINOGRAD_SHARED_BYTES, WINOGRAD_WEIGHT_CHANNELS,
    WINOGRAD_WEIGHT_PANELS, ceil_div, next_index, part, round_up)
from fastconv._drivers.correlation cimport Correlation, CorrelationAxis
from fastconv._drivers.filters cimport store_taps
from fastconv._drivers.kernels cimport fc_grids, fc_outer, fc_size
from fastconv._drivers.memory cimport allocate, release
from fastconv._drivers.runtime cimport OK, OUT_OF_MEMORY, parallel_for
from fastconv._drivers.winograd_points cimport (
    TileChunk, TiledImage, Tiling, points_plane, share_channels, share_points, share_tasks,
    taps_bytes, tiled_input, tiling_of, window_bytes)


ctypedef struct WinogradWeightPlan:
    Correlation c
    Tiling t
    TiledImage x, dy
    fc_size chunk_tiles          # at most
    TileChunk chunk              # at hand
    char *shared_x               # [point][chunk.count][channel]
    char *shared_dy              # [point][chunk.count][filter]
    fc_size c0, c1, k0, k1       # the piece of dw at hand: its channels, its filters
    char *sums                   # [point][channel][filter]
    fc_size sums_row, sums_plane


cdef int share_operands(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """A run of the chunk's tiles and some channels, of x or of dy, to the shared points."""
    cdef WinogradWeightPlan *p = <WinogradWeightPlan *> context
    cdef fc_size of_x = share_tasks(&p.t, &p.chunk, p.c1 - p.c0)
    if task < of_x:
        share_points(&p.t, &p.x, &p.chunk, p.c0, p.c1, p.shared_x, task, scratch)
    else:
        share_points(&p.t, &p.dy, &p.chunk, p.k0, p.k1, p.shared_dy, task - of_x, scratch)
    return OK


cdef int add_point_products(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """One point's sums over the chunk's tiles, [channel][filter], of some panels of filters."""
    cdef WinogradWeightPlan *p = <WinogradWeightPlan *> context
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, nr = c.kernels.nr, lanes = c.kernels.lanes
    cdef fc_size channels = p.c1 - p.c0, filters = ceil_div(p.k1 - p.k0, lanes) * lanes
    cdef fc_size rest = task, point = next_index(&rest, p.t.points)
    cdef fc_size first = rest * WINOGRAD_WEIGHT_PANELS, panel
    cdef fc_size last = min(first + WINOGRAD_WEIGHT_PANELS, ceil_div(p.k1 - p.k0, nr))
    cdef fc_size groups = ceil_div(channels, c.kernels.mr), i, channel
    cdef const void *a = p.shared_x + point * points_plane(&p.x, p.chunk.count)
    cdef const void *b = p.shared_dy + point * points_plane(&p.dy, p.chunk.count)
    cdef fc_outer tile
    tile.a = &a
    tile.b = &b
    tile.a_m = size
    tile.a_k = p.x.row
    tile.b_k = p.dy.row
    tile.panel = NULL
    tile.packed = False
    tile.segments = 1
    tile.len = p.chunk.count
    tile.c_m = p.sums_row
    tile.accumulate = p.chunk.first > 0
    for panel in range(first, last):
        tile.b_from = panel * nr * size
        tile.n = <int> min(nr, filters - panel * nr)
        for i in range(groups):
            channel = part(channels, groups, i)
            tile.a_from = channel * size
            tile.m = <int> (part(channels, groups, i + 1) - channel)
            tile.a_prefetch = tile.a_from + tile.m * size  # the next tile's rows, and columns
            tile.b_prefetch = tile.b_from + nr * size
            tile.c = p.sums + point * p.sums_plane + channel * p.sums_row + panel * nr * size
            c.kernels.outer(&tile)
    return OK


cdef int sums_to_taps(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """Sums of some channels and one panel of filters to taps, and those to where they belong."""
    cdef WinogradWeightPlan *p = <WinogradWeightPlan *> context
    cdef const Correlation *c = &p.c
    cdef fc_size nr = c.kernels.nr, row = nr * c.kernels.itemsize
    cdef fc_size panel = task, parts = ceil_div(p.c1 - p.c0, WINOGRAD_PACK_CHANNELS)
    cdef fc_size c0 = next_index(&panel, parts) * WINOGRAD_PACK_CHANNELS, channel
    cdef fc_size channels = min(WINOGRAD_PACK_CHANNELS, p.c1 - p.c0 - c0)
    cdef fc_grids g
    g.x_j = p.sums_plane
    g.x_i = p.t.side * g.x_j
    g.x_next = g.y_next = p.t.vector
    g.y_j = channels * row
    g.y_i = 3 * g.y_j
    g.count = row // p.t.vector
    for channel in range(channels):
        g.x = p.sums + (c0 + channel) * p.sums_row + panel * row
        g.y = scratch + channel * row
        p.t.transforms.weight(&g)
    store_taps(c, <char *> c.w + (p.c0 + c0) * c.w_c + (p.k0 + panel * nr) * c.w_k, scratch, row,
               0, 3, 0, 3, channels, min(nr, p.k1 - p.k0 - panel * nr))
    return OK


cdef int run_winograd_piece(WinogradWeightPlan *p, int num_threads) noexcept nogil:
    """The gradient of filters [k0, k1) of channels [c0, c1): all tiles, chunk by chunk."""
    cdef fc_size channels = p.c1 - p.c0, filters = p.k1 - p.k0, nr = p.c.kernels.nr
    cdef int status = OK
    p.chunk.first = 0
    while status == OK and p.chunk.first < p.t.tiles:
        p.chunk.count = min(p.chunk_tiles, p.t.tiles - p.chunk.first)
        status = parallel_for(
            share_operands, p,
            share_tasks(&p.t, &p.chunk, channels) + share_tasks(&p.t, &p.chunk, filters),
            window_bytes(&p.t, share_channels(&p.t)),
            <double> p.chunk.count * p.t.points * (channels + filters), num_threads)
        if status == OK:
            status = parallel_for(
                add_point_products, p, p.t.points * ceil_div(filters, WINOGRAD_WEIGHT_PANELS * nr),
                0, <double> p.chunk.count * p.t.points * channels * filters / 20, num_threads)
        p.chunk.first += p.chunk.count
    if status == OK:
        status = parallel_for(
            sums_to_taps, p, ceil_div(filters, nr) * ceil_div(channels, WINOGRAD_PACK_CHANNELS),
            taps_bytes(&p.t), <double> p.t.points * channels * filters, num_threads)
    return status


cdef TiledImage tiled_gradient(const Tiling *t, const Correlation *c) noexcept nogil:
    cdef const CorrelationAxis *h = &c.axis[H]
    cdef const CorrelationAxis *w = &c.axis[W]
    cdef TiledImage image
    image.x = c.y
    image.x_n, image.x_c, image.x_h, image.x_w = c.y_n, c.y_k, h.y, w.y
    image.height, image.width = h.out, w.out
    image.row0 = image.col0 = 0
    image.side = t.m
    image.transform = t.transforms.gradient
    return image


cdef int run_winograd_weight(const Correlation *correlation, int tile,
                             int num_threads) noexcept nogil:
    """The correlation's w is written, in as many pieces as keep the sums of one in the cache.

    A task of add_point_products owns its sums, and adds to them in the order of tiles: the same
    bits for any number of threads.
    """
    cdef WinogradWeightPlan p
    cdef Correlation *c = &p.c
    c[0] = correlation[0]
    cdef fc_size channels = min(WINOGRAD_WEIGHT_CHANNELS, c.channels)
    cdef fc_size filters = min(WINOGRAD_WEIGHT_CHANNELS, c.filters)
    cdef fc_size pieces_c = ceil_div(c.channels, channels), pieces_k = ceil_div(c.filters, filters)
    cdef fc_size x_bytes, dy_bytes, piece, rest
    cdef int status = OK
    p.t = tiling_of(c, tile)
    p.x = tiled_input(&p.t, c)
    p.dy = tiled_gradient(&p.t, c)
    # rows end with an unused line for the sake of the cache, as planes do
    p.sums_row = ceil_div(filters, c.kernels.nr) * c.kernels.nr * c.kernels.itemsize
    p.sums_plane = channels * p.sums_row + LINE
    p.x.row = ceil_div(channels, c.kernels.lanes) * p.t.vector + LINE
    p.dy.row = p.sums_row + LINE
    p.chunk_tiles = ceil_div(p.t.tiles, ceil_div(p.t.tiles * p.t.points * (p.x.row + p.dy.row),
                                                 WINOGRAD_SHARED_BYTES))
    x_bytes = round_up(p.t.points * points_plane(&p.x, p.chunk_tiles))
    dy_bytes = round_up(p.t.points * points_plane(&p.dy, p.chunk_tiles))
    p.shared_x = allocate(x_bytes + dy_bytes + p.t.points * p.sums_plane)
    if p.shared_x == NULL:
        return OUT_OF_MEMORY
    p.shared_dy = p.shared_x + x_bytes
    p.sums = p.shared_dy + dy_bytes
    for piece in range(pieces_c * pieces_k):
        rest = piece
        p.k0 = next_index(&rest, pieces_k) * filters
        p.k1 = min(p.k0 + filters, c.filters)
        p.c0 = rest * channels
        p.c1 = min(p.c0 + channels, c.channels)
        status = run_winograd_piece(&p, num_threads)
        if status != OK:
            break
    release(p.shared_x)
    return status
