"""Pooling over windows, over a grid, and over whole images."""

from fastconv import functional as F
from fastconv.nn._check import Pair
from fastconv.nn.module import Array, Module, is_grad_enabled

__all__ = ["AdaptiveAvgPool2d", "AdaptiveMaxPool2d", "AvgPool2d", "GlobalAvgPool2d", "MaxPool2d"]


class MaxPool2d(Module):
    """Largest pixel of every window; parameters as :func:`fastconv.functional.max_pool2d`.

    Parameters
    ----------
    kernel_size, dilation : int or (int, int)
        Rows and columns.
    stride : int, (int, int) or None
        None for ``kernel_size``.
    padding : int or (int, int)
        At most half the kernel; the border counts as −∞.
    ceil_mode : bool
        Whether a last window may hang over the edge.

    Examples
    --------
    >>> import numpy as np
    >>> MaxPool2d(2)(np.arange(16.0).reshape(1, 1, 4, 4))
    array([[[[ 5.,  7.],
             [13., 15.]]]])
    """

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        dilation: Pair = 1,
        *,
        ceil_mode: bool = False,
    ) -> None:
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.ceil_mode = ceil_mode

    def forward(self, input: Array) -> Array:
        options = (self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)
        if not is_grad_enabled():
            self._remember()
            return F.max_pool2d(input, *options)
        output, indices = F.max_pool2d(input, *options, return_indices=True)
        self._remember(indices, input.shape)
        return output

    def backward(self, grad_output: Array) -> Array:
        indices, input_shape = self._recall()
        return F.max_pool2d_backward(grad_output, indices, input_shape)

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class AvgPool2d(Module):
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

    Examples
    --------
    >>> import numpy as np
    >>> AvgPool2d(2)(np.arange(16.0).reshape(1, 1, 4, 4))
    array([[[[ 2.5,  4.5],
             [10.5, 12.5]]]])
    """

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: Array) -> Array:
        output = F.avg_pool2d(input, *self._options())
        self._remember(input.shape)
        return output

    def backward(self, grad_output: Array) -> Array:
        (input_shape,) = self._recall()
        return F.avg_pool2d_backward(grad_output, input_shape, *self._options())

    def _options(self) -> tuple[Pair, Pair, Pair, bool, bool, int | None]:
        return (
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"ceil_mode={self.ceil_mode}, count_include_pad={self.count_include_pad}"
        )


class AdaptiveAvgPool2d(Module):
    """Mean over a grid of near-equal rectangles, whatever the input's size.

    Parameters
    ----------
    output_size : int or (int, int)
        Rows and columns of the grid.

    Examples
    --------
    >>> import numpy as np
    >>> AdaptiveAvgPool2d(2)(np.ones((1, 3, 7, 9))).shape
    (1, 3, 2, 2)
    """

    def __init__(self, output_size: Pair) -> None:
        self.output_size = output_size

    def forward(self, input: Array) -> Array:
        output = F.adaptive_avg_pool2d(input, self.output_size)
        self._remember(input.shape)
        return output

    def backward(self, grad_output: Array) -> Array:
        (input_shape,) = self._recall()
        return F.adaptive_avg_pool2d_backward(grad_output, input_shape)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveMaxPool2d(Module):
    """Maximum over a grid of near-equal rectangles, whatever the input's size.

    Parameters
    ----------
    output_size : int or (int, int)
        Rows and columns of the grid.

    Examples
    --------
    >>> import numpy as np
    >>> AdaptiveMaxPool2d(1)(np.arange(6.0).reshape(1, 1, 2, 3))
    array([[[[5.]]]])
    """

    def __init__(self, output_size: Pair) -> None:
        self.output_size = output_size

    def forward(self, input: Array) -> Array:
        if not is_grad_enabled():
            self._remember()
            return F.adaptive_max_pool2d(input, self.output_size)
        output, indices = F.adaptive_max_pool2d(input, self.output_size, return_indices=True)
        self._remember(indices, input.shape)
        return output

    def backward(self, grad_output: Array) -> Array:
        indices, input_shape = self._recall()
        return F.adaptive_max_pool2d_backward(grad_output, indices, input_shape)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class GlobalAvgPool2d(Module):
    """Mean of every channel's plane: (N, C, H, W) to (N, C, 1, 1).

    Examples
    --------
    >>> import numpy as np
    >>> GlobalAvgPool2d()(np.ones((2, 8, 7, 7))).shape
    (2, 8, 1, 1)
    """

    def forward(self, input: Array) -> Array:
        output = F.global_avg_pool2d(input)
        self._remember(input.shape)
        return output

    def backward(self, grad_output: Array) -> Array:
        (input_shape,) = self._recall()
        return F.global_avg_pool2d_backward(grad_output, input_shape)
