"""The machine's peak: multiply-adds in registers, and NumPy's matrix product for comparison."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path

import numpy as np

from benchmarks.native import compiled

_SOURCE = Path(__file__).with_name("peak.c")
_C_TYPES = {"float32": ("float", ctypes.c_float), "float64": ("double", ctypes.c_double)}


@dataclass(frozen=True)
class Peak:
    """What the machine can do, in GF/s."""

    threads: int
    dtype: str
    fma: float | None  # multiply-adds in registers; None without a C compiler
    matmul: float  # NumPy's product of large matrices

    @property
    def best(self) -> float:
        return self.matmul if self.fma is None else self.fma

    def better(self, again: Peak) -> Peak:
        """The larger of two measurements."""
        fma = None if self.fma is None or again.fma is None else max(self.fma, again.fma)
        return Peak(self.threads, self.dtype, fma, max(self.matmul, again.matmul))


def measure_peak(threads: int, dtype: str) -> Peak:
    """Both peaks; NumPy's BLAS must have been given its threads."""
    return Peak(threads, dtype, fma_peak(threads, dtype), matmul_peak(dtype))


def fma_peak(threads: int, dtype: str = "float32", seconds: float = 0.5) -> float | None:
    """GF/s of fused multiply-adds on `threads` cores; None without a C compiler."""
    loop = _compiled(dtype)
    if loop is None:
        return None
    # a call must be long beside what handing it to a thread takes
    steps = 200_000
    steps *= max(1, round(0.02 / _best(partial(loop, steps), 0.0)))
    with ThreadPoolExecutor(threads) as pool:  # ctypes releases the GIL while the loop runs

        def call() -> None:
            operations.append(sum(pool.map(loop, [steps] * threads)))

        operations: list[float] = []
        best = _best(call, seconds)
    return operations[0] / best * 1e-9


def matmul_peak(dtype: str = "float32", size: int = 1536, seconds: float = 0.5) -> float:
    """GF/s of NumPy's product of two square matrices, on the threads that its BLAS has."""
    a = np.ones((size, size), dtype)
    return 2 * size**3 / _best(lambda: a @ a, seconds) * 1e-9


def _compiled(dtype: str) -> Callable[[int], float] | None:
    name, c_type = _C_TYPES[dtype]
    library = compiled(_SOURCE, "-march=native", f"-DREAL={name}")
    if library is None:
        return None
    function = library.fma_peak
    function.restype, function.argtypes = ctypes.c_double, [ctypes.c_long, ctypes.POINTER(c_type)]
    return lambda steps: float(function(steps, ctypes.byref(c_type(1.0))))


def _best(call: Callable[[], object], seconds: float) -> float:
    """Least time of one call, of calls for `seconds`."""
    best, end = inf, time.perf_counter() + seconds
    while best == inf or time.perf_counter() < end:
        begin = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - begin)
    return best
