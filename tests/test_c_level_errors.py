"""The C level refuses what makes no sense, with the status that says why."""

import ctypes

import numpy as np
import pytest
from support.arrays import integers
from support.c_level import (
    CASES,
    CONSTANTS,
    POOLINGS,
    STATUSES,
    call,
    call_op,
    conv_shape,
    pool_shape,
    unfilled,
)
from support.geometries import Conv

from fastconv import reference


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"batch": -1}, "INVALID_SIZE"),
        ({"in_channels": 0}, "INVALID_SIZE"),
        ({"out_channels": -4}, "INVALID_SIZE"),
        ({"in_h": 0, "pad_top": 9}, "INVALID_SIZE"),
        ({"kernel_h": 0}, "INVALID_SIZE"),
        ({"kernel_w": -(2**63)}, "INVALID_SIZE"),
        ({"stride_h": 0}, "INVALID_STRIDE"),
        ({"stride_w": -1}, "INVALID_STRIDE"),
        ({"dilation_w": 0}, "INVALID_STRIDE"),
        ({"pad_left": -1}, "INVALID_PADDING"),
        ({"groups": 0}, "INVALID_GROUPS"),
        ({"groups": 3}, "INVALID_GROUPS"),
        ({"groups": 4, "out_channels": 6}, "INVALID_GROUPS"),
        ({"input_format": 2}, "INVALID_OPTION"),
        ({"output_format": -1}, "INVALID_OPTION"),
        ({"activation": 2}, "INVALID_OPTION"),
        ({"algorithm": 3}, "INVALID_OPTION"),
        ({"algorithm": CONSTANTS["WINOGRAD"], "stride_h": 2}, "INVALID_OPTION"),
        ({"algorithm": CONSTANTS["WINOGRAD"], "kernel_w": 2}, "INVALID_OPTION"),
        ({"algorithm": CONSTANTS["WINOGRAD"], "groups": 2}, "INVALID_OPTION"),
        ({"kernel_h": 9}, "KERNEL_TOO_LARGE"),
        ({"dilation_h": 4}, "KERNEL_TOO_LARGE"),
        ({"dilation_h": 2**62}, "KERNEL_TOO_LARGE"),
        ({"kernel_h": 2**62, "dilation_h": 2**62}, "KERNEL_TOO_LARGE"),
        ({"pad_top": 2**62}, "TOO_LARGE"),
        ({"pad_top": 2**58, "pad_bottom": 2**58}, "TOO_LARGE"),
        ({"batch": 2**40, "in_channels": 2**40}, "TOO_LARGE"),
        ({"in_h": 2**32, "in_w": 2**32}, "TOO_LARGE"),
        ({"in_w": 2**63 - 1}, "TOO_LARGE"),
        ({"out_channels": 2**62}, "TOO_LARGE"),
    ],
)
def test_invalid_conv2d_shapes_are_refused(fields, status):
    s = conv_shape(Conv((2, 8, 8, 8), (4, 8, 3, 3)))
    for name, value in fields.items():
        setattr(s, name, value)
    before = bytes(s)
    assert call("conv2d_shape_check", s) == STATUSES[status]
    assert bytes(s) == before
    x = np.zeros(2 * 8 * 8 * 8)
    assert call_op("conv2d_f64", s, x, x, None, x) == STATUSES[status]
    assert call_op("conv2d_backward_input_f64", s, x, x, x) == STATUSES[status]
    assert call_op("conv2d_backward_weight_f64", s, x, x, x) == STATUSES[status]
    assert call_op("conv2d_backward_bias_f64", s, x, x) == STATUSES[status]
    assert call("conv2d_pack_f64", s, x, ctypes.c_void_p(), 0) == STATUSES[status]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"batch": -1}, "INVALID_SIZE"),
        ({"channels": 0}, "INVALID_SIZE"),
        ({"in_w": 0}, "INVALID_SIZE"),
        ({"kernel_w": 0}, "INVALID_SIZE"),
        ({"stride_h": 0}, "INVALID_STRIDE"),
        ({"dilation_h": -3}, "INVALID_STRIDE"),
        ({"pad_h": -1}, "INVALID_PADDING"),
        ({"pad_w": 2}, "INVALID_PADDING"),
        ({"pad_w": 2**62}, "INVALID_PADDING"),
        ({"ceil_mode": 2}, "INVALID_OPTION"),
        ({"adaptive": -1}, "INVALID_OPTION"),
        ({"count_include_pad": 7}, "INVALID_OPTION"),
        ({"divisor_override": -1}, "INVALID_OPTION"),
        ({"input_format": 5}, "INVALID_OPTION"),
        ({"kernel_h": 9}, "KERNEL_TOO_LARGE"),
        ({"dilation_w": 2**62}, "KERNEL_TOO_LARGE"),
        ({"channels": 2**62}, "TOO_LARGE"),
        ({"adaptive": 1, "out_h": 0}, "INVALID_SIZE"),
        ({"adaptive": 1, "out_h": 2**40, "out_w": 2**40}, "TOO_LARGE"),
    ],
)
def test_invalid_pool2d_shapes_are_refused(fields, status):
    s = pool_shape((2, 8, 8, 8), {"kernel_size": 3})
    for name, value in fields.items():
        setattr(s, name, value)
    before = bytes(s)
    assert call("pool2d_shape_check", s) == STATUSES[status]
    assert bytes(s) == before
    x = np.zeros(2 * 8 * 8 * 8)
    assert call_op("max_pool2d_f64", s, x, x, None) == STATUSES[status]
    assert call_op("max_pool2d_backward_f64", s, x, x, x) == STATUSES[status]
    assert call_op("avg_pool2d_f64", s, x, x) == STATUSES[status]
    assert call_op("avg_pool2d_backward_f64", s, x, x) == STATUSES[status]


