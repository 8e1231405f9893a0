"""The decorator of ops: public functions that take Tensors too."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from fastconv._tape import Op

if TYPE_CHECKING:
    Function = TypeVar("Function", bound=Callable[..., object])

    def op(function: Function) -> Function: ...
    def op_of_sequence(function: Function) -> Function: ...

else:
    from fastconv._tape import op, op_of_sequence

__all__ = ["Op", "op", "op_of_sequence"]
