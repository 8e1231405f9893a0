"""Modules made of modules: in a row, beside a shortcut, or side by side."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial, reduce
from itertools import accumulate
from typing import Any, Literal, cast, overload

import numpy as np

from fastconv import functional as F
from fastconv.nn.activation import ReLU
from fastconv.nn.module import Array, Module

__all__ = ["Concat", "Residual", "Sequential"]


class Sequential(Module):
    """Layers one after the other.

    A convolution, batch norm or residual block and the ReLU right after it run as one call, to the
    same bits.

    Parameters
    ----------
    *layers : Module
        In the order of the forward pass. Their parameters are named as torch names them:
        ``"0.weight"``, ``"0.bias"``, ``"2.weight"``, and so on.

    Raises
    ------
    TypeError
        If a layer is not a Module.
    ValueError
        If one layer stands in two places.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10, rng=0))
    >>> model(np.ones((2, 1, 8, 8), np.float32)).shape
    (2, 10)
    >>> model[1]
    Linear(64, 10)
    """

    def __init__(self, *layers: Module) -> None:
        _check_layers({f"layer {i}": layer for i, layer in enumerate(layers)})
        self._layers = layers
        self._steps = _forward_steps(layers)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The layers, named by their positions."""
        for i, layer in enumerate(self._layers):
            yield str(i), layer

    def forward(self, input: Array) -> Array:
        for step in self._steps:
            input = step(input)
        return input

    def backward(self, grad_output: Array) -> Array:
        for layer in reversed(self._layers):
            grad_output = layer.backward(grad_output)
        return grad_output

    def backward_parameters(self, grad_output: Array) -> None:
        learning = [i for i, layer in enumerate(self._layers) if layer._has_parameters()]
        if not learning:
            return
        first, *_ = learning  # nothing before it needs a gradient
        for layer in reversed(self._layers[first + 1 :]):
            grad_output = layer.backward(grad_output)
        self._layers[first].backward_parameters(grad_output)

    def __len__(self) -> int:
        return len(self._layers)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._layers)

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> "Sequential": ...
    def __getitem__(self, index: int | slice) -> Module:
        """The layer at ``index``, or a Sequential of the layers, not copied, in a slice."""
        if isinstance(index, slice):
            return Sequential(*self._layers[index])
        return self._layers[index]


def _forward_steps(layers: Sequence[Module]) -> list[Callable[[Array], Array]]:
    """What a forward pass calls: the layers, but one that takes the ReLU after it along."""
    steps: list[Callable[[Array], Array]] = []
    for i, layer in enumerate(layers):
        # a subclass of ReLU may do something else
        relu = _forward_relu(layers[i - 1]) if i and type(layer) is ReLU else None
        if type(layer) is ReLU and relu is not None:
            steps[-1] = partial(layer.follow, relu)
        else:
            steps.append(layer)
    return steps


def _forward_relu(layer: Module) -> Callable[[Array], Array] | None:
    """The layer's method for its forward pass and ReLU in one, if it has one that still fits.

    A subclass that redefines the forward pass alone has none.
    """
    for kind in type(layer).__mro__:
        if "forward_relu" in vars(kind):
            method: Callable[[Array], Array] = cast(Any, layer).forward_relu
            return method
        if {"forward", "__call__"} & vars(kind).keys():
            break
    return None


