"""Transposed convolution of one to three axes: the adjoint of a convolution, in all passes."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from support.arrays import assert_equal, integers
from support.c_level import CONSTANTS, STATUSES, ConvGeometry, call, call_op, flat, unfilled

import fastconv
import fastconv.functional as F
from fastconv import Tensor, nn, reference
from fastconv.testing import gradcheck, gradcheck_module

DTYPES = [np.float32, np.float64]


@dataclass(frozen=True)
class Transposed:
    """One transposed convolution: ``input_shape`` may lack N."""

    input_shape: tuple
    weight_shape: tuple
    stride: object = 1
    padding: object = 0
    output_padding: object = 0
    groups: int = 1
    dilation: object = 1

    @property
    def options(self):
        return self.stride, self.padding, self.output_padding, self.groups, self.dilation

    @property
    def name(self):
        return f"conv_transpose{len(self.weight_shape) - 2}d"

    @property
    def out_channels(self):
        return self.weight_shape[1] * self.groups

    def operands(self, rng, dtype=np.float64, draw=integers):
        """(input, weight, bias, grad_output)."""
        x, w = draw(rng, self.input_shape, dtype), draw(rng, self.weight_shape, dtype)
        b = draw(rng, (self.out_channels,), dtype)
        y = getattr(reference, self.name)(x, w, b, *self.options)
        return x, w, b, draw(rng, y.shape, dtype)


def run(module, case, x, w, b, g, **more):
    """Every pass of `fastconv.functional` or `fastconv.reference`."""
    name = case.name
    relu = {} if module is reference else more
    return {
        "output": getattr(module, name)(x, w, b, *case.options, **relu),
        "relu": getattr(module, name)(x, w, b, *case.options, activation="relu", **relu),
        "grad_input": getattr(module, f"{name}_backward_input")(
            g, w, x.shape, *case.options, **relu
        ),
        "grad_weight": getattr(module, f"{name}_backward_weight")(
            g, x, w.shape, *case.options, **relu
        ),
        "grad_bias": getattr(module, f"{name}_backward_bias")(g),
    }


def channels_last(x, ndim):
    """The same array with channels innermost in memory."""
    axis = x.ndim - ndim - 1
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, axis, -1)), -1, axis)


LAYOUTS = {
    "contiguous": lambda x, ndim: np.ascontiguousarray(x),
    "channels_last": channels_last,
    "backwards": lambda x, ndim: x[..., ::-1].copy()[..., ::-1],
    "every_second": lambda x, ndim: np.repeat(x, 2, axis=-1)[..., ::2],
}

#: a bias where no tap reaches, phases of different sizes, a kernel as large as its stride, one
#: pixel, more output_padding than a stride, sides that differ, groups of every width; at the end,
#: register tiles that keep to a row of the output and others that go on to the next rows
CASES = [
    Transposed((2, 5, 4, 6), (5, 3, 3, 3)),
    Transposed((2, 20, 7, 5), (20, 40, 2, 2), 2),
    Transposed((2, 40, 8, 7), (40, 36, 4, 4), 2, 1),
    Transposed((2, 20, 7, 9), (20, 35, 3, 3), 2, 1, 1),
    Transposed((3, 40, 1, 1), (40, 24, 4, 4)),
    Transposed((2, 16, 20, 21), (16, 3, 4, 4), 2, 1),
    Transposed((2, 7, 5, 6), (7, 6, 2, 1), (3, 4), 0, (1, 3)),
    Transposed((2, 18, 5, 6), (18, 34, 2, 2), 5, 1, 2),
    Transposed((2, 4, 4, 5), (4, 3, 2, 3), (3, 2), (1, 2), (2, 3), 2, (4, 4)),
    Transposed((2, 6, 5, 5), (6, 4, 3, 3), 1, 0, 1, 1, 2),
    Transposed((2, 6, 5, 5), (6, 4, 3, 3), 2, ((0, 2), (1, 0)), (1, 0)),
    Transposed((2, 33, 6, 7), (33, 1, 3, 3), 2, 1, 1, 33),
    Transposed((2, 20, 5, 6), (20, 1, 2, 2), 3, 0, 0, 20),
    Transposed((2, 32, 6, 6), (32, 4, 3, 3), 2, 1, 1, 8),
    Transposed((2, 12, 6, 6), (12, 5, 4, 3), 2, 1, 0, 3),
    Transposed((1, 32, 14, 15), (32, 48, 3, 3), 1, 1),
    Transposed((2, 24, 9, 9), (24, 40, 1, 1), 2),
    Transposed((2, 24, 9, 9), (24, 40, 1, 1), 2, 0, 1),
    Transposed((5, 4, 6), (5, 3, 3, 3), 2),
    Transposed((0, 5, 4, 6), (5, 3, 3, 3), 2),
    Transposed((2, 8, 40), (8, 5, 16), 8, 4),
    Transposed((2, 40, 30), (40, 20, 4), 2, 1),
    Transposed((3, 9), (3, 4, 3), (2,), (1,), (1,)),
    Transposed((1, 16, 3, 5, 6), (16, 20, 2, 2, 2), 2),
    Transposed((2, 4, 3, 4, 5), (4, 6, 3, 2, 3), (1, 2, 3), (1, 0, 1), (0, 1, 2), 2),
    Transposed((2, 20, 2, 5, 6), (20, 1, 3, 3, 3), 2, 1, 1, 20),
    Transposed((1, 40, 5, 17), (40, 36, 2, 2), 2),
    Transposed((1, 72, 9, 16), (72, 40, 4, 4), 2, 1),
    Transposed((2, 72, 8, 9), (72, 40, 4, 4), 2, 1),
    Transposed((1, 260, 7, 3), (260, 33, 2, 2), 2),
]
FEW_CASES = [CASES[i] for i in (1, 2, 3, 7, 11, 13, 20, 23)]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_pass_is_exact_on_integers(case, dtype, layout, rng):
    x, w, b, g = case.operands(rng, dtype)
    lay, ndim = LAYOUTS[layout], w.ndim - 2
    found = run(F, case, lay(x, ndim), w, b, lay(g, ndim), algorithm="direct")
    for name, expected in run(reference, case, x, w, b, g).items():
        assert_equal(found[name], expected)
    assert_equal(found["relu"], np.maximum(found["output"], 0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "case",
    [
        Transposed((2, 37, 6, 9), (37, 40, 3, 3), 2, 1),
        Transposed((1, 70, 5, 5), (70, 33, 2, 2), 2),
        Transposed((1, 36, 3, 4, 5), (36, 41, 2, 3, 2), 2),
    ],
    ids=str,
)
def test_channels_last_weights_are_exact_on_integers(case, dtype, rng):
    x, w, b, g = case.operands(rng, dtype)
    ndim = w.ndim - 2
    x, g, last = (channels_last(a, ndim) for a in (x, g, w))
    found = run(F, case, x, last, b, g, algorithm="direct")
    for name, expected in run(reference, case, x, w, b, g).items():
        assert_equal(found[name], expected)


@st.composite
def transposed(draw):
    ndim = draw(st.integers(1, 3))

    def each(low, high):
        return draw(st.tuples(*[st.integers(low, high)] * ndim))

    groups, inputs, outputs = (draw(st.integers(1, n)) for n in (3, 9, 9))
    if draw(st.booleans()):
        groups, inputs, outputs = draw(st.integers(1, 20)), 1, draw(st.integers(1, 2))
    kernel, stride, dilation, size = each(1, 4), each(1, 4), each(1, 3), each(1, 6)
    sides = draw(st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * ndim))
    extra = tuple(
        draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)
    )
    for n, k, s, d, p, e in zip(size, kernel, stride, dilation, sides, extra, strict=True):
        assume((n - 1) * s + d * (k - 1) + 1 + e > sum(p))
    batch = draw(st.sampled_from([(), (1,), (2,)]))
    return Transposed(
        (*batch, groups * inputs, *size),
        (groups * inputs, outputs, *kernel),
        stride,
        sides,
        extra,
        groups,
        dilation,
    )


@given(case=transposed(), layout=st.sampled_from(sorted(LAYOUTS)), seed=st.integers(0, 99))
def test_any_is_exact_on_integers(case, layout, seed):
    x, w, b, g = case.operands(np.random.default_rng(seed))
    lay, ndim = LAYOUTS[layout], w.ndim - 2
    found = run(F, case, lay(x, ndim), w, b, lay(g, ndim), algorithm="direct")
    for name, expected in run(reference, case, x, w, b, g).items():
        assert_equal(found[name], expected)


@pytest.mark.parametrize("case", [c for c in CASES if 0 not in c.input_shape], ids=str)
def test_it_is_the_adjoint_of_the_convolution(case, rng):
    """<conv(y), x> = <y, conv_transpose(x)>, exactly on integers."""
    x, w, _, y = case.operands(rng)
    forward = getattr(F, f"conv{w.ndim - 2}d")
    options = case.stride, case.padding, case.dilation, case.groups
    conv = forward(y, w, None, *options, algorithm="direct")
    inside = tuple(slice(n) for n in x.shape)  # output_padding beyond a stride makes more
    left = np.sum(conv[inside] * x)
    back = getattr(F, case.name)(x, w, None, *case.options, algorithm="direct")
    assert left == np.sum(y * back)


@pytest.mark.parametrize("case", FEW_CASES, ids=str)
def test_float32_is_within_rounding_of_float64(case, rng):
    operands = case.operands(rng, np.float64, lambda r, s, d: r.standard_normal(s).astype(d))
    single = [a.astype(np.float32) for a in operands]
    exact = run(F, case, *(a.astype(np.float64) for a in single))
    for name, got in run(F, case, *single).items():
        terms = max(1, np.prod(case.weight_shape), single[3].size)
        scale = np.sqrt(np.mean(exact[name] ** 2)) + 1
        assert np.abs(got - exact[name]).max() <= 4e-7 * np.sqrt(terms) * scale, name


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("case", FEW_CASES, ids=str)
def test_results_have_the_format_of_the_input(case, layout, rng):
    x, w, b, g = case.operands(rng)
    ndim = w.ndim - 2
    found = run(F, case, LAYOUTS[layout](x, ndim), w, b, LAYOUTS[layout](g, ndim))
    for name in ("output", "grad_input"):
        last = np.moveaxis(found[name], 1, -1).flags.c_contiguous
        assert last == (layout == "channels_last")


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize(
    "case",
    [
        Transposed((3, 64, 14, 14), (64, 70, 3, 3), 2, 1, 1),
        Transposed((3, 64, 28, 30), (64, 40, 2, 2), 2),
        Transposed((4, 32, 30, 30), (32, 3, 4, 4), 2, 1),
        Transposed((20, 64, 1, 1), (64, 80, 4, 4)),
        Transposed((2, 64, 20, 20), (64, 1, 3, 3), 2, 1, 1, 64),
        Transposed((1, 256, 9, 9), (256, 300, 2, 2), 2),
        Transposed((1, 32, 4, 20, 20), (32, 32, 2, 2, 2), 2),
    ],
    ids=str,
)
def test_bits_are_the_same_for_any_number_of_threads(case, layout, rng):
    operands = case.operands(rng, np.float32, lambda r, s, d: r.standard_normal(s).astype(d))
    x, w, b, g = operands
    lay, ndim = LAYOUTS[layout], w.ndim - 2
    with fastconv.threads(1):
        one = run(F, case, lay(x, ndim), w, b, lay(g, ndim))
    for n in (2, 5):
        with fastconv.threads(n):
            many = run(F, case, lay(x, ndim), w, b, lay(g, ndim))
        for name, expected in one.items():
            assert many[name].tobytes() == expected.tobytes(), name


@pytest.mark.parametrize(
    ("weight_shape", "size", "stride", "dilation"),
    [
        ((7, 37, 4, 4), (5, 6), 2, 1),
        ((40, 300, 4, 4), (3, 3), 2, 1),  # filters outweigh images
        ((40, 300, 3, 3, 3), (2, 3, 3), 2, 1),  # phases have 1 to 8 taps
        ((33, 65, 5, 6), (4, 3), 5, 1),  # more phases than one loop takes
        ((20, 70, 5, 7), (6, 5), (2, 3), 1),  # Winograd's algorithm may have some
        ((20, 70, 4, 3), (6, 5), (2, 4), 2),  # no tap reaches some
        ((20, 70, 12, 12), (1, 2), 2, 1),  # too many taps to pack all at once
    ],
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_phases_are_one_loop_whatever_the_order_of_weights(
    weight_shape, size, stride, dilation, dtype, rng
):
    axes = len(size)
    op = getattr(F, f"conv_transpose{axes}d")
    options = {"stride": stride, "dilation": dilation, "padding": 1}
    x = integers(rng, (2, weight_shape[0], *size), dtype)
    weight = integers(rng, weight_shape, dtype)
    bias = integers(rng, (weight_shape[1],), dtype)
    expected = getattr(reference, op.__name__)(x, weight, bias, **options)
    last = np.moveaxis(np.ascontiguousarray(np.moveaxis(weight, 1, -1)), -1, 1)
    for w in (weight, last, weight[..., ::-1].copy()[..., ::-1]):
        for n in (1, 2, 5):
            with fastconv.threads(n):
                assert_equal(op(x, w, bias, **options), expected)


@pytest.mark.parametrize(
    "case",
    [
        Transposed((2, 4, 3, 4), (4, 3, 3, 2), (2, 3), 1, (1, 2), 2, (1, 2)),
        Transposed((2, 3, 5), (3, 2, 4), 2, 1, 1),
        Transposed((2, 2, 2, 3), (2, 2, 2, 2, 2), 2),
    ],
    ids=str,
)
def test_gradients(case, rng):
    x, w, b, _ = case.operands(rng, draw=lambda r, s, d: r.standard_normal(s).astype(d))

    def backward(g, x, w, b):
        found = run(F, case, x, w, b, g)
        return found["grad_input"], found["grad_weight"], found["grad_bias"]

    gradcheck(lambda *a: getattr(F, case.name)(*a, *case.options), backward, x, w, b)


def test_winograd_is_taken_where_it_is_asked_for(rng):
    case = Transposed((2, 24, 17, 18), (24, 20, 3, 3), 1, 1)
    x, w, b, g = case.operands(rng, draw=lambda r, s, d: r.standard_normal(s).astype(d))
    direct = run(F, case, x, w, b, g, algorithm="direct")
    for name, got in run(F, case, x, w, b, g, algorithm="winograd").items():
        np.testing.assert_allclose(got, direct[name], rtol=1e-9, atol=1e-9)
        assert name == "grad_bias" or not np.array_equal(got, direct[name])


def test_out_is_written_and_returned(rng):
    case = CASES[3]
    x, w, b, g = case.operands(rng)
    found = run(F, case, x, w, b, g)
    y, dx, dw = (np.full_like(found[n], 7) for n in ("output", "grad_input", "grad_weight"))
    assert F.conv_transpose2d(x, w, b, *case.options, out=y) is y
    assert F.conv_transpose2d_backward_input(g, w, x.shape, *case.options, out=dx) is dx
    assert F.conv_transpose2d_backward_weight(g, x, w.shape, *case.options, out=dw) is dw
    assert_equal(y, found["output"])
    assert_equal(dx, found["grad_input"])
    assert_equal(dw, found["grad_weight"])
    with pytest.raises(ValueError, match="share memory with input"):
        F.conv_transpose2d(y, np.ones((35, 35, 1, 1)), out=y)


# ---------------------------------------------------------------- arguments

HUGE = 2**62
X, WEIGHT = np.ones((2, 4, 5, 6)), np.ones((4, 3, 3, 3))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"weight": np.ones((3, 3, 3, 3))}, ValueError, r"weight is for 3 input channels.*4: inp"),
        ({"weight": np.ones((4, 3, 3))}, ValueError, "weight must have 4 dim"),
        ({"weight": np.ones((4, 0, 3, 3))}, ValueError, r"weight must have positive sizes"),
        ({"input": np.ones((2, 4, 0, 6))}, ValueError, r"input must have positive sizes"),
        ({"input": np.ones((4, 5))}, ValueError, "input must have 3 or 4 dim"),
        ({"input": np.ones((2, 4, 5, 6), np.float32)}, TypeError, "share one dtype"),
        ({"bias": np.ones(4)}, ValueError, r"bias has shape \(4,\), expected \(3,\)"),
        ({"groups": 0}, ValueError, "groups must be at least 1, got 0"),
        ({"groups": 3}, ValueError, r"groups=3 must divide the input's channels \(4\)"),
        ({"groups": 2.0}, TypeError, "groups"),
        ({"stride": 0}, ValueError, "stride must be at least 1, got 0"),
        ({"dilation": (1, -1)}, ValueError, r"dilation must be at least 1, got \(1, -1\)"),
        ({"padding": -1}, ValueError, "padding must be at least 0, got -1"),
        ({"padding": "same"}, ValueError, "padding must be integers, got 'same'"),
        ({"padding": 4}, ValueError, r"padding=4 leaves an output of height -1: input \(2, 4"),
        ({"padding": (1, 4)}, ValueError, r"leaves an output of width 0"),
        ({"output_padding": -1}, ValueError, "output_padding must be at least 0, got -1"),
        ({"output_padding": 1}, ValueError, "output_padding must be less than the stride or the"),
        ({"output_padding": (1, 2), "stride": 2}, ValueError, r"output_padding=\(1, 2\), stride=2"),
        ({"output_padding": 1.5}, TypeError, "output_padding"),
        ({"stride": HUGE}, ValueError, "output is too large to address.*stride=4611"),
        ({"dilation": HUGE}, ValueError, "output is too large to address"),
        ({"padding": HUGE}, ValueError, "output is too large to address"),
        ({"stride": HUGE, "output_padding": HUGE - 1}, ValueError, "too large to address"),
        ({"stride": 2**27}, ValueError, r"output of shape \(2, 3, \d+, \d+\) is too large"),
        ({"algorithm": "typo"}, ValueError, "algorithm"),
        ({"algorithm": "winograd", "stride": 2}, ValueError, r"winograd.*stride=\(2, 2\)"),
        ({"activation": "gelu"}, ValueError, "activation"),
    ],
)
def test_invalid_arguments_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        F.conv_transpose2d(**{"input": X, "weight": WEIGHT} | options)


def test_gradients_refuse_what_forward_would_not_put_out():
    g = np.ones((2, 3, 7, 8))
    with pytest.raises(ValueError, match=r"grad_output has shape .*expected \(2, 3, 11, 13\)"):
        F.conv_transpose2d_backward_input(g, WEIGHT, X.shape, 2)
    with pytest.raises(ValueError, match=r"grad_output has shape .*expected \(2, 3, 11, 13\)"):
        F.conv_transpose2d_backward_weight(g, X, WEIGHT.shape, 2)
    with pytest.raises(ValueError, match="weight_shape is for 5 input channels"):
        F.conv_transpose2d_backward_weight(g, X, (5, 3, 3, 3))
    with pytest.raises(ValueError, match="input_shape must have 3 or 4 sizes"):
        F.conv_transpose2d_backward_input(g, WEIGHT, (2, 4))


def test_a_stride_of_one_input_may_be_anything():
    x, w = np.ones((1, 2, 1, 1)), np.ones((2, 3, 3, 3))
    assert_equal(F.conv_transpose2d(x, w, stride=HUGE), F.conv_transpose2d(x, w))


# ---------------------------------------------------------------- layers


@pytest.mark.parametrize(
    "layer",
    [
        nn.ConvTranspose1d(4, 6, 3, 2, 1, 1, 2, dtype=np.float64, rng=0),
        nn.ConvTranspose2d(4, 6, (3, 2), 2, 1, bias=False, dtype=np.float64, rng=0),
        nn.ConvTranspose2d(4, 6, 3, (2, 3), dilation=2, groups=2, dtype=np.float64, rng=0),
        nn.ConvTranspose3d(4, 2, 2, 2, dtype=np.float64, rng=0),
    ],
    ids=str,
)
def test_gradients_of_layers(layer, rng):
    gradcheck_module(layer, rng.standard_normal((2, 4, 3, 4, 3)[: 2 + layer._ndim]))


def test_output_size_chooses_among_the_sizes_that_a_stride_makes_alike(rng):
    layer = nn.ConvTranspose2d(3, 4, 3, stride=(2, 3), padding=1, dtype=np.float64, rng=0)
    x = rng.standard_normal((2, 3, 5, 6))
    assert layer(x).shape == (2, 4, 9, 16)
    for size in ((9, 16), [10, 18], (10, 17), (2, 4, 9, 18)):
        image = Tensor(x, requires_grad=True)
        y = layer(image, output_size=size)
        assert y.shape == (2, 4, *size[-2:])
        y.backward(y)
        pads = [size[-2] - 9, size[-1] - 16]
        np.testing.assert_array_equal(
            image.grad,
            F.conv_transpose2d_backward_input(
                y.data, layer.weight.data, x.shape, (2, 3), 1, tuple(pads)
            ),
        )
    assert layer(x[0], output_size=(10, 18)).shape == (4, 10, 18)
    for size in ((8, 16), (9, 19), (11, 16)):
        with pytest.raises(ValueError, match=r"output_size.*\(9, 16\) to \(10, 18\)"):
            layer(x, output_size=size)
    with pytest.raises(ValueError, match="must have 2 sizes"):
        layer(x, output_size=(9, 16, 3))
    with pytest.raises(TypeError, match="output_size must be integers"):
        layer(x, output_size=9)


def test_relu_after_a_layer_runs_in_the_same_call(rng, monkeypatch):
    model = nn.Sequential(nn.ConvTranspose2d(3, 8, 2, 2, rng=0), nn.ReLU())
    x = rng.standard_normal((2, 3, 9, 9), np.float32)
    single, fused = Tensor(x, requires_grad=True), Tensor(x, requires_grad=True)
    expected = model[1](model[0](single))
    g = rng.standard_normal(expected.shape, np.float32)
    expected.backward(g)
    monkeypatch.setattr(F, "relu", None)
    output = model(fused)
    output.backward(g)
    assert output.data.tobytes() == expected.data.tobytes()
    assert fused.grad.tobytes() == single.grad.tobytes()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.ConvTranspose2d(0, 4, 3), ValueError, "in_channels.*0"),
        (lambda: nn.ConvTranspose2d(4, 6, 3, groups=4), ValueError, "groups=4.*out_channels=6"),
        (lambda: nn.ConvTranspose2d(4, 4, 0), ValueError, "kernel_size.*0"),
        (lambda: nn.ConvTranspose2d(4, 4, 3, output_padding=1), ValueError, "output_padding=1"),
        (lambda: nn.ConvTranspose2d(4, 4, 3, 2, output_padding=(1, 2)), ValueError, r"\(1, 2\)"),
        (lambda: nn.ConvTranspose2d(4, 4, 3, stride=0), ValueError, "stride.*0"),
        (lambda: nn.ConvTranspose2d(4, 4, 3, padding=-1), ValueError, "padding.*-1"),
        (lambda: nn.ConvTranspose2d(4, 4, 3, padding="same"), ValueError, "padding.*'same'"),
        (lambda: nn.ConvTranspose2d(4, 4, 3, padding=HUGE), ValueError, f"padding={HUGE}"),
        (lambda: nn.ConvTranspose2d(4, 4, 3, dilation=HUGE), ValueError, f"dilation={HUGE}"),
        (lambda: nn.ConvTranspose2d(4, 4, 3, padding_mode="reflect"), ValueError, "padding_mode"),
        (lambda: nn.ConvTranspose2d(4, 4, 3, algorithm="typo"), ValueError, "algorithm"),
        (lambda: nn.ConvTranspose2d(4, 4, 5, algorithm="winograd"), ValueError, "5 x 5 kernel"),
        (lambda: nn.ConvTranspose1d(4, 4, (3, 3)), ValueError, "kernel_size"),
    ],
)
def test_constructors_refuse_what_every_forward_pass_would(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_constructors_take_what_some_input_fits():
    """Padding that leaves nothing of one pixel may leave something of several."""
    layer = nn.ConvTranspose2d(1, 1, 1, padding=5, rng=0)
    assert layer(np.ones((1, 1, 11, 12), np.float32)).shape == (1, 1, 1, 2)
    nn.ConvTranspose2d(1, 1, 3, stride=2**62)


# ---------------------------------------------------------------- the C level


def transposed_geometry(case, last=False, **fields):
    ndim = len(case.weight_shape) - 2
    n, i, *sizes = case.input_shape
    geometry = ConvGeometry()
    stride, padding, extra, groups, dilation = case.options
    status = call(
        f"conv_transpose{ndim}d_init", geometry, n, i, *sizes, case.out_channels,
        *case.weight_shape[2:], stride, padding, extra, dilation, groups,
    )  # fmt: skip
    assert status == STATUSES["OK"]
    if last:
        geometry.input_format = geometry.output_format = CONSTANTS["CHANNELS_LAST"]
    for name, value in fields.items():
        setattr(geometry, name, value)
    return geometry


PLAIN = [
    Transposed((2, 8, 11), (8, 5, 4), 3, 1, 2),
    Transposed((2, 20, 7, 9), (20, 35, 3, 3), 2, 1, 1),
    Transposed((2, 18, 5, 6), (18, 7, 2, 2), 5, 1, 2),
    Transposed((2, 12, 6, 6), (12, 1, 3, 3), 2, 1, 0, 12),
    Transposed((2, 6, 3, 4, 5), (6, 4, 2, 2, 2), 2, 0, 0, 2),
]


@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("kind", ["f32", "f64"])
@pytest.mark.parametrize("case", PLAIN, ids=str)
def test_c_level_computes_every_pass(case, kind, last, rng):
    dtype = np.float32 if kind == "f32" else np.float64
    x, w, b, g = case.operands(rng, dtype)
    expected = run(reference, case, x, w, b, g)
    relu = transposed_geometry(case, last, activation=CONSTANTS["ACTIVATION_RELU"])
    plain = transposed_geometry(case, last)
    x_, g_ = flat(x, last), flat(g, last)
    for geometry, name, arrays, result in (
        (plain, "conv_transpose", (x_, w, b), "output"),
        (relu, "conv_transpose", (x_, w, b), "relu"),
        (relu, "conv_transpose_backward_input", (g_, w), "grad_input"),
        (relu, "conv_transpose_backward_weight", (g_, x_), "grad_weight"),
        (relu, "conv_transpose_backward_bias", (g_,), "grad_bias"),
    ):
        out = unfilled(expected[result].shape, dtype)
        assert call_op(f"{name}_{kind}", geometry, *arrays, out) == 0
        images = result in ("output", "relu", "grad_input")
        np.testing.assert_array_equal(out, flat(expected[result], last and images).ravel())


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"stride": 0}, "INVALID_STRIDE"),
        ({"dilation": -1}, "INVALID_STRIDE"),
        ({"padding": -1}, "INVALID_PADDING"),
        ({"padding": 9}, "INVALID_PADDING"),
        ({"output_padding": -1}, "INVALID_PADDING"),
        ({"output_padding": 2}, "INVALID_PADDING"),
        ({"output_padding": 2, "dilation": 3}, "INVALID_PADDING"),
        ({"in_w": 0}, "INVALID_SIZE"),
        ({"kernel_w": 0}, "INVALID_SIZE"),
        ({"in_channels": 0}, "INVALID_SIZE"),
        ({"groups": 3}, "INVALID_GROUPS"),
        ({"stride": HUGE}, "TOO_LARGE"),
        ({"dilation": HUGE}, "TOO_LARGE"),
        ({"in_w": HUGE}, "TOO_LARGE"),
        ({"kernel_w": HUGE, "dilation": 3}, "TOO_LARGE"),
        ({"stride": 2**60 - 1, "in_w": 2}, "TOO_LARGE"),
    ],
)
def test_c_level_refuses_what_makes_no_sense(changes, status):
    arguments = {
        "batch": 2, "in_channels": 4, "in_w": 5, "out_channels": 6, "kernel_w": 3, "stride": 2,
        "padding": 1, "output_padding": 1, "dilation": 1, "groups": 2,
    }  # fmt: skip
    geometry = ConvGeometry()
    assert call("conv_transpose1d_init", geometry, *arguments.values()) == 0
    assert geometry.axis[2].size == 10
    assert (
        call("conv_transpose1d_init", geometry, *(arguments | changes).values())
        == (STATUSES[status])
    )
    assert call("conv_transpose1d_init", None, *arguments.values()) == STATUSES["NULL_POINTER"]


# ---------------------------------------------------------------- peers


@pytest.mark.peer("torch")
@pytest.mark.parametrize("case", [c for c in CASES if c.padding != ((0, 2), (1, 0))], ids=str)
def test_it_agrees_with_torch(case, rng):
    import torch

    x, w, b, g = case.operands(rng, draw=lambda r, s, d: r.standard_normal(s).astype(d))
    tensors = [torch.tensor(a, requires_grad=True) for a in (x, w, b)]
    theirs = getattr(torch.nn.functional, case.name)(*tensors, *case.options)
    theirs.backward(torch.tensor(g))
    found = run(F, case, x, w, b, g)
    expected = (theirs.detach(), *(t.grad for t in tensors))
    for name, array in zip(
        ("output", "grad_input", "grad_weight", "grad_bias"), expected, strict=True
    ):
        np.testing.assert_allclose(found[name], array.numpy(), rtol=1e-9, atol=1e-9)


@pytest.mark.peer("torch")
def test_layers_have_torch_s_states_and_arguments(rng):
    import torch

    for n, arguments in (
        (1, (4, 6, 3, 2, 1, 1, 2)),
        (2, (4, 6, (3, 2), (2, 3), 1, (1, 2), 2, False, 2)),
        (3, (4, 6, 2, 2, 0, 0, 1, True)),
    ):
        ours = getattr(nn, f"ConvTranspose{n}d")(*arguments, rng=0)
        theirs = getattr(torch.nn, f"ConvTranspose{n}d")(*arguments)
        state = {name: array.numpy() for name, array in theirs.state_dict().items()}
        bound = np.abs(state["weight"]).max()
        assert bound * 0.5 < np.abs(ours.weight.data).max() < bound * 2
        ours.load_state_dict(state)
        x = rng.standard_normal((2, 4, 5, 4, 3)[: 2 + n], np.float32)
        expected = theirs(torch.tensor(x)).detach().numpy()
        np.testing.assert_allclose(ours(x), expected, rtol=1e-5, atol=1e-6)
        size = [s + 1 for s in theirs(torch.tensor(x)).shape[2:]] if n == 3 else None
        if size:
            expected = theirs(torch.tensor(x), output_size=size).detach().numpy()
            np.testing.assert_allclose(ours(x, output_size=size), expected, rtol=1e-5, atol=1e-6)
