# Convolution of planes, and what its weight gradient (planes_weight.pyx) shares with it.
from fastconv._drivers.correlation cimport Correlation, CorrelationAxis
from fastconv._drivers.kernels cimport fc_planes_run, fc_size

# Taps of an axis that read inputs a multiple of its step apart are a class, one of step 1:
#
#     tap rest + t * period of output i reads input
#         first + rest * dilation + step * (i + t * apart)
#
ctypedef struct Classes:
    fc_size period
    fc_size apart
    fc_size count  # of classes that have taps
    fc_size taps   # of the first class, which has the most

cdef inline fc_size class_taps(const Classes *k, fc_size taps, fc_size rest) noexcept nogil:
    return (taps - rest + k.period - 1) // k.period

# A block of outputs, and some of the taps of every class.
ctypedef struct Part:
    fc_size out0, outs
    fc_size tap0, taps

# How a block of the input is laid out, without steps and with its border:
#
#     [channels][depth taps][classes of rows][rows][classes of columns][columns]
#
# and where columns are folded, [fold][columns / fold] for the last.
ctypedef struct Layout:
    fc_size rows, cols                        # of a class, for a block
    fc_size line, row, row_class, slice, channel, bytes  # a class of a row's columns, a row, ...

ctypedef struct PlanesPlan:
    Correlation c
    Classes h, w
    fc_size fold            # columns that stand below each other, or 0
    # channels that lie side by side in the layout, of one filter each, or 1; c then has one group
    fc_size interleaved
    fc_size pixel           # bytes in the layout: of all that are interleaved
    fc_size tap             # bytes in the filters: of an element, or of a vector of them
    fc_size phases          # vectors of a row until channels repeat, if they are interleaved
    fc_size tile_rows
    fc_size groups, group_blocks  # of a task
    fc_size channels        # of a group, at a time
    fc_size tap_rows, tap_cols  # of a class, at a time
    fc_size block_rows, row_blocks, block_cols, col_blocks
    # [groups][filters][channels][depth taps][..]: pack_filters; or [phases] of them, with vectors
    # for taps: pack_interleaved
    char *filters
    char *bias              # of the groups; or [phases][lanes]; or NULL
    fc_size filter, filter_channel, filter_slice  # bytes
    bint in_place           # results are computed where they belong
    # scratch: runs | a row before it is folded | layout | results
    fc_size line_at, piece_at, result_at, scratch_bytes

cdef void depth_taps(const Correlation *c, fc_size out, fc_size *lo, fc_size *hi) noexcept nogil
# rows of at least fold_taps taps are folded
cdef void plan_planes(PlanesPlan *p, const Correlation *c, bint interleaved,
                      fc_size fold_taps) noexcept nogil
cdef Layout lay_out(const PlanesPlan *p, fc_size channels, fc_size slices, const Part *rows,
                    const Part *cols) noexcept nogil
cdef void stage(const PlanesPlan *p, const char *x, fc_size x_c, fc_size channels, fc_size slice0,
                fc_size slices, const Part *rows, const Part *cols, const Layout *layout,
                char *piece, char *line) noexcept nogil

cdef bint is_usable(const Correlation *c) noexcept nogil
cdef int run_planes(const Correlation *c, int num_threads) noexcept nogil
