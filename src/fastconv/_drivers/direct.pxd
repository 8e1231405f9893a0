from fastconv._drivers.correlation cimport Correlation
from fastconv._drivers.kernels cimport fc_size

cdef enum:
    MAX_PHASES = 16

# Takes every correlation whose taps go up. Up to MAX_PHASES of them that are phases of one input
# gradient, which differ in taps and outputs alone, are one parallel loop.
cdef int run_direct(const Correlation *phases, fc_size count, int num_threads) noexcept nogil
# Correlation.packed's panels: of c, these read the filters and what their sizes are
cdef fc_size panels_bytes(const Correlation *c) noexcept nogil
cdef int pack_panels(const Correlation *c, char *panels, int num_threads) noexcept nogil
