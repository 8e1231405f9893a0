# Padding: every output is one element of the input, or a constant; axis by axis.
from fastconv._drivers.kernels cimport fc_kernels, fc_size

cdef enum PadMode:
    PAD_CONSTANT
    PAD_REFLECT
    PAD_REPLICATE
    PAD_CIRCULAR

cdef enum:
    MAX_PAD_AXES = 65  # NumPy's 64, after one of a single element
    PAD_RUNS = 3

# Outputs [out, out + count) of an axis are inputs src, src + step, ...; step is 1, -1 or 0. Those
# of a constant run are no input.
ctypedef struct PadRun:
    fc_size out, count, src, step
    bint constant

# run[0] is the interior, the others are what lies before and after it; each may be empty.
ctypedef struct PadAxis:
    fc_size size, out
    fc_size x, y  # strides in bytes
    bint padded   # or cropped
    PadRun run[PAD_RUNS]

# y is C-contiguous; so is x where it is the gradient, else it has any strides.
ctypedef struct Pad:
    const fc_kernels *kernels
    int rank  # at least 2
    PadAxis axis[MAX_PAD_AXES]
    char *x
    char *y
    double value

# The sizes and runs of an axis that gets so many elements before and after, or loses as many as
# are negative; all in range. False where that makes no padding of this mode.
cdef bint set_pad_axis(PadAxis *a, fc_size size, fc_size before, fc_size after,
                       int mode) noexcept nogil
cdef int pad_forward(const Pad *p, int num_threads) noexcept nogil
cdef int pad_backward(const Pad *p, int num_threads) noexcept nogil
