"""Convolution and pooling over one axis: exact against the reference, torch's rules, gradients."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from support.arrays import assert_equal, distinct, integers

import fastconv
import fastconv.functional as F
from fastconv import nn, reference
from fastconv.testing import gradcheck

DTYPES = [np.float32, np.float64]


def channels_last(x):
    """(..., C, L) in shape, (..., L, C) in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, -2, -1)), -1, -2)


LAYOUTS = {
    "contiguous": np.ascontiguousarray,
    "channels_last": channels_last,
    "backwards": lambda x: x[..., ::-1].copy()[..., ::-1],
    "every_second": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
}

#: input, weight, stride, padding, dilation, groups
CONVOLUTIONS = [
    ((2, 3, 11), (4, 3, 3), 1, 0, 1, 1),
    ((2, 3, 11), (4, 3, 3), 2, 1, 1, 1),
    ((2, 3, 11), (4, 3, 4), 1, "same", 1, 1),
    ((3, 11), (4, 3, 3), (2,), (1,), (2,), 1),
    ((2, 4, 12), (6, 2, 3), 3, (2, 0), 1, 2),
    ((2, 4, 12), (6, 2, 3), 1, ((0, 3),), 2, 2),
    ((2, 19, 40), (19, 1, 5), 2, 2, 1, 19),
    ((1, 32, 64), (48, 32, 1), 1, 0, 1, 1),
    ((1, 32, 64), (48, 32, 3), 7, "valid", 1, 1),
    ((0, 3, 11), (4, 3, 3), 1, 0, 1, 1),
    ((3, 40, 700), (24, 40, 3), 1, 1, 1, 1),
    ((2, 1, 500), (8, 1, 31), 4, 15, 1, 1),
]


def check_all_passes(shape, weight_shape, options, dtype, layout, rng):
    x, w, b = (integers(rng, s, dtype) for s in (shape, weight_shape, weight_shape[:1]))
    y = reference.conv1d(x, w, b, *options)
    g = integers(rng, y.shape, dtype)
    lay = LAYOUTS[layout]
    direct = {"algorithm": "direct"}  # Winograd's rounds
    assert_equal(F.conv1d(lay(x), w, b, *options, **direct), y)
    relu = F.conv1d(lay(x), w, b, *options, activation="relu", **direct)
    assert_equal(relu, np.maximum(y, 0))
    expected = reference.conv1d_backward_input(g, w, x.shape, *options)
    assert_equal(F.conv1d_backward_input(lay(g), w, x.shape, *options, **direct), expected)
    expected = reference.conv1d_backward_weight(g, x, w.shape, *options)
    actual = F.conv1d_backward_weight(lay(g), lay(x), w.shape, *options, **direct)
    assert_equal(actual, expected)
    assert_equal(F.conv1d_backward_bias(lay(g)), reference.conv1d_backward_bias(g))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_convolution_is_exact_on_integers(case, dtype, layout, rng):
    check_all_passes(*case[:2], case[2:], dtype, layout, rng)


@given(
    size=st.integers(1, 60),
    kernel=st.integers(1, 7),
    stride=st.integers(1, 5),
    padding=st.one_of(st.integers(0, 4), st.tuples(st.integers(0, 4), st.integers(0, 4))),
    dilation=st.integers(1, 4),
    channels=st.integers(1, 5),
    filters=st.integers(1, 5),
    groups=st.integers(1, 3),
    layout=st.sampled_from(sorted(LAYOUTS)),
    seed=st.integers(0, 99),
)
def test_any_convolution_is_exact_on_integers(
    size, kernel, stride, padding, dilation, channels, filters, groups, layout, seed
):
    sides = padding if isinstance(padding, tuple) else (padding, padding)
    assume(size + sum(sides) > dilation * (kernel - 1))
    shape, weight = (2, channels * groups, size), (filters * groups, channels, kernel)
    options = stride, padding, dilation, groups
    check_all_passes(shape, weight, options, np.float64, layout, np.random.default_rng(seed))


