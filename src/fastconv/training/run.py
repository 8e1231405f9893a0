"""A recipe from beginning to end: load the images, train, measure, write down what came of it.

The command ``fastconv train`` is this, with printing around it.
"""

import importlib.util
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv import data, io, nn, optim
from fastconv import functional as F
from fastconv.training.checkpoint import FREE, Checkpoint, History
from fastconv.training.classifier import Classifier
from fastconv.training.loop import Evaluation, confusion_matrix, evaluate, fit
from fastconv.training.recipes import DATASETS, OPTIMIZERS, Recipe, load_dataset, make_augment

Examples = tuple[NDArray[Any], NDArray[np.int64]]

CHECKPOINT = "checkpoint.safetensors"
MODEL = "model.safetensors"
METRICS = "metrics.json"
PICTURES = ("curves.png", "confusion.png", "misclassified.png", "filters.png", "features.png")


@dataclass(frozen=True, eq=False)
class Run:
    """What came of a training run.

    Attributes
    ----------
    dataset : str
        What it was trained on.
    recipe : Recipe
        All the options that it followed.
    classifier : Classifier
        The trained network, with its classes and its preprocessing.
    history : list of dict
        One row for each epoch, as :func:`fit` returns it.
    evaluation : Evaluation
        ``loss``, ``accuracy`` and ``logits`` on the test images.
    confusion_matrix : ndarray of int64, shape (K, K)
        How often a test image of class i (row) was taken for class j (column).
    files : tuple of Path
        What was written at the end: the model, the metrics, any pictures.
    """

    dataset: str
    recipe: Recipe
    classifier: Classifier
    history: History
    evaluation: Evaluation
    confusion_matrix: NDArray[np.int64]
    files: tuple[Path, ...] = ()

    @property
    def metrics(self) -> dict[str, Any]:
        """What ``metrics.json`` holds: all of this that JSON can hold."""
        return {
            "dataset": self.dataset,
            "test_accuracy": self.evaluation.accuracy,
            "test_loss": self.evaluation.loss,
            "confusion_matrix": self.confusion_matrix.tolist(),
            "classes": self.classifier.classes,
            "recipe": asdict(self.recipe),
            "history": self.history,
        }


def train(
    dataset: str,
    *,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    plots: bool = False,
    progress: bool = False,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
    **options: Any,
) -> Run:
    """Train a classifier by a dataset's recipe, as the command ``fastconv train`` does.

    The result follows from the recipe alone, to the last bit on one machine, whatever the number of
    threads. A run that was interrupted and resumed ends like an unbroken one.

    Parameters
    ----------
    dataset : {"digits", "fashion-mnist", "mnist"}
        The digits ship with the package; the others are read from IDX files.
    out : path, optional
        Folder to write to: a checkpoint after each epoch, and the model, the metrics and any
        pictures at the end (needs the package safetensors). By default nothing is written.
    resume : bool
        Go on from the checkpoint in ``out``, with the options that its run was started with. Of
        those given here ``epochs`` and ``lr`` may be others: the learning rate then falls along
        their cosine from where the run stands. The rest must be the same.
    overwrite : bool
        Start again even where ``out`` holds a run that was interrupted. A finished run is
        replaced without being asked.
    plots : bool
        Draw pictures into ``out`` (needs the package matplotlib).
    progress : bool
        Show a bar for each epoch (needs the package tqdm).
    data_dir : path, optional
        Folder of the IDX files; ``data/DATASET`` by default.
    download : bool
        Fetch the files that this folder lacks, and check them.
    **options : fields of Recipe
        What to change in the dataset's recipe: ``model``, ``model_options``, ``epochs``,
        ``batch_size``, ``drop_last``, ``optimizer``, ``lr``, ``weight_decay``,
        ``label_smoothing``, ``shift``, ``flip``, ``validation`` and ``seed``. Another optimiser
        brings its own learning rate, and another model is built with its defaults, unless ``lr``
        and ``model_options`` are given.

    Returns
    -------
    Run
        The classifier, the history, the evaluation on the test images, the files written.

    Raises
    ------
    ValueError, TypeError
        If an argument is wrong, ``out`` holds an interrupted run, or there is none to resume, or
        one with other options, or a file is damaged.
    FileNotFoundError
        If images are missing and ``download`` is false.
    ImportError
        If a package is missing; told before the training begins.
    FloatingPointError
        If the loss becomes infinite or NaN.

    Examples
    --------
    >>> run = train("digits", epochs=2, seed=1)
    >>> run.evaluation.accuracy > 0.8
    True
    >>> run.recipe.batch_size, len(run.history)
    (64, 2)
    """
    prepared = prepare(
        dataset,
        out=out,
        resume=resume,
        overwrite=overwrite,
        plots=plots,
        progress=progress,
        data_dir=data_dir,
        download=download,
        options=options,
    )
    try:
        return prepared.execute()
    except KeyboardInterrupt as interrupt:
        if out is not None and (done := finished_epochs(out)):
            interrupt.add_note(f"the state after epoch {done} is in {out}: go on with resume=True")
        raise


