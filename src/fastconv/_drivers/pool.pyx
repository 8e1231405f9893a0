"""Max and average pooling, forward and backward, regular or adaptive, in either memory format.

Every window is clipped to the image once per axis, so that padding, ceil mode, dilation, adaptive
and global pooling are all the same: the rows of a window are folded into one row, then windows
slide along it. A row is [width][inner]: with contiguous channels inner is all of them (or a block,
where rows are long), otherwise each channel is a plane of its own. Where channels are contiguous
and windows overlap little, nothing is folded: a window is gone through for a few vectors of
channels. So it is where each channel is a plane and indices are wanted: planes are turned block by
block, so that rows of a few pixels fill vectors too.
"""

from libc.stdint cimport int64_t
from libc.string cimport memset

from fastconv._drivers.blocking cimport TASKS, ceil_div, round_up
from fastconv._drivers.kernels cimport (
    FC_FLOAT64, fc_kernels, fc_max_scatter, fc_max_tiles, fc_pool_slide, fc_pool_windows, fc_size)
from fastconv._drivers.memory cimport allocate, release
from fastconv._drivers.runtime cimport INDEX_OUT_OF_RANGE, OK, OUT_OF_MEMORY, kernels, parallel_for


cdef enum:
    ROW_BYTES = 256 * 1024    # of a row of all channels; beyond, channels are taken in blocks
    TASK_ELEMENTS = 16384     # of several small planes
    MAX_TAPS = 8             # of an even window: longer ones are faster one at a time
    SCATTER_CHANNELS = 64     # of a channels-last task that scatters: it owns its planes
    MIN_CHANNELS = 64       # of a task that goes window by window: several vectors
    TURNED_BYTES = 32 * 1024  # of planes turned at a time, if more than a row of windows
    TURNED_MOST = 96 * 1024   # of a task that turns planes; wide rows are as fast as they lie
    NOT_TILES = -1            # a status of max_backward's own

ctypedef struct Plan:
    Pool p
    # per output row and column: the window clipped to the image, and how many elements it counts
    fc_size *h_start
    fc_size *h_end
    fc_size *w_start
    fc_size *w_end
    double *h_count
    double *w_count
    fc_size inner                     # channels of a row
    fc_size task_channels, channel_blocks
    fc_size block_rows, row_blocks
    bint backward
    bint by_window                    # nothing is folded
    bint turned                       # nor here, where a task turns its planes
    fc_size lo, hi                    # output columns whose windows lie inside the image
    bint x_rows, y_rows, i_rows       # a row lies [width][inner] already: no copy
    fc_size row_at, at_at, x_at, y_at, i_at, divisor_at, scratch_at, scratch_bytes


cdef void windows(const PoolAxis *a, bint include_pad, fc_size *start, fc_size *end,
                  double *count) noexcept nogil:
    cdef fc_size i, lo, hi, skipped
    for i in range(a.out):
        if a.adaptive:
            # i * size / out without leaving 64 bits
            lo = part_floor(a.size, a.out, i)
            hi = a.size - part_floor(a.size, a.out, a.out - 1 - i)
            count[i] = <double> (hi - lo)
        else:
            lo = i * a.stride - a.pad
            hi = lo + (a.kernel - 1) * a.dilation + 1
            if include_pad:  # what lies beyond even the padding (ceil mode) never counts
                count[i] = <double> (min(hi, a.size + a.pad) - lo)
            if lo < 0:
                skipped = ceil_div(-lo, a.dilation)
                lo += skipped * a.dilation
            hi = min(hi, a.size)
            if not include_pad:
                count[i] = <double> max(hi - lo, 0)
        start[i] = lo
        end[i] = hi


cdef inline fc_size part_floor(fc_size size, fc_size out, fc_size i) noexcept nogil:
    # floor(i * size / out)
    return size // out * i + size % out * i // out


