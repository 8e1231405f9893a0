"""Padding of any number of axes, and its gradient.

Along an axis every output is one input, or a constant. The map between them is at most three runs
(PadRun): what lies before, the interior, what lies after. A choice of one run for every axis makes
a region of the output, which is a strided copy of a region of the input. The gradient goes the same
way back: the interior is copied, then all other regions are added to it.
"""

from libc.string cimport memset

from fastconv._drivers.blocking cimport PAD_TASK_BYTES, ceil_div, next_index
from fastconv._drivers.kernels cimport fc_size
from fastconv._drivers.numbers cimport put_number
from fastconv._drivers.runtime cimport OK, parallel_for


cdef enum:
    MAX_REGION_AXES = MAX_PAD_AXES + 2


# ---------------------------------------------------------------- the map of an axis

# Indices of an axis: [start, end).
ctypedef struct Span:
    fc_size start, end


cdef bint set_pad_axis(PadAxis *a, fc_size size, fc_size before, fc_size after,
                       int mode) noexcept nogil:
    cdef fc_size out = size + before + after, kept = size + min(before, 0) + min(after, 0)
    # the interior is [start, end); where more is cropped than there is, it is empty
    cdef fc_size start = min(max(before, 0), out), end = max(min(before + size, out), start)
    cdef PadRun *middle = &a.run[0]
    cdef PadRun *left = &a.run[1]
    cdef PadRun *right = &a.run[2]
    if out < 0:
        return False
    a.size, a.out = size, out
    left.out, left.count = 0, start
    middle.out, middle.count = start, end - start
    right.out, right.count = end, out - end
    left.constant = right.constant = mode == PAD_CONSTANT
    middle.constant = False
    middle.src, middle.step = start - before, 1
    if mode == PAD_CONSTANT:
        left.src = right.src = left.step = right.step = 0
        return kept >= 0
    if mode == PAD_REFLECT:
        left.src, right.src = before, 2 * (size - 1) - (end - before)
        left.step = right.step = -1
        return max(before, after) < max(size, 1)
    if mode == PAD_REPLICATE:
        left.src, right.src = 0, size - 1
        left.step = right.step = 0
        return size > 0 or max(before, after) <= 0
    left.src, right.src = max(-before, 0) + kept - before, max(-before, 0)
    left.step = right.step = 1
    return max(before, after, 0) <= kept


cdef inline PadRun clip_outputs(const PadRun *run, Span at) noexcept nogil:
    """The part of a run whose outputs lie in `at`."""
    cdef PadRun part = run[0]
    cdef fc_size start = max(run.out, at.start)
    part.count = min(run.out + run.count, at.end) - start
    part.out, part.src = start, run.src + (start - run.out) * run.step
    return part


cdef inline PadRun clip_inputs(const PadRun *run, Span at) noexcept nogil:
    """The part of a run whose inputs lie in `at`."""
    cdef PadRun part = run[0]
    cdef fc_size skip = 0
    if run.step == 0:
        part.count = run.count if at.start <= run.src < at.end else 0
        return part
    if run.step > 0:
        skip = max(0, at.start - run.src)
        part.count = min(run.count, at.end - run.src) - skip
    else:
        skip = max(0, run.src - (at.end - 1))
        part.count = min(run.count, run.src - at.start + 1) - skip
    part.out, part.src = run.out + skip, run.src + skip * run.step
    return part


# ---------------------------------------------------------------- tasks

# Tasks own a block of what is written: one index of every axis before `cut`, `piece` of that one,
# all of those behind it.
ctypedef struct PadPlan:
    const Pad *p
    bint backward    # what is written is the input's gradient, else the output
    int cut
    fc_size piece, pieces
    fc_size tasks
    bint cropped     # some inputs are no output
    double value     # room for the constant

# A task's indices of every axis, and where they begin in memory, without a gap.
ctypedef struct PadBlock:
    Span at[MAX_PAD_AXES]
    fc_size offset, elements


cdef inline fc_size written_size(const PadPlan *plan, int axis) noexcept nogil:
    return plan.p.axis[axis].size if plan.backward else plan.p.axis[axis].out


