from fastconv._drivers.kernels cimport FC_FLOAT32, FC_FLOAT64, fc_kernels
from fastconv._drivers.runtime cimport kernels
from fastconv._drivers.strided cimport Strided

cdef enum:
    MAX_BUFFERS = 10  # batch_norm's, and copies of what is laid out otherwise than the output

# An uninitialised array, C-contiguous or with strides that leave no gaps.
cpdef empty(tuple shape, dtype, tuple strides=*)

cpdef channels_last_strides(tuple shape, Py_ssize_t itemsize)

# The buffers that a call reads and writes, held until the last reference to this is gone. A typed
# memoryview is of one rank and dtype, and takes several times as long to get.
cdef class Buffers:
    cdef Py_buffer views[MAX_BUFFERS]
    cdef int count

    cdef Py_buffer *_add(self, object array, bint writable, str name) except NULL
    cdef int same_dtype(self, str name, const Py_buffer *view, const Py_buffer *like) except -1
    # Any array of float32 or float64.
    cdef Py_buffer *add(self, object array, bint writable, str name=*) except NULL
    # One of this shape and any strides, of like's dtype unless that is NULL.
    cdef Py_buffer *tensor(self, str name, object array, tuple shape, const Py_buffer *like,
                           bint writable) except NULL
    # An int64 array of any strides, and of this shape unless that is None.
    cdef Py_buffer *integers(self, str name, object array, tuple shape, bint writable) except NULL
    # A C-contiguous array of so many dimensions, 0 for any number.
    cdef Py_buffer *contiguous(self, str name, object array, int ndim, const Py_buffer *like,
                               bint writable) except NULL
    # A contiguous vector of n elements, or NULL for None.
    cdef Py_buffer *vector(self, str name, object array, Py_ssize_t n, const Py_buffer *like,
                           bint writable) except? NULL
    # Memory to write to: an array without gaps.
    cdef Py_buffer *output(self, object array) except NULL
    # Elements to read in the order of memory: the array itself, or a copy without gaps.
    cdef Py_buffer *source(self, object array) except NULL
    # The elements of `array` in the order of `out`: the array itself, or else a copy.
    cdef Py_buffer *input(self, object array, const Py_buffer *out) except NULL
    # What an optimiser changes in place: without gaps, laid out as `data`.
    cdef Py_buffer *updated(self, object array, const Py_buffer *data) except NULL
    # A vector of n elements of out's dtype and any stride, or NULL for None.
    cdef Py_buffer *channel_vector(self, object array, const Py_buffer *out, Py_ssize_t n,
                                   bint writable) except? NULL

cdef inline int dtype_of(const Py_buffer *view) noexcept nogil:
    return FC_FLOAT32 if view.format[0] == b"f" else FC_FLOAT64

cdef inline const fc_kernels *kernels_of(const Py_buffer *view) noexcept nogil:
    return kernels(dtype_of(view))

cdef inline Py_ssize_t elements(const Py_buffer *view) noexcept nogil:
    return view.len // view.itemsize

# A (batch, channels, ...) array with one to three axes after them.
cdef Strided strided(const Py_buffer *a) noexcept nogil
cdef int check_shape(str name, const Py_buffer *view, tuple expected) except -1
cdef bint without_gaps(const Py_buffer *view) noexcept

# A vector of any stride as doubles; of NULL, n times the default.
cdef void read_vector(double *to, const Py_buffer *vector, Py_ssize_t n,
                      double default) noexcept nogil
cdef void write_vector(const Py_buffer *vector, const double *values) noexcept nogil
# An exponential moving average moves towards factor * values.
cdef void move_vector(const Py_buffer *average, double momentum, const double *values,
                      double factor) noexcept nogil

# An array without gaps, in the order of its memory, as (outer, size of axis, inner).
ctypedef struct Split:
    Py_ssize_t outer, size, inner

cdef Split split_at(const Py_buffer *view, int axis) except *
# The product of all axes but the last.
cdef Py_ssize_t rows_of(const Py_buffer *view) noexcept
