"""Layers of networks on sequences and volumes, each at its own batch; and every row there is."""

from __future__ import annotations

from typing import Any

from benchmarks.rows import FORMATS, IMAGE_ROWS, Row, Shape

Sizes = int | tuple[int, ...]


def _each(value: Sizes, axes: int) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,) * axes


def _by(value: Sizes) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


def layer(
    kind: str,
    group: str,
    batch: int,
    channels: int,
    filters: int,
    kernel: Sizes,
    size: Shape,
    stride: Sizes = 1,
    dilation: int = 1,
    groups: int = 1,
    padding: Sizes | None = None,  # None keeps the size, less what the stride skips
) -> Row:
    """A convolution along as many axes as there are sizes, labelled as "3x7x7 s2 3→64 @16x112"."""
    axes = len(size)
    kernels = _each(kernel, axes)
    label = [
        _by(kernels),
        f"s{_by(stride)}" * (stride != 1),
        f"d{dilation}" * (dilation > 1),
        f"{channels}→{filters}",
        f"g{groups}" * (groups > 1),
        f"@{_by(size)}",
    ]
    options = {
        "stride": stride,
        "padding": tuple(dilation * (k - 1) // 2 for k in kernels) if padding is None else padding,
        "dilation": dilation,
        "groups": groups,
    }
    return Row(
        group,
        " ".join(filter(None, label)),
        kind,
        f"conv{axes}d",
        (channels, *size),
        options,
        (filters, channels // groups, *kernels),
        FORMATS,
        batch,
    )


def along_one(
    kind: str, group: str, batch: int, c: int, k: int, taps: int, n: int, **o: Any
) -> Row:
    return layer(kind, group, batch, c, k, taps, (n,), **o)


_ONE, _FRONT, _APART = "sequences", "sequences, first layers", "sequences, in groups"
SEQUENCES = [
    along_one(_ONE, "ResNet-1D", 8, 64, 64, 3, 4096),
    along_one(_ONE, "ResNet-1D", 8, 64, 128, 9, 2048, stride=2),
    along_one(_ONE, "WaveNet", 2, 64, 128, 2, 8000, dilation=16, padding=8),
    along_one(_ONE, "WaveNet", 4, 64, 128, 3, 4096, dilation=4),
    along_one(_ONE, "M5", 8, 128, 128, 3, 992),
    along_one(_ONE, "M5", 32, 256, 512, 3, 62),
    along_one(_ONE, "Whisper", 1, 80, 384, 3, 3000),
    along_one(_ONE, "Whisper", 1, 384, 384, 3, 3000, stride=2),
    along_one(_ONE, "wav2vec", 1, 512, 512, 3, 3199, stride=2, padding=0),
    along_one(_ONE, "Tacotron", 4, 512, 512, 5, 800),
    along_one(_ONE, "HiFi-GAN", 4, 256, 256, 7, 1024, dilation=3),
    along_one(_ONE, "HiFi-GAN", 1, 128, 128, 3, 8192),
    along_one(_FRONT, "M5", 8, 1, 64, 80, 16000, stride=4, padding=38),
    along_one(_FRONT, "spectrogram", 8, 1, 258, 256, 16000, stride=64, padding=0),
    along_one(_FRONT, "wav2vec", 2, 1, 512, 10, 16000, stride=5, padding=0),
    along_one(_FRONT, "Conv-TasNet", 2, 1, 512, 16, 32000, stride=8, padding=0),
    along_one(_APART, "Conv-TasNet", 2, 512, 512, 3, 3200, dilation=8, groups=512),
    along_one(_APART, "QuartzNet", 4, 256, 256, 33, 800, groups=256),
    along_one(_APART, "wav2vec", 4, 768, 768, 128, 200, groups=16, padding=64),
]

_CUBE, _OTHER = "volumes, 3x3x3", "volumes, other kernels"
VOLUMES = [
    layer(_CUBE, "U-Net 3-D", 1, 32, 32, 3, (32, 64, 64)),
    layer(_CUBE, "U-Net 3-D", 1, 64, 32, 3, (64, 64, 64)),
    layer(_CUBE, "R3D-18", 1, 64, 64, 3, (16, 56, 56)),
    layer(_CUBE, "R3D-18", 4, 128, 128, 3, (8, 28, 28)),
    layer(_CUBE, "R3D-18", 4, 256, 256, 3, (8, 14, 14)),
    layer(_CUBE, "C3D", 1, 64, 128, 3, (16, 56, 56)),
    layer(_CUBE, "C3D", 4, 256, 512, 3, (4, 14, 14)),
    layer(_CUBE, "C3D", 8, 512, 512, 3, (2, 7, 7)),
    layer(_OTHER, "C3D", 1, 3, 64, 3, (16, 112, 112)),
    layer(_OTHER, "U-Net 3-D", 1, 1, 32, 3, (64, 64, 64)),
    layer(_OTHER, "R3D-18", 1, 3, 64, (3, 7, 7), (16, 112, 112), stride=(1, 2, 2)),
    layer(_OTHER, "I3D", 1, 3, 64, 7, (16, 112, 112), stride=2),
    layer(_OTHER, "R3D-18", 1, 64, 128, 3, (16, 56, 56), stride=2),
    layer(_OTHER, "R3D-18", 4, 256, 512, 3, (4, 14, 14), stride=2),
    layer(_OTHER, "R3D-50", 1, 64, 256, 1, (8, 56, 56)),
    layer(_OTHER, "I3D", 4, 256, 64, 1, (8, 28, 28)),
    layer(_OTHER, "R(2+1)D", 1, 64, 144, (1, 3, 3), (16, 56, 56)),
    layer(_OTHER, "R(2+1)D", 1, 144, 64, (3, 1, 1), (16, 56, 56)),
    layer(_OTHER, "CSN", 1, 64, 64, 3, (16, 56, 56), groups=64),
    layer(_OTHER, "X3D", 2, 108, 108, 3, (16, 28, 28), stride=(1, 2, 2), groups=108),
    layer(_OTHER, "ResNeXt 3-D", 4, 128, 128, 3, (8, 28, 28), groups=32),
]


def upward(
    kind: str,
    group: str,
    batch: int,
    channels: int,
    filters: int,
    kernel: int,
    size: Shape,
    stride: int = 2,
    padding: int = 0,
    output_padding: int = 0,
) -> Row:
    """A transposed convolution, labelled as "2x2 s2 128→64 @28x28"."""
    axes = len(size)
    kernels = (kernel,) * axes
    stride_label = f" s{stride}" * (stride > 1)
    options = {
        "stride": stride,
        "padding": padding,
        "output_padding": output_padding,
        "groups": 1,
        "dilation": 1,
    }
    return Row(
        group,
        f"transposed {_by(kernels)}{stride_label} {channels}→{filters} @{_by(size)}",
        kind,
        f"conv_transpose{axes}d",
        (channels, *size),
        options,
        (channels, filters, *kernels),
        FORMATS,
        batch,
    )


_UP, _UP_OTHER = "transposed, images", "transposed, sequences and volumes"
TRANSPOSED = [
    upward(_UP, "U-Net", 4, 1024, 512, 2, (14, 14)),
    upward(_UP, "U-Net", 2, 512, 256, 2, (28, 28)),
    upward(_UP, "U-Net", 8, 128, 64, 2, (28, 28)),
    upward(_UP, "U-Net", 1, 128, 64, 2, (112, 112)),
    upward(_UP, "DCGAN", 32, 100, 512, 4, (1, 1), stride=1),
    upward(_UP, "DCGAN", 8, 512, 256, 4, (8, 8), padding=1),
    upward(_UP, "DCGAN", 8, 256, 128, 4, (16, 16), padding=1),
    upward(_UP, "DCGAN", 8, 128, 64, 4, (32, 32), padding=1),
    upward(_UP, "DCGAN", 8, 64, 3, 4, (32, 32), padding=1),
    upward(_UP, "decoder", 8, 256, 128, 3, (14, 14), padding=1, output_padding=1),
    upward(_UP, "decoder", 8, 128, 64, 3, (28, 28), padding=1, output_padding=1),
    upward(_UP, "decoder", 4, 64, 32, 3, (56, 56), padding=1, output_padding=1),
    upward(_UP_OTHER, "HiFi-GAN", 4, 512, 256, 16, (128,), stride=8, padding=4),
    upward(_UP_OTHER, "HiFi-GAN", 1, 128, 64, 4, (8192,), padding=1),
    upward(_UP_OTHER, "U-Net 3-D", 1, 256, 128, 2, (8, 16, 16)),
    upward(_UP_OTHER, "U-Net 3-D", 1, 64, 64, 2, (16, 32, 32)),
]


def pooled(label: str, op: str, batch: int, shape: Shape, **options: Any) -> Row:
    axes = len(shape) - 1
    label = f"{label} {shape[0]}@{_by(shape[1:])}"
    group = f"pooling {axes}-D"
    return Row(group, label, group, f"{op}{axes}d", shape, options, None, FORMATS, batch)


_MAX, _AVG = "max_pool", "avg_pool"
POOLING = [
    pooled("max 4/4", _MAX, 8, (128, 4000), kernel_size=4),
    pooled("max 2/2", _MAX, 8, (256, 1024), kernel_size=2),
    pooled("max 3/2", _MAX, 8, (64, 2048), kernel_size=3, stride=2, padding=1),
    pooled("max 3/1", _MAX, 8, (128, 1000), kernel_size=3, stride=1, padding=1),
    pooled("average 4/4", _AVG, 8, (128, 4000), kernel_size=4),
    pooled("average 25/1", _AVG, 8, (64, 512), kernel_size=25, stride=1, padding=12),
    pooled("adaptive average to 1", "adaptive_avg_pool", 8, (512, 250), output_size=1),
    pooled("adaptive max to 50", "adaptive_max_pool", 8, (256, 1000), output_size=50),
    pooled("max 1x2x2", _MAX, 1, (64, 16, 112, 112), kernel_size=(1, 2, 2)),
    pooled("max 2/2", _MAX, 1, (128, 16, 56, 56), kernel_size=2),
    pooled("max 2/2", _MAX, 1, (32, 32, 64, 64), kernel_size=2),
    pooled(
        "max 1x3x3/1x2x2",
        _MAX,
        1,
        (64, 8, 112, 112),
        kernel_size=(1, 3, 3),
        stride=(1, 2, 2),
        padding=(0, 1, 1),
    ),
    pooled("max 3/2", _MAX, 1, (480, 8, 28, 28), kernel_size=3, stride=2, padding=1),
    pooled("max 3/1", _MAX, 1, (192, 8, 28, 28), kernel_size=3, stride=1, padding=1),
    pooled("average 2/2", _AVG, 1, (64, 16, 56, 56), kernel_size=2),
    pooled("average 2x7x7/1", _AVG, 4, (1024, 8, 7, 7), kernel_size=(2, 7, 7), stride=1),
    pooled("adaptive average to 1", "adaptive_avg_pool", 8, (512, 4, 7, 7), output_size=1),
    pooled("adaptive max to 2", "adaptive_max_pool", 4, (256, 8, 14, 14), output_size=2),
]

ROWS = [*IMAGE_ROWS, *SEQUENCES, *VOLUMES, *TRANSPOSED, *POOLING]
