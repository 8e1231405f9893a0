"""Convolution of one, two and three axes, and transposed convolution."""

# NumPy types arithmetic on arrays of any dtype as Any
# mypy: disable-error-code="no-any-return"

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from fastconv.reference.activation import relu
from fastconv.reference.geometry import (
    Array,
    Padding,
    Pair,
    crop,
    each_axis,
    pad_with,
    sides_of,
    taps_of,
)

__all__ = [
    "conv1d",
    "conv1d_backward_bias",
    "conv1d_backward_input",
    "conv1d_backward_weight",
    "conv2d",
    "conv2d_backward_bias",
    "conv2d_backward_input",
    "conv2d_backward_weight",
    "conv2d_naive",
    "conv2d_naive_backward",
    "conv3d",
    "conv3d_backward_bias",
    "conv3d_backward_input",
    "conv3d_backward_weight",
    "conv_transpose1d",
    "conv_transpose1d_backward_bias",
    "conv_transpose1d_backward_input",
    "conv_transpose1d_backward_weight",
    "conv_transpose2d",
    "conv_transpose2d_backward_bias",
    "conv_transpose2d_backward_input",
    "conv_transpose2d_backward_weight",
    "conv_transpose3d",
    "conv_transpose3d_backward_bias",
    "conv_transpose3d_backward_input",
    "conv_transpose3d_backward_weight",
]


