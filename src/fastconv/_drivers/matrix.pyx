"""Products of matrices: the fully connected layer and its gradients.

NumPy's BLAS would do, but its bits depend on its threads, and two pools of waiting threads (its own
and OpenMP's) stall each other.
"""

from libc.string cimport memcpy, memset

from fastconv._drivers.blocking cimport TASKS, ceil_div, part, round_up
from fastconv._drivers.kernels cimport (
    FC_TILE_ACCUMULATE, fc_dots, fc_kernels, fc_size, fc_tile)
from fastconv._drivers.runtime cimport OK, check_signals, parallel_for


cdef enum:
    ROWS_IN_PLACE = 16
    SHORT = 64        # k of a short sum
    SHORT_PANELS = 32
    DEPTH = 256       # of k at a time: a packed panel of b, [DEPTH][nr], stays in L1
    BLOCK_ROWS = 112
    BLOCK_PANELS = 4
    DOT_ROWS = 3      # up to so many rows of a, nothing is packed
    DOT_BYTES = 128 * 1024

ctypedef struct Plan:
    Product p
    fc_size panels
    fc_size row_blocks, col_blocks
    bint in_place      # b's rows are contiguous, and too few rows of a pass to repay a copy
    fc_size panel_at


cdef int product_block(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef Plan *plan = <Plan *> context
    cdef Product *p = &plan.p
    cdef fc_size size = p.kernels.itemsize, nr = p.kernels.nr, mr = p.kernels.mr
    cdef fc_size rb = task % plan.row_blocks, cb = task // plan.row_blocks
    cdef fc_size m0 = part(p.m, plan.row_blocks, rb), m1 = part(p.m, plan.row_blocks, rb + 1)
    cdef fc_size panel, last = part(plan.panels, plan.col_blocks, cb + 1)
    cdef fc_size tiles = ceil_div(m1 - m0, mr), t, i, row, n0, k0
    cdef const void **rows = <const void **> scratch
    cdef char *packed = scratch + plan.panel_at  # [DEPTH][nr]
    cdef fc_tile tile
    cdef int status
    tile.a_prefetch = tile.b_prefetch = tile.c_prefetch = 0
    tile.a = rows
    tile.a_k = p.a_k
    tile.b_at = NULL
    tile.b_k = p.b_k if plan.in_place else nr * size
    tile.b_segment = 0
    tile.segments = 1
    tile.c_m = p.c_m
    cdef fc_size first = part(plan.panels, plan.col_blocks, cb), pieces, piece, depth
    # With a panel packed, all of k passes before the next panel. In place, a few rows of b are read
    # from end to end, as memory likes it, before the next few.
    depth = ROWS_IN_PLACE if plan.in_place else DEPTH
    pieces = max(1, ceil_div(p.k, depth))
    for piece in range(pieces * (last - first)):
        panel = first + (piece % (last - first) if plan.in_place else piece // pieces)
        k0 = (piece // (last - first) if plan.in_place else piece % pieces) * depth
        if k0:
            status = check_signals()
            if status != OK:
                return status
        n0 = panel * nr
        tile.n = <int> min(nr, p.n - n0)
        tile.bias = NULL
        if p.bias != NULL:
            tile.bias = p.bias + n0 * size
        tile.len = min(depth, p.k - k0)
        tile.b = p.b + k0 * p.b_k + n0 * p.b_n
        if not plan.in_place:
            p.kernels.copy2d(packed, nr * size, size, tile.b, p.b_k, p.b_n, tile.len, tile.n)
            tile.b = packed
        tile.flags = FC_TILE_ACCUMULATE if k0 else 0
        for t in range(tiles):
            row = m0 + part(m1 - m0, tiles, t)
            tile.m = <int> (m0 + part(m1 - m0, tiles, t + 1) - row)
            for i in range(tile.m):
                rows[i] = p.a + (row + i) * p.a_m + k0 * p.a_k
            tile.c = p.c + row * p.c_m + n0 * size
            p.kernels.tile(&tile)
    return OK


# ---------------------------------------------------------------- few rows against rows
#
# With both operands contiguous along k and next to nothing to share a packed panel, dot products.

cdef int dot_block(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """Some columns of c, one dot product an element."""
    cdef Plan *plan = <Plan *> context
    cdef Product *p = &plan.p
    cdef fc_size size = p.kernels.itemsize, i
    cdef fc_size n0 = part(p.n, plan.col_blocks, task)
    cdef fc_dots dots
    dots.n = part(p.n, plan.col_blocks, task + 1) - n0
    dots.k = p.k
    dots.b = p.b + n0 * p.b_n
    dots.b_n = p.b_n
    for i in range(p.m):
        dots.a = p.a + i * p.a_m
        dots.c = p.c + i * p.c_m + n0 * size
        if p.bias == NULL:
            memset(dots.c, 0, dots.n * size)
        else:
            memcpy(dots.c, p.bias + n0 * size, dots.n * size)
        p.kernels.dots(&dots)
    return OK


# ---------------------------------------------------------------- short sums
#
# The weight's gradient: k is the batch, c the largest array. All panels of a block are packed
# first; then each few rows of c are written from end to end.

cdef int short_block(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef Plan *plan = <Plan *> context
    cdef Product *p = &plan.p
    cdef fc_size size = p.kernels.itemsize, nr = p.kernels.nr, mr = p.kernels.mr
    cdef fc_size rb = task % plan.row_blocks, cb = task // plan.row_blocks
    cdef fc_size m0 = part(p.m, plan.row_blocks, rb), m1 = part(p.m, plan.row_blocks, rb + 1)
    cdef fc_size first = part(plan.panels, plan.col_blocks, cb)
    cdef fc_size last = part(plan.panels, plan.col_blocks, cb + 1)
    cdef fc_size tiles = ceil_div(m1 - m0, mr), t, i, row, panel
    cdef const void **rows = <const void **> scratch
    cdef char *packed = scratch + plan.panel_at  # [panels][k][nr]
    cdef fc_tile tile
    tile.a_prefetch = tile.b_prefetch = tile.c_prefetch = 0
    tile.a = rows
    tile.a_k = p.a_k
    tile.b_at = NULL
    tile.b_k = nr * size
    tile.b_segment = 0
    tile.segments = 1
    tile.len = p.k
    tile.c_m = p.c_m
    tile.bias = NULL
    tile.flags = 0
    for panel in range(first, last):
        p.kernels.copy2d(packed + (panel - first) * p.k * nr * size, nr * size, size,
                         p.b + panel * nr * p.b_n, p.b_k, p.b_n, p.k, min(nr, p.n - panel * nr))
    for t in range(tiles):
        row = m0 + part(m1 - m0, tiles, t)
        tile.m = <int> (m0 + part(m1 - m0, tiles, t + 1) - row)
        for i in range(tile.m):
            rows[i] = p.a + (row + i) * p.a_m
        for panel in range(first, last):
            tile.n = <int> min(nr, p.n - panel * nr)
            tile.b = packed + (panel - first) * p.k * nr * size
            tile.c = p.c + row * p.c_m + panel * nr * size
            p.kernels.tile(&tile)
    return OK


cdef int multiply(const Product *product, int num_threads) noexcept nogil:
    cdef Plan plan
    cdef Product *p = &plan.p
    p[0] = product[0]
    cdef fc_size size = p.kernels.itemsize, nr = p.kernels.nr
    cdef double amount = <double> p.m * p.n * p.k / 20 + <double> p.n * p.k / 4
    if p.m <= DOT_ROWS and p.a_k == size and p.b_k == size:
        plan.col_blocks = min(p.n, max(TASKS, p.n * p.k * size // DOT_BYTES))
        return parallel_for(dot_block, &plan, plan.col_blocks, 0, amount, num_threads)
    plan.panels = ceil_div(p.n, nr)
    plan.col_blocks = ceil_div(plan.panels, BLOCK_PANELS)
    plan.row_blocks = max(1, ceil_div(p.m, BLOCK_ROWS))
    plan.in_place = p.b_n == size and p.m <= p.kernels.mr
    if plan.in_place:
        plan.col_blocks = ceil_div(plan.panels, 4 * BLOCK_PANELS)
    if plan.row_blocks * plan.col_blocks < TASKS:
        plan.col_blocks = min(plan.panels, ceil_div(TASKS // (2 if plan.in_place else 1),
                                                    plan.row_blocks))
    plan.panel_at = round_up(p.kernels.mr * sizeof(void *))
    if p.k <= SHORT and p.bias == NULL and not plan.in_place:
        plan.col_blocks = ceil_div(plan.panels, SHORT_PANELS)
        if plan.row_blocks * plan.col_blocks < TASKS:
            plan.row_blocks = min(ceil_div(p.m, p.kernels.mr), ceil_div(TASKS, plan.col_blocks))
        return parallel_for(short_block, &plan, plan.row_blocks * plan.col_blocks,
                            plan.panel_at
                            + ceil_div(plan.panels, plan.col_blocks) * p.k * nr * size,
                            amount, num_threads)
    return parallel_for(product_block, &plan, plan.row_blocks * plan.col_blocks,
                        plan.panel_at + (0 if plan.in_place else DEPTH * nr * size), amount,
                        num_threads)


cdef void column_sums(const fc_kernels *kernels, const char *a, fc_size a_m, fc_size m, fc_size n,
                      char *sum) noexcept nogil:
    kernels.add_fold(sum, a, a_m, n, m, True)
