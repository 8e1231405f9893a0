"""Checks of arguments that every module makes: what is an array, a number, a whole number, a name.

A check returns the value in the one form that the code behind it takes, or refuses it with a
ValueError or TypeError that names the argument.
"""

from __future__ import annotations

import math
import sys
from numbers import Real
from operator import index
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]

_MAX_INT = 2**63 - 1


def to_array(name: str, value: object) -> Array:
    """`value` as a plain, aligned array of any dtype, in native byte order.

    Whatever ``np.asarray`` or DLPack (on the CPU) understands is accepted, but for masked arrays,
    whose mask would be lost.
    """
    if type(value) is np.ndarray:
        array = value
    elif isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, whose mask would be ignored: fill it first")
    else:
        try:
            if hasattr(value, "__dlpack__") and not isinstance(value, np.ndarray):
                array = np.from_dlpack(value)
            else:
                array = np.asarray(value)
        except (ValueError, TypeError, MemoryError) as error:
            raise type(error)(f"{name}: {error}") from error
        except Exception as error:  # BufferError, RuntimeError: whatever an exporter thinks fit
            raise TypeError(f"{name} cannot be made an array: {error}") from error
    if not (array.dtype.isnative and array.flags.aligned):
        array = array.astype(array.dtype.newbyteorder("="))
    return array


def real(name: str, value: object, low: float = -math.inf, high: float = math.inf) -> float:
    """`value` as a Python float from `low` to `high`, both included; never NaN."""
    if type(value) is float:
        number = value
    elif not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    else:
        try:
            number = float(value)
        except OverflowError:
            raise ValueError(f"{name} is too large for a float") from None
    if not low <= number <= high:
        if high == sys.float_info.max:
            wanted = f"finite and at least {low}"
        elif high < math.inf:
            wanted = f"from {low} to {high}"
        else:
            wanted = f"at least {low}" if low > -math.inf else "a number"
        raise ValueError(f"{name} must be {wanted}, got {value!r}")
    return number


def whole(name: str, value: object, low: int, high: int = _MAX_INT) -> int:
    """`value` as a Python int from `low` to `high`, both included."""
    if isinstance(value, bool | np.ndarray):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    try:
        number = index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if not low <= number <= high:
        if high < _MAX_INT:
            raise ValueError(f"{name} must be from {low} to {high}, got {value!r}")
        if number < low:
            raise ValueError(f"{name} must be at least {low}, got {value!r}")
        raise ValueError(f"{name} is too large: {value!r}")
    return number


def choice(name: str, value: object, *names: str) -> str:
    """`value`, which must be one of `names`."""
    if not isinstance(value, str) or value not in names:
        *others, last = map(repr, names)
        wanted = f"{', '.join(others)} or {last}" if others else last
        raise ValueError(f"{name} must be {wanted}, got {value!r}")
    return value


def float_dtype(dtype: DTypeLike) -> np.dtype[np.floating[Any]]:
    """float32 or float64, in native byte order, from whatever names it."""
    try:
        kind: np.dtype[Any] = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"dtype must be float32 or float64, got {dtype!r}") from None
    if kind not in (np.float32, np.float64):
        raise ValueError(f"dtype must be float32 or float64, got {kind}")
    return kind


def generator(rng: Any) -> np.random.Generator:
    """The generator itself, or a new one from a seed, or from fresh entropy for None."""
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise type(error)(f"rng={rng!r}: {error}") from None
