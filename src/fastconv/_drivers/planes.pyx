"""Convolution of planes: pixels along the vectors, a filter's rows of outputs down the registers.

Where a group has one filter, or a few, there is nothing else to fill vectors with: one channel and
one filter, depthwise convolutions of a few channels, the input gradients of a channel's several
filters. A tile of the kernel is some rows of outputs, which share every input vector that they read
(k_planes.c); a list of runs, the same for every tile, says which taps see which rows.

A block of the input is copied to the cache first, with its border. Steps and dilation are gone
there: taps whose inputs lie a multiple of the step apart read an image of their own, in which
dilation is a distance between taps. Filters of one row have no rows to share. Their columns are
folded: every n-th column of a row is a row of its own, and taps go down the rows then.

Channels-last pixels of depthwise convolutions without steps along a row stay as they are, where
channels are few: a row of them is a row of as many more columns, in which taps lie a pixel apart.
Vectors then hold taps of several channels. "Interleaved" below means these.
"""

from libc.string cimport memcpy, memset

from fastconv._drivers.axis cimport D, H, W
from fastconv._drivers.blocking cimport (
    PLANES_BLOCK_BYTES, PLANES_FOLD_TAPS, PLANES_MAX_FILTERS, PLANES_MIN_COLS, PLANES_MIN_FOLD,
    PLANES_MIN_ROWS, PLANES_TAP_COLS, PLANES_TAP_ROWS, TASKS, ceil_div, next_index, part, round_up)
from fastconv._drivers.correlation cimport (
    Correlation, CorrelationAxis, inside, work)
from fastconv._drivers.depthwise_costs cimport fills_vectors, interleaves
from fastconv._drivers.kernels cimport (
    FC_INTERLEAVED_ROWS, FC_PLANES_ROWS, fc_planes, fc_planes_run, fc_size)
from fastconv._drivers.memory cimport allocate, release
from fastconv._drivers.runtime cimport OK, OUT_OF_MEMORY, parallel_for, run_once


# ---------------------------------------------------------------- taps

cdef Classes find_classes(const CorrelationAxis *a) noexcept nogil:
    cdef Classes k
    cdef fc_size divisor = a.step, rest = a.dilation
    while rest:  # greatest common divisor
        divisor, rest = rest, divisor % rest
    k.period = a.step // divisor
    k.apart = a.dilation // divisor
    k.count = min(k.period, a.taps)
    k.taps = ceil_div(a.taps, k.period)
    return k


cdef void depth_taps(const Correlation *c, fc_size out, fc_size *lo, fc_size *hi) noexcept nogil:
    """Those of an output's that read slices of the image."""
    cdef const CorrelationAxis *d = &c.axis[D]
    inside(d.first + out * d.step, max(1, d.dilation), d.size, d.taps, lo, hi)


cdef void size_filters(PlanesPlan *p) noexcept nogil:
    """Rows of taps, or where columns are folded columns of them, are contiguous."""
    cdef const Correlation *c = &p.c
    cdef fc_size taps = c.axis[H].taps * p.w.count * p.w.taps
    if not p.fold:
        taps = p.h.count * p.h.taps * c.axis[W].taps
    p.filter_slice = taps * p.tap
    p.filter_channel = c.axis[D].taps * p.filter_slice
    p.filter = c.channels * p.filter_channel


cdef void pack_slice(const PlanesPlan *p, const char *taps, char *to, fc_size tap) noexcept nogil:
    """[classes of rows][columns][rows] of taps; folded, [rows][classes of columns][columns].

    They are `tap` bytes apart.
    """
    cdef const Correlation *c = &p.c
    cdef const CorrelationAxis *h = &c.axis[H]
    cdef const CorrelationAxis *w = &c.axis[W]
    cdef fc_size r
    if p.fold:
        for r in range(p.w.count):
            c.kernels.copy2d(to + r * p.w.taps * tap, p.w.count * p.w.taps * tap, tap,
                             taps + r * w.w, h.w, p.w.period * w.w,
                             h.taps, class_taps(&p.w, w.taps, r))
    else:
        for r in range(p.h.count):
            c.kernels.copy2d(to + r * w.taps * p.h.taps * tap, p.h.taps * tap, tap,
                             taps + r * h.w, w.w, p.h.period * h.w,
                             w.taps, class_taps(&p.h, h.taps, r))


