"""Padding by any mode."""

# NumPy types arithmetic on arrays of any dtype as Any
# mypy: disable-error-code="no-any-return"

from collections.abc import Sequence
from math import prod

import numpy as np

from fastconv.reference.geometry import Array, crop

__all__ = [
    "pad",
    "pad_backward",
]


def _padded(x: Array, pad: Sequence[int], mode: str, value: float) -> Array:
    sides = [(0, 0)] * (x.ndim - len(pad) // 2) + list(zip(pad[-2::-2], pad[::-2], strict=True))
    more = [(max(a, 0), max(b, 0)) for a, b in sides]
    fewer = tuple((max(-a, 0), max(-b, 0)) for a, b in sides)
    if mode == "circular":  # goes round what is left
        return np.pad(crop(x, fewer), more, "wrap")
    if mode == "constant":
        return crop(np.pad(x, more, constant_values=value), fewer)
    return crop(np.pad(x, more, "edge" if mode == "replicate" else "reflect"), fewer)


def pad(input: Array, pad: Sequence[int], mode: str = "constant", value: float | None = 0) -> Array:
    """More elements at the ends of the last axes, or, where `pad` is negative, fewer."""
    return _padded(input, pad, mode, value or 0)


def pad_backward(
    grad_output: Array, input_shape: Sequence[int], pad: Sequence[int], mode: str = "constant"
) -> Array:
    """Each element gets the sum over its copies, which are found by padding the elements' numbers.

    The constant's number, -1, is that of one element after all others.
    """
    count = prod(input_shape)
    grad = np.zeros(count + 1, grad_output.dtype)
    np.add.at(grad, _padded(np.arange(count).reshape(input_shape), pad, mode, -1), grad_output)
    return grad[:-1].reshape(input_shape)
