"""Transposed convolution of any number of axes, and its gradients.

It is the adjoint of a convolution, so each of its passes is one of that convolution's, with another
operand for the unknown: `shape` is the convolution, whose input is the output here.
"""

from __future__ import annotations

from typing import Any

from fastconv import _ops
from fastconv._buffers import empty
from fastconv._geometry import transposed_convolution
from fastconv._ops import PackedTransposedWeight
from fastconv.functional._check import (
    Array,
    as_array,
    as_batch,
    as_shape,
    check_out,
    check_shape,
    is_relu,
    same_dtype,
)
from fastconv.functional._conv import place


def conv_transpose(
    ndim: int,
    input: Array,
    weight: Array | PackedTransposedWeight,
    bias: Array | None,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
    activation: str | None,
    algorithm: str,
    out: Array | None,
) -> Array:
    x = as_array("input", input, (ndim + 1, ndim + 2))
    w: Any
    if type(weight) is PackedTransposedWeight:
        w, memory = weight, None
        weight.check(stride, groups, dilation)
    else:
        w = memory = as_array("weight", weight, ndim + 2)
    b = None if bias is None else as_array("bias", bias)
    same_dtype(input=x, weight=w, bias=b)
    relu = is_relu(activation)
    x, batched = as_batch(x, ndim)
    shape = transposed_convolution(
        x.shape, w.shape, stride, padding, output_padding, groups, dilation
    )
    if b is not None:
        check_shape("bias", b, shape.input_shape[1:2])
        if not b.flags.c_contiguous:
            b = b.copy()
    y = place(out, x, shape.input_shape, batched, input=x, weight=memory, bias=b)
    _ops.conv_transpose(x, w, b, y, shape, relu=relu, algorithm=algorithm)
    if out is not None:
        return out
    return y if batched else y[0]


def backward_input(
    ndim: int,
    grad_output: Array,
    weight: Array | PackedTransposedWeight,
    input_shape: tuple[int, ...],
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
    algorithm: str,
    out: Array | None,
) -> Array:
    dy = as_array("grad_output", grad_output, (ndim + 1, ndim + 2))
    if type(weight) is PackedTransposedWeight:
        raise TypeError(f"weight must be an array for a gradient, got {weight!r}")
    w = as_array("weight", weight, ndim + 2)
    same_dtype(grad_output=dy, weight=w)
    sizes, batched = as_shape("input_shape", input_shape, ndim)
    shape = transposed_convolution(
        sizes,
        w.shape,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
        input_name="input_shape",
    )
    check_shape("grad_output", dy, shape.input_shape if batched else shape.input_shape[1:])
    dy, _ = as_batch(dy, ndim)
    dx = place(out, dy, shape.output_shape, batched, grad_output=dy, weight=w)
    _ops.conv(dy, w, None, dx, shape, algorithm=algorithm)
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
    output_padding: Any,
    groups: int,
    dilation: Any,
    algorithm: str,
    out: Array | None,
) -> Array:
    dy = as_array("grad_output", grad_output, (ndim + 1, ndim + 2))
    x = as_array("input", input, (ndim + 1, ndim + 2))
    dtype = same_dtype(grad_output=dy, input=x)
    x, batched = as_batch(x, ndim)
    shape = transposed_convolution(
        x.shape,
        weight_shape,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
        weight_name="weight_shape",
    )
    check_shape("grad_output", dy, shape.input_shape if batched else shape.input_shape[1:])
    dy, _ = as_batch(dy, ndim)
    if out is None:
        out = empty(shape.weight_shape, dtype)
    else:
        check_out(out, shape.weight_shape, dtype, grad_output=dy, input=x)
    _ops.conv_backward_weight(x, dy, out, shape, algorithm=algorithm)
    return out
