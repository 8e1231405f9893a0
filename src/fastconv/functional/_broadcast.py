"""Gradients of operands that were broadcast."""

import numpy as np

from fastconv.functional._check import Array


def fitted(grad: Array, shape: tuple[int, ...]) -> Array:
    """The gradient of an operand of this shape that was broadcast: summed over what was repeated.

    Sums are taken in float64: one running sum of many float32 numbers loses digits.
    """
    if grad.shape == shape:
        return grad
    new = grad.ndim - len(shape)
    repeated = [new + i for i, n in enumerate(shape) if n == 1 and grad.shape[new + i] != 1]
    total = np.sum(grad, axis=(*range(new), *repeated), keepdims=True, dtype=np.float64)
    return total.astype(grad.dtype).reshape(shape)
