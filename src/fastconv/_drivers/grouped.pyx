"""Convolution in narrow groups: depthwise, and up to 16 channels per group, as many out as in.

A vector of output channels sees the input channels of the same places only, so the kernels work on
one such block of channels at a time, channels contiguous. Channels-last images are read and written
in place. Of others a block of channels and rows is staged: copied to that layout in the cache, and
its results are copied back. Channels-last depthwise pixels of half a vector and more, but less than
one, may be taken in pairs ("paired" below): as one pixel of twice the channels.

The input gradient of a strided convolution is several correlations, one for each phase of the
strides, which fill one image between them: a task computes some of its rows, all phases.

A task stays in one slice of the outputs' depth. The kernels know rows of taps and no depth: the
rows of every depth tap that reads the image are so many more rows of taps.
"""

from libc.string cimport memcpy, memset

from fastconv._drivers.axis cimport D, H, W
from fastconv._drivers.blocking cimport (
    GROUPED_ALIAS, GROUPED_IN_PLACE_BYTES, GROUPED_MAX_CHANNELS, GROUPED_MAX_STAGED_BYTES,
    GROUPED_MIN_ROWS, GROUPED_STAGED_BYTES, GROUPED_WEIGHT_CHANNELS,
    GROUPED_WEIGHT_PIXELS, TASKS, ceil_div, next_index, part, round_up)
from fastconv._drivers.correlation cimport (
    Correlation, CorrelationAxis, find_taps_inside, input_of, span, taps_of, work)
from fastconv._drivers.depthwise_costs cimport pairs_pixels, planes_are_faster
from fastconv._drivers.filters cimport store_taps
from fastconv._drivers.kernels cimport fc_grouped, fc_grouped_grad, fc_kernels, fc_size
from fastconv._drivers.memory cimport allocate, release
from fastconv._drivers.runtime cimport OK, OUT_OF_MEMORY, parallel_for, run_once


ctypedef struct GroupedPlan:
    const Correlation *phases     # [phases_h][phases_w]
    fc_size phases_h, phases_w
    const fc_kernels *kernels
    fc_size group, channels
    fc_size pixels                # that the kernels take as one: 2 where they are paired, else 1
    fc_size block                 # channels that are staged together
    fc_size blocks                # of them
    fc_size pixel                 # bytes of a staged one
    fc_size vectors               # blocks of the kernels
    bint in_place
    # y as one image of all phases
    char *y
    fc_size y_row, y_col, rows, cols
    fc_size block_rows, row_blocks
    # the depth: that of every phase that has taps, and slices of outputs
    const CorrelationAxis *d
    fc_size slices
    # [phases][vectors][taps_d][taps_h][taps_w][group][lanes], and where each phase starts
    char *w
    fc_size w_at[MAX_PHASES]
    char *bias                    # of a vector at least, zero beyond the channels; or NULL
    # scratch: pointers to rows | rows of x | rows of y
    fc_size x_at, y_at, scratch_bytes
    # weight gradient
    fc_size slots, chunk          # parts of the batch's rows; blocks of a task
    char *partial                 # [slots][vectors][taps_d][taps_h][taps_w][group][lanes]
    fc_size filter_bytes          # of a vector of filters there


# Some pixels of an image: where the first one is, and the strides of rows, columns and channels.
ctypedef struct Pixels:
    char *at
    fc_size row, col, channel


# A slice of the outputs, and the depth taps [tap0, tap1) that read slices of the input there.
ctypedef struct Slice:
    fc_size out, tap0, tap1


cdef inline fc_size max_slices(const CorrelationAxis *d) noexcept nogil:
    """Of the input, that one slice of outputs reads at most."""
    return max(1, min(d.taps, d.size))


cdef bint is_usable(const Correlation *c, bint of_weight) noexcept nogil:
    cdef const CorrelationAxis *h = &c.axis[H]
    cdef const CorrelationAxis *w = &c.axis[W]
    cdef fc_size lanes = c.kernels.lanes
    # one row of outputs and the input under it, staged
    cdef double pixels = <double> max_slices(&c.axis[D]) * span(h, 1) * w.size + w.out
    # a vector holds whole groups, or a group whole vectors, of inputs as of outputs
    return (c.groups > 1 and c.channels == c.filters and c.channels <= GROUPED_MAX_CHANNELS
            and (lanes % c.channels == 0 or c.channels % lanes == 0)
            # where groups are few, vectors of pixels or filters are fuller than vectors of channels
            and (c.channels == 1 or c.groups * c.channels >= lanes)
            # where channels are few or planes wide, vectors of pixels are fuller
            and not (c.channels == 1 and planes_are_faster(c, of_weight))
            # a staged row has a place in the cache
            and pixels * max(lanes, c.channels) * c.kernels.itemsize <= GROUPED_MAX_STAGED_BYTES)


