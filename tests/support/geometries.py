"""Random geometries of convolutions and poolings, for Hypothesis."""

from dataclasses import dataclass

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from fastconv import reference
from support.arrays import integers


@dataclass(frozen=True)
class Conv:
    """One convolution: ``input_shape`` may lack N."""

    input_shape: tuple[int, ...]
    weight_shape: tuple[int, ...]
    stride: int | tuple[int, int] = 1
    padding: object = 0
    dilation: int | tuple[int, int] = 1
    groups: int = 1

    @property
    def options(self):
        return self.stride, self.padding, self.dilation, self.groups

    def operands(self, rng, dtype=np.float64, draw=integers):
        """(input, weight, bias, grad_output)."""
        x, w = draw(rng, self.input_shape, dtype), draw(rng, self.weight_shape, dtype)
        b = draw(rng, self.weight_shape[:1], dtype)
        forward = getattr(reference, f"conv{w.ndim - 2}d")
        return x, w, b, draw(rng, forward(x, w, b, *self.options).shape, dtype)


def _pairs(low, high):
    return st.one_of(
        st.integers(low, high), st.tuples(st.integers(low, high), st.integers(low, high))
    )


@st.composite
def convolutions(draw, *, small=False):
    """Any `Conv`; small ones are batched, and quick even in Python loops."""
    channels, widest = (2, 3) if small else (5, 20)
    groups = draw(st.integers(1, min(4, widest)))
    c_group, o_group = draw(st.integers(1, channels)), draw(st.integers(1, channels))
    if draw(st.booleans()):  # depthwise, often with a multiplier
        groups, c_group = draw(st.integers(1, widest)), 1
    kernel = draw(st.tuples(*[st.integers(1, 3 if small else 5)] * 2))
    padding = draw(
        st.one_of(
            _pairs(0, 3),
            st.just("same"),
            st.just("valid"),
            st.tuples(*[st.integers(0, 3)] * 4),
            st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * 2),
        )
    )
    stride = 1 if padding == "same" else draw(_pairs(1, 4))
    dilation = draw(_pairs(1, 3))
    sizes = [st.tuples(*[st.integers(1, 6 if small else 16)] * 2)]
    if not small:  # tall and wide
        sizes.append(st.tuples(st.integers(20, 70), st.integers(1, 3)))
        sizes.append(st.tuples(st.integers(1, 3), st.integers(20, 70)))
    size = draw(st.one_of(sizes))
    for n, k, d, sides in zip(
        size,
        kernel,
        reference.geometry.each_axis(dilation, 2),
        reference.geometry.sides_of(padding, kernel, dilation),
        strict=True,
    ):
        assume(n + sum(sides) >= d * (k - 1) + 1)
    batch = draw(st.sampled_from([(1,), (2,)] if small else [(), (1,), (2,), (3,)]))
    return Conv(
        (*batch, groups * c_group, *size),
        (groups * o_group, c_group, *kernel),
        stride,
        padding,
        dilation,
        groups,
    )


@st.composite
def poolings(draw, *, dilated, axes=2, any_padding=False):
    """(input shape, options): options as `max_pool2d` takes them by keyword, less ceil's like.

    With `any_padding` it may differ between the sides of an axis, or be a name.
    """

    def each(numbers):
        return st.tuples(*[numbers] * axes)

    kernel = draw(each(st.integers(1, 5)))
    stride = draw(st.one_of(st.none(), st.integers(1, 4), each(st.integers(1, 4))))
    dilation = draw(each(st.integers(1, 3))) if dilated else (1,) * axes
    extent = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    padding = draw(st.tuples(*[st.integers(0, e // 2) for e in extent]))
    size = draw(each(st.integers(1, {1: 70, 2: 20, 3: 11}[axes])))
    ceil_mode = draw(st.booleans())
    steps = reference.geometry.each_axis(kernel if stride is None else stride, axes)
    sides = [(p, p) for p in padding]
    if any_padding:
        sides = [(p, draw(st.integers(0, e // 2))) for p, e in zip(padding, extent, strict=True)]
        named = st.sampled_from(["same", "same_lower", "valid"])
        padding = draw(st.one_of(st.just(tuple(sides)), named))
        if isinstance(padding, str):
            sides = reference._pool.pool_sides(padding, size, kernel, steps, dilation)
    for n, p, e, s in zip(size, sides, extent, steps, strict=True):
        # in ceil mode the only window may reach beyond the padding
        assume(n + sum(p) + (s - 1 if ceil_mode else 0) >= e)
    options = {
        "kernel_size": kernel,
        "stride": stride,
        "padding": padding,
        "ceil_mode": ceil_mode,
    }
    if dilated:
        options["dilation"] = dilation
    batch = draw(st.sampled_from([(), (1,), (2,)]))
    return (*batch, draw(st.integers(1, 5)), *size), options
