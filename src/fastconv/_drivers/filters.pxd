# Where a weight gradient goes: sums that a driver keeps in its own order, to the caller's strides.
from fastconv._drivers.axis cimport D, H, W
from fastconv._drivers.correlation cimport Correlation, CorrelationAxis, taps_of
from fastconv._drivers.kernels cimport fc_size

cdef inline bint has_contiguous_taps(const Correlation *c) noexcept nogil:
    # the taps of a channel and of one tap of the depth in one piece
    return (c.axis[W].w == c.kernels.itemsize
            and c.axis[H].w == c.axis[W].taps * c.kernels.itemsize)

cdef inline bint has_contiguous_filters(const Correlation *c) noexcept nogil:
    # each filter of w in one piece, [channels][taps]
    cdef const CorrelationAxis *d = &c.axis[D]
    return (has_contiguous_taps(c) and c.w_c == taps_of(c) * c.kernels.itemsize
            and (d.taps == 1 or d.w == c.axis[H].taps * c.axis[H].w))

cdef inline void store_taps(const Correlation *c, char *to, const char *sums, fc_size row,
                            fc_size r0, fc_size r1, fc_size s0, fc_size s1, fc_size channels,
                            fc_size filters) noexcept nogil:
    # Sums [taps][channels] of rows of filters, which are `row` bytes apart and end with a whole
    # vector; of taps [r0, r1) x [s0, s1) of one tap of the depth, to w, of which `to` is that tap's
    # first filter and channel.
    cdef const CorrelationAxis *h = &c.axis[H]
    cdef const CorrelationAxis *w = &c.axis[W]
    cdef fc_size taps = (r1 - r0) * (s1 - s0), r, s
    if (taps == h.taps * w.taps and has_contiguous_taps(c)
            and (taps > 1 or c.w_c == c.kernels.itemsize)):
        c.kernels.unpack_filters(to, c.w_k, c.w_c, sums, row, filters, channels, taps)
        return
    for r in range(r0, r1):
        for s in range(s0, s1):
            c.kernels.copy2d(to + r * h.w + s * w.w, c.w_c, c.w_k, sums, row, c.kernels.itemsize,
                             channels, filters)
            sums += channels * row
