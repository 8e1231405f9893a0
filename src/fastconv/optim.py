"""Parameter updates, learning-rate schedules and gradient clipping, each the same as torch's.

SGD, Adam and AdamW go through memory once, on all threads. Where the processor joins a product and
a sum, the last digit differs from what NumPy would compute; it never depends on the threads.

An optimiser changes ``parameter.data`` in place, so every reference to it stays valid, and skips
a parameter whose ``grad`` is None. Its state is a flat dict of arrays and numbers, ready for npz
or safetensors; after :meth:`Optimizer.load_state_dict` the run goes on as if never broken.
"""

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastconv import _ops
from fastconv._arguments import real, to_array, whole

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "CosineAnnealingLR",
    "LRScheduler",
    "Optimizer",
    "RMSprop",
    "StepLR",
    "clip_grad_norm",
    "clip_grad_value",
]

Array = NDArray[Any]
Number = bool | int | float


class ParameterLike(Protocol):
    """What an optimiser updates: ``fastconv.nn.Parameter``, or anything with these two."""

    data: Array
    grad: Array | None


class Optimizer:
    """Base of the optimisers: holds the parameters, their state, and the hyperparameters.

    A subclass hands its hyperparameters to ``__init__``, where they are checked and become
    attributes, names what it keeps for each parameter in :meth:`_state_names`, and does the
    arithmetic in :meth:`_update`.

    Attributes
    ----------
    params : list of Parameter
        What :meth:`step` updates.
    lr : float
        Learning rate; a schedule, or the user, may change it between steps.
    """

    lr: float

    def __init__(self, params: Iterable[ParameterLike], **hyperparameters: Number) -> None:
        self.params = list(params)
        if not self.params:
            raise ValueError("params is empty: there is nothing to optimise")
        if len({id(p) for p in self.params}) < len(self.params):
            raise ValueError("params holds the same parameter twice")
        self._names = tuple(hyperparameters)
        self._set_hyperparameters(hyperparameters)
        #: what is kept for each parameter, empty until its first step
        self._state: list[dict[str, Any]] = [{} for _ in self.params]
        #: flat temporaries, as large as the largest parameter, shared by all of them
        self._temporaries: dict[tuple[np.dtype[Any], int], Array] = {}

    def step(self) -> None:
        """Update every parameter that has a gradient, in place; gradients are left as they are.

        Raises
        ------
        ValueError
            If a gradient's shape is not its parameter's; nothing has been updated then.
        """
        todo = []
        for i, (p, state) in enumerate(zip(self.params, self._state, strict=True)):
            if p.grad is None:
                continue
            grad = to_array(f"gradient of params[{i}]", p.grad)
            if grad.dtype.kind not in "fiu":
                raise TypeError(f"params[{i}]: gradient is {grad.dtype}, data {p.data.dtype}")
            if grad.shape != p.data.shape:
                raise ValueError(
                    f"params[{i}]: gradient has shape {grad.shape}, data {p.data.shape}"
                )
            if not p.data.flags.writeable:
                raise ValueError(f"params[{i}]: data are read-only")
            todo.append((p.data, grad, state))
        with np.errstate(over="ignore", invalid="ignore"):  # infinity and NaN pass on
            for data, grad, state in todo:
                self._update(data, grad, state)

    def zero_grad(self) -> None:
        """Forget every parameter's gradient: ``grad`` becomes None."""
        for p in self.params:
            p.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Hyperparameters by name, and what is kept for parameter i as ``"i.name"``.

        Returns
        -------
        dict
            Numbers and arrays. The arrays are the optimiser's own: copy them, or save them,
            before the next step.
        """
        state: dict[str, Any] = {name: getattr(self, name) for name in self._names}
        for i, kept in enumerate(self._state):
            state.update({f"{i}.{name}": value for name, value in kept.items()})
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a :meth:`state_dict` of an optimiser of the same kind and parameters.

        Parameters
        ----------
        state : mapping
            Numbers may come as Python numbers or as arrays of one element. Arrays are copied.

        Raises
        ------
        ValueError
            If an entry is missing, unknown, of another shape or out of range; the optimiser is
            unchanged then.
        """
        missing = [name for name in self._names if name not in state]
        if missing:
            raise ValueError(f"state has no {', '.join(missing)}")
        hyperparameters = {
            name: _number(name, state[name], float if name in _RANGES else bool)
            for name in self._names
        }
        names = set(self._state_names(hyperparameters))
        kept: list[dict[str, Any]] = [{} for _ in self.params]
        for key, value in state.items():
            index, _, name = key.partition(".")
            if key in hyperparameters:
                continue
            if name not in names or not index.isdecimal() or int(index) >= len(kept):
                raise ValueError(
                    f"state has an unknown entry {key!r}; {type(self).__name__} of "
                    f"{len(kept)} parameters keeps {sorted(names)} for each"
                )
            if name == "step":
                kept[int(index)][name] = _number(key, value, int)
            else:
                kept[int(index)][name] = _copy_like(self.params[int(index)].data, key, value)
        for i, entries in enumerate(kept):
            if entries and entries.keys() != names:
                raise ValueError(f"state of parameter {i} lacks {sorted(names - entries.keys())}")
        self._set_hyperparameters(hyperparameters)
        self._state = kept

    def _set_hyperparameters(self, values: Mapping[str, Any]) -> None:
        checked: dict[str, Number] = {}
        for name, value in values.items():
            number = real(name, value)
            low, high = _RANGES.get(name, (False, math.inf))
            if not low <= number < high:
                raise ValueError(f"{name} must be at least {low} and below {high}, got {value}")
            checked[name] = number if name in _RANGES else bool(value)
        if values.get("nesterov") and not (values["momentum"] > 0 and values["dampening"] == 0):
            raise ValueError(
                "nesterov needs momentum > 0 and dampening = 0, got "
                f"momentum={values['momentum']}, dampening={values['dampening']}"
            )
        self.__dict__.update(checked)

    def _state_names(self, hyperparameters: Mapping[str, Number]) -> tuple[str, ...]:
        """What :meth:`_update` keeps for each parameter: ``"step"``, or names of arrays."""
        raise NotImplementedError

    def _update(self, data: Array, grad: Array, state: dict[str, Any]) -> None:
        """Change ``data`` and ``state`` in place; ``grad`` is read only."""
        raise NotImplementedError

    def _temporary(self, like: Array, slot: int = 0) -> Array:
        """An uninitialised array of ``like``'s shape and dtype, good until the next call."""
        flat = self._temporaries.get((like.dtype, slot))
        if flat is None or flat.size < like.size:
            flat = self._temporaries[like.dtype, slot] = np.empty(like.size, like.dtype)
        return flat[: like.size].reshape(like.shape)

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={getattr(self, name)}" for name in self._names)
        return f"{type(self).__name__}({len(self.params)} parameters, {settings})"


