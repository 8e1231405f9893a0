"""The op layer: arrays in, a driver called without the GIL.

`fastconv.functional` checks arguments and allocates; the functions here trust that arrays fit the
geometry no further than a memory error: shapes are compared, values are not copied. Arrays may have
any strides unless a function says otherwise.
"""

cimport cython
from libc.math cimport sqrt
from libc.stdint cimport int64_t
from libc.string cimport memset

from fastconv._buffers cimport (
    Buffers, Split, elements, empty as empty_array, kernels_of, move_vector, read_vector, rows_of,
    split_at, strided, without_gaps, write_vector)
from fastconv._drivers cimport elementwise, loss, norm, update
from fastconv._drivers.axis cimport AXES, D, H, W
from fastconv._drivers.conv cimport (
    PackedPhases, choose_winograd, conv_backward_bias as run_backward_bias,
    conv_backward_input as run_backward_input, conv_backward_weight as run_backward_weight,
    conv_outputs, forward_form, phase_form)
from fastconv._drivers.correlation cimport Correlation
from fastconv._drivers.kernels cimport (
    FC_ACTIVATIONS, FC_GELU, FC_GELU_TANH, FC_LEAKY_RELU, FC_RELU, FC_SIGMOID, FC_SILU, FC_SOFTPLUS,
    FC_TANH, fc_adam, fc_kernels, fc_sgd, fc_size)
from fastconv._drivers.matrix cimport Product, add_rows, run_product
from fastconv._drivers.memory cimport allocate, release
from fastconv._drivers.packed cimport (
    PackedFilters, free_filters, free_phases, pack_filters, pack_phases, use_packed)
from fastconv._drivers.pad cimport (
    MAX_PAD_AXES, PAD_CIRCULAR, PAD_CONSTANT, PAD_REFLECT, PAD_REPLICATE, Pad, PadAxis,
    pad_backward as run_pad_backward, pad_forward, set_pad_axis)
from fastconv._drivers.pool cimport (
    Pool, average_backward, max_backward, pool_form, pool_forward, unpool, unpool_backward)
from fastconv._drivers.pool_common cimport rows_follow
from fastconv._drivers.runtime cimport OK, OUT_OF_MEMORY, hold_signals, release_signals
from fastconv._drivers.strided cimport Strided
from fastconv._drivers.winograd_form cimport LINE_4, TILE_4, TILE_2
from fastconv._errors cimport raise_for
from fastconv._geometry cimport Convolution, Pooling, algorithm_code

import numpy as np

from fastconv._geometry import transposed_convolution as _transposed_convolution
from fastconv._geometry_options import integer, per_axis, sizes as shape_of


# ---------------------------------------------------------------- convolution

@cython.final
cdef class PackedWeight:
    """A copy of a convolution's filters in every order that a driver would bring them into.

    Forward convolutions take it for their weight. It does not change, and may be shared by threads.

    Parameters
    ----------
    weight : (K, C / groups, ...) array with one to three sizes of a kernel
    groups : int
    """
    cdef PackedFilters *filters
    cdef object weight  # the copy
    cdef readonly tuple shape
    cdef readonly object dtype
    cdef readonly Py_ssize_t groups

    def __cinit__(self, weight, groups=1):
        sizes = shape_of("weight", weight.shape)
        if min(sizes) < 1:
            raise ValueError(f"weight must have positive sizes, got {sizes}")
        # those of any image: all but the filters' own sizes is of no account
        count = max(integer("groups", groups), 1)
        cdef Convolution c = Convolution((1, sizes[1] * count, *sizes[2:]), sizes, groups=groups)
        copy = empty_array(c.weight_shape, weight.dtype)
        copy[...] = weight
        copy.flags.writeable = False
        cdef Buffers buffers = Buffers.__new__(Buffers)
        cdef Py_buffer *w = buffers.tensor("weight", copy, c.weight_shape, NULL, False)
        with nogil:
            self.filters = pack_filters(&c.geometry, kernels_of(w), strided(w), False, 0)
        if self.filters == NULL:
            raise_for(OUT_OF_MEMORY)
        self.weight, self.shape, self.dtype = copy, c.weight_shape, copy.dtype
        self.groups = c.geometry.groups

    def __dealloc__(self):
        free_filters(self.filters)

    def __reduce__(self):
        return PackedWeight, (self.weight, self.groups)

    def __repr__(self):
        return f"PackedWeight(shape={self.shape}, dtype={self.dtype}, groups={self.groups})"


