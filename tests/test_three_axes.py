"""Convolution over three axes: exact against the reference, in every way that drivers take it."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from support.arrays import assert_equal, integers

import fastconv
import fastconv.functional as F
from fastconv import Tensor, nn, reference
from fastconv.testing import gradcheck

DTYPES = [np.float32, np.float64]


def channels_last(x):
    """(..., C, D, H, W) in shape, (..., D, H, W, C) in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, -4, -1)), -1, -4)


LAYOUTS = {
    "contiguous": np.ascontiguousarray,
    "channels_last": channels_last,
    "backwards": lambda x: x[..., ::-1, ::-1, :].copy()[..., ::-1, ::-1, :],
    "every_second": lambda x: np.repeat(x, 2, axis=-3)[..., ::2, :, :],
}

#: input, weight, stride, padding, dilation, groups
CONVOLUTIONS = [
    ((2, 3, 5, 6, 7), (4, 3, 3, 3, 3), 1, 1, 1, 1),
    ((3, 5, 6, 7), (4, 3, 2, 3, 1), (1, 2, 3), (1, 0, 0), (2, 1, 1), 1),
    ((2, 4, 4, 5, 6), (6, 2, 3, 2, 4), 1, "same", 1, 2),
    ((2, 4, 7, 5, 6), (6, 2, 3, 1, 2), 2, (2, 0, 0, 1, 1, 3), 1, 2),
    ((1, 32, 4, 12, 12), (48, 32, 3, 3, 3), 1, 1, 1, 1),
    ((2, 32, 5, 9, 9), (16, 32, 3, 3, 3), 2, 1, 1, 1),
    ((2, 19, 4, 8, 9), (19, 1, 3, 3, 3), 1, 1, 1, 19),
    ((2, 32, 4, 8, 9), (32, 4, 3, 3, 3), (1, 2, 2), 1, 1, 8),
    # taps along one or two axes alone
    ((2, 16, 4, 6, 6), (24, 16, 1, 1, 1), 1, 0, 1, 1),
    ((2, 16, 5, 7, 6), (24, 16, 1, 1, 1), 2, 0, 1, 1),
    ((2, 16, 4, 6, 6), (24, 16, 3, 1, 1), 1, (1, 0, 0), 1, 1),
    ((2, 16, 4, 6, 6), (24, 16, 1, 1, 3), 1, (0, 0, 1), 1, 1),
    ((1, 16, 4, 6, 6), (24, 16, 1, 3, 3), 1, (0, 1, 1), 1, 1),
    ((3, 16, 4, 6, 6), (24, 16, 1, 3, 3), 1, (0, 1, 1), 1, 1),
    ((2, 16, 4, 6, 6), (16, 1, 1, 3, 3), 1, (0, 1, 1), 1, 16),
    ((2, 16, 6, 6, 6), (16, 16, 3, 1, 1), (2, 1, 1), (1, 0, 0), 1, 1),
    # first layers
    ((1, 3, 5, 20, 20), (16, 3, 3, 7, 7), (1, 2, 2), (1, 3, 3), 1, 1),
    ((2, 1, 6, 9, 40), (8, 1, 3, 3, 3), 1, 1, 1, 1),
    # a tap that lies outside the volume, wherever it is
    ((2, 3, 1, 4, 4), (4, 3, 3, 1, 1), 1, (1, 0, 0), 1, 1),
    ((2, 3, 2, 4, 4), (4, 3, 2, 2, 2), (5, 1, 1), (4, 0, 0), (4, 1, 1), 1),
    ((0, 3, 5, 6, 7), (4, 3, 3, 3, 3), 1, 0, 1, 1),
    # narrow groups with a depth: steps and dilation of it, taps beyond the volume, phases
    ((2, 40, 5, 7, 9), (40, 1, 3, 3, 3), 1, 1, 1, 40),
    ((2, 37, 5, 9, 9), (37, 1, 3, 5, 3), (1, 2, 2), (1, 2, 1), 1, 37),
    ((2, 33, 6, 7, 9), (33, 1, 3, 3, 3), 2, 1, 1, 33),
    ((2, 33, 2, 7, 9), (33, 1, 4, 3, 3), 1, 4, (2, 1, 1), 33),
    ((1, 20, 3, 4, 5), (20, 1, 2, 2, 2), 1, (4, 0, 1), (9, 1, 1), 20),
    ((1, 20, 7, 9, 9), (20, 1, 2, 3, 3), (3, 5, 4), 1, 1, 20),  # more than 16 phases of a plane
    ((1, 20, 7, 9, 9), (20, 1, 2, 1, 3), (4, 2, 2), 1, 1, 20),  # some of which no tap reaches
    ((2, 20, 6, 7, 9), (20, 2, 2, 3, 3), (3, 2, 1), (3, 1, 1), (2, 1, 1), 10),
    ((2, 48, 6, 7, 9), (48, 16, 3, 3, 3), (2, 2, 1), 1, 1, 3),
    ((2, 5, 5, 7, 9), (5, 1, 3, 3, 3), 1, 1, 1, 5),  # fewer channels than a vector
    ((2, 19, 5, 7, 6), (19, 1, 3, 1, 1), (2, 1, 1), (1, 0, 0), 1, 19),
    ((2, 19, 5, 7, 6), (19, 1, 1, 3, 3), (1, 2, 2), (0, 1, 1), 1, 19),
    ((2, 32, 1, 9, 8), (32, 1, 3, 3, 3), 1, 1, 1, 32),
    ((1, 5, 4, 9, 60), (5, 1, 3, 3, 3), 1, 1, 1, 5),  # wide rows: planes
]

