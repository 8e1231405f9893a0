"""The C level of fastconv, from one list of its types, statuses and functions.

It makes these files of src/fastconv:

    _drivers/status.pxd    what drivers and functions return
    _drivers/geometry.pxd  the structs that describe a convolution or a pooling
    _capi.pxd              all of it, with the functions, for Cython
    __init__.pxd           the same names, for `from fastconv cimport ...`
    include/fastconv.h     the same for C, C++ and whoever reads a table of functions
    _capi_functions.pxi    definitions of the functions, for _capi.pyx, and the table

What is common to all functions, and the header's own, stands in templates/. Extensions are compiled
against what is listed here: tests/test_c_level_declarations.py holds a copy of it, and what changes
other than by an addition needs a new ABI_VERSION.
"""

from pathlib import Path
from string import Template

from codegen.declarations import (
    Constant,
    Enum,
    Field,
    Struct,
    c_comment,
    comment,
    filled,
    quoted,
    sections,
)

ABI_VERSION = 2

# ---------------------------------------------------------------- what functions return

#: (name, value, in words); a number is never used again
STATUSES = [
    ("OK", 0, "done"),
    ("OUT_OF_MEMORY", 1, "memory could not be allocated"),
    ("INDEX_OUT_OF_RANGE", 2, "an index of max_pool_backward lies outside its plane"),
    ("INTERRUPTED", 3, "a signal's handler raised, and its exception is pending"),
    ("NULL_POINTER", 4, "the geometry, or an array that is needed, is NULL"),
    ("INVALID_SIZE", 5, "sizes, channels and kernels must be at least 1, the batch at least 0"),
    ("INVALID_STRIDE", 6, "strides and dilations must be at least 1"),
    (
        "INVALID_PADDING",
        7,
        "padding must be at least 0, of pooling at most half of what the kernel spans, and leave "
        "something of a transposed convolution's output; output_padding less than the stride",
    ),
    ("INVALID_GROUPS", 8, "groups must be at least 1 and divide in_channels and out_channels"),
    (
        "INVALID_OPTION",
        9,
        "a format, activation, algorithm or flag has no such value or does not fit the geometry, "
        "or num_threads is not from 0 to 1024",
    ),
    ("KERNEL_TOO_LARGE", 10, "the kernel spans more than the padded input"),
    ("TOO_LARGE", 11, "an array of these sizes cannot be addressed"),
    (
        "GEOMETRY_NOT_CHECKED",
        12,
        "the geometry was changed after it was checked: an axis has another out",
    ),
    (
        "WEIGHT_MISMATCH",
        13,
        "the packed weight is of another dtype, size or groups than the geometry's",
    ),
    ("WORKSPACE_TOO_SMALL", 14, "the workspace is smaller than this call needs"),
    ("UNSUPPORTED", 15, "what is asked for is not offered; no function says so at present"),
]

#: what drivers return, but no function of the C level
INTERNAL = {"INTERRUPTED"}

# ---------------------------------------------------------------- what they take

ENUMS = [
    Enum(
        "MemoryFormat",
        "The order of an image in memory, whatever the number of its axes.",
        [Constant("CONTIGUOUS", 0, "(N, C, H, W)"), Constant("CHANNELS_LAST", 1, "(N, H, W, C)")],
    ),
    Enum(
        "Activation",
        "What a forward pass does to its result.",
        [
            Constant("ACTIVATION_NONE", 0, "nothing"),
            Constant("ACTIVATION_RELU", 1, "negative numbers become 0"),
        ],
    ),
    Enum(
        "Algorithm",
        "How a convolution is computed.",
        [
            Constant("AUTO", 0, "whatever is expected to take the least time"),
            Constant("DIRECT", 1, "every output a plain sum of products"),
            Constant("WINOGRAD", 2, "for kernels of 3x3 or of a line of taps, stride 1, groups 1"),
        ],
    ),
]

