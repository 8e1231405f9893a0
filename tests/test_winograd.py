"""Winograd convolution: every pass, tile and branch against the reference, exactly where it can be.

F(2x2, 3x3) divides filters by 4 and everything else by nothing, so that on small integers, filters
being multiples of 4, not a bit may differ. F(4x4, 3x3) has fractions that are not binary and is
compared within the error of its rounding; in float64 that leaves no room for a mistake.
"""

import pickle
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import isas
from support.arrays import LAYOUTS, integers
from support.convolutions import assert_identical, run_reference
from support.geometries import Conv
from support.memory import MAX_SCRATCH, block

import fastconv
import fastconv.functional as F
from fastconv import _geometry, _ops, nn
from fastconv._drivers import memory, runtime
from fastconv.functional._check import empty_like_format
from fastconv.testing import assert_close, assert_within, rounding_bound

TILES = (4, 2)
DTYPES = (np.float32, np.float64)
FORMATS = ("contiguous", "channels_last")
THREADS = (1, 2, 3, 4, 7)

every_tile = pytest.mark.parametrize("tile", TILES)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_format = pytest.mark.parametrize("layout", FORMATS)
# where both are to be tried, but not with one another
dtypes_and_formats = pytest.mark.parametrize(
    ("dtype", "layout"), list(zip(DTYPES, FORMATS, strict=True))
)


def spoil_kept_memory(largest=1 << 20):
    """NaN in memory that is kept, and at least one block of each size: what comes next uses it."""
    for quarters in range(4, 8):
        for log2 in range(12, largest.bit_length()):
            blocks, kept = [], memory.kept_bytes() + 1
            while memory.kept_bytes() < kept:
                kept = memory.kept_bytes()
                blocks.append(block((quarters << log2) >> 2))
                blocks[-1][:] = 0xFF


def draw(case, rng, dtype, one):
    """(input, weight, bias, grad_output) of `one(rng, shape, dtype)` each."""
    shape = _geometry.convolution(case.input_shape, case.weight_shape, *case.options)
    sizes = (shape.input_shape, shape.weight_shape, shape.weight_shape[:1], shape.output_shape)
    return [one(rng, size, dtype) for size in sizes]


def operands(case, rng, dtype=np.float64):
    """Small integers, filters of multiples of 4."""
    x, w, b, g = draw(case, rng, dtype, integers)
    return x, 4 * w, b, g


def normal(case, rng, dtype=np.float64):
    return draw(
        case, rng, dtype, lambda rng, shape, dtype: rng.standard_normal(shape).astype(dtype)
    )


def nan_like(like, shape):
    array = empty_like_format(like, shape)
    array.fill(np.nan)
    return array


def run_all(case, tile, x, w, b, g, relu=False):
    """Every pass of a batched case, with tiles of a size, into arrays of NaN."""
    shape = _geometry.convolution(case.input_shape, case.weight_shape, *case.options)
    y, dx = nan_like(x, shape.output_shape), nan_like(g, shape.input_shape)
    dw = np.full(shape.weight_shape, np.nan, x.dtype)
    _ops.conv(x, w, b, y, shape, relu=relu, tile=tile)
    _ops.conv_backward_input(g, w, dx, shape, tile=tile)
    _ops.conv_backward_weight(g, x, dw, shape, tile=tile)
    return {"output": y, "grad_input": dx, "grad_weight": dw}


def expectation(case, x, w, b, g):
    """Every pass by the reference, and how wrong F(4x4) may be."""
    expected = run_reference(case, x, w, b, g)
    del expected["grad_bias"]
    sums = {  # of how many products, and the largest of these
        "output": (w[0].size, 64),
        "grad_input": (w[:, 0].size, 64),
        "grad_weight": (g[:, 0].size, 16),
    }
    bounds = {  # of random signs: sums grow with the root of their length
        name: rounding_bound(n, np.sqrt(n) * largest, x.dtype, c=8)
        for name, (n, largest) in sums.items()
    }
    return expected, bounds


