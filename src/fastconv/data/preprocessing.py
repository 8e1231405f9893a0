"""From raw pixels and labels to what a network is trained on."""

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastconv._arguments import real, to_array, whole


def normalize(
    images: ArrayLike, max_value: float = 255, dtype: DTypeLike = np.float32
) -> NDArray[Any]:
    """Scale values from [0, ``max_value``] to [0, 1].

    Parameters
    ----------
    images : array_like
        Numbers in [0, ``max_value``], of any shape.
    max_value : float
        The raw value of full brightness: 255 for eight-bit images, 16 for the digits.
    dtype : dtype
        Of the result: float32 or float64.

    Returns
    -------
    ndarray
        In [0, 1], of the shape of ``images``.

    Raises
    ------
    ValueError
        If a value lies outside [0, ``max_value``] or is NaN, or ``max_value`` is not positive.

    Examples
    --------
    >>> normalize(np.array([0, 51, 255], np.uint8))
    array([0. , 0.2, 1. ], dtype=float32)
    """
    images = to_array("images", images)
    if real("max_value", max_value, 0) == 0:
        raise ValueError(f"max_value must be positive, got {max_value}")
    if images.size and not (images.min() >= 0 and images.max() <= max_value):
        raise ValueError(
            f"images must lie in [0, {max_value}], got values in [{images.min()}, {images.max()}]"
        )
    scaled: NDArray[Any] = np.divide(images, max_value, dtype=np.dtype(dtype))
    return scaled


class Standardizer:
    """Shift and scale to zero mean and unit standard deviation, as measured on the training part.

    Fit it on the training images alone and apply the same numbers to all others: a test image must
    not take part in its own preprocessing. What is constant is only shifted (it scales by 1).

    Parameters
    ----------
    per : {"channel", "feature"}
        One mean and scale for each index of axis 1, or for each position of a whole example.

    Attributes
    ----------
    mean, scale : ndarray of float64
        Set by :meth:`fit`; their shape broadcasts against a batch: (1, C, 1, 1) per channel.

    Examples
    --------
    >>> images = np.array([1.0, 3.0], np.float32).reshape(2, 1, 1, 1)
    >>> Standardizer().fit(images).transform(images).ravel()
    array([-1.,  1.], dtype=float32)
    """

    def __init__(self, per: Literal["channel", "feature"] = "channel") -> None:
        if per not in ("channel", "feature"):
            raise ValueError(f"per must be 'channel' or 'feature', got {per!r}")
        self.per = per
        self.mean: NDArray[np.float64] | None = None
        self.scale: NDArray[np.float64] | None = None

    def fit(self, images: NDArray[Any]) -> "Standardizer":
        """Measure mean and scale on ``images`` of shape (N, C, …) and return ``self``.

        Raises
        ------
        ValueError
            If ``images`` is empty, lacks a channel axis, or holds NaN or infinity.
        TypeError
            If ``images`` are no real numbers.
        """
        images = to_array("images", images)
        if images.dtype.kind not in "fiub":
            raise TypeError(f"images must be real numbers, got {images.dtype}")
        if images.ndim < 2 or images.size == 0:
            raise ValueError(f"images must have shape (N, C, …) and not be empty: {images.shape}")
        axes = tuple(i for i in range(images.ndim) if i != 1) if self.per == "channel" else (0,)
        with np.errstate(over="ignore", invalid="ignore"):
            mean = images.mean(axes, dtype=np.float64, keepdims=True)
            deviation = images.std(axes, dtype=np.float64, keepdims=True)
        if not (np.isfinite(mean).all() and np.isfinite(deviation).all()):
            raise ValueError("images must be finite: they hold NaN, infinity or a number near it")
        # a constant is told exactly: its computed deviation may be a rounding error above zero
        constant = images.max(axes, keepdims=True) == images.min(axes, keepdims=True)
        self.mean, self.scale = mean, np.where(constant, 1.0, deviation)
        return self

    def transform(self, images: NDArray[Any]) -> NDArray[Any]:
        """``(images - mean) / scale`` in the dtype of ``images``, which must be floating-point.

        Raises
        ------
        RuntimeError
            If :meth:`fit` has not been called.
        TypeError
            If ``images`` are integers.
        ValueError
            If the shape is not that of the fitted images, but for N.
        """
        if self.mean is None or self.scale is None:
            raise RuntimeError("fit the Standardizer before transforming with it")
        images = to_array("images", images)
        if images.dtype.kind != "f":
            raise TypeError(f"images must be floating-point, got {images.dtype}; see normalize")
        fitted = self.mean.shape
        if images.ndim != len(fitted) or any(
            n not in (1, m) for n, m in zip(fitted[1:], images.shape[1:], strict=True)
        ):
            raise ValueError(f"images of shape {images.shape} do not fit statistics of {fitted}")
        with np.errstate(over="ignore", invalid="ignore"):  # infinity and NaN pass on
            shifted: NDArray[Any] = images - self.mean.astype(images.dtype)
            shifted /= self.scale.astype(images.dtype)
        return shifted


