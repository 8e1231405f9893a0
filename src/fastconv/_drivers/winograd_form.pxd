# Which correlations Winograd's algorithm takes, and the one form that its passes bring them into.
from fastconv._drivers.correlation cimport Correlation
from fastconv._drivers.kernels cimport fc_size

# Which tiles of outputs, the index into fc_kernels.winograd
cdef enum:
    TILE_4  # 4 x 4 of a plane
    TILE_2  # 2 x 2
    LINE_4  # 4 in a line
    TILES

# A correlation with its axes in the order that the drivers want: tiles lie along H and W, and what
# the taps of D find there is summed at the points. Filters are 3 x 3, or a line of 3.
ctypedef struct WinogradForm:
    Correlation c
    bint lines         # tiles are lines,
    bint down          # along H; otherwise along W
    # Taps in a line, if not three: D has `segments` of them, each three taps from the one before.
    fc_size segments, line_taps
    # A dilated line: the rows of H follow each other in one line of pixels, each so many long. Of
    # the line, axis[W].size is the size and axis[W].first the first input; `outs` has its outputs.
    fc_size row_pixels, outs

cdef bint is_usable(const Correlation *c) noexcept nogil
cdef bint is_line(const Correlation *c) noexcept nogil
cdef WinogradForm winograd_form(const Correlation *c) noexcept nogil