@cython.final
cdef class PackedTransposedWeight:
    """A copy of a transposed convolution's weight, its taps as the phases of the stride read them.

    Forward transposed convolutions take it for their weight, with any padding. It does not change,
    and may be shared by threads.

    Parameters
    ----------
    weight : (I, O / groups, ...) array with one to three sizes of a kernel
    stride, dilation : int or one for every axis
    groups : int
    """
    cdef PackedPhases *phases
    cdef object weight  # the copy
    cdef readonly tuple shape
    cdef readonly object dtype
    cdef readonly tuple stride
    cdef readonly Py_ssize_t groups
    cdef readonly tuple dilation

    def __cinit__(self, weight, stride=1, groups=1, dilation=1):
        sizes = shape_of("weight", weight.shape)
        if min(sizes) < 1:
            raise ValueError(f"weight must have positive sizes, got {sizes}")
        # of any image: one so small that the stride is of account
        image = (1, sizes[0], *[2] * (len(sizes) - 2))
        cdef Convolution c = _transposed_convolution(image, sizes, stride, 0, 0, groups, dilation)
        copy = empty_array(c.weight_shape, weight.dtype)
        copy[...] = weight
        copy.flags.writeable = False
        cdef Buffers buffers = Buffers.__new__(Buffers)
        cdef Py_buffer *w = buffers.tensor("weight", copy, c.weight_shape, NULL, False)
        with nogil:
            self.phases = pack_phases(&c.geometry, kernels_of(w), strided(w), 0)
        if self.phases == NULL:
            raise_for(OUT_OF_MEMORY)
        self.weight, self.shape, self.dtype = copy, c.weight_shape, copy.dtype
        self.stride = per_axis("stride", stride, len(sizes) - 2)
        self.dilation = per_axis("dilation", dilation, len(sizes) - 2)
        self.groups = c.geometry.groups

    def __dealloc__(self):
        free_phases(self.phases)

    def __reduce__(self):
        return PackedTransposedWeight, (self.weight, self.stride, self.groups, self.dilation)

    def __repr__(self):
        return (f"PackedTransposedWeight(shape={self.shape}, dtype={self.dtype}, "
                f"stride={self.stride}, groups={self.groups}, dilation={self.dilation})")

    def check(self, stride, groups, dilation):  # -> None
        """Raise a ValueError unless it was packed for these options of a transposed convolution."""
        ndim = len(self.shape) - 2
        for name, given, packed in (("stride", per_axis("stride", stride, ndim), self.stride),
                                    ("groups", groups, self.groups),
                                    ("dilation", per_axis("dilation", dilation, ndim),
                                     self.dilation)):
            if given != packed:
                raise ValueError(f"{name}={given!r}, but weight was packed for {packed}")


def conv_algorithm(Convolution shape not None, str step, dtype, *, algorithm="auto"):  # -> str
    """What `algorithm` takes for "forward", "input" or "weight": "direct", "winograd 4x4", ..."""
    if step not in ("forward", "input", "weight"):
        raise ValueError(f"step must be 'forward', 'input' or 'weight', got {step!r}")
    cdef Strided nothing
    cdef fc_size at[AXES]
    cdef Correlation c
    cdef Buffers buffers = Buffers.__new__(Buffers)
    cdef const fc_kernels *k = kernels_of(buffers.add(np.empty(0, dtype), False))
    nothing.data = NULL
    nothing.stride_n = nothing.stride_c = 0
    for i in range(AXES):
        nothing.stride[i] = at[i] = 0
    if step == "input":
        c = phase_form(&shape.geometry, k, nothing, nothing, nothing, at)
    else:
        c = forward_form(&shape.geometry, k, nothing, nothing, nothing)
    cdef int which = algorithm_code(algorithm, 0, &shape.geometry)
    cdef int tile = choose_winograd(&c, which, step == "weight")
    names = {TILE_4: "winograd 4x4", TILE_2: "winograd 2x2", LINE_4: "winograd 4"}
    return names.get(tile, "direct")


def conv(input, weight, bias, output, Convolution shape not None, *, bint relu=False,
         algorithm="auto", int tile=0, int num_threads=0):
    """Write the convolution of `input` with `weight`, plus `bias`, to `output`.

    `bias`, which may be None, is contiguous; `weight` may be a PackedWeight. With `relu`, negative
    outputs become zero. A `tile` of 4 or 2 takes Winograd's algorithm with that size of tiles.
    """
    cdef int which = algorithm_code(algorithm, tile, &shape.geometry)
    cdef Buffers buffers = Buffers.__new__(Buffers)
    cdef Py_buffer *y = buffers.tensor("output", output, shape.output_shape, NULL, True)
    cdef Py_buffer *x = buffers.tensor("input", input, shape.input_shape, y, False)
    cdef PackedWeight packed = None
    if type(weight) is PackedWeight:
        packed = weight
        if packed.groups != shape.geometry.groups:
            raise ValueError(f"weight is packed for groups={packed.groups}, the convolution has "
                             f"groups={shape.geometry.groups}")
        weight = packed.weight
    cdef Py_buffer *w = buffers.tensor("weight", weight, shape.weight_shape, y, False)
    cdef Py_buffer *b = buffers.vector("bias", bias, shape.geometry.out_channels, y, False)
    cdef Correlation c = forward_form(&shape.geometry, kernels_of(y), strided(x), strided(w),
                                      strided(y))
    cdef int status = OK
    c.bias = <const char *> b.buf if b != NULL else NULL
    c.relu = relu
    with nogil:
        if packed is not None:
            status = use_packed(packed.filters, &c, which, num_threads)
        if status == OK:
            status = conv_outputs(c, which, num_threads)
    raise_for(status)


