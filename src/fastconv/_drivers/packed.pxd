from fastconv._drivers.axis cimport AXES
from fastconv._drivers.conv cimport PackedPhases
from fastconv._drivers.correlation cimport Correlation, Packed
from fastconv._drivers.geometry cimport ConvGeometry
from fastconv._drivers.kernels cimport fc_kernels, fc_size
from fastconv._drivers.strided cimport Strided

# Filters in every order that a driver would bring them into; a PackedConv of the C level is one.
ctypedef struct PackedFilters:
    Packed packed
    Strided weight         # as they came: for the drivers that take them so
    int dtype
    fc_size groups, out_channels, group_channels
    fc_size kernel[AXES]
    char *memory           # of what `packed` points to, but Winograd's points, and perhaps weight

# Those of a geometry, of which only the filters' own sizes count; NULL where memory is short.
# Unless it is copied, the weight must outlive what is returned.
cdef PackedFilters *pack_filters(const ConvGeometry *g, const fc_kernels *kernels, Strided w,
                                 bint copied, int num_threads) noexcept nogil
cdef void free_filters(PackedFilters *p) noexcept nogil
cdef bint fits(const PackedFilters *p, const ConvGeometry *g, int dtype) noexcept nogil
# Let `c` use what is packed; Winograd's points are made when first needed. The result is a Status.
cdef int use_packed(PackedFilters *p, Correlation *c, int algorithm, int num_threads) noexcept nogil

# For transposed convolutions of this stride and dilation, with any padding; NULL where memory is
# short.
cdef PackedPhases *pack_phases(const ConvGeometry *g, const fc_kernels *kernels, Strided w,
                               int num_threads) noexcept nogil
cdef void free_phases(PackedPhases *p) noexcept nogil
