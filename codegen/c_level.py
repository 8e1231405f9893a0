"""The C level from one list: its types, statuses and functions, as Cython, C and the table see them.

`make` writes, and setup.py calls it at every build:

    src/fastconv/_drivers/status.pxd    what drivers and functions return
    src/fastconv/_drivers/geometry.pxd  the structs that describe a convolution or a pooling
    src/fastconv/_capi.pxd              all of it, with the functions, for Cython
    src/fastconv/__init__.pxd           the same names, for `from fastconv cimport ...`
    src/fastconv/include/fastconv.h     the same for C, C++ and whoever reads a table of functions
    src/fastconv/_capi_functions.pxi    the functions' definitions, for _capi.pyx, and the table

A function is a line of FUNCTIONS. Where its name holds a {T} it stands for one function of every
dtype. What follows the arrow is the call in _capi.pyx that it is made of.
"""

import re
import textwrap

from codegen.files import PACKAGE, write

ABI_VERSION = 2

#: name -> (C type, dtype code of the kernels)
DTYPES = {"f32": ("float", "FC_FLOAT32"), "f64": ("double", "FC_FLOAT64")}

#: (name, value, in words, why it is not offered to C or None); a number is never used again
STATUSES = [
    ("OK", 0, "done", None),
    ("OUT_OF_MEMORY", 1, "memory could not be allocated", None),
    ("INDEX_OUT_OF_RANGE", 2, "an index of max_pool_backward lies outside its plane", None),
    ("INTERRUPTED", 3, "", "a signal's handler raised, and its exception is pending"),
    ("NULL_POINTER", 4, "an array that is needed is NULL", None),
    (
        "INVALID_SIZE",
        5,
        "sizes, channels and kernels must be at least 1, the batch at least 0",
        None,
    ),
    ("INVALID_STRIDE", 6, "strides and dilations must be at least 1", None),
    (
        "INVALID_PADDING",
        7,
        "padding must be at least 0, of pooling at most half of what the kernel spans",
        None,
    ),
    (
        "INVALID_GROUPS",
        8,
        "groups must be at least 1 and divide in_channels and out_channels",
        None,
    ),
    (
        "INVALID_OPTION",
        9,
        "a format, activation, algorithm or flag has no such value or does not fit the geometry, "
        "or num_threads is not from 0 to 1024",
        None,
    ),
    ("KERNEL_TOO_LARGE", 10, "the kernel spans more than the padded input", None),
    ("TOO_LARGE", 11, "an array of these sizes cannot be addressed", None),
    (
        "GEOMETRY_NOT_CHECKED",
        12,
        "the geometry was changed after it was checked: an axis has another out",
        None,
    ),
    (
        "WEIGHT_MISMATCH",
        13,
        "the packed weight is of another dtype, size or groups than the geometry's",
        None,
    ),
    ("WORKSPACE_TOO_SMALL", 14, "the workspace is smaller than this call needs", None),
    ("UNSUPPORTED", 15, "three dimensions are not offered yet", None),
]

#: name -> (comment, [(name, value, comment)])
ENUMS = {
    "MemoryFormat": (
        "Of images, with any number of axes",
        [("CONTIGUOUS", 0, "(N, C, H, W)"), ("CHANNELS_LAST", 1, "(N, H, W, C)")],
    ),
    "Activation": (
        "Of a forward pass",
        [("ACTIVATION_NONE", 0, ""), ("ACTIVATION_RELU", 1, "")],
    ),
    "Algorithm": (
        "Of a convolution",
        [
            ("AUTO", 0, "whatever is expected to take the least time"),
            ("DIRECT", 1, "every output a plain sum of products"),
            ("WINOGRAD", 2, "3x3 kernels, stride 1, dilation 1, groups 1"),
        ],
    ),
}

