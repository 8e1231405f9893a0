# What convolutions cost by each algorithm, from the shape alone: "auto" takes the least.
#
# A pass that multiplies, at each of p points (a direct method's are the taps; where taps are summed
# at the points, each of these counts), r rows of C channels by the filters, with channels and
# filters in Cv and Kv vectors, and that moves q points of the input and s of the output, takes
#
#     p C Kv (r a + b) + r (q Cv + s Kv) c + d
#
# nanoseconds on one core with 16 lanes; only ratios count. docs/performance.md, "Which algorithm",
# says how a, b, c and d were fitted to measurements.
from fastconv._drivers.axis cimport D, H, W
from fastconv._drivers.blocking cimport L2, ceil_div
from fastconv._drivers.correlation cimport Correlation, CorrelationAxis, inside, taps_of
from fastconv._drivers.kernels cimport fc_size
from fastconv._drivers.winograd_form cimport LINE_4, TILE_2, TILE_4, WinogradForm, winograd_form

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

cdef inline double tiles_of(const Correlation *c, int tile) noexcept nogil:
    cdef WinogradForm f = winograd_form(c)
    cdef fc_size m = 2 if tile == TILE_2 else 4
    cdef fc_size m_h = 1 if tile == LINE_4 and not f.down else m, m_w = 1 if f.down else m
    return (<double> c.batch * f.c.axis[D].out * ceil_div(f.c.axis[H].out, m_h)
            * ceil_div(f.c.axis[W].out, m_w))

cdef inline bint exact_enough(const Correlation *c, int tile, bint weight) noexcept nogil:
    # for tiles of 4 x 4, and for lines, whose errors are smaller
    if weight:
        return tiles_of(c, tile) >= MIN_TILES
    return tile == LINE_4 or c.channels * c.axis[D].taps >= MIN_CHANNELS

cdef inline bint wide_enough(const Correlation *c) noexcept nogil:
    # for Winograd's algorithm
    return min(c.channels, c.filters) >= MIN_WIDTH

cdef inline Costs costs_of(int tile, bint weight) noexcept nogil:
    # By the tiles; a direct method has none.
    #                a      b     far   packed  c     d
    if weight:
        if tile == TILE_4:
            return Costs(0.167, 1.69, 4.00, 1.69, 1.99, 1210)
        if tile == TILE_2:
            return Costs(0.147, 2.18, 4.60, 2.18, 1.75, 840)
        if tile == LINE_4:
            return Costs(0.153, 2.07, 4.46, 2.07, 1.45, 1680)
        return Costs(0.135, 1.91, 1.91, 1.91, 0.29, 790)
    if tile == TILE_4:
        return Costs(0.183, 0.67, 1.34, 0.40, 1.51, 1380)
    if tile == TILE_2:
        return Costs(0.153, 1.75, 1.75, 0.60, 1.15, 1230)
    if tile == LINE_4:
        return Costs(0.137, 1.40, 2.18, 0.60, 1.84, 1830)
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

cdef inline double pass_cost(const Correlation *c, Costs costs, fc_size points, double rows,
                             fc_size moved_in, fc_size moved_out, bint weight) noexcept nogil:
    cdef double channel_vectors = ceil_div(c.channels, c.kernels.lanes)
    cdef double filter_vectors = ceil_div(c.filters, c.kernels.lanes)
    cdef double pairs = points * c.channels * filter_vectors
    cdef double moved = rows * (moved_in * channel_vectors + moved_out * filter_vectors)
    cdef double mr = c.kernels.mr
    if not weight:
        rows = max(rows, MIN_ROWS * ((rows + mr - 1) // mr))
    return (pairs * (rows * costs.product + filter_cost(c, points, weight, costs))
            + moved * costs.image + costs.call)

cdef inline double outputs_inside(const CorrelationAxis *a) noexcept nogil:
    # of outputs that a tap finds in the image, the mean of all taps
    cdef double outputs = 0
    cdef fc_size r, lo, hi
    for r in range(a.taps):
        inside(a.first + r * a.dilation, a.step, a.size, a.out, &lo, &hi)
        outputs += hi - lo
    return outputs / a.taps

cdef inline double direct_cost(const Correlation *c, bint weight) noexcept nogil:
    cdef fc_size taps = taps_of(c), moved = min(taps, 9)
    cdef double rows = c.batch * outputs_inside(&c.axis[D]) * outputs_inside(&c.axis[H])
    # columns beyond the image are left out by weight gradients; planes have few of them
    cdef bint skips_columns = weight and c.axis[H].taps == 1
    rows *= outputs_inside(&c.axis[W]) if skips_columns else c.axis[W].out
    return pass_cost(c, costs_of(-1, weight), taps, rows, moved, moved, weight)

cdef inline double winograd_cost(const Correlation *c, int tile, bint weight) noexcept nogil:
    cdef WinogradForm f = winograd_form(c)
    cdef const CorrelationAxis *d = &f.c.axis[D]
    cdef fc_size points = 36 if tile == TILE_4 else 16 if tile == TILE_2 else 6
    # neighbouring slices share the input's points
    cdef fc_size sources = 1 if f.segments == 1 and d.step == d.dilation else d.taps
    return pass_cost(c, costs_of(tile, weight), points * d.taps, tiles_of(c, tile),
                     points * sources, points, weight)


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