cdef fc_size first_channel(fc_size block, fc_size index, fc_size channels) noexcept nogil:
    """Where block number `index` starts: the last one ends with the last channel."""
    return max(0, min(index * block, channels - block))


cdef void choose_channels(GroupedPlan *p, const Correlation *c, bint paired) noexcept nogil:
    """Blocks of channels, and whether they are staged."""
    cdef fc_size size = c.kernels.itemsize, lanes = c.kernels.lanes
    p.kernels = c.kernels
    p.group = c.channels
    p.channels = c.groups * p.group
    p.pixels = 2 if paired else 1
    p.vectors = ceil_div(p.pixels * p.channels, lanes)
    p.block = min(max(lanes, p.group), p.channels)
    p.blocks = ceil_div(p.channels, p.block)
    p.pixel = max(p.block, lanes) * size
    p.in_place = (c.x_g == p.group * size and c.y_g == p.group * size
                  and p.pixels * p.channels >= lanes)


# ---------------------------------------------------------------- filters

cdef void pack_paired(const GroupedPlan *p, const Correlation *c, const char *filters, fc_size v,
                      char *to) noexcept nogil:
    """Vector v of the channels of two pixels, one after the other: [taps_h][taps_w][lanes]."""
    cdef const CorrelationAxis *h = &c.axis[H]
    cdef const CorrelationAxis *w = &c.axis[W]
    cdef fc_size size = p.kernels.itemsize, lanes = p.kernels.lanes, lane = 0, n, k, r
    while lane < lanes:
        k = (first_channel(lanes, v, 2 * p.channels) + lane) % p.channels
        n = min(lanes - lane, p.channels - k)
        for r in range(h.taps):
            p.kernels.copy2d(to + (r * w.taps * lanes + lane) * size, lanes * size, size,
                             filters + k * c.w_g + r * h.w, w.w, c.w_g, w.taps, n)
        lane += n


