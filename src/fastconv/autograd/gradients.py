"""Which function of `fastconv.functional` is the gradient of which op: the one table.

Most of it follows from names. `F.op_backward_operand` is the gradient of one operand and
`F.op_backward` that of the first; the names of its parameters say what it needs: see `rules`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from fastconv import functional as F
from fastconv._tape import Op
from fastconv.autograd.arrays import reshape_backward
from fastconv.autograd.rules import Names, Rule

Array = NDArray[Any]

#: what an op returns besides its output if an option is set, and its gradient takes
EXTRAS = {
    "return_indices": ("indices",),
    "return_mask": ("mask",),
    "return_statistics": ("mean", "invstd"),
}

#: gradients that are kept another value for than the argument of the same name
INSTEAD = {
    # positive exactly where the input is; the next layer keeps it as well, so that the input, such
    # as a convolution's output, is freed
    "relu": {"input": "output"},
}

#: ops whose output may be a view of their input, or the input itself
VIEWS = ("dropout", "flatten", "pad")


def _dropout(grad_output: Array, mask: Array, p: float, training: bool) -> Array:
    return F.dropout_backward(grad_output, mask, p) if training else grad_output


def _linear_parameters(grad_output: Array, input: Array, weight: Array) -> tuple[Array, Array]:
    return F.linear_backward(grad_output, input, weight)[1:]


#: what does not follow from names
GRADIENTS: Mapping[str, Mapping[Names, Callable[..., Any]]] = {
    "add": {("input", "other"): lambda grad_output: (grad_output, grad_output)},
    "batch_norm": {("input", "weight", "bias"): F.batch_norm_backward},
    "dropout": {"input": _dropout},
    "flatten": {"input": reshape_backward},
    "linear": {
        ("input", "weight", "bias"): F.linear_backward,
        ("weight", "bias"): _linear_parameters,
    },
    "where": {("input", "other"): F.where_backward},
}


_PUBLIC: dict[str, Any] = {name: getattr(F, name) for name in vars(F)["__all__"]}


def _gradients(name: str) -> Mapping[Names, Callable[..., Any]]:
    if name in GRADIENTS:
        return GRADIENTS[name]
    if whole := _PUBLIC.get(f"{name}_backward"):
        return {"input": whole}
    start = f"{name}_backward_"
    return {f.removeprefix(start): _PUBLIC[f] for f in _PUBLIC if f.startswith(start)}


def _rule(op: Op) -> Rule:
    name = op.__name__
    extras = [(option, names) for option, names in EXTRAS.items() if option in op.parameters]
    return Rule(
        op,
        _gradients(name),
        extras=extras[0] if extras else None,
        instead=INSTEAD.get(name),
        is_view=name in VIEWS,
    )


for _op in _PUBLIC.values():
    if isinstance(_op, Op) and not _op.sequence:
        _op.rule = _rule(_op)
_PUBLIC["concatenate"].rule = F.concatenate_backward
_PUBLIC["stack"].rule = lambda grad_output, input_shapes, axis: F.stack_backward(grad_output, axis)
