"""Pooling by p-norms (docs/derivation.md, "Pooling")."""

from __future__ import annotations

from fastconv._geometry import pooling
from fastconv.functional import _pool
from fastconv.functional._check import Array
from fastconv.functional._op import op
from fastconv.functional._pool import Pair, Single, Triple

__all__ = [
    "lp_pool1d",
    "lp_pool1d_backward",
    "lp_pool2d",
    "lp_pool2d_backward",
    "lp_pool3d",
    "lp_pool3d_backward",
]


@op
def lp_pool1d(
    input: Array,
    norm_type: float,
    kernel_size: Single,
    stride: Single | None = None,
    ceil_mode: bool = False,
) -> Array:
    """The p-norm of every window of a sequence.

    Each output is (sum of x**p over its window)**(1/p), for p = `norm_type`. As in torch, signs
    count: an odd p can make a negative sum, whose root is NaN. p of infinity is the largest |x|,
    of minus infinity the smallest.

    Parameters
    ----------
    input : (N, C, L) or (C, L) array, float32 or float64
    norm_type : float, not zero
    kernel_size : int or (int,)
    stride : int or (int,), optional
        `kernel_size` if None.
    ceil_mode : bool
        As in `max_pool2d`. As in torch, what a window lacks that hangs over the end counts as much
        as the mean of what it has.

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
    >>> F.lp_pool1d(np.array([[3.0, 4.0, 0.0, 0.0]]), 2, 2)
    array([[5., 0.]])
    """
    return _pool.lp_pool(1, input, norm_type, pooling, kernel_size, stride, ceil_mode)


def lp_pool1d_backward(
    grad_output: Array,
    input: Array,
    norm_type: float,
    kernel_size: Single,
    stride: Single | None = None,
    ceil_mode: bool = False,
) -> Array:
    """Gradient with respect to the input of `lp_pool1d`; zero where the sum is.

    Parameters
    ----------
    grad_output : (N, C, out) or (C, out) array
    input : (N, C, L) or (C, L) array
    norm_type, kernel_size, stride, ceil_mode : as forward

    Returns
    -------
    array of the shape of `input`, in the memory format of `grad_output`

    Raises
    ------
    ValueError, TypeError
        Naming the argument, its value and the shapes.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> x = np.array([[3.0, 4.0, 0.0, 0.0]])
    >>> F.lp_pool1d_backward(np.ones((1, 2)), x, 2, 2)
    array([[0.6, 0.8, 0. , 0. ]])
    """
    return _pool.lp_backward(
        1, grad_output, input, norm_type, pooling, kernel_size, stride, ceil_mode
    )


@op
def lp_pool2d(
    input: Array,
    norm_type: float,
    kernel_size: Pair,
    stride: Pair | None = None,
    ceil_mode: bool = False,
) -> Array:
    """The p-norm of every window of an image, as in `lp_pool1d`.

    Parameters
    ----------
    input : (N, C, H, W) or (C, H, W) array, float32 or float64
    norm_type, ceil_mode : as in `lp_pool1d`
    kernel_size : int or (height, width)
    stride : int or (height, width), optional
        `kernel_size` if None.

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
    >>> F.lp_pool2d(np.array([[[3.0, 0.0], [0.0, 4.0]]]), 2, 2)
    array([[[5.]]])
    """
    return _pool.lp_pool(2, input, norm_type, pooling, kernel_size, stride, ceil_mode)


def lp_pool2d_backward(
    grad_output: Array,
    input: Array,
    norm_type: float,
    kernel_size: Pair,
    stride: Pair | None = None,
    ceil_mode: bool = False,
) -> Array:
    """Gradient with respect to the input of `lp_pool2d`; zero where the sum is.

    Parameters
    ----------
    grad_output : (N, C, out_h, out_w) or (C, out_h, out_w) array
    input : (N, C, H, W) or (C, H, W) array
    norm_type, kernel_size, stride, ceil_mode : as forward

    Returns
    -------
    array of the shape of `input`, in the memory format of `grad_output`

    Raises
    ------
    ValueError, TypeError
        Naming the argument, its value and the shapes.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> x = np.array([[[3.0, 0.0], [0.0, 4.0]]])
    >>> F.lp_pool2d_backward(np.ones((1, 1, 1)), x, 2, 2)
    array([[[0.6, 0. ],
            [0. , 0.8]]])
    """
    return _pool.lp_backward(
        2, grad_output, input, norm_type, pooling, kernel_size, stride, ceil_mode
    )


@op
def lp_pool3d(
    input: Array,
    norm_type: float,
    kernel_size: Triple,
    stride: Triple | None = None,
    ceil_mode: bool = False,
) -> Array:
    """The p-norm of every window of a volume, as in `lp_pool1d`.

    Parameters
    ----------
    input : (N, C, D, H, W) or (C, D, H, W) array, float32 or float64
    norm_type, ceil_mode : as in `lp_pool1d`
    kernel_size : int or (depth, height, width)
    stride : int or (depth, height, width), optional
        `kernel_size` if None.

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
    >>> F.lp_pool3d(np.array([3.0, 4.0]).reshape(1, 2, 1, 1), 2, (2, 1, 1)).item()
    5.0
    """
    return _pool.lp_pool(3, input, norm_type, pooling, kernel_size, stride, ceil_mode)


def lp_pool3d_backward(
    grad_output: Array,
    input: Array,
    norm_type: float,
    kernel_size: Triple,
    stride: Triple | None = None,
    ceil_mode: bool = False,
) -> Array:
    """Gradient with respect to the input of `lp_pool3d`; zero where the sum is.

    Parameters
    ----------
    grad_output : (N, C, out_d, out_h, out_w) or (C, out_d, out_h, out_w) array
    input : (N, C, D, H, W) or (C, D, H, W) array
    norm_type, kernel_size, stride, ceil_mode : as forward

    Returns
    -------
    array of the shape of `input`, in the memory format of `grad_output`

    Raises
    ------
    ValueError, TypeError
        Naming the argument, its value and the shapes.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> x = np.array([3.0, 4.0]).reshape(1, 2, 1, 1)
    >>> F.lp_pool3d_backward(np.ones((1, 1, 1, 1)), x, 2, (2, 1, 1)).ravel()
    array([0.6, 0.8])
    """
    return _pool.lp_backward(
        3, grad_output, input, norm_type, pooling, kernel_size, stride, ceil_mode
    )
