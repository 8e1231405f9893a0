"""The memory of results: aligned to cache lines, ordinary in everything else."""

import numpy as np
import pytest

import fastconv.functional as F
from fastconv import _ops
from fastconv.functional._check import empty_like, empty_like_format

IMAGES = (3, 20, 30, 31)
rng = np.random.default_rng(0)
x = rng.standard_normal(IMAGES)
weight, matrix = rng.standard_normal((20, 20, 1, 1)), rng.standard_normal((60, 31))
ones = np.ones(20)

CALLS = {
    "conv2d": lambda x: F.conv2d(x, weight),
    "conv2d_backward_input": lambda x: F.conv2d_backward_input(x, weight, IMAGES),
    "conv2d_backward_weight": lambda x: F.conv2d_backward_weight(
        x[:, :, 3:, 2:], x, (20, 20, 4, 3)
    ),
    "max_pool2d": lambda x: F.max_pool2d(x, 2),
    "avg_pool2d_backward": lambda x: F.avg_pool2d_backward(x, (3, 20, 60, 62), 2),
    "relu": F.relu,
    "relu_backward": lambda x: F.relu_backward(x, x),
    "softmax": lambda x: F.softmax(x, 1),
    "batch_norm": lambda x: F.batch_norm(x, ones, ones),
    "batch_norm_backward": lambda x: F.batch_norm_backward(x, x, ones, ones, ones)[0],
    "linear": lambda x: F.linear(x, matrix),
    "dropout": lambda x: F.dropout(x, 0.5, rng=0),
}


def address(array):
    return array.__array_interface__["data"][0]


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("op", CALLS)
def test_results_start_on_a_cache_line(op, layout):
    images = x
    if layout == "channels_last":
        images = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    for _ in range(4):  # NumPy's own memory is aligned so by chance, one time in four
        result = CALLS[op](images)
        assert result.nbytes >= 4096
        assert address(result) % 64 == 0
        assert result.flags.writeable
        assert result.flags.aligned
        assert result.flags.c_contiguous or result.transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("shape", [(), (0,), (5,), (4096,), (0, 3, 40, 50), (2, 3, 40, 50)])
def test_empty_is_an_ordinary_array(shape, dtype):
    array = _ops.empty(shape, np.dtype(dtype))
    plain = np.empty(shape, dtype)
    assert type(array) is np.ndarray
    assert (array.shape, array.dtype, array.strides) == (plain.shape, plain.dtype, plain.strides)
    array[...] = 7
    assert (array == 7).all()


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 30, 40, 50), (0, 3, 4, 5), (2, 1, 40, 50)])
def test_channels_last_strides(shape):
    n, c, h, w = shape
    like = np.empty((2, 9, 9, 3)).transpose(0, 3, 1, 2)
    expected = np.empty((n, h, w, c)).transpose(0, 3, 1, 2)
    assert empty_like_format(like, shape).strides == expected.strides
    if n and c > 1:
        assert empty_like(expected).strides == expected.strides


def test_memory_too_large_is_refused_as_numpy_does():
    with pytest.raises((MemoryError, ValueError)):
        _ops.empty((1 << 40, 1 << 40), np.dtype(np.float64))
