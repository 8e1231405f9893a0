"""Images' tiles to Winograd's points.

Where channels are contiguous, a tile is transformed with all its channels, from where it lies
unless it has a border. Otherwise a run of tiles and a vector of channels are copied to a window
first.
"""

from libc.string cimport memset

from fastconv._drivers.axis cimport D, H, W
from fastconv._drivers.blocking cimport WINOGRAD_LINE_RUN, WINOGRAD_RUN, ceil_div, next_index, part
from fastconv._drivers.correlation cimport CorrelationAxis, inside
from fastconv._drivers.kernels cimport fc_grids, fc_size
from fastconv._drivers.winograd_form cimport WinogradForm


cdef Tiling tiling_of(const WinogradForm *f, int tile) noexcept nogil:
    cdef const CorrelationAxis *d = &f.c.axis[D]
    cdef Tiling t
    cdef fc_size m
    t.kernels = f.c.kernels
    t.transforms = &f.c.kernels.winograd[tile]
    m = t.transforms.tile
    t.m_h = 1 if f.lines and not f.down else m
    t.m_w = 1 if f.down else m
    t.side_h = m + 2 if t.m_h > 1 else 1
    t.side_w = m + 2 if t.m_w > 1 else 1
    t.points = t.side_h * t.side_w
    t.tiles_h = ceil_div(f.c.axis[H].out, t.m_h)
    t.tiles_w = ceil_div(f.c.axis[W].out, t.m_w)
    t.tiles = f.c.batch * t.tiles_h * t.tiles_w
    t.slices, t.taps = d.out, d.taps
    t.sharing = d.step == d.dilation
    t.down, t.row_pixels = f.down, f.row_pixels
    t.run = WINOGRAD_LINE_RUN if f.down else WINOGRAD_RUN
    t.vector = f.c.kernels.lanes * f.c.kernels.itemsize
    return t


cdef TiledImage tiled_input(const Tiling *t, const WinogradForm *f) noexcept nogil:
    cdef const CorrelationAxis *d = &f.c.axis[D]
    cdef const CorrelationAxis *h = &f.c.axis[H]
    cdef const CorrelationAxis *w = &f.c.axis[W]
    cdef TiledImage image
    image.x = f.c.x
    image.x_n, image.x_c, image.x_d, image.x_h, image.x_w = f.c.x_n, f.c.x_c, d.x, h.x, w.x
    image.depth, image.height, image.width = d.size, h.size, w.size
    image.slice0, image.row0, image.col0 = d.first, h.first, w.first
    image.slice_step, image.tap_slices = d.step, d.dilation
    image.tap_rows = image.tap_cols = 0
    if f.segments > 1:
        image.tap_slices = 0
        image.tap_rows = 3 if f.down else 0
        image.tap_cols = 0 if f.down else 3
    image.side_h, image.side_w = t.side_h, t.side_w
    image.row = ceil_div(f.c.channels, t.kernels.lanes) * t.vector
    image.row_pixels = f.row_pixels
    image.transform = t.transforms.input
    return image


# ---------------------------------------------------------------- chunks of tiles

cdef TileChunk find_chunk(const Tiling *t, const TiledImage *image, fc_size taps, fc_size at_d,
                          fc_size parts_d, fc_size at, fc_size parts) noexcept nogil:
    cdef TileChunk chunk
    cdef fc_size last
    chunk.first = part(t.tiles, parts, at)
    chunk.count = part(t.tiles, parts, at + 1) - chunk.first
    chunk.slice0 = part(t.slices, parts_d, at_d)
    chunk.slices = part(t.slices, parts_d, at_d + 1) - chunk.slice0
    chunk.source0, last = 0, chunk.slices + taps - 1
    if image.tap_slices > 0:
        inside(image.slice0 + chunk.slice0 * image.slice_step, image.tap_slices, image.depth, last,
               &chunk.source0, &last)
    chunk.sources = last - chunk.source0
    return chunk


