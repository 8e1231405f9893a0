"""Changes of shape."""

import math
from collections.abc import Sequence
from operator import index

import numpy as np

from fastconv._arguments import whole
from fastconv.functional._check import Array, as_array
from fastconv.functional._op import op

__all__ = ["flatten", "flatten_backward"]


@op
def flatten(input: Array, start_dim: int = 1, end_dim: int = -1) -> Array:
    """Merge the axes from ``start_dim`` to ``end_dim``, both included, into one.

    Parameters
    ----------
    input : ndarray
        Of any rank; rank 0 becomes shape (1,).
    start_dim, end_dim : int
        Axes, negative ones counted from the end.

    Returns
    -------
    ndarray
        In (C, H, W) order whatever the memory format; a view of ``input`` where its strides
        allow, as those of a C-contiguous array do.

    Raises
    ------
    TypeError
        If ``input`` is neither float32 nor float64, or an axis no integer.
    ValueError
        If an axis does not exist, or ``start_dim`` comes after ``end_dim``.

    Examples
    --------
    >>> import numpy as np
    >>> flatten(np.zeros((2, 16, 5, 5))).shape
    (2, 400)
    """
    input = as_array("input", input)
    if input.ndim == 0:
        return input.reshape(1)
    start = _axis("start_dim", start_dim, input)
    end = _axis("end_dim", end_dim, input)
    if start > end:
        raise ValueError(
            f"start_dim={start_dim} comes after end_dim={end_dim} in shape {input.shape}"
        )
    # the merged size is computed, not -1, so that empty arrays work
    merged = math.prod(input.shape[start : end + 1])
    return input.reshape(*input.shape[:start], merged, *input.shape[end + 1 :])


def flatten_backward(
    grad_output: Array, input_shape: Sequence[int], *, channels_last: bool = False
) -> Array:
    """Gradient of :func:`flatten`: ``grad_output`` in the input's shape.

    Parameters
    ----------
    grad_output : ndarray
        Gradient with respect to the output.
    input_shape : sequence of int
        Shape that forward saw.
    channels_last : bool
        Whether forward saw a channels-last (N, C, ...) array, and its gradient is to be one.

    Returns
    -------
    ndarray
        A view where the strides of ``grad_output`` allow.

    Raises
    ------
    TypeError
        If ``grad_output`` is neither float32 nor float64.
    ValueError
        If ``input_shape`` has another number of elements, or fewer than three sizes although
        ``channels_last``.

    Examples
    --------
    >>> import numpy as np
    >>> flatten_backward(np.zeros((2, 400)), (2, 16, 5, 5)).shape
    (2, 16, 5, 5)
    """
    grad_output = as_array("grad_output", grad_output)
    try:
        shape = tuple(map(index, input_shape))
    except TypeError:
        raise TypeError(f"input_shape must be integers, got {input_shape!r}") from None
    if min(shape, default=0) < 0 or math.prod(shape) != grad_output.size:
        raise ValueError(
            f"grad_output of shape {grad_output.shape} cannot take input_shape={shape}"
        )
    if not channels_last:
        return grad_output.reshape(shape)
    if len(shape) < 3:
        raise ValueError(f"input_shape must have 3 or more sizes to be channels-last, got {shape}")
    n, c, *sizes = shape
    pixels = np.ascontiguousarray(grad_output.reshape(n, c, math.prod(sizes)).swapaxes(1, 2))
    return np.moveaxis(pixels.reshape(n, *sizes, c), -1, 1)


def _axis(name: str, dim: int, input: Array) -> int:
    dim = whole(name, dim, -(2**63))
    if not -input.ndim <= dim < input.ndim:
        raise ValueError(f"{name}={dim} is no axis of an input of shape {input.shape}")
    return dim % input.ndim
