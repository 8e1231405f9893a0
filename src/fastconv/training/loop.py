"""The training loop, and the measures of what it has learned."""

import importlib
import math
import os
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastconv import nn
from fastconv._arguments import whole
from fastconv.data import batches
from fastconv.data.preprocessing import check_labels
from fastconv.optim import LRScheduler, Optimizer
from fastconv.training.checkpoint import Checkpoint, History, Stateful

Array = NDArray[Any]
Examples = tuple[Array, ArrayLike]


class Criterion(Protocol):
    """``nn.CrossEntropyLoss``, or whatever is called like it."""

    def __call__(self, input: Array, target: Array) -> Any: ...
    def backward(self) -> Array: ...


class Evaluation(NamedTuple):
    """What a model makes of labelled examples."""

    loss: float
    #: share of the examples whose largest logit is that of their label, in [0, 1]
    accuracy: float
    #: shape (N, K)
    logits: Array


def fit(
    model: nn.Module,
    optimizer: Optimizer,
    train: Examples,
    *,
    epochs: int,
    batch_size: int = 64,
    criterion: Criterion | None = None,
    validation: Examples | None = None,
    scheduler: LRScheduler | None = None,
    augment: Callable[[Array, np.random.Generator], Array] | None = None,
    seed: int = 0,
    progress: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> History:
    """Train a classifier on mini-batches.

    The result follows from the arguments alone, to the last bit, whatever the number of fastconv's
    threads: the order of the examples, the augmentation and the dropout of an epoch are drawn from
    generators seeded by ``seed`` and the epoch's number (so each :class:`fastconv.nn.Dropout`
    gets its generator here). A run that was interrupted and resumed ends like an unbroken one.

    Parameters
    ----------
    model : Module
        From images to logits (N, K).
    optimizer : Optimizer
        Of the model's parameters.
    train : (images, labels)
        Images (N, …) as the model takes them, and class indices (N,).
    epochs : int
        How often to go through the examples, in all: also when resuming.
    batch_size : int
        Examples to a step.
    criterion : loss, optional
        :class:`fastconv.nn.CrossEntropyLoss` by default.
    validation : (images, labels), optional
        Measured after each epoch; nothing is chosen by it.
    scheduler : LRScheduler, optional
        Takes a step after each epoch.
    augment : callable, optional
        Called with a batch of images and a generator; returns the images to train on.
    seed : int
        Of all that is random here, from 0.
    progress : bool
        Whether to show a bar for each epoch (needs the package tqdm).
    checkpoint : path, optional
        A ``.safetensors`` or ``.npz`` file that is written after each epoch.
    resume : bool
        Whether to go on from ``checkpoint``.
    settings : mapping, optional
        Whatever else a resumed run must share with its beginning; JSON must be able to hold it.

    Returns
    -------
    list of dict
        For each epoch ``lr``, ``loss`` and ``accuracy``, over its batches as they were trained
        on, and with ``validation`` also ``val_loss`` and ``val_accuracy``.

    Raises
    ------
    ValueError, TypeError
        If an argument is wrong, or ``checkpoint`` is damaged or of a run with other settings.
    FloatingPointError
        If the loss becomes infinite or NaN.

    Examples
    --------
    >>> from fastconv import nn, optim
    >>> rng = np.random.default_rng(0)
    >>> images = rng.normal(size=(64, 1, 4, 4)).astype(np.float32)
    >>> labels = (images.mean((1, 2, 3)) > 0).astype(int)
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2, rng=0))
    >>> history = fit(model, optim.Adam(model.parameters(), lr=0.05), (images, labels), epochs=20)
    >>> history[-1]["accuracy"] > 0.9
    True
    """
    epochs = whole("epochs", epochs, 1)
    batch_size = whole("batch_size", batch_size, 1)
    seed = whole("seed", seed, 0)
    if resume and checkpoint is None:
        raise ValueError("resume needs a checkpoint to go on from")
    criterion = criterion or nn.CrossEntropyLoss()
    images, labels = _check_examples("train", train)
    held_out = None if validation is None else _check_examples("validation", validation)
    settings = {
        "epochs": epochs,
        "batch_size": batch_size,
        "seed": seed,
        "data": zlib.crc32(labels.data, zlib.crc32(np.ascontiguousarray(images).data)),
        **(settings or {}),
    }
    parts: dict[str, Stateful] = {"model": model, "optimizer": optimizer}
    if scheduler is not None:
        parts["scheduler"] = scheduler

    history: History = []
    if resume and checkpoint is not None:
        saved = Checkpoint.load(checkpoint)
        saved.check_settings(settings)
        saved.restore(parts)
        history = saved.history

    for epoch in range(len(history), epochs):
        rng = np.random.default_rng((seed, epoch))
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                (module.rng,) = rng.spawn(1)
        bar = _ProgressBar(len(images), f"epoch {epoch + 1}/{epochs}") if progress else None
        try:
            row = {"lr": optimizer.lr}
            row |= _train_epoch(
                model, optimizer, criterion, images, labels, batch_size, augment, rng, bar
            )
            if held_out is not None:
                measured = evaluate(model, *held_out, criterion=criterion)
                row |= {"val_loss": measured.loss, "val_accuracy": measured.accuracy}
            if bar is not None:
                bar.show(row)
        finally:
            if bar is not None:
                bar.close()
        if scheduler is not None:
            scheduler.step()
        history.append(row)
        if checkpoint is not None:
            Checkpoint.take(parts, settings, history).save(checkpoint)
    return history


def evaluate(
    model: nn.Module,
    images: Array,
    labels: ArrayLike,
    *,
    criterion: Criterion | None = None,
    batch_size: int = 256,
) -> Evaluation:
    """Measure a model in evaluation mode; its mode is as before afterwards.

    Parameters
    ----------
    model : Module
        From images to logits (N, K).
    images : ndarray, shape (N, …)
        As the model takes them.
    labels : array_like of int, shape (N,)
        Class indices.
    criterion : loss, optional
        :class:`fastconv.nn.CrossEntropyLoss` by default.
    batch_size : int
        How many images to compute at once.

    Returns
    -------
    Evaluation
        ``loss``, ``accuracy`` and ``logits``.

    Raises
    ------
    ValueError, TypeError
        If the labels are not class indices, one for each image, or there is none.

    Examples
    --------
    >>> from fastconv import nn
    >>> images = np.eye(3, dtype=np.float32)
    >>> evaluate(nn.Identity(), images, [0, 1, 1]).accuracy
    0.6666666666666666
    """
    images, labels = _check_examples("images and labels", (images, labels))
    criterion = criterion or nn.CrossEntropyLoss()
    logits = compute_logits(model, images, batch_size=batch_size)
    with nn.no_grad():
        loss = float(criterion(logits, labels))
    return Evaluation(loss, float(np.mean(logits.argmax(1) == labels)), logits)


def compute_logits(model: nn.Module, images: Array, *, batch_size: int = 256) -> Array:
    """A model's outputs (N, K) in evaluation mode; its mode is as before afterwards."""
    with evaluating(model):
        return np.concatenate([model(x) for (x,) in batches(images, batch_size=batch_size)])


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Within this context ``model`` is in evaluation mode and remembers nothing."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with nn.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def confusion_matrix(
    labels: ArrayLike, predictions: ArrayLike, num_classes: int
) -> NDArray[np.int64]:
    """Count how often class i (row) was taken for class j (column).

    Parameters
    ----------
    labels, predictions : array_like of int, shape (N,)
        Class indices in [0, ``num_classes``).
    num_classes : int
        K.

    Returns
    -------
    ndarray of int64, shape (K, K)
        Its sum is N, and its trace the number of right predictions.

    Raises
    ------
    ValueError, TypeError
        If the two are not class indices, or not of one length.

    Examples
    --------
    >>> confusion_matrix([0, 0, 1], [0, 1, 1], 2)
    array([[1, 1],
           [0, 1]])
    """
    rows, columns = check_labels(labels, num_classes), check_labels(predictions, num_classes)
    if len(rows) != len(columns):
        raise ValueError(f"{len(rows)} labels, but {len(columns)} predictions")
    pairs = np.bincount(rows * num_classes + columns, minlength=num_classes**2)
    return pairs.reshape(num_classes, num_classes).astype(np.int64)