cdef fc_size most_sources(const Tiling *t, const TiledImage *image, fc_size slices) noexcept nogil:
    cdef fc_size sources = slices + t.taps - 1
    return sources if image.tap_slices == 0 else min(sources, image.depth)


# ---------------------------------------------------------------- tiles to points

cdef inline void find_columns(const TiledImage *image, fc_size row, fc_size left, fc_size cols,
                              fc_size *lo, fc_size *hi) noexcept nogil:
    """Which of the columns from `left` on lie in a row of the image: [lo, hi)."""
    if image.row_pixels:
        inside(row * image.row_pixels + left, 1, image.width, cols, lo, hi)
    elif 0 <= row < image.height:
        inside(left, 1, image.width, cols, lo, hi)
    else:
        lo[0] = hi[0] = 0


cdef inline bint has_tile(const TiledImage *image, fc_size top, fc_size left) noexcept nogil:
    """Whether the image has all pixels of the tile at [top][left]."""
    cdef fc_size bottom = top + image.side_h, right = left + image.side_w
    if image.row_pixels:
        return (top * image.row_pixels + left >= 0
                and (bottom - 1) * image.row_pixels + right <= image.width)
    return top >= 0 and bottom <= image.height and left >= 0 and right <= image.width


cdef void fill_row(const Tiling *t, const TiledImage *image, const char *x, fc_size row,
                   fc_size left, fc_size cols, fc_size channels, fc_size pixel,
                   char *window) noexcept nogil:
    """The image x at [row][left : left + cols] to [cols][pixel bytes], with zeros beyond the image;
    those beyond the channels are there."""
    cdef fc_size lo, hi
    find_columns(image, row, left, cols, &lo, &hi)
    if lo == hi:
        memset(window, 0, cols * pixel)
        return
    memset(window, 0, lo * pixel)
    t.kernels.copy2d(window + lo * pixel, pixel, t.kernels.itemsize,
                     x + row * image.x_h + (left + lo) * image.x_w, image.x_w, image.x_c, hi - lo,
                     channels)
    memset(window + hi * pixel, 0, (cols - hi) * pixel)


cdef void fill_tiles(const Tiling *t, const TiledImage *image, const char *x, fc_size top,
                     fc_size left, fc_size rows, fc_size cols, fc_size channels, fc_size pixel,
                     char *window) noexcept nogil:
    """The image x at [top : top + rows][left : left + cols] to [rows][cols][pixel bytes], with
    zeros beyond the image and the channels."""
    cdef fc_size r
    if channels * t.kernels.itemsize < pixel:
        memset(window, 0, rows * cols * pixel)
    if cols == image.row_pixels:  # one line
        cols *= rows
        rows = 1
    for r in range(rows):
        fill_row(t, image, x, top + r, left, cols, channels, pixel, window + r * cols * pixel)


cdef void tile_to_points(const Tiling *t, const TiledImage *image, const char *x, fc_size top,
                         fc_size left, fc_size channels, fc_grids *g, char *window) noexcept nogil:
    """One tile at [top][left] of the image x, its channels contiguous."""
    cdef fc_size vectors = ceil_div(channels, t.kernels.lanes)
    if channels % t.kernels.lanes == 0 and has_tile(image, top, left):
        g.x = x + top * image.x_h + left * image.x_w
        g.x_i = image.x_h
        g.x_j = image.x_w
        g.x_prefetch = t.m_w * image.x_w
    else:
        g.x = window
        g.x_j = vectors * t.vector
        g.x_i = image.side_w * g.x_j
        g.x_prefetch = 0
        fill_tiles(t, image, x, top, left, image.side_h, image.side_w, channels, g.x_j, window)
    g.x_next = g.y_next = t.vector
    g.count = vectors
    transform(t, image.transform, g)