#: name -> (comment, [(type, fields, comment)], file that declares it for Cython)
STRUCTS = {
    "Axis": (
        "One axis of a convolution or a pooling, in elements: output i reads the inputs "
        "i * stride - pad_before + r * dilation for r < kernel, where they exist. Axes that an op "
        "of fewer dimensions lacks have size, kernel, stride, dilation and out 1 and no padding, so "
        "that a loop over all three is always right.",
        [
            ("Py_ssize_t", "size, kernel, stride", ""),
            ("Py_ssize_t", "pad_before, pad_after", ""),
            ("Py_ssize_t", "dilation", ""),
            ("Py_ssize_t", "out", "written by init and check, only read by the rest"),
        ],
        "geometry",
    ),
    "ConvGeometry": (
        "One convolution, for all of its passes. Every field is a Py_ssize_t, so that languages "
        "without structs can pass an array of them, in this order.",
        [
            ("Py_ssize_t", "batch, in_channels, out_channels, groups", ""),
            ("Axis", "axis[3]", "depth, height, width"),
            ("Py_ssize_t", "input_format, output_format", "MemoryFormat, of gradients too"),
            ("Py_ssize_t", "activation", "Activation"),
            ("Py_ssize_t", "algorithm", "Algorithm"),
        ],
        "geometry",
    ),
    "PoolGeometry": (
        "One pooling, likewise.",
        [
            ("Py_ssize_t", "batch, channels", ""),
            ("Axis", "axis[3]", "padding is at most half of what the kernel spans"),
            (
                "Py_ssize_t",
                "adaptive",
                "1: windows share the input out evenly; an axis is its size and out",
            ),
            ("Py_ssize_t", "ceil_mode", "1: output sizes are rounded up"),
            ("Py_ssize_t", "count_include_pad", "1: means count the padding"),
            ("Py_ssize_t", "divisor_override", "means divide by it, unless it is 0"),
            ("Py_ssize_t", "input_format, output_format", "indices have the output's"),
        ],
        "geometry",
    ),
    "Workspace": (
        "Memory for one call at a time. With data NULL the call computes nothing, reads no array, "
        "and writes to `size` how many bytes it would need, never 0.",
        [("void *", "data", ""), ("size_t", "size", "bytes")],
        "_capi",
    ),
}

#: a struct that only the library sees into
OPAQUE = {
    "PackedConv": "Weights in the orders that kernels want them. Made by conv_pack, it does not "
    "change to whoever holds it: threads may share it."
}