def _train_epoch(
    model: nn.Module,
    optimizer: Optimizer,
    criterion: Criterion,
    images: Array,
    labels: NDArray[np.int64],
    batch_size: int,
    augment: Callable[[Array, np.random.Generator], Array] | None,
    rng: np.random.Generator,
    bar: "_ProgressBar | None",
) -> dict[str, float]:
    """One pass over the examples; its mean loss and its accuracy, as trained."""
    model.train()
    seen, right, total_loss = 0, 0, 0.0
    means: dict[str, float] = {}
    for batch, target in batches(images, labels, batch_size=batch_size, rng=rng):
        inputs = batch if augment is None else augment(batch, rng)
        model.zero_grad()
        logits = model(inputs)
        loss = float(criterion(logits, target))
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss}: training has diverged; try a smaller learning rate"
            )
        total_loss += loss * len(target)
        model.backward_parameters(criterion.backward())
        optimizer.step()
        right += int(np.count_nonzero(logits.argmax(1) == target))
        seen += len(target)
        means = {"loss": total_loss / seen, "accuracy": right / seen}
        if bar is not None:
            bar.advance(len(target), means)
    return means


class _ProgressBar:
    """A bar for one epoch, with its loss, accuracy and images per second of training."""

    def __init__(self, total: int, description: str) -> None:
        try:
            tqdm = importlib.import_module("tqdm").tqdm
        except ImportError as error:
            raise ImportError(
                'a progress bar needs the package tqdm: pip install "fastconv[train]"'
            ) from error
        self._bar = tqdm(
            total=total,
            desc=description,
            bar_format="{desc} {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt} {elapsed}{postfix}",
        )
        self._start = time.perf_counter()
        self._speed = 0.0

    def advance(self, count: int, means: Mapping[str, float]) -> None:
        """Count a batch."""
        self._speed = (self._bar.n + count) / (time.perf_counter() - self._start)
        self._bar.set_postfix_str(self._text(means), refresh=False)
        self._bar.update(count)

    def show(self, row: Mapping[str, float]) -> None:
        """Show the finished epoch."""
        self._bar.set_postfix_str(self._text(row))

    def close(self) -> None:
        self._bar.close()

    def _text(self, row: Mapping[str, float]) -> str:
        text = f"loss {row['loss']:.4f}, accuracy {row['accuracy']:.2%}"
        if "val_accuracy" in row:
            text += f", held out {row['val_accuracy']:.2%}"
        return f"{text}, {self._speed:,.0f} images/s"


def _check_examples(name: str, examples: Examples) -> tuple[Array, NDArray[np.int64]]:
    images, labels = np.asarray(examples[0]), check_labels(examples[1])
    if len(images) != len(labels) or len(labels) == 0:
        raise ValueError(
            f"{name}: images of shape {images.shape} need as many labels, and at least one; "
            f"got {len(labels)}"
        )
    return images, labels
