"""Fully connected layers and their gradients."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.arrays import LAYOUTS, assert_equal, integers

import fastconv.functional as F
from fastconv import reference
from fastconv.testing import gradcheck

DTYPES = [np.float32, np.float64]


@given(
    leading=st.lists(st.integers(0, 5), max_size=3).map(tuple),
    features=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    dtype=st.sampled_from(DTYPES),
    layout=st.sampled_from(["contiguous", "fortran", "every_second", "read_only"]),
    seed=st.integers(0, 99),
)
def test_exact_on_integers(leading, features, dtype, layout, seed):
    rng, change = np.random.default_rng(seed), LAYOUTS[layout]
    x, w = integers(rng, (*leading, features[1]), dtype), integers(rng, features, dtype)
    b, g = integers(rng, features[:1], dtype), integers(rng, (*leading, features[0]), dtype)
    assert_equal(F.linear(change(x), change(w), b), reference.linear(x, w, b))
    assert_equal(F.linear(x, w), x @ w.T)
    actual = F.linear_backward(change(g), change(x), change(w))
    for a, e in zip(actual, reference.linear_backward(g, x, w), strict=True):
        assert_equal(a, e)


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4)])
def test_gradcheck(shape, rng):
    gradcheck(
        F.linear,
        lambda g, x, w, b: F.linear_backward(g, x, w),
        rng.standard_normal(shape),
        rng.standard_normal((5, 4)),
        rng.standard_normal(5),
    )


X, W, B = np.ones((2, 4)), np.ones((3, 4)), np.ones(3)


@pytest.mark.parametrize(
    ("arguments", "error", "contains"),
    [
        ((np.ones((2, 5)), W, B), ValueError, ["(2, 5)", "(3, 4)"]),
        ((np.float64(1), W, B), (TypeError, ValueError), ["input"]),
        ((X, np.ones(4), B), ValueError, ["weight", "(4,)"]),
        ((X, W, np.ones(4)), ValueError, ["bias", "(4,)", "3"]),
        ((X, W, np.ones((3, 1))), ValueError, ["bias", "(3, 1)"]),
        ((X.astype(int), W, B), TypeError, ["input", "int64"]),
        ((X, W.astype(np.float32), B), TypeError, ["float32", "float64"]),
        ((X, W, B.astype(np.float32)), TypeError, ["float32", "float64"]),
        ((None, W, B), TypeError, ["input"]),
    ],
)
def test_forward_refuses_invalid_arguments(arguments, error, contains):
    with pytest.raises(error) as caught:
        F.linear(*arguments)
    for text in contains:
        assert text in str(caught.value)


@pytest.mark.parametrize(
    ("g", "error", "contains"),
    [
        (np.ones((2, 4)), ValueError, ["grad_output", "(2, 4)"]),
        (np.ones((3, 3)), ValueError, ["grad_output", "(3, 3)"]),
        (np.ones((2, 3), np.float32), TypeError, ["float32", "float64"]),
    ],
)
def test_backward_refuses_invalid_grad_output(g, error, contains):
    with pytest.raises(error) as caught:
        F.linear_backward(g, X, W)
    for text in contains:
        assert text in str(caught.value)
