# How work is cut up: cache sizes, the number of tasks, and the arithmetic of parts.
#
# Every block size of the drivers stands here, so that a machine with other caches needs one file.
# Shapes and these numbers alone decide how work is cut, never the number of threads: that is what
# gives the same bits for any number of them.
from fastconv._drivers.kernels cimport fc_size, fc_tile

cdef enum:
    LINE = 64             # bytes of a cache line
    L2 = 1024 * 1024      # of one core
    L3_SHARE = 16 * 1024 * 1024  # of the last-level cache, that one call may count on
    # Enough tasks to share out evenly among a few threads.
    TASKS = 16

cdef inline fc_size ceil_div(fc_size a, fc_size b) noexcept nogil:
    return (a + b - 1) // b

cdef inline fc_size part(fc_size total, fc_size parts, fc_size i) noexcept nogil:
    # where part i starts when `total` is cut into `parts` as evenly as can be
    return (total // parts) * i + min(i, total % parts)

cdef inline fc_size round_up(fc_size nbytes) noexcept nogil:
    # to whole cache lines
    return (nbytes + LINE - 1) // LINE * LINE

cdef inline fc_size next_index(fc_size *rest, fc_size count) noexcept nogil:
    # A task's number is a mixed-radix number of its block's indices. This takes the last digit off:
    # called for each index from the innermost out, with how many there are.
    cdef fc_size i = rest[0] % count
    rest[0] = rest[0] // count
    return i

cdef inline fc_tile plain_tile(fc_size itemsize, fc_size nr) noexcept nogil:
    # One run of contiguous elements a row, against packed columns, [len][nr]; without bias,
    # prefetch or flags. The caller adds a, b, c, m, n and len.
    cdef fc_tile t
    t.a_k = itemsize
    t.b_k = nr * itemsize
    t.b_at = NULL
    t.b_segment = 0
    t.segments = 1
    t.bias = NULL
    t.flags = 0
    t.a_prefetch = t.b_prefetch = t.c_prefetch = 0
    return t

# ---- pooling

cdef enum:
    # Of a row with all its channels; beyond, they are taken in blocks. The row stays in cache with
    # those that are folded into it and a row of outputs.
    POOL_ROW_BYTES = L2 // 4
    # Scratch memory of a task that goes row by row; beyond, rows are taken in blocks of columns.
    POOL_MAX_ROWS_BYTES = 4 * L2
    # Elements of the small planes that a task takes together.
    POOL_TASK_ELEMENTS = 16384
    # Of adaptive windows that come out even and slide side by side; longer ones are faster one at a
    # time.
    POOL_MAX_EVEN_TAPS = 8
    # A task that goes window by window has several vectors of channels.
    POOL_MIN_CHANNELS = 64
    # Rows of planes to convert to channels last at a time, if that is more than one of windows: a
    # level-1 cache. And scratch memory of such a task; beyond, rows are as fast as they lie.
    POOL_STAGED_BYTES = L2 // 32
    POOL_MAX_STAGED_BYTES = 3 * (L2 // 32)
    # A task that scatters into channels-last images owns the planes of these.
    POOL_SCATTER_CHANNELS = 64
