"""2-D pooling: max, average, adaptive and global (docs/derivation.md, "Pooling")."""

from __future__ import annotations

from typing import Literal, overload

import numpy as np

from fastconv import _ops
from fastconv._arguments import to_array, whole
from fastconv.functional._check import (
    Array,
    as_array,
    as_batch,
    as_shape,
    check_shape,
    empty_like_format,
)

__all__ = [
    "adaptive_avg_pool2d",
    "adaptive_avg_pool2d_backward",
    "adaptive_max_pool2d",
    "adaptive_max_pool2d_backward",
    "avg_pool2d",
    "avg_pool2d_backward",
    "global_avg_pool2d",
    "global_avg_pool2d_backward",
    "global_max_pool2d",
    "global_max_pool2d_backward",
    "max_pool2d",
    "max_pool2d_backward",
]

Pair = int | tuple[int, int]


def _max_pool(
    x: Array, shape: _ops.PoolShape, batched: bool, return_indices: bool
) -> Array | tuple[Array, Array]:
    y = empty_like_format(x, shape.output_shape)
    indices = empty_like_format(x, shape.output_shape, np.int64) if return_indices else None
    _ops.max_pool2d(x, y, indices, shape)
    if not batched:
        y = y[0]
        indices = indices if indices is None else indices[0]
    return y if indices is None else (y, indices)


def _adaptive_max_pool(
    input: Array, output_size: Pair, return_indices: bool
) -> Array | tuple[Array, Array]:
    x, batched = as_batch(as_array("input", input, (3, 4)))
    return _max_pool(x, _ops.PoolShape(x.shape, adaptive=output_size), batched, return_indices)


def _divisor(divisor_override: int | None) -> int:
    if divisor_override is None:
        return 0
    divisor = whole("divisor_override", divisor_override, -(2**53), 2**53)
    if divisor == 0:
        raise ValueError(f"divisor_override must not be zero, got {divisor_override!r}")
    return divisor


