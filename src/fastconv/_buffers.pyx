"""Arrays of callers as pointers, shapes and strides; memory for results."""

cimport cython
from libc.stdint cimport uint64_t
from cpython.buffer cimport (
    PyBUF_FORMAT, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer)
from fastconv._drivers cimport elementwise
from fastconv._drivers.axis cimport AXES, D, H, W
from fastconv._drivers.fingerprint cimport fingerprint as memory_fingerprint
from fastconv._drivers.geometry cimport CHANNELS_LAST, CONTIGUOUS
from fastconv._drivers.memory cimport Memory
from fastconv._drivers.numbers cimport get_number, put_number
from fastconv._drivers.strided cimport dense
from fastconv._errors cimport raise_for

import numpy as np


cdef enum:
    MIN_OWN = 4096  # bytes; below, NumPy's own memory is as good

cdef object ndarray = np.ndarray
# larger arrays cannot be addressed: NumPy refuses them
cdef double MAX_OWN = <double> (1 << 59)


cpdef empty(tuple shape, dtype, tuple strides=None):  # -> NDArray[Any]
    """An uninitialised array, C-contiguous or with strides that leave no gaps.

    Unless it is small it starts on a cache line (NumPy aligns to 16 bytes, and every vector of a
    result would then straddle two lines), in memory that other results may have used before.
    """
    cdef double nbytes = dtype.itemsize
    cdef Py_ssize_t size
    for size in shape:
        nbytes *= size
    if not MIN_OWN <= nbytes <= MAX_OWN:
        return ndarray(shape, dtype, None, 0, strides)
    return ndarray(shape, dtype, Memory(<Py_ssize_t> nbytes), 0, strides)


cpdef channels_last_strides(tuple shape, Py_ssize_t itemsize):  # -> tuple[int, ...]
    """Of an array (N, C, ...) whose memory runs along the channels, then along the last axis."""
    cdef int ndim = len(shape), i
    cdef list strides = [itemsize] * ndim
    cdef size_t step = itemsize * <size_t> shape[1]  # of an empty array it may wrap around
    for i in range(ndim - 1, 1, -1):
        strides[i] = <Py_ssize_t> step
        step *= <size_t> shape[i]
    strides[0] = <Py_ssize_t> step
    return tuple(strides)


def fingerprint(array, *, int num_threads=0):  # -> int
    """A number that tells whether an array's elements have changed since it was taken last.

    It differs for arrays of other elements but once in 2**64, and always where one element differs.
    """
    cdef Buffers buffers = Buffers.__new__(Buffers)
    cdef Py_buffer *view = buffers._add(array, False, "array")
    cdef uint64_t result
    cdef int status
    if not without_gaps(view):
        return fingerprint(array.copy(), num_threads=num_threads)
    with nogil:
        status = memory_fingerprint(<const char *> view.buf, view.len, &result, num_threads)
    raise_for(status)
    return result


cdef tuple shape_of(const Py_buffer *view):
    return tuple([view.shape[i] for i in range(view.ndim)])


cdef int check_shape(str name, const Py_buffer *view, tuple expected) except -1:
    cdef int i
    cdef bint same = view.ndim == len(expected)
    if same:
        for i in range(view.ndim):
            same &= view.shape[i] == <Py_ssize_t> expected[i]
    if not same:
        raise ValueError(f"{name} has shape {shape_of(view)}, expected {expected}")
    return 0


cdef bint without_gaps(const Py_buffer *view) noexcept:
    cdef Py_ssize_t step = view.itemsize
    cdef int i
    cdef bint progress = view.len > 0
    while progress:  # find the axis that steps over what the axes before it span
        progress = False
        for i in range(view.ndim):
            if view.shape[i] > 1 and view.strides[i] == step:
                step *= view.shape[i]
                progress = True
                break
    return step == view.len or view.len == 0


cdef Strided strided(const Py_buffer *a) noexcept nogil:
    cdef Strided s
    cdef int lacking = 2 + AXES - a.ndim, i
    s.data = <char *> a.buf
    s.stride_n, s.stride_c = a.strides[0], a.strides[1]
    for i in range(lacking, AXES):
        s.stride[i] = a.strides[2 + i - lacking]
    # an axis that is not there steps over all that is: rows and slices seem to follow each other
    for i in range(lacking):
        s.stride[lacking - 1 - i] = a.shape[2] * a.strides[2]
    return s


