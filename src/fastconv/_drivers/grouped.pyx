"""Convolution in narrow groups: depthwise, and up to 16 channels per group, as many out as in.

A vector of output channels sees the input channels of the same places only, so the kernels work on
one such block of channels at a time, channels contiguous. Channels-last images are read and written
in place. Of others a block of channels and rows is turned into that layout in the cache, and its
results are turned back.

The input gradient of a strided convolution is several correlations, one for each phase of the
strides, which fill one image between them: a task computes some of its rows, all phases.
"""

from libc.string cimport memcpy, memset

from fastconv._drivers.axis cimport H, W
from fastconv._drivers.blocking cimport TASKS, ceil_div, part, round_up
from fastconv._drivers.correlation cimport Correlation, work
from fastconv._drivers.kernels cimport fc_grouped, fc_grouped_grad, fc_kernels, fc_size
from fastconv._drivers.memory cimport allocate, measuring, release
from fastconv._drivers.runtime cimport OK, OUT_OF_MEMORY, parallel_for


cdef enum:
    MAX_GROUP = 16          # channels per group
    MAX_TAPS = 64           # rows or columns of a filter
    IN_PLACE_BYTES = 256 * 1024    # of the outputs of a task: it stays in L2 with its input
    STAGE_BYTES = 128 * 1024       # of what a task turns around: it stays in L2
    MAX_STAGE_BYTES = 2 * 1024 * 1024
    GRAD_BLOCK = 128         # channels of a task of the weight gradient, in place
    GRAD_PIXELS = 1024       # outputs of a piece of it
    FAR = 2048               # multiples of it between pixels meet in few sets of a cache


ctypedef struct Plan:
    const Correlation *phases     # [phases_h][phases_w]
    fc_size phases_h, phases_w
    const fc_kernels *kernels
    fc_size group, channels
    fc_size block                 # channels that are turned around together
    fc_size blocks                # of them
    fc_size vectors               # blocks of the kernels
    bint in_place
    # y as one image of all phases
    char *y
    fc_size y_row, y_col, rows, cols
    fc_size block_rows, row_blocks
    # [phases][vectors][taps_h][taps_w][group][lanes], and where each phase starts
    char *w
    fc_size w_at[MAX_PHASES]
    const char *bias
    # scratch: pointers to rows | rows of x | rows of y
    fc_size x_at, y_at, scratch_bytes
    # weight gradient
    fc_size slots, chunk          # pieces of the batch's rows; blocks of a task
    char *partial                 # [slots][vectors][taps_h][taps_w][group][lanes]
    fc_size filter_bytes          # of a vector of filters there


cdef bint is_usable(const Correlation *c) noexcept nogil:
    """Whether this module takes it: narrow groups, taps of moderate reach, numbered downwards."""
    cdef fc_size lanes = c.kernels.lanes, pixel = max(lanes, c.channels) * c.kernels.itemsize
    cdef double reach = (<double> c.axis[H].taps - 1) * c.axis[H].dilation + 1
    return (c.channels == c.filters and c.groups > 1 and c.channels <= MAX_GROUP
            and (lanes % c.channels == 0 or c.channels % lanes == 0)
            # where groups are few, vectors of pixels or filters are fuller than vectors of channels
            and (c.channels == 1 or c.groups * c.channels >= lanes)
            and c.axis[H].taps <= MAX_TAPS and c.axis[W].taps <= MAX_TAPS
            and (reach * c.axis[W].size + c.axis[W].out) * pixel <= MAX_STAGE_BYTES)


cdef fc_size first_channel(fc_size block, fc_size index, fc_size channels) noexcept nogil:
    """Where block number `index` starts: the last one ends with the last channel."""
    return max(0, min(index * block, channels - block))


# ---------------------------------------------------------------- filters

