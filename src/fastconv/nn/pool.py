"""Pooling over windows."""

from typing import Any

from fastconv.functional._options import check_divisor, check_norm_type
from fastconv.nn._check import Sizes, pool_options
from fastconv.nn._pool import PoolNd

__all__ = [
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "LPPool1d",
    "LPPool2d",
    "LPPool3d",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
]


class _MaxPoolNd(PoolNd):
    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Any = 0,
        dilation: Sizes = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        options = pool_options(self._ndim, kernel_size, stride, padding, dilation)
        self.kernel_size, self.stride, self.padding, self.dilation = options
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def _options(self) -> tuple[Any, ...]:
        options = self.kernel_size, self.stride, self.padding, self.dilation
        return *options, self.ceil_mode, self.return_indices

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding!r}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class _AvgPoolNd(PoolNd):
    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        options = pool_options(self._ndim, kernel_size, stride, padding)
        self.kernel_size, self.stride, self.padding, _ = options
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = check_divisor(divisor_override)

    def _options(self) -> tuple[Any, ...]:
        return (
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )

    def extra_repr(self) -> str:
        divisor = self.divisor_override
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding!r}, "
            f"ceil_mode={self.ceil_mode}, count_include_pad={self.count_include_pad}"
            + (f", divisor_override={divisor}" if divisor is not None else "")
        )


class _LPPoolNd(PoolNd):
    def __init__(
        self,
        norm_type: float,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        ceil_mode: bool = False,
    ) -> None:
        self.norm_type = check_norm_type(norm_type)
        self.kernel_size, self.stride, _, _ = pool_options(self._ndim, kernel_size, stride, 0)
        self.ceil_mode = ceil_mode

    def _options(self) -> tuple[Any, ...]:
        return self.norm_type, self.kernel_size, self.stride, self.ceil_mode

    def extra_repr(self) -> str:
        return (
            f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPoolNd):
    """Largest element of every window of a signal (N, C, L).

    Parameters
    ----------
    kernel_size, dilation : int or (int,)
        Positive.
    stride : int, (int,) or None
        None for ``kernel_size``.
    padding : int, (int,), sides of every axis, or a name
        As :func:`fastconv.functional.max_pool1d` takes it: at most half of what the kernel spans,
        or ``"same"``. The border counts as −∞.
    return_indices : bool
        Whether forward also returns where the maxima were, for :class:`MaxUnpool1d`. Backward
        takes the gradient of the maxima alone.
    ceil_mode : bool
        Whether a last window may hang over the edge.

    Raises
    ------
    ValueError, TypeError
        Naming the argument and its value, if no input could be pooled so.

    Examples
    --------
    >>> import numpy as np
    >>> MaxPool1d(2)(np.array([[[1.0, 3.0, 2.0, 6.0]]]))
    Tensor([[[3., 6.]]])
    """

    _ndim, _op = 1, "max_pool1d"


class MaxPool2d(_MaxPoolNd):
    """Largest pixel of every window of an image (N, C, H, W).

    Parameters
    ----------
    kernel_size, dilation : int or (int, int)
        Rows and columns.
    stride : int, (int, int) or None
        None for ``kernel_size``.
    padding : int, (int, int), sides of every axis, or a name
        As :func:`fastconv.functional.max_pool2d` takes it: at most half of what the kernel spans,
        or ``"same"``. The border counts as −∞.
    return_indices : bool
        Whether forward also returns where the maxima were, for :class:`MaxUnpool2d`. Backward
        takes the gradient of the maxima alone.
    ceil_mode : bool
        Whether a last window may hang over the edge.

    Raises
    ------
    ValueError, TypeError
        Naming the argument and its value, if no input could be pooled so.

    Examples
    --------
    >>> import numpy as np
    >>> MaxPool2d(2)(np.arange(16.0).reshape(1, 1, 4, 4))
    Tensor([[[[ 5.,  7.],
              [13., 15.]]]])
    """

    _ndim, _op = 2, "max_pool2d"


class MaxPool3d(_MaxPoolNd):
    """Largest voxel of every window of a volume (N, C, D, H, W).

    Parameters
    ----------
    kernel_size, dilation : int or (int, int, int)
        Slices, rows and columns.
    stride : int, (int, int, int) or None
        None for ``kernel_size``.
    padding : int, (int, int, int), sides of every axis, or a name
        As :func:`fastconv.functional.max_pool3d` takes it: at most half of what the kernel spans,
        or ``"same"``. The border counts as −∞.
    return_indices : bool
        Whether forward also returns where the maxima were, for :class:`MaxUnpool3d`. Backward
        takes the gradient of the maxima alone.
    ceil_mode : bool
        Whether a last window may hang over the edge.

    Raises
    ------
    ValueError, TypeError
        Naming the argument and its value, if no input could be pooled so.

    Examples
    --------
    >>> import numpy as np
    >>> MaxPool3d(2)(np.arange(16.0).reshape(1, 1, 4, 2, 2)).data.ravel()
    array([ 7., 15.])
    """

    _ndim, _op = 3, "max_pool3d"


