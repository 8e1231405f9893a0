"""Convolution of one, two and three axes (docs/derivation.md, "Convolution").

What is done stands once, for any number of axes, in `_conv`; the functions here are its names.
"""

from __future__ import annotations

from typing import Literal

from fastconv._ops import PackedWeight
from fastconv.functional import _conv
from fastconv.functional._check import Array
from fastconv.functional._op import op

__all__ = [
    "conv1d",
    "conv1d_backward_bias",
    "conv1d_backward_input",
    "conv1d_backward_weight",
    "conv2d",
    "conv2d_backward_bias",
    "conv2d_backward_input",
    "conv2d_backward_weight",
    "conv3d",
    "conv3d_backward_bias",
    "conv3d_backward_input",
    "conv3d_backward_weight",
]

Single = int | tuple[int]
SinglePadding = int | str | tuple[int] | tuple[int, int] | tuple[tuple[int, int]]
Pair = int | tuple[int, int]
Padding = int | str | tuple[int, int] | tuple[int, int, int, int] | tuple[tuple[int, int], ...]
Triple = int | tuple[int, int, int]
TriplePadding = (
    int
    | str
    | tuple[int, int, int]
    | tuple[int, int, int, int, int, int]
    | tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
)


@op
def conv1d(
    input: Array,
    weight: Array | PackedWeight,
    bias: Array | None = None,
    stride: Single = 1,
    padding: SinglePadding = 0,
    dilation: Single = 1,
    groups: int = 1,
    *,
    activation: Literal["relu"] | None = None,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    r"""1-D convolution (cross-correlation) of sequences with filters: `conv2d` with one axis.

    .. math:: y_{n,k,j} = b_k + \sum_{c,s} w_{k,c,s}\,
        x_{n,\,c,\,j\,\mathrm{stride} + s\,\mathrm{dilation} - \mathrm{pad}}

    Parameters
    ----------
    input : (N, C, L) or (C, L) array, float32 or float64
        C-contiguous or channels-last; any other strides are correct too.
    weight : (K, C / groups, kernel) array, or a PackedWeight of one with the same `groups`
    bias : (K,) array, optional
    stride, dilation : int, at least 1
    padding : int, (before, after), ``"same"`` (stride 1; an odd pad goes to the end) or ``"valid"``
        Zeros around the sequence.
    groups, activation, algorithm : as in `conv2d`
    out : (N, K, out) array, optional
        Written to and returned; must not share memory with the operands.

    Returns
    -------
    (N, K, out) array
        In the memory format of `input`; without N where `input` is.

    Raises
    ------
    ValueError, TypeError
        As `conv2d`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.conv1d(np.array([[1.0, 2.0, 4.0, 8.0]]), np.array([[[-1.0, 1.0]]]))
    array([[1., 2., 4.]])
    """
    return _conv.conv(
        1, input, weight, bias, stride, padding, dilation, groups, activation, algorithm, out
    )


def conv1d_backward_input(
    grad_output: Array,
    weight: Array,
    input_shape: tuple[int, ...],
    stride: Single = 1,
    padding: SinglePadding = 0,
    dilation: Single = 1,
    groups: int = 1,
    *,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    """Gradient with respect to the input of `conv1d`: as `conv2d_backward_input`, with one axis.

    Parameters
    ----------
    grad_output : (N, K, out) or (K, out) array
        Gradient with respect to the output.
    weight : (K, C / groups, kernel) array
    input_shape : (N, C, L) or (C, L)
    stride, padding, dilation, groups, algorithm : as in `conv1d`
    out : array of `input_shape`, optional

    Returns
    -------
    array of `input_shape`
        In the memory format of `grad_output`.

    Raises
    ------
    ValueError, TypeError
        As `conv1d`, and when `grad_output` is not what these arguments put out.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.conv1d_backward_input(np.ones((1, 3)), np.array([[[-1.0, 1.0]]]), (1, 4))
    array([[-1.,  0.,  0.,  1.]])
    """
    return _conv.backward_input(
        1, grad_output, weight, input_shape, stride, padding, dilation, groups, algorithm, out
    )


def conv1d_backward_weight(
    grad_output: Array,
    input: Array,
    weight_shape: tuple[int, int, int],
    stride: Single = 1,
    padding: SinglePadding = 0,
    dilation: Single = 1,
    groups: int = 1,
    *,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    """Gradient with respect to the weight of `conv1d`: as `conv2d_backward_weight`, with one axis.

    Parameters
    ----------
    grad_output : (N, K, out) or (K, out) array
        Gradient with respect to the output.
    input : (N, C, L) or (C, L) array
    weight_shape : (K, C / groups, kernel)
    stride, padding, dilation, groups, algorithm : as in `conv1d`
    out : array of `weight_shape`, optional

    Returns
    -------
    array of `weight_shape`, C-contiguous

    Raises
    ------
    ValueError, TypeError
        As `conv1d`, and when `grad_output` is not what these arguments put out.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.conv1d_backward_weight(np.ones((1, 3)), np.array([[1.0, 2.0, 4.0, 8.0]]), (1, 1, 2))
    array([[[ 7., 14.]]])
    """
    return _conv.backward_weight(
        1, grad_output, input, weight_shape, stride, padding, dilation, groups, algorithm, out
    )


def conv1d_backward_bias(grad_output: Array) -> Array:
    """Gradient with respect to the bias of `conv1d`: the sum of every channel of `grad_output`.

    Parameters
    ----------
    grad_output : (N, K, out) or (K, out) array

    Returns
    -------
    (K,) array

    Raises
    ------
    ValueError, TypeError
        When `grad_output` has another rank, or is not float32 or float64.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.conv1d_backward_bias(np.ones((2, 3, 4)))
    array([8., 8., 8.])
    """
    return _conv.backward_bias(1, grad_output)


@op
def conv2d(
    input: Array,
    weight: Array | PackedWeight,
    bias: Array | None = None,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    activation: Literal["relu"] | None = None,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    r"""2-D convolution (as in all deep learning: cross-correlation) of images with filters.

    .. math:: y_{n,k,i,j} = b_k + \sum_{c,r,s} w_{k,c,r,s}\,
        x_{n,\,c,\,i\,\mathrm{stride} + r\,\mathrm{dilation} - \mathrm{pad},\,
        j\,\mathrm{stride} + s\,\mathrm{dilation} - \mathrm{pad}}

    Parameters
    ----------
    input : (N, C, H, W) or (C, H, W) array, float32 or float64
        C-contiguous or channels-last; any other strides are correct too.
    weight : (K, C / groups, kernel_h, kernel_w) array
        Or what `pack_conv2d_weight` made of one, with the same `groups`.
    bias : (K,) array, optional
    stride, dilation : int or (vertical, horizontal), at least 1
    padding : int, (vertical, horizontal), (top, bottom, left, right),
        ((top, bottom), (left, right)), ``"same"`` (stride 1; an odd pad goes to the end) or
        ``"valid"``
        Zeros around the image.
    groups : int
        Filter k sees only the channels of its group; ``groups=C`` is depthwise.
    activation : {None, "relu"}
        "relu" makes negative outputs zero while they are in registers: the same bits as
        :func:`~fastconv.functional.relu` of the convolution, without another pass over memory.
    algorithm : {"auto", "direct", "winograd", "fft"}
        "direct" sums the products of the definition. "winograd" takes 2.25 to 4 times fewer
        multiplications for kernels of 3 x 3 with stride 1, dilation 1 and groups 1, and rounds
        otherwise (docs/winograd.md: errors, and what large, infinite and NaN inputs do). "fft"
        multiplies transforms (NumPy's, on one thread): for stride 1 and filters that are not
        packed, faster where a channel's filter has a thousand taps or more; an outlier's rounding,
        and a NaN or infinity, spread over a block of outputs (docs/performance.md). "auto"
        takes the fastest by the shape alone; after ``fastconv.set_accuracy("strict")``, "direct".
    out : (N, K, out_h, out_w) array, optional
        Written to and returned; must not share memory with the operands.

    Returns
    -------
    (N, K, out_h, out_w) array
        In the memory format of `input`; without N where `input` is.

    Raises
    ------
    ValueError
        When sizes do not make a convolution, naming the argument, its value and the shapes, or
        `algorithm` cannot compute it.
    TypeError
        When an operand is not float32 or float64, or the operands' dtypes differ.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> image = np.arange(16.0).reshape(1, 1, 4, 4)
    >>> edge = np.array([[[[-1.0, 1.0]]]])
    >>> F.conv2d(image, edge)[0, 0, 0]
    array([1., 1., 1.])
    """
    return _conv.conv(
        2, input, weight, bias, stride, padding, dilation, groups, activation, algorithm, out
    )


def conv2d_backward_input(
    grad_output: Array,
    weight: Array,
    input_shape: tuple[int, ...],
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    """Gradient of a loss with respect to the input of `conv2d`.

    It is the full convolution of `grad_output` with the filters flipped along every axis, that is,
    the transposed convolution (docs/derivation.md, "The gradient with respect to the input").

    Parameters
    ----------
    grad_output : (N, K, out_h, out_w) or (K, out_h, out_w) array
        Gradient with respect to the output.
    weight : (K, C / groups, kernel_h, kernel_w) array
    input_shape : (N, C, H, W) or (C, H, W)
    stride, padding, dilation, groups, algorithm : as in `conv2d`
    out : array of `input_shape`, optional

    Returns
    -------
    array of `input_shape`
        In the memory format of `grad_output`.

    Raises
    ------
    ValueError, TypeError
        As `conv2d`, and when `grad_output` is not what these arguments put out.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> grad = np.ones((1, 1, 4, 3))
    >>> edge = np.array([[[[-1.0, 1.0]]]])
    >>> F.conv2d_backward_input(grad, edge, (1, 1, 4, 4))[0, 0, 0]
    array([-1.,  0.,  0.,  1.])
    """
    return _conv.backward_input(
        2, grad_output, weight, input_shape, stride, padding, dilation, groups, algorithm, out
    )


def conv2d_backward_weight(
    grad_output: Array,
    input: Array,
    weight_shape: tuple[int, int, int, int],
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    """Gradient of a loss with respect to the weight of `conv2d`, summed over the batch.

    It is the correlation of the input with the output gradient (docs/derivation.md, "The gradient
    with respect to the weight").

    Parameters
    ----------
    grad_output : (N, K, out_h, out_w) or (K, out_h, out_w) array
        Gradient with respect to the output.
    input : (N, C, H, W) or (C, H, W) array
    weight_shape : (K, C / groups, kernel_h, kernel_w)
    stride, padding, dilation, groups, algorithm : as in `conv2d`
    out : array of `weight_shape`, optional

    Returns
    -------
    array of `weight_shape`, C-contiguous

    Raises
    ------
    ValueError, TypeError
        As `conv2d`, and when `grad_output` is not what these arguments put out.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> image = np.arange(16.0).reshape(1, 1, 4, 4)
    >>> F.conv2d_backward_weight(np.ones((1, 1, 4, 3)), image, (1, 1, 1, 2))
    array([[[[84., 96.]]]])
    """
    return _conv.backward_weight(
        2, grad_output, input, weight_shape, stride, padding, dilation, groups, algorithm, out
    )


def conv2d_backward_bias(grad_output: Array) -> Array:
    """Gradient of a loss with respect to the bias of `conv2d`: a sum per channel.

    Parameters
    ----------
    grad_output : (N, K, out_h, out_w) or (K, out_h, out_w) array

    Returns
    -------
    (K,) array

    Raises
    ------
    ValueError, TypeError
        When `grad_output` has another rank, or is not float32 or float64.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.conv2d_backward_bias(np.ones((2, 3, 4, 4)))
    array([32., 32., 32.])
    """
    return _conv.backward_bias(2, grad_output)


@op
def conv3d(
    input: Array,
    weight: Array | PackedWeight,
    bias: Array | None = None,
    stride: Triple = 1,
    padding: TriplePadding = 0,
    dilation: Triple = 1,
    groups: int = 1,
    *,
    activation: Literal["relu"] | None = None,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    r"""3-D convolution (cross-correlation) of volumes or videos: `conv2d` with an axis more.

    .. math:: y_{n,k,h,i,j} = b_k + \sum_{c,q,r,s} w_{k,c,q,r,s}\,
        x_{n,\,c,\,h\,\mathrm{stride} + q\,\mathrm{dilation} - \mathrm{pad},\,
        i\,\mathrm{stride} + r\,\mathrm{dilation} - \mathrm{pad},\,
        j\,\mathrm{stride} + s\,\mathrm{dilation} - \mathrm{pad}}

    Parameters
    ----------
    input : (N, C, D, H, W) or (C, D, H, W) array, float32 or float64
        C-contiguous or channels-last; any other strides are correct too.
    weight : (K, C / groups, kernel_d, kernel_h, kernel_w) array
        Or what `pack_conv3d_weight` made of one, with the same `groups`.
    bias : (K,) array, optional
    stride, dilation : int or (depth, height, width), at least 1
    padding : int, (depth, height, width), six ints or three pairs of them (before and after in
        depth, height, width), ``"same"`` (stride 1; an odd pad goes to the end) or ``"valid"``
        Zeros around the volume.
    groups, activation, algorithm : as in `conv2d`
    out : (N, K, out_d, out_h, out_w) array, optional
        Written to and returned; must not share memory with the operands.

    Returns
    -------
    (N, K, out_d, out_h, out_w) array
        In the memory format of `input`; without N where `input` is.

    Raises
    ------
    ValueError, TypeError
        As `conv2d`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.conv3d(np.ones((1, 3, 3, 3)), np.ones((2, 1, 3, 3, 3)))[:, 0, 0, 0]
    array([27., 27.])
    """
    return _conv.conv(
        3, input, weight, bias, stride, padding, dilation, groups, activation, algorithm, out
    )


def conv3d_backward_input(
    grad_output: Array,
    weight: Array,
    input_shape: tuple[int, ...],
    stride: Triple = 1,
    padding: TriplePadding = 0,
    dilation: Triple = 1,
    groups: int = 1,
    *,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    """Gradient with respect to the input of `conv3d`: as `conv2d_backward_input`, an axis more.

    Parameters
    ----------
    grad_output : (N, K, out_d, out_h, out_w) or (K, out_d, out_h, out_w) array
        Gradient with respect to the output.
    weight : (K, C / groups, kernel_d, kernel_h, kernel_w) array
    input_shape : (N, C, D, H, W) or (C, D, H, W)
    stride, padding, dilation, groups, algorithm : as in `conv3d`
    out : array of `input_shape`, optional

    Returns
    -------
    array of `input_shape`
        In the memory format of `grad_output`.

    Raises
    ------
    ValueError, TypeError
        As `conv3d`, and when `grad_output` is not what these arguments put out.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> grad, pair = np.ones((1, 2, 1, 1)), np.ones((1, 1, 2, 1, 1))
    >>> F.conv3d_backward_input(grad, pair, (1, 3, 1, 1)).ravel()
    array([1., 2., 1.])
    """
    return _conv.backward_input(
        3, grad_output, weight, input_shape, stride, padding, dilation, groups, algorithm, out
    )


def conv3d_backward_weight(
    grad_output: Array,
    input: Array,
    weight_shape: tuple[int, int, int, int, int],
    stride: Triple = 1,
    padding: TriplePadding = 0,
    dilation: Triple = 1,
    groups: int = 1,
    *,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    """Gradient with respect to the weight of `conv3d`: as `conv2d_backward_weight`, an axis more.

    Parameters
    ----------
    grad_output : (N, K, out_d, out_h, out_w) or (K, out_d, out_h, out_w) array
        Gradient with respect to the output.
    input : (N, C, D, H, W) or (C, D, H, W) array
    weight_shape : (K, C / groups, kernel_d, kernel_h, kernel_w)
    stride, padding, dilation, groups, algorithm : as in `conv3d`
    out : array of `weight_shape`, optional

    Returns
    -------
    array of `weight_shape`, C-contiguous

    Raises
    ------
    ValueError, TypeError
        As `conv3d`, and when `grad_output` is not what these arguments put out.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> volume = np.arange(3.0).reshape(1, 3, 1, 1)
    >>> F.conv3d_backward_weight(np.ones((1, 2, 1, 1)), volume, (1, 1, 2, 1, 1)).ravel()
    array([1., 3.])
    """
    return _conv.backward_weight(
        3, grad_output, input, weight_shape, stride, padding, dilation, groups, algorithm, out
    )


def conv3d_backward_bias(grad_output: Array) -> Array:
    """Gradient with respect to the bias of `conv3d`: the sum of every channel of `grad_output`.

    Parameters
    ----------
    grad_output : (N, K, out_d, out_h, out_w) or (K, out_d, out_h, out_w) array

    Returns
    -------
    (K,) array

    Raises
    ------
    ValueError, TypeError
        When `grad_output` has another rank, or is not float32 or float64.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.conv3d_backward_bias(np.ones((2, 3, 2, 4, 4)))
    array([64., 64., 64.])
    """
    return _conv.backward_bias(3, grad_output)
