# How strategies that go row by row share out their work.
from fastconv._drivers.kernels cimport fc_size
from fastconv._drivers.pool cimport Pool, Strided
from fastconv._drivers.pool_common cimport Span

# A row is [width][inner]: with contiguous channels inner is all of them (or a block, where even a
# few pixels are long), otherwise each channel is a plane of its own and inner is 1.
ctypedef struct RowBlocks:
    fc_size inner
    fc_size task_channels, channel_blocks
    fc_size slices, rows, columns  # what is shared out: of outputs or of inputs
    fc_size block_slices, slice_blocks
    fc_size block_rows, row_blocks
    fc_size block_columns, column_blocks

# A task: some slices, rows and columns. Channels [c, c + channels) are those of one row; c goes on
# by `inner` to c_end.
ctypedef struct RowBlock:
    fc_size n, c, channels, c_end
    Span slices, rows, columns

# With columns in blocks where a row with its channels is long.
cdef RowBlocks share_rows(const Pool *p, fc_size slices, fc_size rows,
                          fc_size columns) noexcept nogil
# Whether so much scratch memory is too much, and blocks have half the columns now.
cdef bint halve_columns(RowBlocks *b, const Pool *p, fc_size scratch_bytes) noexcept nogil
cdef fc_size number_of_tasks(const RowBlocks *b, const Pool *p) noexcept nogil
cdef RowBlock find_block(const RowBlocks *b, const Pool *p, fc_size task) noexcept nogil
# Whether rows of an array are [width][inner] already, and need no copy.
cdef bint lies_in_rows(const RowBlocks *b, const Pool *p, const Strided *a,
                       fc_size itemsize) noexcept nogil
