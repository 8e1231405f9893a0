"""Pictures of a training run, drawn with matplotlib straight to PNG files.

No window opens and matplotlib's global state is left alone: every picture is a Figure of its own.
"""

import math
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastconv import nn
from fastconv.training.checkpoint import History
from fastconv.training.loop import evaluating

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[Any]
Path = str | os.PathLike[str]

INK = "#1f2933"
FRAME = "#cbd2d9"
TRAIN = "#2563eb"
HELD_OUT = "#d9480f"
#: how many layers the feature maps show at most
MAX_LAYERS = 6
#: what a feature map shows is the output of one of these
ACTIVATIONS = (
    nn.ReLU,
    nn.LeakyReLU,
    nn.Sigmoid,
    nn.Tanh,
    nn.GELU,
    nn.SiLU,
    nn.Residual,
    nn.Concat,
)


def plot_history(history: History, path: Path, held_out: str = "validation") -> None:
    """Draw loss and accuracy over the epochs.

    Parameters
    ----------
    history : list of dict
        From :func:`fastconv.training.fit`.
    path : path
        The PNG file to write.
    held_out : str
        What to call the examples that were measured after each epoch.
    """
    figure = _figure(10, 4)
    loss, accuracy = figure.subplots(1, 2)
    epochs = range(1, len(history) + 1)
    for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
        factor = 100 if name == "accuracy" else 1
        for key, label, colour in ((name, "training", TRAIN), (f"val_{name}", held_out, HELD_OUT)):
            if all(key in row for row in history):
                values = [factor * row[key] for row in history]
                axes.plot(
                    epochs,
                    values,
                    color=colour,
                    label=label,
                    linewidth=1.8,
                    marker="o" if len(history) == 1 else None,
                )
        axes.set_xlabel("epoch")
        axes.set_title(name if factor == 1 else f"{name} (%)")
        axes.grid(color="#e4e7eb", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(frameon=False)
    figure.savefig(path)


def plot_filters(model: nn.Module, path: Path, max_filters: int = 64) -> None:
    """Draw the kernels of the first convolution, blue where negative and red where positive.

    Kernels over several input channels are shown as their mean.

    Parameters
    ----------
    model : Module
        With at least one :class:`fastconv.nn.Conv2d`.
    path : path
        The PNG file to write.
    max_filters : int
        How many to draw at most.

    Raises
    ------
    ValueError
        If the model has no convolution.
    """
    layer = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    if layer is None:
        raise ValueError("model has no Conv2d, so no filters to draw")
    kernels = layer.weight.data[:max_filters].mean(axis=1)
    limit = float(np.abs(kernels).max()) or 1.0
    figure, tiles = _grid(len(kernels), tile=0.9, header=0.5, right=0.9)
    for axes, kernel in zip(tiles, kernels, strict=True):
        image = axes.imshow(kernel, cmap="RdBu_r", vmin=-limit, vmax=limit)
    figure.suptitle(
        f"filters of the first convolution, {layer.weight.shape[0]} in all", fontsize=11
    )
    figure.colorbar(image, ax=figure.axes, shrink=0.8, aspect=25, pad=0.02)
    figure.savefig(path)


def plot_feature_maps(
    model: nn.Sequential, image: Array, path: Path, title: str = "", max_maps: int = 12
) -> None:
    """Draw what the layers of a network see in one image.

    Parameters
    ----------
    model : Sequential
        Its activations and blocks are shown, those of nested Sequentials too.
    image : ndarray, shape (1, H, W)
        As the model takes it.
    path : path
        The PNG file to write.
    title : str
        A line above.
    max_maps : int
        How many channels of a layer to draw at most.
    """
    layers = [
        (f"{name} {type(layer).__name__}", maps)
        for name, layer, maps in _outputs(model, image[None])
        if isinstance(layer, ACTIVATIONS)
    ]
    # a deep network is shown at evenly spaced depths
    chosen = np.unique(np.linspace(0, len(layers) - 1, MAX_LAYERS).round().astype(int))
    rows = [("input", image), *(layers[i] for i in chosen if layers)]
    columns = min(max_maps, max(len(maps) for _, maps in rows))
    figure = _figure(0.95 * columns + 1.6, 1.0 * len(rows) + 0.6)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for (name, maps), tiles in zip(rows, grid, strict=True):
        for axes in tiles:
            axes.set_axis_off()
        for axes, plane in zip(tiles, maps, strict=False):
            axes.imshow(plane, cmap="gray" if name == "input" else "magma")
        height, width = maps.shape[1:]
        shown = f"{columns} of {len(maps)}" if len(maps) > columns else f"{len(maps)}"
        tiles[0].text(
            -0.15,
            0.5,
            f"{name}\n{shown} × {height}×{width}",
            ha="right",
            va="center",
            transform=tiles[0].transAxes,
            color=INK,
            fontsize=9,
        )
    figure.suptitle(title, fontsize=11)
    figure.savefig(path)


def plot_misclassified(
    images: Array,
    labels: ArrayLike,
    probabilities: Array,
    classes: Sequence[str],
    path: Path,
    max_images: int = 40,
) -> None:
    """Draw the images that were taken for something else, the surest mistakes first.

    Parameters
    ----------
    images : ndarray, shape (N, 1, H, W)
        Grey, in any range.
    labels : array_like of int, shape (N,)
        What they are.
    probabilities : ndarray, shape (N, K)
        What they were taken for, and how surely.
    classes : sequence of str
        The K names.
    path : path
        The PNG file to write.
    max_images : int
        How many to draw at most.
    """
    labels = np.asarray(labels)
    predictions, confidence = probabilities.argmax(1), probabilities.max(1)
    wrong = np.flatnonzero(predictions != labels)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")]
    shown = wrong[:max_images]
    figure, tiles = _grid(max(len(shown), 1), tile=1.25, header=0.7, labelled=True)
    for axes, i in zip(tiles, shown, strict=False):
        axes.imshow(images[i, 0], cmap="gray_r")
        axes.set_title(
            f"{classes[predictions[i]]}  {confidence[i]:.0%}\nis {classes[labels[i]]}",
            fontsize=8,
            color=INK,
            pad=3,
        )
    for axes in tiles[len(shown) :]:
        axes.set_axis_off()
    text = f"{len(wrong):,} of {len(labels):,} test images misclassified"
    if len(wrong) > len(shown):
        text += f"; the {len(shown)} surest mistakes"
    figure.suptitle(text, fontsize=11)
    figure.savefig(path)


def plot_confusion_matrix(matrix: NDArray[np.int64], classes: Sequence[str], path: Path) -> None:
    """Draw a confusion matrix, shaded by the share of each true class.

    Parameters
    ----------
    matrix : ndarray of int, shape (K, K)
        From :func:`fastconv.training.confusion_matrix`.
    classes : sequence of str
        The K names.
    path : path
        The PNG file to write.
    """
    size = len(classes)
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    figure = _figure(0.55 * size + 2.2, 0.55 * size + 1.6)
    axes = figure.subplots()
    # the root makes rare mistakes visible beside the many that are right
    axes.imshow(np.sqrt(share), cmap="Blues", vmin=0, vmax=1)
    for i, j in np.argwhere(matrix):
        axes.text(
            j,
            i,
            str(matrix[i, j]),
            ha="center",
            va="center",
            fontsize=9,
            color="white" if share[i, j] > 0.3 else INK,
        )
    angle = 0 if max(map(len, classes)) <= 2 else 45
    axes.set_xticks(
        range(size),
        classes,
        rotation=angle,
        ha="right" if angle else "center",
        rotation_mode="anchor" if angle else None,
    )
    axes.set_yticks(range(size), classes)
    axes.tick_params(length=0)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.spines[:].set_color(FRAME)
    accuracy = np.trace(matrix) / max(int(matrix.sum()), 1)
    axes.set_title(f"test accuracy {accuracy:.2%}")
    figure.savefig(path)


def _figure(width: float, height: float) -> "Figure":
    """A figure of so many inches, without pyplot."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            'pictures need the package matplotlib: pip install "fastconv[train]"'
        ) from error
    return Figure(figsize=(width, height), dpi=150, layout="constrained")


def _grid(
    count: int, tile: float, header: float, right: float = 0.0, labelled: bool = False
) -> "tuple[Figure, list[Axes]]":
    """A figure of ``count`` tiles in a near-square grid."""
    columns = min(count, max(4, math.ceil(math.sqrt(1.6 * count))))
    rows = math.ceil(count / columns)
    height = tile * (1.35 if labelled else 1.0)
    figure = _figure(max(columns * tile, 4.5) + right, rows * height + header)
    tiles = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in tiles[count:]:
        axes.set_axis_off()
    for axes in tiles[:count]:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color(FRAME)
    return figure, tiles[:count]


def _outputs(model: nn.Sequential, images: Array) -> Iterator[tuple[str, nn.Module, Array]]:
    """Name, layer and output (C, H, W) for the first image, as long as outputs are images."""
    with evaluating(model):
        for name, layer in _layers(model):
            images = np.asarray(layer(images))
            if images.ndim == 4:
                yield name, layer, images[0]


def _layers(model: nn.Sequential, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The layers in a row, those of nested Sequentials too."""
    for name, child in model.named_children():
        if isinstance(child, nn.Sequential):
            yield from _layers(child, f"{prefix}{name}.")
        else:
            yield prefix + name, child
