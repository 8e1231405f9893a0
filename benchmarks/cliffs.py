"""Where a convolution is much dearer than its neighbours: sizes of kernels, channels and groups.

Each sweep changes one size and leaves the others as they are. What a convolution costs is told in
times of its bound, which is a sum of three things:

- its multiply-adds at the machine's peak;
- COPY nanoseconds for every element of the images on either side: a kernel of few taps is bound by
  moving them, so its multiply-adds may be dear;
- CALL nanoseconds: a small call is bound by being made.

That is the rule for all sizes alike, without exceptions. Neighbours of a sweep whose costs differ
by more than CLIFF are cliffs. Winograd's and transforms are left out (algorithm="direct"): they
only ever make a neighbour cheaper.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import numpy as np

import fastconv.functional as F
from benchmarks.peak import measure_peak
from benchmarks.timing import best_times

CLIFF = 1.5
COPY = 0.15
CALL = 20_000.0
TAPS = (2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 17, 25, 31, 32, 33, 45, 65)
LONG = (3, 5, 9, 15, 33, 65, 129, 257, 513, 1025, 1500)
CHANNELS = (1, 2, 3, 4, 6, 8, 12, 15, 16, 17, 20, 24, 31, 32, 33, 48, 64)


@dataclass(frozen=True)
class Size:
    """One convolution of a sweep: `at` is what the sweep changes."""

    at: int
    shape: tuple[int, ...]
    weight: tuple[int, ...]
    options: dict[str, Any]


def sweeps() -> Iterator[tuple[str, list[Size]]]:
    """The name and the sizes of each sweep."""
    for channels in (1, 3, 16, 64):
        for stride in (1, 2):
            yield (
                f"depthwise, {channels} channels, stride {stride}: taps",
                [_depthwise(k, channels, k, 96, stride=stride) for k in TAPS],
            )
    for k in (3, 5, 9):
        yield f"depthwise {k}x{k}: channels", [_depthwise(c, c, k, 96) for c in CHANNELS]
    yield (
        "depthwise, 2 filters a channel: taps",
        [_depthwise(k, 8, k, 96, multiplier=2) for k in TAPS],
    )
    yield (
        "depthwise 5x5: filters a channel",
        [_depthwise(m, 8, 5, 96, multiplier=m) for m in (1, 2, 3, 4, 6, 8)],
    )
    for channels in (1, 4, 32):
        yield (
            f"depthwise 1-D, {channels} channels: taps",
            [Size(k, (2, channels, 3000), (channels, 1, k), {"groups": channels, "padding": k // 2})
             for k in LONG],
        )  # fmt: skip
    for group in (2, 4, 8, 16):
        yield f"groups of {group}: taps", [_groups(k, group, k) for k in (1, 2, 3, 4, 5, 7, 9)]
    yield "5x5: channels of a group", [_groups(g, g, 5) for g in (1, 2, 4, 8, 16)]
    yield "one row of taps", [_one(k, (1, k), 700) for k in LONG[:-3]]
    yield "one column of taps", [_one(k, (k, 1), 700) for k in LONG[:-3]]
    yield "one channel, one filter: taps", [_one(k, (k, k), 200) for k in TAPS]
    yield (
        "9x9, one filter: channels",
        [Size(c, (1, c, 128, 128), (1, c, 9, 9), {"padding": 4}) for c in (1, 2, 3, 4, 8, 16)],
    )
    yield (
        "9x9, one channel: filters",
        [Size(k, (1, 1, 128, 128), (k, 1, 9, 9), {"padding": 4}) for k in (1, 2, 3, 4, 6, 8, 16)],
    )


def _depthwise(
    at: int, channels: int, taps: int, size: int, stride: int = 1, multiplier: int = 1
) -> Size:
    options = {"groups": channels, "padding": taps // 2, "stride": stride}
    shape = (1, channels, size * stride, size * stride)
    return Size(at, shape, (channels * multiplier, 1, taps, taps), options)


def _groups(at: int, group: int, taps: int) -> Size:
    options = {"groups": 64 // group, "padding": taps // 2}
    return Size(at, (1, 64, 56, 56), (64, group, taps, taps), options)


def _one(at: int, kernel: tuple[int, int], size: int) -> Size:
    return Size(
        at, (1, 1, size, size), (1, 1, *kernel), {"padding": (kernel[0] // 2, kernel[1] // 2)}
    )


def report(words: list[str], formats: list[str], passes: list[str], seconds: float) -> str:
    """Print every sweep as it is measured, and return its cliffs."""
    found = []
    peak = measure_peak(1, "float32").best
    for name, sizes in sweeps():
        if words and not any(word in name for word in words):
            continue
        for layout in formats:
            for step in passes:
                costs = [cost(size, layout, step, peak, seconds) for size in sizes]
                title = f"{name}; {layout}, {step}"
                print(title, "|", *(f"{s.at}: {c:.2f}" for s, c in zip(sizes, costs, strict=True)))
                found += cliffs(title, [s.at for s in sizes], costs)
    return "\n".join(found) or f"no neighbours differ by more than {CLIFF}"


def cliffs(title: str, at: list[int], costs: list[float]) -> list[str]:
    """Neighbours whose costs differ by more than CLIFF, in words."""
    pairs = zip(at[:-1], at[1:], costs[:-1], costs[1:], strict=True)
    return [
        f"{title}: {a} to {b}, {max(c, d) / min(c, d):.2f} times"
        for a, b, c, d in pairs
        if max(c, d) > CLIFF * min(c, d)
    ]


def cost(size: Size, layout: str, step: str, peak: float, seconds: float) -> float:
    """The time of a pass over its bound; `peak` in operations a nanosecond."""
    call, products, elements = measured(size, layout, step)
    bound = 2 * products / peak + COPY * elements + CALL
    return 1e9 * best_times({"": call}, seconds, 2)[""] / bound


def measured(size: Size, layout: str, step: str) -> tuple[Callable[[], Any], int, int]:
    """A pass to be called, its multiply-adds, and the elements of its images."""
    rng = np.random.default_rng(0)
    op = f"conv{len(size.weight) - 2}d"
    x = _formatted(rng.standard_normal(size.shape, np.float32), layout)
    w = rng.standard_normal(size.weight, np.float32)
    options = {**size.options, "algorithm": "direct"}
    y = getattr(F, op)(x, w, **options)
    calls = {
        "forward": partial(getattr(F, op), x, w, **options),
        "input": partial(getattr(F, f"{op}_backward_input"), y, w, x.shape, **options),
        "weight": partial(getattr(F, f"{op}_backward_weight"), y, x, w.shape, **options),
    }
    # of the pixels that a pass writes: a wide border makes the input smaller than the output
    pixels = min(prod(y.shape[2:]), prod(x.shape[2:])) if step == "input" else prod(y.shape[2:])
    return calls[step], y.shape[0] * pixels * w.size, x.size + y.size


def _formatted(x: np.ndarray, layout: str) -> np.ndarray:
    if layout == "contiguous":
        return x
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
