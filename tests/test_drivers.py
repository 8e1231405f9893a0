"""Convolutions large enough to be cut into blocks, panels, pieces and slots.

test_conv.py goes through every option on small arrays; the shapes here are there to make each
driver take each of its ways: windows and gathers, panels packed by their task, weight gradients in
slots, planes by blocks of rows. Small integers make float32 exact, so everything is compared for
equality.
"""

import numpy as np
import pytest

import fastconv
import fastconv.functional as F
from fastconv import reference

# input, weight, stride, padding, dilation, groups
SHAPES = {
    "blocks of rows": ((2, 20, 40, 50), (40, 20, 3, 3), 1, 1, 1, 1),
    "wide rows": ((1, 18, 5, 700), (9, 18, 3, 3), 1, 1, 1, 1),
    "filters outweigh images": ((2, 24, 5, 5), (530, 24, 3, 3), 1, 1, 1, 1),
    "filters outweigh images, 1x1": ((3, 40, 6, 6), (300, 40, 1, 1), 2, 0, 1, 1),
    "pointwise, strided": ((3, 40, 30, 30), (70, 40, 1, 1), 2, 0, 1, 1),
    "pointwise, many pixels": ((5, 16, 40, 40), (24, 16, 1, 1), 1, 0, 1, 1),
    "pointwise, planes that meet in a cache": ((2, 40, 32, 32), (33, 40, 1, 1), 1, 0, 1, 1),
    "pointwise, pixels that meet in a cache": ((1, 2048, 3, 4), (40, 2048, 1, 1), 1, 0, 1, 1),
    "pointwise, panels of rows": ((4, 70, 33, 21), (75, 70, 1, 1), (3, 2), 0, 1, 1),
    "taps beyond the image": ((2, 17, 5, 6), (33, 17, 3, 3), 1, 9, 9, 1),
    "small images": ((40, 20, 3, 4), (36, 20, 3, 3), 1, 1, 1, 1),
    "pointwise": ((2, 33, 21, 19), (45, 33, 1, 1), 1, 0, 1, 1),
    "pointwise with border": ((2, 20, 9, 9), (17, 20, 1, 1), 1, 2, 1, 1),
    "first layer": ((2, 3, 60, 70), (48, 3, 3, 3), 1, 1, 1, 1),
    "stem": ((2, 3, 61, 67), (40, 3, 7, 7), 2, 3, 1, 1),
    "few filters": ((2, 30, 40, 40), (3, 30, 5, 5), 1, 2, 1, 1),
    "stride beyond the kernel": ((2, 16, 37, 41), (24, 16, 2, 3), (5, 4), 1, 1, 1),
    "dilation without common factor": ((2, 17, 40, 38), (20, 17, 3, 4), (2, 3), 4, (3, 2), 1),
    "long dilation": ((1, 20, 90, 90), (24, 20, 3, 3), 1, 0, 40, 1),
    "long stride": ((1, 8, 300, 310), (16, 8, 2, 2), 90, 3, 1, 1),
    "many taps": ((2, 5, 30, 30), (18, 5, 11, 13), 1, 5, 1, 1),
    "one row of taps": ((2, 12, 3, 200), (20, 12, 1, 90), 1, 0, 1, 1),
    "groups": ((2, 48, 20, 20), (96, 6, 3, 3), 1, 1, 1, 8),
    "small groups": ((2, 32, 30, 30), (32, 4, 3, 3), 2, 1, 1, 8),
    "1x1 over small planes": ((5, 9, 7, 7), (20, 9, 1, 1), 1, 0, 1, 1),
    "1x1 in groups over small planes": ((3, 8, 5, 9), (40, 4, 1, 1), 1, 0, 1, 2),
    "groups of a vector, pixels that meet in a cache": (
        (2, 512, 9, 8),
        (512, 16, 3, 3),
        2,
        1,
        1,
        32,
    ),
    "groups of two": ((2, 20, 9, 14), (20, 2, 3, 3), 1, 1, 1, 10),
    "groups of four, channels left over": ((2, 20, 7, 7), (20, 4, 3, 3), 1, 1, 1, 5),
    "groups of eight": ((2, 32, 15, 29), (32, 8, 3, 3), 1, 1, 1, 4),
    "groups of sixteen, strided": ((2, 48, 17, 16), (48, 16, 3, 3), 2, 1, 1, 3),
    "fewer channels than a vector": ((2, 5, 12, 20), (5, 1, 3, 3), 1, 1, 1, 5),
    "depthwise 5x5, every phase": ((2, 40, 15, 16), (40, 1, 5, 5), 2, 2, 1, 40),
    "depthwise 7x7, narrow": ((2, 16, 9, 3), (16, 1, 7, 7), 1, 3, 1, 16),
    "depthwise, steps and dilation": ((2, 33, 20, 20), (33, 1, 3, 3), 2, 2, 2, 33),
    "depthwise": ((3, 70, 23, 25), (70, 1, 3, 3), 1, 1, 1, 70),
    "depthwise strided": ((2, 37, 24, 29), (37, 1, 5, 3), (2, 3), 2, 1, 37),
    "depthwise long stride": ((2, 20, 30, 30), (20, 1, 3, 3), 6, 1, 1, 20),
    "depthwise dilated": ((2, 20, 40, 30), (20, 1, 3, 3), 1, 4, (5, 3), 20),
    "depthwise, tall": ((1, 4, 3000, 9), (4, 1, 3, 3), 1, 1, 1, 4),
    "several filters a channel": ((2, 24, 20, 20), (72, 1, 3, 3), 1, 1, 1, 24),
}