cdef bint has_format(const Py_buffer *a, int memory_format) noexcept:
    """Whether an array of images lies in memory as they do in this format."""
    cdef int lacking = 2 + AXES - a.ndim, i
    cdef Py_ssize_t sizes[AXES]
    for i in range(AXES):
        sizes[i] = 1 if i < lacking else a.shape[2 + i - lacking]
    cdef Strided s = dense(a.buf, a.itemsize, memory_format, a.shape[1], sizes[D], sizes[H],
                           sizes[W])
    if a.shape[0] > 1 and a.strides[0] != s.stride_n:
        return False
    if a.shape[1] > 1 and a.strides[1] != s.stride_c:
        return False
    for i in range(lacking, AXES):
        if sizes[i] > 1 and a.strides[2 + i - lacking] != s.stride[i]:
            return False
    return True


cdef bint converted(const Py_buffer *x, const Py_buffer *out) except -1:
    """Copy images from one memory format to the other, if that is what it takes."""
    cdef int status, i
    cdef Py_ssize_t pixels = 1
    if not 3 <= x.ndim <= 2 + AXES or not x.len:
        return False
    for i in range(2, x.ndim):
        pixels *= x.shape[i]
    if has_format(x, CONTIGUOUS) and has_format(out, CHANNELS_LAST):
        with nogil:
            status = elementwise.convert_layout(kernels_of(x), x.buf, out.buf, x.shape[0],
                                                x.shape[1], pixels, 0)
    elif has_format(x, CHANNELS_LAST) and has_format(out, CONTIGUOUS):
        with nogil:
            status = elementwise.convert_layout(kernels_of(x), x.buf, out.buf, x.shape[0], pixels,
                                                x.shape[1], 0)
    else:
        return False
    raise_for(status)
    return True


@cython.final
@cython.freelist(8)
cdef class Buffers:

    def __dealloc__(self):
        cdef int i
        for i in range(self.count):
            PyBuffer_Release(&self.views[i])

    cdef Py_buffer *_add(self, object array, bint writable, str name) except NULL:
        cdef Py_buffer *view = &self.views[self.count]
        try:
            PyObject_GetBuffer(array, view,
                               PyBUF_STRIDES | PyBUF_FORMAT | (PyBUF_WRITABLE if writable else 0))
        except (TypeError, ValueError, BufferError) as error:
            raise type(error)(f"{name}: {error}") from None
        self.count += 1
        return view

    cdef Py_buffer *add(self, object array, bint writable, str name="operand") except NULL:
        cdef Py_buffer *view = self._add(array, writable, name)
        if view.format[1] != 0 or (view.format[0] != b"f" and view.format[0] != b"d"):
            raise TypeError(f"{name} must be an array of float32 or float64, aligned, in native "
                            "byte order")
        return view

    cdef int same_dtype(self, str name, const Py_buffer *view, const Py_buffer *like) except -1:
        if like != NULL and view.itemsize != like.itemsize:
            raise TypeError(f"{name} is float{8 * view.itemsize}, another operand "
                            f"float{8 * like.itemsize}: expected arrays of one dtype")
        return 0

    cdef Py_buffer *tensor(self, str name, object array, tuple shape, const Py_buffer *like,
                           bint writable) except NULL:
        cdef Py_buffer *view = self.add(array, writable, name)
        self.same_dtype(name, view, like)
        check_shape(name, view, shape)
        return view

    cdef Py_buffer *integers(self, str name, object array, tuple shape, bint writable) except NULL:
        cdef Py_buffer *view = self._add(array, writable, name)
        if (view.itemsize != 8 or view.format[1] != 0
                or (view.format[0] != b"l" and view.format[0] != b"q")):
            raise TypeError(f"{name} must be an array of int64, aligned, in native byte order")
        if shape is not None:
            check_shape(name, view, shape)
        return view

    cdef Py_buffer *contiguous(self, str name, object array, int ndim, const Py_buffer *like,
                               bint writable) except NULL:
        cdef Py_buffer *view = self.add(array, writable, name)
        cdef Py_ssize_t step = view.itemsize
        cdef int i
        self.same_dtype(name, view, like)
        if ndim and view.ndim != ndim:
            raise ValueError(f"{name} has shape {shape_of(view)}, expected {ndim} dimensions")
        for i in range(view.ndim - 1, -1, -1):
            if view.shape[i] > 1 and view.strides[i] != step:
                raise ValueError(f"{name} must be C-contiguous")
            step *= view.shape[i]
        return view

    cdef Py_buffer *vector(self, str name, object array, Py_ssize_t n, const Py_buffer *like,
                           bint writable) except? NULL:
        if array is None:
            return NULL
        cdef Py_buffer *view = self.contiguous(name, array, 1, like, writable)
        if view.shape[0] != n:
            raise ValueError(f"{name} has shape {shape_of(view)}, expected ({n},)")
        return view

    cdef Py_buffer *output(self, object array) except NULL:
        cdef Py_buffer *view = self.add(array, True)
        if not without_gaps(view):
            raise ValueError("expected an array without gaps to write to")
        return view

    cdef Py_buffer *source(self, object array) except NULL:
        cdef Py_buffer *view = self.add(array, False)
        if without_gaps(view):
            return view
        self.count -= 1
        PyBuffer_Release(view)
        return self.add(array.copy(), False)

    cdef Py_buffer *input(self, object array, const Py_buffer *out) except NULL:
        cdef Py_buffer *view = self.add(array, False)
        cdef bint alike = True
        cdef int i
        if view.itemsize != out.itemsize:
            raise TypeError("expected arrays of one dtype")
        if view.ndim != out.ndim:
            raise ValueError("expected arrays of one shape")
        for i in range(view.ndim):
            if view.shape[i] != out.shape[i]:
                raise ValueError("expected arrays of one shape")
            alike &= view.shape[i] <= 1 or view.strides[i] == out.strides[i]
        if alike:
            return view
        like = <object> out.obj
        copy = empty(like.shape, like.dtype, like.strides)
        cdef Py_buffer *to = self.add(copy, True)
        if not converted(view, to):
            np.copyto(copy, array)
        return to

    cdef Py_buffer *updated(self, object array, const Py_buffer *data) except NULL:
        cdef Py_buffer *view = self.output(array)
        if self.input(array, data).buf != view.buf:
            raise ValueError("expected arrays of one layout")
        return view

    cdef Py_buffer *channel_vector(self, object array, const Py_buffer *out, Py_ssize_t n,
                                   bint writable) except? NULL:
        if array is None:
            return NULL
        cdef Py_buffer *view = self.add(array, writable)
        if view.itemsize != out.itemsize:
            raise TypeError("expected arrays of one dtype")
        if view.ndim != 1 or view.shape[0] != n:
            raise ValueError("expected one element for every channel")
        return view