def _keyword(name: str) -> str:
    """An option of :func:`train` as its caller writes it."""
    return f"{name}=True" if name in ("resume", "overwrite", "download") else name


def prepare(
    dataset: str,
    *,
    out: str | os.PathLike[str] | None,
    resume: bool,
    overwrite: bool,
    plots: bool,
    progress: bool,
    data_dir: str | os.PathLike[str] | None,
    download: bool,
    options: dict[str, Any],
    spell: Callable[[str], str] = _keyword,
) -> "PreparedRun":
    """All of :func:`train` that comes before the first epoch; parameters and errors are its own.

    ``spell`` says how error messages write the name of an option.
    """
    folder = None if out is None else Path(out)
    if not isinstance(dataset, str) or dataset not in DATASETS:
        raise ValueError(f"dataset must be one of {', '.join(DATASETS)}, got {dataset!r}")
    for name, wanted in (("resume", resume), ("plots", plots)):
        if wanted and folder is None:
            raise ValueError(f"{name}={wanted!r} needs a folder: give out")
    _require(safetensors=folder is not None, tqdm=progress, matplotlib=plots)
    # what is misspelt or of the wrong type is told as that, not as a change to a resumed run
    recipe = DATASETS[dataset].recipe.changed(options)
    if folder is not None and resume:
        recipe = _resumed_recipe(folder, {"dataset": dataset, **options}, recipe, spell)
    elif folder is not None and not overwrite:
        _check_finished(folder, spell)
    try:
        where = Path("data", dataset) if data_dir is None else Path(data_dir)
        parts = load_dataset(dataset, recipe.seed, where, download)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error}; name its folder with {spell('data_dir')}, or add {spell('download')}"
        ) from error
    train, test = ((data.normalize(x, DATASETS[dataset].max_value), y) for x, y in parts)
    watched, watched_name = test, "test"
    if recipe.validation:
        chosen = data.stratified_split(train[1], recipe.validation, recipe.seed)
        train, watched = ((train[0][i], train[1][i]) for i in chosen)
        watched_name = "validation"
    classifier = _untrained(dataset, recipe, train[0])
    return PreparedRun(
        dataset, folder, recipe, resume, plots, progress, classifier, train, test, watched,
        watched_name,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class PreparedRun:
    """A run that has its images and its classifier, and is about to begin or to go on."""

    dataset: str
    out: Path | None
    recipe: Recipe
    resume: bool
    plots: bool
    progress: bool
    classifier: Classifier
    train: Examples
    test: Examples
    #: the examples that are measured after each epoch, and what they are called
    watched: Examples
    watched_name: str

    def execute(self) -> Run:
        """Train and measure the classifier, and write down what came of it."""
        history = self._fit()
        images, labels = self.test
        classifier, out = self.classifier, self.out
        measured = evaluate(classifier.model, classifier.prepare(images), labels)
        matrix = confusion_matrix(labels, measured.logits.argmax(1), len(classifier.classes))
        names = () if out is None else (MODEL, METRICS, *(PICTURES if self.plots else ()))
        files = tuple(Path(out or "", name) for name in names)
        run = Run(self.dataset, self.recipe, classifier, history, measured, matrix, files)
        if out is not None:
            classifier.save(out / MODEL)
            with io.atomic_write(out / METRICS) as stream:
                stream.write(json.dumps(run.metrics, indent=1).encode())
            if self.plots:
                self._draw(run, out)
        return run

    def _fit(self) -> History:
        recipe, classifier, out = self.recipe, self.classifier, self.out
        model = classifier.model
        optimizer = OPTIMIZERS[recipe.optimizer].make(
            model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay
        )
        criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
        background = classifier.prepare(np.zeros((1, 1, *classifier.image_size), np.float32))
        augment = make_augment(recipe, float(background.flat[0]))
        if augment is not None:  # refuses too large a shift before anything is deleted
            augment(background, np.random.default_rng(0))
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            if not self.resume:
                # what an earlier run left must not pass for this one's
                (out / CHECKPOINT).unlink(missing_ok=True)
        return fit(
            model,
            optimizer,
            (classifier.prepare(self.train[0]), self.train[1]),
            epochs=recipe.epochs,
            batch_size=recipe.batch_size,
            drop_last=recipe.drop_last,
            criterion=criterion,
            validation=(classifier.prepare(self.watched[0]), self.watched[1]),
            scheduler=optim.CosineAnnealingLR(optimizer, recipe.epochs),
            augment=augment,
            seed=recipe.seed,
            progress=self.progress,
            checkpoint=None if out is None else out / CHECKPOINT,
            resume=self.resume,
            settings={"dataset": self.dataset, **asdict(recipe)},
        )

    def _draw(self, run: Run, out: Path) -> None:
        from fastconv.training import pictures

        images, labels = self.test
        classes, model = run.classifier.classes, run.classifier.model
        curves, confusion, misclassified, filters, features = (out / name for name in PICTURES)
        pictures.plot_history(run.history, curves, self.watched_name)
        pictures.plot_confusion_matrix(run.confusion_matrix, classes, confusion)
        probabilities = F.softmax(run.evaluation.logits)
        pictures.plot_misclassified(images, labels, probabilities, classes, misclassified)
        pictures.plot_filters(model, filters)
        title = f"what the network makes of a test image ({classes[labels[0]]})"
        first = run.classifier.prepare(images[:1])[0]
        pictures.plot_feature_maps(model, first, features, title)


def finished_epochs(out: str | os.PathLike[str]) -> int:
    """How many epochs of a run are kept in the checkpoint of its folder; 0 where there is none."""
    path = Path(out, CHECKPOINT)
    return len(Checkpoint.load(path).history) if path.exists() else 0


def _check_finished(out: Path, spell: Callable[[str], str]) -> None:
    """Refuse to start in a folder where a run was interrupted."""
    if (out / CHECKPOINT).exists():
        saved = Checkpoint.load(out / CHECKPOINT)
        done, epochs = len(saved.history), Recipe.from_settings(saved.settings).epochs
        if done < epochs:
            raise ValueError(
                f"{out} holds a run that was interrupted after epoch {done} of {epochs}: go on "
                f"with {spell('resume')}, or start again with {spell('overwrite')}"
            )


def _resumed_recipe(
    out: Path, given: dict[str, Any], recipe: Recipe, spell: Callable[[str], str]
) -> Recipe:
    """The recipe of the checkpoint, with what is given of the ``recipe`` and may be changed."""
    if not (out / CHECKPOINT).exists():
        raise ValueError(f"there is no checkpoint in {out} to resume from")
    settings = Checkpoint.load(out / CHECKPOINT).settings
    for name, value in given.items():
        if settings.get(name) != value and name not in FREE:
            raise ValueError(
                f"the run in {out} was started with {spell(name).lstrip('-')} "
                f"{settings.get(name)}, and cannot be resumed with {value}"
            )
    changed = {name: getattr(recipe, name) for name in FREE if name in given}
    return replace(Recipe.from_settings(settings), **changed)


def _untrained(dataset: str, recipe: Recipe, images: NDArray[Any]) -> Classifier:
    """The recipe's classifier with fresh weights, and the preprocessing of its training images."""
    statistics = data.Standardizer().fit(images)
    assert statistics.mean is not None
    assert statistics.scale is not None
    return Classifier.build(
        recipe.model,
        image_size=images.shape[2:],
        classes=DATASETS[dataset].classes,
        dataset=dataset,
        max_value=DATASETS[dataset].max_value,
        mean=statistics.mean.item(),
        scale=statistics.scale.item(),
        options=recipe.model_options,
        rng=recipe.seed,
    )


def _require(**packages: bool) -> None:
    """Tell at the start, not after an hour of training, which needed package is not installed."""
    missing = [
        name for name, on in packages.items() if on and importlib.util.find_spec(name) is None
    ]
    if missing:
        raise ImportError(
            f'needs {", ".join(missing)}, not installed here: pip install "fastconv[train]"'
        )
