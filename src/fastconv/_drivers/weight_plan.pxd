from fastconv._drivers.axis cimport H, W
from fastconv._drivers.correlation cimport Correlation, CorrelationAxis
from fastconv._drivers.kernels cimport fc_size

ctypedef struct WeightPlan:
    Correlation given    # what the caller asked for, its steps folded
    Correlation c        # the same to the tasks, x and y perhaps exchanged, w perhaps a slot's
    bint exchanged
    # blocks: of one tap of the depth, [tap_rows][tap_cols] taps, block_channels channels,
    # block_panels panels of filters
    fc_size tap_rows, tap_cols, block_channels, block_panels
    fc_size row_blocks, col_blocks, channel_blocks, filter_blocks
    fc_size blocks       # of all groups
    # so many parts of the batch's rows have partial sums of their own:
    # [slots][groups][filters][channels][taps], a slot of slot_bytes
    fc_size slots, slot_bytes
    bint copy_x, copy_y
    bint keep_panel      # of y where it lies: the first tile over its pixels leaves them packed
    bint side_by_side    # taps of a row follow each other: their channels are one run
    bint in_place        # sums are kept in w, [channels][filters]
    fc_size piece_images, piece_rows, piece_cols
    # scratch: pointers to runs of x and y | copied x | copied y | a panel | sums
    fc_size x_at, y_at, panel_at, sums_at, scratch_bytes

cdef inline fc_size planar_taps(const Correlation *c) noexcept nogil:
    # those of a block at most: it has one tap of the depth
    return c.axis[H].taps * c.axis[W].taps

cdef inline fc_size inputs_under(const CorrelationAxis *a, fc_size outputs,
                                 fc_size taps) noexcept nogil:
    # from the first that so many outputs read through so many taps to the last
    return (outputs - 1) * a.step + (taps - 1) * a.dilation + 1

cdef inline bint are_apart(const CorrelationAxis *a, fc_size taps) noexcept nogil:
    # no input is read for two outputs: what lies between is not copied
    return a.step > (taps - 1) * a.dilation

cdef inline fc_size rows_under(const CorrelationAxis *a, fc_size outputs,
                               fc_size taps) noexcept nogil:
    # those that are copied
    return outputs * taps if are_apart(a, taps) else inputs_under(a, outputs, taps)

# Everything but where the slots lie: c.w is still the caller's.
cdef void plan_weight(WeightPlan *p, const Correlation *given) noexcept nogil
