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
    Pool2dShape,
    call,
    call_op,
    conv_shape,
    every_dtype,
    every_format,
    flat,
    pool_shape,
    unfilled,
)
from support.child import output
from support.geometries import Conv, convolutions, poolings

import fastconv.functional as F
from fastconv import reference


def check_passes(case, dtype, channels_last, rng):
    """All passes are exactly the reference's, on small integers."""
    x, w, b, g = case.operands(rng, dtype)
    kind, s = KINDS[x.dtype], conv_shape(case, channels_last, algorithm=CONSTANTS["DIRECT"])
    assert (s.batch, s.out_channels, s.out_h, s.out_w) == g.shape
    images, grad = flat(x, channels_last), flat(g, channels_last)

    def check(name, expected, *arrays):
        out = unfilled(expected.shape, dtype)
        assert call_op(f"{name}_{kind}", s, *arrays, out) == 0
        np.testing.assert_array_equal(out, flat(expected, channels_last))

    check("conv2d", reference.conv2d(x, w, b, *case.options), images, w, b)
    check("conv2d", reference.conv2d(x, w, None, *case.options), images, w, None)
    expected = reference.conv2d_backward_input(g, w, x.shape, *case.options)
    check("conv2d_backward_input", expected, grad, w)
    packed = ctypes.c_void_p()
    assert call(f"conv2d_pack_{kind}", s, w, packed, 0) == 0
    check("conv2d_packed", reference.conv2d(x, w, b, *case.options), images, packed.value, b)
    call("conv2d_packed_free", packed.value)
    channels_last = False  # what follows is no image
    expected = reference.conv2d_backward_weight(g, x, w.shape, *case.options)
    check("conv2d_backward_weight", expected, grad, images)
    check("conv2d_backward_bias", reference.conv2d_backward_bias(g)[:, None], grad)


@every_format
@every_dtype
@pytest.mark.parametrize("case", CASES, ids=str)
def test_all_passes_equal_reference(case, dtype, channels_last, rng):
    check_passes(case, dtype, channels_last, rng)


@given(case=convolutions(), dtype=st.sampled_from([np.float32, np.float64]), last=st.booleans())
def test_all_passes_equal_reference_on_any_geometry(case, dtype, last):
    if len(case.input_shape) == 3:
        case = Conv((1, *case.input_shape), *astuple(case)[1:])
    check_passes(case, dtype, last, np.random.default_rng(0))


def test_output_format_may_differ_from_input_format(rng):
    case = CASES[3]
    x, w, b, _ = case.operands(rng, np.float32)
    s = conv_shape(case, output_format=CONSTANTS["CHANNELS_LAST"])
    expected = reference.conv2d(x, w, b, *case.options)
    out = unfilled(expected.shape, np.float32)
    assert call_op("conv2d_f32", s, x, w, b, out) == 0
    np.testing.assert_array_equal(out, flat(expected, channels_last=True))


def test_relu_is_fused_into_convolution(rng):
    case = CASES[0]
    x, w, b, _ = case.operands(rng, np.float32)
    s = conv_shape(case, activation=CONSTANTS["ACTIVATION_RELU"])
    expected = reference.conv2d(x, w, b, *case.options, activation="relu")
    assert (expected == 0).any()
    out = unfilled(expected.shape, np.float32)
    assert call_op("conv2d_f32", s, x, w, b, out) == 0
    np.testing.assert_array_equal(out, expected.ravel())


@pytest.mark.parametrize("name", ["direct", "winograd"])
def test_algorithms_give_the_bits_of_the_python_functions(name, rng):
    case = Conv((1, 33, 20, 21), (35, 33, 3, 3), padding=1)
    x, w, b = (rng.standard_normal(s) for s in (case.input_shape, case.weight_shape, 35))
    g = rng.standard_normal((1, 35, 20, 21))
    s = conv_shape(case, algorithm=CONSTANTS[name.upper()])
    for function, arrays, expected in (
        ("conv2d", (x, w, b), F.conv2d(x, w, b, *case.options, algorithm=name)),
        (
            "conv2d_backward_input",
            (g, w),
            F.conv2d_backward_input(g, w, x.shape, *case.options, algorithm=name),
        ),
        (
            "conv2d_backward_weight",
            (g, x),
            F.conv2d_backward_weight(g, x, w.shape, *case.options, algorithm=name),
        ),
    ):
        out = unfilled(expected.shape, np.float64)
        assert call_op(f"{function}_f64", s, *arrays, out) == 0
        assert out.tobytes() == expected.tobytes()


