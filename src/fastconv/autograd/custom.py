"""Ops of other people's making."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastconv._tape import Op
from fastconv.autograd.rules import Rule


def register(
    forward: Callable[..., Any],
    backward: Callable[..., Any] | None = None,
    /,
    **gradients: Callable[..., Any],
) -> Any:
    """Make an op of a function and its gradients: it takes arrays as before, and Tensors too.

    Parameters
    ----------
    forward : function
        Of arrays, the operands, and options; returns an array.
    backward : function, optional
        Returns the gradients of all operands of ``forward``, the arguments without a default.
    **gradients : function
        Of single operands, by their names, instead of ``backward``. What is not named has none.

    Returns
    -------
    callable
        The op, with the name, signature and docstring of ``forward``.

    Raises
    ------
    TypeError
        If a function has ``*args`` or ``**kwargs``, or no gradient is given.
    ValueError
        If a gradient takes something that there is not.

    Notes
    -----
    A gradient's first parameter is the gradient of the output. The names of the others say what it
    is given, and so what is kept for it: an argument of ``forward``, ``output``, or the shape of an
    argument, such as ``input_shape``.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv
    >>> def cube(input):
    ...     return input**3
    >>> def cube_backward(grad, input):
    ...     return 3 * grad * input**2
    >>> cube = fastconv.autograd.register(cube, input=cube_backward)
    >>> x = fastconv.Tensor(np.array([1.0, 2.0]), requires_grad=True)
    >>> cube(x).sum().backward()
    >>> x.grad
    array([ 3., 12.])
    """
    op = Op(forward)
    named: dict[Any, Callable[..., Any]] = dict(gradients)
    if backward is not None:
        required = len(op.parameters) - len(forward.__defaults__ or ())
        operands = op.parameters[: min(required, forward.__code__.co_argcount)]
        named[operands[0] if len(operands) == 1 else operands] = backward
    if not named:
        raise TypeError(f"{op.__name__} needs the gradient of at least one operand")
    op.rule = Rule(op, named, is_view=True, is_custom=True)
    for names in op.rule.functions:
        op.rule.plan(tuple(i for i, name in enumerate(op.parameters) if name in names))
    return op