GEOMETRIES = [
    Struct(
        "Axis",
        "One axis of a convolution or a pooling, in elements. Output i is made of the inputs at "
        "`i * stride - pad_before + r * dilation`, for every r below kernel, as far as they exist. "
        "Axes that an op of fewer dimensions lacks have no padding and 1 for all the rest, so that "
        "a loop over three axes is always right.",
        [
            Field("Py_ssize_t", "size, kernel, stride"),
            Field("Py_ssize_t", "pad_before, pad_after", "may differ"),
            Field("Py_ssize_t", "dilation"),
            Field("Py_ssize_t", "out", "size of the output, which init and check write"),
        ],
    ),
    Struct(
        "ConvGeometry",
        "One convolution, for all of its passes. Every field is a Py_ssize_t, so that languages "
        "without structs can pass an array, in this order.",
        [
            Field("Py_ssize_t", "batch, in_channels, out_channels, groups"),
            Field("Axis", "axis[3]", "depth, height, width"),
            Field("Py_ssize_t", "input_format, output_format", "MemoryFormat, of gradients too"),
            Field("Py_ssize_t", "activation", "Activation, of forward passes"),
            Field("Py_ssize_t", "algorithm", "Algorithm"),
        ],
    ),
    Struct(
        "PoolGeometry",
        "One pooling, likewise.",
        [
            Field("Py_ssize_t", "batch, channels"),
            Field("Axis", "axis[3]", "padding at most half of what the kernel spans"),
            Field("Py_ssize_t", "adaptive", "1: windows share the input evenly; kernel unused"),
            Field("Py_ssize_t", "ceil_mode", "1: output sizes are rounded up"),
            Field("Py_ssize_t", "count_include_pad", "1: means count the padding"),
            Field("Py_ssize_t", "divisor_override", "what means divide by, unless it is 0"),
            Field("Py_ssize_t", "input_format, output_format", "indices have the output's"),
        ],
    ),
]

WORKSPACE = Struct(
    "Workspace",
    "Memory for one call at a time. With data NULL the call computes nothing, reads no array, and "
    "writes to `size` how many bytes it would need, never 0.",
    [Field("void *", "data"), Field("size_t", "size", "bytes")],
)

PACKED = Struct(
    "PackedConv",
    "Weights in the orders that kernels want them, made by conv_pack. Threads may share it.",
)

#: what stands for {T}, {real} and {dtype} below
DTYPES = [
    {"T": "f32", "real": "float", "dtype": "FC_FLOAT32"},
    {"T": "f64", "real": "double", "dtype": "FC_FLOAT64"},
]

