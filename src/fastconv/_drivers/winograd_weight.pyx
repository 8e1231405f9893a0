"""Winograd's weight gradient: dw from x and dy, by F(3x3, 4x4), F(3x3, 2x2) and F(3, 4).

As in winograd.pyx, but the sums are over tiles instead of channels: for each point, and each tap
that is summed there, a product of the input's points and the output gradient's, [channel][tile]
times [tile][filter]. winograd_points.pxd says how points lie.
"""

from fastconv._drivers.axis cimport D, H, W
from fastconv._drivers.blocking cimport (
    LINE, WINOGRAD_PACK_CHANNELS, WINOGRAD_RUN, WINOGRAD_SHARED_BYTES, WINOGRAD_WEIGHT_CHANNELS,
    WINOGRAD_WEIGHT_PANELS, WINOGRAD_WEIGHT_POINT_BYTES, ceil_div, next_index, part, round_up)
from fastconv._drivers.correlation cimport Correlation, CorrelationAxis
from fastconv._drivers.filters cimport store_taps
from fastconv._drivers.kernels cimport fc_grids, fc_outer, fc_size
from fastconv._drivers.memory cimport allocate, release
from fastconv._drivers.runtime cimport OK, OUT_OF_MEMORY, parallel_for
from fastconv._drivers.winograd_form cimport WinogradForm, winograd_form
from fastconv._drivers.winograd_points cimport (
    TileChunk, TiledImage, Tiling, find_chunk, most_sources, points_plane,
    share_channels, share_points, share_tasks, taps_bytes, tiled_input, tiling_of, transform,
    window_bytes)


ctypedef struct WinogradWeightPlan:
    WinogradForm f
    Correlation c                # the form's
    Tiling t
    TiledImage x, dy
    fc_size parts_d, parts       # chunks that tiles are cut into
    TileChunk of_x, of_dy        # the one at hand
    bint first                   # of them
    char *shared_x               # [point][source][tile][channel]
    char *shared_dy              # [point][slice][tile][filter]
    fc_size c0, c1, k0, k1       # the piece of dw at hand: its channels, its filters
    char *sums                   # [tap][point][channel][filter]
    fc_size sums_row, sums_plane


