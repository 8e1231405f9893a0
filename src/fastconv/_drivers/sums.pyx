"""Sums per channel, the bias gradient; and filling with one number per channel.

Sums are taken in levels, which keeps the rounding error of each small: along a row, over the image,
over the batch; or over some dozens of pixels, and then, in double, over a task's and over all.
"""

from libc.string cimport memset

from fastconv._drivers.axis cimport D, H, W
from fastconv._drivers.blocking cimport SUMS_ELEMENTS, SUMS_PLANES, ceil_div, next_index
from fastconv._drivers.kernels cimport FC_RELU, fc_kernels, fc_pool_slide, fc_size
from fastconv._drivers.memory cimport allocate, release
from fastconv._drivers.numbers cimport put_number
from fastconv._drivers.runtime cimport OK, OUT_OF_MEMORY, parallel_for, run_once


cdef inline double elements_of(const Sums *s) noexcept nogil:
    return <double> s.batch * s.channels * s.height * s.width


# ---------------------------------------------------------------- planes: columns contiguous

ctypedef struct PlaneSums:
    Sums s
    char *partial  # [batch][channels]


cdef void sum_plane(const PlaneSums *p, fc_size plane) noexcept nogil:
    """One channel of one image, row by row."""
    cdef const Sums *s = &p.s
    cdef fc_size size = s.kernels.itemsize, n = plane, c = next_index(&n, s.channels), h
    cdef fc_size start = 0, end = s.width
    cdef double one = 1
    cdef double row = 0  # room for an element
    cdef char *total = p.partial + plane * size
    cdef fc_pool_slide slide
    slide.start = &start
    slide.end = &end
    slide.divisor = &one
    slide.out_width = slide.inner = 1
    slide.lo = slide.hi = 0
    slide.out = &row
    memset(total, 0, size)
    for h in range(s.height):
        slide.row = <char *> s.x + n * s.x_n + c * s.x_c + h * s.x_h
        s.kernels.mean_slide(&slide)
        s.kernels.add_fold(total, &row, 0, 1, 1, False)


