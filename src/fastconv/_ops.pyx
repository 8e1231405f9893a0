"""The op layer: the geometry of a call, typed memoryviews in, a driver chosen, no GIL.

`fastconv.functional` checks arguments and allocates; the functions here trust that arrays fit the
geometry no further than a memory error: shapes are compared, values are not copied. Arrays may have
any strides.
"""

cimport cython
from cpython.buffer cimport (
    PyBUF_FORMAT, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release,
    PyObject_GetBuffer,
)
from cpython.long cimport PyLong_CheckExact
from cpython.pycapsule cimport PyCapsule_New
from cpython.pyport cimport PY_SSIZE_T_MAX
from cpython.tuple cimport PyTuple_CheckExact
from cpython.unicode cimport PyUnicode_CheckExact
from cython cimport floating
from libc.math cimport sqrt
from libc.stdint cimport int64_t
from libc.string cimport memcpy, strcmp

from fastconv._drivers cimport (
    direct, elementwise, few_filters, grouped, loss, norm, pointwise, update, winograd)
from fastconv._drivers.atomic cimport fc_fill_pointer, fc_load_pointer
from fastconv._drivers.costs cimport direct_cost, exact_enough, wide_enough, winograd_cost
from fastconv._drivers.axis cimport D, H, W
from fastconv._drivers.correlation cimport (
    Correlation, CorrelationAxis, Packed, flip_taps, fold_steps)
from fastconv._drivers.kernels cimport (
    FC_ACTIVATIONS, FC_FLOAT32, FC_FLOAT64, FC_GELU, FC_GELU_TANH, FC_LEAKY_RELU, FC_RELU, FC_SIGMOID, FC_SILU,
    FC_SOFTPLUS, FC_TANH, fc_adam, fc_grids, fc_kernels, fc_sgd, fc_size, fc_winograd)
from fastconv._drivers.matrix cimport Product, add_rows, run_product
from fastconv._drivers.pool cimport Pool, PoolAxis, max_backward, mean_backward, pool
from fastconv._drivers.memory cimport Arena, Memory, allocate, release, use_arena
from fastconv._drivers.runtime cimport (
    INTERRUPTED, check_signals, hold_signals, kernels, release_signals, strict_accuracy)
from fastconv._drivers.sums cimport Sums, channel_sums, fill_zeros
from fastconv._drivers.weight cimport run_weight

from operator import index

import numpy as np


cdef int raise_for(int status) except -1:
    if status == INTERRUPTED:
        return -1  # the handler's exception is pending
    if status == OUT_OF_MEMORY:
        raise MemoryError("fastconv could not allocate its scratch memory")
    if status == INDEX_OUT_OF_RANGE:
        raise IndexError("an index lies outside what it counts")
    if status != OK:
        raise RuntimeError(f"unknown status {status}")
    return 0


# Of any size in bytes, so that sums of a few of them stay in 64 bits.
cdef Py_ssize_t LARGEST = PY_SSIZE_T_MAX // 16


# ---------------------------------------------------------------- memory

cdef enum:
    MIN_OWN = 4096  # bytes; below, NumPy's own memory is as good

cdef object ndarray = np.ndarray


def empty(tuple shape not None, dtype, tuple strides=None):
    """An uninitialised array, C-contiguous or with strides that leave no gaps.

    Unless it is small it starts on a cache line (NumPy aligns to 16 bytes, and every vector of a
    result would then straddle two lines), in memory that other results may have used before.
    """
    cdef double nbytes = dtype.itemsize
    cdef Py_ssize_t size
    for size in shape:
        nbytes *= size
    if not MIN_OWN <= nbytes <= <double> LARGEST:
        return ndarray(shape, dtype, None, 0, strides)
    return ndarray(shape, dtype, Memory(<Py_ssize_t> nbytes), 0, strides)


# ---------------------------------------------------------------- buffers
#
# A typed memoryview is of one rank and dtype, and takes several times as long to get.

cdef int check_shape(str name, const Py_ssize_t *shape, tuple expected) except -1:
    cdef Py_ssize_t i
    for i in range(len(expected)):
        if shape[i] != <Py_ssize_t> expected[i]:
            raise ValueError(f"{name} has shape {tuple([shape[j] for j in range(len(expected))])}, "
                             f"expected {expected}")
    return 0


cdef enum:
    MAX_BUFFERS = 10  # batch_norm's, and copies of what is laid out otherwise than the output


cdef inline int dtype_of(const Py_buffer *view) noexcept nogil:
    return FC_FLOAT32 if view.itemsize == 4 else FC_FLOAT64


cdef inline const fc_kernels *kernels_of(const Py_buffer *view) noexcept nogil:
    return kernels(dtype_of(view))


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


cdef bint has_format(const Py_buffer *a, int memory_format) noexcept:
    """Whether a four-axis array lies in memory as its images in this format do."""
    cdef Array4 f = image(a.buf, <int> a.itemsize, memory_format, a.shape[1], a.shape[2],
                          a.shape[3])
    cdef Py_ssize_t[4] strides = [f.s0, f.s1, f.s2, f.s3]
    cdef int i
    for i in range(4):
        if a.shape[i] > 1 and a.strides[i] != strides[i]:
            return False
    return True


cdef bint turned(const Py_buffer *x, const Py_buffer *out) except -1:
    """Copy images from one memory format to the other, if that is what it takes."""
    cdef int status
    if x.ndim != 4 or not x.len:
        return False
    cdef Py_ssize_t n = x.shape[0], channels = x.shape[1], pixels = x.shape[2] * x.shape[3]
    if has_format(x, CONTIGUOUS) and has_format(out, CHANNELS_LAST):
        with nogil:
            status = elementwise.convert_layout(kernels_of(x), x.buf, out.buf, n, channels, pixels, 0)
    elif has_format(x, CHANNELS_LAST) and has_format(out, CONTIGUOUS):
        with nogil:
            status = elementwise.convert_layout(kernels_of(x), x.buf, out.buf, n, pixels, channels, 0)
    else:
        return False
    raise_for(status)
    return True


@cython.freelist(8)
cdef class _Buffers:
    """The buffers that a call reads and writes, held until the last reference to this is gone."""
    cdef Py_buffer views[MAX_BUFFERS]
    cdef int count

    def __dealloc__(self):
        cdef int i
        for i in range(self.count):
            PyBuffer_Release(&self.views[i])

    cdef Py_buffer *add(self, object array, bint writable, str name="operand") except NULL:
        cdef Py_buffer *view = &self.views[self.count]
        try:
            PyObject_GetBuffer(array, view,
                               PyBUF_STRIDES | PyBUF_FORMAT | (PyBUF_WRITABLE if writable else 0))
        except (TypeError, ValueError, BufferError) as error:
            raise type(error)(f"{name}: {error}") from None
        self.count += 1
        if strcmp(view.format, b"f") != 0 and strcmp(view.format, b"d") != 0:
            raise TypeError(f"{name} must be an array of float32 or float64, aligned, in native "
                            "byte order")
        return view

    cdef Py_buffer *tensor(self, str name, object array, tuple shape, const Py_buffer *like,
                           bint writable) except NULL:
        """An array of any strides and of four axes, or of `shape`; of like's dtype unless NULL."""
        cdef Py_buffer *view = self.add(array, writable, name)
        if like != NULL and view.itemsize != like.itemsize:
            raise TypeError(f"{name} is float{8 * view.itemsize}, another operand "
                            f"float{8 * like.itemsize}: expected arrays of one dtype")
        cdef int ndim = 4 if shape is None else <int> len(shape)
        if view.ndim != ndim:
            raise ValueError(f"{name} has {view.ndim} dimensions, expected {ndim}")
        if shape is not None:
            check_shape(name, view.shape, shape)
        return view

    cdef const char *bias(self, object array, Py_ssize_t n, const Py_buffer *like) except? NULL:
        """A contiguous vector of n elements, or NULL for None."""
        if array is None:
            return NULL
        cdef Py_buffer *view = self.tensor("bias", array, (n,), like, False)
        if n > 1 and view.strides[0] != view.itemsize:
            raise ValueError("bias must be contiguous")
        return <const char *> view.buf

    cdef Py_buffer *output(self, object array) except NULL:
        """Memory to write to: an array without gaps."""
        cdef Py_buffer *view = self.add(array, True)
        if not without_gaps(view):
            raise ValueError("expected an array without gaps to write to")
        return view

    cdef Py_buffer *source(self, object array) except NULL:
        """Elements to read in the order of memory: the array itself, or a copy without gaps."""
        cdef Py_buffer *view = self.add(array, False)
        if without_gaps(view):
            return view
        self.count -= 1
        PyBuffer_Release(view)
        return self.add(array.copy(), False)

    cdef Py_buffer *input(self, object array, const Py_buffer *out) except NULL:
        """The elements of `array` in the order of `out`: the array itself, or else a copy."""
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
        if not turned(view, to):
            np.copyto(copy, array)
        return to

    cdef Py_buffer *vector(self, object array, const Py_buffer *out, Py_ssize_t n,
                           bint writable) except? NULL:
        """A vector of n elements of out's dtype, or NULL for None."""
        if array is None:
            return NULL
        cdef Py_buffer *view = self.add(array, writable)
        if view.itemsize != out.itemsize:
            raise TypeError("expected arrays of one dtype")
        if view.ndim != 1 or view.shape[0] != n:
            raise ValueError("expected one element for every channel")
        return view


# ---------------------------------------------------------------- geometry


def _integer(name, value, least):
    try:
        result = index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if result < least:
        raise ValueError(f"{name} must be at least {least}, got {value!r}")
    if result > PY_SSIZE_T_MAX:
        raise ValueError(f"{name} is too large: {value!r}")
    return result


def _pair(name, value, least):
    """(vertical, horizontal) from an integer or two."""
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise ValueError(f"{name} must be an integer or a pair of integers, got {value!r}")
        return _integer(name, value[0], least), _integer(name, value[1], least)
    value = _integer(name, value, least)
    return value, value


