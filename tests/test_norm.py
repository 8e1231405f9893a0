"""Batch norm: normalises, keeps running statistics as PyTorch does, differentiates through both."""

import numpy as np
import pytest
from support.arrays import LAYOUTS, channels_last, distinct, is_channels_last

import fastconv
import fastconv.functional as F
from fastconv import reference
from fastconv.testing import assert_close, assert_within, gradcheck

DTYPES = [np.float32, np.float64]
SHAPES = [(4, 5, 6, 7), (1, 3, 4, 4), (2, 19, 3, 1), (6, 4)]


def operands(rng, shape, dtype=np.float64):
    """(input, running_mean, running_var, weight, bias, grad_output)"""
    x = (3 * rng.standard_normal(shape) + 2).astype(dtype)
    mean, weight, bias = rng.standard_normal((3, shape[1])).astype(dtype)
    var = (rng.random(shape[1]) + 0.5).astype(dtype)
    return x, mean, var, weight, bias, rng.standard_normal(shape).astype(dtype)


def run(m, x, mean, var, weight, bias, g, training, **options):
    """Forward, statistics, what became of the running arrays, and the three gradients."""
    mean, var = mean.copy(), var.copy()
    y, batch_mean, invstd = m.batch_norm(
        x, mean, var, weight, bias, training, return_statistics=True, **options
    )
    grads = m.batch_norm_backward(g, x, weight, batch_mean, invstd, training)
    names = "output mean invstd running_mean running_var grad_input grad_weight grad_bias"
    return dict(zip(names.split(), (y, batch_mean, invstd, mean, var, *grads), strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_reference(shape, training, dtype, rng):
    arrays = operands(rng, shape, dtype)
    options = {"momentum": 0.3, "eps": 1e-3}
    expected = run(reference, *arrays, training, **options)
    actual = run(F, *arrays, training, **options)
    tolerance = 64 * np.finfo(dtype).eps
    for name, e in expected.items():
        assert_close(actual[name], e, rtol=tolerance, atol=8 * tolerance, name=name)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("training", [True, False])
def test_inputs_may_have_any_strides(layout, training, rng):
    x, mean, var, weight, bias, g = operands(rng, SHAPES[0], np.float32)
    change = LAYOUTS[layout]
    expected = run(reference, x, mean, var, weight, bias, g, training)
    actual = run(F, change(x), mean, var, weight, bias, change(g), training)
    for name, e in expected.items():
        assert_close(actual[name], e, rtol=1e-5, atol=1e-4, name=name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("change", [np.ascontiguousarray, channels_last])
def test_fused_relu_has_the_bits_of_a_separate_relu(change, shape, training, dtype, rng):
    x, mean, var, weight, bias, _ = operands(rng, shape, dtype)
    x[-1, -1, ...] = np.nan
    if len(shape) == 4:
        x = change(x)
    outputs = [
        F.batch_norm(x, mean.copy(), var.copy(), weight, bias, training, activation=activation)
        for activation in (None, "relu")
    ]
    assert F.relu(outputs[0]).tobytes() == outputs[1].tobytes()
    with pytest.raises(ValueError, match="activation must be None or 'relu', got 'tanh'"):
        F.batch_norm(x, mean, var, activation="tanh")


@pytest.mark.parametrize("training", [True, False])
def test_weight_and_bias_are_optional(training, rng):
    x, mean, var, _, _, g = operands(rng, SHAPES[0])
    ones, zeros = np.ones(SHAPES[0][1]), np.zeros(SHAPES[0][1])
    expected = run(reference, x, mean, var, ones, zeros, g, training)
    actual = run(F, x, mean, var, None, None, g, training)
    for name in ("output", "grad_input"):
        assert_close(actual[name], expected[name], name=name)


def test_training_normalises_every_channel(rng):
    x = operands(rng, (8, 5, 6, 7))[0]
    y = F.batch_norm(x, None, None, training=True, eps=0.0)
    assert_close(y.mean((0, 2, 3)), np.zeros(5))
    assert_close(y.var((0, 2, 3)), np.ones(5))


def test_running_statistics_move_by_the_momentum_towards_the_unbiased_batch(rng):
    x, mean, var, *_ = operands(rng, SHAPES[0])
    new_mean, new_var = mean.copy(), var.copy()
    F.batch_norm(x, new_mean, new_var, training=True, momentum=0.25)
    assert_close(new_mean, 0.75 * mean + 0.25 * x.mean((0, 2, 3)))
    assert_close(new_var, 0.75 * var + 0.25 * x.var((0, 2, 3), ddof=1))
    F.batch_norm(x, new_mean, new_var, training=True, momentum=1.0)
    assert_close(new_mean, x.mean((0, 2, 3)))
    before = new_mean.copy(), new_var.copy()
    F.batch_norm(x, new_mean, new_var, training=False)
    np.testing.assert_array_equal(new_mean, before[0])
    np.testing.assert_array_equal(new_var, before[1])


def test_evaluation_is_the_same_for_an_image_alone(rng):
    x, mean, var, weight, bias, _ = operands(rng, SHAPES[0])
    whole = F.batch_norm(x, mean, var, weight, bias)
    assert_close(F.batch_norm(x[1:2], mean, var, weight, bias), whole[1:2], rtol=1e-14)
    assert F.batch_norm(x[:0], mean, var, weight, bias).shape == (0, *x.shape[1:])


def test_variance_is_accurate_beside_a_large_mean(rng):
    """var as E[x^2] - E[x]^2 would be wrong by 1e6 eps here: 0.1 of itself."""
    x = (1000 + rng.standard_normal((8, 3, 16, 16))).astype(np.float32)
    y, _, invstd = F.batch_norm(x, None, None, training=True, return_statistics=True)
    exact, _, exact_invstd = reference.batch_norm(
        x.astype(np.float64), None, None, training=True, return_statistics=True
    )
    eps = float(np.finfo(np.float32).eps)
    assert_within(invstd, exact_invstd, 16 * eps)
    assert_within(y, exact, 1000 * eps * 4)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(3, 2, 3, 2), (5, 3)])
def test_gradcheck(shape, training, layout, rng):
    _, mean, var, weight, bias, _ = operands(rng, shape)
    change = LAYOUTS[layout] if len(shape) == 4 else np.ascontiguousarray

    def forward(x, weight, bias):
        return F.batch_norm(change(x), mean.copy(), var.copy(), weight, bias, training)

    def backward(g, x, weight, bias):
        _, m, invstd = F.batch_norm(
            x, mean.copy(), var.copy(), weight, bias, training, return_statistics=True
        )
        return F.batch_norm_backward(change(g), change(x), weight, m, invstd, training)

    gradcheck(forward, backward, distinct(rng, shape), weight, bias)


def test_training_gradient_is_orthogonal_to_shift_and_scale(rng):
    """The output does not change with them, so the gradient is orthogonal to 1 and to x."""
    x, _, _, weight, bias, g = operands(rng, SHAPES[0])
    _, mean, invstd = F.batch_norm(
        x, None, None, weight, bias, training=True, eps=0.0, return_statistics=True
    )
    grad, _, _ = F.batch_norm_backward(g, x, weight, mean, invstd)
    assert_close(grad.sum((0, 2, 3)), np.zeros(5), atol=1e-11)
    assert_close((grad * x).sum((0, 2, 3)), np.zeros(5), atol=1e-11)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("training", [True, False])
def test_same_bits_for_any_number_of_threads(training, dtype, rng):
    arrays = operands(rng, (5, 23, 17, 19), dtype)
    results = []
    for n in (1, 2, 3, 4, 7):
        with fastconv.threads(n):
            results.append({k: v.tobytes() for k, v in run(F, *arrays, training).items()})
    assert all(r == results[0] for r in results)


@pytest.mark.parametrize("training", [True, False])
def test_output_and_gradient_have_the_format_of_the_input(training, rng):
    x, mean, var, weight, bias, g = operands(rng, SHAPES[0])
    for change, last in ((np.ascontiguousarray, False), (channels_last, True)):
        for grad in (np.ascontiguousarray(g), channels_last(g)):
            result = run(F, change(x), mean, var, weight, bias, grad, training)
            for name in ("output", "grad_input"):
                assert is_channels_last(result[name]) == last, name
                assert result[name].flags.c_contiguous != last, name


@pytest.mark.parametrize("training", [True, False])
def test_nan_stays_in_its_channel(training, rng):
    x, mean, var, weight, bias, _ = operands(rng, SHAPES[0])
    x[1, 2, 3, 4] = np.nan
    y = F.batch_norm(x, mean, var, weight, bias, training)
    assert np.isnan(y[1, 2, 3, 4])
    assert not np.isnan(np.delete(y, 2, axis=1)).any()
    assert np.isnan(y).sum() == (x[:, 2].size if training else 1)


# ---------------------------------------------------------------------- bad input

X = np.ones((2, 3, 4, 4))
GOOD = {
    "input": X,
    "running_mean": np.zeros(3),
    "running_var": np.ones(3),
    "weight": np.ones(3),
    "bias": np.zeros(3),
    "training": True,
}


def _frozen():
    a = np.ones(3)
    a.flags.writeable = False
    return a


@pytest.mark.parametrize(
    ("change", "error", "contains"),
    [
        ({"input": np.ones(3)}, ValueError, ["input", "(3,)"]),
        ({"input": np.ones((2, 3, 4, 4), int)}, TypeError, ["input", "int64"]),
        ({"input": np.ones((2, 3, 4, 4), np.float32)}, TypeError, ["float32", "float64"]),
        (
            {"input": np.ones((1, 3, 1, 1))},
            ValueError,
            ["input", "(1, 3, 1, 1)"],
        ),  # variance of one
        ({"input": np.ones((0, 3, 4, 4))}, ValueError, ["input", "(0, 3, 4, 4)"]),
        ({"input": None}, TypeError, ["input"]),
        ({"weight": np.ones(4)}, ValueError, ["weight", "(4,)", "3"]),
        ({"weight": np.ones((3, 1))}, ValueError, ["weight", "(3, 1)"]),
        ({"weight": np.ones(3, np.float32)}, TypeError, ["weight", "float32"]),
        ({"bias": np.ones(2)}, ValueError, ["bias", "(2,)", "3"]),
        ({"running_mean": np.ones(2)}, ValueError, ["running_mean", "(2,)"]),
        ({"running_var": np.ones(4)}, ValueError, ["running_var", "(4,)"]),
        ({"running_mean": np.ones(3, np.float32)}, TypeError, ["running_mean", "float32"]),
        ({"running_var": _frozen()}, ValueError, ["running_var"]),
        ({"running_mean": None, "training": False}, (TypeError, ValueError), ["running_mean"]),
        ({"running_var": None, "training": False}, (TypeError, ValueError), ["running_var"]),
        ({"eps": -1.0}, ValueError, ["eps", "-1.0"]),
    ],
)
def test_forward_refuses_invalid_arguments(change, error, contains):
    with pytest.raises(error) as caught:
        F.batch_norm(**{**GOOD, **change})
    for text in contains:
        assert text in str(caught.value)
    np.testing.assert_array_equal(GOOD["running_mean"], np.zeros(3), err_msg="changed by an error")
    np.testing.assert_array_equal(GOOD["running_var"], np.ones(3), err_msg="changed by an error")


@pytest.mark.parametrize(
    ("change", "error", "contains"),
    [
        ({"grad_output": np.ones((2, 3, 4, 5))}, ValueError, ["grad_output", "(2, 3, 4, 5)"]),
        ({"grad_output": np.ones(X.shape, np.float32)}, TypeError, ["float32"]),
        ({"weight": np.ones(4)}, ValueError, ["weight", "(4,)"]),
        ({"mean": np.ones(2)}, ValueError, ["mean", "(2,)"]),
        ({"invstd": np.ones((3, 1))}, ValueError, ["invstd", "(3, 1)"]),
    ],
)
def test_backward_refuses_invalid_arguments(change, error, contains):
    good = {
        "grad_output": X,
        "input": X,
        "weight": np.ones(3),
        "mean": np.ones(3),
        "invstd": np.ones(3),
    }
    F.batch_norm_backward(**good)
    with pytest.raises(error) as caught:
        F.batch_norm_backward(**{**good, **change})
    for text in contains:
        assert text in str(caught.value)


# -------------------------------------------------------------------------- peers


@pytest.mark.peer("torch")
@pytest.mark.parametrize("training", [True, False])
def test_agrees_with_torch(training, rng):
    import torch

    x, mean, var, weight, bias, g = operands(rng, SHAPES[0])
    tx, tw, tb = (torch.tensor(a, requires_grad=True) for a in (x, weight, bias))
    tm, tv = torch.tensor(mean), torch.tensor(var)
    y = torch.nn.functional.batch_norm(tx, tm, tv, tw, tb, training, 0.2, 1e-4)
    y.backward(torch.tensor(g))
    ours = run(F, x, mean, var, weight, bias, g, training, momentum=0.2, eps=1e-4)
    for name, theirs in {
        "output": y.detach(),
        "running_mean": tm,
        "running_var": tv,
        "grad_input": tx.grad,
        "grad_weight": tw.grad,
        "grad_bias": tb.grad,
    }.items():
        assert_close(ours[name], theirs.numpy(), rtol=1e-10, atol=1e-10, name=name)
