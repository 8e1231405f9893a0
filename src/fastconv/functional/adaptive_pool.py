"""Adaptive pooling (docs/derivation.md, "Pooling")."""

from __future__ import annotations

from typing import Literal, overload

from fastconv._geometry import adaptive_pooling
from fastconv.functional import _pool
from fastconv.functional._check import Array
from fastconv.functional._op import op

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
]

SizeOf1 = int | tuple[int | None]
SizeOf2 = int | tuple[int | None, int | None]
SizeOf3 = int | tuple[int | None, int | None, int | None]


@op
def adaptive_avg_pool1d(input: Array, output_size: SizeOf1) -> Array:
    """Mean over windows that share a sequence out evenly, whatever its size.

    Output i covers the inputs from floor(i * L / out) to ceil((i + 1) * L / out).

    Parameters
    ----------
    input : (N, C, L) or (C, L) array, float32 or float64
    output_size : int or (out,)
        None, in a tuple, keeps the size of the input.

    Returns
    -------
    (N, C, out) array, in the memory format of `input`

    Raises
    ------
    ValueError, TypeError
        Naming the argument, its value and the shapes.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.adaptive_avg_pool1d(np.arange(3.0)[None], 2)
    array([[0.5, 1.5]])
    """
    return _pool.avg_pool(1, input, True, None, adaptive_pooling, output_size)


def adaptive_avg_pool1d_backward(grad_output: Array, input_shape: tuple[int, ...]) -> Array:
    """Gradient with respect to the input of `adaptive_avg_pool1d`.

    Parameters
    ----------
    grad_output : (N, C, out) or (C, out) array
    input_shape : (N, C, L) or (C, L)

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
    >>> F.adaptive_avg_pool1d_backward(np.ones((1, 2)), (1, 3))
    array([[0.5, 1. , 0.5]])
    """
    return _pool.adaptive_avg_backward(1, grad_output, input_shape)


@overload
def adaptive_max_pool1d(
    input: Array, output_size: SizeOf1, return_indices: Literal[False] = ...
) -> Array: ...
@overload
def adaptive_max_pool1d(
    input: Array, output_size: SizeOf1, return_indices: Literal[True]
) -> tuple[Array, Array]: ...
@op
def adaptive_max_pool1d(
    input: Array, output_size: SizeOf1, return_indices: bool = False
) -> Array | tuple[Array, Array]:
    """Maximum over windows that share a sequence out evenly; windows as in `adaptive_avg_pool1d`.

    Parameters
    ----------
    input : (N, C, L) or (C, L) array, float32 or float64
    output_size : int or (out,)
        None, in a tuple, keeps the size of the input.
    return_indices : bool
        Also return where each maximum was, as `max_pool1d` does.

    Returns
    -------
    output : (N, C, out) array, in the memory format of `input`
    indices : int64 array of that shape, if `return_indices`

    Raises
    ------
    ValueError, TypeError
        Naming the argument, its value and the shapes.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.adaptive_max_pool1d(np.arange(3.0)[None], 2)
    array([[1., 2.]])
    """
    return _pool.max_pool(1, input, return_indices, adaptive_pooling, output_size)


def adaptive_max_pool1d_backward(
    grad_output: Array, indices: Array, input_shape: tuple[int, ...]
) -> Array:
    """Gradient with respect to the input of `adaptive_max_pool1d`; as `max_pool1d_backward`.

    Parameters
    ----------
    grad_output : (N, C, out) or (C, out) array
    indices : int64 array of that shape
    input_shape : (N, C, L) or (C, L)

    Returns
    -------
    array of `input_shape`, in the memory format of `indices`

    Raises
    ------
    ValueError, TypeError
        As `max_pool1d_backward`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.adaptive_max_pool1d_backward(np.ones((1, 2)), np.array([[1, 2]]), (1, 3))
    array([[0., 1., 1.]])
    """
    return _pool.max_backward(1, grad_output, indices, input_shape)