def assert_right(tile, actual, expectation):
    """Operands are those of `operands`."""
    expected, bounds = expectation
    if tile == 2:
        assert_identical(actual, expected)
        return
    for name, e in expected.items():
        assert actual[name].dtype == e.dtype, name
        assert_within(actual[name], e, np.broadcast_to(bounds[name], e.shape), name=name)


def check(case, tile, dtype, layouts, rng):
    x, w, b, g = operands(case, rng, dtype)
    changed = [LAYOUTS[name](a) for name, a in zip(layouts, (x, w, g), strict=True)]
    actual = run_all(case, tile, changed[0], changed[1], b, changed[2])
    assert_right(tile, actual, expectation(case, x, w, b, g))


def bits(result):
    return {name: array.tobytes() for name, array in result.items()}


# ---------------------------------------------------------------- geometry

PADDINGS = [0, 1, 2, 3, (1, 0), (0, 1, 2, 0), (3, 0, 0, 1), (0, 2, 0, 0), (9, 14, 11, 8)]
SIZES = sorted(
    {size for n in range(1, 14) for size in ((n, n), (n, 14 - n), (1, n), (n, 1), (3, n), (n, 5))}
)


def fits(size, padding):
    try:
        _geometry.convolution((1, 1, *size), (1, 1, 3, 3), 1, padding)
    except ValueError:
        return False
    return True


@every_tile
@pytest.mark.parametrize("padding", PADDINGS, ids=str)
def test_every_image_size_equals_reference(padding, tile, rng):
    spoil_kept_memory()
    layouts = list(product(FORMATS, repeat=3))
    sizes = [size for size in SIZES if fits(size, padding)]
    assert len(sizes) >= 29
    for size, n in zip(sizes, count()):
        case = Conv((1 + n % 3, 1 + n % 5, *size), (1 + n % 4, 1 + n % 5, 3, 3), 1, padding)
        for dtype in DTYPES:
            check(case, tile, dtype, layouts[n % len(layouts)], rng)


CHANNELS = (1, 3, 5, 15, 16, 17, 31, 33, 64, 130)


@pytest.mark.usefixtures("isa")
@every_format
@every_dtype
@every_tile
def test_channels_and_filters_need_not_fill_vectors(tile, dtype, layout, rng):
    spoil_kept_memory()
    for n, channels in enumerate(CHANNELS):
        for filters in (CHANNELS[-1 - n], CHANNELS[(n + 3) % 10]):
            case = Conv((2, channels, 3, 5), (filters, channels, 3, 3), 1, 1)
            check(case, tile, dtype, [layout] * 3, rng)


@st.composite
def geometries(draw):
    """Any geometry that the algorithm takes, an empty batch too."""
    top, bottom, left, right = sides = draw(st.tuples(*[st.integers(0, 5)] * 4))
    height = draw(st.integers(max(1, 3 - top - bottom), 20))
    width = draw(st.integers(max(1, 3 - left - right), 20))
    batch, channels, filters = draw(
        st.tuples(st.integers(0, 3), st.integers(1, 40), st.integers(1, 40))
    )
    return Conv((batch, channels, height, width), (filters, channels, 3, 3), 1, sides)


strided = st.tuples(*[st.sampled_from([name for name in LAYOUTS if name != "misaligned"])] * 3)


@given(
    case=geometries(),
    tile=st.sampled_from(TILES),
    dtype=st.sampled_from(DTYPES),
    layouts=strided,
    seed=st.integers(0, 99),
)
def test_any_geometry_and_strides_equal_reference(case, tile, dtype, layouts, seed):
    check(case, tile, dtype, layouts, np.random.default_rng(seed))


