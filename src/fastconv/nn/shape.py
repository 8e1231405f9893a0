"""Layers that change the shape at most."""

from typing import Any

from fastconv import functional as F
from fastconv.functional._options import check_axis
from fastconv.nn.module import Module

__all__ = ["Flatten", "Identity"]


class Flatten(Module):
    """Merge the axes from ``start_dim`` to ``end_dim`` into one.

    Parameters
    ----------
    start_dim, end_dim : int
        First and last axis to merge; the batch axis stays apart by default.

    Raises
    ------
    ValueError, TypeError
        If one is no axis that an array can have, or the first comes after the last.

    Examples
    --------
    >>> import numpy as np
    >>> Flatten()(np.ones((2, 16, 5, 5))).shape
    (2, 400)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = check_axis("start_dim", start_dim)
        self.end_dim = check_axis("end_dim", end_dim)
        # counted from different ends, their order depends on the input
        if (self.start_dim < 0) == (self.end_dim < 0) and self.start_dim > self.end_dim:
            raise ValueError(f"start_dim={start_dim} comes after end_dim={end_dim}")

    def forward(self, input: Any) -> Any:
        return F.flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Identity(Module):
    """The input itself: a layer that does nothing.

    Examples
    --------
    >>> import numpy as np
    >>> Identity()(np.array([1.0, 2.0]))
    Tensor([1., 2.])
    """

    def forward(self, input: Any) -> Any:
        return input
