"""Memory: results on cache lines, ordinary otherwise; what is kept, and scratch, bounded."""

import copy
import ctypes
import math
import os
import pickle
import re
import subprocess
import sys
import threading
from itertools import pairwise

import numpy as np
import pytest
from support.arrays import LAYOUTS
from support.memory import MAX_SCRATCH, block

import fastconv
import fastconv.functional as F
from fastconv import _buffers, reference
from fastconv._drivers import memory, runtime
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
    images = LAYOUTS[layout](x)
    for _ in range(4):  # NumPy's own memory is aligned so by chance, one time in four
        result = CALLS[op](images)
        assert result.nbytes >= 4096
        assert address(result) % 64 == 0
        assert result.flags.writeable
        assert result.flags.aligned
        assert result.flags.c_contiguous or result.transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("shape", [(), (0,), (5,), (4096,), (0, 3, 40, 50), (2, 3, 40, 50)])
def test_empty_returns_an_ordinary_array(shape, dtype):
    array = _buffers.empty(shape, np.dtype(dtype))
    plain = np.empty(shape, dtype)
    assert type(array) is np.ndarray
    assert (array.shape, array.dtype, array.strides) == (plain.shape, plain.dtype, plain.strides)
    array[...] = 7
    assert (array == 7).all()


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 30, 40, 50), (0, 3, 4, 5), (2, 1, 40, 50)])
def test_empty_like_format_keeps_channels_last_strides(shape):
    n, c, h, w = shape
    like = np.empty((2, 9, 9, 3)).transpose(0, 3, 1, 2)
    expected = np.empty((n, h, w, c)).transpose(0, 3, 1, 2)
    assert empty_like_format(like, shape).strides == expected.strides
    if n and c > 1:
        assert empty_like(expected).strides == expected.strides


def test_array_too_large_for_memory_is_refused():
    with pytest.raises((MemoryError, ValueError)):
        _buffers.empty((1 << 40, 1 << 40), np.dtype(np.float64))


@pytest.mark.parametrize("nbytes", [-1, 1 << 58, 1 << 62, sys.maxsize - 64, sys.maxsize])
def test_memory_error_names_the_size(nbytes):
    with pytest.raises(MemoryError, match=re.escape(f"cannot allocate {nbytes} bytes")):
        memory.Memory(nbytes)


def test_results_can_be_copied_and_pickled():
    result = F.relu(x)
    pickled = pickle.loads(pickle.dumps(result))  # noqa: S301
    for same in (copy.copy(result), copy.deepcopy(result), pickled):
        np.testing.assert_array_equal(same, result)
        assert not np.shares_memory(same, result)
        assert same.flags.writeable
    assert memoryview(result).shape == result.shape


# ---------------------------------------------------------------- memory that is used again


@pytest.fixture
def nothing_kept():
    """Nothing is kept when the test begins, and the limit is put back."""
    before = fastconv.get_memory_cache()
    fastconv.set_memory_cache(0)
    fastconv.set_memory_cache(before)
    yield
    fastconv.set_memory_cache(before)


from_nothing = pytest.mark.usefixtures("nothing_kept")


@from_nothing
@pytest.mark.parametrize("size", [1 << 10, 1 << 16, 3 << 20])
def test_memory_of_a_released_result_is_reused(size):
    images = np.ones(size, np.float32)
    first = F.relu(images)
    where = address(first)
    del first
    second = F.relu(images)
    assert address(second) == where
    assert address(F.relu(images)) != where


@from_nothing
def test_views_keep_memory_alive():
    result = F.relu(x)
    view = result[1:, :, ::2].T
    where, expected = address(result), view.copy()
    del result
    assert memory.kept_bytes() == 0
    others = [F.relu(x - 1) for _ in range(3)]
    assert where not in map(address, others)
    np.testing.assert_array_equal(view, expected)
    del view
    assert memory.kept_bytes() > 0
    assert address(F.relu(x)) == where


@from_nothing
@pytest.mark.parametrize("limit", [0, 100_000, 1 << 20, 1 << 28])
def test_live_blocks_never_overlap(limit, rng):
    """Many arrays live at once, released in any order; each holds what was written into it."""
    fastconv.set_memory_cache(limit)
    live = []
    for i in range(3000):
        if live and rng.random() < 0.5:
            array, value = live.pop(rng.integers(len(live)))
            assert (array == value).all()
        else:
            array = block(int(rng.choice([1, 4096, 4097, 5000, 20_000, 70_000])))
            array[:] = i % 256
            live.append((array, i % 256))
        assert 0 <= memory.kept_bytes() <= limit
    assert all((array == value).all() for array, value in live)
    spans = sorted((address(array), array.nbytes) for array, _ in live)
    assert all(at + size <= after for (at, size), (after, _) in pairwise(spans))


