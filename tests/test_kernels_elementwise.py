"""Elementwise, softmax and batch-norm kernels of every instruction set: accuracy and edges."""

import math
from fractions import Fraction

import numpy as np
import pytest

import fastconv
import fastconv.functional as F
from fastconv import _ops, reference
from fastconv._drivers import runtime
from fastconv.testing import gradcheck

DTYPES = [np.float32, np.float64]


@pytest.fixture(params=runtime.available_isas(), autouse=True)
def isa(request):
    before = runtime.build_info()["isa"]
    runtime.select_isa(request.param)
    yield request.param
    runtime.select_isa(before)


def channels_last(a):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)


# ------------------------------------------------------------------------------- activations


def logistic(x):
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def normal_cdf(x):
    """Φ; in its tail, made good for the rounding of erfc's argument, multiplied there by x²."""
    z = -x * math.sqrt(0.5)
    excess = Fraction(z) ** 2 - Fraction(x) ** 2 / 2 if x < 0 else 0
    return math.erfc(z) / 2 * (1 + float(excess))


def gelu_logit(x):
    return math.sqrt(8 / math.pi) * (x + 0.044715 * x**3)


def normal_pdf(x):
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def x_logistic_slope(u, v):
    return logistic(u) * (1 + v * logistic(-u))


# name: (forward, its error in ulp, derivative from what backward is given)
EXACT = {
    "sigmoid": (logistic, 4, lambda y: y * (1 - y)),
    "tanh": (math.tanh, 6, lambda y: 1 - y * y),
    "silu": (lambda x: x * logistic(x), 4, lambda x: x_logistic_slope(x, x)),
    "gelu": (
        lambda x: x * normal_cdf(x),
        8,
        lambda x: normal_cdf(x) + x * normal_pdf(x),
    ),
}


def points(dtype, reach, rng):
    """All over [-reach, reach], more of them near 0, and down to the smallest normal numbers."""
    tiny = np.finfo(dtype).tiny
    x = np.concatenate(
        [
            rng.uniform(-reach, reach, 1500),
            rng.uniform(-3, 3, 1500),
            rng.standard_normal(500) * np.exp(rng.uniform(math.log(tiny) / 2, 0, 500)),
            [0.0, tiny, -tiny, 1e-20, -1e-20],
        ]
    )
    return x.astype(dtype)


def ulps(actual, exact):
    info = np.finfo(actual.dtype)
    spacing = np.spacing(np.maximum(np.abs(exact), info.tiny).astype(info.dtype))
    return np.abs(actual.astype(float) - exact) / spacing


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", EXACT)
def test_every_digit_in_the_middle_and_in_the_tails(name, dtype, rng):
    """Errors in ulp: relative to the result, however small it is."""
    exact, bound, _ = EXACT[name]
    reach = {"gelu": {4: 13, 8: 37}, "tanh": {4: 20, 8: 30}}.get(name, {4: 87, 8: 700})
    x = points(dtype, reach[np.dtype(dtype).itemsize], rng)
    error = ulps(getattr(F, name)(x), np.array([exact(float(v)) for v in x]))
    worst = int(error.argmax())
    assert error[worst] <= bound, f"{error[worst]} ulp at {x[worst]!r}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [*EXACT, "gelu_tanh"])
def test_gradients_and_the_approximation_within_a_few_eps(name, dtype, rng):
    """They cross zero, so relative to 1/4 where they are smaller than that."""
    options = {}
    x = points(dtype, 12, rng)
    if name == "gelu_tanh":
        name, options = "gelu", {"approximate": "tanh"}
        exact = [v * logistic(gelu_logit(v)) for v in x.astype(float)]
        y = F.gelu(x, **options)
        assert np.all(
            np.abs(y - exact) <= 4 * np.finfo(dtype).eps * np.maximum(np.abs(exact), 0.25)
        )

        def slope(v):
            return x_logistic_slope(gelu_logit(v), v * gelu_logit_slope(v))
    else:
        slope = EXACT[name][2]
    if name in ("sigmoid", "tanh"):
        x = getattr(F, name)(x)
    g = np.ones_like(x)
    exact = np.array([slope(float(v)) for v in x])
    error = np.abs(getattr(F, f"{name}_backward")(g, x, **options) - exact)
    assert np.all(error <= 6 * np.finfo(dtype).eps * np.maximum(np.abs(exact), 0.25))


def gelu_logit_slope(x):
    return math.sqrt(8 / math.pi) * (1 + 3 * 0.044715 * x * x)


