# Arrays somewhere in memory, of any strides.
from fastconv._drivers.axis cimport AXES, D, H, W
from fastconv._drivers.geometry cimport CHANNELS_LAST
from fastconv._drivers.kernels cimport fc_size

# Images (batch, channels, depth, height, width), or filters (filters, channels, taps): where
# element 0 lies, and strides in bytes.
ctypedef struct Strided:
    char *data
    fc_size stride_n, stride_c
    fc_size stride[AXES]

cdef inline Strided dense(const void *data, fc_size itemsize, int memory_format, fc_size channels,
                          fc_size depth, fc_size height, fc_size width) noexcept nogil:
    # an array without gaps, in one of the two memory formats; filters are CONTIGUOUS
    cdef Strided s
    s.data = <char *> data
    s.stride_c = itemsize if memory_format == CHANNELS_LAST else depth * height * width * itemsize
    s.stride[W] = channels * itemsize if memory_format == CHANNELS_LAST else itemsize
    s.stride[H] = width * s.stride[W]
    s.stride[D] = height * s.stride[H]
    s.stride_n = channels * depth * height * width * itemsize
    return s
