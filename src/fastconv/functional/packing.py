"""Weights of convolutions in the order that the kernels read them in, once for many calls."""

from __future__ import annotations

from fastconv._ops import PackedTransposedWeight, PackedWeight
from fastconv.functional._check import Array, as_array
from fastconv.functional.conv import Pair, Single, Triple

__all__ = [
    "PackedTransposedWeight",
    "PackedWeight",
    "pack_conv1d_weight",
    "pack_conv2d_weight",
    "pack_conv3d_weight",
    "pack_conv_transpose1d_weight",
    "pack_conv_transpose2d_weight",
    "pack_conv_transpose3d_weight",
]


def pack_conv1d_weight(weight: Array, groups: int = 1) -> PackedWeight:
    """Filters of `conv1d` brought into the order that the kernels read them in.

    Parameters
    ----------
    weight : (K, C / groups, kernel) array, float32 or float64
        Copied.
    groups : int

    Returns
    -------
    PackedWeight
        As of `pack_conv2d_weight`.

    Raises
    ------
    ValueError, TypeError
        As `pack_conv2d_weight`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> edge = F.pack_conv1d_weight(np.array([[[-1.0, 1.0]]]))
    >>> F.conv1d(np.array([[1.0, 2.0, 4.0]]), edge)
    array([[1., 2.]])
    """
    return PackedWeight(as_array("weight", weight, 3), groups)


def pack_conv2d_weight(weight: Array, groups: int = 1) -> PackedWeight:
    """Filters brought into the order that the kernels read them in, once for many calls.

    `conv2d` takes the result for its `weight`. It saves what every call spends on that order, which
    matters where filters are many and images small or few. Each algorithm returns the same bits as
    without; ``algorithm="auto"`` may choose another one, since transforming packed filters for
    Winograd's costs nothing any more.

    Parameters
    ----------
    weight : (K, C / groups, kernel_h, kernel_w) array, float32 or float64
        Copied: changing it afterwards changes nothing.
    groups : int
        Of the convolutions to come.

    Returns
    -------
    PackedWeight
        Immutable, with attributes ``shape``, ``dtype`` and ``groups``. Twice to three times the
        size of `weight`, more where there are only a few filters; a convolution that takes
        Winograd's algorithm adds, once, the filters' transforms, four times the size of `weight`
        (1.8 times for tiles of 2 x 2). Threads may share it. Pickling keeps the filters, and packs
        them anew for the processor at hand.

    Raises
    ------
    ValueError
        When `weight` has not four positive sizes, or `groups` does not divide its filters.
    TypeError
        When `weight` is not float32 or float64, or `groups` no integer.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> edge = F.pack_conv2d_weight(np.array([[[[-1.0, 1.0]]]]))
    >>> for scale in 1.0, 2.0:
    ...     F.conv2d(scale * np.arange(4.0).reshape(1, 1, 1, 4), edge)[0, 0, 0]
    array([1., 1., 1.])
    array([2., 2., 2.])
    """
    return PackedWeight(as_array("weight", weight, 4), groups)


def pack_conv3d_weight(weight: Array, groups: int = 1) -> PackedWeight:
    """Filters of `conv3d` brought into the order that the kernels read them in.

    Parameters
    ----------
    weight : (K, C / groups, kernel_d, kernel_h, kernel_w) array, float32 or float64
        Copied.
    groups : int

    Returns
    -------
    PackedWeight
        As of `pack_conv2d_weight`.

    Raises
    ------
    ValueError, TypeError
        As `pack_conv2d_weight`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> cube = F.pack_conv3d_weight(np.ones((1, 1, 2, 2, 2)))
    >>> F.conv3d(np.ones((1, 1, 2, 2, 3)), cube)
    array([[[[[8., 8.]]]]])
    """
    return PackedWeight(as_array("weight", weight, 5), groups)


