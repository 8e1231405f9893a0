"""Winograd's algorithm in numbers: its errors, and inputs that are large, tiny or not finite."""

from itertools import product

import numpy as np
import pytest

import fastconv.functional as F
from fastconv import reference

SPREAD = 4  # outputs of the largest tile, in one dimension


def forward(x, w, **options):
    return F.conv2d(x, w, padding=1, **options)


def backward_input(grad, w, **options):
    """grad is (N, K, H, W), w is (K, C, 3, 3)."""
    shape = (len(grad), w.shape[1], *grad.shape[2:])
    return F.conv2d_backward_input(grad, w, shape, padding=1, **options)


def backward_weight(grad, x, **options):
    shape = (grad.shape[1], x.shape[1], 3, 3)
    return F.conv2d_backward_weight(grad, x, shape, padding=1, **options)


def winograd(f, *operands):
    return f(*operands, algorithm="winograd")


def exact(f, *operands):
    """The same in float64, by a direct method, whose errors are nothing beside float32's."""
    return f(*(a.astype(np.float64) for a in operands), algorithm="direct")


def normal(rng, shape, dtype=np.float32):
    return rng.standard_normal(shape).astype(dtype)


def rms(a):
    return np.sqrt(np.mean(np.square(a, dtype=np.float64)))


# ------------------------------------------------------------------------------ errors

CHANNELS = (16, 32, 64, 128, 256, 512, 1024)
DRAWS = {"normal": lambda x: x, "relu": lambda x: np.maximum(x, 0)}
SIZE = 28  # zeros of padding cost a direct sum no rounding, so small maps compare differently


def padded(x):
    return np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))


def sequential(x, w):
    """A correlation in x's precision, each output's products added up one by one."""
    n, c, h, wide = x.shape
    total = np.zeros((n, len(w), h, wide), x.dtype)
    x = padded(x)
    for k, i, j in product(range(c), range(3), range(3)):
        total += x[:, k, None, i : i + h, j : j + wide] * w[:, k, i, j][:, None, None]
    return total


def sequential_backward_weight(grad, x):
    total = np.zeros((grad.shape[1], x.shape[1], 3, 3), x.dtype)
    windows = np.lib.stride_tricks.sliding_window_view(padded(x), (3, 3), (2, 3))
    for n, p, q in product(*map(range, (len(x), *x.shape[2:]))):
        total += grad[n, :, p, q][:, None, None, None] * windows[n, :, p, q]
    return total


def ratio(actual, sequential, expected):
    """How many times the error of adding up the products one by one the error is."""
    assert rms(sequential - expected) < 1e-4 * rms(expected)  # it computes the same thing
    return rms(actual - expected) / rms(sequential - expected)


accuracies = [pytest.mark.parametrize("draw", DRAWS), pytest.mark.parametrize("channels", CHANNELS)]


def for_every_accuracy(test):
    for mark in accuracies:
        test = mark(test)
    return test


