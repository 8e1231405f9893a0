"""Options of convolutions and poolings as integers, and what is wrong with them in words.

`fastconv._geometry` takes integers from here, validates them, and comes back with a status for a
message that names the argument, its value and the shapes.
"""

from __future__ import annotations

import sys
from operator import index
from typing import Any, NamedTuple

from fastconv._arguments import whole

Sides = tuple[tuple[int, int], ...]

#: what has no name in a message about one axis
_AXES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}


def integer(name: str, value: object) -> int:
    """`value` as a Python int of 64 bits; the validator says whether it is in range."""
    return whole(name, value, -sys.maxsize)


def per_axis(name: str, value: object, ndim: int) -> tuple[int, ...]:
    """`ndim` integers, from that many of them or from one for every axis."""
    if isinstance(value, tuple | list):
        if len(value) not in (1, ndim):
            many = "a pair of" if ndim == 2 else str(ndim)
            raise ValueError(f"{name} must be an integer or {many} integers, got {value!r}")
        if len(value) == ndim:
            return tuple(integer(name, v) for v in value)
        value = value[0]
    return (integer(name, value),) * ndim


def pool_stride(stride: Any, kernel_size: Any) -> Any:
    """The stride of a pooling: None and () stand for the kernel's size."""
    absent = stride is None or (isinstance(stride, tuple | list) and not stride)
    return kernel_size if absent else stride


def sides(
    value: object, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> Sides:
    """(before, after) for every axis of a convolution's padding.

    From an integer, one for every axis, as many sides, pairs of sides, ``"same"`` or ``"valid"``.
    """
    ndim = len(kernel)
    if isinstance(value, str):
        if value == "valid":
            return ((0, 0),) * ndim
        if value != "same":
            raise ValueError(f"padding must be 'same', 'valid' or integers, got {value!r}")
        if any(s != 1 for s in stride):
            raise ValueError(f"padding='same' needs stride 1, got stride={stride}")
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)  # the odd one last
    if isinstance(value, tuple | list):
        nested = [isinstance(v, tuple | list) for v in value]
        if any(nested):
            if len(value) == ndim and all(nested) and all(len(v) == 2 for v in value):
                return tuple((integer("padding", a), integer("padding", b)) for a, b in value)
        elif len(value) == 2 * ndim:
            flat = [integer("padding", v) for v in value]
            return tuple(zip(flat[::2], flat[1::2], strict=True))
        elif len(value) in (1, ndim):
            return tuple((p, p) for p in per_axis("padding", value, ndim))
        forms = (
            "a pair (vertical, horizontal), four sides (top, bottom, left, right)"
            if ndim == 2
            else f"{ndim} integers, {2 * ndim} sides (before and after each axis)"
        )
        raise ValueError(f"padding must be an integer, {forms}, 'same' or 'valid', got {value!r}")
    return ((integer("padding", value),) * 2,) * ndim


