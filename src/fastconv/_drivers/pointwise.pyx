"""1x1 convolutions whose planes are contiguous: matrix products of the filters with the planes.

Rows of the register tile are filters, its columns pixels, and nothing need be rearranged but a
panel of pixels at a time, which is copied to lie side by side.
"""

from fastconv._drivers.axis cimport D, H, W
from fastconv._drivers.blocking cimport (
    POINTWISE_BLOCK_BYTES, POINTWISE_FILTERS, POINTWISE_MAX_PANELS, POINTWISE_PANEL_BYTES, TASKS,
    ceil_div, next_index, part, plain_tile, round_up)
from fastconv._drivers.correlation cimport (
    Correlation, CorrelationAxis, maps_one_to_one, outputs_of, work)
from fastconv._drivers.kernels cimport (
    FC_TILE_ACCUMULATE, FC_TILE_BIAS_PER_ROW, FC_TILE_RELU, fc_size, fc_tile)
from fastconv._drivers.memory cimport allocate, release
from fastconv._drivers.runtime cimport OK, OUT_OF_MEMORY, parallel_for


ctypedef struct PointwisePlan:
    Correlation c
    const char *filters  # [groups][filters][channels], filters contiguous
    fc_size f_g, f_k
    fc_size pixels       # of an image
    fc_size joined       # so many images are one, pixels counted on from each to the next
    fc_size blocks       # tasks of such an image,
    fc_size panels       # each of so many panels of nr pixels
    fc_size channels     # at a time
    fc_size panels_at, result_at, scratch_bytes  # scratch: rows | panels | a tile's result


cdef bint is_usable(const Correlation *c) noexcept nogil:
    """Whether pixels can be counted on and on, through rows and slices, on both sides."""
    cdef const CorrelationAxis *d = &c.axis[D]
    cdef const CorrelationAxis *h = &c.axis[H]
    cdef const CorrelationAxis *w = &c.axis[W]
    cdef fc_size size = c.kernels.itemsize
    return (maps_one_to_one(d) and maps_one_to_one(h) and maps_one_to_one(w)
            # columns, rows and slices follow each other without gaps
            and w.x == w.y == size
            and h.x == h.y == w.size * size
            and (d.size == 1 or d.x == d.y == h.size * w.size * size))


cdef inline fc_size run_in_image(const PointwisePlan *p, fc_size first, fc_size end) noexcept nogil:
    # how many of pixels first..end, counted over all images, lie in the same one
    return min(end - first, p.pixels - first % p.pixels)


cdef void copy_pixel_panel(const PointwisePlan *p, const char *x, fc_size channels, fc_size first,
                           fc_size end, char *to) noexcept nogil:
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


cdef void store_pixel_panel(const PointwisePlan *p, char *y, fc_size filters, fc_size first,
                            fc_size end, const char *result) noexcept nogil:
    """A tile's result [filters][nr] to pixels first..end of several images."""
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, run
    while first < end:
        run = run_in_image(p, first, end)
        c.kernels.copy2d(y + first // p.pixels * c.y_n + first % p.pixels * size, c.y_k, size,
                         result, c.kernels.nr * size, size, filters, run)
        first += run
        result += run * size