@op
def adaptive_avg_pool2d(input: Array, output_size: SizeOf2) -> Array:
    """Mean over windows that share an image out evenly, whatever its size.

    Output row i covers the rows from floor(i * H / out_h) to ceil((i + 1) * H / out_h).

    Parameters
    ----------
    input : (N, C, H, W) or (C, H, W) array, float32 or float64
    output_size : int or (out_h, out_w)
        None, in a tuple, keeps the size of the input.

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
    return _pool.adaptive_avg_backward(2, grad_output, input_shape)


@overload
def adaptive_max_pool2d(
    input: Array, output_size: SizeOf2, return_indices: Literal[False] = ...
) -> Array: ...
@overload
def adaptive_max_pool2d(
    input: Array, output_size: SizeOf2, return_indices: Literal[True]
) -> tuple[Array, Array]: ...
@op
def adaptive_max_pool2d(
    input: Array, output_size: SizeOf2, return_indices: bool = False
) -> Array | tuple[Array, Array]:
    """Maximum over windows that share an image out evenly; windows as in `adaptive_avg_pool2d`.

    Parameters
    ----------
    input : (N, C, H, W) or (C, H, W) array, float32 or float64
    output_size : int or (out_h, out_w)
        None, in a tuple, keeps the size of the input.
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
    return _pool.max_backward(2, grad_output, indices, input_shape)


@op
def adaptive_avg_pool3d(input: Array, output_size: SizeOf3) -> Array:
    """Mean over windows that share a volume out evenly, whatever its size.

    Along every axis as in `adaptive_avg_pool2d`.

    Parameters
    ----------
    input : (N, C, D, H, W) or (C, D, H, W) array, float32 or float64
    output_size : int or (out_d, out_h, out_w)
        None, in a tuple, keeps the size of the input.

    Returns
    -------
    (N, C, out_d, out_h, out_w) array, in the memory format of `input`

    Raises
    ------
    ValueError, TypeError
        Naming the argument, its value and the shapes.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.adaptive_avg_pool3d(np.arange(3.0).reshape(1, 3, 1, 1), (2, 1, 1)).ravel()
    array([0.5, 1.5])
    """
    return _pool.avg_pool(3, input, True, None, adaptive_pooling, output_size)


def adaptive_avg_pool3d_backward(grad_output: Array, input_shape: tuple[int, ...]) -> Array:
    """Gradient with respect to the input of `adaptive_avg_pool3d`.

    Parameters
    ----------
    grad_output : (N, C, out_d, out_h, out_w) or (C, out_d, out_h, out_w) array
    input_shape : (N, C, D, H, W) or (C, D, H, W)

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
    >>> F.adaptive_avg_pool3d_backward(np.ones((1, 2, 1, 1)), (1, 3, 1, 1)).ravel()
    array([0.5, 1. , 0.5])
    """
    return _pool.adaptive_avg_backward(3, grad_output, input_shape)


@overload
def adaptive_max_pool3d(
    input: Array, output_size: SizeOf3, return_indices: Literal[False] = ...
) -> Array: ...
@overload
def adaptive_max_pool3d(
    input: Array, output_size: SizeOf3, return_indices: Literal[True]
) -> tuple[Array, Array]: ...
@op
def adaptive_max_pool3d(
    input: Array, output_size: SizeOf3, return_indices: bool = False
) -> Array | tuple[Array, Array]:
    """Maximum over windows that share a volume out evenly; windows as in `adaptive_avg_pool3d`.

    Parameters
    ----------
    input : (N, C, D, H, W) or (C, D, H, W) array, float32 or float64
    output_size : int or (out_d, out_h, out_w)
        None, in a tuple, keeps the size of the input.
    return_indices : bool
        Also return where each maximum was, as `max_pool3d` does.

    Returns
    -------
    output : (N, C, out_d, out_h, out_w) array, in the memory format of `input`
    indices : int64 array of that shape, if `return_indices`

    Raises
    ------
    ValueError, TypeError
        Naming the argument, its value and the shapes.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.adaptive_max_pool3d(np.arange(3.0).reshape(1, 3, 1, 1), (2, 1, 1)).ravel()
    array([1., 2.])
    """
    return _pool.max_pool(3, input, return_indices, adaptive_pooling, output_size)


def adaptive_max_pool3d_backward(
    grad_output: Array, indices: Array, input_shape: tuple[int, ...]
) -> Array:
    """Gradient with respect to the input of `adaptive_max_pool3d`; as `max_pool3d_backward`.

    Parameters
    ----------
    grad_output : (N, C, out_d, out_h, out_w) or (C, out_d, out_h, out_w) array
    indices : int64 array of that shape
    input_shape : (N, C, D, H, W) or (C, D, H, W)

    Returns
    -------
    array of `input_shape`, in the memory format of `indices`

    Raises
    ------
    ValueError, TypeError
        As `max_pool3d_backward`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> indices = np.array([1, 2]).reshape(1, 2, 1, 1)
    >>> F.adaptive_max_pool3d_backward(np.ones((1, 2, 1, 1)), indices, (1, 3, 1, 1)).ravel()
    array([0., 1., 1.])
    """
    return _pool.max_backward(3, grad_output, indices, input_shape)
