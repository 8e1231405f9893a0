"""F.conv2d and its gradients: exact on integers, adjoint, differentiable, strict on arguments."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.arrays import LAYOUTS, channels_last, distinct, integers, is_channels_last
from support.convolutions import CASES, FEW_CASES, assert_identical, run_reference
from support.geometries import Conv, convolutions

import fastconv
import fastconv.functional as F
from fastconv import _geometry, _ops, reference
from fastconv.testing import assert_close, assert_within, gradcheck, rounding_bound

DTYPES = [np.float32, np.float64]


def run_all(case, x, w, b, g, algorithm="direct"):
    """Every pass of a case through fastconv."""
    return {
        "output": F.conv2d(x, w, b, *case.options, algorithm=algorithm),
        "grad_input": F.conv2d_backward_input(g, w, x.shape, *case.options, algorithm=algorithm),
        "grad_weight": F.conv2d_backward_weight(g, x, w.shape, *case.options, algorithm=algorithm),
        "grad_bias": F.conv2d_backward_bias(g),
    }


# ---------------------------------------------------------------------- values


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_exact_on_integers(case, layout, dtype, rng):
    x, w, b, g = case.operands(rng, dtype)
    change = LAYOUTS[layout]
    assert_identical(run_all(case, change(x), w, b, change(g)), run_reference(case, x, w, b, g))


@given(
    case=convolutions(),
    dtype=st.sampled_from(DTYPES),
    layouts=st.tuples(*[st.sampled_from(["contiguous", "channels_last"])] * 3),
    seed=st.integers(0, 99),
)
def test_exact_on_integers_for_any_geometry(case, dtype, layouts, seed):
    x, w, b, g = case.operands(np.random.default_rng(seed), dtype)
    changed = [LAYOUTS[name](a) for name, a in zip(layouts, (x, w, g), strict=True)]
    assert_identical(
        run_all(case, changed[0], changed[1], b, changed[2]), run_reference(case, x, w, b, g)
    )


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", FEW_CASES, ids=str)
def test_operands_may_have_any_strides(case, layout, rng):
    x, w, b, g = case.operands(rng, np.float32)
    change = LAYOUTS[layout]
    before = [a.copy() for a in (x, w, b, g)]
    strided = [change(x), change(w), b, change(g)]
    assert_identical(run_all(case, *strided), run_reference(case, x, w, b, g))
    for a, original in zip(strided, before, strict=True):
        np.testing.assert_array_equal(a, original, err_msg="an operand was changed")


def test_bias_may_have_any_strides(rng):
    case = CASES[1]
    x, w, b, _ = case.operands(rng)
    expected = reference.conv2d(x, w, b, *case.options)
    for bias in (b[::-1].copy()[::-1], np.repeat(b, 3)[::3]):
        np.testing.assert_array_equal(F.conv2d(x, w, bias, *case.options), expected)


def test_operands_may_be_broadcast(rng):
    """Stride-0 views read the same element again and again."""
    w = integers(rng, (4, 3, 3, 3))
    x = np.broadcast_to(integers(rng, (1, 3, 1, 1)), (2, 3, 6, 6))
    g = np.broadcast_to(np.float64(1), (2, 4, 4, 4))
    case = Conv(x.shape, w.shape)
    b = np.broadcast_to(np.float64(2), (4,))
    assert_identical(run_all(case, x, w, b, g), run_reference(case, x, w, b, g))


@pytest.mark.parametrize("shape", [(6, 1, 1, 3), (6, 5, 1, 1), (1, 1, 3, 1), (1, 1, 1, 1)])
def test_weight_may_be_broadcast(shape, rng):
    """More taps than elements that they span."""
    case = Conv((2, 5, 9, 10), (6, 5, 3, 3), padding=1)
    x, _, b, g = case.operands(rng)
    w = np.broadcast_to(integers(rng, shape), case.weight_shape)
    assert_identical(run_all(case, x, w, b, g), run_reference(case, x, w, b, g))


@pytest.mark.parametrize("case", FEW_CASES, ids=str)
def test_unbatched_is_a_batch_of_one(case, rng):
    case = Conv(case.input_shape[-3:], case.weight_shape, *case.options)
    x, w, b, g = case.operands(rng)
    batched = run_all(case, x[None], w, b, g[None])
    for name in ("output", "grad_input"):
        batched[name] = batched[name][0]
    assert_identical(run_all(case, x, w, b, g), batched)


def test_empty_batch_has_zero_gradients():
    case = Conv((0, 3, 8, 8), (4, 3, 3, 3), padding=1)
    x, w, b = np.zeros((0, 3, 8, 8)), np.ones((4, 3, 3, 3)), np.ones(4)
    result = run_all(case, x, w, b, np.zeros((0, 4, 8, 8)))
    assert result["output"].shape == (0, 4, 8, 8)
    assert result["grad_input"].shape == x.shape
    np.testing.assert_array_equal(result["grad_weight"], np.zeros(w.shape))
    np.testing.assert_array_equal(result["grad_bias"], np.zeros(4))


def test_equals_the_values_of_the_cs231n_assignment():
    """The values that the Stanford course's assignment prints."""
    x = np.linspace(-0.1, 0.5, 96).reshape(2, 3, 4, 4)
    w = np.linspace(-0.2, 0.3, 144).reshape(3, 3, 4, 4)
    y = F.conv2d(x, w, np.linspace(-0.1, 0.2, 3), stride=2, padding=1)
    assert_close(y.ravel()[[0, -1]], np.array([-0.08759809, 2.38247847]), atol=5e-9, rtol=0)


