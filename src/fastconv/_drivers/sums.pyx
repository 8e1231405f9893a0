"""Sums per channel: the bias gradient.

Sums are taken in levels (along a row or down a column, over the image, over the batch), which keeps
the rounding error of each small.
"""

from libc.string cimport memset

from fastconv._drivers.kernels cimport fc_pool_slide, fc_size
from fastconv._drivers.runtime cimport OK, OUT_OF_MEMORY, allocate, parallel_for, release


ctypedef struct Plan:
    Sums s
    char *partial  # [batch][channels]


cdef int sum_plane(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """One channel of one image, columns contiguous: row by row."""
    cdef Plan *p = <Plan *> context
    cdef Sums *s = &p.s
    cdef fc_size n = task // s.channels, c = task % s.channels, h
    cdef fc_size size = s.kernels.itemsize
    cdef fc_size rows = s.height, start = 0, end = s.width
    cdef double one = 1
    cdef double row = 0
    cdef char *total = p.partial + task * size
    cdef fc_pool_slide slide
    if s.x_h == s.width * size:  # the plane is one row
        rows = 1
        end = s.height * s.width
    slide.start = &start
    slide.end = &end
    slide.divisor = &one
    slide.out_width = slide.inner = 1
    slide.lo = slide.hi = 0
    slide.out = &row
    memset(total, 0, size)
    for h in range(rows):
        slide.row = <char *> s.x + n * s.x_n + c * s.x_c + h * s.x_h
        s.kernels.mean_slide(&slide)
        s.kernels.add_fold(total, &row, 0, 1, 1, False)
    return OK


cdef int sum_pixels(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """All channels of one image, channels contiguous: rows fold into one row, that into a pixel."""
    cdef Plan *p = <Plan *> context
    cdef Sums *s = &p.s
    cdef fc_size size = s.kernels.itemsize, n = s.width * s.channels
    cdef const char *x = s.x + task * s.x_n
    cdef char *total = p.partial + task * s.channels * size
    s.kernels.add_fold(scratch, x, s.x_h, n, s.height, True)
    s.kernels.add_fold(total, scratch, s.channels * size, s.channels, s.width, True)
    return OK


cdef int channel_sums(const Sums *s, int num_threads) noexcept nogil:
    cdef Plan p
    cdef fc_size size = s.kernels.itemsize
    cdef double work = <double> s.batch * s.channels * s.height * s.width
    cdef bint planes = s.x_w == size
    cdef int status
    p.s = s[0]
    p.partial = allocate(s.batch * s.channels * size)
    if p.partial == NULL:
        return OUT_OF_MEMORY
    if planes:
        status = parallel_for(sum_plane, &p, s.batch * s.channels, 0, work, num_threads)
    else:
        status = parallel_for(sum_pixels, &p, s.batch, s.width * s.channels * size, work,
                              num_threads)
    s.kernels.add_fold(s.out, p.partial, s.channels * size, s.channels, s.batch, True)
    release(p.partial)
    return status
