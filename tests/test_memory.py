"""Memory: results aligned to cache lines, ordinary in everything else; scratch bounded."""

import numpy as np
import pytest

import fastconv.functional as F
from fastconv import _ops, reference
from fastconv._drivers import runtime
from fastconv.functional._check import empty_like, empty_like_format

IMAGES = (3, 20, 30, 31)
_rng = np.random.default_rng(0)
x = _rng.standard_normal(IMAGES)
weight, matrix = _rng.standard_normal((20, 20, 1, 1)), _rng.standard_normal((60, 31))
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


# ---------------------------------------------------------------- scratch

# input, weight, stride, padding, dilation, groups: sizes at which some piece of a driver is large
EXTREMES = {
    "first layer": ((2, 3, 224, 224), (64, 3, 3, 3), 1, 1, 1, 1),
    "first layer, many filters": ((1, 3, 60, 300), (1000, 3, 3, 3), 1, 1, 1, 1),
    "first layer, very many filters": ((1, 2, 2, 60), (40000, 2, 3, 3), 1, 1, 1, 1),
    "first layer, wide": ((1, 3, 4, 20000), (64, 3, 3, 3), 1, 1, 1, 1),
    "one channel, wide": ((1, 1, 4, 90000), (32, 1, 3, 3), 1, 1, 1, 1),
    "one channel, tall": ((1, 1, 90000, 4), (32, 1, 3, 3), 1, 1, 1, 1),
    "few filters, wide": ((1, 3, 5, 40000), (6, 3, 5, 5), 1, 2, 1, 1),
    "many filters": ((1, 64, 5, 900), (2000, 64, 1, 1), 1, 0, 1, 1),
    "filters outweigh images": ((1, 512, 7, 7), (2048, 512, 3, 3), 1, 1, 1, 1),
    "many channels": ((1, 4096, 7, 7), (64, 4096, 3, 3), 1, 1, 1, 1),
    "very many channels": ((1, 40000, 3, 3), (2, 40000, 3, 3), 1, 1, 1, 1),
    "very many channels, gathered": ((1, 30000, 4, 4), (40, 30000, 2, 2), 1, 0, 2, 1),
    "very many channels, strided": ((1, 40000, 3, 3), (40, 40000, 1, 1), 2, 0, 1, 1),
    "very many channels, 1x1": ((1, 100000, 1, 40), (20, 100000, 1, 1), 1, 0, 1, 1),
    "long dilation": ((1, 512, 40, 40), (64, 512, 3, 3), 1, 0, 12, 1),
    "long stride": ((1, 512, 60, 60), (64, 512, 3, 3), 16, 0, 1, 1),
    "many taps": ((1, 3, 100, 100), (16, 3, 60, 60), 1, 0, 1, 1),
    "groups": ((1, 64, 5, 9000), (64, 16, 3, 3), 1, 1, 1, 4),
    "depthwise, wide": ((1, 2, 9, 90000), (2, 1, 3, 3), 1, 1, 1, 2),
    "depthwise, tall": ((1, 2, 90000, 9), (2, 1, 3, 3), 1, 1, 1, 2),
    "depthwise, large": ((1, 4, 1500, 1500), (4, 1, 3, 3), 1, 1, 1, 4),
    "depthwise, channels": ((1, 40000, 5, 5), (40000, 1, 3, 3), 1, 1, 1, 40000),
}
MOST_SCRATCH = 4 << 20


def laid_out(array, layout):
    if layout == "channels_last":
        return np.ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    return array


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", EXTREMES)
def test_scratch_of_convolutions_is_bounded(name, dtype, layout):
    input_shape, weight_shape, *options = EXTREMES[name]
    images = laid_out(np.zeros(input_shape, dtype), layout)
    filters = np.zeros(weight_shape, dtype)
    runtime.largest_scratch()
    y = F.conv2d(images, filters, None, *options)
    forward = runtime.largest_scratch()
    F.conv2d_backward_input(y, filters, input_shape, *options)
    backward_input = runtime.largest_scratch()
    F.conv2d_backward_weight(y, images, weight_shape, *options)
    backward_weight = runtime.largest_scratch()
    assert max(forward, backward_input, backward_weight) > 0
    assert forward <= MOST_SCRATCH
    assert backward_input <= MOST_SCRATCH
    assert backward_weight <= MOST_SCRATCH


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("shape", [(1, 100000, 3, 3), (1, 2, 900, 900), (1, 2, 3, 40000)])
def test_scratch_of_other_ops_is_bounded(shape, layout):
    images = laid_out(np.zeros(shape), layout)
    runtime.largest_scratch()
    y, indices = F.max_pool2d(images, 3, return_indices=True)
    F.max_pool2d_backward(y, indices, shape)
    F.avg_pool2d_backward(F.avg_pool2d(images, 3), shape, 3)
    F.global_avg_pool2d(images)
    channels = np.ones(shape[1])
    F.batch_norm(images, channels, channels, channels, channels, training=True)
    F.softmax_backward(images, F.softmax(images, 1), 1)
    F.softmax(images, -1)
    matrix = np.zeros((3, 200000))
    F.linear_backward(F.linear(matrix, np.zeros((20, 200000))), matrix, np.zeros((20, 200000)))
    assert 0 < runtime.largest_scratch() <= MOST_SCRATCH


def test_blocks_of_channels_of_a_pointwise_convolution(rng):
    images = rng.integers(-2, 3, (2, 20000, 1, 40)).astype(np.float32)
    filters = rng.integers(-2, 3, (17, 20000, 1, 1)).astype(np.float32)
    bias = rng.integers(-9, 10, 17).astype(np.float32)
    expected = reference.conv2d(images, filters, bias, activation="relu")
    np.testing.assert_array_equal(F.conv2d(images, filters, bias, activation="relu"), expected)
