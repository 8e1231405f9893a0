# How work is cut up: cache sizes, the number of tasks, and the arithmetic of parts.
#
# Every block size of the drivers stands here, so that a machine with other caches needs one file.
# Shapes and these numbers alone decide how work is cut, never the number of threads: that is what
# gives the same bits for any number of them.
from fastconv._drivers.kernels cimport fc_size, fc_tile

cdef enum:
    LINE = 64             # bytes of a cache line
    L1 = 32 * 1024        # of one core
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
    # prefetch or flags. The caller adds a, b, c, c_m, m, n and len.
    cdef fc_tile t
    t.a = NULL
    t.b = t.c = NULL
    t.c_m = t.len = 0
    t.m = t.n = 0
    t.a_k = itemsize
    t.b_k = nr * itemsize
    t.b_at = NULL
    t.b_segment = 0
    t.segments = 1
    t.bias = NULL
    t.flags = 0
    t.a_prefetch = t.b_prefetch = t.c_prefetch = 0
    return t


# ---- direct
#
# A block's piece of the image should stay in half of L2 while every panel of filters passes over
# it, and a block should have pixels enough to pay for streaming those panels.

cdef enum:
    DIRECT_MAX_PIXELS = 256         # of a block
    DIRECT_MIN_PIXELS = 56
    DIRECT_BLOCK_BYTES = L2 // 4    # of a block's pixels with all their channels
    DIRECT_WINDOW_BYTES = L2 // 2   # of the image under a block
    DIRECT_GATHER_BYTES = L2 // 2   # of pixels copied tap by tap
    DIRECT_POINTER_BYTES = L2 // 8  # of pointers to them
    DIRECT_PANEL_BYTES = 2 * L2     # of filters that one task takes over all blocks
    # Panels from this size on come from afar, and the processor does not fetch beyond a page.
    DIRECT_FAR_PANEL = L1 // 2
    DIRECT_PREFETCH = 8192
    MAX_TILE_ROWS = 16              # of the register tile, with any instruction set


# ---- pointwise

cdef enum:
    POINTWISE_MAX_PANELS = 16        # of pixels in a task
    POINTWISE_BLOCK_BYTES = L2 // 4  # of those panels
    POINTWISE_PANEL_BYTES = L2       # of one: more channels are taken some at a time
    POINTWISE_FILTERS = 64           # of a task that transposes filters


# ---- few_filters

cdef enum:
    FEW_FILTERS_BLOCK_BYTES = L2 // 4     # of the input under a block of rows
    FEW_FILTERS_MAX_BYTES = L2            # of that under one row, and of results
    FEW_FILTERS_HELD_BYTES = L1 // 4 * 3  # of results, which are stored from L1
    FEW_FILTERS_MAX_TAPS = 1024


# ---- matrix

cdef enum:
    MATRIX_K = 256             # terms at a time: a packed panel of b, [MATRIX_K][nr], stays in L1
    MATRIX_K_IN_PLACE = 16     # where b is read where it lies
    MATRIX_ROWS = 112          # of a block of c
    MATRIX_PANELS = 4
    MATRIX_SHORT_K = 64        # of a short sum
    MATRIX_SHORT_PANELS = 32
    MATRIX_DOT_ROWS = 3        # of a: with no more of them, nothing is packed
    MATRIX_DOT_BYTES = L2 // 8  # of b in a task


# ---- sums

cdef enum:
    SUMS_PLANES = 16       # of a task
    SUMS_ELEMENTS = 32768  # of a task that sums pixels


# ---- norm

cdef enum:
    NORM_LINES = 64        # of a chunk, where lines cross the channels
    NORM_CHUNK = 4096      # elements of a chunk, where they do not
    NORM_SEGMENT = 65536   # elements of a task that sums
    NORM_MAP = 16384       # elements of a task that maps
    # Bytes of a channel that one task reads twice: most of L2. Of several channels, half of that.
    NORM_CACHED_BYTES = L2 // 1024 * 900


# ---- elementwise, loss, update: arrays seen as flat

cdef enum:
    CHUNK = 16384  # elements of a task: an L1 or two, and some microseconds of work
    # Positions of a softmax or cross-entropy task come in multiples of this, as every kernel likes.
    CHUNK_POSITIONS = 128
    CHUNK_ROWS = 16  # likewise rows whose layout a task converts: a vector or several

cdef inline fc_size chunks_of(fc_size n) noexcept nogil:
    return ceil_div(n, CHUNK)

cdef inline fc_size chunk_size(fc_size n, fc_size chunk) noexcept nogil:
    # of a chunk of n elements; it starts at element chunk * CHUNK
    return min(<fc_size> CHUNK, n - chunk * CHUNK)
