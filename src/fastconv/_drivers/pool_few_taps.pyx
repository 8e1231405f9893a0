"""Pooling with windows of few taps, all of them inside contiguous planes: 2x2 in steps of 2, say.

What pool_rows would fold into a row, and read back at once, stays in registers; and a call of the
kernel is for many rows, which in small planes are few instructions apart.
"""

from fastconv._drivers.axis cimport Axis, D, H, W
from fastconv._drivers.blocking cimport POOL_MAX_FEW_TAPS
from fastconv._drivers.kernels cimport fc_pool_few_taps, fc_size
from fastconv._drivers.pool cimport Pool
from fastconv._drivers.pool_blocks cimport (
    RowBlock, RowBlocks, find_block, number_of_tasks, share_rows)
from fastconv._drivers.pool_common cimport pixel_at, work
from fastconv._drivers.runtime cimport OK, parallel_for


ctypedef struct PoolFewTapsPlan:
    const Pool *pool
    Axis d, h, w  # with adaptive windows as ordinary ones
    RowBlocks blocks  # of outputs


cdef Axis as_ordinary(const Pool *p, int axis) noexcept nogil:
    """The axis, whose adaptive windows come out even if any is usable."""
    cdef Axis a = p.axis[axis]
    if p.adaptive:
        a.kernel = a.stride = a.size // a.out
        a.dilation, a.pad_before = 1, 0
    return a


cdef bint windows_inside(const Pool *p, int axis) noexcept nogil:
    """Whether the windows of an axis hold no padding, and adaptive ones come out even."""
    cdef Axis a = as_ordinary(p, axis)
    if p.adaptive:
        return p.axis[axis].size % p.axis[axis].out == 0
    return (a.pad_before == 0
            and (a.out - 1) * a.stride + (a.kernel - 1) * a.dilation < a.size)


cdef bint is_usable(const Pool *p) noexcept nogil:
    """No indices, contiguous rows, and few taps, of neighbours or of every second column."""
    cdef fc_size size = p.kernels.itemsize
    cdef Axis h = as_ordinary(p, H), w = as_ordinary(p, W)
    return (p.indices.data == NULL and p.x.stride[W] == size and p.y.stride[W] == size
            and (p.channels == 1 or p.x.stride_c != size)
            and w.stride <= 2 and h.kernel <= POOL_MAX_FEW_TAPS
            and w.kernel <= POOL_MAX_FEW_TAPS and h.kernel * w.kernel <= POOL_MAX_FEW_TAPS
            and as_ordinary(p, D).kernel == 1 and windows_inside(p, D) and windows_inside(p, H)
            and windows_inside(p, W))


cdef int forward_block(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """Some rows of some slices of outputs, of some channels."""
    cdef const PoolFewTapsPlan *plan = <PoolFewTapsPlan *> context
    cdef const Pool *p = plan.pool
    cdef RowBlock b = find_block(&plan.blocks, p, task)
    cdef fc_pool_few_taps k
    cdef fc_size c, d
    k.x_h, k.x_r = plan.h.stride * p.x.stride[H], plan.h.dilation * p.x.stride[H]
    k.out_h, k.out_height, k.out_width = p.y.stride[H], b.rows.end - b.rows.start, plan.w.out
    k.rows, k.taps, k.step, k.stride = plan.h.kernel, plan.w.kernel, plan.w.dilation, plan.w.stride
    k.divisor = <double> (p.divisor_override if p.divisor_override else k.rows * k.taps)
    for c in range(b.c, b.c_end):
        for d in range(b.slices.start, b.slices.end):
            k.x = pixel_at(&p.x, b.n, c, d * plan.d.stride, b.rows.start * plan.h.stride, 0)
            k.out = pixel_at(&p.y, b.n, c, d, b.rows.start, 0)
            if p.average:
                p.kernels.mean_few_taps(&k)
            else:
                p.kernels.max_few_taps(&k)
    return OK


cdef int run_forward(const Pool *p, int num_threads) noexcept nogil:
    cdef PoolFewTapsPlan plan
    plan.pool = p
    plan.d, plan.h, plan.w = as_ordinary(p, D), as_ordinary(p, H), as_ordinary(p, W)
    plan.blocks = share_rows(p, plan.d.out, plan.h.out, plan.w.out)
    return parallel_for(forward_block, &plan, number_of_tasks(&plan.blocks, p), 0, work(p),
                        num_threads)
