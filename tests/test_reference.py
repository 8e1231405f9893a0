"""The reference itself, against definitions written another way: loops, NumPy, math, by hand."""

import inspect
import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.arrays import assert_equal, distinct, integers
from support.geometries import Conv, convolutions, poolings

import fastconv.functional as F
from fastconv import reference
from fastconv.reference.activation import _erfc
from fastconv.reference.geometry import each_axis
from fastconv.testing import assert_close, gradcheck


def test_names_and_signatures_are_those_of_functional():
    ours = {
        name: f
        for name, f in inspect.getmembers(reference, inspect.isfunction)
        if f.__module__.startswith(reference.__name__) and "naive" not in name
    }
    theirs = {
        name: getattr(F, name)
        for name in F.__all__
        if not name.startswith("pack_")  # packing moves numbers and computes nothing
    }
    assert ours.keys() == theirs.keys()
    for name, f in ours.items():
        expected = {
            p.name: (p.kind, p.default)
            for p in inspect.signature(theirs[name]).parameters.values()
            if p.name not in ("algorithm", "out", "channels_last")
        }
        actual = {p.name: (p.kind, p.default) for p in inspect.signature(f).parameters.values()}
        assert actual == expected, name
        assert list(actual) == list(expected), name


# ------------------------------------------------------------------- convolution


@settings(max_examples=60)
@given(case=convolutions(small=True), seed=st.integers(0, 99))
def test_convolution_equals_its_loops(case, seed):
    x, w, b, g = case.operands(np.random.default_rng(seed))
    assert_equal(
        reference.conv2d(x, w, b, *case.options), reference.conv2d_naive(x, w, b, *case.options)
    )
    grads = (
        reference.conv2d_backward_input(g, w, x.shape, *case.options),
        reference.conv2d_backward_weight(g, x, w.shape, *case.options),
        reference.conv2d_backward_bias(g),
    )
    for a, e in zip(grads, reference.conv2d_naive_backward(g, x, w, *case.options), strict=True):
        assert_equal(a, e)


def test_convolution_equals_values_computed_by_hand():
    x = np.array([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]]])
    w = np.array([[[[1.0, 0.0], [0.0, -1.0]]]])
    for conv in (reference.conv2d, reference.conv2d_naive):
        assert_equal(conv(x, w, np.array([10.0])), np.full((1, 1, 2, 2), 6.0))
        assert_equal(conv(x, w, None, 2, ((0, 1), (0, 1))), np.array([[[[-4.0, 3.0], [7.0, 9.0]]]]))


def test_one_row_equals_numpy_correlate(rng):
    x, w = integers(rng, 20), integers(rng, 5)
    assert_equal(
        reference.conv2d(x[None, None, None], w[None, None, None])[0, 0, 0], np.correlate(x, w)
    )
    full = reference.conv2d_backward_input(x[None, None, None], w[None, None, None], (1, 1, 1, 24))
    assert_equal(full[0, 0, 0], np.convolve(x, w))  # the rotated kernel's full correlation


@pytest.mark.parametrize(
    ("padding", "equal"),
    [
        (2, ((2, 2), (2, 2))),
        ((1, 3), ((1, 1), (3, 3))),
        ([1, 3], ((1, 1), (3, 3))),
        ((1, 2, 3, 4), ((1, 2), (3, 4))),
        ("valid", ((0, 0), (0, 0))),
        ("same", ((1, 2), (2, 2))),  # kernel 4 x 3, dilation (1, 2)
    ],
)
def test_padding_equals_zeros_around_the_input(padding, equal, rng):
    x, w = integers(rng, (2, 3, 7, 8)), integers(rng, (4, 3, 4, 3))
    y = reference.conv2d(x, w, padding=padding, dilation=(1, 2))
    padded = np.pad(x, ((0, 0), (0, 0), *equal))
    assert_equal(y, reference.conv2d(padded, w, dilation=(1, 2)))
    if padding == "same":
        assert y.shape[2:] == x.shape[2:]


