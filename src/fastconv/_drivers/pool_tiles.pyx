"""The gradient of maxima, tile by tile: each pixel of x takes the gradient that names it, or zero.

Indices do not say which windows they come from. Windows as deep, high and wide as fit side by side
in the image are tried: while every index lies in its own, x is written once and nothing is added
up. Vectors run along the channels or, in contiguous planes, along the rows.
"""

from libc.stdint cimport int64_t

from fastconv._drivers.axis cimport AXES, D, H, W
from fastconv._drivers.blocking cimport (
    POOL_MAX_ROW_TILE, POOL_TASK_ELEMENTS, ceil_div, next_index)
from fastconv._drivers.kernels cimport fc_max_tiles, fc_size
from fastconv._drivers.pool cimport Pool
from fastconv._drivers.pool_common cimport (
    Span, channels_of_row, clear_pixels, columns_of_row, pixel_at, pixels_in, planes_of_task,
    work)
from fastconv._drivers.runtime cimport OK, parallel_for


ctypedef struct PoolTilesPlan:
    const Pool *pool
    fc_size tile[AXES]
    fc_size inner  # channels that a call of the kernel takes: of every pixel, or 1
    fc_size block_channels, channel_blocks
    fc_size block_rows, row_blocks  # of a slice of y
    fc_size block_columns, column_blocks


cdef bint has_tiles(const Pool *p) noexcept nogil:
    """Outputs no more than inputs, and planes whose pixels the kernels can tell apart as reals."""
    cdef int i
    for i in range(AXES):
        if p.axis[i].out > p.axis[i].size:
            return False
    return pixels_in(p) < (1 << 24)


cdef bint along_channels(const Pool *p) noexcept nogil:
    """Channels contiguous, and vectors of them."""
    cdef fc_size size = p.kernels.itemsize
    return (p.channels >= p.kernels.lanes and p.x.stride_c == size and p.y.stride_c == size
            and p.indices.stride_c == sizeof(int64_t))


cdef bint along_rows(const Pool *p) noexcept nogil:
    """Rows contiguous, of y no shorter than a vector, and tiles of few pixels in one row: with more
    it takes less to clear x, and then to add one gradient at a time."""
    cdef fc_size size = p.kernels.itemsize, columns = p.axis[W].size // p.axis[W].out
    return (p.axis[W].out >= p.kernels.lanes and columns <= POOL_MAX_ROW_TILE
            and columns <= p.kernels.lanes
            and p.axis[D].size // p.axis[D].out == 1 and p.axis[H].size // p.axis[H].out == 1
            and p.x.stride[W] == size and p.y.stride[W] == size
            and p.indices.stride[W] == sizeof(int64_t))


cdef bint is_usable(const Pool *p) noexcept nogil:
    return has_tiles(p) and (along_channels(p) or along_rows(p))


cdef Span under(const Pool *p, int axis, fc_size tile, fc_size i) noexcept nogil:
    """The inputs of output i's tile, and what is left over after the last."""
    cdef Span inputs
    inputs.start = i * tile
    inputs.end = p.axis[axis].size if i == p.axis[axis].out - 1 else inputs.start + tile
    return inputs


cdef void clear_border(const PoolTilesPlan *plan, char *x, fc_size channels, fc_size d, fc_size i,
                       Span columns) noexcept nogil:
    """Zero in what some tiles of row i leave out at the right, below and behind; x is theirs."""
    cdef const Pool *p = plan.pool
    cdef Span slices = under(p, D, plan.tile[D], d), rows = under(p, H, plan.tile[H], i)
    cdef fc_size covered = (columns.end - columns.start) * plan.tile[W], slice, row
    cdef fc_size width = under(p, W, plan.tile[W], columns.end - 1).end
    width -= columns.start * plan.tile[W]
    for slice in range(slices.end - slices.start):
        for row in range(rows.end - rows.start):
            if slice >= plan.tile[D] or row >= plan.tile[H]:
                clear_pixels(p, x + slice * p.x.stride[D] + row * p.x.stride[H], width, channels)
            elif covered < width:
                clear_pixels(p, x + slice * p.x.stride[D] + row * p.x.stride[H]
                             + covered * p.x.stride[W], width - covered, channels)


