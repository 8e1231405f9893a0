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
    DIRECT_ALIAS = 4096             # rows of a tile that lie so far apart meet in one set of L1
    DIRECT_GATHER_BYTES = L2 // 2   # of pixels copied tap by tap
    DIRECT_POINTER_BYTES = L2 // 8  # of pointers to them
    DIRECT_PANEL_BYTES = 2 * L2     # of filters that one task takes over all blocks
    # Panels from this size on come from afar, and the processor does not fetch beyond a page.
    DIRECT_FAR_PANEL = L1 // 2
    DIRECT_PREFETCH = 8192
    DIRECT_SHORT_FILTERS = 2 * L1   # of all filters, which stay in cache while pixels pass
    DIRECT_SHORT_PIXEL = 4 * LINE   # of a pixel that such filters read in place
    DIRECT_SHORT_SUM = 256  # storing a tile of no more terms takes a good share of its time
    DIRECT_MAX_SLOTS = 128          # taps of a weight that is packed for all phases at once
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
    FEW_FILTERS_MIN_PANELS = 4            # of pixels in a part of a row


# ---- phases

cdef enum:
    # In multiply-adds of a vector, by two vectors of lanes: opening a parallel loop and packing,
    # and putting one weight in order.
    PHASES_CALL_COST = 250_000
    PHASES_ORDER_COST = 100
    PHASES_MAX_PERCENT = 80  # of the time that all phases take one by one


# ---- planes

cdef enum:
    PLANES_BLOCK_BYTES = L2 // 4   # of the input under a block of outputs
    PLANES_TAP_ROWS = 64           # of a class of taps, that one block of the input is copied for
    PLANES_TAP_COLS = 256
    PLANES_MIN_ROWS = 12           # of a block that may be cut in two
    PLANES_MIN_COLS = 4            # vectors of one
    PLANES_MAX_FILTERS = 3         # of a group
    PLANES_FOLD_TAPS = 20          # with fewer, folding costs more than rows that share nothing
    PLANES_WEIGHT_FOLD_TAPS = 50   # the same of the weight gradient, where both operands are folded
    PLANES_MIN_FOLD = 8            # columns below each other
    PLANES_WEIGHT_SLOTS = TASKS    # of the weight gradient, over all groups


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


# ---- pad

cdef enum:
    PAD_TASK_BYTES = 64 * 1024  # of a task's inputs or outputs


# ---- winograd, winograd_weight, and what they share

cdef enum:
    WINOGRAD_RUN = 16            # tiles of an image's row that are transformed together
    WINOGRAD_LINE_RUN = 64       # likewise of tiles that are one pixel wide
    # What is summed at the points: taps of the depth over planes, or over lines or segments of one
    WINOGRAD_MAX_DEPTH_TAPS = 7
    WINOGRAD_MAX_LINE_TAPS = 16
    WINOGRAD_MAX_DILATION = 1 << 30
    WINOGRAD_SHARE_VECTORS = 4   # of channels that a task transforms to shared points
    WINOGRAD_PACK_CHANNELS = 64  # of filters, or of their gradient, transformed together
    # A task's tiles: enough to pay for bringing every panel of filters, and few enough that their
    # points and one panel's sums stay in L2 while the panels pass.
    WINOGRAD_BLOCK_TILES = 28
    WINOGRAD_LINE_BLOCK_TILES = 112
    WINOGRAD_BLOCK_BYTES = L2
    # Where points are shared, a task's panel stays and tiles pass, so many at a time; it transforms
    # its panel in pieces where a filter has more bytes of channels than this.
    WINOGRAD_PANEL_TILES = 112
    WINOGRAD_PANEL_CHANNEL_BYTES = 2048
    # Sums of so many channels are added up apart, which rounds less than one long sum.
    WINOGRAD_SUM_CHANNELS = 128
    # Shared points stay in the last-level cache, as do filters' points up to some size.
    WINOGRAD_SHARED_BYTES = L3_SHARE // 2
    WINOGRAD_FILTERS_BYTES = L3_SHARE
    # Outputs that the last-level cache could not keep are written past it.
    WINOGRAD_STREAM_BYTES = 2 * L3_SHARE
    # Bytes of filters from what is read to what is prefetched: beyond the page, where the processor
    # stops by itself.
    WINOGRAD_PREFETCH = 8192
    # The weight gradient's sums, of so many channels and so many filters, stay in the last-level
    # cache; a task adds to those of one point and some panels of filters.
    WINOGRAD_WEIGHT_CHANNELS = 256
    WINOGRAD_WEIGHT_PANELS = 4
    WINOGRAD_WEIGHT_POINT_BYTES = L2 // 2  # of both operands, at one point of a chunk
    # Of lines, a task owns so many channels and as many filters at all points, or fewer where sums
    # outgrew L2; the points of both operands that it keeps are so many bytes.
    WINOGRAD_WEIGHT_BLOCK = 128
    WINOGRAD_WEIGHT_MIN_BLOCK = 64
    WINOGRAD_WEIGHT_BLOCK_BYTES = L2 // 4 * 3


