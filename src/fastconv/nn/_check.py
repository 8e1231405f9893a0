"""Checks of arguments that several layers share."""

import numpy as np

Pair = int | tuple[int, int]


def check_positive(**sizes: object) -> None:
    for name, size in sizes.items():
        if not isinstance(size, int | np.integer):
            raise TypeError(f"{name} must be an integer, got {size!r}")
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")


def pair(name: str, value: Pair) -> tuple[int, int]:
    """Rows and columns of what may be one number for both."""
    sizes = value if isinstance(value, tuple | list) else (value, value)
    if len(sizes) != 2:
        raise ValueError(f"{name} must be one integer or two, got {value}")
    rows, cols = sizes
    check_positive(**{name: rows})
    check_positive(**{name: cols})
    return rows, cols
