"""A trained classifier as a file: the network, and what turns a raw image into its input."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv import functional as F
from fastconv import io, nn
from fastconv.training.loop import compute_logits

Array = NDArray[Any]

FORMAT = "fastconv classifier 1"

#: the networks of :mod:`fastconv.nn.models` that a file may name
ARCHITECTURES = ("lenet5", "mobilenet", "resnet18", "vgg11")

#: options that a file may pass to them, each with its type and largest value, so that a hostile
#: file cannot ask for a network larger than memory
OPTIONS: dict[str, tuple[type, float]] = {
    "width": (int, 64),
    "batch_norm": (bool, 1),
    "dropout": (float, 1),
}
MAX_CLASSES = 10_000


def build_model(
    architecture: str,
    image_size: tuple[int, int],
    num_classes: int,
    options: Mapping[str, Any] | None = None,
    rng: np.random.Generator | int = 0,
) -> nn.Sequential:
    """Build a network of :mod:`fastconv.nn.models` for grey images.

    Parameters
    ----------
    architecture : {"lenet5", "mobilenet", "resnet18", "vgg11"}
        Its name there.
    image_size : (int, int)
        Height and width of the images.
    num_classes : int
        How many classes to tell apart.
    options : mapping, optional
        ``width``, ``batch_norm`` and ``dropout``, as far as the network has them.
    rng : Generator or int
        Of the initial weights.

    Raises
    ------
    ValueError
        If the name or an option is unknown, or the network does not take images of that size.

    Examples
    --------
    >>> model = build_model("lenet5", (28, 28), 10)
    >>> model(np.zeros((1, 1, 28, 28), np.float32)).shape
    (1, 10)
    """
    if architecture not in ARCHITECTURES:
        raise ValueError(f"model must be one of {', '.join(ARCHITECTURES)}, got {architecture!r}")
    if not 1 <= num_classes <= MAX_CLASSES:
        raise ValueError(f"there must be 1 to {MAX_CLASSES} classes, got {num_classes}")
    options = dict(options or {})
    for name, value in options.items():
        kind, largest = OPTIONS.get(name, (type(None), 0))
        if type(value) is not kind or not 0 <= value <= largest:
            raise ValueError(f"model option {name}={value!r} is unknown or out of range")
    if architecture == "lenet5":
        if image_size[0] != image_size[1]:
            raise ValueError(f"lenet5 takes square images, got {image_size}")
        options["image_size"] = image_size[0]
    build = getattr(nn.models, architecture)
    try:
        model: nn.Sequential = build(num_classes, in_channels=1, **options, rng=rng)
        compute_logits(model, np.zeros((1, 1, *image_size), np.float32))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{architecture} cannot be built for images of {image_size}: {error}"
        ) from error
    return model


@dataclass
class Classifier:
    """A network for grey images, with the numbers and names that belong to it.

    Attributes
    ----------
    architecture, options
        What :func:`build_model` made the network from.
    image_size : (int, int)
        Height and width of an image.
    classes : tuple of str
        What the logits stand for.
    dataset : str
        What it was trained on.
    max_value : float
        The raw value of full brightness: images are divided by it.
    mean, scale : float
        Of the training images after that: they are subtracted and divided by.
    model : Sequential
        The network; built with fresh weights unless given.
    """

    architecture: str
    image_size: tuple[int, int]
    classes: tuple[str, ...]
    dataset: str
    max_value: float
    mean: float
    scale: float
    options: dict[str, Any] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.max_value > 0 and np.isfinite(self.mean) and self.scale > 0):
            raise ValueError(
                f"max_value={self.max_value}, mean={self.mean} and scale={self.scale} "
                "are not numbers to prepare images with"
            )
        self.model = build_model(
            self.architecture, self.image_size, len(self.classes), self.options, self.seed
        )
