"""Checks of the options of convolutions and poolings that their layers make when constructed.

What every forward pass of a layer would refuse, whatever its input, is refused here: the geometry
of a pass over nothing, of the least size, is validated. Options come back in the one form that is
stored and passed on: a tuple where they were given per axis, as a sequence of one number for each
axis or one for all, an int where they were given as that.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from fastconv._arguments import whole
from fastconv._geometry import (
    adaptive_pooling,
    check_algorithm,
    convolution,
    pooling,
    transposed_convolution,
)
from fastconv._geometry_options import per_axis, pool_stride, transposed_sides

#: an option of every axis: one number for all, or one for each
Sizes = int | Sequence[int]
#: the same, as a layer keeps it
PerAxis = int | tuple[int, ...]

#: a kernel that spans more fits into no input that can be addressed
_MAX_SPAN = 2**56


class ConvOptions(NamedTuple):
    """What a convolution takes after its operands, but for the algorithm."""

    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Any
    dilation: tuple[int, ...]
    groups: int


class ConvTransposeOptions(NamedTuple):
    """What a transposed convolution takes after its operands, but for the algorithm."""

    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Any
    output_padding: tuple[int, ...]
    groups: int
    dilation: tuple[int, ...]


class PoolOptions(NamedTuple):
    """What a pooling takes after its input; its dilation is 1 where it knows none."""

    kernel_size: PerAxis
    stride: PerAxis
    padding: Any
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
    kernel = per_axis("kernel_size", kernel_size, ndim)
    dilations = per_axis("dilation", dilation, ndim)
    if min(kernel) < 1:
        raise ValueError(f"kernel_size must be at least 1, got {kernel_size!r}")
    groups = whole("groups", groups, 1)
    shape = convolution(
        (0, groups, *_spans(kernel, dilations)),
        (groups, 1, *kernel),
        stride,
        padding,
        dilation,
        groups,
    )
    check_algorithm(algorithm, shape)
    return ConvOptions(
        kernel, per_axis("stride", stride, ndim), _tuples(padding, ndim), dilations, groups
    )


def conv_transpose_options(
    ndim: int,
    kernel_size: Sizes,
    stride: Sizes,
    padding: Any,
    output_padding: Sizes,
    groups: int,
    dilation: Sizes,
    algorithm: str,
) -> ConvTransposeOptions:
    """The options of a transposed convolution over `ndim` axes.

    Raises
    ------
    ValueError, TypeError
        Naming the option and its value.
    """
    kernel = per_axis("kernel_size", kernel_size, ndim)
    strides = per_axis("stride", stride, ndim)
    dilations = per_axis("dilation", dilation, ndim)
    extra = per_axis("output_padding", output_padding, ndim)
    if min(kernel) < 1:
        raise ValueError(f"kernel_size must be at least 1, got {kernel_size!r}")
    groups = whole("groups", groups, 1)
    sizes = []  # the least of which the padding leaves something
    pads = transposed_sides(padding, ndim)
    for k, s, d, more, around in zip(kernel, strides, dilations, extra, pads, strict=True):
        missing = sum(around) - d * (k - 1) - more
        sizes.append(1 + min(max(0, -(-missing // max(s, 1))), _MAX_SPAN))
    shape = transposed_convolution(
        (0, groups, *sizes),
        (groups, 1, *kernel),
        stride,
        padding,
        output_padding,
        groups,
        dilation,
    )
    check_algorithm(algorithm, shape, transposed=True)
    return ConvTransposeOptions(kernel, strides, _tuples(padding, ndim), extra, groups, dilations)


def pool_options(
    ndim: int,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Any,
    dilation: Sizes = 1,
) -> PoolOptions:
    """The options of a pooling over `ndim` axes; a stride of None or () is the kernel's size.

    Raises
    ------
    ValueError, TypeError
        Naming the option and its value.
    """
    stride = pool_stride(stride, kernel_size)
    kernel = per_axis("kernel_size", kernel_size, ndim)
    dilations = per_axis("dilation", dilation, ndim)
    pooling((0, 1, *_spans(kernel, dilations)), kernel_size, stride, padding, dilation)

    def kept(name: str, value: Sizes) -> PerAxis:
        sizes = per_axis(name, value, ndim)
        return sizes if isinstance(value, tuple | list) else sizes[0]

    return PoolOptions(
        kept("kernel_size", kernel_size),
        kept("stride", stride),
        _tuples(padding, ndim),
        kept("dilation", dilation),
    )


def check_output_size(ndim: int, value: int | Sequence[int | None]) -> int | tuple[int | None, ...]:
    """The sizes that an adaptive pooling puts out; None keeps the input's along its axis.

    Raises
    ------
    ValueError, TypeError
        Naming the value.
    """
    adaptive_pooling((0, 1, *(1,) * ndim), value)
    if not isinstance(value, tuple | list):
        return whole("output_size", value, 1)
    return tuple(value) * (ndim // len(value))


def _spans(kernel: tuple[int, ...], dilations: tuple[int, ...]) -> Iterator[int]:
    """The least sizes that a kernel fits into; what is no size is refused with the rest."""
    for k, d in zip(kernel, dilations, strict=True):
        yield max(1, min(d * (k - 1) + 1, _MAX_SPAN))


def _tuples(padding: Any, ndim: int) -> Any:
    """A padding as it is kept: in tuples, one number for each axis where there was one for all."""
    if isinstance(padding, tuple | list):
        sides = tuple(_tuples(p, ndim) for p in padding)
        return sides * ndim if len(sides) == 1 and isinstance(sides[0], int) else sides
    return padding if isinstance(padding, str) else int(padding)
