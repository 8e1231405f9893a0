"""Maxima and their indices of narrow contiguous planes, by way of channels-last scratch memory.

Rows of a few pixels would leave most of a vector empty. So a block of planes is copied to
[pixels][planes], pooled there window by window, and its outputs are copied back.
"""

from libc.stdint cimport int64_t

from fastconv._drivers.axis cimport AXES, Axis, D, H, W
from fastconv._drivers.blocking cimport (
    POOL_MAX_STAGED_BYTES, POOL_MIN_CHANNELS, POOL_STAGED_BYTES, TASKS, ceil_div, next_index)
from fastconv._drivers.kernels cimport FC_FLOAT64, fc_kernels, fc_size
from fastconv._drivers.pool cimport Pool, Strided
from fastconv._drivers.pool_common cimport (
    AxisWindows, Span, clip_windows, inputs_under, max_inputs_under, pixel_at, read_pixels,
    release_windows, reserve, rows_follow, work, write_pixels)
from fastconv._drivers.pool_windows cimport overlap_little, pool_row
from fastconv._drivers.runtime cimport OK, kernels, parallel_for


ctypedef struct PoolStagedPlan:
    Pool pool  # where planes of all images lie evenly apart, they are the channels of one
    AxisWindows windows[AXES]
    fc_size block_planes, plane_blocks
    fc_size block_rows, row_blocks  # of a slice of outputs
    fc_size in_rows                 # room for so many rows under them, of each slice of x
    # scratch: rows of x | rows of y | rows of indices
    fc_size x_at, y_at, indices_at, scratch_bytes


cdef bint lies_in_planes(const Strided *a, fc_size depth, fc_size height, fc_size width,
                         fc_size itemsize) noexcept nogil:
    # whether its planes have no gaps
    return a.stride[W] == itemsize and rows_follow(a, depth, height, width)


cdef bint is_usable(const Pool *p) noexcept nogil:
    """Indices wanted, contiguous planes of narrow rows, and windows that overlap little."""
    cdef PoolStagedPlan plan
    cdef const Axis *d = &p.axis[D]
    cdef const Axis *h = &p.axis[H]
    cdef const Axis *w = &p.axis[W]
    cdef fc_size size = p.kernels.itemsize
    if not (not p.average and p.indices.data != NULL
            and lies_in_planes(&p.x, d.size, h.size, w.size, size)
            and lies_in_planes(&p.y, d.out, h.out, w.out, size)
            and lies_in_planes(&p.indices, d.out, h.out, w.out, sizeof(int64_t))
            and overlap_little(p)):
        return False
    plan = make_plan(p)
    # beyond that, rows are wide, and as fast where they lie
    return (plan.pool.channels >= p.kernels.lanes
            and plan.scratch_bytes <= POOL_MAX_STAGED_BYTES)


cdef void join_images(Pool *p) noexcept nogil:
    """All planes as channels of one image, if they lie evenly apart."""
    if (p.x.stride_n == p.channels * p.x.stride_c and p.y.stride_n == p.channels * p.y.stride_c
            and p.indices.stride_n == p.channels * p.indices.stride_c):
        p.channels *= p.batch
        p.batch = 1


cdef PoolStagedPlan make_plan(const Pool *given) noexcept nogil:
    """All but the windows."""
    cdef PoolStagedPlan plan
    cdef Pool *p = &plan.pool
    cdef const Axis *h = &given.axis[H]
    cdef fc_size width = given.axis[W].size, out_width = given.axis[W].out
    cdef fc_size size = given.kernels.itemsize, rows, stride
    cdef fc_size slices = max_inputs_under(&given.axis[D], given.adaptive, 1)
    plan.pool = given[0]
    join_images(p)
    plan.block_planes = max(1, min(p.channels, POOL_MIN_CHANNELS))
    plan.plane_blocks = ceil_div(p.channels, plan.block_planes)
    stride = ceil_div(h.size, h.out) if p.adaptive else min(h.stride, h.size)
    rows = POOL_STAGED_BYTES // (slices * stride * width * plan.block_planes * size)
    rows = min(rows, ceil_div(h.out * p.batch * p.axis[D].out * plan.plane_blocks, TASKS))
    plan.block_rows = max(1, min(rows, h.out))
    plan.row_blocks = ceil_div(h.out, plan.block_rows)
    plan.in_rows = max_inputs_under(h, p.adaptive, plan.block_rows)
    plan.scratch_bytes = 0
    plan.x_at = reserve(&plan.scratch_bytes,
                        slices * plan.in_rows * width * plan.block_planes * size)
    plan.y_at = reserve(&plan.scratch_bytes, plan.block_rows * out_width * plan.block_planes * size)
    plan.indices_at = reserve(&plan.scratch_bytes,
                              plan.block_rows * out_width * plan.block_planes * sizeof(int64_t))
    return plan


