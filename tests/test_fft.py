"""Convolution by the fast Fourier transform: its passes, its choice and its errors."""

import numpy as np
import pytest
from support.arrays import LAYOUTS

import fastconv
import fastconv.functional as F
from fastconv import nn
from fastconv.functional import _fft

# input, weight, padding, dilation, groups
GEOMETRIES = {
    "plain": ((2, 1, 20, 23), (1, 1, 9, 8), 0, 1, 1),
    "border": ((1, 3, 20, 23), (4, 3, 9, 8), ((3, 5), (9, 0)), 1, 1),
    "border wider than filters": ((1, 2, 9, 12), (2, 2, 3, 4), (5, 6), 1, 1),
    "depthwise, several filters": ((2, 3, 30, 31), (6, 1, 7, 7), 3, 1, 3),
    "groups, dilated": ((1, 4, 30, 31), (6, 2, 5, 3), (2, 4), (3, 2), 2),
    "one axis": ((2, 4, 3000), (2, 2, 700), 350, 1, 2),
    "one axis, dilated": ((2, 2, 400), (2, 2, 31), 10, 3, 1),
    "volume": ((1, 2, 8, 9, 10), (3, 2, 3, 4, 5), (0, 1, 2), 1, 1),
    "blocks": ((1, 1, 400, 500), (1, 1, 33, 40), 7, 1, 1),
}


def passes(x, w, b, grad, algorithm, options):
    ops = [getattr(F, f"conv{w.ndim - 2}d{end}") for end in ("", "_backward_input")]
    weight = getattr(F, f"conv{w.ndim - 2}d_backward_weight")
    return (
        ops[0](x, w, b, 1, *options, algorithm=algorithm),
        ops[1](grad, w, x.shape, 1, *options, algorithm=algorithm),
        weight(grad, x, w.shape, 1, *options, algorithm=algorithm),
    )


def operands(name, dtype, rng, layout="contiguous"):
    input_shape, weight_shape, *options = GEOMETRIES[name]
    x = LAYOUTS[layout](rng.standard_normal(input_shape)).astype(dtype)
    w = rng.standard_normal(weight_shape).astype(dtype)
    b = rng.standard_normal(weight_shape[:1]).astype(dtype)
    y = getattr(F, f"conv{w.ndim - 2}d")(x, w, b, 1, *options)
    return x, w, b, rng.standard_normal(y.shape).astype(dtype), options


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_every_pass_is_that_of_the_definition(name, layout, rng):
    if layout == "channels_last" and len(GEOMETRIES[name][0]) != 4:
        layout = "contiguous"
    x, w, b, grad, options = operands(name, np.float64, rng, layout)
    expected = passes(x, w, b, grad, "direct", options)
    for ours, theirs in zip(passes(x, w, b, grad, "fft", options), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12 * np.abs(theirs).max())


def rms(x):
    return np.sqrt(np.mean(np.square(x, dtype=np.float64)))


@pytest.mark.parametrize("name", ["blocks", "one axis"])
@pytest.mark.parametrize("mean", [0.0, 3.0])
def test_float32_errors_are_those_of_direct_methods(name, mean, rng):
    x, w, b, grad, options = operands(name, np.float32, rng)
    x += np.float32(mean)
    exact = passes(*(a.astype(np.float64) for a in (x, w, b, grad)), "direct", options)
    direct = passes(x, w, b, grad, "direct", options)
    ours = passes(x, w, b, grad, "fft", options)
    for e, d, f in zip(exact, direct, ours, strict=True):
        assert f.dtype == np.float32
        assert rms(f - e) <= 2.5 * max(rms(d - e), 1e-7 * rms(e))


def test_activation_out_and_an_image_without_a_batch(rng):
    x, w, b, _, options = operands("border", np.float32, rng)
    y = F.conv2d(x, w, b, 1, *options, algorithm="fft")
    out = np.empty_like(y[0])
    relu = F.conv2d(x[0], w, b, 1, *options, algorithm="fft", activation="relu", out=out)
    assert relu is out
    np.testing.assert_array_equal(out, np.maximum(y[0], 0))