class AvgPool1d(_AvgPoolNd):
    """Mean of every window of a signal (N, C, L).

    Parameters
    ----------
    kernel_size : int or (int,)
        Positive.
    stride : int, (int,) or None
        None for ``kernel_size``.
    padding : int, (int,), sides of every axis, or a name
        As :func:`fastconv.functional.max_pool1d` takes it.
    ceil_mode : bool
        Whether a last window may hang over the edge.
    count_include_pad : bool
        Whether the border counts in the mean.

    Raises
    ------
    ValueError, TypeError
        Naming the argument and its value, if no input could be pooled so.

    Examples
    --------
    >>> import numpy as np
    >>> AvgPool1d(2)(np.array([[[1.0, 3.0, 2.0, 6.0]]]))
    Tensor([[[2., 4.]]])
    """

    _ndim, _op = 1, "avg_pool1d"

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode, count_include_pad)

    def _options(self) -> tuple[Any, ...]:
        return super()._options()[:-1]  # as in torch, one axis has no divisor of its own


class AvgPool2d(_AvgPoolNd):
    """Mean of every window of an image (N, C, H, W).

    Parameters
    ----------
    kernel_size : int or (int, int)
        Rows and columns.
    stride : int, (int, int) or None
        None for ``kernel_size``.
    padding : int, (int, int), sides of every axis, or a name
        As :func:`fastconv.functional.max_pool2d` takes it.
    ceil_mode : bool
        Whether a last window may hang over the edge.
    count_include_pad : bool
        Whether the border counts in the mean.
    divisor_override : int or None
        What to divide by, instead of the number of pixels.

    Raises
    ------
    ValueError, TypeError
        Naming the argument and its value, if no input could be pooled so.

    Examples
    --------
    >>> import numpy as np
    >>> AvgPool2d(2)(np.arange(16.0).reshape(1, 1, 4, 4))
    Tensor([[[[ 2.5,  4.5],
              [10.5, 12.5]]]])
    """

    _ndim, _op = 2, "avg_pool2d"


class AvgPool3d(_AvgPoolNd):
    """Mean of every window of a volume (N, C, D, H, W).

    Parameters
    ----------
    kernel_size : int or (int, int, int)
        Slices, rows and columns.
    stride : int, (int, int, int) or None
        None for ``kernel_size``.
    padding : int, (int, int, int), sides of every axis, or a name
        As :func:`fastconv.functional.max_pool3d` takes it.
    ceil_mode : bool
        Whether a last window may hang over the edge.
    count_include_pad : bool
        Whether the border counts in the mean.
    divisor_override : int or None
        What to divide by, instead of the number of voxels.

    Raises
    ------
    ValueError, TypeError
        Naming the argument and its value, if no input could be pooled so.

    Examples
    --------
    >>> import numpy as np
    >>> AvgPool3d(2)(np.arange(16.0).reshape(1, 1, 4, 2, 2)).data.ravel()
    array([ 3.5, 11.5])
    """

    _ndim, _op = 3, "avg_pool3d"


class LPPool1d(_LPPoolNd):
    """The p-norm of every window; as :func:`fastconv.functional.lp_pool1d`.

    Parameters
    ----------
    norm_type : float
        The p, not zero; infinity for the largest magnitude.
    kernel_size : int or (int,)
    stride : int, (int,) or None
        None for ``kernel_size``.
    ceil_mode : bool
        Whether a last window may hang over the edge.

    Raises
    ------
    ValueError, TypeError
        Naming the argument and its value, if no input could be pooled so.

    Examples
    --------
    >>> import numpy as np
    >>> LPPool1d(2, 2)(np.array([[[3.0, 4.0]]]))
    Tensor([[[5.]]])
    """

    _ndim, _op = 1, "lp_pool1d"


class LPPool2d(_LPPoolNd):
    """The p-norm of every window; as :func:`fastconv.functional.lp_pool2d`.

    Parameters
    ----------
    norm_type : float
        The p, not zero; infinity for the largest magnitude.
    kernel_size : int or (int, int)
    stride : int, (int, int) or None
        None for ``kernel_size``.
    ceil_mode : bool
        Whether a last window may hang over the edge.

    Raises
    ------
    ValueError, TypeError
        Naming the argument and its value, if no input could be pooled so.

    Examples
    --------
    >>> import numpy as np
    >>> LPPool2d(2, (1, 2))(np.array([[[[3.0, 4.0]]]]))
    Tensor([[[[5.]]]])
    """

    _ndim, _op = 2, "lp_pool2d"


class LPPool3d(_LPPoolNd):
    """The p-norm of every window; as :func:`fastconv.functional.lp_pool3d`.

    Parameters
    ----------
    norm_type : float
        The p, not zero; infinity for the largest magnitude.
    kernel_size : int or (int, int, int)
    stride : int, (int, int, int) or None
        None for ``kernel_size``.
    ceil_mode : bool
        Whether a last window may hang over the edge.

    Raises
    ------
    ValueError, TypeError
        Naming the argument and its value, if no input could be pooled so.

    Examples
    --------
    >>> import numpy as np
    >>> LPPool3d(2, (1, 1, 2))(np.array([[[[[3.0, 4.0]]]]])).item()
    5.0
    """

    _ndim, _op = 3, "lp_pool3d"
