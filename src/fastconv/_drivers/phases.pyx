"""The input gradient of a strided convolution with the phases of its strides as filters.

Within one phase of the strides (docs/derivation.md) an input gradient is a correlation of dy with
step 1. All phases that the same number of taps reach are correlations of the same pixels: with few
channels, where a phase alone would leave the register tile mostly empty and read dy once for each,
they are the filters of one, as in a sub-pixel convolution. Counted in the padded input, phases
[0, kernel % stride) have one tap more than the others, so an axis has two such spans at most.

    dx[n, c, b * stride + q - pad] = sum over k, t of w[k, c, q + t * stride] * dy[n, k, b - t]

is filter (q, c) at output b.
"""

from fastconv._drivers.axis cimport AXES, D, H, W
from fastconv._drivers.blocking cimport (
    PHASES_CALL_COST, PHASES_MAX_PERCENT, PHASES_ORDER_COST, ceil_div, next_index)
from fastconv._drivers.correlation cimport CorrelationAxis
from fastconv._drivers.costs cimport columns_cost, rows_cost
from fastconv._drivers.runtime cimport OK, parallel_for, run_once


# ---------------------------------------------------------------- spans of phases

cdef inline fc_size spans_of(const Axis *a, bint joined) noexcept nogil:
    if not joined:
        return min(a.stride, a.size)
    # phases that no tap reaches are none: the caller has filled them
    return 1 if a.kernel % a.stride == 0 or a.kernel < a.stride else 2


cdef Span find_span(const Axis *a, bint joined, fc_size i) noexcept nogil:
    cdef fc_size rest = a.kernel % a.stride
    cdef Span s
    if not joined:
        s.q0 = (i + a.pad_before) % a.stride
        s.q1 = s.q0 + 1
    elif i == 0:
        s.q0, s.q1 = 0, rest if rest else a.stride
    else:
        s.q0, s.q1 = rest, a.stride
    s.taps = ceil_div(a.kernel - s.q0, a.stride) if s.q0 < a.kernel else 0
    s.block = ceil_div(a.pad_before - s.q1 + 1, a.stride) if s.q1 <= a.pad_before else 0
    s.at = s.block * a.stride + s.q0 - a.pad_before
    s.outs = ceil_div(a.size - s.at, a.stride) if s.at < a.size else 0
    s.first = max(0, -s.at)
    s.last = min(s.q1 - s.q0, a.size - s.at - (s.outs - 1) * a.stride)
    return s


# ---------------------------------------------------------------- which phases to join

cdef inline double row_cost(fc_size lanes, fc_size filters, double taps,
                            bint channels_last) noexcept nogil:
    cdef double rows = rows_cost(lanes, filters, taps, channels_last)
    cdef double columns = columns_cost(lanes, filters, taps, channels_last)
    return min(rows, columns) if filters > lanes // 2 else rows


cdef double cost_of(const JoinedPhases *p, bint join_h, bint join_w) noexcept nogil:
    cdef const Axis *a
    cdef bint joined[AXES]
    # of every axis: kinds of phases or spans, and of each how many, with how many taps
    cdef fc_size kinds[AXES]
    cdef fc_size filters[AXES][2]
    cdef double count[AXES][2]
    cdef double taps[AXES][2]
    cdef double pixels = p.g.batch, all_taps, cost
    cdef fc_size lanes = p.kernels.lanes
    cdef bint channels_last = p.dy.stride_c == p.kernels.itemsize
    cdef fc_size channels = p.g.in_channels // p.g.groups, i, d, h
    cdef Span s
    joined[D], joined[H], joined[W] = False, join_h, join_w
    cost = channels  # of ordering filters, below
    for i in range(AXES):
        a = &p.g.axis[i]
        pixels *= a.out
        cost *= a.kernel
        kinds[i] = spans_of(a, True) if joined[i] else 1
        count[i][0] = min(a.stride, a.kernel)
        taps[i][0] = a.kernel / count[i][0]
        filters[i][0] = 1
        for d in range(kinds[i] if joined[i] else 0):
            s = find_span(a, True, d)
            count[i][d], taps[i][d], filters[i][d] = s.taps > 0, s.taps, s.q1 - s.q0
    cost *= PHASES_ORDER_COST / pixels if join_h or join_w else 0
    for h in range(kinds[H]):
        for i in range(kinds[W]):
            all_taps = taps[D][0] * taps[H][h] * taps[W][i]
            cost += (count[D][0] * count[H][h] * count[W][i]
                     * (row_cost(lanes, channels * filters[H][h] * filters[W][i], all_taps,
                                 channels_last)
                        + PHASES_CALL_COST / (p.g.out_channels * pixels)))
    return cost