@given(case=geometries(), tile=st.sampled_from(TILES), seed=st.integers(0, 99))
def test_backward_passes_are_the_adjoints_of_forward(case, tile, seed):
    """<conv(x, w), g> = <x, backward_input(g, w)> = <w, backward_weight(g, x)>."""
    x, w, _, g = normal(case, np.random.default_rng(seed))
    result = run_all(case, tile, x, w, None, g)
    inner = np.vdot(result["output"], g)
    size = np.vdot(abs(result["output"]), abs(g)) + 1
    assert abs(inner - np.vdot(x, result["grad_input"])) < 1e-12 * size
    assert abs(inner - np.vdot(w, result["grad_weight"])) < 1e-12 * size


@given(case=geometries(), tile=st.sampled_from(TILES), seed=st.integers(0, 99))
def test_passes_are_linear_in_every_operand(case, tile, seed):
    rng = np.random.default_rng(seed)
    x, w, _, g = normal(case, rng)
    x2, w2, _, g2 = normal(case, rng)

    def run(x=x, w=w, g=g):
        return run_all(case, tile, x, w, None, g)

    terms = 9 * max(x.shape[1], len(w), g[:, 0].size)
    for name, one, two in (("x", x, x2), ("w", w, w2), ("g", g, g2)):
        mixed, one, two = (run(**{name: a}) for a in (2 * one - two, one, two))
        linear = {"x": ("output", "grad_weight"), "w": ("output", "grad_input")}
        for result in linear.get(name, ("grad_input", "grad_weight")):
            difference = mixed[result] - (2 * one[result] - two[result])
            assert abs(difference).max(initial=0) < 1e-14 * terms


# ---------------------------------------------------------------- memory

CASE = Conv((2, 19, 11, 14), (35, 19, 3, 3), 1, (1, 2, 0, 1))


@every_tile
def test_operands_may_be_broadcast(tile, rng):
    """Stride-0 views read the same element again and again."""
    case = Conv((2, 5, 9, 10), (6, 5, 3, 3), 1, 1)
    pixels = integers(rng, (1, 5, 1, 1))
    for x in (pixels, np.ascontiguousarray(pixels)[:, :1], integers(rng, (2, 5, 9, 1))):
        x = np.broadcast_to(x, case.input_shape)
        g = np.broadcast_to(np.float64(3), (2, 6, 9, 10))
        w = np.broadcast_to(4 * integers(rng, (6, 1, 1, 3)), case.weight_shape)
        b = integers(rng, (6,))
        result = run_all(case, tile, x, w, b, g)
        assert_right(tile, result, expectation(case, x, w, b, g))


@pytest.mark.usefixtures("isa")
@every_tile
@pytest.mark.parametrize(
    "layout", [name for name in LAYOUTS if name not in ("read_only", "misaligned")]
)
def test_out_may_have_any_strides(layout, tile, rng):
    x, w, b, g = operands(CASE, rng, np.float32)
    expected = run_all(CASE, tile, x, w, b, g)
    shape = _geometry.convolution(CASE.input_shape, CASE.weight_shape, *CASE.options)
    out = {name: LAYOUTS[layout](np.full(a.shape, np.nan, a.dtype)) for name, a in expected.items()}
    _ops.conv(x, w, b, out["output"], shape, tile=tile)
    _ops.conv_backward_input(g, w, out["grad_input"], shape, tile=tile)
    _ops.conv_backward_weight(g, x, out["grad_weight"], shape, tile=tile)
    assert_identical(out, expected)
    if layout == "every_second":  # 77 is in between
        for array in out.values():
            between = np.ones(array.base.shape, bool)
            between[tuple(slice(None, None, 2) for _ in array.shape)] = False
            assert (array.base[between] == 77).all()


