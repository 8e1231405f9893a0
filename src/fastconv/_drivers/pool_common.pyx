"""What the strategies of pooling share.

Every window is clipped to the image once per axis, so that padding, ceil mode, dilation, adaptive
and global pooling are all the same to what follows.
"""

from libc.string cimport memset

from fastconv._drivers.axis cimport AXES, Axis, D, H, W
from fastconv._drivers.blocking cimport (
    POOL_MIN_CHANNELS, POOL_MIN_COLUMNS, POOL_TASK_ELEMENTS, TASKS, ceil_div)
from fastconv._drivers.kernels cimport fc_size
from fastconv._drivers.memory cimport allocate, release
from fastconv._drivers.pool cimport Pool
from fastconv._drivers.runtime cimport OK, OUT_OF_MEMORY


cdef void clip_axis(const Axis *a, bint adaptive, bint include_pad,
                    AxisWindows *windows) noexcept nogil:
    cdef fc_size i, start, end
    cdef Span window
    windows.step = 1 if adaptive else a.dilation
    for i in range(a.out):
        window = window_of(a, adaptive, i)
        start = window.start
        if start < 0:
            start += ceil_div(-start, windows.step) * windows.step
        end = min(window.end, a.size)
        windows.start[i] = start
        windows.end[i] = end
        if adaptive or not include_pad:
            windows.count[i] = <double> max(end - start, 0)
        else:  # what lies beyond even the padding (ceil mode) never counts
            windows.count[i] = <double> (min(window.end, a.size + a.pad_after) - window.start)


cdef int clip_windows(const Pool *p, AxisWindows *windows) noexcept nogil:
    cdef fc_size outputs = 0
    cdef int i
    for i in range(AXES):
        outputs += p.axis[i].out
    cdef char *memory = allocate(outputs * (2 * sizeof(fc_size) + sizeof(double)))
    if memory == NULL:
        return OUT_OF_MEMORY
    for i in range(AXES):
        windows[i].out = p.axis[i].out
        windows[i].start = <fc_size *> memory
        windows[i].end = windows[i].start + windows[i].out
        windows[i].count = <double *> (windows[i].end + windows[i].out)
        memory = <char *> (windows[i].count + windows[i].out)
        clip_axis(&p.axis[i], p.adaptive, p.include_pad, &windows[i])
    return OK


cdef void release_windows(AxisWindows *windows) noexcept nogil:
    release(<char *> windows[0].start)


cdef fc_size max_inputs_under(const Axis *a, bint adaptive, fc_size block) noexcept nogil:
    cdef fc_size most = 0
    cdef Span outputs, inputs
    outputs.start = 0
    while outputs.start < a.out:
        outputs.end = min(outputs.start + block, a.out)
        inputs = inputs_under(a, adaptive, outputs)
        most = max(most, inputs.end - inputs.start)
        outputs.start = outputs.end
    return most


cdef void clear_pixels(const Pool *p, char *pixel, fc_size pixels,
                       fc_size channels) noexcept nogil:
    cdef fc_size size = p.kernels.itemsize, i
    cdef double zero = 0
    if channels == 1 and p.x.stride[W] == size:
        memset(pixel, 0, pixels * size)
    elif p.x.stride_c == size and p.x.stride[W] == channels * size:
        memset(pixel, 0, pixels * channels * size)
    elif p.x.stride_c == size:
        for i in range(pixels):
            memset(pixel + i * p.x.stride[W], 0, channels * size)
    else:
        p.kernels.copy2d(pixel, p.x.stride[W], p.x.stride_c, &zero, 0, 0, pixels, channels)


cdef double work(const Pool *p) noexcept nogil:
    cdef double planes = <double> p.batch * p.channels
    cdef double inputs = planes, outputs = planes, window = 1
    cdef int i
    for i in range(AXES):
        inputs *= p.axis[i].size
        outputs *= p.axis[i].out
        if not p.adaptive:
            window *= p.axis[i].kernel
    return max(outputs * window, inputs)


cdef fc_size planes_of_task(const Pool *p) noexcept nogil:
    cdef fc_size planes = max(1, POOL_TASK_ELEMENTS // pixels_in(p))
    while planes > 1 and p.batch * ceil_div(p.channels, planes) < TASKS:
        planes = planes // 2
    return planes


cdef fc_size columns_of_row(const Pool *p) noexcept nogil:
    cdef fc_size rows = max(1, p.batch * p.axis[D].out * p.axis[H].out), columns = p.axis[W].out
    cdef fc_size blocks = max(1, min(ceil_div(TASKS, rows), columns // POOL_MIN_COLUMNS))
    return ceil_div(columns, blocks)


cdef fc_size channels_of_row(const Pool *p) noexcept nogil:
    cdef fc_size rows = max(1, p.batch * p.axis[D].out * p.axis[H].out
                            * ceil_div(p.axis[W].out, columns_of_row(p)))
    cdef fc_size blocks = max(1, min(ceil_div(TASKS, rows), p.channels // POOL_MIN_CHANNELS))
    cdef fc_size vectors = ceil_div(ceil_div(p.channels, blocks), POOL_MIN_CHANNELS)
    return min(vectors * POOL_MIN_CHANNELS, p.channels)


cdef void fill_divisors(const Pool *p, const AxisWindows *windows, fc_size d, fc_size i,
                        Span columns, double *divisors) noexcept nogil:
    cdef double rows = windows[D].count[d] * windows[H].count[i]
    cdef const double *count = windows[W].count + columns.start
    cdef fc_size j
    for j in range(columns.end - columns.start):
        divisors[j] = <double> p.divisor_override if p.divisor_override else rows * count[j]