cdef int pointwise_task(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """Some panels of pixels, all filters."""
    cdef const PointwisePlan *p = <const PointwisePlan *> context
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, nr = c.kernels.nr
    cdef fc_size n = task, block = next_index(&n, p.blocks), g = next_index(&n, c.groups)
    cdef const char *x = c.x + n * c.x_n + g * c.x_g
    cdef char *y = c.y + n * c.y_n + g * c.y_g
    cdef const char *filters = p.filters + g * p.f_g
    cdef const void **rows = <const void **> scratch
    cdef char *panels = scratch + p.panels_at  # [panels][channels][nr]
    cdef char *result = scratch + p.result_at
    cdef fc_size panel = p.channels * nr * size, start = block * p.panels * nr
    cdef fc_size last = min(start + p.panels * nr, p.pixels * p.joined), first, end
    cdef fc_size tiles = ceil_div(c.filters, c.kernels.mr), t, k, i, channel = 0
    cdef fc_tile tile = plain_tile(size, nr)
    tile.a = rows
    while channel < c.channels:
        tile.len = min(p.channels, c.channels - channel)
        tile.flags = FC_TILE_ACCUMULATE if channel else FC_TILE_BIAS_PER_ROW
        if c.relu and channel + tile.len == c.channels:
            tile.flags |= FC_TILE_RELU
        # all panels first, then filter by filter: each row of y is written in one run
        for i in range(p.panels):
            first = start + i * nr
            copy_pixel_panel(p, x + channel * c.x_c, tile.len, first, min(first + nr, last),
                             panels + i * panel)
        for t in range(tiles):
            k = part(c.filters, tiles, t)
            tile.m = <int> (part(c.filters, tiles, t + 1) - k)
            for i in range(tile.m):
                rows[i] = filters + (k + i) * p.f_k + channel * size
            if c.bias != NULL:
                tile.bias = c.bias + (g * c.filters + k) * size
            for i in range(p.panels):
                first = start + i * nr
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
                    store_pixel_panel(p, y + k * c.y_k, tile.m, first, end, result)
        channel += tile.len
    return OK


cdef int transpose_task(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """Some of a group's filters, [filters][channels]."""
    cdef const PointwisePlan *p = <const PointwisePlan *> context
    cdef const Correlation *c = &p.c
    cdef fc_size g = task
    cdef fc_size k = next_index(&g, ceil_div(c.filters, POINTWISE_FILTERS)) * POINTWISE_FILTERS
    c.kernels.copy2d(<char *> p.filters + g * p.f_g + k * p.f_k, p.f_k, c.kernels.itemsize,
                     c.w + g * c.w_g + k * c.w_k, c.w_k, c.w_c,
                     min(POINTWISE_FILTERS, c.filters - k), c.channels)
    return OK


cdef void plan_pointwise(PointwisePlan *p) noexcept nogil:
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, nr = c.kernels.nr, lanes = c.kernels.lanes
    p.pixels = outputs_of(c)
    p.channels = min(c.channels, POINTWISE_PANEL_BYTES // (nr * size))
    # small planes leave much of their last vector empty: pixels are then counted over all images
    p.joined = 1
    if p.channels == c.channels and ceil_div(p.pixels, lanes) * lanes * 32 > p.pixels * 33:
        p.joined = c.batch
    cdef fc_size pixels = p.pixels * p.joined, images = c.batch // p.joined * c.groups
    p.panels = max(1, min(POINTWISE_MAX_PANELS, POINTWISE_BLOCK_BYTES // (c.channels * nr * size)))
    while p.panels > 1 and images * ceil_div(pixels, p.panels * nr) < TASKS:
        p.panels = p.panels // 2
    p.blocks = ceil_div(pixels, p.panels * nr)
    p.panels_at = round_up(c.kernels.mr * sizeof(void *))
    p.result_at = p.panels_at + p.panels * p.channels * nr * size
    p.scratch_bytes = p.result_at + c.kernels.mr * nr * size


cdef int run_pointwise(const Correlation *correlation, int num_threads) noexcept nogil:
    cdef PointwisePlan p
    cdef const Correlation *c = &p.c
    cdef char *transposed = NULL
    cdef int status = OK
    p.c = correlation[0]
    p.filters, p.f_g, p.f_k = c.w, c.w_g, c.w_k
    if c.w_c != c.kernels.itemsize:  # the input gradient reads the filters the other way round
        p.f_k = c.channels * c.kernels.itemsize
        p.f_g = c.filters * p.f_k
        p.filters = transposed = allocate(c.groups * p.f_g)
        if transposed == NULL:
            return OUT_OF_MEMORY
        status = parallel_for(transpose_task, &p, c.groups * ceil_div(c.filters, POINTWISE_FILTERS),
                              0, <double> c.groups * c.filters * c.channels, num_threads)
    plan_pointwise(&p)
    if status == OK:
        status = parallel_for(pointwise_task, &p,
                              c.batch // p.joined * c.groups * p.blocks, p.scratch_bytes, work(c),
                              num_threads)
    release(transposed)
    return status