#: after an arrow, the call of _capi.pyx that the function is made of
FUNCTIONS = sections(
    """
    # What a status means in words, never NULL; valid until the process ends.
    const char *status_text(int status)

    # ---- geometry: init sets every field, all axes alike (contiguous, no activation, AUTO), and
    # checks. Whoever changes a field then calls check, which validates them all and writes `out` of
    # every axis.
    int conv1d_init(ConvGeometry *geometry, Py_ssize_t batch, Py_ssize_t in_channels,
                    Py_ssize_t in_w, Py_ssize_t out_channels, Py_ssize_t kernel_w,
                    Py_ssize_t stride, Py_ssize_t padding, Py_ssize_t dilation, Py_ssize_t groups)
    int conv2d_init(ConvGeometry *geometry, Py_ssize_t batch, Py_ssize_t in_channels,
                    Py_ssize_t in_h, Py_ssize_t in_w, Py_ssize_t out_channels, Py_ssize_t kernel_h,
                    Py_ssize_t kernel_w, Py_ssize_t stride, Py_ssize_t padding,
                    Py_ssize_t dilation, Py_ssize_t groups)
    int conv_check(ConvGeometry *geometry)
    int pool1d_init(PoolGeometry *geometry, Py_ssize_t batch, Py_ssize_t channels, Py_ssize_t in_w,
                    Py_ssize_t kernel_w, Py_ssize_t stride, Py_ssize_t padding)
    int pool2d_init(PoolGeometry *geometry, Py_ssize_t batch, Py_ssize_t channels, Py_ssize_t in_h,
                    Py_ssize_t in_w, Py_ssize_t kernel_h, Py_ssize_t kernel_w, Py_ssize_t stride,
                    Py_ssize_t padding)
    int adaptive_pool1d_init(PoolGeometry *geometry, Py_ssize_t batch, Py_ssize_t channels,
                             Py_ssize_t in_w, Py_ssize_t out_w)
    int adaptive_pool2d_init(PoolGeometry *geometry, Py_ssize_t batch, Py_ssize_t channels,
                             Py_ssize_t in_h, Py_ssize_t in_w, Py_ssize_t out_h, Py_ssize_t out_w)
    int pool_check(PoolGeometry *geometry)

    # ---- convolution; `bias` has out_channels elements, or is NULL
    int conv_{T}(const ConvGeometry *geometry, const {real} *input, const {real} *weight,
                 const {real} *bias, {real} *output, Workspace *workspace, int num_threads)
        -> forward(geometry, {dtype}, input, weight, NULL, bias, True, output, workspace,
                   num_threads)
    int conv_backward_input_{T}(const ConvGeometry *geometry, const {real} *grad_output,
                                const {real} *weight, {real} *grad_input, Workspace *workspace,
                                int num_threads)
        -> backward_input(geometry, {dtype}, grad_output, weight, NULL, False, grad_input,
                          workspace, num_threads)
    int conv_backward_weight_{T}(const ConvGeometry *geometry, const {real} *grad_output,
                                 const {real} *input, {real} *grad_weight, Workspace *workspace,
                                 int num_threads)
        -> backward_weight(geometry, {dtype}, grad_output, input, grad_weight, workspace,
                           num_threads)
    int conv_backward_bias_{T}(const ConvGeometry *geometry, const {real} *grad_output,
                               {real} *grad_bias, Workspace *workspace, int num_threads)
        -> backward_bias(geometry, {dtype}, False, grad_output, grad_bias, workspace, num_threads)

    # ---- weights packed once for many forward passes, of images of any size and format. What
    # `geometry` needs is packed at once, what later ones need when they first do. The weight is
    # copied. After the last call that uses it, the result is to be given to conv_packed_free, which
    # takes NULL too.
    int conv_pack_{T}(const ConvGeometry *geometry, const {real} *weight, PackedConv **packed,
                      int num_threads)
        -> pack(geometry, {dtype}, weight, packed, num_threads)
    void conv_packed_free(PackedConv *packed)
    int conv_packed_{T}(const ConvGeometry *geometry, const {real} *input, PackedConv *packed,
                        const {real} *bias, {real} *output, Workspace *workspace, int num_threads)
        -> forward(geometry, {dtype}, input, NULL, packed, bias, True, output, workspace,
                   num_threads)

    # ---- pooling; `indices` count the elements of a (batch, channel) plane row by row, -1 for a
    # window of padding alone. Those of max_pool may be NULL; its backward refuses one outside the
    # plane.
    int max_pool_{T}(const PoolGeometry *geometry, const {real} *input, {real} *output,
                     int64_t *indices, Workspace *workspace, int num_threads)
        -> max_forward(geometry, {dtype}, input, output, indices, workspace, num_threads)
    int max_pool_backward_{T}(const PoolGeometry *geometry, const {real} *grad_output,
                              const int64_t *indices, {real} *grad_input, Workspace *workspace,
                              int num_threads)
        -> max_backward(geometry, {dtype}, grad_output, indices, grad_input, workspace, num_threads)
    int avg_pool_{T}(const PoolGeometry *geometry, const {real} *input, {real} *output,
                     Workspace *workspace, int num_threads)
        -> average(geometry, {dtype}, input, output, False, workspace, num_threads)
    int avg_pool_backward_{T}(const PoolGeometry *geometry, const {real} *grad_output,
                              {real} *grad_input, Workspace *workspace, int num_threads)
        -> average(geometry, {dtype}, grad_input, grad_output, True, workspace, num_threads)

    # ---- geometry of volumes
    int conv3d_init(ConvGeometry *geometry, Py_ssize_t batch, Py_ssize_t in_channels,
                    Py_ssize_t in_d, Py_ssize_t in_h, Py_ssize_t in_w, Py_ssize_t out_channels,
                    Py_ssize_t kernel_d, Py_ssize_t kernel_h, Py_ssize_t kernel_w,
                    Py_ssize_t stride, Py_ssize_t padding, Py_ssize_t dilation, Py_ssize_t groups)
    int pool3d_init(PoolGeometry *geometry, Py_ssize_t batch, Py_ssize_t channels, Py_ssize_t in_d,
                    Py_ssize_t in_h, Py_ssize_t in_w, Py_ssize_t kernel_d, Py_ssize_t kernel_h,
                    Py_ssize_t kernel_w, Py_ssize_t stride, Py_ssize_t padding)
    int adaptive_pool3d_init(PoolGeometry *geometry, Py_ssize_t batch, Py_ssize_t channels,
                             Py_ssize_t in_d, Py_ssize_t in_h, Py_ssize_t in_w, Py_ssize_t out_d,
                             Py_ssize_t out_h, Py_ssize_t out_w)

    # ---- back from a max_pool's output to its input: elements where `indices` say, zeros
    # elsewhere; of several for one place the last is there. Backward takes from those places.
    int max_unpool_{T}(const PoolGeometry *geometry, const {real} *output, const int64_t *indices,
                       {real} *input, Workspace *workspace, int num_threads)
        -> max_unpool(geometry, {dtype}, output, indices, input, False, workspace, num_threads)
    int max_unpool_backward_{T}(const PoolGeometry *geometry, const {real} *grad_input,
                                const int64_t *indices, {real} *grad_output, Workspace *workspace,
                                int num_threads)
        -> max_unpool(geometry, {dtype}, grad_output, indices, grad_input, True, workspace,
                      num_threads)

    # ---- transposed convolution: the adjoint of a convolution with the same weight, whose geometry
    # it takes. Its output is that geometry's input (in_channels, size, input_format) and its input
    # the output (out_channels, out, output_format), so init takes them the other way round: its
    # arguments are the transposed convolution's. output_padding is less than the stride. `bias` has
    # the geometry's in_channels elements, or is NULL.
    int conv_transpose1d_init(ConvGeometry *geometry, Py_ssize_t batch, Py_ssize_t in_channels,
                              Py_ssize_t in_w, Py_ssize_t out_channels, Py_ssize_t kernel_w,
                              Py_ssize_t stride, Py_ssize_t padding, Py_ssize_t output_padding,
                              Py_ssize_t dilation, Py_ssize_t groups)
    int conv_transpose2d_init(ConvGeometry *geometry, Py_ssize_t batch, Py_ssize_t in_channels,
                              Py_ssize_t in_h, Py_ssize_t in_w, Py_ssize_t out_channels,
                              Py_ssize_t kernel_h, Py_ssize_t kernel_w, Py_ssize_t stride,
                              Py_ssize_t padding, Py_ssize_t output_padding, Py_ssize_t dilation,
                              Py_ssize_t groups)
    int conv_transpose3d_init(ConvGeometry *geometry, Py_ssize_t batch, Py_ssize_t in_channels,
                              Py_ssize_t in_d, Py_ssize_t in_h, Py_ssize_t in_w,
                              Py_ssize_t out_channels, Py_ssize_t kernel_d, Py_ssize_t kernel_h,
                              Py_ssize_t kernel_w, Py_ssize_t stride, Py_ssize_t padding,
                              Py_ssize_t output_padding, Py_ssize_t dilation, Py_ssize_t groups)
    int conv_transpose_{T}(const ConvGeometry *geometry, const {real} *input, const {real} *weight,
                           const {real} *bias, {real} *output, Workspace *workspace,
                           int num_threads)
        -> backward_input(geometry, {dtype}, input, weight, bias, True, output, workspace,
                          num_threads)
    int conv_transpose_backward_input_{T}(const ConvGeometry *geometry, const {real} *grad_output,
                                          const {real} *weight, {real} *grad_input,
                                          Workspace *workspace, int num_threads)
        -> forward(geometry, {dtype}, grad_output, weight, NULL, NULL, False, grad_input, workspace,
                   num_threads)
    int conv_transpose_backward_weight_{T}(const ConvGeometry *geometry, const {real} *grad_output,
                                           const {real} *input, {real} *grad_weight,
                                           Workspace *workspace, int num_threads)
        -> backward_weight(geometry, {dtype}, input, grad_output, grad_weight, workspace,
                           num_threads)
    int conv_transpose_backward_bias_{T}(const ConvGeometry *geometry, const {real} *grad_output,
                                         {real} *grad_bias, Workspace *workspace, int num_threads)
        -> backward_bias(geometry, {dtype}, True, grad_output, grad_bias, workspace, num_threads)
    """,
    DTYPES,
)

