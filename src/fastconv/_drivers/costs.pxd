# What 3 x 3 filters cost by each algorithm, from the shape alone: "auto" takes the least. The unit
# is a nanosecond on one core with 16 lanes; only ratios count.
#
# A cost is a sum of four terms: products; what is done once for every pair of a channel and a
# vector of filters, which is packing or transforming them; what is done for every vector of an
# image's points; and calls. The weights are fitted to measurements: docs/performance.md, "Which
# algorithm".
from fastconv._drivers.axis cimport H, W
from fastconv._drivers.blocking cimport ceil_div
from fastconv._drivers.correlation cimport Correlation
from fastconv._drivers.kernels cimport fc_size

cdef enum:
    # Fewer terms than these in a sum, and the errors of 4 x 4 tiles, which are those of the
    # transforms then, exceed 2.5 times a direct method's: docs/winograd.md, "Accuracy".
    MIN_CHANNELS = 32
    MIN_TILES = 16
    # Fewer channels or filters fill no vector, and direct methods have ways of their own for them.
    MIN_WIDTH = 16
    # Points of a panel of filters, and sums of a weight gradient, that cost more beyond this.
    PANEL_BYTES = 1024 * 1024
    SUMS_BYTES = 4 * 1024 * 1024
    MIN_ROWS = 6  # of a register tile: with fewer it waits for its columns

cdef inline double tiles_of(const Correlation *c, fc_size m) noexcept nogil:
    return <double> c.batch * ceil_div(c.axis[H].out, m) * ceil_div(c.axis[W].out, m)

cdef inline bint exact_enough(const Correlation *c, bint weight) noexcept nogil:
    if weight:
        return tiles_of(c, 4) >= MIN_TILES
    return c.channels >= MIN_CHANNELS

cdef inline bint wide_enough(const Correlation *c) noexcept nogil:
    return min(c.channels, c.filters) >= MIN_WIDTH

ctypedef struct Weights:
    double product, filter
    double packed  # of filters that are only read
    double image, call

cdef inline double cost(const Correlation *c, double points, double rows, bint weight,
                        Weights w) noexcept nogil:
    """Of `points` products of rows by channels and channels by filters."""
    cdef double vectors = ceil_div(c.filters, c.kernels.lanes)
    cdef double pairs = points * c.channels * vectors
    cdef double image = points * rows * (ceil_div(c.channels, c.kernels.lanes) + vectors)
    cdef double mr = c.kernels.mr
    if not weight:
        rows = max(rows, MIN_ROWS * ((rows + mr - 1) // mr))
    return (pairs * (rows * w.product + (w.filter if c.packed == NULL else w.packed))
            + image * w.image + w.call)

cdef inline double direct_cost(const Correlation *c, bint weight) noexcept nogil:
    # rows of outputs, less the share whose rows of taps lie beyond the image
    cdef double inside = 0
    cdef fc_size r
    for r in range(3):
        inside += max(0, min(c.axis[H].out, c.axis[H].size - c.axis[H].first - r) - max(0, -c.axis[H].first - r))
    cdef double outputs = c.batch * inside / 3 * c.axis[W].out
    if weight:
        return cost(c, 9, outputs, True, Weights(0.135, 1.91, 0, 0.29, 790))
    return cost(c, 9, outputs, False, Weights(0.137, 2.06, 0.85, 0.40, 1270))

cdef inline double winograd_cost(const Correlation *c, fc_size m, bint weight) noexcept nogil:
    cdef double tiles = tiles_of(c, m)
    cdef fc_size points = (m + 2) * (m + 2), size = c.kernels.itemsize
    cdef bint near  # what is between products and transforms of filters
    if weight:
        near = points * c.channels * c.filters * size <= SUMS_BYTES
        if m == 4:
            return cost(c, 36, tiles, True, Weights(0.167, 1.69 if near else 4.0, 0, 1.99, 1210))
        return cost(c, 16, tiles, True, Weights(0.147, 2.18 if near else 4.6, 0, 1.75, 840))
    near = points * c.channels * c.kernels.nr * size <= PANEL_BYTES
    if m == 4:
        return cost(c, 36, tiles, False, Weights(0.183, 0.67 if near else 1.34, 0.40, 1.51, 1380))
    return cost(c, 16, tiles, False, Weights(0.153, 1.75, 0.60, 1.15, 1230))
