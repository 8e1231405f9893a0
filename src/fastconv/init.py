"""Initial weights, drawn from a seeded NumPy generator.

Every function returns a new array of the given shape, (out, in) for a linear layer or
(out, in / groups, kh, kw) for a convolution. Draws are made in float64 and rounded to ``dtype``,
so one seed gives the same weights in both precisions, up to that rounding.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastconv._arguments import float_dtype, real, whole

__all__ = [
    "calculate_fan_in_and_fan_out",
    "calculate_gain",
    "default_bias",
    "default_weight",
    "kaiming_normal",
    "kaiming_uniform",
    "xavier_normal",
    "xavier_uniform",
]

Array = NDArray[Any]
Rng = np.random.Generator | int | None
Mode = Literal["fan_in", "fan_out"]


def calculate_fan_in_and_fan_out(shape: Sequence[int]) -> tuple[int, int]:
    """Count the inputs that feed one output, and the outputs that one input feeds.

    Parameters
    ----------
    shape : sequence of int
        Shape of a weight: (out, in, *kernel).

    Returns
    -------
    fan_in, fan_out : int
        ``in`` and ``out``, each times the number of taps in the kernel.

    Raises
    ------
    ValueError
        If ``shape`` has fewer than two dimensions or one that is not positive.

    Examples
    --------
    >>> calculate_fan_in_and_fan_out((16, 6, 5, 5))
    (150, 400)
    """
    sizes = _sizes(shape)
    if len(sizes) < 2 or min(sizes) < 1:
        raise ValueError(f"shape: fans need two or more dimensions, all positive; got {sizes}")
    if math.prod(sizes) > np.iinfo(np.intp).max:
        raise ValueError(f"shape: {sizes} is too large to address")
    taps = math.prod(sizes[2:])
    return sizes[1] * taps, sizes[0] * taps


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Factor by which weights grow to make up for what a nonlinearity takes from the signal.

    Parameters
    ----------
    nonlinearity : str
        ``"linear"``, ``"conv2d"``, ``"sigmoid"``, ``"tanh"``, ``"relu"``, ``"leaky_relu"`` or
        ``"selu"``.
    param : float, optional
        Negative slope of ``"leaky_relu"``; 0.01 when left out.

    Returns
    -------
    float
        The gain that ``torch.nn.init.calculate_gain`` gives.

    Raises
    ------
    ValueError
        If ``nonlinearity`` is not one of those above.

    Examples
    --------
    >>> round(calculate_gain("relu") ** 2, 12)
    2.0
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else real("param", param)
        return math.sqrt(2.0 / (1.0 + slope * slope))
    gains = {
        "linear": 1.0,
        "conv2d": 1.0,
        "sigmoid": 1.0,
        "tanh": 5.0 / 3.0,
        "relu": math.sqrt(2.0),
        "selu": 0.75,
    }
    if nonlinearity not in gains:
        raise ValueError(
            f"nonlinearity must be one of {[*gains, 'leaky_relu']}, got {nonlinearity!r}"
        )
    return gains[nonlinearity]


def kaiming_uniform(
    shape: Sequence[int],
    a: float = 0.0,
    mode: Mode = "fan_in",
    nonlinearity: str = "leaky_relu",
    *,
    dtype: DTypeLike = np.float32,
    rng: Rng = None,
) -> Array:
    """Draw from U(-b, b), b = gain * sqrt(3 / fan), which keeps the variance through rectifiers.

    Parameters
    ----------
    shape : sequence of int
        Shape of the weight.
    a : float
        Negative slope of the rectifier that follows (for ``nonlinearity="leaky_relu"``).
    mode : {"fan_in", "fan_out"}
        Whether the variance is kept in the forward or in the backward pass.
    nonlinearity : str
        As in :func:`calculate_gain`.
    dtype : dtype
        float32 or float64.
    rng : numpy.random.Generator, int or None
        A generator, a seed, or None for fresh entropy.

    Returns
    -------
    ndarray

    Raises
    ------
    ValueError
        If ``shape``, ``mode``, ``nonlinearity`` or ``dtype`` is not one described above.

    References
    ----------
    He et al., "Delving deep into rectifiers", ICCV 2015.

    Examples
    --------
    >>> w = kaiming_uniform((8, 3, 5, 5), rng=0)
    >>> bool(abs(w).max() <= (6 / 75) ** 0.5)
    True
    """
    bound = calculate_gain(nonlinearity, a) * math.sqrt(3.0 / _fan(shape, mode))
    return _uniform(shape, bound, dtype, rng)


def kaiming_normal(
    shape: Sequence[int],
    a: float = 0.0,
    mode: Mode = "fan_in",
    nonlinearity: str = "leaky_relu",
    *,
    dtype: DTypeLike = np.float32,
    rng: Rng = None,
) -> Array:
    """Draw from N(0, gain² / fan), which keeps the variance through rectifiers.

    Parameters, errors and source are those of :func:`kaiming_uniform`.

    Examples
    --------
    >>> kaiming_normal((64, 32, 3, 3), mode="fan_out", rng=0).shape
    (64, 32, 3, 3)
    """
    std = calculate_gain(nonlinearity, a) / math.sqrt(_fan(shape, mode))
    return _normal(shape, std, dtype, rng)


def xavier_uniform(
    shape: Sequence[int],
    gain: float = 1.0,
    *,
    dtype: DTypeLike = np.float32,
    rng: Rng = None,
) -> Array:
    """Draw from U(-b, b), b = gain * sqrt(6 / (fan_in + fan_out)).

    Parameters
    ----------
    shape : sequence of int
        Shape of the weight.
    gain : float
        See :func:`calculate_gain`.
    dtype : dtype
        float32 or float64.
    rng : numpy.random.Generator, int or None
        A generator, a seed, or None for fresh entropy.

    Returns
    -------
    ndarray

    Raises
    ------
    ValueError
        If ``shape`` has fewer than two dimensions or one that is not positive, or ``dtype`` is
        neither float32 nor float64.

    References
    ----------
    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", AISTATS 2010.

    Examples
    --------
    >>> w = xavier_uniform((84, 120), rng=0)
    >>> bool(abs(w).max() <= (6 / 204) ** 0.5)
    True
    """
    bound = real("gain", gain) * math.sqrt(6.0 / sum(calculate_fan_in_and_fan_out(shape)))
    return _uniform(shape, bound, dtype, rng)


def xavier_normal(
    shape: Sequence[int],
    gain: float = 1.0,
    *,
    dtype: DTypeLike = np.float32,
    rng: Rng = None,
) -> Array:
    """Draw from N(0, gain² * 2 / (fan_in + fan_out)).

    Parameters, errors and source are those of :func:`xavier_uniform`.

    Examples
    --------
    >>> xavier_normal((84, 120), rng=0).dtype
    dtype('float32')
    """
    std = real("gain", gain) * math.sqrt(2.0 / sum(calculate_fan_in_and_fan_out(shape)))
    return _normal(shape, std, dtype, rng)


def default_weight(
    shape: Sequence[int], *, dtype: DTypeLike = np.float32, rng: Rng = None
) -> Array:
    """Draw what a layer's weight starts from, as in torch: U(±1 / sqrt(fan_in)).

    This is :func:`kaiming_uniform` with ``a=sqrt(5)``.

    Parameters
    ----------
    shape : sequence of int
        (O, I) of a linear layer or (O, I, kH, kW) of a convolution.
    dtype : dtype
        float32 or float64.
    rng : Generator or int, optional
        Where the randomness comes from, or its seed.

    Returns
    -------
    ndarray, shape ``shape``

    Raises
    ------
    TypeError, ValueError
        As :func:`kaiming_uniform`.

    Examples
    --------
    >>> bool(abs(default_weight((10, 25), rng=0)).max() <= 0.2)
    True
    """
    return kaiming_uniform(shape, a=math.sqrt(5.0), dtype=dtype, rng=rng)


def default_bias(
    weight_shape: Sequence[int], *, dtype: DTypeLike = np.float32, rng: Rng = None
) -> Array:
    """Draw what a layer's bias starts from, as in torch: U(±1 / sqrt(fan_in)) of its weight.

    Parameters and errors are those of :func:`default_weight`; the result has shape (out,).

    Examples
    --------
    >>> default_bias((10, 25), rng=0).shape
    (10,)
    """
    fan_in, _ = calculate_fan_in_and_fan_out(weight_shape)
    return _uniform(weight_shape[:1], 1.0 / math.sqrt(fan_in), dtype, rng)


def _fan(shape: Sequence[int], mode: Mode) -> int:
    fan_in, fan_out = calculate_fan_in_and_fan_out(shape)
    if mode == "fan_in":
        return fan_in
    if mode == "fan_out":
        return fan_out
    raise ValueError(f"mode must be 'fan_in' or 'fan_out', got {mode!r}")


def _uniform(shape: Sequence[int], bound: float, dtype: DTypeLike, rng: Rng) -> Array:
    kind = float_dtype(dtype)
    _check_scale(bound, kind)
    return np.random.default_rng(rng).uniform(-bound, bound, _sizes(shape)).astype(kind, copy=False)


def _normal(shape: Sequence[int], std: float, dtype: DTypeLike, rng: Rng) -> Array:
    kind = float_dtype(dtype)
    _check_scale(std, kind)
    return np.random.default_rng(rng).normal(0.0, std, _sizes(shape)).astype(kind, copy=False)


def _check_scale(scale: float, kind: np.dtype[np.floating[Any]]) -> None:
    """Far outliers of the distribution must be numbers of the dtype too."""
    if not 0 <= scale <= float(np.finfo(kind).max) / 100:
        raise ValueError(f"weights of {kind} cannot have the scale {scale}")


def _sizes(shape: Sequence[int]) -> tuple[int, ...]:
    try:
        return tuple(whole("shape", size, 0) for size in shape)
    except TypeError:
        raise TypeError(f"shape must be a tuple of integers, got {shape!r}") from None
