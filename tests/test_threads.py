"""Python threads: results are those of one thread alone, with the GIL and without it."""

import os
import sys
import sysconfig

import numpy as np
import pytest
from support import every_op
from support.child import output
from support.threads import THREADS, at_once

import fastconv
import fastconv.functional as F
from fastconv import _geometry

WITHOUT_GIL = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


def test_every_public_function_is_called_by_these_tests():
    assert set(every_op.calls()) == set(F.__all__)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_concurrent_calls_have_the_bits_of_single_ones(dtype):
    calls = every_op.calls(dtype)
    expected = {name: every_op.digest(call()) for name, call in calls.items()}

    def all_of_them(i):
        order = list(calls)
        order = order[3 * i :] + order[: 3 * i]  # others next to others
        return {name: every_op.digest(calls[name]()) for name in order}

    with fastconv.threads(3):
        for found in at_once(all_of_them):
            assert found == expected


def test_geometry_cache_is_safe_for_threads():
    rounds = 200 if WITHOUT_GIL else 3
    clearing = {1, 5}

    def ask(i):
        if i in clearing:  # more than are kept: they are cleared away
            for size in range(rounds * 1100):
                _geometry.convolution((1, 1, size % 1100 + 5, i + 5), (1, 1, 3, 3))
            clearing.discard(i)
        while clearing:  # while others look one up, and keep none of those that they found
            for _ in range(1000):
                assert _geometry.convolution((1, 1, 9, 6), (1, 1, 3, 3)).output_shape == (
                    1,
                    1,
                    7,
                    4,
                )

    at_once(ask, 8)


def test_threads_can_share_packed_filters_from_their_first_use():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 16, 12, 12), np.float32)
    w = rng.standard_normal((16, 16, 3, 3), np.float32)
    expected = F.conv2d(x, w, algorithm="winograd").tobytes()
    for _ in range(50):  # all of them are first to need the points
        packed = F.pack_conv2d_weight(w)
        found = at_once(lambda _, p=packed: F.conv2d(x, p, algorithm="winograd").tobytes())
        assert found == [expected] * THREADS


def test_settings_may_change_while_threads_compute():
    calls = every_op.calls()
    names = ("conv2d", "max_pool2d", "linear", "batch_norm")
    before = fastconv.get_accuracy(), fastconv.get_memory_cache()

    def change_or_compute(i):
        for n in range(30):
            if i == 0:
                fastconv.set_accuracy(("fast", "strict")[n % 2])
                fastconv.set_memory_cache((0, 1 << 28)[n % 2])
            else:
                assert every_op.digest(calls[names[n % 4]]()) == expected[names[n % 4]]

    expected = {name: every_op.digest(calls[name]()) for name in names}
    try:
        at_once(change_or_compute)
    finally:
        fastconv.set_accuracy(before[0])
        fastconv.set_memory_cache(before[1])


@pytest.mark.skipif(not WITHOUT_GIL, reason="this Python has the GIL")
def test_import_does_not_enable_the_gil():
    code = """
import sys, warnings
warnings.simplefilter("error")
import fastconv, fastconv.data, fastconv.functional, fastconv.io, fastconv.nn, fastconv.optim
print(sys._is_gil_enabled())
"""
    if os.environ.get("PYTHON_GIL") == "1":
        pytest.skip("PYTHON_GIL=1")
    assert output(code) == "False"
    assert not sys._is_gil_enabled()


def test_daemon_threads_may_compute_while_python_exits():
    code = """
import threading, time, numpy as np, fastconv.functional as F
x, w = np.ones((4, 64, 60, 60), np.float32), np.ones((64, 64, 3, 3), np.float32)
def forever():
    while True:
        F.conv2d(x, w)
for _ in range(3):
    threading.Thread(target=forever, daemon=True).start()
F.conv2d(x, w)
time.sleep(0.1)
"""
    for _ in range(5):
        output(code, FASTCONV_NUM_THREADS="2")