#: (comment, [line, ...]); a {T} is one of DTYPES, a {real} its C type, a {dtype} its code
FUNCTIONS = [
    (
        "In words, never NULL; lives as long as the library.",
        ["const char *status_text(int status)"],
    ),
    (
        "---- geometry: init sets every field, all axes alike (contiguous, no activation, AUTO), and "
        "checks; whoever changes a field then calls check, which validates them all and writes every "
        "axis's out.",
        [
            "int conv1d_init(ConvGeometry *geometry, Py_ssize_t batch, Py_ssize_t in_channels, "
            "Py_ssize_t in_w, Py_ssize_t out_channels, Py_ssize_t kernel_w, Py_ssize_t stride, "
            "Py_ssize_t padding, Py_ssize_t dilation, Py_ssize_t groups)",
            "int conv2d_init(ConvGeometry *geometry, Py_ssize_t batch, Py_ssize_t in_channels, "
            "Py_ssize_t in_h, Py_ssize_t in_w, Py_ssize_t out_channels, Py_ssize_t kernel_h, "
            "Py_ssize_t kernel_w, Py_ssize_t stride, Py_ssize_t padding, Py_ssize_t dilation, "
            "Py_ssize_t groups)",
            "int conv_check(ConvGeometry *geometry)",
            "int pool1d_init(PoolGeometry *geometry, Py_ssize_t batch, Py_ssize_t channels, "
            "Py_ssize_t in_w, Py_ssize_t kernel_w, Py_ssize_t stride, Py_ssize_t padding)",
            "int pool2d_init(PoolGeometry *geometry, Py_ssize_t batch, Py_ssize_t channels, "
            "Py_ssize_t in_h, Py_ssize_t in_w, Py_ssize_t kernel_h, Py_ssize_t kernel_w, "
            "Py_ssize_t stride, Py_ssize_t padding)",
            "int adaptive_pool1d_init(PoolGeometry *geometry, Py_ssize_t batch, "
            "Py_ssize_t channels, Py_ssize_t in_w, Py_ssize_t out_w)",
            "int adaptive_pool2d_init(PoolGeometry *geometry, Py_ssize_t batch, "
            "Py_ssize_t channels, Py_ssize_t in_h, Py_ssize_t in_w, Py_ssize_t out_h, "
            "Py_ssize_t out_w)",
            "int pool_check(PoolGeometry *geometry)",
        ],
    ),
    (
        "---- convolution; `bias` (out_channels) may be NULL",
        [
            "int conv_{T}(const ConvGeometry *geometry, const {real} *input, const {real} *weight, "
            "const {real} *bias, {real} *output, Workspace *workspace, int num_threads)"
            " -> forward(geometry, {dtype}, input, weight, NULL, bias, output, workspace, "
            "num_threads)",
            "int conv_backward_input_{T}(const ConvGeometry *geometry, const {real} *grad_output, "
            "const {real} *weight, {real} *grad_input, Workspace *workspace, int num_threads)"
            " -> backward_input(geometry, {dtype}, grad_output, weight, grad_input, workspace, "
            "num_threads)",
            "int conv_backward_weight_{T}(const ConvGeometry *geometry, const {real} *grad_output, "
            "const {real} *input, {real} *grad_weight, Workspace *workspace, int num_threads)"
            " -> backward_weight(geometry, {dtype}, grad_output, input, grad_weight, workspace, "
            "num_threads)",
            "int conv_backward_bias_{T}(const ConvGeometry *geometry, const {real} *grad_output, "
            "{real} *grad_bias, Workspace *workspace, int num_threads)"
            " -> backward_bias(geometry, {dtype}, grad_output, grad_bias, workspace, num_threads)",
        ],
    ),
    (
        "---- weights packed once for many forward passes, of images of any size and format; what "
        "`geometry` asks for is packed at once, what later ones ask for when they first do. Copies "
        "the weight; to be given to conv_packed_free, which takes NULL too, after the last call "
        "that uses it.",
        [
            "int conv_pack_{T}(const ConvGeometry *geometry, const {real} *weight, "
            "PackedConv **packed, int num_threads)"
            " -> pack(geometry, {dtype}, weight, packed, num_threads)",
            "void conv_packed_free(PackedConv *packed)",
            "int conv_packed_{T}(const ConvGeometry *geometry, const {real} *input, "
            "PackedConv *packed, const {real} *bias, {real} *output, Workspace *workspace, "
            "int num_threads)"
            " -> forward(geometry, {dtype}, input, NULL, packed, bias, output, workspace, "
            "num_threads)",
        ],
    ),
    (
        "---- pooling; `indices` count the elements of a (batch, channel) plane row by row, -1 for a "
        "window of padding alone. max_pool's may be NULL; backward refuses one outside the plane.",
        [
            "int max_pool_{T}(const PoolGeometry *geometry, const {real} *input, {real} *output, "
            "int64_t *indices, Workspace *workspace, int num_threads)"
            " -> max_forward(geometry, {dtype}, input, output, indices, workspace, num_threads)",
            "int max_pool_backward_{T}(const PoolGeometry *geometry, const {real} *grad_output, "
            "const int64_t *indices, {real} *grad_input, Workspace *workspace, int num_threads)"
            " -> max_backward(geometry, {dtype}, grad_output, indices, grad_input, workspace, "
            "num_threads)",
            "int avg_pool_{T}(const PoolGeometry *geometry, const {real} *input, {real} *output, "
            "Workspace *workspace, int num_threads)"
            " -> average(geometry, {dtype}, input, output, False, workspace, num_threads)",
            "int avg_pool_backward_{T}(const PoolGeometry *geometry, const {real} *grad_output, "
            "{real} *grad_input, Workspace *workspace, int num_threads)"
            " -> average(geometry, {dtype}, grad_input, grad_output, True, workspace, num_threads)",
        ],
    ),
]

GENERATED = "Generated by codegen/c_level.py from its lists: change those."


