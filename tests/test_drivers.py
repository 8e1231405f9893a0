"""Convolutions large enough to be cut into blocks, panels, pieces and slots.

test_conv.py goes through every option on small arrays; the shapes here are there to make each
driver take each of its ways: windows and gathers, panels packed by their task, weight gradients in
slots, planes by blocks of rows. Small integers make float32 exact, so everything is compared for
equality.
"""

import numpy as np
import pytest
from support.arrays import LAYOUTS, integers
from support.convolutions import DRIVER_CASES

import fastconv
import fastconv.functional as F
from fastconv import reference


def small_integers(rng, shape, layout="contiguous"):
    return LAYOUTS[layout](integers(rng, shape, np.float32, limit=2))


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("name", DRIVER_CASES)
def test_every_driver_branch_equals_reference(name, layout, rng):
    input_shape, weight_shape, *options = DRIVER_CASES[name]
    x, w = small_integers(rng, input_shape, layout), small_integers(rng, weight_shape)
    b = rng.integers(-9, 10, weight_shape[0]).astype(np.float32)
    expected = reference.conv2d(x, w, b, *options)
    g = small_integers(rng, expected.shape, layout)
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
@pytest.mark.parametrize("taps", [3, 4, 5])
def test_depthwise_of_any_number_of_channels_equals_reference(taps, dtype, isa, rng):
    # vectors that pixels fill, overlap or share with their neighbours; odd and even rows of pairs
    for channels in range(2, 34):
        options = (1, taps // 2, 1, channels)
        x = LAYOUTS["channels_last"](integers(rng, (2, channels, 5, 17 + channels % 2), dtype, 2))
        w = integers(rng, (channels, 1, taps, taps), dtype, 2)
        b = integers(rng, (channels,), dtype, 9)
        expected = reference.conv2d(x, w, b, *options)
        g = LAYOUTS["channels_last"](integers(rng, expected.shape, dtype, 2))
        np.testing.assert_array_equal(F.conv2d(x, w, b, *options), expected)
        np.testing.assert_array_equal(
            F.conv2d_backward_input(g, w, x.shape, *options),
            reference.conv2d_backward_input(g, w, x.shape, *options),
        )
        np.testing.assert_array_equal(
            F.conv2d_backward_weight(g, x, w.shape, *options),
            reference.conv2d_backward_weight(g, x, w.shape, *options),
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("name", DRIVER_CASES)
def test_fused_relu_has_the_bits_of_a_separate_relu(name, layout, dtype, rng):
    input_shape, weight_shape, *options = DRIVER_CASES[name]
    x, w = (small_integers(rng, s, layout) * dtype(0.1) for s in (input_shape, weight_shape))
    x[0, 0, -1, -1], x[-1, -1, 0, 0] = np.nan, -np.inf
    b = rng.standard_normal(weight_shape[0]).astype(dtype)
    for bias in (None, b):
        y = F.conv2d(x, w, bias, *options)
        fused = F.conv2d(x, w, bias, *options, activation="relu")
        assert fused.tobytes() == F.relu(y).tobytes()
        assert (fused == 0).any()


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("name", DRIVER_CASES)
def test_same_bits_for_any_number_of_threads(name, layout, rng):
    # the batch is tiled until the work is worth sharing out: see SERIAL_WORK in runtime.pyx
    input_shape, weight_shape, *options = DRIVER_CASES[name]
    output_shape = reference.conv2d(
        np.zeros((1, *input_shape[1:])), np.zeros(weight_shape), None, *options
    ).shape
    products = np.prod(output_shape) * np.prod(weight_shape[1:])
    batch = max(input_shape[0], min(40, int(3e6 / products) + 1))
    x, w, g = (
        small_integers(rng, shape, layout) + rng.standard_normal(1).astype(np.float32)
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
def test_large_linear_layers_equal_reference(shape, rng):
    n, inputs, outputs = shape
    x, w, g = (small_integers(rng, s) for s in ((n, inputs), (outputs, inputs), (n, outputs)))
    b = rng.integers(-9, 10, outputs).astype(np.float32)
    for threads in (1, 3):
        with fastconv.threads(threads):
            np.testing.assert_array_equal(F.linear(x, w, b), reference.linear(x, w, b))
            for ours, theirs in zip(
                F.linear_backward(g, x, w), reference.linear_backward(g, x, w), strict=True
            ):
                np.testing.assert_array_equal(ours, theirs)
