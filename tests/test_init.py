"""Initial weights: torch's bounds, the right spread, and seeds."""

import math

import numpy as np
import pytest

from fastconv import init

SHAPE = (64, 32, 3, 3)
FAN_IN, FAN_OUT = 32 * 9, 64 * 9

UNIFORM = {
    "kaiming": (lambda **k: init.kaiming_uniform(SHAPE, **k), math.sqrt(6 / FAN_IN)),
    "kaiming a": (
        lambda **k: init.kaiming_uniform(SHAPE, a=0.5, **k),
        math.sqrt(6 / (1.25 * FAN_IN)),
    ),
    "kaiming fan_out": (
        lambda **k: init.kaiming_uniform(SHAPE, mode="fan_out", **k),
        math.sqrt(6 / FAN_OUT),
    ),
    "kaiming tanh": (
        lambda **k: init.kaiming_uniform(SHAPE, nonlinearity="tanh", **k),
        5 / 3 * math.sqrt(3 / FAN_IN),
    ),
    "xavier": (lambda **k: init.xavier_uniform(SHAPE, **k), math.sqrt(6 / (FAN_IN + FAN_OUT))),
    "xavier gain": (
        lambda **k: init.xavier_uniform(SHAPE, gain=2.0, **k),
        2 * math.sqrt(6 / (FAN_IN + FAN_OUT)),
    ),
    "default weight": (lambda **k: init.default_weight(SHAPE, **k), 1 / math.sqrt(FAN_IN)),
    "default bias": (lambda **k: init.default_bias((9000, 4, 1, 2), **k), 1 / math.sqrt(8)),
}
NORMAL = {
    "kaiming": (lambda **k: init.kaiming_normal(SHAPE, **k), math.sqrt(2 / FAN_IN)),
    "kaiming linear fan_out": (
        lambda **k: init.kaiming_normal(SHAPE, mode="fan_out", nonlinearity="linear", **k),
        math.sqrt(1 / FAN_OUT),
    ),
    "xavier": (lambda **k: init.xavier_normal(SHAPE, **k), math.sqrt(2 / (FAN_IN + FAN_OUT))),
}
EVERY = [*UNIFORM.values(), *NORMAL.values()]


@pytest.mark.parametrize("name", UNIFORM)
def test_uniform_weights_fill_their_bounds(name):
    draw, bound = UNIFORM[name]
    w = draw(rng=0, dtype=np.float64)
    n = w.size
    assert abs(w).max() <= bound
    assert abs(w).max() > bound * (1 - 20 / n)  # the largest of n draws falls short by ~ 1 / n
    # 5 standard deviations of the mean, and of the mean square, of n draws
    assert abs(w.mean()) < 5 * bound / math.sqrt(3 * n)
    assert abs((w**2).mean() / (bound**2 / 3) - 1) < 5 * math.sqrt(4 / 5 / n)


@pytest.mark.parametrize("name", NORMAL)
def test_normal_weights_have_their_standard_deviation(name):
    draw, std = NORMAL[name]
    w = draw(rng=0, dtype=np.float64)
    n = w.size
    assert abs(w.mean()) < 5 * std / math.sqrt(n)
    assert abs((w**2).mean() / std**2 - 1) < 5 * math.sqrt(2 / n)
    assert 3.5 < abs(w).max() / std < 6  # unbounded, as the largest of 18,432 normal draws is


@pytest.mark.parametrize(("draw", "_"), EVERY)
def test_seed_decides_the_weights(draw, _):
    w = draw(rng=7)
    assert w.dtype == np.float32
    np.testing.assert_array_equal(draw(rng=7), w)
    np.testing.assert_array_equal(draw(rng=np.random.default_rng(7)), w)
    np.testing.assert_array_equal(draw(rng=7, dtype=np.float64).astype(np.float32), w)
    assert not np.array_equal(draw(rng=8), w)
    assert not np.array_equal(draw(), draw())  # fresh entropy
    rng = np.random.default_rng(7)
    assert not np.array_equal(draw(rng=rng), draw(rng=rng))  # a generator moves on


def test_fan_in_and_fan_out_follow_the_shape():
    assert init.calculate_fan_in_and_fan_out((10, 20)) == (20, 10)
    assert init.calculate_fan_in_and_fan_out((8, 3, 5, 2)) == (30, 80)
    assert init.calculate_fan_in_and_fan_out((8, 3, 2, 2, 2)) == (24, 64)


def test_gains_follow_their_formulas():
    assert init.calculate_gain("linear") == init.calculate_gain("sigmoid") == 1
    assert init.calculate_gain("tanh") == 5 / 3
    assert init.calculate_gain("relu") == math.sqrt(2)
    assert init.calculate_gain("leaky_relu") == math.sqrt(2 / (1 + 1e-4))
    assert init.calculate_gain("leaky_relu", 1) == 1
    assert init.calculate_gain("selu") == 0.75


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: init.calculate_fan_in_and_fan_out((5,)), r"shape.*two or more.*\(5,\)"),
        (lambda: init.xavier_normal((5, 0)), r"shape.*\(5, 0\)"),
        (lambda: init.kaiming_uniform((5, 5), mode="fan"), r"mode.*'fan'"),
        (lambda: init.kaiming_normal((5, 5), nonlinearity="gelu"), r"nonlinearity.*'gelu'"),
        (lambda: init.kaiming_normal((5, 5), dtype=np.float16), r"dtype.*float16"),
        (lambda: init.default_bias((5, 5), dtype=int), r"dtype.*int64"),
    ],
)
def test_invalid_arguments_are_refused(call, text):
    with pytest.raises(ValueError, match=text):
        call()


@pytest.mark.peer("torch")
def test_gains_and_fans_agree_with_torch():
    import torch

    theirs = torch.nn.init
    for name in ("linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"):
        assert init.calculate_gain(name) == pytest.approx(theirs.calculate_gain(name), rel=1e-15)
    assert init.calculate_gain("leaky_relu", 0.3) == theirs.calculate_gain("leaky_relu", 0.3)
    for shape in ((4, 7), (4, 7, 3, 5)):
        fans = theirs._calculate_fan_in_and_fan_out(torch.empty(shape))
        assert init.calculate_fan_in_and_fan_out(shape) == fans