def conv_backward_input(grad_output, weight, grad_input, Convolution shape not None, *,
                        algorithm="auto", int tile=0, int num_threads=0):
    """Write the gradient with respect to the convolution's input to `grad_input`."""
    cdef int which = algorithm_code(algorithm, tile, &shape.geometry)
    cdef Buffers buffers = Buffers.__new__(Buffers)
    cdef Py_buffer *dx = buffers.tensor("grad_input", grad_input, shape.input_shape, NULL, True)
    cdef Py_buffer *dy = buffers.tensor("grad_output", grad_output, shape.output_shape, dx, False)
    cdef Py_buffer *w = buffers.tensor("weight", weight, shape.weight_shape, dx, False)
    cdef int status
    with nogil:
        status = run_backward_input(&shape.geometry, kernels_of(dx), strided(dy), strided(w),
                                    NULL, strided(dx), NULL, False, which, num_threads)
    raise_for(status)


def conv_transpose(input, weight, bias, output, Convolution shape not None, *, bint relu=False,
                   algorithm="auto", int num_threads=0):
    """Write the transposed convolution of `input` with `weight`, plus `bias`, to `output`.

    It is the adjoint of the convolution of `shape`, whose input is `output` here. `weight` may be a
    PackedTransposedWeight.
    """
    cdef int which = algorithm_code(algorithm, 0, &shape.geometry)
    cdef Buffers buffers = Buffers.__new__(Buffers)
    cdef Py_buffer *y = buffers.tensor("output", output, shape.input_shape, NULL, True)
    cdef Py_buffer *x = buffers.tensor("input", input, shape.output_shape, y, False)
    cdef PackedPhases *phases = NULL
    cdef PackedTransposedWeight packed = None  # held while it is read
    if type(weight) is PackedTransposedWeight:
        packed = weight
        # the driver compares strides and dilations, and uses the copy where they are others
        if packed.groups != shape.geometry.groups:
            raise ValueError(f"weight is packed for groups={packed.groups}, the transposed "
                             f"convolution has groups={shape.geometry.groups}")
        weight, phases = packed.weight, packed.phases
    cdef Py_buffer *w = buffers.tensor("weight", weight, shape.weight_shape, y, False)
    cdef Py_buffer *b = buffers.vector("bias", bias, shape.geometry.in_channels, y, False)
    cdef const char *bias_data = <const char *> b.buf if b != NULL else NULL
    cdef int status
    with nogil:
        status = run_backward_input(&shape.geometry, kernels_of(y), strided(x), strided(w),
                                    phases, strided(y), bias_data, relu, which, num_threads)
    raise_for(status)


def conv_backward_weight(grad_output, input, grad_weight, Convolution shape not None, *,
                         algorithm="auto", int tile=0, int num_threads=0):
    """Write the gradient with respect to the convolution's weight to `grad_weight`."""
    cdef int which = algorithm_code(algorithm, tile, &shape.geometry)
    cdef Buffers buffers = Buffers.__new__(Buffers)
    cdef Py_buffer *dw = buffers.tensor("grad_weight", grad_weight, shape.weight_shape, NULL, True)
    cdef Py_buffer *dy = buffers.tensor("grad_output", grad_output, shape.output_shape, dw, False)
    cdef Py_buffer *x = buffers.tensor("input", input, shape.input_shape, dw, False)
    cdef int status
    with nogil:
        status = run_backward_weight(&shape.geometry, kernels_of(dw), strided(dy), strided(x),
                                     strided(dw), which, num_threads)
    raise_for(status)


def conv_backward_bias(grad_output, grad_bias, *, int num_threads=0):
    """Write the sum of every channel to `grad_bias`.

    `grad_output` is C-contiguous or channels-last; rows and images may be further apart.
    """
    cdef Buffers buffers = Buffers.__new__(Buffers)
    cdef Py_buffer *dy = buffers.add(grad_output, False, "grad_output")
    if not 3 <= dy.ndim <= 2 + AXES:
        raise ValueError(f"grad_output must have 3 to 5 dimensions, got {dy.ndim}")
    cdef Py_ssize_t channels = dy.shape[1], size = dy.itemsize
    cdef Py_buffer *db = buffers.vector("grad_bias", grad_bias, channels, dy, True)
    if db == NULL:
        raise TypeError("grad_bias must be an array")
    cdef Strided g = strided(dy)
    cdef fc_size sizes[AXES]
    cdef int lacking = 2 + AXES - dy.ndim, i, status
    if channels == 0:
        return
    for i in range(AXES):
        sizes[i] = 1 if i < lacking else dy.shape[2 + i - lacking]
    if sizes[W] == 1:  # the stride of an axis of one element is anything
        g.stride[W] = size if g.stride_c != size else channels * size
    if ((g.stride[W] != size and (g.stride_c != size or g.stride[W] != channels * size))
            or (sizes[D] > 1 and sizes[H] > 1 and g.stride[D] != sizes[H] * g.stride[H])):
        raise ValueError("grad_output must be C-contiguous or channels-last")
    with nogil:
        status = run_backward_bias(kernels_of(dy), dy.shape[0], channels, sizes, g, db.buf,
                                   num_threads)
    raise_for(status)


# ---------------------------------------------------------------- pooling

cdef Pool pool_of(Buffers buffers, Pooling shape, str x_name, object x, str y_name, object y,
                  bint backward) except *:
    """The pooling of two arrays: x has the input's shape, y the output's; one is written to."""
    cdef Py_buffer *a = buffers.tensor(x_name, x, shape.input_shape, NULL, backward)
    cdef Py_buffer *b = buffers.tensor(y_name, y, shape.output_shape, a, not backward)
    return pool_form(&shape.geometry, kernels_of(a), strided(a), strided(b))