#: where each number must lie: from the first up to, not including, the second; the
#: hyperparameters that are not listed are switches
_RANGES: dict[str, tuple[float, float]] = {
    "lr": (0.0, math.inf),
    "momentum": (0.0, math.inf),
    "dampening": (-math.inf, math.inf),
    "weight_decay": (0.0, math.inf),
    "beta1": (0.0, 1.0),
    "beta2": (0.0, 1.0),
    "eps": (0.0, math.inf),
    "alpha": (0.0, math.inf),
}


class SGD(Optimizer):
    """Gradient descent with momentum, as ``torch.optim.SGD``.

    With g the gradient plus ``weight_decay`` times the parameter p::

        v ← momentum v + (1 − dampening) g        (v ← g at the first step)
        p ← p − lr v                              (nesterov: p − lr (g + momentum v))

    Parameters
    ----------
    params : iterable of Parameter
        What to update.
    lr : float
        Learning rate, ≥ 0.
    momentum, weight_decay : float
        ≥ 0.
    dampening : float
        Finite.
    nesterov : bool
        Look ahead by one step of momentum (Sutskever et al., "On the importance of
        initialization and momentum in deep learning", ICML 2013).

    Raises
    ------
    ValueError
        If a hyperparameter is out of range, or ``params`` is empty or repeats itself.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> p = nn.Parameter(np.array([1.0, 2.0]))
    >>> p.grad = np.array([0.5, -0.5])
    >>> SGD([p], lr=0.1).step()
    >>> p.data
    array([0.95, 2.05])
    """

    momentum: float
    dampening: float
    weight_decay: float
    nesterov: bool

    def __init__(
        self,
        params: Iterable[ParameterLike],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
        )

    def _state_names(self, hyperparameters: Mapping[str, Number]) -> tuple[str, ...]:
        return ("momentum_buffer",) if hyperparameters["momentum"] else ()

    def _update(self, data: Array, grad: Array, state: dict[str, Any]) -> None:
        momentum, one_minus_dampening = self.momentum, 1 - self.dampening
        if self.momentum and not state:
            state["momentum_buffer"] = np.zeros_like(data)
            momentum, one_minus_dampening = 0.0, 1.0
        velocity = state["momentum_buffer"] if self.momentum else None
        _run(
            _ops.sgd,
            grad,
            data,
            velocity,
            lr=self.lr,
            weight_decay=self.weight_decay,
            momentum=momentum,
            one_minus_dampening=one_minus_dampening,
            nesterov=self.momentum if self.nesterov else 0.0,
        )


