"""Pictures from files, as the networks of the MNIST family were taught to see them."""

import os
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastconv.data.preprocessing import normalize
from fastconv.io import load_array, refuse_damage

Invert = Literal["auto", "yes", "no"]
Array = NDArray[Any]
#: decoders for other formats stay shut: each is one more way in for a hostile file
FORMATS = ("PNG", "JPEG")


def load_images(
    path: str | os.PathLike[str],
    image_size: tuple[int, int],
    max_value: float = 255,
    invert: Invert = "auto",
) -> Array:
    """Read a picture, or an array of images, as bright strokes on a dark ground.

    A PNG or JPEG file is turned upright, made grey (what is transparent becomes white), inverted
    if need be, padded to the shape that is asked for with the brightness of its border, and
    resized: shrunk by averaging areas, or enlarged bilinearly.

    An ``.npy`` file holds one image (H, W), or several (N, H, W) or (N, 1, H, W), of that size
    already: integers in [0, ``max_value``], or floating-point numbers in [0, 1]. They are taken
    as they are.

    Parameters
    ----------
    path : path
        The file; an array if its name ends in ``.npy``, else a picture.
    image_size : (int, int)
        Height and width of the result.
    max_value : float
        What integers in an array are divided by.
    invert : {"auto", "yes", "no"}
        Whether to exchange dark and bright. ``"auto"`` does so where the picture's border is
        brighter than the middle grey, as with ink on paper.

    Returns
    -------
    ndarray of float32, shape (N, 1, H, W)
        In [0, 1]. A picture gives N = 1.

    Raises
    ------
    ImportError
        If a picture is to be read and Pillow is not installed.
    OSError
        If the file cannot be opened.
    ValueError
        If it is damaged, too large, or no such picture or array.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(folder + "/image.npy", np.full((8, 8), 16, np.uint8))
    ...     images = load_images(folder + "/image.npy", (8, 8), max_value=16)
    >>> images.shape, images.max()
    ((1, 1, 8, 8), np.float32(1.0))
    """
    if invert not in ("auto", "yes", "no"):
        raise ValueError(f"invert must be 'auto', 'yes' or 'no', got {invert!r}")
    path = Path(path)
    if path.suffix.lower() == ".npy":
        return _from_array(path, image_size, max_value)
    grey = _grey(path)
    border = np.concatenate([grey[0], grey[-1], grey[1:-1, 0], grey[1:-1, -1]])
    ground = float(np.median(border))
    if invert == "yes" or (invert == "auto" and ground > 0.5):
        grey, ground = 1 - grey, 1 - ground
    return _fit(grey, ground, image_size)[None, None]


def _from_array(path: Path, image_size: tuple[int, int], max_value: float) -> Array:
    array = load_array(path)
    if array.shape == image_size:
        images = array[None, None]
    elif array.ndim == 3 and array.shape[1:] == image_size:
        images = array[:, None]
    else:
        images = array
    if images.shape[1:] != (1, *image_size) or not len(images):
        height, width = image_size
        raise ValueError(
            f"{path}: images must have shape ({height}, {width}), (N, {height}, {width}) or "
            f"(N, 1, {height}, {width}), got {array.shape}"
        )
    try:
        return normalize(images, 1 if array.dtype.kind == "f" else max_value)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _grey(path: Path) -> Array:
    """The brightness (H, W) of a picture, from 0 to 1."""
    Image, ImageOps = _pillow()
    with path.open("rb") as file, refuse_damage(path), warnings.catch_warnings():
        # a picture of more than 89 million pixels is a mistake or an attack
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        picture = ImageOps.exif_transpose(Image.open(file, formats=FORMATS))
        if picture.mode.startswith("I"):
            # convert() would clip sixteen bits to eight
            return np.asarray(picture, np.float32) / 65535
        if picture.has_transparency_data:
            paper = Image.new("RGBA", picture.size, "white")
            picture = Image.alpha_composite(paper, picture.convert("RGBA"))
        return np.asarray(picture.convert("L"), np.float32) / 255


def _fit(grey: Array, ground: float, image_size: tuple[int, int]) -> Array:
    """``grey`` at another size: padded with ``ground`` to its shape, then resized."""
    height, width = grey.shape
    # the smallest picture of the wanted proportions that holds this one
    scale = max(height / image_size[0], width / image_size[1])
    tall, wide = (
        max(round(scale * size), old) for size, old in zip(image_size, grey.shape, strict=True)
    )
    top, left = (tall - height) // 2, (wide - width) // 2
    rows, columns = (top, tall - height - top), (left, wide - width - left)
    padded = np.pad(grey, (rows, columns), constant_values=ground)
    Image, _ = _pillow()
    # shrinking by areas is how the digits were made; enlarging so would leave steps
    method = Image.Resampling.BOX if tall >= image_size[0] else Image.Resampling.BILINEAR
    picture = Image.fromarray(padded).resize(image_size[::-1], method)
    # the weights add up to 1 but for rounding
    fitted: Array = np.clip(np.asarray(picture), 0, 1)
    return fitted


def _pillow() -> tuple[Any, Any]:
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise ImportError(
            'pictures need the package pillow: pip install "fastconv[train]"'
        ) from error
    return Image, ImageOps