def max_pool(input, output, indices, Pooling shape not None, *, int num_threads=0):
    """Write the maximum of every window to `output`, and where it was to `indices` unless None.

    An index counts elements of its (n, c) plane, row by row; -1 where a dilated window steps over
    the whole input.
    """
    cdef Buffers buffers = Buffers.__new__(Buffers)
    cdef Pool p = pool_of(buffers, shape, "input", input, "output", output, False)
    cdef int status
    if indices is not None:
        p.indices = strided(buffers.integers("indices", indices, shape.output_shape, True))
    with nogil:
        status = pool_forward(&p, num_threads)
    raise_for(status)


def max_pool_backward(grad_output, indices, grad_input, Pooling shape not None, *,
                      int num_threads=0):
    """Write to `grad_input` every output's gradient, at the input element that `indices` names.

    `shape` is any pooling between these sizes. The rows of `grad_input` follow each other without a
    gap, as in both memory formats. An index outside the plane is an IndexError; the others have
    been served by then.
    """
    cdef Buffers buffers = Buffers.__new__(Buffers)
    cdef Pool p = pool_of(buffers, shape, "grad_input", grad_input, "grad_output", grad_output,
                          True)
    cdef int status
    p.indices = strided(buffers.integers("indices", indices, shape.output_shape, False))
    check_planes("grad_input", &p)
    with nogil:
        status = max_backward(&p, num_threads)
    raise_for(status)


cdef int check_planes(str name, Pool *p) except -1:
    """Whether x's rows follow each other without a gap; strides of one element are made to fit."""
    if p.axis[W].size == 1:
        p.x.stride[W] = p.x.stride[H] if p.axis[H].size > 1 else p.x.stride[D]
    if not rows_follow(&p.x, p.axis[D].size, p.axis[H].size, p.axis[W].size):
        raise ValueError(f"{name} must be C-contiguous or channels-last")
    return 0


def max_unpool(input, indices, output, Pooling shape not None, *, int num_threads=0):
    """Write every element of `input` to `output` where `indices` says, and zeros elsewhere.

    `shape` is any pooling from `output` to `input`. Of several elements for one place the last is
    written. An index of -1 writes nothing, another outside the plane is an IndexError.
    """
    cdef Buffers buffers = Buffers.__new__(Buffers)
    cdef Pool p = pool_of(buffers, shape, "output", output, "input", input, True)
    cdef int status
    p.indices = strided(buffers.integers("indices", indices, shape.output_shape, False))
    check_planes("output", &p)
    with nogil:
        status = unpool(&p, num_threads)
    raise_for(status)


def max_unpool_backward(grad_output, indices, grad_input, Pooling shape not None, *,
                        int num_threads=0):
    """Write to every element of `grad_input` what `grad_output` has where `indices` says."""
    cdef Buffers buffers = Buffers.__new__(Buffers)
    cdef Pool p = pool_of(buffers, shape, "grad_output", grad_output, "grad_input", grad_input,
                          False)
    cdef int status
    p.indices = strided(buffers.integers("indices", indices, shape.output_shape, False))
    check_planes("grad_output", &p)
    with nogil:
        status = unpool_backward(&p, num_threads)
    raise_for(status)


def avg_pool(input, output, Pooling shape not None, *, bint count_include_pad=True,
             Py_ssize_t divisor_override=0, int num_threads=0):
    """Write the mean of every window to `output`; a divisor_override of 0 means none."""
    cdef Buffers buffers = Buffers.__new__(Buffers)
    cdef Pool p = pool_of(buffers, shape, "input", input, "output", output, False)
    cdef int status
    p.average, p.include_pad, p.divisor_override = True, count_include_pad, divisor_override
    with nogil:
        status = pool_forward(&p, num_threads)
    raise_for(status)


def avg_pool_backward(grad_output, grad_input, Pooling shape not None, *,
                      bint count_include_pad=True, Py_ssize_t divisor_override=0,
                      int num_threads=0):
    """Write to `grad_input` every output's gradient, shared out evenly over its window."""
    cdef Buffers buffers = Buffers.__new__(Buffers)
    cdef Pool p = pool_of(buffers, shape, "grad_input", grad_input, "grad_output", grad_output,
                          True)
    cdef int status
    p.average, p.include_pad, p.divisor_override = True, count_include_pad, divisor_override
    with nogil:
        status = average_backward(&p, num_threads)
    raise_for(status)


# ---------------------------------------------------------------- padding

cdef dict PAD_MODES = {"constant": PAD_CONSTANT, "reflect": PAD_REFLECT,
                       "replicate": PAD_REPLICATE, "circular": PAD_CIRCULAR}


