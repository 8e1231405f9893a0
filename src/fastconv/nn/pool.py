"""Pooling over windows, over a grid, and over whole images."""

from collections.abc import Sequence
from typing import Any, ClassVar

from fastconv import functional as F
from fastconv.functional._options import check_divisor
from fastconv.nn._check import Sizes, check_output_size, pool_options
from fastconv.nn.module import Array, Module, is_grad_enabled

__all__ = [
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool2d",
    "AvgPool1d",
    "AvgPool2d",
    "GlobalAvgPool2d",
    "MaxPool1d",
    "MaxPool2d",
]


class _PoolNd(Module):
    """What poolings over any number of axes share; a subclass says how many, and which op."""

    #: how many axes a window has, and the op's name
    _ndim: ClassVar[int]
    _op: ClassVar[str]

    def _options(self) -> tuple[Any, ...]:
        """What the op takes after its input."""
        return ()


class _Maximum(_PoolNd):
    """The passes of a pooling whose gradient goes to where the maxima were."""

    def forward(self, input: Array) -> Array:
        output: Array
        if not is_grad_enabled():
            self._remember()
            output = getattr(F, self._op)(input, *self._options())
        else:
            output, indices = getattr(F, self._op)(input, *self._options(), return_indices=True)
            self._remember(indices, input.shape)
        return output

    def backward(self, grad_output: Array) -> Array:
        grad_input: Array = getattr(F, f"{self._op}_backward")(grad_output, *self._recall())
        return grad_input


class _Mean(_PoolNd):
    """The passes of a pooling whose gradient is shared out over the window."""

    def forward(self, input: Array) -> Array:
        output: Array = getattr(F, self._op)(input, *self._options())
        self._remember(input.shape)
        return output

    def backward(self, grad_output: Array) -> Array:
        (input_shape,) = self._recall()
        options = self._backward_options()
        grad_input: Array = getattr(F, f"{self._op}_backward")(grad_output, input_shape, *options)
        return grad_input

    def _backward_options(self) -> tuple[Any, ...]:
        """What the gradient takes after the input's shape: nothing, if the output's says it all."""
        return ()


class _MaxPoolNd(_Maximum):
    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        *,
        ceil_mode: bool = False,
    ) -> None:
        options = pool_options(self._ndim, kernel_size, stride, padding, dilation)
        self.kernel_size, self.stride, self.padding, self.dilation = options
        self.ceil_mode = ceil_mode

    def _options(self) -> tuple[Any, ...]:
        return self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class _AvgPoolNd(_Mean):
    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
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

    def _backward_options(self) -> tuple[Any, ...]:
        return self._options()

    def extra_repr(self) -> str:
        divisor = self.divisor_override
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"ceil_mode={self.ceil_mode}, count_include_pad={self.count_include_pad}"
            + (f", divisor_override={divisor}" if divisor is not None else "")
        )


class _AdaptivePoolNd(_PoolNd):
    def __init__(self, output_size: int | Sequence[int | None]) -> None:
        self.output_size = check_output_size(self._ndim, output_size)

    def _options(self) -> tuple[Any, ...]:
        return (self.output_size,)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class MaxPool1d(_MaxPoolNd):
    """Largest element of every window of a signal (N, C, L).

    Parameters
    ----------
    kernel_size, dilation : int or (int,)
        Positive.
    stride : int, (int,) or None
        None for ``kernel_size``.
    padding : int or (int,)
        At most half of what the kernel spans; the border counts as −∞.
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
    array([[[3., 6.]]])
    """

    _ndim, _op = 1, "max_pool1d"


class MaxPool2d(_MaxPoolNd):
    """Largest pixel of every window; parameters as :func:`fastconv.functional.max_pool2d`.

    Parameters
    ----------
    kernel_size, dilation : int or (int, int)
        Rows and columns.
    stride : int, (int, int) or None
        None for ``kernel_size``.
    padding : int or (int, int)
        At most half of what the kernel spans; the border counts as −∞.
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
    array([[[[ 5.,  7.],
             [13., 15.]]]])
    """

    _ndim, _op = 2, "max_pool2d"


class AvgPool1d(_AvgPoolNd):
    """Mean of every window of a signal (N, C, L).

    Parameters
    ----------
    kernel_size : int or (int,)
        Positive.
    stride : int, (int,) or None
        None for ``kernel_size``.
    padding : int or (int,)
        At most half the kernel.
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
    array([[[2., 4.]]])
    """

    _ndim, _op = 1, "avg_pool1d"

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode, count_include_pad)

    def _options(self) -> tuple[Any, ...]:
        return super()._options()[:-1]  # as in torch, one axis has no divisor of its own


class AvgPool2d(_AvgPoolNd):
    """Mean of every window; parameters as :func:`fastconv.functional.avg_pool2d`.

    Parameters
    ----------
    kernel_size : int or (int, int)
        Rows and columns.
    stride : int, (int, int) or None
        None for ``kernel_size``.
    padding : int or (int, int)
        At most half the kernel.
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
    array([[[[ 2.5,  4.5],
             [10.5, 12.5]]]])
    """

    _ndim, _op = 2, "avg_pool2d"


class AdaptiveAvgPool2d(_AdaptivePoolNd, _Mean):
    """Mean over a grid of near-equal rectangles, whatever the input's size.

    Parameters
    ----------
    output_size : int or (int or None, int or None)
        Rows and columns of the grid; None keeps the input's.

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


class AdaptiveMaxPool2d(_AdaptivePoolNd, _Maximum):
    """Maximum over a grid of near-equal rectangles, whatever the input's size.

    Parameters
    ----------
    output_size : int or (int or None, int or None)
        Rows and columns of the grid; None keeps the input's.

    Raises
    ------
    ValueError, TypeError
        If a size is not a positive integer.

    Examples
    --------
    >>> import numpy as np
    >>> AdaptiveMaxPool2d(1)(np.arange(6.0).reshape(1, 1, 2, 3))
    array([[[[5.]]]])
    """

    _ndim, _op = 2, "adaptive_max_pool2d"


class GlobalAvgPool2d(_Mean):
    """Mean of every channel's plane: (N, C, H, W) to (N, C, 1, 1).

    Examples
    --------
    >>> import numpy as np
    >>> GlobalAvgPool2d()(np.ones((2, 8, 7, 7))).shape
    (2, 8, 1, 1)
    """

    _ndim, _op = 2, "global_avg_pool2d"