def functions():
    """[(comment, [(result, name, parameters, call or None), ...]), ...], every dtype spelled out."""
    sections = []
    for comment, lines in FUNCTIONS:
        spelled = []
        for line in lines:
            variants = DTYPES.items() if "{T}" in line else [("", ("", ""))]
            for name, (real, dtype) in variants:
                text = line.format(T=name, real=real, dtype=dtype)
                prototype, _, call = text.partition(" -> ")
                match = re.fullmatch(r"(.*?[ *])(\w+)\((.*)\)", prototype)
                spelled.append((match[1].strip(), match[2], match[3].split(", "), call or None))
        sections.append((comment, spelled))
    return sections


def wrapped(text, prefix, width=100):
    """A comment in lines that start with `prefix`."""
    return textwrap.fill(text, width, initial_indent=prefix, subsequent_indent=prefix) + "\n"


def signature(head, parameters, tail, width=100):
    """`head(parameters)tail` in lines, continued under the parenthesis."""
    lines, indent = [head + "("], " " * (len(head) + 1)
    for i, parameter in enumerate(parameters):
        end = ")" + tail if i == len(parameters) - 1 else ","
        if lines[-1].endswith("("):
            lines[-1] += parameter + end
        elif len(lines[-1]) + 1 + len(parameter + end) <= width:
            lines[-1] += " " + parameter + end
        else:
            lines.append(indent + parameter + end)
    return "\n".join(lines) + "\n"


def declared(result, name):
    return result + name if result.endswith("*") else f"{result} {name}"


# ---------------------------------------------------------------- for Cython


def status_pxd():
    lines = [f"# {GENERATED}\n", "# What a driver, and a function of the C level, returns.\n"]
    lines.append("cdef enum Status:\n")
    for name, value, _, internal in STATUSES:
        lines.append(f"    {name} = {value}" + (f"  # {internal}\n" if internal else "\n"))
    return "".join(lines)


def cython_enums():
    text = ""
    for name, (comment, values) in ENUMS.items():
        text += f"\n# {comment}.\ncdef enum {name}:\n"
        for value, number, note in values:
            text += f"    {value} = {number}" + (f"  # {note}\n" if note else "\n")
    return text


def cython_structs(file):
    text = ""
    for name, (comment, fields, where) in STRUCTS.items():
        if where == file:
            text += "\n" + wrapped(comment, "# ") + f"ctypedef struct {name}:\n"
            for kind, names, note in fields:
                field = declared(kind, names)
                text += f"    {field}" + (f"  # {note}\n" if note else "\n")
    return text


def geometry_pxd():
    return (
        f"# {GENERATED}\n"
        "# What describes a convolution or a pooling, from the C level down to the drivers.\n"
        + cython_enums()
        + cython_structs("geometry")
    )


def names_of(file):
    enums = [n for e, (_, values) in ENUMS.items() for n in (e, *(v for v, _, _ in values))]
    structs = [n for n, (_, _, where) in STRUCTS.items() if where == "geometry"]
    return {
        "status": [n for n, _, _, internal in STATUSES if not internal] + ["Status"],
        "geometry": enums + structs,
    }[file]


def cimport(module, names, width=100):
    body = textwrap.fill(
        ", ".join(sorted(names)), width, initial_indent="    ", subsequent_indent="    "
    )
    return f"from {module} cimport (\n{body})\n"


def capi_pxd():
    text = f"# {GENERATED}\n" + textwrap.dedent(
        """\
        # The C level of fastconv: `from fastconv cimport ...`. docs/c-api.md tells all of it at length.
        #
        # Every function runs without the GIL, on whatever thread calls it, and on the kernels of this
        # processor. Those that return int return a Status (OK is 0), which status_text puts into words.
        #
        # Images lie in memory without gaps, in the format that the geometry names for them; weights are
        # (out_channels, in_channels / groups, kernel sizes), C-contiguous. An output overlaps no other
        # array. `workspace` NULL lets the library find memory; `num_threads` 0 means its default. The
        # bits of a result are the same for any number of threads.
        #
        # Nothing here needs a C header, so neither do users. include/fastconv.h offers the same to C.
        from libc.stdint cimport int64_t

        """
    )
    text += cimport("fastconv._drivers.geometry", names_of("geometry"))
    text += cimport("fastconv._drivers.status", names_of("status"))
    text += cython_structs("_capi")
    for name, comment in OPAQUE.items():
        text += "\n" + wrapped(comment, "# ") + f"ctypedef struct {name}:\n    void *_private\n"
    for comment, spelled in functions():
        text += "\n" + wrapped(comment, "# ")
        for result, name, parameters, _ in spelled:
            text += signature(f"cdef {declared(result, name)}", parameters, " noexcept nogil")
    return text