cdef int set_pad(Pad *p, const Py_buffer *x, const Py_buffer *y, tuple sides, mode) except -1:
    """The padding that makes y of x; neighbours without padding become one axis where x allows."""
    cdef int i, code = PAD_MODES[mode]
    cdef Py_ssize_t before, after, size, step = y.itemsize, limit = <Py_ssize_t> 1 << 61
    cdef bint padded
    cdef PadAxis *a = p.axis  # the last one so far
    if not x.ndim == y.ndim == len(sides) < MAX_PAD_AXES:
        raise ValueError(f"arrays of {x.ndim} and {y.ndim} axes, and sides of {len(sides)}")
    p.kernels, p.rank, p.value = kernels_of(y), 1, 0
    p.x, p.y = <char *> x.buf, <char *> y.buf
    set_pad_axis(a, 1, 0, 0, PAD_CONSTANT)
    a.x = 0
    for i in range(x.ndim):
        before, after = sides[i]
        size, padded = x.shape[i], before != 0 or after != 0
        if not (-limit < before < limit and -limit < after < limit
                and y.shape[i] == size + before + after):
            raise ValueError(f"{size} padded by {(before, after)} is not {y.shape[i]}")
        if size == 1 and not padded:
            continue
        if not padded and not a.padded and (a.size == 1 or a.x == size * x.strides[i]):
            size *= a.size
        else:
            a += 1
            p.rank += 1
        a.x, a.padded = x.strides[i], padded
        if not set_pad_axis(a, size, before, after, code if padded else PAD_CONSTANT):
            raise ValueError(f"mode {mode!r} does not pad {size} by {(before, after)}")
    if p.rank == 1:
        p.axis[1], p.rank = p.axis[0], 2
        set_pad_axis(p.axis, 1, 0, 0, PAD_CONSTANT)
        p.axis[0].x = 0
    for i in range(p.rank - 1, -1, -1):
        p.axis[i].y = step
        step *= p.axis[i].out
    return 0


def pad(input, output, tuple sides, *, mode="constant", double value=0.0, int num_threads=0):
    """Write `input` with so many elements more, (before, after) each axis, to `output`.

    Negative ones are cropped. `output` is C-contiguous.
    """
    cdef Buffers buffers = Buffers.__new__(Buffers)
    cdef Py_buffer *y = buffers.contiguous("output", output, 0, NULL, True)
    cdef Py_buffer *x = buffers.add(input, False, "input")
    cdef Pad p
    cdef int status
    buffers.same_dtype("input", x, y)
    set_pad(&p, x, y, sides, mode)
    p.value = value
    with nogil:
        status = pad_forward(&p, num_threads)
    raise_for(status)


def pad_backward(grad_output, grad_input, tuple sides, *, mode="constant", int num_threads=0):
    """Write to `grad_input` the sum of every element's outputs; both are C-contiguous."""
    cdef Buffers buffers = Buffers.__new__(Buffers)
    cdef Py_buffer *dx = buffers.contiguous("grad_input", grad_input, 0, NULL, True)
    cdef Py_buffer *dy = buffers.contiguous("grad_output", grad_output, 0, dx, False)
    cdef Pad p
    cdef int status
    set_pad(&p, dx, dy, sides, mode)
    with nogil:
        status = run_pad_backward(&p, num_threads)
    raise_for(status)


# ---------------------------------------------------------------- elementwise, softmax, batch norm
#
# These take arrays of any rank and layout. What an op reads is laid out as what it writes, by a
# copy where it is not.

RELU, LEAKY_RELU, SIGMOID, TANH = FC_RELU, FC_LEAKY_RELU, FC_SIGMOID, FC_TANH
SILU, GELU, GELU_TANH, SOFTPLUS = FC_SILU, FC_GELU, FC_GELU_TANH, FC_SOFTPLUS


def activation(int op, input, out, double param=0.0, int num_threads=0):
    """out = op(input); ``param`` is leaky ReLU's negative slope."""
    cdef Buffers buffers = Buffers.__new__(Buffers)
    cdef Py_buffer *y = buffers.output(out)
    cdef Py_buffer *x = buffers.input(input, y)
    cdef int status
    if not 0 <= op < FC_ACTIVATIONS:
        raise ValueError(f"no activation is numbered {op}")
    with nogil:
        status = elementwise.activation(op, kernels_of(y), x.buf, y.buf, elements(y), param,
                                        num_threads)
    raise_for(status)


def activation_backward(int op, grad_output, saved, out, double param=0.0, int num_threads=0):
    """out = grad_output op'(...); ``saved`` is sigmoid's or tanh's output, or another's input."""
    cdef Buffers buffers = Buffers.__new__(Buffers)
    cdef Py_buffer *dx = buffers.output(out)
    cdef Py_buffer *g = buffers.input(grad_output, dx)
    cdef Py_buffer *x = buffers.input(saved, dx)
    cdef int status
    if not 0 <= op < FC_ACTIVATIONS:
        raise ValueError(f"no activation is numbered {op}")
    with nogil:
        status = elementwise.activation_backward(op, kernels_of(g), g.buf, x.buf, dx.buf,
                                                 elements(dx), param, num_threads)
    raise_for(status)


def add(a, b, out, *, bint relu=False, int num_threads=0):
    """out = a + b; with `relu`, negative sums become zero."""
    cdef Buffers buffers = Buffers.__new__(Buffers)
    cdef Py_buffer *y = buffers.output(out)
    cdef Py_buffer *left = buffers.input(a, y)
    cdef Py_buffer *right = buffers.input(b, y)
    cdef int status
    with nogil:
        status = elementwise.add(kernels_of(y), left.buf, right.buf, y.buf, elements(y), relu,
                                 num_threads)
    raise_for(status)