cdef int prepare(Plan *plan, const Pool *p) noexcept nogil:
    """Fill in the windows; the plan's memory starts at h_start."""
    cdef fc_size h = p.h.out, w = p.w.out
    plan.p = p[0]
    plan.by_window = plan.turned = False
    cdef char *memory = allocate((h + w) * (2 * sizeof(fc_size) + sizeof(double)))
    if memory == NULL:
        return OUT_OF_MEMORY
    plan.h_start = <fc_size *> memory
    plan.h_end = plan.h_start + h
    plan.w_start = plan.h_end + h
    plan.w_end = plan.w_start + w
    plan.h_count = <double *> (plan.w_end + w)
    plan.w_count = plan.h_count + h
    windows(&p.h, p.include_pad, plan.h_start, plan.h_end, plan.h_count)
    windows(&p.w, p.include_pad, plan.w_start, plan.w_end, plan.w_count)
    return OK


cdef void inside(const PoolAxis *a, fc_size *lo, fc_size *hi) noexcept nogil:
    """Outputs in [lo, hi) have their whole window inside the image."""
    cdef fc_size span = (a.kernel - 1) * a.dilation + 1
    lo[0] = min(ceil_div(a.pad, a.stride), a.out)
    hi[0] = lo[0]
    if a.size + a.pad >= span:
        hi[0] = max(lo[0], min((a.size + a.pad - span) // a.stride + 1, a.out))


cdef void share_channels(Plan *plan) noexcept nogil:
    """Channels to a task: those of a row, or small planes by the dozen."""
    cdef const Pool *p = &plan.p
    plan.task_channels = plan.inner
    if plan.inner == 1:
        plan.task_channels = max(1, TASK_ELEMENTS // (p.h.size * p.w.size))
        while plan.task_channels > 1 and p.batch * ceil_div(p.channels, plan.task_channels) < TASKS:
            plan.task_channels = plan.task_channels // 2
    plan.channel_blocks = ceil_div(p.channels, plan.task_channels)


cdef bint goes_by_window(const Pool *p) noexcept nogil:
    """Whether to go window by window where channels are contiguous."""
    cdef fc_size size = p.kernels.itemsize
    if p.channels == 1 or p.x_c != size or p.y_c != size:
        return False
    if p.indices != NULL and p.i_c != sizeof(int64_t):
        return False
    return overlaps_little(p)


cdef bint overlaps_little(const Pool *p) noexcept nogil:
    """Whether windows may be gone through one by one, each reading all of its pixels."""
    cdef fc_size kernel_h = p.h.kernel, kernel_w = p.w.kernel, stride = p.w.stride
    # where it was found counts from the window's first pixel in the integer of the element's width
    if p.kernels.itemsize == 4 and p.h.size * p.w.size > (1 << 30):
        return False
    if p.h.adaptive:
        return True
    # of an output: elements read, and those that folding and sliding would move
    return kernel_h * kernel_w <= stride * (kernel_h + 1) + kernel_w


cdef bint plan_turned(Plan *plan) noexcept nogil:
    """Share out planes and rows for a task that turns its planes, if that is how to go."""
    cdef Pool *p = &plan.p
    cdef fc_size size = p.kernels.itemsize, step, rows
    if (p.indices == NULL or p.x_w != size or p.y_w != size or p.i_w != sizeof(int64_t)
            or p.x_h != p.w.size * size or p.y_h != p.w.out * size or p.i_h != p.w.out * 8
            or not overlaps_little(p)):
        return False
    if p.x_n == p.channels * p.x_c and p.y_n == p.channels * p.y_c and p.i_n == p.channels * p.i_c:
        p.channels *= p.batch  # the planes of all images lie evenly apart
        p.batch = 1
    if p.channels < p.kernels.lanes:
        return False
    plan.inner = plan.task_channels = min(p.channels, MIN_CHANNELS)
    plan.channel_blocks = ceil_div(p.channels, plan.inner)
    step = p.h.size // p.h.out + 1 if p.h.adaptive else p.h.stride
    rows = TURNED_BYTES // (step * p.w.size * plan.inner * size)
    rows = min(rows, ceil_div(p.h.out * p.batch * plan.channel_blocks, TASKS))
    plan.block_rows = max(1, min(rows, p.h.out))
    plan.row_blocks = ceil_div(p.h.out, plan.block_rows)
    cdef fc_size first, end, most = 0, i
    for i in range(plan.row_blocks):
        window_rows(plan, i * plan.block_rows, min((i + 1) * plan.block_rows, p.h.out), &first,
                    &end)
        most = max(most, end - first)
    plan.x_at = plan.divisor_at = 0
    plan.y_at = round_up(most * p.w.size * plan.inner * size)
    plan.i_at = plan.y_at + round_up(plan.block_rows * p.w.out * plan.inner * size)
    plan.scratch_bytes = plan.i_at + plan.block_rows * p.w.out * plan.inner * sizeof(int64_t)
    plan.turned = plan.scratch_bytes <= TURNED_MOST
    return plan.turned


cdef void window_rows(const Plan *plan, fc_size i0, fc_size i1, fc_size *first,
                      fc_size *end) noexcept nogil:
    """Input rows [first, end) hold the windows of output rows [i0, i1)."""
    cdef fc_size i
    first[0], end[0] = plan.h_start[i0], plan.h_end[i0]
    for i in range(i0 + 1, i1):  # a dilated window, clipped, may start before the one above it
        first[0] = min(first[0], plan.h_start[i])
        end[0] = max(end[0], plan.h_end[i])
    end[0] = max(first[0], end[0])


cdef void plan_windows(Plan *plan) noexcept nogil:
    """Share out channels and rows for a task that folds nothing: its scratch is divisors."""
    cdef const Pool *p = &plan.p
    cdef fc_size tasks = p.batch * p.h.out, blocks
    plan.by_window = True
    blocks = max(1, min(ceil_div(TASKS, max(1, tasks)), p.channels // MIN_CHANNELS))
    plan.inner = ceil_div(ceil_div(p.channels, blocks), MIN_CHANNELS) * MIN_CHANNELS
    plan.inner = min(plan.inner, p.channels)
    share_channels(plan)
    plan.block_rows = 1
    plan.row_blocks = p.h.out
    plan.divisor_at = 0
    plan.scratch_bytes = round_up(p.w.out * sizeof(double))


cdef void plan_rows(Plan *plan, fc_size rows) noexcept nogil:
    """Share out channels and `rows` rows, and lay out a task's scratch."""
    cdef const Pool *p = &plan.p
    cdef fc_size size = p.kernels.itemsize, widest = max(p.w.size, p.w.out)
    plan.inner = 1
    if p.x_c == size and p.channels > 1:
        plan.inner = max(1, min(p.channels, ROW_BYTES // (widest * size)))
    share_channels(plan)
    plan.row_blocks = max(1, min(rows, ceil_div(TASKS, max(1, p.batch * plan.channel_blocks))))
    plan.block_rows = max(1, ceil_div(rows, plan.row_blocks))
    plan.row_blocks = ceil_div(rows, plan.block_rows)
    cdef bint whole = plan.inner == p.channels or plan.inner == 1
    plan.x_rows = whole and p.x_w == plan.inner * size and (plan.inner == 1 or p.x_c == size)
    plan.y_rows = whole and p.y_w == plan.inner * size and (plan.inner == 1 or p.y_c == size)
    plan.i_rows = whole and p.i_w == plan.inner * 8 and (plan.inner == 1 or p.i_c == 8)
    plan.lo = plan.hi = 0
    if not p.w.adaptive:
        inside(&p.w, &plan.lo, &plan.hi)
    plan.row_at = 0
    plan.at_at = round_up(p.w.size * plan.inner * size)
    plan.x_at = 2 * plan.at_at
    plan.y_at = plan.x_at
    if not plan.x_rows:
        plan.y_at += (p.h.size if p.h.adaptive else min(p.h.size, p.h.kernel)) * plan.at_at
    plan.i_at = plan.y_at + round_up(p.w.out * plan.inner * size)
    plan.divisor_at = plan.i_at + round_up(p.w.out * plan.inner * sizeof(int64_t))
    plan.scratch_at = plan.divisor_at + round_up(p.w.out * sizeof(double))
    plan.scratch_bytes = plan.scratch_at + 2 * max(plan.inner, p.w.out) * size


# A task: some rows of some channels of an image; [c0, c0 + channels) are those of one row.
ctypedef struct Part:
    fc_size n, c0, channels, c_end, i0, i1


cdef Part find_part(const Plan *plan, fc_size task, fc_size rows) noexcept nogil:
    cdef Part t
    t.i0 = task % plan.row_blocks * plan.block_rows
    t.i1 = min(t.i0 + plan.block_rows, rows)
    task = task // plan.row_blocks
    t.c0 = task % plan.channel_blocks * plan.task_channels
    t.c_end = min(t.c0 + plan.task_channels, plan.p.channels)
    t.channels = min(plan.inner, t.c_end - t.c0)
    t.n = task // plan.channel_blocks
    return t


cdef fc_pool_slide slide_form(const Plan *plan, const Part *t, char *scratch) noexcept nogil:
    cdef const Pool *p = &plan.p
    cdef fc_pool_slide s
    s.row = scratch + plan.row_at
    s.at = NULL
    s.out = NULL
    s.indices = NULL
    s.scratch = scratch + plan.scratch_at
    s.start = plan.w_start
    s.end = plan.w_end
    s.step = 1 if p.w.adaptive else p.w.dilation
    s.divisor = <double *> (scratch + plan.divisor_at)
    s.width = p.w.size
    s.out_width = p.w.out
    s.inner = t.channels
    s.lo = plan.lo
    s.hi = plan.hi
    s.stride = p.w.stride
    s.taps = p.w.kernel
    return s


cdef void fill_divisors(const Plan *plan, fc_size i, char *scratch) noexcept nogil:
    cdef const Pool *p = &plan.p
    cdef double *divisor = <double *> (scratch + plan.divisor_at)
    cdef fc_size j
    for j in range(p.w.out):
        divisor[j] = plan.h_count[i] * plan.w_count[j]
        if p.divisor_override:
            divisor[j] = <double> p.divisor_override


cdef int forward_task(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef Plan *plan = <Plan *> context
    cdef Part t = find_part(plan, task, plan.p.h.out)
    if plan.turned:
        forward_turned(plan, &t, scratch)
        return OK
    if plan.by_window:
        forward_windows(plan, &t, scratch)
        return OK
    while t.c0 < t.c_end:
        forward_rows(plan, &t, scratch)
        t.c0 += plan.inner
    return OK


cdef void forward_windows(const Plan *plan, const Part *t, char *scratch) noexcept nogil:
    """The windows of some output rows."""
    cdef const Pool *p = &plan.p
    cdef fc_size step = 1 if p.h.adaptive else p.h.dilation, i, h
    cdef fc_pool_windows k
    k.x_h, k.x_w = step * p.x_h, p.x_w
    k.channels, k.out_width = t.channels, p.w.out
    k.start, k.end = plan.w_start, plan.w_end
    k.step = 1 if p.w.adaptive else p.w.dilation
    k.out_w, k.indices_w, k.index_h = p.y_w, p.i_w, step * p.w.size
    k.divisor = <double *> (scratch + plan.divisor_at)
    k.indices = NULL
    for i in range(t.i0, t.i1):
        h = plan.h_start[i]
        k.rows = max(0, ceil_div(plan.h_end[i] - h, step))
        k.x = p.x + t.n * p.x_n + t.c0 * p.x_c + h * p.x_h if k.rows else NULL
        k.index = h * p.w.size
        k.out = <char *> p.y + t.n * p.y_n + t.c0 * p.y_c + i * p.y_h
        if p.indices != NULL:
            k.indices = <char *> p.indices + t.n * p.i_n + t.c0 * p.i_c + i * p.i_h
        if p.average:
            fill_divisors(plan, i, scratch)
            p.kernels.mean_windows(&k)
        else:
            p.kernels.max_windows(&k)


cdef void forward_turned(const Plan *plan, const Part *part, char *scratch) noexcept nogil:
    """The same over planes, by way of [pixels][planes] in the scratch memory."""
    cdef const Pool *p = &plan.p
    cdef const fc_kernels *wide = kernels(FC_FLOAT64)
    cdef Plan turned = plan[0]
    cdef Pool *q = &turned.p
    cdef Part t = part[0]
    cdef fc_size size = p.kernels.itemsize, c = t.channels, first, end
    cdef fc_size outputs = (t.i1 - t.i0) * p.w.out
    cdef char *y = <char *> p.y + t.n * p.y_n + t.c0 * p.y_c + t.i0 * p.y_h
    cdef char *idx = <char *> p.indices + t.n * p.i_n + t.c0 * p.i_c + t.i0 * p.i_h
    window_rows(plan, t.i0, t.i1, &first, &end)
    p.kernels.copy2d(scratch + plan.x_at, c * size, size,
                     p.x + t.n * p.x_n + t.c0 * p.x_c + first * p.x_h, size, p.x_c,
                     (end - first) * p.w.size, c)
    q.x_c, q.x_w, q.x_h = size, c * size, p.w.size * c * size
    q.y_c, q.y_w, q.y_h = size, c * size, p.w.out * c * size
    q.i_c, q.i_w, q.i_h = 8, c * 8, p.w.out * c * 8
    q.x = scratch + plan.x_at - first * q.x_h
    q.y = scratch + plan.y_at - t.i0 * q.y_h
    q.indices = scratch + plan.i_at - t.i0 * q.i_h
    t.n = t.c0 = 0
    forward_windows(&turned, &t, scratch)
    p.kernels.copy2d(y, size, p.y_c, scratch + plan.y_at, c * size, size, outputs, c)
    wide.copy2d(idx, 8, p.i_c, scratch + plan.i_at, c * 8, 8, outputs, c)


cdef void fold(const Plan *plan, const Part *t, fc_size i, const fc_pool_slide *s,
               char *scratch) noexcept nogil:
    """The rows of output row i's windows to one row."""
    cdef const Pool *p = &plan.p
    cdef fc_size n = p.w.size * t.channels, h = plan.h_start[i], end = plan.h_end[i]
    cdef fc_size step = 1 if p.h.adaptive else p.h.dilation
    cdef char *lines
    cdef fc_size next = step * p.x_h, k, count = 0
    if h >= end:
        return
    cdef const char *rows = p.x + t.n * p.x_n + t.c0 * p.x_c + h * p.x_h
    if not plan.x_rows:  # copied side by side; a window has no more rows than there is room for
        lines = scratch + plan.x_at
        next = n * p.kernels.itemsize
        k = h
        while k < end:
            p.kernels.copy2d(lines + count * next, t.channels * p.kernels.itemsize,
                             p.kernels.itemsize, rows + (k - h) * p.x_h, p.x_w, p.x_c, p.w.size,
                             t.channels)
            count += 1
            k += step
        rows = lines
    if p.average:
        p.kernels.add_fold(s.row, rows, next, n, end - h, True)
    else:
        p.kernels.max_fold(s.row, <void *> s.at, rows, next, n, h, end, step)


cdef void forward_rows(const Plan *plan, const Part *part, char *scratch) noexcept nogil:
    cdef const Pool *p = &plan.p
    cdef Part t = part[0]
    cdef fc_size size = p.kernels.itemsize, i
    cdef bint empty
    cdef char *y
    cdef char *idx = NULL
    cdef fc_pool_slide s = slide_form(plan, &t, scratch)
    if p.indices != NULL:
        s.at = scratch + plan.at_at
    for i in range(t.i0, t.i1):
        y = <char *> p.y + t.n * p.y_n + t.c0 * p.y_c + i * p.y_h
        s.out = y if plan.y_rows else scratch + plan.y_at
        if p.indices != NULL:
            idx = <char *> p.indices + t.n * p.i_n + t.c0 * p.i_c + i * p.i_h
            s.indices = <int64_t *> (idx if plan.i_rows else scratch + plan.i_at)
        fold(plan, &t, i, &s, scratch)
        if p.average:
            fill_divisors(plan, i, scratch)
            p.kernels.mean_slide(&s)
        else:
            # a dilated window that steps over all rows is empty whatever its columns
            empty = plan.h_start[i] >= plan.h_end[i]
            s.end = plan.w_start if empty else plan.w_end
            s.hi = s.lo if empty else plan.hi
            p.kernels.max_slide(&s)
        if not plan.y_rows:
            p.kernels.copy2d(y, p.y_w, p.y_c, s.out, t.channels * size, size, p.w.out, t.channels)
        if idx != NULL and not plan.i_rows:
            kernels(FC_FLOAT64).copy2d(idx, p.i_w, p.i_c, s.indices, t.channels * 8, 8, p.w.out, t.channels)


cdef void clear_row(const Pool *p, char *row, fc_size channels) noexcept nogil:
    """Zero in [width][channels] of the input gradient, whatever its strides."""
    cdef fc_size size = p.kernels.itemsize
    cdef double zero = 0
    if channels == 1 and p.x_w == size:
        memset(row, 0, p.w.size * size)
    elif p.x_c == size and p.x_w == channels * size:
        memset(row, 0, p.w.size * channels * size)
    else:
        p.kernels.copy2d(row, p.x_w, p.x_c, &zero, 0, 0, p.w.size, channels)


cdef int mean_backward_task(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef Plan *plan = <Plan *> context
    cdef Part t = find_part(plan, task, plan.p.h.size)
    while t.c0 < t.c_end:
        mean_backward_rows(plan, &t, scratch)
        t.c0 += plan.inner
    return OK


cdef void mean_backward_rows(const Plan *plan, const Part *part, char *scratch) noexcept nogil:
    """Some input rows: each is the sum of the spread rows of the outputs whose windows cover it."""
    cdef const Pool *p = &plan.p
    cdef Part t = part[0]
    cdef fc_size size = p.kernels.itemsize, n = p.w.size * t.channels
    cdef fc_size i, h
    cdef char *x = <char *> p.x + t.n * p.x_n + t.c0 * p.x_c
    cdef char *row
    cdef const char *y
    cdef fc_pool_slide s = slide_form(plan, &t, scratch)
    cdef fc_size clean = t.i0  # rows before it have been written
    for i in range(p.h.out):
        if plan.h_end[i] <= t.i0:
            continue
        if plan.h_start[i] >= t.i1:
            break
        y = p.y + t.n * p.y_n + t.c0 * p.y_c + i * p.y_h
        s.out = <char *> y
        if not plan.y_rows:
            s.out = scratch + plan.y_at
            p.kernels.copy2d(s.out, t.channels * size, size, y, p.y_w, p.y_c, p.w.out, t.channels)
        fill_divisors(plan, i, scratch)
        p.kernels.mean_spread(&s)
        for h in range(clean, min(t.i1, plan.h_start[i])):
            clear_row(p, x + h * p.x_h, t.channels)
        for h in range(max(t.i0, plan.h_start[i]), min(t.i1, plan.h_end[i])):
            row = x + h * p.x_h if plan.x_rows else scratch + plan.x_at
            if not plan.x_rows and h < clean:
                p.kernels.copy2d(row, t.channels * size, size, x + h * p.x_h, p.x_w, p.x_c,
                                 p.w.size, t.channels)
            p.kernels.add_fold(row, s.row, 0, n, 1, h >= clean)
            if not plan.x_rows:
                p.kernels.copy2d(x + h * p.x_h, p.x_w, p.x_c, row, t.channels * size, size,
                                 p.w.size, t.channels)
        clean = max(clean, min(t.i1, plan.h_end[i]))
    for h in range(clean, t.i1):
        clear_row(p, x + h * p.x_h, t.channels)


cdef double work(const Pool *p) noexcept nogil:
    """Elements read, of the windows or of the input, whichever is more."""
    cdef double outputs = <double> p.batch * p.channels * p.h.out * p.w.out
    cdef double window = 1 if p.h.adaptive else <double> p.h.kernel * p.w.kernel
    return max(outputs * window, <double> p.batch * p.channels * p.h.size * p.w.size)


# ---------------------------------------------------------------- over whole planes

cdef bint is_global(const Pool *p) noexcept nogil:
    """A mean or maximum, without its index, over planes that lie in one run of memory each."""
    cdef fc_size size = p.kernels.itemsize
    return (p.indices == NULL and p.h.adaptive and p.h.out == 1 and p.w.out == 1
            and p.x_w == size and p.x_h == p.w.size * size)


cdef int whole_planes(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef Plan *plan = <Plan *> context
    cdef Pool *p = &plan.p
    cdef fc_size n = task // plan.channel_blocks
    cdef fc_size c0 = task % plan.channel_blocks * plan.task_channels
    cdef fc_size planes = min(plan.task_channels, p.channels - c0)
    cdef fc_size count = p.h.size * p.w.size
    cdef char *x = <char *> p.x + n * p.x_n + c0 * p.x_c
    cdef char *y = <char *> p.y + n * p.y_n + c0 * p.y_c
    if plan.backward:
        p.kernels.plane_fills(x, p.x_c, y, p.y_c, planes, count, <double> count)
    elif not p.average:
        p.kernels.plane_maxima(y, p.y_c, x, p.x_c, planes, count)
    else:
        p.kernels.plane_means(y, p.y_c, x, p.x_c, planes, count, <double> count)
    return OK


cdef int global_pool(const Pool *p, bint backward, int num_threads) noexcept nogil:
    cdef Plan plan
    plan.p = p[0]
    plan.inner = 1
    plan.backward = backward
    share_channels(&plan)
    return parallel_for(whole_planes, &plan, p.batch * plan.channel_blocks, 0, work(p), num_threads)


# ---------------------------------------------------------------- the way in

cdef Pool simplest(const Pool *p) noexcept nogil:
    """The same pooling, as plain as can be."""
    cdef Pool q = p[0]
    regular(&q.h)
    regular(&q.w)
    return q


cdef void regular(PoolAxis *a) noexcept nogil:
    """Adaptive windows that come out even are ordinary ones."""
    if a.adaptive and a.size % a.out == 0 and a.size // a.out <= MAX_TAPS:
        a.adaptive = False
        a.kernel = a.stride = a.size // a.out
        a.pad = 0
        a.dilation = 1


cdef int pool(const Pool *given, int num_threads) noexcept nogil:
    cdef Plan plan
    cdef Pool q = simplest(given)
    cdef const Pool *p = &q
    cdef int status
    if is_global(given):
        return global_pool(given, False, num_threads)
    status = prepare(&plan, p)
    if status == OK:
        if goes_by_window(p):
            plan_windows(&plan)
        elif not plan_turned(&plan):
            plan_rows(&plan, p.h.out)
        status = parallel_for(forward_task, &plan,
                              plan.p.batch * plan.channel_blocks * plan.row_blocks,
                              plan.scratch_bytes, work(p), num_threads)
        release(<char *> plan.h_start)
    return status


cdef int mean_backward(const Pool *given, int num_threads) noexcept nogil:
    """The whole of x is written."""
    cdef Plan plan
    cdef Pool q = simplest(given)
    cdef const Pool *p = &q
    cdef int status
    if is_global(given):
        return global_pool(given, True, num_threads)
    status = prepare(&plan, p)
    if status == OK:
        plan_rows(&plan, p.h.size)
        status = parallel_for(mean_backward_task, &plan,
                              p.batch * plan.channel_blocks * plan.row_blocks,
                              plan.scratch_bytes, work(p), num_threads)
        release(<char *> plan.h_start)
    return status


# ---------------------------------------------------------------- the gradient of maxima

cdef bint dense(const Pool *p, fc_size h, fc_size w) noexcept nogil:
    """Whether output pixels lie evenly apart, for these strides."""
    return p.h.out == 1 or h == p.w.out * w


cdef int scatter_planes(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """Windows may overlap, so a task owns whole planes: as many as lie side by side in memory."""
    cdef Plan *plan = <Plan *> context
    cdef Pool *p = &plan.p
    cdef fc_size size = p.kernels.itemsize, h, i
    cdef fc_size n = task // plan.channel_blocks
    cdef fc_size c0 = task % plan.channel_blocks * plan.task_channels
    cdef bint at_once = dense(p, p.y_h, p.y_w) and dense(p, p.i_h, p.i_w)
    cdef char *x = <char *> p.x + n * p.x_n + c0 * p.x_c
    cdef const char *y = p.y + n * p.y_n + c0 * p.y_c
    cdef const char *indices = p.indices + n * p.i_n + c0 * p.i_c
    cdef int status = OK
    cdef fc_max_scatter k
    k.dx, k.planes = x, min(plan.task_channels, p.channels - c0)
    k.plane = p.h.size * p.w.size
    k.pixels = p.h.out * p.w.out if at_once else p.w.out
    k.x_c, k.x_pixel = p.x_c // size, p.x_w // size
    k.y_c, k.y_pixel = p.y_c // size, p.y_w // size
    k.i_c, k.i_pixel = p.i_c // 8, p.i_w // 8
    if k.x_pixel == 1 and (k.x_c == k.plane or k.planes == 1):
        memset(x, 0, k.planes * k.plane * size)
    else:
        for h in range(p.h.size):
            clear_row(p, x + h * p.x_h, k.planes)
    for i in range(1 if at_once else p.h.out):
        k.dy, k.indices = y + i * p.y_h, <const int64_t *> (indices + i * p.i_h)
        if p.kernels.max_scatter(&k) != 0:
            status = INDEX_OUT_OF_RANGE
    return status


cdef bint may_be_tiles(const Pool *p) noexcept nogil:
    """Whether windows as high and wide as fit side by side can be told apart, channels together."""
    cdef fc_size size = p.kernels.itemsize
    return (p.channels >= p.kernels.lanes and p.x_c == size and p.y_c == size
            and p.i_c == sizeof(int64_t) and p.h.out <= p.h.size and p.w.out <= p.w.size
            and p.h.size * p.w.size < (1 << 24))


cdef int write_tiles(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """The input rows under one output row, if its indices lie in windows side by side."""
    cdef Plan *plan = <Plan *> context
    cdef Pool *p = &plan.p
    cdef Part t = find_part(plan, task, p.h.out)
    cdef fc_size i = t.i0, h, w, size = p.kernels.itemsize
    cdef fc_max_tiles k
    k.rows, k.cols = p.h.size // p.h.out, p.w.size // p.w.out
    cdef fc_size top = i * k.rows
    k.dx = <char *> p.x + t.n * p.x_n + t.c0 * p.x_c + top * p.x_h
    k.dy = p.y + t.n * p.y_n + t.c0 * p.y_c + i * p.y_h
    k.indices = p.indices + t.n * p.i_n + t.c0 * p.i_c + i * p.i_h
    k.dx_h, k.dx_w, k.dy_w, k.indices_w = p.x_h, p.x_w, p.y_w, p.i_w
    k.out_width, k.channels = p.w.out, t.channels
    k.index, k.index_h = top * p.w.size, p.w.size
    if p.kernels.max_tiles(&k) != 0:
        return NOT_TILES
    # what no window covers: columns at the right, and rows at the bottom
    for h in range(k.rows):
        for w in range(p.w.out * k.cols, p.w.size):
            memset(k.dx + h * p.x_h + w * p.x_w, 0, t.channels * size)
    if i == p.h.out - 1:
        for h in range(k.rows, p.h.size - top):
            clear_row(p, k.dx + h * p.x_h, t.channels)
    return OK


cdef int max_backward(const Pool *p, int num_threads) noexcept nogil:
    """The whole of x is written; its rows follow each other without a gap."""
    cdef Plan plan
    cdef int status
    plan.p = p[0]
    if may_be_tiles(p):
        plan_windows(&plan)
        status = parallel_for(write_tiles, &plan, p.batch * plan.channel_blocks * plan.row_blocks,
                              0, work(p), num_threads)
        if status != NOT_TILES:
            return status
    plan.inner = 1
    if p.x_c == p.kernels.itemsize and p.y_c == p.x_c and p.i_c == sizeof(int64_t):
        plan.inner = min(p.channels, SCATTER_CHANNELS)
    share_channels(&plan)
    return parallel_for(scatter_planes, &plan, p.batch * plan.channel_blocks, 0, work(p),
                        num_threads)
