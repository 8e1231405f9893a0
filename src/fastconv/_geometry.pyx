"""The geometry of convolutions and poolings.

`validate_conv` and `validate_pool` are the one place where a geometry is validated, for Python and
for the C level alike. `fastconv._geometry_options` makes numbers of Python's arguments before, and
a message of the status after.
"""

from cpython.long cimport PyLong_CheckExact
from cpython.pyport cimport PY_SSIZE_T_MAX
from cpython.tuple cimport PyTuple_CheckExact
from cpython.unicode cimport PyUnicode_CheckExact

from fastconv._drivers.axis cimport AXES, D, H, Axis
from fastconv._drivers.conv cimport WINOGRAD_2, WINOGRAD_4, allows_winograd
from fastconv._drivers.geometry cimport (
    ACTIVATION_NONE, ACTIVATION_RELU, AUTO, CHANNELS_LAST, CONTIGUOUS, DIRECT, WINOGRAD)
from fastconv._drivers.status cimport (
    INVALID_GROUPS, INVALID_OPTION, INVALID_PADDING, INVALID_SIZE, INVALID_STRIDE,
    KERNEL_TOO_LARGE, OK, TOO_LARGE)

from fastconv import _geometry_options as options


# Of any size in bytes, so that sums of a few of them stay in 64 bits.
cdef Py_ssize_t MAX_BYTES = PY_SSIZE_T_MAX // 16


# ---------------------------------------------------------------- the validator

cdef int validate_axis(Axis *a, bint ceil_mode) noexcept nogil:
    """One axis in checked 64-bit arithmetic."""
    cdef Py_ssize_t padded, room
    if a.size < 1 or a.kernel < 1:
        return INVALID_SIZE
    if a.stride < 1 or a.dilation < 1:
        return INVALID_STRIDE
    if a.pad_before < 0 or a.pad_after < 0:
        return INVALID_PADDING
    if (a.size > MAX_BYTES or a.pad_before > MAX_BYTES or a.pad_after > MAX_BYTES
            or a.size + a.pad_before + a.pad_after > MAX_BYTES):
        return TOO_LARGE
    padded = a.size + a.pad_before + a.pad_after
    if a.kernel - 1 > (padded - 1) // a.dilation:
        # with ceil_mode one window may hang over the end: it starts at the first input
        if not ceil_mode or a.kernel - 1 > (MAX_BYTES - 1) // a.dilation:
            return KERNEL_TOO_LARGE
        if a.stride <= a.dilation * (a.kernel - 1) + 1 - padded:
            return KERNEL_TOO_LARGE
        a.kernel = (padded - 1) // a.dilation + 1  # taps beyond the end read nothing
        a.out = 1
        a.stride = min(a.stride, padded)
    else:
        room = padded - a.dilation * (a.kernel - 1) - 1
        # a step past the end is as good as one to the end
        a.stride = min(a.stride, padded)
        a.out = (room + (a.stride - 1 if ceil_mode else 0)) // a.stride + 1
        if ceil_mode and (a.out - 1) * a.stride >= a.size + a.pad_before:
            a.out -= 1  # the last window would start beyond the input
    if a.kernel == 1:
        a.dilation = 1
    return OK


cdef bint addressable(Py_ssize_t n, Py_ssize_t c, Py_ssize_t d, Py_ssize_t h,
                      Py_ssize_t w) noexcept nogil:
    # sizes are positive but for n; a double is precise enough for a bound
    return <double> n * c * d * h * w * 8 <= <double> MAX_BYTES


cdef bint is_format(Py_ssize_t value) noexcept nogil:
    return value == CONTIGUOUS or value == CHANNELS_LAST


