"""Checks of options that functions share with the constructors of layers.

What an input cannot change is refused where it is given, so a layer asks here when it is made, and
the function that it calls asks again.
"""

import sys

from fastconv._arguments import choice, real, whole

#: NumPy's arrays have at most so many axes
_MAX_AXES = 64


def check_reduction(reduction: str) -> str:
    if type(reduction) is str and reduction in ("mean", "sum", "none"):
        return reduction  # the usual case, in few steps
    return choice("reduction", reduction, "mean", "sum", "none")


def check_ignore_index(ignore_index: int) -> int:
    return whole("ignore_index", ignore_index, -(2**63))


def check_label_smoothing(label_smoothing: float) -> float:
    return real("label_smoothing", label_smoothing, 0, 1)


def check_negative_slope(negative_slope: float) -> float:
    return real("negative_slope", negative_slope)


def check_approximate(approximate: str) -> str:
    return choice("approximate", approximate, "none", "tanh")


def check_probability(p: float) -> float:
    return real("p", p, 0, 1)


def check_momentum(momentum: float) -> float:
    return real("momentum", momentum, 0, 1)


def check_eps(eps: float) -> float:
    return real("eps", eps, 0, sys.float_info.max)


def check_divisor(divisor_override: int | None) -> int | None:
    if divisor_override is None:
        return None
    divisor = whole("divisor_override", divisor_override, -(2**53), 2**53)
    if divisor == 0:
        raise ValueError(f"divisor_override must not be zero, got {divisor_override!r}")
    return divisor


def check_norm_type(norm_type: float) -> float:
    """The p of a p-norm: infinity of either sign is one."""
    p = real("norm_type", norm_type)
    if p == 0:
        raise ValueError(f"norm_type must not be zero, got {norm_type!r}")
    return p


def check_axis(name: str, axis: int) -> int:
    """An axis that an array can have, counted from either end."""
    return whole(name, axis, -_MAX_AXES, _MAX_AXES - 1)
