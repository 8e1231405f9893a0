"""Pooling of any number of axes: what the functions of `pooling` are names for."""

# NumPy types arithmetic on arrays of any dtype as Any
# mypy: disable-error-code="no-any-return"

from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastconv.reference.geometry import (
    Array,
    OutputSize,
    Padding,
    Pair,
    Sides,
    crop,
    each_axis,
    pad_with,
    sides_of,
    taps_of,
)


def pool_sides(padding: Padding, size: Sequence[int], *options: tuple[int, ...]) -> Sides:
    """(before, after) of every axis; "same" makes outputs of ceil(size / stride)."""
    kernel, _, dilation = options
    if padding not in ("same", "same_lower"):
        return sides_of(padding, kernel, dilation)
    sides = []
    for n, k, s, d in zip(size, *options, strict=True):
        total = max(0, (-(-n // s) - 1) * s + d * (k - 1) + 1 - n)
        less, more = total // 2, total - total // 2
        sides.append((more, less) if padding == "same_lower" else (less, more))
    return tuple(sides)


class _Windows(NamedTuple):
    """What a pool's options make of a size, each a tuple with one entry for every axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    sides: Sides  # the padding
    reach: Sides  # the padding and what ceil mode overhangs
    output: tuple[int, ...]


def _windows(
    size: Sequence[int],
    kernel_size: Pair,
    stride: Pair | None,
    padding: Padding,
    dilation: Pair,
    ceil_mode: bool,
) -> _Windows:
    ndim = len(size)
    kernel, dilations = each_axis(kernel_size, ndim), each_axis(dilation, ndim)
    strides = kernel if stride is None else each_axis(stride, ndim)
    sides = pool_sides(padding, size, kernel, strides, dilations)
    reach, output = [], []
    for n, k, s, d, (before, after) in zip(size, kernel, strides, dilations, sides, strict=True):
        room = n + before + after - d * (k - 1) - 1
        last = -(-room // s) if ceil_mode else room // s
        if last * s >= n + before:  # only in ceil mode: the window would start past the input
            last -= 1
        output.append(last + 1)
        reach.append((before, after + max(0, last * s - room)))
    return _Windows(kernel, strides, dilations, sides, tuple(reach), tuple(output))


def _running_max(taps: Iterable[tuple[Array, Array]]) -> tuple[Array, Array]:
    """Maximum, and its index, over (value, index) pairs; an index of -1 marks padding.

    A value replaces the best so far if it is larger or NaN, as in PyTorch: the first of equal
    maxima wins, and the last NaN. A window of nothing but padding has maximum -inf and index -1.
    """
    best, where = next(pairs := iter(taps))
    where = np.broadcast_to(where, best.shape)
    for value, index in pairs:
        take = (index >= 0) & ((value > best) | np.isnan(value) | (where < 0))
        best, where = np.where(take, value, best), np.where(take, index, where)
    return best.copy(), where.copy()


def _plane_index(size: Sequence[int]) -> NDArray[np.int64]:
    """The flat index of every pixel of a plane of this size."""
    return np.arange(prod(size), dtype=np.int64).reshape(size)


def _in_planes(indices: Array, plane: int, ndim: int) -> Array:
    """Indices into planes as indices into all of them, one plane after another."""
    planes = prod(indices.shape[:-ndim])
    return indices + plane * np.arange(planes).reshape(*indices.shape[:-ndim], *(1,) * ndim)


def scatter(grad_output: Array, indices: Array, input_shape: Sequence[int], ndim: int) -> Array:
    """Add each output gradient to the input pixel it came from."""
    grad_input = np.zeros(tuple(input_shape), grad_output.dtype)
    at = _in_planes(indices, prod(input_shape[-ndim:]), ndim)
    real = indices >= 0
    np.add.at(grad_input.reshape(-1), at[real], grad_output[real])
    return grad_input


def max_pool(
    ndim: int, input: Array, return_indices: bool, *options: Any
) -> Array | tuple[Array, Array]:
    size = input.shape[-ndim:]
    w = _windows(size, *options)
    values = taps_of(pad_with(input, w.reach, -np.inf), w.kernel, w.stride, w.dilation, w.output)
    if not return_indices:
        return reduce(np.maximum, values).copy()
    plane = pad_with(_plane_index(size), w.reach, -1)
    indices = taps_of(plane, w.kernel, w.stride, w.dilation, w.output)
    return _running_max(zip(values, indices, strict=True))


def _avg_divisor(
    size: Sequence[int], w: _Windows, count_include_pad: bool, divisor_override: int | None
) -> Array:
    """The number each window's sum is divided by: (OH, OW), for two axes.

    Pixels that ceil mode overhangs beyond the padding never count; padding counts if asked to.
    """
    if divisor_override is not None:
        return np.full(w.output, divisor_override)
    counts = []
    for n, k, s, (before, after), o in zip(
        size, w.kernel, w.stride, w.sides, w.output, strict=True
    ):
        start = np.arange(o) * s - before
        low, high = (-before, n + after) if count_include_pad else (0, n)
        counts.append(np.minimum(start + k, high) - np.maximum(start, low))
    return np.maximum(reduce(np.multiply.outer, counts), 1)  # a window of padding alone sums to 0


def avg_pool(
    ndim: int, input: Array, include_pad: bool, divisor_override: int | None, *options: Any
) -> Array:
    size = input.shape[-ndim:]
    w = _windows(size, *options)
    divisor = _avg_divisor(size, w, include_pad, divisor_override)
    taps = taps_of(pad_with(input, w.reach, 0), w.kernel, w.stride, w.dilation, w.output)
    return reduce(np.add, taps) / divisor.astype(input.dtype)


def avg_backward(
    ndim: int,
    grad_output: Array,
    input_shape: Sequence[int],
    include_pad: bool,
    divisor_override: int | None,
    *options: Any,
) -> Array:
    size = input_shape[-ndim:]
    w = _windows(size, *options)
    divisor = _avg_divisor(size, w, include_pad, divisor_override)
    share = grad_output / divisor.astype(grad_output.dtype)
    grad_input = pad_with(np.zeros(tuple(input_shape), grad_output.dtype), w.reach, 0)
    for tap in taps_of(grad_input, w.kernel, w.stride, w.dilation, w.output):
        tap += share
    return crop(grad_input, w.reach)


def _grid(size: Sequence[int], output_size: OutputSize) -> list[list[slice]]:
    """For every axis [floor(i size / output), ceil((i + 1) size / output)) for every i.

    None among the sizes keeps the input's.
    """
    outputs = output_size if isinstance(output_size, Sequence) else (output_size,) * len(size)
    return [
        [slice(i * n // o, -(-(i + 1) * n // o)) for i in range(o)]
        for n, o in ((n, n if o is None else o) for n, o in zip(size, outputs, strict=True))
    ]


def _areas(grid: list[list[slice]]) -> Array:
    """How many pixels each block of the grid has."""
    return reduce(np.multiply.outer, [np.array([s.stop - s.start for s in a]) for a in grid])


def adaptive_avg(ndim: int, input: Array, output_size: OutputSize) -> Array:
    grid = _grid(input.shape[-ndim:], output_size)
    total = input
    for axis, spans in enumerate(grid, -ndim):
        rest: Any = (slice(None),) * (-1 - axis)
        sums = [total[(..., span, *rest)].sum(axis) for span in spans]
        total = np.stack(sums, axis=axis)
    return total / _areas(grid).astype(input.dtype)


def adaptive_avg_backward(ndim: int, grad_output: Array, input_shape: Sequence[int]) -> Array:
    grid = _grid(input_shape[-ndim:], grad_output.shape[-ndim:])
    share = grad_output / _areas(grid).astype(grad_output.dtype)
    grad_input = np.zeros(tuple(input_shape), grad_output.dtype)
    for block in product(*map(enumerate, grid)):
        here: Any = [slice(i, i + 1) for i, _ in block]
        spans: Any = [span for _, span in block]
        grad_input[(..., *spans)] += share[(..., *here)]
    return grad_input


def adaptive_max(
    ndim: int, input: Array, output_size: OutputSize, return_indices: bool
) -> Array | tuple[Array, Array]:
    grid = _grid(input.shape[-ndim:], output_size)
    plane = _plane_index(input.shape[-ndim:])

    def taps() -> Iterator[tuple[Array, Array]]:
        """Like a pool's taps, but a short block visits its last row or column again."""
        for tap in product(*(range(max(s.stop - s.start for s in spans)) for spans in grid)):
            at = np.ix_(
                *(
                    [min(s.start + i, s.stop - 1) for s in spans]
                    for i, spans in zip(tap, grid, strict=True)
                )
            )
            yield input[(..., *at)], plane[at]

    if return_indices:
        return _running_max(taps())
    return reduce(np.maximum, (value for value, _ in taps()))


def _lp_sums(ndim: int, input: Array, norm_type: float, *options: Any) -> Array:
    """Of input ** norm_type; a window that overhangs counts as if it went on with its mean."""
    kernel = _windows(input.shape[-ndim:], *options).kernel
    return avg_pool(ndim, input**norm_type, True, None, *options) * prod(kernel)


def lp_pool(
    ndim: int, input: Array, norm_type: float, kernel: Pair, stride: Pair | None, ceil_mode: bool
) -> Array:
    options = kernel, stride, 0, 1, ceil_mode
    if np.isinf(norm_type):
        sign = np.sign(norm_type)
        return sign * np.asarray(max_pool(ndim, sign * np.abs(input), False, *options))
    with np.errstate(all="ignore"):
        return _lp_sums(ndim, input, norm_type, *options) ** (1 / norm_type)


def lp_backward(
    ndim: int,
    grad_output: Array,
    input: Array,
    norm_type: float,
    kernel: Pair,
    stride: Pair | None,
    ceil_mode: bool,
) -> Array:
    options = kernel, stride, 0, 1, ceil_mode
    if np.isinf(norm_type):
        magnitudes = np.sign(norm_type) * np.abs(input)
        _, indices = max_pool(ndim, magnitudes, True, *options)
        return scatter(grad_output, indices, input.shape, ndim) * np.sign(input)
    with np.errstate(all="ignore"):
        sums = _lp_sums(ndim, input, norm_type, *options)
        share = np.where(sums == 0, 0, grad_output * sums ** (1 / norm_type - 1))
        taps = prod(_windows(input.shape[-ndim:], *options).kernel)
        spread = avg_backward(ndim, share * taps, input.shape, True, None, *options)
        return spread * input ** (norm_type - 1)


def unpool(
    ndim: int,
    input: Array,
    indices: Array,
    kernel_size: Pair,
    stride: Pair | None,
    padding: Pair,
    output_size: Sequence[int] | None,
) -> Array:
    """The last of the elements for one place is there."""
    kernel = each_axis(kernel_size, ndim)
    size: Sequence[int] = [
        (n - 1) * s - 2 * p + k
        for n, k, s, p in zip(
            input.shape[-ndim:],
            kernel,
            kernel if stride is None else each_axis(stride, ndim),
            each_axis(padding, ndim),
            strict=True,
        )
    ]
    if output_size is not None:
        size = output_size[-ndim:]
    output = np.zeros((*input.shape[:-ndim], *size), input.dtype)
    flat = output.reshape(-1)
    for at, index, value in zip(
        _in_planes(indices, prod(size), ndim).flat, indices.flat, input.flat, strict=True
    ):
        if index >= 0:
            flat[at] = value
    return output


def unpool_backward(ndim: int, grad_output: Array, indices: Array) -> Array:
    at = _in_planes(indices, prod(grad_output.shape[-ndim:]), ndim)
    return np.where(indices < 0, 0, grad_output.reshape(-1)[np.maximum(at, 0)])
