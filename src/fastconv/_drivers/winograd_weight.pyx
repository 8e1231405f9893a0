"""Winograd's weight gradient: dw from x and dy, by F(3x3, 4x4), F(3x3, 2x2) and F(3, 4).

As in winograd.pyx, but the sums are over tiles instead of channels: for each point, and each tap
that is summed there, a product of the input's points and the output gradient's, [channel][tile]
times [tile][filter]. winograd_points.pxd says how points lie.

Planes' points are shared by all threads, chunk by chunk. Of lines, which have few points, a task
owns a block of channels and filters at all of them, whose sums stay in its core's cache, and some
of the tiles, which it transforms for itself: nothing passes between cores, which is slow where they
have different caches.
"""

from fastconv._drivers.axis cimport D, H, W
from fastconv._drivers.blocking cimport (
    L2, LINE, TASKS, WEIGHT_TASK_PRODUCTS, WINOGRAD_PACK_CHANNELS, WINOGRAD_RUN,
    WINOGRAD_SHARED_BYTES, WINOGRAD_WEIGHT_BLOCK, WINOGRAD_WEIGHT_BLOCK_BYTES,
    WINOGRAD_WEIGHT_CHANNELS, WINOGRAD_WEIGHT_MIN_BLOCK, WINOGRAD_WEIGHT_PANELS,
    WINOGRAD_WEIGHT_POINT_BYTES, ceil_div, next_index, part, round_up)
from fastconv._drivers.correlation cimport Correlation, CorrelationAxis
from fastconv._drivers.filters cimport store_taps
from fastconv._drivers.kernels cimport fc_grids, fc_outer, fc_size
from fastconv._drivers.memory cimport allocate, release
from fastconv._drivers.runtime cimport OK, OUT_OF_MEMORY, check_signals, parallel_for
from fastconv._drivers.winograd_form cimport WinogradForm, winograd_form
from fastconv._drivers.winograd_points cimport (
    TileChunk, TiledImage, Tiling, chunk_to_points, find_chunk, most_sources, points_plane,
    share_channels, share_points, share_tasks, taps_bytes, tiled_input, tiling_of, transform,
    window_bytes)


ctypedef struct WinogradWeightPlan:
    WinogradForm f
    Correlation c                # the form's
    Tiling t
    TiledImage x, dy
    bint owning                  # tasks own blocks; otherwise they share points
    fc_size block_c, block_k     # channels and filters of a block, or of a piece of dw
    fc_size blocks_c, blocks_k
    fc_size slots                # parts of the tiles, which tasks that own blocks take
    fc_size parts_d, parts       # chunks that tiles are cut into
    TileChunk of_x, of_dy        # the one at hand
    bint first                   # of them
    char *shared_x               # [point][source][tile][channel]
    char *shared_dy              # [point][slice][tile][filter]
    fc_size x_bytes, dy_bytes    # of both
    fc_size c0, c1, k0, k1       # the block or piece of dw at hand: its channels, its filters
    char *sums                   # [tap][point][channel][filter]; before it [block][slot]
    fc_size sums_row, sums_plane, sums_bytes


cdef void take_chunk(WinogradWeightPlan *p, fc_size chunk) noexcept nogil:
    cdef fc_size at_d = chunk // p.parts, at = chunk % p.parts
    p.of_x = find_chunk(&p.t, &p.x, p.t.taps, at_d, p.parts_d, at, p.parts)
    p.of_dy = find_chunk(&p.t, &p.dy, 1, at_d, p.parts_d, at, p.parts)


cdef void take_block(WinogradWeightPlan *p, fc_size block) noexcept nogil:
    p.k0 = next_index(&block, p.blocks_k) * p.block_k
    p.k1 = min(p.k0 + p.block_k, p.c.filters)
    p.c0 = block * p.block_c
    p.c1 = min(p.c0 + p.block_c, p.c.channels)


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


cdef inline fc_size taps_tasks(const WinogradWeightPlan *p) noexcept nogil:
    return (p.t.taps * ceil_div(p.k1 - p.k0, p.c.kernels.nr)
            * ceil_div(p.c1 - p.c0, WINOGRAD_PACK_CHANNELS))


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


# ---------------------------------------------------------------- shared points

cdef int run_winograd_piece(WinogradWeightPlan *p, int num_threads) noexcept nogil:
    """The gradient of filters [k0, k1) of channels [c0, c1): all tiles, chunk by chunk."""
    cdef fc_size channels = p.c1 - p.c0, filters = p.k1 - p.k0, nr = p.c.kernels.nr, i
    cdef double products
    cdef int status = OK
    for i in range(p.parts_d * p.parts):
        p.first = i == 0
        take_chunk(p, i)
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
    return parallel_for(sums_to_taps, p, taps_tasks(p), taps_bytes(&p.t),
                        <double> p.t.taps * p.t.points * channels * filters, num_threads)