def pack_conv_transpose1d_weight(
    weight: Array, stride: Single = 1, groups: int = 1, dilation: Single = 1
) -> PackedTransposedWeight:
    """Weight of `conv_transpose1d` packed for many calls: `pack_conv_transpose2d_weight`.

    Parameters
    ----------
    weight : (I, O / groups, kernel) array, float32 or float64
        Copied.
    stride, dilation : int, at least 1
    groups : int
        Of the transposed convolutions to come.

    Returns
    -------
    PackedTransposedWeight

    Raises
    ------
    ValueError, TypeError
        As `pack_conv_transpose2d_weight`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> packed = F.pack_conv_transpose1d_weight(np.ones((1, 1, 3)), stride=2)
    >>> F.conv_transpose1d(np.array([[1.0, 2.0]]), packed, stride=2)
    array([[1., 1., 3., 2., 2.]])
    """
    return PackedTransposedWeight(as_array("weight", weight, 3), stride, groups, dilation)


def pack_conv_transpose2d_weight(
    weight: Array, stride: Pair = 1, groups: int = 1, dilation: Pair = 1
) -> PackedTransposedWeight:
    """Weight of `conv_transpose2d` in the order that the kernels read it in, for many calls.

    `conv_transpose2d` takes the result for its `weight`, with any padding, and returns the same
    bits. It saves what every call spends on that order, which matters where channels are many and
    images small or few. Calls that read the weight in another order (depthwise and narrow groups,
    Winograd's algorithm, a few output channels) use the copy as if it were not packed.

    Parameters
    ----------
    weight : (I, O / groups, kernel_h, kernel_w) array, float32 or float64
        Copied: changing it afterwards changes nothing.
    stride, dilation : int or (vertical, horizontal), at least 1
        Of the transposed convolutions to come: which taps an output has depends on them.
    groups : int
        Likewise.

    Returns
    -------
    PackedTransposedWeight
        Immutable, with attributes ``shape``, ``dtype``, ``stride``, ``groups`` and ``dilation``.
        Twice to three times the size of `weight`, more where there are only a few filters. Threads
        may share it. Pickling keeps the weight and these options, and packs it anew for the
        processor at hand.

    Raises
    ------
    ValueError
        When `weight` has not four positive sizes, an option is below 1, or `groups` does not divide
        the channels.
    TypeError
        When `weight` is not float32 or float64, or an option no integer.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> double = F.pack_conv_transpose2d_weight(np.ones((1, 1, 1, 2)), stride=(1, 2))
    >>> for scale in 1.0, 2.0:
    ...     F.conv_transpose2d(np.full((1, 1, 1, 2), scale), double, stride=(1, 2))[0, 0]
    array([[1., 1., 1., 1.]])
    array([[2., 2., 2., 2.]])
    """
    return PackedTransposedWeight(as_array("weight", weight, 4), stride, groups, dilation)


def pack_conv_transpose3d_weight(
    weight: Array, stride: Triple = 1, groups: int = 1, dilation: Triple = 1
) -> PackedTransposedWeight:
    """Weight of `conv_transpose3d` packed for many calls: `pack_conv_transpose2d_weight`.

    Parameters
    ----------
    weight : (I, O / groups, kernel_d, kernel_h, kernel_w) array, float32 or float64
        Copied.
    stride, dilation : int or (deep, vertical, horizontal), at least 1
    groups : int
        Of the transposed convolutions to come.

    Returns
    -------
    PackedTransposedWeight

    Raises
    ------
    ValueError, TypeError
        As `pack_conv_transpose2d_weight`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> packed = F.pack_conv_transpose3d_weight(np.ones((1, 1, 1, 1, 2)), stride=(1, 1, 2))
    >>> F.conv_transpose3d(np.array([[[[1.0, 2.0]]]]), packed, stride=(1, 1, 2))
    array([[[[1., 1., 2., 2.]]]])
    """
    return PackedTransposedWeight(as_array("weight", weight, 5), stride, groups, dilation)
