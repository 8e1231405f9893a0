"""Transposed convolution of one, two and three axes (docs/derivation.md, "Transposed convolution").

What is done stands once, for any number of axes, in `_conv_transpose`; the functions here are its
names.
"""

from __future__ import annotations

from typing import Literal

from fastconv._ops import PackedTransposedWeight
from fastconv.functional import _conv, _conv_transpose
from fastconv.functional._check import Array
from fastconv.functional._op import op
from fastconv.functional.conv import Pair, Single, Triple

__all__ = [
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

# Of padding, as convolutions have it without "same" and "valid".
SingleSides = int | tuple[int] | tuple[int, int] | tuple[tuple[int, int]]
PairSides = int | tuple[int, int] | tuple[int, int, int, int] | tuple[tuple[int, int], ...]
TripleSides = (
    int
    | tuple[int, int, int]
    | tuple[int, int, int, int, int, int]
    | tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
)


@op
def conv_transpose1d(
    input: Array,
    weight: Array | PackedTransposedWeight,
    bias: Array | None = None,
    stride: Single = 1,
    padding: SingleSides = 0,
    output_padding: Single = 0,
    groups: int = 1,
    dilation: Single = 1,
    *,
    activation: Literal["relu"] | None = None,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    r"""1-D transposed convolution of sequences with filters: `conv_transpose2d` with one axis.

    .. math:: y_{n,k,j} = b_k + \sum_{c,i,s} w_{c,k,s}\, x_{n,c,i}
        \quad\text{over}\quad i\,\mathrm{stride} + s\,\mathrm{dilation} - \mathrm{pad} = j

    Parameters
    ----------
    input : (N, I, L) or (I, L) array, float32 or float64
        C-contiguous or channels-last; any other strides are correct too.
    weight : (I, O / groups, kernel) array, or a PackedTransposedWeight of one
    bias : (O,) array, optional
    stride, dilation : int, at least 1
    padding : int, (before, after)
    output_padding : int, less than the stride or the dilation
    groups, activation, algorithm : as in `conv_transpose2d`
    out : (N, O, out) array, optional
        Written to and returned; must not share memory with the operands.

    Returns
    -------
    (N, O, out) array
        In the memory format of `input`; without N where `input` is.

    Raises
    ------
    ValueError, TypeError
        As `conv_transpose2d`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.conv_transpose1d(np.array([[1.0, 2.0]]), np.array([[[1.0, 1.0, 1.0]]]), stride=2)
    array([[1., 1., 3., 2., 2.]])
    """
    return _conv_transpose.conv_transpose(
        1,
        input,
        weight,
        bias,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
        activation,
        algorithm,
        out,
    )


def conv_transpose1d_backward_input(
    grad_output: Array,
    weight: Array,
    input_shape: tuple[int, ...],
    stride: Single = 1,
    padding: SingleSides = 0,
    output_padding: Single = 0,
    groups: int = 1,
    dilation: Single = 1,
    *,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    """Gradient with respect to the input of `conv_transpose1d`: `conv1d` of `grad_output`.

    Parameters
    ----------
    grad_output : (N, O, out) or (O, out) array
        Gradient with respect to the output.
    weight : (I, O / groups, kernel) array
    input_shape : (N, I, L) or (I, L)
    stride, padding, output_padding, groups, dilation, algorithm : as in `conv_transpose1d`
    out : array of `input_shape`, optional

    Returns
    -------
    array of `input_shape`
        In the memory format of `grad_output`.

    Raises
    ------
    ValueError, TypeError
        As `conv_transpose1d`, and when `grad_output` is not what these arguments put out.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.conv_transpose1d_backward_input(np.ones((1, 5)), np.ones((1, 1, 3)), (1, 2), 2)
    array([[3., 3.]])
    """
    return _conv_transpose.backward_input(
        1,
        grad_output,
        weight,
        input_shape,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
        algorithm,
        out,
    )


def conv_transpose1d_backward_weight(
    grad_output: Array,
    input: Array,
    weight_shape: tuple[int, int, int],
    stride: Single = 1,
    padding: SingleSides = 0,
    output_padding: Single = 0,
    groups: int = 1,
    dilation: Single = 1,
    *,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    """Gradient with respect to the weight of `conv_transpose1d`, summed over the batch.

    Parameters
    ----------
    grad_output : (N, O, out) or (O, out) array
        Gradient with respect to the output.
    input : (N, I, L) or (I, L) array
    weight_shape : (I, O / groups, kernel)
    stride, padding, output_padding, groups, dilation, algorithm : as in `conv_transpose1d`
    out : array of `weight_shape`, optional

    Returns
    -------
    array of `weight_shape`, C-contiguous

    Raises
    ------
    ValueError, TypeError
        As `conv_transpose1d`, and when `grad_output` is not what these arguments put out.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.conv_transpose1d_backward_weight(np.ones((1, 5)), np.ones((1, 2)), (1, 1, 3), 2)
    array([[[2., 2., 2.]]])
    """
    return _conv_transpose.backward_weight(
        1,
        grad_output,
        input,
        weight_shape,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
        algorithm,
        out,
    )


def conv_transpose1d_backward_bias(grad_output: Array) -> Array:
    """Gradient with respect to the bias of `conv_transpose1d`: the sum of every channel.

    Parameters
    ----------
    grad_output : (N, O, out) or (O, out) array

    Returns
    -------
    (O,) array

    Raises
    ------
    ValueError, TypeError
        When `grad_output` has another rank, or is not float32 or float64.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.conv_transpose1d_backward_bias(np.ones((2, 3, 4)))
    array([8., 8., 8.])
    """
    return _conv.backward_bias(1, grad_output)


@op
def conv_transpose2d(
    input: Array,
    weight: Array | PackedTransposedWeight,
    bias: Array | None = None,
    stride: Pair = 1,
    padding: PairSides = 0,
    output_padding: Pair = 0,
    groups: int = 1,
    dilation: Pair = 1,
    *,
    activation: Literal["relu"] | None = None,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    r"""2-D transposed convolution: each input pixel stamps the kernel, scaled, on the output.

    .. math:: y_{n,k,p,q} = b_k + \sum_{c,i,j,r,s} w_{c,k,r,s}\, x_{n,c,i,j}
        \quad\text{over}\quad i\,\mathrm{stride} + r\,\mathrm{dilation} - \mathrm{pad} = p,\;
        j\,\mathrm{stride} + s\,\mathrm{dilation} - \mathrm{pad} = q

    It is the adjoint of `conv2d` with the same weight: the gradient of that convolution with
    respect to its input. Along each axis the output has
    ``(size - 1) * stride + dilation * (kernel - 1) + 1 + output_padding`` elements, less the
    padding on both sides.

    Parameters
    ----------
    input : (N, I, H, W) or (I, H, W) array, float32 or float64
        C-contiguous or channels-last; any other strides are correct too.
    weight : (I, O / groups, kernel_h, kernel_w) array, or a PackedTransposedWeight of one
    bias : (O,) array, optional
    stride, dilation : int or (vertical, horizontal), at least 1
    padding : int, (vertical, horizontal), (top, bottom, left, right) or
        ((top, bottom), (left, right))
        So much is left out of the output at its border, as a convolution adds it to its input.
    output_padding : int or (vertical, horizontal), less than the stride or the dilation
        So much is added to the output's size at the end: a stride makes several sizes alike to the
        convolution that this is the adjoint of, and this chooses one of them.
    groups : int
        Input channels of one group reach the output channels of that group; ``groups=I`` with one
        filter each is depthwise.
    activation : {None, "relu"}
        As in `conv2d`: ReLU in the same pass, to the same bits.
    algorithm : {"auto", "direct", "winograd"}
        As in `conv2d`; "winograd" for kernels of 3 x 3 with stride 1, dilation 1 and groups 1.
    out : (N, O, out_h, out_w) array, optional
        Written to and returned; must not share memory with the operands.

    Returns
    -------
    (N, O, out_h, out_w) array
        In the memory format of `input`; without N where `input` is.

    Raises
    ------
    ValueError
        When sizes do not make a transposed convolution, naming the argument, its value and the
        shapes, or `algorithm` cannot compute it.
    TypeError
        When an operand is not float32 or float64, or the operands' dtypes differ.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> small = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> F.conv_transpose2d(small, np.ones((1, 1, 2, 2)), stride=2)[0, 0]
    array([[1., 1., 2., 2.],
           [1., 1., 2., 2.],
           [3., 3., 4., 4.],
           [3., 3., 4., 4.]])
    """
    return _conv_transpose.conv_transpose(
        2,
        input,
        weight,
        bias,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
        activation,
        algorithm,
        out,
    )


def conv_transpose2d_backward_input(
    grad_output: Array,
    weight: Array,
    input_shape: tuple[int, ...],
    stride: Pair = 1,
    padding: PairSides = 0,
    output_padding: Pair = 0,
    groups: int = 1,
    dilation: Pair = 1,
    *,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    """Gradient of a loss with respect to the input of `conv_transpose2d`.

    It is `conv2d` of the gradient: the adjoint of an adjoint.

    Parameters
    ----------
    grad_output : (N, O, out_h, out_w) or (O, out_h, out_w) array
        Gradient with respect to the output.
    weight : (I, O / groups, kernel_h, kernel_w) array
    input_shape : (N, I, H, W) or (I, H, W)
    stride, padding, output_padding, groups, dilation, algorithm : as in `conv_transpose2d`
    out : array of `input_shape`, optional

    Returns
    -------
    array of `input_shape`
        In the memory format of `grad_output`.

    Raises
    ------
    ValueError, TypeError
        As `conv_transpose2d`, and when `grad_output` is not what these arguments put out.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> grad, square = np.ones((1, 1, 4, 4)), np.ones((1, 1, 2, 2))
    >>> F.conv_transpose2d_backward_input(grad, square, (1, 1, 2, 2), stride=2)[0, 0]
    array([[4., 4.],
           [4., 4.]])
    """
    return _conv_transpose.backward_input(
        2,
        grad_output,
        weight,
        input_shape,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
        algorithm,
        out,
    )


def conv_transpose2d_backward_weight(
    grad_output: Array,
    input: Array,
    weight_shape: tuple[int, int, int, int],
    stride: Pair = 1,
    padding: PairSides = 0,
    output_padding: Pair = 0,
    groups: int = 1,
    dilation: Pair = 1,
    *,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    """Gradient of a loss with respect to the weight of `conv_transpose2d`, summed over the batch.

    It is `conv2d_backward_weight` with the two operands exchanged.

    Parameters
    ----------
    grad_output : (N, O, out_h, out_w) or (O, out_h, out_w) array
        Gradient with respect to the output.
    input : (N, I, H, W) or (I, H, W) array
    weight_shape : (I, O / groups, kernel_h, kernel_w)
    stride, padding, output_padding, groups, dilation, algorithm : as in `conv_transpose2d`
    out : array of `weight_shape`, optional

    Returns
    -------
    array of `weight_shape`, C-contiguous

    Raises
    ------
    ValueError, TypeError
        As `conv_transpose2d`, and when `grad_output` is not what these arguments put out.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> small = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> F.conv_transpose2d_backward_weight(np.ones((1, 1, 4, 4)), small, (1, 1, 2, 2), stride=2)
    array([[[[10., 10.],
             [10., 10.]]]])
    """
    return _conv_transpose.backward_weight(
        2,
        grad_output,
        input,
        weight_shape,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
        algorithm,
        out,
    )


def conv_transpose2d_backward_bias(grad_output: Array) -> Array:
    """Gradient with respect to the bias of `conv_transpose2d`: the sum of every channel.

    Parameters
    ----------
    grad_output : (N, O, out_h, out_w) or (O, out_h, out_w) array

    Returns
    -------
    (O,) array

    Raises
    ------
    ValueError, TypeError
        When `grad_output` has another rank, or is not float32 or float64.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.conv_transpose2d_backward_bias(np.ones((2, 3, 4, 4)))
    array([32., 32., 32.])
    """
    return _conv.backward_bias(2, grad_output)


@op
def conv_transpose3d(
    input: Array,
    weight: Array | PackedTransposedWeight,
    bias: Array | None = None,
    stride: Triple = 1,
    padding: TripleSides = 0,
    output_padding: Triple = 0,
    groups: int = 1,
    dilation: Triple = 1,
    *,
    activation: Literal["relu"] | None = None,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    r"""3-D transposed convolution of volumes: `conv_transpose2d` with an axis more.

    .. math:: y_{n,k,o,p,q} = b_k + \sum_{c,h,i,j,t,r,s} w_{c,k,t,r,s}\, x_{n,c,h,i,j}
        \quad\text{over}\quad h\,\mathrm{stride} + t\,\mathrm{dilation} - \mathrm{pad} = o,\;
        i\,\mathrm{stride} + r\,\mathrm{dilation} - \mathrm{pad} = p,\;
        j\,\mathrm{stride} + s\,\mathrm{dilation} - \mathrm{pad} = q

    Parameters
    ----------
    input : (N, I, D, H, W) or (I, D, H, W) array, float32 or float64
        C-contiguous or channels-last; any other strides are correct too.
    weight : (I, O / groups, kernel_d, kernel_h, kernel_w) array, or a PackedTransposedWeight of one
    bias : (O,) array, optional
    stride, dilation : int or (depth, height, width), at least 1
    padding : int, (depth, height, width), six ints or three pairs of them
    output_padding : int or (depth, height, width), less than the stride or the dilation
    groups, activation, algorithm : as in `conv_transpose2d`
    out : (N, O, out_d, out_h, out_w) array, optional
        Written to and returned; must not share memory with the operands.

    Returns
    -------
    (N, O, out_d, out_h, out_w) array
        In the memory format of `input`; without N where `input` is.

    Raises
    ------
    ValueError, TypeError
        As `conv_transpose2d`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.conv_transpose3d(np.ones((1, 4, 5, 6)), np.ones((1, 2, 2, 2, 2)), stride=2).shape
    (2, 8, 10, 12)
    """
    return _conv_transpose.conv_transpose(
        3,
        input,
        weight,
        bias,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
        activation,
        algorithm,
        out,
    )


def conv_transpose3d_backward_input(
    grad_output: Array,
    weight: Array,
    input_shape: tuple[int, ...],
    stride: Triple = 1,
    padding: TripleSides = 0,
    output_padding: Triple = 0,
    groups: int = 1,
    dilation: Triple = 1,
    *,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    """Gradient with respect to the input of `conv_transpose3d`: `conv3d` of `grad_output`.

    Parameters
    ----------
    grad_output : (N, O, out_d, out_h, out_w) or
        (O, out_d, out_h, out_w) array
        Gradient with respect to the output.
    weight : (I, O / groups, kernel_d, kernel_h, kernel_w) array
    input_shape : (N, I, D, H, W) or (I, D, H, W)
    stride, padding, output_padding, groups, dilation, algorithm : as in `conv_transpose3d`
    out : array of `input_shape`, optional

    Returns
    -------
    array of `input_shape`
        In the memory format of `grad_output`.

    Raises
    ------
    ValueError, TypeError
        As `conv_transpose3d`, and when `grad_output` is not what these arguments put out.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> grad, cube = np.ones((1, 2, 2, 2)), np.ones((3, 1, 2, 2, 2))
    >>> F.conv_transpose3d_backward_input(grad, cube, (3, 1, 1, 1), stride=2).ravel()
    array([8., 8., 8.])
    """
    return _conv_transpose.backward_input(
        3,
        grad_output,
        weight,
        input_shape,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
        algorithm,
        out,
    )


def conv_transpose3d_backward_weight(
    grad_output: Array,
    input: Array,
    weight_shape: tuple[int, int, int, int, int],
    stride: Triple = 1,
    padding: TripleSides = 0,
    output_padding: Triple = 0,
    groups: int = 1,
    dilation: Triple = 1,
    *,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    """Gradient with respect to the weight of `conv_transpose3d`, summed over the batch.

    Parameters
    ----------
    grad_output : (N, O, out_d, out_h, out_w) or
        (O, out_d, out_h, out_w) array
        Gradient with respect to the output.
    input : (N, I, D, H, W) or (I, D, H, W) array
    weight_shape : (I, O / groups, kernel_d, kernel_h, kernel_w)
    stride, padding, output_padding, groups, dilation, algorithm : as in `conv_transpose3d`
    out : array of `weight_shape`, optional

    Returns
    -------
    array of `weight_shape`, C-contiguous

    Raises
    ------
    ValueError, TypeError
        As `conv_transpose3d`, and when `grad_output` is not what these arguments put out.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> grad, dot = np.ones((1, 2, 1, 1)), np.full((1, 1, 1, 1), 5.0)
    >>> F.conv_transpose3d_backward_weight(grad, dot, (1, 1, 2, 1, 1)).ravel()
    array([5., 5.])
    """
    return _conv_transpose.backward_weight(
        3,
        grad_output,
        input,
        weight_shape,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
        algorithm,
        out,
    )


def conv_transpose3d_backward_bias(grad_output: Array) -> Array:
    """Gradient with respect to the bias of `conv_transpose3d`: the sum of every channel.

    Parameters
    ----------
    grad_output : (N, O, out_d, out_h, out_w) or
        (O, out_d, out_h, out_w) array

    Returns
    -------
    (O,) array

    Raises
    ------
    ValueError, TypeError
        When `grad_output` has another rank, or is not float32 or float64.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.conv_transpose3d_backward_bias(np.ones((2, 3, 4, 4, 4)))
    array([128., 128., 128.])
    """
    return _conv.backward_bias(3, grad_output)
