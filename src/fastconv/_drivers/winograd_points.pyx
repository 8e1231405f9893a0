"""Images' tiles to Winograd's points.

Where channels are contiguous, a tile is transformed with all its channels, from where it lies
unless it has a border. Otherwise a run of tiles and a vector of channels are copied to a window
first.
"""

from libc.string cimport memset

from fastconv._drivers.axis cimport H, W
from fastconv._drivers.blocking cimport WINOGRAD_RUN, ceil_div, next_index, part
from fastconv._drivers.correlation cimport Correlation, CorrelationAxis, inside
from fastconv._drivers.kernels cimport fc_grids, fc_size


cdef Tiling tiling_of(const Correlation *c, int tile) noexcept nogil:
    cdef Tiling t
    t.kernels = c.kernels
    t.transforms = &c.kernels.winograd[tile]
    t.m = t.transforms.tile
    t.side = t.m + 2
    t.points = t.side * t.side
    t.tiles_h = ceil_div(c.axis[H].out, t.m)
    t.tiles_w = ceil_div(c.axis[W].out, t.m)
    t.tiles = c.batch * t.tiles_h * t.tiles_w
    t.vector = c.kernels.lanes * c.kernels.itemsize
    return t


cdef TiledImage tiled_input(const Tiling *t, const Correlation *c) noexcept nogil:
    cdef const CorrelationAxis *h = &c.axis[H]
    cdef const CorrelationAxis *w = &c.axis[W]
    cdef TiledImage image
    image.x = c.x
    image.x_n, image.x_c, image.x_h, image.x_w = c.x_n, c.x_c, h.x, w.x
    image.height, image.width = h.size, w.size
    image.row0, image.col0 = h.first, w.first
    image.side = t.side
    image.row = ceil_div(c.channels, c.kernels.lanes) * t.vector
    image.transform = t.transforms.input
    return image


cdef void fill_tiles(const Tiling *t, const TiledImage *image, const char *x, fc_size top,
                     fc_size left, fc_size cols, fc_size channels, fc_size pixel,
                     char *window) noexcept nogil:
    """The image x at [top : top + side][left : left + cols] to [side][cols][pixel bytes], with
    zeros beyond the image and the channels."""
    cdef fc_size size = t.kernels.itemsize, line = cols * pixel, lo, hi, r
    inside(left, 1, image.width, cols, &lo, &hi)
    if channels * size < pixel:
        memset(window, 0, image.side * line)
    for r in range(top, top + image.side):
        if r < 0 or r >= image.height or lo == hi:
            memset(window, 0, line)
        else:
            memset(window, 0, lo * pixel)
            t.kernels.copy2d(window + lo * pixel, pixel, size,
                             x + r * image.x_h + (left + lo) * image.x_w, image.x_w, image.x_c,
                             hi - lo, channels)
            memset(window + hi * pixel, 0, (cols - hi) * pixel)
        window += line


cdef void tile_to_points(const Tiling *t, const TiledImage *image, const char *x, fc_size top,
                         fc_size left, fc_size channels, fc_grids *g, char *window) noexcept nogil:
    """One tile at [top][left] of the image x, its channels contiguous."""
    cdef fc_size vectors = ceil_div(channels, t.kernels.lanes)
    if (channels % t.kernels.lanes == 0 and top >= 0 and top + image.side <= image.height
            and left >= 0 and left + image.side <= image.width):
        g.x = x + top * image.x_h + left * image.x_w
        g.x_i = image.x_h
        g.x_j = image.x_w
        g.x_prefetch = t.m * image.x_w
    else:
        g.x = window
        g.x_j = vectors * t.vector
        g.x_i = image.side * g.x_j
        g.x_prefetch = 0
        fill_tiles(t, image, x, top, left, image.side, channels, g.x_j, window)
    g.x_next = g.y_next = t.vector
    g.count = vectors
    image.transform(g)


cdef void run_to_points(const Tiling *t, const TiledImage *image, const char *x, fc_size top,
                        fc_size left, fc_size tiles, fc_size channels, fc_grids *g,
                        char *window) noexcept nogil:
    """A run of tiles from [top][left] of the image x on, a vector of channels at a time."""
    cdef fc_size lanes = t.kernels.lanes, cols = (tiles - 1) * t.m + image.side, k
    g.x = window
    g.x_i = cols * t.vector
    g.x_j = t.vector
    g.x_prefetch = 0
    g.x_next = t.m * t.vector
    g.y_next = image.row
    g.count = tiles
    for k in range(ceil_div(channels, lanes)):
        fill_tiles(t, image, x + k * lanes * image.x_c, top, left, cols,
                   min(lanes, channels - k * lanes), t.vector, window)
        image.transform(g)
        g.y = <char *> g.y + t.vector


cdef void tiles_to_points(const Tiling *t, const TiledImage *image, fc_size first, fc_size last,
                          fc_size c0, fc_size c1, char *points, fc_size plane,
                          char *window) noexcept nogil:
    cdef bint contiguous = image.x_c == t.kernels.itemsize
    cdef fc_size tile = first, row_end, run, n, i, j, top, left
    cdef const char *x
    cdef fc_grids g
    g.y_i = t.side * plane
    g.y_j = plane
    while tile < last:
        n = tile
        j = next_index(&n, t.tiles_w)
        i = next_index(&n, t.tiles_h)
        x = image.x + n * image.x_n + c0 * image.x_c
        top = image.row0 + i * t.m
        left = image.col0 + j * t.m
        row_end = min(tile + t.tiles_w - j, last)
        while tile < row_end:
            g.y = points + (tile - first) * image.row
            if contiguous:
                run = 1
                tile_to_points(t, image, x, top, left, c1 - c0, &g, window)
            else:
                run = min(WINOGRAD_RUN, row_end - tile)
                run_to_points(t, image, x, top, left, run, c1 - c0, &g, window)
            tile += run
            left += run * t.m


cdef void share_points(const Tiling *t, const TiledImage *image, const TileChunk *chunk, fc_size c0,
                       fc_size c1, char *points, fc_size task, char *window) noexcept nogil:
    cdef fc_size runs = ceil_div(chunk.count, WINOGRAD_RUN), run = next_index(&task, runs)
    cdef fc_size first = part(chunk.count, runs, run), last = part(chunk.count, runs, run + 1)
    cdef fc_size channel = task * share_channels(t)
    tiles_to_points(t, image, chunk.first + first, chunk.first + last,
                    c0 + channel, min(c0 + channel + share_channels(t), c1),
                    points + first * image.row + channel * t.kernels.itemsize,
                    points_plane(image, chunk.count), window)
