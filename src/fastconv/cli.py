"""The ``fastconv`` command: train a classifier, use it, and look at it."""

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastconv
from fastconv import data
from fastconv.training import ARCHITECTURES, Classifier, Recipe, Run
from fastconv.training.loop import evaluating
from fastconv.training.recipes import DATASETS, OPTIMIZERS
from fastconv.training.run import CHECKPOINT, finished_epochs, prepare

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
    out = args.out or Path("runs", args.dataset)
    given = vars(args)
    prepared = prepare(
        args.dataset,
        out=out,
        resume=args.resume,
        overwrite=args.overwrite,
        plots=args.plots,
        progress=args.progress,
        data_dir=args.data_dir,
        download=args.download,
        options={f.name: given[f.name] for f in fields(Recipe) if given.get(f.name) is not None},
        spell=_flag,
    )
    classifier, recipe = prepared.classifier, prepared.recipe
    height, width = classifier.image_size
    print(
        f"{args.dataset}: {len(prepared.train[1]):,} training and {len(prepared.test[1]):,} test "
        f"images of {height}x{width} pixels\n{recipe.model}: "
        f"{sum(p.size for p in classifier.model.parameters()):,} parameters; "
        f"{fastconv.get_num_threads()} threads; seed {recipe.seed}",
        flush=True,
    )
    try:
        _tell_what_came_of_it(prepared.execute())
    except KeyboardInterrupt:
        return _tell_how_to_resume(args, out)
    return 0


def _flag(name: str) -> str:
    """An option of the training as it is typed."""
    return f"--{name.replace('_', '-')}"


def _tell_what_came_of_it(run: Run) -> None:
    matrix, measured = run.confusion_matrix, run.evaluation
    print(
        f"\ntest accuracy {measured.accuracy:.2%} "
        f"({np.trace(matrix):,} of {matrix.sum():,}), loss {measured.loss:.4f}\n"
    )
    print(_matrix_text(matrix, run.classifier.classes))
    print("\nwritten:", *run.files, sep="\n  ")


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
    done = finished_epochs(out)
    if not done:
        print(
            "\ninterrupted before the first epoch was finished; nothing was saved", file=sys.stderr
        )
        return INTERRUPTED
    command = ["fastconv", "train", args.dataset, "--resume"]
    for option, value in (("--out", args.out), ("--data-dir", args.data_dir)):
        command += [option, str(value)] if value is not None else []
    print(
        f"\ninterrupted; the state after epoch {done} is in {out / CHECKPOINT}\n"
        f"go on with: {shlex.join(command)}",
        file=sys.stderr,
    )
    return INTERRUPTED


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
    group.add_argument(
        "--drop-last",
        action=argparse.BooleanOptionalAction,
        help="leave out, in each epoch, the last images that do not fill a batch",
    )
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