# ---- weight

cdef enum:
    # Channels and filters of a block, whose sums, of all its taps, stay in half of L2.
    WEIGHT_BLOCK = 64
    WEIGHT_POINTWISE_BLOCK = 256     # of 1x1
    WEIGHT_MANY_TAPS_BLOCK = 32      # with more taps than WEIGHT_MANY_TAPS
    WEIGHT_MIN_BLOCK = 32
    WEIGHT_MANY_TAPS = 32
    WEIGHT_MAX_TAPS = 64             # of a block
    WEIGHT_SUMS_BYTES = L2 // 2
    # A piece is what passes between two loads of the sums: outputs, bytes of both operands, and
    # bytes of the input where that is copied.
    WEIGHT_PIECE_PIXELS = 448
    WEIGHT_MIN_PIXELS = 112
    WEIGHT_PIECE_BYTES = L2 // 16 * 5
    WEIGHT_WINDOW_BYTES = L2 // 4
    # The input is not copied where that is more pixels than so many for each output, plus a few.
    WEIGHT_MAX_WASTE = 16
    WEIGHT_SMALL_WASTE = 256
    # With fewer input channels than this, those of a row of taps are one run.
    WEIGHT_FEW_CHANNELS = 8
    # What lies a multiple of this apart meets in few sets of a cache, and is copied: pixels, and by
    # the second planes, and pixels that several taps read.
    WEIGHT_PIXEL_ALIAS = 8192
    WEIGHT_ALIAS = 4096
    # Multiply-adds that are worth a task, some 25 microseconds, and pixels that are worth a slot.
    WEIGHT_TASK_PRODUCTS = 3_000_000
    WEIGHT_SLOT_PIXELS = 1536
    WEIGHT_POINTWISE_SLOT_PIXELS = 768


# ---- grouped

cdef enum:
    GROUPED_MAX_CHANNELS = 16          # of a group
    GROUPED_IN_PLACE_BYTES = L2 // 4   # of a task's outputs, which stay in L2 with its input
    GROUPED_STAGED_BYTES = L2 // 8     # of what a task copies to the kernels' layout
    GROUPED_MAX_STAGED_BYTES = 2 * L2  # of that for one row
    GROUPED_MIN_ROWS = 8               # of a task that may be cut in two for the sake of more tasks
    # The weight gradient: channels of a task that reads in place, outputs of one of its pieces.
    GROUPED_WEIGHT_CHANNELS = 128
    GROUPED_WEIGHT_PIXELS = 1024
    # Pixels of wide groups that lie a multiple of this apart meet in few sets of a cache.
    GROUPED_ALIAS = 2048

# ---- pooling

cdef enum:
    # Of a row with all its channels; beyond, its columns are taken in blocks, and then, of at least
    # so many columns, channels. The row stays in cache with those that are folded into it and a row
    # of outputs.
    POOL_ROW_BYTES = L2 // 4
    POOL_MIN_COLUMNS = 8
    # Scratch memory of a task that goes row by row; beyond, rows are taken in blocks of columns.
    POOL_MAX_ROWS_BYTES = 4 * L2
    # Elements of the small planes that a task takes together.
    POOL_TASK_ELEMENTS = 32768
    # Of adaptive windows that come out even and slide side by side; longer ones are faster one at a
    # time.
    POOL_MAX_EVEN_TAPS = 8
    # Of a window that is read tap by tap; with more, rows that windows share are better folded
    # once.
    POOL_MAX_FEW_TAPS = 4
    # A task that goes window by window has several vectors of channels.
    POOL_MIN_CHANNELS = 64
    # Rows of planes to convert to channels last at a time, if that is more than one of windows: a
    # level-1 cache. And scratch memory of such a task; beyond, rows are as fast as they lie.
    POOL_STAGED_BYTES = L2 // 32
    POOL_MAX_STAGED_BYTES = 3 * (L2 // 32)
    # Pixels of a tile, where the gradient of maxima goes tile by tile along rows.
    POOL_MAX_ROW_TILE = 8
    # Taps along a row whose averages' gradient is put together in vectors of columns.
    POOL_MAX_SPREAD_TAPS = 64
    # A task that scatters into channels-last images owns the planes of these, at most.
    POOL_SCATTER_CHANNELS = 512
    # Small planes that are cleared together and stay in cache until they are scattered to.
    POOL_SCATTER_BYTES = L1 // 4 * 3
