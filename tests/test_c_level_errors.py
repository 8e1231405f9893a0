"""The C level refuses what makes no sense, with the status that says why."""

import ctypes

import numpy as np
import pytest
from support.arrays import integers
from support.c_level import (
    CASES,
    CONSTANTS,
    POOLINGS,
    PROTOTYPES,
    STATUSES,
    ConvGeometry,
    PoolGeometry,
    call,
    call_op,
    change,
    conv_geometry,
    pool_geometry,
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
        ({"size_h": 0, "pad_before_h": 9}, "INVALID_SIZE"),
        ({"kernel_h": 0}, "INVALID_SIZE"),
        ({"kernel_w": -(2**63)}, "INVALID_SIZE"),
        ({"stride_h": 0}, "INVALID_STRIDE"),
        ({"stride_w": -1}, "INVALID_STRIDE"),
        ({"dilation_w": 0}, "INVALID_STRIDE"),
        ({"pad_before_w": -1}, "INVALID_PADDING"),
        ({"pad_after_h": -1}, "INVALID_PADDING"),
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
        ({"pad_before_h": 2**62}, "TOO_LARGE"),
        ({"pad_before_h": 2**58, "pad_after_h": 2**58}, "TOO_LARGE"),
        ({"batch": 2**40, "in_channels": 2**40}, "TOO_LARGE"),
        ({"size_h": 2**32, "size_w": 2**32}, "TOO_LARGE"),
        ({"size_w": 2**63 - 1}, "TOO_LARGE"),
        ({"out_channels": 2**62}, "TOO_LARGE"),
        ({"size_d": 2**58, "pad_after_d": 2**62}, "TOO_LARGE"),
        ({"size_d": 2**32, "size_w": 2**32}, "TOO_LARGE"),
        ({"stride_d": 0}, "INVALID_STRIDE"),
        ({"pad_before_d": -1}, "INVALID_PADDING"),
        ({"size_d": 0}, "INVALID_SIZE"),
        ({"kernel_d": 2}, "KERNEL_TOO_LARGE"),
    ],
)
def test_invalid_convolutions_are_refused(fields, status):
    geometry = conv_geometry(Conv((2, 8, 8, 8), (4, 8, 3, 3)))
    change(geometry, **fields)
    before = bytes(geometry)
    assert call("conv_check", geometry) == STATUSES[status]
    assert bytes(geometry) == before
    x = np.zeros(2 * 8 * 8 * 8)
    assert call_op("conv_f64", geometry, x, x, None, x) == STATUSES[status]
    assert call_op("conv_backward_input_f64", geometry, x, x, x) == STATUSES[status]
    assert call_op("conv_backward_weight_f64", geometry, x, x, x) == STATUSES[status]
    assert call_op("conv_backward_bias_f64", geometry, x, x) == STATUSES[status]
    assert call("conv_pack_f64", geometry, x, ctypes.c_void_p(), 0) == STATUSES[status]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"batch": -1}, "INVALID_SIZE"),
        ({"channels": 0}, "INVALID_SIZE"),
        ({"size_w": 0}, "INVALID_SIZE"),
        ({"kernel_w": 0}, "INVALID_SIZE"),
        ({"stride_h": 0}, "INVALID_STRIDE"),
        ({"dilation_h": -3}, "INVALID_STRIDE"),
        ({"pad_before_h": -1}, "INVALID_PADDING"),
        ({"pad_before_w": 2}, "INVALID_PADDING"),
        ({"pad_after_w": 2}, "INVALID_PADDING"),
        ({"pad_before_w": 2**62}, "INVALID_PADDING"),
        ({"ceil_mode": 2}, "INVALID_OPTION"),
        ({"adaptive": -1}, "INVALID_OPTION"),
        ({"count_include_pad": 7}, "INVALID_OPTION"),
        ({"divisor_override": -1}, "INVALID_OPTION"),
        ({"input_format": 5}, "INVALID_OPTION"),
        ({"kernel_h": 9}, "KERNEL_TOO_LARGE"),
        ({"kernel_h": 11, "ceil_mode": 1}, "KERNEL_TOO_LARGE"),
        ({"dilation_w": 2**62}, "KERNEL_TOO_LARGE"),
        ({"dilation_w": 2**62, "ceil_mode": 1}, "KERNEL_TOO_LARGE"),
        ({"channels": 2**62}, "TOO_LARGE"),
        ({"size_d": 0}, "INVALID_SIZE"),
        ({"kernel_d": 2}, "KERNEL_TOO_LARGE"),
        ({"kernel_d": 3, "pad_before_d": 2}, "INVALID_PADDING"),
        ({"adaptive": 1, "out_d": 0}, "INVALID_SIZE"),
        ({"adaptive": 1, "out_h": 0}, "INVALID_SIZE"),
        ({"adaptive": 1, "out_h": 2**40, "out_w": 2**40}, "TOO_LARGE"),
    ],
)
def test_invalid_poolings_are_refused(fields, status):
    geometry = pool_geometry((2, 8, 8, 8), {"kernel_size": 3})
    change(geometry, **fields)
    before = bytes(geometry)
    assert call("pool_check", geometry) == STATUSES[status]
    assert bytes(geometry) == before
    x = np.zeros(2 * 8 * 8 * 8)
    assert call_op("max_pool_f64", geometry, x, x, None) == STATUSES[status]
    assert call_op("max_pool_backward_f64", geometry, x, x, x) == STATUSES[status]
    assert call_op("avg_pool_f64", geometry, x, x) == STATUSES[status]
    assert call_op("avg_pool_backward_f64", geometry, x, x) == STATUSES[status]
    assert call_op("max_unpool_f64", geometry, x, x, x) == STATUSES[status]
    assert call_op("max_unpool_backward_f64", geometry, x, x, x) == STATUSES[status]


