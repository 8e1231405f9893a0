"""The gradient of maxima, tile by tile: each pixel of x takes the gradient that names it, or zero.

Indices do not say which windows they come from. Windows as high and wide as fit side by side in the
image are tried: while every index lies in its own, x is written once and nothing is added up.
"""

from libc.stdint cimport int64_t
from libc.string cimport memset

from fastconv._drivers.axis cimport H, W
from fastconv._drivers.blocking cimport ceil_div, next_index
from fastconv._drivers.kernels cimport fc_max_tiles, fc_size
from fastconv._drivers.pool cimport Pool
from fastconv._drivers.pool_common cimport channels_of_row, clear_pixels, pixel_at, work
from fastconv._drivers.runtime cimport OK, parallel_for


ctypedef struct PoolTilesPlan:
    const Pool *pool
    fc_size rows, columns  # of a tile
    fc_size block_channels, channel_blocks


cdef bint is_usable(const Pool *p) noexcept nogil:
    """Channels contiguous, vectors of them, and tiles whose pixels the kernel can tell apart."""
    cdef fc_size size = p.kernels.itemsize
    return (p.channels >= p.kernels.lanes and p.x.stride_c == size and p.y.stride_c == size
            and p.indices.stride_c == sizeof(int64_t)
            and p.axis[H].out <= p.axis[H].size and p.axis[W].out <= p.axis[W].size
            and p.axis[H].size * p.axis[W].size < (1 << 24))


cdef void clear_border(const PoolTilesPlan *plan, char *tiles, fc_size i,
                       fc_size channels) noexcept nogil:
    """Zero in what no tile of row i covers: columns at the right, and rows at the bottom."""
    cdef const Pool *p = plan.pool
    cdef fc_size h, w, end = plan.rows
    for h in range(plan.rows):
        for w in range(p.axis[W].out * plan.columns, p.axis[W].size):
            memset(tiles + h * p.x.stride[H] + w * p.x.stride[W], 0, channels * p.kernels.itemsize)
    if i == p.axis[H].out - 1:
        end = p.axis[H].size - i * plan.rows
    for h in range(plan.rows, end):
        clear_pixels(p, tiles + h * p.x.stride[H], p.axis[W].size, channels)


cdef int backward_row(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """The rows of x under one row of y, of a block of channels."""
    cdef const PoolTilesPlan *plan = <PoolTilesPlan *> context
    cdef const Pool *p = plan.pool
    cdef fc_size i = next_index(&task, p.axis[H].out), top = i * plan.rows
    cdef fc_size c = next_index(&task, plan.channel_blocks) * plan.block_channels
    cdef fc_max_tiles k
    k.dx = pixel_at(&p.x, task, c, top, 0)
    k.dy = pixel_at(&p.y, task, c, i, 0)
    k.indices = pixel_at(&p.indices, task, c, i, 0)
    k.dx_h, k.dx_w = p.x.stride[H], p.x.stride[W]
    k.dy_w, k.indices_w = p.y.stride[W], p.indices.stride[W]
    k.out_width, k.channels = p.axis[W].out, min(plan.block_channels, p.channels - c)
    k.rows, k.cols = plan.rows, plan.columns
    k.index, k.index_h = top * p.axis[W].size, p.axis[W].size
    if p.kernels.max_tiles(&k) != 0:
        return NOT_TILES
    clear_border(plan, k.dx, i, k.channels)
    return OK


cdef int run_backward(const Pool *p, int num_threads) noexcept nogil:
    cdef PoolTilesPlan plan
    plan.pool = p
    plan.rows = p.axis[H].size // p.axis[H].out
    plan.columns = p.axis[W].size // p.axis[W].out
    plan.block_channels = channels_of_row(p)
    plan.channel_blocks = ceil_div(p.channels, plan.block_channels)
    return parallel_for(backward_row, &plan, p.batch * plan.channel_blocks * p.axis[H].out, 0,
                        work(p), num_threads)