def softmax(input, out, int axis, bint log=False, int num_threads=0):
    """out = softmax of input over a non-negative axis, or its logarithm."""
    cdef Buffers buffers = Buffers.__new__(Buffers)
    cdef Py_buffer *y = buffers.output(out)
    cdef Py_buffer *x = buffers.input(input, y)
    cdef Split s = split_at(y, axis)
    cdef int status = OK
    if y.len:
        with nogil:
            status = elementwise.softmax(kernels_of(y), x.buf, NULL, y.buf, s.outer, s.size,
                                         s.inner, log, num_threads)
    raise_for(status)


def softmax_backward(grad_output, output, out, int axis, bint log=False, int num_threads=0):
    """out = gradient of softmax's input, or log-softmax's, from what it returned."""
    cdef Buffers buffers = Buffers.__new__(Buffers)
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


def squared_error(input, target, losses, int num_threads=0):  # -> float
    """Sum of (input - target)^2; each goes to ``losses`` unless that is None."""
    cdef Buffers buffers = Buffers.__new__(Buffers)
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
        status = loss.squared_error(kernels_of(x), x.buf, t.buf, out, elements(x), &total,
                                    num_threads)
    raise_for(status)
    return total


def squared_error_backward(input, target, out, double scale, int num_threads=0):
    """out = 2 scale (input - target)."""
    cdef Buffers buffers = Buffers.__new__(Buffers)
    cdef Py_buffer *dx = buffers.output(out)
    cdef Py_buffer *x = buffers.input(input, dx)
    cdef Py_buffer *t = buffers.input(target, dx)
    cdef int status
    with nogil:
        status = loss.squared_error_backward(kernels_of(x), x.buf, t.buf, dx.buf,
                                             elements(x), scale, num_threads)
    raise_for(status)


def logistic_loss(input, yes, no, losses, int num_threads=0):  # -> float
    """Sum of -yes log sigmoid(input) - no log sigmoid(-input); ``no`` None stands for 1 - yes.

    Each goes to ``losses`` unless that is None.
    """
    cdef Buffers buffers = Buffers.__new__(Buffers)
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
        status = loss.logistic_loss(kernels_of(x), x.buf, t.buf, rest, out, elements(x),
                                    &total, num_threads)
    raise_for(status)
    return total


def logistic_loss_backward(input, yes, no, out, double scale, int num_threads=0):  # -> float
    """out = scale (no sigmoid(input) - yes sigmoid(-input)); returns the sum of ``yes``."""
    cdef Buffers buffers = Buffers.__new__(Buffers)
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
                                             elements(x), scale, &sum_yes, num_threads)
    raise_for(status)
    return sum_yes


cdef loss.CrossEntropy cross_entropy_call(Buffers buffers, input, labels, weight, grad_input,
                                          int64_t ignore_index) except *:
    """Of arrays of one shape, C-contiguous or with their classes, the second axis, contiguous."""
    cdef loss.CrossEntropy c
    cdef Py_buffer *x = buffers.output(grad_input) if grad_input is not None else NULL
    x = buffers.input(input, x) if x != NULL else buffers.source(input)
    cdef Split s = split_at(x, min(1, x.ndim - 1))
    cdef Py_buffer *t = buffers.integers("labels", labels, None, False)
    cdef Py_buffer *w = buffers.vector("weight", weight, s.size, x, False)
    if elements(t) != s.outer * s.inner or not without_gaps(t):
        raise ValueError(f"expected a label of every one of {s.outer * s.inner} positions, without "
                         f"gaps: got {elements(t)}")
    c.kernels = kernels_of(x)
    c.outer, c.classes, c.inner = s.outer, s.size, s.inner
    c.x, c.labels = <const char *> x.buf, <const int64_t *> t.buf
    c.weight = <const char *> w.buf if w != NULL else NULL
    c.ignore, c.out = ignore_index, NULL
    return c


def cross_entropy(input, labels, weight, losses, int64_t ignore_index, *,
                  int num_threads=0):  # -> tuple[float, float]
    """Sums of the losses and of the weights that count, over the second axis of logits.

    There is a label of every position; each loss goes to `losses`, a vector, unless that is None.
    `weight` is one of every class, or None. Nothing may be empty. A label that is neither a class
    nor `ignore_index` is an IndexError.
    """
    cdef Buffers buffers = Buffers.__new__(Buffers)
    cdef loss.CrossEntropy c = cross_entropy_call(buffers, input, labels, weight, None,
                                                  ignore_index)
    cdef Py_buffer *out = buffers.vector("losses", losses, c.outer * c.inner, &buffers.views[0],
                                         True)
    cdef double total = 0, weights = 0
    cdef int status
    c.out = <char *> out.buf if out != NULL else NULL
    with nogil:
        status = loss.cross_entropy(&c, &total, &weights, num_threads)
    raise_for(status)
    return total, weights


