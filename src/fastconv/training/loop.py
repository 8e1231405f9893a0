"""The training loop, and the measures of what it has learned."""

import copy
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
from fastconv.autograd import Tensor
from fastconv.data import batches
from fastconv.data.preprocessing import check_labels
from fastconv.optim import LRScheduler, Optimizer
from fastconv.training.checkpoint import Checkpoint, History, Stateful

Array = NDArray[Any]
Examples = tuple[Array, ArrayLike]


class Criterion(Protocol):
    """``nn.CrossEntropyLoss``, or whatever is called like it and returns a Tensor of one number."""

    def __call__(self, input: Any, target: Array) -> Any: ...


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
    drop_last: bool = False,
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

    A resumed run takes from its checkpoint what has come to be: the weights, what the optimiser
    keeps for each, the epochs counted. What is yet to come is as the arguments say: the learning
    rates, or those that the schedule works from, and how many epochs there are in all, which may be
    more or fewer than first planned. Anything else must be as it was, or it is refused: the
    examples, ``batch_size``, ``drop_last``, ``seed``, ``settings``, and the optimiser's class,
    groups and other settings, since what it keeps was made under them.

    Parameters
    ----------
    model : Module
        From images to logits (N, K).
    optimizer : Optimizer
        Of the model's parameters, all or some; if the criterion has any, of those as well.
    train : (images, labels)
        Images (N, …) as the model takes them, and class indices (N,).
    epochs : int
        How often to go through the examples, in all: also when resuming.
    batch_size : int
        Examples to a step.
    drop_last : bool
        Leave out, in each epoch, the last examples that do not fill a batch.
    criterion : loss, optional
        :class:`fastconv.nn.CrossEntropyLoss` by default.
    validation : (images, labels), optional
        Measured after each epoch; nothing is chosen by it.
    scheduler : LRScheduler, optional
        Of ``optimizer``; takes a step after each epoch.
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
        Whatever else a resumed run must share with its beginning, but for ``epochs`` and ``lr``,
        if they are among it; JSON must be able to hold it.

    Returns
    -------
    list of dict
        For each epoch ``lr`` (of the first group of parameters), ``loss`` and ``accuracy``, over
        its batches as they were trained on, and with ``validation`` also ``val_loss`` and
        ``val_accuracy``.

    Raises
    ------
    ValueError, TypeError
        If an argument is wrong, the optimiser updates something that is no parameter of the model,
        the last batch is one example that the model cannot train on, or ``checkpoint`` is damaged
        or of a run with other settings.
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
    _check_optimizer(model, criterion, optimizer, scheduler)
    _check_last_batch(model, images, batch_size, drop_last, augment)
    settings = {
        "epochs": epochs,
        "batch_size": batch_size,
        "drop_last": bool(drop_last),
        "seed": seed,
        "data": zlib.crc32(labels.data, zlib.crc32(np.ascontiguousarray(images).data)),
        **(settings or {}),
    }
    parts: dict[str, Stateful] = {"model": model, "optimizer": optimizer}
    if isinstance(criterion, nn.Module) and criterion.state_dict():
        parts["criterion"] = criterion
    if scheduler is not None:
        parts["scheduler"] = scheduler

    history: History = []
    if resume and checkpoint is not None:
        saved = Checkpoint.load(checkpoint)
        saved.check_settings(settings)
        _go_on(saved, epochs, parts, optimizer, scheduler)
        history = saved.history

    for epoch in range(len(history), epochs):
        rng = np.random.default_rng((seed, epoch))
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                (module.rng,) = rng.spawn(1)
        shuffled = batches(images, labels, batch_size=batch_size, rng=rng, drop_last=drop_last)
        bar = _ProgressBar(len(images), f"epoch {epoch + 1}/{epochs}") if progress else None
        try:
            row = {"lr": optimizer.param_groups[0]["lr"]}
            row |= _train_epoch(model, optimizer, criterion, shuffled, augment, rng, bar)
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