cdef inline fc_size written_stride(const PadPlan *plan, int axis) noexcept nogil:
    return plan.p.axis[axis].x if plan.backward else plan.p.axis[axis].y


cdef double elements_moved(const Pad *p) noexcept nogil:
    """Of the input or the output, whichever has more."""
    cdef double inputs = 1, outputs = 1
    cdef int i
    for i in range(p.rank):
        inputs *= p.axis[i].size
        outputs *= p.axis[i].out
    return max(inputs, outputs)


cdef void cut_into_tasks(PadPlan *plan) noexcept nogil:
    """Along the outermost axis of which one index is not too much for a task."""
    cdef double nbytes = elements_moved(plan.p) * plan.p.kernels.itemsize
    plan.cut, plan.tasks = 0, 1
    nbytes /= max(1, written_size(plan, 0))  # of one index
    while nbytes > PAD_TASK_BYTES and plan.cut < plan.p.rank - 1:
        plan.tasks *= written_size(plan, plan.cut)
        plan.cut += 1
        nbytes /= max(1, written_size(plan, plan.cut))
    plan.piece = max(1, <fc_size> (PAD_TASK_BYTES / max(nbytes, 1)))
    plan.pieces = ceil_div(written_size(plan, plan.cut), plan.piece)
    plan.tasks *= plan.pieces


cdef void make_plan(PadPlan *plan, const Pad *p, bint backward) noexcept nogil:
    cdef int i
    plan.p, plan.backward, plan.cropped = p, backward, False
    for i in range(p.rank):
        plan.cropped |= p.axis[i].run[0].count < p.axis[i].size
    put_number(p.kernels.dtype, &plan.value, p.value)
    cut_into_tasks(plan)


cdef void find_block(const PadPlan *plan, fc_size task, PadBlock *b) noexcept nogil:
    cdef fc_size size
    cdef int i
    b.elements, b.offset = 1, 0
    for i in range(plan.p.rank - 1, -1, -1):
        size = written_size(plan, i)
        b.at[i].start, b.at[i].end = 0, size
        if i == plan.cut:
            b.at[i].start = next_index(&task, plan.pieces) * plan.piece
            b.at[i].end = min(b.at[i].start + plan.piece, size)
        elif i < plan.cut:
            b.at[i].start = next_index(&task, size)
            b.at[i].end = b.at[i].start + 1
        b.elements *= b.at[i].end - b.at[i].start
        b.offset += b.at[i].start * written_stride(plan, i)


# ---------------------------------------------------------------- a block, region by region

# What one run of every axis makes of a block: axes of `count` elements, by strides in bytes where
# they are written and where they are read. Those of one element are left out, but for two at the
# start, so that there are two.
ctypedef struct Region:
    int rank
    fc_size count[MAX_REGION_AXES]
    fc_size to[MAX_REGION_AXES]
    fc_size source[MAX_REGION_AXES]


cdef inline void add_axis(Region *r, fc_size count, fc_size to, fc_size source) noexcept nogil:
    r.count[r.rank], r.to[r.rank], r.source[r.rank] = count, to, source
    r.rank += 1


cdef void move_region(const PadPlan *plan, const Region *r, int axis, char *to, const char *source,
                      bint add) noexcept nogil:
    """Copy a region, or add it to what is there, from an axis on."""
    cdef int w = axis + 1
    cdef fc_size k
    if axis < r.rank - 2:
        for k in range(r.count[axis]):
            move_region(plan, r, axis + 1, to + k * r.to[axis], source + k * r.source[axis], add)
    elif add:
        plan.p.kernels.add2d(to, r.to[axis], r.to[w], source, r.source[axis], r.source[w],
                             r.count[axis], r.count[w])
    else:
        plan.p.kernels.copy2d(to, r.to[axis], r.to[w], source, r.source[axis], r.source[w],
                              r.count[axis], r.count[w])


