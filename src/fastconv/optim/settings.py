"""Settings of optimisers and schedules: what each must be, and how a file's numbers are read."""

import math
from typing import Any

import numpy as np

from fastconv._arguments import real

Settings = dict[str, Any]

#: where each number must lie: from the first up to, not including, the second; the settings that
#: are not listed are switches
_RANGES: dict[str, tuple[float, float]] = {
    "lr": (0.0, math.inf),
    "momentum": (0.0, math.inf),
    "dampening": (-math.inf, math.inf),
    "weight_decay": (0.0, math.inf),
    "beta1": (0.0, 1.0),
    "beta2": (0.0, 1.0),
    "eps": (0.0, math.inf),
    "alpha": (0.0, math.inf),
}


def checked(name: str, value: Any) -> Any:
    """An optimiser's setting as Python's float or bool, or two floats.

    Raises
    ------
    ValueError, TypeError
        Naming it and its value, if it is not what it must be.
    """
    if name == "betas":
        try:
            beta1, beta2 = value
        except (TypeError, ValueError):
            raise ValueError(f"betas must be two numbers, got {value!r}") from None
        return checked("beta1", beta1), checked("beta2", beta2)
    number = real(name, value)
    if name not in _RANGES:
        return bool(number)
    low, high = _RANGES[name]
    if not low <= number < high:
        raise ValueError(f"{name} must be at least {low} and below {high}, got {value}")
    return number


def stored(key: str, value: Any) -> Any:
    """An entry of a state as a Python number, or a list of them: files hold them as arrays.

    Raises
    ------
    ValueError
        If it is something else.
    """
    array = np.asarray(value)
    if array.dtype.kind not in "biuf" or array.ndim > 1:
        raise ValueError(f"state[{key!r}] must be a number or a list of numbers, got {value!r}")
    return array.tolist()


def stored_count(key: str, value: Any) -> int:
    """An entry of a state that is a whole number, from 0."""
    number = stored(key, value)
    if isinstance(number, list) or number < 0 or not float(number).is_integer():
        raise ValueError(f"state[{key!r}] must be a whole number from 0, got {value!r}")
    return int(number)
