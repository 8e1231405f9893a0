"""Networks for small images: LeNet-5, VGG-11, ResNet-18 and one like MobileNetV2.

Each function builds a :class:`~fastconv.nn.Sequential` that maps (N, in_channels, H, W) to
logits (N, num_classes). One seed gives the same weights every time.
"""

import numpy as np
from numpy.typing import DTypeLike

from fastconv import init
from fastconv._arguments import generator, real, whole
from fastconv.init import Rng
from fastconv.nn.activation import ReLU
from fastconv.nn.adaptive_pool import GlobalAvgPool2d
from fastconv.nn.containers import Residual, Sequential
from fastconv.nn.conv import Conv2d
from fastconv.nn.dropout import Dropout
from fastconv.nn.linear import Linear
from fastconv.nn.module import Module
from fastconv.nn.norm import BatchNorm2d
from fastconv.nn.pool import MaxPool2d
from fastconv.nn.shape import Flatten

__all__ = ["lenet5", "mobilenet", "resnet18", "vgg11"]


def lenet5(
    num_classes: int = 10,
    in_channels: int = 1,
    image_size: int = 28,
    *,
    width: int = 1,
    batch_norm: bool = False,
    dropout: float = 0.0,
    dtype: DTypeLike = np.float32,
    rng: Rng = None,
) -> Sequential:
    """LeNet-5 with ReLU and max pooling: two convolutions and three linear layers.

    Parameters
    ----------
    num_classes, in_channels : int
        Sizes of the output and of the input.
    image_size : {28, 32, 8}
        Rows and columns of the input. 32 is the original; 28 pads the first convolution by 2, so
        that both reach 16 channels of 5x5; 8 is a variant for tiny digits with padded 3x3
        kernels instead of 5x5, which reaches 16 channels of 2x2.
    width : int
        Factor for the number of channels, 6 and 16.
    batch_norm : bool
        Whether batch norm follows each convolution.
    dropout : float
        Probability of dropout after the first linear layer; 0 leaves the layer out.
    dtype : dtype
        float32 or float64.
    rng : numpy.random.Generator, int or None
        Of the weights, which start as torch's do, and of the dropout masks.

    Returns
    -------
    Sequential
        61,706 parameters by default.

    Raises
    ------
    ValueError
        If ``image_size`` is not one of those above, or a size is not positive.

    References
    ----------
    LeCun et al., "Gradient-based learning applied to document recognition", Proceedings of the
    IEEE 86, 1998.

    Examples
    --------
    >>> model = lenet5(rng=0)
    >>> sum(p.size for p in model.parameters())
    61706
    """
    # kernel size, padding of the first and the second convolution, size after the last pooling
    geometries = {28: (5, 2, 0, 5), 32: (5, 0, 0, 5), 8: (3, 1, 1, 2)}
    if whole("image_size", image_size, 1) not in geometries:
        raise ValueError(f"image_size must be one of {list(geometries)}, got {image_size}")
    kernel_size, *paddings, last = geometries[image_size]
    _check_sizes(num_classes=num_classes, in_channels=in_channels, width=width)
    dropout = real("dropout", dropout, 0, 1)
    rng = generator(rng)
    layers: list[Module] = []
    channels = in_channels
    for out_channels, padding in zip((6 * width, 16 * width), paddings, strict=True):
        layers.append(
            Conv2d(channels, out_channels, kernel_size, padding=padding, dtype=dtype, rng=rng)
        )
        if batch_norm:
            layers.append(BatchNorm2d(out_channels, dtype=dtype))
        layers += [ReLU(), MaxPool2d(2)]
        channels = out_channels
    layers += [Flatten(), Linear(channels * last * last, 120, dtype=dtype, rng=rng), ReLU()]
    if dropout:
        layers.append(Dropout(dropout, rng=rng))
    layers += [Linear(120, 84, dtype=dtype, rng=rng), ReLU()]
    layers.append(Linear(84, num_classes, dtype=dtype, rng=rng))
    return Sequential(*layers)


