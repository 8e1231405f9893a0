"""Whether ops are recorded, and backward from a Tensor. The tape itself is in `fastconv._tape`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv._tape import commit, grad_enabled, run_backward

Array = NDArray[Any]

#: gradients on their way to leaves, by the leaf's id
Leaves = dict[int, tuple[Any, Array]]


@contextmanager
def no_grad() -> Iterator[None]:
    """Within this context nothing is recorded, so backward is not possible.

    Use it to predict and to evaluate: activations are freed as soon as the next layer has used
    them, max pooling keeps no indices, and, after :meth:`fastconv.nn.Module.eval`, several threads
    may call one model at the same time. The context belongs to the thread that enters it.

    Examples
    --------
    >>> import fastconv, numpy as np
    >>> w = fastconv.Tensor(np.ones(2), requires_grad=True)
    >>> with fastconv.no_grad():
    ...     y = (2 * w).sum()
    >>> y.requires_grad
    False
    """
    with grad_mode(False):
        yield


@contextmanager
def grad_mode(enabled: bool) -> Iterator[None]:
    """Within this context ops are recorded, or not."""
    token = grad_enabled.set(enabled)
    try:
        yield
    finally:
        grad_enabled.reset(token)


def is_grad_enabled() -> bool:
    """Whether ops are recorded where a gradient is wanted: True, except within :func:`no_grad`."""
    return grad_enabled.get()


def backward(tensor: Any, grad: Array) -> None:
    """Add to the gradients of all leaves that a Tensor was made of; on error, to none."""
    leaves: Leaves = {}
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # infinity and NaN pass on
        run_backward(tensor, grad, leaves)
        commit(leaves)
