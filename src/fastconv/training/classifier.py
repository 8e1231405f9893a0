"""A trained classifier as a file: the network, and what turns a raw image into its input."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
OPTIONS: dict[str, tuple[type[Any], float]] = {
    "width": (int, 64),
    "batch_norm": (bool, 1),
    "dropout": (float, 1),
}
MAX_CLASSES = 10_000
MAX_IMAGE_SIZE = 1024


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

    Returns
    -------
    Sequential

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
    value: Any
    for name, value in options.items():
        kind, largest = OPTIONS.get(name, (None, 0.0))
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


@dataclass(frozen=True)
class Classifier:
    """A network for grey images, with the numbers and names that belong to it.

    Attributes
    ----------
    model : Sequential
        From prepared images (N, 1, H, W) to logits (N, K).
    architecture, options
        What :func:`build_model` made ``model`` from.
    image_size : (int, int)
        H and W.
    classes : tuple of str
        The K names.
    dataset : str
        What it was trained on.
    max_value : float
        The raw value of full brightness in that dataset.
    mean, scale : float
        Of its training images, in [0, 1]: prepared images are ``(image - mean) / scale``.

    Examples
    --------
    >>> classifier = Classifier.build(
    ...     "lenet5", image_size=(8, 8), classes=("zero", "one"), dataset="digits",
    ...     max_value=16, mean=0.3, scale=0.4)
    >>> probabilities = classifier.predict(np.zeros((5, 1, 8, 8), np.float32))
    >>> probabilities.shape, probabilities.sum(1).round(5)
    ((5, 2), array([1., 1., 1., 1., 1.], dtype=float32))
    """

    model: nn.Sequential
    architecture: str
    options: dict[str, Any]
    image_size: tuple[int, int]
    classes: tuple[str, ...]
    dataset: str
    max_value: float
    mean: float
    scale: float

    @classmethod
    def build(
        cls,
        architecture: str,
        *,
        image_size: tuple[int, int],
        classes: Sequence[str],
        dataset: str,
        max_value: float,
        mean: float,
        scale: float,
        options: Mapping[str, Any] | None = None,
        rng: np.random.Generator | int = 0,
    ) -> "Classifier":
        """Make one with fresh weights, drawn from ``rng``; the rest is as in :class:`Classifier`.

        Raises
        ------
        ValueError
            As :func:`build_model`, or if the numbers cannot prepare an image.
        """
        if not (0 < max_value < math.inf and math.isfinite(mean) and 0 < scale < math.inf):
            raise ValueError(
                f"max_value and scale must be positive, and they and mean finite; got "
                f"{max_value}, {scale} and {mean}"
            )
        model = build_model(architecture, image_size, len(classes), options, rng)
        return cls(
            model,
            architecture,
            dict(options or {}),
            image_size,
            tuple(classes),
            dataset,
            max_value,
            mean,
            scale,
        )

    def prepare(self, images: Array) -> Array:
        """Turn images in [0, 1], bright on dark, into what ``model`` takes.

        Raises
        ------
        ValueError
            If the shape is not (N, 1, H, W).
        """
        if images.ndim != 4 or images.shape[1:] != (1, *self.image_size):
            raise ValueError(
                f"images must have shape {('N', 1, *self.image_size)}, got {images.shape}"
            )
        prepared: Array = (images - np.float32(self.mean)) / np.float32(self.scale)
        return prepared

    def predict(self, images: Array) -> Array:
        """Probability of each class, shape (N, K), for images (N, 1, H, W) in [0, 1]."""
        probabilities: Array = F.softmax(compute_logits(self.model, self.prepare(images)))
        return probabilities

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a ``.safetensors`` or ``.npz`` file."""
        metadata = {name: getattr(self, name) for name in _FIELDS}
        io.save(path, self.model.state_dict(), {"format": FORMAT, **metadata})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Classifier":
        """Read what :meth:`save` wrote.

        Raises
        ------
        OSError
            If the file cannot be opened.
        ValueError
            If it is damaged, or not a classifier.
        """
        arrays, metadata = io.load(path)
        if metadata.pop("format", None) != FORMAT:
            raise ValueError(f"{path}: not a classifier that `fastconv train` saved")
        try:
            classifier = cls.build(**_checked(metadata))
            classifier.model.load_state_dict(arrays)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}: damaged: {error}") from error
        return classifier


#: what a file says of a classifier beside its weights, and how JSON holds it
_FIELDS: dict[str, type | tuple[type, ...]] = {
    "architecture": str,
    "options": dict,
    "image_size": list,
    "classes": list,
    "dataset": str,
    "max_value": (int, float),
    "mean": (int, float),
    "scale": (int, float),
}


def _checked(metadata: dict[str, Any]) -> dict[str, Any]:
    """The fields of a file, each known to be of its type."""
    if metadata.keys() != _FIELDS.keys():
        raise ValueError(f"its metadata are {sorted(metadata)}, not {sorted(_FIELDS)}")
    for name, kinds in _FIELDS.items():
        if not isinstance(metadata[name], kinds):
            raise ValueError(f"its {name} is {metadata[name]!r}")
    size, classes = metadata["image_size"], metadata["classes"]
    if len(size) != 2 or not all(type(n) is int and 1 <= n <= MAX_IMAGE_SIZE for n in size):
        raise ValueError(f"its image_size is {size!r}")
    if not all(isinstance(name, str) for name in classes):
        raise ValueError(f"its classes are {classes!r}")
    return {**metadata, "image_size": tuple(size)}
