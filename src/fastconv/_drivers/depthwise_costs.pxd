# What depthwise convolutions cost by vectors of pixels (planes) and of channels (grouped), from the
# shape alone: nanoseconds for a row of one channel's outputs, on one core with 16 lanes.
# Only ratios count; docs/performance.md, "Depthwise by pixels or by channels", has what they were
# fitted to.
from fastconv._drivers.axis cimport D, H, W
from fastconv._drivers.blocking cimport GROUPED_STAGED_BYTES, PLANES_FOLD_TAPS, ceil_div
from fastconv._drivers.correlation cimport Correlation, CorrelationAxis, span, taps_of
from fastconv._drivers.kernels cimport fc_size

cdef inline double whole_vectors(const Correlation *c, fc_size n) noexcept nogil:
    # as many lanes as n elements take
    return <double> ceil_div(n, c.kernels.lanes) * c.kernels.lanes

cdef inline fc_size slices_read(const Correlation *c) noexcept nogil:
    # of the depth, by one slice of outputs
    return max(1, min(c.axis[D].taps, c.axis[D].size))

cdef inline double planes_cost(const Correlation *c) noexcept nogil:
    cdef const CorrelationAxis *w = &c.axis[W]
    cdef fc_size size = c.kernels.itemsize
    cdef double pixel = 0.1 * slices_read(c)  # for copying what it reads
    cdef double tap = 0.0178
    if c.axis[H].taps == 1:  # no other row of taps shares what is loaded
        tap = 0.04 if w.taps < PLANES_FOLD_TAPS else 0.025
    if w.x != size:  # channels-last pixels; as vectors of channels, if there are as many
        # (of other slices of the depth they come from a cache, and cost little)
        pixel = 0.25 + 1.7 / min(c.groups, c.kernels.lanes)
    elif w.step > 1 or w.y != size:
        pixel += 0.7 * slices_read(c)
    if w.step > 2:  # one at a time
        pixel += 0.7 * min(w.step, w.taps) * min(c.axis[H].step, c.axis[H].taps)
    return 25 + pixel * w.out + tap * taps_of(c) * whole_vectors(c, w.out)

cdef inline bint can_interleave(const Correlation *c) noexcept nogil:
    # planes.pyx, of channels-last images: vectors of pixels that hold several channels
    cdef fc_size size = c.kernels.itemsize
    return (c.channels == 1 and c.filters == 1 and c.groups > 1
            # more channels nearly fill a vector of them
            and 4 * c.groups <= 3 * c.kernels.lanes
            and c.x_g == size and c.y_g == size
            # a pixel at a time, copies cost more than vectors of one channel save
            and c.axis[W].step == 1 and c.axis[W].y == c.groups * size
            and c.kernels.lanes >= 8 and size == 4  # others have no code for it: k_planes.c
            and taps_of(c) > 1
            # longer rows alone are faster with their columns folded
            and (c.axis[H].taps > 1 or c.axis[W].taps < PLANES_FOLD_TAPS)
            and 2 * c.axis[W].out * c.groups >= 3 * c.kernels.lanes)

cdef inline double interleaved_cost(const Correlation *c) noexcept nogil:
    cdef fc_size elements = c.axis[W].out * c.groups
    cdef double copied = 0.08 * slices_read(c) * elements
    cdef double tap = 0.0178 if c.axis[H].taps > 1 else 0.04
    return (25 + copied + tap * taps_of(c) * whole_vectors(c, elements)) / c.groups

cdef inline bint pairs_pixels(const Correlation *c) noexcept nogil:
    # grouped.pyx, of channels-last images: two pixels taken as one of twice the channels
    cdef const CorrelationAxis *w = &c.axis[W]
    cdef fc_size size = c.kernels.itemsize, pixel = c.groups * size
    return (c.channels == 1 and c.filters == 1 and c.groups < c.kernels.lanes <= 2 * c.groups
            and c.x_g == size and c.y_g == size and w.x == pixel and w.y == pixel
            and w.step == 1 and (w.dilation == 1 or w.taps == 1)
            and c.kernels.lanes >= 8 and size == 4  # others have no code for it: k_grouped.c
            # others have no code of their own with outputs two columns apart, and would lose more
            # with reading across lines of the cache than copying costs
            and (w.taps == 3 or w.taps == 5 or 2 * c.groups == c.kernels.lanes and w.taps <= 7)
            # most outputs lie inside
            and w.out >= 8 and 4 * (min(w.out, w.size - w.taps + 1 - w.first)
                                    - max(0, -w.first)) >= 3 * w.out)

cdef inline double grouped_cost(const Correlation *c, bint of_weight) noexcept nogil:
    cdef const CorrelationAxis *h = &c.axis[H]
    cdef const CorrelationAxis *w = &c.axis[W]
    cdef fc_size size = c.kernels.itemsize, row_bytes = w.size * c.kernels.lanes * size, rows
    cdef double pixel = 0.06, vectors = whole_vectors(c, c.groups)
    cdef fc_size slices = 1 if of_weight else slices_read(c)  # its pieces pay for all taps
    # Fewer channels than a vector are copied too; in the weight gradient, half a vector and more
    # are cheaper than that would have it.
    cdef fc_size fewest = c.kernels.lanes // 2 if of_weight else c.kernels.lanes
    if pairs_pixels(c):
        vectors = whole_vectors(c, 2 * c.groups) / 2
    elif c.x_g != size or c.groups < fewest:
        # a task copies some rows, and those that it shares with the next task
        rows = GROUPED_STAGED_BYTES - slices * span(h, 1) * row_bytes
        rows //= (1 + slices) * row_bytes
        rows = max(1, min(rows, h.out))
        pixel = 0.11 + 0.11 * slices * (rows * h.step + span(h, 1) - 1) / (rows * h.step)
    return (pixel + 0.0178 * taps_of(c)) * w.out * vectors / <double> c.groups

cdef inline bint fills_vectors(const Correlation *c) noexcept nogil:
    # Rows of outputs of a channel do, and are long enough for what it costs to begin one.
    cdef fc_size out = c.axis[W].out
    return (taps_of(c) > 1 and 2 * out >= 3 * c.kernels.lanes
            and whole_vectors(c, out) <= 2 * span(&c.axis[W], out))

cdef inline bint interleaves(const Correlation *c) noexcept nogil:
    return can_interleave(c) and not (fills_vectors(c) and planes_cost(c) < interleaved_cost(c))

cdef inline bint planes_are_faster(const Correlation *c, bint of_weight) noexcept nogil:
    cdef double cost
    if not of_weight and interleaves(c):
        cost = interleaved_cost(c)
    elif fills_vectors(c):
        cost = planes_cost(c)
    else:
        return False
    return 1.15 * cost < grouped_cost(c, of_weight)
