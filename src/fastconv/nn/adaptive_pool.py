"""Pooling over a grid, and over whole images."""

from collections.abc import Sequence
from typing import Any

from fastconv.nn._check import check_output_size
from fastconv.nn._pool import PoolNd

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "GlobalAvgPool1d",
    "GlobalAvgPool2d",
    "GlobalAvgPool3d",
    "GlobalMaxPool1d",
    "GlobalMaxPool2d",
    "GlobalMaxPool3d",
]


class _AdaptivePoolNd(PoolNd):
    def __init__(self, output_size: int | Sequence[int | None]) -> None:
        self.output_size = check_output_size(self._ndim, output_size)

    def _options(self) -> tuple[Any, ...]:
        return (self.output_size,)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptivePoolNd):
    """Mean over a grid of near-equal spans, whatever the input's size.

    Parameters
    ----------
    output_size : int or (int or None,)
        Sizes of the grid; None keeps the input's.

    Raises
    ------
    ValueError, TypeError
        If a size is not a positive integer.

    Examples
    --------
    >>> import numpy as np
    >>> AdaptiveAvgPool1d(2)(np.array([[[1.0, 3.0, 2.0, 6.0]]]))
    Tensor([[[2., 4.]]])
    """

    _ndim, _op = 1, "adaptive_avg_pool1d"


class AdaptiveMaxPool1d(_AdaptivePoolNd):
    """Maximum over a grid of near-equal spans, whatever the input's size.

    Parameters
    ----------
    output_size : int or (int or None,)
        Sizes of the grid; None keeps the input's.

    Raises
    ------
    ValueError, TypeError
        If a size is not a positive integer.

    Examples
    --------
    >>> import numpy as np
    >>> AdaptiveMaxPool1d(2)(np.array([[[1.0, 3.0, 2.0, 6.0]]]))
    Tensor([[[3., 6.]]])
    """

    _ndim, _op = 1, "adaptive_max_pool1d"


class AdaptiveAvgPool2d(_AdaptivePoolNd):
    """Mean over a grid of near-equal rectangles, whatever the input's size.

    Parameters
    ----------
    output_size : int or (int or None, int or None)
        Sizes of the grid; None keeps the input's.

    Raises
    ------
    ValueError, TypeError
        If a size is not a positive integer.

    Examples
    --------
    >>> import numpy as np
    >>> AdaptiveAvgPool2d(2)(np.ones((1, 3, 7, 9))).shape
    (1, 3, 2, 2)
    """

    _ndim, _op = 2, "adaptive_avg_pool2d"


class AdaptiveMaxPool2d(_AdaptivePoolNd):
    """Maximum over a grid of near-equal rectangles, whatever the input's size.

    Parameters
    ----------
    output_size : int or (int or None, int or None)
        Sizes of the grid; None keeps the input's.

    Raises
    ------
    ValueError, TypeError
        If a size is not a positive integer.

    Examples
    --------
    >>> import numpy as np
    >>> AdaptiveMaxPool2d(1)(np.arange(6.0).reshape(1, 1, 2, 3))
    Tensor([[[[5.]]]])
    """

    _ndim, _op = 2, "adaptive_max_pool2d"


class AdaptiveAvgPool3d(_AdaptivePoolNd):
    """Mean over a grid of near-equal boxes, whatever the input's size.

    Parameters
    ----------
    output_size : int or (int or None, int or None, int or None)
        Sizes of the grid; None keeps the input's.

    Raises
    ------
    ValueError, TypeError
        If a size is not a positive integer.

    Examples
    --------
    >>> import numpy as np
    >>> AdaptiveAvgPool3d(2)(np.ones((1, 3, 5, 7, 9))).shape
    (1, 3, 2, 2, 2)
    """

    _ndim, _op = 3, "adaptive_avg_pool3d"


class AdaptiveMaxPool3d(_AdaptivePoolNd):
    """Maximum over a grid of near-equal boxes, whatever the input's size.

    Parameters
    ----------
    output_size : int or (int or None, int or None, int or None)
        Sizes of the grid; None keeps the input's.

    Raises
    ------
    ValueError, TypeError
        If a size is not a positive integer.

    Examples
    --------
    >>> import numpy as np
    >>> AdaptiveMaxPool3d(1)(np.arange(6.0).reshape(1, 1, 1, 2, 3)).item()
    5.0
    """

    _ndim, _op = 3, "adaptive_max_pool3d"


class GlobalAvgPool1d(PoolNd):
    """Mean of every channel's sequence: (N, C, L) to (N, C, 1).

    Examples
    --------
    >>> import numpy as np
    >>> GlobalAvgPool1d()(np.ones((2, 8, 7))).shape
    (2, 8, 1)
    """

    _ndim, _op = 1, "global_avg_pool1d"


class GlobalMaxPool1d(PoolNd):
    """Maximum of every channel's sequence: (N, C, L) to (N, C, 1).

    Examples
    --------
    >>> import numpy as np
    >>> GlobalMaxPool1d()(np.ones((2, 8, 7))).shape
    (2, 8, 1)
    """

    _ndim, _op = 1, "global_max_pool1d"


class GlobalAvgPool2d(PoolNd):
    """Mean of every channel's plane: (N, C, H, W) to (N, C, 1, 1).

    Examples
    --------
    >>> import numpy as np
    >>> GlobalAvgPool2d()(np.ones((2, 8, 7, 7))).shape
    (2, 8, 1, 1)
    """

    _ndim, _op = 2, "global_avg_pool2d"


class GlobalMaxPool2d(PoolNd):
    """Maximum of every channel's plane: (N, C, H, W) to (N, C, 1, 1).

    Examples
    --------
    >>> import numpy as np
    >>> GlobalMaxPool2d()(np.ones((2, 8, 7, 7))).shape
    (2, 8, 1, 1)
    """

    _ndim, _op = 2, "global_max_pool2d"


class GlobalAvgPool3d(PoolNd):
    """Mean of every channel's volume: (N, C, D, H, W) to (N, C, 1, 1, 1).

    Examples
    --------
    >>> import numpy as np
    >>> GlobalAvgPool3d()(np.ones((2, 8, 3, 7, 7))).shape
    (2, 8, 1, 1, 1)
    """

    _ndim, _op = 3, "global_avg_pool3d"


class GlobalMaxPool3d(PoolNd):
    """Maximum of every channel's volume: (N, C, D, H, W) to (N, C, 1, 1, 1).

    Examples
    --------
    >>> import numpy as np
    >>> GlobalMaxPool3d()(np.ones((2, 8, 3, 7, 7))).shape
    (2, 8, 1, 1, 1)
    """

    _ndim, _op = 3, "global_max_pool3d"
