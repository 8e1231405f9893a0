"""The weight gradient of planes: pixels along the vectors, rows and columns of taps in registers.

It reads the input in the layout of planes.pyx. A tile's sums are those of FC_PLANES_ROWS rows of
taps: an input row, which is loaded once for all of them, meets as many rows of the output's
gradient. Where columns are folded, rows of the fold take the place of rows, and each
FC_PLANES_ROWS-th tap that of columns of taps.

A task sums some groups' filters over a slot's share of the blocks of outputs; slots are added in
order.
"""

from libc.string cimport memset

from fastconv._drivers.axis cimport D, H, W
from fastconv._drivers.blocking cimport (
    PLANES_WEIGHT_FOLD_TAPS, PLANES_WEIGHT_SLOTS, ceil_div, next_index, part, round_up)
from fastconv._drivers.correlation cimport Correlation, taps_of, work
from fastconv._drivers.depthwise_costs cimport fills_vectors
from fastconv._drivers.kernels cimport (
    FC_PLANES_ROWS, fc_planes_grad, fc_planes_grad_run, fc_size)
from fastconv._drivers.memory cimport allocate, release
from fastconv._drivers.planes cimport (
    Layout, Part, PlanesPlan, class_taps, depth_taps, lay_out, plan_planes, stage)
from fastconv._drivers.runtime cimport OK, OUT_OF_MEMORY, check_signals, parallel_for


ctypedef struct WeightPlan:
    PlanesPlan planes
    char *slots               # [slots][groups][filters][channels][depth taps][taps_h][taps_w]
    fc_size slot_count, slot_bytes
    fc_size blocks            # of outputs, of all images
    fc_size grad_line         # bytes of a staged row of the gradient, or of a fold's
    # scratch: runs | a row before it is folded | input | gradient | sums of a tile
    fc_size grad_at, sums_at, scratch_bytes


# What a tile's products are made of: a block of outputs, folded or not, some taps of each class.
ctypedef struct WeightBlock:
    fc_size n, depth, g0, groups
    Part rows, cols
    fc_size channel0, channels, slice0, slices
    const char *grad
    fc_size grad_row, grad_k  # from row to row, from filter to filter


