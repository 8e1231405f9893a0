"""Which examples, in which order: splits, balanced samples, mini-batches."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastconv._arguments import real, whole
from fastconv.data.preprocessing import check_labels

Indices = NDArray[np.int64]


def stratified_split(
    labels: ArrayLike, test_fraction: float = 0.2, rng: np.random.Generator | int = 0
) -> tuple[Indices, Indices]:
    """Split at random into a training and a test part that have every class in the same share.

    Parameters
    ----------
    labels : array_like of int, shape (N,)
        Class indices.
    test_fraction : float
        The share of the test part, in (0, 1): it gets round(N · ``test_fraction``) examples, and
        of each class its share rounded up or down.
    rng : Generator or int
        Where the randomness comes from, or its seed.

    Returns
    -------
    train, test : ndarray of int64
        Ascending indices; together each of 0 … N - 1 once.

    Raises
    ------
    TypeError, ValueError
        If ``labels`` are not class indices, ``test_fraction`` is not in (0, 1), or it leaves a
        class without a training or a test example.

    Examples
    --------
    >>> train, test = stratified_split([0] * 6 + [1] * 4, test_fraction=0.5)
    >>> len(train), len(test)
    (5, 5)
    """
    labels = check_labels(labels)
    if not 0 < real("test_fraction", test_fraction) < 1:
        raise ValueError(f"test_fraction must lie between 0 and 1, got {test_fraction}")
    rng = np.random.default_rng(rng)
    classes, counts = np.unique(labels, return_counts=True)
    shares = counts * test_fraction
    quotas = np.floor(shares).astype(np.int64)
    # largest remainders first, so that the whole is right too
    missing = round(len(labels) * test_fraction) - quotas.sum()
    quotas[np.argsort(quotas - shares, kind="stable")[:missing]] += 1
    for label, count, quota in zip(classes, counts, quotas, strict=True):
        if not 0 < quota < count:
            raise ValueError(
                f"labels: class {label} has {count} examples, too few to split with "
                f"test_fraction={test_fraction}"
            )
    chosen = np.zeros(len(labels), bool)
    for label, quota in zip(classes, quotas, strict=True):
        chosen[rng.permutation(np.flatnonzero(labels == label))[:quota]] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def balanced_indices(
    labels: ArrayLike, size: int | None = None, rng: np.random.Generator | int = 0
) -> Indices:
    """Draw examples so that every class that occurs appears equally often.

    No example of a class is drawn again before all others of that class have been.

    Parameters
    ----------
    labels : array_like of int, shape (N,)
        Class indices.
    size : int, optional
        How many to draw; by default as many as make every class as frequent as the largest.
    rng : Generator or int
        Where the randomness comes from, or its seed.

    Returns
    -------
    ndarray of int64, shape (size,)
        In random order; the counts of two classes differ by 1 at most.

    Raises
    ------
    TypeError, ValueError
        If ``labels`` are empty or not class indices, or ``size`` is negative.

    Examples
    --------
    >>> labels = np.array([0, 0, 0, 1])
    >>> np.bincount(labels[balanced_indices(labels)])
    array([3, 3])
    """
    labels = check_labels(labels)
    if len(labels) == 0:
        raise ValueError("labels must not be empty")
    rng = np.random.default_rng(rng)
    classes, counts = np.unique(labels, return_counts=True)
    if size is None:
        size = len(classes) * int(counts.max())
    whole("size", size, 0)
    # which classes get one more than the others is drawn too
    quotas = np.full(len(classes), size // len(classes))
    quotas[rng.permutation(len(classes))[: size % len(classes)]] += 1
    drawn, end = np.empty(size, np.int64), 0
    for label, quota in zip(classes, quotas, strict=True):
        members = np.flatnonzero(labels == label)
        start, end = end, end + quota
        for at in range(start, end, len(members)):
            drawn[at : min(end, at + len(members))] = rng.permutation(members)[: end - at]
    return rng.permutation(drawn)


def batches(
    *arrays: NDArray[Any],
    batch_size: int,
    rng: np.random.Generator | int | None = None,
    drop_last: bool = False,
) -> Iterator[tuple[NDArray[Any], ...]]:
    """Iterate over mini-batches of arrays that share their first axis.

    Parameters
    ----------
    *arrays : ndarray
        For example images (N, C, H, W) and labels (N,).
    batch_size : int
        Examples a batch; the last batch may be smaller.
    rng : Generator or int, optional
        Shuffles the examples; without it they come in order, as views.
    drop_last : bool
        Leave out a last batch that is not full.

    Yields
    ------
    tuple of ndarray
        The same examples of each array.

    Raises
    ------
    ValueError
        If there is no array, their lengths differ, or ``batch_size`` is less than 1.

    Examples
    --------
    >>> [x.tolist() for x, in batches(np.arange(5), batch_size=2)]
    [[0, 1], [2, 3], [4]]
    """
    arrays = tuple(map(np.asarray, arrays))
    if not all(array.ndim for array in arrays):
        raise ValueError("arrays must have a first axis, got one of shape ()")
    lengths = [len(array) for array in arrays]
    if len(set(lengths)) != 1:
        raise ValueError(f"arrays must be of one length, got lengths {lengths}")
    batch_size = whole("batch_size", batch_size, 1)
    length = lengths[0]
    order = None if rng is None else np.random.default_rng(rng).permutation(length)
    end = length - length % batch_size if drop_last else length

    def generate() -> Iterator[tuple[NDArray[Any], ...]]:
        for start in range(0, end, batch_size):
            chosen = slice(start, start + batch_size)
            yield tuple(array[chosen if order is None else order[chosen]] for array in arrays)

    return generate()