cdef int share_operands(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """A run of the chunk's tiles and some channels, of x or of dy, to the shared points."""
    cdef WinogradWeightPlan *p = <WinogradWeightPlan *> context
    cdef fc_size of_x = share_tasks(&p.t, &p.of_x, p.c1 - p.c0)
    if task < of_x:
        share_points(&p.t, &p.x, &p.of_x, p.c0, p.c1, p.shared_x, task, scratch)
    else:
        share_points(&p.t, &p.dy, &p.of_dy, p.k0, p.k1, p.shared_dy, task - of_x, scratch)
    return OK


cdef int add_point_products(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """One tap's and point's sums over the chunk's tiles, [channel][filter], of some panels."""
    cdef WinogradWeightPlan *p = <WinogradWeightPlan *> context
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, nr = c.kernels.nr, lanes = c.kernels.lanes
    cdef fc_size channels = p.c1 - p.c0, filters = ceil_div(p.k1 - p.k0, lanes) * lanes
    cdef fc_size tap = task, point = next_index(&tap, p.t.points)
    cdef fc_size first = next_index(&tap, ceil_div(filters, WINOGRAD_WEIGHT_PANELS * nr))
    cdef fc_size last, panel, groups = ceil_div(channels, c.kernels.mr), i, channel, count
    cdef const void **a = <const void **> scratch
    cdef fc_outer tile
    first = first * WINOGRAD_WEIGHT_PANELS
    last = min(first + WINOGRAD_WEIGHT_PANELS, ceil_div(p.k1 - p.k0, nr))
    count = find_pairs(p, tap, point, a, a + p.of_dy.slices)
    if count == 0 and not p.first:
        return OK
    tile.a = a
    tile.b = a + p.of_dy.slices
    tile.a_m = size
    tile.a_k = p.x.row
    tile.b_k = p.dy.row
    tile.panel = NULL
    tile.packed = False
    tile.segments = count
    tile.len = p.of_dy.count
    tile.c_m = p.sums_row
    tile.accumulate = not p.first
    for panel in range(first, last):
        tile.b_from = panel * nr * size
        tile.n = <int> min(nr, filters - panel * nr)
        for i in range(groups):
            channel = part(channels, groups, i)
            tile.a_from = channel * size
            tile.m = <int> (part(channels, groups, i + 1) - channel)
            tile.a_prefetch = tile.a_from + tile.m * size  # the next tile's rows, and columns
            tile.b_prefetch = tile.b_from + nr * size
            tile.c = (p.sums + (tap * p.t.points + point) * p.sums_plane + channel * p.sums_row
                      + panel * nr * size)
            c.kernels.outer(&tile)
    return OK


cdef fc_size find_pairs(const WinogradWeightPlan *p, fc_size tap, fc_size point, const void **x,
                        const void **dy) noexcept nogil:
    """The chunk's slices of the gradient under which a tap finds one in the image: where the points
    of both lie. How many there are."""
    cdef fc_size i, source, count = 0
    for i in range(p.of_dy.slices):
        source = i + tap - p.of_x.source0
        if 0 <= source < p.of_x.sources:
            x[count] = (p.shared_x + point * points_plane(&p.x, p.of_x.sources * p.of_x.count)
                        + source * p.of_x.count * p.x.row)
            dy[count] = (p.shared_dy + point * points_plane(&p.dy, p.of_dy.slices * p.of_dy.count)
                         + i * p.of_dy.count * p.dy.row)
            count += 1
    return count


cdef void store_gradient(const WinogradWeightPlan *p, fc_size tap, fc_size c0, fc_size channels,
                         fc_size k0, fc_size filters, const char *taps) noexcept nogil:
    """What filters have at a summed tap, [tap][channel][nr], to where it belongs."""
    cdef const Correlation *c = &p.c
    cdef fc_size row = c.kernels.nr * c.kernels.itemsize, present = 3
    cdef char *to = <char *> c.w + c0 * c.w_c + k0 * c.w_k + tap * c.axis[D].w
    if not p.f.lines:
        store_taps(c, to, taps, row, 0, 3, 0, 3, channels, filters)
        return
    present = min(3, p.f.line_taps - 3 * tap) if p.f.segments > 1 else p.f.line_taps
    if p.f.down:
        store_taps(c, to, taps, row, 0, present, 0, 1, channels, filters)
    else:
        store_taps(c, to, taps, row, 0, 1, 0, present, channels, filters)


cdef int sums_to_taps(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """Sums of some channels and one panel of filters to taps, and those to where they belong."""
    cdef WinogradWeightPlan *p = <WinogradWeightPlan *> context
    cdef const Correlation *c = &p.c
    cdef fc_size nr = c.kernels.nr, row = nr * c.kernels.itemsize
    cdef fc_size tap = task, parts = ceil_div(p.c1 - p.c0, WINOGRAD_PACK_CHANNELS)
    cdef fc_size c0 = next_index(&tap, parts) * WINOGRAD_PACK_CHANNELS, channel
    cdef fc_size panel = next_index(&tap, ceil_div(p.k1 - p.k0, nr))
    cdef fc_size channels = min(WINOGRAD_PACK_CHANNELS, p.c1 - p.c0 - c0)
    cdef fc_grids g
    g.x_j = p.sums_plane
    g.x_i = p.t.side_w * g.x_j
    g.x_next = g.y_next = p.t.vector
    g.y_j = channels * row
    g.y_i = (1 if p.t.down else 3) * g.y_j
    g.count = row // p.t.vector
    for channel in range(channels):
        g.x = (p.sums + tap * p.t.points * p.sums_plane + (c0 + channel) * p.sums_row
               + panel * row)
        g.y = scratch + channel * row
        transform(&p.t, p.t.transforms.weight, &g)
    store_gradient(p, tap, p.c0 + c0, channels, p.k0 + panel * nr,
                   min(nr, p.k1 - p.k0 - panel * nr), scratch)
    return OK


cdef int run_winograd_piece(WinogradWeightPlan *p, int num_threads) noexcept nogil:
    """The gradient of filters [k0, k1) of channels [c0, c1): all tiles, chunk by chunk."""
    cdef fc_size channels = p.c1 - p.c0, filters = p.k1 - p.k0, nr = p.c.kernels.nr, i
    cdef double products
    cdef int status = OK
    for i in range(p.parts_d * p.parts):
        p.first = i == 0
        p.of_x = find_chunk(&p.t, &p.x, p.t.taps, i // p.parts, p.parts_d, i % p.parts, p.parts)
        p.of_dy = find_chunk(&p.t, &p.dy, 1, i // p.parts, p.parts_d, i % p.parts, p.parts)
        products = <double> p.of_dy.slices * p.of_dy.count * p.t.points
        status = parallel_for(
            share_operands, p,
            share_tasks(&p.t, &p.of_x, channels) + share_tasks(&p.t, &p.of_dy, filters),
            window_bytes(&p.t, share_channels(&p.t)), products * (channels + filters), num_threads)
        if status == OK:
            status = parallel_for(
                add_point_products, p,
                p.t.taps * p.t.points * ceil_div(filters, WINOGRAD_WEIGHT_PANELS * nr),
                2 * p.of_dy.slices * sizeof(void *),
                products * p.t.taps * channels * filters / 20, num_threads)
        if status != OK:
            return status
    return parallel_for(
        sums_to_taps, p,
        p.t.taps * ceil_div(filters, nr) * ceil_div(channels, WINOGRAD_PACK_CHANNELS),
        taps_bytes(&p.t), <double> p.t.taps * p.t.points * channels * filters, num_threads)


cdef TiledImage tiled_gradient(const Tiling *t, const WinogradForm *f) noexcept nogil:
    cdef const CorrelationAxis *d = &f.c.axis[D]
    cdef const CorrelationAxis *h = &f.c.axis[H]
    cdef const CorrelationAxis *w = &f.c.axis[W]
    cdef TiledImage image
    image.x = f.c.y
    image.x_n, image.x_c, image.x_d, image.x_h, image.x_w = f.c.y_n, f.c.y_k, d.y, h.y, w.y
    image.depth, image.height, image.width = d.out, h.out, w.out
    image.slice0 = image.row0 = image.col0 = 0
    image.slice_step = image.tap_slices = 1
    image.tap_rows = image.tap_cols = 0
    image.side_h, image.side_w = t.m_h, t.m_w
    image.row_pixels = f.row_pixels
    if f.row_pixels:
        image.width = f.outs
    image.transform = t.transforms.gradient
    return image


cdef void cut_chunks(WinogradWeightPlan *p) noexcept nogil:
    """All slices at a time, unless that left few tiles of each, and as many tiles as are kept."""
    cdef fc_size x_bytes = p.t.points * p.x.row, dy_bytes = p.t.points * p.dy.row, slices = 1
    cdef fc_size most = min(WINOGRAD_SHARED_BYTES, p.t.points * WINOGRAD_WEIGHT_POINT_BYTES)
    if p.t.sharing:
        slices = most // (min(WINOGRAD_RUN, p.t.tiles) * (x_bytes + dy_bytes))
        slices = max(1, min(slices, p.t.slices))
    p.parts_d = ceil_div(p.t.slices, slices)
    slices = ceil_div(p.t.slices, p.parts_d)
    x_bytes *= most_sources(&p.t, &p.x, slices)
    p.parts = min(p.t.tiles, ceil_div(p.t.tiles * (x_bytes + slices * dy_bytes), most))


cdef int run_winograd_weight(const Correlation *correlation, int tile,
                             int num_threads) noexcept nogil:
    """The correlation's w is written, in as many pieces as keep the sums of one in the cache.

    A task of add_point_products owns its sums, and adds to them in the order of tiles: the same
    bits for any number of threads.
    """
    cdef WinogradWeightPlan p
    cdef Correlation *c = &p.c
    p.f = winograd_form(correlation)
    c[0] = p.f.c
    cdef fc_size channels = min(WINOGRAD_WEIGHT_CHANNELS, c.channels)
    cdef fc_size filters = min(WINOGRAD_WEIGHT_CHANNELS, c.filters)
    cdef fc_size pieces_c = ceil_div(c.channels, channels), pieces_k = ceil_div(c.filters, filters)
    cdef fc_size x_bytes, dy_bytes, tiles, slices, piece, rest
    cdef int status = OK
    p.t = tiling_of(&p.f, tile)
    p.x = tiled_input(&p.t, &p.f)
    p.dy = tiled_gradient(&p.t, &p.f)
    # rows end with an unused line for the sake of the cache, as planes do
    p.sums_row = ceil_div(filters, c.kernels.nr) * c.kernels.nr * c.kernels.itemsize
    p.sums_plane = channels * p.sums_row + LINE
    p.x.row = ceil_div(channels, c.kernels.lanes) * p.t.vector + LINE
    p.dy.row = p.sums_row + LINE
    cut_chunks(&p)
    tiles, slices = ceil_div(p.t.tiles, p.parts), ceil_div(p.t.slices, p.parts_d)
    x_bytes = p.t.points * points_plane(&p.x, most_sources(&p.t, &p.x, slices) * tiles)
    x_bytes = round_up(x_bytes)
    dy_bytes = round_up(p.t.points * points_plane(&p.dy, slices * tiles))
    p.shared_x = allocate(x_bytes + dy_bytes + p.t.taps * p.t.points * p.sums_plane)
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