@from_nothing
@pytest.mark.parametrize("log2", [12, 13, 19, 22, 25])
def test_sizes_at_the_boundaries_of_size_classes(log2):
    for quarters in (4, 5, 6, 7):
        edge = (quarters << log2) >> 2
        for nbytes in (edge - 1, edge, edge + 1):
            array = block(nbytes)
            array[-65:] = 7  # its end is its own
            assert array.nbytes == nbytes
            assert address(array) % 64 == 0
            del array
            assert nbytes <= memory.kept_bytes() <= max(4096, nbytes * 5 // 4 + 1)
            fastconv.set_memory_cache(0)
            fastconv.set_memory_cache(1 << 28)


@from_nothing
def test_power_of_two_sizes_waste_no_memory():
    block(1 << 22)
    assert memory.kept_bytes() == 1 << 22


@from_nothing
def test_cache_of_zero_bytes_keeps_no_memory():
    blocks = [block(nbytes) for nbytes in (4096, 100_000, 5 << 20) for _ in range(3)]
    blocks.clear()
    assert memory.kept_bytes() > 15 << 20
    fastconv.set_memory_cache(0)
    assert memory.kept_bytes() == 0
    F.relu(x)
    assert memory.kept_bytes() == 0


@from_nothing
def test_lowering_the_limit_frees_memory_at_once():
    blocks = [block(1 << 20) for _ in range(8)]
    blocks.clear()
    assert memory.kept_bytes() == 8 << 20
    fastconv.set_memory_cache(5 << 20)
    assert memory.kept_bytes() == 5 << 20


@from_nothing
def test_unused_sizes_are_evicted():
    fastconv.set_memory_cache(4 << 20)
    old = [block(1 << 20) for _ in range(4)]
    old.clear()
    for _ in range(20):
        new = block(3 << 20)
        where = address(new)
        del new
    assert address(block(3 << 20)) == where
    assert memory.kept_bytes() <= 4 << 20


@from_nothing
def test_block_larger_than_the_limit_evicts_nothing():
    fastconv.set_memory_cache(1 << 20)
    block(1 << 20)
    block((1 << 20) + 1)
    assert memory.kept_bytes() == 1 << 20


@from_nothing
def test_threads_allocate_and_release_concurrently():
    """Each finds what it wrote, while another changes the limit; in the end it all adds up."""
    wrong, done = [], threading.Event()

    def work(seed):
        own = np.random.default_rng(seed)
        live = []
        for i in range(1500):
            if len(live) > 8 or (live and own.random() < 0.5):
                array, value = live.pop(own.integers(len(live)))
                if not (array == value).all():
                    wrong.append((seed, i))
            array = block(int(own.choice([4096, 5000, 40_000])))
            value = (seed * 31 + i) % 256
            array[:] = value
            live.append((array, value))
            F.relu(images)

    images = np.ones(5000, np.float32)
    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]

    def change():
        while not done.is_set():
            for limit in (1 << 20, 0, 1 << 16):
                fastconv.set_memory_cache(limit)

    changer = threading.Thread(target=change)
    for thread in (*workers, changer):
        thread.start()
    for thread in workers:
        thread.join()
    done.set()
    changer.join()
    assert not wrong
    fastconv.set_memory_cache(0)
    assert memory.kept_bytes() == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_forked_child_has_its_own_memory():
    code = """
import os, sys, numpy as np, fastconv.functional as F
x = np.ones(1 << 18, np.float32)
F.relu(x)  # kept, by both
result = F.relu(-x)
child = os.fork()
mine = F.relu(x * (3 if child else 2))
if child:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
ok = (mine == (3 if child else 2)).all() and (result == 0).all()
os._exit(0 if ok else 1)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(("value", "expected"), [("0", 0), ("1000000", 10**6)])
def test_environment_sets_the_memory_cache(value, expected):
    code = f"import fastconv; assert fastconv.get_memory_cache() == {expected}"
    environment = os.environ | {"FASTCONV_MEMORY_CACHE": value}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)


@pytest.mark.parametrize(
    ("machine", "group", "expected"),
    [(2**30, math.inf, 2**27), (2**40, math.inf, 2**30), (2**40, 2**28, 2**25)],
)
def test_default_memory_cache_is_a_share_of_the_memory(monkeypatch, machine, group, expected):
    monkeypatch.delenv("FASTCONV_MEMORY_CACHE", raising=False)
    sizes = {"SC_PHYS_PAGES": machine // 4096, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__, raising=False)
    monkeypatch.setattr(fastconv.runtime, "memory_quota", lambda: group)
    assert fastconv.runtime._default_memory_cache() == expected


@pytest.mark.parametrize(
    ("nbytes", "error"),
    [
        *((n, ValueError) for n in (-1, sys.maxsize + 1, -(2**70))),
        *((n, TypeError) for n in (True, 1.5, "2", None)),
    ],
)
def test_invalid_memory_cache_sizes_are_refused(nbytes, error):
    before = fastconv.get_memory_cache()
    with pytest.raises(error, match=re.escape(f"got {nbytes!r}")):
        fastconv.set_memory_cache(nbytes)
    assert fastconv.get_memory_cache() == before


@from_nothing
def test_show_config_shows_kept_memory(capsys):
    fastconv.set_memory_cache(64 << 20)
    block(5 << 20)
    fastconv.show_config()
    assert re.search(r"memory cache +5\.0 of 64\.0 MB$", capsys.readouterr().out, re.MULTILINE)


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


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", EXTREMES)
def test_scratch_of_convolutions_is_bounded(name, dtype, layout):
    input_shape, weight_shape, *options = EXTREMES[name]
    images = LAYOUTS[layout](np.zeros(input_shape, dtype))
    filters = np.zeros(weight_shape, dtype)
    runtime.largest_scratch()
    y = F.conv2d(images, filters, None, *options)
    forward = runtime.largest_scratch()
    F.conv2d_backward_input(y, filters, input_shape, *options)
    backward_input = runtime.largest_scratch()
    F.conv2d_backward_weight(y, images, weight_shape, *options)
    backward_weight = runtime.largest_scratch()
    assert max(forward, backward_input, backward_weight) > 0
    assert forward <= MAX_SCRATCH
    assert backward_input <= MAX_SCRATCH
    assert backward_weight <= MAX_SCRATCH


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("shape", [(1, 100000, 3, 3), (1, 2, 900, 900), (1, 2, 3, 40000)])
def test_scratch_of_other_ops_is_bounded(shape, layout):
    images = LAYOUTS[layout](np.zeros(shape))
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
    assert 0 < runtime.largest_scratch() <= MAX_SCRATCH


def test_pointwise_convolution_in_blocks_of_channels_is_exact(rng):
    images = rng.integers(-2, 3, (2, 20000, 1, 40)).astype(np.float32)
    filters = rng.integers(-2, 3, (17, 20000, 1, 1)).astype(np.float32)
    bias = rng.integers(-9, 10, 17).astype(np.float32)
    expected = reference.conv2d(images, filters, bias, activation="relu")
    np.testing.assert_array_equal(F.conv2d(images, filters, bias, activation="relu"), expected)


# ---- what tests of memory stand on


def test_fail_after_fails_an_allocation_and_used_bytes_counts_blocks():
    before = memory.used_bytes()
    held = memory.Memory(10_000)
    assert memory.used_bytes() >= before + 10_000
    memory.fail_after(2)
    memory.Memory(100)
    with pytest.raises(MemoryError, match="cannot allocate 5000 bytes"):
        memory.Memory(5000)
    memory.Memory(5000)  # one fails, no more
    assert memory.fail_after(0) == 0
    memory.fail_after(3)
    assert memory.fail_after(0) == 3
    del held
    assert memory.used_bytes() == before


@pytest.mark.skipif(
    not hasattr(ctypes.pythonapi, "__asan_address_is_poisoned"), reason="no AddressSanitizer here"
)
def test_address_sanitizer_knows_the_end_of_a_block():
    poisoned = ctypes.pythonapi["__asan_address_is_poisoned"]
    poisoned.argtypes = (ctypes.c_void_p,)
    block = memory.Memory(5001)
    start = np.frombuffer(block, np.uint8).ctypes.data
    assert [bool(poisoned(start + i)) for i in (-1, 0, 5000, 5001)] == [True, False, False, True]
    del block
    assert poisoned(start)
    assert poisoned(start + 5000)