def pool_sides(
    value: object,
    sizes: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Sides:
    """(before, after) for every axis of a pooling's padding, from all that `sides` takes.

    ``"same"`` makes outputs of ceil(size / stride), whatever the stride, with the odd element at
    the end: TensorFlow's SAME, ONNX's SAME_UPPER. ``"same_lower"`` has it at the beginning.
    """
    if not isinstance(value, str) or value == "valid":
        return sides(value, kernel, stride, dilation)
    if value not in ("same", "same_lower"):
        raise ValueError(
            f"padding must be 'same', 'same_lower', 'valid' or integers, got {value!r}"
        )
    pairs = []
    for n, k, s, d in zip(sizes, kernel, stride, dilation, strict=True):
        last = (n - 1) // s * s if s > 0 else 0  # where the last window begins, without padding
        total = max(0, last + d * (k - 1) + 1 - n)
        less, more = total // 2, total - total // 2
        pairs.append((less, more) if value == "same" else (more, less))
    return tuple(pairs)


def sizes(name: str, shape: Any, rank: int | None = None) -> tuple[int, ...]:
    """A shape as integers: of `rank`, else of a batch, channels and one to three axes."""
    try:
        result = tuple(map(index, shape))
    except TypeError:
        raise TypeError(f"{name} must be a tuple of integers, got {shape!r}") from None
    if len(result) not in ((3, 4, 5) if rank is None else (rank,)):
        expected = "3 to 5" if rank is None else rank
        raise ValueError(f"{name} must have {expected} sizes, got {result}")
    if any(abs(size) > sys.maxsize for size in result):
        raise ValueError(f"{name} of shape {result} is too large to address")
    return result


def output_sizes(value: object, input_sizes: tuple[int, ...]) -> tuple[int, ...]:
    """The sizes of an adaptive pooling's output; None keeps that of the input."""
    ndim = len(input_sizes)
    if isinstance(value, tuple | list) and len(value) in (1, ndim):
        value = tuple(value) * (ndim // len(value))
        pairs = zip(value, input_sizes, strict=True)
        return tuple(size if v is None else integer("output_size", v) for v, size in pairs)
    return per_axis("output_size", value, len(input_sizes))


def unpooled_size(
    size: tuple[int, ...], kernel_size: Any, stride: Any, padding: Any, output_size: Any
) -> tuple[int, ...]:
    """The sizes of an image from those of its pooling."""
    ndim = len(size)
    kernel = per_axis("kernel_size", kernel_size, ndim)
    steps = per_axis("stride", pool_stride(stride, kernel_size), ndim)
    pads = per_axis("padding", padding, ndim)
    for name, values, least in (("kernel_size", kernel, 1), ("stride", steps, 1)):
        if min(values) < least:
            raise ValueError(f"{name} must be at least {least}, got {values}")
    default = tuple(
        (n - 1) * s - 2 * p + k for n, k, s, p in zip(size, kernel, steps, pads, strict=True)
    )
    if output_size is None:
        result = default
    else:
        whole_shape = isinstance(output_size, tuple | list) and len(output_size) == ndim + 2
        rank = ndim + 2 if whole_shape else ndim
        given = sizes("output_size", output_size, rank)
        result = given[-ndim:]
        for asked, usual, s in zip(result, default, steps, strict=True):
            if not usual - s < asked < usual + s:
                raise ValueError(
                    f"output_size={output_size!r} must be less than a stride from {default}, "
                    f"what kernel_size={kernel_size!r}, stride={steps}, padding={padding!r} "
                    f"make of {size}"
                )
    if min(result) < 1:
        raise ValueError(
            f"output must have positive sizes, got {result} of input sizes {size}, "
            f"kernel_size={kernel_size!r}, stride={steps}, padding={padding!r}"
        )
    return result


class Asked(NamedTuple):
    """One axis as it was asked for; the validator lowers some values."""

    size: int
    kernel: int
    stride: int
    pad_before: int
    pad_after: int
    dilation: int


# ---- what the validator refuses, in words
#
# Each function makes the message of one status, and takes:
#
# about : "input", "weight", "output" or "axis"; an axis is numbered by `axis`, from the last one
#     backwards, and was asked for as `asked`
# said : the arguments by name, as they came, and the shapes; `input_name` and `weight_name` are
#     what these are called where they came from


def _name(about: str, said: dict[str, Any]) -> tuple[str, Any]:
    return said.get(f"{about}_name", about), said[f"{about}_shape"]


def _context(said: dict[str, Any]) -> str:
    names = [about for about in ("input", "weight") if f"{about}_name" in said]
    return ", ".join(f"{name} {shape}" for name, shape in (_name(about, said) for about in names))


def invalid_size(about: str, axis: int, asked: Asked, said: dict[str, Any]) -> str:
    if about == "axis":
        if asked.size >= 1 and "weight_name" not in said:
            option = "output_size" if "output_size" in said else "kernel_size"
            return f"{option} must be at least 1, got {said[option]!r}"
        about = "input" if asked.size < 1 else "weight"
    name, shape = _name(about, said)
    return f"{name} must have positive sizes, got {shape}"


def invalid_stride(about: str, axis: int, asked: Asked, said: dict[str, Any]) -> str:
    option = "stride" if asked.stride < 1 else "dilation"
    return f"{option} must be at least 1, got {said[option]!r}"


def invalid_padding(about: str, axis: int, asked: Asked, said: dict[str, Any]) -> str:
    if min(asked.pad_before, asked.pad_after) < 0:
        return f"padding must be at least 0, got {said['padding']!r}"
    return (
        f"padding={said['padding']!r} must be at most half of what the kernel spans: "
        f"kernel_size={said['kernel_size']!r}, dilation={said['dilation']!r}"
    )


def invalid_groups(about: str, axis: int, asked: Asked, said: dict[str, Any]) -> str:
    if said["groups"] < 1:
        return f"groups must be at least 1, got {said['groups']!r}"
    return (
        f"groups={said['groups']} must divide the input's channels ({said['input_shape'][1]}) and "
        f"the weight's filters ({said['weight_shape'][0]}): {_context(said)}"
    )


def kernel_too_large(about: str, axis: int, asked: Asked, said: dict[str, Any]) -> str:
    words = _AXES[len(said["input_shape"]) - 2]
    word = words[len(words) + axis]
    kernel = f"a {word} of {asked.kernel}"
    where = "kernel_size"
    if "weight_name" in said:
        kernel, where = f"a kernel of {word} {asked.kernel}", said["weight_name"]
    return (
        f"{where}: {kernel} with dilation={asked.dilation} spans "
        f"{asked.dilation * (asked.kernel - 1) + 1}, more than the padded input's "
        f"{asked.size + asked.pad_before + asked.pad_after}: {_context(said)}, "
        f"padding={said['padding']!r}"
    )


def too_large(about: str, axis: int, asked: Asked, said: dict[str, Any]) -> str:
    if about == "axis":
        most = max(asked.pad_before, asked.pad_after)
        return f"padding={most} is too large: {_context(said)}, padding={said['padding']!r}"
    name, shape = _name(about, said)
    return f"{name} of shape {shape} is too large to address"


# ---- of a transposed convolution: "output" is the geometry's input, and "input" its output


def transposed_sides(value: object, ndim: int) -> Sides:
    """(before, after) for every axis of a transposed convolution's padding."""
    if isinstance(value, str):
        raise ValueError(f"padding must be integers, got {value!r}")
    ones = (1,) * ndim
    return sides(value, ones, ones, ones)


def transposed_channels(said: dict[str, Any]) -> int:
    """The channels that a transposed convolution puts out."""
    groups, shape, weight = said["groups"], said["input_shape"], said["weight_shape"]
    if shape[0] < 0 or min(shape[1:]) < 1:
        raise ValueError(f"{said['input_name']} must have positive sizes, got {shape}")
    if min(weight) < 1:
        raise ValueError(f"{said['weight_name']} must have positive sizes, got {weight}")
    if groups < 1:
        raise ValueError(f"groups must be at least 1, got {groups!r}")
    if shape[1] % groups:
        raise ValueError(
            f"groups={groups} must divide the input's channels ({shape[1]}): {_context(said)}"
        )
    if weight[0] != shape[1]:
        raise ValueError(
            f"{said['weight_name']} is for {weight[0]} input channels, expected {shape[1]}: "
            f"{_context(said)}"
        )
    if weight[0] * weight[1] > sys.maxsize:
        raise ValueError(f"{said['weight_name']} of shape {weight} is too large to address")
    channels: int = weight[1] * groups
    return channels


def invalid_transposed_padding(about: str, axis: int, asked: Asked, said: dict[str, Any]) -> str:
    if min(asked.pad_before, asked.pad_after) < 0:
        return f"padding must be at least 0, got {said['padding']!r}"
    extra = per_axis("output_padding", said["output_padding"], len(said["input_shape"]) - 2)[axis]
    if extra < 0:
        return f"output_padding must be at least 0, got {said['output_padding']!r}"
    if extra >= max(asked.stride, asked.dilation):
        return (
            f"output_padding must be less than the stride or the dilation, got "
            f"output_padding={said['output_padding']!r}, stride={said['stride']!r}, "
            f"dilation={said['dilation']!r}"
        )
    words = _AXES[len(said["input_shape"]) - 2]
    return (
        f"padding={said['padding']!r} leaves an output of {words[axis]} "
        f"{said['output_shape'][axis]}: {_context(said)}, stride={said['stride']!r}, "
        f"output_padding={said['output_padding']!r}, dilation={said['dilation']!r}"
    )


def transposed_too_large(about: str, axis: int, asked: Asked, said: dict[str, Any]) -> str:
    if about == "axis":
        return (
            f"the output is too large to address: {_context(said)}, stride={said['stride']!r}, "
            f"padding={said['padding']!r}, dilation={said['dilation']!r}"
        )
    return too_large({"input": "output", "output": "input"}.get(about, about), axis, asked, said)
