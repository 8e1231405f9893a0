# What Winograd's passes share: how images are cut into tiles, and how tiles become points.
#
# Points of images lie as [point][slice][tile][channel], so that a row of the register tile is an
# image's tile. A plane, all of one point, is followed by an unused cache line: at a power of two of
# bytes the planes would share their sets of the cache.
from fastconv._drivers.blocking cimport (
    LINE, WINOGRAD_RUN, WINOGRAD_PACK_CHANNELS, WINOGRAD_SHARE_VECTORS, ceil_div)
from fastconv._drivers.kernels cimport fc_grids, fc_kernels, fc_size, fc_winograd
from fastconv._drivers.winograd_form cimport WinogradForm

# Outputs in tiles of m_h x m_w, over which lie input tiles of side_h x side_w.
ctypedef struct Tiling:
    const fc_kernels *kernels
    const fc_winograd *transforms
    fc_size m_h, m_w, side_h, side_w, points  # 4, 4, 6, 6, 36; 2, 2, 4, 4, 16; 1, 4, 1, 6, 6; ...
    fc_size tiles_h, tiles_w  # of a slice of an image
    fc_size tiles             # of a slice of all images
    fc_size slices            # of outputs
    fc_size taps              # that are summed at the points: of the depth, or segments of a line
    bint sharing              # slices of outputs side by side meet the same slices of the input
    bint down                 # tiles are lines along H
    fc_size row_pixels        # as in WinogradForm
    fc_size run               # tiles of a row that are transformed together
    fc_size vector            # bytes

# An image whose tiles become points: the input's overlap, the output gradient's do not.
ctypedef struct TiledImage:
    const char *x
    fc_size x_n, x_c, x_d, x_h, x_w
    fc_size depth, height, width  # of a dilated line, width is its size
    fc_size row0, col0        # of the first tile
    fc_size slice0, slice_step  # that tap 0 of output slice 0 meets; from output to output
    fc_size tap_slices, tap_rows, tap_cols  # from tap to tap
    fc_size side_h, side_w    # rows and columns of a tile
    fc_size row               # bytes from one tile's points to the next
    fc_size row_pixels        # as in WinogradForm
    void (*transform)(const fc_grids *) noexcept nogil

# Tiles whose points lie together: `count` of each slice, from tile `first` on, under so many slices
# of outputs. Tap r of output slice i meets source i + r, which is a slice of the input. Of these
# lie [source0, source0 + sources) in the image, and no others are kept.
ctypedef struct TileChunk:
    fc_size first, count
    fc_size slice0, slices
    fc_size source0, sources

cdef Tiling tiling_of(const WinogradForm *f, int tile) noexcept nogil
cdef TiledImage tiled_input(const Tiling *t, const WinogradForm *f) noexcept nogil

# The part at place [at_d][at] when slices are cut into parts_d, and tiles into `parts`; `taps` is
# t.taps for the input, 1 for the output's gradient.
cdef TileChunk find_chunk(const Tiling *t, const TiledImage *image, fc_size taps, fc_size at_d,
                          fc_size parts_d, fc_size at, fc_size parts) noexcept nogil
# Of the sources of so many slices of outputs, how many a chunk keeps at most.
cdef fc_size most_sources(const Tiling *t, const TiledImage *image, fc_size slices) noexcept nogil

# Channels [c0, c1) of all of a chunk's tiles to points, whose planes are `plane` bytes. c0 is a
# multiple of a vector's lanes. `window` is scratch memory of window_bytes.
cdef void chunk_to_points(const Tiling *t, const TiledImage *image, const TileChunk *chunk,
                          fc_size c0, fc_size c1, char *points, fc_size plane,
                          char *window) noexcept nogil

# One task of share_tasks(t, chunk, c1 - c0): its part of the chunk's tiles and of channels [c0, c1)
# to points, [point][source][chunk.count][channel - c0].
cdef void share_points(const Tiling *t, const TiledImage *image, const TileChunk *chunk, fc_size c0,
                       fc_size c1, char *points, fc_size task, char *window) noexcept nogil

# Apply a transform, of which g has rows and columns: lines lie along the one or the other.
cdef inline void transform(const Tiling *t, void (*function)(const fc_grids *) noexcept nogil,
                           fc_grids *g) noexcept nogil:
    cdef fc_size x_j = g.x_j, y_j = g.y_j
    if t.down:
        g.x_j, g.y_j = g.x_i, g.y_i
    function(g)
    g.x_j, g.y_j = x_j, y_j

cdef inline fc_size whole_rows(const Tiling *t, fc_size i, fc_size tiles) noexcept nogil:
    # Rows of tiles that a run takes together, from row i of an image's tiles on, of so many tiles:
    # short rows of a dilated line, which are side by side.
    if not t.row_pixels or t.tiles_w < t.row_pixels or t.tiles_w > min(t.run, tiles):
        return 1
    return min(t.tiles_h - i, min(t.run, tiles) // t.tiles_w)

cdef inline fc_size share_channels(const Tiling *t) noexcept nogil:
    return WINOGRAD_SHARE_VECTORS * t.kernels.lanes

cdef inline fc_size share_tasks(const Tiling *t, const TileChunk *chunk,
                                fc_size channels) noexcept nogil:
    return (chunk.sources * ceil_div(chunk.count, t.run) * ceil_div(channels, share_channels(t)))

cdef inline fc_size points_plane(const TiledImage *image, fc_size tiles) noexcept nogil:
    return tiles * image.row + LINE

cdef inline fc_size window_bytes(const Tiling *t, fc_size channels) noexcept nogil:
    # a run of tiles of one vector of channels, or one tile of all channels
    return max(t.side_h * ((t.run - 1) * t.m_w + t.side_w) * t.vector,
               t.points * ceil_div(channels, t.kernels.lanes) * t.vector)

cdef inline fc_size filter_taps(const Tiling *t) noexcept nogil:
    # at one of the taps that are summed
    return 9 if t.transforms.axes == 2 else 3

cdef inline fc_size taps_bytes(const Tiling *t) noexcept nogil:
    # taps of some channels and a panel of filters
    return filter_taps(t) * WINOGRAD_PACK_CHANNELS * t.kernels.nr * t.kernels.itemsize
