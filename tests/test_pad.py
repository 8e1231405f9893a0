"""Padding in every mode, and its gradient."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.arrays import LAYOUTS, assert_equal, integers

import fastconv
import fastconv.functional as F
from fastconv import Tensor, nn, reference

MODES = ("constant", "reflect", "replicate", "circular")


def fits(shape, pad, mode):
    """Whether these axes can be padded so."""
    pairs = list(zip(pad[-2::-2], pad[::-2], strict=True))
    axes = list(zip(shape[len(shape) - len(pairs) :], pairs, strict=True))
    kept = [n + min(a, 0) + min(b, 0) for n, (a, b) in axes]
    if mode == "reflect":
        return all(max(a, b) < n and n + a + b > 0 for n, (a, b) in axes)
    if mode == "replicate":
        return all(n + a + b > 0 for n, (a, b) in axes)
    if min(kept, default=0) < 0:
        return False
    return mode == "constant" or all(max(ab) <= k for k, (_, ab) in zip(kept, axes, strict=True))


@st.composite
def paddings(draw):
    """(shape, pad, mode) that fit."""
    mode = draw(st.sampled_from(MODES))
    count = draw(st.integers(0 if mode == "constant" else 1, 3))
    before = draw(st.integers(0 if mode == "constant" and count else 1, 2))
    shape = tuple(
        draw(st.lists(st.integers(1, 7), min_size=before + count, max_size=before + count))
    )
    most = draw(st.sampled_from((3, 3, 20)))
    pad = draw(st.lists(st.integers(-3, most), min_size=2 * count, max_size=2 * count))
    if not fits(shape, pad, mode):
        pad = [min(max(p, 0), size - 1) for size in shape[::-1][:count] for p in (1, 2)][
            : 2 * count
        ]
    return shape, pad, mode


@given(paddings(), st.sampled_from(sorted(LAYOUTS)), st.sampled_from((np.float32, np.float64)))
def test_pad_and_its_gradient_equal_the_reference(padding, layout, dtype):
    shape, pad, mode = padding
    rng = np.random.default_rng(0)
    arrange = LAYOUTS[layout] if len(shape) > 2 else np.asarray
    x, value = integers(rng, shape, dtype), 3 if mode == "constant" else 0
    y = F.pad(arrange(x), pad, mode, value)
    assert_equal(y, reference.pad(x, pad, mode, value))
    dy = integers(rng, y.shape, dtype)
    dx = F.pad_backward(arrange(dy), shape, pad, mode)
    assert_equal(dx, reference.pad_backward(dy, shape, pad, mode))


@given(paddings())
def test_gradient_is_the_adjoint(padding):
    shape, pad, mode = padding
    rng = np.random.default_rng(1)
    x = integers(rng, shape)
    y = F.pad(x, pad, mode)
    dy = integers(rng, y.shape)
    assert np.vdot(y, dy) == np.vdot(x, F.pad_backward(dy, shape, pad, mode))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_memory_format_is_kept(mode, count, rng):
    shape = (2, 3, 5, 4, 6)[: 2 + count]
    for x in (np.zeros(shape), np.moveaxis(np.zeros((2, *shape[2:], 3)), -1, 1)):
        y = F.pad(x, (2, 1) * count, mode)
        dx = F.pad_backward(y, shape, (2, 1) * count, mode)
        for result in (y, dx):
            kept = result if x.flags.c_contiguous else np.moveaxis(result, 1, -1)
            assert kept.flags.c_contiguous
        one = F.pad(x[0], (2, 1) * count, mode)
        assert (one if x.flags.c_contiguous else np.moveaxis(one, 0, -1)).flags.c_contiguous


@pytest.mark.parametrize("mode", MODES)
def test_threads_change_no_bit(mode, rng):
    for shape, count in (((3, 5, 90, 70), 2), ((2, 3, 9, 40, 41), 3), ((2, 40000), 1)):
        x = rng.standard_normal(shape, np.float32)
        pad = (3, 5, 8, 1, 4, 7)[: 2 * count]
        results = []
        for n in (1, 2, 5):
            with fastconv.threads(n):
                y = F.pad(x, pad, mode)
                results.append((y.tobytes(), F.pad_backward(y, shape, pad, mode).tobytes()))
        assert results[0] == results[1] == results[2]


def test_long_repeats_are_summed_accurately(rng):
    """An element with millions of copies: a running sum in float32 would be off by 1e-3."""
    shape = (1, 3, 2)
    for pad in ((1000, 1500, 900, 1100), (65, 0, 0, 2000), (3000, 3000, 1, 1), (60, 60, 60, 60)):
        dy = rng.random(np.shape(F.pad(np.zeros(shape, np.float32), pad, "replicate")), np.float32)
        dx = F.pad_backward(dy, shape, pad, "replicate")
        exact = F.pad_backward(dy.astype(np.float64), shape, pad, "replicate")
        np.testing.assert_allclose(dx, exact, rtol=2e-6)


def test_value_may_be_anything_of_the_dtype():
    x = np.zeros((1, 2), np.float32)
    for value in (np.nan, np.inf, -np.inf, np.float32(3), 7, None):
        expected = np.float32(0 if value is None else value)
        np.testing.assert_array_equal(F.pad(x, (1, 40), value=value)[0, [0, 3, -1]], expected)


@pytest.mark.parametrize("mode", MODES)
def test_batches_and_channels_may_be_empty(mode):
    for shape in ((0, 3, 4), (2, 0, 4)):
        y = F.pad(np.zeros(shape), (1, 1), mode)
        assert y.shape == (*shape[:2], 6)
        assert F.pad_backward(y, shape, (1, 1), mode).shape == shape
    assert_equal(F.pad(np.zeros((2, 0)), (1, 1), value=5), np.full((2, 2), 5.0))
    assert_equal(F.pad_backward(np.ones((2, 0)), (2, 3), (-1, -2)), np.zeros((2, 3)))


def test_constant_pads_any_number_of_axes(rng):
    x = integers(rng, (2, 1, 3, 2, 2, 3))
    for count in range(7):
        pad = (1, 2, -1, 1, 0, 1, 2, 0, 3, -1, 1, 1)[: 2 * count]
        assert_equal(F.pad(x, pad), reference.pad(x, pad))
    many = np.zeros((1,) * 40)
    assert F.pad(many, (1, 1) * 3).shape == (1,) * 37 + (3,) * 3
    assert_equal(F.pad(np.float64(3), ()), np.array(3.0))


@pytest.mark.parametrize(
    ("shape", "pad", "mode", "text"),
    [
        ((1, 1, 4), (4, 0), "reflect", r"pad=\(4, 0\).*'reflect'.*fewer than the 4.*\(1, 1, 4\)"),
        ((1, 1, 4), (0, 5), "circular", r"pad=\(0, 5\).*more than the 4.*axis 2.*\(1, 1, 4\)"),
        ((1, 1, 4), (3, -2), "circular", "more than the 2"),
        ((1, 1, 4), (-3, -2), "constant", "crops more"),
        ((1, 1, 4), (-5, 9), "constant", "crops more"),
        ((1, 1, 4), (-5, 0), "replicate", "crops more"),
        ((1, 1, 4), (-2, -2), "replicate", "leaves nothing"),
        ((1, 1, 0), (1, 0), "replicate", "none"),
        ((1, 1, 0), (0, 0), "reflect", "leaves nothing"),
        ((1, 1, 4), (1, 1, 1), "constant", "pairs.*3 numbers"),
        ((4,), (1, 1, 1, 1), "constant", r"2 axes.*input.*\(4,\)"),
        ((4,), (1, 1), "reflect", r"one or two axes before.*\(4,\)"),
        ((1, 1, 4, 4), (1, 1), "replicate", r"one or two axes before.*\(1, 1, 4, 4\)"),
        ((1, 1, 4), (), "circular", "0 axes"),
        ((1, 1, 4), (1, 1), "edge", "mode.*'edge'"),
        ((1, 1, 4), (2**62, 0), "constant", "pad.*too large"),
        ((1, 1, 4), (2**62, 2**62), "replicate", "pad.*too large"),
        ((0, 1, 4), (2**62, 2**62), "replicate", "pad.*too large"),
        ((1, 1, 4), (2**70, 0), "constant", "pad.*too large"),
        ((1, 1, 4), (-(2**70), 0), "constant", "pad must be at least"),
    ],
)
def test_what_cannot_be_padded_is_refused(shape, pad, mode, text):
    with pytest.raises(ValueError, match=text):
        F.pad(np.ones(shape), pad, mode)
    with pytest.raises(ValueError, match=text.replace("input", "input_shape")):
        F.pad_backward(np.ones(shape), shape, pad, mode)


def test_arguments_of_other_types_are_refused():
    x = np.ones((1, 1, 4), np.float32)
    for pad in (1, "11", None, (1.0, 1), (True, 1), ("a", 1)):
        with pytest.raises(TypeError, match="pad"):
            F.pad(x, pad)
    with pytest.raises(TypeError, match=r"input.*int64"):
        F.pad(np.ones((1, 4), int), (1, 1))
    with pytest.raises(TypeError, match="value"):
        F.pad(x, (1, 1), value="a")
    with pytest.raises(ValueError, match=r"value.*1e\+300"):
        F.pad(x, (1, 1), value=1e300)
    with pytest.raises(ValueError, match=r"value.*'reflect'"):
        F.pad(x, (1, 1), "reflect", 2)
    with pytest.raises(
        ValueError, match=r"grad_output has shape \(1, 1, 4\), expected \(1, 1, 6\)"
    ):
        F.pad_backward(x, (1, 1, 4), (1, 1), "reflect")
    with pytest.raises(ValueError, match="negative sizes"):
        F.pad_backward(x, (1, -1, 4), (0, 0, 1, 1))
    with pytest.raises(ValueError, match="3 sizes"):
        F.pad_backward(x, (1, 1, 1, 4), (0, 0))


# ---------------------------------------------------------------- layers


def padded_by_hand(layer, x, mode):
    """The convolution of a copy of the image."""
    same = layer.padding == "same"
    pads = []
    for axis in reversed(range(layer._ndim)):
        total = layer.dilation[axis] * (layer.kernel_size[axis] - 1)
        both = (total // 2, total - total // 2) if same else (layer.padding,) * 2
        pads += both
    return pads, F.pad(x, pads, mode)


@pytest.mark.parametrize("mode", MODES[1:])
@pytest.mark.parametrize("padding", [2, "same"])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_layers_pad_as_asked(mode, padding, ndim, rng):
    make = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[ndim - 1]
    options = {"dilation": 2, "groups": 2, "dtype": np.float64, "rng": 0}
    layer = make(4, 6, (4, 2, 3)[:ndim], padding=padding, padding_mode=mode, **options)
    x = integers(rng, (2, 4, 7, 9, 8)[: 2 + ndim])
    pads, padded = padded_by_hand(layer, x, mode)
    plain = make(4, 6, (4, 2, 3)[:ndim], **options)
    image, inner = Tensor(x, requires_grad=True), Tensor(padded, requires_grad=True)
    y, expected = layer(image), plain(inner)
    np.testing.assert_array_equal(y, expected)
    dy = integers(rng, y.shape)
    y.backward(dy)
    expected.backward(dy)
    np.testing.assert_array_equal(image.grad, F.pad_backward(inner.grad, x.shape, pads, mode))
    np.testing.assert_array_equal(layer.weight.grad, plain.weight.grad)
    assert f"padding_mode={mode!r}" in repr(layer)
    with nn.no_grad(), nn.packed(layer):
        np.testing.assert_allclose(layer(x), y)
    np.testing.assert_allclose(layer(x[0]), y[0])


def test_layers_without_padding_copy_nothing(rng):
    x = rng.standard_normal((1, 2, 5, 5)).astype(np.float32)
    layer = nn.Conv2d(2, 3, 3, padding_mode="reflect", rng=0)
    assert_equal(layer(x), nn.Conv2d(2, 3, 3, rng=0)(x))
    with pytest.raises(ValueError, match=r"pad=.*'reflect'.*\(1, 2, 5, 5\)"):
        nn.Conv2d(2, 3, 3, padding=5, padding_mode="reflect")(x)


# ---------------------------------------------------------------- beside PyTorch


@pytest.mark.peer("torch")
def test_torch_samples():
    import torch
    from torch.testing._internal.common_methods_invocations import op_db

    ops = [op for op in op_db if op.name == "nn.functional.pad"]
    assert {op.variant_test_name for op in ops} >= {*MODES, "replicate_negative"}
    for op, dtype in itertools.product(ops, (torch.float64, torch.float32)):
        for sample in op.sample_inputs("cpu", dtype, requires_grad=True):
            y = op(sample.input, *sample.args, **sample.kwargs)
            x = sample.input.detach().numpy()
            assert_equal(F.pad(x, *sample.args, **sample.kwargs), y.detach().numpy())
            dy = torch.randn_like(y)
            (expected,) = torch.autograd.grad(y, sample.input, dy)
            options = sample.kwargs if "mode" in sample.kwargs else {}
            pad, *mode = sample.args[:2]
            dx = F.pad_backward(
                dy.numpy(), x.shape, pad, *mode or [options.get("mode", "constant")]
            )
            np.testing.assert_allclose(dx, expected.numpy(), rtol=1e-6, atol=1e-6)


@pytest.mark.peer("torch")
@pytest.mark.parametrize("mode", MODES[1:])
@pytest.mark.parametrize(("kernel", "padding"), [(3, 1), ((4, 3), "same"), (5, (2, 1))])
def test_torch_layers(mode, kernel, padding, rng):
    import torch

    options = {"padding": padding, "padding_mode": mode}
    layer = nn.Conv2d(3, 4, kernel, **options, dtype=np.float64, rng=0)
    peer = torch.nn.Conv2d(3, 4, kernel, **options, dtype=torch.float64)
    peer.load_state_dict({n: torch.from_numpy(p) for n, p in layer.state_dict().items()})
    x = torch.from_numpy(rng.standard_normal((2, 3, 8, 9))).requires_grad_()
    y = peer(x)
    image = Tensor(x.detach().numpy(), requires_grad=True)
    ours = layer(image)
    np.testing.assert_allclose(ours, y.detach().numpy())
    dy = torch.randn_like(y)
    y.backward(dy)
    ours.backward(dy.numpy())
    np.testing.assert_allclose(image.grad, x.grad.numpy(), atol=1e-12)
    np.testing.assert_allclose(layer.weight.grad, peer.weight.grad.numpy(), atol=1e-11)
