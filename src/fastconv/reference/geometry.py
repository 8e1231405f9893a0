"""Options of one, two or three axes, as many as a kernel has, and what a window touches."""

# NumPy types arithmetic on arrays of any dtype as Any
# mypy: disable-error-code="no-any-return"

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Pair = int | Sequence[int]
OutputSize = int | Sequence[int | None]
Padding = int | str | Sequence[int] | Sequence[Sequence[int]]
Sides = tuple[tuple[int, int], ...]  # (before, after) for each axis


def each_axis(value: Pair, axes: int) -> tuple[int, ...]:
    """An option of every axis; one number stands for all of them."""
    return tuple(value) if isinstance(value, Sequence) else (value,) * axes


def sides_of(padding: Padding, kernel: Sequence[int], dilation: Pair) -> Sides:
    """Padding in any accepted form as (before, after) for each axis."""
    axes = len(kernel)
    if padding == "same":  # the odd one goes at the end
        totals = [d * (k - 1) for k, d in zip(kernel, each_axis(dilation, axes), strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    flat = [0] if isinstance(padding, str) else [int(p) for p in np.ravel(padding)]  # "valid"
    if len(flat) < 2 * axes:  # the same before and after
        flat = [p for p in each_axis(flat if len(flat) > 1 else flat[0], axes) for _ in range(2)]
    return tuple(zip(flat[::2], flat[1::2], strict=True))


def pad_with(x: Array, sides: Sides, value: float) -> Array:
    if not np.any(sides):
        return x
    return np.pad(x, [(0, 0)] * (x.ndim - len(sides)) + list(sides), constant_values=value)


def crop(x: Array, sides: Sides) -> Array:
    sizes = x.shape[-len(sides) :]
    inside: Any = [slice(a, n - b) for n, (a, b) in zip(sizes, sides, strict=True)]
    return x[(..., *inside)]


def taps_of(
    padded: Array, kernel: Sequence[int], stride: Pair, dilation: Pair, output: Sequence[int]
) -> Iterator[Array]:
    """For each kernel position in turn, a view of what it touches: (..., OD, OH, OW)."""
    axes = len(kernel)
    strides, dilations = each_axis(stride, axes), each_axis(dilation, axes)
    for position in np.ndindex(*kernel):
        rows = zip(position, strides, dilations, output, strict=True)
        touched: Any = [slice(i * d, i * d + s * (o - 1) + 1, s) for i, s, d, o in rows]
        yield padded[(..., *touched)]
