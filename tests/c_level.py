"""The C level as fastconv.h describes it, for ctypes: what C would see, without a compiler."""

import ctypes
import re
from pathlib import Path

import numpy as np

import fastconv
from fastconv import _ops

HEADER = re.sub(
    r"/\*.*?\*/", "", (Path(fastconv.get_include()) / "fastconv.h").read_text("utf-8"), flags=re.S
)


def squeezed(text):
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
    name: (squeezed(result), squeezed(parameters))
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


def lent(name, *arguments, num_threads=0, workspace=None):
    """A function that takes a workspace and a number of threads, which come last."""
    return call(name, *arguments, workspace, num_threads)


def needed(name, *arguments, num_threads=0):
    """Bytes of the workspace that the call would need, by asking it."""
    workspace = Workspace()
    status = lent(name, *arguments, num_threads=num_threads, workspace=workspace)
    assert status == 0, call("status_text", status)
    return workspace.size
