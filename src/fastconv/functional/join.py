"""Arrays made of several arrays, and several made of one, as NumPy has them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv._arguments import to_array, whole
from fastconv.functional._broadcast import fitted
from fastconv.functional._check import Array, as_array, same_dtype
from fastconv.functional._op import op, op_of_sequence

__all__ = [
    "concatenate",
    "concatenate_backward",
    "split",
    "stack",
    "stack_backward",
    "where",
    "where_backward",
]


def _axis_of(axis: int, ndim: int) -> int:
    axis = whole("axis", axis, -(2**63))
    if not -ndim <= axis < ndim:
        raise ValueError(f"axis={axis} does not exist among {ndim}")
    return axis % ndim


def _operands(arrays: Sequence[Array]) -> list[Array]:
    if not isinstance(arrays, list | tuple) or not arrays:
        raise TypeError(f"arrays must be a list or tuple of at least one array, got {arrays!r}")
    checked = [as_array(f"arrays[{i}]", array) for i, array in enumerate(arrays)]
    same_dtype(**{f"arrays[{i}]": array for i, array in enumerate(checked)})
    return checked


@op_of_sequence
def concatenate(arrays: Sequence[Array], axis: int = 0) -> Array:
    """Arrays one after the other along an axis that they have.

    Parameters
    ----------
    arrays : list or tuple of ndarray
        Of one dtype, and of one shape but for ``axis``.
    axis : int
        Negative ones are counted from the end.

    Returns
    -------
    ndarray
        In the memory format that the arrays share.

    Raises
    ------
    TypeError
        If there is no array, one is neither float32 nor float64, or the dtypes differ.
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> concatenate([np.zeros((1, 2)), np.ones((1, 2))])
    array([[0., 0.],
           [1., 1.]])
    """
    checked = _operands(arrays)
    shapes = [array.shape for array in checked]
    if not shapes[0]:
        raise ValueError("arrays without axes cannot be concatenated: use stack")
    at = _axis_of(axis, len(shapes[0]))
    if len({(*shape[:at], *shape[at + 1 :], len(shape)) for shape in shapes}) > 1:
        raise ValueError(f"arrays have shapes {shapes}: they may differ along axis {axis} only")
    return np.concatenate(checked, at)


def concatenate_backward(
    grad_output: Array, input_shapes: Sequence[tuple[int, ...]], axis: int = 0
) -> list[Array]:
    """Gradients of :func:`concatenate`: the parts of ``grad_output``, as views.

    Parameters
    ----------
    grad_output : ndarray
        Gradient with respect to the output.
    input_shapes : sequence of tuple of int
        Shapes of the arrays.
    axis : int
        As in the forward pass.

    Returns
    -------
    list of ndarray
        Of ``input_shapes``.

    Raises
    ------
    TypeError
        If ``grad_output`` is neither float32 nor float64, or a shape has no integers.
    ValueError
        If ``grad_output`` has not the shape of the output.

    Examples
    --------
    >>> import numpy as np
    >>> concatenate_backward(np.array([1.0, 2.0, 3.0]), [(1,), (2,)])
    [array([1.]), array([2., 3.])]
    """
    grad = as_array("grad_output", grad_output)
    at = _axis_of(axis, grad.ndim)
    if not isinstance(input_shapes, list | tuple):
        raise TypeError(f"input_shapes must be a list or tuple of shapes, got {input_shapes!r}")
    shapes = [_sizes(f"input_shapes[{i}]", shape) for i, shape in enumerate(input_shapes)]
    parts = [shape[at] if len(shape) == grad.ndim else -1 for shape in shapes]
    others = {(*shape[:at], *shape[at + 1 :]) for shape in shapes}
    if (
        min(parts, default=0) < 0
        or sum(parts) != grad.shape[at]
        or others - {(*grad.shape[:at], *grad.shape[at + 1 :])}
    ):
        raise ValueError(f"grad_output has shape {grad.shape}, the arrays had {shapes}")
    return _pieces(grad, parts, at)


def _sizes(name: str, shape: Any) -> tuple[int, ...]:
    try:
        return tuple(map(index, shape))
    except TypeError:
        raise TypeError(f"{name} must be a tuple of integers, got {shape!r}") from None


def _pieces(array: Any, sizes: Sequence[int], axis: int) -> list[Any]:
    before = (slice(None),) * axis
    return [array[(*before, slice(a, b))] for a, b in pairwise(accumulate(sizes, initial=0))]


@op_of_sequence
def stack(arrays: Sequence[Array], axis: int = 0) -> Array:
    """Arrays one after the other along a new axis.

    Parameters
    ----------
    arrays : list or tuple of ndarray
        Of one dtype and shape.
    axis : int
        Of the result.

    Returns
    -------
    ndarray

    Raises
    ------
    TypeError
        If there is no array, one is neither float32 nor float64, or the dtypes differ.
    ValueError
        If the shapes differ, or the axis does not exist.

    Examples
    --------
    >>> import numpy as np
    >>> stack([np.zeros(2), np.ones(2)], axis=1)
    array([[0., 1.],
           [0., 1.]])
    """
    checked = _operands(arrays)
    shapes = [array.shape for array in checked]
    if len(set(shapes)) > 1:
        raise ValueError(f"arrays have shapes {shapes}: they must have one")
    return np.stack(checked, _axis_of(axis, len(shapes[0]) + 1))


def stack_backward(grad_output: Array, axis: int = 0) -> list[Array]:
    """Gradients of :func:`stack`: the parts of ``grad_output``, as views.

    Parameters
    ----------
    grad_output : ndarray
        Gradient with respect to the output.
    axis : int
        As in the forward pass.

    Returns
    -------
    list of ndarray

    Raises
    ------
    TypeError
        If ``grad_output`` is neither float32 nor float64.
    ValueError
        If the axis does not exist.

    Examples
    --------
    >>> import numpy as np
    >>> stack_backward(np.array([[1.0, 2.0], [3.0, 4.0]]))
    [array([1., 2.]), array([3., 4.])]
    """
    grad = as_array("grad_output", grad_output)
    return list(np.moveaxis(grad, _axis_of(axis, grad.ndim), 0))


def split(input: Array, sections: int | Sequence[int], axis: int = 0) -> list[Array]:
    """The parts of an array along an axis, as views: back from :func:`concatenate`.

    Parameters
    ----------
    input : ndarray
    sections : int or sequence of int
        How many equal parts, or the size of each.
    axis : int
        Negative ones are counted from the end.

    Returns
    -------
    list of ndarray

    Raises
    ------
    TypeError
        If ``input`` is neither float32 nor float64, or ``sections`` no integers.
    ValueError
        If the axis does not exist, or the parts are not the whole of it.

    Examples
    --------
    >>> import numpy as np
    >>> split(np.arange(3.0), [1, 2])
    [array([0.]), array([1., 2.])]
    """
    if not hasattr(input, "requires_grad"):  # a Tensor has NumPy's indexing
        input = as_array("input", input)
    at = _axis_of(axis, input.ndim)
    size = input.shape[at]
    try:
        if isinstance(sections, Sequence):
            sizes = [index(part) for part in sections]
        else:
            count = whole("sections", sections, 1)
            sizes = [size // count] * count
    except TypeError:
        raise TypeError(f"sections must be an integer or integers, got {sections!r}") from None
    if sum(sizes) != size or min(sizes, default=0) < 0:
        raise ValueError(
            f"sections={sections!r} do not make up axis {axis} of an input of shape {input.shape}"
        )
    return _pieces(input, sizes, at)


@op
def where(condition: NDArray[np.bool_], input: Array, other: Array) -> Array:
    """Elements of ``input`` where the condition holds, else of ``other``; broadcast as NumPy does.

    Parameters
    ----------
    condition : ndarray of bool
    input, other : ndarray
        Of one dtype.

    Returns
    -------
    ndarray

    Raises
    ------
    TypeError
        If ``condition`` is not boolean, or ``input`` and ``other`` are neither float32 nor float64
        or differ in dtype.
    ValueError
        If the shapes cannot be broadcast.

    Examples
    --------
    >>> import numpy as np
    >>> where(np.array([True, False]), np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    array([1., 4.])
    """
    mask, a, b = _choice(condition), as_array("input", input), as_array("other", other)
    same_dtype(input=a, other=b)
    return np.where(mask, a, b)


def where_backward(
    grad_output: Array,
    condition: NDArray[np.bool_],
    input_shape: tuple[int, ...],
    other_shape: tuple[int, ...],
) -> tuple[Array, Array]:
    """Gradients of :func:`where`: each operand gets that of the elements it gave.

    Parameters
    ----------
    grad_output : ndarray
        Gradient with respect to the output.
    condition : ndarray of bool
        As in the forward pass.
    input_shape, other_shape : tuple of int
        Where an operand was repeated its gradient is the sum.

    Returns
    -------
    grad_input, grad_other : ndarray

    Raises
    ------
    TypeError
        If ``grad_output`` is neither float32 nor float64, ``condition`` not boolean, or a shape has
        no integers.
    ValueError
        If one of these shapes cannot be broadcast to that of ``grad_output``.

    Examples
    --------
    >>> import numpy as np
    >>> where_backward(np.array([5.0, 6.0]), np.array([True, False]), (2,), (2,))
    (array([5., 0.]), array([0., 6.]))
    """
    grad, mask = as_array("grad_output", grad_output), _choice(condition)
    zero = grad.dtype.type(0)
    _check_repeated("condition's shape", mask.shape, grad)
    return (
        fitted(np.where(mask, grad, zero), _check_repeated("input_shape", input_shape, grad)),
        fitted(np.where(mask, zero, grad), _check_repeated("other_shape", other_shape, grad)),
    )


def _check_repeated(name: str, shape: Any, grad: Array) -> tuple[int, ...]:
    sizes = _sizes(name, shape)
    ends = zip(reversed(sizes), reversed(grad.shape), strict=False)
    if len(sizes) > grad.ndim or any(n not in (1, size) for n, size in ends):
        raise ValueError(f"{name} {sizes} cannot be broadcast to {grad.shape}, grad_output's")
    return sizes


def _choice(condition: NDArray[np.bool_]) -> NDArray[np.bool_]:
    mask = to_array("condition", condition)
    if mask.dtype != np.bool_:
        raise TypeError(f"condition must be boolean, got {mask.dtype}")
    return mask