cdef void fill_region(const PadPlan *plan, const Region *r, char *y, fc_size n) noexcept nogil:
    """The constant to n elements side by side, for every choice of a region's indices."""
    cdef Region same
    cdef int i
    same.rank = 0
    for i in range(r.rank):
        add_axis(&same, r.count[i], r.to[i], 0)
    if n > 1:
        add_axis(&same, n, plan.p.kernels.itemsize, 0)
    move_region(plan, &same, 0, y, <const char *> &plan.value, False)


cdef void write_regions(const PadPlan *plan, const PadBlock *b, int axis, Region *r, char *y,
                        const char *x) noexcept nogil:
    """Every choice of runs from an axis on; y and x are where those before it begin."""
    cdef const PadAxis *a = &plan.p.axis[axis]
    cdef PadRun run
    cdef int rank = r.rank, i
    if axis == plan.p.rank:
        move_region(plan, r, 0, y, x, False)
        return
    for i in range(PAD_RUNS):
        run = clip_outputs(&a.run[i], b.at[axis])
        if run.count <= 0:
            continue
        if run.constant:  # what is behind these outputs is without a gap
            fill_region(plan, r, y + run.out * a.y, run.count * (a.y // plan.p.kernels.itemsize))
            continue
        if run.count > 1:
            add_axis(r, run.count, a.y, run.step * a.x)
        write_regions(plan, b, axis + 1, r, y + run.out * a.y, x + run.src * a.x)
        r.rank = rank


cdef void add_regions(const PadPlan *plan, const PadBlock *b, int axis, Region *r, char *x,
                      const char *y, bint add) noexcept nogil:
    """The same the other way; the interior of all axes comes first and is copied, not added."""
    cdef const PadAxis *a = &plan.p.axis[axis]
    cdef PadRun run
    cdef int rank = r.rank, i
    if axis == plan.p.rank:
        move_region(plan, r, 0, x, y, add)
        return
    for i in range(PAD_RUNS):
        run = clip_inputs(&a.run[i], b.at[axis])
        if run.count <= 0 or run.constant:
            continue
        if run.count > 1:
            add_axis(r, run.count, run.step * a.x, a.y)
        add_regions(plan, b, axis + 1, r, x + run.src * a.x, y + run.out * a.y, add or i > 0)
        r.rank = rank


# ---------------------------------------------------------------- forward and backward

cdef Region no_axes() noexcept nogil:
    cdef Region r
    r.rank = 0
    add_axis(&r, 1, 0, 0)
    add_axis(&r, 1, 0, 0)
    return r


cdef bint is_constant(const PadPlan *plan, const PadBlock *b) noexcept nogil:
    """Whether an axis before the cut makes the constant of all of a block."""
    cdef PadRun run
    cdef int axis, i
    for axis in range(plan.cut):
        for i in range(PAD_RUNS):
            run = clip_outputs(&plan.p.axis[axis].run[i], b.at[axis])
            if run.count > 0 and run.constant:
                return True
    return False


cdef int forward_task(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef const PadPlan *plan = <const PadPlan *> context
    cdef PadBlock b
    cdef Region r = no_axes()
    find_block(plan, task, &b)
    if is_constant(plan, &b):
        fill_region(plan, &r, plan.p.y + b.offset, b.elements)
    else:
        write_regions(plan, &b, 0, &r, plan.p.y, plan.p.x)
    return OK


cdef int backward_task(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef const PadPlan *plan = <const PadPlan *> context
    cdef PadBlock b
    cdef Region r = no_axes()
    find_block(plan, task, &b)
    if plan.cropped:
        memset(plan.p.x + b.offset, 0, b.elements * plan.p.kernels.itemsize)
    add_regions(plan, &b, 0, &r, plan.p.x, plan.p.y, False)
    return OK


cdef int run_pad(const Pad *p, bint backward, int num_threads) noexcept nogil:
    cdef PadPlan plan
    make_plan(&plan, p, backward)
    return parallel_for(backward_task if backward else forward_task, &plan, plan.tasks, 0,
                        elements_moved(p), num_threads)


cdef int pad_forward(const Pad *p, int num_threads) noexcept nogil:
    return run_pad(p, False, num_threads)


cdef int pad_backward(const Pad *p, int num_threads) noexcept nogil:
    return run_pad(p, True, num_threads)