# ---------------------------------------------------------------- blocks that tasks own

cdef void add_chunk(WinogradWeightPlan *p, char *scratch) noexcept nogil:
    """The chunk's tiles to points, and their products to the block's sums."""
    cdef fc_size i, groups = ceil_div(p.k1 - p.k0, WINOGRAD_WEIGHT_PANELS * p.c.kernels.nr)
    chunk_to_points(&p.t, &p.x, &p.of_x, p.c0, p.c1, p.shared_x,
                    points_plane(&p.x, p.of_x.sources * p.of_x.count), scratch)
    chunk_to_points(&p.t, &p.dy, &p.of_dy, p.k0, p.k1, p.shared_dy,
                    points_plane(&p.dy, p.of_dy.slices * p.of_dy.count), scratch)
    for i in range(p.t.taps * p.t.points * groups):
        add_point_products(p, i, scratch)


cdef int add_block(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """A block's sums over one slot's chunks: kept, or where it has all chunks, made taps."""
    cdef WinogradWeightPlan p = (<WinogradWeightPlan *> context)[0]
    cdef fc_size block = task, slot = next_index(&block, p.slots), i
    cdef fc_size chunks = p.parts_d * p.parts, first = part(chunks, p.slots, slot)
    cdef int status
    take_block(&p, block)
    p.shared_x = scratch
    p.shared_dy = p.shared_x + p.x_bytes
    scratch = p.shared_dy + p.dy_bytes
    if p.slots > 1:
        p.sums += task * p.sums_bytes
    else:
        p.sums = scratch
        scratch += p.sums_bytes
    for i in range(first, part(chunks, p.slots, slot + 1)):
        p.first = i == first
        status = OK if p.first else check_signals()
        if status != OK:
            return status
        take_chunk(&p, i)
        add_chunk(&p, scratch)
    if p.slots == 1:
        for i in range(taps_tasks(&p)):
            sums_to_taps(&p, i, scratch)
    return OK


cdef int add_slots(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """A block's sums over all slots, at one tap and point, in the place of the first one's."""
    cdef WinogradWeightPlan *p = <WinogradWeightPlan *> context
    cdef fc_size block = task, plane = next_index(&block, p.t.taps * p.t.points)
    cdef char *sums = p.sums + block * p.slots * p.sums_bytes + plane * p.sums_plane
    p.c.kernels.add_fold(sums, sums, p.sums_bytes, (p.sums_plane - LINE) // p.c.kernels.itemsize,
                         p.slots, True)
    return OK


cdef int block_to_taps(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef WinogradWeightPlan p = (<WinogradWeightPlan *> context)[0]
    cdef fc_size i
    take_block(&p, task)
    p.sums += task * p.slots * p.sums_bytes
    for i in range(taps_tasks(&p)):
        sums_to_taps(&p, i, scratch)
    return OK


cdef int run_winograd_blocks(WinogradWeightPlan *p, int num_threads) noexcept nogil:
    cdef fc_size blocks = p.blocks_c * p.blocks_k, scratch_bytes
    cdef fc_size channels = max(p.block_c, p.block_k)
    cdef double elements = <double> blocks * p.sums_bytes / p.c.kernels.itemsize
    cdef int status
    scratch_bytes = round_up(max(
        max(window_bytes(&p.t, channels), taps_bytes(&p.t)),
        <fc_size> (2 * ceil_div(p.t.slices, p.parts_d) * sizeof(void *))))
    if p.slots == 1:
        scratch_bytes += p.sums_bytes
    else:
        p.sums = allocate(blocks * p.slots * p.sums_bytes)
        if p.sums == NULL:
            return OUT_OF_MEMORY
    status = parallel_for(add_block, p, blocks * p.slots,
                          scratch_bytes + p.x_bytes + p.dy_bytes, all_products(p) / 20,
                          num_threads)
    if p.slots > 1:
        if status == OK:
            status = parallel_for(add_slots, p, blocks * p.t.taps * p.t.points, 0,
                                  elements * p.slots, num_threads)
        if status == OK:
            status = parallel_for(block_to_taps, p, blocks, taps_bytes(&p.t), elements,
                                  num_threads)
        release(p.sums)
    return status


# ---------------------------------------------------------------- the plan

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


cdef double all_products(const WinogradWeightPlan *p) noexcept nogil:
    """Multiply-adds of the register tile."""
    return (<double> p.t.tiles * p.t.slices * p.t.taps * p.t.points
            * p.c.channels * p.c.filters)


cdef void cut_blocks(WinogradWeightPlan *p) noexcept nogil:
    """Blocks, evenly, of whole vectors of channels and whole panels of filters."""
    cdef fc_size lanes = p.c.kernels.lanes, nr = p.c.kernels.nr
    cdef fc_size sums = p.t.taps * p.t.points * p.c.kernels.itemsize  # of a channel and filter
    cdef fc_size block = WINOGRAD_WEIGHT_CHANNELS
    p.owning = p.f.lines
    if p.owning:
        block = WINOGRAD_WEIGHT_BLOCK
        while sums * block * block > L2 and block > WINOGRAD_WEIGHT_MIN_BLOCK:
            block //= 2
    p.block_c = ceil_div(ceil_div(p.c.channels, ceil_div(p.c.channels, block)), lanes) * lanes
    p.block_k = ceil_div(ceil_div(p.c.filters, ceil_div(p.c.filters, block)), nr) * nr
    p.blocks_c = ceil_div(p.c.channels, p.block_c)
    p.blocks_k = ceil_div(p.c.filters, p.block_k)
    # rows end with an unused line for the sake of the cache, as planes do
    p.sums_row = p.block_k * p.c.kernels.itemsize
    p.sums_plane = p.block_c * p.sums_row + LINE
    p.sums_bytes = round_up(p.t.taps * p.t.points * p.sums_plane)
    p.x.row = p.block_c * p.c.kernels.itemsize + LINE
    p.dy.row = p.sums_row + LINE


cdef void cut_chunks(WinogradWeightPlan *p) noexcept nogil:
    """All slices at a time, unless that left few tiles of each, and as many tiles as are kept."""
    cdef fc_size x_bytes = p.t.points * p.x.row, dy_bytes = p.t.points * p.dy.row, slices = 1
    cdef fc_size most = min(WINOGRAD_SHARED_BYTES, p.t.points * WINOGRAD_WEIGHT_POINT_BYTES)
    if p.owning:
        most = WINOGRAD_WEIGHT_BLOCK_BYTES
    if p.t.sharing:
        slices = most // (min(WINOGRAD_RUN, p.t.tiles) * (x_bytes + dy_bytes))
        slices = max(1, min(slices, p.t.slices))
    p.parts_d = ceil_div(p.t.slices, slices)
    slices = ceil_div(p.t.slices, p.parts_d)
    x_bytes *= most_sources(&p.t, &p.x, slices)
    p.parts = min(p.t.tiles, ceil_div(p.t.tiles * (x_bytes + slices * dy_bytes), most))


cdef void cut_slots(WinogradWeightPlan *p) noexcept nogil:
    """As many slots as make tasks enough, with as many chunks each."""
    cdef fc_size tasks = <fc_size> max(1, min(TASKS, all_products(p) / WEIGHT_TASK_PRODUCTS))
    p.slots = min(p.parts_d * p.parts, ceil_div(tasks, p.blocks_c * p.blocks_k))
    if p.parts_d == 1:
        p.parts = min(p.t.tiles, ceil_div(p.parts, p.slots) * p.slots)


cdef void plan_winograd_weight(WinogradWeightPlan *p, const Correlation *correlation,
                               int tile) noexcept nogil:
    cdef fc_size tiles, slices
    p.f = winograd_form(correlation)
    p.c = p.f.c
    p.t = tiling_of(&p.f, tile)
    p.x = tiled_input(&p.t, &p.f)
    p.dy = tiled_gradient(&p.t, &p.f)
    cut_blocks(p)
    cut_chunks(p)
    cut_slots(p)
    tiles, slices = ceil_div(p.t.tiles, p.parts), ceil_div(p.t.slices, p.parts_d)
    p.x_bytes = p.t.points * points_plane(&p.x, most_sources(&p.t, &p.x, slices) * tiles)
    p.x_bytes = round_up(p.x_bytes)
    p.dy_bytes = round_up(p.t.points * points_plane(&p.dy, slices * tiles))


cdef int run_winograd_weight(const Correlation *correlation, int tile,
                             int num_threads) noexcept nogil:
    """The correlation's w is written, in as many pieces as keep the sums of one in the cache.

    A task of add_point_products owns its sums, and adds to them in the order of tiles, and slots
    follow from the shape: the same bits for any number of threads.
    """
    cdef WinogradWeightPlan p
    cdef fc_size piece
    cdef int status = OK
    plan_winograd_weight(&p, correlation, tile)
    if p.owning:
        return run_winograd_blocks(&p, num_threads)
    p.shared_x = allocate(p.x_bytes + p.dy_bytes + p.sums_bytes)
    if p.shared_x == NULL:
        return OUT_OF_MEMORY
    p.shared_dy = p.shared_x + p.x_bytes
    p.sums = p.shared_dy + p.dy_bytes
    for piece in range(p.blocks_c * p.blocks_k):
        take_block(&p, piece)
        status = run_winograd_piece(&p, num_threads)
        if status != OK:
            break
    release(p.shared_x)
    return status
