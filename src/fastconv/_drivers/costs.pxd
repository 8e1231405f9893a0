# What 3 x 3 filters cost by each algorithm, from the shape alone: "auto" takes the least.
#
# A pass that multiplies, at each of p points (a direct method's are the taps), r rows of C channels
# by the filters, with channels and filters in Cv and Kv vectors, takes
#
#     p C Kv (r a + b) + p r (Cv + Kv) c + d
#
# nanoseconds on one core with 16 lanes; only ratios count. docs/performance.md, "Which algorithm",
# says how a, b, c and d were fitted to measurements.
from fastconv._drivers.axis cimport H, W
from fastconv._drivers.blocking cimport L2, ceil_div
from fastconv._drivers.correlation cimport Correlation, CorrelationAxis, inside
from fastconv._drivers.kernels cimport fc_size

ctypedef struct Costs:
    double product        # a: a row by a channel of a vector of filters
    double filter         # b: packing or transforming that channel of them, and reading it
    double far_filter     # b, where what is made of it goes to the next cache and back
    double packed_filter  # b, where filters are packed already, and only read
    double image          # c: packing or transforming a row's vector
    double call           # d

cdef enum:
    # Fewer terms than these in a sum, and the errors of 4 x 4 tiles, which are those of the
    # transforms then, exceed 2.5 times a direct method's: docs/winograd.md, "Accuracy".
    MIN_CHANNELS = 32
    MIN_TILES = 16
    # Fewer channels or filters fill no vector, and direct methods have ways of their own for them.
    MIN_WIDTH = 16
    # Points of a panel of filters, and sums of a weight gradient, are far beyond these.
    NEAR_PANEL_BYTES = L2
    NEAR_SUMS_BYTES = 4 * L2
    MIN_ROWS = 6  # of a register tile: with fewer it waits for its columns

cdef inline double tiles_of(const Correlation *c, fc_size m) noexcept nogil:
    return <double> c.batch * ceil_div(c.axis[H].out, m) * ceil_div(c.axis[W].out, m)

cdef inline bint exact_enough(const Correlation *c, bint weight) noexcept nogil:
    # for tiles of 4 x 4
    if weight:
        return tiles_of(c, 4) >= MIN_TILES
    return c.channels >= MIN_CHANNELS

cdef inline bint wide_enough(const Correlation *c) noexcept nogil:
    # for Winograd's algorithm
    return min(c.channels, c.filters) >= MIN_WIDTH

cdef inline Costs costs_of(fc_size m, bint weight) noexcept nogil:
    # By the size of tiles; a direct method's are of 1 x 1, under 3 x 3 points.
    #                a      b     far   packed  c     d
    if weight and m == 4:
        return Costs(0.167, 1.69, 4.00, 1.69, 1.99, 1210)
    if weight and m == 2:
        return Costs(0.147, 2.18, 4.60, 2.18, 1.75, 840)
    if weight:
        return Costs(0.135, 1.91, 1.91, 1.91, 0.29, 790)
    if m == 4:
        return Costs(0.183, 0.67, 1.34, 0.40, 1.51, 1380)
    if m == 2:
        return Costs(0.153, 1.75, 1.75, 0.60, 1.15, 1230)
    return Costs(0.137, 2.06, 2.06, 0.85, 0.40, 1270)

cdef inline double filter_cost(const Correlation *c, fc_size points, bint weight,
                               Costs costs) noexcept nogil:
    # b
    cdef fc_size kept = points * c.channels * c.kernels.itemsize  # bytes, for each filter
    if weight:
        return costs.filter if kept * c.filters <= NEAR_SUMS_BYTES else costs.far_filter
    if c.packed != NULL:
        return costs.packed_filter
    return costs.filter if kept * c.kernels.nr <= NEAR_PANEL_BYTES else costs.far_filter

cdef inline double pass_cost(const Correlation *c, fc_size m, double rows,
                             bint weight) noexcept nogil:
    cdef Costs costs = costs_of(m, weight)
    cdef fc_size points = (m + 2) * (m + 2)
    cdef double channel_vectors = ceil_div(c.channels, c.kernels.lanes)
    cdef double filter_vectors = ceil_div(c.filters, c.kernels.lanes)
    cdef double pairs = points * c.channels * filter_vectors
    cdef double image = points * rows * (channel_vectors + filter_vectors)
    cdef double mr = c.kernels.mr
    if not weight:
        rows = max(rows, MIN_ROWS * ((rows + mr - 1) // mr))
    return (pairs * (rows * costs.product + filter_cost(c, points, weight, costs))
            + image * costs.image + costs.call)

cdef inline double direct_cost(const Correlation *c, bint weight) noexcept nogil:
    cdef const CorrelationAxis *h = &c.axis[H]
    cdef double rows = 0  # of outputs that a row of taps finds in the image, of all rows of taps
    cdef fc_size r, lo, hi
    for r in range(h.taps):
        inside(h.first + r * h.dilation, h.step, h.size, h.out, &lo, &hi)
        rows += hi - lo
    return pass_cost(c, 1, c.batch * rows / h.taps * c.axis[W].out, weight)

cdef inline double winograd_cost(const Correlation *c, fc_size m, bint weight) noexcept nogil:
    return pass_cost(c, m, tiles_of(c, m), weight)


# What one channel of two vectors of pixels costs a direct method, in multiply-adds of a vector,
# where filters are the rows of the register tile (few_filters) and where they are its columns
# (direct). Both were fitted to measurements; the last term is for copying the pixels.
cdef inline double rows_cost(fc_size lanes, fc_size filters, double taps,
                             bint channels_last) noexcept nogil:
    return taps * (5 + 2 * filters) + (12 if channels_last else 6)

cdef inline double columns_cost(fc_size lanes, fc_size filters, double taps,
                                bint channels_last) noexcept nogil:
    cdef fc_size vectors = ceil_div(filters, lanes)
    return (taps * 2 * lanes * (1.06 * vectors + 0.44 * (vectors % 2))
            + (0 if channels_last else 12))