cdef inline fc_size most_phases(const Axis *a) noexcept nogil:
    """Of a span of this axis, where they are joined."""
    cdef fc_size first = find_span(a, True, 0).q1
    return first if spans_of(a, True) == 1 else max(first, a.stride - first)


cdef fc_size filter_bytes(const JoinedPhases *p) noexcept nogil:
    """Of the filters of any of the correlations, in their own order; 0 where w has that."""
    cdef const ConvGeometry *g = p.g
    cdef const Axis *a
    cdef fc_size channels = g.in_channels // g.groups, i
    cdef fc_size nbytes = g.out_channels * channels * p.kernels.itemsize
    cdef Span s
    if channels == 1 and not p.joined[H]:
        return 0
    for i in range(AXES):
        a = &g.axis[i]
        s = find_span(a, True, 0)  # which has the most taps
        nbytes *= s.taps if not p.joined[i] else s.taps * most_phases(a)
    return nbytes


cdef bint plan_phases(JoinedPhases *p, const ConvGeometry *g, const fc_kernels *kernels, Strided dy,
                      Strided w, Strided dx) noexcept nogil:
    cdef const Axis *a
    cdef double separate, along_w, all_of_them
    cdef fc_size i
    p.g, p.kernels, p.dy, p.w, p.dx = g, kernels, dy, w, dx
    for i in range(AXES):
        a = &g.axis[i]
        if a.stride > 1 and a.dilation > 1:
            return False
        p.joined[i] = False
    separate = cost_of(p, False, False)
    along_w = cost_of(p, False, True)
    all_of_them = cost_of(p, True, True)
    if min(along_w, all_of_them) > PHASES_MAX_PERCENT * separate / 100:
        return False
    p.joined[W] = True
    p.joined[H] = all_of_them < along_w
    for i in range(AXES):
        p.spans[i] = spans_of(&g.axis[i], p.joined[i])
    p.filter_bytes = filter_bytes(p)
    p.bias_bytes = g.in_channels * kernels.itemsize
    for i in range(AXES):
        p.bias_bytes *= most_phases(&g.axis[i]) if p.joined[i] else 1
    return True


# ---------------------------------------------------------------- the correlation of some spans

ctypedef struct FilterOrder:
    const JoinedPhases *p
    const Correlation *c
    const char *w                  # phase q0 of every axis
    fc_size rows, cols, channels   # phases of H, phases of W
    fc_size q, channel             # from one phase of W to the next, as filters, in bytes