@every_format
@every_dtype
@every_tile
def test_nothing_is_written_beside_the_outputs(tile, dtype, layout, rng):
    """Results amid a frame of other numbers, which stay what they are."""
    x, w, b, g = operands(CASE, rng, dtype)
    shape = _geometry.convolution(CASE.input_shape, CASE.weight_shape, *CASE.options)
    for sizes, call in (
        (shape.output_shape, lambda y: _ops.conv(x, w, b, y, shape, tile=tile)),
        (shape.input_shape, lambda dx: _ops.conv_backward_input(g, w, dx, shape, tile=tile)),
        (
            shape.weight_shape,
            lambda dw: _ops.conv_backward_weight(g, x, dw, shape, tile=tile),
        ),
    ):
        framed = LAYOUTS[layout](np.full([n + 2 for n in sizes], 77, dtype))
        inner = framed[(slice(1, -1),) * 4]
        inner[...] = np.nan
        call(inner)
        assert np.isfinite(inner).all()
        inner[...] = 77
        assert (framed == 77).all()


@every_format
@every_tile
def test_nothing_is_read_beside_the_operands(tile, layout, rng):
    """Operands amid NaN."""
    arrays = operands(CASE, rng, np.float32)
    framed = []
    for a in arrays:
        around = np.full([n + 2 for n in a.shape], np.nan, a.dtype)
        around = LAYOUTS[layout](around) if a.ndim == 4 else around
        inner = around[(slice(1, -1),) * a.ndim]
        inner[...] = a
        framed.append(inner)
    expected = run_all(CASE, tile, *arrays)
    assert_identical(run_all(CASE, tile, *framed), expected)


def test_functional_layer_accepts_formats_out_and_unbatched_images(rng):
    """Options and formats, out= and images without a batch, as with any algorithm."""
    batched = Conv((1, 3, 8, 9), (4, 3, 3, 3), 1, 1)
    x, w, b, g = normal(batched, rng)
    expected = run_all(batched, TILES[0], x, w, b, g)
    x, g = x[0], g[0]
    for e, call in zip(
        expected.values(),
        (
            lambda **out: F.conv2d(x, w, b, padding=1, algorithm="winograd", **out),
            lambda **out: F.conv2d_backward_input(
                g, w, x.shape, padding=1, algorithm="winograd", **out
            ),
            lambda **out: F.conv2d_backward_weight(
                g, x, w.shape, padding=1, algorithm="winograd", **out
            ),
        ),
        strict=True,
    ):
        result = call()
        assert_close(result, e.reshape(result.shape), atol=1e-13)
        out = np.full(result.shape, np.nan)
        assert call(out=out) is out
        assert out.tobytes() == result.tobytes()


@every_tile
def test_empty_batch_gives_empty_results(tile):
    case = Conv((0, 3, 8, 8), (4, 3, 3, 3), 1, 1)
    x, w, b, g = np.zeros((0, 3, 8, 8)), np.ones((4, 3, 3, 3)), np.ones(4), np.zeros((0, 4, 8, 8))
    result = run_all(case, tile, x, w, b, g)
    assert result["output"].shape == g.shape
    assert result["grad_input"].shape == x.shape
    np.testing.assert_array_equal(result["grad_weight"], np.zeros(w.shape))


# ---------------------------------------------------------------- branches

