from fastconv._drivers.axis cimport AXES
from fastconv._drivers.correlation cimport Correlation, Shuffle
from fastconv._drivers.geometry cimport Axis, ConvGeometry
from fastconv._drivers.kernels cimport fc_kernels, fc_size
from fastconv._drivers.strided cimport Strided

# Neighbouring phases of an axis, [q0, q1), that the same number of taps reach. They are counted in
# the padded input: its block number b has the inputs b * stride + q - pad_before.
ctypedef struct Span:
    fc_size q0, q1
    fc_size taps
    fc_size block, outs  # the first block that has any of these inputs, and how many have
    fc_size at           # the input of phase q0 there, negative if beyond the border
    fc_size first, last  # phases from q0 on: the first with an input there, those with one at last

# An input gradient as correlations of which filters are phases of the strides, too.
ctypedef struct JoinedPhases:
    const ConvGeometry *g
    const fc_kernels *kernels
    Strided dy, w, dx
    bint joined[AXES]    # all phases of this axis that can be; else one by one
    fc_size spans[AXES]  # how many that makes
    const char *bias     # as of a Correlation; the caller's, with relu
    bint relu
    # so many bytes, from the caller, where a form has its filters and biases in their own order;
    # filter_bytes is 0 where w serves as it is
    fc_size filter_bytes, bias_bytes
    char *filters
    char *biases

# Whether that takes less time than a correlation for every phase.
cdef bint plan_phases(JoinedPhases *p, const ConvGeometry *g, const fc_kernels *kernels, Strided dy,
                      Strided w, Strided dx) noexcept nogil
# The correlation for number at[i] of every axis's spans: `c`, whose outputs lie as `shuffle` says.
# One without taps has no use.
cdef int joined_form(const JoinedPhases *p, const fc_size *at, Correlation *c, Shuffle *shuffle,
                     int num_threads) noexcept nogil
