"""Arguments of pools: what is refused, and with which words; options in torch's forms."""

import numpy as np
import pytest
from support.arrays import assert_equal

import fastconv.functional as F

# ----------------------------------------------------------------------- bad input

X = np.ones((2, 3, 8, 8))
POOL_FUNCTIONS = [F.max_pool2d, F.avg_pool2d]

BAD_INPUTS = [
    (np.ones((8, 8)), ValueError, ["input", "(8, 8)"]),
    (np.ones((1, 1, 1, 8, 8)), ValueError, ["input", "(1, 1, 1, 8, 8)"]),
    (np.ones((2, 3, 0, 8)), ValueError, ["input", "(2, 3, 0, 8)"]),
    (np.ones((2, 0, 8, 8)), ValueError, ["input", "(2, 0, 8, 8)"]),
    (np.ones((2, 3, 8, 8), int), TypeError, ["input", "int64"]),
    (np.ones((2, 3, 8, 8), np.float16), TypeError, ["input", "float16"]),
    (None, TypeError, ["input"]),
]
BAD_OPTIONS = [
    ({"kernel_size": 0}, ValueError, ["kernel_size", "0"]),
    ({"kernel_size": (2, -1)}, ValueError, ["kernel_size", "-1"]),
    ({"kernel_size": (2, 2, 2)}, ValueError, ["kernel_size", "(2, 2, 2)"]),
    ({"kernel_size": 2.5}, TypeError, ["kernel_size", "2.5"]),
    ({"kernel_size": 9}, ValueError, ["kernel_size", "9", "(2, 3, 8, 8)"]),
    ({"kernel_size": 2**62}, ValueError, ["kernel_size", str(2**62)]),
    ({"kernel_size": 2**100}, ValueError, ["kernel_size", str(2**100)]),
    ({"kernel_size": 2, "stride": 0}, ValueError, ["stride", "0"]),
    ({"kernel_size": 2, "stride": -1}, ValueError, ["stride", "-1"]),
    ({"kernel_size": 2, "stride": 2**100}, ValueError, ["stride", str(2**100)]),
    ({"kernel_size": 2, "padding": -1}, ValueError, ["padding", "-1"]),
    ({"kernel_size": 2, "padding": 2}, ValueError, ["padding", "2", "kernel_size"]),
    ({"kernel_size": 2, "padding": 2**62}, ValueError, ["padding", str(2**62)]),
]
BAD_MAX_OPTIONS = [
    ({"kernel_size": 2, "dilation": 0}, ValueError, ["dilation", "0"]),
    ({"kernel_size": 2, "dilation": 8}, ValueError, ["dilation", "8"]),
    ({"kernel_size": 2, "dilation": 2**62}, ValueError, ["dilation", str(2**62)]),
    ({"kernel_size": 2, "dilation": 2**100}, ValueError, ["dilation", str(2**100)]),
]
BAD_AVG_OPTIONS = [
    ({"kernel_size": 2, "divisor_override": 0}, ValueError, ["divisor_override", "0"]),
    ({"kernel_size": 2, "divisor_override": 1.5}, TypeError, ["divisor_override", "1.5"]),
]


def assert_refused(call, error, contains):
    with pytest.raises(error) as caught:
        call()
    for text in contains:
        assert text in str(caught.value)


@pytest.mark.parametrize(("x", "error", "contains"), BAD_INPUTS)
@pytest.mark.parametrize(
    "call",
    [
        lambda x: F.max_pool2d(x, 2),
        lambda x: F.avg_pool2d(x, 2),
        lambda x: F.adaptive_avg_pool2d(x, 2),
        lambda x: F.adaptive_max_pool2d(x, 2),
        F.global_avg_pool2d,
        F.global_max_pool2d,
    ],
)
def test_invalid_input_is_refused(call, x, error, contains):
    assert_refused(lambda: call(x), error, contains)


@pytest.mark.parametrize(
    ("function", "options", "error", "contains"),
    [(f, *bad) for f in POOL_FUNCTIONS for bad in BAD_OPTIONS]
    + [(F.max_pool2d, *bad) for bad in BAD_MAX_OPTIONS]
    + [(F.avg_pool2d, *bad) for bad in BAD_AVG_OPTIONS],
)
def test_invalid_options_are_refused(function, options, error, contains):
    assert_refused(lambda: function(X, **options), error, contains)
    if function is F.avg_pool2d:
        g = np.ones((2, 3, 4, 4))
        assert_refused(lambda: F.avg_pool2d_backward(g, X.shape, **options), error, contains)


@pytest.mark.parametrize("function", [F.adaptive_avg_pool2d, F.adaptive_max_pool2d])
@pytest.mark.parametrize(
    ("size", "error", "contains"),
    [
        (0, ValueError, ["output_size", "0"]),
        ((3, -1), ValueError, ["output_size", "-1"]),
        ((3, 3, 3), ValueError, ["output_size", "(3, 3, 3)"]),
        (1.5, TypeError, ["output_size", "1.5"]),
        (2**100, ValueError, ["output_size", str(2**100)]),
        (2**31, (ValueError, MemoryError), []),
    ],
)
def test_invalid_output_size_is_refused(function, size, error, contains):
    assert_refused(lambda: function(X, size), error, contains)


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 3, 4), (2, 4, 4, 4), (1, 3, 4, 4)])
def test_grad_output_of_another_shape_is_refused(shape):
    g = np.ones(shape)
    contains = ["grad_output", str(shape)]
    assert_refused(lambda: F.avg_pool2d_backward(g, X.shape, 2), ValueError, contains)
    _, indices = F.max_pool2d(X, 2, return_indices=True)
    contains = [str(shape)]  # grad_output and indices differ: either may be the wrong one
    assert_refused(lambda: F.max_pool2d_backward(g, indices, X.shape), ValueError, contains)