def init_pxd():
    names = names_of("status") + names_of("geometry") + ["Workspace", *OPAQUE]
    names += [name for _, spelled in functions() for _, name, _, _ in spelled]
    return (
        f"# {GENERATED}\n# `from fastconv cimport ...`: the C level, documented in _capi.pxd.\n"
        + cimport("fastconv._capi", names)
    )


def capi_functions():
    """Definitions of the functions that have a call, status_text, and the table of them all."""
    text = f"# {GENERATED}\n\n\ncdef const char *status_text(int status) noexcept nogil:\n"
    for name, _, words, internal in STATUSES:
        if not internal:
            quoted = textwrap.wrap(words, 70)
            literal = "\n                ".join(f'"{part} "' for part in quoted[:-1])
            last = f'"{quoted[-1]}"'
            value = f"({literal}\n                {last})" if literal else last
            text += f"    if status == {name}:\n        return {value}\n"
    text += '    return "unknown status"\n'
    for _, spelled in functions():
        for result, name, parameters, call in spelled:
            if call:
                text += "\n\n" + signature(
                    f"cdef {declared(result, name)}", parameters, " noexcept nogil:"
                )
                callee, _, rest = call.partition("(")
                text += signature(f"    return {callee}", rest[:-1].split(", "), "")
    names = [name for _, spelled in functions() for _, name, _, _ in spelled]
    text += textwrap.dedent(
        """

        # The table of include/fastconv.h, for whoever has no Cython.
        ctypedef void *entry

        cdef extern from "fastconv.h" nogil:
            enum:
                FASTCONV_ABI_VERSION

            ctypedef struct fastconv_api:
                int abi_version
                size_t size
        """
    )
    text += (
        textwrap.fill(
            ", ".join(names),
            92,
            initial_indent="        entry ",
            subsequent_indent="        entry ",
        ).replace(",\n", "\n")
        + "\n"
    )
    text += "\n\ncdef fastconv_api api\n"
    text += "api.abi_version, api.size = FASTCONV_ABI_VERSION, sizeof(fastconv_api)\n"
    text += "".join(f"api.{name} = <entry> {name}\n" for name in names)
    text += '_C_API = PyCapsule_New(&api, "fastconv._capi._C_API", NULL)\n'
    return text


# ---------------------------------------------------------------- for C


def c_name(name):
    """fastconv_conv_geometry for ConvGeometry."""
    return "fastconv_" + re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def c_types(text):
    return re.sub(
        "|".join(rf"\b{name}\b" for name in [*STRUCTS, *OPAQUE]), lambda m: c_name(m[0]), text
    )


def c_comment(text, indent=""):
    line = f"{indent}/* {text} */"
    if len(line) <= 100:
        return line + "\n"
    lines = textwrap.wrap(text, 97 - len(indent) - 3)
    return f"\n{indent} * ".join([f"{indent}/* {lines[0]}", *lines[1:]]) + " */\n"


def c_enum(comment, values):
    text = "\n" + c_comment(comment) + "enum {\n"
    for i, (name, value, note) in enumerate(values):
        comma = "," if i < len(values) - 1 else ""
        text += f"    FASTCONV_{name} = {value}{comma}" + (f" /* {note} */\n" if note else "\n")
    return text + "};\n"