def _columns(
    x: Array, kernel: Sequence[int], stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> Array:
    """The patch under every output pixel: a view (N, G, C/G, KH, KW, OH, OW) of the padded x."""
    axes = len(kernel)
    strides, dilations = each_axis(stride, axes), each_axis(dilation, axes)
    extent = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
    padded = pad_with(x, sides_of(padding, kernel, dilation), 0)
    windows = sliding_window_view(padded, extent, axis=tuple(range(2, 2 + axes)))
    steps: Any = [slice(None, None, step) for step in (1, 1, *strides, *dilations)]
    windows = windows[tuple(steps)]
    n, c, *rest = windows.shape
    windows = windows.reshape(n, groups, c // groups, *rest)
    return np.moveaxis(windows, range(3, 3 + axes), range(-axes, 0))


def conv2d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    activation: str | None = None,
) -> Array:
    """output = weight * columns(input) + bias, a matrix product per image and group."""
    if activation is not None:
        return relu(conv2d(input, weight, bias, stride, padding, dilation, groups))
    if input.ndim < weight.ndim:
        return conv2d(input[None], weight, bias, stride, padding, dilation, groups)[0]
    columns = _columns(input, weight.shape[2:], stride, padding, dilation, groups)
    n, size = len(columns), columns.shape[weight.ndim + 1 :]
    o, taps = weight.shape[0], weight[0].size
    columns = columns.reshape(n, groups, taps, prod(size))
    output = weight.reshape(groups, o // groups, taps) @ columns
    output = output.reshape(n, o, prod(size))
    output = output if bias is None else output + bias[:, None]
    return output.reshape(n, o, *size)


def conv2d_backward_input(
    grad_output: Array,
    weight: Array,
    input_shape: Sequence[int],
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Array:
    """Columns' gradient = weight transposed * grad_output, added back where each column came from.

    That is the transposed convolution: each output pixel stamps the kernel, scaled, on the input.
    """
    if grad_output.ndim < weight.ndim:
        return conv2d_backward_input(
            grad_output[None], weight, (1, *input_shape), stride, padding, dilation, groups
        )[0]
    n, o, *size = grad_output.shape
    kernel, taps = weight.shape[2:], weight[0].size
    w = weight.reshape(groups, o // groups, taps).swapaxes(1, 2)  # (G, C/G KH KW, O/G)
    g = grad_output.reshape(n, groups, o // groups, prod(size))
    columns = w * g if o == groups else w @ g  # one output channel: broadcasting is the product
    columns = columns.reshape(n, input_shape[1], prod(kernel), *size)
    sides = sides_of(padding, kernel, dilation)
    grad_input = pad_with(np.zeros(input_shape, grad_output.dtype), sides, 0)
    for k, tap in enumerate(taps_of(grad_input, kernel, stride, dilation, size)):
        tap += columns[:, :, k]
    return crop(grad_input, sides)


def conv2d_backward_weight(
    grad_output: Array,
    input: Array,
    weight_shape: Sequence[int],
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Array:
    """grad_weight = grad_output * columns(input) transposed: one product over images and pixels."""
    axes = len(weight_shape) - 2
    if input.ndim < len(weight_shape):
        grad_output, input = grad_output[None], input[None]
    n, o, *size = grad_output.shape
    columns = _columns(input, weight_shape[2:], stride, padding, dilation, groups)
    columns = np.moveaxis(columns, 0, -1 - axes)
    columns = columns.reshape(groups, prod(weight_shape[1:]), n * prod(size))
    g = grad_output.reshape(n, groups, o // groups, prod(size)).transpose(1, 2, 0, 3)
    grad_weight = g.reshape(groups, o // groups, n * prod(size)) @ columns.swapaxes(1, 2)
    return grad_weight.reshape(weight_shape)


def conv2d_backward_bias(grad_output: Array) -> Array:
    """grad_bias[o] = sum of grad_output over images and pixels."""
    return grad_output.sum(axis=(-2, -1) if grad_output.ndim == 3 else (0, 2, 3))


def conv1d_backward_bias(grad_output: Array) -> Array:
    """grad_bias[o] = sum of grad_output over sequences and positions."""
    return grad_output.sum(axis=-1 if grad_output.ndim == 2 else (0, 2))


def conv3d_backward_bias(grad_output: Array) -> Array:
    """grad_bias[o] = sum of grad_output over volumes and voxels."""
    return grad_output.sum(axis=(-3, -2, -1) if grad_output.ndim == 4 else (0, 2, 3, 4))


# The kernel says how many axes there are: what stands above is right for one and three too.
conv1d = conv3d = conv2d
conv1d_backward_input = conv3d_backward_input = conv2d_backward_input
conv1d_backward_weight = conv3d_backward_weight = conv2d_backward_weight


def conv_transpose2d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Pair = 1,
    padding: Padding = 0,
    output_padding: Pair = 0,
    groups: int = 1,
    dilation: Pair = 1,
    *,
    activation: str | None = None,
) -> Array:
    """The adjoint of conv2d(., weight): its gradient with respect to its input; plus bias."""
    axes = weight.ndim - 2
    kernel, strides = weight.shape[2:], each_axis(stride, axes)
    sides = sides_of(padding, kernel, dilation)
    rows = zip(
        input.shape[-axes:], kernel, strides, each_axis(dilation, axes), sides,
        each_axis(output_padding, axes), strict=True,
    )  # fmt: skip
    size = [(n - 1) * s - sum(pad) + d * (k - 1) + extra + 1 for n, k, s, d, pad, extra in rows]
    shape = (*input.shape[: -axes - 1], weight.shape[1] * groups, *size)
    output = conv2d_backward_input(input, weight, shape, stride, padding, dilation, groups)
    if bias is not None:
        output = output + bias.reshape(-1, *[1] * axes)
    return output if activation is None else relu(output)


def conv_transpose2d_backward_input(
    grad_output: Array,
    weight: Array,
    input_shape: Sequence[int],
    stride: Pair = 1,
    padding: Padding = 0,
    output_padding: Pair = 0,
    groups: int = 1,
    dilation: Pair = 1,
) -> Array:
    """The adjoint of an adjoint: conv2d of grad_output."""
    grad_input = conv2d(grad_output, weight, None, stride, padding, dilation, groups)
    return grad_input[tuple(slice(size) for size in input_shape)]


def conv_transpose2d_backward_weight(
    grad_output: Array,
    input: Array,
    weight_shape: Sequence[int],
    stride: Pair = 1,
    padding: Padding = 0,
    output_padding: Pair = 0,
    groups: int = 1,
    dilation: Pair = 1,
) -> Array:
    """conv2d's, whose input is what was output here, with the two operands exchanged.

    An output_padding of a stride or more makes room for further outputs of that convolution.
    """
    axes = len(weight_shape) - 2
    pairs = zip(each_axis(output_padding, axes), each_axis(stride, axes), strict=True)
    input = pad_with(input, tuple((0, extra // s) for extra, s in pairs), 0)
    return conv2d_backward_weight(
        input, grad_output, weight_shape, stride, padding, dilation, groups
    )


conv_transpose2d_backward_bias = conv2d_backward_bias
conv_transpose1d_backward_bias = conv1d_backward_bias
conv_transpose3d_backward_bias = conv3d_backward_bias

conv_transpose1d = conv_transpose3d = conv_transpose2d
conv_transpose1d_backward_input = conv_transpose3d_backward_input = conv_transpose2d_backward_input
conv_transpose1d_backward_weight = conv_transpose2d_backward_weight
conv_transpose3d_backward_weight = conv_transpose2d_backward_weight


def conv2d_naive(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Array:
    """`conv2d` of a batch as its definition, one multiplication at a time."""
    (sh, sw), (dh, dw) = each_axis(stride, 2), each_axis(dilation, 2)
    n_out, c_group, kh, kw = weight.shape
    x = pad_with(input, sides_of(padding, (kh, kw), dilation), 0)
    oh = (x.shape[2] - dh * (kh - 1) - 1) // sh + 1
    ow = (x.shape[3] - dw * (kw - 1) - 1) // sw + 1
    output = np.zeros((len(x), n_out, oh, ow), input.dtype)
    for n, o, y, z in np.ndindex(output.shape):
        first = o // (n_out // groups) * c_group  # first input channel of this group
        for c, i, j in np.ndindex(c_group, kh, kw):
            pixel = x[n, first + c, y * sh + i * dh, z * sw + j * dw]
            output[n, o, y, z] += weight[o, c, i, j] * pixel
        if bias is not None:
            output[n, o, y, z] += bias[o]
    return output


def conv2d_naive_backward(
    grad_output: Array,
    input: Array,
    weight: Array,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> tuple[Array, Array, Array]:
    """(grad_input, grad_weight, grad_bias) of a batch.

    Forward did ``output += weight * pixel``. So backward, over the same loop, hands ``grad_output *
    weight`` to the pixel and ``grad_output * pixel`` to the weight.
    """
    (sh, sw), (dh, dw) = each_axis(stride, 2), each_axis(dilation, 2)
    n_out, c_group, kh, kw = weight.shape
    sides = sides_of(padding, (kh, kw), dilation)
    x = pad_with(input, sides, 0)
    grad_x, grad_weight = np.zeros_like(x), np.zeros_like(weight)
    grad_bias = np.zeros(n_out, weight.dtype)
    for n, o, y, z in np.ndindex(grad_output.shape):
        g = grad_output[n, o, y, z]
        first = o // (n_out // groups) * c_group
        for c, i, j in np.ndindex(c_group, kh, kw):
            where = n, first + c, y * sh + i * dh, z * sw + j * dw
            grad_x[where] += g * weight[o, c, i, j]
            grad_weight[o, c, i, j] += g * x[where]
        grad_bias[o] += g
    return crop(grad_x, sides), grad_weight, grad_bias
