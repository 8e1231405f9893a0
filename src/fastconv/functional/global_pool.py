"""Global pooling: adaptive pooling to one output (docs/derivation.md, "Pooling")."""

from __future__ import annotations

from typing import Literal, overload

from fastconv._geometry import adaptive_pooling
from fastconv.functional import _pool
from fastconv.functional._check import Array
from fastconv.functional._op import op

__all__ = [
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
]


@op
def global_avg_pool1d(input: Array) -> Array:
    """Mean of every channel's sequence.

    Parameters
    ----------
    input : (N, C, L) or (C, L) array, float32 or float64

    Returns
    -------
    (N, C, 1) or (C, 1) array

    Raises
    ------
    ValueError, TypeError
        When `input` has another rank or dtype.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.global_avg_pool1d(np.arange(4.0)[None])
    array([[1.5]])
    """
    return _pool.avg_pool(1, input, True, None, adaptive_pooling, 1)


def global_avg_pool1d_backward(grad_output: Array, input_shape: tuple[int, ...]) -> Array:
    """Gradient with respect to the input of `global_avg_pool1d`.

    Parameters
    ----------
    grad_output : (N, C, 1) or (C, 1) array
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
    >>> F.global_avg_pool1d_backward(np.ones((1, 1)), (1, 2))
    array([[0.5, 0.5]])
    """
    return _pool.adaptive_avg_backward(1, grad_output, input_shape)


@overload
def global_max_pool1d(input: Array, return_indices: Literal[False] = ...) -> Array: ...
@overload
def global_max_pool1d(input: Array, return_indices: Literal[True]) -> tuple[Array, Array]: ...
@op
def global_max_pool1d(input: Array, return_indices: bool = False) -> Array | tuple[Array, Array]:
    """Maximum of every channel's sequence.

    Parameters
    ----------
    input : (N, C, L) or (C, L) array, float32 or float64
    return_indices : bool
        Also return where each maximum was, as `max_pool1d` does.

    Returns
    -------
    output : (N, C, 1) or (C, 1) array
    indices : int64 array of that shape, if `return_indices`

    Raises
    ------
    ValueError, TypeError
        When `input` has another rank or dtype.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.global_max_pool1d(np.arange(4.0)[None])
    array([[3.]])
    """
    return _pool.max_pool(1, input, return_indices, adaptive_pooling, 1)


def global_max_pool1d_backward(
    grad_output: Array, indices: Array, input_shape: tuple[int, ...]
) -> Array:
    """Gradient with respect to the input of `global_max_pool1d`; as `max_pool1d_backward`.

    Parameters
    ----------
    grad_output : (N, C, 1) or (C, 1) array
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
    >>> F.global_max_pool1d_backward(np.ones((1, 1)), np.array([[1]]), (1, 2))
    array([[0., 1.]])
    """
    return _pool.max_backward(1, grad_output, indices, input_shape)


@op
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
    return _pool.avg_pool(2, input, True, None, adaptive_pooling, 1)


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
    return _pool.adaptive_avg_backward(2, grad_output, input_shape)


@overload
def global_max_pool2d(input: Array, return_indices: Literal[False] = ...) -> Array: ...
@overload
def global_max_pool2d(input: Array, return_indices: Literal[True]) -> tuple[Array, Array]: ...
@op
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
    return _pool.max_backward(2, grad_output, indices, input_shape)


@op
def global_avg_pool3d(input: Array) -> Array:
    """Mean of every channel's volume.

    Parameters
    ----------
    input : (N, C, D, H, W) or (C, D, H, W) array, float32 or float64

    Returns
    -------
    (N, C, 1, 1, 1) or (C, 1, 1, 1) array

    Raises
    ------
    ValueError, TypeError
        When `input` has another rank or dtype.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.global_avg_pool3d(np.arange(4.0).reshape(1, 1, 2, 2))
    array([[[[1.5]]]])
    """
    return _pool.avg_pool(3, input, True, None, adaptive_pooling, 1)


def global_avg_pool3d_backward(grad_output: Array, input_shape: tuple[int, ...]) -> Array:
    """Gradient with respect to the input of `global_avg_pool3d`.

    Parameters
    ----------
    grad_output : (N, C, 1, 1, 1) or (C, 1, 1, 1) array
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
    >>> F.global_avg_pool3d_backward(np.ones((1, 1, 1, 1)), (1, 1, 1, 2))
    array([[[[0.5, 0.5]]]])
    """
    return _pool.adaptive_avg_backward(3, grad_output, input_shape)


@overload
def global_max_pool3d(input: Array, return_indices: Literal[False] = ...) -> Array: ...
@overload
def global_max_pool3d(input: Array, return_indices: Literal[True]) -> tuple[Array, Array]: ...
@op
def global_max_pool3d(input: Array, return_indices: bool = False) -> Array | tuple[Array, Array]:
    """Maximum of every channel's volume.

    Parameters
    ----------
    input : (N, C, D, H, W) or (C, D, H, W) array, float32 or float64
    return_indices : bool
        Also return where each maximum was, as `max_pool3d` does.

    Returns
    -------
    output : (N, C, 1, 1, 1) or (C, 1, 1, 1) array
    indices : int64 array of that shape, if `return_indices`

    Raises
    ------
    ValueError, TypeError
        When `input` has another rank or dtype.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.global_max_pool3d(np.arange(4.0).reshape(1, 1, 2, 2))
    array([[[[3.]]]])
    """
    return _pool.max_pool(3, input, return_indices, adaptive_pooling, 1)


def global_max_pool3d_backward(
    grad_output: Array, indices: Array, input_shape: tuple[int, ...]
) -> Array:
    """Gradient with respect to the input of `global_max_pool3d`; as `max_pool3d_backward`.

    Parameters
    ----------
    grad_output : (N, C, 1, 1, 1) or (C, 1, 1, 1) array
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
    >>> F.global_max_pool3d_backward(np.ones((1, 1, 1, 1)), np.array([[[[1]]]]), (1, 1, 1, 2))
    array([[[[0., 1.]]]])
    """
    return _pool.max_backward(3, grad_output, indices, input_shape)
