# What the strategies of pooling share: windows, rows of arrays, and how work is shared out.
from fastconv._drivers.axis cimport AXES, Axis, D, H, W
from fastconv._drivers.blocking cimport ceil_div, round_up
from fastconv._drivers.kernels cimport fc_kernels, fc_size
from fastconv._drivers.pool cimport Pool, Strided

# ---- windows

# Of an axis: [start, end).
ctypedef struct Span:
    fc_size start, end

# The windows of one axis, clipped to the image: that of output i is start[i], start[i] + step, ...
# < end[i]. It is empty, start[i] >= end[i], if it holds padding alone or steps over the image.
ctypedef struct AxisWindows:
    fc_size out
    fc_size *start
    fc_size *end
    double *count  # what an average counts of it
    fc_size step

# Fill in windows[AXES], whose memory release_windows gives back; OK or OUT_OF_MEMORY.
cdef int clip_windows(const Pool *p, AxisWindows *windows) noexcept nogil
cdef void release_windows(AxisWindows *windows) noexcept nogil
# The most inputs that inputs_under finds for `block` outputs, counted from 0 on.
cdef fc_size max_inputs_under(const Axis *a, bint adaptive, fc_size block) noexcept nogil

cdef inline fc_size share_floor(fc_size size, fc_size out, fc_size i) noexcept nogil:
    # floor(i * size / out), without leaving 64 bits
    return size // out * i + size % out * i // out

cdef inline Span window_of(const Axis *a, bint adaptive, fc_size i) noexcept nogil:
    # the window of output i, in padding and beyond as well
    cdef Span window
    if adaptive:
        window.start = share_floor(a.size, a.out, i)
        window.end = a.size - share_floor(a.size, a.out, a.out - 1 - i)
    else:
        window.start = i * a.stride - a.pad_before
        window.end = window.start + (a.kernel - 1) * a.dilation + 1
    return window

cdef inline Span inputs_under(const Axis *a, bint adaptive, Span outputs) noexcept nogil:
    # all that the windows of some outputs (one at least) can reach
    cdef Span inputs
    inputs.start = max(window_of(a, adaptive, outputs.start).start, 0)
    inputs.end = min(window_of(a, adaptive, outputs.end - 1).end, a.size)
    inputs.end = max(inputs.end, inputs.start)
    return inputs

cdef inline fc_size rows_of_window(const AxisWindows *a, fc_size i) noexcept nogil:
    # how many inputs there are in the clipped window of output i
    return max(ceil_div(a.end[i] - a.start[i], a.step), 0)

# ---- arrays

cdef inline char *pixel_at(const Strided *a, fc_size n, fc_size c, fc_size d, fc_size h,
                           fc_size w) noexcept nogil:
    return (a.data + n * a.stride_n + c * a.stride_c + d * a.stride[D] + h * a.stride[H]
            + w * a.stride[W])

cdef inline fc_size pixels_in(const Pool *p) noexcept nogil:
    # of a plane of x
    return p.axis[D].size * p.axis[H].size * p.axis[W].size

cdef inline bint rows_follow(const Strided *a, fc_size depth, fc_size height,
                             fc_size width) noexcept nogil:
    # whether the pixels of a plane lie evenly apart
    return ((height == 1 or a.stride[H] == width * a.stride[W])
            and (depth == 1 or a.stride[D] == height * width * a.stride[W]))

cdef inline void read_pixels(const fc_kernels *k, char *to, const Strided *a, const char *pixel,
                             fc_size pixels, fc_size channels) noexcept nogil:
    # neighbours in a row of `a`, from `pixel` on, to [pixels][channels]
    k.copy2d(to, channels * k.itemsize, k.itemsize, pixel, a.stride[W], a.stride_c, pixels,
             channels)

cdef inline void write_pixels(const fc_kernels *k, const Strided *a, char *pixel,
                              const void *values, fc_size pixels, fc_size channels) noexcept nogil:
    # and back
    k.copy2d(pixel, a.stride[W], a.stride_c, values, channels * k.itemsize, k.itemsize, pixels,
             channels)

# Zero [pixels][channels] of x.
cdef void clear_pixels(const Pool *p, char *pixel, fc_size pixels, fc_size channels) noexcept nogil

# ---- work and how it is shared out

# Elements read, of the windows or of the input, whichever is more: for parallel_for.
cdef double work(const Pool *p) noexcept nogil
# Channels of a task that takes whole planes, or rows of each channel for itself.
cdef fc_size planes_of_task(const Pool *p) noexcept nogil
# Columns and channels of a task that takes one row of outputs, vectors of channels at a time.
cdef fc_size columns_of_row(const Pool *p) noexcept nogil
cdef fc_size channels_of_row(const Pool *p) noexcept nogil
# What averages of row i of slice d are divided by, for some columns.
cdef void fill_divisors(const Pool *p, const AxisWindows *windows, fc_size d, fc_size i,
                        Span columns, double *divisors) noexcept nogil

cdef inline fc_size reserve(fc_size *scratch_bytes, fc_size nbytes) noexcept nogil:
    # where the next piece of a task's scratch memory lies
    cdef fc_size at = scratch_bytes[0]
    scratch_bytes[0] += round_up(nbytes)
    return at
