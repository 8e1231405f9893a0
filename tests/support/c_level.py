"""The C level by ctypes, as fastconv.h describes it: what C would see, without a compiler."""

import ctypes
import re
from pathlib import Path

import numpy as np
import pytest

import fastconv
from fastconv import _capi
from fastconv.reference.geometry import each_axis, sides_of
from support.geometries import Conv

HEADER = re.sub(
    r"/\*.*?\*/", "", (Path(fastconv.get_include()) / "fastconv.h").read_text("utf-8"), flags=re.S
)


def single_spaced(text):
    return re.sub(r"\s+", " ", text).strip()


_TYPES = {"Py_ssize_t": ctypes.c_ssize_t, "size_t": ctypes.c_size_t, "void *": ctypes.c_void_p}


def _fields(name):
    """Names and types of a struct's fields, in the order of the header."""
    body = re.search(rf"typedef struct \{{([^}}]*)\}} {name};", HEADER)[1]
    for kind, names in re.findall(r"(\w+ \*|\w+) *([\w, \[\]]+);", body):
        for field, count in re.findall(r"(\w+)(?:\[(\d+)\])?(?:, |$)", names):
            yield field, _TYPES[kind] * int(count) if count else _TYPES[kind]


#: name -> (result, parameters), of the table's functions in its order
PROTOTYPES = {
    name: (single_spaced(result), single_spaced(parameters))
    for result, name, parameters in re.findall(
        r"^    ([\w *]+?)\(\*(\w+)\)\(([^)]*)\);", HEADER, re.M
    )
}
CONSTANTS = {name: int(value) for name, value in re.findall(r"FASTCONV_(\w+) = (\d+)", HEADER)}
STATUSES = {
    name: CONSTANTS[name]
    for name in re.findall(r"FASTCONV_(\w+) =", HEADER[: HEADER.index("CONTIGUOUS")])
}


class Axis(ctypes.Structure):
    _fields_ = tuple(_fields("fastconv_axis"))


_TYPES["fastconv_axis"] = Axis


class ConvGeometry(ctypes.Structure):
    _fields_ = tuple(_fields("fastconv_conv_geometry"))


class PoolGeometry(ctypes.Structure):
    _fields_ = tuple(_fields("fastconv_pool_geometry"))


class Workspace(ctypes.Structure):
    _fields_ = tuple(_fields("fastconv_workspace"))


class _Table(ctypes.Structure):
    _fields_ = (
        ("abi_version", ctypes.c_int),
        ("size", ctypes.c_size_t),
        *((name, ctypes.c_void_p) for name in PROTOTYPES),
    )


def pointer_of(capsule):
    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype = ctypes.c_char_p
    api.PyCapsule_GetName.argtypes = [ctypes.py_object]
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    return api.PyCapsule_GetPointer(capsule, api.PyCapsule_GetName(capsule))


TABLE = _Table.from_address(pointer_of(_capi._C_API))


def _function(name):
    result, parameters = PROTOTYPES[name]
    kinds = [
        ctypes.c_ssize_t
        if p.startswith("Py_ssize_t ")
        else ctypes.c_int
        if p.startswith("int ")
        else ctypes.c_void_p
        for p in parameters.split(", ")
    ]
    results = {"int": ctypes.c_int, "void": None, "const char *": ctypes.c_char_p}
    return ctypes.CFUNCTYPE(results[result], *kinds)(getattr(TABLE, name))


FUNCTIONS = {name: _function(name) for name in PROTOTYPES}


def _argument(value):
    if isinstance(value, np.ndarray):
        return value.ctypes.data
    if isinstance(value, ctypes.Structure | ctypes.c_void_p):
        return ctypes.addressof(value)
    return value


def call(name, *arguments):
    """One function of the table; arrays, structures and pointers are passed by their address."""
    return FUNCTIONS[name](*map(_argument, arguments))


def call_op(name, *arguments, num_threads=0, workspace=None):
    """A function whose last two parameters are a workspace and a number of threads."""
    return call(name, *arguments, workspace, num_threads)


def workspace_size(name, *arguments, num_threads=0):
    """Bytes of workspace that the call asks for."""
    workspace = Workspace()
    status = call_op(name, *arguments, num_threads=num_threads, workspace=workspace)
    assert status == 0, call("status_text", status)
    return workspace.size


# ---- geometries, and arrays in the order of a memory format

