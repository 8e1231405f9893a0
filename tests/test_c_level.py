"""The C level computes what the reference does, bit by bit where that can be."""

import ctypes
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.arrays import integers
from support.c_level import (
    CASES,
    CONSTANTS,
    KINDS,
    POOLINGS,
    ConvGeometry,
    PoolGeometry,
    call,
    call_op,
    conv_geometry,
    every_dtype,
    every_format,
    flat,
    outs,
    pool_geometry,
    unfilled,
)
from support.child import output
from support.geometries import Conv, convolutions, poolings

import fastconv.functional as F
from fastconv import reference
from fastconv.reference.geometry import each_axis, sides_of

SEQUENCES = [
    Conv((2, 3, 17), (4, 3, 3)),
    Conv((2, 6, 20), (9, 2, 4), stride=3, padding=(0, 2), groups=3),
    Conv((2, 8, 19), (8, 1, 3), padding="same", dilation=2, groups=8),
    Conv((2, 40, 50), (33, 40, 1)),
    Conv((3, 40, 64), (40, 40, 3), padding=1),
]
VOLUMES = [
    Conv((2, 3, 5, 7, 9), (4, 3, 3, 2, 3), stride=(1, 2, 1), padding=(1, 0, 2)),
    Conv((2, 6, 6, 8, 7), (6, 2, 2, 3, 3), padding="same", dilation=(2, 1, 1), groups=3),
]
SEQUENCE_POOLINGS = [
    ((2, 5, 17), {"kernel_size": 2}),
    ((2, 40, 19), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ((1, 3, 20), {"kernel_size": 4, "stride": 3, "padding": 2, "ceil_mode": True}),
]


def along_width(case):
    """The convolution of sequences that a convolution of images does along each row."""
    sides = sides_of(case.padding, case.weight_shape[2:], case.dilation)
    return Conv(
        (*case.input_shape[:-2], case.input_shape[-1]),
        (*case.weight_shape[:2], case.weight_shape[-1]),
        each_axis(case.stride, 2)[1],
        sides[1],
        each_axis(case.dilation, 2)[1],
        case.groups,
    )


def batched(case):
    return case if len(case.input_shape) == 4 else Conv((1, *case.input_shape), *astuple(case)[1:])


def check_passes(case, dtype, channels_last, rng):
    """All passes are exactly the reference's, on small integers."""
    x, w, b, g = case.operands(rng, dtype)
    rank = x.ndim - 2
    kind, options = KINDS[x.dtype], case.options
    geometry = conv_geometry(case, channels_last, algorithm=CONSTANTS["DIRECT"])
    assert outs(geometry) == (*(1,) * (3 - rank), *g.shape[2:])
    images, grad = flat(x, channels_last), flat(g, channels_last)

    def expected(pass_name, *arguments):
        return getattr(reference, f"conv{rank}d{pass_name}")(*arguments)

    def check(name, expected, *arrays, channels_last=channels_last):
        out = unfilled(expected.shape, dtype)
        assert call_op(f"{name}_{kind}", geometry, *arrays, out) == 0
        np.testing.assert_array_equal(out, flat(expected, channels_last))

    forward = expected("", x, w, b, *options)
    check("conv", forward, images, w, b)
    check("conv", expected("", x, w, None, *options), images, w, None)
    packed = ctypes.c_void_p()
    assert call(f"conv_pack_{kind}", geometry, w, packed, 0) == 0
    check("conv_packed", forward, images, packed.value, b)
    call("conv_packed_free", packed.value)
    grad_input = expected("_backward_input", g, w, x.shape, *options)
    check("conv_backward_input", grad_input, grad, w)
    grad_weight = expected("_backward_weight", g, x, w.shape, *options)
    check("conv_backward_weight", grad_weight, grad, images, channels_last=False)
    check("conv_backward_bias", expected("_backward_bias", g), grad, channels_last=False)


@every_format
@every_dtype
@pytest.mark.parametrize("case", [*CASES, *SEQUENCES, *VOLUMES], ids=str)
def test_all_passes_equal_reference(case, dtype, channels_last, rng):
    check_passes(case, dtype, channels_last, rng)


@given(
    case=convolutions().map(batched),
    one_dimensional=st.booleans(),
    dtype=st.sampled_from([np.float32, np.float64]),
    last=st.booleans(),
)
def test_all_passes_equal_reference_on_any_geometry(case, one_dimensional, dtype, last):
    case = along_width(case) if one_dimensional else case
    check_passes(case, dtype, last, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("before_h", "after_h", "before_w", "after_w"), [(0, 2, 1, 0), (3, 0, 0, 4), (0, 0, 0, 1)]
)
@every_format
def test_padding_may_differ_on_every_side(channels_last, before_h, after_h, before_w, after_w, rng):
    case = Conv((2, 5, 7, 9), (4, 5, 3, 4), padding=((before_h, after_h), (before_w, after_w)))
    x, w, b, _ = case.operands(rng, np.float32)
    geometry = ConvGeometry()
    assert call("conv2d_init", geometry, 2, 5, 7, 9, 4, 3, 4, 1, 0, 1, 1) == 0
    _, height, width = geometry.axis
    height.pad_before, height.pad_after = before_h, after_h
    width.pad_before, width.pad_after = before_w, after_w
    geometry.input_format = geometry.output_format = int(channels_last)
    assert call("conv_check", geometry) == 0
    expected = reference.conv2d(x, w, b, *case.options)
    assert outs(geometry) == (1, *expected.shape[2:])
    out = unfilled(expected.shape, np.float32)
    assert call_op("conv_f32", geometry, flat(x, channels_last), w, b, out) == 0
    np.testing.assert_array_equal(out, flat(expected, channels_last))


def test_sequence_is_an_image_of_one_row():
    one, two = ConvGeometry(), ConvGeometry()
    assert call("conv1d_init", one, 2, 6, 20, 8, 3, 1, 0, 1, 2) == 0
    assert call("conv2d_init", two, 2, 6, 1, 20, 8, 1, 3, 1, 0, 1, 2) == 0
    assert bytes(one) == bytes(two)
    one, two = PoolGeometry(), PoolGeometry()
    assert call("pool1d_init", one, 2, 6, 20, 3, 1, 0) == 0
    assert call("pool2d_init", two, 2, 6, 1, 20, 1, 3, 1, 0) == 0
    assert bytes(one) == bytes(two)
    assert call("adaptive_pool1d_init", one, 2, 6, 20, 7) == 0
    assert call("adaptive_pool2d_init", two, 2, 6, 1, 20, 1, 7) == 0
    assert bytes(one) == bytes(two)


def test_output_format_may_differ_from_input_format(rng):
    case = CASES[3]
    x, w, b, _ = case.operands(rng, np.float32)
    geometry = conv_geometry(case, output_format=CONSTANTS["CHANNELS_LAST"])
    expected = reference.conv2d(x, w, b, *case.options)
    out = unfilled(expected.shape, np.float32)
    assert call_op("conv_f32", geometry, x, w, b, out) == 0
    np.testing.assert_array_equal(out, flat(expected, channels_last=True))


def test_relu_is_fused_into_convolution(rng):
    case = CASES[0]
    x, w, b, _ = case.operands(rng, np.float32)
    geometry = conv_geometry(case, activation=CONSTANTS["ACTIVATION_RELU"])
    expected = reference.conv2d(x, w, b, *case.options, activation="relu")
    assert (expected == 0).any()
    out = unfilled(expected.shape, np.float32)
    assert call_op("conv_f32", geometry, x, w, b, out) == 0
    np.testing.assert_array_equal(out, expected.ravel())


@pytest.mark.parametrize("name", ["direct", "winograd"])
def test_algorithms_give_the_bits_of_the_python_functions(name, rng):
    case = Conv((1, 33, 20, 21), (35, 33, 3, 3), padding=1)
    x, w, b = (rng.standard_normal(shape) for shape in (case.input_shape, case.weight_shape, 35))
    g = rng.standard_normal((1, 35, 20, 21))
    geometry = conv_geometry(case, algorithm=CONSTANTS[name.upper()])
    for function, arrays, expected in (
        ("conv", (x, w, b), F.conv2d(x, w, b, *case.options, algorithm=name)),
        (
            "conv_backward_input",
            (g, w),
            F.conv2d_backward_input(g, w, x.shape, *case.options, algorithm=name),
        ),
        (
            "conv_backward_weight",
            (g, x),
            F.conv2d_backward_weight(g, x, w.shape, *case.options, algorithm=name),
        ),
    ):
        out = unfilled(expected.shape, np.float64)
        assert call_op(f"{function}_f64", geometry, *arrays, out) == 0
        assert out.tobytes() == expected.tobytes()


def test_same_bits_for_any_number_of_threads(rng):
    case = Conv((4, 40, 30, 30), (40, 40, 3, 3), padding=1)
    x, w = (rng.standard_normal(shape) for shape in (case.input_shape, case.weight_shape))
    geometry = conv_geometry(case)
    results = []
    for n in (1, 2, 3, 7):
        out = unfilled((4, 40, 30, 30), np.float64)
        assert call_op("conv_f64", geometry, x, w, None, out, num_threads=n) == 0
        results.append(out.tobytes())
    assert all(r == results[0] for r in results)


def check_max_pool(input_shape, options, dtype, channels_last, rng):
    x = integers(rng, input_shape, dtype)  # with ties
    kind, op = KINDS[x.dtype], f"max_pool{x.ndim - 2}d"
    geometry = pool_geometry(input_shape, options, channels_last)
    images = flat(x, channels_last)
    y, indices = getattr(reference, op)(x, return_indices=True, **options)
    out, where = unfilled(y.shape, dtype), unfilled(y.shape, np.int64)
    assert call_op(f"max_pool_{kind}", geometry, images, out, None) == 0
    np.testing.assert_array_equal(out, flat(y, channels_last))
    out[:] = np.nan
    assert call_op(f"max_pool_{kind}", geometry, images, out, where) == 0
    np.testing.assert_array_equal(out, flat(y, channels_last))
    np.testing.assert_array_equal(where, flat(indices, channels_last))
    g = integers(rng, y.shape, dtype)
    out = unfilled(x.shape, dtype)
    grad = flat(g, channels_last)
    assert call_op(f"max_pool_backward_{kind}", geometry, grad, where, out) == 0
    expected = getattr(reference, f"{op}_backward")(g, indices, x.shape)
    np.testing.assert_array_equal(out, flat(expected, channels_last))


def check_avg_pool(input_shape, options, dtype, channels_last, rng, **fields):
    x = integers(rng, input_shape, dtype)
    kind, op = KINDS[x.dtype], f"avg_pool{x.ndim - 2}d"
    geometry = pool_geometry(
        input_shape,
        options,
        channels_last,
        count_include_pad=fields.get("count_include_pad", 1),
        divisor_override=fields.get("divisor_override") or 0,
    )
    tolerance = {"rtol": 1e-6, "atol": 1e-6}
    y = getattr(reference, op)(x, **options, **fields)
    out = unfilled(y.shape, dtype)
    assert call_op(f"avg_pool_{kind}", geometry, flat(x, channels_last), out) == 0
    np.testing.assert_allclose(out, flat(y, channels_last), **tolerance)
    g = integers(rng, y.shape, dtype)
    out = unfilled(x.shape, dtype)
    assert call_op(f"avg_pool_backward_{kind}", geometry, flat(g, channels_last), out) == 0
    expected = getattr(reference, f"{op}_backward")(g, x.shape, **options, **fields)
    np.testing.assert_allclose(out, flat(expected, channels_last), **tolerance)


@every_format
@every_dtype
@pytest.mark.parametrize(("input_shape", "options"), [*POOLINGS, *SEQUENCE_POOLINGS])
def test_pooling_equals_reference(input_shape, options, dtype, channels_last, rng):
    check_max_pool(input_shape, options, dtype, channels_last, rng)
    check_avg_pool(input_shape, options, dtype, channels_last, rng)
    check_avg_pool(input_shape, options, dtype, channels_last, rng, count_include_pad=False)
    if len(input_shape) == 4:  # torch's avg_pool1d has no divisor
        check_avg_pool(input_shape, options, dtype, channels_last, rng, divisor_override=4)


def pooled_along_width(shape, options):
    """The pooling of sequences that a pooling of images does along each row."""
    pairs = ("kernel_size", "stride", "padding", "dilation")
    return (*shape[:-2], shape[-1]), {
        name: each_axis(value, 2)[1] if name in pairs and value is not None else value
        for name, value in options.items()
    }


@given(pooling=poolings(dilated=True), one_dimensional=st.booleans(), last=st.booleans())
def test_max_pooling_equals_reference_on_any_geometry(pooling, one_dimensional, last):
    shape, options = pooling
    shape = shape if len(shape) == 4 else (1, *shape)
    shape, options = pooled_along_width(shape, options) if one_dimensional else (shape, options)
    check_max_pool(shape, options, np.float32, last, np.random.default_rng(0))


@given(pooling=poolings(dilated=False), one_dimensional=st.booleans(), last=st.booleans())
def test_average_pooling_equals_reference_on_any_geometry(pooling, one_dimensional, last):
    shape, options = pooling
    shape = shape if len(shape) == 4 else (1, *shape)
    shape, options = pooled_along_width(shape, options) if one_dimensional else (shape, options)
    check_avg_pool(shape, options, np.float32, last, np.random.default_rng(0))


def check_adaptive_pool(geometry, x, size, channels_last):
    """`size` has as many sizes as `x` has axes."""
    n = len(size)
    geometry.input_format = geometry.output_format = int(channels_last)
    images = flat(x, channels_last)
    out = unfilled((*x.shape[:2], *size), np.float32)
    assert call_op("avg_pool_f32", geometry, images, out) == 0
    expected = flat(getattr(reference, f"adaptive_avg_pool{n}d")(x, size), channels_last)
    np.testing.assert_allclose(out, expected, rtol=1e-6)
    assert call_op("max_pool_f32", geometry, images, out, None) == 0
    expected = flat(getattr(reference, f"adaptive_max_pool{n}d")(x, size), channels_last)
    np.testing.assert_array_equal(out, expected)


@every_format
@pytest.mark.parametrize("size", [(1, 1), (3, 4), (7, 5), (9, 12)])
def test_adaptive_pooling_equals_reference(size, channels_last, rng):
    x = integers(rng, (2, 5, 7, 9), np.float32)
    geometry = PoolGeometry()
    assert call("adaptive_pool2d_init", geometry, *x.shape, *size) == 0
    assert outs(geometry) == (1, *size)
    check_adaptive_pool(geometry, x, size, channels_last)


@every_format
@pytest.mark.parametrize("size", [1, 4, 9, 12])
def test_adaptive_pooling_of_sequences_equals_reference(size, channels_last, rng):
    x = integers(rng, (2, 5, 1, 9), np.float32)
    geometry = PoolGeometry()
    assert call("adaptive_pool1d_init", geometry, 2, 5, 9, size) == 0
    assert outs(geometry) == (1, 1, size)
    check_adaptive_pool(geometry, x, (1, size), channels_last)


@every_format
@pytest.mark.parametrize("size", [(1, 1, 1), (2, 3, 4), (5, 9, 10)])
def test_adaptive_pooling_of_volumes_equals_reference(size, channels_last, rng):
    x = integers(rng, (2, 5, 4, 7, 9), np.float32)
    geometry = PoolGeometry()
    assert call("adaptive_pool3d_init", geometry, *x.shape, *size) == 0
    assert outs(geometry) == size
    check_adaptive_pool(geometry, x, size, channels_last)


@every_format
@every_dtype
@pytest.mark.parametrize(("input_shape", "options"), [*POOLINGS, *SEQUENCE_POOLINGS])
def test_unpooling_equals_reference(input_shape, options, dtype, channels_last, rng):
    n, kind = len(input_shape) - 2, KINDS[np.dtype(dtype)]
    geometry = pool_geometry(input_shape, options, channels_last)
    shape = (*input_shape[:2], *outs(geometry)[-n:])
    y = integers(rng, shape, dtype)
    indices = rng.integers(-1, np.prod(input_shape[2:]), shape)
    where, out = flat(indices, channels_last), unfilled(input_shape, dtype)
    assert call_op(f"max_unpool_{kind}", geometry, flat(y, channels_last), where, out) == 0
    unpool = getattr(reference, f"max_unpool{n}d")
    expected = unpool(y, indices, 1, output_size=input_shape)
    np.testing.assert_array_equal(out, flat(expected, channels_last))
    g, out = integers(rng, input_shape, dtype), unfilled(shape, dtype)
    g_flat = flat(g, channels_last)
    assert call_op(f"max_unpool_backward_{kind}", geometry, g_flat, where, out) == 0
    expected = getattr(reference, f"max_unpool{n}d_backward")(g, indices)
    np.testing.assert_array_equal(out, flat(expected, channels_last))


@every_format
def test_ceil_mode_takes_one_window_larger_than_the_input(channels_last, rng):
    """As torch does, where it starts inside the padded input."""
    options = {"kernel_size": 3, "stride": 2, "ceil_mode": True}
    assert outs(pool_geometry((2, 40, 2, 2), options)) == (1, 1, 1)
    check_max_pool((2, 40, 2, 2), options, np.float32, channels_last, rng)
    check_avg_pool((2, 40, 2, 2), options, np.float32, channels_last, rng)
    check_max_pool((2, 3, 2), options, np.float32, channels_last, rng)


def test_empty_batch_reads_no_arrays_and_clears_gradients():
    case = Conv((0, 3, 8, 8), (4, 3, 3, 3))
    geometry, w = conv_geometry(case), np.ones((4, 3, 3, 3), np.float32)
    assert call_op("conv_f32", geometry, None, w, None, None) == 0
    assert call_op("conv_backward_input_f32", geometry, None, w, None) == 0
    grad, grad_bias = unfilled(w.shape, np.float32), unfilled(4, np.float32)
    assert call_op("conv_backward_weight_f32", geometry, None, None, grad) == 0
    assert call_op("conv_backward_bias_f32", geometry, None, grad_bias) == 0
    assert not grad.any()
    assert not grad_bias.any()
    pooling = pool_geometry((0, 3, 8, 8), {"kernel_size": 2})
    assert call_op("max_pool_f32", pooling, None, None, None) == 0
    assert call_op("max_pool_backward_f32", pooling, None, None, None) == 0
    assert call_op("avg_pool_f32", pooling, None, None) == 0
    assert call_op("avg_pool_backward_f32", pooling, None, None) == 0


def test_threads_share_a_geometry_and_packed_weights(rng):
    case = Conv((2, 16, 33, 33), (32, 16, 3, 3), padding=1)
    x, w, b, _ = case.operands(rng, np.float32)
    expected = reference.conv2d(x, w, b, *case.options).ravel()
    elsewhere = conv_geometry(
        Conv((1, 16, 1, 1), (32, 16, 3, 3), padding=1), algorithm=CONSTANTS["DIRECT"]
    )
    packed, geometry = ctypes.c_void_p(), conv_geometry(case, algorithm=CONSTANTS["WINOGRAD"])
    # packed for a geometry without Winograd's algorithm: the threads below race to add its points
    assert call("conv_pack_f32", elsewhere, w, packed, 1) == 0

    def run(i):
        out = unfilled(expected.shape, np.float32)
        if i % 2:
            assert call_op("conv_packed_f32", geometry, x, packed.value, b, out) == 0
        else:
            assert call_op("conv_f32", geometry, x, w, b, out) == 0
        return out

    with ThreadPoolExecutor(8) as pool:
        results = [out.tobytes() for out in pool.map(run, range(32))]
    call("conv_packed_free", packed.value)
    np.testing.assert_allclose(np.frombuffer(results[0], np.float32), expected, atol=1e-3)
    assert set(results) == {results[0]}


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers on this system")
def test_signal_handlers_run_after_a_call_returns():
    """A handler's exception has nowhere to go while the caller holds no GIL."""
    code = """
import signal
import numpy as np
from support.c_level import ConvGeometry, call, call_op

def handler(*_):
    raise KeyError

geometry, x, w = ConvGeometry(), np.ones((8, 64, 200, 200)), np.ones((64, 64, 3, 3))
call("conv2d_init", geometry, *x.shape, *w.shape[:1], 3, 3, 1, 1, 1, 1)
out = np.full(x.shape, np.nan)
signal.signal(signal.SIGALRM, handler)
try:
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    call_op("conv_f64", geometry, x, w, None, out, num_threads=1)
    while True:  # until the signal has come
        pass
except KeyError:
    print(np.isnan(out).sum())
"""
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    assert output(code, PYTHONPATH=path) == "0"
