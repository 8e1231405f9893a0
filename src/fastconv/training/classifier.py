"""A trained classifier: the network, and all that stands between it and a raw image."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv import functional as F
from fastconv import io, nn
from fastconv.training.loop import compute_logits

Array = NDArray[Any]
FORMAT = "fastconv classifier 1"


def small_cnn(image_size: tuple[int, int], num_classes: int, rng: np.random.Generator) -> nn.Module:
    """Three 3x3 convolutions with batch norm, two poolings, and one linear layer."""
    height, width = (size // 4 for size in image_size)
    if not height or not width:
        raise ValueError(f"small-cnn needs images of 4x4 pixels or more, got {image_size}")

    def block(fan_in: int, fan_out: int) -> list[nn.Module]:
        convolution = nn.Conv2d(fan_in, fan_out, 3, padding=1, bias=False, rng=rng)
        return [convolution, nn.BatchNorm2d(fan_out), nn.ReLU()]

    return nn.Sequential(
        *block(1, 32),
        *block(32, 64),
        nn.MaxPool2d(2),
        *block(64, 128),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3, rng=rng),
        nn.Linear(128 * height * width, num_classes, rng=rng),
    )
