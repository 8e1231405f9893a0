"""Arrays made of several arrays, and several made of one."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv.reference.geometry import Array

__all__ = [
    "concatenate",
    "concatenate_backward",
    "split",
    "stack",
    "stack_backward",
    "where",
    "where_backward",
]


def concatenate(arrays: Sequence[Array], axis: int = 0) -> Array:
    """Arrays one after the other along an axis that they have."""
    return np.concatenate(arrays, axis)


def concatenate_backward(
    grad_output: Array, input_shapes: Sequence[tuple[int, ...]], axis: int = 0
) -> list[Array]:
    """Every array's part of g."""
    return split(grad_output, [shape[axis] for shape in input_shapes], axis)


def stack(arrays: Sequence[Array], axis: int = 0) -> Array:
    """Arrays one after the other along a new axis."""
    return np.stack(arrays, axis)


def stack_backward(grad_output: Array, axis: int = 0) -> list[Array]:
    """The i-th array's is g at i along the axis."""
    return [np.take(grad_output, i, axis) for i in range(grad_output.shape[axis])]


def split(input: Array, sections: int | Sequence[int], axis: int = 0) -> list[Array]:
    """So many equal parts along an axis, or parts of these sizes."""
    if isinstance(sections, Sequence):
        return np.split(input, list(accumulate(sections))[:-1], axis) if sections else []
    return np.split(input, sections, axis)


def where(condition: NDArray[np.bool_], input: Array, other: Array) -> Array:
    """input where the condition holds, else other; broadcast."""
    return np.where(condition, input, other)


def where_backward(
    grad_output: Array,
    condition: NDArray[np.bool_],
    input_shape: tuple[int, ...],
    other_shape: tuple[int, ...],
) -> tuple[Array, Array]:
    """(g where the condition holds, g elsewhere), summed over what was repeated."""
    return (
        _summed(np.where(condition, grad_output, 0), input_shape),
        _summed(np.where(condition, 0, grad_output), other_shape),
    )


def _summed(grad: Array, shape: tuple[int, ...]) -> Any:
    grad = grad.sum(tuple(range(grad.ndim - len(shape))))
    repeated = [i for i, n in enumerate(shape) if n == 1 != grad.shape[i]]
    return grad.sum(tuple(repeated), keepdims=True)
