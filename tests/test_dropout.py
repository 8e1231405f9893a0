"""Dropout: what is kept, how it is scaled, and that its generator decides."""

import numpy as np
import pytest
from support.arrays import LAYOUTS, assert_equal

import fastconv.functional as F
from fastconv.testing import assert_close, gradcheck

DTYPES = [np.float32, np.float64]


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


def test_dropout_with_probability_one_zero_and_in_evaluation(rng):
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


def test_dropout_mask_does_not_depend_on_dtype_or_memory_format(rng):
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
def test_dropout_refuses_invalid_arguments(change, error, text):
    with pytest.raises(error, match=text):
        F.dropout(**{"input": np.ones((2, 2)), **change})


def test_dropout_backward_refuses_invalid_arguments():
    with pytest.raises(ValueError, match=r"mask.*\(3,\)"):
        F.dropout_backward(np.ones(2), np.ones(3, bool), 0.5)
    with pytest.raises(ValueError, match=r"p.*2\.0"):
        F.dropout_backward(np.ones(2), np.ones(2, bool), 2.0)
