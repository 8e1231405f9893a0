"""Pooling of one, two and three axes."""

# NumPy types arithmetic on arrays of any dtype as Any
# mypy: disable-error-code="no-any-return"

from collections.abc import Sequence
from math import prod

import numpy as np

from fastconv.reference import _pool
from fastconv.reference.geometry import Array, OutputSize, Padding, Pair

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool1d_backward",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool2d_backward",
    "adaptive_avg_pool3d",
    "adaptive_avg_pool3d_backward",
    "adaptive_max_pool1d",
    "adaptive_max_pool1d_backward",
    "adaptive_max_pool2d",
    "adaptive_max_pool2d_backward",
    "adaptive_max_pool3d",
    "adaptive_max_pool3d_backward",
    "avg_pool1d",
    "avg_pool1d_backward",
    "avg_pool2d",
    "avg_pool2d_backward",
    "avg_pool3d",
    "avg_pool3d_backward",
    "global_avg_pool1d",
    "global_avg_pool1d_backward",
    "global_avg_pool2d",
    "global_avg_pool2d_backward",
    "global_avg_pool3d",
    "global_avg_pool3d_backward",
    "global_max_pool1d",
    "global_max_pool1d_backward",
    "global_max_pool2d",
    "global_max_pool2d_backward",
    "global_max_pool3d",
    "global_max_pool3d_backward",
    "lp_pool1d",
    "lp_pool1d_backward",
    "lp_pool2d",
    "lp_pool2d_backward",
    "lp_pool3d",
    "lp_pool3d_backward",
    "max_pool1d",
    "max_pool1d_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "max_pool3d",
    "max_pool3d_backward",
    "max_unpool1d",
    "max_unpool1d_backward",
    "max_unpool2d",
    "max_unpool2d_backward",
    "max_unpool3d",
    "max_unpool3d_backward",
]