cdef void pack_phase(const GroupedPlan *p, const Correlation *c, char *to) noexcept nogil:
    """One phase's filters, [vectors][taps_d][taps_h][taps_w][group][lanes]."""
    cdef const CorrelationAxis *d = &c.axis[D]
    cdef const CorrelationAxis *h = &c.axis[H]
    cdef const CorrelationAxis *w = &c.axis[W]
    cdef fc_size size = p.kernels.itemsize, lanes = p.kernels.lanes, group = p.group
    cdef fc_size n = min(lanes, p.channels), v, k, t, r, s, u
    cdef const char *filters
    for v in range(p.vectors):
        k = first_channel(lanes, v, p.channels)
        for t in range(d.taps):
            if p.pixels > 1:
                pack_paired(p, c, c.w + t * d.w, v, to)
                to += h.taps * w.taps * lanes * size
                continue
            filters = c.w + k // group * c.w_g + k % group * c.w_k + t * d.w
            if group == 1 or group >= lanes or c.w_g == group * c.w_k:
                p.kernels.pack_filters(to, filters, n, group, h.taps, w.taps,
                                       c.w_g if group == 1 else c.w_k, c.w_c, h.w, w.w, lanes,
                                       NULL)
                to += h.taps * w.taps * group * lanes * size
                continue
            for r in range(h.taps):
                for s in range(w.taps):
                    for u in range(group):
                        p.kernels.copy2d(to, group * size, size,
                                         filters + r * h.w + s * w.w + u * c.w_c, c.w_g, c.w_k,
                                         n // group, group)
                        to += lanes * size


cdef fc_size bias_bytes(const GroupedPlan *p) noexcept nogil:
    return max(p.pixels * p.channels, p.kernels.lanes) * p.kernels.itemsize


cdef int pack_phases(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """All filters, and the bias."""
    cdef GroupedPlan *p = <GroupedPlan *> context
    cdef fc_size pixel = p.channels * p.kernels.itemsize, i
    if p.bias != NULL:
        memset(p.bias, 0, bias_bytes(p))
        for i in range(p.pixels):
            memcpy(p.bias + i * pixel, p.phases.bias, pixel)
    for i in range(p.phases_h * p.phases_w):
        pack_phase(p, &p.phases[i], p.w + p.w_at[i])
    return OK


# ---------------------------------------------------------------- depth

cdef Slice slice_at(const GroupedPlan *p, fc_size out) noexcept nogil:
    cdef Slice s
    s.out = out
    find_taps_inside(p.d, out, out, &s.tap0, &s.tap1)
    return s


cdef inline fc_size slice_of_tap(const CorrelationAxis *d, const Slice *s,
                                 fc_size tap) noexcept nogil:
    """That the tap reads."""
    return input_of(d, s.out) + tap * d.dilation


cdef inline fc_size slice_of_taps(const GroupedPlan *p, const Correlation *c) noexcept nogil:
    """Bytes of a vector's filters of one depth tap."""
    return c.axis[H].taps * c.axis[W].taps * p.group * p.kernels.lanes * p.kernels.itemsize


cdef void plan_depth(GroupedPlan *p, fc_size phases) noexcept nogil:
    """Phases that no tap reaches have no depth taps either."""
    cdef fc_size i
    p.d = &p.phases.axis[D]
    p.slices = p.d.out
    for i in range(phases):
        if p.phases[i].axis[D].taps > 0:
            p.d = &p.phases[i].axis[D]


# ---------------------------------------------------------------- staging

cdef void input_rows(const GroupedPlan *p, fc_size i0, fc_size i1, fc_size *lo,
                     fc_size *hi) noexcept nogil:
    """The input rows that rows i0..i1 of y read."""
    cdef const CorrelationAxis *h
    cdef fc_size a, first = i0 // p.phases_h, last
    lo[0] = p.phases.axis[H].size
    hi[0] = 0
    for a in range(p.phases_h * p.phases_w):
        h = &p.phases[a].axis[H]
        last = min(ceil_div(i1 - a // p.phases_w, p.phases_h), h.out) - 1
        if h.taps > 0 and last >= first:
            lo[0] = min(lo[0], h.first + first * h.step)
            hi[0] = max(hi[0], h.first + first * h.step + span(h, last - first + 1))
    lo[0] = max(lo[0], 0)
    hi[0] = max(min(hi[0], p.phases.axis[H].size), lo[0])


cdef void copy_pixels(const fc_kernels *kernels, const Pixels *to, const Pixels *x, fc_size rows,
                      fc_size cols, fc_size channels) noexcept nogil:
    """In one piece where rows follow each other."""
    cdef fc_size i
    if to.row == cols * to.col and x.row == cols * x.col:
        cols *= rows
        rows = 1
    for i in range(rows):
        kernels.copy2d(to.at + i * to.row, to.col, to.channel, x.at + i * x.row, x.col, x.channel,
                       cols, channels)


cdef Pixels stage_pixels(const GroupedPlan *p, const Pixels *x, fc_size rows, fc_size cols,
                         char *to) noexcept nogil:
    """A block of channels to [rows][cols][channels], at least a vector of them, with zeros."""
    cdef Pixels staged = Pixels(to, cols * p.pixel, p.pixel, p.kernels.itemsize)
    if p.block * p.kernels.itemsize < p.pixel:
        memset(to, 0, rows * cols * p.pixel)
    copy_pixels(p.kernels, &staged, x, rows, cols, p.block)
    return staged


cdef Pixels stage_input(const GroupedPlan *p, fc_size n, const Slice *s, fc_size k, fc_size i0,
                        fc_size i1, char *scratch, fc_size *x_slice) noexcept nogil:
    """What rows i0..i1 of y's slice read of image n, channels k on: [depth taps][rows][cols].

    Starts where row 0 would lie; x_slice is from tap to tap.
    """
    cdef const Correlation *c = p.phases
    cdef const CorrelationAxis *h = &c.axis[H]
    cdef const CorrelationAxis *w = &c.axis[W]
    cdef fc_size x_c = c.x_g // p.group, lo, hi, t
    cdef char *first = <char *> c.x + n * c.x_n + k * x_c
    cdef Pixels x
    input_rows(p, i0, i1, &lo, &hi)
    x_slice[0] = (hi - lo) * w.size * p.pixel
    for t in range(s.tap0, s.tap1):
        x = Pixels(first + slice_of_tap(p.d, s, t) * p.d.x + lo * h.x, h.x, w.x, x_c)
        stage_pixels(p, &x, hi - lo, w.size, scratch + p.x_at + (t - s.tap0) * x_slice[0])
    x = Pixels(scratch + p.x_at, w.size * p.pixel, p.pixel, p.kernels.itemsize)
    x.at -= lo * x.row
    return x


cdef fc_size staged_bytes(GroupedPlan *p, fc_size rows) noexcept nogil:
    """Lays out the scratch memory of tasks of that many rows; its size."""
    cdef const CorrelationAxis *h
    cdef fc_size a, i = ceil_div(rows, p.phases_h), x_rows = 0, taps = 0
    cdef fc_size size = p.phases.axis[H].size, first = size, last = -size
    for a in range(p.phases_h * p.phases_w):
        h = &p.phases[a].axis[H]
        taps = max(taps, h.taps)
        if h.taps:
            x_rows = max(x_rows, span(h, i))
            first = min(first, h.first)
            last = max(last, h.first)
    p.x_at = round_up(i * max_slices(p.d) * taps * sizeof(void *))
    p.y_at = p.scratch_bytes = p.x_at
    if not p.in_place:
        x_rows = min(x_rows + max(0, last - first), size)
        p.y_at += round_up(max_slices(p.d) * x_rows * p.phases.axis[W].size * p.pixel)
        p.scratch_bytes = p.y_at + rows * p.cols * p.pixel
    return p.scratch_bytes


# ---------------------------------------------------------------- forward, input gradient

cdef void point_at_rows(const CorrelationAxis *h, const Pixels *x, fc_size x_slice,
                        fc_size slices, fc_size first, fc_size count,
                        const void **rows) noexcept nogil:
    """The input row under each row of taps of outputs first.., NULL beyond.

    [count][slices][taps_h], where slices are those that depth taps read, x_slice bytes apart.
    """
    cdef fc_size i, t, row
    for i in range(first, first + count):
        for t in range(slices):
            row = h.first + i * h.step
            for _ in range(h.taps):
                rows[0] = x.at + t * x_slice + row * x.row if 0 <= row < h.size else NULL
                rows += 1
                row += h.dilation


cdef void run_phases(const GroupedPlan *p, const Slice *s, fc_size i0, fc_size i1, const Pixels *x,
                     fc_size x_slice, const Pixels *y, fc_size channels, fc_size vector,
                     const char *bias, const void **rows) noexcept nogil:
    """Rows i0..i1 of y's slice, all phases.

    x and y have channels contiguous; x starts at the slice of tap0, y at row i0.
    """
    cdef const CorrelationAxis *h
    cdef const CorrelationAxis *w
    cdef const Correlation *c
    cdef fc_size a, b, i, first, last
    cdef fc_grouped g
    g.rows = rows
    g.x_at = 0
    g.x_w = x.col
    g.bias = bias
    g.paired = p.pixels > 1
    g.channels = channels
    g.group = p.group
    g.out_h = y.row * p.phases_h
    g.out_w = y.col * p.phases_w
    for a in range(p.phases_h):
        # the phase's rows among them; i0 is a multiple of phases_h
        first = i0 // p.phases_h
        last = ceil_div(i1 - a, p.phases_h)
        for b in range(p.phases_w):
            i = a * p.phases_w + b
            c = &p.phases[i]
            h = &c.axis[H]
            w = &c.axis[W]
            g.count = min(last, h.out) - first
            if g.count <= 0 or w.out == 0:
                continue
            point_at_rows(h, x, x_slice, s.tap1 - s.tap0, first, g.count, rows)
            g.taps_h, g.taps_w = (s.tap1 - s.tap0) * h.taps, w.taps
            g.width = w.size
            g.col0, g.step, g.col_dx = w.first, w.step, w.dilation
            g.w_block = c.axis[D].taps * slice_of_taps(p, c)
            g.w = p.w + p.w_at[i] + vector * g.w_block + s.tap0 * slice_of_taps(p, c)
            g.out = y.at + a * y.row + b * y.col
            g.out_width = w.out
            g.relu = c.relu
            p.kernels.grouped(&g)


cdef int grouped_in_place(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """Some rows of an image, all channels."""
    cdef GroupedPlan *p = <GroupedPlan *> context
    cdef const Correlation *c = p.phases
    cdef fc_size n = task  # slices that share inputs follow each other
    cdef Slice s = slice_at(p, next_index(&n, p.slices))
    cdef fc_size i0 = next_index(&n, p.row_blocks) * p.block_rows
    cdef fc_size size = p.kernels.itemsize
    cdef Pixels x = Pixels(<char *> c.x + n * c.x_n + slice_of_tap(p.d, &s, s.tap0) * p.d.x,
                           c.axis[H].x, c.axis[W].x, size)
    cdef Pixels y = Pixels(p.y + n * c.y_n + s.out * c.axis[D].y + i0 * p.y_row, p.y_row, p.y_col,
                           size)
    run_phases(p, &s, i0, min(i0 + p.block_rows, p.rows), &x, p.d.dilation * p.d.x, &y, p.channels,
               0, p.bias, <const void **> scratch)
    return OK


cdef int grouped_staged(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """Some rows of an image, a block of channels."""
    cdef GroupedPlan *p = <GroupedPlan *> context
    cdef const Correlation *c = p.phases
    cdef fc_size n = task, x_slice
    cdef Slice s = slice_at(p, next_index(&n, p.slices))
    cdef fc_size i0 = next_index(&n, p.row_blocks) * p.block_rows
    cdef fc_size i1 = min(i0 + p.block_rows, p.rows), index = next_index(&n, p.blocks)
    cdef fc_size size = p.kernels.itemsize, channels = p.pixel // size
    cdef fc_size k = first_channel(p.block, index, p.channels), y_c = c.y_g // p.group
    # of a last block that overlaps the one before, what is new
    cdef fc_size k0 = index * p.block
    cdef Pixels x = stage_input(p, n, &s, k, i0, i1, scratch, &x_slice)
    cdef Pixels y = Pixels(scratch + p.y_at, p.cols * p.pixel, p.pixel, size)
    cdef Pixels to = Pixels(p.y + n * c.y_n + s.out * c.axis[D].y + k0 * y_c + i0 * p.y_row,
                            p.y_row, p.y_col, y_c)
    run_phases(p, &s, i0, i1, &x, x_slice, &y, channels, index * (channels // p.kernels.lanes),
               p.bias + k * size if p.bias != NULL else NULL, <const void **> scratch)
    y.at += (k0 - k) * size
    copy_pixels(p.kernels, &to, &y, i1 - i0, p.cols, p.block - (k0 - k))
    return OK


cdef bint fits_task(GroupedPlan *p, fc_size rows) noexcept nogil:
    if p.in_place:
        # outputs, and as much input for each depth tap
        return (rows * p.cols * p.channels * p.kernels.itemsize * (1 + max_slices(p.d))
                <= 2 * GROUPED_IN_PLACE_BYTES)
    return staged_bytes(p, rows) <= GROUPED_STAGED_BYTES


cdef inline fc_size round_rows(const GroupedPlan *p, fc_size rows) noexcept nogil:
    """Up to whole sets of phases."""
    return ceil_div(rows, p.phases_h) * p.phases_h


cdef void choose_rows(GroupedPlan *p) noexcept nogil:
    """Rows of a task: all of an image, or halves of that until they fit and tasks are enough."""
    cdef fc_size images = p.phases.batch * p.slices * (1 if p.in_place else p.blocks)
    p.block_rows = round_rows(p, p.rows)
    while p.block_rows > p.phases_h and (
            not fits_task(p, p.block_rows)
            or (images * ceil_div(p.rows, p.block_rows) < TASKS
                and p.block_rows >= GROUPED_MIN_ROWS)):
        p.block_rows = round_rows(p, ceil_div(p.block_rows, 2))
    staged_bytes(p, p.block_rows)
    p.row_blocks = ceil_div(p.rows, p.block_rows)


cdef int run_grouped(const Correlation *phases, fc_size phases_h, fc_size phases_w,
                     int num_threads) noexcept nogil:
    cdef GroupedPlan p
    cdef fc_size i, filters_bytes = 0
    cdef double products = 0
    cdef int status
    p.phases = phases
    p.phases_h, p.phases_w = phases_h, phases_w
    plan_depth(&p, phases_h * phases_w)
    choose_channels(&p, phases, pairs_pixels(phases))
    p.y = phases.y
    p.y_row = phases.axis[H].y if phases_h == 1 else phases[phases_w].y - phases.y
    p.y_col = phases.axis[W].y if phases_w == 1 else phases[1].y - phases.y
    p.rows = p.cols = 0
    for i in range(phases_h):
        p.rows += phases[i * phases_w].axis[H].out
    for i in range(phases_w):
        p.cols += phases[i].axis[W].out
    for i in range(phases_h * phases_w):
        p.w_at[i] = filters_bytes
        filters_bytes += p.vectors * phases[i].axis[D].taps * slice_of_taps(&p, &phases[i])
        products += work(&phases[i])
    p.w = allocate(filters_bytes + bias_bytes(&p))
    if p.w == NULL:
        return OUT_OF_MEMORY
    p.bias = p.w + filters_bytes if phases.bias != NULL else NULL
    choose_rows(&p)
    status = run_once(pack_phases, &p)
    if status == OK:
        status = parallel_for(grouped_in_place if p.in_place else grouped_staged, &p,
                              phases.batch * (1 if p.in_place else p.blocks) * p.row_blocks
                              * p.slices, p.scratch_bytes, products, num_threads)
    release(p.w)
    return status


# ---------------------------------------------------------------- weight gradient

cdef void add_rows(const GroupedPlan *p, fc_size n, const Slice *s, fc_size i0, fc_size i1,
                   fc_size k, fc_size channels, char *dw, char *scratch) noexcept nogil:
    """Add what rows i0..i1 of image n's slice give to filters of `channels` channels from k on."""
    cdef const Correlation *c = p.phases
    cdef const CorrelationAxis *h = &c.axis[H]
    cdef const CorrelationAxis *w = &c.axis[W]
    cdef fc_size size = p.kernels.itemsize, y_c = c.y_g // p.group, x_slice = p.d.dilation * p.d.x
    cdef const void **rows = <const void **> scratch
    cdef Pixels x
    cdef Pixels dy = Pixels(c.y + n * c.y_n + s.out * p.d.y + k * y_c + i0 * h.y, h.y, w.y, y_c)
    cdef fc_grouped_grad g
    if p.in_place:
        x = Pixels(<char *> c.x + n * c.x_n + slice_of_tap(p.d, s, s.tap0) * p.d.x + k * size,
                   h.x, w.x, size)
    else:
        channels = p.pixel // size
        x = stage_input(p, n, s, k, i0, i1, scratch, &x_slice)
        dy = stage_pixels(p, &dy, i1 - i0, w.out, scratch + p.y_at)
    point_at_rows(h, &x, x_slice, s.tap1 - s.tap0, i0, i1 - i0, rows)
    g.rows = rows
    g.count = i1 - i0
    g.taps_h, g.taps_w = (s.tap1 - s.tap0) * h.taps, w.taps
    g.x_at = 0
    g.x_w, g.width = x.col, w.size
    g.col0, g.step, g.col_dx = w.first, w.step, w.dilation
    g.dy = dy.at
    g.dy_h, g.dy_w, g.dy_width = dy.row, dy.col, w.out
    g.dw = dw + s.tap0 * slice_of_taps(p, c)
    g.dw_block = p.filter_bytes
    g.channels = channels
    g.group = p.group
    g.paired = p.pixels > 1
    p.kernels.grouped_weight(&g)


cdef int grouped_weight_slot(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """The filters of a chunk of channels, summed over the slot's share of the batch's rows."""
    cdef GroupedPlan *p = <GroupedPlan *> context
    cdef const Correlation *c = p.phases
    cdef fc_size chunk = task, slot = next_index(&chunk, p.slots)
    cdef fc_size first = chunk * p.chunk, last = min(first + p.chunk, p.blocks)
    cdef fc_size k = first_channel(p.block, first, p.channels)
    cdef fc_size channels = min(last * p.block, p.channels) - k
    cdef fc_size vector = first * max(p.block, p.kernels.lanes) // p.kernels.lanes
    cdef fc_size vectors = ceil_div(p.pixels * channels, p.kernels.lanes)
    cdef fc_size rows = c.axis[H].out, i0, i1
    cdef fc_size total = c.batch * p.slices * rows, row = part(total, p.slots, slot)
    cdef fc_size end = part(total, p.slots, slot + 1)
    cdef Slice s
    cdef char *dw = p.partial + (slot * p.vectors + vector) * p.filter_bytes
    memset(dw, 0, vectors * p.filter_bytes)
    while row < end:
        i0 = row % rows
        i1 = min(min(i0 + p.block_rows, rows), i0 + end - row)
        s = slice_at(p, row // rows % p.slices)
        if s.tap1 > s.tap0:
            add_rows(p, row // rows // p.slices, &s, i0, i1, k, channels, dw, scratch)
        row += i1 - i0
    return OK


cdef void add_slots(const GroupedPlan *p, fc_size vector) noexcept nogil:
    """A vector's partial sums, slot after slot, to those of the first slot."""
    cdef fc_size slot_bytes = p.vectors * p.filter_bytes
    cdef char *sums = p.partial + vector * p.filter_bytes
    p.kernels.add_fold(sums, sums + slot_bytes, slot_bytes, p.filter_bytes // p.kernels.itemsize,
                       p.slots - 1, False)


cdef void add_second_pixel(const GroupedPlan *p) noexcept nogil:
    """Its channels' sums, in the last lanes of either vector, to those of the first pixel."""
    cdef fc_size size = p.kernels.itemsize, row = p.kernels.lanes * size, n = p.channels
    cdef fc_size low = p.kernels.lanes - n  # that are in the first vector
    cdef const char *last = p.partial + (p.vectors - 1) * p.filter_bytes
    p.kernels.add2d(p.partial, row, size, p.partial + n * size, row, size,
                    p.filter_bytes // row, low)
    p.kernels.add2d(p.partial + low * size, row, size, last + row - (n - low) * size, row, size,
                    p.filter_bytes // row, n - low)


cdef int add_grouped_slots(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """The totals of one vector of filters, or of both where pixels are paired."""
    cdef const GroupedPlan *p = <const GroupedPlan *> context
    cdef const Correlation *c = p.phases
    cdef fc_size size = p.kernels.itemsize, lanes = p.kernels.lanes
    cdef fc_size k0 = task * lanes, k = first_channel(lanes, task, p.channels), i, t
    cdef char *to = <char *> c.w + k0 // p.group * c.w_g + k0 % p.group * c.w_k
    cdef const char *sums = p.partial + task * p.filter_bytes + (k0 - k) * size
    add_slots(p, task)
    if p.pixels > 1:
        for i in range(1, p.vectors):
            add_slots(p, i)
        add_second_pixel(p)
    for t in range(c.axis[D].taps):
        store_taps(c, to + t * c.axis[D].w, sums + t * slice_of_taps(p, c), lanes * size,
                   0, c.axis[H].taps, 0, c.axis[W].taps, p.group, min(lanes, p.channels - k0))
    return OK


cdef int run_grouped_weight(const Correlation *correlation, int num_threads) noexcept nogil:
    """The correlation's w is written, not read."""
    cdef GroupedPlan p
    cdef const Correlation *c = correlation
    cdef const CorrelationAxis *h = &c.axis[H]
    cdef const CorrelationAxis *w = &c.axis[W]
    cdef fc_size size = c.kernels.itemsize, lanes = c.kernels.lanes, pieces
    cdef int status
    p.phases = c
    p.phases_h = p.phases_w = 1
    plan_depth(&p, 1)
    choose_channels(&p, c, pairs_pixels(c))
    if p.group >= lanes and w.x % GROUPED_ALIAS == 0:
        p.in_place = False  # wide groups read a piece many times: it is better copied
    p.rows, p.cols = h.out, w.out
    p.filter_bytes = taps_of(c) * p.group * lanes * size
    p.chunk = max(1, GROUPED_WEIGHT_CHANNELS // p.block) if p.in_place else 1
    pieces = ceil_div(p.blocks, p.chunk)
    p.slots = max(1, min(ceil_div(TASKS, pieces), c.batch * p.slices * h.out))
    p.block_rows = max(1, min(h.out, GROUPED_WEIGHT_PIXELS // w.out))
    staged_bytes(&p, p.block_rows)
    # beyond the last sum, room for the vector that a shifted last block reads
    p.partial = allocate(p.slots * p.vectors * p.filter_bytes + lanes * size)
    if p.partial == NULL:
        return OUT_OF_MEMORY
    status = parallel_for(grouped_weight_slot, &p, pieces * p.slots, p.scratch_bytes, work(c),
                          num_threads)
    if status == OK:
        status = parallel_for(add_grouped_slots, &p, p.vectors if p.pixels == 1 else 1, 0,
                              <double> p.slots * p.vectors * p.filter_bytes / size, num_threads)
    release(p.partial)
    return status
