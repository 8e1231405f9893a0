"""Modules made of modules: in a row, beside a shortcut, or side by side."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, overload

from fastconv import functional as F
from fastconv.nn.activation import ReLU
from fastconv.nn.module import Module

__all__ = ["Concat", "ModuleDict", "ModuleList", "Residual", "Sequential"]


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
        # steps of a forward pass: a layer, and the activation that it takes along
        self._steps: list[tuple[Module, dict[str, str]]] = []
        for layer in layers:
            # a subclass of ReLU may do something else
            if type(layer) is ReLU and self._steps and _takes_activation(self._steps[-1]):
                self._steps[-1][1]["activation"] = "relu"
            else:
                self._steps.append((layer, {}))

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The layers, named by their positions."""
        for i, layer in enumerate(self._layers):
            yield str(i), layer

    def forward(self, input: Any) -> Any:
        for layer, options in self._steps:
            input = layer(input, **options)
        return input

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


def _takes_activation(step: tuple[Module, dict[str, str]]) -> bool:
    """Whether the layer's forward pass takes an activation along, and has none yet."""
    layer, options = step
    if options or type(layer).__call__ is not Module.__call__:
        return False
    code = type(layer).forward.__code__
    return "activation" in code.co_varnames[: code.co_argcount]


class ModuleList(Module):
    """A list of modules, for a forward pass that says what becomes of them.

    Parameters
    ----------
    modules : iterable of Module
        Named by their positions.

    Raises
    ------
    TypeError
        If something in it is not a Module.

    Examples
    --------
    >>> from fastconv import nn
    >>> layers = nn.ModuleList(nn.Linear(4, 4, rng=i) for i in range(3))
    >>> [name for name, _ in layers.named_parameters()][:2]
    ['0.weight', '0.bias']
    >>> layers[-1], len(layers)
    (Linear(4, 4), 3)
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self._modules: list[Module] = []
        self.extend(modules)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules, named by their positions."""
        for i, module in enumerate(self._modules):
            yield str(i), module

    def append(self, module: Module) -> None:
        """Add a module at the end."""
        _check_layers({f"module {len(self)}": module})
        self._modules.append(module)

    def extend(self, modules: Iterable[Module]) -> None:
        """Add modules at the end."""
        for module in modules:
            self.append(module)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules)

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> "ModuleList": ...
    def __getitem__(self, index: int | slice) -> Module:
        """The module at ``index``, or a ModuleList of those in a slice."""
        if isinstance(index, slice):
            return ModuleList(self._modules[index])
        return self._modules[index]

    def __setitem__(self, index: int, module: Module) -> None:
        _check_layers({f"module {index}": module})
        self._modules[index] = module


class ModuleDict(Module):
    """Modules by their names, for a forward pass that says what becomes of them.

    Parameters
    ----------
    modules : mapping of str to Module

    Raises
    ------
    TypeError
        If a name is not a string, or something in it not a Module.

    Examples
    --------
    >>> from fastconv import nn
    >>> heads = nn.ModuleDict({"shape": nn.Linear(8, 3), "colour": nn.Linear(8, 5)})
    >>> list(heads), heads["colour"]
    (['shape', 'colour'], Linear(8, 5))
    """

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        self._modules: dict[str, Module] = {}
        for name, module in dict(modules or {}).items():
            self[name] = module

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules by their names."""
        yield from self._modules.items()

    def keys(self) -> Iterable[str]:
        """The names."""
        return self._modules.keys()

    def values(self) -> Iterable[Module]:
        """The modules."""
        return self._modules.values()

    def items(self) -> Iterable[tuple[str, Module]]:
        """Names and modules."""
        return self._modules.items()

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, name: str) -> bool:
        return name in self._modules

    def __getitem__(self, name: str) -> Module:
        return self._modules[name]

    def __setitem__(self, name: str, module: Module) -> None:
        if not isinstance(name, str):
            raise TypeError(f"names must be strings, got {name!r}")
        _check_layers({f"module {name!r}": module})
        self._modules[name] = module


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
        In a forward pass, if the two shapes differ.

    References
    ----------
    He et al., "Deep residual learning for image recognition", CVPR 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.Residual(nn.ReLU())(np.array([-1.0, 2.0]))
    Tensor([-1.,  4.])
    """

    def __init__(self, body: Module, shortcut: Module | None = None) -> None:
        _check_layers({"body": body} | ({} if shortcut is None else {"shortcut": shortcut}))
        self.body = body
        self.shortcut = shortcut

    def forward(self, input: Any, activation: Literal["relu"] | None = None) -> Any:
        output = self.body(input)
        carried = input if self.shortcut is None else self.shortcut(input)
        if output.shape != carried.shape:
            raise ValueError(
                f"body turns shape {input.shape} into {output.shape}, "
                f"but the shortcut carries {carried.shape}"
            )
        return F.add(output, carried, activation=activation)


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
        If there is no branch, or, in a forward pass, the outputs differ in more than their
        channels.

    References
    ----------
    Szegedy et al., "Going deeper with convolutions", CVPR 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.Concat(nn.Identity(), nn.ReLU())(np.array([[-1.0, 2.0]]))
    Tensor([[-1.,  2.,  0.,  2.]])
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

    def forward(self, input: Any) -> Any:
        outputs = [branch(input) for branch in self._branches]
        axis = 0 if outputs[0].ndim in (1, 3) else 1
        shapes = [output.shape for output in outputs]
        if len({(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}) > 1:
            raise ValueError(f"branches give shapes {shapes}: they may differ in channels only")
        if not shapes[0]:
            raise ValueError("branches give arrays without axes, which cannot be joined")
        return F.concatenate(outputs, axis)


def _check_layers(layers: Mapping[str, Any]) -> None:
    for name, layer in layers.items():
        if not isinstance(layer, Module):
            raise TypeError(f"{name} must be a Module, got {layer!r}")
