"""What every optimiser is: groups of parameters, their settings, and what is kept for each."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastconv._arguments import to_array
from fastconv._tape import Variable
from fastconv.optim.settings import Settings, checked, stored, stored_count

__all__ = ["Optimizer", "Parameters"]

Array = NDArray[Any]
#: what constructors take: Parameters, or other Tensors that no op made; or dicts of them
Parameters = Iterable[Any]


class State(NamedTuple):
    """What a state says, by group and by parameter."""

    settings: list[Settings]
    kept: list[dict[str, Any]]


class Optimizer:
    """Base of the optimisers: holds the parameters in groups, their settings, and their state.

    A subclass hands its settings to ``__init__``, names what it keeps for each parameter in
    :meth:`_state_names`, and does the arithmetic in :meth:`_update`.

    Parameters
    ----------
    params : iterable of Parameter or dict
        What to update; or groups of it, each a dict with the parameters under ``"params"`` and,
        under their names, the settings that are not as the others'.
    **defaults : float, bool or (float, float)
        The settings of groups that do not say otherwise, ``lr`` among them.

    Attributes
    ----------
    param_groups : list of dict
        Of each group its parameters under ``"params"``, and all its settings; these a schedule, or
        the user, may change between steps.
    defaults : dict
        The settings that were given for all.

    Raises
    ------
    ValueError, TypeError
        If a setting is unknown or out of range, there are no parameters, or none in a group, one
        stands in two places, or something is no parameter.

    Examples
    --------
    >>> from fastconv import nn, optim
    >>> model = nn.Sequential(nn.Linear(4, 8, rng=0), nn.ReLU(), nn.Linear(8, 2, rng=0))
    >>> optim.SGD(
    ...     [{"params": model[0].parameters(), "lr": 0.01}, {"params": model[2].parameters()}],
    ...     lr=0.1,
    ...     momentum=0.9,
    ... ).param_groups[0]["lr"]
    0.01
    """

    def __init__(self, params: Parameters, **defaults: Any) -> None:
        self.defaults: Settings = self._checked(defaults)
        self.param_groups: list[dict[str, Any]] = []
        #: what is kept for each parameter, empty until its first step
        self._state: dict[Variable, dict[str, Any]] = {}
        #: flat temporaries, as large as the largest parameter, shared by all of them
        self._temporaries: dict[tuple[np.dtype[Any], int], Array] = {}
        for name, members, settings in _groups(params, type(self).__name__, self.defaults):
            for i, p in enumerate(members):
                _check_parameter(f"{name}[{i}]", p)
                if p in self._state:
                    raise ValueError(
                        f"params holds the same parameter twice: {name}[{i}], of shape {p.shape}"
                    )
                self._state[p] = {}
            try:
                own = self._checked({**self.defaults, **settings})
            except (ValueError, TypeError) as error:
                raise type(error)(f"params[{len(self.param_groups)}]: {error}") from error
            self.param_groups.append({"params": members, **own})

    @property
    def params(self) -> list[Any]:
        """All parameters, group by group."""
        return [p for group in self.param_groups for p in group["params"]]

    @property
    def lr(self) -> float:
        """Learning rate of all groups; setting it sets theirs.

        Raises
        ------
        AttributeError
            If they have several: ``param_groups`` has each.
        """
        rates = {group["lr"] for group in self.param_groups}
        if len(rates) > 1:
            raise AttributeError(
                f"the groups have learning rates {sorted(rates)}: see optimizer.param_groups"
            )
        rate: float = rates.pop()
        return rate

    @lr.setter
    def lr(self, lr: float) -> None:
        lr = checked("lr", lr)
        for group in self.param_groups:
            group["lr"] = lr

    def step(self) -> None:
        """Update every parameter that has a gradient, in place; gradients are left as they are.

        Raises
        ------
        ValueError
            If a gradient's shape is not its parameter's; nothing has been updated then.
        """
        todo = []
        for i, (group, p) in enumerate(self._members()):
            data, grad = p._array, p.grad
            if grad is None:
                continue
            if not (type(grad) is np.ndarray and grad.dtype is data.dtype and grad.flags.aligned):
                grad = to_array(f"gradient of params[{i}]", grad)
                if grad.dtype.kind not in "fiu":
                    raise TypeError(f"params[{i}]: gradient is {grad.dtype}, data {data.dtype}")
            if grad.shape != data.shape:
                raise ValueError(f"params[{i}]: gradient has shape {grad.shape}, data {data.shape}")
            if not data.flags.writeable:
                raise ValueError(f"params[{i}]: data are read-only")
            todo.append((group, p, grad))
        with np.errstate(over="ignore", invalid="ignore"):  # infinity and NaN pass on
            for group, p, grad in todo:
                self._update(group, p.written(), grad, self._state[p])

    def zero_grad(self) -> None:
        """Forget every parameter's gradient: ``grad`` becomes None."""
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None

    def state_dict(self) -> dict[str, Any]:
        """The class and the settings of each group, and what is kept for each parameter.

        Returns
        -------
        dict
            Numbers and arrays. Of group i ``"SGD.i.params"``, how many it has, and each setting, as
            in ``"SGD.i.lr"``; of parameter j, counted through all groups, ``"j.momentum_buffer"``
            and the like. The arrays are the optimiser's own: copy them, or save them, before the
            next step.
        """
        state: dict[str, Any] = {}
        kind = type(self).__name__
        for i, group in enumerate(self.param_groups):
            state[f"{kind}.{i}.params"] = len(group["params"])
            state.update({f"{kind}.{i}.{name}": group[name] for name in self.defaults})
        for i, (_, p) in enumerate(self._members()):
            state.update({f"{i}.{name}": value for name, value in self._state[p].items()})
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a :meth:`state_dict`, settings included.

        Parameters
        ----------
        state : mapping
            Of an optimiser of this class, with as many parameters in each group. Numbers may come
            as Python's or as arrays. Arrays are copied.

        Raises
        ------
        ValueError
            If it is of another class, or an entry is missing, unknown, of another shape or out of
            range; the optimiser is unchanged then.
        """
        read = self._read(state)
        for group, settings in zip(self.param_groups, read.settings, strict=True):
            group.update(settings)
        for p, kept in zip(self.params, read.kept, strict=True):
            self._state[p] = kept

    def check_same(self, state: Mapping[str, Any]) -> None:
        """Refuse a :meth:`state_dict` that is not of the same optimiser, but for learning rates.

        What is kept for each parameter, such as its momentum, was made under the settings of the
        state, so others mean another optimiser; a learning rate is free to change at any step.

        Parameters
        ----------
        state : mapping
            As :meth:`load_state_dict` takes it.

        Raises
        ------
        ValueError
            As :meth:`load_state_dict`, or naming a setting and both values.
        """
        groups = zip(self.param_groups, self._read(state).settings, strict=True)
        for i, (group, settings) in enumerate(groups):
            for name, value in settings.items():
                if name != "lr" and value != group[name]:
                    where = f" (of parameter group {i})" if len(self.param_groups) > 1 else ""
                    raise ValueError(
                        f"state has {name}={value}{where}, and this {type(self).__name__} "
                        f"{name}={group[name]}"
                    )

    def _members(self) -> Iterator[tuple[dict[str, Any], Any]]:
        """Every parameter with its group."""
        for group in self.param_groups:
            for p in group["params"]:
                yield group, p

    def _checked(self, settings: Mapping[str, Any]) -> Settings:
        """Settings of one group in their own types, or an error that names one."""
        return {name: checked(name, value) for name, value in settings.items()}

    def _read(self, state: Mapping[str, Any]) -> State:
        """What a :meth:`state_dict` says, or an error if it is not of an optimiser like this."""
        kind = type(self).__name__
        own: dict[str, Any] = {}  # settings, by group and name
        others: dict[str, Any] = {}
        for key, value in state.items():
            owner, *path = key.split(".")
            if len(path) == 2 and path[0].isdecimal():
                if owner != kind:
                    raise ValueError(f"state is of {owner}, this optimiser is {kind}")
                own[".".join(path)] = value
            else:
                others[key] = value
        sizes = [len(group["params"]) for group in self.param_groups]
        theirs = [stored_count(f"{kind}.{k}", v) for k, v in own.items() if k.endswith(".params")]
        if theirs and theirs != sizes:
            raise ValueError(
                f"state is of groups of {theirs} parameters, this {kind} has groups of {sizes}"
            )
        names = [f"{i}.{name}" for i in range(len(sizes)) for name in ("params", *self.defaults)]
        for key in names:
            if key not in own:
                raise ValueError(f"state has no {kind}.{key}")
        if unknown := own.keys() - set(names):
            raise ValueError(f"state has an unknown entry {f'{kind}.{unknown.pop()}'!r}")
        settings = []
        for i in range(len(sizes)):
            given = {n: stored(f"{kind}.{i}.{n}", own[f"{i}.{n}"]) for n in self.defaults}
            try:
                settings.append(self._checked(given))
            except TypeError as error:  # a list of numbers instead of one, say
                raise ValueError(f"state of {kind}: {error}") from error
        return State(settings, self._read_kept(others, settings))

    def _read_kept(
        self, state: Mapping[str, Any], settings: list[Settings]
    ) -> list[dict[str, Any]]:
        """What is kept for each parameter."""
        params = self.params
        kept: list[dict[str, Any]] = [{} for _ in params]
        groups = zip(self.param_groups, settings, strict=True)
        names = [set(self._state_names(s)) for group, s in groups for _ in group["params"]]
        for key, value in state.items():
            index, _, name = key.partition(".")
            i = int(index) if index.isdecimal() else len(kept)
            if i >= len(kept) or name not in names[i]:
                raise ValueError(
                    f"state has an unknown entry {key!r}; {type(self).__name__} of {len(kept)} "
                    f"parameters keeps {sorted(set().union(*names))} for each"
                )
            if name == "step":
                kept[i][name] = stored_count(key, value)
            else:
                kept[i][name] = _copy_like(params[i]._array, key, value)
        for i, entries in enumerate(kept):
            if entries and entries.keys() != names[i]:
                raise ValueError(
                    f"state of parameter {i} lacks {sorted(names[i] - entries.keys())}"
                )
        return kept

    def _state_names(self, settings: Settings) -> tuple[str, ...]:
        """What :meth:`_update` keeps for each parameter: ``"step"``, or names of arrays."""
        raise NotImplementedError

    def _update(self, settings: Settings, data: Array, grad: Array, state: dict[str, Any]) -> None:
        """Change ``data`` and ``state`` in place; ``grad`` is read only."""
        raise NotImplementedError

    def _temporary(self, like: Array, slot: int = 0) -> Array:
        """An uninitialised array of ``like``'s shape and dtype, good until the next call."""
        flat = self._temporaries.get((like.dtype, slot))
        if flat is None or flat.size < like.size:
            flat = self._temporaries[like.dtype, slot] = np.empty(like.size, like.dtype)
        return flat[: like.size].reshape(like.shape)

    def __repr__(self) -> str:
        groups = []
        for group in self.param_groups:
            settings = ", ".join(f"{name}={group[name]}" for name in self.defaults)
            groups.append(f"{len(group['params'])} parameters, {settings}")
        return f"{type(self).__name__}({'; '.join(groups)})"