def cross_entropy_backward(input, labels, weight, scale, grad_input, int64_t ignore_index, *,
                           int num_threads=0):
    """Write scale (softmax(input) - [label]) to `grad_input`; `scale` has one element or all."""
    cdef Buffers buffers = Buffers.__new__(Buffers)
    cdef loss.CrossEntropy c = cross_entropy_call(buffers, input, labels, weight, grad_input,
                                                  ignore_index)
    cdef Py_buffer *s = buffers.contiguous("scale", scale, 1, &buffers.views[0], False)
    cdef bint one_scale = s.shape[0] == 1
    cdef int status
    if not one_scale and s.shape[0] != c.outer * c.inner:
        raise ValueError(f"scale has {s.shape[0]} elements, expected 1 or {c.outer * c.inner}")
    c.out = <char *> buffers.views[0].buf
    with nogil:
        status = loss.cross_entropy_backward(&c, <const char *> s.buf, one_scale, num_threads)
    raise_for(status)


def batch_norm(input, out, mean, invstd, running_mean, running_var, weight, bias, bint training,
               double momentum, double eps, *, bint relu=False, int num_threads=0):
    """out = weight (input - mean) invstd + bias per channel, the second axis.

    With `relu`, what is negative becomes zero.

    Fills ``mean`` and ``invstd``. In training they are the batch's, and the running vectors, unless
    None, move towards the batch's; otherwise they are the running vectors'. ``weight`` and ``bias``
    may be None.
    """
    cdef Buffers buffers = Buffers.__new__(Buffers)
    cdef Py_buffer *y = buffers.output(out)
    cdef Py_buffer *x = buffers.input(input, y)
    cdef Split s = split_at(y, 1)
    cdef Py_ssize_t channels = s.size, c
    cdef Py_buffer *mean_out = buffers.channel_vector(mean, y, channels, True)
    cdef Py_buffer *invstd_out = buffers.channel_vector(invstd, y, channels, True)
    cdef Py_buffer *ema_mean = buffers.channel_vector(running_mean, y, channels, training)
    cdef Py_buffer *ema_var = buffers.channel_vector(running_var, y, channels, training)
    cdef Py_buffer *w = buffers.channel_vector(weight, y, channels, False)
    cdef Py_buffer *b = buffers.channel_vector(bias, y, channels, False)
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
        read_vector(factor, w, channels, 1)
        read_vector(summand, b, channels, 0)
        read_vector(mean_of, ema_mean, channels, 0)
        read_vector(var_of, ema_var, channels, 1)
        if not y.len:  # that is all there is to an empty batch
            for c in range(channels):
                inverse[c] = 1 / sqrt(var_of[c] + eps)
        else:
            status = norm.batch_norm(&call, summand, eps, mean_of, var_of, inverse)
        if status == OK:
            write_vector(mean_out, mean_of)
            write_vector(invstd_out, inverse)
            if training and ema_mean != NULL:
                move_vector(ema_mean, momentum, mean_of, 1)
            if training and ema_var != NULL:
                move_vector(ema_var, momentum, var_of, n / (n - 1))
        release(<char *> mean_of)
    raise_for(status)


def batch_norm_backward(grad_output, input, weight, mean, invstd, out, grad_weight, grad_bias,
                        bint training, int num_threads=0):
    """Fills ``out`` with the input's gradient, and the vectors grad_weight and grad_bias."""
    cdef Buffers buffers = Buffers.__new__(Buffers)
    cdef Py_buffer *dx = buffers.output(out)
    cdef Py_buffer *g = buffers.input(grad_output, dx)
    cdef Py_buffer *x = buffers.input(input, dx)
    cdef Split s = split_at(dx, 1)
    cdef Py_ssize_t channels = s.size, c
    cdef Py_buffer *w = buffers.channel_vector(weight, dx, channels, False)
    cdef Py_buffer *mean_in = buffers.channel_vector(mean, dx, channels, False)
    cdef Py_buffer *invstd_in = buffers.channel_vector(invstd, dx, channels, False)
    cdef Py_buffer *dw = buffers.channel_vector(grad_weight, dx, channels, True)
    cdef Py_buffer *db = buffers.channel_vector(grad_bias, dx, channels, True)
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
        read_vector(mean_of, mean_in, channels, 0)
        read_vector(inverse, invstd_in, channels, 1)
        read_vector(factor, w, channels, 1)
        memset(sum_g, 0, 2 * channels * sizeof(double))
        if dx.len:
            status = norm.batch_norm_backward(&call, mean_of, inverse, sum_g, sum_gx)
        if status == OK:
            for c in range(channels):
                sum_gx[c] *= inverse[c]
            write_vector(db, sum_g)
            write_vector(dw, sum_gx)
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

def linear(input, weight, bias, output, *, int num_threads=0):
    """Write input @ weight.T + bias, over the last axis, to `output`; `bias` may be None.

    All are C-contiguous.
    """
    cdef Buffers buffers = Buffers.__new__(Buffers)
    cdef Py_buffer *y = buffers.contiguous("output", output, 0, NULL, True)
    cdef Py_buffer *x = buffers.contiguous("input", input, y.ndim, y, False)
    cdef Py_buffer *w = buffers.contiguous("weight", weight, 2, y, False)
    cdef Py_buffer *b = buffers.vector("bias", bias, w.shape[0], y, False)
    cdef Product p
    cdef int status
    p.m, p.k, p.n = rows_of(x), w.shape[1], w.shape[0]
    if (x.ndim == 0 or x.shape[x.ndim - 1] != p.k or rows_of(y) != p.m
            or y.shape[y.ndim - 1] != p.n):
        raise ValueError("input, weight and output do not fit")
    if p.m == 0 or p.n == 0:
        return
    p.kernels = kernels_of(y)
    p.bias = <const char *> b.buf if b != NULL else NULL
    p.a, p.a_m, p.a_k = <const char *> x.buf, p.k * x.itemsize, x.itemsize
    p.b, p.b_k, p.b_n = <const char *> w.buf, w.itemsize, p.k * w.itemsize
    p.c, p.c_m = <char *> y.buf, p.n * y.itemsize
    with nogil:
        status = run_product(&p, num_threads)
    raise_for(status)


