"""The updates: what each optimiser makes of a parameter, its gradient, and what it remembers."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv import _ops
from fastconv.optim.optimizer import Optimizer, Parameters
from fastconv.optim.settings import Settings

__all__ = ["SGD", "Adam", "AdamW", "RMSprop"]

Array = NDArray[Any]


class SGD(Optimizer):
    """Gradient descent with momentum, as ``torch.optim.SGD``.

    With g the gradient plus ``weight_decay`` times the parameter p::

        v ← momentum v + (1 − dampening) g        (v ← g at the first step)
        p ← p − lr v                              (nesterov: p − lr (g + momentum v))

    Parameters
    ----------
    params : iterable of Parameter or dict
        What to update, or groups of it with settings of their own: see :class:`Optimizer`.
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
    ValueError, TypeError
        If a setting is out of range, or ``params`` is empty or repeats itself, or is no parameters.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn, optim
    >>> p = nn.Parameter(np.array([1.0, 2.0]))
    >>> p.grad = np.array([0.5, -0.5])
    >>> optim.SGD([p], lr=0.1).step()
    >>> p.data
    array([0.95, 2.05])
    """

    def __init__(
        self,
        params: Parameters,
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

    def _checked(self, settings: Mapping[str, Any]) -> Settings:
        checked = super()._checked(settings)
        if checked["nesterov"] and not (checked["momentum"] > 0 and checked["dampening"] == 0):
            raise ValueError(
                "nesterov needs momentum > 0 and dampening = 0, got "
                f"momentum={settings['momentum']}, dampening={settings['dampening']}"
            )
        return checked

    def _state_names(self, settings: Settings) -> tuple[str, ...]:
        return ("momentum_buffer",) if settings["momentum"] else ()

    def _update(self, settings: Settings, data: Array, grad: Array, state: dict[str, Any]) -> None:
        momentum, one_minus_dampening = settings["momentum"], 1 - settings["dampening"]
        if settings["momentum"] and not state:
            state["momentum_buffer"] = np.zeros_like(data)
            momentum, one_minus_dampening = 0.0, 1.0
        velocity = state["momentum_buffer"] if settings["momentum"] else None
        _run(
            _ops.sgd,
            grad,
            data,
            velocity,
            lr=settings["lr"],
            weight_decay=settings["weight_decay"],
            momentum=momentum,
            one_minus_dampening=one_minus_dampening,
            nesterov=settings["momentum"] if settings["nesterov"] else 0.0,
        )


class Adam(Optimizer):
    """Steps scaled by running moments of the gradient, as ``torch.optim.Adam``.

    With g the gradient plus ``weight_decay`` times the parameter p, at step k::

        m ← β₁ m + (1 − β₁) g
        v ← β₂ v + (1 − β₂) g²
        p ← p − lr / (1 − β₁ᵏ) · m / (√(v / (1 − β₂ᵏ)) + eps)

    Parameters
    ----------
    params : iterable of Parameter or dict
        What to update, or groups of it with settings of their own: see :class:`Optimizer`.
    lr : float
        Learning rate, ≥ 0.
    betas : (float, float)
        β₁ and β₂, each in [0, 1).
    eps, weight_decay : float
        ≥ 0.

    Raises
    ------
    ValueError, TypeError
        If a setting is out of range, or ``params`` is empty or repeats itself, or is no parameters.

    References
    ----------
    Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn, optim
    >>> p = nn.Parameter(np.array([1.0, 2.0]))
    >>> p.grad = np.array([0.5, -0.5])
    >>> optim.Adam([p], lr=0.1).step()
    >>> p.data.round(6)
    array([0.9, 2.1])
    """

    #: whether weight decay acts on the parameter itself, or else as part of its gradient
    _decoupled = False

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def _state_names(self, settings: Settings) -> tuple[str, ...]:
        return "step", "exp_avg", "exp_avg_sq"

    def _update(self, settings: Settings, data: Array, grad: Array, state: dict[str, Any]) -> None:
        if not state:
            state.update(step=0, exp_avg=np.zeros_like(data), exp_avg_sq=np.zeros_like(data))
        state["step"] += 1
        step = state["step"]
        lr, weight_decay = settings["lr"], settings["weight_decay"]
        beta1, beta2 = settings["betas"]
        _run(
            _ops.adam,
            grad,
            data,
            state["exp_avg"],
            state["exp_avg_sq"],
            decay_factor=1 - lr * weight_decay if self._decoupled else 1.0,
            weight_decay=0.0 if self._decoupled else weight_decay,
            beta1=beta1,
            beta2=beta2,
            step_size=lr / (1 - beta1**step),
            bias_correction2_sqrt=math.sqrt(1 - beta2**step),
            eps=settings["eps"],
        )


class AdamW(Adam):
    """Adam with weight decay apart from the gradient, as ``torch.optim.AdamW``.

    Before Adam's update (there without weight decay), p ← p − lr · weight_decay · p.

    Parameters
    ----------
    params : iterable of Parameter or dict
        What to update, or groups of it with settings of their own: see :class:`Optimizer`.
    lr : float
        Learning rate, ≥ 0.
    betas : (float, float)
        β₁ and β₂, each in [0, 1).
    eps, weight_decay : float
        ≥ 0.

    Raises
    ------
    ValueError, TypeError
        If a setting is out of range, or ``params`` is empty or repeats itself, or is no parameters.

    References
    ----------
    Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn, optim
    >>> p = nn.Parameter(np.array([1.0, 2.0]))
    >>> p.grad = np.array([0.5, -0.5])
    >>> optim.AdamW([p], lr=0.1, weight_decay=0.5).step()
    >>> p.data.round(6)
    array([0.85, 2.  ])
    """

    _decoupled = True

    def __init__(
        self,
        params: Parameters,
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
    params : iterable of Parameter or dict
        What to update, or groups of it with settings of their own: see :class:`Optimizer`.
    lr : float
        Learning rate, ≥ 0.
    alpha, eps, weight_decay, momentum : float
        ≥ 0.
    centered : bool
        Scale by the gradient's variance instead of its second moment (Graves, "Generating
        sequences with recurrent neural networks", 2013, section 4.2).

    Raises
    ------
    ValueError, TypeError
        If a setting is out of range, or ``params`` is empty or repeats itself, or is no parameters.

    References
    ----------
    Hinton, "Neural networks for machine learning", lecture 6e, 2012.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn, optim
    >>> p = nn.Parameter(np.array([1.0, 2.0]))
    >>> p.grad = np.array([0.5, -0.5])
    >>> optim.RMSprop([p], lr=0.1).step()
    >>> p.data.round(6)
    array([0., 3.])
    """

    def __init__(
        self,
        params: Parameters,
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

    def _state_names(self, settings: Settings) -> tuple[str, ...]:
        momentum = ("momentum_buffer",) if settings["momentum"] else ()
        centered = ("grad_avg",) if settings["centered"] else ()
        return ("square_avg", *momentum, *centered)

    def _update(self, settings: Settings, data: Array, grad: Array, state: dict[str, Any]) -> None:
        alpha = settings["alpha"]
        t = self._temporary(data)
        grad = _decayed(grad, data, settings["weight_decay"], self._temporary(data, slot=1))
        for name in self._state_names(settings):
            if name not in state:
                state[name] = np.zeros_like(data)
        s = state["square_avg"]
        np.multiply(grad, grad, out=t)
        t *= 1 - alpha
        s *= alpha
        s += t
        if settings["centered"]:
            a = state["grad_avg"]
            np.subtract(grad, a, out=t)
            t *= 1 - alpha
            a += t
            np.multiply(a, a, out=t)
            np.subtract(s, t, out=t)
            np.sqrt(t, out=t)
        else:
            np.sqrt(s, out=t)
        t += settings["eps"]
        np.divide(grad, t, out=t)
        if settings["momentum"]:
            v = state["momentum_buffer"]
            v *= settings["momentum"]
            v += t
            data -= np.multiply(v, settings["lr"], out=t)
        else:
            t *= settings["lr"]
            data -= t


def _run(kernel: Callable[..., None], grad: Array, *arrays: Array | None, **numbers: float) -> None:
    """Call ``kernel``, which updates the first of ``arrays`` by ``grad``, and the others, in place.

    It takes C-contiguous arrays; of another one it is given a copy, which is then copied back.
    """
    data = arrays[0]
    assert data is not None
    if grad.dtype != data.dtype:
        grad = grad.astype(data.dtype)
    whole = [a if a is None or a.flags.c_contiguous else a.copy() for a in arrays]
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