cdef int validate_conv(ConvGeometry *g, int *where) noexcept nogil:
    cdef Axis *a = g.axis
    cdef int unused, i, status
    if where == NULL:
        where = &unused
    where[0] = IN_INPUT
    if g.batch < 0 or g.in_channels < 1:
        return INVALID_SIZE
    where[0] = IN_WEIGHT
    if g.out_channels < 1:
        return INVALID_SIZE
    if g.groups < 1 or g.in_channels % g.groups or g.out_channels % g.groups:
        return INVALID_GROUPS
    if (not is_format(g.input_format) or not is_format(g.output_format)
            or g.activation not in (ACTIVATION_NONE, ACTIVATION_RELU)
            or g.algorithm not in (AUTO, DIRECT, WINOGRAD)):
        return INVALID_OPTION
    for i in range(AXES):
        where[0] = i
        status = validate_axis(&a[i], False)
        if status != OK:
            return status
    where[0] = IN_WEIGHT
    if g.algorithm == WINOGRAD and not allows_winograd(g):
        return INVALID_OPTION
    where[0] = IN_INPUT
    if not addressable(g.batch, g.in_channels, a[0].size, a[1].size, a[2].size):
        return TOO_LARGE
    where[0] = IN_WEIGHT
    if not addressable(g.out_channels, g.in_channels // g.groups, a[0].kernel, a[1].kernel,
                       a[2].kernel):
        return TOO_LARGE
    where[0] = IN_OUTPUT
    if not addressable(g.batch, g.out_channels, a[0].out, a[1].out, a[2].out):
        return TOO_LARGE
    return OK


cdef int find_transposed_size(Axis *a, Py_ssize_t size,
                              Py_ssize_t output_padding) noexcept nogil:
    """The size of one axis of a transposed convolution's output, in checked 64-bit arithmetic."""
    if size < 1 or a.kernel < 1:
        return INVALID_SIZE
    if a.stride < 1 or a.dilation < 1:
        return INVALID_STRIDE
    if (a.pad_before < 0 or a.pad_after < 0 or output_padding < 0
            or output_padding >= max(a.stride, a.dilation)):
        return INVALID_PADDING
    if (a.stride > MAX_BYTES // max(size - 1, 1) and size > 1
            or a.dilation > MAX_BYTES // max(a.kernel - 1, 1) and a.kernel > 1
            or max(max(a.pad_before, a.pad_after), output_padding) > MAX_BYTES):
        return TOO_LARGE
    a.size = ((size - 1) * a.stride + a.dilation * (a.kernel - 1) + 1 + output_padding
              - a.pad_before - a.pad_after)
    return OK if a.size >= 1 else INVALID_PADDING


cdef int validate_conv_transpose(ConvGeometry *g, const Py_ssize_t *sizes,
                                 const Py_ssize_t *output_padding, int *where) noexcept nogil:
    cdef int unused, i, status
    if where == NULL:
        where = &unused
    for i in range(AXES):
        where[0] = i
        status = find_transposed_size(&g.axis[i], sizes[i], output_padding[i])
        if status != OK:
            return status
        # what is added at the end comes off the padding, which may be less
        g.axis[i].pad_after = max(0, g.axis[i].pad_after - output_padding[i])
    status = validate_conv(g, where)
    if status == OK:
        for i in range(AXES):
            g.axis[i].out = sizes[i]  # output_padding of a stride or more makes room for more
    return status


cdef bint padding_fits(const Axis *a) noexcept nogil:
    """Whether padding is at most half of what the kernel spans, in whatever sizes."""
    cdef Py_ssize_t most = max(a.pad_before, a.pad_after)
    return most <= 0 or a.kernel < 1 or a.dilation < 1 or (
        <double> most <= (<double> a.dilation * (a.kernel - 1) + 1) / 2)