def test_a_sequence_is_an_image_of_one_row(rng):
    x, w = rng.standard_normal((2, 16, 50)), rng.standard_normal((24, 16, 3))
    image = F.conv2d(x[:, :, None], w[:, :, None], padding=(0, 1))[:, :, 0]
    np.testing.assert_array_equal(F.conv1d(x, w, padding=1), image)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_results_have_the_format_of_the_input(layout, rng):
    x, w = rng.standard_normal((2, 8, 30)), rng.standard_normal((8, 8, 3))
    x = LAYOUTS[layout](x)
    y = F.conv1d(x, w)
    pooled, indices = F.max_pool1d(x, 2, return_indices=True)
    results = [
        y,
        F.conv1d_backward_input(y, w, x.shape),
        pooled,
        indices,
        F.avg_pool1d(x, 2),
        F.max_pool1d_backward(pooled, indices, x.shape),
        F.avg_pool1d_backward(pooled, x.shape, 2),
    ]
    for array in results:
        assert np.moveaxis(array, 1, -1).flags.c_contiguous == (layout == "channels_last")


def test_bits_are_the_same_for_any_number_of_threads(rng):
    x, w = rng.standard_normal((4, 32, 3000)), rng.standard_normal((48, 32, 3))
    x, w = x.astype(np.float32), w.astype(np.float32)
    g = F.conv1d(x, w)

    def results(n):
        with fastconv.threads(n):
            return (
                F.conv1d(x, w),
                F.conv1d_backward_input(g, w, x.shape),
                F.conv1d_backward_weight(g, x, w.shape),
                F.max_pool1d(x, 3, 2),
            )

    for n in (2, 3, 7):
        for one, many in zip(results(1), results(n), strict=True):
            np.testing.assert_array_equal(one, many)


def test_gradients_of_a_convolution(rng):
    x, w = rng.standard_normal((2, 4, 9)), rng.standard_normal((6, 2, 3))
    options = 2, (1, 2), 1, 2

    def backward(g, x, w):
        return (
            F.conv1d_backward_input(g, w, x.shape, *options),
            F.conv1d_backward_weight(g, x, w.shape, *options),
        )

    gradcheck(lambda x, w: F.conv1d(x, w, None, *options), backward, x, w)


# ---------------------------------------------------------------- pooling

POOLINGS = [
    {"kernel_size": 2},
    {"kernel_size": (3,), "stride": (2,), "padding": (1,)},
    {"kernel_size": 3, "stride": ()},
    {"kernel_size": 4, "stride": 3, "ceil_mode": True},
    {"kernel_size": 5, "stride": 1, "padding": 2},
    {"kernel_size": 40, "stride": 20, "ceil_mode": True},  # larger than the sequence
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("options", POOLINGS, ids=str)
def test_pooling_is_exact(options, layout, rng):
    x = distinct(rng, (3, 17, 33), np.float32)
    known = {**options, "stride": options.get("stride") or None}
    y, indices = reference.max_pool1d(x, **known, return_indices=True)
    got, where = F.max_pool1d(LAYOUTS[layout](x), **options, return_indices=True)
    assert_equal(got, y)
    assert_equal(where, indices)
    g = integers(rng, y.shape, np.float32)
    expected = reference.max_pool1d_backward(g, indices, x.shape)
    assert_equal(F.max_pool1d_backward(LAYOUTS[layout](g), where, x.shape), expected)
    for include in (True, False):
        counted = {**known, "count_include_pad": include}
        ours = F.avg_pool1d(LAYOUTS[layout](x), **{**options, "count_include_pad": include})
        np.testing.assert_allclose(ours, reference.avg_pool1d(x, **counted), rtol=1e-6)
        back = F.avg_pool1d_backward(g, x.shape, **{**options, "count_include_pad": include})
        expected = reference.avg_pool1d_backward(g, x.shape, **counted)
        np.testing.assert_allclose(back, expected, rtol=1e-6, atol=1e-6)


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x, w: F.conv1d(x[0, 0], w), ValueError, "input must have 2 or 3 dim"),
        (lambda x, w: F.conv1d(x, w[0]), ValueError, "weight must have 3 dim"),
        (lambda x, w: F.conv1d(x, w, stride=(1, 1)), ValueError, r"stride .*\(1, 1\)"),
        (lambda x, w: F.conv1d(x, w, padding=(1, 1, 1)), ValueError, r"padding .*\(1, 1, 1\)"),
        (lambda x, w: F.conv1d(x, w, stride=()), ValueError, r"stride .*\(\)"),
        (lambda x, w: F.conv1d(x, w, dilation=9), ValueError, "a kernel of length 3 .* spans 19"),
        (lambda x, w: F.conv1d(x, w, stride=2, algorithm="winograd"), ValueError, "1 x 3 kernel"),
        (lambda x, w: F.max_pool1d(x, 40), ValueError, "a length of 40"),
        (lambda x, w: F.max_pool1d(x, (2, 2)), ValueError, r"kernel_size .*\(2, 2\)"),
        (lambda x, w: F.max_pool1d(x, 3, padding=2), ValueError, "at most half"),
    ],
)
def test_invalid_arguments_are_refused(call, error, message):
    x, w = np.ones((2, 4, 9)), np.ones((6, 4, 3))
    with pytest.raises(error, match=message):
        call(x, w)


