"""Direct convolution with filters that stay in cache, channels-last: all filters of some pixels."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from support.arrays import assert_equal, integers

import fastconv
import fastconv.functional as F
from fastconv import reference


def channels_last(x):
    """(N, C, H, W) in shape, (N, H, W, C) in memory, and of one channel that its strides tell."""
    return np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1)


#: input, weight, stride, padding, dilation, groups
CASES = {
    "raw audio": ((2, 1, 1, 1500), (70, 1, 1, 10), (1, 5), 0, 1, 1),
    "whole vectors": ((1, 1, 1, 1500), (512, 1, 1, 16), (1, 8), 0, 1, 1),
    "padded": ((2, 1, 1, 700), (49, 1, 1, 80), (1, 4), (0, 38), 1, 1),
    "dilated": ((2, 2, 1, 500), (40, 2, 1, 5), 1, (0, 4), (1, 3), 1),
    "last block of one pixel": ((1, 1, 1, 65539), (24, 1, 1, 3), 1, 0, 1, 1),
    "stem": ((2, 3, 61, 67), (40, 3, 7, 7), 2, 3, 1, 1),
    "three vectors": ((1, 3, 20, 33), (48, 3, 3, 3), 1, 1, 1, 1),
    "rows shorter than a tile": ((2, 3, 40, 9), (36, 3, 3, 3), 2, 1, 1, 1),
    "pointwise": ((2, 24, 21, 19), (45, 24, 1, 1), 1, 0, 1, 1),
    "pointwise, strided": ((2, 32, 30, 41), (130, 32, 1, 1), 2, 0, 1, 1),
    "groups": ((2, 6, 20, 40), (69, 2, 3, 4), (1, 2), 1, 1, 3),
    "few images, shared out by panels": ((1, 3, 4, 30), (300, 3, 3, 3), 1, 1, 1, 1),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CASES)
def test_every_shape_is_exact_on_integers(name, dtype, isa, rng):
    input_shape, weight_shape, *options = CASES[name]
    x = channels_last(integers(rng, input_shape, dtype))
    w, b = integers(rng, weight_shape, dtype), integers(rng, weight_shape[:1], dtype)
    expected = reference.conv2d(x, w, None, *options)
    with fastconv.accuracy("strict"):
        y = F.conv2d(x, w, None, *options)
        assert y.strides[1] == y.itemsize
        assert_equal(y, expected)
        expected += b[:, None, None]
        assert_equal(F.conv2d(x, w, b, *options), expected)
        relu = F.conv2d(x, w, b, *options, activation="relu")
        assert_equal(relu, np.maximum(expected, 0))


@given(
    size=st.tuples(st.integers(1, 6), st.integers(1, 60)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 12)),
    stride=st.integers(1, 5),
    padding=st.integers(0, 3),
    dilation=st.integers(1, 3),
    channels=st.integers(1, 20),
    filters=st.integers(1, 140),
    seed=st.integers(0, 99),
)
def test_any_shape_is_exact_on_integers(
    size, kernel, stride, padding, dilation, channels, filters, seed
):
    sizes = zip(size, kernel, strict=True)
    assume(all(n + 2 * padding > dilation * (taps - 1) for n, taps in sizes))
    rng = np.random.default_rng(seed)
    x = channels_last(integers(rng, (2, channels, *size), np.float32))
    w = integers(rng, (filters, channels, *kernel), np.float32)
    options = stride, padding, dilation
    with fastconv.accuracy("strict"):
        assert_equal(F.conv2d(x, w, None, *options), reference.conv2d(x, w, None, *options))


@pytest.mark.parametrize("name", CASES)
def test_float32_is_as_exact_as_sums_in_order_are(name, rng):
    input_shape, weight_shape, *options = CASES[name]
    x, w = channels_last(rng.standard_normal(input_shape)), rng.standard_normal(weight_shape)
    expected = reference.conv2d(x, w, None, *options)
    x32, w32 = (channels_last(a.astype(np.float32)) for a in (x, w))
    products = reference.conv2d(np.abs(x), np.abs(w), None, *options)
    terms = int(np.prod(weight_shape[1:]))
    bound = (terms + 3) * np.finfo(np.float32).eps * products
    y = F.conv2d(x32, w32, None, *options, algorithm="direct")
    assert (np.abs(y - expected) <= bound).all()


@pytest.mark.parametrize("name", CASES)
def test_bits_are_the_same_for_any_number_of_threads(name, rng):
    input_shape, weight_shape, *options = CASES[name]
    x = channels_last(rng.standard_normal(input_shape).astype(np.float32))
    w = rng.standard_normal(weight_shape).astype(np.float32)
    results = []
    for n in (1, 2, 5):
        with fastconv.threads(n):
            results.append(F.conv2d(x, w, None, *options).tobytes())
    assert results[0] == results[1] == results[2]