def integers(rng, shape, layout):
    a = rng.integers(-2, 3, shape).astype(np.float32)
    if layout == "channels_last":
        a = np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    return a


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("name", SHAPES)
def test_every_way_through_the_drivers(name, layout, rng):
    input_shape, weight_shape, *options = SHAPES[name]
    x, w = integers(rng, input_shape, layout), integers(rng, weight_shape, "contiguous")
    b = rng.integers(-9, 10, weight_shape[0]).astype(np.float32)
    expected = reference.conv2d(x, w, b, *options)
    g = integers(rng, expected.shape, layout)
    grad_input = reference.conv2d_backward_input(g, w, x.shape, *options)
    grad_weight = reference.conv2d_backward_weight(g, x, w.shape, *options)
    for threads in (1, 3):
        with fastconv.threads(threads), fastconv.accuracy("strict"):
            np.testing.assert_array_equal(F.conv2d(x, w, b, *options), expected)
            np.testing.assert_array_equal(
                F.conv2d_backward_input(g, w, x.shape, *options), grad_input
            )
            np.testing.assert_array_equal(
                F.conv2d_backward_weight(g, x, w.shape, *options), grad_weight
            )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("name", SHAPES)
def test_relu_in_the_epilogue_has_the_bits_of_relu_after(name, layout, dtype, rng):
    input_shape, weight_shape, *options = SHAPES[name]
    x, w = (integers(rng, s, layout) * dtype(0.1) for s in (input_shape, weight_shape))
    x[0, 0, -1, -1], x[-1, -1, 0, 0] = np.nan, -np.inf
    b = rng.standard_normal(weight_shape[0]).astype(dtype)
    for bias in (None, b):
        y = F.conv2d(x, w, bias, *options)
        fused = F.conv2d(x, w, bias, *options, activation="relu")
        assert fused.tobytes() == F.relu(y).tobytes()
        assert (fused == 0).any()


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("name", SHAPES)
def test_same_bits_for_any_number_of_threads(name, layout, rng):
    # the batch is tiled until the work is worth sharing out: see SERIAL_WORK in runtime.pyx
    input_shape, weight_shape, *options = SHAPES[name]
    output_shape = reference.conv2d(
        np.zeros((1, *input_shape[1:])), np.zeros(weight_shape), None, *options
    ).shape
    products = np.prod(output_shape) * np.prod(weight_shape[1:])
    batch = max(input_shape[0], min(40, int(3e6 / products) + 1))
    x, w, g = (
        integers(rng, shape, layout) + rng.standard_normal(1).astype(np.float32)
        for shape in ((batch, *input_shape[1:]), weight_shape, (batch, *output_shape[1:]))
    )
    results = []
    for threads in (1, 2, 3, 4, 7):
        with fastconv.threads(threads):
            arrays = (
                F.conv2d(x, w, None, *options),
                F.conv2d_backward_input(g, w, x.shape, *options),
                F.conv2d_backward_weight(g, x, w.shape, *options),
            )
            results.append([a.tobytes() for a in arrays])
    assert all(r == results[0] for r in results[1:])


@pytest.mark.parametrize("shape", [(1, 5000, 40), (2, 300, 7), (13, 700, 300), (130, 90, 200)])
def test_fully_connected_blocks(shape, rng):
    n, inputs, outputs = shape
    x, w, g = (
        rng.integers(-2, 3, s).astype(np.float32)
        for s in ((n, inputs), (outputs, inputs), (n, outputs))
    )
    b = rng.integers(-9, 10, outputs).astype(np.float32)
    for threads in (1, 3):
        with fastconv.threads(threads):
            np.testing.assert_array_equal(F.linear(x, w, b), reference.linear(x, w, b))
            for ours, theirs in zip(
                F.linear_backward(g, x, w), reference.linear_backward(g, x, w), strict=True
            ):
                np.testing.assert_array_equal(ours, theirs)
