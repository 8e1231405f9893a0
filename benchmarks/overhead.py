"""What one small convolution costs on its way from Python to the kernel.

The baseline is the C function that `cimport` users call (fastconv/_capi.pxd), a few hundred times
in a C loop: geometry, choice of driver, packing, scratch memory and kernel, but no Python object.
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
from fastconv import _capi, _geometry, _ops, nn

_SOURCE = Path(__file__).with_name("overhead.c")
_CALLS = 300  # in one timing
_FIELDS = 29  # of ConvGeometry, each a Py_ssize_t

# channels, size, filters, kernel
# the first has next to nothing to compute: what its C level takes is what any call costs
CASES = ((1, 1, 1, 1), (1, 3, 1, 3), (8, 8, 8, 1), (16, 8, 16, 3))


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
    shape = _geometry.convolution(x.shape, w.shape, 1, kernel // 2, 1, 1)
    levels: dict[str, Callable[[], object]] = {
        "_ops": lambda: _ops.conv(x, w, b, y, shape),
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
    geometry = (ctypes.c_ssize_t * _FIELDS)()
    sizes = (*x.shape, w.shape[0], *w.shape[2:], 1, pad, 1, 1)
    if _function("conv2d_init")(geometry, *map(ctypes.c_ssize_t, sizes)) != 0:
        raise RuntimeError("the C level refused the geometry")
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in (x, w, b, y)]
    function = _function("conv_f32")

    def calls() -> None:
        if library.repeat(ctypes.c_long(_CALLS), function, geometry, *pointers) != 0:
            raise RuntimeError("the C level refused the convolution")

    return calls


def _function(name: str) -> Callable[..., int]:
    """What ``cimport`` gets of this name."""
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    signature = ctypes.pythonapi.PyCapsule_GetName
    signature.restype, signature.argtypes = ctypes.c_char_p, [ctypes.py_object]
    capsule = vars(_capi)["__pyx_capi__"][name]
    return ctypes.CFUNCTYPE(ctypes.c_int)(get(capsule, signature(capsule)))


def _cell(seconds: float, base: float | None) -> str:
    added = "" if base is None else f" (+{(seconds - base) * 1e6:.2f})"
    return f"{f'{seconds * 1e6:.2f}{added}':>16}"
