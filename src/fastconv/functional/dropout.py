"""Dropout, inverted: what is kept in training grows, so that evaluation changes nothing."""

from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray

from fastconv._arguments import to_array
from fastconv.functional._check import Array, as_array, check_shape, empty_like
from fastconv.functional._op import op
from fastconv.functional._options import check_probability

__all__ = ["dropout", "dropout_backward"]

Rng = np.random.Generator | int | None


@overload
def dropout(
    input: Array,
    p: float = ...,
    training: bool = ...,
    *,
    rng: Rng = ...,
    return_mask: Literal[False] = ...,
) -> Array: ...
@overload
def dropout(
    input: Array,
    p: float = ...,
    training: bool = ...,
    *,
    rng: Rng = ...,
    return_mask: Literal[True],
) -> tuple[Array, NDArray[np.bool_]]: ...
@op
def dropout(
    input: Array,
    p: float = 0.5,
    training: bool = True,
    *,
    rng: Rng = None,
    return_mask: bool = False,
) -> Array | tuple[Array, NDArray[np.bool_]]:
    """Zero each element with probability ``p`` and scale the rest by 1 / (1 − p).

    Parameters
    ----------
    input : ndarray
        Of any shape.
    p : float
        Probability of zeroing an element, in [0, 1].
    training : bool
        If False nothing is dropped, and ``input`` itself is returned.
    rng : numpy.random.Generator, int or None
        A generator, which moves on, a seed, or None for fresh entropy. The draws do not depend
        on the dtype or the memory format.
    return_mask : bool
        Whether to return the mask as well.

    Returns
    -------
    output : ndarray
        In the memory format of ``input``. As 0 times NaN or infinity is NaN, these stay visible.
    mask : ndarray of bool
        True where an element was kept: only with ``return_mask``.

    Raises
    ------
    TypeError
        If ``input`` is neither float32 nor float64.
    ValueError
        If ``p`` is not in [0, 1].

    References
    ----------
    Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting",
    Journal of Machine Learning Research 15, 2014.

    Examples
    --------
    >>> import numpy as np
    >>> output, mask = dropout(np.ones(6), 0.5, rng=0, return_mask=True)
    >>> output
    array([2., 0., 0., 0., 2., 2.])
    >>> mask
    array([ True, False, False, False,  True,  True])
    """
    input = as_array("input", input)
    check_probability(p)
    if not training:
        return (input, np.ones(input.shape, np.bool_)) if return_mask else input
    if not isinstance(rng, np.random.Generator | int | None):
        raise TypeError(f"rng must be a numpy.random.Generator, an int or None, got {rng!r}")
    mask = np.asarray(np.random.default_rng(rng).random(input.shape) >= p)
    output = _scaled(input, mask, p)
    return (output, mask) if return_mask else output


def dropout_backward(grad_output: Array, mask: NDArray[np.bool_], p: float = 0.5) -> Array:
    """Gradient of :func:`dropout` in training: scaled like the input, and zero where it was.

    In evaluation the gradient is ``grad_output`` itself.

    Parameters
    ----------
    grad_output : ndarray
        Gradient with respect to the output.
    mask : ndarray of bool
        From the forward pass.
    p : float
        As in the forward pass.

    Returns
    -------
    ndarray
        In the memory format of ``grad_output``.

    Raises
    ------
    TypeError
        If ``grad_output`` is neither float32 nor float64, or ``mask`` not boolean.
    ValueError
        If the shapes differ, or ``p`` is not in [0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> dropout_backward(np.ones(3), np.array([True, False, True]), p=0.5)
    array([2., 0., 2.])
    """
    grad_output = as_array("grad_output", grad_output)
    check_probability(p)
    mask = to_array("mask", mask)
    if mask.dtype != np.bool_:
        raise TypeError(f"mask must be boolean, got {mask.dtype}")
    check_shape("mask", mask, grad_output.shape)
    return _scaled(grad_output, mask, p)


def _scaled(array: Array, mask: NDArray[np.bool_], p: float) -> Array:
    scale = 1.0 / (1.0 - p) if p < 1 else 0.0
    output = empty_like(array)
    with np.errstate(over="ignore", invalid="ignore"):  # infinity times zero
        np.multiply(array, scale, out=output)
        return np.multiply(output, mask, out=output)
