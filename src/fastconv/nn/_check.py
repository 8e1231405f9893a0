"""Checks of the options of convolutions and poolings that their layers make when constructed.

What every forward pass of a layer would refuse, whatever its input, is refused here. Options come
back in the one form that is stored and passed on: a tuple where they were given per axis, as a
sequence of one number for each axis or one for all, an int where they were given as that.
"""

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from fastconv._arguments import choice, whole

#: an option of every axis: one number for all, or one for each
Sizes = int | Sequence[int]
#: the same, as a layer keeps it
PerAxis = int | tuple[int, ...]

#: the largest padded size along an axis
_MAX_SIZE = sys.maxsize // 16


class ConvOptions(NamedTuple):
    """What a convolution takes after its operands, but for the algorithm."""

    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Any
    dilation: tuple[int, ...]
    groups: int


class PoolOptions(NamedTuple):
    """What a pooling takes after its input; its dilation is 1 where it knows none."""

    kernel_size: PerAxis
    stride: PerAxis
    padding: PerAxis
    dilation: PerAxis


def conv_options(
    ndim: int,
    kernel_size: Sizes,
    stride: Sizes,
    padding: Any,
    dilation: Sizes,
    groups: int,
    algorithm: str,
) -> ConvOptions:
    """The options of a convolution over `ndim` axes.

    Raises
    ------
    ValueError, TypeError
        Naming the option and its value.
    """
    kernel = _sizes("kernel_size", kernel_size, ndim, 1)
    steps = _sizes("stride", stride, ndim, 1)
    dilations = _sizes("dilation", dilation, ndim, 1)
    groups = whole("groups", groups, 1)
    padding = _padding(padding, ndim)
    if padding == "same" and max(steps) > 1:
        raise ValueError(f"padding='same' needs stride 1, got stride={stride!r}")
    _check_reach(kernel, dilations)
    choice("algorithm", algorithm, "auto", "direct", "winograd")
    if algorithm == "winograd" and (kernel != (3, 3) or max(steps + dilations) > 1 or groups > 1):
        raise ValueError(
            "algorithm='winograd' needs a 3 x 3 kernel, stride 1, dilation 1 and groups 1, got "
            f"kernel_size={kernel}, stride={steps}, dilation={dilations}, groups={groups}"
        )
    return ConvOptions(kernel, steps, padding, dilations, groups)


def pool_options(
    ndim: int,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    dilation: Sizes = 1,
) -> PoolOptions:
    """The options of a pooling over `ndim` axes; a stride of None or () is the kernel's size.

    Raises
    ------
    ValueError, TypeError
        Naming the option and its value.
    """
    if stride is None or (isinstance(stride, tuple | list) and not stride):
        stride = kernel_size
    kernel = _sizes("kernel_size", kernel_size, ndim, 1)
    steps = _sizes("stride", stride, ndim, 1)
    pads = _sizes("padding", padding, ndim, 0)
    dilations = _sizes("dilation", dilation, ndim, 1)
    _check_reach(kernel, dilations)
    for k, p, d in zip(kernel, pads, dilations, strict=True):
        if p > (d * (k - 1) + 1) // 2:
            raise ValueError(
                f"padding={padding!r} must be at most half of what the kernel spans: "
                f"kernel_size={kernel_size!r}, dilation={dilation!r}"
            )
    return PoolOptions(
        _as_given(kernel_size, kernel),
        _as_given(stride, steps),
        _as_given(padding, pads),
        _as_given(dilation, dilations),
    )


def check_output_size(ndim: int, value: int | Sequence[int | None]) -> int | tuple[int | None, ...]:
    """The sizes that an adaptive pooling puts out; None keeps the input's along its axis.

    Raises
    ------
    ValueError, TypeError
        Naming the value.
    """
    if not isinstance(value, tuple | list):
        return whole("output_size", value, 1)
    _check_length("output_size", value, ndim)
    sizes = tuple(None if size is None else whole("output_size", size, 1) for size in value)
    return sizes * (ndim // len(sizes))


def _sizes(name: str, value: Sizes, ndim: int, low: int) -> tuple[int, ...]:
    """An integer of at least `low` for each axis."""
    if not isinstance(value, tuple | list):
        return (whole(name, value, low),) * ndim
    _check_length(name, value, ndim)
    return tuple(whole(name, size, low) for size in value) * (ndim // len(value))


def _check_length(name: str, value: Sequence[Any], ndim: int) -> None:
    if len(value) not in (1, ndim):
        many = f" or {ndim} of them" if ndim > 1 else ""
        raise ValueError(f"{name} must be an integer{many}, got {value!r}")


def _as_given(value: Sizes | None, sizes: tuple[int, ...]) -> PerAxis:
    return sizes if isinstance(value, tuple | list) else sizes[0]


def _padding(value: Any, ndim: int) -> Any:
    """A number, one for each axis, two for each axis (flat, or pairs), "same" or "valid"."""
    if isinstance(value, str):
        if value not in ("same", "valid"):
            raise ValueError(f"padding must be 'same', 'valid' or integers, got {value!r}")
        return value
    if not isinstance(value, tuple | list):
        return _pad(value)
    nested = [isinstance(v, tuple | list) for v in value]
    if len(value) == ndim and all(nested) and all(len(v) == 2 for v in value):
        return tuple((_pad(before), _pad(after)) for before, after in value)
    if len(value) not in (1, ndim, 2 * ndim) or any(nested):
        raise ValueError(
            f"padding must be an integer, one for each of {ndim} axes, two (before, after) for "
            f"each, 'same' or 'valid', got {value!r}"
        )
    return tuple(map(_pad, value)) * (ndim if len(value) == 1 else 1)


def _pad(value: Any) -> int:
    size = whole("padding", value, 0)
    if size > _MAX_SIZE // 2:
        raise ValueError(f"padding is too large: {value!r}")
    return size


def _check_reach(kernel: tuple[int, ...], dilations: tuple[int, ...]) -> None:
    for k, d in zip(kernel, dilations, strict=True):
        if d * (k - 1) + 1 > _MAX_SIZE:
            raise ValueError(f"kernel_size={k} with dilation={d} spans more than any input has")
