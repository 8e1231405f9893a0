"""The checks check: a wrong gradient or a value out of tolerance is found and named."""

import numpy as np
import pytest

from fastconv import autograd, nn
from fastconv.testing import (
    assert_close,
    assert_within,
    gradcheck,
    gradcheck_module,
    rounding_bound,
)


def test_assert_close_names_the_worst_element():
    expected = np.zeros((2, 3))
    actual = expected.copy()
    actual[0, 1], actual[1, 2] = 0.1, -0.5
    with pytest.raises(AssertionError, match=r"weights: 2 of 6 .* worst at \[1, 2\]: -0\.5"):
        assert_close(actual, expected, name="weights")


@pytest.mark.parametrize(
    ("actual", "expected", "agree"),
    [
        (1.0, 1.0 + 1.9e-7, True),
        (1.0, 1.0 + 2.1e-7, False),
        (np.float32(1.0), np.float32(1.0) + np.float32(1.1e-5), True),
        (np.float32(1.0), np.float32(1.0) + np.float32(1.2e-5), False),
        (np.inf, np.inf, True),
        (np.inf, -np.inf, False),
        (1e300, np.inf, False),
        (np.nan, 1.0, False),
        (1.0, np.nan, False),
        (np.nan, np.nan, False),
        (3, 3, True),
        (3, 4, False),
        (np.float32(1), np.float64(1), False),
        (np.ones(2), np.ones(3), False),
        (np.ones(2), np.ones((1, 2)), False),
        (np.ones(0), np.ones(0), True),
    ],
)
def test_default_tolerances(actual, expected, agree):
    if agree:
        assert_close(actual, expected)
    else:
        with pytest.raises(AssertionError):
            assert_close(actual, expected)


def test_nan_equals_nan_only_where_asked():
    x = np.array([1.0, np.nan])
    assert_close(x, x, equal_nan=True)
    with pytest.raises(AssertionError, match=r"worst at \[1\]"):
        assert_close(np.array([1.0, 2.0]), x, equal_nan=True)


def test_rounding_bound_grows_as_the_root_of_the_terms():
    assert_close(rounding_bound(400, 2.0), np.asarray(2 * rounding_bound(100, 2.0)))
    assert rounding_bound(1, 1.0) < 1e-6
    with pytest.raises(AssertionError):  # a term dropped is no rounding
        assert_within(np.float32(999), 1000.0, rounding_bound(1000, 1000.0))


def test_gradcheck_finds_one_wrong_element(rng):
    x, w = rng.standard_normal((3, 4)), rng.standard_normal((4, 2))

    def backward(g, x, w):
        grad = x.T @ g
        grad[2, 1] *= 1.01
        return g @ w.T, grad

    gradcheck(np.matmul, lambda g, x, w: (g @ w.T, x.T @ g), x, w)
    gradcheck(np.matmul, lambda g, x, w: (g @ w.T, None), x, w)  # None skips
    with pytest.raises(AssertionError, match=r"input 1 .* 1 of 8 .* worst at \[2, 1\]"):
        gradcheck(np.matmul, backward, x, w)


def test_gradcheck_refuses_unsuitable_arguments():
    x = np.ones(3)
    with pytest.raises(TypeError, match=r"input 0 .*float32"):
        gradcheck(np.sin, lambda g, x: g * np.cos(x), x.astype(np.float32))
    with pytest.raises(AssertionError, match="2 gradients for 1 inputs"):
        gradcheck(np.sin, lambda g, x: (g, g), x)
    with pytest.raises(AssertionError, match=r"shape \(1, 3\), expected \(3,\)"):
        gradcheck(np.sin, lambda g, x: (g * np.cos(x))[None], x)
    with pytest.raises(AssertionError, match="float32"):
        gradcheck(np.sin, lambda g, x: (g * np.cos(x)).astype(np.float32), x)


def test_gradcheck_through_the_tape(rng):
    x, w = rng.standard_normal((3, 4)), rng.standard_normal((4, 2))
    gradcheck(lambda x, w: (x @ w).exp(), None, x, w)
    with pytest.raises(AssertionError, match=r"input 1: .*found NoneType"):
        gradcheck(lambda x, w: x @ w.data, None, x, w)
    with pytest.raises(AssertionError, match="expected a Tensor to go back from, got ndarray"):
        gradcheck(lambda x: x.data, None, x)
    halved = autograd.register(lambda input: 2 * input, input=lambda grad: grad)
    with pytest.raises(AssertionError, match=r"input 0 .* 12 of 12"):
        gradcheck(halved, None, x)


def product(input, weight):
    return input @ weight.T


class Linear(nn.Module):
    """A user's own layer, with as many faults as asked for."""

    def __init__(self, fault=None):
        rng = np.random.default_rng(1)
        self.weight = nn.Parameter(rng.standard_normal((2, 3)))
        self.bias = nn.Parameter(np.zeros(2))
        self.fault, self.calls = fault, 0
        self.product = autograd.register(
            product,
            input=lambda grad, weight: grad @ weight * (-1 if fault == "input" else 1),
            weight=lambda grad, input: grad.T @ input,
        )

    def forward(self, input):
        self.calls += 1
        weight = self.weight.data if self.fault == "unused" else self.weight
        bias = 2 * self.bias - self.bias.data if self.fault == "bias" else self.bias
        noise = self.calls if self.fault == "random" else 0
        output = self.product(input, weight) + bias + noise
        return output.data if self.fault == "array" else output


def test_gradcheck_module_of_a_users_layer(rng):
    layer, x = Linear(), rng.standard_normal((4, 3))
    before = layer.weight.data.copy(), x.copy()
    gradcheck_module(layer, x)
    np.testing.assert_array_equal(layer.weight.data, before[0])
    np.testing.assert_array_equal(x, before[1])
    assert layer.weight.grad is layer.bias.grad is None


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("input", "gradient of input"),
        ("bias", r"gradient of parameter 1 of shape \(2,\)"),
        ("unused", r"gradient of parameter 0 of shape \(2, 3\)"),
        ("random", "two outputs"),
        ("array", "expected a Tensor to go back from, got ndarray"),
    ],
)
def test_gradcheck_module_names_the_fault(fault, text, rng):
    with pytest.raises(AssertionError, match=text):
        gradcheck_module(Linear(fault), rng.standard_normal((4, 3)))


def test_gradcheck_module_requires_float64(rng):
    layer = Linear()
    layer.bias.data = layer.bias.data.astype(np.float32)
    with pytest.raises(TypeError, match=r"parameter 1 .*float32"):
        gradcheck_module(layer, rng.standard_normal((4, 3)))