cdef void run_to_points(const Tiling *t, const TiledImage *image, const char *x, fc_size top,
                        fc_size left, fc_size rows, fc_size tiles, fc_size channels, fc_grids *g,
                        char *window) noexcept nogil:
    """Rows of so many tiles from [top][left] of the image x on, a vector of channels at a time."""
    cdef fc_size lanes = t.kernels.lanes, cols = (tiles - 1) * t.m_w + image.side_w, k, r
    cdef char *points = <char *> g.y
    g.x_i = cols * t.vector
    g.x_j = t.vector
    g.x_prefetch = 0
    g.x_next = t.m_w * t.vector
    g.y_next = image.row
    g.count = tiles
    for k in range(ceil_div(channels, lanes)):
        fill_tiles(t, image, x + k * lanes * image.x_c, top, left,
                   (rows - 1) * t.m_h + image.side_h, cols, min(lanes, channels - k * lanes),
                   t.vector, window)
        for r in range(rows):
            g.x = window + r * t.m_h * g.x_i
            g.y = points + r * tiles * image.row + k * t.vector
            transform(t, image.transform, g)


cdef void source_to_points(const Tiling *t, const TiledImage *image, const TileChunk *chunk,
                           fc_size source, fc_size first, fc_size last, fc_size c0, fc_size c1,
                           char *points, fc_size plane, char *window) noexcept nogil:
    """Tiles [first, last) of one source of the chunk, to `points` on."""
    cdef bint contiguous = image.x_c == t.kernels.itemsize
    cdef fc_size slice = image.slice0 + chunk.slice0 * image.slice_step + source * image.tap_slices
    cdef fc_size row0 = image.row0 + source * image.tap_rows
    cdef fc_size col0 = image.col0 + source * image.tap_cols
    cdef fc_size tile = first, rows, run, n, i, j, top, left
    cdef const char *x
    cdef fc_grids g
    g.y_i = t.side_w * plane
    g.y_j = plane
    while tile < last:
        n = tile
        j = next_index(&n, t.tiles_w)
        i = next_index(&n, t.tiles_h)
        x = image.x + n * image.x_n + slice * image.x_d + c0 * image.x_c
        top = row0 + i * t.m_h
        left = col0 + j * t.m_w
        g.y = points + (tile - first) * image.row
        rows = 1
        if contiguous:
            run = 1
            tile_to_points(t, image, x, top, left, c1 - c0, &g, window)
        else:
            run = min(min(t.tiles_w - j, last - tile), t.run)
            if j == 0:
                rows = whole_rows(t, i, last - tile)
            run_to_points(t, image, x, top, left, rows, run, c1 - c0, &g, window)
        tile += rows * run


cdef void chunk_to_points(const Tiling *t, const TiledImage *image, const TileChunk *chunk,
                          fc_size c0, fc_size c1, char *points, fc_size plane,
                          char *window) noexcept nogil:
    cdef fc_size i
    for i in range(chunk.sources):
        source_to_points(t, image, chunk, chunk.source0 + i, chunk.first,
                         chunk.first + chunk.count, c0, c1, points + i * chunk.count * image.row,
                         plane, window)


cdef void share_points(const Tiling *t, const TiledImage *image, const TileChunk *chunk, fc_size c0,
                       fc_size c1, char *points, fc_size task, char *window) noexcept nogil:
    cdef fc_size runs = ceil_div(chunk.count, t.run), run = next_index(&task, runs)
    cdef fc_size i = next_index(&task, chunk.sources)
    cdef fc_size first = part(chunk.count, runs, run), last = part(chunk.count, runs, run + 1)
    cdef fc_size channel = task * share_channels(t)
    source_to_points(t, image, chunk, chunk.source0 + i, chunk.first + first, chunk.first + last,
                     c0 + channel, min(c0 + channel + share_channels(t), c1),
                     points + (i * chunk.count + first) * image.row
                     + channel * t.kernels.itemsize,
                     points_plane(image, chunk.sources * chunk.count), window)
