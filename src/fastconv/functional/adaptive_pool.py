"""Adaptive and global pooling (docs/derivation.md, "Pooling")."""

from __future__ import annotations

from typing import Literal, overload

from fastconv._geometry import adaptive_pooling
from fastconv.functional import _pool
from fastconv.functional._check import Array, as_array
from fastconv.functional.pool import max_pool2d_backward

__all__ = [
    "adaptive_avg_pool2d",
    "adaptive_avg_pool2d_backward",
    "adaptive_max_pool2d",
    "adaptive_max_pool2d_backward",
    "global_avg_pool2d",
    "global_avg_pool2d_backward",
    "global_max_pool2d",
    "global_max_pool2d_backward",
]

OutputSize = int | tuple[int | None, int | None]


def adaptive_avg_pool2d(input: Array, output_size: OutputSize) -> Array:
    """Mean over windows that share an image out evenly, whatever its size.

    Output row i covers the rows from floor(i * H / out_h) to ceil((i + 1) * H / out_h).

    Parameters
    ----------
    input : (N, C, H, W) or (C, H, W) array, float32 or float64
    output_size : int or (out_h, out_w)
        None, in a pair, keeps the size of the input.

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
    return _pool.avg_pool(2, input, True, None, adaptive_pooling, output_size)


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
    return _pool.avg_backward(2, dy, input_shape, True, None, adaptive_pooling, dy.shape[-2:])


@overload
def adaptive_max_pool2d(
    input: Array, output_size: OutputSize, return_indices: Literal[False] = ...
) -> Array: ...
@overload
def adaptive_max_pool2d(
    input: Array, output_size: OutputSize, return_indices: Literal[True]
) -> tuple[Array, Array]: ...
def adaptive_max_pool2d(
    input: Array, output_size: OutputSize, return_indices: bool = False
) -> Array | tuple[Array, Array]:
    """Maximum over windows that share an image out evenly; windows as in `adaptive_avg_pool2d`.

    Parameters
    ----------
    input : (N, C, H, W) or (C, H, W) array, float32 or float64
    output_size : int or (out_h, out_w)
        None, in a pair, keeps the size of the input.
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
    return _pool.max_pool(2, input, return_indices, adaptive_pooling, output_size)


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
    return _pool.max_pool(2, input, return_indices, adaptive_pooling, 1)


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
