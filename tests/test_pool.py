"""Pools and their gradients: exact against the reference, PyTorch's rules, strict on arguments."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.arrays import (
    LAYOUTS,
    assert_equal,
    channels_last,
    distinct,
    integers,
    is_channels_last,
)
from support.geometries import poolings

import fastconv
import fastconv.functional as F
from fastconv import reference
from fastconv._drivers import runtime
from fastconv.testing import assert_close, gradcheck

DTYPES = [np.float32, np.float64]

SHAPE = (2, 5, 9, 11)
#: windows larger than a 5 x 4 image, with its padding
OVERHANGING = [
    {"kernel_size": 6, "stride": 3, "ceil_mode": True},
    {"kernel_size": (3, 7), "stride": (2, 4), "ceil_mode": True},
    {"kernel_size": 9, "stride": 5, "padding": (1, 2), "ceil_mode": True},
    {"kernel_size": 3, "stride": 4, "dilation": 3, "ceil_mode": True},
    {"kernel_size": (7, 2), "stride": (3, 1), "ceil_mode": True},
]
MAX_OPTIONS = [
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": (3, 2), "stride": (1, 3), "padding": (1, 0)},
    {"kernel_size": 3, "stride": 1, "padding": 1},
    {"kernel_size": (2, 3), "dilation": (3, 2), "stride": 1, "padding": 1},
    {"kernel_size": 4, "stride": 3, "ceil_mode": True},
    {"kernel_size": 2, "stride": 2, "padding": 1, "ceil_mode": True},
    {"kernel_size": 1, "stride": 4},
    {"kernel_size": (9, 11)},
]
AVG_OPTIONS = [
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False},
    {"kernel_size": 2, "stride": 2, "padding": 1, "ceil_mode": True},
    {"kernel_size": 4, "stride": 3, "padding": 2, "ceil_mode": True, "count_include_pad": False},
    {"kernel_size": (3, 2), "stride": (1, 3), "padding": (1, 0), "divisor_override": 3},
    {"kernel_size": 2, "divisor_override": -2},
    {"kernel_size": (9, 11)},
]
ADAPTIVE_SIZES = [1, (1, 1), (3, 4), (9, 11), (4, 7), (13, 2)]


def ties(rng, shape, dtype=np.float64):
    """Few different values: most windows have several equal maxima."""
    return integers(rng, shape, dtype, limit=2)


# ---- one row per pool: a name, and (input -> (output, grad_output -> grad_input)) in module `m`


def max_pool(m, x, options):
    y, indices = m.max_pool2d(x, **options, return_indices=True)
    return y, lambda g: m.max_pool2d_backward(g, indices, x.shape)


def avg_pool(m, x, options):
    y = m.avg_pool2d(x, **options)
    return y, lambda g: m.avg_pool2d_backward(g, x.shape, **options)


def adaptive_avg(m, x, size):
    return m.adaptive_avg_pool2d(x, size), lambda g: m.adaptive_avg_pool2d_backward(g, x.shape)


def adaptive_max(m, x, size):
    y, indices = m.adaptive_max_pool2d(x, size, return_indices=True)
    return y, lambda g: m.adaptive_max_pool2d_backward(g, indices, x.shape)


def global_avg(m, x, _):
    return m.global_avg_pool2d(x), lambda g: m.global_avg_pool2d_backward(g, x.shape)


def global_max(m, x, _):
    y, indices = m.global_max_pool2d(x, return_indices=True)
    return y, lambda g: m.global_max_pool2d_backward(g, indices, x.shape)


POOLS = [
    *[pytest.param(max_pool, o, id=f"max-{o}") for o in MAX_OPTIONS],
    *[pytest.param(avg_pool, o, id=f"avg-{o}") for o in AVG_OPTIONS],
    *[pytest.param(adaptive_avg, s, id=f"adaptive_avg-{s}") for s in ADAPTIVE_SIZES],
    *[pytest.param(adaptive_max, s, id=f"adaptive_max-{s}") for s in ADAPTIVE_SIZES],
    pytest.param(global_avg, None, id="global_avg"),
    pytest.param(global_max, None, id="global_max"),
]
ONE_OF_EACH = [POOLS[1], POOLS[len(MAX_OPTIONS) + 1], *POOLS[-2:]] + [
    p for p in POOLS if p.values[1] == (4, 7)
]
AVERAGES = (avg_pool, adaptive_avg, global_avg)


def assert_pool_equal(pool, options, x, g_for, layout=np.ascontiguousarray):
    """Forward and backward equal the reference: averages to rounding, maxima exactly."""
    expected, expected_back = pool(reference, x, options)
    actual, actual_back = pool(F, layout(x), options)
    g = g_for(expected.shape)
    compare = assert_close if pool in AVERAGES else assert_equal
    compare(actual, expected, name="output")
    # sums of small integers are exact, but an average divides first
    compare(actual_back(layout(g)), expected_back(g), name="grad_input")


# ----------------------------------------------------------------------- values


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("pool", "options"), POOLS)
def test_equals_reference(pool, options, layout, dtype, rng):
    x = ties(rng, SHAPE, dtype)
    assert_pool_equal(pool, options, x, lambda s: integers(rng, s, dtype), LAYOUTS[layout])


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("pool", "options"), POOLS)
def test_more_channels_than_a_vector_equal_reference(pool, options, dtype, rng):
    x = ties(rng, (2, 71, 9, 11), dtype)
    for layout in (np.ascontiguousarray, LAYOUTS["channels_last"]):
        assert_pool_equal(pool, options, x, lambda s: integers(rng, s, dtype), layout)


@pytest.mark.parametrize("options", [MAX_OPTIONS[0], MAX_OPTIONS[1]])
@pytest.mark.parametrize(
    "shape", [(3, 80, 33, 20), (4, 37, 6, 150), (5, 64, 3, 2), (2, 17, 5, 900)]
)
def test_max_pool_of_strided_planes_equals_reference(shape, options, rng):
    """Narrow planes are transposed in blocks, across images if they lie evenly apart."""
    wide = ties(rng, shape, np.float32)
    for x in (wide, wide[:, ::2], wide[::2, 5:], wide[1:2], wide[..., 1:, :]):
        expected = reference.max_pool2d(x, **options, return_indices=True)
        for n in (1, 2, 3):
            with fastconv.threads(n):
                for a, e in zip(
                    F.max_pool2d(x, **options, return_indices=True), expected, strict=True
                ):
                    assert_equal(a, e)


def test_max_pool_backward_accepts_indices_outside_their_window(rng):
    """The gradient of maxima takes windows to lie side by side until an index says otherwise."""
    g = integers(rng, (2, 40, 4, 5))
    indices = np.empty(g.shape, np.int64)
    rows, columns = np.mgrid[:4, :5]
    indices[:] = 2 * rows * 11 + 2 * columns
    indices[1, 33, 3, 4] = 3  # far from its window
    indices[0, 2, 1, 1] = -1  # nowhere
    change = LAYOUTS["channels_last"]
    expected = reference.max_pool2d_backward(g, indices, (2, 40, 9, 11))
    assert_equal(F.max_pool2d_backward(change(g), change(indices), (2, 40, 9, 11)), expected)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("order", ["rising", "falling", "any", "early", "none"])
@pytest.mark.parametrize("shape", [(2, 3, 60, 70), (1, 40, 30, 50), (3, 19, 7, 5)])
def test_planes_are_cleared_wherever_their_indices_lead(shape, order, layout, dtype, rng):
    """Planes are cleared as far as indices have come, whatever the order that these come in."""
    pixels = shape[2] * shape[3]
    indices = rng.integers(0, pixels if order != "early" else 9, (*shape[:2], 23, 11))
    flat = indices.reshape(*shape[:2], -1)
    if order in ("rising", "falling"):
        flat.sort()
    if order == "falling":
        flat[:] = flat[..., ::-1]
    if order == "none":
        indices[:] = -1
    g, change = integers(rng, indices.shape, dtype), LAYOUTS[layout]
    expected = reference.max_pool2d_backward(g, indices, shape)
    for n in (1, 2, 5):
        with fastconv.threads(n):
            assert_equal(F.max_pool2d_backward(change(g), change(indices), shape), expected)


@pytest.mark.parametrize("layout", ["contiguous", "every_second"])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": (2, 3), "stride": 1, "padding": 1},
        {"kernel_size": 3, "stride": (1, 2), "ceil_mode": True},
    ],
)
def test_long_rows_are_taken_in_blocks_of_columns(options, layout, rng):
    """Else scratch memory would grow with the width of the image."""
    x = ties(rng, (1, 1, 3, 300_001))
    runtime.largest_scratch()
    for pool in (max_pool, avg_pool):
        assert_pool_equal(pool, options, x, lambda s: integers(rng, s), LAYOUTS[layout])
    assert 0 < runtime.largest_scratch() <= 4 << 20


@given(
    case=poolings(dilated=True),
    dtype=st.sampled_from(DTYPES),
    layout=st.sampled_from(["contiguous", "channels_last"]),
    seed=st.integers(0, 99),
)
def test_max_pool_equals_reference_on_any_geometry(case, dtype, layout, seed):
    shape, options = case
    rng = np.random.default_rng(seed)
    x, change = ties(rng, shape, dtype), LAYOUTS[layout]
    expected, expected_indices = reference.max_pool2d(x, **options, return_indices=True)
    y, indices = F.max_pool2d(change(x), **options, return_indices=True)
    assert_equal(y, expected)
    assert_equal(indices, expected_indices)
    assert_equal(F.max_pool2d(change(x), **options), expected)
    g = integers(rng, y.shape, dtype)
    assert_equal(
        F.max_pool2d_backward(change(g), indices, x.shape),
        reference.max_pool2d_backward(g, indices, x.shape),
    )


@given(
    case=poolings(dilated=False),
    count_include_pad=st.booleans(),
    divisor_override=st.sampled_from([None, None, 1, 7, -3]),
    dtype=st.sampled_from(DTYPES),
    layout=st.sampled_from(["contiguous", "channels_last"]),
    seed=st.integers(0, 99),
)
def test_avg_pool_equals_reference_on_any_geometry(
    case, count_include_pad, divisor_override, dtype, layout, seed
):
    shape, options = case
    options |= {"count_include_pad": count_include_pad, "divisor_override": divisor_override}
    rng = np.random.default_rng(seed)
    x = integers(rng, shape, dtype)
    assert_pool_equal(avg_pool, options, x, lambda s: integers(rng, s, dtype), LAYOUTS[layout])


@given(
    shape=st.tuples(*[st.integers(1, n) for n in (2, 4, 24, 24)]),
    size=st.tuples(st.integers(1, 26), st.integers(1, 26)),
    pool=st.sampled_from([adaptive_avg, adaptive_max]),
    dtype=st.sampled_from(DTYPES),
    layout=st.sampled_from(["contiguous", "channels_last"]),
    seed=st.integers(0, 99),
)
def test_adaptive_pool_equals_reference_on_any_geometry(shape, size, pool, dtype, layout, seed):
    rng = np.random.default_rng(seed)
    x = ties(rng, shape, dtype)
    assert_pool_equal(pool, size, x, lambda s: integers(rng, s, dtype), LAYOUTS[layout])


@pytest.mark.parametrize(("pool", "options"), ONE_OF_EACH)
def test_unbatched_is_a_batch_of_one(pool, options, rng):
    x = ties(rng, SHAPE[1:])
    batched, batched_back = pool(F, x[None], options)
    y, back = pool(F, x, options)
    assert_equal(y, batched[0])
    g = integers(rng, y.shape)
    assert_equal(back(g), batched_back(g[None])[0])


@pytest.mark.parametrize(("pool", "options"), ONE_OF_EACH)
def test_empty_batch_gives_empty_results(pool, options):
    x = np.zeros((0, *SHAPE[1:]), np.float32)
    y, back = pool(F, x, options)
    expected, _ = pool(reference, np.zeros(SHAPE, np.float32), options)
    assert y.shape == (0, *expected.shape[1:])
    assert back(y).shape == x.shape


def test_equals_the_values_of_the_cs231n_assignment():
    x = np.linspace(-0.3, 0.4, 96).reshape(2, 3, 4, 4)
    y = F.max_pool2d(x, 2, 2)
    assert_close(y.ravel()[[0, -1]], np.array([-0.26315789, 0.4]), atol=5e-9, rtol=0)


def test_padding_of_max_pool_is_never_chosen():
    y, indices = F.max_pool2d(np.full((1, 1, 3, 3), -5.0), 3, 2, 1, return_indices=True)
    assert_equal(y, np.full((1, 1, 2, 2), -5.0))
    assert_equal(indices, np.array([[[[0, 1], [3, 4]]]]))
    lowest, at = F.max_pool2d(np.full((1, 1, 3, 3), -np.inf), 3, 2, 1, return_indices=True)
    assert_equal(lowest, np.full((1, 1, 2, 2), -np.inf))
    assert_equal(at, indices)


def test_ties_go_to_the_first_and_nan_to_the_last():
    x = np.array([[[1.0, 7.0, 7.0, 7.0], [7.0, 0.0, np.nan, np.nan]]])
    y, indices = F.max_pool2d(x, 2, return_indices=True)
    assert_equal(y, np.array([[[7.0, np.nan]]]))
    assert_equal(indices, np.array([[[1, 7]]]))
    assert_equal(F.max_pool2d_backward(np.array([[[2.0, 3.0]]]), indices, x.shape)[0, 0, 1], 2.0)
    _, indices = F.global_max_pool2d(x, return_indices=True)
    assert indices.item() == 7


def test_window_of_padding_alone_has_no_maximum():
    """A dilated kernel can straddle the input; nothing is chosen, and nothing gets its gradient."""
    x = np.array([[[5.0]]])
    y, indices = F.max_pool2d(x, 2, 1, 1, dilation=2, return_indices=True)
    assert_equal(y, np.full((1, 1, 1), -np.inf))
    assert_equal(indices, np.full((1, 1, 1), -1))
    assert_equal(F.max_pool2d_backward(np.ones((1, 1, 1)), indices, x.shape), np.zeros((1, 1, 1)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize(("pool", "options"), POOLS)
def test_nan_and_infinity_propagate(pool, options, layout, bad, rng):
    x = integers(rng, (2, 5, 9, 11))
    x[1, 2, 4, 5] = bad
    x[0, 0, 0, 0] = bad
    expected, _ = pool(reference, x, options)
    actual, _ = pool(F, LAYOUTS[layout](x), options)
    assert_close(actual, expected, equal_nan=True)


@pytest.mark.parametrize(
    ("height", "expected"),
    [
        (5, [2 / 3, 1]),  # a third window would start beyond the input: dropped
        (
            6,
            [2 / 3, 1, 1 / 2],
        ),  # of one pixel and one row of padding; what lies beyond is not counted
        (7, [2 / 3, 1, 2 / 3]),
    ],
)
def test_ceil_mode_drops_windows_that_start_in_the_padding(height, expected):
    x = np.ones((1, height, 1))
    y = F.avg_pool2d(x, (3, 1), 3, (1, 0), ceil_mode=True)
    assert_close(y[0, :, 0], np.array(expected))
    y = F.avg_pool2d(x, (3, 1), 3, (1, 0), ceil_mode=True, count_include_pad=False)
    assert_close(y[0, :, 0], np.ones(len(expected)))
    assert F.max_pool2d(x, (3, 1), 3, (1, 0), ceil_mode=True).shape == y.shape


# -------------------------------------------------------------------- properties


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize(("pool", "options"), POOLS)
def test_gradcheck(pool, options, layout, rng):
    change = LAYOUTS[layout]
    gradcheck(
        lambda x: pool(F, change(x), options)[0],
        lambda g, x: pool(F, change(x), options)[1](change(g)),
        distinct(rng, (2, *SHAPE[2:])),
    )


@given(case=poolings(dilated=False), include=st.booleans(), seed=st.integers(0, 99))
def test_average_is_linear_and_its_gradient_the_adjoint(case, include, seed):
    shape, options = case
    options |= {"count_include_pad": include, "divisor_override": 4}  # exact division
    rng = np.random.default_rng(seed)
    x, x2 = integers(rng, shape), integers(rng, shape)
    y, back = avg_pool(F, x, options)
    y2, _ = avg_pool(F, x2, options)
    assert_equal(avg_pool(F, 2 * x - x2, options)[0], 2 * y - y2)
    g = integers(rng, y.shape)
    assert np.vdot(y, g) == np.vdot(x, back(g))


@given(case=poolings(dilated=True), seed=st.integers(0, 99))
def test_max_pool_indices_name_the_maxima_and_route_gradients(case, seed):
    """Where a pixel was chosen, it is there under its index; each gradient arrives once."""
    shape, options = case
    rng = np.random.default_rng(seed)
    x = integers(rng, shape, limit=50)
    y, indices = F.max_pool2d(x, **options, return_indices=True)
    planes = x.reshape(-1, shape[-2] * shape[-1])
    flat = indices.reshape(len(planes), -1)
    chosen = flat >= 0
    picked = np.take_along_axis(planes, np.maximum(flat, 0), 1)
    assert_equal(picked[chosen], y.reshape(flat.shape)[chosen])
    g = integers(rng, y.shape)
    grad = F.max_pool2d_backward(g, indices, x.shape)
    assert grad.sum() == g.reshape(flat.shape)[chosen].sum()


def test_windows_of_the_whole_plane_equal_global_pooling(rng):
    x = integers(rng, SHAPE)
    assert_equal(F.global_max_pool2d(x), x.max((2, 3), keepdims=True))
    assert_equal(F.adaptive_max_pool2d(x, 1), F.max_pool2d(x, SHAPE[2:]))
    assert_close(F.global_avg_pool2d(x), x.mean((2, 3), keepdims=True))
    assert_close(F.adaptive_avg_pool2d(x, 1), F.avg_pool2d(x, SHAPE[2:]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("pool", "options"), POOLS)
def test_same_bits_for_any_number_of_threads(pool, options, dtype, rng):
    x = rng.standard_normal((3, 20, 9, 11)).astype(dtype)
    results = []
    for n in (1, 2, 3, 4, 7):
        with fastconv.threads(n):
            y, back = pool(F, x, options)
            results.append((y.tobytes(), back(y).tobytes()))
    assert all(r == results[0] for r in results)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("pool", "options"), [p for p in ONE_OF_EACH if p.values[0] not in (global_avg, global_max)]
)
def test_output_has_the_format_of_the_input_and_gradients_of_grad_output(pool, options, dtype, rng):
    x = integers(rng, SHAPE, dtype)
    for change, last in ((np.ascontiguousarray, False), (channels_last, True)):
        y, back = pool(F, change(x), options)
        for array in (y, back(change(y))):
            assert is_channels_last(array) == last
            assert array.flags.c_contiguous != last
            assert array.dtype == dtype


@pytest.mark.parametrize("size", [2, 1])
def test_gradient_of_maxima_has_the_format_of_indices(size, rng):
    x = channels_last(integers(rng, (2, 5, 4, 4)))
    y, indices = F.adaptive_max_pool2d(x, size, return_indices=True)
    dx = F.adaptive_max_pool2d_backward(np.ascontiguousarray(y), indices, x.shape)
    assert is_channels_last(dx)
    back = F.adaptive_max_pool2d_backward(y, np.ascontiguousarray(indices), x.shape)
    assert is_channels_last(back) == (size == 1)  # one pixel may be both, and its strides are kept
    np.testing.assert_array_equal(back, dx)


@pytest.mark.parametrize(("pool", "options"), ONE_OF_EACH)
def test_inputs_are_not_modified(pool, options, rng):
    x = integers(rng, SHAPE)
    before = x.copy()
    y, back = pool(F, x, options)
    g = y.copy()
    back(g)
    assert_equal(x, before)
    assert_equal(g, y)


# ------------------------------------------------------------ windows larger than the image


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_window_that_starts_inside_may_hang_over_the_end(layout):
    """With ceil_mode, as in torch; only what exists is averaged."""
    x = LAYOUTS[layout](np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2))
    y, indices = F.max_pool2d(x, 3, 2, ceil_mode=True, return_indices=True)
    assert_equal(y, np.array([3, 7], np.float32).reshape(1, 2, 1, 1))
    assert_equal(indices, np.full((1, 2, 1, 1), 3))
    dx = F.max_pool2d_backward(np.ones_like(y), indices, x.shape)
    assert_equal(dx, np.array([[0, 0], [0, 1]] * 2, np.float32).reshape(1, 2, 2, 2))
    for include in (True, False):
        y = F.avg_pool2d(x, 3, 2, ceil_mode=True, count_include_pad=include)
        assert_equal(y, np.array([1.5, 5.5], np.float32).reshape(1, 2, 1, 1))
        dx = F.avg_pool2d_backward(
            np.ones_like(y), x.shape, 3, 2, ceil_mode=True, count_include_pad=include
        )
        assert_equal(dx, np.full((1, 2, 2, 2), 0.25, np.float32))


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "every_second"])
@pytest.mark.parametrize("channels", [1, 3, 70])
@pytest.mark.parametrize("options", OVERHANGING, ids=str)
def test_overhanging_windows(options, channels, layout, rng):
    x = distinct(rng, (2, channels, 5, 4), np.float32)
    y, indices = reference.max_pool2d(x, **options, return_indices=True)
    got, where = F.max_pool2d(LAYOUTS[layout](x), **options, return_indices=True)
    assert_equal(got, y)
    assert_equal(where, indices)
    assert_equal(F.max_pool2d(LAYOUTS[layout](x), **options), y)
    if "dilation" not in options:
        g = integers(rng, y.shape, np.float32)
        for include in (True, False):
            counted = {**options, "count_include_pad": include}
            average = F.avg_pool2d(LAYOUTS[layout](x), **counted)
            np.testing.assert_allclose(average, reference.avg_pool2d(x, **counted), rtol=1e-6)
            dx = F.avg_pool2d_backward(LAYOUTS[layout](g), x.shape, **counted)
            expected = reference.avg_pool2d_backward(g, x.shape, **counted)
            np.testing.assert_allclose(dx, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("kernel", "stride", "ceil_mode"), [(3, 2, False), (4, 2, True), (5, 3, True), (2**40, 9, True)]
)
def test_a_window_that_no_position_has_room_for_is_refused(kernel, stride, ceil_mode):
    with pytest.raises(ValueError, match=f"kernel_size: a height of {kernel}"):
        F.max_pool2d(np.ones((1, 2, 2)), kernel, stride, ceil_mode=ceil_mode)


def test_a_huge_window_is_clipped_to_the_image():
    x = np.arange(6.0).reshape(1, 2, 3)
    assert_equal(F.max_pool2d(x, 2**40, 2**41, ceil_mode=True), np.array([[[5.0]]]))
    assert_equal(F.avg_pool2d(x, 2**40, 2**41, ceil_mode=True), np.array([[[2.5]]]))


# -------------------------------------------------------------------------- peers


@pytest.mark.peer("torch")
@pytest.mark.parametrize("options", OVERHANGING, ids=str)
def test_overhanging_windows_agree_with_torch(options, rng):
    import torch

    x = distinct(rng, (2, 3, 5, 4), np.float64)
    theirs = torch.nn.functional.max_pool2d(torch.tensor(x), **options, return_indices=True)
    y, indices = F.max_pool2d(x, **options, return_indices=True)
    assert_equal(y, theirs[0].numpy())
    assert_equal(indices, theirs[1].numpy())
    if "dilation" not in options:
        for include in (True, False):
            counted = {**options, "count_include_pad": include}
            theirs = torch.nn.functional.avg_pool2d(torch.tensor(x), **counted).numpy()
            np.testing.assert_allclose(F.avg_pool2d(x, **counted), theirs, rtol=1e-12)


@pytest.mark.peer("torch")
@pytest.mark.parametrize("options", MAX_OPTIONS, ids=str)
def test_max_pool_agrees_with_torch(options, rng):
    import torch

    x = ties(rng, SHAPE)
    x[rng.random(x.shape) < 0.05] = np.nan
    theirs = torch.nn.functional.max_pool2d(torch.tensor(x), **options, return_indices=True)
    for a, b in zip(F.max_pool2d(x, **options, return_indices=True), theirs, strict=True):
        assert_equal(a, b.numpy())


@pytest.mark.peer("torch")
@pytest.mark.parametrize("options", AVG_OPTIONS, ids=str)
def test_avg_pool_agrees_with_torch(options, rng):
    import torch

    x = integers(rng, SHAPE)
    theirs = torch.nn.functional.avg_pool2d(torch.tensor(x), **options)
    assert_close(F.avg_pool2d(x, **options), theirs.numpy())


@pytest.mark.peer("torch")
@pytest.mark.parametrize("size", ADAPTIVE_SIZES, ids=str)
def test_adaptive_pools_agree_with_torch(size, rng):
    import torch

    x = ties(rng, SHAPE)
    t = torch.tensor(x)
    assert_close(
        F.adaptive_avg_pool2d(x, size), torch.nn.functional.adaptive_avg_pool2d(t, size).numpy()
    )
    theirs = torch.nn.functional.adaptive_max_pool2d(t, size, return_indices=True)
    for a, b in zip(F.adaptive_max_pool2d(x, size, return_indices=True), theirs, strict=True):
        assert_equal(a, b.numpy())