def test_huge_strides_give_one_output_pixel(rng):
    x = integers(rng, (1, 4, 5, 5))
    w = integers(rng, (4, 4, 1, 1))
    case = Conv(x.shape, w.shape)
    s = conv_shape(case, stride_h=2**63 - 1, stride_w=2**62, dilation_h=2**63 - 1)
    g, out = unfilled((1, 4, 1, 1), np.float64), unfilled(x.shape, np.float64)
    assert call_op("conv2d_f64", s, x, w, None, g) == 0
    np.testing.assert_array_equal(g, w[:, :, 0, 0] @ x[0, :, 0, 0])
    assert call_op("conv2d_backward_input_f64", s, g, w, out) == 0
    np.testing.assert_array_equal(out.reshape(x.shape)[0, :, 0, 0], w[:, :, 0, 0].T @ g)
    assert np.count_nonzero(out) <= 4


def test_unchecked_shape_is_refused():
    s = conv_shape(CASES[0])
    x = np.zeros(4096)
    for field in ("out_h", "out_w"):
        setattr(s, field, getattr(s, field) + 1)
        assert call_op("conv2d_f64", s, x, x, None, x) == STATUSES["SHAPE_NOT_CHECKED"]
        call("conv2d_shape_check", s)
    s.pad_top = 1
    assert call_op("conv2d_backward_input_f64", s, x, x, x) == STATUSES["SHAPE_NOT_CHECKED"]
    p = pool_shape(*POOLINGS[0])
    p.in_w *= 2
    assert call_op("max_pool2d_f64", p, x, x, None) == STATUSES["SHAPE_NOT_CHECKED"]