@overload
def max_pool2d(
    input: Array,
    kernel_size: Pair,
    stride: Pair | None = ...,
    padding: Pair = ...,
    dilation: Pair = ...,
    ceil_mode: bool = ...,
    return_indices: Literal[False] = ...,
) -> Array: ...
@overload
def max_pool2d(
    input: Array,
    kernel_size: Pair,
    stride: Pair | None = ...,
    padding: Pair = ...,
    dilation: Pair = ...,
    ceil_mode: bool = ...,
    *,
    return_indices: Literal[True],
) -> tuple[Array, Array]: ...
def max_pool2d(
    input: Array,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Array | tuple[Array, Array]:
    """Maximum of every window of an image.

    Padding counts as minus infinity. A NaN in a window is its maximum; among equals the first is
    taken.

    Parameters
    ----------
    input : (N, C, H, W) or (C, H, W) array, float32 or float64
    kernel_size : int or (height, width)
    stride : int or (vertical, horizontal), optional
        `kernel_size` if None.
    padding : int or (vertical, horizontal), at most half the kernel
    dilation : int or (vertical, horizontal)
    ceil_mode : bool
        Round the output size up; a window must still start inside the input or the padding before
        it.
    return_indices : bool
        Also return where each maximum was.

    Returns
    -------
    output : (N, C, out_h, out_w) array, in the memory format of `input`
    indices : int64 array of that shape, if `return_indices`
        Position in the flattened (H, W) plane.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, its value and the shapes.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.max_pool2d(np.arange(16.0).reshape(1, 4, 4), 2)
    array([[[ 5.,  7.],
            [13., 15.]]])
    """
    x, batched = as_batch(as_array("input", input, (3, 4)))
    shape = _ops.PoolShape(x.shape, kernel_size, stride, padding, dilation, ceil_mode)
    return _max_pool(x, shape, batched, return_indices)


def max_pool2d_backward(grad_output: Array, indices: Array, input_shape: tuple[int, ...]) -> Array:
    """Gradient with respect to the input of `max_pool2d`: each output's goes to its maximum.

    Parameters
    ----------
    grad_output : (N, C, out_h, out_w) or (C, out_h, out_w) array
    indices : int64 array of that shape
        As `max_pool2d` returned it.
    input_shape : (N, C, H, W) or (C, H, W)

    Returns
    -------
    array of `input_shape`, in the memory format of `indices`

    Raises
    ------
    ValueError, TypeError
        Naming the argument, its value and the shapes; also when an index lies outside the plane.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> x = np.array([[[1.0, 2.0], [4.0, 3.0]]])
    >>> y, indices = F.max_pool2d(x, 2, return_indices=True)
    >>> F.max_pool2d_backward(np.ones_like(y), indices, x.shape)
    array([[[0., 0.],
            [1., 0.]]])
    """
    dy = as_array("grad_output", grad_output, (3, 4))
    idx = to_array("indices", indices)
    if idx.dtype != np.int64:
        raise TypeError(f"indices must be int64, got {idx.dtype}")
    sizes, batched = as_shape("input_shape", input_shape)
    check_shape("indices", idx, dy.shape)
    if dy.ndim != (4 if batched else 3) or dy.shape[:-2] != sizes[-dy.ndim : -2]:
        raise ValueError(
            f"grad_output of shape {dy.shape} does not match input_shape {input_shape}"
        )
    _ops.PoolShape(sizes, adaptive=dy.shape[-2:], input_name="input_shape")  # may be allocated
    dy, _ = as_batch(dy)
    at, _ = as_batch(idx)
    dx = empty_like_format(at, sizes, dy.dtype)
    try:
        _ops.max_pool2d_backward(dy, at, dx)
    except IndexError:
        plane = sizes[2] * sizes[3]
        wrong = idx[(idx < -1) | (idx >= plane)][0]
        raise ValueError(
            f"indices must lie in a plane of {plane} elements, got {wrong} "
            f"(input_shape {input_shape})"
        ) from None
    return dx if batched else dx[0]


def avg_pool2d(
    input: Array,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """Mean of every window of an image.

    Parameters
    ----------
    input : (N, C, H, W) or (C, H, W) array, float32 or float64
    kernel_size, stride, padding, ceil_mode : as in `max_pool2d`
        Padding counts as zero.
    count_include_pad : bool
        Whether padding counts in the divisor.
    divisor_override : int, optional
        Divide by this, not by the count.

    Returns
    -------
    (N, C, out_h, out_w) array, in the memory format of `input`

    Raises
    ------
    ValueError, TypeError
        Naming the argument, its value and the shapes.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.avg_pool2d(np.arange(16.0).reshape(1, 4, 4), 2)
    array([[[ 2.5,  4.5],
            [10.5, 12.5]]])
    """
    x, batched = as_batch(as_array("input", input, (3, 4)))
    shape = _ops.PoolShape(x.shape, kernel_size, stride, padding, 1, ceil_mode)
    y = empty_like_format(x, shape.output_shape)
    _ops.avg_pool2d(
        x,
        y,
        shape,
        count_include_pad=count_include_pad,
        divisor_override=_divisor(divisor_override),
    )
    return y if batched else y[0]


def avg_pool2d_backward(
    grad_output: Array,
    input_shape: tuple[int, ...],
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """Gradient with respect to the input of `avg_pool2d`: each output's, shared out evenly.

    Parameters
    ----------
    grad_output : (N, C, out_h, out_w) or (C, out_h, out_w) array
    input_shape : (N, C, H, W) or (C, H, W)
    kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override : as forward

    Returns
    -------
    array of `input_shape`, in the memory format of `grad_output`

    Raises
    ------
    ValueError, TypeError
        Naming the argument, its value and the shapes.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.avg_pool2d_backward(np.ones((1, 1, 1)), (1, 2, 2), 2)
    array([[[0.25, 0.25],
            [0.25, 0.25]]])
    """
    dy = as_array("grad_output", grad_output, (3, 4))
    sizes, batched = as_shape("input_shape", input_shape)
    shape = _ops.PoolShape(
        sizes, kernel_size, stride, padding, 1, ceil_mode, input_name="input_shape"
    )
    check_shape("grad_output", dy, shape.output_shape if batched else shape.output_shape[1:])
    dy, _ = as_batch(dy)
    dx = empty_like_format(dy, shape.input_shape)
    _ops.avg_pool2d_backward(
        dy,
        dx,
        shape,
        count_include_pad=count_include_pad,
        divisor_override=_divisor(divisor_override),
    )
    return dx if batched else dx[0]


def adaptive_avg_pool2d(input: Array, output_size: Pair) -> Array:
    """Mean over windows that share an image out evenly, whatever its size.

    Output row i covers the rows from floor(i * H / out_h) to ceil((i + 1) * H / out_h).

    Parameters
    ----------
    input : (N, C, H, W) or (C, H, W) array, float32 or float64
    output_size : int or (out_h, out_w)

    Returns
    -------
    (N, C, out_h, out_w) array, in the memory format of `input`

    Raises
    ------
    ValueError, TypeError
        Naming the argument, its value and the shapes.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.adaptive_avg_pool2d(np.arange(3.0).reshape(1, 1, 3), (1, 2))
    array([[[0.5, 1.5]]])
    """
    x, batched = as_batch(as_array("input", input, (3, 4)))
    shape = _ops.PoolShape(x.shape, adaptive=output_size)
    y = empty_like_format(x, shape.output_shape)
    _ops.avg_pool2d(x, y, shape)
    return y if batched else y[0]


def adaptive_avg_pool2d_backward(grad_output: Array, input_shape: tuple[int, ...]) -> Array:
    """Gradient with respect to the input of `adaptive_avg_pool2d`.

    Parameters
    ----------
    grad_output : (N, C, out_h, out_w) or (C, out_h, out_w) array
    input_shape : (N, C, H, W) or (C, H, W)

    Returns
    -------
    array of `input_shape`, in the memory format of `grad_output`

    Raises
    ------
    ValueError, TypeError
        Naming the argument, its value and the shapes.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.adaptive_avg_pool2d_backward(np.ones((1, 1, 2)), (1, 1, 3))
    array([[[0.5, 1. , 0.5]]])
    """
    dy = as_array("grad_output", grad_output, (3, 4))
    sizes, batched = as_shape("input_shape", input_shape)
    shape = _ops.PoolShape(sizes, adaptive=dy.shape[-2:], input_name="input_shape")
    check_shape("grad_output", dy, shape.output_shape if batched else shape.output_shape[1:])
    dy, _ = as_batch(dy)
    dx = empty_like_format(dy, shape.input_shape)
    _ops.avg_pool2d_backward(dy, dx, shape)
    return dx if batched else dx[0]


@overload
def adaptive_max_pool2d(
    input: Array, output_size: Pair, return_indices: Literal[False] = ...
) -> Array: ...
@overload
def adaptive_max_pool2d(
    input: Array, output_size: Pair, return_indices: Literal[True]
) -> tuple[Array, Array]: ...
def adaptive_max_pool2d(
    input: Array, output_size: Pair, return_indices: bool = False
) -> Array | tuple[Array, Array]:
    """Maximum over windows that share an image out evenly; windows as in `adaptive_avg_pool2d`.

    Parameters
    ----------
    input : (N, C, H, W) or (C, H, W) array, float32 or float64
    output_size : int or (out_h, out_w)
    return_indices : bool
        Also return where each maximum was, as `max_pool2d` does.

    Returns
    -------
    output : (N, C, out_h, out_w) array, in the memory format of `input`
    indices : int64 array of that shape, if `return_indices`

    Raises
    ------
    ValueError, TypeError
        Naming the argument, its value and the shapes.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.adaptive_max_pool2d(np.arange(3.0).reshape(1, 1, 3), (1, 2))
    array([[[1., 2.]]])
    """
    return _adaptive_max_pool(input, output_size, return_indices)


def adaptive_max_pool2d_backward(
    grad_output: Array, indices: Array, input_shape: tuple[int, ...]
) -> Array:
    """Gradient with respect to the input of `adaptive_max_pool2d`; as `max_pool2d_backward`.

    Parameters
    ----------
    grad_output : (N, C, out_h, out_w) or (C, out_h, out_w) array
    indices : int64 array of that shape
    input_shape : (N, C, H, W) or (C, H, W)

    Returns
    -------
    array of `input_shape`, in the memory format of `indices`

    Raises
    ------
    ValueError, TypeError
        As `max_pool2d_backward`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.adaptive_max_pool2d_backward(np.ones((1, 1, 2)), np.array([[[1, 2]]]), (1, 1, 3))
    array([[[0., 1., 1.]]])
    """
    return max_pool2d_backward(grad_output, indices, input_shape)


def global_avg_pool2d(input: Array) -> Array:
    """Mean of every channel's plane.

    Parameters
    ----------
    input : (N, C, H, W) or (C, H, W) array, float32 or float64

    Returns
    -------
    (N, C, 1, 1) or (C, 1, 1) array

    Raises
    ------
    ValueError, TypeError
        When `input` has another rank or dtype.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.global_avg_pool2d(np.arange(4.0).reshape(1, 2, 2))
    array([[[1.5]]])
    """
    return adaptive_avg_pool2d(input, 1)


def global_avg_pool2d_backward(grad_output: Array, input_shape: tuple[int, ...]) -> Array:
    """Gradient with respect to the input of `global_avg_pool2d`.

    Parameters
    ----------
    grad_output : (N, C, 1, 1) or (C, 1, 1) array
    input_shape : (N, C, H, W) or (C, H, W)

    Returns
    -------
    array of `input_shape`, in the memory format of `grad_output`

    Raises
    ------
    ValueError, TypeError
        Naming the argument, its value and the shapes.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.global_avg_pool2d_backward(np.ones((1, 1, 1)), (1, 1, 2))
    array([[[0.5, 0.5]]])
    """
    return adaptive_avg_pool2d_backward(grad_output, input_shape)


@overload
def global_max_pool2d(input: Array, return_indices: Literal[False] = ...) -> Array: ...
@overload
def global_max_pool2d(input: Array, return_indices: Literal[True]) -> tuple[Array, Array]: ...
def global_max_pool2d(input: Array, return_indices: bool = False) -> Array | tuple[Array, Array]:
    """Maximum of every channel's plane.

    Parameters
    ----------
    input : (N, C, H, W) or (C, H, W) array, float32 or float64
    return_indices : bool
        Also return where each maximum was, as `max_pool2d` does.

    Returns
    -------
    output : (N, C, 1, 1) or (C, 1, 1) array
    indices : int64 array of that shape, if `return_indices`

    Raises
    ------
    ValueError, TypeError
        When `input` has another rank or dtype.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.global_max_pool2d(np.arange(4.0).reshape(1, 2, 2))
    array([[[3.]]])
    """
    return _adaptive_max_pool(input, 1, return_indices)


def global_max_pool2d_backward(
    grad_output: Array, indices: Array, input_shape: tuple[int, ...]
) -> Array:
    """Gradient with respect to the input of `global_max_pool2d`; as `max_pool2d_backward`.

    Parameters
    ----------
    grad_output : (N, C, 1, 1) or (C, 1, 1) array
    indices : int64 array of that shape
    input_shape : (N, C, H, W) or (C, H, W)

    Returns
    -------
    array of `input_shape`, in the memory format of `indices`

    Raises
    ------
    ValueError, TypeError
        As `max_pool2d_backward`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.global_max_pool2d_backward(np.ones((1, 1, 1)), np.array([[[1]]]), (1, 1, 2))
    array([[[0., 1.]]])
    """
    return max_pool2d_backward(grad_output, indices, input_shape)
