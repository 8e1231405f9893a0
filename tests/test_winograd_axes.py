"""Winograd's algorithm over lines of taps, and with taps of the depth summed at its points.

Tiles of lines, F(4, 3), have fractions that are not binary, so in float64 results are compared
within the error of rounding, which leaves no room for a mistake; F(2x2, 3x3) is exact on small
integers, filters being multiples of 4.
"""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.arrays import integers
from support.geometries import Conv
from support.memory import MAX_SCRATCH

import fastconv
import fastconv.functional as F
from fastconv import _geometry, _ops, reference
from fastconv._drivers import runtime
from fastconv.functional._check import empty_like_format
from fastconv.testing import assert_within, rounding_bound

DTYPES = (np.float32, np.float64)


def channels_last(x):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def reversed_axes(x):
    """Every stride of the image is negative."""
    back = (slice(None), slice(None), *[slice(None, None, -1)] * (x.ndim - 2))
    return x[back].copy()[back]


LAYOUTS = {
    "contiguous": np.ascontiguousarray,
    "channels_last": channels_last,
    "fortran": np.asfortranarray,
    "reversed_axes": reversed_axes,
}


def draw(case, rng, dtype, one):
    """(input, weight, bias, grad_output) of `one(rng, shape, dtype)` each."""
    shape = _geometry.convolution(case.input_shape, case.weight_shape, *case.options)
    sizes = (shape.input_shape, shape.weight_shape, shape.weight_shape[:1], shape.output_shape)
    return [one(rng, size, dtype) for size in sizes]


def normal(rng, shape, dtype=np.float64):
    return rng.standard_normal(shape).astype(dtype)


def nan_like(like, shape):
    array = empty_like_format(like, shape)
    array.fill(np.nan)
    return array


def run_all(case, tile, x, w, b, g, weight=None):
    """Every pass, with tiles of a size, into arrays of NaN."""
    shape = _geometry.convolution(case.input_shape, case.weight_shape, *case.options)
    y, dx = nan_like(x, shape.output_shape), nan_like(g, shape.input_shape)
    dw = np.full(shape.weight_shape, np.nan, x.dtype)
    _ops.conv(x, w if weight is None else weight, b, y, shape, tile=tile)
    _ops.conv_backward_input(g, w, dx, shape, tile=tile)
    _ops.conv_backward_weight(g, x, dw, shape, tile=tile)
    return {"output": y, "grad_input": dx, "grad_weight": dw}


def run_reference(case, x, w, b, g):
    name = f"conv{w.ndim - 2}d"
    forward, backward_input, backward_weight = (
        getattr(reference, name + part) for part in ("", "_backward_input", "_backward_weight")
    )
    return {
        "output": forward(x, w, b, *case.options),
        "grad_input": backward_input(g, w, x.shape, *case.options),
        "grad_weight": backward_weight(g, x, w.shape, *case.options),
    }


def check(case, tile, dtype, layouts, rng):
    x, w, b, g = draw(case, rng, dtype, integers)
    w *= 4
    actual = run_all(case, tile, LAYOUTS[layouts[0]](x), w, b, LAYOUTS[layouts[1]](g))
    expected = run_reference(case, x, w, b, g)
    if tile == 2 and case.weight_shape[-2:] == (3, 3):
        for name, e in expected.items():
            np.testing.assert_array_equal(actual[name], e, err_msg=name, strict=True)
        return
    sums = {
        "output": (w[0].size, 64),
        "grad_input": (w[:, 0].size, 64),
        "grad_weight": (max(1, g[:, 0].size), 16),
    }
    for name, (n, largest) in sums.items():
        bound = rounding_bound(n, np.sqrt(n) * largest, dtype, c=8)
        assert actual[name].dtype == dtype
        assert_within(
            actual[name], expected[name], np.broadcast_to(bound, expected[name].shape), name=name
        )


# ---------------------------------------------------------------- geometry

layout_pairs = st.tuples(*[st.sampled_from(list(LAYOUTS))] * 2)