def _groups(
    params: Parameters, kind: str, defaults: Settings
) -> Iterator[tuple[str, list[Any], Settings]]:
    """Each group's name in errors, its parameters, and the settings that are its own."""
    members = _members("params", params)
    if not any(isinstance(member, dict) for member in members):
        yield "params", members, {}
        return
    for i, group in enumerate(members):
        if not isinstance(group, dict):
            raise TypeError(
                f"params must be parameters or dicts, not both: params[{i}] is {_kind(group)}"
            )
        if "params" not in group:
            raise ValueError(f"params[{i}] has no 'params', only {sorted(group)}")
        if unknown := [name for name in group if name != "params" and name not in defaults]:
            raise TypeError(
                f"params[{i}] has an unknown setting {unknown[0]!r}; {kind} has "
                f"{', '.join(defaults)}"
            )
        one = isinstance(group["params"], Variable)
        name = f"params[{i}]['params']"
        own = [group["params"]] if one else _members(name, group["params"])
        yield name, own, {n: v for n, v in group.items() if n != "params"}


def _members(name: str, params: Any) -> list[Any]:
    if isinstance(params, Variable):
        raise TypeError(f"{name} must be a list of parameters, got one alone: put it into a list")
    try:
        members = list(params)
    except TypeError:
        raise TypeError(f"{name} must be a list of parameters, got {_kind(params)}") from None
    if not members:
        raise ValueError(f"{name} is empty: there is nothing to optimise")
    return members


def _check_parameter(name: str, p: Any) -> None:
    if not isinstance(p, Variable):
        raise TypeError(f"{name} must be a Parameter or another Tensor, got {_kind(p)}")
    if p._node is not None:
        raise ValueError(f"{name} was made by an op: only Tensors that none made can be updated")
    if p._array.dtype not in (np.float32, np.float64):
        raise TypeError(f"{name} must be of float32 or float64, got {p._array.dtype}")


def _kind(value: Any) -> str:
    return f"an object of type {type(value).__name__}"


def _copy_like(data: Array, name: str, value: Any) -> Array:
    array = np.asarray(value)
    if array.shape != data.shape or array.dtype.kind != "f":
        raise ValueError(
            f"state[{name!r}] must be floating-point of shape {data.shape}, "
            f"got {array.dtype} of shape {array.shape}"
        )
    return array.astype(data.dtype)
