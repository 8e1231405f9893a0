"""Fully connected layers, batch norm, dropout, flatten."""

# NumPy types arithmetic on arrays of any dtype as Any
# mypy: disable-error-code="no-any-return"

from collections.abc import Sequence
from math import prod

import numpy as np

from fastconv.reference.activation import relu
from fastconv.reference.geometry import Array

__all__ = [
    "batch_norm",
    "batch_norm_backward",
    "dropout",
    "dropout_backward",
    "flatten",
    "flatten_backward",
    "linear",
    "linear_backward",
]


def linear(input: Array, weight: Array, bias: Array | None = None) -> Array:
    """x W^T + b, with input (..., I), weight (O, I), bias (O,)."""
    output = input @ weight.T
    return output if bias is None else output + bias


def linear_backward(grad_output: Array, input: Array, weight: Array) -> tuple[Array, Array, Array]:
    """(g W, g^T x, sum of g)."""
    g = grad_output.reshape(-1, weight.shape[0])
    x = input.reshape(-1, weight.shape[1])
    return grad_output @ weight, g.T @ x, g.sum(0)


def _over_channels(input: Array) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(the axes to reduce, a per-channel vector's shape) for an input (N, C, ...)."""
    axes = (0, *range(2, input.ndim))
    return axes, (-1, *[1] * (input.ndim - 2))


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
    activation: str | None = None,
    return_statistics: bool = False,
) -> Array | tuple[Array, Array, Array]:
    """weight (x - mean) invstd + bias per channel, invstd = 1 / sqrt(var + eps).

    In training, mean and var are the batch's and the running arrays move towards them in place,
    running_var towards the unbiased variance; in evaluation they are the running arrays. With
    ``return_statistics``, (output, mean, invstd). Ioffe and Szegedy, arXiv:1502.03167.
    """
    axes, column = _over_channels(input)
    if training:
        mean, var = input.mean(axes), input.var(axes)
        n = input.size // input.shape[1]
        if running_mean is not None:
            running_mean += momentum * (mean - running_mean)
        if running_var is not None:
            running_var += momentum * (var * (n / (n - 1)) - running_var)
    else:
        assert running_mean is not None
        assert running_var is not None
        mean, var = running_mean.copy(), running_var
    invstd = 1 / np.sqrt(var + eps)
    output = (input - mean.reshape(column)) * invstd.reshape(column)
    if weight is not None:
        output = output * weight.reshape(column)
    if bias is not None:
        output = output + bias.reshape(column)
    if activation is not None:
        output = relu(output)
    return (output, mean, invstd) if return_statistics else output


def batch_norm_backward(
    grad_output: Array,
    input: Array,
    weight: Array | None,
    mean: Array,
    invstd: Array,
    training: bool = True,
) -> tuple[Array, Array, Array]:
    """(grad_input, grad_weight, grad_bias); with u = (x - mean) invstd,

    grad_weight = sum g u, grad_bias = sum g, and grad_input = weight invstd g in evaluation; in
    training, where mean and var moved with the input, less what g shares with 1 and u:
    weight invstd (g - mean(g) - u mean(g u)).
    """
    axes, column = _over_channels(input)
    u = (input - mean.reshape(column)) * invstd.reshape(column)
    grad_weight, grad_bias = (grad_output * u).sum(axes), grad_output.sum(axes)
    grad_input = grad_output
    if training:
        n = input.dtype.type(input.size // input.shape[1])
        shared = (grad_bias / n).reshape(column) + u * (grad_weight / n).reshape(column)
        grad_input = grad_output - shared
    scale = invstd if weight is None else weight * invstd
    return grad_input * scale.reshape(column), grad_weight, grad_bias


def dropout(
    input: Array,
    p: float = 0.5,
    training: bool = True,
    *,
    rng: np.random.Generator | None = None,
    return_mask: bool = False,
) -> Array | tuple[Array, Array]:
    """In training, zero each element with probability p and scale the rest by 1 / (1 - p).

    The mask is True where an element was kept. Srivastava et al., JMLR 15 (2014).
    """
    if not training:
        output, mask = input.copy(), np.ones(input.shape, bool)
    else:
        mask = (rng or np.random.default_rng()).random(input.shape) >= p
        output = dropout_backward(input, mask, p)  # forward and backward are the same scaling
    return (output, mask) if return_mask else output


def dropout_backward(grad_output: Array, mask: Array, p: float = 0.5) -> Array:
    """g mask / (1 - p)."""
    return grad_output * (1 / (1 - p) if p < 1 else 0.0) * mask


def flatten(input: Array, start_dim: int = 1, end_dim: int = -1) -> Array:
    """Merge axes start_dim to end_dim, both included."""
    start, end = start_dim % input.ndim, end_dim % input.ndim
    merged = prod(input.shape[start : end + 1])
    return input.reshape(*input.shape[:start], merged, *input.shape[end + 1 :])


def flatten_backward(grad_output: Array, input_shape: Sequence[int]) -> Array:
    """The gradient in the input's shape."""
    return grad_output.reshape(tuple(input_shape))
