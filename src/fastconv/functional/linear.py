"""The fully connected layer."""

import numpy as np

from fastconv import _ops
from fastconv._buffers import empty
from fastconv.functional._check import Array, as_array, check_shape, same_dtype
from fastconv.functional._op import op

__all__ = ["linear", "linear_backward"]


@op
def linear(input: Array, weight: Array, bias: Array | None = None) -> Array:
    """Compute x Wᵀ + b over the last axis.

    Parameters
    ----------
    input : ndarray, shape (..., I)
        Any number of leading axes, or none.
    weight : ndarray, shape (O, I)
        Of ``input``'s dtype.
    bias : ndarray, shape (O,), optional
        Of ``input``'s dtype.

    Returns
    -------
    ndarray, shape (..., O)

    Raises
    ------
    TypeError
        If an array is neither float32 nor float64, or the dtypes differ.
    ValueError
        If the shapes do not fit.

    Notes
    -----
    Section "Fully connected" of docs/derivation.md.

    Examples
    --------
    >>> import numpy as np
    >>> linear(np.array([[1.0, 2.0]]), np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([0.5, 0.5]))
    array([[1.5, 3.5]])
    """
    x, weight = _checked(input, weight)
    if bias is not None:
        bias = as_array("bias", bias)
        if bias.dtype is not x.dtype:
            same_dtype(input=x, bias=bias)
        check_shape("bias", bias, weight.shape[:1])
        if not bias.flags.c_contiguous:
            bias = bias.copy()
    output = empty((*x.shape[:-1], weight.shape[0]), x.dtype)
    _ops.linear(x, weight, bias, output)
    return output


def linear_backward(grad_output: Array, input: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Gradients of :func:`linear`: (g W, gᵀ x, sum of g), with g and x as matrices.

    Parameters
    ----------
    grad_output : ndarray, shape (..., O)
        Gradient with respect to the output.
    input : ndarray, shape (..., I)
        As in the forward pass.
    weight : ndarray, shape (O, I)
        As in the forward pass.

    Returns
    -------
    grad_input : ndarray, shape (..., I)
    grad_weight : ndarray, shape (O, I)
    grad_bias : ndarray, shape (O,)

    Raises
    ------
    TypeError
        If an array is neither float32 nor float64, or the dtypes differ.
    ValueError
        If the shapes do not fit.

    Notes
    -----
    Section "Fully connected" of docs/derivation.md.

    Examples
    --------
    >>> import numpy as np
    >>> g, x, w = np.ones((2, 1)), np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[5.0, 6.0]])
    >>> grad_input, grad_weight, grad_bias = linear_backward(g, x, w)
    >>> grad_weight, grad_bias
    (array([[4., 6.]]), array([2.]))
    """
    x, weight = _checked(input, weight)
    grad_output = _contiguous(as_array("grad_output", grad_output))
    if grad_output.dtype is not x.dtype:
        same_dtype(grad_output=grad_output, input=x)
    check_shape("grad_output", grad_output, (*x.shape[:-1], weight.shape[0]))
    grad_input = empty(x.shape, x.dtype)
    grad_weight = empty(weight.shape, x.dtype)
    grad_bias = empty(weight.shape[:1], x.dtype)
    _ops.linear_backward(grad_output, x, weight, grad_input, grad_weight, grad_bias)
    return grad_input, grad_weight, grad_bias


def _contiguous(array: Array) -> Array:
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


def _checked(input: Array, weight: Array) -> tuple[Array, Array]:
    """Both, C-contiguous."""
    x, w = as_array("input", input), as_array("weight", weight)
    if x.dtype is not w.dtype:
        same_dtype(input=x, weight=w)
    if w.ndim != 2 or x.ndim < 1 or x.shape[-1] != w.shape[1]:
        raise ValueError(
            f"input has shape {x.shape} and weight {w.shape}; linear takes (..., I) and (O, I)"
        )
    return _contiguous(x), _contiguous(w)
