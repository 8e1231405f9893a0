"""Back from maxima to where they were found."""

from typing import Any

from fastconv import functional as F
from fastconv._geometry_options import unpooled_size
from fastconv.nn._check import Sizes, pool_options
from fastconv.nn._pool import PoolNd

__all__ = [
    "MaxUnpool1d",
    "MaxUnpool2d",
    "MaxUnpool3d",
]


class _MaxUnpoolNd(PoolNd):
    def __init__(self, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0) -> None:
        options = pool_options(self._ndim, kernel_size, stride, padding)
        self.kernel_size, self.stride, self.padding, _ = options
        # as large as the padding leaves something of
        unpooled_size((2**31,) * self._ndim, kernel_size, stride, padding, None)

    def forward(  # type: ignore[override]
        self, input: Any, indices: Any, output_size: tuple[int, ...] | None = None
    ) -> Any:
        options = self.kernel_size, self.stride, self.padding, output_size
        return getattr(F, self._op)(input, indices, *options)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpoolNd):
    """Maxima back where :class:`MaxPool1d` found them, and zeros elsewhere.

    ``forward(input, indices, output_size=None)`` takes what a layer with ``return_indices=True``
    returns; see :func:`fastconv.functional.max_unpool1d`.

    Parameters
    ----------
    kernel_size : int or (int,)
    stride : int, (int,) or None
        None for ``kernel_size``.
    padding : int or (int,)

    Raises
    ------
    ValueError, TypeError
        Naming the argument and its value.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> pool, unpool = nn.MaxPool1d(2, return_indices=True), nn.MaxUnpool1d(2)
    >>> unpool(*pool(np.array([[[1.0, 3.0, 2.0, 6.0]]])))
    Tensor([[[0., 3., 0., 6.]]])
    """

    _ndim, _op = 1, "max_unpool1d"


class MaxUnpool2d(_MaxUnpoolNd):
    """Maxima back where :class:`MaxPool2d` found them, and zeros elsewhere.

    ``forward(input, indices, output_size=None)`` takes what a layer with ``return_indices=True``
    returns; see :func:`fastconv.functional.max_unpool2d`.

    Parameters
    ----------
    kernel_size : int or (int, int)
    stride : int, (int, int) or None
        None for ``kernel_size``.
    padding : int or (int, int)

    Raises
    ------
    ValueError, TypeError
        Naming the argument and its value.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> pool, unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)
    >>> unpool(*pool(np.array([[[[1.0, 3.0], [2.0, 6.0]]]])))
    Tensor([[[[0., 0.],
              [0., 6.]]]])
    """

    _ndim, _op = 2, "max_unpool2d"


class MaxUnpool3d(_MaxUnpoolNd):
    """Maxima back where :class:`MaxPool3d` found them, and zeros elsewhere.

    ``forward(input, indices, output_size=None)`` takes what a layer with ``return_indices=True``
    returns; see :func:`fastconv.functional.max_unpool3d`.

    Parameters
    ----------
    kernel_size : int or (int, int, int)
    stride : int, (int, int, int) or None
        None for ``kernel_size``.
    padding : int or (int, int, int)

    Raises
    ------
    ValueError, TypeError
        Naming the argument and its value.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> pool, unpool = nn.MaxPool3d((1, 1, 2), return_indices=True), nn.MaxUnpool3d((1, 1, 2))
    >>> unpool(*pool(np.array([[[[[1.0, 3.0, 2.0, 6.0]]]]]))).data.ravel()
    array([0., 3., 0., 6.])
    """

    _ndim, _op = 3, "max_unpool3d"