cdef int validate_pool(PoolGeometry *g, int *where) noexcept nogil:
    cdef Axis *a = g.axis
    cdef int unused, i, status
    if where == NULL:
        where = &unused
    where[0] = IN_INPUT
    if g.batch < 0 or g.channels < 1:
        return INVALID_SIZE
    if (not is_format(g.input_format) or not is_format(g.output_format)
            or g.ceil_mode not in (0, 1) or g.adaptive not in (0, 1)
            or g.count_include_pad not in (0, 1) or g.divisor_override < 0):
        return INVALID_OPTION
    for i in range(AXES):
        where[0] = i
        if g.adaptive:
            status = OK if a[i].size >= 1 and a[i].out >= 1 else INVALID_SIZE
        elif not padding_fits(&a[i]):
            status = INVALID_PADDING
        else:
            status = validate_axis(&a[i], g.ceil_mode)
        if status != OK:
            return status
    where[0] = IN_INPUT
    if not addressable(g.batch, g.channels, a[0].size, a[1].size, a[2].size):
        return TOO_LARGE
    where[0] = IN_OUTPUT
    if not addressable(g.batch, g.channels, a[0].out, a[1].out, a[2].out):
        return TOO_LARGE
    return OK


# ---------------------------------------------------------------- geometries

# INVALID_OPTION is missing: it is about fields that only the C level sets.
cdef dict MESSAGES = {
    INVALID_SIZE: options.invalid_size, INVALID_STRIDE: options.invalid_stride,
    INVALID_PADDING: options.invalid_padding, INVALID_GROUPS: options.invalid_groups,
    KERNEL_TOO_LARGE: options.kernel_too_large, TOO_LARGE: options.too_large,
}

cdef dict TRANSPOSED_MESSAGES = {
    **MESSAGES, INVALID_PADDING: options.invalid_transposed_padding,
    TOO_LARGE: options.transposed_too_large,
}


cdef void set_axes(Axis *axes, int ndim, tuple sizes, tuple kernel, tuple stride, tuple sides,
                   tuple dilation) except *:
    """Those that are asked for, and before them those that are not there."""
    cdef Axis *a
    cdef int i
    for i in range(AXES):
        axes[i] = Axis(size=1, kernel=1, stride=1, pad_before=0, pad_after=0, dilation=1, out=1)
    for i in range(ndim):
        a = &axes[AXES - ndim + i]
        a.size, a.kernel, a.stride, a.dilation = sizes[i], kernel[i], stride[i], dilation[i]
        a.pad_before, a.pad_after = sides[i]


cdef object refusal(int status, int where, const Axis *asked, dict said, dict messages=MESSAGES):
    cdef const Axis *a = &asked[where if where < AXES else 0]
    about = ("axis", "input", "weight", "output")[max(0, where - AXES + 1)]
    as_asked = options.Asked(a.size, a.kernel, a.stride, a.pad_before, a.pad_after, a.dilation)
    return ValueError(messages[status](about, where - AXES, as_asked, said))


cdef tuple outs_of(const Axis *axes, int ndim):
    return tuple([axes[i].out for i in range(AXES - ndim, AXES)])