cdef Strided stage(char *data, fc_size rows, fc_size width, fc_size planes, fc_size itemsize,
                   fc_size first_slice, fc_size first_row) noexcept nogil:
    """[slices][rows][width][planes] as an array, which starts with these of its slices and rows."""
    cdef Strided a
    a.stride_n, a.stride_c = 0, itemsize
    a.stride[W] = planes * itemsize
    a.stride[H] = width * a.stride[W]
    a.stride[D] = rows * a.stride[H]
    a.data = data - first_slice * a.stride[D] - first_row * a.stride[H]
    return a


cdef int forward_block(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """Some rows of outputs, of a block of planes."""
    cdef const PoolStagedPlan *plan = <PoolStagedPlan *> context
    cdef const Pool *p = &plan.pool
    cdef const fc_kernels *of_indices = kernels(FC_FLOAT64)  # which are as wide
    cdef fc_size width = p.axis[W].size, out_width = p.axis[W].out, size = p.kernels.itemsize
    cdef fc_size row = next_index(&task, plan.row_blocks) * plan.block_rows
    cdef fc_size d = next_index(&task, p.axis[D].out), slice
    cdef fc_size c = next_index(&task, plan.plane_blocks) * plan.block_planes
    cdef fc_size n = task, planes = min(plan.block_planes, p.channels - c), outputs, i
    cdef Span rows, inputs, slices, columns
    cdef Pool staged = p[0]
    rows.start, rows.end = row, min(row + plan.block_rows, p.axis[H].out)
    inputs = inputs_under(&p.axis[H], p.adaptive, rows)
    columns.start, columns.end = 0, out_width
    slices.start, slices.end = d, d + 1
    slices = inputs_under(&p.axis[D], p.adaptive, slices)
    staged.x = stage(scratch + plan.x_at, plan.in_rows, width, planes, size, slices.start,
                     inputs.start)
    staged.y = stage(scratch + plan.y_at, plan.block_rows, out_width, planes, size, d, row)
    staged.indices = stage(scratch + plan.indices_at, plan.block_rows, out_width, planes,
                           sizeof(int64_t), d, row)
    for slice in range(slices.start, slices.end):
        read_pixels(p.kernels, pixel_at(&staged.x, 0, 0, slice, inputs.start, 0), &p.x,
                    pixel_at(&p.x, n, c, slice, inputs.start, 0),
                    (inputs.end - inputs.start) * width, planes)
    for i in range(rows.start, rows.end):
        pool_row(&staged, plan.windows, 0, 0, planes, d, i, columns, NULL)
    outputs = (rows.end - rows.start) * out_width
    write_pixels(p.kernels, &p.y, pixel_at(&p.y, n, c, d, row, 0), scratch + plan.y_at, outputs,
                 planes)
    write_pixels(of_indices, &p.indices, pixel_at(&p.indices, n, c, d, row, 0),
                 scratch + plan.indices_at, outputs, planes)
    return OK


cdef int run_forward(const Pool *p, int num_threads) noexcept nogil:
    cdef PoolStagedPlan plan = make_plan(p)
    cdef int status = clip_windows(p, plan.windows)
    if status == OK:
        status = parallel_for(forward_block, &plan,
                              plan.pool.batch * plan.plane_blocks * p.axis[D].out * plan.row_blocks,
                              plan.scratch_bytes, work(p), num_threads)
        release_windows(plan.windows)
    return status
