# What an algorithm costs for 3 x 3 filters, from the shape alone: docs/performance.md, "Which
# algorithm". The unit is a multiply-add of vectors at the peak of one core.
#
# Each cost is a sum of four terms: products; what is done once for every pair of channel and filter
# (packing, transforms); what is done for every vector of pixels; and calls. Their weights were fitted
# to measurements (benchmarks, --algorithms).
from fastconv._drivers.correlation cimport Correlation, ceil_div
from fastconv._drivers.kernels cimport fc_size

ctypedef struct Weights:
    double products, filters, images, calls

cdef inline double cost(const Correlation *c, double images, double points, bint sum_over_images,
                        Weights w) noexcept nogil:
    """`images`: rows of the matrices of images, so many for each of `points` products."""
    cdef fc_size lanes = c.kernels.lanes
    cdef double vectors = ceil_div(c.filters, lanes)
    cdef double pairs = points * c.channels * vectors
    cdef double tiles = (<fc_size> images + c.kernels.mr - 1) // c.kernels.mr
    cdef double rows = images
    if not sum_over_images:  # a tile of few rows waits for its columns
        rows = max(images, tiles * c.kernels.mr * 0.43)
    return (w.products * pairs * rows + w.filters * pairs
            + w.images * points * images * (ceil_div(c.channels, lanes) + vectors) + w.calls)

cdef inline double rows_inside(const Correlation *c) noexcept nogil:
    """Outputs, less the share whose rows of taps lie beyond the image."""
    cdef fc_size r, first, last
    cdef double inside = 0
    for r in range(3):
        first = max(0, -c.row0 - r)
        last = min(c.out_h, c.height - c.row0 - r)
        inside += max(0, last - first)
    return c.batch * inside * c.out_w / 3