cdef class Convolution:
    """The geometry of one convolution: sizes, strides, padding, dilation, groups.

    Parameters
    ----------
    input_shape : (N, C, ...) with one to three sizes of axes
    weight_shape : (K, C / groups, ...)
    stride, dilation : int or one for each axis, at least 1
    padding : int, one for each axis, two sides of each axis in their order, as many pairs
        (before, after), 'same' or 'valid'
    groups : int

    Attributes
    ----------
    output_shape : (N, K, ...)

    Raises
    ------
    ValueError, TypeError
        Naming the argument, its value and the shapes, when they do not make a convolution.
    """

    def __init__(self, input_shape, weight_shape, stride=1, padding=0, dilation=1, groups=1, *,
                 input_name="input", weight_name="weight"):
        cdef ConvGeometry *g = &self.geometry
        cdef ConvGeometry asked
        cdef int where, status, ndim
        self.input_shape = input_shape = options.sizes(input_name, input_shape)
        ndim = len(input_shape) - 2
        self.weight_shape = weight_shape = options.sizes(weight_name, weight_shape, ndim + 2)
        kernel = weight_shape[2:]
        strides = options.per_axis("stride", stride, ndim)
        dilations = options.per_axis("dilation", dilation, ndim)
        sides = options.sides(padding, kernel, strides, dilations)
        groups = options.integer("groups", groups)
        g.batch, g.in_channels = input_shape[:2]
        g.out_channels, g.groups = weight_shape[0], groups
        set_axes(g.axis, ndim, input_shape[2:], kernel, strides, sides, dilations)
        g.input_format = g.output_format = CONTIGUOUS
        g.activation, g.algorithm = ACTIVATION_NONE, AUTO
        asked = g[0]
        status = validate_conv(g, &where)
        self.output_shape = (input_shape[0], weight_shape[0], *outs_of(g.axis, ndim))
        if status == OK:
            self.taps = g.axis[0].kernel * g.axis[1].kernel * g.axis[2].kernel
        if status != INVALID_GROUPS and weight_shape[1] * groups != input_shape[1]:
            raise ValueError(
                f"{weight_name} has {weight_shape[1]} channels per filter, expected "
                f"{input_shape[1] // groups} ({input_shape[1]} input channels / "
                f"groups={groups}): {input_name} {input_shape}, {weight_name} {weight_shape}")
        if status != OK:
            raise refusal(status, where, asked.axis, dict(
                input_name=input_name, weight_name=weight_name, input_shape=input_shape,
                weight_shape=weight_shape, output_shape=self.output_shape, stride=stride,
                padding=padding, dilation=dilation, groups=groups))

    def axes(self):  # -> tuple[tuple[int, int, int, int, int, int], ...]
        """(size, kernel, stride, padding before, dilation, out) of each."""
        cdef const Axis *a = self.geometry.axis
        return tuple([(a[i].size, a[i].kernel, a[i].stride, a[i].pad_before, a[i].dilation,
                       a[i].out)
                      for i in range(AXES + 2 - len(self.input_shape), AXES)])

    def __repr__(self):
        cdef const Axis *a = self.geometry.axis
        axes = range(AXES + 2 - len(self.input_shape), AXES)
        strides = tuple([a[i].stride for i in axes])
        sides = tuple([(a[i].pad_before, a[i].pad_after) for i in axes])
        dilations = tuple([a[i].dilation for i in axes])
        return (f"Convolution(input={self.input_shape}, weight={self.weight_shape}, "
                f"output={self.output_shape}, stride={strides}, padding={sides}, "
                f"dilation={dilations}, groups={self.geometry.groups})")


cdef Convolution new_transposed(tuple arguments, str input_name, str weight_name):
    input_shape, weight_shape, stride, padding, output_padding, groups, dilation = arguments
    cdef Convolution c = Convolution.__new__(Convolution)
    cdef ConvGeometry *g = &c.geometry
    cdef ConvGeometry asked
    cdef Py_ssize_t sizes[AXES]
    cdef Py_ssize_t extra[AXES]
    cdef int where, status, ndim, i
    c.output_shape = input_shape = options.sizes(input_name, input_shape)
    ndim = len(input_shape) - 2
    c.weight_shape = weight_shape = options.sizes(weight_name, weight_shape, ndim + 2)
    strides = options.per_axis("stride", stride, ndim)
    dilations = options.per_axis("dilation", dilation, ndim)
    extras = options.per_axis("output_padding", output_padding, ndim)
    sides = options.transposed_sides(padding, ndim)
    groups = options.integer("groups", groups)
    said = dict(
        input_name=input_name, weight_name=weight_name, input_shape=input_shape,
        weight_shape=weight_shape, stride=stride, padding=padding, dilation=dilation,
        output_padding=output_padding, groups=groups)
    g.batch, g.in_channels = input_shape[0], options.transposed_channels(said)
    g.out_channels, g.groups = weight_shape[0], groups
    set_axes(g.axis, ndim, input_shape[2:], weight_shape[2:], strides, sides, dilations)
    g.input_format = g.output_format = CONTIGUOUS
    g.activation, g.algorithm = ACTIVATION_NONE, AUTO
    for i in range(AXES):
        sizes[i], extra[i] = g.axis[i].size, 0
    for i in range(ndim):
        extra[AXES - ndim + i] = extras[i]
    asked = g[0]
    status = validate_conv_transpose(g, sizes, extra, &where)
    outs = tuple([g.axis[i].size for i in range(AXES - ndim, AXES)])
    c.input_shape = said["output_shape"] = (input_shape[0], g.in_channels, *outs)
    if status != OK:
        raise refusal(status, where, asked.axis, said, TRANSPOSED_MESSAGES)
    return c