# Shapes that make the driver take each of its ways, as few as will; in parts that are not equal.
BRANCHES = {
    "blocks of tiles": Conv((2, 20, 26, 50), (40, 20, 3, 3), 1, 1),
    "wide rows": Conv((1, 18, 5, 300), (9, 18, 3, 3), 1, 1),
    "wide rows, first layer": Conv((1, 3, 9, 280), (48, 3, 3, 3), 1, 1),
    "blocks across images": Conv((40, 20, 3, 5), (36, 20, 3, 3), 1, 1),
    "one tile": Conv((1, 40, 1, 1), (70, 40, 3, 3), 1, 1),
    "panels over shared points": Conv((3, 40, 7, 6), (200, 40, 3, 3), 1, 1),
    "panels, blocks of tiles": Conv((1, 8, 40, 46), (520, 8, 3, 3), 1, 1),
    "panels, channels in blocks": Conv((1, 520, 5, 6), (40, 520, 3, 3), 1, 1),
    "panels, chunks of tiles": Conv((1, 1050, 20, 27), (36, 1050, 3, 3), 1, 1),
    "panels, blocks of tiles and of channels": Conv((1, 258, 22, 23), (257, 258, 3, 3), 1, 1),
    "few filters of many channels": Conv((1, 1050, 9, 10), (3, 1050, 3, 3), 1, 1),
    "pieces of the weight": Conv((2, 260, 5, 3), (270, 260, 3, 3), 1, 1),
    "chunks of the weight's tiles": Conv((1, 256, 49, 57), (8, 256, 3, 3), 1, 1),
}
every_branch = pytest.mark.parametrize("name", BRANCHES)


@every_dtype
@every_branch
def test_every_branch_equals_reference(name, dtype, rng):
    case = BRANCHES[name]
    x, w, b, g = operands(case, rng, dtype)
    right = expectation(case, x, w, b, g)
    for tile in TILES:
        spoil_kept_memory(1 << 23)
        for layout in FORMATS:
            actual = run_all(case, tile, LAYOUTS[layout](x), w, b, LAYOUTS[layout](g))
            assert_right(tile, actual, right)


@pytest.mark.usefixtures("isa")
@dtypes_and_formats
@every_branch
def test_same_bits_for_any_number_of_threads(name, dtype, layout, rng):
    case = BRANCHES[name]
    x, w, b, g = normal(case, rng, dtype)
    x, g = LAYOUTS[layout](x), LAYOUTS[layout](g)
    for tile in TILES:
        results = []
        for threads in THREADS:
            with fastconv.threads(threads):
                results.append(bits(run_all(case, tile, x, w, b, g)))
        assert all(r == results[0] for r in results[1:])


@pytest.mark.usefixtures("isa")
@every_dtype
@every_tile
def test_fused_relu_has_the_bits_of_a_separate_relu(tile, dtype, rng):
    for case in (CASE, BRANCHES["panels over shared points"]):
        for layout in FORMATS:
            x, w, b, g = normal(case, rng, dtype)
            x[0, 0, -1, -1], x[-1, -1, 0, 0] = np.nan, -np.inf
            for bias in (None, b):
                with np.errstate(invalid="ignore"):
                    y, fused = (
                        run_all(case, tile, LAYOUTS[layout](x), w, bias, g, relu)["output"]
                        for relu in (False, True)
                    )
                assert fused.tobytes() == F.relu(y).tobytes()
                assert (fused == 0).any()


# ---------------------------------------------------------------- scratch

EXTREMES = {
    "first layer": ((2, 3, 224, 224), (64, 3, 3, 3)),
    "wide": ((1, 64, 4, 4000), (64, 64, 3, 3)),
    "tall": ((1, 64, 4000, 4), (64, 64, 3, 3)),
    "wide, one channel": ((1, 1, 4, 60000), (32, 1, 3, 3)),
    "many filters": ((1, 64, 7, 7), (2048, 64, 3, 3)),
    "many filters and tiles": ((1, 3, 60, 100), (700, 3, 3, 3)),
    "very many filters": ((1, 2, 2, 60), (20000, 2, 3, 3)),
    "filters outweigh images": ((1, 512, 7, 7), (1024, 512, 3, 3)),
    "many channels": ((1, 4096, 7, 7), (64, 4096, 3, 3)),
    "many channels, many tiles": ((1, 1024, 30, 30), (32, 1024, 3, 3)),
    "very many channels": ((1, 30000, 3, 3), (2, 30000, 3, 3)),
}


