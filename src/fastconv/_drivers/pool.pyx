"""Max and average pooling, forward and backward, regular or adaptive, in either memory format.

Each pass asks the strategies below, in this order, and the first that is usable runs; the last of
each takes whatever the others leave.

    pool_forward       pool_planes    one output a plane, without indices, each plane in one run of
                                      memory
                       pool_windows   channels contiguous, adaptive or windows that overlap little
                       pool_staged    maxima with indices of narrow contiguous planes, likewise, by
                                      way of channels-last scratch memory
                       pool_few_taps  windows of few taps, all inside contiguous planes
                       pool_rows      a window's rows folded into one, along which windows slide
    average_backward   pool_planes    as above
                       pool_spread    pool_rows backward
    max_backward       pool_tiles     channels contiguous, and every index in its window if windows
                                      lay side by side, which is found out on the way
                       pool_scatter   one gradient at a time
    unpool             as max_backward
    unpool_backward    pool_scatter   one gradient at a time, gathered
"""

from fastconv._drivers cimport (
    pool_few_taps, pool_planes, pool_rows, pool_scatter, pool_spread, pool_staged, pool_tiles,
    pool_windows)
from fastconv._drivers.status cimport OK


cdef int pool_forward(const Pool *p, int num_threads) noexcept nogil:
    if p.batch == 0:  # its planes need not be addressable
        return OK
    if pool_planes.is_usable(p):
        return pool_planes.run_forward(p, num_threads)
    if pool_windows.is_usable(p):
        return pool_windows.run_forward(p, num_threads)
    if pool_staged.is_usable(p):
        return pool_staged.run_forward(p, num_threads)
    if pool_few_taps.is_usable(p):
        return pool_few_taps.run_forward(p, num_threads)
    return pool_rows.run_forward(p, num_threads)


cdef int average_backward(const Pool *p, int num_threads) noexcept nogil:
    if p.batch == 0:
        return OK
    if pool_planes.is_usable(p):
        return pool_planes.run_backward(p, num_threads)
    return pool_spread.run_backward(p, num_threads)


cdef int max_backward(const Pool *p, int num_threads) noexcept nogil:
    cdef int status
    if p.batch == 0:
        return OK
    if pool_tiles.is_usable(p):
        status = pool_tiles.run_backward(p, num_threads)
        if status != pool_tiles.NOT_TILES:
            return status
    return pool_scatter.run_backward(p, num_threads)


cdef int unpool(const Pool *p, int num_threads) noexcept nogil:
    cdef Pool assigned = p[0]
    assigned.assign = True
    return max_backward(&assigned, num_threads)


cdef int unpool_backward(const Pool *p, int num_threads) noexcept nogil:
    return OK if p.batch == 0 else pool_scatter.run_gather(p, num_threads)
