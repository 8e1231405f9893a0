"""Which correlations Winograd's algorithm takes, and the one form that its passes bring them into.

Tiles are of a plane where height and width have three taps each, and lines where one axis alone has
taps. The transforms are those of three taps side by side under neighbouring outputs, so these axes
have no step and no dilation. What else there is of taps is summed at the points: those of the depth
over planes, or over lines of three taps; and a longer line's segments of three, each of which is a
line of three taps itself, over an input that lies further on. A dilated line is an image of as many
columns, in which the line goes down.
"""

from fastconv._drivers.axis cimport D, H, W
from fastconv._drivers.blocking cimport (
    WINOGRAD_MAX_DEPTH_TAPS, WINOGRAD_MAX_DILATION, WINOGRAD_MAX_LINE_TAPS, ceil_div)
from fastconv._drivers.correlation cimport Correlation, CorrelationAxis
from fastconv._drivers.kernels cimport fc_size


cdef enum Shape:
    NEITHER
    PLANES
    LINES_OF_D
    LINES_OF_H
    LINES_OF_W
    DILATED_LINES  # of W


cdef inline bint is_empty(const CorrelationAxis *a) noexcept nogil:
    return a.taps == 1 and a.size == 1 and a.out == 1 and a.first == 0


cdef inline bint is_still(const CorrelationAxis *a) noexcept nogil:
    # one tap under neighbouring outputs
    return a.taps == 1 and a.step == 1


cdef inline bint is_dense(const CorrelationAxis *a) noexcept nogil:
    return a.taps > 1 and a.step == 1 and a.dilation == 1


cdef Shape shape_of(const Correlation *c) noexcept nogil:
    cdef const CorrelationAxis *d = &c.axis[D]
    cdef const CorrelationAxis *h = &c.axis[H]
    cdef const CorrelationAxis *w = &c.axis[W]
    cdef Shape shape = NEITHER
    cdef fc_size taps = w.taps
    if c.groups != 1:  # a point's product has all channels, all filters
        return NEITHER
    if is_dense(h) and is_dense(w) and h.taps == w.taps == 3:
        return PLANES if 0 < d.taps <= WINOGRAD_MAX_DEPTH_TAPS else NEITHER
    if is_dense(w) and is_still(h):
        shape = LINES_OF_W
    elif is_dense(h) and is_still(w):
        shape, taps = LINES_OF_H, h.taps
    elif is_dense(d) and is_still(h) and is_still(w):
        shape, d, taps = LINES_OF_D, h, d.taps
    elif is_empty(d) and is_empty(h) and w.taps > 1 and w.step == 1 \
            and 1 < w.dilation <= WINOGRAD_MAX_DILATION:
        shape = DILATED_LINES
    if taps != 3 and not (is_empty(d) and taps <= 3 * WINOGRAD_MAX_LINE_TAPS):
        return NEITHER
    return shape if 0 < d.taps <= WINOGRAD_MAX_LINE_TAPS else NEITHER


cdef bint is_usable(const Correlation *c) noexcept nogil:
    return shape_of(c) != NEITHER


cdef bint is_line(const Correlation *c) noexcept nogil:
    return shape_of(c) > PLANES


cdef void exchange(CorrelationAxis *a, CorrelationAxis *b) noexcept nogil:
    cdef CorrelationAxis kept = a[0]
    a[0], b[0] = b[0], kept


cdef void stand_up(WinogradForm *f) noexcept nogil:
    """A dilated line as an image: pixel r * dilation + j of the line is at row r, column j."""
    cdef CorrelationAxis *h = &f.c.axis[H]
    cdef CorrelationAxis *w = &f.c.axis[W]
    cdef fc_size dilation = w.dilation
    f.row_pixels, f.outs = dilation, w.out
    h[0] = CorrelationAxis(w.size, ceil_div(w.out, dilation), w.taps, 0, 1, 1,
                           dilation * w.x, dilation * w.y, w.w)
    w.taps = w.dilation = 1
    w.out = min(w.out, dilation)


cdef WinogradForm winograd_form(const Correlation *c) noexcept nogil:
    cdef Shape shape = shape_of(c)
    cdef WinogradForm f
    cdef CorrelationAxis *d = &f.c.axis[D]
    f.c = c[0]
    f.lines = shape > PLANES
    f.down = f.lines and shape != LINES_OF_W
    f.row_pixels = f.outs = 0
    if shape == LINES_OF_D:
        exchange(d, &f.c.axis[H])
    elif shape == DILATED_LINES:
        stand_up(&f)
    f.line_taps = f.c.axis[H if f.down else W].taps
    f.segments = 1
    if f.lines and f.line_taps != 3:
        f.segments = d.taps = ceil_div(f.line_taps, 3)
        d.w = 3 * f.c.axis[H if f.down else W].w
    # where it makes no difference, slices of outputs side by side share what they find
    if d.taps == 1:
        d.dilation = d.step
    if d.out == 1:
        d.step = d.dilation
    return f
