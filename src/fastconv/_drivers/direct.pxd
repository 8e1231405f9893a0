from fastconv._drivers.correlation cimport Correlation
from fastconv._drivers.kernels cimport fc_size

# Takes every correlation whose taps go up.
cdef int run_direct(const Correlation *c, int num_threads) noexcept nogil
# Correlation.packed's panels: of c, these read the filters and what their sizes are
cdef fc_size panels_bytes(const Correlation *c) noexcept nogil
cdef int pack_panels(const Correlation *c, char *panels, int num_threads) noexcept nogil