def header():
    text = HEADER_TOP.replace("@GENERATED@", GENERATED).replace("@ABI@", str(ABI_VERSION))
    text += c_enum(
        "what functions return; status_text puts it into words",
        [(name, value, "") for name, value, _, internal in STATUSES if not internal],
    )
    for name, (comment, values) in ENUMS.items():
        text += c_enum(f"{name}: {comment[0].lower()}{comment[1:]}", values)
    for name, (comment, fields, _) in STRUCTS.items():
        text += "\n" + c_comment(comment) + "typedef struct {\n"
        for kind, names, note in fields:
            field = c_types(declared(kind, names))
            text += f"    {field};" + (f" /* {note} */\n" if note else "\n")
        text += f"}} {c_name(name)};\n"
    for name, comment in OPAQUE.items():
        text += "\n" + c_comment(comment) + f"typedef struct {c_name(name)} {c_name(name)};\n"
    text += (
        "\ntypedef struct {\n"
        "    int abi_version; /* FASTCONV_ABI_VERSION of the library */\n"
        "    size_t size;     /* sizeof(fastconv_api) of the library */\n"
    )
    for comment, spelled in functions():
        text += "\n" + c_comment(comment, "    ")
        for result, name, parameters, _ in spelled:
            head = f"    {c_types(declared(result, f'(*{name})'))}"
            text += signature(head, [c_types(p) for p in parameters], ";")
    return text + "} fastconv_api;\n" + HEADER_BOTTOM


HEADER_TOP = """\
/* @GENERATED@ */
/* The C level of fastconv, for C and C++ that runs in a Python process.
 *
 * An extension adds fastconv.get_include() to its include directories, calls fastconv_import() once,
 * with the GIL, and keeps what it returns: a table of functions, valid until the process ends.
 * Nothing is linked. The functions need no GIL, and may be called by any thread:
 *
 *     const fastconv_api *fc = fastconv_import();
 *     if (fc == NULL)
 *         return NULL;  // an ImportError is set
 *     fastconv_conv_geometry geometry;
 *     int status = fc->conv2d_init(&geometry, 1, 3, 224, 224, 64, 3, 3, 1, 1, 1, 1);
 *     if (status == FASTCONV_OK)
 *         status = fc->conv_f32(&geometry, input, weight, bias, output, NULL, 0);
 *     if (status != FASTCONV_OK)
 *         fprintf(stderr, "%s\\n", fc->status_text(status));
 *
 * docs/c-api.md documents each function; _capi.pxd offers the same to Cython.
 */
#ifndef FASTCONV_H
#define FASTCONV_H

#include <Python.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Grows when something that an extension was compiled against changes. Functions that are added at
 * the end of the table do not make it grow: an older extension does not see them. */
#define FASTCONV_ABI_VERSION @ABI@
"""

HEADER_BOTTOM = """
/* The table, or NULL with an ImportError set. Needs the GIL. */
static inline const fastconv_api *fastconv_import(void)
{
    PyObject *module = PyImport_ImportModule("fastconv._capi");
    PyObject *capsule = module ? PyObject_GetAttrString(module, "_C_API") : NULL;
    const fastconv_api *api = NULL;
    Py_XDECREF(module);
    if (capsule == NULL)
        return NULL;
    api = (const fastconv_api *)PyCapsule_GetPointer(capsule, "fastconv._capi._C_API");
    Py_DECREF(capsule); /* the table outlives it */
    if (api == NULL)
        return NULL;
    if (api->abi_version != FASTCONV_ABI_VERSION || api->size < sizeof(fastconv_api)) {
        PyErr_Format(PyExc_ImportError,
                     "built for the C level %d of fastconv with a table of %zd bytes, but the "
                     "installed fastconv has level %d with %zd bytes",
                     FASTCONV_ABI_VERSION, (Py_ssize_t)sizeof(fastconv_api), api->abi_version,
                     (Py_ssize_t)api->size);
        return NULL;
    }
    return api;
}

#ifdef __cplusplus
}
#endif

#endif
"""

#: path below src/fastconv -> what makes its text
FILES = {
    "_drivers/status.pxd": status_pxd,
    "_drivers/geometry.pxd": geometry_pxd,
    "_capi.pxd": capi_pxd,
    "__init__.pxd": init_pxd,
    "include/fastconv.h": header,
    "_capi_functions.pxi": capi_functions,
}


def texts():
    """{path below the package: text} of every file that is made of the lists."""
    return {path: text() for path, text in FILES.items()}


def make():
    """Write the files that are not as they should be."""
    for path, text in texts().items():
        write(PACKAGE / path, text)
