"""Padding at the ends of axes (docs/derivation.md, "Padding")."""

import math
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from numbers import Real
from typing import Any, Literal, NamedTuple

import numpy as np

from fastconv import _ops
from fastconv._arguments import choice, real
from fastconv._buffers import empty
from fastconv._geometry_options import Sides, integer, sizes
from fastconv.functional._check import Array, as_array, check_shape, is_channels_last
from fastconv.functional._op import op

__all__ = ["pad", "pad_backward"]

Mode = Literal["constant", "reflect", "replicate", "circular"]

# Where an element is repeated more often, its gradient is summed over one axis after the other: the
# driver adds such a sum in parts, but not one over several axes.
_LONG_SUM = 64


@op
def pad(
    input: Array, pad: Sequence[int], mode: Mode = "constant", value: float | None = 0
) -> Array:
    r"""Elements added before and after the last axes of an array, or cropped.

    .. math:: y_{n,c,i,j} = x_{n,\,c,\,f(i - \mathrm{top}),\,f(j - \mathrm{left})}

    where f is the identity inside the array, and leads back into it from outside: on an axis of
    size s, reflect has :math:`f(t) = -t` before it and :math:`2 (s - 1) - t` after it, replicate
    the nearest element, circular :math:`t \bmod s`.

    Parameters
    ----------
    input : array, float32 or float64
        C-contiguous or channels-last; any other strides are correct too.
    pad : pairs of int, in one sequence
        (before, after) of the last axis, then of the axis before it, and so on: (left, right) or
        (left, right, top, bottom). Negative numbers crop. "constant" pads any number of axes, the
        other modes the last 1, 2 or 3 of an input with one or two axes before them.
    mode : {"constant", "reflect", "replicate", "circular"}
        "reflect" mirrors the array about its first and last elements, and adds fewer than there
        are; "replicate" repeats them; "circular" goes on at the other end of the array, as it was
        cropped, and adds at most all of it.
    value : float, optional
        The constant, 0 for None; other modes take no other.

    Returns
    -------
    array
        In the memory format of `input`.

    Raises
    ------
    ValueError
        When an axis cannot be padded so, naming `pad`, the mode and the shape, or the result is too
        large to address.
    TypeError
        When `input` is not float32 or float64, or `pad` is not integers.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> x = np.array([[1.0, 2.0, 3.0]])
    >>> F.pad(x, (2, 1))
    array([[0., 0., 1., 2., 3., 0.]])
    >>> F.pad(x, (2, 1), "reflect")
    array([[3., 2., 1., 2., 3., 2.]])
    >>> F.pad(x, (2, 1), "replicate")
    array([[1., 1., 1., 2., 3., 3.]])
    >>> F.pad(x, (2, -1), "circular")
    array([[1., 2., 1., 2.]])
    """
    x = as_array("input", input)
    numbers = _numbers(pad)
    constant = _constant(value, mode, x.dtype)
    plan = _plan("input", x.shape, numbers, mode, _channel_axis(x, numbers, mode), x.itemsize)
    y = empty(plan.padded, x.dtype)
    _ops.pad(x.transpose(plan.order), y, plan.sides, mode=mode, value=constant)
    return y.transpose(plan.back)


def pad_backward(
    grad_output: Array, input_shape: Sequence[int], pad: Sequence[int], mode: Mode = "constant"
) -> Array:
    """Gradient of a loss with respect to the input of `pad`.

    Every element gets the sum of the gradients of its copies; one that was cropped gets zero.

    Parameters
    ----------
    grad_output : array
        Gradient with respect to the output.
    input_shape : sequence of int
    pad, mode : as in `pad`

    Returns
    -------
    array of `input_shape`
        In the memory format of `grad_output`.

    Raises
    ------
    ValueError, TypeError
        As `pad`, and when `grad_output` is not what these arguments put out.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv.functional as F
    >>> F.pad_backward(np.ones((1, 6)), (1, 3), (2, 1), "replicate")
    array([[3., 1., 2.]])
    """
    dy = as_array("grad_output", grad_output)
    numbers = _numbers(pad)
    shape = sizes("input_shape", input_shape, dy.ndim)
    channel = _channel_axis(dy, numbers, mode)
    plan = _plan("input_shape", shape, numbers, mode, channel, dy.itemsize)
    dy = dy.transpose(plan.order)
    if dy.shape != plan.padded:
        check_shape("grad_output", dy.transpose(plan.back), _in_order(plan.padded, plan.back))
    for sides, unpadded in plan.steps:
        dx = empty(unpadded, dy.dtype)
        _ops.pad_backward(dy if dy.flags.c_contiguous else dy.copy("C"), dx, sides, mode=mode)
        dy = dx
    return dy.transpose(plan.back)


def _constant(value: Any, mode: str, dtype: np.dtype[Any]) -> float:
    if value is None:
        return 0.0
    if isinstance(value, Real) and value != value:  # NaN is a number to pad with
        number = math.nan
    else:
        number = real("value", value)
    if mode != "constant" and number != 0:
        raise ValueError(f"value must be 0 with mode={mode!r}, got {value!r}")
    if math.isfinite(number) and abs(number) > float(np.finfo(dtype).max):
        raise ValueError(f"value is too large for {dtype}: {value!r}")
    return number


