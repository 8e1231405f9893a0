"""Linear, dropout and flatten."""

import math

import numpy as np
import pytest
from geometries import LAYOUTS, integers
from hypothesis import given
from hypothesis import strategies as st

import fastconv.functional as F
from fastconv import reference
from fastconv.testing import assert_close, gradcheck

DTYPES = [np.float32, np.float64]


def assert_equal(actual, expected):
    np.testing.assert_array_equal(actual, expected, strict=True)


# ----------------------------------------------------------------------- linear


@given(
    leading=st.lists(st.integers(0, 5), max_size=3).map(tuple),
    features=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    dtype=st.sampled_from(DTYPES),
    layout=st.sampled_from(["contiguous", "fortran", "every_second", "read_only"]),
    seed=st.integers(0, 99),
)
def test_linear_is_exact_on_integers(leading, features, dtype, layout, seed):
    rng, change = np.random.default_rng(seed), LAYOUTS[layout]
    x, w = integers(rng, (*leading, features[1]), dtype), integers(rng, features, dtype)
    b, g = integers(rng, features[:1], dtype), integers(rng, (*leading, features[0]), dtype)
    assert_equal(F.linear(change(x), change(w), b), reference.linear(x, w, b))
    assert_equal(F.linear(x, w), x @ w.T)
    actual = F.linear_backward(change(g), change(x), change(w))
    for a, e in zip(actual, reference.linear_backward(g, x, w), strict=True):
        assert_equal(a, e)


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4)])
def test_linear_gradcheck(shape, rng):
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
def test_bad_arguments_of_linear(arguments, error, contains):
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
def test_bad_grad_output_of_linear(g, error, contains):
    with pytest.raises(error) as caught:
        F.linear_backward(g, X, W)
    for text in contains:
        assert text in str(caught.value)


# ---------------------------------------------------------------------- dropout


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 0.9])
def test_dropout_keeps_and_scales(p, dtype):
    x = np.full((100, 1000), 3, dtype)
    y, mask = F.dropout(x, p, rng=np.random.default_rng(0), return_mask=True)
    assert y.dtype == dtype
    assert mask.shape == x.shape
    kept = mask.astype(bool)
    # a binomial's share of 1e5 draws is within 5 standard deviations of p
    assert abs((~kept).mean() - p) <= 5 * np.sqrt(p * (1 - p) / x.size)
    assert_close(y, np.where(kept, dtype(3 / (1 - p)), dtype(0)))
    g = np.arange(x.size, dtype=dtype).reshape(x.shape)
    assert_close(F.dropout_backward(g, mask, p), np.where(kept, g / dtype(1 - p), dtype(0)))


def test_dropout_of_everything_and_of_nothing(rng):
    x = rng.standard_normal((5, 6))
    assert_equal(F.dropout(x, 1.0, rng=rng), np.zeros_like(x))
    assert_equal(F.dropout(x, 0.0, rng=rng), x)
    assert_equal(F.dropout(x, 0.5, training=False), x)


def test_dropout_follows_its_generator(rng):
    x = np.ones((20, 20))
    a, b = (F.dropout(x, rng=np.random.default_rng(7)) for _ in range(2))
    assert_equal(a, b)
    assert not np.array_equal(a, F.dropout(x, rng=np.random.default_rng(8)))
    first, second = F.dropout(x, rng=rng), F.dropout(x, rng=rng)
    assert not np.array_equal(first, second)
    F.dropout(x)  # a generator of its own


def test_dropout_draws_alike_for_every_dtype_and_memory_format(rng):
    x = rng.random((2, 3, 4, 5)) + 1
    y, mask = F.dropout(x, 0.3, rng=1, return_mask=True)
    assert_equal(F.dropout(x.astype(np.float32), 0.3, rng=1) != 0, mask)
    channels_last = LAYOUTS["channels_last"](x)
    z = F.dropout(channels_last, 0.3, rng=1)
    assert_equal(z, y)
    assert z.strides == channels_last.strides
    assert F.dropout_backward(channels_last, mask, 0.3).strides == channels_last.strides


def test_dropout_gradcheck(rng):
    x = rng.standard_normal((6, 7))
    _, mask = F.dropout(x, 0.4, rng=np.random.default_rng(3), return_mask=True)
    gradcheck(
        lambda x: F.dropout(x, 0.4, rng=np.random.default_rng(3)),
        lambda g, x: F.dropout_backward(g, mask, 0.4),
        x,
    )


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"p": -0.1}, ValueError, r"p.*-0\.1"),
        ({"p": 1.5}, ValueError, r"p.*1\.5"),
        ({"p": float("nan")}, ValueError, "p.*nan"),
        ({"p": "half"}, TypeError, "p.*half"),
        ({"input": np.ones((2, 2), int)}, TypeError, "input.*int64"),
        ({"rng": "seed"}, TypeError, "rng.*seed"),
    ],
)
def test_bad_arguments_of_dropout(change, error, text):
    with pytest.raises(error, match=text):
        F.dropout(**{"input": np.ones((2, 2)), **change})


def test_bad_arguments_of_dropout_backward():
    with pytest.raises(ValueError, match=r"mask.*\(3,\)"):
        F.dropout_backward(np.ones(2), np.ones(3, bool), 0.5)
    with pytest.raises(ValueError, match=r"p.*2\.0"):
        F.dropout_backward(np.ones(2), np.ones(2, bool), 2.0)


# ---------------------------------------------------------------------- flatten


@pytest.mark.parametrize(
    ("start", "end", "shape"),
    [
        (1, -1, (2, 60)),
        (0, -1, (120,)),
        (0, 1, (6, 4, 5)),
        (-2, -1, (2, 3, 20)),
        (2, 2, (2, 3, 4, 5)),
    ],
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_flatten(start, end, shape, layout, rng):
    x = integers(rng, (2, 3, 4, 5))
    y = F.flatten(LAYOUTS[layout](x), start, end)
    assert_equal(y, x.reshape(shape))
    assert_equal(F.flatten_backward(y, x.shape), x)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3, 1, 1), (2, 1, 4, 5), (0, 3, 4, 5)])
def test_flatten_backward_to_channels_last(shape, rng):
    g = rng.standard_normal((shape[0], math.prod(shape[1:])))
    back = F.flatten_backward(g, shape, channels_last=True)
    assert_equal(back, g.reshape(shape))
    n, c, h, w = shape
    assert back.size == 0 or back.strides == np.empty((n, h, w, c)).transpose(0, 3, 1, 2).strides
    assert np.shares_memory(back, g) == (g.size > 0 and (c == 1 or h * w == 1))
    with pytest.raises(ValueError, match="4 sizes"):
        F.flatten_backward(np.ones((2, 12)), (2, 3, 4), channels_last=True)


def test_flatten_of_an_empty_batch():
    y = F.flatten(np.ones((0, 3, 4)))
    assert y.shape == (0, 12)
    assert F.flatten_backward(y, (0, 3, 4)).shape == (0, 3, 4)


def test_bad_arguments_of_flatten():
    x = np.ones((2, 3, 4))
    for start, end, text in ((3, -1, "start_dim.*3"), (1, 5, "end_dim.*5"), (2, 1, "start_dim.*2")):
        with pytest.raises(ValueError, match=text):
            F.flatten(x, start, end)
    with pytest.raises(ValueError, match=r"\(2, 11\).*\(2, 3, 4\)|\(2, 3, 4\).*\(2, 11\)"):
        F.flatten_backward(np.ones((2, 11)), (2, 3, 4))
