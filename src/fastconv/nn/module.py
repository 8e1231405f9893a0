"""What every layer is: parameters, buffers, children, and one forward pass remembered."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from fastconv._arguments import to_array

__all__ = ["IncompatibleKeys", "Module", "Parameter", "is_grad_enabled", "no_grad"]

Array = NDArray[Any]

_grad_enabled: ContextVar[bool] = ContextVar("fastconv_grad_enabled", default=True)


@contextmanager
def no_grad() -> Iterator[None]:
    """Within this context layers remember nothing, so backward is not possible.

    Use it to predict and to evaluate: activations are freed as soon as the next layer has used
    them, max pooling keeps no indices, and, after :meth:`Module.eval`, several threads may call
    one model at the same time. The context belongs to the thread that enters it.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> layer = nn.ReLU()
    >>> with nn.no_grad():
    ...     y = layer(np.array([-1.0, 2.0]))
    >>> layer.backward(y)
    Traceback (most recent call last):
        ...
    RuntimeError: ReLU.backward needs a forward pass first, outside no_grad()
    """
    token = _grad_enabled.set(False)
    try:
        yield
    finally:
        _grad_enabled.reset(token)


def is_grad_enabled() -> bool:
    """Whether layers remember what backward needs: True, except within :func:`no_grad`."""
    return _grad_enabled.get()


class Parameter:
    """An array to be learned, and the gradient that backward leaves for it.

    Parameters
    ----------
    data : ndarray of float32 or float64
        Held, not copied.

    Attributes
    ----------
    data : ndarray
        Optimisers and :meth:`Module.load_state_dict` change it in place.
    grad : ndarray or None
        Of ``data``'s shape; None before the first backward pass and after ``zero_grad``.

    Raises
    ------
    TypeError
        If ``data`` is neither float32 nor float64.

    Examples
    --------
    >>> import numpy as np
    >>> p = Parameter(np.zeros((2, 3)))
    >>> p.accumulate(np.ones((2, 3)))
    >>> p.accumulate(np.ones((2, 3)))
    >>> p.grad.sum()
    np.float64(12.0)
    """

    __slots__ = ("data", "grad")

    def __init__(self, data: Array) -> None:
        if not isinstance(data, np.ndarray) or data.dtype not in (np.float32, np.float64):
            kind = getattr(data, "dtype", type(data).__name__)
            raise TypeError(f"data must be an array of float32 or float64, got {kind}")
        self.data = data
        self.grad: Array | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of ``data``."""
        return self.data.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of ``data``."""
        return self.data.dtype

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.data.size

    def accumulate(self, grad: Array) -> None:
        """Add to the gradient. The first array given becomes ``grad`` and is not copied.

        Raises
        ------
        ValueError
            If ``grad`` has not ``data``'s shape.
        """
        grad = to_array("grad", grad)
        if grad.shape != self.data.shape:
            raise ValueError(f"grad has shape {grad.shape}, the parameter {self.data.shape}")
        if self.grad is None:
            self.grad = grad
        else:
            with np.errstate(over="ignore", invalid="ignore"):  # infinity and NaN pass on
                self.grad += grad

    def __repr__(self) -> str:
        return f"Parameter(shape={self.shape}, dtype={self.dtype})"


class Remembers:
    """Keeps what the last forward pass leaves for backward."""

    _saved: tuple[Any, ...] | None = None

    def _remember(self, *values: Any) -> None:
        """Keep ``values`` for backward; within :func:`no_grad`, only drop the older ones."""
        self._saved = values if is_grad_enabled() else None

    def _recall(self) -> tuple[Any, ...]:
        if self._saved is None:
            raise RuntimeError(
                f"{type(self).__name__}.backward needs a forward pass first, outside no_grad()"
            )
        return self._saved


class IncompatibleKeys(NamedTuple):
    """What :meth:`Module.load_state_dict` found missing and unexpected."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module(Remembers):
    """Base of every layer, container and model.

    A layer defines ``forward(input)``, which calls ``self._remember(...)``, and
    ``backward(grad_output)``, which calls ``self._recall()``, adds to its parameters with
    :meth:`Parameter.accumulate` and returns the input's gradient. Parameters and child modules
    are found among the attributes, in the order of assignment; the arrays named in the class
    attribute ``_buffers`` are saved too, but not learned.

    Backward goes back through the last forward pass, which stays remembered until the next one;
    one module therefore stands in one place of a network. :func:`no_grad` remembers nothing.

    Examples
    --------
    >>> import numpy as np
    >>> class Scale(Module):
    ...     def __init__(self):
    ...         self.factor = Parameter(np.array([3.0]))
    ...     def forward(self, input):
    ...         self._remember(input)
    ...         return self.factor.data * input
    ...     def backward(self, grad_output):
    ...         (input,) = self._recall()
    ...         self.factor.accumulate(np.sum(grad_output * input, keepdims=True).reshape(1))
    ...         return self.factor.data * grad_output
    >>> layer = Scale()
    >>> layer(np.array([1.0, 2.0]))
    array([3., 6.])
    >>> layer.backward(np.array([1.0, 1.0]))
    array([3., 3.])
    >>> layer.factor.grad
    array([3.])
    """

    #: True after :meth:`train` (and at first), False after :meth:`eval`
    training: bool = True

    #: names of the attributes that are arrays to save, but not to learn; None is skipped
    _buffers: ClassVar[tuple[str, ...]] = ()

    def __call__(self, input: Array) -> Array:
        return self.forward(to_array("input", input))

    def forward(self, input: Array) -> Array:
        """Compute the output and remember what backward needs."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def backward(self, grad_output: Array) -> Array:
        """Go back through the last forward pass.

        Parameters
        ----------
        grad_output : ndarray
            Gradient of the loss with respect to the output, of the output's shape and dtype.

        Returns
        -------
        ndarray
            Gradient with respect to the input. Those with respect to the parameters are added
            to their ``grad``.

        Raises
        ------
        RuntimeError
            If there was no forward pass, or it ran within :func:`no_grad`.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no backward")

    def backward_parameters(self, grad_output: Array) -> None:
        """Fill the parameters' gradients, as :meth:`backward` does, without the input's.

        Nobody reads the gradient of the images a network is trained on; leaving it out saves the
        first layer a third of its work.

        Parameters
        ----------
        grad_output : ndarray
            As for :meth:`backward`.
        """
        if self._has_parameters():
            self.backward(grad_output)

    def _has_parameters(self) -> bool:
        return next(self.parameters(), None) is not None

    def named_children(self) -> Iterator[tuple[str, "Module"]]:
        """Modules that are attributes of this one, with their names."""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, "Module"]]:
        """This module, named ``prefix``, and everything in it, depth first."""
        yield prefix, self
        for name, child in self.named_children():
            yield from child.named_modules(_join(prefix, name))

    def modules(self) -> Iterator["Module"]:
        """This module and everything in it, depth first."""
        for _, module in self.named_modules():
            yield module

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Every parameter here and below, under torch's names, such as ``"0.weight"``."""
        for path, module in self.named_modules():
            for name, value in vars(module).items():
                if isinstance(value, Parameter):
                    yield _join(path, name), value

    def parameters(self) -> Iterator[Parameter]:
        """Every parameter here and below, in the order of :meth:`named_parameters`."""
        for _, parameter in self.named_parameters():
            yield parameter

    def state_dict(self) -> dict[str, Array]:
        """Every parameter's data and every buffer, under torch's names and in its layouts.

        Returns
        -------
        dict of str to ndarray
            The module's own arrays, not copies: save them, or copy them, before training on.

        Examples
        --------
        >>> from fastconv import nn
        >>> list(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()).state_dict())
        ['0.weight', '0.bias']
        """
        state: dict[str, Array] = {}
        for path, module in self.named_modules():
            for name, value in vars(module).items():
                if isinstance(value, Parameter):
                    state[_join(path, name)] = value.data
            for name in module._buffers:
                if (buffer := getattr(module, name)) is not None:
                    state[_join(path, name)] = buffer
        return state

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Copy a :meth:`state_dict` into this module's arrays: all of it or, on error, nothing.

        Parameters
        ----------
        state : mapping of str to array_like
            From :meth:`state_dict`, from a file, or from an equal torch network. Floating-point
            precision is converted.
        strict : bool
            Whether every key must match; otherwise those that do are loaded.

        Returns
        -------
        IncompatibleKeys
            ``missing_keys`` of this module, and ``unexpected_keys`` of ``state``.

        Raises
        ------
        ValueError
            If keys do not match (``strict``), or an array has another shape.
        TypeError
            If an array cannot hold the values that go there, such as text or fractions for a
            count.
        """
        own = self.state_dict()
        keys = IncompatibleKeys(
            [key for key in own if key not in state], [key for key in state if key not in own]
        )
        if strict and any(keys):
            raise ValueError(
                f"state does not fit {type(self).__name__}: missing {keys.missing_keys}, "
                f"unexpected {keys.unexpected_keys}"
            )
        values = {key: np.asarray(state[key]) for key in own if key in state}
        for key, value in values.items():
            if value.shape != own[key].shape:
                raise ValueError(
                    f"state[{key!r}] has shape {value.shape}, the module {own[key].shape}"
                )
            if not np.can_cast(value.dtype, own[key].dtype, "same_kind"):
                raise TypeError(f"state[{key!r}] is {value.dtype}, the module {own[key].dtype}")
        for key, value in values.items():
            np.copyto(own[key], value, casting="same_kind")
        return keys

    def train(self, mode: bool = True) -> Self:
        """Set training mode here and below: dropout drops, batch norm uses the batch's statistics.

        Returns
        -------
        Module
            This module.
        """
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Set evaluation mode here and below: dropout passes on, batch norm uses its running ones.

        Layers still remember what backward needs; :func:`no_grad` makes them stop.

        Returns
        -------
        Module
            This module.
        """
        return self.train(False)

    def zero_grad(self) -> None:
        """Forget the gradients: every parameter's ``grad`` becomes None."""
        for parameter in self.parameters():
            parameter.grad = None

    def extra_repr(self) -> str:
        """What stands between the parentheses of ``repr``, before any children."""
        return ""

    def __repr__(self) -> str:
        children = [f"({name}): {child!r}" for name, child in self.named_children()]
        inside = self.extra_repr()
        if children:
            lines = "\n".join([inside, *children] if inside else children)
            inside = "\n  " + lines.replace("\n", "\n  ") + "\n"
        return f"{type(self).__name__}({inside})"


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