def test_grad_output_of_another_dtype_is_refused():
    g = np.ones((2, 3, 4, 4), int)
    _, indices = F.max_pool2d(X, 2, return_indices=True)
    for call in (
        lambda: F.max_pool2d_backward(g, indices, X.shape),
        lambda: F.avg_pool2d_backward(g, X.shape, 2),
        lambda: F.adaptive_avg_pool2d_backward(g, X.shape),
        lambda: F.adaptive_max_pool2d_backward(g, indices, X.shape),
        lambda: F.global_avg_pool2d_backward(g, X.shape),
    ):
        assert_refused(call, TypeError, ["grad_output", "int64"])


@pytest.mark.parametrize("shape", [(2, 3, 8), (2, 3, 0, 8), (2, 3, -8, 8), (2, 5, 8, 8)])
def test_invalid_input_shape_is_refused(shape):
    g = np.ones((2, 3, 4, 4))
    _, indices = F.max_pool2d(X, 2, return_indices=True)
    for call in (
        lambda: F.max_pool2d_backward(g, indices, shape),
        lambda: F.avg_pool2d_backward(g, shape, 2),
        lambda: F.adaptive_avg_pool2d_backward(g, shape),
        lambda: F.adaptive_max_pool2d_backward(g, indices, shape),
    ):
        assert_refused(call, ValueError, ["shape"])


@pytest.mark.parametrize("index", [64, -2, 2**40, -(2**40)])
def test_indices_outside_the_plane_are_refused(index):
    """They say where to write: one wrong index must not reach memory."""
    g = np.ones((2, 3, 4, 4))
    _, indices = F.max_pool2d(X, 2, return_indices=True)
    indices[1, 2, 3, 3] = index
    for backward in (F.max_pool2d_backward, F.adaptive_max_pool2d_backward):
        assert_refused(lambda: backward(g, indices, X.shape), ValueError, ["indices", str(index)])  # noqa: B023


def test_indices_of_another_shape_or_type_are_refused():
    g = np.ones((2, 3, 4, 4))
    _, indices = F.max_pool2d(X, 2, return_indices=True)
    for wrong, error, contains in (
        (indices[:1], ValueError, ["indices", "(1, 3, 4, 4)"]),
        (indices.astype(float), TypeError, ["indices", "float64"]),
        (None, TypeError, ["indices"]),
    ):
        for backward in (F.max_pool2d_backward, F.adaptive_max_pool2d_backward):
            assert_refused(lambda: backward(g, wrong, X.shape), error, contains)  # noqa: B023


def test_sizes_beyond_memory_are_refused():
    huge = np.broadcast_to(1.0, (2, 4, 2**28, 2**28))
    for call in (
        lambda: F.max_pool2d(huge, 2),
        lambda: F.avg_pool2d(huge, 2),
        lambda: F.adaptive_avg_pool2d_backward(np.ones((2, 4, 1, 1)), huge.shape),
        lambda: F.max_pool2d_backward(
            np.ones((2, 4, 1, 1)), np.zeros((2, 4, 1, 1), int), huge.shape
        ),
        lambda: F.global_avg_pool2d_backward(np.ones((2, 4, 1, 1)), (2, 4, 2**40, 2**40)),
    ):
        assert_refused(call, (ValueError, MemoryError), [])


# ------------------------------------------------------------------- options in torch's forms


def test_options_may_be_sequences_of_one_element(rng):
    x = rng.standard_normal((2, 3, 9, 8))
    expected = F.max_pool2d(x, 3, 2, 1, 1)
    assert_equal(F.max_pool2d(x, (3,), [2], (1,), (1,)), expected)
    assert_equal(F.avg_pool2d(x, (3,), (2,), (1,)), F.avg_pool2d(x, 3, 2, 1))
    for stride in ((), [], None):
        assert_equal(F.max_pool2d(x, 3, stride), F.max_pool2d(x, 3, 3))


@pytest.mark.parametrize("pool", [F.adaptive_avg_pool2d, F.adaptive_max_pool2d])
@pytest.mark.parametrize("size", [(None, 7), (3, None), (None, None), [None, 2], (None,), (2,)])
def test_adaptive_sizes_of_none_are_the_inputs(pool, size, rng):
    x = rng.standard_normal((2, 3, 9, 8))
    both = tuple(size) * (2 // len(size))
    whole = tuple(n if s is None else s for s, n in zip(both, x.shape[2:], strict=True))
    assert_equal(pool(x, size), pool(x, whole))


@pytest.mark.parametrize("pool", [F.adaptive_avg_pool2d, F.adaptive_max_pool2d])
@pytest.mark.parametrize("size", [None, (), (1, 2, 3), "2", (2, "2"), 0, (None, 0)])
def test_what_is_no_output_size_is_refused(pool, size):
    with pytest.raises((ValueError, TypeError), match="output_size"):
        pool(np.ones((1, 2, 4, 4)), size)
