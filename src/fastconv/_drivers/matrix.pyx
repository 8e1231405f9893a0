"""Products of matrices: the fully connected layer and its gradients.

NumPy's BLAS would do, but its bits depend on its threads, and two pools of waiting threads (its own
and OpenMP's) stall each other.

A task computes a block of c, and brings b into panels of `nr` columns. Of four ways to do so, the
first that is usable is taken:

dots      next to no rows would share a panel: nothing is packed
in place  a few rows: b is read where it lies
short     short sums: all panels of a block are packed, then c is written row by row
blocked   everything else: one packed panel at a time
"""

from libc.string cimport memcpy, memset

from fastconv._drivers.blocking cimport (
    MATRIX_DOT_BYTES, MATRIX_DOT_ROWS, MATRIX_K, MATRIX_K_IN_PLACE, MATRIX_PANELS, MATRIX_ROWS,
    MATRIX_SHORT_K, MATRIX_SHORT_PANELS, TASKS, ceil_div, next_index, part, plain_tile, round_up)
from fastconv._drivers.kernels cimport FC_TILE_ACCUMULATE, fc_dots, fc_kernels, fc_size, fc_tile
from fastconv._drivers.runtime cimport OK, check_signals, parallel_for


ctypedef struct MatrixPlan:
    Product p
    fc_size panels
    fc_size row_blocks, col_blocks
    double work
    fc_size panel_at  # scratch: pointers to rows | packed panels


# The rows and panels of a task.
ctypedef struct MatrixBlock:
    fc_size row, rows, tiles
    fc_size panel, panels


cdef MatrixBlock find_matrix_block(const MatrixPlan *plan, fc_size task) noexcept nogil:
    cdef fc_size column = task, row = next_index(&column, plan.row_blocks)
    cdef MatrixBlock b
    b.row = part(plan.p.m, plan.row_blocks, row)
    b.rows = part(plan.p.m, plan.row_blocks, row + 1) - b.row
    b.tiles = ceil_div(b.rows, plan.p.kernels.mr)
    b.panel = part(plan.panels, plan.col_blocks, column)
    b.panels = part(plan.panels, plan.col_blocks, column + 1) - b.panel
    return b


cdef fc_size point_rows_of_a(const Product *p, const MatrixBlock *b, fc_size t, fc_size k,
                             fc_tile *tile) noexcept nogil:
    """Let tile number t of a block read its rows from term k on; the first of them."""
    cdef const void **rows = <const void **> tile.a
    cdef fc_size row = b.row + part(b.rows, b.tiles, t), i
    tile.m = <int> (b.row + part(b.rows, b.tiles, t + 1) - row)
    for i in range(tile.m):
        rows[i] = p.a + (row + i) * p.a_m + k * p.a_k
    return row


cdef fc_tile matrix_tile(const MatrixPlan *plan, char *scratch) noexcept nogil:
    cdef fc_tile tile = plain_tile(plan.p.kernels.itemsize, plan.p.kernels.nr)
    tile.a = <const void **> scratch
    tile.a_k = plan.p.a_k
    tile.c_m = plan.p.c_m
    return tile


cdef int multiply_panel(const MatrixPlan *plan, const MatrixBlock *b, fc_size panel, fc_size k,
                        fc_size terms, char *packed, fc_tile *tile) noexcept nogil:
    """Terms from k on of a block's rows and one panel, which is packed unless `packed` is NULL."""
    cdef const Product *p = &plan.p
    cdef fc_size size = p.kernels.itemsize, nr = p.kernels.nr, column = panel * nr, t, row
    cdef int status = check_signals() if k else OK
    if status != OK:
        return status
    tile.n = <int> min(nr, p.n - column)
    tile.bias = p.bias + column * size if p.bias != NULL else NULL
    tile.len = min(terms, p.k - k)
    tile.flags = FC_TILE_ACCUMULATE if k else 0
    tile.b = p.b + k * p.b_k + column * p.b_n
    if packed != NULL:
        p.kernels.copy2d(packed, nr * size, size, tile.b, p.b_k, p.b_n, tile.len, tile.n)
        tile.b = packed
    for t in range(b.tiles):
        row = point_rows_of_a(p, b, t, k, tile)
        tile.c = p.c + row * p.c_m + column * size
        p.kernels.tile(tile)
    return OK


# ---------------------------------------------------------------- dots: next to no rows

cdef inline bint dots_usable(const Product *p) noexcept nogil:
    return (p.m <= MATRIX_DOT_ROWS
            # both operands are contiguous along the sum
            and p.a_k == p.kernels.itemsize and p.b_k == p.kernels.itemsize)