#: narrow groups, large enough to be cut into tasks, pieces and slots
VOLUMES = [
    ((2, 70, 9, 23, 25), (70, 1, 3, 3, 3), 1, 1, 1, 70),
    ((2, 70, 9, 23, 25), (70, 1, 3, 3, 3), 2, 1, 1, 70),
    ((2, 48, 7, 30, 28), (48, 1, 3, 5, 5), (1, 2, 2), (1, 2, 2), 1, 48),
    ((2, 48, 9, 20, 18), (48, 4, 3, 3, 3), 1, 1, (2, 1, 1), 12),
    ((1, 2, 30, 20, 9), (2, 1, 5, 3, 3), 1, 1, 1, 2),
    ((1, 64, 6, 56, 56), (64, 1, 3, 3, 3), 1, 1, 1, 64),
]


def check_all_passes(shape, weight_shape, options, dtype, layout, rng):
    x, w, b = (integers(rng, s, dtype) for s in (shape, weight_shape, weight_shape[:1]))
    y = reference.conv3d(x, w, b, *options)
    g = integers(rng, y.shape, dtype)
    lay = LAYOUTS[layout]
    assert_equal(F.conv3d(lay(x), w, b, *options, algorithm="direct"), y)
    packed = F.pack_conv3d_weight(w, options[3])
    relu = F.conv3d(lay(x), packed, b, *options, activation="relu", algorithm="direct")
    assert_equal(relu, np.maximum(y, 0))
    expected = reference.conv3d_backward_input(g, w, x.shape, *options)
    actual = F.conv3d_backward_input(lay(g), w, x.shape, *options, algorithm="direct")
    assert_equal(actual, expected)
    expected = reference.conv3d_backward_weight(g, x, w.shape, *options)
    actual = F.conv3d_backward_weight(lay(g), lay(x), w.shape, *options, algorithm="direct")
    assert_equal(actual, expected)
    assert_equal(F.conv3d_backward_bias(lay(g)), reference.conv3d_backward_bias(g))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_convolution_is_exact_on_integers(case, dtype, layout, rng):
    check_all_passes(*case[:2], case[2:], dtype, layout, rng)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("case", VOLUMES, ids=str)
def test_volumes_of_narrow_groups_are_exact_for_any_number_of_threads(case, layout, rng):
    for n in (1, 3):
        with fastconv.threads(n):
            check_all_passes(*case[:2], case[2:], np.float32, layout, rng)


def three(low, high):
    return st.tuples(*[st.integers(low, high)] * 3)


@given(
    size=three(1, 9),
    kernel=three(1, 4),
    stride=three(1, 3),
    padding=st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * 3),
    dilation=three(1, 3),
    channels=st.integers(1, 5),
    filters=st.integers(1, 5),
    groups=st.integers(1, 3),
    layout=st.sampled_from(sorted(LAYOUTS)),
    seed=st.integers(0, 99),
)
def test_any_convolution_is_exact_on_integers(
    size, kernel, stride, padding, dilation, channels, filters, groups, layout, seed
):
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    assume(all(s + sum(p) >= e for s, p, e in zip(size, padding, spans, strict=True)))
    rng = np.random.default_rng(seed)
    shape, weight_shape = (2, channels * groups, *size), (filters * groups, channels, *kernel)
    check_all_passes(
        shape, weight_shape, (stride, padding, dilation, groups), np.float32, layout, rng
    )


#: few enough numbers to differentiate by each; the last are of drivers that take no fewer channels
GRADIENTS = [
    *CONVOLUTIONS[:4],
    ((1, 16, 2, 3, 4), (16, 16, 3, 3, 3), 1, 1, 1, 1),
    ((1, 16, 3, 4, 3), (16, 1, 3, 3, 3), (1, 2, 2), 1, 1, 16),
    ((1, 16, 2, 4, 3), (16, 4, 3, 3, 3), 1, 1, 1, 4),
]