def sizes_for(draw, kernel, dilation, largest):
    """(sizes, paddings by sides) that a kernel fits into."""
    sizes, paddings = [], []
    for taps, d in zip(kernel, dilation, strict=True):
        sides = draw(st.tuples(st.integers(0, 4), st.integers(0, 4)))
        least = max(1, (taps - 1) * d + 1 - sum(sides))
        sizes.append(draw(st.integers(least, least + largest)))
        paddings.append(sides)
    return tuple(sizes), tuple(paddings)


@st.composite
def sequences(draw):
    """Any convolution in one dimension that the algorithm takes."""
    taps, dilation = draw(st.integers(2, 11)), draw(st.sampled_from([1, 1, 2, 3, 5, 16, 70]))
    size, padding = sizes_for(draw, (taps,), (dilation,), draw(st.sampled_from([20, 150])))
    batch, channels, filters = draw(
        st.tuples(st.integers(0, 3), st.integers(1, 40), st.integers(1, 40))
    )
    return Conv((batch, channels, *size), (filters, channels, taps), 1, padding, dilation)


KERNELS = [(3, 3, 3)] * 3 + [(1, 3, 3), (2, 3, 3), (7, 3, 3), (3, 1, 1), (1, 1, 3), (1, 3, 1)]
KERNELS += [(3, 1, 3), (2, 3, 1)]


@st.composite
def volumes(draw):
    """Any convolution in three dimensions that it takes: depth may have a step and a dilation."""
    kernel = draw(st.sampled_from(KERNELS))
    free = kernel != (3, 1, 1)
    stride = (draw(st.integers(1, 3)) if free else 1, 1, 1)
    dilation = (draw(st.integers(1, 3)) if free else 1, 1, 1)
    size, padding = sizes_for(draw, kernel, dilation, 11)
    batch, channels, filters = draw(
        st.tuples(st.integers(0, 3), st.integers(1, 36), st.integers(1, 36))
    )
    return Conv((batch, channels, *size), (filters, channels, *kernel), stride, padding, dilation)


@given(
    case=sequences(), dtype=st.sampled_from(DTYPES), layouts=layout_pairs, seed=st.integers(0, 99)
)
def test_any_sequence_equals_reference(case, dtype, layouts, seed):
    check(case, 4, dtype, layouts, np.random.default_rng(seed))


@given(
    case=volumes(),
    tile=st.sampled_from((4, 2)),
    dtype=st.sampled_from(DTYPES),
    layouts=layout_pairs,
    seed=st.integers(0, 99),
)
def test_any_volume_equals_reference(case, tile, dtype, layouts, seed):
    check(case, tile, dtype, layouts, np.random.default_rng(seed))


@given(
    case=st.sampled_from([(3, 1), (1, 3), (1, 2), (5, 1), (1, 7)]),
    height=st.integers(7, 30),
    width=st.integers(7, 30),
    padding=st.integers(0, 3),
    layouts=layout_pairs,
    seed=st.integers(0, 99),
)
def test_lines_of_an_image_equal_reference(case, height, width, padding, layouts, seed):
    conv = Conv((2, 17, height, width), (33, 17, *case), 1, padding)
    check(conv, 4, np.float64, layouts, np.random.default_rng(seed))


@given(
    case=st.one_of(sequences(), volumes()), tile=st.sampled_from((4, 2)), seed=st.integers(0, 99)
)
def test_backward_passes_are_the_adjoints_of_forward(case, tile, seed):
    x, w, _, g = draw(case, np.random.default_rng(seed), np.float64, normal)
    result = run_all(case, tile, x, w, None, g)
    inner = np.vdot(result["output"], g)
    size = np.vdot(abs(result["output"]), abs(g)) + 1
    assert abs(inner - np.vdot(x, result["grad_input"])) < 1e-12 * size
    assert abs(inner - np.vdot(w, result["grad_weight"])) < 1e-12 * size


# ---------------------------------------------------------------- branches