cdef dict ALGORITHMS = {"auto": AUTO, "direct": DIRECT, "winograd": WINOGRAD}


cdef int algorithm_code(name, int tile, const ConvGeometry *g) except -1:
    code = ALGORITHMS.get(name) if isinstance(name, str) else None
    if code is None:
        if isinstance(name, str) and name == "fft":
            raise ValueError("algorithm='fft' is for convolutions of stride 1 and their gradients, "
                             "with filters that are not packed; not for transposed convolutions")
        raise ValueError(f"algorithm must be 'auto', 'direct', 'winograd' or 'fft', got {name!r}")
    if tile:
        code = WINOGRAD_4 if tile == 4 else WINOGRAD_2
    if code >= WINOGRAD and not allows_winograd(g):
        first = D if g.axis[D].kernel > 1 or g.axis[D].size > 1 else H
        kernel = " x ".join([str(g.axis[i].kernel) for i in range(first, AXES)])
        strides = tuple([g.axis[i].stride for i in range(first, AXES)])
        dilations = tuple([g.axis[i].dilation for i in range(first, AXES)])
        raise ValueError(
            f"algorithm={name!r} needs groups 1 and a kernel of 3 x 3 in height and width, or of "
            f"taps along one axis, with stride 1 and dilation 1 there (in one dimension, any), got "
            f"a {kernel} kernel, stride={strides}, dilation={dilations}, groups={g.groups}")
    return code


def check_algorithm(name, Convolution shape not None, *, bint transposed=False):
    """Refuse an algorithm that there is not, or that cannot compute this convolution."""
    if not (isinstance(name, str) and name == "fft") or transposed:
        algorithm_code(name, 0, &shape.geometry)
        return
    strides = tuple([axis[2] for axis in shape.axes()])
    if max(strides) > 1:
        raise ValueError(f"algorithm='fft' needs stride 1, got stride={strides}")


cdef class Pooling:
    """The geometry of one pooling.

    Parameters
    ----------
    input_shape : (N, C, ...) with one to three sizes of axes
    kernel_size, stride, dilation : int or one for each axis
        `stride` None or () means `kernel_size`.
    padding : int, one for each axis, two sides of each axis in their order, as many pairs
        (before, after), 'same', 'same_lower' or 'valid'
        At most half the kernel's reach.
    ceil_mode : bool
        Round output sizes up, but start no window in the padding at the end.
    output_size : int, or one for each axis
        Of an adaptive pooling, where one of None keeps the input's: the window of each output
        shares the input out evenly, and the arguments above are unused.
    adaptive : bool

    Attributes
    ----------
    output_shape : (N, C, ...)
    """

    def __init__(self, input_shape, kernel_size=1, stride=None, padding=0, dilation=1,
                 ceil_mode=False, output_size=None, *, bint adaptive=False, input_name="input"):
        cdef PoolGeometry *g = &self.geometry
        cdef PoolGeometry asked
        cdef int i, where, status, ndim
        self.input_shape = input_shape = options.sizes(input_name, input_shape)
        ndim = len(input_shape) - 2
        stride = options.pool_stride(stride, kernel_size)
        said = dict(input_name=input_name, input_shape=input_shape, kernel_size=kernel_size,
                    stride=stride, padding=padding, dilation=dilation)
        g.batch, g.channels = input_shape[:2]
        g.adaptive, g.ceil_mode = adaptive, bool(ceil_mode)
        g.count_include_pad = g.divisor_override = 0
        g.input_format = g.output_format = CONTIGUOUS
        if adaptive:
            said["output_size"] = output_size
            ones = (1,) * ndim
            outs = options.output_sizes(output_size, input_shape[2:])
            set_axes(g.axis, ndim, input_shape[2:], ones, ones, ((0, 0),) * ndim, ones)
            for i in range(ndim):
                g.axis[AXES - ndim + i].out = outs[i]
        else:
            kernel = options.per_axis("kernel_size", kernel_size, ndim)
            strides = options.per_axis("stride", stride, ndim)
            dilations = options.per_axis("dilation", dilation, ndim)
            sides = options.pool_sides(padding, input_shape[2:], kernel, strides, dilations)
            set_axes(g.axis, ndim, input_shape[2:], kernel, strides, sides, dilations)
        asked = g[0]
        status = validate_pool(g, &where)
        self.output_shape = said["output_shape"] = (*input_shape[:2], *outs_of(g.axis, ndim))
        if status != OK:
            raise refusal(status, where, asked.axis, said)


