"""Losses."""

# NumPy types arithmetic on arrays of any dtype as Any
# mypy: disable-error-code="no-any-return"

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastconv.reference.activation import log_softmax, sigmoid, softmax
from fastconv.reference.geometry import Array

__all__ = [
    "binary_cross_entropy_with_logits",
    "binary_cross_entropy_with_logits_backward",
    "cross_entropy",
    "cross_entropy_backward",
    "mse_loss",
    "mse_loss_backward",
]


def _reduce(losses: Array, normaliser: Any, reduction: str) -> Any:
    if reduction == "none":
        return losses
    return losses.sum() if reduction == "sum" else losses.sum() / normaliser


def _grad_scale(grad_output: ArrayLike, normaliser: Any, reduction: str, dtype: Any) -> Array:
    grad = np.asarray(grad_output, dtype)
    # nothing to average over has gradient 0, though its mean is NaN
    return np.asarray(grad / (normaliser or 1) if reduction == "mean" else grad, dtype)


def mse_loss(input: Array, target: Array, reduction: str = "mean") -> Any:
    """(x - t)^2, reduced over all elements."""
    return _reduce((input - target) ** 2, input.dtype.type(input.size), reduction)


def mse_loss_backward(
    grad_output: ArrayLike, input: Array, target: Array, reduction: str = "mean"
) -> Array:
    """2 g (x - t), over the number of elements for the mean."""
    return 2 * _grad_scale(grad_output, input.size, reduction, input.dtype) * (input - target)


def _class_weights(
    input: Array, target: Array, weight: Array | None, ignore_index: int, label_smoothing: float
) -> tuple[Array, Any]:
    """(q, normaliser) such that cross-entropy is -sum over classes of q log softmax(input).

    q is the smoothed target distribution times the class weights, and 0 where ignored; the mean
    divides by the weights of the true classes, or by the count where targets are probabilities.
    """
    axis = min(1, input.ndim - 1)
    classes = input.shape[axis]
    column = (-1, *[1] * (input.ndim - 1 - axis))
    weight = np.ones(classes, input.dtype) if weight is None else weight
    weight = weight.reshape(column)
    if np.issubdtype(target.dtype, np.floating):
        distribution, counted = target, np.ones((), bool)
        normaliser: Any = input.size // classes
    else:
        counted = np.expand_dims(target != ignore_index, axis)
        distribution = np.arange(classes).reshape(column) == np.expand_dims(target, axis)
        normaliser = (distribution * counted * weight).sum()
    smoothed = (1 - label_smoothing) * distribution + label_smoothing / classes
    return (smoothed * weight * counted).astype(input.dtype), input.dtype.type(normaliser)


def cross_entropy(
    input: Array,
    target: Array,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """-sum over classes of q log softmax(x): see `_class_weights` for q."""
    axis = min(1, input.ndim - 1)
    q, normaliser = _class_weights(input, target, weight, ignore_index, label_smoothing)
    log_p = log_softmax(input, axis)
    losses = -np.multiply(q, log_p, where=q != 0, out=np.zeros_like(q)).sum(axis)
    return _reduce(losses, normaliser, reduction)


def cross_entropy_backward(
    grad_output: ArrayLike,
    input: Array,
    target: Array,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Array:
    """g (softmax(x) sum q - q)."""
    axis = min(1, input.ndim - 1)
    q, normaliser = _class_weights(input, target, weight, ignore_index, label_smoothing)
    scale = _grad_scale(grad_output, normaliser, reduction, input.dtype)
    if reduction == "none":
        scale = np.expand_dims(scale, axis)
    return scale * (softmax(input, axis) * q.sum(axis, keepdims=True) - q)


def binary_cross_entropy_with_logits(
    input: Array,
    target: Array,
    weight: Array | None = None,
    reduction: str = "mean",
    pos_weight: Array | None = None,
) -> Any:
    """w ((1 - t) x + (1 + (pos_weight - 1) t) log(1 + exp(-x))), the logarithm kept from overflow.

    For pos_weight 1 that is -w (t log s + (1 - t) log(1 - s)), s = sigmoid(x).
    """
    softplus = np.log1p(np.exp(-np.abs(input))) + np.maximum(-input, 0)  # log(1 + exp(-x))
    positive = 1 if pos_weight is None else 1 + (pos_weight - 1) * target
    losses = (1 - target) * input + positive * softplus
    losses = losses if weight is None else losses * weight
    return _reduce(losses, input.dtype.type(input.size), reduction)


def binary_cross_entropy_with_logits_backward(
    grad_output: ArrayLike,
    input: Array,
    target: Array,
    weight: Array | None = None,
    reduction: str = "mean",
    pos_weight: Array | None = None,
) -> Array:
    """g w ((1 - t) - (1 + (pos_weight - 1) t) sigmoid(-x))."""
    scale = _grad_scale(grad_output, input.size, reduction, input.dtype)
    positive = 1 if pos_weight is None else 1 + (pos_weight - 1) * target
    grad = scale * ((1 - target) - positive * sigmoid(-input))
    return grad if weight is None else grad * weight
