"""Max unpooling (docs/derivation.md, "Pooling")."""

from __future__ import annotations

from fastconv.functional import _pool
from fastconv.functional._check import Array
from fastconv.functional._op import op
from fastconv.functional._pool import Pair, Single, Triple

__all__ = [
    "max_unpool1d",
    "max_unpool1d_backward",
    "max_unpool2d",
    "max_unpool2d_backward",
    "max_unpool3d",
    "max_unpool3d_backward",
]


@op
def max_unpool1d(
    input: Array,
    indices: Array,
    kernel_size: Single,
    stride: Single | None = None,
    padding: Single = 0,
    output_size: tuple[int, ...] | None = None,
) -> Array:
    """The elements of `input` where `indices` says, and zeros elsewhere: back from `max_pool1d`.

    Where `indices` names a place twice, the last element is there; an index of -1, as `max_pool1d`
    gives it for a window without elements, puts its element nowhere.

    Parameters
    ----------
    input : (N, C, out) or (C, out) array, float32 or float64
    indices : int64 array of that shape
        As `max_pool1d` returned it.
    kernel_size, stride, padding : as `max_pool1d` had them
        Padding is an int. They say what size the output has.
    output_size : tuple of int, optional
        Another size, (N, C, L) or its last size: less than a stride from that.

    Returns
    -------
    (N, C, L) array, in the memory format of `indices`

    Raises
    ------
    ValueError, TypeError
        Naming the argument, its value and the shapes; also when an index lies outside the plane.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> y, indices = F.max_pool1d(np.array([[1.0, 3.0, 2.0, 5.0]]), 2, return_indices=True)
    >>> F.max_unpool1d(y, indices, 2)
    array([[0., 3., 0., 5.]])
    """
    options = kernel_size, stride, padding, output_size
    return _pool.max_unpool(1, input, indices, *options)


def max_unpool1d_backward(grad_output: Array, indices: Array) -> Array:
    """Gradient with respect to the input of `max_unpool1d`: that of the element at each index.

    As in torch, an element whose place another one took gets that place's gradient too.

    Parameters
    ----------
    grad_output : (N, C, L) or (C, L) array
    indices : int64 array, (N, C, out) or (C, out)
        As `max_unpool1d` took it.

    Returns
    -------
    array of the shape and memory format of `indices`

    Raises
    ------
    ValueError, TypeError
        Naming the argument, its value and the shapes; also when an index lies outside the plane.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.max_unpool1d_backward(np.arange(4.0)[None], np.array([[1, 3]]))
    array([[1., 3.]])
    """
    return _pool.unpool_backward(1, grad_output, indices)


@op
def max_unpool2d(
    input: Array,
    indices: Array,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    output_size: tuple[int, ...] | None = None,
) -> Array:
    """The elements of `input` where `indices` says, and zeros elsewhere: back from `max_pool2d`.

    Where `indices` names a place twice, the last element is there; an index of -1, as `max_pool2d`
    gives it for a window without elements, puts its element nowhere.

    Parameters
    ----------
    input : (N, C, out_h, out_w) or (C, out_h, out_w) array, float32 or float64
    indices : int64 array of that shape
        As `max_pool2d` returned it.
    kernel_size, stride, padding : as `max_pool2d` had them
        Padding is an int, or one for each axis. They say what size the output has.
    output_size : tuple of int, optional
        Another size, (N, C, H, W) or its last 2 sizes: less than a stride from that.

    Returns
    -------
    (N, C, H, W) array, in the memory format of `indices`

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
    >>> F.max_unpool2d(y, indices, 2)
    array([[[0., 0.],
            [4., 0.]]])
    """
    options = kernel_size, stride, padding, output_size
    return _pool.max_unpool(2, input, indices, *options)


def max_unpool2d_backward(grad_output: Array, indices: Array) -> Array:
    """Gradient with respect to the input of `max_unpool2d`: that of the element at each index.

    As in torch, an element whose place another one took gets that place's gradient too.

    Parameters
    ----------
    grad_output : (N, C, H, W) or (C, H, W) array
    indices : int64 array, (N, C, out_h, out_w) or (C, out_h, out_w)
        As `max_unpool2d` took it.

    Returns
    -------
    array of the shape and memory format of `indices`

    Raises
    ------
    ValueError, TypeError
        Naming the argument, its value and the shapes; also when an index lies outside the plane.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.max_unpool2d_backward(np.arange(4.0).reshape(1, 2, 2), np.array([[[2]]]))
    array([[[2.]]])
    """
    return _pool.unpool_backward(2, grad_output, indices)


@op
def max_unpool3d(
    input: Array,
    indices: Array,
    kernel_size: Triple,
    stride: Triple | None = None,
    padding: Triple = 0,
    output_size: tuple[int, ...] | None = None,
) -> Array:
    """The elements of `input` where `indices` says, and zeros elsewhere: back from `max_pool3d`.

    Where `indices` names a place twice, the last element is there; an index of -1, as `max_pool3d`
    gives it for a window without elements, puts its element nowhere.

    Parameters
    ----------
    input : (N, C, out_d, out_h, out_w) or (C, out_d, out_h, out_w) array, float32 or float64
    indices : int64 array of that shape
        As `max_pool3d` returned it.
    kernel_size, stride, padding : as `max_pool3d` had them
        Padding is an int, or one for each axis. They say what size the output has.
    output_size : tuple of int, optional
        Another size, (N, C, D, H, W) or its last 3 sizes: less than a stride from that.

    Returns
    -------
    (N, C, D, H, W) array, in the memory format of `indices`

    Raises
    ------
    ValueError, TypeError
        Naming the argument, its value and the shapes; also when an index lies outside the plane.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> x = np.arange(8.0).reshape(1, 2, 2, 2)
    >>> y, indices = F.max_pool3d(x, 2, return_indices=True)
    >>> F.max_unpool3d(y, indices, 2)[0, 1]
    array([[0., 0.],
           [0., 7.]])
    """
    options = kernel_size, stride, padding, output_size
    return _pool.max_unpool(3, input, indices, *options)


def max_unpool3d_backward(grad_output: Array, indices: Array) -> Array:
    """Gradient with respect to the input of `max_unpool3d`: that of the element at each index.

    As in torch, an element whose place another one took gets that place's gradient too.

    Parameters
    ----------
    grad_output : (N, C, D, H, W) or (C, D, H, W) array
    indices : int64 array, (N, C, out_d, out_h, out_w) or (C, out_d, out_h, out_w)
        As `max_unpool3d` took it.

    Returns
    -------
    array of the shape and memory format of `indices`

    Raises
    ------
    ValueError, TypeError
        Naming the argument, its value and the shapes; also when an index lies outside the plane.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.max_unpool3d_backward(np.arange(8.0).reshape(1, 2, 2, 2), np.array([[[[7]]]]))
    array([[[[7.]]]])
    """
    return _pool.unpool_backward(3, grad_output, indices)
