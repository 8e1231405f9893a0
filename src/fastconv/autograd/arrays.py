"""NumPy's operators and methods as ops, each a NumPy expression beside those of its gradients.

A gradient's parameters say what is kept for it: see `rules`. Operands are broadcast as NumPy does;
their gradients are summed over what was repeated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv._buffers import channels_last_strides
from fastconv._tape import Op
from fastconv.autograd.rules import Names, Rule
from fastconv.functional._broadcast import fitted
from fastconv.functional._check import same_dtype
from fastconv.functional.shape import flatten_backward

Array = NDArray[Any]
Axis = int | tuple[int, ...] | None


def _op(forward: Callable[..., Any], gradients: dict[Names, Any], *, is_view: bool = False) -> Op:
    op = Op(forward)
    op.rule = Rule(op, gradients, is_view=is_view)
    return op


def _pair(input: Any, other: Any) -> tuple[Any, Any]:
    """Two operands of one dtype; numbers are as precise as the array beside them."""
    if isinstance(input, np.ndarray) and isinstance(other, np.ndarray):
        same_dtype(input=input, other=other)
    return input, other


def _sum(array: Array, axis: Axis, keepdims: bool = False) -> Array:
    """In float64: one running sum of many float32 numbers loses digits."""
    if array.dtype.kind != "f":
        return np.sum(array, axis=axis, keepdims=keepdims)
    total = np.sum(array, axis=axis, keepdims=keepdims, dtype=np.float64)
    return np.asarray(total, array.dtype)


# ---- arithmetic


def _add(input: Any, other: Any) -> Any:
    a, b = _pair(input, other)
    return a + b


def _subtract(input: Any, other: Any) -> Any:
    a, b = _pair(input, other)
    return a - b


def _multiply(input: Any, other: Any) -> Any:
    a, b = _pair(input, other)
    return a * b


def _divide(input: Any, other: Any) -> Any:
    a, b = _pair(input, other)
    return a / b


def _power(input: Any, exponent: Any) -> Any:
    a, b = _pair(input, exponent)
    return a**b


add = _op(
    _add,
    {
        "input": lambda grad, input_shape: fitted(grad, input_shape),
        "other": lambda grad, other_shape: fitted(grad, other_shape),
    },
)
subtract = _op(
    _subtract,
    {
        "input": lambda grad, input_shape: fitted(grad, input_shape),
        "other": lambda grad, other_shape: fitted(-grad, other_shape),
    },
)
multiply = _op(
    _multiply,
    {
        "input": lambda grad, other, input_shape: fitted(grad * other, input_shape),
        "other": lambda grad, input, other_shape: fitted(grad * input, other_shape),
    },
)
divide = _op(
    _divide,
    {
        "input": lambda grad, other, input_shape: fitted(grad / other, input_shape),
        "other": lambda grad, output, other, other_shape: fitted(
            -grad * output / other, other_shape
        ),
    },
)
power = _op(
    _power,
    {
        "input": lambda grad, input, exponent, input_shape: fitted(
            grad * exponent * input ** (exponent - 1), input_shape
        ),
        # where the base is 0 the output does not move with a positive exponent
        "exponent": lambda grad, input, output, exponent_shape: fitted(
            grad * output * np.log(np.where(input == 0, 1, input), dtype=output.dtype),
            exponent_shape,
        ),
    },
)
negative = _op(lambda input: -input, {"input": lambda grad: -grad})


def _matmul(input: Array, other: Array) -> Any:
    a, b = _pair(np.asarray(input), np.asarray(other))
    return a @ b


def _as_matrices(grad: Array, input: Array, other: Array) -> tuple[Array, Array, Array]:
    """A vector on the left is a row, on the right a column; the product has that axis, too."""
    if other.ndim == 1:
        grad, other = grad[..., None], other[:, None]
    if input.ndim == 1:
        grad, input = grad[..., None, :], input[None]
    return grad, input, other


def _matmul_input(grad: Array, input: Array, other: Array) -> Array:
    g, a, b = _as_matrices(np.asarray(grad), input, other)
    return fitted(g @ b.swapaxes(-1, -2), a.shape).reshape(input.shape)


def _matmul_other(grad: Array, input: Array, other: Array) -> Array:
    g, a, b = _as_matrices(np.asarray(grad), input, other)
    return fitted(a.swapaxes(-1, -2) @ g, b.shape).reshape(other.shape)


matmul = _op(_matmul, {"input": _matmul_input, "other": _matmul_other})

# ---- one element after the other

exp = _op(lambda input: np.exp(input), {"input": lambda grad, output: grad * output})
log = _op(lambda input: np.log(input), {"input": lambda grad, input: grad / input})
sqrt = _op(lambda input: np.sqrt(input), {"input": lambda grad, output: grad / (2 * output)})
absolute = _op(lambda input: np.abs(input), {"input": lambda grad, input: grad * np.sign(input)})


def _within(input: Array, min: Any, max: Any) -> Array:
    inside = np.ones(input.shape, np.bool_)
    if min is not None:
        inside &= input >= min
    if max is not None:
        inside &= input <= max
    return inside


clip = _op(
    lambda input, min=None, max=None: np.clip(input, min, max),
    {"input": lambda grad, input, min, max: grad * _within(input, min, max)},
)

# ---- shapes


def reshape_backward(
    grad: Array, input_shape: tuple[int, ...], input_strides: tuple[int, ...]
) -> Array:
    """In the memory format that the input had."""
    last = len(input_shape) > 2 and input_strides == channels_last_strides(
        input_shape, grad.itemsize
    )
    return flatten_backward(grad, input_shape, channels_last=last)


reshape = _op(
    lambda input, shape: input.reshape(shape),
    {"input": reshape_backward},
    is_view=True,
)
transpose = _op(
    lambda input, axes: input.transpose(axes),
    {"input": lambda grad, axes: grad.transpose(None if axes is None else np.argsort(axes))},
    is_view=True,
)
squeeze = _op(
    lambda input, axis=None: input.squeeze(axis),
    {"input": lambda grad, input_shape: grad.reshape(input_shape)},
    is_view=True,
)


def _getitem_input(grad: Array, input_shape: tuple[int, ...], index: Any) -> Array:
    to = np.zeros(input_shape, grad.dtype)
    parts = index if isinstance(index, tuple) else (index,)
    if any(isinstance(part, np.ndarray | list) for part in parts):
        np.add.at(to, index, grad)  # elements may be taken more than once
    else:
        to[index] = grad
    return to


getitem = _op(lambda input, index: input[index], {"input": _getitem_input}, is_view=True)

# ---- reductions


def _expanded(reduced: Array, axis: Axis, keepdims: bool, shape: tuple[int, ...]) -> Array:
    """A view of what a reduction gave, in the shape that it had been given."""
    if axis is not None and not keepdims:
        reduced = np.expand_dims(reduced, axis if isinstance(axis, tuple) else (axis,))
    return np.broadcast_to(reduced, shape)


def _count(shape: tuple[int, ...], axis: Axis) -> int:
    axes = range(len(shape)) if axis is None else np.atleast_1d(axis)
    return math.prod(shape[i] for i in axes)


def _mean(input: Array, axis: Axis = None, keepdims: bool = False) -> Array:
    return np.asarray(_sum(input, axis, keepdims) / _count(input.shape, axis), input.dtype)


def _centred(input: Array, axis: Axis) -> Array:
    deviation: Array = input - _mean(input, axis, True)
    return deviation


def _var(input: Array, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Array:
    squares = _sum(_centred(input, axis) ** 2, axis, keepdims)
    return np.asarray(squares / (_count(input.shape, axis) - ddof), input.dtype)


def _var_input(grad: Array, input: Array, axis: Axis, ddof: int, keepdims: bool) -> Array:
    each = _expanded(grad, axis, keepdims, input.shape)
    scale = np.divide(2, _count(input.shape, axis) - ddof)
    return np.asarray(each * _centred(input, axis) * scale, input.dtype)


def _extreme_input(grad: Array, input: Array, output: Array, axis: Axis, keepdims: bool) -> Array:
    """Elements that are the extreme share the gradient evenly."""
    hit = input == _expanded(output, axis, keepdims, input.shape)
    share = hit / np.sum(hit, axis=axis, keepdims=True)
    return np.asarray(_expanded(grad, axis, keepdims, input.shape) * share, input.dtype)


sum = _op(
    lambda input, axis=None, keepdims=False: _sum(input, axis, keepdims),
    {
        "input": lambda grad, axis, keepdims, input_shape: _expanded(
            grad, axis, keepdims, input_shape
        )
    },
)
mean = _op(
    _mean,
    {
        "input": lambda grad, axis, keepdims, input_shape: _expanded(
            grad / _count(input_shape, axis), axis, keepdims, input_shape
        )
    },
)
var = _op(_var, {"input": _var_input})
max = _op(
    lambda input, axis=None, keepdims=False: np.max(input, axis, keepdims=keepdims),
    {"input": _extreme_input},
)
min = _op(
    lambda input, axis=None, keepdims=False: np.min(input, axis, keepdims=keepdims),
    {"input": _extreme_input},
)
