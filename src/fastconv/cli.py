"""The ``fastconv`` command: train a classifier, use it, and look at it."""

import argparse
import importlib.util
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastconv
from fastconv import data, io, nn, optim
from fastconv import functional as F
from fastconv.training import Classifier, Evaluation, confusion_matrix, evaluate, fit
from fastconv.training.checkpoint import Checkpoint, History
from fastconv.training.classifier import ARCHITECTURES
from fastconv.training.loop import evaluating
from fastconv.training.recipes import DATASETS, OPTIMIZERS, Recipe, load_dataset, make_augment

Examples = tuple[NDArray[Any], NDArray[np.int64]]

CHECKPOINT = "checkpoint.safetensors"
MODEL = "model.safetensors"
METRICS = "metrics.json"
#: exit statuses, as shells and argparse have them
FAILED, INTERRUPTED = 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; those of the process by default.

    Returns
    -------
    int
        The exit status: 0; 2 after an error, which is told on stderr; 130 after Ctrl-C.

    Examples
    --------
    >>> main(["info"])  # doctest: +ELLIPSIS
    fastconv ...
    0
    """
    args = _parser().parse_args(argv)
    try:
        if args.threads is not None:
            fastconv.set_num_threads(args.threads)
        return int(args.run(args))
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return INTERRUPTED
    except (OSError, ValueError, ImportError, FloatingPointError, MemoryError) as error:
        return _tell(args, error)


def _tell(args: argparse.Namespace, error: BaseException) -> int:
    """Put an error into one line on stderr; returns the exit status for it."""
    text = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.strerror and error.filename:
        text = f"{error.filename}: {error.strerror}"
    print(f"fastconv {args.command}: error: {text}", file=sys.stderr)
    return FAILED


# -- train ----------------------------------------------------------------------------------------


def _train(args: argparse.Namespace) -> int:
    _require("safetensors", *["tqdm"] * args.progress, *["matplotlib"] * args.plots)
    out = args.out or Path("runs", args.dataset)
    recipe = _resumed_recipe(args, out) if args.resume else _new_recipe(args, out)
    dataset = DATASETS[args.dataset]
    data_dir = args.data_dir or Path("data", args.dataset)
    try:
        parts = load_dataset(args.dataset, recipe.seed, data_dir, args.download)
    except FileNotFoundError as error:
        raise ValueError(f"{error}; name its folder with --data-dir, or add --download") from error
    train, test = ((data.normalize(x, dataset.max_value), y) for x, y in parts)
    watched, watched_name = test, "test"
    if recipe.validation:
        chosen = data.stratified_split(train[1], recipe.validation, recipe.seed)
        train, watched = ((train[0][i], train[1][i]) for i in chosen)
        watched_name = "validation"
    statistics = data.Standardizer().fit(train[0])
    assert statistics.mean is not None
    assert statistics.scale is not None
    classifier = Classifier.build(
        recipe.model,
        image_size=train[0].shape[2:],
        classes=dataset.classes,
        dataset=args.dataset,
        max_value=dataset.max_value,
        mean=statistics.mean.item(),
        scale=statistics.scale.item(),
        options=recipe.model_options,
        rng=recipe.seed,
    )
    height, width = classifier.image_size
    print(
        f"{args.dataset}: {len(train[1]):,} training and {len(test[1]):,} test images of "
        f"{height}x{width} pixels\n{recipe.model}: "
        f"{sum(p.size for p in classifier.model.parameters()):,} parameters; "
        f"{fastconv.get_num_threads()} threads; seed {recipe.seed}",
        flush=True,
    )
    try:
        history = _fit(args, out, recipe, classifier, train, watched)
        _report(args, out, recipe, classifier, history, test, watched_name)
    except KeyboardInterrupt:
        return _tell_how_to_resume(args, out)
    return 0


def _new_recipe(args: argparse.Namespace, out: Path) -> Recipe:
    """The dataset's recipe, with the options of the command line."""
    if (out / CHECKPOINT).exists() and not args.overwrite:
        saved = Checkpoint.load(out / CHECKPOINT)
        done, epochs = len(saved.history), Recipe.from_settings(saved.settings).epochs
        if done < epochs:
            raise ValueError(
                f"{out} holds a run that was interrupted after epoch {done} of {epochs}: go on "
                "with --resume, or start again with --overwrite"
            )
    return DATASETS[args.dataset].recipe.changed(_recipe_options(args))