cdef fc_size list_rows(const PlanesPlan *p, const WeightBlock *b, const Layout *layout,
                       fc_size first, fc_size tile, fc_planes_grad_run *runs) noexcept nogil:
    """The input rows that `tile` rows of taps read, the first of which is `first`."""
    cdef bint folded = p.fold > 0
    cdef fc_size apart = p.w.apart if folded else p.h.apart, fold = p.fold // apart
    cdef fc_size x_row = layout.line // p.fold if folded else layout.row
    cdef fc_size i, o, q, outs, n = 0
    for i in range(b.rows.outs if folded else 1):
        for o in range(apart):
            outs = fold if folded else (b.rows.outs - o + apart - 1) // apart
            for q in range(outs + tile - 1 if outs > 0 else 0):
                runs[n].lo = <int> max(0, q - outs + 1)
                runs[n].hi = <int> min(q, tile - 1)
                runs[n].dy = (i * p.fold + o + q * apart) * b.grad_row
                if folded:
                    runs[n].x = (i * layout.row + (o + (q + first) % fold * apart) * x_row
                                 + (q + first) // fold * p.c.kernels.itemsize)
                else:
                    runs[n].x = (o + (q + first) * apart) * x_row
                n += 1
    return n


cdef void add_sums(const PlanesPlan *p, const WeightBlock *b, fc_size r, fc_size t, fc_size first,
                   fc_size tile, fc_size columns, const char *sums, char *dw) noexcept nogil:
    """A tile's sums, [columns][FC_PLANES_ROWS], to [taps_h][taps_w] of a filter's channel."""
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, taps_w = c.axis[W].taps, fold, z, a, h, w
    fold = p.fold // p.w.apart if p.fold else 1
    for z in range(columns):
        for a in range(tile):
            if p.fold:
                h = r
                w = t + (b.cols.tap0 + z * fold + first + a) * p.w.period
                if z * fold + first + a >= b.cols.taps:
                    continue
            else:
                h = r + (b.rows.tap0 + first + a) * p.h.period
                w = t + (b.cols.tap0 + z) * p.w.period
            if h < c.axis[H].taps and w < taps_w:
                # one element, whatever its type
                c.kernels.add_fold(dw + (h * taps_w + w) * size,
                                   sums + (z * FC_PLANES_ROWS + a) * size, 0, 1, 1, False)


cdef void add_class(const PlanesPlan *p, const WeightBlock *b, const Layout *layout, fc_size r,
                    fc_size t, fc_size first, fc_size tile, fc_size columns, const char *piece,
                    fc_planes_grad *g, char *dw) noexcept nogil:
    """Rows first .. first + tile of a class's taps, of all filters and channels of the block."""
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, k, i, s, channel
    cdef fc_size taps = c.axis[H].taps * c.axis[W].taps
    for k in range(b.groups * c.filters):
        g.dy = b.grad + k * b.grad_k
        for i in range(b.channels):
            channel = k // c.filters * b.channels + i
            for s in range(b.slices):
                g.x = (piece + channel * layout.channel + s * layout.slice
                       + r * layout.row_class + t * layout.line)
                memset(g.dw, 0, columns * FC_PLANES_ROWS * size)
                c.kernels.planes_weight(g)
                add_sums(p, b, r, t, first, tile, columns, <const char *> g.dw,
                         dw + (((b.g0 * c.filters + k) * c.channels + b.channel0 + i)
                               * c.axis[D].taps + b.slice0 + s) * taps * size)


cdef void add_block(const PlanesPlan *p, const WeightBlock *b, const Layout *layout,
                    const char *piece, fc_planes_grad_run *runs, void *sums,
                    char *dw) noexcept nogil:
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, r, t, taps, tiles, i, first, tile, columns
    cdef fc_planes_grad g
    g.runs, g.dw = runs, sums
    if p.fold:
        g.x_s, g.cols = size, b.cols.outs // p.fold
        g.dy_row = p.w.apart * b.grad_row
    else:
        g.x_s, g.cols = p.w.apart * size, b.cols.outs
        g.dy_row = p.h.apart * b.grad_row
    for r in range(p.h.count):
        taps = p.fold // p.w.apart
        if not p.fold:
            taps = min(b.rows.taps, class_taps(&p.h, c.axis[H].taps, r) - b.rows.tap0)
        if taps <= 0:
            continue
        tiles = ceil_div(taps, FC_PLANES_ROWS)
        for i in range(tiles):
            first = part(taps, tiles, i)
            tile = part(taps, tiles, i + 1) - first
            g.count = list_rows(p, b, layout, first, tile, runs)
            for t in range(p.w.count):
                columns = min(b.cols.taps, class_taps(&p.w, c.axis[W].taps, t) - b.cols.tap0)
                if p.fold:
                    columns = ceil_div(max(0, columns - first), taps)
                g.taps = columns
                if columns > 0:
                    add_class(p, b, layout, r, t, first, tile, columns, piece, &g, dw)


# ---------------------------------------------------------------- tasks

cdef void stage_gradient(const PlanesPlan *p, WeightBlock *b, char *to,
                         fc_size line) noexcept nogil:
    """Where it lies, or [filters][rows][columns], or [filters][rows][fold][columns / fold]."""
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, filters = b.groups * c.filters, i, k
    cdef fc_size h = c.axis[H].y, w = c.axis[W].y
    cdef const char *y = (c.y + b.n * c.y_n + b.g0 * c.y_g + b.depth * c.axis[D].y
                          + b.rows.out0 * h + b.cols.out0 * w)
    b.grad, b.grad_row, b.grad_k = to, line, b.rows.outs * max(1, p.fold) * line
    if not p.fold and w == size:
        b.grad, b.grad_row, b.grad_k = y, h, c.y_k
        return
    for i in range(b.rows.outs):
        if not p.fold:
            c.kernels.copy2d(to + i * line, b.grad_k, size, y + i * h, c.y_k, w, filters,
                             b.cols.outs)
            continue
        for k in range(filters):
            c.kernels.copy2d(to + k * b.grad_k + i * p.fold * line, line, size,
                             y + k * c.y_k + i * h, w, p.fold * w, p.fold,
                             b.cols.outs // p.fold)


cdef void add_outputs(const WeightPlan *plan, const PlanesPlan *p, WeightBlock *b, char *dw,
                      char *scratch) noexcept nogil:
    """The products of a block of outputs, all channels and taps."""
    cdef const Correlation *c = &p.c
    cdef Layout layout
    cdef char *piece = scratch + p.piece_at
    if b.cols.outs == 0:
        return
    stage_gradient(p, b, scratch + plan.grad_at, plan.grad_line)
    b.channel0 = 0
    while b.channel0 < c.channels:
        b.channels = min(p.channels, c.channels - b.channel0)
        b.rows.tap0 = 0
        while b.rows.tap0 < p.h.taps:
            b.rows.taps = min(p.tap_rows, p.h.taps - b.rows.tap0)
            b.cols.tap0 = 0
            while b.cols.tap0 < p.w.taps:
                b.cols.taps = min(p.tap_cols, p.w.taps - b.cols.tap0)
                layout = lay_out(p, b.groups * b.channels, b.slices, &b.rows, &b.cols)
                stage(p, c.x + b.n * c.x_n + b.g0 * c.x_g + b.channel0 * c.x_c, c.x_c,
                      b.groups * b.channels,
                      c.axis[D].first + b.depth * c.axis[D].step
                      + b.slice0 * c.axis[D].dilation,
                      b.slices, &b.rows, &b.cols, &layout, piece, scratch + p.line_at)
                add_block(p, b, &layout, piece, <fc_planes_grad_run *> scratch,
                          scratch + plan.sums_at, dw)
                b.cols.tap0 += b.cols.taps
            b.rows.tap0 += b.rows.taps
        b.channel0 += b.channels


cdef int planes_weight_slot(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """Some groups' filters, summed over the slot's share of the blocks of outputs."""
    cdef const WeightPlan *plan = <const WeightPlan *> context
    cdef const PlanesPlan *p = &plan.planes
    cdef const Correlation *c = &p.c
    cdef fc_size rest = task, slot = next_index(&rest, plan.slot_count), n, i, block, slice1, whole
    cdef char *dw = plan.slots + slot * plan.slot_bytes
    cdef WeightBlock b
    cdef PlanesPlan plain = p[0]
    cdef int status
    plain.fold = 0
    b.g0 = part(c.groups, p.group_blocks, rest)
    b.groups = part(c.groups, p.group_blocks, rest + 1) - b.g0
    i = plan.slot_bytes // c.groups
    memset(dw + b.g0 * i, 0, b.groups * i)
    for block in range(part(plan.blocks, plan.slot_count, slot),
                       part(plan.blocks, plan.slot_count, slot + 1)):
        status = check_signals()
        if status != OK:
            return status
        n = block
        i = next_index(&n, p.col_blocks)
        b.cols.out0 = part(c.axis[W].out, p.col_blocks, i)
        b.cols.outs = part(c.axis[W].out, p.col_blocks, i + 1) - b.cols.out0
        i = next_index(&n, p.row_blocks)
        b.rows.out0 = part(c.axis[H].out, p.row_blocks, i)
        b.rows.outs = part(c.axis[H].out, p.row_blocks, i + 1) - b.rows.out0
        b.depth = next_index(&n, c.axis[D].out)
        b.n = n
        depth_taps(c, b.depth, &b.slice0, &slice1)
        b.slices = slice1 - b.slice0
        if p.fold:  # whole folds, then what is left of the columns
            whole = b.cols.outs % p.fold
            b.cols.outs -= whole
            add_outputs(plan, p, &b, dw, scratch)
            b.cols.out0 += b.cols.outs
            b.cols.outs = whole
        add_outputs(plan, &plain, &b, dw, scratch)
    return OK


cdef int add_planes_slots(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """One filter's partial sums, slot after slot, and the total to where it belongs."""
    cdef const WeightPlan *plan = <const WeightPlan *> context
    cdef const Correlation *c = &plan.planes.c
    cdef const Correlation *given = c
    cdef fc_size size = c.kernels.itemsize, taps = c.axis[H].taps * c.axis[W].taps, i, d
    cdef fc_size elements = c.channels * c.axis[D].taps * taps
    cdef fc_size g = task, k = next_index(&g, c.filters)
    cdef char *total = <char *> given.w + g * c.w_g + k * c.w_k
    cdef char *sums = plan.slots + task * elements * size
    c.kernels.add_fold(sums, sums + plan.slot_bytes, plan.slot_bytes, elements,
                       plan.slot_count - 1, False)
    for i in range(c.channels):
        for d in range(c.axis[D].taps):
            c.kernels.copy2d(total + i * c.w_c + d * c.axis[D].w, c.axis[H].w, c.axis[W].w,
                             sums + (i * c.axis[D].taps + d) * taps * size,
                             c.axis[W].taps * size, size, c.axis[H].taps, c.axis[W].taps)
    return OK


# ---------------------------------------------------------------- the plan

cdef void plan_weight(WeightPlan *plan, const Correlation *c) noexcept nogil:
    cdef PlanesPlan *p = &plan.planes
    cdef fc_size size = c.kernels.itemsize, runs
    plan_planes(p, c, False, PLANES_WEIGHT_FOLD_TAPS)
    plan.blocks = c.batch * c.axis[D].out * p.row_blocks * p.col_blocks
    plan.slot_count = max(1, min(plan.blocks, ceil_div(PLANES_WEIGHT_SLOTS, p.group_blocks)))
    plan.slot_bytes = c.groups * c.filters * c.channels * taps_of(c) * size
    plan.grad_line = round_up(p.block_cols * size)
    if p.fold:
        runs = p.block_rows * (p.fold + FC_PLANES_ROWS * p.w.apart)
    else:
        runs = 0
    runs = max(runs, p.block_rows + (FC_PLANES_ROWS + 1) * p.h.apart)
    # the plan's own scratch begins with runs of another kind, and ends with results
    runs = max(round_up(runs * sizeof(fc_planes_grad_run)), p.line_at) - p.line_at
    p.line_at += runs
    p.piece_at += runs
    p.result_at += runs
    plan.grad_at = p.result_at
    if p.fold:
        plan.grad_line = round_up(ceil_div(p.block_cols, p.fold) * size)
        plan.grad_line = max(plan.grad_line, round_up(p.fold * size))
    plan.sums_at = plan.grad_at + (p.groups * c.filters * p.block_rows * max(1, p.fold)
                                   * plan.grad_line + c.kernels.lanes * size)
    plan.scratch_bytes = plan.sums_at + round_up(FC_PLANES_ROWS * p.tap_cols * size)


cdef bint is_usable(const Correlation *c) noexcept nogil:
    # with more filters vectors of them are full enough, the sooner the fewer columns of taps
    # share a row of the gradient
    return fills_vectors(c) and c.filters * (2 if c.axis[W].taps > 3 else 4) <= c.kernels.lanes


cdef int run_planes_weight(const Correlation *c, int num_threads) noexcept nogil:
    cdef WeightPlan plan
    cdef PlanesPlan *p = &plan.planes
    cdef int status
    plan_weight(&plan, c)
    # beyond the last sum, room for a vector
    plan.slots = allocate(plan.slot_count * plan.slot_bytes + c.kernels.lanes * c.kernels.itemsize)
    if plan.slots == NULL:
        return OUT_OF_MEMORY
    status = parallel_for(planes_weight_slot, &plan, p.group_blocks * plan.slot_count,
                          plan.scratch_bytes, work(c), num_threads)
    if status == OK:
        status = parallel_for(add_planes_slots, &plan, c.groups * c.filters, 0,
                              <double> plan.slot_count * plan.slot_bytes / c.kernels.itemsize,
                              num_threads)
    release(plan.slots)
    return status