def test_groups_equal_separate_convolutions(rng):
    x, w = integers(rng, (2, 6, 5, 5)), integers(rng, (4, 3, 2, 2))
    halves = [reference.conv2d(x[:, 3 * i : 3 * i + 3], w[2 * i : 2 * i + 2]) for i in (0, 1)]
    assert_equal(reference.conv2d(x, w, groups=2), np.concatenate(halves, 1))


def test_dilation_is_zeros_between_the_weights_and_stride_skips_outputs(rng):
    x, w = integers(rng, (1, 2, 9, 9)), integers(rng, (3, 2, 3, 3))
    spread = np.zeros((3, 2, 5, 5))
    spread[:, :, ::2, ::2] = w
    assert_equal(reference.conv2d(x, w, dilation=2), reference.conv2d(x, spread))
    assert_equal(reference.conv2d(x, w, stride=3), reference.conv2d(x, w)[:, :, ::3, ::3])


# ----------------------------------------------------------------------- pooling


def windows(shape, options):
    """(the input pixels, in scan order) of each window, by the definition of its geometry."""
    kernel, dilation = options["kernel_size"], options.get("dilation", (1, 1))
    stride = options["stride"] or kernel
    axes = []
    for n, k, s, p, d in zip(
        shape,
        kernel,
        each_axis(stride, 2),
        options["padding"],
        dilation,
        strict=True,
    ):
        extent = n + 2 * p - d * (k - 1) - 1
        steps = math.ceil(extent / s) if options["ceil_mode"] else math.floor(extent / s)
        starts = [i * s - p for i in range(steps + 1) if i * s < n + p]
        axes.append([[start + d * j for j in range(k)] for start in starts])
    return axes


@given(case=poolings(dilated=True), nan=st.booleans(), seed=st.integers(0, 99))
def test_max_pool_equals_its_loops(case, nan, seed):
    shape, options = case
    rng = np.random.default_rng(seed)
    x = integers(rng, shape, limit=2)
    if nan:
        x[rng.random(shape) < 0.1] = np.nan
    y, indices = reference.max_pool2d(x, **options, return_indices=True)
    rows, cols = windows(shape[-2:], options)
    assert y.shape == (*shape[:-2], len(rows), len(cols))
    for plane in np.ndindex(shape[:-2]):
        for (i, row), (j, col) in product(enumerate(rows), enumerate(cols)):
            best, where = -np.inf, -1
            for r, c in product(row, col):
                if 0 <= r < shape[-2] and 0 <= c < shape[-1]:
                    value = x[(*plane, r, c)]
                    if where < 0 or value > best or np.isnan(value):
                        best, where = value, r * shape[-1] + c
            np.testing.assert_equal(y[(*plane, i, j)], best)
            assert indices[(*plane, i, j)] == where
    np.testing.assert_array_equal(reference.max_pool2d(x, **options), y)


@given(
    case=poolings(dilated=False),
    include=st.booleans(),
    override=st.sampled_from([None, 3]),
    seed=st.integers(0, 99),
)
def test_avg_pool_equals_its_loops(case, include, override, seed):
    shape, options = case
    x = integers(np.random.default_rng(seed), shape)
    y = reference.avg_pool2d(x, **options, count_include_pad=include, divisor_override=override)
    rows, cols = windows(shape[-2:], options)
    (ph, pw), (h, w) = options["padding"], shape[-2:]
    assert y.shape == (*shape[:-2], len(rows), len(cols))
    for (i, row), (j, col) in product(enumerate(rows), enumerate(cols)):
        real = [(r, c) for r, c in product(row, col) if 0 <= r < h and 0 <= c < w]
        padded = [(r, c) for r, c in product(row, col) if r < h + ph and c < w + pw]
        divisor = override or len(padded if include else real) or 1
        total = sum((x[..., r, c] for r, c in real), np.zeros(shape[:-2]))
        assert_equal(y[..., i, j], total / divisor)


