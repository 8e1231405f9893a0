"""Convolutions, and their weights packed once for many calls."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import DTypeLike

from fastconv import functional as F
from fastconv import init
from fastconv._arguments import choice, generator, whole
from fastconv._geometry_options import sides
from fastconv.functional._check import as_array
from fastconv.functional.packing import PackedWeight
from fastconv.init import Rng
from fastconv.nn._check import Sizes, conv_options
from fastconv.nn.conv_transpose import _ConvTransposeNd
from fastconv.nn.module import Module, Parameter, is_grad_enabled

__all__ = ["Conv1d", "Conv2d", "Conv3d", "packed"]

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]


class _ConvNd(Module):
    """What convolutions over any number of axes share; a subclass says how many."""

    #: how many axes the kernel moves along, and the op's name
    _ndim: ClassVar[int]
    _op: ClassVar[str]

    #: the weight as :func:`packed` left it
    _packed: PackedWeight | None = None

    #: what :func:`fastconv.functional.pad` adds first, unless the op pads with zeros itself
    _edges: tuple[int, ...] | None = None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Any = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        *,
        dtype: DTypeLike = np.float32,
        rng: Rng = None,
        algorithm: str = "auto",
    ) -> None:
        self.in_channels = whole("in_channels", in_channels, 1)
        self.out_channels = whole("out_channels", out_channels, 1)
        options = conv_options(
            self._ndim, kernel_size, stride, padding, dilation, groups, algorithm
        )
        if self.in_channels % options.groups or self.out_channels % options.groups:
            raise ValueError(
                f"groups={groups} must divide in_channels={in_channels} and "
                f"out_channels={out_channels}"
            )
        choice("padding_mode", padding_mode, "zeros", "reflect", "replicate", "circular")
        self.kernel_size = options.kernel_size
        self.stride = options.stride
        self.padding = options.padding
        self.padding_mode = padding_mode
        self.dilation = options.dilation
        self.groups = options.groups
        around = sides(self.padding, self.kernel_size, self.stride, self.dilation)
        if padding_mode != "zeros" and any(map(any, around)):
            self._edges = tuple(edge for pair in reversed(around) for edge in pair)
        self.algorithm = algorithm
        rng = generator(rng)
        shape = (self.out_channels, self.in_channels // self.groups, *self.kernel_size)
        self.weight = Parameter(init.default_weight(shape, dtype=dtype, rng=rng))
        self.bias = Parameter(init.default_bias(shape, dtype=dtype, rng=rng)) if bias else None

    def forward(self, input: Any, activation: Literal["relu"] | None = None) -> Any:
        if self._edges is not None:
            input = F.pad(input, self._edges, self._edge_mode())
        return getattr(F, self._op)(
            input,
            self.weight if self._packed is None or is_grad_enabled() else self._packed,
            self.bias,
            self.stride,
            self.padding if self._edges is None else 0,
            self.dilation,
            self.groups,
            activation=activation,
            algorithm=self.algorithm,
        )

    def _pack(self) -> PackedWeight | None:
        if self.algorithm == "fft":  # whose transforms depend on the image
            return None
        weight = as_array("weight", self.weight.data, self._ndim + 2)
        return PackedWeight(weight, self.groups)

    def _edge_mode(self) -> Any:
        return self.padding_mode

    def extra_repr(self) -> str:
        ones = (1,) * self._ndim
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"]
        parts += [f"stride={self.stride}"] * (self.stride != ones)
        parts += [f"padding={self.padding!r}"] * (self.padding != 0)
        parts += [f"dilation={self.dilation}"] * (self.dilation != ones)
        parts += [f"groups={self.groups}"] * (self.groups != 1)
        parts += ["bias=False"] * (self.bias is None)
        parts += [f"padding_mode={self.padding_mode!r}"] * (self.padding_mode != "zeros")
        return ", ".join(parts)


class Conv1d(_ConvNd):
    """1-D convolution of (N, in_channels, L), with learned weight and bias.

    Parameters
    ----------
    in_channels, out_channels : int
        Both divisible by ``groups``.
    kernel_size, stride, dilation : int or (int,)
        Positive.
    padding : int, (int,), (int, int), "same" or "valid"
        Zeros around the signal; two numbers are those before and after it.
    groups : int
        Channels are split into so many convolutions side by side.
    bias : bool
        Whether to add one number per output channel.
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
        What stands in the padding: see :func:`fastconv.functional.pad`.
    dtype : dtype
        float32 or float64, of the parameters and of the input.
    rng : numpy.random.Generator, int or None
        Where the initial weights come from: :func:`fastconv.init.default_weight`.
    algorithm : {"auto", "direct", "fft"}
        Of all three passes.

    Attributes
    ----------
    weight : Parameter
        (out_channels, in_channels / groups, kernel_size).
    bias : Parameter or None
        (out_channels,).

    Raises
    ------
    ValueError, TypeError
        Naming the argument and its value, if no input could be convolved so.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Conv1d(16, 32, kernel_size=3, padding=1, rng=0)
    >>> layer(np.ones((2, 16, 100), np.float32)).shape
    (2, 32, 100)
    >>> layer.weight.shape
    (32, 16, 3)
    """

    _ndim, _op = 1, "conv1d"


class Conv2d(_ConvNd):
    """2-D convolution of (N, in_channels, H, W), with learned weight and bias.

    Parameters
    ----------
    in_channels, out_channels : int
        Both divisible by ``groups``.
    kernel_size, stride, dilation : int or (int, int)
        Rows and columns, positive.
    padding : int, (int, int), (int, int, int, int), ((int, int), (int, int)), "same" or "valid"
        Zeros around the image, as :func:`fastconv.functional.conv2d` has it.
    groups : int
        Channels are split into so many convolutions side by side.
    bias : bool
        Whether to add one number per output channel.
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
        What stands in the padding: see :func:`fastconv.functional.pad`.
    dtype : dtype
        float32 or float64, of the parameters and of the input.
    rng : numpy.random.Generator, int or None
        Where the initial weights come from: :func:`fastconv.init.default_weight`.
    algorithm : {"auto", "direct", "winograd", "fft"}
        Of all three passes: see :func:`fastconv.functional.conv2d`.

    Attributes
    ----------
    weight : Parameter
        (out_channels, in_channels / groups, kh, kw).
    bias : Parameter or None
        (out_channels,).

    Raises
    ------
    ValueError, TypeError
        Naming the argument and its value, if no input could be convolved so, or not by
        ``algorithm``.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Conv2d(3, 8, kernel_size=3, padding=1, rng=0)
    >>> y = layer(np.ones((2, 3, 16, 16), np.float32))
    >>> y.shape
    (2, 8, 16, 16)
    >>> y.mean().backward()
    >>> layer.weight.grad.shape
    (8, 3, 3, 3)
    """

    _ndim, _op = 2, "conv2d"


class Conv3d(_ConvNd):
    """3-D convolution of (N, in_channels, D, H, W), with learned weight and bias.

    Parameters
    ----------
    in_channels, out_channels : int
        Both divisible by ``groups``.
    kernel_size, stride, dilation : int or (int, int, int)
        Depth, rows and columns, positive.
    padding : int, (int, int, int), six ints, three pairs of ints, "same" or "valid"
        Zeros around the volume, as :func:`fastconv.functional.conv3d` has it.
    groups : int
        Channels are split into so many convolutions side by side.
    bias : bool
        Whether to add one number per output channel.
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
        What stands in the padding: see :func:`fastconv.functional.pad`.
    dtype : dtype
        float32 or float64, of the parameters and of the input.
    rng : numpy.random.Generator, int or None
        Where the initial weights come from: :func:`fastconv.init.default_weight`.
    algorithm : {"auto", "direct", "winograd", "fft"}
        Of all three passes: see :func:`fastconv.functional.conv2d`.

    Attributes
    ----------
    weight : Parameter
        (out_channels, in_channels / groups, kd, kh, kw).
    bias : Parameter or None
        (out_channels,).

    Raises
    ------
    ValueError, TypeError
        Naming the argument and its value, if no input could be convolved so, or not by
        ``algorithm``.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Conv3d(3, 8, kernel_size=3, padding=1, rng=0)
    >>> layer(np.ones((2, 3, 4, 16, 16), np.float32)).shape
    (2, 8, 4, 16, 16)
    >>> layer.weight.shape
    (8, 3, 3, 3, 3)
    """

    _ndim, _op = 3, "conv3d"


@contextmanager
def packed(model: Module) -> Iterator[None]:
    """Within this context, and no_grad(), convolutions use their weights as they are on entry.

    Transposed ones too. They are copied, in the order that the kernels read them in, once instead
    of in every call: :func:`fastconv.functional.pack_conv2d_weight`,
    :func:`fastconv.functional.pack_conv_transpose2d_weight`. Results are the same up to rounding,
    and after ``fastconv.set_accuracy("strict")`` to the bit. Forward passes do not see what changes
    the parameters meanwhile (an optimiser's step, :meth:`Module.load_state_dict`); those that are
    recorded, outside :func:`no_grad`, take the parameters themselves. Layers with
    ``algorithm="fft"`` stay as they are.

    Parameters
    ----------
    model : Module
        Its layers may be called from several threads, as in :func:`no_grad`.

    Raises
    ------
    TypeError
        If ``model`` is not a Module.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3, rng=0), nn.ReLU())
    >>> x = np.ones((2, 3, 16, 16), np.float32)
    >>> with nn.no_grad(), nn.packed(model):
    ...     y = model(x)
    >>> np.array_equal(y, model(x))
    True
    """
    if not isinstance(model, Module):
        raise TypeError(f"model must be a Module, got {model!r}")
    layers: list[Any] = [
        layer for layer in model.modules() if isinstance(layer, _ConvNd | _ConvTransposeNd)
    ]
    before = [layer._packed for layer in layers]
    weights = [layer._pack() for layer in layers]
    try:
        for layer, weight in zip(layers, weights, strict=True):
            layer._packed = weight
        yield
    finally:
        for layer, weight_before in zip(layers, before, strict=True):
            layer._packed = weight_before
