"""What one small convolution costs on its way from Python to the kernel.

The baseline is the C function that `cimport` users call (fastconv/_ops.pxd), a few hundred times in
a C loop: geometry, choice of driver, packing, scratch memory and kernel, but no Python object.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import numpy as np

import fastconv
import fastconv.functional as F
from benchmarks.native import compiled
from benchmarks.timing import best_times
from fastconv import _ops, nn

_SOURCE = Path(__file__).with_name("overhead.c")
_CALLS = 300  # in one timing

# channels, size, filters, kernel
CASES = ((1, 3, 1, 3), (8, 8, 8, 1), (16, 8, 16, 3))


class _Shape(ctypes.Structure):
    """Conv2dShape of fastconv/_ops.pxd."""

    _fields_ = (
        *(
            (name, ctypes.c_ssize_t)
            for name in (
                *("batch", "in_channels", "in_h", "in_w", "out_channels", "out_h", "out_w"),
                *("kernel_h", "kernel_w", "stride_h", "stride_w", "pad_top", "pad_bottom"),
                *("pad_left", "pad_right", "dilation_h", "dilation_w", "groups"),
            )
        ),
        ("input_format", ctypes.c_int),
        ("output_format", ctypes.c_int),
    )


def report(seconds: float, repeat: int) -> str:
    """A table: microseconds of a call at each level, and what it adds to the C function."""
    lines = [
        f"{'1 x C x H x W * K x C x R x S':34}{'C level':>10}{'_ops':>16}{'functional':>16}"
        f"{'out=':>16}{'nn':>16}"
    ]
    for case in CASES:
        times = measure(*case, seconds, repeat)
        channels, size, filters, kernel = case
        name = f"{channels} x {size} x {size} * {filters} x {channels} x {kernel} x {kernel}"
        base = times.pop("C", None)
        cells = "-" if base is None else f"{base * 1e6:.2f}"
        lines.append(f"{name:34}{cells:>10}" + "".join(_cell(t, base) for t in times.values()))
    lines.append("microseconds, float32, one thread; in brackets what is added to the C level")
    return "\n".join(lines)


def measure(
    channels: int, size: int, filters: int, kernel: int, seconds: float, repeat: int
) -> dict[str, float]:
    """Seconds of one convolution at every level; "C" is missing without a C compiler."""
    rng = np.random.default_rng(0)
    layer = nn.Conv2d(channels, filters, kernel, padding=kernel // 2, rng=rng)
    assert layer.bias is not None
    w, b = layer.weight.data, layer.bias.data
    x = rng.standard_normal((1, channels, size, size), np.float32)
    y = F.conv2d(x, w, b, padding=kernel // 2)
    shape = _ops.conv_shape(x.shape, w.shape, 1, kernel // 2, 1, 1)
    levels: dict[str, Callable[[], object]] = {
        "_ops": lambda: _ops.conv2d(x, w, b, y, shape),
        "functional": lambda: F.conv2d(x, w, b, 1, kernel // 2),
        "out": lambda: F.conv2d(x, w, b, 1, kernel // 2, out=y),
        "nn": lambda: layer(x),
    }

    def many(call: Callable[[], object]) -> Callable[[], None]:
        def calls() -> None:
            for _ in range(_CALLS):
                call()

        return calls

    calls = {name: many(call) for name, call in levels.items()}
    in_c = _c_level(x, w, b, y, kernel // 2)
    with fastconv.threads(1), nn.no_grad():
        times = best_times({"C": in_c, **calls} if in_c else calls, seconds, repeat)
        empty = best_times({"": many(lambda: None)}, seconds, repeat)[""]
    return {name: (t if name == "C" else t - empty) / _CALLS for name, t in times.items()}


def _c_level(
    x: np.ndarray, w: np.ndarray, b: np.ndarray, y: np.ndarray, pad: int
) -> Callable[[], object] | None:
    library = compiled(_SOURCE)
    if library is None:
        return None
    shape = _Shape(
        *x.shape,
        *y.shape[1:],
        *w.shape[2:],
        1,
        1,
        pad,
        pad,
        pad,
        pad,
        1,
        1,
        1,
        _ops.MemoryFormat.CONTIGUOUS,
        _ops.MemoryFormat.CONTIGUOUS,
    )
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    name = ctypes.pythonapi.PyCapsule_GetName
    name.restype, name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    capsule = vars(_ops)["__pyx_capi__"]["conv2d_f32"]
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in (x, w, b, y)]
    function = ctypes.c_void_p(get(capsule, name(capsule)))

    def calls() -> None:
        if library.repeat(ctypes.c_long(_CALLS), function, ctypes.byref(shape), *pointers) != 0:
            raise RuntimeError("the C level refused the convolution")

    return calls


def _cell(seconds: float, base: float | None) -> str:
    added = "" if base is None else f" (+{(seconds - base) * 1e6:.2f})"
    return f"{f'{seconds * 1e6:.2f}{added}':>16}"