# each way that tiles and tasks are cut
BRANCHES = {
    "blocks of several slices": Conv((1, 20, 9, 26, 30), (40, 20, 3, 3, 3), 1, 1),
    "blocks of part of the depth": Conv((1, 20, 60, 9, 10), (24, 20, 3, 3, 3), 1, 1),
    "blocks across images": Conv((9, 20, 2, 3, 5), (36, 20, 3, 3, 3), 1, 1),
    "slices that share nothing": Conv((1, 18, 11, 12, 13), (20, 18, 3, 3, 3), (2, 1, 1), 1),
    "dilated depth": Conv((1, 18, 11, 12, 13), (20, 18, 3, 3, 3), 1, 1, (2, 1, 1)),
    "panels over shared points": Conv((1, 40, 3, 7, 6), (200, 40, 3, 3, 3), 1, 1),
    "panels, channels in blocks": Conv((1, 260, 3, 5, 6), (40, 260, 3, 3, 3), 1, 1),
    "panels, chunks of slices": Conv((1, 260, 70, 10, 10), (33, 260, 7, 3, 3), 1, (3, 1, 1)),
    "pieces of the weight": Conv((1, 260, 2, 5, 3), (270, 260, 3, 3, 3), 1, 1),
    "chunks of the weight's slices": Conv((1, 256, 90, 5, 6), (8, 256, 3, 3, 3), 1, 1),
    "no tap reaches some slices": Conv((1, 16, 1, 8, 9), (17, 16, 1, 3, 3), 1, (3, 1, 1)),
    "lines": Conv((3, 20, 1500), (40, 20, 3), 1, 1),
    "lines, panels": Conv((1, 40, 90), (300, 40, 3), 1, 1),
    "lines, segments": Conv((2, 20, 700), (40, 20, 8), 1, 4),
    "lines, panels of segments": Conv((1, 530, 60), (40, 530, 7), 1, 3),
    "dilated lines": Conv((2, 20, 999), (40, 20, 3), 1, 4, 4),
    "dilated lines, segments": Conv((2, 20, 999), (40, 20, 5), 1, 4, 2),
    "dilated lines, longer than a run": Conv((1, 20, 999), (40, 20, 3), 1, 100, 100),
    "dilated lines, panels": Conv((1, 20, 150), (200, 20, 3), 1, 3, 3),
    "chunks of the weight's lines": Conv((1, 256, 1500), (8, 256, 3), 1, 1),
}
every_branch = pytest.mark.parametrize("name", BRANCHES)


@every_branch
def test_every_branch_equals_reference(name, rng):
    for tile, (dtype, layout) in product((4, 2), zip(DTYPES, list(LAYOUTS)[:2], strict=True)):
        check(BRANCHES[name], tile, dtype, (layout, layout), rng)


@pytest.mark.usefixtures("isa")
@every_branch
def test_same_bits_for_any_number_of_threads_and_packed(name, rng):
    case = BRANCHES[name]
    for dtype, layout in zip(DTYPES, list(LAYOUTS)[:2], strict=True):
        x, w, b, g = draw(case, rng, dtype, normal)
        x, g = LAYOUTS[layout](x), LAYOUTS[layout](g)
        results = []
        for threads in (1, 2, 5):
            with fastconv.threads(threads):
                results.append(run_all(case, 4, x, w, b, g))
        packed = getattr(F, f"pack_conv{w.ndim - 2}d_weight", None)
        if packed is not None:
            results.append(run_all(case, 4, x, w, b, g, packed(w)))
        for result in results[1:]:
            for key, array in result.items():
                assert array.tobytes() == results[0][key].tobytes(), key


@every_branch
def test_nothing_beside_the_operands_is_read_or_written(name, rng):
    """Operands amid NaN, results amid 77."""
    case = BRANCHES[name]

    def framed(a, value):
        around = np.full([n + 2 for n in a.shape], float(value))
        inner = around[(slice(1, -1),) * a.ndim]
        inner[...] = a
        return around, inner

    x, w, b, g = draw(case, rng, np.float64, normal)
    expected = run_all(case, 4, x, w, b, g)
    x, w, g = (framed(a, np.nan)[1] for a in (x, w, g))
    shape = _geometry.convolution(case.input_shape, case.weight_shape, *case.options)
    for key, call in (
        ("output", lambda y: _ops.conv(x, w, b, y, shape, tile=4)),
        ("grad_input", lambda dx: _ops.conv_backward_input(g, w, dx, shape, tile=4)),
        ("grad_weight", lambda dw: _ops.conv_backward_weight(g, x, dw, shape, tile=4)),
    ):
        around, inner = framed(np.full(expected[key].shape, np.nan), 77)
        call(inner)
        np.testing.assert_array_equal(inner, expected[key])
        inner[...] = 77
        assert (around == 77).all()


