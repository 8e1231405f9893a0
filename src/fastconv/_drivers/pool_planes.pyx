"""Global pooling over whole planes: one mean or maximum of each, and a mean's gradient."""

from fastconv._drivers.axis cimport D, H, W
from fastconv._drivers.blocking cimport ceil_div, next_index
from fastconv._drivers.kernels cimport fc_size
from fastconv._drivers.pool cimport Pool
from fastconv._drivers.pool_common cimport (
    pixel_at, pixels_in, planes_of_task, rows_follow, work)
from fastconv._drivers.runtime cimport OK, parallel_for


ctypedef struct PoolPlanesPlan:
    const Pool *pool
    fc_size pixels  # of a plane
    fc_size task_planes, plane_blocks


# A task's planes: some channels of an image.
ctypedef struct Planes:
    char *x
    char *y
    fc_size count


cdef bint is_usable(const Pool *p) noexcept nogil:
    """One output a plane, without its index, where each plane lies in one run of memory."""
    cdef fc_size size = p.kernels.itemsize
    return (p.adaptive and p.axis[D].out == 1 and p.axis[H].out == 1 and p.axis[W].out == 1
            and p.indices.data == NULL and p.x.stride[W] == size
            and rows_follow(&p.x, p.axis[D].size, p.axis[H].size, p.axis[W].size))


cdef Planes find_planes(const PoolPlanesPlan *plan, fc_size task) noexcept nogil:
    cdef const Pool *p = plan.pool
    cdef fc_size c = next_index(&task, plan.plane_blocks) * plan.task_planes
    cdef Planes planes
    planes.x = pixel_at(&p.x, task, c, 0, 0, 0)
    planes.y = pixel_at(&p.y, task, c, 0, 0, 0)
    planes.count = min(plan.task_planes, p.channels - c)
    return planes


cdef int forward_planes(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef const PoolPlanesPlan *plan = <PoolPlanesPlan *> context
    cdef const Pool *p = plan.pool
    cdef Planes planes = find_planes(plan, task)
    if p.average:
        p.kernels.plane_means(planes.y, p.y.stride_c, planes.x, p.x.stride_c, planes.count,
                              plan.pixels, <double> plan.pixels)
    else:
        p.kernels.plane_maxima(planes.y, p.y.stride_c, planes.x, p.x.stride_c, planes.count,
                               plan.pixels)
    return OK


cdef int backward_planes(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef const PoolPlanesPlan *plan = <PoolPlanesPlan *> context
    cdef const Pool *p = plan.pool
    cdef Planes planes = find_planes(plan, task)
    p.kernels.plane_fills(planes.x, p.x.stride_c, planes.y, p.y.stride_c, planes.count,
                          plan.pixels, <double> plan.pixels)
    return OK


cdef PoolPlanesPlan make_plan(const Pool *p) noexcept nogil:
    cdef PoolPlanesPlan plan
    plan.pool = p
    plan.pixels = pixels_in(p)
    plan.task_planes = planes_of_task(p)
    plan.plane_blocks = ceil_div(p.channels, plan.task_planes)
    return plan


cdef int run_forward(const Pool *p, int num_threads) noexcept nogil:
    cdef PoolPlanesPlan plan = make_plan(p)
    return parallel_for(forward_planes, &plan, p.batch * plan.plane_blocks, 0, work(p),
                        num_threads)


cdef int run_backward(const Pool *p, int num_threads) noexcept nogil:
    cdef PoolPlanesPlan plan = make_plan(p)
    return parallel_for(backward_planes, &plan, p.batch * plan.plane_blocks, 0, work(p),
                        num_threads)
