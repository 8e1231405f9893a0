"""How strategies that go row by row share out their work: images, channels, columns, slices,
rows.
"""

from fastconv._drivers.axis cimport W
from fastconv._drivers.blocking cimport (
    POOL_MAX_ROWS_BYTES, POOL_MIN_COLUMNS, POOL_ROW_BYTES, TASKS, ceil_div, next_index)
from fastconv._drivers.kernels cimport fc_size
from fastconv._drivers.pool cimport Pool, Strided
from fastconv._drivers.pool_common cimport Span, planes_of_task


cdef void cut_rows(RowBlocks *b, const Pool *p) noexcept nogil:
    """Enough tasks, together with blocks of channels and columns."""
    cdef fc_size wanted = ceil_div(TASKS, max(1, p.batch * b.channel_blocks * b.column_blocks))
    b.block_slices = ceil_div(b.slices, max(1, min(b.slices, wanted)))
    b.slice_blocks = ceil_div(b.slices, b.block_slices)
    b.row_blocks = max(1, min(b.rows, ceil_div(wanted, b.slice_blocks)))
    b.block_rows = ceil_div(b.rows, b.row_blocks)
    b.row_blocks = ceil_div(b.rows, b.block_rows)


cdef RowBlocks share_rows(const Pool *p, fc_size slices, fc_size rows,
                          fc_size columns) noexcept nogil:
    cdef RowBlocks b
    cdef fc_size size = p.kernels.itemsize, width = max(p.axis[W].size, p.axis[W].out)
    b.inner, b.block_columns = 1, columns
    if p.x.stride_c == size and p.channels > 1:
        b.inner = max(1, min(p.channels, POOL_ROW_BYTES // (POOL_MIN_COLUMNS * size)))
        # a row that is too long is cut, rather than its pixels, whose channels lie together
        b.block_columns = max(POOL_MIN_COLUMNS, POOL_ROW_BYTES // (b.inner * size))
        b.block_columns = columns if width <= b.block_columns else min(
            columns, ceil_div(columns, ceil_div(width, b.block_columns)))
    b.task_channels = b.inner if b.inner > 1 else planes_of_task(p)
    b.channel_blocks = ceil_div(p.channels, b.task_channels)
    b.slices, b.rows, b.columns = slices, rows, columns
    b.column_blocks = ceil_div(columns, b.block_columns)
    cut_rows(&b, p)
    return b


cdef bint halve_columns(RowBlocks *b, const Pool *p, fc_size scratch_bytes) noexcept nogil:
    if scratch_bytes <= POOL_MAX_ROWS_BYTES or b.block_columns == 1:
        return False
    b.block_columns = ceil_div(b.block_columns, 2)
    b.column_blocks = ceil_div(b.columns, b.block_columns)
    cut_rows(b, p)
    return True


cdef fc_size number_of_tasks(const RowBlocks *b, const Pool *p) noexcept nogil:
    return p.batch * b.channel_blocks * b.column_blocks * b.slice_blocks * b.row_blocks


cdef Span take_block(fc_size *rest, fc_size blocks, fc_size block, fc_size total) noexcept nogil:
    cdef Span span
    span.start = next_index(rest, blocks) * block
    span.end = min(span.start + block, total)
    return span


cdef RowBlock find_block(const RowBlocks *b, const Pool *p, fc_size task) noexcept nogil:
    cdef RowBlock found
    cdef Span channels
    found.rows = take_block(&task, b.row_blocks, b.block_rows, b.rows)
    found.slices = take_block(&task, b.slice_blocks, b.block_slices, b.slices)
    found.columns = take_block(&task, b.column_blocks, b.block_columns, b.columns)
    channels = take_block(&task, b.channel_blocks, b.task_channels, p.channels)
    found.n, found.c, found.c_end = task, channels.start, channels.end
    found.channels = min(b.inner, channels.end - channels.start)
    return found


cdef bint lies_in_rows(const RowBlocks *b, const Pool *p, const Strided *a,
                       fc_size itemsize) noexcept nogil:
    if b.inner == 1:
        return a.stride[W] == itemsize
    return (b.inner == p.channels and a.stride_c == itemsize
            and a.stride[W] == b.inner * itemsize)