cdef int dots_task(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """Some columns of c, one dot product an element."""
    cdef const MatrixPlan *plan = <const MatrixPlan *> context
    cdef const Product *p = &plan.p
    cdef fc_size size = p.kernels.itemsize, n0 = part(p.n, plan.col_blocks, task), i
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


cdef int run_dots(MatrixPlan *plan, int num_threads) noexcept nogil:
    cdef const Product *p = &plan.p
    plan.col_blocks = min(p.n, max(TASKS, p.n * p.k * p.kernels.itemsize // MATRIX_DOT_BYTES))
    return parallel_for(dots_task, plan, plan.col_blocks, 0, plan.work, num_threads)


# ---------------------------------------------------------------- in place: a few rows

cdef inline bint in_place_usable(const Product *p) noexcept nogil:
    return (p.m <= p.kernels.mr
            # b's rows are contiguous
            and p.b_n == p.kernels.itemsize)


cdef int in_place_task(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """A few rows of b are read from end to end, as memory likes it, before the next few."""
    cdef const MatrixPlan *plan = <const MatrixPlan *> context
    cdef MatrixBlock b = find_matrix_block(plan, task)
    cdef fc_tile tile = matrix_tile(plan, scratch)
    cdef fc_size pieces = max(1, ceil_div(plan.p.k, MATRIX_K_IN_PLACE)), piece, panel
    cdef int status
    tile.b_k = plan.p.b_k
    for piece in range(pieces):
        for panel in range(b.panel, b.panel + b.panels):
            status = multiply_panel(plan, &b, panel, piece * MATRIX_K_IN_PLACE, MATRIX_K_IN_PLACE,
                                    NULL, &tile)
            if status != OK:
                return status
    return OK


cdef int run_in_place(MatrixPlan *plan, int num_threads) noexcept nogil:
    plan.row_blocks = 1
    plan.col_blocks = ceil_div(plan.panels, 4 * MATRIX_PANELS)
    if plan.col_blocks < TASKS:
        plan.col_blocks = min(plan.panels, TASKS // 2)
    return parallel_for(in_place_task, plan, plan.col_blocks, plan.panel_at, plan.work, num_threads)


# ---------------------------------------------------------------- short: few terms
#
# The weight's gradient: k is the batch, c the largest array.

cdef inline bint short_usable(const Product *p) noexcept nogil:
    return (p.k <= MATRIX_SHORT_K
            # as in a gradient: the task below adds none
            and p.bias == NULL)


cdef int short_task(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """All panels of the block are packed first; then each few rows are written from end to end."""
    cdef const MatrixPlan *plan = <const MatrixPlan *> context
    cdef const Product *p = &plan.p
    cdef fc_size size = p.kernels.itemsize, nr = p.kernels.nr, panel_bytes = p.k * nr * size
    cdef MatrixBlock b = find_matrix_block(plan, task)
    cdef char *packed = scratch + plan.panel_at  # [panels][k][nr]
    cdef fc_size t, row, panel, column
    cdef fc_tile tile = matrix_tile(plan, scratch)
    tile.len = p.k
    for panel in range(b.panels):
        column = (b.panel + panel) * nr
        p.kernels.copy2d(packed + panel * panel_bytes, nr * size, size, p.b + column * p.b_n, p.b_k,
                         p.b_n, p.k, min(nr, p.n - column))
    for t in range(b.tiles):
        row = point_rows_of_a(p, &b, t, 0, &tile)
        for panel in range(b.panels):
            column = (b.panel + panel) * nr
            tile.n = <int> min(nr, p.n - column)
            tile.b = packed + panel * panel_bytes
            tile.c = p.c + row * p.c_m + column * size
            p.kernels.tile(&tile)
    return OK


cdef int run_short(MatrixPlan *plan, int num_threads) noexcept nogil:
    cdef const Product *p = &plan.p
    plan.row_blocks = max(1, ceil_div(p.m, MATRIX_ROWS))
    plan.col_blocks = ceil_div(plan.panels, MATRIX_SHORT_PANELS)
    if plan.row_blocks * plan.col_blocks < TASKS:
        plan.row_blocks = min(ceil_div(p.m, p.kernels.mr), ceil_div(TASKS, plan.col_blocks))
    cdef fc_size panel_bytes = p.k * p.kernels.nr * p.kernels.itemsize
    return parallel_for(short_task, plan, plan.row_blocks * plan.col_blocks,
                        plan.panel_at + ceil_div(plan.panels, plan.col_blocks) * panel_bytes,
                        plan.work, num_threads)


# ---------------------------------------------------------------- blocked

cdef int blocked_task(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """All terms pass, a packed panel of them at a time, before the next panel of columns."""
    cdef const MatrixPlan *plan = <const MatrixPlan *> context
    cdef MatrixBlock b = find_matrix_block(plan, task)
    cdef fc_tile tile = matrix_tile(plan, scratch)
    cdef fc_size pieces = max(1, ceil_div(plan.p.k, MATRIX_K)), piece, panel
    cdef int status
    for panel in range(b.panel, b.panel + b.panels):
        for piece in range(pieces):
            status = multiply_panel(plan, &b, panel, piece * MATRIX_K, MATRIX_K,
                                    scratch + plan.panel_at, &tile)
            if status != OK:
                return status
    return OK


cdef int run_blocked(MatrixPlan *plan, int num_threads) noexcept nogil:
    cdef const Product *p = &plan.p
    plan.row_blocks = max(1, ceil_div(p.m, MATRIX_ROWS))
    plan.col_blocks = ceil_div(plan.panels, MATRIX_PANELS)
    if plan.row_blocks * plan.col_blocks < TASKS:
        plan.col_blocks = min(plan.panels, ceil_div(TASKS, plan.row_blocks))
    return parallel_for(blocked_task, plan, plan.row_blocks * plan.col_blocks,
                        plan.panel_at + MATRIX_K * p.kernels.nr * p.kernels.itemsize, plan.work,
                        num_threads)


cdef int run_product(const Product *product, int num_threads) noexcept nogil:
    cdef MatrixPlan plan
    cdef const Product *p = &plan.p
    plan.p = product[0]
    plan.panels = ceil_div(p.n, p.kernels.nr)
    plan.panel_at = round_up(p.kernels.mr * sizeof(void *))
    plan.work = <double> p.m * p.n * p.k / 20 + <double> p.n * p.k / 4
    if dots_usable(p):
        return run_dots(&plan, num_threads)
    if in_place_usable(p):
        return run_in_place(&plan, num_threads)
    if short_usable(p):
        return run_short(&plan, num_threads)
    return run_blocked(&plan, num_threads)


cdef void add_rows(const fc_kernels *kernels, const char *a, fc_size a_m, fc_size m, fc_size n,
                   char *sum) noexcept nogil:
    kernels.add_fold(sum, a, a_m, n, m, True)