cdef fc_max_tiles make_call(const PoolTilesPlan *plan) noexcept nogil:
    """What the rows of y have in common."""
    cdef const Pool *p = plan.pool
    cdef fc_max_tiles k
    k.dx = NULL
    k.dy = k.indices = NULL
    k.dx_d, k.dx_h, k.dx_w = p.x.stride[D], p.x.stride[H], p.x.stride[W]
    k.dy_w, k.indices_w = p.y.stride[W], p.indices.stride[W]
    k.dy_h, k.indices_h, k.out_height = p.y.stride[H], p.indices.stride[H], 1
    k.out_width, k.channels, k.index = 0, 1, 0
    k.slices, k.rows, k.cols = plan.tile[D], plan.tile[H], plan.tile[W]
    k.index_d, k.index_h = p.axis[H].size * p.axis[W].size, p.axis[W].size
    return k


cdef int backward_rows(const PoolTilesPlan *plan, fc_max_tiles *k, fc_size n, fc_size c,
                       fc_size d, Span rows, Span columns) noexcept nogil:
    """What is under some pixels of y, of as many channels as the kernel takes; a single row, where
    these are several."""
    cdef const Pool *p = plan.pool
    cdef fc_size front = d * plan.tile[D], top = rows.start * plan.tile[H], i
    cdef fc_size left = columns.start * plan.tile[W]
    k.dx = pixel_at(&p.x, n, c, front, top, left)
    k.dy = pixel_at(&p.y, n, c, d, rows.start, columns.start)
    k.indices = pixel_at(&p.indices, n, c, d, rows.start, columns.start)
    k.index = front * k.index_d + top * k.index_h + left
    k.out_height, k.out_width = rows.end - rows.start, columns.end - columns.start
    if (p.kernels.max_tiles if plan.inner > 1 else p.kernels.max_row_tiles)(k) != 0:
        return NOT_TILES
    for i in range(rows.start, rows.end):
        clear_border(plan, pixel_at(&p.x, n, c, front, i * plan.tile[H], left), k.channels, d, i,
                     columns)
    return OK


cdef int backward_block(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """Some rows and columns of one slice of y, of a block of channels."""
    cdef const PoolTilesPlan *plan = <PoolTilesPlan *> context
    cdef const Pool *p = plan.pool
    cdef Span rows, columns
    cdef fc_max_tiles k = make_call(plan)
    cdef fc_size d, c, end
    columns.start = next_index(&task, plan.column_blocks) * plan.block_columns
    columns.end = min(columns.start + plan.block_columns, p.axis[W].out)
    rows.start = next_index(&task, plan.row_blocks) * plan.block_rows
    rows.end = min(rows.start + plan.block_rows, p.axis[H].out)
    d = next_index(&task, p.axis[D].out)
    c = next_index(&task, plan.channel_blocks) * plan.block_channels
    end = min(c + plan.block_channels, p.channels)
    while c < end:
        k.channels = min(plan.inner, end - c)
        if backward_rows(plan, &k, task, c, d, rows, columns) != OK:
            return NOT_TILES
        c += plan.inner
    return OK


cdef int run_backward(const Pool *p, int num_threads) noexcept nogil:
    cdef PoolTilesPlan plan
    cdef fc_size tasks
    cdef int i
    plan.pool = p
    for i in range(AXES):
        plan.tile[i] = p.axis[i].size // p.axis[i].out
    plan.block_rows, plan.block_columns = 1, p.axis[W].out
    if along_channels(p):
        plan.inner = plan.block_channels = channels_of_row(p)
        plan.block_columns = columns_of_row(p)
    else:
        plan.inner, plan.block_channels = 1, planes_of_task(p)
        plan.block_rows = max(1, POOL_TASK_ELEMENTS
                              // (plan.tile[D] * plan.tile[H] * p.axis[W].size))
        plan.block_rows = min(plan.block_rows, p.axis[H].out)
    plan.row_blocks = ceil_div(p.axis[H].out, plan.block_rows)
    plan.column_blocks = ceil_div(p.axis[W].out, plan.block_columns)
    plan.channel_blocks = ceil_div(p.channels, plan.block_channels)
    tasks = p.batch * plan.channel_blocks * p.axis[D].out * plan.row_blocks * plan.column_blocks
    return parallel_for(backward_block, &plan, tasks, 0, work(p), num_threads)
