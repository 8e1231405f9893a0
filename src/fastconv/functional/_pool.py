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
from fastconv.functional._check import (
    Array,
    as_array,
    as_batch,
    as_shape,
    check_shape,
    empty_like_format,
)
from fastconv.functional._options import check_divisor

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
    idx = to_array("indices", indices)
    if idx.dtype != np.int64:
        raise TypeError(f"indices must be int64, got {idx.dtype}")
    sizes, batched = as_shape("input_shape", input_shape, ndim)
    check_shape("indices", idx, dy.shape)
    if dy.ndim != ndim + 1 + batched or dy.shape[:-ndim] != sizes[-dy.ndim : -ndim]:
        raise ValueError(
            f"grad_output of shape {dy.shape} does not match input_shape {input_shape}"
        )
    shape = adaptive_pooling(sizes, dy.shape[-ndim:], input_name="input_shape")
    dy, _ = as_batch(dy, ndim)
    at, _ = as_batch(idx, ndim)
    dx = empty_like_format(at, sizes, dy.dtype)
    try:
        _ops.max_pool_backward(dy, at, dx, shape)
    except IndexError:
        plane = math.prod(sizes[2:])
        wrong = idx[(idx < -1) | (idx >= plane)][0]
        raise ValueError(
            f"indices must lie in a plane of {plane} elements, got {wrong} "
            f"(input_shape {input_shape})"
        ) from None
    return dx if batched else dx[0]


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
    sizes, batched = as_shape("input_shape", input_shape, ndim)
    shape = geometry(sizes, *options, input_name="input_shape")
    check_shape("grad_output", dy, shape.output_shape if batched else shape.output_shape[1:])
    dy, _ = as_batch(dy, ndim)
    dx = empty_like_format(dy, shape.input_shape)
    divisor = check_divisor(divisor_override) or 0
    _ops.avg_pool_backward(
        dy, dx, shape, count_include_pad=count_include_pad, divisor_override=divisor
    )
    return dx if batched else dx[0]
