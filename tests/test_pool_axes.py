"""Pooling over one, two and three axes alike: exact against the reference, gradients, threads.

test_pool.py goes through every option of two axes; here are any number of axes, padding by sides
and by name, p-norms and unpooling, and shapes that make every strategy take each of its ways.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.arrays import assert_equal, distinct, integers
from support.geometries import poolings

import fastconv
import fastconv.functional as F
from fastconv import reference
from fastconv.testing import assert_close, gradcheck

DTYPES = [np.float32, np.float64]
SIZES = {1: (19,), 2: (9, 11), 3: (6, 5, 8)}
every_rank = pytest.mark.parametrize("n", [1, 2, 3])


def last(x, n):
    """Channels last in memory, before n axes in shape."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, -n - 1, -1)), -1, -n - 1)


def every_second(x, n):
    wide = np.zeros([2 * s for s in x.shape], x.dtype)[(slice(None, None, 2),) * x.ndim]
    wide[...] = x
    return wide


LAYOUTS = {
    "contiguous": lambda x, n: np.ascontiguousarray(x),
    "channels_last": last,
    "every_second": every_second,
    "backwards": lambda x, n: x[..., ::-1].copy()[..., ::-1],
}


def op(module, name, n, suffix=""):
    return getattr(module, f"{name}{n}d{suffix}")


def check_max(n, x, g_for, lay, name="max_pool", **options):
    y, indices = op(reference, name, n)(x, **options, return_indices=True)
    got, where = op(F, name, n)(lay(x, n), **options, return_indices=True)
    assert_equal(got, y)
    assert_equal(where, indices)
    assert_equal(op(F, name, n)(lay(x, n), **options), y)
    g = g_for(y.shape)
    expected = op(reference, name, n, "_backward")(g, indices, x.shape)
    actual = op(F, name, n, "_backward")(lay(g, n), lay(indices, n), x.shape)
    assert_equal(actual, expected)


def check_avg(n, x, g_for, lay, name="avg_pool", size=(), **options):
    """Averages are equal but for what a division rounds."""
    y = op(reference, name, n)(x, *size, **options)
    assert_close(op(F, name, n)(lay(x, n), *size, **options), y)
    g = g_for(y.shape)
    expected = op(reference, name, n, "_backward")(g, x.shape, **options)
    assert_close(op(F, name, n, "_backward")(lay(g, n), x.shape, **options), expected)


# ----------------------------------------------------------------------- any geometry


def any_case(dilated):
    return st.integers(1, 3).flatmap(
        lambda n: st.tuples(st.just(n), poolings(dilated=dilated, axes=n, any_padding=True))
    )


@given(
    case=any_case(True),
    dtype=st.sampled_from(DTYPES),
    layout=st.sampled_from(sorted(LAYOUTS)),
    seed=st.integers(0, 99),
)
def test_any_max_pool_equals_reference(case, dtype, layout, seed):
    n, (shape, options) = case
    rng = np.random.default_rng(seed)
    x = integers(rng, shape, dtype, limit=2)
    x[rng.random(shape) < 0.02] = np.nan
    check_max(n, x, lambda s: integers(rng, s, dtype), LAYOUTS[layout], **options)


@given(
    case=any_case(False),
    include=st.booleans(),
    override=st.sampled_from([None, None, 7, -3]),
    dtype=st.sampled_from(DTYPES),
    layout=st.sampled_from(sorted(LAYOUTS)),
    seed=st.integers(0, 99),
)
def test_any_avg_pool_equals_reference(case, include, override, dtype, layout, seed):
    n, (shape, options) = case
    rng = np.random.default_rng(seed)
    if n > 1:
        options["divisor_override"] = override
    check_avg(
        n,
        integers(rng, shape, dtype),
        lambda s: integers(rng, s, dtype),
        LAYOUTS[layout],
        **options,
        count_include_pad=include,
    )


@given(
    n=st.integers(1, 3),
    sizes=st.tuples(*[st.integers(1, 12)] * 3),
    outputs=st.tuples(*[st.integers(1, 14) | st.none()] * 3),
    channels=st.integers(1, 20),
    dtype=st.sampled_from(DTYPES),
    layout=st.sampled_from(sorted(LAYOUTS)),
    seed=st.integers(0, 99),
)
def test_any_adaptive_pool_equals_reference(n, sizes, outputs, channels, dtype, layout, seed):
    rng = np.random.default_rng(seed)
    x = integers(rng, (2, channels, *sizes[:n]), dtype, limit=2)
    outputs = outputs[:n]

    def g(shape):
        return integers(rng, shape, dtype)

    check_max(n, x, g, LAYOUTS[layout], "adaptive_max_pool", output_size=outputs)
    check_avg(n, x, g, LAYOUTS[layout], "adaptive_avg_pool", (outputs,))
    check_max(n, x, g, LAYOUTS[layout], "global_max_pool")
    check_avg(n, x, g, LAYOUTS[layout], "global_avg_pool")