# at        nan,     inf,    -inf, largest, -largest, smallest, -smallest: "x" stands for the input
LIMITS = {
    "relu": ["nan", "x", 0, "x", 0, "x", 0],
    "leaky_relu": ["nan", "x", "x", "x", "x/100", "x", 0],
    "sigmoid": ["nan", 1, 0, 1, 0, 0.5, 0.5],
    "tanh": ["nan", 1, -1, 1, -1, "x", "x"],
    "silu": ["nan", "x", 0, "x", 0, "x/2", "x/2"],
    "gelu": ["nan", "x", 0, "x", 0, "x/2", "x/2"],
}
SLOPES = {  # of those that are given the input; relu hands g through at NaN, the others NaN
    "relu": [1, 1, 0, 1, 0, 1, 0],
    "leaky_relu": [0.01, 1, 0.01, 1, 0.01, 1, 0.01],
    "silu": ["nan", 1, 0, 1, 0, 0.5, 0.5],
    "gelu": ["nan", 1, 0, 1, 0, 0.5, 0.5],
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize("name", LIMITS)
def test_limits(name, approximate, dtype):
    options = {"approximate": approximate} if name == "gelu" else {}
    info = np.finfo(dtype)
    least = info.smallest_subnormal
    x = np.array([np.nan, np.inf, -np.inf, info.max, -info.max, least, -least], dtype)
    with np.errstate(all="ignore"):
        scaled = {"x": x, "x/2": x * dtype(0.5), "x/100": x * dtype(0.01)}

    def resolve(table):
        return [scaled[v][i] if v in scaled else float(v) for i, v in enumerate(table)]

    y = getattr(F, name)(x, **options).astype(float)
    # half of the smallest number is 0 or itself
    np.testing.assert_allclose(y, resolve(LIMITS[name]), rtol=1e-6, atol=float(least))
    if name in SLOPES:
        slope = getattr(F, f"{name}_backward")(np.ones_like(x), x, **options)
        np.testing.assert_allclose(slope, resolve(SLOPES[name]), rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_results_stay_in_range(dtype, rng):
    x = np.concatenate([points(dtype, 25, rng), np.linspace(7, 20, 4000, dtype=dtype)])
    assert np.abs(F.tanh(x)).max() == 1
    assert F.sigmoid(x).max() <= 1
    assert F.sigmoid(-x).min() >= 0


OPS = [_ops.RELU, _ops.LEAKY_RELU, _ops.SIGMOID, _ops.TANH, _ops.SILU, _ops.GELU, _ops.GELU_TANH]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", OPS)
def test_position_does_not_matter_and_nothing_else_is_touched(op, dtype, rng):
    """Runs of every length, unaligned to vectors: the same bits, and no write past an end."""
    x, g = (rng.standard_normal(80).astype(dtype) for _ in range(2))
    y, dx = np.empty_like(x), np.empty_like(x)
    _ops.activation(op, x, y, 0.25)
    _ops.activation_backward(op, g, x, dx, 0.25)
    for start in (0, 1, 7):
        for n in range(70):
            part = slice(start, start + n)
            out = np.full(80, -7, dtype)
            _ops.activation(op, x[part], out[part], 0.25)
            np.testing.assert_array_equal(out[part], y[part])
            assert np.all(np.delete(out, np.s_[part]) == -7)
            _ops.activation_backward(op, g[part], x[part], out[part], 0.25)
            np.testing.assert_array_equal(out[part], dx[part])
            assert np.all(np.delete(out, np.s_[part]) == -7)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", OPS)
def test_the_same_bits_in_both_memory_formats(op, dtype, rng):
    x = rng.standard_normal((2, 5, 7, 9)).astype(dtype)
    outs = []
    for change in (np.ascontiguousarray, channels_last):
        out = np.empty_like(change(x))
        _ops.activation(op, change(x), out, 0.25)
        outs.append(np.ascontiguousarray(out))
    np.testing.assert_array_equal(*outs)


# ----------------------------------------------------------------------------------- softmax


def exact_softmax(x, axis):
    e = np.exp(x.astype(np.longdouble) - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [1, 2, 3, 7, 8, 15, 16, 17, 33, 64, 100, 1000])
def test_softmax_of_any_count(classes, dtype, rng):
    """Classes contiguous and apart, every remainder of a vector; log-softmax and both gradients."""
    eps = np.finfo(dtype).eps
    x = (4 * rng.standard_normal((3, classes, 37))).astype(dtype)
    g = rng.standard_normal(x.shape).astype(dtype)
    exact = exact_softmax(x, 1)
    dot = (g * exact).sum(1, keepdims=True)
    spread = float(np.ptp(x))
    for change in (np.ascontiguousarray, channels_last):
        y, log_y = F.softmax(change(x), 1), F.log_softmax(change(x), 1)
        # the difference from the maximum is rounded before exp
        np.testing.assert_allclose(y, exact.astype(float), rtol=(spread + 12) * eps, atol=0)
        np.testing.assert_allclose(log_y, np.log(exact).astype(float), atol=(spread + 8) * eps)
        dx = F.softmax_backward(change(g), y, 1)
        np.testing.assert_allclose(dx, (exact * (g - dot)).astype(float), atol=40 * eps)
        dx = F.log_softmax_backward(change(g), log_y, 1)
        total = g.sum(1, keepdims=True, dtype=float)
        np.testing.assert_allclose(
            dx, (g - exact * total).astype(float), atol=(spread + 8) * (abs(total).max() + 1) * eps
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("change", [np.ascontiguousarray, channels_last])
def test_softmax_touches_nothing_else(change, dtype, rng):
    for classes in range(1, 40):
        x = rng.standard_normal((2, classes, 5)).astype(dtype)
        room = np.full(x.size + 64, -7, dtype)
        like = change(x)
        out = np.lib.stride_tricks.as_strided(room[32:], like.shape, like.strides)
        for log in (False, True):
            _ops.softmax(like, out, 1, log)
            _ops.softmax_backward(like, like, out, 1, log)
        assert np.all(room[:32] == -7)
        assert np.all(room[32 + x.size :] == -7)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("change", [np.ascontiguousarray, channels_last])
@pytest.mark.parametrize("classes", [5, 40])
def test_softmax_at_the_extremes(classes, change, dtype):
    big = np.finfo(dtype).max
    x = np.zeros((6, classes, 3), dtype)
    x[1] = big  # the same everywhere
    x[2, 0] = -np.inf  # masked
    x[3, 1] = np.inf
    x[4, 2] = np.nan
    x[5] = -np.inf
    with np.errstate(all="ignore"):
        y, log_y = F.softmax(change(x), 1), F.log_softmax(change(x), 1)
    one = 1 / classes
    for i in (0, 1):
        np.testing.assert_allclose(y[i], one, rtol=1e-6)
        np.testing.assert_allclose(log_y[i], -math.log(classes), rtol=1e-6)
    assert np.all(y[2, 0] == 0)
    assert np.all(log_y[2, 0] == -np.inf)
    np.testing.assert_allclose(y[2, 1:], 1 / (classes - 1), rtol=1e-6)
    assert np.isnan(y[3:]).all()
    assert np.isnan(log_y[3:]).all()


# -------------------------------------------------------------------------------- batch norm

# planes and lines below, at and above the sizes at which sums are cut
SHAPES = [
    pytest.param((2, 3, 80, 80), id="planes-of-several-chunks"),
    pytest.param((3, 2, 64, 64), id="a-plane-is-a-chunk"),
    pytest.param((1, 1, 300, 300), id="one-channel"),
    pytest.param((171, 2, 5, 5), id="planes-share-a-chunk"),
    pytest.param((5, 7, 1, 3), id="tiny-planes"),
    pytest.param((3000, 33), id="lines-of-many-segments"),
    pytest.param((67, 130), id="lines-of-several-channel-blocks"),
    pytest.param((65, 3), id="a-chunk-and-one-line"),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("change", [np.ascontiguousarray, channels_last])
def test_batch_norm_of_any_size(change, shape, dtype, rng):
    """The mean is 300 times the deviation, and the first element of a channel far off."""
    x = (rng.standard_normal(shape) + 300).astype(dtype)
    x[0, :, ...].reshape(shape[1], -1)[:, 0] = 2000
    g = rng.standard_normal(shape).astype(dtype)
    weight, bias = rng.standard_normal((2, shape[1])).astype(dtype)
    eps = float(np.finfo(dtype).eps)
    axes, column = (0, *range(2, x.ndim)), (-1, *[1] * (x.ndim - 2))
    wide = x.astype(np.longdouble)
    mean, var, n = wide.mean(axes), wide.var(axes), x.size // shape[1]
    running = np.zeros(shape[1], dtype), np.zeros(shape[1], dtype)
    y, m, invstd = F.batch_norm(
        change(x), *running, weight, bias, True, 1.0, 0.0, return_statistics=True
    )
    rounding = 2 * eps if dtype == np.float32 else 16 * eps  # chunks are joined in float64
    np.testing.assert_allclose(m, mean, rtol=rounding)
    np.testing.assert_allclose(running[0], mean, rtol=rounding)
    np.testing.assert_allclose(running[1], var * n / (n - 1), rtol=60 * eps)
    np.testing.assert_allclose(invstd, 1 / np.sqrt(var), rtol=30 * eps)
    u = (wide - mean.reshape(column)) / np.sqrt(var).reshape(column)
    np.testing.assert_allclose(
        y, u * weight.reshape(column) + bias.reshape(column), atol=200 * eps * np.abs(u).max()
    )
    # from statistics that are exact, so that only this pass is judged
    m, invstd = mean.astype(dtype), (1 / np.sqrt(var)).astype(dtype)
    v = (wide - m.astype(float).reshape(column)) * invstd.astype(float).reshape(column)
    dx, dw, db = F.batch_norm_backward(change(g), change(x), weight, m, invstd)
    size = math.sqrt(n) * eps
    np.testing.assert_allclose(db, g.astype(float).sum(axes), atol=8 * size)
    np.testing.assert_allclose(dw, (g * v).sum(axes), atol=8 * size * (1 + np.abs(v).max()))
    mean_g, mean_gv = g.mean(axes, dtype=float), (g * v).mean(axes)
    exact = g - mean_g.reshape(column) - v * mean_gv.reshape(column)
    exact *= (weight * invstd).astype(float).reshape(column)
    np.testing.assert_allclose(dx, exact, atol=20 * eps * np.abs(exact).max())


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_mean_swallows_no_digit_of_the_variance(dtype, rng):
    """One pass of x and x² would leave nothing: the mean is 1e4 (or 1e12) deviations."""
    scale = {4: 1e4, 8: 1e12}[np.dtype(dtype).itemsize]
    x = (rng.standard_normal((6, 4, 40, 50)) + scale).astype(dtype)
    for change in (np.ascontiguousarray, channels_last):
        _, _, invstd = F.batch_norm(change(x), None, None, None, None, True, return_statistics=True)
        shifted = (x - x.flat[0]).astype(float)  # exact: they are close together
        exact = 1 / np.sqrt(shifted.var((0, 2, 3)) + 1e-5)
        np.testing.assert_allclose(invstd, exact, rtol=30 * np.finfo(dtype).eps)


@pytest.mark.parametrize("shape", [(4, 3, 33, 31), (129, 3)])
@pytest.mark.parametrize("change", [np.ascontiguousarray, channels_last])
def test_constant_channels_have_no_variance(shape, change):
    x = np.empty(shape, np.float32)
    for value in (0.1, -1e30, 3e38):
        x[:] = value
        y, mean, invstd = F.batch_norm(
            change(x), None, None, training=True, eps=1.0, return_statistics=True
        )
        np.testing.assert_array_equal(mean, np.float32(value))
        np.testing.assert_array_equal(invstd, 1)
        np.testing.assert_array_equal(y, 0)


# ----------------------------------------------------------------------- threads, gradients


def results(x, g, weight, bias):
    """Every op of this file, forward and backward."""
    for name in ("relu", "leaky_relu", "gelu", "silu"):
        yield getattr(F, name)(x)
        yield getattr(F, f"{name}_backward")(g, x)
    for name, options in (
        ("sigmoid", {}),
        ("tanh", {}),
        ("softmax", {"axis": 1}),
        ("log_softmax", {"axis": 1}),
        ("softmax", {"axis": -1}),
    ):
        y = getattr(F, name)(x, **options)
        yield y
        yield getattr(F, f"{name}_backward")(g, y, **options)
    y, mean, invstd = F.batch_norm(x, None, None, weight, bias, True, return_statistics=True)
    yield from (y, mean, invstd)
    yield from F.batch_norm_backward(g, x, weight, mean, invstd)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("change", [np.ascontiguousarray, channels_last])
@pytest.mark.parametrize("shape", [(3, 5, 150, 47), (37, 40, 9, 11)])
def test_the_same_bits_for_any_number_of_threads(shape, change, dtype, rng):
    x, g = (change(rng.standard_normal(shape).astype(dtype)) for _ in range(2))
    weight, bias = rng.standard_normal((2, shape[1])).astype(dtype)
    with fastconv.threads(1):
        expected = [a.tobytes() for a in results(x, g, weight, bias)]
    for n in (2, 3, 4, 7):
        with fastconv.threads(n):
            for a, e in zip(results(x, g, weight, bias), expected, strict=True):
                assert a.tobytes() == e


@pytest.mark.parametrize("change", [np.ascontiguousarray, channels_last])
def test_gradients_are_the_derivatives(change, rng):
    x = rng.standard_normal((2, 3, 5, 4))
    x[np.abs(x) < 0.05] = 0.5  # no kink within the step
    for name, wants_output, options in (
        ("relu", False, {}),
        ("leaky_relu", False, {"negative_slope": 0.2}),
        ("sigmoid", True, {}),
        ("tanh", True, {}),
        ("silu", False, {}),
        ("gelu", False, {}),
        ("gelu", False, {"approximate": "tanh"}),
        ("softmax", True, {"axis": 1}),
        ("log_softmax", True, {"axis": 1}),
        ("softmax", True, {"axis": 3}),
    ):
        forward, backward = getattr(F, name), getattr(F, f"{name}_backward")

        def run(x, forward=forward, options=options):
            return forward(change(x), **options)

        def grad(g, x, run=run, backward=backward, wants=wants_output, options=options):
            return backward(change(g), run(x) if wants else change(x), **options)

        gradcheck(run, grad, x)


# ------------------------------------------------------------------------------ losses


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("classes", [1, 3, 21, 70])
def test_cross_entropy_by_rows_blocks_and_turned(classes, layout, dtype, rng):
    x = (3 * rng.standard_normal((2, classes, 5, 31))).astype(dtype)
    target = rng.integers(0, classes, (2, 5, 31))
    target[0, 1, 3:9] = -7
    weight = rng.random(classes).astype(dtype)
    weight[0] = 0
    x[0, :, 1, 4] = np.nan  # ignored
    x[1, :, 2, :4], target[1, 2, :4] = -np.inf, 0  # of no weight
    x[1, :, 3, :], target[1, 3, :] = 2, classes - 1
    if classes > 1:
        x[1, 0, 3, :] = -np.inf
    given = channels_last(x) if layout == "channels_last" else x
    tolerance = 64 * np.finfo(dtype).eps
    for w in (None, weight):
        for reduction in ("none", "sum"):
            if w is None:
                target[1, 2, :4] = -7
            options = (target, w, -7, reduction)
            with np.errstate(invalid="ignore"):
                losses = reference.cross_entropy(x, *options)
                g = rng.standard_normal(losses.shape).astype(dtype)
                grad = reference.cross_entropy_backward(g, x, *options)
            counts = (target != -7) & (w is None or target > 0)
            np.testing.assert_allclose(
                F.cross_entropy(given, *options), losses, rtol=tolerance, atol=tolerance
            )
            np.testing.assert_allclose(
                F.cross_entropy_backward(g, given, *options),
                np.where(counts[:, None], grad, 0),
                rtol=tolerance,
                atol=tolerance,
            )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 15, 17, 255, 257, 40_000])
def test_losses_of_single_elements(size, dtype, rng):
    x, t = rng.standard_normal((2, size)).astype(dtype) * 4
    np.testing.assert_allclose(
        F.mse_loss(x, t, "sum"), ((x.astype(float) - t) ** 2).sum(), rtol=8 * np.finfo(dtype).eps
    )
    np.testing.assert_array_equal(F.mse_loss(x, t, "none"), (x - t) * (x - t))
    np.testing.assert_array_equal(F.mse_loss_backward(0.5, x, t, "sum"), x - t)
    t = rng.random(size).astype(dtype)
    each = F.binary_cross_entropy_with_logits(x, t, reduction="none")
    logits = x.astype(float)
    exact = t * np.logaddexp(0, -logits) + (1 - t.astype(float)) * np.logaddexp(0, logits)
    np.testing.assert_allclose(each, exact, rtol=16 * np.finfo(dtype).eps)
    total = F.binary_cross_entropy_with_logits(x, t, reduction="sum")
    np.testing.assert_allclose(total, exact.sum(), rtol=16 * np.finfo(dtype).eps)
    grad = F.binary_cross_entropy_with_logits_backward(1.0, x, t, reduction="sum")
    slope = reference.sigmoid(logits) - t
    np.testing.assert_allclose(grad, slope, rtol=0, atol=4 * np.finfo(dtype).eps)


# ------------------------------------------------------------------------------ the op layer


def test_operands_that_do_not_fit_are_refused():
    x, y = np.ones((4, 6)), np.empty((4, 6))
    with pytest.raises(ValueError, match="gaps"):
        _ops.activation(_ops.RELU, x[:, ::2], y[:, ::2])
    with pytest.raises(ValueError, match="gaps"):
        _ops.activation(_ops.RELU, x, np.lib.stride_tricks.as_strided(y, (4, 6), (0, 8)))
    with pytest.raises(ValueError, match="shape"):
        _ops.activation(_ops.RELU, x[:3], y)
    with pytest.raises(ValueError, match="shape"):
        _ops.activation(_ops.RELU, x.ravel(), y)
    with pytest.raises(TypeError, match="dtype"):
        _ops.activation(_ops.RELU, x.astype(np.float32), y)
    with pytest.raises(TypeError, match="float32 or float64"):
        _ops.activation(_ops.RELU, x.astype(">f8"), y)
    with pytest.raises(ValueError, match="99"):
        _ops.activation(99, x, y)
    with pytest.raises((ValueError, BufferError)):
        _ops.activation(_ops.RELU, x, np.broadcast_to(y, (4, 6)))
    with pytest.raises(ValueError, match="axis 2"):
        _ops.softmax(x, y, 2)
    with pytest.raises(ValueError, match="every channel"):
        _ops.batch_norm(x, y, np.empty(5), np.empty(6), None, None, None, None, True, 0.1, 0.0)
    with pytest.raises(ValueError, match="more than one"):
        _ops.batch_norm(
            x[:1], y[:1], np.empty(6), np.empty(6), None, None, None, None, True, 0.1, 0.0
        )


def test_any_strides_at_the_cost_of_a_copy(rng):
    base = rng.standard_normal((5, 4, 6))
    repeated = np.broadcast_to(base[0], (3, 4, 6))
    for x in (base.T, base[::-1], base[:, ::2], base[:, :, None], repeated):
        np.testing.assert_array_equal(F.silu(x), F.silu(np.ascontiguousarray(x)))
        y = F.softmax(x, 1)
        np.testing.assert_allclose(y, F.softmax(np.ascontiguousarray(x), 1), rtol=1e-14)


# ------------------------------------------------------------------------------- sums, optimisers


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 16, 37])
def test_add(size, dtype, rng):
    a, b = (rng.standard_normal(size).astype(dtype) for _ in range(2))
    a[0] = np.nan
    for relu in (False, True):
        out = np.empty_like(a)
        _ops.add(a, b, out, relu=relu)
        expected = reference.relu(a + b) if relu else a + b
        np.testing.assert_array_equal(out, expected, strict=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("nesterov", [0.0, 0.5])
def test_sgd_without_rounding(nesterov, dtype, rng):
    p, g, v = (rng.integers(-8, 9, 37).astype(dtype) for _ in range(3))
    step = g + 2 * p
    velocity = 0.5 * v + 0.25 * step
    expected = p - 0.125 * (step + nesterov * velocity if nesterov else velocity)
    numbers = {"lr": 0.125, "weight_decay": 2, "momentum": 0.5, "one_minus_dampening": 0.25}
    _ops.sgd(p, g, v, **numbers, nesterov=nesterov)
    np.testing.assert_array_equal(v, velocity, strict=True)
    np.testing.assert_array_equal(p, expected, strict=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_adam(dtype, rng):
    p, g, m, v = (rng.standard_normal(37).astype(dtype) for _ in range(4))
    v = np.square(v)
    numbers = {"decay_factor": 0.9, "weight_decay": 0.2, "beta1": 0.8, "beta2": 0.95}
    x = p.astype(np.float64) * 0.9
    d = g + 0.2 * x
    mean, square = 0.8 * m + 0.2 * d, 0.95 * v + 0.05 * d * d
    x -= 0.1 * mean / (np.sqrt(square) / 0.3 + 1e-3)
    _ops.adam(p, g, m, v, **numbers, step_size=0.1, bias_correction2_sqrt=0.3, eps=1e-3)
    tolerance = 8 * np.finfo(dtype).eps
    for actual, expected in ((m, mean), (v, square), (p, x)):
        np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def test_arrays_of_two_layouts_are_not_updated(rng):
    p, g, v = np.ones((4, 5)), np.ones((4, 5)), np.asfortranarray(np.ones((4, 5)))
    with pytest.raises(ValueError, match="one layout"):
        _ops.sgd(p, g, v, lr=1, weight_decay=0, momentum=0, one_minus_dampening=1, nesterov=0)
    np.testing.assert_array_equal(p, np.ones((4, 5)))