@dtypes_and_formats
@every_tile
@pytest.mark.parametrize("name", EXTREMES)
def test_scratch_is_bounded(name, tile, dtype, layout):
    case = Conv(*EXTREMES[name], padding=1)
    x, w = LAYOUTS[layout](np.zeros(case.input_shape, dtype)), np.zeros(case.weight_shape, dtype)
    n, filters = len(x), len(w)
    shape = _geometry.convolution(case.input_shape, case.weight_shape, *case.options)
    y = empty_like_format(x, (n, filters, *x.shape[2:]))
    runtime.largest_scratch()
    _ops.conv(x, w, None, y, shape, tile=tile)
    forward = runtime.largest_scratch()
    _ops.conv_backward_input(y, w, x, shape, tile=tile)
    backward_input = runtime.largest_scratch()
    _ops.conv_backward_weight(y, x, w, shape, tile=tile)
    backward_weight = runtime.largest_scratch()
    for nbytes in (forward, backward_input, backward_weight):
        assert 0 < nbytes <= MAX_SCRATCH


# ---------------------------------------------------------------- packed weights


@dtypes_and_formats
@every_branch
def test_packed_weights_have_the_same_bits(name, dtype, layout, rng):
    case = BRANCHES[name]
    x, w, b, _ = normal(case, rng, dtype)
    x = LAYOUTS[layout](x)
    packed = F.pack_conv2d_weight(w)
    shape = _geometry.convolution(case.input_shape, case.weight_shape, *case.options)
    for tile in (*TILES, TILES[0]):
        y, expected = (nan_like(x, shape.output_shape) for _ in range(2))
        _ops.conv(x, packed, b, y, shape, tile=tile)
        _ops.conv(x, w, b, expected, shape, tile=tile)
        assert y.tobytes() == expected.tobytes()


def test_packed_weight_owns_its_filters_and_is_pickled(rng):
    x, w, b, _ = normal(CASE, rng)
    options = {"padding": CASE.padding, "algorithm": "winograd"}
    expected = F.conv2d(x, w, b, **options).tobytes()
    packed = F.pack_conv2d_weight(w)
    w[...] = np.nan
    for weight in (packed, packed, pickle.loads(pickle.dumps(packed))):  # noqa: S301
        assert F.conv2d(x, weight, b, **options).tobytes() == expected


def test_packed_weight_is_right_under_another_instruction_set(rng):
    x, w, b, _ = normal(CASE, rng)
    packed = F.pack_conv2d_weight(w)
    for name in runtime.available_isas():
        with isas.selected(name):
            y, expected = (
                F.conv2d(x, weight, b, padding=CASE.padding, algorithm="winograd")
                for weight in (packed, w)
            )
        assert y.tobytes() == expected.tobytes()


def test_packed_layer_has_the_bits_of_an_unpacked_one(rng):
    layer = nn.Conv2d(19, 35, 3, padding=1, rng=0, algorithm="winograd")
    x = normal(CASE, rng, np.float32)[0]
    y = layer(x)
    expected = F.conv2d(x, layer.weight.data, layer.bias.data, padding=1, algorithm="winograd")
    with nn.no_grad(), nn.packed(layer):
        for result in (y, layer(x), layer(x)):
            assert result.data.tobytes() == expected.tobytes()


def test_threads_can_share_a_packed_weight_from_its_first_use(rng):
    w = rng.standard_normal((96, 64, 3, 3), np.float32)
    images = [rng.standard_normal((1, 64, s, s), np.float32) for s in (3, 9, 12, 20)]
    expected = [F.conv2d(x, w, algorithm="winograd").tobytes() for x in images]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            packed = F.pack_conv2d_weight(w)
            call = partial(F.conv2d, weight=packed, algorithm="winograd")
            results = pool.map(call, images * 2)
            assert [y.tobytes() for y in results] == expected * 2


# ---------------------------------------------------------------- choice

# large enough for Winograd to be the faster by far
LARGE = Conv((2, 128, 28, 28), (128, 128, 3, 3), 1, 1)