def test_huge_strides_give_one_output_pixel(rng):
    x = integers(rng, (1, 4, 5, 5))
    w = integers(rng, (4, 4, 1, 1))
    case = Conv(x.shape, w.shape)
    geometry = conv_geometry(case, stride_h=2**63 - 1, stride_w=2**62, dilation_h=2**63 - 1)
    g, out = unfilled((1, 4, 1, 1), np.float64), unfilled(x.shape, np.float64)
    assert call_op("conv_f64", geometry, x, w, None, g) == 0
    np.testing.assert_array_equal(g, w[:, :, 0, 0] @ x[0, :, 0, 0])
    assert call_op("conv_backward_input_f64", geometry, g, w, out) == 0
    np.testing.assert_array_equal(out.reshape(x.shape)[0, :, 0, 0], w[:, :, 0, 0].T @ g)
    assert np.count_nonzero(out) <= 4


def test_unchecked_geometry_is_refused():
    geometry, unchecked = conv_geometry(CASES[0]), STATUSES["GEOMETRY_NOT_CHECKED"]
    x = np.zeros(4096)
    for axis in geometry.axis:
        axis.out += 1
        assert call_op("conv_f64", geometry, x, x, None, x) == unchecked
        call("conv_check", geometry)
    change(geometry, pad_before_h=1)
    assert call_op("conv_backward_input_f64", geometry, x, x, x) == unchecked
    pooling = pool_geometry(*POOLINGS[0])
    pooling.axis[2].size *= 2
    assert call_op("max_pool_f64", pooling, x, x, None) == unchecked


@pytest.mark.parametrize("byte", [0, 0xFF])
def test_geometry_that_was_never_set_is_refused(byte):
    x = np.zeros(4096)
    for kind, op, arrays in (
        (ConvGeometry, "conv_f64", (x, x, None, x)),
        (PoolGeometry, "max_pool_f64", (x, x, None)),
    ):
        geometry = kind.from_buffer(bytearray([byte]) * ctypes.sizeof(kind))
        assert call_op(op, geometry, *arrays) == STATUSES["INVALID_SIZE"]


@pytest.mark.parametrize(
    ("init", "good", "bad"),
    [
        ("conv1d_init", (2, 6, 20, 8, 3, 1, 0, 1, 2), (2, 6, 20, 8, 3, 0, 0, 1, 2)),
        ("conv2d_init", (2, 6, 9, 9, 8, 3, 3, 1, 0, 1, 2), (2, 6, 9, 9, 8, 10, 3, 1, 0, 1, 2)),
        ("pool1d_init", (2, 6, 20, 3, 1, 0), (2, 6, 20, 3, 1, 2)),
        ("pool2d_init", (2, 6, 9, 9, 3, 3, 1, 0), (2, 6, 0, 9, 3, 3, 1, 0)),
        ("adaptive_pool1d_init", (2, 6, 20, 7), (2, -6, 20, 7)),
        ("adaptive_pool2d_init", (2, 6, 9, 9, 7, 7), (2, 6, 9, 9, 7, 0)),
    ],
)
def test_init_sets_every_field_even_where_it_refuses_them(init, good, bad):
    """So that options that are yet to come can mend it: padding, say."""
    kind = ConvGeometry if init.startswith("conv") else PoolGeometry
    memory = [bytearray(fill * ctypes.sizeof(kind)) for fill in (b"\0", b"\xff")]
    first, second = map(kind.from_buffer, memory)
    assert call(init, first, *good) == call(init, second, *good) == 0
    assert memory[0] == memory[1]
    memory[0][:], memory[1][:] = bytes(len(memory[0])), b"\xff" * len(memory[1])
    status = call(init, first, *bad)
    assert status != 0
    assert call(init, second, *bad) == status
    assert memory[0] == memory[1]


