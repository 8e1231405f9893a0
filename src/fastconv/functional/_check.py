"""The argument checker of the functional layer: arrays in, errors that name the argument."""

from __future__ import annotations

import math
from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv._arguments import to_array
from fastconv._buffers import channels_last_strides, empty

Array = NDArray[Any]

_F32, _F64 = np.dtype(np.float32), np.dtype(np.float64)


def as_array(name: str, value: object, ndim: int | tuple[int, ...] | None = None) -> Array:
    """`value` as a plain float32 or float64 array, aligned and in native byte order.

    Nothing is converted to another dtype.
    """
    if (
        type(value) is np.ndarray
        and (value.dtype is _F32 or value.dtype is _F64)
        and value.flags.aligned
        and (ndim is None or value.ndim == ndim or (type(ndim) is tuple and value.ndim in ndim))
    ):
        return value  # the usual case, in a fraction of a microsecond
    array = to_array(name, value)
    if array.dtype.type not in (np.float32, np.float64):
        raise TypeError(f"{name} must be float32 or float64, got {array.dtype}")
    if ndim is not None:
        check_ndim(name, array, ndim)
    return array


def check_ndim(name: str, array: Array, ndim: int | tuple[int, ...]) -> None:
    allowed = (ndim,) if isinstance(ndim, int) else ndim
    if array.ndim not in allowed:
        expected = " or ".join(str(n) for n in allowed)
        raise ValueError(f"{name} must have {expected} dimensions, got shape {array.shape}")


def check_shape(name: str, array: Array, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, expected {shape}")


def same_dtype(**arrays: Array | None) -> np.dtype[Any]:
    """The one dtype of all operands; None stands for an absent operand."""
    seen = None
    for array in arrays.values():
        if array is not None:
            if seen is None:
                seen = array.dtype
            elif array.dtype is not seen:
                break
    else:
        assert seen is not None
        return seen
    dtypes = {name: a.dtype for name, a in arrays.items() if a is not None}
    first = next(iter(dtypes.values()))
    if any(d != first for d in dtypes.values()):
        listed = ", ".join(f"{name} {d}" for name, d in dtypes.items())
        raise TypeError(f"operands must share one dtype, got {listed}")
    return first


def is_channels_last(a: Array) -> bool:
    """Whether the memory of an array of images, (N, C, ...), runs along the channels.

    Where it has a single channel or pixel, the strides tell: those of a channels-last image step
    over all channels from one pixel to the next, and over one element to the next channel.
    """
    size = a.itemsize
    if a.strides[1] != size:
        return False
    if not a.flags.c_contiguous:
        return True
    shape = a.shape
    c = shape[1]
    return bool(a.strides[-1] == c * size and (c > 1 or math.prod(shape[2:]) > 1))


def empty_like_format(like: Array, shape: tuple[int, ...], dtype: Any = None) -> Array:
    """An uninitialised (N, C, ...) array in the memory format of `like`."""
    dtype = like.dtype if dtype is None else np.dtype(dtype)
    if not is_channels_last(like):
        return empty(shape, dtype)
    return empty(shape, dtype, channels_last_strides(shape, dtype.itemsize))


def empty_like(array: Array) -> Array:
    """An uninitialised array of the shape, dtype and order of axes of `array`."""
    if array.ndim > 2 and is_channels_last(array):
        return empty_like_format(array, array.shape)
    if array.flags.c_contiguous:
        return empty(array.shape, array.dtype)
    return np.empty_like(array)


def check_out(
    out: object, shape: tuple[int, ...], dtype: np.dtype[Any], **inputs: Array | None
) -> Array:
    """`out` fit to be written to: right shape and dtype, writable, apart from the inputs."""
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be a NumPy array, got {type(out).__name__}")
    if out.dtype != dtype:
        raise TypeError(f"out must be {dtype} as the inputs are, got {out.dtype}")
    if out.shape != shape:
        raise ValueError(f"out has shape {out.shape}, expected {shape}")
    if not out.flags.writeable or not out.flags.aligned:
        raise ValueError("out must be writable and aligned")
    if 0 in out.strides and any(
        s == 0 and n > 1 and out.size for s, n in zip(out.strides, out.shape, strict=True)
    ):
        raise ValueError(f"out must not repeat memory, got strides {out.strides}")
    for name, array in inputs.items():
        if array is not None and np.may_share_memory(out, array):
            raise ValueError(f"out must not share memory with {name}")
    return out


def is_relu(activation: str | None) -> bool:
    """Whether ReLU is asked for along with another op; None asks for nothing."""
    if activation not in (None, "relu"):
        raise ValueError(f"activation must be None or 'relu', got {activation!r}")
    return activation is not None


def as_batch(array: Array, ndim: int) -> tuple[Array, bool]:
    """(N, C, ...) with `ndim` axes from that or (C, ...), and whether there was a batch."""
    return (array, True) if array.ndim == ndim + 2 else (array[None], False)


def as_shape(name: str, shape: object, ndim: int) -> tuple[tuple[int, ...], bool]:
    """A (N, C, ...) shape with `ndim` axes from that or (C, ...), and whether there was a batch."""
    try:
        sizes = tuple(map(index, shape))  # type: ignore[call-overload]
    except TypeError:
        raise TypeError(f"{name} must be a tuple of integers, got {shape!r}") from None
    if len(sizes) == ndim + 2:
        return sizes, True
    if len(sizes) == ndim + 1:
        return (1, *sizes), False
    raise ValueError(f"{name} must have {ndim + 1} or {ndim + 2} sizes, got {sizes}")
