"""Small random changes that leave a picture's meaning alone."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv._arguments import real, to_array, whole


def random_shift(
    images: NDArray[Any],
    max_shift: int,
    rng: np.random.Generator | int,
    fill: float = 0,
) -> NDArray[Any]:
    """Move every image by its own whole number of pixels, up to ``max_shift`` in each direction.

    Parameters
    ----------
    images : ndarray, shape (N, C, H, W)
        Any dtype.
    max_shift : int
        Both shifts of an image are drawn uniformly from [-max_shift, max_shift].
    rng : Generator or int
        Where the randomness comes from, or its seed.
    fill : float
        The background, which moves in at the edges.

    Returns
    -------
    ndarray
        New images of the same shape and dtype.

    Raises
    ------
    ValueError
        If ``images`` does not have four axes, or ``max_shift`` is not in [0, min(H, W)).

    Examples
    --------
    >>> images = np.ones((2, 1, 4, 4))
    >>> random_shift(images, 1, rng=0).shape
    (2, 1, 4, 4)
    """
    images = _checked(images)
    n, _, height, width = images.shape
    if not whole("max_shift", max_shift, 0) < min(height, width):
        raise ValueError(
            f"max_shift must not be negative, and less than the images' {height}x{width} pixels; "
            f"got {max_shift}"
        )
    with np.errstate(all="ignore"):
        edge = np.asarray(real("fill", fill)).astype(images.dtype)
        lost = images.dtype.kind != "f" and edge != fill
    if lost:
        raise ValueError(f"images of {images.dtype} cannot hold fill={fill!r}")
    rng = np.random.default_rng(rng)
    m = max_shift
    padded = np.pad(images, ((0, 0), (0, 0), (m, m), (m, m)), constant_values=edge)
    # (N, C, 2m + 1, 2m + 1, H, W): every shift of every image, as a view
    shifts = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
    down, right = rng.integers(0, 2 * m + 1, (2, n))
    shifted: NDArray[Any] = shifts[np.arange(n), :, down, right]
    return shifted


def random_flip(
    images: NDArray[Any], rng: np.random.Generator | int, p: float = 0.5
) -> NDArray[Any]:
    """Mirror every image left to right with probability ``p``.

    Parameters
    ----------
    images : ndarray, shape (N, C, H, W)
        Any dtype.
    rng : Generator or int
        Where the randomness comes from, or its seed.
    p : float
        In [0, 1].

    Returns
    -------
    ndarray
        New images of the same shape and dtype.

    Raises
    ------
    ValueError
        If ``images`` does not have four axes, or ``p`` is not in [0, 1].

    Examples
    --------
    >>> random_flip(np.arange(3).reshape(1, 1, 1, 3), rng=0, p=1).ravel()
    array([2, 1, 0])
    """
    images = _checked(images)
    real("p", p, 0, 1)
    flips = np.random.default_rng(rng).random(len(images)) < p
    return np.where(flips[:, None, None, None], images[..., ::-1], images)


def _checked(images: NDArray[Any]) -> NDArray[Any]:
    images = to_array("images", images)
    if images.ndim != 4:
        raise ValueError(f"images must have shape (N, C, H, W), got {images.shape}")
    return images