EXTREMES = {
    "deep": Conv((1, 64, 300, 8, 8), (64, 64, 3, 3, 3), 1, 1),
    "deep, many channels": Conv((1, 512, 20, 4, 4), (32, 512, 7, 3, 3), 1, 3),
    "many channels": Conv((1, 2048, 3, 4, 4), (32, 2048, 3, 3, 3), 1, 1),
    "wide, dilated depth": Conv((1, 64, 9, 4, 900), (32, 64, 7, 3, 3), 1, 9, (3, 1, 1)),
    "long": Conv((1, 64, 200_000), (64, 64, 3), 1, 1),
    "long, many segments": Conv((1, 64, 20_000), (64, 64, 48), 1, 24),
    "many channels in a line": Conv((1, 8192, 40), (32, 8192, 9), 1, 4),
    "dilated": Conv((1, 64, 20_000), (64, 64, 3), 1, 4000, 4000),
}


@pytest.mark.parametrize("layout", list(LAYOUTS)[:2])
@pytest.mark.parametrize("name", EXTREMES)
def test_scratch_is_bounded(name, layout):
    case = EXTREMES[name]
    x, w, _, g = draw(case, None, np.float32, lambda _, size, dtype: np.zeros(size, dtype))
    x, g = LAYOUTS[layout](x), LAYOUTS[layout](g)
    runtime.largest_scratch()
    run_all(case, 4, x, w, None, g)
    assert 0 < runtime.largest_scratch() <= MAX_SCRATCH


# ---------------------------------------------------------------- which algorithm

CHOICES = {  # forward's, as conv_algorithm names it
    "winograd 4x4": Conv((1, 64, 16, 56, 56), (64, 64, 3, 3, 3), 1, 1),
    "winograd 4": Conv((4, 128, 1000), (128, 128, 3), 1, 4, 4),
    "direct": Conv((1, 64, 16, 56, 56), (64, 64, 3, 3, 3), 2, 1),
}


@pytest.mark.parametrize("name", CHOICES)
def test_auto_takes_the_algorithm_with_fewer_products(name):
    case = CHOICES[name]
    shape = _geometry.convolution(case.input_shape, case.weight_shape, *case.options)
    for step in ("forward", "input", "weight"):
        assert _ops.conv_algorithm(shape, step, np.float32) == name
    with fastconv.accuracy("strict"):
        assert _ops.conv_algorithm(shape, "forward", np.float32) == "direct"


@pytest.mark.parametrize(
    ("size", "kernel", "options", "contains"),
    [
        ((8, 8, 8), (3, 5, 3), {}, "3 x 5 x 3 kernel"),
        ((8, 8, 8), (3, 3, 3), {"stride": 2}, r"stride=\(2, 2, 2\)"),
        ((8, 8, 8), (8, 3, 3), {}, "8 x 3 x 3 kernel"),
        ((8, 8, 8), (3, 1, 1), {"dilation": (2, 1, 1)}, r"dilation=\(2, 1, 1\)"),
        ((60,), (49,), {}, "1 x 49 kernel"),
        ((60,), (1,), {}, "1 x 1 kernel"),
        ((60,), (3,), {"stride": 2}, r"stride=\(1, 2\)"),
        ((60,), (3,), {"groups": 2}, "groups=2"),
    ],
)
def test_geometries_that_it_cannot_compute_are_refused(size, kernel, options, contains):
    x, w = np.ones((1, 4, *size)), np.ones((4, 4 // options.get("groups", 1), *kernel))
    with pytest.raises(ValueError, match=f"algorithm='winograd' needs.*{contains}"):
        getattr(F, f"conv{len(size)}d")(x, w, algorithm="winograd", **options)