def test_null_pointers_are_refused():
    case = CASES[0]
    convolution, pooling = conv_geometry(case), pool_geometry(*POOLINGS[0])
    x, null = np.zeros(4096), STATUSES["NULL_POINTER"]
    for name, arrays, optional in (
        ("conv_f64", 4, 2),
        ("conv_backward_input_f64", 3, None),
        ("conv_backward_weight_f64", 3, None),
        ("conv_backward_bias_f64", 2, None),
        ("max_pool_f64", 3, 2),
        ("max_pool_backward_f64", 3, None),
        ("avg_pool_f64", 2, None),
        ("avg_pool_backward_f64", 2, None),
    ):
        geometry = convolution if name.startswith("conv") else pooling
        for missing in range(arrays):
            operands = [None if i == missing else x for i in range(arrays)]
            expected = 0 if missing == optional else null
            assert call_op(name, geometry, *operands) == expected
        assert call_op(name, None, *[x] * arrays) == null
    assert call("conv_pack_f64", convolution, None, ctypes.c_void_p(), 0) == null
    assert call("conv_pack_f64", convolution, x, None, 0) == null
    assert call_op("conv_packed_f64", convolution, x, None, None, x) == null
    setters = [name for name in PROTOTYPES if name.endswith(("_init", "_check"))]
    assert len(setters) > 8
    for name in setters:
        sizes = PROTOTYPES[name][1].count("Py_ssize_t")
        assert call(name, None, *[1] * sizes) == null
    call("conv_packed_free", None)


@pytest.mark.parametrize("num_threads", [-1, 1025])
def test_invalid_numbers_of_threads_are_refused(num_threads):
    geometry, pooling, x = conv_geometry(CASES[0]), pool_geometry(*POOLINGS[0]), np.zeros(4096)
    many = {"num_threads": num_threads}
    assert call_op("conv_f64", geometry, x, x, None, x, **many) == STATUSES["INVALID_OPTION"]
    assert call_op("avg_pool_f64", pooling, x, x, **many) == STATUSES["INVALID_OPTION"]


def test_indices_outside_their_plane_are_refused():
    geometry = pool_geometry((1, 1, 4, 4), {"kernel_size": 2})
    g, out = np.ones(4), unfilled(16, np.float64)
    for wrong in (16, -2, 2**62):
        indices = np.array([0, wrong, 10, -1], np.int64)
        status = call_op("max_pool_backward_f64", geometry, g, indices, out)
        assert status == STATUSES["INDEX_OUT_OF_RANGE"]


def test_packed_weights_of_another_convolution_are_refused(rng):
    case = Conv((1, 8, 9, 9), (8, 4, 3, 3), groups=2)
    w = integers(rng, case.weight_shape)
    packed, geometry, x = ctypes.c_void_p(), conv_geometry(case), np.zeros(4096)
    assert call("conv_pack_f64", geometry, w, packed, 0) == 0
    for other in (
        Conv((1, 4, 9, 9), (8, 4, 3, 3)),
        Conv((1, 8, 9, 9), (6, 4, 3, 3), groups=2),
        Conv((1, 8, 9, 9), (8, 4, 3, 2), groups=2),
        Conv((1, 12, 9, 9), (8, 6, 3, 3), groups=2),
    ):
        status = call_op("conv_packed_f64", conv_geometry(other), x, packed.value, None, x)
        assert status == STATUSES["WEIGHT_MISMATCH"]
    status = call_op("conv_packed_f32", geometry, x, packed.value, None, x)
    assert status == STATUSES["WEIGHT_MISMATCH"]
    call("conv_packed_free", packed.value)


def test_packed_weights_are_a_copy(rng):
    case = Conv((1, 6, 9, 9), (6, 1, 3, 3), groups=6)  # whose driver takes weights as they come
    x, w, b, _ = case.operands(rng)
    expected = reference.conv2d(x, w, b, *case.options)
    packed, geometry = ctypes.c_void_p(), conv_geometry(case)
    out = unfilled(expected.shape, np.float64)
    assert call("conv_pack_f64", geometry, w, packed, 0) == 0
    w[...] = np.nan
    assert call_op("conv_packed_f64", geometry, x, packed.value, b, out) == 0
    call("conv_packed_free", packed.value)
    np.testing.assert_array_equal(out, expected.ravel())