cdef Split split_at(const Py_buffer *view, int axis) except *:
    cdef Split s
    cdef Py_ssize_t total = elements(view)
    if not 0 <= axis < view.ndim:
        raise ValueError(f"axis {axis} is out of range for {view.ndim} dimensions")
    s.size = view.shape[axis]
    # the stride of an axis of one element means nothing
    s.inner = view.strides[axis] // view.itemsize if s.size > 1 else total
    s.outer = total // (s.size * s.inner) if total else 0
    return s


cdef Py_ssize_t rows_of(const Py_buffer *view) noexcept:
    cdef Py_ssize_t rows = 1
    cdef int i
    for i in range(view.ndim - 1):
        rows *= view.shape[i]
    return rows


cdef void read_vector(double *to, const Py_buffer *vector, Py_ssize_t n,
                      double default) noexcept nogil:
    cdef Py_ssize_t i
    if vector == NULL:
        for i in range(n):
            to[i] = default
        return
    cdef int dtype = dtype_of(vector)
    cdef Py_ssize_t step = vector.strides[0]
    cdef const char *at = <const char *> vector.buf
    for i in range(n):
        to[i] = get_number(dtype, at + i * step)


cdef void write_vector(const Py_buffer *vector, const double *values) noexcept nogil:
    cdef int dtype = dtype_of(vector)
    cdef Py_ssize_t i, step = vector.strides[0]
    cdef char *at = <char *> vector.buf
    for i in range(vector.shape[0]):
        put_number(dtype, at + i * step, values[i])


cdef void move_vector(const Py_buffer *average, double momentum, const double *values,
                      double factor) noexcept nogil:
    cdef int dtype = dtype_of(average)
    cdef Py_ssize_t i, step = average.strides[0]
    cdef char *at = <char *> average.buf
    cdef double old
    for i in range(average.shape[0]):
        old = get_number(dtype, at + i * step)
        put_number(dtype, at + i * step, old + momentum * (values[i] * factor - old))