def vgg11(
    num_classes: int = 10,
    in_channels: int = 3,
    *,
    batch_norm: bool = True,
    dtype: DTypeLike = np.float32,
    rng: Rng = None,
) -> Sequential:
    """VGG-11 for 32x32 images: eight 3x3 convolutions, five poolings and one linear layer.

    Parameters
    ----------
    num_classes, in_channels : int
        Sizes of the output and of the input.
    batch_norm : bool
        Whether batch norm follows each convolution.
    dtype : dtype
        float32 or float64.
    rng : numpy.random.Generator, int or None
        Of the weights: :func:`fastconv.init.kaiming_normal`, biases zero.

    Returns
    -------
    Sequential
        9,231,114 parameters by default, 9,225,610 without batch norm.

    References
    ----------
    Simonyan and Zisserman, "Very deep convolutional networks for large-scale image
    recognition", ICLR 2015, configuration A. Its three linear layers are for 224x224 images;
    here, as is usual for 32x32, there is one.

    Examples
    --------
    >>> model = vgg11(rng=0)
    >>> sum(p.size for p in model.parameters())
    9231114
    """
    _check_sizes(num_classes=num_classes, in_channels=in_channels)
    rng = generator(rng)
    layers: list[Module] = []
    channels = in_channels
    for stage in ((64,), (128,), (256, 256), (512, 512), (512, 512)):
        for out_channels in stage:
            layers.append(_conv(channels, out_channels, 3, bias=True, dtype=dtype, rng=rng))
            if batch_norm:
                layers.append(BatchNorm2d(out_channels, dtype=dtype))
            layers.append(ReLU())
            channels = out_channels
        layers.append(MaxPool2d(2))
    return Sequential(*layers, Flatten(), Linear(channels, num_classes, dtype=dtype, rng=rng))


def resnet18(
    num_classes: int = 10,
    in_channels: int = 3,
    *,
    dtype: DTypeLike = np.float32,
    rng: Rng = None,
) -> Sequential:
    """ResNet-18 for 32x32 images: a 3x3 stem without pooling, then eight basic blocks.

    Parameters
    ----------
    num_classes, in_channels : int
        Sizes of the output and of the input.
    dtype : dtype
        float32 or float64.
    rng : numpy.random.Generator, int or None
        Of the weights: :func:`fastconv.init.kaiming_normal`.

    Returns
    -------
    Sequential
        11,173,962 parameters by default.

    References
    ----------
    He et al., "Deep residual learning for image recognition", CVPR 2016.

    Examples
    --------
    >>> model = resnet18(rng=0)
    >>> sum(p.size for p in model.parameters())
    11173962
    """
    _check_sizes(num_classes=num_classes, in_channels=in_channels)
    rng = generator(rng)
    layers = [*_conv_bn(in_channels, 64, 3, dtype=dtype, rng=rng), ReLU()]
    channels = 64
    for out_channels, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += _basic_block(channels, out_channels, stride, dtype, rng)
        layers += _basic_block(out_channels, out_channels, 1, dtype, rng)
        channels = out_channels
    return Sequential(*layers, *_head(channels, num_classes, dtype, rng))


