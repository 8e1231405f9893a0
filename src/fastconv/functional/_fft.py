"""Convolution by the fast Fourier transform: for filters of very many taps, stride 1.

A correlation is a product of transforms. Outputs are computed in blocks (overlap-save): a block of
B inputs along an axis, transformed, multiplied with the conjugate transform of a filter of T taps,
has B - T + 1 right outputs. NumPy does the transforms, in float32 since NumPy 2; blocks stay in the
cache, which makes them faster than transforms of a whole image. They follow from the shape alone,
and one thread computes them.

docs/performance.md, "Filters of very many taps", has times and errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from itertools import product
from math import inf, prod
from typing import Any, NamedTuple

import numpy as np

from fastconv._drivers.runtime import get_strict_accuracy
from fastconv._geometry import Convolution, check_algorithm
from fastconv.functional._check import Array

Sizes = tuple[int, ...]

# With fewer taps than this a direct method always takes less time.
MIN_TAPS = 256
# Nanoseconds, of which only ratios count: a multiply-add of a direct method on two cores; a
# transform's element, and one of its inverse, in blocks of up to NEAR elements and beyond; a
# product of elements; what a block costs besides.
DIRECT = 0.01
NEAR = 2**17
FORWARD, INVERSE, FAR_FORWARD, FAR_INVERSE = 6.0, 3.0, 12.0, 4.0
PRODUCT = 1.0
BLOCK = 60_000.0


class Plan(NamedTuple):
    """How many inputs a block has along each axis, and what all of them take."""

    block: Sizes
    nanoseconds: float


# ---------------------------------------------------------------- which algorithm


def is_chosen(algorithm: str, shape: Convolution, step: str) -> bool:
    """Whether `algorithm` takes transforms for "forward", "input" or "weight".

    Raises
    ------
    ValueError
        When it is "fft" and the convolution has a stride.
    """
    if algorithm == "fft":
        check_algorithm(algorithm, shape)
        return True
    if algorithm != "auto" or shape.taps < MIN_TAPS:
        return False
    return not get_strict_accuracy() and is_faster(shape, step)


def is_faster(shape: Convolution, step: str) -> bool:
    axes = shape.axes()
    if any(stride > 1 for _, _, stride, _, _, _ in axes) or shape.input_shape[0] == 0:
        return False
    outs = tuple(size if step == "input" else out for size, _, _, _, _, out in axes)
    spans = tuple(dilation * (kernel - 1) + 1 for _, kernel, _, _, dilation, _ in axes)
    filters, channels = shape.weight_shape[:2]
    groups = shape.input_shape[1] // channels
    images = shape.input_shape[0] * groups
    plan = plan_blocks(outs, spans, channels, filters // groups, images)
    # an input gradient is direct's as well where the image is smaller than its border
    products = shape.input_shape[0] * prod(outs) * prod(shape.weight_shape)
    return bool(plan.nanoseconds < products * DIRECT * _slowness())


@cache
def _slowness() -> float:
    """Before version 2 NumPy transforms float32 as float64, in twice the time."""
    return 1.0 if np.fft.rfft(np.zeros(2, np.float32)).dtype == np.complex64 else 0.5


@lru_cache(1024)
def plan_blocks(outs: Sizes, spans: Sizes, channels: int, filters: int, images: int) -> Plan:
    """The blocks that take the least time, of sizes that are fast to transform."""
    best = Plan((), inf)
    for block in product(*(_candidates(o, s) for o, s in zip(outs, spans, strict=True))):
        count = prod(-(-o // (b - s + 1)) for o, b, s in zip(outs, block, spans, strict=True))
        near = prod(block) <= NEAR
        forward, inverse = (FORWARD, INVERSE) if near else (FAR_FORWARD, FAR_INVERSE)
        element = channels * forward + filters * inverse + channels * filters * PRODUCT
        taps = channels * filters * forward  # transformed once
        spent = images * count * (prod(block) * element + BLOCK) + prod(block) * taps
        best = min(best, Plan(block, spent), key=lambda plan: plan.nanoseconds)
    return best


def _candidates(out: int, span: int) -> list[int]:
    """Sizes of blocks: from twice the span in steps of a quarter or so, up to all in one."""
    last = _fast_size(out + span - 1)
    sizes = {last}
    size = _fast_size(span + max(8, span // 4))
    while size < last:
        sizes.add(size)
        size = _fast_size(size * 5 // 4 + 1)
    return sorted(sizes)


@cache
def _fast_size(n: int) -> int:
    """The least even product of twos, threes and fives from n on."""
    best = 2
    while best < n:
        best *= 2
    five = 1
    while five < best:
        three = five
        while three < best:
            size = three * 2
            while size < n:
                size *= 2
            best = min(best, size)
            three *= 3
        five *= 5
    return best


# ---------------------------------------------------------------- the passes


def forward(x: Array, w: Array, b: Array | None, y: Array, shape: Convolution, relu: bool) -> None:
    """Write the convolution of x (N, C, ...) with w (K, C / groups, ...), plus b, to y."""
    first = tuple(-before for _, _, _, before, _, _ in shape.axes())
    groups = x.shape[1] // w.shape[1]
    _correlate(x, _dilated(w, shape), first, y, groups)
    if b is not None:
        y += b.reshape(-1, *(1,) * (y.ndim - 2))
    if relu:
        np.maximum(y, 0, out=y)


def backward_input(dy: Array, w: Array, dx: Array, shape: Convolution) -> None:
    """Write the gradient of the input to dx: the correlation of dy with the filters flipped."""
    groups = dx.shape[1] // w.shape[1]
    filters, channels, *kernel = w.shape
    flipped = np.flip(w, tuple(range(2, w.ndim)))
    # (groups, K / groups, C / groups, ...), filters and channels exchanged
    flipped = flipped.reshape(groups, filters // groups, channels, *kernel).swapaxes(1, 2)
    flipped = flipped.reshape(groups * channels, filters // groups, *kernel)
    taps = _dilated(flipped, shape)
    first = tuple(
        before - (span - 1)
        for (_, _, _, before, _, _), span in zip(shape.axes(), taps.shape[2:], strict=True)
    )
    _correlate(dy, taps, first, dx, groups)


def backward_weight(dy: Array, x: Array, dw: Array, shape: Convolution) -> None:
    """Write the gradient of the weight to dw: x correlated with dy, as many outputs as taps."""
    spans = tuple(dilation * (kernel - 1) + 1 for _, kernel, _, _, dilation, _ in shape.axes())
    first = tuple(-before for _, _, _, before, _, _ in shape.axes())
    groups = x.shape[1] // dw.shape[1]
    channels, filters = dw.shape[1], dw.shape[0] // groups
    outs = dy.shape[2:]
    block = plan_blocks(outs, spans, channels, filters, x.shape[0] * groups).block
    steps = tuple(b - s + 1 for b, s in zip(block, spans, strict=True))
    axes = tuple(range(-len(block), 0))
    lags = tuple(slice(0, s, a[4]) for s, a in zip(spans, shape.axes(), strict=True))
    for g in range(groups):
        ks, cs = slice(g * filters, (g + 1) * filters), slice(g * channels, (g + 1) * channels)
        total: Any = 0.0
        for n in range(x.shape[0]):
            for at in _origins(outs, steps):
                ends = [min(o + s, e) for o, s, e in zip(at, steps, outs, strict=True)]
                part = dy[n, ks][:, *map(slice, at, ends)]
                inputs = _cut(x[n, cs], [o + f for o, f in zip(at, first, strict=True)], block)
                d = np.fft.rfftn(part, block, axes).conj()
                total = total + d[:, None].astype(np.complex128) * np.fft.rfftn(inputs, block, axes)
        dw[ks] = np.fft.irfftn(total, block, axes)[:, :, *lags] if x.shape[0] else 0


def _correlate(x: Array, w: Array, first: Sequence[int], y: Array, groups: int) -> None:
    """y[n, k, i] = the sum over c and s of w[k, c, s] x[n, c, first + i + s], per group."""
    filters, channels = w.shape[0] // groups, w.shape[1]
    outs, spans = y.shape[2:], w.shape[2:]
    block = plan_blocks(outs, spans, channels, filters, x.shape[0] * groups).block
    steps = tuple(b - s + 1 for b, s in zip(block, spans, strict=True))
    axes = tuple(range(-len(block), 0))
    for g in range(groups):
        ks, cs = slice(g * filters, (g + 1) * filters), slice(g * channels, (g + 1) * channels)
        taps = np.fft.rfftn(w[ks], block, axes).conj()
        for n in range(x.shape[0]):
            for at in _origins(outs, steps):
                inputs = _cut(x[n, cs], [o + f for o, f in zip(at, first, strict=True)], block)
                points = np.fft.rfftn(inputs, block, axes)
                sums = taps[:, 0] * points[0]
                for c in range(1, channels):
                    sums += taps[:, c] * points[c]
                ends = [min(o + s, e) for o, s, e in zip(at, steps, outs, strict=True)]
                right = [slice(0, e - o) for o, e in zip(at, ends, strict=True)]
                y[n, ks][:, *map(slice, at, ends)] = np.fft.irfftn(sums, block, axes)[:, *right]


def _origins(outs: Sizes, steps: Sizes) -> Iterator[Sizes]:
    return product(*(range(0, o, s) for o, s in zip(outs, steps, strict=True)))


def _cut(x: Array, first: Sequence[int], block: Sizes) -> Array:
    """Some channels of an image, (C, ...): a block of each, with zeros beyond the border."""
    lows = [max(f, 0) for f in first]
    highs = [max(min(f + b, s), 0) for f, b, s in zip(first, block, x.shape[1:], strict=True)]
    piece = x[:, *(slice(lo, max(lo, hi)) for lo, hi in zip(lows, highs, strict=True))]
    if piece.shape[1:] == block:
        return piece
    padded = np.zeros((x.shape[0], *block), x.dtype)
    at = (slice(lo - f, lo - f + n) for lo, f, n in zip(lows, first, piece.shape[1:], strict=True))
    padded[:, *at] = piece
    return padded


def _dilated(w: Array, shape: Convolution) -> Array:
    """Filters with the zeros between their taps."""
    dilations = [dilation for _, _, _, _, dilation, _ in shape.axes()]
    if max(dilations) == 1:
        return w
    spans = [d * (k - 1) + 1 for d, k in zip(dilations, w.shape[2:], strict=True)]
    taps = np.zeros((*w.shape[:2], *spans), w.dtype)
    taps[:, :, *(slice(None, None, d) for d in dilations)] = w
    return taps
