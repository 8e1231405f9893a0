"""Batch normalisation (docs/derivation.md, "Batch normalisation")."""

from typing import Literal

import numpy as np

from fastconv import _ops
from fastconv.functional._check import (
    Array,
    as_array,
    check_ndim,
    check_shape,
    empty_like,
    is_relu,
    same_dtype,
)
from fastconv.functional._op import op
from fastconv.functional._options import check_eps, check_momentum

__all__ = ["batch_norm", "batch_norm_backward"]


def _channel_vector(name: str, value: Array | None, input: Array) -> Array | None:
    if value is None:
        return None
    vector = as_array(name, value)
    if vector.dtype != input.dtype:
        same_dtype(**{"input": input, name: vector})
    check_shape(name, vector, input.shape[1:2])
    return vector


def _updated_vector(name: str, value: Array | None, input: Array) -> Array | None:
    """A vector that is written to: the very array that the caller has."""
    vector = _channel_vector(name, value, input)
    if vector is not None and (vector is not value or not vector.flags.writeable):
        raise ValueError(
            f"{name} is updated in place: it must be a writable, aligned NumPy array in native "
            "byte order"
        )
    return vector


def _checked_input(input: Array) -> Array:
    x = as_array("input", input)
    check_ndim("input", x, (2, 3, 4))
    if 0 in x.shape[1:]:
        raise ValueError(f"input must have channels and pixels, got shape {x.shape}")
    return x


@op
def batch_norm(
    input: Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None = None,
    bias: Array | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    activation: Literal["relu"] | None = None,
    return_statistics: bool = False,
) -> Array | tuple[Array, Array, Array]:
    """Normalise every channel: weight (x - mean) / √(var + eps) + bias.

    In training, mean and var are the batch's own, and the running arrays move towards them; in
    evaluation they are the running arrays.

    Parameters
    ----------
    input : (N, C), (N, C, L) or (N, C, H, W) array, float32 or float64
    running_mean, running_var : (C,) array or None
        Updated in place in training unless None: running += momentum (batch's - running), where
        the batch's variance is the unbiased one. Evaluation needs them.
    weight, bias : (C,) array, optional
        1 and 0 if None.
    training : bool
    momentum : float
        Between 0 and 1.
    eps : float
        Not negative.
    activation : {None, "relu"}
        Of the output, while it is written.
    return_statistics : bool
        Also return what :func:`batch_norm_backward` needs.

    Returns
    -------
    output : array of the shape, dtype and memory layout of ``input``
    mean, invstd : (C,) array, if ``return_statistics``
        invstd = 1 / √(var + eps).

    Raises
    ------
    TypeError
        If an array is neither float32 nor float64, or the dtypes differ.
    ValueError
        If shapes do not fit, running arrays are missing in evaluation or cannot be written to in
        training, a channel has fewer than two elements in training, ``momentum`` or ``eps`` is
        out of range, or ``activation`` is something else.

    Notes
    -----
    Ioffe and Szegedy, "Batch normalization", arXiv:1502.03167. Variances are summed about the mean
    and joined in float64, so a mean that is large beside the deviation costs no digits.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[1.0, 10.0], [3.0, 30.0]])
    >>> batch_norm(x, None, None, training=True, eps=0.0)
    array([[-1., -1.],
           [ 1.,  1.]])
    """
    x = _checked_input(input)
    checked = _updated_vector if training else _channel_vector
    means = checked("running_mean", running_mean, x)
    variances = checked("running_var", running_var, x)
    weight, bias = _channel_vector("weight", weight, x), _channel_vector("bias", bias, x)
    eps, momentum = check_eps(eps), check_momentum(momentum)
    if training and x.size < 2 * x.shape[1]:
        raise ValueError(
            f"training needs more than one element for every channel, got input of shape {x.shape}"
        )
    if not training and (means is None or variances is None):
        raise ValueError("evaluation needs running_mean and running_var, got None")
    relu = is_relu(activation)
    output = empty_like(x)
    mean, invstd = np.empty(x.shape[1], x.dtype), np.empty(x.shape[1], x.dtype)
    _ops.batch_norm(
        x,
        output,
        mean,
        invstd,
        means,
        variances,
        weight,
        bias,
        training,
        momentum,
        eps,
        relu=relu,
    )
    return (output, mean, invstd) if return_statistics else output


def batch_norm_backward(
    grad_output: Array,
    input: Array,
    weight: Array | None,
    mean: Array,
    invstd: Array,
    training: bool = True,
) -> tuple[Array, Array, Array]:
    """Gradients of :func:`batch_norm` with respect to input, weight and bias.

    Parameters
    ----------
    grad_output : (N, C), (N, C, L) or (N, C, H, W) array, float32 or float64
    input : array of that shape and dtype
        What forward was given.
    weight : (C,) array or None
    mean, invstd : (C,) array
        What forward returned.
    training : bool
        As forward was called: whether the mean and variance were the batch's, and so moved with it.

    Returns
    -------
    grad_input : array of the shape, dtype and memory layout of ``input``
        With u = (x - mean) invstd, weight invstd (g - mean(g) - u mean(g u)) in training, and
        weight invstd g in evaluation.
    grad_weight, grad_bias : (C,) array
        Σ g u and Σ g.

    Raises
    ------
    TypeError
        If an array is neither float32 nor float64, or the dtypes differ.
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> x, g = np.array([[1.0], [3.0]]), np.array([[1.0], [2.0]])
    >>> _, mean, invstd = batch_norm(x, None, None, training=True, eps=0.0, return_statistics=True)
    >>> grad_input, grad_weight, grad_bias = batch_norm_backward(g, x, None, mean, invstd)
    >>> print(grad_input.ravel(), grad_weight, grad_bias)
    [0. 0.] [1.] [3.]
    """
    x = _checked_input(input)
    g = as_array("grad_output", grad_output)
    if g.dtype != x.dtype:
        same_dtype(grad_output=g, input=x)
    check_shape("grad_output", g, x.shape)
    weight = _channel_vector("weight", weight, x)
    means, invstds = _channel_vector("mean", mean, x), _channel_vector("invstd", invstd, x)
    if means is None or invstds is None:
        raise TypeError(f"mean and invstd must be arrays, got {mean!r} and {invstd!r}")
    grad_input = empty_like(x)
    grad_weight, grad_bias = np.empty(x.shape[1], x.dtype), np.empty(x.shape[1], x.dtype)
    _ops.batch_norm_backward(
        g, x, weight, means, invstds, grad_input, grad_weight, grad_bias, training
    )
    return grad_input, grad_weight, grad_bias