def functional(case, algorithm, x, w, g):
    return bits(
        {
            "output": F.conv2d(x, w, None, *case.options, algorithm=algorithm),
            "grad_input": F.conv2d_backward_input(
                g, w, x.shape, *case.options, algorithm=algorithm
            ),
            "grad_weight": F.conv2d_backward_weight(
                g, x, w.shape, *case.options, algorithm=algorithm
            ),
        }
    )


def test_strict_accuracy_is_direct_unless_winograd_is_named(rng):
    x, w, _, g = normal(LARGE, rng, np.float32)
    direct, winograd = (functional(LARGE, name, x, w, g) for name in ("direct", "winograd"))
    with fastconv.accuracy("strict"):
        assert functional(LARGE, "auto", x, w, g) == direct
        packed = F.conv2d(x, F.pack_conv2d_weight(w), None, *LARGE.options)
        assert packed.tobytes() == direct["output"]
        assert functional(LARGE, "winograd", x, w, g) == winograd
    for name in direct:
        assert direct[name] != winograd[name]


def test_fast_accuracy_takes_winograd_for_a_large_layer(rng):
    x, w, _, g = normal(LARGE, rng, np.float32)
    with fastconv.accuracy("fast"):
        auto = functional(LARGE, "auto", x, w, g)
    direct = functional(LARGE, "direct", x, w, g)
    for name in auto:
        assert auto[name] != direct[name], name


# ---------------------------------------------------------------- errors

REFUSED = [
    # weight shape, options, what the message says
    ((4, 4, 3, 3), {"stride": 2}, ["stride=(2, 2)"]),
    ((4, 4, 3, 3), {"stride": (1, 2)}, ["stride=(1, 2)"]),
    ((4, 4, 3, 3), {"dilation": 2}, ["dilation=(2, 2)"]),
    ((4, 4, 3, 3), {"dilation": (2, 1)}, ["dilation=(2, 1)"]),
    ((4, 2, 3, 3), {"groups": 2}, ["groups=2"]),
    ((4, 1, 3, 3), {"groups": 4}, ["groups=4"]),
    ((4, 4, 5, 5), {}, ["5 x 5 kernel"]),
    ((4, 4, 1, 1), {}, ["1 x 1 kernel"]),
    ((4, 4, 3, 2), {}, ["3 x 2 kernel"]),
]


def calls(weight_shape, algorithm, **options):
    """Each function's call, with operands that suit the options."""
    x, w = np.ones((1, 4, 8, 8)), np.ones(weight_shape)
    g = np.ones(_geometry.convolution(x.shape, w.shape, **options).output_shape)
    options["algorithm"] = algorithm
    return (
        lambda: F.conv2d(x, w, **options),
        lambda: F.conv2d_backward_input(g, w, x.shape, **options),
        lambda: F.conv2d_backward_weight(g, x, w.shape, **options),
        lambda: F.conv2d(x, F.pack_conv2d_weight(w, options.get("groups", 1)), **options),
        lambda: nn.Conv2d(4, 4, w.shape[2:], dtype=x.dtype, **options)(x),
    )


@pytest.mark.parametrize(("weight_shape", "options", "contains"), REFUSED)
def test_geometries_that_winograd_cannot_compute_are_refused(weight_shape, options, contains):
    for call in calls(weight_shape, "winograd", **options):
        with pytest.raises(ValueError, match="algorithm='winograd'") as caught:
            call()
        for text in contains:
            assert text in str(caught.value)


@pytest.mark.parametrize("algorithm", ["winograd 4x4", "winograd 2x2", "Winograd", "", None])
def test_unknown_algorithms_are_refused(algorithm):
    for call in calls((4, 4, 3, 3), algorithm):
        with pytest.raises(
            ValueError, match="algorithm must be 'auto', 'direct', 'winograd' or 'fft'"
        ) as e:
            call()
        assert repr(algorithm) in str(e.value)
