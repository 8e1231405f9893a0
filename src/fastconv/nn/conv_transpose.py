"""Transposed convolutions: layers that enlarge what a strided convolution makes smaller."""

from collections.abc import Sequence
from operator import index
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import DTypeLike

from fastconv import functional as F
from fastconv import init
from fastconv._arguments import choice, generator, whole
from fastconv._geometry_options import transposed_sides
from fastconv.functional._check import as_array
from fastconv.functional.packing import PackedTransposedWeight
from fastconv.init import Rng
from fastconv.nn._check import Sizes, conv_transpose_options
from fastconv.nn.module import Module, Parameter, is_grad_enabled

__all__ = ["ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]


class _ConvTransposeNd(Module):
    """What transposed convolutions over any number of axes share; a subclass says how many."""

    #: how many axes the kernel moves along, and the op's name
    _ndim: ClassVar[int]
    _op: ClassVar[str]
    #: the weight as :func:`packed` left it
    _packed: PackedTransposedWeight | None = None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Any = 0,
        output_padding: Sizes = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Sizes = 1,
        padding_mode: Literal["zeros"] = "zeros",
        *,
        dtype: DTypeLike = np.float32,
        rng: Rng = None,
        algorithm: str = "auto",
    ) -> None:
        self.in_channels = whole("in_channels", in_channels, 1)
        self.out_channels = whole("out_channels", out_channels, 1)
        options = conv_transpose_options(
            self._ndim, kernel_size, stride, padding, output_padding, groups, dilation, algorithm
        )
        if self.in_channels % options.groups or self.out_channels % options.groups:
            raise ValueError(
                f"groups={groups} must divide in_channels={in_channels} and "
                f"out_channels={out_channels}"
            )
        choice("padding_mode", padding_mode, "zeros")
        self.kernel_size = options.kernel_size
        self.stride = options.stride
        self.padding = options.padding
        self.output_padding = options.output_padding
        self.groups = options.groups
        self.dilation = options.dilation
        self.algorithm = algorithm
        rng = generator(rng)
        shape = (self.in_channels, self.out_channels // self.groups, *self.kernel_size)
        self.weight = Parameter(init.default_weight(shape, dtype=dtype, rng=rng))
        self.bias = None
        if bias:  # as in torch: by the fan of the weight's second axis
            shape = (self.out_channels, *shape[1:])
            self.bias = Parameter(init.default_bias(shape, dtype=dtype, rng=rng))

    def forward(
        self,
        input: Any,
        output_size: Sequence[int] | None = None,
        activation: Literal["relu"] | None = None,
    ) -> Any:
        """Compute the output.

        Parameters
        ----------
        input : (N, in_channels, ...) or (in_channels, ...) Tensor
        output_size : sequence of int, optional
            The output's size along every axis, or its shape, where ``output_padding`` would not
            give it: less than a stride more than the least.
        activation : {None, "relu"}
            Of the output, while it is written.
        """
        output_padding = self.output_padding
        if output_size is not None:
            output_padding = self._output_padding(input.shape, output_size)
        return getattr(F, self._op)(
            input,
            self.weight if self._packed is None or is_grad_enabled() else self._packed,
            self.bias,
            self.stride,
            self.padding,
            output_padding,
            self.groups,
            self.dilation,
            activation=activation,
            algorithm=self.algorithm,
        )

    def _pack(self) -> PackedTransposedWeight:
        weight = as_array("weight", self.weight.data, self._ndim + 2)
        return PackedTransposedWeight(weight, self.stride, self.groups, self.dilation)

    def _output_padding(
        self, input_shape: tuple[int, ...], output_size: Sequence[int]
    ) -> tuple[int, ...]:
        """What makes outputs of that size of such an input."""
        try:
            sizes = tuple(map(index, output_size))
        except TypeError:
            raise TypeError(f"output_size must be integers, got {output_size!r}") from None
        if len(sizes) == len(input_shape) > self._ndim:
            sizes = sizes[-self._ndim :]
        if len(sizes) != self._ndim:
            raise ValueError(
                f"output_size must have {self._ndim} sizes, or those of an output of an input of "
                f"shape {input_shape}, got {output_size!r}"
            )
        least = tuple(
            (n - 1) * s - sum(sides) + d * (k - 1) + 1
            for n, s, sides, d, k in zip(
                input_shape[-self._ndim :],
                self.stride,
                transposed_sides(self.padding, self._ndim),
                self.dilation,
                self.kernel_size,
                strict=True,
            )
        )
        extra = tuple(size - low for size, low in zip(sizes, least, strict=True))
        if any(not 0 <= more < s for more, s in zip(extra, self.stride, strict=True)):
            most = tuple(low + s - 1 for low, s in zip(least, self.stride, strict=True))
            raise ValueError(
                f"output_size={output_size!r} must be from {least} to {most} for an input of shape "
                f"{input_shape}"
            )
        return extra

    def extra_repr(self) -> str:
        ones = (1,) * self._ndim
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"]
        parts += [f"stride={self.stride}"] * (self.stride != ones)
        parts += [f"padding={self.padding!r}"] * (self.padding != 0)
        parts += [f"output_padding={self.output_padding}"] * any(self.output_padding)
        parts += [f"groups={self.groups}"] * (self.groups != 1)
        parts += ["bias=False"] * (self.bias is None)
        parts += [f"dilation={self.dilation}"] * (self.dilation != ones)
        return ", ".join(parts)


class ConvTranspose1d(_ConvTransposeNd):
    """1-D transposed convolution of (N, in_channels, L), with learned weight and bias.

    Parameters
    ----------
    in_channels, out_channels : int
        Both divisible by ``groups``.
    kernel_size, stride, dilation : int or (int,)
        Positive.
    padding : int, (int,) or (int, int)
        So much is left out of the output at its border.
    output_padding : int or (int,)
        So much is added to the output's size at the end; less than the stride or the dilation.
    groups : int
        Channels are split into so many transposed convolutions side by side.
    bias : bool
        Whether to add one number per output channel.
    padding_mode : {"zeros"}
        There is no other, as in torch.
    dtype : dtype
        float32 or float64, of the parameters and of the input.
    rng : numpy.random.Generator, int or None
        Where the initial weights come from: :func:`fastconv.init.default_weight`.
    algorithm : {"auto", "direct"}
        Of all three passes: see :func:`fastconv.functional.conv2d`.

    Attributes
    ----------
    weight : Parameter
        (in_channels, out_channels / groups, kernel_size).
    bias : Parameter or None
        (out_channels,).

    Raises
    ------
    ValueError, TypeError
        Naming the argument and its value, if no input could be taken so.

    Examples
    --------
    >>> import numpy as np
    >>> layer = ConvTranspose1d(16, 8, kernel_size=4, stride=2, padding=1, rng=0)
    >>> layer(np.ones((2, 16, 100), np.float32)).shape
    (2, 8, 200)
    """

    _ndim, _op = 1, "conv_transpose1d"


class ConvTranspose2d(_ConvTransposeNd):
    """2-D transposed convolution of (N, in_channels, H, W), with learned weight and bias.

    Parameters
    ----------
    in_channels, out_channels : int
        Both divisible by ``groups``.
    kernel_size, stride, dilation : int or (int, int)
        Positive.
    padding : int, (int, int), (int, int, int, int) or ((int, int), (int, int))
        So much is left out of the output at its border.
    output_padding : int or (int, int)
        So much is added to the output's size at the end; less than the stride or the dilation.
    groups : int
        Channels are split into so many transposed convolutions side by side.
    bias : bool
        Whether to add one number per output channel.
    padding_mode : {"zeros"}
        There is no other, as in torch.
    dtype : dtype
        float32 or float64, of the parameters and of the input.
    rng : numpy.random.Generator, int or None
        Where the initial weights come from: :func:`fastconv.init.default_weight`.
    algorithm : {"auto", "direct", "winograd"}
        Of all three passes: see :func:`fastconv.functional.conv2d`.

    Attributes
    ----------
    weight : Parameter
        (in_channels, out_channels / groups, kh, kw).
    bias : Parameter or None
        (out_channels,).

    Raises
    ------
    ValueError, TypeError
        Naming the argument and its value, if no input could be taken so, or not by ``algorithm``.

    Examples
    --------
    >>> import numpy as np
    >>> layer = ConvTranspose2d(16, 8, kernel_size=3, stride=2, padding=1, rng=0)
    >>> x = np.ones((2, 16, 10, 10), np.float32)
    >>> layer(x).shape
    (2, 8, 19, 19)
    >>> layer(x, output_size=(20, 20)).shape
    (2, 8, 20, 20)
    >>> layer.weight.shape
    (16, 8, 3, 3)
    """

    _ndim, _op = 2, "conv_transpose2d"


class ConvTranspose3d(_ConvTransposeNd):
    """3-D transposed convolution of (N, in_channels, D, H, W), with learned weight and bias.

    Parameters
    ----------
    in_channels, out_channels : int
        Both divisible by ``groups``.
    kernel_size, stride, dilation : int or (int, int, int)
        Positive.
    padding : int, (int, int, int), six ints or three pairs of ints
        So much is left out of the output at its border.
    output_padding : int or (int, int, int)
        So much is added to the output's size at the end; less than the stride or the dilation.
    groups : int
        Channels are split into so many transposed convolutions side by side.
    bias : bool
        Whether to add one number per output channel.
    padding_mode : {"zeros"}
        There is no other, as in torch.
    dtype : dtype
        float32 or float64, of the parameters and of the input.
    rng : numpy.random.Generator, int or None
        Where the initial weights come from: :func:`fastconv.init.default_weight`.
    algorithm : {"auto", "direct", "winograd"}
        Of all three passes: see :func:`fastconv.functional.conv2d`.

    Attributes
    ----------
    weight : Parameter
        (in_channels, out_channels / groups, kd, kh, kw).
    bias : Parameter or None
        (out_channels,).

    Raises
    ------
    ValueError, TypeError
        Naming the argument and its value, if no input could be taken so, or not by ``algorithm``.

    Examples
    --------
    >>> import numpy as np
    >>> layer = ConvTranspose3d(16, 8, kernel_size=2, stride=2, rng=0)
    >>> layer(np.ones((2, 16, 4, 5, 6), np.float32)).shape
    (2, 8, 8, 10, 12)
    """

    _ndim, _op = 3, "conv_transpose3d"