def test_same_bits_for_any_number_of_threads(rng):
    case = Conv((4, 40, 30, 30), (40, 40, 3, 3), padding=1)
    x, w = (rng.standard_normal(s) for s in (case.input_shape, case.weight_shape))
    s = conv_shape(case)
    results = []
    for n in (1, 2, 3, 7):
        out = unfilled((4, 40, 30, 30), np.float64)
        assert call_op("conv2d_f64", s, x, w, None, out, num_threads=n) == 0
        results.append(out.tobytes())
    assert all(r == results[0] for r in results)


def check_max_pool(input_shape, options, dtype, channels_last, rng):
    x = integers(rng, input_shape, dtype)  # with ties
    kind, s = KINDS[x.dtype], pool_shape(input_shape, options, channels_last)
    images = flat(x, channels_last)
    y, indices = reference.max_pool2d(x, return_indices=True, **options)
    out, where = unfilled(y.shape, dtype), unfilled(y.shape, np.int64)
    assert call_op(f"max_pool2d_{kind}", s, images, out, None) == 0
    np.testing.assert_array_equal(out, flat(y, channels_last))
    out[:] = np.nan
    assert call_op(f"max_pool2d_{kind}", s, images, out, where) == 0
    np.testing.assert_array_equal(out, flat(y, channels_last))
    np.testing.assert_array_equal(where, flat(indices, channels_last))
    g = integers(rng, y.shape, dtype)
    out = unfilled(x.shape, dtype)
    grad = flat(g, channels_last)
    assert call_op(f"max_pool2d_backward_{kind}", s, grad, where, out) == 0
    expected = reference.max_pool2d_backward(g, indices, x.shape)
    np.testing.assert_array_equal(out, flat(expected, channels_last))


def check_avg_pool(input_shape, options, dtype, channels_last, rng, **fields):
    x = integers(rng, input_shape, dtype)
    kind = KINDS[x.dtype]
    s = pool_shape(
        input_shape,
        options,
        channels_last,
        count_include_pad=fields.get("count_include_pad", 1),
        divisor_override=fields.get("divisor_override") or 0,
    )
    tolerance = {"rtol": 1e-6, "atol": 1e-6}
    y = reference.avg_pool2d(x, **options, **fields)
    out = unfilled(y.shape, dtype)
    assert call_op(f"avg_pool2d_{kind}", s, flat(x, channels_last), out) == 0
    np.testing.assert_allclose(out, flat(y, channels_last), **tolerance)
    g = integers(rng, y.shape, dtype)
    out = unfilled(x.shape, dtype)
    assert call_op(f"avg_pool2d_backward_{kind}", s, flat(g, channels_last), out) == 0
    expected = reference.avg_pool2d_backward(g, x.shape, **options, **fields)
    np.testing.assert_allclose(out, flat(expected, channels_last), **tolerance)


@every_format
@every_dtype
@pytest.mark.parametrize(("input_shape", "options"), POOLINGS)
def test_pooling_equals_reference(input_shape, options, dtype, channels_last, rng):
    check_max_pool(input_shape, options, dtype, channels_last, rng)
    check_avg_pool(input_shape, options, dtype, channels_last, rng)
    check_avg_pool(input_shape, options, dtype, channels_last, rng, count_include_pad=False)
    check_avg_pool(input_shape, options, dtype, channels_last, rng, divisor_override=4)


@given(pooling=poolings(dilated=True), last=st.booleans())
def test_max_pooling_equals_reference_on_any_geometry(pooling, last):
    shape, options = pooling
    shape = shape if len(shape) == 4 else (1, *shape)
    check_max_pool(shape, options, np.float32, last, np.random.default_rng(0))


@given(pooling=poolings(dilated=False), last=st.booleans())
def test_average_pooling_equals_reference_on_any_geometry(pooling, last):
    shape, options = pooling
    shape = shape if len(shape) == 4 else (1, *shape)
    check_avg_pool(shape, options, np.float32, last, np.random.default_rng(0))