class Residual(Module):
    """body(x) + shortcut(x).

    Parameters
    ----------
    body : Module
        Its output must have the shape of the shortcut's.
    shortcut : Module, optional
        What carries the input past ``body``; the input itself when left out.

    Raises
    ------
    TypeError
        If ``body`` or ``shortcut`` is not a Module.
    ValueError
        If one layer stands in two places, or, in a forward pass, the two shapes differ.

    References
    ----------
    He et al., "Deep residual learning for image recognition", CVPR 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.Residual(nn.ReLU())(np.array([-1.0, 2.0]))
    array([-1.,  4.])
    """

    def __init__(self, body: Module, shortcut: Module | None = None) -> None:
        _check_layers({"body": body} | ({} if shortcut is None else {"shortcut": shortcut}))
        self.body = body
        self.shortcut = shortcut

    def forward(self, input: Array) -> Array:
        return self._sum(input, None)

    def forward_relu(self, input: Array) -> Array:
        """``relu(self(input))`` in one pass over the output."""
        return self._sum(input, "relu")

    def _sum(self, input: Array, activation: Literal["relu"] | None) -> Array:
        output = self.body(input)
        carried = input if self.shortcut is None else self.shortcut(input)
        if output.shape != carried.shape:
            raise ValueError(
                f"body turns shape {input.shape} into {output.shape}, "
                f"but the shortcut carries {carried.shape}"
            )
        return F.add(output, carried, activation=activation)

    def backward(self, grad_output: Array) -> Array:
        grad_input = self.body.backward(grad_output)
        if self.shortcut is not None:
            grad_output = self.shortcut.backward(grad_output)
        return F.add(grad_input, grad_output)

    def backward_parameters(self, grad_output: Array) -> None:
        self.body.backward_parameters(grad_output)
        if self.shortcut is not None:
            self.shortcut.backward_parameters(grad_output)


class Concat(Module):
    """Branches side by side on the same input, their outputs joined along the channels.

    Parameters
    ----------
    *branches : Module
        Named, as in :class:`Sequential`, by their positions. Outputs are (N, C, H, W),
        (C, H, W) or (N, C) and may differ in C.

    Raises
    ------
    TypeError
        If a branch is not a Module.
    ValueError
        If there is no branch, if one layer stands in two places, or, in a forward pass, the
        outputs differ in more than their channels.

    References
    ----------
    Szegedy et al., "Going deeper with convolutions", CVPR 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.Concat(nn.Identity(), nn.ReLU())(np.array([[-1.0, 2.0]]))
    array([[-1.,  2.,  0.,  2.]])
    """

    def __init__(self, *branches: Module) -> None:
        if not branches:
            raise ValueError("Concat needs at least one branch")
        _check_layers({f"branch {i}": branch for i, branch in enumerate(branches)})
        self._branches = branches

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The branches, named by their positions."""
        for i, branch in enumerate(self._branches):
            yield str(i), branch

    def forward(self, input: Array) -> Array:
        outputs = [branch(input) for branch in self._branches]
        axis = 0 if outputs[0].ndim in (1, 3) else 1
        shapes = [output.shape for output in outputs]
        if len({(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}) > 1:
            raise ValueError(f"branches give shapes {shapes}: they may differ in channels only")
        if not shapes[0]:
            raise ValueError("branches give arrays without axes, which cannot be joined")
        *ends, _ = accumulate(shape[axis] for shape in shapes)
        joined = np.concatenate(outputs, axis)
        self._remember(axis, ends, joined.shape)
        return joined

    def backward(self, grad_output: Array) -> Array:
        return reduce(
            F.add,
            (branch.backward(part) for branch, part in self._parts(grad_output)),
        )

    def backward_parameters(self, grad_output: Array) -> None:
        for branch, part in self._parts(grad_output):
            branch.backward_parameters(part)

    def _parts(self, grad_output: Array) -> Iterator[tuple[Module, Array]]:
        axis, ends, shape = self._recall()
        if np.shape(grad_output) != shape:
            raise ValueError(f"grad_output has shape {np.shape(grad_output)}, expected {shape}")
        yield from zip(self._branches, np.split(grad_output, ends, axis), strict=True)


def _check_layers(layers: Mapping[str, Module]) -> None:
    """Each must be a Module, and, since it remembers one forward pass, stand in one place."""
    seen: set[int] = set()
    for name, layer in layers.items():
        if not isinstance(layer, Module):
            raise TypeError(f"{name} must be a Module, got {layer!r}")
        for module in layer.modules():
            if id(module) in seen:
                raise ValueError(
                    f"{module!r} stands in two places; it remembers one forward pass, "
                    "so make two of it"
                )
            seen.add(id(module))
