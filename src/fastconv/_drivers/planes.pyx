"""Direct convolution with pixels along the vectors: rows of the register tile are filters.

Two cases want it. A 1x1 convolution over contiguous planes is a plain matrix product of the filters
with the planes, and nothing need be rearranged. And where filters are few (the input gradient of a
first layer, small groups, LeNet), vectors of filters would be mostly empty, but there are always
pixels enough: a block of output rows is laid out with the columns of its padded input, so that
every tap is one fixed distance away, and runs of pixels cross from row to row; what is computed
between rows is thrown away.
"""

from libc.string cimport memset

from fastconv._drivers.axis cimport H, W
from fastconv._drivers.blocking cimport TASKS, ceil_div, part, round_up
from fastconv._drivers.correlation cimport Correlation, inside, work
from fastconv._drivers.kernels cimport (
    FC_TILE_ACCUMULATE, FC_TILE_BIAS_PER_ROW, FC_TILE_RELU, fc_size, fc_tile)
from fastconv._drivers.memory cimport allocate, measuring, release
from fastconv._drivers.runtime cimport OK, OUT_OF_MEMORY, parallel_for


cdef enum:
    MAX_PANELS = 16          # panels of nr pixels in a 1x1 task
    PIECE_BYTES = 256 * 1024  # of the input under a block of rows
    MAX_PIECE_BYTES = 1024 * 1024
    HELD_BYTES = 24 * 1024    # of results: stored from the first-level cache
    TURNED = 64               # filters of a task that turns them


ctypedef struct Plan:
    Correlation c
    const char *filters   # [groups][segments][filters][len], contiguous
    fc_size f_g, f_segment, f_k
    fc_size segments, len
    bint along_channels   # a segment is a tap's channels, or a row of a channel's taps
    fc_size cols          # of the layout
    fc_size block_rows, blocks_h, held_tiles
    fc_size joined        # so many images are one, 1x1
    fc_size pixels, blocks, task_panels, depth  # 1x1: so many channels at a time
    fc_size plane         # elements of one channel's piece
    fc_size pointers_at, starts_at, piece_at, result_at, scratch_bytes


cdef bint is_pointwise(const Correlation *c) noexcept nogil:
    """1x1 without steps or border, both sides' planes contiguous."""
    cdef fc_size size = c.kernels.itemsize
    return (c.axis[H].taps == 1 and c.axis[W].taps == 1 and c.axis[H].step == 1 and c.axis[W].step == 1
            and c.axis[H].first == 0 and c.axis[W].first == 0
            and c.axis[H].size == c.axis[H].out and c.axis[W].size == c.axis[W].out
            and c.axis[W].x == size and c.axis[H].x == c.axis[W].size * size
            and c.axis[W].y == size and c.axis[H].y == c.axis[W].size * size)


cdef fc_size piece_bytes(const Correlation *c, fc_size rows) noexcept nogil:
    cdef double cols = c.axis[W].out + (<double> c.axis[W].taps - 1) * c.axis[W].dilation
    cdef double lines = rows + (<double> c.axis[H].taps - 1) * c.axis[H].dilation + 1
    return <fc_size> min(1e15, c.channels * (cols * lines + c.kernels.nr) * c.kernels.itemsize)


cdef fc_size line_bytes(const Correlation *c, fc_size rows) noexcept nogil:
    """What one filter makes of some rows, with the columns of the layout and a vector to spare."""
    cdef double cols = c.axis[W].out + (<double> c.axis[W].taps - 1) * c.axis[W].dilation
    return round_up(<fc_size> min(1e15, (rows * cols + c.kernels.nr) * c.kernels.itemsize))