def test_null_pointers_are_refused():
    case = CASES[0]
    s, p = conv_shape(case), pool_shape(*POOLINGS[0])
    x, null = np.zeros(4096), STATUSES["NULL_POINTER"]
    for name, arrays, optional in (
        ("conv2d_f64", 4, 2),
        ("conv2d_backward_input_f64", 3, None),
        ("conv2d_backward_weight_f64", 3, None),
        ("conv2d_backward_bias_f64", 2, None),
        ("max_pool2d_f64", 3, 2),
        ("max_pool2d_backward_f64", 3, None),
        ("avg_pool2d_f64", 2, None),
        ("avg_pool2d_backward_f64", 2, None),
    ):
        shape = s if name.startswith("conv") else p
        for missing in range(arrays):
            operands = [None if i == missing else x for i in range(arrays)]
            expected = 0 if missing == optional else null
            assert call_op(name, shape, *operands) == expected
        assert call_op(name, None, *[x] * arrays) == null
    assert call("conv2d_pack_f64", s, None, ctypes.c_void_p(), 0) == null
    assert call("conv2d_pack_f64", s, x, None, 0) == null
    assert call_op("conv2d_packed_f64", s, x, None, None, x) == null
    assert call("conv2d_shape_check", None) == null
    assert call("pool2d_shape_check", None) == null
    assert call("conv2d_shape_init", None, *[1] * 11) == null
    assert call("pool2d_shape_init", None, *[1] * 8) == null
    assert call("pool2d_shape_init_adaptive", None, *[1] * 6) == null
    call("conv2d_packed_free", None)


@pytest.mark.parametrize("num_threads", [-1, 1025])
def test_invalid_numbers_of_threads_are_refused(num_threads):
    s, p, x = conv_shape(CASES[0]), pool_shape(*POOLINGS[0]), np.zeros(4096)
    many = {"num_threads": num_threads}
    assert call_op("conv2d_f64", s, x, x, None, x, **many) == STATUSES["INVALID_OPTION"]
    assert call_op("avg_pool2d_f64", p, x, x, **many) == STATUSES["INVALID_OPTION"]


def test_indices_outside_their_plane_are_refused():
    p = pool_shape((1, 1, 4, 4), {"kernel_size": 2})
    g, out = np.ones(4), unfilled(16, np.float64)
    for wrong in (16, -2, 2**62):
        indices = np.array([0, wrong, 10, -1], np.int64)
        status = call_op("max_pool2d_backward_f64", p, g, indices, out)
        assert status == STATUSES["INDEX_OUT_OF_RANGE"]


def test_packed_weights_of_another_convolution_are_refused(rng):
    case = Conv((1, 8, 9, 9), (8, 4, 3, 3), groups=2)
    w = integers(rng, case.weight_shape)
    packed, s, x = ctypes.c_void_p(), conv_shape(case), np.zeros(4096)
    assert call("conv2d_pack_f64", s, w, packed, 0) == 0
    for other in (
        Conv((1, 4, 9, 9), (8, 4, 3, 3)),
        Conv((1, 8, 9, 9), (6, 4, 3, 3), groups=2),
        Conv((1, 8, 9, 9), (8, 4, 3, 2), groups=2),
        Conv((1, 12, 9, 9), (8, 6, 3, 3), groups=2),
    ):
        shape = conv_shape(other)
        status = call_op("conv2d_packed_f64", shape, x, packed.value, None, x)
        assert status == STATUSES["WEIGHT_MISMATCH"]
    status = call_op("conv2d_packed_f32", s, x, packed.value, None, x)
    assert status == STATUSES["WEIGHT_MISMATCH"]
    call("conv2d_packed_free", packed.value)


def test_packed_weights_are_a_copy(rng):
    case = Conv((1, 6, 9, 9), (6, 1, 3, 3), groups=6)  # whose driver takes weights as they come
    x, w, b, _ = case.operands(rng)
    expected = reference.conv2d(x, w, b, *case.options)
    packed, s, out = ctypes.c_void_p(), conv_shape(case), unfilled(expected.shape, np.float64)
    assert call("conv2d_pack_f64", s, w, packed, 0) == 0
    w[...] = np.nan
    assert call_op("conv2d_packed_f64", s, x, packed.value, b, out) == 0
    call("conv2d_packed_free", packed.value)
    np.testing.assert_array_equal(out, expected.ravel())
