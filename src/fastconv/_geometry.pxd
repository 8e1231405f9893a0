from fastconv._drivers.geometry cimport Axis, ConvGeometry, PoolGeometry

# The one place where a geometry is validated. Works out every axis's out, and brings what reaches
# beyond the input down to what it comes to. The result is a Status; unless it is OK, `where` (which
# may be NULL) says what it is about: an axis, or one of these.
cdef enum:
    IN_INPUT = 3
    IN_WEIGHT = 4
    IN_OUTPUT = 5
cdef int validate_conv(ConvGeometry *g, int *where) noexcept nogil
# Sets the size of an axis of a transposed convolution's output: from that of its input, and the
# axis's other fields but for out. The result is a Status.
cdef int find_transposed_size(Axis *a, Py_ssize_t size, Py_ssize_t output_padding) noexcept nogil
# The same as validate_conv of a transposed convolution, whose output is the geometry's input: works
# out every axis's size, and validates. Its input has sizes[AXES], which become every axis's out.
cdef int validate_conv_transpose(ConvGeometry *g, const Py_ssize_t *sizes,
                                 const Py_ssize_t *output_padding, int *where) noexcept nogil
cdef int validate_pool(PoolGeometry *g, int *where) noexcept nogil

cdef class Convolution:
    cdef ConvGeometry geometry
    cdef readonly tuple input_shape, weight_shape, output_shape
    # of a filter's channel; 0 of a transposed convolution
    cdef readonly Py_ssize_t taps

cdef class Pooling:
    cdef PoolGeometry geometry
    cdef readonly tuple input_shape, output_shape

# An algorithm by its name, fit for the geometry; a tile of 4 or 2 (0: none) is Winograd's with it.
cdef int algorithm_code(name, int tile, const ConvGeometry *g) except -1
