"""Sums per channel, the bias gradient; and filling with zeros.

Sums are taken in levels, which keeps the rounding error of each small: along a row, over the image,
over the batch; or over some dozens of pixels, and then, in double, over a task's and over all.
"""

from libc.string cimport memset

from fastconv._drivers.kernels cimport FC_FLOAT32, fc_kernels, fc_pool_slide, fc_size
from fastconv._drivers.memory cimport allocate, measuring, release
from fastconv._drivers.runtime cimport OK, OUT_OF_MEMORY, parallel_for


ctypedef struct Plan:
    Sums s
    char *partial            # of planes: [batch][channels]
    # pixels, side by side in runs
    double *sums             # [tasks][channels]
    fc_size rows, pixels     # runs of an image, and pixels of a run
    fc_size pieces, per_task  # tasks of a run, and their pixels


cdef enum:
    PLANES = 16            # of a task
    PIXEL_ELEMENTS = 32768  # of a task that sums pixels

cdef int sum_planes(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef Plan *p = <Plan *> context
    cdef Sums *s = &p.s
    cdef fc_size i, size = s.kernels.itemsize, first = task * PLANES
    if s.x_h == s.width * size and s.x_n == s.channels * s.x_c:  # planes evenly apart: all at once
        s.kernels.plane_means(p.partial + first * size, size, s.x + first * s.x_c, s.x_c,
                              min(PLANES, s.batch * s.channels - first), s.height * s.width, 1)
        return OK
    for i in range(task * PLANES, min((task + 1) * PLANES, p.s.batch * p.s.channels)):
        sum_plane(p, i)
    return OK


cdef void sum_plane(const Plan *p, fc_size task) noexcept nogil:
    """One channel of one image, columns contiguous: row by row."""
    cdef const Sums *s = &p.s
    cdef fc_size n = task // s.channels, c = task % s.channels, h
    cdef fc_size size = s.kernels.itemsize
    cdef fc_size rows = s.height, start = 0, end = s.width
    cdef double one = 1
    cdef double row = 0
    cdef char *total = p.partial + task * size
    cdef fc_pool_slide slide
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


cdef int sum_pixels(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """All channels of some pixels, channels contiguous."""
    cdef Plan *p = <Plan *> context
    cdef fc_size first = task % p.pieces * p.per_task
    cdef double *sums = p.sums + task * p.s.channels
    memset(sums, 0, p.s.channels * sizeof(double))
    cdef fc_size run = task // p.pieces
    p.s.kernels.column_sums(
        sums, p.s.x + run // p.rows * p.s.x_n + run % p.rows * p.s.x_h + first * p.s.x_w, p.s.x_w,
        min(p.per_task, p.pixels - first), p.s.channels)
    return OK


cdef int pixel_sums(Plan *p, double work, int num_threads) noexcept nogil:
    cdef Sums *s = &p.s
    cdef fc_size runs, tasks, i, c
    cdef int status
    p.rows, p.pixels, runs = s.height, s.width, s.batch * s.height
    if s.height == 1 or s.x_h == s.width * s.x_w:  # rows follow each other, and perhaps images
        p.rows, p.pixels, runs = 1, s.height * s.width, s.batch
        if s.batch > 1 and s.x_n == p.pixels * s.x_w:
            p.pixels, runs = s.batch * p.pixels, 1
    p.per_task = max(<fc_size> 1, PIXEL_ELEMENTS // s.channels)
    p.pieces = (p.pixels + p.per_task - 1) // p.per_task
    tasks = runs * p.pieces
    p.sums = <double *> allocate(max(<fc_size> 1, tasks) * s.channels * sizeof(double))
    if p.sums == NULL:
        return OUT_OF_MEMORY
    memset(p.sums, 0, s.channels * sizeof(double))
    status = parallel_for(sum_pixels, p, tasks, 0, work, num_threads)
    if not measuring():
        for i in range(1, tasks):
            for c in range(s.channels):
                p.sums[c] += p.sums[i * s.channels + c]
        for c in range(s.channels):
            if s.kernels.dtype == FC_FLOAT32:
                (<float *> s.out)[c] = <float> p.sums[c]
            else:
                (<double *> s.out)[c] = p.sums[c]
    release(<char *> p.sums)
    return status


cdef int channel_sums(const Sums *s, int num_threads) noexcept nogil:
    cdef Plan p
    cdef fc_size size = s.kernels.itemsize
    cdef double work = <double> s.batch * s.channels * s.height * s.width
    cdef int status
    p.s = s[0]
    if s.x_w != size:
        return pixel_sums(&p, work, num_threads)
    p.partial = allocate(s.batch * s.channels * size)
    if p.partial == NULL:
        return OUT_OF_MEMORY
    status = parallel_for(sum_planes, &p, (s.batch * s.channels + PLANES - 1) // PLANES, 0, work,
                          num_threads)
    if not measuring():
        s.kernels.add_fold(s.out, p.partial, s.channels * size, s.channels, s.batch, True)
    release(p.partial)
    return status


# ---------------------------------------------------------------- zeros

ctypedef struct Zeros:
    const fc_kernels *kernels
    char *x
    fc_size x_n, x_c, x_h, x_w
    fc_size channels, height, width
    bint planes  # a task is a plane, or else a row of all channels


cdef int clear(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef Zeros *z = <Zeros *> context
    cdef fc_size size = z.kernels.itemsize, h
    cdef char *row
    cdef double zero = 0
    if z.planes:
        row = z.x + task // z.channels * z.x_n + task % z.channels * z.x_c
        for h in range(z.height):
            memset(row + h * z.x_h, 0, z.width * size)
        return OK
    row = z.x + task // z.height * z.x_n + task % z.height * z.x_h
    if z.x_c == size and z.x_w == z.channels * size:
        memset(row, 0, z.width * z.channels * size)
    else:
        z.kernels.copy2d(row, z.x_w, z.x_c, &zero, 0, 0, z.width, z.channels)
    return OK


cdef int fill_zeros(const fc_kernels *kernels, char *x, fc_size x_n, fc_size x_c, fc_size x_h,
                    fc_size x_w, fc_size batch, fc_size channels, fc_size height, fc_size width,
                    int num_threads) noexcept nogil:
    cdef Zeros z
    z.kernels = kernels
    z.x = x
    z.x_n, z.x_c, z.x_h, z.x_w = x_n, x_c, x_h, x_w
    z.channels, z.height, z.width = channels, height, width
    z.planes = x_w == kernels.itemsize
    return parallel_for(clear, &z, batch * (channels if z.planes else height), 0,
                        <double> batch * channels * height * width / 4, num_threads)
