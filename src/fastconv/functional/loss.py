"""Losses and their gradients with respect to ``input``, as torch defines them."""

from math import isnan, nan
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastconv import _ops
from fastconv._arguments import to_array
from fastconv._buffers import empty
from fastconv.functional._check import Array, as_array, check_shape, empty_like, same_dtype
from fastconv.functional._op import op
from fastconv.functional._options import check_ignore_index, check_label_smoothing, check_reduction
from fastconv.functional.activation import log_softmax, softmax

__all__ = [
    "binary_cross_entropy_with_logits",
    "binary_cross_entropy_with_logits_backward",
    "cross_entropy",
    "cross_entropy_backward",
    "mse_loss",
    "mse_loss_backward",
]


@op
def mse_loss(input: Array, target: Array, reduction: str = "mean") -> Any:
    """Squared error (x − t)².

    Parameters
    ----------
    input, target : ndarray
        Of one shape and dtype.
    reduction : {"mean", "sum", "none"}
        Mean or sum over all elements, or the array of them.

    Returns
    -------
    NumPy scalar, or ndarray for ``reduction="none"``
        Of the input's dtype.

    Raises
    ------
    TypeError
        If an array is neither float32 nor float64, or the dtypes differ.
    ValueError
        If the shapes differ, or ``reduction`` is none of those above.

    Notes
    -----
    Section "Mean squared error" of docs/derivation.md.

    Examples
    --------
    >>> import numpy as np
    >>> mse_loss(np.array([1.0, 3.0]), np.array([1.0, 1.0]))
    np.float64(2.0)
    """
    input, target = _pair(input, target)
    check_reduction(reduction)
    losses = empty_like(input) if reduction == "none" else None
    total = _ops.squared_error(input, target, losses)
    return _reduced(losses, total, reduction, input.size, input.dtype)


def mse_loss_backward(
    grad_output: ArrayLike, input: Array, target: Array, reduction: str = "mean"
) -> Array:
    """Gradient of :func:`mse_loss`: 2 g (x − t), over the number of elements for the mean.

    Parameters
    ----------
    grad_output : float, or ndarray of the input's shape for ``reduction="none"``
        Gradient with respect to the loss.
    input, target, reduction
        As in the forward pass.

    Returns
    -------
    ndarray
        Of the input's shape.

    Raises
    ------
    TypeError, ValueError
        As the forward pass does, and if ``grad_output`` has another shape.

    Examples
    --------
    >>> import numpy as np
    >>> mse_loss_backward(1.0, np.array([1.0, 3.0]), np.array([1.0, 1.0]))
    array([0., 2.])
    """
    input, target = _pair(input, target)
    check_reduction(reduction)
    scale = _scale(grad_output, reduction, input.size, input.shape, input.dtype)
    grad = empty_like(input)
    _ops.squared_error_backward(input, target, grad, 1.0 if scale.ndim else float(scale))
    return _multiplied(grad, scale)