KINDS = {np.dtype(np.float32): "f32", np.dtype(np.float64): "f64"}
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
every_format = pytest.mark.parametrize("channels_last", [False, True])

CASES = [
    Conv((2, 3, 8, 9), (4, 3, 3, 3)),
    Conv((1, 1, 28, 28), (6, 1, 5, 5), padding=2),
    Conv((2, 5, 9, 11), (3, 5, 2, 4), stride=(2, 3), padding=(0, 2, 1, 0)),
    Conv((2, 6, 8, 8), (9, 2, 3, 3), padding=1, groups=3),
    Conv((2, 8, 9, 9), (8, 1, 3, 3), padding=2, dilation=2, groups=8),
    Conv((2, 40, 12, 12), (33, 40, 1, 1)),
    Conv((3, 40, 14, 14), (40, 40, 3, 3), padding=1),
    Conv((1, 4, 5, 5), (4, 4, 1, 1), stride=7),
]
POOLINGS = [
    ((2, 5, 8, 9), {"kernel_size": 2}),
    ((2, 40, 9, 9), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ((1, 3, 10, 7), {"kernel_size": (3, 2), "stride": (2, 1), "padding": 1, "ceil_mode": True}),
    ((2, 20, 6, 5, 8), {"kernel_size": 2}),
    ((1, 3, 5, 6, 7), {"kernel_size": (3, 2, 3), "stride": (2, 1, 1), "padding": (1, 0, 1)}),
]
AXES = {"d": 0, "h": 1, "w": 2}


def flat(x, channels_last):
    """The elements of (N, C, ...) in the order of one of the two memory formats."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1) if channels_last else x).ravel()


def unfilled(shape, dtype):
    """NaN, or a number that no index is: what stays so was not written."""
    return np.full(int(np.prod(shape)), np.nan if np.dtype(dtype).kind == "f" else -7, dtype)


def change(geometry, **fields):
    """Set fields by name, those of an axis by its letter too: kernel_h, pad_before_w."""
    for name, value in fields.items():
        stem, _, letter = name.rpartition("_")
        owner, field = (geometry.axis[AXES[letter]], stem) if letter in AXES else (geometry, name)
        assert field in dict(owner._fields_), name  # ctypes would take any
        setattr(owner, field, value)


def outs(geometry):
    """Sizes of the output along depth, height and width."""
    return tuple(axis.out for axis in geometry.axis)


def _set_axes(geometry, kernel, stride, padding, dilation):
    """Options as the reference takes them; `kernel` has a size for each axis that there is."""
    rank = len(kernel)
    sides = sides_of(padding, kernel, dilation)
    options = zip(
        each_axis(stride, rank),
        each_axis(dilation, rank),
        sides,
        strict=True,
    )
    for i, (step, spread, (before, after)) in enumerate(options):
        axis = geometry.axis[len(geometry.axis) - rank + i]
        axis.stride, axis.dilation = step, spread
        axis.pad_before, axis.pad_after = before, after


def conv_geometry(case, channels_last=False, **fields):
    """A checked ConvGeometry; fields are set before the check, as `change` takes them."""
    g, (n, c, *sizes), (k, _, *kernel) = ConvGeometry(), case.input_shape, case.weight_shape
    call(f"conv{len(sizes)}d_init", g, n, c, *sizes, k, *kernel, 1, 0, 1, case.groups)
    _set_axes(g, kernel, case.stride, case.padding, case.dilation)
    g.input_format = g.output_format = int(channels_last)
    change(g, **fields)
    assert call("conv_check", g) == 0
    return g


def pool_geometry(input_shape, options, channels_last=False, **fields):
    """A checked PoolGeometry of the keywords of the reference's `max_pool2d` and its like.

    Fields are set before the check, as `change` takes them.
    """
    g, rank = PoolGeometry(), len(input_shape) - 2
    kernel = each_axis(options["kernel_size"], rank)[-rank:]
    stride = options.get("stride")
    call(f"pool{rank}d_init", g, *input_shape, *kernel, 1, 0)
    stride = options["kernel_size"] if stride is None else stride
    _set_axes(g, kernel, stride, options.get("padding", 0), options.get("dilation", 1))
    g.ceil_mode = options.get("ceil_mode", False)
    g.input_format = g.output_format = int(channels_last)
    change(g, **fields)
    assert call("pool_check", g) == 0
    return g