@pytest.mark.parametrize("algorithm", ["auto", "direct"])
@pytest.mark.parametrize("case", [*CASES[:-1], Conv((1, 128, 10, 10), (128, 128, 3, 3), padding=1)])
def test_float32_within_its_rounding_bound_of_float64(case, algorithm, rng):
    def draw(rng, shape, dtype):
        return rng.standard_normal(shape, np.float32)

    single = case.operands(rng, draw=draw)
    double = [a.astype(np.float64) for a in single]
    actual = run_all(case, *single, algorithm=algorithm)
    expected = run_reference(case, *double)
    magnitude = run_reference(case, *[np.abs(a) for a in double])
    pixels = single[3].size // single[3].shape[-3]
    terms = {
        "output": single[1][0].size + 1,
        "grad_input": single[1].size // single[1].shape[1] // case.groups,
        "grad_weight": pixels,
        "grad_bias": pixels,
    }
    # Winograd may round 2.5 times more, and mixes each tile's pixels
    c = 4 if algorithm == "direct" else 16
    for name, e in expected.items():
        bound = rounding_bound(terms[name], magnitude[name], c=c)
        if algorithm == "auto":
            bound = np.broadcast_to(bound.max(initial=0), bound.shape)
        assert_within(actual[name], e, bound, name=name)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("case", FEW_CASES, ids=str)