@op
def cross_entropy(
    input: Array,
    target: ArrayLike,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """Cross-entropy of the target classes with softmax(input), from logits.

    The loss of an element is −Σ_c q_c log softmax(x)_c, where q is its target distribution (one
    at its label, or its probabilities), mixed with ``label_smoothing`` times the uniform one,
    times the class weights.

    Parameters
    ----------
    input : ndarray, shape (N, C), (N, C, ...) or (C,)
        Logits of C classes.
    target : ndarray
        Class indices, integers of the input's shape without C; or class probabilities, of the
        input's shape and dtype.
    weight : ndarray, shape (C,), optional
        Factor of each class, of the input's dtype.
    ignore_index : int
        Label of elements whose loss is 0 and that do not count in the mean; it need not be a
        class. Not for probabilities.
    reduction : {"mean", "sum", "none"}
        Mean, sum or the array of the elements' losses. The mean divides by the sum of the class
        weights of the labels that count, or, with probabilities, by the number of elements; it
        is NaN where that is 0.
    label_smoothing : float
        In [0, 1].

    Returns
    -------
    NumPy scalar, or ndarray for ``reduction="none"``
        Of the input's dtype.

    Raises
    ------
    TypeError
        If ``input`` is neither float32 nor float64, class indices are not integers, or dtypes
        differ.
    ValueError
        If a label is no class, a probability is NaN, shapes do not fit, or ``reduction`` or
        ``label_smoothing`` is none of those above.

    Notes
    -----
    Section "Softmax with cross-entropy" of docs/derivation.md. A class whose q is 0 adds 0, even
    where its logit is −∞.

    Examples
    --------
    >>> import numpy as np
    >>> logits = np.array([[2.0, 0.0], [0.0, 0.0]])
    >>> cross_entropy(logits, np.array([0, 1]), reduction="none").round(6)
    array([0.126928, 0.693147])
    """
    x, axis, target, weight = _check_classes(input, target, weight, reduction, label_smoothing)
    ignore_index = check_ignore_index(ignore_index)
    if _plain_labels(x, axis, target, label_smoothing):
        labels = np.ascontiguousarray(target, np.int64).reshape(-1)
        losses = empty((labels.size,), x.dtype) if reduction == "none" else None
        x = _laid_out(x)
        try:
            total, count = _ops.cross_entropy(x, labels, weight, losses, ignore_index)
        except IndexError:
            _check_labels(x, axis, target, ignore_index)
            raise
        if losses is not None:
            losses = losses.reshape(target.shape)
        return _reduced(losses, total, reduction, count, x.dtype)
    q, count = _distribution(x, axis, target, weight, ignore_index, label_smoothing)
    log_p = log_softmax(x, axis)
    with _ieee():
        losses = np.multiply(q, log_p, where=q != 0, out=np.zeros_like(log_p)).sum(axis=axis)
        total = -float(losses.sum())
    return _reduced(np.negative(losses), total, reduction, count, x.dtype)


def cross_entropy_backward(
    grad_output: ArrayLike,
    input: Array,
    target: ArrayLike,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Array:
    """Gradient of :func:`cross_entropy`: g (softmax(x) Σ_c q_c − q).

    Parameters
    ----------
    grad_output : float, or ndarray of the losses' shape for ``reduction="none"``
        Gradient with respect to the loss.
    input, target, weight, ignore_index, reduction, label_smoothing
        As in the forward pass.

    Returns
    -------
    ndarray
        Of the input's shape; 0 where nothing counts in the mean.

    Raises
    ------
    TypeError, ValueError
        As the forward pass does, and if ``grad_output`` has another shape.

    Notes
    -----
    Section "Softmax with cross-entropy" of docs/derivation.md.

    Examples
    --------
    >>> import numpy as np
    >>> logits = np.array([[0.0, 0.0], [0.0, 0.0]])
    >>> cross_entropy_backward(1.0, logits, np.array([0, 1]))
    array([[-0.25,  0.25],
           [ 0.25, -0.25]])
    """
    x, axis, target, weight = _check_classes(input, target, weight, reduction, label_smoothing)
    ignore_index = check_ignore_index(ignore_index)
    shape = x.shape[:axis] + x.shape[axis + 1 :]
    if _plain_labels(x, axis, target, label_smoothing):
        labels = np.ascontiguousarray(target, np.int64).reshape(-1)
        x = _laid_out(x)
        try:
            count = _weight_of(labels, weight, ignore_index) if reduction == "mean" else 1.0
            scale = _scale(grad_output, reduction, count, shape, x.dtype)
            grad = empty_like(x)
            _ops.cross_entropy_backward(x, labels, weight, scale.reshape(-1), grad, ignore_index)
        except IndexError:
            _check_labels(x, axis, target, ignore_index)
            raise
        return grad
    q, count = _distribution(x, axis, target, weight, ignore_index, label_smoothing)
    scale = _scale(grad_output, reduction, count, shape, x.dtype)
    grad = softmax(x, axis)
    with _ieee():
        grad *= q.sum(axis=axis, keepdims=True)
        grad -= q
        grad *= np.expand_dims(scale, axis) if scale.ndim else scale
    return grad


@op
def binary_cross_entropy_with_logits(
    input: Array,
    target: Array,
    weight: Array | None = None,
    reduction: str = "mean",
    pos_weight: Array | None = None,
) -> Any:
    """Cross-entropy of independent yes-or-no targets with sigmoid(input), from logits.

    The loss of an element is w (−p t log σ(x) − (1 − t) log(1 − σ(x))).

    Parameters
    ----------
    input : ndarray
        Logits x, of any shape.
    target : ndarray
        Probabilities t of a yes, of the input's shape and dtype.
    weight : ndarray, optional
        Factor w of each element's loss, of the input's dtype; broadcast to its shape.
    reduction : {"mean", "sum", "none"}
        Mean or sum over all elements, or the array of them.
    pos_weight : ndarray, optional
        Factor p of the positive part, of the input's dtype; broadcast to its shape.

    Returns
    -------
    NumPy scalar, or ndarray for ``reduction="none"``
        Of the input's dtype.

    Raises
    ------
    TypeError
        If an array is neither float32 nor float64, or the dtypes differ.
    ValueError
        If a target is NaN, shapes do not fit, or ``reduction`` is none of those above.

    Examples
    --------
    >>> import numpy as np
    >>> x, t = np.array([0.0, 1000.0, -1000.0]), np.array([1.0, 1.0, 1.0])
    >>> binary_cross_entropy_with_logits(x, t, reduction="none").round(6)
    array([6.93147e-01, 0.00000e+00, 1.00000e+03])
    """
    input, yes, no = _binary_weights(input, target, weight, reduction, pos_weight)
    losses = empty_like(input) if reduction == "none" else None
    total = _ops.logistic_loss(input, yes, no, losses)
    if isnan(total):
        _check_no_nan(target)
    return _reduced(losses, total, reduction, input.size, input.dtype)


def binary_cross_entropy_with_logits_backward(
    grad_output: ArrayLike,
    input: Array,
    target: Array,
    weight: Array | None = None,
    reduction: str = "mean",
    pos_weight: Array | None = None,
) -> Array:
    """Gradient of :func:`binary_cross_entropy_with_logits`: g w ((1 − t) σ(x) − p t σ(−x)).

    Parameters
    ----------
    grad_output : float, or ndarray of the input's shape for ``reduction="none"``
        Gradient with respect to the loss.
    input, target, weight, reduction, pos_weight
        As in the forward pass.

    Returns
    -------
    ndarray
        Of the input's shape; over the number of elements for the mean.

    Raises
    ------
    TypeError, ValueError
        As the forward pass does, and if ``grad_output`` has another shape.

    Examples
    --------
    >>> import numpy as np
    >>> binary_cross_entropy_with_logits_backward(1.0, np.zeros(2), np.array([0.0, 1.0]))
    array([ 0.25, -0.25])
    """
    input, yes, no = _binary_weights(input, target, weight, reduction, pos_weight)
    scale = _scale(grad_output, reduction, input.size, input.shape, input.dtype)
    grad = empty_like(input)
    factor = 1.0 if scale.ndim else float(scale)
    if isnan(_ops.logistic_loss_backward(input, yes, no, grad, factor)):
        _check_no_nan(target)
    return _multiplied(grad, scale)


def _ieee() -> np.errstate:
    """As in the kernels, infinity and NaN pass on without a word."""
    return np.errstate(over="ignore", invalid="ignore")


def _multiplied(grad: Array, scale: Array) -> Array:
    """The gradient by a scale of every element; a single one is in it already."""
    if not scale.ndim:
        return grad
    with _ieee():
        return np.multiply(grad, scale, out=grad)


def _check_classes(
    input: Array, target: ArrayLike, weight: Array | None, reduction: str, label_smoothing: float
) -> tuple[Array, int, NDArray[Any], Array | None]:
    """The arguments of cross-entropy as arrays, and the axis of the input's classes."""
    x = as_array("input", input)
    check_reduction(reduction)
    axis = min(1, x.ndim - 1)
    if x.ndim == 0 or x.shape[axis] == 0:
        raise ValueError(f"input has shape {x.shape}: no classes")
    check_label_smoothing(label_smoothing)
    if weight is not None:
        weight = np.ascontiguousarray(as_array("weight", weight))
        same_dtype(input=x, weight=weight)
        check_shape("weight", weight, (x.shape[axis],))
    return x, axis, to_array("target", target), weight


def _plain_labels(
    x: Array, axis: int, target: NDArray[Any], label_smoothing: float
) -> TypeGuard[NDArray[np.integer[Any]]]:
    """Whether the target is one class for every element and that alone: a kernel's case."""
    kind = target.dtype.kind
    return (
        label_smoothing == 0
        and (kind == "i" or (kind == "u" and target.dtype.itemsize < 8))
        and target.size > 0
        and target.shape == x.shape[:axis] + x.shape[axis + 1 :]
    )


def _laid_out(x: Array) -> Array:
    """The input with its classes or its positions contiguous, at the cost of a copy if need be."""
    if x.flags.c_contiguous or np.moveaxis(x, min(1, x.ndim - 1), -1).flags.c_contiguous:
        return x
    return np.ascontiguousarray(x)


def _weight_of(labels: NDArray[np.int64], weight: Array | None, ignore_index: int) -> float:
    """What the mean divides by."""
    counted = labels != ignore_index
    if weight is None:
        return int(np.count_nonzero(counted))
    return float(weight[labels[counted]].sum(dtype=float))


def _distribution(
    x: Array,
    axis: int,
    target: NDArray[Any],
    weight: Array | None,
    ignore_index: int,
    label_smoothing: float,
) -> tuple[Array, float]:
    """What each log-probability weighs (q, of the input's shape), and what the mean divides by."""
    classes = x.shape[axis]
    column = (classes, *[1] * (x.ndim - 1 - axis))  # lines a class vector up with the input
    share = label_smoothing / classes
    if target.dtype.kind == "f" and target.shape == x.shape:
        same_dtype(input=x, target=target)
        _check_no_nan(target)
        if ignore_index >= 0:
            raise ValueError(f"ignore_index={ignore_index} has no meaning for probabilities")
        with _ieee():
            q = target * (1 - label_smoothing) + share
            return q if weight is None else q * weight.reshape(column), q.size // classes
    counted = _check_labels(x, axis, target, ignore_index)
    labels = np.where(counted, target, 0)
    q = np.full_like(x, share)
    np.put_along_axis(q, np.expand_dims(labels, axis), 1 - label_smoothing + share, axis)
    q *= np.expand_dims(counted, axis)
    if weight is None:
        return q, int(np.count_nonzero(counted))
    q *= weight.reshape(column)
    return q, float((weight[labels] * counted).sum())


def _check_labels(
    input: Array, axis: int, target: NDArray[Any], ignore_index: int
) -> NDArray[np.bool_]:
    """Where the labels count; raises if one is not a class."""
    shape = input.shape[:axis] + input.shape[axis + 1 :]
    if target.shape != shape or target.dtype.kind not in "iu":
        error = TypeError if target.shape == shape or target.dtype.kind not in "iuf" else ValueError
        raise error(
            f"target must be integer labels of shape {shape} or probabilities of shape "
            f"{input.shape}, got {target.dtype} of shape {target.shape}"
        )
    counted = np.asarray(target != ignore_index)
    wrong = counted & ((target < 0) | (target >= input.shape[axis]))
    if wrong.any():
        raise ValueError(
            f"target holds the label {target[wrong][0]}; input of shape {input.shape} has "
            f"classes 0 to {input.shape[axis] - 1}, and ignore_index is {ignore_index}"
        )
    return counted


def _binary_weights(
    input: Array,
    target: Array,
    weight: Array | None,
    reduction: str,
    pos_weight: Array | None,
) -> tuple[Array, Array, Array | None]:
    """The input, and what −log σ(x) and −log (1 − σ(x)) weigh: w p t and w (1 − t).

    None stands for 1 − t; that a target is NaN is then left to be found.
    """
    input, target = _pair(input, target)
    check_reduction(reduction)
    if weight is None and pos_weight is None:
        return input, target, None
    _check_no_nan(target)
    yes, no = target, 1 - target
    with _ieee():
        if pos_weight is not None:
            yes = yes * _broadcast("pos_weight", pos_weight, input)
        if weight is not None:
            weight = _broadcast("weight", weight, input)
            yes, no = yes * weight, no * weight
    return input, yes, no


def _pair(input: Array, target: Array) -> tuple[Array, Array]:
    input, target = as_array("input", input), as_array("target", target)
    same_dtype(input=input, target=target)
    check_shape("target", target, input.shape)
    return input, target


def _broadcast(name: str, factor: Array, input: Array) -> Array:
    factor = as_array(name, factor)
    same_dtype(**{"input": input, name: factor})
    try:
        return np.broadcast_to(factor, input.shape)
    except ValueError:
        raise ValueError(
            f"{name} of shape {factor.shape} does not broadcast to input of shape {input.shape}"
        ) from None


def _check_no_nan(target: Array) -> None:
    if np.isnan(target).any():
        where = tuple(int(i) for i in np.argwhere(np.isnan(target))[0])
        raise ValueError(f"target of shape {target.shape} is nan at {where}")


def _reduced(losses: Array | None, total: float, reduction: str, count: float, dtype: Any) -> Any:
    """The losses, or in their dtype their sum, or that over ``count``."""
    if reduction == "none":
        return losses
    if reduction == "mean":
        total = total / count if count else nan  # the mean of nothing
    return dtype.type(total)


def _scale(
    grad_output: ArrayLike, reduction: str, count: float, shape: tuple[int, ...], dtype: Any
) -> Array:
    """What the gradient of each element's loss is multiplied by: a scalar, or one per element."""
    grad = to_array("grad_output", grad_output)
    expected = shape if reduction == "none" else ()
    if grad.shape != expected or grad.dtype.kind not in "fiu":
        raise ValueError(
            f"grad_output must be real, of shape {expected} for reduction={reduction!r}; got "
            f"{grad.dtype} of shape {grad.shape}"
        )
    if reduction == "mean":
        grad = grad / count if count else np.zeros(())
    with _ieee():
        return np.asarray(grad, dtype, order="C")
