"""How each dataset is trained unless the user says otherwise.

The numbers for the digits and Fashion-MNIST were chosen on a validation part of the training
images, never on the test part; those for MNIST follow them.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastconv import data, optim
from fastconv._arguments import real, whole
from fastconv.data.datasets import FASHION_CLASSES, Examples
from fastconv.training.classifier import ARCHITECTURES

DIGITS = tuple("0123456789")
Augment = Callable[[NDArray[Any], np.random.Generator], NDArray[Any]]


@dataclass(frozen=True)
class Recipe:
    """All that a training run follows from, but for the images.

    Names, kinds and counts are checked here; what range a rate or a share must lie in, by whoever
    uses it.

    Raises
    ------
    ValueError, TypeError
        Naming the field, if it is not of its kind.
    """

    model: str = "lenet5"
    model_options: dict[str, Any] = field(default_factory=dict)
    epochs: int = 20
    batch_size: int = 64
    drop_last: bool = False
    optimizer: str = "adamw"
    lr: float = 2e-3
    weight_decay: float = 1e-2
    label_smoothing: float = 0.0
    #: augmentation: the largest random shift in pixels, and whether to mirror at random
    shift: int = 0
    flip: bool = False
    #: share of the training images that is held out to choose these numbers by
    validation: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (("model", ARCHITECTURES), ("optimizer", tuple(OPTIMIZERS))):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}"
                )
        if not isinstance(self.model_options, Mapping):
            raise TypeError(f"model_options must be a mapping, got {self.model_options!r}")
        plain: dict[str, Any] = {"model_options": dict(self.model_options)}
        for name in ("drop_last", "flip"):
            value = getattr(self, name)
            if not isinstance(value, bool | np.bool_):
                raise TypeError(f"{name} must be True or False, got {value!r}")
            plain[name] = bool(value)
        for name, low in (("epochs", 1), ("batch_size", 1), ("shift", 0), ("seed", 0)):
            plain[name] = whole(name, getattr(self, name), low)
        for name in ("lr", "weight_decay", "label_smoothing", "validation"):
            plain[name] = real(name, getattr(self, name))
        for name, value in plain.items():  # as a checkpoint holds them, and compares them
            object.__setattr__(self, name, value)

    def changed(self, options: Mapping[str, Any]) -> "Recipe":
        """This recipe with some fields changed, and with others that no longer fit reset.

        Raises
        ------
        TypeError, ValueError
            If an option is no field, or its value not of the field's kind.
        """
        options = dict(options)
        names = [f.name for f in fields(self)]
        for name in options:
            if name not in names:
                raise TypeError(f"there is no option {name!r}; the options are {', '.join(names)}")
        if options.get("model", self.model) != self.model:
            options.setdefault("model_options", {})
        if options.get("optimizer", self.optimizer) != self.optimizer:
            rates = OPTIMIZERS.get(options["optimizer"])
            options.setdefault("lr", rates.lr if rates is not None else self.lr)
        return replace(self, **options)

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "Recipe":
        """The recipe that a checkpoint's settings tell of.

        Raises
        ------
        ValueError
            If a field is missing, not of its type or out of range.
        """
        values: dict[str, Any] = {name: settings.get(name) for name in asdict(cls())}
        for name, default in asdict(cls()).items():
            if type(values[name]) is not type(default):
                raise ValueError(f"checkpoint: the run's {name} is {values[name]!r}")
        try:
            return cls(**values)
        except ValueError as error:
            raise ValueError(f"checkpoint: the run's {error}") from error


class Optimizer(NamedTuple):
    """An optimiser of the command line, and a learning rate that suits it."""

    make: Callable[..., optim.Optimizer]
    lr: float


OPTIMIZERS = {
    "sgd": Optimizer(partial(optim.SGD, momentum=0.9, nesterov=True), 0.05),
    "adam": Optimizer(optim.Adam, 2e-3),
    "adamw": Optimizer(optim.AdamW, 2e-3),
    "rmsprop": Optimizer(optim.RMSprop, 1e-3),
}


@dataclass(frozen=True)
class Dataset:
    """A dataset of the command line."""

    classes: tuple[str, ...]
    #: the raw value of full brightness
    max_value: int
    recipe: Recipe
    #: from IDX files; None for the digits, which ship with the package
    load: Callable[..., tuple[Examples, Examples]] | None = None


DATASETS = {
    "digits": Dataset(
        DIGITS,
        16,
        Recipe(
            model_options={"width": 4, "batch_norm": True, "dropout": 0.3},
            epochs=30,
            lr=3e-3,
            label_smoothing=0.1,
        ),
    ),
    "fashion-mnist": Dataset(FASHION_CLASSES, 255, Recipe(flip=True), data.load_fashion_mnist),
    "mnist": Dataset(DIGITS, 255, Recipe(epochs=12, shift=2), data.load_mnist),
}

#: share of the digits that is held out for the test
TEST_FRACTION = 0.2


def load_dataset(
    name: str, seed: int, data_dir: Path, download: bool = False
) -> tuple[Examples, Examples]:
    """The training and the test part of one of :data:`DATASETS`.

    The digits have no parts of their own; ``seed`` draws a stratified test part.

    Raises
    ------
    ValueError, OSError
        If the files in ``data_dir`` are damaged or missing.
    """
    load = DATASETS[name].load
    if load is None:
        images, labels = data.load_digits()
        train, test = data.stratified_split(labels, TEST_FRACTION, seed)
        return (images[train], labels[train]), (images[test], labels[test])
    return load(data_dir, download=download)


def make_augment(recipe: Recipe, background: float) -> Augment | None:
    """The augmentation of ``recipe``; ``background`` is what shifts in at the edges."""
    if not recipe.shift and not recipe.flip:
        return None

    def augment(images: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        if recipe.flip:
            images = data.random_flip(images, rng)
        if recipe.shift:
            images = data.random_shift(images, recipe.shift, rng, fill=background)
        return images

    return augment