#: shape, options of windows: beyond vectors, tiles, blocks of rows and of slices
LARGE = [
    ((2, 3, 1000), {"kernel_size": 4}),
    ((2, 3, 1000), {"kernel_size": 4, "padding": ((1, 2),)}),
    ((1, 2, 5000), {"kernel_size": 3, "stride": 1, "padding": 1}),
    ((1, 2, 3001), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ((1, 2, 3001), {"kernel_size": 7, "stride": 3, "ceil_mode": True}),
    ((1, 2, 700), {"kernel_size": 25, "stride": 1, "padding": 12}),
    ((1, 2, 3000), {"kernel_size": 3, "stride": 5}),
    ((1, 2, 3000), {"kernel_size": 40, "stride": 17}),
    ((1, 2, 3000), {"kernel_size": 80, "stride": 3}),
    ((2, 70, 300), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ((2, 5, 6, 40, 37), {"kernel_size": 2}),
    ((2, 5, 6, 40, 37), {"kernel_size": (1, 2, 2)}),
    ((1, 70, 5, 14, 14), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ((1, 70, 5, 9, 9), {"kernel_size": 3, "stride": 1, "padding": 1}),
    ((1, 70, 4, 7, 7), {"kernel_size": (2, 7, 7), "stride": 1}),
    ((2, 40, 9, 10, 11), {"kernel_size": (1, 3, 3), "stride": (1, 2, 2), "padding": (0, 1, 1)}),
    ((1, 3, 20, 9, 33), {"kernel_size": (3, 2, 3), "stride": (5, 4, 1)}),
]


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize(("shape", "options"), LARGE, ids=str)
def test_large_pools_equal_reference(shape, options, layout, dtype, rng):
    n = len(shape) - 2
    x = integers(rng, shape, dtype, limit=9)

    def g(s):
        return integers(rng, s, dtype)

    check_max(n, x, g, LAYOUTS[layout], **options)
    check_avg(n, x, g, LAYOUTS[layout], **options)
    check_avg(n, x, g, LAYOUTS[layout], **options, count_include_pad=False)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize(("shape", "options"), LARGE, ids=str)
def test_bits_are_the_same_for_any_number_of_threads(shape, options, layout, rng):
    n = len(shape) - 2
    x = LAYOUTS[layout](rng.standard_normal((4, *shape[1:])).astype(np.float32), n)

    def results():
        y, indices = op(F, "max_pool", n)(x, **options, return_indices=True)
        return [
            y,
            indices,
            op(F, "max_pool", n)(x, **options),
            op(F, "max_pool", n, "_backward")(y, indices, x.shape),
            op(F, "avg_pool", n)(x, **options),
            op(F, "avg_pool", n, "_backward")(y, x.shape, **options),
            op(F, "adaptive_avg_pool", n)(x, 3),
            op(F, "max_unpool", n)(y, indices, 1, output_size=None)
            if y.shape == x.shape
            else op(F, "max_unpool", n, "_backward")(x, indices),
        ]

    bits = []
    for threads in (1, 2, 5):
        with fastconv.threads(threads):
            bits.append([a.tobytes() for a in results()])
    assert bits[1] == bits[0]
    assert bits[2] == bits[0]


def test_indices_beyond_the_tile_that_the_last_window_has(rng):
    """Windows are taken to lie side by side, along rows too, until an index says otherwise."""
    g = integers(rng, (2, 3, 4, 50))
    rows, columns = np.mgrid[:4, :50]
    indices = np.broadcast_to(2 * rows * 100 + 2 * columns, g.shape).copy()
    for at, index in (((1, 2, 3, 49), 3), ((0, 0, 1, 1), -1), ((1, 0, 0, 0), 799)):
        indices[at] = index
        expected = reference.max_pool2d_backward(g, indices, (2, 3, 8, 100))
        assert_equal(F.max_pool2d_backward(g, indices, (2, 3, 8, 100)), expected)


# ----------------------------------------------------------------------- padding


@every_rank
@pytest.mark.parametrize("name", ["same", "same_lower"])
@pytest.mark.parametrize("stride", [1, 2, 3, 7])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
def test_same_makes_outputs_of_size_over_stride_rounded_up(kernel, stride, name, n, rng):
    x = integers(rng, (2, 3, *SIZES[n]))
    sides = []
    for size in SIZES[n]:
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        sides.append((total // 2, total - total // 2)[:: 1 if name == "same" else -1])
    for pool in ("max_pool", "avg_pool"):
        y = op(F, pool, n)(x, kernel, stride, name)
        assert y.shape[2:] == tuple(-(-size // stride) for size in SIZES[n])
        assert_equal(y, op(F, pool, n)(x, kernel, stride, tuple(sides)))
        flat = tuple(p for pair in sides for p in pair)
        assert_equal(y, op(F, pool, n)(x, kernel, stride, flat))


@every_rank
def test_padding_of_one_side_shifts_the_windows(n, rng):
    x = integers(rng, (2, 3, *SIZES[n]))
    before = ((1, 0),) * n
    wide = np.pad(x, [(0, 0)] * 2 + list(before))
    y = op(F, "avg_pool", n)(x, 3, 2, before)
    assert_close(y, op(F, "avg_pool", n)(wide, 3, 2))
    low = np.pad(x, [(0, 0)] * 2 + list(before), constant_values=-np.inf)
    assert_equal(op(F, "max_pool", n)(x, 3, 2, before), op(F, "max_pool", n)(low, 3, 2))


@every_rank
@pytest.mark.parametrize(
    ("padding", "error"),
    [
        ("full", ValueError),
        (-1, ValueError),
        (2, ValueError),
        (((0, 2),) * 3, ValueError),
        (((1, 1, 1),) * 3, ValueError),
        ((1,) * 5, ValueError),
        (1.5, TypeError),
        (None, TypeError),
        ((1, (0, 1)), ValueError),
    ],
)
def test_other_padding_is_refused(padding, error, n):
    x = np.ones((2, 3, *SIZES[n]))
    if isinstance(padding, tuple) and padding in (((0, 2),) * 3, ((1, 1, 1),) * 3):
        padding = padding[:n]
    for call in (
        lambda: op(F, "max_pool", n)(x, 3, padding=padding),
        lambda: op(F, "avg_pool", n)(x, 3, padding=padding),
        lambda: op(F, "avg_pool", n, "_backward")(x, x.shape, 3, 1, padding),
    ):
        with pytest.raises(error, match="padding"):
            call()


# ----------------------------------------------------------------------- p-norms


@every_rank
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("p", [1, 2, 3, 0.5, -1.5, np.inf, -np.inf])
def test_pooling_by_p_norms_equals_reference(p, layout, n, rng):
    x = np.abs(distinct(rng, (2, 3, *SIZES[n])))
    for kernel, stride, ceil_mode in ((2, None, False), (3, 2, True), (2, 1, False)):
        options = p, kernel, stride, ceil_mode
        y = op(reference, "lp_pool", n)(x, *options)
        assert_close(op(F, "lp_pool", n)(LAYOUTS[layout](x, n), *options), y)
        g = rng.standard_normal(y.shape)
        expected = op(reference, "lp_pool", n, "_backward")(g, x, *options)
        actual = op(F, "lp_pool", n, "_backward")(LAYOUTS[layout](g, n), x, *options)
        assert_close(actual, expected)


@every_rank
@pytest.mark.parametrize("p", [1, 2, 3, np.inf, -np.inf])
def test_gradcheck_of_p_norms(p, n, rng):
    x = distinct(rng, (2, 3, *SIZES[n]))
    x -= x.min() - 1  # positive, and apart
    gradcheck(
        lambda x: op(F, "lp_pool", n)(x, p, 2, 1),
        lambda g, x: op(F, "lp_pool", n, "_backward")(g, x, p, 2, 1),
        x,
    )


def test_p_norms_are_norms(rng):
    x = rng.standard_normal((1, 4, 6, 6)).astype(np.float32)
    blocks = x.reshape(1, 4, 3, 2, 3, 2)
    expected = np.sqrt((blocks.astype(np.float64) ** 2).sum((3, 5))).astype(np.float32)
    assert_close(F.lp_pool2d(x, 2, 2), expected)
    assert_equal(F.lp_pool2d(x, np.inf, 2), np.abs(blocks).max((3, 5)))
    assert_equal(F.lp_pool2d(x, -np.inf, 2), np.abs(blocks).min((3, 5)))


def test_the_gradient_of_a_norm_of_zeros_is_zero():
    x = np.zeros((1, 1, 4), np.float32)
    assert_equal(F.lp_pool1d_backward(np.ones((1, 1, 2), np.float32), x, 2, 2), x)


@pytest.mark.parametrize(
    ("p", "error"), [(0, ValueError), (np.nan, ValueError), ("2", TypeError), (None, TypeError)]
)
def test_what_is_no_norm_is_refused(p, error):
    x = np.ones((1, 1, 4))
    with pytest.raises(error, match="norm_type"):
        F.lp_pool1d(x, p, 2)
    with pytest.raises(error, match="norm_type"):
        F.lp_pool1d_backward(x, x, p, 1)


# ----------------------------------------------------------------------- unpooling


@every_rank
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("channels", [3, 40])
@pytest.mark.parametrize("dtype", DTYPES)
def test_unpooling_equals_reference(dtype, channels, layout, n, rng):
    x = distinct(rng, (2, channels, *SIZES[n]), dtype)
    lay = LAYOUTS[layout]
    for kernel, stride, padding in ((2, None, 0), (3, 2, 1), (2, 1, 1)):
        y, indices = op(F, "max_pool", n)(x, kernel, stride, padding, return_indices=True)
        options = kernel, stride, padding, x.shape
        back = op(F, "max_unpool", n)(lay(y, n), lay(indices, n), *options)
        assert_equal(back, op(reference, "max_unpool", n)(y, indices, *options))
        at_maxima = back != 0
        assert_equal(back[at_maxima], x[at_maxima])
        g = integers(rng, x.shape, dtype)
        expected = op(reference, "max_unpool", n, "_backward")(g, indices)
        assert_equal(op(F, "max_unpool", n, "_backward")(lay(g, n), lay(indices, n)), expected)


@every_rank
def test_unpooling_and_its_gradient_are_adjoint(n, rng):
    x = distinct(rng, (2, 3, *SIZES[n]))
    y, indices = op(F, "max_pool", n)(x, 2, return_indices=True)  # no place twice
    z, g = integers(rng, y.shape), integers(rng, x.shape)
    back = op(F, "max_unpool", n)(z, indices, 2, output_size=x.shape)
    assert np.vdot(back, g) == np.vdot(z, op(F, "max_unpool", n, "_backward")(g, indices))


@every_rank
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_of_several_elements_for_one_place_the_last_is_there(layout, n, rng):
    shape = (2, 40, *[8] * n)
    x = integers(rng, shape, limit=50)
    indices = rng.integers(-1, 5, shape)
    lay = LAYOUTS[layout]
    expected = op(reference, "max_unpool", n)(x, indices, 1)
    for threads in (1, 2, 5):
        with fastconv.threads(threads):
            assert_equal(op(F, "max_unpool", n)(lay(x, n), lay(indices, n), 1), expected)


def test_unpooled_sizes():
    x, at = np.ones((1, 2, 3)), np.zeros((1, 2, 3), int)
    assert F.max_unpool1d(x, at, 4).shape == (1, 2, 12)
    assert F.max_unpool1d(x, at, 4, 3, 1).shape == (1, 2, 8)
    for size in ((9,), (1, 2, 9), [9]):
        assert F.max_unpool1d(x, at, 3, 3, output_size=size).shape == (1, 2, 9)
    for size in (6, 12):
        with pytest.raises(ValueError, match=rf"output_size=\({size},\)"):
            F.max_unpool1d(x, at, 3, 3, output_size=(size,))
    with pytest.raises(ValueError, match="output_size"):
        F.max_unpool1d(x, at, 3, 3, output_size=(9, 9))
    with pytest.raises(ValueError, match="positive sizes"):
        F.max_unpool1d(x, at, 1, 1, 2)
    with pytest.raises(ValueError, match="stride"):
        F.max_unpool1d(x, at, 2, 0)


@every_rank
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("index", [64, 2**40, -2])
def test_indices_outside_the_plane_are_refused(index, layout, n):
    shape = (2, 20, *[2] * n)
    indices = np.zeros(shape, int)
    indices[1, 19, ..., -1] = index
    x, lay = np.ones(shape), LAYOUTS[layout]
    for call in (
        lambda: op(F, "max_unpool", n)(lay(x, n), lay(indices, n), 2),
        lambda: op(F, "max_unpool", n, "_backward")(
            lay(np.ones((2, 20, *[4] * n)), n), lay(indices, n)
        ),
        lambda: op(F, "max_pool", n, "_backward")(lay(x, n), lay(indices, n), (2, 20, *[4] * n)),
    ):
        with pytest.raises(ValueError, match=f"indices.*{index}"):
            call()


# ----------------------------------------------------------------------- properties


@every_rank
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_gradcheck(layout, n, rng):
    lay = LAYOUTS[layout]
    x = distinct(rng, (2, 3, *SIZES[n]))

    def max_backward(g, x):
        _, indices = op(F, "max_pool", n)(lay(x, n), 3, 2, 1, return_indices=True)
        return op(F, "max_pool", n, "_backward")(lay(g, n), indices, x.shape)

    gradcheck(lambda x: op(F, "max_pool", n)(lay(x, n), 3, 2, 1), max_backward, x)
    gradcheck(
        lambda x: op(F, "avg_pool", n)(lay(x, n), 3, 2, "same", count_include_pad=False),
        lambda g, x: op(F, "avg_pool", n, "_backward")(
            lay(g, n), x.shape, 3, 2, "same", count_include_pad=False
        ),
        x,
    )
    gradcheck(
        lambda x: op(F, "adaptive_avg_pool", n)(lay(x, n), 4),
        lambda g, x: op(F, "adaptive_avg_pool", n, "_backward")(lay(g, n), x.shape),
        x,
    )


@every_rank
def test_results_have_the_format_of_the_input(n, rng):
    x = rng.standard_normal((2, 8, *SIZES[n]))
    for lay in (LAYOUTS["contiguous"], last):
        y, indices = op(F, "max_pool", n)(lay(x, n), 2, return_indices=True)
        results = [
            y,
            indices,
            op(F, "avg_pool", n)(lay(x, n), 2),
            op(F, "lp_pool", n)(lay(x, n), 2, 2),
            op(F, "adaptive_max_pool", n)(lay(x, n), 2),
            op(F, "max_pool", n, "_backward")(y, indices, x.shape),
            op(F, "max_unpool", n)(y, indices, 2, output_size=x.shape),
            op(F, "max_unpool", n, "_backward")(lay(x, n), indices),
        ]
        for array in results:
            assert np.moveaxis(array, 1, -1).flags.c_contiguous == (lay is last)


@every_rank
def test_unbatched_is_a_batch_of_one(n, rng):
    x = distinct(rng, (3, *SIZES[n]))
    y, indices = op(F, "max_pool", n)(x, 2, return_indices=True)
    pairs = [
        (y, op(F, "max_pool", n)(x[None], 2)),
        (op(F, "avg_pool", n)(x, 2), op(F, "avg_pool", n)(x[None], 2)),
        (op(F, "lp_pool", n)(x, 2, 2), op(F, "lp_pool", n)(x[None], 2, 2)),
        (op(F, "global_avg_pool", n)(x), op(F, "global_avg_pool", n)(x[None])),
        (
            op(F, "max_unpool", n)(y, indices, 2, output_size=SIZES[n]),
            op(F, "max_unpool", n)(y[None], indices[None], 2, output_size=SIZES[n]),
        ),
        (
            op(F, "max_unpool", n, "_backward")(x, indices),
            op(F, "max_unpool", n, "_backward")(x[None], indices[None]),
        ),
    ]
    for alone, batch in pairs:
        assert_equal(alone, batch[0])


def test_long_means_lose_little(rng):
    """Sums of a whole volume in float32 are within a few roundings of float64."""
    x = rng.random((1, 2, 64, 64, 64), np.float32)
    for lay in (LAYOUTS["contiguous"], last):
        y = F.global_avg_pool3d(lay(x, 3))
        np.testing.assert_allclose(y, x.mean((2, 3, 4), np.float64, keepdims=True), rtol=1e-6)


def test_empty_batches_of_planes_that_cannot_be_addressed():
    g = np.zeros((0, 1, 1, 1, 1))
    for size in (2**20, 2**21):
        with pytest.raises((ValueError, MemoryError)):
            F.adaptive_avg_pool3d_backward(np.zeros((1, 1, 1, 1, 1)), (1, 1, size, size, size))
    assert F.adaptive_avg_pool3d_backward(g, (0, 1, 9, 9, 9)).shape == (0, 1, 9, 9, 9)
