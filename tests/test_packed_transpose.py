"""Packed weights of transposed convolutions: the bits of unpacked ones."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support import isas
from support.arrays import LAYOUTS

import fastconv
import fastconv.functional as F
from fastconv import _geometry, _ops, nn
from fastconv._drivers import runtime

# input, weight, stride, groups, dilation
CASES = {
    "unet": ((1, 70, 7, 6), (70, 40, 2, 2), 2, 1, 1),
    "gan": ((2, 64, 5, 4), (64, 33, 4, 4), 2, 1, 1),
    "shares of unequal sizes": ((2, 40, 6, 5), (40, 36, 3, 3), 2, 1, 1),
    "filters that outweigh images": ((1, 64, 2, 3), (64, 512, 3, 3), 2, 1, 1),
    "other strides": ((2, 24, 5, 7), (24, 40, 4, 5), (3, 2), 1, 1),
    "phases without taps": ((1, 33, 4, 5), (33, 40, 2, 1), (3, 2), 1, 1),
    "dilation": ((1, 30, 6, 7), (30, 35, 3, 4), (2, 4), 1, (3, 2)),
    "Winograd": ((1, 64, 14, 14), (64, 64, 3, 3), 1, 1, 1),
    "phases of three by three": ((1, 64, 12, 12), (64, 48, 6, 6), 2, 1, 1),
    "few filters": ((1, 20, 9, 8), (20, 3, 4, 4), 2, 1, 1),
    "one filter": ((2, 1, 9, 8), (1, 1, 3, 3), 2, 1, 1),
    "groups": ((2, 48, 6, 5), (48, 40, 3, 3), 2, 2, 1),
    "narrow groups": ((2, 16, 6, 5), (16, 4, 3, 3), 2, 4, 1),
    "depthwise": ((2, 16, 6, 5), (16, 1, 4, 4), 2, 16, 1),
    "one pixel": ((3, 40, 1, 1), (40, 36, 4, 4), 1, 1, 1),
    "a stride beyond the image": ((2, 40, 1, 1), (40, 36, 1, 2), 5, 1, 1),
    "no images": ((0, 4, 3, 3), (4, 4, 2, 2), 2, 1, 1),
    "sequence": ((2, 40, 50), (40, 36, 4), 2, 1, 1),
    "volume": ((1, 36, 3, 4, 5), (36, 40, 3, 2, 4), (2, 2, 3), 1, 1),
    "volume of lines": ((1, 36, 3, 4, 5), (36, 40, 3, 1, 1), (2, 1, 1), 1, 1),
}


def op(weight):
    return getattr(F, f"conv_transpose{weight.ndim - 2}d")


def packed_like(weight, *options):
    """The packed weight, its original overwritten: it must own what it needs."""
    original = weight.copy()
    packed = getattr(F, f"pack_conv_transpose{weight.ndim - 2}d_weight")(original, *options)
    original[...] = np.nan
    return packed


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", CASES)
def test_packed_weights_have_the_bits_of_unpacked_ones(name, layout, dtype, rng):
    input_shape, weight_shape, stride, groups, dilation = CASES[name]
    x = rng.standard_normal(input_shape).astype(dtype)
    if x.ndim == 4:
        x = LAYOUTS[layout](x)
    w = rng.standard_normal(weight_shape).astype(dtype)
    b = rng.standard_normal(weight_shape[1] * groups).astype(dtype)
    packed = packed_like(w, stride, groups, dilation)
    assert (packed.shape, packed.dtype, packed.groups) == (w.shape, w.dtype, groups)
    for padding, bias, how in (
        (0, None, {}),
        (0, b, {"activation": "relu", "algorithm": "direct"}),
        (((1, 0),) * (w.ndim - 2), b, {}),
        (((0, 1),) * (w.ndim - 2), None, {"algorithm": "direct"}),
    ):
        if padding and input_shape[2:] == (1, 1) and name != "one pixel":
            continue
        options = (stride, padding, 0, groups, dilation)
        expected = op(w)(x, w, bias, *options, **how).tobytes()
        for threads in (1, 3):
            with fastconv.threads(threads):
                assert op(w)(x, packed, bias, *options, **how).tobytes() == expected


def test_winograd_takes_the_copy(rng):
    x, w = rng.standard_normal((1, 8, 9, 9)), rng.standard_normal((8, 12, 3, 3))
    y = F.conv_transpose2d(x, packed_like(w), algorithm="winograd")
    assert y.tobytes() == F.conv_transpose2d(x, w, algorithm="winograd").tobytes()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weight_may_have_any_strides(layout, rng):
    x, w = rng.standard_normal((2, 20, 5, 6)), rng.standard_normal((20, 40, 3, 4))
    packed = F.pack_conv_transpose2d_weight(LAYOUTS[layout](w), 2)
    expected = F.conv_transpose2d(x, w, None, 2).tobytes()
    assert F.conv_transpose2d(x, packed, None, 2).tobytes() == expected


@pytest.mark.parametrize("output_padding", [0, 1, 2])
@pytest.mark.parametrize("padding", range(5))
def test_one_packed_weight_fits_every_padding_and_size(padding, output_padding, rng):
    w = rng.standard_normal((33, 40, 5, 5), np.float32)
    packed = packed_like(w, 3)
    for shape in ((1, 33, 3, 4), (33, 7, 3), (2, 33, 8, 8)):
        x = rng.standard_normal(shape, np.float32)
        options = (None, 3, padding, output_padding)
        y = F.conv_transpose2d(x, packed, *options)
        assert y.tobytes() == F.conv_transpose2d(x, w, *options).tobytes()


def test_call_with_a_packed_weight_packs_nothing(rng):
    # where filters outweigh images, a task otherwise packs a panel in its scratch memory
    x, w = rng.standard_normal((1, 64, 7, 7)), rng.standard_normal((64, 512, 4, 4))
    x = LAYOUTS["channels_last"](x)
    packed = F.pack_conv_transpose2d_weight(w, 2)
    runtime.largest_scratch()
    F.conv_transpose2d(x, w, None, 2, 1)
    unpacked_bytes = runtime.largest_scratch()
    F.conv_transpose2d(x, packed, None, 2, 1)
    assert runtime.largest_scratch() <= unpacked_bytes - 8 * 64 * 4


def test_packed_weight_is_right_under_another_instruction_set(rng):
    x, w = rng.standard_normal((2, 20, 9, 9)), rng.standard_normal((20, 40, 3, 3))
    packed = F.pack_conv_transpose2d_weight(w, 2)
    with isas.selected("baseline"):
        expected = F.conv_transpose2d(x, w, None, 2)
        np.testing.assert_array_equal(F.conv_transpose2d(x, packed, None, 2), expected)


X, W = np.ones((2, 4, 8, 8)), np.ones((4, 3, 3, 3))
GOOD = {"input": X, "weight": F.pack_conv_transpose2d_weight(W, 2, 2), "stride": 2, "groups": 2}


@pytest.mark.parametrize(
    ("change", "error", "contains"),
    [
        ({"stride": 1}, ValueError, ["stride=(1, 1)", "packed for (2, 2)"]),
        ({"stride": (2, 3)}, ValueError, ["stride=(2, 3)", "packed for (2, 2)"]),
        ({"dilation": 3}, ValueError, ["dilation=(3, 3)", "packed for (1, 1)"]),
        ({"groups": 1}, ValueError, ["groups=1", "packed for 2"]),
        ({"input": np.ones((2, 5, 8, 8))}, ValueError, ["(2, 5, 8, 8)"]),
        ({"input": X.astype(np.float32)}, TypeError, ["input float32", "weight float64"]),
        ({"bias": np.ones(5)}, ValueError, ["bias", "(5,)"]),
        ({"weight": F.pack_conv2d_weight(W)}, TypeError, ["weight"]),
    ],
)
def test_packed_weights_that_do_not_fit_are_refused(change, error, contains):
    F.conv_transpose2d(**GOOD)
    with pytest.raises(error) as caught:
        F.conv_transpose2d(**{**GOOD, **change})
    for text in contains:
        assert text in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "error", "contains"),
    [
        ((W[0],), ValueError, ["weight", "(3, 3, 3)"]),
        ((W[:, :0],), ValueError, ["weight", "(4, 0, 3, 3)"]),
        ((W.astype(int),), TypeError, ["weight", "int64"]),
        ((W, 0), ValueError, ["stride", "0"]),
        ((W, 1, 3), ValueError, ["groups=3", "4"]),
        ((W, 1, 0), ValueError, ["groups", "0"]),
        ((W, 1, 1, -1), ValueError, ["dilation", "-1"]),
        ((W, 2.0), TypeError, ["stride", "2.0"]),
        ((W, 1, 1, 2**61), ValueError, [str(2**61)]),
        ((F.pack_conv_transpose2d_weight(W),), TypeError, ["weight"]),
    ],
)
def test_packing_refuses_invalid_arguments(arguments, error, contains):
    with pytest.raises(error) as caught:
        F.pack_conv_transpose2d_weight(*arguments)
    for text in contains:
        assert text in str(caught.value)


def test_other_ops_refuse_packed_weights():
    packed = F.pack_conv_transpose2d_weight(W)
    with pytest.raises(TypeError, match="weight"):
        F.conv_transpose2d_backward_input(np.ones((2, 3, 10, 10)), packed, X.shape)
    with pytest.raises(TypeError, match="weight"):
        F.conv2d(np.ones((2, 3, 8, 8)), packed)


def test_op_layer_refuses_what_does_not_fit():
    shape = _geometry.transposed_convolution(X.shape, W.shape, 2, groups=2)
    y = np.empty(shape.input_shape)
    _ops.conv_transpose(X, GOOD["weight"], None, y, shape)
    other = F.pack_conv_transpose2d_weight(W, 3, 2, (2, 1))  # the copy serves any stride
    expected = F.conv_transpose2d(X, W, stride=2, groups=2)
    _ops.conv_transpose(X, other, None, y, shape)
    np.testing.assert_array_equal(y, expected)
    for weight, options, text in (
        (W, (2, 1), "groups=2"),
        (W[:, :, :2], (2, 2), r"\(4, 3, 2, 3\)"),
    ):
        other = F.pack_conv_transpose2d_weight(weight, *options)
        with pytest.raises(ValueError, match=text):
            _ops.conv_transpose(X, other, None, y, shape)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_packed_weights_can_be_copied_and_pickled(duplicate, rng):
    x, w = rng.standard_normal((2, 4, 8, 8)), rng.standard_normal((4, 3, 3, 3))
    other = duplicate(F.pack_conv_transpose2d_weight(w, (2, 3), 2, (1, 2)))
    if isinstance(other, bytes):
        other = pickle.loads(other)  # noqa: S301  what was pickled above
    assert (other.stride, other.groups, other.dilation) == ((2, 3), 2, (1, 2))
    options = {"stride": (2, 3), "groups": 2, "dilation": (1, 2)}
    expected = F.conv_transpose2d(x, w, **options)
    np.testing.assert_array_equal(F.conv_transpose2d(x, other, **options), expected)


def test_packed_weights_are_immutable():
    for name in ("shape", "dtype", "stride", "groups", "dilation", "weight", "other"):
        with pytest.raises(AttributeError):
            setattr(GOOD["weight"], name, 1)


def test_threads_can_share_a_packed_weight(rng):
    w = rng.standard_normal((64, 32, 4, 4), np.float32)
    images = [rng.standard_normal((1, 64, s, s), np.float32) for s in range(4, 20)]
    packed = F.pack_conv_transpose2d_weight(w, 2)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda x: F.conv_transpose2d(x, packed, None, 2), images))
    for x, y in zip(images, results, strict=True):
        assert y.tobytes() == F.conv_transpose2d(x, w, None, 2).tobytes()


def test_packed_layers_use_the_weights_on_entry(rng):
    layers = (nn.ConvTranspose2d(24, 20, 4, 2, 1, rng=0), nn.ConvTranspose2d(20, 6, 3, 2, rng=1))
    model = nn.Sequential(layers[0], nn.ReLU(), layers[1])
    x = rng.standard_normal((2, 24, 6, 7), np.float32)
    before = model(x)
    with nn.no_grad(), nn.packed(model):
        assert model(x).data.tobytes() == before.data.tobytes()
        for layer in layers:
            layer.weight.data *= 2
        assert model(x).data.tobytes() == before.data.tobytes()
    assert not np.array_equal(model(x), before)