def linear_backward(grad_output, input, weight, grad_input, grad_weight, grad_bias, *,
                    int num_threads=0):
    """Write grad_output @ weight, grad_output.T @ input and the sum of grad_output's rows."""
    cdef Buffers buffers = Buffers.__new__(Buffers)
    cdef Py_buffer *x = buffers.contiguous("input", input, 0, NULL, False)
    cdef Py_buffer *w = buffers.contiguous("weight", weight, 2, x, False)
    cdef Py_ssize_t n = rows_of(x), inputs = w.shape[1], outputs = w.shape[0], size = x.itemsize
    cdef Py_buffer *g = buffers.contiguous("grad_output", grad_output, x.ndim, x, False)
    cdef Py_buffer *dx = buffers.contiguous("grad_input", grad_input, x.ndim, x, True)
    cdef Py_buffer *dw = buffers.contiguous("grad_weight", grad_weight, 2, x, True)
    cdef Py_buffer *db = buffers.vector("grad_bias", grad_bias, outputs, x, True)
    cdef int last = x.ndim - 1
    cdef Product p
    cdef int status = OK
    if (last < 0 or db == NULL or x.shape[last] != inputs or g.shape[last] != outputs
            or rows_of(g) != n or dx.shape[last] != inputs or rows_of(dx) != n
            or dw.shape[0] != outputs or dw.shape[1] != inputs):
        raise ValueError("the gradients do not fit input and weight")
    p.kernels = kernels_of(x)
    p.bias = NULL
    with nogil:
        if n and inputs:
            p.m, p.k, p.n = n, outputs, inputs
            p.a, p.a_m, p.a_k = <const char *> g.buf, outputs * size, size
            p.b, p.b_k, p.b_n = <const char *> w.buf, inputs * size, size
            p.c, p.c_m = <char *> dx.buf, inputs * size
            status = run_product(&p, num_threads)
        if status == OK and outputs and inputs:
            p.m, p.k, p.n = outputs, n, inputs
            p.a, p.a_m, p.a_k = <const char *> g.buf, size, outputs * size
            p.b, p.b_k, p.b_n = <const char *> x.buf, inputs * size, size
            p.c, p.c_m = <char *> dw.buf, inputs * size
            status = run_product(&p, num_threads)
        if outputs:
            add_rows(p.kernels, <const char *> g.buf, outputs * size, n, outputs,
                     <char *> db.buf)
    raise_for(status)


# ---------------------------------------------------------------- optimisers
#
# These change arrays in place, which have no gaps and one layout, and change them as a whole: no
# signal interrupts them.

def sgd(data, grad, velocity, *, double lr, double weight_decay, double momentum,
        double one_minus_dampening, double nesterov, int num_threads=0):
    """data -= lr step, where step = grad + weight_decay data.

    Unless it is None, velocity = momentum velocity + one_minus_dampening step, and that is the step
    then, or, where `nesterov` is not 0, step + nesterov velocity.
    """
    cdef Buffers buffers = Buffers.__new__(Buffers)
    cdef Py_buffer *p = buffers.output(data)
    cdef fc_sgd s
    cdef int status
    s.data, s.grad, s.velocity = p.buf, buffers.input(grad, p).buf, NULL
    if velocity is not None:
        s.velocity = buffers.updated(velocity, p).buf
    s.n = elements(p)
    s.lr, s.weight_decay, s.momentum = lr, weight_decay, momentum
    s.one_minus_dampening, s.nesterov = one_minus_dampening, nesterov
    with nogil:
        hold_signals()
        status = update.sgd(kernels_of(p), &s, num_threads)
        release_signals()
    raise_for(status)


def adam(data, grad, mean, square, *, double decay_factor, double weight_decay, double beta1,
         double beta2, double step_size, double bias_correction2_sqrt, double eps,
         int num_threads=0):
    """data -= step_size mean / (sqrt(square) / bias_correction2_sqrt + eps).

    First of all, data *= decay_factor, grad += weight_decay data, and mean and square move.
    """
    cdef Buffers buffers = Buffers.__new__(Buffers)
    cdef Py_buffer *p = buffers.output(data)
    cdef fc_adam s
    cdef int status
    s.data, s.grad = p.buf, buffers.input(grad, p).buf
    s.mean, s.square = buffers.updated(mean, p).buf, buffers.updated(square, p).buf
    s.n = elements(p)
    s.decay_factor, s.weight_decay, s.beta1, s.beta2 = decay_factor, weight_decay, beta1, beta2
    s.step_size, s.bias_correction2_sqrt, s.eps = step_size, bias_correction2_sqrt, eps
    with nogil:
        hold_signals()
        status = update.adam(kernels_of(p), &s, num_threads)
        release_signals()
    raise_for(status)
