"""Max and average pooling (docs/derivation.md, "Pooling")."""

from __future__ import annotations

from typing import Literal, overload

from fastconv._geometry import pooling
from fastconv.functional import _pool
from fastconv.functional._check import Array
from fastconv.functional._op import op
from fastconv.functional._pool import Padding, Pair, Single, Triple

__all__ = [
    "avg_pool1d",
    "avg_pool1d_backward",
    "avg_pool2d",
    "avg_pool2d_backward",
    "avg_pool3d",
    "avg_pool3d_backward",
    "max_pool1d",
    "max_pool1d_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "max_pool3d",
    "max_pool3d_backward",
]


@overload
def max_pool1d(
    input: Array,
    kernel_size: Single,
    stride: Single | None = ...,
    padding: Padding = ...,
    dilation: Single = ...,
    ceil_mode: bool = ...,
    return_indices: Literal[False] = ...,
) -> Array: ...
@overload
def max_pool1d(
    input: Array,
    kernel_size: Single,
    stride: Single | None = ...,
    padding: Padding = ...,
    dilation: Single = ...,
    ceil_mode: bool = ...,
    *,
    return_indices: Literal[True],
) -> tuple[Array, Array]: ...
@op
def max_pool1d(
    input: Array,
    kernel_size: Single,
    stride: Single | None = None,
    padding: Padding = 0,
    dilation: Single = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Array | tuple[Array, Array]:
    """Maximum of every window of a sequence: `max_pool2d` with one axis.

    Parameters
    ----------
    input : (N, C, L) or (C, L) array, float32 or float64
    kernel_size, dilation : int or (int,)
    stride : int or (int,), optional
        `kernel_size` if None.
    padding : int, (before, after) or a name
        As in `max_pool2d`.
    ceil_mode, return_indices : as in `max_pool2d`

    Returns
    -------
    output : (N, C, out) array, in the memory format of `input`
    indices : int64 array of that shape, if `return_indices`
        Position along the sequence.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, its value and the shapes.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.max_pool1d(np.array([[1.0, 3.0, 2.0, 5.0]]), 2)
    array([[3., 5.]])
    >>> F.max_pool1d(np.array([[1.0, 3.0, 2.0]]), 2, padding="same")
    array([[3., 2.]])
    """
    options = kernel_size, stride, padding, dilation, ceil_mode
    return _pool.max_pool(1, input, return_indices, pooling, *options)


def max_pool1d_backward(grad_output: Array, indices: Array, input_shape: tuple[int, ...]) -> Array:
    """Gradient with respect to the input of `max_pool1d`: each output's goes to its maximum.

    Parameters
    ----------
    grad_output : (N, C, out) or (C, out) array
    indices : int64 array of that shape
        As `max_pool1d` returned it.
    input_shape : (N, C, L) or (C, L)

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
    >>> F.max_pool1d_backward(np.ones((1, 2)), np.array([[1, 3]]), (1, 4))
    array([[0., 1., 0., 1.]])
    """
    return _pool.max_backward(1, grad_output, indices, input_shape)


@op
def avg_pool1d(
    input: Array,
    kernel_size: Single,
    stride: Single | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:
    """Mean of every window of a sequence: `avg_pool2d` with one axis.

    Parameters
    ----------
    input : (N, C, L) or (C, L) array, float32 or float64
    kernel_size, stride, padding, ceil_mode, count_include_pad : as in `avg_pool2d`

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
    >>> F.avg_pool1d(np.array([[1.0, 3.0, 2.0, 5.0]]), 2)
    array([[2. , 3.5]])
    """
    options = kernel_size, stride, padding, 1, ceil_mode
    return _pool.avg_pool(1, input, count_include_pad, None, pooling, *options)


def avg_pool1d_backward(
    grad_output: Array,
    input_shape: tuple[int, ...],
    kernel_size: Single,
    stride: Single | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:
    """Gradient with respect to the input of `avg_pool1d`: each output's, shared out evenly.

    Parameters
    ----------
    grad_output : (N, C, out) or (C, out) array
    input_shape : (N, C, L) or (C, L)
    kernel_size, stride, padding, ceil_mode, count_include_pad : as forward

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
    >>> F.avg_pool1d_backward(np.ones((1, 1)), (1, 2), 2)
    array([[0.5, 0.5]])
    """
    options = kernel_size, stride, padding, 1, ceil_mode
    divisor = count_include_pad, None
    return _pool.avg_backward(1, grad_output, input_shape, *divisor, pooling, *options)


@overload
def max_pool2d(
    input: Array,
    kernel_size: Pair,
    stride: Pair | None = ...,
    padding: Padding = ...,
    dilation: Pair = ...,
    ceil_mode: bool = ...,
    return_indices: Literal[False] = ...,
) -> Array: ...
@overload
def max_pool2d(
    input: Array,
    kernel_size: Pair,
    stride: Pair | None = ...,
    padding: Padding = ...,
    dilation: Pair = ...,
    ceil_mode: bool = ...,
    *,
    return_indices: Literal[True],
) -> tuple[Array, Array]: ...
@op
def max_pool2d(
    input: Array,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
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
    padding : int, (vertical, horizontal), (top, bottom, left, right), or two pairs of sides
        At most half of what the kernel spans. ``"same"`` is what makes outputs of
        ceil(size / stride), with the odd row or column at the end, as TensorFlow's SAME and ONNX's
        SAME_UPPER; ``"same_lower"`` has it at the beginning; ``"valid"`` is none.
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
    options = kernel_size, stride, padding, dilation, ceil_mode
    return _pool.max_pool(2, input, return_indices, pooling, *options)


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
    return _pool.max_backward(2, grad_output, indices, input_shape)


@op
def avg_pool2d(
    input: Array,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
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
        Whether padding counts in the divisor. It does by default, as in torch; in TensorFlow and
        ONNX it does not.
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
    options = kernel_size, stride, padding, 1, ceil_mode
    return _pool.avg_pool(2, input, count_include_pad, divisor_override, pooling, *options)


def avg_pool2d_backward(
    grad_output: Array,
    input_shape: tuple[int, ...],
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
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
    options = kernel_size, stride, padding, 1, ceil_mode
    divisor = count_include_pad, divisor_override
    return _pool.avg_backward(2, grad_output, input_shape, *divisor, pooling, *options)


@overload
def max_pool3d(
    input: Array,
    kernel_size: Triple,
    stride: Triple | None = ...,
    padding: Padding = ...,
    dilation: Triple = ...,
    ceil_mode: bool = ...,
    return_indices: Literal[False] = ...,
) -> Array: ...
@overload
def max_pool3d(
    input: Array,
    kernel_size: Triple,
    stride: Triple | None = ...,
    padding: Padding = ...,
    dilation: Triple = ...,
    ceil_mode: bool = ...,
    *,
    return_indices: Literal[True],
) -> tuple[Array, Array]: ...
@op
def max_pool3d(
    input: Array,
    kernel_size: Triple,
    stride: Triple | None = None,
    padding: Padding = 0,
    dilation: Triple = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Array | tuple[Array, Array]:
    """Maximum of every window of a volume: `max_pool2d` with three axes.

    Parameters
    ----------
    input : (N, C, D, H, W) or (C, D, H, W) array, float32 or float64
    kernel_size, dilation : int or (depth, height, width)
    stride : int or (depth, height, width), optional
        `kernel_size` if None.
    padding : int, one for each axis, six sides, three pairs of sides, or a name
        As in `max_pool2d`.
    ceil_mode, return_indices : as in `max_pool2d`

    Returns
    -------
    output : (N, C, out_d, out_h, out_w) array, in the memory format of `input`
    indices : int64 array of that shape, if `return_indices`
        Position in the flattened (D, H, W) volume.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, its value and the shapes.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.max_pool3d(np.arange(16.0).reshape(1, 4, 2, 2), 2)
    array([[[[ 7.]],
    <BLANKLINE>
            [[15.]]]])
    """
    options = kernel_size, stride, padding, dilation, ceil_mode
    return _pool.max_pool(3, input, return_indices, pooling, *options)


def max_pool3d_backward(grad_output: Array, indices: Array, input_shape: tuple[int, ...]) -> Array:
    """Gradient with respect to the input of `max_pool3d`: each output's goes to its maximum.

    Parameters
    ----------
    grad_output : (N, C, out_d, out_h, out_w) or (C, out_d, out_h, out_w) array
    indices : int64 array of that shape
        As `max_pool3d` returned it.
    input_shape : (N, C, D, H, W) or (C, D, H, W)

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
    >>> x = np.arange(8.0).reshape(1, 2, 2, 2)
    >>> y, indices = F.max_pool3d(x, 2, return_indices=True)
    >>> F.max_pool3d_backward(np.ones_like(y), indices, x.shape)[0, 1]
    array([[0., 0.],
           [0., 1.]])
    """
    return _pool.max_backward(3, grad_output, indices, input_shape)


@op
def avg_pool3d(
    input: Array,
    kernel_size: Triple,
    stride: Triple | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """Mean of every window of a volume: `avg_pool2d` with three axes.

    Parameters
    ----------
    input : (N, C, D, H, W) or (C, D, H, W) array, float32 or float64
    kernel_size, stride, padding, ceil_mode : as in `max_pool3d`
    count_include_pad, divisor_override : as in `avg_pool2d`

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
    >>> F.avg_pool3d(np.arange(16.0).reshape(1, 4, 2, 2), 2)
    array([[[[ 3.5]],
    <BLANKLINE>
            [[11.5]]]])
    """
    options = kernel_size, stride, padding, 1, ceil_mode
    return _pool.avg_pool(3, input, count_include_pad, divisor_override, pooling, *options)


def avg_pool3d_backward(
    grad_output: Array,
    input_shape: tuple[int, ...],
    kernel_size: Triple,
    stride: Triple | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """Gradient with respect to the input of `avg_pool3d`: each output's, shared out evenly.

    Parameters
    ----------
    grad_output : (N, C, out_d, out_h, out_w) or (C, out_d, out_h, out_w) array
    input_shape : (N, C, D, H, W) or (C, D, H, W)
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
    >>> F.avg_pool3d_backward(np.ones((1, 1, 1, 1)), (1, 2, 1, 2), (2, 1, 2))[0, 1]
    array([[0.25, 0.25]])
    """
    options = kernel_size, stride, padding, 1, ceil_mode
    divisor = count_include_pad, divisor_override
    return _pool.avg_backward(3, grad_output, input_shape, *divisor, pooling, *options)