cdef fc_size held_tiles(const Correlation *c, fc_size rows) noexcept nogil:
    """So many tiles' filters are computed before they are stored."""
    return max(1, HELD_BYTES // (c.kernels.mr * line_bytes(c, rows)))


cdef fc_size result_bytes(const Correlation *c, fc_size rows) noexcept nogil:
    return min(c.filters, held_tiles(c, rows) * c.kernels.mr) * line_bytes(c, rows)


cdef bint few_filters(const Correlation *c) noexcept nogil:
    return c.filters <= c.kernels.lanes // 2


cdef bint short_filters(const Correlation *c) noexcept nogil:
    return c.channels * c.axis[H].taps * c.axis[W].taps <= 32


cdef bint is_usable(const Correlation *c) noexcept nogil:
    """Whether this module takes it; taps are numbered downwards already."""
    if is_pointwise(c):
        return True
    return (c.axis[H].step == 1 and c.axis[W].step == 1 and c.axis[H].taps * c.axis[W].taps > 0
            # a first layer: rearranging its outputs would cost as much as computing them
            and (few_filters(c) or short_filters(c) and c.axis[W].y == c.kernels.itemsize)
            and c.axis[H].taps * c.axis[W].taps <= 1024
            and piece_bytes(c, 1) <= MAX_PIECE_BYTES
            and result_bytes(c, 1) <= MAX_PIECE_BYTES)


cdef int run_planes(const Correlation *c, int num_threads) noexcept nogil:
    if is_pointwise(c):
        return correlate_pointwise(c, num_threads)
    return correlate_few(c, num_threads)


# ---------------------------------------------------------------- 1x1

cdef inline fc_size run_in_image(const Plan *p, fc_size first, fc_size end) noexcept nogil:
    """How many of pixels first..end, counted over all images, lie in the same one."""
    return min(end - first, p.pixels - first % p.pixels)


cdef void fill_panel(const Plan *p, const char *x, fc_size channels, fc_size first, fc_size end,
                     char *to) noexcept nogil:
    """Pixels first..end of some channels, [channels][nr]."""
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, run
    while first < end:
        run = run_in_image(p, first, end)
        c.kernels.copy2d(to, c.kernels.nr * size, size,
                         x + first // p.pixels * c.x_n + first % p.pixels * size, c.x_c, size,
                         channels, run)
        first += run
        to += run * size


cdef void store_panel(const Plan *p, char *y, fc_size filters, fc_size first, fc_size end,
                      const char *result) noexcept nogil:
    """A tile's result [filters][nr] to pixels first..end of several images."""
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, run
    while first < end:
        run = run_in_image(p, first, end)
        c.kernels.copy2d(y + first // p.pixels * c.y_n + first % p.pixels * size, c.y_k, size,
                         result, c.kernels.nr * size, size, filters, run)
        first += run
        result += run * size


cdef int pointwise_block(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef Plan *p = <Plan *> context
    cdef Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, nr = c.kernels.nr, mr = c.kernels.mr
    cdef fc_size block = task % p.blocks, g = task // p.blocks % c.groups
    cdef fc_size n = task // p.blocks // c.groups
    cdef const char *x = c.x + n * c.x_n + g * c.x_g
    cdef char *y = c.y + n * c.y_n + g * c.y_g
    cdef const char *w = p.filters + g * p.f_g
    cdef const void **rows = <const void **> scratch
    cdef char *panels = scratch + p.piece_at  # [task_panels][depth][nr]
    cdef char *result = scratch + p.result_at
    cdef fc_size panel = p.depth * nr * size
    cdef fc_size first, end, last = min((block + 1) * p.task_panels * nr, p.pixels * p.joined)
    cdef fc_size tiles = ceil_div(c.filters, mr), t, k, i, count, channel = 0
    cdef fc_tile tile
    tile.a_prefetch = tile.b_prefetch = tile.c_prefetch = 0
    tile.a = rows
    tile.a_k = size
    tile.b_at = NULL
    tile.b_k = nr * size
    tile.b_segment = 0
    tile.segments = 1
    while channel < c.channels:
        tile.len = min(p.depth, c.channels - channel)
        tile.flags = FC_TILE_ACCUMULATE if channel else FC_TILE_BIAS_PER_ROW
        if c.relu and channel + tile.len == c.channels:
            tile.flags |= FC_TILE_RELU
        # all panels first, then filter by filter: each row of y is written in one run
        for i in range(p.task_panels):
            first = (block * p.task_panels + i) * nr
            fill_panel(p, x + channel * c.x_c, tile.len, first, min(first + nr, last),
                       panels + i * panel)
        for t in range(tiles):
            k = part(c.filters, tiles, t)
            count = part(c.filters, tiles, t + 1) - k
            for i in range(count):
                rows[i] = w + (k + i) * p.f_k + channel * size
            tile.m = <int> count
            tile.bias = NULL
            if c.bias != NULL:
                tile.bias = c.bias + (g * c.filters + k) * size
            for i in range(p.task_panels):
                first = (block * p.task_panels + i) * nr
                end = min(first + nr, last)
                if first >= last:
                    break
                tile.b = panels + i * panel
                if run_in_image(p, first, end) == end - first:
                    tile.n = <int> (end - first)
                    tile.c = y + first // p.pixels * c.y_n + k * c.y_k + first % p.pixels * size
                    tile.c_m = c.y_k
                    c.kernels.tile(&tile)
                else:
                    tile.n = <int> nr
                    tile.c = result
                    tile.c_m = nr * size
                    c.kernels.tile(&tile)
                    store_panel(p, y + k * c.y_k, count, first, end, result)
        channel += tile.len
    return OK


cdef int turn_filters(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """A block of a group's filters, [filters][channels]."""
    cdef Plan *p = <Plan *> context
    cdef Correlation *c = &p.c
    cdef fc_size blocks = ceil_div(c.filters, TURNED), g = task // blocks
    cdef fc_size k = task % blocks * TURNED
    c.kernels.copy2d(<char *> p.filters + g * p.f_g + k * p.f_k, p.f_k, c.kernels.itemsize,
                     c.w + g * c.w_g + k * c.w_k, c.w_k, c.w_c, min(TURNED, c.filters - k),
                     c.channels)
    return OK


cdef int correlate_pointwise(const Correlation *correlation, int num_threads) noexcept nogil:
    cdef Plan p
    cdef Correlation *c = &p.c
    cdef char *turned = NULL
    cdef int status = OK
    c[0] = correlation[0]
    cdef fc_size size = c.kernels.itemsize, nr = c.kernels.nr, lanes = c.kernels.lanes
    p.filters = c.w
    p.f_g = c.w_g
    p.f_k = c.w_k
    if c.w_c != size:  # the input gradient reads the filters the other way round
        p.f_k = c.channels * size
        p.f_g = c.filters * p.f_k
        turned = allocate(c.groups * p.f_g)
        if turned == NULL:
            return OUT_OF_MEMORY
        p.filters = turned
        status = parallel_for(turn_filters, &p, c.groups * ceil_div(c.filters, TURNED), 0,
                              <double> c.groups * c.filters * c.channels, num_threads)
    p.pixels = c.axis[H].out * c.axis[W].out
    p.depth = min(c.channels, MAX_PIECE_BYTES // (nr * size))
    # small planes leave much of their last vector empty: pixels are then counted over all images
    p.joined = 1
    if p.depth == c.channels and ceil_div(p.pixels, lanes) * lanes * 32 > p.pixels * 33:
        p.joined = c.batch
    cdef fc_size pixels = p.pixels * p.joined, images = c.batch // p.joined * c.groups
    p.task_panels = max(1, min(MAX_PANELS, PIECE_BYTES // (c.channels * nr * size)))
    while p.task_panels > 1 and images * ceil_div(pixels, p.task_panels * nr) < TASKS:
        p.task_panels = p.task_panels // 2
    p.blocks = ceil_div(pixels, p.task_panels * nr)
    p.piece_at = round_up(c.kernels.mr * sizeof(void *))
    p.result_at = p.piece_at + p.task_panels * p.depth * nr * size
    p.scratch_bytes = p.result_at + c.kernels.mr * nr * size
    if status == OK:
        status = parallel_for(pointwise_block, &p, images * p.blocks, p.scratch_bytes, work(c),
                              num_threads)
    release(turned)
    return status


# ---------------------------------------------------------------- few filters

cdef void fill_piece(const Plan *p, fc_size n, fc_size g, fc_size i0, fc_size rows,
                     char *piece) noexcept nogil:
    """The input under some output rows, [channels][rows][cols], zero beyond the border."""
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, plane = p.plane * size
    cdef fc_size lines = rows + (c.axis[H].taps - 1) * c.axis[H].dilation
    cdef fc_size r, row, lo, hi
    cdef const char *x = c.x + n * c.x_n + g * c.x_g
    inside(c.axis[W].first, 1, c.axis[W].size, p.cols, &lo, &hi)
    memset(piece, 0, c.channels * plane)
    for r in range(lines):
        row = c.axis[H].first + i0 + r
        if 0 <= row < c.axis[H].size:
            c.kernels.copy2d(piece + (r * p.cols + lo) * size, plane, size,
                             x + row * c.axis[H].x + (c.axis[W].first + lo) * c.axis[W].x, c.x_c, c.axis[W].x,
                             c.channels, hi - lo)


cdef void segment_starts(const Plan *p, const char *piece, const void **starts) noexcept nogil:
    """Where each segment's pixels start for output 0."""
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, r, s, ch
    for r in range(c.axis[H].taps):
        if p.along_channels:
            for s in range(c.axis[W].taps):
                starts[r * c.axis[W].taps + s] = piece + (r * c.axis[H].dilation * p.cols + s * c.axis[W].dilation) * size
        else:
            for ch in range(c.channels):
                starts[r * c.channels + ch] = piece + (ch * p.plane + r * c.axis[H].dilation * p.cols) * size


cdef int few_block(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef Plan *p = <Plan *> context
    cdef Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, nr = c.kernels.nr, mr = c.kernels.mr
    cdef fc_size i0 = task % p.blocks_h * p.block_rows
    cdef fc_size g = task // p.blocks_h % c.groups, n = task // p.blocks_h // c.groups
    cdef fc_size rows = min(p.block_rows, c.axis[H].out - i0), pixels = rows * p.cols
    cdef fc_size tiles = ceil_div(c.filters, mr), t, k, count, s, i, first
    cdef fc_size k0 = 0
    cdef fc_size line = line_bytes(c, rows)
    cdef const void **pointers = <const void **> (scratch + p.pointers_at)
    cdef const void **starts = <const void **> (scratch + p.starts_at)
    cdef char *piece = scratch + p.piece_at
    cdef char *result = scratch + p.result_at
    cdef char *y = c.y + n * c.y_n + g * c.y_g + i0 * c.axis[H].y
    cdef fc_tile tile
    tile.a_prefetch = tile.b_prefetch = tile.c_prefetch = 0
    fill_piece(p, n, g, i0, rows, piece)
    segment_starts(p, piece, starts)
    tile.a = pointers
    tile.a_k = size
    tile.b_at = starts
    tile.b_segment = 0
    tile.b_k = (p.plane if p.along_channels else c.axis[W].dilation) * size
    tile.segments = p.segments
    tile.len = p.len
    tile.c_m = line
    tile.n = <int> nr
    tile.flags = FC_TILE_BIAS_PER_ROW | (FC_TILE_RELU if c.relu else 0)
    for t in range(tiles):
        k = part(c.filters, tiles, t)
        count = part(c.filters, tiles, t + 1) - k
        for s in range(p.segments):
            for i in range(count):
                pointers[s * count + i] = (p.filters + g * p.f_g + s * p.f_segment
                                           + (k + i) * p.f_k)
        tile.m = <int> count
        tile.bias = NULL
        if c.bias != NULL:
            tile.bias = c.bias + (g * c.filters + k) * size
        first = 0
        while first < pixels:
            tile.c = result + (k - k0) * line + first * size
            c.kernels.tile(&tile)
            for s in range(p.segments):
                starts[s] = <const char *> starts[s] + nr * size
            first += nr
        for s in range(p.segments):
            starts[s] = <const char *> starts[s] - first * size
        if (t + 1) % p.held_tiles == 0 or t + 1 == tiles:
            for i in range(rows):
                c.kernels.copy2d(y + k0 * c.y_k + i * c.axis[H].y, c.y_k, c.axis[W].y,
                                 result + i * p.cols * size, line, size, k + count - k0, c.axis[W].out)
            k0 = k + count
    return OK


cdef void size_rows(Plan *p) noexcept nogil:
    cdef const Correlation *c = &p.c
    p.along_channels = c.channels >= c.axis[W].taps
    p.segments = c.axis[H].taps * (c.axis[W].taps if p.along_channels else c.channels)
    p.len = c.channels if p.along_channels else c.axis[W].taps
    p.f_k = p.len * c.kernels.itemsize
    p.f_segment = c.filters * p.f_k
    p.f_g = p.segments * p.f_segment


cdef fc_size packed_bytes(const Correlation *c) noexcept nogil:
    if not (few_filters(c) or short_filters(c)):
        return 0
    return c.groups * c.filters * c.channels * c.axis[H].taps * c.axis[W].taps * c.kernels.itemsize


cdef void pack(const Correlation *c, char *rows) noexcept nogil:
    cdef Plan p
    p.c = c[0]
    size_rows(&p)
    cdef fc_size count = p.segments // c.axis[H].taps, g, r, s
    for g in range(c.groups):
        for r in range(c.axis[H].taps):
            for s in range(count):
                c.kernels.copy2d(
                    rows + g * p.f_g + (r * count + s) * p.f_segment, p.f_k, c.kernels.itemsize,
                    c.w + g * c.w_g + r * c.axis[H].w + s * (c.axis[W].w if p.along_channels else c.w_c),
                    c.w_k, c.w_c if p.along_channels else c.axis[W].w, c.filters, p.len)


cdef int correlate_few(const Correlation *correlation, int num_threads) noexcept nogil:
    cdef Plan p
    cdef Correlation *c = &p.c
    cdef fc_size images
    cdef char *rows = NULL
    cdef int status
    c[0] = correlation[0]
    cdef fc_size size = c.kernels.itemsize, nr = c.kernels.nr
    size_rows(&p)
    p.filters = c.packed.rows if c.packed != NULL else NULL
    if p.filters == NULL:
        p.filters = rows = allocate(packed_bytes(c))
        if rows == NULL:
            return OUT_OF_MEMORY
        if not measuring():
            pack(c, rows)
    p.cols = c.axis[W].out + (c.axis[W].taps - 1) * c.axis[W].dilation
    images = c.batch * c.groups
    p.block_rows = c.axis[H].out
    while p.block_rows > 1 and (piece_bytes(c, p.block_rows) > PIECE_BYTES
                                or result_bytes(c, p.block_rows) > MAX_PIECE_BYTES
                                or images * ceil_div(c.axis[H].out, p.block_rows) < TASKS
                                and p.block_rows * p.cols > 8 * nr):
        p.block_rows = (p.block_rows + 1) // 2
    p.blocks_h = ceil_div(c.axis[H].out, p.block_rows)
    p.block_rows = ceil_div(c.axis[H].out, p.blocks_h)
    # the last panel of pixels reads up to nr past the last output, and a row of taps past that
    p.plane = (p.block_rows + (c.axis[H].taps - 1) * c.axis[H].dilation + 1) * p.cols + nr
    p.pointers_at = 0
    p.starts_at = round_up(p.segments * min(c.filters, c.kernels.mr) * sizeof(void *))
    p.piece_at = p.starts_at + round_up(p.segments * sizeof(void *))
    p.result_at = p.piece_at + round_up(c.channels * p.plane * size)
    p.held_tiles = held_tiles(c, p.block_rows)
    p.scratch_bytes = p.result_at + result_bytes(c, p.block_rows)
    status = parallel_for(few_block, &p, images * p.blocks_h, p.scratch_bytes, work(c),
                          num_threads)
    release(rows)
    return status