# ---------------------------------------------------------------- the files

GENERATED = "Generated by codegen/c_level.py from its lists: change those."

PUBLIC_STATUSES = [status for status in STATUSES if status[0] not in INTERNAL]
ALL_FUNCTIONS = [function for section in FUNCTIONS for function in section.functions]
STATUS_NAMES = ["Status", *(name for name, _, _ in PUBLIC_STATUSES)]
GEOMETRY_NAMES = [
    *(constant.name for enum in ENUMS for constant in enum.constants),
    *(declaration.name for declaration in (*ENUMS, *GEOMETRIES)),
]


def template(name, **texts):
    """A template with these texts in the places of their names."""
    text = (Path(__file__).parent / "templates" / f"{name}.in").read_text("utf-8")
    return Template(text).substitute(GENERATED=GENERATED, **texts)


def cimport(module, names):
    body = filled(sorted(names), "    ", ", ")
    return f"from {module} cimport (\n{body})\n"


def status_pxd():
    about = "What a driver, and a function of the C level, returns."
    notes = {name: text for name, _, text in STATUSES if name in INTERNAL}
    constants = [Constant(name, value, notes.get(name, "")) for name, value, _ in STATUSES]
    return f"# {GENERATED}\n\n{Enum('Status', about, constants).cython()}"


