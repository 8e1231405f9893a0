"""Which op has which gradient, and so what is kept of a call for its gradients.

A gradient is a function of the output's gradient and of what its further parameters name: an
argument of the op, `output`, the shape or the strides of an argument (`input_shape`), or what else
the op returns if asked (`indices`). Nothing is kept of a call but what wanted gradients name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from fastconv._tape import Node, Op, Plan, Recording

Names = str | tuple[str, ...]


class Rule(Recording):
    """The gradients of an op.

    Parameters
    ----------
    op : Op
    gradients : mapping of str or tuple of str to function
        Of an operand by its name; or of several at once, in that order.
    extras : (str, sequence of str), optional
        The option that makes the op return more than the output, and names for that.
    instead : mapping of str to str, optional
        What is kept for a parameter of a gradient, where it is not the argument of that name.
    is_view : bool
        Whether the output may share an operand's memory.
    is_custom : bool
        Whether the gradients are somebody else's, and what they return is checked.
    """

    def __init__(
        self,
        op: Op,
        gradients: Mapping[Names, Callable[..., Any]],
        *,
        extras: tuple[str, Sequence[str]] | None = None,
        instead: Mapping[str, str] | None = None,
        is_view: bool = False,
        is_custom: bool = False,
    ) -> None:
        self.op = op
        self.functions = {
            (names,) if isinstance(names, str) else names: f if isinstance(f, Op) else Op(f)
            for names, f in gradients.items()
        }
        self.operands = {name for names in self.functions for name in names}
        if unknown := self.operands - set(op.parameters):
            raise ValueError(f"{op.__name__} has no argument {', '.join(sorted(unknown))}")
        option: str | None
        self.extra_names: Sequence[str]
        option, self.extra_names = extras or (None, ())
        self.extras, self.activation, self.out = [
            op.parameters.index(name) if name in op.parameters else -1
            for name in (option, "activation", "out")
        ]
        self.instead = instead or {}
        self.is_view = is_view
        self.check = check_custom if is_custom else None
        self.plans = {}

    def plan(self, wanted: tuple[int, ...]) -> Plan:
        """What to do where the arguments at these positions want a gradient."""
        plan = self.plans[wanted] = self._plan_of(wanted)
        return plan

    def _plan_of(self, wanted: tuple[int, ...]) -> Plan:
        names = self.op.parameters
        chosen = self._covering([names[i] for i in wanted])
        takes = {
            key: [self.instead.get(name, name) for name in self.functions[key].parameters[1:]]
            for key in chosen
        }
        needed = {name for taken in takes.values() for name in taken}
        if self.check is not None:
            needed |= {f"{names[i]}_shape" for i in wanted}
        shapes = tuple(i for i, name in enumerate(names) if f"{name}_shape" in needed)
        strides = tuple(i for i, name in enumerate(names) if f"{name}_strides" in needed)
        layout = [
            *names,
            *(f"{names[i]}_shape" for i in shapes),
            *(f"{names[i]}_strides" for i in strides),
            "output",
            *self.extra_names,
        ]
        at = {name: i for i, name in enumerate(layout)}
        if unknown := needed - at.keys():
            raise ValueError(
                f"a gradient of {self.op.__name__} takes {', '.join(sorted(unknown))}, which is "
                f"none of {', '.join(layout)}"
            )
        return Plan(
            wanted,
            frozenset(i for i, name in enumerate(names) if name in needed),
            tuple(i for i, n in enumerate(names) if n in self.operands and n not in needed),
            shapes,
            strides,
            "output" in needed,
            tuple(
                (
                    self.functions[key],
                    _getter([at[name] for name in takes[key]]),
                    _targets(key, [names[i] for i in wanted]),
                )
                for key in chosen
            ),
        )

    def _covering(self, wanted: list[str]) -> list[tuple[str, ...]]:
        """The function of all that are wanted and the fewest others, or the least for each."""
        if without := [name for name in wanted if name not in self.operands]:
            raise TypeError(
                f"{self.op.__name__} has no gradient with respect to {', '.join(without)}: "
                "give it an array, or tensor.detach()"
            )
        functions = self.functions
        if covering := [names for names in functions if set(wanted) <= set(names)]:
            return [min(covering, key=len)]
        # in their order, and one that gives several of them once
        each = [min((names for names in functions if w in names), key=len) for w in wanted]
        return list(dict.fromkeys(each))


def _getter(positions: list[int]) -> Callable[[list[Any]], tuple[Any, ...]]:
    """Like itemgetter, which gives no tuple for fewer than two."""
    if len(positions) > 1:
        return itemgetter(*positions)
    if positions:
        (at,) = positions
        return lambda values: (values[at],)
    return lambda values: ()


def _targets(names: tuple[str, ...], wanted: list[str]) -> tuple[int | None, ...] | int:
    if len(names) == 1:
        return wanted.index(names[0])
    return tuple(wanted.index(name) if name in wanted else None for name in names)


def check_custom(node: Node, grad: Any, results: list[Any]) -> None:
    """Gradients of somebody else's must be arrays of their operands' shapes."""
    plan, name = node.plan, node.op.__name__
    first = len(node.op.parameters)
    for i, result in zip(plan.wanted, results, strict=True):
        shape = node.values[first + plan.shapes.index(i)]
        if not isinstance(result, np.ndarray | np.generic) or result.shape != shape:
            got = getattr(result, "shape", None)
            raise ValueError(
                f"the gradient of {name} with respect to {node.op.parameters[i]} must be an array "
                f"of shape {shape}, got {type(result).__name__ if got is None else got}"
            )
        if result.dtype != grad.dtype:
            raise TypeError(
                f"the gradient of {name} with respect to {node.op.parameters[i]} is "
                f"{result.dtype}, that of its output {grad.dtype}"
            )
