"""What every layer is: parameters, buffers, children, and a forward pass."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastconv._arguments import to_array
from fastconv.autograd import Tensor, is_grad_enabled, no_grad

__all__ = ["IncompatibleKeys", "Module", "Parameter", "is_grad_enabled", "no_grad"]

Array = NDArray[Any]
Kind = TypeVar("Kind")

_CONTAINERS = (list, tuple, dict)


class Parameter(Tensor):
    """A Tensor to be learned: it requires a gradient, and belongs to a module.

    Parameters
    ----------
    data : ndarray of float32 or float64
        Held, not copied.

    Raises
    ------
    TypeError
        If ``data`` is neither float32 nor float64.

    Examples
    --------
    >>> import numpy as np
    >>> p = Parameter(np.zeros((2, 3)))
    >>> (2 * p).sum().backward()
    >>> p.grad.sum()
    np.float64(12.0)
    """

    __slots__ = ()

    def __init__(self, data: Array) -> None:
        if not isinstance(data, np.ndarray) or data.dtype not in (np.float32, np.float64):
            kind = getattr(data, "dtype", type(data).__name__)
            raise TypeError(f"data must be an array of float32 or float64, got {kind}")
        super().__init__(data, requires_grad=True)

    def __repr__(self) -> str:
        return f"Parameter(shape={self.shape}, dtype={self.dtype})"


class IncompatibleKeys(NamedTuple):
    """What :meth:`Module.load_state_dict` found missing and unexpected."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """Base of every layer, container and model.

    A layer defines ``forward``, of Tensors, in terms of :mod:`fastconv.functional` and Tensors'
    own methods; what it calls is recorded, so that the loss's ``backward`` finds its way. It may
    stand in several places. Parameters and child modules are found among the attributes, in the
    order of assignment, and in lists, tuples and dictionaries there; the arrays named in the class
    attribute ``_buffers`` are saved too, but not learned.

    Examples
    --------
    >>> import numpy as np
    >>> class Scale(Module):
    ...     def __init__(self):
    ...         self.factor = Parameter(np.array([3.0]))
    ...     def forward(self, input):
    ...         return self.factor * input
    >>> layer = Scale()
    >>> y = layer(layer(np.array([1.0, 2.0])))
    >>> y
    Tensor([ 9., 18.], requires_grad=True)
    >>> y.sum().backward()
    >>> layer.factor.grad
    array([18.])
    """

    #: True after :meth:`train` (and at first), False after :meth:`eval`
    training: bool = True

    #: names of the attributes that are arrays to save, but not to learn; None is skipped
    _buffers: ClassVar[tuple[str, ...]] = ()

    def __call__(self, input: Any, *others: Any, **options: Any) -> Any:
        """:meth:`forward`, of Tensors: arrays are made Tensors before."""
        if not isinstance(input, Tensor):
            input = Tensor(to_array("input", input))
        if others:
            others = tuple([Tensor(v) if isinstance(v, np.ndarray) else v for v in others])
        return self.forward(input, *others, **options)

    def forward(self, input: Any, *others: Any) -> Any:
        """What the module makes of its inputs."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def named_children(self) -> Iterator[tuple[str, "Module"]]:
        """Modules that are attributes of this one, or stand in lists there, with their names."""
        yield from _members(vars(self).items(), Module)

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, "Module"]]:
        """This module, named ``prefix``, and everything in it, depth first, each thing once."""
        seen: set[int] = set()
        for path, module in self._places(prefix):
            if id(module) not in seen:
                seen.add(id(module))
                yield path, module

    def _places(self, prefix: str = "") -> Iterator[tuple[str, "Module"]]:
        """Every place that a module stands in."""
        yield prefix, self
        for name, child in self.named_children():
            yield from child._places(_join(prefix, name))

    def modules(self) -> Iterator["Module"]:
        """This module and everything in it, depth first, each thing once."""
        for _, module in self.named_modules():
            yield module

    def _own_parameters(self) -> Iterator[tuple[str, Parameter]]:
        yield from _members(vars(self).items(), Parameter)

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Every parameter here and below, once, under torch's names, such as ``"0.weight"``."""
        seen: set[int] = set()
        for path, module in self.named_modules():
            for name, parameter in module._own_parameters():
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    yield _join(path, name), parameter

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
        return {
            key: value.data if isinstance(value, Parameter) else value
            for key, value in self._state().items()
        }

    def _state(self) -> dict[str, Any]:
        """What is saved, in every place that it stands in."""
        state: dict[str, Any] = {}
        for path, module in self._places():
            for name, parameter in module._own_parameters():
                state[_join(path, name)] = parameter
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
        own = self._state()
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
            target = own[key].written() if isinstance(own[key], Parameter) else own[key]
            np.copyto(target, value, casting="same_kind")
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

        What backward needs is still recorded; :func:`no_grad` makes that stop.

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


def _members(named: Iterable[tuple[Any, Any]], kind: type[Kind]) -> Iterator[tuple[str, Kind]]:
    """Values of a kind by their names, and those in lists, tuples and dictionaries by theirs."""
    for name, value in named:
        if isinstance(value, kind):
            yield str(name), value
        elif isinstance(value, _CONTAINERS) and value:
            inside = value.items() if isinstance(value, dict) else enumerate(value)
            for inner, found in _members(inside, kind):
                yield f"{name}.{inner}", found


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