# ---------------------------------------------------------------- remembered
#
# Geometries seen before, by their arguments: a network asks for the same few over and over.

cdef enum:
    MAX_REMEMBERED = 1024


cdef bint plain(object value) noexcept:
    """An int, a tuple of ints, a str or None: nothing that only compares equal to one."""
    if PyTuple_CheckExact(value):
        for item in <tuple> value:
            if not PyLong_CheckExact(item):
                return False
        return True
    return PyLong_CheckExact(value) or PyUnicode_CheckExact(value) or value is None


cdef object remembered(dict known, tuple key):
    for part in key:
        if not plain(part):
            return None
    try:
        # Not `get`, which Cython makes a borrowed reference first: without the GIL, another thread
        # that clears the dictionary could free the geometry then.
        return known[key]
    except KeyError:
        return None


cdef object remember(dict known, tuple key, object geometry):
    for part in key:
        if not plain(part):
            return geometry
    if len(known) >= MAX_REMEMBERED:
        known.clear()
    known[key] = geometry
    return geometry


cdef dict known_convolutions = {}
cdef dict known_transposed = {}
cdef dict known_poolings = {}


def convolution(input_shape, weight_shape, stride=1, padding=0, dilation=1, groups=1, *,
                input_name="input", weight_name="weight"):  # -> Convolution
    """The Convolution of these arguments, made once and remembered."""
    key = (input_shape, weight_shape, stride, padding, dilation, groups)
    found = remembered(known_convolutions, key)
    if found is None:
        found = Convolution(*key, input_name=input_name, weight_name=weight_name)
        remember(known_convolutions, key, found)
    return found


def transposed_convolution(input_shape, weight_shape, stride=1, padding=0, output_padding=0,
                           groups=1, dilation=1, *, input_name="input",
                           weight_name="weight"):  # -> Convolution
    """The Convolution that a transposed one is the adjoint of, made once and remembered.

    Its output_shape is `input_shape`, and its input_shape the transposed convolution's output.
    `output_padding` is an int or one for each axis, below the stride or the dilation. Errors speak
    of the transposed convolution.
    """
    key = (input_shape, weight_shape, stride, padding, output_padding, groups, dilation)
    found = remembered(known_transposed, key)
    if found is None:
        found = new_transposed(key, input_name, weight_name)
        remember(known_transposed, key, found)
    return found


def pooling(input_shape, kernel_size=1, stride=None, padding=0, dilation=1, ceil_mode=False, *,
            input_name="input"):  # -> Pooling
    """The Pooling of these arguments, made once and remembered."""
    key = (input_shape, kernel_size, stride, padding, dilation, 1 if ceil_mode else 0)
    found = remembered(known_poolings, key)
    if found is None:
        found = Pooling(*key, input_name=input_name)
        remember(known_poolings, key, found)
    return found


def adaptive_pooling(input_shape, output_size, *, input_name="input"):  # -> Pooling
    """The adaptive Pooling of these arguments, made once and remembered."""
    key = (input_shape, output_size)
    found = remembered(known_poolings, key)
    if found is None:
        found = Pooling(input_shape, output_size=output_size, adaptive=True, input_name=input_name)
        remember(known_poolings, key, found)
    return found
