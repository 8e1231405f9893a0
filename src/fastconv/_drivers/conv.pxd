from fastconv._drivers.axis cimport AXES
from fastconv._drivers.correlation cimport Correlation, Packed
from fastconv._drivers.geometry cimport WINOGRAD, Axis, ConvGeometry
from fastconv._drivers.kernels cimport fc_kernels, fc_size
from fastconv._drivers.strided cimport Strided

# WINOGRAD leaves the size of its tiles to the cost model; these do not.
cdef enum:
    WINOGRAD_4 = WINOGRAD + 1
    WINOGRAD_2 = WINOGRAD + 2

# A weight as the phases of a stride share out its taps: along each axis, every tap_step-th tap from
# one of the first ones on. Which share a phase has depends on the padding; what the shares are does
# not.
ctypedef struct PackedPhases:
    fc_size tap_step[AXES]
    fc_size shares[AXES]  # of each axis
    Packed *packed        # [shares of D][shares of H][shares of W]
    char *memory          # of what those point to

cdef bint allows_winograd(const ConvGeometry *g) noexcept nogil
# The index of Winograd's tiles that `algorithm` takes, or -1 for the direct methods.
cdef int choose_winograd(const Correlation *c, int algorithm, bint of_weight) noexcept nogil

# y from x and w; the weight gradient is the same form with w unknown. Without bias, ReLU and packed
# filters, which the caller adds.
cdef Correlation forward_form(const ConvGeometry *g, const fc_kernels *kernels, Strided x,
                              Strided w, Strided y) noexcept nogil
# The inputs that lie `at` past multiples of the strides, as a correlation of the output's gradient;
# likewise without bias, ReLU and packed filters.
cdef Correlation phase_form(const ConvGeometry *g, const fc_kernels *kernels, Strided dy, Strided w,
                            Strided dx, const fc_size *at) noexcept nogil

# After how many taps of this axis one meets the same phase again.
cdef fc_size tap_step_of(const Axis *a) noexcept nogil

# The passes, each by the first strategy that is usable; the result is a Status.
cdef int conv_outputs(Correlation c, int algorithm, int num_threads) noexcept nogil
# The input gradient is also the transposed convolution of dy, whose bias [in_channels] and ReLU it
# takes along: NULL and False for a gradient. `packed` has w's taps again, or is NULL.
cdef int conv_backward_input(const ConvGeometry *g, const fc_kernels *kernels, Strided dy,
                             Strided w, const PackedPhases *packed, Strided dx,
                             const char *bias, bint relu, int algorithm,
                             int num_threads) noexcept nogil
cdef int conv_backward_weight(const ConvGeometry *g, const fc_kernels *kernels, Strided dy,
                              Strided x, Strided dw, int algorithm, int num_threads) noexcept nogil
# The sum of every channel of a gradient without gaps, in either memory format, of sizes[AXES].
cdef int conv_backward_bias(const fc_kernels *kernels, fc_size batch, fc_size channels,
                            const fc_size *sizes, Strided dy, void *db,
                            int num_threads) noexcept nogil