@pytest.mark.parametrize("case", GRADIENTS, ids=str)
def test_gradients_are_those_of_forward(case, rng):
    shape, weight_shape, *options = case
    x, w, b = (rng.standard_normal(s) for s in (shape, weight_shape, weight_shape[:1]))
    gradcheck(
        lambda x, w, b: F.conv3d(x, w, b, *options),
        lambda g, x, w, b: (
            F.conv3d_backward_input(g, w, x.shape, *options),
            F.conv3d_backward_weight(g, x, w.shape, *options),
            F.conv3d_backward_bias(g),
        ),
        x,
        w,
        b,
    )


@pytest.mark.parametrize("axis", range(5))
def test_weight_gradients_go_where_out_lies(axis, rng):
    """Backwards along an axis: strides say so, and the step from channel to channel does not."""
    x, g = (integers(rng, s, np.float32) for s in ((2, 3, 6, 40, 40), (2, 24, 4, 38, 38)))
    expected = reference.conv3d_backward_weight(g, x, (24, 3, 3, 3, 3))
    out = np.flip(np.empty_like(expected), axis)
    assert F.conv3d_backward_weight(g, x, out.shape, out=out) is out
    assert_equal(out, expected)


def test_planes_of_a_volume_are_convolved_apart(rng):
    x, w = rng.standard_normal((2, 8, 3, 9, 9)), rng.standard_normal((8, 8, 1, 3, 3))
    volume = F.conv3d(x, w, algorithm="direct")
    for d in range(3):
        plane = F.conv2d(x[:, :, d], w[:, :, 0], algorithm="direct")
        np.testing.assert_allclose(volume[:, :, d], plane, rtol=0, atol=1e-12)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize(
    "case", [*(CONVOLUTIONS[i] for i in (0, 4, 5, 7, 12, 16)), *VOLUMES], ids=str
)
def test_bits_do_not_depend_on_threads(case, layout, rng):
    shape, weight_shape, *options = case
    x, w = (rng.standard_normal(s).astype(np.float32) for s in (shape, weight_shape))
    x = LAYOUTS[layout](x)

    def passes():
        y = F.conv3d(x, w, None, *options)
        return (
            y,
            F.conv3d_backward_input(y, w, x.shape, *options),
            F.conv3d_backward_weight(y, x, w.shape, *options),
            F.conv3d_backward_bias(y),
        )

    with fastconv.threads(1):
        expected = passes()
    for n in (2, 3, 5):
        with fastconv.threads(n):
            for a, e in zip(passes(), expected, strict=True):
                np.testing.assert_array_equal(a, e)


def test_the_format_of_the_input_is_that_of_the_output(rng):
    x, w = integers(rng, (2, 4, 5, 6, 7)), integers(rng, (3, 4, 3, 3, 3))
    y = F.conv3d(channels_last(x), w)
    assert np.moveaxis(y, 1, -1).flags.c_contiguous
    dx = F.conv3d_backward_input(y, w, x.shape)
    assert np.moveaxis(dx, 1, -1).flags.c_contiguous
    assert F.conv3d(x, w).flags.c_contiguous


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight": np.ones((4, 3, 3, 3))}, "weight must have 5 dimensions"),
        ({"weight": np.ones((4, 3, 7, 3, 3))}, "kernel of depth 7"),
        ({"stride": (1, 2)}, "stride"),
        ({"padding": (1, 2, 3, 4)}, "padding"),
        ({"padding": (-1, 0, 0)}, "padding must be at least 0"),
        ({"dilation": (2**62, 1, 1)}, "spans"),
        ({"groups": 2}, "groups=2"),
        ({"bias": np.ones(3)}, "bias has shape"),
        ({"out": np.ones((2, 4, 1, 1, 1))}, "out has shape"),
    ],
)
def test_errors_name_the_argument(arguments, message):
    given = {"input": np.ones((2, 3, 5, 5, 5)), "weight": np.ones((4, 3, 3, 3, 3))} | arguments
    with pytest.raises(ValueError, match=message):
        F.conv3d(**given)


def test_layer(rng):
    layer = nn.Conv3d(3, 4, (3, 1, 2), stride=(1, 2, 1), padding=(1, 0, 1), rng=0)
    x = rng.standard_normal((2, 3, 4, 5, 6)).astype(np.float32)
    volume = Tensor(x, requires_grad=True)
    y = layer(volume)
    options = (1, 2, 1), (1, 0, 1)
    np.testing.assert_array_equal(y, F.conv3d(x, layer.weight.data, layer.bias.data, *options))
    g = rng.standard_normal(y.shape).astype(np.float32)
    y.backward(g)
    np.testing.assert_array_equal(
        volume.grad, F.conv3d_backward_input(g, layer.weight.data, x.shape, *options)
    )
    assert layer.weight.grad.shape == (4, 3, 3, 1, 2)
    np.testing.assert_array_equal(layer.bias.grad, F.conv3d_backward_bias(g))
