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
        reference._pair(dilation),
        reference._sides(padding, kernel, dilation),
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
def poolings(draw, *, dilated):
    """(input shape, options): options as `max_pool2d` takes them by keyword, less ceil's like."""
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    stride = draw(st.one_of(st.none(), _pairs(1, 4)))
    dilation = draw(st.tuples(st.integers(1, 3), st.integers(1, 3))) if dilated else (1, 1)
    extent = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    padding = draw(st.tuples(*[st.integers(0, e // 2) for e in extent]))
    size = draw(st.tuples(st.integers(1, 20), st.integers(1, 20)))
    ceil_mode = draw(st.booleans())
    steps = reference._pair(kernel if stride is None else stride)
    for n, p, e, s in zip(size, padding, extent, steps, strict=True):
        # in ceil mode the only window may reach beyond the padding
        assume(n + 2 * p + (s - 1 if ceil_mode else 0) >= e)
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