def check_labels(labels: ArrayLike, num_classes: int | None = None) -> NDArray[np.int64]:
    """``labels`` as int64, once they are known to be one-dimensional class indices.

    Parameters
    ----------
    labels : array_like of int, shape (N,)
        Class indices, from 0.
    num_classes : int, optional
        How many classes there are; every label must be less.

    Raises
    ------
    TypeError
        If the labels are not integers.
    ValueError
        If they are not one-dimensional, or one is NaN, negative or too large.
    """
    labels = to_array("labels", labels)
    if labels.dtype.kind == "f" and np.isnan(labels).any():
        raise ValueError(f"labels: the one at index {np.isnan(labels).argmax()} is NaN")
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels must be integers, got {labels.dtype}")
    if labels.ndim != 1:
        raise ValueError(f"labels must have shape (N,), got {labels.shape}")
    wrong = labels < 0
    if num_classes is None:
        end = int(labels.max(initial=0)) + 1
    else:
        end = whole("num_classes", num_classes, 0)
    wrong |= labels >= end
    if wrong.any():
        at = int(wrong.argmax())
        raise ValueError(f"labels must lie in [0, {end}), got {labels[at]} at index {at}")
    return labels.astype(np.int64)


def one_hot(labels: ArrayLike, num_classes: int, dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Rows of zeros with a one at each label.

    Parameters
    ----------
    labels : array_like of int, shape (N,)
        Class indices.
    num_classes : int
        How many columns.
    dtype : dtype
        Of the result.

    Returns
    -------
    ndarray, shape (N, ``num_classes``)

    Raises
    ------
    TypeError, ValueError
        If ``labels`` are not integers in [0, ``num_classes``).

    Examples
    --------
    >>> one_hot([2, 0], 3)
    array([[0., 0., 1.],
           [1., 0., 0.]], dtype=float32)
    """
    labels = check_labels(labels, num_classes)
    rows = np.zeros((len(labels), num_classes), dtype)
    rows[np.arange(len(labels)), labels] = 1
    return rows


def class_weights(
    labels: ArrayLike, num_classes: int, dtype: DTypeLike = np.float32
) -> NDArray[Any]:
    """Weights n / (K · count) that let every class count alike in a loss, shape (K,).

    Pass them as the ``weight`` of :class:`fastconv.nn.CrossEntropyLoss`.

    Parameters
    ----------
    labels : array_like of int, shape (N,)
        Class indices.
    num_classes : int
        K.
    dtype : dtype
        Of the result: float32 or float64.

    Returns
    -------
    ndarray, shape (K,)

    Raises
    ------
    TypeError, ValueError
        If ``labels`` are not integers in [0, ``num_classes``), or a class has no example.

    Examples
    --------
    >>> class_weights([0, 0, 0, 1], 2)
    array([0.6666667, 2.       ], dtype=float32)
    """
    counts = np.bincount(check_labels(labels, num_classes), minlength=num_classes)
    if not counts.all():
        raise ValueError(f"labels: class {counts.argmin()} has no example, so no weight")
    weights: NDArray[Any] = (counts.sum() / (num_classes * counts)).astype(dtype)
    return weights