def operands(rng, channels, draw):
    """An input (1, channels, 28, 28), and filters of all its channels, fewer where it has more."""
    x = DRAWS[draw](normal(rng, (1, channels, SIZE, SIZE)))
    return x, normal(rng, (max(4, 2048 // channels), channels, 3, 3))


@for_every_accuracy
def test_forward_error_is_within_its_bound(channels, draw, rng):
    x, w = operands(rng, channels, draw)
    assert ratio(winograd(forward, x, w), sequential(x, w), exact(forward, x, w)) < 2.5


@for_every_accuracy
def test_input_gradient_error_is_within_its_bound(channels, draw, rng):
    grad, flipped = operands(rng, channels, draw)  # the filters of the equivalent correlation
    w = np.ascontiguousarray(flipped.swapaxes(0, 1)[:, :, ::-1, ::-1])
    actual, expected = winograd(backward_input, grad, w), exact(backward_input, grad, w)
    assert ratio(actual, sequential(grad, flipped), expected) < 2.5


@for_every_accuracy
def test_weight_gradient_error_is_within_its_bound(channels, draw, rng):
    x, w = operands(rng, channels, draw)
    grad = normal(rng, (len(x), len(w), SIZE, SIZE))
    actual, expected = winograd(backward_weight, grad, x), exact(backward_weight, grad, x)
    assert ratio(actual, sequential_backward_weight(grad, x), expected) < 2.5


# ---------------------------------------------------------------- errors, other numbers of axes

# taps, the input's sizes, dilation: lines, their segments, and taps of the depth over planes
KERNELS = {
    "line": ((3,), (400,), 1),
    "dilated line": ((3,), (400,), 4),
    "line of five": ((5,), (400,), 1),
    "volume": ((3, 3, 3), (6, 14, 14), 1),
    "line in a volume": ((3, 1, 1), (8, 7, 7), 1),
}


def sequential_of(x, w, dilation):
    """A correlation of any number of axes without padding, each product added up by itself."""
    taps = w.shape[2:]
    sizes = [n - (k - 1) * dilation for n, k in zip(x.shape[2:], taps, strict=True)]
    total = np.zeros((len(x), len(w), *sizes), x.dtype)
    for c, at in product(range(x.shape[1]), np.ndindex(*taps)):
        window = tuple(
            slice(i * dilation, i * dilation + n) for i, n in zip(at, sizes, strict=True)
        )
        factors = w[:, c, *at].reshape(-1, *[1] * len(taps))
        total += x[:, c, None, *window] * factors
    return total


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("channels", [16, 32, 64, 256])
@pytest.mark.parametrize("kernel", KERNELS)
def test_errors_of_other_kernels_are_within_their_bound(kernel, channels, draw, rng):
    """Forward, which the input gradient is too, and the weight gradient."""
    taps, sizes, dilation = KERNELS[kernel]
    x = DRAWS[draw](normal(rng, (1, channels, *sizes)))
    w = normal(rng, (8, channels, *taps))
    name = f"conv{len(taps)}d"
    convolve, of_weight = getattr(F, name), getattr(F, name + "_backward_weight")
    by_one = sequential_of(x, w, dilation)
    expected = convolve(x.astype(float), w.astype(float), dilation=dilation, algorithm="direct")
    actual = convolve(x, w, dilation=dilation, algorithm="winograd")
    assert ratio(actual, by_one, expected) < 2.5
    # the weight gradient is a correlation whose taps are the output's gradient
    grad = normal(rng, by_one.shape)
    total = np.zeros(w.shape, x.dtype)
    for at in np.ndindex(*by_one.shape[2:]):
        window = tuple(
            slice(i, i + (k - 1) * dilation + 1, dilation) for i, k in zip(at, taps, strict=True)
        )
        factors = grad[0][:, *at].reshape(-1, *[1] * (len(taps) + 1))
        total += factors * x[0][:, *window]
    expected = of_weight(
        grad.astype(float), x.astype(float), w.shape, dilation=dilation, algorithm="direct"
    )
    actual = of_weight(grad, x, w.shape, dilation=dilation, algorithm="winograd")
    assert ratio(actual, total, expected) < 2.5


PASSES = {  # a pass, and the shapes of its operands; sizes that tiles do not divide
    "forward": (forward, (2, 24, 13, 11), (40, 24, 3, 3)),
    "input gradient": (backward_input, (2, 24, 13, 11), (24, 40, 3, 3)),
    "weight gradient": (backward_weight, (2, 40, 13, 11), (2, 24, 13, 11)),
}
every_pass = pytest.mark.parametrize("name", PASSES)


def drawn(name, rng, dtype=np.float32):
    f, *shapes = PASSES[name]
    return f, *(normal(rng, shape, dtype) for shape in shapes)


@every_pass
def test_double_precision_error_is_within_its_bound(name, rng):
    f, *arrays = drawn(name, rng, np.float64)
    names = {
        forward: lambda x, w: reference.conv2d(x, w, padding=1),
        backward_input: lambda g, w: reference.conv2d_backward_input(
            g, w, (len(g), w.shape[1], *g.shape[2:]), padding=1
        ),
        backward_weight: lambda g, x: reference.conv2d_backward_weight(
            g, x, (g.shape[1], x.shape[1], 3, 3), padding=1
        ),
    }
    expected = names[f](*arrays)
    assert rms(winograd(f, *arrays) - expected) < 3e-15 * rms(expected)


# ------------------------------------------------------------------------------- range


@every_pass
@pytest.mark.parametrize(
    ("dtype", "exponent"),
    [(np.float32, 100), (np.float32, -100), (np.float64, 1000), (np.float64, -950)],
)
def test_scaling_by_powers_of_two_is_exact(name, dtype, exponent, rng):
    f, a, b = drawn(name, rng, dtype)
    factor = dtype(2.0**exponent)  # 1e30 and 1e-30, for float32
    for scaled in ((a * factor, b), (a, b * factor)):
        np.testing.assert_array_equal(winograd(f, *scaled), winograd(f, a, b) * factor)


@every_pass
def test_subnormal_numbers_are_not_flushed(name, rng):
    f, a, b = drawn(name, rng)
    a *= np.float32(2.0**-135)  # 1e-41: some fourteen bits are left
    expected = exact(f, a, b)
    assert rms(winograd(f, a, b) - expected) < 1e-3 * rms(expected)


# What docs/winograd.md says that numbers grow by, times the channels or tiles that are added up.
GROWTH = {"forward": 564 * 24, "input gradient": 564 * 24, "weight gradient": 1600 * 2 * 4 * 3}


@every_pass
def test_inputs_below_the_bound_do_not_overflow(name, rng):
    f, a, b = drawn(name, rng)
    a, b = np.sign(a), np.sign(b)  # as far as the bound goes in size, and any signs
    a *= np.finfo(np.float32).max / np.float32(1.01 * GROWTH[name])
    expected = exact(f, a, b)
    assert rms(winograd(f, a, b) - expected) < 1e-5 * rms(expected)


@every_pass
@pytest.mark.parametrize("size", [1e35, 1e36, 1e37])
def test_overflow_gives_infinity_or_nan_never_wrong_numbers(name, size, rng):
    f, a, b = drawn(name, rng)
    a *= np.float32(size)
    with np.errstate(over="ignore", invalid="ignore"):
        actual = winograd(f, a, b)
    expected = exact(f, a, b)
    finite = np.isfinite(actual)
    assert (abs(actual - expected)[finite] < 1e-5 * rms(expected)).all()


# -------------------------------------------------------------------- NaN and infinity


def reached(size, at):
    """Outputs that pixel `at` of a dimension belongs to; outputs its tiles may spread it to."""
    needed = np.zeros(size, bool)
    needed[max(at - 1, 0) : at + 2] = True
    allowed = np.zeros(size, bool)
    for first in range(0, size, SPREAD):
        place = at + 1 - first  # in the tile's input, which begins one pixel of padding before it
        if place == 0:
            allowed[first] = True
        elif place == SPREAD + 1:
            allowed[first + SPREAD - 1 : first + SPREAD] = True
        elif 0 < place <= SPREAD:
            allowed[first : first + SPREAD] = True
    return needed, allowed


not_finite = pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
PIXELS = [(0, 0), (12, 10), (3, 4), (4, 3), (5, 6), (8, 7), (11, 0)]


def assert_spreads(actual, clean, needed, allowed):
    assert not np.isfinite(actual[needed]).any()
    np.testing.assert_array_equal(actual[~allowed], clean[~allowed])


@not_finite
@pytest.mark.parametrize("pixel", PIXELS)
@pytest.mark.parametrize("name", ["forward", "input gradient"])
def test_non_finite_pixel_affects_only_its_tiles(name, pixel, value, rng):
    f, x, w = drawn(name, rng)
    clean = winograd(f, x, w)
    x[1, 7, *pixel] = value
    with np.errstate(invalid="ignore"):
        actual = winograd(f, x, w)
    rows, columns = (reached(n, at) for n, at in zip(x.shape[2:], pixel, strict=True))
    needed, allowed = (np.zeros(actual.shape, bool) for _ in range(2))
    for mask, row, column in zip((needed, allowed), rows, columns, strict=True):
        mask[1, :, row[:, None] & column] = True
    assert_spreads(actual, clean, needed, allowed)


@not_finite
@pytest.mark.parametrize("name", ["forward", "input gradient"])
def test_non_finite_weight_affects_only_its_channel(name, value, rng):
    f, x, w = drawn(name, rng)
    clean = winograd(f, x, w)
    w[5, 3, 1, 1] = value
    with np.errstate(invalid="ignore"):
        actual = winograd(f, x, w)
    channel = np.zeros(actual.shape, bool)
    channel[:, 5 if name == "forward" else 3] = True
    assert_spreads(actual, clean, channel, channel)


@not_finite
@pytest.mark.parametrize("pixel", PIXELS)
@pytest.mark.parametrize("operand", ["grad_output", "input"])
def test_non_finite_pixel_affects_only_its_taps_and_tiles_of_the_weight_gradient(
    operand, pixel, value, rng
):
    f, grad, x = drawn("weight gradient", rng)
    clean = winograd(f, grad, x)
    taps = np.ones((3, 3), bool)  # those that join the pixel with one that is not padding
    for axis, (at, size) in enumerate(zip(pixel, x.shape[2:], strict=True)):
        other = at + 1 - np.arange(3) if operand == "input" else at - 1 + np.arange(3)
        inside = (other >= 0) & (other < size)
        taps &= inside[:, None] if axis == 0 else inside
    if operand == "input":
        x[1, 7, *pixel] = value
    else:
        grad[1, 7, *pixel] = value
    with np.errstate(invalid="ignore"):
        actual = winograd(f, grad, x)
    needed, allowed = (np.zeros(actual.shape, bool) for _ in range(2))
    pairs = np.s_[:, 7] if operand == "input" else np.s_[7]
    needed[pairs] = taps
    allowed[pairs] = True
    assert_spreads(actual, clean, needed, allowed)


# ---------------------------------------------------------------- outputs past the cache


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("filters", [150, 160])
def test_large_batch_has_the_bits_of_its_single_images(filters, dtype, channels_last, rng):
    x, w = normal(rng, (4, 16, 120, 122), dtype), normal(rng, (filters, 16, 3, 3), dtype)
    if channels_last:
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    batch = winograd(forward, x, w)
    assert batch.nbytes > 32 << 20
    for i in range(len(x)):
        np.testing.assert_array_equal(batch[i : i + 1], winograd(forward, x[i : i + 1], w))
