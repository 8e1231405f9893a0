# One axis of a convolution or a pooling, and which axis is which.
#
# A geometry has three, in the order of memory. Those that an op of fewer dimensions lacks have size,
# kernel, stride, dilation and out 1 and no padding, so that a loop over all three is always right.
# What is written for an axis is written once.

cdef enum:
    D = 0     # depth
    H = 1     # height
    W = 2     # width
    AXES = 3

# In elements; output i reads inputs i * stride - pad_before + r * dilation, r < kernel, where they
# exist. A field of integers alone, so that languages without structs can pass an array.
ctypedef struct Axis:
    Py_ssize_t size, kernel, stride, pad_before, pad_after, dilation
    Py_ssize_t out  # worked out when the geometry is checked
