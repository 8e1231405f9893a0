# What Winograd's passes share: how images are cut into tiles, and how tiles become points.
#
# Points of images lie as [point][tile][channel], so that a row of the register tile is an image's
# tile. A plane, all of one point, is followed by an unused cache line: at a power of two of bytes
# the planes would share their sets of the cache.
from fastconv._drivers.blocking cimport (
    LINE, WINOGRAD_RUN, WINOGRAD_PACK_CHANNELS, WINOGRAD_SHARE_VECTORS, ceil_div)
from fastconv._drivers.correlation cimport Correlation
from fastconv._drivers.kernels cimport fc_grids, fc_kernels, fc_size, fc_winograd

# Outputs in tiles of m x m, over which lie input tiles of side x side.
ctypedef struct Tiling:
    const fc_kernels *kernels
    const fc_winograd *transforms
    fc_size m, side, points  # 4, 6, 36 or 2, 4, 16
    fc_size tiles_h, tiles_w  # of an image
    fc_size tiles             # of all images
    fc_size vector            # bytes

# An image whose tiles become points: the input's overlap, the output gradient's do not.
ctypedef struct TiledImage:
    const char *x
    fc_size x_n, x_c, x_h, x_w
    fc_size height, width
    fc_size row0, col0  # of the first tile
    fc_size side        # rows and columns of a tile
    fc_size row         # bytes from one tile's points to the next
    void (*transform)(const fc_grids *) noexcept nogil

# Tiles that all threads transform together, into memory that they share.
ctypedef struct TileChunk:
    fc_size first, count

cdef Tiling tiling_of(const Correlation *c, int tile) noexcept nogil
cdef TiledImage tiled_input(const Tiling *t, const Correlation *c) noexcept nogil

# Tiles [first, last) and channels [c0, c1) to points, whose planes are `plane` bytes. c0 is a
# multiple of a vector's lanes. `window` is scratch memory of window_bytes.
cdef void tiles_to_points(const Tiling *t, const TiledImage *image, fc_size first, fc_size last,
                          fc_size c0, fc_size c1, char *points, fc_size plane,
                          char *window) noexcept nogil

# One task of share_tasks(t, chunk, c1 - c0): its part of the chunk's tiles and of channels [c0, c1)
# to points, [point][chunk.count][channel - c0].
cdef void share_points(const Tiling *t, const TiledImage *image, const TileChunk *chunk, fc_size c0,
                       fc_size c1, char *points, fc_size task, char *window) noexcept nogil

cdef inline fc_size share_channels(const Tiling *t) noexcept nogil:
    return WINOGRAD_SHARE_VECTORS * t.kernels.lanes

cdef inline fc_size share_tasks(const Tiling *t, const TileChunk *chunk,
                                fc_size channels) noexcept nogil:
    return ceil_div(chunk.count, WINOGRAD_RUN) * ceil_div(channels, share_channels(t))

cdef inline fc_size points_plane(const TiledImage *image, fc_size tiles) noexcept nogil:
    return tiles * image.row + LINE

cdef inline fc_size window_bytes(const Tiling *t, fc_size channels) noexcept nogil:
    # a run of tiles of one vector of channels, or one tile of all channels
    return max(t.side * (WINOGRAD_RUN * t.m + 2) * t.vector,
               t.points * ceil_div(channels, t.kernels.lanes) * t.vector)

cdef inline fc_size taps_bytes(const Tiling *t) noexcept nogil:
    # 3 x 3 taps of some channels and a panel of filters
    return 9 * WINOGRAD_PACK_CHANNELS * t.kernels.nr * t.kernels.itemsize