@given(
    shape=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    size=st.tuples(st.integers(1, 14), st.integers(1, 14)),
    seed=st.integers(0, 99),
)
def test_adaptive_pools_equal_their_loops(shape, size, seed):
    x = integers(np.random.default_rng(seed), (2, *shape), limit=2)
    mean = reference.adaptive_avg_pool2d(x, size)
    top, indices = reference.adaptive_max_pool2d(x, size, return_indices=True)
    for i, j in np.ndindex(size):
        a, b = math.floor(i * shape[0] / size[0]), math.ceil((i + 1) * shape[0] / size[0])
        c, d = math.floor(j * shape[1] / size[1]), math.ceil((j + 1) * shape[1] / size[1])
        window = x[:, a:b, c:d]
        assert_close(mean[:, i, j], window.mean((1, 2)), rtol=1e-15, atol=1e-15)
        assert_equal(top[:, i, j], window.max((1, 2)))
        first = window.reshape(2, -1).argmax(1)
        assert_equal(indices[:, i, j], (a + first // (d - c)) * shape[1] + c + first % (d - c))


@given(case=poolings(dilated=True, axes=3), seed=st.integers(0, 99))
def test_max_pool_of_volumes_is_one_of_planes_and_one_along_the_depth(case, seed):
    shape, options = case
    x = integers(np.random.default_rng(seed), shape, limit=50)
    ceil_mode = options.pop("ceil_mode")

    def over(axes, x):
        """The pooling of (..., axes) along these axes."""
        each = {
            name: value[axes] if isinstance(value, tuple) else value
            for name, value in options.items()
        }
        n = len(each["kernel_size"])
        pooled = getattr(reference, f"max_pool{n}d")(
            x.reshape(-1, *x.shape[-n:]), **each, ceil_mode=ceil_mode
        )
        return pooled.reshape(*x.shape[:-n], *pooled.shape[-n:])

    planes = over(slice(1, 3), x)
    expected = np.moveaxis(over(slice(0, 1), np.moveaxis(planes, -3, -1)), -1, -3)
    assert_equal(reference.max_pool3d(x, **options, ceil_mode=ceil_mode), expected)


def test_means_of_volumes_and_lines_are_sums_of_their_blocks(rng):
    x = integers(rng, (2, 3, 4, 6, 9))
    blocks = x.reshape(2, 3, 2, 2, 2, 3, 3, 3)
    assert_close(reference.avg_pool3d(x, (2, 3, 3)), blocks.mean((3, 5, 7)))
    assert_close(reference.adaptive_avg_pool3d(x, (2, 2, 3)), blocks.mean((3, 5, 7)))
    line = x.reshape(2, 3, -1)
    assert_close(reference.avg_pool1d(line, 4), line.reshape(2, 3, -1, 4).mean(-1))
    assert_close(reference.adaptive_avg_pool1d(line, 54), line.reshape(2, 3, 54, 4).mean(-1))
    top, indices = reference.adaptive_max_pool3d(x, (2, 2, 3), return_indices=True)
    assert_equal(top, blocks.max((3, 5, 7)))
    chosen = np.take_along_axis(line, indices.reshape(2, 3, -1), -1)
    assert_equal(chosen.reshape(top.shape), top)


def test_padding_that_keeps_the_size_over_the_stride():
    """TensorFlow's own example of SAME: 13 elements, windows of 6, stride 5."""
    x = np.arange(1.0, 14.0)[None]
    y = reference.avg_pool1d(x, 6, 5, "same", count_include_pad=False)
    assert_close(y, np.array([[3.0, 7.5, 11.5]]))
    y = reference.avg_pool1d(x, 6, 5, "same_lower", count_include_pad=False)
    assert_close(y, np.array([[2.5, 6.5, 11.0]]))


def test_unpooling_by_hand():
    x, indices = np.array([[5.0, 6.0, 7.0]]), np.array([[3, 0, 3]])
    assert_equal(reference.max_unpool1d(x, indices, 2), np.array([[6.0, 0, 0, 7, 0, 0]]))
    g = np.arange(6.0)[None]
    assert_equal(reference.max_unpool1d_backward(g, indices), np.array([[3.0, 0, 3]]))


def test_p_norms_by_hand():
    x = np.array([[3.0, 4.0, 0.0, 0.0, -2.0]])
    assert_close(reference.lp_pool1d(x, 2, 2), np.array([[5.0, 0.0]]))
    # what overhangs counts as the mean of what is there
    assert_close(reference.lp_pool1d(x, 2, 2, ceil_mode=True), np.array([[5, 0, np.sqrt(8)]]))
    g = reference.lp_pool1d_backward(np.ones((1, 2)), x, 2, 2)
    assert_close(g, np.array([[0.6, 0.8, 0, 0, 0]]))


# ---------------------------------------------------------------- joins and parts


def test_joins_and_parts_by_hand():
    a, b = np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [5.0, 6.0]])
    assert_equal(reference.concatenate([a, b]), np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    assert_equal(reference.concatenate([a.T, b], 1), np.array([[1.0, 3.0, 4.0], [2.0, 5.0, 6.0]]))
    assert_equal(reference.stack([a[0], b[1]]), np.array([[1.0, 2.0], [5.0, 6.0]]))
    assert_equal(reference.stack([a[0], b[1]], -1), np.array([[1.0, 5.0], [2.0, 6.0]]))
    for parts in (reference.split(b, 2, 1), reference.split(b, (1, 1), -1)):
        for part, expected in zip(parts, ([[3.0], [5.0]], [[4.0], [6.0]]), strict=True):
            assert_equal(part, np.array(expected))
    first, second = reference.split(b, [0, 2])
    assert first.shape == (0, 2)
    assert_equal(second, b)
    chosen = np.array([[True], [False]])
    assert_equal(reference.where(chosen, a, b), np.array([[1.0, 2.0], [5.0, 6.0]]))


def test_gradcheck_of_joins(rng):
    def join(*arrays):
        return reference.concatenate(arrays, 1)

    def parts(g, *arrays):
        return tuple(reference.concatenate_backward(g, [array.shape for array in arrays], 1))

    gradcheck(join, parts, *(rng.standard_normal((2, n, 3)) for n in (1, 4, 2)))
    for axis in (0, 1, -1):
        gradcheck(
            lambda *arrays, axis=axis: reference.stack(arrays, axis),
            lambda g, *_, axis=axis: tuple(reference.stack_backward(g, axis)),
            *rng.standard_normal((3, 2, 4)),
        )


@pytest.mark.parametrize(
    "shapes", [((3, 4), (3, 4)), ((), (3, 4)), ((4,), (3, 1)), ((1, 4), (1, 1))], ids=str
)
def test_gradcheck_of_where(shapes, rng):
    chosen = rng.random((3, 4)) > 0.5
    gradcheck(
        lambda a, b: reference.where(chosen, a, b),
        lambda g, a, b: tuple(map(np.asarray, reference.where_backward(g, chosen, *shapes))),
        *(rng.standard_normal(shape) for shape in shapes),
    )


# ------------------------------------------------------------------ the small ops


def test_erfc_equals_that_of_math():
    x = np.concatenate([np.linspace(-6, 26, 2001), np.linspace(-1e-3, 1e-3, 101)])
    assert_close(_erfc(x), np.array([math.erfc(v) for v in x]), rtol=2e-15, atol=0)
    assert_equal(_erfc(np.array([-np.inf, 0, 40, np.inf])), np.array([2.0, 1.0, 0, 0]))
    assert np.isnan(_erfc(np.array(np.nan)))


@pytest.mark.parametrize("x", [-3.0, -0.5, 0.0, 0.5, 3.0])
def test_activations_equal_those_of_math(x):
    array = np.array([x])
    s = 1 / (1 + math.exp(-x))
    for f, expected in (
        (reference.relu, max(x, 0.0)),
        (reference.leaky_relu, x if x > 0 else 0.01 * x),
        (reference.sigmoid, s),
        (reference.tanh, math.tanh(x)),
        (reference.gelu, x * (1 + math.erf(x / math.sqrt(2))) / 2),
        (
            lambda x: reference.gelu(x, "tanh"),
            x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
        ),
        (reference.silu, x * s),
    ):
        assert_close(f(array), np.array([expected]), rtol=1e-14, atol=1e-16)


PAIRS = {
    "relu": {},
    "leaky_relu": {"negative_slope": 0.2},
    "gelu": {},
    "silu": {},
    "softplus": {},
    "sigmoid": {},
    "tanh": {},
    "softmax": {"axis": 1},
    "log_softmax": {"axis": 0},
}


@pytest.mark.parametrize("name", PAIRS)
def test_gradcheck_of_activations(name, rng):
    forward, backward = getattr(reference, name), getattr(reference, f"{name}_backward")
    options = PAIRS[name]

    def back(g, x):
        saw = forward(x, **options) if "output" in inspect.signature(backward).parameters else x
        return backward(g, saw, **options)

    gradcheck(lambda x: forward(x, **options), back, distinct(rng, (3, 5)) / 2)


def test_gradcheck_of_tanh_gelu(rng):
    gradcheck(
        lambda x: reference.gelu(x, "tanh"),
        lambda g, x: reference.gelu_backward(g, x, "tanh"),
        rng.standard_normal(20),
    )


def test_gradcheck_of_convolution(rng):
    case = Conv((2, 4, 6, 5), (6, 2, 2, 3), (2, 1), ((1, 0), (2, 1)), (1, 2), 2)
    x, w, b, _ = case.operands(rng)
    gradcheck(
        lambda x, w, b: reference.conv2d(x, w, b, *case.options),
        lambda g, x, w, b: (
            reference.conv2d_backward_input(g, w, x.shape, *case.options),
            reference.conv2d_backward_weight(g, x, w.shape, *case.options),
            reference.conv2d_backward_bias(g),
        ),
        x,
        w,
        b,
    )


@pytest.mark.parametrize("training", [True, False])
def test_gradcheck_of_batch_norm(training, rng):
    mean, var = rng.standard_normal(3), rng.random(3) + 1

    def forward(x, w, b):
        return reference.batch_norm(x, mean.copy(), var.copy(), w, b, training)

    def backward(g, x, w, b):
        _, m, invstd = reference.batch_norm(
            x, mean.copy(), var.copy(), w, b, training, return_statistics=True
        )
        return reference.batch_norm_backward(g, x, w, m, invstd, training)

    gradcheck(forward, backward, rng.standard_normal((4, 3, 2, 2)), *rng.standard_normal((2, 3)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_is_preserved(dtype, rng):
    x = rng.standard_normal((2, 3, 4, 4)).astype(dtype)
    labels = rng.integers(0, 3, (2, 4, 4))
    vector = np.ones(3, dtype)
    results = [
        reference.conv2d(x, np.ones((3, 3, 2, 2), dtype), vector),
        reference.max_pool2d(x, 2),
        reference.avg_pool2d(x, 3, 1, 1, count_include_pad=False),
        reference.avg_pool2d_backward(x[..., :2, :2], x.shape, 2),
        reference.adaptive_avg_pool2d(x, 3),
        reference.global_avg_pool2d_backward(x[..., :1, :1], x.shape),
        *[getattr(reference, name)(x, **options) for name, options in PAIRS.items()],
        reference.gelu_backward(x, x),
        *reference.batch_norm(x, vector * 0, vector * 1, training=True, return_statistics=True),
        *reference.batch_norm_backward(x, x, vector, vector, vector),
        reference.dropout(x),
        reference.cross_entropy(x, labels, label_smoothing=0.1),
        reference.cross_entropy_backward(1.0, x, labels, vector),
        reference.mse_loss_backward(1.0, x, x),
        reference.binary_cross_entropy_with_logits(x, x, reduction="none"),
        reference.binary_cross_entropy_with_logits_backward(1.0, x, x),
        *reference.split(reference.concatenate([x, x], 1), 2, 1),
        *reference.stack_backward(reference.stack([x, x])),
        reference.where(x > 0, x, x),
        *reference.where_backward(x, x > 0, x.shape, ()),
    ]
    assert {r.dtype for r in results} == {np.dtype(dtype)}
