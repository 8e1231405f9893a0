"""Ctrl-C: a call of hours ends at once, what it had is right to use again, updates stay whole."""

import signal

import pytest
from support.child import output

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "setitimer"), reason="no timer that sends a signal on this system"
)

# Batches that would take hours lie in no memory: all their images are one.
START = """
import os, signal, threading
import numpy as np
import fastconv, fastconv.functional as F
from fastconv import _geometry, _ops
from numpy.lib.stride_tricks import as_strided
rng = np.random.default_rng(0)
def normal(*shape):
    return rng.standard_normal(shape, np.float32)
def many(image, n=10**8):
    "The same image n times."
    return as_strided(image, (n, *image.shape), (0, *image.strides))
def is_right():
    x, w = rng.integers(-4, 5, (4, 32, 30, 30)), rng.integers(-4, 5, (32, 32, 3, 3))
    y = F.conv2d(x.astype(np.float32), w.astype(np.float32), algorithm="direct")
    return y[3, 7, 5, 9] == (x[3, :, 5:8, 9:12] * w[7]).sum()
class Stop(Exception):
    pass
def stop(*_):
    raise Stop
def after(seconds, handler=stop, every=0):
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, seconds, every)
"""

CONVOLUTION = """
x, w = normal({c}, 34, 34), normal({k}, {c} // {groups}, {size}, {size})
shape = _geometry.Convolution((10**8, *x.shape), w.shape, padding={size} // 2, groups={groups})
y = many(normal({k}, 34, 34))
def call():
    {call}
"""
FORWARD = "_ops.conv(many(x), w, None, y, shape, algorithm={algorithm!r})"
INPUT = "_ops.conv_backward_input(y, w, many(x), shape, algorithm={algorithm!r})"
WEIGHT = "_ops.conv_backward_weight(y, many(x), w, shape, algorithm={algorithm!r})"


def convolution(call, c=64, k=64, size=3, groups=1, algorithm="direct"):
    call = call.format(algorithm=algorithm)
    return CONVOLUTION.format(call=call, c=c, k=k, size=size, groups=groups)


