"""From a row of the table to calls: the arguments of each pass, in each memory format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from inspect import signature
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.rows import PASSES, Row, Shape
from fastconv import reference

Array = NDArray[Any]

# What forward hands to backward: the argument that asks for it, and the names of what it returns.
_REMEMBERED: Mapping[str, tuple[str, tuple[str, ...]]] = {
    **{
        f"{kind}max_pool{axes}d": ("return_indices", ("output", "indices"))
        for kind in ("", "adaptive_", "global_")
        for axes in (1, 2, 3)
    },
    "batch_norm": ("return_statistics", ("output", "mean", "invstd")),
    "dropout": ("return_mask", ("output", "mask")),
}
_LOSSES = ("cross_entropy", "mse_loss", "binary_cross_entropy_with_logits")
_IMAGES = ("input", "output", "grad_output", "indices", "target")  # what a memory format is of


@dataclass(frozen=True)
class Case:
    """One function of `fastconv.functional`, and its arguments by name."""

    row: Row
    step: str  # one of PASSES
    batch: int
    dtype: str
    format: str
    function: str
    arguments: Mapping[str, Any]
    flops: int | None  # None: the op is bound by memory, and bytes are what counts


def cases(row: Row, batch: int, dtype: str, passes: tuple[str, ...] = PASSES) -> Iterator[Case]:
    """Every pass of a row in every memory format, on the same seeded numbers."""
    calls = (_convolution if row.convolves else _op)(row, batch, dtype)
    for step, function, values, flops in calls:
        if step not in passes:
            continue
        accepted = signature(getattr(reference, function)).parameters
        arguments = {name: values[name] for name in accepted if name in values}
        for format in row.formats:
            laid_out = {name: _in_format(name, value, format) for name, value in arguments.items()}
            yield Case(row, step, batch, dtype, format, function, laid_out, flops)


def _in_format(name: str, value: Any, format: str) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    if format == "contiguous" or name not in _IMAGES or np.ndim(value) < 3:
        return _on_cache_line(value)
    return np.moveaxis(_on_cache_line(np.moveaxis(value, 1, -1)), -1, 1)


def _on_cache_line(value: Array) -> Array:
    """A copy that starts where the sides' own results do; NumPy aligns to 16 bytes only."""
    memory = np.empty(value.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    copy = memory[start : start + value.nbytes].view(value.dtype).reshape(value.shape)
    copy[...] = value
    return copy


Call = tuple[str, str, Mapping[str, Any], int | None]  # pass, function, values by name, flops


def conv_output_size(row: Row) -> Shape:
    """Along each axis; of a transposed convolution too."""
    assert row.weight is not None
    axes = len(row.weight) - 2
    options = {"output_padding": 0, **row.options}
    stride, padding, extra, dilation = (
        value if isinstance(value := options[name], tuple) else (value,) * axes
        for name in ("stride", "padding", "output_padding", "dilation")
    )
    sizes = zip(row.shape[1:], row.weight[2:], stride, padding, extra, dilation, strict=True)
    if "transpose" in row.op:
        return tuple((n - 1) * s - 2 * p + d * (k - 1) + e + 1 for n, k, s, p, e, d in sizes)
    return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, _, d in sizes)


def _convolution(row: Row, batch: int, dtype: str) -> Iterator[Call]:
    assert row.weight is not None
    normal = _Normal(dtype)
    filters = row.weight[0]
    if transposed := "transpose" in row.op:
        filters = row.weight[1] * row.options["groups"]
    output_shape = (batch, filters, *conv_output_size(row))
    x = normal((batch, *row.shape))
    values = {
        **row.options,
        "input": x,
        "weight": normal(row.weight),
        "grad_output": normal(output_shape),
        "input_shape": x.shape,
        "weight_shape": row.weight,
    }
    # each input of a transposed convolution, and each output of another, meets so many weights
    flops = 2 * prod(x.shape if transposed else output_shape) * prod(row.weight[1:])
    yield "forward", row.op, values, flops
    yield "input", f"{row.op}_backward_input", values, flops
    yield "weight", f"{row.op}_backward_weight", values, flops


def _op(row: Row, batch: int, dtype: str) -> Iterator[Call]:
    normal = _Normal(dtype)
    x = normal((batch, *row.shape))
    if row.op == "conv2d_backward_bias":
        yield "bias", row.op, {"grad_output": x}, None
        return
    values = {**row.options, **_operands(row, batch, normal), "input": x, "input_shape": x.shape}
    flops = None if row.weight is None else 2 * batch * prod(row.weight)
    yield "forward", row.op, values, flops

    asking, names = _REMEMBERED.get(row.op, (None, ("output",)))
    forward = getattr(reference, row.op)
    known = {name: values[name] for name in signature(forward).parameters if name in values}
    results = forward(**known | ({asking: True} if asking else {}))
    values |= zip(names, results if asking else (results,), strict=True)
    values["grad_output"] = 1.0 if row.op in _LOSSES else normal(values["output"].shape)
    # linear's backward is two products
    yield "backward", f"{row.op}_backward", values, None if flops is None else 2 * flops


def _operands(row: Row, batch: int, normal: _Normal) -> dict[str, Any]:
    """What the op takes beside its input."""
    if row.op == "linear":
        assert row.weight is not None
        return {"weight": normal(row.weight), "bias": normal(row.weight[:1])}
    if row.op == "batch_norm":
        channels = row.shape[:1]
        return {
            "weight": normal(channels),
            "bias": normal(channels),
            "running_mean": normal(channels),
            "running_var": normal(channels) ** 2 + 1,
        }
    if row.op == "cross_entropy":
        return {"target": normal.rng.integers(row.shape[0], size=(batch, *row.shape[1:]))}
    if row.op == "mse_loss":
        return {"target": normal((batch, *row.shape))}
    if row.op == "binary_cross_entropy_with_logits":
        return {"target": normal.rng.random((batch, *row.shape)).astype(normal.dtype)}
    return {"rng": normal.rng} if row.op == "dropout" else {}


class _Normal:
    """Seeded normal numbers of one dtype."""

    def __init__(self, dtype: str) -> None:
        self.dtype = np.dtype(dtype)
        self.rng = np.random.default_rng(0)

    def __call__(self, shape: Shape) -> Array:
        numbers: Array = self.rng.standard_normal(shape, self.dtype)
        return numbers
