"""What is measured: the layers of well-known networks, and every other op at sizes they have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Shape = tuple[int, ...]

FORMATS = ("contiguous", "channels_last")  # of images in memory
# A convolution's gradients are separate calls. Elsewhere "backward" gives all gradients at once.
PASSES = ("forward", "input", "weight", "bias", "backward")
TRAINING = ("times", "parts", "losses")  # of whole training steps


@dataclass(frozen=True)
class Row:
    """One op on one input size."""

    group: str  # a network, or a family of ops
    label: str
    kind: str  # of convolution, or the group again
    op: str  # its name in fastconv.functional
    shape: Shape  # of the input, less the batch
    options: Mapping[str, Any] = field(default_factory=dict)  # the op's other plain arguments
    weight: Shape | None = None
    formats: tuple[str, ...] = FORMATS[:1]
    batch: int | None = None  # None: as many as are asked for

    @property
    def convolves(self) -> bool:
        """Whether it is a convolution with weights, of any kind."""
        return self.op.startswith("conv") and self.weight is not None

    @property
    def name(self) -> str:
        return f"{self.group} {self.label}"


def conv(
    group: str,
    channels: int,
    filters: int,
    kernel: int,
    size: int,
    stride: int = 1,
    groups: int = 1,
    dilation: int = 1,
    padding: int | None = None,  # None keeps the size, less what the stride skips
) -> Row:
    """A convolution of a square image, labelled as "3x3 s2 64→128 @56"."""
    depthwise, grouped = groups == channels > 1, 1 < groups < channels
    kernels = f"{'depthwise ' if depthwise else ''}{kernel}x{kernel}"
    label = [
        kernels,
        f"s{stride}" * (stride > 1),
        f"d{dilation}" * (dilation > 1),
        f"{channels}" if depthwise else f"{channels}→{filters}",
        f"g{groups}" * grouped,
        f"@{size}",
    ]
    kind = [
        kernels,
        "strided" * (stride > 1),
        "dilated" * (dilation > 1),
        "grouped" * grouped,
        "of 3 channels" * (channels == 3),
    ]
    return Row(
        group,
        " ".join(filter(None, label)),
        " ".join(filter(None, kind)),
        "conv2d",
        (channels, size, size),
        {
            "stride": stride,
            "padding": dilation * (kernel - 1) // 2 if padding is None else padding,
            "dilation": dilation,
            "groups": groups,
        },
        (filters, channels // groups, kernel, kernel),
        FORMATS,
    )


def depthwise(
    group: str, channels: int, kernel: int, size: int, stride: int = 1, dilation: int = 1
) -> Row:
    return conv(group, channels, channels, kernel, size, stride, channels, dilation)


def image_op(group: str, label: str, op: str, channels: int, size: int, **options: Any) -> Row:
    """An op on a square image that minds the memory format."""
    label = f"{label} {channels}@{size}"
    return Row(group, label, group, op, (channels, size, size), options, formats=FORMATS)


def linear(label: str, inputs: int, outputs: int) -> Row:
    label = f"{label} {inputs}→{outputs}"
    return plain("linear", label, "linear", (inputs,), weight=(outputs, inputs))


def plain(group: str, label: str, op: str, shape: Shape, **rest: Any) -> Row:
    """An op in C-contiguous memory."""
    return Row(group, label, group, op, shape, **rest)


# Every distinct convolution of each network, for images of 224x224 (LeNet-5: 28x28).

RESNET_50 = [  # the strided 3x3 of torchvision's version
    conv("ResNet-50", 3, 64, 7, 224, stride=2),
    conv("ResNet-50", 64, 64, 1, 56),
    conv("ResNet-50", 64, 64, 3, 56),
    conv("ResNet-50", 64, 256, 1, 56),
    conv("ResNet-50", 256, 64, 1, 56),
    conv("ResNet-50", 256, 128, 1, 56),
    conv("ResNet-50", 128, 128, 3, 56, stride=2),
    conv("ResNet-50", 256, 512, 1, 56, stride=2),
    conv("ResNet-50", 128, 512, 1, 28),
    conv("ResNet-50", 512, 128, 1, 28),
    conv("ResNet-50", 128, 128, 3, 28),
    conv("ResNet-50", 512, 256, 1, 28),
    conv("ResNet-50", 256, 256, 3, 28, stride=2),
    conv("ResNet-50", 512, 1024, 1, 28, stride=2),
    conv("ResNet-50", 256, 1024, 1, 14),
    conv("ResNet-50", 1024, 256, 1, 14),
    conv("ResNet-50", 256, 256, 3, 14),
    conv("ResNet-50", 1024, 512, 1, 14),
    conv("ResNet-50", 512, 512, 3, 14, stride=2),
    conv("ResNet-50", 1024, 2048, 1, 14, stride=2),
    conv("ResNet-50", 512, 2048, 1, 7),
    conv("ResNet-50", 2048, 512, 1, 7),
    conv("ResNet-50", 512, 512, 3, 7),
]

VGG_16 = [
    conv("VGG-16", 3, 64, 3, 224),
    conv("VGG-16", 64, 64, 3, 224),
    conv("VGG-16", 64, 128, 3, 112),
    conv("VGG-16", 128, 128, 3, 112),
    conv("VGG-16", 128, 256, 3, 56),
    conv("VGG-16", 256, 256, 3, 56),
    conv("VGG-16", 256, 512, 3, 28),
    conv("VGG-16", 512, 512, 3, 28),
    conv("VGG-16", 512, 512, 3, 14),
]

MOBILENET_V2 = [
    conv("MobileNetV2", 3, 32, 3, 224, stride=2),
    depthwise("MobileNetV2", 32, 3, 112),
    conv("MobileNetV2", 32, 16, 1, 112),
    conv("MobileNetV2", 16, 96, 1, 112),
    depthwise("MobileNetV2", 96, 3, 112, stride=2),
    conv("MobileNetV2", 96, 24, 1, 56),
    conv("MobileNetV2", 24, 144, 1, 56),
    depthwise("MobileNetV2", 144, 3, 56),
    conv("MobileNetV2", 144, 24, 1, 56),
    depthwise("MobileNetV2", 144, 3, 56, stride=2),
    conv("MobileNetV2", 144, 32, 1, 28),
    conv("MobileNetV2", 32, 192, 1, 28),
    depthwise("MobileNetV2", 192, 3, 28),
    conv("MobileNetV2", 192, 32, 1, 28),
    depthwise("MobileNetV2", 192, 3, 28, stride=2),
    conv("MobileNetV2", 192, 64, 1, 14),
    conv("MobileNetV2", 64, 384, 1, 14),
    depthwise("MobileNetV2", 384, 3, 14),
    conv("MobileNetV2", 384, 64, 1, 14),
    conv("MobileNetV2", 384, 96, 1, 14),
    conv("MobileNetV2", 96, 576, 1, 14),
    depthwise("MobileNetV2", 576, 3, 14),
    conv("MobileNetV2", 576, 96, 1, 14),
    depthwise("MobileNetV2", 576, 3, 14, stride=2),
    conv("MobileNetV2", 576, 160, 1, 7),
    conv("MobileNetV2", 160, 960, 1, 7),
    depthwise("MobileNetV2", 960, 3, 7),
    conv("MobileNetV2", 960, 160, 1, 7),
    conv("MobileNetV2", 960, 320, 1, 7),
    conv("MobileNetV2", 320, 1280, 1, 7),
]

LENET_5 = [
    conv("LeNet-5", 1, 6, 5, 28),
    conv("LeNet-5", 6, 16, 5, 14, padding=0),
]

# What those four networks lack.
OTHER_CONVOLUTIONS = [
    conv("ResNeXt-50", 128, 128, 3, 56, groups=32),
    conv("ResNeXt-50", 256, 256, 3, 56, stride=2, groups=32),
    conv("ResNeXt-50", 256, 256, 3, 28, groups=32),
    conv("ResNeXt-50", 512, 512, 3, 28, stride=2, groups=32),
    conv("ResNeXt-50", 512, 512, 3, 14, groups=32),
    conv("ResNeXt-50", 1024, 1024, 3, 14, stride=2, groups=32),
    conv("ResNeXt-50", 1024, 1024, 3, 7, groups=32),
    conv("WRN-50-2", 128, 128, 3, 56),
    conv("WRN-50-2", 256, 256, 3, 28),
    conv("other kernels", 256, 256, 3, 28, dilation=2),
    conv("other kernels", 512, 512, 3, 28, dilation=4),
    conv("other kernels", 48, 64, 5, 28),
    conv("other kernels", 64, 192, 5, 27),
    depthwise("other kernels", 384, 3, 28, dilation=2),
    depthwise("other kernels", 72, 5, 56, stride=2),
    depthwise("other kernels", 120, 5, 28),
    depthwise("other kernels", 672, 5, 14),
    depthwise("other kernels", 96, 7, 56),
    depthwise("other kernels", 384, 7, 14),
]

BIAS = [
    image_op("bias gradient", "sum", "conv2d_backward_bias", 64, 112),
    image_op("bias gradient", "sum", "conv2d_backward_bias", 256, 28),
    image_op("bias gradient", "sum", "conv2d_backward_bias", 512, 7),
]

POOLING = [
    image_op("pooling", "max 2x2/2", "max_pool2d", 64, 224, kernel_size=2),
    image_op("pooling", "max 2x2/2", "max_pool2d", 512, 14, kernel_size=2),
    image_op("pooling", "max 2x2/2", "max_pool2d", 6, 28, kernel_size=2),
    image_op("pooling", "max 3x3/2", "max_pool2d", 64, 112, kernel_size=3, stride=2, padding=1),
    image_op(
        "pooling",
        "max 3x3/2 with indices",
        "max_pool2d",
        64,
        112,
        kernel_size=3,
        stride=2,
        padding=1,
        return_indices=True,
    ),
    image_op("pooling", "average 2x2/2", "avg_pool2d", 128, 56, kernel_size=2),
    image_op("pooling", "average 3x3/2", "avg_pool2d", 64, 56, kernel_size=3, stride=2, padding=1),
    image_op("pooling", "adaptive average to 7x7", "adaptive_avg_pool2d", 512, 14, output_size=7),
    image_op("pooling", "adaptive average to 5x5", "adaptive_avg_pool2d", 256, 13, output_size=5),
    image_op("pooling", "adaptive max to 7x7", "adaptive_max_pool2d", 512, 14, output_size=7),
    image_op("pooling", "global average", "global_avg_pool2d", 2048, 7),
    image_op("pooling", "global max", "global_max_pool2d", 2048, 7),
]

BATCH_NORM = [
    image_op("batch norm", mode, "batch_norm", channels, size, training=mode == "train")
    for mode in ("train", "eval")
    for channels, size in ((64, 112), (256, 56), (512, 28), (2048, 7))
]

ACTIVATIONS = [
    *(
        plain("activation", f"{op} 64@56", op, (64, 56, 56))
        for op in ("relu", "leaky_relu", "sigmoid", "tanh", "gelu", "silu")
    ),
    plain("activation", "gelu tanh 64@56", "gelu", (64, 56, 56), options={"approximate": "tanh"}),
    plain("activation", "relu 512@7", "relu", (512, 7, 7)),
    plain("dropout", "4096", "dropout", (4096,), options={"p": 0.5}),
]

SOFTMAX = [
    row
    for op in ("softmax", "log_softmax")
    for row in (
        plain(op, "1000 classes", op, (1000,), options={"axis": 1}),
        image_op(op, "channels", op, 21, 65, axis=1),
    )
]

LINEAR = [
    linear("VGG-16", 25088, 4096),
    linear("VGG-16", 4096, 4096),
    linear("VGG-16", 4096, 1000),
    linear("ResNet-50", 2048, 1000),
    linear("LeNet-5", 400, 120),
    linear("LeNet-5", 120, 84),
    linear("LeNet-5", 84, 10),
]

LOSSES = [
    plain("loss", "cross entropy, 1000 classes", "cross_entropy", (1000,)),
    plain("loss", "cross entropy, 21 classes @65", "cross_entropy", (21, 65, 65)),
    plain("loss", "mean squared error 3@112", "mse_loss", (3, 112, 112)),
    plain("loss", "binary cross entropy 1@224", "binary_cross_entropy_with_logits", (1, 224, 224)),
]

#: of images
IMAGE_ROWS = [
    *RESNET_50,
    *VGG_16,
    *MOBILENET_V2,
    *LENET_5,
    *OTHER_CONVOLUTIONS,
    *BIAS,
    *POOLING,
    *BATCH_NORM,
    *ACTIVATIONS,
    *SOFTMAX,
    *LINEAR,
    *LOSSES,
]


def select(rows: list[Row], words: list[str], first_only: bool = False) -> list[Row]:
    """The rows whose name has any of the words; only the first of each group and op if asked."""
    chosen = [r for r in rows if not words or any(w.lower() in r.name.lower() for w in words)]
    if first_only:
        seen = {(r.group, r.op): r for r in reversed(chosen)}
        chosen = [r for r in chosen if seen[r.group, r.op] is r]
    return chosen
