"""Pooling of any number of axes.

`geometry` is `_geometry.pooling` or `adaptive_pooling`, and `options` what it takes after a shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv import _ops
from fastconv._arguments import to_array
from fastconv._geometry import Pooling, adaptive_pooling
from fastconv._geometry_options import per_axis, unpooled_size
from fastconv.functional._check import (
    Array,
    as_array,
    as_batch,
    as_shape,
    check_shape,
    empty_like_format,
    same_dtype,
)
from fastconv.functional._options import check_divisor, check_norm_type

Single = int | tuple[int]
Pair = int | tuple[int, int]
Triple = int | tuple[int, int, int]
#: of every axis alike, of each, two sides of each in their order or as pairs, or by name
Padding = int | str | tuple[int, ...] | tuple[tuple[int, int], ...]

Geometry = Callable[..., Pooling]


def max_pool(
    ndim: int, input: Array, return_indices: bool, geometry: Geometry, *options: Any
) -> Array | tuple[Array, Array]:
    x, batched = as_batch(as_array("input", input, (ndim + 1, ndim + 2)), ndim)
    shape = geometry(x.shape, *options)
    y = empty_like_format(x, shape.output_shape)
    indices = empty_like_format(x, shape.output_shape, np.int64) if return_indices else None
    _ops.max_pool(x, y, indices, shape)
    if not batched:
        y = y[0]
        indices = indices if indices is None else indices[0]
    return y if indices is None else (y, indices)


def max_backward(
    ndim: int, grad_output: Array, indices: Array, input_shape: tuple[int, ...]
) -> Array:
    dy = as_array("grad_output", grad_output, (ndim + 1, ndim + 2))
    idx = as_indices(indices)
    shape, batched = as_shape("input_shape", input_shape, ndim)
    check_shape("indices", idx, dy.shape)
    if dy.ndim != ndim + 1 + batched or dy.shape[:-ndim] != shape[-dy.ndim : -ndim]:
        raise ValueError(
            f"grad_output of shape {dy.shape} does not match input_shape {input_shape}"
        )
    geometry = adaptive_pooling(shape, dy.shape[-ndim:], input_name="input_shape")
    dy, _ = as_batch(dy, ndim)
    at, _ = as_batch(idx, ndim)
    dx = empty_like_format(at, shape, dy.dtype)
    try:
        _ops.max_pool_backward(dy, at, dx, geometry)
    except IndexError:
        raise outside(idx, shape, f"input_shape {input_shape}") from None
    return dx if batched else dx[0]


def as_indices(indices: object) -> Array:
    idx = to_array("indices", indices)
    if idx.dtype != np.int64:
        raise TypeError(f"indices must be int64, got {idx.dtype}")
    return idx


def outside(indices: Array, shape: tuple[int, ...], where: str) -> ValueError:
    """The error of indices, some of which lie outside a plane of `shape`."""
    plane = math.prod(shape[2:])
    wrong = indices[(indices < -1) | (indices >= plane)][0]
    return ValueError(f"indices must lie in a plane of {plane} elements, got {wrong} ({where})")


def avg_pool(
    ndim: int,
    input: Array,
    count_include_pad: bool,
    divisor_override: int | None,
    geometry: Geometry,
    *options: Any,
) -> Array:
    x, batched = as_batch(as_array("input", input, (ndim + 1, ndim + 2)), ndim)
    shape = geometry(x.shape, *options)
    y = empty_like_format(x, shape.output_shape)
    divisor = check_divisor(divisor_override) or 0
    _ops.avg_pool(x, y, shape, count_include_pad=count_include_pad, divisor_override=divisor)
    return y if batched else y[0]


def avg_backward(
    ndim: int,
    grad_output: Array,
    input_shape: tuple[int, ...],
    count_include_pad: bool,
    divisor_override: int | None,
    geometry: Geometry,
    *options: Any,
) -> Array:
    dy = as_array("grad_output", grad_output, (ndim + 1, ndim + 2))
    shape_of_x, batched = as_shape("input_shape", input_shape, ndim)
    shape = geometry(shape_of_x, *options, input_name="input_shape")
    check_shape("grad_output", dy, shape.output_shape if batched else shape.output_shape[1:])
    dy, _ = as_batch(dy, ndim)
    dx = empty_like_format(dy, shape.input_shape)
    divisor = check_divisor(divisor_override) or 0
    _ops.avg_pool_backward(
        dy, dx, shape, count_include_pad=count_include_pad, divisor_override=divisor
    )
    return dx if batched else dx[0]


def adaptive_avg_backward(ndim: int, grad_output: Array, input_shape: tuple[int, ...]) -> Array:
    dy = as_array("grad_output", grad_output, (ndim + 1, ndim + 2))
    size = dy.shape[-ndim:]
    return avg_backward(ndim, dy, input_shape, True, None, adaptive_pooling, size)


# ---- p-norms: powers, averages and roots, so that windows are an average's

#: what a geometry's options are after the stride, as torch has them for `lp_pool2d`
_NO_PADDING = 0, 1


def _taps(ndim: int, kernel_size: object) -> int:
    return math.prod(per_axis("kernel_size", kernel_size, ndim))


def lp_pool(
    ndim: int,
    input: Array,
    norm_type: float,
    geometry: Geometry,
    kernel_size: Any,
    stride: Any,
    ceil_mode: bool,
) -> Array:
    p = check_norm_type(norm_type)
    x = as_array("input", input, (ndim + 1, ndim + 2))
    options = kernel_size, stride, *_NO_PADDING, ceil_mode
    if math.isinf(p):
        sign = x.dtype.type(math.copysign(1, p))
        largest = max_pool(ndim, sign * np.abs(x), False, geometry, *options)
        assert not isinstance(largest, tuple)
        largest *= sign
        return largest
    with np.errstate(all="ignore"):  # infinity and NaN are answers
        return _root(_sums(ndim, x, p, geometry, options), p)


def lp_backward(
    ndim: int,
    grad_output: Array,
    input: Array,
    norm_type: float,
    geometry: Geometry,
    kernel_size: Any,
    stride: Any,
    ceil_mode: bool,
) -> Array:
    p = check_norm_type(norm_type)
    x = as_array("input", input, (ndim + 1, ndim + 2))
    dy = as_array("grad_output", grad_output, x.ndim)
    same_dtype(grad_output=dy, input=x)
    options = kernel_size, stride, *_NO_PADDING, ceil_mode
    if math.isinf(p):
        sign = x.dtype.type(math.copysign(1, p))
        _, indices = max_pool(ndim, sign * np.abs(x), True, geometry, *options)
        routed: Array = max_backward(ndim, dy, indices, x.shape) * np.sign(x)
        return routed
    with np.errstate(all="ignore"):
        sums = _sums(ndim, x, p, geometry, options)
        check_shape("grad_output", dy, sums.shape)
        # d sums ** (1 / p) = sums ** (1 / p - 1) / p, and the p meets that of d x ** p
        dy = dy * np.where(sums == 0, 0, _power(sums, 1 / p - 1) * _taps(ndim, kernel_size))
        dy = dy.astype(x.dtype, copy=False)
        dx = avg_backward(ndim, dy, x.shape, True, None, geometry, *options)
        dx *= _power(x, p - 1)
        return dx


def _sums(ndim: int, x: Array, p: float, geometry: Geometry, options: tuple[Any, ...]) -> Array:
    """Of x ** p: means, as many times as the kernel has taps."""
    means = avg_pool(ndim, _power(x, p), True, None, geometry, *options)
    means *= means.dtype.type(_taps(ndim, options[0]))
    return means


def _power(x: Array, p: float) -> Array:
    if p == 1:
        return x
    if p == 2:
        return x * x
    powers: Array = x ** x.dtype.type(p)
    return powers


def _root(x: Array, p: float) -> Array:
    return np.sqrt(x, out=x) if p == 2 else _power(x, 1 / p)


# ---- unpooling


def max_unpool(
    ndim: int,
    input: Array,
    indices: Array,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    output_size: Any,
) -> Array:
    x = as_array("input", input, (ndim + 1, ndim + 2))
    idx = as_indices(indices)
    check_shape("indices", idx, x.shape)
    out = unpooled_size(x.shape[-ndim:], kernel_size, stride, padding, output_size)
    x, batched = as_batch(x, ndim)
    at, _ = as_batch(idx, ndim)
    shape = (*x.shape[:2], *out)
    geometry = adaptive_pooling(shape, x.shape[2:], input_name="output_size")
    y = empty_like_format(at, shape, x.dtype)
    try:
        _ops.max_unpool(x, at, y, geometry)
    except IndexError:
        raise outside(idx, shape, f"output of shape {shape}") from None
    return y if batched else y[0]


def unpool_backward(ndim: int, grad_output: Array, indices: Array) -> Array:
    dy = as_array("grad_output", grad_output, (ndim + 1, ndim + 2))
    idx = as_indices(indices)
    if idx.shape[:-ndim] != dy.shape[:-ndim] or idx.ndim != dy.ndim:
        raise ValueError(
            f"indices of shape {idx.shape} do not match grad_output of shape {dy.shape}"
        )
    dy, batched = as_batch(dy, ndim)
    at, _ = as_batch(idx, ndim)
    geometry = adaptive_pooling(dy.shape, at.shape[2:], input_name="grad_output")
    if not (dy.flags.c_contiguous or dy.transpose(0, *range(2, dy.ndim), 1).flags.c_contiguous):
        dy = np.ascontiguousarray(dy)
    dx = empty_like_format(at, at.shape, dy.dtype)
    try:
        _ops.max_unpool_backward(dy, at, dx, geometry)
    except IndexError:
        raise outside(idx, dy.shape, f"grad_output of shape {dy.shape}") from None
    return dx if batched else dx[0]
