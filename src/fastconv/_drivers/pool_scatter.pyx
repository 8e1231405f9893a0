"""The gradient of maxima, scattered: each element of y is added to x where its index says.

Windows may overlap, so a task owns whole planes: as many as lie side by side in memory, or small
ones by the dozen. What is cleared is in cache when it is added to: a few small planes at a time
are, or so much of a larger one as indices have come to.
"""

from libc.stdint cimport int64_t
from libc.string cimport memset

from fastconv._drivers.axis cimport D, H, W
from fastconv._drivers.blocking cimport (
    POOL_MIN_CHANNELS, POOL_SCATTER_BYTES, POOL_SCATTER_CHANNELS, TASKS, ceil_div, next_index)
from fastconv._drivers.kernels cimport fc_max_scatter, fc_size
from fastconv._drivers.pool cimport Pool, Strided
from fastconv._drivers.pool_common cimport (
    clear_pixels, pixel_at, pixels_in, planes_of_task, rows_follow, work)
from fastconv._drivers.runtime cimport INDEX_OUT_OF_RANGE, OK, parallel_for


ctypedef struct PoolScatterPlan:
    const Pool *pool
    fc_size task_planes, plane_blocks
    fc_size rows, pixels  # of y: all of a plane's pixels at a time, or those of a row
    bint together         # a pixel's channels lie together
    fc_size group         # planes that the kernel takes at a time


cdef bint has_even_pixels(const Pool *p, const Strided *a) noexcept nogil:
    """Whether the pixels of an array of y's shape lie evenly apart."""
    return rows_follow(a, p.axis[D].out, p.axis[H].out, p.axis[W].out)


cdef void clear_planes(const Pool *p, char *x, fc_size pixels, fc_size planes) noexcept nogil:
    """Zero [pixels][planes] of x."""
    cdef fc_size size = p.kernels.itemsize
    if p.x.stride[W] == size and p.x.stride_c == pixels * size:
        memset(x, 0, planes * pixels * size)
    else:
        clear_pixels(p, x, pixels, planes)


cdef int move_group(const PoolScatterPlan *plan, fc_max_scatter *k, fc_size n, fc_size c,
                    bint gather) noexcept nogil:
    """Between planes of x and of y that the kernel takes together."""
    cdef const Pool *p = plan.pool
    cdef fc_size i, d, h
    cdef int wrong = 0
    k.dx = pixel_at(&p.x, n, c, 0, 0, 0)
    k.cleared = 0
    if gather:
        k.cleared = k.plane
    elif k.planes > 1 and not plan.together:
        clear_planes(p, <char *> k.dx, k.plane, k.planes)
        k.cleared = k.plane
    for i in range(plan.rows):
        d, h = i // p.axis[H].out, i % p.axis[H].out
        k.dy = pixel_at(&p.y, n, c, d, h, 0)
        k.indices = <const int64_t *> pixel_at(&p.indices, n, c, d, h, 0)
        wrong |= p.kernels.max_gather(k) if gather else p.kernels.max_scatter(k)
    if k.cleared < k.plane:
        clear_planes(p, <char *> k.dx + k.cleared * p.x.stride[W], k.plane - k.cleared, k.planes)
    return INDEX_OUT_OF_RANGE if wrong else OK


cdef int move_planes(const PoolScatterPlan *plan, fc_size task, bint gather) noexcept nogil:
    """Between a task's planes of x and of y."""
    cdef const Pool *p = plan.pool
    cdef fc_size size = p.kernels.itemsize
    cdef fc_size c = next_index(&task, plan.plane_blocks) * plan.task_planes
    cdef fc_size end = min(c + plan.task_planes, p.channels)
    cdef int status = OK
    cdef fc_max_scatter k
    k.plane, k.pixels = pixels_in(p), plan.pixels
    k.x_c, k.x_pixel = p.x.stride_c // size, p.x.stride[W] // size
    k.y_c, k.y_pixel = p.y.stride_c // size, p.y.stride[W] // size
    k.i_c = p.indices.stride_c // <fc_size> sizeof(int64_t)
    k.i_pixel = p.indices.stride[W] // <fc_size> sizeof(int64_t)
    k.assign = p.assign
    while c < end:
        k.planes = min(plan.group, end - c)
        if move_group(plan, &k, task, c, gather) != OK:
            status = INDEX_OUT_OF_RANGE
        c += k.planes
    return status


cdef int backward_planes(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    return move_planes(<PoolScatterPlan *> context, task, False)


cdef int gather_planes(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    return move_planes(<PoolScatterPlan *> context, task, True)


cdef fc_size channels_of_task(const Pool *p) noexcept nogil:
    """Of channels-last images: the more, the longer the runs that are read; whole cache lines."""
    cdef fc_size channels = min(p.channels, POOL_SCATTER_CHANNELS)
    while (channels >= 2 * POOL_MIN_CHANNELS
           and p.batch * ceil_div(p.channels, channels) < TASKS // 2):
        channels = ceil_div(channels, 2)
    return min(p.channels, ceil_div(channels, 16) * 16)


cdef PoolScatterPlan make_plan(const Pool *p) noexcept nogil:
    cdef fc_size size = p.kernels.itemsize
    cdef PoolScatterPlan plan
    plan.pool = p
    plan.rows, plan.pixels = p.axis[D].out * p.axis[H].out, p.axis[W].out
    if has_even_pixels(p, &p.y) and has_even_pixels(p, &p.indices):
        plan.rows, plan.pixels = 1, plan.rows * plan.pixels
    plan.task_planes = planes_of_task(p)
    plan.together = (p.x.stride_c == size and p.y.stride_c == size
                     and p.indices.stride_c == sizeof(int64_t) and p.channels > 1)
    plan.group = max(1, POOL_SCATTER_BYTES // (pixels_in(p) * size))
    if plan.together:
        plan.group = plan.task_planes = channels_of_task(p)
    plan.plane_blocks = ceil_div(p.channels, plan.task_planes)
    return plan


cdef int run_backward(const Pool *p, int num_threads) noexcept nogil:
    cdef PoolScatterPlan plan = make_plan(p)
    return parallel_for(backward_planes, &plan, p.batch * plan.plane_blocks, 0, work(p),
                        num_threads)


cdef int run_gather(const Pool *p, int num_threads) noexcept nogil:
    cdef PoolScatterPlan plan = make_plan(p)
    return parallel_for(gather_planes, &plan, p.batch * plan.plane_blocks, 0, work(p),
                        num_threads)