cdef int order_filters_task(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """One filter of the convolution, which is a channel of the correlation: [taps][filters]."""
    cdef const FilterOrder *o = <const FilterOrder *> context
    cdef const Correlation *c = o.c
    cdef const Strided *w = &o.p.w
    cdef const Axis *a = &o.p.g.axis[0]
    cdef fc_size g = task, k = next_index(&g, c.channels), d, r, s, i
    cdef char *to = o.p.filters + g * c.w_g + k * c.w_c
    cdef const char *tap
    for d in range(c.axis[D].taps):
        for r in range(c.axis[H].taps):
            for s in range(c.axis[W].taps):
                tap = (o.w + task * w.stride_n + d * a[D].stride * w.stride[D]
                       + r * a[H].stride * w.stride[H] + s * a[W].stride * w.stride[W])
                for i in range(o.rows):
                    c.kernels.copy2d(to, o.q, o.channel, tap + i * w.stride[H], w.stride[W],
                                     w.stride_c, o.cols, o.channels)
                    to += o.cols * o.channels * c.kernels.itemsize
    return OK


cdef int order_biases(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """Those of all groups, once for every phase."""
    cdef const FilterOrder *o = <const FilterOrder *> context
    cdef fc_size size = o.c.kernels.itemsize, g
    cdef char *to = o.p.biases
    for g in range(o.c.groups):
        for _ in range(o.rows):
            o.c.kernels.copy2d(to, o.q, o.channel, o.p.bias + g * o.channels * size, 0, size,
                               o.cols, o.channels)
            to += o.cols * o.channels * size
    return OK


cdef int order_filters(FilterOrder *o, Correlation *c, int num_threads) noexcept nogil:
    """What c.w and the bias are to p.filters and p.biases, for c to read."""
    cdef const JoinedPhases *p = o.p
    cdef fc_size stride = c.filters * c.kernels.itemsize, i
    cdef int status = OK
    if p.bias != NULL:
        status = run_once(order_biases, o)
        c.bias = p.biases
    if p.filter_bytes == 0 or status != OK:
        return status
    c.w, c.w_k = p.filters, c.kernels.itemsize
    for i in range(AXES - 1, -1, -1):  # [groups][channels][taps][filters]
        c.axis[i].w = stride
        stride *= c.axis[i].taps
    c.w_c = stride
    c.w_g = c.channels * stride
    return parallel_for(order_filters_task, o, c.groups * c.channels, 0,
                        <double> c.groups * c.w_g / c.kernels.itemsize, num_threads)


cdef int joined_form(const JoinedPhases *p, const fc_size *at, Correlation *c, Shuffle *shuffle,
                     int num_threads) noexcept nogil:
    cdef const ConvGeometry *g = p.g
    cdef const Axis *a
    cdef Span span[AXES]
    cdef FilterOrder o
    cdef fc_size size = p.kernels.itemsize, channels = g.in_channels // g.groups, i
    c.kernels = p.kernels
    c.batch, c.groups, c.channels = g.batch, g.groups, g.out_channels // g.groups
    c.x, c.x_n, c.x_c, c.x_g = p.dy.data, p.dy.stride_n, p.dy.stride_c, c.channels * p.dy.stride_c
    c.y, c.y_n, c.y_g = p.dx.data, p.dx.stride_n, channels * p.dx.stride_c
    c.w, c.w_c, c.w_g = p.w.data, p.w.stride_n, c.channels * p.w.stride_n
    c.packed, c.bias, c.relu = NULL, NULL, p.relu
    for i in range(AXES):
        a = &g.axis[i]
        span[i] = find_span(a, p.joined[i], at[i])
        c.axis[i] = CorrelationAxis(a.out, span[i].outs, span[i].taps, span[i].block, 1,
                                    -a.dilation, p.dy.stride[i], a.stride * p.dx.stride[i],
                                    a.stride * p.w.stride[i])
        c.y += span[i].at * p.dx.stride[i]
        c.w += span[i].q0 * p.w.stride[i]
    o.p, o.c, o.w, o.channels = p, c, c.w, channels
    o.rows, o.cols = span[H].q1 - span[H].q0, span[W].q1 - span[W].q0
    c.filters = o.rows * o.cols * channels
    c.w_k = p.w.stride[W]
    c.shuffle = shuffle
    shuffle.first_h, shuffle.last_h, shuffle.y_h = span[H].first, span[H].last, p.dx.stride[H]
    shuffle.first_w, shuffle.last_w, shuffle.run = span[W].first, span[W].last, o.cols
    shuffle.planes, shuffle.y_plane, c.y_k = channels, p.dx.stride_c, p.dx.stride[W]
    o.q, o.channel = size, o.cols * size
    if p.dx.stride[W] == channels * p.dx.stride_c:  # pixels have no other channels than these
        shuffle.planes, c.y_k = 1, p.dx.stride_c
        shuffle.first_w *= channels
        shuffle.last_w *= channels
        shuffle.run *= channels
        o.q, o.channel = channels * size, size
    return order_filters(&o, c, num_threads)