CALLS = {
    "direct": convolution(FORWARD),
    "direct_gradient": convolution(INPUT),
    "planes": convolution(FORWARD, size=1),
    "few_filters": convolution(FORWARD, c=3, k=2, size=5),
    "grouped": convolution(FORWARD, groups=64),
    "grouped_gradient": convolution(INPUT, groups=64),
    "winograd": convolution(FORWARD, algorithm="winograd"),
    "winograd_by_panels": convolution(FORWARD, c=512, k=512, algorithm="winograd"),
    "winograd_weight": convolution(WEIGHT, algorithm="winograd"),
    "bias": """
x = normal(8, 34, 34)
def call():
    _ops.conv_backward_bias(many(x), np.empty(8, np.float32))
""",
    "max_pool": """
x, y = normal(8, 34, 34), normal(8, 17, 17)
shape = _geometry.Pooling((10**8, 8, 34, 34), (2, 2), (2, 2))
def call():
    _ops.max_pool(many(x), many(y), None, shape)
""",
    "avg_pool_gradient": """
x, y = normal(8, 34, 34), normal(8, 17, 17)
shape = _geometry.Pooling((10**8, 8, 34, 34), (2, 2), (2, 2))
def call():
    _ops.avg_pool_backward(many(y), many(x), shape)
""",
    # a phase for every input, most of which no output reaches
    "phases": """
shape = _geometry.Convolution((10**8, 1, 900, 900), (1, 1, 899, 899), stride=900)
x, y, w = normal(1, 900, 900), normal(1, 1, 1), normal(1, 1, 899, 899)
def call():
    _ops.conv_backward_input(many(y), w, many(x), shape, algorithm="direct")
""",
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", CALLS)
def test_long_call_ends_when_a_signal_handler_raises(name, threads):
    code = """
for _ in range(3):
    try:
        after(0.1)
        call()
        print("not interrupted")
    except Stop:
        assert is_right()
"""
    assert output(START + CALLS[name] + code, FASTCONV_NUM_THREADS=str(threads)) == ""


# A task of a weight gradient goes through the whole batch: these have many, and take a minute.
WEIGHTS = {
    "weight": ((2048, 2048, 1, 1), 1, 3000),
    "grouped_weight": ((65536, 1, 3, 3), 65536, 10000),
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", WEIGHTS)
def test_interrupted_call_leaves_unfinished_output_unmodified(name, threads):
    shape, groups, batch = WEIGHTS[name]
    code = f"""
w = np.full({shape}, np.nan, np.float32)
image = np.ones((w.shape[0], 10, 10), np.float32)
shape = _geometry.Convolution(
    ({batch}, *image.shape), w.shape, padding=w.shape[2] // 2, groups={groups})
x = many(image, {batch})
try:
    after(0.1)
    _ops.conv_backward_weight(x, x, w, shape, algorithm="direct")
except Stop:
    print(np.isnan(w).any() and is_right())
"""
    assert output(START + code, FASTCONV_NUM_THREADS=str(threads)) == "True"


def test_ctrl_c_raises_keyboard_interrupt():
    code = """
try:
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    call()
except KeyboardInterrupt:
    print(is_right())
"""
    assert output(START + CALLS["direct"] + code) == "True"


def test_call_continues_after_a_handler_that_does_not_raise():
    code = """
seen = []
def handler(*_):
    seen.append(bool(is_right()))  # it may compute itself
    if len(seen) == 4:
        signal.setitimer(signal.ITIMER_REAL, 0)
        stop()
try:
    after(0.1, handler, every=0.1)
    call()
except Stop:
    print(seen)
"""
    assert output(START + CALLS["direct"] + code) == "[True, True, True, True]"


def test_only_the_main_thread_is_interrupted():
    code = """
x, w = normal(8, 64, 60, 60), normal(64, 64, 3, 3)
expected, found, done = F.conv2d(x, w).tobytes(), [], threading.Event()
def compute():
    for _ in range(60):
        found.append(F.conv2d(x, w).tobytes() == expected)
    done.set()
threading.Thread(target=compute).start()
try:
    after(0.05)
    done.wait()
except Stop:
    done.wait()
signal.setitimer(signal.ITIMER_REAL, 0)
print(len(found), all(found))
"""
    assert output(START + code) == "60 True"


def test_the_main_thread_of_a_forked_child_is_the_one_that_forked():
    code = """
def fork():
    if child := os.fork():
        found.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        return
    try:
        after(0.1)
        call()
    except Stop:
        os._exit(7)
    os._exit(1)
found = []
thread = threading.Thread(target=fork)
thread.start()
thread.join()
print(found)
"""
    assert output(START + CALLS["direct"] + code) == "[7]"


# A signal comes while one of many updates of an array of equal numbers goes on.
UPDATES = {
    "sgd": """
data, grad, velocity = (np.ones(1 << 23, np.float32) for _ in range(3))
arrays = [data, velocity]
def update():
    _ops.sgd(data, grad, velocity, lr=1e-3, weight_decay=0, momentum=0.9, one_minus_dampening=1,
              nesterov=0)
""",
    "adam": """
data, grad, mean, square = (np.ones(1 << 23, np.float32) for _ in range(4))
arrays = [data, mean, square]
def update():
    _ops.adam(data, grad, mean, square, decay_factor=1, weight_decay=0, beta1=0.9, beta2=0.99,
              step_size=1e-3,
              bias_correction2_sqrt=1, eps=1e-8)
""",
    "batch_norm": """
x = np.ones((1, 512, 1, 1), np.float32) + np.zeros((64, 512, 28, 28), np.float32)
arrays = [np.zeros(512, np.float32), np.ones(512, np.float32)]
def update():
    F.batch_norm(x, *arrays, training=True, momentum=1e-3)
""",
}


@pytest.mark.parametrize("name", UPDATES)
def test_interrupted_optimizer_steps_are_complete_or_not_begun(name):
    # a step looks for signals only if 50 ms have passed: one in several rounds does
    code = """
for n in range(60):
    try:
        after(0.02 + n / 1e4)
        while True:
            update()
    except Stop:
        assert all((a == a[0]).all() for a in arrays)
"""
    output(START + UPDATES[name] + code)