def _resumed_recipe(args: argparse.Namespace, out: Path) -> Recipe:
    """The recipe of the checkpoint, which options may repeat but not change."""
    if not (out / CHECKPOINT).exists():
        raise ValueError(f"there is no checkpoint in {out} to resume from")
    settings = Checkpoint.load(out / CHECKPOINT).settings
    for name, value in {"dataset": args.dataset, **_recipe_options(args)}.items():
        if settings.get(name) != value:
            raise ValueError(
                f"the run in {out} was started with {name.replace('_', '-')} "
                f"{settings.get(name)}, and cannot be resumed with {value}"
            )
    return Recipe.from_settings(settings)


def _recipe_options(args: argparse.Namespace) -> dict[str, Any]:
    """The options of the command line that are fields of the recipe."""
    given = vars(args)
    return {f.name: given[f.name] for f in fields(Recipe) if given.get(f.name) is not None}


def _fit(
    args: argparse.Namespace,
    out: Path,
    recipe: Recipe,
    classifier: Classifier,
    train: Examples,
    watched: Examples,
) -> History:
    model = classifier.model
    optimizer = OPTIMIZERS[recipe.optimizer].make(
        model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay
    )
    background = classifier.prepare(np.zeros((1, 1, *classifier.image_size), np.float32))
    out.mkdir(parents=True, exist_ok=True)
    if not args.resume:
        # what an earlier run left must not pass for this one's
        (out / CHECKPOINT).unlink(missing_ok=True)
    return fit(
        model,
        optimizer,
        (classifier.prepare(train[0]), train[1]),
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        criterion=nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing),
        validation=(classifier.prepare(watched[0]), watched[1]),
        scheduler=optim.CosineAnnealingLR(optimizer, recipe.epochs),
        augment=make_augment(recipe, float(background.flat[0])),
        seed=recipe.seed,
        progress=args.progress,
        checkpoint=out / CHECKPOINT,
        resume=args.resume,
        settings={"dataset": args.dataset, **asdict(recipe)},
    )


def _report(
    args: argparse.Namespace,
    out: Path,
    recipe: Recipe,
    classifier: Classifier,
    history: History,
    test: Examples,
    watched_name: str,
) -> None:
    """Measure the trained classifier on the test images, and write down all that came of it."""
    images, labels = test
    measured = evaluate(classifier.model, classifier.prepare(images), labels)
    matrix = confusion_matrix(labels, measured.logits.argmax(1), len(classifier.classes))
    classifier.save(out / MODEL)
    metrics = {
        "dataset": args.dataset,
        "test_accuracy": measured.accuracy,
        "test_loss": measured.loss,
        "confusion_matrix": matrix.tolist(),
        "classes": classifier.classes,
        "recipe": asdict(recipe),
        "history": history,
    }
    with io.atomic_write(out / METRICS) as stream:
        stream.write(json.dumps(metrics, indent=1).encode())
    written = [out / MODEL, out / METRICS]
    if args.plots:
        written += _draw(out, classifier, history, test, measured, matrix, watched_name)
    print(
        f"\ntest accuracy {measured.accuracy:.2%} "
        f"({np.trace(matrix):,} of {len(labels):,}), loss {measured.loss:.4f}\n"
    )
    print(_matrix_text(matrix, classifier.classes))
    print("\nwritten:", *written, sep="\n  ")