def test_no_images():
    x, w = np.zeros((0, 1, 40, 40)), np.ones((1, 1, 20, 20))
    y = F.conv2d(x, w, algorithm="fft")
    assert y.shape == (0, 1, 21, 21)
    assert not F.conv2d_backward_weight(y, x, w.shape, algorithm="fft").any()


def test_auto_takes_it_for_many_taps_alone_and_never_when_strict(rng):
    x = rng.standard_normal((1, 1, 300, 300)).astype(np.float32)
    for taps, same_as in ((9, "direct"), (101, "fft")):
        w = rng.standard_normal((1, 1, taps, taps)).astype(np.float32)
        chosen, direct = F.conv2d(x, w), F.conv2d(x, w, algorithm="direct")
        assert chosen.tobytes() == F.conv2d(x, w, algorithm=same_as).tobytes()
        with fastconv.accuracy("strict"):
            assert F.conv2d(x, w).tobytes() == direct.tobytes()


@pytest.mark.parametrize("name", ["blocks", "one axis"])
def test_same_bits_for_any_number_of_threads(name, rng):
    x, w, b, grad, options = operands(name, np.float32, rng)
    results = []
    for threads in (1, 2, 5):
        with fastconv.threads(threads):
            arrays = passes(x, w, b, grad, "fft", options)
            results.append([a.tobytes() for a in arrays])
    assert results[0] == results[1] == results[2]


def test_what_sees_a_nan_is_nan(rng):
    x, w, b, _, options = operands("blocks", np.float32, rng)
    x[0, 0, 200, 300] = np.nan
    seen = np.isnan(F.conv2d(x, w, b, 1, *options, algorithm="direct"))
    ours = np.isnan(F.conv2d(x, w, b, 1, *options, algorithm="fft"))
    assert seen.any()
    assert ours[seen].all()


def test_what_it_cannot_compute_is_refused():
    x, w = np.zeros((1, 1, 9, 9)), np.zeros((1, 1, 3, 3))
    with pytest.raises(ValueError, match=r"'fft' needs stride 1, got stride=\(2, 1\)"):
        F.conv2d(x, w, stride=(2, 1), algorithm="fft")
    with pytest.raises(ValueError, match="not packed"):
        F.conv2d(x, F.pack_conv2d_weight(w), algorithm="fft")
    with pytest.raises(ValueError, match="not for transposed"):
        F.conv_transpose2d(x, w, algorithm="fft")
    with pytest.raises(ValueError, match=r"'fft' needs stride 1, got stride=\(2, 1\)"):
        nn.Conv2d(1, 1, 3, stride=(2, 1), algorithm="fft")
    with pytest.raises(ValueError, match="not for transposed"):
        nn.ConvTranspose2d(1, 1, 3, algorithm="fft")
    assert nn.Conv2d(1, 1, 3, algorithm="fft")(np.zeros((1, 1, 9, 9), np.float32)).shape[2] == 7


def test_layers_that_transform_are_left_as_they_are_by_packing(rng):
    layer = nn.Conv2d(1, 2, 9, algorithm="fft", rng=0)
    x = rng.standard_normal((1, 1, 30, 31)).astype(np.float32)
    expected = layer(x)
    with nn.no_grad(), nn.packed(nn.Sequential(layer, nn.ReLU())):
        np.testing.assert_array_equal(layer(x), expected)


@pytest.mark.parametrize("n", [1, 2, 7, 11, 97, 1001, 4097])
def test_sizes_of_blocks_have_small_factors(n):
    size = _fft._fast_size(n)
    rest = size
    for factor in (2, 3, 5):
        while rest % factor == 0:
            rest //= factor
    assert rest == 1
    assert n <= size <= 2 * n + 2