class Adam(Optimizer):
    """Steps scaled by running moments of the gradient, as ``torch.optim.Adam``.

    With g the gradient plus ``weight_decay`` times the parameter p, at step k::

        m ← β₁ m + (1 − β₁) g
        v ← β₂ v + (1 − β₂) g²
        p ← p − lr / (1 − β₁ᵏ) · m / (√(v / (1 − β₂ᵏ)) + eps)

    Parameters
    ----------
    params : iterable of Parameter
        What to update.
    lr : float
        Learning rate, ≥ 0.
    betas : (float, float)
        β₁ and β₂, each in [0, 1).
    eps, weight_decay : float
        ≥ 0.

    Raises
    ------
    ValueError
        If a hyperparameter is out of range, or ``params`` is empty or repeats itself.

    References
    ----------
    Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> p = nn.Parameter(np.array([1.0, 2.0]))
    >>> p.grad = np.array([0.5, -0.5])
    >>> Adam([p], lr=0.1).step()
    >>> p.data.round(6)
    array([0.9, 2.1])
    """

    beta1: float
    beta2: float
    eps: float
    weight_decay: float

    #: whether weight decay acts on the parameter itself, or else as part of its gradient
    _decoupled = False

    def __init__(
        self,
        params: Iterable[ParameterLike],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        beta1, beta2 = betas
        super().__init__(
            params, lr=lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay
        )

    def _state_names(self, hyperparameters: Mapping[str, Number]) -> tuple[str, ...]:
        return "step", "exp_avg", "exp_avg_sq"

    def _update(self, data: Array, grad: Array, state: dict[str, Any]) -> None:
        if not state:
            state.update(step=0, exp_avg=np.zeros_like(data), exp_avg_sq=np.zeros_like(data))
        state["step"] += 1
        step = state["step"]
        _run(
            _ops.adam,
            grad,
            data,
            state["exp_avg"],
            state["exp_avg_sq"],
            decay_factor=1 - self.lr * self.weight_decay if self._decoupled else 1.0,
            weight_decay=0.0 if self._decoupled else self.weight_decay,
            beta1=self.beta1,
            beta2=self.beta2,
            step_size=self.lr / (1 - self.beta1**step),
            bias_correction2_sqrt=math.sqrt(1 - self.beta2**step),
            eps=self.eps,
        )


class AdamW(Adam):
    """Adam with weight decay apart from the gradient, as ``torch.optim.AdamW``.

    Before Adam's update (there without weight decay), p ← p − lr · weight_decay · p.

    Parameters
    ----------
    params : iterable of Parameter
        What to update.
    lr : float
        Learning rate, ≥ 0.
    betas : (float, float)
        β₁ and β₂, each in [0, 1).
    eps, weight_decay : float
        ≥ 0.

    Raises
    ------
    ValueError
        If a hyperparameter is out of range, or ``params`` is empty or repeats itself.

    References
    ----------
    Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> p = nn.Parameter(np.array([1.0, 2.0]))
    >>> p.grad = np.array([0.5, -0.5])
    >>> AdamW([p], lr=0.1, weight_decay=0.5).step()
    >>> p.data.round(6)
    array([0.85, 2.  ])
    """

    _decoupled = True

    def __init__(
        self,
        params: Iterable[ParameterLike],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)


class RMSprop(Optimizer):
    """Steps scaled by a running mean of the squared gradient, as ``torch.optim.RMSprop``.

    With g the gradient plus ``weight_decay`` times the parameter p::

        s ← alpha s + (1 − alpha) g²
        d ← g / (√s + eps)                  (centered: √(s − a²), a the running mean of g)
        p ← p − lr d                        (momentum: v ← momentum v + d,  p ← p − lr v)

    Parameters
    ----------
    params : iterable of Parameter
        What to update.
    lr : float
        Learning rate, ≥ 0.
    alpha, eps, weight_decay, momentum : float
        ≥ 0.
    centered : bool
        Scale by the gradient's variance instead of its second moment (Graves, "Generating
        sequences with recurrent neural networks", 2013, section 4.2).

    Raises
    ------
    ValueError
        If a hyperparameter is out of range, or ``params`` is empty or repeats itself.

    References
    ----------
    Hinton, "Neural networks for machine learning", lecture 6e, 2012.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> p = nn.Parameter(np.array([1.0, 2.0]))
    >>> p.grad = np.array([0.5, -0.5])
    >>> RMSprop([p], lr=0.1).step()
    >>> p.data.round(6)
    array([0., 3.])
    """

    alpha: float
    eps: float
    weight_decay: float
    momentum: float
    centered: bool

    def __init__(
        self,
        params: Iterable[ParameterLike],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            alpha=alpha,
            eps=eps,
            weight_decay=weight_decay,
            momentum=momentum,
            centered=centered,
        )

    def _state_names(self, hyperparameters: Mapping[str, Number]) -> tuple[str, ...]:
        momentum = ("momentum_buffer",) if hyperparameters["momentum"] else ()
        centered = ("grad_avg",) if hyperparameters["centered"] else ()
        return ("square_avg", *momentum, *centered)

    def _update(self, data: Array, grad: Array, state: dict[str, Any]) -> None:
        t = self._temporary(data)
        grad = _decayed(grad, data, self.weight_decay, self._temporary(data, slot=1))
        for name in self._state_names(vars(self)):
            if name not in state:
                state[name] = np.zeros_like(data)
        s = state["square_avg"]
        np.multiply(grad, grad, out=t)
        t *= 1 - self.alpha
        s *= self.alpha
        s += t
        if self.centered:
            a = state["grad_avg"]
            np.subtract(grad, a, out=t)
            t *= 1 - self.alpha
            a += t
            np.multiply(a, a, out=t)
            np.subtract(s, t, out=t)
            np.sqrt(t, out=t)
        else:
            np.sqrt(s, out=t)
        t += self.eps
        np.divide(grad, t, out=t)
        if self.momentum:
            v = state["momentum_buffer"]
            v *= self.momentum
            v += t
            data -= np.multiply(v, self.lr, out=t)
        else:
            t *= self.lr
            data -= t


class LRScheduler:
    """Base of the schedules: each :meth:`step` ends an epoch and sets ``optimizer.lr``.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rate to set; its ``lr`` now is the base that the schedule works from.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.base_lr = optimizer.lr
        self.last_epoch = 0

    def step(self) -> None:
        """Count one epoch and set the learning rate of the next."""
        self.last_epoch += 1
        self.optimizer.lr = self._lr(self.last_epoch)

    def state_dict(self) -> dict[str, Any]:
        """The epochs counted and the base learning rate, as numbers."""
        return {"last_epoch": self.last_epoch, "base_lr": self.base_lr}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a :meth:`state_dict`, and set the optimiser's learning rate to match.

        Raises
        ------
        ValueError
            If ``state`` lacks an entry, or one is not a number; nothing is changed then.
        """
        missing = [name for name in ("last_epoch", "base_lr") if name not in state]
        if missing:
            raise ValueError(f"state has no {', '.join(missing)}")
        last_epoch = int(_number("last_epoch", state["last_epoch"], int))
        self.base_lr = float(_number("base_lr", state["base_lr"], float))
        self.last_epoch = last_epoch
        self.optimizer.lr = self._lr(last_epoch)

    def _lr(self, epoch: int) -> float:
        raise NotImplementedError


class StepLR(LRScheduler):
    """Multiply the learning rate by ``gamma`` every ``step_size`` epochs.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rate to set.
    step_size : int
        Epochs between changes, ≥ 1.
    gamma : float
        Factor, ≥ 0.

    Raises
    ------
    ValueError
        If ``step_size`` or ``gamma`` is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> optimizer = SGD([nn.Parameter(np.ones(1))], lr=1.0)
    >>> schedule = StepLR(optimizer, step_size=2, gamma=0.5)
    >>> for _ in range(4):
    ...     schedule.step()
    ...     print(optimizer.lr)
    1.0
    0.5
    0.5
    0.25
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        super().__init__(optimizer)
        self.step_size = whole("step_size", step_size, 1)
        self.gamma = real("gamma", gamma, 0, sys.float_info.max)

    def _lr(self, epoch: int) -> float:
        try:
            return self.base_lr * self.gamma ** (epoch // self.step_size)
        except OverflowError:
            return math.inf


class CosineAnnealingLR(LRScheduler):
    """Let the learning rate fall to ``eta_min`` along half a cosine of ``T_max`` epochs.

    After ``T_max`` epochs it climbs again, as torch's does. The formula is equation 5 of
    Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rate to set.
    T_max : int
        Epochs from the base learning rate down to ``eta_min``, ≥ 1.
    eta_min : float
        Lowest learning rate, ≥ 0.

    Raises
    ------
    ValueError
        If ``T_max`` or ``eta_min`` is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> optimizer = SGD([nn.Parameter(np.ones(1))], lr=1.0)
    >>> schedule = CosineAnnealingLR(optimizer, T_max=2)
    >>> schedule.step()
    >>> round(optimizer.lr, 12)
    0.5
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        super().__init__(optimizer)
        self.T_max = whole("T_max", T_max, 1)
        self.eta_min = real("eta_min", eta_min, 0, sys.float_info.max)

    def _lr(self, epoch: int) -> float:
        fall = (1 + math.cos(math.pi * epoch / self.T_max)) / 2
        return self.eta_min + (self.base_lr - self.eta_min) * fall


def clip_grad_norm(
    params: Iterable[ParameterLike], max_norm: float, norm_type: float = 2.0
) -> float:
    """Scale all gradients together, in place, so that their joint norm is at most ``max_norm``.

    As ``torch.nn.utils.clip_grad_norm_``: the factor is max_norm / (norm + 1e-6), never above 1,
    and a NaN in any gradient makes every gradient NaN.

    Parameters
    ----------
    params : iterable of Parameter
        Those without a gradient are skipped.
    max_norm : float
        ≥ 0.
    norm_type : float
        Order p ≥ 1 of the norm; ``math.inf`` for the largest magnitude.

    Returns
    -------
    float
        The norm before clipping; 0 without any gradient.

    Raises
    ------
    ValueError
        If ``max_norm`` or ``norm_type`` is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> p = nn.Parameter(np.zeros(2))
    >>> p.grad = np.array([3.0, 4.0])
    >>> clip_grad_norm([p], max_norm=1.0)
    5.0
    >>> p.grad.round(5)
    array([0.6, 0.8])
    """
    max_norm, norm_type = real("max_norm", max_norm, 0), real("norm_type", norm_type, 1)
    grads = _gradients(params)
    with np.errstate(over="ignore", invalid="ignore"):  # an infinite gradient turns to NaN here
        norms = [float(np.linalg.norm(grad.ravel(), norm_type)) for grad in grads]
        total = float(np.linalg.norm(norms, norm_type)) if norms else 0.0
        factor = max_norm / (total + 1e-6)
        if not factor >= 1:
            for grad in grads:
                grad *= factor
    return total


def clip_grad_value(params: Iterable[ParameterLike], clip_value: float) -> None:
    """Limit every element of every gradient to ±``clip_value``, in place.

    Parameters
    ----------
    params : iterable of Parameter
        Those without a gradient are skipped.
    clip_value : float
        ≥ 0.

    Raises
    ------
    ValueError
        If ``clip_value`` is negative or NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> p = nn.Parameter(np.zeros(2))
    >>> p.grad = np.array([3.0, -0.5])
    >>> clip_grad_value([p], 1.0)
    >>> p.grad
    array([ 1. , -0.5])
    """
    clip_value = real("clip_value", clip_value, 0)
    with np.errstate(over="ignore"):  # a value beyond float32 is infinity to it
        for grad in _gradients(params):
            np.clip(grad, -clip_value, clip_value, out=grad)


def _gradients(params: Iterable[ParameterLike]) -> list[Array]:
    """The gradients that there are, all of which can be changed in place."""
    grads = [p.grad for p in params if p.grad is not None]
    for grad in grads:
        if not isinstance(grad, np.ndarray) or grad.dtype.kind != "f":
            kind = getattr(grad, "dtype", type(grad).__name__)
            raise TypeError(f"gradients must be floating-point arrays, got {kind}")
        if not grad.flags.writeable:
            raise ValueError(f"a gradient of shape {grad.shape} is read-only")
    return grads


def _run(kernel: Callable[..., None], grad: Array, *arrays: Array | None, **numbers: float) -> None:
    """Call ``kernel``, which updates the first of ``arrays`` by ``grad``, and the others, in place.

    It takes C-contiguous arrays; of another one it is given a copy, which is then copied back.
    """
    data = arrays[0]
    assert data is not None
    grad = np.asarray(grad, data.dtype)
    whole = [array if array is None else np.asarray(array, order="C") for array in arrays]
    kernel(whole[0], grad, *whole[1:], **numbers)
    for array, updated in zip(arrays, whole, strict=True):
        if array is not None and updated is not array:
            array[...] = updated


def _decayed(grad: Array, data: Array, weight_decay: float, out: Array) -> Array:
    """``grad + weight_decay * data``, in ``out`` if there is any weight decay."""
    if not weight_decay:
        return grad
    np.multiply(data, weight_decay, out=out)
    return np.add(grad, out, out=out)


def _number(name: str, value: Any, kind: type) -> Number:
    """``value``, a number or an array of one element, as a bool, int or float."""
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "biuf" or array != array.astype(kind):
        raise ValueError(f"state[{name!r}] must be one {kind.__name__}, got {value!r}")
    number: Number = kind(array.item())
    return number


def _copy_like(data: Array, name: str, value: Any) -> Array:
    array = np.asarray(value)
    if array.shape != data.shape or array.dtype.kind != "f":
        raise ValueError(
            f"state[{name!r}] must be floating-point of shape {data.shape}, "
            f"got {array.dtype} of shape {array.shape}"
        )
    return array.astype(data.dtype)