def _draw(
    out: Path,
    classifier: Classifier,
    history: History,
    test: Examples,
    measured: Evaluation,
    matrix: NDArray[np.int64],
    watched_name: str,
) -> list[Path]:
    from fastconv.training import pictures

    images, labels = test
    classes, model = classifier.classes, classifier.model
    names = ("curves", "confusion", "misclassified", "filters", "features")
    paths = [out / f"{name}.png" for name in names]
    curves, confusion, misclassified, filters, features = paths
    pictures.plot_history(history, curves, watched_name)
    pictures.plot_confusion_matrix(matrix, classes, confusion)
    probabilities = F.softmax(measured.logits)
    pictures.plot_misclassified(images, labels, probabilities, classes, misclassified)
    pictures.plot_filters(model, filters)
    title = f"what the network makes of a test image ({classes[labels[0]]})"
    pictures.plot_feature_maps(model, classifier.prepare(images[:1])[0], features, title)
    return paths


def _matrix_text(matrix: NDArray[np.int64], classes: Sequence[str]) -> str:
    """A confusion matrix as lines of text."""
    rows = [name if name == str(i) else f"{name} {i}" for i, name in enumerate(classes)]
    left = max(map(len, rows))
    cell = max(len(str(matrix.max())), len(str(len(classes)))) + 2
    lines = [
        "confusion matrix (rows: the true class; columns: the predicted one)",
        " " * left + "".join(f"{j:>{cell}}" for j in range(len(classes))),
    ]
    for name, row in zip(rows, matrix, strict=True):
        lines.append(f"{name:>{left}}" + "".join(f"{count or '.':>{cell}}" for count in row))
    return "\n".join(lines)


def _tell_how_to_resume(args: argparse.Namespace, out: Path) -> int:
    checkpoint = out / CHECKPOINT
    if not checkpoint.exists():
        print(
            "\ninterrupted before the first epoch was finished; nothing was saved", file=sys.stderr
        )
        return INTERRUPTED
    done = len(Checkpoint.load(checkpoint).history)
    command = ["fastconv", "train", args.dataset, "--resume"]
    for option, value in (("--out", args.out), ("--data-dir", args.data_dir)):
        command += [option, str(value)] if value is not None else []
    print(
        f"\ninterrupted; the state after epoch {done} is in {checkpoint}\n"
        f"go on with: {shlex.join(command)}",
        file=sys.stderr,
    )
    return INTERRUPTED