def test_nan_and_infinity_propagate(case, bad, rng):
    x, w, b, g = (a + 0.5 for a in case.operands(rng))  # nothing is 0: no 0 * inf but by padding
    x[(..., *[n // 2 for n in x.shape[-2:]])] = bad
    y = F.conv2d(x, w, b, *case.options, algorithm="direct")
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(y, reference.conv2d(x, w, b, *case.options))
    g[(..., 0, 0)] = bad
    grad = F.conv2d_backward_input(g, w, x.shape, *case.options, algorithm="direct")
    touched = reference.conv2d_backward_input(
        (~np.isfinite(g)).astype(float), np.ones(w.shape), x.shape, *case.options
    )
    np.testing.assert_array_equal(np.isfinite(grad), touched == 0)


# ------------------------------------------------------------------- properties


@given(case=convolutions(), seed=st.integers(0, 99))
def test_backward_passes_are_the_adjoints_of_forward(case, seed):
    """<conv(x, w), g> = <x, backward_input(g, w)> = <w, backward_weight(g, x)>, exactly."""
    x, w, _, g = case.operands(np.random.default_rng(seed))
    result = run_all(case, x, w, None, g)
    product = np.vdot(result["output"], g)
    assert product == np.vdot(x, result["grad_input"])
    assert product == np.vdot(w, result["grad_weight"])


@given(case=convolutions(), seed=st.integers(0, 99))
def test_linear_in_input_and_in_weight(case, seed):
    rng = np.random.default_rng(seed)
    x, w, b, g = case.operands(rng)
    x2, w2 = integers(rng, x.shape), integers(rng, w.shape)

    def conv(x, w, b=None):
        return F.conv2d(x, w, b, *case.options, algorithm="direct")

    np.testing.assert_array_equal(conv(2 * x - x2, w), 2 * conv(x, w) - conv(x2, w))
    np.testing.assert_array_equal(conv(x, w - 3 * w2), conv(x, w) - 3 * conv(x, w2))
    np.testing.assert_array_equal(conv(x, w, b) - conv(x, w), np.zeros(g.shape) + b[:, None, None])


def test_shift_of_input_shifts_output(rng):
    x, w = integers(rng, (1, 2, 12, 12)), integers(rng, (3, 2, 3, 3))
    whole = F.conv2d(x, w, algorithm="direct")
    part = F.conv2d(x[:, :, 2:, 5:], w, algorithm="direct")
    np.testing.assert_array_equal(whole[:, :, 2:, 5:], part)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize(
    "case",
    [
        Conv((2, 3, 5, 6), (2, 3, 3, 2), padding=1),
        Conv((2, 2, 6, 7), (3, 2, 3, 3), stride=2, padding=(2, 1)),
        Conv((1, 4, 7, 5), (4, 2, 2, 2), padding=((1, 0), (2, 1)), dilation=2, groups=2),
        Conv((2, 3, 6, 5), (6, 1, 3, 3), stride=(1, 2), padding=1, groups=3),
        Conv((3, 5, 5), (2, 3, 2, 3), padding="same"),
    ],
    ids=str,
)
def test_gradcheck(case, layout, rng):
    x, w, b, _ = case.operands(rng, draw=distinct)

    def forward(x, w, b):
        return F.conv2d(LAYOUTS[layout](x), w, b, *case.options)

    def backward(g, x, w, b):
        g = LAYOUTS[layout](g)
        return (
            F.conv2d_backward_input(g, w, x.shape, *case.options),
            F.conv2d_backward_weight(g, LAYOUTS[layout](x), w.shape, *case.options),
            F.conv2d_backward_bias(g),
        )

    gradcheck(forward, backward, x, w, b)


@pytest.mark.parametrize("algorithm", ["auto", "direct"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "case", [*FEW_CASES, Conv((3, 48, 20, 20), (40, 48, 3, 3), padding=1)], ids=str
)
def test_same_bits_for_any_number_of_threads(case, dtype, algorithm, rng):
    operands = case.operands(
        rng, draw=lambda rng, shape, _: rng.standard_normal(shape).astype(dtype)
    )
    results = []
    for n in (1, 2, 3, 4, 7):
        with fastconv.threads(n):
            results.append(run_all(case, *operands, algorithm=algorithm))
    for other in results[1:]:
        for name, first in results[0].items():
            assert first.tobytes() == other[name].tobytes(), name


# ---------------------------------------------------------------- memory and out=


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", [c for c in FEW_CASES if c.groups == 1], ids=str)
def test_output_has_the_format_of_the_input_and_gradients_of_grad_output(case, dtype, rng):
    x, w, b, g = case.operands(rng, dtype)
    for change, last in ((np.ascontiguousarray, False), (channels_last, True)):
        y = F.conv2d(change(x), w, b, *case.options)
        grad = F.conv2d_backward_input(change(g), w, x.shape, *case.options)
        for array in (y, grad):
            assert is_channels_last(array) == last
            assert array.flags.c_contiguous != last
            assert array.flags.writeable


def out_calls(case, x, w, b, g):
    """(call, its result) for every function that takes out=."""
    expected = run_reference(case, x, w, b, g)
    return [
        (
            lambda out: F.conv2d(x, w, b, *case.options, algorithm="direct", out=out),
            expected["output"],
        ),
        (
            lambda out: F.conv2d_backward_input(
                g, w, x.shape, *case.options, algorithm="direct", out=out
            ),
            expected["grad_input"],
        ),
        (
            lambda out: F.conv2d_backward_weight(
                g, x, w.shape, *case.options, algorithm="direct", out=out
            ),
            expected["grad_weight"],
        ),
    ]


@pytest.mark.parametrize("case", FEW_CASES, ids=str)
def test_out_is_filled_and_returned(case, rng):
    for call, expected in out_calls(case, *case.operands(rng, np.float32)):
        out = np.full(expected.shape, np.nan, np.float32)
        assert call(out) is out
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("layout", ["channels_last", "negative_strides", "every_second"])
def test_out_may_have_any_strides(layout, rng):
    case = CASES[1]
    for call, expected in out_calls(case, *case.operands(rng)):
        out = LAYOUTS[layout](np.full(expected.shape, np.nan))
        assert call(out) is out
        np.testing.assert_array_equal(out, expected)


def test_unusable_out_is_refused_and_not_written(rng):
    case = Conv((2, 3, 6, 6), (3, 3, 3, 3), padding=1)
    x, w, b, g = case.operands(rng)
    for call, expected in out_calls(case, x, w, b, g):
        with pytest.raises(ValueError, match="out"):
            call(np.zeros((*expected.shape[:-1], expected.shape[-1] + 1)))
        with pytest.raises(TypeError, match=r"out.*float32"):
            call(np.zeros(expected.shape, np.float32))
        with pytest.raises(TypeError, match="out"):
            call(expected.tolist())
        frozen = np.zeros(expected.shape)
        frozen.flags.writeable = False
        with pytest.raises(ValueError, match=r"out.*read-only|out.*writ"):
            call(frozen)
    before = x.copy(), w.copy(), g.copy()
    spare = np.zeros(x.size + 1)
    spare[: x.size] = x.ravel()
    shifted = spare[: x.size].reshape(x.shape)  # an input that shares all but an element with out
    for call in (
        lambda: F.conv2d(x, w, b, *case.options, out=x),
        lambda: F.conv2d(x[::-1], w, b, *case.options, out=x),
        lambda: F.conv2d(shifted, w, b, *case.options, out=spare[1:].reshape(x.shape)),
        lambda: F.conv2d_backward_input(g, w, x.shape, *case.options, out=g),
        lambda: F.conv2d_backward_weight(
            g, x, w.shape, *case.options, out=x.ravel()[:81].reshape(w.shape)
        ),
    ):
        with pytest.raises(ValueError, match=r"out.*(overlap|share|alias|memory)"):
            call()
    for array, original in zip((x, w, g), before, strict=True):
        np.testing.assert_array_equal(array, original)


def test_activation_equals_reference(rng):
    case = CASES[1]
    x, w, b, _ = case.operands(rng)
    expected = reference.conv2d(x, w, b, *case.options, activation="relu")
    assert_close(F.conv2d(x, w, b, *case.options, activation="relu"), expected)
    out = np.empty(expected.shape)
    assert F.conv2d(x, w, b, *case.options, activation="relu", out=out) is out
    assert_close(out, expected)


# ---------------------------------------------------------------------- bad input

X, W, B = np.ones((2, 4, 8, 8)), np.ones((6, 2, 3, 3)), np.ones(6)
G = np.ones((2, 6, 6, 6))  # W has two groups
GOOD = {"input": X, "weight": W, "bias": B, "groups": 2}

BAD_FORWARD = [
    # (what replaces a good argument, error, what the message must contain)
    ({"input": np.ones((8, 8))}, ValueError, ["input", "(8, 8)"]),
    ({"input": np.ones((1, 2, 4, 8, 8))}, ValueError, ["input", "(1, 2, 4, 8, 8)"]),
    ({"input": np.ones((2, 5, 8, 8))}, ValueError, ["(2, 5, 8, 8)", "(6, 2, 3, 3)"]),
    ({"input": np.ones((2, 0, 8, 8))}, ValueError, ["(2, 0, 8, 8)"]),
    ({"input": np.ones((2, 4, 0, 8))}, ValueError, ["(2, 4, 0, 8)"]),
    ({"input": np.ones((2, 4, 2, 8))}, ValueError, ["(2, 4, 2, 8)", "(6, 2, 3, 3)"]),
    ({"input": np.ones((2, 4, 8, 8), int)}, TypeError, ["input", "int64"]),
    ({"input": np.ones((2, 4, 8, 8), bool)}, TypeError, ["input", "bool"]),
    ({"input": np.ones((2, 4, 8, 8), np.float16)}, TypeError, ["input", "float16"]),
    ({"input": np.ones((2, 4, 8, 8), complex)}, TypeError, ["input", "complex128"]),
    ({"input": np.ones((2, 4, 8, 8), object)}, TypeError, ["input", "object"]),
    ({"input": np.ones((2, 4, 8, 8), np.float32)}, TypeError, ["float32", "float64"]),
    ({"input": "image"}, TypeError, ["input"]),
    ({"input": None}, TypeError, ["input"]),
    ({"weight": np.ones((6, 2, 3))}, ValueError, ["weight", "(6, 2, 3)"]),
    ({"weight": np.ones((6, 4, 3, 3))}, ValueError, ["weight", "(6, 4, 3, 3)", "groups", "2"]),
    ({"weight": np.ones((5, 2, 3, 3))}, ValueError, ["weight", "(5, 2, 3, 3)", "groups", "2"]),
    ({"weight": np.ones((6, 2, 0, 3))}, ValueError, ["weight", "(6, 2, 0, 3)"]),
    ({"weight": np.ones((0, 2, 3, 3)), "bias": None}, ValueError, ["weight", "(0, 2, 3, 3)"]),
    ({"weight": np.ones((6, 2, 9, 3))}, ValueError, ["(6, 2, 9, 3)", "(2, 4, 8, 8)"]),
    ({"weight": np.ones((6, 2, 3, 3), int)}, TypeError, ["weight", "int64"]),
    ({"weight": np.ones((6, 2, 3, 3), np.float32)}, TypeError, ["float32", "float64"]),
    ({"bias": np.ones(5)}, ValueError, ["bias", "(5,)", "6"]),
    ({"bias": np.ones((6, 1))}, ValueError, ["bias", "(6, 1)"]),
    ({"bias": np.ones(6, np.float32)}, TypeError, ["bias", "float32", "float64"]),
    ({"bias": 1.0}, (TypeError, ValueError), ["bias"]),
    ({"stride": 0}, ValueError, ["stride", "0"]),
    ({"stride": (1, -2)}, ValueError, ["stride", "-2"]),
    ({"stride": (1, 1, 1)}, ValueError, ["stride", "(1, 1, 1)"]),
    ({"stride": 1.5}, TypeError, ["stride", "1.5"]),
    ({"stride": "2"}, TypeError, ["stride", "2"]),
    ({"dilation": 0}, ValueError, ["dilation", "0"]),
    ({"dilation": (2, -1)}, ValueError, ["dilation", "-1"]),
    ({"dilation": 4}, ValueError, ["dilation", "4"]),  # effective kernel 9 of 8 pixels
    ({"padding": -1}, ValueError, ["padding", "-1"]),
    ({"padding": ((0, 1), (-3, 0))}, ValueError, ["padding", "-3"]),
    ({"padding": (1, 2, 3)}, ValueError, ["padding", "(1, 2, 3)"]),
    ({"padding": "full"}, ValueError, ["padding", "full"]),
    ({"padding": "same", "stride": 2}, ValueError, ["padding", "same", "stride", "2"]),
    ({"padding": 0.5}, TypeError, ["padding", "0.5"]),
    ({"groups": 0}, ValueError, ["groups", "0"]),
    ({"groups": -2}, ValueError, ["groups", "-2"]),
    ({"groups": 3}, ValueError, ["groups", "3"]),
    ({"groups": 2.0}, TypeError, ["groups", "2.0"]),
    ({"algorithm": "fastest"}, ValueError, ["algorithm", "fastest"]),
    ({"activation": "gelu"}, ValueError, ["activation", "gelu"]),
    ({"activation": True}, ValueError, ["activation", "True"]),
    # sizes that do not fit 64 bits, or memory
    ({"padding": 2**62}, ValueError, ["padding", str(2**62)]),
    ({"padding": 2**100}, ValueError, ["padding", str(2**100)]),
    ({"stride": 2**100}, ValueError, ["stride", str(2**100)]),
    ({"dilation": 2**62}, ValueError, ["dilation", str(2**62)]),
    ({"dilation": 2**62, "padding": 2**61}, ValueError, [str(2**61)]),
    ({"groups": 2**100}, ValueError, ["groups", str(2**100)]),
    ({"padding": 2**30}, (ValueError, MemoryError), []),
    ({"input": np.broadcast_to(1.0, (2, 4, 2**28, 2**28))}, (ValueError, MemoryError), []),
]


@pytest.mark.parametrize(("change", "error", "contains"), BAD_FORWARD)
def test_forward_refuses_invalid_arguments(change, error, contains):
    F.conv2d(**GOOD)  # the rest is good
    with pytest.raises(error) as caught:
        F.conv2d(**{**GOOD, **change})
    for text in contains:
        assert text in str(caught.value)


BAD_BACKWARD = [
    ({"grad_output": np.ones((2, 6, 5, 6))}, ValueError, ["grad_output", "(2, 6, 5, 6)"]),
    ({"grad_output": np.ones((2, 5, 6, 6))}, ValueError, ["grad_output", "(2, 5, 6, 6)"]),
    ({"grad_output": np.ones((3, 6, 6, 6))}, ValueError, ["grad_output", "(3, 6, 6, 6)"]),
    ({"grad_output": np.ones((6, 6, 6))}, ValueError, ["grad_output", "(6, 6, 6)"]),
    ({"grad_output": np.ones((2, 6, 6, 6), int)}, TypeError, ["grad_output", "int64"]),
    ({"grad_output": np.ones((2, 6, 6, 6), np.float32)}, TypeError, ["float32", "float64"]),
    ({"grad_output": None}, TypeError, ["grad_output"]),
    ({"stride": 0}, ValueError, ["stride", "0"]),
    ({"stride": 2}, ValueError, ["grad_output", "(2, 6, 6, 6)"]),
    ({"dilation": -1}, ValueError, ["dilation", "-1"]),
    ({"padding": -1}, ValueError, ["padding", "-1"]),
    ({"padding": 2**62}, ValueError, ["padding", str(2**62)]),
    ({"groups": 3}, ValueError, ["groups", "3"]),
    ({"algorithm": "fastest"}, ValueError, ["algorithm", "fastest"]),
]


@pytest.mark.parametrize(("change", "error", "contains"), BAD_BACKWARD)
@pytest.mark.parametrize(
    ("function", "good"),
    [
        (F.conv2d_backward_input, {"grad_output": G, "weight": W, "input_shape": X.shape}),
        (F.conv2d_backward_weight, {"grad_output": G, "input": X, "weight_shape": W.shape}),
    ],
)
def test_backward_refuses_invalid_arguments(function, good, change, error, contains):
    good = {**good, "groups": 2}
    function(**good)
    with pytest.raises(error) as caught:
        function(**{**good, **change})
    for text in contains:
        assert text in str(caught.value)


@pytest.mark.parametrize(
    "shape", [(2, 4, 8), (2, 5, 8, 8), (2, 4, 0, 8), (2, 4, -8, 8), (2, 4, 2, 8)]
)
def test_invalid_input_shape_is_refused(shape):
    with pytest.raises(ValueError, match="input_shape") as caught:
        F.conv2d_backward_input(G, W, shape, groups=2)
    assert str(shape)[1:-1] in str(caught.value)


@pytest.mark.parametrize("shape", [(2, 4, 8.5, 8), (2, 4, "8", 8), "2488", 2488, None])
def test_shapes_that_are_not_integers_are_refused(shape):
    for call, name in (
        (lambda: F.conv2d_backward_input(G, W, shape, groups=2), "input_shape"),
        (lambda: F.conv2d_backward_weight(G, X, shape, groups=2), "weight_shape"),
        (lambda: F.avg_pool2d_backward(G, shape, 2), "input_shape"),
        (lambda: F.max_pool2d_backward(G, np.zeros(G.shape, np.int64), shape), "input_shape"),
    ):
        with pytest.raises(TypeError, match=name) as caught:
            call()
        assert repr(shape) in str(caught.value)


@pytest.mark.parametrize(
    "shape", [(6, 2, 3), (6, 4, 3, 3), (5, 2, 3, 3), (6, 2, 0, 3), (6, 2, 9, 9)]
)
def test_invalid_weight_shape_is_refused(shape):
    with pytest.raises(ValueError, match="weight_shape") as caught:
        F.conv2d_backward_weight(G, X, shape, groups=2)
    assert str(shape) in str(caught.value)


def test_backward_bias_refuses_invalid_grad_output():
    with pytest.raises(ValueError, match=r"grad_output.*\(6, 6\)"):
        F.conv2d_backward_bias(np.ones((6, 6)))
    with pytest.raises(TypeError, match=r"grad_output.*int64"):
        F.conv2d_backward_bias(np.ones((6, 6, 6), int))


@pytest.mark.parametrize("stride", [2**20, 2**31, 2**33, 2**62])
def test_huge_stride_gives_one_pixel_or_is_refused(stride):
    """Only the first window exists. The peers crash."""
    try:
        y = F.conv2d(X, W, B, stride=stride, groups=2)
    except ValueError as error:
        assert f"stride is too large: {stride}" in str(error)  # noqa: PT017 - either will do
    else:
        np.testing.assert_array_equal(y, reference.conv2d(X, W, B, groups=2)[:, :, :1, :1])


def test_byte_swapped_operands_are_converted_or_refused(rng):
    x, w = integers(rng, (1, 2, 5, 5)), integers(rng, (3, 2, 3, 3))
    swapped = x.astype(x.dtype.newbyteorder())
    try:
        y = F.conv2d(swapped, w)
    except TypeError as error:
        assert "input" in str(error)  # noqa: PT017 - either answer will do
    else:
        np.testing.assert_array_equal(y, F.conv2d(x, w))


# -------------------------------------------------------------------------- peers


@pytest.mark.peer("torch")
@pytest.mark.parametrize("case", FEW_CASES, ids=str)
def test_agrees_with_torch(case, rng):
    import torch

    x, w, b, g = case.operands(rng)
    tx, tw, tb = (torch.tensor(a, requires_grad=True) for a in (x, w, b))
    y = torch.nn.functional.conv2d(tx, tw, tb, *case.options)
    y.backward(torch.tensor(g))
    peer = (y.detach(), tx.grad, tw.grad, tb.grad)
    for (name, ours), theirs in zip(run_all(case, x, w, b, g).items(), peer, strict=True):
        assert_close(ours, theirs.numpy(), name=name)


# ---------------------------------------------------------------------- the op layer


def op_calls():
    """The op-layer calls of one convolution: (function, operands by name, geometry)."""
    shape = _geometry.convolution(X.shape, W.shape, groups=2)
    x, w, b, g = (a.copy() for a in (X, W, B, G))
    yield _ops.conv, {"input": x, "weight": w, "bias": b, "output": g}, (shape,)
    yield _ops.conv_backward_input, {"grad_output": g, "weight": w, "grad_input": x}, (shape,)
    yield _ops.conv_backward_weight, {"grad_output": g, "input": x, "grad_weight": w}, (shape,)
    yield _ops.conv_backward_bias, {"grad_output": g, "grad_bias": b}, ()


def unaligned(a):
    bytes_ = np.zeros(a.nbytes + 1, np.uint8)
    return bytes_[1:].view(a.dtype).reshape(a.shape)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda a: a.astype(np.float32), TypeError),
        (lambda a: a.astype(np.int64), TypeError),
        (lambda a: a.astype(a.dtype.newbyteorder()), TypeError),
        (unaligned, TypeError),
        (lambda a: a.tolist(), TypeError),
        (lambda a: a[None], ValueError),
        (lambda a: a[..., :-1], ValueError),
    ],
    ids=["dtype", "integers", "byte order", "unaligned", "list", "rank", "size"],
)
def test_op_layer_names_the_refused_argument(change, error):
    for function, operands, geometry in op_calls():
        function(*operands.values(), *geometry)
        names = [n for n in operands if (function, n) != (_ops.conv_backward_bias, "grad_output")]
        for name in names:
            with pytest.raises(error) as caught:
                function(*{**operands, name: change(operands[name])}.values(), *geometry)
            known = operands if error is TypeError and "dtype" in str(caught.value) else [name]
            assert any(n in str(caught.value) for n in known), caught.value


def test_op_layer_refuses_to_write_to_read_only_arrays():
    for function, operands, geometry in op_calls():
        *_, name = operands
        operands[name].flags.writeable = False
        with pytest.raises(ValueError, match=rf"{name}.*read-only"):
            function(*operands.values(), *geometry)


def test_op_layer_refuses_strided_bias_vectors():
    for function, operands, geometry in op_calls():
        for name in operands.keys() & {"bias", "grad_bias"}:
            strided = {**operands, name: np.ones(12)[::2]}
            with pytest.raises(ValueError, match=rf"{name} must be .*contiguous|{name}.*vector"):
                function(*strided.values(), *geometry)


def test_op_layer_accepts_any_strides(rng):
    case = CASES[1]
    x, w, b, g = case.operands(rng)
    shape = _geometry.convolution(x.shape, w.shape, *case.options)
    y = LAYOUTS["negative_strides"](np.empty(g.shape))
    _ops.conv(LAYOUTS["every_second"](x), LAYOUTS["negative_strides"](w), b, y, shape)
    np.testing.assert_array_equal(y, F.conv2d(x, w, b, *case.options))
