"""Activations and their gradients: values, identities, extremes, any shape and memory format."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.arrays import LAYOUTS, channels_last, distinct, is_channels_last

import fastconv
import fastconv.functional as F
from fastconv import reference
from fastconv.testing import assert_close, assert_within, gradcheck

DTYPES = [np.float32, np.float64]

# (name, keyword arguments, whether backward wants the output in place of the input)
ACTIVATIONS = [
    pytest.param("relu", {}, False, id="relu"),
    pytest.param("leaky_relu", {}, False, id="leaky_relu"),
    pytest.param("leaky_relu", {"negative_slope": 0.25}, False, id="leaky_relu-0.25"),
    pytest.param("sigmoid", {}, True, id="sigmoid"),
    pytest.param("tanh", {}, True, id="tanh"),
    pytest.param("gelu", {}, False, id="gelu"),
    pytest.param("gelu", {"approximate": "tanh"}, False, id="gelu-tanh"),
    pytest.param("silu", {}, False, id="silu"),
    pytest.param("softplus", {}, False, id="softplus"),
    pytest.param("softmax", {}, True, id="softmax"),
    pytest.param("softmax", {"axis": 1}, True, id="softmax-1"),
    pytest.param("log_softmax", {}, True, id="log_softmax"),
    pytest.param("log_softmax", {"axis": -3}, True, id="log_softmax--3"),
]
ELEMENTWISE = [p for p in ACTIVATIONS if "softmax" not in p.values[0]]
every = pytest.mark.parametrize(("name", "options", "wants_output"), ACTIVATIONS)
elementwise = pytest.mark.parametrize(("name", "options", "wants_output"), ELEMENTWISE)


def run(m, name, options, wants_output, x, g):
    """(output, grad_input) of an activation in module `m`."""
    y = getattr(m, name)(x, **options)
    return y, getattr(m, f"{name}_backward")(g, y if wants_output else x, **options)


# ----------------------------------------------------------------------- values


@every
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_equals_reference(name, options, wants_output, layout, dtype, rng):
    x = (3 * rng.standard_normal((2, 5, 4, 7))).astype(dtype)
    g = rng.standard_normal(x.shape).astype(dtype)
    change = LAYOUTS[layout]
    expected = run(reference, name, options, wants_output, x, g)
    actual = run(F, name, options, wants_output, change(x), change(g))
    for a, e in zip(actual, expected, strict=True):
        if "relu" in name:
            np.testing.assert_array_equal(a, e, strict=True)
        else:
            # a few roundings: absolute because gelu and its like cross 0
            tolerance = 32 * np.finfo(dtype).eps
            assert_close(a, e, rtol=tolerance, atol=tolerance)


@every
def test_float32_within_a_few_roundings_of_float64(name, options, wants_output, rng):
    x = (4 * rng.standard_normal((3, 6, 5, 50))).astype(np.float32)
    g = rng.standard_normal(x.shape).astype(np.float32)
    single = run(F, name, options, wants_output, x, g)
    double = run(reference, name, options, wants_output, x.astype(float), g.astype(float))
    for a, e, scale in zip(single, double, (np.abs(x) + 1, 4 * np.abs(g).max()), strict=True):
        assert a.dtype == np.float32
        assert_within(a, e, 16 * np.finfo(np.float32).eps * scale)


@elementwise
@given(
    shape=st.lists(st.integers(0, 5), min_size=1, max_size=5).map(tuple),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 9),
)
def test_activations_take_any_shape(name, options, wants_output, shape, dtype, seed):
    rng = np.random.default_rng(seed)
    x = np.asarray(rng.standard_normal(shape), dtype)
    y, grad = run(F, name, options, wants_output, x, np.ones_like(x))
    flat = run(F, name, options, wants_output, x.ravel(), np.ones(x.size, dtype))
    for a, e in zip((y, grad), flat, strict=True):
        assert a.shape == shape
        tolerance = 4 * np.finfo(dtype).eps  # a vector's last elements may take another path
        assert_close(a.ravel(), e, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@given(
    shape=st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple),
    data=st.data(),
    dtype=st.sampled_from(DTYPES),
)
def test_softmax_of_any_shape_and_axis(name, shape, data, dtype):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    x, g = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    expected = run(reference, name, {"axis": axis}, True, x, g)
    for a, e in zip(run(F, name, {"axis": axis}, True, x, g), expected, strict=True):
        assert_close(a, e, rtol=32 * np.finfo(dtype).eps, atol=32 * np.finfo(dtype).eps)


def test_activations_equal_values_computed_by_hand():
    x = np.array([-1.0, 0.0, 1.0])
    phi = (1 + math.erf(1 / math.sqrt(2))) / 2
    assert_close(F.gelu(x), np.array([phi - 1, 0.0, phi]), rtol=1e-14)
    assert_close(F.sigmoid(x), 1 / (1 + np.exp(-x)), rtol=1e-14)
    assert_close(F.silu(x), x / (1 + np.exp(-x)), rtol=1e-14)
    assert_close(F.softmax(np.log([[1.0, 2.0, 5.0]])), np.array([[1, 2, 5]]) / 8, rtol=1e-14)
    assert_close(F.log_softmax(np.zeros((1, 4))), np.full((1, 4), -np.log(4)), rtol=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
def test_activations_satisfy_their_identities(dtype):
    x = np.linspace(-9, 9, 1001).astype(dtype)
    eps = 8 * np.finfo(dtype).eps
    assert_close(F.sigmoid(x) + F.sigmoid(-x), np.ones_like(x), rtol=eps, atol=0)
    assert_close(F.tanh(x), 2 * F.sigmoid(2 * x) - 1, rtol=eps, atol=eps)
    for f in (F.gelu, lambda x: F.gelu(x, "tanh"), F.silu):
        assert_close(f(x) - f(-x), x, rtol=eps, atol=eps)
    assert_close(F.relu(x) - F.relu(-x), x, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_sums_to_one_and_ignores_a_shift(dtype, rng):
    x = (5 * rng.standard_normal((40, 10))).astype(dtype)
    y = F.softmax(x)
    eps = 16 * np.finfo(dtype).eps
    assert_close(y.sum(-1), np.ones(40, dtype), rtol=eps, atol=0)
    assert_close(F.softmax(x + dtype(8)), y, rtol=100 * eps, atol=0)
    assert_close(np.exp(F.log_softmax(x)), y, rtol=10 * eps, atol=0)
    g = rng.standard_normal(x.shape).astype(dtype)
    assert_close(F.softmax_backward(g, y).sum(-1), np.zeros(40, dtype), atol=eps)
    assert_close(F.log_softmax_backward(g, np.log(y)).sum(-1), np.zeros(40, dtype), atol=4 * eps)


# --------------------------------------------------------------------- extremes


@pytest.mark.parametrize("dtype", DTYPES)
def test_large_inputs_do_not_overflow(dtype):
    big = np.array([-1e4, -200.0, 200.0, 1e4], dtype)
    step = np.array([0, 0, 1, 1], dtype)
    tiny = float(np.finfo(dtype).tiny)
    assert_close(F.sigmoid(big), step, rtol=0, atol=1e-30)
    assert_close(F.tanh(big), 2 * step - 1, rtol=0, atol=0)
    for f in (F.gelu, lambda x: F.gelu(x, "tanh"), F.silu):
        assert_close(f(big), step * big, rtol=0, atol=max(tiny, 1e-30))
    assert_close(F.softmax(big), np.array([0, 0, 0, 1], dtype), rtol=0, atol=1e-30)
    assert_close(F.log_softmax(big), big - big[-1], rtol=1e-6, atol=0)
    assert_close(F.sigmoid_backward(big, F.sigmoid(big)), big * 0, rtol=0, atol=1e-20)


@elementwise
@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_propagates(name, options, wants_output, dtype):
    x = np.ones(37, dtype)
    x[[0, 17, 36]] = np.nan
    y = getattr(F, name)(x, **options)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(x))


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_keeps_nan_in_its_row(name):
    x = np.ones((3, 5))
    x[1, 2] = np.nan
    y = getattr(F, name)(x)
    np.testing.assert_array_equal(np.isnan(y).all(1), [False, True, False])
    np.testing.assert_array_equal(np.isnan(y).any(1), [False, True, False])


@pytest.mark.parametrize("dtype", DTYPES)
def test_infinite_inputs_give_the_limits(dtype):
    x = np.array([-np.inf, np.inf], dtype)
    for f, expected in (
        (F.relu, [0, np.inf]),
        (F.leaky_relu, [-np.inf, np.inf]),
        (F.sigmoid, [0, 1]),
        (F.tanh, [-1, 1]),
    ):
        np.testing.assert_array_equal(f(x), np.array(expected, dtype))
    for f in (F.gelu, lambda x: F.gelu(x, "tanh"), F.silu):
        assert f(x)[1] == np.inf
    masked = np.array([[0, -np.inf, 0]], dtype)
    assert_close(F.softmax(masked), np.array([[0.5, 0, 0.5]], dtype))
    assert F.log_softmax(masked)[0, 1] == -np.inf


def test_gradient_of_relu_at_and_around_zero():
    x, g = np.array([-1.0, -0.0, 0.0, 1.0]), np.array([2.0, 3.0, 4.0, 5.0])
    np.testing.assert_array_equal(F.relu_backward(g, x), [0, 0, 0, 5])
    np.testing.assert_array_equal(F.leaky_relu_backward(g, x, 0.5), [1, 1.5, 2, 5])


# -------------------------------------------------------------------- properties


@every
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_gradcheck(name, options, wants_output, layout, rng):
    change = LAYOUTS[layout]
    gradcheck(
        lambda x: getattr(F, name)(change(x), **options),
        lambda g, x: run(F, name, options, wants_output, change(x), change(g))[1],
        distinct(rng, (2, 3, 2, 4)) / 2,
    )


@every
@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_for_any_number_of_threads(name, options, wants_output, dtype, rng):
    x, g = (rng.standard_normal((3, 17, 31, 29)).astype(dtype) for _ in range(2))
    results = []
    for n in (1, 2, 3, 4, 7):
        with fastconv.threads(n):
            results.append([a.tobytes() for a in run(F, name, options, wants_output, x, g)])
    assert all(r == results[0] for r in results)


@every
def test_output_and_gradient_have_the_format_of_the_input(name, options, wants_output, rng):
    x, g = (rng.standard_normal((2, 3, 4, 5)) for _ in range(2))
    for change, last in ((np.ascontiguousarray, False), (channels_last, True)):
        for grad in (np.ascontiguousarray(g), channels_last(g)):
            for array in run(F, name, options, wants_output, change(x), grad):
                assert is_channels_last(array) == last
                assert array.flags.c_contiguous != last


@pytest.mark.parametrize("shape", [(0, 3, 4, 5), (2, 37, 1, 1), (1, 70, 33, 17), (3, 1, 5, 5)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_does_not_depend_on_the_memory_format_of_grad_output(shape, dtype, rng):
    x, g = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    expected = F.tanh_backward(g, x)
    for change in LAYOUTS.values():
        for other in LAYOUTS.values():
            np.testing.assert_array_equal(F.tanh_backward(change(g), other(x)), expected)


@every
def test_arguments_are_not_modified(name, options, wants_output, rng):
    x, g = (rng.standard_normal((2, 3, 4, 5)) for _ in range(2))
    before = x.copy(), g.copy()
    y, grad = run(F, name, options, wants_output, x, g)
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(g, before[1])
    for a in (y, grad):
        assert not np.shares_memory(a, x)
        assert not np.shares_memory(a, g)


# ---------------------------------------------------------------------- bad input


@every
@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (np.ones((2, 3, 4), int), TypeError),
        (np.ones((2, 3, 4), np.float16), TypeError),
        (np.ones((2, 3, 4), complex), TypeError),
        (None, TypeError),
        ("x", TypeError),
    ],
)
def test_invalid_input_is_refused(name, options, wants_output, bad, error):
    with pytest.raises(error, match=f"input.*{getattr(bad, 'dtype', '')}"):
        getattr(F, name)(bad, **options)


@every
def test_invalid_grad_output_is_refused(name, options, wants_output):
    backward = getattr(F, f"{name}_backward")
    x = np.full((2, 3, 4), 0.5)
    for g, error, text in (
        (np.ones((2, 3, 5)), ValueError, r"grad_output.*\(2, 3, 5\)"),
        (np.ones((2, 3)), ValueError, r"grad_output.*\(2, 3\)"),
        (np.ones((2, 3, 4), np.float32), TypeError, "float32"),
        (np.ones((2, 3, 4), int), TypeError, "grad_output.*int64"),
        (None, TypeError, "grad_output"),
    ):
        with pytest.raises(error, match=text):
            backward(g, x, **options)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_invalid_axis_is_refused(name):
    x = np.ones((2, 3))
    for axis in (2, -3):
        with pytest.raises(ValueError, match=f"axis.*{axis}"):
            getattr(F, name)(x, axis=axis)
        with pytest.raises(ValueError, match=f"axis.*{axis}"):
            getattr(F, f"{name}_backward")(x, x, axis=axis)
    with pytest.raises(TypeError, match="axis"):
        getattr(F, name)(x, axis=0.5)


def test_invalid_approximation_is_refused():
    for call in (
        lambda: F.gelu(np.ones(3), "fast"),
        lambda: F.gelu_backward(np.ones(3), np.ones(3), "fast"),
    ):
        with pytest.raises(ValueError, match=r"approximate.*fast"):
            call()


# -------------------------------------------------------------------------- peers


@pytest.mark.peer("torch")
@every
def test_agrees_with_torch(name, options, wants_output, rng):
    import torch

    x, g = (2 * rng.standard_normal((2, 3, 4, 5)) for _ in range(2))
    t = torch.tensor(x, requires_grad=True)
    their_options = {"dim" if k == "axis" else k: v for k, v in options.items()}
    if "softmax" in name:
        their_options.setdefault("dim", -1)
    y = getattr(torch.nn.functional, name)(t, **their_options)
    y.backward(torch.tensor(g))
    ours = run(F, name, options, wants_output, x, g)
    for a, e in zip(ours, (y.detach(), t.grad), strict=True):
        assert_close(a, e.numpy(), rtol=1e-11, atol=1e-11)


# ------------------------------------------------------------------- sums


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0, 3), (37,), (3, 17, 31, 29)])
@pytest.mark.parametrize("activation", [None, "relu"])
def test_add_equals_reference_in_every_layout(activation, shape, dtype, rng):
    a, b = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    expected = reference.add(a, b, activation=activation)
    for n in (1, 2, 3):
        with fastconv.threads(n):
            np.testing.assert_array_equal(F.add(a, b, activation=activation), expected, strict=True)
    if len(shape) == 4:
        for change in LAYOUTS.values():
            np.testing.assert_array_equal(F.add(change(a), b, activation=activation), expected)
        assert is_channels_last(F.add(channels_last(a), b, activation=activation))


def test_add_refuses_invalid_arguments():
    x = np.ones((2, 3))
    with pytest.raises(ValueError, match=r"other has shape \(3,\), expected \(2, 3\)"):
        F.add(x, np.ones(3))
    with pytest.raises(TypeError, match="input float64, other float32"):
        F.add(x, x.astype(np.float32))
    with pytest.raises(ValueError, match="activation must be None or 'relu', got 'tanh'"):
        F.add(x, x, activation="tanh")