def _require(*packages: str) -> None:
    """Tell at the start, not after an hour of training, what is not installed."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f'needs {", ".join(missing)}, not installed here: pip install "fastconv[train]"'
        )


# -- predict --------------------------------------------------------------------------------------


def _predict(args: argparse.Namespace) -> int:
    classifier = Classifier.load(args.model)
    status = 0
    for path in args.images:
        try:
            images = data.load_images(
                path, classifier.image_size, classifier.max_value, args.invert
            )
            probabilities = classifier.predict(images)
        except (OSError, ValueError) as error:
            status = _tell(args, error)
            continue
        for i, row in enumerate(probabilities):
            best = np.argsort(-row, kind="stable")[: args.top]
            name = path if len(images) == 1 else f"{path}[{i}]"
            print(f"{name}: " + ", ".join(f"{classifier.classes[k]} {row[k]:.1%}" for k in best))
    return status


# -- info -----------------------------------------------------------------------------------------


def _info(args: argparse.Namespace) -> int:
    if args.model is None:
        fastconv.show_config()
        return 0
    classifier = Classifier.load(args.model)
    height, width = classifier.image_size
    print(
        f"{args.model}: {classifier.architecture}, trained on {classifier.dataset}\n"
        f"  input    grey images of {height}x{width} pixels, 0 to {classifier.max_value:g}; "
        f"in [0, 1] less {classifier.mean:.4f}, divided by {classifier.scale:.4f}\n"
        f"  classes  {', '.join(classifier.classes)}\n"
    )
    total = 0
    value = np.zeros((1, 1, height, width), np.float32)
    with evaluating(classifier.model):
        for name, layer in classifier.model.named_children():
            value = layer(value)
            count = sum(p.size for p in layer.parameters())
            total += count
            text = repr(layer) if "\n" not in repr(layer) else type(layer).__name__
            shape = "x".join(map(str, value.shape[1:]))
            print(f"  {name:>3}  {text:<72}  {shape:>10}  {count:>10,}")
    print(f"{total:>103,} parameters")
    return 0


# -- arguments ------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastconv", description="Convolutional networks on NumPy arrays."
    )
    parser.add_argument("--version", action="version", version=f"fastconv {fastconv.__version__}")
    commands = parser.add_subparsers(dest="command", required=True)

    train = commands.add_parser(
        "train",
        help="train a classifier",
        description="Train a classifier. What is not given is set as suits the dataset.",
    )
    train.set_defaults(run=_train)
    train.add_argument("dataset", choices=DATASETS)
    group = train.add_argument_group("files")
    group.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="folder of the dataset's IDX files (default: data/DATASET)",
    )
    group.add_argument(
        "--download", action="store_true", help="fetch what that folder lacks, and check it"
    )
    group.add_argument(
        "--out", type=Path, metavar="DIR", help="folder to write to (default: runs/DATASET)"
    )
    group.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint in that folder"
    )
    group.add_argument(
        "--overwrite",
        action="store_true",
        help="start again where that folder holds an interrupted run",
    )
    group = train.add_argument_group("training")
    group.add_argument("--model", choices=ARCHITECTURES)
    group.add_argument("--epochs", type=_whole(1), metavar="N")
    group.add_argument("--batch-size", type=_whole(1), metavar="N")
    group.add_argument("--optimizer", choices=OPTIMIZERS)
    group.add_argument(
        "--lr", type=float, metavar="X", help="learning rate at the start; it falls along a cosine"
    )
    group.add_argument("--weight-decay", type=float, metavar="X")
    group.add_argument("--label-smoothing", type=float, metavar="X")
    group.add_argument(
        "--shift",
        type=_whole(0),
        metavar="PIXELS",
        help="augment by random shifts of up to so many pixels",
    )
    group.add_argument(
        "--flip", action=argparse.BooleanOptionalAction, help="augment by random mirroring"
    )
    group.add_argument(
        "--validation",
        type=float,
        metavar="SHARE",
        help="hold out this share of the training images and watch it, not the "
        "test images, after each epoch",
    )
    group.add_argument("--seed", type=_whole(0), metavar="N")
    _add_threads(group)
    group = train.add_argument_group("output")
    group.add_argument("--no-plots", dest="plots", action="store_false", help="draw no pictures")
    group.add_argument(
        "--quiet", dest="progress", action="store_false", help="show no progress bars"
    )

    predict = commands.add_parser(
        "predict",
        help="classify images",
        description="Print the class of each image and its probability.",
    )
    predict.set_defaults(run=_predict)
    predict.add_argument("model", type=Path, help="model file from fastconv train")
    predict.add_argument(
        "images",
        nargs="+",
        metavar="image",
        help="PNG or JPEG picture, or .npy array of one or more images",
    )
    predict.add_argument(
        "--top", type=_whole(1), default=1, metavar="N", help="print the N most probable classes"
    )
    predict.add_argument(
        "--invert",
        choices=("auto", "yes", "no"),
        default="auto",
        help="make dark bright in pictures, as the networks expect bright "
        "strokes on a dark ground (auto: where the border is bright)",
    )
    _add_threads(predict)

    info = commands.add_parser(
        "info",
        help="tell about this installation, or a model",
        description="Tell about this installation, or about a model file.",
    )
    info.set_defaults(run=_info)
    info.add_argument("model", type=Path, nargs="?", help="model file from fastconv train")
    _add_threads(info)
    return parser


def _add_threads(parser: Any) -> None:
    parser.add_argument(
        "--threads",
        type=_whole(1),
        metavar="N",
        help="how many threads to compute with; the result does not depend on it",
    )


def _whole(least: int) -> Callable[[str], int]:
    """A converter to whole numbers from ``least`` up, for argparse."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} up")
        return value

    return convert