@every_format
@pytest.mark.parametrize("size", [(1, 1), (3, 4), (7, 5), (9, 12)])
def test_adaptive_pooling_equals_reference(size, channels_last, rng):
    x = integers(rng, (2, 5, 7, 9), np.float32)
    s = Pool2dShape()
    assert call("pool2d_shape_init_adaptive", s, *x.shape, *size) == 0
    s.input_format = s.output_format = int(channels_last)
    images = flat(x, channels_last)
    out = unfilled((2, 5, *size), np.float32)
    assert call_op("avg_pool2d_f32", s, images, out) == 0
    expected = flat(reference.adaptive_avg_pool2d(x, size), channels_last)
    np.testing.assert_allclose(out, expected, rtol=1e-6)
    assert call_op("max_pool2d_f32", s, images, out, None) == 0
    expected = flat(reference.adaptive_max_pool2d(x, size), channels_last)
    np.testing.assert_array_equal(out, expected)


def test_empty_batch_reads_no_arrays_and_clears_gradients():
    case = Conv((0, 3, 8, 8), (4, 3, 3, 3))
    s, w = conv_shape(case), np.ones((4, 3, 3, 3), np.float32)
    assert call_op("conv2d_f32", s, None, w, None, None) == 0
    assert call_op("conv2d_backward_input_f32", s, None, w, None) == 0
    grad, grad_bias = unfilled(w.shape, np.float32), unfilled(4, np.float32)
    assert call_op("conv2d_backward_weight_f32", s, None, None, grad) == 0
    assert call_op("conv2d_backward_bias_f32", s, None, grad_bias) == 0
    assert not grad.any()
    assert not grad_bias.any()
    p = pool_shape((0, 3, 8, 8), {"kernel_size": 2})
    assert call_op("max_pool2d_f32", p, None, None, None) == 0
    assert call_op("max_pool2d_backward_f32", p, None, None, None) == 0
    assert call_op("avg_pool2d_f32", p, None, None) == 0
    assert call_op("avg_pool2d_backward_f32", p, None, None) == 0


def test_threads_share_a_geometry_and_packed_weights(rng):
    case = Conv((2, 16, 33, 33), (32, 16, 3, 3), padding=1)
    x, w, b, _ = case.operands(rng, np.float32)
    expected = reference.conv2d(x, w, b, *case.options).ravel()
    elsewhere = conv_shape(
        Conv((1, 16, 1, 1), (32, 16, 3, 3), padding=1), algorithm=CONSTANTS["DIRECT"]
    )
    packed, s = ctypes.c_void_p(), conv_shape(case, algorithm=CONSTANTS["WINOGRAD"])
    # packed for a geometry without Winograd's algorithm: the threads below race to add its points
    assert call("conv2d_pack_f32", elsewhere, w, packed, 1) == 0

    def run(i):
        out = unfilled(expected.shape, np.float32)
        if i % 2:
            assert call_op("conv2d_packed_f32", s, x, packed.value, b, out) == 0
        else:
            assert call_op("conv2d_f32", s, x, w, b, out) == 0
        return out

    with ThreadPoolExecutor(8) as pool:
        results = [out.tobytes() for out in pool.map(run, range(32))]
    call("conv2d_packed_free", packed.value)
    np.testing.assert_allclose(np.frombuffer(results[0], np.float32), expected, atol=1e-3)
    assert set(results) == {results[0]}


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers on this system")
def test_signal_handlers_run_after_a_call_returns():
    """A handler's exception has nowhere to go while the caller holds no GIL."""
    code = """
import signal
import numpy as np
from support.c_level import Conv2dShape, call, call_op

def handler(*_):
    raise KeyError

s, x, w = Conv2dShape(), np.ones((8, 64, 200, 200)), np.ones((64, 64, 3, 3))
call("conv2d_shape_init", s, *x.shape, *w.shape[:1], 3, 3, 1, 1, 1, 1)
out = np.full(x.shape, np.nan)
signal.signal(signal.SIGALRM, handler)
try:
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    call_op("conv2d_f64", s, x, w, None, out, num_threads=1)
    while True:  # until the signal has come
        pass
except KeyError:
    print(np.isnan(out).sum())
"""
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    assert output(code, PYTHONPATH=path) == "0"
