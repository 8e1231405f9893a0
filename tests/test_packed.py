"""Weights packed once: the bits of unpacked ones, and no way to get them wrong."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import numpy as np
import pytest
from support import isas
from support.arrays import LAYOUTS
from support.convolutions import DRIVER_CASES, FEW_CASES

import fastconv
import fastconv.functional as F
from fastconv import _geometry, _ops, nn
from fastconv._drivers import runtime


def packed_like(weight, groups):
    """The packed weight, its original overwritten: it must own what it needs."""
    original = weight.copy()
    packed = F.pack_conv2d_weight(original, groups)
    original[...] = np.nan
    return packed


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("name", DRIVER_CASES)
def test_packed_weights_have_the_bits_of_unpacked_ones_in_every_driver(name, layout, dtype, rng):
    input_shape, weight_shape, *options = DRIVER_CASES[name]
    x = LAYOUTS[layout](rng.standard_normal(input_shape).astype(dtype))
    w, b = (rng.standard_normal(s).astype(dtype) for s in (weight_shape, weight_shape[0]))
    packed = packed_like(w, options[-1])
    assert (packed.shape, packed.dtype, packed.groups) == (w.shape, w.dtype, options[-1])
    # "auto" may choose another algorithm for packed filters
    algorithms = ["direct"]
    if weight_shape[2:] == (3, 3) and options[0] == 1 and options[2:] == [1, 1]:
        algorithms.append("winograd")
    for bias, algorithm in product((None, b), algorithms):
        how = {"activation": "relu", "algorithm": algorithm}
        for threads in (1, 3):
            with fastconv.threads(threads):
                y = F.conv2d(x, packed, bias, *options, **how)
            assert y.tobytes() == F.conv2d(x, w, bias, *options, **how).tobytes()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", FEW_CASES, ids=str)
def test_weight_may_have_any_strides(case, layout, rng):
    x, w, b, _ = case.operands(rng)
    packed = F.pack_conv2d_weight(LAYOUTS[layout](w), case.groups)
    assert (
        F.conv2d(x, packed, b, *case.options).tobytes()
        == F.conv2d(x, w, b, *case.options).tobytes()
    )


def test_one_packed_weight_fits_images_of_every_size(rng):
    w = rng.standard_normal((70, 20, 3, 3), np.float32)
    packed = packed_like(w, 1)
    for shape in ((1, 20, 3, 3), (2, 20, 7, 9), (20, 30, 40), (4, 20, 64, 64), (0, 20, 5, 5)):
        x = rng.standard_normal(shape, np.float32)
        for stride, padding in ((1, 1), (2, 0)):
            y = F.conv2d(x, packed, None, stride, padding)
            assert y.tobytes() == F.conv2d(x, w, None, stride, padding).tobytes()


def test_call_with_a_packed_weight_packs_nothing(rng):
    # where filters outweigh images, a task otherwise packs a panel in its scratch memory
    x, w = rng.standard_normal((1, 64, 7, 7)), rng.standard_normal((512, 64, 3, 3))
    packed = F.pack_conv2d_weight(w)
    runtime.largest_scratch()
    F.conv2d(x, w, padding=1)
    unpacked_bytes = runtime.largest_scratch()
    F.conv2d(x, packed, padding=1)
    assert runtime.largest_scratch() <= unpacked_bytes - 8 * 64 * 9


def test_out_is_filled_and_returned(rng):
    x, w = rng.standard_normal((2, 4, 8, 8)), rng.standard_normal((6, 2, 3, 3))
    out = np.full((2, 6, 6, 6), np.nan)
    assert F.conv2d(x, F.pack_conv2d_weight(w, 2), groups=2, out=out) is out
    np.testing.assert_array_equal(out, F.conv2d(x, w, groups=2))


def test_packed_weight_is_right_under_another_instruction_set(rng):
    x, w = rng.standard_normal((2, 20, 9, 9)), rng.standard_normal((40, 20, 3, 3))
    packed = F.pack_conv2d_weight(w)
    with isas.selected("baseline"):
        np.testing.assert_array_equal(F.conv2d(x, packed), F.conv2d(x, w))


X, W = np.ones((2, 4, 8, 8)), np.ones((6, 2, 3, 3))


@pytest.mark.parametrize(
    ("change", "error", "contains"),
    [
        ({"groups": 1}, ValueError, ["groups=1", "weight", "2"]),
        ({"input": np.ones((2, 2, 8, 8)), "groups": 1}, ValueError, ["groups=1", "packed"]),
        ({"input": np.ones((2, 5, 8, 8))}, ValueError, ["(2, 5, 8, 8)", "groups"]),
        ({"input": np.ones((2, 4, 2, 8))}, ValueError, ["(6, 2, 3, 3)", "(2, 4, 2, 8)"]),
        ({"input": X.astype(np.float32)}, TypeError, ["input float32", "weight float64"]),
        ({"bias": np.ones(5)}, ValueError, ["bias", "(5,)"]),
        ({"bias": np.ones(6, np.float32)}, TypeError, ["bias float32", "weight float64"]),
    ],
)
def test_conv2d_refuses_packed_weights_that_do_not_fit(change, error, contains):
    good = {"input": X, "weight": F.pack_conv2d_weight(W, 2), "groups": 2}
    F.conv2d(**good)
    with pytest.raises(error) as caught:
        F.conv2d(**{**good, **change})
    for text in contains:
        assert text in str(caught.value)


@pytest.mark.parametrize(
    ("weight", "groups", "error", "contains"),
    [
        (W[0], 1, ValueError, ["weight", "(2, 3, 3)"]),
        (W[:, :0], 1, ValueError, ["weight", "(6, 0, 3, 3)"]),
        (W[:0], 1, ValueError, ["weight", "(0, 2, 3, 3)"]),
        (W.astype(int), 1, TypeError, ["weight", "int64"]),
        ("weights", 1, TypeError, ["weight"]),
        (W, 4, ValueError, ["groups=4", "6"]),
        (W, 0, ValueError, ["groups", "0"]),
        (W, 2.0, TypeError, ["groups", "2.0"]),
        (F.pack_conv2d_weight(W), 1, TypeError, ["weight"]),
    ],
)
def test_packing_refuses_invalid_arguments(weight, groups, error, contains):
    with pytest.raises(error) as caught:
        F.pack_conv2d_weight(weight, groups)
    for text in contains:
        assert text in str(caught.value)


def test_backward_refuses_packed_weights():
    with pytest.raises(TypeError, match="weight"):
        F.conv2d_backward_input(np.ones((2, 6, 6, 6)), F.pack_conv2d_weight(W), (2, 2, 8, 8))


def test_op_layer_refuses_what_does_not_fit():
    packed, y = F.pack_conv2d_weight(W, 2), np.empty((2, 6, 6, 6))
    shape = _geometry.convolution(X.shape, W.shape, groups=2)
    _ops.conv(X, packed, None, y, shape)
    for other, text in (
        (F.pack_conv2d_weight(W, 1), "groups=1"),
        (F.pack_conv2d_weight(W[:, :, :2], 2), r"\(6, 2, 2, 3\)"),
        (F.pack_conv2d_weight(W[:4], 2), r"\(4, 2, 3, 3\)"),
    ):
        with pytest.raises(ValueError, match=rf"weight.*{text}"):
            _ops.conv(X, other, None, y, shape)
    with pytest.raises(TypeError, match=r"weight.*float32"):
        _ops.conv(X, F.pack_conv2d_weight(W.astype(np.float32), 2), None, y, shape)


def test_packed_weights_are_immutable():
    packed = F.pack_conv2d_weight(W, 2)
    for name in ("shape", "dtype", "groups", "weight", "other"):
        with pytest.raises(AttributeError):
            setattr(packed, name, 1)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_packed_weights_can_be_copied_and_pickled(duplicate, rng):
    x, w = rng.standard_normal((2, 4, 8, 8)), rng.standard_normal((6, 2, 3, 3))
    other = duplicate(F.pack_conv2d_weight(w, 2))
    if isinstance(other, bytes):
        other = pickle.loads(other)  # noqa: S301
    assert other.groups == 2
    np.testing.assert_array_equal(F.conv2d(x, other, groups=2), F.conv2d(x, w, groups=2))


def test_threads_can_share_a_packed_weight(rng):
    w = rng.standard_normal((64, 32, 3, 3), np.float32)
    images = [rng.standard_normal((1, 32, s, s), np.float32) for s in range(4, 28)]
    packed = F.pack_conv2d_weight(w)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda x: F.conv2d(x, packed), images))
    for x, y in zip(images, results, strict=True):
        assert y.tobytes() == F.conv2d(x, packed).tobytes()
        np.testing.assert_allclose(y, F.conv2d(x, w), rtol=1e-4, atol=1e-4)


# ---------------------------------------------------------------- models


@pytest.mark.parametrize("model", [nn.models.lenet5(rng=0), nn.models.mobilenet(rng=0)])
def test_packed_models_have_the_bits_of_unpacked_ones(model, rng):
    x = rng.standard_normal((2, 1, 28, 28) if len(model) < 15 else (2, 3, 32, 32), np.float32)
    model.eval()
    expected = model(x).data.tobytes()
    with nn.no_grad(), nn.packed(model):
        assert model(x).data.tobytes() == expected
        assert model(x).data.tobytes() == expected


def test_packed_context_uses_the_weights_on_entry(rng):
    model = nn.Sequential(nn.Conv2d(3, 8, 3, rng=0), nn.ReLU(), nn.Residual(nn.Conv2d(8, 8, 1)))
    x = rng.standard_normal((2, 3, 9, 9), np.float32)
    before = model(x)
    with nn.packed(model):
        for parameter in (model[0].weight, model[2].body.weight):
            parameter.data *= 2
        with nn.no_grad():
            with nn.packed(model):
                doubled = model(x)
            np.testing.assert_array_equal(model(x), before)
        np.testing.assert_array_equal(model(x), doubled)  # what is recorded takes the parameters
        model(x).sum().backward()
        assert model[0].weight.grad.any()
    with nn.no_grad():
        np.testing.assert_array_equal(model(x), doubled)
    assert not np.array_equal(before, doubled)
    with pytest.raises(TypeError, match="Module"), nn.packed("model"):
        pass


def test_error_within_the_packed_context_leaves_it(rng):
    layer = nn.Conv2d(3, 8, 3, rng=0)
    x = rng.standard_normal((2, 3, 9, 9), np.float32)
    before = layer(x)
    with pytest.raises(ValueError, match="input"), nn.no_grad(), nn.packed(layer):
        layer(x[:, :2])
    layer.weight.data *= 2
    with nn.no_grad():
        assert not np.array_equal(layer(x), before)