def mobilenet(
    num_classes: int = 10,
    in_channels: int = 3,
    *,
    dtype: DTypeLike = np.float32,
    rng: Rng = None,
) -> Sequential:
    """MobileNetV2 for 32x32 images: depthwise convolutions in seventeen inverted residuals.

    The stem and the first of the strided stages keep stride 1, so that the last maps are 4x4,
    and ReLU stands where the original has ReLU6.

    Parameters
    ----------
    num_classes, in_channels : int
        Sizes of the output and of the input.
    dtype : dtype
        float32 or float64.
    rng : numpy.random.Generator, int or None
        Of the weights: :func:`fastconv.init.kaiming_normal`.

    Returns
    -------
    Sequential
        2,236,682 parameters by default.

    References
    ----------
    Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", CVPR 2018, table 2.

    Examples
    --------
    >>> model = mobilenet(rng=0)
    >>> sum(p.size for p in model.parameters())
    2236682
    """
    _check_sizes(num_classes=num_classes, in_channels=in_channels)
    rng = generator(rng)
    layers = [*_conv_bn(in_channels, 32, 3, dtype=dtype, rng=rng), ReLU()]
    channels = 32
    for expansion, out_channels, repeats, first_stride in (
        (1, 16, 1, 1),
        (6, 24, 2, 1),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for stride in (first_stride, *[1] * (repeats - 1)):
            layers.append(_inverted_residual(channels, out_channels, stride, expansion, dtype, rng))
            channels = out_channels
    layers += [*_conv_bn(channels, 1280, 1, dtype=dtype, rng=rng), ReLU()]
    return Sequential(*layers, *_head(1280, num_classes, dtype, rng))


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        whole(name, size, 1)


def _basic_block(
    in_channels: int,
    out_channels: int,
    stride: int,
    dtype: DTypeLike,
    rng: np.random.Generator,
) -> list[Module]:
    """Two 3x3 convolutions beside a shortcut, then ReLU."""
    body = Sequential(
        *_conv_bn(in_channels, out_channels, 3, stride, dtype=dtype, rng=rng),
        ReLU(),
        *_conv_bn(out_channels, out_channels, 3, dtype=dtype, rng=rng),
    )
    if stride == 1 and in_channels == out_channels:
        return [Residual(body), ReLU()]
    shortcut = _conv_bn(in_channels, out_channels, 1, stride, dtype=dtype, rng=rng)
    return [Residual(body, Sequential(*shortcut)), ReLU()]


def _inverted_residual(
    in_channels: int,
    out_channels: int,
    stride: int,
    expansion: int,
    dtype: DTypeLike,
    rng: np.random.Generator,
) -> Module:
    """Expand by 1x1, filter each channel by 3x3, project by 1x1; a shortcut where shapes allow."""
    hidden = in_channels * expansion
    layers: list[Module] = []
    if expansion != 1:
        layers += [*_conv_bn(in_channels, hidden, 1, dtype=dtype, rng=rng), ReLU()]
    layers += _conv_bn(hidden, hidden, 3, stride, groups=hidden, dtype=dtype, rng=rng)
    layers += [ReLU(), *_conv_bn(hidden, out_channels, 1, dtype=dtype, rng=rng)]
    body = Sequential(*layers)
    return Residual(body) if stride == 1 and in_channels == out_channels else body


def _head(
    channels: int, num_classes: int, dtype: DTypeLike, rng: np.random.Generator
) -> list[Module]:
    return [GlobalAvgPool2d(), Flatten(), Linear(channels, num_classes, dtype=dtype, rng=rng)]


def _conv_bn(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    groups: int = 1,
    *,
    dtype: DTypeLike,
    rng: np.random.Generator,
) -> list[Module]:
    """A convolution, whose bias batch norm would take away, and batch norm."""
    return [
        _conv(in_channels, out_channels, kernel_size, stride, groups, dtype=dtype, rng=rng),
        BatchNorm2d(out_channels, dtype=dtype),
    ]


def _conv(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    groups: int = 1,
    *,
    bias: bool = False,
    dtype: DTypeLike,
    rng: np.random.Generator,
) -> Conv2d:
    """A convolution that keeps the size, but for the stride, with weights for ReLU networks."""
    layer = Conv2d(
        in_channels,
        out_channels,
        kernel_size,
        stride,
        padding=kernel_size // 2,
        groups=groups,
        bias=bias,
        dtype=dtype,
        rng=rng,
    )
    shape = layer.weight.shape
    layer.weight.data[...] = init.kaiming_normal(shape, nonlinearity="relu", dtype=dtype, rng=rng)
    if layer.bias is not None:
        layer.bias.data[...] = 0
    return layer