def _padding(value, kernel, stride, dilation):
    """(top, bottom, left, right) from an integer, a pair, four sides, 'same' or 'valid'."""
    if isinstance(value, str):
        if value == "valid":
            return 0, 0, 0, 0
        if value != "same":
            raise ValueError(f"padding must be 'same', 'valid' or integers, got {value!r}")
        if stride != (1, 1):
            raise ValueError(f"padding='same' needs stride 1, got stride={stride}")
        sides = []
        for k, d in zip(kernel, dilation):
            total = d * (k - 1)
            sides += [total // 2, total - total // 2]  # the odd one goes to the end
        return tuple(sides)
    if isinstance(value, (tuple, list)):
        if len(value) == 2 and all(isinstance(v, (tuple, list)) for v in value):
            if [len(v) for v in value] == [2, 2]:
                return tuple(_integer("padding", v, 0) for side in value for v in side)
        elif len(value) == 2:
            v, h = _pair("padding", value, 0)
            return v, v, h, h
        elif len(value) == 4:
            return tuple(_integer("padding", v, 0) for v in value)
        raise ValueError("padding must be an integer, a pair (vertical, horizontal), "
                         "four sides (top, bottom, left, right), 'same' or 'valid', "
                         f"got {value!r}")
    value = _integer("padding", value, 0)
    return value, value, value, value


def _sizes(name, shape, rank):
    try:
        shape = tuple(map(index, shape))
    except TypeError:
        raise TypeError(f"{name} must be a tuple of integers, got {shape!r}") from None
    if len(shape) != rank:
        raise ValueError(f"{name} must have {rank} sizes, got {shape}")
    for i, v in enumerate(shape):
        if v < 0 or v > LARGEST or (v == 0 and i > 0):
            raise ValueError(f"{name} must have positive sizes, got {shape}")
    return shape


def _axis(what, size, kernel, step, dilation, lo, hi, ceil_mode, context):
    """Output size along one axis, and its step and dilation brought down to 64 bits.

    Python's integers do not overflow, so whatever was asked for is judged as it is.
    """
    reach = dilation * (kernel - 1) + 1
    padded = size + lo + hi
    if reach > padded:
        raise ValueError(f"{what} {kernel} with dilation={dilation} spans {reach}, more than the "
                         f"padded input's {padded}: {context}")
    if padded > LARGEST:
        raise ValueError(f"padding={max(lo, hi)} is too large: {context}")
    room = padded - reach
    out = (room + (step - 1 if ceil_mode else 0)) // step + 1
    if ceil_mode and (out - 1) * step >= size + lo:
        out -= 1  # the last window would start beyond the input
    # a step past the end is as good as one to the end, and one tap has no dilation
    return out, min(step, padded), dilation if kernel > 1 else 1


def _fits(name, shape):
    total = 8
    for v in shape:
        total *= max(v, 1)
    if total > LARGEST:
        raise ValueError(f"{name} of shape {shape} is too large to address")


cdef class ConvShape:
    """The geometry of one 2-D convolution: sizes, strides, padding, dilation, groups.

    Parameters
    ----------
    input_shape : (N, C, H, W)
    weight_shape : (K, C / groups, kernel_h, kernel_w)
    stride, dilation : int or pair of int, at least 1
    padding : int, pair, four sides (top, bottom, left, right), ((top, bottom), (left, right)),
        'same' or 'valid'
    groups : int

    Attributes
    ----------
    output_shape : (N, K, out_h, out_w)

    Raises
    ------
    ValueError, TypeError
        Naming the argument, its value and the shapes, when they do not make a convolution.
    """
    cdef Conv2dShape shape
    cdef readonly tuple input_shape, weight_shape, output_shape

    def __init__(self, input_shape, weight_shape, stride=1, padding=0, dilation=1, groups=1, *,
                 input_name="input", weight_name="weight"):
        cdef Conv2dShape *s = &self.shape
        n, c, h, w = input_shape = _sizes(input_name, input_shape, 4)
        k, per_group, kernel_h, kernel_w = weight_shape = _sizes(weight_name, weight_shape, 4)
        context = f"{input_name} {input_shape}, {weight_name} {weight_shape}"
        if k == 0:
            raise ValueError(f"{weight_name} must have positive sizes, got {weight_shape}")
        stride = _pair("stride", stride, 1)
        dilation = _pair("dilation", dilation, 1)
        sides = _padding(padding, (kernel_h, kernel_w), stride, dilation)
        groups = _integer("groups", groups, 1)
        if c % groups or k % groups:
            raise ValueError(f"groups={groups} must divide the input's channels ({c}) and the "
                             f"weight's filters ({k}): {context}")
        if per_group * groups != c:
            raise ValueError(f"{weight_name} has {per_group} channels per filter, expected "
                             f"{c // groups} ({c} input channels / groups={groups}): {context}")
        context += f", padding={padding!r}"
        out_h, s.stride_h, s.dilation_h = _axis(
            f"{weight_name}: a kernel of height", h, kernel_h, stride[0], dilation[0], sides[0],
            sides[1], False, context)
        out_w, s.stride_w, s.dilation_w = _axis(
            f"{weight_name}: a kernel of width", w, kernel_w, stride[1], dilation[1], sides[2],
            sides[3], False, context)
        self.input_shape = input_shape
        self.weight_shape = weight_shape
        self.output_shape = (n, k, out_h, out_w)
        _fits(input_name, input_shape)
        _fits(weight_name, weight_shape)
        _fits("output", self.output_shape)
        s.batch, s.in_channels, s.in_h, s.in_w = input_shape
        s.out_channels, s.kernel_h, s.kernel_w = k, kernel_h, kernel_w
        s.out_h, s.out_w = out_h, out_w
        s.pad_top, s.pad_bottom, s.pad_left, s.pad_right = sides
        s.groups = groups
        s.input_format = s.output_format = CONTIGUOUS

    def __repr__(self):
        cdef Conv2dShape *s = &self.shape
        return (f"ConvShape(input={self.input_shape}, weight={self.weight_shape}, "
                f"output={self.output_shape}, stride={(s.stride_h, s.stride_w)}, "
                f"padding={(s.pad_top, s.pad_bottom, s.pad_left, s.pad_right)}, "
                f"dilation={(s.dilation_h, s.dilation_w)}, groups={s.groups})")


# Geometries seen before, by their arguments: a network asks for the same few over and over.
cdef dict known_shapes = {}

cdef enum:
    MAX_KNOWN_SHAPES = 1024


cdef bint plain(object value) noexcept:
    """An int, a tuple of ints, or a str: nothing that only compares equal to one."""
    if PyTuple_CheckExact(value):
        for item in <tuple> value:
            if not PyLong_CheckExact(item):
                return False
        return True
    return PyLong_CheckExact(value) or PyUnicode_CheckExact(value)


def conv_shape(input_shape, weight_shape, stride=1, padding=0, dilation=1, groups=1, *,
               input_name="input", weight_name="weight"):
    """The ConvShape of these arguments, made once and remembered."""
    if not (plain(input_shape) and plain(weight_shape) and plain(stride) and plain(padding)
            and plain(dilation) and plain(groups)):
        return ConvShape(input_shape, weight_shape, stride, padding, dilation, groups,
                         input_name=input_name, weight_name=weight_name)
    key = (input_shape, weight_shape, stride, padding, dilation, groups)
    try:
        # Not `get`, which Cython makes a borrowed reference first: without the GIL, another thread
        # that clears the dictionary could free the shape then.
        return known_shapes[key]
    except KeyError:
        pass
    shape = ConvShape(input_shape, weight_shape, stride, padding, dilation, groups,
                      input_name=input_name, weight_name=weight_name)
    if len(known_shapes) >= MAX_KNOWN_SHAPES:
        known_shapes.clear()
    known_shapes[key] = shape
    return shape


cdef bint addressable(Py_ssize_t n, Py_ssize_t c, Py_ssize_t h, Py_ssize_t w) noexcept nogil:
    # sizes are positive but for n; a double is precise enough for a bound
    return <double> n * c * h * w * 8 <= <double> LARGEST


cdef int judge_axis(Py_ssize_t size, Py_ssize_t kernel, Py_ssize_t *stride, Py_ssize_t pad_lo,
                    Py_ssize_t pad_hi, Py_ssize_t *dilation, bint ceil_mode,
                    Py_ssize_t *out) noexcept nogil:
    """`_axis` for the C level, in 64 bits."""
    cdef Py_ssize_t padded, room
    if size < 1 or kernel < 1:
        return INVALID_SIZE
    if stride[0] < 1 or dilation[0] < 1:
        return INVALID_STRIDE
    if pad_lo < 0 or pad_hi < 0:
        return INVALID_PADDING
    if size > LARGEST or pad_lo > LARGEST or pad_hi > LARGEST:
        return TOO_LARGE
    padded = size + pad_lo + pad_hi
    if kernel - 1 > (padded - 1) // dilation[0]:
        return KERNEL_TOO_LARGE
    room = padded - dilation[0] * (kernel - 1) - 1
    stride[0] = min(stride[0], padded)
    if kernel == 1:
        dilation[0] = 1
    out[0] = (room + (stride[0] - 1 if ceil_mode else 0)) // stride[0] + 1
    if ceil_mode and (out[0] - 1) * stride[0] >= size + pad_lo:
        out[0] -= 1
    return OK


# ---------------------------------------------------------------- convolution

# A 4-D array: where it starts, and its strides in bytes.
ctypedef struct Array4:
    char *data
    fc_size s0, s1, s2, s3


cdef Array4 image(const void *data, int itemsize, int memory_format, Py_ssize_t c, Py_ssize_t h,
                  Py_ssize_t w) noexcept nogil:
    """A whole image tensor in one of the two memory formats; filters are CONTIGUOUS."""
    cdef Array4 a
    a.data = <char *> data
    if memory_format == CHANNELS_LAST:
        a.s1 = itemsize
        a.s3 = c * itemsize
        a.s2 = w * a.s3
        a.s0 = h * a.s2
    else:
        a.s3 = itemsize
        a.s2 = w * itemsize
        a.s1 = h * a.s2
        a.s0 = c * a.s1
    return a


cdef Array4 strided(const Py_buffer *a) noexcept nogil:
    cdef Array4 v
    v.data = <char *> a.buf
    v.s0, v.s1, v.s2, v.s3 = a.strides[0], a.strides[1], a.strides[2], a.strides[3]
    return v


cdef Array4 view(floating[:, :, :, :] a) noexcept nogil:
    cdef Array4 v
    v.data = <char *> &a[0, 0, 0, 0] if a.shape[0] else NULL
    v.s0, v.s1, v.s2, v.s3 = a.strides[0], a.strides[1], a.strides[2], a.strides[3]
    return v


cdef Array4 const_view(const floating[:, :, :, :] a) noexcept nogil:
    cdef Array4 v
    v.data = <char *> &a[0, 0, 0, 0] if a.shape[0] else NULL
    v.s0, v.s1, v.s2, v.s3 = a.strides[0], a.strides[1], a.strides[2], a.strides[3]
    return v


cdef Correlation forward_form(const Conv2dShape *s, int dtype, Array4 x, Array4 w,
                              Array4 y) noexcept nogil:
    """y from x and w; the weight gradient is the same form with w unknown."""
    cdef Correlation c
    c.kernels = kernels(dtype)
    c.batch = s.batch
    c.groups = s.groups
    c.channels = s.in_channels // s.groups
    c.filters = s.out_channels // s.groups
    c.x = x.data
    c.x_n, c.x_c, c.axis[H].x, c.axis[W].x = x.s0, x.s1, x.s2, x.s3
    c.x_g = c.channels * x.s1
    c.axis[H].size, c.axis[W].size = s.in_h, s.in_w
    c.y = y.data
    c.y_n, c.y_k, c.axis[H].y, c.axis[W].y = y.s0, y.s1, y.s2, y.s3
    c.y_g = c.filters * y.s1
    c.axis[H].out, c.axis[W].out = s.out_h, s.out_w
    c.w = w.data
    c.w_k, c.w_c, c.axis[H].w, c.axis[W].w = w.s0, w.s1, w.s2, w.s3
    c.w_g = c.filters * w.s0
    c.axis[H].taps, c.axis[W].taps = s.kernel_h, s.kernel_w
    c.axis[H].first, c.axis[H].step, c.axis[H].dilation = -s.pad_top, s.stride_h, s.dilation_h
    c.axis[W].first, c.axis[W].step, c.axis[W].dilation = -s.pad_left, s.stride_w, s.dilation_w
    c.axis[D] = CorrelationAxis(1, 1, 1, 0, 1, 1, 0, 0, 0)
    c.packed = NULL
    c.bias = NULL
    c.relu = False
    return c


# WINOGRAD leaves the size of its tiles to us; tests choose that as well.
cdef enum:
    WINOGRAD_4 = WINOGRAD + 1
    WINOGRAD_2 = WINOGRAD + 2

cdef dict ALGORITHMS = {
    "auto": AUTO, "direct": DIRECT, "winograd": WINOGRAD,
    "winograd 4x4": WINOGRAD_4, "winograd 2x2": WINOGRAD_2,
}


cdef bint allows_winograd(const Conv2dShape *s) noexcept nogil:
    return (s.kernel_h == 3 and s.kernel_w == 3 and s.stride_h == 1 and s.stride_w == 1
            and s.dilation_h == 1 and s.dilation_w == 1 and s.groups == 1)


cdef int algorithm_of(str name, const Conv2dShape *s) except -1:
    if name not in ALGORITHMS:
        raise ValueError(f"algorithm must be one of {', '.join(ALGORITHMS)}, got {name!r}")
    cdef int algorithm = ALGORITHMS[name]
    if algorithm >= WINOGRAD and not allows_winograd(s):
        raise ValueError(
            "algorithm='winograd' needs a 3 x 3 kernel, stride 1, dilation 1 and groups 1, got a "
            f"{s.kernel_h} x {s.kernel_w} kernel, stride={(s.stride_h, s.stride_w)}, "
            f"dilation={(s.dilation_h, s.dilation_w)}, groups={s.groups}")
    return algorithm


cdef int winograd_tile(const Correlation *c, int algorithm, bint weight) noexcept nogil:
    """The index of Winograd's tiles, or -1 for the direct methods."""
    cdef double four, two
    if algorithm == DIRECT or not winograd.is_usable(c):
        return -1
    if algorithm == WINOGRAD_4:
        return winograd.TILE_4
    if algorithm == WINOGRAD_2:
        return winograd.TILE_2
    if algorithm == AUTO and (strict_accuracy() or not wide_enough(c)):
        return -1
    cdef Correlation shape = c[0]
    if algorithm == WINOGRAD:  # the same bits, packed or not
        shape.packed = NULL
    two = winograd_cost(&shape, 2, weight)
    four = winograd_cost(&shape, 4, weight) if exact_enough(c, weight) else two
    if algorithm == AUTO and direct_cost(&shape, weight) <= min(four, two):
        return -1
    return winograd.TILE_4 if four < two else winograd.TILE_2


cdef int correlate(Correlation c, int algorithm, int num_threads) noexcept nogil:
    """The choice of algorithm for y from x and w."""
    cdef int tile
    if c.batch * c.groups * c.filters * c.axis[H].out * c.axis[W].out == 0:
        return OK
    flip_taps(&c)
    tile = winograd_tile(&c, algorithm, False)
    if tile >= 0:
        return winograd.run_winograd(&c, tile, num_threads)
    if grouped.is_usable(&c):
        return grouped.run_grouped(&c, 1, 1, num_threads)
    fold_steps(&c)
    if pointwise.is_usable(&c):
        return pointwise.run_pointwise(&c, num_threads)
    if few_filters.is_usable(&c):
        return few_filters.run_few_filters(&c, num_threads)
    return direct.run_direct(&c, num_threads)


# Where the input gradient of one axis gets its values, for the inputs that lie `phase` past a
# multiple of the stride: from every `tap_step`-th tap starting at tap0, the first of which meets
# output `first` for the phase's first input; each further tap meets the output `output_step` above.
ctypedef struct Phase:
    fc_size inputs, tap0, tap_step, taps, first, output_step


cdef Phase find_phase(fc_size phase, fc_size size, fc_size kernel, fc_size stride, fc_size pad,
                      fc_size dilation) noexcept nogil:
    cdef Phase p
    cdef fc_size a = stride, b = dilation, r
    while b:  # greatest common divisor
        a, b = b, a % b
    p.inputs = (size - phase + stride - 1) // stride
    p.tap_step = stride // a
    p.output_step = dilation // a
    p.taps = 0
    p.tap0 = p.first = 0
    for r in range(min(kernel, p.tap_step)):
        if (phase + pad - r * dilation) % stride == 0:
            p.tap0 = r
            p.taps = (kernel - r + p.tap_step - 1) // p.tap_step
            p.first = (phase + pad - r * dilation) // stride
            break
    return p


cdef Correlation input_phase(const Conv2dShape *s, int dtype, Array4 dy, Array4 w, Array4 dx,
                             fc_size i, fc_size j) noexcept nogil:
    """The inputs that lie (i, j) past multiples of the strides, as a correlation of dy."""
    cdef Correlation c
    cdef Phase v = find_phase(i, s.in_h, s.kernel_h, s.stride_h, s.pad_top, s.dilation_h)
    cdef Phase h = find_phase(j, s.in_w, s.kernel_w, s.stride_w, s.pad_left, s.dilation_w)
    c.kernels = kernels(dtype)
    c.batch = s.batch
    c.groups = s.groups
    c.channels = s.out_channels // s.groups
    c.filters = s.in_channels // s.groups
    c.x = dy.data
    c.x_n, c.x_c, c.axis[H].x, c.axis[W].x = dy.s0, dy.s1, dy.s2, dy.s3
    c.x_g = c.channels * dy.s1
    c.axis[H].size, c.axis[W].size = s.out_h, s.out_w
    c.y = dx.data + i * dx.s2 + j * dx.s3
    c.y_n, c.y_k = dx.s0, dx.s1
    c.y_g = c.filters * dx.s1
    c.axis[H].y = s.stride_h * dx.s2
    c.axis[W].y = s.stride_w * dx.s3
    c.axis[H].out, c.axis[W].out = v.inputs, h.inputs
    c.w = w.data + v.tap0 * w.s2 + h.tap0 * w.s3
    c.w_k, c.w_c = w.s1, w.s0
    c.w_g = c.channels * w.s0
    c.axis[H].w = v.tap_step * w.s2
    c.axis[W].w = h.tap_step * w.s3
    c.axis[H].taps, c.axis[W].taps = v.taps, h.taps
    if v.taps == 0 or h.taps == 0:
        c.axis[H].taps = c.axis[W].taps = 0
    c.axis[H].first, c.axis[H].dilation, c.axis[H].step = v.first, -v.output_step, 1
    c.axis[W].first, c.axis[W].dilation, c.axis[W].step = h.first, -h.output_step, 1
    c.axis[D] = CorrelationAxis(1, 1, 1, 0, 1, 1, 0, 0, 0)
    c.packed = NULL
    c.bias = NULL
    c.relu = False
    flip_taps(&c)
    return c


cdef int backward_input(const Conv2dShape *s, int dtype, Array4 dy, Array4 w, Array4 dx,
                        int algorithm, int num_threads) noexcept nogil:
    """One correlation per phase of the strides: each with stride 1 and its own share of the taps.

    See docs/derivation.md, "The gradient with respect to the input".
    """
    cdef Correlation c
    cdef Correlation phases[grouped.MAX_PHASES]
    cdef fc_size i, j
    cdef fc_size phases_h = min(s.stride_h, s.in_h), phases_w = min(s.stride_w, s.in_w)
    cdef int status = OK
    if s.batch == 0:
        return OK
    if phases_h * phases_w <= grouped.MAX_PHASES:
        for i in range(phases_h * phases_w):
            phases[i] = input_phase(s, dtype, dy, w, dx, i // phases_w, i % phases_w)
        if grouped.is_usable(&phases[0]):
            return grouped.run_grouped(phases, phases_h, phases_w, num_threads)
    cdef bint gaps = s.stride_h > s.kernel_h or s.stride_w > s.kernel_w
    if gaps:  # some phases are reached by no tap
        status = fill_zeros(kernels(dtype), dx.data, dx.s0, dx.s1, dx.s2, dx.s3, s.batch,
                            s.in_channels, s.in_h, s.in_w, num_threads)
    for i in range(phases_h):
        if gaps and find_phase(i, s.in_h, s.kernel_h, s.stride_h, s.pad_top,
                               s.dilation_h).taps == 0:
            continue
        for j in range(phases_w):
            if status == OK:
                status = check_signals()
            if status != OK:
                return status
            c = input_phase(s, dtype, dy, w, dx, i, j)
            if not (gaps and c.axis[H].taps == 0):
                status = correlate(c, algorithm, num_threads)
    return status


cdef int backward_weight(const Conv2dShape *s, int dtype, Array4 dy, Array4 x, Array4 dw,
                         int algorithm, int num_threads) noexcept nogil:
    cdef Correlation c = forward_form(s, dtype, x, dw, dy)
    cdef int tile = winograd_tile(&c, algorithm, True)
    if tile >= 0 and s.batch > 0:
        return winograd.run_winograd_weight(&c, tile, num_threads)
    if grouped.is_usable(&c):
        return grouped.run_grouped_weight(&c, num_threads)
    return run_weight(&c, num_threads)


# Filters in every order that a driver would bring them into; a PackedConv2d of the C level is one.
ctypedef struct PackedFilters:
    Packed packed
    Array4 weight         # as they came: for the drivers that take them so
    int dtype
    Py_ssize_t[4] sizes   # out_channels, in_channels / groups, kernel_h, kernel_w
    Py_ssize_t groups
    char *memory          # what `packed` points to, but for its Winograd points, and perhaps weight


cdef PackedFilters *pack_filters(const Conv2dShape *given, int dtype, Array4 w, bint copied,
                                 int num_threads) noexcept nogil:
    """NULL where memory is short. Unless it is copied, the weight must outlive what is returned."""
    cdef Conv2dShape s = given[0]
    # the filters of any image: all of it but their sizes is of no account
    s.batch = s.in_h = s.in_w = s.out_h = s.out_w = s.stride_h = s.stride_w = 1
    s.pad_top = s.pad_left = 0
    s.dilation_h = s.dilation_w = 1
    cdef Correlation c = forward_form(&s, dtype, w, w, w)
    # depthwise filters fill too little of a panel
    cdef size_t panels_bytes = direct.panels_bytes(&c) if c.channels * c.filters > 1 else 0
    cdef size_t rows_bytes = few_filters.rows_bytes(&c), weight_bytes = 0
    if copied:
        weight_bytes = s.out_channels * w.s0
    cdef PackedFilters *p = <PackedFilters *> allocate(sizeof(PackedFilters))
    cdef char *memory = allocate(panels_bytes + rows_bytes + weight_bytes)
    cdef int status = OK if p != NULL and memory != NULL else OUT_OF_MEMORY
    if status == OK:
        p.packed.panels = p.packed.rows = NULL
        p.packed.points[0] = p.packed.points[1] = NULL
        p.packed.kernels = c.kernels
        p.weight, p.dtype, p.groups, p.memory = w, dtype, s.groups, memory
        p.sizes[0], p.sizes[1] = s.out_channels, c.channels
        p.sizes[2], p.sizes[3] = s.kernel_h, s.kernel_w
        if copied:
            p.weight.data = memory + panels_bytes + rows_bytes
            memcpy(p.weight.data, w.data, weight_bytes)
        if panels_bytes:
            p.packed.panels = memory
            hold_signals()
            status = direct.pack_panels(&c, memory, num_threads)
            release_signals()
        if rows_bytes:
            p.packed.rows = memory + panels_bytes
            few_filters.pack_rows(&c, memory + panels_bytes)
    if status != OK:
        release(memory)
        release(<char *> p)
        return NULL
    return p


cdef void free_filters(PackedFilters *p) noexcept nogil:
    cdef int tile
    if p != NULL:
        release(p.memory)
        for tile in range(winograd.TILES):
            release(<char *> p.packed.points[tile])
        release(<char *> p)


cdef int use_packed(PackedFilters *p, Correlation *c, int algorithm,
                    int num_threads) noexcept nogil:
    """Let `c` use what is packed; Winograd's points are made when first needed."""
    cdef int tile, status
    cdef char *points
    if p.packed.kernels != c.kernels:  # packed for another instruction set
        return OK
    c.packed = &p.packed
    tile = winograd_tile(c, algorithm, False)
    if tile < 0 or fc_load_pointer(<void **> &p.packed.points[tile]) != NULL:
        return OK
    points = allocate(winograd.packed_bytes(c, tile))
    if points == NULL:
        return OUT_OF_MEMORY
    status = winograd.pack(c, tile, points, num_threads)
    if status != OK or not fc_fill_pointer(<void **> &p.packed.points[tile], points):
        release(points)  # perhaps another thread was faster
    return status


@cython.final
cdef class PackedWeight:
    """A copy of a convolution's filters in every order that a driver would bring them into.

    Forward convolutions take it for their weight. It does not change, and may be shared by threads.

    Parameters
    ----------
    weight : (K, C / groups, kernel_h, kernel_w) array
    groups : int
    """
    cdef PackedFilters *filters
    cdef object weight  # the copy
    cdef readonly tuple shape
    cdef readonly object dtype
    cdef readonly Py_ssize_t groups

    def __cinit__(self, weight, groups=1):
        cdef Conv2dShape s
        groups = _integer("groups", groups, 1)
        cdef tuple shape = _sizes("weight", weight.shape, 4)
        if shape[0] == 0:
            raise ValueError(f"weight must have positive sizes, got {shape}")
        if shape[0] % groups:
            raise ValueError(f"groups={groups} must divide the weight's filters ({shape[0]}): "
                             f"weight {shape}")
        copy = empty(shape, weight.dtype)
        copy[...] = weight
        copy.flags.writeable = False
        cdef _Buffers buffers = _Buffers.__new__(_Buffers)
        cdef Py_buffer *w = buffers.tensor("weight", copy, shape, NULL, False)
        s.groups = groups
        s.out_channels, s.kernel_h, s.kernel_w = shape[0], shape[2], shape[3]
        s.in_channels = shape[1] * groups
        with nogil:
            self.filters = pack_filters(&s, dtype_of(w), strided(w), False, 0)
        if self.filters == NULL:
            raise_for(OUT_OF_MEMORY)
        self.weight, self.shape, self.dtype, self.groups = copy, shape, copy.dtype, groups

    def __dealloc__(self):
        free_filters(self.filters)

    def __reduce__(self):
        return PackedWeight, (self.weight, self.groups)

    def __repr__(self):
        return f"PackedWeight(shape={self.shape}, dtype={self.dtype}, groups={self.groups})"


def conv_algorithm(ConvShape shape not None, str step, dtype, *, str algorithm="auto"):
    """What `algorithm` takes for "forward", "input" or "weight": "direct", or "winograd 4x4"."""
    if step not in ("forward", "input", "weight"):
        raise ValueError(f"step must be 'forward', 'input' or 'weight', got {step!r}")
    cdef Array4 nothing = Array4(NULL, 0, 0, 0, 0)
    cdef int code = FC_FLOAT32 if np.dtype(dtype).code == 4 else FC_FLOAT64
    cdef Correlation c
    if step == "input":
        c = input_phase(&shape.shape, code, nothing, nothing, nothing, 0, 0)
    else:
        c = forward_form(&shape.shape, code, nothing, nothing, nothing)
    cdef int tile = winograd_tile(&c, algorithm_of(algorithm, &shape.shape), step == "weight")
    return "direct" if tile < 0 else "winograd 4x4" if tile == winograd.TILE_4 else "winograd 2x2"


cdef const double[:, :, ::1] transformed(void (*transform)(const fc_grids *) noexcept nogil, int n,
                                         int m, int i, int j, int lanes):
    """A unit grid, of n x n vectors and one element that is 1, through a transform to m x m."""
    cdef double[:, :, ::1] x = np.zeros((n, n, lanes))
    cdef double[:, :, ::1] y = np.empty((m, m, lanes))
    cdef fc_grids g
    x[i, j, 0] = 1
    g.x, g.x_i, g.x_j = &x[0, 0, 0], x.strides[0], x.strides[1]
    g.y, g.y_i, g.y_j = &y[0, 0, 0], y.strides[0], y.strides[1]
    g.x_next = g.x_prefetch = g.y_next = 0
    g.count = 1
    g.bias = NULL
    g.relu = g.stream = False
    transform(&g)
    return y


def winograd_matrices(int tile):
    """(B^T, G, A^T) of Winograd's tile x tile outputs, as the compiled transforms have them.

    Every transform multiplies by its matrix from both sides; one of the two factors is made 1.
    """
    cdef const fc_winograd *w = kernels(FC_FLOAT64).winograd
    cdef int lanes = kernels(FC_FLOAT64).lanes, n = tile + 2, i
    if tile != 4 and tile != 2:
        raise ValueError(f"tile must be 4 or 2, got {tile}")
    w += tile == 2
    return (
        np.array([transformed(w.input, n, n, i, n - 1, lanes)[:, n - 1, 0] for i in range(n)]).T,
        np.array([transformed(w.filter, 3, n, i, 2, lanes)[:, n - 1, 0] for i in range(3)]).T,
        np.array([transformed(w.output, n, tile, i, 0, lanes)[:, 0, 0] for i in range(n)]).T,
    )


def conv2d(input, weight, bias, output, ConvShape shape not None, *, bint relu=False,
           str algorithm="auto", int num_threads=0):
    """Write the convolution of `input` with `weight`, plus `bias`, to `output`.

    Arrays may have any strides, but `bias`, which may be None, is contiguous; `weight` may be a
    PackedWeight. With `relu`, negative outputs become zero.
    """
    cdef int which = algorithm_of(algorithm, &shape.shape)
    cdef _Buffers buffers = _Buffers.__new__(_Buffers)
    cdef Py_buffer *y = buffers.tensor("output", output, shape.output_shape, NULL, True)
    cdef Py_buffer *x = buffers.tensor("input", input, shape.input_shape, y, False)
    cdef PackedWeight packed = None
    if type(weight) is PackedWeight:
        packed = weight
        if packed.groups != shape.shape.groups:
            raise ValueError(f"weight is packed for groups={packed.groups}, the convolution has "
                             f"groups={shape.shape.groups}")
        weight = packed.weight
    cdef Py_buffer *w = buffers.tensor("weight", weight, shape.weight_shape, y, False)
    cdef Correlation c = forward_form(&shape.shape, dtype_of(y), strided(x), strided(w),
                                      strided(y))
    cdef int status
    c.bias = buffers.bias(bias, shape.shape.out_channels, y)
    c.relu = relu
    with nogil:
        status = OK
        if packed is not None:
            status = use_packed(packed.filters, &c, which, num_threads)
        if status == OK:
            status = correlate(c, which, num_threads)
    raise_for(status)


def conv2d_backward_input(grad_output, weight, grad_input, ConvShape shape not None, *,
                          str algorithm="auto", int num_threads=0):
    """Write the gradient with respect to the convolution's input to `grad_input`."""
    cdef int which = algorithm_of(algorithm, &shape.shape)
    cdef _Buffers buffers = _Buffers.__new__(_Buffers)
    cdef Py_buffer *dx = buffers.tensor("grad_input", grad_input, shape.input_shape, NULL, True)
    cdef Py_buffer *dy = buffers.tensor("grad_output", grad_output, shape.output_shape, dx, False)
    cdef Py_buffer *w = buffers.tensor("weight", weight, shape.weight_shape, dx, False)
    cdef int status
    with nogil:
        status = backward_input(&shape.shape, dtype_of(dx), strided(dy), strided(w),
                                strided(dx), which, num_threads)
    raise_for(status)


def conv2d_backward_weight(grad_output, input, grad_weight, ConvShape shape not None, *,
                           str algorithm="auto", int num_threads=0):
    """Write the gradient with respect to the convolution's weight to `grad_weight`."""
    cdef int which = algorithm_of(algorithm, &shape.shape)
    cdef _Buffers buffers = _Buffers.__new__(_Buffers)
    cdef Py_buffer *dw = buffers.tensor("grad_weight", grad_weight, shape.weight_shape, NULL, True)
    cdef Py_buffer *dy = buffers.tensor("grad_output", grad_output, shape.output_shape, dw, False)
    cdef Py_buffer *x = buffers.tensor("input", input, shape.input_shape, dw, False)
    cdef int status
    with nogil:
        status = backward_weight(&shape.shape, dtype_of(dw), strided(dy), strided(x),
                                 strided(dw), which, num_threads)
    raise_for(status)


def conv2d_backward_bias(grad_output, grad_bias, *, int num_threads=0):
    """Write the sum of every channel to `grad_bias`.

    `grad_output` is C-contiguous or channels-last.
    """
    cdef _Buffers buffers = _Buffers.__new__(_Buffers)
    cdef Py_buffer *db = buffers.add(grad_bias, True, "grad_bias")
    if db.ndim != 1 or db.shape[0] > 1 and db.strides[0] != db.itemsize:
        raise ValueError("grad_bias must be a contiguous vector")
    cdef Py_buffer *dy = buffers.tensor("grad_output", grad_output, None, db, False)
    cdef Array4 x = strided(dy)
    cdef Py_ssize_t size = dy.itemsize, n = dy.shape[0], c = dy.shape[1]
    cdef Py_ssize_t h = dy.shape[2], w = dy.shape[3]
    cdef int status
    check_shape("grad_bias", db.shape, (c,))
    if c == 0:
        return
    if w == 1:  # the stride of an axis of one element is anything
        x.s3 = size if x.s1 != size else c * size
    if x.s3 != size and (x.s1 != size or x.s3 != c * size):
        raise ValueError("grad_output must be C-contiguous or channels-last")
    with nogil:
        status = bias_sums(n, c, h, w, dtype_of(dy), x, db.buf, num_threads)
    raise_for(status)


cdef int bias_sums(Py_ssize_t n, Py_ssize_t c, Py_ssize_t h, Py_ssize_t w, int dtype, Array4 dy,
                   void *out, int num_threads) noexcept nogil:
    cdef Sums s
    s.kernels = kernels(dtype)
    s.batch, s.channels, s.height, s.width = n, c, h, w
    s.x = dy.data
    s.x_n, s.x_c, s.x_h, s.x_w = dy.s0, dy.s1, dy.s2, dy.s3
    s.out = <char *> out
    return channel_sums(&s, num_threads)


# ---------------------------------------------------------------- pooling

cdef class PoolShape:
    """The geometry of one 2-D pooling.

    Parameters
    ----------
    input_shape : (N, C, H, W)
    kernel_size, stride, padding, dilation : int or pair of int
        `stride` None means `kernel_size`. Padding is at most half the kernel's reach.
    ceil_mode : bool
        Round output sizes up, but start no window in the padding at the end.
    adaptive : pair of int or None
        Output height and width; the window of each output then shares the input out evenly and
        the arguments above are unused.

    Attributes
    ----------
    output_shape : (N, C, out_h, out_w)
    """
    cdef Pool2dShape shape
    cdef readonly tuple input_shape, output_shape

    def __init__(self, input_shape, kernel_size=1, stride=None, padding=0, dilation=1,
                 ceil_mode=False, adaptive=None, *, input_name="input"):
        cdef Pool2dShape *s = &self.shape
        input_shape = _sizes(input_name, input_shape, 4)
        s.batch, s.channels, s.in_h, s.in_w = input_shape
        s.kernel_h = s.kernel_w = s.stride_h = s.stride_w = 1
        s.pad_h = s.pad_w = 0
        s.dilation_h = s.dilation_w = 1
        s.adaptive = adaptive is not None
        s.ceil_mode = s.count_include_pad = s.divisor_override = 0
        s.input_format = s.output_format = CONTIGUOUS
        if adaptive is not None:
            out = _pair("output_size", adaptive, 1)
        else:
            kernel = _pair("kernel_size", kernel_size, 1)
            step = kernel if stride is None else _pair("stride", stride, 1)
            pad = _pair("padding", padding, 0)
            dilations = _pair("dilation", dilation, 1)
            for k, p, d in zip(kernel, pad, dilations):
                if p > (d * (k - 1) + 1) // 2:
                    raise ValueError(f"padding={padding!r} must be at most half of what the "
                                     f"kernel spans: kernel_size={kernel_size!r}, "
                                     f"dilation={dilation!r}")
            context = f"{input_name} {input_shape}, padding={padding!r}"
            out_h, s.stride_h, s.dilation_h = _axis(
                "kernel_size: a height of", input_shape[2], kernel[0], step[0], dilations[0],
                pad[0], pad[0], ceil_mode, context)
            out_w, s.stride_w, s.dilation_w = _axis(
                "kernel_size: a width of", input_shape[3], kernel[1], step[1], dilations[1],
                pad[1], pad[1], ceil_mode, context)
            out = (out_h, out_w)
            s.kernel_h, s.kernel_w = kernel
            s.pad_h, s.pad_w = pad
        self.input_shape = input_shape
        self.output_shape = (*input_shape[:2], *out)
        _fits(input_name, input_shape)
        _fits("output", self.output_shape)
        s.out_h, s.out_w = out


cdef PoolAxis pool_axis(Py_ssize_t size, Py_ssize_t out, Py_ssize_t kernel, Py_ssize_t stride,
                        Py_ssize_t pad, Py_ssize_t dilation, bint adaptive) noexcept nogil:
    cdef PoolAxis a
    a.size, a.out, a.adaptive = size, out, adaptive
    a.kernel, a.stride, a.pad, a.dilation = kernel, stride, pad, dilation
    return a


cdef Pool pool_form(const Pool2dShape *s, int dtype, Array4 x, Array4 y) noexcept nogil:
    cdef Pool p
    p.kernels = kernels(dtype)
    p.batch, p.channels = s.batch, s.channels
    p.h = pool_axis(s.in_h, s.out_h, s.kernel_h, s.stride_h, s.pad_h, s.dilation_h, s.adaptive)
    p.w = pool_axis(s.in_w, s.out_w, s.kernel_w, s.stride_w, s.pad_w, s.dilation_w, s.adaptive)
    p.x = x.data
    p.x_n, p.x_c, p.x_h, p.x_w = x.s0, x.s1, x.s2, x.s3
    p.y = y.data
    p.y_n, p.y_c, p.y_h, p.y_w = y.s0, y.s1, y.s2, y.s3
    p.indices = NULL
    p.i_n = p.i_c = p.i_h = p.i_w = 0
    p.average = False
    p.include_pad = False
    p.divisor_override = 0
    return p


def max_pool2d(const floating[:, :, :, :] input, floating[:, :, :, :] output,
               int64_t[:, :, :, :] indices, PoolShape shape not None, *, int num_threads=0):
    """Write the maximum of every window to `output`, and where it was to `indices` unless None.

    An index counts elements of its (n, c) plane, row by row; -1 where a dilated window steps over
    the whole input.
    """
    check_shape("input", input.shape, shape.input_shape)
    check_shape("output", output.shape, shape.output_shape)
    cdef Pool p = pool_form(&shape.shape, FC_FLOAT32 if floating is float else FC_FLOAT64, const_view(input), view(output))
    cdef int status = OK
    if indices is not None:
        check_shape("indices", indices.shape, shape.output_shape)
        if p.batch:
            p.indices = <const char *> &indices[0, 0, 0, 0]
        p.i_n, p.i_c = indices.strides[0], indices.strides[1]
        p.i_h, p.i_w = indices.strides[2], indices.strides[3]
    with nogil:
        status = pool(&p, num_threads)
    raise_for(status)


def max_pool2d_backward(const floating[:, :, :, :] grad_output,
                        const int64_t[:, :, :, :] indices, floating[:, :, :, :] grad_input,
                        *, int num_threads=0):
    """Write to `grad_input` every output's gradient, at the input element that `indices` names.

    The rows of `grad_input` follow each other without a gap, as in both memory formats. An index
    outside the plane is an IndexError; the others have been served by then.
    """
    cdef tuple in_shape = tuple([grad_input.shape[i] for i in range(4)])
    cdef tuple out_shape = tuple([grad_output.shape[i] for i in range(4)])
    check_shape("indices", indices.shape, out_shape)
    if in_shape[:2] != out_shape[:2]:
        raise ValueError(f"grad_input {in_shape} and grad_output {out_shape} differ in their "
                         "batch or channels")
    cdef PoolShape shape = PoolShape(in_shape, adaptive=out_shape[2:])
    cdef Pool p = pool_form(&shape.shape, FC_FLOAT32 if floating is float else FC_FLOAT64, view(grad_input),
                            const_view(grad_output))
    cdef int status
    if p.batch:
        p.indices = <const char *> &indices[0, 0, 0, 0]
    p.i_n, p.i_c = indices.strides[0], indices.strides[1]
    p.i_h, p.i_w = indices.strides[2], indices.strides[3]
    if p.w.size == 1:
        p.x_w = p.x_h  # the stride of an axis of one element is anything
    if p.h.size > 1 and p.x_h != p.w.size * p.x_w:
        raise ValueError("grad_input must be C-contiguous or channels-last")
    with nogil:
        status = max_backward(&p, num_threads)
    raise_for(status)


def avg_pool2d(const floating[:, :, :, :] input, floating[:, :, :, :] output,
               PoolShape shape not None, *, bint count_include_pad=True,
               Py_ssize_t divisor_override=0, int num_threads=0):
    """Write the mean of every window to `output`; a divisor_override of 0 means none."""
    check_shape("input", input.shape, shape.input_shape)
    check_shape("output", output.shape, shape.output_shape)
    cdef Pool p = pool_form(&shape.shape, FC_FLOAT32 if floating is float else FC_FLOAT64, const_view(input), view(output))
    cdef int status
    p.average = True
    p.include_pad = count_include_pad
    p.divisor_override = divisor_override
    with nogil:
        status = pool(&p, num_threads)
    raise_for(status)


def avg_pool2d_backward(const floating[:, :, :, :] grad_output,
                        floating[:, :, :, :] grad_input, PoolShape shape not None, *,
                        bint count_include_pad=True, Py_ssize_t divisor_override=0,
                        int num_threads=0):
    """Write to `grad_input` every output's gradient, shared out evenly over its window."""
    check_shape("grad_output", grad_output.shape, shape.output_shape)
    check_shape("grad_input", grad_input.shape, shape.input_shape)
    cdef Pool p = pool_form(&shape.shape, FC_FLOAT32 if floating is float else FC_FLOAT64, view(grad_input),
                            const_view(grad_output))
    cdef int status
    p.average = True
    p.include_pad = count_include_pad
    p.divisor_override = divisor_override
    with nogil:
        status = mean_backward(&p, num_threads)
    raise_for(status)


# ---------------------------------------------------------------- elementwise, softmax, batch norm
#
# These take arrays of any rank and layout. What an op reads is laid out as what it writes, by a
# copy where it is not.

RELU, LEAKY_RELU, SIGMOID, TANH = FC_RELU, FC_LEAKY_RELU, FC_SIGMOID, FC_TANH
SILU, GELU, GELU_TANH, SOFTPLUS = FC_SILU, FC_GELU, FC_GELU_TANH, FC_SOFTPLUS


cdef inline double get(const Py_buffer *vector, Py_ssize_t i, double default) noexcept nogil:
    if vector == NULL:
        return default
    cdef char *at = <char *> vector.buf + i * vector.strides[0]
    return (<float *> at)[0] if vector.itemsize == 4 else (<double *> at)[0]


cdef inline void put(const Py_buffer *vector, Py_ssize_t i, double value) noexcept nogil:
    cdef char *at = <char *> vector.buf + i * vector.strides[0]
    if vector.itemsize == 4:
        (<float *> at)[0] = <float> value
    else:
        (<double *> at)[0] = value


ctypedef struct Split:
    Py_ssize_t outer, size, inner

cdef Split split_at(const Py_buffer *view, int axis) except *:
    """An array without gaps, in the order of its memory, as (outer, size of axis, inner)."""
    cdef Split s
    cdef Py_ssize_t elements = view.len // view.itemsize
    if not 0 <= axis < view.ndim:
        raise ValueError(f"axis {axis} is out of range for {view.ndim} dimensions")
    s.size = view.shape[axis]
    # the stride of an axis of one element means nothing
    s.inner = view.strides[axis] // view.itemsize if s.size > 1 else elements
    s.outer = elements // (s.size * s.inner) if elements else 0
    return s


def activation(int op, input, out, double param=0, int num_threads=0):
    """out = op(input); ``param`` is leaky ReLU's negative slope."""
    cdef _Buffers buffers = _Buffers.__new__(_Buffers)
    cdef Py_buffer *y = buffers.output(out)
    cdef Py_buffer *x = buffers.input(input, y)
    cdef int status
    if not 0 <= op < FC_ACTIVATIONS:
        raise ValueError(f"no activation is numbered {op}")
    with nogil:
        status = elementwise.activation(op, kernels_of(y), x.buf, y.buf, y.len // y.itemsize, param,
                                        num_threads)
    raise_for(status)


def activation_backward(int op, grad_output, saved, out, double param=0, int num_threads=0):
    """out = grad_output op'(...); ``saved`` is sigmoid's or tanh's output, or another's input."""
    cdef _Buffers buffers = _Buffers.__new__(_Buffers)
    cdef Py_buffer *dx = buffers.output(out)
    cdef Py_buffer *g = buffers.input(grad_output, dx)
    cdef Py_buffer *x = buffers.input(saved, dx)
    cdef int status
    if not 0 <= op < FC_ACTIVATIONS:
        raise ValueError(f"no activation is numbered {op}")
    with nogil:
        status = elementwise.activation_backward(op, kernels_of(g), g.buf, x.buf, dx.buf,
                                                 dx.len // dx.itemsize, param, num_threads)
    raise_for(status)


def add(a, b, out, *, bint relu=False, int num_threads=0):
    """out = a + b; with `relu`, negative sums become zero."""
    cdef _Buffers buffers = _Buffers.__new__(_Buffers)
    cdef Py_buffer *y = buffers.output(out)
    cdef Py_buffer *left = buffers.input(a, y)
    cdef Py_buffer *right = buffers.input(b, y)
    cdef int status
    with nogil:
        status = elementwise.add(kernels_of(y), left.buf, right.buf, y.buf, y.len // y.itemsize, relu,
                                 num_threads)
    raise_for(status)


def softmax(input, out, int axis, bint log=False, int num_threads=0):
    """out = softmax of input over a non-negative axis, or its logarithm."""
    cdef _Buffers buffers = _Buffers.__new__(_Buffers)
    cdef Py_buffer *y = buffers.output(out)
    cdef Py_buffer *x = buffers.input(input, y)
    cdef Split s = split_at(y, axis)
    cdef int status = OK
    if y.len:
        with nogil:
            status = elementwise.softmax(kernels_of(y), x.buf, NULL, y.buf, s.outer, s.size, s.inner,
                                         log, num_threads)
    raise_for(status)


def softmax_backward(grad_output, output, out, int axis, bint log=False, int num_threads=0):
    """out = gradient of softmax's input, or log-softmax's, from what it returned."""
    cdef _Buffers buffers = _Buffers.__new__(_Buffers)
    cdef Py_buffer *dx = buffers.output(out)
    cdef Py_buffer *g = buffers.input(grad_output, dx)
    cdef Py_buffer *y = buffers.input(output, dx)
    cdef Split s = split_at(dx, axis)
    cdef int status = OK
    if dx.len:
        with nogil:
            status = elementwise.softmax(kernels_of(dx), y.buf, g.buf, dx.buf, s.outer, s.size,
                                         s.inner, log, num_threads)
    raise_for(status)


def squared_error(input, target, losses, int num_threads=0):
    """Sum of (input - target)^2; each goes to ``losses`` unless that is None."""
    cdef _Buffers buffers = _Buffers.__new__(_Buffers)
    cdef Py_buffer *x
    cdef Py_buffer *t
    cdef void *out = NULL
    cdef double total = 0
    cdef int status
    if losses is None:
        x = buffers.source(input)
        t = buffers.input(target, x)
    else:
        t = buffers.output(losses)
        out = t.buf
        x = buffers.input(input, t)
        t = buffers.input(target, t)
    with nogil:
        status = loss.squared_error(kernels_of(x), x.buf, t.buf, out, x.len // x.itemsize, &total,
                                    num_threads)
    raise_for(status)
    return total


def squared_error_backward(input, target, out, double scale, int num_threads=0):
    """out = 2 scale (input - target)."""
    cdef _Buffers buffers = _Buffers.__new__(_Buffers)
    cdef Py_buffer *dx = buffers.output(out)
    cdef Py_buffer *x = buffers.input(input, dx)
    cdef Py_buffer *t = buffers.input(target, dx)
    cdef int status
    with nogil:
        status = loss.squared_error_backward(kernels_of(x), x.buf, t.buf, dx.buf,
                                             x.len // x.itemsize, scale, num_threads)
    raise_for(status)


def logistic_loss(input, yes, no, losses, int num_threads=0):
    """Sum of -yes log sigmoid(input) - no log sigmoid(-input); ``no`` None stands for 1 - yes.

    Each goes to ``losses`` unless that is None.
    """
    cdef _Buffers buffers = _Buffers.__new__(_Buffers)
    cdef Py_buffer *x
    cdef Py_buffer *t
    cdef Py_buffer *order
    cdef void *out = NULL
    cdef const void *rest = NULL
    cdef double total = 0
    cdef int status
    if losses is None:
        x = order = buffers.source(input)
    else:
        order = buffers.output(losses)
        out = order.buf
        x = buffers.input(input, order)
    t = buffers.input(yes, order)
    if no is not None:
        rest = buffers.input(no, order).buf
    with nogil:
        status = loss.logistic_loss(kernels_of(x), x.buf, t.buf, rest, out, x.len // x.itemsize,
                                    &total, num_threads)
    raise_for(status)
    return total


def logistic_loss_backward(input, yes, no, out, double scale, int num_threads=0):
    """out = scale (no sigmoid(input) - yes sigmoid(-input)); returns the sum of ``yes``."""
    cdef _Buffers buffers = _Buffers.__new__(_Buffers)
    cdef Py_buffer *dx = buffers.output(out)
    cdef Py_buffer *x = buffers.input(input, dx)
    cdef Py_buffer *t = buffers.input(yes, dx)
    cdef const void *rest = NULL
    cdef double sum_yes = 0
    cdef int status
    if no is not None:
        rest = buffers.input(no, dx).buf
    with nogil:
        status = loss.logistic_loss_backward(kernels_of(x), x.buf, t.buf, rest, dx.buf,
                                             x.len // x.itemsize, scale, &sum_yes, num_threads)
    raise_for(status)
    return sum_yes


cdef loss.CrossEntropy cross_entropy_call(const floating[:, :, ::1] input,
                                          const int64_t[::1] labels, const floating[::1] weight,
                                          int64_t ignore_index) except *:
    cdef loss.CrossEntropy c
    check_shape("labels", labels.shape, (input.shape[0] * input.shape[2],))
    c.kernels = kernels(FC_FLOAT32 if floating is float else FC_FLOAT64)
    c.outer, c.classes, c.inner = input.shape[0], input.shape[1], input.shape[2]
    c.x, c.labels = <const char *> &input[0, 0, 0], &labels[0]
    c.weight = NULL
    c.ignore, c.out = ignore_index, NULL
    if weight is not None:
        check_shape("weight", weight.shape, (input.shape[1],))
        c.weight = <const char *> &weight[0]
    return c


def cross_entropy(const floating[:, :, ::1] input, const int64_t[::1] labels,
                  const floating[::1] weight, floating[::1] losses, int64_t ignore_index, *,
                  int num_threads=0):
    """Sums of the losses and of the weights that count, over logits (outer, classes, inner).

    There is a label of every (outer, inner); each loss goes to `losses` unless that is None.
    `weight` is one of every class, or None. Nothing may be empty. A label that is neither a class
    nor `ignore_index` is an IndexError.
    """
    cdef loss.CrossEntropy c = cross_entropy_call(input, labels, weight, ignore_index)
    cdef double total = 0, weights = 0
    cdef int status
    if losses is not None:
        check_shape("losses", losses.shape, (labels.shape[0],))
        c.out = <char *> &losses[0]
    with nogil:
        status = loss.cross_entropy(&c, &total, &weights, num_threads)
    raise_for(status)
    return total, weights


def cross_entropy_backward(const floating[:, :, ::1] input, const int64_t[::1] labels,
                           const floating[::1] weight, const floating[::1] scale,
                           floating[:, :, ::1] grad_input, int64_t ignore_index, *,
                           int num_threads=0):
    """Write scale (softmax(input) - [label]) to `grad_input`; `scale` has one element or all."""
    cdef loss.CrossEntropy c = cross_entropy_call(input, labels, weight, ignore_index)
    cdef bint one_scale = scale.shape[0] == 1
    cdef const char *scales
    cdef int status
    if not one_scale:
        check_shape("scale", scale.shape, (labels.shape[0],))
    check_shape("grad_input", grad_input.shape, tuple([input.shape[i] for i in range(3)]))
    scales, c.out = <const char *> &scale[0], <char *> &grad_input[0, 0, 0]
    with nogil:
        status = loss.cross_entropy_backward(&c, scales, one_scale, num_threads)
    raise_for(status)


def batch_norm(input, out, mean, invstd, running_mean, running_var, weight, bias, bint training,
               double momentum, double eps, *, bint relu=False, int num_threads=0):
    """out = weight (input - mean) invstd + bias per channel, the second axis.

    With `relu`, what is negative becomes zero.

    Fills ``mean`` and ``invstd``. In training they are the batch's, and the running vectors, unless
    None, move towards the batch's; otherwise they are the running vectors'. ``weight`` and ``bias``
    may be None.
    """
    cdef _Buffers buffers = _Buffers.__new__(_Buffers)
    cdef Py_buffer *y = buffers.output(out)
    cdef Py_buffer *x = buffers.input(input, y)
    cdef Split s = split_at(y, 1)
    cdef Py_ssize_t channels = s.size, c
    cdef Py_buffer *mean_out = buffers.vector(mean, y, channels, True)
    cdef Py_buffer *invstd_out = buffers.vector(invstd, y, channels, True)
    cdef Py_buffer *ema_mean = buffers.vector(running_mean, y, channels, training)
    cdef Py_buffer *ema_var = buffers.vector(running_var, y, channels, training)
    cdef Py_buffer *w = buffers.vector(weight, y, channels, False)
    cdef Py_buffer *b = buffers.vector(bias, y, channels, False)
    if mean_out == NULL or invstd_out == NULL:
        raise TypeError("mean and invstd are written to: expected arrays")
    if not training and (ema_mean == NULL or ema_var == NULL):
        raise TypeError("evaluation needs running_mean and running_var")
    cdef double n = s.outer * s.inner
    if training and n < 2:
        raise ValueError("training needs more than one element for every channel")
    cdef double *mean_of = <double *> allocate(5 * channels * sizeof(double))
    if mean_of == NULL:
        raise_for(OUT_OF_MEMORY)
    cdef double *var_of = mean_of + channels
    cdef double *inverse = mean_of + 2 * channels
    cdef double *factor = mean_of + 3 * channels
    cdef double *summand = mean_of + 4 * channels
    cdef norm.BatchNorm call = batch_norm_call(y, s, x, x, factor, training, num_threads)
    call.relu = relu
    cdef int status = OK
    with nogil:
        for c in range(channels):
            factor[c], summand[c] = get(w, c, 1), get(b, c, 0)
            mean_of[c], var_of[c] = get(ema_mean, c, 0), get(ema_var, c, 1)
            if not y.len:  # that is all there is to an empty batch
                inverse[c] = 1 / sqrt(var_of[c] + eps)
        if y.len:
            status = norm.batch_norm(&call, summand, eps, mean_of, var_of, inverse)
        if status == OK:
            for c in range(channels):
                if training and ema_mean != NULL:
                    put(ema_mean, c,
                        get(ema_mean, c, 0) + momentum * (mean_of[c] - get(ema_mean, c, 0)))
                if training and ema_var != NULL:
                    put(ema_var, c, get(ema_var, c, 0)
                        + momentum * (var_of[c] * (n / (n - 1)) - get(ema_var, c, 0)))
                put(mean_out, c, mean_of[c])
                put(invstd_out, c, inverse[c])
        release(<char *> mean_of)
    raise_for(status)


def batch_norm_backward(grad_output, input, weight, mean, invstd, out, grad_weight, grad_bias,
                        bint training, int num_threads=0):
    """Fills ``out`` with the input's gradient, and the vectors grad_weight and grad_bias."""
    cdef _Buffers buffers = _Buffers.__new__(_Buffers)
    cdef Py_buffer *dx = buffers.output(out)
    cdef Py_buffer *g = buffers.input(grad_output, dx)
    cdef Py_buffer *x = buffers.input(input, dx)
    cdef Split s = split_at(dx, 1)
    cdef Py_ssize_t channels = s.size, c
    cdef Py_buffer *w = buffers.vector(weight, dx, channels, False)
    cdef Py_buffer *mean_in = buffers.vector(mean, dx, channels, False)
    cdef Py_buffer *invstd_in = buffers.vector(invstd, dx, channels, False)
    cdef Py_buffer *dw = buffers.vector(grad_weight, dx, channels, True)
    cdef Py_buffer *db = buffers.vector(grad_bias, dx, channels, True)
    if mean_in == NULL or invstd_in == NULL or dw == NULL or db == NULL:
        raise TypeError("mean, invstd, grad_weight and grad_bias: expected arrays")
    cdef double *mean_of = <double *> allocate(5 * channels * sizeof(double))
    if mean_of == NULL:
        raise_for(OUT_OF_MEMORY)
    cdef double *inverse = mean_of + channels
    cdef double *factor = mean_of + 2 * channels
    cdef double *sum_g = mean_of + 3 * channels
    cdef double *sum_gx = mean_of + 4 * channels
    cdef norm.BatchNorm call = batch_norm_call(dx, s, x, g, factor, training, num_threads)
    cdef int status = OK
    with nogil:
        for c in range(channels):
            mean_of[c], inverse[c] = get(mean_in, c, 0), get(invstd_in, c, 1)
            factor[c] = get(w, c, 1)
            sum_g[c] = sum_gx[c] = 0
        if dx.len:
            status = norm.batch_norm_backward(&call, mean_of, inverse, sum_g, sum_gx)
        if status == OK:
            for c in range(channels):
                put(db, c, sum_g[c])
                put(dw, c, sum_gx[c] * inverse[c])
        release(<char *> mean_of)
    raise_for(status)


cdef norm.BatchNorm batch_norm_call(const Py_buffer *out, Split s, const Py_buffer *x,
                                    const Py_buffer *g, const double *weight, bint training,
                                    int num_threads):
    cdef norm.BatchNorm call
    call.kernels = kernels_of(out)
    call.outer, call.channels, call.inner = s.outer, s.size, s.inner
    if s.size == 1:
        call.outer, call.inner = 1, s.outer * s.inner
    call.x, call.g, call.out = <const char *> x.buf, <const char *> g.buf, <char *> out.buf
    call.weight, call.training, call.num_threads = weight, training, num_threads
    call.relu = False
    return call


# ---------------------------------------------------------------- fully connected

def linear(const floating[:, ::1] input, const floating[:, ::1] weight, const floating[::1] bias,
           floating[:, ::1] output, *, int num_threads=0):
    """Write input @ weight.T + bias to `output`; `bias` may be None."""
    cdef Product p
    cdef int status
    p.m, p.k, p.n = input.shape[0], input.shape[1], weight.shape[0]
    check_shape("weight", weight.shape, (p.n, p.k))
    check_shape("output", output.shape, (p.m, p.n))
    if p.m == 0 or p.n == 0:
        return
    p.kernels = kernels(FC_FLOAT32 if floating is float else FC_FLOAT64)
    p.bias = NULL
    if bias is not None:
        check_shape("bias", bias.shape, (p.n,))
        p.bias = <const char *> &bias[0]
    p.a = <const char *> &input[0, 0] if p.k else NULL
    p.a_m, p.a_k = input.strides[0], input.strides[1]
    p.b = <const char *> &weight[0, 0] if p.k else NULL
    p.b_k, p.b_n = weight.strides[1], weight.strides[0]
    p.c = <char *> &output[0, 0]
    p.c_m = output.strides[0]
    with nogil:
        status = run_product(&p, num_threads)
    raise_for(status)


def linear_backward(const floating[:, ::1] grad_output, const floating[:, ::1] input,
                    const floating[:, ::1] weight, floating[:, ::1] grad_input,
                    floating[:, ::1] grad_weight, floating[::1] grad_bias, *, int num_threads=0):
    """Write grad_output @ weight, grad_output.T @ input and the sum of grad_output's rows."""
    cdef Product p
    cdef int status = OK
    cdef Py_ssize_t n = input.shape[0], inputs = input.shape[1], outputs = weight.shape[0]
    check_shape("grad_output", grad_output.shape, (n, outputs))
    check_shape("weight", weight.shape, (outputs, inputs))
    check_shape("grad_input", grad_input.shape, (n, inputs))
    check_shape("grad_weight", grad_weight.shape, (outputs, inputs))
    check_shape("grad_bias", grad_bias.shape, (outputs,))
    p.kernels = kernels(FC_FLOAT32 if floating is float else FC_FLOAT64)
    p.bias = NULL
    cdef const char *g = <const char *> &grad_output[0, 0] if n and outputs else NULL
    cdef const char *x = <const char *> &input[0, 0] if n and inputs else NULL
    with nogil:
        if n and inputs:
            p.m, p.k, p.n = n, outputs, inputs
            p.a = g
            p.a_m, p.a_k = grad_output.strides[0], grad_output.strides[1]
            p.b = <const char *> &weight[0, 0] if outputs else NULL
            p.b_k, p.b_n = weight.strides[0], weight.strides[1]
            p.c = <char *> &grad_input[0, 0]
            p.c_m = grad_input.strides[0]
            status = run_product(&p, num_threads)
        if status == OK and outputs and inputs:
            p.m, p.k, p.n = outputs, n, inputs
            p.a = g
            p.a_m, p.a_k = grad_output.strides[1], grad_output.strides[0]
            p.b = x
            p.b_k, p.b_n = input.strides[0], input.strides[1]
            p.c = <char *> &grad_weight[0, 0]
            p.c_m = grad_weight.strides[0]
            status = run_product(&p, num_threads)
        if outputs:
            add_rows(p.kernels, g, grad_output.strides[0], n, outputs, <char *> &grad_bias[0])
    raise_for(status)


# ---------------------------------------------------------------- the C level
#
# What _ops.pxd declares: concrete functions, each a line over one of those below for both dtypes,
# which trust nothing but pointers. They work on a copy of the geometry that was judged anew.

cdef enum:
    MAX_THREADS = 1024


cdef const char *status_text(int status) noexcept nogil:
    if status == OK:
        return "done"
    if status == OUT_OF_MEMORY:
        return "memory could not be allocated"
    if status == INDEX_OUT_OF_RANGE:
        return "an index of max_pool2d_backward lies outside its plane"
    if status == NULL_POINTER:
        return "an array that is needed is NULL"
    if status == INVALID_SIZE:
        return "sizes, channels and kernels must be at least 1, the batch at least 0"
    if status == INVALID_STRIDE:
        return "strides and dilations must be at least 1"
    if status == INVALID_PADDING:
        return "padding must be at least 0, of pooling at most half of what the kernel spans"
    if status == INVALID_GROUPS:
        return "groups must be at least 1 and divide in_channels and out_channels"
    if status == INVALID_OPTION:
        return ("a format, activation, algorithm or flag has no such value or does not fit the "
                "geometry, or num_threads is not from 0 to 1024")
    if status == KERNEL_TOO_LARGE:
        return "the kernel spans more than the padded input"
    if status == TOO_LARGE:
        return "an array of these sizes cannot be addressed"
    if status == SHAPE_NOT_CHECKED:
        return "the shape was changed after it was checked: out_h or out_w is another"
    if status == WEIGHT_MISMATCH:
        return "the packed weight is of another dtype, size or groups than the shape's"
    if status == WORKSPACE_TOO_SMALL:
        return "the workspace is smaller than this call needs"
    return "unknown status"


cdef int judge_conv2d(Conv2dShape *s) noexcept nogil:
    """Work out out_h and out_w, and bring steps down to what they come to."""
    cdef int status
    if s.batch < 0 or s.in_channels < 1 or s.out_channels < 1:
        return INVALID_SIZE
    if s.groups < 1 or s.in_channels % s.groups or s.out_channels % s.groups:
        return INVALID_GROUPS
    if (s.input_format not in (CONTIGUOUS, CHANNELS_LAST)
            or s.output_format not in (CONTIGUOUS, CHANNELS_LAST)
            or s.activation not in (ACTIVATION_NONE, ACTIVATION_RELU)
            or s.algorithm not in (AUTO, DIRECT, WINOGRAD)
            or s.algorithm == WINOGRAD and not allows_winograd(s)):
        return INVALID_OPTION
    status = judge_axis(s.in_h, s.kernel_h, &s.stride_h, s.pad_top, s.pad_bottom, &s.dilation_h,
                        False, &s.out_h)
    if status == OK:
        status = judge_axis(s.in_w, s.kernel_w, &s.stride_w, s.pad_left, s.pad_right,
                            &s.dilation_w, False, &s.out_w)
    if status == OK and not (
            addressable(s.batch, s.in_channels, s.in_h, s.in_w)
            and addressable(s.batch, s.out_channels, s.out_h, s.out_w)
            and addressable(s.out_channels, s.in_channels // s.groups, s.kernel_h, s.kernel_w)):
        return TOO_LARGE
    return status


cdef bint most_padding(Py_ssize_t pad, Py_ssize_t kernel, Py_ssize_t dilation) noexcept nogil:
    """Whether it is at most half of what the kernel spans, in whatever sizes."""
    return pad <= 0 or kernel < 1 or dilation < 1 or (
        <double> pad <= (<double> dilation * (kernel - 1) + 1) / 2)


cdef int judge_pool2d(Pool2dShape *s) noexcept nogil:
    cdef int status = OK
    if s.batch < 0 or s.channels < 1 or s.in_h < 1 or s.in_w < 1:
        return INVALID_SIZE
    if (s.input_format not in (CONTIGUOUS, CHANNELS_LAST)
            or s.output_format not in (CONTIGUOUS, CHANNELS_LAST)
            or s.ceil_mode not in (0, 1) or s.adaptive not in (0, 1)
            or s.count_include_pad not in (0, 1) or s.divisor_override < 0):
        return INVALID_OPTION
    if s.adaptive:
        if s.out_h < 1 or s.out_w < 1:
            return INVALID_SIZE
    else:
        if not (most_padding(s.pad_h, s.kernel_h, s.dilation_h)
                and most_padding(s.pad_w, s.kernel_w, s.dilation_w)):
            return INVALID_PADDING
        status = judge_axis(s.in_h, s.kernel_h, &s.stride_h, s.pad_h, s.pad_h, &s.dilation_h,
                            s.ceil_mode, &s.out_h)
        if status == OK:
            status = judge_axis(s.in_w, s.kernel_w, &s.stride_w, s.pad_w, s.pad_w, &s.dilation_w,
                                s.ceil_mode, &s.out_w)
    if status == OK and not (addressable(s.batch, s.channels, s.in_h, s.in_w)
                             and addressable(s.batch, s.channels, s.out_h, s.out_w)):
        return TOO_LARGE
    return status


cdef int conv2d_shape_check(Conv2dShape *shape) noexcept nogil:
    if shape == NULL:
        return NULL_POINTER
    cdef Conv2dShape s = shape[0]
    cdef int status = judge_conv2d(&s)
    if status == OK:
        shape.out_h, shape.out_w = s.out_h, s.out_w
    return status


cdef int pool2d_shape_check(Pool2dShape *shape) noexcept nogil:
    if shape == NULL:
        return NULL_POINTER
    cdef Pool2dShape s = shape[0]
    cdef int status = judge_pool2d(&s)
    if status == OK:
        shape.out_h, shape.out_w = s.out_h, s.out_w
    return status


cdef int conv2d_shape_init(Conv2dShape *shape, Py_ssize_t batch, Py_ssize_t in_channels,
                           Py_ssize_t in_h, Py_ssize_t in_w, Py_ssize_t out_channels,
                           Py_ssize_t kernel_h, Py_ssize_t kernel_w, Py_ssize_t stride,
                           Py_ssize_t padding, Py_ssize_t dilation,
                           Py_ssize_t groups) noexcept nogil:
    if shape == NULL:
        return NULL_POINTER
    shape.batch, shape.in_channels, shape.in_h, shape.in_w = batch, in_channels, in_h, in_w
    shape.out_channels, shape.kernel_h, shape.kernel_w = out_channels, kernel_h, kernel_w
    shape.stride_h = shape.stride_w = stride
    shape.pad_top = shape.pad_bottom = shape.pad_left = shape.pad_right = padding
    shape.dilation_h = shape.dilation_w = dilation
    shape.groups = groups
    shape.input_format = shape.output_format = CONTIGUOUS
    shape.activation, shape.algorithm = ACTIVATION_NONE, AUTO
    shape.out_h = shape.out_w = 0
    return conv2d_shape_check(shape)


cdef int pool2d_shape_init(Pool2dShape *shape, Py_ssize_t batch, Py_ssize_t channels,
                           Py_ssize_t in_h, Py_ssize_t in_w, Py_ssize_t kernel_h,
                           Py_ssize_t kernel_w, Py_ssize_t stride,
                           Py_ssize_t padding) noexcept nogil:
    if shape == NULL:
        return NULL_POINTER
    shape.batch, shape.channels, shape.in_h, shape.in_w = batch, channels, in_h, in_w
    shape.kernel_h, shape.kernel_w = kernel_h, kernel_w
    shape.stride_h = shape.stride_w = stride
    shape.pad_h = shape.pad_w = padding
    shape.dilation_h = shape.dilation_w = 1
    shape.ceil_mode = shape.adaptive = shape.divisor_override = 0
    shape.count_include_pad = 1
    shape.input_format = shape.output_format = CONTIGUOUS
    shape.out_h = shape.out_w = 0
    return pool2d_shape_check(shape)


cdef int pool2d_shape_init_adaptive(Pool2dShape *shape, Py_ssize_t batch, Py_ssize_t channels,
                                    Py_ssize_t in_h, Py_ssize_t in_w, Py_ssize_t out_h,
                                    Py_ssize_t out_w) noexcept nogil:
    if shape == NULL:
        return NULL_POINTER
    pool2d_shape_init(shape, batch, channels, in_h, in_w, 1, 1, 1, 0)
    shape.adaptive = 1
    shape.out_h, shape.out_w = out_h, out_w
    return pool2d_shape_check(shape)


cdef bint is_query(const Workspace *workspace) noexcept nogil:
    return workspace != NULL and workspace.data == NULL


cdef int admit_conv2d(const Conv2dShape *shape, Conv2dShape *s, int num_threads) noexcept nogil:
    """A copy of the geometry to rely on, unless the status is another than OK."""
    cdef int status
    if shape == NULL:
        return NULL_POINTER
    if num_threads < 0 or num_threads > MAX_THREADS:
        return INVALID_OPTION
    s[0] = shape[0]
    status = judge_conv2d(s)
    if status == OK and (s.out_h != shape.out_h or s.out_w != shape.out_w):
        return SHAPE_NOT_CHECKED
    return status


cdef int admit_pool2d(const Pool2dShape *shape, Pool2dShape *s, int num_threads) noexcept nogil:
    cdef int status
    if shape == NULL:
        return NULL_POINTER
    if num_threads < 0 or num_threads > MAX_THREADS:
        return INVALID_OPTION
    s[0] = shape[0]
    status = judge_pool2d(s)
    if status == OK and (s.out_h != shape.out_h or s.out_w != shape.out_w):
        return SHAPE_NOT_CHECKED
    return status


cdef void begin(const Workspace *workspace, Arena *arena) noexcept nogil:
    hold_signals()  # a caller without the GIL could not take a handler's exception
    if workspace != NULL:
        arena.data, arena.size = <char *> workspace.data, workspace.size
        use_arena(arena)


cdef int end(Workspace *workspace, const Arena *arena, int status) noexcept nogil:
    """The status of a call between `begin` and this; a query is answered."""
    release_signals()
    if workspace == NULL:
        return status
    use_arena(NULL)
    if workspace.data == NULL:
        workspace.size = arena.most + 64  # to start on a cache line in
    elif status == OUT_OF_MEMORY and arena.exhausted:
        return WORKSPACE_TOO_SMALL
    return status


cdef Array4 input_of(const Conv2dShape *s, int dtype, const void *data) noexcept nogil:
    return image(data, kernels(dtype).itemsize, <int> s.input_format, s.in_channels, s.in_h, s.in_w)


cdef Array4 weight_of(const Conv2dShape *s, int dtype, const void *data) noexcept nogil:
    return image(data, kernels(dtype).itemsize, CONTIGUOUS, s.in_channels // s.groups, s.kernel_h, s.kernel_w)


cdef Array4 output_of(const Conv2dShape *s, int dtype, const void *data) noexcept nogil:
    return image(data, kernels(dtype).itemsize, <int> s.output_format, s.out_channels, s.out_h, s.out_w)


cdef int c_forward(const Conv2dShape *shape, int dtype, const void *input, const void *weight,
                   PackedConv2d *packed, const void *bias, void *output, Workspace *workspace,
                   int num_threads) noexcept nogil:
    cdef Conv2dShape s
    cdef Arena arena
    cdef Correlation c
    cdef PackedFilters *p = <PackedFilters *> packed
    cdef int status = admit_conv2d(shape, &s, num_threads)
    cdef bint query = is_query(workspace)
    if status != OK:
        return status
    if p != NULL:
        if (p.dtype != dtype or p.groups != s.groups or p.sizes[0] != s.out_channels
                or p.sizes[1] != s.in_channels // s.groups or p.sizes[2] != s.kernel_h
                or p.sizes[3] != s.kernel_w):
            return WEIGHT_MISMATCH
        weight = p.weight.data
    if s.batch and not query and (input == NULL or weight == NULL or output == NULL):
        return NULL_POINTER
    c = forward_form(&s, dtype, input_of(&s, dtype, input), weight_of(&s, dtype, weight),
                     output_of(&s, dtype, output))
    c.bias = <const char *> (shape if query else bias)  # a query counts one in, and reads none
    c.relu = s.activation == ACTIVATION_RELU
    if p != NULL:
        begin(NULL, &arena)  # the handle's memory is its own
        status = end(NULL, &arena, use_packed(p, &c, <int> s.algorithm, num_threads))
    if status != OK:
        return status
    begin(workspace, &arena)
    return end(workspace, &arena, correlate(c, <int> s.algorithm, num_threads))


cdef int c_pack(const Conv2dShape *shape, int dtype, const void *weight, PackedConv2d **packed,
                int num_threads) noexcept nogil:
    cdef Conv2dShape s
    cdef Array4 w
    cdef Arena arena
    cdef Correlation c
    cdef PackedFilters *p
    cdef int status = admit_conv2d(shape, &s, num_threads)
    if packed == NULL:
        return NULL_POINTER
    packed[0] = NULL
    if status != OK:
        return status
    if weight == NULL:
        return NULL_POINTER
    w = weight_of(&s, dtype, weight)
    p = pack_filters(&s, dtype, w, True, num_threads)
    if p == NULL:
        return OUT_OF_MEMORY
    c = forward_form(&s, dtype, input_of(&s, dtype, NULL), w,
                     output_of(&s, dtype, NULL))
    if s.batch:
        begin(NULL, &arena)
        status = end(NULL, &arena, use_packed(p, &c, <int> s.algorithm, num_threads))
    if status != OK:
        free_filters(p)
        return status
    packed[0] = <PackedConv2d *> p
    return OK


cdef void conv2d_packed_free(PackedConv2d *packed) noexcept nogil:
    free_filters(<PackedFilters *> packed)


cdef int c_backward_input(const Conv2dShape *shape, int dtype, const void *grad_output,
                          const void *weight, void *grad_input, Workspace *workspace,
                          int num_threads) noexcept nogil:
    cdef Conv2dShape s
    cdef Arena arena
    cdef int status = admit_conv2d(shape, &s, num_threads)
    if status != OK:
        return status
    if (s.batch and not is_query(workspace)
            and (grad_output == NULL or weight == NULL or grad_input == NULL)):
        return NULL_POINTER
    begin(workspace, &arena)
    status = backward_input(&s, dtype, output_of(&s, dtype, grad_output),
                            weight_of(&s, dtype, weight), input_of(&s, dtype, grad_input),
                            <int> s.algorithm, num_threads)
    return end(workspace, &arena, status)


cdef int c_backward_weight(const Conv2dShape *shape, int dtype, const void *grad_output,
                           const void *input, void *grad_weight, Workspace *workspace,
                           int num_threads) noexcept nogil:
    cdef Conv2dShape s
    cdef Arena arena
    cdef int status = admit_conv2d(shape, &s, num_threads)
    if status != OK:
        return status
    if not is_query(workspace) and (
            grad_weight == NULL or s.batch and (grad_output == NULL or input == NULL)):
        return NULL_POINTER
    begin(workspace, &arena)
    status = backward_weight(&s, dtype, output_of(&s, dtype, grad_output),
                             input_of(&s, dtype, input), weight_of(&s, dtype, grad_weight),
                             <int> s.algorithm, num_threads)
    return end(workspace, &arena, status)


cdef int c_backward_bias(const Conv2dShape *shape, int dtype, const void *grad_output,
                         void *grad_bias, Workspace *workspace, int num_threads) noexcept nogil:
    cdef Conv2dShape s
    cdef Arena arena
    cdef int status = admit_conv2d(shape, &s, num_threads)
    if status != OK:
        return status
    if not is_query(workspace) and (grad_bias == NULL or s.batch and grad_output == NULL):
        return NULL_POINTER
    begin(workspace, &arena)
    status = bias_sums(s.batch, s.out_channels, s.out_h, s.out_w, dtype,
                       output_of(&s, dtype, grad_output), grad_bias, num_threads)
    return end(workspace, &arena, status)


cdef Array4 pool_input(const Pool2dShape *s, int dtype, const void *data) noexcept nogil:
    return image(data, kernels(dtype).itemsize, <int> s.input_format, s.channels, s.in_h, s.in_w)


cdef Array4 pool_output(const Pool2dShape *s, int dtype, const void *data) noexcept nogil:
    return image(data, kernels(dtype).itemsize, <int> s.output_format, s.channels, s.out_h, s.out_w)


cdef void set_indices(Pool *p, const Pool2dShape *s, const void *indices) noexcept nogil:
    cdef Array4 i = pool_output(s, FC_FLOAT64, indices)
    p.indices = i.data
    p.i_n, p.i_c, p.i_h, p.i_w = i.s0, i.s1, i.s2, i.s3


cdef int c_max_pool2d(const Pool2dShape *shape, int dtype, const void *input, void *output,
                      int64_t *indices, Workspace *workspace, int num_threads) noexcept nogil:
    cdef Pool2dShape s
    cdef Arena arena
    cdef Pool p
    cdef bint query = is_query(workspace)
    cdef int status = admit_pool2d(shape, &s, num_threads)
    if status != OK:
        return status
    if s.batch and not query and (input == NULL or output == NULL):
        return NULL_POINTER
    p = pool_form(&s, dtype, pool_input(&s, dtype, input),
                  pool_output(&s, dtype, output))
    begin(workspace, &arena)
    if query:  # what is needed with indices as well as without
        status = pool(&p, num_threads)
        set_indices(&p, &s, shape)
    elif indices != NULL:
        set_indices(&p, &s, indices)
    if status == OK:
        status = pool(&p, num_threads)
    return end(workspace, &arena, status)


cdef int c_max_pool2d_backward(const Pool2dShape *shape, int dtype, const void *grad_output,
                               const int64_t *indices, void *grad_input, Workspace *workspace,
                               int num_threads) noexcept nogil:
    cdef Pool2dShape s
    cdef Arena arena
    cdef Pool p
    cdef int status = admit_pool2d(shape, &s, num_threads)
    if status != OK:
        return status
    if (s.batch and not is_query(workspace)
            and (grad_output == NULL or indices == NULL or grad_input == NULL)):
        return NULL_POINTER
    p = pool_form(&s, dtype, pool_input(&s, dtype, grad_input),
                  pool_output(&s, dtype, grad_output))
    set_indices(&p, &s, indices)
    begin(workspace, &arena)
    return end(workspace, &arena, max_backward(&p, num_threads))


cdef int c_avg_pool2d(const Pool2dShape *shape, int dtype, const void *x, const void *y,
                      bint backward, Workspace *workspace, int num_threads) noexcept nogil:
    """Reads x and writes y; backward, reads y, the gradient of the output, and writes x."""
    cdef Pool2dShape s
    cdef Arena arena
    cdef Pool p
    cdef int status = admit_pool2d(shape, &s, num_threads)
    if status != OK:
        return status
    if s.batch and not is_query(workspace) and (x == NULL or y == NULL):
        return NULL_POINTER
    p = pool_form(&s, dtype, pool_input(&s, dtype, x), pool_output(&s, dtype, y))
    p.average = True
    p.include_pad = s.count_include_pad
    p.divisor_override = s.divisor_override
    begin(workspace, &arena)
    status = mean_backward(&p, num_threads) if backward else pool(&p, num_threads)
    return end(workspace, &arena, status)


cdef int conv2d_f32(const Conv2dShape *shape, const float *input, const float *weight,
                    const float *bias, float *output, Workspace *workspace,
                    int num_threads) noexcept nogil:
    return c_forward(shape, FC_FLOAT32, input, weight, NULL, bias, output, workspace, num_threads)


cdef int conv2d_f64(const Conv2dShape *shape, const double *input, const double *weight,
                    const double *bias, double *output, Workspace *workspace,
                    int num_threads) noexcept nogil:
    return c_forward(shape, FC_FLOAT64, input, weight, NULL, bias, output, workspace, num_threads)


cdef int conv2d_backward_input_f32(const Conv2dShape *shape, const float *grad_output,
                                   const float *weight, float *grad_input, Workspace *workspace,
                                   int num_threads) noexcept nogil:
    return c_backward_input(shape, FC_FLOAT32, grad_output, weight, grad_input, workspace, num_threads)


cdef int conv2d_backward_input_f64(const Conv2dShape *shape, const double *grad_output,
                                   const double *weight, double *grad_input, Workspace *workspace,
                                   int num_threads) noexcept nogil:
    return c_backward_input(shape, FC_FLOAT64, grad_output, weight, grad_input, workspace, num_threads)


cdef int conv2d_backward_weight_f32(const Conv2dShape *shape, const float *grad_output,
                                    const float *input, float *grad_weight, Workspace *workspace,
                                    int num_threads) noexcept nogil:
    return c_backward_weight(shape, FC_FLOAT32, grad_output, input, grad_weight, workspace, num_threads)


cdef int conv2d_backward_weight_f64(const Conv2dShape *shape, const double *grad_output,
                                    const double *input, double *grad_weight, Workspace *workspace,
                                    int num_threads) noexcept nogil:
    return c_backward_weight(shape, FC_FLOAT64, grad_output, input, grad_weight, workspace, num_threads)


cdef int conv2d_backward_bias_f32(const Conv2dShape *shape, const float *grad_output,
                                  float *grad_bias, Workspace *workspace,
                                  int num_threads) noexcept nogil:
    return c_backward_bias(shape, FC_FLOAT32, grad_output, grad_bias, workspace, num_threads)


cdef int conv2d_backward_bias_f64(const Conv2dShape *shape, const double *grad_output,
                                  double *grad_bias, Workspace *workspace,
                                  int num_threads) noexcept nogil:
    return c_backward_bias(shape, FC_FLOAT64, grad_output, grad_bias, workspace, num_threads)


cdef int conv2d_pack_f32(const Conv2dShape *shape, const float *weight, PackedConv2d **packed,
                         int num_threads) noexcept nogil:
    return c_pack(shape, FC_FLOAT32, weight, packed, num_threads)


cdef int conv2d_pack_f64(const Conv2dShape *shape, const double *weight, PackedConv2d **packed,
                         int num_threads) noexcept nogil:
    return c_pack(shape, FC_FLOAT64, weight, packed, num_threads)


cdef int conv2d_packed_f32(const Conv2dShape *shape, const float *input, PackedConv2d *packed,
                           const float *bias, float *output, Workspace *workspace,
                           int num_threads) noexcept nogil:
    return c_forward(shape, FC_FLOAT32, input, NULL, packed, bias, output, workspace, num_threads)


cdef int conv2d_packed_f64(const Conv2dShape *shape, const double *input, PackedConv2d *packed,
                           const double *bias, double *output, Workspace *workspace,
                           int num_threads) noexcept nogil:
    return c_forward(shape, FC_FLOAT64, input, NULL, packed, bias, output, workspace, num_threads)


cdef int max_pool2d_f32(const Pool2dShape *shape, const float *input, float *output,
                        int64_t *indices, Workspace *workspace, int num_threads) noexcept nogil:
    return c_max_pool2d(shape, FC_FLOAT32, input, output, indices, workspace, num_threads)


cdef int max_pool2d_f64(const Pool2dShape *shape, const double *input, double *output,
                        int64_t *indices, Workspace *workspace, int num_threads) noexcept nogil:
    return c_max_pool2d(shape, FC_FLOAT64, input, output, indices, workspace, num_threads)


cdef int max_pool2d_backward_f32(const Pool2dShape *shape, const float *grad_output,
                                 const int64_t *indices, float *grad_input, Workspace *workspace,
                                 int num_threads) noexcept nogil:
    return c_max_pool2d_backward(shape, FC_FLOAT32, grad_output, indices, grad_input, workspace, num_threads)


cdef int max_pool2d_backward_f64(const Pool2dShape *shape, const double *grad_output,
                                 const int64_t *indices, double *grad_input, Workspace *workspace,
                                 int num_threads) noexcept nogil:
    return c_max_pool2d_backward(shape, FC_FLOAT64, grad_output, indices, grad_input, workspace, num_threads)


cdef int avg_pool2d_f32(const Pool2dShape *shape, const float *input, float *output,
                        Workspace *workspace, int num_threads) noexcept nogil:
    return c_avg_pool2d(shape, FC_FLOAT32, input, output, False, workspace, num_threads)


cdef int avg_pool2d_f64(const Pool2dShape *shape, const double *input, double *output,
                        Workspace *workspace, int num_threads) noexcept nogil:
    return c_avg_pool2d(shape, FC_FLOAT64, input, output, False, workspace, num_threads)


cdef int avg_pool2d_backward_f32(const Pool2dShape *shape, const float *grad_output,
                                 float *grad_input, Workspace *workspace,
                                 int num_threads) noexcept nogil:
    return c_avg_pool2d(shape, FC_FLOAT32, grad_input, grad_output, True, workspace, num_threads)


cdef int avg_pool2d_backward_f64(const Pool2dShape *shape, const double *grad_output,
                                 double *grad_input, Workspace *workspace,
                                 int num_threads) noexcept nogil:
    return c_avg_pool2d(shape, FC_FLOAT64, grad_input, grad_output, True, workspace, num_threads)


# The table of include/fastconv.h, for whoever has no Cython.
ctypedef void *entry

cdef extern from "fastconv.h" nogil:
    enum:
        FASTCONV_ABI_VERSION

    ctypedef struct fastconv_api:  # the types of its functions are tested to be those of _ops.pxd
        int abi_version
        size_t size
        entry status_text, conv2d_shape_init, conv2d_shape_check, pool2d_shape_init
        entry pool2d_shape_init_adaptive, pool2d_shape_check, conv2d_f32, conv2d_f64
        entry conv2d_backward_input_f32, conv2d_backward_input_f64, conv2d_backward_weight_f32
        entry conv2d_backward_weight_f64, conv2d_backward_bias_f32, conv2d_backward_bias_f64
        entry conv2d_pack_f32, conv2d_pack_f64, conv2d_packed_free, conv2d_packed_f32
        entry conv2d_packed_f64, max_pool2d_f32, max_pool2d_f64, max_pool2d_backward_f32
        entry max_pool2d_backward_f64, avg_pool2d_f32, avg_pool2d_f64, avg_pool2d_backward_f32
        entry avg_pool2d_backward_f64


cdef fastconv_api api
api.abi_version, api.size = FASTCONV_ABI_VERSION, sizeof(fastconv_api)
api.status_text = <entry> status_text
api.conv2d_shape_init = <entry> conv2d_shape_init
api.conv2d_shape_check = <entry> conv2d_shape_check
api.pool2d_shape_init = <entry> pool2d_shape_init
api.pool2d_shape_init_adaptive = <entry> pool2d_shape_init_adaptive
api.pool2d_shape_check = <entry> pool2d_shape_check
api.conv2d_f32 = <entry> conv2d_f32
api.conv2d_f64 = <entry> conv2d_f64
api.conv2d_backward_input_f32 = <entry> conv2d_backward_input_f32
api.conv2d_backward_input_f64 = <entry> conv2d_backward_input_f64
api.conv2d_backward_weight_f32 = <entry> conv2d_backward_weight_f32
api.conv2d_backward_weight_f64 = <entry> conv2d_backward_weight_f64
api.conv2d_backward_bias_f32 = <entry> conv2d_backward_bias_f32
api.conv2d_backward_bias_f64 = <entry> conv2d_backward_bias_f64
api.conv2d_pack_f32 = <entry> conv2d_pack_f32
api.conv2d_pack_f64 = <entry> conv2d_pack_f64
api.conv2d_packed_free = <entry> conv2d_packed_free
api.conv2d_packed_f32 = <entry> conv2d_packed_f32
api.conv2d_packed_f64 = <entry> conv2d_packed_f64
api.max_pool2d_f32 = <entry> max_pool2d_f32
api.max_pool2d_f64 = <entry> max_pool2d_f64
api.max_pool2d_backward_f32 = <entry> max_pool2d_backward_f32
api.max_pool2d_backward_f64 = <entry> max_pool2d_backward_f64
api.avg_pool2d_f32 = <entry> avg_pool2d_f32
api.avg_pool2d_f64 = <entry> avg_pool2d_f64
api.avg_pool2d_backward_f32 = <entry> avg_pool2d_backward_f32
api.avg_pool2d_backward_f64 = <entry> avg_pool2d_backward_f64
_C_API = PyCapsule_New(&api, "fastconv._ops._C_API", NULL)


# ---------------------------------------------------------------- optimisers
#
# These change arrays in place, which have no gaps and one layout, and change them as a whole: no
# signal interrupts them.

cdef Py_buffer *updated(_Buffers buffers, object array, const Py_buffer *data) except NULL:
    cdef Py_buffer *view = buffers.output(array)
    if buffers.input(array, data).buf != view.buf:
        raise ValueError("expected arrays of one layout")
    return view


def sgd(data, grad, velocity, *, double lr, double weight_decay, double momentum, double one_minus_dampening, double nesterov,
        int num_threads=0):
    """data -= lr step, where step = grad + weight_decay data.

    Unless it is None, velocity = momentum velocity + one_minus_dampening step, and that is the step then, or, where
    `nesterov` is not 0, step + nesterov velocity.
    """
    cdef _Buffers buffers = _Buffers.__new__(_Buffers)
    cdef Py_buffer *p = buffers.output(data)
    cdef fc_sgd s
    cdef int status
    s.data, s.grad, s.velocity = p.buf, buffers.input(grad, p).buf, NULL
    if velocity is not None:
        s.velocity = updated(buffers, velocity, p).buf
    s.n = p.len // p.itemsize
    s.lr, s.weight_decay, s.momentum, s.one_minus_dampening, s.nesterov = lr, weight_decay, momentum, one_minus_dampening, nesterov
    with nogil:
        hold_signals()
        status = update.sgd(kernels_of(p), &s, num_threads)
        release_signals()
    raise_for(status)


def adam(data, grad, mean, square, *, double decay_factor, double weight_decay, double beta1, double beta2,
         double step_size, double bias_correction2_sqrt, double eps, int num_threads=0):
    """data -= step_size mean / (sqrt(square) / bias_correction2_sqrt + eps), after mean and square have moved.

    First of all, data *= decay_factor and grad += weight_decay data.
    """
    cdef _Buffers buffers = _Buffers.__new__(_Buffers)
    cdef Py_buffer *p = buffers.output(data)
    cdef fc_adam s
    cdef int status
    s.data, s.grad = p.buf, buffers.input(grad, p).buf
    s.mean, s.square = updated(buffers, mean, p).buf, updated(buffers, square, p).buf
    s.n = p.len // p.itemsize
    s.decay_factor, s.weight_decay, s.beta1, s.beta2 = decay_factor, weight_decay, beta1, beta2
    s.step_size, s.bias_correction2_sqrt, s.eps = step_size, bias_correction2_sqrt, eps
    with nogil:
        hold_signals()
        status = update.adam(kernels_of(p), &s, num_threads)
        release_signals()
    raise_for(status)
