"""Tensors: arrays that remember how they were made, and find out if they are changed too early."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastconv import functional as F
from fastconv._arguments import to_array
from fastconv._tape import Variable, set_tensor
from fastconv.autograd import arrays as ops
from fastconv.autograd.arrays import Axis
from fastconv.autograd.tape import backward

Array = NDArray[Any]


class Tensor(Variable):
    """An array whose way to a loss is recorded, so that the loss can be differentiated by it.

    Every function of :mod:`fastconv.functional` takes Tensors among its operands and then returns
    one; so do NumPy's operators and the methods below. :meth:`backward` of a loss leaves its
    gradient in :attr:`grad` of every Tensor with ``requires_grad`` that it was made of.

    Parameters
    ----------
    array : array_like
        Held, not copied, where it is a NumPy array.
    requires_grad : bool
        Whether backward is to leave a gradient here: of float32 and float64 only.

    Attributes
    ----------
    data : ndarray
        Read-only where an op made it, so that what backward needs cannot change.
    grad : ndarray or None
        Of the same shape; None before the first backward pass.
    requires_grad : bool
        Whether a gradient is wanted here, or by something that this was made of.

    Raises
    ------
    TypeError
        If a gradient is asked for of an array that is neither float32 nor float64.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv
    >>> w = fastconv.Tensor(np.array([1.0, 2.0]), requires_grad=True)
    >>> loss = (w * w).sum()
    >>> loss.backward()
    >>> w.grad
    array([2., 4.])
    """

    __slots__ = ()
    _array: Array

    __array_ufunc__ = None  # NumPy's arrays leave operators to Tensors, and would lose gradients

    def __init__(self, array: ArrayLike, requires_grad: bool = False) -> None:
        if isinstance(array, Tensor):
            array = array.data
        self._array = to_array("array", array)
        if requires_grad:
            self.requires_grad = True

    # ---- what it is

    @property
    def data(self) -> Array:
        """The array itself. Setting it, of a Tensor that no op made, gives it another one."""
        return self.exposed()

    @data.setter
    def data(self, array: Array) -> None:
        if self._node is not None:
            raise ValueError("data of a Tensor that an op made cannot be set: it was recorded")
        array = to_array("data", array)
        if self._requires_grad:
            _check_floating(array.dtype)
        if array is not self._array:
            self.written()
            self._array, self._sealed, self._source = array, False, None

    @property
    def requires_grad(self) -> bool:
        """Whether a gradient is wanted here, or by something that this was made of."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        if self._node is not None:
            raise ValueError("requires_grad of a Tensor that an op made is as its operands say")
        if wanted:
            _check_floating(self._array.dtype)
        self._requires_grad = bool(wanted)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        return self._array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the array."""
        return self._array.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self._array.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self._array.size

    def numpy(self) -> Array:
        """The array: :attr:`data`."""
        return self.data

    def item(self) -> Any:
        """The only element, as a Python number."""
        return self._array.item()

    def detach(self) -> Tensor:
        """A Tensor of the same array that nothing is recorded of."""
        tensor = Tensor.__new__(Tensor)
        tensor._array = self._array
        tensor._sealed = self._sealed
        if not self._sealed:
            tensor._source = self.owner()
        return tensor

    def backward(self, grad: ArrayLike | None = None) -> None:
        """Go back to everything that this was made of, and add to the gradients of the leaves.

        A leaf is a Tensor with ``requires_grad`` that no op made, such as a parameter. What was
        kept for this is freed, so it can be done once. On error no gradient changes.

        Parameters
        ----------
        grad : array_like, optional
            Gradient with respect to this Tensor, of its shape; 1 for a Tensor of one element.

        Raises
        ------
        ValueError
            If ``grad`` has another shape, or is not given where there are more elements.
        TypeError
            If ``grad`` is not of real numbers.
        RuntimeError
            If this Tensor requires no gradient, backward was here before, or an array that it
            needs was changed.
        """
        if not self._requires_grad:
            raise RuntimeError(
                f"backward of {self!r}: nothing that it was made of requires a gradient, or it was "
                "made within no_grad()"
            )
        if grad is not None:
            grad = self._as_gradient(grad)
        elif self.size != 1:
            raise ValueError(
                f"backward of a Tensor of shape {self.shape} needs grad, of that shape: "
                "only a single number has a gradient of 1"
            )
        else:
            grad = np.ones(self.shape, self.dtype)
        backward(self, grad)

    def accumulate(self, grad: ArrayLike) -> None:
        """Add to the gradient; ``grad`` is copied.

        Raises
        ------
        ValueError
            If ``grad`` has not this Tensor's shape.
        TypeError
            If ``grad`` is not of real numbers.
        """
        grad = self._as_gradient(grad)
        with np.errstate(over="ignore", invalid="ignore"):  # infinity and NaN pass on
            self.grad = grad.copy() if self.grad is None else self.grad + grad

    def _as_gradient(self, grad: Any) -> Array:
        array = to_array("grad", grad.data if isinstance(grad, Tensor) else grad)
        if array.shape != self.shape:
            raise ValueError(f"grad has shape {array.shape}, the Tensor {self.shape}")
        if array.dtype.kind not in "fiu":
            raise TypeError(f"grad must be real numbers, got {array.dtype}")
        with np.errstate(over="ignore"):
            return array.astype(self.dtype, copy=False)

    def zero_grad(self) -> None:
        """Forget the gradient."""
        self.grad = None

    def __repr__(self) -> str:
        text = np.array2string(self._array, prefix="Tensor(", separator=", ")
        kind = "" if self.dtype == np.float64 else f", dtype={self.dtype}"
        wants = ", requires_grad=True" if self._requires_grad else ""
        return f"Tensor({text}{kind}{wants})"

    def __reduce__(self) -> Any:
        """For copies, such as copy.deepcopy of a model: leaves only."""
        if self._node is not None:
            raise TypeError("a Tensor that an op made is not copied: copy tensor.detach()")
        return _restored, (type(self), self.data, self._requires_grad, self.grad)

    __hash__ = object.__hash__  # of the Tensor, not of its elements

    # ---- NumPy's operators and methods

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        return np.array(self.data, dtype, copy=copy)

    def __len__(self) -> int:
        return len(self._array)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        return bool(self._array)

    def __format__(self, spec: str) -> str:
        return format(self.item() if self.ndim == 0 else self, spec)

    def __iter__(self) -> Iterator[Any]:
        if self.ndim == 0:
            raise TypeError("a Tensor without axes cannot be iterated over")
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: Any) -> Any:
        return ops.getitem(self, _index(index))

    def __add__(self, other: Any) -> Any:
        if getattr(other, "shape", None) == self._array.shape and self._array.dtype.kind == "f":
            return F.add(self, other)  # type: ignore[arg-type]
        return ops.add(self, _number(other))

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        return ops.subtract(self, _number(other))

    def __rsub__(self, other: Any) -> Any:
        return ops.subtract(_number(other), self)

    def __mul__(self, other: Any) -> Any:
        return ops.multiply(self, _number(other))

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        return ops.divide(self, _number(other))

    def __rtruediv__(self, other: Any) -> Any:
        return ops.divide(_number(other), self)

    def __pow__(self, exponent: Any) -> Any:
        return ops.power(self, _number(exponent))

    def __rpow__(self, base: Any) -> Any:
        return ops.power(_number(base), self)

    def __matmul__(self, other: Any) -> Any:
        return ops.matmul(self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return ops.matmul(other, self)

    def __neg__(self) -> Any:
        return ops.negative(self)

    def __abs__(self) -> Any:
        return ops.absolute(self)

    def __eq__(self, other: object) -> Any:
        return self._array == _plain(other)

    def __ne__(self, other: object) -> Any:
        return self._array != _plain(other)

    def __lt__(self, other: Any) -> Any:
        return self._array < _plain(other)

    def __le__(self, other: Any) -> Any:
        return self._array <= _plain(other)

    def __gt__(self, other: Any) -> Any:
        return self._array > _plain(other)

    def __ge__(self, other: Any) -> Any:
        return self._array >= _plain(other)

    def reshape(self, *shape: Any) -> Any:
        """The elements in another shape, in C order; one size may be -1."""
        return ops.reshape(self, _one_or_many(shape))

    def transpose(self, *axes: Any) -> Any:
        """Axes in another order; reversed, where none is given."""
        return ops.transpose(self, _axes(_one_or_many(axes) if axes else None, self.ndim))

    permute = transpose

    @property
    def T(self) -> Any:
        """Axes reversed."""
        return self.transpose()

    def moveaxis(self, source: int | Sequence[int], destination: int | Sequence[int]) -> Any:
        """Some axes at other places, the others in their order, as :func:`numpy.moveaxis`."""
        axes = np.moveaxis(np.empty(range(self.ndim)), source, destination).shape
        return ops.transpose(self, axes)

    def squeeze(self, axis: Axis = None) -> Any:
        """Without axes of one element: all, or those given."""
        return ops.squeeze(self, axis)

    def sum(self, axis: Axis = None, keepdims: bool = False) -> Any:
        """Sum over axes, taken in float64."""
        return ops.sum(self, axis, keepdims)

    def mean(self, axis: Axis = None, keepdims: bool = False) -> Any:
        """Mean over axes, taken in float64."""
        return ops.mean(self, axis, keepdims)

    def var(self, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Any:
        """Variance over axes: squares of deviations, over their number less ``ddof``."""
        return ops.var(self, axis, ddof, keepdims)

    def max(self, axis: Axis = None, keepdims: bool = False) -> Any:
        """Maximum over axes; elements that are it share the gradient evenly."""
        return ops.max(self, axis, keepdims)

    def min(self, axis: Axis = None, keepdims: bool = False) -> Any:
        """Minimum over axes; elements that are it share the gradient evenly."""
        return ops.min(self, axis, keepdims)

    def argmax(self, axis: int | None = None) -> Any:
        """Where the maximum is, as an array."""
        return self._array.argmax(axis)

    def exp(self) -> Any:
        """e to the power of every element."""
        return ops.exp(self)

    def log(self) -> Any:
        """Natural logarithm of every element."""
        return ops.log(self)

    def sqrt(self) -> Any:
        """Square root of every element."""
        return ops.sqrt(self)

    def abs(self) -> Any:
        """Absolute value of every element; the gradient at 0 is 0."""
        return ops.absolute(self)

    def clip(self, min: Any = None, max: Any = None) -> Any:
        """Elements held between two numbers; the gradient is that of those that stay."""
        return ops.clip(self, _bound("min", min), _bound("max", max))

    def pow(self, exponent: Any) -> Any:
        """Every element to a power."""
        return ops.power(self, _number(exponent))


def _restored(kind: type[Tensor], array: Array, requires_grad: bool, grad: Array | None) -> Tensor:
    tensor = kind.__new__(kind)
    Tensor.__init__(tensor, array, requires_grad)
    tensor.grad = grad
    return tensor


def _check_floating(dtype: np.dtype[Any]) -> None:
    if dtype not in (np.float32, np.float64):
        raise TypeError(f"only float32 and float64 have gradients, got {dtype}")


def _plain(value: Any) -> Any:
    return value._array if isinstance(value, Tensor) else value


def _number(value: Any) -> Any:
    """NumPy's numbers as Python's, which take the precision of the array beside them."""
    if isinstance(value, np.generic):
        return value.item()
    return value


def _bound(name: str, value: Any) -> Any:
    value = _number(value)
    if not isinstance(value, int | float | None):
        raise TypeError(f"{name} must be a number or None, got {value!r}")
    return value


def _index(index: Any) -> Any:
    """An index that nobody else can change: arrays in it are copied."""
    if isinstance(index, tuple):
        return tuple([_index(part) for part in index])
    if isinstance(index, Tensor | np.ndarray | list):
        return np.array(_plain(index))
    return index


def _one_or_many(arguments: tuple[Any, ...]) -> Any:
    if len(arguments) == 1 and isinstance(arguments[0], Sequence):
        return tuple(arguments[0])
    return arguments


def _axes(axes: tuple[int, ...] | None, ndim: int) -> tuple[int, ...] | None:
    if axes is None:
        return None
    return tuple([axis % ndim if -ndim <= axis < ndim else axis for axis in axes])


set_tensor(Tensor, F.add, F.relu, F.relu_backward)
