"""Layers, named and parameterised as in ``torch.nn``.

Each stores its hyperparameters, remembers what backward needs, and leaves the work, and the
checking of arrays, to :mod:`fastconv.functional`. Images are (N, C, H, W) or (C, H, W).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike

from fastconv import functional as F
from fastconv import init
from fastconv.functional._check import is_channels_last
from fastconv.functional.conv import PackedWeight
from fastconv.init import Rng
from fastconv.nn.module import Array, Module, Parameter, is_grad_enabled

Pair = int | tuple[int, int]


class Conv2d(Module):
    """2-D convolution of (N, in_channels, H, W), with learned weight and bias.

    Parameters
    ----------
    in_channels, out_channels : int
        Both divisible by ``groups``.
    kernel_size, stride, dilation : int or (int, int)
        Rows and columns, ≥ 1.
    padding : int, (int, int), ((int, int), (int, int)), "same" or "valid"
        Zeros around the image, as :func:`fastconv.functional.conv2d` has it.
    groups : int
        Channels are split into so many convolutions side by side.
    bias : bool
        Whether to add one number per output channel.
    padding_mode : {"zeros"}
        torch's other modes are not offered.
    dtype : dtype
        float32 or float64, of the parameters and of the input.
    rng : numpy.random.Generator, int or None
        Where the initial weights come from: :func:`fastconv.init.default_weight`.
    algorithm : {"auto", "direct", "winograd"}
        Of all three passes: see :func:`fastconv.functional.conv2d`.

    Attributes
    ----------
    weight : Parameter
        (out_channels, in_channels / groups, kh, kw).
    bias : Parameter or None
        (out_channels,).

    Raises
    ------
    ValueError
        If a size is not positive, ``groups`` does not divide the channels, or ``padding_mode``
        is not ``"zeros"``.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Conv2d(3, 8, kernel_size=3, padding=1, rng=0)
    >>> layer(np.ones((2, 3, 16, 16), np.float32)).shape
    (2, 8, 16, 16)
    >>> layer.backward(np.ones((2, 8, 16, 16), np.float32)).shape
    (2, 3, 16, 16)
    >>> layer.weight.grad.shape
    (8, 3, 3, 3)
    """

    #: the weight as :func:`packed` left it
    _packed: PackedWeight | None = None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Any = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: Literal["zeros"] = "zeros",
        *,
        dtype: DTypeLike = np.float32,
        rng: Rng = None,
        algorithm: str = "auto",
    ) -> None:
        _check_positive(in_channels=in_channels, out_channels=out_channels, groups=groups)
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"groups={groups} must divide in_channels={in_channels} and "
                f"out_channels={out_channels}"
            )
        if padding_mode != "zeros":
            raise ValueError(f"padding_mode must be 'zeros', got {padding_mode!r}")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = _pair("kernel_size", kernel_size)
        self.stride = _pair("stride", stride)
        self.padding = padding
        self.dilation = _pair("dilation", dilation)
        self.groups = groups
        self.algorithm = algorithm
        rng = np.random.default_rng(rng)
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        self.weight = Parameter(init.default_weight(shape, dtype=dtype, rng=rng))
        self.bias = Parameter(init.default_bias(shape, dtype=dtype, rng=rng)) if bias else None

    def forward(self, input: Array) -> Array:
        return self._convolve(input, None)

    def forward_relu(self, input: Array) -> Array:
        """``relu(self(input))`` in one pass over the output."""
        return self._convolve(input, "relu")

    def _convolve(self, input: Array, activation: Literal["relu"] | None) -> Array:
        output = F.conv2d(
            input,
            self.weight.data if self._packed is None else self._packed,
            None if self.bias is None else self.bias.data,
            *self._geometry(),
            activation=activation,
            algorithm=self.algorithm,
        )
        self._remember(input)
        return output

    def backward(self, grad_output: Array) -> Array:
        self.backward_parameters(grad_output)
        (input,) = self._recall()
        return F.conv2d_backward_input(
            grad_output,
            self.weight.data,
            input.shape,
            *self._geometry(),
            algorithm=self.algorithm,
        )

    def backward_parameters(self, grad_output: Array) -> None:
        (input,) = self._recall()
        self.weight.accumulate(
            F.conv2d_backward_weight(
                grad_output,
                input,
                self.weight.data.shape,
                *self._geometry(),
                algorithm=self.algorithm,
            )
        )
        if self.bias is not None:
            self.bias.accumulate(F.conv2d_backward_bias(grad_output))

    def _geometry(self) -> tuple[tuple[int, int], Any, tuple[int, int], int]:
        return self.stride, self.padding, self.dilation, self.groups

    def extra_repr(self) -> str:
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"]
        parts += [f"stride={self.stride}"] * (self.stride != (1, 1))
        parts += [f"padding={self.padding!r}"] * (self.padding != 0)
        parts += [f"dilation={self.dilation}"] * (self.dilation != (1, 1))
        parts += [f"groups={self.groups}"] * (self.groups != 1)
        parts += ["bias=False"] * (self.bias is None)
        return ", ".join(parts)


@contextmanager
def packed(model: Module) -> Iterator[None]:
    """Within this context the convolutions of ``model`` use their weights as they are on entry.

    They are copied, in the order that the kernels read them in, once instead of in every call:
    :func:`fastconv.functional.pack_conv2d_weight`. Results are the same up to rounding, and after
    ``fastconv.set_accuracy("strict")`` to the bit. Forward passes do not see what changes the
    parameters meanwhile (an optimiser's step, :meth:`Module.load_state_dict`), so leave the context
    to train.

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
    layers = [layer for layer in model.modules() if isinstance(layer, Conv2d)]
    before = [layer._packed for layer in layers]
    weights = [F.pack_conv2d_weight(layer.weight.data, layer.groups) for layer in layers]
    try:
        for layer, weight in zip(layers, weights, strict=True):
            layer._packed = weight
        yield
    finally:
        for layer, weight_before in zip(layers, before, strict=True):
            layer._packed = weight_before


class Linear(Module):
    """y = x Wᵀ + b over the last axis, with learned weight and bias.

    Parameters
    ----------
    in_features, out_features : int
        Sizes of the last axis of the input and of the output.
    bias : bool
        Whether to add b.
    dtype : dtype
        float32 or float64, of the parameters and of the input.
    rng : numpy.random.Generator, int or None
        Where the initial weights come from: :func:`fastconv.init.default_weight`.

    Attributes
    ----------
    weight : Parameter
        (out_features, in_features).
    bias : Parameter or None
        (out_features,).

    Raises
    ------
    ValueError
        If a size is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> Linear(120, 84, rng=0)(np.ones((2, 120), np.float32)).shape
    (2, 84)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: DTypeLike = np.float32,
        rng: Rng = None,
    ) -> None:
        _check_positive(in_features=in_features, out_features=out_features)
        self.in_features = in_features
        self.out_features = out_features
        rng = np.random.default_rng(rng)
        shape = (out_features, in_features)
        self.weight = Parameter(init.default_weight(shape, dtype=dtype, rng=rng))
        self.bias = Parameter(init.default_bias(shape, dtype=dtype, rng=rng)) if bias else None

    def forward(self, input: Array) -> Array:
        output = F.linear(input, self.weight.data, None if self.bias is None else self.bias.data)
        self._remember(input)
        return output

    def backward(self, grad_output: Array) -> Array:
        (input,) = self._recall()
        grad_input, grad_weight, grad_bias = F.linear_backward(grad_output, input, self.weight.data)
        self.weight.accumulate(grad_weight)
        if self.bias is not None:
            self.bias.accumulate(grad_bias)
        return grad_input

    def extra_repr(self) -> str:
        bias = "" if self.bias is not None else ", bias=False"
        return f"{self.in_features}, {self.out_features}{bias}"


class BatchNorm2d(Module):
    """Normalise each channel over the batch and its pixels, then scale and shift it.

    Training uses the batch's mean and variance and keeps running ones, which evaluation uses
    (Ioffe and Szegedy, "Batch normalization", ICML 2015).

    Parameters
    ----------
    num_features : int
        Channels.
    eps : float
        Added to the variance.
    momentum : float or None
        Weight of the batch in the running statistics; None for the mean over all batches.
    affine : bool
        Whether to learn a scale and a shift per channel.
    track_running_stats : bool
        If False there are no running statistics, and evaluation uses the batch's as well.
    dtype : dtype
        float32 or float64, of the parameters and of the input.

    Attributes
    ----------
    weight, bias : Parameter or None
        Scale and shift, (num_features,): ones and zeros at first.
    running_mean, running_var : ndarray or None
        (num_features,): zeros and ones at first.
    num_batches_tracked : ndarray of int64 or None
        Batches seen in training, shape ().

    Raises
    ------
    ValueError
        If ``num_features`` is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> layer = BatchNorm2d(3)
    >>> x = np.random.default_rng(0).normal(5, 2, (8, 3, 4, 4)).astype(np.float32)
    >>> bool(abs(layer(x).mean()) < 1e-6)
    True
    """

    _buffers = ("running_mean", "running_var", "num_batches_tracked")

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        dtype: DTypeLike = np.float32,
    ) -> None:
        _check_positive(num_features=num_features)
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.weight = Parameter(np.ones(num_features, dtype)) if affine else None
        self.bias = Parameter(np.zeros(num_features, dtype)) if affine else None
        track = track_running_stats
        self.running_mean: Array | None = np.zeros(num_features, dtype) if track else None
        self.running_var: Array | None = np.ones(num_features, dtype) if track else None
        self.num_batches_tracked: Array | None = np.zeros((), np.int64) if track else None

    def forward(self, input: Array) -> Array:
        return self._normalise(input, None)

    def forward_relu(self, input: Array) -> Array:
        """``relu(self(input))`` in one pass over the output."""
        return self._normalise(input, "relu")

    def _normalise(self, input: Array, activation: Literal["relu"] | None) -> Array:
        momentum = self.momentum
        if momentum is None:
            seen = 0 if self.num_batches_tracked is None else int(self.num_batches_tracked)
            momentum = 1.0 / (seen + 1)
        training = self.training or self.running_mean is None
        output, mean, invstd = F.batch_norm(
            input,
            self.running_mean,
            self.running_var,
            None if self.weight is None else self.weight.data,
            None if self.bias is None else self.bias.data,
            training,
            momentum,
            self.eps,
            activation=activation,
            return_statistics=True,
        )
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
        self._remember(input, mean, invstd, training)
        return output

    def backward(self, grad_output: Array) -> Array:
        input, mean, invstd, training = self._recall()
        grad_input, grad_weight, grad_bias = F.batch_norm_backward(
            grad_output,
            input,
            None if self.weight is None else self.weight.data,
            mean,
            invstd,
            training,
        )
        if self.weight is not None and self.bias is not None:
            self.weight.accumulate(grad_weight)
            self.bias.accumulate(grad_bias)
        return grad_input

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.weight is not None}, "
            f"track_running_stats={self.running_mean is not None}"
        )


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


class Dropout(Module):
    """In training, zero each element with probability ``p`` and scale the rest by 1 / (1 − p).

    Parameters
    ----------
    p : float
        Probability of zeroing an element, in [0, 1].
    rng : numpy.random.Generator, int or None
        Where the masks come from; kept as the attribute ``rng``, whose state a checkpoint may
        save.

    Raises
    ------
    ValueError
        If ``p`` is not in [0, 1].

    References
    ----------
    Srivastava et al., "Dropout", Journal of Machine Learning Research 15, 2014.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Dropout(0.5, rng=0)
    >>> layer(np.ones(6))
    array([2., 0., 0., 0., 2., 2.])
    >>> layer.eval()(np.ones(6))
    array([1., 1., 1., 1., 1., 1.])
    """

    def __init__(self, p: float = 0.5, *, rng: Rng = None) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"p must be in [0, 1], got {p}")
        self.p = p
        self.rng = np.random.default_rng(rng)

    def forward(self, input: Array) -> Array:
        if not self.training or self.p == 0:
            self._remember(None)
            return input
        output, mask = F.dropout(input, self.p, rng=self.rng, return_mask=True)
        self._remember(mask)
        return output

    def backward(self, grad_output: Array) -> Array:
        (mask,) = self._recall()
        return grad_output if mask is None else F.dropout_backward(grad_output, mask, self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class ReLU(Module):
    """max(x, 0).

    Examples
    --------
    >>> import numpy as np
    >>> ReLU()(np.array([-1.0, 2.0]))
    array([0., 2.])
    """

    def forward(self, input: Array) -> Array:
        return self.follow(F.relu, input)

    def follow(self, forward_relu: Callable[[Array], Array], input: Array) -> Array:
        """What ``forward_relu`` makes of ``input``, remembered as this layer's output."""
        output = forward_relu(input)
        # Positive exactly where the input is. The next layer remembers it as well, so the input,
        # such as a convolution's output, is freed.
        self._remember(output)
        return output

    def backward(self, grad_output: Array) -> Array:
        (output,) = self._recall()
        return F.relu_backward(grad_output, output)


class LeakyReLU(Module):
    """x where positive, ``negative_slope`` times x elsewhere.

    Parameters
    ----------
    negative_slope : float
        Slope left of zero.

    Examples
    --------
    >>> import numpy as np
    >>> LeakyReLU(0.5)(np.array([-1.0, 2.0]))
    array([-0.5,  2. ])
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def forward(self, input: Array) -> Array:
        output = F.leaky_relu(input, self.negative_slope)
        self._remember(input)
        return output

    def backward(self, grad_output: Array) -> Array:
        (input,) = self._recall()
        return F.leaky_relu_backward(grad_output, input, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class Sigmoid(Module):
    """1 / (1 + exp(−x)).

    Examples
    --------
    >>> import numpy as np
    >>> Sigmoid()(np.array([0.0, 100.0]))
    array([0.5, 1. ])
    """

    def forward(self, input: Array) -> Array:
        output = F.sigmoid(input)
        self._remember(output)
        return output

    def backward(self, grad_output: Array) -> Array:
        (output,) = self._recall()
        return F.sigmoid_backward(grad_output, output)


class Tanh(Module):
    """Hyperbolic tangent.

    Examples
    --------
    >>> import numpy as np
    >>> Tanh()(np.array([0.0, 100.0]))
    array([0., 1.])
    """

    def forward(self, input: Array) -> Array:
        output = F.tanh(input)
        self._remember(output)
        return output

    def backward(self, grad_output: Array) -> Array:
        (output,) = self._recall()
        return F.tanh_backward(grad_output, output)


class GELU(Module):
    """x Φ(x), with Φ the normal distribution's cumulative function.

    Parameters
    ----------
    approximate : {"none", "tanh"}
        Exact, or by tanh.

    References
    ----------
    Hendrycks and Gimpel, "Gaussian error linear units", 2016.

    Examples
    --------
    >>> import numpy as np
    >>> GELU()(np.array([0.0, 1.0])).round(4)
    array([0.    , 0.8413])
    """

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = approximate

    def forward(self, input: Array) -> Array:
        output = F.gelu(input, self.approximate)
        self._remember(input)
        return output

    def backward(self, grad_output: Array) -> Array:
        (input,) = self._recall()
        return F.gelu_backward(grad_output, input, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class SiLU(Module):
    """x / (1 + exp(−x)), also called swish.

    Examples
    --------
    >>> import numpy as np
    >>> SiLU()(np.array([0.0, 1.0])).round(4)
    array([0.    , 0.7311])
    """

    def forward(self, input: Array) -> Array:
        output = F.silu(input)
        self._remember(input)
        return output

    def backward(self, grad_output: Array) -> Array:
        (input,) = self._recall()
        return F.silu_backward(grad_output, input)


class Softmax(Module):
    """exp(x) divided by its sum along ``dim``.

    A classifier trained with :class:`CrossEntropyLoss` has no use for it: that loss takes logits.

    Parameters
    ----------
    dim : int
        Axis that sums to one.

    Examples
    --------
    >>> import numpy as np
    >>> Softmax()(np.array([[1.0, 1.0]]))
    array([[0.5, 0.5]])
    """

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def forward(self, input: Array) -> Array:
        output = F.softmax(input, self.dim)
        self._remember(output)
        return output

    def backward(self, grad_output: Array) -> Array:
        (output,) = self._recall()
        return F.softmax_backward(grad_output, output, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Module):
    """Logarithm of :class:`Softmax`, computed without overflow.

    Parameters
    ----------
    dim : int
        Axis whose exponentials sum to one.

    Examples
    --------
    >>> import numpy as np
    >>> np.exp(LogSoftmax()(np.array([[1.0, 1.0]]))).round(6)
    array([[0.5, 0.5]])
    """

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def forward(self, input: Array) -> Array:
        output = F.log_softmax(input, self.dim)
        self._remember(output)
        return output

    def backward(self, grad_output: Array) -> Array:
        (output,) = self._recall()
        return F.log_softmax_backward(grad_output, output, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Flatten(Module):
    """Merge the axes from ``start_dim`` to ``end_dim`` into one.

    Parameters
    ----------
    start_dim, end_dim : int
        First and last axis to merge; the batch axis stays apart by default.

    Examples
    --------
    >>> import numpy as np
    >>> Flatten()(np.ones((2, 16, 5, 5))).shape
    (2, 400)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Array) -> Array:
        output = F.flatten(input, self.start_dim, self.end_dim)
        self._remember(input.shape, input.ndim == 4 and is_channels_last(input))
        return output

    def backward(self, grad_output: Array) -> Array:
        input_shape, channels_last = self._recall()
        return F.flatten_backward(grad_output, input_shape, channels_last=channels_last)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Identity(Module):
    """The input itself: a layer that does nothing.

    Examples
    --------
    >>> import numpy as np
    >>> Identity()(np.array([1.0, 2.0]))
    array([1., 2.])
    """

    def forward(self, input: Array) -> Array:
        return input

    def backward(self, grad_output: Array) -> Array:
        return grad_output


def _check_positive(**sizes: object) -> None:
    for name, size in sizes.items():
        if not isinstance(size, int | np.integer):
            raise TypeError(f"{name} must be an integer, got {size!r}")
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")


def _pair(name: str, value: Pair) -> tuple[int, int]:
    """Rows and columns of what may be one number for both."""
    pair = value if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2:
        raise ValueError(f"{name} must be one integer or two, got {value}")
    rows, cols = pair
    _check_positive(**{name: rows})
    _check_positive(**{name: cols})
    return rows, cols