def max_pool1d(
    input: Array,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Array | tuple[Array, Array]:
    """The largest element of every window; padding is -inf. Indices are flat per plane."""
    options = kernel_size, stride, padding, dilation, ceil_mode
    return _pool.max_pool(1, input, return_indices, *options)


def max_pool1d_backward(grad_output: Array, indices: Array, input_shape: Sequence[int]) -> Array:
    """Each window's gradient goes to its largest element alone."""
    return _pool.scatter(grad_output, indices, input_shape, 1)


def avg_pool1d(
    input: Array,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:
    """The sum of every window over its divisor."""
    options = kernel_size, stride, padding, 1, ceil_mode
    return _pool.avg_pool(1, input, count_include_pad, None, *options)


def avg_pool1d_backward(
    grad_output: Array,
    input_shape: Sequence[int],
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:
    """Every element of a window receives the window's gradient over its divisor."""
    options = kernel_size, stride, padding, 1, ceil_mode
    divisor = count_include_pad, None
    return _pool.avg_backward(1, grad_output, input_shape, *divisor, *options)


def adaptive_avg_pool1d(input: Array, output_size: OutputSize) -> Array:
    """The mean of each of output_size near-equal, perhaps overlapping, blocks."""
    return _pool.adaptive_avg(1, input, output_size)


def adaptive_avg_pool1d_backward(grad_output: Array, input_shape: Sequence[int]) -> Array:
    """Every element of a block receives the block's gradient over its size."""
    return _pool.adaptive_avg_backward(1, grad_output, input_shape)


def adaptive_max_pool1d(
    input: Array, output_size: OutputSize, return_indices: bool = False
) -> Array | tuple[Array, Array]:
    """The maximum of each of output_size near-equal, perhaps overlapping, blocks."""
    return _pool.adaptive_max(1, input, output_size, return_indices)


def adaptive_max_pool1d_backward(
    grad_output: Array, indices: Array, input_shape: Sequence[int]
) -> Array:
    """Each block's gradient goes to its largest element alone."""
    return _pool.scatter(grad_output, indices, input_shape, 1)


def global_avg_pool1d(input: Array) -> Array:
    """The mean of every sequence: (N, C, 1)."""
    return input.mean(axis=(-1,), keepdims=True)


def global_avg_pool1d_backward(grad_output: Array, input_shape: Sequence[int]) -> Array:
    """Every element receives its sequence's gradient over the sequence's size."""
    share = grad_output / grad_output.dtype.type(prod(input_shape[-1:]))
    return np.broadcast_to(share, tuple(input_shape)).copy()


def global_max_pool1d(input: Array, return_indices: bool = False) -> Array | tuple[Array, Array]:
    """The maximum of every sequence: (N, C, 1)."""
    return _pool.adaptive_max(1, input, 1, return_indices)


def global_max_pool1d_backward(
    grad_output: Array, indices: Array, input_shape: Sequence[int]
) -> Array:
    """Each sequence's gradient goes to its largest element alone."""
    return _pool.scatter(grad_output, indices, input_shape, 1)


def lp_pool1d(
    input: Array,
    norm_type: float,
    kernel_size: Pair,
    stride: Pair | None = None,
    ceil_mode: bool = False,
) -> Array:
    """(sum of x**p over every window)**(1/p)."""
    return _pool.lp_pool(1, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool1d_backward(
    grad_output: Array,
    input: Array,
    norm_type: float,
    kernel_size: Pair,
    stride: Pair | None = None,
    ceil_mode: bool = False,
) -> Array:
    """The gradient times (x / y)**(p - 1), summed over windows; 0 where a window's y is."""
    options = norm_type, kernel_size, stride, ceil_mode
    return _pool.lp_backward(1, grad_output, input, *options)


def max_unpool1d(
    input: Array,
    indices: Array,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    output_size: Sequence[int] | None = None,
) -> Array:
    """Elements where their indices say, zeros elsewhere."""
    return _pool.unpool(1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool1d_backward(grad_output: Array, indices: Array) -> Array:
    """Each element's gradient is that of its place."""
    return _pool.unpool_backward(1, grad_output, indices)


# ---- over 2 axes


def max_pool2d(
    input: Array,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Array | tuple[Array, Array]:
    """The largest pixel of every window; padding is -inf. Indices are flat per plane."""
    options = kernel_size, stride, padding, dilation, ceil_mode
    return _pool.max_pool(2, input, return_indices, *options)


def max_pool2d_backward(grad_output: Array, indices: Array, input_shape: Sequence[int]) -> Array:
    """Each window's gradient goes to its largest pixel alone."""
    return _pool.scatter(grad_output, indices, input_shape, 2)


def avg_pool2d(
    input: Array,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """The sum of every window over its divisor."""
    options = kernel_size, stride, padding, 1, ceil_mode
    return _pool.avg_pool(2, input, count_include_pad, divisor_override, *options)


def avg_pool2d_backward(
    grad_output: Array,
    input_shape: Sequence[int],
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """Every pixel of a window receives the window's gradient over its divisor."""
    options = kernel_size, stride, padding, 1, ceil_mode
    divisor = count_include_pad, divisor_override
    return _pool.avg_backward(2, grad_output, input_shape, *divisor, *options)


def adaptive_avg_pool2d(input: Array, output_size: OutputSize) -> Array:
    """The mean of each of output_size near-equal, perhaps overlapping, blocks."""
    return _pool.adaptive_avg(2, input, output_size)


def adaptive_avg_pool2d_backward(grad_output: Array, input_shape: Sequence[int]) -> Array:
    """Every pixel of a block receives the block's gradient over its size."""
    return _pool.adaptive_avg_backward(2, grad_output, input_shape)


def adaptive_max_pool2d(
    input: Array, output_size: OutputSize, return_indices: bool = False
) -> Array | tuple[Array, Array]:
    """The maximum of each of output_size near-equal, perhaps overlapping, blocks."""
    return _pool.adaptive_max(2, input, output_size, return_indices)


def adaptive_max_pool2d_backward(
    grad_output: Array, indices: Array, input_shape: Sequence[int]
) -> Array:
    """Each block's gradient goes to its largest pixel alone."""
    return _pool.scatter(grad_output, indices, input_shape, 2)


def global_avg_pool2d(input: Array) -> Array:
    """The mean of every plane: (N, C, 1, 1)."""
    return input.mean(axis=(-2, -1), keepdims=True)


def global_avg_pool2d_backward(grad_output: Array, input_shape: Sequence[int]) -> Array:
    """Every pixel receives its plane's gradient over the plane's size."""
    share = grad_output / grad_output.dtype.type(prod(input_shape[-2:]))
    return np.broadcast_to(share, tuple(input_shape)).copy()


def global_max_pool2d(input: Array, return_indices: bool = False) -> Array | tuple[Array, Array]:
    """The maximum of every plane: (N, C, 1, 1)."""
    return _pool.adaptive_max(2, input, 1, return_indices)


def global_max_pool2d_backward(
    grad_output: Array, indices: Array, input_shape: Sequence[int]
) -> Array:
    """Each plane's gradient goes to its largest pixel alone."""
    return _pool.scatter(grad_output, indices, input_shape, 2)


def lp_pool2d(
    input: Array,
    norm_type: float,
    kernel_size: Pair,
    stride: Pair | None = None,
    ceil_mode: bool = False,
) -> Array:
    """(sum of x**p over every window)**(1/p)."""
    return _pool.lp_pool(2, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d_backward(
    grad_output: Array,
    input: Array,
    norm_type: float,
    kernel_size: Pair,
    stride: Pair | None = None,
    ceil_mode: bool = False,
) -> Array:
    """The gradient times (x / y)**(p - 1), summed over windows; 0 where a window's y is."""
    options = norm_type, kernel_size, stride, ceil_mode
    return _pool.lp_backward(2, grad_output, input, *options)


def max_unpool2d(
    input: Array,
    indices: Array,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    output_size: Sequence[int] | None = None,
) -> Array:
    """Elements where their indices say, zeros elsewhere."""
    return _pool.unpool(2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d_backward(grad_output: Array, indices: Array) -> Array:
    """Each element's gradient is that of its place."""
    return _pool.unpool_backward(2, grad_output, indices)


# ---- over 3 axes


def max_pool3d(
    input: Array,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Array | tuple[Array, Array]:
    """The largest voxel of every window; padding is -inf. Indices are flat per plane."""
    options = kernel_size, stride, padding, dilation, ceil_mode
    return _pool.max_pool(3, input, return_indices, *options)


def max_pool3d_backward(grad_output: Array, indices: Array, input_shape: Sequence[int]) -> Array:
    """Each window's gradient goes to its largest voxel alone."""
    return _pool.scatter(grad_output, indices, input_shape, 3)


def avg_pool3d(
    input: Array,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """The sum of every window over its divisor."""
    options = kernel_size, stride, padding, 1, ceil_mode
    return _pool.avg_pool(3, input, count_include_pad, divisor_override, *options)


def avg_pool3d_backward(
    grad_output: Array,
    input_shape: Sequence[int],
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """Every voxel of a window receives the window's gradient over its divisor."""
    options = kernel_size, stride, padding, 1, ceil_mode
    divisor = count_include_pad, divisor_override
    return _pool.avg_backward(3, grad_output, input_shape, *divisor, *options)


def adaptive_avg_pool3d(input: Array, output_size: OutputSize) -> Array:
    """The mean of each of output_size near-equal, perhaps overlapping, blocks."""
    return _pool.adaptive_avg(3, input, output_size)


def adaptive_avg_pool3d_backward(grad_output: Array, input_shape: Sequence[int]) -> Array:
    """Every voxel of a block receives the block's gradient over its size."""
    return _pool.adaptive_avg_backward(3, grad_output, input_shape)


def adaptive_max_pool3d(
    input: Array, output_size: OutputSize, return_indices: bool = False
) -> Array | tuple[Array, Array]:
    """The maximum of each of output_size near-equal, perhaps overlapping, blocks."""
    return _pool.adaptive_max(3, input, output_size, return_indices)


def adaptive_max_pool3d_backward(
    grad_output: Array, indices: Array, input_shape: Sequence[int]
) -> Array:
    """Each block's gradient goes to its largest voxel alone."""
    return _pool.scatter(grad_output, indices, input_shape, 3)


def global_avg_pool3d(input: Array) -> Array:
    """The mean of every volume: (N, C, 1, 1, 1)."""
    return input.mean(axis=(-3, -2, -1), keepdims=True)


def global_avg_pool3d_backward(grad_output: Array, input_shape: Sequence[int]) -> Array:
    """Every voxel receives its volume's gradient over the volume's size."""
    share = grad_output / grad_output.dtype.type(prod(input_shape[-3:]))
    return np.broadcast_to(share, tuple(input_shape)).copy()


def global_max_pool3d(input: Array, return_indices: bool = False) -> Array | tuple[Array, Array]:
    """The maximum of every volume: (N, C, 1, 1, 1)."""
    return _pool.adaptive_max(3, input, 1, return_indices)


def global_max_pool3d_backward(
    grad_output: Array, indices: Array, input_shape: Sequence[int]
) -> Array:
    """Each volume's gradient goes to its largest voxel alone."""
    return _pool.scatter(grad_output, indices, input_shape, 3)


def lp_pool3d(
    input: Array,
    norm_type: float,
    kernel_size: Pair,
    stride: Pair | None = None,
    ceil_mode: bool = False,
) -> Array:
    """(sum of x**p over every window)**(1/p)."""
    return _pool.lp_pool(3, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d_backward(
    grad_output: Array,
    input: Array,
    norm_type: float,
    kernel_size: Pair,
    stride: Pair | None = None,
    ceil_mode: bool = False,
) -> Array:
    """The gradient times (x / y)**(p - 1), summed over windows; 0 where a window's y is."""
    options = norm_type, kernel_size, stride, ceil_mode
    return _pool.lp_backward(3, grad_output, input, *options)


def max_unpool3d(
    input: Array,
    indices: Array,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    output_size: Sequence[int] | None = None,
) -> Array:
    """Elements where their indices say, zeros elsewhere."""
    return _pool.unpool(3, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d_backward(grad_output: Array, indices: Array) -> Array:
    """Each element's gradient is that of its place."""
    return _pool.unpool_backward(3, grad_output, indices)