# ---------------------------------------------------------------- peers


@pytest.mark.peer("torch")
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("case", [c for c in CONVOLUTIONS if isinstance(c[3], int | str)], ids=str)
def test_convolution_agrees_with_torch(case, rng):
    import torch

    shape, weight, *options = case
    x, w, b = (rng.standard_normal(s) for s in (shape, weight, weight[:1]))
    tx, tw, tb = (torch.tensor(a, requires_grad=True) for a in (x, w, b))
    theirs = torch.nn.functional.conv1d(tx, tw, tb, *options)
    ours = F.conv1d(x, w, b, *options)
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-10, atol=1e-10)
    g = rng.standard_normal(ours.shape)
    theirs.backward(torch.tensor(g))
    results = (
        F.conv1d_backward_input(g, w, x.shape, *options),
        F.conv1d_backward_weight(g, x, w.shape, *options),
        F.conv1d_backward_bias(g),
    )
    for got, expected in zip(results, (tx.grad, tw.grad, tb.grad), strict=True):
        np.testing.assert_allclose(got, expected.numpy(), rtol=1e-9, atol=1e-9)


@pytest.mark.peer("torch")
@pytest.mark.parametrize("options", POOLINGS, ids=str)
def test_pooling_agrees_with_torch(options, rng):
    import torch

    x = distinct(rng, (3, 17, 33), np.float64)
    t = torch.tensor(x)
    y, indices = F.max_pool1d(x, **options, return_indices=True)
    theirs = torch.nn.functional.max_pool1d(t, **options, return_indices=True)
    assert_equal(y, theirs[0].numpy())
    assert_equal(indices, theirs[1].numpy())
    np.testing.assert_allclose(
        F.avg_pool1d(x, **options), torch.nn.functional.avg_pool1d(t, **options).numpy(), rtol=1e-12
    )


@pytest.mark.peer("torch")
def test_layers_have_torch_s_states_and_arguments(rng):
    import torch

    ours = nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2, rng=0)
    theirs = torch.nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2)
    state = {name: array.numpy() for name, array in theirs.state_dict().items()}
    ours.load_state_dict(state)
    x = rng.standard_normal((2, 4, 11)).astype(np.float32)
    expected = theirs(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(ours(x), expected, rtol=1e-5, atol=1e-6)


def test_packed_weights_serve_layers_of_one_axis():
    model = nn.Sequential(
        nn.Conv1d(3, 8, 3, padding=1, rng=0), nn.ReLU(), nn.Conv1d(8, 4, 1, rng=1)
    )
    x = np.random.default_rng(2).standard_normal((2, 3, 17), np.float32)
    expected = model(x)
    with nn.no_grad(), nn.packed(model):
        assert all(
            layer._packed is not None for layer in model.modules() if hasattr(layer, "_packed")
        )
        assert_equal(model(x), expected)


@pytest.mark.parametrize("shape", [(), (3,), (3, 3), (3, 3, 1, 1, 1, 1)])
def test_packed_weights_have_one_to_three_sizes_of_a_kernel(shape):
    with pytest.raises(ValueError, match="weight"):
        F.PackedWeight(np.ones(shape))
