"""The C level by ctypes, as fastconv.h describes it: what C would see, without a compiler."""

import ctypes
import re
from pathlib import Path

import numpy as np
import pytest

import fastconv
from fastconv import _ops, reference
from support.geometries import Conv

HEADER = re.sub(
    r"/\*.*?\*/", "", (Path(fastconv.get_include()) / "fastconv.h").read_text("utf-8"), flags=re.S
)


def single_spaced(text):
    return re.sub(r"\s+", " ", text).strip()


def _struct(name):
    """Names and types of the fields, in the order of the header."""
    body = re.search(rf"typedef struct \{{([^}}]*)\}} {name};", HEADER)[1]
    return [
        (field, kind)
        for kind, names in re.findall(r"(Py_ssize_t|size_t|void \*|int) *([\w, ]+);", body)
        for field in re.findall(r"\w+", names)
    ]


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
_TYPES = {"Py_ssize_t": ctypes.c_ssize_t, "size_t": ctypes.c_size_t, "void *": ctypes.c_void_p}


class Conv2dShape(ctypes.Structure):
    _fields_ = tuple((name, _TYPES[kind]) for name, kind in _struct("fastconv_conv2d_shape"))


class Pool2dShape(ctypes.Structure):
    _fields_ = tuple((name, _TYPES[kind]) for name, kind in _struct("fastconv_pool2d_shape"))


class Workspace(ctypes.Structure):
    _fields_ = tuple((name, _TYPES[kind]) for name, kind in _struct("fastconv_workspace"))


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


TABLE = _Table.from_address(pointer_of(_ops._C_API))


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
]


def flat(x, channels_last):
    """The elements of (N, C, H, W) in the order of one of the two memory formats."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1) if channels_last else x).ravel()


def unfilled(shape, dtype):
    """NaN, or a number that no index is: what stays so was not written."""
    return np.full(int(np.prod(shape)), np.nan if np.dtype(dtype).kind == "f" else -7, dtype)


def conv_shape(case, channels_last=False, **fields):
    """A checked Conv2dShape; fields are set before the check."""
    s, (n, c, h, w) = Conv2dShape(), case.input_shape
    k, _, kernel_h, kernel_w = case.weight_shape
    call("conv2d_shape_init", s, n, c, h, w, k, kernel_h, kernel_w, 1, 0, 1, case.groups)
    s.stride_h, s.stride_w = reference._pair(case.stride)
    s.dilation_h, s.dilation_w = reference._pair(case.dilation)
    sides = reference._sides(case.padding, (kernel_h, kernel_w), (s.dilation_h, s.dilation_w))
    (s.pad_top, s.pad_bottom), (s.pad_left, s.pad_right) = sides
    s.input_format = s.output_format = int(channels_last)
    for name, value in fields.items():
        setattr(s, name, value)
    assert call("conv2d_shape_check", s) == 0
    return s


def pool_shape(input_shape, options, channels_last=False, **fields):
    """A checked Pool2dShape of the keywords of `max_pool2d`; fields are set before the check."""
    s = Pool2dShape()
    call("pool2d_shape_init", s, *input_shape, 1, 1, 1, 0)
    s.kernel_h, s.kernel_w = reference._pair(options["kernel_size"])
    stride = options.get("stride")
    s.stride_h, s.stride_w = reference._pair(options["kernel_size"] if stride is None else stride)
    s.pad_h, s.pad_w = reference._pair(options.get("padding", 0))
    s.dilation_h, s.dilation_w = reference._pair(options.get("dilation", 1))
    s.ceil_mode = options.get("ceil_mode", False)
    s.input_format = s.output_format = int(channels_last)
    for name, value in fields.items():
        setattr(s, name, value)
    assert call("pool2d_shape_check", s) == 0
    return s
