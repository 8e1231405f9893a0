"""The libraries that are compared. Each makes of a case a call with nothing left to prepare.

Peers are imported only when asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from benchmarks.cases import Array, Case

# name, and the packages it takes
PEERS = {"torch": ("torch",), "onnxruntime": ("onnxruntime", "onnx"), "ncnn": ("ncnn",)}
_CLASSES = {
    "fastconv": "own.Fastconv",
    "packed": "own.Packed",
    "reference": "own.Reference",
    "torch": "torch_side.Torch",
    "onnxruntime": "onnxruntime_side.OnnxRuntime",
    "ncnn": "ncnn_side.Ncnn",
}


class Side(Protocol):
    version: str

    def __init__(self, threads: int) -> None: ...

    def prepare(self, case: Case) -> Callable[[], Any] | None:
        """The call to time; None if this library has no such op."""

    def arrays(self, result: Any) -> list[Array]:
        """What a call returned, as NumPy arrays shaped as fastconv's."""


def installed(name: str) -> bool:
    return all(find_spec(package) is not None for package in PEERS.get(name, ()))


def load(name: str, threads: int) -> Side:
    module, cls = _CLASSES[name].split(".")
    side: Side = getattr(import_module(f"benchmarks.sides.{module}"), cls)(threads)
    return side
