"""fastconv and its NumPy reference: same names, same arguments."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

import fastconv
import fastconv.functional
from benchmarks.cases import Array, Case
from fastconv import reference


class Fastconv:
    version = fastconv.__version__
    functions: Any = fastconv.functional

    def __init__(self, threads: int) -> None:
        """`benchmarks.machine.set_threads` sets the threads of fastconv and of NumPy's BLAS."""

    def prepare(self, case: Case) -> Callable[[], Any]:
        arguments = dict(case.arguments)
        if "rng" in arguments:  # every side draws the same numbers
            arguments["rng"] = deepcopy(arguments["rng"])
        return partial(getattr(self.functions, case.function), **arguments)

    def arrays(self, result: Any) -> list[Array]:
        return [np.asarray(r) for r in (result if isinstance(result, tuple) else (result,))]


class Packed(Fastconv):
    """As for inference: filters of forward convolutions are packed before."""

    version = f"{fastconv.__version__}, weights packed"

    def prepare(self, case: Case) -> Callable[[], Any]:
        pack = getattr(fastconv.functional, f"pack_{case.function}_weight", None)
        if pack is not None:
            a = case.arguments
            weight = pack(a["weight"], a["groups"])
            case = replace(case, arguments={**a, "weight": weight})
        return super().prepare(case)


class Reference(Fastconv):
    version = np.__version__
    functions = reference
