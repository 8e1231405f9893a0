"""Gradients held within limits, before an optimiser's step."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv._arguments import real
from fastconv._tape import Variable

__all__ = ["clip_grad_norm", "clip_grad_value"]

Array = NDArray[Any]


def clip_grad_norm(params: Iterable[Any], max_norm: float, norm_type: float = 2.0) -> float:
    """Scale all gradients together, in place, so that their joint norm is at most ``max_norm``.

    As ``torch.nn.utils.clip_grad_norm_``: the factor is max_norm / (norm + 1e-6), never above 1,
    and a NaN in any gradient makes every gradient NaN.

    Parameters
    ----------
    params : Parameter or iterable of Parameter
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
    >>> from fastconv import nn, optim
    >>> p = nn.Parameter(np.zeros(2))
    >>> p.grad = np.array([3.0, 4.0])
    >>> optim.clip_grad_norm([p], max_norm=1.0)
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


def clip_grad_value(params: Iterable[Any], clip_value: float) -> None:
    """Limit every element of every gradient to ±``clip_value``, in place.

    Parameters
    ----------
    params : Parameter or iterable of Parameter
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
    >>> from fastconv import nn, optim
    >>> p = nn.Parameter(np.zeros(2))
    >>> p.grad = np.array([3.0, -0.5])
    >>> optim.clip_grad_value([p], 1.0)
    >>> p.grad
    array([ 1. , -0.5])
    """
    clip_value = real("clip_value", clip_value, 0)
    with np.errstate(over="ignore"):  # a value beyond float32 is infinity to it
        for grad in _gradients(params):
            np.clip(grad, -clip_value, clip_value, out=grad)


def _gradients(params: Iterable[Any]) -> list[Array]:
    """The gradients that there are, all of which can be changed in place."""
    params = [params] if isinstance(params, Variable) else params
    grads = [p.grad for p in params if p.grad is not None]
    for grad in grads:
        if not isinstance(grad, np.ndarray) or grad.dtype.kind != "f":
            kind = getattr(grad, "dtype", type(grad).__name__)
            raise TypeError(f"gradients must be floating-point arrays, got {kind}")
        if not grad.flags.writeable:
            raise ValueError(f"a gradient of shape {grad.shape} is read-only")
    return grads
