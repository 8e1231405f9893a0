"""Checkpointing: a part of a network is computed again in backward, instead of remembered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv import functional as F
from fastconv._tape import Node, Op, Plan, guard, run_backward
from fastconv.autograd.tape import Leaves, grad_mode, is_grad_enabled
from fastconv.autograd.tensor import Tensor

Array = NDArray[Any]


class _Draws:
    """The states of the generators that dropout drew from, to draw the same again."""

    def __init__(self) -> None:
        self.states: list[tuple[Any, Any]] = []
        self.again: Iterator[tuple[Any, Any]] | None = None  # while it is computed again


_draws: ContextVar[_Draws | None] = ContextVar("fastconv_draws", default=None)


def is_recomputing() -> bool:
    """Whether backward computes a checkpointed part again, so that nothing may be counted twice."""
    draws = _draws.get()
    return draws is not None and draws.again is not None


def _prepare_dropout(values: list[Any]) -> None:
    draws = _draws.get()
    if draws is None or not values[_TRAINING]:
        return
    if draws.again is None:
        rng = values[_RNG] = np.random.default_rng(values[_RNG])
        draws.states.append((type(rng.bit_generator), rng.bit_generator.state))
    else:
        kind, state = next(draws.again)
        rng = values[_RNG] = np.random.Generator(kind())
        rng.bit_generator.state = state


def _prepare_batch_norm(values: list[Any]) -> None:
    """Batches computed again have moved the running statistics already."""
    if is_recomputing() and values[_BN_TRAINING]:
        values[_BN_MEAN] = values[_BN_VAR] = None


_DROPOUT: Any = F.dropout
_BATCH_NORM: Any = F.batch_norm
_RNG, _TRAINING = (_DROPOUT.parameters.index(name) for name in ("rng", "training"))
_BN_TRAINING, _BN_MEAN, _BN_VAR = (
    _BATCH_NORM.parameters.index(name) for name in ("training", "running_mean", "running_var")
)
_DROPOUT.rule.prepare = _prepare_dropout
_BATCH_NORM.rule.prepare = _prepare_batch_norm


def checkpoint(function: Callable[..., Tensor], *inputs: Any) -> Tensor:
    """Call a function, and remember only its inputs: backward calls it again.

    It costs one more forward pass and saves the memory of all that the function would have kept.
    Dropout draws the same masks again, and batch norm does not count the batch twice. What else
    the function does besides returning its output, it does twice.

    Parameters
    ----------
    function : callable
        Of the inputs; a layer, for one. Returns one Tensor.
    *inputs : Tensor or ndarray

    Returns
    -------
    Tensor
        What ``function(*inputs)`` gives, to the bit; so are the gradients.

    Raises
    ------
    TypeError
        If the function returns something else than one Tensor.

    References
    ----------
    Chen, Xu, Zhang and Guestrin, "Training deep nets with sublinear memory cost",
    arXiv:1604.06174.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv
    >>> x = fastconv.Tensor(np.array([1.0, 2.0]), requires_grad=True)
    >>> y = fastconv.autograd.checkpoint(lambda x: (x * x).exp(), x)
    >>> y.sum().backward()
    >>> np.allclose(x.grad, 2 * x.data * np.exp(x.data**2))
    True
    """
    tensors = tuple([v if isinstance(v, Tensor) else Tensor(v) for v in inputs])
    if not is_grad_enabled():
        return function(*tensors)
    draws = _Draws()
    with grad_mode(False), _drawing(draws):
        output = function(*[tensor.detach() for tensor in tensors])
    if not isinstance(output, Tensor):
        raise TypeError(f"function must return one Tensor, got {type(output).__name__}")
    result = output.detach()
    if not output._sealed:  # perhaps an input itself
        result = Tensor(output._array.copy())
        result._array.flags.writeable = False
        result._sealed = True
    result._node = _CheckpointNode(function, tensors, draws)
    result._requires_grad = True
    return result


@contextmanager
def _drawing(draws: _Draws) -> Iterator[None]:
    token = _draws.set(draws)
    try:
        yield
    finally:
        _draws.reset(token)


def _checkpointed() -> None:
    """What errors name, and whoever reads the graph finds."""


_CHECKPOINT: Any = Op(_checkpointed)
_CHECKPOINT.__name__ = "checkpoint"


class _CheckpointNode(Node):
    """A function that was called, to be called again and gone back through."""

    __slots__ = ("draws", "function", "inputs")

    def __init__(
        self, function: Callable[..., Any], inputs: tuple[Tensor, ...], draws: _Draws
    ) -> None:
        wanted = [tensor for tensor in inputs if tensor._requires_grad]
        guards = [found for t in inputs if (found := guard("an input", t)) is not None]
        parents = tuple([t._node or t for t in wanted])
        super().__init__(_CHECKPOINT, Plan(()), [], parents, guards)
        self.function, self.inputs, self.draws = function, inputs, draws

    def gradients(self, grad: Array, leaves: Leaves) -> list[Array | None]:
        self.kept()
        inputs = []
        for tensor in self.inputs:
            again = tensor.detach()
            again._requires_grad = tensor._requires_grad
            inputs.append(again)
        self.draws.again = iter(self.draws.states)
        with grad_mode(True), _drawing(self.draws):
            output = self.function(*inputs)
        run_backward(output, grad, leaves)
        results: list[Array | None] = []
        for again in inputs:
            if again._requires_grad:
                found = leaves.pop(id(again), None)
                results.append(None if found is None else found[1])
        return results

    def free(self) -> None:
        super().free()
        self.inputs = ()
        self.function = _checkpointed