cdef void pack(const Plan *p, const Correlation *c, char *to) noexcept nogil:
    """One phase's filters, [vectors][taps_h][taps_w][group][lanes]."""
    cdef fc_size size = p.kernels.itemsize, lanes = p.kernels.lanes, group = p.group
    cdef fc_size taps = c.axis[H].taps * c.axis[W].taps
    cdef fc_size v, k, n, r, u
    cdef const char *w
    for v in range(p.vectors):
        k = first_channel(lanes, v, p.channels)
        n = min(lanes, p.channels)
        w = c.w + k // group * c.w_g + k % group * c.w_k
        if group == 1 or group >= lanes or c.w_g == group * c.w_k:
            p.kernels.pack_filters(to, w, n, group, c.axis[H].taps, c.axis[W].taps,
                                   c.w_g if group == 1 else c.w_k, c.w_c, c.axis[H].w, c.axis[W].w, lanes)
        else:
            for r in range(taps):
                for u in range(group):
                    p.kernels.copy2d(
                        to + (r * group + u) * lanes * size, group * size, size,
                        w + r // c.axis[W].taps * c.axis[H].w + r % c.axis[W].taps * c.axis[W].w + u * c.w_c,
                        c.w_g, c.w_k, n // group, group)
        to += taps * group * lanes * size


# ---------------------------------------------------------------- forward, input gradient

cdef void point_rows(const Correlation *c, const char *x, fc_size x_h, fc_size first, fc_size count,
                     const void **rows) noexcept nogil:
    """The input row under each row of taps of outputs first.., [count][taps_h], NULL beyond."""
    cdef fc_size i, row
    for i in range(first, first + count):
        row = c.axis[H].first + i * c.axis[H].step
        for _ in range(c.axis[H].taps):
            rows[0] = x + row * x_h if 0 <= row < c.axis[H].size else NULL
            rows += 1
            row += c.axis[H].dilation


cdef void run_rows(const Plan *p, fc_size i0, fc_size i1, const char *x, fc_size x_h, fc_size x_w,
                   char *y, fc_size y_h, fc_size y_w, fc_size channels, fc_size vector,
                   const char *bias, const void **rows) noexcept nogil:
    """Rows i0..i1 of y, all phases; x and y have channels contiguous, and y starts at row i0."""
    cdef const Correlation *c
    cdef fc_size a, b, first, last, lanes = p.kernels.lanes
    cdef fc_grouped g
    g.rows = rows
    g.x_at = 0
    g.x_w = x_w
    g.bias = bias
    g.channels = channels
    g.group = p.group
    g.out_h = y_h * p.phases_h
    g.out_w = y_w * p.phases_w
    for a in range(p.phases_h):
        # the phase's rows among them; i0 is a multiple of phases_h
        first = i0 // p.phases_h
        last = (i1 - a + p.phases_h - 1) // p.phases_h
        for b in range(p.phases_w):
            c = &p.phases[a * p.phases_w + b]
            g.count = min(last, c.axis[H].out) - first
            if g.count <= 0 or c.axis[W].out == 0:
                continue
            point_rows(c, x, x_h, first, g.count, rows)
            g.taps_h, g.taps_w = c.axis[H].taps, c.axis[W].taps
            g.width = c.axis[W].size
            g.col0, g.step, g.col_dx = c.axis[W].first, c.axis[W].step, c.axis[W].dilation
            g.w = (p.w + p.w_at[a * p.phases_w + b]
                   + vector * c.axis[H].taps * c.axis[W].taps * p.group * lanes * p.kernels.itemsize)
            g.out = y + a * y_h + b * y_w
            g.out_width = c.axis[W].out
            g.relu = c.relu
            p.kernels.grouped(&g)


cdef int rows_in_place(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef Plan *p = <Plan *> context
    cdef const Correlation *c = p.phases
    cdef fc_size n = task // p.row_blocks, i0 = task % p.row_blocks * p.block_rows
    run_rows(p, i0, min(i0 + p.block_rows, p.rows), c.x + n * c.x_n, c.axis[H].x, c.axis[W].x,
             p.y + n * c.y_n + i0 * p.y_row, p.y_row, p.y_col, p.channels, 0, p.bias,
             <const void **> scratch)
    return OK


cdef void input_rows(const Plan *p, fc_size i0, fc_size i1, fc_size *lo,
                     fc_size *hi) noexcept nogil:
    """The input rows that rows i0..i1 of y read."""
    cdef const Correlation *c
    cdef fc_size a, last
    lo[0] = p.phases.axis[H].size
    hi[0] = 0
    for a in range(p.phases_h * p.phases_w):
        c = &p.phases[a]
        last = min((i1 - a // p.phases_w + p.phases_h - 1) // p.phases_h, c.axis[H].out) - 1
        if c.axis[H].taps == 0 or last < i0 // p.phases_h:
            continue
        lo[0] = min(lo[0], c.axis[H].first + i0 // p.phases_h * c.axis[H].step)
        hi[0] = max(hi[0], c.axis[H].first + last * c.axis[H].step + (c.axis[H].taps - 1) * c.axis[H].dilation + 1)
    lo[0] = max(lo[0], 0)
    hi[0] = max(min(hi[0], p.phases.axis[H].size), lo[0])


cdef void copy_rows(const fc_kernels *kernels, char *to, fc_size to_h, fc_size to_w, fc_size to_c,
                    const char *x, fc_size x_h, fc_size x_w, fc_size x_c, fc_size rows,
                    fc_size cols, fc_size channels) noexcept nogil:
    """An image from some strides to others; in one piece where its rows follow each other."""
    cdef fc_size i
    if to_h == cols * to_w and x_h == cols * x_w:
        kernels.copy2d(to, to_w, to_c, x, x_w, x_c, rows * cols, channels)
        return
    for i in range(rows):
        kernels.copy2d(to + i * to_h, to_w, to_c, x + i * x_h, x_w, x_c, cols, channels)


cdef int rows_turned(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef Plan *p = <Plan *> context
    cdef const Correlation *c = p.phases
    cdef fc_size size = p.kernels.itemsize
    cdef fc_size pixel = max(p.block, p.kernels.lanes) * size, k0, lo, hi
    cdef fc_size i0 = task % p.row_blocks * p.block_rows, i1 = min(i0 + p.block_rows, p.rows)
    cdef fc_size index = task // p.row_blocks % p.blocks, n = task // p.row_blocks // p.blocks
    cdef fc_size k = first_channel(p.block, index, p.channels), count = min(p.block, p.channels)
    cdef fc_size x_c = c.x_g // p.group, y_c = c.y_g // p.group
    cdef char *x = scratch + p.x_at  # [rows][cols][block]
    cdef char *y = scratch + p.y_at
    cdef const char *bias = NULL
    if p.bias != NULL:
        bias = p.bias + k * size
    input_rows(p, i0, i1, &lo, &hi)
    if count * size < pixel:
        memset(x, 0, (hi - lo) * c.axis[W].size * pixel)
    copy_rows(p.kernels, x, c.axis[W].size * pixel, pixel, size,
              c.x + n * c.x_n + k * x_c + lo * c.axis[H].x, c.axis[H].x, c.axis[W].x, x_c, hi - lo, c.axis[W].size, count)
    run_rows(p, i0, i1, x - lo * c.axis[W].size * pixel, c.axis[W].size * pixel, pixel, y, p.cols * pixel, pixel,
             pixel // size, index * (pixel // size // p.kernels.lanes),
             bias, <const void **> scratch)
    # of a last block that overlaps the one before, what is new
    k0 = index * p.block
    copy_rows(p.kernels, p.y + n * c.y_n + k0 * y_c + i0 * p.y_row, p.y_row, p.y_col, y_c,
              y + (k0 - k) * size, p.cols * pixel, pixel, size, i1 - i0, p.cols, count - (k0 - k))
    return OK


cdef fc_size stage_bytes(Plan *p, fc_size rows) noexcept nogil:
    """Lays out the scratch memory of tasks of that many rows; its size."""
    cdef const Correlation *c
    cdef fc_size pixel = max(p.block, p.kernels.lanes) * p.kernels.itemsize
    cdef fc_size a, most = 0, taps = 0
    cdef fc_size first = p.phases.axis[H].size, last = -p.phases.axis[H].size
    for a in range(p.phases_h * p.phases_w):
        c = &p.phases[a]
        taps = max(taps, c.axis[H].taps)
        if c.axis[H].taps:
            most = max(most, (ceil_div(rows, p.phases_h) - 1) * c.axis[H].step
                       + (c.axis[H].taps - 1) * c.axis[H].dilation + 1)
            first = min(first, c.axis[H].first)
            last = max(last, c.axis[H].first)
    p.x_at = round_up(ceil_div(rows, p.phases_h) * taps * sizeof(void *))
    p.y_at = p.scratch_bytes = p.x_at
    if not p.in_place:
        most = min(most + max(0, last - first), p.phases.axis[H].size)
        p.y_at = p.x_at + round_up(most * p.phases.axis[W].size * pixel)
        p.scratch_bytes = p.y_at + rows * p.cols * pixel
    return p.scratch_bytes


cdef void plan_rows(Plan *p) noexcept nogil:
    cdef const Correlation *c = p.phases
    cdef fc_size tasks = c.batch * p.blocks, least = p.phases_h
    cdef fc_size line = p.cols * p.channels * p.kernels.itemsize
    p.block_rows = ceil_div(p.rows, least) * least
    if p.in_place:
        tasks = c.batch
    while p.block_rows > least and (
            (p.block_rows * line > IN_PLACE_BYTES if p.in_place
             else stage_bytes(p, p.block_rows) > STAGE_BYTES)
            or (tasks * ceil_div(p.rows, p.block_rows) < TASKS and p.block_rows >= 8)):
        p.block_rows = ceil_div(ceil_div(p.block_rows, 2), least) * least
    stage_bytes(p, p.block_rows)
    p.row_blocks = ceil_div(p.rows, p.block_rows)


cdef void choose_blocks(Plan *p, const Correlation *c) noexcept nogil:
    cdef fc_size size = c.kernels.itemsize, lanes = c.kernels.lanes
    p.kernels = c.kernels
    p.group = c.channels
    p.channels = c.groups * p.group
    p.vectors = ceil_div(p.channels, lanes)
    p.block = min(max(lanes, p.group), p.channels)
    p.blocks = ceil_div(p.channels, p.block)
    p.in_place = (c.x_g == p.group * size and c.y_g == p.group * size and p.channels >= lanes)


cdef int run_grouped(const Correlation *phases, fc_size phases_h, fc_size phases_w,
                   int num_threads) noexcept nogil:
    """All phases of one image; of a forward pass there is one."""
    cdef Plan p
    cdef const Correlation *c = phases
    cdef fc_size i, total = 0, padded, size = c.kernels.itemsize
    cdef double products = 0
    cdef int status
    cdef char *bias
    p.phases = phases
    p.phases_h, p.phases_w = phases_h, phases_w
    choose_blocks(&p, c)
    p.y = c.y
    p.y_row = c.axis[H].y if phases_h == 1 else phases[phases_w].y - c.y
    p.y_col = c.axis[W].y if phases_w == 1 else phases[1].y - c.y
    p.rows = p.cols = 0
    for i in range(phases_h):
        p.rows += phases[i * phases_w].axis[H].out
    for i in range(phases_w):
        p.cols += phases[i].axis[W].out
    for i in range(phases_h * phases_w):
        p.w_at[i] = total
        total += (p.vectors * phases[i].axis[H].taps * phases[i].axis[W].taps * p.group * c.kernels.lanes
                  * size)
        products += work(&phases[i])
    padded = max(p.channels, c.kernels.lanes) * size if c.bias != NULL else 0
    p.w = allocate(total + padded)
    if p.w == NULL:
        return OUT_OF_MEMORY
    p.bias = NULL
    if not measuring():
        if c.bias != NULL:
            bias = p.w + total
            memset(bias, 0, padded)
            memcpy(bias, c.bias, p.channels * size)
            p.bias = bias
        for i in range(phases_h * phases_w):
            pack(&p, &phases[i], p.w + p.w_at[i])
    plan_rows(&p)
    status = parallel_for(rows_in_place if p.in_place else rows_turned, &p,
                          c.batch * (1 if p.in_place else p.blocks) * p.row_blocks,
                          p.scratch_bytes, products, num_threads)
    release(p.w)
    return status


# ---------------------------------------------------------------- weight gradient

cdef void add_piece(const Plan *p, const Correlation *c, fc_size n, fc_size i0, fc_size i1,
                    fc_size k, fc_size channels, char *dw, char *scratch) noexcept nogil:
    """Add what rows i0..i1 of image n give to the filters of `channels` channels from k on."""
    cdef fc_size size = p.kernels.itemsize, lo, hi, count = channels
    cdef fc_size x_c = c.x_g // p.group, y_c = c.y_g // p.group, pixel
    cdef const char *x = c.x + n * c.x_n + k * x_c
    cdef const char *dy = c.y + n * c.y_n + k * y_c + i0 * c.axis[H].y
    cdef const void **rows = <const void **> scratch
    cdef fc_grouped_grad g
    g.rows = rows
    g.count = i1 - i0
    g.taps_h, g.taps_w = c.axis[H].taps, c.axis[W].taps
    g.x_at = 0
    g.width = c.axis[W].size
    g.col0, g.step, g.col_dx = c.axis[W].first, c.axis[W].step, c.axis[W].dilation
    g.dy_width = c.axis[W].out
    g.dw = dw
    g.dw_block = p.filter_bytes
    g.channels = channels
    g.group = p.group
    if p.in_place:
        point_rows(c, x, c.axis[H].x, i0, g.count, rows)
        g.x_w = c.axis[W].x
        g.dy = dy
        g.dy_h, g.dy_w = c.axis[H].y, c.axis[W].y
    else:
        g.channels = max(channels, <fc_size> p.kernels.lanes)
        pixel = g.channels * size
        input_rows(p, i0, i1, &lo, &hi)
        if count * size < pixel:
            memset(scratch + p.x_at, 0, p.scratch_bytes - p.x_at)
        copy_rows(p.kernels, scratch + p.x_at, c.axis[W].size * pixel, pixel, size, x + lo * c.axis[H].x,
                  c.axis[H].x, c.axis[W].x, x_c, hi - lo, c.axis[W].size, count)
        copy_rows(p.kernels, scratch + p.y_at, c.axis[W].out * pixel, pixel, size, dy, c.axis[H].y, c.axis[W].y, y_c,
                  i1 - i0, c.axis[W].out, count)
        point_rows(c, scratch + p.x_at - lo * c.axis[W].size * pixel, c.axis[W].size * pixel, i0, g.count, rows)
        g.x_w = pixel
        g.dy = scratch + p.y_at
        g.dy_h, g.dy_w = c.axis[W].out * pixel, pixel
    p.kernels.grouped_weight(&g)


cdef int weight_slot(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """The filters of a chunk of channels, summed over the slot's share of the batch's rows."""
    cdef Plan *p = <Plan *> context
    cdef const Correlation *c = p.phases
    cdef fc_size slot = task % p.slots, first = task // p.slots * p.chunk
    cdef fc_size last = min(first + p.chunk, p.blocks)
    cdef fc_size k = first_channel(p.block, first, p.channels)
    cdef fc_size channels = min(last * p.block, p.channels) - k
    cdef fc_size vector = first * max(p.block, p.kernels.lanes) // p.kernels.lanes
    cdef fc_size vectors = ceil_div(channels, p.kernels.lanes)
    cdef fc_size lo = part(c.batch * c.axis[H].out, p.slots, slot)
    cdef fc_size hi = part(c.batch * c.axis[H].out, p.slots, slot + 1)
    cdef fc_size i0, i1
    cdef char *dw = p.partial + (slot * p.vectors + vector) * p.filter_bytes
    memset(dw, 0, vectors * p.filter_bytes)
    while lo < hi:
        i0 = lo % c.axis[H].out
        i1 = min(min(i0 + p.block_rows, c.axis[H].out), i0 + hi - lo)
        add_piece(p, c, lo // c.axis[H].out, i0, i1, k, channels, dw, scratch)
        lo += i1 - i0
    return OK


cdef int add_slots(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """One vector of filters: partial sums, slot after slot, and the total to where it belongs."""
    cdef Plan *p = <Plan *> context
    cdef const Correlation *c = p.phases
    cdef fc_size size = p.kernels.itemsize, lanes = p.kernels.lanes, group = p.group
    cdef fc_size taps = c.axis[H].taps * c.axis[W].taps, count = p.filter_bytes // size
    cdef fc_size i, k0 = task * lanes, k = first_channel(lanes, task, p.channels)
    cdef fc_size n = min(k0 + lanes, p.channels) - k0
    cdef char *sum = p.partial + task * p.filter_bytes
    cdef char *other = sum
    cdef char *to = <char *> c.w + k0 // group * c.w_g + k0 % group * c.w_k
    for _ in range(1, p.slots):
        other += p.vectors * p.filter_bytes
        if size == 4:
            for i in range(count):
                (<float *> sum)[i] += (<float *> other)[i]
        else:
            for i in range(count):
                (<double *> sum)[i] += (<double *> other)[i]
    sum += (k0 - k) * size
    if c.axis[W].w == size and c.axis[H].w == c.axis[W].taps * size and c.w_c == taps * size:
        p.kernels.unpack_filters(to, c.w_k, sum, lanes * size, n, group, taps)
        return OK
    for i in range(taps * group):
        p.kernels.copy2d(to + i // group // c.axis[W].taps * c.axis[H].w + i // group % c.axis[W].taps * c.axis[W].w
                         + i % group * c.w_c, c.w_k, 0, sum + i * lanes * size, size, 0, n, 1)
    return OK


cdef int run_grouped_weight(const Correlation *correlation, int num_threads) noexcept nogil:
    """w from x and y; the correlation's w is written, not read."""
    cdef Plan p
    cdef Correlation c = correlation[0]
    cdef int status
    cdef fc_size size = c.kernels.itemsize, lanes = c.kernels.lanes, pieces
    p.phases = &c
    p.phases_h = p.phases_w = 1
    choose_blocks(&p, &c)
    if p.group >= lanes and c.axis[W].x % FAR == 0:
        p.in_place = False  # wide groups read a piece many times: it is better copied
    p.rows, p.cols = c.axis[H].out, c.axis[W].out
    p.filter_bytes = c.axis[H].taps * c.axis[W].taps * p.group * lanes * size
    p.chunk = max(1, GRAD_BLOCK // p.block) if p.in_place else 1
    pieces = ceil_div(p.blocks, p.chunk)
    p.slots = max(1, min(ceil_div(TASKS, pieces), c.batch * c.axis[H].out))
    p.block_rows = max(1, min(c.axis[H].out, GRAD_PIXELS // c.axis[W].out))
    stage_bytes(&p, p.block_rows)
    # beyond the last sum, room for the vector that a shifted last block reads
    p.partial = allocate(p.slots * p.vectors * p.filter_bytes + lanes * size)
    if p.partial == NULL:
        return OUT_OF_MEMORY
    status = parallel_for(weight_slot, &p, pieces * p.slots, p.scratch_bytes, work(&c), num_threads)
    if status == OK:
        status = parallel_for(add_slots, &p, p.vectors, 0,
                              <double> p.slots * p.vectors * p.filter_bytes / size, num_threads)
    release(p.partial)
    return status