cdef inline void repeat_to(char *row, fc_size period, fc_size end) noexcept nogil:
    cdef fc_size at = period, n
    while at < end:
        n = min(at, end - at)
        memcpy(row + at, row, n)  # `at` is a multiple of the period
        at += n


cdef void pack_interleaved(const PlanesPlan *p) noexcept nogil:
    """Vectors of taps, and of the bias, for each phase."""
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, vector = c.kernels.lanes * size, period = p.pixel
    cdef fc_size taps = p.filter // p.tap, row = period + vector, d, i, n
    # what every tap has for all channels, and again as far as a vector from any of them reaches:
    # [taps][channels + lanes]; the last row is the bias
    cdef char *rows = p.filters + p.phases * p.filter
    cdef char *last = rows + taps * row
    for i in range(p.interleaved):
        for d in range(c.axis[D].taps):
            pack_slice(p, c.w + i * c.w_g + d * c.axis[D].w,
                       rows + d * (p.filter_slice // p.tap) * row + i * size, row)
    n = taps
    if c.bias != NULL:
        memcpy(last, c.bias, period)
        n += 1
    for i in range(n):
        repeat_to(rows + i * row, period, row)
    for i in range(p.phases):
        c.kernels.copy2d(p.filters + i * p.filter, vector, size, rows + i * vector % period, row,
                         size, taps, c.kernels.lanes)
        if c.bias != NULL:
            memcpy(p.bias + i * vector, last + i * vector % period, vector)


cdef int pack_filters(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef const PlanesPlan *p = <const PlanesPlan *> context
    cdef const Correlation *c = &p.c
    cdef fc_size k, i, d, g
    cdef char *to = p.filters
    if p.phases:
        pack_interleaved(p)
        return OK
    for g in range(c.groups):
        for k in range(c.filters):
            for i in range(c.channels):
                for d in range(c.axis[D].taps):
                    pack_slice(p, c.w + g * c.w_g + k * c.w_k + i * c.w_c + d * c.axis[D].w, to,
                               p.tap)
                    to += p.filter_slice
    return OK


cdef fc_size filters_bytes(const PlanesPlan *p) noexcept nogil:
    cdef const Correlation *c = &p.c
    cdef fc_size vector = c.kernels.lanes * c.kernels.itemsize
    if not p.phases:
        return c.groups * c.filters * p.filter
    return (p.phases * (p.filter + vector)
            + (p.filter // p.tap + 1) * (p.pixel + vector))


# ---------------------------------------------------------------- the layout of the input

cdef Layout lay_out(const PlanesPlan *p, fc_size channels, fc_size slices, const Part *rows,
                    const Part *cols) noexcept nogil:
    cdef Layout layout
    layout.rows = rows.outs + (rows.taps - 1) * p.h.apart
    layout.cols = cols.outs + (cols.taps - 1) * p.w.apart
    if p.fold:  # whole folds, and what the last one of the outputs reads
        layout.cols = (ceil_div(layout.cols, p.fold) + 1) * p.fold
    layout.line = layout.cols * p.pixel
    layout.row = p.w.count * layout.line
    layout.row_class = layout.rows * layout.row
    layout.slice = p.h.count * layout.row_class
    layout.channel = slices * layout.slice
    # the last vector of a strip is read as a whole, and two more apart from it where interleaved
    layout.bytes = round_up(channels * layout.channel
                            + (1 + 2 * p.phases) * p.c.kernels.lanes * p.c.kernels.itemsize)
    return layout


cdef void copy_line(const PlanesPlan *p, const char *x, fc_size x_c, fc_size channels,
                    fc_size first, fc_size cols, char *to, fc_size to_c) noexcept nogil:
    """Columns first, first + step, ... of a row of some channels, zeros beyond the image."""
    cdef const CorrelationAxis *w = &p.c.axis[W]
    cdef fc_size size = p.c.kernels.itemsize, lo, hi, i
    inside(first, w.step, w.size, cols, &lo, &hi)
    for i in range(channels):
        if lo > 0:
            memset(to + i * to_c, 0, lo * p.pixel)
        if hi < cols:
            memset(to + i * to_c + hi * p.pixel, 0, (cols - hi) * p.pixel)
    x += (first + lo * w.step) * w.x
    if p.phases:
        p.c.kernels.copy2d(to + lo * p.pixel, p.pixel, size, x, w.step * w.x, size, hi - lo,
                           p.interleaved)
    else:
        p.c.kernels.copy2d(to + lo * size, to_c, size, x, x_c, w.step * w.x, channels, hi - lo)


cdef void stage(const PlanesPlan *p, const char *x, fc_size x_c, fc_size channels, fc_size slice0,
                fc_size slices, const Part *rows, const Part *cols, const Layout *layout,
                char *piece, char *line) noexcept nogil:
    """Copy the input under a block of outputs; x is the first channel, whole."""
    cdef const CorrelationAxis *d = &p.c.axis[D]
    cdef const CorrelationAxis *h = &p.c.axis[H]
    cdef const CorrelationAxis *w = &p.c.axis[W]
    cdef fc_size size = p.c.kernels.itemsize, s, r, i, row, t, n, first
    cdef char *to
    for s in range(slices):
        for r in range(p.h.count):
            for i in range(layout.rows):
                row = (h.first + r * h.dilation
                       + h.step * (rows.out0 + rows.tap0 * p.h.apart + i))
                for t in range(p.w.count):
                    to = (piece + s * layout.slice + r * layout.row_class + i * layout.row
                          + t * layout.line)
                    if row < 0 or row >= h.size:
                        for n in range(channels):
                            memset(to + n * layout.channel, 0, layout.line)
                        continue
                    first = (w.first + t * w.dilation
                             + w.step * (cols.out0 + cols.tap0 * p.w.apart))
                    if not p.fold:
                        copy_line(p, x + (slice0 + s * d.dilation) * d.x + row * h.x, x_c,
                                  channels, first, layout.cols, to, layout.channel)
                        continue
                    copy_line(p, x + (slice0 + s * d.dilation) * d.x + row * h.x, x_c,
                              channels, first, layout.cols, line, layout.line)
                    for n in range(channels):
                        p.c.kernels.copy2d(to + n * layout.channel, layout.line // p.fold, size,
                                           line + n * layout.line, size, p.fold * size,
                                           p.fold, layout.cols // p.fold)


# ---------------------------------------------------------------- runs

cdef inline fc_size taps_here(const Part *some, const Classes *k, fc_size taps,
                              fc_size rest) noexcept nogil:
    """Of a class's taps, those that the part has."""
    return max(0, min(some.taps, class_taps(k, taps, rest) - some.tap0))


cdef fc_size list_runs(const PlanesPlan *p, fc_size channels, fc_size slice0, fc_size slices,
                       const Part *rows, const Part *cols, const Layout *layout,
                       fc_planes_run *runs) noexcept nogil:
    """What a tile of tile_rows rows of outputs sums up: as many runs as are returned."""
    cdef fc_size last = p.tile_rows - 1
    cdef fc_size i, s, r, q, t, taps, down, n = 0
    cdef fc_planes_run *run
    for i in range(channels):
        for s in range(slices):
            for r in range(p.h.count):
                taps = taps_here(rows, &p.h, p.c.axis[H].taps, r)
                # rows of the input that all output rows see can be taken one below the other
                down = taps - last if taps - last > cols.taps else 0
                for q in range(taps + last if taps else 0):
                    if last < q < last + down:
                        continue
                    for t in range(p.w.count if q != last or down == 0 else p.c.axis[W].taps):
                        run = &runs[n]
                        if q == last and down:
                            if not 0 <= t // p.w.period - cols.tap0 < cols.taps:
                                continue
                            run.count = down
                            run.x_s, run.w_s = p.h.apart * layout.row, p.tap
                            run.x = (t % p.w.period * layout.line
                                     + (t // p.w.period - cols.tap0) * p.w.apart * p.pixel)
                            run.w = t
                        else:
                            run.count = taps_here(cols, &p.w, p.c.axis[W].taps, t)
                            run.x_s = p.w.apart * p.pixel
                            run.w_s = p.w.period * p.h.taps * p.tap
                            run.x = t * layout.line
                            run.w = t + cols.tap0 * p.w.period
                        if run.count == 0:
                            continue
                        run.lo = <int> max(0, q - taps + 1)
                        run.hi = <int> min(q, last)
                        run.x += (i * layout.channel + s * layout.slice + r * layout.row_class
                                  + q * p.h.apart * layout.row)
                        run.w = (i * p.filter_channel + (slice0 + s) * p.filter_slice
                                 + ((r * p.c.axis[W].taps + run.w) * p.h.taps + rows.tap0 + q)
                                 * p.tap)
                        n += 1
    return n


cdef fc_size list_folded_runs(const PlanesPlan *p, fc_size channels, fc_size slice0,
                              fc_size slices, const Part *cols, const Layout *layout, fc_size first,
                              fc_size tile, fc_planes_run *runs) noexcept nogil:
    """The same for rows first .. first + tile of the folded columns. Classes of rows have one tap.
    """
    cdef fc_size size = p.c.kernels.itemsize, fold = p.fold // p.w.apart
    cdef fc_size line = layout.line // p.fold
    cdef fc_size i, s, r, t, at, q, taps, n = 0
    cdef int lo, hi
    cdef fc_planes_run *run
    for i in range(channels):
        for s in range(slices):
            for r in range(p.h.count):
                for t in range(p.w.count):
                    taps = taps_here(cols, &p.w, p.c.axis[W].taps, t)
                    for at in range(fold if taps else 0):
                        # what row `at` of the layout holds lies q = at - first + m fold columns
                        # beyond that of the tile's first row, m columns on
                        run = NULL
                        q = at - first if at >= first else at - first + fold
                        while q < taps + tile - 1:
                            lo = <int> max(0, q - taps + 1)
                            hi = <int> min(q, tile - 1)
                            if run == NULL or run.lo != lo or run.hi != hi:
                                run = &runs[n]
                                n += 1
                                run.count, run.lo, run.hi = 0, lo, hi
                                run.x_s, run.w_s = size, fold * size
                                run.x = (i * layout.channel + s * layout.slice
                                         + r * layout.row_class + t * layout.line
                                         + at * p.w.apart * line + (q + first) // fold * size)
                                run.w = (i * p.filter_channel + (slice0 + s) * p.filter_slice
                                         + ((r * p.w.count + t) * p.w.taps + cols.tap0 + q) * size)
                            run.count += 1
                            q += fold
    return n


# ---------------------------------------------------------------- tasks

# What a task works on: a block of outputs of some groups, and where its results go.
ctypedef struct PlanesBlock:
    fc_size n, g0, groups, depth
    Part rows, cols
    char *out
    fc_size out_row, out_k  # from row to row, from filter to filter


cdef void run_tiles(const PlanesPlan *p, PlanesBlock *b, const Layout *layout, fc_size i0,
                    fc_size channels, fc_size slice0, fc_size slices, const char *piece,
                    fc_planes_run *runs, fc_planes *tile) noexcept nogil:
    """All groups and filters of the block."""
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, g, k, o, i, first, line, tiles, t, fold
    tile.runs = runs
    tile.phases, tile.w_phase = p.phases, p.filter
    if not p.fold:
        tile.count = list_runs(p, channels, slice0, slices, &b.rows, &b.cols, layout, runs)
        tile.x_row, tile.out_row = p.h.apart * layout.row, p.h.apart * b.out_row
        tile.cols = b.cols.outs * p.interleaved
    else:
        line = layout.line // p.fold
        fold = p.fold // p.w.apart
        tiles = ceil_div(fold, FC_PLANES_ROWS)
        tile.x_row, tile.out_row = p.w.apart * line, p.w.apart * b.out_row
        tile.cols = ceil_div(b.cols.outs, p.fold)
    for t in range(tiles if p.fold else 1):
        if p.fold:
            first = part(fold, tiles, t)
            tile.rows = part(fold, tiles, t + 1) - first
            tile.count = list_folded_runs(p, channels, slice0, slices, &b.cols, layout, first,
                                          tile.rows, runs)
        for g in range(b.groups):
            for k in range(c.filters):
                tile.w = (p.filters + ((b.g0 + g) * c.filters + k) * p.filter
                          + i0 * p.filter_channel)
                tile.bias = NULL
                if p.bias != NULL and not tile.accumulate:
                    tile.bias = p.bias + ((b.g0 + g) * c.filters + k) * size
                if not p.fold:
                    for o in range(min(p.h.apart, b.rows.outs)):
                        tile.rows = ceil_div(b.rows.outs - o, p.h.apart)
                        tile.x = piece + g * channels * layout.channel + o * layout.row
                        tile.out = b.out + (g * c.filters + k) * b.out_k + o * b.out_row
                        c.kernels.planes(tile)
                    continue
                for i in range(b.rows.outs):
                    for o in range(p.w.apart):
                        tile.x = piece + g * channels * layout.channel + i * layout.row + o * line
                        tile.out = (b.out + (g * c.filters + k) * b.out_k
                                    + (i * p.fold + first * p.w.apart + o) * b.out_row)
                        c.kernels.planes(tile)


cdef void store_results(const PlanesPlan *p, const PlanesBlock *b, char *y) noexcept nogil:
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, i, k, cols = b.cols.outs // max(1, p.fold)
    cdef fc_size h = c.axis[H].y, w = c.axis[W].y, filters = b.groups * c.filters
    cdef fc_size rest = b.cols.outs - cols * p.fold
    for i in range(b.rows.outs):
        if not p.fold:
            c.kernels.copy2d(y + i * h, c.y_k, w, b.out + i * b.out_row, b.out_k, size, filters,
                             b.cols.outs)
            continue
        for k in range(filters):
            c.kernels.copy2d(y + k * c.y_k + i * h, p.fold * w, w,
                             b.out + k * b.out_k + i * p.fold * b.out_row, size, b.out_row,
                             cols, p.fold)
            c.kernels.copy2d(y + k * c.y_k + i * h + cols * p.fold * w, p.fold * w, w,
                             b.out + k * b.out_k + i * p.fold * b.out_row + cols * size, size,
                             b.out_row, 1, rest)


cdef int planes_task(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """A block of rows and columns of some groups' outputs, all filters."""
    cdef const PlanesPlan *p = <const PlanesPlan *> context
    cdef const Correlation *c = &p.c
    cdef fc_size n = task, i, i1, slice0, slice1
    cdef PlanesBlock b
    cdef Layout layout
    cdef fc_planes tile
    cdef const char *x
    cdef char *y
    cdef char *piece = scratch + p.piece_at
    i = next_index(&n, p.col_blocks)
    b.cols.out0 = part(c.axis[W].out, p.col_blocks, i)
    b.cols.outs = part(c.axis[W].out, p.col_blocks, i + 1) - b.cols.out0
    i = next_index(&n, p.row_blocks)
    b.rows.out0 = part(c.axis[H].out, p.row_blocks, i)
    b.rows.outs = part(c.axis[H].out, p.row_blocks, i + 1) - b.rows.out0
    b.depth = next_index(&n, c.axis[D].out)
    i = next_index(&n, p.group_blocks)
    b.g0 = part(c.groups, p.group_blocks, i)
    b.groups = part(c.groups, p.group_blocks, i + 1) - b.g0
    b.n = n
    y = (c.y + n * c.y_n + b.g0 * c.y_g + b.depth * c.axis[D].y + b.rows.out0 * c.axis[H].y
         + b.cols.out0 * c.axis[W].y)
    b.out, b.out_row, b.out_k = y, c.axis[H].y, c.y_k
    if not p.in_place:
        b.out = scratch + p.result_at
        b.out_row = result_line(p)
        b.out_k = p.block_rows * max(1, p.fold) * b.out_row
    depth_taps(c, b.depth, &slice0, &slice1)
    tile.bias = NULL
    tile.accumulate = tile.relu = False
    i = 0
    while i < c.channels:
        i1 = min(i + p.channels, c.channels)
        x = c.x + n * c.x_n + b.g0 * c.x_g + i * c.x_c
        b.rows.tap0 = 0
        while b.rows.tap0 < p.h.taps:
            b.rows.taps = min(p.tap_rows, p.h.taps - b.rows.tap0)
            b.cols.tap0 = 0
            while b.cols.tap0 < p.w.taps:
                b.cols.taps = min(p.tap_cols, p.w.taps - b.cols.tap0)
                layout = lay_out(p, b.groups * (i1 - i), slice1 - slice0, &b.rows, &b.cols)
                stage(p, x, c.x_c, b.groups * (i1 - i),
                      c.axis[D].first + b.depth * c.axis[D].step + slice0 * c.axis[D].dilation,
                      slice1 - slice0, &b.rows, &b.cols, &layout, piece, scratch + p.line_at)
                tile.relu = (c.relu and i1 == c.channels
                             and b.rows.tap0 + b.rows.taps == p.h.taps
                             and b.cols.tap0 + b.cols.taps == p.w.taps)
                run_tiles(p, &b, &layout, i, i1 - i, slice0, slice1 - slice0, piece,
                          <fc_planes_run *> scratch, &tile)
                tile.accumulate = True
                b.cols.tap0 += b.cols.taps
            b.rows.tap0 += b.rows.taps
        i = i1
    if not p.in_place:
        store_results(p, &b, y)
    return OK


# ---------------------------------------------------------------- the plan

cdef fc_size result_line(const PlanesPlan *p) noexcept nogil:
    """Bytes from row to row of results."""
    return round_up(ceil_div(p.block_cols, max(1, p.fold)) * p.pixel)


cdef double block_bytes(const PlanesPlan *p) noexcept nogil:
    """Of the layout under a block of outputs, at most."""
    cdef double rows = p.block_rows + <double> (p.tap_rows - 1) * p.h.apart
    cdef double cols = p.block_cols + <double> (p.tap_cols - 1) * p.w.apart + 2 * p.fold
    return (<double> p.groups * p.channels * min(p.c.axis[D].taps, p.c.axis[D].size)
            * p.h.count * rows * p.w.count * cols * p.pixel)


cdef void choose_fold(PlanesPlan *p, fc_size min_taps) noexcept nogil:
    """Filters of one row, of each class, that are long enough to pay for folding columns."""
    cdef fc_size fold = max(p.c.kernels.lanes, PLANES_MIN_FOLD) * p.w.apart
    if (p.h.taps == 1 and p.w.taps >= min_taps
            and 2 * p.c.axis[W].out >= fold * p.c.kernels.lanes):
        p.fold = fold


cdef void choose_blocks(PlanesPlan *p) noexcept nogil:
    """Whole images, or halves of what is longest until the input fits and tasks are enough."""
    cdef const Correlation *c = &p.c
    cdef fc_size lanes = c.kernels.lanes, max_fold = max(1, p.fold), images
    p.groups = 1
    if c.x_c == c.kernels.itemsize and c.x_g == c.channels * c.x_c and c.y_g == c.filters * c.y_k:
        p.groups = max(1, min(c.groups, lanes // c.channels))  # pixels are copied as vectors
    p.channels = c.channels
    p.tap_rows = min(p.h.taps, PLANES_TAP_ROWS)
    p.tap_cols = min(p.w.taps, PLANES_TAP_COLS * max_fold)
    p.block_rows, p.block_cols = c.axis[H].out, c.axis[W].out
    while True:
        p.group_blocks = ceil_div(c.groups, p.groups)
        p.row_blocks = ceil_div(c.axis[H].out, p.block_rows)
        p.col_blocks = ceil_div(c.axis[W].out, p.block_cols)
        p.block_rows = ceil_div(c.axis[H].out, p.row_blocks)
        p.block_cols = ceil_div(c.axis[W].out, p.col_blocks)
        images = c.batch * p.group_blocks * c.axis[D].out * p.row_blocks * p.col_blocks
        if block_bytes(p) > PLANES_BLOCK_BYTES:
            if p.block_rows > max(PLANES_MIN_ROWS, p.tap_rows * p.h.apart):
                p.block_rows = ceil_div(p.block_rows, 2)
            elif p.block_cols > 2 * PLANES_MIN_COLS * lanes * max_fold:
                p.block_cols = ceil_div(p.block_cols, 2)
            elif p.channels > 1:
                p.channels = ceil_div(p.channels, 2)
            elif p.groups > 1:
                p.groups = ceil_div(p.groups, 2)
            elif p.block_cols > PLANES_MIN_COLS * lanes * max_fold:
                p.block_cols = ceil_div(p.block_cols, 2)
            elif p.block_rows > PLANES_MIN_ROWS:
                p.block_rows = ceil_div(p.block_rows, 2)
            else:
                break
        elif images < TASKS and p.block_rows > PLANES_MIN_ROWS:
            p.block_rows = ceil_div(p.block_rows, 2)
        elif images < TASKS and p.block_cols > 2 * PLANES_MIN_COLS * lanes * max_fold:
            p.block_cols = ceil_div(p.block_cols, 2)
        else:
            break


cdef void interleave(PlanesPlan *p) noexcept nogil:
    """Make one group of all, whose pixels have the channels of all."""
    cdef Correlation *c = &p.c
    cdef fc_size vector = c.kernels.lanes * c.kernels.itemsize, divisor = vector, rest
    p.interleaved = c.groups
    p.pixel = rest = c.groups * c.kernels.itemsize
    p.tap = vector
    p.tile_rows = FC_INTERLEAVED_ROWS
    while rest:  # greatest common divisor
        divisor, rest = rest, divisor % rest
    p.phases = p.pixel // divisor
    c.groups = 1


cdef void plan_planes(PlanesPlan *p, const Correlation *c, bint interleaved,
                      fc_size fold_taps) noexcept nogil:
    cdef fc_size size = c.kernels.itemsize, runs
    cdef Part rows, cols
    cdef Layout layout
    p.c = c[0]
    p.h, p.w = find_classes(&c.axis[H]), find_classes(&c.axis[W])
    p.interleaved, p.phases, p.pixel, p.tap, p.tile_rows = 1, 0, size, size, FC_PLANES_ROWS
    p.fold = 0
    if interleaved:
        interleave(p)
        c = &p.c
    else:
        choose_fold(p, fold_taps)
    choose_blocks(p)
    size_filters(p)
    p.in_place = not p.fold and c.axis[W].y == p.pixel
    rows = Part(0, p.block_rows, 0, p.tap_rows)
    cols = Part(0, p.block_cols, 0, p.tap_cols)
    layout = lay_out(p, p.groups * p.channels, min(c.axis[D].taps, c.axis[D].size), &rows, &cols)
    if p.fold:
        runs = p.h.count * p.w.count * (p.tap_cols + FC_PLANES_ROWS)
    else:  # a row's, or a column's
        runs = p.h.count * (p.w.count * (p.tap_rows + FC_PLANES_ROWS) + p.w.period * p.tap_cols)
    runs *= p.channels * c.axis[D].taps
    p.line_at = round_up(runs * sizeof(fc_planes_run))
    p.piece_at = p.line_at + (round_up(p.groups * p.channels * layout.line) if p.fold else 0)
    p.result_at = p.piece_at + layout.bytes
    p.scratch_bytes = p.result_at
    if not p.in_place:
        p.scratch_bytes += (p.groups * c.filters * p.block_rows * max(1, p.fold) * result_line(p)
                            + c.kernels.lanes * size)


# ---------------------------------------------------------------- whether it is the best way

cdef bint is_usable(const Correlation *c) noexcept nogil:
    cdef bint channels_last = c.x_c == c.kernels.itemsize
    return (interleaves(c) or fills_vectors(c)
            # with more filters, a register tile of them shares inputs as well; but where groups
            # lie side by side it would copy them one at a time
            and (c.filters <= PLANES_MAX_FILTERS
                 or c.groups > 1 and channels_last and 2 * c.filters <= c.kernels.lanes))


cdef int run_planes(const Correlation *c, int num_threads) noexcept nogil:
    cdef PlanesPlan p
    cdef double products = work(c)
    cdef int status
    plan_planes(&p, c, interleaves(c), PLANES_FOLD_TAPS)
    c = &p.c
    p.filters = allocate(filters_bytes(&p))
    if p.filters == NULL:
        return OUT_OF_MEMORY
    p.bias = <char *> c.bias
    if p.phases and c.bias != NULL:
        p.bias = p.filters + filters_bytes(&p) - p.phases * c.kernels.lanes * c.kernels.itemsize
    status = run_once(pack_filters, &p)
    if status == OK:
        status = parallel_for(planes_task, &p,
                              c.batch * p.group_blocks * c.axis[D].out * p.row_blocks
                              * p.col_blocks, p.scratch_bytes, products, num_threads)
    release(p.filters)
    return status