def _channel_axis(a: Array, numbers: tuple[int, ...], mode: str) -> int | None:
    """The axis that the memory of `a` runs along, if it has channels last.

    Channels are the axis before those that are padded; "constant" leaves open which that is.
    """
    for axis in (1, 0) if mode == "constant" else (a.ndim - len(numbers) // 2 - 1,):
        if 0 <= axis <= a.ndim - 2 and is_channels_last(a if axis else a[None]):
            return axis
    return None


def _numbers(pad: Any) -> tuple[int, ...]:
    if not isinstance(pad, Sequence) or isinstance(pad, str):
        raise TypeError(f"pad must be a sequence of integers, got {pad!r}")
    return tuple([integer("pad", number) for number in pad])


# ---- what is padded, and how

Shape = tuple[int, ...]


class _Plan(NamedTuple):
    """A padding of an array whose axes are brought into the order of memory."""

    order: tuple[int, ...]  # the axes, outermost first
    back: tuple[int, ...]  # and what brings them back
    sides: Sides
    padded: Shape
    steps: tuple[tuple[Sides, Shape], ...]  # backward: what is unpadded one after the other


def _in_order(values: tuple[Any, ...], order: tuple[int, ...]) -> tuple[Any, ...]:
    return tuple([values[axis] for axis in order])


def _padded(shape: Shape, sides: Sides) -> Shape:
    return tuple(size + before + after for size, (before, after) in zip(shape, sides, strict=True))


@lru_cache(1024)
def _plan(
    name: str, shape: Shape, pad: tuple[int, ...], mode: str, channel: int | None, itemsize: int
) -> _Plan:
    sides = _sides(name, shape, pad, mode, itemsize)
    order = tuple(sorted(range(len(shape)), key=lambda axis: axis == channel))
    shape, sides = _in_order(shape, order), _in_order(sides, order)
    back = tuple(sorted(range(len(order)), key=order.__getitem__))
    return _Plan(order, back, sides, _padded(shape, sides), tuple(_steps(shape, sides, mode)))


def _steps(shape: Shape, sides: Sides, mode: str) -> Iterator[tuple[Sides, Shape]]:
    """All axes together; or, where sums are long, one axis after the other."""
    axes = [axis for axis, pair in enumerate(sides) if pair != (0, 0)]
    longest = max((max(sides[axis]) for axis in axes), default=0)
    if mode != "replicate" or longest <= _LONG_SUM or len(axes) == 1:
        yield sides, shape
        return
    for axis in axes:
        alone = tuple(pair if i == axis else (0, 0) for i, pair in enumerate(sides))
        sides = tuple((0, 0) if i == axis else pair for i, pair in enumerate(sides))
        yield alone, _padded(shape, sides)


def _sides(name: str, shape: Shape, pad: tuple[int, ...], mode: str, itemsize: int) -> Sides:
    """(before, after) of every axis."""
    choice("mode", mode, "constant", "reflect", "replicate", "circular")
    count, ndim = len(pad) // 2, len(shape)
    if len(pad) % 2:
        raise ValueError(f"pad must be pairs (before, after), got {len(pad)} numbers: {pad}")
    if mode == "constant" and count > ndim:
        raise ValueError(f"pad={pad} is for {count} axes, more than {name} has: {shape}")
    if mode != "constant" and not (1 <= count <= 3 and ndim - count in (1, 2)):
        raise ValueError(
            f"mode={mode!r} pads the last 1, 2 or 3 axes of an input with one or two axes before "
            f"them, got pad={pad} for {count} axes of {name} {shape}"
        )
    if min(shape, default=0) < 0:
        raise ValueError(f"{name} must have no negative sizes, got {shape}")
    pairs = zip(pad[-2::-2], pad[::-2], strict=True)
    sides = ((0, 0),) * (ndim - count) + tuple(pairs)
    for axis in range(ndim - count, ndim):
        wrong = _refusal(shape[axis], *sides[axis], mode)
        if wrong:
            raise ValueError(
                f"pad={pad} with mode={mode!r} {wrong}: {sides[axis]} at axis {axis} of {name} "
                f"{shape}"
            )
    padded = _padded(shape, sides)
    if mode in ("reflect", "replicate") and max(padded[ndim - count :]) == 0:
        raise ValueError(f"pad={pad} with mode={mode!r} leaves nothing of {name} {shape}")
    if math.prod(max(size, 1) for size in padded) * itemsize > sys.maxsize:
        raise ValueError(
            f"pad={pad} is too large: a result of shape {padded}, of {name} {shape}, cannot be "
            "addressed"
        )
    return sides


def _refusal(size: int, before: int, after: int, mode: str) -> str:
    """Why an axis cannot be padded so, or nothing."""
    kept = size + min(before, 0) + min(after, 0)
    most = max(before, after)
    if kept < 0 if mode in ("constant", "circular") else size + before + after < 0:
        return "crops more than there is"
    if mode == "circular" and most > kept:
        return f"adds more than the {kept} elements that there are"
    if mode == "reflect" and most >= max(size, 1):
        return f"must add fewer than the {size} elements that there are"
    if mode == "replicate" and most > 0 and size == 0:
        return "repeats elements, of which there are none"
    return ""
