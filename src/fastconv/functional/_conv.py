"""Convolution of any number of axes, and its gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv import _ops
from fastconv._buffers import empty
from fastconv._geometry import convolution
from fastconv._ops import PackedWeight
from fastconv.functional import _fft
from fastconv.functional._check import (
    Array,
    as_array,
    as_batch,
    as_shape,
    check_out,
    check_shape,
    empty_like_format,
    is_relu,
    same_dtype,
)


def place(
    out: Array | None, like: Array, shape: tuple[int, ...], batched: bool, **operands: Array | None
) -> Array:
    """Where a result of images goes: `out`, or new memory in the format of `like`."""
    if out is None:
        return empty_like_format(like, shape)
    expected = shape if batched else shape[1:]
    return as_batch(check_out(out, expected, like.dtype, **operands), len(shape) - 2)[0]


def conv(
    ndim: int,
    input: Array,
    weight: Array | PackedWeight,
    bias: Array | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    activation: str | None,
    algorithm: str,
    out: Array | None,
) -> Array:
    x = as_array("input", input, (ndim + 1, ndim + 2))
    w: Any
    if type(weight) is PackedWeight:
        w, memory = weight, None
        if weight.groups != groups:
            raise ValueError(f"groups={groups!r}, but weight was packed for {weight.groups}")
    else:
        w = memory = as_array("weight", weight, ndim + 2)
    b = None if bias is None else as_array("bias", bias)
    dtype = x.dtype
    if w.dtype is not dtype or (b is not None and b.dtype is not dtype):
        same_dtype(input=x, weight=w, bias=b)
    relu = is_relu(activation)
    x, batched = as_batch(x, ndim)
    shape = convolution(x.shape, w.shape, stride, padding, dilation, groups)
    if b is not None:
        check_shape("bias", b, shape.weight_shape[:1])
        if not b.flags.c_contiguous:
            b = b.copy()
    y = place(out, x, shape.output_shape, batched, input=x, weight=memory, bias=b)
    if memory is not None and _fft.is_chosen(algorithm, shape, "forward"):
        _fft.forward(x, memory, b, y, shape, relu)
    else:
        _ops.conv(x, w, b, y, shape, relu=relu, algorithm=algorithm)
    if out is not None:
        return out
    return y if batched else y[0]


def backward_input(
    ndim: int,
    grad_output: Array,
    weight: Array | PackedWeight,
    input_shape: tuple[int, ...],
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    algorithm: str,
    out: Array | None,
) -> Array:
    dy = as_array("grad_output", grad_output, (ndim + 1, ndim + 2))
    if type(weight) is PackedWeight:
        raise TypeError(f"weight must be an array for a gradient, got {weight!r}")
    w = as_array("weight", weight, ndim + 2)
    dtype = dy.dtype
    if w.dtype is not dtype:
        same_dtype(grad_output=dy, weight=w)
    sizes, batched = as_shape("input_shape", input_shape, ndim)
    shape = convolution(sizes, w.shape, stride, padding, dilation, groups, input_name="input_shape")
    check_shape("grad_output", dy, shape.output_shape if batched else shape.output_shape[1:])
    dy, _ = as_batch(dy, ndim)
    dx = place(out, dy, shape.input_shape, batched, grad_output=dy, weight=w)
    if _fft.is_chosen(algorithm, shape, "input"):
        _fft.backward_input(dy, w, dx, shape)
    else:
        _ops.conv_backward_input(dy, w, dx, shape, algorithm=algorithm)
    if out is not None:
        return out
    return dx if batched else dx[0]


def backward_weight(
    ndim: int,
    grad_output: Array,
    input: Array,
    weight_shape: tuple[int, ...],
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    algorithm: str,
    out: Array | None,
) -> Array:
    dy = as_array("grad_output", grad_output, (ndim + 1, ndim + 2))
    x = as_array("input", input, (ndim + 1, ndim + 2))
    dtype = dy.dtype
    if x.dtype is not dtype:
        same_dtype(grad_output=dy, input=x)
    x, batched = as_batch(x, ndim)
    shape = convolution(
        x.shape, weight_shape, stride, padding, dilation, groups, weight_name="weight_shape"
    )
    check_shape("grad_output", dy, shape.output_shape if batched else shape.output_shape[1:])
    dy, _ = as_batch(dy, ndim)
    if out is None:
        out = empty(shape.weight_shape, dtype)
    else:
        check_out(out, shape.weight_shape, dtype, grad_output=dy, input=x)
    if _fft.is_chosen(algorithm, shape, "weight"):
        _fft.backward_weight(dy, x, out, shape)
    else:
        _ops.conv_backward_weight(dy, x, out, shape, algorithm=algorithm)
    return out


def backward_bias(ndim: int, grad_output: Array) -> Array:
    dy, _ = as_batch(as_array("grad_output", grad_output, (ndim + 1, ndim + 2)), ndim)
    if not (dy.flags.c_contiguous or dy.transpose(0, *range(2, dy.ndim), 1).flags.c_contiguous):
        dy = np.ascontiguousarray(dy)
    grad_bias = np.empty(dy.shape[1], dy.dtype)
    _ops.conv_backward_bias(dy, grad_bias)
    return grad_bias