def _go_on(
    saved: Checkpoint,
    epochs: int,
    parts: Mapping[str, Stateful],
    optimizer: Optimizer,
    scheduler: LRScheduler | None,
) -> None:
    """Restore what a run had come to; the learning rates stay as they are given now."""
    if epochs < len(saved.history):
        raise ValueError(f"resume: the run has finished {len(saved.history)} epochs, not {epochs}")
    try:
        optimizer.check_same(saved.part("optimizer"))
    except ValueError as error:
        raise ValueError(f"resume: {error}") from error
    rates = [group["lr"] for group in optimizer.param_groups]
    given = {} if scheduler is None else scheduler.state_dict()
    saved.restore(parts)
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    if scheduler is not None:
        scheduler.load_state_dict({**scheduler.state_dict(), "base_lrs": given["base_lrs"]})


def _check_optimizer(
    model: nn.Module,
    criterion: Criterion,
    optimizer: Optimizer,
    scheduler: LRScheduler | None,
) -> None:
    """Refuse to train one model with the optimiser of another, or by another's schedule."""
    known = {id(p) for p in model.parameters()}
    if isinstance(criterion, nn.Module):
        known |= {id(p) for p in criterion.parameters()}
    strange = [i for i, p in enumerate(optimizer.params) if id(p) not in known]
    if strange:
        shapes = ", ".join(f"params[{i}] of shape {optimizer.params[i].shape}" for i in strange[:3])
        raise ValueError(
            f"optimizer, {type(optimizer).__name__} of {len(optimizer.params)} parameters, updates "
            f"{len(strange)} that are not this {type(model).__name__}'s: {shapes}"
            + ", ..."
            * (len(strange) > 3)
        )
    if scheduler is not None and scheduler.optimizer is not optimizer:
        raise ValueError(
            "scheduler sets the learning rates of another optimiser: "
            f"{scheduler.optimizer!r}, not {optimizer!r}"
        )


def _check_last_batch(
    model: nn.Module,
    images: Array,
    batch_size: int,
    drop_last: bool,
    augment: Callable[[Array, np.random.Generator], Array] | None,
) -> None:
    """Tell before the first epoch, not at its end, that batch norm will refuse the last batch."""
    if drop_last:
        if len(images) < batch_size:
            raise ValueError(
                f"drop_last leaves no batch: there are {len(images)} examples, and "
                f"batch_size={batch_size}"
            )
        return
    if len(images) % batch_size != 1 or len(images) == 1:
        return
    if not any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
        return
    one = images[:1] if augment is None else augment(images[:1], np.random.default_rng(0))
    try:
        with nn.no_grad():
            copy.deepcopy(model).train()(one)
    except ValueError as error:
        raise ValueError(
            f"the last batch of an epoch is one example, of {len(images)} with "
            f"batch_size={batch_size}, and the model cannot be trained on one ({error}): give "
            "drop_last=True, or another batch_size"
        ) from error


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
        outputs = [np.asarray(model(x)) for (x,) in batches(images, batch_size=batch_size)]
        return np.concatenate(outputs)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Within this context ``model`` is in evaluation mode and nothing is recorded."""
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
    shuffled: Iterator[tuple[Array, ...]],
    augment: Callable[[Array, np.random.Generator], Array] | None,
    rng: np.random.Generator,
    bar: "_ProgressBar | None",
) -> dict[str, float]:
    """One pass over the examples; its mean loss and its accuracy, as trained."""
    model.train()
    model.zero_grad()
    seen, right, total_loss = 0, 0, 0.0
    means: dict[str, float] = {}
    for batch, target in shuffled:
        inputs = Tensor(batch if augment is None else augment(batch, rng))
        del batch  # what only a Tensor has cannot be changed meanwhile, so nobody looks if it was
        logits = model(inputs)
        loss = criterion(logits, target)
        value = float(loss)
        if not math.isfinite(value):
            raise FloatingPointError(
                f"the loss is {value}: training has diverged; try a smaller learning rate"
            )
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        total_loss += value * len(target)
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