def geometry_pxd():
    about = "What describes a convolution or a pooling, from the C level down to the drivers."
    parts = [declaration.cython() for declaration in (*ENUMS, *GEOMETRIES)]
    return f"# {GENERATED}\n# {about}\n\n" + "\n".join(parts)


def capi_pxd():
    return template(
        "_capi.pxd",
        CIMPORTS=cimport("fastconv._drivers.geometry", GEOMETRY_NAMES)
        + cimport("fastconv._drivers.status", STATUS_NAMES),
        STRUCTS="\n".join(struct.cython() for struct in (WORKSPACE, PACKED)),
        FUNCTIONS="\n".join(
            comment(section.about) + "".join(f.cython() for f in section.functions)
            for section in FUNCTIONS
        ).rstrip("\n"),
    )


def init_pxd():
    about = "`from fastconv cimport ...`: the C level, documented in _capi.pxd."
    names = [*STATUS_NAMES, *GEOMETRY_NAMES, WORKSPACE.name, PACKED.name]
    names += [function.name for function in ALL_FUNCTIONS]
    return f"# {GENERATED}\n# {about}\n" + cimport("fastconv._capi", names)


def header():
    constants = [Constant(name, value) for name, value, _ in PUBLIC_STATUSES]
    status = Enum("Status", "What functions return, and status_text puts into words.", constants)
    return template(
        "fastconv.h",
        ABI_VERSION=ABI_VERSION,
        ENUMS="\n".join(enum.c() for enum in (status, *ENUMS)),
        STRUCTS="\n".join(struct.c() for struct in (*GEOMETRIES, WORKSPACE, PACKED)),
        FUNCTIONS="\n".join(
            c_comment(section.about, "    ") + "".join(f.c_pointer() for f in section.functions)
            for section in FUNCTIONS
        ),
    )


def capi_functions():
    names = [function.name for function in ALL_FUNCTIONS]
    return template(
        "_capi_functions.pxi",
        TEXTS="\n".join(
            f"    if status == {name}:\n" + quoted(text, "        return ")
            for name, _, text in PUBLIC_STATUSES
        ),
        DEFINITIONS="\n\n".join(f.cython_definition() for f in ALL_FUNCTIONS if f.callee),
        ENTRIES=filled(names, "        entry ", ", ").replace(",\n", "\n"),
        ASSIGNMENTS="\n".join(f"api.{name} = <entry> {name}" for name in names),
    )


def texts():
    """The text of every generated file, by its path in the package."""
    return {
        "_drivers/status.pxd": status_pxd(),
        "_drivers/geometry.pxd": geometry_pxd(),
        "_capi.pxd": capi_pxd(),
        "__init__.pxd": init_pxd(),
        "include/fastconv.h": header(),
        "_capi_functions.pxi": capi_functions(),
    }