cdef int planes_task(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef const PlaneSums *p = <const PlaneSums *> context
    cdef const Sums *s = &p.s
    cdef fc_size size = s.kernels.itemsize, first = task * SUMS_PLANES, plane
    cdef fc_size last = min(first + SUMS_PLANES, s.batch * s.channels)
    if s.x_h == s.width * size and s.x_n == s.channels * s.x_c:  # planes evenly apart: all at once
        s.kernels.plane_means(p.partial + first * size, size, s.x + first * s.x_c, s.x_c,
                              last - first, s.height * s.width, 1)
        return OK
    for plane in range(first, last):
        sum_plane(p, plane)
    return OK


cdef int add_images(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef const PlaneSums *p = <const PlaneSums *> context
    cdef const Sums *s = &p.s
    s.kernels.add_fold(s.out, p.partial, s.channels * s.kernels.itemsize, s.channels, s.batch, True)
    return OK


cdef int sum_planes(const Sums *s, int num_threads) noexcept nogil:
    cdef PlaneSums p
    cdef int status
    p.s = s[0]
    p.partial = allocate(s.batch * s.channels * s.kernels.itemsize)
    if p.partial == NULL:
        return OUT_OF_MEMORY
    status = parallel_for(planes_task, &p, ceil_div(s.batch * s.channels, SUMS_PLANES), 0,
                          elements_of(s), num_threads)
    if status == OK:
        status = run_once(add_images, &p)
    release(p.partial)
    return status


# ---------------------------------------------------------------- pixels: channels contiguous
#
# Pixels lie side by side in runs, of which an image may have several.

ctypedef struct PixelSums:
    Sums s
    fc_size rows, pixels      # runs of an image, and pixels of a run
    fc_size pieces, per_task  # tasks of a run, and their pixels
    fc_size tasks
    double *sums              # [tasks][channels], where the first task's become the sums of all


cdef int pixels_task(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """All channels of some pixels."""
    cdef const PixelSums *p = <const PixelSums *> context
    cdef const Sums *s = &p.s
    cdef fc_size n = task, first = next_index(&n, p.pieces) * p.per_task, h = next_index(&n, p.rows)
    cdef double *sums = p.sums + task * s.channels
    memset(sums, 0, s.channels * sizeof(double))
    s.kernels.column_sums(sums, s.x + n * s.x_n + h * s.x_h + first * s.x_w, s.x_w,
                          min(p.per_task, p.pixels - first), s.channels)
    return OK


cdef int add_tasks(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef const PixelSums *p = <const PixelSums *> context
    cdef const Sums *s = &p.s
    cdef fc_size i, c
    for i in range(1, p.tasks):
        for c in range(s.channels):
            p.sums[c] += p.sums[i * s.channels + c]
    for c in range(s.channels):
        put_number(s.kernels.dtype, s.out + c * s.kernels.itemsize, p.sums[c])
    return OK


cdef int sum_pixels(const Sums *s, int num_threads) noexcept nogil:
    cdef PixelSums p
    cdef fc_size runs = s.batch * s.height
    cdef int status
    p.s, p.rows, p.pixels = s[0], s.height, s.width
    if s.height == 1 or s.x_h == s.width * s.x_w:  # rows follow each other, and perhaps images
        p.rows, p.pixels, runs = 1, s.height * s.width, s.batch
        if s.batch > 1 and s.x_n == p.pixels * s.x_w:
            p.pixels, runs = s.batch * p.pixels, 1
    p.per_task = max(1, SUMS_ELEMENTS // s.channels)
    p.pieces = ceil_div(p.pixels, p.per_task)
    p.tasks = runs * p.pieces
    p.sums = <double *> allocate(max(1, p.tasks) * s.channels * sizeof(double))
    if p.sums == NULL:
        return OUT_OF_MEMORY
    memset(p.sums, 0, s.channels * sizeof(double))
    status = parallel_for(pixels_task, &p, p.tasks, 0, elements_of(s), num_threads)
    if status == OK:
        status = run_once(add_tasks, &p)
    release(<char *> p.sums)
    return status


cdef int channel_sums(const Sums *s, int num_threads) noexcept nogil:
    if s.x_w == s.kernels.itemsize:
        return sum_planes(s, num_threads)
    return sum_pixels(s, num_threads)


# ---------------------------------------------------------------- one number for each channel

ctypedef struct Fill:
    const fc_kernels *kernels
    Strided x
    fc_size channels
    const fc_size *sizes
    const char *bias     # [channels], or NULL
    bint relu
    const char *numbers  # those to fill with; NULL: zeros
    bint planes          # a task is a slice of one channel, or else a row of all channels


cdef int rectify_numbers(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef const Fill *f = <const Fill *> context
    f.kernels.activations[FC_RELU].forward(f.bias, <char *> f.numbers, f.channels, 0)
    return OK


cdef int fill_task(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef const Fill *f = <const Fill *> context
    cdef const Strided *x = &f.x
    cdef fc_size size = f.kernels.itemsize, width = f.sizes[W], n = task, c, h
    cdef char *row = x.data
    cdef double zero = 0
    if f.planes:
        c = next_index(&n, f.channels)
        row += next_index(&n, f.sizes[D]) * x.stride[D] + n * x.stride_n + c * x.stride_c
        if f.numbers != NULL:
            f.kernels.copy2d(row, x.stride[H], size, f.numbers + c * size, 0, 0, f.sizes[H], width)
            return OK
        for h in range(f.sizes[H]):
            memset(row + h * x.stride[H], 0, width * size)
        return OK
    row += next_index(&n, f.sizes[H]) * x.stride[H]
    row += next_index(&n, f.sizes[D]) * x.stride[D] + n * x.stride_n
    if f.numbers != NULL:
        f.kernels.copy2d(row, x.stride[W], x.stride_c, f.numbers, 0, size, width, f.channels)
    elif x.stride_c == size and x.stride[W] == f.channels * size:
        memset(row, 0, width * f.channels * size)
    else:
        f.kernels.copy2d(row, x.stride[W], x.stride_c, &zero, 0, 0, width, f.channels)
    return OK


cdef int fill_channels(const fc_kernels *kernels, Strided x, fc_size batch, fc_size channels,
                       const fc_size *sizes, const char *bias, bint relu,
                       int num_threads) noexcept nogil:
    cdef Fill f
    cdef fc_size slices = batch * sizes[D]
    cdef char *rectified = NULL
    cdef int status = OK
    f.kernels, f.x, f.channels, f.sizes = kernels, x, channels, sizes
    f.bias, f.relu, f.numbers = bias, relu, bias
    f.planes = x.stride[W] == kernels.itemsize
    if bias != NULL and relu:
        f.numbers = rectified = allocate(channels * kernels.itemsize)
        if rectified == NULL:
            return OUT_OF_MEMORY
        status = run_once(rectify_numbers, &f)
    if status == OK:
        status = parallel_for(fill_task, &f, slices * (channels if f.planes else sizes[H]), 0,
                              <double> slices * channels * sizes[H] * sizes[W] / 4, num_threads)
    release(rectified)
    return status
